/*
 * rows.c
 *	  The rows of an answer.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"

#include "pg/serve/serve.h"

/* The query stopped asking before the last row. */
static void
rows_abandoned(Datum serving)
{
	((FmoeServing *) DatumGetPointer(serving))->active = false;
}

static void
rows_begin(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	if (serving->desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(serving->context);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		serving->desc = BlessTupleDesc(desc);
		MemoryContextSwitchTo(old);
	}
	RegisterExprContextCallback(result->econtext, rows_abandoned, PointerGetDatum(serving));
	serving->active = true;
	serving->next = 0;
}

void
fmoe_serving_answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeVocabulary *vocabulary,
					Oid item_type, const FnnTopk *best, const char *source)
{
	MemoryContext old;

	rows_begin(fcinfo, serving);
	serving->vocabulary = vocabulary;
	serving->item_type = item_type;
	serving->to_result = fmoe_serving_converter(serving, FMOE_ID_RESULT, item_type,
												TupleDescAttr(serving->desc, 0)->atttypid);
	serving->count = best->count;
	serving->item = best->item;
	serving->score = best->score;
	old = MemoryContextSwitchTo(serving->call);
	serving->source = source ? CStringGetTextDatum(source) : (Datum) 0;
	MemoryContextSwitchTo(old);
}

void
fmoe_serving_answer_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int64 count,
						const Datum *id, const bool *id_null, const fnn_real *score)
{
	rows_begin(fcinfo, serving);
	serving->vocabulary = NULL;
	serving->count = count;
	serving->id = id;
	serving->id_null = id_null;
	serving->score = score;
	serving->source = (Datum) 0;
}

/* An id that the result's type cannot hold is the caller's choice of type. */
static void
result_hint(void *serving)
{
	if (ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_DATA_EXCEPTION)
		errhint("Ask for item ids as %s or text.", format_type_be(((FmoeServing *) serving)->item_type));
}

static Datum
result_id(FmoeServing *serving, int32 item)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = result_hint,
		.arg = serving
	};
	Datum		id;

	error_context_stack = &callback;
	id = fmoe_convert(serving->to_result, fmoe_vocabulary_id(serving->vocabulary, item));
	error_context_stack = callback.previous;
	return id;
}

Datum
fmoe_serving_next(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		row = serving->next++;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};

	if (!serving->active || row >= serving->count)
	{
		if (serving->active)
			UnregisterExprContextCallback(result->econtext, rows_abandoned, PointerGetDatum(serving));
		serving->active = false;
		result->isDone = ExprEndResult;
		PG_RETURN_NULL();
	}

	Assert(serving->desc->natts == (serving->source ? 3 : 2));
	if (serving->vocabulary != NULL)
		values[0] = result_id(serving, serving->item[row]);
	else
	{
		values[0] = serving->id[row];
		nulls[0] = serving->id_null[row];
	}
	values[1] = Float4GetDatum(serving->score[row]);
	nulls[1] = isnan(serving->score[row]);
	values[2] = serving->source;

	result->isDone = ExprMultipleResult;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(serving->desc, values, nulls)));
}

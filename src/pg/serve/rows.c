/*
 * rows.c
 *	  Gives out the rows of an answer.
 *
 * Rows are given out one a call (value-per-call): the set works in FROM, in
 * LATERAL and in the select list, where it then costs no tuplestore.  An id is
 * made when its row is due, so a LIMIT costs only what it takes.  fn_extra
 * being taken, the bookkeeping that funcapi.h's macros do is done here.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"

#include "pg/serve/serve.h"

/* The query stopped asking before the last row. */
static void
rows_abandoned(Datum serving)
{
	((FmoeServing *) DatumGetPointer(serving))->rows.active = false;
}

/* Made once a site. */
static TupleDesc
rows_desc(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	FmoeAnswer *rows = &serving->rows;

	if (rows->desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(serving->site.context);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		rows->desc = BlessTupleDesc(desc);
		MemoryContextSwitchTo(old);
	}
	return rows->desc;
}

Oid
fmoe_serve_result_type(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	return TupleDescAttr(rows_desc(fcinfo, serving), 0)->atttypid;
}

static FmoeAnswer *
rows_begin(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	FmoeAnswer *rows = &serving->rows;

	(void) rows_desc(fcinfo, serving);
	RegisterExprContextCallback(result->econtext, rows_abandoned, PointerGetDatum(serving));
	rows->active = true;
	rows->next = 0;
	rows->baskets = NULL;
	return rows;
}

void
fmoe_serve_answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeVocabulary *vocabulary,
				  Oid item_type, const FnnTopk *best, const char *source)
{
	FmoeAnswer *rows = rows_begin(fcinfo, serving);
	MemoryContext old;

	rows->vocabulary = vocabulary;
	rows->serving = serving;
	rows->item_type = item_type;
	rows->to_result = fmoe_serve_converter(serving, FMOE_ID_RESULT, item_type,
										   fmoe_serve_result_type(fcinfo, serving));
	rows->count = best->count;
	rows->item = best->item;
	rows->score = best->score;
	old = MemoryContextSwitchTo(serving->call.context);
	rows->source = source ? CStringGetTextDatum(source) : (Datum) 0;
	MemoryContextSwitchTo(old);
}

void
fmoe_serve_answer_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int64 count,
					  const Datum *id, const bool *id_null, const fnn_real *score)
{
	FmoeAnswer *rows = rows_begin(fcinfo, serving);

	rows->vocabulary = NULL;
	rows->count = count;
	rows->id = id;
	rows->id_null = id_null;
	rows->score = score;
	rows->source = (Datum) 0;
}

/* Adds a hint where the type that the caller chose for the result cannot hold an id. */
static void
result_hint(void *rows)
{
	if (ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_DATA_EXCEPTION)
		errhint("Ask for item ids as %s or text.", format_type_be(((FmoeAnswer *) rows)->item_type));
}

static Datum
result_id(FmoeAnswer *rows, int32 item)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = result_hint,
		.arg = rows
	};
	Datum		id;

	error_context_stack = &callback;
	id = fmoe_convert(rows->to_result, item < fmoe_vocabulary_count(rows->vocabulary)
					  ? fmoe_vocabulary_id(rows->vocabulary, item) : fmoe_serve_item_id(rows->serving, item));
	error_context_stack = callback.previous;
	return id;
}

Datum
fmoe_serve_next(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	FmoeAnswer *rows = &serving->rows;
	int64		row = rows->next++;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};

	if (!rows->active || row >= rows->count)
	{
		if (rows->active)
			UnregisterExprContextCallback(result->econtext, rows_abandoned, PointerGetDatum(serving));
		rows->active = false;
		result->isDone = ExprEndResult;
		PG_RETURN_NULL();
	}

	Assert(rows->desc->natts == (rows->source || rows->baskets ? 3 : 2));
	if (rows->vocabulary != NULL)
		values[0] = result_id(rows, rows->item[row]);
	else
	{
		values[0] = rows->id[row];
		nulls[0] = rows->id_null[row];
	}
	values[1] = Float4GetDatum(rows->score[row]);
	nulls[1] = isnan(rows->score[row]);
	values[2] = rows->baskets != NULL ? Int64GetDatum(rows->baskets[row]) : rows->source;

	result->isDone = ExprMultipleResult;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(rows->desc, values, nulls)));
}

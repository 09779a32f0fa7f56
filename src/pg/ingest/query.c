/*
 * query.c
 *	  The query that reads interactions, and what its rows become.
 *
 * The columns of an event are named here only: fmoe_event_columns selects them,
 * fmoe_row takes them, and fmoe_read_columns says which ones FmoeEvents has.
 * Operators are schema-qualified, since the query runs with the caller's
 * search_path.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/ingest/ingest_private.h"

static const int32_t some_item;
static const double some_time;

const FmoeEvents fmoe_read_columns = {.item = &some_item, .time = &some_time};

char *
fmoe_event_columns(const FmoeDomain *domain)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, quote_identifier(domain->item_column));
	appendStringInfo(&sql, ", %s", quote_identifier(domain->time_column));
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		if (domain->optional[i].name != NULL)
			appendStringInfo(&sql, ", %s", quote_identifier(domain->optional[i].name));
	if (domain->source.name != NULL)
		appendStringInfo(&sql, ", %s", quote_identifier(domain->source.name));
	return sql.data;
}

/* A label as a number of its sign, or as it is; NaN: it is none. */
static double
label_number(Oid type, Datum label)
{
	double		number;

	if (type == BOOLOID)
		return DatumGetBool(label) ? 1 : 0;
	number = fmoe_number(type, label);
	/* too small for a double */
	if (number == 0 && type == NUMERICOID)
		return fmoe_number(type, DirectFunctionCall1(numeric_sign, label)) / 2;
	return number;
}

/* Takes the value of an optional column, null or not. */
static FmoeLeftOut
take_optional(FmoeRow *row, FmoeOptional which, const FmoeColumn *column, Datum value, bool isnull)
{
	double		label;
	double		weight;

	bool		may_be_null = which == FMOE_ORDER_COLUMN || which == FMOE_BASKET_COLUMN;

	if (isnull && !may_be_null)
		return FMOE_LEFT_NULL;
	switch (which)
	{
		case FMOE_LABEL_COLUMN:
			label = label_number(column->type, value);
			if (isnan(label))
				return FMOE_LEFT_LABEL;
			row->event.label = label > 0;
			row->odd_label = label != 0 && label != 1;
			break;
		case FMOE_WEIGHT_COLUMN:
			weight = fmoe_number(column->type, value);
			if (!isfinite(weight) || weight < 0)
				return FMOE_LEFT_WEIGHT;
			/* what counts at all is not 0 */
			row->event.weight = weight > 0 ? (float) Min(Max(weight, FLT_MIN), FLT_MAX) : 0;
			break;
		case FMOE_ORDER_COLUMN:
			row->ordered = !isnull;
			row->order = value;
			break;
		case FMOE_BASKET_COLUMN:
			row->named = !isnull;
			row->basket = value;
			break;
		case FMOE_OPTIONAL_COLUMNS:
			break;
	}
	return FMOE_TAKEN;
}

FmoeLeftOut
fmoe_row(FmoeRow *row, const FmoeDomain *domain, Datum user, const Datum *value, const bool *isnull)
{
	int			at = 2;

	if (isnull[0] || isnull[1])
		return FMOE_LEFT_NULL;
	row->user = user;
	row->item = value[0];
	row->odd_label = false;
	row->ordered = false;
	row->named = false;
	row->sourced = false;
	if (!fmoe_event_at(&row->event, domain->time_type, domain->time_unit, value[1]))
		return FMOE_LEFT_TIME;
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
	{
		FmoeLeftOut left_out;

		if (domain->optional[i].name == NULL)
			continue;
		left_out = FMOE_TAKEN;
		/* what was not chosen counts nothing, whatever its weight */
		if (i != FMOE_WEIGHT_COLUMN || row->event.label > 0)
			left_out = take_optional(row, i, &domain->optional[i], value[at], isnull[at]);
		if (left_out != FMOE_TAKEN)
			return left_out;
		at++;
	}
	if (domain->source.name != NULL)
	{
		row->sourced = !isnull[at];
		row->source = value[at];
	}
	return FMOE_TAKEN;
}

char *
fmoe_table_query(const FmoeDomain *domain)
{
	char	   *user = pstrdup(quote_identifier(domain->user_column));

	return psprintf("SELECT %s, %s FROM %s", user, fmoe_event_columns(domain), domain->relation);
}

char *
fmoe_operator_name(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

static void
receiver_start(DestReceiver *self, int operation, TupleDesc shape)
{
}

static void
receiver_end(DestReceiver *self)
{
}

void
fmoe_receiver_init(DestReceiver *receiver, bool (*row) (TupleTableSlot *slot, DestReceiver *self))
{
	receiver->receiveSlot = row;
	receiver->rStartup = receiver_start;
	receiver->rShutdown = receiver_end;
	receiver->rDestroy = receiver_end;
	/* with DestNone a SELECT would not count as one */
	receiver->mydest = DestTuplestore;
}

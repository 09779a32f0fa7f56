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
	if (domain->label_column != NULL)
		appendStringInfo(&sql, ", %s", quote_identifier(domain->label_column));
	return sql.data;
}

/* A label as a number of its sign, or as it is; NaN: it is none. */
static double
label_number(Oid type, Datum label)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(label) ? 1 : 0;
		case INT2OID:
			return DatumGetInt16(label);
		case INT4OID:
			return DatumGetInt32(label);
		case INT8OID:
			return (double) DatumGetInt64(label);
		case FLOAT4OID:
			return DatumGetFloat4(label);
		case FLOAT8OID:
			return DatumGetFloat8(label);
		default:
			{
				double		number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, label));

				/* too small for a double */
				return number != 0 ? number
					: DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
														 DirectFunctionCall1(numeric_sign, label))) / 2;
			}
	}
}

FmoeLeftOut
fmoe_row(FmoeRow *row, const FmoeDomain *domain, const Datum *value)
{
	double		label;

	row->item = value[0];
	row->odd_label = false;
	if (!fmoe_event_at(&row->event, domain->time_type, domain->time_unit, value[1]))
		return FMOE_LEFT_TIME;
	if (domain->label_column == NULL)
		return FMOE_TAKEN;
	label = label_number(domain->label_type, value[2]);
	if (isnan(label))
		return FMOE_LEFT_LABEL;
	row->event.label = label > 0;
	row->odd_label = label != 0 && label != 1;
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

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

#include "utils/builtins.h"

#include "pg/ingest/ingest_private.h"

static const int32_t some_item;
static const double some_time;

const FmoeEvents fmoe_read_columns = {.item = &some_item, .time = &some_time};

char *
fmoe_event_columns(const FmoeDomain *domain)
{
	char	   *item = pstrdup(quote_identifier(domain->item_column));

	return psprintf("%s, %s", item, quote_identifier(domain->time_column));
}

bool
fmoe_row(FmoeRow *row, const FmoeDomain *domain, const Datum *value)
{
	row->item = value[0];
	return fmoe_event_at(&row->event, domain->time_type, domain->time_unit, value[1]);
}

char *
fmoe_label_condition(const FmoeDomain *domain)
{
	const char *column = quote_identifier(domain->label_column);
	Oid			type = fmoe_column_type(domain->interactions, domain->label_column, NULL);

	switch (type)
	{
		case BOOLOID:
			return pstrdup(column);
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			/* NaN sorts above every number */
			return psprintf("%s OPERATOR(pg_catalog.>) 0 AND %s OPERATOR(pg_catalog.<>) 'NaN'",
							column, column);
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return psprintf("%s OPERATOR(pg_catalog.>) 0", column);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table %s has type %s now and cannot be a label",
							domain->label_column, domain->relation, format_type_be(type)),
					 errhint("Name another column with fmoe_alter_domain(%s, label_column => ...).",
							 quote_literal_cstr(domain->name))));
	}
}

char *
fmoe_table_query(const FmoeDomain *domain)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s, %s", quote_identifier(domain->user_column),
					 fmoe_event_columns(domain));
	if (domain->label_column != NULL)
		appendStringInfo(&sql, ", %s", quote_identifier(domain->label_column));
	appendStringInfo(&sql, " FROM %s", domain->relation);
	if (domain->label_column != NULL)
		appendStringInfo(&sql, " WHERE (%s) IS NOT FALSE", fmoe_label_condition(domain));
	return sql.data;
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

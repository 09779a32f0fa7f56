/*
 * history.c
 *	  Reads the history of one user, as it is now, through a plan that is kept.
 *
 * A recommendation costs one index lookup where the user column has an index.
 * So a session prepares the query once for each domain and keeps its plan; the
 * hot path neither builds SQL nor parses it.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/ingest/ingest_private.h"

typedef struct HistoryReceiver
{
	DestReceiver receiver;
	const FmoeDomain *domain;
	Datum		user;
	bool		item_varlena;
	TimestampTz as_of;
	FmoeTakeEvent take;
	void	   *argument;
} HistoryReceiver;

static bool
history_row(TupleTableSlot *slot, DestReceiver *self)
{
	HistoryReceiver *history = (HistoryReceiver *) self;
	FmoeRow		row;

	slot_getallattrs(slot);
	if (fmoe_row(&row, history->domain, history->user, slot->tts_values, slot->tts_isnull) != FMOE_TAKEN ||
		fmoe_is_after(history->domain->time_type, history->domain->time_unit, slot->tts_values[1], history->as_of))
		return true;
	if (history->item_varlena)
		row.item = PointerGetDatum(PG_DETOAST_DATUM(row.item));
	history->take(history->argument, &row);
	return true;
}

static char *
history_query(const FmoeDomain *domain)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s WHERE ", fmoe_event_columns(domain), domain->relation);
	appendStringInfo(&sql, "%s %s $1", quote_identifier(domain->user_column), fmoe_operator_name(domain->user_equal));
	return sql.data;
}

void
fmoe_read_history(const FmoeDomain *domain, Datum user, TimestampTz as_of, FmoeTakeEvent take, void *argument)
{
	HistoryReceiver history = {
		.domain = domain,
		.user = user,
		.item_varlena = get_typlen(domain->item_type) == -1,
		.as_of = as_of,
		.take = take,
		.argument = argument
	};

	fmoe_receiver_init(&history.receiver, history_row);
	fmoe_execute_kept(domain, FMOE_QUERY_HISTORY, history_query, domain->user_type, user, &history.receiver);
}

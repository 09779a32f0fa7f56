/*
 * history.c
 *	  The history of one user, as it is now.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "pg/ingest/ingest_private.h"

typedef struct HistoryPlan
{
	int64		domain_id;		/* key */
	char	   *sql;
	Oid			user_type;
	SPIPlanPtr	plan;
} HistoryPlan;

/* Domains whose plans a session keeps; a session that uses more starts over. */
#define HISTORY_PLANS_MAX 500

static HTAB *history_plans = NULL;

static MemoryContext history_context = NULL;

/* OPERATOR(schema.name) */
static char *
operator_name(Oid operator)
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

static char *
history_query(const FmoeDomain *domain)
{
	StringInfoData sql;
	char	   *user = pstrdup(quote_identifier(domain->user_column));
	char	   *item = pstrdup(quote_identifier(domain->item_column));
	char	   *time = pstrdup(quote_identifier(domain->time_column));

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s, %s FROM %s WHERE %s %s $1", item, time, domain->relation, user,
					 operator_name(domain->user_equal));
	if (domain->label_column != NULL)
		appendStringInfo(&sql, " AND %s", fmoe_label_condition(domain));
	return sql.data;
}

static HistoryPlan *
plan_entry(int64 domain_id)
{
	HistoryPlan *entry;
	HASH_SEQ_STATUS scan;
	HASHCTL		control;
	bool		found;

	if (history_plans != NULL && hash_get_num_entries(history_plans) >= HISTORY_PLANS_MAX)
	{
		hash_seq_init(&scan, history_plans);
		while ((entry = hash_seq_search(&scan)) != NULL)
			if (entry->plan != NULL)
				SPI_freeplan(entry->plan);
		history_plans = NULL;
		MemoryContextReset(history_context);
	}
	if (history_context == NULL)
		history_context = AllocSetContextCreate(TopMemoryContext, "fmoe history plans", ALLOCSET_DEFAULT_SIZES);
	if (history_plans == NULL)
	{
		control.keysize = sizeof(int64);
		control.entrysize = sizeof(HistoryPlan);
		control.hcxt = history_context;
		history_plans = hash_create("fmoe history plans", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(history_plans, &domain_id, HASH_ENTER, &found);
	if (!found)
	{
		entry->sql = NULL;
		entry->plan = NULL;
	}
	return entry;
}

/* Inside SPI.  A domain or table that changed gives another query text, and so another plan. */
static SPIPlanPtr
history_plan(const FmoeDomain *domain)
{
	HistoryPlan *entry = plan_entry(domain->id);
	char	   *sql = history_query(domain);
	Oid			type = domain->user_type;
	SPIPlanPtr	plan;

	if (entry->plan != NULL && entry->user_type == type && strcmp(entry->sql, sql) == 0)
		return entry->plan;

	if (entry->plan != NULL)
	{
		SPI_freeplan(entry->plan);
		entry->plan = NULL;
		pfree(entry->sql);
		entry->sql = NULL;
	}
	plan = SPI_prepare_cursor(sql, 1, &type, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	entry->sql = MemoryContextStrdup(history_context, sql);
	entry->user_type = type;
	SPI_keepplan(plan);
	entry->plan = plan;
	return plan;
}

typedef struct HistoryReceiver
{
	DestReceiver receiver;
	const FmoeDomain *domain;
	bool		item_varlena;
	double		as_of;
	FmoeTakeEvent take;
	void	   *argument;
} HistoryReceiver;

static bool
history_row(TupleTableSlot *slot, DestReceiver *self)
{
	HistoryReceiver *history = (HistoryReceiver *) self;
	double		time;

	slot_getallattrs(slot);
	if (slot->tts_isnull[0] || slot->tts_isnull[1])
		return true;
	time = fmoe_seconds(history->domain->time_type, slot->tts_values[1]);
	if (!isfinite(time) || time > history->as_of)
		return true;
	history->take(history->argument, history->item_varlena
				  ? PointerGetDatum(PG_DETOAST_DATUM(slot->tts_values[0])) : slot->tts_values[0], time);
	return true;
}

void
fmoe_read_history(const FmoeDomain *domain, Datum user, double as_of, FmoeTakeEvent take, void *argument)
{
	ParamListInfo parameters = makeParamList(1);
	HistoryReceiver history = {
		.domain = domain,
		.item_varlena = get_typlen(domain->item_type) == -1,
		.as_of = as_of,
		.take = take,
		.argument = argument
	};
	SPIExecuteOptions options = {
		.params = parameters,
		.read_only = true,
		.dest = &history.receiver
	};
	int			result;

	fmoe_receiver_init(&history.receiver, history_row);
	parameters->params[0].value = user;
	parameters->params[0].isnull = false;
	parameters->params[0].pflags = PARAM_FLAG_CONST;
	parameters->params[0].ptype = domain->user_type;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute_plan_extended(history_plan(domain), &options);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read a history: %s", SPI_result_code_string(result));
	SPI_finish();
}

/*
 * history.c
 *	  Reads the history of one user, as it is now, through a plan that is kept.
 *
 * A recommendation costs one index lookup where the user column has an index.
 * So a session prepares the query once for each domain and keeps its plan; the
 * hot path neither builds SQL nor parses it.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "pg/ingest/ingest_private.h"

/*
 * The plan that reads one user's rows of a domain.
 *
 * The text of the query follows from what the domain says and from what the
 * catalogs say of the user's operator and its schema.  The
 * first is kept to be compared; whether the second may have changed is known
 * from the invalidations that came since.
 */
typedef struct HistoryPlan
{
	MemoryContext context;		/* of all of it */
	FmoeDomain	domain;			/* fields that the text depends on; others are not set */
	uint64		generation;		/* of the catalogs when the text was right */
	char	   *sql;
	SPIPlanPtr	plan;
	bool		item_varlena;
	int			users;			/* executions that run */
	bool		kept;			/* in the table of plans; else its last user frees it */
} HistoryPlan;

typedef struct HistoryEntry
{
	int64		domain_id;		/* key */
	HistoryPlan *plan;
} HistoryEntry;

/* Domains whose plans a session keeps; a session that uses more starts over. */
#define HISTORY_PLANS_MAX 500

static HTAB *history_plans = NULL;

static MemoryContext history_context = NULL;

/* Counts changes of the catalogs that a query's text depends on. */
static uint64 catalog_generation = 1;

/* ---------------------------------------------------------------- the text of the query */

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

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s WHERE ", fmoe_event_columns(domain), domain->relation);
	appendStringInfo(&sql, "%s %s $1", quote_identifier(domain->user_column), operator_name(domain->user_equal));
	return sql.data;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Whether two domains give the same query, the catalogs being the same. */
static bool
same_source(const FmoeDomain *a, const FmoeDomain *b)
{
	return a->interactions == b->interactions && a->user_type == b->user_type && a->item_type == b->item_type &&
		a->user_equal == b->user_equal && same_text(a->relation, b->relation) &&
		same_text(a->user_column, b->user_column) && same_text(a->item_column, b->item_column) &&
		same_text(a->time_column, b->time_column) && same_text(a->label_column, b->label_column);
}

/* A copy, in the current context, of the fields that same_source compares. */
static FmoeDomain
source_of(const FmoeDomain *domain)
{
	FmoeDomain	source = {
		.interactions = domain->interactions,
		.user_type = domain->user_type,
		.item_type = domain->item_type,
		.user_equal = domain->user_equal,
		.relation = pstrdup(domain->relation),
		.user_column = pstrdup(domain->user_column),
		.item_column = pstrdup(domain->item_column),
		.time_column = pstrdup(domain->time_column),
		.label_column = domain->label_column != NULL ? pstrdup(domain->label_column) : NULL
	};

	return source;
}

/* ---------------------------------------------------------------- plans */

static void
relation_changed(Datum argument, Oid relation)
{
	catalog_generation++;
}

static void
catalog_changed(Datum argument, int cache, uint32 hash)
{
	catalog_generation++;
}

static void
create_table(void)
{
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(HistoryEntry)};

	if (history_context == NULL)
	{
		history_context = AllocSetContextCreate(TopMemoryContext, "fmoe history plans", ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(OPEROID, catalog_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
	}
	control.hcxt = history_context;
	history_plans = hash_create("fmoe history plans", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Frees a plan that is neither kept nor in use. */
static void
release(HistoryPlan *plan)
{
	if (plan->kept || plan->users > 0)
		return;
	SPI_freeplan(plan->plan);
	MemoryContextDelete(plan->context);
}

/* Removes an entry from the table; its plan is freed once nobody executes it. */
static void
drop(HistoryEntry *entry)
{
	HistoryPlan *plan = entry->plan;

	(void) hash_search(history_plans, &entry->domain_id, HASH_REMOVE, NULL);
	plan->kept = false;
	release(plan);
}

static void
drop_all(void)
{
	HASH_SEQ_STATUS scan;
	HistoryEntry *entry;

	hash_seq_init(&scan, history_plans);
	while ((entry = hash_seq_search(&scan)) != NULL)
		drop(entry);
}

/* Makes a plan.  Until it is kept, an error frees it with the caller's context. */
static HistoryPlan *
make_plan(const FmoeDomain *domain, const char *sql, uint64 generation)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe history plan", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	HistoryPlan *made = palloc0(sizeof(HistoryPlan));
	Oid			type = domain->user_type;

	made->context = context;
	made->domain = source_of(domain);
	made->generation = generation;
	made->sql = pstrdup(sql);
	made->item_varlena = get_typlen(domain->item_type) == -1;
	made->plan = SPI_prepare_cursor(sql, 1, &type, CURSOR_OPT_GENERIC_PLAN);
	if (made->plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	MemoryContextSwitchTo(old);
	return made;
}

/* Puts a plan into the table, in place of the domain's old one. */
static void
keep(int64 domain_id, HistoryPlan *plan)
{
	HistoryEntry *entry = hash_search(history_plans, &domain_id, HASH_FIND, NULL);

	if (entry != NULL)
		drop(entry);
	else if (hash_get_num_entries(history_plans) >= HISTORY_PLANS_MAX)
		drop_all();
	entry = hash_search(history_plans, &domain_id, HASH_ENTER, NULL);
	entry->plan = plan;
	SPI_keepplan(plan->plan);
	MemoryContextSetParent(plan->context, history_context);
	plan->kept = true;
}

/* The domain's plan, made when there is none or its text has changed; the caller is connected to SPI. */
static HistoryPlan *
history_plan(const FmoeDomain *domain)
{
	uint64		generation = catalog_generation;
	HistoryEntry *entry;
	HistoryPlan *plan;
	char	   *sql;

	if (history_plans == NULL)
		create_table();
	entry = hash_search(history_plans, &domain->id, HASH_FIND, NULL);
	plan = entry == NULL ? NULL : entry->plan;
	if (plan != NULL && plan->generation == generation && same_source(&plan->domain, domain))
		return plan;

	sql = history_query(domain);
	if (plan != NULL && same_source(&plan->domain, domain) && strcmp(plan->sql, sql) == 0)
	{
		plan->generation = generation;
		return plan;
	}
	plan = make_plan(domain, sql, generation);
	keep(domain->id, plan);
	return plan;
}

/* ---------------------------------------------------------------- rows */

typedef struct HistoryReceiver
{
	DestReceiver receiver;
	const FmoeDomain *domain;
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
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
		if (slot->tts_isnull[i])
			return true;
	if (fmoe_row(&row, history->domain, slot->tts_values) != FMOE_TAKEN ||
		fmoe_is_after(history->domain->time_type, history->domain->time_unit, slot->tts_values[1], history->as_of))
		return true;
	if (history->item_varlena)
		row.item = PointerGetDatum(PG_DETOAST_DATUM(row.item));
	history->take(history->argument, &row);
	return true;
}

/*
 * Executes the plan, which stays allocated meanwhile.  The table may be a view
 * whose functions alter the domain and read its histories: that removes this
 * very plan from the table of plans.
 */
static int
execute(HistoryPlan *plan, SPIExecuteOptions *options)
{
	int			result;

	plan->users++;
	PG_TRY();
	{
		result = SPI_execute_plan_extended(plan->plan, options);
	}
	PG_CATCH();
	{
		plan->users--;
		release(plan);
		PG_RE_THROW();
	}
	PG_END_TRY();
	plan->users--;
	release(plan);
	return result;
}

void
fmoe_read_history(const FmoeDomain *domain, Datum user, TimestampTz as_of, FmoeTakeEvent take, void *argument)
{
	ParamListInfo parameters = makeParamList(1);
	HistoryReceiver history = {
		.domain = domain,
		.as_of = as_of,
		.take = take,
		.argument = argument
	};
	SPIExecuteOptions options = {
		.params = parameters,
		.read_only = true,
		.dest = &history.receiver
	};
	HistoryPlan *plan;
	int			result;

	fmoe_receiver_init(&history.receiver, history_row);
	parameters->params[0].value = user;
	parameters->params[0].isnull = false;
	parameters->params[0].pflags = PARAM_FLAG_CONST;
	parameters->params[0].ptype = domain->user_type;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = history_plan(domain);
	history.item_varlena = plan->item_varlena;
	result = execute(plan, &options);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read a history: %s", SPI_result_code_string(result));
	SPI_finish();
}

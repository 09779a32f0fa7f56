/*
 * plans.c
 *	  Plans of a domain's queries that a session keeps, so that a recommendation
 *	  costs one index lookup a table where its column has an index.
 *
 * The text of a query depends on the domain, and on the catalogs: on operators,
 * their schemas, and types.  A copy of the domain is kept to be compared with; a
 * change of the catalogs shows in the invalidations that the server sends.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "pg/ingest/ingest_private.h"

typedef struct KeptPlan
{
	MemoryContext context;		/* of all of it */
	FmoeDomain	domain;			/* fields that the text depends on; others are not set */
	uint64		generation;		/* of the catalogs when the text was right */
	char	   *sql;
	Oid			type;			/* of the parameter */
	SPIPlanPtr	plan;
	int			users;			/* executions that run */
	bool		kept;			/* in the table of plans; else its last user frees it */
} KeptPlan;

typedef struct PlanKey
{
	int64		domain_id;
	int32		query;			/* an FmoeQuery; as wide as the next, so that there is no padding */
	Oid			reader;			/* a plan has calls inlined that its user may make */
} PlanKey;

typedef struct PlanEntry
{
	PlanKey		key;
	KeptPlan   *plan;
} PlanEntry;

/* Plans that a session keeps; a session that uses more starts over. */
#define PLANS_MAX 500

static HTAB *plans = NULL;

static MemoryContext plans_context = NULL;

/* Counts changes of the catalogs that a query's text depends on. */
static uint64 catalog_generation = 1;

/* ---------------------------------------------------------------- what a plan is made for */

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool
same_optional(const FmoeDomain *a, const FmoeDomain *b)
{
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		if (!same_text(a->optional[i].name, b->optional[i].name))
			return false;
	return true;
}

static bool
same_names(const List *a, const List *b)
{
	if (list_length(a) != list_length(b))
		return false;
	for (int i = 0; i < list_length(a); i++)
		if (strcmp(list_nth(a, i), list_nth(b, i)) != 0)
			return false;
	return true;
}

/* Whether two domains give the same queries, the catalogs being the same. */
static bool
same_source(const FmoeDomain *a, const FmoeDomain *b)
{
	return a->interactions == b->interactions && a->user_type == b->user_type && a->item_type == b->item_type &&
		a->user_equal == b->user_equal && same_text(a->relation, b->relation) &&
		same_text(a->user_column, b->user_column) && same_text(a->item_column, b->item_column) &&
		same_text(a->time_column, b->time_column) && same_optional(a, b) &&
		a->items == b->items && same_text(a->item_key, b->item_key) &&
		same_text(a->available_column, b->available_column) &&
		a->of_users == b->of_users &&
		(!a->of_users || same_names(a->features[FMOE_CATEGORY], b->features[FMOE_CATEGORY]));
}

static char *
copied(const char *text)
{
	return text != NULL ? pstrdup(text) : NULL;
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
		.relation = copied(domain->relation),
		.user_column = pstrdup(domain->user_column),
		.item_column = pstrdup(domain->item_column),
		.time_column = pstrdup(domain->time_column),
		.items = domain->items,
		.item_key = copied(domain->item_key),
		.available_column = copied(domain->available_column),
		.of_users = domain->of_users
	};
	ListCell   *cell;

	/* of items no kept query has them */
	if (domain->of_users)
		foreach(cell, domain->features[FMOE_CATEGORY])
			source.features[FMOE_CATEGORY] = lappend(source.features[FMOE_CATEGORY], pstrdup(lfirst(cell)));

	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		source.optional[i].name = copied(domain->optional[i].name);
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
	HASHCTL		control = {.keysize = sizeof(PlanKey), .entrysize = sizeof(PlanEntry)};

	if (plans_context == NULL)
	{
		plans_context = AllocSetContextCreate(TopMemoryContext, "fmoe plans", ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(OPEROID, catalog_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
	}
	control.hcxt = plans_context;
	plans = hash_create("fmoe plans", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Frees a plan that is neither kept nor in use. */
static void
release(KeptPlan *plan)
{
	if (plan->kept || plan->users > 0)
		return;
	SPI_freeplan(plan->plan);
	MemoryContextDelete(plan->context);
}

/* Removes an entry from the table; its plan is freed once nobody executes it. */
static void
drop(PlanEntry *entry)
{
	KeptPlan   *plan = entry->plan;

	(void) hash_search(plans, &entry->key, HASH_REMOVE, NULL);
	plan->kept = false;
	release(plan);
}

static void
drop_all(void)
{
	HASH_SEQ_STATUS scan;
	PlanEntry  *entry;

	hash_seq_init(&scan, plans);
	while ((entry = hash_seq_search(&scan)) != NULL)
		drop(entry);
}

/* Makes a plan.  Until it is kept, an error frees it with the caller's context. */
static KeptPlan *
make_plan(const FmoeDomain *domain, const char *sql, Oid type, uint64 generation)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe plan", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	KeptPlan   *made = palloc0(sizeof(KeptPlan));

	made->context = context;
	made->domain = source_of(domain);
	made->generation = generation;
	made->sql = pstrdup(sql);
	made->type = type;
	made->plan = SPI_prepare_cursor(sql, 1, &type, CURSOR_OPT_GENERIC_PLAN);
	if (made->plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	MemoryContextSwitchTo(old);
	return made;
}

/* Puts a plan into the table, in place of the query's old one. */
static void
keep(const PlanKey *key, KeptPlan *plan)
{
	PlanEntry  *entry = hash_search(plans, key, HASH_FIND, NULL);

	if (entry != NULL)
		drop(entry);
	else if (hash_get_num_entries(plans) >= PLANS_MAX)
		drop_all();
	entry = hash_search(plans, key, HASH_ENTER, NULL);
	entry->plan = plan;
	SPI_keepplan(plan->plan);
	MemoryContextSetParent(plan->context, plans_context);
	plan->kept = true;
}

/* A query's plan for who reads now, made when there is none or its text has changed.  SPI is connected. */
static KeptPlan *
plan_of(const FmoeDomain *domain, Oid reader, FmoeQuery query, FmoeQueryText text, Oid type)
{
	uint64		generation = catalog_generation;
	PlanKey		key = {.domain_id = domain->id, .query = query, .reader = reader};
	PlanEntry  *entry;
	KeptPlan   *plan = NULL;
	char	   *sql;

	if (plans == NULL)
		create_table();
	entry = hash_search(plans, &key, HASH_FIND, NULL);
	if (entry != NULL && entry->plan->type == type && same_source(&entry->plan->domain, domain))
		plan = entry->plan;
	if (plan != NULL && plan->generation == generation)
		return plan;

	sql = text(domain);
	if (plan != NULL && strcmp(plan->sql, sql) == 0)
	{
		plan->generation = generation;
		return plan;
	}
	plan = make_plan(domain, sql, type, generation);
	keep(&key, plan);
	return plan;
}

/* ---------------------------------------------------------------- execution */

/*
 * Executes the plan, which stays allocated meanwhile.  The table may be a view
 * whose functions alter the domain and ask for the same: that removes this very
 * plan from the table of plans.
 */
static int
execute(KeptPlan *plan, SPIExecuteOptions *options)
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
fmoe_execute_kept(const FmoeDomain *domain, FmoeQuery query, FmoeQueryText text, Oid type, Datum value,
				  DestReceiver *receiver)
{
	ParamListInfo parameters = makeParamList(1);
	SPIExecuteOptions options = {
		.params = parameters,
		.read_only = true,
		.dest = receiver
	};
	Oid			reader = fmoe_domain_reader(domain,
											query == FMOE_QUERY_HISTORY ? domain->interactions : domain->items);
	FmoeReading reading;
	int			result;

	parameters->params[0].value = value;
	parameters->params[0].isnull = false;
	parameters->params[0].pflags = PARAM_FLAG_CONST;
	parameters->params[0].ptype = type;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fmoe_read_as(&reading, reader);
	result = execute(plan_of(domain, reader, query, text, type), &options);
	fmoe_read_end(&reading);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read a table of a domain: %s", SPI_result_code_string(result));
	SPI_finish();
}

/*
 * site.c
 *	  What every call that answers from a model shares.
 *
 * A call site (one place in one running statement) keeps an FmoeServing in
 * fn_extra.  What it looked up is good as long as nothing can have changed:
 * the same user, settings, transaction and snapshot.  Two snapshots of one
 * backend with equal xmin, xmax, counts of running transactions and command
 * id see the same rows, because any transaction that ends between them either
 * raises xmax or shortens a list.  So `SELECT ... FROM users, LATERAL
 * fmoe_recommend(...)` resolves its domain once, and a function that deploys
 * and recommends in turn always sees what it deployed.
 *
 * Rows are given out one a call (value-per-call): the set works in FROM, in
 * LATERAL and in the select list, where it then costs no tuplestore.  Ids are
 * made when their row is due, so a LIMIT costs only what it takes.  fn_extra
 * being taken, the bookkeeping that funcapi.h's macros do is done here.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "pg/serve/serve.h"

/* ---------------------------------------------------------------- scratch memory */

/*
 * Statements come and go, and getting memory from the system and touching it
 * for the first time would cost each of them a twentieth of its time.  So the
 * scratch memory of a call site that ends waits for the next one's.
 */
#define SPARE_BYTES (4 * 1024 * 1024)

typedef struct Scratch
{
	MemoryContext context;
	FnnArena   *arena;
	FnnMark		start;
	int			limit_kb;
} Scratch;

static Scratch *spare = NULL;

static void
put_back(void *argument)
{
	Scratch    *scratch = argument;

	if (spare != NULL || MemoryContextMemAllocated(scratch->context, true) > SPARE_BYTES)
	{
		MemoryContextDelete(scratch->context);
		return;
	}
	fnn_arena_reset(scratch->arena, scratch->start);
	spare = scratch;
}

/* Scratch memory until the context ends. */
static FnnArena *
take_scratch(MemoryContext context)
{
	MemoryContextCallback *callback = MemoryContextAllocZero(context, sizeof(MemoryContextCallback));
	Scratch    *scratch = spare;

	spare = NULL;
	if (scratch != NULL && scratch->limit_kb != fmoe_max_memory_kb)
	{
		MemoryContextDelete(scratch->context);
		scratch = NULL;
	}
	if (scratch == NULL)
	{
		MemoryContext own = AllocSetContextCreate(context, "fmoe scratch", ALLOCSET_SMALL_SIZES);

		scratch = MemoryContextAllocZero(own, sizeof(Scratch));
		scratch->context = own;
		scratch->limit_kb = fmoe_max_memory_kb;
		scratch->arena = fmoe_arena(own, fmoe_max_memory_kb);
		scratch->start = fnn_arena_mark(scratch->arena);
		MemoryContextSetParent(own, TopMemoryContext);
	}
	callback->func = put_back;
	callback->arg = scratch;
	MemoryContextRegisterResetCallback(context, callback);
	return scratch->arena;
}

/* ---------------------------------------------------------------- call sites */

FmoeServing *
fmoe_serving(FunctionCallInfo fcinfo)
{
	FmoeServing *serving = fcinfo->flinfo->fn_extra;
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context;
	MemoryContext old;

	if (fcinfo->flinfo->fn_retset &&
		(result == NULL || !IsA(result, ReturnSetInfo) || (result->allowedModes & SFRM_ValuePerCall) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	if (serving != NULL)
		return serving;

	context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "fmoe serving", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	serving = palloc0(sizeof(FmoeServing));
	serving->context = context;
	serving->call = AllocSetContextCreate(context, "fmoe serving call", ALLOCSET_DEFAULT_SIZES);
	serving->resolved = AllocSetContextCreate(context, "fmoe serving domain", ALLOCSET_SMALL_SIZES);
	serving->arena = take_scratch(context);
	serving->start = fnn_arena_mark(serving->arena);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = serving;
	return serving;
}

void
fmoe_serving_begin(FmoeServing *serving)
{
	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(serving->call);
	fnn_arena_reset(serving->arena, serving->start);
	serving->count = 0;
	serving->next = 0;
}

/* ---------------------------------------------------------------- domain and version */

static FmoeMoment
this_moment(void)
{
	FmoeMoment	moment = {0};
	Snapshot	snapshot;

	if (!ActiveSnapshotSet())
		return moment;
	snapshot = GetActiveSnapshot();
	moment.valid = true;
	moment.user = GetUserId();
	moment.transaction = MyProc->lxid;
	moment.subtransaction = GetCurrentSubTransactionId();
	moment.xmin = snapshot->xmin;
	moment.xmax = snapshot->xmax;
	moment.xcnt = snapshot->xcnt;
	moment.subxcnt = snapshot->subxcnt;
	moment.command = snapshot->curcid;
	return moment;
}

static bool
same_moment(const FmoeMoment *a, const FmoeMoment *b)
{
	return a->valid && b->valid && a->user == b->user &&
		a->transaction == b->transaction && a->subtransaction == b->subtransaction &&
		a->xmin == b->xmin && a->xmax == b->xmax && a->xcnt == b->xcnt &&
		a->subxcnt == b->subxcnt && a->command == b->command;
}

static bool
same_name(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* metrics -> expert -> 'ndcg@10', as training wrote it down; NaN: it did not. */
static double
validation_metric(Jsonb *metrics, const char *expert)
{
	static const char key[] = "ndcg@10";
	JsonbValue	standing;
	JsonbValue	value;

	if (metrics == NULL || !JB_ROOT_IS_OBJECT(metrics) ||
		getKeyJsonValueFromContainer(&metrics->root, expert, strlen(expert), &standing) == NULL ||
		standing.type != jbvBinary || !JsonContainerIsObject(standing.val.binary.data) ||
		getKeyJsonValueFromContainer(standing.val.binary.data, key, strlen(key), &value) == NULL ||
		value.type != jbvNumeric)
		return NAN;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value.val.numeric)));
}

/* Transitions, unless popularity was better on the validation events. */
static FmoeExpertSlot
better_count_expert(const FmoeVersion *version)
{
	double		popularity = validation_metric(version->metrics, "popularity");
	double		markov = validation_metric(version->metrics, "markov");

	return popularity > markov ? FMOE_POPULARITY : FMOE_MARKOV;
}

static void
resolve_again(FunctionCallInfo fcinfo, FmoeServing *serving, int argument, const char *asked)
{
	MemoryContext old;

	serving->moment.valid = false;
	MemoryContextReset(serving->resolved);
	old = MemoryContextSwitchTo(serving->resolved);
	serving->asked = asked ? pstrdup(asked) : NULL;
	serving->setting = fmoe_domain_setting ? pstrdup(fmoe_domain_setting) : NULL;
	serving->domain = fmoe_domain_argument(fcinfo, argument, FMOE_USE);
	serving->version_id = fmoe_live_version(serving->domain->id);
	serving->live = serving->version_id != 0;
	if (!serving->live)
		serving->version_id = fmoe_newest_version(serving->domain->id);
	MemoryContextSwitchTo(old);

	if (serving->version_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no version that can answer", serving->domain->name),
				 errhint("Train one with CALL fmoe_train('%s').", serving->domain->name)));
}

void
fmoe_serving_resolve(FunctionCallInfo fcinfo, FmoeServing *serving, int argument)
{
	FmoeMoment	now = this_moment();
	char	   *asked = NULL;
	MemoryContext old = MemoryContextSwitchTo(serving->call);

	if (!PG_ARGISNULL(argument))
		asked = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	MemoryContextSwitchTo(old);

	if (!same_moment(&now, &serving->moment) || !same_name(asked, serving->asked) ||
		!same_name(fmoe_domain_setting, serving->setting))
	{
		resolve_again(fcinfo, serving, argument, asked);
		serving->loaded = fmoe_load(serving->domain, serving->version_id);
		serving->fallback = better_count_expert(serving->loaded->version);
		serving->moment = now;
	}
	else
		serving->loaded = fmoe_load(serving->domain, serving->version_id);
}

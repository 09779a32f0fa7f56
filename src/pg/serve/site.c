/*
 * site.c
 *	  The state of a call site: what it looked up, and its scratch memory.
 *
 * A call site (one place in one running statement) keeps an FmoeServing in
 * fn_extra.  What it looked up is good as long as nothing can have changed:
 * the same user, settings, transaction and snapshot.  Two snapshots of one
 * backend with equal xmin, xmax, counts of running transactions and command
 * id see the same rows, because any transaction that ends between them either
 * raises xmax or shortens a list.  So `SELECT ... FROM users, LATERAL
 * fmoe_recommend(...)` resolves its domain once, and a function that deploys
 * and recommends in turn always sees what it deployed.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "pg/serve/serve.h"

/* ---------------------------------------------------------------- scratch memory */

/*
 * Memory that a statement gets from the system and touches for the first time
 * costs a twentieth of its time.  So the scratch memory of a call site that ends
 * is kept for the next one.
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

/* Takes scratch memory, which lasts as long as the context. */
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
	serving->site.context = context;
	serving->call.context = AllocSetContextCreate(context, "fmoe serving call", ALLOCSET_DEFAULT_SIZES);
	serving->moment.context = AllocSetContextCreate(context, "fmoe serving domain", ALLOCSET_SMALL_SIZES);
	serving->site.arena = take_scratch(context);
	serving->site.start = fnn_arena_mark(serving->site.arena);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = serving;
	return serving;
}

void
fmoe_serve_begin(FmoeServing *serving)
{
	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(serving->call.context);
	serving->call.keeps_seen = false;
	serving->call.met = NULL;
	fnn_arena_reset(serving->site.arena, serving->site.start);
	serving->rows.count = 0;
	serving->rows.next = 0;
}

/* ---------------------------------------------------------------- domain and version */

#define LIVE PG_INT32_MIN		/* instead of a number: none was asked for */

static FmoeSight
this_sight(void)
{
	FmoeSight	sight = {0};
	Snapshot	snapshot;

	if (!ActiveSnapshotSet())
		return sight;
	snapshot = GetActiveSnapshot();
	sight.valid = true;
	sight.user = GetUserId();
	sight.transaction = fmoe_local_xid(MyProc);
	sight.subtransaction = GetCurrentSubTransactionId();
	sight.xmin = snapshot->xmin;
	sight.xmax = snapshot->xmax;
	sight.xcnt = snapshot->xcnt;
	sight.subxcnt = snapshot->subxcnt;
	sight.command = snapshot->curcid;
	return sight;
}

static bool
same_sight(const FmoeSight *a, const FmoeSight *b)
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

/* Sets the version that is asked for, else the live one, else the newest. */
static void
choose_version(FunctionCallInfo fcinfo, FmoeMoment *moment, int argument)
{
	FmoeDomain *domain = moment->domain;

	moment->whole = true;
	if (!PG_ARGISNULL(argument))
	{
		FmoeVersion *version = fmoe_version_argument(fcinfo, argument, domain);

		if (!version->complete)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("version %d of domain \"%s\" cannot answer", version->version, domain->name),
					 errdetail("It was imported without an item table.")));
		moment->version_id = version->version_id;
		return;
	}
	moment->version_id = fmoe_live_version(domain->id);
	if (moment->version_id != 0)
		return;
	moment->whole = false;
	moment->version_id = fmoe_newest_version(domain->id);
}

static void
resolve_again(FunctionCallInfo fcinfo, FmoeMoment *moment, const FmoeArguments *at, const char *asked, int version)
{
	MemoryContext old;

	moment->sight.valid = false;
	moment->allowed = NULL;
	moment->look_ups = 0;
	MemoryContextReset(moment->context);
	old = MemoryContextSwitchTo(moment->context);
	moment->asked = asked ? pstrdup(asked) : NULL;
	moment->setting = fmoe_domain_setting ? pstrdup(fmoe_domain_setting) : NULL;
	moment->asked_version = version;
	moment->domain = fmoe_domain_argument(fcinfo, at->domain, FMOE_USE);
	choose_version(fcinfo, moment, at->version);
	MemoryContextSwitchTo(old);

	if (moment->version_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no version that can answer", moment->domain->name),
				 errhint("Train one with CALL fmoe_train('%s').", moment->domain->name)));
}

/* T of a call whose ids are all of type T. */
static Oid
fixed_type(FunctionCallInfo fcinfo, const FmoeArguments *at)
{
	Oid			type = fmoe_argument_type(fcinfo, at->user >= 0 ? at->user : at->item >= 0 ? at->item : at->history);
	Oid			element = get_element_type(type);

	return OidIsValid(element) ? element : type;
}

/* What comes back must not depend on which ids they happen to be. */
static void
check_fixed(FunctionCallInfo fcinfo, const FmoeDomain *domain, const FmoeArguments *at)
{
	Oid			type = fixed_type(fcinfo, at);
	char	   *own;

	if (type == TEXTOID || type == domain->item_type || (type == INT8OID && fmoe_is_integer(domain->item_type)))
		return;
	own = format_type_be(domain->item_type);
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("items of domain \"%s\" have ids of type %s, and this call gives ids of type %s", domain->name,
					own, format_type_be(type)),
			 errhint("Cast the ids that you give to text, name the type as in fmoe_recommend_as(NULL::%s, ...),"
					 " or let fmoe_create_functions(%s) make functions of the domain's own types.",
					 own, quote_literal_cstr(domain->name))));
}

void
fmoe_serve_resolve(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	FmoeMoment *moment = &serving->moment;
	FmoeSight	now = this_sight();
	char	   *asked = NULL;
	int			version = PG_ARGISNULL(at->version) ? LIVE : PG_GETARG_INT32(at->version);
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	bool		known;

	if (!PG_ARGISNULL(at->domain))
		asked = text_to_cstring(PG_GETARG_TEXT_PP(at->domain));
	MemoryContextSwitchTo(old);

	known = same_sight(&now, &moment->sight) && same_name(asked, moment->asked) &&
		version == moment->asked_version && same_name(fmoe_domain_setting, moment->setting);
	if (!known)
		resolve_again(fcinfo, moment, at, asked, version);
	if (at->fixed)
		check_fixed(fcinfo, moment->domain, at);
	serving->call.loaded = fmoe_load(moment->domain, moment->version_id);
	moment->sight = now;
}

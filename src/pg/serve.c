/*
 * serve.c
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

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "serve.h"

#define DEFAULT_K 10
#define POLL_EVERY 4096			/* ids converted between two polls */

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

static FmoeStatement newest_version = {
	.sql = "SELECT e.expert_id FROM fmoe.expert e"
	" WHERE e.domain_id OPERATOR(pg_catalog.=) $1 AND e.complete"
	" ORDER BY e.version DESC LIMIT 1",
	.nargs = 1,
	.types = {INT8OID}
};

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

/* The newest version whose count experts can serve while nothing is live; 0: none. */
static int64
newest_expert(int64 domain_id)
{
	Datum		value = Int64GetDatum(domain_id);
	int64		expert_id = 0;
	FmoeOwn		own;

	fmoe_own_begin(&own);
	fmoe_own_execute(&newest_version, &value, NULL, true, 1);
	if (SPI_processed > 0)
	{
		bool		isnull;

		expert_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	fmoe_own_end(&own);
	return expert_id;
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
	serving->expert_id = fmoe_live_expert(serving->domain->id);
	serving->live = serving->expert_id != 0;
	if (!serving->live)
		serving->expert_id = newest_expert(serving->domain->id);
	MemoryContextSwitchTo(old);

	if (serving->expert_id == 0)
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
		serving->loaded = fmoe_load(serving->domain, serving->expert_id);
		serving->fallback = better_count_expert(serving->loaded->version);
		serving->moment = now;
	}
	else
		serving->loaded = fmoe_load(serving->domain, serving->expert_id);
}

/* ---------------------------------------------------------------- ids and histories */

Oid
fmoe_argument_type(FunctionCallInfo fcinfo, int argument)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, argument);

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_INDETERMINATE_DATATYPE),
				 errmsg("could not determine the data type of an id"),
				 errhint("Cast it to the type of the domain's column.")));
	return type;
}

static FmoeConverter *
id_converter(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to)
{
	FmoeIdConverter *known = &serving->converter[source];

	if (known->converter == NULL || known->from != from || known->to != to)
	{
		MemoryContext old = MemoryContextSwitchTo(serving->context);

		known->converter = NULL;
		known->converter = fmoe_converter(from, to);
		known->from = from;
		known->to = to;
		MemoryContextSwitchTo(old);
	}
	return known->converter;
}

Datum
fmoe_serving_id(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to, Datum id)
{
	FmoeConverter *converter = id_converter(serving, source, from, to);
	MemoryContext old = MemoryContextSwitchTo(serving->call);
	Datum		result = fmoe_convert(converter, id);

	MemoryContextSwitchTo(old);
	return result;
}

FmoeItems *
fmoe_serving_array(FmoeServing *serving, FmoeIdSource source, Datum array,
				   Oid item_type, const FmoeVocabulary *vocabulary)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call);
	ArrayType  *ids = DatumGetArrayTypeP(array);
	FmoeItems  *items = palloc0(sizeof(FmoeItems));
	FmoeConverter *converter = id_converter(serving, source, ARR_ELEMTYPE(ids), item_type);
	int16		length;
	bool		by_value;
	char		alignment;
	Datum	   *element;
	bool	   *element_null;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(ids), &length, &by_value, &alignment);
	deconstruct_array(ids, ARR_ELEMTYPE(ids), length, by_value, alignment, &element, &element_null, &n);
	items->item = palloc(Max(n, 1) * sizeof(int32));
	for (int i = 0; i < n; i++)
	{
		int32		index;

		if (i % POLL_EVERY == POLL_EVERY - 1)
			CHECK_FOR_INTERRUPTS();
		if (element_null[i])
			continue;
		index = fmoe_vocabulary_find(vocabulary, fmoe_convert(converter, element[i]));
		if (index >= 0)
			items->item[items->count++] = index;
	}
	MemoryContextSwitchTo(old);
	return items;
}

/* Seconds of an as_of argument: NaN without one, or at infinity; -infinity before all time. */
static double
as_of_seconds(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz moment;

	if (argument < 0 || PG_ARGISNULL(argument))
		return NAN;
	moment = PG_GETARG_TIMESTAMPTZ(argument);
	if (TIMESTAMP_IS_NOEND(moment))
		return NAN;
	if (TIMESTAMP_IS_NOBEGIN(moment))
		return -INFINITY;
	return fmoe_seconds(TIMESTAMPTZOID, TimestampTzGetDatum(moment));
}

/* Events of items that the vocabulary knows. */
typedef struct Events
{
	const FmoeVocabulary *vocabulary;
	int64		count;
	int64		capacity;
	FmoeEvent  *event;
} Events;

static void
take_event(void *argument, Datum item, double time)
{
	Events	   *events = argument;
	int32		index = fmoe_vocabulary_find(events->vocabulary, item);

	if (index < 0)
		return;
	if (events->count == events->capacity)
	{
		events->capacity *= 2;
		events->event = repalloc_huge(events->event, sizeof(FmoeEvent) * events->capacity);
	}
	events->event[events->count].time = time;
	events->event[events->count++].item = index;
}

static int
compare_events(const void *a, const void *b)
{
	const FmoeEvent *x = a;
	const FmoeEvent *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

void
fmoe_sort_events(int64 count, FmoeEvent *events)
{
	qsort(events, count, sizeof(FmoeEvent), compare_events);
}

FmoeItems *
fmoe_serving_history(FunctionCallInfo fcinfo, FmoeServing *serving, int user_argument, int as_of_argument)
{
	const FmoeDomain *domain = serving->domain;
	Datum		user = fmoe_serving_id(serving, FMOE_ID_USER, fmoe_argument_type(fcinfo, user_argument),
									   domain->user_type, PG_GETARG_DATUM(user_argument));
	double		as_of = as_of_seconds(fcinfo, as_of_argument);
	MemoryContext old = MemoryContextSwitchTo(serving->call);
	FmoeItems  *items = palloc0(sizeof(FmoeItems));
	Events		events = {.vocabulary = serving->loaded->vocabulary, .capacity = 64};

	events.event = palloc(sizeof(FmoeEvent) * events.capacity);
	if (as_of != -INFINITY)
		fmoe_read_history(domain, user, as_of, take_event, &events);
	fmoe_sort_events(events.count, events.event);

	items->count = events.count;
	items->item = palloc_extended(Max(events.count, 1) * sizeof(int32), MCXT_ALLOC_HUGE);
	items->time = palloc_extended(Max(events.count, 1) * sizeof(double), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < events.count; i++)
	{
		items->item[i] = events.event[i].item;
		items->time[i] = events.event[i].time;
	}
	MemoryContextSwitchTo(old);
	return items;
}

int32
fmoe_serving_k(FunctionCallInfo fcinfo, int argument)
{
	int32		k = PG_ARGISNULL(argument) ? DEFAULT_K : PG_GETARG_INT32(argument);

	if (k < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be at least 1")));
	return k;
}

/* ---------------------------------------------------------------- scores and ranking */

FmoeExpertSlot
fmoe_serving_slot(const FmoeServing *serving, const FmoeItems *history)
{
	if (history->count == 0)
		return FMOE_POPULARITY;
	return serving->live ? FMOE_MAIN : serving->fallback;
}

FmoeBatch *
fmoe_serving_batch(FmoeServing *serving, const FmoeItems *history, int max_length)
{
	int64		begin = 0;
	int64		end = history->count;

	return fmoe_batch(serving->arena, history->item, history->time, 1, &begin, &end, max_length);
}

FnnTopk *
fmoe_serving_topk(FmoeServing *serving, int32 k, int64 n)
{
	FnnTopk    *best = fnn_alloc(serving->arena, sizeof(FnnTopk));
	int32		capacity = (int32) Max(Min(k, n), 1);

	fnn_topk_init(best, capacity, fnn_alloc(serving->arena, capacity * sizeof(int32)),
				  fnn_alloc_reals(serving->arena, 1, capacity));
	return best;
}

void
fmoe_serving_ranked(FnnTopk *best)
{
	fnn_topk_sort(best);
	if (!fnn_all_finite(best->score, best->count))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the version's scores are not finite"),
				 errhint("Deploy another version.")));
}

static void
pass_over(uint64 *passed, const FmoeItems *items)
{
	for (int64 i = 0; items != NULL && i < items->count; i++)
		passed[items->item[i] / 64] |= UINT64CONST(1) << items->item[i] % 64;
}

FnnTopk *
fmoe_serving_best(FmoeServing *serving, const FmoeModel *model, FmoeExpertSlot slot,
				  const FmoeItems *history, const FmoeFilter *filter, int32 k)
{
	const FmoeItems *candidates = filter->candidates;
	FnnTopk    *best = fmoe_serving_topk(serving, k, candidates != NULL ? Min(candidates->count, model->n_items)
										 : model->n_items);
	FnnMark		mark = fnn_arena_mark(serving->arena);
	FmoeEligible eligible = {0};

	if (candidates != NULL)
	{
		eligible.candidate = candidates->item;
		eligible.n_candidates = candidates->count;
	}
	if (filter->seen != NULL || filter->exclude != NULL)
	{
		eligible.passed = fnn_zalloc(serving->arena, fnn_set_words(model->n_items) * sizeof(uint64));
		pass_over(eligible.passed, filter->seen);
		pass_over(eligible.passed, filter->exclude);
	}
	fmoe_best(model, slot, serving->arena, fmoe_serving_batch(serving, history, model->config.max_length),
			  fmoe_scan_setting, &eligible, best);
	fnn_arena_reset(serving->arena, mark);
	fmoe_serving_ranked(best);
	return best;
}

/* ---------------------------------------------------------------- rows */

/* The query stopped asking before the last row. */
static void
rows_abandoned(Datum serving)
{
	((FmoeServing *) DatumGetPointer(serving))->active = false;
}

static void
rows_begin(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	if (serving->desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(serving->context);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		serving->desc = BlessTupleDesc(desc);
		MemoryContextSwitchTo(old);
	}
	RegisterExprContextCallback(result->econtext, rows_abandoned, PointerGetDatum(serving));
	serving->active = true;
	serving->next = 0;
}

void
fmoe_serving_answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeVocabulary *vocabulary,
					Oid item_type, const FnnTopk *best, const char *source)
{
	MemoryContext old;

	rows_begin(fcinfo, serving);
	serving->vocabulary = vocabulary;
	serving->item_type = item_type;
	serving->to_result = id_converter(serving, FMOE_ID_RESULT, item_type,
									  TupleDescAttr(serving->desc, 0)->atttypid);
	serving->count = best->count;
	serving->item = best->item;
	serving->score = best->score;
	old = MemoryContextSwitchTo(serving->call);
	serving->source = source ? CStringGetTextDatum(source) : (Datum) 0;
	MemoryContextSwitchTo(old);
}

void
fmoe_serving_answer_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int64 count,
						const Datum *id, const bool *id_null, const fnn_real *score)
{
	rows_begin(fcinfo, serving);
	serving->vocabulary = NULL;
	serving->count = count;
	serving->id = id;
	serving->id_null = id_null;
	serving->score = score;
	serving->source = (Datum) 0;
}

/* An id that the result's type cannot hold is the caller's choice of type. */
static void
result_hint(void *serving)
{
	if (ERRCODE_TO_CATEGORY(geterrcode()) == ERRCODE_DATA_EXCEPTION)
		errhint("Ask for item ids as %s or text.", format_type_be(((FmoeServing *) serving)->item_type));
}

static Datum
result_id(FmoeServing *serving, int32 item)
{
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = result_hint,
		.arg = serving
	};
	Datum		id;

	error_context_stack = &callback;
	id = fmoe_convert(serving->to_result, fmoe_vocabulary_id(serving->vocabulary, item));
	error_context_stack = callback.previous;
	return id;
}

Datum
fmoe_serving_next(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		row = serving->next++;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};

	if (!serving->active || row >= serving->count)
	{
		if (serving->active)
			UnregisterExprContextCallback(result->econtext, rows_abandoned, PointerGetDatum(serving));
		serving->active = false;
		result->isDone = ExprEndResult;
		PG_RETURN_NULL();
	}

	Assert(serving->desc->natts == (serving->source ? 3 : 2));
	if (serving->vocabulary != NULL)
		values[0] = result_id(serving, serving->item[row]);
	else
	{
		values[0] = serving->id[row];
		nulls[0] = serving->id_null[row];
	}
	values[1] = Float4GetDatum(serving->score[row]);
	nulls[1] = isnan(serving->score[row]);
	values[2] = serving->source;

	result->isDone = ExprMultipleResult;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(serving->desc, values, nulls)));
}

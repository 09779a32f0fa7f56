/*
 * recommend_all.c
 *	  fmoe_recommend_all and its form _as: the best items for every user of a domain.
 *
 * The interaction table is read once, in the order of its
 * users, so that no more of it is in memory than a batch of users' histories.
 * A batch goes through the encoder together and is scanned together, which is
 * several times quicker than one history after the other; the answers are those
 * of fmoe_recommend.  Rows go into a tuplestore, which spills to disk above
 * work_mem.  What a batch takes is estimated, and refused, before the table is read.
 *
 * Every user of the table gets rows: min(k, eligible), by popularity where the
 * version knows none of the items, or none was chosen.  When users are given,
 * their histories are read one by one instead, and each of them gets rows, in
 * the order given.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "pg/serve/serve.h"

PG_FUNCTION_INFO_V1(fmoe_recommend_all);
PG_FUNCTION_INFO_V1(fmoe_recommend_all_as);

/* A batch ends with the user that fills it. */
#define BATCH_USERS 512
#define BATCH_TOKENS 32768		/* that the encoder sees */
#define FIRST_EVENTS 4096

typedef struct Everybody
{
	FmoeServing *serving;
	const FmoeModel *model;		/* that knows the batch's items */
	int32		strangers;		/* that it knows of */
	FnnMark		before;			/* of the arena, before that model */
	ReturnSetInfo *result;
	const FmoeFeatures *features;	/* of the batch's users, by … */
	int32		feature_row[BATCH_USERS];	/* … each one's row; NULL: none */
	int32		k;
	bool		exclude_seen;
	FmoeFilter	filter;			/* without what was seen */
	int16		user_length;
	bool		user_byval;
	FmoeConverter *to_user;
	FmoeConverter *to_item;
	const uint64 *never;		/* items that the filter allows nobody; NULL: none */
	FnnTopk    *popular;		/* of users without a known item */

	MemoryContext batch;		/* of the users, and of the rows' ids */
	MemoryContext row;
	int			users;
	int64		tokens;			/* of the users before the last */
	Datum		user[BATCH_USERS];
	int64		begin[BATCH_USERS + 1]; /* into events: user u's are begin[u] .. begin[u + 1] - 1 */
	int64		begin_shown[BATCH_USERS + 1];	/* the same of shown */
	FmoeKeys   *keys;			/* of the batch */
	FmoeCollected events;
	FmoeCollected shown;		/* and not chosen: their items count as seen */
	bool		labels;			/* what was not chosen is among the events */
} Everybody;

/* ---------------------------------------------------------------- rows */

static void
put_rows(Everybody *all, Datum user, const FnnTopk *best, FmoeExpertSlot slot)
{
	Datum		values[5];
	bool		nulls[5] = {false};
	MemoryContext old;

	MemoryContextReset(all->row);
	old = MemoryContextSwitchTo(all->row);
	values[0] = fmoe_convert(all->to_user, user);
	values[4] = CStringGetTextDatum(fmoe_serve_source(all->serving, slot));
	for (int32 i = 0; i < best->count; i++)
	{
		values[1] = Int32GetDatum(i + 1);
		values[2] = fmoe_convert(all->to_item, fmoe_serve_item_id(all->serving, best->item[i]));
		values[3] = Float4GetDatum((float4) best->score[i]);
		tuplestore_putvalues(all->result->setResult, all->result->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(old);
}

/* ---------------------------------------------------------------- a batch */

/* The batch's users with known items, as the scans take them. */
typedef struct Known
{
	int			users;
	int			of[BATCH_USERS];	/* its number in the batch */
	int64		begin[BATCH_USERS];
	int64		end[BATCH_USERS];
	FnnRows		passed[BATCH_USERS];	/* over: not to be recommended */
	FnnTopk		best[BATCH_USERS];
} Known;

static int
compare_items(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x < y ? -1 : x > y;
}

/* What the batch's user u has seen: events begin .. end - 1, and what was shown and not chosen. */
static FmoeItems
history_of(const Everybody *all, int u, const FmoeEvents *events, int64 begin, int64 end)
{
	FmoeItems	history = {
		.count = end - begin,
		.events = fmoe_events_from(events, begin),
		.n_shown = all->begin_shown[u + 1] - all->begin_shown[u]
	};

	if (history.n_shown > 0)
		history.shown = unconstify(int32 *, all->shown.events.item) + all->begin_shown[u];
	return history;
}

/* Adds those of n items that the version knows to row, from count on; returns the new count. */
static int64
add_known(const Everybody *all, int32 *row, int64 count, int64 n, const int32 *item)
{
	for (int64 i = 0; i < n; i++)
		if (item[i] < all->serving->call.loaded->model.n_items)
			row[count++] = item[i];
	return count;
}

/* Of what a user has seen and of exclude what is not to be recommended, ascending; on the arena. */
static FnnRows
passed_items(const Everybody *all, const FmoeItems *history)
{
	const FmoeItems *exclude = all->filter.exclude;
	int64		seen = all->exclude_seen ? history->count : 0;
	int64		shown = all->exclude_seen ? history->n_shown : 0;
	int64		excluded = exclude == NULL ? 0 : exclude->count;
	int32	   *row = fnn_alloc(all->serving->site.arena, Max(seen + shown + excluded, 1) * sizeof(int32));
	int64		count = add_known(all, row, 0, seen, history->events.item);

	count = add_known(all, row, count, shown, history->shown);
	count = add_known(all, row, count, excluded, excluded > 0 ? exclude->events.item : NULL);
	qsort(row, count, sizeof(int32), compare_items);
	return (FnnRows) {.count = count, .row = row};
}

/* Answers users whose histories go through the encoder, all at once. */
static void
best_together(Everybody *all, Known *known, const FmoeEvents *events)
{
	FmoeServing *serving = all->serving;
	const FmoeModel *model = all->model;
	FmoeBatch  *batch = fmoe_batch(serving->site.arena, events, known->users, known->begin, known->end,
								   model->config.max_length);

	batch->keeps_seen = serving->call.keeps_seen;
	if (all->features != NULL)
	{
		int32	   *user = fnn_alloc(serving->site.arena, known->users * sizeof(int32));

		for (int i = 0; i < known->users; i++)
			user[i] = all->feature_row[known->of[i]];
		batch->user = user;
		batch->user_features = all->features;
	}
	batch->now = fmoe_serve_now(serving, known->users);
	for (int i = 0; i < known->users; i++)
	{
		FmoeItems	history = history_of(all, known->of[i], events, known->begin[i], known->end[i]);

		known->best[i] = *fmoe_serve_topk(serving, all->k, model->n_items);
		known->passed[i] = passed_items(all, &history);
	}
	fmoe_best_many(model, serving->site.arena, batch, all->never, known->passed, known->best);
	for (int i = 0; i < known->users; i++)
		fmoe_serve_ranked(&known->best[i]);
}

/* Answers users for whom a counting expert is asked, or with candidates, one after the other. */
static void
best_each(Everybody *all, Known *known, FmoeExpertSlot slot, const FmoeEvents *events)
{
	const FmoeModel *model = all->model;

	for (int i = 0; i < known->users; i++)
	{
		FmoeItems	history = history_of(all, known->of[i], events, known->begin[i], known->end[i]);
		FmoeFilter	filter = all->filter;

		history.users = all->features;
		history.user = all->features != NULL ? all->feature_row[known->of[i]] : 0;
		history.private_row = fmoe_serve_private(all->serving, all->user[known->of[i]]);
		if (all->exclude_seen)
			filter.seen = &history;
		known->best[i] = *fmoe_serve_best(all->serving, model, slot, &history, &filter, all->k);
	}
}

/* Ranks the popular items once, before any batch marks the arena, so that resets leave them. */
static void
make_popular(Everybody *all)
{
	const FmoeModel *model = fmoe_serve_model(all->serving);
	FmoeItems	nothing = {0};

	all->popular = fmoe_serve_best(all->serving, model, fmoe_empty_slot(model), &nothing, &all->filter, all->k);
}

/* In memory of the call, as well. */
static void
make_never(Everybody *all)
{
	const FmoeAllowed *allowed = all->filter.allowed;
	size_t		words = fnn_set_words(all->serving->call.loaded->model.n_items);
	uint64	   *never;

	if (allowed == NULL)
		return;
	never = fnn_alloc(all->serving->site.arena, words * sizeof(uint64));
	for (size_t w = 0; w < words; w++)
		never[w] = ~allowed->set[w];
	all->never = never;
}

/* What the batch's user u, who has no known item, is answered with. */
static const FnnTopk *
popular_for(const Everybody *all, int u, const FmoeEvents *events)
{
	const FmoeModel *model = all->model;
	FmoeItems	history = history_of(all, u, events, all->begin[u], all->begin[u]);
	FmoeFilter	filter = all->filter;

	if (!all->exclude_seen || history.n_shown == 0)
		return all->popular;
	filter.seen = &history;
	return fmoe_serve_best(all->serving, model, fmoe_empty_slot(model), &history, &filter, all->k);
}

/* Leaves users out whose events were all of unknown items. */
static void
leave_unknown(Known *known)
{
	int			n = 0;

	for (int i = 0; i < known->users; i++)
		if (known->begin[i] < known->end[i])
		{
			known->of[n] = known->of[i];
			known->begin[n] = known->begin[i];
			known->end[n++] = known->end[i];
		}
	known->users = n;
}

/* Sorts the users' events into histories, and lists the users who have one in known. */
static void
make_histories(Everybody *all, Known *known, FmoeEvents *sorted)
{
	fmoe_keys_settle(all->keys, &all->events.events, all->events.count);
	for (int u = 0; u < all->users; u++)
	{
		int64		begin = all->begin[u];
		int64		end = all->begin[u + 1];

		if (begin == end)
			continue;
		fmoe_sort_events(sorted, begin, &all->events.events, begin, end - begin);
		known->of[known->users] = u;
		known->begin[known->users] = begin;
		known->end[known->users++] = end;
	}
	fmoe_make_baskets(sorted, all->events.count, known->users, known->begin, known->end);
	leave_unknown(known);
}

/* Leaves out the batch's items that the item table has no row for; only with keys they stay, with number -1. */
static void
leave_out_unknown(Everybody *all)
{
	FmoeEvents *events = &all->events.events;
	int32	   *shown = unconstify(int32 *, all->shown.events.item);
	int64		kept = 0;
	int64		kept_shown = 0;

	for (int u = 0; u < all->users; u++)
	{
		int64		i = all->begin[u];
		int64		s = all->begin_shown[u];

		all->begin[u] = kept;
		for (; i < all->begin[u + 1]; i++)
		{
			bool		knows = fmoe_serve_knows(all->serving, events->item[i]);

			if (!knows && all->keys == NULL)
				continue;
			if (!knows)
				unconstify(int32 *, events->item)[i] = -1;
			if (kept != i)
				fmoe_events_copy(events, kept, events, i, 1);
			kept++;
		}
		all->begin_shown[u] = kept_shown;
		for (; s < all->begin_shown[u + 1]; s++)
			if (fmoe_serve_knows(all->serving, shown[s]))
				shown[kept_shown++] = shown[s];
	}
	all->begin[all->users] = all->events.count = kept;
	all->begin_shown[all->users] = all->shown.count = kept_shown;
}

/* Sets the model that knows the batch's items, as far as the item table does. */
static void
meet_items(Everybody *all)
{
	FmoeServing *serving = all->serving;

	if (serving->call.met == NULL)
		return;
	if (fmoe_serve_strangers(serving) > all->strangers)
	{
		/* the model of the batch before */
		fnn_arena_reset(serving->site.arena, all->before);
		all->strangers = fmoe_serve_strangers(serving);
		fmoe_serve_ask(serving);
	}
	all->model = fmoe_serve_model(serving);
	leave_out_unknown(all);
}

static void
finish_batch(Everybody *all)
{
	FmoeServing *serving = all->serving;
	FnnMark		mark;
	FmoeExpertSlot slot = fmoe_serve_slot(serving, 1);
	Known	   *known;
	const FmoeEvents *unsorted = &all->events.events;
	FmoeEvents	events;
	MemoryContext old;
	int			next = 0;

	all->begin[all->users] = all->events.count;
	all->begin_shown[all->users] = all->shown.count;
	meet_items(all);
	mark = fnn_arena_mark(serving->site.arena);
	known = fnn_alloc(serving->site.arena, sizeof(Known));
	known->users = 0;
	fmoe_events_place(&events, unsorted, all->events.count,
					  fnn_alloc(serving->site.arena, Max(fmoe_events_bytes(unsorted, all->events.count), 1)));
	old = MemoryContextSwitchTo(all->batch);
	make_histories(all, known, &events);
	all->features = fmoe_serve_users(serving, all->users, all->user, all->feature_row);
	MemoryContextSwitchTo(old);
	if (known->users > 0 && slot == FMOE_MAIN && all->filter.candidates == NULL &&
		fmoe_has_vectors(&serving->call.loaded->model))
		best_together(all, known, &events);
	else
		best_each(all, known, slot, &events);
	for (int u = 0; u < all->users; u++)
	{
		bool		is_known = next < known->users && known->of[next] == u;

		if (is_known)
			put_rows(all, all->user[u], &known->best[next++], slot);
		else
			put_rows(all, all->user[u], popular_for(all, u, &events),
					 fmoe_empty_slot(&serving->call.loaded->model));
	}
	fnn_arena_reset(serving->site.arena, mark);
	MemoryContextReset(all->batch);
	all->keys = NULL;
	all->users = 0;
	all->tokens = 0;
	all->events.count = 0;
	all->shown.count = 0;
}

/* ---------------------------------------------------------------- reading */

/* The events that come next are this user's. */
static void
begin_user(Everybody *all, Datum user)
{
	MemoryContext old;

	if (all->users > 0)
		all->tokens += Min(all->events.count - all->begin[all->users - 1],
						   all->serving->call.loaded->model.config.max_length);
	if (all->users == BATCH_USERS || all->tokens >= BATCH_TOKENS)
		finish_batch(all);
	old = MemoryContextSwitchTo(all->batch);
	all->user[all->users] = datumCopy(user, all->user_byval, all->user_length);
	all->begin_shown[all->users] = all->shown.count;
	all->begin[all->users++] = all->events.count;
	MemoryContextSwitchTo(old);
}

/* Values of a batch's events are in its memory. */
static bool
take_keys(Everybody *all, FmoeRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(all->batch);
	bool		collect;

	if (all->keys == NULL)
		all->keys = fmoe_keys_create(all->serving->moment.domain);
	collect = fmoe_keys_take(all->keys, row);
	MemoryContextSwitchTo(old);
	return collect;
}

static void
take_event(void *argument, FmoeRow *row)
{
	Everybody  *all = argument;

	row->event.item = fmoe_serve_number(all->serving, row->item);
	if (row->event.label == 0 && !all->labels)
	{
		if (row->event.item >= 0)
			fmoe_collect(&all->shown, &row->event);
	}
	else if (take_keys(all, row))
		fmoe_collect(&all->events, &row->event);
}

static void
take_user_event(void *argument, Datum user, bool first, FmoeRow *row)
{
	if (first)
		begin_user(argument, user);
	if (row != NULL)
		take_event(argument, row);
}

/* Those of a list, text[], in its order. */
static void
read_listed(Everybody *all, Datum list)
{
	const FmoeDomain *domain = all->serving->moment.domain;
	Datum	   *user;
	bool	   *isnull;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(list), TEXTOID, -1, false, TYPALIGN_INT, &user, &isnull, &n);
	for (int i = 0; i < n; i++)
	{
		Datum		id;

		CHECK_FOR_INTERRUPTS();
		if (isnull[i])
			continue;
		id = fmoe_serve_id(all->serving, FMOE_ID_USER, TEXTOID, domain->user_type, user[i]);
		begin_user(all, id);
		fmoe_read_history(domain, id, DT_NOEND, take_event, all);
	}
}

/* The most users that a batch has. */
static int
batch_users(FunctionCallInfo fcinfo, int users)
{
	ArrayType  *list;

	if (PG_ARGISNULL(users))
		return BATCH_USERS;
	list = PG_GETARG_ARRAYTYPE_P(users);
	return Min(BATCH_USERS, ArrayGetNItems(ARR_NDIM(list), ARR_DIMS(list)));
}

/* Error unless what the largest batch takes fits into fmoe.max_memory, beside what is taken already. */
static void
check_memory(const Everybody *all, double users)
{
	const FmoeServing *serving = all->serving;
	const FmoeModel *model = &serving->call.loaded->model;
	const FmoeEvents *events = &all->events.events;
	double		rankings = (users + 1) * Min(all->k, model->n_items) * (sizeof(int32_t) + sizeof(fnn_real));
	double		tokens = Min(users * model->config.max_length, BATCH_TOKENS + model->config.max_length);
	double		bytes = MemoryContextMemAllocated(serving->call.context, true) + sizeof(Known) + rankings;

	/* as read, sorted, and packed; items passed over */
	bytes += tokens * (2.0 * fmoe_event_bytes(events) + fmoe_token_bytes(events) + sizeof(int32_t));
	if (fmoe_has_vectors(model))
		bytes += fmoe_best_many_bytes(model, events, users, tokens);
	else
		bytes += model->n_items * (double) sizeof(fnn_real) + fmoe_score_bytes(model);
	fmoe_check_memory((size_t) bytes, psprintf("recommending to every user of domain \"%s\"",
											   serving->moment.domain->name));
}

/* Of fmoe_recommend_all: domain, k, exclude_seen, users, exclude, candidates, version, filter, from first on. */
#define ALL(first) { \
	.user = -1, .item = -1, .history = -1, .domain = (first), .k = (first) + 1, .exclude_seen = (first) + 2, \
	.exclude = (first) + 4, .candidates = (first) + 5, .as_of = -1, .version = (first) + 6, \
	.filter = (first) + 7 \
}
#define USERS(at) ((at)->exclude_seen + 1)

static Datum
recommend_all(FunctionCallInfo fcinfo, const FmoeArguments *at)
{
	FmoeServing *serving = fmoe_serving(fcinfo);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int32		k = fmoe_serve_k(fcinfo, at->k);
	MemoryContext old;
	Everybody  *all;

	InitMaterializedSRF(fcinfo, 0);
	fmoe_serve_begin(serving);
	fmoe_serve_resolve(fcinfo, serving, at);
	fmoe_serve_meets(serving);

	old = MemoryContextSwitchTo(serving->call.context);
	all = palloc0(sizeof(Everybody));
	all->serving = serving;
	all->model = &serving->call.loaded->model;
	all->result = result;
	all->k = k;
	all->labels = (fmoe_serve_reads(serving) & FMOE_READS_LABELS) != 0;
	all->exclude_seen = PG_ARGISNULL(at->exclude_seen) || PG_GETARG_BOOL(at->exclude_seen);
	all->filter = fmoe_serve_filter(fcinfo, serving, at, NULL);
	get_typlenbyval(serving->moment.domain->user_type, &all->user_length, &all->user_byval);
	all->to_user = fmoe_converter(serving->moment.domain->user_type, TupleDescAttr(result->setDesc, 0)->atttypid);
	all->to_item = fmoe_converter(serving->moment.domain->item_type, TupleDescAttr(result->setDesc, 2)->atttypid);
	all->batch = AllocSetContextCreate(serving->call.context, "fmoe batch of users", ALLOCSET_DEFAULT_SIZES);
	all->row = AllocSetContextCreate(serving->call.context, "fmoe rows of a user", ALLOCSET_SMALL_SIZES);
	fmoe_collect_reserve(&all->events, FIRST_EVENTS);
	if (serving->moment.domain->optional[FMOE_LABEL_COLUMN].name != NULL)
		fmoe_collect_reserve(&all->shown, FIRST_EVENTS);
	fmoe_serve_allow_all(serving, &all->filter);
	check_memory(all, batch_users(fcinfo, USERS(at)));
	make_never(all);
	make_popular(all);
	/* candidates may be such that the version does not know */
	all->strangers = fmoe_serve_strangers(serving);
	all->model = fmoe_serve_model(serving);
	all->before = fnn_arena_mark(serving->site.arena);
	if (PG_ARGISNULL(USERS(at)))
		fmoe_read_users(serving->moment.domain, take_user_event, all);
	else
		read_listed(all, PG_GETARG_DATUM(USERS(at)));
	if (all->users > 0)
		finish_batch(all);
	MemoryContextSwitchTo(old);

	/* nothing of it is asked for again */
	fmoe_serve_begin(serving);
	return (Datum) 0;
}

/* Text, which can hold any id. */
Datum
fmoe_recommend_all(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = ALL(0);

	return recommend_all(fcinfo, &at);
}

/* Types of users and items by the first two arguments. */
Datum
fmoe_recommend_all_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = ALL(2);

	return recommend_all(fcinfo, &at);
}

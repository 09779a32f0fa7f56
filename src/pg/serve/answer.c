/*
 * answer.c
 *	  From a history to the best items.
 *
 * A history without a known item is answered by what is recent, where the version
 * has that expert, or else by popularity, any other by the model.  Where no version is
 * live, the newest one's fallback answers, which is the counting expert that was better
 * in validation.
 */
#include "postgres.h"

#include "access/xact.h"

#include "pg/serve/serve.h"

FmoeExpertSlot
fmoe_serve_slot(const FmoeServing *serving, int64 events)
{
	if (events == 0)
		return fmoe_empty_slot(&serving->call.loaded->model);
	return serving->moment.whole ? FMOE_MAIN : serving->call.loaded->fallback;
}

const char *
fmoe_serve_source(const FmoeServing *serving, FmoeExpertSlot slot)
{
	const FmoeExpertClass *class = serving->call.loaded->model.expert[slot].class;

	/* a gate that nothing was fitted to */
	if (slot == FMOE_MAIN && fmoe_has_gate(&serving->call.loaded->model) &&
		serving->call.loaded->model.gate.cases == 0)
		return "prior";
	/* so do rates of clicks, which may have taken the place of the model that was trained */
	if (slot == FMOE_MAIN && fmoe_only_counts(class) && fmoe_by_clicks(class))
		return class->name;
	/* popularity goes by its name, even as a model: it knows nothing of the user */
	return slot == FMOE_MAIN && class != fmoe_slot_classes[FMOE_POPULARITY] ? "model" : class->name;
}

const double *
fmoe_serve_now(FmoeServing *serving, int64 n)
{
	FnnArena   *arena = serving->site.arena;
	double	   *now = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), n, sizeof(double)));

	for (int64 i = 0; i < n; i++)
		now[i] = fmoe_seconds_of_moment(GetCurrentTransactionStartTimestamp());
	return now;
}

FmoeBatch *
fmoe_serve_batch(FmoeServing *serving, const FmoeItems *history, int max_length)
{
	int64		begin = 0;
	int64		end = history->count;

	FmoeBatch  *batch = fmoe_batch(serving->site.arena, &history->events, 1, &begin, &end, max_length);

	batch->keeps_seen = serving->call.keeps_seen;
	if (history->private_row != NULL)
	{
		batch->private_rows = history->private_row;
		batch->private_of = fnn_zalloc(serving->site.arena, sizeof(int32));
	}
	if (history->users != NULL)
	{
		int32	   *user = fnn_alloc(serving->site.arena, sizeof(int32));

		*user = history->user;
		batch->user_features = history->users;
		batch->user = user;
	}
	batch->now = history->asked != NULL ? history->asked : fmoe_serve_now(serving, 1);
	return batch;
}

FnnTopk *
fmoe_serve_topk(FmoeServing *serving, int32 k, int64 n)
{
	FnnTopk    *best = fnn_alloc(serving->site.arena, sizeof(FnnTopk));
	int32		capacity = (int32) Max(Min(k, n), 1);

	fnn_topk_init(best, capacity, fnn_alloc(serving->site.arena, capacity * sizeof(int32)),
				  fnn_alloc_reals(serving->site.arena, 1, capacity));
	return best;
}

void
fmoe_serve_ranked(FnnTopk *best)
{
	fnn_topk_sort(best);
	if (!fnn_all_finite(best->score, best->count))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the version's scores are not finite"),
				 errhint("Deploy another version.")));
}

/* ---------------------------------------------------------------- the best items */

static void
pass_over(uint64 *passed, const FmoeItems *items)
{
	for (int64 i = 0; items != NULL && i < items->count; i++)
		passed[items->events.item[i] / 64] |= UINT64CONST(1) << items->events.item[i] % 64;
	for (int64 i = 0; items != NULL && i < items->n_shown; i++)
		passed[items->shown[i] / 64] |= UINT64CONST(1) << items->shown[i] % 64;
}

/* Candidates that are allowed. */
static void
set_candidates(FmoeServing *serving, const FmoeFilter *filter, FmoeEligible *eligible)
{
	const FmoeItems *candidates = filter->candidates;
	int32	   *item;

	if (candidates == NULL)
	{
		eligible->candidate = filter->allowed->item;
		eligible->n_candidates = filter->allowed->count;
		return;
	}
	eligible->candidate = candidates->events.item;
	eligible->n_candidates = candidates->count;
	if (filter->allowed == NULL)
		return;
	item = fnn_alloc(serving->site.arena, Max(candidates->count, 1) * sizeof(int32));
	eligible->candidate = item;
	eligible->n_candidates = 0;
	for (int64 i = 0; i < candidates->count; i++)
		if (fmoe_serve_allows(serving, filter->allowed, candidates->events.item[i]))
			item[eligible->n_candidates++] = candidates->events.item[i];
}

/* On the arena; sets have room for strangers. */
static FmoeEligible
eligible_items(FmoeServing *serving, const FmoeFilter *filter, int32 n_items)
{
	int32		all_items = n_items + fmoe_serve_strangers(serving);
	const FmoeAllowed *allowed = filter->allowed;
	FmoeEligible eligible = {0};
	bool		by_list = filter->candidates != NULL || (allowed != NULL && allowed->item != NULL);

	if (by_list)
		set_candidates(serving, filter, &eligible);
	if (filter->seen != NULL || filter->exclude != NULL || (allowed != NULL && !by_list))
	{
		eligible.passed = fnn_zalloc(serving->site.arena, fnn_set_words(all_items) * sizeof(uint64));
		for (size_t w = 0; allowed != NULL && !by_list && w < fnn_set_words(n_items); w++)
			eligible.passed[w] = ~allowed->set[w];
		pass_over(eligible.passed, filter->seen);
		pass_over(eligible.passed, filter->exclude);
	}
	return eligible;
}

/* Offers the eligible items to a ranking, by what is asked for. */
typedef void (*Rank) (FmoeServing *serving, const void *asked, const FmoeEligible *eligible, FnnTopk *best);

/* The want best of what a filter leaves, apart from what is to be looked up. */
static FnnTopk *
rank_some(FmoeServing *serving, Rank rank, const void *asked, const FmoeFilter *filter, int32 n_items, int32 want)
{
	FnnTopk    *best = fmoe_serve_topk(serving, want, filter->candidates == NULL ? n_items
									   : Min(filter->candidates->count, n_items + fmoe_serve_strangers(serving)));
	FnnMark		mark = fnn_arena_mark(serving->site.arena);
	FmoeEligible eligible = eligible_items(serving, filter, n_items);

	rank(serving, asked, &eligible, best);
	fnn_arena_reset(serving->site.arena, mark);
	fmoe_serve_ranked(best);
	return best;
}

/* A call that looks items up ranks somewhat more than it was asked for: a few may be gone. */
#define SPARE 16
/* And tries it with so many times more before it makes the set. */
#define MORE 8

static FnnTopk *
rank_all(FmoeServing *serving, Rank rank, const void *asked, const FmoeFilter *filter, int32 n_items, int32 k)
{
	FmoeFilter	settled = *filter;

	if (filter->look_up && fmoe_serve_by_look_up(serving))
		for (int64 want = 2 * (int64) k + SPARE; want < n_items / MORE; want *= MORE)
		{
			FnnTopk    *best = rank_some(serving, rank, asked, filter, n_items, (int32) want);

			if (fmoe_serve_look_up(serving, best, (int32) want, k))
				return best;
		}
	fmoe_serve_allow_all(serving, &settled);
	return rank_some(serving, rank, asked, &settled, n_items, k);
}

/* ---------------------------------------------------------------- by what */

typedef struct ByModel
{
	const FmoeModel *model;
	FmoeExpertSlot slot;
	const FmoeItems *history;
} ByModel;

static void
rank_by_model(FmoeServing *serving, const void *asked, const FmoeEligible *eligible, FnnTopk *best)
{
	const ByModel *by = asked;

	fmoe_best(by->model, by->slot, serving->site.arena,
			  fmoe_serve_batch(serving, by->history, by->model->config.max_length), fmoe_scan_setting, eligible, best);
}

FnnTopk *
fmoe_serve_best(FmoeServing *serving, const FmoeModel *model, FmoeExpertSlot slot,
				const FmoeItems *history, const FmoeFilter *filter, int32 k)
{
	ByModel		by = {.model = model, .slot = slot, .history = history};

	return rank_all(serving, rank_by_model, &by, filter, model->n_items, k);
}

typedef struct ByItems
{
	const FmoeModel *model;
	int64		n;
	const int32 *item;			/* [n] */
} ByItems;

/* By the cosine with the vector of one item. */
static void
rank_nearest(FmoeServing *serving, const void *asked, const FmoeEligible *eligible, FnnTopk *best)
{
	const ByItems *by = asked;

	fmoe_neighbours(by->model, serving->site.arena, by->item[0], eligible, best);
}

FnnTopk *
fmoe_serve_nearest(FmoeServing *serving, const FmoeModel *model, int32 item, const FmoeFilter *filter, int32 k)
{
	ByItems		by = {.model = model, .n = 1, .item = &item};

	return rank_all(serving, rank_nearest, &by, filter, model->n_items, k);
}

static void
rank_together(FmoeServing *serving, const void *asked, const FmoeEligible *eligible, FnnTopk *best)
{
	const ByItems *by = asked;

	fmoe_best_together(by->model, serving->site.arena, by->n, by->item, eligible, best);
}

FnnTopk *
fmoe_serve_together(FmoeServing *serving, const FmoeModel *model, const FmoeItems *items, const FmoeFilter *filter,
					int32 k)
{
	ByItems		by = {.model = model, .n = items->count, .item = items->events.item};

	return rank_all(serving, rank_together, &by, filter, model->n_items, k);
}

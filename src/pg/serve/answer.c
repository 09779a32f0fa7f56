/*
 * answer.c
 *	  From a history to the best items.
 *
 * A history without a known item is answered by popularity, any other by the
 * model.  Where no version is live, the newest one's fallback answers, which is
 * the counting expert that was better in validation.
 */
#include "postgres.h"

#include "pg/serve/serve.h"

FmoeExpertSlot
fmoe_serve_slot(const FmoeServing *serving, int64 events)
{
	if (events == 0)
		return FMOE_POPULARITY;
	return serving->moment.whole ? FMOE_MAIN : serving->call.loaded->fallback;
}

const char *
fmoe_serve_source(const FmoeServing *serving, FmoeExpertSlot slot)
{
	const FmoeExpertClass *class = serving->call.loaded->model.expert[slot].class;

	/* popularity goes by its name, even as a model: it knows nothing of the user */
	return slot == FMOE_MAIN && class != fmoe_slot_classes[FMOE_POPULARITY] ? "model" : class->name;
}

FmoeBatch *
fmoe_serve_batch(FmoeServing *serving, const FmoeItems *history, int max_length)
{
	int64		begin = 0;
	int64		end = history->count;

	return fmoe_batch(serving->site.arena, &history->events, 1, &begin, &end, max_length);
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

static void
pass_over(uint64 *passed, const FmoeItems *items)
{
	for (int64 i = 0; items != NULL && i < items->count; i++)
		passed[items->events.item[i] / 64] |= UINT64CONST(1) << items->events.item[i] % 64;
	for (int64 i = 0; items != NULL && i < items->n_shown; i++)
		passed[items->shown[i] / 64] |= UINT64CONST(1) << items->shown[i] % 64;
}

FnnTopk *
fmoe_serve_best(FmoeServing *serving, const FmoeModel *model, FmoeExpertSlot slot,
				const FmoeItems *history, const FmoeFilter *filter, int32 k)
{
	const FmoeItems *candidates = filter->candidates;
	FnnTopk    *best = fmoe_serve_topk(serving, k, candidates != NULL ? Min(candidates->count, model->n_items)
										   : model->n_items);
	FnnMark		mark = fnn_arena_mark(serving->site.arena);
	FmoeEligible eligible = {0};

	if (candidates != NULL)
	{
		eligible.candidate = candidates->events.item;
		eligible.n_candidates = candidates->count;
	}
	if (filter->seen != NULL || filter->exclude != NULL)
	{
		eligible.passed = fnn_zalloc(serving->site.arena, fnn_set_words(model->n_items) * sizeof(uint64));
		pass_over(eligible.passed, filter->seen);
		pass_over(eligible.passed, filter->exclude);
	}
	fmoe_best(model, slot, serving->site.arena, fmoe_serve_batch(serving, history, model->config.max_length),
			  fmoe_scan_setting, &eligible, best);
	fnn_arena_reset(serving->site.arena, mark);
	fmoe_serve_ranked(best);
	return best;
}

/* The set of the items that a filter does not let through. */
static uint64 *
passed_over(FmoeServing *serving, const FmoeFilter *filter, int64 n_items)
{
	const FmoeItems *candidates = filter->candidates;
	size_t		bytes = fnn_set_words(n_items) * sizeof(uint64);
	uint64	   *passed = fnn_zalloc(serving->site.arena, bytes);

	if (candidates != NULL)
	{
		memset(passed, 0xff, bytes);
		for (int64 i = 0; i < candidates->count; i++)
			passed[candidates->events.item[i] / 64] &= ~(UINT64CONST(1) << candidates->events.item[i] % 64);
	}
	pass_over(passed, filter->seen);
	pass_over(passed, filter->exclude);
	return passed;
}

FnnTopk *
fmoe_serve_nearest(FmoeServing *serving, const FmoeModel *model, int32 item, const FmoeFilter *filter, int32 k)
{
	FnnTopk    *best = fmoe_serve_topk(serving, k, model->n_items);
	FnnMark		mark = fnn_arena_mark(serving->site.arena);

	fmoe_neighbours(model, serving->site.arena, item, passed_over(serving, filter, model->n_items), best);
	fnn_arena_reset(serving->site.arena, mark);
	fmoe_serve_ranked(best);
	return best;
}

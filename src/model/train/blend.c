/*
 * blend.c
 *	  Chooses the weight of counted transitions beside the model's own score (see
 *	  serve/terms.c) by trying some on the events kept back for validation.
 */
#include "model/evaluate/evaluate.h"
#include "model/expert/expert.h"
#include "model/train/train_private.h"

#include <math.h>

#define CASES_MAX 5000			/* users the weight is tried on */
#define CUTOFF 10

/* The weight where no events are kept back: the smallest one that helped on every data set measured. */
#define UNTRIED 0.5

static const double weights[] = {0, 0.25, 0.5, 1, 2, 4};

#define WEIGHTS ((int) (sizeof(weights) / sizeof(weights[0])))

/*
 * Of the weights whose metric is at least this share of the best one's, the largest
 * is taken: how an encoder orders two items that both follow often is chance, how
 * the counts order them is not.
 */
#define NEAR_BEST 0.99

double
fmoe_blend_choose(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeCases  *cases = fmoe_validation_cases(arena, data, (FmoeHoldout) model->config.holdout, CASES_MAX,
											  (uint64_t) model->config.seed);
	int32_t    *rank = fnn_alloc(arena, sizeof(int32_t) * (size_t) cases->first[cases->count]);
	FmoeModel  *tried = fnn_alloc(arena, sizeof(FmoeModel));
	FmoeProtocol protocol = {.exclude_seen = true};
	bool		gated = (fmoe_reads(model->expert[FMOE_MAIN].class, &model->config) & FMOE_WEIGHS_COUNTS) != 0;
	int			weights_tried = gated ? 1 : WEIGHTS;
	double		metric[WEIGHTS];
	double		best = 0;
	double		chosen = gated ? 0 : UNTRIED;
	int			i;

	*tried = *model;
	for (i = 0; cases->count > 0 && i < weights_tried; i++)
	{
		tried->blend = weights[i];
		fmoe_rank_cases(tried, FMOE_MAIN, arena, data, cases, &protocol, 0, cases->count, rank, NULL);
		metric[i] = fmoe_mean_metric(FMOE_NDCG, CUTOFF, cases, rank);
		if (metric[i] > best)
			best = metric[i];
	}
	for (i = 0; cases->count > 0 && i < weights_tried; i++)
	{
		if (metric[i] >= NEAR_BEST * best)
			chosen = weights[i];
	}
	fnn_arena_reset(arena, mark);
	return chosen;
}

/*
 * folds.c
 *	  Ranks by a gate that did not learn from the case it is asked about.
 *
 * Cases are in two halves.  Each half is ranked by the weights that the other one was
 * fitted to, so that what is said of a new model was not seen when it was made.
 */
#include "model/data/stream.h"
#include "model/evaluate/evaluate.h"

#include <string.h>

int
fmoe_fold(const FmoeModel *model, const FmoeCases *cases, int64_t c)
{
	uint64_t	event = (uint64_t) cases->answer[cases->first[c]];

	return (int) fnn_random_below((uint64_t) model->config.seed, fmoe_stream(FMOE_STREAM_CALIBRATION, event), 0, 2);
}

void
fmoe_rank_by_folds(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
				   const FmoeProtocol *protocol, int64_t from, int64_t to, int32_t *rank)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeModel  *tried = fnn_alloc(arena, sizeof(FmoeModel));
	int32_t    *other = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), cases->first[to], sizeof(int32_t)));

	*tried = *model;
	for (int fold = 0; fold < 2; fold++)
	{
		for (int expert = 0; expert < fmoe_weighed(&model->gate); expert++)
			tried->gate.weight[expert][0] = model->gate.fold_weight[fold][expert];
		fmoe_rank_cases(tried, FMOE_MAIN, arena, data, cases, protocol, from, to, fold == 0 ? rank : other, NULL);
	}
	for (int64_t c = from; c < to; c++)
		if (fmoe_fold(model, cases, c) == 1)
			memcpy(rank + cases->first[c], other + cases->first[c],
				   sizeof(int32_t) * (size_t) (cases->first[c + 1] - cases->first[c]));
	fnn_arena_reset(arena, mark);
}

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

/* Beyond all numbers that are drawn from the same stream for other ends. */
#define HALF_DRAW UINT64_MAX

int
fmoe_quarter(const FmoeModel *model, const FmoeCases *cases, int64_t c)
{
	uint64_t	stream = fmoe_stream(FMOE_STREAM_CALIBRATION, (uint64_t) cases->answer[cases->first[c]]);
	uint64_t	seed = (uint64_t) model->config.seed;

	return (int) (fnn_random_below(seed, stream, 0, 2) + 2 * fnn_random_below(seed, stream, HALF_DRAW, 2));
}

void
fmoe_rank_by_parts(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
				   const FmoeProtocol *protocol, int64_t from, int64_t to, int parts,
				   const double (*weight)[FMOE_WEIGHED_MAX], int32_t *rank)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeModel  *tried = fnn_alloc(arena, sizeof(FmoeModel));
	int32_t    *other = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), cases->first[to], sizeof(int32_t)));

	*tried = *model;
	for (int part = 0; part < parts; part++)
	{
		for (int expert = 0; expert < fmoe_weighed(&model->gate); expert++)
			tried->gate.weight[expert][0] = weight[part][expert];
		fmoe_rank_cases(tried, FMOE_MAIN, arena, data, cases, protocol, from, to, other, NULL);
		for (int64_t c = from; c < to; c++)
			if (fmoe_quarter(model, cases, c) % parts == part)
				memcpy(rank + cases->first[c], other + cases->first[c],
					   sizeof(int32_t) * (size_t) (cases->first[c + 1] - cases->first[c]));
	}
	fnn_arena_reset(arena, mark);
}

void
fmoe_rank_by_folds(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
				   const FmoeProtocol *protocol, int64_t from, int64_t to, int32_t *rank)
{
	fmoe_rank_by_parts(model, arena, data, cases, protocol, from, to, 2, model->gate.fold_weight, rank);
}

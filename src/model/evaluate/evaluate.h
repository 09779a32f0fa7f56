/*
 * evaluate.h
 *	  Ranks of what was chosen, and what they come to.
 */
#ifndef FMOE_MODEL_EVALUATE_EVALUATE_H
#define FMOE_MODEL_EVALUATE_EVALUATE_H

#include "model/serve/serve.h"
#include "model/expert/markov.h"

/* ---------------------------------------------------------------- evaluation */

typedef struct FmoeProtocol
{
	bool		exclude_seen;	/* items of the history are not candidates; the target always is */
	int32_t		negatives;		/* 0: all items; else that many drawn by seed for each case, not the target */
	uint64_t	seed;
	int			top_k;			/* > 0: also mark the items of every top k in covered */
} FmoeProtocol;

/*
 * Ranks the targets of cases from .. to - 1 into rank[count of all cases].
 * covered[n_items], or NULL: set to 1 for items in some top k.
 */
extern void fmoe_rank_cases(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
							const FmoeDataset *data, const FmoeCases *cases, const FmoeProtocol *protocol,
							int64_t from, int64_t to, int32_t *rank, uint8_t *covered);
/* Bytes that takes on the arena. */
extern size_t fmoe_rank_bytes(const FmoeModel *model, const FmoeCases *cases, const FmoeProtocol *protocol);
/* Mean of a metric (fnn_ndcg …) over the ranks; NaN for none. */
extern double fmoe_mean_metric(double (*metric) (int64_t rank, int64_t k), int64_t k,
							   const int32_t *rank, int64_t n);

/* ---------------------------------------------------------------- explaining */

/*
 * Intervals that hold the means of differences with 95 %, by the quantiles of
 * the means of so many resamples.  difference[n, columns]: a row is a user, and
 * drawn as a whole; low[columns], high[columns].
 */
extern void fmoe_bootstrap(FnnArena *arena, int64_t n, int columns, const double *difference,
						   int resamples, uint64_t seed, double *low, double *high);

/* What the evaluator gives an expert at a time: at most so many bytes of scores, and tokens (one history more). */
#define FMOE_BLOCK_SCORE_BYTES (16 << 20)
#define FMOE_BLOCK_TOKENS_MAX 16384
#define FMOE_BLOCK_CASES_MAX 256

/* Reals of an encode that do not grow with the tokens: a layer's weights transposed; a mixture's members, their adapted matrices. */
extern double fmoe_layer_reals(const FmoeConfig *config);
/* Bytes of the evaluator's block of so many cases, the longest of so many events. */
extern double fmoe_block_bytes(const FmoeConfig *config, int32_t n_items, double cases, double longest,
							   const FmoeFollowers *followers);

#endif							/* FMOE_MODEL_EVALUATE_EVALUATE_H */

/*
 * evaluate.h
 *	  Ranks of what was chosen, and what they come to.
 */
#ifndef FMOE_MODEL_EVALUATE_EVALUATE_H
#define FMOE_MODEL_EVALUATE_EVALUATE_H

#include "model/serve/serve.h"

/* ---------------------------------------------------------------- ranks */

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
extern size_t fmoe_rank_bytes(const FmoeModel *model, const FmoeDataset *data, const FmoeCases *cases,
							  const FmoeProtocol *protocol);
/* Mean of a metric (fnn_ndcg …) over the ranks; NaN for none. */
extern double fmoe_mean_metric(double (*metric) (int64_t rank, int64_t k), int64_t k,
							   const int32_t *rank, int64_t n);

/*
 * Intervals that hold the means of differences with 95 %, by the quantiles of
 * the means of so many resamples.  difference[n, columns]: a row is a user, and
 * drawn as a whole; low[columns], high[columns].
 */
extern void fmoe_bootstrap(FnnArena *arena, int64_t n, int columns, const double *difference,
						   int resamples, uint64_t seed, double *low, double *high);

/* ---------------------------------------------------------------- blocks */

/* What the evaluator gives an expert at a time: at most so many bytes of scores, and tokens (one history more). */
#define FMOE_CASE_BLOCK_SCORE_BYTES (16 << 20)
#define FMOE_CASE_BLOCK_TOKENS_MAX 16384
#define FMOE_CASE_BLOCK_MAX 256

/* Cases from .. the result - 1 make a block: at most cases_max, and bounded tokens. */
extern int64_t fmoe_case_block_end(const FmoeCases *cases, int64_t from, int64_t to, int64_t cases_max,
								   int max_length);
/* Bytes of a block of so many cases, the longest of so many events; class: that of the configuration. */
extern double fmoe_case_block_bytes(const FmoeExpertClass *class, const FmoeConfig *config, const FmoeFacts *facts,
									const FmoeEvents *events, double cases, double longest);

/* ---------------------------------------------------------------- weights of parts */

/* How a model uses the parts that it weighs. */
typedef struct FmoePartUse
{
	int64_t		histories;		/* those that were not empty */
	double		weight[FMOE_PARTS_MAX]; /* sums over them */
	double		largest[FMOE_PARTS_MAX];	/* how often the weight was the largest; those that are equal share one */
} FmoePartUse;

/* Adds the weights after the histories of cases from .. to - 1. */
extern void fmoe_part_use(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
						  int64_t from, int64_t to, FmoePartUse *use);

#endif							/* FMOE_MODEL_EVALUATE_EVALUATE_H */

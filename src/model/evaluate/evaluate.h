/*
 * evaluate.h
 *	  Ranks of the items that were chosen, their means, and how sure these are.
 */
#ifndef FMOE_MODEL_EVALUATE_EVALUATE_H
#define FMOE_MODEL_EVALUATE_EVALUATE_H

#include "model/serve/serve.h"

/* ---------------------------------------------------------------- ranks */

typedef struct FmoeProtocol
{
	bool		exclude_seen;	/* what was seen is no candidate; cases then have unseen answers only */
	int32_t		negatives;		/* 0: all items; else that many drawn by seed for each case, none an answer */
	uint64_t	seed;
	int			top_k;			/* > 0: also mark the items of every top k in covered */
} FmoeProtocol;

/*
 * Ranks the answers of cases from .. to - 1 into rank[answers of all cases].
 * covered[n_items], or NULL: set to 1 for items in some top k.
 */
extern void fmoe_rank_cases(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
							const FmoeDataset *data, const FmoeCases *cases, const FmoeProtocol *protocol,
							int64_t from, int64_t to, int32_t *rank, uint8_t *covered);
/* Which of four parts a case is in, whoever asks: its fold is that modulo 2. */
extern int	fmoe_quarter(const FmoeModel *model, const FmoeCases *cases, int64_t c);
/* fmoe_rank_cases by the main expert under a gate: each case by the weights of the part, its quarter modulo parts. */
extern void fmoe_rank_by_parts(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data,
							   const FmoeCases *cases, const FmoeProtocol *protocol, int64_t from, int64_t to,
							   int parts, const double (*weight)[FMOE_WEIGHED_MAX], int32_t *rank);
/* fmoe_rank_cases by the main expert of a model whose gate has folds, each case by the weights that did not see it. */
extern void fmoe_rank_by_folds(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data,
							   const FmoeCases *cases, const FmoeProtocol *protocol, int64_t from, int64_t to,
							   int32_t *rank);
/* Bytes that fmoe_rank_cases takes on the arena. */
extern size_t fmoe_rank_bytes(const FmoeModel *model, const FmoeDataset *data, const FmoeCases *cases,
							  const FmoeProtocol *protocol);

/* ---------------------------------------------------------------- metrics */

/* The rank of an answer that cannot be recommended. */
#define FMOE_MISS INT32_MAX

/*
 * What the ranks of a case's answers come to.  The case's value is, with a the
 * number of answers and r the ranks of those within the first k,
 *
 *	  ndcg		sum of 1 / log2(r + 1), by what it would be with ranks 1 .. min(k, a)
 *	  hr		1 when there is any
 *	  recall	how many there are / a
 *	  mrr		1 / the best rank, wherever in the list it is: k does not matter
 */
typedef enum FmoeMetric
{
	FMOE_NDCG,
	FMOE_HR,
	FMOE_MRR,
	FMOE_RECALL
} FmoeMetric;

/* Of n answers. */
extern double fmoe_metric(FmoeMetric metric, int64_t k, const int32_t *rank, int64_t n);
/* Mean over the cases; NaN for none. */
extern double fmoe_mean_metric(FmoeMetric metric, int64_t k, const FmoeCases *cases, const int32_t *rank);
/* Standard error of the mean difference between two lists of ranks of the same cases; 0 for one case. */
extern double fmoe_paired_error(FmoeMetric metric, int64_t k, const FmoeCases *cases, const int32_t *a,
								const int32_t *b);

/*
 * Confidence intervals of 95 % for the means of difference[n, columns], whose rows
 * are users: from low[column] to high[column].  By the percentile bootstrap (Efron &
 * Tibshirani 1993, section 13.3) with so many resamples of whole rows.
 */
extern void fmoe_bootstrap(FnnArena *arena, int64_t n, int columns, const double *difference,
						   int resamples, uint64_t seed, double *low, double *high);

/* ---------------------------------------------------------------- clicks */

/*
 * Impressions that are to be predicted, in windows: window w is events begin[w] ..
 * end[w] - 1 of one user's history, at most max_length of them; those from from[w]
 * on are predicted, each from the baskets before its own, and are impressions
 * first[w] .. first[w + 1] - 1.  So each has most of a full history before it.
 */
typedef struct FmoeImpressions
{
	int64_t		count;			/* windows */
	int64_t		n;				/* impressions */
	int64_t    *begin;
	int64_t    *end;
	int64_t    *from;
	int64_t    *first;			/* [count + 1] */
	int32_t    *user;			/* [count] */
	float	   *label;			/* [n] 1: it was chosen */
	const FnnTensor *private_rows;	/* of the dataset's users, by who has them; NULL: those that the expert has */
} FmoeImpressions;

typedef struct FmoeImpressionsWanted
{
	FmoeSplit	split;
	FmoeHoldout holdout;		/* of FMOE_SPLIT_VALIDATION */
	double		after;			/* seconds, of FMOE_SPLIT_TIME */
	int			max_length;
	int64_t		limit;			/* at most that many users, chosen by seed; 0: all */
	uint64_t	seed;
} FmoeImpressionsWanted;

extern FmoeImpressions *fmoe_impressions(FnnArena *arena, const FmoeDataset *data,
										 const FmoeImpressionsWanted *wanted);
/* Those of a training's validation. */
extern FmoeImpressions *fmoe_validation_impressions(FnnArena *arena, const FmoeDataset *data,
													const FmoeConfig *config);
/* Bytes of so many. */
extern double fmoe_impressions_bytes(double windows, double impressions);
/* logit[impressions of all windows]: fills those of windows from .. to - 1, by an expert that is judged by clicks. */
extern void fmoe_foresee(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeDataset *data,
						 const FmoeImpressions *impressions, int64_t from, int64_t to, fnn_real *logit);

/*
 * How good n probabilities are: auc, the share of pairs of a chosen and another one in
 * which the chosen has the larger one, ties counting half; the mean log-loss; calibration,
 * the mean difference of probability and share chosen over ten groups of equal size
 * (expected calibration error).  Each NaN where there is none, auc also where all
 * labels are the same.
 */
typedef struct FmoeClickFigures
{
	double		auc;
	double		log_loss;
	double		calibration;
} FmoeClickFigures;

/* times[n]: how often each counts, NULL: once.  NaN logits do not count. */
extern FmoeClickFigures fmoe_click_figures(FnnArena *arena, int64_t n, const fnn_real *logit, const float *label,
										   const int32_t *times);

/* What a model has over another one on the same impressions, and a confidence interval of 95 % for it. */
typedef struct FmoeClickLead
{
	double		auc;
	double		auc_low;
	double		auc_high;
	double		log_loss;		/* by how much the model's is less */
	double		log_loss_low;
	double		log_loss_high;
} FmoeClickLead;

/*
 * lead[models - 1]: what logit[0] has over each of the others, all of them
 * logit[models][impressions->n] without NaN.  By the percentile bootstrap over users.
 */
extern void fmoe_click_leads(FnnArena *arena, const FmoeImpressions *impressions, int models,
							 const fnn_real *const *logit, int resamples, uint64_t seed, FmoeClickLead *lead);

/* ---------------------------------------------------------------- blocks */

/* Cases are scored in blocks of at most so many bytes of scores, tokens (and one history more), and cases. */
#define FMOE_CASE_BLOCK_SCORE_BYTES (16 << 20)
#define FMOE_CASE_BLOCK_TOKENS_MAX 16384
#define FMOE_CASE_BLOCK_MAX 256

/* End of the block that begins with case from: at most cases_max cases, and bounded tokens. */
extern int64_t fmoe_case_block_end(const FmoeCases *cases, int64_t from, int64_t to, int64_t cases_max,
								   int max_length);
/* Bytes on the arena of a block of so many cases, the longest with so many events, by an expert of the class. */
extern double fmoe_case_block_bytes(const FmoeExpertClass *class, const FmoeConfig *config, const FmoeFacts *facts,
									const FmoeEvents *events, double cases, double longest);

/* ---------------------------------------------------------------- weights of parts */

/* How a model uses the parts that it weighs. */
typedef struct FmoePartUse
{
	int64_t		histories;		/* that were not empty */
	double		weight[FMOE_PARTS_MAX]; /* sums over these histories */
	double		largest[FMOE_PARTS_MAX];	/* how often each weight was the largest; equal ones share the count */
	double		layer[FMOE_MIXED_LAYERS_MAX][FMOE_PARTS_MAX];	/* sums of the shares after layers, if any */
} FmoePartUse;

/*
 * Adds to use the weights after the histories of cases from .. to - 1, of a model with a gate or whose class has
 * the hook weigh.
 */
extern void fmoe_part_use(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
						  int64_t from, int64_t to, FmoePartUse *use);

#endif							/* FMOE_MODEL_EVALUATE_EVALUATE_H */

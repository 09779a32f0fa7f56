/*
 * loss.h
 *	  The losses that models learn from.
 */
#ifndef FNN_LOSS_LOSS_H
#define FNN_LOSS_LOSS_H

#include "nn/base/tape.h"

/*
 * Losses add weight * sum to tape->loss.  They end the tape, so when recording
 * they put the gradients into their inputs at once and record nothing.
 */

/*
 * Linear + softmax + cross-entropy over the whole table, in blocks that stay
 * in cache: the logits [n, rows of table] never exist at once.
 *	hidden [n, d], table [v, d], target[n] in 0 .. v - 1, or -1: the row does not count.
 */
extern void fnn_softmax_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table,
							 const int32_t *target, double weight);
/* Numbers to be added to a row's logits: n items, ascending. */
typedef struct FnnTerms
{
	int64_t		n;
	const int32_t *item;		/* [n] */
	const float *value;			/* [n] */
} FnnTerms;

/* What else a softmax loss can do; all of it may be left 0. */
typedef struct FnnSoftmaxExtra
{
	double	   *row_loss;		/* [n] receives each row's cross-entropy, NaN where target is -1 */
	const FnnTerms *terms;		/* [n] added to the logits of row i, times its weight */
	FnnTensor  *term_weight;	/* [n, more than term_column], gets a gradient; element [i, term_column] is row i's
								 * weight */
	int64_t		term_column;
	const float *row_weight;	/* [n] how much each row's loss counts, times weight; NULL: all the same */
} FnnSoftmaxExtra;

extern void fnn_softmax_loss_with(FnnTape *tape, FnnTensor *hidden, FnnTensor *table,
								  const int32_t *target, double weight, const FnnSoftmaxExtra *extra);
/* Reals on the arena while a softmax loss of so many rows over so many items runs, without its terms. */
extern double fnn_softmax_loss_reals(int64_t rows, int64_t items, int64_t width);
/*
 * Kullback-Leibler divergence: the sum over rows and columns of q log(q / p), with
 * 0 log 0 = 0.  p [n, d] is a softmax, q[n, d] what it should be.  Rows whose
 * first q is NaN do not count; where q > 0, p is taken as at least 1e-12.
 * row_weight[n]: how much each row counts, times weight; NULL: all the same.
 */
extern void fnn_divergence_loss(FnnTape *tape, FnnTensor *p, const fnn_real *q, const float *row_weight,
								double weight);
/* The sum of x * x over all elements. */
extern void fnn_square_loss(FnnTape *tape, FnnTensor *x, double weight);
/*
 * Binary cross-entropy of logit [n, 1]: the sum over rows of log(1 + e^z) - label z.
 * label[n] is 0 .. 1, NaN: the row does not count; row_weight as above.
 */
extern void fnn_click_loss(FnnTape *tape, FnnTensor *logit, const float *label, const float *row_weight,
						   double weight);
/* Its value for one number. */
extern double fnn_click_loss_of(double logit, double label);
/* The sum of factor * x over all elements. */
extern void fnn_sum_loss(FnnTape *tape, FnnTensor *x, const float *factor, double weight);
/*
 * NT-Xent (Chen et al. 2020, equation 1): rows of a and b [n, d] are two views of
 * n things.  The logits of each of the 2 n rows are its cosines with all other
 * rows / temperature, its answer is the other view; the loss is the sum of the
 * 2 n cross-entropies.  A row of length 0 has cosine 0 with all.  n = 1 gives 0.
 */
extern void fnn_contrast_loss(FnnTape *tape, FnnTensor *a, FnnTensor *b, double temperature, double weight);
/* Of another row of a batch whose thing is the same, what its logit becomes. */
typedef enum FnnSameRule
{
	FNN_SAME_REMOVED,			/* it is not in the sum */
	FNN_SAME_ZERO				/* 0, a constant */
} FnnSameRule;

/*
 * In-batch contrast: row i of a should be known by row i of b, both [n, d], among all
 * rows of b; the logits are cosines / temperature.  target[n]: what rows i are of;
 * row_weight[n]: how much each counts, times weight; NULL: all the same.  The loss is the sum over rows of
 *	-log(p_i + epsilon),  p_i = exp(c_ii) / (sum over j of exp(c_ij) + epsilon)
 * with epsilon 0 the cross-entropy.  A row of length 0 has cosine 0 with all.
 */
extern void fnn_batch_contrast_loss(FnnTape *tape, FnnTensor *a, FnnTensor *b, const int32_t *target,
									const float *row_weight, double temperature, FnnSameRule rule, double epsilon,
									double weight);
/*
 * Multi-hot classes: logits hidden tableᵀ + bias of n rows, hidden [n, d], table
 * [classes, d], bias [1, classes]; row i should have those that row id[i] of labels
 * has.  The loss is the sum over rows and classes of the binary cross-entropy, each
 * row's times row_weight[n] (NULL: 1).  The logits never exist for more than some rows.
 */
extern void fnn_multi_hot_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, FnnTensor *bias,
							   const int64_t *label_offset, const int32_t *label, const int32_t *id,
							   const float *row_weight, double weight);
/* Reals on the arena while it runs. */
extern double fnn_multi_hot_loss_reals(int64_t rows, int64_t classes);
/*
 * gBCE (Petrov & Macdonald 2023, "gSASRec"): binary cross-entropy over the positive and
 * shared uniform negatives, the positive's log-probability multiplied by beta.
 *	loss of a row = -beta * log sigmoid(s+) - sum_j log(1 - sigmoid(s_j))
 * A negative that equals the row's target does not count for that row.
 *	negative[n_negatives] are rows of table; beta from fnn_gbce_beta(); row_weight[n]
 *	says how much each row's loss counts, times weight, NULL: all the same.
 */
extern void fnn_gbce_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const int32_t *target,
						  const float *row_weight, const int32_t *negative, int32_t n_negatives, double beta,
						  double weight);
/* beta = alpha (t (1 - 1/alpha) + 1/alpha), with alpha = n_negatives / (n_items - 1) and calibration t. */
extern double fnn_gbce_beta(int64_t n_items, int64_t n_negatives, double calibration);

#endif							/* FNN_LOSS_LOSS_H */

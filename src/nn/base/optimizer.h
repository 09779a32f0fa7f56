/*
 * optimizer.h
 *	  AdamW over a block of parameters, dense and by touched rows.
 */
#ifndef FNN_BASE_OPTIMIZER_H
#define FNN_BASE_OPTIMIZER_H

#include "nn/base/tensor.h"

typedef struct FnnAdamW
{
	double		learning_rate;
	double		beta1;
	double		beta2;
	double		epsilon;
	double		weight_decay;	/* decoupled: w -= lr * weight_decay * w, where the slice decays */
} FnnAdamW;

/* The learning rate of a step (from 1): base * min(1, step / warmup_steps) * decay^epochs. */
extern double fnn_learning_rate(double base, int64_t step, int64_t warmup_steps, double decay, double epochs);

/*
 * grads of n_shards slots are summed in slot order for the reals from .. to - 1
 * of the block into slot 0; from is a multiple of FNN_REDUCE_CHUNK, and to is
 * one too or the end of the block.  chunk_squares[c] becomes the sum of squares
 * of chunk c, counted from the start of the block: the same bits however a block
 * is cut between callers.
 */
#define FNN_REDUCE_CHUNK 16384
extern void fnn_reduce(fnn_real *const *slots, int n_shards, size_t from, size_t to, double *chunk_squares);
/*
 * AdamW on the reals from .. to - 1 of the block with gradients grad * scale
 * (scale < 1 when clipping).  step counts from 1.  Frozen and sparse slices
 * are passed over.
 */
extern void fnn_adamw(const FnnAdamW *adamw, const FnnParams *params, int64_t step, double scale,
					  size_t from, size_t to, fnn_real *value, const fnn_real *grad,
					  fnn_real *m, fnn_real *v);
/*
 * The lazy variant for a sparse slice: only rows touched in this step move;
 * their moments decay by the steps they were idle for, which last_step[rows]
 * remembers (m by beta1^idle, v by beta2^idle), so a row's state is what dense
 * Adam would hold; the drift dense Adam applies to idle rows is left out.
 * sparse holds the shards' summed gradient.  Rows from .. to - 1 of sparse->touched.
 * value, m and v are the blocks, as for fnn_adamw; last_step is the slice's own,
 * 0 in rows never touched.
 */
extern void fnn_adamw_sparse(const FnnAdamW *adamw, const FnnParam *param, int64_t step, double scale,
							 const FnnSparse *sparse, int64_t from, int64_t to,
							 fnn_real *value, fnn_real *m, fnn_real *v, int32_t *last_step);

/* ---------------------------------------------------------------- differences */

/*
 * grad[n] becomes what one step from moments of 0 moves values by: of Adam with that epsilon, or of plain descent
 * where it is negative.  Returns the sum of squares.
 */
extern double fnn_first_step(double learning_rate, double epsilon, size_t n, fnn_real *grad);
/* x[n] -= from; returns the sum of squares. */
extern double fnn_subtract(size_t n, const fnn_real *from, fnn_real *x);
/* to[n] += scale * x, and x is 0 afterwards. */
extern void fnn_move_reals(size_t n, double scale, fnn_real *x, fnn_real *to);

#endif							/* FNN_BASE_OPTIMIZER_H */

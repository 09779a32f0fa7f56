/*
 * halves.h
 *	  The three products of a softmax loss, by AMX tiles.
 *
 * A real is written as the sum of two bfloat16, x = high + low, which keeps 16
 * of its 24 bits; a product of two such is
 *		high high + high low + low high
 * with sums in single precision.  What is lost, the last bits of each and low
 * low, is below 2^-16 of |x| |y| a term, and rounded without bias.  The unit
 * multiplies bfloat16 some ten times as fast as AVX-512 multiplies reals.
 *
 * Hidden rows are prepared once, items a block at a time, and all that is made
 * here lies in whole tiles, in the order in which they are loaded.
 */
#ifndef FNN_PRODUCT_HALVES_H
#define FNN_PRODUCT_HALVES_H

#include "nn/base/base.h"

/* Rows, and columns of the hidden rows, come in multiples of it. */
#define FNN_HALVES_LANES 32

typedef struct FnnHalves FnnHalves;

typedef struct FnnHalvesKernel
{
	/* Makes room on the arena for so many rows, and for blocks of so many items. */
	FnnHalves  *(*make) (FnnArena *arena, int64_t rows, int64_t items, int64_t width);
	/* Reals on the arena that make takes. */
	double		(*reals) (int64_t rows, int64_t items, int64_t width);
	/*
	 * Takes rows row[n] of hidden[, width], whose gradient is nothing yet, and the
	 * weight[n] of each one's loss; returns n in whole tiles, the lanes.
	 */
	int64_t		(*take_rows) (FnnHalves *halves, int64_t n, const int32_t *row, const fnn_real *hidden,
							  const double *weight);
	/* Takes a block of items table[n, width], rows ld apart. */
	void		(*take_items) (FnnHalves *halves, int64_t n, const fnn_real *table, int64_t ld);
	/* tile[n in whole tiles, lanes] = items rows^T */
	void		(*logits) (FnnHalves *halves, fnn_real *tile);
	/* sum[lanes] of exp(tile[n, lanes] - shift[lanes]) over n items */
	void		(*sum_logits) (const FnnHalves *halves, int64_t n, const fnn_real *tile, const fnn_real *shift,
							   fnn_real *sum);
	/* Takes exp(tile - shift[lanes]) as the probabilities of the block. */
	void		(*take_logits) (FnnHalves *halves, const fnn_real *tile, const fnn_real *shift);
	/* Adds the block's probabilities^T items, table as it was taken, to the gradient of the rows. */
	void		(*add_rows) (FnnHalves *halves, const fnn_real *table, int64_t ld);
	/* Adds that gradient, each row times its weight, to rows row[] of grad[, width]. */
	void		(*give_rows) (const FnnHalves *halves, const int32_t *row, fnn_real *grad);
	/* grad[n, width], rows ld apart, = or += probabilities rows, each times its weight */
	void		(*give_items) (FnnHalves *halves, bool accumulate, fnn_real *grad, int64_t ld);
} FnnHalvesKernel;

/* NULL: this process cannot use the unit.  Never in double precision. */
extern const FnnHalvesKernel *fnn_halves_kernel(void);

#endif							/* FNN_PRODUCT_HALVES_H */

/*
 * product.h
 *	  Small matrix products inside fused operations.
 *
 * fnn_gemm packs its operands and is for whole matrices.  These are for tiles
 * that a fused operation has just made and holds in cache: nothing is packed,
 * nothing is cut, nothing is polled.
 */
#ifndef FNN_PRODUCT_H
#define FNN_PRODUCT_H

#include "nn.h"

/* Reals of the widest vector; products come in multiples of it. */
#define FNN_LANES ((int64_t) (64 / sizeof(fnn_real)))

static inline int64_t
fnn_lanes(int64_t n)
{
	return (n + FNN_LANES - 1) / FNN_LANES * FNN_LANES;
}

/*
 * c[m, n] = a b, or c += a b.  Element (i, p) of a[m, k] is a[i * a_row + p *
 * a_col], so either operand of a transposed product can be read in place;
 * b[k, n] and c are row-major; n is a multiple of FNN_LANES.
 */
typedef void (*FnnProduct) (int64_t m, int64_t n, int64_t k,
							const fnn_real *a, int64_t a_row, int64_t a_col,
							const fnn_real *b, int64_t ldb,
							bool accumulate, fnn_real *c, int64_t ldc);

/* The fastest one this CPU can run. */
extern FnnProduct fnn_product_best(void);
/* All this CPU can run, for tests: NULL past the last. */
extern FnnProduct fnn_product_variant(int index);

/* out[cols, ldo] = scale * in[rows, cols] transposed; columns rows .. padded - 1 of out become 0. */
extern void fnn_transpose(int64_t rows, int64_t cols, fnn_real scale, const fnn_real *in, int64_t ldi,
						  int64_t padded, fnn_real *out, int64_t ldo);
/* out[rows, padded] = in[rows, cols] with zeros behind each row */
extern void fnn_widen(int64_t rows, int64_t cols, const fnn_real *in, int64_t ldi,
					  int64_t padded, fnn_real *out);

/* max[lanes]: the largest of itself and its column of tile[rows, lanes] */
extern void fnn_columns_max(int64_t rows, int64_t lanes, const fnn_real *tile, fnn_real *max);
/* tile[rows, lanes] = exp(tile - shift[lanes]); sum[lanes] of its columns */
extern void fnn_columns_exp(int64_t rows, int64_t lanes, fnn_real *tile, const fnn_real *shift, fnn_real *sum);

#endif							/* FNN_PRODUCT_H */

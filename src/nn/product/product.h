/*
 * product.h
 *	  Matrix products: whole matrices through BLAS, small ones inside fused operations.
 *
 * fnn_gemm packs its operands and is for whole matrices.  The small products are
 * for tiles that a fused operation has just made and holds in cache: nothing is
 * packed, nothing is cut, nothing is polled.
 */
#ifndef FNN_PRODUCT_PRODUCT_H
#define FNN_PRODUCT_PRODUCT_H

#include "nn/base/base.h"

/* ---------------------------------------------------------------- matrix products */

/*
 * The only door to BLAS.  Products are cut so that none takes longer than
 * about 50 ms, with a poll between.
 *	gemm: C[m, n] = alpha * op(A) op(B) + beta * C, row-major, leading dimensions in reals.
 */
extern void fnn_gemm(const FnnHost *host, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
					 fnn_real alpha, const fnn_real *a, int64_t lda, const fnn_real *b, int64_t ldb,
					 fnn_real beta, fnn_real *c, int64_t ldc);
/*
 * Call once a process before the first product: one BLAS thread, any thread
 * the library started at load ended, and a product checked against plain C.
 * Returns NULL, or what is wrong with this machine's BLAS.
 */
extern const char *fnn_blas_setup(void);

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

/* y[n] += weight * x */
extern void fnn_add_scaled(int64_t n, fnn_real weight, const fnn_real *x, fnn_real *y);
/* y[n] += weight where the bit of that number is set, -= weight where not; n is a multiple of 64 */
extern void fnn_add_signs(int64_t n, fnn_real weight, const uint64_t *bits, fnn_real *y);
/* max[lanes]: the largest of itself and its column of tile[rows, lanes] */
extern void fnn_columns_max(int64_t rows, int64_t lanes, const fnn_real *tile, fnn_real *max);
/* tile[rows, lanes] = exp(tile - shift[lanes]); sum[lanes] of its columns */
extern void fnn_columns_exp(int64_t rows, int64_t lanes, fnn_real *tile, const fnn_real *shift, fnn_real *sum);

#endif							/* FNN_PRODUCT_PRODUCT_H */

/*
 * blas.c
 *	  The only door to BLAS.
 *
 * OpenBLAS cannot be interrupted, so a product is handed over in pieces of at
 * most FNN_GEMM_PIECE multiplications, with a poll before each: 10 to 20 ms on a
 * common core.  Pieces are halves of halves along the longest side, so they
 * stay near cubes and lose next to nothing against one call.
 *
 * Debian's OpenBLAS starts a thread per further core while it is loaded.  A
 * PostgreSQL backend must have one thread, because a signal may be delivered to
 * any of them; setting the number of threads to one does not end those that
 * run.  What does is an exported but undocumented function, which is
 * therefore looked up by name and done without where it is missing.
 */
#include "nn/base/kernels.h"
#include "nn/product/product.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* RTLD_DEFAULT; PGXS defines it, the engine tests do not */
#endif
#include <cblas.h>
#include <dlfcn.h>
#include <limits.h>


/* The tests are also built with small pieces, so that small products are cut. */
#ifndef FNN_GEMM_PIECE
#define FNN_GEMM_PIECE 500000000
#endif

#ifdef FNN_DOUBLE
#define blas_gemm cblas_dgemm
#else
#define blas_gemm cblas_sgemm
#endif

static int
blas_int(const FnnHost *host, int64_t n)
{
	if (n < 0 || n > INT_MAX)
		fnn_fail(host, FNN_INVALID, "a matrix cannot have a side of %lld", (long long) n);
	return (int) n;
}

/* C = beta * C, for products over no terms. */
static void
scale_matrix(int64_t m, int64_t n, fnn_real beta, fnn_real *c, int64_t ldc)
{
	for (int64_t i = 0; i < m; i++)
		for (int64_t j = 0; j < n; j++)
			c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
}

void
fnn_gemm(const FnnHost *host, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
		 fnn_real alpha, const fnn_real *a, int64_t lda, const fnn_real *b, int64_t ldb,
		 fnn_real beta, fnn_real *c, int64_t ldc)
{
	const enum CBLAS_TRANSPOSE op_a = transpose_a ? CblasTrans : CblasNoTrans;
	const enum CBLAS_TRANSPOSE op_b = transpose_b ? CblasTrans : CblasNoTrans;
	int64_t		piece_m = blas_int(host, m);
	int64_t		piece_n = blas_int(host, n);
	int64_t		piece_k = blas_int(host, k);

	blas_int(host, lda);
	blas_int(host, ldb);
	blas_int(host, ldc);
	if (k == 0)
		scale_matrix(m, n, beta, c, ldc);
	if (m == 0 || n == 0 || k == 0)
		return;
	while ((double) piece_m * (double) piece_n * (double) piece_k > (double) FNN_GEMM_PIECE)
	{
		int64_t    *longest = piece_m >= piece_n ? &piece_m : &piece_n;

		longest = *longest >= piece_k ? longest : &piece_k;
		*longest = (*longest + 1) / 2;
	}
	for (int64_t i = 0; i < m; i += piece_m)
		for (int64_t j = 0; j < n; j += piece_n)
			for (int64_t l = 0; l < k; l += piece_k)
			{
				fnn_poll(host);
				blas_gemm(CblasRowMajor, op_a, op_b,
						  (int) fnn_least(piece_m, m - i), (int) fnn_least(piece_n, n - j),
						  (int) fnn_least(piece_k, k - l),
						  alpha, transpose_a ? a + l * lda + i : a + i * lda + l, (int) lda,
						  transpose_b ? b + j * ldb + l : b + l * ldb + j, (int) ldb,
						  l == 0 ? beta : 1, c + i * ldc + j, (int) ldc);
			}
}

/* ---------------------------------------------------------------- once a process */

#define CHECK_M 19
#define CHECK_N 37
#define CHECK_K 53

/* Small whole numbers, so that every sum is exact in any order. */
static fnn_real
check_number(int i)
{
	return (fnn_real) ((i * 37 + i / 7 * 11) % 17 - 8);
}

/* Products that do not agree with plain loops have been seen from mismatched kernels. */
static bool
products_are_right(void)
{
	fnn_real	a[CHECK_M * CHECK_K];
	fnn_real	b[CHECK_N * CHECK_K];
	fnn_real	c[CHECK_M * CHECK_N];

	for (int i = 0; i < CHECK_M * CHECK_K; i++)
		a[i] = check_number(i);
	for (int i = 0; i < CHECK_N * CHECK_K; i++)
		b[i] = check_number(i + 5);
	blas_gemm(CblasRowMajor, CblasNoTrans, CblasTrans, CHECK_M, CHECK_N, CHECK_K,
			  1, a, CHECK_K, b, CHECK_K, 0, c, CHECK_N);
	for (int i = 0; i < CHECK_M; i++)
		for (int j = 0; j < CHECK_N; j++)
		{
			fnn_real	sum = 0;

			for (int l = 0; l < CHECK_K; l++)
				sum += a[i * CHECK_K + l] * b[j * CHECK_K + l];
			if (c[i * CHECK_N + j] != sum)
				return false;
		}
	return true;
}

const char *
fnn_blas_setup(void)
{
	union
	{
		void	   *pointer;
		void		(*set_threads) (int threads);
		int			(*shutdown) (void);
	}			symbol;

	symbol.pointer = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
	if (symbol.pointer != NULL)
		symbol.set_threads(1);
	symbol.pointer = dlsym(RTLD_DEFAULT, "blas_thread_shutdown_");
	if (symbol.pointer != NULL)
		symbol.shutdown();
	if (!products_are_right())
		return "the BLAS library computes wrong matrix products on this machine";
	return NULL;
}

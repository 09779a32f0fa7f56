/*
 * product.c
 *	  Small matrix products, by instruction set.
 *
 * A tile of c is kept in registers while the whole inner dimension runs past:
 * in each turn a few vectors of a row of b are loaded, and each element of a
 * column of a is spread over a vector and multiplied with them.  With AVX-512
 * a tile is 6 rows by 4 vectors: 24 sums, 4 + 1 operands, 29 of 32 registers,
 * and 24 multiply-adds for 10 loads, so the multipliers are what is busy.
 * All three products of a softmax loss, all five of attention fit this one
 * form without packing, because a may be read along either dimension.
 *
 * target_clones cannot be used: vector types are broken down for the default
 * target before the clones are made.
 */
#include "nn/base/kernels.h"
#include "nn/product/product.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FNN_X86
#endif

#ifdef FNN_X86
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#define VARIANT(name) name##_avx512
#define VECTOR vector_avx512
#define VECTOR_BYTES 64
#define ROWS_4 6
#define ROWS_2 12
#define ROWS_1 12
#include "nn/product/product_template.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define VARIANT(name) name##_avx2
#define VECTOR vector_avx2
#define VECTOR_BYTES 32
#define ROWS_4 0
#define ROWS_2 6
#define ROWS_1 10
#include "nn/product/product_template.h"
#pragma GCC pop_options
#endif							/* FNN_X86 */

#define VARIANT(name) name##_base
#define VECTOR vector_base
#define VECTOR_BYTES 16
#define ROWS_4 0
#define ROWS_2 6
#define ROWS_1 10
#include "nn/product/product_template.h"

FnnProduct
fnn_product_variant(int index)
{
	FnnProduct	list[4] = {0};
	int			n = 0;

#ifdef FNN_X86
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
		list[n++] = product_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		list[n++] = product_avx2;
#endif
	list[n++] = product_base;
	return index >= 0 && index < n ? list[index] : NULL;
}

FnnProduct
fnn_product_best(void)
{
	return fnn_product_variant(0);
}

#define BLOCK 4

/* out[BLOCK, ldo] = scale * in[n, ldi] transposed, n of BLOCK rows; the others count as 0. */
static inline __attribute__((always_inline)) void
turn_block(int64_t n, fnn_real scale, const fnn_real *in, int64_t ldi, fnn_real *out, int64_t ldo)
{
#if defined(__GNUC__) && !defined(__clang__) && !defined(FNN_DOUBLE)
	typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
	typedef int32_t Pick __attribute__((vector_size(16)));
	Four		row[BLOCK];
	Four		low[2];
	Four		high[2];

	for (int i = 0; i < BLOCK; i++)
	{
		row[i] = (Four) {0};
		if (i < n)
			row[i] = scale * *(const Four *) (in + i * ldi);
	}
	for (int i = 0; i < 2; i++)
	{
		low[i] = __builtin_shuffle(row[2 * i], row[2 * i + 1], (Pick) {0, 4, 1, 5});
		high[i] = __builtin_shuffle(row[2 * i], row[2 * i + 1], (Pick) {2, 6, 3, 7});
	}
	*(Four *) out = __builtin_shuffle(low[0], low[1], (Pick) {0, 1, 4, 5});
	*(Four *) (out + ldo) = __builtin_shuffle(low[0], low[1], (Pick) {2, 3, 6, 7});
	*(Four *) (out + 2 * ldo) = __builtin_shuffle(high[0], high[1], (Pick) {0, 1, 4, 5});
	*(Four *) (out + 3 * ldo) = __builtin_shuffle(high[0], high[1], (Pick) {2, 3, 6, 7});
#else
	for (int i = 0; i < BLOCK; i++)
		for (int j = 0; j < BLOCK; j++)
			out[j * ldo + i] = i < n ? scale * in[i * ldi + j] : 0;
#endif
}

void
fnn_transpose(int64_t rows, int64_t cols, fnn_real scale, const fnn_real *in, int64_t ldi,
			  int64_t padded, fnn_real *out, int64_t ldo)
{
	int64_t		r = 0;

	for (; r + BLOCK <= padded; r += BLOCK)
	{
		int64_t		n = rows - r < BLOCK ? (rows > r ? rows - r : 0) : BLOCK;
		int64_t		c = 0;

		for (; c + BLOCK <= cols; c += BLOCK)
			turn_block(n, scale, in + r * ldi + c, ldi, out + c * ldo + r, ldo);
		for (; c < cols; c++)
			for (int64_t i = 0; i < BLOCK; i++)
				out[c * ldo + r + i] = i < n ? scale * in[(r + i) * ldi + c] : 0;
	}
	for (; r < padded; r++)
		for (int64_t c = 0; c < cols; c++)
			out[c * ldo + r] = r < rows ? scale * in[r * ldi + c] : 0;
}

void
fnn_widen(int64_t rows, int64_t cols, const fnn_real *in, int64_t ldi,
		  int64_t padded, fnn_real *out)
{
	for (int64_t r = 0; r < rows; r++)
	{
		for (int64_t c = 0; c < cols; c++)
			out[r * padded + c] = in[r * ldi + c];
		for (int64_t c = cols; c < padded; c++)
			out[r * padded + c] = 0;
	}
}

FNN_CLONES void
fnn_columns_max(int64_t rows, int64_t lanes, const fnn_real *restrict tile, fnn_real *restrict max)
{
	for (int64_t i = 0; i < rows; i++)
	{
		FNN_SIMD
		for (int64_t c = 0; c < lanes; c++)
			max[c] = tile[i * lanes + c] > max[c] ? tile[i * lanes + c] : max[c];
	}
}

FNN_CLONES void
fnn_columns_exp(int64_t rows, int64_t lanes, fnn_real *restrict tile,
				const fnn_real *restrict shift, fnn_real *restrict sum)
{
	for (int64_t c = 0; c < lanes; c++)
		sum[c] = 0;
	for (int64_t i = 0; i < rows; i++)
	{
		FNN_SIMD
		for (int64_t c = 0; c < lanes; c++)
		{
			fnn_real	e = fnn_exp(tile[i * lanes + c] - shift[c]);

			tile[i * lanes + c] = e;
			sum[c] += e;
		}
	}
}

FNN_CLONES void
fnn_add_scaled(int64_t n, fnn_real weight, const fnn_real *x, fnn_real *y)
{
	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		y[i] += weight * x[i];
}

FNN_CLONES void
fnn_add_signs(int64_t n, fnn_real weight, const uint64_t *bits, fnn_real *y)
{
	for (int64_t k = 0; k < n / 32; k++, y += 32)
	{
		uint32_t	half = (uint32_t) (bits[k / 2] >> (k % 2 * 32));

		FNN_SIMD
		for (uint32_t c = 0; c < 32; c++)
			y[c] += weight * (fnn_real) ((int32_t) (half >> c & 1) * 2 - 1);
	}
}

/*
 * kernels.h
 *	  How numeric loops are written here, and the functions they are made of.
 *
 * A kernel is a plain loop in a function marked FNN_CLONES, which the
 * compiler builds for several instruction sets; the loader picks one when the
 * library is loaded.  Results may differ between instruction sets in the last
 * bits, never between two runs on one machine.
 *
 * FNN_SIMD before a loop promises that its turns are independent.
 * FNN_SIMD_SUM(s) allows the sum s to be split over lanes: that is what
 * -fassociative-math would be for, given to one sum instead of a whole file,
 * where it would ruin the rounding in fnn_exp.
 *
 * In double precision, which exists for gradient checks, libm does the work.
 */
#ifndef FNN_BASE_KERNELS_H
#define FNN_BASE_KERNELS_H

#include <math.h>
#include <string.h>

#include "nn/base/base.h"

/* -DFNN_NO_CLONES: for sanitizers and valgrind, which cope badly with ifuncs. */
#if defined(FNN_NO_CLONES) || !defined(__x86_64__) || defined(__clang__) || !defined(__GNUC__)
#define FNN_CLONES
#elif __GNUC__ >= 12
#define FNN_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define FNN_CLONES __attribute__((target_clones("default", "fma", "avx512f")))
#endif

#define FNN_PRAGMA(x) _Pragma(#x)
#define FNN_SIMD FNN_PRAGMA(omp simd)
#define FNN_SIMD_SUM(sum) FNN_PRAGMA(omp simd reduction(+:sum))

#define FNN_INLINE static inline __attribute__((always_inline))

#ifdef FNN_DOUBLE
#define fnn_sqrt sqrt
#else
#define fnn_sqrt sqrtf
#endif

#ifdef FNN_DOUBLE

FNN_INLINE fnn_real
fnn_exp(fnn_real x)
{
	return exp(x);
}

FNN_INLINE fnn_real
fnn_tanh(fnn_real x)
{
	return tanh(x);
}

/* Phi(x), the standard normal distribution function; density: its derivative. */
FNN_INLINE fnn_real
fnn_normal_cdf(fnn_real x, fnn_real *density)
{
	*density = 0.39894228040143267794 * exp(-0.5 * x * x);
	return 0.5 * erfc(-0.70710678118654752440 * x);
}

#else

/*
 * e^x = 2^n e^r without a branch, within 1e-7 relatively: x = n ln 2 + r with
 * |r| <= ln 2 / 2.  n comes from adding and taking away 1.5 * 2^23, which leaves
 * it in the low bits too, so that 2^n, the power, can be put together from bits;
 * e^r - 1, which is returned, from a polynomial.  x must be -87.3 .. 88.37 or NaN.
 */
FNN_INLINE float
fnn_exp_parts(float x, float *power)
{
	const float magic = 12582912.0f;
	float		shifted = x * 1.44269504f + magic;
	float		n = shifted - magic;
	float		r = x - n * 0.693359375f;
	float		p = 1.9875691500e-4f;
	int32_t		bits;

	r = r + n * 2.12194440e-4f;
	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	memcpy(&bits, &shifted, sizeof(bits));
	bits = (int32_t) (((uint32_t) bits + 127) << 23);
	memcpy(power, &bits, sizeof(bits));
	return p * r * r + r;
}

FNN_INLINE float
fnn_exp_clamp(float x)
{
	x = x < -87.3f ? -87.3f : x;
	return x > 88.37f ? 88.37f : x;
}

/* e^-87.3 and below is 0, above 88.37 it stays 2.4e38; NaN stays NaN. */
FNN_INLINE fnn_real
fnn_exp(fnn_real x)
{
	float		power;
	float		rest = fnn_exp_parts(fnn_exp_clamp(x), &power);

	return x < -87.3f ? 0.0f : (rest + 1.0f) * power;
}

/* From e^2x - 1, which must not be had by taking 1 from e^2x: near 0 that would cancel. */
FNN_INLINE fnn_real
fnn_tanh(fnn_real x)
{
	float		power;
	float		rest = fnn_exp_parts(fnn_exp_clamp(2.0f * x), &power);
	float		less_one = rest * power + (power - 1.0f);

	return less_one / (less_one + 2.0f);
}

/*
 * Phi(x), the standard normal distribution function; density: its derivative.
 * Abramowitz and Stegun 7.1.26, within 1e-7 absolutely; the density comes free.
 */
FNN_INLINE fnn_real
fnn_normal_cdf(fnn_real x, fnn_real *density)
{
	float		e = fnn_exp(-0.5f * x * x);
	float		t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * fabsf(x));
	float		tail = 1.061405429f;

	tail = tail * t - 1.453152027f;
	tail = tail * t + 1.421413741f;
	tail = tail * t - 0.284496736f;
	tail = tail * t + 0.254829592f;
	tail = 0.5f * tail * t * e;
	*density = 0.39894228f * e;
	return x < 0.0f ? tail : 1.0f - tail;
}

#endif							/* FNN_DOUBLE */

FNN_INLINE fnn_real
fnn_sigmoid(fnn_real x)
{
	return 1 / (1 + fnn_exp(-x));
}

#define FNN_BLOCK_REALS 1000000 /* elements a kernel is given between two polls */

FNN_INLINE int64_t
fnn_least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Rows of so many columns that a kernel is given between two polls. */
FNN_INLINE int64_t
fnn_block_rows(int64_t cols)
{
	return FNN_BLOCK_REALS / (cols > 0 ? cols : 1) + 1;
}

/* x . y; in a function marked FNN_CLONES, which it takes its instructions from */
FNN_INLINE fnn_real
fnn_dot(int64_t n, const fnn_real *x, const fnn_real *y)
{
	fnn_real	sum = 0;

	FNN_SIMD_SUM(sum)
	for (int64_t i = 0; i < n; i++)
		sum += x[i] * y[i];
	return sum;
}

#endif							/* FNN_BASE_KERNELS_H */

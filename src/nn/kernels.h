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
#ifndef FNN_KERNELS_H
#define FNN_KERNELS_H

#include <math.h>
#include <string.h>

#include "nn.h"

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
 * e^x without a branch, within 1e-7 relatively.  x = n ln 2 + r with |r| <= ln
 * 2 / 2: n by adding and taking away 1.5 * 2^23, which leaves it in the low bits
 * too; e^r by a polynomial; 2^n put together from bits.  Saturates: e^-87.3 and
 * below is 0, above 88.37 it stays 2.4e38.  NaN stays NaN.
 */
FNN_INLINE fnn_real
fnn_exp(fnn_real x)
{
	const float magic = 12582912.0f;
	float		clamped = x < -87.3f ? -87.3f : x;
	float		shifted;
	float		n;
	float		r;
	float		p;
	float		power;
	int32_t		bits;

	clamped = clamped > 88.37f ? 88.37f : clamped;
	shifted = clamped * 1.44269504f + magic;
	n = shifted - magic;
	r = clamped - n * 0.693359375f;
	r = r + n * 2.12194440e-4f;
	p = 1.9875691500e-4f;
	p = p * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * r * r + r + 1.0f;
	memcpy(&bits, &shifted, sizeof(bits));
	bits = (int32_t) (((uint32_t) bits + 127) << 23);
	memcpy(&power, &bits, sizeof(power));
	return x < -87.3f ? 0.0f : p * power;
}

/* Cephes' polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel. */
FNN_INLINE fnn_real
fnn_tanh(fnn_real x)
{
	float		square = x * x;
	float		near = -5.70498872745e-3f;
	float		far = 1.0f - 2.0f / (fnn_exp(2.0f * x) + 1.0f);

	near = near * square + 2.06390887954e-2f;
	near = near * square - 5.37397155531e-2f;
	near = near * square + 1.33314422036e-1f;
	near = near * square - 3.33332819422e-1f;
	near = near * square * x + x;
	return fabsf(x) < 0.625f ? near : far;
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

#endif							/* FNN_KERNELS_H */

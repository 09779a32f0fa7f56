/*
 * random.c
 *	  Counter-based random numbers.
 *
 * The n-th number of a stream is mix(k1 ^ mix(k0 + n * odd)), where k0 and k1
 * come from seed and stream by the same mixing.  mix is a bijection of 64 bits
 * (two multiplications between xor-shifts) of which one round over a counter
 * already passes the usual batteries; the second, differently keyed, round keeps
 * streams whose k0 happen to be a few steps apart from being shifted copies of
 * each other.
 */
#include "nn/base/base.h"

#include <math.h>

#define ODD UINT64_C(0x9E3779B97F4A7C15)

/* Pelle Evensen's moremur constants of the murmur3 finaliser. */
static inline uint64_t
mix(uint64_t x)
{
	x ^= x >> 27;
	x *= UINT64_C(0x3C79AC492BA7B653);
	x ^= x >> 33;
	x *= UINT64_C(0x1C69B3F74AC4AE35);
	x ^= x >> 27;
	return x;
}

uint64_t
fnn_random_bits(uint64_t seed, uint64_t stream, uint64_t counter)
{
	uint64_t	k0 = mix(mix(seed + ODD) + stream * ODD + 1);
	uint64_t	k1 = mix(k0 ^ ODD) + stream;

	return mix(k1 ^ mix(k0 + counter * ODD));
}

/* The upper 53 bits as a fraction. */
static inline double
unit(uint64_t bits)
{
	return (double) (bits >> 11) * 0x1p-53;
}

double
fnn_random_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
	return unit(fnn_random_bits(seed, stream, counter));
}

/* Box-Muller: numbers 2 n and 2 n + 1 of a stream are one pair. */
static inline void
normal_pair(uint64_t seed, uint64_t stream, uint64_t even, double *first, double *second)
{
	double		radius = sqrt(-2 * log(1 - unit(fnn_random_bits(seed, stream, even))));
	double		angle = 6.28318530717958647693 * unit(fnn_random_bits(seed, stream, even + 1));

	*first = radius * cos(angle);
	*second = radius * sin(angle);
}

double
fnn_random_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
	double		pair[2];

	normal_pair(seed, stream, counter & ~UINT64_C(1), &pair[0], &pair[1]);
	return pair[counter & 1];
}

void
fnn_random_normals(uint64_t seed, uint64_t stream, uint64_t from, double scale, int64_t n, fnn_real *out)
{
	double		first;
	double		second;
	int64_t		i;

	for (i = 0; i + 1 < n; i += 2)
	{
		normal_pair(seed, stream, from + i, &first, &second);
		out[i] = (fnn_real) (scale * first);
		out[i + 1] = (fnn_real) (scale * second);
	}
	if (i < n)
		out[i] = (fnn_real) (scale * fnn_random_normal(seed, stream, from + i));
}

uint64_t
fnn_random_below(uint64_t seed, uint64_t stream, uint64_t counter, uint64_t bound)
{
	return (uint64_t) (((unsigned __int128) fnn_random_bits(seed, stream, counter) * bound) >> 64);
}

void
fnn_random_permutation(uint64_t seed, uint64_t stream, int64_t n, int64_t *index)
{
	for (int64_t i = 0; i < n; i++)
		index[i] = i;
	for (int64_t i = n - 1; i > 0; i--)
	{
		int64_t		j = (int64_t) fnn_random_below(seed, stream, (uint64_t) i, (uint64_t) i + 1);
		int64_t		swap = index[i];

		index[i] = index[j];
		index[j] = swap;
	}
}

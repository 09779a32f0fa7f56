/*
 * bootstrap.c
 *	  How far from its true value a mean over users may be by chance.
 *
 * A resample draws as many users as there are, with repeats, and takes their mean.
 * The interval lies between two quantiles of the means of many resamples (the
 * percentile bootstrap).  Which users a resample draws depends on the seed and the
 * resample's number alone, and is the same for all columns.
 */
#include "model/data/stream.h"
#include "model/evaluate/evaluate.h"

#include <math.h>
#include <string.h>

#define OUTSIDE 0.025			/* of the resamples, on each side */
#define POLL_DRAWS 65536

/* Shell's sort: qsort takes memory of its own. */
static void
sort_ascending(int n, double *value)
{
	for (int gap = n / 2; gap > 0; gap = gap == 2 ? 1 : (int) (gap / 2.2))
	{
		for (int i = gap; i < n; i++)
		{
			double		moved = value[i];
			int			at = i;

			for (; at >= gap && value[at - gap] > moved; at -= gap)
				value[at] = value[at - gap];
			value[at] = moved;
		}
	}
}

/* A quantile of n ascending values, interpolated between the two nearest. */
static double
quantile(int n, const double *value, double q)
{
	double		place = q * (n - 1);
	int			below = (int) floor(place);
	int			above = below + 1 < n ? below + 1 : below;

	return value[below] + (place - below) * (value[above] - value[below]);
}

void
fmoe_bootstrap(FnnArena *arena, int64_t n, int columns, const double *difference,
			   int resamples, uint64_t seed, double *low, double *high)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	double	   *mean = fnn_alloc(arena, fnn_mul_size(host, fnn_mul_size(host, columns, resamples), sizeof(double)));
	double	   *sum = fnn_alloc(arena, fnn_mul_size(host, columns, sizeof(double)));

	if (n < 1 || columns < 1 || resamples < 1)
		fnn_fail(host, FNN_INVALID, "a bootstrap of nothing");
	for (int r = 0; r < resamples; r++)
	{
		uint64_t	stream = fmoe_stream(FMOE_STREAM_RESAMPLE, r);

		memset(sum, 0, sizeof(double) * columns);
		for (int64_t i = 0; i < n; i++)
		{
			const double *row = difference + fnn_random_below(seed, stream, i, n) * columns;

			for (int c = 0; c < columns; c++)
				sum[c] += row[c];
			if (i % POLL_DRAWS == 0)
				fnn_poll(host);
		}
		for (int c = 0; c < columns; c++)
			mean[(int64_t) c * resamples + r] = sum[c] / n;
	}
	for (int c = 0; c < columns; c++)
	{
		double	   *of_column = mean + (int64_t) c * resamples;

		sort_ascending(resamples, of_column);
		fnn_poll(host);
		low[c] = quantile(resamples, of_column, OUTSIDE);
		high[c] = quantile(resamples, of_column, 1 - OUTSIDE);
	}
	fnn_arena_reset(arena, mark);
}

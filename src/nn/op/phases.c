/*
 * phases.c
 *	  Times as phases of many frequencies, after Vaswani et al. 2017, section 3.5, with
 *	  frequencies that are learned (HM4SR, arXiv 2501.14269, "absolute time").
 *
 * A time in seconds times a frequency is a large number of which only what is
 * beyond whole turns counts, so it is computed in doubles.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"

typedef struct Times
{
	const double *time;			/* [rows] */
	double	   *decay;			/* [cols] 10000^(-j / cols) */
} Times;

#ifdef FNN_DOUBLE

static void
turn(int64_t d, const double *phase, fnn_real *cosine, fnn_real *sine)
{
	for (int64_t j = 0; j < d; j++)
	{
		cosine[j] = cos(phase[j]);
		sine[j] = sin(phase[j]);
	}
}

#else

/*
 * Both in one pass without a branch: the phase less whole half turns is r, |r| <=
 * pi / 2, for which Taylor series to the 15th power are exact to 1e-11; pi is two
 * numbers, of which the first has zeros at its end, so that its multiples are exact.
 */
static FNN_CLONES void
turn(int64_t d, const double *phase, fnn_real *cosine, fnn_real *sine)
{
	const double magic = 6755399441055744.0;	/* 1.5 * 2^52 */

	FNN_SIMD
	for (int64_t j = 0; j < d; j++)
	{
		double		shifted = phase[j] * 0.31830988618379067154 + magic;
		double		halves = shifted - magic;
		double		r = (phase[j] - halves * 3.14159262180328369140625) - halves * 3.178650954705639338e-8;
		double		square = r * r;
		double		odd = halves - 2.0 * ((halves * 0.5 + magic) - magic);
		double		sign = 1.0 - 2.0 * odd * odd;
		double		s = -1.0 / 1307674368000.0;
		double		c = 1.0 / 20922789888000.0;

		s = s * square + 1.0 / 6227020800.0;
		s = s * square - 1.0 / 39916800.0;
		s = s * square + 1.0 / 362880.0;
		s = s * square - 1.0 / 5040.0;
		s = s * square + 1.0 / 120.0;
		s = s * square - 1.0 / 6.0;
		s = s * square + 1.0;
		c = c * square - 1.0 / 87178291200.0;
		c = c * square + 1.0 / 479001600.0;
		c = c * square - 1.0 / 3628800.0;
		c = c * square + 1.0 / 40320.0;
		c = c * square - 1.0 / 720.0;
		c = c * square + 1.0 / 24.0;
		c = c * square - 0.5;
		c = c * square + 1.0;
		sine[j] = (float) (sign * s * r);
		cosine[j] = (float) (sign * c);
	}
}

#endif

/* phase[d] of one time */
static FNN_CLONES void
phases_of(int64_t d, double time, const fnn_real *weight, const fnn_real *bias, const double *decay, double *phase)
{
	FNN_SIMD
	for (int64_t j = 0; j < d; j++)
		phase[j] = ((double) weight[j] * time + (double) bias[j]) * decay[j];
}

/* in: weight, bias; saved: Times */
static void
phases_backward(FnnTape *tape, FnnNode *node)
{
	const Times *times = node->saved;
	FnnTensor  *weight = node->in[0];
	FnnTensor  *bias = node->in[1];
	const FnnTensor *y = node->out;
	int64_t		d = y->cols;
	int64_t		step = fnn_block_rows(20 * d);
	FnnMark		mark = fnn_arena_mark(tape->arena);
	double	   *phase = fnn_alloc(tape->arena, (size_t) d * sizeof(double));
	fnn_real   *turned = fnn_alloc_reals(tape->arena, 2, d);

	for (int64_t r = 0; r < y->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		phases_of(d, times->time[r], weight->value, bias->value, times->decay, phase);
		turn(d, phase, turned, turned + d);
		for (int64_t j = 0; j < d; j++)
		{
			double		dphase = -(double) (turned[d + j] * y->grad[r * d + j]) * times->decay[j];

			if (weight->grad != NULL)
				weight->grad[j] += (fnn_real) (dphase * times->time[r]);
			if (bias->grad != NULL)
				bias->grad[j] += (fnn_real) dphase;
		}
	}
	fnn_arena_reset(tape->arena, mark);
}

FnnTensor *
fnn_phases(FnnTape *tape, FnnTensor *weight, FnnTensor *bias, const double *time, int64_t n)
{
	int64_t		d = weight->cols;
	int64_t		step = fnn_block_rows(20 * d);
	Times	   *times = fnn_alloc(tape->arena, sizeof(Times));
	FnnTensor  *y;
	FnnNode    *node;
	FnnMark		mark;
	double	   *phase;
	fnn_real   *sine;

	fnn_check_dense(tape, weight);
	fnn_check_dense(tape, bias);
	if (weight->rows != 1 || bias->rows != 1 || bias->cols != d)
		fnn_fail(tape->host, FNN_INVALID, "frequencies of %lld x %lld do not fit %lld x %lld shifts",
				 (long long) weight->rows, (long long) d, (long long) bias->rows, (long long) bias->cols);
	times->time = time;
	times->decay = fnn_alloc(tape->arena, (size_t) d * sizeof(double));
	for (int64_t j = 0; j < d; j++)
		times->decay[j] = pow(10000, -(double) j / (double) d);
	y = fnn_result(tape, n, d, fnn_has_grad(weight) || fnn_has_grad(bias));
	mark = fnn_arena_mark(tape->arena);
	phase = fnn_alloc(tape->arena, (size_t) d * sizeof(double));
	sine = fnn_alloc_reals(tape->arena, 1, d);
	for (int64_t r = 0; r < n; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		phases_of(d, time[r], weight->value, bias->value, times->decay, phase);
		turn(d, phase, y->value + r * d, sine);
	}
	fnn_arena_reset(tape->arena, mark);
	node = fnn_record(tape, phases_backward, y);
	if (node != NULL)
	{
		node->in[0] = weight;
		node->in[1] = bias;
		node->saved = times;
	}
	return y;
}

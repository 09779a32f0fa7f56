/*
 * loss_small.c
 *	  Losses of a few numbers: divergence from a given distribution, sum of squares.
 */
#include "nn/base/tape_private.h"
#include "nn/loss/loss.h"
#include "nn/product/product.h"

#define LEAST_PROBABILITY 1e-12

/* Returns the loss of one row; dp, if not NULL, gets its gradient. */
static double
divergence_row(int64_t d, const fnn_real *p, const fnn_real *q, double weight, fnn_real *dp)
{
	double		loss = 0;

	for (int64_t c = 0; c < d; c++)
	{
		double		wanted = (double) q[c];
		double		given = (double) p[c];

		if (wanted == 0)
			continue;
		if (given < LEAST_PROBABILITY)
			given = LEAST_PROBABILITY;
		else if (dp != NULL)
			dp[c] -= (fnn_real) (weight * wanted / given);
		loss += wanted * log(wanted / given);
	}
	return loss;
}

void
fnn_divergence_loss(FnnTape *tape, FnnTensor *p, const fnn_real *q, const float *row_weight, double weight)
{
	int64_t		d = p->cols;
	int64_t		step = fnn_block_rows(20 * d);
	double		loss = 0;

	fnn_check_dense(tape, p);
	for (int64_t r = 0; r < p->rows && d > 0; r++)
	{
		bool		with_grad = tape->record && p->grad != NULL;
		double		own = row_weight != NULL ? (double) row_weight[r] : 1;

		if (r % step == 0)
			fnn_poll(tape->host);
		if (!isnan(q[r * d]))
			loss += own * divergence_row(d, p->value + r * d, q + r * d, own * weight,
										 with_grad ? p->grad + r * d : NULL);
	}
	tape->loss += weight * loss;
}

static FNN_CLONES double
squares(int64_t n, const fnn_real *x)
{
	double		sum = 0;

	FNN_SIMD_SUM(sum)
	for (int64_t i = 0; i < n; i++)
		sum += (double) x[i] * (double) x[i];
	return sum;
}

void
fnn_square_loss(FnnTape *tape, FnnTensor *x, double weight)
{
	int64_t		n = x->rows * x->cols;
	double		loss = 0;

	fnn_check_dense(tape, x);
	for (int64_t i = 0; i < n; i += FNN_BLOCK_REALS)
	{
		int64_t		count = fnn_least(FNN_BLOCK_REALS, n - i);

		fnn_poll(tape->host);
		loss += squares(count, x->value + i);
		if (tape->record && x->grad != NULL)
			fnn_add_scaled(count, (fnn_real) (2 * weight), x->value + i, x->grad + i);
	}
	tape->loss += weight * loss;
}

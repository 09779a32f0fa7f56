/*
 * loss_click.c
 *	  The loss of yes or no: cross-entropy of one number a row.
 *
 *	  loss = log(1 + e^z) - label z,	 its gradient sigmoid(z) - label
 *
 * computed from |z|, so that no z overflows.
 */
#include "nn/base/tape_private.h"
#include "nn/loss/loss.h"

double
fnn_click_loss_of(double logit, double label)
{
	return fmax(logit, 0) - label * logit + log1p(exp(-fabs(logit)));
}

void
fnn_click_loss(FnnTape *tape, FnnTensor *logit, const float *label, const float *row_weight, double weight)
{
	int64_t		step = fnn_block_rows(20);
	double		loss = 0;

	fnn_check_dense(tape, logit);
	if (logit->cols != 1)
		fnn_fail(tape->host, FNN_INVALID, "the loss of clicks is of one number a row, not %lld",
				 (long long) logit->cols);
	for (int64_t i = 0; i < logit->rows; i++)
	{
		double		z = (double) logit->value[i];
		double		own = row_weight != NULL ? (double) row_weight[i] : 1;

		if (i % step == 0)
			fnn_poll(tape->host);
		if (isnan(label[i]) || own == 0)
			continue;
		loss += own * fnn_click_loss_of(z, (double) label[i]);
		if (tape->record && logit->grad != NULL)
			logit->grad[i] += (fnn_real) (weight * own * (1 / (1 + exp(-z)) - (double) label[i]));
	}
	tape->loss += weight * loss;
}

void
fnn_sum_loss(FnnTape *tape, FnnTensor *x, const float *factor, double weight)
{
	int64_t		n = x->rows * x->cols;
	double		loss = 0;

	fnn_check_dense(tape, x);
	for (int64_t i = 0; i < n; i++)
	{
		if (i % FNN_BLOCK_REALS == 0)
			fnn_poll(tape->host);
		loss += (double) factor[i] * (double) x->value[i];
		if (tape->record && x->grad != NULL)
			x->grad[i] += (fnn_real) (weight * (double) factor[i]);
	}
	tape->loss += weight * loss;
}

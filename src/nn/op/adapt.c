/*
 * adapt.c
 *	  Low-rank adaptation of a weight.
 *
 * The product is made on its own and added: adding in the product itself would
 * turn an element -0 of W into 0 where nothing is to be added.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

static FNN_CLONES void
add_changes(int64_t n, const fnn_real *w, fnn_real *y)
{
	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		y[i] = y[i] == 0 ? w[i] : w[i] + y[i];
}

static FNN_CLONES void
add(int64_t n, const fnn_real *x, fnn_real *y)
{
	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		y[i] += x[i];
}

/* in: w, a, b */
static void
adapt_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *w = node->in[0];
	FnnTensor  *a = node->in[1];
	FnnTensor  *b = node->in[2];
	const fnn_real *dy = node->out->grad;
	fnn_real	scale = (fnn_real) node->scale;
	int64_t		n = w->rows * w->cols;

	for (int64_t i = 0; w->grad != NULL && i < n; i += FNN_BLOCK_REALS)
	{
		fnn_poll(tape->host);
		add(n - i < FNN_BLOCK_REALS ? n - i : FNN_BLOCK_REALS, dy + i, w->grad + i);
	}
	if (a->grad != NULL)
		fnn_gemm(tape->host, true, false, a->rows, w->cols, w->rows, scale, b->value, b->cols,
				 dy, w->cols, 1, a->grad, w->cols);
	if (b->grad != NULL)
		fnn_gemm(tape->host, false, true, w->rows, b->cols, w->cols, scale, dy, w->cols,
				 a->value, w->cols, 1, b->grad, b->cols);
}

FnnTensor *
fnn_adapt(FnnTape *tape, FnnTensor *w, FnnTensor *a, FnnTensor *b, double scale)
{
	int64_t		n = w->rows * w->cols;
	FnnTensor  *y;
	FnnNode    *node;

	fnn_refuse_view(tape, w);
	fnn_refuse_view(tape, a);
	fnn_refuse_view(tape, b);
	if (a->cols != w->cols || b->rows != w->rows || b->cols != a->rows)
		fnn_fail(tape->host, FNN_INVALID, "a weight of %lld x %lld cannot be adapted by %lld x %lld times %lld x %lld",
				 (long long) w->rows, (long long) w->cols, (long long) b->rows, (long long) b->cols,
				 (long long) a->rows, (long long) a->cols);
	if (tape->record && (w->sparse != NULL || a->sparse != NULL || b->sparse != NULL))
		fnn_fail(tape->host, FNN_INVALID, "an adapted weight cannot have a sparse gradient");
	y = fnn_result(tape, w->rows, w->cols, fnn_has_grad(w) || fnn_has_grad(a) || fnn_has_grad(b));
	fnn_gemm(tape->host, false, false, w->rows, w->cols, a->rows, (fnn_real) scale, b->value, b->cols,
			 a->value, a->cols, 0, y->value, w->cols);
	for (int64_t i = 0; i < n; i += FNN_BLOCK_REALS)
	{
		fnn_poll(tape->host);
		add_changes(n - i < FNN_BLOCK_REALS ? n - i : FNN_BLOCK_REALS, w->value + i, y->value + i);
	}
	node = fnn_record(tape, adapt_backward, y);
	if (node != NULL)
	{
		node->in[0] = w;
		node->in[1] = a;
		node->in[2] = b;
		node->scale = scale;
	}
	return y;
}

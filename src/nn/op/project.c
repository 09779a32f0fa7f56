/*
 * project.c
 *	  A linear map of a matrix too wide to be kept: its rows are made a block at a
 *	  time, forward and once more backward.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

/* Rows of a block: enough for BLAS, few enough for the cache. */
#define PROJECT_ROWS 256

/* x[n] *= mask, for the elements first .. first + n - 1 of the draw */
static FNN_CLONES void
mask_block(const FnnDropout *dropout, int64_t first, int64_t n, fnn_real *x)
{
	const FnnDropout mask = *dropout;

	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		x[i] *= fnn_dropout_factor(&mask, (uint32_t) (first + i));
}

/* x[n, width]: rows first .. first + n - 1 as they are multiplied */
static void
make_block(FnnTape *tape, const FnnMaker *maker, const FnnDropout *dropout, int64_t first, int64_t n, fnn_real *x)
{
	fnn_poll(tape->host);
	maker->make(maker->context, first, n, x);
	if (dropout->threshold > 0)
		mask_block(dropout, first * maker->width, n * maker->width, x);
}

/* in: base, weight */
static void
project_backward(FnnTape *tape, FnnNode *node)
{
	const FnnMaker *maker = node->saved;
	FnnTensor  *base = node->in[0];
	FnnTensor  *weight = node->in[1];
	FnnTensor  *y = node->out;
	FnnMark		mark = fnn_arena_mark(tape->arena);
	fnn_real   *x = fnn_alloc_reals(tape->arena, PROJECT_ROWS, maker->width);

	for (int64_t r = 0; r < y->rows; r += PROJECT_ROWS)
	{
		int64_t		n = fnn_least(PROJECT_ROWS, y->rows - r);
		const fnn_real *dy = y->grad + r * y->cols;

		if (base->grad != NULL)
			fnn_add_scaled(n * y->cols, 1, dy, base->grad + r * y->cols);
		if (weight->grad == NULL)
			continue;
		make_block(tape, maker, &node->dropout, r, n, x);
		fnn_gemm(tape->host, true, false, y->cols, maker->width, n, 1, dy, y->cols, x, maker->width, 1,
				 weight->grad, maker->width);
	}
	fnn_arena_reset(tape->arena, mark);
}

FnnTensor *
fnn_project(FnnTape *tape, FnnTensor *base, const FnnMaker *maker, FnnTensor *weight, double dropout)
{
	FnnDropout	drawn = fnn_dropout_draw(tape, dropout);
	FnnTensor  *y;
	FnnNode    *node;
	FnnMark		mark;
	fnn_real   *x;

	fnn_check_dense(tape, base);
	fnn_check_dense(tape, weight);
	if (weight->cols != maker->width || weight->rows != base->cols)
		fnn_fail(tape->host, FNN_INVALID, "a weight of %lld x %lld does not map rows of %lld to %lld",
				 (long long) weight->rows, (long long) weight->cols, (long long) maker->width,
				 (long long) base->cols);
	y = fnn_result(tape, base->rows, base->cols, fnn_has_grad(base) || fnn_has_grad(weight));
	mark = fnn_arena_mark(tape->arena);
	x = fnn_alloc_reals(tape->arena, PROJECT_ROWS, maker->width);
	for (int64_t r = 0; r < y->rows; r += PROJECT_ROWS)
	{
		int64_t		n = fnn_least(PROJECT_ROWS, y->rows - r);
		int64_t		at = r * y->cols;

		make_block(tape, maker, &drawn, r, n, x);
		memcpy(y->value + at, base->value + at, (size_t) (n * y->cols) * sizeof(fnn_real));
		fnn_gemm(tape->host, false, true, n, y->cols, maker->width, 1, x, maker->width, weight->value, maker->width,
				 1, y->value + at, y->cols);
	}
	fnn_arena_reset(tape->arena, mark);
	node = fnn_record(tape, project_backward, y);
	if (node != NULL)
	{
		FnnMaker   *kept = fnn_alloc(tape->arena, sizeof(FnnMaker));

		*kept = *maker;
		node->in[0] = base;
		node->in[1] = weight;
		node->saved = kept;
		node->dropout = drawn;
	}
	return y;
}

double
fnn_project_reals(int64_t width)
{
	return (double) PROJECT_ROWS * (double) width;
}

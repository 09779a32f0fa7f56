/*
 * linear.c
 *	  Linear maps with bias and activation, in one pass over the result.
 *
 * A small weight is multiplied by fnn_product, a large one by BLAS.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

/* y[rows, cols] = act(y + bias); before, if not NULL, keeps y + bias for GELU's backward. */
static FNN_CLONES void
linear_finish(int64_t rows, int64_t cols, fnn_real *y, const fnn_real *bias,
			  FnnActivation activation, fnn_real *before)
{
	for (int64_t r = 0; r < rows; r++, y += cols)
	{
		if (bias != NULL)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				y[c] += bias[c];
		if (before != NULL)
			memcpy(before + r * cols, y, (size_t) cols * sizeof(fnn_real));
		if (activation == FNN_RELU)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				y[c] = y[c] < 0 ? 0 : y[c];
		else if (activation == FNN_GELU)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
			{
				fnn_real	density;

				y[c] *= fnn_normal_cdf(y[c], &density);
			}
		else if (activation == FNN_SIGMOID)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				y[c] = fnn_sigmoid(y[c]);
		else if (activation == FNN_TANH)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				y[c] = fnn_tanh(y[c]);
	}
}

/* dy becomes the gradient before the activation and is added to dbias, if not NULL. */
static FNN_CLONES void
linear_start_back(int64_t rows, int64_t cols, fnn_real *dy, const fnn_real *y, const fnn_real *before,
				  FnnActivation activation, fnn_real *dbias)
{
	for (int64_t r = 0; r < rows; r++, dy += cols, y += cols)
	{
		if (activation == FNN_RELU)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				dy[c] = y[c] > 0 ? dy[c] : 0;
		else if (activation == FNN_GELU)
		{
			const fnn_real *z = before + r * cols;

			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
			{
				fnn_real	density;
				fnn_real	below = fnn_normal_cdf(z[c], &density);

				dy[c] *= below + z[c] * density;
			}
		}
		else if (activation == FNN_SIGMOID)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				dy[c] *= y[c] * (1 - y[c]);
		else if (activation == FNN_TANH)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				dy[c] *= 1 - y[c] * y[c];
		if (dbias != NULL)
			FNN_SIMD
			for (int64_t c = 0; c < cols; c++)
				dbias[c] += dy[c];
	}
}

/* Rows of a map with a small weight between two polls, and elements of a weight that stays in the cache meanwhile. */
#define POLL_ROWS 2048

#define SMALL_WEIGHT 65536

static bool
is_small(const FnnTensor *weight)
{
	return weight->rows % FNN_LANES == 0 && weight->cols % FNN_LANES == 0 &&
		weight->rows * weight->cols <= SMALL_WEIGHT;
}

/* dweight += dyᵀ x, dx += dy weight, for a small weight: both operands are read where they lie. */
static void
small_backward(FnnTape *tape, FnnTensor *x, FnnTensor *weight, const FnnTensor *y)
{
	FnnProduct	product = fnn_product_best();

	for (int64_t r = 0; r < y->rows; r += POLL_ROWS)
	{
		int64_t		n = fnn_least(POLL_ROWS, y->rows - r);
		const fnn_real *dy = y->grad + r * y->cols;

		fnn_poll(tape->host);
		if (weight->grad != NULL)
			product(y->cols, x->cols, n, dy, 1, y->cols, x->value + r * x->cols, x->cols, true, weight->grad, x->cols);
		if (x->grad != NULL)
			product(n, x->cols, y->cols, dy, y->cols, 1, weight->value, x->cols, true, x->grad + r * x->cols, x->cols);
	}
}

/* in: x, weight, bias; saved: values before GELU */
static void
linear_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *y = node->out;
	FnnTensor  *x = node->in[0];
	FnnTensor  *weight = node->in[1];
	FnnTensor  *bias = node->in[2];
	const fnn_real *before = node->saved;
	fnn_real   *dbias = bias != NULL ? bias->grad : NULL;
	int64_t		step = fnn_block_rows(y->cols);

	if (node->activation != FNN_IDENTITY || dbias != NULL)
		for (int64_t r = 0; r < y->rows; r += step)
		{
			int64_t		at = r * y->cols;

			fnn_poll(tape->host);
			linear_start_back(fnn_least(step, y->rows - r), y->cols, y->grad + at, y->value + at,
							  before != NULL ? before + at : NULL, node->activation, dbias);
		}
	if (is_small(weight))
	{
		small_backward(tape, x, weight, y);
		return;
	}
	if (weight->grad != NULL)
		fnn_gemm(tape->host, true, false, y->cols, x->cols, y->rows, 1, y->grad, y->cols,
				 x->value, x->cols, 1, weight->grad, x->cols);
	if (x->grad != NULL)
		fnn_gemm(tape->host, false, false, y->rows, x->cols, y->cols, 1, y->grad, y->cols,
				 weight->value, x->cols, 1, x->grad, x->cols);
}

/*
 * y[n, out] = x weightᵀ of a map with a small weight.  Turning that once and
 * multiplying without packing is quicker than BLAS; and a row of y has the same
 * bits whatever rows are beside it, so that a history's state does not depend on
 * the batch that it is in.
 */
static void
multiply_small(FnnTape *tape, const FnnTensor *x, const FnnTensor *weight, fnn_real *y)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	int64_t		out = weight->rows;
	fnn_real   *turned = fnn_alloc_reals(tape->arena, x->cols, out);

	fnn_transpose(out, x->cols, 1, weight->value, x->cols, out, turned, out);
	for (int64_t r = 0; r < x->rows; r += POLL_ROWS)
	{
		fnn_poll(tape->host);
		fnn_product_best() (fnn_least(POLL_ROWS, x->rows - r), out, x->cols, x->value + r * x->cols, x->cols, 1,
							turned, out, false, y + r * out, out);
	}
	fnn_arena_reset(tape->arena, mark);
}

FnnTensor *
fnn_linear(FnnTape *tape, FnnTensor *x, FnnTensor *weight, FnnTensor *bias, FnnActivation activation)
{
	int64_t		n = x->rows;
	int64_t		out = weight->rows;
	int64_t		step = fnn_block_rows(out);
	fnn_real   *before = NULL;
	FnnTensor  *y;
	FnnNode    *node;

	fnn_refuse_view(tape, x);
	fnn_refuse_view(tape, weight);
	fnn_refuse_view(tape, bias);
	if (weight->cols != x->cols || (bias != NULL && (bias->rows != 1 || bias->cols != out)))
		fnn_fail(tape->host, FNN_INVALID, "a weight of %lld x %lld does not fit an input of %lld columns and its bias",
				 (long long) out, (long long) weight->cols, (long long) x->cols);
	if (tape->record && (x->sparse != NULL || weight->sparse != NULL || (bias != NULL && bias->sparse != NULL)))
		fnn_fail(tape->host, FNN_INVALID, "a linear map cannot have a sparse gradient");
	y = fnn_result(tape, n, out, fnn_has_grad(x) || fnn_has_grad(weight) || (bias != NULL && fnn_has_grad(bias)));
	if (out % FNN_LANES == 0 && out * x->cols <= SMALL_WEIGHT)
		multiply_small(tape, x, weight, y->value);
	else
		fnn_gemm(tape->host, false, true, n, out, x->cols, 1, x->value, x->cols,
				 weight->value, x->cols, 0, y->value, out);
	if (activation == FNN_GELU && y->grad != NULL)
		before = fnn_alloc_reals(tape->arena, n, out);
	if (bias != NULL || activation != FNN_IDENTITY)
		for (int64_t r = 0; r < n; r += step)
		{
			fnn_poll(tape->host);
			linear_finish(fnn_least(step, n - r), out, y->value + r * out, bias != NULL ? bias->value : NULL,
						  activation, before != NULL ? before + r * out : NULL);
		}
	node = fnn_record(tape, linear_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->in[1] = weight;
		node->in[2] = bias;
		node->saved = before;
		node->activation = activation;
	}
	return y;
}

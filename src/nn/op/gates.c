/*
 * gates.c
 *	  Operations of a mixture's gate: parts side by side, weighted or not,
 *	  means, the softmax over experts, and two small losses.
 *
 * What a row becomes depends on that row, or on its own sequence, alone: not a
 * bit of it on what else is in the batch.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

/* ---------------------------------------------------------------- parts side by side */

typedef struct Parts
{
	int			n;
	FnnTensor **part;			/* [n] */
	FnnTensor  *weight;			/* NULL: all 1 */
} Parts;

/* y[cols] = weight * x; 0 where weight is 0, even if x is not finite */
static FNN_CLONES void
weigh(int64_t cols, fnn_real weight, const fnn_real *x, fnn_real *y)
{
	if (weight == 0)
		memset(y, 0, (size_t) cols * sizeof(fnn_real));
	else
		FNN_SIMD
		for (int64_t c = 0; c < cols; c++)
			y[c] = weight * x[c];
}

/* dweight[n] += row r of each part . its stretch of dy */
static FNN_CLONES void
weights_back(int n, FnnTensor *const *part, int64_t r, const fnn_real *dy, fnn_real *dweight)
{
	for (int p = 0; p < n; p++)
	{
		int64_t		d = part[p]->cols;

		dweight[p] += fnn_dot(d, part[p]->value + r * d, dy);
		dy += d;
	}
}

/* saved: Parts */
static void
join_backward(FnnTape *tape, FnnNode *node)
{
	const Parts *parts = node->saved;
	const FnnTensor *y = node->out;
	FnnTensor  *weight = parts->weight;
	int64_t		step = fnn_block_rows(y->cols);

	for (int64_t r = 0; r < y->rows; r++)
	{
		const fnn_real *dy = y->grad + r * y->cols;

		if (r % step == 0)
			fnn_poll(tape->host);
		if (weight != NULL && weight->grad != NULL)
			weights_back(parts->n, parts->part, r, dy, weight->grad + r * weight->cols);
		for (int p = 0; p < parts->n; p++)
		{
			FnnTensor  *part = parts->part[p];
			int64_t		d = part->cols;

			if (part->grad != NULL && weight == NULL)
				fnn_add_scaled(d, 1, dy, part->grad + r * d);
			else if (part->grad != NULL && weight->value[r * weight->cols + p] != 0)
				fnn_add_scaled(d, weight->value[r * weight->cols + p], dy, part->grad + r * d);
			dy += d;
		}
	}
}

/* Parts side by side, times their columns of weight, if there is one. */
static FnnTensor *
join(FnnTape *tape, int n_parts, FnnTensor *const *parts, FnnTensor *weight)
{
	int64_t		rows = n_parts > 0 ? parts[0]->rows : 0;
	int64_t		cols = 0;
	bool		any_grad = weight != NULL && fnn_has_grad(weight);
	int64_t		step;
	FnnTensor  *y;
	FnnNode    *node;

	if (n_parts < 1)
		fnn_fail(tape->host, FNN_INVALID, "there are no parts to put side by side");
	for (int p = 0; p < n_parts; p++)
	{
		fnn_check_dense(tape, parts[p]);
		if (parts[p]->rows != rows)
			fnn_fail(tape->host, FNN_INVALID, "a part of %lld rows cannot stand beside one of %lld",
					 (long long) parts[p]->rows, (long long) rows);
		cols += parts[p]->cols;
		any_grad = any_grad || fnn_has_grad(parts[p]);
	}
	y = fnn_result(tape, rows, cols, any_grad);
	step = fnn_block_rows(cols);
	for (int64_t r = 0; r < rows; r++)
	{
		fnn_real   *to = y->value + r * cols;

		if (r % step == 0)
			fnn_poll(tape->host);
		for (int p = 0; p < n_parts; to += parts[p++]->cols)
		{
			const fnn_real *from = parts[p]->value + r * parts[p]->cols;

			if (weight == NULL)
				memcpy(to, from, (size_t) parts[p]->cols * sizeof(fnn_real));
			else
				weigh(parts[p]->cols, weight->value[r * weight->cols + p], from, to);
		}
	}
	node = fnn_record(tape, join_backward, y);
	if (node != NULL)
	{
		Parts	   *saved = fnn_alloc(tape->arena, sizeof(Parts));

		saved->n = n_parts;
		saved->part = fnn_alloc(tape->arena, (size_t) n_parts * sizeof(FnnTensor *));
		memcpy(saved->part, parts, (size_t) n_parts * sizeof(FnnTensor *));
		saved->weight = weight;
		node->saved = saved;
	}
	return y;
}

FnnTensor *
fnn_concat(FnnTape *tape, int n_parts, FnnTensor *const *parts)
{
	return join(tape, n_parts, parts, NULL);
}

FnnTensor *
fnn_gate(FnnTape *tape, int n_parts, FnnTensor *const *parts, FnnTensor *weight)
{
	fnn_check_dense(tape, weight);
	if (n_parts > 0 && (weight->rows != parts[0]->rows || weight->cols < n_parts))
		fnn_fail(tape->host, FNN_INVALID, "weights of %lld x %lld do not fit %d parts of %lld rows",
				 (long long) weight->rows, (long long) weight->cols, n_parts, (long long) parts[0]->rows);
	return join(tape, n_parts, parts, weight);
}

/* ---------------------------------------------------------------- means */

/* Rows of a sequence from its position first on: sum[d] goes on, y is sum over the number of rows so far. */
static FNN_CLONES void
mean_forward(int64_t rows, int64_t d, int64_t first, const fnn_real *x, fnn_real *sum, fnn_real *y)
{
	for (int64_t r = 0; r < rows; r++, x += d, y += d)
	{
		fnn_real	count = (fnn_real) (first + r + 1);

		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
		{
			sum[c] += x[c];
			y[c] = sum[c] / count;
		}
	}
}

/* The same rows, last first: a row is in its own mean and in those after it. */
static FNN_CLONES void
mean_backward(int64_t rows, int64_t d, int64_t first, const fnn_real *dy, fnn_real *sum, fnn_real *dx)
{
	for (int64_t r = rows - 1; r >= 0; r--)
	{
		fnn_real	count = (fnn_real) (first + r + 1);

		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
		{
			sum[c] += dy[r * d + c] / count;
			dx[r * d + c] += sum[c];
		}
	}
}

/* in: x; saved: sequences */
static void
running_mean_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	const FnnSequences *sequences = node->saved;
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);
	FnnMark		mark = fnn_arena_mark(tape->arena);
	fnn_real   *sum = fnn_alloc_reals(tape->arena, 1, d);

	for (int32_t s = 0; s < sequences->count; s++)
	{
		int64_t		begin = sequences->offset[s];
		int64_t		rows;

		memset(sum, 0, (size_t) d * sizeof(fnn_real));
		for (int64_t end = sequences->offset[s + 1]; end > begin; end -= rows)
		{
			rows = fnn_least(step, end - begin);
			fnn_poll(tape->host);
			mean_backward(rows, d, end - rows - begin, node->out->grad + (end - rows) * d, sum,
						  x->grad + (end - rows) * d);
		}
	}
	fnn_arena_reset(tape->arena, mark);
}

FnnTensor *
fnn_running_mean(FnnTape *tape, FnnTensor *x, const FnnSequences *sequences)
{
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);
	FnnTensor  *y;
	FnnNode    *node;
	fnn_real   *sum;
	FnnMark		mark;

	fnn_check_dense(tape, x);
	if (sequences->offset[sequences->count] != x->rows)
		fnn_fail(tape->host, FNN_INVALID, "sequences of %d tokens do not fit a running mean of %lld rows",
				 (int) sequences->offset[sequences->count], (long long) x->rows);
	y = fnn_result(tape, x->rows, d, fnn_has_grad(x));
	node = fnn_record(tape, running_mean_backward, y);
	if (node != NULL)
	{
		FnnSequences *saved = fnn_alloc(tape->arena, sizeof(FnnSequences));

		*saved = *sequences;
		node->in[0] = x;
		node->saved = saved;
	}
	mark = fnn_arena_mark(tape->arena);
	sum = fnn_alloc_reals(tape->arena, 1, d);
	for (int32_t s = 0; s < sequences->count; s++)
	{
		int64_t		begin = sequences->offset[s];
		int64_t		end = sequences->offset[s + 1];

		memset(sum, 0, (size_t) d * sizeof(fnn_real));
		for (int64_t t = begin; t < end; t += step)
		{
			fnn_poll(tape->host);
			mean_forward(fnn_least(step, end - t), d, t - begin, x->value + t * d, sum, y->value + t * d);
		}
	}
	fnn_arena_reset(tape->arena, mark);
	return y;
}

static FNN_CLONES void
add_rows(int64_t rows, int64_t d, const fnn_real *x, double *sum)
{
	for (int64_t r = 0; r < rows; r++, x += d)
		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			sum[c] += (double) x[c];
}

/* in: x */
static void
column_mean_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	int64_t		step = fnn_block_rows(x->cols);

	for (int64_t r = 0; r < x->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		fnn_add_scaled(x->cols, 1 / (fnn_real) x->rows, node->out->grad, x->grad + r * x->cols);
	}
}

FnnTensor *
fnn_mean(FnnTape *tape, FnnTensor *x)
{
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);
	FnnTensor  *y;
	FnnNode    *node;
	FnnMark		mark;
	double	   *sum;

	fnn_check_dense(tape, x);
	y = fnn_result(tape, 1, d, fnn_has_grad(x));
	mark = fnn_arena_mark(tape->arena);
	sum = fnn_zalloc(tape->arena, (size_t) d * sizeof(double));
	for (int64_t r = 0; r < x->rows; r += step)
	{
		fnn_poll(tape->host);
		add_rows(fnn_least(step, x->rows - r), d, x->value + r * d, sum);
	}
	for (int64_t c = 0; c < d; c++)
		y->value[c] = x->rows > 0 ? (fnn_real) (sum[c] / (double) x->rows) : 0;
	fnn_arena_reset(tape->arena, mark);
	node = fnn_record(tape, column_mean_backward, y);
	if (node != NULL)
		node->in[0] = x;
	return y;
}

/* ---------------------------------------------------------------- softmax over experts */

/* y[d] becomes 1 in the columns that take part, 0 in the others. */
static void
choose(int64_t d, const fnn_real *x, const bool *allowed, int top, fnn_real *y)
{
	for (int64_t c = 0; c < d; c++)
		y[c] = top == 0 && (allowed == NULL || allowed[c]);
	for (int i = 0; i < top; i++)
	{
		int64_t		best = -1;

		for (int64_t c = 0; c < d; c++)
			if (y[c] == 0 && (allowed == NULL || allowed[c]) && (best < 0 || x[c] > x[best]))
				best = c;
		if (best < 0)
			break;
		y[best] = 1;
	}
}

static void
softmax_row(int64_t d, const fnn_real *x, const bool *allowed, int top, fnn_real *y)
{
	fnn_real	max = -INFINITY;
	fnn_real	sum = 0;

	choose(d, x, allowed, top, y);
	for (int64_t c = 0; c < d; c++)
		max = y[c] != 0 && x[c] > max ? x[c] : max;
	for (int64_t c = 0; c < d; c++)
	{
		y[c] = y[c] != 0 ? fnn_exp(x[c] - max) : 0;
		sum += y[c];
	}
	for (int64_t c = 0; c < d; c++)
		y[c] /= sum;
}

/* in: x.  What is 0 gets no gradient from this, chosen or not. */
static void
softmax_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);

	for (int64_t r = 0; r < x->rows; r++)
	{
		const fnn_real *y = node->out->value + r * d;
		const fnn_real *dy = node->out->grad + r * d;
		fnn_real	mean = 0;

		if (r % step == 0)
			fnn_poll(tape->host);
		for (int64_t c = 0; c < d; c++)
			mean += y[c] != 0 ? y[c] * dy[c] : 0;
		for (int64_t c = 0; c < d; c++)
			x->grad[r * d + c] += y[c] != 0 ? y[c] * (dy[c] - mean) : 0;
	}
}

FnnTensor *
fnn_softmax(FnnTape *tape, FnnTensor *x, const bool *allowed, int top)
{
	int64_t		d = x->cols;
	/* choosing walks the columns once for each of the top */
	int64_t		step = fnn_block_rows(d * (1 + fnn_least(top, d)));
	bool		any = false;
	FnnTensor  *y;
	FnnNode    *node;

	fnn_check_dense(tape, x);
	for (int64_t c = 0; c < d; c++)
		any = any || allowed == NULL || allowed[c];
	if (!any || top < 0)
		fnn_fail(tape->host, FNN_INVALID, "a softmax over the top %d of %lld columns has none to choose from",
				 top, (long long) d);
	y = fnn_result(tape, x->rows, d, fnn_has_grad(x));
	for (int64_t r = 0; r < x->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		softmax_row(d, x->value + r * d, allowed, top, y->value + r * d);
	}
	node = fnn_record(tape, softmax_backward, y);
	if (node != NULL)
		node->in[0] = x;
	return y;
}

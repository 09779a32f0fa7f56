/*
 * rows.c
 *	  Linear maps of which every row of the input has its own: the weights of map r
 *	  are a stretch of row r of a table, such as a row for each user or each group.
 *
 * Rows of the input that follow each other and have the same map are multiplied
 * together.  What a row becomes depends on that row alone, not on how many those are.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

typedef struct RowLinear
{
	const int32_t *row;			/* [n] */
	int64_t		first;
	bool		biased;
} RowLinear;

/* The end of the run of rows that have the map of row i. */
static int64_t
run_end(const int32_t *row, int64_t n, int64_t i)
{
	int64_t		end = i + 1;

	while (end < n && row[end] == row[i])
		end++;
	return end;
}

/* y[rows, out] = act(x turned + bias), with turned[in, out] the weight transposed. */
static FNN_CLONES void
multiply_run(int64_t rows, int64_t in, int64_t out, const fnn_real *x, const fnn_real *turned, const fnn_real *bias,
			 FnnActivation activation, fnn_real *y)
{
	for (int64_t r = 0; r < rows; r++, x += in, y += out)
	{
		if (bias != NULL)
			memcpy(y, bias, (size_t) out * sizeof(fnn_real));
		else
			memset(y, 0, (size_t) out * sizeof(fnn_real));
		for (int64_t k = 0; k < in; k++)
		{
			fnn_real	factor = x[k];
			const fnn_real *column = turned + k * out;

			FNN_SIMD
			for (int64_t c = 0; c < out; c++)
				y[c] += factor * column[c];
		}
		if (activation == FNN_RELU)
			FNN_SIMD
			for (int64_t c = 0; c < out; c++)
				y[c] = y[c] < 0 ? 0 : y[c];
	}
}

/* dy becomes the gradient before the activation; adds to those of x, weight and bias that are not NULL. */
static FNN_CLONES void
run_back(int64_t rows, int64_t in, int64_t out, const fnn_real *x, const fnn_real *weight, const fnn_real *y,
		 FnnActivation activation, fnn_real *dy, fnn_real *dx, fnn_real *dweight, fnn_real *dbias)
{
	for (int64_t r = 0; r < rows; r++, x += in, y += out, dy += out)
	{
		if (activation == FNN_RELU)
			FNN_SIMD
			for (int64_t c = 0; c < out; c++)
				dy[c] = y[c] > 0 ? dy[c] : 0;
		if (dbias != NULL)
			FNN_SIMD
			for (int64_t c = 0; c < out; c++)
				dbias[c] += dy[c];
		for (int64_t c = 0; c < out; c++)
		{
			fnn_real	factor = dy[c];

			if (factor == 0)
				continue;
			if (dweight != NULL)
				FNN_SIMD
				for (int64_t k = 0; k < in; k++)
					dweight[c * in + k] += factor * x[k];
			if (dx != NULL)
				FNN_SIMD
				for (int64_t k = 0; k < in; k++)
					dx[r * in + k] += factor * weight[c * in + k];
		}
	}
}

/* in: x, table; saved: RowLinear */
static void
row_linear_backward(FnnTape *tape, FnnNode *node)
{
	const RowLinear *saved = node->saved;
	FnnTensor  *x = node->in[0];
	FnnTensor  *table = node->in[1];
	FnnTensor  *y = node->out;
	int64_t		weights = x->cols * y->cols;
	int64_t		end;

	for (int64_t i = 0; i < y->rows; i = end)
	{
		int32_t		row = saved->row[i];
		fnn_real   *dtable = NULL;

		end = run_end(saved->row, y->rows, i);
		fnn_poll(tape->host);
		if (row < 0)
			continue;
		if (fnn_has_grad(table))
			dtable = fnn_grad_row(tape->host, table, row) + saved->first;
		run_back(end - i, x->cols, y->cols, x->value + i * x->cols, table->value + row * table->cols + saved->first,
				 y->value + i * y->cols, node->activation, y->grad + i * y->cols,
				 x->grad != NULL ? x->grad + i * x->cols : NULL, dtable,
				 dtable != NULL && saved->biased ? dtable + weights : NULL);
	}
}

FnnTensor *
fnn_row_linear(FnnTape *tape, FnnTensor *x, FnnTensor *table, int64_t first, int64_t out, bool biased,
			   FnnActivation activation, const int32_t *row)
{
	int64_t		in = x->cols;
	FnnTensor  *y = fnn_result(tape, x->rows, out, fnn_has_grad(x) || fnn_has_grad(table));
	FnnMark		mark;
	fnn_real   *turned;
	FnnNode    *node;
	int64_t		end;

	fnn_check_dense(tape, x);
	fnn_refuse_view(tape, table);
	if (first < 0 || first + out * in + (biased ? out : 0) > table->cols ||
		(activation != FNN_IDENTITY && activation != FNN_RELU))
		fnn_fail(tape->host, FNN_INVALID, "a map of %lld x %lld does not fit rows of %lld numbers",
				 (long long) out, (long long) in, (long long) table->cols);
	node = fnn_record(tape, row_linear_backward, y);
	if (node != NULL)
	{
		RowLinear  *saved = fnn_alloc(tape->arena, sizeof(RowLinear));

		*saved = (RowLinear) {.row = row, .first = first, .biased = biased};
		node->in[0] = x;
		node->in[1] = table;
		node->activation = activation;
		node->saved = saved;
	}
	mark = fnn_arena_mark(tape->arena);
	turned = fnn_alloc_reals(tape->arena, in, out);
	for (int64_t i = 0; i < x->rows; i = end)
	{
		const fnn_real *weight = table->value + row[i] * table->cols + first;

		end = run_end(row, x->rows, i);
		fnn_poll(tape->host);
		if (row[i] >= table->rows)
			fnn_fail(tape->host, FNN_INVALID, "there is no map %d of %lld", (int) row[i], (long long) table->rows);
		if (row[i] < 0)
		{
			memset(y->value + i * out, 0, (size_t) ((end - i) * out) * sizeof(fnn_real));
			continue;
		}
		fnn_transpose(out, in, 1, weight, in, out, turned, out);
		multiply_run(end - i, in, out, x->value + i * in, turned, biased ? weight + out * in : NULL, activation,
					 y->value + i * out);
	}
	fnn_arena_reset(tape->arena, mark);
	return y;
}

/* ---------------------------------------------------------------- one column of each row */

/* in: x; saved: column */
static void
pick_backward(FnnTape *tape, FnnNode *node)
{
	const int32_t *column = node->saved;
	FnnTensor  *x = node->in[0];

	fnn_poll(tape->host);
	for (int64_t i = 0; i < x->rows; i++)
		x->grad[i * x->cols + column[i]] += node->out->grad[i];
}

FnnTensor *
fnn_pick(FnnTape *tape, FnnTensor *x, const int32_t *column)
{
	FnnTensor  *y = fnn_result(tape, x->rows, 1, fnn_has_grad(x));
	FnnNode    *node;

	fnn_check_dense(tape, x);
	fnn_poll(tape->host);
	for (int64_t i = 0; i < x->rows; i++)
	{
		if (column[i] < 0 || column[i] >= x->cols)
			fnn_fail(tape->host, FNN_INVALID, "there is no column %d of %lld", (int) column[i], (long long) x->cols);
		y->value[i] = x->value[i * x->cols + column[i]];
	}
	node = fnn_record(tape, pick_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->saved = column;
	}
	return y;
}

/*
 * operations.c
 *	  Row-wise operations: tables, picking rows, normalisation, dropout.
 *
 * Each is a forward function and the backward it records; backwards add to
 * their inputs' gradients.  Loops over elements are kernels; what surrounds
 * them cuts the rows into blocks and polls between.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"

/* ---------------------------------------------------------------- rows of tables */

/* Fails unless the table has the rows row[first] .. row[first + n - 1]. */
static void
check_rows(FnnTape *tape, const FnnTensor *table, const int32_t *row, int64_t first, int64_t n)
{
	for (int64_t i = first; i < first + n; i++)
		if (row[i] < 0 || row[i] >= table->rows)
			fnn_fail(tape->host, FNN_INVALID, "a table of %lld rows has no row %d",
					 (long long) table->rows, (int) row[i]);
}

/*
 * y[n, d] = scale * table[id[i]] + position_table[position[i]]; position_table
 * may be NULL, rows of table are stride apart.
 */
static FNN_CLONES void
embed_rows(int64_t n, int64_t d, const fnn_real *table, int64_t stride, const int32_t *id, fnn_real scale,
		   const fnn_real *position_table, const int32_t *position, fnn_real *y)
{
	for (int64_t i = 0; i < n; i++, y += d)
	{
		const fnn_real *row = table + id[i] * stride;

		if (position_table != NULL)
		{
			const fnn_real *place = position_table + position[i] * d;

			FNN_SIMD
			for (int64_t c = 0; c < d; c++)
				y[c] = scale * row[c] + place[c];
		}
		else
			FNN_SIMD
			for (int64_t c = 0; c < d; c++)
				y[c] = scale * row[c];
	}
}

/* dtable[row[i]] += scale * dy[i] for the rows first .. first + n - 1 of dy */
static FNN_CLONES void
scatter_block(const FnnHost *host, FnnTensor *table, const int32_t *row, int64_t first, int64_t n,
			  fnn_real scale, const fnn_real *dy)
{
	int64_t		d = table->cols;

	for (int64_t i = first; i < first + n; i++)
	{
		const fnn_real *from = dy + i * d;
		fnn_real   *to = fnn_grad_row(host, table, row[i]);

		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			to[c] += scale * from[c];
	}
}

static void
scatter_rows(FnnTape *tape, FnnTensor *table, const int32_t *row, double scale, const FnnTensor *y)
{
	int64_t		step = fnn_block_rows(y->cols);

	for (int64_t i = 0; i < y->rows; i += step)
	{
		fnn_poll(tape->host);
		scatter_block(tape->host, table, row, i, fnn_least(step, y->rows - i), (fnn_real) scale, y->grad);
	}
}

typedef struct EmbedSaved
{
	const int32_t *id;			/* [n] */
	const int32_t *position;	/* [n], or NULL */
} EmbedSaved;

/* in: table, position table */
static void
embed_backward(FnnTape *tape, FnnNode *node)
{
	const EmbedSaved *saved = node->saved;

	if (fnn_has_grad(node->in[0]))
		scatter_rows(tape, node->in[0], saved->id, node->scale, node->out);
	if (node->in[1] != NULL && fnn_has_grad(node->in[1]))
		scatter_rows(tape, node->in[1], saved->position, 1, node->out);
}

FnnTensor *
fnn_embed(FnnTape *tape, FnnTensor *table, const int32_t *id, int64_t n, double scale,
		  FnnTensor *position_table, const int32_t *position)
{
	int64_t		d = table->cols;
	int64_t		step = fnn_block_rows(d);
	FnnTensor  *y;
	FnnNode    *node;

	fnn_refuse_view(tape, position_table);
	if (position_table != NULL && position_table->cols != d)
		fnn_fail(tape->host, FNN_INVALID, "a position table of %lld columns does not fit a table of %lld",
				 (long long) position_table->cols, (long long) d);
	y = fnn_result(tape, n, d, fnn_has_grad(table) || (position_table != NULL && fnn_has_grad(position_table)));
	for (int64_t i = 0; i < n; i += step)
	{
		int64_t		rows = fnn_least(step, n - i);

		fnn_poll(tape->host);
		check_rows(tape, table, id, i, rows);
		if (position_table != NULL)
			check_rows(tape, position_table, position, i, rows);
		embed_rows(rows, d, table->value, fnn_stride(table), id + i, (fnn_real) scale,
				   position_table != NULL ? position_table->value : NULL,
				   position_table != NULL ? position + i : NULL, y->value + i * d);
	}
	node = fnn_record(tape, embed_backward, y);
	if (node != NULL)
	{
		EmbedSaved *saved = fnn_alloc(tape->arena, sizeof(EmbedSaved));

		saved->id = id;
		saved->position = position;
		node->in[0] = table;
		node->in[1] = position_table;
		node->saved = saved;
		node->scale = scale;
	}
	return y;
}

/* in: x */
static void
rows_backward(FnnTape *tape, FnnNode *node)
{
	scatter_rows(tape, node->in[0], node->saved, 1, node->out);
}

FnnTensor *
fnn_rows(FnnTape *tape, FnnTensor *x, const int32_t *row, int64_t n)
{
	FnnTensor  *y = fnn_result(tape, n, x->cols, fnn_has_grad(x));
	int64_t		step = fnn_block_rows(x->cols);
	FnnNode    *node;

	fnn_refuse_view(tape, x);
	for (int64_t i = 0; i < n; i++)
	{
		if (i % step == 0)
		{
			fnn_poll(tape->host);
			check_rows(tape, x, row, i, fnn_least(step, n - i));
		}
		memcpy(y->value + i * x->cols, x->value + row[i] * x->cols, (size_t) x->cols * sizeof(fnn_real));
	}
	node = fnn_record(tape, rows_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->saved = row;
	}
	return y;
}

/* ---------------------------------------------------------------- means of rows */

typedef struct MeansSaved
{
	const int32_t *begin;		/* [n] */
	const int32_t *count;		/* [n] */
} MeansSaved;

/* to[c] += scale * from[c] */
static FNN_CLONES void
add_row(int64_t d, fnn_real scale, const fnn_real *from, fnn_real *to)
{
	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		to[c] += scale * from[c];
}

/* in: x */
static void
means_backward(FnnTape *tape, FnnNode *node)
{
	const MeansSaved *saved = node->saved;
	FnnTensor  *x = node->in[0];
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);
	int64_t		done = 0;

	for (int64_t i = 0; i < node->out->rows; i++)
		for (int64_t k = 0; k < saved->count[i]; k++)
		{
			if (done++ % step == 0)
				fnn_poll(tape->host);
			add_row(d, (fnn_real) 1 / (fnn_real) saved->count[i], node->out->grad + i * d,
					x->grad + (saved->begin[i] + k) * d);
		}
}

FnnTensor *
fnn_means(FnnTape *tape, FnnTensor *x, const int32_t *begin, const int32_t *count, int64_t n)
{
	FnnTensor  *y = fnn_result(tape, n, x->cols, fnn_has_grad(x));
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);
	int64_t		done = 0;
	FnnNode    *node;

	fnn_refuse_view(tape, x);
	for (int64_t i = 0; i < n; i++)
	{
		if (begin[i] < 0 || count[i] < 1 || count[i] > x->rows - begin[i])
			fnn_fail(tape->host, FNN_INVALID, "a matrix of %lld rows has no %d rows from %d on", (long long) x->rows,
					 (int) count[i], (int) begin[i]);
		memcpy(y->value + i * d, x->value + begin[i] * d, (size_t) d * sizeof(fnn_real));
		for (int64_t k = 1; k < count[i]; k++)
		{
			if (done++ % step == 0)
				fnn_poll(tape->host);
			add_row(d, 1, x->value + (begin[i] + k) * d, y->value + i * d);
		}
		for (int64_t c = 0; count[i] > 1 && c < d; c++)
			y->value[i * d + c] /= (fnn_real) count[i];
	}
	node = fnn_record(tape, means_backward, y);
	if (node != NULL)
	{
		MeansSaved *saved = fnn_alloc(tape->arena, sizeof(MeansSaved));

		saved->begin = begin;
		saved->count = count;
		node->in[0] = x;
		node->saved = saved;
	}
	return y;
}

/* ---------------------------------------------------------------- layer norm */

/* statistics[rows, 2], or NULL: each row's mean and 1 / standard deviation. */
static FNN_CLONES void
layer_norm_rows(int64_t rows, int64_t d, const fnn_real *x, const fnn_real *gain, const fnn_real *bias,
				fnn_real eps, fnn_real *y, fnn_real *statistics)
{
	for (int64_t r = 0; r < rows; r++, x += d, y += d)
	{
		fnn_real	sum = 0;
		fnn_real	squares = 0;
		fnn_real	mean;
		fnn_real	inverse;

		FNN_SIMD_SUM(sum)
		for (int64_t c = 0; c < d; c++)
			sum += x[c];
		mean = sum / d;
		FNN_SIMD_SUM(squares)
		for (int64_t c = 0; c < d; c++)
			squares += (x[c] - mean) * (x[c] - mean);
		inverse = 1 / fnn_sqrt(squares / d + eps);
		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			y[c] = (x[c] - mean) * inverse * gain[c] + bias[c];
		if (statistics != NULL)
		{
			statistics[2 * r] = mean;
			statistics[2 * r + 1] = inverse;
		}
	}
}

/* With h = (x - mean) / deviation and g = dy * gain: dx += (g - mean(g) - h mean(g h)) / deviation. */
static FNN_CLONES void
layer_norm_rows_back(int64_t rows, int64_t d, const fnn_real *x, const fnn_real *gain, const fnn_real *dy,
					 const fnn_real *statistics, fnn_real *dx)
{
	for (int64_t r = 0; r < rows; r++, x += d, dy += d, dx += d)
	{
		fnn_real	mean = statistics[2 * r];
		fnn_real	inverse = statistics[2 * r + 1];
		fnn_real	sum = 0;
		fnn_real	product = 0;

		_Pragma("omp simd reduction(+:sum, product)")
		for (int64_t c = 0; c < d; c++)
		{
			fnn_real	g = dy[c] * gain[c];

			sum += g;
			product += g * (x[c] - mean);
		}
		sum /= d;
		product *= inverse * inverse / d;
		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			dx[c] += (dy[c] * gain[c] - sum - (x[c] - mean) * product) * inverse;
	}
}

/* dgain += dy * (x - mean) / deviation, dbias += dy; either may be NULL. */
static FNN_CLONES void
layer_norm_params_back(int64_t rows, int64_t d, const fnn_real *x, const fnn_real *dy,
					   const fnn_real *statistics, fnn_real *dgain, fnn_real *dbias)
{
	for (int64_t r = 0; r < rows; r++, x += d, dy += d)
	{
		fnn_real	mean = statistics[2 * r];
		fnn_real	inverse = statistics[2 * r + 1];

		if (dgain != NULL)
			FNN_SIMD
			for (int64_t c = 0; c < d; c++)
				dgain[c] += dy[c] * ((x[c] - mean) * inverse);
		if (dbias != NULL)
			FNN_SIMD
			for (int64_t c = 0; c < d; c++)
				dbias[c] += dy[c];
	}
}

/* in: x, gain, bias; saved: statistics [rows, 2] */
static void
layer_norm_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	FnnTensor  *gain = node->in[1];
	FnnTensor  *bias = node->in[2];
	const fnn_real *statistics = node->saved;
	int64_t		step = fnn_block_rows(x->cols);

	for (int64_t r = 0; r < x->rows; r += step)
	{
		int64_t		rows = fnn_least(step, x->rows - r);
		int64_t		at = r * x->cols;

		fnn_poll(tape->host);
		if (gain->grad != NULL || bias->grad != NULL)
			layer_norm_params_back(rows, x->cols, x->value + at, node->out->grad + at,
								   statistics + 2 * r, gain->grad, bias->grad);
		if (x->grad != NULL)
			layer_norm_rows_back(rows, x->cols, x->value + at, gain->value, node->out->grad + at,
								 statistics + 2 * r, x->grad + at);
	}
}

FnnTensor *
fnn_layer_norm(FnnTape *tape, FnnTensor *x, FnnTensor *gain, FnnTensor *bias, double eps)
{
	int64_t		step = fnn_block_rows(x->cols);
	fnn_real   *statistics = NULL;
	FnnTensor  *y;
	FnnNode    *node;

	fnn_refuse_view(tape, x);
	fnn_refuse_view(tape, gain);
	fnn_refuse_view(tape, bias);
	if (gain->rows != 1 || bias->rows != 1 || gain->cols != x->cols || bias->cols != x->cols)
		fnn_fail(tape->host, FNN_INVALID, "gain and bias of a layer norm over %lld columns have %lld and %lld",
				 (long long) x->cols, (long long) gain->cols, (long long) bias->cols);
	y = fnn_result(tape, x->rows, x->cols, fnn_has_grad(x) || fnn_has_grad(gain) || fnn_has_grad(bias));
	if (y->grad != NULL)
		statistics = fnn_alloc_reals(tape->arena, x->rows, 2);
	for (int64_t r = 0; r < x->rows; r += step)
	{
		fnn_poll(tape->host);
		layer_norm_rows(fnn_least(step, x->rows - r), x->cols, x->value + r * x->cols, gain->value, bias->value,
						(fnn_real) eps, y->value + r * x->cols, statistics != NULL ? statistics + 2 * r : NULL);
	}
	node = fnn_record(tape, layer_norm_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->in[1] = gain;
		node->in[2] = bias;
		node->saved = statistics;
	}
	return y;
}

/* ---------------------------------------------------------------- dropout */

/* y = a + mask * b for the elements first .. first + n - 1; a NULL: zeros. */
static FNN_CLONES void
add_masked(const FnnDropout *dropout, int64_t first, int64_t n, const fnn_real *a, const fnn_real *b, fnn_real *y)
{
	const FnnDropout mask = *dropout;

	if (mask.threshold == 0)
		FNN_SIMD
		for (int64_t i = first; i < first + n; i++)
			y[i] = a[i] + b[i];
	else if (a == NULL)
		FNN_SIMD
		for (int64_t i = first; i < first + n; i++)
			y[i] = b[i] * fnn_dropout_factor(&mask, (uint32_t) i);
	else
		FNN_SIMD
		for (int64_t i = first; i < first + n; i++)
			y[i] = a[i] + b[i] * fnn_dropout_factor(&mask, (uint32_t) i);
}

/* y += mask * x over n elements, block by block. */
static void
add_masked_blocks(FnnTape *tape, const FnnDropout *dropout, int64_t n,
				  const fnn_real *a, const fnn_real *b, fnn_real *y)
{
	for (int64_t i = 0; i < n; i += FNN_BLOCK_REALS)
	{
		fnn_poll(tape->host);
		add_masked(dropout, i, fnn_least(FNN_BLOCK_REALS, n - i), a, b, y);
	}
}

/* in: b, a or NULL */
static void
add_dropout_backward(FnnTape *tape, FnnNode *node)
{
	static const FnnDropout keep = {{0, 0}, 0, 1};
	FnnTensor  *y = node->out;
	FnnTensor  *b = node->in[0];
	FnnTensor  *a = node->in[1];

	if (b->grad != NULL)
		add_masked_blocks(tape, &node->dropout, y->rows * y->cols, b->grad, y->grad, b->grad);
	if (a != NULL && a->grad != NULL)
		add_masked_blocks(tape, &keep, y->rows * y->cols, a->grad, y->grad, a->grad);
}

FnnTensor *
fnn_dropout(FnnTape *tape, FnnTensor *x, double p)
{
	FnnDropout	dropout = fnn_dropout_draw(tape, p);
	FnnTensor  *y;
	FnnNode    *node;

	fnn_refuse_view(tape, x);
	if (dropout.threshold == 0)
		return x;
	y = fnn_result(tape, x->rows, x->cols, fnn_has_grad(x));
	add_masked_blocks(tape, &dropout, x->rows * x->cols, NULL, x->value, y->value);
	node = fnn_record(tape, add_dropout_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->dropout = dropout;
	}
	return y;
}

FnnTensor *
fnn_add_dropout(FnnTape *tape, FnnTensor *a, FnnTensor *b, double p)
{
	FnnDropout	dropout = fnn_dropout_draw(tape, p);
	FnnTensor  *y;
	FnnNode    *node;

	fnn_refuse_view(tape, a);
	fnn_refuse_view(tape, b);
	if (a->rows != b->rows || a->cols != b->cols)
		fnn_fail(tape->host, FNN_INVALID, "a matrix of %lld x %lld cannot be added to one of %lld x %lld",
				 (long long) b->rows, (long long) b->cols, (long long) a->rows, (long long) a->cols);
	y = fnn_result(tape, a->rows, a->cols, fnn_has_grad(a) || fnn_has_grad(b));
	add_masked_blocks(tape, &dropout, a->rows * a->cols, a->value, b->value, y->value);
	node = fnn_record(tape, add_dropout_backward, y);
	if (node != NULL)
	{
		node->in[0] = b;
		node->in[1] = a;
		node->dropout = dropout;
	}
	return y;
}

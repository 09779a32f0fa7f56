/*
 * loss_batch.c
 *	  Losses of rows against the batch or against classes: in-batch contrast, and
 *	  binary cross-entropy over multi-hot classes.
 *
 * The logits of ROWS rows are made at a time and become their gradient in place.
 */
#include "nn/base/tape_private.h"
#include "nn/loss/loss.h"
#include "nn/loss/loss_private.h"
#include "nn/product/product.h"

#define ROWS 64

/* ---------------------------------------------------------------- rows of length 1 */

FNN_CLONES fnn_real
fnn_normalise(int64_t d, const fnn_real *x, fnn_real *unit)
{
	fnn_real	squares = 0;
	fnn_real	inverse;

	FNN_SIMD_SUM(squares)
	for (int64_t c = 0; c < d; c++)
		squares += x[c] * x[c];
	inverse = squares == 0 ? 0 : 1 / fnn_sqrt(squares);
	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		unit[c] = x[c] * inverse;
	return inverse;
}

FNN_CLONES void
fnn_normalise_back(int64_t d, const fnn_real *grad, const fnn_real *unit, fnn_real inverse, fnn_real *dx)
{
	fnn_real	along = 0;

	FNN_SIMD_SUM(along)
	for (int64_t c = 0; c < d; c++)
		along += grad[c] * unit[c];
	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		dx[c] += (grad[c] - along * unit[c]) * inverse;
}

/* ---------------------------------------------------------------- in-batch contrast */

typedef struct Batch
{
	int64_t		n;
	int64_t		d;
	const int32_t *target;		/* [n] */
	const float *row_weight;	/* [n] or NULL */
	double		temperature;
	FnnSameRule rule;
	double		epsilon;
	fnn_real   *unit[2];		/* [n, d] rows of a, of b */
	fnn_real   *inverse[2];		/* [n] 1 / length; 0: of no length */
	fnn_real   *grad[2];		/* [n, d] of unit; NULL: not wanted */
	fnn_real   *tile;			/* [ROWS, n] */
} Batch;

/* Logits of other rows of the same thing are 0, or -INFINITY where they are removed. */
static void
set_same(const Batch *batch, int64_t own, fnn_real value, fnn_real *s)
{
	for (int64_t j = 0; j < batch->n; j++)
		if (j != own && batch->target[j] == batch->target[own])
			s[j] = value;
}

/* Turns logits s[n] of a row into weight times their gradient; returns the row's loss. */
static FNN_CLONES double
contrast_row(int64_t n, int64_t own, double epsilon, double weight, fnn_real *s)
{
	fnn_real	wanted = s[own];
	fnn_real	max = -INFINITY;
	fnn_real	sum = 0;
	double		total;
	double		p;
	fnn_real	factor;

	_Pragma("omp simd reduction(max:max)")
	for (int64_t j = 0; j < n; j++)
		max = s[j] > max ? s[j] : max;
	FNN_SIMD_SUM(sum)
	for (int64_t j = 0; j < n; j++)
	{
		s[j] = fnn_exp(s[j] - max);
		sum += s[j];
	}
	total = (double) sum + (epsilon > 0 ? epsilon * exp(-(double) max) : 0);
	p = (double) s[own] / total;
	/* d loss / d s_j = p / (p + epsilon) * (q_j - [j = own]), q_j = exp(s_j) / total */
	weight *= epsilon > 0 ? p / (p + epsilon) : 1;
	factor = (fnn_real) (weight / total);
	FNN_SIMD
	for (int64_t j = 0; j < n; j++)
		s[j] *= factor;
	s[own] -= (fnn_real) weight;
	return epsilon > 0 ? -log(p + epsilon) : (double) max + log(total) - (double) wanted;
}

/* Rows first .. first + rows - 1 of a against all of b: returns their loss. */
static double
contrast_rows(FnnTape *tape, const Batch *batch, int64_t first, int64_t rows, double weight)
{
	int64_t		n = batch->n;
	int64_t		d = batch->d;
	fnn_real   *tile = batch->tile;
	const fnn_real *unit = batch->unit[0] + first * d;
	fnn_real	scale = (fnn_real) (1 / batch->temperature);
	fnn_real	same = batch->rule == FNN_SAME_REMOVED ? -INFINITY : 0;
	double		loss = 0;

	fnn_gemm(tape->host, false, true, rows, n, d, scale, unit, d, batch->unit[1], d, 0, tile, n);
	for (int64_t r = 0; r < rows; r++)
	{
		double		own = batch->row_weight != NULL ? (double) batch->row_weight[first + r] : 1;

		fnn_poll(tape->host);
		set_same(batch, first + r, same, tile + r * n);
		loss += own * contrast_row(n, first + r, batch->epsilon, own * weight, tile + r * n);
		set_same(batch, first + r, 0, tile + r * n);
	}
	if (batch->grad[0] != NULL)
		fnn_gemm(tape->host, false, false, rows, d, n, scale, tile, n, batch->unit[1], d, 1,
				 batch->grad[0] + first * d, d);
	if (batch->grad[1] != NULL)
		fnn_gemm(tape->host, true, false, n, d, rows, scale, tile, n, unit, d, 1, batch->grad[1], d);
	return loss;
}

static void
begin_side(FnnTape *tape, Batch *batch, int side, const FnnTensor *x)
{
	batch->unit[side] = fnn_alloc_reals(tape->arena, batch->n, batch->d);
	batch->inverse[side] = fnn_alloc_reals(tape->arena, 1, batch->n);
	for (int64_t r = 0; r < batch->n; r++)
		batch->inverse[side][r] = fnn_normalise(batch->d, x->value + r * batch->d, batch->unit[side] + r * batch->d);
	fnn_poll(tape->host);
	if (!tape->record || x->grad == NULL)
		return;
	batch->grad[side] = fnn_alloc_reals(tape->arena, batch->n, batch->d);
	memset(batch->grad[side], 0, (size_t) (batch->n * batch->d) * sizeof(fnn_real));
}

static void
finish_side(FnnTape *tape, const Batch *batch, int side, FnnTensor *x)
{
	for (int64_t r = 0; r < batch->n && batch->grad[side] != NULL; r++)
	{
		int64_t		at = r * batch->d;

		fnn_normalise_back(batch->d, batch->grad[side] + at, batch->unit[side] + at, batch->inverse[side][r],
						   x->grad + at);
	}
	fnn_poll(tape->host);
}

void
fnn_batch_contrast_loss(FnnTape *tape, FnnTensor *a, FnnTensor *b, const int32_t *target, const float *row_weight,
						double temperature, FnnSameRule rule, double epsilon, double weight)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	Batch		batch = {a->rows, a->cols, target, row_weight, temperature, rule, epsilon};
	double		loss = 0;

	fnn_check_dense(tape, a);
	fnn_check_dense(tape, b);
	if (a->rows != b->rows || a->cols != b->cols)
		fnn_fail(tape->host, FNN_INVALID, "rows of %lld x %lld cannot be told from those of %lld x %lld",
				 (long long) a->rows, (long long) a->cols, (long long) b->rows, (long long) b->cols);
	if (!(temperature > 0 && temperature < INFINITY) || !(epsilon >= 0 && epsilon < 1))
		fnn_fail(tape->host, FNN_INVALID, "a temperature of %g with epsilon %g makes no contrast", temperature,
				 epsilon);
	begin_side(tape, &batch, 0, a);
	begin_side(tape, &batch, 1, b);
	batch.tile = fnn_alloc_reals(tape->arena, fnn_least(batch.n, ROWS), batch.n);
	for (int64_t first = 0; first < batch.n; first += ROWS)
		loss += contrast_rows(tape, &batch, first, fnn_least(ROWS, batch.n - first), weight);
	finish_side(tape, &batch, 0, a);
	finish_side(tape, &batch, 1, b);
	tape->loss += weight * loss;
	fnn_arena_reset(tape->arena, mark);
}

/* ---------------------------------------------------------------- multi-hot classes */

/* Classes whose logits are made together: with ROWS rows they stay in the cache. */
#define CLASSES 2048
/* Factors 1 .. 2 whose product a double holds. */
#define FACTORS 512

typedef struct Classes
{
	FnnTensor  *hidden;
	FnnTensor  *table;
	FnnTensor  *bias;
	const int64_t *offset;		/* labels of id i are label[offset[i]] .. label[offset[i + 1] - 1] */
	const int32_t *label;
	const int32_t *id;
	const float *row_weight;
	double		weight;
	fnn_real   *tile;			/* [ROWS, CLASSES] */
} Classes;

/* Logits s[m] become weight times their sigmoid; returns the sum of log(1 + e^s), for few enough to be one product. */
static FNN_CLONES double
sigmoids(int64_t m, const fnn_real *bias, fnn_real weight, fnn_real *s)
{
	double		product = 1;
	fnn_real	sum = 0;

	_Pragma("omp simd reduction(+:sum) reduction(*:product)")
	for (int64_t c = 0; c < m; c++)
	{
		fnn_real	x = s[c] + bias[c];
		fnn_real	below = fnn_exp(x > 0 ? -x : x);	/* e^-|x| */

		sum += x > 0 ? x : 0;
		product *= 1 + (double) below;
		s[c] = weight * ((x > 0 ? 1 : below) / (1 + below));
	}
	return (double) sum + log(product);
}

/* Classes first .. first + m - 1 of one row, whose logits without bias are s: returns its loss. */
static double
class_row(const Classes *classes, int64_t row, int64_t first, int64_t m, fnn_real *s)
{
	int64_t		begin = classes->offset[classes->id[row]];
	int64_t		end = classes->offset[classes->id[row] + 1];
	const fnn_real *bias = classes->bias->value + first;
	double		own = classes->row_weight != NULL ? (double) classes->row_weight[row] : 1;
	double		weight = own * classes->weight;
	double		loss = 0;

	for (int64_t k = begin; k < end; k++)
	{
		int64_t		c = classes->label[k] - first;

		if (c >= 0 && c < m)
			loss -= (double) (s[c] + bias[c]);
	}
	for (int64_t c = 0; c < m; c += FACTORS)
		loss += sigmoids(fnn_least(FACTORS, m - c), bias + c, (fnn_real) weight, s + c);
	for (int64_t k = begin; k < end; k++)
	{
		int64_t		c = classes->label[k] - first;

		if (c >= 0 && c < m)
			s[c] -= (fnn_real) weight;
	}
	return own * loss;
}

/* Classes first .. first + m - 1 of some rows: returns their loss. */
static double
class_rows(FnnTape *tape, const Classes *classes, int64_t row, int64_t rows, int64_t first, int64_t m)
{
	FnnTensor  *hidden = classes->hidden;
	FnnTensor  *table = classes->table;
	FnnTensor  *bias = classes->bias;
	int64_t		d = hidden->cols;
	fnn_real   *tile = classes->tile;
	double		loss = 0;

	fnn_gemm(tape->host, false, true, rows, m, d, 1, hidden->value + row * d, d, table->value + first * d, d, 0,
			 tile, m);
	for (int64_t r = 0; r < rows; r++)
	{
		fnn_poll(tape->host);
		loss += class_row(classes, row + r, first, m, tile + r * m);
		if (tape->record && bias->grad != NULL)
			fnn_add_scaled(m, 1, tile + r * m, bias->grad + first);
	}
	if (tape->record && hidden->grad != NULL)
		fnn_gemm(tape->host, false, false, rows, d, m, 1, tile, m, table->value + first * d, d, 1,
				 hidden->grad + row * d, d);
	if (tape->record && table->grad != NULL)
		fnn_gemm(tape->host, true, false, m, d, rows, 1, tile, m, hidden->value + row * d, d, 1,
				 table->grad + first * d, d);
	return loss;
}

double
fnn_multi_hot_loss_reals(int64_t rows, int64_t classes)
{
	return (double) fnn_least(ROWS, rows) * (double) fnn_least(CLASSES, classes);
}

void
fnn_multi_hot_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, FnnTensor *bias, const int64_t *label_offset,
				   const int32_t *label, const int32_t *id, const float *row_weight, double weight)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	Classes		classes = {hidden, table, bias, label_offset, label, id, row_weight, weight};
	double		loss = 0;

	fnn_check_dense(tape, hidden);
	fnn_check_dense(tape, table);
	fnn_check_dense(tape, bias);
	if (table->cols != hidden->cols || bias->rows != 1 || bias->cols != table->rows)
		fnn_fail(tape->host, FNN_INVALID, "%lld x %lld classes with %lld shifts do not fit rows of %lld",
				 (long long) table->rows, (long long) table->cols, (long long) bias->cols, (long long) hidden->cols);
	classes.tile = fnn_alloc_reals(tape->arena, fnn_least(ROWS, hidden->rows), fnn_least(CLASSES, table->rows));
	for (int64_t row = 0; row < hidden->rows; row += ROWS)
		for (int64_t first = 0; first < table->rows; first += CLASSES)
			loss += class_rows(tape, &classes, row, fnn_least(ROWS, hidden->rows - row), first,
							   fnn_least(CLASSES, table->rows - first));
	tape->loss += weight * loss;
	fnn_arena_reset(tape->arena, mark);
}

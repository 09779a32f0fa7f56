/*
 * loss_gbce.c
 *	  gBCE: binary cross-entropy over the positive and sampled negatives.
 *
 * The negatives are shared by all rows, so they are gathered once into a
 * dense matrix and everything about them is three products, as in
 * loss_softmax.c: scores in tiles [negative, row], gradient of the rows,
 * gradient of the gathered negatives, which goes to the table at the end.
 *
 * The sum of log(1 + exp(-|s|)) over a tile's negatives is the logarithm of
 * one product of factors between 1 and 2: one log a row instead of one an
 * element, and NEGATIVES of them cannot overflow.
 */
#include "nn/base/tape_private.h"
#include "nn/loss/loss.h"
#include "nn/product/product.h"

#define ROWS		128
#define NEGATIVES	64

typedef struct Negatives
{
	FnnProduct	product;
	int64_t		width;			/* d */
	int64_t		padded;			/* d in whole vectors */
	int64_t		count;
	const int32_t *id;			/* [count] rows of the table */
	fnn_real   *value;			/* [count, padded] */
	fnn_real   *grad;			/* [count, padded]; NULL: not wanted */
	/* of one block of rows, lanes: rows in whole vectors */
	fnn_real   *across;			/* [d, lanes] hidden rows, transposed */
	fnn_real   *along;			/* [rows, padded] hidden rows */
	fnn_real   *acc;			/* [rows, padded] their gradients */
	fnn_real   *tile;			/* [NEGATIVES, lanes] */
	int32_t    *target;			/* [lanes] */
	fnn_real   *weight;			/* [lanes] of each row's loss */
	fnn_real   *linear;			/* [lanes] sum of max(s, 0) */
	fnn_real   *factors;		/* [lanes] product of 1 + exp(-|s|) */
} Negatives;

/* Scores become the row's weight * sigmoid(score), but 0 where the negative is the row's target. */
static FNN_CLONES void
tile_gradient(int64_t negatives, int64_t lanes, const int32_t *restrict id, const int32_t *restrict target,
			  const fnn_real *restrict weight, fnn_real *restrict tile,
			  fnn_real *restrict linear, fnn_real *restrict factors)
{
	for (int64_t r = 0; r < lanes; r++)
	{
		linear[r] = 0;
		factors[r] = 1;
	}
	for (int64_t j = 0; j < negatives; j++)
	{
		FNN_SIMD
		for (int64_t r = 0; r < lanes; r++)
		{
			fnn_real	s = tile[j * lanes + r];
			bool		counts = id[j] != target[r];
			fnn_real	e = fnn_exp(s > 0 ? -s : s);
			fnn_real	small = e / (1 + e);

			linear[r] += counts && !(s <= 0) ? s : 0;
			factors[r] *= counts ? 1 + e : 1;
			tile[j * lanes + r] = counts ? weight[r] * (s > 0 ? 1 - small : small) : 0;
		}
	}
}

static Negatives *
gather(FnnArena *arena, const FnnTensor *table, const int32_t *id, int64_t count, int64_t rows, bool with_grad)
{
	Negatives  *negatives = fnn_zalloc(arena, sizeof(Negatives));
	int64_t		lanes = fnn_lanes(rows < ROWS ? rows : ROWS);
	int64_t		d = table->cols;

	negatives->product = fnn_product_best();
	negatives->width = d;
	negatives->padded = fnn_lanes(d);
	negatives->count = count;
	negatives->id = id;
	negatives->value = fnn_alloc_reals(arena, count, negatives->padded);
	for (int64_t j = 0; j < count; j++)
		fnn_widen(1, d, table->value + id[j] * fnn_stride(table), d, negatives->padded,
				  negatives->value + j * negatives->padded);
	if (with_grad)
		negatives->grad = fnn_zalloc(arena, (size_t) (count * negatives->padded) * sizeof(fnn_real));
	negatives->across = fnn_alloc_reals(arena, d, lanes);
	negatives->along = fnn_alloc_reals(arena, lanes, negatives->padded);
	negatives->acc = fnn_alloc_reals(arena, lanes, negatives->padded);
	negatives->tile = fnn_alloc_reals(arena, NEGATIVES, lanes);
	negatives->target = fnn_alloc(arena, (size_t) lanes * sizeof(int32_t));
	negatives->weight = fnn_alloc_reals(arena, 1, lanes);
	negatives->linear = fnn_alloc_reals(arena, 1, lanes);
	negatives->factors = fnn_alloc_reals(arena, 1, lanes);
	return negatives;
}

/* How much row r counts, beside the weight of the loss. */
static inline double
own_weight(const float *row_weight, int64_t r)
{
	return row_weight != NULL ? (double) row_weight[r] : 1;
}

/* The negatives' part of a block of rows: returns its loss, leaves gradients in acc and grad. */
static double
run_negatives(const FnnHost *host, Negatives *negatives, const FnnTensor *hidden, const int32_t *row, int64_t rows,
			  const int32_t *target, const float *row_weight, double weight, bool hidden_grad)
{
	int64_t		d = negatives->width;
	int64_t		padded = negatives->padded;
	int64_t		lanes = fnn_lanes(rows);
	double		loss = 0;

	for (int64_t r = 0; r < rows; r++)
		fnn_widen(1, d, hidden->value + row[r] * d, d, padded, negatives->along + r * padded);
	fnn_transpose(rows, d, 1, negatives->along, padded, lanes, negatives->across, lanes);
	for (int64_t r = 0; r < lanes; r++)
	{
		negatives->target[r] = r < rows ? target[row[r]] : -1;
		negatives->weight[r] = (fnn_real) (r < rows ? weight * own_weight(row_weight, row[r]) : 0);
	}
	memset(negatives->acc, 0, (size_t) (rows * padded) * sizeof(fnn_real));

	for (int64_t first = 0; first < negatives->count; first += NEGATIVES)
	{
		int64_t		n = negatives->count - first < NEGATIVES ? negatives->count - first : NEGATIVES;
		const fnn_real *value = negatives->value + first * padded;
		fnn_real   *tile = negatives->tile;

		fnn_poll(host);
		negatives->product(n, lanes, d, value, padded, 1, negatives->across, lanes, false, tile, lanes);
		tile_gradient(n, lanes, negatives->id + first, negatives->target, negatives->weight, tile,
					  negatives->linear, negatives->factors);
		for (int64_t r = 0; r < rows; r++)
			loss += own_weight(row_weight, row[r]) *
				((double) negatives->linear[r] + log((double) negatives->factors[r]));
		if (hidden_grad)
			negatives->product(rows, padded, n, tile, 1, lanes, value, padded, true, negatives->acc, padded);
		if (negatives->grad != NULL)
			negatives->product(n, padded, rows, tile, lanes, 1, negatives->along, padded, true,
							   negatives->grad + first * padded, padded);
	}
	return loss;
}

/* The positive's part of one row, and the row's gradient: returns the loss. */
static double
run_positive(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, int64_t row, int64_t answer,
			 double beta, double weight, const fnn_real *acc)
{
	int64_t		d = table->cols;
	const fnn_real *h = hidden->value + row * d;
	const fnn_real *e = table->value + answer * fnn_stride(table);
	double		s = 0;
	double		push;			/* -d loss / d s */

	for (int64_t c = 0; c < d; c++)
		s += (double) h[c] * (double) e[c];
	push = weight * beta / (1 + exp(s));
	if (tape->record && hidden->grad != NULL)
		for (int64_t c = 0; c < d; c++)
			hidden->grad[row * d + c] += acc[c] - (fnn_real) push * e[c];
	if (tape->record && fnn_has_grad(table))
	{
		fnn_real   *grad = fnn_grad_row(tape->host, table, answer);

		for (int64_t c = 0; c < d; c++)
			grad[c] -= (fnn_real) push * h[c];
	}
	return beta * (s > 0 ? log1p(exp(-s)) : log1p(exp(s)) - s);
}

void
fnn_gbce_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const int32_t *target, const float *row_weight,
			  const int32_t *negative, int32_t n_negatives, double beta, double weight)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	int32_t    *row = fnn_alloc(tape->arena, (size_t) hidden->rows * sizeof(int32_t));
	bool		table_grad = tape->record && fnn_has_grad(table);
	int64_t		n = 0;
	Negatives  *negatives;
	double		loss = 0;

	fnn_refuse_view(tape, hidden);
	if (hidden->cols != table->cols)
		fnn_fail(tape->host, FNN_INVALID, "gbce loss of %lld columns against a table of %lld",
				 (long long) hidden->cols, (long long) table->cols);
	for (int64_t i = 0; i < hidden->rows; i++)
	{
		if (target[i] < -1 || target[i] >= table->rows)
			fnn_fail(tape->host, FNN_INVALID, "gbce loss with target %d in a table of %lld rows",
					 target[i], (long long) table->rows);
		if (target[i] >= 0)
			row[n++] = (int32_t) i;
	}
	for (int32_t j = 0; j < n_negatives; j++)
		if (negative[j] < 0 || negative[j] >= table->rows)
			fnn_fail(tape->host, FNN_INVALID, "gbce loss with negative %d in a table of %lld rows",
					 negative[j], (long long) table->rows);
	if (n > 0)
	{
		negatives = gather(tape->arena, table, negative, n_negatives, n, table_grad);
		for (int64_t first = 0; first < n; first += ROWS)
		{
			int64_t		rows = n - first < ROWS ? n - first : ROWS;

			loss += run_negatives(tape->host, negatives, hidden, row + first, rows, target, row_weight, weight,
								  tape->record && hidden->grad != NULL);
			for (int64_t r = 0; r < rows; r++)
			{
				double		own = own_weight(row_weight, row[first + r]);

				loss += own * run_positive(tape, hidden, table, row[first + r], target[row[first + r]], beta,
										   own * weight, negatives->acc + r * negatives->padded);
			}
		}
		for (int32_t j = 0; table_grad && j < n_negatives; j++)
		{
			const fnn_real *from = negatives->grad + j * negatives->padded;
			fnn_real   *grad = fnn_grad_row(tape->host, table, negative[j]);

			for (int64_t c = 0; c < table->cols; c++)
				grad[c] += from[c];
		}
	}
	tape->loss += weight * loss;
	fnn_arena_reset(tape->arena, mark);
}

double
fnn_gbce_beta(int64_t n_items, int64_t n_negatives, double calibration)
{
	double		alpha;

	/* nothing to sample: the whole catalogue is seen */
	if (n_items <= 1)
		return 1;
	alpha = (double) n_negatives / (double) (n_items - 1);
	/* alpha (t (1 - 1/alpha) + 1/alpha), without dividing by it */
	return calibration * (alpha - 1) + 1;
}

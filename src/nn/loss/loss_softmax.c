/*
 * loss_softmax.c
 *	  Linear + softmax + cross-entropy over a whole table, fused.
 *
 * With n rows, v items and width d the three products (logits, gradient of
 * the rows, gradient of the table) cost 6 n v d operations; everything else
 * here is arranged so that little more than those is paid.
 *
 * Rows that count are taken in blocks of at most ROWS, and for each the table
 * is walked once in blocks of ITEMS.  A tile of logits lies as [item, row]:
 * rows run along the lanes, so maximum and sum of a row are vertical, and all
 * three products read the tile in place.
 *
 * First walk.  For item block b, with m the largest logit of a row so far:
 *		tile = exp(logits - m), sum += tile, acc += tileᵀ E
 * When m rises, sum and acc of that row are scaled down once; that happens in
 * the first few blocks only.  exp is evaluated once an element.  The tiles and
 * each block's m are kept: rows x v numbers.
 *
 * Now sum is complete, and the probabilities of block b are tile * s with
 * s = exp(m_b - log-sum-exp), a number a row.  So
 *		gradient of the row	   (acc / sum) - e_target
 *		gradient of block b	   tile (s * h), minus h at the targets
 * where the small matrix s * h [rows, d] changes only with m_b: the second walk
 * is one product a block.
 *
 * Kept tiles are bounded by TILES_MAX.  A larger table is walked with half as
 * many rows at once; where even those would not fit, the second walk makes the
 * tiles again, for 8 n v d operations in all.
 *
 * Where the CPU has a unit for products of halves (halves.h), the logits are
 * made twice instead and nothing is kept: the first walk leaves log-sum-exp,
 * the second takes both gradients from probabilities.
 *
 * Sparse terms are added to a tile between the product and the maximum, so
 * that all else takes the raised logits for what they are.  The gradient of a
 * row's term weight, the mean of its terms' values under the row's
 * probabilities minus the target's value, is summed up as acc is.
 */
#include "nn/base/tape_private.h"
#include "nn/loss/loss.h"
#include "nn/product/halves.h"
#include "nn/product/product.h"

#include <math.h>

#define ROWS		128
#define ITEMS		128
#define HALVES_ROWS	256			/* at once, by halves */
#define HALVES_LEAST 16			/* fewer rows are not worth preparing the items */
/* -DFNN_SOFTMAX_TILES: for tests of large tables that must be quick. */
#ifdef FNN_SOFTMAX_TILES
#define TILES_MAX	FNN_SOFTMAX_TILES
#else
#define TILES_MAX	(8 * 1024 * 1024)	/* reals */
#endif

/* Working memory of one block of rows; rows padded to lanes. */
typedef struct Block
{
	FnnProduct	product;
	const FnnHalvesKernel *kernel;	/* NULL: product is used */
	FnnHalves  *halves;
	int64_t		items;			/* rows of the table */
	int64_t		width;			/* d */
	int64_t		padded;			/* d in whole vectors */
	int64_t		stride;			/* of the table */
	int64_t		capacity;		/* most rows of a block */
	int64_t		rows;			/* that count in this block */
	int64_t		lanes;			/* rows in whole vectors */
	bool		kept;			/* tiles of all item blocks, or of one */
	const int32_t *row;			/* [rows] of hidden and target */
	fnn_real   *across;			/* [d, lanes] hidden rows, transposed */
	fnn_real   *scaled;			/* [rows, padded] s * h */
	fnn_real   *acc;			/* [rows, padded] */
	fnn_real   *tile;			/* [items or ITEMS, lanes] */
	fnn_real   *max;			/* [blocks, lanes] largest logit up to a block; [1, lanes] unless kept */
	fnn_real   *factor;			/* [lanes] */
	fnn_real   *sum;			/* [lanes] of one tile */
	double	   *total;			/* [lanes] */
	double	   *lse;			/* [rows] log-sum-exp */
	double	   *weight;			/* [rows] of the loss, times each row's own */
	fnn_real   *wide;			/* [ITEMS, padded] a block of the table or of its gradient */
	/* of terms; NULL: there are none */
	const FnnTerms *terms;		/* by row of hidden */
	const FnnTensor *term_weight;
	int64_t		term_column;
	int64_t    *term_begin;		/* [rows] the first of each row's terms in a tile */
	int64_t    *term_end;		/* [rows] the first of each row's terms behind the tile */
	double	   *term_sum;		/* [rows] of value * exp(logit - max) */
} Block;

static FNN_CLONES void
add_scaled(int64_t n, fnn_real scale, const fnn_real *x, fnn_real *y)
{
	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		y[i] += scale * x[i];
}

static FNN_CLONES double
dot(int64_t n, const fnn_real *x, const fnn_real *y)
{
	return fnn_dot(n, x, y);
}

/* Items first .. first + n - 1 of the table with rows of whole vectors; ld: their distance. */
static const fnn_real *
table_block(const Block *block, const FnnTensor *table, int64_t first, int64_t n, int64_t *ld)
{
	const fnn_real *in = table->value + first * block->stride;

	*ld = block->stride;
	if (block->padded == block->width)
		return in;
	*ld = block->padded;
	fnn_widen(n, block->width, in, block->stride, block->padded, block->wide);
	return block->wide;
}

static void
logits(const Block *block, const FnnTensor *table, int64_t first, int64_t n, fnn_real *tile)
{
	if (block->kernel != NULL)
	{
		block->kernel->take_items(block->halves, n, table->value + first * block->stride, block->stride);
		block->kernel->logits(block->halves, tile);
		return;
	}
	block->product(n, block->lanes, block->width, table->value + first * block->stride, block->stride, 1,
				   block->across, block->lanes, false, tile, block->lanes);
}

/* ---------------------------------------------------------------- terms */

static double
term_factor(const Block *block, int64_t row)
{
	return (double) block->term_weight->value[row * block->term_weight->cols + block->term_column];
}

/* Starts a walk of the table, before all terms of all rows. */
static void
begin_terms(Block *block)
{
	for (int64_t r = 0; r < block->rows; r++)
		block->term_end[r] = 0;
}

/* Adds the terms of items first .. first + n - 1, which come after those of the last call, to a tile of logits. */
static void
add_terms(Block *block, int64_t first, int64_t n, fnn_real *tile)
{
	for (int64_t r = 0; r < block->rows; r++)
	{
		const FnnTerms *terms = &block->terms[block->row[r]];
		double		factor = term_factor(block, block->row[r]);
		int64_t		k = block->term_end[r];

		block->term_begin[r] = k;
		for (; k < terms->n && terms->item[k] < first + n; k++)
			tile[(terms->item[k] - first) * block->lanes + r] += (fnn_real) (factor * (double) terms->value[k]);
		block->term_end[r] = k;
	}
}

/* Sums value * tile over the terms that add_terms added last; tile has become exp(logit - max). */
static void
sum_terms(Block *block, int64_t first, const fnn_real *tile)
{
	for (int64_t r = 0; r < block->rows; r++)
	{
		const FnnTerms *terms = &block->terms[block->row[r]];

		for (int64_t k = block->term_begin[r]; k < block->term_end[r]; k++)
			block->term_sum[r] += (double) terms->value[k] *
				(double) tile[(terms->item[k] - first) * block->lanes + r];
	}
}

/* The value of a row's term for an item, 0 if it has none. */
static double
term_value(const FnnTerms *terms, int64_t item)
{
	int64_t		low = 0;
	int64_t		high = terms->n;

	while (low < high)
	{
		int64_t		middle = low + (high - low) / 2;

		if (terms->item[middle] < item)
			low = middle + 1;
		else
			high = middle;
	}
	return low < terms->n && terms->item[low] == item ? (double) terms->value[low] : 0;
}

/* ---------------------------------------------------------------- walks */

/* The largest logits rose from previous to max: what was summed so far shrinks. */
static void
rescale(Block *block, const fnn_real *previous, const fnn_real *max, bool with_acc)
{
	for (int64_t r = 0; r < block->rows; r++)
	{
		double		factor;

		if (!(max[r] > previous[r]))
			continue;
		factor = exp((double) previous[r] - (double) max[r]);
		block->total[r] *= factor;
		if (block->terms != NULL)
			block->term_sum[r] *= factor;
		if (with_acc)
			for (int64_t c = 0; c < block->padded; c++)
				block->acc[r * block->padded + c] *= (fnn_real) factor;
	}
}

static void
first_walk(const FnnHost *host, Block *block, const FnnTensor *table, bool with_acc)
{
	int64_t		lanes = block->lanes;
	fnn_real   *max = block->max;

	for (int64_t r = 0; r < lanes; r++)
	{
		max[r] = -INFINITY;
		block->total[r] = 0;
	}
	if (with_acc)
		memset(block->acc, 0, (size_t) (block->rows * block->padded) * sizeof(fnn_real));
	if (block->terms != NULL)
	{
		begin_terms(block);
		memset(block->term_sum, 0, (size_t) block->rows * sizeof(double));
	}

	for (int64_t first = 0; first < block->items; first += ITEMS)
	{
		int64_t		n = block->items - first < ITEMS ? block->items - first : ITEMS;
		fnn_real   *tile = block->tile + (block->kept ? first * lanes : 0);

		fnn_poll(host);
		logits(block, table, first, n, tile);
		if (block->terms != NULL)
			add_terms(block, first, n, tile);
		if (block->kept && first > 0)
		{
			memcpy(max + lanes, max, (size_t) lanes * sizeof(fnn_real));
			max += lanes;
		}
		memcpy(block->factor, max, (size_t) lanes * sizeof(fnn_real));
		fnn_columns_max(n, lanes, tile, max);
		if (memcmp(block->factor, max, (size_t) lanes * sizeof(fnn_real)) != 0)
			rescale(block, block->factor, max, with_acc);
		if (block->kernel != NULL && block->terms == NULL)
			block->kernel->sum_logits(block->halves, n, tile, max, block->sum);
		else
			fnn_columns_exp(n, lanes, tile, max, block->sum);
		if (block->terms != NULL)
			sum_terms(block, first, tile);
		for (int64_t r = 0; r < lanes; r++)
			block->total[r] += block->sum[r];
		if (with_acc)
		{
			int64_t		ld;
			const fnn_real *e = table_block(block, table, first, n, &ld);

			block->product(block->rows, block->padded, n, tile, 1, lanes,
						   e, ld, true, block->acc, block->padded);
		}
	}
	for (int64_t r = 0; r < block->rows; r++)
		block->lse[r] = (double) max[r] + log(block->total[r]);
}

/* scaled = a row's weight * exp(shift - lse) * h: tile = exp(logits - shift) times it is the table's gradient. */
static void
scale_rows(Block *block, const FnnTensor *hidden, const fnn_real *shift)
{
	int64_t		d = block->width;

	for (int64_t r = 0; r < block->rows; r++)
	{
		const fnn_real *h = hidden->value + block->row[r] * d;
		double		factor = exp((double) shift[r] - block->lse[r]);
		fnn_real   *out = block->scaled + r * block->padded;

		/* below this a product with it could be denormal, which is slow and adds nothing */
		if (factor < 1e-30)
			factor = 0;
		for (int64_t c = 0; c < d; c++)
			out[c] = (fnn_real) (block->weight[r] * factor) * h[c];
		for (int64_t c = d; c < block->padded; c++)
			out[c] = 0;
	}
}

static void
add_table_gradient(const FnnHost *host, Block *block, FnnTensor *table, int64_t first, int64_t n,
				   const fnn_real *tile)
{
	if (table->grad != NULL && block->padded == block->width)
	{
		block->product(n, block->padded, block->rows, tile, block->lanes, 1,
					   block->scaled, block->padded, !table->fresh,
					   table->grad + first * block->stride, block->stride);
		return;
	}
	block->product(n, block->padded, block->rows, tile, block->lanes, 1,
				   block->scaled, block->padded, false, block->wide, block->padded);
	for (int64_t i = 0; i < n; i++)
		add_scaled(block->width, 1, block->wide + i * block->padded, fnn_grad_row(host, table, first + i));
}

static void
second_walk(const FnnHost *host, Block *block, const FnnTensor *hidden, FnnTensor *table)
{
	int64_t		lanes = block->lanes;
	const fnn_real *max = block->max;

	/* such rows are added one by one */
	if (table->fresh && block->padded != block->width)
	{
		memset(table->grad, 0, (size_t) (table->rows * block->width) * sizeof(fnn_real));
		table->fresh = false;
	}
	if (!block->kept)
	{
		for (int64_t r = 0; r < lanes; r++)
			block->factor[r] = r < block->rows ? (fnn_real) block->lse[r] : 0;
		max = block->factor;
		if (block->terms != NULL)
			begin_terms(block);
	}
	for (int64_t first = 0; first < block->items; first += ITEMS)
	{
		int64_t		n = block->items - first < ITEMS ? block->items - first : ITEMS;
		fnn_real   *tile = block->tile + (block->kept ? first * lanes : 0);

		fnn_poll(host);
		if (!block->kept)
		{
			logits(block, table, first, n, tile);
			if (block->terms != NULL)
				add_terms(block, first, n, tile);
			fnn_columns_exp(n, lanes, tile, max, block->sum);
		}
		else if (first > 0)
			max += lanes;
		if (first == 0 ||
			(block->kept && memcmp(max, max - lanes, (size_t) lanes * sizeof(fnn_real)) != 0))
			scale_rows(block, hidden, max);
		add_table_gradient(host, block, table, first, n, tile);
	}
	table->fresh = false;
}

/* The walk for both gradients, by halves: probabilities need no correction once log-sum-exp is known. */
static void
halves_walk(const FnnHost *host, Block *block, FnnTensor *table, bool with_rows, bool with_table)
{
	const FnnHalvesKernel *kernel = block->kernel;
	FnnHalves  *halves = block->halves;
	int64_t		stride = block->stride;

	for (int64_t r = 0; r < block->lanes; r++)
		block->factor[r] = r < block->rows ? (fnn_real) block->lse[r] : 0;
	if (block->terms != NULL)
		begin_terms(block);
	for (int64_t first = 0; first < block->items; first += ITEMS)
	{
		int64_t		n = block->items - first < ITEMS ? block->items - first : ITEMS;

		fnn_poll(host);
		logits(block, table, first, n, block->tile);
		if (block->terms != NULL)
			add_terms(block, first, n, block->tile);
		kernel->take_logits(halves, block->tile, block->factor);
		if (with_rows)
			kernel->add_rows(halves, table->value + first * stride, stride);
		if (!with_table)
			continue;
		if (table->grad != NULL)
			kernel->give_items(halves, !table->fresh, table->grad + first * stride, stride);
		else
		{
			kernel->give_items(halves, false, block->wide, block->width);
			for (int64_t i = 0; i < n; i++)
				add_scaled(block->width, 1, block->wide + i * block->width, fnn_grad_row(host, table, first + i));
		}
	}
	if (with_table)
		table->fresh = false;
}

/* What row r's loss gains where a term has raised its target; adds the gradient of the term's weight. */
static double
finish_terms(Block *block, int64_t r, int64_t answer, FnnTensor *term_weight, bool record)
{
	int64_t		row = block->row[r];
	double		value = term_value(&block->terms[row], answer);

	if (record && term_weight->grad != NULL)
		term_weight->grad[row * term_weight->cols + block->term_column] +=
			(fnn_real) (block->weight[r] * (block->term_sum[r] / block->total[r] - value));
	return -term_factor(block, row) * value;
}

/* The block's rows of hidden as the products want them, and their weights. */
static void
take_rows(Block *block, const FnnTensor *hidden, double weight, const float *row_weight)
{
	int64_t		d = block->width;

	for (int64_t r = 0; r < block->rows; r++)
		block->weight[r] = row_weight != NULL ? weight * (double) row_weight[block->row[r]] : weight;
	if (block->kernel != NULL)
	{
		block->lanes = block->kernel->take_rows(block->halves, block->rows, block->row, hidden->value,
												block->weight);
		return;
	}
	block->lanes = fnn_lanes(block->rows);
	for (int64_t r = 0; r < block->rows; r++)
		fnn_transpose(1, d, 1, hidden->value + block->row[r] * d, d, 1, block->across + r, block->lanes);
	for (int64_t c = 0; c < d; c++)
		for (int64_t r = block->rows; r < block->lanes; r++)
			block->across[c * block->lanes + r] = 0;
}

/* One block of rows: returns their loss, adds the gradients that are wanted. */
static double
run_block(const FnnHost *host, Block *block, FnnTensor *hidden, FnnTensor *table,
		  const int32_t *target, double weight, const FnnSoftmaxExtra *extra, bool record)
{
	bool		hidden_grad = record && hidden->grad != NULL;
	bool		table_grad = record && fnn_has_grad(table);
	int64_t		d = block->width;
	double		loss = 0;

	take_rows(block, hidden, weight, extra->row_weight);
	first_walk(host, block, table, hidden_grad && block->kernel == NULL);
	if (block->kernel != NULL && (hidden_grad || table_grad))
		halves_walk(host, block, table, hidden_grad, table_grad);
	else if (table_grad)
		second_walk(host, block, hidden, table);
	if (block->kernel != NULL && hidden_grad)
		block->kernel->give_rows(block->halves, block->row, hidden->grad);
	for (int64_t r = 0; r < block->rows; r++)
	{
		const fnn_real *h = hidden->value + block->row[r] * d;
		int64_t		answer = target[block->row[r]];
		const fnn_real *e = table->value + answer * block->stride;

		double		row_loss = block->lse[r] - dot(d, h, e);

		if (block->terms != NULL)
			row_loss += finish_terms(block, r, answer, extra->term_weight, record);
		if (extra->row_loss != NULL)
			extra->row_loss[block->row[r]] = row_loss;
		loss += extra->row_weight != NULL ? row_loss * (double) extra->row_weight[block->row[r]] : row_loss;
		if (hidden_grad)
		{
			fnn_real   *grad = hidden->grad + block->row[r] * d;

			if (block->kernel == NULL)
				add_scaled(d, (fnn_real) (block->weight[r] / block->total[r]), block->acc + r * block->padded, grad);
			add_scaled(d, (fnn_real) -block->weight[r], e, grad);
		}
		if (table_grad)
			add_scaled(d, (fnn_real) -block->weight[r], h, fnn_grad_row(host, table, answer));
	}
	return loss;
}

/* Chooses the products, how many rows are taken at once, and whether the tiles of all items are kept. */
static void
shape_block(Block *block, int64_t rows, int64_t items, int64_t width, bool keep)
{
	block->items = items;
	block->width = width;
	block->padded = fnn_lanes(width);
	block->kernel = rows >= HALVES_LEAST ? fnn_halves_kernel() : NULL;
	if (block->kernel != NULL)
	{
		/* blocks of like sizes */
		rows = (rows + (rows - 1) / HALVES_ROWS) / ((rows - 1) / HALVES_ROWS + 1);
		block->lanes = (rows + FNN_HALVES_LANES - 1) / FNN_HALVES_LANES * FNN_HALVES_LANES;
		block->kept = false;
	}
	else
	{
		rows = rows < ROWS ? rows : ROWS;
		if (keep && fnn_lanes(rows) * items > TILES_MAX && ROWS / 2 * items <= TILES_MAX)
			rows = ROWS / 2;
		block->lanes = fnn_lanes(rows);
		block->kept = keep && block->lanes * items <= TILES_MAX;
	}
	block->capacity = rows;
}

double
fnn_softmax_loss_reals(int64_t rows, int64_t items, int64_t width)
{
	Block		block = {0};
	double		reals;

	if (rows <= 0)
		return 0;
	shape_block(&block, rows, items, width, true);
	reals = (double) block.lanes * (block.kept ? (double) items * (1 + 1.0 / ITEMS) : ITEMS + 1) +
		(double) (ITEMS * block.padded) + 10.0 * (double) block.lanes;
	if (block.kernel != NULL)
		return reals + block.kernel->reals(block.capacity, ITEMS, width);
	return reals + 3.0 * (double) (block.capacity * block.padded);
}

static Block *
make_block(FnnArena *arena, int64_t rows, const FnnTensor *table, bool keep)
{
	Block	   *block = fnn_zalloc(arena, sizeof(Block));
	int64_t		items = table->rows;
	int64_t		width = table->cols;
	int64_t		blocks = (items + ITEMS - 1) / ITEMS;
	int64_t		lanes;

	shape_block(block, rows, items, width, keep);
	lanes = block->lanes;
	rows = block->capacity;
	if (block->kernel != NULL)
		block->halves = block->kernel->make(arena, rows, ITEMS, width);
	else
	{
		block->across = fnn_alloc_reals(arena, width, lanes);
		block->scaled = fnn_alloc_reals(arena, rows, block->padded);
		block->acc = fnn_alloc_reals(arena, rows, block->padded);
	}
	block->product = fnn_product_best();
	block->stride = fnn_stride(table);
	block->tile = fnn_alloc_reals(arena, block->kept ? items : ITEMS, lanes);
	block->max = fnn_alloc_reals(arena, block->kept ? blocks : 1, lanes);
	block->factor = fnn_alloc_reals(arena, 1, lanes);
	block->sum = fnn_alloc_reals(arena, 1, lanes);
	block->total = fnn_alloc(arena, (size_t) lanes * sizeof(double));
	block->lse = fnn_alloc(arena, (size_t) lanes * sizeof(double));
	block->weight = fnn_alloc(arena, (size_t) lanes * sizeof(double));
	block->wide = fnn_alloc_reals(arena, ITEMS, block->padded);
	return block;
}

static void
make_terms(FnnArena *arena, Block *block, const FnnSoftmaxExtra *extra)
{
	size_t		rows = (size_t) block->capacity;

	block->terms = extra->terms;
	block->term_weight = extra->term_weight;
	block->term_column = extra->term_column;
	block->term_begin = fnn_alloc(arena, rows * sizeof(int64_t));
	block->term_end = fnn_alloc(arena, rows * sizeof(int64_t));
	block->term_sum = fnn_alloc(arena, rows * sizeof(double));
}

/* The terms of the n rows that count are of items of the table, in ascending order. */
static void
check_terms(FnnTape *tape, const FnnTensor *hidden, const FnnTensor *table, const FnnSoftmaxExtra *extra,
			int64_t n, const int32_t *row)
{
	const FnnTensor *weight = extra->term_weight;

	if (weight == NULL || weight->rows != hidden->rows || extra->term_column < 0 || extra->term_column >= weight->cols)
		fnn_fail(tape->host, FNN_INVALID, "terms of a softmax loss of %lld rows have no weight in column %lld",
				 (long long) hidden->rows, (long long) extra->term_column);
	fnn_refuse_view(tape, weight);
	if (tape->record && weight->sparse != NULL)
		fnn_fail(tape->host, FNN_INVALID, "the weight of terms cannot have a sparse gradient");
	for (int64_t i = 0; i < n; i++)
	{
		const FnnTerms *terms = &extra->terms[row[i]];
		int64_t		last = -1;

		fnn_poll(tape->host);
		for (int64_t k = 0; k < terms->n; last = terms->item[k++])
			if (terms->item[k] <= last || terms->item[k] >= table->rows)
				fnn_fail(tape->host, FNN_INVALID,
						 "softmax loss with a term for item %d after %lld in a table of %lld rows",
						 terms->item[k], (long long) last, (long long) table->rows);
	}
}

void
fnn_softmax_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table,
				 const int32_t *target, double weight)
{
	static const FnnSoftmaxExtra none = {0};

	fnn_softmax_loss_with(tape, hidden, table, target, weight, &none);
}

void
fnn_softmax_loss_with(FnnTape *tape, FnnTensor *hidden, FnnTensor *table,
					  const int32_t *target, double weight, const FnnSoftmaxExtra *extra)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	int32_t    *row = fnn_alloc(tape->arena, (size_t) hidden->rows * sizeof(int32_t));
	int64_t		n = 0;
	Block	   *block;
	double		loss = 0;

	fnn_refuse_view(tape, hidden);
	if (hidden->cols != table->cols)
		fnn_fail(tape->host, FNN_INVALID, "softmax loss of %lld columns against a table of %lld",
				 (long long) hidden->cols, (long long) table->cols);
	for (int64_t i = 0; i < hidden->rows; i++)
	{
		if (target[i] < -1 || target[i] >= table->rows)
			fnn_fail(tape->host, FNN_INVALID, "softmax loss with target %d in a table of %lld rows",
					 target[i], (long long) table->rows);
		if (target[i] >= 0)
			row[n++] = (int32_t) i;
		else if (extra->row_loss != NULL)
			extra->row_loss[i] = NAN;
	}
	if (extra->terms != NULL)
		check_terms(tape, hidden, table, extra, n, row);
	if (n > 0)
	{
		block = make_block(tape->arena, n, table, tape->record && fnn_has_grad(table));
		if (extra->terms != NULL)
			make_terms(tape->arena, block, extra);
		for (int64_t first = 0; first < n; first += block->capacity)
		{
			block->rows = n - first < block->capacity ? n - first : block->capacity;
			block->row = row + first;
			loss += run_block(tape->host, block, hidden, table, target, weight, extra, tape->record);
		}
	}
	tape->loss += weight * loss;
	fnn_arena_reset(tape->arena, mark);
}

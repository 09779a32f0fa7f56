/*
 * scan_many.c
 *	  The best rows of a table for many vectors at once.
 *
 * A tile of the table is turned so that the product of a group of vectors with
 * it runs in registers (product.h); the tile and the products stay in the
 * caches, and each vector's products are compared with its k-th best so far
 * before the next group's are made.  The table is read once for all vectors.
 *
 * A product's last bits depend on the order of its sums, and here it is
 * another than in a scan for one vector.  So that both give the same answer,
 * what comes within the rounding of the k-th best is computed again by the scan's
 * own kernel, and that is what is offered.  Those are few once good rows have
 * been found.  Tables are often in an order, of time or of popularity, that
 * would delay that; so the tiles come in steps of the golden section, which from
 * the start are spread over all of the table.
 */
#include "nn/base/kernels.h"
#include "nn/product/product.h"
#include "nn/search/codes.h"

#define TILE 256				/* rows */
#define GROUP 24				/* vectors: 24 * 256 products are half of the first cache */
#define ADDED_MARGIN 0x1p-21	/* of what is added up in single precision; its rounding is an eighth of that */
#define STRIDE 64				/* products that are looked at together */

/* What the steps of a scan share. */
typedef struct Scan
{
	int64_t		rows;
	int64_t		cols;
	const fnn_real *table;
	const fnn_real *vectors;	/* [n, cols] */
	const float *const *added;	/* [n], or NULL */
	const uint64_t *never;		/* rows passed over by all vectors, or NULL */
	const FnnRows *passed;		/* [n], or NULL */
	FnnTopk    *topk;			/* [n] */
	double	   *rounding;		/* [n] what two kernels may differ by, at most */
	FnnProduct	product;
	FnnDots		dots;
} Scan;

static bool
is_passed(const Scan *scan, int64_t vector, int32_t row)
{
	const FnnRows *passed = scan->passed == NULL ? NULL : &scan->passed[vector];

	if (scan->never != NULL && (scan->never[row / 64] >> row % 64 & 1) != 0)
		return true;
	return passed != NULL && fnn_find_ascending(passed->count, passed->row, row) >= 0;
}

/* The largest of the products, NaN left out. */
static FNN_CLONES fnn_real
largest(int64_t n, const fnn_real *product)
{
	fnn_real	most = (fnn_real) -INFINITY;

	FNN_PRAGMA(omp simd reduction(max:most))
	for (int64_t i = 0; i < n; i++)
		most = product[i] > most ? product[i] : most;
	return most;
}

/* hit[]: which of n products are not below need; returns their number. */
static FNN_CLONES int64_t
reaching(int64_t n, const fnn_real *product, fnn_real need, int32_t *hit)
{
	int64_t		hits = 0;

	for (int64_t begin = 0; begin < n; begin += STRIDE)
	{
		int64_t		end = begin + STRIDE < n ? begin + STRIDE : n;
		int32_t		count = 0;

		FNN_SIMD_SUM(count)
		for (int64_t i = begin; i < end; i++)
			count += product[i] >= need;
		for (int64_t i = begin; i < end && count > 0; i++)
			if (product[i] >= need)
				hit[hits++] = (int32_t) i;
	}
	return hits;
}

/* One vector's products [n], at least one, with rows first .. first + n - 1. */
static void
take_products(const Scan *scan, int64_t vector, int64_t first, int64_t n, const fnn_real *product)
{
	FnnTopk    *topk = &scan->topk[vector];
	const float *added = scan->added == NULL ? NULL : scan->added[vector];
	fnn_real	need = (fnn_real) -INFINITY;
	fnn_real	sum[TILE];
	fnn_real	exact[TILE];
	int32_t		row[TILE];
	int64_t		hits;
	int64_t		kept = 0;

	/* the difference's own rounding is far below the margin that rounding has */
	if (topk->count == topk->k)
		need = (fnn_real) (topk->score[0] - scan->rounding[vector] - (added != NULL ? ADDED_MARGIN : 0) *
						   fabs((double) topk->score[0]));
	if (added != NULL)
	{
		int64_t		i = 0;

		do
			sum[i] = product[i] + (fnn_real) added[first + i];
		while (++i < n);
		product = sum;
	}
	if (largest(n, product) < need)
		return;
	hits = reaching(n, product, need, row);
	for (int64_t i = 0; i < hits; i++)
	{
		int32_t		candidate = (int32_t) first + row[i];

		if (!is_passed(scan, vector, candidate))
			row[kept++] = candidate;
	}
	if (kept == 0)
		return;
	scan->dots(kept, scan->cols, scan->table, row, scan->vectors + vector * scan->cols, exact);
	for (int64_t i = 0; i < kept; i++)
	{
		if (added != NULL)
			exact[i] += (fnn_real) added[row[i]];
		fnn_topk_offer(topk, row[i], 1, &exact[i]);
	}
}

/* turned [cols, TILE] and product [GROUP, TILE] are scratch. */
static void
scan_tile(const Scan *scan, int64_t first, int64_t n_vectors, fnn_real *turned, fnn_real *product)
{
	int64_t		n = scan->rows - first < TILE ? scan->rows - first : TILE;

	fnn_transpose(n, scan->cols, 1, scan->table + first * scan->cols, scan->cols, TILE, turned, TILE);
	for (int64_t v = 0; v < n_vectors; v += GROUP)
	{
		int64_t		group = n_vectors - v < GROUP ? n_vectors - v : GROUP;

		scan->product(group, TILE, scan->cols, scan->vectors + v * scan->cols, scan->cols, 1,
					  turned, TILE, false, product, TILE);
		for (int64_t i = 0; i < group; i++)
			take_products(scan, v + i, first, n, product + i * TILE);
	}
}

static int64_t
common_divisor(int64_t a, int64_t b)
{
	while (b != 0)
	{
		int64_t		rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static void
scan_tiles(FnnArena *arena, const Scan *scan, int64_t n_vectors)
{
	int64_t		tiles = (scan->rows + TILE - 1) / TILE;
	int64_t		step = (int64_t) (0.61803398875 * (double) tiles) + 1;
	int64_t		tile = 0;
	fnn_real   *turned = fnn_alloc_reals(arena, scan->cols, TILE);
	fnn_real   *product = fnn_alloc_reals(arena, GROUP, TILE);

	while (common_divisor(step, tiles) != 1)
		step++;
	for (int64_t i = 0; i < tiles; i++)
	{
		fnn_poll(fnn_arena_host(arena));
		scan_tile(scan, tile * TILE, n_vectors, turned, product);
		tile = (tile + step) % tiles;
	}
}

/* Scans for each vector alone, where nothing is known of the rounding. */
static void
scan_each(FnnArena *arena, const Scan *scan, int64_t n_vectors)
{
	uint64_t   *set = fnn_alloc(arena, fnn_set_words(scan->rows) * sizeof(uint64_t));

	for (int64_t v = 0; v < n_vectors; v++)
	{
		memset(set, 0, fnn_set_words(scan->rows) * sizeof(uint64_t));
		if (scan->never != NULL)
			memcpy(set, scan->never, fnn_set_words(scan->rows) * sizeof(uint64_t));
		for (int64_t i = 0; scan->passed != NULL && i < scan->passed[v].count; i++)
			set[scan->passed[v].row[i] / 64] |= UINT64_C(1) << scan->passed[v].row[i] % 64;
		fnn_scan(arena, scan->rows, scan->cols, scan->table, NULL, scan->vectors + v * scan->cols,
				 scan->added == NULL ? NULL : scan->added[v], set, &scan->topk[v]);
	}
}

void
fnn_scan_many(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
			  int64_t n, const fnn_real *vectors, const float *const *added, const uint64_t *never,
			  const FnnRows *passed, FnnTopk *topk)
{
	FnnMark		mark = fnn_arena_mark(arena);
	Scan		scan = {
		.rows = rows,
		.cols = cols,
		.table = table,
		.vectors = vectors,
		.added = added,
		.never = never,
		.passed = passed,
		.topk = topk,
		.rounding = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), n, sizeof(double))),
		.product = fnn_product_best(),
		.dots = fnn_dots_variant(0)
	};
	bool		known = codes != NULL;

	fnn_lengths(n, cols, vectors, scan.rounding);
	for (int64_t v = 0; v < n && known; v++)
		known = fnn_products_differ(codes, scan.rounding[v], &scan.rounding[v]);
	if (rows > 0 && known)
		scan_tiles(arena, &scan, n);
	else
		scan_each(arena, &scan, n);
	fnn_arena_reset(arena, mark);
}

/*
 * check_scan.c
 *	  Scans for the best rows: by codes, for many vectors and through a model
 *	  they must give what the exact scan gives, to the last bit, whatever the
 *	  table holds.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/search/codes.h"
#include "check.h"

/* ---------------------------------------------------------------- tables */

typedef enum TableKind
{
	RANDOM,						/* normal numbers */
	SHARED,						/* rows that differ by little from one far off */
	HEAVY,						/* a few very large numbers */
	ONE_COLUMN,					/* one column outweighs all others */
	RISING,						/* products with the vector of ones rise by row */
	FALLING,
	EQUAL,						/* all rows alike */
	FEW_ROWS,					/* many copies of few rows: ties */
	ZEROS,
	TINY,
	HUGE_NUMBERS,
	BEYOND,						/* beyond what bounds are good for */
	NOT_FINITE,					/* a row with NaN, one with infinity */
	TABLE_KINDS
} TableKind;

static fnn_real
element(TableKind kind, int64_t rows, int64_t cols, int64_t r, int64_t c)
{
	double		normal = fnn_random_normal(5, (uint64_t) kind, (uint64_t) (r * cols + c));

	switch (kind)
	{
		case SHARED:
			return (fnn_real) (fnn_random_normal(6, 1, (uint64_t) c) * 100 + normal * 0.01);
		case HEAVY:
			return (fnn_real) (normal * normal * normal * normal * normal);
		case ONE_COLUMN:
			return (fnn_real) (c == cols / 2 ? normal * 1000 : normal);
		case RISING:
			return (fnn_real) ((double) r / (double) rows + normal * 0.001);
		case FALLING:
			return (fnn_real) (-(double) r / (double) rows + normal * 0.001);
		case EQUAL:
			return (fnn_real) fnn_random_normal(6, 2, (uint64_t) c);
		case FEW_ROWS:
			return (fnn_real) fnn_random_normal(6, (uint64_t) (3 + r % 7), (uint64_t) c);
		case ZEROS:
			return 0;
		case TINY:
			return (fnn_real) (normal * 1e-8);
		case HUGE_NUMBERS:
			return (fnn_real) (normal * 1e12);
		case BEYOND:
			return (fnn_real) (normal * (r % 2 == 0 ? 1e17 : 1e-20));
		case NOT_FINITE:
			return (fnn_real) (r == rows / 3 ? NAN : r == rows / 2 ? INFINITY : normal);
		default:
			return (fnn_real) normal;
	}
}

static fnn_real *
new_table(TableKind kind, int64_t rows, int64_t cols)
{
	fnn_real   *table = fnn_alloc_reals(check_arena(), rows, cols);

	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			table[r * cols + c] = element(kind, rows, cols, r, c);
	return table;
}

static void *
new_codes(int64_t rows, int64_t cols, const fnn_real *table)
{
	void	   *codes = fnn_alloc(check_arena(), fnn_codes_bytes(rows, cols));

	fnn_codes_build(check_arena(), rows, cols, table, codes);
	return codes;
}

/* Vector number 0 is of ones, 1 like a row, the others random, 4 with zeros. */
static void
fill_vector(int number, int64_t rows, int64_t cols, const fnn_real *table, fnn_real *vector)
{
	for (int64_t c = 0; c < cols; c++)
	{
		vector[c] = (fnn_real) fnn_random_normal(9, (uint64_t) number, (uint64_t) c);
		if (number == 0)
			vector[c] = 1;
		if (number == 1 && isfinite(table[rows / 4 * cols + c]))
			vector[c] = table[rows / 4 * cols + c];
		if (number == 4 && c % 3 != 0)
			vector[c] = 0;
	}
}

static FnnTopk *
new_topk(int32_t k)
{
	FnnTopk    *topk = fnn_alloc(check_arena(), sizeof(FnnTopk));

	fnn_topk_init(topk, k, fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) k),
				  fnn_alloc_reals(check_arena(), 1, k));
	return topk;
}

/* expected is sorted already */
static bool
same_topk(const FnnTopk *expected, FnnTopk *topk)
{
	fnn_topk_sort(topk);
	return expected->count == topk->count &&
		memcmp(expected->item, topk->item, sizeof(int32_t) * (size_t) topk->count) == 0 &&
		memcmp(expected->score, topk->score, sizeof(fnn_real) * (size_t) topk->count) == 0;
}

/* ---------------------------------------------------------------- products */

static void
check_products(void)
{
	static const int64_t widths[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 50, 64, 100};

	check_begin("products of rows with a vector");
	for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++)
	{
		int64_t		cols = widths[w];
		int64_t		rows = 43;
		fnn_real   *table = new_table(RANDOM, rows, cols);
		fnn_real   *vector = fnn_alloc_reals(check_arena(), 1, cols);
		FnnDots		dots;

		fill_vector(2, rows, cols, table, vector);
		for (int variant = 0; (dots = fnn_dots_variant(variant)) != NULL; variant++)
		{
			fnn_real	all[43];
			fnn_real	some[43];
			int32_t		item[43];

			dots(rows, cols, table, NULL, vector, all);
			for (int32_t i = 0; i < rows; i++)
			{
				double		sum = 0;

				for (int64_t c = 0; c < cols; c++)
					sum += (double) table[i * cols + c] * vector[c];
				CHECK(check_close(sum, all[i], 1e-5), "variant %d, %lld columns: %g instead of %g",
					  variant, (long long) cols, (double) all[i], sum);
				item[i] = (int32_t) ((i * 17 + 5) % rows);
			}
			for (int64_t n = 1; n <= rows; n += 6)
			{
				dots(n, cols, table, item, vector, some);
				for (int64_t i = 0; i < n; i++)
					CHECK(memcmp(&some[i], &all[item[i]], sizeof(fnn_real)) == 0,
						  "variant %d, %lld columns: row %d has other bits among %lld", variant, (long long) cols,
						  item[i], (long long) n);
			}
		}
	}
	check_end();
}

/* ---------------------------------------------------------------- codes */

static void
check_planes(void)
{
	static const int64_t pairs_of[] = {1, 2, 7, 8, 9, 32, 128};

	check_begin("sums of half codes");
	for (size_t p = 0; p < sizeof(pairs_of) / sizeof(pairs_of[0]); p++)
	{
		int64_t		pairs = pairs_of[p];
		int64_t		tiles = 3;
		uint8_t    *tile = fnn_alloc(check_arena(), (size_t) (tiles * FNN_TILE_BYTES(pairs)));
		int8_t	   *digit = fnn_alloc(check_arena(), (size_t) pairs * 16);
		int32_t		expected[3 * FNN_CODES_TILE] = {0};
		FnnPlane	plane;

		/* extreme values, too: sums in few bits would overflow */
		for (int64_t i = 0; i < tiles * FNN_TILE_BYTES(pairs); i++)
			tile[i] = (uint8_t) (i % 5 < 3 ? 255 : fnn_random_below(1, 2, (uint64_t) i, 256));
		for (int64_t i = 0; i < pairs * 16; i++)
			digit[i] = (int8_t) (i % 3 == 0 ? 127 : i % 3 == 1 ? -128
								 : (int) fnn_random_below(1, 3, (uint64_t) i, 256) - 128);
		for (int64_t t = 0; t < tiles; t++)
			for (int64_t q = 0; q < pairs; q++)
				for (int64_t row = 0; row < FNN_CODES_TILE; row++)
					for (int j = 0; j < 4; j++)
					{
						uint8_t		both = tile[t * FNN_TILE_BYTES(pairs) + q * 4 * FNN_CODES_TILE + 4 * row + j];
						const int8_t *at = digit + 16 * q + j;

						expected[t * FNN_CODES_TILE + row] += (both & 15) * (256 * at[0] + at[4]) +
							(both >> 4) * (256 * at[8] + at[12]);
					}
		for (int variant = 0; (plane = fnn_plane_variant(variant)) != NULL; variant++)
		{
			int32_t		sum[3 * FNN_CODES_TILE];

			plane(tiles, pairs, tile, digit, sum);
			CHECK(memcmp(sum, expected, sizeof(sum)) == 0, "variant %d, %lld pairs", variant, (long long) pairs);
		}
	}
	check_end();
}

/* No row's product may exceed its bound, neither the rough nor the fine one. */
static void
check_one_bound(TableKind kind, int64_t rows, int64_t cols)
{
	fnn_real   *table = new_table(kind, rows, cols);
	FnnCodes   *codes = new_codes(rows, cols, table);
	fnn_real   *vector = fnn_alloc_reals(check_arena(), 1, cols);
	fnn_real   *product = fnn_alloc_reals(check_arena(), 1, rows);
	int32_t    *sum[2];
	const uint16_t *scale = (const uint16_t *) ((const char *) codes + codes->scale);

	for (int half = 0; half < 2; half++)
		sum[half] = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) (codes->tiles * FNN_CODES_TILE));
	for (int number = 0; number < 5; number++)
	{
		FnnBound	bound;
		bool		bounded;

		fill_vector(number, rows, cols, table, vector);
		bounded = fnn_bound_init(&bound, check_arena(), codes, vector);
		if (kind == BEYOND || kind == NOT_FINITE || kind == ZEROS)
			CHECK(!bounded, "kind %d must not be bounded", kind);
		if (!bounded)
			continue;
		fnn_products(rows, cols, table, NULL, vector, product);
		for (int half = 0; half < 2; half++)
			fnn_plane_variant(0) (codes->tiles, codes->pairs, (const uint8_t *) codes + codes->plane[half],
								  bound.digit, sum[half]);
		for (int64_t i = 0; i < rows; i++)
		{
			uint32_t	bits = (uint32_t) scale[i] << 16;
			float		factor;
			double		rough;
			double		fine;

			memcpy(&factor, &bits, sizeof(factor));
			rough = bound.base + (double) (factor * (bound.rough_step * (float) sum[0][i] + bound.rough_offset));
			fine = bound.base + (double) (factor * (bound.fine_step *
													(float) (16 * sum[0][i] + sum[1][i] + bound.fine_shift) +
														bound.fine_offset));
			CHECK(product[i] <= rough && product[i] <= fine,
				  "kind %d, vector %d, %lld columns, row %lld: %.9g exceeds %.9g or %.9g", kind, number,
				  (long long) cols, (long long) i, (double) product[i], rough, fine);
		}
	}
}

static void
check_bounds(void)
{
	check_begin("bounds of codes");
	for (int kind = 0; kind < TABLE_KINDS; kind++)
	{
		check_one_bound(kind, 300, 64);
		check_one_bound(kind, 100, 1);
		check_one_bound(kind, 100, 13);
		check_one_bound(kind, 70, 1024);
	}
	check_end();
}

/* ---------------------------------------------------------------- scans */

/* Kinds of numbers that are added to products. */
#define ADDED_KINDS 4

/* [rows] added to rows: nothing (NULL); as much as products are; to few rows; so much that products hardly count. */
static float *
new_added(int kind, int64_t rows, uint64_t seed)
{
	float	   *added = fnn_zalloc(check_arena(), sizeof(float) * (size_t) rows);

	for (int64_t i = 0; i < rows; i++)
		if (kind != 2 || i % 7 == 3)
			added[i] = (float) (fnn_random_normal(seed, 77, (uint64_t) i) * (kind == 3 ? 1e4 : 1));
	return kind == 0 ? NULL : added;
}

/* All rows' products offered, with what is added to them, and sorted. */
static FnnTopk *
naive_scan(int64_t rows, int64_t cols, const fnn_real *table, const fnn_real *vector, const float *added,
		   const uint64_t *passed, int32_t k)
{
	FnnTopk    *topk = new_topk(k);
	fnn_real   *product = fnn_alloc_reals(check_arena(), 1, rows);

	fnn_products(rows, cols, table, NULL, vector, product);
	for (int64_t i = 0; i < rows && added != NULL; i++)
		product[i] += (fnn_real) added[i];
	for (int64_t i = 0; i < rows; i++)
		if (passed == NULL || (passed[i / 64] >> i % 64 & 1) == 0)
			fnn_topk_offer(topk, (int32_t) i, 1, &product[i]);
	fnn_topk_sort(topk);
	return topk;
}

static void
compare_scans(TableKind kind, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
			  const uint64_t *passed, int32_t k)
{
	fnn_real   *vector = fnn_alloc_reals(check_arena(), 1, cols);

	for (int number = 0; number < 5 * ADDED_KINDS; number++)
	{
		const float *added = new_added(number % ADDED_KINDS, rows, (uint64_t) number);
		FnnTopk    *expected;
		FnnTopk    *exact = new_topk(k);
		FnnTopk    *coded = new_topk(k);

		fill_vector(number / ADDED_KINDS, rows, cols, table, vector);
		expected = naive_scan(rows, cols, table, vector, added, passed, k);
		fnn_scan(check_arena(), rows, cols, table, NULL, vector, added, passed, exact);
		fnn_scan(check_arena(), rows, cols, table, codes, vector, added, passed, coded);
		CHECK(same_topk(expected, exact), "exact scan, kind %d, %lld x %lld, k %d, vector %d",
			  kind, (long long) rows, (long long) cols, k, number);
		CHECK(same_topk(expected, coded), "scan by codes, kind %d, %lld x %lld, k %d, vector %d",
			  kind, (long long) rows, (long long) cols, k, number);
	}
}

/* passed: every share-th row, or all but those */
static uint64_t *
some_rows(int64_t rows, int64_t share, bool others)
{
	uint64_t   *set = fnn_zalloc(check_arena(), fnn_set_words(rows) * sizeof(uint64_t));

	for (int64_t i = 0; i < rows; i++)
		if ((i % share == 0) != others)
			set[i / 64] |= UINT64_C(1) << i % 64;
	return set;
}

static void
check_scans(void)
{
	static const int64_t rows_of[] = {1, 63, 64, 65, CHECK_SIZE(1500, 1030)};

	check_begin("scans by codes end as exact ones do");
	for (int kind = 0; kind < TABLE_KINDS; kind++)
		for (size_t r = 0; r < sizeof(rows_of) / sizeof(rows_of[0]); r++)
			for (int64_t cols = 5; cols <= 64; cols += 59)
			{
				int64_t		rows = rows_of[r];
				fnn_real   *table = new_table(kind, rows, cols);
				void	   *codes = new_codes(rows, cols, table);

				compare_scans(kind, rows, cols, table, codes, NULL, 1);
				if (CHECK_SIZE(true, rows <= 65))
				{
					compare_scans(kind, rows, cols, table, codes, NULL, 10);
					compare_scans(kind, rows, cols, table, codes, NULL, (int32_t) rows + 3);
				}
				compare_scans(kind, rows, cols, table, codes, some_rows(rows, 3, false), 10);
				compare_scans(kind, rows, cols, table, codes, some_rows(rows, 100, true), 10);
				compare_scans(kind, rows, cols, table, codes, some_rows(rows, 1, false), 10);
			}
	check_end();
}

static void
check_vectors_beyond(void)
{
	static const double factors[] = {0, 1e-30, 1e20, INFINITY};
	int64_t		rows = 200;
	int64_t		cols = 16;
	fnn_real   *table = new_table(RANDOM, rows, cols);
	void	   *codes = new_codes(rows, cols, table);
	fnn_real	vector[16];

	check_begin("vectors beyond what bounds are good for");
	for (size_t f = 0; f < sizeof(factors) / sizeof(factors[0]); f++)
	{
		FnnTopk    *expected;
		FnnTopk    *coded = new_topk(10);

		for (int64_t c = 0; c < cols; c++)
			vector[c] = (fnn_real) (c % 2 == 0 ? factors[f] : 0.5 * factors[f]);
		expected = naive_scan(rows, cols, table, vector, NULL, NULL, 10);
		fnn_scan(check_arena(), rows, cols, table, codes, vector, NULL, NULL, coded);
		CHECK(same_topk(expected, coded), "times %g", factors[f]);
	}
	check_end();
}

/* ---------------------------------------------------------------- many vectors */

#define VECTORS CHECK_SIZE(53, 27)

static void
check_one_many(TableKind kind, int64_t rows, int64_t cols, int32_t k, bool with_codes, int32_t never_share)
{
	fnn_real   *table = new_table(kind, rows, cols);
	void	   *codes = new_codes(rows, cols, table);
	fnn_real   *vectors = fnn_alloc_reals(check_arena(), VECTORS, cols);
	FnnTopk    *many = fnn_alloc(check_arena(), sizeof(FnnTopk) * VECTORS);
	FnnRows		passed[VECTORS];
	const float *added[VECTORS];
	uint64_t   *never = never_share > 0 ? some_rows(rows, never_share, never_share > 50) : NULL;

	for (int v = 0; v < VECTORS; v++)
	{
		int32_t    *row = fnn_alloc(check_arena(), sizeof(int32_t) * 20);

		fill_vector(v, rows, cols, table, vectors + v * cols);
		many[v] = *new_topk(k);
		added[v] = new_added(v % ADDED_KINDS, rows, (uint64_t) v);
		/* ascending, with repeats */
		for (int i = 0; i < 20; i++)
			row[i] = (int32_t) ((rows - 1) * (i / 2 * 2) / 20);
		passed[v].count = v % 3 == 0 ? 0 : 20;
		passed[v].row = row;
	}
	fnn_scan_many(check_arena(), rows, cols, table, with_codes ? codes : NULL, VECTORS, vectors, added, never, passed,
				  many);
	for (int v = 0; v < VECTORS; v++)
	{
		uint64_t   *set = fnn_zalloc(check_arena(), fnn_set_words(rows) * sizeof(uint64_t));

		if (never != NULL)
			memcpy(set, never, fnn_set_words(rows) * sizeof(uint64_t));
		for (int64_t i = 0; i < passed[v].count; i++)
			set[passed[v].row[i] / 64] |= UINT64_C(1) << passed[v].row[i] % 64;
		CHECK(same_topk(naive_scan(rows, cols, table, vectors + v * cols, added[v], set, k), &many[v]),
			  "kind %d, %lld x %lld, k %d, vector %d", kind, (long long) rows, (long long) cols, k, v);
	}
}

static void
check_many(void)
{
	check_begin("scans for many vectors end as those for one do");
	for (int kind = 0; kind < TABLE_KINDS; kind++)
	{
		check_one_many(kind, 1100, 64, 10, true, 0);
		check_one_many(kind, 255, 7, 300, true, 0);
		check_one_many(kind, 300, 16, 5, false, 0);
		check_one_many(kind, 1100, 64, 10, true, 100);
		check_one_many(kind, 300, 16, 5, false, 3);
	}
	check_end();
}

/* ---------------------------------------------------------------- models */

#define MODEL_ITEMS 2500
#define USERS 40

/* A model with random weights, and transitions between the items of USERS short histories. */
static FmoeModel *
new_model(double blend, FmoeDataset *data)
{
	FnnArena   *arena = check_arena();
	FmoeModel  *model;
	FmoeConfig	config = {.width = 16, .layers = 2, .heads = 1, .max_length = 20, .blend = blend};
	int64_t    *offset = fnn_alloc(arena, sizeof(int64_t) * (USERS + 1));
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * USERS * 25);
	double	   *time = fnn_alloc(arena, sizeof(double) * USERS * 25);

	for (int i = 0; i < USERS * 25; i++)
	{
		item[i] = (int32_t) fnn_random_below(3, 4, (uint64_t) i, i % 2 == 0 ? 5 : MODEL_ITEMS);
		time[i] = i;
	}
	for (int u = 0; u <= USERS; u++)
		offset[u] = u * 25;
	*data = (FmoeDataset)
	{
		.n_users = USERS, .n_events = USERS * 25, .n_items = MODEL_ITEMS,
			.offset = offset, .events =
		{
			.item = item, .time = time
			}
	};
	model = check_model(&config, data, 11, 0, false);
	fmoe_scan_build(model, arena, fnn_alloc(arena, fmoe_scan_bytes(model)));
	return model;
}

/* The best by the scores of all items, asked for one by one, sorted. */
static FnnTopk *
naive_best(const FmoeModel *model, const FmoeBatch *batch, const uint64_t *allowed, int32_t k)
{
	FnnTopk    *topk = new_topk(k);
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * MODEL_ITEMS);
	fnn_real   *score = fnn_alloc_reals(check_arena(), 1, MODEL_ITEMS);

	for (int32_t i = 0; i < MODEL_ITEMS; i++)
		item[i] = i;
	fmoe_scores_of(model, FMOE_MAIN, check_arena(), batch, MODEL_ITEMS, item, score);
	for (int32_t i = 0; i < MODEL_ITEMS; i++)
		if ((allowed[i / 64] >> i % 64 & 1) != 0)
			fnn_topk_offer(topk, i, 1, &score[i]);
	fnn_topk_sort(topk);
	return topk;
}

/* One item in share is a candidate, some of them more than once; the history's items are passed over. */
static void
check_one_best(const FmoeModel *model, const FmoeDataset *data, int64_t user, int32_t share)
{
	FnnArena   *arena = check_arena();
	size_t		bytes = fnn_set_words(MODEL_ITEMS) * sizeof(uint64_t);
	FmoeBatch  *batch = fmoe_batch(arena, &data->events, 1, &data->offset[user], &data->offset[user + 1], 20);
	uint64_t   *allowed = some_rows(MODEL_ITEMS, share > 0 ? share : 1, false);
	int32_t    *candidate = fnn_alloc(arena, sizeof(int32_t) * 2 * MODEL_ITEMS);
	FmoeEligible eligible = {0};
	FnnTopk    *expected;

	for (int32_t i = 0; share > 0 && i < MODEL_ITEMS; i += share)
	{
		candidate[eligible.n_candidates++] = i;
		candidate[eligible.n_candidates++] = i / 2 / share * share;
	}
	eligible.candidate = share > 0 ? candidate : NULL;
	for (int64_t e = data->offset[user]; e < data->offset[user + 1]; e++)
		allowed[data->events.item[e] / 64] &= ~(UINT64_C(1) << data->events.item[e] % 64);
	expected = naive_best(model, batch, allowed, 10);
	for (int scan = FMOE_SCAN_AUTO; scan <= FMOE_SCAN_INT8; scan++)
	{
		FnnTopk    *topk = new_topk(10);

		eligible.passed = fnn_zalloc(arena, bytes);
		for (int64_t e = data->offset[user]; e < data->offset[user + 1]; e++)
			eligible.passed[data->events.item[e] / 64] |= UINT64_C(1) << data->events.item[e] % 64;
		fmoe_best(model, FMOE_MAIN, arena, batch, (FmoeScan) scan, &eligible, topk);
		CHECK(same_topk(expected, topk), "scan %d, user %lld, one candidate in %d", scan, (long long) user, share);
	}
}

static int
compare_items(const void *a, const void *b)
{
	return *(const int32_t *) a - *(const int32_t *) b;
}

static void
check_best_many(const FmoeModel *model, const FmoeDataset *data, const uint64_t *never)
{
	FnnArena   *arena = check_arena();
	FmoeBatch  *batch = fmoe_batch(arena, &data->events, USERS, data->offset, data->offset + 1, 20);
	FnnTopk    *topk = fnn_alloc(arena, sizeof(FnnTopk) * USERS);
	FnnRows		passed[USERS];

	for (int u = 0; u < USERS; u++)
	{
		int32_t    *row = fnn_alloc(arena, sizeof(int32_t) * 25);

		memcpy(row, data->events.item + data->offset[u], sizeof(int32_t) * 25);
		qsort(row, 25, sizeof(int32_t), compare_items);
		passed[u] = (FnnRows) {.count = 25, .row = row};
		topk[u] = *new_topk(10);
	}
	fmoe_best_many(model, arena, batch, never, passed, topk);
	for (int u = 0; u < USERS; u++)
	{
		FmoeBatch  *alone = fmoe_batch(arena, &data->events, 1, &data->offset[u], &data->offset[u + 1], 20);
		uint64_t   *allowed = some_rows(MODEL_ITEMS, 1, false);

		for (size_t w = 0; never != NULL && w < fnn_set_words(MODEL_ITEMS); w++)
			allowed[w] &= ~never[w];
		for (int i = 0; i < 25; i++)
			allowed[passed[u].row[i] / 64] &= ~(UINT64_C(1) << passed[u].row[i] % 64);
		CHECK(same_topk(naive_best(model, alone, allowed, 10), &topk[u]), "user %d among many", u);
	}
}

static void
check_models(void)
{
	static const double blends[] = {0, 2};

	check_begin("the best items of a model, by every scan, of candidates and for many histories");
	for (int b = 0; b < 2; b++)
	{
		FmoeDataset data;
		FmoeModel  *model = new_model(blends[b], &data);

		for (int64_t user = 0; user < 4; user++)
		{
			check_one_best(model, &data, user, 0);
			check_one_best(model, &data, user, 100);
			check_one_best(model, &data, user, 2);
		}
		check_best_many(model, &data, NULL);
		check_best_many(model, &data, some_rows(MODEL_ITEMS, 2, false));
		check_best_many(model, &data, some_rows(MODEL_ITEMS, 100, true));
	}
	check_end();
}

void
check_scan(void)
{
	check_products();
	check_planes();
	check_bounds();
	check_scans();
	check_vectors_beyond();
	check_many();
	check_models();
}

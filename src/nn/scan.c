/*
 * scan.c
 *	  The rows of a table with the largest products with one vector.
 *
 * The exact scan is one pass over the table, whose products are looked at
 * while they are in the first cache: nothing as long as the table is ever
 * written.
 *
 * With codes (codes.c) the pass reads an eighth of that memory, and gives every
 * row a bound that its product cannot exceed.
 *	 1. The upper halves of all codes give rough bounds, of which only each
 *		tile's largest is kept, and the k rows with the largest ones.
 *	 2. Those rows' products are computed.  The smallest is at most the k-th
 *		best of all, and hardly less: what cannot reach it need not be looked at.
 *	 3. In the tiles whose largest bound does, both halves give fine bounds, and
 *		the products of the rows that still may be among the best are computed
 *		from the table and offered.
 * Products come from the kernel of the exact scan, so both scans end with the
 * same rows, the same bits.  How much steps 2 and 3 cost depends on the
 * numbers in the table, but not on their order.
 */
#include "kernels.h"
#include "scan.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FNN_X86
#endif

#ifdef FNN_DOUBLE
typedef int64_t fnn_index;
#else
typedef int32_t fnn_index;
#endif

#define ROWS 8					/* whose products are computed together */
#define AHEAD 4096				/* bytes: asking for them that early gains a fifth over leaving it to the CPU */

/* ---------------------------------------------------------------- products */

static inline const fnn_real *
row_at(int64_t i, int64_t cols, const fnn_real *table, const int32_t *item)
{
	return table + (item != NULL ? item[i] : i) * cols;
}

/* Rows shorter than a vector. */
static void
dots_narrow(int64_t n, int64_t cols, const fnn_real *table, const int32_t *item,
			const fnn_real *vector, fnn_real *product)
{
	for (int64_t i = 0; i < n; i++)
	{
		const fnn_real *row = row_at(i, cols, table, item);
		fnn_real	sum = 0;

		for (int64_t j = 0; j < cols; j++)
			sum += row[j] * vector[j];
		product[i] = sum;
	}
}

#ifdef FNN_X86
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#define VARIANT(name) name##_avx512
#define VECTOR vector_avx512
#define INDEX index_avx512
#define VECTOR_BYTES 64
#include "scan_template.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define VARIANT(name) name##_avx2
#define VECTOR vector_avx2
#define INDEX index_avx2
#define VECTOR_BYTES 32
#include "scan_template.h"
#pragma GCC pop_options
#endif							/* FNN_X86 */

#define VARIANT(name) name##_base
#define VECTOR vector_base
#define INDEX index_base
#define VECTOR_BYTES 16
#include "scan_template.h"

FnnDots
fnn_dots_variant(int index)
{
	FnnDots		list[4] = {0};
	int			n = 0;

#ifdef FNN_X86
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
		list[n++] = dots_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		list[n++] = dots_avx2;
#endif
	list[n++] = dots_base;
	return index >= 0 && index < n ? list[index] : NULL;
}

void
fnn_products(int64_t n, int64_t cols, const fnn_real *table, const int32_t *item,
			 const fnn_real *vector, fnn_real *product)
{
	fnn_dots_variant(0) (n, cols, table, item, vector, product);
}

/* ---------------------------------------------------------------- scans */

#define PIECE 1024				/* rows, whole tiles */
#define POLL_PIECES 64
#define POLL_TILES 8192

/* What the steps of a scan share. */
typedef struct Scan
{
	const FnnHost *host;
	int64_t		rows;
	int64_t		cols;
	const fnn_real *table;
	const fnn_real *vector;
	const uint64_t *passed;
	FnnTopk    *topk;
	FnnDots		dots;

	/* with codes */
	const FnnCodes *codes;
	FnnPlane	plane;
	FnnBound	bound;
	double		enough;			/* the k-th best product is not below */
	int32_t		pending;		/* rows whose products are due */
	int32_t		item[ROWS + FNN_CODES_TILE];
} Scan;

/* product[n] of rows first .. first + n - 1, whole words of the set; those passed over become NaN. */
static void
drop_passed(const uint64_t *passed, int64_t first, int64_t n, fnn_real *product)
{
	for (int64_t i = 0; i < n; i += 64)
	{
		uint64_t	word = passed[(first + i) / 64];

		for (; word != 0; word &= word - 1)
		{
			int64_t		at = i + __builtin_ctzll(word);

			if (at < n)
				product[at] = (fnn_real) NAN;
		}
	}
}

static void
scan_table(const Scan *scan)
{
	fnn_real	product[PIECE];

	for (int64_t first = 0; first < scan->rows; first += PIECE)
	{
		int64_t		n = scan->rows - first < PIECE ? scan->rows - first : PIECE;

		if (first % (POLL_PIECES * PIECE) == 0)
			fnn_poll(scan->host);
		scan->dots(n, scan->cols, scan->table + first * scan->cols, NULL, scan->vector, product);
		if (scan->passed != NULL)
			drop_passed(scan->passed, first, n, product);
		fnn_topk_offer(scan->topk, (int32_t) first, n, product);
	}
}

/* bound[64] = scale * (step * (sum + shift) + offset) of a tile; returns the largest. */
static FNN_CLONES float
bounds(const uint16_t *restrict scale, const int32_t *restrict sum, int32_t shift,
	   float step, float offset, float *restrict bound)
{
	float		most = -INFINITY;

	FNN_PRAGMA(omp simd reduction(max:most))
	for (int i = 0; i < FNN_CODES_TILE; i++)
	{
		uint32_t	bits = (uint32_t) scale[i] << 16;
		float		factor;

		memcpy(&factor, &bits, sizeof(factor));
		bound[i] = factor * (step * (float) (sum[i] + shift) + offset);
		most = bound[i] > most ? bound[i] : most;
	}
	return most;
}

/* Rows of a tile that are out of the running get the lowest bound; returns the largest of the others. */
static float
bounds_without(uint64_t out, float *bound)
{
	float		most = -INFINITY;

	for (; out != 0; out &= out - 1)
		bound[__builtin_ctzll(out)] = -INFINITY;
	for (int i = 0; i < FNN_CODES_TILE; i++)
		most = bound[i] > most ? bound[i] : most;
	return most;
}

static const uint16_t *
tile_scale(const Scan *scan, int64_t tile)
{
	return (const uint16_t *) ((const char *) scan->codes + scan->codes->scale) + tile * FNN_CODES_TILE;
}

static void
tile_sums(const Scan *scan, int half, int64_t tile, int64_t tiles, int32_t *sum)
{
	int64_t		pairs = scan->codes->pairs;

	scan->plane(tiles, pairs, (const uint8_t *) scan->codes + scan->codes->plane[half] + tile * FNN_TILE_BYTES(pairs),
				scan->bound.digit, sum);
}

/* The rows of a tile that there are and that are not passed over. */
static uint64_t
tile_rows(const Scan *scan, int64_t tile)
{
	int64_t		left = scan->rows - tile * FNN_CODES_TILE;
	uint64_t	set = left < FNN_CODES_TILE ? (UINT64_C(1) << left) - 1 : ~UINT64_C(0);

	return scan->passed != NULL ? set & ~scan->passed[tile] : set;
}

/* Step 1: most[tiles] and the k rows with the largest rough bounds. */
static void
scan_roughly(const Scan *scan, float *most, FnnTopk *rough)
{
	const FnnBound *bound = &scan->bound;
	int64_t		tiles = scan->codes->tiles;
	int32_t		sum[PIECE];
	float		value[PIECE];
	fnn_real	offered[PIECE];

	for (int64_t first = 0; first < tiles; first += PIECE / FNN_CODES_TILE)
	{
		int64_t		n = tiles - first < PIECE / FNN_CODES_TILE ? tiles - first : PIECE / FNN_CODES_TILE;

		if (first % (POLL_PIECES * PIECE / FNN_CODES_TILE) == 0)
			fnn_poll(scan->host);
		tile_sums(scan, 0, first, n, sum);
		for (int64_t t = 0; t < n; t++)
		{
			float	   *tile = value + t * FNN_CODES_TILE;
			uint64_t	out = ~tile_rows(scan, first + t);

			most[first + t] = bounds(tile_scale(scan, first + t), sum + t * FNN_CODES_TILE, 0,
									 bound->rough_step, bound->rough_offset, tile);
			if (out != 0)
				most[first + t] = bounds_without(out, tile);
		}
		for (int64_t i = 0; i < n * FNN_CODES_TILE; i++)
			offered[i] = value[i];
		fnn_topk_offer(rough, (int32_t) (first * FNN_CODES_TILE), n * FNN_CODES_TILE, offered);
	}
}

/* Step 2. */
static void
set_enough(Scan *scan, const FnnTopk *rough, fnn_real *product)
{
	scan->enough = -INFINITY;
	if (rough->count < scan->topk->k || rough->score[0] == -INFINITY)
		return;
	scan->dots(rough->count, scan->cols, scan->table, rough->item, scan->vector, product);
	scan->enough = product[0];
	for (int32_t i = 1; i < rough->count; i++)
		scan->enough = product[i] < scan->enough ? product[i] : scan->enough;
}

/* What a bound less its base must reach; the rounding here is far below the margin that the base has. */
static float
needed(const Scan *scan)
{
	double		enough = scan->enough;

	if (scan->topk->count == scan->topk->k && scan->topk->score[0] > enough)
		enough = scan->topk->score[0];
	return (float) (enough - scan->bound.base);
}

/* Computes and offers what is due. */
static void
settle(Scan *scan)
{
	fnn_real	product[ROWS + FNN_CODES_TILE];

	scan->dots(scan->pending, scan->cols, scan->table, scan->item, scan->vector, product);
	for (int32_t i = 0; i < scan->pending; i++)
		fnn_topk_offer(scan->topk, scan->item[i], 1, &product[i]);
	scan->pending = 0;
}

/* Step 3, for one tile. */
static void
look_closer(Scan *scan, int64_t tile)
{
	const FnnBound *bound = &scan->bound;
	int32_t		sum[FNN_CODES_TILE];
	int32_t		lower[FNN_CODES_TILE];
	float		value[FNN_CODES_TILE];
	float		need = needed(scan);

	tile_sums(scan, 0, tile, 1, sum);
	tile_sums(scan, 1, tile, 1, lower);
	for (int i = 0; i < FNN_CODES_TILE; i++)
		sum[i] = 16 * sum[i] + lower[i];
	if (bounds(tile_scale(scan, tile), sum, bound->fine_shift, bound->fine_step, bound->fine_offset, value) < need)
		return;
	for (uint64_t set = tile_rows(scan, tile); set != 0; set &= set - 1)
	{
		int			i = __builtin_ctzll(set);

		if (value[i] >= need)
			scan->item[scan->pending++] = (int32_t) (tile * FNN_CODES_TILE + i);
	}
	if (scan->pending >= ROWS)
		settle(scan);
}

static void
scan_codes(Scan *scan, FnnArena *arena)
{
	int64_t		tiles = scan->codes->tiles;
	int32_t		k = scan->topk->k;
	float	   *most = fnn_alloc(arena, fnn_mul_size(scan->host, tiles, sizeof(float)));
	FnnTopk		rough;

	fnn_topk_init(&rough, k, fnn_alloc(arena, fnn_mul_size(scan->host, k, sizeof(int32_t))),
				  fnn_alloc_reals(arena, 1, k));
	scan_roughly(scan, most, &rough);
	set_enough(scan, &rough, fnn_alloc_reals(arena, 1, k));
	for (int64_t tile = 0; tile < tiles; tile++)
	{
		if (tile % POLL_TILES == 0)
			fnn_poll(scan->host);
		if (most[tile] >= needed(scan) && most[tile] > -INFINITY)
			look_closer(scan, tile);
	}
	settle(scan);
}

void
fnn_scan(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
		 const fnn_real *vector, const uint64_t *passed, FnnTopk *topk)
{
	FnnMark		mark = fnn_arena_mark(arena);
	Scan		scan = {
		.host = fnn_arena_host(arena),
		.rows = rows,
		.cols = cols,
		.table = table,
		.vector = vector,
		.passed = passed,
		.topk = topk,
		.dots = fnn_dots_variant(0)
	};

	if (codes != NULL && rows > 0 && fnn_bound_init(&scan.bound, arena, codes, vector))
	{
		scan.codes = codes;
		scan.plane = fnn_plane_variant(0);
		scan_codes(&scan, arena);
	}
	else
		scan_table(&scan);
	fnn_arena_reset(arena, mark);
}

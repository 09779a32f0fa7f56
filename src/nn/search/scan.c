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
 *	 1. The upper halves of all codes give rough bounds.  Of each tile the
 *		largest is kept, and which rows' bounds are not below what the k-th best
 *		product is known to reach; and the k rows with the largest bounds so far.
 *	 2. From time to time, and at the end, those k rows' products are computed.
 *		The smallest is at most the k-th best of all, and at the end hardly
 *		less: what cannot reach it need not be looked at.
 *	 3. Of the tiles whose largest bound does reach it, the rows that may be
 *		among the best are computed from the table and offered: at once where
 *		they are few, else those that both halves' fine bounds leave.
 * Products come from the kernel of the exact scan, so both scans end with the
 * same rows, the same bits.  How much steps 2 and 3 cost depends on the
 * numbers in the table, but not on their order.
 *
 * What is added to products is added to their bounds.
 *
 * What a scan costs is the memory it reads.  A core has several streams of
 * memory under way in the time of one, so both scans read STREAMS places of
 * their memory in turn: half as much again in the same time.
 */
#include "nn/base/kernels.h"
#include "nn/search/codes.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FNN_X86
#endif

#ifdef FNN_DOUBLE
typedef int64_t fnn_index;
#else
typedef int32_t fnn_index;
#endif

#define ROWS 8					/* whose products are computed together, each read from a stream of its own */
#define AHEAD 1024				/* bytes of a stream: asking for them that early gains a tenth */

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
#include "nn/search/scan_template.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define VARIANT(name) name##_avx2
#define VECTOR vector_avx2
#define INDEX index_avx2
#define VECTOR_BYTES 32
#include "nn/search/scan_template.h"
#pragma GCC pop_options
#endif							/* FNN_X86 */

#define VARIANT(name) name##_base
#define VECTOR vector_base
#define INDEX index_base
#define VECTOR_BYTES 16
#include "nn/search/scan_template.h"

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
#define STREAMS 8				/* of tiles */
#define FEW_ROWS 8				/* of a tile: reading them takes half of what both halves of its codes take */
#define DUE_ROWS 32				/* whose products are worth a call */
#define ADDED_MARGIN 0x1p-21	/* of what is added up in single precision; its rounding is an eighth of that */
#define ROW_AHEAD 1024			/* bytes of a row at most that are asked for before its turn */

/* What the steps of a scan share. */
typedef struct Scan
{
	const FnnHost *host;
	int64_t		rows;
	int64_t		cols;
	const fnn_real *table;
	const fnn_real *vector;
	const float *added;			/* NULL: nothing */
	const uint64_t *passed;
	FnnTopk    *topk;
	FnnDots		dots;

	/* with codes */
	const FnnCodes *codes;
	FnnPlane	plane;
	FnnBound	bound;
	double		enough;			/* the k-th best product is not below */
	float	   *most;			/* [tiles] largest rough bounds */
	uint64_t   *maybe;			/* [tiles] rows whose rough bounds were enough when they were made */
	int32_t		pending;		/* rows whose products are due */
	int32_t		item[DUE_ROWS + FNN_CODES_TILE];
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

/* product[n] of rows item[n], NULL: first .. first + n - 1, with what is added to them. */
static void
scores(const Scan *scan, int64_t n, int64_t first, const int32_t *item, fnn_real *product)
{
	scan->dots(n, scan->cols, scan->table + first * scan->cols, item, scan->vector, product);
	for (int64_t i = 0; scan->added != NULL && i < n; i++)
		product[i] += (fnn_real) scan->added[item != NULL ? item[i] : first + i];
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
		scores(scan, n, first, NULL, product);
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

/* Adds what is added to a tile's rows to their bounds; returns the largest of these. */
static FNN_CLONES float
bounds_more(int n, const float *restrict added, float *restrict bound)
{
	float		most = -INFINITY;

	for (int i = 0; i < n; i++)
		bound[i] += added[i];
	FNN_PRAGMA(omp simd reduction(max:most))
	for (int i = 0; i < FNN_CODES_TILE; i++)
		most = bound[i] > most ? bound[i] : most;
	return most;
}

/* Gives rows of a tile that do not take part the lowest bound; returns the largest bound of the others. */
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
tile_sums(const Scan *scan, int half, int64_t tile, int32_t *sum)
{
	int64_t		pairs = scan->codes->pairs;

	scan->plane(1, pairs, (const uint8_t *) scan->codes + scan->codes->plane[half] + tile * FNN_TILE_BYTES(pairs),
				scan->bound.digit, sum);
}

/* The set of a tile's rows that exist and are not passed over. */
static uint64_t
tile_rows(const Scan *scan, int64_t tile)
{
	int64_t		left = scan->rows - tile * FNN_CODES_TILE;
	uint64_t	set = left < FNN_CODES_TILE ? (UINT64_C(1) << left) - 1 : ~UINT64_C(0);

	return scan->passed != NULL ? set & ~scan->passed[tile] : set;
}

/*
 * What a bound must reach, its base taken off.  The rounding here is far below the base's
 * margin, which knows nothing of what is added: the two sums with that, of the bound and of
 * the score, have a margin of their own.
 */
static float
needed(const Scan *scan)
{
	double		enough = scan->enough;

	if (scan->topk->count == scan->topk->k && scan->topk->score[0] > enough)
		enough = scan->topk->score[0];
	if (scan->added != NULL && enough > -INFINITY)
		enough -= ADDED_MARGIN * (fabs(enough) + fabs(scan->bound.base));
	return (float) (enough - scan->bound.base);
}

/* How many rows a tile has. */
static int
rows_in(const Scan *scan, int64_t tile)
{
	int64_t		left = scan->rows - tile * FNN_CODES_TILE;

	return left < FNN_CODES_TILE ? (int) left : FNN_CODES_TILE;
}

/* Which of a tile's bounds are not below need. */
static FNN_CLONES uint64_t
reaching(const float *restrict bound, float need)
{
	uint32_t	low = 0;
	uint32_t	high = 0;

	FNN_PRAGMA(omp simd reduction(|:low, high))
	for (int i = 0; i < FNN_CODES_TILE / 2; i++)
	{
		low |= bound[i] >= need ? UINT32_C(1) << i : 0;
		high |= bound[i + FNN_CODES_TILE / 2] >= need ? UINT32_C(1) << i : 0;
	}
	return (uint64_t) high << FNN_CODES_TILE / 2 | low;
}

/* Step 1, for one tile. */
static void
look_roughly(const Scan *scan, int64_t tile, FnnTopk *rough)
{
	const FnnBound *bound = &scan->bound;
	uint64_t	rows = tile_rows(scan, tile);
	float		need = needed(scan);
	float		most;
	int32_t		sum[FNN_CODES_TILE];
	float		value[FNN_CODES_TILE];

	__builtin_prefetch(tile_scale(scan, tile + 4));
	__builtin_prefetch(tile_scale(scan, tile + 4) + FNN_CODES_TILE / 2);
	tile_sums(scan, 0, tile, sum);
	most = bounds(tile_scale(scan, tile), sum, 0, bound->rough_step, bound->rough_offset, value);
	if (scan->added != NULL)
		most = bounds_more(rows_in(scan, tile), scan->added + tile * FNN_CODES_TILE, value);
	if (~rows != 0)
		most = bounds_without(~rows, value);
	scan->most[tile] = most;
	scan->maybe[tile] = most >= need ? reaching(value, need) & rows : 0;
	if (rough->count < rough->k || most > rough->score[0])
	{
		fnn_real	offered[FNN_CODES_TILE];

		for (int i = 0; i < FNN_CODES_TILE; i++)
			offered[i] = value[i];
		fnn_topk_offer(rough, (int32_t) (tile * FNN_CODES_TILE), FNN_CODES_TILE, offered);
	}
}

/* Step 2; product [k] is scratch. */
static void
raise_enough(Scan *scan, const FnnTopk *rough, fnn_real *product)
{
	double		least = INFINITY;

	if (rough->count < scan->topk->k || rough->score[0] == -INFINITY)
		return;
	scores(scan, rough->count, 0, rough->item, product);
	for (int32_t i = 0; i < rough->count; i++)
		least = product[i] < least ? product[i] : least;
	scan->enough = least > scan->enough ? least : scan->enough;
}

/* Steps 1 and 2. */
static void
scan_roughly(Scan *scan, FnnArena *arena)
{
	int64_t		tiles = scan->codes->tiles;
	int64_t		length = (tiles + STREAMS - 1) / STREAMS;
	int64_t		next = 1;
	int32_t		k = scan->topk->k;
	fnn_real   *product = fnn_alloc_reals(arena, 1, k);
	FnnTopk		rough;

	fnn_topk_init(&rough, k, fnn_alloc(arena, fnn_mul_size(scan->host, k, sizeof(int32_t))),
				  fnn_alloc_reals(arena, 1, k));
	scan->enough = -INFINITY;
	for (int64_t at = 0; at < length; at++)
	{
		if (at % (POLL_TILES / STREAMS) == 0)
			fnn_poll(scan->host);
		if (at == next)
		{
			raise_enough(scan, &rough, product);
			next *= 4;
		}
		for (int64_t tile = at; tile < tiles; tile += length)
			look_roughly(scan, tile, &rough);
	}
	raise_enough(scan, &rough, product);
}

/* Computes and offers the products of the pending rows. */
static void
offer_pending(Scan *scan)
{
	fnn_real	product[DUE_ROWS + FNN_CODES_TILE];

	scores(scan, scan->pending, 0, scan->item, product);
	for (int32_t i = 0; i < scan->pending; i++)
		fnn_topk_offer(scan->topk, scan->item[i], 1, &product[i]);
	scan->pending = 0;
}

/* The rows of a tile whose fine bounds reach need. */
static uint64_t
look_closer(const Scan *scan, int64_t tile, float need)
{
	const FnnBound *bound = &scan->bound;
	int32_t		sum[FNN_CODES_TILE];
	int32_t		lower[FNN_CODES_TILE];
	float		value[FNN_CODES_TILE];

	tile_sums(scan, 0, tile, sum);
	tile_sums(scan, 1, tile, lower);
	for (int i = 0; i < FNN_CODES_TILE; i++)
		sum[i] = 16 * sum[i] + lower[i];
	bounds(tile_scale(scan, tile), sum, bound->fine_shift, bound->fine_step, bound->fine_offset, value);
	if (scan->added != NULL)
		bounds_more(rows_in(scan, tile), scan->added + tile * FNN_CODES_TILE, value);
	return reaching(value, need);
}

/* Step 3, for one tile. */
static void
take_rows(Scan *scan, int64_t tile, float need)
{
	uint64_t	set = scan->maybe[tile];
	size_t		bytes = sizeof(fnn_real) * (size_t) scan->cols;

	if (__builtin_popcountll(set) > FEW_ROWS)
		set &= look_closer(scan, tile, need);
	for (; set != 0; set &= set - 1)
	{
		int32_t		row = (int32_t) (tile * FNN_CODES_TILE + __builtin_ctzll(set));
		const char *memory = (const char *) (scan->table + row * scan->cols);

		for (size_t at = 0; at < bytes && at < ROW_AHEAD; at += FNN_ALIGN)
			__builtin_prefetch(memory + at);
		scan->item[scan->pending++] = row;
	}
	if (scan->pending >= DUE_ROWS)
		offer_pending(scan);
}

static void
scan_codes(Scan *scan, FnnArena *arena)
{
	int64_t		tiles = scan->codes->tiles;

	scan->most = fnn_alloc(arena, fnn_mul_size(scan->host, tiles, sizeof(float)));
	scan->maybe = fnn_alloc(arena, fnn_mul_size(scan->host, tiles, sizeof(uint64_t)));
	scan_roughly(scan, arena);
	for (int64_t tile = 0; tile < tiles; tile++)
	{
		float		need = needed(scan);

		if (tile % POLL_TILES == 0)
			fnn_poll(scan->host);
		if (scan->maybe[tile] != 0 && scan->most[tile] >= need)
			take_rows(scan, tile, need);
	}
	offer_pending(scan);
}

void
fnn_scan(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
		 const fnn_real *vector, const float *added, const uint64_t *passed, FnnTopk *topk)
{
	FnnMark		mark = fnn_arena_mark(arena);
	Scan		scan = {
		.host = fnn_arena_host(arena),
		.rows = rows,
		.cols = cols,
		.table = table,
		.vector = vector,
		.added = added,
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

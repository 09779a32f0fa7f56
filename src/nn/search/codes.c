/*
 * codes.c
 *	  Tables in 8 bits an element, and what products with them are at most.
 *
 * A row x of the table is written as
 *
 *	  x[j] = center[j] + spread[j] * scale * (code[j] + r[j]),	 |r[j]| <= 1/2
 *
 * with the column's mean and root mean square deviation, a scale of the row's
 * own that makes its largest code at most 127, and what rounding lost.  Taking
 * the mean away matters: all of a trained table's rows may share a large part,
 * which moves every score alike.  A product with the vector h is then
 *
 *	  h . x = h . center + scale * sum of g[j] (code[j] + r[j]),  g[j] = h[j] * spread[j]
 *
 * where h . center is the same for all rows.  g[j] = unit * (digit[j] + t[j]) in
 * whole numbers, too, |t[j]| <= 1/2, so that the codes' part is a sum of products of
 * whole numbers, the same on every CPU.  What is left out is at most
 *
 *	  scale * (sum |g[j]| / 2 + unit / 2 * sum |code[j]|)
 *
 * which no row can exceed: a row whose bound stays below the k-th best product
 * found so far is not among the best k, whatever the table holds.  A little is
 * added for the rounding of the bound's own arithmetic and of the float
 * product that it stands for.
 *
 * Half of a code.  What a scan costs is the memory it reads, so the codes lie in
 * two planes: the upper half byte of each code and the lower one (code + 128 is
 * 16 * upper + lower).  A scan reads the upper plane, where the lower halves are
 * unknown numbers 0 .. 15, and the lower plane of those tiles only in which the
 * bounds of many rows are not low enough.
 *
 * Layout of a plane.  A tile is 64 rows.  For each pair of four columns it has
 * 256 bytes: [4][16] rows' words of 4 bytes, a byte's lower half belonging to
 * the first four columns and its upper half to the second.  So a vector of
 * words times four digits of h, spread over a vector, adds up 16 rows at once
 * and nothing is ever summed across lanes.  Digits are 16 bits, as two signed
 * bytes, because that is what the instructions multiply.
 */
#include "nn/base/kernels.h"
#include "nn/search/codes.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FNN_X86
#include <immintrin.h>
#endif

#define TILE FNN_CODES_TILE
#define COLUMNS 8				/* of a pair of four columns */
#define LARGEST_CODE 127
#define MIDDLE 128				/* code + MIDDLE is stored */
#define LARGEST_DIGIT 32639		/* its upper byte is at most 127, rounded */
#define FLOAT_UNIT 5.9604645e-8 /* 2^-24 */

/* Lengths outside are left to the exact scan: some product of them might leave a float's range. */
#define LENGTH_MIN 1e-10
#define LENGTH_MAX 1e15

/* ---------------------------------------------------------------- layout */

static size_t
place(size_t *end, size_t bytes)
{
	size_t		at = *end;

	*end = (at + bytes + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN;
	return at;
}

/*
 * Fills in everything but length; returns the bytes of the whole block, which
 * is smaller than a table that is there, but for a few, and so is no overflow.
 */
static size_t
lay_out(int64_t rows, int64_t cols, FnnCodes *codes)
{
	size_t		end = 0;
	size_t		plane;

	codes->rows = rows;
	codes->cols = cols;
	codes->tiles = (rows + TILE - 1) / TILE;
	codes->pairs = (cols + COLUMNS - 1) / COLUMNS;
	plane = (size_t) codes->tiles * FNN_TILE_BYTES(codes->pairs);
	place(&end, sizeof(FnnCodes));
	codes->center = place(&end, sizeof(fnn_real) * cols);
	codes->spread = place(&end, sizeof(fnn_real) * cols);
	codes->scale = place(&end, sizeof(uint16_t) * codes->tiles * TILE);
	codes->plane[0] = place(&end, plane);
	codes->plane[1] = place(&end, plane);
	return end;
}

size_t
fnn_codes_bytes(int64_t rows, int64_t cols)
{
	FnnCodes	codes;

	return lay_out(rows, cols, &codes);
}

/* ---------------------------------------------------------------- building */

/* Rows between two polls. */
#define POLL_ROWS 4096

/* sum[cols] += row, or the squares of row - center */
static FNN_CLONES void
add_row(int64_t cols, const fnn_real *restrict row, double *restrict sum)
{
	FNN_SIMD
	for (int64_t j = 0; j < cols; j++)
		sum[j] += row[j];
}

static FNN_CLONES void
add_squares(int64_t cols, const fnn_real *restrict row, const fnn_real *restrict center, double *restrict sum)
{
	FNN_SIMD
	for (int64_t j = 0; j < cols; j++)
	{
		double		d = (double) row[j] - center[j];

		sum[j] += d * d;
	}
}

static FNN_CLONES double
squares(int64_t n, const fnn_real *value)
{
	double		sum = 0;

	FNN_SIMD_SUM(sum)
	for (int64_t j = 0; j < n; j++)
		sum += (double) value[j] * value[j];
	return sum;
}

void
fnn_lengths(int64_t n, int64_t cols, const fnn_real *row, double *length)
{
	for (int64_t i = 0; i < n; i++)
		length[i] = sqrt(squares(cols, row + i * cols));
}

/* center and spread of the columns, and the length of the longest row */
static void
measure(FnnArena *arena, FnnCodes *codes, const fnn_real *table)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		cols = codes->cols;
	fnn_real   *center = (fnn_real *) ((char *) codes + codes->center);
	fnn_real   *spread = (fnn_real *) ((char *) codes + codes->spread);
	double	   *sum = fnn_zalloc(arena, sizeof(double) * 2 * cols);
	double		longest = 0;

	for (int64_t i = 0; i < codes->rows; i++)
	{
		double		length = squares(cols, table + i * cols);

		if (i % POLL_ROWS == 0)
			fnn_poll(host);
		add_row(cols, table + i * cols, sum);
		/* a NaN stays */
		longest = length <= longest ? longest : length;
	}
	for (int64_t j = 0; j < cols; j++)
		center[j] = (fnn_real) (sum[j] / (double) codes->rows);
	for (int64_t i = 0; i < codes->rows; i++)
	{
		if (i % POLL_ROWS == 0)
			fnn_poll(host);
		add_squares(cols, table + i * cols, center, sum + cols);
	}
	for (int64_t j = 0; j < cols; j++)
		spread[j] = (fnn_real) sqrt(sum[cols + j] / (double) codes->rows);
	codes->length = sqrt(longest);
	if (!(codes->length >= LENGTH_MIN && codes->length <= LENGTH_MAX))
		codes->length = NAN;
	fnn_arena_reset(arena, mark);
}

/* The upper half of the smallest such float that is not below x >= 0. */
static uint16_t
half_float_above(double x)
{
	float		value = (float) x;
	uint32_t	bits;

	if ((double) value < x)
		value = nextafterf(value, INFINITY);
	memcpy(&bits, &value, sizeof(bits));
	return (uint16_t) ((bits + 0xffff) >> 16);
}

static inline float
float_of_half(uint16_t half)
{
	uint32_t	bits = (uint32_t) half << 16;
	float		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* code[cols] of a row, MIDDLE added; returns its scale.  inverse[cols]: of the spread, 0 where there is none. */
static FNN_CLONES uint16_t
encode(int64_t cols, const fnn_real *restrict row, const fnn_real *restrict center,
	   const double *restrict inverse, double *restrict deviation, uint8_t *restrict code)
{
	double		largest = 0;
	uint16_t	scale;
	double		per_scale;

	for (int64_t j = 0; j < cols; j++)
	{
		double		d = ((double) row[j] - center[j]) * inverse[j];
		double		size = fabs(d);

		deviation[j] = d;
		largest = size > largest ? size : largest;
	}
	scale = half_float_above(largest / LARGEST_CODE);
	per_scale = scale > 0 ? 1 / (double) float_of_half(scale) : 0;
	FNN_SIMD
	for (int64_t j = 0; j < cols; j++)
	{
		/* at most LARGEST_CODE + 1/2 in size, so this rounds by truncation of a positive number */
		int32_t		up = (int32_t) (deviation[j] * per_scale + (MIDDLE + 0.5));

		code[j] = (uint8_t) up;
	}
	return scale;
}

/* Puts the halves of a row's codes [pairs * COLUMNS] where the planes have them; row is its place in the tile. */
static void
put_codes(int64_t pairs, const uint8_t *code, int64_t row, uint8_t *upper, uint8_t *lower)
{
	for (int64_t p = 0; p < pairs; p++)
	{
		const uint8_t *first = code + p * COLUMNS;
		const uint8_t *second = first + 4;
		int64_t		at = p * 4 * TILE + 4 * row;

		for (int j = 0; j < 4; j++)
		{
			upper[at + j] = (uint8_t) (first[j] >> 4 | (second[j] & 0xf0));
			lower[at + j] = (uint8_t) ((first[j] & 0x0f) | second[j] << 4);
		}
	}
}

void
fnn_codes_build(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, void *memory)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	FnnCodes   *codes = memory;
	size_t		bytes = lay_out(rows, cols, codes);
	fnn_real   *center = (fnn_real *) ((char *) codes + codes->center);
	fnn_real   *spread = (fnn_real *) ((char *) codes + codes->spread);
	uint16_t   *scale = (uint16_t *) ((char *) codes + codes->scale);
	double	   *inverse = fnn_alloc(arena, fnn_mul_size(host, cols, 2 * sizeof(double)));
	uint8_t    *code = fnn_alloc(arena, codes->pairs * COLUMNS);

	/* rows and columns that only fill up have scale 0, or a digit of 0 */
	memset((char *) memory + codes->scale, 0, bytes - codes->scale);
	memset(code, MIDDLE, codes->pairs * COLUMNS);
	measure(arena, codes, table);
	for (int64_t j = 0; j < cols; j++)
		inverse[j] = spread[j] > 0 ? 1 / (double) spread[j] : 0;
	for (int64_t i = 0; i < rows && !isnan(codes->length); i++)
	{
		size_t		tile = (size_t) (i / TILE) * FNN_TILE_BYTES(codes->pairs);

		if (i % POLL_ROWS == 0)
			fnn_poll(host);
		scale[i] = encode(cols, table + i * cols, center, inverse, inverse + cols, code);
		put_codes(codes->pairs, code, i % TILE, (uint8_t *) codes + codes->plane[0] + tile,
				  (uint8_t *) codes + codes->plane[1] + tile);
	}
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- bounds */

/* A digit's two signed bytes: 256 * upper + lower. */
static void
put_digit(int8_t *digit, int64_t column, int32_t value)
{
	int32_t		lower = (int8_t) (uint8_t) (value & 0xff);
	int8_t	   *at = digit + column / COLUMNS * 16 + column % COLUMNS / 4 * 8 + column % 4;

	at[0] = (int8_t) ((value - lower) / 256);
	at[4] = (int8_t) lower;
}

/* Each product is off by at most cols units of the last place of what its terms' sizes add up to. */
bool
fnn_products_differ(const FnnCodes *codes, double length, double *difference)
{
	if (isnan(codes->length) || !(length >= LENGTH_MIN && length <= LENGTH_MAX))
		return false;
	*difference = 4 * FLOAT_UNIT * (double) (codes->cols + 8) * length * codes->length;
	return true;
}

bool
fnn_bound_init(FnnBound *bound, FnnArena *arena, const FnnCodes *codes, const fnn_real *vector)
{
	const fnn_real *center = (const fnn_real *) ((const char *) codes + codes->center);
	const fnn_real *spread = (const fnn_real *) ((const char *) codes + codes->spread);
	int64_t		cols = codes->cols;
	double		length = sqrt(squares(cols, vector));
	/* no sum of codes + MIDDLE times digits leaves 32 bits */
	double		largest_digit = fmin(LARGEST_DIGIT, 2147483647.0 / (2.0 * MIDDLE * COLUMNS * codes->pairs));
	double		largest = 0;
	double		sum = 0;		/* of g */
	double		unit;
	double		left_out;
	double		rounding;
	int64_t		digits = 0;
	int64_t		sizes = 0;

	if (!fnn_products_differ(codes, length, &rounding))
		return false;
	bound->digit = fnn_zalloc(arena, codes->pairs * 16);
	bound->base = 0;
	for (int64_t j = 0; j < cols; j++)
	{
		double		g = fabs((double) vector[j] * spread[j]);

		bound->base += (double) vector[j] * center[j];
		largest = g > largest ? g : largest;
		sum += g;
	}
	unit = largest / floor(largest_digit);
	for (int64_t j = 0; j < cols && unit > 0; j++)
	{
		int32_t		value = (int32_t) nearbyint((double) vector[j] * spread[j] / unit);

		put_digit(bound->digit, j, value);
		digits += value;
		sizes += value < 0 ? -value : value;
	}

	/* codes' and digits' rounding, and a thousandth for that of the bound itself */
	left_out = 1.001 * (sum / 2 + unit / 2 * LARGEST_CODE * (double) cols);
	bound->fine_shift = (int32_t) (-MIDDLE * digits);
	bound->fine_step = (float) unit;
	bound->fine_offset = (float) left_out;
	/* the lower halves, 0 .. 15: what they add is 7.5 * digits give or take 7.5 * sizes */
	bound->rough_step = (float) (16 * unit);
	bound->rough_offset = (float) (unit * (7.5 * (double) (digits + sizes) - MIDDLE * (double) digits) +
								   1.001 * left_out);
	bound->base += rounding;
	return true;
}

/* ---------------------------------------------------------------- sums, by instruction set */

typedef uint8_t fnn_bytes __attribute__((vector_size(8)));
typedef int16_t fnn_shorts __attribute__((vector_size(16)));

/* Pairs whose products, 15 * 128 at most, two of each, can be added up in 16 bits. */
#define SHORT_PAIRS 8

/* Of each pair the four times four digits' bytes, repeated. */
static void
spread_digits(int64_t pairs, const int8_t *digit, fnn_shorts (*spread)[4])
{
	for (int64_t p = 0; p < pairs; p++)
		for (int i = 0; i < 4; i++)
			for (int j = 0; j < 8; j++)
				spread[p][i][j] = digit[16 * p + 4 * i + j % 4];
}

/* sum[64] of a tile += its first pairs, at most SHORT_PAIRS, times their digits */
static void
add_pairs_base(int64_t pairs, const uint8_t *tile, const fnn_shorts (*spread)[4], int32_t *sum)
{
	for (int64_t i = 0; i < TILE; i += 2)
	{
		fnn_shorts	upper = {0};
		fnn_shorts	lower = {0};

		for (int64_t p = 0; p < pairs; p++)
		{
			fnn_bytes	both;
			fnn_shorts	first;
			fnn_shorts	second;

			memcpy(&both, tile + p * 4 * TILE + 4 * i, sizeof(both));
			first = __builtin_convertvector(both & 0x0f, fnn_shorts);
			second = __builtin_convertvector(both >> 4, fnn_shorts);
			upper += first * spread[p][0] + second * spread[p][2];
			lower += first * spread[p][1] + second * spread[p][3];
		}
		for (int j = 0; j < 8; j++)
			sum[i + j / 4] += 256 * upper[j] + lower[j];
	}
}

static void
plane_base(int64_t tiles, int64_t pairs, const uint8_t *tile, const int8_t *digit, int32_t *sum)
{
	memset(sum, 0, sizeof(int32_t) * TILE * tiles);
	for (int64_t begin = 0; begin < pairs; begin += SHORT_PAIRS)
	{
		int64_t		n = pairs - begin < SHORT_PAIRS ? pairs - begin : SHORT_PAIRS;
		fnn_shorts	spread[SHORT_PAIRS][4];

		spread_digits(n, digit + 16 * begin, spread);
		for (int64_t t = 0; t < tiles; t++)
			add_pairs_base(n, tile + (t * pairs + begin) * 4 * TILE, (const fnn_shorts (*)[4]) spread, sum + t * TILE);
	}
}

#ifdef FNN_X86

/* Four digits' bytes in every word. */
#define SPREAD_512(p, i) _mm512_set1_epi32(*(const fnn_word *) (digit + 16 * (p) + 4 * (i)))
#define SPREAD_256(p, i) _mm256_set1_epi32(*(const fnn_word *) (digit + 16 * (p) + 4 * (i)))
/* Asking for the plane's memory that early gains a tenth over leaving it to the CPU. */
#define AHEAD 1024

typedef int32_t fnn_word __attribute__((may_alias));

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,prefer-vector-width=512")))
static void
plane_vnni(int64_t tiles, int64_t pairs, const uint8_t *tile, const int8_t *digit, int32_t *sum)
{
	const __m512i low_half = _mm512_set1_epi8(0x0f);

	for (int64_t t = 0; t < tiles; t++, sum += TILE)
	{
		__m512i		upper[4];
		__m512i		lower[4];

#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			upper[i] = lower[i] = _mm512_setzero_si512();
		for (int64_t p = 0; p < pairs; p++, tile += 4 * TILE)
		{
#pragma GCC unroll 4
			for (int i = 0; i < 4; i++)
			{
				__m512i		both = _mm512_loadu_si512(tile + 64 * i);
				__m512i		first = _mm512_and_si512(both, low_half);
				__m512i		second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half);

				_mm_prefetch((const char *) tile + 64 * i + AHEAD, _MM_HINT_T0);
				upper[i] = _mm512_dpbusd_epi32(upper[i], first, SPREAD_512(p, 0));
				lower[i] = _mm512_dpbusd_epi32(lower[i], first, SPREAD_512(p, 1));
				upper[i] = _mm512_dpbusd_epi32(upper[i], second, SPREAD_512(p, 2));
				lower[i] = _mm512_dpbusd_epi32(lower[i], second, SPREAD_512(p, 3));
			}
		}
#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			_mm512_storeu_si512(sum + 16 * i, _mm512_add_epi32(_mm512_slli_epi32(upper[i], 8), lower[i]));
	}
}

/* Sums of pairs stay far inside 16 bits: 2 * 15 * 128. */
#define PRODUCT_256(half, spread) _mm256_madd_epi16(_mm256_maddubs_epi16((half), (spread)), ones)

__attribute__((target("avx2,fma")))
static void
plane_avx2(int64_t tiles, int64_t pairs, const uint8_t *tile, const int8_t *digit, int32_t *sum)
{
	const __m256i low_half = _mm256_set1_epi8(0x0f);
	const __m256i ones = _mm256_set1_epi16(1);

	for (int64_t t = 0; t < tiles; t++, sum += TILE, tile += pairs * 4 * TILE)
		for (int64_t part = 0; part < 4; part++)
		{
			const uint8_t *here = tile + 64 * part;
			__m256i		upper[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
			__m256i		lower[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

			for (int64_t p = 0; p < pairs; p++, here += 4 * TILE)
			{
				_mm_prefetch((const char *) here + AHEAD, _MM_HINT_T0);
#pragma GCC unroll 2
				for (int i = 0; i < 2; i++)
				{
					__m256i		both = _mm256_loadu_si256((const __m256i *) (here + 32 * i));
					__m256i		first = _mm256_and_si256(both, low_half);
					__m256i		second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_half);

					upper[i] = _mm256_add_epi32(upper[i], PRODUCT_256(first, SPREAD_256(p, 0)));
					lower[i] = _mm256_add_epi32(lower[i], PRODUCT_256(first, SPREAD_256(p, 1)));
					upper[i] = _mm256_add_epi32(upper[i], PRODUCT_256(second, SPREAD_256(p, 2)));
					lower[i] = _mm256_add_epi32(lower[i], PRODUCT_256(second, SPREAD_256(p, 3)));
				}
			}
#pragma GCC unroll 2
			for (int i = 0; i < 2; i++)
				_mm256_storeu_si256((__m256i *) (sum + 16 * part + 8 * i),
									_mm256_add_epi32(_mm256_slli_epi32(upper[i], 8), lower[i]));
		}
}

#endif							/* FNN_X86 */

FnnPlane
fnn_plane_variant(int index)
{
	FnnPlane	list[4] = {0};
	int			n = 0;

#ifdef FNN_X86
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
		list[n++] = plane_vnni;
	if (__builtin_cpu_supports("avx2"))
		list[n++] = plane_avx2;
#endif
	list[n++] = plane_base;
	return index >= 0 && index < n ? list[index] : NULL;
}

/*
 * halves.c
 *	  The three products of a softmax loss, by AMX tiles.
 *
 * The unit multiplies a tile of 16 rows by 16 pairs with a tile of 16 pairs by
 * 16 columns, a pair being two numbers next to one another along the inner
 * dimension.  Which two make a pair is free as long as both sides agree, and is
 * chosen so that nothing as large as the logits is ever turned:
 *
 *	  product						inner		pairs				left		right
 *	  logits [items, rows]			columns		c, c + 16			items		rows_across
 *	  gradient of rows, turned:
 *		[columns, rows]				items		2 p, 2 p + 1		items_turned	given_items
 *	  gradient of items
 *		[items, columns]			rows		r, r + 16			given_rows	rows_scaled
 *
 * given_items and given_rows are the same probabilities in two orders; both
 * come from the registers in which exp has left them.
 */
#include "nn/base/kernels.h"
#include "nn/product/halves.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11 && \
	!defined(FNN_DOUBLE) && !defined(FNN_NO_CLONES)
#define FNN_AMX
#endif

#ifdef FNN_AMX

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIDE 16					/* rows of a tile, and words of a row */
#define WORDS (SIDE * SIDE)
#define PAIRED 32				/* numbers along a tile's inner dimension */

/* Tiles of bfloat16 pairs: those of the upper halves, and as many of the lower ones. */
typedef struct Halves
{
	uint32_t   *high;
	uint32_t   *low;
} Halves;

struct FnnHalves
{
	int64_t		width;			/* d */
	int64_t		columns;		/* d in whole tiles, by two */
	fnn_real   *weight;			/* [lanes] of each row's loss */
	int64_t		rows;			/* that were taken */
	int64_t		lanes;			/* those in whole tiles, by two */
	int64_t		n;				/* items of this block */
	int64_t		padded;			/* those in whole tiles, by two */
	Halves		rows_across;	/* [lanes / 16, columns / 32, 16 pairs, 16] */
	Halves		rows_scaled;	/* [columns / 16, lanes / 32, 16 pairs, 16] */
	Halves		items;			/* [padded / 16, columns / 32, 16, 16 pairs] */
	Halves		items_turned;	/* [columns / 16, padded / 32, 16, 16 pairs] */
	Halves		given_items;	/* [lanes / 16, padded / 32, 16 pairs, 16] */
	Halves		given_rows;		/* [padded / 16, lanes / 32, 16, 16 pairs] */
	fnn_real   *sum;			/* [columns, lanes] gradient of the rows so far */
	fnn_real   *gathered;		/* [lanes, columns] the rows, zeros behind */
	fnn_real   *edge;			/* [padded, columns] */
	fnn_real   *line;			/* [2, columns] of the table, zeros behind */
};

/* ---------------------------------------------------------------- the unit */

#pragma GCC push_options
#pragma GCC target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")

/* Configures all eight tiles to full size. */
static void
configure(void)
{
	struct
	{
		uint8_t		palette;
		uint8_t		start_row;
		uint8_t		reserved[14];
		uint16_t	bytes[16];
		uint8_t		rows[16];
	}			config __attribute__((aligned(64)));

	memset(&config, 0, sizeof(config));
	config.palette = 1;
	for (int i = 0; i < 8; i++)
	{
		config.bytes[i] = SIDE * 4;
		config.rows[i] = SIDE;
	}
	_tile_loadconfig(&config);
}

#define MULTIPLY_ALL \
	do \
	{ \
		_tile_dpbf16ps(0, 4, 6); \
		_tile_dpbf16ps(1, 4, 7); \
		_tile_dpbf16ps(2, 5, 6); \
		_tile_dpbf16ps(3, 5, 7); \
	} while (0)

/* One 32 x 32 block of c: two tiles of the left by two of the right, low high + high high + high low. */
static inline void
multiply_block(int64_t steps, const uint32_t *left_high, const uint32_t *left_low,
			   const uint32_t *right_high, const uint32_t *right_low, bool accumulate, fnn_real *c, int64_t ldc)
{
	int64_t		next = steps * WORDS;	/* to the other tile of a side */
	int64_t		bytes = ldc * 4;

	if (accumulate)
	{
		_tile_loadd(0, c, bytes);
		_tile_loadd(1, c + SIDE, bytes);
		_tile_loadd(2, c + SIDE * ldc, bytes);
		_tile_loadd(3, c + SIDE * ldc + SIDE, bytes);
	}
	else
	{
		_tile_zero(0);
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
	}
	for (int64_t at = 0; at < next; at += WORDS)
	{
		_tile_loadd(4, left_low + at, SIDE * 4);
		_tile_loadd(6, right_high + at, SIDE * 4);
		_tile_loadd(5, left_low + next + at, SIDE * 4);
		_tile_loadd(7, right_high + next + at, SIDE * 4);
		MULTIPLY_ALL;
		_tile_loadd(4, left_high + at, SIDE * 4);
		_tile_loadd(5, left_high + next + at, SIDE * 4);
		MULTIPLY_ALL;
		_tile_loadd(6, right_low + at, SIDE * 4);
		_tile_loadd(7, right_low + next + at, SIDE * 4);
		MULTIPLY_ALL;
	}
	_tile_stored(0, c, bytes);
	_tile_stored(1, c + SIDE, bytes);
	_tile_stored(2, c + SIDE * ldc, bytes);
	_tile_stored(3, c + SIDE * ldc + SIDE, bytes);
}

/* c[m, n] (+)= left[m, k] right[k, n], all sides multiples of 32 */
static void
multiply(int64_t m, int64_t n, int64_t k, const Halves *left, const Halves *right,
		 bool accumulate, fnn_real *c, int64_t ldc)
{
	int64_t		steps = k / PAIRED;

	configure();
	for (int64_t j = 0; j < n; j += 2 * SIDE)
		for (int64_t i = 0; i < m; i += 2 * SIDE)
		{
			int64_t		l = i / SIDE * steps * WORDS;
			int64_t		r = j / SIDE * steps * WORDS;

			multiply_block(steps, left->high + l, left->low + l, right->high + r, right->low + r,
						   accumulate, c + i * ldc + j, ldc);
		}
	_tile_release();
}

/* ---------------------------------------------------------------- halves */

/* Splits x into its upper half, rounded, and what is left, rounded alike.  Both stand in a word's upper 16 bits. */
#define SPLIT(x, high, low) \
	do \
	{ \
		float		whole_ = (x); \
		float		upper_; \
		float		rest_; \
		uint32_t	bits_; \
 \
		memcpy(&bits_, &whole_, sizeof(bits_)); \
		bits_ = (bits_ + 0x8000) & 0xffff0000; \
		memcpy(&upper_, &bits_, sizeof(upper_)); \
		rest_ = whole_ - upper_; \
		(high) = bits_; \
		memcpy(&bits_, &rest_, sizeof(bits_)); \
		(low) = (bits_ + 0x8000) & 0xffff0000; \
	} while (0)

/* Words of the pairs of x[n] and y[n], each times a number. */
static inline __attribute__((always_inline)) void
pair(const int64_t n, fnn_real x_scale, const fnn_real *x, fnn_real y_scale, const fnn_real *y, uint32_t *high,
	 uint32_t *low)
{
	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
	{
		uint32_t	x_high;
		uint32_t	x_low;
		uint32_t	y_high;
		uint32_t	y_low;

		SPLIT(x_scale * x[i], x_high, x_low);
		SPLIT(y_scale * y[i], y_high, y_low);
		high[i] = x_high >> 16 | y_high;
		low[i] = x_low >> 16 | y_low;
	}
}

/* out[16, 16] = in[16, 16] turned */
static inline void
turn(const uint32_t *in, uint32_t *out)
{
	__m512i		a[SIDE];
	__m512i		b[SIDE];

#pragma GCC unroll 16
	for (int i = 0; i < SIDE; i++)
		a[i] = _mm512_loadu_si512(in + i * SIDE);
#pragma GCC unroll 8
	for (int i = 0; i < SIDE; i += 2)
	{
		b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
		b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
	}
#pragma GCC unroll 4
	for (int i = 0; i < SIDE; i += 4)
	{
		a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
		a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
		a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
		a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
	}
	/* a[4 g + c] holds, in its quarter q, column 4 q + c of rows 4 g .. 4 g + 3 */
#pragma GCC unroll 4
	for (int c = 0; c < 4; c++)
	{
		__m512i		even_low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
		__m512i		odd_low = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
		__m512i		even_high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
		__m512i		odd_high = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);

		_mm512_storeu_si512(out + c * SIDE, _mm512_shuffle_i32x4(even_low, even_high, 0x88));
		_mm512_storeu_si512(out + (4 + c) * SIDE, _mm512_shuffle_i32x4(odd_low, odd_high, 0x88));
		_mm512_storeu_si512(out + (8 + c) * SIDE, _mm512_shuffle_i32x4(even_low, even_high, 0xdd));
		_mm512_storeu_si512(out + (12 + c) * SIDE, _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd));
	}
}

/* Row i of n rows, as wide as whole tiles are: itself, or a copy with zeros behind, or zeros. */
static inline const fnn_real *
whole_row(const FnnHalves *halves, int64_t n, int64_t i, const fnn_real *table, int64_t ld, int copy)
{
	fnn_real   *line = halves->line + copy * halves->columns;

	if (i < n && halves->columns == halves->width)
		return table + i * ld;
	memset(line, 0, (size_t) halves->columns * sizeof(fnn_real));
	if (i < n)
		memcpy(line, table + i * ld, (size_t) halves->width * sizeof(fnn_real));
	return line;
}

/* out[rows / 16, columns / 32, 16, 16 pairs] = pairs of columns c, c + 16 of table[n, width], rows of whole tiles */
static void
pair_columns(const FnnHalves *halves, int64_t n, int64_t rows, const fnn_real *table, int64_t ld, const Halves *out)
{
	int64_t		steps = halves->columns / PAIRED;

	for (int64_t i = 0; i < rows; i++)
	{
		const fnn_real *x = whole_row(halves, n, i, table, ld, 0);

		for (int64_t step = 0; step < steps; step++)
		{
			int64_t		at = (i / SIDE * steps + step) * WORDS + i % SIDE * SIDE;

			pair(SIDE, 1, x + step * PAIRED, 1, x + step * PAIRED + SIDE, out->high + at, out->low + at);
		}
	}
}

static int64_t
take_rows(FnnHalves *halves, int64_t n, const int32_t *row, const fnn_real *hidden, const double *weight)
{
	int64_t		columns = halves->columns;
	int64_t		width = halves->width;
	int64_t		lanes = (n + PAIRED - 1) / PAIRED * PAIRED;
	fnn_real   *x = halves->gathered;

	halves->rows = n;
	halves->lanes = lanes;
	memset(halves->sum, 0, (size_t) (columns * lanes) * sizeof(fnn_real));
	memset(x, 0, (size_t) (lanes * columns) * sizeof(fnn_real));
	for (int64_t r = 0; r < n; r++)
		memcpy(x + r * columns, hidden + row[r] * width, (size_t) width * sizeof(fnn_real));

	pair_columns(halves, lanes, lanes, x, columns, &halves->rows_across);
	for (int64_t at = 0; at < lanes * columns / 2; at += WORDS)
	{
		turn(halves->rows_across.high + at, halves->rows_across.high + at);
		turn(halves->rows_across.low + at, halves->rows_across.low + at);
	}
	for (int64_t r = 0; r < lanes; r++)
		halves->weight[r] = r < n ? (fnn_real) weight[r] : 0;
	for (int64_t r = 0; r < lanes; r++)
		for (int64_t c = 0; c < columns && r % PAIRED < SIDE; c += SIDE)
		{
			int64_t		at = (c / SIDE * (lanes / PAIRED) + r / PAIRED) * WORDS + r % PAIRED * SIDE;

			pair(SIDE, halves->weight[r], x + r * columns + c, halves->weight[r + SIDE], x + (r + SIDE) * columns + c,
				 halves->rows_scaled.high + at, halves->rows_scaled.low + at);
		}
	return lanes;
}

static void
take_items(FnnHalves *halves, int64_t n, const fnn_real *table, int64_t ld)
{
	halves->n = n;
	halves->padded = (n + PAIRED - 1) / PAIRED * PAIRED;
	pair_columns(halves, n, halves->padded, table, ld, &halves->items);
}

static void
logits(FnnHalves *halves, fnn_real *tile)
{
	multiply(halves->padded, halves->lanes, halves->columns, &halves->items, &halves->rows_across,
			 false, tile, halves->lanes);
}

/* Words of pairs: of vectors x and y of 16 halves that stand in the upper 16 bits. */
static inline __m512i
join(__m512i x, __m512i y)
{
	return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(x, 16), y);
}

static inline __m512i
upper_half(__m512 x)
{
	return _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000)),
							_mm512_set1_epi32((int) 0xffff0000));
}

/*
 * e^x as fnn_exp has it, with what AVX-512 has for powers of two; below -87
 * e^-87, which is nothing beside a largest logit's 1 and never denormal.
 */
static inline __m512
exponential(__m512 x)
{
	__m512		n;
	__m512		r;
	__m512		p;

	/* with a NaN the second operand is the result */
	x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x);
	n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
							 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
	r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
	p = _mm512_set1_ps(1.9875691500e-4f);
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
	p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r);
	return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

static void
sum_logits(const FnnHalves *halves, int64_t n, const fnn_real *tile, const fnn_real *shift, fnn_real *sum)
{
	int64_t		lanes = halves->lanes;

	for (int64_t r = 0; r < lanes; r += PAIRED)
	{
		__m512		shifts[2] = {_mm512_loadu_ps(shift + r), _mm512_loadu_ps(shift + r + SIDE)};
		__m512		sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};

		for (int64_t i = 0; i < n; i++)
#pragma GCC unroll 2
			for (int v = 0; v < 2; v++)
			{
				__m512		logit = _mm512_loadu_ps(tile + i * lanes + r + v * SIDE);

				sums[v] = _mm512_add_ps(sums[v], exponential(_mm512_sub_ps(logit, shifts[v])));
			}
		_mm512_storeu_ps(sum + r, sums[0]);
		_mm512_storeu_ps(sum + r + SIDE, sums[1]);
	}
}

static void
take_logits(FnnHalves *halves, const fnn_real *tile, const fnn_real *shift)
{
	int64_t		lanes = halves->lanes;
	int64_t		padded = halves->padded;
	int64_t		other = padded / PAIRED * WORDS;

	for (int64_t i = 0; i < padded; i += 2)
		for (int64_t r = 0; r < lanes; r += PAIRED)
		{
			int64_t		item = (r / SIDE * (padded / PAIRED) + i / PAIRED) * WORDS + i % PAIRED / 2 * SIDE;
			int64_t		row = (i / SIDE * (lanes / PAIRED) + r / PAIRED) * WORDS + i % SIDE * SIDE;
			__m512i		high[4];
			__m512i		low[4];

#pragma GCC unroll 4
			for (int v = 0; v < 4; v++)
			{
				__m512		logit = _mm512_loadu_ps(tile + (i + v / 2) * lanes + r + v % 2 * SIDE);
				__m512		x = exponential(_mm512_sub_ps(logit, _mm512_loadu_ps(shift + r + v % 2 * SIDE)));

				/* the lower half is cut off where the upper one is rounded: its sign is random, so there is no bias */
				high[v] = upper_half(x);
				low[v] = _mm512_castps_si512(_mm512_sub_ps(x, _mm512_castsi512_ps(high[v])));
			}
			_mm512_store_si512(halves->given_items.high + item, join(high[0], high[2]));
			_mm512_store_si512(halves->given_items.low + item, join(low[0], low[2]));
			_mm512_store_si512(halves->given_items.high + item + other, join(high[1], high[3]));
			_mm512_store_si512(halves->given_items.low + item + other, join(low[1], low[3]));
			_mm512_store_si512(halves->given_rows.high + row, join(high[0], high[1]));
			_mm512_store_si512(halves->given_rows.low + row, join(low[0], low[1]));
			_mm512_store_si512(halves->given_rows.high + row + SIDE, join(high[2], high[3]));
			_mm512_store_si512(halves->given_rows.low + row + SIDE, join(low[2], low[3]));
		}
}

static void
add_rows(FnnHalves *halves, const fnn_real *table, int64_t ld)
{
	int64_t		columns = halves->columns;
	int64_t		padded = halves->padded;
	uint32_t	words[2][WORDS];

	for (int64_t i = 0; i < padded; i += PAIRED)
		for (int64_t c = 0; c < columns; c += SIDE)
		{
			int64_t		at = (c / SIDE * (padded / PAIRED) + i / PAIRED) * WORDS;

			for (int64_t p = 0; p < SIDE; p++)
				pair(SIDE, 1, whole_row(halves, halves->n, i + 2 * p, table, ld, 0) + c, 1,
					 whole_row(halves, halves->n, i + 2 * p + 1, table, ld, 1) + c,
					 words[0] + p * SIDE, words[1] + p * SIDE);
			turn(words[0], halves->items_turned.high + at);
			turn(words[1], halves->items_turned.low + at);
		}
	multiply(columns, halves->lanes, padded, &halves->items_turned, &halves->given_items,
			 true, halves->sum, halves->lanes);
}

static void
give_items(FnnHalves *halves, bool accumulate, fnn_real *grad, int64_t ld)
{
	bool		whole = halves->padded == halves->n && halves->columns == halves->width;
	fnn_real   *out = whole ? grad : halves->edge;

	multiply(halves->padded, halves->columns, halves->lanes, &halves->given_rows, &halves->rows_scaled,
			 whole && accumulate, out, whole ? ld : halves->columns);
	if (whole)
		return;
	for (int64_t i = 0; i < halves->n; i++)
		for (int64_t c = 0; c < halves->width; c++)
			grad[i * ld + c] = (accumulate ? grad[i * ld + c] : 0) + out[i * halves->columns + c];
}

#pragma GCC pop_options

static void
give_rows(const FnnHalves *halves, const int32_t *row, fnn_real *grad)
{
	for (int64_t r = 0; r < halves->rows; r++)
		for (int64_t c = 0; c < halves->width; c++)
			grad[row[r] * halves->width + c] += halves->weight[r] * halves->sum[c * halves->lanes + r];
}

static Halves
make_halves(FnnArena *arena, int64_t numbers)
{
	Halves		halves;
	size_t		bytes = (size_t) numbers / 2 * sizeof(uint32_t);

	halves.high = fnn_alloc(arena, bytes);
	halves.low = fnn_alloc(arena, bytes);
	return halves;
}

/* Halves of a matrix take as much as the matrix. */
static double
reals(int64_t rows, int64_t items, int64_t width)
{
	double		columns = (double) ((width + PAIRED - 1) / PAIRED * PAIRED);
	double		lanes = (double) ((rows + PAIRED - 1) / PAIRED * PAIRED);
	double		padded = (double) ((items + PAIRED - 1) / PAIRED * PAIRED);

	return lanes + 4 * lanes * columns + 3 * padded * columns + 2 * padded * lanes + 2 * columns;
}

static FnnHalves *
make(FnnArena *arena, int64_t rows, int64_t items, int64_t width)
{
	FnnHalves  *halves = fnn_zalloc(arena, sizeof(FnnHalves));
	int64_t		columns = (width + PAIRED - 1) / PAIRED * PAIRED;
	int64_t		lanes = (rows + PAIRED - 1) / PAIRED * PAIRED;
	int64_t		padded = (items + PAIRED - 1) / PAIRED * PAIRED;

	halves->width = width;
	halves->weight = fnn_alloc_reals(arena, 1, lanes);
	halves->columns = columns;
	halves->rows_across = make_halves(arena, lanes * columns);
	halves->rows_scaled = make_halves(arena, lanes * columns);
	halves->items = make_halves(arena, padded * columns);
	halves->items_turned = make_halves(arena, padded * columns);
	halves->given_items = make_halves(arena, padded * lanes);
	halves->given_rows = make_halves(arena, padded * lanes);
	halves->sum = fnn_alloc_reals(arena, columns, lanes);
	halves->gathered = fnn_alloc_reals(arena, lanes, columns);
	halves->edge = fnn_alloc_reals(arena, padded, columns);
	halves->line = fnn_alloc_reals(arena, 2, columns);
	return halves;
}

#define REQUEST_PERMISSION 0x1023	/* ARCH_REQ_XCOMP_PERM */
#define TILE_DATA 18			/* XFEATURE_XTILEDATA */

/* A process must ask the kernel before it touches a tile; to ask again costs next to nothing. */
static bool
usable(void)
{
	return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
		__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
		syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

#endif							/* FNN_AMX */

const FnnHalvesKernel *
fnn_halves_kernel(void)
{
#ifdef FNN_AMX
	static const FnnHalvesKernel kernel = {make, reals, take_rows, take_items, logits, sum_logits, take_logits,
	add_rows, give_rows, give_items};

	if (usable())
		return &kernel;
#endif
	return NULL;
}

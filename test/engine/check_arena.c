/*
 * check_arena.c
 *	  Arena, random numbers, dropout masks, and what setting up BLAS leaves in
 *	  the process.
 */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

#include "check.h"
#include "nn/base/tape_private.h"

/* ---------------------------------------------------------------- arena */

static void
check_pieces(void)
{
	FnnArena   *arena = fnn_arena_create(check_host(), 0);
	unsigned char *piece[200];
	size_t		size[200];
	size_t		total = 0;
	bool		intact = true;
	bool		aligned = true;

	check_begin("arena: pieces are aligned and do not overlap");
	for (int i = 0; i < 200; i++)
	{
		/* some of nothing, some larger than any block so far */
		size[i] = fnn_random_below(1, 0, i, 5000) * (i % 40 == 39 ? 500 : i % 7);
		total += size[i];
		piece[i] = fnn_alloc(arena, size[i]);
		aligned = aligned && (uintptr_t) piece[i] % FNN_ALIGN == 0;
		memset(piece[i], i, size[i]);
	}
	for (int i = 0; i < 200; i++)
		for (size_t j = 0; j < size[i]; j++)
			intact = intact && piece[i][j] == i;
	CHECK(aligned, "a piece is not aligned to %d bytes", FNN_ALIGN);
	CHECK(intact, "a piece was overwritten by another");
	CHECK(fnn_arena_peak(arena) >= total, "peak %zu is less than the %zu in use", fnn_arena_peak(arena), total);
	CHECK(fnn_arena_host(arena) == check_host(), "the arena lost its host");
	memset(piece[7], 0xff, size[7]);
	fnn_arena_destroy(arena);
	check_end();
}

typedef struct Counting
{
	const FnnHost *inner;
	int			allocations;
	int			releases;
} Counting;

static void *
counting_allocate(void *context, size_t bytes)
{
	Counting   *counting = context;

	counting->allocations++;
	return counting->inner->allocate(counting->inner->context, bytes);
}

static void
counting_release(void *context, void *pointer)
{
	Counting   *counting = context;

	counting->releases++;
	counting->inner->release(counting->inner->context, pointer);
}

/* A step of mixed sizes; returns a sum over what zalloc gave, which must be 0. */
static int
arena_step(FnnArena *arena)
{
	int			sum = 0;

	for (int i = 0; i < 50; i++)
	{
		size_t		bytes = 1000 + 40000 * (i % 5);
		unsigned char *piece = fnn_zalloc(arena, bytes);

		sum += piece[0] + piece[bytes / 2] + piece[bytes - 1];
		memset(piece, 0xab, bytes);
	}
	return sum;
}

static void
check_marks(void)
{
	Counting	counting = {check_host(), 0, 0};
	FnnHost		host = *check_host();
	FnnArena   *arena;
	FnnMark		empty;
	FnnMark		mark;
	char	   *first;
	size_t		peak;
	int			allocations;

	host.context = &counting;
	host.allocate = counting_allocate;
	host.release = counting_release;
	check_begin("arena: a repeated step allocates nothing");
	arena = fnn_arena_create(&host, 0);
	empty = fnn_arena_mark(arena);
	first = fnn_alloc(arena, 100);
	strcpy(first, "kept");
	mark = fnn_arena_mark(arena);
	CHECK(arena_step(arena) == 0, "zalloc gave memory that is not zero");
	allocations = counting.allocations;
	peak = fnn_arena_peak(arena);
	for (int i = 0; i < 3; i++)
	{
		fnn_arena_reset(arena, mark);
		CHECK(arena_step(arena) == 0, "zalloc gave used memory");
	}
	CHECK(counting.allocations == allocations, "%d blocks more for the same step", counting.allocations - allocations);
	CHECK(fnn_arena_peak(arena) == peak, "the peak moved from %zu to %zu", peak, fnn_arena_peak(arena));
	CHECK(strcmp(first, "kept") == 0, "what lies before the mark was overwritten");
	fnn_arena_reset(arena, empty);
	CHECK(fnn_alloc(arena, 100) == first, "reset to empty does not start over");
	fnn_arena_destroy(arena);
	CHECK(counting.allocations == counting.releases, "%d allocations, %d releases",
		  counting.allocations, counting.releases);
	check_end();
}

static void
go_over_limit(void *context)
{
	for (int i = 0; i < 100; i++)
		fnn_alloc(context, 50000);
}

static void
ask_for_too_much(void *context)
{
	fnn_alloc_reals(context, INT64_C(1) << 40, INT64_C(1) << 40);
}

static void
ask_for_negative(void *context)
{
	fnn_alloc_reals(context, -1, 3);
}

static void
check_limits(void)
{
	FnnArena   *arena = fnn_arena_create(check_host(), 1000000);
	FnnMark		empty = fnn_arena_mark(arena);

	check_begin("arena: limit and impossible sizes");
	check_fails(FNN_LIMIT, "the limit is 1000000 bytes", go_over_limit, arena);
	CHECK(fnn_arena_peak(arena) <= 1000000, "peak %zu is over the limit", fnn_arena_peak(arena));
	CHECK(fnn_arena_peak(arena) >= 900000, "refused at %zu bytes already", fnn_arena_peak(arena));
	/* what small pieces filled is given back for one large piece */
	fnn_arena_reset(arena, empty);
	memset(fnn_alloc(arena, 990000), 1, 990000);
	fnn_arena_reset(arena, empty);
	memset(fnn_alloc(arena, 10), 1, 10);
	check_fails(FNN_LIMIT, "beyond", ask_for_too_much, arena);
	check_fails(FNN_INVALID, "-1 rows", ask_for_negative, arena);
	fnn_arena_destroy(arena);
	check_end();
}

/* ---------------------------------------------------------------- random numbers */

/* Sum of (observed - expected)^2 / expected over equally likely cells. */
static double
chi_squared(const int *count, int cells, double expected)
{
	double		sum = 0;

	for (int i = 0; i < cells; i++)
		sum += (count[i] - expected) * (count[i] - expected) / expected;
	return sum;
}

/* Six standard deviations of a chi-squared over cells cells. */
static bool
is_plausible(double chi, int cells)
{
	return fabs(chi - (cells - 1)) < 6 * sqrt(2.0 * (cells - 1));
}

static void
check_uniformity(void)
{
	enum
	{
		N = 1 << 16
	};
	static const struct
	{
		const char *name;
		uint64_t	seed,
					stream,
					counter;	/* what a step adds to each */
	}			walk[] = {{"counter", 0, 0, 1}, {"stream", 0, 1, 0}, {"seed", 1, 0, 0},
	{"high bits of counter", 0, 0, UINT64_C(1) << 48}, {"all three", 1, 1, 1}};

	for (int w = 0; w < 5; w++)
	{
		int			byte[8][256] = {{0}};
		int			pair[4096] = {0};
		int64_t		flips = 0;
		uint64_t	previous = 0;

		check_begin("random: uniform and independent along %s", walk[w].name);
		for (int i = 0; i < N; i++)
		{
			uint64_t	bits = fnn_random_bits(11 + i * walk[w].seed, 5 + i * walk[w].stream, i * walk[w].counter);

			for (int b = 0; b < 8; b++)
				byte[b][bits >> (8 * b) & 255]++;
			pair[(bits >> 58) << 6 | previous >> 58]++;
			flips += __builtin_popcountll(bits ^ previous);
			previous = bits;
		}
		for (int b = 0; b < 8; b++)
			CHECK(is_plausible(chi_squared(byte[b], 256, N / 256.0), 256),
				  "byte %d: chi squared %g over 256 cells", b, chi_squared(byte[b], 256, N / 256.0));
		CHECK(is_plausible(chi_squared(pair, 4096, N / 4096.0), 4096),
			  "neighbours: chi squared %g over 4096 cells", chi_squared(pair, 4096, N / 4096.0));
		CHECK(fabs((double) flips / N - 32) < 6 * 4 / sqrt(N), "%g bits differ between neighbours",
			  (double) flips / N);
		check_end();
	}
}

static void
check_distributions(void)
{
	enum
	{
		N = 100000
	};
	double		sum[5] = {0};
	int			cell[7] = {0};

	check_begin("random: uniform, normal, below");
	for (int i = 0; i < N; i++)
	{
		double		u = fnn_random_uniform(3, 4, i);
		double		x = fnn_random_normal(3, 5, i);
		double		y = fnn_random_normal(3, 5, i + 1);
		uint64_t	below = fnn_random_below(3, 6, i, 7);

		CHECK(u >= 0 && u < 1, "uniform %g", u);
		CHECK(below < 7, "below 7: %llu", (unsigned long long) below);
		cell[below % 7]++;
		sum[0] += u;
		sum[1] += x;
		sum[2] += x * x;
		sum[3] += x * x * x * x;
		sum[4] += x * y;
	}
	for (int i = 0; i < 5; i++)
		sum[i] /= N;
	CHECK(fabs(sum[0] - 0.5) < 0.006, "mean of uniforms %g", sum[0]);
	CHECK(fabs(sum[1]) < 0.02 && fabs(sum[2] - 1) < 0.03 && fabs(sum[3] - 3) < 0.2,
		  "moments of normals %g, %g, %g", sum[1], sum[2], sum[3]);
	CHECK(fabs(sum[4]) < 0.02, "neighbouring normals correlate by %g", sum[4]);
	CHECK(is_plausible(chi_squared(cell, 7, N / 7.0), 7), "below 7: chi squared %g", chi_squared(cell, 7, N / 7.0));
	for (int n = 0; n < 4; n++)
	{
		fnn_real	normal[4] = {-100, -100, -100, -100};

		fnn_random_normals(3, 5, 6, 2, n, normal);
		for (int i = 0; i < 4; i++)
			CHECK(normal[i] == (i < n ? (fnn_real) (2 * fnn_random_normal(3, 5, 6 + i)) : -100),
				  "normal %d of %d is %g", i, n, (double) normal[i]);
	}
	CHECK(fnn_random_below(1, 2, 3, 1) == 0, "below 1 is not 0");
	CHECK(fnn_random_bits(1, 2, 3) == fnn_random_bits(1, 2, 3), "the same draw twice differs");
	check_end();
}

static void
check_permutations(void)
{
	int			place[5][5] = {{0}};
	int64_t		index[1000];
	int64_t		again[1000];
	int			seen[1000] = {0};
	bool		complete = true;

	check_begin("random: permutations");
	fnn_random_permutation(9, 1, 1000, index);
	fnn_random_permutation(9, 1, 1000, again);
	for (int i = 0; i < 1000; i++)
		seen[index[i]]++;
	for (int i = 0; i < 1000; i++)
		complete = complete && seen[i] == 1;
	CHECK(complete, "not every number is there once");
	CHECK(memcmp(index, again, sizeof(index)) == 0, "the same seed gives another permutation");
	fnn_random_permutation(9, 2, 1000, again);
	CHECK(memcmp(index, again, sizeof(index)) != 0, "another stream gives the same permutation");
	for (int i = 0; i < 10000; i++)
	{
		fnn_random_permutation(9, i, 5, index);
		for (int j = 0; j < 5; j++)
			place[j][index[j]]++;
	}
	for (int j = 0; j < 5; j++)
		CHECK(is_plausible(chi_squared(place[j], 5, 2000), 5), "place %d: chi squared %g", j,
			  chi_squared(place[j], 5, 2000));
	index[0] = 42;
	fnn_random_permutation(9, 1, 0, index);
	CHECK(index[0] == 42, "the empty permutation wrote something");
	check_end();
}

/* ---------------------------------------------------------------- dropout masks */

static void
check_masks(void)
{
	enum
	{
		N = 1 << 16
	};
	static const double probability[] = {0.001, 0.1, 0.5, 0.9};
	fnn_real   *mask = fnn_alloc_reals(check_arena(), 1, N);
	fnn_real   *part = fnn_alloc_reals(check_arena(), 1, N);
	fnn_real   *previous = fnn_alloc_reals(check_arena(), 1, N);

	for (int i = 0; i < 4; i++)
	{
		double		p = probability[i];
		double		deviation = 6 * sqrt(p * (1 - p) / N);
		double		kept = 0;
		double		neighbours = 0;
		double		both = 0;
		bool		values = true;
		FnnDropout	dropout;
		FnnTape		tape;

		check_begin("dropout mask: p = %g", p);
		fnn_tape_begin(&tape, check_arena(), true, 21, 22);
		dropout = fnn_dropout_draw(&tape, p);
		fnn_dropout_mask(&dropout, 0, N, previous);
		dropout = fnn_dropout_draw(&tape, p);
		CHECK(tape.draws == 2, "%d draws were taken", (int) tape.draws);
		fnn_dropout_mask(&dropout, 0, N, mask);
		for (int j = 0; j < N; j++)
		{
			values = values && (mask[j] == 0 || mask[j] == dropout.scale);
			values = values && mask[j] == fnn_dropout_factor(&dropout, j);
			kept += mask[j] != 0;
			neighbours += mask[j] != 0 && mask[(j + 1) % N] != 0;
			both += mask[j] != 0 && previous[j] != 0;
		}
		CHECK(values, "a mask has a value that is neither 0 nor the scale, or not the element's own");
		CHECK(check_close(dropout.scale, 1 / (1 - p), 1e-5), "scale %g", (double) dropout.scale);
		CHECK(fabs(kept / N - (1 - p)) < deviation, "%g are kept", kept / N);
		CHECK(fabs(neighbours / N - (1 - p) * (1 - p)) < 2 * deviation, "%g of neighbours are kept", neighbours / N);
		CHECK(fabs(both / N - (1 - p) * (1 - p)) < 2 * deviation, "%g are kept by both draws", both / N);
		fnn_dropout_mask(&dropout, 777, 1001, part);
		CHECK(memcmp(part, mask + 777, 1001 * sizeof(fnn_real)) == 0, "a part of the mask differs from the whole");
		check_end();
	}
}

/* Runs of neighbours, and neighbours at distances that are widths of matrices, at p = 1/2. */
static void
check_mask_patterns(void)
{
	enum
	{
		N = 1 << 17
	};
	static const int distance[] = {1, 2, 8, 16, 32, 50, 64, 100, 128, 200, 256, 1000, 1024, 4096, 65536};
	fnn_real   *mask = fnn_alloc_reals(check_arena(), 1, N);
	int			cell[256] = {0};
	fnn_real	first[10000];
	double		spread = 0;
	unsigned int run = 0;
	FnnDropout	dropout;
	FnnTape		tape;

	check_begin("dropout mask: runs, distances, and sums of draws");
	fnn_tape_begin(&tape, check_arena(), true, 31, 32);
	dropout = fnn_dropout_draw(&tape, 0.5);
	fnn_dropout_mask(&dropout, 0, N, mask);
	for (int i = 0; i < N; i++)
	{
		run = run << 1 | (mask[i] != 0);
		if (i % 8 == 7)
			cell[run & 255]++;
	}
	CHECK(is_plausible(chi_squared(cell, 256, N / 8 / 256.0), 256), "runs of 8: chi squared %g over 256 cells",
		  chi_squared(cell, 256, N / 8 / 256.0));
	for (int d = 0; d < (int) (sizeof(distance) / sizeof(distance[0])); d++)
	{
		double		agreement = 0;

		for (int i = 0; i + distance[d] < N; i++)
			agreement += (mask[i] - 1) * (mask[i + distance[d]] - 1);
		CHECK(fabs(agreement) < 6 * sqrt(N - distance[d]), "correlation %g at distance %d", agreement / N,
			  distance[d]);
	}
	memcpy(first, mask, sizeof(first));
	for (int half = 0; half < 2; half++)
	{
		FnnDropout	other = dropout;
		double		agreement = 0;

		other.key[half] = (uint32_t) fnn_random_bits(33, half, 0);
		fnn_dropout_mask(&other, 0, 10000, mask);
		for (int i = 0; i < 10000; i++)
			agreement += (mask[i] - 1) * (first[i] - 1);
		CHECK(fabs(agreement) < 6 * 100, "with half the key the same masks correlate by %g", agreement / 10000);
	}
	/* the number kept of 1000 varies from draw to draw as that of independent elements does */
	for (int i = 0; i < 1000; i++)
	{
		double		sum = 0;

		dropout = fnn_dropout_draw(&tape, 0.5);
		fnn_dropout_mask(&dropout, 0, 1000, mask);
		for (int j = 0; j < 1000; j++)
			sum += mask[j] - 1;
		spread += sum * sum / 1000 / 1000;
	}
	CHECK(fabs(spread - 1) < 6 * sqrt(2.0 / 1000), "the number kept varies %g times as it should", spread);
	check_end();
}

/* ---------------------------------------------------------------- the process */

static int
count_threads(void)
{
	DIR		   *directory = opendir("/proc/self/task");
	struct dirent *entry;
	int			n = 0;

	if (directory == NULL)
		return -1;
	while ((entry = readdir(directory)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(directory);
	return n;
}

static unsigned int
float_control(void)
{
#ifdef __x86_64__
	return _mm_getcsr() & ~0x3fU;	/* without the flags of what has happened */
#else
	return 0;
#endif
}

static void
check_process(void)
{
	fnn_real   *a = fnn_alloc_reals(check_arena(), 150, 150);
	fnn_real   *c = fnn_alloc_reals(check_arena(), 150, 150);
	unsigned int control = float_control();
	const char *more = getenv("CHECK_OTHER_THREADS");	/* of an emulator */
	int			others = more != NULL ? atoi(more) : 0;

	check_begin("blas: one thread, the floating-point control word as it was");
#ifdef __x86_64__
	CHECK(control == 0x1f80, "the program starts with MXCSR %#x", control);
#endif
	for (int i = 0; i < 2; i++)
	{
		CHECK(fnn_blas_setup() == NULL, "%s", fnn_blas_setup());
		for (int j = 0; j < 150 * 150; j++)
			a[j] = (fnn_real) fnn_random_normal(1, 1, j);
		fnn_gemm(check_host(), false, true, 150, 150, 150, 1, a, 150, a, 150, 0, c, 150);
		CHECK(count_threads() == 1 + others, "%d threads", count_threads());
		CHECK(float_control() == control, "MXCSR was %#x and is %#x", control, float_control());
	}
	check_end();
}

void
check_arena_and_random(void)
{
	check_pieces();
	check_marks();
	check_limits();
	check_uniformity();
	check_distributions();
	check_permutations();
	check_masks();
	check_mask_patterns();
	check_process();
}

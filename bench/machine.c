/*
 * machine.c
 *	  What this machine can do, for bench/serve to compare with: prints
 *
 *	  the bytes per second at which one process reads memory, from a block
 *		far larger than the caches
 *	  the multiplications and additions per second of a single-precision
 *		matrix product of many histories with many items of a width (argument,
 *		default 64), on one thread
 *
 * Linked with the engine's sources, whose door to BLAS it goes through.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "nn/base/kernels.h"
#include "nn/product/product.h"

#define BLOCK ((size_t) 512 << 20)
#define HISTORIES 256
#define ITEMS 20000
#define ROUNDS 7

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

static void *
allocate(void *context, size_t bytes)
{
	void	   *block = aligned_alloc(FNN_ALIGN, (bytes + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN);

	if (block == NULL)
		exit(1);
	return block;
}

static void
release(void *context, void *pointer)
{
	free(pointer);
}

static void
fail(void *context, FnnError code, const char *message)
{
	fprintf(stderr, "%s\n", message);
	exit(1);
}

static void
poll(void *context)
{
}

static FNN_CLONES float
sum(const float *value, size_t n)
{
	float		total = 0;

	FNN_SIMD_SUM(total)
	for (size_t i = 0; i < n; i++)
		total += value[i];
	return total;
}

static int
ascending(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
median(double *value)
{
	qsort(value, ROUNDS, sizeof(double), ascending);
	return value[ROUNDS / 2];
}

static float *
filled(size_t n)
{
	float	   *value = allocate(NULL, n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		value[i] = (float) (i % 13) - 6;
	return value;
}

int
main(int argc, char **argv)
{
	FnnHost		host = {.allocate = allocate, .release = release, .fail = fail, .poll = poll};
	int64_t		width = argc > 1 ? atoi(argv[1]) : 64;
	float	   *block = filled(BLOCK / sizeof(float));
	float	   *history = filled((size_t) (HISTORIES * width));
	float	   *item = filled((size_t) (ITEMS * width));
	float	   *score = filled((size_t) HISTORIES * ITEMS);
	double		reading[ROUNDS];
	double		product[ROUNDS];
	volatile float kept;

	if (fnn_blas_setup() != NULL)
		return 1;
	for (int i = 0; i < ROUNDS; i++)
	{
		double		begun = seconds();

		kept = sum(block, BLOCK / sizeof(float));
		reading[i] = (double) BLOCK / (seconds() - begun);
		begun = seconds();
		fnn_gemm(&host, false, true, HISTORIES, ITEMS, width, 1, history, width, item, width, 0, score, ITEMS);
		product[i] = 2.0 * HISTORIES * ITEMS * (double) width / (seconds() - begun);
	}
	(void) kept;
	printf("%.0f %.0f\n", median(reading), median(product));
	return 0;
}

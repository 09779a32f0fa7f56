/*
 * base.h
 *	  What the whole engine stands on: reals, the host, memory, random numbers, hashes.
 *
 * The engine includes no PostgreSQL header, does no I/O, keeps no mutable global
 * state and never exits.  Memory, the error exit, the interrupt poll and the log
 * come from the caller through one FnnHost.  The same sources therefore link into
 * a PostgreSQL backend and into the engine tests, and are built there a second
 * time with -DFNN_DOUBLE for the finite-difference gradient checks.
 */
#ifndef FNN_BASE_BASE_H
#define FNN_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef FNN_DOUBLE
typedef double fnn_real;
#else
typedef float fnn_real;
#endif

#define FNN_NAME_MAX	64		/* bytes of a parameter's or tensor's name, NUL included */
#define FNN_ALIGN		64		/* bytes: every block starts on a cache line */

/* Bytes to where the next block may start. */
static inline size_t
fnn_aligned(size_t bytes)
{
	return (bytes + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN;
}

/* ---------------------------------------------------------------- host */

typedef enum FnnError
{
	FNN_INVALID,				/* an argument or a shape is not possible */
	FNN_LIMIT,					/* more memory than the limit allows */
	FNN_FORMAT,					/* bytes from outside are not what they claim */
	FNN_NONFINITE				/* NaN or infinity where a number must be */
} FnnError;

/*
 * What the engine asks of whoever calls it.  fail and poll may leave by
 * longjmp; the engine holds nothing that would leak then, because all its
 * memory comes from allocate.
 */
typedef struct FnnHost
{
	void	   *context;
	/* at least bytes bytes aligned to FNN_ALIGN, contents undefined; never NULL */
	void	   *(*allocate) (void *context, size_t bytes);
	void		(*release) (void *context, void *pointer);
	/* does not return */
	void		(*fail) (void *context, FnnError code, const char *message);
	/* called at least every 50 ms of work; may not return */
	void		(*poll) (void *context);
} FnnHost;

/* Report an error through the host; message is printf-formatted, lower case, no full stop. */
extern void fnn_fail(const FnnHost *host, FnnError code, const char *format,...)
			__attribute__((format(printf, 3, 4), noreturn));
extern void fnn_poll(const FnnHost *host);

/* Size arithmetic that reports overflow through the host instead of wrapping. */
extern size_t fnn_add_size(const FnnHost *host, size_t a, size_t b);
extern size_t fnn_mul_size(const FnnHost *host, size_t a, size_t b);

/* ---------------------------------------------------------------- arena */

/*
 * Memory for one step: bumped, marked and reset, never freed piece by piece.
 * Blocks are kept across resets, so a step that has run once allocates nothing.
 */
typedef struct FnnArena FnnArena;

typedef struct FnnMark
{
	void	   *block;
	size_t		used;
} FnnMark;

/* limit_bytes = 0: unlimited.  Going over the limit fails with FNN_LIMIT. */
extern FnnArena *fnn_arena_create(const FnnHost *host, size_t limit_bytes);
/* Gives all blocks back to the host. */
extern void fnn_arena_destroy(FnnArena *arena);
extern void *fnn_alloc(FnnArena *arena, size_t bytes);	/* contents undefined */
extern void *fnn_zalloc(FnnArena *arena, size_t bytes); /* zeroed */
/* [rows, cols], contents undefined; an overflow of the size fails. */
extern fnn_real *fnn_alloc_reals(FnnArena *arena, int64_t rows, int64_t cols);
/* The present position, for fnn_arena_reset. */
extern FnnMark fnn_arena_mark(const FnnArena *arena);
/* Frees all that was allocated since the mark. */
extern void fnn_arena_reset(FnnArena *arena, FnnMark mark);
extern size_t fnn_arena_peak(const FnnArena *arena);	/* most bytes ever in use */
extern const FnnHost *fnn_arena_host(const FnnArena *arena);

/* ---------------------------------------------------------------- random numbers */

/*
 * Counter-based: the n-th number of a stream is a pure function of
 * (seed, stream, n).  No state, so any worker can draw any number and a
 * resumed run draws what the uninterrupted one would have drawn.
 */
extern uint64_t fnn_random_bits(uint64_t seed, uint64_t stream, uint64_t counter);
extern double fnn_random_uniform(uint64_t seed, uint64_t stream, uint64_t counter); /* [0, 1) */
extern double fnn_random_normal(uint64_t seed, uint64_t stream, uint64_t counter);	/* N(0, 1) */
/* out[i] = scale * fnn_random_normal(seed, stream, from + i), at less than half the cost; from is even */
extern void fnn_random_normals(uint64_t seed, uint64_t stream, uint64_t from, double scale, int64_t n, fnn_real *out);
extern uint64_t fnn_random_below(uint64_t seed, uint64_t stream, uint64_t counter,
								 uint64_t bound);	/* 0 .. bound - 1, unbiased to 2^-32 */
/* index[n] becomes a uniformly random permutation of 0 .. n - 1 */
extern void fnn_random_permutation(uint64_t seed, uint64_t stream, int64_t n, int64_t *index);

/* ---------------------------------------------------------------- hashes and checks */

/* 64-bit hash of bytes, chained through seed: fingerprints and checksums, not cryptography. */
extern uint64_t fnn_hash(uint64_t seed, const void *bytes, size_t size);
/* True when all n are finite. */
extern bool fnn_all_finite(const fnn_real *value, size_t n);

#endif							/* FNN_BASE_BASE_H */

/*
 * tape.h
 *	  The record of operations that gradients flow back along.
 */
#ifndef FNN_BASE_TAPE_H
#define FNN_BASE_TAPE_H

#include "nn/base/tensor.h"

/* ---------------------------------------------------------------- tape */

typedef struct FnnNode FnnNode;

/*
 * Records operations in the order they run, which is a topological order.
 * With record false nothing is recorded, no gradient is allocated and dropout
 * does nothing: inference is the same model function.
 */
typedef struct FnnTape
{
	const FnnHost *host;
	FnnArena   *arena;
	bool		record;
	uint64_t	seed;			/* of dropout */
	uint64_t	stream;			/* of dropout: unique per (step, shard) */
	uint64_t	draws;			/* dropout operations so far: each has its own sub-stream */
	double		loss;			/* sum of all loss operations so far */
	FnnNode    *last;
} FnnTape;

/* Starts a tape on an arena: forgets what was recorded before, and leaves the arena as it is. */
extern void fnn_tape_begin(FnnTape *tape, FnnArena *arena, bool record, uint64_t seed, uint64_t stream);
/* A fresh tensor on the arena; with_grad (and recording) gives it a zeroed gradient. */
extern FnnTensor *fnn_tensor(FnnTape *tape, int64_t rows, int64_t cols, bool with_grad);
/* A tensor over the caller's values, without gradient. */
extern FnnTensor *fnn_constant(FnnTape *tape, int64_t rows, int64_t cols, fnn_real *value);
/* Runs every recorded backward, last first.  Loss operations have already put their gradients in. */
extern void fnn_tape_backward(FnnTape *tape);

static inline bool
fnn_has_grad(const FnnTensor *tensor)
{
	return tensor->grad != NULL || tensor->sparse != NULL;
}

/* ---------------------------------------------------------------- operations */

/* The sequences of a packed batch: tokens offset[s] .. offset[s + 1] - 1 are sequence s. */
typedef struct FnnSequences
{
	int32_t		count;
	const int32_t *offset;		/* [count + 1], offset[0] = 0 */
	/*
	 * [tokens] how many of its sequence's tokens each token sees, itself among
	 * them and never fewer than the one before; NULL: those up to itself.
	 */
	const int32_t *reach;
} FnnSequences;

typedef enum FnnActivation
{
	FNN_IDENTITY,
	FNN_RELU,
	FNN_GELU,					/* exact: x * Phi(x) */
	FNN_SIGMOID,
	FNN_TANH
} FnnActivation;

/*
 * Columns first .. first + cols - 1 of a table, over the table's own memory and
 * gradient.  fnn_embed, fnn_neighbours and the softmax and gBCE losses take one
 * as their table; other operations fail with FNN_INVALID.
 */
extern FnnTensor *fnn_columns(FnnTape *tape, FnnTensor *table, int64_t first, int64_t cols);
/* x as a constant: no gradient flows back to x from what is computed with it. */
extern FnnTensor *fnn_detach(FnnTape *tape, FnnTensor *x);

#endif							/* FNN_BASE_TAPE_H */

/*
 * tape_private.h
 *	  What the files of nn that implement operations share: the recorded node,
 *	  results, views, dropout masks.
 *
 * An operation computes its result with fnn_result(), and when fnn_record()
 * returns a node, keeps there what its backward needs:
 *
 *		FnnTensor  *y = fnn_result(tape, n, d, fnn_has_grad(x));
 *		... forward into y->value ...
 *		node = fnn_record(tape, op_backward, y);
 *		if (node != NULL)
 *			node->in[0] = x;
 *		return y;
 *
 * A result has a gradient exactly when recording and when an input has one;
 * only then is its node recorded, so backward functions may rely on
 * node->out->grad and look at each input's gradient before they work for it.
 * A backward owns its result's gradient: it may overwrite it.
 */
#ifndef FNN_BASE_TAPE_PRIVATE_H
#define FNN_BASE_TAPE_PRIVATE_H

#include "nn/base/kernels.h"
#include "nn/base/tape.h"

#define FNN_NODE_INPUTS 6

typedef void (*FnnBackward) (FnnTape *tape, FnnNode *node);

/* The mask of one dropout operation, see fnn_dropout_draw(). */
typedef struct FnnDropout
{
	uint32_t	key[2];
	int32_t		threshold;		/* of 2^24: below it an element is dropped */
	fnn_real	scale;			/* of what is kept: 1 / (1 - p) */
} FnnDropout;

/*
 * One recorded operation.  The inputs, and what saved points to, must live on
 * the tape's arena or longer; that includes arrays of ids the caller passed.
 */
struct FnnNode
{
	FnnBackward backward;
	FnnNode    *previous;
	FnnTensor  *out;
	FnnTensor  *in[FNN_NODE_INPUTS];	/* unused ones NULL */
	const void *saved;			/* operation's own */
	FnnActivation activation;
	double		scale;
	FnnDropout	dropout;
};

/* y of an operation: contents undefined, a zeroed gradient when recording and any_grad. */
extern FnnTensor *fnn_result(FnnTape *tape, int64_t rows, int64_t cols, bool any_grad);
/* The node of the operation that made out, zeroed but for what is given; NULL: not to be recorded. */
extern FnnNode *fnn_record(FnnTape *tape, FnnBackward backward, FnnTensor *out);

/* Reals from one row of a tensor's values, and of its dense gradient, to the next. */
static inline int64_t
fnn_stride(const FnnTensor *tensor)
{
	return tensor->stride == 0 ? tensor->cols : tensor->stride;
}

/* For operations that read their input, which may be NULL, as one dense matrix: a view of columns fails. */
static inline void
fnn_refuse_view(const FnnTape *tape, const FnnTensor *tensor)
{
	if (tensor != NULL && tensor->stride != 0)
		fnn_fail(tape->host, FNN_INVALID, "a view of a table's columns can only be a table");
}

/* For operations that read and write whole matrices: a view of columns fails, and a sparse gradient when recording. */
static inline void
fnn_check_dense(const FnnTape *tape, const FnnTensor *x)
{
	fnn_refuse_view(tape, x);
	if (tape->record && x->sparse != NULL)
		fnn_fail(tape->host, FNN_INVALID, "this operation cannot have a sparse gradient");
}

/*
 * The mask of one dropout operation.  Element i is dropped or kept by a pure
 * function of (tape->seed, tape->stream, draw number, i): backward computes
 * the mask again instead of keeping it.  Taking a draw advances tape->draws;
 * when not recording, or p = 0, the threshold is 0: everything is kept and
 * the scale is 1.  p outside 0 <= p < 1 fails.
 */
extern FnnDropout fnn_dropout_draw(FnnTape *tape, double p);
/* mask[i] = 0 or scale, for the elements first .. first + n - 1 of the draw. */
extern void fnn_dropout_mask(const FnnDropout *dropout, uint64_t first, int64_t n, fnn_real *mask);

/*
 * The same for one element, to be inlined in a kernel's own loop.  The index
 * counts modulo 2^32.  Two rounds of multiply and shift, each keyed, on 32-bit
 * lanes: every SIMD width has those.
 */
static inline fnn_real
fnn_dropout_factor(const FnnDropout *dropout, uint32_t index)
{
	uint32_t	hash = index * UINT32_C(0x9E3779B9) + dropout->key[0];

	hash ^= hash >> 16;
	hash *= UINT32_C(0x7FEB352D);
	hash += dropout->key[1];
	hash ^= hash >> 15;
	hash *= UINT32_C(0x846CA68B);
	hash ^= hash >> 16;
	return (int32_t) (hash >> 8) < dropout->threshold ? 0 : dropout->scale;
}

#endif							/* FNN_BASE_TAPE_PRIVATE_H */

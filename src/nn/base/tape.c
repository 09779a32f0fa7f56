/*
 * tape.c
 *	  Records operations, and runs back through them.
 *
 * Nodes are a list, newest first, which is the order that backward needs.  What
 * has no gradient is not recorded.
 */
#include "nn/base/tape_private.h"

void
fnn_tape_begin(FnnTape *tape, FnnArena *arena, bool record, uint64_t seed, uint64_t stream)
{
	tape->host = fnn_arena_host(arena);
	tape->arena = arena;
	tape->record = record;
	tape->seed = seed;
	tape->stream = stream;
	tape->draws = 0;
	tape->loss = 0;
	tape->last = NULL;
}

FnnTensor *
fnn_constant(FnnTape *tape, int64_t rows, int64_t cols, fnn_real *value)
{
	FnnTensor  *tensor = fnn_alloc(tape->arena, sizeof(FnnTensor));

	tensor->rows = rows;
	tensor->cols = cols;
	tensor->value = value;
	tensor->grad = NULL;
	tensor->sparse = NULL;
	tensor->fresh = false;
	tensor->stride = 0;
	tensor->column = 0;
	return tensor;
}

FnnTensor *
fnn_tensor(FnnTape *tape, int64_t rows, int64_t cols, bool with_grad)
{
	FnnTensor  *tensor = fnn_constant(tape, rows, cols, fnn_alloc_reals(tape->arena, rows, cols));

	if (with_grad && tape->record)
	{
		tensor->grad = fnn_alloc_reals(tape->arena, rows, cols);
		memset(tensor->grad, 0, (size_t) (rows * cols) * sizeof(fnn_real));
	}
	return tensor;
}

FnnTensor *
fnn_columns(FnnTape *tape, FnnTensor *table, int64_t first, int64_t cols)
{
	FnnTensor  *view;

	if (first < 0 || cols < 1 || first > table->cols - cols)
		fnn_fail(tape->host, FNN_INVALID, "a table of %lld columns has no %lld columns from column %lld on",
				 (long long) table->cols, (long long) cols, (long long) first);
	view = fnn_constant(tape, table->rows, cols, table->value + first);
	if (tape->record && table->grad != NULL)
		view->grad = table->grad + first;
	if (tape->record)
		view->sparse = table->sparse;
	view->stride = fnn_stride(table);
	view->column = table->column + first;
	return view;
}

FnnTensor *
fnn_detach(FnnTape *tape, FnnTensor *x)
{
	fnn_refuse_view(tape, x);
	return fnn_constant(tape, x->rows, x->cols, x->value);
}

FnnTensor *
fnn_result(FnnTape *tape, int64_t rows, int64_t cols, bool any_grad)
{
	return fnn_tensor(tape, rows, cols, any_grad);
}

FnnNode *
fnn_record(FnnTape *tape, FnnBackward backward, FnnTensor *out)
{
	FnnNode    *node;

	if (!tape->record || out->grad == NULL)
		return NULL;
	node = fnn_zalloc(tape->arena, sizeof(FnnNode));
	node->backward = backward;
	node->out = out;
	node->previous = tape->last;
	tape->last = node;
	return node;
}

void
fnn_tape_backward(FnnTape *tape)
{
	for (FnnNode *node = tape->last; node != NULL; node = node->previous)
	{
		fnn_poll(tape->host);
		node->backward(tape, node);
	}
	tape->last = NULL;
}

/* ---------------------------------------------------------------- dropout masks */

FnnDropout
fnn_dropout_draw(FnnTape *tape, double p)
{
	FnnDropout	dropout = {{0, 0}, 0, 1};
	uint64_t	key;

	if (!(p >= 0 && p < 1))
		fnn_fail(tape->host, FNN_INVALID, "a dropout probability of %g is not in the range 0 <= p < 1", p);
	if (!tape->record || p == 0)
		return dropout;
	key = fnn_random_bits(tape->seed, tape->stream, tape->draws++);
	dropout.key[0] = (uint32_t) key;
	dropout.key[1] = (uint32_t) (key >> 32);
	dropout.threshold = (int32_t) lrint(p * 0x1p24);
	if (dropout.threshold >= 1 << 24)
		dropout.threshold = (1 << 24) - 1;
	dropout.scale = (fnn_real) (1 / (1 - dropout.threshold * 0x1p-24));
	return dropout;
}

FNN_CLONES void
fnn_dropout_mask(const FnnDropout *dropout, uint64_t first, int64_t n, fnn_real *mask)
{
	FnnDropout	copy = *dropout;

	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		mask[i] = fnn_dropout_factor(&copy, (uint32_t) first + (uint32_t) i);
}

/*
 * batch.c
 *	  Packed batches of histories, and parts of them.
 *
 * Histories lie end to end without padding, so a batch costs as much as its
 * events; offsets say where each sequence begins.  A part of a batch shares its
 * columns.
 */
#include "model/data/data.h"

FmoeBatch *
fmoe_batch(FnnArena *arena, const FmoeEvents *events, int64_t n, const int64_t *begin, const int64_t *end,
		   int max_length)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeBatch  *batch = fnn_zalloc(arena, sizeof(FmoeBatch));
	int32_t    *offset = fnn_alloc(arena, fnn_mul_size(host, n + 1, sizeof(int32_t)));
	int32_t    *last = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(int32_t)));
	int64_t		tokens = 0;
	int32_t    *position;

	offset[0] = 0;
	for (int64_t i = 0; i < n; i++)
	{
		int64_t		length = end[i] - begin[i];

		if (length > max_length)
			length = max_length;
		if (length < 0)
			fnn_fail(host, FNN_INVALID, "a history ends before it begins");
		tokens += length;
		if (tokens > INT32_MAX)
			fnn_fail(host, FNN_INVALID, "too many events in a batch");
		offset[i + 1] = (int32_t) tokens;
		last[i] = length > 0 ? (int32_t) tokens - 1 : -1;
	}

	fmoe_events_place(&batch->events, events, tokens, fnn_alloc(arena, fmoe_events_bytes(events, tokens)));
	position = fnn_alloc(arena, fnn_mul_size(host, tokens, sizeof(int32_t)));
	for (int64_t i = 0; i < n; i++)
	{
		int32_t		length = offset[i + 1] - offset[i];

		fmoe_events_copy(&batch->events, offset[i], events, end[i] - length, length);
		for (int32_t k = 0; k < length; k++)
			position[offset[i] + k] = k;
	}
	batch->sequences.count = (int32_t) n;
	batch->sequences.offset = offset;
	batch->n_tokens = tokens;
	batch->position = position;
	batch->last = last;
	return batch;
}

FmoeBatch
fmoe_without_empty(FnnArena *arena, const FmoeBatch *batch, int32_t *of)
{
	const FnnHost *host = fnn_arena_host(arena);
	int32_t		count = batch->sequences.count;
	int32_t    *offset = fnn_alloc(arena, fnn_mul_size(host, (size_t) count + 1, sizeof(int32_t)));
	int32_t    *last = fnn_alloc(arena, fnn_mul_size(host, count, sizeof(int32_t)));
	FmoeBatch	full = *batch;
	int32_t		n = 0;
	int32_t		i;

	offset[0] = 0;
	for (i = 0; i < count; i++)
	{
		if (batch->last[i] < 0)
			continue;
		of[n] = i;
		last[n] = batch->last[i];
		offset[++n] = batch->sequences.offset[i + 1];
	}
	full.sequences.count = n;
	full.sequences.offset = offset;
	full.last = last;
	return full;
}

FmoeBatch
fmoe_batch_part(FnnArena *arena, const FmoeBatch *batch, int32_t first, int32_t n)
{
	int32_t		begin = batch->sequences.offset[first];
	int32_t    *offset = fnn_alloc(arena, sizeof(int32_t) * ((size_t) n + 1));
	int32_t    *last = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	FmoeBatch	part = *batch;

	for (int32_t i = 0; i <= n; i++)
		offset[i] = batch->sequences.offset[first + i] - begin;
	for (int32_t i = 0; i < n; i++)
		last[i] = batch->last[first + i] - begin;
	part.sequences.count = n;
	part.sequences.offset = offset;
	part.n_tokens = offset[n];
	part.events = fmoe_events_from(&batch->events, begin);
	part.position += begin;
	part.last = last;
	return part;
}

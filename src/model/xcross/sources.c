/*
 * sources.c
 *	  A base that learns from the events of several sources, such as a view over tables
 *	  of several shops: what was chosen in one is told apart from that one's items alone.
 *
 * Else the softmax would mostly learn which shop a history is of.
 */
#include "model/xcross/base.h"

#include <string.h>

#define POLL_EVERY 0xffff

/* The most different sources, of which each item has a bit. */
#define SOURCES_MAX 64

double
fmoe_base_sources_bytes(double n_items)
{
	/* bits of each item, and its places in the lists */
	return n_items * (sizeof(uint64_t) + SOURCES_MAX * sizeof(int32_t)) + (SOURCES_MAX + 1) * sizeof(int64_t);
}

void
fmoe_base_prepare_sources(FmoeBasePrepared *prepared, FnnArena *arena, const FmoeDataset *data)
{
	uint64_t   *bits = fnn_zalloc(arena, sizeof(uint64_t) * ((size_t) data->n_items + 1));
	int64_t    *of_source = fnn_zalloc(arena, sizeof(int64_t) * (SOURCES_MAX + 1));
	int32_t    *items;
	int64_t		n = 0;

	for (int64_t event = 0; event < data->n_events; event++)
	{
		int32_t		source = data->events.source[event];

		if ((event & POLL_EVERY) == 0)
			fnn_poll(fnn_arena_host(arena));
		if (source < 0 || source >= SOURCES_MAX)
			fnn_fail(fnn_arena_host(arena), FNN_INVALID, "the events come from more than %d sources",
					 SOURCES_MAX - 1);
		bits[data->events.item[event]] |= UINT64_C(1) << source;
		if (source >= prepared->sources)
			prepared->sources = source + 1;
	}
	for (int32_t i = 0; i < data->n_items; i++)
		n += __builtin_popcountll(bits[i]);
	if (n > FMOE_BASE_SOURCES * (int64_t) data->n_items)
		fnn_fail(fnn_arena_host(arena), FNN_INVALID, "items come from more than %d sources on average",
				 FMOE_BASE_SOURCES);
	n = 0;
	items = fnn_alloc(arena, sizeof(int32_t) * (size_t) (data->n_items + 1) * (size_t) (prepared->sources + 1));
	for (int32_t s = 0; s < prepared->sources; s++)
	{
		for (int32_t i = 0; i < data->n_items; i++)
			if ((bits[i] >> s & 1) != 0)
				items[n++] = i;
		of_source[s + 1] = n;
	}
	prepared->of_source = of_source;
	prepared->items = items;
}

/* The place of an item among those of a source; -1: it is none of them. */
static int32_t
place_in(const FmoeBasePrepared *prepared, int32_t source, int32_t item)
{
	int64_t		first = prepared->of_source[source];

	return (int32_t) fnn_find_ascending(prepared->of_source[source + 1] - first, prepared->items + first, item);
}

/* The source whose items a token's target is told apart from: the event's own, or the first that has the target. */
static int32_t
source_of(const FmoeBasePrepared *prepared, const FmoeBatch *batch, int64_t token, int32_t target)
{
	int32_t		source = batch->events.source[token];

	if (place_in(prepared, source, target) >= 0)
		return source;
	for (source = 0; source < prepared->sources - 1; source++)
		if (place_in(prepared, source, target) >= 0)
			break;
	return source;
}

void
fmoe_base_add_losses(const FmoeBasePrepared *prepared, FnnTape *tape, FnnTensor *states, FnnTensor *table,
					 const FmoeBatch *batch, const FmoeGoal *goal)
{
	for (int32_t s = 0; s < prepared->sources; s++)
	{
		int64_t		first = prepared->of_source[s];
		int32_t    *token = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->n_tokens);
		int32_t    *target = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->n_tokens);
		float	   *weight = fnn_alloc(tape->arena, sizeof(float) * (size_t) batch->n_tokens);
		FmoeGoal	part = *goal;
		int64_t		n = 0;

		for (int64_t t = 0; t < batch->n_tokens; t++)
		{
			if (goal->target[t] < 0 || source_of(prepared, batch, t, goal->target[t]) != s)
				continue;
			token[n] = (int32_t) t;
			target[n] = place_in(prepared, s, goal->target[t]);
			weight[n++] = goal->target_weight != NULL ? goal->target_weight[t] : 1;
		}
		if (n == 0)
			continue;
		part.target = target;
		part.target_weight = goal->target_weight != NULL ? weight : NULL;
		fmoe_add_loss(tape, fnn_rows(tape, states, token, n),
					  fnn_rows(tape, table, prepared->items + first, prepared->of_source[s + 1] - first), &part, NULL);
	}
}

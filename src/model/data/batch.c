/*
 * batch.c
 *	  Packed batches of histories, and parts of them.
 *
 * Histories lie end to end without padding, so a batch costs as much as its
 * events; offsets say where each sequence begins.  A part of a batch shares its
 * columns.
 */
#include "model/data/data.h"
#include "model/data/stream.h"

#include <string.h>

/* ---------------------------------------------------------------- events of a basket, numbered */

/* An event of a basket, and the number it is chosen or ordered by. */
typedef struct Drawn
{
	uint64_t	number;
	int64_t		event;
} Drawn;

static bool
before(const Drawn *a, const Drawn *b)
{
	return a->number != b->number ? a->number < b->number : a->event < b->event;
}

/* Shell's sort: qsort takes memory of its own. */
static void
sort_drawn(int64_t n, Drawn *drawn)
{
	for (int64_t gap = n / 2; gap > 0; gap = gap == 2 ? 1 : (int64_t) ((double) gap / 2.2))
		for (int64_t i = gap; i < n; i++)
		{
			Drawn		moved = drawn[i];
			int64_t		at = i;

			for (; at >= gap && before(&moved, &drawn[at - gap]); at -= gap)
				drawn[at] = drawn[at - gap];
			drawn[at] = moved;
		}
}

/*
 * The events begin .. end - 1, a basket, by the hash of their item and of all the
 * basket's items: what follows depends neither on the order of the items nor on
 * who asks, and is another item in another basket.
 */
static void
by_hash(const FmoeEvents *events, int64_t begin, int64_t end, Drawn *drawn)
{
	uint64_t	basket = 0;

	for (int64_t i = begin; i < end; i++)
		basket += fnn_hash(0, &events->item[i], sizeof(int32_t));
	for (int64_t i = begin; i < end; i++)
	{
		drawn[i - begin].number = fnn_hash(basket, &events->item[i], sizeof(int32_t));
		drawn[i - begin].event = i;
	}
	sort_drawn(end - begin, drawn);
}

/* n of the events begin .. end - 1, a basket, to places at .. of to: those with the least hash. */
static void
cut_basket(FnnArena *arena, const FmoeEvents *to, int64_t at, const FmoeEvents *from, int64_t begin, int64_t end,
		   int64_t n)
{
	FnnMark		mark = fnn_arena_mark(arena);
	Drawn	   *drawn = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), end - begin, sizeof(Drawn)));
	int64_t    *index = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), n, sizeof(int64_t)));

	by_hash(from, begin, end, drawn);
	for (int64_t i = 0; i < n; i++)
		index[i] = drawn[i].event;
	fmoe_events_gather(to, at, from, n, index);
	fnn_arena_reset(arena, mark);
}

/* The last n of the events begin .. end - 1 to places at .. of to. */
static void
take_last(FnnArena *arena, const FmoeEvents *to, int64_t at, const FmoeEvents *from, int64_t begin, int64_t end,
		  int64_t n)
{
	int64_t		first = end - n;
	int64_t		of_basket = first > begin && n > 0 ? fmoe_basket_begin(from, begin, first) : first;
	int64_t		cut = 0;

	if (of_basket < first)
	{
		int64_t		whole = fmoe_basket_end(from, first, end);

		cut = whole - first;
		cut_basket(arena, to, at, from, of_basket, whole, cut);
	}
	fmoe_events_copy(to, at + cut, from, first + cut, n - cut);
}

/* ---------------------------------------------------------------- packing */

/* Whether any sequence has two events of one basket. */
static bool
has_baskets(const FmoeBatch *batch)
{
	const int32_t *basket = batch->events.basket;

	for (int32_t s = 0; basket != NULL && s < batch->sequences.count; s++)
		for (int32_t t = batch->sequences.offset[s] + 1; t < batch->sequences.offset[s + 1]; t++)
			if (basket[t] == basket[t - 1])
				return true;
	return false;
}

/* Positions and what else follows from baskets. */
static void
pack_baskets(FnnArena *arena, FmoeBatch *batch)
{
	const FnnHost *host = fnn_arena_host(arena);
	size_t		bytes = fnn_mul_size(host, batch->n_tokens, sizeof(int32_t));
	int32_t		count = batch->sequences.count;
	FmoeBaskets *baskets = fnn_zalloc(arena, sizeof(FmoeBaskets));
	int32_t    *offset = fnn_alloc(arena, fnn_mul_size(host, (size_t) count + 1, sizeof(int32_t)));
	int32_t    *begin = fnn_alloc(arena, bytes);
	int32_t    *size = fnn_alloc(arena, bytes);
	int32_t    *of = fnn_alloc(arena, bytes);
	int32_t    *reach = fnn_alloc(arena, bytes);
	int32_t    *position = fnn_alloc(arena, bytes);
	int32_t		n = 0;

	offset[0] = 0;
	for (int32_t s = 0; s < count; s++)
	{
		int32_t		first = batch->sequences.offset[s];
		int32_t		end = batch->sequences.offset[s + 1];
		int32_t		next;

		for (int32_t t = first; t < end; t = next, n++)
		{
			next = (int32_t) fmoe_basket_end(&batch->events, t, end);
			begin[n] = t;
			size[n] = next - t;
			for (int32_t k = t; k < next; k++)
			{
				of[k] = n;
				reach[k] = next - first;
				position[k] = n - offset[s];
			}
		}
		offset[s + 1] = n;
	}
	baskets->sequences.count = count;
	baskets->sequences.offset = offset;
	baskets->begin = begin;
	baskets->count = size;
	baskets->of = of;
	batch->baskets = baskets;
	batch->sequences.reach = reach;
	batch->position = position;
}

/* Positions where every token has its own. */
static int32_t *
pack_positions(FnnArena *arena, const FmoeBatch *batch)
{
	int32_t    *position = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->n_tokens, sizeof(int32_t)));

	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int32_t t = batch->sequences.offset[s]; t < batch->sequences.offset[s + 1]; t++)
			position[t] = t - batch->sequences.offset[s];
	return position;
}

FmoeBatch *
fmoe_batch(FnnArena *arena, const FmoeEvents *events, int64_t n, const int64_t *begin, const int64_t *end,
		   int max_length)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeBatch  *batch = fnn_zalloc(arena, sizeof(FmoeBatch));
	int32_t    *offset = fnn_alloc(arena, fnn_mul_size(host, n + 1, sizeof(int32_t)));
	int32_t    *last = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(int32_t)));
	int64_t		tokens = 0;

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
	for (int64_t i = 0; i < n; i++)
		take_last(arena, &batch->events, offset[i], events, begin[i], end[i], offset[i + 1] - offset[i]);
	batch->sequences.count = (int32_t) n;
	batch->sequences.offset = offset;
	batch->n_tokens = tokens;
	batch->last = last;
	if (has_baskets(batch))
		pack_baskets(arena, batch);
	else
		batch->position = pack_positions(arena, batch);
	return batch;
}

void
fmoe_batch_users(FnnArena *arena, FmoeBatch *batch, const FmoeDataset *data, const int64_t *begin)
{
	int32_t    *user = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->sequences.count, sizeof(int32_t)));

	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int64_t		low = 0;
		int64_t		high = data->n_users - 1;

		/* the last user whose events begin there: those before have none */
		while (low < high)
		{
			int64_t		middle = low + (high - low + 1) / 2;

			if (data->offset[middle] <= begin[s])
				low = middle;
			else
				high = middle - 1;
		}
		user[s] = (int32_t) low;
	}
	batch->user = user;
	batch->user_features = data->user_features;
}

/* ---------------------------------------------------------------- an order inside baskets */

/* Puts the events of a batch, which it shares, into the order of drawn[n_tokens]. */
static void
put_in_order(FnnArena *arena, FmoeBatch *batch, const Drawn *drawn)
{
	const FnnHost *host = fnn_arena_host(arena);
	int64_t    *index = fnn_alloc(arena, fnn_mul_size(host, batch->n_tokens, sizeof(int64_t)));
	FmoeEvents	events;

	for (int64_t t = 0; t < batch->n_tokens; t++)
		index[t] = drawn[t].event;
	fmoe_events_place(&events, &batch->events, batch->n_tokens,
					  fnn_alloc(arena, fmoe_events_bytes(&batch->events, batch->n_tokens)));
	fmoe_events_gather(&events, 0, &batch->events, batch->n_tokens, index);
	batch->events = events;
	batch->ordered = true;
}

static Drawn *
new_drawn(FnnArena *arena, const FmoeBatch *batch)
{
	return fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->n_tokens, sizeof(Drawn)));
}

void
fmoe_batch_draw(FnnArena *arena, FmoeBatch *batch, uint64_t seed, uint64_t stream)
{
	const FmoeBaskets *baskets = batch->baskets;
	Drawn	   *drawn;

	if (baskets == NULL)
		return;
	drawn = new_drawn(arena, batch);
	for (int64_t t = 0; t < batch->n_tokens; t++)
		drawn[t] = (Drawn) {fnn_random_bits(seed, fmoe_stream(FMOE_STREAM_BASKETS, stream), (uint64_t) t), t};
	for (int32_t b = 0; b < baskets->sequences.offset[baskets->sequences.count]; b++)
		sort_drawn(baskets->count[b], drawn + baskets->begin[b]);
	put_in_order(arena, batch, drawn);
}

FmoeBatch
fmoe_batch_ordered(FnnArena *arena, const FmoeBatch *batch)
{
	const FmoeBaskets *baskets = batch->baskets;
	FmoeBatch	ordered = *batch;
	Drawn	   *drawn;

	if (baskets == NULL || batch->ordered)
		return ordered;
	drawn = new_drawn(arena, batch);
	for (int32_t b = 0; b < baskets->sequences.offset[baskets->sequences.count]; b++)
		by_hash(&batch->events, baskets->begin[b], baskets->begin[b] + baskets->count[b], drawn + baskets->begin[b]);
	put_in_order(arena, &ordered, drawn);
	return ordered;
}

FmoeBatch
fmoe_batch_in_turn(FnnArena *arena, const FmoeBatch *batch)
{
	FmoeBatch	turns = fmoe_batch_ordered(arena, batch);

	if (turns.baskets == NULL)
		return turns;
	turns.baskets = NULL;
	turns.sequences.reach = NULL;
	turns.position = pack_positions(arena, &turns);
	return turns;
}

/* ---------------------------------------------------------------- parts */

/* The baskets of a batch that is a part of another: of its tokens from first on, in the sequences index[count]. */
static FmoeBaskets *
baskets_part(FnnArena *arena, const FmoeBaskets *whole, int32_t first, int32_t n_tokens, int32_t count,
			 const int32_t *index)
{
	FmoeBaskets *part = fnn_zalloc(arena, sizeof(FmoeBaskets));
	int32_t		first_basket = n_tokens > 0 ? whole->of[first] : 0;
	int32_t		n = n_tokens > 0 ? whole->of[first + n_tokens - 1] + 1 - first_basket : 0;
	int32_t    *offset = fnn_alloc(arena, sizeof(int32_t) * ((size_t) count + 1));
	int32_t    *begin = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	int32_t    *of = fnn_alloc(arena, sizeof(int32_t) * (size_t) n_tokens);

	offset[0] = 0;
	for (int32_t s = 0; s < count; s++)
		offset[s + 1] = offset[s] + whole->sequences.offset[index[s] + 1] - whole->sequences.offset[index[s]];
	for (int32_t b = 0; b < n; b++)
		begin[b] = whole->begin[first_basket + b] - first;
	for (int32_t t = 0; t < n_tokens; t++)
		of[t] = whole->of[first + t] - first_basket;
	part->sequences.count = count;
	part->sequences.offset = offset;
	part->begin = begin;
	part->count = whole->count + first_basket;
	part->of = of;
	return part;
}

FmoeBatch
fmoe_without_empty(FnnArena *arena, const FmoeBatch *batch, int32_t *of)
{
	const FnnHost *host = fnn_arena_host(arena);
	int32_t		count = batch->sequences.count;
	int32_t    *offset = fnn_alloc(arena, fnn_mul_size(host, (size_t) count + 1, sizeof(int32_t)));
	int32_t    *last = fnn_alloc(arena, fnn_mul_size(host, count, sizeof(int32_t)));
	double	   *now = batch->now != NULL ? fnn_alloc(arena, fnn_mul_size(host, count, sizeof(double))) : NULL;
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
		if (now != NULL)
			now[n] = batch->now[i];
		offset[++n] = batch->sequences.offset[i + 1];
	}
	full.sequences.count = n;
	full.sequences.offset = offset;
	full.last = last;
	if (batch->user != NULL)
	{
		int32_t    *user = fnn_alloc(arena, fnn_mul_size(host, count, sizeof(int32_t)));

		for (i = 0; i < n; i++)
			user[i] = batch->user[of[i]];
		full.user = user;
	}
	full.now = now;
	if (batch->private_rows != NULL)
	{
		int32_t    *row = fnn_alloc(arena, fnn_mul_size(host, count, sizeof(int32_t)));

		for (i = 0; i < n; i++)
			row[i] = batch->private_of[of[i]];
		full.private_of = row;
	}
	if (batch->baskets != NULL)
		full.baskets = baskets_part(arena, batch->baskets, 0, (int32_t) batch->n_tokens, n, of);
	return full;
}

FmoeBatch
fmoe_batch_part(FnnArena *arena, const FmoeBatch *batch, int32_t first, int32_t n)
{
	int32_t		begin = batch->sequences.offset[first];
	int32_t    *offset = fnn_alloc(arena, sizeof(int32_t) * ((size_t) n + 1));
	int32_t    *last = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	int32_t    *index = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	FmoeBatch	part = *batch;

	for (int32_t i = 0; i <= n; i++)
		offset[i] = batch->sequences.offset[first + i] - begin;
	for (int32_t i = 0; i < n; i++)
	{
		last[i] = batch->last[first + i] < 0 ? -1 : batch->last[first + i] - begin;
		index[i] = first + i;
	}
	part.sequences.count = n;
	part.sequences.offset = offset;
	part.n_tokens = offset[n];
	part.events = fmoe_events_from(&batch->events, begin);
	part.position += begin;
	part.last = last;
	if (batch->user != NULL)
		part.user += first;
	if (batch->now != NULL)
		part.now += first;
	if (batch->private_rows != NULL)
		part.private_of += first;
	if (batch->baskets == NULL)
		return part;
	part.sequences.reach += begin;
	part.baskets = baskets_part(arena, batch->baskets, begin, offset[n], n, index);
	return part;
}

/* ---------------------------------------------------------------- different items */

#define FEW_ITEMS 512			/* repeats among so many are found by looking */

int32_t
fmoe_number_items(FnnArena *arena, int64_t n, const int32_t *item, int32_t n_items, int32_t *distinct, int32_t *row)
{
	int32_t		count = 0;
	int32_t    *number = NULL;

	if (n > FEW_ITEMS)
	{
		number = fnn_alloc(arena, sizeof(int32_t) * (size_t) n_items);
		memset(number, 0xff, sizeof(int32_t) * (size_t) n_items);
	}
	for (int64_t i = 0; i < n; i++)
	{
		int32_t		k = 0;

		if (number != NULL)
			k = number[item[i]] >= 0 ? number[item[i]] : count;
		else
			while (k < count && distinct[k] != item[i])
				k++;
		if (k == count)
		{
			distinct[count++] = item[i];
			if (number != NULL)
				number[item[i]] = k;
		}
		row[i] = k;
	}
	return count;
}

/*
 * pairs.c
 *	  Sparse matrices of items by items: counted row by row, and read by histories.
 *
 * A row is summed up in an array as long as the catalogue, and of it the
 * largest entries are kept.  So memory is bounded by what is kept, however many
 * pairs there are.
 */
#include "model/count/count.h"
#include "model/expert/expert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ENTRIES 65536
#define POLL_EVERY 0xffff		/* pairs, or users */
#define SHARE_SCALE 100.0		/* of what is below 1, before the logarithm */

const FnnDtype fmoe_pairs_dtypes[] = {FNN_I64, FNN_I32, FNN_F32};
const FmoeHolds fmoe_pairs_holds[] = {FMOE_HOLDS_OFFSETS, FMOE_HOLDS_ITEMS, FMOE_HOLDS_NUMBERS};

/* ---------------------------------------------------------------- windows */

int64_t
fmoe_window_begin(const FmoeDataset *data, int64_t user, int64_t end, int64_t limit)
{
	int64_t		first = data->offset[user];
	int64_t		begin = end - limit;
	int64_t		basket_begin;
	int64_t		basket_end;

	if (begin <= first)
		return end < first ? end : first;
	basket_begin = fmoe_basket_begin(&data->events, first, begin);
	if (basket_begin == begin)
		return begin;
	basket_end = fmoe_basket_end(&data->events, begin, end);
	return basket_end - basket_begin > FMOE_WHOLE_BASKET_MAX ? basket_end : basket_begin;
}

FmoeOccurrence *
fmoe_occurrences(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, int64_t limit, int64_t *start)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeOccurrence *list = NULL;

	memset(start, 0, sizeof(int64_t) * ((size_t) data->n_items + 1));
	/* the first pass counts, the second fills; start[i + 1] is where item i's next one goes */
	for (int pass = 0; pass < 2; pass++)
	{
		for (int64_t user = 0; user < data->n_users; user++)
		{
			int64_t		end = fmoe_train_end(data, holdout, user);

			for (int64_t event = fmoe_window_begin(data, user, end, limit); event < end; event++)
			{
				int64_t    *place = &start[data->events.item[event] + 1];

				if (pass > 0)
					list[*place] = (FmoeOccurrence) {.event = event, .user = user};
				(*place)++;
			}
			if ((user & POLL_EVERY) == 0)
				fnn_poll(host);
		}
		if (pass > 0)
			break;
		for (int32_t i = 0; i < data->n_items; i++)
			start[i + 1] += start[i];
		list = fnn_alloc(arena, fnn_mul_size(host, start[data->n_items], sizeof(FmoeOccurrence)));
		for (int32_t i = data->n_items; i > 0; i--)
			start[i] = start[i - 1];
		start[0] = 0;
	}
	return list;
}

/* ---------------------------------------------------------------- counting */

struct FmoePairChunk
{
	FmoePairChunk *next;
	int32_t		n;
	int32_t		item[CHUNK_ENTRIES];
	float		value[CHUNK_ENTRIES];
};

double
fmoe_pairs_bytes(double n_pairs, double n_items)
{
	double		entries = fmin(n_pairs, FMOE_NEIGHBOURS_MAX * n_items);

	/* the chunks, and the arrays that they become */
	return 2 * entries * (sizeof(int32_t) + sizeof(float)) + sizeof(FmoePairChunk) +
		n_items * (3 * sizeof(double) + sizeof(int32_t) + sizeof(int64_t));
}

FmoePairCount *
fmoe_pairs_begin(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoePairCount *rows = fnn_zalloc(arena, sizeof(FmoePairCount));
	size_t		n = (size_t) data->n_items;

	rows->arena = arena;
	rows->n_items = data->n_items;
	rows->offset = fnn_alloc(arena, fnn_mul_size(host, n + 1, sizeof(int64_t)));
	rows->scale = fnn_zalloc(arena, fnn_mul_size(host, n, sizeof(double)));
	rows->sum = fnn_zalloc(arena, fnn_mul_size(host, n, sizeof(double)));
	rows->row_scale = rows->scale;
	if (!fmoe_events_even(&data->events))
		rows->row_scale = fnn_zalloc(arena, fnn_mul_size(host, n, sizeof(double)));
	rows->touched = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(int32_t)));
	rows->offset[0] = 0;
	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);

		for (int64_t event = data->offset[user]; event < end; event++)
		{
			rows->scale[data->events.item[event]] += fmoe_event_weight(&data->events, event);
			if (rows->row_scale != rows->scale)
				rows->row_scale[data->events.item[event]]++;
		}
		if ((user & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	for (int32_t i = 0; i < data->n_items; i++)
		rows->scale[i] = 1 / sqrt(fmax(rows->scale[i], 1));
	for (int32_t i = 0; i < data->n_items && rows->row_scale != rows->scale; i++)
		rows->row_scale[i] = 1 / sqrt(fmax(rows->row_scale[i], 1));
	return rows;
}

static int
ascending(const void *a, const void *b)
{
	int32_t		x = *(const int32_t *) a;
	int32_t		y = *(const int32_t *) b;

	return x < y ? -1 : x > y;
}

static void
put_entry(FmoePairCount *rows, int32_t item, float value)
{
	if (rows->last == NULL || rows->last->n == CHUNK_ENTRIES)
	{
		FmoePairChunk *chunk = fnn_alloc(rows->arena, sizeof(FmoePairChunk));

		chunk->next = NULL;
		chunk->n = 0;
		if (rows->last == NULL)
			rows->first = chunk;
		else
			rows->last->next = chunk;
		rows->last = chunk;
	}
	rows->last->item[rows->last->n] = item;
	rows->last->value[rows->last->n++] = value;
	rows->n++;
}

void
fmoe_pairs_keep(FmoePairCount *rows, int32_t row)
{
	int32_t		best[FMOE_NEIGHBOURS_MAX];
	fnn_real	score[FMOE_NEIGHBOURS_MAX];
	FnnTopk		topk;

	/* by ascending item, so that which of equal ones are kept does not depend on the order of the pairs */
	qsort(rows->touched, (size_t) rows->n_touched, sizeof(int32_t), ascending);
	fnn_topk_init(&topk, FMOE_NEIGHBOURS_MAX, best, score);
	for (int32_t k = 0; k < rows->n_touched; k++)
	{
		int32_t		item = rows->touched[k];
		fnn_real	value = (fnn_real) (rows->sum[item] * rows->row_scale[row] * rows->scale[item]);

		fnn_topk_offer(&topk, item, 1, &value);
	}
	qsort(best, (size_t) topk.count, sizeof(int32_t), ascending);
	for (int32_t k = 0; k < topk.count; k++)
		put_entry(rows, best[k], fmoe_counted(rows->sum[best[k]] * rows->row_scale[row] * rows->scale[best[k]]));
	for (int32_t k = 0; k < rows->n_touched; k++)
		rows->sum[rows->touched[k]] = 0;
	rows->since_poll += rows->n_touched;
	rows->n_touched = 0;
	rows->offset[row + 1] = rows->n;
	if (rows->since_poll > POLL_EVERY || (row & 0xff) == 0)
	{
		fnn_poll(fnn_arena_host(rows->arena));
		rows->since_poll = 0;
	}
}

void
fmoe_pairs_end(FmoePairCount *rows, FmoeExpert *expert)
{
	const FnnHost *host = fnn_arena_host(rows->arena);
	int32_t    *item = fnn_alloc(rows->arena, fnn_mul_size(host, rows->n, sizeof(int32_t)));
	float	   *value = fnn_alloc(rows->arena, fnn_mul_size(host, rows->n, sizeof(float)));
	int64_t		at = 0;

	for (const FmoePairChunk *chunk = rows->first; chunk != NULL; chunk = chunk->next)
	{
		memcpy(item + at, chunk->item, sizeof(int32_t) * (size_t) chunk->n);
		memcpy(value + at, chunk->value, sizeof(float) * (size_t) chunk->n);
		at += chunk->n;
	}
	fmoe_set_array(expert, FMOE_PAIRS_OFFSET, FNN_I64, rows->n_items + INT64_C(1), rows->offset);
	fmoe_set_array(expert, FMOE_PAIRS_ITEM, FNN_I32, rows->n, item);
	fmoe_set_array(expert, FMOE_PAIRS_VALUE, FNN_F32, rows->n, value);
}

void
fmoe_pairs_check(const FmoeExpert *expert, const FnnHost *host)
{
	const char *name = expert->class->name;
	const int64_t *offset = expert->array[FMOE_PAIRS_OFFSET].data;
	const int32_t *item = expert->array[FMOE_PAIRS_ITEM].data;
	const float *value = expert->array[FMOE_PAIRS_VALUE].data;
	int64_t		entries = expert->array[FMOE_PAIRS_ITEM].shape[0];
	int32_t		n = expert->n_items;

	if (expert->array[FMOE_PAIRS_OFFSET].shape[0] != (int64_t) n + 1 ||
		expert->array[FMOE_PAIRS_VALUE].shape[0] != entries)
		fnn_fail(host, FNN_FORMAT, "arrays of expert \"%s\" do not fit each other or %d items", name, n);
	if (offset[0] != 0 || offset[n] != entries)
		fnn_fail(host, FNN_FORMAT, "array \"%s.offset\" does not span the entries", name);
	for (int32_t i = 0; i < n; i++)
		if (offset[i] > offset[i + 1])
			fnn_fail(host, FNN_FORMAT, "array \"%s.offset\" is not ascending", name);
	for (int32_t i = 0; i < n; i++)
		for (int64_t k = offset[i]; k < offset[i + 1]; k++)
			if (item[k] < 0 || item[k] >= n || (k > offset[i] && item[k] <= item[k - 1]) || !(value[k] >= 0) ||
				isinf(value[k]))
				fnn_fail(host, FNN_FORMAT, "arrays of expert \"%s\" hold a number out of range", name);
}

/* ---------------------------------------------------------------- reading */

int32_t
fmoe_history_weights(const FmoeBatch *batch, int32_t sequence, double weight[FMOE_SEQUENCE_EVENTS])
{
	int32_t		last = batch->last[sequence];
	int32_t		first = batch->sequences.offset[sequence];

	if (last - first >= FMOE_SEQUENCE_EVENTS)
		first = last - FMOE_SEQUENCE_EVENTS + 1;
	for (int32_t t = first; t <= last; t++)
	{
		int32_t		age = batch->position[last] - batch->position[t];
		int32_t		events = batch->baskets != NULL ? batch->baskets->count[batch->baskets->of[t]] : 1;

		weight[t - first] = pow(FMOE_AGE_DECAY, age) / events;
	}
	return first;
}

double
fmoe_tie_break(const FmoeExpert *expert, int32_t item)
{
	const float *popularity = expert->counts[FMOE_POPULARITY].array[0].data;

	return FMOE_TIE_BREAK * log1p(popularity[item]) / 2;
}

double
fmoe_on_gate_scale(double sum)
{
	return log1p(SHARE_SCALE * sum) / 2;
}

void
fmoe_scores_of_sums(const FmoeExpert *expert, const double *sum, int64_t n, const int32_t *item, fnn_real *score)
{
	for (int64_t i = 0; i < n; i++)
	{
		int32_t		of = item != NULL ? item[i] : (int32_t) i;
		double		value = sum[of] > 0 ? fmoe_on_gate_scale(sum[of]) : 0;

		score[i] = (fnn_real) (value + fmoe_tie_break(expert, of));
	}
}

FmoeTerms
fmoe_terms_of_sums(FnnArena *arena, int32_t n_items, const double *sum)
{
	int64_t		n = 0;
	int32_t    *item;
	double	   *value;

	for (int32_t i = 0; i < n_items; i++)
		n += sum[i] > 0;
	item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	value = fnn_alloc(arena, sizeof(double) * (size_t) n);
	n = 0;
	for (int32_t i = 0; i < n_items; i++)
	{
		if (!(sum[i] > 0))
			continue;
		item[n] = i;
		value[n++] = fmoe_on_gate_scale(sum[i]);
	}
	return (FmoeTerms) {.n = n, .item = item, .value = value};
}

/* The items in the row of one, none for those of which only features tell. */
static FnnRows
row_of(const FmoeExpert *expert, int32_t item)
{
	const int64_t *offset = expert->array[FMOE_PAIRS_OFFSET].data;
	const int32_t *to = expert->array[FMOE_PAIRS_ITEM].data;

	if (item >= expert->n_items)
		return (FnnRows) {.count = 0, .row = to};
	return (FnnRows) {.count = offset[item + 1] - offset[item], .row = to + offset[item]};
}

/* sum[n_items], on the arena, of the rows of a history's events times their weights. */
static double *
sum_rows(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence)
{
	const int32_t *to = expert->array[FMOE_PAIRS_ITEM].data;
	const float *value = expert->array[FMOE_PAIRS_VALUE].data;
	double	   *sum = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), expert->n_items, sizeof(double)));
	double		weight[FMOE_SEQUENCE_EVENTS];
	int32_t		first = fmoe_history_weights(batch, sequence, weight);

	for (int32_t t = first; t <= batch->last[sequence]; t++)
	{
		FnnRows		row = row_of(expert, batch->events.item[t]);

		for (int64_t k = 0; k < row.count; k++)
			sum[row.row[k]] += weight[t - first] * value[row.row - to + k];
	}
	return sum;
}

/*
 * ln x for 1 <= x, to 1e-7 of max(1, ln x): the polynomial of Moshier's Cephes, in a
 * form that loops are made vectors of.
 */
static inline float
logarithm(float x)
{
	const uint32_t root_half = 0x3f3504f3;	/* sqrt(1/2) */
	int32_t		bits;
	int32_t		exponent;
	float		f;
	float		y;

	memcpy(&bits, &x, sizeof(bits));
	bits -= (int32_t) root_half;
	exponent = bits >> 23;
	bits = (bits & 0x7fffff) + (int32_t) root_half;
	memcpy(&f, &bits, sizeof(f));
	f -= 1;
	y = 7.0376836292e-2f;
	y = y * f - 1.1514610310e-1f;
	y = y * f + 1.1676998740e-1f;
	y = y * f - 1.2420140846e-1f;
	y = y * f + 1.4249322787e-1f;
	y = y * f - 1.6668057665e-1f;
	y = y * f + 2.0000714765e-1f;
	y = y * f - 2.4999993993e-1f;
	y = y * f + 3.3333331174e-1f;
	y = y * f * f * f - 0.5f * f * f + (float) exponent * -2.12194440e-4f;
	return f + y + (float) exponent * 0.693359375f;
}

/* value[n] becomes weight x what a gate reads of it. */
static void
to_gate_scale(int64_t n, float weight, float *restrict value)
{
	for (int64_t i = 0; i < n; i++)
		value[i] = weight / 2 * logarithm(1 + (float) SHARE_SCALE * value[i]);
}

/* Sums of items by hash: as much memory as there are entries, however many items. */
typedef struct Sums
{
	uint32_t	slots;			/* a power of two */
	int			shift;
	int32_t    *item;			/* [slots] -1: free */
	float	   *sum;			/* [slots] */
} Sums;

static Sums
new_sums(FnnArena *arena, int64_t most)
{
	Sums		sums = {.slots = 64, .shift = 32 - 6};

	while (sums.slots < 2 * most && sums.shift > 1)
	{
		sums.slots *= 2;
		sums.shift--;
	}
	sums.item = fnn_alloc(arena, sizeof(int32_t) * sums.slots);
	sums.sum = fnn_zalloc(arena, sizeof(float) * sums.slots);
	memset(sums.item, -1, sizeof(int32_t) * sums.slots);
	return sums;
}

static inline void
add_to_sum(Sums *sums, int32_t item, float value)
{
	uint32_t	at = (uint32_t) item * UINT32_C(2654435769) >> sums->shift;

	while (sums->item[at] != item && sums->item[at] >= 0)
		at = (at + 1) & (sums->slots - 1);
	sums->item[at] = item;
	sums->sum[at] += value;
}

/* Up to so many times as many items as entries, sums are an array over all items. */
#define ITEMS_AN_ENTRY 8

void
fmoe_pairs_add_terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
					 double weight, float *sum)
{
	const int32_t *to = expert->array[FMOE_PAIRS_ITEM].data;
	const float *value = expert->array[FMOE_PAIRS_VALUE].data;
	const int32_t *item = batch->events.item;
	double		of[FMOE_SEQUENCE_EVENTS];
	int32_t		first = fmoe_history_weights(batch, sequence, of);
	int64_t		entries = 0;
	float	   *all = NULL;
	Sums		sums = {0};

	for (int32_t t = first; t <= batch->last[sequence]; t++)
		entries += row_of(expert, item[t]).count;
	if (expert->n_items <= ITEMS_AN_ENTRY * entries)
		all = fnn_zalloc(arena, sizeof(float) * (size_t) expert->n_items);
	else
		sums = new_sums(arena, entries);
	for (int32_t t = first; t <= batch->last[sequence]; t++)
	{
		float		factor = (float) of[t - first];
		FnnRows		row = row_of(expert, item[t]);
		const float *values = value + (row.row - to);

		for (int64_t k = 0; k < row.count; k++)
		{
			if (all != NULL)
				all[row.row[k]] += factor * values[k];
			else
				add_to_sum(&sums, row.row[k], factor * values[k]);
		}
	}
	if (all != NULL)
	{
		to_gate_scale(expert->n_items, (float) weight, all);
		for (int32_t i = 0; i < expert->n_items; i++)
			sum[i] += all[i];
		return;
	}
	to_gate_scale(sums.slots, (float) weight, sums.sum);
	for (uint32_t at = 0; at < sums.slots; at++)
		if (sums.item[at] >= 0)
			sum[sums.item[at]] += sums.sum[at];
}

void
fmoe_pairs_score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
				 int64_t n, const int32_t *item, fnn_real *score)
{
	FnnMark		mark = fnn_arena_mark(arena);

	fmoe_scores_of_sums(expert, sum_rows(expert, arena, batch, sequence), n, item, score);
	fnn_arena_reset(arena, mark);
}

FmoeTerms
fmoe_pairs_terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
				 const fnn_real *state)
{
	return fmoe_terms_of_sums(arena, expert->n_items, sum_rows(expert, arena, batch, sequence));
}

/*
 * markov.c
 *	  What followed the last item most often: first-order transitions.
 *
 * After a basket of n items each of them was followed by each item of the next
 * basket, which counts 1/n; after a history that ends with a basket, an item's
 * score is the mean of its scores after the basket's items.  A transition counts
 * as often as the weight of the event it leads to says; that of the event it comes
 * from does not matter, since what is context only is there to predict from.
 *
 * The counts are a sparse matrix by rows: row i, which holds what followed
 * item i, is entries offset[i] .. offset[i + 1] - 1 of item and count, by
 * ascending item.  An item's score after i is
 *
 *		(count(i, j) + popularity(j) / 2) / row sum
 *
 * with popularity scaled below 1, so that it orders equal counts (above all
 * the items that never followed i) and never overrules a larger count.
 */
#include "model/expert/expert.h"
#include "model/expert/markov.h"

#include <math.h>
#include <string.h>

static const char *const array_names[] = {"markov.offset", "markov.item", "markov.count", "markov.popularity", NULL};
static const FnnDtype array_dtypes[] = {FNN_I64, FNN_I32, FNN_F32, FNN_F32};
static const FmoeHolds array_holds[] = {
	FMOE_HOLDS_OFFSETS, FMOE_HOLDS_ITEMS, FMOE_HOLDS_NUMBERS, FMOE_HOLDS_LEVELS
};

enum
{
	OFFSET,
	ITEM,
	COUNT,
	POPULARITY
};

#define POLL_EVERY 0xffff		/* users or entries between polls */

/*
 * Item by item, the number of transitions into it (into true) or out of it,
 * added up so that start[i] is where item i's bucket begins; start[n_items + 1].
 */
static void
bucket_starts(const FnnHost *host, const FmoeDataset *data, FmoeHoldout holdout, bool into, int64_t *start)
{
	int64_t		user;
	int32_t		i;

	for (i = 0; i <= data->n_items; i++)
		start[i] = 0;
	for (user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);
		int64_t		event;

		for (event = data->offset[user]; event + 1 < end; event++)
			start[data->events.item[event + into] + 1]++;
		if ((user & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	for (i = 0; i < data->n_items; i++)
		start[i + 1] += start[i];
}

/*
 * All transitions ordered by (from, to): a stable distribution by the item
 * that follows, then one by the item that is followed.  to[] receives the
 * second items, offset[n_items + 1] the bounds of the first ones.
 */
static void
sort_transitions(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, int64_t *offset, int32_t *to)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t    *place = fnn_alloc(arena, fnn_mul_size(host, data->n_items + 1, sizeof(int64_t)));
	int64_t    *bound = fnn_alloc(arena, fnn_mul_size(host, data->n_items + 1, sizeof(int64_t)));
	int32_t    *from;
	int64_t		user;
	int64_t		k;
	int32_t		i;

	bucket_starts(host, data, holdout, true, bound);
	from = fnn_alloc(arena, fnn_mul_size(host, bound[data->n_items], sizeof(int32_t)));
	for (i = 0; i < data->n_items; i++)
		place[i] = bound[i];
	for (user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);
		int64_t		event;

		for (event = data->offset[user]; event + 1 < end; event++)
			from[place[data->events.item[event + 1]]++] = data->events.item[event];
		if ((user & POLL_EVERY) == 0)
			fnn_poll(host);
	}

	bucket_starts(host, data, holdout, false, offset);
	for (i = 0; i < data->n_items; i++)
		place[i] = offset[i];
	for (i = 0; i < data->n_items; i++)
	{
		for (k = bound[i]; k < bound[i + 1]; k++)
			to[place[from[k]]++] = i;
		if ((i & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	fnn_arena_reset(arena, mark);
}

/* Equal neighbours of each row become one entry with their number, in place. */
static void
merge_equal(int32_t n_items, int64_t *offset, int32_t *to, float *count)
{
	int64_t		entries = 0;
	int64_t		read = 0;
	int32_t		i;

	for (i = 0; i < n_items; i++)
	{
		int64_t		row = entries;

		for (; read < offset[i + 1]; read++)
		{
			if (entries > row && to[entries - 1] == to[read])
				count[entries - 1]++;
			else
			{
				to[entries] = to[read];
				count[entries++] = 1;
			}
		}
		offset[i] = row;
	}
	offset[n_items] = entries;
}

/* Events of each item, scaled into [0, 1). */
static float *
scaled_popularity(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	float	   *popularity = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), data->n_items, sizeof(float)));
	FnnMark		mark = fnn_arena_mark(arena);
	double	   *sum = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), data->n_items, sizeof(double)));
	float		most = 0;
	int64_t		user;
	int32_t		i;

	for (user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);
		int64_t		event;

		for (event = data->offset[user]; event < end; event++)
			sum[data->events.item[event]] += fmoe_event_weight(&data->events, event);
	}
	for (i = 0; i < data->n_items; i++)
		popularity[i] = fmoe_counted(sum[i]);
	fnn_arena_reset(arena, mark);
	for (i = 0; i < data->n_items; i++)
	{
		if (popularity[i] > most)
			most = popularity[i];
	}
	for (i = 0; i < data->n_items; i++)
		popularity[i] /= most + 1;
	return popularity;
}

/* ---------------------------------------------------------------- counting baskets, and by weights */

/* An event that was followed by a basket. */
typedef struct Followed
{
	int64_t		next;			/* first event of that one */
	int32_t		n;				/* of its events */
	float		weight;			/* 1 / how many events the event's own basket has */
} Followed;

/* The basket of event, whose user's events end at end: where it ends, and what of it each event counts. */
static Followed
followed(const FmoeEvents *events, int64_t event, int64_t end, int64_t *basket_end)
{
	Followed	by = {0};

	*basket_end = fmoe_basket_end(events, event, end);
	by.next = *basket_end;
	by.weight = 1.0f / (float) (*basket_end - event);
	if (by.next < end)
		by.n = (int32_t) (fmoe_basket_end(events, by.next, end) - by.next);
	return by;
}

void
fmoe_count_followers(const FnnHost *host, const FmoeDataset *data, FmoeHoldout holdout, double *count)
{
	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);
		int64_t		basket_end;

		for (int64_t event = data->offset[user]; event < end; event = basket_end)
		{
			Followed	by = followed(&data->events, event, end, &basket_end);

			for (int64_t i = event; i < basket_end; i++)
				count[data->events.item[i]] += by.n;
		}
		if ((user & POLL_EVERY) == 0)
			fnn_poll(host);
	}
}

size_t
fmoe_basket_count_bytes(FnnArena *arena, const FmoeDataset *data)
{
	FnnMark		mark = fnn_arena_mark(arena);
	double	   *count;
	double		entries = 0;

	if (data->events.basket == NULL && fmoe_events_even(&data->events))
		return 0;
	count = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), data->n_items, sizeof(double)));
	fmoe_count_followers(fnn_arena_host(arena), data, FMOE_HOLDOUT_NONE, count);
	for (int32_t i = 0; i < data->n_items; i++)
		entries += count[i] < data->n_items ? count[i] : data->n_items;
	fnn_arena_reset(arena, mark);
	return (size_t) (entries * (sizeof(int32_t) + sizeof(float)) + data->n_events * (double) sizeof(Followed) +
					 data->n_items * (double) (2 * sizeof(int64_t) + sizeof(double) + sizeof(int32_t)));
}

/* Every event that was followed, by item: start[n_items + 1] bounds those of each. */
static Followed *
followed_by_item(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, int64_t *start)
{
	const FnnHost *host = fnn_arena_host(arena);
	Followed   *list = NULL;

	/* the first pass counts, the second fills; start[i + 1] is where item i's next one goes */
	for (int pass = 0; pass < 2; pass++)
	{
		for (int64_t user = 0; user < data->n_users; user++)
		{
			int64_t		end = fmoe_train_end(data, holdout, user);
			int64_t		basket_end;

			for (int64_t event = data->offset[user]; event < end; event = basket_end)
			{
				Followed	by = followed(&data->events, event, end, &basket_end);

				for (int64_t i = event; i < basket_end && by.n > 0; i++)
				{
					if (pass > 0)
						list[start[data->events.item[i] + 1]] = by;
					start[data->events.item[i] + 1]++;
				}
			}
			if ((user & POLL_EVERY) == 0)
				fnn_poll(host);
		}
		if (pass > 0)
			break;
		for (int32_t i = 0; i < data->n_items; i++)
			start[i + 1] += start[i];
		list = fnn_alloc(arena, fnn_mul_size(host, start[data->n_items], sizeof(Followed)));
		for (int32_t i = data->n_items; i > 0; i--)
			start[i] = start[i - 1];
	}
	return list;
}

/* Shell's sort: qsort takes memory of its own. */
static void
sort_items(int64_t n, int32_t *item)
{
	for (int64_t gap = n / 2; gap > 0; gap = gap == 2 ? 1 : (int64_t) ((double) gap / 2.2))
		for (int64_t i = gap; i < n; i++)
		{
			int32_t		moved = item[i];
			int64_t		at = i;

			for (; at >= gap && item[at - gap] > moved; at -= gap)
				item[at] = item[at - gap];
			item[at] = moved;
		}
}

/* Adds what followed an item to sum[n_items], and those that were 0 to touched; returns how many these are. */
static int64_t
add_followers(const FnnHost *host, const FmoeDataset *data, const Followed *list, int64_t n, double *sum,
			  int32_t *touched)
{
	int64_t		count = 0;

	for (int64_t i = 0; i < n; i++)
	{
		for (int64_t k = list[i].next; k < list[i].next + list[i].n; k++)
		{
			int32_t		item = data->events.item[k];

			double		weight = list[i].weight * fmoe_event_weight(&data->events, k);

			if (weight == 0)
				continue;
			if (sum[item] == 0)
				touched[count++] = item;
			sum[item] += weight;
		}
		if ((i & 0xfff) == 0)
			fnn_poll(host);
	}
	return count;
}

/* Fills offset[n_items + 1]; *to and *number come to be its entries, on the arena. */
static void
count_baskets(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, int64_t *offset, int32_t **to,
			  float **number)
{
	const FnnHost *host = fnn_arena_host(arena);
	size_t		n_items = (size_t) data->n_items;
	int64_t    *start = fnn_zalloc(arena, fnn_mul_size(host, n_items + 1, sizeof(int64_t)));
	double	   *sum = fnn_zalloc(arena, fnn_mul_size(host, n_items, sizeof(double)));
	int32_t    *touched = fnn_alloc(arena, fnn_mul_size(host, n_items, sizeof(int32_t)));
	Followed   *list = followed_by_item(arena, data, holdout, start);

	/* the first pass measures, the second fills */
	offset[0] = 0;
	for (int pass = 0; pass < 2; pass++)
	{
		for (int32_t i = 0; i < data->n_items; i++)
		{
			int64_t		n = add_followers(host, data, list + start[i], start[i + 1] - start[i], sum, touched);

			if (pass == 0)
				offset[i + 1] = offset[i] + n;
			else
				sort_items(n, touched);
			for (int64_t k = 0; k < n; k++)
			{
				if (pass > 0)
				{
					(*to)[offset[i] + k] = touched[k];
					(*number)[offset[i] + k] = fmoe_counted(sum[touched[k]]);
				}
				sum[touched[k]] = 0;
			}
		}
		if (pass == 0)
		{
			*to = fnn_alloc(arena, fnn_mul_size(host, offset[n_items], sizeof(int32_t)));
			*number = fnn_alloc(arena, fnn_mul_size(host, offset[n_items], sizeof(float)));
		}
	}
}

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	const FnnHost *host = fnn_arena_host(arena);
	int32_t		n_items = data->n_items;
	int64_t    *offset = fnn_alloc(arena, fnn_mul_size(host, n_items + 1, sizeof(int64_t)));
	float	   *popularity = scaled_popularity(arena, data, holdout);
	int32_t    *to = NULL;
	float	   *number = NULL;

	if (data->events.basket != NULL || !fmoe_events_even(&data->events))
		count_baskets(arena, data, holdout, offset, &to, &number);
	else
	{
		to = fnn_alloc(arena, fnn_mul_size(host, data->n_events, sizeof(int32_t)));
		number = fnn_alloc(arena, fnn_mul_size(host, data->n_events, sizeof(float)));
		sort_transitions(arena, data, holdout, offset, to);
		merge_equal(n_items, offset, to, number);
	}
	fmoe_set_array(expert, OFFSET, FNN_I64, n_items + 1, offset);
	fmoe_set_array(expert, ITEM, FNN_I32, offset[n_items], to);
	fmoe_set_array(expert, COUNT, FNN_F32, offset[n_items], number);
	fmoe_set_array(expert, POPULARITY, FNN_F32, n_items, popularity);
}

FmoeTransitions
fmoe_transitions(const FmoeExpert *markov, int32_t item)
{
	const int64_t *offset = markov->array[OFFSET].data;
	FmoeTransitions row = {0};
	int64_t		k;

	/* of which only features tell */
	if (item >= markov->n_items)
		return row;
	row.n = offset[item + 1] - offset[item];
	row.to = (const int32_t *) markov->array[ITEM].data + offset[item];
	row.count = (const float *) markov->array[COUNT].data + offset[item];
	for (k = 0; k < row.n; k++)
		row.sum += row.count[k];
	return row;
}

int64_t
fmoe_transitions_count(const FmoeExpert *markov)
{
	const int64_t *offset = markov->array[OFFSET].data;

	return offset[markov->n_items];
}

/* Place of an item in a row, -1: it is not there; whoever asks for a row's items in their order gets them at once. */
static int64_t
find_next(const FmoeTransitions *row, int64_t last, int32_t item)
{
	return last + 1 < row->n && row->to[last + 1] == item ? last + 1 : fnn_find_ascending(row->n, row->to, item);
}

/* Scores after a basket of several items, summed up as doubles so that no item's depends on who else is asked for. */
static void
score_basket(const FmoeExpert *expert, FnnArena *arena, FnnRows last, int64_t n, const int32_t *item, fnn_real *score)
{
	FnnMark		mark = fnn_arena_mark(arena);
	const float *popularity = expert->array[POPULARITY].data;
	double	   *sum = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), n, sizeof(double)));

	for (int64_t a = 0; a < last.count; a++)
	{
		FmoeTransitions row = fmoe_transitions(expert, last.row[a]);
		double		row_sum = row.n > 0 ? row.sum : 1;

		for (int64_t i = 0; i < n; i++)
			sum[i] += popularity[item != NULL ? item[i] : i] / 2 / row_sum;
		for (int64_t k = 0; item == NULL && k < row.n; k++)
			sum[row.to[k]] += row.count[k] / row_sum;
		for (int64_t i = 0, k = -1; item != NULL && i < n; i++)
		{
			k = find_next(&row, k, item[i]);
			if (k >= 0)
				sum[i] += row.count[k] / row_sum;
		}
		fnn_poll(fnn_arena_host(arena));
	}
	for (int64_t i = 0; i < n; i++)
		score[i] = (fnn_real) (sum[i] / (double) last.count);
	fnn_arena_reset(arena, mark);
}

/* Scores after one item. */
static void
score_item(const FmoeExpert *expert, int32_t last, int64_t n, const int32_t *item, fnn_real *score)
{
	FmoeTransitions row = fmoe_transitions(expert, last);
	const float *popularity = expert->array[POPULARITY].data;
	double		sum = row.n > 0 ? row.sum : 1;

	for (int64_t i = 0; i < n; i++)
		score[i] = (fnn_real) (popularity[item != NULL ? item[i] : i] / 2 / sum);
	for (int64_t k = 0; item == NULL && k < row.n; k++)
		score[row.to[k]] = (fnn_real) ((row.count[k] + popularity[row.to[k]] / 2) / sum);
	for (int64_t i = 0, k = -1; item != NULL && i < n; i++)
	{
		k = find_next(&row, k, item[i]);
		if (k >= 0)
			score[i] = (fnn_real) ((row.count[k] + popularity[item[i]] / 2) / sum);
	}
}

static void
score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
	  int64_t n, const int32_t *item, fnn_real *score)
{
	FnnRows		last = fmoe_last_items(batch, sequence);

	if (last.count > 1)
		score_basket(expert, arena, last, n, item, score);
	else
		score_item(expert, last.row[0], n, item, score);
}

/* log(1 + 100 P) / 2, P the share of the transitions from the last basket that led to an item. */
static FmoeTerms
terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, const fnn_real *state)
{
	FnnRows		last = fmoe_last_items(batch, sequence);
	FmoeTerms  *each = fnn_alloc(arena, sizeof(FmoeTerms) * (size_t) last.count);
	FmoeTerms	all;

	for (int64_t i = 0; i < last.count; i++)
	{
		FmoeTransitions row = fmoe_transitions(expert, last.row[i]);
		double	   *value = fnn_alloc(arena, sizeof(double) * (size_t) row.n);

		for (int64_t k = 0; k < row.n; k++)
			value[k] = row.count[k] / row.sum;
		each[i] = (FmoeTerms) {.n = row.n, .item = row.to, .value = value};
	}
	all = last.count > 1 ? fmoe_mean_terms(arena, last.count, each) : each[0];
	for (int64_t k = 0; k < all.n; k++)
		((double *) all.value)[k] = log1p(100 * all.value[k]) / 2;
	return all;
}

static const float *
common(const FmoeExpert *expert)
{
	return expert->array[POPULARITY].data;
}

static int64_t
moved(const FmoeExpert *expert, const FmoeBatch *batch, int32_t sequence, int64_t max, int32_t *item)
{
	FnnRows		last = fmoe_last_items(batch, sequence);
	int64_t		n = 0;

	for (int64_t a = 0; a < last.count; a++)
	{
		FmoeTransitions row = fmoe_transitions(expert, last.row[a]);

		/* others are divided by the sum, and more popular ones are above only where that is positive */
		if (n + row.n > max || (row.n > 0 && !(row.sum > 0)))
			return -1;
		memcpy(item + n, row.to, sizeof(int32_t) * (size_t) row.n);
		n += row.n;
	}
	return n;
}

static void
check(const FmoeExpert *expert, const FnnHost *host)
{
	const int64_t *offset = expert->array[OFFSET].data;
	const int32_t *to = expert->array[ITEM].data;
	int64_t		entries = expert->array[ITEM].shape[0];
	int64_t		k;
	int32_t		i;

	if (expert->array[OFFSET].shape[0] != (int64_t) expert->n_items + 1 ||
		expert->array[COUNT].shape[0] != entries ||
		expert->array[POPULARITY].shape[0] != expert->n_items)
		fnn_fail(host, FNN_FORMAT, "arrays of expert \"markov\" do not fit each other or %d items", expert->n_items);
	if (offset[0] != 0 || offset[expert->n_items] != entries)
		fnn_fail(host, FNN_FORMAT, "array \"markov.offset\" does not span the transitions");
	for (i = 0; i < expert->n_items; i++)
	{
		if (offset[i] > offset[i + 1])
			fnn_fail(host, FNN_FORMAT, "array \"markov.offset\" is not ascending");
	}
	for (k = 0; k < entries; k++)
	{
		if (to[k] < 0 || to[k] >= expert->n_items)
			fnn_fail(host, FNN_FORMAT, "array \"markov.item\" holds an item out of range");
	}
}

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	/* of a transition both items, while they are sorted, and the count; of an item offset, place, bound, popularity */
	return n_events * (2 * sizeof(int32_t) + sizeof(float)) + n_items * (3 * sizeof(int64_t) + sizeof(float));
}

static const FmoeCounter counter = {
	.count = count,
	.bytes = bytes,
	.array_names = array_names,
	.array_dtypes = array_dtypes,
	.array_holds = array_holds,
	.check = check
};

const FmoeExpertClass fmoe_markov_class = {
	.name = "markov",
	.summary = "what most often followed the last item",
	.counter = &counter,
	.terms = terms,
	.score = score,
	.common = common,
	.moved = moved
};

double
fmoe_count_term(double count, double log_share)
{
	return log1p(count / FMOE_TRANSITIONS_PRIOR * exp(-log_share));
}

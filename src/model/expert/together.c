/*
 * together.c
 *	  What was in the same basket: pairs of items, counted.
 *
 * A user's events of one moment are a basket; what weighs 0, being context only,
 * is left out of it, and all else is alike.  Of N baskets, n(i) hold item i and
 * n(i, j) hold i and j; by chance n(i) n(j) / N would.  The lift of j beside i is
 *
 *		log((n(i, j) + PRIOR) / (n(i) n(j) / N + PRIOR))
 *
 * which is above 0 for pairs that are seen more often than by chance, and near 0
 * for those of which little has been seen.  Both directions of a pair have the
 * same lift, but each item keeps only the best of its partners: row i is entries
 * offset[i] .. offset[i + 1] - 1 of item and count, by ascending item.  Where no
 * two events happened at once there are no rows, and nothing is counted or stored.
 *
 * The pairs of all items at once would be too many for memory, so they are
 * counted item by item over the baskets that hold it.  A basket of n items has
 * n^2 pairs; of very large ones (times that are dates of a migration, say) only
 * some items, drawn at random, count.
 */
#include "model/data/stream.h"
#include "model/expert/expert.h"
#include "model/expert/together.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const array_names[] = {
	"together.offset", "together.item", "together.count", "together.baskets", NULL
};
static const FnnDtype array_dtypes[] = {FNN_I64, FNN_I32, FNN_I32, FNN_I64};
static const FmoeHolds array_holds[] = {
	FMOE_HOLDS_OFFSETS, FMOE_HOLDS_ITEMS, FMOE_HOLDS_NUMBERS, FMOE_HOLDS_LEVELS
};

enum
{
	OFFSET,
	ITEM,
	COUNT,
	BASKETS						/* of each item that has a row, then of all */
};

#define BASKET_MAX 256			/* different items of a basket that count */
#define POLL_PAIRS 0xfffff
#define POLL_USERS 0xffff

/* ---------------------------------------------------------------- baskets */

/* Basket b holds the different items item[offset[b]] .. item[offset[b + 1] - 1]. */
typedef struct Baskets
{
	int64_t		n;
	int64_t    *offset;
	int32_t    *item;
} Baskets;

static bool
same_basket(const FmoeEvents *events, int64_t a, int64_t b)
{
	return events->basket != NULL && events->basket[a] == events->basket[b];
}

/* Where the basket that begins with event first ends, at most at end. */
static int64_t
basket_end(const FmoeEvents *events, int64_t first, int64_t end)
{
	int64_t		next = first + 1;

	while (next < end && same_basket(events, first, next))
		next++;
	return next;
}

/* Adds a basket of the items that count of first .. end - 1, each once; seen[n_items]: the last one with each. */
static void
add_basket(Baskets *baskets, const FmoeEvents *events, int64_t first, int64_t end, int64_t *seen, uint64_t seed)
{
	int64_t		begin = baskets->offset[baskets->n];
	uint64_t	stream = fmoe_stream(FMOE_STREAM_TOGETHER, 0);
	int64_t		n = 0;

	for (int64_t event = first; event < end; event++)
	{
		int32_t		item = events->item[event];

		if (seen[item] == baskets->n + 1 || fmoe_event_weight(events, event) == 0)
			continue;
		seen[item] = baskets->n + 1;
		n++;
		if (n <= BASKET_MAX)
			baskets->item[begin + n - 1] = item;
		else
		{
			int64_t		place = (int64_t) fnn_random_below(seed, stream, (uint64_t) event, (uint64_t) n);

			if (place < BASKET_MAX)
				baskets->item[begin + place] = item;
		}
	}
	if (n > 0)
		baskets->offset[++baskets->n] = begin + (n < BASKET_MAX ? n : BASKET_MAX);
}

static Baskets
find_baskets(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, uint64_t seed)
{
	const FnnHost *host = fnn_arena_host(arena);
	Baskets		baskets = {
		.offset = fnn_alloc(arena, fnn_mul_size(host, data->n_events + 1, sizeof(int64_t))),
		.item = fnn_alloc(arena, fnn_mul_size(host, data->n_events, sizeof(int32_t)))
	};
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t    *seen = fnn_zalloc(arena, fnn_mul_size(host, data->n_items, sizeof(int64_t)));

	baskets.offset[0] = 0;
	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);
		int64_t		next;

		for (int64_t first = data->offset[user]; first < end; first = next)
		{
			next = basket_end(&data->events, first, end);
			add_basket(&baskets, &data->events, first, next, seen, seed);
		}
		if ((user & POLL_USERS) == 0)
			fnn_poll(host);
	}
	fnn_arena_reset(arena, mark);
	return baskets;
}

/* of[start[i]] .. of[start[i + 1] - 1] are the baskets with item i; start[n_items + 1] */
static int64_t *
baskets_of_items(FnnArena *arena, const Baskets *baskets, int32_t n_items, int64_t **of)
{
	const FnnHost *host = fnn_arena_host(arena);
	int64_t		n = baskets->offset[baskets->n];
	int64_t    *start = fnn_zalloc(arena, fnn_mul_size(host, n_items + INT64_C(2), sizeof(int64_t)));

	*of = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(int64_t)));
	/* start[i + 1] is where the next of item i's goes, so in the end where item i + 1's begin */
	for (int64_t k = 0; k < n; k++)
		start[baskets->item[k] + 2]++;
	for (int32_t i = 0; i < n_items; i++)
		start[i + 2] += start[i + 1];
	for (int64_t b = 0; b < baskets->n; b++)
		for (int64_t k = baskets->offset[b]; k < baskets->offset[b + 1]; k++)
			(*of)[start[baskets->item[k] + 1]++] = b;
	fnn_poll(host);
	return start;
}

/* ---------------------------------------------------------------- pairs */

static double
lift(double both, double one, double other, double all)
{
	return log((both + FMOE_TOGETHER_PRIOR) / (one * other / all + FMOE_TOGETHER_PRIOR));
}

/* Entries of rows, one after the other, with room for more. */
typedef struct Entries
{
	int64_t		n;
	int64_t		capacity;
	int32_t    *item;
	int32_t    *count;
} Entries;

static void *
moved(FnnArena *arena, const void *old, int64_t n, int64_t capacity)
{
	void	   *memory = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), capacity, sizeof(int32_t)));

	if (n > 0)
		memcpy(memory, old, sizeof(int32_t) * (size_t) n);
	return memory;
}

static void
make_room(FnnArena *arena, Entries *entries)
{
	int64_t		capacity = 2 * entries->capacity + FMOE_PARTNERS_MAX;

	if (entries->n + FMOE_PARTNERS_MAX <= entries->capacity)
		return;
	entries->item = moved(arena, entries->item, entries->n, capacity);
	entries->count = moved(arena, entries->count, entries->n, capacity);
	entries->capacity = capacity;
}

/* What the counting of one item after the other shares. */
typedef struct Pairs
{
	const Baskets *baskets;
	const int64_t *start;		/* of the baskets with each item */
	const int64_t *of;			/* these baskets */
	int32_t    *count;			/* [n_items] with the item at hand; 0 between two items */
	int32_t    *partner;		/* [n_items] those whose count is not 0 */
	int64_t		since_poll;
} Pairs;

/* Fills count and partner; returns the number of partners. */
static int32_t
count_partners(const FnnHost *host, Pairs *pairs, int32_t item)
{
	const Baskets *baskets = pairs->baskets;
	int32_t		n = 0;

	for (int64_t b = pairs->start[item]; b < pairs->start[item + 1]; b++)
	{
		int64_t		begin = baskets->offset[pairs->of[b]];
		int64_t		end = baskets->offset[pairs->of[b] + 1];

		for (int64_t k = begin; k < end; k++)
		{
			int32_t		other = baskets->item[k];

			if (other != item && pairs->count[other]++ == 0)
				pairs->partner[n++] = other;
		}
		pairs->since_poll += end - begin;
		if (pairs->since_poll > POLL_PAIRS)
		{
			fnn_poll(host);
			pairs->since_poll = 0;
		}
	}
	return n;
}

static int
ascending(const void *a, const void *b)
{
	int32_t		x = *(const int32_t *) a;
	int32_t		y = *(const int32_t *) b;

	return x < y ? -1 : x > y;
}

/* Adds an item's best partners to the entries, by ascending item, and clears the counts. */
static void
keep_best(Pairs *pairs, int32_t item, int32_t n, Entries *entries)
{
	double		all = (double) pairs->baskets->n;
	double		one = (double) (pairs->start[item + 1] - pairs->start[item]);
	int32_t		best[FMOE_PARTNERS_MAX];
	fnn_real	score[FMOE_PARTNERS_MAX];
	FnnTopk		topk;

	fnn_topk_init(&topk, FMOE_PARTNERS_MAX, best, score);
	for (int32_t p = 0; p < n; p++)
	{
		int32_t		other = pairs->partner[p];
		double		with = (double) (pairs->start[other + 1] - pairs->start[other]);
		fnn_real	value = (fnn_real) lift(pairs->count[other], one, with, all);

		fnn_topk_offer(&topk, other, 1, &value);
	}
	qsort(best, (size_t) topk.count, sizeof(int32_t), ascending);
	for (int32_t p = 0; p < topk.count; p++)
	{
		entries->item[entries->n] = best[p];
		entries->count[entries->n++] = pairs->count[best[p]];
	}
	for (int32_t p = 0; p < n; p++)
		pairs->count[pairs->partner[p]] = 0;
}

/* Partners of all items into entries.  offset[n_items + 1]; with[n_items + 1]: baskets with each item, and all. */
static void
count_pairs(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, uint64_t seed, int64_t *offset,
			int64_t *with, Entries *entries)
{
	const FnnHost *host = fnn_arena_host(arena);
	int32_t		n_items = data->n_items;
	Baskets		baskets = find_baskets(arena, data, holdout, seed);
	Pairs		pairs = {
		.baskets = &baskets,
		.count = fnn_zalloc(arena, fnn_mul_size(host, n_items, sizeof(int32_t))),
		.partner = fnn_alloc(arena, fnn_mul_size(host, n_items, sizeof(int32_t)))
	};
	int64_t    *of;

	pairs.start = baskets_of_items(arena, &baskets, n_items, &of);
	pairs.of = of;
	for (int32_t i = 0; i < n_items; i++)
	{
		offset[i] = entries->n;
		with[i] = pairs.start[i + 1] - pairs.start[i];
		make_room(arena, entries);
		keep_best(&pairs, i, count_partners(host, &pairs, i), entries);
	}
	offset[n_items] = entries->n;
	with[n_items] = baskets.n;
}

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	int64_t		rows = data->events.basket != NULL ? data->n_items : 0;
	size_t		bytes = fnn_mul_size(fnn_arena_host(arena), rows + 1, sizeof(int64_t));
	int64_t    *offset = fnn_zalloc(arena, bytes);
	int64_t    *with = fnn_zalloc(arena, bytes);
	Entries		entries = {0};

	make_room(arena, &entries);
	if (rows > 0)
		count_pairs(arena, data, holdout, (uint64_t) expert->config->seed, offset, with, &entries);
	fmoe_set_array(expert, OFFSET, FNN_I64, rows + 1, offset);
	fmoe_set_array(expert, ITEM, FNN_I32, entries.n, entries.item);
	fmoe_set_array(expert, COUNT, FNN_I32, entries.n, entries.count);
	fmoe_set_array(expert, BASKETS, FNN_I64, rows + 1, with);
}

double
fmoe_together_bytes(const FmoeDataset *data)
{
	double		most = (double) FMOE_PARTNERS_MAX * data->n_items;
	double		pairs = 0;
	int64_t		next;

	if (data->events.basket == NULL)
		return 2 * sizeof(int64_t) + 2 * 2 * 2 * sizeof(int32_t) * FMOE_PARTNERS_MAX;
	for (int64_t user = 0; user < data->n_users; user++)
		for (int64_t first = data->offset[user]; first < data->offset[user + 1]; first = next)
		{
			double		n;

			next = basket_end(&data->events, first, data->offset[user + 1]);
			n = next - first < BASKET_MAX ? (double) (next - first) : BASKET_MAX;
			pairs += n * (n - 1);
		}
	/* entries are copied into twice the room whenever it is used up */
	return 2 * 2 * 2 * sizeof(int32_t) * ((pairs < most ? pairs : most) + FMOE_PARTNERS_MAX) +
		(double) data->n_events * (2 * sizeof(int64_t) + sizeof(int32_t)) +
		(double) data->n_items * (4 * sizeof(int64_t) + 2 * sizeof(int32_t));
}

/* ---------------------------------------------------------------- as others read them */

/* Items that have a row: all, or none. */
static int64_t
row_count(const FmoeExpert *together)
{
	return together->array[OFFSET].shape[0] - 1;
}

static void
check(const FmoeExpert *expert, const FnnHost *host)
{
	const int64_t *offset = expert->array[OFFSET].data;
	const int32_t *item = expert->array[ITEM].data;
	const int32_t *number = expert->array[COUNT].data;
	const int64_t *with = expert->array[BASKETS].data;
	int64_t		entries = expert->array[ITEM].shape[0];
	int64_t		rows = row_count(expert);
	int32_t		n = expert->n_items;

	if ((rows != n && rows != 0) || expert->array[COUNT].shape[0] != entries ||
		expert->array[BASKETS].shape[0] != rows + 1)
		fnn_fail(host, FNN_FORMAT, "arrays of expert \"together\" do not fit each other or %d items", n);
	if (offset[0] != 0 || offset[rows] != entries)
		fnn_fail(host, FNN_FORMAT, "array \"together.offset\" does not span the pairs");
	for (int64_t i = 0; i < rows; i++)
	{
		/* the second, because the entries are read before the next offset is looked at */
		if (offset[i] > offset[i + 1] || offset[i + 1] > entries)
			fnn_fail(host, FNN_FORMAT, "array \"together.offset\" is not ascending");
		if (with[i] < 0 || with[i] > with[rows])
			fnn_fail(host, FNN_FORMAT, "array \"together.baskets\" holds a number out of range");
		for (int64_t k = offset[i]; k < offset[i + 1]; k++)
			if (item[k] < 0 || item[k] >= n || number[k] < 1 || (k > offset[i] && item[k] <= item[k - 1]))
				fnn_fail(host, FNN_FORMAT, "arrays of expert \"together\" hold a number out of range");
	}
	if (entries > 0 && with[rows] < 1)
		fnn_fail(host, FNN_FORMAT, "array \"together.baskets\" holds a number out of range");
}

void
fmoe_together_scores(const FmoeExpert *together, int64_t n, const int32_t *given, fnn_real *score)
{
	const int64_t *offset = together->array[OFFSET].data;
	const int32_t *item = together->array[ITEM].data;
	const int32_t *number = together->array[COUNT].data;
	const int64_t *with = together->array[BASKETS].data;
	double		all = (double) with[row_count(together)];

	for (int32_t i = 0; i < together->n_items; i++)
		score[i] = (fnn_real) NAN;
	for (int64_t g = 0; g < n && row_count(together) > 0; g++)
		for (int64_t k = offset[given[g]]; k < offset[given[g] + 1]; k++)
		{
			double		value = lift(number[k], (double) with[given[g]], (double) with[item[k]], all);

			score[item[k]] = (fnn_real) (isnan(score[item[k]]) ? value : score[item[k]] + value);
		}
}

int64_t
fmoe_together_baskets(const FmoeExpert *together, int64_t n, const int32_t *given, int32_t item)
{
	const int64_t *offset = together->array[OFFSET].data;
	int64_t		sum = 0;

	for (int64_t g = 0; g < n && row_count(together) > 0; g++)
	{
		int64_t		first = offset[given[g]];
		int64_t		k = fnn_find_ascending(offset[given[g] + 1] - first,
										   (const int32_t *) together->array[ITEM].data + first, item);

		if (k >= 0)
			sum += ((const int32_t *) together->array[COUNT].data)[first + k];
	}
	return sum;
}

static const FmoeCounter counter = {
	.count = count,
	.array_names = array_names,
	.array_dtypes = array_dtypes,
	.array_holds = array_holds,
	.check = check
};

const FmoeExpertClass fmoe_together_class = {
	.name = "together",
	.summary = "what was in the same basket",
	.counter = &counter
};

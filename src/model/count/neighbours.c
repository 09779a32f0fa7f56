/*
 * neighbours.c
 *	  The class neighbours: what was chosen by those who chose the items of a history.
 *
 * Of users of both a and b / sqrt(events of a, events of b) a row keeps its largest
 * entries; an item is no neighbour of itself.  By weights a user of both counts as
 * the largest of those of the events of b.
 */
#include "model/count/count.h"

#include <math.h>

static const char *const array_names[] = {"neighbours.offset", "neighbours.item", "neighbours.value", NULL};

/* When each item was added last, and how much of it: a user's items count once. */
typedef struct Added
{
	int64_t    *round;			/* [n_items] */
	float	   *weight;			/* [n_items] NULL: all events count 1 */
} Added;

/* Adds each item of a user once, but the one at hand. */
static void
add_items_of(FmoePairCount *rows, const FmoeDataset *data, int64_t begin, int64_t end, int32_t item,
			 const Added *added, int64_t now)
{
	for (int64_t k = begin; k < end; k++)
	{
		int32_t		other = data->events.item[k];
		double		weight = fmoe_event_weight(&data->events, k);
		bool		again = added->round[other] == now;

		if (other == item || (again && added->weight == NULL))
			continue;
		if (again)
			weight = fmax(weight - (double) added->weight[other], 0);
		fmoe_pairs_add(rows, other, weight);
		if (added->weight != NULL)
			added->weight[other] = (float) weight + (again ? added->weight[other] : 0);
		added->round[other] = now;
	}
	rows->since_poll += end - begin;
}

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoePairCount *rows = fmoe_pairs_begin(arena, data, holdout);
	int64_t    *start = fnn_alloc(arena, fnn_mul_size(host, data->n_items + INT64_C(1), sizeof(int64_t)));
	Added		added = {.round = fnn_zalloc(arena, fnn_mul_size(host, data->n_items, sizeof(int64_t)))};
	const FmoeOccurrence *list = fmoe_occurrences(arena, data, holdout, FMOE_NEIGHBOURS_EVENTS, start);
	int64_t		now = 0;

	if (!fmoe_events_even(&data->events))
		added.weight = fnn_zalloc(arena, fnn_mul_size(host, data->n_items, sizeof(float)));
	for (int32_t item = 0; item < data->n_items; item++)
	{
		for (int64_t k = start[item]; k < start[item + 1]; k++)
		{
			int64_t		end = fmoe_train_end(data, holdout, list[k].user);

			/* occurrences of one user stand together */
			if (k > start[item] && list[k].user == list[k - 1].user)
				continue;
			add_items_of(rows, data, fmoe_window_begin(data, list[k].user, end, FMOE_NEIGHBOURS_EVENTS), end, item,
						 &added, ++now);
			fmoe_pairs_poll(rows);
		}
		fmoe_pairs_keep(rows, item);
	}
	fmoe_pairs_end(rows, expert);
}

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	return fmoe_pairs_bytes(n_events * FMOE_NEIGHBOURS_EVENTS, n_items) + n_events * sizeof(FmoeOccurrence) +
		n_items * (2 * sizeof(int64_t) + sizeof(float));
}

static const FmoeCounter counter = {
	.count = count,
	.bytes = bytes,
	.history = FMOE_SEQUENCE_EVENTS,
	.array_names = array_names,
	.array_dtypes = fmoe_pairs_dtypes,
	.array_holds = fmoe_pairs_holds,
	.check = fmoe_pairs_check,
	.add = fmoe_pairs_add_terms
};

const FmoeExpertClass fmoe_neighbours_class = {
	.name = "neighbours",
	.summary = "what the same users chose as well",
	.counter = &counter,
	.terms = fmoe_pairs_terms,
	.score = fmoe_pairs_score
};

/*
 * sequence.c
 *	  The class sequence: what came soon after, and soon before, the items of a history.
 *
 * S(a, b) sums over all users 0.8^(g - 1) / n for every a that came g baskets before
 * a b, n being the number of events in a's basket, times the weight of the event
 * that is an answer: of b in S, of a in S'.  Of (S + S'/2)(a, b) /
 * sqrt(events of a, events of b) a row keeps its largest entries.
 */
#include "model/count/count.h"

#include <math.h>

static const char *const array_names[] = {"sequence.offset", "sequence.item", "sequence.value", NULL};

#define BACKWARD 0.5			/* what a pair counts for its second item */

/* Adds what came after an event, up to end. */
static void
add_later(FmoePairCount *rows, const FmoeEvents *events, int64_t event, int64_t begin, int64_t end)
{
	int64_t		next = fmoe_basket_end(events, event, end);
	double		weight = 1.0 / (double) (next - fmoe_basket_begin(events, begin, event));
	int64_t		basket_end;

	for (; next < end; next = basket_end, weight *= FMOE_AGE_DECAY)
	{
		basket_end = fmoe_basket_end(events, next, end);
		for (int64_t k = next; k < basket_end; k++)
			fmoe_pairs_add(rows, events->item[k], weight * fmoe_event_weight(events, k));
		rows->since_poll += basket_end - next;
	}
}

/* Adds what came before an event, back to begin. */
static void
add_earlier(FmoePairCount *rows, const FmoeEvents *events, int64_t event, int64_t begin)
{
	int64_t		next = fmoe_basket_begin(events, begin, event);
	double		weight = BACKWARD;
	int64_t		basket_begin;

	for (; next > begin; next = basket_begin, weight *= FMOE_AGE_DECAY)
	{
		basket_begin = fmoe_basket_begin(events, begin, next - 1);
		for (int64_t k = basket_begin; k < next; k++)
			fmoe_pairs_add(rows, events->item[k],
						   weight / (double) (next - basket_begin) * fmoe_event_weight(events, k));
		rows->since_poll += next - basket_begin;
	}
}

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoePairCount *rows = fmoe_pairs_begin(arena, data, holdout);
	int64_t    *start = fnn_alloc(arena, fnn_mul_size(host, data->n_items + INT64_C(1), sizeof(int64_t)));
	const FmoeOccurrence *list = fmoe_occurrences(arena, data, holdout, FMOE_SEQUENCE_EVENTS, start);

	for (int32_t item = 0; item < data->n_items; item++)
	{
		for (int64_t k = start[item]; k < start[item + 1]; k++)
		{
			int64_t		end = fmoe_train_end(data, holdout, list[k].user);
			int64_t		begin = fmoe_window_begin(data, list[k].user, end, FMOE_SEQUENCE_EVENTS);

			add_later(rows, &data->events, list[k].event, begin, end);
			add_earlier(rows, &data->events, list[k].event, begin);
			fmoe_pairs_poll(rows);
		}
		fmoe_pairs_keep(rows, item);
	}
	fmoe_pairs_end(rows, expert);
}

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	return fmoe_pairs_bytes(n_events * 2 * (FMOE_SEQUENCE_EVENTS - 1), n_items) +
		n_events * sizeof(FmoeOccurrence) + n_items * sizeof(int64_t);
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

const FmoeExpertClass fmoe_sequence_class = {
	.name = "sequence",
	.summary = "what came soon after, or before, the items of the history",
	.counter = &counter,
	.terms = fmoe_pairs_terms,
	.score = fmoe_pairs_score
};

/*
 * repeat.c
 *	  The class repeat: what the user had before, and how long ago.
 *
 * It counts nothing in training: the history says all.  Of use where what was
 * seen may come again.
 */
#include "model/count/count.h"

static const char *const array_names[] = {NULL};

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
}

/* sum[n_items], on the arena, of the weights of a history's events. */
static double *
sum_events(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence)
{
	double	   *sum = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), expert->n_items, sizeof(double)));
	double		weight[FMOE_SEQUENCE_EVENTS];
	int32_t		first = fmoe_history_weights(batch, sequence, weight);

	for (int32_t t = first; t <= batch->last[sequence]; t++)
		if (batch->events.item[t] < expert->n_items)
			sum[batch->events.item[t]] += weight[t - first];
	return sum;
}

static void
score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
	  int64_t n, const int32_t *item, fnn_real *score)
{
	FnnMark		mark = fnn_arena_mark(arena);

	fmoe_scores_of_sums(expert, sum_events(expert, arena, batch, sequence), n, item, score);
	fnn_arena_reset(arena, mark);
}

static FmoeTerms
terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, const fnn_real *state)
{
	return fmoe_terms_of_sums(arena, expert->n_items, sum_events(expert, arena, batch, sequence));
}

/* An item's sum is there as soon as its first event is met; few events, so all are looked at for each. */
static void
add(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, double weight, float *sum)
{
	const int32_t *item = batch->events.item;
	double		of[FMOE_SEQUENCE_EVENTS];
	int32_t		first = fmoe_history_weights(batch, sequence, of);

	for (int32_t t = first; t <= batch->last[sequence]; t++)
	{
		double		all = 0;
		bool		met = false;

		for (int32_t k = first; k <= batch->last[sequence]; k++)
		{
			met |= k < t && item[k] == item[t];
			all += item[k] == item[t] ? of[k - first] : 0;
		}
		if (!met && item[t] < expert->n_items)
			sum[item[t]] += (float) (weight * fmoe_on_gate_scale(all));
	}
}

static void
told(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int64_t n,
	 const int32_t *item, double *value)
{
	double		weight[FMOE_SEQUENCE_EVENTS];
	int32_t		first = fmoe_history_weights(batch, sequence, weight);

	for (int64_t i = 0; i < n; i++)
	{
		double		all = 0;

		for (int32_t t = first; t <= batch->last[sequence]; t++)
			all += batch->events.item[t] == item[i] ? weight[t - first] : 0;
		value[i] = fmoe_on_gate_scale(all);
	}
}

static void
check(const FmoeExpert *expert, const FnnHost *host)
{
}

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	return 0;
}

static const FmoeCounter counter = {
	.count = count,
	.bytes = bytes,
	.history = FMOE_SEQUENCE_EVENTS,
	.array_names = array_names,
	.check = check,
	.add = add,
	.told = told
};

const FmoeExpertClass fmoe_repeat_class = {
	.name = "repeat",
	.summary = "what the user had before",
	.counter = &counter,
	.terms = terms,
	.score = score
};

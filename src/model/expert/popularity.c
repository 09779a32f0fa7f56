/*
 * popularity.c
 *	  The class popularity: how often each item was chosen.
 *
 * With a half-life h an event of age t counts 2^(-t / h), its age being taken from
 * the newest event that trains.  An event with a weight counts as often as that says.
 */
#include "model/expert/expert.h"

#include <math.h>
#include <string.h>

#define SECONDS_A_DAY 86400.0

static const char *const array_names[] = {"popularity.weight", NULL};

/* Time of the newest event that trains; -inf without any. */
static double
newest_event(const FnnHost *host, const FmoeDataset *data, FmoeHoldout holdout)
{
	double		newest = -INFINITY;
	int64_t		user;

	for (user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);

		if (end > data->offset[user] && data->events.time[end - 1] > newest)
			newest = data->events.time[end - 1];
		if ((user & 0xffff) == 0)
			fnn_poll(host);
	}
	return newest;
}

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	const FnnHost *host = fnn_arena_host(arena);
	float	   *weight = fnn_alloc(arena, fnn_mul_size(host, data->n_items, sizeof(float)));
	double		half_life = expert->config->half_life_days * SECONDS_A_DAY;
	FnnMark		mark = fnn_arena_mark(arena);
	double	   *sum = fnn_zalloc(arena, fnn_mul_size(host, data->n_items, sizeof(double)));
	double		newest = half_life > 0 ? newest_event(host, data, holdout) : 0;
	int64_t		user;
	int32_t		i;

	for (user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);
		int64_t		event;

		for (event = data->offset[user]; event < end; event++)
			sum[data->events.item[event]] += fmoe_event_weight(&data->events, event) *
				(half_life > 0 ? exp2((data->events.time[event] - newest) / half_life) : 1);
		if ((user & 0xfff) == 0)
			fnn_poll(host);
	}
	for (i = 0; i < data->n_items; i++)
		weight[i] = fmoe_counted(sum[i]);
	fnn_arena_reset(arena, mark);
	fmoe_set_array(expert, 0, FNN_F32, data->n_items, weight);
}

static void
score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
	  int64_t n, const int32_t *item, fnn_real *score)
{
	const float *weight = expert->array[0].data;

	for (int64_t i = 0; i < n; i++)
		score[i] = weight[item != NULL ? item[i] : i];
}

static double
level(const FmoeExpert *expert, int32_t item)
{
	const float *weight = expert->array[0].data;

	return log1p(weight[item]) / 2;
}

static const float *
common(const FmoeExpert *expert)
{
	return expert->array[0].data;
}

static int64_t
moved(const FmoeExpert *expert, const FmoeBatch *batch, int32_t sequence, int64_t max, int32_t *item)
{
	return 0;
}

static void
check(const FmoeExpert *expert, const FnnHost *host)
{
	if (expert->array[0].shape[0] != expert->n_items)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %lld values for %d items", array_names[0],
				 (long long) expert->array[0].shape[0], expert->n_items);
}

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	/* the weight, and while counting the sum as a double */
	return n_items * (sizeof(float) + sizeof(double));
}

static const FnnDtype array_dtypes[] = {FNN_F32};
static const FmoeHolds array_holds[] = {FMOE_HOLDS_LEVELS};

static const FmoeCounter counter = {
	.count = count,
	.bytes = bytes,
	.level = level,
	.array_names = array_names,
	.array_dtypes = array_dtypes,
	.array_holds = array_holds,
	.check = check
};

const FmoeExpertClass fmoe_popularity_class = {
	.name = "popularity",
	.summary = "what is chosen most often",
	.counter = &counter,
	.score = score,
	.common = common,
	.moved = moved
};

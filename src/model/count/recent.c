/*
 * recent.c
 *	  The class recent: how often each item was chosen in the last fifth of the events
 *	  that count, each as often as its weight says.
 */
#include "model/count/count.h"
#include "model/expert/expert.h"

#include <math.h>

static const char *const array_names[] = {"recent.count", NULL};
static const FnnDtype array_dtypes[] = {FNN_F32};
static const FmoeHolds array_holds[] = {FMOE_HOLDS_LEVELS};

#define EARLIER 0.8				/* share of the events that are not recent */
#define POLL_EVERY 0xfff

/* Hoare's selection: time[n] is moved so that time[k] is the k-th smallest, smaller ones before it. */
static void
select_time(const FnnHost *host, int64_t n, double *time, int64_t k)
{
	int64_t		low = 0;
	int64_t		high = n - 1;

	while (low < high)
	{
		double		pivot = time[low + (high - low) / 2];
		int64_t		i = low;
		int64_t		j = high;

		fnn_poll(host);
		while (i <= j)
		{
			while (time[i] < pivot)
				i++;
			while (time[j] > pivot)
				j--;
			if (i <= j)
			{
				double		moved = time[i];

				time[i++] = time[j];
				time[j--] = moved;
			}
		}
		if (k <= j)
			high = j;
		else if (k >= i)
			low = i;
		else
			return;
	}
}

/* The time from which on events are recent: the quantile, between two events the point between them. */
static double
recent_from(const FnnHost *host, int64_t n, double *time)
{
	double		place = EARLIER * (double) (n - 1);
	int64_t		below = (int64_t) place;
	double		next = INFINITY;

	select_time(host, n, time, below);
	for (int64_t i = below + 1; i < n; i++)
		next = fmin(next, time[i]);
	return below + 1 < n ? time[below] + (place - (double) below) * (next - time[below]) : time[below];
}

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	const FnnHost *host = fnn_arena_host(arena);
	float	   *number = fnn_zalloc(arena, fnn_mul_size(host, data->n_items, sizeof(float)));
	FnnMark		mark = fnn_arena_mark(arena);
	double	   *sum = fnn_zalloc(arena, fnn_mul_size(host, data->n_items, sizeof(double)));
	double	   *time = fnn_alloc(arena, fnn_mul_size(host, data->n_events, sizeof(double)));
	double		from;
	int64_t		n = 0;

	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);

		for (int64_t event = data->offset[user]; event < end; event++)
			if (fmoe_event_weight(&data->events, event) > 0)
				time[n++] = data->events.time[event];
		if ((user & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	from = n > 0 ? recent_from(host, n, time) : INFINITY;
	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);

		for (int64_t event = data->offset[user]; event < end; event++)
			if (data->events.time[event] >= from)
				sum[data->events.item[event]] += fmoe_event_weight(&data->events, event);
		if ((user & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	for (int32_t i = 0; i < data->n_items; i++)
		number[i] = fmoe_counted(sum[i]);
	fnn_arena_reset(arena, mark);
	fmoe_set_array(expert, 0, FNN_F32, data->n_items, number);
}

static double
level(const FmoeExpert *expert, int32_t item)
{
	const float *number = expert->array[0].data;

	return log1p(number[item]) / 2;
}

static void
score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
	  int64_t n, const int32_t *item, fnn_real *score)
{
	for (int64_t i = 0; i < n; i++)
	{
		int32_t		of = item != NULL ? item[i] : (int32_t) i;

		score[i] = (fnn_real) (level(expert, of) + fmoe_tie_break(expert, of));
	}
}

static void
check(const FmoeExpert *expert, const FnnHost *host)
{
	const float *number = expert->array[0].data;

	if (expert->array[0].shape[0] != expert->n_items)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %lld values for %d items", array_names[0],
				 (long long) expert->array[0].shape[0], expert->n_items);
	for (int32_t i = 0; i < expert->n_items; i++)
		if (!(number[i] >= 0) || isinf(number[i]))
			fnn_fail(host, FNN_FORMAT, "array \"%s\" holds a number out of range", array_names[0]);
}

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	return n_items * (sizeof(float) + sizeof(double)) + n_events * sizeof(double);
}

static const FmoeCounter counter = {
	.count = count,
	.bytes = bytes,
	.level = level,
	.array_names = array_names,
	.array_dtypes = array_dtypes,
	.array_holds = array_holds,
	.check = check
};

const FmoeExpertClass fmoe_recent_class = {
	.name = "recent",
	.summary = "what was chosen most often of late",
	.counter = &counter,
	.score = score
};

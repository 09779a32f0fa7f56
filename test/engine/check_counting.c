/*
 * check_counting.c
 *	  Experts that count, against their definitions computed the plain way: all
 *	  pairs of all users into a square matrix.
 */
#include "check.h"

#include "model/count/count.h"

#include <math.h>
#include <string.h>

#define USERS 40

/* Random users; some events share a basket, and a basket has an item once. */
static FmoeDataset *
random_users(int32_t n_items, int longest, bool baskets, uint64_t seed)
{
	FmoeDataset *data = fnn_zalloc(check_arena(), sizeof(FmoeDataset));
	int64_t    *offset = fnn_zalloc(check_arena(), sizeof(int64_t) * (USERS + 1));
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * USERS * (size_t) longest);
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * USERS * (size_t) longest);
	double	   *time = fnn_alloc(check_arena(), sizeof(double) * USERS * (size_t) longest);
	int64_t		n = 0;

	for (int u = 0; u < USERS; u++)
	{
		int			length = 1 + (int) fnn_random_below(seed, 1, (uint64_t) u, (uint64_t) longest);
		int32_t		at = 0;

		for (int k = 0; k < length; k++)
		{
			uint64_t	draw = fnn_random_below(seed, 2, (uint64_t) (u * longest + k), (uint64_t) n_items * 4);
			bool		repeats = false;

			/* squared, so that some items are frequent */
			item[n] = (int32_t) ((double) draw * (double) draw / (16.0 * n_items));
			if (k == 0 || !baskets || fnn_random_below(seed, 3, (uint64_t) (u * longest + k), 3) > 0)
				at++;
			for (int64_t b = n - 1; b >= offset[u] && basket[b] == at; b--)
				repeats |= item[b] == item[n];
			if (repeats)
				continue;
			basket[n] = at;
			time[n++] = 1000 * u + at;
		}
		offset[u + 1] = n;
	}
	data->n_users = USERS;
	data->n_events = n;
	data->n_items = n_items;
	data->offset = offset;
	data->events = (FmoeEvents) {.item = item, .time = time, .basket = baskets ? basket : NULL};
	return data;
}

static int64_t
basket_size(const FmoeDataset *data, int64_t user, int64_t event)
{
	int64_t		n = 0;

	for (int64_t k = data->offset[user]; k < data->offset[user + 1]; k++)
		n += data->events.basket == NULL ? k == event : data->events.basket[k] == data->events.basket[event];
	return n;
}

/* How many baskets after a's event b's is; baskets are numbered from 1 without gaps here. */
static int64_t
gap(const FmoeDataset *data, int64_t a, int64_t b)
{
	return data->events.basket != NULL ? data->events.basket[b] - data->events.basket[a] : b - a;
}

/* Events of each item, or what they weigh. */
static double *
item_events(const FmoeDataset *data, bool weighed)
{
	double	   *n = fnn_zalloc(check_arena(), sizeof(double) * (size_t) data->n_items);

	for (int64_t k = 0; k < data->offset[data->n_users]; k++)
		n[data->events.item[k]] += weighed ? fmoe_event_weight(&data->events, k) : 1;
	for (int32_t i = 0; i < data->n_items; i++)
		n[i] = fmax(n[i], 1);
	return n;
}

/* (S + S'/2) / sqrt(events) over events that are at most window from a user's end. */
static double *
plain_sequence(const FmoeDataset *data, int64_t window)
{
	int64_t		items = data->n_items;
	double	   *sum = fnn_zalloc(check_arena(), sizeof(double) * (size_t) (items * items));
	double	   *events = item_events(data, false);
	double	   *weights = item_events(data, true);

	for (int64_t u = 0; u < data->n_users; u++)
		for (int64_t a = data->offset[u]; a < data->offset[u + 1]; a++)
			for (int64_t b = data->offset[u]; b < data->offset[u + 1]; b++)
			{
				int64_t		x = data->events.item[a];
				int64_t		y = data->events.item[b];
				double		value;

				if (gap(data, a, b) < 1 || data->offset[u + 1] - a > window)
					continue;
				value = pow(0.8, (double) gap(data, a, b) - 1) / (double) basket_size(data, u, a);
				sum[x * items + y] += value * fmoe_event_weight(&data->events, b);
				sum[y * items + x] += value / 2 * fmoe_event_weight(&data->events, a);
			}
	for (int64_t k = 0; k < items * items; k++)
		sum[k] /= sqrt(events[k / items] * weights[k % items]);
	return sum;
}

/* Users of both / sqrt(events); a user counts what the largest of the second item's events weighs. */
static double *
plain_neighbours(const FmoeDataset *data)
{
	int64_t		items = data->n_items;
	double	   *sum = fnn_zalloc(check_arena(), sizeof(double) * (size_t) (items * items));
	double	   *events = item_events(data, false);
	double	   *weights = item_events(data, true);
	double	   *has = fnn_alloc(check_arena(), sizeof(double) * (size_t) items);

	for (int64_t u = 0; u < data->n_users; u++)
	{
		for (int64_t i = 0; i < items; i++)
			has[i] = -1;
		for (int64_t k = data->offset[u]; k < data->offset[u + 1]; k++)
			has[data->events.item[k]] = fmax(has[data->events.item[k]], fmoe_event_weight(&data->events, k));
		for (int64_t k = 0; k < items * items; k++)
			if (has[k / items] >= 0 && has[k % items] > 0 && k / items != k % items)
				sum[k] += has[k % items];
	}
	for (int64_t k = 0; k < items * items; k++)
		sum[k] /= sqrt(events[k / items] * weights[k % items]);
	return sum;
}

static FmoeModel *
counted(const char *class, const FmoeDataset *data, FmoeHoldout holdout)
{
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeConfig *config = fnn_alloc(check_arena(), sizeof(FmoeConfig));

	*config = check_config(class);
	config->holdout = holdout;
	fmoe_count_experts(model, check_arena(), config, data);
	return model;
}

/* Rows hold the largest entries of the plain matrix, so many at most; returns how many rows had more. */
static int64_t
compare_rows(const FmoeModel *model, const double *plain)
{
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	const int64_t *offset = expert->array[FMOE_PAIRS_OFFSET].data;
	const int32_t *item = expert->array[FMOE_PAIRS_ITEM].data;
	const float *value = expert->array[FMOE_PAIRS_VALUE].data;
	int64_t		n = model->n_items;
	int64_t		cut = 0;

	for (int64_t i = 0; i < n; i++)
	{
		double		least = INFINITY;
		int64_t		nonzero = 0;
		int64_t		larger = 0;

		for (int64_t k = offset[i]; k < offset[i + 1]; k++)
		{
			CHECK(check_close(value[k], plain[i * n + item[k]], 1e-6), "row %d item %d: %g instead of %g", (int) i,
				  item[k], value[k], plain[i * n + item[k]]);
			least = fmin(least, value[k]);
		}
		for (int64_t j = 0; j < n; j++)
		{
			nonzero += plain[i * n + j] > 0;
			larger += plain[i * n + j] > least + 1e-6;
		}
		CHECK(offset[i + 1] - offset[i] == (nonzero < FMOE_NEIGHBOURS_MAX ? nonzero : FMOE_NEIGHBOURS_MAX),
			  "row %d has %d entries of %d", (int) i, (int) (offset[i + 1] - offset[i]), (int) nonzero);
		CHECK(larger <= FMOE_NEIGHBOURS_MAX, "row %d: %d are larger than what is kept", (int) i, (int) larger);
		cut += nonzero > FMOE_NEIGHBOURS_MAX;
	}
	return cut;
}

static void
check_rows(void)
{
	for (int baskets = 0; baskets < 2; baskets++)
	{
		const FmoeDataset *data = random_users(12, 30, baskets, 7);
		const FmoeDataset *many = random_users(600, 49, baskets, 9);
		const FmoeDataset *lasting = random_users(12, 90, false, 8);
		FmoeDataset *weighed = random_users(12, 30, baskets, 10);

		check_event_weights(weighed, 0, 10);
		check_begin("sequence counts decayed pairs%s", baskets ? " of baskets" : "");
		compare_rows(counted("sequence", data, FMOE_HOLDOUT_NONE), plain_sequence(data, 1000));
		CHECK(compare_rows(counted("sequence", many, FMOE_HOLDOUT_NONE), plain_sequence(many, 1000)) > 0,
			  "no row is cut");
		compare_rows(counted("sequence", weighed, FMOE_HOLDOUT_NONE), plain_sequence(weighed, 1000));
		compare_rows(counted("sequence", lasting, FMOE_HOLDOUT_NONE), plain_sequence(lasting, FMOE_SEQUENCE_EVENTS));
		check_end();
		check_begin("neighbours counts users of both%s", baskets ? ", in baskets" : "");
		compare_rows(counted("neighbours", data, FMOE_HOLDOUT_NONE), plain_neighbours(data));
		compare_rows(counted("neighbours", weighed, FMOE_HOLDOUT_NONE), plain_neighbours(weighed));
		CHECK(compare_rows(counted("neighbours", many, FMOE_HOLDOUT_NONE), plain_neighbours(many)) > 0,
			  "no row is cut");
		check_end();
	}
}

/* The scores after a history by the definition; plain NULL: an item's row is itself. */
static void
plain_scores(const FmoeModel *model, const FmoeDataset *data, int64_t user, const double *plain, double *score)
{
	const float *popularity = model->expert[FMOE_POPULARITY].array[0].data;
	int64_t		end = data->offset[user + 1];
	int32_t		n = data->n_items;

	for (int32_t i = 0; i < n; i++)
	{
		double		sum = 0;

		for (int64_t k = data->offset[user]; k < end; k++)
			if (end - k <= FMOE_SEQUENCE_EVENTS)
				sum += pow(0.8, (double) gap(data, k, end - 1)) / (double) basket_size(data, user, k) *
					(plain != NULL ? plain[data->events.item[k] * n + i] : data->events.item[k] == i);
		score[i] = log(1 + 100 * sum) / 2 + 1e-3 * log(1 + popularity[i]) / 2;
	}
}

/* What a gate adds is the score without the order of equal ones, times the weight. */
static void
compare_added(const FmoeModel *model, const FmoeBatch *batch, const double *score)
{
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	const float *popularity = model->expert[FMOE_POPULARITY].array[0].data;
	float	   *sum = fnn_zalloc(check_arena(), sizeof(float) * (size_t) model->n_items);

	expert->class->counter->add(expert, check_arena(), batch, 0, -1.5, sum);
	for (int32_t i = 0; i < model->n_items; i++)
	{
		double		expected = -1.5 * (score[i] - 1e-3 * log(1 + (double) popularity[i]) / 2);

		CHECK(check_close((double) sum[i], expected, 1e-5), "item %d: %g added instead of %g", i, (double) sum[i],
			  expected);
	}
}

static void
compare_scores(const FmoeModel *model, const FmoeDataset *data, const double *plain)
{
	int32_t		n = data->n_items;
	int32_t		few[] = {5, 0, 3};

	for (int64_t u = 0; u < data->n_users; u++)
	{
		FmoeBatch  *batch = fmoe_batch(check_arena(), &data->events, 1, &data->offset[u], &data->offset[u + 1], 100);
		fnn_real   *score = fnn_alloc_reals(check_arena(), 1, n);
		double	   *expected = fnn_alloc(check_arena(), sizeof(double) * (size_t) n);
		fnn_real	some[3];

		fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
		plain_scores(model, data, u, plain, expected);
		for (int32_t i = 0; i < n; i++)
			CHECK(check_close(score[i], expected[i], 1e-5), "user %d item %d: %g instead of %g", (int) u, i, score[i],
				  expected[i]);
		compare_added(model, batch, expected);
		fmoe_scores_of(model, FMOE_MAIN, check_arena(), batch, 3, few, some);
		for (int i = 0; i < 3; i++)
			CHECK(some[i] == score[few[i]], "asked for alone, item %d has another score", few[i]);
	}
}

static void
check_scores(void)
{
	for (int baskets = 0; baskets < 2; baskets++)
	{
		const FmoeDataset *data = random_users(12, 30, baskets, 17);
		const FmoeDataset *sparse = random_users(900, 4, baskets, 18);

		check_begin("scores of counting experts after histories%s", baskets ? " of baskets" : "");
		compare_scores(counted("sequence", data, FMOE_HOLDOUT_NONE), data, plain_sequence(data, 1000));
		compare_scores(counted("neighbours", data, FMOE_HOLDOUT_NONE), data, plain_neighbours(data));
		compare_scores(counted("repeat", data, FMOE_HOLDOUT_NONE), data, NULL);
		/* many items, of which a history says something of few */
		compare_scores(counted("sequence", sparse, FMOE_HOLDOUT_NONE), sparse, plain_sequence(sparse, 1000));
		check_end();
	}
}

static void
check_recent(void)
{
	/* 11 events at 0 .. 10: from the quantile .8, which is 8, on */
	static const int64_t offset[] = {0, 6, 11};
	static const int32_t item[] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1};
	static const double time[] = {0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9};
	static const float weight[] = {1, 1, 1, 0, 2.5f, 0, 1, 1, 1, 0, 4};
	FmoeDataset data = {.n_users = 2, .n_events = 11, .n_items = 4, .offset = offset,
	.events = {.item = item, .time = time}};
	const float *count = counted("recent", &data, FMOE_HOLDOUT_NONE)->expert[FMOE_MAIN].array[0].data;

	check_begin("recent counts the last fifth of the events");
	CHECK(count[0] == 0 && count[1] == 2 && count[2] == 1 && count[3] == 0, "counts are %g %g %g %g", count[0],
		  count[1], count[2], count[3]);
	/* without the last two of each: 0 2 4 6 and 1 3 5; the quantile of seven is 4.8 */
	count = counted("recent", &data, FMOE_HOLDOUT_TEST)->expert[FMOE_MAIN].array[0].data;
	CHECK(count[0] == 1 && count[1] == 0 && count[2] == 1, "held back: %g %g %g", count[0], count[1], count[2]);
	/* those that count are at 0 .. 5, 8 and 9: from 6.8 on */
	data.events.weight = weight;
	count = counted("recent", &data, FMOE_HOLDOUT_NONE)->expert[FMOE_MAIN].array[0].data;
	CHECK(count[0] == 0 && count[1] == 6.5f && count[2] == 0, "by weights: %g %g %g", count[0], count[1], count[2]);
	check_end();
}

static void
check_holdout(void)
{
	FmoeDataset *data = random_users(12, 30, true, 27);
	FmoeDataset cut = *data;
	int64_t    *offset = fnn_zalloc(check_arena(), sizeof(int64_t) * (USERS + 1));
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_events);
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_events);
	double	   *time = fnn_alloc(check_arena(), sizeof(double) * (size_t) data->n_events);
	static const char *const classes[] = {"recent", "sequence", "neighbours"};

	for (int u = 0; u < USERS; u++)
	{
		int64_t		begin = data->offset[u];
		int64_t		n = fmoe_train_end(data, FMOE_HOLDOUT_VALIDATION, u) - begin;

		memcpy(item + offset[u], data->events.item + begin, sizeof(int32_t) * (size_t) n);
		memcpy(basket + offset[u], data->events.basket + begin, sizeof(int32_t) * (size_t) n);
		memcpy(time + offset[u], data->events.time + begin, sizeof(double) * (size_t) n);
		offset[u + 1] = offset[u] + n;
	}
	cut.offset = offset;
	cut.n_events = offset[USERS];
	cut.events = (FmoeEvents) {.item = item, .time = time, .basket = basket};
	check_begin("events that are held back are not counted");
	for (int c = 0; c < 3; c++)
	{
		const FmoeModel *held = counted(classes[c], data, FMOE_HOLDOUT_VALIDATION);
		const FmoeModel *gone = counted(classes[c], &cut, FMOE_HOLDOUT_NONE);

		for (int a = 0; held->expert[FMOE_MAIN].class->counter->array_names[a] != NULL; a++)
		{
			const FnnArray *x = &held->expert[FMOE_MAIN].array[a];
			const FnnArray *y = &gone->expert[FMOE_MAIN].array[a];

			CHECK(x->bytes == y->bytes && memcmp(x->data, y->data, x->bytes) == 0, "%s differs", x->name);
		}
	}
	check_end();
}

/* ---------------------------------------------------------------- as arrays */

typedef struct Stored
{
	FmoeModel  *model;
	FnnArray	arrays[64];
	int			n;
} Stored;

static void
bind_stored(void *context)
{
	Stored	   *stored = context;
	FmoeModel	bound;

	fmoe_model_bind(&bound, check_host(), &stored->model->config, stored->model->n_items, stored->n, stored->arrays);
}

static void
check_arrays(void)
{
	const FmoeDataset *data = random_users(12, 30, true, 37);
	FmoeModel  *model = counted("sequence", data, FMOE_HOLDOUT_NONE);
	Stored		stored = {.model = model};
	FmoeModel	bound;
	int32_t    *item;
	float	   *value;

	check_begin("a counting expert's arrays are bound again, and checked");
	stored.n = fmoe_model_arrays(model, stored.arrays, 64);
	fmoe_model_bind(&bound, check_host(), &model->config, model->n_items, stored.n, stored.arrays);
	compare_scores(&bound, data, plain_sequence(data, 1000));
	item = model->expert[FMOE_MAIN].array[FMOE_PAIRS_ITEM].data;
	value = model->expert[FMOE_MAIN].array[FMOE_PAIRS_VALUE].data;
	item[0] += 1000;
	check_fails(FNN_FORMAT, "sequence", bind_stored, &stored);
	item[0] -= 1000;
	value[0] = NAN;
	check_fails(FNN_FORMAT, "sequence", bind_stored, &stored);
	check_end();
}

void
check_counting(void)
{
	check_rows();
	check_scores();
	check_recent();
	check_holdout();
	check_arrays();
}

/*
 * rates.c
 *	  The classes constant, user_rate and user_category_rate: probabilities of a click
 *	  without learning, which a model of clicks must beat.
 *
 *		constant			the share of clicks in all
 *		user_rate			logit((clicks + a p) / (impressions + a)) of the user's history, p being that share
 *		user_category_rate	the same, and the log-odds of the value that the item has in one category
 *
 * The log-odds of a value are pulled to 0 by VALUE_PULL impressions.  Which category, and
 * how strong a is, is tried out: counted without each user's last fifth of the events that
 * train, the least loss on these wins.
 */
#include "model/count/count.h"
#include "model/expert/expert.h"

#include <math.h>
#include <string.h>

#define VALUE_PULL 20.0

static const double pulls[] = {2, 5, 10, 20, 50};

#define PULLS ((int) (sizeof(pulls) / sizeof(pulls[0])))

/* Arrays. */
enum
{
	SHARE,						/* [2] the logit of p, and a */
	COLUMN,						/* [1] which feature, -1: none */
	ODDS						/* [width + 1] of its values, last of what has none */
};

static bool
clicked(const FmoeEvents *events, int64_t event)
{
	return events->label == NULL || events->label[event] > 0;
}

static double
logit_of(double clicks, double n, double pull, double share)
{
	double		rate = (clicks + pull * share) / (n + pull);

	return log(rate / (1 - rate));
}

static double
probability(double logit)
{
	return 1 / (1 + exp(-logit));
}

/* ---------------------------------------------------------------- counting */

/* What is counted of a dataset: of each user the events before end. */
typedef struct Counting
{
	const FnnHost *host;
	const FmoeDataset *data;
	FmoeHoldout holdout;
	bool		trial;			/* without the last fifth of what trains */
	double		share;
} Counting;

static int64_t
counted_end(const Counting *counting, int64_t user)
{
	int64_t		end = fmoe_train_end(counting->data, counting->holdout, user);

	return counting->trial ? fmoe_last_fifth(counting->data, user, end) : end;
}

/* The share of clicks, pulled a little to a half. */
static double
share_of(const Counting *counting)
{
	const FmoeDataset *data = counting->data;
	double		n = 2;
	double		clicks = 1;

	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = counted_end(counting, user);

		n += (double) (end - data->offset[user]);
		for (int64_t event = data->offset[user]; event < end; event++)
			clicks += clicked(&data->events, event);
		if ((user & 0xfff) == 0)
			fnn_poll(counting->host);
	}
	return clicks / n;
}

/* The values of an item; of none, the one behind the last. */
static int64_t
values_of(const FmoeFeatures *features, int column, int32_t item, const int32_t **value)
{
	const FmoeFeature *feature = &features->feature[column];
	int64_t		n = item < features->n ? feature->offset[item + 1] - feature->offset[item] : 0;

	*value = n > 0 ? feature->term + feature->offset[item] : &feature->width;
	return n > 0 ? n : 1;
}

/* odds[width + 1] of the values of a category. */
static void
count_odds(const Counting *counting, FnnArena *arena, int column, float *odds)
{
	const FmoeDataset *data = counting->data;
	int64_t		width = data->features->feature[column].width + (int64_t) 1;
	FnnMark		mark = fnn_arena_mark(arena);
	double	   *n = fnn_zalloc(arena, sizeof(double) * (size_t) width);
	double	   *clicks = fnn_zalloc(arena, sizeof(double) * (size_t) width);

	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = counted_end(counting, user);

		for (int64_t event = data->offset[user]; event < end; event++)
		{
			const int32_t *value;
			int64_t		values = values_of(data->features, column, data->events.item[event], &value);

			for (int64_t k = 0; k < values; k++)
			{
				n[value[k]]++;
				clicks[value[k]] += clicked(&data->events, event);
			}
		}
		if ((user & 0xfff) == 0)
			fnn_poll(counting->host);
	}
	for (int64_t v = 0; v < width; v++)
		odds[v] = (float) (logit_of(clicks[v], n[v], VALUE_PULL, counting->share) -
						   log(counting->share / (1 - counting->share)));
	fnn_arena_reset(arena, mark);
}

static double
odds_of(const FmoeFeatures *features, int column, const float *odds, int32_t item)
{
	const int32_t *value;
	int64_t		n;
	double		sum = 0;

	if (column < 0 || features == NULL)
		return 0;
	n = values_of(features, column, item, &value);
	for (int64_t k = 0; k < n; k++)
		sum += (double) odds[value[k]];
	return sum / (double) n;
}

/* The loss on the last fifth of what trains, with odds of a category (-1: none) counted on the others. */
static double
loss_on_trial(const Counting *counting, double pull, int column, const float *odds)
{
	const FmoeDataset *data = counting->data;
	double		loss = 0;

	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, counting->holdout, user);
		int64_t		from = counted_end(counting, user);
		double		clicks = 0;

		for (int64_t event = data->offset[user]; event < end; event++)
		{
			if (event >= from)
				loss += fnn_click_loss_of(logit_of(clicks, (double) (event - data->offset[user]), pull,
												   counting->share) +
										  odds_of(data->features, column, odds, data->events.item[event]),
										  clicked(&data->events, event));
			clicks += clicked(&data->events, event);
		}
		if ((user & 0xfff) == 0)
			fnn_poll(counting->host);
	}
	return loss;
}

static bool
is_category(const FmoeFeature *feature)
{
	return feature->modality == FMOE_CATEGORY && feature->value == NULL;
}

static double
best_pull(const Counting *counting)
{
	double		least = INFINITY;
	double		pull = pulls[0];

	for (int i = 0; i < PULLS; i++)
	{
		double		loss = loss_on_trial(counting, pulls[i], -1, NULL);

		if (loss < least)
			pull = pulls[i];
		least = fmin(least, loss);
	}
	return pull;
}

static int
best_column(const Counting *counting, FnnArena *arena, double pull)
{
	const FmoeFeatures *features = counting->data->features;
	double		least = loss_on_trial(counting, pull, -1, NULL);
	int			best = -1;

	for (int i = 0; features != NULL && i < features->count; i++)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		float	   *odds;
		double		loss;

		if (!is_category(&features->feature[i]))
			continue;
		odds = fnn_alloc(arena, sizeof(float) * ((size_t) features->feature[i].width + 1));
		count_odds(counting, arena, i, odds);
		loss = loss_on_trial(counting, pull, i, odds);
		if (loss < least)
			best = i;
		least = fmin(least, loss);
		fnn_arena_reset(arena, mark);
	}
	return best;
}

static void
set_share(FmoeExpert *expert, FnnArena *arena, double share, double pull)
{
	float	   *numbers = fnn_alloc(arena, 2 * sizeof(float));

	numbers[0] = (float) log(share / (1 - share));
	numbers[1] = (float) pull;
	fmoe_set_array(expert, SHARE, FNN_F32, 2, numbers);
}

static void
count_constant(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	Counting	counting = {.host = fnn_arena_host(arena), .data = data, .holdout = holdout};

	set_share(expert, arena, share_of(&counting), 0);
}

/* The share without the last fifth of what trains, and the pull that is best on it. */
static Counting
trial_of(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, double *pull)
{
	Counting	counting = {.host = fnn_arena_host(arena), .data = data, .holdout = holdout, .trial = true};

	counting.share = share_of(&counting);
	*pull = best_pull(&counting);
	return counting;
}

static void
count_user(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	double		pull;
	Counting	counting = trial_of(arena, data, holdout, &pull);

	counting.trial = false;
	set_share(expert, arena, share_of(&counting), pull);
}

static void
count_category(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	double		pull;
	Counting	counting = trial_of(arena, data, holdout, &pull);
	int32_t    *column = fnn_alloc(arena, sizeof(int32_t));
	int64_t		width;
	float	   *odds;

	*column = best_column(&counting, arena, pull);
	counting.trial = false;
	counting.share = share_of(&counting);
	set_share(expert, arena, counting.share, pull);
	fmoe_set_array(expert, COLUMN, FNN_I32, 1, column);
	width = *column >= 0 ? data->features->feature[*column].width + (int64_t) 1 : 0;
	odds = fnn_alloc(arena, sizeof(float) * (size_t) (width + 1));
	if (*column >= 0)
		count_odds(&counting, arena, *column, odds);
	fmoe_set_array(expert, ODDS, FNN_F32, width, odds);
}

/* ---------------------------------------------------------------- predicting */

static double
own_logit(const FmoeExpert *expert, double clicks, double n)
{
	const float *share = expert->array[SHARE].data;

	if (share[1] <= 0)
		return (double) share[0];
	return logit_of(clicks, n, (double) share[1], probability((double) share[0]));
}

static double
item_logit(const FmoeExpert *expert, int32_t item)
{
	if (expert->class->counter->array_names[COLUMN] == NULL)
		return 0;
	return odds_of(expert->features, *(const int32_t *) expert->array[COLUMN].data, expert->array[ODDS].data, item);
}

static void
foresee(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *logit)
{
	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int32_t		first = batch->sequences.offset[s];
		double		clicks = 0;
		int32_t		end;

		for (int32_t t = first; t < batch->sequences.offset[s + 1]; t = end)
		{
			double		own = own_logit(expert, clicks, t - first);

			end = batch->baskets != NULL ? t + batch->baskets->count[batch->baskets->of[t]] : t + 1;
			for (int32_t k = t; k < end; k++)
				logit[k] = (fnn_real) (own + item_logit(expert, batch->events.item[k]));
			for (int32_t k = t; k < end; k++)
				clicks += clicked(&batch->events, k);
		}
	}
}

static void
score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int64_t n,
	  const int32_t *item, fnn_real *score)
{
	int32_t		first = batch->sequences.offset[sequence];
	int32_t		end = batch->sequences.offset[sequence + 1];
	double		clicks = 0;
	double		own;

	for (int32_t t = first; t < end; t++)
		clicks += clicked(&batch->events, t);
	own = own_logit(expert, clicks, end - first);
	for (int64_t i = 0; i < n; i++)
		score[i] = (fnn_real) (own + item_logit(expert, item != NULL ? item[i] : (int32_t) i));
}

/* ---------------------------------------------------------------- the classes */

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	double		widest = 0;

	for (int i = 0; features != NULL && i < features->count; i++)
		widest = fmax(widest, features->feature[i].width + 1.0);
	return 1024 + widest * (2 * sizeof(double) + 2 * sizeof(float));
}

static void
check(const FmoeExpert *expert, const FnnHost *host)
{
	const char *const *name = expert->class->counter->array_names;
	const float *share = expert->array[SHARE].data;
	int32_t		column;
	int64_t		width;

	if (expert->array[SHARE].shape[0] != 2 || !isfinite(share[0]) || !isfinite(share[1]))
		fnn_fail(host, FNN_FORMAT, "array \"%s\" does not hold two finite numbers", name[SHARE]);
	if (name[COLUMN] == NULL)
		return;
	if (expert->array[COLUMN].shape[0] != 1)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" does not hold one number", name[COLUMN]);
	column = *(const int32_t *) expert->array[COLUMN].data;
	if (column >= 0 && (expert->features == NULL || column >= expert->features->count ||
						!is_category(&expert->features->feature[column])))
		fnn_fail(host, FNN_FORMAT, "array \"%s\" names no category", name[COLUMN]);
	width = column >= 0 ? expert->features->feature[column].width + (int64_t) 1 : 0;
	if (expert->array[ODDS].shape[0] != width)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %lld values for a category of %lld", name[ODDS],
				 (long long) expert->array[ODDS].shape[0], (long long) width);
	for (int64_t v = 0; v < width; v++)
		if (!isfinite(((const float *) expert->array[ODDS].data)[v]))
			fnn_fail(host, FNN_FORMAT, "array \"%s\" holds a value that is not finite", name[ODDS]);
}

static unsigned
reads_labels(const FmoeConfig *config)
{
	return FMOE_READS_LABELS;
}

static unsigned
reads_categories(const FmoeConfig *config)
{
	return FMOE_READS_LABELS | FMOE_READS_CATEGORIES;
}

static const FnnDtype array_dtypes[] = {FNN_F32, FNN_I32, FNN_F32};
static const FmoeHolds array_holds[] = {FMOE_HOLDS_NUMBERS, FMOE_HOLDS_NUMBERS, FMOE_HOLDS_NUMBERS};
static const char *const constant_names[] = {"constant.share", NULL};
static const char *const user_names[] = {"user_rate.share", NULL};
static const char *const category_names[] = {"user_category_rate.share", "user_category_rate.column",
"user_category_rate.odds", NULL};

#define COUNTER(counts, names) { \
	.count = counts, .bytes = bytes, .array_names = names, .array_dtypes = array_dtypes, .array_holds = array_holds, \
	.history = INT32_MAX, .check = check \
}

static const FmoeCounter constant_counter = COUNTER(count_constant, constant_names);
static const FmoeCounter user_counter = COUNTER(count_user, user_names);
static const FmoeCounter category_counter = COUNTER(count_category, category_names);

const FmoeExpertClass fmoe_constant_class = {
	.name = "constant",
	.summary = "the share of impressions that are clicked",
	.counter = &constant_counter,
	.judged_by = FMOE_BY_CLICKS,
	.reads = reads_labels,
	.score = score,
	.foresee = foresee
};

const FmoeExpertClass fmoe_user_rate_class = {
	.name = "user_rate",
	.summary = "the share of impressions that the user clicked",
	.counter = &user_counter,
	.judged_by = FMOE_BY_CLICKS,
	.reads = reads_labels,
	.score = score,
	.foresee = foresee
};

const FmoeExpertClass fmoe_user_category_rate_class = {
	.name = "user_category_rate",
	.summary = "the same, and how often a category's items are clicked",
	.counter = &category_counter,
	.judged_by = FMOE_BY_CLICKS,
	.reads = reads_categories,
	.score = score,
	.foresee = foresee
};

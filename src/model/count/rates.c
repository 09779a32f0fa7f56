/*
 * rates.c
 *	  The classes constant, user_rate and user_category_rate: probabilities of a click
 *	  without learning, which a model of clicks must beat.
 *
 *		constant			the share of clicks in all
 *		user_rate			logit((clicks + a p) / (impressions + a)) of the user's history, p being that share
 *		user_category_rate	the same, and the log-odds of the value that the item has in one category
 *
 * What is counted, and how a and the category are chosen, is in expert/rates.c.
 */
#include "model/count/count.h"
#include "model/expert/expert.h"
#include "model/expert/rates.h"

#include <math.h>
#include <string.h>

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

/* ---------------------------------------------------------------- counting */

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
	set_share(expert, arena, fmoe_click_share(fnn_arena_host(arena), data, holdout), 0);
}

static void
count_user(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	FmoeClickRates rates = fmoe_click_rates(arena, data, holdout, false);

	set_share(expert, arena, rates.share, rates.pull);
}

static void
count_category(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	FmoeClickRates rates = fmoe_click_rates(arena, data, holdout, true);
	int32_t    *column = fnn_alloc(arena, sizeof(int32_t));

	*column = rates.column;
	set_share(expert, arena, rates.share, rates.pull);
	fmoe_set_array(expert, COLUMN, FNN_I32, 1, column);
	fmoe_set_array(expert, ODDS, FNN_F32, rates.width, rates.odds);
}

/* ---------------------------------------------------------------- predicting */

static double
own_logit(const FmoeExpert *expert, double clicks, double n)
{
	const float *share = expert->array[SHARE].data;

	if (share[1] <= 0)
		return (double) share[0];
	return fmoe_click_logit(clicks, n, (double) share[1], 1 / (1 + exp(-(double) share[0])));
}

static double
item_logit(const FmoeExpert *expert, int32_t item)
{
	if (expert->class->counter->array_names[COLUMN] == NULL)
		return 0;
	return fmoe_click_odds(expert->features, *(const int32_t *) expert->array[COLUMN].data,
						   expert->array[ODDS].data, item);
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
	return fmoe_click_rates_bytes(features);
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
						!fmoe_is_category(&expert->features->feature[column])))
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

static const char *const defaults[] = {"max_length", "200", "holdout", "validation_fifth", NULL};

const FmoeExpertClass fmoe_constant_class = {
	.name = "constant",
	.summary = "the share of impressions that are clicked",
	.counter = &constant_counter,
	.defaults = defaults,
	.judged_by = FMOE_BY_CLICKS,
	.reads = reads_labels,
	.score = score,
	.foresee = foresee
};

const FmoeExpertClass fmoe_user_rate_class = {
	.name = "user_rate",
	.summary = "the share of impressions that the user clicked",
	.counter = &user_counter,
	.defaults = defaults,
	.judged_by = FMOE_BY_CLICKS,
	.reads = reads_labels,
	.score = score,
	.foresee = foresee
};

const FmoeExpertClass fmoe_user_category_rate_class = {
	.name = "user_category_rate",
	.summary = "the same, and how often a category's items are clicked",
	.counter = &category_counter,
	.defaults = defaults,
	.judged_by = FMOE_BY_CLICKS,
	.reads = reads_categories,
	.score = score,
	.foresee = foresee
};

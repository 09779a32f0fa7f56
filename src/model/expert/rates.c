/*
 * rates.c
 *	  Click rates that are counted: what needs no learning, and what learning begins with.
 *
 * The log-odds of a category's value are pulled to 0 by VALUE_PULL impressions.  Which
 * category says most, and how strongly a user's rate is pulled to that of all, is tried
 * out: counted without each user's last fifth of the events that train, the least loss
 * on these wins.
 */
#include "model/expert/rates.h"

#include <math.h>

#define VALUE_PULL 20.0

static const double pulls[] = {2, 5, 10, 20, 50};

#define PULLS ((int) (sizeof(pulls) / sizeof(pulls[0])))

static bool
clicked(const FmoeEvents *events, int64_t event)
{
	return events->label == NULL || events->label[event] > 0;
}

double
fmoe_click_logit(double clicks, double n, double pull, double share)
{
	double		rate = (clicks + pull * share) / (n + pull);

	return log(rate / (1 - rate));
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
		odds[v] = (float) (fmoe_click_logit(clicks[v], n[v], VALUE_PULL, counting->share) -
						   log(counting->share / (1 - counting->share)));
	fnn_arena_reset(arena, mark);
}

double
fmoe_click_odds(const FmoeFeatures *features, int column, const float *odds, int32_t item)
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
				loss += fnn_click_loss_of(fmoe_click_logit(clicks, (double) (event - data->offset[user]), pull,
														   counting->share) +
										  fmoe_click_odds(data->features, column, odds, data->events.item[event]),
										  clicked(&data->events, event));
			clicks += clicked(&data->events, event);
		}
		if ((user & 0xfff) == 0)
			fnn_poll(counting->host);
	}
	return loss;
}

bool
fmoe_is_category(const FmoeFeature *feature)
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

		if (!fmoe_is_category(&features->feature[i]))
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

double
fmoe_click_share(const FnnHost *host, const FmoeDataset *data, FmoeHoldout holdout)
{
	Counting	counting = {.host = host, .data = data, .holdout = holdout};

	return share_of(&counting);
}

FmoeClickRates
fmoe_click_rates(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, bool categories)
{
	Counting	counting = {.host = fnn_arena_host(arena), .data = data, .holdout = holdout, .trial = true};
	FmoeClickRates rates = {.column = -1};

	counting.share = share_of(&counting);
	rates.pull = best_pull(&counting);
	if (categories)
		rates.column = best_column(&counting, arena, rates.pull);
	counting.trial = false;
	counting.share = rates.share = share_of(&counting);
	if (rates.column >= 0)
		rates.width = data->features->feature[rates.column].width + (int64_t) 1;
	rates.odds = fnn_alloc(arena, sizeof(float) * (size_t) (rates.width + 1));
	if (rates.column >= 0)
		count_odds(&counting, arena, rates.column, rates.odds);
	return rates;
}

double
fmoe_click_rates_bytes(const FmoeFeatures *features)
{
	double		widest = 0;

	for (int i = 0; features != NULL && i < features->count; i++)
		widest = fmax(widest, features->feature[i].width + 1.0);
	return 1024 + widest * (2 * sizeof(double) + 2 * sizeof(float));
}

/*
 * rates.c
 *	  Click rates counted in a history: what is known of a user without learning.
 *
 *	  of all impressions		logit((clicks + a p) / (impressions + a))
 *	  of the recent ones		the same with those of k impressions ago counting 0.8^k, pulled to the user's rate
 *	  of a category's value		the same with the impressions that have the item's value
 *
 * p is the share of clicks in what trained, a what was best there; the last two are differences to the first.
 * An impression knows those of earlier baskets, never those beside it.
 */
#include "model/mrff/mrff.h"

#include <math.h>
#include <string.h>

#define PULL_TO_RECENT 3.0
#define PULL_TO_VALUE 6.0
#define KEPT 0.8				/* of what was counted, with each impression */

enum
{
	RATE_USER,
	RATE_RECENT,
	RATE_VALUES = FMOE_MRFF_RATES	/* one for each category */
};

/* What was counted of the impressions so far. */
typedef struct Counted
{
	const FmoeFeatures *features;
	const FmoeMrffLayout *layout;
	double		share;
	double		pull;
	double		n;
	double		clicks;
	double		recent_n;
	double		recent_clicks;
	float	   *value_n[FMOE_FEATURES_MAX]; /* [width + 1] of each category */
	float	   *value_clicks[FMOE_FEATURES_MAX];
} Counted;

static void
begin_counting(FnnArena *arena, Counted *counted, const FmoeExpert *expert, const FmoeMrffLayout *layout)
{
	const fnn_real *share = fmoe_parameter(expert, layout->rates + 1)->value;

	memset(counted, 0, sizeof(*counted));
	counted->features = expert->features;
	counted->layout = layout;
	counted->share = 1 / (1 + exp(-(double) share[0]));
	counted->pull = fmax((double) share[1], 1);
	for (int i = 0; i < layout->n_item_features; i++)
	{
		size_t		bytes = sizeof(float) * ((size_t) expert->features->feature[layout->item_feature[i]].width + 1);

		counted->value_n[i] = fnn_zalloc(arena, bytes);
		counted->value_clicks[i] = fnn_zalloc(arena, bytes);
	}
}

/* The terms of an item; of none, the one behind the last. */
static int64_t
values_of(const Counted *counted, int i, int32_t item, const int32_t **value, int32_t *none)
{
	const FmoeFeature *feature = &counted->features->feature[counted->layout->item_feature[i]];
	int64_t		n = item < counted->features->n ? feature->offset[item + 1] - feature->offset[item] : 0;

	*none = feature->width;
	*value = n > 0 ? feature->term + feature->offset[item] : none;
	return n > 0 ? n : 1;
}

static void
count_event(Counted *counted, int32_t item, bool clicked)
{
	counted->n++;
	counted->clicks += clicked;
	counted->recent_n = KEPT * counted->recent_n + 1;
	counted->recent_clicks = KEPT * counted->recent_clicks + clicked;
	for (int i = 0; i < counted->layout->n_item_features; i++)
	{
		const int32_t *value;
		int32_t		none;
		int64_t		n = values_of(counted, i, item, &value, &none);

		for (int64_t k = 0; k < n; k++)
		{
			counted->value_n[i][value[k]]++;
			counted->value_clicks[i][value[k]] += (float) clicked;
		}
	}
}

static void
rates_of(const Counted *counted, int32_t item, fnn_real *rate)
{
	double		user = fmoe_click_logit(counted->clicks, counted->n, counted->pull, counted->share);
	double		mean = 1 / (1 + exp(-user));

	rate[RATE_USER] = (fnn_real) user;
	rate[RATE_RECENT] = (fnn_real) (fmoe_click_logit(counted->recent_clicks, counted->recent_n, PULL_TO_RECENT,
													 mean) - user);
	for (int i = 0; i < counted->layout->n_item_features; i++)
	{
		const int32_t *value;
		int32_t		none;
		int64_t		n = values_of(counted, i, item, &value, &none);
		double		sum = 0;

		for (int64_t k = 0; k < n; k++)
		{
			double		clicks = (double) counted->value_clicks[i][value[k]];

			sum += fmoe_click_logit(clicks, (double) counted->value_n[i][value[k]], PULL_TO_VALUE, mean) - user;
		}
		rate[RATE_VALUES + i] = (fnn_real) (sum / (double) n);
	}
}

static bool
clicked(const FmoeBatch *batch, int64_t token)
{
	return batch->events.label == NULL || batch->events.label[token] > 0;
}

void
fmoe_mrff_rates(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnArena *arena, const FmoeBatch *batch,
				int64_t n, const int32_t *asked, fnn_real *rate)
{
	const int32_t *offset = batch->sequences.offset;
	int64_t		i = 0;

	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		Counted		counted;
		int32_t		end;

		begin_counting(arena, &counted, expert, layout);
		for (int32_t t = offset[s]; t < offset[s + 1]; t = end)
		{
			end = batch->baskets != NULL ? t + batch->baskets->count[batch->baskets->of[t]] : t + 1;
			for (; i < n && asked[i] < end; i++)
				rates_of(&counted, batch->events.item[asked[i]], rate + i * layout->n_rates);
			for (int32_t k = t; k < end; k++)
				count_event(&counted, batch->events.item[k], clicked(batch, k));
		}
		fnn_arena_reset(arena, mark);
		fnn_poll(fnn_arena_host(arena));
	}
}

void
fmoe_mrff_rates_after(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnArena *arena, const FmoeBatch *batch,
					  int32_t sequence, int64_t n, const int32_t *item, fnn_real *rate)
{
	FnnMark		mark = fnn_arena_mark(arena);
	Counted		counted;

	begin_counting(arena, &counted, expert, layout);
	for (int32_t t = batch->sequences.offset[sequence]; t < batch->sequences.offset[sequence + 1]; t++)
		count_event(&counted, batch->events.item[t], clicked(batch, t));
	for (int64_t i = 0; i < n; i++)
		rates_of(&counted, item[i], rate + i * layout->n_rates);
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- items */

FnnTensor *
fmoe_mrff_odds(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, int64_t n, const int32_t *item)
{
	const FmoeFeatures *features = expert->features;
	const int32_t *place = fmoe_mrff_count_up(tape->arena, n);
	FnnTensor  *sum = NULL;

	for (int i = 0; i < layout->n_item_features; i++)
	{
		const FmoeFeature *feature = &features->feature[layout->item_feature[i]];
		FnnGraph	graph = fmoe_mrff_terms(tape->arena, feature, features->n, n, item);
		FnnTensor  *odds = fnn_neighbours(tape, fmoe_parameter(expert, layout->odds + i), &graph, place, n, 0);

		sum = sum == NULL ? odds : fnn_add_dropout(tape, sum, odds, 0);
	}
	return sum;
}

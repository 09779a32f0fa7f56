/*
 * check_extend.c
 *	  Models over more items than they were made with.
 */
#include "check.h"

#include "model/fmoe/fmoe.h"

#include <string.h>

#define ITEMS 30
#define MORE 37
#define USERS 40

/* Where each of the items goes: the first, the last and some between are new. */
static int32_t *
new_numbers(void)
{
	int32_t    *number = fnn_alloc(check_arena(), sizeof(int32_t) * ITEMS);

	for (int i = 0; i < ITEMS; i++)
		number[i] = i + 1 + i / 6;
	return number;
}

/* Features of more items, of which the old ones have those they had. */
static FmoeFeatures *
more_features(const FmoeFeatures *old, const int32_t *number)
{
	FmoeFeatures *more = check_random_features(MORE, 77);

	for (int f = 0; f < more->count; f++)
	{
		FmoeFeature *feature = &more->feature[f];
		const FmoeFeature *was = &old->feature[f];
		int64_t    *offset;
		int32_t    *term;
		float	   *weight;
		int64_t		n = 0;
		int32_t		i = 0;

		if (feature->value != NULL)
		{
			for (int32_t k = 0; k < ITEMS; k++)
				memcpy((float *) feature->value + number[k] * feature->width, was->value + k * was->width,
					   sizeof(float) * (size_t) was->width);
			continue;
		}
		offset = fnn_zalloc(check_arena(), sizeof(int64_t) * (MORE + 1));
		term = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) (feature->offset[MORE] + was->offset[ITEMS]));
		weight = fnn_alloc(check_arena(), sizeof(float) * (size_t) (feature->offset[MORE] + was->offset[ITEMS]));
		for (int32_t k = 0; k < MORE; k++)
		{
			bool		known = i < ITEMS && number[i] == k;
			const FmoeFeature *from = known ? was : feature;
			int32_t		row = known ? i++ : k;

			for (int64_t at = from->offset[row]; at < from->offset[row + 1]; at++)
			{
				term[n] = from->term[at];
				weight[n++] = from->weight[at];
			}
			offset[k + 1] = n;
		}
		feature->offset = offset;
		feature->term = term;
		feature->weight = weight;
		feature->scale = was->scale;
	}
	return more;
}

/* A copy of the events of items by their new numbers. */
static FmoeDataset *
renumbered(const FmoeDataset *data, const int32_t *number)
{
	FmoeDataset *new = fnn_alloc(check_arena(), sizeof(FmoeDataset));
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_events);

	*new = *data;
	for (int64_t e = 0; e < data->n_events; e++)
		item[e] = number[data->events.item[e]];
	new->events.item = item;
	new->n_items = MORE;
	return new;
}

static const FmoeModel *
trained(const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));

	if (fmoe_only_counts(fmoe_expert_classes[config->model]))
		fmoe_count_experts(model, check_arena(), config, data);
	else
		fmoe_trainer_model(check_finish_run(config, data), NULL, model);
	fmoe_count_together(model, check_arena(), data);
	return model;
}

/* Bound to its own arrays it scores old items as before, and nothing was counted of the others. */
static void
check_scores(const FmoeModel *old, const FmoeModel *more, const FmoeDataset *data, const FmoeDataset *new,
			 const int32_t *number)
{
	int			max = fmoe_model_arrays_max(more);
	FnnArray   *array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) max);
	int			n = fmoe_model_arrays(more, array, max);
	FmoeModel  *bound = fnn_zalloc(check_arena(), sizeof(FmoeModel));

	fmoe_model_bind(bound, check_host(), &more->config, MORE, n, array);
	for (int u = 0; u < USERS; u++)
	{
		FmoeBatch  *a = fmoe_batch(check_arena(), &data->events, 1, &data->offset[u], &data->offset[u + 1], 20);
		FmoeBatch  *b = fmoe_batch(check_arena(), &new->events, 1, &new->offset[u], &new->offset[u + 1], 20);

		for (int slot = 0; slot < FMOE_SLOTS; slot++)
		{
			fnn_real	was[ITEMS];
			fnn_real	is[MORE];

			fmoe_score(old, (FmoeExpertSlot) slot, check_arena(), a, was);
			fmoe_score(bound, (FmoeExpertSlot) slot, check_arena(), b, is);
			for (int i = 0; i < ITEMS; i++)
				CHECK(check_close(was[i], is[number[i]], 1e-5), "user %d, slot %d, item %d: %g was %g", u, slot, i,
					  (double) is[number[i]], (double) was[i]);
			if (slot == FMOE_POPULARITY)
				CHECK(is[0] == 0 && is[MORE - 1] == 0, "a new item has been chosen");
		}
	}
	CHECK(fmoe_has_together(&bound->together), "what was in the same basket is gone");
}

/* A new item, such as the last one, has the mean of the old items' vectors. */
static void
check_new_vectors(const FmoeModel *old, const FmoeModel *more)
{
	const FnnTensor *was = fmoe_vectors(old);
	const FnnTensor *is = fmoe_vectors(more);

	CHECK(more->gate.there && is->rows == MORE, "%d rows", (int) is->rows);
	for (int64_t c = 0; c < was->cols; c++)
	{
		double		mean = 0;

		for (int64_t i = 0; i < ITEMS; i++)
			mean += was->value[i * was->stride + c] / ITEMS;
		CHECK(check_close(is->value[(MORE - 1) * is->stride + c], mean, 1e-5), "column %d", (int) c);
	}
}

/* name: with "+" in front, the class under a gate with item vectors of features. */
static void
check_model_of(const char *named, FmoeDataset *data)
{
	bool		featured = named[0] == '+';
	const char *name = named + featured;
	FmoeConfig	config = check_config(name);
	const int32_t *number = new_numbers();
	FmoeFeatures *features = more_features(data->features, number);
	FmoeDataset *new = renumbered(data, number);
	FmoeModel  *more = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const FmoeModel *old;

	if (strcmp(name, "auto") == 0)
		*(FmoeMixtureOptions *) config.own.bytes = (FmoeMixtureOptions) {.gate = FMOE_GATE_LINEAR};
	else if (featured)
		*check_tower(&config) = (FmoeTowerOptions)
	{
		.featured =
		{
			true, 0
			}, .gated =
		{
			.gate = FMOE_GATE_ALL
			}
	};
	if (featured && strcmp(name, "auto") == 0)
		((FmoeMixtureOptions *) config.own.bytes)->featured.features = true;
	config.epochs = 1;
	check_begin("%s over more items is for the others what it was%s", name, featured ? ", with features" : "");
	old = trained(&config, data);
	fmoe_model_extend(more, check_arena(), old, MORE, number, features);
	new->features = features;
	check_scores(old, more, data, new, number);
	CHECK(fmoe_has_gate(old) == (featured || strcmp(name, "auto") == 0), "a gate");
	if (fmoe_has_gate(old) && !featured)
		check_new_vectors(old, more);
	check_end();
}

void
check_extending(void)
{
	static const char *const models[] = {
		"popularity", "markov", "recent", "sequence", "neighbours", "repeat", "content", "sasrec", "gru4rec", "auto",
		"+sasrec", "+gru4rec", "+auto"
	};
	FmoeDataset *data = check_walks(USERS, ITEMS, 3, 18, 5);
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_events);

	for (int64_t e = 0; e < data->n_events; e++)
		basket[e] = (int32_t) (e / 2);
	data->events.basket = basket;
	data->features = check_random_features(ITEMS, 76);
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
		check_model_of(models[i], data);
}

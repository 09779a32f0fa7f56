/*
 * memory.c
 *	  How much memory hm4sr takes, and how many multiplications.
 */
#include "model/data/dense.h"
#include "model/hm4sr/hm4sr.h"

#include <math.h>

/* Rows that a contrast works on at a time. */
#define CONTRAST_ROWS 64.0

/* ---------------------------------------------------------------- items */

/* Reals of the vectors of n items, in all streams and side by side; *numbers: most of a feature. */
static double
vectors_reals(const FmoeConfig *config, const FmoeFeatures *features, double n, double *numbers)
{
	int			streams = fmoe_hm4sr_streams(config);
	/* ids, shifts, and all side by side */
	double		matrices = streams + (streams > 1 ? streams : 0);

	*numbers = 0;
	for (int s = 1; s < streams; s++)
		for (int i = 0; features != NULL && i < features->count; i++)
		{
			int64_t		dense = fmoe_dense_width(&features->feature[i]);

			if (!fmoe_hm4sr_of_stream(config, s, &features->feature[i]))
				continue;
			matrices += dense > 0 ? 1 : 2;
			*numbers = fmax(*numbers, fnn_project_reals(dense));
		}
	return matrices * n * config->width;
}

/* ---------------------------------------------------------------- tokens */

/* Reals of a token before the towers, of values only. */
static double
mixed_reals(const FmoeConfig *config)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(config);
	double		streams = fmoe_hm4sr_streams(config);
	double		width = config->width;
	double		experts = own->experts;
	/* what is read, and its streams apart at the end */
	double		reals = 2 * streams * width;

	/* experts, what they are chosen by, and what they make */
	if (streams > 1)
		reals += (experts + 2) * streams * width + 2 * experts * streams;
	/* what is known of the time, what is chosen by it, and what that makes */
	if (own->time)
		reals += (own->now ? 2 : 1) * (4 * width + 2 * experts + streams * width);
	return reals;
}

/* Reals of a token of a recorded pass through one tower: values and gradients. */
static double
tower_reals(const FmoeConfig *config)
{
	FmoePostnorm blocks = fmoe_hm4sr_blocks(config);

	/* norm, with a mean and a deviation, and what is left after dropout */
	return 4.0 * config->width + 2 + fmoe_postnorm_token_reals(&blocks, true);
}

/* Reals of the losses beside that of items, for so many tokens and ends of histories. */
static double
losses_reals(const FmoeConfig *config, const FmoeFacts *facts, double tokens, double ends)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(config);
	FmoePostnorm blocks = fmoe_hm4sr_blocks(config);
	double		streams = fmoe_hm4sr_streams(config);
	double		all = streams * config->width;
	double		read = fmin(tokens, facts->n_items);
	double		reals = 0;

	if (own->idcl > 0)
		reals += 2 * ends * (all + 2 * config->width);
	if (own->cp > 0)
		reals += 2 * read * all + fnn_multi_hot_loss_reals((int64_t) read, fmoe_hm4sr_classes(facts->features));
	/* what is hidden and what stands for it, a third of the tokens; what that makes of all; towers; their ends */
	if (own->pcl > 0)
		reals += 2 * ends * all + (streams - 1) * (tokens * (4 * config->width + tower_reals(config)) +
												   2 * ends * (2 * config->width + fmoe_postnorm_last_reals(&blocks)));
	/* while a contrast runs: rows of length 1, their gradients, logits */
	return reals + ends * (4 * config->width + 2) + CONTRAST_ROWS * ends;
}

static double
recorded_bytes(const FmoeConfig *config, const FmoeFacts *facts, double tokens)
{
	FmoePostnorm blocks = fmoe_hm4sr_blocks(config);
	double		streams = fmoe_hm4sr_streams(config);
	double		all = streams * config->width;
	double		ends = fmin(tokens, config->batch_size);
	bool		every = config->loss == FMOE_LOSS_SOFTMAX;
	double		items = every ? facts->n_items : fmin(facts->n_items, 2 * tokens + config->negatives);
	double		numbers;
	double		shard;
	double		reals = 2 * vectors_reals(config, facts->features, items, &numbers);

	shard = 2 * config->max_length * all + all * all + fmoe_postnorm_map_reals(&blocks);
	shard += tokens * (2 * mixed_reals(config) + streams * tower_reals(config) + 2 * all);
	shard += losses_reals(config, facts, tokens, ends);
	/* shards come between what all of them share and its gradients */
	reals += every ? fmax(shard, numbers) : shard + numbers;
	/* numbers of items: all of them, those without events, and of gbce; of what is told apart; tokens, and times */
	return reals * sizeof(fnn_real) +
		items * (6 * sizeof(int32_t) + sizeof(int64_t)) + (double) facts->n_items * 2 * sizeof(int32_t) +
		tokens * (19 * sizeof(int32_t) + 4 * sizeof(double)) + ends * 3 * sizeof(int32_t);
}

static double
unrecorded_bytes(const FmoeConfig *config, double tokens, double cases)
{
	FmoePostnorm blocks = fmoe_hm4sr_blocks(config);
	double		streams = fmoe_hm4sr_streams(config);
	double		all = streams * config->width;
	double		reals = config->max_length * all + all * all + fmoe_postnorm_map_reals(&blocks);

	reals += tokens * (mixed_reals(config) + streams * (config->width + fmoe_postnorm_token_reals(&blocks, false)));
	reals += cases * (streams * fmoe_postnorm_last_reals(&blocks) + 4 * all);
	/* numbers of items and of intervals; times, as they are and as they are told */
	return reals * sizeof(fnn_real) + tokens * (2 * sizeof(int32_t) + 4 * sizeof(double)) + cases * sizeof(double);
}

double
fmoe_hm4sr_bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	switch (phase)
	{
		case FMOE_RECORDED:
			return recorded_bytes(config, facts, tokens);
		case FMOE_UNRECORDED:
			return unrecorded_bytes(config, tokens, cases);
		case FMOE_PREPARED:
			return fmoe_prepared_bytes(facts->features, facts->n_items, config->loss == FMOE_LOSS_SOFTMAX);
		case FMOE_SETTLING:
			break;
	}
	return 0;
}

double
fmoe_hm4sr_multiplications(const FmoeConfig *config, double n_scored)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(config);
	FmoePostnorm blocks = fmoe_hm4sr_blocks(config);
	double		streams = fmoe_hm4sr_streams(config);
	double		all = streams * config->width;
	double		towers = streams + (own->pcl > 0 ? streams - 1 : 0);

	return own->experts * (streams > 1 ? all * all : 0) + towers * fmoe_postnorm_multiplications(&blocks) +
		n_scored * all;
}

/*
 * check_xcross.h
 *	  Small models of the classes of adapters, for their tests.
 */
#ifndef FMOE_CHECK_XCROSS_H
#define FMOE_CHECK_XCROSS_H

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "model/expert/expert.h"
#include "model/registry.h"
#include "model/xcross/xcross.h"

#define N_ITEMS 9
#define WIDTH 4
#define LAYERS 2

extern FmoeFeatures *check_item_features(int32_t n_items);

static const int32_t item[] = {1, 4, 1, 0, 2, 3, 5, 1, 2, 7, 8};
static const int32_t target[] = {4, 1, 0, -1, -1, 5, 1, 2, -1, 8, -1};
static const int64_t begin[] = {0, 4, 5, 9};
static const int64_t end[] = {4, 5, 9, 11};

static inline FmoeBatch *
histories(void)
{
	return fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 4, begin, end, 6);
}

static inline FmoeInputList
some_inputs(void)
{
	FmoeInputList list = {.count = 2};

	list.input[0] = (FmoeInput)
	{
		.name = "price", .width = 3
	};
	list.input[1] = (FmoeInput)
	{
		.name = "sound", .width = 6, .number = 1
	};
	return list;
}

static inline FmoeConfig
config_of(const char *name)
{
	FmoeConfig	config = {.width = WIDTH, .layers = LAYERS, .heads = 2, .max_length = 6, .loss = FMOE_LOSS_SOFTMAX,
	.calibration = 0.75, .seed = 7};

	config.model = fmoe_expert_row(name);
	*fmoe_inputs(&config) = some_inputs();
	return config;
}

static inline FmoeConfig
lora_config(int rank, double alpha)
{
	FmoeConfig	config = config_of("lora");

	((FmoeLoraOptions *) config.own.bytes)->rank = rank;
	((FmoeLoraOptions *) config.own.bytes)->alpha = alpha;
	return config;
}

static inline FmoeXcrossOptions *
xcross_own(FmoeConfig *config)
{
	return (FmoeXcrossOptions *) config->own.bytes;
}

static inline FmoeConfig
xcross_config(int n)
{
	FmoeConfig	config = config_of("xcross");
	FmoeXcrossOptions own = {.beta = 0.8, .gamma = 1.1, .rank = 2, .alpha = 3,.experts.count = n};

	own.base.inputs = some_inputs();
	for (int m = 0; m < n; m++)
	{
		FmoeLentAdapter *adapter = &own.experts.adapter[m];

		snprintf(adapter->name, sizeof(adapter->name), "north.%d", m);
		adapter->rank = 1 + m % 3;
		adapter->alpha = 2 + m;
	}
	memcpy(config.own.bytes, &own, sizeof(own));
	return config;
}

static inline FmoeModel *
make_model(const FmoeConfig *config, uint64_t seed, double noise, bool with_grad)
{
	static const int64_t offset[] = {0, 4, 5, 9, 11};
	FmoeDataset data = {.n_users = 4, .n_events = 11, .n_items = N_ITEMS, .offset = offset, .events = {.item = item}};

	data.features = check_item_features(N_ITEMS);
	return check_model(config, &data, seed, noise, with_grad);
}

static inline fnn_real *
scores_of(const FmoeModel *model)
{
	FmoeBatch  *batch = histories();
	fnn_real   *scores = fnn_alloc_reals(check_arena(), batch->sequences.count, N_ITEMS);

	fmoe_score(model, FMOE_MAIN, check_arena(), batch, scores);
	return scores;
}

#endif							/* FMOE_CHECK_XCROSS_H */

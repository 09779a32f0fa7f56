/*
 * check_step_items.c
 *	  Item vectors that are computed once a step: gradients are those of vectors that
 *	  each shard computes, and the number of processes does not count.
 */
#include <math.h>
#include <string.h>

#include "check_hm4sr.h"
#include "model/ant/ant.h"
#include "model/train/train_private.h"

#ifdef FNN_DOUBLE
#define NEAR 1e-9
#else
#define NEAR 1e-4
#endif

static void
hm4sr_options(FmoeConfig *config)
{
	static const char *const streams[] = {"text", "vector_1"};
	const FmoeHm4srOptions options = {.experts = 2, .time = true, .intervals = 300, .time_unit = 3600, .idcl = 0.5,
	.cp = 0.7, .pcl = 0.3};

	memcpy(config->own.bytes, &options, sizeof(options));
	set_streams(config, 2, streams);
}

static void
foundation_options(FmoeConfig *config)
{
	static const FmoeInput input[] = {{.name = "text", .width = 512}, {.name = "price", .width = 3},
	{.name = "image", .width = 6, .number = 1}};
	FmoeInputList *inputs = fmoe_expert_classes[config->model]->inputs(config);

	inputs->count = 3;
	memcpy(inputs->input, input, sizeof(input));
}

void
check_step_options(FmoeConfig *config, const char *model)
{
	if (strcmp(model, "hm4sr") == 0)
		hm4sr_options(config);
	if (strcmp(model, "foundation") == 0)
		foundation_options(config);
	if (strcmp(model, "fmoe features") == 0)
	{
		check_own(config)->gate = FMOE_GATE_LINEAR;
		check_own(config)->featured = (FmoeFeaturedOptions) {true, 0.2};
	}
}

/* One step without anything that is drawn; shared: vectors are computed once for all shards. */
static FmoeTrainer *
one_step(const FmoeConfig *config, const FmoeDataset *data, bool shared)
{
	FmoeTeam	alone = {.rank = 0, .size = 1};
	FmoeTrainer *trainer = check_start_run(config, data);

	CHECK(trainer->plan.step_width > 0, "vectors are not shared");
	if (!shared)
		trainer->plan.step_width = 0;
	fmoe_trainer_epoch(trainer, &alone);
	CHECK(fmoe_trainer_state(trainer)->step == 1, "%d steps", (int) fmoe_trainer_state(trainer)->step);
	return trainer;
}

static void
check_one_step(const char *model, int64_t n_users, int32_t n_items)
{
	FmoeConfig	config = check_config(model);
	FmoeDataset *data = check_walks_for(&config, n_users, n_items, 2, 6, 3);
	const fnn_real *moment[2];
	double		largest = 0;
	size_t		bytes;

	check_begin("%s, %d users, %d items: a step over shared vectors has the same gradient", model, (int) n_users,
				(int) n_items);
	config.dropout = 0;
	config.epochs = 1;
	config.batch_size = 64;
	if (strcmp(model, "ant") == 0)
	{
		/* several maps are weighed with noise */
		((FmoeAntOptions *) config.own.bytes)->experts = 1;
		((FmoeAntOptions *) config.own.bytes)->input_dropout = 0;
	}
	for (int k = 0; k < 2; k++)
		moment[k] = fmoe_trainer_block(one_step(&config, data, k == 0), FMOE_BLOCK_MOMENT1, &bytes);
	for (size_t i = 0; i < bytes / sizeof(fnn_real); i++)
		largest = fmax(largest, fabs((double) moment[0][i]));
	CHECK(largest > 0, "no gradient");
	for (size_t i = 0; i < bytes / sizeof(fnn_real); i++)
		CHECK(fabs((double) moment[0][i] - (double) moment[1][i]) <= NEAR * largest, "real %d: %g instead of %g of %g",
			  (int) i, (double) moment[0][i], (double) moment[1][i], largest);
	check_end();
}

void
check_step_items(void)
{
	check_one_step("hm4sr", 20, 30);
	check_one_step("hm4sr", 2, 3);
	check_one_step("ant", 20, 30);
	check_one_step("foundation", 9, 21);
	check_teams("hm4sr", FMOE_LOSS_SOFTMAX, 0.5, true);
	check_teams("foundation", FMOE_LOSS_SOFTMAX, 0, false);
	check_teams("fmoe features", FMOE_LOSS_SOFTMAX, 0, false);
	check_resume("hm4sr", FMOE_LOSS_SOFTMAX);
}

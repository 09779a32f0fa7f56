/*
 * check_calibration.c
 *	  The gate of a mixture, corrected by events that are kept back.
 */
#include <math.h>
#include <string.h>

#include "check.h"

/* NDCG@10 of the events of a split. */
static double
metric_of(const FmoeModel *model, const FmoeDataset *data, FmoeSplit split)
{
	FmoeCasesWanted wanted = {.split = split, .holdout = (FmoeHoldout) model->config.holdout, .unseen = true};
	FmoeCases  *cases = fmoe_cases(check_arena(), data, &wanted);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = true};

	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	return fmoe_mean_metric(FMOE_NDCG, 10, cases, rank);
}

/*
 * Walks where an item is followed by any other: the transitions that were
 * counted know every training event and nothing else.
 */
static void
check_known_events(void)
{
	FmoeDataset *data = check_walks(CHECK_SIZE(300, 60), 60, 6, 12, 11);
	FmoeConfig	config = check_config("fmoe");
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	int32_t    *item = (int32_t *) data->events.item;
	FmoeTrainer *trainer;
	double		calibrated;
	double		raw;
	int			scale;

	check_begin("a gate that learned from known events is corrected by events kept back");
	for (int64_t k = 0; k < data->n_events; k++)
	{
		double		u = fnn_random_uniform(11, 9, k);

		item[k] = (int32_t) (u * u * 60);
	}
	check_own(&config)->count_experts = true;
	config.epochs = 4;
	config.holdout = FMOE_HOLDOUT_VALIDATION;
	trainer = check_finish_run(&config, data);
	fmoe_trainer_model(trainer, NULL, model);
	scale = fnn_params_find(main->params, "gate.calibration.scale");
	CHECK(scale > 0 && main->params->list[scale].frozen && main->params->list[scale + 1].frozen,
		  "what is calibrated is not learned");
	calibrated = metric_of(model, data, FMOE_SPLIT_VALIDATION);
	main->tensor[scale].value[0] = 1;
	for (int64_t i = 0; i < main->tensor[scale + 1].cols; i++)
	{
		CHECK(fabs((double) main->tensor[scale + 1].value[i]) > 1e-4, "expert %d has a summand", (int) i);
		main->tensor[scale + 1].value[i] = 0;
	}
	raw = metric_of(model, data, FMOE_SPLIT_VALIDATION);
	CHECK(calibrated >= raw, "NDCG@10 %.4f, before %.4f", calibrated, raw);
	check_end();
}

/* The mean weight of an expert over the histories of the test events. */
static double
mean_weight(const FmoeModel *model, const FmoeDataset *data, int expert)
{
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, model->config.holdout);
	FmoePartUse use = {0};

	fmoe_part_use(model, check_arena(), data, cases, 0, cases->count, &use);
	return use.weight[expert] / (double) use.histories;
}

/* The values that the training has now, not its best. */
static void
take_current(FmoeTrainer *trainer, FmoeModel *model)
{
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	FnnArray	arrays[64];
	int			n = fmoe_trainer_arrays(trainer, arrays, 64);

	fmoe_trainer_model(trainer, NULL, model);
	for (int a = 0; a < n; a++)
	{
		int			slice = fnn_params_find(main->params, arrays[a].name);

		memcpy(main->tensor[slice].value, arrays[a].data, arrays[a].bytes);
	}
}

/*
 * Nothing follows from anything, some items are merely more frequent.  The own
 * expert, of width 1, can know no more than that; the lent one is wide enough
 * to learn the few training events by heart, which is of no use for others.
 */
static void
check_by_heart(uint64_t seed)
{
	FmoeDataset *data = check_walks(40, 80, 6, 12, seed);
	FmoeConfig	config = check_config("fmoe");
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	int32_t    *item = (int32_t *) data->events.item;
	double		raw_weight;
	double		raw_metric;
	double		weight;
	double		metric;
	int			scale;

	for (int64_t k = 0; k < data->n_events; k++)
	{
		double		u = fnn_random_uniform(seed, 9, k);

		item[k] = (int32_t) (u * u * u * 80);
	}
	config.width = config.heads = 1;
	check_own(&config)->experts.lent[0].shape.width = 48;
	config.dropout = 0;
	config.epochs = config.patience = 40;
	config.seed = seed;
	take_current(check_finish_run(&config, data), model);
	model->blend = 0;
	scale = fnn_params_find(main->params, "gate.calibration.scale");
	weight = mean_weight(model, data, 1);
	metric = metric_of(model, data, FMOE_SPLIT_TEST);
	main->tensor[scale].value[0] = 1;
	memset(main->tensor[scale + 1].value, 0, 2 * sizeof(fnn_real));
	raw_weight = mean_weight(model, data, 1);
	raw_metric = metric_of(model, data, FMOE_SPLIT_TEST);
	check_begin("a gate that fell for an expert that knows the training events by heart is brought back, seed %d",
				(int) seed);
	CHECK(raw_weight > 0.7, "it had not: weight %.3f", raw_weight);
	CHECK(weight < 0.5, "weight %.3f, before %.3f", weight, raw_weight);
	CHECK(metric > raw_metric + 0.03, "NDCG@10 of events that nobody has seen %.4f, before %.4f", metric, raw_metric);
	check_end();
}

void
check_calibration(void)
{
	check_known_events();
	for (uint64_t seed = 1; seed <= CHECK_SIZE(5, 1); seed++)
		check_by_heart(seed);
}

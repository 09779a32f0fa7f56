/*
 * check_averages.c
 *	  The mean of the weights over a training's epochs: what it is, that it is what
 *	  counts, and that the training does not depend on it.
 */
#include "check.h"

#include <math.h>
#include <string.h>

static const FmoeTeam alone = {.rank = 0, .size = 1};

/* The share of epoch i in the mean after n epochs, which is a product of those it was moved by since. */
static double
share_of_epoch(int i, int n)
{
	double		share = 4.0 / (i + 3);

	for (int later = i + 1; later <= n; later++)
		share *= 1 - 4.0 / (later + 3);
	return share;
}

/* The largest difference of the run from the mean of the values after all epochs; what is frozen has the last. */
static double
worst_mean(FmoeTrainer *trainer, int epochs, fnn_real *const *values)
{
	const FnnParams *params = fmoe_trainer_params(trainer);
	size_t		bytes;
	const fnn_real *mean = fmoe_trainer_block(trainer, FMOE_BLOCK_AVERAGE, &bytes);
	double		worst = 0;

	for (int p = 0; p < params->count; p++)
	{
		const FnnParam *param = &params->list[p];

		for (size_t i = param->offset; i < param->offset + (size_t) (param->rows * param->cols); i++)
		{
			double		wanted = param->frozen ? values[epochs][i] : 0;

			for (int e = 1; e <= epochs && !param->frozen; e++)
				wanted += share_of_epoch(e, epochs) * values[e][i];
			worst = fmax(worst, fabs(mean[i] - wanted));
		}
	}
	return worst;
}

#define EPOCHS_AVERAGED 5

static void
check_average(const char *model, FmoeLoss loss)
{
	FmoeDataset *data = check_walks(40, 300, 1, 8, 9);
	FmoeConfig	config = check_config(model);
	FmoeModel  *served = fnn_alloc(check_arena(), sizeof(FmoeModel));
	fnn_real   *values[EPOCHS_AVERAGED + 1];
	FmoeTrainer *plain;
	FmoeTrainer *averaged;
	const fnn_real *mean;
	size_t		bytes;
	bool		same = true;

	config.loss = loss;
	config.epochs = EPOCHS_AVERAGED;
	config.holdout = FMOE_HOLDOUT_NONE;
	plain = check_start_run(&config, data);
	config.average = FMOE_AVERAGE_TAIL;
	averaged = check_start_run(&config, data);

	check_begin("%s, %s: a mean of the weights is served, and the training does not know it", model,
				loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	CHECK(fmoe_trainer_block(plain, FMOE_BLOCK_AVERAGE, &bytes) == NULL && bytes == 0, "a mean that nobody asked for");
	for (int e = 1; e <= EPOCHS_AVERAGED; e++)
	{
		fmoe_trainer_epoch(plain, &alone);
		fmoe_trainer_epoch(averaged, &alone);
		for (int block = FMOE_BLOCK_VALUES; block <= FMOE_BLOCK_MOMENT2; block++)
		{
			const void *of_plain = fmoe_trainer_block(plain, block, &bytes);

			same = same && memcmp(of_plain, fmoe_trainer_block(averaged, block, &bytes), bytes) == 0;
		}
		values[e] = fnn_alloc(check_arena(), bytes);
		memcpy(values[e], fmoe_trainer_block(averaged, FMOE_BLOCK_VALUES, &bytes), bytes);
		CHECK(worst_mean(averaged, e, values) < 1e-6, "epoch %d: the mean is off by %g", e,
			  worst_mean(averaged, e, values));
	}
	CHECK(same, "the weights themselves differ");
	mean = fmoe_trainer_block(averaged, FMOE_BLOCK_AVERAGE, &bytes);
	CHECK(memcmp(mean, values[EPOCHS_AVERAGED], bytes) != 0, "the mean is the last weights");
	fmoe_trainer_model(averaged, NULL, served);
	CHECK(memcmp(served->expert[FMOE_MAIN].tensor[0].value, mean, data->n_items * 16 * sizeof(fnn_real)) == 0,
		  "served");
	check_end();
}

static void
check_average_of_best(void)
{
	FmoeDataset *data = check_walks(60, 30, 4, 10, 3);
	FmoeConfig	config = check_config("sasrec");
	FmoeTrainer *trainer;
	FmoeTrainState *state;
	double		metric[2];
	size_t		bytes;

	check_begin("of means, the best one is kept");
	config.average = FMOE_AVERAGE_TAIL;
	config.learning_rate = 0.03;
	config.epochs = 40;
	trainer = check_start_run(&config, data);
	state = fmoe_trainer_state(trainer);
	while (!state->finished)
	{
		const void *mean;

		fmoe_trainer_epoch(trainer, &alone);
		mean = fmoe_trainer_block(trainer, FMOE_BLOCK_AVERAGE, &bytes);
		CHECK((memcmp(mean, fmoe_trainer_block(trainer, FMOE_BLOCK_BEST, &bytes), bytes) == 0) ==
			  (state->best_epoch == state->epoch), "epoch %d, the best being %d", state->epoch, state->best_epoch);
	}
	metric[0] = state->best_metric;
	config.average = FMOE_AVERAGE_NONE;
	metric[1] = fmoe_trainer_state(check_finish_run(&config, data))->best_metric;
	CHECK(metric[0] != metric[1], "%g is judged, as without a mean", metric[0]);
	check_end();
}

/* ---------------------------------------------------------------- the luck of the choice */

#define EPOCHS_CHOSEN 30

/* Mean of the last epochs' values after epoch e, from 1. */
static double
smoothed(const double *value, int e)
{
	int			n = e < FMOE_EPOCHS_JUDGED ? e : FMOE_EPOCHS_JUDGED;
	double		sum = 0;

	for (int i = 0; i < n; i++)
		sum += value[e - i];
	return sum / n;
}

/* The epoch from 1 with the best such mean, the first of equal ones. */
static int
chosen(const double *value, int epochs)
{
	int			best = 1;

	for (int e = 2; e <= epochs; e++)
		best = smoothed(value, e) > smoothed(value, best) ? e : best;
	return best;
}

static void
check_optimism(void)
{
	FmoeDataset *data = check_walks(CHECK_SIZE(80, 40), 40, 4, 14, 11);
	FmoeConfig	config = check_config("sasrec");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *trainer;
	FmoeTrainState *state;
	double		half[2][EPOCHS_CHOSEN + 1];
	double		all[EPOCHS_CHOSEN + 1];
	double		told;
	int			kept;

	check_begin("the luck of the chosen epoch is what halves lose by what the other half would choose");
	config.epochs = config.patience = EPOCHS_CHOSEN;
	config.learning_rate = 0.05;
	trainer = check_start_run(&config, data);
	state = fmoe_trainer_state(trainer);
	for (int e = 1; e <= EPOCHS_CHOSEN; e++)
	{
		fmoe_trainer_epoch(trainer, &alone);
		all[e] = state->judged[e % FMOE_EPOCHS_JUDGED];
		for (int h = 0; h < 2; h++)
			half[h][e] = state->half[h][e % FMOE_EPOCHS_JUDGED];
		CHECK(check_close(half[0][e] + half[1][e], all[e], 1e-12), "epoch %d: halves are not the whole", e);
	}
	kept = chosen(all, EPOCHS_CHOSEN);
	told = half[0][chosen(half[1], EPOCHS_CHOSEN)] + half[1][chosen(half[0], EPOCHS_CHOSEN)];
	CHECK(state->best_epoch == kept, "epoch %d is kept, not %d", state->best_epoch, kept);
	CHECK(half[0][kept] != half[1][kept], "both halves are one");
	CHECK(chosen(half[0], EPOCHS_CHOSEN) != chosen(half[1], EPOCHS_CHOSEN),
		  "both halves choose one epoch");
	CHECK(check_close(state->optimism[0], all[kept] - told, 1e-12), "%g, not %g", state->optimism[0],
		  all[kept] - told);

	/* a gate passes no more of it on than the encoder has, and nothing where that weighs nothing */
	state->optimism[0] = 0.01;
	CHECK(fmoe_optimism(model, state) == 0.01, "without a gate");
	model->gate.there = true;
	model->gate.parts = 1;
	CHECK(fmoe_optimism(model, state) == 0, "where the encoder weighs nothing");
	model->gate.fold_weight[1][FMOE_MAIN] = 0.1;
	CHECK(fmoe_optimism(model, state) == 0.01, "where it weighs for one fold");
	state->optimism[0] = -0.01;
	CHECK(fmoe_optimism(model, state) == 0, "bad luck counts nothing");
	check_end();
}

void
check_averages(void)
{
	check_average("sasrec", FMOE_LOSS_SOFTMAX);
	check_average("gru4rec", FMOE_LOSS_GBCE);
	check_average("fmoe", FMOE_LOSS_GBCE);
	check_average_of_best();
	check_optimism();
}

/*
 * check_federated.c
 *	  Training in rounds of users.
 */
#include "check.h"

#include "model/train/accountant.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

static const FmoeTeam alone = {.rank = 0, .size = 1};

static FmoeFederated *
own(FmoeConfig *config)
{
	return &((FmoeMrffOptions *) config->own.bytes)->federated;
}

/* Local steps as AdamW has them, and a server that takes the mean as it is. */
static FmoeConfig
rounds_config(int groups)
{
	FmoeConfig	config = check_config("mrff");
	FmoeFederated *federated = own(&config);

	config.width = 4;
	config.heads = 1;
	config.layers = 2;
	config.max_length = 20;
	config.dropout = 0;
	config.average = FMOE_AVERAGE_NONE;
	config.holdout = FMOE_HOLDOUT_NONE;
	config.learning_rate = 0.01;
	config.batch_size = 1;
	((FmoeMrffOptions *) config.own.bytes)->groups = groups;
	*federated = (FmoeFederated)
	{
		.on = true, .local_steps = 1, .local_optimiser = FMOE_LOCAL_ADAM, .local_rate = 0.01, .sampling = 1,
			.server = FMOE_FEDAVG, .server_rate = 1, .exchange_every = 1, .delta = 1e-5
	};
	return config;
}

static FmoeTrainer *
started(const FmoeConfig *config, const FmoeDataset *data)
{
	size_t		bytes = fmoe_trainer_shared_bytes(check_arena(), config, data);
	FmoeTrainer *trainer = fmoe_trainer_attach(check_arena(), config, data,
											   memset(fnn_alloc(check_arena(), bytes), 0xff, bytes));

	fmoe_trainer_start(trainer);
	return trainer;
}

static fnn_real *
values_of(FmoeTrainer *trainer, size_t *n)
{
	fnn_real   *values = fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, n);

	*n /= sizeof(fnn_real);
	return values;
}

static fnn_real *
copy_of(FmoeTrainer *trainer)
{
	size_t		n;
	const fnn_real *values = values_of(trainer, &n);
	fnn_real   *copy = fnn_alloc(check_arena(), n * sizeof(fnn_real));

	memcpy(copy, values, n * sizeof(fnn_real));
	return copy;
}

/* Norm of what a slice, or with shared all that is shared, has moved by. */
static double
moved(FmoeTrainer *trainer, const fnn_real *before, bool shared, const char *name)
{
	const FnnParams *params = fmoe_trainer_params(trainer);
	size_t		n;
	const fnn_real *values = values_of(trainer, &n);
	double		squares = 0;

	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];

		if (name != NULL ? strcmp(param->name, name) != 0 : (param->share == FNN_PRIVATE) == shared)
			continue;
		for (size_t k = param->offset; k < param->offset + (size_t) (param->rows * param->cols); k++)
			squares += (double) (values[k] - before[k]) * (values[k] - before[k]);
	}
	return sqrt(squares);
}

static void
check_plain_step(void)
{
	FmoeConfig	config = rounds_config(2);
	FmoeDataset *data = check_walks_for(&config, 1, 12, 10, 15, 7);
	FmoeTrainer *rounds;
	FmoeTrainer *central;
	const fnn_real *a;
	const fnn_real *b;
	size_t		n;

	check_begin("a round of one user and one step is a plain step");
	rounds = started(&config, data);
	own(&config)->on = false;
	central = started(&config, data);
	fmoe_trainer_epoch(rounds, &alone);
	fmoe_trainer_epoch(central, &alone);
	a = values_of(rounds, &n);
	b = values_of(central, &n);
	for (size_t i = 0; i < n; i++)
		if (!check_close(a[i], b[i], 1e-6))
		{
			CHECK(false, "real %zu: %.9g, by a plain step %.9g", i, (double) a[i], (double) b[i]);
			break;
		}
	CHECK(check_close(fmoe_trainer_state(rounds)->loss, fmoe_trainer_state(central)->loss, 1e-6), "losses differ");
	check_end();
}

static void
check_differences(void)
{
	FmoeConfig	config = rounds_config(8);
	FmoeDataset *data = check_walks_for(&config, 3, 12, 10, 15, 7);
	FmoeTrainer *trainer;
	const FnnParams *params;
	const fnn_real *before;
	const fnn_real *values;
	int			still = 0;
	size_t		n;

	check_begin("differences are clipped as one vector, and a group without users stays");
	own(&config)->clip = 1e-3;
	((FmoeMrffOptions *) config.own.bytes)->group_gate = FMOE_MRFF_HARD;
	trainer = started(&config, data);
	params = fmoe_trainer_params(trainer);
	before = copy_of(trainer);
	fmoe_trainer_epoch(trainer, &alone);
	/* groups move by the mean over their users, so that all but those moves by no more than the clip */
	CHECK(moved(trainer, before, true, NULL) < 1e-3 * sqrt(3) && moved(trainer, before, true, NULL) > 0 &&
		  moved(trainer, before, true, "head.inner.weight") <= 1e-3, "what is shared moved by %g",
		  moved(trainer, before, true, NULL));
	values = values_of(trainer, &n);
	for (int i = 0; i < params->count; i++)
		for (int64_t r = 0; params->list[i].rows_of == FNN_OF_GROUPS && r < params->list[i].rows; r++)
			still += memcmp(values + params->list[i].offset + r * params->list[i].cols,
							before + params->list[i].offset + r * params->list[i].cols,
							sizeof(fnn_real) * (size_t) params->list[i].cols) == 0;
	CHECK(still > 0 && still < 16, "%d of 16 groups stayed", still);
	check_end();

	check_begin("own rows move in every round, what is shared in every second");
	own(&config)->exchange_every = 2;
	trainer = started(&config, data);
	before = copy_of(trainer);
	fmoe_trainer_epoch(trainer, &alone);
	CHECK(moved(trainer, before, true, NULL) == 0 && moved(trainer, before, false, NULL) > 0,
		  "in round 1 shared moved by %g, own by %g", moved(trainer, before, true, NULL),
		  moved(trainer, before, false, NULL));
	fmoe_trainer_epoch(trainer, &alone);
	CHECK(moved(trainer, before, true, NULL) > 0, "in round 2 nothing shared moved");
	check_end();
}

static void
check_spending(void)
{
	FmoeConfig	config = rounds_config(4);
	FmoeDataset *data = check_walks_for(&config, 40, 12, 10, 15, 7);
	FmoeFederated *federated = own(&config);
	FmoeTrainer *trainer;
	FmoeTrainState *state;
	const fnn_real *before;
	FmoePrivacy privacy = {.sampling = 0.3, .noise = 1.5, .delta = 1e-5};
	int			calls = 0;

	check_begin("rounds end with the budget, and noise moves every group");
	config.epochs = 1000;
	federated->clip = 0.5;
	federated->noise = privacy.noise;
	federated->sampling = privacy.sampling;
	federated->epsilon = 3;
	trainer = started(&config, data);
	state = fmoe_trainer_state(trainer);
	state->secret = 99;
	before = copy_of(trainer);
	while (!state->finished && calls < config.epochs)
	{
		fmoe_trainer_epoch(trainer, &alone);
		calls++;
	}
	CHECK(state->finished == FMOE_SPENT && calls == state->epoch, "finished: %d, %d calls for %d rounds",
		  state->finished, calls, state->epoch);
	CHECK(state->noised == (int64_t) fmoe_private_rounds(&privacy, 3) && state->noised == state->epoch &&
		  state->epsilon <= 3 && state->epsilon > 2, "%d rounds, epsilon %g", state->epoch, state->epsilon);
	CHECK(moved(trainer, before, true, "block.0.groups.weight") > 0.5, "groups moved by %g",
		  moved(trainer, before, true, "block.0.groups.weight"));

	/* the epochs that were asked for are all there: nothing was cut short */
	config.epochs = (int) fmoe_private_rounds(&privacy, 3);
	trainer = started(&config, data);
	state = fmoe_trainer_state(trainer);
	while (!state->finished)
		fmoe_trainer_epoch(trainer, &alone);
	CHECK(state->finished == FMOE_FINISHED && state->epoch == config.epochs, "finished: %d after %d rounds",
		  state->finished, state->epoch);

	/* not even one */
	federated->epsilon = 0.1;
	trainer = started(&config, data);
	state = fmoe_trainer_state(trainer);
	fmoe_trainer_epoch(trainer, &alone);
	CHECK(state->finished == FMOE_SPENT && state->epoch == 0 && state->noised == 0, "finished: %d after %d rounds",
		  state->finished, state->epoch);
	check_end();
}

static void
check_members(void)
{
	FmoeConfig	config = rounds_config(4);
	FmoeDataset *data = check_walks_for(&config, 60, 20, 8, 20, 7);
	FmoeFederated *federated = own(&config);
	FmoeTrainer *trainer[4];
	size_t		bytes;

	check_begin("rounds by one to four processes give equal bits");
	config.dropout = 0.3;
	config.holdout = FMOE_HOLDOUT_VALIDATION_FIFTH;
	config.average = FMOE_AVERAGE_TAIL;
	federated->local_steps = 3;
	federated->local_stop = 0.01;
	federated->sampling = 0.6;
	federated->server = FMOE_FEDYOGI;
	federated->server_rate = 0.02;
	federated->clip = 0.2;
	federated->noise = 0.3;
	bytes = fmoe_trainer_shared_bytes(check_arena(), &config, data);
	for (int size = 1; size <= 4; size++)
	{
		void	   *block = check_map_shared(bytes);

		check_run_team(&config, data, block, size, 3);
		trainer[size - 1] = fmoe_trainer_attach(check_arena(), &config, data, block);
		if (size > 1)
			check_compare_runs(trainer[0], trainer[size - 1], "processes");
	}
	check_end();
}

/* Nothing of a round is left over in the block that a later one reads, nor what validation has counted there. */
static void
check_resumed(void)
{
	FmoeConfig	config = rounds_config(4);
	FmoeDataset *data = check_walks_for(&config, 40, 12, 10, 15, 7);
	FmoeTrainer *whole;
	FmoeTrainer *resumed;

	check_begin("a round after others is the same as one that is resumed");
	config.holdout = FMOE_HOLDOUT_VALIDATION_FIFTH;
	config.average = FMOE_AVERAGE_TAIL;
	own(&config)->server = FMOE_FEDADAM;
	whole = started(&config, data);
	for (int round = 0; round < 4; round++)
	{
		resumed = started(&config, data);
		for (int block = 0; block < FMOE_BLOCKS; block++)
		{
			size_t		bytes;
			void	   *to = fmoe_trainer_block(resumed, block, &bytes);

			if (bytes > 0)
				memcpy(to, fmoe_trainer_block(whole, block, &bytes), bytes);
		}
		*fmoe_trainer_state(resumed) = *fmoe_trainer_state(whole);
		fmoe_trainer_epoch(whole, &alone);
		fmoe_trainer_epoch(resumed, &alone);
		check_compare_runs(whole, resumed, "resumed");
	}
	check_end();
}

/*
 * Where users' copies of what is shared and rows of users are a good part of it, and where
 * long sequences are, of which validation has fewer than the estimate allows for.
 */
static void
check_rounds_memory(int width, int users, int length, int optimiser, double most)
{
	FmoeConfig	config = rounds_config(4);
	FmoeDataset *data = check_walks_for(&config, users, CHECK_SIZE(500, 200), length + 2, length + 2, 8);
	FmoeFederated *federated = own(&config);
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FnnArena   *arena = fnn_arena_create(check_host(), 0);
	FmoeTrainer *trainer;
	size_t		shared;
	double		estimate;
	double		peak;

	check_begin("memory of rounds of %d users, width %d, %d events, is estimated from above", users, width, length);
	config.width = width;
	config.max_length = length;
	config.batch_size = 128;
	config.dropout = 0.2;
	config.average = FMOE_AVERAGE_TAIL;
	config.holdout = FMOE_HOLDOUT_VALIDATION_FIFTH;
	((FmoeMrffOptions *) config.own.bytes)->private_rows = true;
	federated->local_optimiser = optimiser;
	federated->local_steps = 2;
	shared = fmoe_trainer_shared_bytes(check_arena(), &config, data);
	estimate = (double) fmoe_trainer_private_bytes(check_arena(), &config, data);
	trainer = fmoe_trainer_attach(arena, &config, data, fnn_alloc(check_arena(), shared));
	fmoe_trainer_start(trainer);
	fmoe_trainer_epoch(trainer, &alone);
	fmoe_trainer_model(trainer, NULL, model);
	peak = (double) fnn_arena_peak(arena);
	CHECK(estimate >= peak && estimate <= most * peak, "%.0f bytes estimated, %.0f used", estimate, peak);
	fnn_arena_destroy(arena);
	check_end();
}

static void
check_learning(void)
{
	check_begin("rounds learn who clicks");
	for (int server = FMOE_FEDAVG; server <= FMOE_FEDYOGI; server++)
	{
		FmoeConfig	config = rounds_config(4);
		FmoeDataset *data = check_walks_for(&config, 120, 60, 20, 40, 3);
		FmoeTrainer *trainer;
		FmoeTrainState *state;

		config.epochs = CHECK_SIZE(40, 2);
		config.patience = config.epochs;
		config.max_length = 40;
		config.holdout = FMOE_HOLDOUT_VALIDATION_FIFTH;
		own(&config)->server = server;
		own(&config)->server_rate = server == FMOE_FEDAVG ? 1 : 0.02;
		trainer = started(&config, data);
		state = fmoe_trainer_state(trainer);
		while (!state->finished)
			fmoe_trainer_epoch(trainer, &alone);
		CHECK(state->best_metric > CHECK_SIZE(0.7, 0.4), "server %d: AUC %.3f", server, state->best_metric);
	}
	check_end();
}

void
check_federated(void)
{
	check_plain_step();
	check_differences();
	check_spending();
	check_members();
	check_resumed();
	check_learning();
	/* where sizes are few, what a round has beside tokens is more of it */
	check_rounds_memory(CHECK_SIZE(64, 16), 40, CHECK_SIZE(40, 20), FMOE_LOCAL_ADAM, CHECK_SIZE(1.3, 1.6));
	/* sums of bytes are the same under valgrind */
	if (CHECK_SIZE(false, true))
		return;
	check_rounds_memory(64, 40, 40, FMOE_LOCAL_SGD, 1.3);
	check_rounds_memory(8, 400, 40, FMOE_LOCAL_ADAM, 1.3);
	check_rounds_memory(8, 40, 400, FMOE_LOCAL_ADAM, 2.5);
}

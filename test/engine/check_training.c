/*
 * check_training.c
 *	  Training runs: what they learn, that they repeat to the bit however many
 *	  processes share them and wherever they were interrupted, what they do
 *	  with hardly any data, what they cost; and the evaluator.
 */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------- data */

/*
 * Users walk through the items: mostly to the one that follows in a fixed
 * random order, else to one where small numbers are more likely.
 */
static FmoeDataset *
make_walks(int64_t n_users, int32_t n_items, int64_t shortest, int64_t longest, uint64_t seed)
{
	FnnArena   *arena = check_arena();
	FmoeDataset *data = fnn_zalloc(arena, sizeof(FmoeDataset));
	int64_t    *offset = fnn_alloc(arena, sizeof(int64_t) * (n_users + 1));
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (n_users * longest + 1));
	double	   *time = fnn_alloc(arena, sizeof(double) * (n_users * longest + 1));
	int64_t    *follows = fnn_alloc(arena, sizeof(int64_t) * n_items);
	uint64_t	draw = 0;
	int64_t		user;
	int64_t		k;

	fnn_random_permutation(seed, 1, n_items, follows);
	offset[0] = 0;
	for (user = 0; user < n_users; user++)
	{
		int64_t		n = shortest + (int64_t) fnn_random_below(seed, 2, user, longest - shortest + 1);

		for (k = 0; k < n; k++)
		{
			int64_t		event = offset[user] + k;
			double		u = fnn_random_uniform(seed, 3, draw++);

			if (k > 0 && fnn_random_uniform(seed, 4, draw) < 0.8)
				item[event] = (int32_t) follows[item[event - 1]];
			else
				item[event] = (int32_t) (u * u * n_items);
			time[event] = 1e9 + 86400.0 * event;
		}
		offset[user + 1] = offset[user] + n;
	}
	data->n_users = n_users;
	data->n_events = offset[n_users];
	data->n_items = n_items;
	data->offset = offset;
	data->item = item;
	data->time = time;
	return data;
}

static FmoeConfig
training_config(const char *model)
{
	FmoeConfig	config = {.width = 16, .layers = 1, .heads = 2, .max_length = 12, .dropout = 0.1,
		.loss = FMOE_LOSS_SOFTMAX, .negatives = 16, .calibration = 0.75, .epochs = 12, .patience = 12,
	.batch_size = 16, .learning_rate = 0.01, .learning_rate_decay = 1, .seed = 1, .holdout = FMOE_HOLDOUT_TEST};

	while (strcmp(fmoe_expert_names[config.model], model) != 0)
		config.model++;
	if (strcmp(model, "fmoe") == 0)
	{
		/* nobody has lent anything: a frozen encoder as it is drawn */
		config.experts.count = 1;
		config.experts.lent[0] = (FmoeLentEncoder) {.name = "north.shop", .model = 1, .width = 8, .layers = 1, .heads = 1};
		config.gate_layers = 1;
	}
	return config;
}

static const FmoeTeam alone = {.rank = 0, .size = 1};

static FmoeTrainer *
start_run(const FmoeConfig *config, const FmoeDataset *data)
{
	void	   *shared = fnn_alloc(check_arena(), fmoe_trainer_shared_bytes(check_arena(), config, data));
	FmoeTrainer *trainer = fmoe_trainer_attach(check_arena(), config, data, shared);

	fmoe_trainer_start(trainer);
	return trainer;
}

static FmoeTrainer *
finish_run(const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeTrainer *trainer = start_run(config, data);

	while (!fmoe_trainer_state(trainer)->finished)
		fmoe_trainer_epoch(trainer, &alone);
	return trainer;
}

/* NDCG@10 of the test events. */
static double
test_metric(const FmoeModel *model, FmoeExpertSlot slot, const FmoeDataset *data)
{
	FmoeCases  *cases = fmoe_cases(check_arena(), data, FMOE_SPLIT_TEST, model->config.holdout, 0, 0, 0);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = false};

	fmoe_rank_cases(model, slot, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	return fmoe_mean_metric(fnn_ndcg, 10, rank, cases->count);
}

/* NDCG@10 of the validation events. */
static double
validation_metric(const FmoeModel *model, const FmoeDataset *data)
{
	FmoeCases  *cases = fmoe_cases(check_arena(), data, FMOE_SPLIT_VALIDATION, model->config.holdout, 0, 0, 0);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = true};

	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	return fmoe_mean_metric(fnn_ndcg, 10, rank, cases->count);
}

/* ---------------------------------------------------------------- learning */

static void
check_learning(const char *model, FmoeLoss loss, double floor)
{
	/* few epochs of few users teach nothing */
	const bool	enough = CHECK_SIZE(true, false);
	double		sum = 0;
	int			seed;

	check_begin("%s with %s learns what follows what", model, loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	for (seed = 1; seed <= CHECK_SIZE(2, 1); seed++)
	{
		FmoeDataset *data = make_walks(CHECK_SIZE(150, 20), 40, 4, 16, seed);
		FmoeConfig	config = training_config(model);
		FmoeModel  *trained = fnn_alloc(check_arena(), sizeof(FmoeModel));
		FmoeTrainer *trainer;
		double		metric;
		double		popularity;

		config.loss = loss;
		config.seed = seed;
		config.epochs = CHECK_SIZE(12, 2);
		trainer = finish_run(&config, data);
		fmoe_trainer_model(trainer, trained);
		metric = test_metric(trained, FMOE_MAIN, data);
		popularity = test_metric(trained, FMOE_POPULARITY, data);
		sum += metric;
		CHECK(!enough || metric > 1.5 * popularity, "seed %d: NDCG@10 %.3f, popularity %.3f", seed, metric, popularity);
		CHECK(fmoe_trainer_state(trainer)->best_metric > 0, "validation metric");
		CHECK(!enough || test_metric(trained, FMOE_MARKOV, data) > 1.8 * popularity, "Markov learns it too");
	}
	CHECK(!enough || sum / 2 > floor, "mean NDCG@10 %.3f", sum / 2);
	check_end();
}

static void
check_early_stopping(void)
{
	FmoeDataset *data = make_walks(60, 30, 4, 10, 3);
	FmoeConfig	config = training_config("sasrec");
	FmoeTrainer *trainer;
	FmoeTrainState *state;
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	size_t		bytes;
	const fnn_real *best;
	int			epochs = 0;

	check_begin("training stops after patience epochs without a better one and gives the best weights");
	config.epochs = 1000;
	config.patience = 3;
	config.learning_rate = 0.03;
	trainer = start_run(&config, data);
	state = fmoe_trainer_state(trainer);
	while (!state->finished && epochs < 1000)
	{
		fmoe_trainer_epoch(trainer, &alone);
		epochs++;
		CHECK(state->metric <= state->best_metric, "epoch %d: %g is better than the best", epochs, state->metric);
	}
	CHECK(state->epoch == epochs && epochs < 1000, "stopped after %d epochs", epochs);
	CHECK(state->epoch == state->best_epoch + 3 && state->stale_epochs == 3, "best epoch %d", state->best_epoch);
	fmoe_trainer_model(trainer, model);
	best = fmoe_trainer_block(trainer, FMOE_BLOCK_BEST, &bytes);
	CHECK(memcmp(model->expert[FMOE_MAIN].tensor[0].value, best, 30 * 16 * sizeof(fnn_real)) == 0, "best weights");
	CHECK(memcmp(best, fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes), bytes) != 0, "are not the last ones");
	fmoe_trainer_epoch(trainer, &alone);
	CHECK(state->epoch == epochs, "a finished run stays as it is");
	check_end();

	check_begin("without validation all epochs run and the last weights count");
	config.holdout = FMOE_HOLDOUT_NONE;
	config.epochs = 4;
	trainer = finish_run(&config, data);
	state = fmoe_trainer_state(trainer);
	CHECK(state->epoch == 4 && state->best_epoch == 0 && isnan(state->metric), "%d epochs", state->epoch);
	fmoe_trainer_model(trainer, model);
	CHECK(memcmp(model->expert[FMOE_MAIN].tensor[0].value, fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes),
				 30 * 16 * sizeof(fnn_real)) == 0, "last weights");
	check_end();
}

static void
count_step(void *context, int64_t batch, int64_t batches, double loss)
{
	int64_t    *counted = context;

	CHECK(batch == counted[0] + 1 && batches == 4, "step %d of %d", (int) batch, (int) batches);
	CHECK(loss > 0 && loss < 10, "loss %g", loss);
	counted[0] = batch;
}

static void
check_progress(void)
{
	FmoeDataset *data = make_walks(61, 30, 4, 10, 3);
	FmoeConfig	config = training_config("sasrec");
	int64_t		counted = 0;
	FmoeTeam	team = {.rank = 0, .size = 1, .context = &counted, .progress = count_step};

	check_begin("every step is reported");
	fmoe_trainer_epoch(start_run(&config, data), &team);
	CHECK(counted == 4, "%d steps", (int) counted);
	check_end();
}

/* ---------------------------------------------------------------- the same weights again */

typedef struct Shared
{
	pthread_barrier_t barrier;
	char		pad[FNN_ALIGN];
} Shared;

static void
wait_for_all(void *context)
{
	pthread_barrier_wait(&((Shared *) context)->barrier);
}

static void
child_fail(void *context, FnnError code, const char *message)
{
	_exit(2);
}

static void *
map_shared(size_t bytes)
{
	void	   *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	return memory;
}

/* epochs of a run by several processes over the block; the calling process is the leader. */
static void
run_team(const FmoeConfig *config, const FmoeDataset *data, void *block, int size, int epochs)
{
	Shared	   *shared = map_shared(sizeof(Shared));
	pthread_barrierattr_t attributes;
	FnnHost		child_host = *check_host();
	pid_t		child[8];
	FmoeTeam	team = {.rank = 0, .size = size, .context = shared, .barrier = size > 1 ? wait_for_all : NULL};
	FmoeTrainer *trainer;
	int			r;
	int			e;

	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attributes, size);
	fflush(NULL);
	for (r = 1; r < size; r++)
	{
		child[r] = fork();
		if (child[r] == 0)
		{
			/* a member whose leader was killed would wait at the barrier for ever */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			child_host.fail = child_fail;
			trainer = fmoe_trainer_attach(fnn_arena_create(&child_host, 0), config, data, block);
			team.rank = r;
			wait_for_all(shared);
			for (e = 0; e < epochs; e++)
				fmoe_trainer_epoch(trainer, &team);
			_exit(0);
		}
	}
	trainer = fmoe_trainer_attach(check_arena(), config, data, block);
	fmoe_trainer_start(trainer);
	if (size > 1)
		wait_for_all(shared);
	for (e = 0; e < epochs; e++)
		fmoe_trainer_epoch(trainer, &team);
	for (r = 1; r < size; r++)
	{
		int			status;

		waitpid(child[r], &status, 0);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "member %d of %d ended with %x", r, size, status);
	}
	pthread_barrier_destroy(&shared->barrier);
	munmap(shared, sizeof(Shared));
}

/* Blocks and states equal to the bit. */
static void
compare_runs(FmoeTrainer *a, FmoeTrainer *b, const char *what)
{
	static const char *const names[] = {"values", "first moments", "second moments", "best values", "last steps"};
	FmoeTrainState *x = fmoe_trainer_state(a);
	FmoeTrainState *y = fmoe_trainer_state(b);
	int			block;

	for (block = 0; block < FMOE_BLOCKS; block++)
	{
		size_t		bytes;
		size_t		other;
		const void *p = fmoe_trainer_block(a, block, &bytes);
		const void *q = fmoe_trainer_block(b, block, &other);

		CHECK(bytes == other && (bytes == 0 || memcmp(p, q, bytes) == 0), "%s: %s differ", what, names[block]);
	}
	CHECK(x->step == y->step && x->epoch == y->epoch && x->best_epoch == y->best_epoch &&
		  x->stale_epochs == y->stale_epochs && x->finished == y->finished && x->loss == y->loss &&
		  x->metric == y->metric && x->best_metric == y->best_metric, "%s: states differ", what);
}

static void
check_blend(void)
{
	FmoeDataset *data = make_walks(60, 30, 4, 10, 3);
	FmoeConfig	config = training_config("sasrec");
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *plain;
	FmoeTrainer *blended;
	double		metric[3];

	check_begin("counted transitions join the finished model's scores, not the epochs' validation");
	config.epochs = 2;
	plain = finish_run(&config, data);
	fmoe_trainer_model(plain, model);
	metric[0] = test_metric(model, FMOE_MAIN, data);
	config.blend = 4;
	blended = finish_run(&config, data);
	compare_runs(plain, blended, "with a weight");
	fmoe_trainer_model(blended, model);
	metric[1] = test_metric(model, FMOE_MAIN, data);
	CHECK(model->config.blend == 4 && metric[1] > 1.2 * metric[0], "NDCG@10 %g, without transitions %g", metric[1], metric[0]);
	config.blend = -1;
	blended = finish_run(&config, data);
	compare_runs(plain, blended, "with a weight to be chosen");
	fmoe_trainer_model(blended, model);
	metric[2] = test_metric(model, FMOE_MAIN, data);
	CHECK(model->config.blend > 0 && metric[2] > 1.2 * metric[0], "weight %g, NDCG@10 %g", model->config.blend, metric[2]);
	check_end();
}

static void
check_teams(const char *model, FmoeLoss loss, double clip_norm)
{
	FmoeDataset *data = make_walks(40, 300, 1, 8, 9);
	FmoeConfig	config = training_config(model);
	FmoeTrainer *first = NULL;
	size_t		bytes;
	int			size;

	config.loss = loss;
	config.clip_norm = clip_norm;
	config.layers = 2;
	/* several chunks of the block, so that every member has its own */
	config.width = 48;
	config.epochs = 2;
	config.weight_decay = 0.01;
	config.warmup_steps = 5;
	config.learning_rate_decay = 0.9;
	bytes = fmoe_trainer_shared_bytes(check_arena(), &config, data);

	check_begin("%s, %s, clip %g: the same weights from 1, 2 and 3 processes", model,
				loss == FMOE_LOSS_GBCE ? "gbce" : "softmax", clip_norm);
	for (size = 1; size <= 3; size++)
	{
		void	   *block = map_shared(bytes);
		FmoeTrainer *trainer;

		/* nothing may depend on what was in the block before */
		memset(block, 0x55, bytes);
		run_team(&config, data, block, size, 2);
		trainer = fmoe_trainer_attach(check_arena(), &config, data, block);
		CHECK(fmoe_trainer_state(trainer)->epoch == 2, "%d epochs", fmoe_trainer_state(trainer)->epoch);
		if (first == NULL)
			first = trainer;
		else
			compare_runs(first, trainer, size == 2 ? "2 processes" : "3 processes");
	}
	check_end();
}

static void
check_resume(FmoeLoss loss)
{
	FmoeDataset *data = make_walks(50, 40, 3, 14, 11);
	FmoeConfig	config = training_config("sasrec");
	FmoeTrainer *whole;
	FmoeTrainer *begun;
	FmoeTrainer *resumed;
	size_t		bytes;
	int			block;

	check_begin("a run resumed from its blocks ends with the same weights, %s", loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	config.loss = loss;
	config.epochs = 5;
	whole = finish_run(&config, data);
	begun = start_run(&config, data);
	fmoe_trainer_epoch(begun, &alone);
	fmoe_trainer_epoch(begun, &alone);

	bytes = fmoe_trainer_shared_bytes(check_arena(), &config, data);
	resumed = fmoe_trainer_attach(check_arena(), &config, data,
								  memset(fnn_alloc(check_arena(), bytes), 0x55, bytes));
	for (block = 0; block < FMOE_BLOCKS; block++)
	{
		void	   *to = fmoe_trainer_block(resumed, block, &bytes);

		if (bytes > 0)
			memcpy(to, fmoe_trainer_block(begun, block, &bytes), bytes);
	}
	*fmoe_trainer_state(resumed) = *fmoe_trainer_state(begun);
	while (!fmoe_trainer_state(resumed)->finished)
		fmoe_trainer_epoch(resumed, &alone);
	compare_runs(whole, resumed, "resumed");
	check_end();
}

static void
check_seeds(void)
{
	FmoeDataset *data = make_walks(50, 40, 3, 14, 11);
	FmoeConfig	config = training_config("gru4rec");
	FmoeTrainer *a;
	FmoeTrainer *b;
	const fnn_real *values;
	size_t		bytes;

	check_begin("the seed decides the weights");
	config.epochs = 1;
	a = finish_run(&config, data);
	b = finish_run(&config, data);
	compare_runs(a, b, "same seed");
	config.seed = 2;
	b = finish_run(&config, data);
	values = fmoe_trainer_block(a, FMOE_BLOCK_VALUES, &bytes);
	CHECK(memcmp(values, fmoe_trainer_block(b, FMOE_BLOCK_VALUES, &bytes), bytes) != 0, "another seed");
	check_end();
}

/* ---------------------------------------------------------------- warm start, divergence */

static void
check_adopt(void)
{
	FmoeDataset *data = make_walks(30, 20, 3, 8, 5);
	FmoeConfig	config = training_config("sasrec");
	FmoeTrainer *trainer;
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *next;
	FnnArray   *array = fnn_alloc(check_arena(), sizeof(FnnArray) * FMOE_MODEL_ARRAYS_MAX);
	const fnn_real *adopted;
	size_t		bytes;
	int			n;

	config.epochs = 1;
	trainer = finish_run(&config, data);
	fmoe_trainer_model(trainer, model);
	n = fmoe_model_arrays(model, array, FMOE_MODEL_ARRAYS_MAX);

	check_begin("a warm start takes over what has the same name and shape");
	config.seed = 2;
	next = start_run(&config, data);
	CHECK(fmoe_trainer_adopt(next, n, array) == 2 + 14 + 2, "all slices");
	adopted = fmoe_trainer_block(next, FMOE_BLOCK_VALUES, &bytes);
	CHECK(memcmp(adopted, fmoe_trainer_block(trainer, FMOE_BLOCK_BEST, &bytes), bytes) == 0, "values");
	config.max_length = 13;
	next = start_run(&config, data);
	CHECK(fmoe_trainer_adopt(next, n, array) == 2 + 14 + 2, "a longer position table");
	adopted = fmoe_trainer_block(next, FMOE_BLOCK_VALUES, &bytes);
	CHECK(memcmp(adopted + data->n_items * 16, (const fnn_real *) fmoe_trainer_block(trainer, FMOE_BLOCK_BEST, &bytes) +
				 data->n_items * 16, sizeof(fnn_real) * 12 * 16) == 0, "gets the rows there are");
	check_end();
}

static void
run_epoch(void *trainer)
{
	fmoe_trainer_epoch(trainer, &alone);
}

static void
check_divergence(void)
{
	FmoeDataset *data = make_walks(30, 20, 3, 8, 5);
	FmoeConfig	config = training_config("sasrec");
	FmoeTrainer *trainer = start_run(&config, data);
	size_t		bytes;
	fnn_real   *values = fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes);

	check_begin("training that diverged says so");
	values[3] = (fnn_real) NAN;
	check_fails(FNN_NONFINITE, "training diverged at step", run_epoch, trainer);
	check_end();
}

/* ---------------------------------------------------------------- hardly any data */

static void
check_small(const char *what, int64_t n_users, int32_t n_items, int64_t shortest, int64_t longest)
{
	static const char *const models[] = {"sasrec", "gru4rec"};
	int			variant;

	check_begin("%s", what);
	for (variant = 0; variant < 4; variant++)
	{
		FmoeDataset *data = make_walks(n_users, n_items, shortest, longest, 4);
		FmoeConfig	config = training_config(models[variant & 1]);
		FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
		FmoeTrainer *trainer;
		FmoeTrainState *state;
		int64_t		begin = 0;
		int64_t		end = data->n_events < 3 ? data->n_events : 3;
		fnn_real   *score = fnn_alloc_reals(check_arena(), 1, n_items);
		int			slot;
		int32_t		i;

		config.loss = variant & 2 ? FMOE_LOSS_GBCE : FMOE_LOSS_SOFTMAX;
		config.holdout = FMOE_HOLDOUT_VALIDATION;
		config.negatives = 1000;
		config.epochs = 2;
		trainer = start_run(&config, data);
		state = fmoe_trainer_state(trainer);
		for (i = 0; i < 2 && !state->finished; i++)
			fmoe_trainer_epoch(trainer, &alone);
		CHECK(state->finished, "finished after %d epochs", i);
		fmoe_trainer_model(trainer, model);
		for (slot = 0; slot < FMOE_SLOTS; slot++)
		{
			fmoe_score(model, slot, check_arena(), fmoe_batch(check_arena(), data->item, data->time, 1, &begin, &end, 12),
					   score);
			CHECK(fnn_all_finite(score, n_items), "scores of slot %d", slot);
		}
	}
	check_end();
}

/* ---------------------------------------------------------------- calibration */

/*
 * Walks where an item is followed by any other: the transitions that were
 * counted know every training event and nothing else.
 */
static void
check_calibration(void)
{
	FmoeDataset *data = make_walks(CHECK_SIZE(300, 60), 60, 6, 12, 11);
	FmoeConfig	config = training_config("fmoe");
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	int32_t    *item = (int32_t *) data->item;
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
	config.count_experts = true;
	config.epochs = 4;
	config.holdout = FMOE_HOLDOUT_VALIDATION;
	trainer = finish_run(&config, data);
	fmoe_trainer_model(trainer, model);
	scale = fnn_params_find(&main->params, "gate.calibration.scale");
	CHECK(scale > 0 && main->params.list[scale].frozen && main->params.list[scale + 1].frozen, "what is calibrated is not learned");
	calibrated = validation_metric(model, data);
	main->tensor[scale].value[0] = 1;
	for (int64_t i = 0; i < main->tensor[scale + 1].cols; i++)
	{
		CHECK(fabs((double) main->tensor[scale + 1].value[i]) > 1e-4, "expert %d has a summand", (int) i);
		main->tensor[scale + 1].value[i] = 0;
	}
	raw = validation_metric(model, data);
	CHECK(calibrated > raw - 0.01, "NDCG@10 %.4f, before %.4f", calibrated, raw);
	check_end();
}

/* ---------------------------------------------------------------- memory */

static void
check_memory(const char *name, FmoeLoss loss, double dropout, int64_t users, bool counted)
{
	/* sequences of one length: the longest batch is the usual one; more cases than training ranks at once */
	FmoeDataset *data = make_walks(users, CHECK_SIZE(500, 200), 42, 42, 8);
	FmoeConfig	config = training_config(name);
	FnnArena   *arena;
	FmoeTrainer *trainer;
	size_t		shared;
	double		estimate;
	double		peak;

	check_begin("memory of %s%s, %s, dropout %g, %d users is estimated within 20 percent", name,
				counted ? " with counted transitions" : "", loss == FMOE_LOSS_GBCE ? "gbce" : "softmax", dropout, (int) users);
	config.loss = loss;
	config.blend = -1;
	config.dropout = dropout;
	config.max_length = 40;
	config.batch_size = 64;
	config.width = CHECK_SIZE(64, 16);
	config.layers = CHECK_SIZE(2, 1);
	if (counted)
	{
		/* narrow, so that the transitions are a good part of it */
		config.width = 8;
		config.layers = 1;
		config.item_graph = config.count_experts = true;
	}
	shared = fmoe_trainer_shared_bytes(check_arena(), &config, data);
	estimate = (double) fmoe_trainer_private_bytes(check_arena(), &config, data);
	arena = fnn_arena_create(check_host(), 0);
	trainer = fmoe_trainer_attach(arena, &config, data, fnn_alloc(check_arena(), shared));
	fmoe_trainer_start(trainer);
	fmoe_trainer_epoch(trainer, &alone);
	fmoe_trainer_model(trainer, fnn_alloc(check_arena(), sizeof(FmoeModel)));
	peak = (double) fnn_arena_peak(arena);
	CHECK(estimate >= peak * 0.98 && estimate <= peak * 1.2, "%.0f bytes estimated, %.0f used", estimate, peak);
	fnn_arena_destroy(arena);
	check_end();
}

/* ---------------------------------------------------------------- splits and cases */

static void
check_cases(void)
{
	/* users of 5, 3, 2, 1, 0 and 4 events */
	static const int64_t offset[] = {0, 5, 8, 10, 11, 11, 15};
	static const int32_t item[] = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
	static const double time[] = {1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 1, 1, 5, 9};
	const FmoeDataset data = {.n_users = 6, .n_events = 15, .n_items = 5, .offset = offset, .item = item, .time = time};
	static const int64_t ends[][6] = {{5, 8, 10, 11, 11, 15}, {4, 7, 10, 11, 11, 14}, {3, 6, 10, 11, 11, 13}};
	static const int64_t late_target[] = {4, 6, 7, 9, 13, 14};
	static const int64_t late_begin[] = {0, 5, 5, 8, 11, 11};
	FmoeCases  *cases;
	FmoeCases  *again;
	int			holdout;
	int64_t		i;

	check_begin("holdouts keep back the last events of users with three or more");
	for (holdout = 0; holdout < 3; holdout++)
	{
		for (i = 0; i < 6; i++)
			CHECK(fmoe_train_end(&data, holdout, i) == ends[holdout][i], "holdout %d user %d", holdout, (int) i);
		cases = fmoe_cases(check_arena(), &data, FMOE_SPLIT_VALIDATION, holdout, 0, 0, 0);
		CHECK(cases->count == (holdout == FMOE_HOLDOUT_NONE ? 0 : 3), "%d validation cases", (int) cases->count);
		for (i = 0; i < cases->count; i++)
			CHECK(cases->target[i] == ends[holdout][i == 2 ? 5 : i], "validation target %d", (int) i);
	}
	cases = fmoe_cases(check_arena(), &data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 0, 0);
	CHECK(cases->count == 3 && cases->target[0] == 4 && cases->target[1] == 7 && cases->target[2] == 14, "test targets");
	check_end();

	check_begin("a time split asks for every later event that has a history");
	cases = fmoe_cases(check_arena(), &data, FMOE_SPLIT_TIME, FMOE_HOLDOUT_TEST, 4, 0, 0);
	CHECK(cases->count == 6, "%d cases", (int) cases->count);
	for (i = 0; i < cases->count && i < 6; i++)
		CHECK(cases->target[i] == late_target[i] && cases->begin[i] == late_begin[i], "case %d", (int) i);
	check_end();

	check_begin("a limit chooses users by the seed");
	cases = fmoe_cases(check_arena(), &data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 2, 5);
	again = fmoe_cases(check_arena(), &data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 2, 5);
	CHECK(cases->count == 2 && memcmp(cases->target, again->target, 2 * sizeof(int64_t)) == 0, "the same two");
	for (i = 0; i < 40; i++)
	{
		again = fmoe_cases(check_arena(), &data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 2, i);
		if (memcmp(cases->target, again->target, 2 * sizeof(int64_t)) != 0)
			break;
	}
	CHECK(i < 40, "other seeds choose others");
	cases = fmoe_cases(check_arena(), &data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 4, 5);
	CHECK(cases->count == 3, "a limit above the users there are");
	check_end();
}

/* ---------------------------------------------------------------- evaluator */

/* A model whose popularity expert scores every item alike. */
static FmoeModel *
constant_model(int32_t n_items)
{
	FmoeConfig	config = training_config("popularity");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	static const int64_t offset[] = {0};
	FmoeDataset nothing = {.n_items = n_items, .offset = offset};

	fmoe_count_experts(model, check_arena(), &config, &nothing);
	return model;
}

static int64_t
distinct_before(const FmoeDataset *data, int64_t begin, int64_t target)
{
	int64_t		n = 0;
	int64_t		k;
	int64_t		l;

	for (k = begin; k < target; k++)
	{
		for (l = begin; l < k && data->item[l] != data->item[k]; l++)
			;
		n += l == k && data->item[k] != data->item[target];
	}
	return n;
}

static void
check_constant_scorer(void)
{
	FmoeDataset *data = make_walks(40, 25, 3, 30, 6);
	FmoeModel  *model = constant_model(25);
	FmoeCases  *cases = fmoe_cases(check_arena(), data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 0, 0);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = false};
	int64_t		c;

	check_begin("a model that scores all items alike ranks last");
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 25, "case %d: rank %d of 25", (int) c, rank[c]);
	CHECK(fmoe_mean_metric(fnn_ndcg, 10, rank, cases->count) == 0, "NDCG of nothing");
	protocol.exclude_seen = true;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 25 - distinct_before(data, cases->begin[c], cases->target[c]), "case %d without seen items: rank %d",
			  (int) c, rank[c]);
	protocol.negatives = 7;
	protocol.exclude_seen = false;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 8, "case %d among 7 negatives: rank %d", (int) c, rank[c]);
	protocol.negatives = 1000;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 25, "case %d among more negatives than items: rank %d", (int) c, rank[c]);
	CHECK(isnan(fmoe_mean_metric(fnn_hr, 10, rank, 0)), "the mean of no ranks");
	check_end();
}

static void
check_sampled_negatives(void)
{
	FmoeDataset *data = make_walks(300, 60, 3, 12, 6);
	FmoeConfig	config = training_config("markov");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeCases  *cases = fmoe_cases(check_arena(), data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 0, 0);
	FmoeCases  *some = fmoe_cases(check_arena(), data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 100, 1);
	int32_t    *full = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	int32_t    *again = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = true, .negatives = 20, .seed = 3};
	double		fraction = 0;
	int64_t		above = 0;
	int64_t		c;
	int64_t		d;

	check_begin("sampled negatives are the same in every run, part and subset, and a fair sample");
	fmoe_count_experts(model, check_arena(), &config, data);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 50, cases->count, again, NULL);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, 50, again, NULL);
	CHECK(memcmp(rank, again, sizeof(int32_t) * cases->count) == 0, "in parts");
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, some, &protocol, 0, some->count, again, NULL);
	for (c = 0; c < some->count; c++)
	{
		for (d = 0; cases->target[d] != some->target[c]; d++)
			;
		CHECK(again[c] == rank[d], "case %d of a subset", (int) c);
	}
	protocol.seed = 4;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, again, NULL);
	CHECK(memcmp(rank, again, sizeof(int32_t) * cases->count) != 0, "another seed");

	/* each of the others is a negative with the same probability: 20 of about 55 */
	protocol.negatives = 0;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, full, NULL);
	for (c = 0; c < cases->count; c++)
	{
		int64_t		others = 59 - distinct_before(data, cases->begin[c], cases->target[c]);

		CHECK(rank[c] <= full[c] && rank[c] <= 21, "case %d: rank %d among 20 others, %d among all", (int) c, rank[c], full[c]);
		fraction += (full[c] - 1) * 20.0 / others;
		above += rank[c] - 1;
	}
	CHECK(fabs(above / fraction - 1) < 0.1, "%d negatives above the targets, %.0f expected", (int) above, fraction);
	check_end();
}

static void
check_coverage(void)
{
	FmoeDataset *data = make_walks(20, 30, 3, 10, 12);
	FmoeConfig	config = training_config("popularity");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeCases  *cases = fmoe_cases(check_arena(), data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST, 0, 0, 0);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	int32_t    *plain = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	uint8_t		covered[30] = {0};
	FmoeProtocol protocol = {.exclude_seen = false, .top_k = 4};
	int			n = 0;
	int			i;

	check_begin("covered items are those of some top k");
	fmoe_count_experts(model, check_arena(), &config, data);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, covered);
	for (i = 0; i < 30; i++)
		n += covered[i];
	CHECK(n == 4, "popularity recommends the same four to everybody, not %d", n);
	protocol.exclude_seen = true;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, covered);
	protocol.top_k = 0;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, plain, NULL);
	CHECK(memcmp(rank, plain, sizeof(int32_t) * cases->count) == 0, "coverage does not change ranks");
	for (i = 0, n = 0; i < 30; i++)
		n += covered[i];
	CHECK(n > 4, "others where the four are seen");
	check_end();
}

/* ---------------------------------------------------------------- options */

static void
resolve_config(void *config)
{
	fmoe_config_resolve(config, check_host(), 1000);
}

static void
check_options(void)
{
	FmoeConfig	config = training_config("sasrec");
	const FmoeOption *option;

	check_begin("every option's default is in its range");
	for (option = fmoe_train_options; option->name != NULL; option++)
	{
		double		value = option->value != NULL ? atof(option->value) : 0;
		int			i;

		CHECK((option->value != NULL || option->type == FMOE_OPTION_LENT) && option->help != NULL, "\"%s\" has default and help", option->name);
		if (option->type == FMOE_OPTION_ENUM)
		{
			for (i = 0; option->choices[i] != NULL && strcmp(option->choices[i], option->value) != 0; i++)
				;
			CHECK(option->choices[i] != NULL, "default of \"%s\" is a choice", option->name);
		}
		else if (option->type != FMOE_OPTION_BOOL)
			CHECK(value >= option->min && value <= option->max, "default of \"%s\" is %g", option->name, value);
	}
	check_end();

	check_begin("what an option needs is a number");
	for (option = fmoe_train_options; option->name != NULL; option++)
	{
		const FmoeOption *needed = fmoe_train_options;

		while (option->needs != NULL && needed->name != NULL && strcmp(needed->name, option->needs) != 0)
			needed++;
		CHECK(option->needs == NULL || (needed->name != NULL && needed->type == FMOE_OPTION_INT), "\"%s\"", option->name);
	}
	check_end();

	check_begin("what depends on the data is resolved");
	config.loss = FMOE_LOSS_AUTO;
	fmoe_config_resolve(&config, check_host(), 1000);
	CHECK(config.loss == FMOE_LOSS_SOFTMAX, "a small catalogue");
	config.loss = FMOE_LOSS_AUTO;
	fmoe_config_resolve(&config, check_host(), 1000000);
	CHECK(config.loss == FMOE_LOSS_GBCE, "a large catalogue");
	config.heads = 3;
	check_fails(FNN_INVALID, "\"width\" (16) is not a multiple of option \"heads\" (3)", resolve_config, &config);
	check_end();
}

void
check_training(void)
{
	check_options();
	check_cases();
	check_constant_scorer();
	check_sampled_negatives();
	check_coverage();
	/* a few negatives at a time teach less than all items */
	check_learning("sasrec", FMOE_LOSS_SOFTMAX, 0.5);
	check_learning("sasrec", FMOE_LOSS_GBCE, 0.33);
	check_learning("gru4rec", FMOE_LOSS_SOFTMAX, 0.5);
	check_learning("fmoe", FMOE_LOSS_SOFTMAX, 0.5);
	check_early_stopping();
	check_blend();
	check_progress();
	check_teams("sasrec", FMOE_LOSS_SOFTMAX, 0);
	check_teams("sasrec", FMOE_LOSS_GBCE, 0);
	check_teams("gru4rec", FMOE_LOSS_GBCE, 0.5);
	check_teams("gru4rec", FMOE_LOSS_SOFTMAX, 0.5);
	check_teams("fmoe", FMOE_LOSS_SOFTMAX, 0);
	check_teams("fmoe", FMOE_LOSS_GBCE, 0);
	check_resume(FMOE_LOSS_SOFTMAX);
	check_resume(FMOE_LOSS_GBCE);
	check_seeds();
	check_adopt();
	check_calibration();
	check_divergence();
	check_small("one user", 1, 10, 6, 6);
	check_small("one item", 5, 1, 2, 6);
	check_small("one event", 1, 3, 1, 1);
	check_small("no events", 3, 3, 0, 0);
	check_small("users of one event", 20, 10, 1, 1);
	check_small("users of two events", 20, 10, 2, 2);
	check_small("two items", 9, 2, 1, 5);
	check_small("fewer sequences than shards", 2, 10, 4, 4);
	check_memory("sasrec", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("sasrec", FMOE_LOSS_GBCE, 0, 64, false);
	check_memory("sasrec", FMOE_LOSS_SOFTMAX, 0.1, 400, false);
	check_memory("gru4rec", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("gru4rec", FMOE_LOSS_GBCE, 0, 64, false);
	check_memory("fmoe", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("fmoe", FMOE_LOSS_GBCE, 0, 64, false);
	check_memory("fmoe", FMOE_LOSS_SOFTMAX, 0.1, 64, true);
	check_memory("fmoe", FMOE_LOSS_SOFTMAX, 0, 300, true);
}

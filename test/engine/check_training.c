/*
 * check_training.c
 *	  Training runs: what they learn, that they repeat to the bit however many
 *	  processes share them and wherever they were interrupted, and what they
 *	  do with hardly any data.
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
FmoeDataset *
check_walks(int64_t n_users, int32_t n_items, int64_t shortest, int64_t longest, uint64_t seed)
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
	data->events.item = item;
	data->events.time = time;
	return data;
}

FmoeConfig
check_config(const char *model)
{
	FmoeConfig	config = {.width = 16, .layers = 1, .heads = 2, .max_length = 12, .dropout = 0.1,
		.loss = FMOE_LOSS_SOFTMAX, .negatives = 16, .calibration = 0.75, .epochs = 12, .patience = 12,
	.batch_size = 16, .learning_rate = 0.01, .learning_rate_decay = 1, .seed = 1, .holdout = FMOE_HOLDOUT_TEST};

	while (strncmp(fmoe_expert_names[config.model], model, strcspn(model, " ")) != 0)
		config.model++;
	if (strstr(model, "rec features") != NULL)
		check_tower(&config)->featured = (FmoeFeaturedOptions) {true, 0.2};
	if (strstr(model, " drawn") != NULL)
		*(model[0] == 's' ? &check_tower(&config)->baskets : &check_own(&config)->baskets) = FMOE_BASKETS_DRAWN;
	if (strcmp(model, "mrff") == 0)
		*check_clicks(&config) = (FmoeMrffOptions)
	{
		.groups = 3, .group_gate = FMOE_MRFF_WEIGHTED, .balance = 0.1, .private_rows = true,
			.user_features = FMOE_MRFF_SHARED, .past_labels = true, .history_rates = true
	};
	if (strncmp(model, "ant", 3) == 0)
		check_ant_options(&config, model);
	check_step_options(&config, model);
	if (strcmp(model, "fmoe") == 0)
	{
		/* nobody has lent anything: a frozen encoder as it is drawn */
		check_own(&config)->experts.count = 1;
		check_own(&config)->experts.lent[0] = (FmoeLentEncoder)
		{
			.name = "north.shop", .shape =
			{
				1, 8, 1, 1
				}
		};
		check_own(&config)->gate_layers = 1;
	}
	return config;
}

static const FmoeTeam alone = {.rank = 0, .size = 1};

FmoeTrainer *
check_start_run(const FmoeConfig *config, const FmoeDataset *data)
{
	void	   *shared = fnn_alloc(check_arena(), fmoe_trainer_shared_bytes(check_arena(), config, data));
	FmoeTrainer *trainer = fmoe_trainer_attach(check_arena(), config, data, shared);

	fmoe_trainer_start(trainer);
	return trainer;
}

FmoeTrainer *
check_finish_run(const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeTrainer *trainer = check_start_run(config, data);

	while (!fmoe_trainer_state(trainer)->finished)
		fmoe_trainer_epoch(trainer, &alone);
	return trainer;
}

FmoeCases *
check_cases_of(const FmoeDataset *data, FmoeSplit split, FmoeHoldout holdout)
{
	FmoeCasesWanted wanted = {.split = split, .holdout = holdout};

	return fmoe_cases(check_arena(), data, &wanted);
}

/* NDCG@10 of the test events. */
static double
test_metric(const FmoeModel *model, FmoeExpertSlot slot, const FmoeDataset *data)
{
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, model->config.holdout);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = false};

	fmoe_rank_cases(model, slot, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	return fmoe_mean_metric(FMOE_NDCG, 10, cases, rank);
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
		FmoeDataset *data = check_walks(CHECK_SIZE(150, 20), 40, 4, 16, seed);
		FmoeConfig	config = check_config(model);
		FmoeModel  *trained = fnn_alloc(check_arena(), sizeof(FmoeModel));
		FmoeTrainer *trainer;
		double		metric;
		double		popularity;

		config.loss = loss;
		config.seed = seed;
		config.epochs = CHECK_SIZE(12, 2);
		trainer = check_finish_run(&config, data);
		fmoe_trainer_model(trainer, NULL, trained);
		metric = test_metric(trained, FMOE_MAIN, data);
		popularity = test_metric(trained, FMOE_POPULARITY, data);
		sum += metric;
		CHECK(!enough || metric > 1.5 * popularity, "seed %d: NDCG@10 %.3f, popularity %.3f", seed, metric,
			  popularity);
		CHECK(fmoe_trainer_state(trainer)->best_metric > 0, "validation metric");
		CHECK(!enough || test_metric(trained, FMOE_MARKOV, data) > 1.8 * popularity, "Markov learns it too");
	}
	CHECK(!enough || sum / 2 > floor, "mean NDCG@10 %.3f", sum / 2);
	check_end();
}

static void
check_early_stopping(void)
{
	FmoeDataset *data = check_walks(60, 30, 4, 10, 3);
	FmoeConfig	config = check_config("sasrec");
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
	trainer = check_start_run(&config, data);
	state = fmoe_trainer_state(trainer);
	while (!state->finished && epochs < 1000)
	{
		fmoe_trainer_epoch(trainer, &alone);
		epochs++;
		CHECK(state->metric <= state->best_metric, "epoch %d: %g is better than the best", epochs, state->metric);
	}
	CHECK(state->epoch == epochs && epochs < 1000, "stopped after %d epochs", epochs);
	CHECK(state->epoch == state->best_epoch + 3 && state->stale_epochs == 3, "best epoch %d", state->best_epoch);
	fmoe_trainer_model(trainer, NULL, model);
	best = fmoe_trainer_block(trainer, FMOE_BLOCK_BEST, &bytes);
	CHECK(memcmp(model->expert[FMOE_MAIN].tensor[0].value, best, 30 * 16 * sizeof(fnn_real)) == 0, "best weights");
	CHECK(memcmp(best, fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes), bytes) != 0, "are not the last ones");
	fmoe_trainer_epoch(trainer, &alone);
	CHECK(state->epoch == epochs, "a finished run stays as it is");
	check_end();

	check_begin("without validation all epochs run and the last weights count");
	config.holdout = FMOE_HOLDOUT_NONE;
	config.epochs = 4;
	trainer = check_finish_run(&config, data);
	state = fmoe_trainer_state(trainer);
	CHECK(state->epoch == 4 && state->best_epoch == 0 && isnan(state->metric), "%d epochs", state->epoch);
	fmoe_trainer_model(trainer, NULL, model);
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
	FmoeDataset *data = check_walks(61, 30, 4, 10, 3);
	FmoeConfig	config = check_config("sasrec");
	int64_t		counted = 0;
	FmoeTeam	team = {.rank = 0, .size = 1, .context = &counted, .progress = count_step};

	check_begin("every step is reported");
	fmoe_trainer_epoch(check_start_run(&config, data), &team);
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

void *
check_map_shared(size_t bytes)
{
	void	   *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		abort();
	return memory;
}

void
check_run_team(const FmoeConfig *config, const FmoeDataset *data, void *block, int size, int epochs)
{
	Shared	   *shared = check_map_shared(sizeof(Shared));
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

void
check_compare_runs(FmoeTrainer *a, FmoeTrainer *b, const char *what)
{
	static const char *const names[] = {"values", "first moments", "second moments", "best values", "last steps",
	"means", "rival"};
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
	FmoeDataset *data = check_walks(60, 30, 4, 10, 3);
	FmoeConfig	config = check_config("sasrec");
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *plain;
	FmoeTrainer *blended;
	double		metric[3];

	check_begin("counted transitions join the finished model's scores, not the epochs' validation");
	config.epochs = 2;
	plain = check_finish_run(&config, data);
	fmoe_trainer_model(plain, NULL, model);
	metric[0] = test_metric(model, FMOE_MAIN, data);
	config.blend = 4;
	blended = check_finish_run(&config, data);
	check_compare_runs(plain, blended, "with a weight");
	fmoe_trainer_model(blended, NULL, model);
	metric[1] = test_metric(model, FMOE_MAIN, data);
	CHECK(model->blend == 4 && metric[1] > 1.2 * metric[0], "NDCG@10 %g, without transitions %g", metric[1],
		  metric[0]);
	config.blend = -1;
	blended = check_finish_run(&config, data);
	check_compare_runs(plain, blended, "with a weight to be chosen");
	fmoe_trainer_model(blended, NULL, model);
	metric[2] = test_metric(model, FMOE_MAIN, data);
	CHECK(model->blend > 0 && metric[2] > 1.2 * metric[0], "weight %g, NDCG@10 %g", model->blend, metric[2]);
	check_end();
}

void
check_teams(const char *model, FmoeLoss loss, double clip_norm, bool weighed)
{
	FmoeConfig	config = check_config(model);
	FmoeDataset *data = check_walks_for(&config, 40, 300, 1, 8, 9);
	FmoeTrainer *first = NULL;
	size_t		bytes;
	int			size;

	if (weighed)
		check_event_weights(data, 0, 9);
	config.loss = loss;
	config.clip_norm = clip_norm;
	config.layers = 2;
	/* several chunks of the block, so that every member has its own */
	config.width = 48;
	config.epochs = 2;
	config.average = FMOE_AVERAGE_TAIL;
	config.weight_decay = 0.01;
	config.warmup_steps = 5;
	config.learning_rate_decay = 0.9;
	bytes = fmoe_trainer_shared_bytes(check_arena(), &config, data);

	check_begin("%s, %s, clip %g%s: the same weights from 1, 2 and 3 processes", model,
				loss == FMOE_LOSS_GBCE ? "gbce" : "softmax", clip_norm, weighed ? ", events with weights" : "");
	for (size = 1; size <= 3; size++)
	{
		void	   *block = check_map_shared(bytes);
		FmoeTrainer *trainer;

		/* nothing may depend on what was in the block before */
		memset(block, 0x55, bytes);
		check_run_team(&config, data, block, size, 2);
		trainer = fmoe_trainer_attach(check_arena(), &config, data, block);
		CHECK(fmoe_trainer_state(trainer)->epoch == 2, "%d epochs", fmoe_trainer_state(trainer)->epoch);
		if (first == NULL)
			first = trainer;
		else
			check_compare_runs(first, trainer, size == 2 ? "2 processes" : "3 processes");
	}
	check_end();
}

void
check_resume(const char *model, FmoeLoss loss)
{
	FmoeConfig	config = check_config(model);
	FmoeDataset *data = check_walks_for(&config, 50, 40, 3, 14, 11);
	FmoeTrainer *whole;
	FmoeTrainer *begun;
	FmoeTrainer *resumed;
	size_t		bytes;
	int			block;

	check_begin("a run of %s resumed from its blocks ends with the same weights, %s", model,
				loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	config.loss = loss;
	config.average = FMOE_AVERAGE_TAIL;
	config.epochs = 5;
	whole = check_finish_run(&config, data);
	begun = check_start_run(&config, data);
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
	check_compare_runs(whole, resumed, "resumed");
	check_end();
}

static void
check_seeds(void)
{
	FmoeDataset *data = check_walks(50, 40, 3, 14, 11);
	FmoeConfig	config = check_config("gru4rec");
	FmoeTrainer *a;
	FmoeTrainer *b;
	const fnn_real *values;
	size_t		bytes;

	check_begin("the seed decides the weights");
	config.epochs = 1;
	a = check_finish_run(&config, data);
	b = check_finish_run(&config, data);
	check_compare_runs(a, b, "same seed");
	config.seed = 2;
	b = check_finish_run(&config, data);
	values = fmoe_trainer_block(a, FMOE_BLOCK_VALUES, &bytes);
	CHECK(memcmp(values, fmoe_trainer_block(b, FMOE_BLOCK_VALUES, &bytes), bytes) != 0, "another seed");
	check_end();
}

/* ---------------------------------------------------------------- warm start, divergence */

static void
check_adopt(void)
{
	FmoeDataset *data = check_walks(30, 20, 3, 8, 5);
	FmoeConfig	config = check_config("sasrec");
	FmoeTrainer *trainer;
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *next;
	FnnArray   *array = fnn_alloc(check_arena(), sizeof(FnnArray) * 64);
	const fnn_real *adopted;
	size_t		bytes;
	int			n;

	config.epochs = 1;
	trainer = check_finish_run(&config, data);
	fmoe_trainer_model(trainer, NULL, model);
	n = fmoe_model_arrays(model, array, 64);

	check_begin("a warm start takes over what has the same name and shape");
	config.seed = 2;
	next = check_start_run(&config, data);
	CHECK(fmoe_trainer_adopt(next, n, array) == 2 + 14 + 2, "all slices");
	adopted = fmoe_trainer_block(next, FMOE_BLOCK_VALUES, &bytes);
	CHECK(memcmp(adopted, fmoe_trainer_block(trainer, FMOE_BLOCK_BEST, &bytes), bytes) == 0, "values");
	config.max_length = 13;
	next = check_start_run(&config, data);
	CHECK(fmoe_trainer_adopt(next, n, array) == 2 + 14 + 2, "a longer position table");
	adopted = fmoe_trainer_block(next, FMOE_BLOCK_VALUES, &bytes);
	CHECK(memcmp(adopted + data->n_items * 16,
				 (const fnn_real *) fmoe_trainer_block(trainer, FMOE_BLOCK_BEST, &bytes) +
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
	FmoeDataset *data = check_walks(30, 20, 3, 8, 5);
	FmoeConfig	config = check_config("sasrec");
	FmoeTrainer *trainer = check_start_run(&config, data);
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
		FmoeDataset *data = check_walks(n_users, n_items, shortest, longest, 4);
		FmoeConfig	config = check_config(models[variant & 1]);
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
		trainer = check_start_run(&config, data);
		state = fmoe_trainer_state(trainer);
		for (i = 0; i < 2 && !state->finished; i++)
			fmoe_trainer_epoch(trainer, &alone);
		CHECK(state->finished, "finished after %d epochs", i);
		fmoe_trainer_model(trainer, NULL, model);
		for (slot = 0; slot < FMOE_SLOTS; slot++)
		{
			fmoe_score(model, slot, check_arena(), fmoe_batch(check_arena(), &data->events, 1, &begin, &end, 12),
					   score);
			CHECK(fnn_all_finite(score, n_items), "scores of slot %d", slot);
		}
	}
	check_end();
}

void
check_training(void)
{
	/* a few negatives at a time teach less than all items */
	check_learning("sasrec", FMOE_LOSS_SOFTMAX, 0.5);
	check_learning("sasrec", FMOE_LOSS_GBCE, 0.33);
	check_learning("gru4rec", FMOE_LOSS_SOFTMAX, 0.5);
	check_learning("fmoe", FMOE_LOSS_SOFTMAX, 0.5);
	check_early_stopping();
	check_blend();
	check_progress();
	check_teams("sasrec", FMOE_LOSS_SOFTMAX, 0, false);
	check_teams("sasrec", FMOE_LOSS_GBCE, 0, false);
	check_teams("gru4rec", FMOE_LOSS_GBCE, 0.5, false);
	check_teams("gru4rec", FMOE_LOSS_SOFTMAX, 0.5, false);
	check_teams("fmoe", FMOE_LOSS_SOFTMAX, 0, false);
	check_teams("fmoe", FMOE_LOSS_GBCE, 0, false);
	check_teams("gru4rec", FMOE_LOSS_GBCE, 0.5, true);
	check_teams("fmoe", FMOE_LOSS_SOFTMAX, 0, true);
	check_teams("sasrec features", FMOE_LOSS_SOFTMAX, 0.5, true);
	check_teams("gru4rec features", FMOE_LOSS_GBCE, 0.5, false);
	check_teams("mrff", FMOE_LOSS_SOFTMAX, 0, false);
	check_teams("mrff", FMOE_LOSS_GBCE, 0.5, true);
	check_teams("sasrec drawn", FMOE_LOSS_SOFTMAX, 0, false);
	check_resume("sasrec drawn", FMOE_LOSS_SOFTMAX);
	check_resume("sasrec", FMOE_LOSS_SOFTMAX);
	check_resume("sasrec", FMOE_LOSS_GBCE);
	check_resume("sasrec features", FMOE_LOSS_SOFTMAX);
	check_resume("sasrec features", FMOE_LOSS_GBCE);
	check_seeds();
	check_adopt();
	check_divergence();
	check_small("one user", 1, 10, 6, 6);
	check_small("one item", 5, 1, 2, 6);
	check_small("one event", 1, 3, 1, 1);
	check_small("no events", 3, 3, 0, 0);
	check_small("users of one event", 20, 10, 1, 1);
	check_small("users of two events", 20, 10, 2, 2);
	check_small("two items", 9, 2, 1, 5);
	check_small("fewer sequences than shards", 2, 10, 4, 4);
}

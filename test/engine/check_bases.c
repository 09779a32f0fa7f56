/*
 * check_bases.c
 *	  The head pooler of xcross, and the memory of a training with a base that stays as it is.
 */
#include "check_xcross.h"
#include "model/train/train_private.h"
#include "nn/op/op.h"

/* ---------------------------------------------------------------- the head pooler */

/* The state after a history and an item behind it, as the streams give it for that history. */
static FnnTensor *
state_behind(const FmoeExpert *expert, FnnTape *tape, int sequence, int32_t candidate)
{
	int32_t    *longer = fnn_alloc(check_arena(), sizeof(int32_t) * 8);
	int64_t		first = 0;
	int64_t		n = end[sequence] - begin[sequence];
	int64_t		behind = n + 1;
	FmoeBatch  *batch;

	memcpy(longer, item + begin[sequence], sizeof(int32_t) * (size_t) n);
	longer[n] = candidate;
	batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = longer}, 1, &first, &behind, 6);
	return fmoe_xcross_state(fmoe_xcross_run(expert, tape, (FnnTensor *) expert->items, batch->events.item, batch,
											 FMOE_LAST_TOKENS, NULL), tape);
}

static void
check_pooler(void)
{
	FmoeConfig	config = xcross_config(3);
	FmoeModel  *model;
	FmoeExpert *expert;
	FnnTensor  *head;
	fnn_real   *scores;
	static const int32_t some[] = {7, 2, 2};
	fnn_real	of_some[3];
	FnnTape		tape;

	check_begin("a pooler scores the state after the history with the item behind it");
	xcross_own(&config)->head = FMOE_XCROSS_POOLER;
	xcross_own(&config)->head_negatives = 3;
	model = make_model(&config, 5, 0.3, false);
	expert = &model->expert[FMOE_MAIN];
	fmoe_model_compute_items(model, check_arena());
	head = &expert->tensor[fnn_params_find(&model->params, "pooler.weight")];
	CHECK(!fmoe_has_vectors(model), "its scores are products");
	scores = scores_of(model);
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	for (int s = 0; s < 4; s++)
		for (int i = 0; i < N_ITEMS; i++)
		{
			FnnTensor  *pooled = fnn_linear(&tape, state_behind(expert, &tape, s, i), head, head + 1, FNN_GELU);
			double		score = fnn_linear(&tape, pooled, head + 2, head + 3, FNN_IDENTITY)->value[0];

			CHECK(check_close(scores[s * N_ITEMS + i], score, 1e-5), "item %d after history %d: %g instead of %g", i,
				  s, (double) scores[s * N_ITEMS + i], score);
		}
	expert->class->score(expert, check_arena(), histories(), 2, 3, some, of_some);
	for (int i = 0; i < 3; i++)
		CHECK(check_close(of_some[i], scores[2 * N_ITEMS + some[i]], 1e-5), "candidate %d", i);
	check_end();
}

/* ---------------------------------------------------------------- training */

/* Two epochs of an adapter of a base that is many times as large. */
static void
check_one_base(void)
{
	static const int64_t offset[] = {0, 4, 5, 9, 11};
	FmoeDataset data = {.n_users = 4, .n_events = 11, .n_items = N_ITEMS, .offset = offset,
		.events = {.item = item}, .features = check_item_features(N_ITEMS)};
	FmoeConfig	config = lora_config(1, 2);
	const FmoeTeam alone = {.rank = 0, .size = 1};
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *trainer;
	fnn_real   *base;
	size_t		bytes;
	size_t		frozen = 0;
	size_t		learned;

	check_begin("the base is in memory once while an adapter is trained");
	config.width = 64;
	config.batch_size = config.epochs = config.patience = 2;
	config.average = FMOE_AVERAGE_TAIL;
	config.learning_rate = 0.01;
	trainer = check_start_run(&config, &data);
	for (int i = 0; i < trainer->plan.params.count; i++)
		if (trainer->plan.params.list[i].frozen)
			frozen += (size_t) (trainer->plan.params.list[i].rows * trainer->plan.params.list[i].cols);
	learned = trainer->plan.params.size - frozen;
	/* values; moments, mean and best ones, and four gradients, of what learns and less than a chunk */
	bytes = fmoe_trainer_shared_bytes(check_arena(), &config, &data);
	CHECK(frozen > 3 * FNN_REDUCE_CHUNK &&
		  bytes < sizeof(fnn_real) * (frozen + learned + 8 * (learned + FNN_REDUCE_CHUNK)) + 16384,
		  "%zu bytes for a base of %zu numbers and %zu that learn", bytes, frozen, learned);
	base = fnn_alloc_reals(check_arena(), 1, (int64_t) frozen);
	memcpy(base, trainer->values, sizeof(fnn_real) * frozen);
	while (!fmoe_trainer_state(trainer)->finished)
		fmoe_trainer_epoch(trainer, &alone);
	fmoe_trainer_model(trainer, NULL, model);
	for (int i = 0; i < trainer->plan.params.count; i++)
	{
		const FnnParam *param = &trainer->plan.params.list[i];
		const fnn_real *value = model->expert[FMOE_MAIN].tensor[i].value;
		size_t		n = (size_t) (param->rows * param->cols);
		double		size = 0;

		if (param->frozen)
			CHECK(memcmp(value, base + param->offset, n * sizeof(fnn_real)) == 0, "\"%s\" has changed", param->name);
		for (size_t k = 0; k < n; k++)
			size += value[k] * value[k];
		CHECK(param->frozen || (size > 0 && fnn_all_finite(value, n)), "\"%s\" has learned nothing", param->name);
	}
	check_end();

	check_begin("where nothing learns a run is finished when it begins");
	config = xcross_config(2);
	xcross_own(&config)->mix = FMOE_MIX_WEIGHTS;
	config.batch_size = config.epochs = config.patience = 2;
	config.average = FMOE_AVERAGE_TAIL;
	trainer = check_start_run(&config, &data);
	CHECK(fmoe_trainer_state(trainer)->finished != 0, "it trains");
	fnn_random_normals(1, 2, 0, 1, (int64_t) trainer->plan.params.size, trainer->values);
	fmoe_trainer_model(trainer, NULL, model);
	for (int i = 0; i < trainer->plan.params.count; i++)
		CHECK(memcmp(model->expert[FMOE_MAIN].tensor[i].value, trainer->values + trainer->plan.params.list[i].offset,
					 sizeof(fnn_real)) == 0, "slice %d is another one", i);
	check_end();
}

void
check_bases(void)
{
	check_pooler();
	check_one_base();
}

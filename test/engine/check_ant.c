/*
 * check_ant.c
 *	  The class ant: against PyTorch, by differences, by identities, and what a
 *	  training tries that starts from a lent encoder.
 */
#include "check.h"

#include "model/ant/ant.h"

#include <math.h>
#include <string.h>

static FmoeAntOptions *
own(FmoeConfig *config)
{
	return (FmoeAntOptions *) config->own.bytes;
}

void
check_ant_options(FmoeConfig *config, const char *model)
{
	static const FmoeInput input[] = {{.name = "text", .width = 512}, {.name = "price", .width = 3},
	{.name = "image", .width = 6, .number = 1}};

	*own(config) = (FmoeAntOptions)
	{
		.inputs =
		{
			.count = 3
			}, .experts = 3, .fusion = 0.5, .temperature = 0.2,
			.input_dropout = 0.1, .alignment = 0.5, .pretrain = strstr(model, " lent") != NULL
	};
	memcpy(own(config)->inputs.input, input, sizeof(input));
	if (strstr(model, " adapted") != NULL)
		strcpy(config->start_encoder, "north.pool");
}

/* ---------------------------------------------------------------- golden vectors */

/* Of a parameter's gradient: its product with cosines, and its length. */
typedef struct GoldenGradient
{
	const char *name;
	double		product;
	double		length;
} GoldenGradient;

typedef struct GoldenAnt
{
	int			n_items;
	int			width;
	int			heads;
	int			layers;
	int			experts;
	double		fusion;
	double		temperature;
	int			max_length;
	int			n_histories;
	const int64_t *offset;		/* [n_histories + 1] */
	const int32_t *item;
	const float *image;			/* [n_items, 5] */
	const float *scores;		/* [n_histories, n_items] */
	const GoldenGradient *items;	/* of the loss over all items */
	const GoldenGradient *lent; /* of that in the batch, and 0.5 times that of images among texts */
	double		loss_items;
	double		loss_batch;
	double		loss_alignment;
} GoldenAnt;

#include "golden/ant.h"

#define WORDS 6

/* The features that scripts/golden gives items. */
static FmoeFeatures *
golden_features(const GoldenAnt *golden)
{
	FnnArena   *arena = check_arena();
	int64_t		n = golden->n_items;
	FmoeFeatures *features = fnn_zalloc(arena, sizeof(FmoeFeatures));
	int64_t    *offset = fnn_zalloc(arena, sizeof(int64_t) * (size_t) (n + 1));
	int32_t    *term = fnn_alloc(arena, sizeof(int32_t) * (size_t) (n * WORDS));
	float	   *price = fnn_alloc(arena, sizeof(float) * (size_t) (2 * n));
	float	   *image = fnn_alloc(arena, sizeof(float) * (size_t) (5 * n));
	static const float scale[] = {1, 2, 3, 4, 5, 6};
	static const int64_t name_offset[] = {0, 3, 7, 12, 16, 19, 22};
	int64_t		k = 0;

	for (int64_t i = 0; i < n; i++)
	{
		bool		priced = i % 4 != 2;

		for (int32_t t = 0; i != 3 && t < WORDS; t++)
			if ((i * 7 + t * 3) % 5 < 2)
				term[k++] = t;
		offset[i + 1] = k;
		price[2 * i] = priced ? (float) (i + 1) : NAN;
		price[2 * i + 1] = priced ? (float) i / (float) n : NAN;
		for (int c = 0; c < 5; c++)
			image[5 * i + c] = i == 4 ? NAN : golden->image[5 * i + c];
	}
	features->n = golden->n_items;
	features->count = 3;
	features->feature[0] = (FmoeFeature) {.name = "price", .modality = FMOE_PRICE, .width = 2, .value = price};
	features->feature[1] = (FmoeFeature)
	{
		.name = "text", .modality = FMOE_TEXT, .width = WORDS, .offset = offset,
			.term = term, .scale = scale, .name_offset = name_offset, .name_bytes = "aleboltcraneduskelmfig"
	};
	features->feature[2] = (FmoeFeature) {.name = "vector_1", .modality = FMOE_VECTOR, .width = 5, .value = image};
	return features;
}

static FmoeModel *
golden_model(const GoldenAnt *golden, FmoeConfig *config)
{
	static const int64_t nothing[] = {0};
	FmoeDataset none = {.n_items = golden->n_items, .offset = nothing, .features = golden_features(golden)};
	FmoeModel  *model;
	FmoeExpert *expert;

	config->width = golden->width;
	config->heads = golden->heads;
	config->layers = golden->layers;
	config->max_length = golden->max_length;
	config->dropout = 0;
	own(config)->experts = golden->experts;
	own(config)->fusion = golden->fusion;
	own(config)->temperature = golden->temperature;
	own(config)->input_dropout = 0;
	own(config)->inputs.input[2].width = 5;
	model = check_model(config, &none, 1, 0, true);
	expert = &model->expert[FMOE_MAIN];
	for (int p = 0; p < expert->params->count; p++)
		for (int64_t i = 0; i < expert->tensor[p].rows * expert->tensor[p].cols; i++)
			expert->tensor[p].value[i] = (fnn_real) ((float) (0.3 * sin(1 + 0.7 * (double) i + 1.3 * p)) +
													 (strstr(expert->params->list[p].name, "gain") != NULL));
	fmoe_model_compute_items(model, check_arena());
	return model;
}

static void
compare_gradients(const FmoeExpert *expert, const GoldenGradient *golden)
{
	int			p = 0;

	for (; golden[p].name != NULL; p++)
	{
		int			index = fnn_params_find(expert->params, golden[p].name);
		const FnnTensor *tensor = &expert->tensor[index < 0 ? 0 : index];
		double		product = 0;
		double		squares = 0;

		CHECK(index >= 0, "no slice \"%s\"", golden[p].name);
		for (int64_t i = 0; index >= 0 && i < tensor->rows * tensor->cols; i++)
		{
			product += (double) tensor->grad[i] * cos(0.11 * (double) i);
			squares += (double) tensor->grad[i] * (double) tensor->grad[i];
		}
		CHECK(check_close(product, golden[p].product, 1e-4) && check_close(sqrt(squares), golden[p].length, 1e-4),
			  "gradient of \"%s\": %g and %g instead of %g and %g", golden[p].name, product, sqrt(squares),
			  golden[p].product, golden[p].length);
	}
	CHECK(p == expert->params->count, "%d slices instead of %d", expert->params->count, p);
}

/* One step's losses over the histories; with record, and their gradients. */
static FmoeGoal
golden_losses(const GoldenAnt *golden, const FmoeExpert *expert, bool record)
{
	int64_t		end[16];
	int32_t    *target;
	FmoeBatch  *batch;
	FmoeGoal	goal = {.sequence_weight = 1};
	FnnTape		tape;

	for (int i = 0; i < golden->n_histories; i++)
		end[i] = golden->offset[i + 1] - 1;
	batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = golden->item}, golden->n_histories, golden->offset, end,
					   golden->max_length);
	target = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) batch->n_tokens);
	for (int i = 0; i < golden->n_histories; i++)
	{
		int32_t		first = batch->sequences.offset[i];
		int32_t		n = batch->sequences.offset[i + 1] - first;

		for (int32_t k = 0; k < n; k++)
			target[first + k] = golden->item[end[i] - n + 1 + k];
	}
	goal.target = target;
	goal.weight = goal.position_weight = 1.0 / (double) batch->n_tokens;
	for (int p = 0; p < expert->params->count; p++)
		memset(expert->tensor[p].grad, 0,
			   sizeof(fnn_real) * (size_t) (expert->tensor[p].rows * expert->tensor[p].cols));
	fnn_tape_begin(&tape, check_arena(), record, 3, 4);
	expert->class->learn(expert, &tape, batch, &goal);
	fnn_tape_backward(&tape);
	return goal;
}

static void
check_golden(const GoldenAnt *golden)
{
	FmoeConfig	config = check_config("ant");
	FmoeModel  *model = golden_model(golden, &config);
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	FmoeBatch  *batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = golden->item}, golden->n_histories,
								   golden->offset, golden->offset + 1, golden->max_length);
	fnn_real   *scores = fnn_alloc_reals(check_arena(), golden->n_histories, golden->n_items);
	FmoeGoal	goal;

	check_begin("ant as PyTorch: width %d, %d heads, %d layers, %d experts", golden->width, golden->heads,
				golden->layers, golden->experts);
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, scores);
	for (int i = 0; i < golden->n_histories * golden->n_items; i++)
		CHECK(check_close(scores[i], golden->scores[i], 1e-4), "history %d item %d: %g instead of %g",
			  i / golden->n_items, i % golden->n_items, (double) scores[i], golden->scores[i]);
	goal = golden_losses(golden, expert, false);
	CHECK(check_close(goal.loss[FMOE_ANT_LOSS_NEXT], golden->loss_items, 1e-4), "loss %.9g instead of %.9g",
		  goal.loss[FMOE_ANT_LOSS_NEXT], golden->loss_items);
	/* the gates' noise is drawn where gradients are */
	if (golden->experts == 1)
	{
		golden_losses(golden, expert, true);
		compare_gradients(expert, golden->items);
	}
	own(&model->config)->pretrain = true;
	goal = golden_losses(golden, expert, false);
	CHECK(check_close(goal.loss[FMOE_ANT_LOSS_NEXT], golden->loss_batch, 1e-4), "loss %.9g instead of %.9g",
		  goal.loss[FMOE_ANT_LOSS_NEXT], golden->loss_batch);
	CHECK(check_close(goal.loss[FMOE_ANT_LOSS_ALIGNMENT], 0.5 * golden->loss_alignment, 1e-4),
		  "loss %.9g instead of %.9g", goal.loss[FMOE_ANT_LOSS_ALIGNMENT], 0.5 * golden->loss_alignment);
	if (golden->experts == 1)
	{
		golden_losses(golden, expert, true);
		compare_gradients(expert, golden->lent);
	}
	check_end();
}

/* ---------------------------------------------------------------- gradients */

typedef struct Problem
{
	const FmoeExpert *expert;
	const FmoeBatch *batch;
	bool		gbce;
} Problem;

static void
run_problem(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	static const int32_t target[] = {4, 1, 0, -1, 3, 5, 1, 2, 0};
	static const int32_t negative[] = {0, 3, 5, 2};
	static const float weight[] = {1, 0.5f, 2, 1, 1, 1, 0.25f, 1, 1};
	const Problem *problem = context;
	FmoeGoal	goal = {.target = target, .target_weight = weight, .weight = 0.3, .position_weight = 0.1, .step = 1};

	if (problem->gbce)
	{
		goal.n_negatives = 4;
		goal.negative = negative;
		goal.beta = 0.5;
	}
	problem->expert->class->learn(problem->expert, tape, problem->batch, &goal);
}

static void
check_differences(const char *name, bool gbce, bool transductive, bool sources)
{
	static const int32_t source[] = {2, 1, 2, 1, 1, 1, 2, 2, 2};
	static const int32_t item[] = {1, 4, 1, 0, 2, 3, 5, 1, 2};
	static const int64_t begin[] = {0, 4, 5};
	static const int64_t end[] = {4, 5, 9};
	static const int64_t nothing[] = {0};
	FmoeConfig	config = check_config(name);
	FmoeDataset none = {.n_items = 6, .offset = nothing, .features = check_item_features(6)};
	FmoeModel  *model;
	FmoeExpert *expert;
	Problem		problem = {.gbce = gbce};
	FnnTensor **inputs;

	check_begin("gradients of %s, %s%s%s", name, gbce ? "gbce" : "softmax",
				transductive ? ", items with own vectors" : "", sources ? ", of two sources" : "");
	config.width = 4;
	config.dropout = 0.2;
	config.loss = gbce ? FMOE_LOSS_GBCE : FMOE_LOSS_SOFTMAX;
	own(&config)->experts = 2;
	own(&config)->transductive = transductive;
	own(&config)->temperature = 0.5;
	model = check_model(&config, &none, 2, 0.3, true);
	problem.expert = expert = &model->expert[FMOE_MAIN];
	problem.batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item, .source = sources ? source : NULL}, 3,
							   begin, end, 5);
	inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) expert->params->count);
	for (int i = 0; i < expert->params->count; i++)
		inputs[i] = &expert->tensor[i];
	check_gradients(expert->params->count, inputs, run_problem, &problem);
	check_end();
}

/* ---------------------------------------------------------------- identities */

/* One expert, no product: vectors are one whitening W (x - b) of each modality. */
static void
check_one_whitening(void)
{
	static const int64_t nothing[] = {0};
	FmoeConfig	config = check_config("ant");
	FmoeDataset none = {.n_items = 12, .offset = nothing, .features = check_item_features(12)};
	FmoeAntLayout layout;
	FmoeModel  *model;
	const FmoeExpert *expert;
	FmoeAntItems items;
	FnnTape		tape;

	check_begin("ant with one expert and without fusion is one whitening a modality");
	own(&config)->experts = 1;
	own(&config)->fusion = 0;
	model = check_model(&config, &none, 2, 0.3, false);
	expert = &model->expert[FMOE_MAIN];
	layout = fmoe_ant_layout(&config);
	CHECK(layout.slices == expert->params->count && fnn_params_find(expert->params, "input.0.gate") < 0,
		  "%d slices, the layout has %d", expert->params->count, layout.slices);
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	items = fmoe_ant_items(expert, &tape, 12, NULL);
	for (int i = 0; i < 12; i++)
		for (int c = 0; c < config.width; c++)
		{
			double		sum = 0;

			for (int k = 0; k < 3; k++)
			{
				const FmoeInput *input = &own(&config)->inputs.input[k];
				const FnnTensor *weight = &expert->tensor[layout.input[k].weight];
				fnn_real	x[512];
				bool		known = false;
				double		value = k == 1 ? (double) expert->tensor[layout.input[k].bias].value[c] : 0;

				fmoe_input_rows(check_host(), input, none.features, &i, 0, 1, x);
				for (int j = 0; j < input->width; j++)
				{
					known = known || x[j] != 0;
					value += (double) weight->value[c * input->width + j] *
						((double) x[j] - (k == 1 ? 0 : (double) expert->tensor[layout.input[k].centre].value[j]));
				}
				sum += known ? value : 0;
			}
			CHECK(check_close(items.vector->value[i * config.width + c], sum, 1e-4), "item %d: %g instead of %g", i,
				  (double) items.vector->value[i * config.width + c], sum);
		}
	check_end();
}

/* With gates of zeros all experts weigh the same. */
static void
check_gates_of_zeros(void)
{
	static const int64_t nothing[] = {0};
	FmoeConfig	config = check_config("ant");
	FmoeDataset none = {.n_items = 12, .offset = nothing, .features = check_item_features(12)};
	FmoeModel  *model = check_model(&config, &none, 2, 0, false);
	FmoeAntItems items;
	FnnTape		tape;

	check_begin("ant with gates of zeros weighs its experts alike");
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	items = fmoe_ant_items(&model->expert[FMOE_MAIN], &tape, 12, NULL);
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 36; i++)
			CHECK(check_close(items.gate[k]->value[i], 1.0 / 3, 1e-6), "input %d: %g", k,
				  (double) items.gate[k]->value[i]);
	check_end();
}

/* ---------------------------------------------------------------- adapting */

/* Weights of a lent encoder, as arrays. */
static int
lent_arrays(const FmoeConfig *config, const FmoeDataset *data, FnnArray *array, int max)
{
	FmoeConfig	alone = *config;
	FmoeTrainer *trainer;

	alone.start_encoder[0] = '\0';
	alone.seed = 77;
	alone.epochs = 1;
	trainer = check_finish_run(&alone, data);
	return fmoe_trainer_arrays(trainer, array, max);
}

/* A training that starts from a lent encoder. */
static FmoeTrainer *
adapted_run(FmoeConfig *config, const FmoeDataset *data, FmoeAntAdapt adapt, int n, const FnnArray *lent)
{
	static const FmoeTeam team = {.rank = 0, .size = 1};
	FnnArray	array[64];
	FmoeTrainer *trainer;

	own(config)->adapt = adapt;
	trainer = check_start_run(config, data);
	memcpy(array, lent, sizeof(FnnArray) * (size_t) n);
	CHECK(fmoe_trainer_adopt_lent(trainer, -1, n, array) == n, "not all arrays have a place");
	while (!fmoe_trainer_state(trainer)->finished)
		fmoe_trainer_epoch(trainer, &team);
	return trainer;
}

static bool
is_lent(const FnnParam *param, const fnn_real *values, int n, const FnnArray *lent)
{
	const FnnArray *array = fnn_find_array(n, lent, param->name);

	return array != NULL && memcmp(values + param->offset, array->data, array->bytes) == 0;
}

/* Which groups an adapted training leaves as they were lent. */
static void
check_kept(FmoeAntAdapt adapt, const char *name, bool blocks_stay)
{
	FmoeConfig	config = check_config("ant adapted");
	FmoeDataset *data = check_walks_for(&config, 30, 20, 3, 8, 5);
	FnnArray	lent[64];
	int			n = lent_arrays(&config, data, lent, 64);
	FmoeTrainer *trainer;
	const FnnParams *params;
	const fnn_real *values;
	size_t		bytes;

	check_begin("ant adapted by %s %s the blocks it was lent", name, blocks_stay ? "keeps" : "trains");
	config.epochs = 2;
	trainer = adapted_run(&config, data, adapt, n, lent);
	params = fmoe_trainer_params(trainer);
	values = fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes);
	for (int i = 0; i < params->count; i++)
	{
		bool		kept = is_lent(&params->list[i], values, n, lent);

		CHECK(kept == (blocks_stay && params->list[i].group == FNN_ENCODER), "\"%s\" is %s", params->list[i].name,
			  kept ? "kept" : "changed");
	}
	check_end();
}

/* What is drawn anew, before anything is learned. */
static void
check_drawn_anew(void)
{
	FmoeConfig	config = check_config("ant adapted");
	FmoeDataset *data = check_walks_for(&config, 30, 20, 3, 8, 5);
	FnnArray	lent[64];
	int			n = lent_arrays(&config, data, lent, 64);
	FnnArray	array[64];
	FmoeTrainer *trainer;
	const FnnParams *params;
	const fnn_real *values;
	double		squares = 0;
	size_t		bytes;

	check_begin("ant learned again draws positions, maps and gates, and keeps norm and price biases");
	own(&config)->adapt = FMOE_ANT_RELEARN;
	trainer = check_start_run(&config, data);
	memcpy(array, lent, sizeof(lent));
	fmoe_trainer_adopt_lent(trainer, -1, n, array);
	params = fmoe_trainer_params(trainer);
	values = fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes);
	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		bool		drawn = (FMOE_ANT_RELEARNED & FNN_GROUP_BIT(param->group)) != 0;
		bool		learns = param->group != FNN_ENCODER;

		CHECK(is_lent(param, values, n, lent) != drawn && param->frozen != learns, "\"%s\"", param->name);
		if (strcmp(param->name, "input.0.weight") != 0)
			continue;
		for (int64_t k = 0; k < param->rows * param->cols; k++)
			squares += (double) (values[param->offset + (size_t) k] * values[param->offset + (size_t) k]);
		CHECK(fabs(sqrt(squares / (double) (param->rows * param->cols)) / sqrt(2.0 / (512 + 16)) - 1) < 0.05,
			  "maps have the spread %g", sqrt(squares / (double) (param->rows * param->cols)));
	}
	check_end();
}

/* Whether a block of one run has the bits of a block of another. */
static bool
same_block(FmoeTrainer *a, FmoeTrainBlock of_a, FmoeTrainer *b, FmoeTrainBlock of_b)
{
	size_t		bytes_a;
	size_t		bytes_b;
	const void *block_a = fmoe_trainer_block(a, of_a, &bytes_a);
	const void *block_b = fmoe_trainer_block(b, of_b, &bytes_b);

	return bytes_a > 0 && bytes_a == bytes_b && memcmp(block_a, block_b, bytes_a) == 0;
}

/* Both are tried, the better one stays, and trying the other first changes nothing in it. */
static void
check_auto(void)
{
	FmoeConfig	config = check_config("ant adapted");
	FmoeConfig	scratch = config;
	FmoeDataset *data = check_walks_for(&config, 60, 30, 4, 10, 5);
	FnnArray	lent[64];
	int			n = lent_arrays(&config, data, lent, 64);
	FmoeTrainer *trainer;
	FmoeTrainer *other;
	const FmoeTrainState *state;
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	size_t		bytes;

	check_begin("ant adapted by auto tries both, and what is better stays");
	config.epochs = scratch.epochs = 4;
	trainer = adapted_run(&config, data, FMOE_ANT_AUTO, n, lent);
	state = fmoe_trainer_state(trainer);
	CHECK(state->epoch == 8 && state->attempt == 1 && state->first_epoch == 4, "%d epochs, attempt %d", state->epoch,
		  state->attempt);
	CHECK(fmoe_trainer_epochs(trainer) == 8, "%d epochs at most", fmoe_trainer_epochs(trainer));
	scratch.start_encoder[0] = '\0';
	other = check_finish_run(&scratch, data);
	CHECK(same_block(trainer, FMOE_BLOCK_VALUES, other, FMOE_BLOCK_VALUES), "from scratch is not what it is alone");
	strcpy(scratch.start_encoder, "north.pool");
	other = adapted_run(&scratch, data, FMOE_ANT_RELEARN, n, lent);
	CHECK(same_block(trainer, FMOE_BLOCK_RIVAL, other, FMOE_BLOCK_BEST), "learned again is not what it is alone");
	fmoe_trainer_model(trainer, NULL, model);
	CHECK(state->tried == 2 && state->tried_error >= 0, "nothing is compared");
	CHECK(state->won == (state->tried_metric[0] >= state->tried_metric[1] ? 0 : 1), "%d won with %g against %g",
		  state->won, state->tried_metric[0], state->tried_metric[1]);
	CHECK(memcmp(model->expert[FMOE_MAIN].tensor[0].value,
				 fmoe_trainer_block(trainer, state->won == 0 ? FMOE_BLOCK_RIVAL : FMOE_BLOCK_BEST, &bytes),
				 sizeof(fnn_real) * 16) == 0, "the model is of the other one");
	check_end();
}

static void
check_misfits(void)
{
	FmoeConfig	config = check_config("ant");
	FmoeMisfit	misfit;

	check_begin("options of ant that do not fit");
	CHECK(fmoe_config_fits(&config, &misfit), "%s", misfit.message);
	for (int adapt = FMOE_ANT_RELEARN; adapt <= FMOE_ANT_FROZEN; adapt++)
	{
		own(&config)->adapt = adapt;
		CHECK(!fmoe_config_fits(&config, &misfit) && strstr(misfit.message, "needs") != NULL, "adapt %d", adapt);
	}
	strcpy(config.start_encoder, "north.pool");
	CHECK(fmoe_config_fits(&config, &misfit), "%s", misfit.message);
	own(&config)->adapt = FMOE_ANT_SCRATCH;
	CHECK(!fmoe_config_fits(&config, &misfit) && strstr(misfit.message, "scratch") != NULL, "%s", misfit.message);
	own(&config)->adapt = FMOE_ANT_AUTO;
	CHECK(fmoe_config_fits(&config, &misfit), "%s", misfit.message);
	config.holdout = FMOE_HOLDOUT_NONE;
	CHECK(!fmoe_config_fits(&config, &misfit) && strstr(misfit.message, "holdout") != NULL, "%s", misfit.message);
	config.holdout = FMOE_HOLDOUT_TEST;
	own(&config)->pretrain = true;
	CHECK(!fmoe_config_fits(&config, &misfit) && strstr(misfit.message, "pretrain") != NULL, "%s", misfit.message);
	config.start_encoder[0] = '\0';
	own(&config)->transductive = true;
	CHECK(!fmoe_config_fits(&config, &misfit) && strstr(misfit.message, "transductive") != NULL, "%s", misfit.message);
	check_end();
}

void
check_ant(void)
{
	for (const GoldenAnt *golden = golden_ant; golden->n_items > 0; golden++)
		check_golden(golden);
	check_differences("ant", false, false, false);
	check_differences("ant", true, true, false);
	check_differences("ant lent", false, false, false);
	check_differences("ant lent", false, false, true);
	check_one_whitening();
	check_gates_of_zeros();
	check_kept(FMOE_ANT_RELEARN, "relearn", true);
	check_kept(FMOE_ANT_FROZEN, "frozen", true);
	check_kept(FMOE_ANT_FINETUNE, "finetune", false);
	check_drawn_anew();
	check_auto();
	check_misfits();
	check_teams("ant", FMOE_LOSS_GBCE, 0.5, true);
	check_teams("ant adapted", FMOE_LOSS_SOFTMAX, 0, false);
	check_teams("ant lent", FMOE_LOSS_SOFTMAX, 0, true);
	check_resume("ant lent", FMOE_LOSS_SOFTMAX);
	check_resume("ant adapted", FMOE_LOSS_SOFTMAX);
	check_memory("ant", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("ant", FMOE_LOSS_GBCE, 0.1, 64, false);
	check_memory("ant lent", FMOE_LOSS_SOFTMAX, 0.1, 300, false);
}

/*
 * check_hm4sr.c
 *	  The class hm4sr: its parameters, its identities, gradients of all its losses, times,
 *	  parts of scores, odd items, trainings and their memory.
 */
#include <math.h>
#include <string.h>

#include "check_hm4sr.h"
#include "model/data/dense.h"

#ifdef FNN_DOUBLE
#define EXACT 1e-10
#else
#define EXACT 2e-4
#endif

/* ---------------------------------------------------------------- parameters */

/* What the released model has: 768 numbers of a text and of a picture, 192 categories, 50 positions. */
static void
check_parameters(void)
{
	static const char *const streams[] = {"vector_1", "vector_2"};
	FmoeConfig	config = hm4sr_config();
	FmoeFeatures features = {.n = 1, .count = 3};
	FmoeFacts	facts = {.n_items = 10, .features = &features};
	static const float value[768];
	FnnParams	params = {0};
	int64_t		numbers = 0;

	check_begin("as many parameters as the released model, and those of its time experts");
	features.feature[0] = (FmoeFeature) {.name = "category_1", .modality = FMOE_CATEGORY, .width = 192};
	for (int i = 1; i < 3; i++)
		features.feature[i] = (FmoeFeature)
	{
		.name = "vector_1", .modality = FMOE_VECTOR, .width = 768, .value = value
	};
	strcpy(features.feature[2].name, "vector_2");
	set_streams(&config, 2, streams);
	config.width = 64;
	config.layers = 2;
	config.max_length = 50;
	SET(&config, experts, 4);
	SET(&config, intervals, 2871);
	fmoe_declare_class(&params, check_host(), &fmoe_hm4sr_class, &config, &facts);
	for (int i = 1; i < params.count; i++)
		numbers += params.list[i].rows * params.list[i].cols;
	CHECK(strcmp(params.list[0].name, "item.weight") == 0, "the first is \"%s\"", params.list[0].name);
	CHECK(numbers == 789651, "%lld numbers without the items", (long long) numbers);
	fnn_params_free(&params, check_host());
	check_end();
}

/* ---------------------------------------------------------------- intervals */

static void
check_intervals(void)
{
	static const double seconds[] = {0, 0.5, 1, 3, 86400, 50 * 365.25 * 86400, 1e300, -5, NAN, INFINITY};
	static const int32_t rows[] = {0, 58, 100, 200, 1639, 1999, 1999, 0, 0, 1999};
	FmoeConfig	config = hm4sr_config();
	FmoeDataset *data = check_walks(3, 20, 3, 4, 1);
	double	   *time = (double *) data->events.time;
	FmoeMisfit	misfit;

	check_begin("intervals are a hundred for each doubling, and what is longer than any is the last");
	for (int i = 0; i < 10; i++)
		CHECK(fmoe_hm4sr_interval(seconds[i], 2000) == rows[i], "%g s is row %d", seconds[i],
			  (int) fmoe_hm4sr_interval(seconds[i], 2000));
	data->features = check_item_features(20);
	SET(&config, intervals, 0);
	config.holdout = FMOE_HOLDOUT_NONE;
	for (int64_t e = 0; e < data->n_events; e++)
		time[e] = 0;
	time[data->offset[1] - 1] = 1000;
	CHECK(fmoe_hm4sr_complete(&config, data, &misfit) && own(&config)->intervals == 997, "%d intervals",
		  own(&config)->intervals);
	config.holdout = FMOE_HOLDOUT_VALIDATION;
	SET(&config, intervals, 0);
	CHECK(fmoe_hm4sr_complete(&config, data, &misfit) && own(&config)->intervals == 1, "%d intervals",
		  own(&config)->intervals);
	check_end();
}

static void
check_streams_of_data(void)
{
	FmoeConfig	config = hm4sr_config();
	FmoeDataset *data = check_walks(3, 20, 3, 4, 1);
	FmoeFeatures *features = check_item_features(20);
	FmoeMisfit	misfit;

	check_begin("streams are what the items have");
	data->features = features;
	SET(&config, streams.count, -1);
	CHECK((fmoe_hm4sr_reads(&config) & FMOE_NEEDS_FEATURES) != 0, "it needs features");
	CHECK(fmoe_hm4sr_complete(&config, data, &misfit) && own(&config)->streams.count == 2 &&
		  strcmp(own(&config)->streams.stream[0].name, "text") == 0 &&
		  strcmp(own(&config)->streams.stream[1].name, "vector_1") == 0, "%d streams", own(&config)->streams.count);
	for (int i = 0; i < features->count; i++)
		if (features->feature[i].modality == FMOE_VECTOR)
			features->feature[i] = features->feature[--features->count];
	CHECK(!fmoe_hm4sr_complete(&config, data, &misfit) && strstr(misfit.message, "\"vector_1\"") != NULL, "\"%s\"",
		  misfit.message);
	SET(&config, streams.count, -1);
	CHECK(fmoe_hm4sr_complete(&config, data, &misfit) && own(&config)->streams.count == 2 &&
		  strcmp(own(&config)->streams.stream[1].name, "categories") == 0, "%d streams", own(&config)->streams.count);
	SET(&config, streams.count, 0);
	SET(&config, cp, 0);
	CHECK(fmoe_hm4sr_reads(&config) == 0, "without streams and categories it reads nothing");
	check_end();
}

/* ---------------------------------------------------------------- gradients */

static const int64_t walk_offset[] = {0, 4, 5, 9, 12};
static const int32_t walked[] = {0, 3, 5, 7, 2, 8, 8, 1, 0, 6, 4, 2};
static const double walked_at[] = {1000, 1100, 90000, 90000, 5, 20, 4000, 4000, 8000, 1e9, 1e9, 2e9};
static const int32_t walked_basket[] = {0, 1, 2, 2, 0, 0, 1, 1, 2, 0, 0, 1};

static const double asked_at[] = {95000, 6, 9000, 2.1e9};

typedef struct Problem
{
	const FmoeExpert *expert;
	const FmoeBatch *batch;
	bool		gbce;
} Problem;

static void
run_learn(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	static const int32_t target[] = {3, 5, 6, 6, 4, 8, 1, 6, 3, 4, -1, 6};
	static const int32_t negative[] = {1, 7, 7};
	const Problem *problem = context;
	FmoeGoal	goal = {.target = target, .weight = 0.1, .position_weight = 1.0 / 12, .sequence_weight = 0.25,
	.step = 1, .seed = 5, .stream = 7};

	if (problem->gbce)
	{
		goal.negative = negative;
		goal.n_negatives = 3;
		goal.beta = 0.6;
	}
	fmoe_hm4sr_learn(problem->expert, tape, problem->batch, &goal);
	if (tape->record)
		for (int k = 0; k < 4; k++)
			CHECK(goal.loss[k] > 0, "loss %d is %g", k, goal.loss[k]);
}

/* With times, without, of baskets, with another loss and with no stream but ids. */
static void
check_gradients_of_all(void)
{
	static const char *const names[] = {"all", "gbce", "baskets", "dropout"};

	for (int kind = 0; kind < 4; kind++)
	{
		FmoeConfig	config = hm4sr_config();
		FmoeDataset *data = check_walks(9, 9, 3, 4, 2);
		Problem		problem = {.gbce = kind == 1};
		FmoeEvents	events = {.item = walked, .time = walked_at, .basket = kind == 2 ? walked_basket : NULL};
		FmoeModel  *model;
		FmoeExpert *expert;
		FmoeBatch  *batch;
		FnnTensor **inputs;

		check_begin("gradients of hm4sr, %s", names[kind]);
		config.width = 4;
		config.layers = 1;
		SET(&config, now, kind == 2 || kind == 3);
		config.dropout = kind == 3 ? 0.3 : 0;
		SET(&config, intervals, 40);
		SET(&config, inner, 6);
		SET(&config, time_unit, 1e8);
		data->features = check_item_features(9);
		config.loss = kind == 1 ? FMOE_LOSS_GBCE : FMOE_LOSS_SOFTMAX;
		model = check_model(&config, data, 3, 0.3, true);
		expert = &model->expert[FMOE_MAIN];
		problem.expert = expert;
		batch = fmoe_batch(check_arena(), &events, 4, walk_offset, walk_offset + 1, 5);
		batch->now = asked_at;
		problem.batch = batch;
		inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) expert->params->count);
		for (int i = 0; i < expert->params->count; i++)
			inputs[i] = &expert->tensor[i];
		check_gradients(expert->params->count, inputs, run_learn, &problem);
		check_end();
	}
}

/* ---------------------------------------------------------------- identities */

/* Scores of all items by one stream alone: a tower whose table is that stream's vectors. */
static void
add_tower_scores(const FmoeExpert *expert, const FmoeBatch *batch, int stream, double *score)
{
	FmoeHm4srLayout layout;
	int64_t		width = expert->config->width;
	FnnTensor  *vectors;
	FnnTensor  *x;
	FnnTape		tape;

	fmoe_hm4sr_layout(expert->config, expert->params, &layout);
	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	vectors = fmoe_hm4sr_items(expert, &tape, expert->n_items, NULL);
	x = fnn_embed(&tape, fnn_columns(&tape, vectors, stream * width, width), batch->events.item, batch->n_tokens, 1,
				  fmoe_parameter(expert, layout.positions), batch->position);
	x = fmoe_hm4sr_tower(expert, &layout, &tape, stream, x, batch, FMOE_LAST_TOKENS);
	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int32_t i = 0; i < expert->n_items; i++)
			for (int64_t c = 0; c < width; c++)
				score[s * expert->n_items + i] += (double) x->value[s * width + c] *
					(double) vectors->value[i * vectors->cols + stream * width + c];
}

static void
check_towers(void)
{
	FmoeConfig	config = hm4sr_config();
	FmoeDataset *data = check_walks(9, 9, 3, 4, 2);
	FmoeEvents	events = {.item = walked, .time = walked_at};
	FmoeModel  *model;
	FmoeExpert *expert;
	FmoeBatch  *batch = fmoe_batch(check_arena(), &events, 4, walk_offset, walk_offset + 1, 5);
	FmoeHm4srLayout layout;
	double		sum[4 * 9] = {0};
	fnn_real	score[4 * 9];

	check_begin("with scales 0 and time experts 1 it is three towers");
	data->features = check_item_features(9);
	model = check_model(&config, data, 3, 0.3, false);
	expert = &model->expert[FMOE_MAIN];
	fmoe_hm4sr_layout(&config, expert->params, &layout);
	for (int i = 0; i < 2; i++)
		memset(expert->tensor[layout.mix_scale + i].value, 0, sizeof(fnn_real) * (size_t) (i == 0 ? 1 : 2));
	for (int64_t i = 0; i < 2 * 3 * config.width; i++)
		expert->tensor[layout.time_expert].value[i] = 1;
	for (int s = 0; s < 3; s++)
		add_tower_scores(expert, batch, s, sum);
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
	for (int i = 0; i < 4 * 9; i++)
		CHECK(check_close(score[i], sum[i], EXACT), "score %d is %g, of towers %g", i, (double) score[i], sum[i]);
	check_end();
}

/* What the states depend on: a shift of an event moves them, in a basket the order does not. */
static void
check_what_counts(void)
{
	FmoeConfig	config = hm4sr_config();
	FmoeDataset *data = check_walks(9, 9, 3, 4, 2);
	double		moved[12];
	int32_t		turned[12];
	FmoeEvents	events = {.item = walked, .time = walked_at, .basket = walked_basket};
	FmoeEvents	later = {.item = walked, .time = moved, .basket = walked_basket};
	FmoeEvents	other = {.item = turned, .time = walked_at, .basket = walked_basket};
	const FmoeEvents *asked[] = {&events, &later, &other};
	fnn_real	score[3][4 * 9];
	FmoeModel  *model;

	check_begin("times count, the order inside of a basket does not");
	memcpy(moved, walked_at, sizeof(moved));
	memcpy(turned, walked, sizeof(turned));
	moved[1] += 40;
	turned[2] = walked[3];
	turned[3] = walked[2];
	data->features = check_item_features(9);
	model = check_model(&config, data, 3, 0.3, false);
	for (int k = 0; k < 3; k++)
		fmoe_score(model, FMOE_MAIN, check_arena(),
				   fmoe_batch(check_arena(), asked[k], 4, walk_offset, walk_offset + 1, 5), score[k]);
	for (int i = 0; i < 4 * 9; i++)
	{
		CHECK((fabs((double) (score[0][i] - score[1][i])) > 1e-7) == (i < 9), "score %d", i);
		CHECK(check_close(score[0][i], score[2][i], EXACT), "score %d is %g, not %g", i, (double) score[2][i],
			  (double) score[0][i]);
	}
	check_end();
}

/* ---------------------------------------------------------------- trainings */

static FmoeConfig
small_run(const FmoeDataset *data)
{
	FmoeConfig	config = hm4sr_config();
	FmoeMisfit	misfit;

	config.width = 16;
	config.epochs = config.patience = 4;
	config.dropout = 0.2;
	config.holdout = FMOE_HOLDOUT_TEST;
	SET(&config, intervals, 0);
	CHECK(fmoe_config_complete(&config, data, &misfit), "%s", misfit.message);
	return config;
}

static void
check_training_run(void)
{
	FmoeDataset *data = check_walks(40, 30, 6, 12, 21);
	FmoeConfig	config;
	const FmoeTrainState *state;
	double		sum = 0;

	check_begin("it is trained, and tells its losses");
	data->features = check_item_features(30);
	config = small_run(data);
	state = fmoe_trainer_state(check_finish_run(&config, data));
	for (int k = 0; k < 4; k++)
	{
		CHECK(state->losses[k] > 0, "loss %d is %g", k, state->losses[k]);
		sum += state->losses[k];
	}
	CHECK(check_close(sum, state->loss, 1e-6), "%g of %g", sum, state->loss);
	check_end();
}

/* Bound to its own arrays it scores the same, and is scanned as it is scored. */
static void
check_stored(void)
{
	FmoeDataset *data = check_walks(40, 30, 6, 12, 21);
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeModel  *bound = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeEligible all = {0};
	FmoeConfig	config;
	FnnArray   *array;
	FmoeBatch  *batch;
	FnnTopk		topk;
	int32_t		best[5];
	fnn_real	best_score[5];
	fnn_real	score[30];
	fnn_real	again[30];
	int			n;

	check_begin("stored and bound it scores the same");
	data->features = check_item_features(30);
	config = small_run(data);
	fmoe_trainer_model(check_finish_run(&config, data), NULL, model);
	array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) fmoe_model_arrays_max(model));
	n = fmoe_model_arrays(model, array, fmoe_model_arrays_max(model));
	fmoe_model_bind(bound, check_host(), &config, 30, n, array);
	fmoe_scan_build(bound, check_arena(), fnn_alloc(check_arena(), fmoe_scan_bytes(bound)));
	batch = fmoe_batch(check_arena(), &data->events, 1, &data->offset[3], &data->offset[4], config.max_length);
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
	fmoe_score(bound, FMOE_MAIN, check_arena(), batch, again);
	fnn_topk_init(&topk, 5, best, best_score);
	fmoe_best(bound, FMOE_MAIN, check_arena(), batch, FMOE_SCAN_INT8, &all, &topk);
	fnn_topk_sort(&topk);
	for (int i = 0; i < 30; i++)
		CHECK(check_close(score[i], again[i], 1e-5), "item %d: %g, bound %g", i, (double) score[i], (double) again[i]);
	for (int k = 0; k < 5; k++)
		CHECK(check_close(best_score[k], again[best[k]], 1e-5), "place %d", k);
	check_end();
}

/* ---------------------------------------------------------------- parts of scores */

static void
check_parts(void)
{
	FmoeConfig	config = hm4sr_config();
	FmoeDataset *data = check_walks(9, 9, 3, 4, 2);
	FmoeEvents	events = {.item = walked, .time = walked_at, .basket = walked_basket};
	FmoeBatch  *batch = fmoe_batch(check_arena(), &events, 1, walk_offset + 2, walk_offset + 3, 5);
	int32_t		every[9];
	double		weight[FMOE_EXPLAINED_MAX];
	double		part[9 * 5];
	fnn_real	score[9];
	fnn_real	left[9];
	FmoeModel  *model;

	check_begin("a score is the sum of its streams and of what times change");
	data->features = check_item_features(9);
	SET(&config, now, true);
	model = check_model(&config, data, 3, 0.3, false);
	fmoe_model_compute_items(model, check_arena());
	for (int i = 0; i < 9; i++)
		every[i] = i;
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
	CHECK(fmoe_parts_count(model) == 5 && strcmp(fmoe_part_name(model, 0), "ids") == 0 &&
		  strcmp(fmoe_part_name(model, 2), "vector_1") == 0 && strcmp(fmoe_part_name(model, 3), "time") == 0, "names");
	fmoe_contributions(model, check_arena(), batch, 9, every, weight, part);
	for (int i = 0; i < 9; i++)
	{
		double		sum = part[5 * i] + part[5 * i + 1] + part[5 * i + 2] + part[5 * i + 3];

		CHECK(check_close(sum, score[i], EXACT), "item %d: %g of %g", i, sum, (double) score[i]);
		CHECK(fabs(part[5 * i + 3]) > 1e-6, "times change nothing for item %d", i);
	}
	/* the same without times, and without a stream */
	model->expert[FMOE_MAIN].without = 1u << 3;
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, left);
	for (int i = 0; i < 9; i++)
		CHECK(check_close(left[i], score[i] - part[5 * i + 3], EXACT), "item %d without times", i);
	model->expert[FMOE_MAIN].without = 1u << 3 | 1u << 1;
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, left);
	for (int i = 0; i < 9; i++)
		CHECK(check_close(left[i], part[5 * i] + part[5 * i + 2], EXACT), "item %d without times and texts", i);
	check_end();
}

/* ---------------------------------------------------------------- when it is asked */

static void
check_now(void)
{
	static const double moments[][4] = {{90000, 5, 8000, 2e9}, {93600, 5, 8000, 2e9}, {4e9, 5, 8000, 2e9},
	{6e9, 5, 8000, 2e9}};
	FmoeConfig	config = hm4sr_config();
	FmoeDataset *data = check_walks(9, 9, 3, 4, 2);
	FmoeEvents	events = {.item = walked, .time = walked_at};
	FmoeBatch  *batch = fmoe_batch(check_arena(), &events, 4, walk_offset, walk_offset + 1, 5);
	fnn_real	score[5][4 * 9];
	FmoeModel  *model;

	check_begin("with the option now the moment that asks counts, of each history its own");
	data->features = check_item_features(9);
	SET(&config, now, true);
	SET(&config, intervals, 2000);
	model = check_model(&config, data, 3, 0.3, false);
	for (int k = 0; k < 5; k++)
	{
		batch->now = k < 4 ? moments[k] : NULL;
		fmoe_score(model, FMOE_MAIN, check_arena(), batch, score[k]);
	}
	for (int i = 0; i < 4 * 9; i++)
	{
		CHECK((fabs((double) (score[0][i] - score[1][i])) > 1e-7) == (i < 9), "score %d an hour later", i);
		CHECK((fabs((double) (score[1][i] - score[2][i])) > 1e-7) == (i < 9), "score %d in a far future", i);
		CHECK(isfinite(score[3][i]), "score %d", i);
		/* not known: as if asked at the last event */
		CHECK(i >= 9 || score[4][i] == score[0][i], "score %d when nothing is known", i);
	}
	check_end();
}

/* ---------------------------------------------------------------- odd items */

/* No features for half of the items, one category for all, and more categories than items. */
static void
check_odd_items(void)
{
	static const int32_t classes[] = {1, 3000};

	for (int k = 0; k < 2; k++)
	{
		FmoeDataset *data = check_walks(40, 30, 6, 12, 21);
		FmoeFeatures *features = check_item_features(30);
		int64_t    *offset = fnn_alloc(check_arena(), sizeof(int64_t) * 31);
		int32_t    *term = fnn_alloc(check_arena(), sizeof(int32_t) * 30);
		FmoeConfig	config;
		const FmoeTrainState *state;
		FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
		FmoeTrainer *trainer;
		fnn_real	score[30];

		check_begin("items of which half has nothing, with %d categories", (int) classes[k]);
		for (int i = 0; i <= 30; i++)
			offset[i] = i;
		for (int i = 0; i < 30; i++)
			term[i] = k == 0 ? 0 : 100 * i;
		for (int f = 0; f < features->count; f++)
		{
			FmoeFeature *feature = &features->feature[f];
			float	   *value = (float *) feature->value;

			if (feature->modality == FMOE_CATEGORY)
			{
				*feature = (FmoeFeature) {.name = "category_1", .modality = FMOE_CATEGORY, .width = classes[k]};
				feature->offset = offset;
				feature->term = term;
			}
			else if (feature->modality == FMOE_VECTOR)
				for (int i = 0; i < 30 * feature->width; i++)
					value[i] = i / feature->width % 2 == 0 ? NAN : (float) (i % 5);
			else if (feature->modality == FMOE_TEXT)
				for (int i = 1; i <= 30; i++)
					((int64_t *) feature->offset)[i] = i < 15 ? 0 : feature->offset[i];
		}
		data->features = features;
		config = small_run(data);
		trainer = check_finish_run(&config, data);
		state = fmoe_trainer_state(trainer);
		CHECK(isfinite(state->loss) && state->losses[FMOE_HM4SR_CP] > 0, "loss %g, of categories %g", state->loss,
			  state->losses[FMOE_HM4SR_CP]);
		fmoe_trainer_model(trainer, NULL, model);
		fmoe_score(model, FMOE_MAIN, check_arena(),
				   fmoe_batch(check_arena(), &data->events, 1, data->offset, data->offset + 1, 12), score);
		CHECK(fnn_all_finite(score, 30), "scores");
		check_end();
	}
}

/* ---------------------------------------------------------------- memory */

static void
check_taken(FmoeLoss loss, bool now)
{
	FmoeConfig	config = hm4sr_config();
	FmoeDataset *data = check_walks(64, 500, 42, 42, 8);
	FmoeTeam	alone = {.rank = 0, .size = 1};
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FnnArena   *arena = fnn_arena_create(check_host(), 0);
	FmoeTrainer *trainer;
	FmoeMisfit	misfit;
	double		told;
	double		peak;

	check_begin("memory of hm4sr, %s%s, is told beforehand", loss == FMOE_LOSS_GBCE ? "gbce" : "softmax",
				now ? ", now" : "");
	data->features = check_item_features(500);
	config.loss = loss;
	config.blend = -1;
	config.dropout = 0.1;
	config.max_length = 40;
	config.batch_size = 64;
	config.width = 32;
	config.layers = 2;
	SET(&config, intervals, 0);
	SET(&config, now, now);
	CHECK(fmoe_config_complete(&config, data, &misfit), "%s", misfit.message);
	told = (double) fmoe_trainer_private_bytes(check_arena(), &config, data);
	trainer = fmoe_trainer_attach(arena, &config, data,
								  fnn_alloc(check_arena(), fmoe_trainer_shared_bytes(check_arena(), &config, data)));
	fmoe_trainer_start(trainer);
	fmoe_trainer_epoch(trainer, &alone);
	fmoe_trainer_model(trainer, NULL, model);
	peak = (double) fnn_arena_peak(arena);
	CHECK(told >= 0.98 * peak && told <= 1.3 * peak, "%.0f bytes told, %.0f taken", told, peak);
	fnn_arena_destroy(arena);
	check_end();
}

void
check_hm4sr(void)
{
	check_parameters();
	check_hm4sr_golden();
	check_intervals();
	check_streams_of_data();
	check_gradients_of_all();
	check_towers();
	check_what_counts();
	check_training_run();
	check_stored();
	check_parts();
	check_now();
	check_odd_items();
	check_taken(FMOE_LOSS_SOFTMAX, false);
	check_taken(FMOE_LOSS_SOFTMAX, true);
	check_taken(FMOE_LOSS_GBCE, false);
}

/*
 * check_class.c
 *	  A class of its own, which no other file knows: what proves the interface.
 *
 * Items are one projection of a dense feature, v_i = P f_i, and a state is a
 * linear map of the mean of the history's item vectors.  Beside the softmax
 * loss it learns with a penalty on the vectors' length, by an option of its
 * own.  A row in the registry, by -DFMOE_TEST_CLASS, is all that it takes to be
 * trained, evaluated, stored, scanned and explained.
 */
#include "check.h"

#include "model/expert/expert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the class */

extern const FmoeExpertClass check_projection_class;

typedef struct Own
{
	double		shrink;			/* weight of the penalty */
} Own;

enum
{
	PROJECTION,
	MAP,						/* weight, bias */
	LOSS_ITEMS = 0,
	LOSS_SHRINK
};

static const FmoeOption own_options[] = {
	{"shrink", FMOE_OPTION_REAL, offsetof(Own, shrink), 0, 10, NULL, "0", "penalty on the length of item vectors"},
	{NULL}
};

static const char *const losses[] = {"items", "shrink", NULL};

static unsigned
reads(const FmoeConfig *config)
{
	return FMOE_READS_VECTORS;
}

static void
declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	const FmoeFeature *feature = fmoe_feature(facts->features, "embedding");

	if (feature == NULL || feature->value == NULL)
		fnn_fail(to->host, FNN_INVALID, "the items have no vectors");
	fmoe_declare_weight(to, FNN_ITEMS, "projection.weight", config->width, feature->width, FNN_INIT_NORMAL, 0.3);
	fmoe_declare_linear(to, FNN_ENCODER, "map", config->width, config->width);
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	return phase == FMOE_SETTLING ? 0
		: (12 * tokens + 4 * facts->n_items + 4 * cases) * config->width * sizeof(fnn_real);
}

static FnnTensor *
items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	const FmoeFeature *feature = fmoe_feature(expert->features, "embedding");
	fnn_real   *rows = fnn_alloc_reals(tape->arena, n, feature->width);

	for (int64_t i = 0; i < n; i++)
		for (int32_t c = 0; c < feature->width; c++)
			rows[i * feature->width + c] = feature->value[(item != NULL ? item[i] : i) * feature->width + c];
	return fnn_linear(tape, fnn_constant(tape, n, feature->width, rows), fmoe_parameter(expert, PROJECTION), NULL,
					  FNN_IDENTITY);
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	FnnTensor  *x = items(expert, tape, batch->n_tokens, batch->events.item);

	x = fnn_running_mean(tape, x, &batch->sequences);
	if (which == FMOE_LAST_TOKENS)
		x = fnn_rows(tape, x, batch->last, batch->sequences.count);
	return fnn_linear(tape, x, fmoe_parameter(expert, MAP), fmoe_parameter(expert, MAP + 1), FNN_IDENTITY);
}

static void
learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	const Own  *own = fmoe_own_options(expert->config);

	fmoe_add_loss(tape, encode(expert, tape, batch, FMOE_ALL_TOKENS), fmoe_item_vectors(expert, tape), goal, NULL);
	fmoe_goal_loss(goal, tape, LOSS_ITEMS);
	if (own->shrink > 0)
		fnn_square_loss(tape, items(expert, tape, batch->n_tokens, batch->events.item),
						own->shrink * goal->position_weight);
	fmoe_goal_loss(goal, tape, LOSS_SHRINK);
}

const FmoeExpertClass check_projection_class = {
	.name = "projection",
	.summary = "items by a projection of their vectors",
	.options = own_options,
	.reads = reads,
	.declare = declare,
	.bytes = bytes,
	.encode = encode,
	.items = items,
	.learn = learn,
	.losses = losses
};

/* ---------------------------------------------------------------- its tests */

#define ITEMS 60
#define COORDINATES 6

/* Items lie on a circle, their vectors say where; walks step along it. */
static FmoeDataset *
circle(FmoeFeatures *features)
{
	FmoeDataset *data = check_walks(120, ITEMS, 6, 12, 21);
	int32_t    *item = (int32_t *) data->events.item;
	float	   *value = fnn_alloc(check_arena(), sizeof(float) * ITEMS * COORDINATES);

	for (int64_t u = 0; u < data->n_users; u++)
		for (int64_t e = data->offset[u] + 1; e < data->offset[u + 1]; e++)
			item[e] = (int32_t) ((item[e - 1] + 1 + fnn_random_below(5, 6, (uint64_t) e, 2)) % ITEMS);
	for (int i = 0; i < ITEMS; i++)
		for (int c = 0; c < COORDINATES; c++)
			value[i * COORDINATES + c] = (float) (c % 2 == 0 ? cos((c / 2 + 1) * i * 2 * M_PI / ITEMS)
												  : sin((c / 2 + 1) * i * 2 * M_PI / ITEMS));
	memset(features, 0, sizeof(*features));
	features->n = ITEMS;
	features->count = 1;
	features->feature[0] = (FmoeFeature) {.name = "embedding", .modality = FMOE_VECTOR, .width = COORDINATES};
	features->feature[0].value = value;
	data->features = features;
	return data;
}

static FmoeConfig
projection_config(double shrink)
{
	FmoeConfig	config = check_config("projection");

	config.width = 8;
	config.epochs = config.patience = 25;
	config.learning_rate = 0.01;
	config.holdout = FMOE_HOLDOUT_TEST;
	config.blend = 0;
	((Own *) config.own.bytes)->shrink = shrink;
	return config;
}

static double
metric_of(const FmoeModel *model, FmoeExpertSlot slot, const FmoeDataset *data)
{
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	FmoeProtocol protocol = {.exclude_seen = false};
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) cases->count);

	fmoe_rank_cases(model, slot, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	return fmoe_mean_metric(FMOE_NDCG, 10, cases, rank);
}

/* Bound to its own arrays, features and computed vectors among them, it scores, is scanned and explained the same. */
static void
check_bound(const FmoeModel *model, const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeModel  *bound = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FnnArray   *array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) fmoe_model_arrays_max(model));
	int			n = fmoe_model_arrays(model, array, fmoe_model_arrays_max(model));
	FmoeBatch  *batch = fmoe_batch(check_arena(), &data->events, 1, &data->offset[3], &data->offset[4],
								   config->max_length);
	FmoeEligible all = {0};
	fnn_real	score[ITEMS];
	fnn_real	again[ITEMS];
	int32_t		every[ITEMS];
	double		weight[FMOE_EXPLAINED_MAX];
	double		part[2 * ITEMS];
	int32_t		best[5];
	fnn_real	best_score[5];
	FnnTopk		topk;

	fmoe_model_bind(bound, check_host(), config, ITEMS, n, array);
	fmoe_scan_build(bound, check_arena(), fnn_alloc(check_arena(), fmoe_scan_bytes(bound)));
	for (int i = 0; i < ITEMS; i++)
		every[i] = i;
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
	fmoe_scores_of(bound, FMOE_MAIN, check_arena(), batch, ITEMS, every, again);
	fmoe_contributions(bound, check_arena(), batch, ITEMS, every, weight, part);
	for (int i = 0; i < ITEMS; i++)
	{
		CHECK(check_close(score[i], again[i], 1e-5), "item %d: %g, bound %g", i, (double) score[i], (double) again[i]);
		CHECK(check_close(part[2 * i] + part[2 * i + 1], again[i], 1e-5), "item %d: parts sum up to %g", i,
			  part[2 * i] + part[2 * i + 1]);
	}
	fnn_topk_init(&topk, 5, best, best_score);
	fmoe_best(bound, FMOE_MAIN, check_arena(), batch, FMOE_SCAN_INT8, &all, &topk);
	fnn_topk_sort(&topk);
	for (int k = 0; k < 5; k++)
	{
		int			better = 0;

		for (int i = 0; i < ITEMS; i++)
			better += again[i] > again[best[k]];
		CHECK(topk.count == 5 && better == k, "place %d of the scan is place %d", k, better);
	}
	CHECK(strcmp(fmoe_part_name(bound, 0), "own") == 0 && weight[0] == 1, "its one part");
}

static void
check_trains(void)
{
	FmoeFeatures features;
	FmoeDataset *data = circle(&features);
	FmoeConfig	config = projection_config(0);
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *trainer = check_finish_run(&config, data);
	double		metric;
	double		popular;

	check_begin("a class that no other file knows is trained, stored, scanned and explained");
	fmoe_trainer_model(trainer, NULL, model);
	metric = metric_of(model, FMOE_MAIN, data);
	popular = metric_of(model, FMOE_POPULARITY, data);
	CHECK(metric > 0.3 && metric > 3 * popular, "NDCG@10 %.3f, popularity %.3f", metric, popular);
	check_bound(model, &config, data);
	check_end();
}

static void
check_loss_names(void)
{
	FmoeFeatures features;
	FmoeDataset *data = circle(&features);
	FmoeConfig	plain = projection_config(0);
	FmoeConfig	shrunk = projection_config(0.5);
	const FmoeTrainState *state;
	double		length[2];

	check_begin("its losses are told by name, and its option counts");
	plain.epochs = shrunk.epochs = 5;
	for (int k = 0; k < 2; k++)
	{
		FmoeTrainer *trainer = check_finish_run(k == 0 ? &plain : &shrunk, data);
		FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));

		state = fmoe_trainer_state(trainer);
		CHECK(check_close(state->losses[LOSS_ITEMS] + state->losses[LOSS_SHRINK], state->loss, 1e-9),
			  "%g and %g of %g", state->losses[LOSS_ITEMS], state->losses[LOSS_SHRINK], state->loss);
		CHECK((state->losses[LOSS_SHRINK] > 0) == (k == 1), "the penalty is %g", state->losses[LOSS_SHRINK]);
		fmoe_trainer_model(trainer, NULL, model);
		length[k] = 0;
		for (int64_t i = 0; i < model->items.rows * model->items.cols; i++)
			length[k] += (double) model->items.value[i] * model->items.value[i];
	}
	CHECK(length[1] < 0.8 * length[0], "squares of the vectors %g, without the penalty %g", length[1], length[0]);
	check_end();
}

/* ---------------------------------------------------------------- features */

static FnnArray *
array_of(FnnArray *array, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(array[i].name, name) == 0)
			return &array[i];
	CHECK(false, "there is no array \"%s\"", name);
	return array;
}

typedef struct Stored
{
	int			n;
	FnnArray	array[16];
} Stored;

static void
bind_features(void *context)
{
	Stored	   *stored = context;
	FmoeFeatures features;

	fmoe_features_bind(&features, check_host(), FMOE_OF_USERS, 3, stored->n, stored->array, true);
}

static float known_vector[] = {1, 2, 3, 4, NAN, NAN};
static int64_t known_offset[] = {0, 2, 2, 3};
static int32_t known_term[] = {4, 0, 1};
static float known_weight[] = {0.5f, 1, 2};
static float known_scale[] = {1, 0.5f, 2, 1, 1};
static int64_t known_name_offset[] = {0, 1, 3, 5, 7, 9};
static char known_names[] = "aabzz\xC3\xA4\xC3\xB6";	/* a ab zz ä ö */

/* Vectors and a bag whose terms have scales and names, of three users. */
static FmoeFeatures
known_features(void)
{
	FmoeFeatures features = {.n = 3, .count = 2};
	FmoeFeature *bag = &features.feature[1];

	features.feature[0] = (FmoeFeature)
	{
		.name = "taste.v2", .modality = FMOE_VECTOR, .width = 2, .value = known_vector
	};
	*bag = (FmoeFeature) {.name = "words", .modality = FMOE_TEXT, .width = 5, .offset = known_offset};
	bag->term = known_term;
	bag->weight = known_weight;
	bag->scale = known_scale;
	bag->name_offset = known_name_offset;
	bag->name_bytes = known_names;
	memcpy(known_names, "aabzz\xC3\xA4\xC3\xB6", sizeof(known_names));
	return features;
}

static void
check_features(void)
{
	FmoeFeatures features = known_features();
	FmoeFeatures back;
	FmoeFeatures copy;
	Stored		stored;
	const FmoeFeature *words;
	char	   *block;

	check_begin("features are arrays, and back");
	stored.n = fmoe_features_arrays(&features, FMOE_OF_USERS, stored.array, 16);
	CHECK(stored.n == 8 && strcmp(stored.array[0].name, "user_feature.taste.v2.vector.value") == 0,
		  "%d arrays, the first \"%s\"", stored.n, stored.array[0].name);
	fmoe_features_bind(&back, check_host(), FMOE_OF_ITEMS, 3, stored.n, stored.array, true);
	CHECK(back.count == 0, "users' features are not items'");
	fmoe_features_bind(&back, check_host(), FMOE_OF_USERS, -1, stored.n, stored.array, true);
	words = fmoe_feature(&back, "words");
	CHECK(back.n == 3 && back.count == 2 && fmoe_feature(&back, "taste.v2")->value == known_vector &&
		  fmoe_feature(&back, "taste.v2")->modality == FMOE_VECTOR && words->width == 5 &&
		  words->term == known_term && words->weight == known_weight && words->scale == known_scale &&
		  words->name_offset == known_name_offset && words->name_bytes == known_names &&
		  fmoe_feature(&back, "nothing") == NULL, "what comes back differs");
	check_end();

	check_begin("terms are found by name, in a copy that has moved as well");
	block = fnn_alloc(check_arena(), fmoe_features_bytes(&features));
	fmoe_features_copy(&copy, &features, block);
	memset(known_names, 'x', sizeof(known_names));
	fmoe_features_moved(&copy, 64);
	fmoe_features_moved(&copy, -64);
	words = fmoe_feature(&copy, "words");
	CHECK(words->name_bytes != known_names && words->scale != known_scale && words->scale[2] == 2, "not copied");
	for (int32_t t = 0; t < 5; t++)
	{
		size_t		bytes;
		const char *name = fmoe_feature_term_name(words, t, &bytes);

		CHECK(fmoe_feature_term(words, name, bytes) == t, "term %d is found as %d", (int) t,
			  (int) fmoe_feature_term(words, name, bytes));
	}
	CHECK(fmoe_feature_term(words, "aa", 2) == -1 && fmoe_feature_term(words, "zzz", 3) == -1 &&
		  fmoe_feature_term(words, "", 0) == -1, "a name that is none is found");
	CHECK(fmoe_feature_term(fmoe_feature(&copy, "taste.v2"), "a", 1) == -1, "a vector has a term");
	check_end();
}

static void
check_hostile_features(void)
{
	FmoeFeatures features = known_features();
	Stored		stored;
	FnnArray   *array;

	stored.n = fmoe_features_arrays(&features, FMOE_OF_USERS, stored.array, 16);
	check_begin("features that do not fit are refused");
	known_term[1] = 5;
	check_fails(FNN_FORMAT, "has a term out of range", bind_features, &stored);
	known_term[1] = 0;
	known_offset[1] = 3;
	check_fails(FNN_FORMAT, "are not ascending", bind_features, &stored);
	known_offset[1] = 2;
	known_offset[3] = 2;
	check_fails(FNN_FORMAT, "do not fit each other", bind_features, &stored);
	known_offset[3] = 3;
	known_weight[2] = INFINITY;
	check_fails(FNN_FORMAT, "has a weight that is not finite", bind_features, &stored);
	known_weight[2] = 2;
	known_vector[1] = NAN;
	check_fails(FNN_FORMAT, "a row that is known in part", bind_features, &stored);
	known_vector[1] = 2;
	known_vector[4] = 5;
	check_fails(FNN_FORMAT, "a row that is known in part", bind_features, &stored);
	known_vector[4] = NAN;
	known_vector[0] = INFINITY;
	check_fails(FNN_FORMAT, "a row that is known in part", bind_features, &stored);
	known_vector[0] = 1;
	known_scale[4] = NAN;
	check_fails(FNN_FORMAT, "has a scale that is not finite", bind_features, &stored);
	known_scale[4] = 1;
	array = array_of(stored.array, stored.n, "user_feature.words.text.offset");
	array->dtype = FNN_F64;
	check_fails(FNN_FORMAT, "is not of type I64", bind_features, &stored);
	array->dtype = FNN_I64;
	array->shape[0] = 3;
	array->bytes = 3 * sizeof(int64_t);
	check_fails(FNN_FORMAT, "2 rows where 3 are expected", bind_features, &stored);
	array->shape[0] = 4;
	array->bytes = 4 * sizeof(int64_t);
	array = array_of(stored.array, stored.n, "user_feature.words.text.scale");
	array->shape[0] = 4;
	array->bytes = 4 * sizeof(float);
	check_fails(FNN_FORMAT, "do not fit each other", bind_features, &stored);
	array->shape[0] = 5;
	array->bytes = 5 * sizeof(float);
	strcpy(array_of(stored.array, stored.n, "user_feature.words.text.term")->name, "user_feature.words.text.terms");
	check_fails(FNN_FORMAT, "is not part of a feature", bind_features, &stored);
	check_end();
}

static void
check_hostile_names(void)
{
	FmoeFeatures features = known_features();
	Stored		stored;

	stored.n = fmoe_features_arrays(&features, FMOE_OF_USERS, stored.array, 16);
	check_begin("names of terms that are none are refused");
	bind_features(&stored);
	known_names[0] = 'b';
	check_fails(FNN_FORMAT, "names of feature \"words\" are not ascending", bind_features, &stored);
	known_names[0] = 'a';
	known_names[2] = 'a';
	known_name_offset[1] = 2;
	check_fails(FNN_FORMAT, "names of feature \"words\" are not ascending", bind_features, &stored);
	known_names[2] = 'b';
	known_name_offset[1] = 0;
	check_fails(FNN_FORMAT, "is not UTF-8", bind_features, &stored);
	known_name_offset[1] = 4;
	check_fails(FNN_FORMAT, "are not ascending", bind_features, &stored);
	known_name_offset[1] = 1;
	known_names[6] = 'x';
	check_fails(FNN_FORMAT, "is not UTF-8", bind_features, &stored);
	known_names[6] = (char) 0xA4;
	known_names[2] = 0;
	check_fails(FNN_FORMAT, "is not UTF-8", bind_features, &stored);
	known_names[2] = 'b';
	known_name_offset[5] = 8;
	check_fails(FNN_FORMAT, "do not fit each other", bind_features, &stored);
	known_name_offset[5] = 9;
	stored.n--;
	check_fails(FNN_FORMAT, "lacks an array", bind_features, &stored);
	check_end();
}

/* ---------------------------------------------------------------- groups of parameters */

static void
check_groups(void)
{
	FnnParams	params = {0};
	FmoeDeclaring to = {.params = &params, .host = check_host(), .prefix = "in.", .share = FNN_PUBLIC,
	.frozen = FNN_GROUP_BIT(FNN_ENCODER)};
	fnn_real   *first;
	fnn_real   *second;

	check_begin("parameters are frozen and drawn anew by groups");
	fmoe_declare(&to, FNN_ITEMS, "items", 5, 4, FNN_INIT_NORMAL, 1);
	fmoe_declare_linear(&to, FNN_ENCODER, "map", 4, 4);
	fmoe_declare_linear(&to, FNN_GATE, "gate", 4, 4);
	for (int i = 0; i < 1000; i++)
	{
		char		name[32];

		snprintf(name, sizeof(name), "more.%d", i);
		fmoe_declare(&to, FNN_HEAD, name, 1, 1, FNN_INIT_ONE, 0);
	}
	CHECK(params.count == 1005 && fnn_params_find(&params, "in.more.999") == 1004, "%d slices", params.count);
	CHECK(!params.list[0].frozen && params.list[1].frozen && params.list[2].frozen && !params.list[3].frozen,
		  "only the encoder is frozen");
	CHECK(params.list[1].linear && !params.list[2].linear && !params.list[0].linear,
		  "only weights of maps are adapted");
	first = fnn_alloc_reals(check_arena(), 1, (int64_t) params.size);
	second = fnn_alloc_reals(check_arena(), 1, (int64_t) params.size);
	fnn_params_init(&params, check_host(), 1, first);
	fnn_params_init(&params, check_host(), 2, second);
	fnn_params_redraw(&params, check_host(), 1, FNN_GROUP_BIT(FNN_ITEMS) | FNN_GROUP_BIT(FNN_GATE), second);
	CHECK(memcmp(first, second, 20 * sizeof(fnn_real)) == 0, "items as the first seed draws them");
	CHECK(memcmp(first + params.list[3].offset, second + params.list[3].offset, 16 * sizeof(fnn_real)) == 0,
		  "gate as well");
	CHECK(memcmp(first + params.list[1].offset, second + params.list[1].offset, 16 * sizeof(fnn_real)) != 0,
		  "encoder not");
	fnn_params_freeze(&params, FNN_GROUP_BIT(FNN_ITEMS));
	CHECK(params.list[0].frozen && !params.list[3].frozen, "items are frozen then");
	fnn_params_free(&params, check_host());
	CHECK(params.count == 0 && params.list == NULL, "freed");
	check_end();
}

void
check_class(void)
{
	check_trains();
	check_loss_names();
	check_features();
	check_hostile_features();
	check_hostile_names();
	check_groups();
}

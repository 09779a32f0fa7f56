/*
 * check_hm4sr_golden.c
 *	  The class hm4sr beside PyTorch (scripts/golden): scores, losses and gradients.
 */
#include "check_hm4sr.h"

/* ---------------------------------------------------------------- golden vectors */

typedef struct GoldenMatrix
{
	const char *name;
	int			rows;
	int			cols;
	const float *value;
} GoldenMatrix;

typedef struct GoldenHm4sr
{
	int			n_items;
	int			width;
	int			layers;
	int			heads;
	int			inner;
	int			experts;
	int			intervals;
	double		time_unit;
	int			max_length;
	int			classes;
	const GoldenMatrix *matrix; /* what items have, histories, scores, losses, weights and their gradients */
} GoldenHm4sr;

#include "golden/hm4sr.h"

#define HISTORIES ((int) (sizeof(golden_hm4sr_offset) / sizeof(golden_hm4sr_offset[0])) - 1)
#define TOKENS 27

/* NULL: there is none. */
static const GoldenMatrix *
find_matrix(const GoldenHm4sr *golden, const char *name, const char *suffix)
{
	size_t		n = strlen(name);

	for (const GoldenMatrix *matrix = golden->matrix; matrix->name != NULL; matrix++)
		if (strncmp(matrix->name, name, n) == 0 && strcmp(matrix->name + n, suffix) == 0)
			return matrix;
	return NULL;
}

static void
compare(const fnn_real *value, const GoldenMatrix *matrix)
{
	for (int i = 0; matrix != NULL && i < matrix->rows * matrix->cols; i++)
		CHECK(check_close(value[i], matrix->value[i], 1e-4), "%s [%d]: %g instead of %g", matrix->name, i,
			  (double) value[i], matrix->value[i]);
}

/* Vectors, where 0 is what an item has too, and categories from a matrix of labels. */
static FmoeFeatures *
golden_features(const GoldenHm4sr *golden)
{
	FmoeFeatures *features = fnn_zalloc(check_arena(), sizeof(FmoeFeatures));
	const GoldenMatrix *labels = find_matrix(golden, "labels", "");
	int64_t    *offset = fnn_zalloc(check_arena(), sizeof(int64_t) * (size_t) (golden->n_items + 1));
	int32_t    *term = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) (labels->rows * labels->cols));
	FmoeFeature *category = &features->feature[features->count++];

	for (int i = 0; i < labels->rows; i++)
	{
		offset[i + 1] = offset[i];
		for (int c = 0; c < labels->cols; c++)
			if (labels->value[i * labels->cols + c] > 0)
				term[offset[i + 1]++] = c;
	}
	features->n = golden->n_items;
	*category = (FmoeFeature) {.name = "category_1", .modality = FMOE_CATEGORY, .width = golden->classes};
	category->offset = offset;
	category->term = term;
	for (int k = 1; k <= 2; k++)
	{
		FmoeFeature *feature = &features->feature[features->count];
		const GoldenMatrix *matrix;

		feature->modality = FMOE_VECTOR;
		strcpy(feature->name, k == 1 ? "vector_1" : "vector_2");
		matrix = find_matrix(golden, feature->name, "");
		if (matrix == NULL)
			continue;
		feature->width = matrix->cols;
		feature->value = matrix->value;
		features->count++;
	}
	return features;
}

static FmoeConfig
golden_config(const GoldenHm4sr *golden, const FmoeFeatures *features)
{
	static const char *const streams[] = {"vector_1", "vector_2"};
	FmoeConfig	config = hm4sr_config();

	set_streams(&config, features->count - 1, streams);
	config.width = golden->width;
	config.layers = golden->layers;
	config.heads = golden->heads;
	config.max_length = golden->max_length;
	config.dropout = 0;
	SET(&config, inner, golden->inner);
	SET(&config, experts, golden->experts);
	SET(&config, intervals, golden->intervals);
	SET(&config, time_unit, golden->time_unit);
	SET(&config, idcl, 0.5);
	SET(&config, cp, 0.7);
	SET(&config, pcl, 0.3);
	return config;
}

static FmoeModel *
golden_model(const GoldenHm4sr *golden, const FmoeConfig *config, const FmoeFeatures *features)
{
	FmoeDataset *data = check_walks(4, golden->n_items, 3, 4, 2);
	FmoeModel  *model;
	FmoeExpert *expert;

	data->features = features;
	model = check_model(config, data, 3, 0, true);
	expert = &model->expert[FMOE_MAIN];
	for (int i = 0; i < expert->params->count; i++)
	{
		const GoldenMatrix *weight = find_matrix(golden, expert->params->list[i].name, "");
		FnnTensor  *tensor = &expert->tensor[i];

		CHECK(weight != NULL && weight->rows == tensor->rows && weight->cols == tensor->cols, "shape of \"%s\"",
			  expert->params->list[i].name);
		for (int64_t k = 0; weight != NULL && k < tensor->rows * tensor->cols; k++)
			tensor->value[k] = weight->value[k];
	}
	return model;
}

/* The histories' events and what follows each. */
static FmoeBatch *
golden_batch(const GoldenHm4sr *golden, int32_t *target)
{
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * TOKENS);
	double	   *time = fnn_alloc(check_arena(), sizeof(double) * TOKENS);
	FmoeEvents	events = {.item = item, .time = time};

	CHECK(golden_hm4sr_offset[HISTORIES] == TOKENS, "events");
	for (int s = 0; s < HISTORIES; s++)
		for (int64_t t = golden_hm4sr_offset[s]; t < golden_hm4sr_offset[s + 1]; t++)
		{
			item[t] = (int32_t) find_matrix(golden, "item", "")->value[t];
			target[t] = (int32_t) find_matrix(golden, "target", "")->value[t];
			time[t] = t == golden_hm4sr_offset[s] ? 8e8 + 1e5 * s
				: time[t - 1] + (double) find_matrix(golden, "gap", "")->value[t];
		}
	return fmoe_batch(check_arena(), &events, HISTORIES, golden_hm4sr_offset, golden_hm4sr_offset + 1,
					  golden->max_length);
}

static void
check_golden(const GoldenHm4sr *golden)
{
	FmoeFeatures *features = golden_features(golden);
	FmoeConfig	config = golden_config(golden, features);
	FmoeModel  *model;
	FmoeExpert *expert;
	int32_t		target[TOKENS];
	FmoeBatch  *batch = golden_batch(golden, target);
	FmoeGoal	goal = {.target = target, .position_weight = 1.0 / TOKENS, .sequence_weight = 1.0 / HISTORIES,
	.step = 1, .seed = 5, .stream = 7};
	const float weight[] = {1, 0.5f, 0.7f, 0.3f};
	fnn_real   *score = fnn_alloc_reals(check_arena(), HISTORIES, golden->n_items);
	int			counting = 0;
	FnnTape		tape;

	check_begin("hm4sr as PyTorch: scores, losses and gradients, width %d, %d items", golden->width, golden->n_items);
	model = golden_model(golden, &config, features);
	expert = &model->expert[FMOE_MAIN];
	for (int t = 0; t < TOKENS; t++)
		counting += target[t] >= 0;
	goal.weight = 1.0 / counting;
	fnn_tape_begin(&tape, check_arena(), true, 5, 7);
	fmoe_hm4sr_learn(expert, &tape, batch, &goal);
	fnn_tape_backward(&tape);
	for (int k = 0; k < 4; k++)
		CHECK(check_close(goal.loss[k], (double) (weight[k] * find_matrix(golden, "losses", "")->value[k]), 1e-4),
			  "loss %d is %g, of PyTorch %g times %g", k, goal.loss[k], find_matrix(golden, "losses", "")->value[k],
			  weight[k]);
	for (int i = 0; i < expert->params->count; i++)
		compare(expert->tensor[i].grad, find_matrix(golden, expert->params->list[i].name, ".grad"));
	expert->items = NULL;
	fmoe_model_compute_items(model, check_arena());
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
	compare(score, find_matrix(golden, "scores", ""));
	check_end();
}

void
check_hm4sr_golden(void)
{
	for (const GoldenHm4sr *golden = golden_hm4sr; golden->width > 0; golden++)
		check_golden(golden);
}

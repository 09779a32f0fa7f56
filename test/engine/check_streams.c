/*
 * check_streams.c
 *	  Streams side by side: the operations, and whole models against those of PyTorch.
 */
#include "check.h"
#include "model/expert/expert.h"
#include "model/registry.h"
#include "model/xcross/xcross.h"

#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- operations */

static void
run_integrate(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	(void) context;
	for (int m = 0; m < 3; m++)
		check_loss(tape, fnn_integrate(tape, 3, inputs, inputs[3], m, 0.7, 1.3));
}

static void
run_weighted(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	(void) context;
	check_loss(tape, fnn_weighted_sum(tape, 3, inputs, inputs[3]));
}

/* The equation as it is written, element by element. */
static double
plain(FnnTensor *const *h, const FnnTensor *z, int m, int64_t r, int64_t c, double beta, double gamma)
{
	double		y = h[m]->value[r * h[m]->cols + c];
	int			p = m * 2;

	for (int k = 0; k < 3; k++)
	{
		double		other = h[k]->value[r * h[k]->cols + c];

		if (k == m)
			continue;
		y += beta * z->value[r * z->cols + p] * other +
			gamma * z->value[r * z->cols + 6 + p] * (h[m]->value[r * h[m]->cols + c] - other);
		p++;
	}
	return y;
}

static void
check_operations(void)
{
	FnnTensor  *h[4] = {check_tensor(1, 5, 4), check_tensor(2, 5, 4), check_tensor(3, 5, 4), check_tensor(4, 5, 12)};
	FnnTensor  *w[4] = {h[0], h[1], h[2], check_tensor(5, 1, 3)};
	FnnTape		tape;

	check_begin("streams take from one another as the equation says");
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	for (int m = 0; m < 3; m++)
	{
		FnnTensor  *y = fnn_integrate(&tape, 3, h, h[3], m, 0.7, 1.3);

		for (int64_t i = 0; i < 20; i++)
			CHECK(check_close(y->value[i], plain(h, h[3], m, i / 4, i % 4, 0.7, 1.3), 1e-5), "stream %d, element %d",
				  m, (int) i);
	}
	check_end();
	check_begin("gradients of integrated streams");
	check_gradients(4, h, run_integrate, NULL);
	check_end();
	check_begin("gradients of a weighted sum of streams");
	check_gradients(4, w, run_weighted, NULL);
	check_end();
}

/* ---------------------------------------------------------------- golden vectors */

typedef struct GoldenMatrix
{
	const char *name;
	int64_t		rows;
	int64_t		cols;
	const float *value;
} GoldenMatrix;

typedef struct GoldenXcross
{
	int			n_items;
	int			numbers;		/* of an item */
	int			width;
	int			layers;
	int			heads;
	int			streams;
	int			rank[FMOE_LENT_MAX];
	double		beta;
	double		gamma;
	double		loss;
	const GoldenMatrix *matrix;
} GoldenXcross;

#include "golden/xcross.h"

static const int32_t golden_item[] = {1, 4, 1, 0, 2, 3, 5, 1, 2, 7, 6, 0, 4};
static const int32_t golden_target[] = {4, 1, 0, 2, -1, -1, 1, 2, 7, 6, 0, 4, -1};
static const int32_t golden_last[] = {-1, -1, -1, 2, -1, -1, -1, -1, -1, -1, -1, 4, -1};
static const int64_t golden_offset[] = {0, 5, 6, 13};

static const GoldenMatrix *
matrix_of(const GoldenXcross *golden, const char *name)
{
	for (const GoldenMatrix *matrix = golden->matrix; matrix->name != NULL; matrix++)
		if (strcmp(matrix->name, name) == 0)
			return matrix;
	return NULL;
}

static FmoeConfig
golden_config(const GoldenXcross *golden)
{
	FmoeConfig	config = {.max_length = 8, .loss = FMOE_LOSS_SOFTMAX, .calibration = 0.75, .seed = 7};
	FmoeXcrossOptions own = {.beta = golden->beta, .gamma = golden->gamma,.experts.count = golden->streams};

	config.width = golden->width;
	config.layers = golden->layers;
	config.heads = golden->heads;
	config.model = fmoe_expert_row("xcross");
	own.base.inputs.count = 1;
	own.base.inputs.input[0] = (FmoeInput)
	{
		.name = "given", .width = golden->numbers, .number = 1
	};
	for (int m = 0; m < golden->streams; m++)
	{
		own.experts.adapter[m].rank = golden->rank[m];
		own.experts.adapter[m].alpha = 2 + m;
	}
	memcpy(config.own.bytes, &own, sizeof(own));
	return config;
}

static FmoeModel *
golden_model(const GoldenXcross *golden, const FmoeConfig *config)
{
	FmoeFeatures *features = fnn_zalloc(check_arena(), sizeof(FmoeFeatures));
	FmoeDataset data = {.n_users = 3, .n_events = 13, .n_items = golden->n_items, .offset = golden_offset,
		.events = {.item = golden_item}, .features = features};
	FmoeModel  *model;

	features->n = golden->n_items;
	features->count = 1;
	features->feature[0] = (FmoeFeature)
	{
		.name = "vector_1", .modality = FMOE_VECTOR, .width = golden->numbers,
			.value = matrix_of(golden, "features")->value
	};
	model = check_model(config, &data, 1, 0, true);
	for (int i = 0; i < model->params.count; i++)
	{
		const FnnTensor *tensor = &model->expert[FMOE_MAIN].tensor[i];
		const GoldenMatrix *matrix = matrix_of(golden, model->params.list[i].name);

		CHECK(matrix != NULL && matrix->rows == tensor->rows && matrix->cols == tensor->cols, "shape of \"%s\"",
			  model->params.list[i].name);
		for (int64_t e = 0; matrix != NULL && e < tensor->rows * tensor->cols; e++)
			tensor->value[e] = matrix->value[e];
	}
	fmoe_model_compute_items(model, check_arena());
	return model;
}

/* Scores, and with a loss that and its gradients, whose names begin with a prefix. */
static void
compare_golden(const GoldenXcross *golden, FmoeModel *model, const FmoeBatch *batch, const char *prefix,
			   const int32_t *targets, double weight, double loss)
{
	fnn_real   *scores = fnn_alloc_reals(check_arena(), 3, golden->n_items);
	FmoeGoal	goal = {.target = targets, .weight = weight, .sequence_weight = 1.0 / 3, .step = 1};
	char		name[2 * FNN_NAME_MAX];
	const GoldenMatrix *expected;
	FnnTape		tape;

	snprintf(name, sizeof(name), "%sscores", prefix);
	expected = matrix_of(golden, name);
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, scores);
	for (int i = 0; i < 3 * golden->n_items; i++)
		CHECK(check_close(scores[i], expected->value[i], 1e-4), "%s %d: %g", name, i, (double) scores[i]);
	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	fmoe_xcross_class.learn(&model->expert[FMOE_MAIN], &tape, batch, &goal);
	fnn_tape_backward(&tape);
	CHECK(check_close(tape.loss, loss, 1e-5), "%sloss %.9g instead of %.9g", prefix, tape.loss, loss);
	for (int i = 0; i < model->params.count; i++)
	{
		const FnnTensor *tensor = &model->expert[FMOE_MAIN].tensor[i];
		const GoldenMatrix *grad;

		snprintf(name, sizeof(name), "%s%s.grad", prefix, model->params.list[i].name);
		grad = matrix_of(golden, name);
		CHECK((grad != NULL) == (tensor->grad != NULL), "gradient of \"%s\"", model->params.list[i].name);
		for (int64_t e = 0; grad != NULL && e < tensor->rows * tensor->cols; e++)
			CHECK(check_close(tensor->grad[e], grad->value[e], 1e-4), "\"%s\" %d: %g instead of %g", name, (int) e,
				  (double) tensor->grad[e], grad->value[e]);
	}
}

static void
check_golden(const GoldenXcross *golden)
{
	FmoeConfig	config = golden_config(golden);
	FmoeBatch  *batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = golden_item}, 3, golden_offset,
								   golden_offset + 1, 8);

	check_begin("%d streams of width %d in %d layers as PyTorch has them", golden->streams, golden->width,
				golden->layers);
	compare_golden(golden, golden_model(golden, &config), batch, "", golden_target, 1.0 / 10, golden->loss);
	check_end();

	check_begin("the same with a pooler");
	((FmoeXcrossOptions *) config.own.bytes)->head = FMOE_XCROSS_POOLER;
	((FmoeXcrossOptions *) config.own.bytes)->head_negatives = 100;
	compare_golden(golden, golden_model(golden, &config), batch, "pooled.", golden_last, 0,
				   matrix_of(golden, "pooled.loss")->value[0]);
	check_end();
}

void
check_streams(void)
{
	check_operations();
	for (const GoldenXcross *golden = golden_xcross; golden->n_items > 0; golden++)
		check_golden(golden);
}

/*
 * check_experts.c
 *	  The expert classes: against PyTorch, against differences, and at the
 *	  edges of what a history can be.
 */
#include "check.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- golden vectors */

typedef struct GoldenWeight
{
	const char *name;
	int			rows;
	int			cols;
	const float *value;
} GoldenWeight;

typedef struct Golden
{
	const char *model;
	int			n_items;
	int			width;
	int			layers;
	int			heads;
	int			max_length;
	int			n_weights;
	const GoldenWeight *weight;
	int			n_histories;
	const int64_t *offset;		/* [n_histories + 1] */
	const int32_t *item;
	const float *scores;		/* [n_histories, n_items] */
	double		loss;			/* mean cross-entropy of all positions with a target */
} Golden;

#include "golden/gru4rec.h"
#include "golden/sasrec.h"

static int
class_number(const char *name)
{
	int			i;

	for (i = 0; fmoe_expert_classes[i] != NULL; i++)
	{
		if (strcmp(fmoe_expert_classes[i]->name, name) == 0)
			return i;
	}
	CHECK(false, "no class \"%s\"", name);
	return 0;
}

/* A small configuration of the class; what a test does not set is off. */
static FmoeConfig
small_config(const char *model, int width, int layers, int heads, int max_length)
{
	FmoeConfig	config = {.model = class_number(model), .width = width, .layers = layers, .heads = heads,
	.max_length = max_length, .loss = FMOE_LOSS_SOFTMAX, .negatives = 4, .calibration = 0.75, .seed = 7};

	return config;
}

/* A model over fresh values (gains and all moved by N(0, 0.3)), with counts of no data; with_grad: and gradients. */
static FmoeModel *
make_model(const FmoeConfig *config, int32_t n_items, bool with_grad)
{
	static const int64_t offset[] = {0};
	FmoeDataset nothing = {.n_items = n_items, .offset = offset};

	return check_model(config, &nothing, (uint64_t) config->seed, 0.3, with_grad);
}

static FmoeExpert *
make_expert(const FmoeConfig *config, int32_t n_items, bool with_grad)
{
	return &make_model(config, n_items, with_grad)->expert[FMOE_MAIN];
}

static FmoeModel *
golden_model(const Golden *golden)
{
	FmoeConfig	config = small_config(golden->model, golden->width, golden->layers, golden->heads,
									  golden->max_length);
	FmoeModel  *model = make_model(&config, golden->n_items, false);
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	int			w;
	int			i;

	CHECK(expert->params->count == golden->n_weights, "%d slices instead of %d", expert->params->count,
		  golden->n_weights);
	for (w = 0; w < golden->n_weights; w++)
	{
		const GoldenWeight *weight = &golden->weight[w];
		int			index = fnn_params_find(expert->params, weight->name);

		CHECK(index >= 0, "no slice \"%s\"", weight->name);
		if (index < 0)
			continue;
		CHECK(expert->tensor[index].rows == weight->rows && expert->tensor[index].cols == weight->cols,
			  "shape of \"%s\"", weight->name);
		for (i = 0; i < weight->rows * weight->cols; i++)
			expert->tensor[index].value[i] = weight->value[i];
	}
	return model;
}

/* Mean cross-entropy of the histories as training computes it. */
static double
golden_loss(const Golden *golden, const FmoeExpert *expert)
{
	int64_t		end[16];
	int32_t		target[256];
	FmoeBatch  *batch;
	FnnTape		tape;
	int			i;
	int32_t		k;

	for (i = 0; i < golden->n_histories; i++)
		end[i] = golden->offset[i + 1] - 1;
	batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = golden->item},
					   golden->n_histories, golden->offset, end, golden->max_length);
	for (i = 0; i < golden->n_histories; i++)
	{
		int32_t		first = batch->sequences.offset[i];
		int32_t		n = batch->sequences.offset[i + 1] - first;

		for (k = 0; k < n; k++)
			target[first + k] = golden->item[end[i] - n + 1 + k];
	}
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	fnn_softmax_loss(&tape, expert->class->encode(expert, &tape, batch, FMOE_ALL_TOKENS),
					 (FnnTensor *) &expert->tensor[0], target, 1.0 / batch->n_tokens);
	return tape.loss;
}

static void
check_golden(const Golden *golden)
{
	for (; golden->model != NULL; golden++)
	{
		FmoeModel  *model = golden_model(golden);
		const FmoeExpert *expert = &model->expert[FMOE_MAIN];
		FmoeBatch  *batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = golden->item},
									   golden->n_histories, golden->offset,
									   golden->offset + 1, golden->max_length);
		int64_t		n = (int64_t) golden->n_histories * golden->n_items;
		fnn_real   *scores = fnn_alloc_reals(check_arena(), golden->n_histories, golden->n_items);
		double		loss;
		int64_t		i;

		check_begin("%s scores as PyTorch: width %d, %d layers, %d heads", golden->model, golden->width,
					golden->layers, golden->heads);
		fmoe_score(model, FMOE_MAIN, check_arena(), batch, scores);
		for (i = 0; i < n; i++)
			CHECK(check_close(scores[i], golden->scores[i], 1e-4), "history %d item %d: %g instead of %g",
				  (int) (i / golden->n_items), (int) (i % golden->n_items), (double) scores[i], golden->scores[i]);
		loss = golden_loss(golden, expert);
		CHECK(check_close(loss, golden->loss, 1e-5), "loss %.9g instead of %.9g", loss, golden->loss);
		check_end();
	}
}

/* ---------------------------------------------------------------- gradients of whole models */

typedef struct Problem
{
	const FmoeExpert *expert;
	const FmoeBatch *batch;
	const int32_t *target;
	bool		last_only;
	bool		gbce;
} Problem;

static void
run_problem(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	static const int32_t negative[] = {0, 3, 5, 2};
	const Problem *problem = context;
	const FmoeExpert *expert = problem->expert;
	FnnTensor  *hidden = expert->class->encode(expert, tape, problem->batch,
											   problem->last_only ? FMOE_LAST_TOKENS : FMOE_ALL_TOKENS);
	FnnTensor  *table = (FnnTensor *) &expert->tensor[0];

	if (problem->gbce)
		fnn_gbce_loss(tape, hidden, table, problem->target, NULL, negative, 4,
					  fnn_gbce_beta(expert->n_items, 4, 0.75), 0.3);
	else
		fnn_softmax_loss(tape, hidden, table, problem->target, 0.3);
}

static void
check_model_gradients(const char *model, int heads)
{
	static const int32_t item[] = {1, 4, 1, 0, 2, 3, 5, 1, 2};
	static const int32_t target[] = {4, 1, 0, -1, 3, 5, 1, 2, 0};
	static const int64_t begin[] = {0, 4, 5};
	static const int64_t end[] = {4, 5, 9};
	FmoeConfig	config = small_config(model, 4, 2, heads, 5);
	int			variant;

	config.dropout = 0.2;
	for (variant = 0; variant < 4; variant++)
	{
		FmoeExpert *expert = make_expert(&config, 6, true);
		Problem		problem = {.expert = expert, .target = target, .last_only = variant & 1, .gbce = variant & 2};
		FnnTensor **inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) expert->params->count);
		int			i;

		check_begin("gradients of %s with %d heads, %s, %s", model, heads,
					problem.gbce ? "gbce" : "softmax", problem.last_only ? "last token" : "all tokens");
		problem.batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 3, begin, end, 5);
		for (i = 0; i < expert->params->count; i++)
			inputs[i] = &expert->tensor[i];
		check_gradients(expert->params->count, inputs, run_problem, &problem);
		check_end();
	}
}

/* ---------------------------------------------------------------- properties of encoders */

static fnn_real *
hidden_of(const FmoeExpert *expert, const int32_t *item, int64_t n, const int64_t *begin, const int64_t *end,
		  bool last_only)
{
	FmoeBatch  *batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item},
								   n, begin, end, expert->config->max_length);
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	return expert->class->encode(expert, &tape, batch, last_only ? FMOE_LAST_TOKENS : FMOE_ALL_TOKENS)->value;
}

static bool
rows_equal(const fnn_real *a, const fnn_real *b, int64_t n)
{
	int64_t		i;

	for (i = 0; i < n; i++)
	{
		if (!check_close(a[i], b[i], 1e-5))
			return false;
	}
	return true;
}

static void
check_encoder(const char *model)
{
	int32_t		item[] = {3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0};
	int64_t		begin[] = {0, 7};
	int64_t		end[] = {7, 11};
	FmoeConfig	config = small_config(model, 8, 3, 2, 20);
	FmoeExpert *expert = make_expert(&config, 7, false);
	fnn_real   *all = hidden_of(expert, item, 2, begin, end, false);
	fnn_real   *last = hidden_of(expert, item, 2, begin, end, true);
	fnn_real   *alone = hidden_of(expert, item, 1, begin + 1, end + 1, false);
	fnn_real   *changed;

	check_begin("%s: the last token alone has the hidden state it has among all", model);
	CHECK(rows_equal(all + 6 * 8, last, 8), "first history");
	CHECK(rows_equal(all + 10 * 8, last + 8, 8), "second history");
	check_end();

	check_begin("%s: a history's hidden states do not depend on its neighbours", model);
	CHECK(rows_equal(all + 7 * 8, alone, 4 * 8), "alone or in a batch");
	check_end();

	check_begin("%s: no token sees what follows it", model);
	item[6] = 0;
	changed = hidden_of(expert, item, 2, begin, end, false);
	CHECK(rows_equal(all, changed, 6 * 8), "earlier tokens changed");
	CHECK(!rows_equal(all + 6 * 8, changed + 6 * 8, 8), "the changed token did not change");
	check_end();
}

/* Empty histories score as popularity and hide nothing; long ones are cut to the newest events. */
static void
check_histories(const char *model)
{
	enum
	{
		LONG = 10000,
		ITEMS = 50
	};
	int32_t    *item = fnn_alloc(check_arena(), LONG * sizeof(int32_t));
	const int64_t data_offset[] = {0, LONG};
	FmoeDataset data = {.n_users = 1, .n_events = LONG, .n_items = ITEMS, .offset = data_offset,
		.events = {.item = item}};
	const int64_t begin[] = {0, 0, LONG - 12, LONG, 0, 5};
	const int64_t end[] = {0, LONG, LONG, LONG, 3, 5};
	FmoeConfig	config = small_config(model, 8, 1, 1, 12);
	FmoeModel  *loaded;
	fnn_real   *scores = fnn_alloc_reals(check_arena(), 6, ITEMS);
	fnn_real   *hidden = fnn_alloc_reals(check_arena(), 6, 8);
	fnn_real   *single = fnn_alloc_reals(check_arena(), 1, ITEMS);
	double	   *time = fnn_zalloc(check_arena(), LONG * sizeof(double));
	FmoeBatch  *batch;
	const float *popularity;
	int			i;

	for (i = 0; i < LONG; i++)
		item[i] = (int32_t) fnn_random_below(5, 0, i, 1 + fnn_random_below(6, 0, i, ITEMS));
	data.events.time = time;
	loaded = check_model(&config, &data, (uint64_t) config.seed, 0.3, false);
	popularity = loaded->expert[FMOE_POPULARITY].array[0].data;

	check_begin("%s: empty histories and one of %d events", model, LONG);
	batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 6, begin, end, 12);
	CHECK(batch->n_tokens == 12 + 12 + 3, "%d tokens", (int) batch->n_tokens);
	fmoe_score(loaded, FMOE_MAIN, check_arena(), batch, scores);
	for (i = 0; i < ITEMS; i++)
	{
		CHECK(scores[i] == popularity[i] && scores[3 * ITEMS + i] == popularity[i] &&
			  scores[5 * ITEMS + i] == popularity[i], "item %d of an empty history", i);
		CHECK(check_close(scores[ITEMS + i], scores[2 * ITEMS + i], 1e-6), "only the last events count, item %d", i);
	}
	batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 1, begin + 4, end + 4, 12);
	fmoe_score(loaded, FMOE_MAIN, check_arena(), batch, single);
	CHECK(rows_equal(single, scores + 4 * ITEMS, ITEMS), "a history among empty ones");

	batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 6, begin, end, 12);
	fmoe_encode(loaded, check_arena(), batch, hidden);
	for (i = 0; i < 8; i++)
		CHECK(hidden[i] == 0 && hidden[3 * 8 + i] == 0 && hidden[5 * 8 + i] == 0, "hidden state of nothing");
	CHECK(rows_equal(hidden + 8, hidden + 2 * 8, 8), "hidden state of a long history");
	check_end();

	check_begin("%s: only empty histories", model);
	batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 1, begin, end, 12);
	fmoe_score(loaded, FMOE_MAIN, check_arena(), batch, single);
	for (i = 0; i < ITEMS; i++)
		CHECK(single[i] == popularity[i], "item %d", i);
	check_end();
}

/* ---------------------------------------------------------------- count experts */

/* Four users over five items; item 4 is chosen by nobody. */
static const int64_t count_offset[] = {0, 4, 8, 10, 11};
static const int32_t count_item[] = {0, 1, 0, 2, 0, 1, 0, 1, 3, 1, 0};
static const double count_time[] = {0, 86400, 172800, 172800, 0, 0, 0, 0, 0, 86400, 172800};
static const FmoeDataset count_data = {.n_users = 4, .n_events = 11, .n_items = 5, .offset = count_offset,
.events = {.item = count_item, .time = count_time}};

static void
check_counts(void)
{
	/* transitions 0>1 1>0 0>2 | 0>1 1>0 0>1 | 3>1 */
	static const int64_t offset[] = {0, 2, 3, 3, 4, 4};
	static const int32_t to[] = {1, 2, 0, 1};
	static const float count[] = {3, 1, 2, 1};
	static const float plain[] = {5, 4, 1, 1, 0};
	static const float decayed[] = {0.25 + 1 + 0.25 + 0.25 + 1, 0.5 + 0.25 + 0.25 + 0.5, 1, 0.25, 0};
	FmoeConfig	config = small_config("markov", 4, 1, 1, 10);
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const FnnArray *array = model->array[FMOE_MARKOV];
	const float *weight;
	int			i;

	check_begin("popularity counts events, half as much a half-life ago");
	config.half_life_days = 0;
	fmoe_count_experts(model, check_arena(), &config, &count_data);
	weight = model->expert[FMOE_POPULARITY].array[0].data;
	for (i = 0; i < 5; i++)
		CHECK(weight[i] == plain[i], "item %d: %g instead of %g", i, weight[i], plain[i]);
	config.half_life_days = 1;
	fmoe_count_experts(model, check_arena(), &config, &count_data);
	weight = model->expert[FMOE_POPULARITY].array[0].data;
	for (i = 0; i < 5; i++)
		CHECK(check_close(weight[i], decayed[i], 1e-6), "item %d: %g instead of %g", i, weight[i], decayed[i]);
	check_end();

	check_begin("transitions are counted into sorted rows");
	CHECK(array[1].shape[0] == 4 && array[2].shape[0] == 4, "%d entries", (int) array[1].shape[0]);
	for (i = 0; i < 6; i++)
		CHECK(((int64_t *) array[0].data)[i] == offset[i], "offset %d", i);
	for (i = 0; i < 4; i++)
		CHECK(((int32_t *) array[1].data)[i] == to[i] && ((float *) array[2].data)[i] == count[i], "entry %d", i);
	CHECK(model->expert[FMOE_MAIN].class == model->expert[FMOE_MARKOV].class, "the main expert is the same one");
	check_end();
}

static void
check_markov_scores(void)
{
	/* best first; nothing follows 2 and 4: popularity order */
	static const int32_t expected[][5] = {
		{1, 2, 0, 3, 4}, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, {1, 0, 2, 3, 4}, {0, 1, 2, 3, 4}
	};
	FmoeConfig	config = small_config("markov", 4, 1, 1, 10);
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	int32_t		last;
	int			i;

	check_begin("Markov ranks by transitions, then by popularity");
	fmoe_count_experts(model, check_arena(), &config, &count_data);
	for (last = 0; last < 5; last++)
	{
		const int32_t history[] = {3, last};
		const int64_t begin = 0;
		const int64_t end = 2;
		fnn_real	score[5];
		int32_t		item[5];
		fnn_real	best[5];
		FnnTopk		topk;

		fmoe_score(model, FMOE_MAIN, check_arena(),
				   fmoe_batch(check_arena(), &(FmoeEvents) {.item = history}, 1, &begin, &end, 10), score);
		fnn_topk_init(&topk, 5, item, best);
		fnn_topk_offer(&topk, 0, 5, score);
		fnn_topk_sort(&topk);
		for (i = 0; i < 5; i++)
			CHECK(item[i] == expected[last][i], "after item %d place %d: item %d", last, i, item[i]);
	}
	check_end();
}

static void
check_holdout_counts(void)
{
	FmoeConfig	config = small_config("popularity", 4, 1, 1, 10);
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const float *weight;

	check_begin("count experts do not see events that are held back");
	config.holdout = FMOE_HOLDOUT_TEST;
	fmoe_count_experts(model, check_arena(), &config, &count_data);
	weight = model->expert[FMOE_MAIN].array[0].data;
	CHECK(weight[0] == 3 && weight[1] == 3 && weight[2] == 0 && weight[3] == 1,
		  "the last two of long histories are gone");
	CHECK(((int64_t *) model->expert[FMOE_MARKOV].array[0].data)[5] == 2, "transitions of what is left: 0>1 and 3>1");
	check_end();
}

/* ---------------------------------------------------------------- arrays of a version */

typedef struct Stored
{
	FmoeConfig	config;
	int			n;
	FnnArray	array[64];
} Stored;

static void
bind_stored(void *context)
{
	Stored	   *stored = context;
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));

	fmoe_model_bind(model, check_host(), &stored->config, 5, stored->n, stored->array);
}

static FnnArray *
stored_array(Stored *stored, const char *name)
{
	int			i;

	for (i = 0; i < stored->n - 1 && strcmp(stored->array[i].name, name) != 0; i++)
		;
	CHECK(strcmp(stored->array[i].name, name) == 0, "array \"%s\" is stored", name);
	return &stored->array[i];
}

/* One user's baskets: {0 1 2} {0 1} {0 1} {3} {2 3}, the first with item 0 twice; another's are of one item each. */
static void
check_together(void)
{
	static const int32_t item[] = {0, 0, 1, 2, 0, 1, 0, 1, 3, 2, 3, 0, 4};
	static const int32_t basket[] = {1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5, 1, 2};
	static const int64_t offset[] = {0, 11, 13};
	FmoeDataset data = {
		.n_users = 2, .n_events = 13, .n_items = 5, .offset = offset,
		.events = {.item = item, .basket = basket}
	};
	FmoeConfig	config = small_config("popularity", 4, 1, 1, 10);
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	int32_t		given[] = {0, 3};
	fnn_real	score[5];
	int32_t		best[5];
	FnnTopk		topk;
	FmoeEligible all = {0};
	Stored		stored = {0};

	check_begin("pairs of a basket are counted once, and scored by their lift");
	config.holdout = FMOE_HOLDOUT_NONE;
	fmoe_count_experts(model, check_arena(), &config, &data);
	CHECK(!fmoe_has_together(&model->together), "they are counted only when asked for");
	fmoe_count_together(model, check_arena(), &data);
	CHECK(fmoe_has_together(&model->together), "they are there");
	CHECK(fmoe_together_baskets(&model->together, 1, given, 1) == 3, "0 with 1");
	CHECK(fmoe_together_baskets(&model->together, 1, given, 2) == 1, "0 with 2");
	CHECK(fmoe_together_baskets(&model->together, 1, given, 3) == 0, "0 with 3");
	CHECK(fmoe_together_baskets(&model->together, 2, given, 2) == 2, "0 and 3 with 2");
	fmoe_together_scores(&model->together, 2, given, score);
	/* of 7 baskets 4 have item 0, 3 item 1, 2 item 2, 2 item 3 */
	CHECK(fabs(score[1] - log((3 + 5) / (4 * 3 / 7.0 + 5))) < 1e-6, "1: %g", score[1]);
	CHECK(fabs(score[2] - log((1 + 5) / (4 * 2 / 7.0 + 5)) - log((1 + 5) / (2 * 2 / 7.0 + 5))) < 1e-6,
		  "2: %g", score[2]);
	CHECK(isnan(score[4]), "4 was never in a basket with another item");
	fnn_topk_init(&topk, 5, best, score);
	fmoe_best_together(model, check_arena(), 2, given, &all, &topk);
	fnn_topk_sort(&topk);
	CHECK(topk.count == 2 && topk.item[0] == 1 && topk.item[1] == 2, "1, then 2, and none of those given");
	stored.config = config;
	stored.n = fmoe_model_arrays(model, stored.array, 64);
	((int64_t *) stored_array(&stored, "together.offset")->data)[1] = 1000000000;
	check_fails(FNN_FORMAT, "\"together.offset\" is not ascending", bind_stored, &stored);
	check_end();

	check_begin("where nothing happened at once, no item has a partner");
	data.events.basket = NULL;
	fmoe_count_together(model, check_arena(), &data);
	CHECK(fmoe_has_together(&model->together), "that is counted, too");
	CHECK(fmoe_together_baskets(&model->together, 1, given, 1) == 0, "0 with 1");
	fmoe_together_scores(&model->together, 2, given, score);
	CHECK(isnan(score[0]) && isnan(score[1]) && isnan(score[4]), "no item is a partner");
	CHECK(model->together.array[0].shape[0] == 1 && model->together.array[3].shape[0] == 1, "no rows");
	check_end();
}

/* An item has no more than FMOE_PARTNERS_MAX partners, and a basket no more items than that. */
static void
check_together_bounds(void)
{
	enum
	{
		ITEMS = 600
	};
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * 2 * ITEMS);
	int32_t    *basket = fnn_zalloc(check_arena(), sizeof(int32_t) * 2 * ITEMS);
	int64_t		offset[] = {0, ITEMS, 2 * ITEMS};
	FmoeDataset data = {
		.n_users = 2, .n_events = 2 * ITEMS, .n_items = ITEMS, .offset = offset,
		.events = {.item = item, .basket = basket}
	};
	FmoeConfig	config = small_config("popularity", 4, 1, 1, 10);
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const int64_t *row;
	const int64_t *with;
	int64_t		most = 0;
	int64_t		sum = 0;

	check_begin("large baskets and many partners are cut");
	for (int i = 0; i < 2 * ITEMS; i++)
		item[i] = i % ITEMS;
	config.holdout = FMOE_HOLDOUT_NONE;
	fmoe_count_experts(model, check_arena(), &config, &data);
	fmoe_count_together(model, check_arena(), &data);
	row = model->together.array[0].data;
	with = model->together.array[3].data;
	for (int i = 0; i < ITEMS; i++)
	{
		most = row[i + 1] - row[i] > most ? row[i + 1] - row[i] : most;
		sum += with[i];
	}
	CHECK(most == FMOE_PARTNERS_MAX, "%lld partners", (long long) most);
	CHECK(sum == 2 * 256 && with[ITEMS] == 2, "%lld items in baskets", (long long) sum);
	CHECK((double) row[ITEMS] * 2 * sizeof(int32_t) <= fmoe_together_bytes(&data), "the estimate is not too low");
	check_end();
}

static void
check_binding(void)
{
	const int64_t begin = 0;
	const int64_t end = 4;
	Stored	   *stored = fnn_zalloc(check_arena(), sizeof(Stored));
	FmoeModel  *model;
	FmoeModel  *bound = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeBatch  *batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = count_item}, 1, &begin, &end, 10);
	fnn_real	expected[5];
	fnn_real	score[5];
	FnnArray   *array;
	FnnArray	kept;
	int			slot;

	stored->config = small_config("sasrec", 4, 1, 1, 10);
	model = check_model(&stored->config, &count_data, (uint64_t) stored->config.seed, 0.3, false);
	stored->n = fmoe_model_arrays(model, stored->array, 64);

	check_begin("a model bound to its own arrays scores as before");
	CHECK(stored->n == 1 + 4 + 2 + 14 + 2 + 1, "%d arrays", stored->n);
	fmoe_model_bind(bound, check_host(), &stored->config, 5, stored->n, stored->array);
	for (slot = 0; slot < FMOE_SLOTS; slot++)
	{
		fmoe_score(model, slot, check_arena(), batch, expected);
		fmoe_score(bound, slot, check_arena(), batch, score);
		CHECK(memcmp(expected, score, sizeof(score)) == 0, "slot %d", slot);
	}
	check_end();

	check_begin("arrays that do not fit are refused by name");
	array = stored_array(stored, "position.weight");
	kept = *array;
	array->shape[0]--;
	check_fails(FNN_FORMAT, "\"position.weight\" does not have the shape 10 x 4", bind_stored, stored);
	*array = kept;
	array->dtype = FNN_I32;
	check_fails(FNN_FORMAT, "\"position.weight\" has type I32", bind_stored, stored);
	*array = kept;
	array->bytes--;
	check_fails(FNN_FORMAT, "\"position.weight\" has", bind_stored, stored);
	*array = kept;
	strcpy(array->name, "elsewhere");
	check_fails(FNN_FORMAT, "\"position.weight\" is missing", bind_stored, stored);
	*array = kept;

	array = stored_array(stored, "markov.item");
	((int32_t *) array->data)[1] = 5;
	check_fails(FNN_FORMAT, "\"markov.item\" holds an item out of range", bind_stored, stored);
	((int32_t *) array->data)[1] = -1;
	check_fails(FNN_FORMAT, "\"markov.item\" holds an item out of range", bind_stored, stored);
	((int32_t *) array->data)[1] = 2;
	array = stored_array(stored, "markov.offset");
	((int64_t *) array->data)[2] = 1000;
	check_fails(FNN_FORMAT, "\"markov.offset\" is not ascending", bind_stored, stored);
	((int64_t *) array->data)[2] = 3;
	((int64_t *) array->data)[0] = -1;
	check_fails(FNN_FORMAT, "\"markov.offset\" does not span", bind_stored, stored);
	((int64_t *) array->data)[0] = 0;
	array = stored_array(stored, "popularity.weight");
	array->shape[0] = 4;
	array->bytes = 4 * sizeof(float);
	check_fails(FNN_FORMAT, "\"popularity.weight\" has 4 values", bind_stored, stored);
	array->ndim = 2;
	check_fails(FNN_FORMAT, "has 2 dimensions", bind_stored, stored);
	check_end();
}

static void
check_registry(void)
{
	int			i;

	check_begin("every class has its name in the option's choices, items first and local");
	for (i = 0; fmoe_expert_classes[i] != NULL; i++)
	{
		const FmoeExpertClass *class = fmoe_expert_classes[i];
		FmoeConfig	config = small_config(class->name, 8, 2, 2, 5);
		FmoeExpert *expert;
		int			p;

		/* of a class with two names, the first is its own */
		CHECK((strcmp(class->name, fmoe_expert_names[i]) == 0) == (fmoe_expert_number(class) == i),
			  "choice %d is \"%s\"", i, fmoe_expert_names[i]);
		CHECK(fmoe_expert_class(class->name) == class, "\"%s\" is found", class->name);
		if (fmoe_only_counts(class) || fmoe_computes_items(class, &config))
			continue;
		expert = make_expert(&config, 9, false);
		CHECK(expert->tensor[0].rows == 9 && expert->tensor[0].cols == 8, "item table of \"%s\"", class->name);
		for (p = 0; p < expert->params->count; p++)
		{
			bool		local = p == 0 || strncmp(expert->params->list[p].name, "gate.", 5) == 0;

			CHECK((expert->params->list[p].share == FNN_LOCAL) == local, "share of slice %d of \"%s\"", p,
				  class->name);
		}
	}
	CHECK(fmoe_expert_names[i] == NULL, "as many names as classes");
	CHECK(fmoe_expert_class("nobody") == NULL, "an unknown name");
	check_end();
}

void
check_experts(void)
{
	check_registry();
	check_golden(golden_sasrec);
	check_golden(golden_gru4rec);
	check_model_gradients("sasrec", 1);
	check_model_gradients("sasrec", 2);
	check_model_gradients("gru4rec", 1);
	check_encoder("sasrec");
	check_encoder("gru4rec");
	check_histories("sasrec");
	check_histories("gru4rec");
	check_counts();
	check_markov_scores();
	check_holdout_counts();
	check_together();
	check_together_bounds();
	check_binding();
}

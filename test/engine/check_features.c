/*
 * check_features.c
 *	  What is learned from features: their rows of numbers, the operations on them,
 *	  and sasrec and gru4rec over item vectors that are made of them.
 */
#include "check.h"

#include "model/data/dense.h"
#include "model/fmoe/fmoe.h"
#include "nn/base/tape_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

/* ---------------------------------------------------------------- features of items */

/* A bag of one word each. */
static FmoeFeature
bag_of(FmoeModality modality, const char *name, int64_t n, int32_t n_terms, uint64_t seed)
{
	FmoeFeature feature = {.modality = modality, .width = n_terms};
	FnnArena   *arena = check_arena();
	int64_t    *offset = fnn_zalloc(arena, sizeof(int64_t) * (size_t) (n + 1));
	int32_t    *term = fnn_alloc(arena, sizeof(int32_t) * (size_t) (n * n_terms));
	float	   *weight = fnn_alloc(arena, sizeof(float) * (size_t) (n * n_terms));
	float	   *scale = fnn_alloc(arena, sizeof(float) * (size_t) n_terms);
	int64_t    *name_offset = fnn_zalloc(arena, sizeof(int64_t) * (size_t) (n_terms + 1));
	char	   *bytes = fnn_alloc(arena, (size_t) n_terms * 4 + 1);
	int64_t		k = 0;

	strcpy(feature.name, name);
	/* every fifth item has none, the others about a third of the terms */
	for (int64_t i = 0; i < n; i++)
	{
		for (int32_t t = 0; i % 5 != 4 && t < n_terms; t++)
			if (t == i % n_terms || fnn_random_uniform(seed, 1, (uint64_t) (i * n_terms + t)) < 0.3)
			{
				weight[k] = (float) (1 + fnn_random_uniform(seed, 2, (uint64_t) k));
				term[k++] = t;
			}
		offset[i + 1] = k;
	}
	for (int32_t t = 0; t < n_terms; t++)
	{
		scale[t] = 0.5f + (float) t / (float) n_terms;
		sprintf(bytes + 4 * t, "w%03d", (int) t);
		name_offset[t + 1] = 4 * (t + 1);
	}
	feature.offset = offset;
	feature.term = term;
	feature.scale = modality == FMOE_TEXT ? scale : NULL;
	feature.weight = modality == FMOE_TEXT ? weight : NULL;
	feature.name_offset = name_offset;
	feature.name_bytes = bytes;
	return feature;
}

static FmoeFeature
dense_of(FmoeModality modality, const char *name, int64_t n, int32_t width, uint64_t seed)
{
	FmoeFeature feature = {.modality = modality, .width = width};
	float	   *value = fnn_alloc(check_arena(), sizeof(float) * (size_t) (n * width));

	strcpy(feature.name, name);
	for (int64_t i = 0; i < n * width; i++)
		value[i] = i / width % 7 == 3 ? NAN : (float) fnn_random_uniform(seed, 3, (uint64_t) i);
	feature.value = value;
	return feature;
}

FmoeFeatures *
check_item_features(int32_t n_items)
{
	FmoeFeatures *features = fnn_zalloc(check_arena(), sizeof(FmoeFeatures));

	features->n = n_items;
	features->count = 4;
	features->feature[0] = bag_of(FMOE_CATEGORY, "category_1", n_items, 5, 1);
	features->feature[1] = dense_of(FMOE_PRICE, "price", n_items, 2, 2);
	features->feature[2] = bag_of(FMOE_TEXT, "text", n_items, 20, 3);
	features->feature[3] = dense_of(FMOE_VECTOR, "vector_1", n_items, 6, 4);
	return features;
}

/* ---------------------------------------------------------------- rows of numbers */

static void
check_signs(const char *word, const char *first, int sum)
{
	int64_t		offset[] = {0, 1};
	int32_t		term[] = {0};
	int64_t		name_offset[] = {0, (int64_t) strlen(word)};
	FmoeFeature text = {.modality = FMOE_TEXT, .width = 1, .offset = offset, .term = term, .name_offset = name_offset,
		.name_bytes = word};
	fnn_real	x[FMOE_TEXT_SIGNS];
	double		total = 0;

	fmoe_dense_rows(&text, NULL, 0, 1, x);
	for (int c = 0; c < FMOE_TEXT_SIGNS; c++)
	{
		double		sign = (double) x[c] * sqrt(FMOE_TEXT_SIGNS);

		CHECK(check_close(fabs(sign), 1, 1e-6), "number %d of \"%s\" is %g", c, word, sign);
		CHECK(c >= (int) strlen(first) || (sign > 0) == (first[c] == '+'), "sign %d of \"%s\"", c, word);
		total += sign;
	}
	CHECK(check_close(total, sum, 1e-4), "the signs of \"%s\" sum up to %g", word, total);
}

/* Row i of a text as the definition says it. */
static void
plain_text(const FmoeFeature *text, int64_t i, double *x)
{
	double		squares = 0;

	memset(x, 0, sizeof(double) * FMOE_TEXT_SIGNS);
	for (int64_t k = text->offset[i]; k < text->offset[i + 1]; k++)
	{
		int32_t		t = text->term[k];
		int64_t		offset[] = {0, 1};
		int32_t		term[] = {0};
		int64_t		name_offset[] = {0, text->name_offset[t + 1] - text->name_offset[t]};
		FmoeFeature word = {.modality = FMOE_TEXT, .width = 1, .offset = offset, .term = term,
			.name_offset = name_offset, .name_bytes = text->name_bytes + text->name_offset[t]};
		fnn_real	signs[FMOE_TEXT_SIGNS];

		fmoe_dense_rows(&word, NULL, 0, 1, signs);
		for (int c = 0; c < FMOE_TEXT_SIGNS; c++)
			x[c] += (double) text->weight[k] * (double) text->scale[t] * (signs[c] > 0 ? 1 : -1);
	}
	for (int c = 0; c < FMOE_TEXT_SIGNS; c++)
		squares += x[c] * x[c];
	for (int c = 0; c < FMOE_TEXT_SIGNS; c++)
		x[c] /= squares > 0 ? sqrt(squares) : 1;
}

static void
check_rows(void)
{
	FmoeFeatures *features = check_item_features(12);
	const FmoeFeature *category = &features->feature[0];
	const FmoeFeature *price = &features->feature[1];
	const FmoeFeature *text = &features->feature[2];
	const FmoeFeature *vector = &features->feature[3];
	static const int32_t some[] = {3, 11, 3, 0};
	fnn_real   *x = fnn_alloc_reals(check_arena(), 12, FMOE_TEXT_SIGNS);
	double	   *plain = fnn_alloc(check_arena(), sizeof(double) * FMOE_TEXT_SIGNS);
	double		squares;

	check_begin("signs of words are those of the recipe");
	check_signs("shampoo", "-++-------+-+++-", 16);
	check_signs("36", "", 32);
	check_end();

	check_begin("features as rows of numbers, zeros where nothing is known");
	CHECK(fmoe_dense_width(category) == 0 && fmoe_dense_width(price) == 3 && fmoe_dense_width(text) == 512 &&
		  fmoe_dense_width(vector) == 6, "widths");
	fmoe_dense_rows(text, NULL, 0, 12, x);
	for (int64_t i = 0; i < 12; i++)
	{
		plain_text(text, i, plain);
		for (int c = 0; c < FMOE_TEXT_SIGNS; c++)
			CHECK(check_close(x[i * FMOE_TEXT_SIGNS + c], plain[c], 1e-6), "item %d number %d", (int) i, c);
	}
	CHECK(x[4 * FMOE_TEXT_SIGNS] == 0 && x[9 * FMOE_TEXT_SIGNS + 511] == 0 && x[0] != 0, "items without words");
	fmoe_dense_rows(price, some, 0, 4, x);
	CHECK(x[0] == 0 && x[1] == 0 && x[2] == 0 && x[8] == 0, "an unknown price");
	CHECK(check_close(x[3], 0.1 * (double) price->value[22], 1e-6) && x[4] == price->value[23] && x[5] == 1 &&
		  x[11] == 1, "known prices");
	fmoe_dense_rows(vector, NULL, 3, 2, x);
	squares = 0;
	for (int c = 0; c < 6; c++)
		squares += (double) vector->value[24 + c] * vector->value[24 + c];
	for (int c = 0; c < 6; c++)
		CHECK(x[c] == 0 && check_close(x[6 + c], vector->value[24 + c] / sqrt(squares), 1e-6), "vector");
	check_end();
}

/* The same features with their vectors times a number. */
static FmoeFeatures *
scaled(const FmoeFeatures *features, float factor)
{
	FmoeFeatures *copy = fnn_alloc(check_arena(), sizeof(FmoeFeatures));
	FmoeFeature *vector = &copy->feature[3];
	int64_t		n = (int64_t) features->n * features->feature[3].width;
	float	   *value = fnn_alloc(check_arena(), sizeof(float) * (size_t) n);

	*copy = *features;
	for (int64_t i = 0; i < n; i++)
		value[i] = factor * vector->value[i];
	vector->value = value;
	return copy;
}

static void
check_scaled_rows(void)
{
	static const float factors[] = {1000, 1e30f, 1e-18f};
	FmoeFeatures *features = check_item_features(12);
	fnn_real	x[12 * 6];
	fnn_real	other[12 * 6];

	check_begin("a vector is read at length 1, whatever the scale of its column");
	fmoe_dense_rows(&features->feature[3], NULL, 0, 12, x);
	for (int k = 0; k < 3; k++)
	{
		fmoe_dense_rows(&scaled(features, factors[k])->feature[3], NULL, 0, 12, other);
		for (int i = 0; i < 12 * 6; i++)
			CHECK(check_close(other[i], x[i], 1e-5), "times %g number %d is %g", (double) factors[k], i,
				  (double) other[i]);
	}
	check_end();
}

/* A power of 2, with which no number is rounded otherwise. */
static void
check_scaled_vectors(const char *model)
{
	FmoeConfig	config = check_config(model);
	FmoeDataset *data = check_walks_for(&config, 30, 40, 3, 9, 7);
	FmoeFeatures *as_they_are = (FmoeFeatures *) data->features;
	FmoeTrainer *first;

	check_begin("%s learns the same from vectors 1024 times as long", model);
	config.epochs = 1;
	first = check_finish_run(&config, data);
	data->features = scaled(as_they_are, 1024);
	check_compare_runs(first, check_finish_run(&config, data), "1024 times");
	check_end();
}

/* ---------------------------------------------------------------- operations */

typedef struct Made
{
	FnnMaker	maker;
	double		dropout;
} Made;

/* Row r of a matrix that is nowhere. */
static void
make_random(const void *context, int64_t first, int64_t n, fnn_real *x)
{
	int64_t		width = *(const int64_t *) context;

	for (int64_t i = 0; i < n * width; i++)
		x[i] = (fnn_real) fnn_random_normal(5, 0, (uint64_t) (first * width + i));
}

/* inputs: base, weight */
static void
run_project(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Made *made = context;

	check_loss(tape, fnn_project(tape, inputs[0], &made->maker, inputs[1], made->dropout));
}

static void
check_project(int64_t rows, int64_t width, int64_t out, double dropout)
{
	FnnTensor  *inputs[] = {check_tensor(1, rows, out), check_tensor(2, out, width)};
	Made		made = {{width, make_random, &width}, dropout};
	fnn_real   *x = fnn_alloc_reals(check_arena(), rows, width);
	fnn_real   *mask = fnn_alloc_reals(check_arena(), rows, width);
	FnnDropout	draw;
	FnnTensor  *y;
	FnnTape		tape;

	check_begin("a map of %d made rows of %d numbers to %d, dropout %g", (int) rows, (int) width, (int) out, dropout);
	make_random(&width, 0, rows, x);
	fnn_tape_begin(&tape, check_arena(), true, 12345, 67);
	draw = fnn_dropout_draw(&tape, dropout);
	fnn_dropout_mask(&draw, 0, rows * width, mask);
	fnn_tape_begin(&tape, check_arena(), true, 12345, 67);
	y = fnn_project(&tape, inputs[0], &made.maker, inputs[1], dropout);
	for (int64_t r = 0; r < rows; r++)
		for (int64_t o = 0; o < out; o++)
		{
			double		sum = inputs[0]->value[r * out + o];

			for (int64_t c = 0; c < width; c++)
				sum += (double) x[r * width + c] * (double) mask[r * width + c] *
					(double) inputs[1]->value[o * width + c];
			CHECK(check_close(y->value[r * out + o], sum, EXACT), "row %d column %d: %g instead of %g", (int) r,
				  (int) o, (double) y->value[r * out + o], sum);
		}
	if (rows < 100)
		check_gradients(2, inputs, run_project, &made);
	if (rows < 100 && dropout == 0)
		check_operation(2, inputs, run_project, &made);
	check_end();
}

typedef struct Bags
{
	FnnGraph	graph;
	const int32_t *id;
	int64_t		n;
	double		dropout;
} Bags;

static void
run_bags(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Bags *bags = context;

	check_loss(tape, fnn_neighbours(tape, inputs[0], &bags->graph, bags->id, bags->n, bags->dropout));
}

static void
check_means_of_bags(void)
{
	FmoeFeature category = bag_of(FMOE_CATEGORY, "category_1", 9, 4, 8);
	FnnTensor  *table = check_tensor(1, 4, 3);
	Bags		bags = {{.rows = 9, .offset = category.offset, .to = category.term},
		check_numbers(3, 20, 9, false), 20, 0};
	FnnTensor  *y;
	FnnTape		tape;

	check_begin("bags without weights are means of rows, and nothing where they are empty");
	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	y = fnn_neighbours(&tape, table, &bags.graph, bags.id, bags.n, 0);
	for (int64_t i = 0; i < bags.n; i++)
		for (int64_t c = 0; c < 3; c++)
		{
			int64_t		first = category.offset[bags.id[i]];
			int64_t		end = category.offset[bags.id[i] + 1];
			double		sum = 0;

			for (int64_t k = first; k < end; k++)
				sum += table->value[category.term[k] * 3 + c];
			CHECK(check_close(y->value[i * 3 + c], end > first ? sum / (double) (end - first) : 0, EXACT), "row %d",
				  (int) i);
		}
	check_gradients(1, &table, run_bags, &bags);
	bags.dropout = 0.3;
	check_gradients(1, &table, run_bags, &bags);
	check_end();
}

/* ---------------------------------------------------------------- models */

/* Baskets of two. */
static const int32_t *
pairs_of_events(int64_t n)
{
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) n);

	for (int64_t i = 0; i < n; i++)
		basket[i] = (int32_t) (i / 2);
	return basket;
}

FmoeDataset *
check_walks_for(const FmoeConfig *config, int64_t n_users, int32_t n_items, int64_t shortest, int64_t longest,
				uint64_t seed)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	FmoeDataset *data = check_walks(n_users, n_items, shortest, longest, seed);

	if (fmoe_reads(class, config) & FMOE_READS_TEXT)
		data->features = check_item_features(n_items);
	if (fmoe_reads(class, config) & FMOE_READS_LABELS)
		check_impressions(data, seed);
	if (class->draws_baskets != NULL && class->draws_baskets(config))
		data->events.basket = pairs_of_events(data->n_events);
	return data;
}

FmoeConfig
check_featured_config(const char *model, double id_dropout)
{
	FmoeConfig	config = check_config(model);
	FmoeFeaturedOptions featured = {true, id_dropout};
	FmoeMixtureOptions mixture = {.gate = FMOE_GATE_LINEAR, .featured = featured};

	if (strcmp(model, "fmoe") == 0)
		memcpy(config.own.bytes, &mixture, sizeof(mixture));
	else
		check_tower(&config)->featured = featured;
	return config;
}

static void
check_parameters(const char *model)
{
	FmoeConfig	plain = check_config(model);
	FmoeConfig	config = check_featured_config(model, 0);
	FmoeFacts	facts = {.n_items = 12, .features = check_item_features(12)};
	const FmoeExpertClass *class = fmoe_expert_class(model);
	static const char *const names[] = {"item.category_1.weight", "item.price.weight", "item.text.weight",
	"item.vector_1.weight"};
	static const int shapes[][2] = {{5, 16}, {16, 3}, {16, 512}, {16, 6}};
	FnnParams	without = {0};
	FnnParams	with = {0};

	check_begin("parameters of %s with features: behind the others, and they do not leave", model);
	fmoe_declare_class(&without, check_host(), class, &plain, &facts);
	fmoe_declare_class(&with, check_host(), class, &config, &facts);
	CHECK(with.count == without.count + 4, "%d parameters, without features %d", with.count, without.count);
	for (int i = 0; i < without.count; i++)
		CHECK(memcmp(&with.list[i], &without.list[i], sizeof(FnnParam)) == 0, "\"%s\" differs", without.list[i].name);
	for (int i = 0; i < 4; i++)
	{
		const FnnParam *param = &with.list[without.count + i];

		CHECK(strcmp(param->name, names[i]) == 0 && param->rows == shapes[i][0] && param->cols == shapes[i][1],
			  "\"%s\" [%d, %d]", param->name, (int) param->rows, (int) param->cols);
		CHECK(param->share == FNN_LOCAL && param->group == FNN_ITEMS && param->decay, "marks of \"%s\"", param->name);
	}
	fnn_params_free(&with, check_host());
	fnn_params_free(&without, check_host());
	check_end();
}

typedef struct Problem
{
	const FmoeExpert *expert;
	const FmoeBatch *batch;
	bool		gbce;
} Problem;

static const int32_t walked[] = {1, 4, 1, 0, 2, 3, 5, 1, 2};
static const int64_t walk_offset[] = {0, 4, 5, 9};
static const double walk_time[] = {1, 2, 3, 4, 1, 1, 2, 3, 4};

static void
run_problem(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	static const int32_t target[] = {4, 1, 0, -1, 3, 5, 1, 2, 7};
	static const int32_t negative[] = {0, 3, 6, 2};
	const Problem *problem = context;
	FmoeGoal	goal = {.target = target, .weight = 0.3, .position_weight = 0.1, .sequence_weight = 0.3, .step = 1,
		.seed = 7, .stream = 3};

	if (problem->gbce)
	{
		goal.n_negatives = 4;
		goal.negative = negative;
		goal.beta = fnn_gbce_beta(problem->expert->n_items, 4, 0.75);
	}
	problem->expert->class->learn(problem->expert, tape, problem->batch, &goal);
}

/* A model over the walks, of which items 6 .. 8 have no event. */
static FmoeModel *
featured_model(const FmoeConfig *config, bool with_grad)
{
	FmoeDataset *data = fnn_zalloc(check_arena(), sizeof(FmoeDataset));

	data->n_users = 3;
	data->n_events = 9;
	data->n_items = 9;
	data->offset = walk_offset;
	data->events.item = walked;
	data->events.time = walk_time;
	data->features = check_item_features(9);
	return check_model(config, data, 7, 0.1, with_grad);
}

static void
check_model_gradients(const char *model, double id_dropout)
{
	FmoeConfig	config = check_featured_config(model, id_dropout);

	config.width = 4;
	config.dropout = 0.2;
	for (int gbce = 0; gbce < 2; gbce++)
	{
		FmoeModel  *made = featured_model(&config, true);
		FmoeExpert *expert = &made->expert[FMOE_MAIN];
		Problem		problem = {.expert = expert, .gbce = gbce == 1};
		FnnTensor **inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) expert->params->count);

		check_begin("gradients of %s with features, %s, id dropout %g", model, gbce ? "gbce" : "softmax", id_dropout);
		problem.batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = walked}, 3, walk_offset, walk_offset + 1, 5);
		for (int i = 0; i < expert->params->count; i++)
			inputs[i] = &expert->tensor[i];
		check_gradients(expert->params->count, inputs, run_problem, &problem);
		check_end();
	}
}

static const fnn_real *
row_of(const FnnTensor *table, int64_t row)
{
	return table->value + row * table->cols;
}

/* v = e + sum of W x and means of rows. */
static void
check_vectors(void)
{
	FmoeConfig	config = check_featured_config("sasrec", 0.5);
	FmoeModel  *model = featured_model(&config, false);
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	const FmoeFeatures *features = check_item_features(9);
	int			first = expert->params->count - 4;
	fnn_real	x[FMOE_TEXT_SIGNS];

	check_begin("an item's vector is its row and what its features add");
	CHECK(model->items.rows == 9 && model->items.cols == 16, "shape");
	for (int i = 0; i < 9; i++)
		for (int c = 0; c < 16; c++)
		{
			const FmoeFeature *category = &features->feature[0];
			int64_t		n = category->offset[i + 1] - category->offset[i];
			double		sum = expert->tensor[0].value[i * 16 + c];

			for (int64_t k = 0; k < n; k++)
				sum += row_of(&expert->tensor[first], category->term[category->offset[i] + k])[c] / (double) n;
			for (int f = 1; f < 4; f++)
			{
				int64_t		width = fmoe_dense_width(&features->feature[f]);

				fmoe_dense_rows(&features->feature[f], NULL, i, 1, x);
				for (int64_t k = 0; k < width; k++)
					sum += (double) x[k] * (double) expert->tensor[first + f].value[c * width + k];
			}
			CHECK(check_close(model->items.value[i * 16 + c], sum, EXACT), "item %d number %d: %g instead of %g", i, c,
				  (double) model->items.value[i * 16 + c], sum);
		}
	check_end();
}

/* ---------------------------------------------------------------- training */

#define PLACES 60

/*
 * Users walk along a circle; what is known of an item says where it lies.  Items
 * behind those have no event: a second one at every sixth place.
 */
static FmoeDataset *
circle(int32_t cold)
{
	FmoeDataset *data = check_walks(150, PLACES, 6, 12, 21);
	int32_t    *item = (int32_t *) data->events.item;
	FmoeFeatures *features = fnn_zalloc(check_arena(), sizeof(FmoeFeatures));
	int32_t		n_items = PLACES + cold;
	float	   *value = fnn_alloc(check_arena(), sizeof(float) * (size_t) n_items * 6);

	for (int64_t u = 0; u < data->n_users; u++)
		for (int64_t e = data->offset[u] + 1; e < data->offset[u + 1]; e++)
			item[e] = (int32_t) ((item[e - 1] + 1 + fnn_random_below(5, 6, (uint64_t) e, 2)) % PLACES);
	for (int i = 0; i < n_items; i++)
		for (int c = 0; c < 6; c++)
		{
			int			place = i < PLACES ? i : (i - PLACES) * 6;

			value[i * 6 + c] = (float) (c % 2 == 0 ? cos((c / 2 + 1) * place * 2 * M_PI / PLACES)
										: sin((c / 2 + 1) * place * 2 * M_PI / PLACES));
		}
	features->n = n_items;
	features->count = 1;
	features->feature[0] = (FmoeFeature) {.name = "vector_1", .modality = FMOE_VECTOR, .width = 6, .value = value};
	data->n_items = n_items;
	data->features = features;
	return data;
}

/* Bound to its own arrays, it scores and is scanned the same. */
static void
check_bound(const FmoeModel *model, const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeModel  *bound = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FnnArray   *array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) fmoe_model_arrays_max(model));
	int			n = fmoe_model_arrays(model, array, fmoe_model_arrays_max(model));
	FmoeBatch  *batch = fmoe_batch(check_arena(), &data->events, 1, &data->offset[3], &data->offset[4],
								   config->max_length);
	FmoeEligible all = {0};
	fnn_real   *score = fnn_alloc_reals(check_arena(), 2, data->n_items);
	fnn_real   *again = score + data->n_items;
	int32_t    *every = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_items);
	int32_t		best[5];
	fnn_real	best_score[5];
	FnnTopk		topk;

	fmoe_model_bind(bound, check_host(), config, data->n_items, n, array);
	fmoe_scan_build(bound, check_arena(), fnn_alloc(check_arena(), fmoe_scan_bytes(bound)));
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
	fmoe_score(bound, FMOE_MAIN, check_arena(), batch, again);
	CHECK(check_same(data->n_items, score, again), "scores differ when it is bound");
	for (int i = 0; i < data->n_items; i++)
		every[i] = i;
	fmoe_scores_of(bound, FMOE_MAIN, check_arena(), batch, data->n_items, every, again);
	CHECK(bound->items.value != bound->expert[FMOE_MAIN].tensor[0].value, "vectors are not the table's rows");
	fnn_topk_init(&topk, 5, best, best_score);
	fmoe_best(bound, FMOE_MAIN, check_arena(), batch, FMOE_SCAN_INT8, &all, &topk);
	fnn_topk_sort(&topk);
	for (int k = 0; k < 5; k++)
	{
		int			better = 0;

		for (int i = 0; i < data->n_items; i++)
			better += again[i] > best_score[k];
		CHECK(topk.count == 5 && better == k, "place %d of the scan is place %d", k, better);
	}
}

/* Mean rank, by the item that lies where the answer does, of items without an event. */
static double
rank_of_cold(const FmoeModel *model, const FmoeDataset *data, int32_t cold)
{
	fnn_real   *score = fnn_alloc_reals(check_arena(), 1, data->n_items);
	double		sum = 0;
	int64_t		n = 0;

	for (int64_t u = 0; u < data->n_users; u++)
	{
		int64_t		last = data->offset[u + 1] - 1;
		int32_t		answer = data->events.item[last];
		FmoeBatch  *batch;

		if (answer % 6 != 0 || answer / 6 >= cold)
			continue;
		answer = PLACES + answer / 6;
		batch = fmoe_batch(check_arena(), &data->events, 1, &data->offset[u], &last, model->config.max_length);
		fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
		for (int32_t i = PLACES; i < data->n_items; i++)
			sum += score[i] > score[answer];
		n++;
	}
	return sum / (double) n;
}

static void
check_cold_items(const char *model, FmoeLoss loss)
{
	const int32_t cold = PLACES / 6;
	FmoeDataset *data = circle(cold);
	FmoeConfig	config = check_featured_config(model, 0.2);
	FmoeModel  *trained = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeTrainer *trainer;
	const FnnTensor *table;
	double		rank;

	check_begin("%s, %s: items without an event are placed by what is known of them", model,
				loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	config.epochs = config.patience = CHECK_SIZE(20, 2);
	config.loss = loss;
	config.weight_decay = 0.01;
	trainer = check_finish_run(&config, data);
	fmoe_trainer_model(trainer, NULL, trained);
	table = &trained->expert[FMOE_MAIN].tensor[0];
	for (int32_t i = 0; i < data->n_items; i++)
	{
		double		squares = 0;

		for (int64_t c = 0; c < table->cols; c++)
			squares += (double) row_of(table, i)[c] * row_of(table, i)[c];
		CHECK((squares > 0) == (i < PLACES), "the row of item %d has the square %g", (int) i, squares);
	}
	rank = rank_of_cold(trained, data, cold);
	CHECK(rank < CHECK_SIZE(1.5, 6), "mean rank %.2f of %d", rank, (int) cold);
	check_bound(trained, &config, data);
	check_end();
}

void
check_featured(void)
{
	check_rows();
	check_scaled_rows();
	check_scaled_vectors("sasrec features");
	check_scaled_vectors("ant");
	check_project(7, 5, 3, 0);
	check_project(7, 21, 16, 0.4);
	check_project(1, 1, 1, 0.2);
	check_project(600, 40, 16, 0.1);
	check_means_of_bags();
	check_parameters("sasrec");
	check_parameters("gru4rec");
	check_vectors();
	check_model_gradients("sasrec", 0);
	check_model_gradients("sasrec", 0.4);
	check_model_gradients("gru4rec", 0.4);
	check_model_gradients("fmoe", 0.4);
	check_cold_items("sasrec", FMOE_LOSS_SOFTMAX);
	check_cold_items("sasrec", FMOE_LOSS_GBCE);
	check_cold_items("gru4rec", FMOE_LOSS_SOFTMAX);
}

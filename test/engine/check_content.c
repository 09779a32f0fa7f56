/*
 * check_content.c
 *	  The expert content: against small numbers made by hand, and against cosines
 *	  computed the plain way, with a vector as long as the vocabulary for each item.
 */
#include "check.h"

#include "model/count/count.h"

#include <math.h>
#include <string.h>

#define ITEMS 40
#define TERMS 25
#define WIDTH 5

/* A bag named "text" that is made of drawn words; every seventh item has none. */
static FmoeFeature
random_text(int32_t n_items, uint64_t seed)
{
	static char names[TERMS * 3];
	static int64_t name_offset[TERMS + 1];
	FmoeFeature text = {.name = "text", .modality = FMOE_TEXT, .width = TERMS};
	int64_t    *offset = fnn_zalloc(check_arena(), sizeof(int64_t) * ((size_t) n_items + 1));
	int32_t    *term = fnn_alloc(check_arena(), sizeof(int32_t) * TERMS * (size_t) n_items);
	float	   *weight = fnn_alloc(check_arena(), sizeof(float) * TERMS * (size_t) n_items);
	float	   *scale = fnn_zalloc(check_arena(), sizeof(float) * TERMS);
	int64_t		n = 0;

	for (int32_t t = 0; t < TERMS; t++)
	{
		names[3 * t] = 'w';
		names[3 * t + 1] = (char) ('a' + t / 10);
		names[3 * t + 2] = (char) ('0' + t % 10);
		name_offset[t + 1] = 3 * (t + 1);
	}
	for (int32_t i = 0; i < n_items; i++)
	{
		for (int32_t t = 0; t < TERMS && i % 7 != 3; t++)
		{
			if (fnn_random_below(seed, 1, (uint64_t) (i * TERMS + t), (uint64_t) t + 2) > 1)
				continue;
			term[n] = t;
			weight[n++] = 1 + (float) log(1 + (double) fnn_random_below(seed, 2, (uint64_t) (i * TERMS + t), 3));
			scale[t]++;
		}
		offset[i + 1] = n;
	}
	for (int32_t t = 0; t < TERMS; t++)
		scale[t] = (float) log((n_items + 1.0) / fmax(scale[t], 1));
	text.offset = offset;
	text.term = term;
	text.weight = weight;
	text.scale = scale;
	text.name_offset = name_offset;
	text.name_bytes = names;
	return text;
}

/* Vectors, of which some are unknown and one is 0. */
static FmoeFeature
random_vectors(int32_t n_items, const char *name, uint64_t seed)
{
	FmoeFeature feature = {.modality = FMOE_VECTOR, .width = WIDTH};
	float	   *value = fnn_zalloc(check_arena(), sizeof(float) * WIDTH * (size_t) n_items);

	strcpy(feature.name, name);
	for (int32_t k = 0; k < n_items * WIDTH; k++)
		value[k] = k / WIDTH % 6 == 2 ? NAN : k / WIDTH == 1 ? 0 : (float) fnn_random_normal(seed, 3, (uint64_t) k);
	feature.value = value;
	return feature;
}

/* An item's vector of a feature at length 1, as doubles; false: it has none. */
static bool
plain_vector(const FmoeFeature *feature, int32_t item, double *vector)
{
	double		square = 0;

	memset(vector, 0, sizeof(double) * (size_t) feature->width);
	if (feature->value != NULL)
		for (int32_t c = 0; c < feature->width; c++)
			vector[c] = feature->value[item * feature->width + c];
	else
		for (int64_t k = feature->offset[item]; k < feature->offset[item + 1]; k++)
			vector[feature->term[k]] += (double) feature->weight[k] * (double) feature->scale[feature->term[k]];
	for (int32_t c = 0; c < feature->width; c++)
		square += vector[c] * vector[c];
	for (int32_t c = 0; c < feature->width && square > 0; c++)
		vector[c] /= sqrt(square);
	return square > 0;
}

/* cosine[n_items] of a feature with events begin .. end - 1, one of them a basket. */
static void
plain_cosines(const FmoeFeatures *features, const FmoeFeature *feature, const FmoeEvents *events, int64_t begin,
			  int64_t end, double *cosine)
{
	double		mean[TERMS] = {0};
	double		vector[TERMS];
	double		square = 0;

	for (int64_t k = begin; k < end; k++)
	{
		double		size = 0;
		double		later = 0;

		for (int64_t other = begin; other < end; other++)
		{
			bool		same = events->basket != NULL ? events->basket[other] == events->basket[k] : other == k;
			bool		first = other == begin || events->basket == NULL ||
				events->basket[other] != events->basket[other - 1];

			size += same;
			later += !same && other > k && first;
		}
		if (end - k > FMOE_SEQUENCE_EVENTS || !plain_vector(feature, events->item[k], vector))
			continue;
		for (int32_t c = 0; c < feature->width; c++)
			mean[c] += pow(0.8, later) / size * vector[c];
	}
	for (int32_t c = 0; c < feature->width; c++)
		square += mean[c] * mean[c];
	for (int32_t i = 0; i < features->n; i++)
	{
		cosine[i] = 0;
		if (square > 0 && plain_vector(feature, i, vector))
			for (int32_t c = 0; c < feature->width; c++)
				cosine[i] += mean[c] / sqrt(square) * vector[c];
	}
}

FmoeFeatures *
check_random_features(int32_t n_items, uint64_t seed)
{
	FmoeFeatures *features = fnn_zalloc(check_arena(), sizeof(FmoeFeatures));

	features->n = n_items;
	features->count = 2;
	features->feature[0] = random_text(n_items, seed);
	features->feature[1] = random_vectors(n_items, "vector_1", seed + 1);
	return features;
}

static FmoeModel *
counted(const FmoeDataset *data)
{
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeConfig	config = check_config("content");

	fmoe_count_experts(model, check_arena(), &config, data);
	return model;
}

static FmoeBatch *
batch_of(const FmoeDataset *data, int64_t user)
{
	return fmoe_batch(check_arena(), &data->events, 1, &data->offset[user], &data->offset[user + 1], 100);
}

/* Scores and terms of all users, by cosines of each feature that counts. */
static void
compare(const FmoeModel *model, const FmoeDataset *data)
{
	const FmoeFeatures *features = data->features;
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	const float *popularity = model->expert[FMOE_POPULARITY].array[0].data;
	int32_t		n = data->n_items;

	for (int64_t u = 0; u < data->n_users; u++)
	{
		FmoeBatch  *batch = batch_of(data, u);
		fnn_real   *score = fnn_alloc_reals(check_arena(), 1, n);
		double	   *expected = fnn_zalloc(check_arena(), sizeof(double) * (size_t) n);
		double	   *cosine = fnn_alloc(check_arena(), sizeof(double) * (size_t) n);
		float	   *sum = fnn_zalloc(check_arena(), sizeof(float) * (size_t) n);
		FmoeTerms	terms = expert->class->terms(expert, check_arena(), batch, 0, NULL);

		for (int f = 0; f < features->count; f++)
		{
			plain_cosines(features, &features->feature[f], &data->events, data->offset[u], data->offset[u + 1],
						  cosine);
			for (int32_t i = 0; i < n; i++)
				expected[i] += cosine[i] / features->count / 0.1;
		}
		fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
		expert->class->counter->add(expert, check_arena(), batch, 0, -2, sum);
		for (int32_t i = 0; i < n; i++)
		{
			int64_t		k = fnn_find_ascending(terms.n, terms.item, i);

			CHECK(check_close(k >= 0 ? terms.value[k] : 0, expected[i], 1e-5), "user %d item %d: %g instead of %g",
				  (int) u, i, k >= 0 ? terms.value[k] : 0, expected[i]);
			CHECK(check_close(score[i], expected[i] + 1e-3 * log(1 + (double) popularity[i]) / 2, 1e-5),
				  "user %d item %d has score %g", (int) u, i, score[i]);
			CHECK(check_close((double) sum[i], -2 * expected[i], 1e-5), "user %d item %d: added %g", (int) u, i,
				  (double) sum[i]);
		}
	}
}

static void
check_cosines(void)
{
	FmoeDataset *data = check_walks(12, ITEMS, 1, 70, 3);
	FmoeFeatures features = {.n = ITEMS};
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_events);

	for (int64_t k = 0; k < data->n_events; k++)
		basket[k] = (int32_t) (k / 3);
	data->features = &features;
	for (int baskets = 0; baskets < 2; baskets++)
	{
		data->events.basket = baskets ? basket : NULL;
		check_begin("content is the cosine with the decayed history%s", baskets ? " of baskets" : "");
		features.count = 1;
		features.feature[0] = random_text(ITEMS, 11);
		compare(counted(data), data);
		features.feature[0] = random_vectors(ITEMS, "vector_1", 12);
		compare(counted(data), data);
		features.count = 3;
		features.feature[1] = random_text(ITEMS, 13);
		features.feature[2] = random_vectors(ITEMS, "vector_2", 14);
		compare(counted(data), data);
		check_end();
	}
}

/*
 * Items "a b", "b b c", "d" and one without text; the history is the first, then the
 * second.  Words of one item weigh ln 4, b of two ln 2.
 */
static void
check_by_hand(void)
{
	static const int64_t offset[] = {0, 2, 4, 5, 5};
	static const int32_t term[] = {0, 1, 1, 2, 3};
	float		weight[] = {1, 1, 1 + (float) log(2), 1, 1};
	float		scale[] = {(float) log(4), (float) log(2), (float) log(4), (float) log(4)};
	static const int64_t names[] = {0, 1, 2, 3, 4};
	static const int64_t events[] = {0, 2};
	static const int32_t item[] = {0, 1};
	static const double time[] = {1, 2};
	FmoeFeatures features = {.n = 4, .count = 1};
	FmoeDataset data = {.n_users = 1, .n_events = 2, .n_items = 4, .offset = events,
	.events = {.item = item, .time = time}, .features = &features};
	FmoeModel  *model;
	const FmoeExpert *expert;
	FmoeTerms	terms;
	FmoeWord	word[3];
	int			n;

	features.feature[0] = (FmoeFeature)
	{
		.name = "text", .modality = FMOE_TEXT, .width = 4, .offset = offset, .term = term, .weight = weight,
			.scale = scale, .name_offset = names, .name_bytes = "abcd"
	};
	model = counted(&data);
	expert = &model->expert[FMOE_MAIN];
	terms = expert->class->terms(expert, check_arena(), batch_of(&data, 0), 0, NULL);
	check_begin("content of four items, by hand");
	/* items (2, 1, 0) / sqrt 5 and (0, 1.693147, 2) / 2.620439; the history is .8 of the one and the other */
	CHECK(terms.n == 2 && terms.item[0] == 0 && terms.item[1] == 1, "%d items have terms", (int) terms.n);
	CHECK(check_close(terms.value[0], 7.510352, 1e-5) && check_close(terms.value[1], 8.491140, 1e-5),
		  "the terms are %.6f %.6f", terms.value[0], terms.value[1]);
	n = expert->class->counter->words(expert, check_arena(), batch_of(&data, 0), 0, 1, 3, word);
	CHECK(n == 2 && word[0].bytes == 1 && word[0].name[0] == 'b' && word[1].name[0] == 'c', "%d words", n);
	CHECK(check_close(word[0].share + word[1].share, terms.value[1], 1e-5) && word[0].share > word[1].share,
		  "shares are %g %g of %g", word[0].share, word[1].share, terms.value[1]);
	CHECK(expert->class->counter->words(expert, check_arena(), batch_of(&data, 0), 0, 1, 1, word) == 1 &&
		  word[0].name[0] == 'b', "the largest word alone");
	CHECK(expert->class->counter->words(expert, check_arena(), batch_of(&data, 0), 0, 2, 3, word) == 0,
		  "an item with other words");
	check_end();
}

/* ---------------------------------------------------------------- arrays from outside */

typedef struct Binding
{
	FmoeConfig	config;
	int			n;
	FnnArray   *array;
} Binding;

static void
bind(void *context)
{
	const Binding *binding = context;
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));

	fmoe_model_bind(model, check_host(), &binding->config, ITEMS, binding->n, binding->array);
}

/* A copy of an array's values in its place. */
static void *
to_change(Binding *binding, const char *name)
{
	FnnArray   *array = (FnnArray *) fnn_find_array(binding->n, binding->array, name);
	void	   *copy = fnn_alloc(check_arena(), array->bytes);

	memcpy(copy, array->data, array->bytes);
	array->data = copy;
	return copy;
}

static Binding
copy_of(const Binding *binding)
{
	Binding		copy = *binding;

	copy.array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) copy.n);
	memcpy(copy.array, binding->array, sizeof(FnnArray) * (size_t) copy.n);
	return copy;
}

static void
check_hostile(void)
{
	FmoeDataset *data = check_walks(12, ITEMS, 1, 30, 3);
	FmoeFeatures features = {.n = ITEMS, .count = 1};
	Binding		good = {.config = check_config("content")};
	Binding		bad;
	FmoeModel  *model;
	FmoeModel	again;

	data->features = &features;
	features.feature[0] = random_text(ITEMS, 11);
	model = counted(data);
	good.array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) fmoe_model_arrays_max(model));
	good.n = fmoe_model_arrays(model, good.array, fmoe_model_arrays_max(model));
	check_begin("content from arrays, and from bad ones");
	fmoe_model_bind(&again, check_host(), &good.config, ITEMS, good.n, good.array);
	compare(&again, data);

	bad = copy_of(&good);
	((int64_t *) to_change(&bad, "content.offset"))[3] = 1000000;
	check_fails(FNN_FORMAT, "not ascending", bind, &bad);
	bad = copy_of(&good);
	((int64_t *) to_change(&bad, "content.offset"))[TERMS]--;
	check_fails(FNN_FORMAT, "does not span", bind, &bad);
	bad = copy_of(&good);
	((int32_t *) to_change(&bad, "content.item"))[5] = ITEMS;
	check_fails(FNN_FORMAT, "out of range", bind, &bad);
	bad = copy_of(&good);
	((int32_t *) to_change(&bad, "content.item"))[5] = -1;
	check_fails(FNN_FORMAT, "out of range", bind, &bad);
	bad = copy_of(&good);
	((float *) to_change(&bad, "content.value"))[0] = NAN;
	check_fails(FNN_FORMAT, "out of range", bind, &bad);
	bad = copy_of(&good);
	((float *) to_change(&bad, "content.value"))[0] = 1.5f;
	check_fails(FNN_FORMAT, "out of range", bind, &bad);
	/* another vocabulary than that of the bag */
	bad = copy_of(&good);
	((FnnArray *) fnn_find_array(bad.n, bad.array, "content.offset"))->shape[0]--;
	((FnnArray *) fnn_find_array(bad.n, bad.array, "content.offset"))->bytes -= sizeof(int64_t);
	check_fails(FNN_FORMAT, "do not fit", bind, &bad);
	check_end();
}

/* Without features there is nothing to say, and nothing breaks. */
static void
check_nothing_known(void)
{
	const FmoeDataset *data = check_walks(12, ITEMS, 1, 30, 3);
	FmoeModel  *model = counted(data);
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	FmoeWord	word[3];

	check_begin("content of items of which nothing is known");
	CHECK(expert->class->terms(expert, check_arena(), batch_of(data, 0), 0, NULL).n == 0, "items have terms");
	CHECK(expert->class->counter->words(expert, check_arena(), batch_of(data, 0), 0, 1, 3, word) == 0,
		  "there are words");
	check_end();
}

void
check_content(void)
{
	check_cosines();
	check_by_hand();
	check_hostile();
	check_nothing_known();
}

/*
 * content.c
 *	  The class content: what reads like the items of a history, or lies near them.
 *
 * An item's words are a vector: in it a word weighs what the bag "text" says, 1 +
 * ln(how often), times the word's scale, ln((items + 1) / items that have it).
 * Vectors are as given.  Brought to length 1, those of a history's last events
 * are summed up by the events' weights, and a score is
 *
 *		cosine(that sum, the item's vector) / 0.1
 *
 * and where there are text and vectors, or vectors of several names, the mean of
 * these.  An item without a vector, and all after a history without one, have 0.
 * This is Salton's and Buckley's weighting (Term-weighting approaches in automatic
 * text retrieval, 1988), with Rocchio's profile.
 *
 * The arrays are an inverted index of the words, so that the items that have none
 * of a history's words are not touched.  It follows from the bag, and is stored
 * to be shared by all who read the version.
 */
#include "model/count/count.h"
#include "model/expert/expert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const array_names[] = {"content.offset", "content.item", "content.value", NULL};

#define TEXT "text"
#define LENGTH_MARGIN 1e-4		/* by which rounding may leave an entry of a vector above 1 */
#define POLL_ITEMS 0xfff
#define POLL_ENTRIES 0xfffff

/* The bag of words; NULL: there is none. */
static const FmoeFeature *
text_of(const FmoeFeatures *features)
{
	const FmoeFeature *text = fmoe_feature(features, TEXT);

	return text != NULL && text->value == NULL ? text : NULL;
}

static bool
is_vector(const FmoeFeature *feature)
{
	return feature->modality == FMOE_VECTOR && feature->value != NULL;
}

/* How many cosines a score is the mean of. */
static int
kinds_of(const FmoeFeatures *features)
{
	int			n = text_of(features) != NULL;

	for (int i = 0; features != NULL && i < features->count; i++)
		n += is_vector(&features->feature[i]);
	return n;
}

bool
fmoe_content_known(const FmoeExpert *expert)
{
	return kinds_of(expert->features) > 0;
}

/* ---------------------------------------------------------------- words */

/* Entry k of the bag, of a vector that has not been brought to length 1. */
static inline double
entry(const FmoeFeature *text, int64_t k)
{
	return (text->weight != NULL ? (double) text->weight[k] : 1) *
		(text->scale != NULL ? (double) text->scale[text->term[k]] : 1);
}

/* A feature of an item, which may be one of those of which only features tell, and the item's row in it. */
static const FmoeFeature *
feature_of(const FmoeExpert *expert, const FmoeFeature *feature, int32_t item, int64_t *row)
{
	*row = item < expert->n_items ? item : item - expert->n_items;
	return item < expert->n_items ? feature : &expert->strangers->feature[feature - expert->features->feature];
}

/* 1 / the length of an item's vector; 0: it has none. */
static double
inverse_length(const FmoeFeature *text, int64_t item)
{
	double		square = 0;

	for (int64_t k = text->offset[item]; k < text->offset[item + 1]; k++)
		square += entry(text, k) * entry(text, k);
	return square > 0 && isfinite(square) ? 1 / sqrt(square) : 0;
}

/* A word of a history: how much of it there is, the vector of all having length 1. */
typedef struct Word
{
	int32_t		term;
	double		weight;
} Word;

static int
by_term(const void *a, const void *b)
{
	const Word *x = a;
	const Word *y = b;

	return x->term < y->term ? -1 : x->term > y->term;
}

/* The different words of a history to *word, on the arena, by ascending term; returns how many. */
static int64_t
words_of(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, Word **word)
{
	const FmoeFeature *text = text_of(expert->features);
	double		weight[FMOE_SEQUENCE_EVENTS];
	int32_t		first = fmoe_history_weights(batch, sequence, weight);
	const int32_t *item = batch->events.item;
	int64_t		n = 0;
	int64_t		kept = 0;
	double		square = 0;

	if (text == NULL)
		return 0;
	for (int32_t t = first; t <= batch->last[sequence]; t++)
	{
		int64_t		row;
		const FmoeFeature *of = feature_of(expert, text, item[t], &row);

		n += of->offset[row + 1] - of->offset[row];
	}
	*word = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), n, sizeof(Word)));
	n = 0;
	for (int32_t t = first; t <= batch->last[sequence]; t++)
	{
		int64_t		row;
		const FmoeFeature *of = feature_of(expert, text, item[t], &row);
		double		scale = weight[t - first] * inverse_length(of, row);

		for (int64_t k = of->offset[row]; k < of->offset[row + 1]; k++)
			(*word)[n++] = (Word) {.term = of->term[k], .weight = scale * entry(of, k)};
	}
	qsort(*word, (size_t) n, sizeof(Word), by_term);
	for (int64_t k = 0; k < n; k++)
	{
		if (kept > 0 && (*word)[kept - 1].term == (*word)[k].term)
			(*word)[kept - 1].weight += (*word)[k].weight;
		else
			(*word)[kept++] = (*word)[k];
	}
	for (int64_t k = 0; k < kept; k++)
		square += (*word)[k].weight * (*word)[k].weight;
	if (!(square > 0))
		return 0;
	for (int64_t k = 0; k < kept; k++)
		(*word)[k].weight /= sqrt(square);
	return kept;
}

/* sum[n_items] += weight x cosine of the words. */
static void
add_words(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, double weight,
		  float *sum)
{
	const int64_t *offset = expert->array[FMOE_PAIRS_OFFSET].data;
	const int32_t *item = expert->array[FMOE_PAIRS_ITEM].data;
	const float *value = expert->array[FMOE_PAIRS_VALUE].data;
	int64_t		since_poll = 0;
	Word	   *word;
	int64_t		n = words_of(expert, arena, batch, sequence, &word);

	for (int64_t w = 0; w < n; w++)
	{
		float		factor = (float) (weight * word[w].weight);
		int64_t		end = offset[word[w].term + 1];

		for (int64_t k = offset[word[w].term]; k < end; k++)
			sum[item[k]] += factor * value[k];
		since_poll += end - offset[word[w].term];
		if (since_poll > POLL_ENTRIES)
		{
			fnn_poll(fnn_arena_host(arena));
			since_poll = 0;
		}
	}
}

/* ---------------------------------------------------------------- vectors */

#define LANES 8					/* sums that do not wait for each other */

static double
product(int32_t n, const float *restrict a, const float *restrict b)
{
	float		sum[LANES] = {0};
	int32_t		c = 0;

	for (; c + LANES <= n; c += LANES)
		for (int l = 0; l < LANES; l++)
			sum[l] += a[c + l] * b[c + l];
	for (; c < n; c++)
		sum[0] += a[c] * b[c];
	for (int l = 1; l < LANES; l++)
		sum[0] += sum[l];
	return sum[0];
}

/* 1 / the length of a row; 0: it has none, or is not known. */
static double
inverse_length_of_row(int32_t n, const float *row)
{
	double		square = product(n, row, row);

	return square > 0 && isfinite(square) ? 1 / sqrt(square) : 0;
}

/* The vector of an item under a name. */
static const float *
vector_of(const FmoeExpert *expert, const FmoeFeature *feature, int32_t item)
{
	int64_t		row;

	feature = feature_of(expert, feature, item, &row);
	return feature->value + row * feature->width;
}

/* The sum of a history's vectors of a name, on the arena. */
static float *
mean_vector(const FmoeExpert *expert, FnnArena *arena, const FmoeFeature *feature, const FmoeBatch *batch,
			int32_t sequence)
{
	int32_t		width = feature->width;
	double		of[FMOE_SEQUENCE_EVENTS];
	int32_t		first = fmoe_history_weights(batch, sequence, of);
	float	   *mean = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), width, sizeof(float)));

	for (int32_t t = first; t <= batch->last[sequence]; t++)
	{
		const float *row = vector_of(expert, feature, batch->events.item[t]);
		double		scale = of[t - first] * inverse_length_of_row(width, row);

		for (int32_t c = 0; c < width && scale > 0; c++)
			mean[c] += (float) scale * row[c];
	}
	return mean;
}

/* sum[n_items] += weight x cosine of the vectors of a name. */
static void
add_vectors(const FmoeExpert *expert, FnnArena *arena, const FmoeFeature *feature, const FmoeBatch *batch,
			int32_t sequence, double weight, float *sum)
{
	int32_t		width = feature->width;
	const float *mean = mean_vector(expert, arena, feature, batch, sequence);
	double		scale;

	scale = weight * inverse_length_of_row(width, mean);
	for (int32_t i = 0; i < expert->n_items && scale != 0; i++)
	{
		const float *row = feature->value + i * (int64_t) width;
		double		inverse = inverse_length_of_row(width, row);

		if (inverse > 0)
			sum[i] += (float) (scale * inverse * product(width, mean, row));
		if ((i & POLL_ITEMS) == 0)
			fnn_poll(fnn_arena_host(arena));
	}
}

/* ---------------------------------------------------------------- scores */

static void
add(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, double weight, float *sum)
{
	const FmoeFeatures *features = expert->features;
	FnnMark		mark = fnn_arena_mark(arena);
	int			kinds = kinds_of(features);

	if (kinds > 0)
	{
		weight /= FMOE_COSINE_SCALE * kinds;
		add_words(expert, arena, batch, sequence, weight, sum);
		for (int i = 0; i < features->count; i++)
			if (is_vector(&features->feature[i]))
				add_vectors(expert, arena, &features->feature[i], batch, sequence, weight, sum);
	}
	fnn_arena_reset(arena, mark);
}

static float *
sums_of(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence)
{
	float	   *sum = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), expert->n_items, sizeof(float)));

	add(expert, arena, batch, sequence, 1, sum);
	return sum;
}

static FmoeTerms
terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, const fnn_real *state)
{
	const float *sum = sums_of(expert, arena, batch, sequence);
	int64_t		n = 0;
	int32_t    *item;
	double	   *value;

	for (int32_t i = 0; i < expert->n_items; i++)
		n += sum[i] != 0;
	item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	value = fnn_alloc(arena, sizeof(double) * (size_t) n);
	n = 0;
	for (int32_t i = 0; i < expert->n_items; i++)
	{
		if (sum[i] == 0)
			continue;
		item[n] = i;
		value[n++] = (double) sum[i];
	}
	return (FmoeTerms) {.n = n, .item = item, .value = value};
}

static void
score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
	  int64_t n, const int32_t *item, fnn_real *score)
{
	FnnMark		mark = fnn_arena_mark(arena);
	const float *sum = sums_of(expert, arena, batch, sequence);

	for (int64_t i = 0; i < n; i++)
	{
		int32_t		of = item != NULL ? item[i] : (int32_t) i;

		score[i] = (fnn_real) ((double) sum[of] + fmoe_tie_break(expert, of));
	}
	fnn_arena_reset(arena, mark);
}

/* Cosine of the words of a history with an item's. */
static double
shared_words(const FmoeExpert *expert, const FmoeFeature *text, int64_t n, const Word *word, int32_t item)
{
	int64_t		row;
	const FmoeFeature *of = feature_of(expert, text, item, &row);
	double		sum = 0;

	for (int64_t k = of->offset[row]; k < of->offset[row + 1] && n > 0; k++)
	{
		Word		key = {.term = of->term[k]};
		const Word *found = bsearch(&key, word, (size_t) n, sizeof(Word), by_term);

		if (found != NULL)
			sum += found->weight * entry(of, k);
	}
	return sum * inverse_length(of, row);
}

static void
told(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int64_t n,
	 const int32_t *item, double *value)
{
	const FmoeFeatures *features = expert->features;
	const FmoeFeature *text = text_of(features);
	FnnMark		mark = fnn_arena_mark(arena);
	Word	   *word;
	int64_t		words = words_of(expert, arena, batch, sequence, &word);

	memset(value, 0, sizeof(double) * (size_t) n);
	for (int64_t i = 0; i < n && text != NULL; i++)
		value[i] = shared_words(expert, text, words, word, item[i]);
	for (int f = 0; features != NULL && f < features->count; f++)
	{
		const FmoeFeature *feature = &features->feature[f];
		const float *mean = is_vector(feature) ? mean_vector(expert, arena, feature, batch, sequence) : NULL;

		for (int64_t i = 0; i < n && mean != NULL; i++)
		{
			const float *row = vector_of(expert, feature, item[i]);
			double		inverse = inverse_length_of_row(feature->width, row);

			if (inverse > 0)
				value[i] += inverse * inverse_length_of_row(feature->width, mean) * product(feature->width, mean, row);
		}
	}
	for (int64_t i = 0; i < n && kinds_of(features) > 0; i++)
		value[i] /= FMOE_COSINE_SCALE * kinds_of(features);
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- the index */

static void
count(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	const FnnHost *host = fnn_arena_host(arena);
	const FmoeFeature *text = text_of(data->features);
	int32_t		width = text != NULL ? text->width : 0;
	int64_t		n = text != NULL ? text->offset[data->n_items] : 0;
	int64_t    *offset = fnn_zalloc(arena, fnn_mul_size(host, width + INT64_C(1), sizeof(int64_t)));
	int32_t    *item = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(int32_t)));
	float	   *value = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(float)));

	for (int64_t k = 0; k < n; k++)
		offset[text->term[k] + 1]++;
	for (int32_t t = 0; t < width; t++)
		offset[t + 1] += offset[t];
	/* offset[t] is where the term's next entry goes, which in the end is where the next term's begin */
	for (int32_t i = 0; i < data->n_items && text != NULL; i++)
	{
		double		scale = inverse_length(text, i);

		for (int64_t k = text->offset[i]; k < text->offset[i + 1]; k++)
		{
			int64_t		at = offset[text->term[k]]++;

			item[at] = i;
			value[at] = (float) (scale * entry(text, k));
		}
		if ((i & POLL_ITEMS) == 0)
			fnn_poll(host);
	}
	for (int32_t t = width; t > 0; t--)
		offset[t] = offset[t - 1];
	offset[0] = 0;
	fmoe_set_array(expert, FMOE_PAIRS_OFFSET, FNN_I64, width + INT64_C(1), offset);
	fmoe_set_array(expert, FMOE_PAIRS_ITEM, FNN_I32, n, item);
	fmoe_set_array(expert, FMOE_PAIRS_VALUE, FNN_F32, n, value);
}

static double
bytes(double n_events, double n_items, const FmoeFeatures *features)
{
	const FmoeFeature *text = text_of(features);

	return text == NULL ? 0 : (text->width + 1.0) * sizeof(int64_t) +
		(double) text->offset[features->n] * (sizeof(int32_t) + sizeof(float));
}

static void
check(const FmoeExpert *expert, const FnnHost *host)
{
	const FmoeFeature *text = text_of(expert->features);
	const int64_t *offset = expert->array[FMOE_PAIRS_OFFSET].data;
	const int32_t *item = expert->array[FMOE_PAIRS_ITEM].data;
	const float *value = expert->array[FMOE_PAIRS_VALUE].data;
	int64_t		entries = expert->array[FMOE_PAIRS_ITEM].shape[0];
	int32_t		width = text != NULL ? text->width : 0;

	if (expert->array[FMOE_PAIRS_OFFSET].shape[0] != width + INT64_C(1) ||
		expert->array[FMOE_PAIRS_VALUE].shape[0] != entries)
		fnn_fail(host, FNN_FORMAT, "arrays of expert \"content\" do not fit each other or the text of the items");
	if (offset[0] != 0 || offset[width] != entries)
		fnn_fail(host, FNN_FORMAT, "array \"content.offset\" does not span the entries");
	for (int32_t t = 0; t < width; t++)
		if (offset[t] > offset[t + 1])
			fnn_fail(host, FNN_FORMAT, "array \"content.offset\" is not ascending");
	for (int64_t k = 0; k < entries; k++)
	{
		if (item[k] < 0 || item[k] >= expert->n_items || !(fabsf(value[k]) <= 1 + LENGTH_MARGIN))
			fnn_fail(host, FNN_FORMAT, "arrays of expert \"content\" hold a number out of range");
		if ((k & POLL_ENTRIES) == 0)
			fnn_poll(host);
	}
}

/* ---------------------------------------------------------------- explaining */

/* Puts a word of weight share among the largest, of which there are n so far; returns how many there then are. */
static int
keep_largest(FmoeWord *list, int n, int max, FmoeWord word)
{
	int			at = n;

	while (at > 0 && list[at - 1].share < word.share)
		at--;
	if (at >= max)
		return n;
	n = n < max ? n + 1 : max;
	memmove(list + at + 1, list + at, sizeof(FmoeWord) * (size_t) (n - 1 - at));
	list[at] = word;
	return n;
}

static int
words(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int32_t item, int max,
	  FmoeWord *out)
{
	const FmoeFeature *text = text_of(expert->features);
	FnnMark		mark = fnn_arena_mark(arena);
	Word	   *word;
	int64_t		n = words_of(expert, arena, batch, sequence, &word);
	const FmoeFeature *in;
	int64_t		row;
	double		scale;
	int			found = 0;

	if (n == 0 || text->name_offset == NULL)
		return 0;
	in = feature_of(expert, text, item, &row);
	scale = inverse_length(in, row) / (FMOE_COSINE_SCALE * kinds_of(expert->features));
	for (int64_t k = in->offset[row]; k < in->offset[row + 1]; k++)
	{
		Word		key = {.term = in->term[k]};
		const Word *of = bsearch(&key, word, (size_t) n, sizeof(Word), by_term);
		FmoeWord	shared;

		if (of == NULL)
			continue;
		shared.name = fmoe_feature_term_name(text, key.term, &shared.bytes);
		shared.share = scale * of->weight * entry(in, k);
		if (shared.share > 0)
			found = keep_largest(out, found, max, shared);
	}
	fnn_arena_reset(arena, mark);
	return found;
}

/* ---------------------------------------------------------------- the class */

static unsigned
reads(const FmoeConfig *config)
{
	return FMOE_READS_TEXT | FMOE_READS_VECTORS;
}

static const FmoeCounter counter = {
	.count = count,
	.bytes = bytes,
	.history = FMOE_SEQUENCE_EVENTS,
	.first_day = true,
	.array_names = array_names,
	.array_dtypes = fmoe_pairs_dtypes,
	.check = check,
	.add = add,
	.told = told,
	.words = words
};

const FmoeExpertClass fmoe_content_class = {
	.name = "content",
	.summary = "what reads like the items of the history",
	.counter = &counter,
	.reads = reads,
	.terms = terms,
	.score = score
};

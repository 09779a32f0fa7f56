/*
 * featured.c
 *	  Item vectors that are made of features.
 *
 * The numbers of a text are many and the same in every step, so where all items are
 * scored they are made once and kept; elsewhere, when they are needed.
 */
#include "model/data/dense.h"
#include "model/data/stream.h"
#include "model/expert/expert.h"
#include "model/expert/featured.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define POLL_EVERY 0xfff
/* Dropout of the numbers of features. */
#define DROPOUT 0.1

unsigned
fmoe_featured_reads(const FmoeFeaturedOptions *options)
{
	return options->features ? FMOE_READS_FEATURES | FMOE_NEEDS_FEATURES : 0;
}

/* ---------------------------------------------------------------- parameters */

void
fmoe_featured_name(const char *feature, char name[FNN_NAME_MAX])
{
	snprintf(name, FNN_NAME_MAX, "item.%s.weight", feature);
}

void
fmoe_declare_featured(FmoeDeclaring *to, const FmoeFeatures *features, int64_t width)
{
	FmoeDeclaring local = *to;
	double		numbers = 0;

	local.share = FNN_LOCAL;
	for (int i = 0; features != NULL && i < features->count; i++)
		numbers += (double) fmoe_dense_width(&features->feature[i]);
	for (int i = 0; features != NULL && i < features->count; i++)
	{
		const FmoeFeature *feature = &features->feature[i];
		int64_t		dense = fmoe_dense_width(feature);
		char		name[FNN_NAME_MAX];

		fmoe_featured_name(feature->name, name);
		/* the maps of dense features are one, from all their numbers end to end (Glorot & Bengio 2010, equation 16) */
		if (feature->value != NULL || dense > 0)
			fmoe_declare_weight(&local, FNN_ITEMS, name, width, dense, FNN_INIT_UNIFORM,
								sqrt(6 / ((double) width + numbers)));
		else
		{
			FnnParam   *table = fmoe_declare(&local, FNN_ITEMS, name, feature->width, width, FNN_INIT_NORMAL,
											 FMOE_INIT_SCALE);

			table->decay = true;
			table->rows_of = FNN_OF_TERMS;
		}
	}
}

/* ---------------------------------------------------------------- made once */

static const bool *
items_that_train(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout)
{
	bool	   *trained = fnn_zalloc(arena, (size_t) data->n_items + 1);

	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, holdout, user);

		if ((user & POLL_EVERY) == 0)
			fnn_poll(fnn_arena_host(arena));
		if (fmoe_last_answer(data, user, end) < 0)
			continue;
		for (int64_t event = data->offset[user]; event < end; event++)
			trained[data->events.item[event]] = true;
	}
	return trained;
}

static bool
is_text(const FmoeFeature *feature)
{
	return feature->value == NULL && fmoe_dense_width(feature) > 0;
}

const FmoePrepared *
fmoe_prepare_featured(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, bool all)
{
	FmoePrepared *prepared = fnn_zalloc(arena, sizeof(FmoePrepared));
	int64_t		n = expert->n_items;

	prepared->trained = items_that_train(arena, data, (FmoeHoldout) expert->config->holdout);
	for (int i = 0; all && expert->features != NULL && i < expert->features->count; i++)
	{
		const FmoeFeature *feature = &expert->features->feature[i];
		int64_t		width = fmoe_dense_width(feature);
		fnn_real   *rows;

		if (!is_text(feature))
			continue;
		prepared->text[i] = rows = fnn_alloc_reals(arena, n, width);
		for (int64_t first = 0; first < n; first += POLL_EVERY)
		{
			fnn_poll(fnn_arena_host(arena));
			fmoe_dense_rows(feature, NULL, first, n - first < POLL_EVERY ? n - first : POLL_EVERY,
							rows + first * width);
		}
	}
	return prepared;
}

double
fmoe_prepared_bytes(const FmoeFeatures *features, double n_items, bool all)
{
	double		bytes = sizeof(FmoePrepared) + n_items;

	for (int i = 0; all && features != NULL && i < features->count; i++)
		if (is_text(&features->feature[i]))
			bytes += n_items * (double) fmoe_dense_width(&features->feature[i]) * sizeof(fnn_real);
	return bytes;
}

/* Rows of items without events stay what they are set to here, since no gradient reaches them. */
void
fmoe_start_featured(const FmoeExpert *expert, const FnnHost *host, FnnTensor *table, int64_t width)
{
	const FmoePrepared *prepared = expert->prepared;

	for (int64_t i = 0; prepared != NULL && i < table->rows; i++)
	{
		if (!prepared->trained[i])
			memset(table->value + i * table->cols, 0, sizeof(fnn_real) * (size_t) width);
		if (i % 100000 == 0)
			fnn_poll(host);
	}
}

/* ---------------------------------------------------------------- a step */

int32_t *
fmoe_count_up(FnnArena *arena, int64_t n)
{
	int32_t    *number = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);

	for (int64_t i = 0; i < n; i++)
		number[i] = (int32_t) i;
	return number;
}

FmoeBatch
fmoe_batch_of_tokens(FnnArena *arena, const FmoeBatch *batch)
{
	FmoeBatch	tokens = *batch;

	tokens.events.item = fmoe_count_up(arena, batch->n_tokens);
	return tokens;
}

FmoeStepItems
fmoe_step_items(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, const FmoeGoal *goal)
{
	FmoeStepItems step = {.n = expert->n_items, .batch = *batch, .goal = *goal};
	int64_t		tokens = batch->n_tokens;
	int64_t		n = 2 * tokens + goal->n_negatives;
	int32_t    *item;
	int32_t    *row;
	int32_t    *distinct;

	if (goal->n_negatives == 0)
	{
		step.item = fmoe_count_up(arena, step.n);
		return step;
	}
	item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	row = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	memcpy(item, batch->events.item, sizeof(int32_t) * (size_t) tokens);
	/* where there is no target, an item that is there anyway */
	for (int64_t t = 0; t < tokens; t++)
		item[tokens + t] = goal->target[t] >= 0 ? goal->target[t] : item[t];
	memcpy(item + 2 * tokens, goal->negative, sizeof(int32_t) * (size_t) goal->n_negatives);
	step.n = fmoe_number_items(arena, n, item, expert->n_items, distinct, row);
	step.item = distinct;
	for (int64_t t = 0; t < tokens; t++)
		if (goal->target[t] < 0)
			row[tokens + t] = -1;
	step.batch.events.item = row;
	step.goal.target = row + tokens;
	step.goal.negative = row + 2 * tokens;
	return step;
}

FmoeStepItems
fmoe_step_range(FnnArena *arena, int64_t first, int64_t n, const FmoeGoal *goal)
{
	int32_t    *item = fmoe_count_up(arena, n);

	for (int64_t i = 0; i < n; i++)
		item[i] += (int32_t) first;
	return (FmoeStepItems) {.n = n, .item = item, .goal = *goal};
}

bool *
fmoe_step_kept(const FmoeExpert *expert, FnnArena *arena, const FmoeStepItems *step, double dropped)
{
	const FmoePrepared *prepared = expert->prepared;
	const FmoeGoal *goal = &step->goal;
	bool	   *kept = fnn_alloc(arena, (size_t) step->n);

	for (int64_t i = 0; i < step->n; i++)
		kept[i] = (prepared == NULL || prepared->trained[step->item[i]]) &&
			(dropped == 0 || fnn_random_uniform(goal->seed, fmoe_stream(FMOE_STREAM_IDS, goal->stream),
												(uint64_t) step->item[i]) >= dropped);
	return kept;
}

/* ---------------------------------------------------------------- vectors */

/* Rows of the numbers of items. */
typedef struct Rows
{
	const FmoeFeature *feature;
	const int32_t *item;
	const fnn_real *made;		/* [n_items, width], or NULL */
} Rows;

static void
make_rows(const void *context, int64_t first, int64_t n, fnn_real *x)
{
	const Rows *rows = context;
	int64_t		width = fmoe_dense_width(rows->feature);

	if (rows->made == NULL)
	{
		fmoe_dense_rows(rows->feature, rows->item + first, 0, n, x);
		return;
	}
	for (int64_t i = 0; i < n; i++)
		memcpy(x + i * width, rows->made + rows->item[first + i] * width, sizeof(fnn_real) * (size_t) width);
}

static FnnTensor *
add_dense(FnnTape *tape, FnnTensor *vectors, const FmoeFeature *feature, const fnn_real *made, FnnTensor *weight,
		  const int32_t *item)
{
	Rows	   *rows = fnn_alloc(tape->arena, sizeof(Rows));
	FnnMaker	maker = {.width = weight->cols, .make = make_rows, .context = rows};

	*rows = (Rows)
	{
		.feature = feature, .item = item, .made = made
	};
	return fnn_project(tape, vectors, &maker, weight, DROPOUT);
}

static FnnTensor *
add_bag(FnnTape *tape, FnnTensor *vectors, const FmoeFeatures *features, const FmoeFeature *feature,
		FnnTensor *table, const int32_t *item)
{
	FnnGraph	bags = {features->n, feature->offset, feature->term, feature->weight};

	return fnn_add_dropout(tape, vectors, fnn_neighbours(tape, table, &bags, item, vectors->rows, DROPOUT), 0);
}

/* Rows item[n] of a table, 0 for those that are not kept. */
static FnnTensor *
kept_rows(FnnTape *tape, FnnTensor *table, int64_t n, const int32_t *item, const bool *kept)
{
	int64_t    *offset = fnn_alloc(tape->arena, sizeof(int64_t) * ((size_t) n + 1));
	int32_t    *to = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	int32_t    *row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	FnnGraph	graph = {.rows = n, .offset = offset, .to = to};

	offset[0] = 0;
	for (int64_t i = 0; i < n; i++)
	{
		offset[i + 1] = offset[i] + kept[i];
		if (kept[i])
			to[offset[i]] = item[i];
		row[i] = (int32_t) i;
	}
	return fnn_neighbours(tape, table, &graph, row, n, 0);
}

FnnTensor *
fmoe_featured(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, FnnTensor *weight, int64_t n,
			  const int32_t *item, const bool *kept)
{
	const FmoeFeatures *features = expert->features;
	const FmoePrepared *prepared = expert->prepared;
	FnnTensor  *vectors;

	if (item == NULL)
		item = fmoe_count_up(tape->arena, n);
	vectors = kept != NULL ? kept_rows(tape, table, n, item, kept) : fnn_embed(tape, table, item, n, 1, NULL, NULL);
	for (int i = 0; features != NULL && i < features->count; i++)
	{
		const FmoeFeature *feature = &features->feature[i];

		if (feature->value != NULL || fmoe_dense_width(feature) > 0)
			vectors = add_dense(tape, vectors, feature, prepared != NULL ? prepared->text[i] : NULL, &weight[i], item);
		else
			vectors = add_bag(tape, vectors, features, feature, &weight[i], item);
	}
	return vectors;
}

/* Bytes of n vectors with their gradients; *block: while they are computed, beside these. */
static double
vectors_bytes(const FmoeFeatures *features, double width, double n, double *block)
{
	double		tensors = 1;

	*block = 0;
	for (int i = 0; features != NULL && i < features->count; i++)
	{
		int64_t		dense = fmoe_dense_width(&features->feature[i]);

		tensors += dense > 0 ? 1 : 2;
		*block = fmax(*block, fnn_project_reals(dense) * sizeof(fnn_real));
	}
	/* beside them: items, flags, edges, and what finds repeats among n rows */
	return tensors * 2 * n * width * sizeof(fnn_real) +
		n * (sizeof(bool) + sizeof(int64_t) + 4 * sizeof(int32_t) + 4 * sizeof(int32_t) + tensors * sizeof(int32_t));
}

double
fmoe_step_items_bytes(const FmoeConfig *config, const FmoeFacts *facts, double width, double tokens, double beside)
{
	bool		all = config->loss == FMOE_LOSS_SOFTMAX;
	double		items = all ? facts->n_items : fmin(facts->n_items, 2 * tokens + config->negatives);
	double		block;
	double		bytes = vectors_bytes(facts->features, width, items, &block);

	/* shards come between what all of them share and its gradients */
	if (all)
		return bytes + fmax(beside, block);
	return bytes + beside + block + (facts->n_items + 4 * tokens + 3 * items) * sizeof(fnn_real);
}

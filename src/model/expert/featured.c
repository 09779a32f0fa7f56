/*
 * featured.c
 *	  Item vectors that are made of features.
 *
 * The numbers of a text are many and the same in every step, so where all items are
 * scored they are made once and kept; elsewhere, when they are needed.
 */
#include "model/data/dense.h"
#include "model/expert/expert.h"
#include "model/expert/featured.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define POLL_EVERY 0xfff

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
		  const int32_t *item, double dropout)
{
	Rows	   *rows = fnn_alloc(tape->arena, sizeof(Rows));
	FnnMaker	maker = {.width = weight->cols, .make = make_rows, .context = rows};

	*rows = (Rows)
	{
		.feature = feature, .item = item, .made = made
	};
	return fnn_project(tape, vectors, &maker, weight, dropout);
}

static FnnTensor *
add_bag(FnnTape *tape, FnnTensor *vectors, const FmoeFeatures *features, const FmoeFeature *feature,
		FnnTensor *table, const int32_t *item, double dropout)
{
	FnnGraph	bags = {features->n, feature->offset, feature->term, feature->weight};

	return fnn_add_dropout(tape, vectors, fnn_neighbours(tape, table, &bags, item, vectors->rows, dropout), 0);
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
			  const int32_t *item, const bool *kept, double dropout)
{
	const FmoeFeatures *features = expert->features;
	const FmoePrepared *prepared = expert->prepared;
	FnnTensor  *vectors = kept != NULL ? kept_rows(tape, table, n, item, kept)
		: fnn_embed(tape, table, item, n, 1, NULL, NULL);

	for (int i = 0; features != NULL && i < features->count; i++)
	{
		const FmoeFeature *feature = &features->feature[i];

		if (feature->value != NULL || fmoe_dense_width(feature) > 0)
			vectors = add_dense(tape, vectors, feature, prepared != NULL ? prepared->text[i] : NULL, &weight[i], item,
								dropout);
		else
			vectors = add_bag(tape, vectors, features, feature, &weight[i], item, dropout);
	}
	return vectors;
}

double
fmoe_featured_bytes(const FmoeFeatures *features, double width, double n, bool recorded)
{
	double		tensors = 1;
	double		block = 0;

	for (int i = 0; features != NULL && i < features->count; i++)
	{
		int64_t		dense = fmoe_dense_width(&features->feature[i]);

		tensors += dense > 0 ? 1 : 2;
		block = fmax(block, fnn_project_reals(dense));
	}
	/* beside them: items, flags, edges, and what finds repeats among n rows */
	return (tensors * (recorded ? 2 : 1) * n * width + block) * sizeof(fnn_real) +
		n * (sizeof(bool) + sizeof(int64_t) + 4 * sizeof(int32_t) + 4 * sizeof(int32_t) + tensors * sizeof(int32_t));
}

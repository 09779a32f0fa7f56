/*
 * inputs.c
 *	  Vectors of items and users: rows of tables of categories, and maps of what is given as numbers, side by side.
 *
 * Of several values an item has the mean; what has none has the last row of the table.
 * Numbers that are not known are 0.
 */
#include "model/data/dense.h"
#include "model/mrff/mrff.h"

#include <string.h>

FnnGraph
fmoe_mrff_terms(FnnArena *arena, const FmoeFeature *feature, int64_t rows, int64_t n, const int32_t *row)
{
	int64_t    *offset = fnn_alloc(arena, sizeof(int64_t) * ((size_t) n + 1));
	int64_t		edges = 0;
	int32_t    *to;

	for (int64_t i = 0; i < n; i++)
	{
		int64_t		r = row != NULL ? row[i] : i;
		int64_t		terms = r >= 0 && r < rows ? feature->offset[r + 1] - feature->offset[r] : 0;

		offset[i] = edges;
		edges += terms > 0 ? terms : 1;
	}
	offset[n] = edges;
	to = fnn_alloc(arena, sizeof(int32_t) * (size_t) edges);
	for (int64_t i = 0; i < n; i++)
	{
		int64_t		r = row != NULL ? row[i] : i;

		if (r >= 0 && r < rows && feature->offset[r + 1] > feature->offset[r])
			memcpy(to + offset[i], feature->term + feature->offset[r],
				   sizeof(int32_t) * (size_t) (offset[i + 1] - offset[i]));
		else
			to[offset[i]] = feature->width;
	}
	return (FnnGraph)
	{
		.rows = n, .offset = offset, .to = to
	};
}

int32_t *
fmoe_mrff_count_up(FnnArena *arena, int64_t n)
{
	int32_t    *number = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);

	for (int64_t i = 0; i < n; i++)
		number[i] = (int32_t) i;
	return number;
}

/* Whose numbers a map is of. */
typedef struct Numbers
{
	const FmoeFeature *feature;
	int32_t		rows;
	const int32_t *item;
} Numbers;

static void
make_numbers(const void *context, int64_t first, int64_t n, fnn_real *x)
{
	const Numbers *numbers = context;
	int64_t		width = fmoe_dense_width(numbers->feature);

	for (int64_t i = 0; i < n; i++)
	{
		const int32_t *item = numbers->item + first + i;

		if (*item >= 0 && *item < numbers->rows)
			fmoe_dense_rows(numbers->feature, item, 0, 1, x + i * width);
		else
			memset(x + i * width, 0, sizeof(fnn_real) * (size_t) width);
	}
}

static FnnTensor *
mapped(const FmoeExpert *expert, FnnTape *tape, const FmoeFeature *feature, FnnTensor *weight, int64_t n,
	   const int32_t *item)
{
	Numbers    *numbers = fnn_alloc(tape->arena, sizeof(Numbers));
	FnnMaker	maker = {.width = weight->cols, .make = make_numbers, .context = numbers};
	size_t		bytes = sizeof(fnn_real) * (size_t) (n * weight->rows);

	*numbers = (Numbers)
	{
		.feature = feature, .rows = expert->features->n, .item = item
	};
	return fnn_project(tape, fnn_constant(tape, n, weight->rows, fnn_zalloc(tape->arena, bytes)), &maker, weight, 0);
}

FnnTensor *
fmoe_mrff_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	const FmoeFeatures *features = expert->features;
	const int32_t *place = fmoe_mrff_count_up(tape->arena, n);
	FnnTensor  *part[FMOE_FEATURES_MAX + 1];
	FmoeMrffLayout layout;
	int			parts;

	fmoe_mrff_layout_of(expert, &layout);
	for (parts = 0; parts < layout.n_item_features; parts++)
	{
		const FmoeFeature *feature = &features->feature[layout.item_feature[parts]];
		FnnGraph	graph = fmoe_mrff_terms(tape->arena, feature, features->n, n, item);

		part[parts] = fnn_neighbours(tape, fmoe_parameter(expert, parts), &graph, place, n, 0);
	}
	for (int i = 0; i < layout.n_dense_features; i++, parts++)
		part[parts] = mapped(expert, tape, &features->feature[layout.dense_feature[i]], fmoe_parameter(expert, parts),
							 n, item != NULL ? item : place);
	if (layout.ids >= 0)
		part[parts++] = fnn_embed(tape, fmoe_parameter(expert, layout.ids), item != NULL ? item : place, n, 1, NULL,
								  NULL);
	return fnn_concat(tape, parts, part);
}

int32_t *
fmoe_mrff_sequence_of(FnnArena *arena, const FmoeBatch *batch)
{
	int32_t    *of = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);

	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int32_t t = batch->sequences.offset[s]; t < batch->sequences.offset[s + 1]; t++)
			of[t] = s;
	return of;
}

FnnTensor *
fmoe_mrff_private(const FmoeExpert *expert, const FmoeMrffLayout *layout, const FmoeBatch *batch)
{
	if (layout->private_columns == 0)
		return NULL;
	if (batch->private_rows != NULL)
		return (FnnTensor *) batch->private_rows;
	return layout->private_rows >= 0 && batch->user != NULL ? fmoe_parameter(expert, layout->private_rows) : NULL;
}

const int32_t *
fmoe_mrff_private_of(const FmoeBatch *batch)
{
	return batch->private_rows != NULL ? batch->private_of : batch->user;
}

/* Vectors of one feature by each user's own table, a part of the private row from column first on. */
static FnnTensor *
own_vectors(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeFeature *feature,
			int32_t n_users, FnnTensor *table, int64_t first)
{
	int64_t		n = batch->sequences.count;
	fnn_real   *x = fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (n * feature->width));

	for (int64_t s = 0; s < n; s++)
	{
		int32_t		user = batch->user != NULL && batch->user[s] < n_users ? batch->user[s] : -1;
		int64_t		begin = user >= 0 ? feature->offset[user] : 0;
		int64_t		end = user >= 0 ? feature->offset[user + 1] : 0;

		for (int64_t i = begin; i < end; i++)
			x[s * feature->width + feature->term[i]] += 1 / (fnn_real) (end - begin);
	}
	return fnn_row_linear(tape, fnn_constant(tape, n, feature->width, x), table, first, expert->config->width, false,
						  FNN_IDENTITY, fmoe_mrff_private_of(batch));
}

FnnTensor *
fmoe_mrff_users(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, const FmoeBatch *batch)
{
	const FmoeFeatures *features = batch->user_features != NULL ? batch->user_features : expert->user_features;
	int64_t		n = batch->sequences.count;
	FnnTensor  *table = fmoe_mrff_private(expert, layout, batch);
	int64_t		first = expert->config->layers * layout->map;
	FnnTensor  *part[FMOE_FEATURES_MAX];

	if (layout->n_user_features == 0)
		return NULL;
	for (int i = 0; i < layout->n_user_features; i++)
	{
		const FmoeFeature *feature = &features->feature[layout->user_feature[i]];

		if (layout->user >= 0)
		{
			int32_t    *nobody = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
			FnnGraph	graph;

			memset(nobody, 0xff, sizeof(int32_t) * (size_t) n);
			graph = fmoe_mrff_terms(tape->arena, feature, features->n, n, batch->user != NULL ? batch->user : nobody);
			part[i] = fnn_neighbours(tape, fmoe_parameter(expert, layout->user + i), &graph,
									 fmoe_mrff_count_up(tape->arena, n), n, 0);
		}
		else if (table != NULL)
			part[i] = own_vectors(expert, tape, batch, feature, features->n, table, first);
		else
			part[i] = fnn_constant(tape, n, expert->config->width,
								   fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (n * expert->config->width)));
		first += (int64_t) expert->config->width * feature->width;
	}
	return fnn_concat(tape, layout->n_user_features, part);
}

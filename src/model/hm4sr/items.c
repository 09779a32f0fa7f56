/*
 * items.c
 *	  Vectors of items in all streams, side by side.
 *
 *	  stream 0: a row of the table, 0 for items without events
 *	  others:   shift + sum over dense features of W x + sum over bags of the mean row of a table
 *
 * An item of which a stream's features say nothing has the shift there.
 */
#include "model/data/dense.h"
#include "model/hm4sr/hm4sr.h"

#include <string.h>

#define ITEM 0					/* slice of the table */

/* Rows of the numbers of items, made or copied where they are needed. */
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
	return fnn_project(tape, vectors, &maker, weight, 0);
}

static FnnTensor *
add_bag(FnnTape *tape, FnnTensor *vectors, const FmoeFeatures *features, const FmoeFeature *feature,
		FnnTensor *table, const int32_t *item)
{
	FnnGraph	bags = {features->n, feature->offset, feature->term, feature->weight};

	return fnn_add_dropout(tape, vectors, fnn_neighbours(tape, table, &bags, item, vectors->rows, 0), 0);
}

/* Stream 0, where ids of items without events get no gradient while learning: they stay 0. */
static FnnTensor *
ids(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item, bool learning)
{
	const FmoePrepared *prepared = expert->prepared;
	FnnTensor  *table = fmoe_parameter(expert, ITEM);
	int64_t    *offset;
	int32_t    *to;
	int32_t    *row;
	FnnGraph	graph;

	if (!learning || prepared == NULL)
		return fnn_embed(tape, table, item, n, 1, NULL, NULL);
	offset = fnn_alloc(tape->arena, sizeof(int64_t) * ((size_t) n + 1));
	to = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	offset[0] = 0;
	for (int64_t i = 0; i < n; i++)
	{
		offset[i + 1] = offset[i] + prepared->trained[item[i]];
		if (prepared->trained[item[i]])
			to[offset[i]] = item[i];
		row[i] = (int32_t) i;
	}
	graph = (FnnGraph) {.rows = n, .offset = offset, .to = to};
	return fnn_neighbours(tape, table, &graph, row, n, 0);
}

/* Stream number s, from 1, whose slices begin at *slice, which moves behind them. */
static FnnTensor *
modality(const FmoeExpert *expert, FnnTape *tape, int s, int64_t n, const int32_t *item, const int32_t *zero,
		 int *slice)
{
	const FmoeFeatures *features = expert->features;
	const FmoePrepared *prepared = expert->prepared;
	FnnTensor  *vectors;
	int			shift = *slice;

	for (int i = 0; features != NULL && i < features->count; i++)
		shift += fmoe_hm4sr_of_stream(expert->config, s, &features->feature[i]);
	vectors = fnn_embed(tape, fmoe_parameter(expert, shift), zero, n, 1, NULL, NULL);
	for (int i = 0; features != NULL && i < features->count; i++)
	{
		const FmoeFeature *feature = &features->feature[i];

		if (!fmoe_hm4sr_of_stream(expert->config, s, feature))
			continue;
		if (fmoe_dense_width(feature) > 0)
			vectors = add_dense(tape, vectors, feature, prepared != NULL ? prepared->text[i] : NULL,
								fmoe_parameter(expert, *slice), item);
		else
			vectors = add_bag(tape, vectors, features, feature, fmoe_parameter(expert, *slice), item);
		(*slice)++;
	}
	(*slice)++;
	return vectors;
}

FnnTensor *
fmoe_hm4sr_vectors(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item, bool learning)
{
	FnnTensor  *stream[FMOE_HM4SR_STREAMS_MAX + 1];
	int			streams = fmoe_hm4sr_streams(expert->config);
	int32_t    *zero = fnn_zalloc(tape->arena, sizeof(int32_t) * (size_t) n);
	int			slice = ITEM + 1;

	if (item == NULL)
	{
		int32_t    *all = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);

		for (int64_t i = 0; i < n; i++)
			all[i] = (int32_t) i;
		item = all;
	}
	stream[0] = ids(expert, tape, n, item, learning);
	for (int s = 1; s < streams; s++)
		stream[s] = modality(expert, tape, s, n, item, zero, &slice);
	return streams == 1 ? stream[0] : fnn_concat(tape, streams, stream);
}

int64_t
fmoe_hm4sr_vectors_width(const FmoeConfig *config)
{
	return (int64_t) fmoe_hm4sr_streams(config) * config->width;
}

FnnTensor *
fmoe_hm4sr_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	return fmoe_hm4sr_vectors(expert, tape, n, item, false);
}

const void *
fmoe_hm4sr_prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	return fmoe_prepare_featured(expert, arena, data, expert->config->loss == FMOE_LOSS_SOFTMAX);
}

/*
 * Rows of items without events stay what they are set to here, since no gradient
 * reaches them.  Experts of times were drawn around 0.
 */
void
fmoe_hm4sr_start(FmoeExpert *expert, const FnnHost *host)
{
	const FmoePrepared *prepared = expert->prepared;
	FnnTensor  *table = fmoe_parameter(expert, ITEM);
	FmoeHm4srLayout layout;

	fmoe_hm4sr_layout(expert->config, expert->params, &layout);
	if (layout.time_expert >= 0)
	{
		FnnTensor  *experts = fmoe_parameter(expert, layout.time_expert);

		for (int64_t i = 0; i < experts->rows * experts->cols; i++)
			experts->value[i] += (fnn_real) fmoe_hm4sr_own(expert->config)->time_mean;
	}
	for (int64_t i = 0; prepared != NULL && i < table->rows; i++)
	{
		if (!prepared->trained[i])
			memset(table->value + i * table->cols, 0, sizeof(fnn_real) * (size_t) table->cols);
		if (i % 100000 == 0)
			fnn_poll(host);
	}
}

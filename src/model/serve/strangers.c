/*
 * strangers.c
 *	  Items that a version does not know, and of which features tell: what
 *	  fmoe_model_extend would make of them, without a copy of all that it knows.
 *
 * They have the numbers from n_items on, in histories and in lists of items to be
 * scored.  Nobody chose them, so experts that count have nothing of them but that the
 * history has them; what features say is what content and computed vectors read.
 */
#include "model/expert/expert.h"
#include "model/registry.h"
#include "model/serve/serve_private.h"

#include <string.h>

#define ROWS_BETWEEN_POLLS 4096

/* ---------------------------------------------------------------- some items */

/* Rows of a feature: where item i is, in the model's features or the strangers'. */
static const FmoeFeature *
feature_of(const FmoeExpert *expert, int feature, int32_t item, int64_t *row)
{
	*row = item < expert->n_items ? item : item - expert->n_items;
	return &(item < expert->n_items ? expert->features : expert->strangers)->feature[feature];
}

static void
select_bag(const FmoeExpert *expert, FnnArena *arena, int feature, int32_t n, const int32_t *item, FmoeFeature *to)
{
	int64_t    *offset = fnn_alloc(arena, sizeof(int64_t) * ((size_t) n + 1));
	int32_t    *term;
	float	   *weight;

	offset[0] = 0;
	for (int32_t i = 0; i < n; i++)
	{
		int64_t		row;
		const FmoeFeature *from = feature_of(expert, feature, item[i], &row);

		offset[i + 1] = offset[i] + from->offset[row + 1] - from->offset[row];
	}
	term = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), offset[n], sizeof(int32_t)));
	weight = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), offset[n], sizeof(float)));
	for (int32_t i = 0; i < n; i++)
	{
		int64_t		row;
		const FmoeFeature *from = feature_of(expert, feature, item[i], &row);

		for (int64_t k = 0; k < offset[i + 1] - offset[i]; k++)
		{
			term[offset[i] + k] = from->term[from->offset[row] + k];
			weight[offset[i] + k] = from->weight != NULL ? from->weight[from->offset[row] + k] : 1;
		}
	}
	to->offset = offset;
	to->term = term;
	to->weight = to->weight != NULL ? weight : NULL;
}

static void
select_rows(const FmoeExpert *expert, FnnArena *arena, int feature, int32_t n, const int32_t *item, FmoeFeature *to)
{
	float	   *value = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), (int64_t) n * to->width, sizeof(float)));

	for (int32_t i = 0; i < n; i++)
	{
		int64_t		row;
		const FmoeFeature *from = feature_of(expert, feature, item[i], &row);

		memcpy(value + (int64_t) i * to->width, from->value + row * to->width, sizeof(float) * (size_t) to->width);
	}
	to->value = value;
}

static const FmoeFeatures *
select_features(const FmoeExpert *expert, FnnArena *arena, int32_t n, const int32_t *item)
{
	FmoeFeatures *to;

	if (expert->features == NULL)
		return NULL;
	to = fnn_alloc(arena, sizeof(FmoeFeatures));
	*to = *expert->features;
	to->n = n;
	for (int i = 0; i < to->count; i++)
	{
		if (to->feature[i].value != NULL)
			select_rows(expert, arena, i, n, item, &to->feature[i]);
		else
			select_bag(expert, arena, i, n, item, &to->feature[i]);
	}
	return to;
}

/* Adds the mean of the rows of a table, of columns from .. cols - 1. */
static void
add_mean_row(const FnnTensor *table, FnnArena *arena, int64_t from, fnn_real *row)
{
	double	   *sum = fnn_zalloc(arena, sizeof(double) * (size_t) table->cols);

	for (int64_t i = 0; i < table->rows; i++)
	{
		for (int64_t c = from; c < table->cols; c++)
			sum[c] += table->value[i * table->cols + c];
		if (i % ROWS_BETWEEN_POLLS == 0)
			fnn_poll(fnn_arena_host(arena));
	}
	for (int64_t c = from; c < table->cols && table->rows > 0; c++)
		row[c] += (fnn_real) (sum[c] / (double) table->rows);
}

size_t
fmoe_unchosen_bytes(const FmoeModel *model)
{
	return fmoe_has_gate(model) && fmoe_can_meet(model)
		? sizeof(fnn_real) * (size_t) model->expert[FMOE_MAIN].tensor[0].cols : 0;
}

void
fmoe_unchosen_build(const FmoeModel *model, FnnArena *arena, fnn_real *row)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	const FmoeExpert *popularity = &model->expert[FMOE_POPULARITY];
	const FnnTensor *table = &main->tensor[0];
	int64_t		cols = table->cols;
	int64_t		first = fmoe_computes_items(main->class, main->config) ? model->gate.begin[1] : 0;
	FnnMark		mark = fnn_arena_mark(arena);

	memset(row, 0, sizeof(fnn_real) * (size_t) cols);
	for (int32_t i = 0; i < model->n_items && first < cols; i++)
		if (popularity->class->counter->level(popularity, i) == 0)
		{
			memcpy(row + first, table->value + i * cols + first, sizeof(fnn_real) * (size_t) (cols - first));
			return;
		}
	add_mean_row(table, arena, first, row);
	fnn_arena_reset(arena, mark);
}

/* The row of the first parameter that an item has which nobody chose, as fmoe_model_extend gives it. */
static const fnn_real *
unchosen_row(const FmoeModel *model, FnnArena *arena, int64_t cols)
{
	fnn_real   *row;

	if (model->unchosen != NULL)
		return model->unchosen;
	row = fnn_zalloc(arena, sizeof(fnn_real) * (size_t) cols);
	if (fmoe_has_gate(model))
		fmoe_unchosen_build(model, arena, row);
	return row;
}

/* The parameters over some items, in place of all. */
static FnnTensor *
select_parameters(const FmoeModel *model, FnnArena *arena, int32_t n, const int32_t *item)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FnnTensor  *tensor = fnn_alloc(arena, sizeof(FnnTensor) * (size_t) main->params->count);

	for (int p = 0; p < main->params->count; p++)
	{
		const FnnTensor *from = &main->tensor[p];
		const fnn_real *unknown = NULL;
		fnn_real   *value;

		tensor[p] = *from;
		if (main->params->list[p].rows_of != FNN_OF_ITEMS)
			continue;
		tensor[p].rows = n;
		tensor[p].value = value = fnn_zalloc(arena, sizeof(fnn_real) * (size_t) (n * from->cols));
		for (int32_t i = 0; i < n; i++)
		{
			const fnn_real *row = item[i] < model->n_items ? from->value + item[i] * from->cols : NULL;

			if (row == NULL && p == 0)
				row = unknown != NULL ? unknown : (unknown = unchosen_row(model, arena, from->cols));
			if (row != NULL)
				memcpy(value + i * from->cols, row, sizeof(fnn_real) * (size_t) from->cols);
		}
	}
	return tensor;
}

FmoeExpert
fmoe_among(const FmoeModel *model, FnnArena *arena, int32_t n, const int32_t *item)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeExpert	among = *main;
	int64_t		width = model->vectors.cols;
	FnnTensor  *vectors;

	among.n_items = n;
	among.features = select_features(main, arena, n, item);
	among.strangers = NULL;
	among.tensor = select_parameters(model, arena, n, item);
	among.items = NULL;
	if (main->items == NULL || model->strangers.vector == NULL)
		return among;
	vectors = fnn_zalloc(arena, sizeof(FnnTensor));
	vectors->rows = n;
	vectors->cols = width;
	vectors->value = fnn_alloc_reals(arena, n, width);
	for (int32_t i = 0; i < n; i++)
		memcpy(vectors->value + i * width, fmoe_vector_of(model, item[i]), sizeof(fnn_real) * (size_t) width);
	among.items = vectors;
	return among;
}

FmoeAmong
fmoe_among_those(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int64_t n, const int32_t *item)
{
	FmoeAmong	among = {.expert = model->expert[FMOE_MAIN], .batch = *batch, .item = item};
	int64_t		tokens = batch->n_tokens;
	int32_t    *every;
	int32_t    *distinct;
	int32_t    *row;

	if (!fmoe_has_strangers(model, n, item) && !fmoe_has_strangers(model, tokens, batch->events.item))
		return among;
	every = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), 3 * (tokens + n), sizeof(int32_t)));
	distinct = every + tokens + n;
	row = distinct + tokens + n;
	memcpy(every, batch->events.item, sizeof(int32_t) * (size_t) tokens);
	memcpy(every + tokens, item, sizeof(int32_t) * (size_t) n);
	n = fmoe_number_items(arena, tokens + n, every, model->n_items + model->strangers.n, distinct, row);
	among.expert = fmoe_among(model, arena, (int32_t) n, distinct);
	among.batch.events.item = row;
	among.item = row + tokens;
	return among;
}

/* ---------------------------------------------------------------- meeting them */

bool
fmoe_can_meet(const FmoeModel *model)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];

	if (model->features.count == 0)
		return false;
	if (fmoe_only_counts(main->class))
		return main->class->counter->told != NULL && main->class->counter->first_day;
	/* what was counted of a history's items has their own numbers */
	if ((fmoe_reads(main->class, main->config) & FMOE_READS_COUNTS) != 0 || !fmoe_has_vectors(model))
		return false;
	return fmoe_computes_items(main->class, main->config) ||
		(fmoe_has_gate(model) && model->expert[FMOE_CONTENT].features != NULL);
}

void
fmoe_meet(FmoeModel *met, FnnArena *arena, const FmoeModel *model, const FmoeFeatures *theirs)
{
	FmoeExpert *main = &met->expert[FMOE_MAIN];
	int32_t    *item;
	fnn_real   *vector;
	FnnTensor  *computed;
	FmoeExpert	among;
	FnnMark		mark;
	FnnTape		tape;

	*met = *model;
	met->strangers = (FmoeStrangers) {.n = theirs->n};
	for (int slot = 0; slot < FMOE_GATED; slot++)
		if (met->expert[slot].features != NULL)
			met->expert[slot].strangers = theirs;
	if (fmoe_only_counts(main->class) || theirs->n == 0)
		return;
	vector = fnn_zalloc(arena, sizeof(fnn_real) * (size_t) (theirs->n * model->items.cols));
	mark = fnn_arena_mark(arena);
	item = fnn_alloc(arena, sizeof(int32_t) * (size_t) theirs->n);
	for (int32_t i = 0; i < theirs->n; i++)
		item[i] = model->n_items + i;
	among = fmoe_among(met, arena, theirs->n, item);
	fnn_tape_begin(&tape, arena, false, 0, 0);
	computed = fmoe_computes_items(main->class, main->config) ? main->class->items(&among, &tape, theirs->n, NULL)
		: &among.tensor[0];
	for (int32_t i = 0; i < theirs->n; i++)
		memcpy(vector + i * model->items.cols, computed->value + i * computed->cols,
			   sizeof(fnn_real) * (size_t) model->vectors.cols);
	fnn_arena_reset(arena, mark);
	met->strangers.vector = vector;
}

const fnn_real *
fmoe_item_vector(const FmoeModel *model, int32_t item)
{
	const FnnTensor *vectors = fmoe_vectors(model);

	return item < model->n_items ? vectors->value + item * vectors->stride : fmoe_vector_of(model, item);
}

bool
fmoe_has_strangers(const FmoeModel *model, int64_t n, const int32_t *item)
{
	for (int64_t i = 0; i < n && model->strangers.n > 0; i++)
		if (item[i] >= model->n_items)
			return true;
	return false;
}

/* ---------------------------------------------------------------- their scores */

/* Adds to score[n] of strangers weight x what an expert that counts reads of them. */
static void
add_told(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int64_t n, const int32_t *item,
		 double weight, fnn_real *score)
{
	double	   *value;

	if (expert->class->counter->told == NULL || weight == 0)
		return;
	value = fnn_zalloc(arena, sizeof(double) * (size_t) n);
	expert->class->counter->told(expert, arena, batch, 0, n, item, value);
	for (int64_t i = 0; i < n; i++)
		score[i] += (fnn_real) (weight * value[i]);
}

void
fmoe_scores_of_strangers(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
						 const fnn_real *hidden, int64_t n, const int32_t *item, fnn_real *score)
{
	const FmoeExpert *expert = &model->expert[slot];
	FnnMark		mark = fnn_arena_mark(arena);

	memset(score, 0, sizeof(fnn_real) * (size_t) n);
	if (hidden != NULL)
	{
		for (int64_t i = 0; i < n; i++)
			fnn_products(1, model->items.cols, fmoe_vector_of(model, item[i]), NULL, hidden, &score[i]);
		for (int k = FMOE_MAIN + 1; k < FMOE_GATED && fmoe_has_gate(model); k++)
			add_told(&model->expert[k], arena, batch, n, item, fmoe_gate_weight(model, batch, k), score);
	}
	else if (batch->last[0] >= 0 && fmoe_only_counts(expert->class))
		add_told(expert, arena, batch, n, item, 1, score);
	fnn_arena_reset(arena, mark);
}

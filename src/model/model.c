/*
 * model.c
 *	  A version's experts over its stored arrays: setting up, scoring.
 */
#include "experts.h"

#include <string.h>

/* The array of that name, checked against dtype and shape (cols < 0: one dimension of any length). */
static const FnnArray *
find_array(const FnnHost *host, int n_arrays, const FnnArray *arrays, const char *name,
		   FnnDtype dtype, int64_t rows, int64_t cols)
{
	const FnnArray *array = NULL;
	int			i;

	for (i = 0; i < n_arrays && array == NULL; i++)
	{
		if (strcmp(arrays[i].name, name) == 0)
			array = &arrays[i];
	}
	if (array == NULL)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" is missing", name);
	if (array->dtype != dtype)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has type %s where %s is expected",
				 name, fnn_dtype_name(array->dtype), fnn_dtype_name(dtype));
	if (cols < 0)
	{
		if (array->ndim != 1)
			fnn_fail(host, FNN_FORMAT, "array \"%s\" has %d dimensions where 1 is expected", name, array->ndim);
		rows = array->shape[0];
		cols = 1;
	}
	else if (array->ndim != 2 || array->shape[0] != rows || array->shape[1] != cols)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" does not have the shape %lld x %lld", name,
				 (long long) rows, (long long) cols);
	if (rows < 0 || array->bytes != fnn_mul_size(host, fnn_mul_size(host, rows, cols), fnn_dtype_size(dtype)))
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %zu bytes, which is not what its shape needs", name, array->bytes);
	return array;
}

static void
bind_expert(FmoeExpert *expert, const FnnHost *host, int n_arrays, const FnnArray *arrays, bool check)
{
	const FmoeExpertClass *class = expert->class;
	int			i;

	if (fmoe_counts(class))
	{
		for (i = 0; class->array_names[i] != NULL; i++)
			expert->array[i] = *find_array(host, n_arrays, arrays, class->array_names[i],
										   class->array_dtypes[i], 0, -1);
		if (check)
			class->check(expert, host);
		return;
	}
	for (i = 0; i < expert->params.count; i++)
	{
		const FnnParam *param = &expert->params.list[i];
		const FnnArray *array = find_array(host, n_arrays, arrays, param->name, FMOE_REAL_DTYPE,
										   param->rows, param->cols);

		expert->tensor[i].rows = param->rows;
		expert->tensor[i].cols = param->cols;
		expert->tensor[i].value = array->data;
	}
}

void
fmoe_expert_use_counts(FmoeExpert *expert, const FmoeModel *model)
{
	expert->popularity = &model->expert[FMOE_POPULARITY];
	expert->markov = &model->expert[FMOE_MARKOV];
}

static void
bind_model(FmoeModel *model, const FnnHost *host, const FmoeConfig *config, int32_t n_items,
		   int n_arrays, const FnnArray *arrays, bool check)
{
	const FmoeExpertClass *class[FMOE_SLOTS];
	int			slot;

	class[FMOE_MAIN] = fmoe_expert_classes[config->model];
	class[FMOE_POPULARITY] = &fmoe_popularity_class;
	class[FMOE_MARKOV] = &fmoe_markov_class;
	model->config = *config;
	model->n_items = n_items;
	model->scan = NULL;
	for (slot = 0; slot < FMOE_SLOTS; slot++)
	{
		fmoe_expert_setup(&model->expert[slot], host, class[slot], config, n_items);
		bind_expert(&model->expert[slot], host, n_arrays, arrays, check);
	}
	fmoe_expert_use_counts(&model->expert[FMOE_MAIN], model);
}

void
fmoe_model_bind(FmoeModel *model, const FnnHost *host, const FmoeConfig *config, int32_t n_items,
				int n_arrays, const FnnArray *arrays)
{
	bind_model(model, host, config, n_items, n_arrays, arrays, true);
}

void
fmoe_model_open(FmoeModel *model, const FnnHost *host, const FmoeConfig *config, int32_t n_items,
				int n_arrays, const FnnArray *arrays)
{
	bind_model(model, host, config, n_items, n_arrays, arrays, false);
}

int
fmoe_expert_arrays(const FmoeExpert *expert, FnnArray *out, int max)
{
	int			n = 0;
	int			i;

	if (fmoe_counts(expert->class))
	{
		for (i = 0; expert->class->array_names[i] != NULL && n < max; i++)
			out[n++] = expert->array[i];
		return n;
	}
	for (i = 0; i < expert->params.count && n < max; i++)
	{
		const FnnParam *param = &expert->params.list[i];
		FnnArray   *array = &out[n++];

		memset(array, 0, sizeof(*array));
		strcpy(array->name, param->name);
		array->dtype = FMOE_REAL_DTYPE;
		array->ndim = 2;
		array->shape[0] = param->rows;
		array->shape[1] = param->cols;
		array->data = expert->tensor[i].value;
		array->bytes = (size_t) param->rows * param->cols * sizeof(fnn_real);
	}
	return n;
}

int
fmoe_model_arrays(const FmoeModel *model, FnnArray *out, int max)
{
	int			n = 0;
	int			slot;

	for (slot = FMOE_POPULARITY; slot < FMOE_SLOTS; slot++)
		n += fmoe_expert_arrays(&model->expert[slot], out + n, max - n);
	if (!fmoe_counts(model->expert[FMOE_MAIN].class))
		n += fmoe_expert_arrays(&model->expert[FMOE_MAIN], out + n, max - n);
	return n;
}

/* The batch without its empty sequences; of[i] is which sequence the i-th one was. */
FmoeBatch
fmoe_without_empty(FnnArena *arena, const FmoeBatch *batch, int32_t *of)
{
	const FnnHost *host = fnn_arena_host(arena);
	int32_t		count = batch->sequences.count;
	int32_t    *offset = fnn_alloc(arena, fnn_mul_size(host, (size_t) count + 1, sizeof(int32_t)));
	int32_t    *last = fnn_alloc(arena, fnn_mul_size(host, count, sizeof(int32_t)));
	FmoeBatch	full = *batch;
	int32_t		n = 0;
	int32_t		i;

	offset[0] = 0;
	for (i = 0; i < count; i++)
	{
		if (batch->last[i] < 0)
			continue;
		of[n] = i;
		last[n] = batch->last[i];
		offset[++n] = batch->sequences.offset[i + 1];
	}
	full.sequences.count = n;
	full.sequences.offset = offset;
	full.last = last;
	return full;
}

/* Hidden state [full->sequences.count, width] of each last token. */
static FnnTensor *
encode_last(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *full)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	return expert->class->encode(expert, &tape, full, true);
}

void
fmoe_encode(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden)
{
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		width = expert->tensor[0].cols;
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);
	int32_t		i;

	memset(hidden, 0, sizeof(fnn_real) * batch->sequences.count * width);
	if (full.sequences.count > 0)
	{
		FnnTensor  *last = encode_last(expert, arena, &full);

		for (i = 0; i < full.sequences.count; i++)
			memcpy(hidden + of[i] * width, last->value + i * width, sizeof(fnn_real) * width);
	}
	fnn_arena_reset(arena, mark);
}

static void
raise_row(const FmoeModel *model, int32_t last, const fnn_real *hidden, fnn_real *score)
{
	FmoeRaised	raised = fmoe_raised(model, last, hidden);

	for (int64_t k = 0; k < raised.row.n; k++)
		score[raised.row.to[k]] += (fnn_real) fmoe_raised_by(&raised, k);
}

/* scores [sequences.count, n_items]; rows of empty sequences are left alone. */
static void
score_by_encoder(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *scores)
{
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	const FnnHost *host = fnn_arena_host(arena);
	int64_t		n_items = expert->n_items;
	int64_t		width = expert->tensor[0].cols;
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(host, batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);
	FnnTensor  *hidden;
	int32_t		i;

	if (full.sequences.count == 0)
		return;
	hidden = encode_last(expert, arena, &full);
	fnn_gemm(host, false, true, full.sequences.count, n_items, width, 1, hidden->value, width,
			 expert->tensor[0].value, width, 0, scores, n_items);

	/* from the last: a row only ever moves down */
	for (i = full.sequences.count - 1; i >= 0; i--)
	{
		if (of[i] != i)
			memcpy(scores + of[i] * n_items, scores + i * n_items, sizeof(fnn_real) * n_items);
		raise_row(model, batch->item[full.last[i]], hidden->value + i * width, scores + of[i] * n_items);
	}
}

void
fmoe_score(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch, fnn_real *scores)
{
	const FmoeExpert *expert = &model->expert[slot];
	const FmoeExpert *popularity = &model->expert[FMOE_POPULARITY];
	FnnMark		mark = fnn_arena_mark(arena);
	bool		counts = fmoe_counts(expert->class);
	int64_t		n_items = model->n_items;
	int32_t		i;

	if (!counts)
		score_by_encoder(model, arena, batch, scores);
	for (i = 0; i < batch->sequences.count; i++)
	{
		if (batch->last[i] < 0)
			popularity->class->score(popularity, batch, i, scores + i * n_items);
		else if (counts)
			expert->class->score(expert, batch, i, scores + i * n_items);
		fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

void
fmoe_count_experts(FmoeModel *model, FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data)
{
	const FnnHost *host = fnn_arena_host(arena);
	const FmoeExpertClass *main = fmoe_expert_classes[config->model];
	int			slot;

	model->config = *config;
	model->n_items = data->n_items;
	model->scan = NULL;
	fmoe_expert_setup(&model->expert[FMOE_POPULARITY], host, &fmoe_popularity_class, config, data->n_items);
	fmoe_expert_setup(&model->expert[FMOE_MARKOV], host, &fmoe_markov_class, config, data->n_items);
	for (slot = FMOE_POPULARITY; slot < FMOE_SLOTS; slot++)
	{
		FmoeExpert *expert = &model->expert[slot];

		expert->class->count(expert, arena, data, (FmoeHoldout) config->holdout);
		if (expert->class == main)
			model->expert[FMOE_MAIN] = *expert;
	}
}

/*
 * bind.c
 *	  A version's experts over its stored arrays: setting up, scoring.
 */
#include "model/expert/expert.h"
#include "model/registry.h"
#include "model/serve/serve.h"

/* The array of that name, checked against dtype and shape (cols < 0: one dimension of any length). */
static const FnnArray *
find_array(const FnnHost *host, int n_arrays, const FnnArray *arrays, const char *name,
		   FnnDtype dtype, int64_t rows, int64_t cols)
{
	const FnnArray *array = fnn_find_array(n_arrays, arrays, name);

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

/*
 * expert.c
 *	  What declaring an expert takes, whatever its family.
 */
#include "model/expert/expert.h"

#include <string.h>

FnnParam *
fmoe_declare_items(FnnParams *params, const FnnHost *host, const FmoeConfig *config, int32_t n_items)
{
	FnnParam   *param = fnn_params_add(params, host, "item.weight", n_items, fmoe_item_width(config),
									   FNN_INIT_NORMAL, FMOE_INIT_SCALE);

	param->share = FNN_LOCAL;
	param->decay = true;
	param->sparse = config->loss == FMOE_LOSS_GBCE;
	return param;
}

void
fmoe_declare_matrix(FnnParams *params, const FnnHost *host, const char *name,
					int64_t rows, int64_t cols, FnnInit init, double init_scale)
{
	FnnParam   *param = fnn_params_add(params, host, name, rows, cols, init, init_scale);

	param->share = FNN_ENCODER;
	param->decay = true;
}

void
fmoe_declare_vector(FnnParams *params, const FnnHost *host, const char *name,
					int64_t cols, FnnInit init, double init_scale)
{
	FnnParam   *param = fnn_params_add(params, host, name, 1, cols, init, init_scale);

	param->share = FNN_ENCODER;
	param->decay = false;
}

void
fmoe_expert_setup(FmoeExpert *expert, const FnnHost *host, const FmoeExpertClass *class,
				  const FmoeConfig *config, int32_t n_items)
{
	memset(expert, 0, sizeof(*expert));
	expert->class = class;
	expert->config = *config;
	expert->n_items = n_items;
	if (!fmoe_counts(class))
		class->declare(&expert->params, host, config, n_items);
}

void
fmoe_set_array(FmoeExpert *expert, int index, FnnDtype dtype, int64_t n, void *data)
{
	FnnArray   *array = &expert->array[index];

	memset(array, 0, sizeof(*array));
	strcpy(array->name, expert->class->array_names[index]);
	array->dtype = dtype;
	array->ndim = 1;
	array->shape[0] = n;
	array->data = data;
	array->bytes = (size_t) n * fnn_dtype_size(dtype);
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

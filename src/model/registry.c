/*
 * registry.c
 *	  The expert classes, and what declaring one takes.
 */
#include "experts.h"

#include <string.h>

const FmoeExpertClass *const fmoe_expert_classes[] = {
	&fmoe_sasrec_class,
	&fmoe_gru4rec_class,
	&fmoe_popularity_class,
	&fmoe_markov_class,
	&fmoe_mixture_class,
	NULL
};

const char *const fmoe_expert_names[] = {"sasrec", "gru4rec", "popularity", "markov", "fmoe", NULL};

/* the same rows of both lists are the same classes */
const char *const fmoe_encoder_names[] = {"sasrec", "gru4rec", NULL};

const FmoeExpertClass *
fmoe_expert_class(const char *name)
{
	int			i;

	for (i = 0; fmoe_expert_classes[i] != NULL; i++)
	{
		if (strcmp(fmoe_expert_classes[i]->name, name) == 0)
			return fmoe_expert_classes[i];
	}
	return NULL;
}

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

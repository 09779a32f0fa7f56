/*
 * encoder.c
 *	  The part of an expert that may leave: its encoder.
 *
 * It consists of the parameters that the class declares FNN_PUBLIC, and no others.
 */
#include "postgres.h"

#include "common/string.h"

#include "pg/file/file_private.h"

/* The parameters that the model's class declares; NULL for classes that only count. */
static FnnParams *
declared_params(const FmoeConfig *config, int32 n_items)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	FnnParams  *params;

	if (fmoe_only_counts(class))
		return NULL;
	params = palloc0(sizeof(FnnParams));
	fmoe_declare_class(params, fmoe_host(CurrentMemoryContext), class, config, &(FmoeFacts) {.n_items = n_items});
	return params;
}

int
fmoe_keep_encoder(const FmoeConfig *config, int32 n_items, int n, FnnArray *arrays)
{
	FmoeShape	shape;
	FnnParams  *params;
	int			kept = 0;

	/* what others cannot take may need what only this database knows to be declared */
	if (!fmoe_lendable(config, &shape))
		return 0;
	params = declared_params(config, n_items);
	for (int i = 0; i < n; i++)
	{
		int			index = fnn_params_find(params, arrays[i].name);

		if (index >= 0 && params->list[index].share == FNN_PUBLIC)
			arrays[kept++] = arrays[i];
	}
	return kept;
}

bool
fmoe_is_exchange(const FmoeExpertFile *file)
{
	const FmoeConfig *config = &file->facts.config;

	return fmoe_federated(fmoe_expert_classes[config->model], config) != NULL &&
		fnn_find_array(file->n_arrays, file->arrays, FMOE_EXCHANGE_FACTS) != NULL;
}

/* The training that reads an exchange knows which arrays there are, and of what shape. */
static void
check_exchange(const FmoeExpertFile *file)
{
	for (int i = 0; i < file->n_arrays; i++)
	{
		const FnnArray *array = &file->arrays[i];

		if (strncmp(array->name, FMOE_EXCHANGE_STATE, strlen(FMOE_EXCHANGE_STATE)) != 0 &&
			strncmp(array->name, FMOE_EXCHANGE_CHANGE, strlen(FMOE_EXCHANGE_CHANGE)) != 0 &&
			strcmp(array->name, FMOE_EXCHANGE_FACTS) != 0)
			fmoe_bad_file("Array \"%s\" is not part of an exchange.", pg_is_ascii(array->name) ? array->name : "?");
		if (array->dtype != FNN_F32 || array->ndim != 2)
			fmoe_bad_file("Array \"%s\" is not %s with rows and columns.", array->name, fnn_dtype_name(FNN_F32));
	}
}

static void
check_encoder(const FmoeExpertFile *file)
{
	FnnParams  *params = declared_params(&file->facts.config, file->facts.items);
	int			expected = 0;

	if (params == NULL)
		fmoe_bad_file("Experts of model \"%s\" have no encoder.", file->facts.model);
	for (int i = 0; i < params->count; i++)
		expected += params->list[i].share == FNN_PUBLIC;
	for (int i = 0; i < file->n_arrays; i++)
	{
		const FnnArray *array = &file->arrays[i];
		int			index = fnn_params_find(params, array->name);
		const FnnParam *param = index >= 0 ? &params->list[index] : NULL;

		if (param == NULL || param->share != FNN_PUBLIC)
			fmoe_bad_file("Array \"%s\" is not part of the encoder of model \"%s\".",
						  pg_is_ascii(array->name) ? array->name : "?", file->facts.model);
		if (array->dtype != FNN_F32 || array->ndim != 2 ||
			array->shape[0] != param->rows || array->shape[1] != param->cols)
			fmoe_bad_file("Array \"%s\" is not %s with %lld rows and %lld columns.", array->name,
						  fnn_dtype_name(FNN_F32), (long long) param->rows, (long long) param->cols);
	}
	if (file->n_arrays != expected)
		fmoe_bad_file("It holds %d arrays where the encoder of model \"%s\" has %d.",
					  file->n_arrays, file->facts.model, expected);
}

void
fmoe_expert_check_encoder(const FmoeExpertFile *file)
{
	if (fmoe_is_exchange(file))
		check_exchange(file);
	else
		check_encoder(file);
}

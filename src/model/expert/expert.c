/*
 * expert.c
 *	  What experts of all classes share: declaring parameters, arrays, traits.
 */
#include "model/expert/expert.h"
#include "model/expert/gated.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- declaring */

FnnParam *
fmoe_declare(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t rows, int64_t cols,
			 FnnInit init, double init_scale)
{
	char		full[2 * FNN_NAME_MAX];
	FnnParam   *param;

	snprintf(full, sizeof(full), "%s%s", to->prefix, name);
	param = fnn_params_add(to->params, to->host, full, rows, cols, init, init_scale);
	param->share = to->share;
	param->group = group;
	param->decay = rows > 1;
	param->frozen = (to->frozen & FNN_GROUP_BIT(group)) != 0;
	return param;
}

FnnParam *
fmoe_declare_weight(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t out, int64_t in,
					FnnInit init, double init_scale)
{
	FnnParam   *param = fmoe_declare(to, group, name, out, in, init, init_scale);

	param->linear = true;
	param->decay = true;
	return param;
}

void
fmoe_declare_linear(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t out, int64_t in)
{
	char		full[FNN_NAME_MAX];

	snprintf(full, sizeof(full), "%s.weight", name);
	fmoe_declare_weight(to, group, full, out, in, FNN_INIT_NORMAL, FMOE_INIT_SCALE);
	snprintf(full, sizeof(full), "%s.bias", name);
	fmoe_declare(to, group, full, 1, out, FNN_INIT_ZERO, 0);
}

void
fmoe_declare_norm(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t width)
{
	char		full[FNN_NAME_MAX];

	snprintf(full, sizeof(full), "%s.gain", name);
	fmoe_declare(to, group, full, 1, width, FNN_INIT_ONE, 0);
	snprintf(full, sizeof(full), "%s.bias", name);
	fmoe_declare(to, group, full, 1, width, FNN_INIT_ZERO, 0);
}

FnnParam *
fmoe_declare_items(FmoeDeclaring *to, const FmoeConfig *config, int32_t n_items, int64_t width)
{
	FnnParam   *param = fmoe_declare(to, FNN_ITEMS, "item.weight", n_items, width, FNN_INIT_NORMAL, FMOE_INIT_SCALE);

	param->share = FNN_LOCAL;
	param->rows_of = FNN_OF_ITEMS;
	param->decay = true;
	param->sparse = config->loss == FMOE_LOSS_GBCE;
	return param;
}

void
fmoe_declared_lent(FmoeDeclaring *to, int first, bool elsewhere)
{
	for (int s = first; s < to->params->count; s++)
	{
		FnnParam   *param = &to->params->list[s];

		param->share = FNN_LOCAL;
		param->frozen = true;
		param->elsewhere = elsewhere;
	}
}

void
fmoe_declare_class(FnnParams *params, const FnnHost *host, const FmoeExpertClass *class,
				   const FmoeConfig *config, const FmoeFacts *facts)
{
	FmoeDeclaring to = {.params = params, .host = host, .prefix = "", .share = FNN_PUBLIC};

	if (!fmoe_only_counts(class))
		class->declare(&to, config, facts);
}

/* ---------------------------------------------------------------- arrays */

void
fmoe_set_array(FmoeExpert *expert, int index, FnnDtype dtype, int64_t n, void *data)
{
	FnnArray   *array = &expert->array[index];

	memset(array, 0, sizeof(*array));
	strcpy(array->name, expert->class->counter->array_names[index]);
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

	if (fmoe_only_counts(expert->class))
	{
		for (int i = 0; expert->class->counter->array_names[i] != NULL && n < max; i++)
			if (expert->array[i].name[0] != '\0')
				out[n++] = expert->array[i];
		return n;
	}
	for (int i = 0; i < expert->params->count && n < max; i++)
	{
		const FnnParam *param = &expert->params->list[i];
		FnnArray   *array = &out[n];

		/* rows of single users are in no file and no version, a lent base is with its own */
		if (param->share == FNN_PRIVATE || param->elsewhere)
			continue;
		n++;
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

/* ---------------------------------------------------------------- traits */

const char *const fmoe_gated_names[] = {"none", "linear", NULL};

unsigned
fmoe_reads(const FmoeExpertClass *class, const FmoeConfig *config)
{
	unsigned	reads = class->reads != NULL ? class->reads(config) : 0;

	/* what the experts read that count beside it */
	return fmoe_is_gated(class, config) ? reads | FMOE_READS_TEXT | FMOE_READS_VECTORS : reads;
}

static bool
computes(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->computes == NULL || class->computes(config);
}

bool
fmoe_computes_items(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->items != NULL && computes(class, config);
}

bool
fmoe_prepares(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->prepare != NULL && computes(class, config);
}

bool
fmoe_learns(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->learns != NULL ? class->learns(config) : computes(class, config);
}

int64_t
fmoe_step_width(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->step_width != NULL ? class->step_width(config) : 0;
}

int
fmoe_score_parts(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->part_count != NULL ? class->part_count(config) : 1;
}

float
fmoe_counted(double sum)
{
	if (!(sum > 0))
		return 0;
	return sum < FLT_MIN ? FLT_MIN : sum < FLT_MAX ? (float) sum : FLT_MAX;
}

int
fmoe_attempts(const FmoeExpertClass *class, const FmoeConfig *config)
{
	FmoeConfig	copy = *config;

	return class->attempt != NULL && class->attempt(&copy, 1) != NULL ? FMOE_ATTEMPTS_MAX : 1;
}

const FmoeFederated *
fmoe_federated(const FmoeExpertClass *class, const FmoeConfig *config)
{
	const FmoeFederated *federated = class->federated != NULL ? class->federated(config) : NULL;

	return federated != NULL && federated->on ? federated : NULL;
}

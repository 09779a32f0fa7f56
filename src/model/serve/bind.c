/*
 * bind.c
 *	  A version's experts over its stored arrays, and a model's arrays to be stored.
 *
 * Arrays from outside are checked: by name, dtype and shape here, by content in
 * the class.  The names of learned parameters are those of their slices.
 */
#include "model/expert/expert.h"
#include "model/registry.h"
#include "model/serve/serve_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The weight of counted transitions that validation chose. */
#define BLEND_ARRAY "blend.weight"
/* Item vectors that are computed from other things. */
#define ITEMS_ARRAY "items.weight"
/* What the names of a gate's weights begin with; each is two numbers. */
#define GATE_ARRAY "gate.weight."
/* How many cases they were fitted to. */
#define GATE_CASES_ARRAY "gate.cases"

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
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %zu bytes, which is not what its shape needs", name,
				 array->bytes);
	return array;
}

/* ---------------------------------------------------------------- binding */

/* All experts read the model's features. */
static void
bind_features(FmoeModel *model)
{
	for (int slot = 0; slot < FMOE_GATED; slot++)
	{
		model->expert[slot].features = model->features.count > 0 ? &model->features : NULL;
		model->expert[slot].user_features = model->user_features.count > 0 ? &model->user_features : NULL;
	}
}

static void
bind_counter(FmoeExpert *expert, const FnnHost *host, int n_arrays, const FnnArray *arrays, bool check)
{
	const FmoeCounter *counter = expert->class->counter;

	for (int i = 0; counter->array_names[i] != NULL; i++)
		expert->array[i] = *find_array(host, n_arrays, arrays, counter->array_names[i], counter->array_dtypes[i], 0,
									   -1);
	if (check)
		counter->check(expert, host);
}

/* An encoder that the options do not list would be left out without a word. */
static void
check_borrowed(FmoeModel *model, const FnnHost *host, int n_arrays, const FnnArray *arrays)
{
	const FmoeExpertClass *class = model->expert[FMOE_MAIN].class;
	const FmoeLentList *list = fmoe_borrowed(&model->config);
	char		prefix[FNN_NAME_MAX];

	if (list == NULL || list->count >= FMOE_LENT_MAX)
		return;
	class->borrowed_prefix(list->count < 0 ? 0 : list->count, prefix);
	for (int i = 0; i < n_arrays; i++)
		if (strncmp(arrays[i].name, prefix, strlen(prefix)) == 0)
			fnn_fail(host, FNN_FORMAT, "array \"%s\" is of a lent expert that the options do not list",
					 arrays[i].name);
}

static void
bind_learned(FmoeModel *model, const FnnHost *host, int n_arrays, const FnnArray *arrays)
{
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeFacts	facts = {.n_items = model->n_items, .features = main->features, .user_features = main->user_features};

	check_borrowed(model, host, n_arrays, arrays);
	fmoe_declare_class(&model->params, host, main->class, &model->config, &facts);
	main->params = &model->params;
	main->tensor = host->allocate(host->context, fnn_mul_size(host, model->params.count, sizeof(FnnTensor)));
	memset(main->tensor, 0, sizeof(FnnTensor) * model->params.count);
	for (int i = 0; i < model->params.count; i++)
	{
		const FnnParam *param = &model->params.list[i];
		const FnnArray *array = find_array(host, n_arrays, arrays, param->name, FMOE_REAL_DTYPE,
										   param->rows, param->cols);

		main->tensor[i].rows = param->rows;
		main->tensor[i].cols = param->cols;
		main->tensor[i].value = array->data;
	}
}

/* Binds the item vectors: the first parameter, or an array of any width where the class computes them. */
static void
bind_items(FmoeModel *model, const FnnHost *host, int n_arrays, const FnnArray *arrays)
{
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	const FnnArray *array = fnn_find_array(n_arrays, arrays, ITEMS_ARRAY);
	bool		computes = fmoe_computes_items(main->class, main->config);
	bool		gated = fmoe_is_gated(main->class, main->config);

	if (!computes && !gated)
	{
		fmoe_set_items(model, main->tensor[0].cols, main->tensor[0].value, 0);
		return;
	}
	if (array == NULL || array->ndim != 2)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" is missing", ITEMS_ARRAY);
	array = find_array(host, n_arrays, arrays, ITEMS_ARRAY, FMOE_REAL_DTYPE, model->n_items, array->shape[1]);
	if (gated && (array->shape[1] <= FMOE_GATE_COLUMNS ||
				  (!computes && array->shape[1] != main->tensor[0].cols + FMOE_GATE_COLUMNS)))
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %lld columns, which do not fit a gate", ITEMS_ARRAY,
				 (long long) array->shape[1]);
	fmoe_set_items(model, array->shape[1], array->data, gated ? FMOE_GATE_COLUMNS : 0);
}

static void
gate_array_name(const FmoeConfig *config, int expert, char name[FNN_NAME_MAX])
{
	/* a lent expert's name may be longer than an array's */
	if (expert < FMOE_GATED)
		snprintf(name, FNN_NAME_MAX, GATE_ARRAY "%s", fmoe_weighed_name(config, expert));
	else
		snprintf(name, FNN_NAME_MAX, GATE_ARRAY "lent.%d", 1 + expert - FMOE_GATED);
}

/* Reads the weights of an expert from its array; false: there is none. */
static bool
read_gate_array(const FmoeConfig *config, const FnnHost *host, int n_arrays, const FnnArray *arrays, int expert,
				double weight[2])
{
	char		name[FNN_NAME_MAX];
	const FnnArray *array;

	gate_array_name(config, expert, name);
	if (fnn_find_array(n_arrays, arrays, name) == NULL)
		return false;
	array = find_array(host, n_arrays, arrays, name, FNN_F64, 0, -1);
	if (array->shape[0] != 2 || !isfinite(((double *) array->data)[0]) || !isfinite(((double *) array->data)[1]))
		fnn_fail(host, FNN_FORMAT, "array \"%s\" does not hold two finite numbers", name);
	for (int kept = 0; kept < 2; kept++)
		weight[kept] = ((double *) array->data)[kept];
	return true;
}

bool
fmoe_gate_of_arrays(const FmoeConfig *config, const FnnHost *host, int n_arrays, const FnnArray *arrays,
					FmoeGatePrior *prior)
{
	if (!fmoe_is_gated(fmoe_expert_classes[config->model], config))
		return false;
	for (int expert = 0; expert < FMOE_GATED; expert++)
		(void) read_gate_array(config, host, n_arrays, arrays, expert, prior->weight[expert]);
	return true;
}

/* An expert that the gate was made without weighs nothing. */
static void
bind_gate(FmoeModel *model, const FnnHost *host, int n_arrays, const FnnArray *arrays)
{
	FmoeGate   *gate = &model->gate;
	const FnnArray *cases;

	fmoe_gate_setup(gate, &model->config, model->vectors.cols);
	if (gate->begin[gate->parts] != model->vectors.cols)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" does not have the columns of %d experts", ITEMS_ARRAY, gate->parts);
	for (int expert = 0; expert < fmoe_weighed(gate); expert++)
		if (!read_gate_array(&model->config, host, n_arrays, arrays, expert, gate->weight[expert]) &&
			expert == FMOE_MAIN)
			fnn_fail(host, FNN_FORMAT, "array \"%s\" is missing", GATE_ARRAY "own");
	cases = find_array(host, n_arrays, arrays, GATE_CASES_ARRAY, FNN_I64, 0, -1);
	if (cases->shape[0] != 1)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" does not hold one number", GATE_CASES_ARRAY);
	gate->cases = *(const int64_t *) cases->data;
}

static double
bound_blend(const FmoeConfig *config, const FnnHost *host, int n_arrays, const FnnArray *arrays)
{
	double		blend = config->blend;

	/* versions of the first builds keep it among their options */
	if (fnn_find_array(n_arrays, arrays, BLEND_ARRAY) != NULL)
	{
		const FnnArray *array = find_array(host, n_arrays, arrays, BLEND_ARRAY, FNN_F64, 0, -1);

		if (array->shape[0] != 1)
			fnn_fail(host, FNN_FORMAT, "array \"%s\" does not hold one number", BLEND_ARRAY);
		blend = *(const double *) array->data;
	}
	return blend > 0 ? blend : 0;
}

/* How many slots a model of the configuration fills. */
static int
slots_of(const FmoeConfig *config)
{
	return fmoe_is_gated(fmoe_expert_classes[config->model], config) ? FMOE_GATED : FMOE_SLOTS;
}

/* Whether a main expert of the class counts, and is none of those that every version has. */
static bool
counts_alone(const FmoeExpertClass *class)
{
	for (int slot = FMOE_POPULARITY; slot < FMOE_SLOTS; slot++)
		if (fmoe_slot_classes[slot] == class)
			return false;
	return fmoe_only_counts(class);
}

void
fmoe_model_setup(FmoeModel *model, const FmoeConfig *config, int32_t n_items)
{
	memset(model, 0, sizeof(*model));
	model->config = *config;
	model->n_items = n_items;
	for (int slot = 0; slot < FMOE_GATED; slot++)
	{
		FmoeExpert *expert = &model->expert[slot];

		expert->class = slot == FMOE_MAIN ? fmoe_expert_classes[config->model] : fmoe_slot_classes[slot];
		expert->config = &model->config;
		expert->n_items = n_items;
		expert->array = model->array[slot];
		expert->counts = model->expert;
	}
	model->together = (FmoeExpert)
	{
		.class = &fmoe_together_class,
			.config = &model->config,
			.n_items = n_items,
			.array = model->together_array
		};
}

/* Whether a gate was made without an expert, which then knows nothing. */
static bool
made_without(FmoeModel *model, int slot, int n_arrays, const FnnArray *arrays)
{
	const double *weight = model->gate.weight[slot];
	const char *name = model->expert[slot].class->counter->array_names[0];

	if (slot < FMOE_SLOTS || weight[0] != 0 || weight[1] != 0 || name == NULL ||
		fnn_find_array(n_arrays, arrays, name) != NULL)
		return false;
	model->expert[slot].features = NULL;
	return true;
}

static void
bind_model(FmoeModel *model, const FnnHost *host, const FmoeConfig *config, int32_t n_items,
		   int n_arrays, const FnnArray *arrays, bool check)
{
	FmoeExpert *main = &model->expert[FMOE_MAIN];

	fmoe_model_setup(model, config, n_items);
	fmoe_features_bind(&model->features, host, FMOE_OF_ITEMS, n_items, n_arrays, arrays, check);
	fmoe_features_bind(&model->user_features, host, FMOE_OF_USERS, -1, n_arrays, arrays, check);
	bind_features(model);
	if (!fmoe_only_counts(main->class))
	{
		bind_learned(model, host, n_arrays, arrays);
		bind_items(model, host, n_arrays, arrays);
		if (fmoe_is_gated(main->class, config))
			bind_gate(model, host, n_arrays, arrays);
		else
			model->blend = bound_blend(config, host, n_arrays, arrays);
	}
	for (int slot = 0; slot < slots_of(config); slot++)
		if (fmoe_only_counts(model->expert[slot].class) && !made_without(model, slot, n_arrays, arrays))
			bind_counter(&model->expert[slot], host, n_arrays, arrays, check);
	if (main->class->building != NULL)
		main->merged = main->class->building->merge(main, host);
	/* models that are values, and versions of the first builds, have no such counts */
	if (fnn_find_array(n_arrays, arrays, fmoe_together_class.counter->array_names[0]) != NULL)
		bind_counter(&model->together, host, n_arrays, arrays, check);
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

/* ---------------------------------------------------------------- arrays */

static FnnArray
own_array(const char *name, FnnDtype dtype, int64_t rows, int64_t cols, const void *data)
{
	FnnArray	array = {.dtype = dtype, .ndim = cols > 0 ? 2 : 1, .shape = {rows, cols}, .data = (void *) data};

	strcpy(array.name, name);
	array.bytes = (size_t) rows * (size_t) (cols > 0 ? cols : 1) * fnn_dtype_size(dtype);
	return array;
}

static int
gate_arrays(const FmoeModel *model, FnnArray *out, int max)
{
	int			n = 0;

	for (int expert = 0; expert < fmoe_weighed(&model->gate) && n < max; expert++)
	{
		char		name[FNN_NAME_MAX];

		gate_array_name(&model->config, expert, name);
		out[n++] = own_array(name, FNN_F64, 2, 0, model->gate.weight[expert]);
	}
	if (n < max)
		out[n++] = own_array(GATE_CASES_ARRAY, FNN_I64, 1, 0, &model->gate.cases);
	return n;
}

int
fmoe_model_arrays_max(const FmoeModel *model)
{
	return model->params.count + (FMOE_GATED + 1) * FMOE_ARRAYS_MAX + 2 * FMOE_FEATURE_ARRAYS_MAX + 2 +
		FMOE_WEIGHED_MAX + 1;
}

const FnnTensor *
fmoe_private_rows(const FmoeModel *model)
{
	for (int i = 0; i < model->params.count; i++)
		if (model->params.list[i].share == FNN_PRIVATE)
			return &model->expert[FMOE_MAIN].tensor[i];
	return NULL;
}

/* The features of users as a version has them: the names of their values, and no user. */
static int
user_feature_arrays(const FmoeModel *model, FnnArray *out, int max)
{
	static const int64_t nobody[1] = {0};
	int			n = fmoe_features_arrays(&model->user_features, FMOE_OF_USERS, out, max);

	for (int i = 0; i < n; i++)
	{
		const char *of = strrchr(out[i].name, '.') + 1;
		bool		offsets = strcmp(of, "offset") == 0;

		if (!offsets && strcmp(of, "term") != 0 && strcmp(of, "weight") != 0 && strcmp(of, "value") != 0)
			continue;
		out[i].shape[0] = offsets;
		out[i].bytes = offsets ? sizeof(nobody) : 0;
		out[i].data = offsets ? (void *) nobody : out[i].data;
	}
	return n;
}

int
fmoe_model_arrays(const FmoeModel *model, FnnArray *out, int max)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	int			n = 0;

	for (int slot = FMOE_POPULARITY; slot < slots_of(&model->config); slot++)
		n += fmoe_expert_arrays(&model->expert[slot], out + n, max - n);
	if (fmoe_has_together(&model->together))
		n += fmoe_expert_arrays(&model->together, out + n, max - n);
	if (counts_alone(main->class))
		n += fmoe_expert_arrays(main, out + n, max - n);
	n += fmoe_features_arrays(&model->features, FMOE_OF_ITEMS, out + n, max - n);
	n += user_feature_arrays(model, out + n, max - n);
	if (fmoe_only_counts(main->class))
		return n;
	n += fmoe_expert_arrays(main, out + n, max - n);
	if ((fmoe_computes_items(main->class, main->config) || fmoe_has_gate(model)) && n < max)
		out[n++] = own_array(ITEMS_ARRAY, FMOE_REAL_DTYPE, model->items.rows, model->items.cols, model->items.value);
	if (fmoe_has_gate(model))
		return n + gate_arrays(model, out + n, max - n);
	if (n < max)
		out[n++] = own_array(BLEND_ARRAY, FNN_F64, 1, 0, &model->blend);
	return n;
}

/* ---------------------------------------------------------------- making */

void
fmoe_count_experts(FmoeModel *model, FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeExpert *main = &model->expert[FMOE_MAIN];

	fmoe_model_setup(model, config, data->n_items);
	if (data->features != NULL && (fmoe_reads(main->class, config) & FMOE_READS_FEATURES) != 0)
		model->features = *data->features;
	if (data->user_features != NULL && (fmoe_reads(main->class, config) & FMOE_READS_USERS) != 0)
		model->user_features = *data->user_features;
	bind_features(model);
	for (int slot = FMOE_POPULARITY; slot < slots_of(config); slot++)
	{
		FmoeExpert *expert = &model->expert[slot];

		expert->class->counter->count(expert, arena, data, (FmoeHoldout) config->holdout);
		if (expert->class == main->class)
			*main = *expert;
	}
	if (counts_alone(main->class))
		main->class->counter->count(main, arena, data, (FmoeHoldout) config->holdout);
}

size_t
fmoe_counts_bytes(const FmoeConfig *config, const FmoeDataset *data)
{
	const FmoeExpertClass *main = fmoe_expert_classes[config->model];
	double		bytes = counts_alone(main) ? main->counter->bytes(data->n_events, data->n_items, data->features) : 0;

	for (int slot = FMOE_POPULARITY; slot < slots_of(config); slot++)
		bytes += fmoe_slot_classes[slot]->counter->bytes(data->n_events, data->n_items, data->features);
	return (size_t) bytes;
}

void
fmoe_count_together(FmoeModel *model, FnnArena *arena, const FmoeDataset *data)
{
	fmoe_together_class.counter->count(&model->together, arena, data, (FmoeHoldout) model->config.holdout);
}

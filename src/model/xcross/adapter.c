/*
 * adapter.c
 *	  Adapters of a base, merged into its maps.
 */
#include "model/xcross/adapter.h"

#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------- declaring */

int
fmoe_adapted_slices(const FmoeConfig *config, const FmoeInputList *inputs, const FmoeLentAdapter *adapter)
{
	return fmoe_base_slices(config, inputs) - (adapter->inputs ? 0 : inputs->count);
}

void
fmoe_declare_frozen_base(FmoeDeclaring *to, const FmoeConfig *config, const FmoeInputList *inputs)
{
	FmoeDeclaring in_base = *to;
	int			first = to->params->count;

	in_base.prefix = FMOE_BASE_PREFIX;
	fmoe_base_declare(&in_base, config, inputs);
	fmoe_declared_lent(to, first, true);
}

void
fmoe_declare_adapter(FmoeDeclaring *to, const FmoeConfig *config, const FmoeInputList *inputs,
					 const FmoeLentAdapter *adapter)
{
	fmoe_declare_adapters(to, 0, fmoe_adapted_slices(config, inputs, adapter), adapter->rank);
}

int
fmoe_adapter_count(const FmoeConfig *config, const FmoeInputList *inputs, const FmoeLentAdapter *adapter,
				   const FnnParams *params)
{
	return fmoe_adapter_slices(fmoe_adapted_slices(config, inputs, adapter), params->list);
}

/* ---------------------------------------------------------------- merging */

FmoeBase
fmoe_adapted_base(const FmoeExpert *expert, FnnTape *tape, const FmoeInputList *inputs, int n,
				  const FmoeLentAdapter *adapter, const int *first)
{
	int			slices = fmoe_base_slices(expert->config, inputs);
	FnnTensor  *tensor = fmoe_parameter(expert, 0);

	for (int m = 0; m < n; m++)
	{
		int			adapted = fmoe_adapted_slices(expert->config, inputs, &adapter[m]);
		FnnTensor  *below = tensor; /* what is recorded of it stays */

		tensor = fnn_alloc(tape->arena, sizeof(FnnTensor) * (size_t) slices);
		memcpy(tensor, below, sizeof(FnnTensor) * (size_t) slices);
		memcpy(tensor, fmoe_adapted(tape, adapted, expert->params->list, below, fmoe_parameter(expert, first[m]),
									adapter[m].rank, adapter[m].alpha / adapter[m].rank),
			   sizeof(FnnTensor) * (size_t) adapted);
	}
	return fmoe_base(expert->config, inputs, tensor);
}

FnnTensor *
fmoe_merged_base(const FmoeExpert *expert, const FnnHost *host, const FmoeInputList *inputs, int n,
				 const FmoeLentAdapter *adapter, const int *first)
{
	int			slices = fmoe_base_slices(expert->config, inputs);
	FnnTensor  *merged = host->allocate(host->context, sizeof(FnnTensor) * (size_t) slices);
	FnnArena   *arena = fnn_arena_create(host, SIZE_MAX);
	FnnTape		tape;
	FmoeBase	base;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	base = fmoe_adapted_base(expert, &tape, inputs, n, adapter, first);
	memcpy(merged, base.encoding.tensor, sizeof(FnnTensor) * (size_t) slices);
	for (int s = 0; s < slices; s++)
	{
		size_t		bytes = sizeof(fnn_real) * (size_t) (merged[s].rows * merged[s].cols);

		if (merged[s].value == fmoe_parameter(expert, s)->value)
			continue;
		merged[s].value = host->allocate(host->context, bytes);
		memcpy(merged[s].value, base.encoding.tensor[s].value, bytes);
	}
	fnn_arena_destroy(arena);
	return merged;
}

double
fmoe_merged_reals(const FmoeConfig *config, const FmoeInputList *inputs, bool recorded)
{
	FmoeShape	shape = fmoe_base_shape(config);
	double		maps = fmoe_encoders[shape.encoder]->multiplications(&shape);

	return (recorded ? 2 : 1) * (maps + config->width * (double) fmoe_inputs_width(inputs));
}

/* ---------------------------------------------------------------- taking a base */

bool
fmoe_take_base(FmoeConfig *config, FmoeNamedBase *base, const FmoeLentModel *lent, FmoeMisfit *misfit)
{
	FmoeConfig	other = *lent->config;

	if (lent->class != &fmoe_foundation_class)
	{
		snprintf(misfit->message, sizeof(misfit->message), "it is of model \"%s\"", lent->class->name);
		snprintf(misfit->detail, sizeof(misfit->detail), "A base is of model \"%s\".", fmoe_foundation_class.name);
		return false;
	}
	if (base->checksum[0] != '\0' && strcmp(base->checksum, lent->checksum) != 0)
	{
		snprintf(misfit->message, sizeof(misfit->message), "it is another one than the options mean");
		snprintf(misfit->detail, sizeof(misfit->detail), "Its checksum is %s, the options say %.16s.", lent->checksum,
				 base->checksum);
		return false;
	}
	if (base->name[0] == '\0')
		snprintf(base->name, sizeof(base->name), "%s", lent->name);
	snprintf(base->checksum, sizeof(base->checksum), "%s", lent->checksum);
	if (base->inputs.count >= 0 && !fmoe_same_inputs(&base->inputs, fmoe_foundation_class.inputs(&other)))
	{
		snprintf(misfit->message, sizeof(misfit->message), "it has other inputs than the options say");
		return false;
	}
	base->inputs = *fmoe_foundation_class.inputs(&other);
	config->width = other.width;
	config->layers = other.layers;
	config->heads = other.heads;
	config->max_length = other.max_length;
	return true;
}

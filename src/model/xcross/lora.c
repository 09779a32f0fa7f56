/*
 * lora.c
 *	  The class lora: a base of another, and an adapter that is trained on it.
 *
 * Only the adapter is learned, stored and lent.
 */
#include "model/xcross/adapter.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(FmoeLoraOptions) <= FMOE_OWN_OPTIONS_BYTES, "the options have no room");

#define AT(field) offsetof(FmoeLoraOptions, field)

static const FmoeOption own_options[] = {
	{"base", FMOE_OPTION_NAME, AT(base.name), 0, 0, NULL, "", "the lent base that is adapted"},
	{"base_checksum", FMOE_OPTION_NAME, AT(base.checksum), 0, 0, NULL, "",
	"what its arrays must sum up to; found when left out"},
	{"inputs", FMOE_OPTION_LIST, AT(base.inputs), 0, 0, NULL, NULL, "those of the base; found when left out", NULL,
	&fmoe_input_option},
	{"lora_rank", FMOE_OPTION_INT, AT(rank), 1, 256, NULL, "8", "rank of the adapter"},
	{"lora_alpha", FMOE_OPTION_REAL, AT(alpha), 1e-3, 1e6, NULL, "16", "alpha / rank is the scale of the adapter"},
	{"adapt_inputs", FMOE_OPTION_BOOL, AT(adapt_inputs), 0, 0, NULL, "false",
	"adapt the maps of the inputs too, and with them item vectors"},
	{"input_dropout", FMOE_OPTION_REAL, AT(input_dropout), 0, 0.9, NULL, "0.1",
	"share of an item's numbers that are dropped while training", "adapt_inputs"},
	{NULL}
};

static const FmoeLoraOptions *
own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

static FmoeLentAdapter
adapter_of(const FmoeConfig *config)
{
	return (FmoeLentAdapter)
	{
		.rank = own(config)->rank, .alpha = own(config)->alpha, .inputs = own(config)->adapt_inputs
	};
}

/* The base with the adapter, merged before or now. */
static FmoeBase
base_of(const FmoeExpert *expert, FnnTape *tape)
{
	const FmoeInputList *inputs = &own(expert->config)->base.inputs;
	FmoeLentAdapter adapter = adapter_of(expert->config);
	int			first = fmoe_base_slices(expert->config, inputs);

	if (expert->merged != NULL)
		return fmoe_base(expert->config, inputs, (FnnTensor *) expert->merged);
	return fmoe_adapted_base(expert, tape, inputs, 1, &adapter, &first);
}

static void
declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	const FmoeInputList *inputs = &own(config)->base.inputs;
	FmoeLentAdapter adapter = adapter_of(config);

	(void) facts;
	fmoe_declare_frozen_base(to, config, inputs);
	fmoe_declare_adapter(to, config, inputs, &adapter);
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	const FmoeInputList *inputs = &own(config)->base.inputs;
	double		sum = fmoe_base_bytes(config, inputs, facts, phase, tokens, cases);

	if (phase == FMOE_RECORDED || phase == FMOE_UNRECORDED)
		sum += fmoe_merged_reals(config, inputs, phase == FMOE_RECORDED) * sizeof(fnn_real) +
			2 * sizeof(FnnTensor) * fmoe_base_slices(config, inputs);
	return sum;
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	FmoeBase	base = base_of(expert, tape);

	return fmoe_base_encode(&base, expert, tape, batch, which);
}

static FnnTensor *
items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	FmoeBase	base = base_of(expert, tape);

	return fmoe_base_items(&base, expert, tape, n, item, 0);
}

static void
learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	FmoeBase	base = base_of(expert, tape);

	fmoe_base_learn(&base, expert, tape, batch, goal,
					own(expert->config)->adapt_inputs ? own(expert->config)->input_dropout : 0);
}

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	(void) data;
	return fmoe_base_prepare(expert, &own(expert->config)->base.inputs, arena, own(expert->config)->adapt_inputs);
}

static FmoeInputList *
inputs_of(FmoeConfig *config)
{
	return &((FmoeLoraOptions *) config->own.bytes)->base.inputs;
}

/* ---------------------------------------------------------------- the base */

static int
names(const FmoeConfig *config, const char **name)
{
	name[0] = own(config)->base.name;
	return 1;
}

static bool
take(FmoeConfig *config, int i, const FmoeLentModel *lent, FmoeMisfit *misfit)
{
	(void) i;
	return fmoe_take_base(config, &((FmoeLoraOptions *) config->own.bytes)->base, lent, misfit);
}

static const FmoeNamedBase *
named_base(const FmoeConfig *config)
{
	return &own(config)->base;
}

static const void *
merge(const FmoeExpert *expert, const FnnHost *host)
{
	const FmoeInputList *inputs = &own(expert->config)->base.inputs;
	FmoeLentAdapter adapter = adapter_of(expert->config);
	int			first = fmoe_base_slices(expert->config, inputs);

	return fmoe_merged_base(expert, host, inputs, 1, &adapter, &first);
}

static const FmoeBuilding building = {
	.names = names,
	.take = take,
	.base = named_base,
	.merge = merge
};

const FmoeExpertClass fmoe_lora_class = {
	.name = "lora",
	.summary = "a lent base with a low-rank adapter that is trained on it",
	.options = own_options,
	.fits = fmoe_base_fits,
	.reads = fmoe_base_reads,
	.declare = declare,
	.bytes = bytes,
	.multiplications = fmoe_base_multiplications,
	.encode = encode,
	.items = items,
	.learn = learn,
	.prepare = prepare,
	.lends = fmoe_base_lends,
	.building = &building,
	.inputs = inputs_of
};

/*
 * declare.c
 *	  The parameters of a mixture.
 *
 * The own encoder's are public, as those of every encoder.  A lent one's are
 * frozen, but for its positions, which are tied to this domain's items.
 */
#include "model/fmoe/fmoe.h"

#include <math.h>
#include <stdio.h>

/* Marks the slice that was declared last as computed, not learned. */
static void
freeze_last(FmoeDeclaring *to)
{
	to->params->list[to->params->count - 1].frozen = true;
}

void
fmoe_mixture_prefix(int member, char *prefix)
{
	snprintf(prefix, FNN_NAME_MAX, member == 0 ? "" : "expert.%d.", member);
}

static void
declare_member(const FmoeDeclaring *mixture, const FmoeConfig *config, int member)
{
	FmoeShape	shape = fmoe_mixture_shape(config, member);
	int			rank = fmoe_mixture_own(config)->lora_rank;
	int			first = mixture->params->count;
	FmoeDeclaring to = *mixture;
	char		prefix[FNN_NAME_MAX];
	int			slices;

	fmoe_mixture_prefix(member, prefix);
	to.prefix = prefix;
	if (member > 0)
	{
		to.share = FNN_LOCAL;
		to.frozen = FNN_GROUP_BIT(FNN_ENCODER);
	}
	fmoe_encoders[shape.encoder]->declare(&to, &shape, config->max_length);
	slices = to.params->count - first;
	to.share = FNN_LOCAL;
	if (fmoe_mixture_has_norm(config, member))
		fmoe_declare_norm(&to, FNN_ITEMS, "input", shape.width);
	if (member > 0 && rank > 0)
		fmoe_declare_adapters(&to, first, slices, rank);
}

/* The gate's layers: the paper's of widths 4 d and 2 d, or one of width d as in its authors' later code. */
static void
declare_gate(FmoeDeclaring *to, const FmoeConfig *config)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);
	int64_t		inputs = fmoe_mixture_states_width(config);
	int			gated = fmoe_mixture_gated(config);
	int64_t		in = inputs;

	for (int layer = 0; layer < own->gate_layers; layer++)
	{
		int64_t		out = own->gate_layers == 1 ? config->width : layer == 0 ? 4 * config->width : 2 * config->width;
		char		name[FNN_NAME_MAX];

		snprintf(name, sizeof(name), "gate.%d.weight", layer);
		fmoe_declare_weight(to, FNN_GATE, name, out, in, FNN_INIT_NORMAL, 1 / sqrt((double) in));
		snprintf(name, sizeof(name), "gate.%d.bias", layer);
		fmoe_declare(to, FNN_GATE, name, 1, out, FNN_INIT_ZERO, 0);
		snprintf(name, sizeof(name), "gate.%d.norm", layer);
		fmoe_declare_norm(to, FNN_GATE, name, out);
		in = out;
	}
	/* all weights equal at first */
	fmoe_declare_weight(to, FNN_GATE, "gate.weight", gated, in, FNN_INIT_ZERO, 0);
	fmoe_declare(to, FNN_GATE, "gate.bias", 1, gated, FNN_INIT_ZERO, 0);
	fmoe_declare(to, FNN_GATE, "gate.calibration.scale", 1, 1, FNN_INIT_ONE, 0);
	freeze_last(to);
	fmoe_declare(to, FNN_GATE, "gate.calibration.bias", 1, gated, FNN_INIT_ZERO, 0);
	freeze_last(to);
	if (own->gate == FMOE_GATE_BATCH)
	{
		fmoe_declare(to, FNN_GATE, "gate.mean", 1, inputs, FNN_INIT_ZERO, 0);
		freeze_last(to);
	}
}

void
fmoe_mixture_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);
	FmoeDeclaring local = *to;
	FnnParam   *table = fmoe_declare_items(to, config, facts->n_items, fmoe_mixture_item_width(config));

	local.share = FNN_LOCAL;
	/* nothing may change the count columns */
	table->decay = !own->count_experts;
	if (own->head == FMOE_HEAD_OWN)
	{
		FnnParam   *input = fmoe_declare(&local, FNN_ITEMS, "input.weight", facts->n_items,
										 fmoe_mixture_states_width(config), FNN_INIT_NORMAL, FMOE_INIT_SCALE);

		input->decay = true;
		input->rows_of = FNN_OF_ITEMS;
	}
	for (int i = 0; i < fmoe_mixture_members(config); i++)
		declare_member(to, config, i);
	if (fmoe_mixture_gate_learns(config))
		declare_gate(&local, config);
	if (own->featured.features)
		fmoe_declare_featured(&local, facts->features, fmoe_mixture_shape(config, 0).width);
}

/*
 * layout.c
 *	  What a mixture consists of, and where its parameters are.
 *
 * All of it follows from the configuration: declare.c and the readers of a layout
 * count slices in the same order.
 */
#include "model/fmoe/fmoe.h"

int
fmoe_mixture_members(const FmoeConfig *config)
{
	int			lent = fmoe_mixture_own(config)->experts.count;

	return 1 + (lent > 0 ? lent : 0);
}

int
fmoe_mixture_gated(const FmoeConfig *config)
{
	return fmoe_mixture_members(config) + (fmoe_mixture_own(config)->count_experts ? 2 : 0);
}

const char *
fmoe_mixture_gated_name(const FmoeConfig *config, int expert)
{
	int			members = fmoe_mixture_members(config);

	if (expert == 0)
		return "own";
	if (expert < members)
		return fmoe_mixture_own(config)->experts.lent[expert - 1].name;
	return expert == members ? fmoe_popularity_class.name : fmoe_markov_class.name;
}

FmoeShape
fmoe_mixture_shape(const FmoeConfig *config, int member)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);

	return member == 0 ? fmoe_shape_of(config, own->encoder) : own->experts.lent[member - 1].shape;
}

int64_t
fmoe_mixture_states_width(const FmoeConfig *config)
{
	int64_t		width = 0;

	for (int i = 0; i < fmoe_mixture_members(config); i++)
		width += fmoe_mixture_shape(config, i).width;
	return width;
}

int64_t
fmoe_mixture_item_width(const FmoeConfig *config)
{
	return fmoe_mixture_states_width(config) + (fmoe_mixture_own(config)->count_experts ? FMOE_COUNT_COLUMNS : 0);
}

bool
fmoe_mixture_has_norm(const FmoeConfig *config, int member)
{
	return member > 0 || fmoe_mixture_own(config)->item_graph;
}

void
fmoe_mixture_layout(const FmoeConfig *config, const FnnParams *params, FmoeMixtureLayout *layout)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);
	int			next = 1;

	layout->members = fmoe_mixture_members(config);
	layout->gated = fmoe_mixture_gated(config);
	layout->input = own->head == FMOE_HEAD_OWN ? next++ : 0;
	layout->column[0] = 0;
	for (int i = 0; i < layout->members; i++)
	{
		FmoeShape	shape = fmoe_mixture_shape(config, i);

		layout->shape[i] = shape;
		layout->column[i + 1] = layout->column[i] + shape.width;
		layout->first[i] = next;
		layout->slices[i] = fmoe_encoders[shape.encoder]->slices(&shape);
		next += layout->slices[i];
		layout->norm[i] = layout->adapter[i] = -1;
		if (fmoe_mixture_has_norm(config, i))
		{
			layout->norm[i] = next;
			next += 2;
		}
		if (i > 0 && own->lora_rank > 0)
		{
			layout->adapter[i] = next;
			next += fmoe_adapter_slices(layout->slices[i], &params->list[layout->first[i]]);
		}
	}
	layout->gate = layout->calibration = layout->mean = layout->features = -1;
	if (fmoe_mixture_gate_learns(config))
	{
		layout->gate = next;
		layout->calibration = next + 4 * own->gate_layers + 2;
		next = layout->calibration + 2;
	}
	if (own->gate == FMOE_GATE_BATCH)
		layout->mean = next;
	/* which have the gate linear */
	if (own->featured.features)
		layout->features = next;
}

bool
fmoe_mixture_draws_baskets(const FmoeConfig *config)
{
	bool		in_turn = false;

	for (int i = 0; i < fmoe_mixture_members(config); i++)
		in_turn = in_turn || fmoe_encoders[fmoe_mixture_shape(config, i).encoder]->in_turn;
	return in_turn && fmoe_mixture_own(config)->baskets == FMOE_BASKETS_DRAWN;
}

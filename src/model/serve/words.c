/*
 * words.c
 *	  The words that a score rests on, those of the expert that reads texts, and what
 *	  the inputs add that the main expert's item vectors are made of.
 */
#include "model/serve/serve_private.h"

int
fmoe_input_parts(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t item, int max,
				 FmoeInputPart *out)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	double		weight = fmoe_has_gate(model) ? fmoe_gate_weight(model, batch, FMOE_MAIN) : 1;
	FmoeAmong	among;
	int			n;

	if (main->class->input_parts == NULL || weight == 0)
		return 0;
	among = fmoe_among_those(model, arena, batch, 1, &item);
	n = main->class->input_parts(&among.expert, arena, &among.batch, 0, *among.item, max, out);
	for (int i = 0; i < n; i++)
		out[i].share *= weight;
	return n;
}

int
fmoe_words(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t item, int max, FmoeWord *out)
{
	bool		gated = fmoe_has_gate(model);

	for (int slot = FMOE_MAIN; slot < (gated ? FMOE_GATED : FMOE_MAIN + 1); slot++)
	{
		const FmoeExpert *expert = &model->expert[slot];
		double		weight = gated ? fmoe_gate_weight(model, batch, slot) : 1;
		int			n;

		if (!fmoe_only_counts(expert->class) || expert->class->counter->words == NULL || weight == 0)
			continue;
		n = expert->class->counter->words(expert, arena, batch, 0, item, max, out);
		for (int w = 0; w < n; w++)
			out[w].share *= weight;
		return n;
	}
	return 0;
}

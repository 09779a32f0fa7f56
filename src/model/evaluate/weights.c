/*
 * weights.c
 *	  How a model weighs the parts of its scores, over many histories.
 */
#include "model/evaluate/evaluate.h"

#include <math.h>

static void
add_weights(FmoePartUse *use, int parts, const fnn_real *weight, int layers, const fnn_real *share)
{
	fnn_real	largest = weight[0];
	int			tied = 0;

	for (int i = 1; i < parts; i++)
		largest = weight[i] > largest ? weight[i] : largest;
	/* after an empty history nobody has a weight */
	if (largest <= 0)
		return;
	for (int i = 0; i < parts; i++)
		tied += weight[i] == largest;
	for (int i = 0; i < parts; i++)
	{
		use->weight[i] += weight[i];
		use->largest[i] += weight[i] == largest ? 1.0 / tied : 0;
	}
	for (int layer = 0; layer < layers; layer++)
		for (int i = 0; i < parts; i++)
			use->layer[layer][i] += share[layer * parts + i];
	use->histories++;
}

/*
 * weight[sequences.count, parts] of each history.  A gate's may be of either sign and of any
 * size: they are given as shares of what their sizes add up to.
 */
static void
weigh_block(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int parts, fnn_real *weight)
{
	double		sum = 0;

	if (!fmoe_has_gate(model))
	{
		fmoe_weigh(model, arena, batch, weight);
		return;
	}
	for (int p = 0; p < parts; p++)
		sum += fabs(fmoe_gate_weight(model, batch, p));
	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int p = 0; p < parts; p++)
			weight[s * parts + p] = (fnn_real) (batch->last[s] >= 0 && sum > 0
												? fabs(fmoe_gate_weight(model, batch, p)) / sum : 0);
}

void
fmoe_part_use(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
			  int64_t from, int64_t to, FmoePartUse *use)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	int			parts = fmoe_parts_count(model) - 1;
	FnnMark		mark = fnn_arena_mark(arena);
	int			layers = fmoe_mixed_layers(model);
	fnn_real   *weight = fnn_alloc_reals(arena, FMOE_CASE_BLOCK_MAX, parts);
	fnn_real   *share = fnn_alloc_reals(arena, FMOE_CASE_BLOCK_MAX, layers * parts);
	int64_t		end;

	for (; from < to; from = end)
	{
		FnnMark		block = fnn_arena_mark(arena);
		FmoeBatch  *batch;

		end = fmoe_case_block_end(cases, from, to, FMOE_CASE_BLOCK_MAX, main->config->max_length);
		batch = fmoe_batch(arena, &data->events, end - from, cases->begin + from, cases->end + from,
						   main->config->max_length);
		batch->now = fmoe_case_times(arena, data, cases, from, end);
		weigh_block(model, arena, batch, parts, weight);
		if (layers > 0)
			fmoe_weigh_layers(model, arena, batch, share);
		for (int64_t i = 0; i < end - from; i++)
			add_weights(use, parts, weight + i * parts, layers, share + i * layers * parts);
		fnn_arena_reset(arena, block);
		fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

/*
 * explain.c
 *	  What a score is made of, and what a mixture's gate does.
 *
 * A mixture's state is [g_0 z_0 | g_1 z_1 | ...] (mixture.c), so the columns of
 * each member are its contribution, already weighed.  The count experts' are
 * one column each, and what the row of transitions raises.
 */
#include "model/evaluate/evaluate.h"
#include "model/fmoe/layout.h"
#include "model/serve/raise.h"

#include <string.h>

#define POLL_ITEMS 4096

int
fmoe_parts_count(const FmoeConfig *config)
{
	int			gated = fmoe_gated_count(config);

	return (gated > 0 ? gated : 1) + 1;
}

/* Part p has the columns column[p] .. column[p + 1] - 1 of the item table; the last part, blend, has none. */
static void
part_columns(const FmoeConfig *config, int64_t *column)
{
	int			gated = fmoe_gated_count(config);
	FmoeMixtureLayout layout;

	column[0] = 0;
	if (gated == 0)
	{
		column[1] = fmoe_item_width(config);
		return;
	}
	fmoe_mixture_layout(config, &layout);
	memcpy(column, layout.column, sizeof(int64_t) * ((size_t) layout.members + 1));
	if (gated == layout.members)
		return;
	/* popularity has the first of the count columns, transitions the others */
	column[layout.members + 1] = column[layout.members] + 1;
	column[layout.members + 2] = column[layout.members] + FMOE_COUNT_COLUMNS;
}

void
fmoe_contributions(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
				   int64_t n, const int32_t *item, double *weight, double *contribution)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	const FnnTensor *table = &main->tensor[0];
	FnnMark		mark = fnn_arena_mark(arena);
	fnn_real   *hidden = fnn_alloc_reals(arena, 1, table->cols);
	int			blend = fmoe_parts_count(&main->config) - 1;
	int			gated = fmoe_gated_count(&main->config);
	int64_t		column[FMOE_PARTS_MAX];
	fnn_real	gate[FMOE_GATED_MAX] = {1};
	FmoeRaised	by_blend;
	FmoeRaised	by_gate;

	fmoe_encode(model, arena, batch, hidden);
	if (gated > 0)
		fmoe_gates(model, arena, batch, gate);
	part_columns(&main->config, column);
	by_blend = by_gate = fmoe_raised(model, batch->events.item[batch->last[0]], hidden);
	by_blend.gate = 0;
	by_gate.blend = 0;
	for (int p = 0; p < blend; p++)
		weight[p] = gate[p];
	weight[blend] = by_blend.blend;

	for (int64_t i = 0; i < n; i++)
	{
		const fnn_real *vector = table->value + item[i] * table->cols;
		double	   *part = contribution + i * (blend + 1);
		int64_t		k = fnn_find_ascending(by_blend.row.n, by_blend.row.to, item[i]);

		for (int p = 0; p < blend; p++)
		{
			part[p] = 0;
			for (int64_t c = column[p]; c < column[p + 1]; c++)
				part[p] += (double) hidden[c] * vector[c];
		}
		part[blend] = 0;
		if (k >= 0)
		{
			part[blend] = fmoe_raised_by(&by_blend, k);
			part[blend - 1] += fmoe_raised_by(&by_gate, k);
		}
		if (i % POLL_ITEMS == 0)
			fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- the gate's use */

static void
add_gate(FmoeGateUse *use, int gated, const fnn_real *gate)
{
	fnn_real	largest = gate[0];
	int			tied = 0;

	for (int i = 1; i < gated; i++)
		largest = gate[i] > largest ? gate[i] : largest;
	/* after an empty history nobody has a weight */
	if (largest <= 0)
		return;
	for (int i = 0; i < gated; i++)
		tied += gate[i] == largest;
	for (int i = 0; i < gated; i++)
	{
		use->weight[i] += gate[i];
		use->largest[i] += gate[i] == largest ? 1.0 / tied : 0;
	}
	use->histories++;
}

void
fmoe_gate_use(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
			  int64_t from, int64_t to, FmoeGateUse *use)
{
	const FmoeConfig *config = &model->expert[FMOE_MAIN].config;
	int			gated = fmoe_gated_count(config);
	FnnMark		mark = fnn_arena_mark(arena);
	fnn_real   *gate = fnn_alloc_reals(arena, FMOE_BLOCK_CASES_MAX, gated);

	while (from < to)
	{
		FnnMark		block = fnn_arena_mark(arena);
		int64_t		tokens = 0;
		int64_t		n = 0;

		while (from + n < to && n < FMOE_BLOCK_CASES_MAX && tokens < FMOE_BLOCK_TOKENS_MAX)
		{
			int64_t		length = cases->target[from + n] - cases->begin[from + n];

			tokens += length < config->max_length ? length : config->max_length;
			n++;
		}
		fmoe_gates(model, arena, fmoe_batch(arena, &data->events, n, cases->begin + from,
											cases->target + from, config->max_length), gate);
		for (int64_t i = 0; i < n; i++)
			add_gate(use, gated, gate + i * gated);
		fnn_arena_reset(arena, block);
		fnn_poll(fnn_arena_host(arena));
		from += n;
	}
	fnn_arena_reset(arena, mark);
}

void
fmoe_gates(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *gate)
{
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	FnnMark		mark = fnn_arena_mark(arena);
	int			gated = fmoe_gated_count(&expert->config);
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);
	FmoeMixtureLayout *layout = fnn_alloc(arena, sizeof(FmoeMixtureLayout));
	FmoeMixed	mixed;
	FnnTape		tape;

	memset(gate, 0, sizeof(fnn_real) * (size_t) (batch->sequences.count * gated));
	if (full.sequences.count > 0)
	{
		fmoe_mixture_layout(&expert->config, layout);
		fnn_tape_begin(&tape, arena, false, 0, 0);
		fmoe_mix(expert, layout, &tape, &full, true, &mixed);
		for (int32_t i = 0; i < full.sequences.count; i++)
			memcpy(gate + of[i] * gated, mixed.gate->value + i * gated, sizeof(fnn_real) * gated);
	}
	fnn_arena_reset(arena, mark);
}

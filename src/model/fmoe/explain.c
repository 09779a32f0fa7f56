/*
 * explain.c
 *	  What a mixture's scores are made of.
 *
 * A mixture's state is [g_0 z_0 | g_1 z_1 | ...], so the product over the columns
 * of a member is its contribution, already weighed.  Popularity and counted transitions have a
 * column each, and transitions besides what they add to the items that followed.
 */
#include "model/fmoe/fmoe.h"

#include <string.h>

#define POLL_ITEMS 4096

/* The weight of counted transitions in a state; 0 where the mixture has none. */
static double
transitions_weight(const FmoeExpert *expert, const fnn_real *state)
{
	/* the second of the count columns, behind those of the members */
	return fmoe_mixture_own(expert->config)->count_experts ? state[fmoe_mixture_states_width(expert->config) + 1] : 0;
}

/* Terms of one item of the last basket. */
static FmoeTerms
terms_of_item(const FmoeExpert *expert, FnnArena *arena, int32_t last, double weight)
{
	const FnnTensor *table = fmoe_parameter(expert, 0);
	const fnn_real *log_share = table->value + fmoe_mixture_states_width(expert->config);
	FmoeTransitions row = fmoe_transitions(&expert->counts[FMOE_MARKOV], last);
	double	   *value;

	value = fnn_alloc(arena, sizeof(double) * (size_t) row.n);
	for (int64_t k = 0; k < row.n; k++)
		value[k] = weight * fmoe_count_term(row.count[k], log_share[row.to[k] * table->cols]);
	return (FmoeTerms) {.n = row.n, .item = row.to, .value = value};
}

FmoeTerms
fmoe_mixture_terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
				   const fnn_real *state)
{
	double		weight = transitions_weight(expert, state);
	FnnRows		last = fmoe_last_items(batch, sequence);
	FmoeTerms  *each;

	if (weight <= 0)
		return (FmoeTerms) {0};
	if (last.count == 1)
		return terms_of_item(expert, arena, last.row[0], weight);
	each = fnn_alloc(arena, sizeof(FmoeTerms) * (size_t) last.count);
	for (int64_t i = 0; i < last.count; i++)
		each[i] = terms_of_item(expert, arena, last.row[i], weight);
	return fmoe_mean_terms(arena, last.count, each);
}

void
fmoe_mixture_weigh(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeMixtureLayout *layout = fnn_alloc(arena, sizeof(FmoeMixtureLayout));
	FmoeMixed	mixed;
	FnnTape		tape;

	fmoe_mixture_layout(expert->config, expert->params, layout);
	fnn_tape_begin(&tape, arena, false, 0, 0);
	fmoe_mix(expert, layout, &tape, batch, FMOE_LAST_TOKENS, &mixed);
	memcpy(weight, mixed.gate->value, sizeof(fnn_real) * (size_t) (mixed.rows * layout->gated));
	fnn_arena_reset(arena, mark);
}

void
fmoe_mixture_contribute(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
						const fnn_real *state, int64_t n, const int32_t *item, double *contribution)
{
	const FnnTensor *table = fmoe_parameter(expert, 0);
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeTerms	terms = fmoe_mixture_terms(expert, arena, batch, sequence, state);
	int64_t		column[FMOE_GATED_MAX + 1];
	FmoeMixtureLayout layout;

	fmoe_mixture_layout(expert->config, expert->params, &layout);
	memcpy(column, layout.column, sizeof(int64_t) * ((size_t) layout.members + 1));
	if (layout.gated > layout.members)
	{
		column[layout.members + 1] = column[layout.members] + 1;
		column[layout.members + 2] = column[layout.members] + FMOE_COUNT_COLUMNS;
	}
	for (int64_t i = 0; i < n; i++)
	{
		const fnn_real *vector = table->value + item[i] * table->cols;
		double	   *part = contribution + i * layout.gated;
		int64_t		k = fnn_find_ascending(terms.n, terms.item, item[i]);

		for (int p = 0; p < layout.gated; p++)
		{
			part[p] = 0;
			for (int64_t c = column[p]; c < column[p + 1]; c++)
				part[p] += (double) state[c] * vector[c];
		}
		if (k >= 0)
			part[layout.gated - 1] += terms.value[k];
		if (i % POLL_ITEMS == 0)
			fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

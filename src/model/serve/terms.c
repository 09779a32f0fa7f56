/*
 * terms.c
 *	  The terms of a model's scores: what counting knows that an encoder does not,
 *	  and those of the class.
 *
 * An encoder generalises; where the data are few it loses single strong habits
 * ("after this shampoo, that conditioner") that a table of transitions has.  So
 * the main expert's score of an item that followed the history's last item in
 * training is raised by (after a basket of several: by the mean over them of)
 *
 *		blend * log(1 + count * CERTAIN / (row sum + CERTAIN))
 *
 * which grows with the evidence and, for rows with much of it, depends on the
 * transition's share alone.  Items that never followed keep their score, so
 * only one sparse row is touched a history, or one for each item of a basket.  How much, is tried out on the
 * events kept back for validation; 0 leaves the encoder alone.
 *
 * A class may have terms of its own, which are added to these.
 */
#include "model/expert/markov.h"
#include "model/serve/serve_private.h"

#include <math.h>

#define CERTAIN 20.0			/* a row with so many transitions in all counts half */

static FmoeTerms
blend_of_item(const FmoeModel *model, FnnArena *arena, int32_t last)
{
	FmoeTransitions row = fmoe_transitions(&model->expert[FMOE_MARKOV], last);
	double	   *value;

	value = fnn_alloc(arena, sizeof(double) * (size_t) row.n);
	for (int64_t k = 0; k < row.n; k++)
		value[k] = model->blend * log1p(row.count[k] * CERTAIN / (row.sum + CERTAIN));
	return (FmoeTerms) {.n = row.n, .item = row.to, .value = value};
}

FmoeTerms
fmoe_blend_terms(const FmoeModel *model, FnnArena *arena, FnnRows last)
{
	FmoeTerms  *each;

	if (!(model->blend > 0))
		return (FmoeTerms) {0};
	if (last.count == 1)
		return blend_of_item(model, arena, last.row[0]);
	each = fnn_alloc(arena, sizeof(FmoeTerms) * (size_t) last.count);
	for (int64_t i = 0; i < last.count; i++)
		each[i] = blend_of_item(model, arena, last.row[i]);
	return fmoe_mean_terms(arena, last.count, each);
}

FmoeAdded
fmoe_model_added(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
				 const fnn_real *state)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeTerms	own = {0};
	FmoeTerms	counted;

	if (main->class->terms != NULL)
		own = main->class->terms(main, arena, batch, sequence, state);
	if (fmoe_has_gate(model))
	{
		float	   *all = fmoe_gate_added(model, arena, batch, sequence);

		for (int64_t k = 0; k < own.n; k++)
			all[own.item[k]] += (float) own.value[k];
		return (FmoeAdded) {.all = all};
	}
	counted = fmoe_blend_terms(model, arena, fmoe_last_items(batch, sequence));
	if (own.n == 0 || counted.n == 0)
		return (FmoeAdded) {.few = own.n == 0 ? counted : own};
	return (FmoeAdded) {.few = fmoe_sum_terms(arena, &counted, &own)};
}

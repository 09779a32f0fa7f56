/*
 * terms.c
 *	  What counting knows that an encoder does not.
 *
 * An encoder generalises; where the data are few it loses single strong habits
 * ("after this shampoo, that conditioner") that a table of transitions has.  So
 * the main expert's score of an item that followed the history's last item in
 * training is raised by
 *
 *		blend * log(1 + count * CERTAIN / (row sum + CERTAIN))
 *
 * which grows with the evidence and, for rows with much of it, depends on the
 * transition's share alone.  Items that never followed keep their score, so
 * only one sparse row is touched a history.  How much, is tried out on the
 * events kept back for validation; 0 leaves the encoder alone.
 *
 * A class may have terms of its own, which are added to these.
 */
#include "model/expert/markov.h"
#include "model/serve/serve_private.h"

#include <math.h>

#define CERTAIN 20.0			/* transitions out of an item at which its row counts half */

FmoeTerms
fmoe_blend_terms(const FmoeModel *model, FnnArena *arena, int32_t last)
{
	FmoeTransitions row;
	double	   *value;

	if (!(model->blend > 0))
		return (FmoeTerms) {0};
	row = fmoe_transitions(&model->expert[FMOE_MARKOV], last);
	value = fnn_alloc(arena, sizeof(double) * (size_t) row.n);
	for (int64_t k = 0; k < row.n; k++)
		value[k] = model->blend * log1p(row.count[k] * CERTAIN / (row.sum + CERTAIN));
	return (FmoeTerms) {.n = row.n, .item = row.to, .value = value};
}

/* Both together. */
static FmoeTerms
merged(FnnArena *arena, const FmoeTerms *a, const FmoeTerms *b)
{
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) (a->n + b->n));
	double	   *value = fnn_alloc(arena, sizeof(double) * (size_t) (a->n + b->n));
	int64_t		n = 0;
	int64_t		i = 0;
	int64_t		k = 0;

	while (i < a->n || k < b->n)
	{
		bool		from_a = i < a->n && (k == b->n || a->item[i] <= b->item[k]);
		bool		from_b = k < b->n && (i == a->n || b->item[k] <= a->item[i]);

		item[n] = from_a ? a->item[i] : b->item[k];
		value[n] = from_a ? a->value[i++] : 0;
		if (from_b)
			value[n] += b->value[k++];
		n++;
	}
	return (FmoeTerms) {.n = n, .item = item, .value = value};
}

FmoeTerms
fmoe_model_terms(const FmoeModel *model, FnnArena *arena, int32_t last, const fnn_real *state)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeTerms	blend = fmoe_blend_terms(model, arena, last);
	FmoeTerms	own = {0};

	if (main->class->terms != NULL)
		own = main->class->terms(main, arena, last, state);
	if (own.n == 0)
		return blend;
	return blend.n == 0 ? own : merged(arena, &blend, &own);
}

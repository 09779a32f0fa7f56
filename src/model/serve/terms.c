/*
 * terms.c
 *	  The terms of a model's scores: what counting knows that an encoder does not,
 *	  and those of the class.
 *
 * An encoder generalises; where data are few it misses single strong habits ("after
 * this shampoo, that conditioner") that a table of transitions has.  So the score of
 * an item that followed the history's last item in training is raised by
 *
 *		blend * log(1 + count * CERTAIN / (row sum + CERTAIN))
 *
 * which grows with the count, and in rows with large sums depends on the share of
 * the transition alone.  Other items keep their score, so a history takes one sparse
 * row.  The weight blend is tried out on the events kept back for validation
 * (train/blend.c); 0 leaves the scores as they are.
 */
#include "model/expert/markov.h"
#include "model/serve/serve_private.h"

#include <math.h>

#define CERTAIN 20.0			/* a row with so many transitions in all counts half */

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

/* Adds two lists of terms, both ascending. */
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

/*
 * terms.c
 *	  Numbers that are added to scores, put together.
 */
#include "model/expert/class.h"

FmoeTerms
fmoe_sum_terms(FnnArena *arena, const FmoeTerms *a, const FmoeTerms *b)
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
fmoe_mean_terms(FnnArena *arena, int64_t n, FmoeTerms *terms)
{
	double		share = 1 / (double) n;

	/* by pairs, so that each number is moved a few times only */
	for (int64_t left = n; left > 1; left = (left + 1) / 2)
		for (int64_t i = 0; 2 * i < left; i++)
			terms[i] = 2 * i + 1 < left ? fmoe_sum_terms(arena, &terms[2 * i], &terms[2 * i + 1]) : terms[2 * i];
	for (int64_t k = 0; k < terms[0].n; k++)
		((double *) terms[0].value)[k] *= share;
	return terms[0];
}

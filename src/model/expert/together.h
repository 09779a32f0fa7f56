/*
 * together.h
 *	  What was in the same basket: pairs of items, counted.
 */
#ifndef FMOE_MODEL_EXPERT_TOGETHER_H
#define FMOE_MODEL_EXPERT_TOGETHER_H

#include "model/expert/class.h"

/* It stands beside a version's experts and answers no history, so it is in no list of classes. */
extern const FmoeExpertClass fmoe_together_class;

/* Baskets that two items must share before the evidence counts half. */
#define FMOE_TOGETHER_PRIOR 5.0
/* Partners of an item that are kept: those with the highest lift. */
#define FMOE_PARTNERS_MAX 256

/* Whether its counts are there. */
static inline bool
fmoe_has_together(const FmoeExpert *together)
{
	return together->class != NULL && together->array[0].data != NULL;
}

/* Bytes on the arena that counting takes, at most. */
extern double fmoe_together_bytes(const FmoeDataset *data);
/* score[n_items]: of each item the sum of its lifts with the n different given ones; NaN: it is a partner of none. */
extern void fmoe_together_scores(const FmoeExpert *together, int64_t n, const int32_t *given, fnn_real *score);
/* The sum over the given items of the baskets that each of them shares with another item. */
extern int64_t fmoe_together_baskets(const FmoeExpert *together, int64_t n, const int32_t *given, int32_t item);

#endif							/* FMOE_MODEL_EXPERT_TOGETHER_H */

/*
 * markov.h
 *	  Counted transitions, for those who read them.
 */
#ifndef FMOE_MODEL_EXPERT_MARKOV_H
#define FMOE_MODEL_EXPERT_MARKOV_H

#include "model/expert/class.h"

/* What followed an item in training. */
typedef struct FmoeTransitions
{
	int64_t		n;
	const int32_t *to;			/* [n] ascending */
	const float *count;			/* [n] how often */
	double		sum;			/* of the counts */
} FmoeTransitions;

extern FmoeTransitions fmoe_transitions(const FmoeExpert *markov, int32_t item);
/* Number of different transitions, of all items. */
extern int64_t fmoe_transitions_count(const FmoeExpert *markov);
/* Of how many events each item was followed, at most: count[n_items] += those of the users' events that train. */
extern void fmoe_count_followers(const FnnHost *host, const FmoeDataset *data, FmoeHoldout holdout, double *count);
/* Bytes that counting takes for baskets, beside what it takes without; 0: there are none. */
extern size_t fmoe_basket_count_bytes(FnnArena *arena, const FmoeDataset *data);

/* How many counts an item's share of all events weighs as. */
#define FMOE_TRANSITIONS_PRIOR 20.0

/*
 * What a transition that was seen count times adds to the logarithm of its item's
 * share: log((count + PRIOR share) / (PRIOR share)).  So the softmax of these sums
 * over all items is the count smoothed by the shares.
 */
extern double fmoe_count_term(double count, double log_share);

#endif							/* FMOE_MODEL_EXPERT_MARKOV_H */

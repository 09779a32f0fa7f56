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

/* How many counts an item's share of all events weighs as. */
#define FMOE_TRANSITIONS_PRIOR 20.0

/*
 * What a transition that was seen count times adds to the logarithm of its item's
 * share: log((count + PRIOR share) / (PRIOR share)).  So the softmax of these sums
 * over all items is the count smoothed by the shares.
 */
extern double fmoe_count_term(double count, double log_share);

#endif							/* FMOE_MODEL_EXPERT_MARKOV_H */

/*
 * markov.h
 *	  Counted transitions, as others read them.
 */
#ifndef FMOE_MODEL_EXPERT_MARKOV_H
#define FMOE_MODEL_EXPERT_MARKOV_H

#include "model/expert/class.h"

/* What followed an item in training: to[n] ascending, how often, and the counts' sum. */
typedef struct FmoeTransitions
{
	int64_t		n;
	const int32_t *to;
	const float *count;
	double		sum;
} FmoeTransitions;

extern FmoeTransitions fmoe_transitions(const FmoeExpert *markov, int32_t item);
/* Of all items. */
extern int64_t fmoe_transitions_count(const FmoeExpert *markov);

/*
 * A transition's part in the logit of markov: the logarithm of
 * (count + FMOE_TRANSITIONS_PRIOR share) / (FMOE_TRANSITIONS_PRIOR share), so that with the share's own logarithm
 * from the table the softmax is the smoothed share of the row.
 */
#define FMOE_TRANSITIONS_PRIOR 20.0

/* What a transition that was seen count times adds to its item's logit, above the logarithm of the item's share. */
extern double fmoe_count_term(double count, double log_share);

#endif							/* FMOE_MODEL_EXPERT_MARKOV_H */

/*
 * loss.c
 *	  The loss of states against a table of item vectors.
 */
#include "model/expert/expert.h"

#include <math.h>
#include <string.h>

void
fmoe_add_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const FmoeGoal *goal, const FnnSoftmaxExtra *extra)
{
	if (goal->n_negatives > 0)
		fnn_gbce_loss(tape, hidden, table, goal->target, goal->negative, goal->n_negatives, goal->beta,
					  goal->weight / (goal->n_negatives + 1));
	else if (extra != NULL)
		fnn_softmax_loss_with(tape, hidden, table, goal->target, goal->weight, extra);
	else
		fnn_softmax_loss(tape, hidden, table, goal->target, goal->weight);
}

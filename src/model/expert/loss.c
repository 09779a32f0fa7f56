/*
 * loss.c
 *	  The loss of states against item vectors, and the names of a class's losses.
 */
#include "model/expert/expert.h"

FnnTensor *
fmoe_item_vectors(const FmoeExpert *expert, FnnTape *tape)
{
	if (fmoe_computes_items(expert->class, expert->config))
		return expert->class->items(expert, tape, expert->n_items, NULL);
	return fmoe_parameter(expert, 0);
}

void
fmoe_add_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const FmoeGoal *goal, const FnnSoftmaxExtra *extra)
{
	FnnSoftmaxExtra weighed = {0};

	if (goal->n_negatives > 0)
	{
		fnn_gbce_loss(tape, hidden, table, goal->target, goal->target_weight, goal->negative, goal->n_negatives,
					  goal->beta, goal->weight / (goal->n_negatives + 1));
		return;
	}
	if (extra != NULL)
		weighed = *extra;
	weighed.row_weight = goal->target_weight;
	fnn_softmax_loss_with(tape, hidden, table, goal->target, goal->weight, &weighed);
}

void
fmoe_goal_loss(FmoeGoal *goal, const FnnTape *tape, int number)
{
	goal->loss[number] += tape->loss - goal->told;
	goal->told = tape->loss;
}

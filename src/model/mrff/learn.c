/*
 * learn.c
 *	  The losses: every impression's cross-entropy, and what keeps groups alike in size.
 *
 *	  balance x sum over blocks of E f_r p_r, averaged over impressions
 *
 * with r the group of an impression and f_r the share of the impressions that are in
 * it (Fedus et al. 2022, equation 4).  Shares are those of the shard, a fixed quarter
 * of the batch, where the paper has those of the clients in the round before.
 */
#include "model/mrff/mrff.h"

#include <math.h>

enum
{
	LOSS_CLICKS,
	LOSS_BALANCE
};

static void
add_balance(const FmoeExpert *expert, FnnTape *tape, const FmoeMrffPass *pass, int block, const FmoeGoal *goal)
{
	const FmoeMrffOptions *own = fmoe_mrff_own(expert->config);
	const int32_t *group = pass->group[block];
	int64_t		n = pass->gate[block]->rows;
	double	   *count = fnn_zalloc(tape->arena, sizeof(double) * (size_t) own->groups);
	float	   *factor = fnn_alloc(tape->arena, sizeof(float) * (size_t) n);

	for (int64_t t = 0; t < n; t++)
		count[group[t]]++;
	for (int64_t t = 0; t < n; t++)
		factor[t] = (float) (own->groups * count[group[t]] / (double) n);
	fnn_sum_loss(tape, fnn_pick(tape, pass->gate[block], group), factor, own->balance * goal->position_weight);
}

void
fmoe_mrff_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	const FmoeMrffOptions *own = fmoe_mrff_own(expert->config);
	FmoeMrffAsked asked = fmoe_mrff_asked(tape->arena, batch, expert->config->max_length);
	float	   *label = fnn_alloc(tape->arena, sizeof(float) * (size_t) asked.n);
	float	   *weight = fnn_alloc(tape->arena, sizeof(float) * (size_t) asked.n);
	FmoeMrffPass pass;

	for (int64_t i = 0; i < asked.n; i++)
	{
		label[i] = batch->events.label == NULL || batch->events.label[asked.token[i]] > 0;
		weight[i] = (float) (batch->events.weight != NULL ? batch->events.weight[asked.token[i]] : 1);
	}
	fmoe_mrff_run(expert, tape, batch, &pass);
	fnn_click_loss(tape, fmoe_mrff_head(expert, tape, batch, &pass, &asked), label, weight, goal->weight);
	fmoe_goal_loss(goal, tape, LOSS_CLICKS);
	for (int block = 0; block < expert->config->layers && own->balance > 0 && own->groups > 1; block++)
		add_balance(expert, tape, &pass, block, goal);
	fmoe_goal_loss(goal, tape, LOSS_BALANCE);
}

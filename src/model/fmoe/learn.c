/*
 * learn.c
 *	  What a mixture learns from.
 *
 *		sum over members of loss(z_i against E_i)			trains everything but the gate
 *		+ loss(mixed scores), states and table constant		trains the gate, if it is one that learns here
 *		+ gate_loss / members * KL(softmax(-losses) | gate)	trains the gate
 *		+ kl / 2 * sum over members of |z_i|^2
 *		+ contrast * sum over members of NT-Xent(last states, those of the permuted history)
 *
 * each as a mean over the step's targets, weighed by what each counts (the kl
 * term over its positions, the last one over its sequences).
 */
#include "model/data/stream.h"
#include "model/fmoe/fmoe.h"

#include <math.h>
#include <string.h>

#define KL_STEPS 10000.0		/* until the KL term has its whole weight */
#define TEMPERATURE 1.0			/* of the contrastive loss */

/* Numbers of fmoe_mixture_losses. */
enum
{
	LOSS_EXPERTS,
	LOSS_GATE,
	LOSS_DESERVED,
	LOSS_KL,
	LOSS_CONTRAST
};

const char *const fmoe_mixture_losses[] = {
	[LOSS_EXPERTS] = "experts",
	[LOSS_GATE] = "gate",
	[LOSS_DESERVED] = "gate_loss",
	[LOSS_KL] = "kl",
	[LOSS_CONTRAST] = "contrast",
	NULL
};

/* ---------------------------------------------------------------- losses */

/* What the transition from a token to its target counts: the target's weight / the events of the token's basket. */
static double
transition_weight(const FmoeBatch *batch, const FmoeGoal *goal, int64_t token)
{
	double		share = batch->baskets != NULL ? 1.0 / batch->baskets->count[batch->baskets->of[token]] : 1;

	/* as it was counted */
	return goal->target_weight != NULL ? (double) (float) (goal->target_weight[token] * share) : share;
}

/*
 * The transitions out of each token's item, as terms of its logits.  The token's
 * own transition to its target is taken off: it is what should be predicted.
 */
static const FnnTerms *
transition_terms(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena, const FmoeBatch *batch,
				 const FmoeGoal *goal)
{
	FnnTerms   *terms = fnn_alloc(arena, sizeof(FnnTerms) * (size_t) batch->n_tokens);
	const FnnTensor *table = fmoe_parameter(expert, 0);
	const fnn_real *log_share = table->value + layout->column[layout->members];

	for (int64_t t = 0; t < batch->n_tokens; t++)
	{
		FmoeTransitions row = fmoe_transitions(&expert->counts[FMOE_MARKOV], batch->events.item[t]);
		float	   *value;
		double		own;

		terms[t] = (FnnTerms) {0};
		if (goal->target[t] < 0)
			continue;
		value = fnn_alloc(arena, sizeof(float) * (size_t) row.n);
		own = transition_weight(batch, goal, t);

		for (int64_t k = 0; k < row.n; k++)
		{
			double		count = row.count[k] - (row.to[k] == goal->target[t] && row.count[k] >= own ? own : 0);

			value[k] = (float) fmoe_count_term(count, log_share[row.to[k] * table->cols]);
		}
		terms[t].n = row.n;
		terms[t].item = row.to;
		terms[t].value = value;
	}
	return terms;
}

/* Cross-entropy [n_tokens] of popularity and of transitions, from the counts; NaN without a target. */
static void
count_losses(const FmoeExpert *expert, const FmoeMixtureLayout *layout, const FmoeBatch *batch, const FmoeGoal *goal,
			 const FnnTerms *terms, double *popularity, double *markov)
{
	const int32_t *target = goal->target;
	const FnnTensor *table = fmoe_parameter(expert, 0);
	const fnn_real *log_share = table->value + layout->column[layout->members];

	for (int64_t t = 0; t < batch->n_tokens; t++)
	{
		double		sum;

		if (target[t] < 0)
		{
			popularity[t] = markov[t] = NAN;
			continue;
		}
		sum = fmoe_transitions(&expert->counts[FMOE_MARKOV], batch->events.item[t]).sum -
			transition_weight(batch, goal, t);
		popularity[t] = -(double) log_share[target[t] * table->cols];
		markov[t] = popularity[t] - log(FMOE_TRANSITIONS_PRIOR / (FMOE_TRANSITIONS_PRIOR + (sum > 0 ? sum : 0)));
		for (int64_t k = 0; k < terms[t].n; k++)
			if (terms[t].item[k] == target[t])
				markov[t] -= terms[t].value[k];
	}
}

/* Gate weights that the experts' own losses call for: q[n_tokens, gated], softmax of -loss[expert][token], or NaN. */
static fnn_real *
deserved(FnnArena *arena, int gated, int64_t n_tokens, double *const *loss)
{
	fnn_real   *q = fnn_alloc_reals(arena, n_tokens, gated);

	for (int64_t t = 0; t < n_tokens; t++)
	{
		double		least = loss[0][t];
		double		sum = 0;

		for (int i = 1; i < gated; i++)
			least = loss[i][t] < least ? loss[i][t] : least;
		for (int i = 0; i < gated; i++)
			sum += exp(least - loss[i][t]);
		for (int i = 0; i < gated; i++)
			q[t * gated + i] = (fnn_real) (exp(least - loss[i][t]) / sum);
	}
	return q;
}

/* The batch with the items of each history in another order. */
static FmoeBatch *
permuted(FnnArena *arena, const FmoeBatch *batch, const FmoeGoal *goal)
{
	FmoeBatch  *other = fnn_alloc(arena, sizeof(FmoeBatch));
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	int64_t    *order = fnn_alloc(arena, sizeof(int64_t) * (size_t) batch->n_tokens);

	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int32_t		first = batch->sequences.offset[s];
		int32_t		n = batch->sequences.offset[s + 1] - first;

		/* a stream for each sequence of the shard, which are fewer than 65536 */
		fnn_random_permutation(goal->seed, fmoe_stream(FMOE_STREAM_PERMUTATION, goal->stream << 16 | (uint32_t) s), n,
							   order);
		for (int32_t k = 0; k < n; k++)
			item[first + k] = batch->events.item[first + order[k]];
	}
	*other = *batch;
	other->events.item = item;
	return other;
}

static void
add_contrast(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, const FmoeBatch *batch,
			 const FmoeGoal *goal, FnnTensor *const *state)
{
	FnnTensor  *other[FMOE_MEMBERS_MAX];
	int32_t		n = batch->sequences.count;

	fmoe_mix_states(expert, layout, tape, permuted(tape->arena, batch, goal), FMOE_LAST_TOKENS, other);
	for (int i = 0; i < layout->members; i++)
		fnn_contrast_loss(tape, fnn_rows(tape, state[i], batch->last, n), other[i], TEMPERATURE,
						  fmoe_mixture_own(expert->config)->contrast * goal->sequence_weight / 2);
}

/* Adds the members' losses; keeps loss[member][n_tokens] where gate_loss needs them. */
static void
add_member_losses(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, FmoeGoal *goal,
				  const FmoeMixed *mixed, double **loss)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(expert->config);
	FnnTensor  *table = layout->features >= 0 ? (FnnTensor *) expert->items : fmoe_parameter(expert, 0);
	double		kl = own->kl * (goal->step < KL_STEPS ? goal->step / KL_STEPS : 1);

	for (int i = 0; i < layout->members; i++)
	{
		FnnSoftmaxExtra extra = {0};
		FnnTensor  *columns = layout->gated == 1 ? table
			: fnn_columns(tape, table, layout->column[i], layout->shape[i].width);

		if (own->gate_loss > 0)
			extra.row_loss = loss[i] = fnn_alloc(tape->arena, sizeof(double) * (size_t) mixed->rows);
		fmoe_add_loss(tape, mixed->state[i], columns, goal, &extra);
		fmoe_goal_loss(goal, tape, LOSS_EXPERTS);
		if (kl > 0)
			fnn_square_loss(tape, mixed->state[i], kl / 2 * goal->position_weight);
		fmoe_goal_loss(goal, tape, LOSS_KL);
	}
}

static void
learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(expert->config);
	FmoeMixtureLayout *layout = fnn_alloc(tape->arena, sizeof(FmoeMixtureLayout));
	double	   *loss[FMOE_GATED_MAX];
	FnnSoftmaxExtra extra = {0};
	FmoeMixed	mixed;

	fmoe_mixture_layout(expert->config, expert->params, layout);
	fmoe_mix(expert, layout, tape, batch, FMOE_ALL_TOKENS, &mixed);
	add_member_losses(expert, layout, tape, goal, &mixed, loss);
	if (layout->gated > layout->members)
	{
		extra.terms = transition_terms(expert, layout, tape->arena, batch, goal);
		extra.term_weight = mixed.gate;
		extra.term_column = layout->members + 1;
	}
	if (fmoe_mixture_gate_learns(expert->config))
		fmoe_add_loss(tape, mixed.hidden, fnn_detach(tape, fmoe_parameter(expert, 0)), goal, &extra);
	fmoe_goal_loss(goal, tape, LOSS_GATE);
	if (fmoe_mixture_gate_learns(expert->config) && own->gate_loss > 0)
	{
		for (int i = layout->members; i < layout->gated; i++)
			loss[i] = fnn_alloc(tape->arena, sizeof(double) * (size_t) mixed.rows);
		if (layout->gated > layout->members)
			count_losses(expert, layout, batch, goal, extra.terms, loss[layout->members],
						 loss[layout->members + 1]);
		fnn_divergence_loss(tape, mixed.gate, deserved(tape->arena, layout->gated, mixed.rows, loss),
							goal->target_weight, own->gate_loss / layout->gated * goal->weight);
	}
	fmoe_goal_loss(goal, tape, LOSS_DESERVED);
	if (own->contrast > 0)
		add_contrast(expert, layout, tape, batch, goal, mixed.state);
	fmoe_goal_loss(goal, tape, LOSS_CONTRAST);
}

FnnTensor *
fmoe_mixture_step_items(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n, const FmoeGoal *goal)
{
	FmoeStepItems step = fmoe_step_range(tape->arena, first, n, goal);

	return fmoe_mixture_vectors(expert, tape, n, step.item,
								fmoe_step_kept(expert, tape->arena, &step,
											   fmoe_mixture_own(expert->config)->featured.id_dropout));
}

void
fmoe_mixture_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	const FmoeFeaturedOptions *featured = &fmoe_mixture_own(expert->config)->featured;
	FmoeExpert	over = *expert;
	FmoeStepItems step;

	over.items = expert->step_items;
	if (!featured->features || over.items != NULL)
	{
		learn(&over, tape, batch, goal);
		return;
	}
	step = fmoe_step_items(expert, tape->arena, batch, goal);
	over.items = fmoe_mixture_vectors(expert, tape, step.n, step.item,
									  fmoe_step_kept(expert, tape->arena, &step, featured->id_dropout));
	learn(&over, tape, &step.batch, &step.goal);
	goal->told = step.goal.told;
	memcpy(goal->loss, step.goal.loss, sizeof(goal->loss));
}

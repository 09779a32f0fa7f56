/*
 * learn.c
 *	  What a mixture learns from, and what it computes instead of learning.
 *
 *		sum over members of loss(z_i against E_i)			trains everything but the gate
 *		+ loss(mixed scores), states and table constant		trains the gate
 *		+ gate_loss / members * KL(softmax(-losses) | gate)	trains the gate
 *		+ kl / 2 * sum over members of |z_i|^2
 *		+ contrast * sum over members of NT-Xent(last states, those of the permuted history)
 *
 * each as a mean over the step's positions (the last one over its sequences).
 */
#include "model/data/stream.h"
#include "model/fmoe/layout.h"

#include <math.h>
#include <string.h>

#define KL_STEPS 10000.0		/* until the KL term has its whole weight */
#define TEMPERATURE 1.0			/* of the contrastive loss */
/* Histories whose mean state gate batch reads when it serves. */
#define SETTLE_USERS 1024
#define SETTLE_BLOCK 64

/* ---------------------------------------------------------------- starting */

/* The logarithm of each item's share of the events into the table's count columns. */
void
fmoe_mixture_start(FmoeExpert *expert, const FnnHost *host)
{
	FnnTensor  *table = fmoe_parameter(expert, 0);
	const float *weight;
	FmoeMixtureLayout layout;
	double		sum = 0;

	fmoe_mixture_layout(&expert->config, &layout);
	if (layout.gated == layout.members)
		return;
	weight = expert->popularity->array[0].data;
	for (int32_t v = 0; v < expert->n_items; v++)
		sum += weight[v] + 0.5;
	for (int32_t v = 0; v < expert->n_items; v++)
	{
		fnn_real   *column = table->value + v * table->cols + layout.column[layout.members];

		memset(column, 0, FMOE_COUNT_COLUMNS * sizeof(fnn_real));
		column[0] = column[1] = (fnn_real) log((weight[v] + 0.5) / sum);
		if ((v & 0xffff) == 0)
			fnn_poll(host);
	}
}

/* ---------------------------------------------------------------- losses */

/*
 * The transitions out of each token's item, as terms of its logits.  The one to
 * the target is not counted: it is what is to be foretold.
 */
static const FnnTerms *
transition_terms(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena, const FmoeBatch *batch,
				 const int32_t *target)
{
	FnnTerms   *terms = fnn_alloc(arena, sizeof(FnnTerms) * (size_t) batch->n_tokens);
	const FnnTensor *table = fmoe_parameter(expert, 0);
	const fnn_real *log_share = table->value + layout->column[layout->members];

	for (int64_t t = 0; t < batch->n_tokens; t++)
	{
		FmoeTransitions row = fmoe_transitions(expert->markov, batch->events.item[t]);
		float	   *value = fnn_alloc(arena, sizeof(float) * (size_t) row.n);

		for (int64_t k = 0; k < row.n; k++)
		{
			double		count = row.count[k] - (row.to[k] == target[t] && row.count[k] >= 1 ? 1 : 0);

			value[k] = (float) fmoe_count_term(count, log_share[row.to[k] * table->cols]);
		}
		terms[t].n = row.n;
		terms[t].item = row.to;
		terms[t].value = value;
	}
	return terms;
}

/* Cross-entropy [n_tokens] of the count experts, whose softmax is what was counted. */
static void
count_losses(const FmoeExpert *expert, const FmoeMixtureLayout *layout, const FmoeBatch *batch, const int32_t *target,
			 const FnnTerms *terms, double *popularity, double *markov)
{
	const FnnTensor *table = fmoe_parameter(expert, 0);
	const fnn_real *log_share = table->value + layout->column[layout->members];

	for (int64_t t = 0; t < batch->n_tokens; t++)
	{
		double		sum = fmoe_transitions(expert->markov, batch->events.item[t]).sum - 1;

		popularity[t] = -(double) log_share[target[t] * table->cols];
		markov[t] = popularity[t] - log(FMOE_TRANSITIONS_PRIOR / (FMOE_TRANSITIONS_PRIOR + (sum > 0 ? sum : 0)));
		for (int64_t k = 0; k < terms[t].n; k++)
			if (terms[t].item[k] == target[t])
				markov[t] -= terms[t].value[k];
	}
}

/* What the gate should be by the experts' own losses: softmax of -loss[expert][token]; row-major q[n_tokens, gated]. */
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
		fnn_random_permutation(goal->seed, fmoe_stream(FMOE_STREAM_PERMUTATION, goal->stream << 16 | (uint32_t) s), n, order);
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

	fmoe_mix_states(expert, layout, tape, permuted(tape->arena, batch, goal), true, other);
	for (int i = 0; i < layout->members; i++)
		fnn_contrast_loss(tape, fnn_rows(tape, state[i], batch->last, n), other[i], TEMPERATURE,
						  expert->config.contrast * goal->sequence_weight / 2);
}

/* Losses of the members; loss[member][n_tokens] when the gate wants to know them. */
static void
add_member_losses(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, const FmoeGoal *goal,
				  const FmoeMixed *mixed, double **loss)
{
	const FmoeConfig *config = &expert->config;
	FnnTensor  *table = fmoe_parameter(expert, 0);
	double		kl = config->kl * (goal->step < KL_STEPS ? goal->step / KL_STEPS : 1);

	for (int i = 0; i < layout->members; i++)
	{
		FnnSoftmaxExtra extra = {0};
		FnnTensor  *columns = layout->gated == 1 ? table
			: fnn_columns(tape, table, layout->column[i], layout->config[i].width);

		if (config->gate_loss > 0)
			extra.row_loss = loss[i] = fnn_alloc(tape->arena, sizeof(double) * (size_t) mixed->rows);
		fmoe_add_loss(tape, mixed->state[i], columns, goal, &extra);
		if (kl > 0)
			fnn_square_loss(tape, mixed->state[i], kl / 2 * goal->weight);
	}
}

void
fmoe_mixture_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal)
{
	const FmoeConfig *config = &expert->config;
	FmoeMixtureLayout *layout = fnn_alloc(tape->arena, sizeof(FmoeMixtureLayout));
	double	   *loss[FMOE_GATED_MAX];
	FnnSoftmaxExtra extra = {0};
	FmoeMixed	mixed;

	fmoe_mixture_layout(config, layout);
	fmoe_mix(expert, layout, tape, batch, false, &mixed);
	add_member_losses(expert, layout, tape, goal, &mixed, loss);
	if (layout->gated > layout->members)
	{
		extra.terms = transition_terms(expert, layout, tape->arena, batch, goal->target);
		extra.term_weight = mixed.gate;
		extra.term_column = layout->members + 1;
	}
	/* nobody learns from weights that are given */
	if (config->gate != FMOE_GATE_EQUAL)
		fmoe_add_loss(tape, mixed.hidden, fnn_detach(tape, fmoe_parameter(expert, 0)), goal, &extra);
	if (config->gate != FMOE_GATE_EQUAL && config->gate_loss > 0)
	{
		for (int i = layout->members; i < layout->gated; i++)
			loss[i] = fnn_alloc(tape->arena, sizeof(double) * (size_t) mixed.rows);
		if (layout->gated > layout->members)
			count_losses(expert, layout, batch, goal->target, extra.terms, loss[layout->members], loss[layout->members + 1]);
		fnn_divergence_loss(tape, mixed.gate, deserved(tape->arena, layout->gated, mixed.rows, loss),
							config->gate_loss / layout->gated * goal->weight);
	}
	if (config->contrast > 0)
		add_contrast(expert, layout, tape, batch, goal, mixed.state);
}

/* ---------------------------------------------------------------- settling */

/* The mean of the states over the histories of the first users, block by block. */
static void
settle_mean(FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena, const FmoeDataset *data)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		users = data->n_users < SETTLE_USERS ? data->n_users : SETTLE_USERS;
	int64_t    *begin = fnn_alloc(arena, sizeof(int64_t) * (size_t) users);
	int64_t    *end = fnn_alloc(arena, sizeof(int64_t) * (size_t) users);
	int64_t		cols = layout->column[layout->members];
	double	   *sum = fnn_zalloc(arena, sizeof(double) * (size_t) cols);
	int64_t		tokens = 0;

	for (int64_t u = 0; u < users; u++)
	{
		begin[u] = data->offset[u];
		end[u] = fmoe_train_end(data, (FmoeHoldout) expert->config.holdout, u);
	}
	for (int64_t u = 0; u < users; u += SETTLE_BLOCK)
	{
		FnnMark		block = fnn_arena_mark(arena);
		int64_t		n = users - u < SETTLE_BLOCK ? users - u : SETTLE_BLOCK;
		FmoeBatch  *batch = fmoe_batch(arena, &data->events, n, begin + u, end + u, expert->config.max_length);
		FnnTensor  *state[FMOE_MEMBERS_MAX];
		FnnTape		tape;

		fnn_tape_begin(&tape, arena, false, 0, 0);
		fmoe_mix_states(expert, layout, &tape, batch, false, state);
		for (int i = 0; i < layout->members; i++)
			for (int64_t t = 0; t < batch->n_tokens; t++)
				for (int64_t c = 0; c < state[i]->cols; c++)
					sum[layout->column[i] + c] += state[i]->value[t * state[i]->cols + c];
		tokens += batch->n_tokens;
		fnn_arena_reset(arena, block);
	}
	for (int64_t c = 0; c < cols && tokens > 0; c++)
		fmoe_parameter(expert, layout->mean)->value[c] = (fnn_real) (sum[c] / tokens);
	fnn_arena_reset(arena, mark);
}

void
fmoe_mixture_settle(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeMixtureLayout *layout = fnn_alloc(arena, sizeof(FmoeMixtureLayout));

	fmoe_mixture_layout(&expert->config, layout);
	if (layout->mean >= 0)
		settle_mean(expert, layout, arena, data);
	if (layout->calibration >= 0 && layout->gated > 1)
		fmoe_mixture_calibrate(expert, layout, arena, data);
	fnn_arena_reset(arena, mark);
}

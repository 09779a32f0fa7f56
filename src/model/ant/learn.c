/*
 * learn.c
 *	  What ant learns from.
 *
 * Adapted, or trained alone: the softmax loss of cosines / temperature over all
 * items, or over sampled ones.  To be lent: each target against the other targets
 * of the shard,
 *
 *		-log(exp(cos(h, v_y) / t) / (sum over targets j != y, and y, of exp(cos(h, v_j) / t) + 1e-8) + 1e-8)
 *		+ alignment * the same of an item's image against the texts of the shard's different targets
 *
 * with the states after all tokens instead of one prefix each.  Where events have a
 * source, the targets are those of the same source.
 */
#include "model/ant/ant.h"

#include <math.h>
#include <string.h>

#define CONTRAST_EPSILON 1e-8

/* The different items that a shard reads and is to tell apart. */
typedef struct Shard
{
	int64_t		n;
	const int32_t *item;		/* [n]; NULL: all */
	const int32_t *row;			/* [n_tokens] where each token's is among them */
	FmoeGoal	goal;			/* with targets and negatives numbered as they are */
} Shard;

static Shard
shard_of(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal)
{
	FnnArena   *arena = tape->arena;
	int64_t		tokens = batch->n_tokens;
	bool		pretrain = fmoe_ant_own(expert->config)->pretrain;
	int64_t		negatives = pretrain ? 0 : goal->n_negatives;
	int64_t		n = 2 * tokens + negatives;
	Shard		shard = {.n = expert->n_items, .row = batch->events.item, .goal = *goal};
	int32_t    *item;
	int32_t    *row;
	int32_t    *distinct;

	if (!pretrain && goal->n_negatives == 0)
		return shard;
	item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	row = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	memcpy(item, batch->events.item, sizeof(int32_t) * (size_t) tokens);
	/* where there is no target, an item that is there anyway */
	for (int64_t t = 0; t < tokens; t++)
		item[tokens + t] = goal->target[t] >= 0 ? goal->target[t] : item[t];
	if (negatives > 0)
		memcpy(item + 2 * tokens, goal->negative, sizeof(int32_t) * (size_t) negatives);
	shard.n = fmoe_number_items(arena, n, item, expert->n_items, distinct, row);
	for (int64_t t = 0; t < tokens; t++)
		if (goal->target[t] < 0)
			row[tokens + t] = -1;
	shard.item = distinct;
	shard.row = row;
	shard.goal.target = row + tokens;
	shard.goal.negative = row + 2 * tokens;
	return shard;
}

static void
learn_items(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, FnnTensor *states, const Shard *shard)
{
	fmoe_add_loss(tape, fnn_unit_rows(tape, states, 1 / fmoe_ant_own(expert->config)->temperature),
				  fnn_unit_rows(tape, table, 1), &shard->goal, NULL);
}

/* ---------------------------------------------------------------- to be lent */

/* Tokens that have a target, and what it is. */
typedef struct Told
{
	int64_t		n;
	int32_t    *token;
	int32_t    *target;			/* row of the shard's items */
	float	   *weight;			/* NULL: all count 1 */
} Told;

static Told
tokens_with_targets(FnnArena *arena, const FmoeBatch *batch, const FmoeGoal *goal)
{
	Told		told = {0};

	told.token = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	told.target = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	if (goal->target_weight != NULL)
		told.weight = fnn_alloc(arena, sizeof(float) * (size_t) batch->n_tokens);
	for (int64_t t = 0; t < batch->n_tokens; t++)
	{
		if (goal->target[t] < 0)
			continue;
		if (told.weight != NULL)
			told.weight[told.n] = goal->target_weight[t];
		told.token[told.n] = (int32_t) t;
		told.target[told.n++] = goal->target[t];
	}
	return told;
}

static void
swap_told(const Told *told, int64_t a, int64_t b)
{
	int32_t		token = told->token[a];
	int32_t		target = told->target[a];
	float		weight = told->weight != NULL ? told->weight[a] : 1;

	told->token[a] = told->token[b];
	told->target[a] = told->target[b];
	told->token[b] = token;
	told->target[b] = target;
	if (told->weight == NULL)
		return;
	told->weight[a] = told->weight[b];
	told->weight[b] = weight;
}

/* Moves those from first on that have the source of that one next to it; returns how many these are. */
static int64_t
same_source(const Told *told, const int32_t *source, int64_t first)
{
	int64_t		n = 1;

	if (source == NULL)
		return told->n - first;
	for (int64_t i = first + 1; i < told->n; i++)
		if (source[told->token[i]] == source[told->token[first]])
			swap_told(told, first + n++, i);
	return n;
}

static bool
is_known(const FnnTensor *x, int64_t row)
{
	for (int64_t c = 0; c < x->cols; c++)
		if (x->value[row * x->cols + c] != 0)
			return true;
	return false;
}

/* Different targets that have both an image and a text: row[n]. */
static int64_t
with_both(FnnArena *arena, const FmoeAntItems *items, const Told *told, int32_t *row)
{
	bool	   *taken = fnn_zalloc(arena, (size_t) items->vector->rows);
	int64_t		n = 0;

	for (int64_t i = 0; i < told->n; i++)
	{
		int32_t		target = told->target[i];

		if (taken[target] || !is_known(items->image, target) || !is_known(items->text, target))
			continue;
		taken[target] = true;
		row[n++] = target;
	}
	return n;
}

static void
align(const FmoeExpert *expert, FnnTape *tape, const FmoeAntItems *items, const Told *told, double weight)
{
	double		temperature = fmoe_ant_own(expert->config)->temperature;
	int32_t    *row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) told->n);
	int64_t		n = with_both(tape->arena, items, told, row);

	if (n > 1)
		fnn_batch_contrast_loss(tape, fnn_rows(tape, items->image, row, n), fnn_rows(tape, items->text, row, n), row,
								NULL, temperature, FNN_SAME_REMOVED, CONTRAST_EPSILON, weight / (double) n);
}

static void
learn_to_be_lent(const FmoeExpert *expert, FnnTape *tape, const FmoeAntItems *items, FnnTensor *states,
				 const FmoeBatch *batch, FmoeGoal *goal, const Shard *shard)
{
	const FmoeAntOptions *own = fmoe_ant_own(expert->config);
	Told		told = tokens_with_targets(tape->arena, batch, &shard->goal);

	for (int64_t first = 0; first < told.n;)
	{
		int64_t		n = same_source(&told, batch->events.source, first);

		fnn_batch_contrast_loss(tape, fnn_rows(tape, states, told.token + first, n),
								fnn_rows(tape, items->vector, told.target + first, n), told.target + first,
								told.weight != NULL ? told.weight + first : NULL, own->temperature, FNN_SAME_REMOVED,
								CONTRAST_EPSILON, goal->weight);
		first += n;
	}
	fmoe_goal_loss(goal, tape, FMOE_ANT_LOSS_NEXT);
	if (own->alignment > 0 && items->image != NULL && items->text != NULL)
		align(expert, tape, items, &told, own->alignment * goal->position_weight * (double) batch->n_tokens);
	fmoe_goal_loss(goal, tape, FMOE_ANT_LOSS_ALIGNMENT);
}

FnnTensor *
fmoe_ant_step_items(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n, const FmoeGoal *goal)
{
	int32_t    *item = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);

	(void) goal;
	for (int64_t i = 0; i < n; i++)
		item[i] = (int32_t) (first + i);
	return fmoe_ant_items(expert, tape, n, item).vector;
}

void
fmoe_ant_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	Shard		shard = shard_of(expert, tape, batch, goal);
	FmoeAntItems items = {.vector = expert->step_items};
	FnnTensor  *states;

	if (items.vector == NULL)
		items = fmoe_ant_items(expert, tape, shard.n, shard.item);
	states = fmoe_ant_states(expert, tape, items.vector, shard.row, batch, FMOE_ALL_TOKENS);

	if (fmoe_ant_own(expert->config)->pretrain)
	{
		learn_to_be_lent(expert, tape, &items, states, batch, goal, &shard);
		return;
	}
	learn_items(expert, tape, items.vector, states, &shard);
	fmoe_goal_loss(goal, tape, FMOE_ANT_LOSS_NEXT);
}

double
fmoe_ant_learn_bytes(const FmoeConfig *config, const FmoeFacts *facts, double tokens)
{
	double		width = config->width;
	double		n = fmoe_ant_step_count(config, facts->n_items, tokens);
	double		numbers = n < facts->n_items || fmoe_ant_own(config)->pretrain
		? facts->n_items + 3 * (2 * tokens + config->negatives) : 0;

	/* vectors and states of one length with what they were divided by; numbers of items */
	if (!fmoe_ant_own(config)->pretrain)
		return (2 * (n + tokens) * width + n + tokens) * sizeof(fnn_real) + numbers * sizeof(int32_t);
	/* rows of four sides with their gradients and at length 1, a tile; tokens, targets, weights, flags */
	return (tokens * 8 * width + n * 8 * width + 66 * (tokens + n)) * sizeof(fnn_real) +
		(numbers + 6 * tokens + n) * sizeof(int32_t);
}

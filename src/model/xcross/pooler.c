/*
 * pooler.c
 *	  The head pooler of xcross, as the paper scores candidates: the history and one of
 *	  them behind it go through all streams, and of the state there
 *
 *		score = V gelu(P state + p) + c		P [d, d], V [1, d]
 *
 * A history is computed once for all candidates, which see it and not one another.  What
 * was chosen is told from others that are drawn: a softmax over these few.
 */
#include "model/data/stream.h"
#include "model/xcross/xcross.h"

#include <math.h>
#include <string.h>

#define AT_ONCE 512				/* candidates that are scored together */

void
fmoe_pooler_declare(FmoeDeclaring *to, const FmoeConfig *config)
{
	fmoe_declare_linear(to, FNN_HEAD, "pooler", config->width, config->width);
	fmoe_declare_linear(to, FNN_HEAD, "head", 1, config->width);
}

/* score[n, 1] of what follows histories whose item vectors are rows of a table. */
static FnnTensor *
scores_after(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row, const FmoeBatch *batch,
			 const int32_t *asked, const FmoeXcrossFollowing *following)
{
	FmoeXcrossRun *run = fmoe_xcross_run_following(expert, tape, table, row, batch, asked, following);
	FnnTensor  *head = fmoe_parameter(expert, run->layout.pooler);
	FnnTensor  *pooled = fnn_linear(tape, fmoe_xcross_state(run, tape), head, head + 1, FNN_GELU);

	return fnn_linear(tape, pooled, head + 2, head + 3, FNN_IDENTITY);
}

/* Sets n tokens from number first on as following those of a sequence up to a token's basket. */
static void
follow_token(FmoeXcrossFollowing *following, int64_t first, int64_t n, const FmoeConfig *config,
			 const FmoeBatch *batch, int32_t sequence, int32_t token)
{
	int32_t		begin = batch->sequences.offset[sequence];
	int32_t		end = token + 1;
	int32_t		position = batch->position[token] + 1;

	if (batch->baskets != NULL)
		while (end < batch->sequences.offset[sequence + 1] && batch->position[end] == batch->position[token])
			end++;
	for (int64_t i = first; i < first + n; i++)
	{
		((int32_t *) following->begin)[i] = begin;
		((int32_t *) following->count)[i] = end - begin;
		/* behind a history that fills all places is the last one once more */
		((int32_t *) following->position)[i] = position < config->max_length ? position : config->max_length - 1;
	}
}

static FmoeXcrossFollowing
new_following(FnnArena *arena, int64_t n)
{
	int32_t    *numbers = fnn_alloc(arena, sizeof(int32_t) * 4 * (size_t) n);

	return (FmoeXcrossFollowing)
	{
		.n = n, .row = numbers, .position = numbers + n, .begin = numbers + 2 * n, .count = numbers + 3 * n
	};
}

/* ---------------------------------------------------------------- learning */

/* How many others an item is told from. */
static int32_t
others(const FmoeConfig *config, int32_t n_items)
{
	return fmoe_xcross_own(config)->head_negatives < n_items - 1 ? fmoe_xcross_own(config)->head_negatives
		: n_items - 1;
}

/* candidate[1 + n]: the target, and n others, of which each comes once where they are all there are. */
static void
draw_candidates(const FmoeGoal *goal, int64_t sequence, int32_t n_items, int32_t target, int32_t n, int32_t *candidate)
{
	candidate[0] = target;
	for (int32_t k = 0; k < n; k++)
	{
		int32_t		other = n == n_items - 1 ? k
			: (int32_t) fnn_random_below(goal->seed, fmoe_stream(FMOE_STREAM_NEGATIVES, goal->stream),
										 (uint64_t) (sequence * n + k), (uint64_t) (n_items - 1));

		candidate[1 + k] = other < target ? other : other + 1;
	}
}

/* The softmax loss of logit [n (1 + others), 1], of which the first of each 1 + others was chosen. */
static void
add_loss(FnnTape *tape, FnnTensor *logit, int64_t n, int64_t columns, double weight, const float *row_weight)
{
	FnnTensor  *rows = fnn_alloc(tape->arena, sizeof(FnnTensor));
	fnn_real   *unit = fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (columns * columns));
	int32_t    *first = fnn_zalloc(tape->arena, sizeof(int32_t) * (size_t) n);
	FnnSoftmaxExtra extra = {.row_weight = row_weight};

	for (int64_t c = 0; c < columns; c++)
		unit[c * columns + c] = 1;
	/* the same numbers in other rows */
	*rows = *logit;
	rows->rows = n;
	rows->cols = columns;
	fnn_softmax_loss_with(tape, rows, fnn_constant(tape, columns, columns, unit), first, weight, &extra);
}

void
fmoe_pooler_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal,
				  const int32_t *asked)
{
	const FmoeConfig *config = expert->config;
	FmoeBase	base = fmoe_base(config, &fmoe_xcross_own(config)->base.inputs, fmoe_parameter(expert, 0));
	FmoeBaseItems all = {.n = expert->n_items, .row = batch->events.item, .goal = *goal};
	int32_t		n = others(config, expert->n_items);
	FmoeXcrossFollowing following = new_following(tape->arena, (int64_t) batch->sequences.count * (1 + n));
	float	   *weight = fnn_alloc(tape->arena, sizeof(float) * (size_t) batch->sequences.count);
	int64_t		count = 0;
	FnnTensor  *table;

	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int32_t		token = asked[s];

		if (token < 0 || goal->target[token] < 0)
			continue;
		draw_candidates(goal, s, expert->n_items, goal->target[token], n, (int32_t *) following.row + count * (1 + n));
		follow_token(&following, count * (1 + n), 1 + n, config, batch, s, token);
		weight[count++] = goal->target_weight != NULL ? goal->target_weight[token] : 1;
	}
	following.n = count * (1 + n);
	if (count == 0)
		return;
	table = fmoe_base_chosen_items(&base, expert, tape, &all, 0);
	add_loss(tape, scores_after(expert, tape, table, all.row, batch, asked, &following), count, 1 + n, goal->weight,
			 weight);
}

/* ---------------------------------------------------------------- scoring */

void
fmoe_pooler_score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int64_t n,
				  const int32_t *item, fnn_real *score)
{
	const FmoeConfig *config = expert->config;
	FmoeBase	base = fmoe_base(config, &fmoe_xcross_own(config)->base.inputs, fmoe_parameter(expert, 0));
	FnnMark		start = fnn_arena_mark(arena);
	FmoeBatch	one = fmoe_batch_part(arena, batch, sequence, 1);
	FnnTensor  *table = (FnnTensor *) expert->items;
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	if (table == NULL)
		table = fmoe_base_items(&base, expert, &tape, expert->n_items, NULL, 0);
	for (int64_t first = 0; first < n; first += AT_ONCE)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		int64_t		part = n - first < AT_ONCE ? n - first : AT_ONCE;
		FmoeXcrossFollowing following = new_following(arena, part);

		fnn_poll(fnn_arena_host(arena));
		for (int64_t i = 0; i < part; i++)
			((int32_t *) following.row)[i] = item != NULL ? item[first + i] : (int32_t) (first + i);
		follow_token(&following, 0, part, config, &one, 0, one.last[0]);
		memcpy(score + first, scores_after(expert, &tape, table, one.events.item, &one, NULL, &following)->value,
			   sizeof(fnn_real) * (size_t) part);
		fnn_arena_reset(arena, mark);
	}
	fnn_arena_reset(arena, start);
}

double
fmoe_pooler_bytes(const FmoeConfig *config, double n_items, double tokens, bool recorded)
{
	double		columns = 1 + fmin(fmoe_xcross_own(config)->head_negatives, n_items - 1);
	/* of each sequence one token is asked, and it has one at least */
	double		following = recorded ? fmin(tokens, config->batch_size) * columns : fmin(AT_ONCE, n_items);
	double		each = fmoe_xcross_token_reals(config, recorded) + (recorded ? 2 : 1) * (config->width + 1);
	/* and what histories' tokens are seen as once more */
	double		reals = following * each + tokens * fmoe_xcross_streams(config) * config->layers * (recorded ? 4 : 2) *
		config->width;

	if (recorded)
		reals += columns * columns + fnn_softmax_loss_reals((int64_t) fmin(tokens, config->batch_size),
															(int64_t) columns, (int64_t) columns);
	return reals * sizeof(fnn_real) + following * 4 * sizeof(int32_t) + 4 * tokens * sizeof(double);
}

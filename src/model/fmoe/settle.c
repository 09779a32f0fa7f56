/*
 * settle.c
 *	  Parameters of a mixture that are computed instead of learned: once from the
 *	  data, or after each epoch.
 */
#include "model/fmoe/fmoe.h"

#include <math.h>
#include <string.h>

/* Gate batch reads, when it serves, the mean state of so many users' histories. */
#define SETTLE_USERS 1024
#define SETTLE_BLOCK 64

/* ---------------------------------------------------------------- starting */

/* Fills the count columns with the logarithm of each item's share of the events. */
void
fmoe_mixture_start(FmoeExpert *expert, const FnnHost *host)
{
	FnnTensor  *table = fmoe_parameter(expert, 0);
	const float *weight;
	FmoeMixtureLayout layout;
	double		sum = 0;

	fmoe_mixture_layout(expert->config, expert->params, &layout);
	if (layout.features >= 0)
		fmoe_start_featured(expert, host, table, layout.column[1]);
	if (layout.gated == layout.members)
		return;
	weight = expert->counts[FMOE_POPULARITY].array[0].data;
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

/* ---------------------------------------------------------------- settling */

/* Computes the mean of the states over the histories of the first users, block by block. */
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
		end[u] = fmoe_train_end(data, (FmoeHoldout) expert->config->holdout, u);
	}
	for (int64_t u = 0; u < users; u += SETTLE_BLOCK)
	{
		FnnMark		block = fnn_arena_mark(arena);
		int64_t		n = users - u < SETTLE_BLOCK ? users - u : SETTLE_BLOCK;
		FmoeBatch  *batch = fmoe_batch(arena, &data->events, n, begin + u, end + u, expert->config->max_length);
		FnnTensor  *state[FMOE_MEMBERS_MAX];
		FnnTape		tape;

		fnn_tape_begin(&tape, arena, false, 0, 0);
		fmoe_mix_states(expert, layout, &tape, batch, FMOE_ALL_TOKENS, state);
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

	fmoe_mixture_layout(expert->config, expert->params, layout);
	if (layout->mean >= 0)
		settle_mean(expert, layout, arena, data);
	if (layout->calibration >= 0 && layout->gated > 1)
		fmoe_mixture_calibrate(expert, layout, arena, data);
	fnn_arena_reset(arena, mark);
}

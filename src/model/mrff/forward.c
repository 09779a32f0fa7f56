/*
 * forward.c
 *	  States after impressions (the paper's section "Model").
 *
 *	  x = dropout(sqrt(width) item + label + position)
 *	  a block:	q = norm1(x)
 *				y = norm2(q + output(attention(query(q), key_value(x))))
 *				p = softmax(gate([mean of y so far ; u])),	r = the largest of p
 *				x = map_r(y) + map_user(y), and y where residual; p_r map_r(y) where weighted
 *	  state = norm(x),	map(y) = dropout(outer(dropout(relu(inner(y)))))
 *
 * The paper's gate reads the mean over the whole sequence, with impressions that are
 * still to be predicted among them, and past labels would tell of these; here a gate
 * reads the mean up to its impression, and at the last one, which is what serves, both
 * are the same.  The impressions of a basket see one another, their labels too: what is
 * predicted from them is the next basket.
 */
#include "model/mrff/mrff.h"

#include <math.h>

#define NORM_EPSILON 1e-8

static FnnTensor *
parameter(const FmoeExpert *expert, const FmoeMrffLayout *layout, int block, int index)
{
	return fmoe_parameter(expert, layout->block + block * FMOE_MRFF_BLOCK_SLICES + index);
}

static FnnTensor *
linear(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, int block, int index, FnnTensor *x)
{
	return fnn_linear(tape, x, parameter(expert, layout, block, index), parameter(expert, layout, block, index + 1),
					  FNN_IDENTITY);
}

static FnnTensor *
norm(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, int block, int index, FnnTensor *x)
{
	return fnn_layer_norm(tape, x, parameter(expert, layout, block, index),
						  parameter(expert, layout, block, index + 1), NORM_EPSILON);
}

/* dropout(outer(dropout(relu(inner(x))))) by the maps from column first on of rows row[n] of a table. */
static FnnTensor *
map(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, FnnTensor *x, FnnTensor *table,
	int64_t first, const int32_t *row)
{
	double		dropout = expert->config->dropout;

	x = fnn_row_linear(tape, x, table, first, layout->width, true, FNN_RELU, row);
	x = fnn_row_linear(tape, fnn_dropout(tape, x, dropout), table, first + layout->map / 2, layout->width, true,
					   FNN_IDENTITY, row);
	return fnn_dropout(tape, x, dropout);
}

/* Rows of sequences [count, d] for each token. */
static const int32_t *
tokens_of(const FmoeBatch *batch, FnnArena *arena)
{
	return fmoe_mrff_sequence_of(arena, batch);
}

/* The mean of each token's row and those before it, a basket counting as one. */
static FnnTensor *
mean_so_far(FnnTape *tape, FnnTensor *y, const FmoeBatch *batch)
{
	if (batch->baskets == NULL)
		return fnn_running_mean(tape, y, &batch->sequences);
	y = fnn_running_mean(tape, fmoe_basket_means(tape, y, batch), &batch->baskets->sequences);
	return fnn_rows(tape, y, batch->baskets->of, batch->n_tokens);
}

static void
choose_groups(FnnTape *tape, FmoeMrffPass *pass, int block)
{
	const FnnTensor *p = pass->gate[block];

	pass->group[block] = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) p->rows);
	for (int64_t t = 0; t < p->rows; t++)
	{
		int32_t		best = 0;

		for (int32_t e = 1; e < p->cols; e++)
			if (p->value[t * p->cols + e] > p->value[t * p->cols + best])
				best = e;
		pass->group[block][t] = best;
	}
}

/* What the maps of group and user make of y. */
static FnnTensor *
maps(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeMrffPass *pass, int block, FnnTensor *y)
{
	const FmoeMrffLayout *layout = &pass->layout;
	const FmoeMrffOptions *own = fmoe_mrff_own(expert->config);
	const int32_t *of = tokens_of(batch, tape->arena);
	FnnTensor  *table = fmoe_mrff_private(expert, layout, batch);
	FnnTensor  *read = mean_so_far(tape, y, batch);
	FnnTensor  *x;

	if (pass->user != NULL)
	{
		FnnTensor  *parts[] = {read, fnn_rows(tape, pass->user, of, batch->n_tokens)};

		read = fnn_concat(tape, 2, parts);
	}
	pass->gate[block] = fnn_softmax(tape, linear(expert, layout, tape, block, FMOE_MRFF_GATE, read), NULL, 0);
	choose_groups(tape, pass, block);
	x = map(expert, layout, tape, y, parameter(expert, layout, block, FMOE_MRFF_GROUPS), 0, pass->group[block]);
	if (own->group_gate == FMOE_MRFF_WEIGHTED)
		x = fnn_gate(tape, 1, &x, fnn_pick(tape, pass->gate[block], pass->group[block]));
	if (table != NULL)
	{
		int32_t    *row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->n_tokens);

		for (int64_t t = 0; t < batch->n_tokens; t++)
			row[t] = fmoe_mrff_private_of(batch)[of[t]];
		x = fnn_add_dropout(tape, x, map(expert, layout, tape, y, table, block * layout->map, row), 0);
	}
	return own->residual ? fnn_add_dropout(tape, y, x, 0) : x;
}

static FnnTensor *
run_block(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeMrffPass *pass, int block, FnnTensor *x)
{
	const FmoeMrffLayout *layout = &pass->layout;
	FnnTensor  *key_value = linear(expert, layout, tape, block, FMOE_MRFF_KEY_VALUE, x);
	FnnTensor  *q;
	FnnTensor  *a;

	if (batch->baskets != NULL && block == expert->config->layers - 1)
		x = fnn_rows(tape, fmoe_basket_means(tape, x, batch), batch->baskets->of, batch->n_tokens);
	q = norm(expert, layout, tape, block, FMOE_MRFF_NORM1, x);
	a = linear(expert, layout, tape, block, FMOE_MRFF_QUERY, q);
	a = fnn_attention(tape, a, key_value, &batch->sequences, expert->config->heads, expert->config->dropout, false);
	a = linear(expert, layout, tape, block, FMOE_MRFF_OUTPUT, a);
	return maps(expert, tape, batch, pass, block,
				norm(expert, layout, tape, block, FMOE_MRFF_NORM2, fnn_add_dropout(tape, q, a, 0)));
}

/* sqrt(width) item + label + position */
static FnnTensor *
enter(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeMrffPass *pass)
{
	const FmoeMrffLayout *layout = &pass->layout;
	int64_t		n = batch->n_tokens;
	int32_t    *place = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	int32_t    *label = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	double		scale = sqrt((double) layout->width);
	FnnTensor  *x = pass->item;

	for (int64_t t = 0; t < n; t++)
	{
		place[t] = (int32_t) t;
		label[t] = batch->events.label == NULL || batch->events.label[t] > 0;
	}
	if (layout->label >= 0)
	{
		x = fnn_embed(tape, x, place, n, scale, fmoe_parameter(expert, layout->label), label);
		scale = 1;
	}
	return fnn_embed(tape, x, place, n, scale, fmoe_parameter(expert, layout->position), batch->position);
}

void
fmoe_mrff_run(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeMrffPass *pass)
{
	const FmoeMrffLayout *layout = &pass->layout;
	FnnTensor  *x;

	fmoe_mrff_layout_of(expert, &pass->layout);
	pass->item = fmoe_mrff_items(expert, tape, batch->n_tokens, batch->events.item);
	pass->user = fmoe_mrff_users(expert, layout, tape, batch);
	x = fnn_dropout(tape, enter(expert, tape, batch, pass), expert->config->dropout);
	for (int block = 0; block < expert->config->layers; block++)
		x = run_block(expert, tape, batch, pass, block, x);
	pass->state = fnn_layer_norm(tape, x, fmoe_parameter(expert, layout->norm),
								 fmoe_parameter(expert, layout->norm + 1), NORM_EPSILON);
}

/*
 * sasrec.c
 *	  The encoder of self-attentive sequential recommendation (Kang & McAuley 2018,
 *	  section III).
 *
 * As in the original, only the query of a block is normalised, keys and
 * values see the block's input as it is, and the residual adds the normalised
 * query:
 *
 *	  x  = dropout(sqrt(width) * item + position)
 *	  a block:  q = norm1(x)
 *				x = norm2(q + output(attention(query(q), key_value(x))))
 *				x = x + dropout(outer(dropout(relu(inner(x)))))
 *	  state = norm(x)
 *
 * The caller drops out the inputs, since it may add more to them before.
 * Positions count from the oldest event the encoder sees.
 *
 * What happened at once is one basket.  Read as a set, its items have one position
 * and see each other, and the last block asks once for all of them, with the mean of
 * what it is given of them.  So the state after a basket, which all its items have,
 * does not depend on their order.  Read in turn (fmoe_batch_in_turn), a basket is what
 * the original would make of its items in an order that is drawn anew in each epoch,
 * but that none of them is what comes next to another; the state after a basket is
 * that after its last item.  Baskets of one are what the original has either way.
 */
#include "model/expert/expert.h"

#include <stdio.h>

#define NORM_EPSILON 1e-8

enum
{
	POSITION,
	BLOCKS						/* first slice of block 0 */
};

/* slices of a block, in the order of declaration */
enum
{
	NORM1_GAIN,
	NORM1_BIAS,
	QUERY_WEIGHT,
	QUERY_BIAS,
	KEY_VALUE_WEIGHT,
	KEY_VALUE_BIAS,
	OUTPUT_WEIGHT,
	OUTPUT_BIAS,
	NORM2_GAIN,
	NORM2_BIAS,
	INNER_WEIGHT,
	INNER_BIAS,
	OUTER_WEIGHT,
	OUTER_BIAS,
	BLOCK_SLICES
};

static void
declare(FmoeDeclaring *to, const FmoeShape *shape, int max_length)
{
	int			width = shape->width;

	fmoe_declare(to, FNN_POSITIONS, "position.weight", max_length, width, FNN_INIT_NORMAL,
				 FMOE_INIT_SCALE)->decay = true;
	for (int block = 0; block < shape->layers; block++)
	{
		FmoeDeclaring in_block = *to;
		char		prefix[FNN_NAME_MAX];

		snprintf(prefix, sizeof(prefix), "%sblock.%d.", to->prefix, block);
		in_block.prefix = prefix;
		fmoe_declare_norm(&in_block, FNN_ENCODER, "norm1", width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "query", width, width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "key_value", 2 * width, width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "output", width, width);
		fmoe_declare_norm(&in_block, FNN_ENCODER, "norm2", width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "inner", width, width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "outer", width, width);
	}
	fmoe_declare_norm(to, FNN_ENCODER, "norm", width);
}

static int
slices(const FmoeShape *shape)
{
	return BLOCKS + shape->layers * BLOCK_SLICES + 2;
}

static FnnTensor *
enter(const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *table, const int32_t *row, double scale,
	  const FmoeBatch *batch)
{
	return fnn_embed(tape, table, row, batch->n_tokens, scale, &encoding->tensor[POSITION], batch->position);
}

static FnnTensor *
slice(const FmoeEncoding *encoding, int block, int index)
{
	return &encoding->tensor[BLOCKS + block * BLOCK_SLICES + index];
}

static FnnTensor *
linear(const FmoeEncoding *encoding, FnnTape *tape, int block, int weight, FnnTensor *x, FnnActivation activation)
{
	return fnn_linear(tape, x, slice(encoding, block, weight), slice(encoding, block, weight + 1), activation);
}

static FnnTensor *
norm(const FmoeEncoding *encoding, FnnTape *tape, int block, int gain, FnnTensor *x)
{
	return fnn_layer_norm(tape, x, slice(encoding, block, gain), slice(encoding, block, gain + 1), NORM_EPSILON);
}

/* The rest of a block, from its queries and what attention made of them. */
static FnnTensor *
after_attention(const FmoeEncoding *encoding, FnnTape *tape, int block, FnnTensor *q, FnnTensor *a)
{
	double		dropout = encoding->dropout;
	FnnTensor  *x;

	a = linear(encoding, tape, block, OUTPUT_WEIGHT, a, FNN_IDENTITY);
	x = norm(encoding, tape, block, NORM2_GAIN, fnn_add_dropout(tape, q, a, 0));

	a = linear(encoding, tape, block, INNER_WEIGHT, x, FNN_RELU);
	a = fnn_dropout(tape, a, dropout);
	a = linear(encoding, tape, block, OUTER_WEIGHT, a, FNN_IDENTITY);
	return fnn_add_dropout(tape, x, a, dropout);
}

static FnnTensor *
layer(const FmoeEncoding *encoding, FnnTape *tape, int block, FnnTensor *x, const FmoeBatch *batch, FmoeWhich which)
{
	double		dropout = encoding->dropout;
	bool		last_only = which == FMOE_LAST_TOKENS;
	FnnTensor  *key_value = linear(encoding, tape, block, KEY_VALUE_WEIGHT, x, FNN_IDENTITY);
	FnnTensor  *q;
	FnnTensor  *a;

	if (last_only)
		x = fmoe_last_means(tape, x, batch);
	else if (batch->baskets != NULL && block == encoding->shape.layers - 1)
		x = fnn_rows(tape, fmoe_basket_means(tape, x, batch), batch->baskets->of, batch->n_tokens);
	q = norm(encoding, tape, block, NORM1_GAIN, x);
	a = linear(encoding, tape, block, QUERY_WEIGHT, q, FNN_IDENTITY);
	a = fnn_attention(tape, a, key_value, &batch->sequences, encoding->shape.heads, dropout, last_only);
	return after_attention(encoding, tape, block, q, a);
}

static FnnTensor *
follow(const FmoeEncoding *encoding, FnnTape *tape, int block, FnnTensor *x, FnnTensor *history, const int32_t *begin,
	   const int32_t *count)
{
	FnnTensor  *seen = linear(encoding, tape, block, KEY_VALUE_WEIGHT, history, FNN_IDENTITY);
	FnnTensor  *own = linear(encoding, tape, block, KEY_VALUE_WEIGHT, x, FNN_IDENTITY);
	FnnTensor  *q = norm(encoding, tape, block, NORM1_GAIN, x);
	FnnTensor  *a = linear(encoding, tape, block, QUERY_WEIGHT, q, FNN_IDENTITY);

	a = fnn_attention_after(tape, a, own, seen, begin, count, encoding->shape.heads);
	return after_attention(encoding, tape, block, q, a);
}

static FnnTensor *
leave(const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, FmoeWhich which)
{
	FnnTensor  *gain = slice(encoding, encoding->shape.layers, 0);

	if (which == FMOE_LAST_TOKENS && x->rows != batch->sequences.count)
		x = fnn_rows(tape, x, batch->last, batch->sequences.count);
	return fnn_layer_norm(tape, x, gain, gain + 1, NORM_EPSILON);
}

static int64_t
token_reals(const FmoeShape *shape, bool dropped, bool recorded)
{
	/* of each: embedding, final norm, a block's matrices (keys and values count twice), dropout copies */
	int64_t		matrices = 2 + dropped + shape->layers * (11 + dropped);
	/* means and deviations of the norms, log-sum-exps of the attention */
	int64_t		statistics = 2 + shape->layers * (2 + 2 + shape->heads);

	/* of the last block only keys and values go by tokens then */
	if (!recorded)
		return (1 + (shape->layers - 1) * 11 + 2) * (int64_t) shape->width;
	/* values and gradients */
	return 2 * matrices * shape->width + statistics;
}

static int64_t
rest_reals(const FmoeShape *shape)
{
	return 9 * (int64_t) shape->width;
}

/* A block's maps: query, key and value, output, inner, outer. */
static double
multiplications(const FmoeShape *shape)
{
	return 6.0 * shape->layers * shape->width * shape->width;
}

const FmoeEncoder fmoe_sasrec_encoder = {
	.name = "sasrec",
	.summary = "causal self-attention over the history",
	.in_turn = true,
	.declare = declare,
	.slices = slices,
	.enter = enter,
	.layer = layer,
	.follow = follow,
	.leave = leave,
	.token_reals = token_reals,
	.rest_reals = rest_reals,
	.multiplications = multiplications
};

/*
 * postnorm.c
 *	  Transformer blocks that normalise after each sum.
 */
#include "model/expert/expert.h"
#include "model/expert/postnorm.h"

#include <stdio.h>

/* slices of a block, in the order of declaration; a bias follows its weight or gain */
enum
{
	QUERY,
	KEY_VALUE = 2,
	OUTPUT = 4,
	NORM1 = 6,
	INNER = 8,
	OUTER = 10,
	NORM2 = 12,
	BLOCK_SLICES = 14
};

void
fmoe_declare_postnorm(FmoeDeclaring *to, const FmoePostnorm *blocks)
{
	int			width = blocks->width;

	for (int block = 0; block < blocks->layers; block++)
	{
		FmoeDeclaring in_block = *to;
		char		prefix[FNN_NAME_MAX];

		snprintf(prefix, sizeof(prefix), "%sblock.%d.", to->prefix, block);
		in_block.prefix = prefix;
		fmoe_declare_linear(&in_block, FNN_ENCODER, "query", width, width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "key_value", 2 * width, width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "output", width, width);
		fmoe_declare_norm(&in_block, FNN_ENCODER, "norm1", width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "inner", blocks->inner, width);
		fmoe_declare_linear(&in_block, FNN_ENCODER, "outer", width, blocks->inner);
		fmoe_declare_norm(&in_block, FNN_ENCODER, "norm2", width);
	}
}

int
fmoe_postnorm_slices(const FmoePostnorm *blocks)
{
	return blocks->layers * BLOCK_SLICES;
}

static FnnTensor *
linear(FnnTape *tape, FnnTensor *block, int map, FnnTensor *x, FnnActivation activation)
{
	return fnn_linear(tape, x, &block[map], &block[map + 1], activation);
}

/* norm(x + dropout(added)) */
static FnnTensor *
add_and_norm(const FmoePostnorm *blocks, FnnTape *tape, FnnTensor *block, int norm, FnnTensor *x, FnnTensor *added)
{
	return fnn_layer_norm(tape, fnn_add_dropout(tape, x, added, blocks->dropout), &block[norm], &block[norm + 1],
						  blocks->epsilon);
}

FnnTensor *
fmoe_postnorm_run(const FmoePostnorm *blocks, FnnTensor *tensor, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch,
				  FmoeWhich which)
{
	if (blocks->layers == 0 && which == FMOE_LAST_TOKENS)
		return fmoe_last_means(tape, x, batch);
	for (int layer = 0; layer < blocks->layers; layer++)
	{
		FnnTensor  *block = tensor + layer * BLOCK_SLICES;
		FnnTensor  *key_value = linear(tape, block, KEY_VALUE, x, FNN_IDENTITY);
		bool		last = layer == blocks->layers - 1;
		bool		last_only = last && which == FMOE_LAST_TOKENS;
		FnnTensor  *a;

		if (last_only)
			x = fmoe_last_means(tape, x, batch);
		else if (last && batch->baskets != NULL)
			x = fnn_rows(tape, fmoe_basket_means(tape, x, batch), batch->baskets->of, batch->n_tokens);
		a = linear(tape, block, QUERY, x, FNN_IDENTITY);
		a = fnn_attention(tape, a, key_value, &batch->sequences, blocks->heads, blocks->dropout, last_only);
		x = add_and_norm(blocks, tape, block, NORM1, x, linear(tape, block, OUTPUT, a, FNN_IDENTITY));
		a = linear(tape, block, INNER, x, FNN_GELU);
		x = add_and_norm(blocks, tape, block, NORM2, x, linear(tape, block, OUTER, a, FNN_IDENTITY));
	}
	return x;
}

/* ---------------------------------------------------------------- what it takes */

double
fmoe_postnorm_token_reals(const FmoePostnorm *blocks, bool recorded)
{
	/* of a block: keys and values, query, attention, and three results of each half with a map and a norm */
	double		matrices = 10.0 * blocks->width + blocks->inner;

	/* of the last block only keys and values go by tokens then */
	if (!recorded)
		return blocks->layers == 0 ? 0 : (blocks->layers - 1) * matrices + 2.0 * blocks->width;
	/* values and gradients; what the activation was given, the statistics of the norms, the attention's sums */
	return blocks->layers * (2 * matrices + blocks->inner + 4 + blocks->heads);
}

double
fmoe_postnorm_last_reals(const FmoePostnorm *blocks)
{
	return 9.0 * blocks->width + blocks->inner;
}

double
fmoe_postnorm_map_reals(const FmoePostnorm *blocks)
{
	return 2.0 * blocks->width * blocks->width + (double) blocks->inner * blocks->width;
}

/* A block's maps: query, key and value, output, inner, outer. */
double
fmoe_postnorm_multiplications(const FmoePostnorm *blocks)
{
	return blocks->layers * (4.0 * blocks->width + 2.0 * blocks->inner) * blocks->width;
}

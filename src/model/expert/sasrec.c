/*
 * sasrec.c
 *	  Self-attentive sequential recommendation (Kang & McAuley 2018), with
 *	  the softmax loss that makes it strong.
 *
 * As in the original, only the query of a block is normalised, keys and
 * values see the block's input as it is, and the residual adds the normalised
 * query:
 *
 *	  x  = dropout(sqrt(width) * item + position)
 *	  a block:  q = norm1(x)
 *				x = norm2(q + output(attention(query(q), key_value(x))))
 *				x = x + dropout(outer(dropout(relu(inner(x)))))
 *	  hidden = norm(x),  score of item i = hidden . item vector i
 *
 * Positions count from the oldest event the encoder sees.
 */
#include "model/expert/expert.h"

#include <math.h>
#include <stdio.h>

#define NORM_EPSILON 1e-8

enum
{
	ITEM,
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
declare_norm(FnnParams *params, const FnnHost *host, const char *prefix, const char *name, int width)
{
	char		full[FNN_NAME_MAX];

	snprintf(full, sizeof(full), "%s%s.gain", prefix, name);
	fmoe_declare_vector(params, host, full, width, FNN_INIT_ONE, 0);
	snprintf(full, sizeof(full), "%s%s.bias", prefix, name);
	fmoe_declare_vector(params, host, full, width, FNN_INIT_ZERO, 0);
}

static void
declare_linear(FnnParams *params, const FnnHost *host, const char *prefix, const char *name, int out, int in)
{
	char		full[FNN_NAME_MAX];

	snprintf(full, sizeof(full), "%s%s.weight", prefix, name);
	fmoe_declare_matrix(params, host, full, out, in, FNN_INIT_NORMAL, FMOE_INIT_SCALE);
	snprintf(full, sizeof(full), "%s%s.bias", prefix, name);
	fmoe_declare_vector(params, host, full, out, FNN_INIT_ZERO, 0);
}

static void
declare(FnnParams *params, const FnnHost *host, const FmoeConfig *config, int32_t n_items)
{
	int			width = config->width;
	int			block;

	fmoe_declare_items(params, host, config, n_items);
	fmoe_declare_matrix(params, host, "position.weight", config->max_length, width,
						FNN_INIT_NORMAL, FMOE_INIT_SCALE);
	for (block = 0; block < config->layers; block++)
	{
		char		prefix[32];

		snprintf(prefix, sizeof(prefix), "block.%d.", block);
		declare_norm(params, host, prefix, "norm1", width);
		declare_linear(params, host, prefix, "query", width, width);
		declare_linear(params, host, prefix, "key_value", 2 * width, width);
		declare_linear(params, host, prefix, "output", width, width);
		declare_norm(params, host, prefix, "norm2", width);
		declare_linear(params, host, prefix, "inner", width, width);
		declare_linear(params, host, prefix, "outer", width, width);
	}
	declare_norm(params, host, "", "norm", width);
}

static FnnTensor *
slice(const FmoeExpert *expert, int block, int index)
{
	return fmoe_parameter(expert, BLOCKS + block * BLOCK_SLICES + index);
}

static FnnTensor *
linear(const FmoeExpert *expert, FnnTape *tape, int block, int weight, FnnTensor *x, FnnActivation activation)
{
	return fnn_linear(tape, x, slice(expert, block, weight), slice(expert, block, weight + 1), activation);
}

static FnnTensor *
norm(const FmoeExpert *expert, FnnTape *tape, int block, int gain, FnnTensor *x)
{
	return fnn_layer_norm(tape, x, slice(expert, block, gain), slice(expert, block, gain + 1), NORM_EPSILON);
}

/* x [n_tokens, width] to the same shape, or to [sequences.count, width] when last_only */
static FnnTensor *
run_block(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, int block, FnnTensor *x, bool last_only)
{
	double		dropout = expert->config.dropout;
	FnnTensor  *key_value = linear(expert, tape, block, KEY_VALUE_WEIGHT, x, FNN_IDENTITY);
	FnnTensor  *q;
	FnnTensor  *a;

	if (last_only)
		x = fnn_rows(tape, x, batch->last, batch->sequences.count);
	q = norm(expert, tape, block, NORM1_GAIN, x);
	a = linear(expert, tape, block, QUERY_WEIGHT, q, FNN_IDENTITY);
	a = fnn_attention(tape, a, key_value, &batch->sequences, expert->config.heads, dropout, last_only);
	a = linear(expert, tape, block, OUTPUT_WEIGHT, a, FNN_IDENTITY);
	x = norm(expert, tape, block, NORM2_GAIN, fnn_add_dropout(tape, q, a, 0));

	a = linear(expert, tape, block, INNER_WEIGHT, x, FNN_RELU);
	a = fnn_dropout(tape, a, dropout);
	a = linear(expert, tape, block, OUTER_WEIGHT, a, FNN_IDENTITY);
	return fnn_add_dropout(tape, x, a, dropout);
}

static FnnTensor *
run(const FmoeExpert *expert, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, bool last_only)
{
	const FmoeConfig *config = &expert->config;
	int			final = BLOCKS + config->layers * BLOCK_SLICES;
	int			block;

	for (block = 0; block < config->layers; block++)
		x = run_block(expert, tape, batch, block, x, last_only && block == config->layers - 1);
	return fnn_layer_norm(tape, x, fmoe_parameter(expert, final), fmoe_parameter(expert, final + 1), NORM_EPSILON);
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, bool last_only)
{
	const FmoeConfig *config = &expert->config;
	FnnTensor  *x = fnn_embed(tape, fmoe_parameter(expert, ITEM), batch->events.item, batch->n_tokens, sqrt(config->width),
							  fmoe_parameter(expert, POSITION), batch->position);

	return run(expert, tape, fnn_dropout(tape, x, config->dropout), batch, last_only);
}

static int
slices(const FmoeConfig *config)
{
	return BLOCKS + config->layers * BLOCK_SLICES + 2;
}

static int64_t
token_reals(const FmoeConfig *config, bool recorded)
{
	int64_t		dropped = config->dropout > 0;
	/* of each: embedding, final norm, a block's matrices (keys and values count twice), dropout copies */
	int64_t		matrices = 2 + dropped + config->layers * (11 + dropped);
	/* means and deviations of the norms, log-sum-exps of the attention */
	int64_t		statistics = 2 + config->layers * (2 + 2 + config->heads);

	/* of the last block only keys and values go by tokens then */
	if (!recorded)
		return (1 + (config->layers - 1) * 11 + 2) * (int64_t) config->width;
	/* values and gradients */
	return 2 * matrices * config->width + statistics;
}

const FmoeExpertClass fmoe_sasrec_class = {
	.name = "sasrec",
	.summary = "causal self-attention over the history",
	.declare = declare,
	.encode = encode,
	.run = run,
	.slices = slices,
	.positions = true,
	.token_reals = token_reals
};

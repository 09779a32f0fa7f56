/*
 * gru4rec.c
 *	  Session recommendation with a recurrent network (Hidasi et al. 2016):
 *	  item vectors through layers of torch.nn.GRU's cell, scored against the
 *	  same item vectors.
 */
#include "model/expert/expert.h"

#include <math.h>
#include <stdio.h>

enum
{
	ITEM,
	LAYERS						/* first slice of layer 0 */
};

enum
{
	INPUT_WEIGHT,
	HIDDEN_WEIGHT,
	INPUT_BIAS,
	HIDDEN_BIAS,
	LAYER_SLICES
};

static void
declare(FnnParams *params, const FnnHost *host, const FmoeConfig *config, int32_t n_items)
{
	int			width = config->width;
	double		scale = 1 / sqrt(width);
	int			layer;

	fmoe_declare_items(params, host, config, n_items);
	for (layer = 0; layer < config->layers; layer++)
	{
		char		name[FNN_NAME_MAX];

		snprintf(name, sizeof(name), "layer.%d.input.weight", layer);
		fmoe_declare_matrix(params, host, name, 3 * width, width, FNN_INIT_UNIFORM, scale);
		snprintf(name, sizeof(name), "layer.%d.hidden.weight", layer);
		fmoe_declare_matrix(params, host, name, 3 * width, width, FNN_INIT_UNIFORM, scale);
		snprintf(name, sizeof(name), "layer.%d.input.bias", layer);
		fmoe_declare_vector(params, host, name, 3 * width, FNN_INIT_UNIFORM, scale);
		snprintf(name, sizeof(name), "layer.%d.hidden.bias", layer);
		fmoe_declare_vector(params, host, name, 3 * width, FNN_INIT_UNIFORM, scale);
	}
}

static FnnTensor *
run(const FmoeExpert *expert, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, bool last_only)
{
	const FmoeConfig *config = &expert->config;
	int			layer;

	for (layer = 0; layer < config->layers; layer++)
	{
		int			first = LAYERS + layer * LAYER_SLICES;

		x = fnn_gru(tape, x, fmoe_parameter(expert, first + INPUT_WEIGHT),
					fmoe_parameter(expert, first + HIDDEN_WEIGHT), fmoe_parameter(expert, first + INPUT_BIAS),
					fmoe_parameter(expert, first + HIDDEN_BIAS), &batch->sequences);
		x = fnn_dropout(tape, x, config->dropout);
	}
	if (last_only)
		x = fnn_rows(tape, x, batch->last, batch->sequences.count);
	return x;
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, bool last_only)
{
	const FmoeConfig *config = &expert->config;
	FnnTensor  *x = fnn_embed(tape, fmoe_parameter(expert, ITEM), batch->events.item, batch->n_tokens, sqrt(config->width),
							  NULL, NULL);

	return run(expert, tape, fnn_dropout(tape, x, config->dropout), batch, last_only);
}

static int
slices(const FmoeConfig *config)
{
	return LAYERS + config->layers * LAYER_SLICES;
}

static int64_t
token_reals(const FmoeConfig *config, bool recorded)
{
	int64_t		dropped = config->dropout > 0;
	int64_t		matrices = (1 + dropped) * (1 + config->layers);

	/* a layer's values; one layer's projected inputs */
	if (!recorded)
		return (1 + config->layers + 3) * (int64_t) config->width;
	/* values and gradients; a layer's gates; one layer's gradients of what its gates read */
	return (2 * matrices + 4 * config->layers + 6) * config->width;
}

const FmoeExpertClass fmoe_gru4rec_class = {
	.name = "gru4rec",
	.summary = "gated recurrent units over the history",
	.declare = declare,
	.encode = encode,
	.run = run,
	.slices = slices,
	.token_reals = token_reals
};

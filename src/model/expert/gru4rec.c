/*
 * gru4rec.c
 *	  The encoder of session recommendation with a recurrent network (Hidasi et
 *	  al. 2016, section 3): item vectors through layers of torch.nn.GRU's cell.
 *
 * It has no positions: the order of a history is in the recurrence.
 */
#include "model/expert/expert.h"

#include <math.h>
#include <stdio.h>

enum
{
	INPUT_WEIGHT,
	HIDDEN_WEIGHT,
	INPUT_BIAS,
	HIDDEN_BIAS,
	LAYER_SLICES
};

static void
declare(FmoeDeclaring *to, const FmoeShape *shape, int max_length)
{
	int			width = shape->width;
	double		scale = 1 / sqrt(width);

	for (int layer = 0; layer < shape->layers; layer++)
	{
		char		name[FNN_NAME_MAX];

		snprintf(name, sizeof(name), "layer.%d.input.weight", layer);
		fmoe_declare_weight(to, FNN_ENCODER, name, 3 * width, width, FNN_INIT_UNIFORM, scale);
		snprintf(name, sizeof(name), "layer.%d.hidden.weight", layer);
		fmoe_declare_weight(to, FNN_ENCODER, name, 3 * width, width, FNN_INIT_UNIFORM, scale);
		snprintf(name, sizeof(name), "layer.%d.input.bias", layer);
		fmoe_declare(to, FNN_ENCODER, name, 1, 3 * width, FNN_INIT_UNIFORM, scale);
		snprintf(name, sizeof(name), "layer.%d.hidden.bias", layer);
		fmoe_declare(to, FNN_ENCODER, name, 1, 3 * width, FNN_INIT_UNIFORM, scale);
	}
}

static int
slices(const FmoeShape *shape)
{
	return shape->layers * LAYER_SLICES;
}

static FnnTensor *
enter(const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *table, const int32_t *row, double scale,
	  const FmoeBatch *batch)
{
	return fnn_embed(tape, table, row, batch->n_tokens, scale, NULL, NULL);
}

static FnnTensor *
layer(const FmoeEncoding *encoding, FnnTape *tape, int layer, FnnTensor *x, const FmoeBatch *batch, FmoeWhich which)
{
	FnnTensor  *slice = &encoding->tensor[layer * LAYER_SLICES];

	x = fnn_gru(tape, x, &slice[INPUT_WEIGHT], &slice[HIDDEN_WEIGHT], &slice[INPUT_BIAS], &slice[HIDDEN_BIAS],
				&batch->sequences);
	return fnn_dropout(tape, x, encoding->dropout);
}

static FnnTensor *
leave(const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, FmoeWhich which)
{
	return which == FMOE_LAST_TOKENS ? fnn_rows(tape, x, batch->last, batch->sequences.count) : x;
}

static int64_t
token_reals(const FmoeShape *shape, bool dropped, bool recorded)
{
	int64_t		matrices = (1 + dropped) * (1 + shape->layers);

	/* a layer's values; one layer's projected inputs */
	if (!recorded)
		return (1 + shape->layers + 3) * (int64_t) shape->width;
	/* values and gradients; a layer's gates; one layer's gradients of what its gates read */
	return (2 * matrices + 4 * shape->layers + 6) * (int64_t) shape->width;
}

static int64_t
rest_reals(const FmoeShape *shape)
{
	return 0;
}

/* A layer's maps: three gates read the input and the state before. */
static double
multiplications(const FmoeShape *shape)
{
	return 6.0 * shape->layers * shape->width * shape->width;
}

const FmoeEncoder fmoe_gru4rec_encoder = {
	.name = "gru4rec",
	.summary = "gated recurrent units over the history",
	.declare = declare,
	.slices = slices,
	.enter = enter,
	.layer = layer,
	.leave = leave,
	.token_reals = token_reals,
	.rest_reals = rest_reals,
	.multiplications = multiplications
};

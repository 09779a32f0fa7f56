/*
 * gru4rec.c
 *	  The encoder of session recommendation with a recurrent network (Hidasi et
 *	  al. 2016, section 3): item vectors through layers of torch.nn.GRU's cell.
 *
 * It has no positions: the order of a history is in the recurrence.
 *
 * What happened at once is one step, whose input is the mean of its items'
 * vectors; all its items have the state after it.
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

	/* from here to the last layer a row is a basket */
	if (batch->baskets != NULL && layer == 0)
		x = fmoe_basket_means(tape, x, batch);
	x = fnn_gru(tape, x, &slice[INPUT_WEIGHT], &slice[HIDDEN_WEIGHT], &slice[INPUT_BIAS], &slice[HIDDEN_BIAS],
				batch->baskets != NULL ? &batch->baskets->sequences : &batch->sequences);
	return fnn_dropout(tape, x, encoding->dropout);
}

static FnnTensor *
leave(const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, FmoeWhich which)
{
	const FmoeBaskets *baskets = batch->baskets;
	int32_t    *last;

	if (baskets == NULL)
		return which == FMOE_LAST_TOKENS ? fnn_rows(tape, x, batch->last, batch->sequences.count) : x;
	if (which == FMOE_ALL_TOKENS)
		return fnn_rows(tape, x, baskets->of, batch->n_tokens);
	last = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->sequences.count);
	for (int32_t s = 0; s < batch->sequences.count; s++)
		last[s] = baskets->of[batch->last[s]];
	return fnn_rows(tape, x, last, batch->sequences.count);
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

static const char *const unused[] = {"heads", NULL};

const FmoeEncoder fmoe_gru4rec_encoder = {
	.name = "gru4rec",
	.summary = "gated recurrent units over the history",
	.unused = unused,
	.declare = declare,
	.slices = slices,
	.enter = enter,
	.layer = layer,
	.leave = leave,
	.token_reals = token_reals,
	.rest_reals = rest_reals,
	.multiplications = multiplications
};

/*
 * encoders.c
 *	  The list of encoders, their shapes, and the option that lists lent ones.
 *
 * A shape is all that decides an encoder's parameters, so two encoders of equal
 * shape can take each other's weights.
 */
#include "model/expert/expert.h"

#include <stdio.h>

const FmoeEncoder *const fmoe_encoders[] = {&fmoe_sasrec_encoder, &fmoe_gru4rec_encoder, NULL};

const char *const fmoe_encoder_names[] = {"sasrec", "gru4rec", NULL};

const char *const fmoe_basket_readings[] = {"set", "drawn", NULL};

const FmoeBatch *
fmoe_encoder_reads(const FmoeEncoder *encoder, int baskets, FnnArena *arena, const FmoeBatch *batch)
{
	FmoeBatch  *turns;

	if (!encoder->in_turn || baskets != FMOE_BASKETS_DRAWN || batch->baskets == NULL)
		return batch;
	turns = fnn_alloc(arena, sizeof(FmoeBatch));
	*turns = fmoe_batch_in_turn(arena, batch);
	return turns;
}

FnnTensor *
fmoe_encoder_run(const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, FmoeWhich which)
{
	const FmoeEncoder *encoder = encoding->encoder;
	int			layers = encoding->shape.layers;

	for (int layer = 0; layer < layers; layer++)
		x = encoder->layer(encoding, tape, layer, x, batch, layer == layers - 1 ? which : FMOE_ALL_TOKENS);
	return encoder->leave(encoding, tape, x, batch, which);
}

const char *const *
fmoe_encoder_unused(int encoder)
{
	static const char *const none[] = {NULL};

	return fmoe_encoders[encoder]->unused != NULL ? fmoe_encoders[encoder]->unused : none;
}

/* ---------------------------------------------------------------- shapes */

bool
fmoe_same_shape(const FmoeShape *a, const FmoeShape *b)
{
	return a->encoder == b->encoder && a->width == b->width && a->layers == b->layers && a->heads == b->heads;
}

FmoeShape
fmoe_shape_of(const FmoeConfig *config, int encoder)
{
	return (FmoeShape) {.encoder = encoder, .width = config->width, .layers = config->layers, .heads = config->heads};
}

bool
fmoe_shape_fits(const FmoeShape *shape, FmoeMisfit *misfit)
{
	if (shape->width % shape->heads == 0)
		return true;
	snprintf(misfit->message, sizeof(misfit->message),
			 "option \"width\" (%d) is not a multiple of option \"heads\" (%d)",
			 shape->width, shape->heads);
	snprintf(misfit->detail, sizeof(misfit->detail), "Each attention head works on an equal part of a hidden state.");
	snprintf(misfit->hint, sizeof(misfit->hint), "The default of \"heads\" is 1.");
	return false;
}

/* ---------------------------------------------------------------- lists of lent encoders */

static bool
lent_fits(const void *element, FmoeMisfit *misfit)
{
	const FmoeLentEncoder *lent = element;

	if (lent->shape.encoder >= 0)
		return fmoe_shape_fits(&lent->shape, misfit);
	snprintf(misfit->message, sizeof(misfit->message), "it has no model");
	return false;
}

#define AT(field) offsetof(FmoeLentEncoder, field)

static const FmoeOption lent_options[] = {
	{"name", FMOE_OPTION_NAME, AT(name), 0, 0, NULL, "", "what it is called here"},
	{"model", FMOE_OPTION_ENUM, AT(shape.encoder), 0, 0, fmoe_encoder_names, NULL, "kind of encoder"},
	{"width", FMOE_OPTION_INT, AT(shape.width), 1, 1024, NULL, "64", "length of its states"},
	{"layers", FMOE_OPTION_INT, AT(shape.layers), 1, 16, NULL, "2", "its layers"},
	{"heads", FMOE_OPTION_INT, AT(shape.heads), 1, 64, NULL, "1", "its attention heads"},
	{NULL}
};

const FmoeOptionList fmoe_lent_option = {
	.element = lent_options,
	.first = offsetof(FmoeLentList, lent),
	.bytes = sizeof(FmoeLentEncoder),
	.max = FMOE_LENT_MAX,
	.what = "names of lent experts",
	.listed = "the view fmoe.experts lists them",
	.fits = lent_fits
};

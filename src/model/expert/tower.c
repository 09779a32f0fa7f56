/*
 * tower.c
 *	  The classes sasrec and gru4rec: one encoder over a table of item vectors,
 *	  which also scores its states.
 *
 *		x     = dropout(sqrt(width) * item vector + position)
 *		state = encoder(x),  score of item i = state . item vector i
 */
#include "model/expert/expert.h"

#include <math.h>

/* Slices: the item table, then the encoder's. */
enum
{
	ITEM,
	ENCODER
};

static FmoeEncoding
encoding_of(const FmoeExpert *expert, int encoder)
{
	const FmoeConfig *config = expert->config;

	return (FmoeEncoding)
	{
		.encoder = fmoe_encoders[encoder],
			.shape = fmoe_shape_of(config, encoder),
			.dropout = config->dropout,
			.tensor = fmoe_parameter(expert, ENCODER)
		};
}

static void
declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);

	fmoe_declare_items(to, config, facts->n_items, config->width);
	fmoe_encoders[encoder]->declare(to, &shape, config->max_length);
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which, int encoder)
{
	FmoeEncoding encoding = encoding_of(expert, encoder);
	FnnTensor  *x = encoding.encoder->enter(&encoding, tape, fmoe_parameter(expert, ITEM), batch->events.item,
											sqrt(encoding.shape.width), batch);

	return fmoe_encoder_run(&encoding, tape, fnn_dropout(tape, x, encoding.dropout), batch, which);
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);
	double		width = config->width;
	double		reals;

	if (phase == FMOE_SETTLING)
		return 0;
	/* for each token; a layer's weights transposed */
	reals = tokens * fmoe_encoders[encoder]->token_reals(&shape, config->dropout > 0, phase == FMOE_RECORDED) +
		4 * width * width;
	/* states in several forms */
	if (phase == FMOE_UNRECORDED)
		reals += 4 * cases * width;
	return reals * sizeof(fnn_real);
}

static double
multiplications(const FmoeConfig *config, double n_scored, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);

	return fmoe_encoders[encoder]->multiplications(&shape) + n_scored * config->width;
}

static bool
fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	FmoeShape	shape = fmoe_shape_of(config, 0);

	return fmoe_shape_fits(&shape, misfit);
}

/* ---------------------------------------------------------------- the classes */

/* Rows of fmoe_encoders. */
enum
{
	SASREC,
	GRU4REC
};

static void
declare_sasrec(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	declare(to, config, facts, SASREC);
}

static double
bytes_of_sasrec(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	return bytes(config, facts, phase, tokens, cases, SASREC);
}

static double
multiplications_of_sasrec(const FmoeConfig *config, double n_scored)
{
	return multiplications(config, n_scored, SASREC);
}

static FnnTensor *
encode_sasrec(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	return encode(expert, tape, batch, which, SASREC);
}

static bool
lends_sasrec(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_shape_of(config, SASREC);
	return true;
}

const FmoeExpertClass fmoe_sasrec_class = {
	.name = "sasrec",
	.summary = "causal self-attention over the history",
	.fits = fits,
	.declare = declare_sasrec,
	.bytes = bytes_of_sasrec,
	.multiplications = multiplications_of_sasrec,
	.encode = encode_sasrec,
	.lends = lends_sasrec
};

static void
declare_gru4rec(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	declare(to, config, facts, GRU4REC);
}

static double
bytes_of_gru4rec(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	return bytes(config, facts, phase, tokens, cases, GRU4REC);
}

static double
multiplications_of_gru4rec(const FmoeConfig *config, double n_scored)
{
	return multiplications(config, n_scored, GRU4REC);
}

static FnnTensor *
encode_gru4rec(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	return encode(expert, tape, batch, which, GRU4REC);
}

static bool
lends_gru4rec(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_shape_of(config, GRU4REC);
	return true;
}

const FmoeExpertClass fmoe_gru4rec_class = {
	.name = "gru4rec",
	.summary = "gated recurrent units over the history",
	.fits = fits,
	.declare = declare_gru4rec,
	.bytes = bytes_of_gru4rec,
	.multiplications = multiplications_of_gru4rec,
	.encode = encode_gru4rec,
	.lends = lends_gru4rec
};

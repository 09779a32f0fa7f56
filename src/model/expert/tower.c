/*
 * tower.c
 *	  The classes sasrec and gru4rec: one encoder over a table of item vectors,
 *	  which also scores its states.
 *
 *		x     = dropout(sqrt(width) * item vector + position)
 *		state = encoder(x),  score of item i = state . item vector i
 *
 * With the option features an item's vector is a row of the table and what its
 * features add (featured.h).  While it learns, these are computed once for histories
 * and scores alike: those of all items for a whole step, or for a shard those that
 * gbce draws.
 */
#include "model/expert/expert.h"
#include "model/expert/tower.h"

#include <math.h>
#include <string.h>

_Static_assert(sizeof(FmoeTowerOptions) <= FMOE_OWN_OPTIONS_BYTES, "the options of a tower must fit FmoeConfig.own");

static const FmoeOption options_of_sasrec[] = {
	FMOE_FEATURED_OPTIONS(offsetof(FmoeTowerOptions, featured)),
	FMOE_GATED_OPTIONS(offsetof(FmoeTowerOptions, gated)),
	FMOE_BASKETS_OPTION(offsetof(FmoeTowerOptions, baskets)),
	{NULL}
};

static const FmoeOption options_of_gru4rec[] = {
	FMOE_FEATURED_OPTIONS(offsetof(FmoeTowerOptions, featured)),
	FMOE_GATED_OPTIONS(offsetof(FmoeTowerOptions, gated)),
	{NULL}
};

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

static const FmoeTowerOptions *
own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

static void
declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);

	fmoe_declare_items(to, config, facts->n_items, config->width);
	fmoe_encoders[encoder]->declare(to, &shape, config->max_length);
	if (own(config)->featured.features)
		fmoe_declare_featured(to, facts->features, config->width);
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);
	double		width = config->width;
	double		reals;

	if (phase == FMOE_PREPARED)
		return fmoe_prepared_bytes(facts->features, facts->n_items, config->loss == FMOE_LOSS_SOFTMAX);
	if (phase == FMOE_SETTLING)
		return 0;
	/* for each token; a layer's weights transposed */
	reals = tokens * fmoe_encoders[encoder]->token_reals(&shape, config->dropout > 0, phase == FMOE_RECORDED) +
		4 * width * width;
	/* states in several forms */
	if (phase == FMOE_UNRECORDED)
		reals += 4 * cases * width;
	if (own(config)->featured.features && phase == FMOE_RECORDED)
		return fmoe_step_items_bytes(config, facts, width, tokens, reals * sizeof(fnn_real));
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

/* ---------------------------------------------------------------- items of features */

static bool
computes(const FmoeConfig *config)
{
	return own(config)->featured.features;
}

static unsigned
reads(const FmoeConfig *config)
{
	return fmoe_featured_reads(&own(config)->featured);
}

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	return fmoe_prepare_featured(expert, arena, data, expert->config->loss == FMOE_LOSS_SOFTMAX);
}

static void
start(FmoeExpert *expert, const FnnHost *host)
{
	FnnTensor  *table = fmoe_parameter(expert, ITEM);

	fmoe_start_featured(expert, host, table, table->cols);
}

static FnnTensor *
vectors(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item, const bool *kept, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(expert->config, encoder);
	int			weights = ENCODER + fmoe_encoders[encoder]->slices(&shape);

	return fmoe_featured(expert, tape, fmoe_parameter(expert, ITEM), fmoe_parameter(expert, weights), n, item, kept);
}

/* States after the tokens, whose items are rows of the vectors that there are, or of the table. */
static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which, int encoder)
{
	FmoeEncoding encoding = encoding_of(expert, encoder);
	FnnTensor  *table = fmoe_parameter(expert, ITEM);
	FmoeBatch	rows;
	FnnTensor  *x;

	batch = fmoe_encoder_reads(encoding.encoder, own(expert->config)->baskets, tape->arena, batch);
	rows = *batch;
	if (own(expert->config)->featured.features && expert->items != NULL)
		table = (FnnTensor *) expert->items;
	else if (own(expert->config)->featured.features)
	{
		table = vectors(expert, tape, batch->n_tokens, batch->events.item, NULL, encoder);
		rows = fmoe_batch_of_tokens(tape->arena, batch);
	}
	x = encoding.encoder->enter(&encoding, tape, table, rows.events.item, sqrt(encoding.shape.width), batch);
	return fmoe_encoder_run(&encoding, tape, fnn_dropout(tape, x, encoding.dropout), batch, which);
}

static int64_t
step_width(const FmoeConfig *config)
{
	return own(config)->featured.features && config->loss == FMOE_LOSS_SOFTMAX ? config->width : 0;
}

static FnnTensor *
step_vectors(const FmoeExpert *expert, FnnTape *tape, const FmoeStepItems *step, int encoder)
{
	const bool *kept = fmoe_step_kept(expert, tape->arena, step, own(expert->config)->featured.id_dropout);

	return vectors(expert, tape, step->n, step->item, kept, encoder);
}

static void
learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal, int encoder)
{
	FmoeStepItems step = {.batch = *batch, .goal = *goal};
	FnnTensor  *table = expert->step_items;
	FmoeExpert	over = *expert;

	if (table == NULL)
	{
		step = fmoe_step_items(expert, tape->arena, batch, goal);
		table = step_vectors(expert, tape, &step, encoder);
	}
	over.items = table;
	fmoe_add_loss(tape, encode(&over, tape, &step.batch, FMOE_ALL_TOKENS, encoder), table, &step.goal, NULL);
}

/* ---------------------------------------------------------------- under a gate */

static bool
gated(const FmoeConfig *config)
{
	return fmoe_gated_on(&own(config)->gated);
}

static const char *
gate_prior(const FmoeConfig *config)
{
	return fmoe_gated_prior(&own(config)->gated);
}

static bool
draws_baskets(const FmoeConfig *config)
{
	return own(config)->baskets == FMOE_BASKETS_DRAWN;
}

/* ---------------------------------------------------------------- the classes */

/* The hooks of a class whose encoder is that row of fmoe_encoders, and the class. */
#define TOWER(NAME, ROW, SUMMARY) \
static void \
declare_##NAME(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts) \
{ \
	declare(to, config, facts, ROW); \
} \
static double \
bytes_of_##NAME(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases) \
{ \
	return bytes(config, facts, phase, tokens, cases, ROW); \
} \
static double \
multiplications_of_##NAME(const FmoeConfig *config, double n_scored) \
{ \
	return multiplications(config, n_scored, ROW); \
} \
static FnnTensor * \
encode_##NAME(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which) \
{ \
	return encode(expert, tape, batch, which, ROW); \
} \
static FnnTensor * \
items_of_##NAME(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item) \
{ \
	return vectors(expert, tape, n, item, NULL, ROW); \
} \
static void \
learn_##NAME(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal) \
{ \
	learn(expert, tape, batch, goal, ROW); \
} \
static FnnTensor * \
step_items_of_##NAME(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n, const FmoeGoal *goal) \
{ \
	FmoeStepItems step = fmoe_step_range(tape->arena, first, n, goal); \
	return step_vectors(expert, tape, &step, ROW); \
} \
static bool \
lends_##NAME(const FmoeConfig *config, FmoeShape *shape) \
{ \
	*shape = fmoe_shape_of(config, ROW); \
	return true; \
} \
static const char *const * \
unused_by_##NAME(const FmoeConfig *config) \
{ \
	return fmoe_encoder_unused(ROW); \
} \
const FmoeExpertClass fmoe_##NAME##_class = { \
	.name = #NAME, \
	.summary = SUMMARY, \
	.gated = gated, \
	.options = options_of_##NAME, \
	.unused = unused_by_##NAME, \
	.fits = fits, \
	.reads = reads, \
	.declare = declare_##NAME, \
	.bytes = bytes_of_##NAME, \
	.multiplications = multiplications_of_##NAME, \
	.encode = encode_##NAME, \
	.computes = computes, \
	.items = items_of_##NAME, \
	.learn = learn_##NAME, \
	.step_width = step_width, \
	.step_items = step_items_of_##NAME, \
	.prepare = prepare, \
	.start = start, \
	.lends = lends_##NAME, \
	.gate_prior = gate_prior, \
	.draws_baskets = draws_baskets \
}

TOWER(sasrec, 0, "causal self-attention over the history");
TOWER(gru4rec, 1, "gated recurrent units over the history");

/*
 * foundation.c
 *	  The class foundation: a base, trained by what comes next.
 *
 * It is lent whole.  Who borrows it has item vectors from the own item table.
 */
#include "model/xcross/base.h"

typedef struct FmoeFoundationOptions
{
	FmoeInputList inputs;
	double		input_dropout;
} FmoeFoundationOptions;

_Static_assert(sizeof(FmoeFoundationOptions) <= FMOE_OWN_OPTIONS_BYTES, "the options have no room");

#define AT(field) offsetof(FmoeFoundationOptions, field)

static const FmoeOption own_options[] = {
	{"inputs", FMOE_OPTION_LIST, AT(inputs), 0, 0, NULL, NULL,
		"what item vectors are computed from; left out: the text, the price and all vectors that items have", NULL,
		&fmoe_input_option},
	{"input_dropout", FMOE_OPTION_REAL, AT(input_dropout), 0, 0.9, NULL, "0.1",
	"share of an item's numbers that are dropped while training"},
	{NULL}
};

static const FmoeFoundationOptions *
own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

static FmoeBase
base_of(const FmoeExpert *expert)
{
	return fmoe_base(expert->config, &own(expert->config)->inputs, fmoe_parameter(expert, 0));
}

static bool
fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	FmoeShape	shape = fmoe_base_shape(config);

	return fmoe_shape_fits(&shape, misfit);
}

static unsigned
reads(const FmoeConfig *config)
{
	(void) config;
	return FMOE_READS_TEXT | FMOE_READS_PRICE | FMOE_READS_VECTORS | FMOE_NEEDS_FEATURES;
}

static void
declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	(void) facts;
	fmoe_base_declare(to, config, &own(config)->inputs);
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	const FmoeInputList *inputs = &own(config)->inputs;
	FmoeShape	shape = fmoe_base_shape(config);
	double		width = config->width;
	double		chosen = fmoe_base_chosen(config, facts->n_items, tokens);
	double		sum;

	if (phase == FMOE_PREPARED)
		return fmoe_base_prepared_bytes(config, inputs, facts->n_items);
	if (phase == FMOE_SETTLING)
		return 0;
	/* for each token; a layer's weights transposed */
	sum = (tokens * fmoe_encoders[shape.encoder]->token_reals(&shape, config->dropout > 0, phase == FMOE_RECORDED) +
		   4 * width * width) * sizeof(fnn_real);
	/* states in several forms */
	if (phase == FMOE_UNRECORDED)
		return sum + 4 * cases * width * sizeof(fnn_real);
	return sum + fmoe_base_items_bytes(config, inputs, chosen, true) +
		fmoe_base_choose_bytes(config, facts->n_items, tokens);
}

static double
multiplications(const FmoeConfig *config, double n_scored)
{
	FmoeShape	shape = fmoe_base_shape(config);

	return fmoe_encoders[shape.encoder]->multiplications(&shape) + n_scored * config->width;
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	FmoeBase	base = base_of(expert);
	FmoeBaseItems known = fmoe_base_known(&base, expert, tape, batch);

	return fmoe_encoder_run(&base.encoding, tape, fmoe_base_enter(&base, tape, known.table, known.row, batch), batch,
							which);
}

static FnnTensor *
items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	FmoeBase	base = base_of(expert);

	return fmoe_base_items(&base, expert, tape, n, item, 0);
}

static void
learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	FmoeBase	base = base_of(expert);
	FmoeBaseItems chosen = fmoe_base_choose(tape, batch, goal, expert->n_items);
	double		dropout = own(expert->config)->input_dropout;
	FnnTensor  *table = fmoe_base_items(&base, expert, tape, chosen.n, chosen.item, dropout);
	FnnTensor  *x = fmoe_base_enter(&base, tape, table, chosen.row, batch);

	fmoe_add_loss(tape, fmoe_encoder_run(&base.encoding, tape, x, batch, FMOE_ALL_TOKENS), table, &chosen.goal, NULL);
}

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	(void) data;
	return fmoe_base_prepare(expert, &own(expert->config)->inputs, arena);
}

static bool
lends(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_base_shape(config);
	shape->encoder = FMOE_OWN_ENCODER;
	return true;
}

static FmoeInputList *
inputs_of(FmoeConfig *config)
{
	return &((FmoeFoundationOptions *) config->own.bytes)->inputs;
}

const FmoeExpertClass fmoe_foundation_class = {
	.name = "foundation",
	.summary = "causal self-attention over item vectors made of features alone, for any item table",
	.options = own_options,
	.fits = fits,
	.reads = reads,
	.declare = declare,
	.bytes = bytes,
	.multiplications = multiplications,
	.encode = encode,
	.items = items,
	.learn = learn,
	.prepare = prepare,
	.lends = lends,
	.inputs = inputs_of
};

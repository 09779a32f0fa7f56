/*
 * foundation.c
 *	  The class foundation: a base, trained by what comes next.
 *
 * It is lent whole.  Who borrows it has item vectors from the own item table.
 */
#include "model/expert/featured.h"
#include "model/xcross/base.h"

#include <stdio.h>

typedef struct FmoeFoundationOptions
{
	FmoeInputList inputs;
	double		input_dropout;
	char		source_column[FMOE_EXPERT_NAME_MAX];	/* of the interactions; empty: none */
} FmoeFoundationOptions;

_Static_assert(sizeof(FmoeFoundationOptions) <= FMOE_OWN_OPTIONS_BYTES, "the options have no room");

#define AT(field) offsetof(FmoeFoundationOptions, field)

static const FmoeOption own_options[] = {
	{"inputs", FMOE_OPTION_LIST, AT(inputs), 0, 0, NULL, NULL,
		"what item vectors are computed from; left out: the text, the price and all vectors that items have", NULL,
		&fmoe_input_option},
	{"input_dropout", FMOE_OPTION_REAL, AT(input_dropout), 0, 0.9, NULL, "0.1",
	"share of an item's numbers that are dropped while training"},
	{"source_column", FMOE_OPTION_NAME, AT(source_column), 0, 0, NULL, "",
	"column of the interactions; what was chosen is told apart from the items of its own source alone"},
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
	if (own(config)->source_column[0] != '\0' && config->loss == FMOE_LOSS_GBCE)
	{
		snprintf(misfit->message, sizeof(misfit->message), "option \"source_column\" needs the loss softmax");
		snprintf(misfit->detail, sizeof(misfit->detail), "The loss is gbce, which auto stands for above %d items.",
				 FMOE_SOFTMAX_ITEMS_MAX);
		snprintf(misfit->hint, sizeof(misfit->hint), "Set \"loss\" to \"softmax\", or leave \"source_column\" out.");
		return false;
	}
	return fmoe_base_fits(config, misfit);
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
	double		sum = fmoe_base_bytes(config, &own(config)->inputs, facts, phase, tokens, cases);

	if (own(config)->source_column[0] == '\0')
		return sum;
	if (phase == FMOE_PREPARED)
		return sum + fmoe_base_sources_bytes(facts->n_items);
	/* rows of states and vectors of each source, and which these are */
	if (phase == FMOE_RECORDED)
		sum += 2 * (tokens + FMOE_BASE_SOURCES * (double) facts->n_items) * config->width * sizeof(fnn_real) +
			3 * 64 * sizeof(int32_t) * tokens;
	return sum;
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	FmoeBase	base = base_of(expert);

	return fmoe_base_encode(&base, expert, tape, batch, which);
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

	fmoe_base_learn(&base, expert, tape, batch, goal, own(expert->config)->input_dropout);
}

static int64_t
step_width(const FmoeConfig *config)
{
	return config->loss == FMOE_LOSS_SOFTMAX ? config->width : 0;
}

static FnnTensor *
step_items(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n, const FmoeGoal *goal)
{
	FmoeBase	base = base_of(expert);

	return fmoe_base_items(&base, expert, tape, n, fmoe_step_range(tape->arena, first, n, goal).item,
						   own(expert->config)->input_dropout);
}

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	FmoeBasePrepared *prepared = fmoe_base_prepare(expert, &own(expert->config)->inputs, arena, true);

	if (data->events.source != NULL)
		fmoe_base_prepare_sources(prepared, arena, data);
	return prepared;
}

static const char *
source(const FmoeConfig *config)
{
	return own(config)->source_column;
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
	.reads = fmoe_base_reads,
	.declare = declare,
	.bytes = bytes,
	.multiplications = fmoe_base_multiplications,
	.encode = encode,
	.items = items,
	.learn = learn,
	.step_width = step_width,
	.step_items = step_items,
	.prepare = prepare,
	.lends = fmoe_base_lends,
	.source = source,
	.inputs = inputs_of
};

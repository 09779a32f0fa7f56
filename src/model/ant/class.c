/*
 * class.c
 *	  The class ant.
 */
#include "model/ant/ant.h"

#include <math.h>

static const char *const losses[] = {
	[FMOE_ANT_LOSS_NEXT] = "next",
	[FMOE_ANT_LOSS_ALIGNMENT] = "alignment",
	NULL
};

static unsigned
reads(const FmoeConfig *config)
{
	(void) config;
	return FMOE_READS_TEXT | FMOE_READS_PRICE | FMOE_READS_VECTORS | FMOE_NEEDS_FEATURES;
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	FmoePostnorm blocks = fmoe_ant_blocks(config);
	bool		recorded = phase == FMOE_RECORDED;
	double		width = config->width;
	double		sum;

	if (phase == FMOE_PREPARED)
		return fmoe_ant_prepared_bytes(config, facts);
	if (phase == FMOE_SETTLING)
		return 0;
	/* sum with the position, norm and its statistics, dropout */
	sum = (tokens * (fmoe_postnorm_token_reals(&blocks, recorded) + (recorded ? 6 * width + 2 : 2 * width)) +
		   fmoe_postnorm_map_reals(&blocks)) * sizeof(fnn_real);
	if (recorded)
	{
		double		items = fmoe_ant_items_bytes(config, facts, fmoe_ant_step_count(config, facts->n_items, tokens),
												 true);
		double		block = fmoe_ant_block_bytes(config, facts);

		sum += fmoe_ant_learn_bytes(config, facts, tokens);
		/* shards come between what all of them share and its gradients */
		return items + (fmoe_ant_computes_all(config) ? fmax(sum, block) : sum + block);
	}
	/* states in several forms, which come when the block of the items is gone */
	sum += cases * (fmoe_postnorm_last_reals(&blocks) + 4 * width + 1) * sizeof(fnn_real);
	/* the different items of histories, and what numbers them */
	return fmax(sum, fmoe_ant_block_bytes(config, facts)) +
		fmoe_ant_items_bytes(config, facts, fmin(facts->n_items, tokens), false) +
		(facts->n_items + 2 * tokens) * sizeof(int32_t);
}

static double
multiplications(const FmoeConfig *config, double n_scored)
{
	FmoePostnorm blocks = fmoe_ant_blocks(config);

	return fmoe_postnorm_multiplications(&blocks) + n_scored * config->width;
}

/* An item's vector at length 1. */
static FnnTensor *
items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	return fnn_unit_rows(tape, fmoe_ant_items(expert, tape, n, item).vector, 1);
}

/* Histories need vectors as long as they are, so these are computed for the batch's items. */
static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	int32_t    *distinct = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	int32_t    *row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	int32_t		n = fmoe_number_items(tape->arena, batch->n_tokens, batch->events.item, expert->n_items, distinct,
									  row);
	FnnTensor  *table = fmoe_ant_items(expert, tape, n, distinct).vector;

	return fnn_unit_rows(tape, fmoe_ant_states(expert, tape, table, row, batch, which),
						 1 / fmoe_ant_own(expert->config)->temperature);
}

/* After a lent encoder's weights have come in, what is to be learned again is drawn. */
static void
start(FmoeExpert *expert, const FnnHost *host)
{
	const FnnParams *params = expert->params;

	if (fmoe_ant_adapt(expert->config) == FMOE_ANT_RELEARN)
		fnn_params_redraw(params, host, (uint64_t) expert->config->seed, FMOE_ANT_RELEARNED,
						  fmoe_parameter(expert, 0)->value - params->list[0].offset);
}

static bool
goes_live(const FmoeConfig *config)
{
	return !fmoe_ant_own(config)->pretrain;
}

static bool
gated(const FmoeConfig *config)
{
	return fmoe_gated_on(&fmoe_ant_own(config)->gated);
}

static const char *
gate_prior(const FmoeConfig *config)
{
	return fmoe_gated_prior(&fmoe_ant_own(config)->gated);
}

static bool
lends(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_shape_of(config, FMOE_OWN_ENCODER);
	return true;
}

static const char *
source(const FmoeConfig *config)
{
	return fmoe_ant_own(config)->source_column;
}

static FmoeInputList *
inputs(FmoeConfig *config)
{
	return &((FmoeAntOptions *) config->own.bytes)->inputs;
}

static int64_t
step_width(const FmoeConfig *config)
{
	return fmoe_ant_computes_all(config) ? config->width : 0;
}

const FmoeExpertClass fmoe_ant_class = {
	.name = "ant",
	.summary = "items by their features alone, learned in one database and learned again in another",
	.options = fmoe_ant_options,
	.unused = fmoe_ant_unused,
	.fits = fmoe_ant_fits,
	.reads = reads,
	.declare = fmoe_ant_declare,
	.bytes = bytes,
	.multiplications = multiplications,
	.encode = encode,
	.items = items,
	.learn = fmoe_ant_learn,
	.step_width = step_width,
	.step_items = fmoe_ant_step_items,
	.losses = losses,
	.prepare = fmoe_ant_prepare,
	.attempt = fmoe_ant_attempt,
	.start = start,
	.lends = lends,
	.goes_live = goes_live,
	.gated = gated,
	.gate_prior = gate_prior,
	.input_parts = fmoe_ant_input_parts,
	.source = source,
	.inputs = inputs
};

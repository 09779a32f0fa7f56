/*
 * memory.c
 *	  What a mixture takes: bytes on the arena, and multiplications.
 */
#include "model/fmoe/fmoe.h"

/* Of the gate's network, for each row: a layer's map, what is before its activation, norm and dropout. */
static int64_t
gate_reals(const FmoeConfig *config)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);
	int64_t		hidden = own->gate_layers == 1 ? config->width : own->gate_layers * 3 * config->width;

	return 4 * hidden + 2 * fmoe_mixture_gated(config);
}

/* For each token of a recorded pass and its backward, or of an unrecorded one of last tokens. */
static int64_t
token_reals(const FmoeConfig *config, bool recorded)
{
	/* states end to end and their mean, which are constants; gated, with a gradient, where not only last tokens are */
	int64_t		reals = 2 * fmoe_mixture_states_width(config) + (recorded ? 2 * fmoe_mixture_item_width(config) : 0);
	int64_t		states = 0;

	for (int i = 0; i < fmoe_mixture_members(config); i++)
	{
		FmoeShape	shape = fmoe_mixture_shape(config, i);
		const FmoeEncoder *encoder = fmoe_encoders[shape.encoder];

		states += encoder->token_reals(&shape, config->dropout > 0, recorded);
		/* input, its norm and dropout */
		if (fmoe_mixture_has_norm(config, i))
			states += (recorded ? 6 : 2) * shape.width + 2;
		/* the gate reads all tokens: the last layer is not spared any */
		if (!recorded)
			states += encoder->rest_reals(&shape);
	}
	if (recorded && fmoe_mixture_own(config)->contrast > 0)
		states *= 2;
	/* where nothing is recorded the network sees last tokens only */
	return reals + states + (recorded ? 2 * gate_reals(config) : 0);
}

/* What does not grow with the tokens: a layer's weights transposed, adapted maps. */
static double
layer_reals(const FmoeConfig *config)
{
	double		width = fmoe_mixture_item_width(config);

	return 4 * width * width +
		(fmoe_mixture_own(config)->lora_rank > 0 ? fmoe_mixture_members(config) * 24 * width * width : 0);
}

/* Counted transitions, and what comes of them, for a batch of so many tokens. */
static double
followers_bytes(const FmoeConfig *config, const FmoeFacts *facts, double tokens, bool recorded)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);
	double		copied = tokens * facts->followers.mean;
	double		bytes = 0;

	/* terms of the loss, each row's aligned */
	if (recorded && own->count_experts)
		bytes += copied * sizeof(float) + tokens * (sizeof(FnnTerms) + FNN_ALIGN / 2);
	/* edges of the distinct items, what numbers these, and the sums over them beside the input */
	for (int i = 0; own->item_graph && i < fmoe_mixture_members(config); i++)
	{
		double		width = fmoe_mixture_shape(config, i).width;
		double		edges = copied < facts->followers.all ? copied : facts->followers.all;
		double		graph = edges * (sizeof(int32_t) + sizeof(float)) + facts->n_items * (double) sizeof(int32_t) +
			tokens * (3 * sizeof(int32_t) + sizeof(int64_t)) + tokens * (recorded ? 4 : 2) * width * sizeof(fnn_real);

		bytes += recorded && own->contrast > 0 ? 2 * graph : graph;
	}
	return bytes;
}

static double
calibration_bytes(const FmoeConfig *config, const FmoeFacts *facts, double n_cases)
{
	int			gated = fmoe_mixture_gated(config);
	double		cases;
	double		block;
	double		tokens;

	if (gated < 2 || !fmoe_mixture_gate_learns(config) || facts->n_items < 1)
		return 0;
	cases = fmoe_calibration_cases(facts->n_items);
	cases = n_cases < cases ? n_cases : cases;
	block = fmoe_calibration_block(facts->n_items);
	block = cases < block ? cases : block;
	tokens = block * config->max_length;
	return cases * fmoe_calibration_case_bytes(gated) + block * facts->n_items * sizeof(fnn_real) +
		tokens * token_reals(config, false) * sizeof(fnn_real) + followers_bytes(config, facts, tokens, false);
}

double
fmoe_mixture_bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	bool		recorded = phase == FMOE_RECORDED;
	double		reals;
	double		bytes;

	if (phase == FMOE_SETTLING)
		return calibration_bytes(config, facts, cases);
	if (phase == FMOE_PREPARED)
		return fmoe_prepared_bytes(facts->features, facts->n_items, config->loss == FMOE_LOSS_SOFTMAX);
	reals = tokens * token_reals(config, recorded) + layer_reals(config);
	/* states in several forms */
	if (!recorded)
		reals += 4 * cases * fmoe_mixture_item_width(config);
	bytes = reals * sizeof(fnn_real) + followers_bytes(config, facts, tokens, recorded);
	/* the own expert's, and all members' side by side */
	if (recorded && fmoe_mixture_own(config)->featured.features)
		return fmoe_step_items_bytes(config, facts, 2 * fmoe_mixture_item_width(config), tokens, bytes);
	return bytes;
}

double
fmoe_mixture_multiplications(const FmoeConfig *config, double n_scored)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);
	double		states = 0;
	double		scored = fmoe_mixture_states_width(config);

	for (int i = 0; i < fmoe_mixture_members(config); i++)
	{
		FmoeShape	shape = fmoe_mixture_shape(config, i);

		states += fmoe_encoders[shape.encoder]->multiplications(&shape);
	}
	/* a permuted history besides */
	if (own->contrast > 0)
		states *= 2;
	/* each member is scored on its own; where the gate learns, the mixed states once more */
	if (fmoe_mixture_gate_learns(config))
		scored += fmoe_mixture_item_width(config);
	return states + n_scored * scored;
}

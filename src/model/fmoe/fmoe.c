/*
 * fmoe.c
 *	  FMoE-CDSR (arXiv 2503.13254): an own expert, experts that other databases
 *	  lent, and a gate that weighs them for each history.
 *
 * Member i reads items by its own columns E_i of one item table [n_items, sum
 * of widths], turns a history into a state z_i, and scores item v by z_i . E_i[v].
 * Member 0 is the own expert: an encoder like any other, here as good as alone.
 * The others are lent: their encoders are frozen, and around each of them this
 * domain trains what knows its items: E_i, positions, the norm of the input
 * and, if asked for, low-rank adapters of the encoder's matrices.
 *
 *		gate   g = softmax(network(mean of [z_0 | z_1 | …] over the history))
 *		score  of v = sum over i of g_i (z_i . E_i[v])
 *
 * which is one product of [g_0 z_0 | g_1 z_1 | …] with the row v of the table:
 * a mixture is stored, scanned and served like every other expert.
 *
 * Each member learns from its own loss, the gate from the loss of the mixed
 * scores, in which states and item vectors are constants: an expert is never
 * bent to what the others lack, and a poor one costs nothing but its weight.
 *
 * The gate learns where the experts have learned, too, and takes who knows the
 * training events by heart for who knows best.  So its logits are calibrated by
 * events that are kept back (mixture_calibrate.c).
 *
 * What is not as in the paper.  Its gate has one weight vector for all
 * histories of a mini-batch, so that an answer would depend on who else asks;
 * here every position has its own, from the states up to it (gate user).  Gate
 * batch is the paper's; to serve, it reads the mean over the training
 * histories, computed once an epoch.  The paper's second encoder, for the
 * variance of the state, reaches nothing that serves: the state is the mean,
 * never a sample, and in the KL term the two stand in separate sums.  What is
 * left of that term is half the sum of squares of the states (option kl).  Its
 * head has a table of its own (head own) with biases, which are left out; its
 * graph's bias is left out where positions hold the same numbers.  Its padding
 * item does not exist in packed sequences.  Permutations of the contrastive
 * loss are drawn anew each step.
 */
#include "model/fmoe/layout.h"
#include "model/registry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool
is_mixture(const FmoeConfig *config)
{
	return fmoe_expert_classes[config->model] == &fmoe_mixture_class;
}

static int
member_count(const FmoeConfig *config)
{
	return 1 + (config->experts.count > 0 ? config->experts.count : 0);
}

FmoeConfig
fmoe_encoder_config(const FmoeConfig *config)
{
	FmoeConfig	own = *config;

	if (is_mixture(config))
	{
		own.model = config->encoder;
		own.experts.count = -1;
	}
	return own;
}

int64_t
fmoe_item_width(const FmoeConfig *config)
{
	int64_t		width = config->width;

	if (!is_mixture(config))
		return width;
	for (int i = 1; i < member_count(config); i++)
		width += config->experts.lent[i - 1].width;
	return width + (config->count_experts ? FMOE_COUNT_COLUMNS : 0);
}

int
fmoe_gated_count(const FmoeConfig *config)
{
	return is_mixture(config) ? member_count(config) + (config->count_experts ? 2 : 0) : 0;
}

const char *
fmoe_gated_name(const FmoeConfig *config, int expert)
{
	int			members = member_count(config);

	if (expert == 0)
		return "own";
	if (expert < members)
		return config->experts.lent[expert - 1].name;
	return expert == members ? fmoe_popularity_class.name : fmoe_markov_class.name;
}

/* ---------------------------------------------------------------- layout */

static const FmoeExpertClass *
member_class(const FmoeConfig *config)
{
	return fmoe_expert_classes[config->model];
}

static FmoeConfig
member_config(const FmoeConfig *config, int member)
{
	FmoeConfig	own = fmoe_encoder_config(config);
	const FmoeLentEncoder *lent;

	if (member > 0)
	{
		lent = &config->experts.lent[member - 1];
		own.model = lent->model;
		own.width = lent->width;
		own.layers = lent->layers;
		own.heads = lent->heads;
	}
	return own;
}

/* Whether a member's input is normalised: those that were trained on other item vectors, and all with the graph. */
static bool
has_norm(const FmoeConfig *config, int member)
{
	return member > 0 || config->item_graph;
}

void
fmoe_mixture_layout(const FmoeConfig *config, FmoeMixtureLayout *layout)
{
	int			next = 1;

	layout->members = member_count(config);
	layout->gated = fmoe_gated_count(config);
	layout->input = config->head == FMOE_HEAD_OWN ? next++ : 0;
	layout->column[0] = 0;
	for (int i = 0; i < layout->members; i++)
	{
		layout->config[i] = member_config(config, i);
		layout->column[i + 1] = layout->column[i] + layout->config[i].width;
		layout->first[i] = next;
		layout->slices[i] = member_class(&layout->config[i])->slices(&layout->config[i]) - 1;
		next += layout->slices[i];
		layout->norm[i] = layout->adapter[i] = -1;
		if (has_norm(config, i))
		{
			layout->norm[i] = next;
			next += 2;
		}
		if (i > 0 && config->lora_rank > 0)
		{
			layout->adapter[i] = next;
			next += 2;
		}
	}
	layout->gate = layout->calibration = layout->mean = -1;
	if (config->gate != FMOE_GATE_EQUAL)
	{
		layout->gate = next;
		layout->calibration = next + 4 * config->gate_layers + 2;
		next = layout->calibration + 2;
	}
	if (config->gate == FMOE_GATE_BATCH)
		layout->mean = next;
}

/* ---------------------------------------------------------------- declaring */

static void
local(FnnParams *params, const FnnHost *host, const char *prefix, const char *name,
	  int64_t rows, int64_t cols, FnnInit init, double scale, bool decay)
{
	char		full[FNN_NAME_MAX];
	FnnParam   *param;

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	param = fnn_params_add(params, host, full, rows, cols, init, scale);
	param->share = FNN_LOCAL;
	param->decay = decay;
}

/* A and B of every matrix of a lent encoder, each end to end: [matrices * rank, width], [outputs, rank]. */
static void
declare_adapters(FnnParams *params, const FnnHost *host, const char *prefix, const FmoeExpertClass *class,
				 const FnnParams *encoder, int width, int rank)
{
	int64_t		matrices = 0;
	int64_t		outputs = 0;

	for (int s = 1; s < encoder->count; s++)
	{
		if (!fmoe_is_adapted(class, s, &encoder->list[s]))
			continue;
		matrices++;
		outputs += encoder->list[s].rows;
	}
	local(params, host, prefix, "adapter.a", matrices * rank, width, FNN_INIT_NORMAL, 1 / sqrt(width), false);
	local(params, host, prefix, "adapter.b", outputs, rank, FNN_INIT_ZERO, 0, false);
}

/* The last one declared is not learned. */
static void
freeze_last(FnnParams *params)
{
	params->list[params->count - 1].frozen = true;
}

static void
declare_member(FnnParams *params, const FnnHost *host, const FmoeConfig *config, int32_t n_items, int member)
{
	FmoeConfig	own = member_config(config, member);
	const FmoeExpertClass *class = member_class(&own);
	FnnParams	encoder = {0};
	char		prefix[32] = "";

	class->declare(&encoder, host, &own, n_items);
	if (member > 0)
		snprintf(prefix, sizeof(prefix), "expert.%d.", member);
	for (int s = 1; s < encoder.count; s++)
	{
		const FnnParam *from = &encoder.list[s];
		char		name[FNN_NAME_MAX];
		FnnParam   *param;

		snprintf(name, sizeof(name), "%s%.*s", prefix, (int) (sizeof(name) - sizeof(prefix)), from->name);
		param = fnn_params_add(params, host, name, from->rows, from->cols, from->init, from->init_scale);
		param->share = member > 0 ? FNN_LOCAL : from->share;
		param->decay = from->decay;
		param->frozen = member > 0 && !fmoe_is_position(class, s);
	}
	if (has_norm(config, member))
	{
		local(params, host, prefix, "input.gain", 1, own.width, FNN_INIT_ONE, 0, false);
		local(params, host, prefix, "input.bias", 1, own.width, FNN_INIT_ZERO, 0, false);
	}
	if (member > 0 && config->lora_rank > 0)
		declare_adapters(params, host, prefix, class, &encoder, own.width, config->lora_rank);
}

/* The paper's: to 4 d, to 2 d, to a weight for each; with one hidden layer (of the authors' later code): to d. */
static void
declare_gate(FnnParams *params, const FnnHost *host, const FmoeConfig *config, int64_t inputs)
{
	int64_t		in = inputs;

	for (int layer = 0; layer < config->gate_layers; layer++)
	{
		int64_t		out = config->gate_layers == 1 ? config->width : layer == 0 ? 4 * config->width : 2 * config->width;
		char		prefix[32];

		snprintf(prefix, sizeof(prefix), "gate.%d.", layer);
		local(params, host, prefix, "weight", out, in, FNN_INIT_NORMAL, 1 / sqrt((double) in), true);
		local(params, host, prefix, "bias", 1, out, FNN_INIT_ZERO, 0, false);
		local(params, host, prefix, "norm.gain", 1, out, FNN_INIT_ONE, 0, false);
		local(params, host, prefix, "norm.bias", 1, out, FNN_INIT_ZERO, 0, false);
		in = out;
	}
	/* all weights equal at first */
	local(params, host, "gate.", "weight", fmoe_gated_count(config), in, FNN_INIT_ZERO, 0, true);
	local(params, host, "gate.", "bias", 1, fmoe_gated_count(config), FNN_INIT_ZERO, 0, false);
	local(params, host, "gate.", "calibration.scale", 1, 1, FNN_INIT_ONE, 0, false);
	freeze_last(params);
	local(params, host, "gate.", "calibration.bias", 1, fmoe_gated_count(config), FNN_INIT_ZERO, 0, false);
	freeze_last(params);
	if (config->gate == FMOE_GATE_BATCH)
	{
		local(params, host, "gate.", "mean", 1, inputs, FNN_INIT_ZERO, 0, false);
		freeze_last(params);
	}
}

static void
declare(FnnParams *params, const FnnHost *host, const FmoeConfig *config, int32_t n_items)
{
	FnnParam   *table = fmoe_declare_items(params, host, config, n_items);
	int64_t		states = fmoe_item_width(config) - (config->count_experts ? FMOE_COUNT_COLUMNS : 0);

	/* the count columns hold what they hold */
	table->decay = !config->count_experts;
	if (config->head == FMOE_HEAD_OWN)
		local(params, host, "", "input.weight", n_items, states, FNN_INIT_NORMAL, FMOE_INIT_SCALE, true);
	for (int i = 0; i < member_count(config); i++)
		declare_member(params, host, config, n_items, i);
	if (config->gate != FMOE_GATE_EQUAL)
		declare_gate(params, host, config, states);
}

/* ---------------------------------------------------------------- memory */

/* Of the gate's network, for each row: a layer's map, what is before its activation, norm and dropout. */
static int64_t
gate_reals(const FmoeConfig *config)
{
	int64_t		hidden = config->gate_layers == 1 ? config->width : config->gate_layers * 3 * config->width;

	return 4 * hidden + 2 * fmoe_gated_count(config);
}

static int64_t
token_reals(const FmoeConfig *config, bool recorded)
{
	/* states end to end and their mean, which are constants; gated, with a gradient, where not only last tokens are */
	int64_t		columns = fmoe_item_width(config);
	int64_t		reals = 2 * (columns - (config->count_experts ? FMOE_COUNT_COLUMNS : 0)) + (recorded ? 2 * columns : 0);
	int64_t		states = 0;

	for (int i = 0; i < member_count(config); i++)
	{
		FmoeConfig	own = member_config(config, i);

		states += member_class(&own)->token_reals(&own, recorded);
		/* input, its norm and dropout */
		if (has_norm(config, i))
			states += (recorded ? 6 : 2) * own.width + 2;
		/* the gate reads all tokens: the last block is not spared any */
		if (!recorded && member_class(&own)->positions)
			states += 9 * own.width;
	}
	if (recorded && config->contrast > 0)
		states *= 2;
	/* where nothing is recorded the network sees last tokens only */
	return reals + states + (recorded ? 2 * gate_reals(config) : 0);
}

double
fmoe_followers_bytes(const FmoeConfig *config, const FmoeFollowers *followers, double tokens, int32_t n_items,
					 bool recorded)
{
	double		copied = tokens * followers->mean;
	double		bytes = 0;

	if (!is_mixture(config))
		return 0;
	/* terms of the loss, each row's aligned */
	if (recorded && config->count_experts)
		bytes += copied * sizeof(float) + tokens * (sizeof(FnnTerms) + FNN_ALIGN / 2);
	/* edges of the distinct items, what numbers these, and the sums over them beside the input */
	for (int i = 0; config->item_graph && i < member_count(config); i++)
	{
		FmoeConfig	own = member_config(config, i);
		double		graph = (copied < followers->all ? copied : followers->all) * (sizeof(int32_t) + sizeof(float)) +
			n_items * (double) sizeof(int32_t) + tokens * (3 * sizeof(int32_t) + sizeof(int64_t)) +
			tokens * (recorded ? 4 : 2) * own.width * sizeof(fnn_real);

		bytes += recorded && config->contrast > 0 ? 2 * graph : graph;
	}
	return bytes;
}

const FmoeExpertClass fmoe_mixture_class = {
	.name = "fmoe",
	.summary = "own and lent experts, weighed by a gate",
	.declare = declare,
	.encode = fmoe_mixture_encode,
	.learn = fmoe_mixture_learn,
	.start = fmoe_mixture_start,
	.settle = fmoe_mixture_settle,
	.token_reals = token_reals
};

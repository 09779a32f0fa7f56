/*
 * xcross.c
 *	  The class xcross: options, parameters, learning.
 *
 * Base and experts stay as they are; integrators and weights learn, and the own
 * adapter if there is one.
 */
#include "model/data/stream.h"
#include "model/xcross/xcross.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(FmoeXcrossOptions) <= FMOE_OWN_OPTIONS_BYTES, "the options have no room");

/* ---------------------------------------------------------------- options */

static bool
adapter_fits(const void *element, FmoeMisfit *misfit)
{
	if (((const FmoeLentAdapter *) element)->rank > 0)
		return true;
	snprintf(misfit->message, sizeof(misfit->message), "it has no rank");
	return false;
}

#define AT(field) offsetof(FmoeLentAdapter, field)

static const FmoeOption adapter_options[] = {
	{"name", FMOE_OPTION_NAME, AT(name), 0, 0, NULL, "", "what it is called here"},
	{"lora_rank", FMOE_OPTION_INT, AT(rank), 1, 256, NULL, "8", "its rank"},
	{"lora_alpha", FMOE_OPTION_REAL, AT(alpha), 1e-3, 1e6, NULL, "16", "alpha / rank is its scale"},
	{NULL}
};

#undef AT

static const FmoeOptionList adapter_option = {
	.element = adapter_options,
	.first = offsetof(FmoeAdapterList, adapter),
	.bytes = sizeof(FmoeLentAdapter),
	.max = FMOE_LENT_MAX,
	.what = "names of lent adapters",
	.listed = "the view fmoe.experts lists them",
	.fits = adapter_fits
};

static const char *const mix_names[] = {"layers", "weights", NULL};
static const char *const integrator_names[] = {"token", "last", NULL};
static const char *const head_names[] = {"dot", "pooler", NULL};

#define AT(field) offsetof(FmoeXcrossOptions, field)

static const FmoeOption own_options[] = {
	{"base", FMOE_OPTION_NAME, AT(base.name), 0, 0, NULL, "", "the lent base; that of the experts when left out"},
	{"base_checksum", FMOE_OPTION_NAME, AT(base.checksum), 0, 0, NULL, "",
	"what its arrays must sum up to; found when left out"},
	{"inputs", FMOE_OPTION_LIST, AT(base.inputs), 0, 0, NULL, NULL, "those of the base; found when left out", NULL,
	&fmoe_input_option},
	{"experts", FMOE_OPTION_LIST, AT(experts), 0, 0, NULL, NULL, "lent adapters of the base, side by side", NULL,
	&adapter_option},
	{"mix", FMOE_OPTION_ENUM, AT(mix), 0, 0, mix_names, "layers",
	"layers: the states of all experts after every layer; weights: the experts into one adapter, their mean"},
	{"integrator", FMOE_OPTION_ENUM, AT(integrator), 0, 0, integrator_names, "token",
		"token: every event of a history has its own weights; last: those of the last event are all events'",
		"mix=layers"},
	{"head", FMOE_OPTION_ENUM, AT(head), 0, 0, head_names, "dot",
	"dot: the state after a history times an item's vector; pooler: a pass over the history and the item behind it"},
	{"head_negatives", FMOE_OPTION_INT, AT(head_negatives), 1, 10000, NULL, "29",
	"how many other items, drawn anew in every step, a chosen one is told from", "head=pooler"},
	{"beta", FMOE_OPTION_REAL, AT(beta), 0, 100, NULL, "1", "how much a stream takes of another's state",
	"mix=layers"},
	{"gamma", FMOE_OPTION_REAL, AT(gamma), 0, 100, NULL, "1", "how much a stream takes of its difference to another",
	"mix=layers"},
	{"own_adapter", FMOE_OPTION_BOOL, AT(own_adapter), 0, 0, NULL, "false",
	"train an adapter of its own beside the integrators, or on top of the mean"},
	{"lora_rank", FMOE_OPTION_INT, AT(rank), 1, 256, NULL, "8", "rank of the own adapter", "own_adapter"},
	{"lora_alpha", FMOE_OPTION_REAL, AT(alpha), 1e-3, 1e6, NULL, "16", "alpha / rank is the scale of the own adapter",
	"own_adapter"},
	{NULL}
};

static bool
scores(const FmoeConfig *config)
{
	return fmoe_xcross_own(config)->head == FMOE_XCROSS_POOLER;
}

static bool
fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	if (fmoe_xcross_own(config)->experts.count < 1)
	{
		snprintf(misfit->message, sizeof(misfit->message), "model \"%s\" needs option \"experts\"",
				 fmoe_xcross_class.name);
		snprintf(misfit->detail, sizeof(misfit->detail), "It mixes adapters of one base that others have lent.");
		snprintf(misfit->hint, sizeof(misfit->hint), "The view fmoe.experts lists them, with model \"%s\".",
				 fmoe_lora_class.name);
		return false;
	}
	if (scores(config) && config->loss == FMOE_LOSS_GBCE)
	{
		snprintf(misfit->message, sizeof(misfit->message), "head \"pooler\" does not learn by the loss gbce");
		snprintf(misfit->detail, sizeof(misfit->detail),
				 "It tells what was chosen from option \"head_negatives\" of other items.");
		snprintf(misfit->hint, sizeof(misfit->hint), "Leave \"loss\" out.");
		return false;
	}
	if (scores(config) && config->blend > 0)
	{
		snprintf(misfit->message, sizeof(misfit->message), "option \"blend\" has no meaning with the head pooler");
		snprintf(misfit->detail, sizeof(misfit->detail), "Its scores are on a scale of their own.");
		snprintf(misfit->hint, sizeof(misfit->hint), "Leave it out.");
		return false;
	}
	return fmoe_base_fits(config, misfit);
}

static FmoeInputList *
inputs_of(FmoeConfig *config)
{
	return &((FmoeXcrossOptions *) config->own.bytes)->base.inputs;
}

/* ---------------------------------------------------------------- parameters */

static void
declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	const FmoeXcrossOptions *own = fmoe_xcross_own(config);
	int64_t		n = fmoe_xcross_streams(config);
	FmoeDeclaring local = *to;
	int			first;

	(void) facts;
	local.share = FNN_LOCAL;
	fmoe_declare_frozen_base(&local, config, &own->base.inputs);
	first = to->params->count;
	for (int m = 0; m < own->experts.count; m++)
	{
		FmoeDeclaring of_expert = local;
		char		prefix[FNN_NAME_MAX];

		snprintf(prefix, sizeof(prefix), "expert.%d.", m + 1);
		of_expert.prefix = prefix;
		fmoe_declare_adapter(&of_expert, config, &own->base.inputs, &own->experts.adapter[m]);
	}
	fmoe_declared_lent(to, first, false);
	if (own->own_adapter)
	{
		FmoeLentAdapter adapter = {.rank = own->rank, .alpha = own->alpha};
		FmoeDeclaring of_own = local;

		of_own.prefix = "own.";
		fmoe_declare_adapter(&of_own, config, &own->base.inputs, &adapter);
	}
	for (int layer = 0; n > 1 && layer < config->layers; layer++)
	{
		char		name[FNN_NAME_MAX];

		snprintf(name, sizeof(name), "integrator.%d.weight", layer);
		fmoe_declare(&local, FNN_GATE, name, 2 * n * (n - 1), n * config->width, FNN_INIT_ZERO, 0);
	}
	fmoe_declare(&local, FNN_GATE, "mix.weight", 1, n, FNN_INIT_ZERO, 0)->frozen = own->mix == FMOE_MIX_WEIGHTS;
	if (scores(config))
		fmoe_pooler_declare(&local, config);
}

/* The mean of the experts; an own adapter, which is the base at first, gets its weight by learning. */
static void
start(FmoeExpert *expert, const FnnHost *host)
{
	FmoeXcrossLayout layout;
	int			experts;

	(void) host;
	fmoe_xcross_layout(expert, &layout);
	experts = layout.streams > 1 ? fmoe_xcross_own(expert->config)->experts.count : 1;
	for (int m = 0; m < experts; m++)
		fmoe_parameter(expert, layout.weight)->value[m] = (fnn_real) (1.0 / experts);
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	const FmoeInputList *inputs = &fmoe_xcross_own(config)->base.inputs;
	bool		recorded = phase == FMOE_RECORDED;
	double		n = fmoe_xcross_streams(config);
	double		adapters = fmoe_xcross_adapters(config);
	double		width = config->width;
	double		sum;

	if (phase == FMOE_PREPARED)
		return fmoe_base_prepared_bytes(config, inputs, facts->n_items);
	if (phase == FMOE_SETTLING)
		return 0;
	sum = tokens * fmoe_xcross_token_reals(config, recorded) + adapters * fmoe_merged_reals(config, inputs, recorded) +
		4 * n * width * width;
	if (!recorded)
		sum += (4 + 6 * n) * cases * width;
	sum *= sizeof(fnn_real);
	sum += sizeof(FmoeXcrossRun) + 2 * adapters * sizeof(FnnTensor) * fmoe_base_slices(config, inputs) +
		2 * sizeof(int32_t) * tokens;
	if (scores(config))
		sum += fmoe_pooler_bytes(config, facts->n_items, tokens, recorded);
	if (!recorded)
		return sum;
	return sum + fmoe_base_items_bytes(config, inputs, fmoe_base_chosen(config, facts->n_items, tokens), true) +
		fmoe_base_choose_bytes(config, facts->n_items, tokens);
}

static double
multiplications(const FmoeConfig *config, double n_scored)
{
	FmoeShape	shape = fmoe_base_shape(config);
	double		n = fmoe_xcross_streams(config);
	double		each = n * fmoe_encoders[shape.encoder]->multiplications(&shape) +
		shape.layers * 2 * n * (n - 1) * n * shape.width;

	/* one token of each history has all that is told apart behind it */
	if (scores(config))
		return each * (1 + (1 + fmoe_xcross_own(config)->head_negatives) / 2.0);
	return each + n_scored * shape.width;
}

/* ---------------------------------------------------------------- computing */

static FmoeBase
plain_base(const FmoeExpert *expert)
{
	return fmoe_base(expert->config, &fmoe_xcross_own(expert->config)->base.inputs, fmoe_parameter(expert, 0));
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	FmoeBase	base = plain_base(expert);
	FmoeBaseItems known = fmoe_base_known(&base, expert, tape, batch);

	return fmoe_xcross_state(fmoe_xcross_run(expert, tape, known.table, known.row, batch, which, NULL), tape);
}

static FnnTensor *
items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	FmoeBase	base = plain_base(expert);

	return fmoe_base_items(&base, expert, tape, n, item, 0);
}

/*
 * One token of each sequence that has a target, by chance; target keeps only theirs.  Weights that
 * all tokens share would else know what came later.
 */
static int32_t *
ask_one(FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	int32_t    *asked = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->sequences.count);
	int32_t    *target = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->n_tokens);

	for (int64_t t = 0; t < batch->n_tokens; t++)
		target[t] = -1;
	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int32_t		begin = batch->sequences.offset[s];
		int32_t		end = batch->sequences.offset[s + 1];
		int64_t		with = 0;
		int64_t		chosen;

		asked[s] = batch->last[s];
		for (int32_t t = begin; t < end; t++)
			with += goal->target[t] >= 0;
		chosen = with > 0 ? (int64_t) fnn_random_below(goal->seed, fmoe_stream(FMOE_STREAM_ASKED, goal->stream),
													   (uint64_t) s, (uint64_t) with) : -1;
		for (int32_t t = begin; t < end && with > 0; t++)
			if (goal->target[t] >= 0 && chosen-- == 0)
			{
				asked[s] = t;
				target[t] = goal->target[t];
			}
	}
	goal->target = target;
	goal->weight = goal->sequence_weight;
	return asked;
}

static void
learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	FmoeBase	base = plain_base(expert);
	FmoeBaseItems chosen;
	FnnTensor  *table;
	int32_t    *asked = NULL;
	FmoeXcrossRun *run;

	if (scores(expert->config))
	{
		FmoeGoal	one = *goal;

		asked = ask_one(tape, batch, &one);
		fmoe_pooler_learn(expert, tape, batch, &one, asked);
		return;
	}
	chosen = fmoe_base_choose(tape, batch, goal, expert->n_items);
	table = fmoe_base_chosen_items(&base, expert, tape, &chosen, 0);
	if (fmoe_xcross_own(expert->config)->integrator == FMOE_INTEGRATOR_LAST)
		asked = ask_one(tape, batch, &chosen.goal);
	run = fmoe_xcross_run(expert, tape, table, chosen.row, batch, FMOE_ALL_TOKENS, asked);
	fmoe_add_loss(tape, fmoe_xcross_state(run, tape), table, &chosen.goal, NULL);
}

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	(void) data;
	return fmoe_base_prepare(expert, &fmoe_xcross_own(expert->config)->base.inputs, arena, false);
}

/* ---------------------------------------------------------------- base and experts */

static int
names(const FmoeConfig *config, const char **name)
{
	const FmoeXcrossOptions *own = fmoe_xcross_own(config);

	name[0] = own->base.name;
	for (int m = 0; m < own->experts.count; m++)
		name[m + 1] = own->experts.adapter[m].name;
	return 1 + own->experts.count;
}

static bool
take(FmoeConfig *config, int i, const FmoeLentModel *lent, FmoeMisfit *misfit)
{
	FmoeXcrossOptions *own = (FmoeXcrossOptions *) config->own.bytes;
	const FmoeLoraOptions *other = fmoe_own_options(lent->config);

	if (i == 0)
		return fmoe_take_base(config, &own->base, lent, misfit);
	if (lent->class != &fmoe_lora_class)
	{
		snprintf(misfit->message, sizeof(misfit->message), "it is of model \"%s\"", lent->class->name);
		snprintf(misfit->detail, sizeof(misfit->detail), "Experts here are of model \"%s\".", fmoe_lora_class.name);
		return false;
	}
	if (own->base.checksum[0] == '\0')
	{
		memcpy(own->base.checksum, other->base.checksum, sizeof(own->base.checksum));
		if (own->base.name[0] == '\0')
			memcpy(own->base.name, other->base.name, sizeof(own->base.name));
	}
	if (strcmp(own->base.checksum, other->base.checksum) != 0)
	{
		snprintf(misfit->message, sizeof(misfit->message), "it adapts another base");
		snprintf(misfit->detail, sizeof(misfit->detail), "That is \"%.90s\" of checksum %.16s, here it is \"%.90s\" of %.16s.",
				 other->base.name, other->base.checksum, own->base.name, own->base.checksum);
		return false;
	}
	if (other->adapt_inputs)
	{
		snprintf(misfit->message, sizeof(misfit->message), "it adapts the maps of the inputs");
		snprintf(misfit->detail, sizeof(misfit->detail), "Streams share the item vectors of the base.");
		return false;
	}
	own->experts.adapter[i - 1].rank = other->rank;
	own->experts.adapter[i - 1].alpha = other->alpha;
	return true;
}

static const FmoeNamedBase *
named_base(const FmoeConfig *config)
{
	return &fmoe_xcross_own(config)->base;
}

/* An array of each stream's slices. */
static const void *
merge(const FmoeExpert *expert, const FnnHost *host)
{
	FnnTensor **merged = host->allocate(host->context, sizeof(FnnTensor *) * FMOE_BUILT_MAX);
	FmoeXcrossLayout layout;

	fmoe_xcross_layout(expert, &layout);
	for (int m = 0; m < layout.streams; m++)
		merged[m] = fmoe_merged_base(expert, host, &fmoe_xcross_own(expert->config)->base.inputs,
									 layout.streams > 1 ? 1 : layout.adapters, &layout.adapter[m], &layout.first[m]);
	return merged;
}

static const FmoeBuilding building = {
	.names = names,
	.take = take,
	.base = named_base,
	.merge = merge
};

const FmoeExpertClass fmoe_xcross_class = {
	.name = "xcross",
	.summary = "lent adapters of one base side by side, mixed after every layer",
	.options = own_options,
	.fits = fits,
	.reads = fmoe_base_reads,
	.declare = declare,
	.bytes = bytes,
	.multiplications = multiplications,
	.encode = encode,
	.items = items,
	.score = fmoe_pooler_score,
	.scores = scores,
	.learn = learn,
	.prepare = prepare,
	.start = start,
	.part_count = fmoe_xcross_part_count,
	.part_name = fmoe_xcross_part_name,
	.weigh = fmoe_xcross_weigh,
	.mixed_layers = fmoe_xcross_mixed_layers,
	.weigh_layers = fmoe_xcross_weigh_layers,
	.contribute = fmoe_xcross_contribute,
	.building = &building,
	.inputs = inputs_of
};

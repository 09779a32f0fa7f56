/*
 * options.c
 *	  The options that a mixture has besides those of every model.
 */
#include "model/expert/gated.h"
#include "model/fmoe/fmoe.h"

#include <stdio.h>
#include <string.h>

static const char *const gate_names[] = {"user", "batch", "equal", "linear", NULL};
static const char *const head_names[] = {"tied", "own", NULL};

#define AT(field) offsetof(FmoeMixtureOptions, field)

const FmoeOption fmoe_mixture_options[] = {
	{"encoder", FMOE_OPTION_ENUM, AT(encoder), 0, 0, fmoe_encoder_names, FMOE_DEFAULT_ENCODER,
	"kind of the own expert"},
	{"experts", FMOE_OPTION_LIST, AT(experts), 0, 0, NULL, NULL,
	"lent experts to use; all that there are when not given", NULL, &fmoe_lent_option},
	FMOE_FEATURED_OPTIONS(AT(featured)),
	FMOE_BASKETS_OPTION(AT(baskets)),
	{"head", FMOE_OPTION_ENUM, AT(head), 0, 0, head_names, "tied",
	"items are scored by the vectors they are read by (tied), or have others for that (own)"},
	{"item_graph", FMOE_OPTION_BOOL, AT(item_graph), 0, 0, NULL, "false",
	"smooth item vectors over the graph of what followed what"},
	{"lora_rank", FMOE_OPTION_INT, AT(lora_rank), 0, 64, NULL, "0",
	"rank of the adapters of lent encoders; 0: lent encoders stay as they are"},
	{"lora_alpha", FMOE_OPTION_REAL, AT(lora_alpha), 0, 1024, NULL, "8",
	"adapters count lora_alpha / lora_rank", "lora_rank"},
	{"gate", FMOE_OPTION_ENUM, AT(gate), 0, 0, gate_names, "linear",
		"linear: numbers that validation says, for these and all that count; user: a network, for each history;"
		" batch: one for all histories; equal: all the same"},
	{"gate_prior", FMOE_OPTION_NAME, AT(gate_prior), 0, 0, NULL, "", FMOE_GATE_PRIOR_HELP, "gate=linear"},
	{"gate_layers", FMOE_OPTION_INT, AT(gate_layers), 1, 2, NULL, "2",
	"hidden layers of the gate"},
	{"gate_top", FMOE_OPTION_INT, AT(gate_top), 0, FMOE_GATED_MAX, NULL, "0",
	"only so many experts get a weight; 0: all"},
	{"gate_loss", FMOE_OPTION_REAL, AT(gate_loss), 0, 100, NULL, "0",
	"how much the gate learns from each expert's own loss; with the loss softmax"},
	{"count_experts", FMOE_OPTION_BOOL, AT(count_experts), 0, 0, NULL, "false",
	"popularity and counted transitions are gated too; with the loss softmax"},
	{"kl", FMOE_OPTION_REAL, AT(kl), 0, 100, NULL, "0",
	"weight of the KL term on hidden states, reached over 10000 steps"},
	{"contrast", FMOE_OPTION_REAL, AT(contrast), 0, 100, NULL, "0",
	"weight of the contrastive loss between a history and its permutation"},
	{"rounds", FMOE_OPTION_INT, AT(rounds), 0, 10000, NULL, "0",
	"at most so many exchanges with peers while training; 0: none"},
	{"local_epochs", FMOE_OPTION_INT, AT(local_epochs), 1, 1000, NULL, "3",
	"epochs of a round", "rounds"},
	{NULL}
};

static bool
lacks_softmax(const FmoeConfig *config, const char *option, bool used, FmoeMisfit *misfit)
{
	if (!used || config->loss == FMOE_LOSS_SOFTMAX || config->loss == FMOE_LOSS_AUTO)
		return false;
	snprintf(misfit->message, sizeof(misfit->message), "option \"%s\" needs the loss softmax", option);
	snprintf(misfit->detail, sizeof(misfit->detail), "The loss is gbce, which auto stands for above %d items.",
			 FMOE_SOFTMAX_ITEMS_MAX);
	snprintf(misfit->hint, sizeof(misfit->hint), "Set \"loss\" to \"softmax\", or leave \"%s\" out.", option);
	return true;
}

static bool
lacks_gate(const FmoeMixtureOptions *own, FmoeMisfit *misfit)
{
	if (own->gate_loss <= 0 || own->gate == FMOE_GATE_USER || own->gate == FMOE_GATE_BATCH)
		return false;
	snprintf(misfit->message, sizeof(misfit->message), "option \"gate_loss\" needs a gate that learns");
	snprintf(misfit->detail, sizeof(misfit->detail), "%s", own->gate == FMOE_GATE_EQUAL
			 ? "With the gate equal the weights are given."
			 : "With the gate linear the weights are fitted at the end.");
	snprintf(misfit->hint, sizeof(misfit->hint), "Set \"gate\" to \"user\" or \"batch\", or leave \"gate_loss\" out.");
	return true;
}

/* Whether an option is used that says how a network weighs, where there is none. */
static bool
needs_network(const FmoeMixtureOptions *own, const char *option, bool used, const char *detail, FmoeMisfit *misfit)
{
	if (!used || own->gate != FMOE_GATE_LINEAR)
		return false;
	snprintf(misfit->message, sizeof(misfit->message), "option \"%s\" has no meaning with the gate linear", option);
	snprintf(misfit->detail, sizeof(misfit->detail), "%s", detail);
	snprintf(misfit->hint, sizeof(misfit->hint), "Leave it out, or set \"gate\" to \"user\".");
	return true;
}

/* Whether the own expert's vectors have what features add, where others read them too. */
static bool
lacks_plain_vectors(const FmoeMixtureOptions *own, FmoeMisfit *misfit)
{
	const char *other = own->gate != FMOE_GATE_LINEAR ? "gate"
		: own->head != FMOE_HEAD_TIED ? "head"
		: own->item_graph ? "item_graph" : NULL;

	if (!own->featured.features || other == NULL)
		return false;
	snprintf(misfit->message, sizeof(misfit->message), "option \"features\" does not fit option \"%s\"", other);
	snprintf(misfit->detail, sizeof(misfit->detail), "%s",
			 "With \"features\" the gate is linear, the head is tied, and there is no item graph.");
	snprintf(misfit->hint, sizeof(misfit->hint), "Leave \"features\" or \"%s\" out.", other);
	return true;
}

bool
fmoe_mixture_fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);
	FmoeShape	shape = fmoe_mixture_shape(config, 0);

	return fmoe_shape_fits(&shape, misfit) &&
		!(lacks_softmax(config, "gate_loss", own->gate_loss > 0, misfit) ||
		  lacks_softmax(config, "count_experts", own->count_experts, misfit) ||
		  lacks_softmax(config, "item_graph", own->item_graph, misfit) ||
		  lacks_gate(own, misfit) ||
		  lacks_plain_vectors(own, misfit) ||
		  needs_network(own, "count_experts", own->count_experts,
						"It weighs popularity, transitions and all others that count anyway.", misfit) ||
		  needs_network(own, "gate_top", own->gate_top > 0, "Its weights are the same for all histories.", misfit));
}

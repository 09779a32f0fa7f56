/*
 * options.c
 *	  The options of ant, and what a training that starts from a lent encoder tries.
 */
#include "model/ant/ant.h"

#include <stdio.h>

#define AT(field) offsetof(FmoeAntOptions, field)

static const char *const adapt_names[] = {"auto", "relearn", "finetune", "frozen", "scratch", NULL};

const FmoeOption fmoe_ant_options[] = {
	{"inputs", FMOE_OPTION_LIST, AT(inputs), 0, 0, NULL, NULL,
		"what item vectors are computed from; left out: the text, the price and all vectors that items have", NULL,
		&fmoe_input_option},
	{"experts_per_input", FMOE_OPTION_INT, AT(experts), 1, FMOE_ANT_EXPERTS_MAX, NULL, "8",
	"maps of each input, which a gate weighs for each item; 1: one map without a gate"},
	{"fusion", FMOE_OPTION_REAL, AT(fusion), 0, 10, NULL, "0.1",
	"weight of the product of an item's image and text; 0: they are only added"},
	{"temperature", FMOE_OPTION_REAL, AT(temperature), 0.01, 10, NULL, "0.07",
	"what cosines are divided by to be scores"},
	{"input_dropout", FMOE_OPTION_REAL, AT(input_dropout), 0, 0.9, NULL, "0.2",
	"share of an item's numbers that are dropped while training"},
	{"transductive", FMOE_OPTION_BOOL, AT(transductive), 0, 0, NULL, "false",
	"an item has a vector of its own beside what its features say"},
	{"pretrain", FMOE_OPTION_BOOL, AT(pretrain), 0, 0, NULL, "false",
	"train to be lent: against the items of the batch only, and image against text; the version does not go live"},
	{"source_column", FMOE_OPTION_NAME, AT(source_column), 0, 0, NULL, "",
	"column of the interactions: targets are told only from those where it is the same; else from all", "pretrain"},
	{"alignment", FMOE_OPTION_REAL, AT(alignment), 0, 10, NULL, "0.001",
	"weight of telling an item's text by its image", "pretrain"},
	{"adapt", FMOE_OPTION_ENUM, AT(adapt), 0, 0, adapt_names, "auto",
		"what start_encoder is for; relearn: its blocks stay, positions, maps and gates are drawn anew; finetune: all"
		" is trained on; frozen: all but the blocks is; scratch: nothing; auto: relearn, and scratch where that is better"},
	FMOE_GATED_OPTIONS(AT(gated)),
	{NULL}
};

_Static_assert(sizeof(FmoeAntOptions) <= FMOE_OWN_OPTIONS_BYTES, "the options of ant have no room");

static bool
misfits(FmoeMisfit *misfit, const char *message, const char *detail, const char *hint)
{
	snprintf(misfit->message, sizeof(misfit->message), "%s", message);
	snprintf(misfit->detail, sizeof(misfit->detail), "%s", detail);
	snprintf(misfit->hint, sizeof(misfit->hint), "%s", hint);
	return false;
}

bool
fmoe_ant_fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	const FmoeAntOptions *own = fmoe_ant_own(config);
	FmoeShape	shape = fmoe_shape_of(config, 0);
	bool		starts = config->start_encoder[0] != '\0';

	if (!fmoe_shape_fits(&shape, misfit))
		return false;
	if (starts && own->pretrain)
		return misfits(misfit, "option \"start_encoder\" has no meaning with \"pretrain\"",
					   "What is trained to be lent begins with nothing.", "Leave one of them out.");
	if (starts && own->adapt == FMOE_ANT_SCRATCH)
		return misfits(misfit, "option \"start_encoder\" has no meaning with \"adapt\": \"scratch\"",
					   "Nothing of it would be used.", "Leave one of them out.");
	if (!starts && own->adapt != FMOE_ANT_AUTO && own->adapt != FMOE_ANT_SCRATCH)
		return misfits(misfit, "option \"adapt\" needs \"start_encoder\"", "There is nothing to adapt.",
					   "Name a lent expert, or leave \"adapt\" out.");
	if (starts && own->adapt == FMOE_ANT_AUTO && config->holdout == 0)
		return misfits(misfit, "with the holdout none nothing tells if \"relearn\" or \"scratch\" is better",
					   "The better one of both stays, by events that are kept back.",
					   "Say which with \"adapt\", or keep events back.");
	if (own->pretrain && fmoe_gated_on(&own->gated))
		return misfits(misfit, "option \"gate\" has no meaning with \"pretrain\"",
					   "What is trained to be lent answers nobody.", "Leave one of them out.");
	if (own->pretrain && own->transductive)
		return misfits(misfit, "option \"transductive\" has no meaning with \"pretrain\"",
					   "Vectors of single items are not lent.", "Leave one of them out.");
	return true;
}

/* What is told apart while it is trained to be lent is a batch's own items. */
static const char *const unused_by_pretraining[] = {"loss", "negatives", "calibration", NULL};

const char *const *
fmoe_ant_unused(const FmoeConfig *config)
{
	return fmoe_ant_own(config)->pretrain ? unused_by_pretraining : unused_by_pretraining + 3;
}

FmoeAntAdapt
fmoe_ant_adapt(const FmoeConfig *config)
{
	FmoeAntAdapt adapt = (FmoeAntAdapt) fmoe_ant_own(config)->adapt;

	if (config->start_encoder[0] == '\0')
		return FMOE_ANT_SCRATCH;
	return adapt == FMOE_ANT_AUTO ? FMOE_ANT_RELEARN : adapt;
}

const char *
fmoe_ant_attempt(FmoeConfig *config, int number)
{
	FmoeAntOptions *own = (FmoeAntOptions *) config->own.bytes;

	if (config->start_encoder[0] == '\0' || own->adapt != FMOE_ANT_AUTO || number > 1)
		return NULL;
	own->adapt = number == 0 ? FMOE_ANT_RELEARN : FMOE_ANT_SCRATCH;
	return adapt_names[own->adapt];
}

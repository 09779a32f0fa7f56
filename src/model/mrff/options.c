/*
 * options.c
 *	  The options of model mrff alone, and common ones that begin elsewhere.
 */
#include "model/mrff/mrff.h"

#include <stdio.h>

static const char *const gate_names[] = {"hard", "weighted", NULL};
static const char *const item_names[] = {"categories", "all", "none", NULL};
static const char *const user_names[] = {"none", "shared", "private", NULL};

#define AT(field) offsetof(FmoeMrffOptions, field)
#define AT_FEDERATED(field) offsetof(FmoeMrffOptions, federated.field)

const FmoeOption fmoe_mrff_options[] = {
	{"groups", FMOE_OPTION_INT, AT(groups), 1, 64, NULL, "4",
	"groups that a gate puts users into, in each block"},
	{"group_gate", FMOE_OPTION_ENUM, AT(group_gate), 0, 0, gate_names, "weighted",
	"hard: a group's map enters as it is; weighted: times the probability that the gate gives the group"},
	{"balance", FMOE_OPTION_REAL, AT(balance), 0, 100, NULL, "0.1",
	"weight of the loss that keeps groups alike in size"},
	{"residual", FMOE_OPTION_BOOL, AT(residual), 0, 0, NULL, "false",
	"the maps of a block are added to their input; false: they take its place"},
	{"private", FMOE_OPTION_BOOL, AT(private_rows), 0, 0, NULL, "false",
	"each user has a map of their own in each block, in rows that are never lent"},
	{"item_features", FMOE_OPTION_ENUM, AT(item_features), 0, 0, item_names, "categories",
	"what vectors of items are made of: categories; all: texts, prices and given vectors too; none: ids alone"},
	{"user_features", FMOE_OPTION_ENUM, AT(user_features), 0, 0, user_names, "shared",
	"vectors of the users table's categories: none, one set for all, or one of each user's own (private)"},
	{"past_labels", FMOE_OPTION_BOOL, AT(past_labels), 0, 0, NULL, "true",
	"whether past impressions were clicked is an input"},
	{"history_rates", FMOE_OPTION_BOOL, AT(history_rates), 0, 0, NULL, "true",
	"click rates counted in the user's history are an input"},
	{"ids", FMOE_OPTION_BOOL, AT(ids), 0, 0, NULL, "false",
	"items have vectors of their own beside those of their categories"},
	FMOE_FEDERATED_OPTIONS(AT_FEDERATED),
	{NULL}
};

/* The width is of each category column. */
const char *const fmoe_mrff_defaults[] = {
	"width", "8", "dropout", "0.5", "learning_rate", "0.003", "max_length", "200", "holdout", "validation_fifth", NULL
};

/* Those of ordinary batches first. */
static const char *const unused[] = {
	"batch_size", "learning_rate", "weight_decay", "clip_norm", "warmup_steps", "learning_rate_decay",
	"loss", "negatives", "calibration", "blend", "start_encoder", NULL
};

#define OF_BATCHES 6

const char *const *
fmoe_mrff_unused(const FmoeConfig *config)
{
	return fmoe_mrff_own(config)->federated.on ? unused : unused + OF_BATCHES;
}

bool
fmoe_mrff_fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	FmoeShape	shape = fmoe_shape_of(config, 0);
	const FmoeMrffOptions *own = fmoe_mrff_own(config);

	if (own->user_features == FMOE_MRFF_OWN && !own->private_rows)
	{
		snprintf(misfit->message, sizeof(misfit->message), "option \"user_features\" cannot be \"private\" where \"private\" is false");
		snprintf(misfit->detail, sizeof(misfit->detail), "%s", "They are a part of each user's private row.");
		snprintf(misfit->hint, sizeof(misfit->hint), "%s", "Use the user_features \"shared\" or \"none\".");
		return false;
	}
	if (own->item_features == FMOE_MRFF_NO_FEATURES && !own->ids)
	{
		snprintf(misfit->message, sizeof(misfit->message), "option \"item_features\" cannot be \"none\" where \"ids\" is false");
		snprintf(misfit->detail, sizeof(misfit->detail), "%s", "Nothing would tell one item from another.");
		snprintf(misfit->hint, sizeof(misfit->hint), "%s", "Use {\"ids\": true} too.");
		return false;
	}
	return fmoe_federated_fits(&own->federated, config, misfit) && fmoe_shape_fits(&shape, misfit);
}

unsigned
fmoe_mrff_reads(const FmoeConfig *config)
{
	const FmoeMrffOptions *own = fmoe_mrff_own(config);
	unsigned	items = own->item_features == FMOE_MRFF_ALL_FEATURES ? FMOE_READS_FEATURES
		: own->item_features == FMOE_MRFF_CATEGORIES ? FMOE_READS_CATEGORIES : 0;

	return FMOE_READS_LABELS | items | (own->ids ? 0 : FMOE_NEEDS_FEATURES) |
		(own->user_features != FMOE_MRFF_NO_USERS ? FMOE_READS_USERS : 0);
}

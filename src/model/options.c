/*
 * options.c
 *	  The options of training that every model has: names, ranges, defaults, and
 *	  whether all of a configuration fits together.
 */
#include "model/options.h"
#include "model/registry.h"

#include <stdio.h>
#include <string.h>

static const char *const loss_names[] = {"softmax", "gbce", "auto", NULL};
static const char *const average_names[] = {"none", "tail", NULL};
const char *const fmoe_holdout_names[] = {"none", "validation", "test", "validation_fifth", "test_fifth", NULL};

#define AT(field) offsetof(FmoeConfig, field)

const FmoeOption fmoe_train_options[] = {
	{"model", FMOE_OPTION_ENUM, AT(model), 0, 0, fmoe_expert_names, FMOE_DEFAULT_MODEL,
	"kind of expert"},
	{"width", FMOE_OPTION_INT, AT(width), 1, 1024, NULL, "64",
	"length of item vectors and hidden states"},
	{"layers", FMOE_OPTION_INT, AT(layers), 1, 16, NULL, "2",
	"blocks of sasrec, recurrent layers of gru4rec"},
	{"heads", FMOE_OPTION_INT, AT(heads), 1, 64, NULL, "1",
	"attention heads of sasrec; must divide width"},
	{"max_length", FMOE_OPTION_INT, AT(max_length), 1, 10000, NULL, "100",
	"most recent events of a history that the model sees"},
	{"dropout", FMOE_OPTION_REAL, AT(dropout), 0, 0.9, NULL, "0.3",
	"share of values dropped while training"},
	{"loss", FMOE_OPTION_ENUM, AT(loss), 0, 0, loss_names, "auto",
	"softmax: over all items; gbce: over sampled negatives; auto: softmax up to 30000 items"},
	{"negatives", FMOE_OPTION_INT, AT(negatives), 1, 100000, NULL, "256",
	"sampled items of gbce, for each quarter of a batch", "loss=gbce"},
	{"calibration", FMOE_OPTION_REAL, AT(calibration), 0, 1, NULL, "0.75",
	"calibration t of gbce: 0 plain cross-entropy, 1 fully calibrated", "loss=gbce"},
	{"epochs", FMOE_OPTION_INT, AT(epochs), 1, 10000, NULL, "200",
	"most epochs"},
	{"patience", FMOE_OPTION_INT, AT(patience), 1, 10000, NULL, "20",
	"epochs without a better validation NDCG@10, as a mean over five, before training stops"},
	{"average", FMOE_OPTION_ENUM, AT(average), 0, 0, average_names, "tail",
	"weights that are judged and kept; none: of one epoch; tail: a mean over the epochs so far, the late ones most"},
	{"batch_size", FMOE_OPTION_INT, AT(batch_size), 1, 65536, NULL, "128",
	"users a step"},
	{"learning_rate", FMOE_OPTION_REAL, AT(learning_rate), 1e-7, 1, NULL, "0.001",
	"step size of AdamW"},
	{"weight_decay", FMOE_OPTION_REAL, AT(weight_decay), 0, 10, NULL, "0",
	"decoupled weight decay of matrices and item vectors"},
	{"clip_norm", FMOE_OPTION_REAL, AT(clip_norm), 0, 1e6, NULL, "0",
	"largest norm of a step's gradient; 0: no limit"},
	{"warmup_steps", FMOE_OPTION_INT, AT(warmup_steps), 0, 1000000, NULL, "0",
	"steps over which the learning rate rises to its value"},
	{"learning_rate_decay", FMOE_OPTION_REAL, AT(learning_rate_decay), 0.01, 1, NULL, "1",
	"factor of the learning rate for each epoch"},
	{"half_life_days", FMOE_OPTION_REAL, AT(half_life_days), 0, 1e6, NULL, "0",
	"days after which an event counts half for popularity; 0: always fully"},
	{"seed", FMOE_OPTION_INT64, AT(seed), 0, 9007199254740992.0, NULL, "42",
	"of all random numbers: the same seed gives the same model"},
	{"workers", FMOE_OPTION_INT, AT(workers), -1, 64, NULL, "-1",
	"parallel workers beside the caller; -1: the setting fmoe.training_workers"},
	{"holdout", FMOE_OPTION_ENUM, AT(holdout), 0, 0, fmoe_holdout_names, "validation",
	"baskets kept back: none, the last one of users with two (validation), the last two of users with three (test)"},
	{"blend", FMOE_OPTION_REAL, AT(blend), -1, 100, NULL, "-1",
	"weight of counted transitions beside the model's own score; -1: tried out on validation"},
	{"warm_start", FMOE_OPTION_BOOL, AT(warm_start), 0, 0, NULL, "false",
	"begin with the live version's weights"},
	{"start_encoder", FMOE_OPTION_NAME, AT(start_encoder), 0, 0, NULL, "",
	"begin with the encoder of this lent expert, and train it"},
	{"checkpoint_every", FMOE_OPTION_INT, AT(checkpoint_every), 0, 86400, NULL, "60",
	"least seconds between checkpoints of an unfinished training; 0: after every epoch"},
	{"deploy", FMOE_OPTION_BOOL, AT(deploy), 0, 0, NULL, "true",
	"go live when not worse than what is live and than counting"},
	{NULL}
};

/* ---------------------------------------------------------------- what says nothing */

/* Those of learning by gradient. */
static const char *const of_learning[] = {
	"width", "layers", "heads", "dropout", "loss", "negatives", "calibration", "epochs", "patience", "average",
	"batch_size", "learning_rate", "weight_decay", "clip_norm", "warmup_steps", "learning_rate_decay",
	"blend", "warm_start", "start_encoder", NULL
};

static const char *const none[] = {NULL};

const char *const *
fmoe_unused_options(const FmoeConfig *config)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	if (class->unused != NULL)
		return class->unused(config);
	return fmoe_only_counts(class) ? of_learning : none;
}

/* ---------------------------------------------------------------- what fits */

bool
fmoe_config_fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	memset(misfit, 0, sizeof(*misfit));
	if (fmoe_is_gated(class, config) && config->blend >= 0)
	{
		snprintf(misfit->message, sizeof(misfit->message), "option \"blend\" has no meaning with the gate linear");
		snprintf(misfit->detail, sizeof(misfit->detail), "%s", "It weighs counted transitions itself.");
		snprintf(misfit->hint, sizeof(misfit->hint), "%s", "Leave it out.");
		return false;
	}
	return class->fits == NULL || class->fits(config, misfit);
}

void
fmoe_choose_loss(FmoeConfig *config, int32_t n_items)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	/* gBCE is of products of states and vectors */
	bool		products = class->scores == NULL || !class->scores(config);

	if (config->loss == FMOE_LOSS_AUTO)
		config->loss = n_items <= FMOE_SOFTMAX_ITEMS_MAX || !products ? FMOE_LOSS_SOFTMAX : FMOE_LOSS_GBCE;
}

bool
fmoe_config_complete(FmoeConfig *config, const FmoeDataset *data, FmoeMisfit *misfit)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	memset(misfit, 0, sizeof(*misfit));
	return class->complete == NULL || class->complete(config, data, misfit);
}

void
fmoe_config_check(FmoeConfig *config, const FnnHost *host, int32_t n_items)
{
	FmoeMisfit	misfit;

	fmoe_choose_loss(config, n_items);
	if (!fmoe_config_fits(config, &misfit))
		fnn_fail(host, FNN_INVALID, "%s", misfit.message);
}

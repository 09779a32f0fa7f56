/*
 * options.c
 *	  The options of training: names, ranges, defaults.
 */
#include "model/options.h"
#include "model/registry.h"

#include <stdio.h>
#include <string.h>

/*
 * Up to this many items the softmax over all of them is both better and, on
 * packed sequences, cheap enough; beyond it the time of a step is all in the
 * item table.
 */
#define SOFTMAX_ITEMS_MAX 30000

static const char *const loss_names[] = {"softmax", "gbce", "auto", NULL};
static const char *const gate_names[] = {"user", "batch", "equal", NULL};
static const char *const head_names[] = {"tied", "own", NULL};
const char *const fmoe_holdout_names[] = {"none", "validation", "test", NULL};

#define AT(field) offsetof(FmoeConfig, field)

const FmoeOption fmoe_train_options[] = {
	{"model", FMOE_OPTION_ENUM, AT(model), 0, 0, fmoe_expert_names, "sasrec",
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
	"sampled items of gbce, for each quarter of a batch"},
	{"calibration", FMOE_OPTION_REAL, AT(calibration), 0, 1, NULL, "0.75",
	"calibration t of gbce: 0 plain cross-entropy, 1 fully calibrated"},
	{"epochs", FMOE_OPTION_INT, AT(epochs), 1, 10000, NULL, "200",
	"most epochs"},
	{"patience", FMOE_OPTION_INT, AT(patience), 1, 10000, NULL, "10",
	"epochs without a better validation NDCG@10 before training stops"},
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
	"events kept back from users with at least three: none, the last one (validation), the last two (test)"},
	{"blend", FMOE_OPTION_REAL, AT(blend), -1, 100, NULL, "-1",
	"weight of counted transitions beside the model's own score; -1: tried out on validation"},
	{"warm_start", FMOE_OPTION_BOOL, AT(warm_start), 0, 0, NULL, "false",
	"begin with the live version's weights"},
	{"start_encoder", FMOE_OPTION_NAME, AT(start_encoder), 0, 0, NULL, "",
	"begin with the encoder of this lent expert, and train it"},
	{"encoder", FMOE_OPTION_ENUM, AT(encoder), 0, 0, fmoe_encoder_names, "sasrec",
	"kind of the own expert", "fmoe"},
	{"experts", FMOE_OPTION_LENT, AT(experts), 0, 0, NULL, NULL,
	"names of the lent experts to use, at most 7; all that there are when not given", "fmoe"},
	{"head", FMOE_OPTION_ENUM, AT(head), 0, 0, head_names, "tied",
	"items are scored by the vectors they are read by (tied), or have others for that (own)", "fmoe"},
	{"item_graph", FMOE_OPTION_BOOL, AT(item_graph), 0, 0, NULL, "false",
	"smooth item vectors over the graph of what followed what", "fmoe"},
	{"lora_rank", FMOE_OPTION_INT, AT(lora_rank), 0, 64, NULL, "0",
	"rank of the adapters of lent encoders; 0: lent encoders stay as they are", "fmoe"},
	{"lora_alpha", FMOE_OPTION_REAL, AT(lora_alpha), 0, 1024, NULL, "8",
	"adapters count lora_alpha / lora_rank", "fmoe", "lora_rank"},
	{"gate", FMOE_OPTION_ENUM, AT(gate), 0, 0, gate_names, "user",
	"weights of the experts for each history (user), one for all (batch), or all the same (equal)", "fmoe"},
	{"gate_layers", FMOE_OPTION_INT, AT(gate_layers), 1, 2, NULL, "2",
	"hidden layers of the gate", "fmoe"},
	{"gate_top", FMOE_OPTION_INT, AT(gate_top), 0, FMOE_GATED_MAX, NULL, "0",
	"only so many experts get a weight; 0: all", "fmoe"},
	{"gate_loss", FMOE_OPTION_REAL, AT(gate_loss), 0, 100, NULL, "0",
	"how much the gate learns from each expert's own loss; with the loss softmax", "fmoe"},
	{"count_experts", FMOE_OPTION_BOOL, AT(count_experts), 0, 0, NULL, "false",
	"popularity and counted transitions are gated too; with the loss softmax", "fmoe"},
	{"kl", FMOE_OPTION_REAL, AT(kl), 0, 100, NULL, "0",
	"weight of the KL term on hidden states, reached over 10000 steps", "fmoe"},
	{"contrast", FMOE_OPTION_REAL, AT(contrast), 0, 100, NULL, "0",
	"weight of the contrastive loss between a history and its permutation", "fmoe"},
	{"rounds", FMOE_OPTION_INT, AT(rounds), 0, 10000, NULL, "0",
	"at most so many exchanges with peers while training; 0: none", "fmoe"},
	{"local_epochs", FMOE_OPTION_INT, AT(local_epochs), 1, 1000, NULL, "3",
	"epochs of a round", "fmoe", "rounds"},
	{"deploy", FMOE_OPTION_BOOL, AT(deploy), 0, 0, NULL, "true",
	"go live when not worse than what is live and than counting"},
	{NULL}
};

/* ---------------------------------------------------------------- what fits */

static bool
not_even(const FmoeConfig *config, FmoeMisfit *misfit)
{
	if (fmoe_counts(fmoe_expert_classes[config->model]) || config->width % config->heads == 0)
		return false;
	snprintf(misfit->message, sizeof(misfit->message), "option \"width\" (%d) is not a multiple of option \"heads\" (%d)",
			 config->width, config->heads);
	snprintf(misfit->detail, sizeof(misfit->detail), "Each attention head works on an equal part of a hidden state.");
	snprintf(misfit->hint, sizeof(misfit->hint), "The default of \"heads\" is 1.");
	return true;
}

static bool
lacks_softmax(const FmoeConfig *config, const char *option, bool used, FmoeMisfit *misfit)
{
	if (!used || config->loss == FMOE_LOSS_SOFTMAX || config->loss == FMOE_LOSS_AUTO)
		return false;
	snprintf(misfit->message, sizeof(misfit->message), "option \"%s\" needs the loss softmax", option);
	snprintf(misfit->detail, sizeof(misfit->detail), "The loss is %s, which auto stands for above %d items.",
			 loss_names[config->loss], SOFTMAX_ITEMS_MAX);
	snprintf(misfit->hint, sizeof(misfit->hint), "Set \"loss\" to \"softmax\", or leave \"%s\" out.", option);
	return true;
}

static bool
lacks_gate(const FmoeConfig *config, FmoeMisfit *misfit)
{
	if (config->gate_loss <= 0 || config->gate != FMOE_GATE_EQUAL)
		return false;
	snprintf(misfit->message, sizeof(misfit->message), "option \"gate_loss\" needs a gate that learns");
	snprintf(misfit->detail, sizeof(misfit->detail), "With the gate equal the weights are given.");
	snprintf(misfit->hint, sizeof(misfit->hint), "Set \"gate\" to \"user\" or \"batch\", or leave \"gate_loss\" out.");
	return true;
}

bool
fmoe_config_fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	memset(misfit, 0, sizeof(*misfit));
	if (not_even(config, misfit))
		return false;
	return fmoe_gated_count(config) == 0 ||
		!(lacks_softmax(config, "gate_loss", config->gate_loss > 0, misfit) ||
		  lacks_softmax(config, "count_experts", config->count_experts, misfit) ||
		  lacks_softmax(config, "item_graph", config->item_graph, misfit) ||
		  lacks_gate(config, misfit));
}

void
fmoe_config_settle(FmoeConfig *config, int32_t n_items)
{
	if (config->loss == FMOE_LOSS_AUTO)
		config->loss = n_items <= SOFTMAX_ITEMS_MAX ? FMOE_LOSS_SOFTMAX : FMOE_LOSS_GBCE;
}

void
fmoe_config_resolve(FmoeConfig *config, const FnnHost *host, int32_t n_items)
{
	FmoeMisfit	misfit;

	fmoe_config_settle(config, n_items);
	if (!fmoe_config_fits(config, &misfit))
		fnn_fail(host, FNN_INVALID, "%s", misfit.message);
}

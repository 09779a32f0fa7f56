/*
 * class.c
 *	  FMoE-CDSR (arXiv 2503.13254): an own expert, experts that other databases
 *	  lent, and a gate that weighs them for each history.
 *
 * One item table [n_items, sum of widths] serves all members.  Member i reads items
 * by its own columns E_i, turns a history into a state z_i, and scores item v by
 * z_i . E_i[v].  Member 0 is the own expert; it learns as it would alone.  The
 * others are lent: their encoders are frozen, and around each of them this domain
 * trains what knows its items, which are E_i, positions, the norm of the input
 * and, if asked for, low-rank adapters of the encoder's matrices.
 *
 *		gate   g = softmax(network(mean of [z_0 | z_1 | ...] over the history))
 *		score  of v = sum over i of g_i (z_i . E_i[v])
 *
 * The score is one product of [g_0 z_0 | g_1 z_1 | ...] with row v of the table, so
 * a mixture is stored, scanned and served like every other expert.
 *
 * Each member learns from its own loss.  The gate learns from the loss of the
 * mixed scores, in which states and item vectors are constants: no expert learns
 * to make up for what the others lack, and a poor one costs nothing but its weight.
 *
 * With gate linear there is no network: every member learns by its own loss alone, and
 * afterwards they are weighed, with all experts that count, by numbers that events which
 * were kept back tell (serve/gate.c, train/gate.c).
 *
 * A network learns from the same events as the experts, so it prefers an expert
 * that knows these by heart.  Therefore its logits are calibrated by events that
 * are kept back (calibrate.c).
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
#include "model/fmoe/fmoe.h"

_Static_assert(sizeof(FmoeMixtureOptions) <= FMOE_OWN_OPTIONS_BYTES,
			   "the options of a mixture must fit FmoeConfig.own");
_Static_assert(FMOE_GATED_MAX <= FMOE_PARTS_MAX, "the experts of a mixture are parts of its scores");

static unsigned
reads(const FmoeConfig *config)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);

	return fmoe_featured_reads(&own->featured) | (own->item_graph || own->count_experts ? FMOE_READS_COUNTS : 0) |
		(own->count_experts ? FMOE_WEIGHS_COUNTS : 0);
}

static bool
computes(const FmoeConfig *config)
{
	return fmoe_mixture_own(config)->featured.features;
}

static bool
learns(const FmoeConfig *config)
{
	return true;
}

static const char *const *
unused(const FmoeConfig *config)
{
	return fmoe_encoder_unused(fmoe_mixture_own(config)->encoder);
}

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	return fmoe_prepare_featured(expert, arena, data, expert->config->loss == FMOE_LOSS_SOFTMAX);
}

static bool
gated(const FmoeConfig *config)
{
	return fmoe_mixture_own(config)->gate == FMOE_GATE_LINEAR;
}

static void
part_columns(const FmoeConfig *config, int64_t *begin)
{
	begin[0] = 0;
	for (int i = 0; i < fmoe_mixture_members(config); i++)
		begin[i + 1] = begin[i] + fmoe_mixture_shape(config, i).width;
}

static bool
lends(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_mixture_shape(config, 0);
	return true;
}

static FmoeLentList *
borrows(FmoeConfig *config)
{
	return &((FmoeMixtureOptions *) config->own.bytes)->experts;
}

static void
borrowed_prefix(int i, char *prefix)
{
	fmoe_mixture_prefix(1 + i, prefix);
}

static const char *
gate_prior(const FmoeConfig *config)
{
	return gated(config) ? fmoe_mixture_own(config)->gate_prior : NULL;
}

static int
rounds(const FmoeConfig *config, int *local_epochs)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(config);

	*local_epochs = own->local_epochs;
	return own->rounds;
}

static int64_t
step_width(const FmoeConfig *config)
{
	return computes(config) && config->loss == FMOE_LOSS_SOFTMAX ? fmoe_mixture_item_width(config) : 0;
}

const FmoeExpertClass fmoe_mixture_class = {
	.name = "fmoe",
	.summary = "own and lent experts and those that count, weighed by a gate",
	.gated = gated,
	.options = fmoe_mixture_options,
	.unused = unused,
	.fits = fmoe_mixture_fits,
	.reads = reads,
	.declare = fmoe_mixture_declare,
	.bytes = fmoe_mixture_bytes,
	.multiplications = fmoe_mixture_multiplications,
	.encode = fmoe_mixture_encode,
	.computes = computes,
	.learns = learns,
	.items = fmoe_mixture_items,
	.prepare = prepare,
	.terms = fmoe_mixture_terms,
	.learn = fmoe_mixture_learn,
	.step_width = step_width,
	.step_items = fmoe_mixture_step_items,
	.losses = fmoe_mixture_losses,
	.start = fmoe_mixture_start,
	.settle = fmoe_mixture_settle,
	.part_count = fmoe_mixture_gated,
	.part_name = fmoe_mixture_gated_name,
	.part_columns = part_columns,
	.weigh = fmoe_mixture_weigh,
	.contribute = fmoe_mixture_contribute,
	.lends = lends,
	.borrows = borrows,
	.borrowed_prefix = borrowed_prefix,
	.gate_prior = gate_prior,
	.draws_baskets = fmoe_mixture_draws_baskets,
	.rounds = rounds
};

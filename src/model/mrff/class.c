/*
 * class.c
 *	  The class mrff: its hooks.
 */
#include "model/mrff/mrff.h"

#include <math.h>
#include <string.h>

static const char *const losses[] = {"clicks", "balance", NULL};

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	FmoeMrffPass pass;

	fmoe_mrff_run(expert, tape, batch, &pass);
	return which == FMOE_LAST_TOKENS ? fnn_rows(tape, pass.state, batch->last, batch->sequences.count) : pass.state;
}

static double
multiplications(const FmoeConfig *config, double n_scored)
{
	/* six categories, as the number of columns is not known here */
	double		width = 6.0 * config->width;

	return 8.0 * config->layers * width * width + 2 * width * FMOE_MRFF_HEAD;
}

static int
group_of(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int max, int32_t *group)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeBatch	one = fmoe_batch_part(arena, batch, sequence, 1);
	FmoeMrffPass pass;
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	fmoe_mrff_run(expert, &tape, &one, &pass);
	for (int block = 0; block < expert->config->layers && block < max; block++)
		group[block] = pass.group[block][one.n_tokens - 1];
	fnn_arena_reset(arena, mark);
	return expert->config->layers;
}

static int
groups(const FmoeConfig *config)
{
	return fmoe_mrff_own(config)->groups;
}

static int64_t
private_columns(const FmoeExpert *expert)
{
	FmoeMrffLayout layout;

	fmoe_mrff_layout_of(expert, &layout);
	return layout.private_columns;
}

/* ---------------------------------------------------------------- what follows from the data */

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	FmoeClickRates *rates = fnn_alloc(arena, sizeof(FmoeClickRates));

	*rates = fmoe_click_rates(arena, data, (FmoeHoldout) expert->config->holdout, true);
	return rates;
}

/* The rates begin as the best that was counted: the user's rate, and the odds of one category. */
static void
start_rates(FmoeExpert *expert, const FmoeMrffLayout *layout, const FmoeClickRates *rates)
{
	fnn_real   *share = fmoe_parameter(expert, layout->rates + 1)->value;
	fnn_real   *weight = fmoe_parameter(expert, layout->rates)->value;
	bool		drawn = weight[0] == 0;

	if (rates != NULL)
	{
		share[0] = (fnn_real) log(rates->share / (1 - rates->share));
		share[1] = (fnn_real) rates->pull;
	}
	/* else they are another version's, with which a training begins */
	if (!drawn)
		return;
	weight[0] = 1;
	memset(fmoe_parameter(expert, layout->head + 2)->value, 0, sizeof(fnn_real) * FMOE_MRFF_HEAD);
	fmoe_parameter(expert, layout->head + 3)->value[0] = 0;
	for (int i = 0; i < layout->n_item_features && rates != NULL; i++)
		for (int64_t v = 0; layout->item_feature[i] == rates->column && v < rates->width; v++)
			fmoe_parameter(expert, layout->odds + i)->value[v] = (fnn_real) rates->odds[v];
}

/*
 * A user's own maps begin as 0, so that who has none is served by the public model.
 */
static void
start(FmoeExpert *expert, const FnnHost *host)
{
	FmoeMrffLayout layout;

	fmoe_mrff_layout_of(expert, &layout);
	if (layout.rates >= 0)
		start_rates(expert, &layout, expert->prepared);
	if (layout.private_rows >= 0)
	{
		FnnTensor  *table = fmoe_parameter(expert, layout.private_rows);

		for (int64_t user = 0; user < table->rows; user++)
		{
			for (int block = 0; block < expert->config->layers; block++)
				memset(table->value + user * table->cols + block * layout.map + layout.map / 2, 0,
					   sizeof(fnn_real) * (size_t) (layout.map / 2));
			if (user % 1000 == 0)
				fnn_poll(host);
		}
	}
}

static const FmoeFederated *
federated(const FmoeConfig *config)
{
	return &fmoe_mrff_own(config)->federated;
}

static int
rounds(const FmoeConfig *config, int *local_epochs)
{
	return fmoe_federated_rounds(federated(config), local_epochs);
}

const FmoeExpertClass fmoe_mrff_class = {
	.name = "mrff",
	.summary = "whether an impression is clicked, by public maps, those of groups and those of single users",
	.options = fmoe_mrff_options,
	.defaults = fmoe_mrff_defaults,
	.judged_by = FMOE_BY_CLICKS,
	.unused = fmoe_mrff_unused,
	.fits = fmoe_mrff_fits,
	.reads = fmoe_mrff_reads,
	.declare = fmoe_mrff_declare,
	.bytes = fmoe_mrff_bytes,
	.multiplications = multiplications,
	.encode = encode,
	.items = fmoe_mrff_items,
	.score = fmoe_mrff_score,
	.foresee = fmoe_mrff_foresee,
	.group_of = group_of,
	.groups = groups,
	.private_columns = private_columns,
	.learn = fmoe_mrff_learn,
	.losses = losses,
	.prepare = prepare,
	.start = start,
	.federated = federated,
	.rounds = rounds
};

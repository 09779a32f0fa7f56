/*
 * blend.c
 *	  What counting knows that an encoder does not.
 *
 * An encoder generalises; where the data are few it loses single strong habits
 * ("after this shampoo, that conditioner") that a table of transitions has.  So
 * the main expert's score of an item that followed the history's last item in
 * training is raised by
 *
 *		blend * log(1 + count * CERTAIN / (row sum + CERTAIN))
 *
 * which grows with the evidence and, for rows with much of it, depends on the
 * transition's share alone.  Items that never followed keep their score, so
 * only one sparse row is touched a history.  How much, is tried out on the
 * events kept back for validation; 0 leaves the encoder alone.
 *
 * A mixture with count experts raises the same row by what its gate gives to
 * transitions instead (mixture_learn.c has the terms).
 */
#include "mixture.h"

#include <math.h>

#define CERTAIN 20.0			/* transitions out of an item at which its row counts half */
#define CASES_MAX 5000			/* users the weight is tried on */
#define CUTOFF 10

/* Without events kept back nothing can be tried: the smallest weight that helped on every data set measured. */
#define UNTRIED 0.5

static const double weights[] = {0, 0.25, 0.5, 1, 2, 4};

#define WEIGHTS ((int) (sizeof(weights) / sizeof(weights[0])))

/*
 * The largest weight that comes this near to the best is taken: an encoder's
 * order of two items that often follow together is a matter of chance, and
 * what was counted is not.
 */
#define NEAR_BEST 0.99

FmoeRaised
fmoe_raised(const FmoeModel *model, int32_t last, const fnn_real *hidden)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeRaised	raised = {.blend = model->config.blend > 0 ? model->config.blend : 0};

	if (fmoe_gated_count(&main->config) > 0 && main->config.count_experts)
	{
		raised.table = &main->tensor[0];
		raised.share = fmoe_item_width(&main->config) - FMOE_COUNT_COLUMNS;
		/* there the state holds what the mixture weighs transitions by */
		raised.gate = hidden[raised.share + 1];
	}
	if (raised.blend > 0)
		raised.row = fmoe_transitions(&model->expert[FMOE_MARKOV], last);
	else if (raised.gate > 0)
		raised.row = fmoe_transitions(main->markov, last);
	return raised;
}

double
fmoe_raised_by(const FmoeRaised *raised, int64_t k)
{
	const FmoeTransitions *row = &raised->row;
	double		by = 0;

	if (raised->blend > 0)
		by = raised->blend * log1p(row->count[k] * CERTAIN / (row->sum + CERTAIN));
	if (raised->gate > 0)
		by += raised->gate * fmoe_count_term(row->count[k],
											 raised->table->value[row->to[k] * raised->table->cols + raised->share]);
	return by;
}

double
fmoe_blend_choose(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeCases  *cases = fmoe_cases(arena, data, FMOE_SPLIT_VALIDATION, (FmoeHoldout) model->config.holdout, 0,
								   CASES_MAX, (uint64_t) model->config.seed);
	int32_t    *rank = fnn_alloc(arena, sizeof(int32_t) * cases->count);
	FmoeModel  *tried = fnn_alloc(arena, sizeof(FmoeModel));
	FmoeProtocol protocol = {.exclude_seen = true};
	/* a mixture with count experts has its own weight for them */
	bool		gated = fmoe_gated_count(&model->config) > 0 && model->config.count_experts;
	int			weights_tried = gated ? 1 : WEIGHTS;
	double		metric[WEIGHTS];
	double		best = 0;
	double		chosen = gated ? 0 : UNTRIED;
	int			i;

	*tried = *model;
	for (i = 0; cases->count > 0 && i < weights_tried; i++)
	{
		tried->config.blend = weights[i];
		fmoe_rank_cases(tried, FMOE_MAIN, arena, data, cases, &protocol, 0, cases->count, rank, NULL);
		metric[i] = fmoe_mean_metric(fnn_ndcg, CUTOFF, rank, cases->count);
		if (metric[i] > best)
			best = metric[i];
	}
	for (i = 0; cases->count > 0 && i < weights_tried; i++)
	{
		if (metric[i] >= NEAR_BEST * best)
			chosen = weights[i];
	}
	fnn_arena_reset(arena, mark);
	return chosen;
}

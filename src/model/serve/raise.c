/*
 * raise.c
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
#include "model/fmoe/layout.h"
#include "model/serve/raise.h"

#include <math.h>

#define CERTAIN 20.0			/* transitions out of an item at which its row counts half */

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

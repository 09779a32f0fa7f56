/*
 * optimism.c
 *	  By how much what is kept looks better on validation than it is.
 *
 * The epoch is chosen by the cases that a new version is judged by afterwards, the best of
 * many, so its figure has their luck in it.  Each half of the cases (fmoe_quarter) is
 * therefore told what it would be after the epoch that the other half chooses, by the
 * same rule: that half had no part in the choice (cross-validation of the choice:
 * Varma & Simon 2006).  The optimism is the figure of all cases after the epoch that
 * is kept, less that.
 */
#include "model/evaluate/evaluate.h"
#include "model/train/train_private.h"

#define CUTOFF 10

/* What each half adds to the mean NDCG@10 of all cases. */
static void
shares_of_halves(const FmoeTrainer *trainer, double share[2])
{
	const FmoeCases *cases = trainer->cases;

	share[0] = share[1] = 0;
	for (int64_t c = 0; c < cases->count; c++)
	{
		int64_t		first = cases->first[c];

		share[fmoe_quarter(&trainer->model, cases, c) % 2] +=
			fmoe_metric(FMOE_NDCG, CUTOFF, trainer->rank + first, cases->first[c + 1] - first) / (double) cases->count;
	}
}

void
fmoe_note_halves(FmoeTrainer *trainer, bool best)
{
	FmoeTrainState *state = trainer->state;
	int32_t		epochs = fmoe_attempt_epochs(state);
	int32_t		n = epochs < FMOE_EPOCHS_JUDGED ? epochs : FMOE_EPOCHS_JUDGED;
	double		now[2];

	if (trainer->cases == NULL || trainer->cases->count == 0)
		return;
	shares_of_halves(trainer, now);
	for (int half = 0; half < 2; half++)
	{
		double		sum = 0;

		state->half[half][state->epoch % FMOE_EPOCHS_JUDGED] = now[half];
		for (int32_t i = 0; i < n; i++)
			sum += state->half[half][(state->epoch - i) % FMOE_EPOCHS_JUDGED];
		if (epochs == 1 || sum / n > state->half_chosen[half])
		{
			state->half_chosen[half] = sum / n;
			state->half_told[1 - half] = now[1 - half];
		}
		if (best)
			state->half_kept[half] = now[half];
	}
	state->optimism[state->attempt] = state->half_kept[0] + state->half_kept[1] -
		state->half_told[0] - state->half_told[1];
}

double
fmoe_optimism(const FmoeModel *model, const FmoeTrainState *state)
{
	double		optimism = state->optimism[state->won];
	bool		weighs = !fmoe_has_gate(model);

	/* under a gate no more than that of its parts, and nothing of theirs where they weigh nothing */
	for (int p = 0; p < model->gate.parts && !weighs; p++)
		for (int fold = 0; fold < 2; fold++)
			weighs = weighs || model->gate.fold_weight[fold][fmoe_weighed_part(p)] != 0;
	return weighs && optimism > 0 ? optimism : 0;
}

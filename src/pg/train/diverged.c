/*
 * diverged.c
 *	  Around the epochs of a training: the seed of its noise before them, and whether it diverged after each.
 *
 * One that diverged has no weights worth keeping, and its last checkpoint would lead there again.
 */
#include "postgres.h"

#include <math.h>

#include "pg/train/train.h"

void
fmoe_check_learning(FmoeTrainer *trainer, const char *domain)
{
	const FmoeTrainState *state = fmoe_trainer_state(trainer);
	size_t		bytes;
	const fnn_real *value = fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes);

	if (isfinite(state->loss) && fnn_all_finite(value, bytes / sizeof(fnn_real)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 domain != NULL
			 ? errmsg("training of domain \"%s\" diverged in epoch %d", domain, state->epoch)
			 : errmsg("training diverged in epoch %d", state->epoch),
			 errhint("Lower the option \"learning_rate\" or set \"clip_norm\".")));
}

void
fmoe_draw_secret(FmoeTrainer *trainer)
{
	FmoeTrainState *state = fmoe_trainer_state(trainer);

	if (!pg_strong_random(&state->secret, sizeof(state->secret)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
}

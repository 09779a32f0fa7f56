/*
 * diverged.c
 *	  Stops a training that diverged.
 *
 * It has no weights worth keeping, and its last checkpoint would lead there again.
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

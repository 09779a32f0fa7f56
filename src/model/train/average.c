/*
 * average.c
 *	  A mean of the weights over the epochs, kept beside those that are trained.
 *
 * Where data are few, the weights of an epoch are one point of a walk around what
 * can be learned, and which one is kept is chance.  Their mean is not: it is what is
 * judged, kept and served, while the training goes on from the weights themselves,
 * which do not know that a mean is taken.
 *
 * The mean after epoch t counts epoch i by about (i / t)^TAIL (polynomial-decay
 * averaging: Shamir & Zhang 2013, section 4), so that it forgets the beginning at
 * any length of a run, and after epoch 1 it is that epoch.  It needs no more memory
 * than itself, and nothing of it but the number of the epoch.
 *
 * It is taken once an epoch over all values, so slices whose rows move only when
 * they are touched are averaged like all others.  What is frozen is not averaged:
 * it may be replaced between rounds by what was lent anew, and a mean of two
 * encoders that nobody trained together is none.
 */
#include "model/train/train_private.h"

#include <string.h>

#define TAIL 3

#define GROUP_REALS (INT64_C(1) << 20)	/* between polls */

/* Moves the mean of reals from .. to - 1 of the block towards the values by a share. */
static void
move(FmoeTrainer *trainer, size_t from, size_t to, fnn_real share)
{
	fnn_real   *mean = trainer->average;
	const fnn_real *value = trainer->values;

	for (size_t i = from; i < to; i++)
		mean[i] += share * (value[i] - mean[i]);
}

/* The reals from .. to - 1 of one slice, in groups. */
static void
average_slice(FmoeTrainer *trainer, const FnnParam *param, size_t from, size_t to, fnn_real share)
{
	while (from < to)
	{
		size_t		end = to - from < GROUP_REALS ? to : from + GROUP_REALS;

		if (param->frozen || share >= 1)
			memcpy(trainer->average + from, trainer->values + from, (end - from) * sizeof(fnn_real));
		else
			move(trainer, from, end, share);
		from = end;
		fnn_poll(trainer->host);
	}
}

void
fmoe_average(FmoeTrainer *trainer, const FmoeTeam *team, int32_t epoch)
{
	const FnnParams *params = &trainer->plan.params;
	size_t		share_size = fmoe_learned_reals(&trainer->plan) / team->size;
	size_t		first = trainer->plan.learned_from + share_size * team->rank;
	size_t		last = team->rank + 1 < team->size ? first + share_size : params->size;
	fnn_real	share = (fnn_real) ((TAIL + 1.0) / (epoch + TAIL));

	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		size_t		from = param->offset;
		size_t		to = from + (size_t) (param->rows * param->cols);

		average_slice(trainer, param, from > first ? from : first, to < last ? to : last, share);
	}
}

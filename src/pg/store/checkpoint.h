/*
 * checkpoint.h
 *	  Unfinished trainings, kept to be resumed.
 */
#ifndef FMOE_PG_STORE_CHECKPOINT_H
#define FMOE_PG_STORE_CHECKPOINT_H

#include "pg/base/base.h"
#include "model/model.h"

typedef enum FmoeResume
{
	FMOE_RESUME_NONE,			/* there is no unfinished training */
	FMOE_RESUME_READY,			/* the trainer holds it now */
	FMOE_RESUME_OTHER_DATA,		/* the interactions have changed */
	FMOE_RESUME_OTHER_CONFIG,	/* other options were given */
	FMOE_RESUME_DAMAGED			/* what is stored is incomplete, altered, or of another shape */
} FmoeResume;

/*
 * These need an active snapshot.  config has the options that the weights
 * depend on, fingerprint is that of the interactions, saved_epoch the epoch of
 * the checkpoint before (0: there is none).
 */
extern FmoeResume fmoe_checkpoint_load(int64 domain_id, Jsonb *config, uint64 fingerprint,
									   FmoeTrainer *trainer, double *seconds);
extern void fmoe_checkpoint_save(int64 domain_id, Jsonb *config, uint64 fingerprint, int epochs,
								 FmoeTrainer *trainer, int saved_epoch, double seconds);
extern void fmoe_checkpoint_discard(int64 domain_id);
/* Gives the space of checkpoints back to the system when there are none and nobody is about to write one. */
extern void fmoe_checkpoint_give_back(void);

#endif							/* FMOE_PG_STORE_CHECKPOINT_H */

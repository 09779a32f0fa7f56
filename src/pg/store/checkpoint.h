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
 * All three need an active snapshot.  config has the options that the weights
 * depend on, fingerprint is that of the interactions.
 */
extern FmoeResume fmoe_checkpoint_load(int64 domain_id, Jsonb *config, uint64 fingerprint,
									   FmoeTrainer *trainer, double *seconds);
extern void fmoe_checkpoint_save(int64 domain_id, Jsonb *config, uint64 fingerprint, int epochs,
								 FmoeTrainer *trainer, double seconds);
extern void fmoe_checkpoint_discard(int64 domain_id);

#endif							/* FMOE_PG_STORE_CHECKPOINT_H */

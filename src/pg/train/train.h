/*
 * train.h
 *	  The processes of a training, and what others see of it.
 */
#ifndef FMOE_PG_TRAIN_TRAIN_H
#define FMOE_PG_TRAIN_TRAIN_H

#include "pg/ingest/ingest.h"
#include "pg/lend/lend.h"

/* ---------------------------------------------------------------- training together */

/* The processes that train, and the memory they share. */
typedef struct FmoeCrew FmoeCrew;

/* How many workers a training will ask for. */
extern int	fmoe_crew_workers(const FmoeConfig *config, const FmoeDataset *data);
/* Bytes of the segment in which workers find everything. */
extern size_t fmoe_crew_bytes(const FmoeDataset *data, size_t shared_bytes);
/*
 * Makes a crew in the current context and copies the dataset into its segment.  It
 * must be dismissed.  config is not copied; shared_bytes: fmoe_trainer_shared_bytes.
 */
extern FmoeCrew *fmoe_crew(const FmoeConfig *config, const FmoeDataset *data, size_t shared_bytes,
						   const FnnHost *host);
/* The caller's trainer, over the shared block. */
extern FmoeTrainer *fmoe_crew_trainer(FmoeCrew *crew, FnnArena *arena);
/* Trains one epoch with the workers that can be had; alone: the team for an epoch without any. */
extern void fmoe_crew_epoch(FmoeCrew *crew, FmoeTrainer *trainer, const FmoeTeam *alone);
/* Gives the segment back. */
extern void fmoe_crew_dismiss(FmoeCrew *crew);

/* ---------------------------------------------------------------- learning */

/* Draws the seed of a run's noise, which nobody must know, and is no option therefore. */
extern void fmoe_draw_secret(FmoeTrainer *trainer);
/* Fails when an epoch left a loss or weights that are not finite.  domain: the name for the message; NULL: none. */
extern void fmoe_check_learning(FmoeTrainer *trainer, const char *domain);

/* ---------------------------------------------------------------- progress */

/* Writes into this backend's slot of shared memory; visible in fmoe.progress at once. */
extern void fmoe_progress_start(int64 domain_id, const char *phase, const FmoeConfig *config);
extern void fmoe_progress_phase(const char *phase);
extern void fmoe_progress_epoch(const FmoeTrainState *state);
extern void fmoe_progress_batch(int64 batch, int64 batches, double loss, double eta_seconds);
/* done of all blocks of cases are ranked; the training's loss stays. */
extern void fmoe_progress_evaluation(int64 done, int64 all, double eta_seconds);
extern void fmoe_progress_end(void);

#endif							/* FMOE_PG_TRAIN_TRAIN_H */

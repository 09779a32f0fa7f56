/*
 * train.h
 *	  A training: the processes, what they borrow, what others see of it.
 */
#ifndef FMOE_PG_TRAIN_TRAIN_H
#define FMOE_PG_TRAIN_TRAIN_H

#include "pg/ingest/ingest.h"
#include "pg/lend/lend.h"

/* ---------------------------------------------------------------- training together */

/* The processes that train, and the memory they share. */
typedef struct FmoeCrew FmoeCrew;

/* Workers that a training will ask for. */
extern int	fmoe_crew_workers(const FmoeConfig *config, const FmoeDataset *data);
/* Bytes of the segment in which workers find everything. */
extern size_t fmoe_crew_bytes(const FmoeDataset *data, size_t shared_bytes);
/* In the current context; to be dismissed by hand.  config stays; shared_bytes: fmoe_trainer_shared_bytes. */
extern FmoeCrew *fmoe_crew(const FmoeConfig *config, const FmoeDataset *data, size_t shared_bytes,
						   const FnnHost *host);
/* The caller's trainer, over the shared block. */
extern FmoeTrainer *fmoe_crew_trainer(FmoeCrew *crew, FnnArena *arena);
/* One epoch by whoever can be had; alone is the team without workers. */
extern void fmoe_crew_epoch(FmoeCrew *crew, FmoeTrainer *trainer, const FmoeTeam *alone);
extern void fmoe_crew_dismiss(FmoeCrew *crew);

/* ---------------------------------------------------------------- learning */

/* An error when the epoch left a loss or weights that are not finite.  domain: its name, NULL: none. */
extern void fmoe_check_learning(FmoeTrainer *trainer, const char *domain);

/* ---------------------------------------------------------------- progress */

/* Writes into this backend's slot of shared memory; visible in fmoe.progress at once. */
extern void fmoe_progress_start(int64 domain_id, const char *phase, const FmoeConfig *config);
extern void fmoe_progress_phase(const char *phase);
extern void fmoe_progress_epoch(const FmoeTrainState *state);
extern void fmoe_progress_batch(int64 batch, int64 batches, double loss, double eta_seconds);
extern void fmoe_progress_end(void);

#endif							/* FMOE_PG_TRAIN_TRAIN_H */

/*
 * train.h
 *	  Training by a team of processes over one shared block.
 */
#ifndef FMOE_MODEL_TRAIN_TRAIN_H
#define FMOE_MODEL_TRAIN_TRAIN_H

#include "model/serve/serve.h"

/*
 * The processes that train together.  Every member runs the same functions
 * with the same arguments; rank 0 is the leader.  barrier returns when all
 * have come to it, and makes their writes visible.
 */
typedef struct FmoeTeam
{
	int			rank;
	int			size;
	void	   *context;
	void		(*barrier) (void *context); /* NULL when size is 1 */
	/* leader only, after each step; may be NULL */
	void		(*progress) (void *context, int64_t batch, int64_t batches, double loss);
} FmoeTeam;

/*
 * A batch is always cut into this many virtual shards, each with its own
 * random stream and gradient slot, summed in order: the weights do not depend
 * on how many processes computed them.
 */
#define FMOE_SHARDS 4

/* What a run knows besides its weights; fixed size, part of every checkpoint. */
typedef struct FmoeTrainState
{
	int64_t		step;			/* optimiser steps done */
	int32_t		epoch;			/* epochs done */
	int32_t		best_epoch;		/* 0: none yet */
	int32_t		stale_epochs;	/* since the best one */
	int32_t		finished;		/* 1: epochs or patience used up */
	double		loss;			/* mean over the last epoch's positions */
	double		metric;			/* validation NDCG@10 after the last epoch; NaN without validation */
	double		best_metric;
	double		losses[FMOE_LOSSES_MAX];	/* parts of loss, as the class names them */
} FmoeTrainState;

typedef struct FmoeTrainer FmoeTrainer;

/*
 * Bytes of the block that all members share (values, moments, best values,
 * gradient slots, state), and of what each member keeps privately for a step
 * (an upper estimate from the longest batch).
 */
extern size_t fmoe_trainer_shared_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
extern size_t fmoe_trainer_private_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
/* Floating-point operations of an epoch's products, forward and backward: a guess, from above. */
extern double fmoe_epoch_operations(const FmoeConfig *config, const FmoeDataset *data);
/* A member's view of a run over the shared block (aligned to FNN_ALIGN). */
extern FmoeTrainer *fmoe_trainer_attach(FnnArena *arena, const FmoeConfig *config,
										const FmoeDataset *data, void *shared);
/* Leader, once a run: fresh weights from the seed, empty moments, state zero. */
extern void fmoe_trainer_start(FmoeTrainer *trainer);
/* One epoch and its validation; state then says whether the run is finished. */
extern void fmoe_trainer_epoch(FmoeTrainer *trainer, const FmoeTeam *team);
extern FmoeTrainState *fmoe_trainer_state(FmoeTrainer *trainer);

/* The run's blocks, for checkpoints: together with the state they are the whole run. */
typedef enum FmoeTrainBlock
{
	FMOE_BLOCK_VALUES,
	FMOE_BLOCK_MOMENT1,
	FMOE_BLOCK_MOMENT2,
	FMOE_BLOCK_BEST,			/* the values after best_epoch */
	FMOE_BLOCK_LAST_STEP,		/* of sparse slices; 0 bytes without any */
	FMOE_BLOCKS
} FmoeTrainBlock;

extern void *fmoe_trainer_block(FmoeTrainer *trainer, FmoeTrainBlock block, size_t *bytes);
/*
 * Copies values whose name and shape agree into the run (warm start, lent
 * encoders); of tables of positions the rows that both have.  Returns how many.
 */
extern int	fmoe_trainer_adopt(FmoeTrainer *trainer, int n_arrays, const FnnArray *arrays);
/*
 * The same for the encoder of the lent expert number i among those that the
 * model borrows, or with i -1 for its own encoder; changes the arrays' names.
 */
extern int	fmoe_trainer_adopt_lent(FmoeTrainer *trainer, int i, int n_arrays, FnnArray *arrays);
/* The current values as arrays by name, in place; fills out[at most max], returns their number. */
extern int	fmoe_trainer_arrays(const FmoeTrainer *trainer, FnnArray *out, int max);
extern int	fmoe_trainer_arrays_max(const FmoeTrainer *trainer);
/* The layout of its parameters. */
extern const FnnParams *fmoe_trainer_params(const FmoeTrainer *trainer);
/* The model with the best values (the last, without validation) and fresh count experts, on the arena. */
extern void fmoe_trainer_model(FmoeTrainer *trainer, FmoeModel *model);

#endif							/* FMOE_MODEL_TRAIN_TRAIN_H */

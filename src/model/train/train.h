/*
 * train.h
 *	  Training by a team of processes over one shared block.
 */
#ifndef FMOE_MODEL_TRAIN_TRAIN_H
#define FMOE_MODEL_TRAIN_TRAIN_H

#include "model/serve/serve.h"

/*
 * The processes that train together.  Every member calls the same functions with
 * the same arguments; rank 0 is the leader.
 */
typedef struct FmoeTeam
{
	int			rank;
	int			size;
	void	   *context;
	/* returns when all members have called it, and makes their writes visible; NULL when size is 1 */
	void		(*barrier) (void *context);
	/* called by the leader after each step; may be NULL */
	void		(*progress) (void *context, int64_t batch, int64_t batches, double loss);
} FmoeTeam;

/*
 * A batch is always cut into this many virtual shards, each with its own
 * random stream and gradient slot, summed in order: the weights do not depend
 * on how many processes computed them.
 */
#define FMOE_SHARDS 4

/* Epochs over whose validation a mean is taken, by which the best one is chosen: a single one is chance. */
#define FMOE_EPOCHS_JUDGED 5

/* Why a run is finished. */
typedef enum FmoeFinish
{
	FMOE_UNFINISHED,
	FMOE_FINISHED,				/* epochs or patience used up */
	FMOE_SPENT					/* another round of users would tell more of one than its budget epsilon */
} FmoeFinish;

/* What a run knows besides its weights; fixed size, part of every checkpoint. */
typedef struct FmoeTrainState
{
	int64_t		step;			/* optimiser steps done */
	int32_t		epoch;			/* epochs done */
	int32_t		best_epoch;		/* 0: none yet */
	int32_t		stale_epochs;	/* since the best one */
	int32_t		finished;		/* FmoeFinish */
	int32_t		attempt;		/* what is being tried, from 0 */
	int32_t		first_epoch;	/* epochs done before it began */
	int32_t		won;			/* the attempt that the model is of; set by fmoe_trainer_model */
	int32_t		tried;			/* attempts that were compared then; 0: there was one, or nothing to compare by */
	double		loss;			/* mean over the last epoch's targets, by their weights */
	double		judged[FMOE_EPOCHS_JUDGED]; /* of validation, what the class is judged by, after epoch e, at place e %
											 * FMOE_EPOCHS_JUDGED */
	double		metric;			/* mean of those after the last epochs; NaN without validation */
	double		best_metric;
	double		half[2][FMOE_EPOCHS_JUDGED];	/* the same, of each half of the cases its part (optimism.c) */
	double		half_chosen[2]; /* mean of those when it is best for that half … */
	double		half_told[2];	/* … and what a half has after the epoch that is best for the other one */
	double		half_kept[2];	/* and after the best one of all */
	double		optimism[FMOE_ATTEMPTS_MAX];	/* of the choice of an epoch, in NDCG@10; of each attempt */
	double		losses[FMOE_LOSSES_MAX];	/* parts of loss, as the class names them */
	double		tried_metric[FMOE_ATTEMPTS_MAX];	/* validation NDCG@10 of each attempt's best values, same cases */
	double		tried_error;	/* standard error of the difference of the two, by cases */
	int32_t		tried_epoch[FMOE_ATTEMPTS_MAX]; /* the best one of each, counted from its first */
	int64_t		noised;			/* rounds of users that told something, with noise */
	double		epsilon;		/* of a user after those; 0: no round was noised */
	int64_t		exchanged;		/* how often what is shared was added up with that of other databases */
	uint64_t	secret;			/* seed of the noise and of who is sampled with it; the caller's to set */
} FmoeTrainState;

typedef struct FmoeTrainer FmoeTrainer;

/* Whether any user's events that train have a basket that follows another. */
extern bool fmoe_anything_to_learn(const FmoeDataset *data, const FmoeConfig *config);

/* Bytes of the block that all members share: values, moments, their mean, best values, gradient slots, state. */
extern size_t fmoe_trainer_shared_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
/* Bytes on the arena of each member: an upper estimate, from the longest batch. */
extern size_t fmoe_trainer_private_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
/* Floating-point operations of an epoch's products, forward and backward: a guess, from above. */
extern double fmoe_epoch_operations(const FmoeConfig *config, const FmoeDataset *data);
/* A member's view of a run, over the shared block, which is aligned to FNN_ALIGN. */
extern FmoeTrainer *fmoe_trainer_attach(FnnArena *arena, const FmoeConfig *config,
										const FmoeDataset *data, void *shared);
/* Starts a run, by the leader: fresh weights from the seed, moments and state zero. */
extern void fmoe_trainer_start(FmoeTrainer *trainer);
/* Trains one epoch and validates; the state then says whether the run is finished. */
extern void fmoe_trainer_epoch(FmoeTrainer *trainer, const FmoeTeam *team);
/* Epochs that a run has at most, of all that it tries. */
extern int	fmoe_trainer_epochs(const FmoeTrainer *trainer);
/* The state, in the shared block. */
extern FmoeTrainState *fmoe_trainer_state(FmoeTrainer *trainer);

/* The run's blocks: a checkpoint consists of them and the state. */
typedef enum FmoeTrainBlock
{
	FMOE_BLOCK_VALUES,
	FMOE_BLOCK_MOMENT1,
	FMOE_BLOCK_MOMENT2,
	FMOE_BLOCK_BEST,			/* the values that were judged after best_epoch */
	FMOE_BLOCK_LAST_STEP,		/* of sparse slices; 0 bytes without any */
	FMOE_BLOCK_AVERAGE,			/* the mean of the values after each epoch; 0 bytes where none is kept */
	FMOE_BLOCK_RIVAL,			/* the best values of the attempt before; 0 bytes where one thing is tried */
	FMOE_BLOCKS
} FmoeTrainBlock;

/* A block in place, and its size. */
extern void *fmoe_trainer_block(FmoeTrainer *trainer, FmoeTrainBlock block, size_t *bytes);
/*
 * Copies arrays into the parameters of the same name and shape, for a warm start or
 * lent encoders; of tables of positions the rows that both have.  Returns how many
 * were copied.
 */
extern int	fmoe_trainer_adopt(FmoeTrainer *trainer, int n_arrays, const FnnArray *arrays);
/*
 * Copies the arrays of a lent encoder into number i of those that the model
 * borrows, or with i -1 into its own encoder.  Changes the arrays' names.
 */
extern int	fmoe_trainer_adopt_lent(FmoeTrainer *trainer, int i, int n_arrays, FnnArray *arrays);
/*
 * The values that were judged after the last epoch, as arrays by name, in place:
 * fills at most max elements of out, returns their number.
 */
extern int	fmoe_trainer_arrays(const FmoeTrainer *trainer, FnnArray *out, int max);
/* Largest number of those arrays. */
extern int	fmoe_trainer_arrays_max(const FmoeTrainer *trainer);
/* The layout of the run's parameters. */
extern const FnnParams *fmoe_trainer_params(const FmoeTrainer *trainer);
/* The prior of a gate that ships with the extension. */
extern void fmoe_gate_prior(FmoeGatePrior *prior);
/*
 * Makes the finished model on the arena: the best values (without validation the last),
 * counts, and blend or a gate, which has the prior (NULL: the one that ships).
 */
extern void fmoe_trainer_model(FmoeTrainer *trainer, const FmoeGatePrior *prior, FmoeModel *model);
/*
 * By how much the finished model's NDCG@10 of the validation cases is to be expected too
 * high, because its epoch was chosen by these: at least 0.
 */
extern double fmoe_optimism(const FmoeModel *model, const FmoeTrainState *state);

#endif							/* FMOE_MODEL_TRAIN_TRAIN_H */

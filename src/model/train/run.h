/*
 * run.h
 *	  Inside of the training loop: shared by its files.
 *
 * layout.c knows what a run needs and where it lies, step.c does one optimiser
 * step, run.c the run around the steps.
 */
#ifndef FMOE_MODEL_TRAIN_RUN_H
#define FMOE_MODEL_TRAIN_RUN_H

#include "model/expert/expert.h"
#include "model/expert/markov.h"
#include "model/train/train.h"

/* What configuration and data decide: the same in every member. */
typedef struct FmoeTrainPlan
{
	FnnParams	params;
	int64_t		n_sequences;	/* users with a transition to learn from */
	int64_t		batches;		/* steps an epoch */
	int64_t		batch_tokens;	/* most that a batch can hold */
	int64_t		shard_tokens;	/* most that a shard can hold */
	int64_t		longest;		/* tokens of the longest sequence */
	int32_t		negatives;		/* of gbce, fewer than there are items */
	double		beta;			/* of gbce */
	int			n_sparse;		/* slices with a sparse gradient */
	int64_t		sparse_rows;	/* of all of them */
	size_t		dense_from;		/* first real of the gradient slots: what precedes are sparse slices */
	size_t		chunks;			/* FNN_REDUCE_CHUNK reals each; the last may be shorter */
	int64_t		n_cases;		/* validation */
	int64_t		cases_limit;	/* users validated at most */
	FmoeFacts	facts;			/* followers only where counts are read */
} FmoeTrainPlan;

/* A slice whose gradient goes by touched rows. */
typedef struct FmoeSparseSlice
{
	int			param;
	int64_t    *count;			/* [FMOE_SHARDS + 1] shared: rows touched in the step */
	int32_t    *last_step;		/* [rows] shared */
	void	   *memory[FMOE_SHARDS + 1];	/* shared */
	FnnSparse	shard[FMOE_SHARDS + 1]; /* heads over it, private; the last one is the sum */
} FmoeSparseSlice;

struct FmoeTrainer
{
	const FnnHost *host;
	FnnArena   *arena;
	FmoeConfig	config;
	const FmoeExpertClass *class;
	const FmoeDataset *data;
	FmoeTrainPlan plan;

	/* in the shared block */
	FmoeTrainState *state;
	fnn_real   *values;			/* [params.size], as the next three */
	fnn_real   *moment1;
	fnn_real   *moment2;
	fnn_real   *best;
	fnn_real   *slot[FMOE_SHARDS];	/* gradients; only reals dense_from .. size - 1 exist */
	double	   *shard_loss;		/* [FMOE_SHARDS] of the step */
	double	   *shard_losses;	/* [FMOE_SHARDS, FMOE_LOSSES_MAX] its parts */
	double	   *chunk_squares;	/* [chunks] of the step's gradient */
	double	   *sparse_squares; /* [1] */
	int32_t    *last_step;		/* [plan.sparse_rows] of all sparse slices */
	int32_t    *rank;			/* [n_cases] */
	int64_t    *claimed;		/* [1] parts of the work before a barrier that members have taken */

	/* private */
	FmoeSparseSlice *sparse;	/* [plan.n_sparse] */
	FnnSparse **bound;			/* [params.count] where the slices of the shard being computed have their gradients */
	FmoeExpert	expert;			/* bound to the slot of the shard being computed */
	FmoeModel	model;			/* bound to the current values; its counts only if the main expert reads them */
	FmoeCases  *cases;
	int64_t    *user;			/* [n_sequences] who has a transition */
	int64_t    *order;			/* [n_sequences] of this epoch, indexes of user */
};

/* One batch: sequences first .. first + count - 1 of the epoch's order. */
typedef struct FmoeTrainBatch
{
	int64_t		step;			/* from 1 */
	int64_t		first;
	int64_t		count;
	int64_t		positions;		/* with a target */
	int64_t		cut[FMOE_SHARDS + 1];	/* shard s is sequences first + cut[s] .. first + cut[s + 1] - 1 */
	double		learning_rate;
} FmoeTrainBatch;

static inline void
fmoe_barrier(const FmoeTeam *team)
{
	if (team->size > 1)
		team->barrier(team->context);
}

/*
 * The next part of the work before a barrier, from 0: whoever is free takes it,
 * so that a slow core holds up nobody longer than one part.  Behind the
 * barrier the leader begins anew.
 */
static inline int64_t
fmoe_claim(FmoeTrainer *trainer)
{
	return __atomic_fetch_add(trainer->claimed, 1, __ATOMIC_RELAXED);
}

static inline void
fmoe_claim_anew(FmoeTrainer *trainer, const FmoeTeam *team)
{
	if (team->rank == 0)
		__atomic_store_n(trainer->claimed, 0, __ATOMIC_RELAXED);
}

/* Whether the main expert reads what others counted. */
static inline bool
fmoe_needs_counts(const FmoeTrainer *trainer)
{
	return (fmoe_reads(trainer->class, &trainer->config) & FMOE_READS_COUNTS) != 0;
}

/* Events of a user's training sequence that are inputs: all but the last, the most recent max_length. */
extern int64_t fmoe_sequence_tokens(const FmoeConfig *config, const FmoeDataset *data, int64_t user);
/* Fills trainer->plan; leaves nothing on the arena. */
extern void fmoe_trainer_plan(FmoeTrainer *trainer);
/* Points into the shared block (NULL: only measures); returns its bytes. */
extern size_t fmoe_trainer_carve(FmoeTrainer *trainer, void *shared);

/* Clears this member's part of what steps accumulate into. */
extern void fmoe_step_prepare(FmoeTrainer *trainer, const FmoeTeam *team);
/* Sequences first .. of the epoch, cut into shards. */
extern void fmoe_step_cut(FmoeTrainer *trainer, int64_t batch_number, FmoeTrainBatch *batch);
/* One optimiser step by the whole team; returns the mean loss of the positions, and adds its parts to losses. */
extern double fmoe_step_run(FmoeTrainer *trainer, const FmoeTeam *team, const FmoeTrainBatch *batch,
							double losses[FMOE_LOSSES_MAX]);

/* Cases validated at a time: fixed, so that no product depends on who computes it. */
#define FMOE_VALIDATION_BLOCK 128
/* The weight that validation speaks for, of a model whose main expert is an encoder. */
extern double fmoe_blend_choose(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data);

#endif							/* FMOE_MODEL_TRAIN_RUN_H */

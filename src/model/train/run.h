/*
 * run.h
 *	  Inside of the training loop: shared by its files.
 *
 * layout.c knows what a run needs and where it lies, step.c does one optimiser
 * step, run.c the run around the steps.
 */
#ifndef FMOE_MODEL_TRAIN_RUN_H
#define FMOE_MODEL_TRAIN_RUN_H

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
	bool		sparse;			/* slice 0, the item table, has a sparse gradient */
	size_t		dense_from;		/* first real of the gradient slots: what precedes is sparse */
	size_t		chunks;			/* FNN_REDUCE_CHUNK reals each; the last may be shorter */
	int64_t		n_cases;		/* validation */
	int64_t		cases_limit;	/* users validated at most */
	FmoeFollowers followers;	/* of a mixture that reads counted transitions */
} FmoeTrainPlan;

struct FmoeTrainer
{
	const FnnHost *host;
	FnnArena   *arena;
	FmoeConfig	config;
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
	double	   *chunk_squares;	/* [chunks] of the step's gradient */
	double	   *sparse_squares; /* [1] */
	int64_t    *sparse_count;	/* [FMOE_SHARDS + 1] rows touched in the step */
	void	   *sparse_memory[FMOE_SHARDS + 1];
	int32_t    *last_step;		/* [n_items] of the sparse item table */
	int32_t    *rank;			/* [n_cases] */
	int64_t    *claimed;		/* [1] parts of the work before a barrier that members have taken */

	/* private: the sparse slots' heads, over shared memory; the last one is the sum */
	FnnSparse	sparse[FMOE_SHARDS + 1];
	FmoeExpert	expert;			/* bound to the slot of the shard being computed */
	FmoeModel	model;			/* bound to the current values; the count experts only if the main one uses them */
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

/* Whether the main expert reads what the count experts counted. */
static inline bool
fmoe_needs_counts(const FmoeConfig *config)
{
	return fmoe_gated_count(config) > 0 && (config->item_graph || config->count_experts);
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
/* One optimiser step by the whole team; returns the mean loss of the positions. */
extern double fmoe_step_run(FmoeTrainer *trainer, const FmoeTeam *team, const FmoeTrainBatch *batch);

/* Cases validated at a time: fixed, so that no product depends on who computes it. */
#define FMOE_VALIDATION_BLOCK 128
/* The weight that validation speaks for, of a model whose main expert is an encoder. */
extern double fmoe_blend_choose(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data);

#endif							/* FMOE_MODEL_TRAIN_RUN_H */

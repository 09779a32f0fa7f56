/*
 * train_private.h
 *	  Inside of the training loop: shared by its files.
 *
 * layout.c knows what a run needs and where it lies, step.c does one optimiser
 * step, step_items.c the item vectors that all its shards read, average.c the mean
 * of the weights, attempts.c what is tried one after another, run.c the run around
 * the steps.
 */
#ifndef FMOE_MODEL_TRAIN_TRAIN_PRIVATE_H
#define FMOE_MODEL_TRAIN_TRAIN_PRIVATE_H

#include "model/evaluate/evaluate.h"
#include "model/expert/expert.h"
#include "model/expert/markov.h"
#include "model/train/train.h"

/* What follows from configuration and data, and so is the same in every member. */
typedef struct FmoeTrainPlan
{
	FnnParams	params;
	int64_t		n_sequences;	/* users with a transition to learn from */
	int64_t		batches;		/* steps an epoch */
	int64_t		batch_tokens;	/* of the largest batch there can be */
	int64_t		shard_tokens;	/* of the largest shard there can be */
	int64_t		longest;		/* tokens of the longest sequence */
	int32_t		negatives;		/* of gbce: as configured, but fewer than there are items */
	double		beta;			/* of gbce */
	int			n_sparse;		/* slices with a sparse gradient */
	int64_t		sparse_rows;	/* of all of them */
	int			frozen;			/* slices that never learn and come before others: models read them from values … */
	size_t		learned_from;	/* … and moments, means and best values hold what is behind these, in whole chunks */
	size_t		dense_from;		/* first real that the gradient slots hold: only such and sparse slices come before */
	size_t		chunks;			/* FNN_REDUCE_CHUNK reals each; the last may be shorter */
	int			attempts;
	int64_t		n_cases;		/* validation */
	int64_t		n_answers;		/* of these */
	int64_t		n_windows;		/* of validation by clicks */
	int64_t		n_impressions;	/* in these */
	int64_t		seen_most;		/* items of any of them that have to be put together */
	int64_t		cases_limit;	/* users validated at most */
	double		basket_bytes;	/* that counting takes for baskets */
	size_t		slot_end;		/* reals behind what the gradient slots hold: with rounds of users, what these share */
	int64_t		step_width;		/* of item vectors that are computed once a step; 0: none are */
	int64_t		group_rows;		/* of all slices that have a row for each group of users; only with rounds of users */
	FmoeFacts	facts;			/* followers only where counts are read */
} FmoeTrainPlan;

/* A slice whose gradient goes by touched rows. */
typedef struct FmoeSparseSlice
{
	int			param;
	int64_t    *count;			/* [FMOE_SHARDS + 1] shared: rows touched in the step */
	int32_t    *last_step;		/* [rows] shared */
	void	   *memory[FMOE_SHARDS + 1];	/* shared */
	FnnSparse	shard[FMOE_SHARDS + 1]; /* private views of memory; the last one is of the sum */
} FmoeSparseSlice;

struct FmoeTrainer
{
	const FnnHost *host;
	FnnArena   *arena;
	FmoeConfig	asked;
	FmoeConfig	config;			/* of the attempt that is made: as asked, where one thing is tried */
	const FmoeExpertClass *class;
	const FmoeDataset *data;
	const FmoeFederated *federated; /* NULL: in ordinary batches */
	FmoeTrainPlan plan;

	/* in the shared block */
	FmoeTrainState *state;
	fnn_real   *values;			/* [params.size] */
	/* of the next five only reals learned_from .. size - 1 exist */
	fnn_real   *moment1;
	fnn_real   *moment2;
	fnn_real   *average;		/* mean of the values after each epoch; NULL: option average is none */
	fnn_real   *best;			/* values judged after the best epoch */
	fnn_real   *rival;			/* the best of the attempt before; NULL: one thing is tried */
	fnn_real   *slot[FMOE_SHARDS];	/* gradients; only reals dense_from .. size - 1 exist */
	double	   *shard_loss;		/* [FMOE_SHARDS] of the step */
	double	   *shard_losses;	/* [FMOE_SHARDS, FMOE_LOSSES_MAX] the parts of these losses */
	double	   *chunk_squares;	/* [chunks] of the step's gradient */
	double	   *sparse_squares; /* [1] */
	int32_t    *last_step;		/* [plan.sparse_rows] of all sparse slices */
	fnn_real   *logit;			/* [n_impressions] */
	int64_t    *group_users;	/* [FMOE_SHARDS, 1 + plan.group_rows] users of a round: all, and those of each group
								 * row */
	fnn_real   *step_items;		/* [n_items, step_width] */
	fnn_real   *step_grad[FMOE_SHARDS]; /* [n_items, step_width] of each shard */
	int32_t    *rank;			/* [n_answers] */
	int64_t    *claimed_parts;	/* [1] of the items of a step */
	int64_t    *claimed;		/* [1] parts of the work before a barrier that members have taken */

	/* private */
	FmoeSparseSlice *sparse;	/* [plan.n_sparse] */
	FnnSparse **bound;			/* [params.count] sparse gradients of the shard being computed */
	FmoeExpert	expert;			/* bound to the slot of the shard being computed */
	FmoeModel	model;			/* bound to what is judged; has counts only if the main expert reads them */
	FmoeCases  *cases;			/* of validation; none where it is by clicks */
	FmoeImpressions *impressions;	/* of validation by clicks; NULL: it is by ranks */
	int64_t    *user;			/* [n_sequences] users with a transition */
	double	   *weight;			/* [n_sequences] what each one's targets count; NULL: each target counts 1 */
	int64_t    *order;			/* [n_sequences] of this epoch, indexes of user */
};

/* One batch: sequences first .. first + count - 1 of the epoch's order. */
typedef struct FmoeTrainBatch
{
	int64_t		step;			/* from 1 */
	int64_t		first;
	int64_t		count;
	int64_t		positions;		/* tokens */
	double		weight;			/* what their targets count together */
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
 * Takes the next part of the work before a barrier, counted from 0.  Whoever is
 * free takes one, so that others wait for a slow core no longer than one part.
 */
static inline int64_t
fmoe_claim(FmoeTrainer *trainer)
{
	return __atomic_fetch_add(trainer->claimed, 1, __ATOMIC_RELAXED);
}

/* Makes parts count from 0 again, behind the barrier. */
static inline void
fmoe_claim_anew(FmoeTrainer *trainer, const FmoeTeam *team)
{
	if (team->rank != 0)
		return;
	__atomic_store_n(trainer->claimed_parts, 0, __ATOMIC_RELAXED);
	__atomic_store_n(trainer->claimed, 0, __ATOMIC_RELAXED);
}

/* Whether sequences count by other things than their tokens. */
static inline bool
fmoe_weighs_sequences(const FmoeTrainer *trainer)
{
	return trainer->data->events.weight != NULL || fmoe_by_clicks(trainer->class);
}

/* Whether the main expert reads what others counted. */
static inline bool
fmoe_needs_counts(const FmoeTrainer *trainer)
{
	return (fmoe_reads(trainer->class, &trainer->config) & FMOE_READS_COUNTS) != 0;
}

/* Where the inputs of a user's training sequence end: before the last basket that trains and counts. */
extern int64_t fmoe_sequence_end(const FmoeConfig *config, const FmoeDataset *data, int64_t user);
/* How many events are inputs: of those before, the most recent max_length. */
extern int64_t fmoe_sequence_tokens(const FmoeConfig *config, const FmoeDataset *data, int64_t user);
/*
 * What the targets of these inputs count together: each of a token's the mean of
 * the next basket, since it is one of its events, drawn.
 */
extern double fmoe_sequence_weight(const FmoeConfig *config, const FmoeDataset *data, int64_t user);
/* Reals that follow the learned_from first ones. */
static inline size_t
fmoe_learned_reals(const FmoeTrainPlan *plan)
{
	return plan->params.size - plan->learned_from;
}

/* Fills trainer->plan; leaves nothing on the arena. */
extern void fmoe_trainer_plan(FmoeTrainer *trainer);
/* Points the trainer into a shared block and returns the block's bytes; shared NULL: only measures. */
extern size_t fmoe_trainer_carve(FmoeTrainer *trainer, void *shared);

/* Notes, after an epoch, what the halves of the validation cases say of it; best: it is kept so far. */
extern void fmoe_note_halves(FmoeTrainer *trainer, bool best);

/* Of AdamW. */
#define FMOE_BETA1 0.9
#define FMOE_BETA2 0.999
#define FMOE_EPSILON 1e-8

/* Clears this member's part of the gradients, before the first step of an epoch. */
extern void fmoe_step_prepare(FmoeTrainer *trainer, const FmoeTeam *team);
/* Sets first, count, positions, weight and cut of a batch of the epoch. */
extern void fmoe_step_cut(FmoeTrainer *trainer, int64_t batch_number, FmoeTrainBatch *batch);
/*
 * Packs n sequences of the trainer and puts their losses by an expert on the tape; stream is of this piece of
 * this step, and losses are those that the class tells apart.
 */
extern void fmoe_step_losses(const FmoeTrainer *trainer, const FmoeExpert *expert, FnnTape *tape, int64_t n,
							 const int64_t *sequence, const FmoeTrainBatch *batch, uint64_t stream,
							 double losses[FMOE_LOSSES_MAX]);
/* What a member has computed of the item vectors of a step. */
typedef struct FmoeStepVectors
{
	FnnMark		mark;			/* of the arena, before them */
	FnnTape		tape[FMOE_SHARDS];
	FnnTensor  *part[FMOE_SHARDS];	/* NULL: another member's, or of no items */
} FmoeStepVectors;

/* Computes parts of the item vectors, as long as there are any; behind the next barrier all can be read. */
extern void fmoe_step_items_forward(FmoeTrainer *trainer, const FmoeTrainBatch *batch, FmoeStepVectors *vectors);
/* All of them, for a shard that adds to their gradients, which are 0. */
extern FnnTensor *fmoe_step_items_leaf(FmoeTrainer *trainer, FnnTape *tape, int shard);
/* Behind the barrier after the shards: the gradients of this member's parts go on into their slots. */
extern void fmoe_step_items_backward(FmoeTrainer *trainer, FmoeStepVectors *vectors);
/* One optimiser step by the whole team.  Returns the mean loss of the targets; adds its parts' sums to losses. */
extern double fmoe_step_run(FmoeTrainer *trainer, const FmoeTeam *team, const FmoeTrainBatch *batch,
							double losses[FMOE_LOSSES_MAX]);

/*
 * A round of users by the whole team (federated.c).  Returns the mean over who took part of the
 * loss of their first step; adds its parts' sums to losses; *users is how many took part.
 */
extern double fmoe_round_run(FmoeTrainer *trainer, const FmoeTeam *team, int32_t round, int64_t *users,
							 double losses[FMOE_LOSSES_MAX]);
/* Whether a parameter is what users share, or a row of each one's own. */
static inline bool
fmoe_is_shared(const FnnParam *param)
{
	return param->share != FNN_PRIVATE && !param->frozen;
}

static inline bool
fmoe_is_own(const FnnParam *param)
{
	return param->share == FNN_PRIVATE && !param->frozen;
}

/* Checks that a class's parameters can be trained so, and makes the plan's of it. */
extern void fmoe_round_plan(FmoeTrainer *trainer);
/* Bytes on the arena of a member while users are trained, beside a step. */
extern double fmoe_round_bytes(const FmoeTrainer *trainer);
/* Whether another round would spend more than the budget. */
extern bool fmoe_round_spent(const FmoeTrainer *trainer);

/* The values that are judged after an epoch, kept and served. */
static inline fnn_real *
fmoe_judged(const FmoeTrainer *trainer)
{
	return trainer->average != NULL ? trainer->average : trainer->values;
}

/* Sets options, what is frozen and how it is drawn as the attempt has them that the state names; by each member. */
extern void fmoe_attempt_enter(FmoeTrainer *trainer);
/* Draws the parameters and clears moments, means and the best values; by the leader. */
extern void fmoe_attempt_begin(FmoeTrainer *trainer);
/* Lets the class set parameters that follow from the data. */
extern void fmoe_attempt_computed(FmoeTrainer *trainer);
/* Keeps the best values of an attempt that has ended and begins the next one; by the leader. */
extern void fmoe_attempt_next(FmoeTrainer *trainer);
/* The values of a finished run; of several attempts those that validate best, as the state then says. */
extern const fnn_real *fmoe_attempt_best(FmoeTrainer *trainer);
/* Bytes that this takes on the arena, beside what ranking takes. */
extern double fmoe_attempt_bytes(const FmoeTrainPlan *plan);

/* The epochs of the attempt so far. */
static inline int32_t
fmoe_attempt_epochs(const FmoeTrainState *state)
{
	return state->epoch - state->first_epoch;
}

/* Takes the values after an epoch, counted from 1, into their mean: this member's part. */
extern void fmoe_average(FmoeTrainer *trainer, const FmoeTeam *team, int32_t epoch);

/* Cases that are validated together: a constant, so that products do not depend on who computes them. */
#define FMOE_VALIDATION_BLOCK 128
/* Windows of impressions that are. */
#define FMOE_VALIDATION_WINDOWS 16
/* Gives a finished model of a gated class its gate, on the arena; trained: its encoder has made a step. */
extern void fmoe_gate_choose(FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeGatePrior *prior,
							 bool trained);
/* Bytes that this takes on the arena, beside what ranking takes. */
extern double fmoe_gate_bytes(const FmoeConfig *config, int32_t n_items, int64_t n_cases);
/* The blend with the best validation, of a model whose main expert learns. */
extern double fmoe_blend_choose(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data);

#endif							/* FMOE_MODEL_TRAIN_TRAIN_PRIVATE_H */

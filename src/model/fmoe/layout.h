/*
 * layout.h
 *	  What a mixture consists of and where its parameters are; shared by the files of model fmoe.
 *
 * layout.c knows the parts, declare.c declares their parameters, forward.c computes
 * states, gate and scores, learn.c the losses, calibrate.c corrects the gate by what
 * is kept back, memory.c says what all that takes.
 */
#ifndef FMOE_MODEL_FMOE_LAYOUT_H
#define FMOE_MODEL_FMOE_LAYOUT_H

#include "model/expert/expert.h"
#include "model/expert/markov.h"

extern const FmoeExpertClass fmoe_mixture_class;

/* ---------------------------------------------------------------- experts */

/* Members have encoders: the own one is member 0, the lent ones follow. */
#define FMOE_MEMBERS_MAX (1 + FMOE_LENT_MAX)

/*
 * Columns of the item table behind those of the members, with count_experts:
 * column 0 and 1 hold the logarithm of each item's share of the events, the
 * first for popularity, the second for transitions; the others are 0 and make
 * a whole vector.  Nothing trains them.
 */
#define FMOE_COUNT_COLUMNS 16

/* Where the parameters are: indexes of slices, -1 where there is none, and columns of the item table. */
typedef struct FmoeMixtureLayout
{
	int			members;
	int			gated;			/* members, and two with count_experts */
	int			input;			/* table the items are read by: 0, or another with head own */
	int			first[FMOE_MEMBERS_MAX];	/* slice 1 of the member's class: its slice 0 is the item table */
	int			slices[FMOE_MEMBERS_MAX];	/* of the member's class, slice 0 not counted */
	int			norm[FMOE_MEMBERS_MAX]; /* gain, bias */
	int			adapter[FMOE_MEMBERS_MAX];	/* A, B */
	int			gate;			/* of each layer weight, bias, gain, gain's bias; the last only the first two */
	int			calibration;	/* of the gate's logits: one factor, and a summand for each expert */
	int			mean;			/* what gate batch reads when it serves */
	int64_t		column[FMOE_MEMBERS_MAX + 1];	/* the last one: the count columns */
	FmoeConfig	config[FMOE_MEMBERS_MAX];	/* of each member's class */
} FmoeMixtureLayout;

/* Whether slice s of an encoder's class holds positions, which belong to whose items they are, … */
static inline bool
fmoe_is_position(const FmoeExpertClass *class, int s)
{
	return class->positions && s == 1;
}

/* … or is a matrix that an adapter may be added to. */
static inline bool
fmoe_is_adapted(const FmoeExpertClass *class, int s, const FnnParam *param)
{
	return param->decay && !fmoe_is_position(class, s);
}

extern void fmoe_mixture_layout(const FmoeConfig *config, FmoeMixtureLayout *layout);

/* What a forward pass over a batch comes to. */
typedef struct FmoeMixed
{
	int			members;
	int64_t		rows;			/* tokens, or sequences when only the last tokens were asked for */
	FnnTensor  *state[FMOE_MEMBERS_MAX];	/* [rows, width of the member] */
	FnnTensor  *logits;			/* [rows, gated] of the gate as it was learned */
	FnnTensor  *gate;			/* [rows, gated] */
	FnnTensor  *hidden;			/* [rows, columns of the item table] */
} FmoeMixed;

extern void fmoe_mix(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
					 const FmoeBatch *batch, bool last_only, FmoeMixed *mixed);
/* States [n_tokens, …] or [sequences.count, …] of the members alone. */
extern void fmoe_mix_states(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
							const FmoeBatch *batch, bool last_only, FnnTensor **state);
extern FnnTensor *fmoe_mixture_encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, bool last_only);
extern void fmoe_mixture_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal);
/* Fits the gate's calibration to events that are kept back from training. */
extern void fmoe_mixture_calibrate(FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena,
								   const FmoeDataset *data);
/* Bytes that takes; 0 for what is no mixture. */
extern double fmoe_calibration_bytes(const FmoeConfig *config, int64_t n_cases, int32_t n_items,
									 const FmoeFollowers *followers);
/* Bytes of counted transitions, and what comes of them, for a batch of so many tokens; 0 for what reads none. */
extern double fmoe_followers_bytes(const FmoeConfig *config, const FmoeFollowers *followers, double tokens,
								   int32_t n_items, bool recorded);
extern void fmoe_mixture_start(FmoeExpert *expert, const FnnHost *host);
extern void fmoe_mixture_settle(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);

#endif							/* FMOE_MODEL_FMOE_LAYOUT_H */

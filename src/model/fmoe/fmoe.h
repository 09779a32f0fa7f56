/*
 * fmoe.h
 *	  Inside of model fmoe: what a mixture consists of, and what its files share.
 *
 * class.c is the class.  options.c has its options, layout.c knows where the
 * parameters are, declare.c declares them, forward.c computes states, gate and
 * scores, learn.c the losses, settle.c what is computed instead of learned,
 * calibrate.c corrects the gate by events that are kept back, explain.c says what
 * scores are made of, memory.c what all this costs.
 */
#ifndef FMOE_MODEL_FMOE_FMOE_H
#define FMOE_MODEL_FMOE_FMOE_H

#include "model/expert/expert.h"
#include "model/expert/featured.h"
#include "model/expert/markov.h"

extern const FmoeExpertClass fmoe_mixture_class;

/* ---------------------------------------------------------------- options */

/* Who weighs the experts of a mixture. */
typedef enum FmoeGating
{
	FMOE_GATE_USER,				/* the gate, for each history by its own mean state */
	FMOE_GATE_BATCH,			/* the gate, for all histories of a batch alike; serving, for all there are */
	FMOE_GATE_EQUAL,			/* nobody: all experts weigh the same */
	FMOE_GATE_LINEAR			/* numbers fitted after training, with all experts that count (serve/gate.c) */
} FmoeGating;

typedef enum FmoeHead
{
	FMOE_HEAD_TIED,				/* items are scored by the vectors that encoders read */
	FMOE_HEAD_OWN				/* items are scored by a table of their own */
} FmoeHead;

typedef struct FmoeMixtureOptions
{
	int			encoder;		/* of the own expert: row of fmoe_encoders */
	FmoeLentList experts;		/* those lent */
	FmoeFeaturedOptions featured;	/* of the own expert's vectors */
	int			baskets;		/* FmoeBasketReading, of all encoders that attend */
	int			head;			/* FmoeHead */
	bool		item_graph;		/* item vectors are smoothed over what followed what */
	int			lora_rank;		/* of the adapters of lent encoders; 0: none */
	double		lora_alpha;
	int			gate;			/* FmoeGating */
	char		gate_prior[FMOE_EXPERT_NAME_MAX];	/* of gate linear: default (or empty), lent, none, a lent expert's
													 * name */
	int			gate_layers;	/* hidden layers of the gate */
	int			gate_top;		/* experts that get a weight; 0: all */
	double		gate_loss;		/* weight of the gate's own loss */
	bool		count_experts;	/* popularity and transitions are gated as well */
	double		kl;				/* weight of the KL term, reached over the first 10000 steps */
	double		contrast;		/* weight of the contrastive loss */
	int			rounds;			/* exchanges with peers, at most */
	int			local_epochs;	/* between two of them */
} FmoeMixtureOptions;

extern const FmoeOption fmoe_mixture_options[]; /* fills FmoeMixtureOptions */
/* The class's hook fits. */
extern bool fmoe_mixture_fits(const FmoeConfig *config, FmoeMisfit *misfit);

static inline const FmoeMixtureOptions *
fmoe_mixture_own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

/* ---------------------------------------------------------------- layout */

/* A member is an expert with an encoder: number 0 is the own one, the lent ones follow. */
#define FMOE_MEMBERS_MAX (1 + FMOE_LENT_MAX)
/* The gate weighs the members and, with count_experts, popularity and markov. */
#define FMOE_GATED_MAX (FMOE_MEMBERS_MAX + 2)

/*
 * With count_experts the item table has so many columns behind those of the
 * members.  The first two hold the logarithm of each item's share of the events:
 * one for popularity, one for transitions.  The others are 0 and fill a whole
 * vector.  Nothing trains them.
 */
#define FMOE_COUNT_COLUMNS 16

/* Where a mixture's parameters are: numbers of slices, -1 for none, and columns of the item table. */
typedef struct FmoeMixtureLayout
{
	int			members;
	int			gated;			/* members, and two with count_experts */
	int			input;			/* table of the vectors that encoders read: 0, with head own another */
	int			first[FMOE_MEMBERS_MAX];	/* first slice of the member's encoder */
	int			slices[FMOE_MEMBERS_MAX];	/* how many the encoder has */
	int			norm[FMOE_MEMBERS_MAX]; /* of the member's input: gain, then bias */
	int			adapter[FMOE_MEMBERS_MAX];	/* first slice of the encoder's adapters */
	int			gate;			/* a layer is weight, bias, the norm's gain and bias; the last has no norm */
	int			calibration;	/* of the gate's logits: one factor, and a summand for each expert */
	int			mean;			/* the mean state that gate batch reads when it serves */
	int			features;		/* first of what adds features to the own expert's columns */
	int64_t		column[FMOE_MEMBERS_MAX + 1];	/* first column of each member, then of the count columns */
	FmoeShape	shape[FMOE_MEMBERS_MAX];
} FmoeMixtureLayout;

/* Number of members: the own expert and those lent. */
extern int	fmoe_mixture_members(const FmoeConfig *config);
/* Number of experts that are gated: the members and, with count_experts, popularity and markov. */
extern int	fmoe_mixture_gated(const FmoeConfig *config);
/* Name of a gated expert: "own", a lent one's, or a counting class's. */
extern const char *fmoe_mixture_gated_name(const FmoeConfig *config, int expert);
/* Shape of a member's encoder. */
extern FmoeShape fmoe_mixture_shape(const FmoeConfig *config, int member);
/* Whether a network of the mixture's own weighs its experts, which learns with them. */
static inline bool
fmoe_mixture_gate_learns(const FmoeConfig *config)
{
	int			gate = fmoe_mixture_own(config)->gate;

	return gate == FMOE_GATE_USER || gate == FMOE_GATE_BATCH;
}

/* Length of the states of all members end to end. */
extern int64_t fmoe_mixture_states_width(const FmoeConfig *config);
/* Length of an item's vector: that, and the count columns. */
extern int64_t fmoe_mixture_item_width(const FmoeConfig *config);
/* Whether a member's input is normalised: of lent members, and with item_graph of all. */
extern bool fmoe_mixture_has_norm(const FmoeConfig *config, int member);
/* Fills the layout of parameters that were declared for the configuration. */
extern void fmoe_mixture_layout(const FmoeConfig *config, const FnnParams *params, FmoeMixtureLayout *layout);

/* The class's hook declare. */
extern void fmoe_mixture_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts);
/* What the names of member i's parameters begin with: prefix[FNN_NAME_MAX]. */
extern void fmoe_mixture_prefix(int member, char *prefix);
/* The class's hook bytes. */
extern double fmoe_mixture_bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens,
								 double cases);
/* The class's hook draws_baskets. */
extern bool fmoe_mixture_draws_baskets(const FmoeConfig *config);
/* The class's hook multiplications. */
extern double fmoe_mixture_multiplications(const FmoeConfig *config, double n_scored);

/* ---------------------------------------------------------------- computing */

/* The result of a forward pass over a batch. */
typedef struct FmoeMixed
{
	int			members;
	int64_t		rows;			/* tokens, or sequences when only the last tokens were asked for */
	FnnTensor  *state[FMOE_MEMBERS_MAX];	/* [rows, width of the member] */
	FnnTensor  *logits;			/* [rows, gated] of the gate, before calibration */
	FnnTensor  *gate;			/* [rows, gated] weights */
	FnnTensor  *hidden;			/* [rows, columns of the item table] weighed states, end to end */
} FmoeMixed;

/* A forward pass: members, gate, weighed states. */
extern void fmoe_mix(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
					 const FmoeBatch *batch, FmoeWhich which, FmoeMixed *mixed);
/* Sets state[members] to the states [rows, width of the member], rows as in FmoeMixed. */
extern void fmoe_mix_states(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
							const FmoeBatch *batch, FmoeWhich which, FnnTensor **state);
/* Vectors [n, columns of the item table] of items with what features add; kept as in fmoe_featured. */
extern FnnTensor *fmoe_mixture_vectors(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item,
									   const bool *kept);
/* The class's hook items. */
extern FnnTensor *fmoe_mixture_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item);
/* The class's hook encode: hidden of a forward pass. */
extern FnnTensor *fmoe_mixture_encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch,
									  FmoeWhich which);
/* The class's hook terms: counted transitions, times their weight in the state. */
extern FmoeTerms fmoe_mixture_terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch,
									int32_t sequence, const fnn_real *state);

/* The class's hook learn. */
extern FnnTensor *fmoe_mixture_step_items(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n,
										  const FmoeGoal *goal);
extern void fmoe_mixture_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal);
extern const char *const fmoe_mixture_losses[];
/* The class's hook start: fills the count columns, and empties what features alone say. */
extern void fmoe_mixture_start(FmoeExpert *expert, const FnnHost *host);
/* The class's hook settle: the mean state of gate batch, and the gate's calibration. */
extern void fmoe_mixture_settle(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);
/* Fits the gate's calibration to events that are kept back from training. */
extern void fmoe_mixture_calibrate(FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena,
								   const FmoeDataset *data);
/* Largest number of cases that calibration looks at. */
extern int64_t fmoe_calibration_cases(int32_t n_items);
/* How many of them are scored together. */
extern int64_t fmoe_calibration_block(int32_t n_items);
/* Bytes that are kept of each case. */
extern double fmoe_calibration_case_bytes(int gated);

/* The class's hook weigh. */
extern void fmoe_mixture_weigh(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);
/* The class's hook contribute. */
extern void fmoe_mixture_contribute(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch,
									int32_t sequence, const fnn_real *state, int64_t n, const int32_t *item,
									double *contribution);

#endif							/* FMOE_MODEL_FMOE_FMOE_H */

/*
 * fmoe.h
 *	  Inside of model fmoe: what a mixture consists of, and what its files share.
 *
 * options.c has its options, layout.c knows where the parameters are, declare.c
 * declares them, forward.c computes states, gate and scores, learn.c the losses,
 * settle.c what is computed instead of learned, calibrate.c corrects the gate by
 * what is kept back, explain.c says what scores are made of, memory.c what all
 * that takes; fmoe.c is the class.
 */
#ifndef FMOE_MODEL_FMOE_FMOE_H
#define FMOE_MODEL_FMOE_FMOE_H

#include "model/expert/expert.h"
#include "model/expert/markov.h"

extern const FmoeExpertClass fmoe_mixture_class;

/* ---------------------------------------------------------------- options */

/* Who weighs the experts of a mixture. */
typedef enum FmoeGating
{
	FMOE_GATE_USER,				/* a weight for every history: its own mean state decides */
	FMOE_GATE_BATCH,			/* one for all that are trained together, then one for all */
	FMOE_GATE_EQUAL				/* nobody: the same for each expert */
} FmoeGating;

typedef enum FmoeHead
{
	FMOE_HEAD_TIED,				/* items are scored by the vectors they are read by */
	FMOE_HEAD_OWN				/* by a table of their own */
} FmoeHead;

typedef struct FmoeMixtureOptions
{
	int			encoder;		/* of the own expert: row of fmoe_encoders */
	FmoeLentList experts;
	int			head;			/* FmoeHead */
	bool		item_graph;		/* item vectors are smoothed over what followed what */
	int			lora_rank;		/* of the adapters of lent encoders; 0: none */
	double		lora_alpha;
	int			gate;			/* FmoeGating */
	int			gate_layers;	/* hidden layers of the gate */
	int			gate_top;		/* experts that get a weight; 0: all */
	double		gate_loss;		/* weight of the gate's own loss */
	bool		count_experts;	/* popularity and transitions are gated as well */
	double		kl;				/* weight of the KL term, reached over the first 10000 steps */
	double		contrast;		/* weight of the contrastive loss */
	int			rounds;			/* exchanges with peers, at most */
	int			local_epochs;	/* between two of them */
} FmoeMixtureOptions;

extern const FmoeOption fmoe_mixture_options[];
extern bool fmoe_mixture_fits(const FmoeConfig *config, FmoeMisfit *misfit);

static inline const FmoeMixtureOptions *
fmoe_mixture_own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

/* ---------------------------------------------------------------- layout */

/* Members have encoders: the own one is member 0, the lent ones follow. */
#define FMOE_MEMBERS_MAX (1 + FMOE_LENT_MAX)
/* The gate weighs the members and, with count_experts, popularity and markov. */
#define FMOE_GATED_MAX (FMOE_MEMBERS_MAX + 2)

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
	int			first[FMOE_MEMBERS_MAX];	/* the member's encoder */
	int			slices[FMOE_MEMBERS_MAX];	/* of that */
	int			norm[FMOE_MEMBERS_MAX]; /* gain, bias */
	int			adapter[FMOE_MEMBERS_MAX];
	int			gate;			/* of each layer weight, bias, gain, gain's bias; the last only the first two */
	int			calibration;	/* of the gate's logits: one factor, and a summand for each expert */
	int			mean;			/* what gate batch reads when it serves */
	int64_t		column[FMOE_MEMBERS_MAX + 1];	/* the last one: the count columns */
	FmoeShape	shape[FMOE_MEMBERS_MAX];
} FmoeMixtureLayout;

/* The own expert and those lent. */
extern int	fmoe_mixture_members(const FmoeConfig *config);
/* These, and with count_experts popularity and markov. */
extern int	fmoe_mixture_gated(const FmoeConfig *config);
extern const char *fmoe_mixture_gated_name(const FmoeConfig *config, int expert);
extern FmoeShape fmoe_mixture_shape(const FmoeConfig *config, int member);
/* Length of the states of all members together, and of the item vectors, which have the count columns besides. */
extern int64_t fmoe_mixture_states_width(const FmoeConfig *config);
extern int64_t fmoe_mixture_item_width(const FmoeConfig *config);
/* Whether a member's input is normalised: those that were trained on other item vectors, and all with the graph. */
extern bool fmoe_mixture_has_norm(const FmoeConfig *config, int member);
/* params: as declared for the configuration. */
extern void fmoe_mixture_layout(const FmoeConfig *config, const FnnParams *params, FmoeMixtureLayout *layout);

extern void fmoe_mixture_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts);
/* What the names of member i's parameters begin with: prefix[FNN_NAME_MAX]. */
extern void fmoe_mixture_prefix(int member, char *prefix);
extern double fmoe_mixture_bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens,
								 double cases);
extern double fmoe_mixture_multiplications(const FmoeConfig *config, double n_scored);

/* ---------------------------------------------------------------- computing */

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
					 const FmoeBatch *batch, FmoeWhich which, FmoeMixed *mixed);
/* States [n_tokens, …] or [sequences.count, …] of the members alone. */
extern void fmoe_mix_states(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
							const FmoeBatch *batch, FmoeWhich which, FnnTensor **state);
extern FnnTensor *fmoe_mixture_encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch,
									  FmoeWhich which);
extern FmoeTerms fmoe_mixture_terms(const FmoeExpert *expert, FnnArena *arena, int32_t last, const fnn_real *state);

extern void fmoe_mixture_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal);
extern const char *const fmoe_mixture_losses[];
extern void fmoe_mixture_start(FmoeExpert *expert, const FnnHost *host);
extern void fmoe_mixture_settle(FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);
/* Fits the gate's calibration to events that are kept back from training. */
extern void fmoe_mixture_calibrate(FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena,
								   const FmoeDataset *data);
/* Cases of that, and how many are looked at together. */
extern int64_t fmoe_calibration_cases(int32_t n_items);
extern int64_t fmoe_calibration_block(int32_t n_items);
/* Bytes of what is kept of a case. */
extern double fmoe_calibration_case_bytes(int gated);

extern void fmoe_mixture_weigh(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);
extern void fmoe_mixture_contribute(const FmoeExpert *expert, FnnArena *arena, int32_t last, const fnn_real *state,
									int64_t n, const int32_t *item, double *contribution);

#endif							/* FMOE_MODEL_FMOE_FMOE_H */

/*
 * xcross.h
 *	  The class xcross: several adaptations of one base side by side, mixed after every
 *	  layer by integrators (X-Cross, arXiv 2504.20859).
 *
 * With n streams, layers l and the hidden states h_m of stream m after a layer,
 *
 *		z    = W_l [h_1 ; ... ; h_n]                    2 n (n - 1) weights, no softmax
 *		h~_m = h_m + sum over k != m of beta z_k h_k + gamma z_mk (h_m - h_k)
 *		state = sum over m of w_m h~_m                  after the last layer
 *		score of item i = state . v_i                   v_i: the base's vector of the item
 *
 * or with the head pooler, of the state after the history with the item behind it (pooler.c),
 *
 *		score of item i = V gelu(P state + p) + c
 *
 * With the option mix "weights" there is one stream instead, whose maps are those of the
 * base and the mean of what the experts change in them, a baseline of the paper.
 *
 * The states of the last layer are those that the encoder gives, its last norm
 * included, so that W = 0 and w = 1 / n are exactly the mean of the experts.
 */
#ifndef FMOE_MODEL_XCROSS_XCROSS_H
#define FMOE_MODEL_XCROSS_XCROSS_H

#include "model/xcross/adapter.h"

typedef enum FmoeMix
{
	FMOE_MIX_LAYERS,			/* a stream for each adapter, integrated after every layer */
	FMOE_MIX_WEIGHTS			/* one stream, of the base with the mean of the adapters' changes */
} FmoeMix;

typedef enum FmoeXcrossHead
{
	FMOE_XCROSS_DOT,			/* the state after a history times an item's vector */
	FMOE_XCROSS_POOLER			/* a number of the state after the history and the item behind it */
} FmoeXcrossHead;

typedef enum FmoeIntegrator
{
	FMOE_INTEGRATOR_TOKEN,		/* every token has weights of its own */
	FMOE_INTEGRATOR_LAST		/* those of the last one are all tokens' */
} FmoeIntegrator;

typedef struct FmoeXcrossOptions
{
	FmoeNamedBase base;
	FmoeAdapterList experts;
	int			mix;			/* FmoeMix */
	int			integrator;		/* FmoeIntegrator */
	int			head;			/* FmoeXcrossHead */
	int			head_negatives; /* items that a chosen one is told from by a pooler */
	double		beta;
	double		gamma;
	bool		own_adapter;
	int			rank;			/* of the own adapter */
	double		alpha;
} FmoeXcrossOptions;

static inline const FmoeXcrossOptions *
fmoe_xcross_own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

/* Where the parameters are; all of it follows from the configuration. */
typedef struct FmoeXcrossLayout
{
	int			adapters;		/* experts, and the own adapter behind them */
	int			streams;
	FmoeLentAdapter adapter[FMOE_BUILT_MAX];	/* at the scale that they are mixed at */
	int			first[FMOE_BUILT_MAX];	/* slice of each adapter */
	int			integrator;		/* first of layers slices; unused with one stream */
	int			weight;			/* w [1, streams] */
	int			pooler;			/* with that head: weight [d, d] and bias [1, d] of the pooler, and of the head [1, d]
								 * and [1, 1] */
} FmoeXcrossLayout;

extern int	fmoe_xcross_adapters(const FmoeConfig *config);
extern int	fmoe_xcross_streams(const FmoeConfig *config);
extern void fmoe_xcross_layout(const FmoeExpert *expert, FmoeXcrossLayout *layout);

/* The streams while they run. */
typedef struct FmoeXcrossRun
{
	const FmoeExpert *expert;
	FmoeXcrossLayout layout;
	FmoeBase	base[FMOE_BUILT_MAX];
	FnnTensor  *state[FMOE_BUILT_MAX];	/* each stream's last states, integrated */
	FnnTensor  *weight;			/* w, without what is left out */
	FnnTensor  *z[16];			/* of each layer, of the last tokens if these were asked for */
} FmoeXcrossRun;

/*
 * Runs all streams over tokens whose item vectors are rows row[n_tokens] of a table.
 * asked[sequences.count]: tokens whose weights are those of their sequence, where the integrator is last; NULL: the
 * last ones.
 */
extern FmoeXcrossRun *fmoe_xcross_run(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row,
									  const FmoeBatch *batch, FmoeWhich which, const int32_t *asked);
/* Tokens that each follow a history, and see of its tokens begin[n] .. + count[n] - 1, and not one another. */
typedef struct FmoeXcrossFollowing
{
	int64_t		n;
	const int32_t *row;			/* [n] of the table of item vectors */
	const int32_t *position;	/* [n] */
	const int32_t *begin;		/* [n] */
	const int32_t *count;		/* [n] */
} FmoeXcrossFollowing;

/* The same over a batch for the tokens that follow: their states alone, through the same streams. */
extern FmoeXcrossRun *fmoe_xcross_run_following(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table,
												const int32_t *row, const FmoeBatch *batch, const int32_t *asked,
												const FmoeXcrossFollowing *following);
/* State [rows, width] that items are scored with. */
extern FnnTensor *fmoe_xcross_state(const FmoeXcrossRun *run, FnnTape *tape);
/* Reals on the arena for each token of a recorded pass, or of an unrecorded one. */
extern double fmoe_xcross_token_reals(const FmoeConfig *config, bool recorded);

/* ---------------------------------------------------------------- the head pooler */

extern void fmoe_pooler_declare(FmoeDeclaring *to, const FmoeConfig *config);
/* The loss of what followed one token of each sequence, target[n_tokens] being -1 elsewhere, among others. */
extern void fmoe_pooler_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal,
							  const int32_t *asked);
/* The hook score. */
extern void fmoe_pooler_score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
							  int64_t n, const int32_t *item, fnn_real *score);
/* Bytes on the arena beside those of the history's tokens. */
extern double fmoe_pooler_bytes(const FmoeConfig *config, double n_items, double tokens, bool recorded);

/* ---------------------------------------------------------------- what a score is made of */

extern int	fmoe_xcross_part_count(const FmoeConfig *config);
extern const char *fmoe_xcross_part_name(const FmoeConfig *config, int part);
extern int	fmoe_xcross_mixed_layers(const FmoeConfig *config);
extern void fmoe_xcross_weigh_layers(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch,
									 fnn_real *share);
extern void fmoe_xcross_weigh(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);
extern void fmoe_xcross_contribute(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch,
								   int32_t sequence, const fnn_real *state, int64_t n, const int32_t *item,
								   double *contribution);

#endif							/* FMOE_MODEL_XCROSS_XCROSS_H */

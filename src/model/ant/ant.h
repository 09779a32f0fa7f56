/*
 * ant.h
 *	  The class ant: items by their features alone, learned in one database and learned
 *	  again in another (ANT, arXiv 2309.10195).
 *
 *		v_m   = sum over experts e of a_me (W_me (dropout(x_m) - b_me))		text and each vector column
 *		v_p   = sum over experts e of a_pe (W_pe dropout(x_p) + c_pe)		price
 *		a_m   = softmax(G_m x_m + noise * (softplus(S_m x_m) + 0.01))
 *		v     = v_text + v_image + v_p + fusion * (v_image * v_text),  v_image = sum over vector columns
 *		u_t   = dropout(norm(v_t + position)),  h = post-norm blocks(u)		(model/expert/postnorm.h)
 *		score = cos(h, v) / temperature
 *
 * What is not known of an item adds nothing.  Options are in options.c, item
 * vectors in items.c, losses in learn.c, what a score is made of in explain.c.
 */
#ifndef FMOE_MODEL_ANT_ANT_H
#define FMOE_MODEL_ANT_ANT_H

#include "model/expert/expert.h"
#include "model/expert/gated.h"
#include "model/expert/inputs.h"
#include "model/expert/postnorm.h"

/* How a training uses the encoder that it starts from. */
typedef enum FmoeAntAdapt
{
	FMOE_ANT_AUTO,				/* relearn and scratch, whichever validates better */
	FMOE_ANT_RELEARN,			/* the blocks stay; what is before them is drawn anew */
	FMOE_ANT_FINETUNE,			/* all of it is trained */
	FMOE_ANT_FROZEN,			/* the blocks stay, the rest is trained */
	FMOE_ANT_SCRATCH			/* it is not used */
} FmoeAntAdapt;

#define FMOE_ANT_EXPERTS_MAX 32

typedef struct FmoeAntOptions
{
	FmoeInputList inputs;
	int			experts;		/* maps of each input */
	double		fusion;			/* weight of the product of image and text */
	double		temperature;
	double		input_dropout;	/* share of an item's numbers */
	bool		transductive;	/* items have a vector of their own as well */
	bool		pretrain;
	char		source_column[FMOE_EXPERT_NAME_MAX];	/* of the interactions; empty: none */
	double		alignment;		/* weight of the loss between image and text, in pre-training */
	int			adapt;			/* FmoeAntAdapt */
	FmoeGatedOptions gated;
} FmoeAntOptions;

/* Slices of an input, by what there is of them. */
typedef struct FmoeAntInput
{
	int			weight;			/* [experts * width, numbers] */
	int			centre;			/* [experts, numbers]; negative: it is the price */
	int			bias;			/* [experts, width]; negative: it is not */
	int			gate;			/* [2 * experts, numbers]; negative: there is one expert */
} FmoeAntInput;

/* Where the slices are. */
typedef struct FmoeAntLayout
{
	int			position;
	int			norm;			/* gain, bias */
	int			blocks;
	int			item;			/* own vectors; negative: none */
	FmoeAntInput input[FMOE_INPUTS_MAX];
	int			slices;
} FmoeAntLayout;

/* Vectors of items, and what they are made of. */
typedef struct FmoeAntItems
{
	FnnTensor  *vector;			/* [n, width] */
	FnnTensor  *text;			/* NULL: no item has one */
	FnnTensor  *image;			/* NULL: no item has one */
	FnnTensor  *price;			/* NULL: no item has one */
	FnnTensor  *product;		/* what fusion adds; NULL: nothing */
	FnnTensor  *gate[FMOE_INPUTS_MAX];	/* [n, experts] of each input; NULL: no item has it, or there is one expert */
} FmoeAntItems;

/* What a training makes once: the rows of inputs. */
typedef struct FmoeAntPrepared
{
	const fnn_real *rows[FMOE_INPUTS_MAX];	/* [n_items, numbers] of each; NULL: made when needed */
} FmoeAntPrepared;

/* Names of the losses. */
enum
{
	FMOE_ANT_LOSS_NEXT,
	FMOE_ANT_LOSS_ALIGNMENT
};

extern const FmoeOption fmoe_ant_options[];
extern const char *const *fmoe_ant_unused(const FmoeConfig *config);
extern bool fmoe_ant_fits(const FmoeConfig *config, FmoeMisfit *misfit);
/* What adapt means for a training with or without an encoder to start from; auto: its first attempt. */
extern FmoeAntAdapt fmoe_ant_adapt(const FmoeConfig *config);
extern const char *fmoe_ant_attempt(FmoeConfig *config, int number);

static inline const FmoeAntOptions *
fmoe_ant_own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

extern FmoePostnorm fmoe_ant_blocks(const FmoeConfig *config);
extern FmoeAntLayout fmoe_ant_layout(const FmoeConfig *config);
extern void fmoe_ant_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts);
/* Groups that are drawn anew where the encoder is learned again. */
#define FMOE_ANT_RELEARNED (FNN_GROUP_BIT(FNN_POSITIONS) | FNN_GROUP_BIT(FNN_ITEMS) | FNN_GROUP_BIT(FNN_GATE))

/* Vectors [n, width] of items item[n]; NULL: of 0 .. n - 1.  Their lengths are what they are. */
extern FmoeAntItems fmoe_ant_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item);
/* Bytes on the arena for n of them; beside these, while they or their gradients are computed, those of a block. */
extern double fmoe_ant_block_bytes(const FmoeConfig *config, const FmoeFacts *facts);
extern double fmoe_ant_items_bytes(const FmoeConfig *config, const FmoeFacts *facts, double n, bool recorded);
/* States after the tokens, whose items' vectors are rows row[n_tokens] of a table; of any length. */
extern FnnTensor *fmoe_ant_states(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row,
								  const FmoeBatch *batch, FmoeWhich which);
/* What the inputs of an item add to its score. */
extern int	fmoe_ant_input_parts(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								 int32_t item, int max, FmoeInputPart *out);
/* What one map of an input, which items have, says of items item[n], times its column of weight [n, experts]. */
extern FnnTensor *fmoe_ant_map(const FmoeExpert *expert, FnnTape *tape, int input, int64_t n, const int32_t *item,
							   FnnTensor *weight, int map);
extern const void *fmoe_ant_prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);
extern double fmoe_ant_prepared_bytes(const FmoeConfig *config, const FmoeFacts *facts);
/* Whether a step computes the vectors of all items. */
extern bool fmoe_ant_computes_all(const FmoeConfig *config);
extern FnnTensor *fmoe_ant_step_items(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n,
									  const FmoeGoal *goal);
extern void fmoe_ant_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal);
extern double fmoe_ant_learn_bytes(const FmoeConfig *config, const FmoeFacts *facts, double tokens);
/* How many items a step of so many tokens computes at most. */
extern double fmoe_ant_step_count(const FmoeConfig *config, double n_items, double tokens);

extern const FmoeExpertClass fmoe_ant_class;

#endif							/* FMOE_MODEL_ANT_ANT_H */

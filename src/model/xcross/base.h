/*
 * base.h
 *	  A base: a causal encoder over item vectors that are computed from inputs alone.
 *
 *		v = sum over inputs of W x,  x = the item's numbers (model/expert/inputs.h)
 *		state = encoder(dropout(sqrt(width) v + position)),  score of item i = state . v_i
 *
 * It knows no item and no user, so it goes with any item table.  The classes of
 * this folder train one, adapt one, and mix several adaptations of one.
 */
#ifndef FMOE_MODEL_XCROSS_BASE_H
#define FMOE_MODEL_XCROSS_BASE_H

#include "model/expert/expert.h"
#include "model/expert/inputs.h"

/* Slices of a base: those of the encoder, then a weight [width, numbers] for each input. */
extern void fmoe_base_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeInputList *inputs);
extern int	fmoe_base_slices(const FmoeConfig *config, const FmoeInputList *inputs);
extern FmoeShape fmoe_base_shape(const FmoeConfig *config);

/* A base with its parameters. */
typedef struct FmoeBase
{
	FmoeEncoding encoding;
	const FmoeInputList *inputs;
	FnnTensor  *weight;			/* [inputs->count] */
} FmoeBase;

/* A base over the slices of an expert's parameters from tensor on. */
extern FmoeBase fmoe_base(const FmoeConfig *config, const FmoeInputList *inputs, FnnTensor *tensor);
/* Vectors [n, width] of items item[n]; NULL: 0 .. n - 1.  dropout is of the inputs' numbers. */
extern FnnTensor *fmoe_base_items(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape, int64_t n,
								  const int32_t *item, double dropout);
/* Inputs of the first layer for tokens whose vectors are rows row[n_tokens] of a table. */
extern FnnTensor *fmoe_base_enter(const FmoeBase *base, FnnTape *tape, FnnTensor *table, const int32_t *row,
								  const FmoeBatch *batch);

/* What a training makes once: the rows of inputs, where all items are scored in every step. */
typedef struct FmoeBasePrepared
{
	const fnn_real *rows[FMOE_INPUTS_MAX];	/* [n_items, numbers] of each; NULL: made when needed */
	/* vectors [n_items, width] by maps that are not trained, made in the first step; NULL: maps are trained */
	fnn_real   *vectors;
	bool	   *made;
	int32_t		sources;		/* that events come from; 0: the classes do not tell them apart */
	const int64_t *of_source;	/* [sources + 1] items of source s, from 0, are of_source[s] .. of_source[s + 1] - 1
								 * of … */
	const int32_t *items;		/* … these, ascending */
} FmoeBasePrepared;

extern FmoeBasePrepared *fmoe_base_prepare(const FmoeExpert *expert, const FmoeInputList *inputs,
										   FnnArena *arena, bool trained);
/* At most so many sources has an item on average, for memory. */
#define FMOE_BASE_SOURCES 4
/* Adds which items have events of which source, for fmoe_base_learn. */
extern void fmoe_base_prepare_sources(FmoeBasePrepared *prepared, FnnArena *arena, const FmoeDataset *data);
/* Bytes of that, while it is made too. */
extern double fmoe_base_sources_bytes(double n_items);
extern double fmoe_base_prepared_bytes(const FmoeConfig *config, const FmoeInputList *inputs, double n_items);
/* Bytes on the arena for the vectors of n items. */
extern double fmoe_base_items_bytes(const FmoeConfig *config, const FmoeInputList *inputs, double n, bool recorded);

/* The items that a shard reads and scores: all, or with sampled negatives those that it has. */
typedef struct FmoeBaseItems
{
	FnnTensor  *table;			/* [n, width] vectors; of fmoe_base_known only */
	int64_t		n;
	const int32_t *item;		/* [n]; NULL: 0 .. n - 1 */
	const int32_t *row;			/* [n_tokens] where each token's item is among them */
	FmoeGoal	goal;			/* with targets and negatives numbered as the items are */
} FmoeBaseItems;

/* The vectors of these items for a step: those that were made once, where the maps of the inputs are not trained. */
extern FnnTensor *fmoe_base_chosen_items(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape,
										 const FmoeBaseItems *chosen, double dropout);
extern FmoeBaseItems fmoe_base_choose(FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal, int32_t n_items);
/* Vectors of a batch's tokens outside of a training: of all items where they were computed, else of these alone. */
extern FmoeBaseItems fmoe_base_known(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape,
									 const FmoeBatch *batch);
/* Bytes on the arena for fmoe_base_choose. */
extern double fmoe_base_choose_bytes(const FmoeConfig *config, double n_items, double tokens);
/* How many items it chooses at most. */
extern double fmoe_base_chosen(const FmoeConfig *config, double n_items, double tokens);

/* ---------------------------------------------------------------- one base as a model */

/* What the hooks of a class give whose model is one base, or built of one. */
extern bool fmoe_base_fits(const FmoeConfig *config, FmoeMisfit *misfit);
extern unsigned fmoe_base_reads(const FmoeConfig *config);
extern bool fmoe_base_lends(const FmoeConfig *config, FmoeShape *shape);
extern double fmoe_base_bytes(const FmoeConfig *config, const FmoeInputList *inputs, const FmoeFacts *facts,
							  FmoePhase phase, double tokens, double cases);
extern double fmoe_base_multiplications(const FmoeConfig *config, double n_scored);
extern FnnTensor *fmoe_base_encode(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape,
								   const FmoeBatch *batch, FmoeWhich which);
extern void fmoe_base_learn(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch,
							FmoeGoal *goal, double input_dropout);

/* The softmax of each source's tokens over its own items; table: vectors of all. */
extern void fmoe_base_add_losses(const FmoeBasePrepared *prepared, FnnTape *tape, FnnTensor *states, FnnTensor *table,
								 const FmoeBatch *batch, const FmoeGoal *goal);

/* ---------------------------------------------------------------- classes */

extern const FmoeExpertClass fmoe_foundation_class;

#endif							/* FMOE_MODEL_XCROSS_BASE_H */

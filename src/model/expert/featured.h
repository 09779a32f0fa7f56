/*
 * featured.h
 *	  Item vectors that are made of features beside what is learned of the item itself:
 *
 *		v = e + sum over dense features of W x + sum over bags of the mean row of a table
 *
 * An item without an event has e = 0: its vector is what its features say.
 */
#ifndef FMOE_MODEL_EXPERT_FEATURED_H
#define FMOE_MODEL_EXPERT_FEATURED_H

#include "model/expert/class.h"

/* The name of the parameter of a feature. */
extern void fmoe_featured_name(const char *feature, char name[FNN_NAME_MAX]);
/* Declares "item.NAME.weight" for each feature, if any: [width, numbers] of a dense one, [terms, width] of a bag. */
extern void fmoe_declare_featured(FmoeDeclaring *to, const FmoeFeatures *features, int64_t width);

/* What a training makes once, to be read in every step. */
typedef struct FmoePrepared
{
	const bool *trained;		/* [n_items] whether the item is in what trains */
	const fnn_real *text[FMOE_FEATURES_MAX];	/* of each text: its rows [n_items, 512]; NULL: made when needed */
} FmoePrepared;

/* all: all items' vectors are wanted in every step. */
extern const FmoePrepared *fmoe_prepare_featured(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data,
												 bool all);
/* Bytes of that. */
extern double fmoe_prepared_bytes(const FmoeFeatures *features, double n_items, bool all);

/* Of the own options of a class with such items. */
typedef struct FmoeFeaturedOptions
{
	bool		features;		/* item vectors have what features add */
	double		id_dropout;		/* share of items that a step knows by these alone */
} FmoeFeaturedOptions;

/* Rows of a table of options, for an FmoeFeaturedOptions so many bytes into the struct. */
#define FMOE_FEATURED_OPTIONS(at) \
	{"features", FMOE_OPTION_BOOL, (at) + offsetof(FmoeFeaturedOptions, features), 0, 0, NULL, "false", \
	"an item's vector is its own and what its text, categories, price and vectors add, by maps that are learned"}, \
	{"id_dropout", FMOE_OPTION_REAL, (at) + offsetof(FmoeFeaturedOptions, id_dropout), 0, 0.9, NULL, "0", \
	"share of items that a step reads and scores by their features alone, as items without events are", "features"}

/* What such a class reads of items: a set of FmoeReads. */
extern unsigned fmoe_featured_reads(const FmoeFeaturedOptions *options);
/* For the hook start: the first width columns of a table's rows become 0 for items that do not train. */
extern void fmoe_start_featured(const FmoeExpert *expert, const FnnHost *host, FnnTensor *table, int64_t width);

/* The items that a step reads or scores, and its batch and goal, in which they are their places among these. */
typedef struct FmoeStepItems
{
	int64_t		n;
	const int32_t *item;		/* [n] all, or the different ones of batch, targets and negatives */
	FmoeBatch	batch;
	FmoeGoal	goal;
} FmoeStepItems;

extern FmoeStepItems fmoe_step_items(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch,
									 const FmoeGoal *goal);
/* The items first .. first + n - 1, for the hook step_items. */
extern FmoeStepItems fmoe_step_range(FnnArena *arena, int64_t first, int64_t n, const FmoeGoal *goal);
/* kept[n] on the arena, for fmoe_featured: the rows of items that train, but for a share of them that is dropped. */
extern bool *fmoe_step_kept(const FmoeExpert *expert, FnnArena *arena, const FmoeStepItems *step, double dropped);
/* 0 .. n - 1, on the arena. */
extern int32_t *fmoe_count_up(FnnArena *arena, int64_t n);
/* The batch with its tokens' numbers in place of items. */
extern FmoeBatch fmoe_batch_of_tokens(FnnArena *arena, const FmoeBatch *batch);

/*
 * Vectors [n, width] of items item[n] (NULL: of 0 .. n - 1): rows of table, e, and what
 * the features add by the slices from weight on.  kept[n]: whose row counts, those of
 * others being 0; NULL: all.
 */
extern FnnTensor *fmoe_featured(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, FnnTensor *weight,
								int64_t n, const int32_t *item, const bool *kept);
/* Bytes on the arena of the vectors of a step of so many tokens, with those that a shard takes beside them. */
extern double fmoe_step_items_bytes(const FmoeConfig *config, const FmoeFacts *facts, double width, double tokens,
									double beside);

#endif							/* FMOE_MODEL_EXPERT_FEATURED_H */

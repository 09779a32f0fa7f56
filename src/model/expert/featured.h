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

/*
 * Vectors [n, width] of items item[n]: rows of table, e, and what the features add by
 * the slices from weight on.  kept[n]: whose row counts, those of others being 0;
 * NULL: all.  dropout is of the features' numbers.
 */
extern FnnTensor *fmoe_featured(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, FnnTensor *weight,
								int64_t n, const int32_t *item, const bool *kept, double dropout);
/* Bytes on the arena for n of them. */
extern double fmoe_featured_bytes(const FmoeFeatures *features, double width, double n, bool recorded);

#endif							/* FMOE_MODEL_EXPERT_FEATURED_H */

/*
 * bag.h
 *	  Bags of terms as they come, row by row, made into a feature.
 */
#ifndef FMOE_MODEL_DATA_BAG_H
#define FMOE_MODEL_DATA_BAG_H

#include "model/data/features.h"

/*
 * Terms of rows, in any order; a row's terms may come in several turns.  Each
 * different term is kept once.  Memory grows with what is added, all of it from the host.
 */
typedef struct FmoeBag FmoeBag;

extern FmoeBag *fmoe_bag_create(const FnnHost *host);
/* One more time this term, of at least one byte of valid UTF-8, in this row. */
extern void fmoe_bag_add(FmoeBag *bag, int32_t row, const char *term, size_t bytes);
/* The most memory that the bag and its feature of n rows take together, while it is made. */
extern size_t fmoe_bag_bytes(const FmoeBag *bag, int64_t n);
/* Whether no term was added. */
extern bool fmoe_bag_empty(const FmoeBag *bag);
/*
 * Makes the feature's arrays, its names, scales and width, of n rows, in memory of
 * the host; name and modality are the caller's.  Row i of the bag becomes
 * row[i] (NULL: i).  Terms are numbered in the order of their names, so the feature
 * depends on what was added and not on when.  counted: weights are 1 + ln(times);
 * otherwise a term is in a row or is not, and there are no weights.
 * like, unless NULL, is a feature whose names, scales and width it shares: terms that are
 * none of those are left out.  Uses the bag up.
 */
extern void fmoe_bag_feature(FmoeBag *bag, FmoeFeature *feature, int32_t n, const int32_t *row, bool counted,
							 const FmoeFeature *like);

#endif							/* FMOE_MODEL_DATA_BAG_H */

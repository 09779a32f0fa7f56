/*
 * dense.h
 *	  Features as rows of numbers, for what is learned from them.
 *
 *	  text		512 numbers: the sum over the words of weight x scale x the word's
 *				512 signs, of length 1
 *	  price		3: its logarithm / 10, its percentile, and 1 where it is known
 *	  vector	as it is given, of length 1: the scale of a column tells nothing
 *
 * What is not known is a row of zeros.  Categories are bags of terms, whose rows
 * are to be learned.
 */
#ifndef FMOE_MODEL_DATA_DENSE_H
#define FMOE_MODEL_DATA_DENSE_H

#include "model/data/features.h"

#define FMOE_TEXT_SIGNS 512

/* Numbers in a row of a feature; 0: it has none, but a bag of terms. */
extern int64_t fmoe_dense_width(const FmoeFeature *feature);
/* x[n, width]: rows row[n] of the feature; row NULL: rows first .. first + n - 1. */
extern void fmoe_dense_rows(const FmoeFeature *feature, const int32_t *row, int64_t first, int64_t n, fnn_real *x);

#endif							/* FMOE_MODEL_DATA_DENSE_H */

/*
 * inputs.h
 *	  What a class that knows items by their features alone computes their vectors from.
 *
 * An input is a row of numbers of an item that any database can have: its text and
 * the words of its categories, its price, or a vector under the name of its column.
 * The class keeps the list in its options, so that an encoder that was lent says by
 * itself what it reads.  A domain that lacks an input gives zeros.
 */
#ifndef FMOE_MODEL_EXPERT_INPUTS_H
#define FMOE_MODEL_EXPERT_INPUTS_H

#include "model/expert/class.h"

/* Names of the inputs that are no vector columns. */
#define FMOE_INPUT_TEXT "text"
#define FMOE_INPUT_PRICE "price"

/* What a list of inputs consists of, for options that fill an FmoeInputList. */
extern const FmoeOptionList fmoe_input_option;

/* Numbers that inputs of that name have; 0: a vector column's, of any length. */
extern int	fmoe_input_width(const char *name);
/* The sum of the inputs' widths. */
extern int64_t fmoe_inputs_width(const FmoeInputList *inputs);
/* The feature that an input is made of; NULL: the items have none, and its rows are zeros. */
extern const FmoeFeature *fmoe_input_feature(const FmoeInput *input, const FmoeFeatures *features);
/* Whether two lists have the same inputs, in the same order and of the same widths. */
extern bool fmoe_same_inputs(const FmoeInputList *a, const FmoeInputList *b);
/*
 * x[n, width]: an input of items item[n]; item NULL: of items first .. first + n - 1.
 * Of a text the inverse document frequencies are those of the catalogue that is read.
 */
extern void fmoe_input_rows(const FnnHost *host, const FmoeInput *input, const FmoeFeatures *features,
							const int32_t *item, int64_t first, int64_t n, fnn_real *x);

#endif							/* FMOE_MODEL_EXPERT_INPUTS_H */

/*
 * serve_private.h
 *	  What the files that score share among themselves.
 */
#ifndef FMOE_MODEL_SERVE_SERVE_PRIVATE_H
#define FMOE_MODEL_SERVE_SERVE_PRIVATE_H

#include "model/serve/serve.h"

/* What is added to the products of a state: to those of all items, or of few. */
typedef struct FmoeAdded
{
	const float *all;			/* [n_items]; NULL: to few */
	FmoeTerms	few;
} FmoeAdded;

/*
 * What is added to the main expert's scores after a history of the batch, which led
 * to that state, on the arena: the class's terms, and those of the gate or counted
 * transitions times blend.
 */
extern FmoeAdded fmoe_model_added(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								  const fnn_real *state);
/* The counted transitions times blend alone. */
extern FmoeTerms fmoe_blend_terms(const FmoeModel *model, FnnArena *arena, FnnRows last);

/* ---------------------------------------------------------------- strangers */

/* The main expert over some items in place of all, strangers among them: item[i] is i to it. */
extern FmoeExpert fmoe_among(const FmoeModel *model, FnnArena *arena, int32_t n, const int32_t *item);
/* The main expert, history and items as they are; where one of them is a stranger, over these items alone. */
typedef struct FmoeAmong
{
	FmoeExpert	expert;
	FmoeBatch	batch;
	const int32_t *item;
} FmoeAmong;

extern FmoeAmong fmoe_among_those(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int64_t n,
								  const int32_t *item);
/* The row of an item, which may be a stranger, in the item table; with a gate its first columns are the vector. */
static inline const fnn_real *
fmoe_vector_of(const FmoeModel *model, int32_t item)
{
	return item < model->n_items ? model->items.value + item * model->items.cols
		: model->strangers.vector + (item - model->n_items) * model->items.cols;
}

/* Whether some of the items are strangers. */
extern bool fmoe_has_strangers(const FmoeModel *model, int64_t n, const int32_t *item);
/*
 * score[n] of strangers after the batch's one sequence by an expert; hidden: the state, where
 * it is the main one and has vectors, else NULL.
 */
extern void fmoe_scores_of_strangers(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
									 const FmoeBatch *batch, const fnn_real *hidden, int64_t n, const int32_t *item,
									 fnn_real *score);

/* ---------------------------------------------------------------- item vectors */

/* Sets the item table, whose last columns are not the main expert's but a gate's. */
extern void fmoe_set_items(FmoeModel *model, int64_t cols, fnn_real *value, int64_t behind);
/* Columns of the vectors that the main expert's class computes. */
extern int64_t fmoe_computed_width(const FmoeModel *model, FnnArena *arena);
/* Computes the vectors of all items into rows that are stride apart. */
extern void fmoe_compute_vectors(const FmoeModel *model, FnnArena *arena, fnn_real *value, int64_t stride);

/* ---------------------------------------------------------------- the gate */

/* state[items.cols] of a model with a gate, from one of its main expert. */
extern void fmoe_gate_state(const FmoeModel *model, const FmoeBatch *batch, const fnn_real *hidden, fnn_real *state);
/* [n_items] the weighed terms of all experts after a history. */
extern float *fmoe_gate_added(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence);

#endif							/* FMOE_MODEL_SERVE_SERVE_PRIVATE_H */

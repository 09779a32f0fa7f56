/*
 * serve_private.h
 *	  What the files that score share among themselves.
 */
#ifndef FMOE_MODEL_SERVE_SERVE_PRIVATE_H
#define FMOE_MODEL_SERVE_SERVE_PRIVATE_H

#include "model/serve/serve.h"

/*
 * All terms of the main expert's scores after a history of the batch, which led to
 * that state, on the arena: those of the class, and those of the gate or counted
 * transitions times blend.
 */
extern FmoeTerms fmoe_model_terms(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								  const fnn_real *state);
/* The counted transitions times blend alone. */
extern FmoeTerms fmoe_blend_terms(const FmoeModel *model, FnnArena *arena, FnnRows last);

/* ---------------------------------------------------------------- the gate */

/* state[items.cols] of a model with a gate, from one of its main expert. */
extern void fmoe_gate_state(const FmoeModel *model, const FmoeBatch *batch, const fnn_real *hidden, fnn_real *state);
/* The weighed terms of all experts after a history. */
extern FmoeTerms fmoe_gate_terms(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence);

#endif							/* FMOE_MODEL_SERVE_SERVE_PRIVATE_H */

/*
 * serve_private.h
 *	  What the files that score share among themselves.
 */
#ifndef FMOE_MODEL_SERVE_SERVE_PRIVATE_H
#define FMOE_MODEL_SERVE_SERVE_PRIVATE_H

#include "model/serve/serve.h"

/*
 * What is added to products of a state with item vectors after a history's last
 * item, on the arena: what the class adds, and counted transitions by blend.
 */
extern FmoeTerms fmoe_model_terms(const FmoeModel *model, FnnArena *arena, int32_t last, const fnn_real *state);
/* The second of the two alone. */
extern FmoeTerms fmoe_blend_terms(const FmoeModel *model, FnnArena *arena, int32_t last);

#endif							/* FMOE_MODEL_SERVE_SERVE_PRIVATE_H */

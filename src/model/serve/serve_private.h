/*
 * serve_private.h
 *	  What the files that score share among themselves.
 */
#ifndef FMOE_MODEL_SERVE_SERVE_PRIVATE_H
#define FMOE_MODEL_SERVE_SERVE_PRIVATE_H

#include "model/serve/serve.h"

/*
 * All terms of the scores after a history with that last item and state, on the
 * arena: those of the class, and counted transitions times blend.
 */
extern FmoeTerms fmoe_model_terms(const FmoeModel *model, FnnArena *arena, FnnRows last, const fnn_real *state);
/* The second of the two alone. */
/* The counted transitions times blend alone. */
extern FmoeTerms fmoe_blend_terms(const FmoeModel *model, FnnArena *arena, FnnRows last);

#endif							/* FMOE_MODEL_SERVE_SERVE_PRIVATE_H */

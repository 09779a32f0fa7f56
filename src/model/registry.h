/*
 * registry.h
 *	  The list of expert classes.
 */
#ifndef FMOE_MODEL_REGISTRY_H
#define FMOE_MODEL_REGISTRY_H

#include "model/expert/class.h"

/* In the order of the option "model"; NULL-terminated. */
extern const FmoeExpertClass *const fmoe_expert_classes[];
extern const char *const fmoe_expert_names[];	/* the same names, NULL-terminated: choices of the option */
extern const FmoeExpertClass *fmoe_expert_class(const char *name);	/* NULL: none */

/* Rows of fmoe_expert_classes whose encoders can be lent, by name; NULL-terminated: choices of the option "encoder". */
extern const char *const fmoe_encoder_names[];

#endif							/* FMOE_MODEL_REGISTRY_H */

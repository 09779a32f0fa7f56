/*
 * gated.h
 *	  The options of a class that may stand under a linear gate, as the expert "own" beside
 *	  all that count (serve/gate.c).
 *
 * A class whose scores are products of states with item vectors, learned or computed, has
 * an FmoeGatedOptions among its own options, FMOE_GATED_OPTIONS in their table, and the
 * hooks gated and gate_prior.  Without the hook part_columns all columns are one part.
 */
#ifndef FMOE_MODEL_EXPERT_GATED_H
#define FMOE_MODEL_EXPERT_GATED_H

#include "model/expert/class.h"

/* Choices of the option gate. */
typedef enum FmoeAlone
{
	FMOE_GATE_NONE,
	FMOE_GATE_ALL
} FmoeAlone;

typedef struct FmoeGatedOptions
{
	int			gate;			/* FmoeAlone */
	char		prior[FMOE_EXPERT_NAME_MAX];	/* empty: the default */
} FmoeGatedOptions;

extern const char *const fmoe_gated_names[];

#define FMOE_GATE_PRIOR_HELP \
	"of the gate linear, towards which its weights are pulled: default, which ships, as when not given; lent, the" \
	" mean of that and of the gates that others lent; the name of a lent expert; none"

/* Rows of a table of options, for an FmoeGatedOptions so many bytes into the struct. */
#define FMOE_GATED_OPTIONS(at) \
	{"gate", FMOE_OPTION_ENUM, (at) + offsetof(FmoeGatedOptions, gate), 0, 0, fmoe_gated_names, "none", \
	"none: the model's scores; linear: weighed with all that count by numbers that validation says"}, \
	{"gate_prior", FMOE_OPTION_NAME, (at) + offsetof(FmoeGatedOptions, prior), 0, 0, NULL, "", \
	FMOE_GATE_PRIOR_HELP, "gate=linear"}

/* What the hook gated says. */
static inline bool
fmoe_gated_on(const FmoeGatedOptions *options)
{
	return options->gate == FMOE_GATE_ALL;
}

/* What the hook gate_prior says. */
static inline const char *
fmoe_gated_prior(const FmoeGatedOptions *options)
{
	return fmoe_gated_on(options) ? options->prior : NULL;
}

#endif							/* FMOE_MODEL_EXPERT_GATED_H */

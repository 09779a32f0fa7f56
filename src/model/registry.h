/*
 * registry.h
 *	  The list of expert classes, and what can be asked of a configuration through it.
 */
#ifndef FMOE_MODEL_REGISTRY_H
#define FMOE_MODEL_REGISTRY_H

#include "model/expert/class.h"

/* In the order of the option "model"; NULL-terminated. */
extern const FmoeExpertClass *const fmoe_expert_classes[];
/* The same names, NULL-terminated: choices of the option. */
extern const char *const fmoe_expert_names[];
/*
 * The classes that every version holds beside its main one, as baselines of
 * evaluation and fallbacks of serving, by slot; that of FMOE_MAIN is NULL.
 */
extern const FmoeExpertClass *const fmoe_slot_classes[FMOE_GATED];

/* What a class that is judged by clicks must beat; NULL-terminated. */
extern const FmoeExpertClass *const fmoe_click_baselines[];

/* The default of the option "model". */
#define FMOE_DEFAULT_MODEL "auto"
/* Its default where rows are all there is, and of what was stored without one: one encoder. */
#define FMOE_PLAIN_MODEL "sasrec"

/* NULL: none has that name. */
extern const FmoeExpertClass *fmoe_expert_class(const char *name);
/* The row of fmoe_expert_names that has the name, which must be there. */
extern int	fmoe_expert_row(const char *name);
/* The class's first row of fmoe_expert_classes, in which it must be. */
extern int	fmoe_expert_number(const FmoeExpertClass *class);
/*
 * Makes the other name of a class its first one.  By that name, "auto", a mixture has
 * lent experts only where they are named.
 */
extern void fmoe_config_canonical(FmoeConfig *config);
/* The shape of the encoder that a model of this configuration can lend; false: it has none. */
extern bool fmoe_lendable(const FmoeConfig *config, FmoeShape *shape);
/*
 * The configuration of that encoder as a model of its own; of a model without an encoder, or with one of its own
 * kind, its configuration.
 */
extern FmoeConfig fmoe_encoder_config(const FmoeConfig *config);

/* The lent encoders that a model of this configuration uses, in its options; NULL: it uses none. */
extern FmoeLentList *fmoe_borrowed(FmoeConfig *config);
/* The base that a model of this configuration is built on; NULL: none. */
extern const FmoeNamedBase *fmoe_named_base(const FmoeConfig *config);
/* What the names of the parameters of lent model i begin with where it is built in: prefix[FNN_NAME_MAX]. */
extern void fmoe_built_prefix(int i, char *prefix);
/* What item vectors of a model of this configuration are computed from, in its options; NULL: it has no such list. */
extern FmoeInputList *fmoe_inputs(FmoeConfig *config);
/* Exchanges with peers while training, each after so many epochs; 0: none. */
extern int	fmoe_rounds(const FmoeConfig *config, int *local_epochs);

/* The configuration becomes that of popularity, which needs nothing to learn from. */
extern void fmoe_count_instead(FmoeConfig *config);

#endif							/* FMOE_MODEL_REGISTRY_H */

/*
 * options.h
 *	  The options of a training that every model has, and whether all of them fit each other.
 */
#ifndef FMOE_MODEL_OPTIONS_H
#define FMOE_MODEL_OPTIONS_H

#include "model/config.h"

extern const char *const fmoe_holdout_names[];	/* by FmoeHoldout; ends with NULL */
extern const FmoeOption fmoe_train_options[];	/* fills FmoeConfig; ends with name NULL */
extern const char *const fmoe_holdout_names[];	/* by FmoeHoldout, NULL-terminated */

/* Settles what depends on the data: the loss auto, by the size of the catalogue. */
extern void fmoe_config_settle(FmoeConfig *config, int32_t n_items);
/* Whether the options fit each other; what depends on the loss is not judged while that is auto. */
extern bool fmoe_config_fits(const FmoeConfig *config, FmoeMisfit *misfit);
/* Both; a misfit is FNN_INVALID. */
extern void fmoe_config_resolve(FmoeConfig *config, const FnnHost *host, int32_t n_items);

#endif							/* FMOE_MODEL_OPTIONS_H */

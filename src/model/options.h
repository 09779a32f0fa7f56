/*
 * options.h
 *	  The options of a training that every model has, and whether all of them fit each other.
 */
#ifndef FMOE_MODEL_OPTIONS_H
#define FMOE_MODEL_OPTIONS_H

#include "model/config.h"
#include "model/data/data.h"

extern const char *const fmoe_holdout_names[];	/* by FmoeHoldout; ends with NULL */
extern const FmoeOption fmoe_train_options[];	/* fills FmoeConfig; ends with name NULL */

/* Replaces the loss auto by the one that it stands for with so many items. */
extern void fmoe_choose_loss(FmoeConfig *config, int32_t n_items);
/* The common options that say nothing to the configuration's class, NULL-terminated. */
extern const char *const *fmoe_unused_options(const FmoeConfig *config);
/* Lets the class set its options that follow from the data; false: the data lack what they need. */
extern bool fmoe_config_complete(FmoeConfig *config, const FmoeDataset *data, FmoeMisfit *misfit);
/* Whether the options fit each other; what depends on the loss is not checked while that is auto. */
extern bool fmoe_config_fits(const FmoeConfig *config, FmoeMisfit *misfit);
/* Chooses the loss and fails with FNN_INVALID, and the misfit's message, where the options do not fit each other. */
extern void fmoe_config_check(FmoeConfig *config, const FnnHost *host, int32_t n_items);

#endif							/* FMOE_MODEL_OPTIONS_H */

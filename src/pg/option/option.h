/*
 * option.h
 *	  Options of calls: from jsonb and back.
 */
#ifndef FMOE_PG_OPTION_OPTION_H
#define FMOE_PG_OPTION_OPTION_H

#include "pg/base/base.h"
#include "model/model.h"

/* ---------------------------------------------------------------- tables (options.c) */

/*
 * Fills target from the defaults and then the object; NULL: the defaults alone.
 * Unknown key, wrong type, value out of range: ERRCODE_INVALID_PARAMETER_VALUE
 * with what is allowed as HINT.
 */
extern void fmoe_parse_options(Jsonb *object, const FmoeOption *options, void *target);
/* Every option of target as a jsonb object. */
extern Jsonb *fmoe_options_jsonb(const FmoeOption *options, const void *target);
/* What an option takes: "an integer from 1 to 64". */
extern char *fmoe_option_takes(const FmoeOption *option);

/* ---------------------------------------------------------------- configurations (config.c) */

/* What the options of one call differ in from their tables. */
typedef struct FmoeCallOptions
{
	const char *model;			/* the default */
	const char *const *left_out;	/* options that it has not, NULL-terminated; NULL: it has all */
	bool		no_items;		/* there is no item table: models that need one cannot be */
} FmoeCallOptions;

/* Those of CALL fmoe_train. */
extern const FmoeCallOptions fmoe_train_call;

/*
 * Reads a configuration that was stored.  Options of other classes, which the first
 * builds stored too, are passed over.  NULL: the defaults.
 */
extern void fmoe_parse_config(Jsonb *object, FmoeConfig *config);
/*
 * Reads a configuration that a caller gives.  Fails, beside the reasons that
 * fmoe_parse_options has, for an option of another model, one that has no meaning
 * without another, one that the call has not, and for options
 * that do not fit each other.
 */
extern void fmoe_parse_asked(Jsonb *object, const FmoeCallOptions *call, FmoeConfig *config);
/* Whether the name is among left_out, which may be NULL. */
extern bool fmoe_is_left_out(const char *const *left_out, const char *name);
/* Fails where the options of a configuration do not fit each other. */
extern void fmoe_check_config(const FmoeConfig *config);
/* Sets what follows from the data, where it is not given; fails where the data lack what the options need. */
extern void fmoe_complete_config(FmoeConfig *config, const FmoeDataset *data);
/* A configuration to be stored: the options of every model and the class's own. */
extern Jsonb *fmoe_config_jsonb(const FmoeConfig *config);

#endif							/* FMOE_PG_OPTION_OPTION_H */

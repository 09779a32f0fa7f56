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
/* The other way: every option of target as a jsonb object. */
extern Jsonb *fmoe_options_jsonb(const FmoeOption *options, const void *target);
/* What an option takes: "an integer from 1 to 64". */
extern char *fmoe_option_takes(const FmoeOption *option);

/* ---------------------------------------------------------------- configurations (config.c) */

/*
 * A configuration as it is stored: the options of every model, and those of its
 * own that its class has.  Options of other classes, which the first builds
 * stored too, are passed over.  NULL: the defaults.
 */
extern void fmoe_parse_config(Jsonb *object, FmoeConfig *config);
/*
 * A configuration as somebody asks for it.  Errors besides those of
 * fmoe_parse_options: an option of another model, one that says nothing without
 * another, one of left_out (NULL-terminated; may be NULL), options that do not
 * fit each other.
 */
extern void fmoe_parse_asked(Jsonb *object, const char *const *left_out, FmoeConfig *config);
/* Whether the name is among left_out, which may be NULL. */
extern bool fmoe_is_left_out(const char *const *left_out, const char *name);
/* Error where a training's options do not fit each other. */
extern void fmoe_check_config(const FmoeConfig *config);
/* The options of every model and those of the class's own. */
extern Jsonb *fmoe_config_jsonb(const FmoeConfig *config);

#endif							/* FMOE_PG_OPTION_OPTION_H */

/*
 * option.h
 *	  Options of calls: from jsonb and back.
 */
#ifndef FMOE_PG_OPTION_OPTION_H
#define FMOE_PG_OPTION_OPTION_H

#include "pg/base/base.h"
#include "model/model.h"

/* ---------------------------------------------------------------- options */

/*
 * Fills target from the defaults and then the object.  Unknown key, wrong
 * type, value out of range: ERRCODE_INVALID_PARAMETER_VALUE with what is
 * allowed as HINT.
 */
extern void fmoe_parse_options(Jsonb *object, const FmoeOption *options, void *target);
/* Error where the parsed object gives an option that only another model reads, or one that without another says nothing. */
extern void fmoe_check_given(Jsonb *object, const FmoeOption *options, const char *model, const void *target);
/* Error where a training's options do not fit each other. */
extern void fmoe_check_config(const FmoeConfig *config);
/* The other way: every option of target as a jsonb object. */
extern Jsonb *fmoe_options_jsonb(const FmoeOption *options, const void *target);

/* options_lent.c */

/* Into name[FMOE_EXPERT_NAME_MAX]. */
extern void fmoe_parse_name(const char *option, const JsonbValue *value, char *name);
extern void fmoe_parse_lent(const JsonbValue *value, FmoeLentList *list);
extern void fmoe_push_lent(JsonbParseState **state, const FmoeLentList *list);

#endif							/* FMOE_PG_OPTION_OPTION_H */

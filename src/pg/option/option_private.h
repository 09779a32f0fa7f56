/*
 * option_private.h
 *	  What the files about options share among themselves.
 */
#ifndef FMOE_PG_OPTION_OPTION_PRIVATE_H
#define FMOE_PG_OPTION_OPTION_PRIVATE_H

#include "pg/option/option.h"

/* Sets one option of target; an error says what the option takes. */
extern void fmoe_set_option(const FmoeOption *option, const JsonbValue *value, void *target);
extern void fmoe_set_defaults(const FmoeOption *options, void *target);
/* Sets those to what they are in what was stored before there were they. */
extern void fmoe_set_stored(const FmoeOption *options, void *target);
/* Sets options to other defaults: name, value, name, value, ..., NULL; changed NULL: none. */
extern void fmoe_change_defaults(const FmoeOption *options, const char *const *changed, void *target);
/* Adds the options of a table that are set in target to an object that has begun. */
extern void fmoe_push_options(JsonbParseState **state, const FmoeOption *options, const void *target);
/* The option of that name; NULL: the table, which may be NULL, has none. */
extern const FmoeOption *fmoe_find_option(const FmoeOption *options, const char *name, int length);
/* Fails, since no option of that name is in the tables, a NULL-terminated list. */
pg_noreturn extern void fmoe_reject_name(const FmoeOption *const *tables, const char *name, int length);

typedef void (*FmoeTakeOption) (void *argument, const char *name, int length, const JsonbValue *value);
/* Calls take for every key of an object; fails when it is no object.  example: an option that the hint shows. */
extern void fmoe_walk_options(Jsonb *object, const FmoeOption *example, FmoeTakeOption take, void *argument);

#endif							/* FMOE_PG_OPTION_OPTION_PRIVATE_H */

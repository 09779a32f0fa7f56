/*
 * option_private.h
 *	  What the files about options share among themselves.
 */
#ifndef FMOE_PG_OPTION_OPTION_PRIVATE_H
#define FMOE_PG_OPTION_OPTION_PRIVATE_H

#include "pg/option/option.h"

/* One value into its place in target; an error that says what the option takes. */
extern void fmoe_set_option(const FmoeOption *option, const JsonbValue *value, void *target);
extern void fmoe_set_defaults(const FmoeOption *options, void *target);
/* Keys and values of all options of a table that are set, into an object that has begun. */
extern void fmoe_push_options(JsonbParseState **state, const FmoeOption *options, const void *target);
/* NULL: the table, which may be NULL, has no option of that name. */
extern const FmoeOption *fmoe_find_option(const FmoeOption *options, const char *name, int length);
/* Error: no option of that name is in the tables, the last of which is followed by NULL. */
extern void fmoe_reject_name(const FmoeOption *const *tables, const char *name, int length) pg_attribute_noreturn();

typedef void (*FmoeTakeOption) (void *argument, const char *name, int length, const JsonbValue *value);
/* Gives every key of an object to take, an error when it is none; example: an option that the HINT shows. */
extern void fmoe_walk_options(Jsonb *object, const FmoeOption *example, FmoeTakeOption take, void *argument);

#endif							/* FMOE_PG_OPTION_OPTION_PRIVATE_H */

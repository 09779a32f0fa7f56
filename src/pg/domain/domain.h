/*
 * domain.h
 *	  Domains: what is registered of an interaction table, and who may do what with it.
 */
#ifndef FMOE_PG_DOMAIN_DOMAIN_H
#define FMOE_PG_DOMAIN_DOMAIN_H

#include "model/data/features.h"
#include "model/serve/serve.h"
#include "nodes/pg_list.h"
#include "pg/base/base.h"
#include "utils/array.h"

/* ---------------------------------------------------------------- domains */

typedef enum FmoeAccess
{
	FMOE_USE,
	FMOE_MANAGE
} FmoeAccess;

/* What the numbers of a time column count since 1970. */
typedef enum FmoeTimeUnit
{
	FMOE_UNIT_UNSAID,			/* taken for seconds */
	FMOE_UNIT_SECONDS,
	FMOE_UNIT_MILLISECONDS,
	FMOE_UNIT_MICROSECONDS,
	FMOE_UNIT_DAYS
} FmoeTimeUnit;

#define FMOE_TIME_UNITS (FMOE_UNIT_DAYS + 1)

/* [FMOE_TIME_UNITS] NULL: FMOE_UNIT_UNSAID */
extern const char *const fmoe_time_unit_names[];

/* What else a row of the interaction table may tell of its event. */
typedef enum FmoeOptional
{
	FMOE_LABEL_COLUMN,			/* whether the item was chosen */
	FMOE_ORDER_COLUMN,			/* which of the events of one time came first */
	FMOE_BASKET_COLUMN,			/* which basket it is in */
	FMOE_WEIGHT_COLUMN,			/* how much it counts */
	FMOE_OPTIONAL_COLUMNS
} FmoeOptional;

typedef struct FmoeColumn
{
	char	   *name;			/* not quoted; NULL: there is no such column */
	Oid			type;			/* under any SQL domains */
	Oid			collation;
} FmoeColumn;

typedef struct FmoeDomain
{
	int64		id;
	char	   *name;
	Oid			interactions;
	char	   *relation;		/* quoted, schema-qualified */
	char	   *user_column;	/* column names, not quoted */
	char	   *item_column;
	char	   *time_column;
	FmoeColumn	optional[FMOE_OPTIONAL_COLUMNS];
	FmoeColumn	source;			/* says where an event comes from; only where a training asks for it */
	Oid			user_type;
	Oid			item_type;
	Oid			item_collation;
	Oid			time_type;
	FmoeTimeUnit time_unit;
	Oid			user_equal;		/* operators of the types' default classes */
	Oid			item_equal;
	Oid			items;			/* the item table; InvalidOid: none */
	char	   *item_key;		/* its column of item ids */
	char	   *available_column;	/* its column that says whether an item is; NULL: none */
	List	   *features[FMOE_MODALITIES];	/* names of its columns that say what items are */
	bool		of_users;		/* fmoe_users_as_items made it: the item table is that of the users */
	Oid			users;			/* the user table; InvalidOid: none */
	char	   *user_key;		/* its column of user ids */
	List	   *user_categories;	/* names of its columns that say what users are */
	char	   *sharing;
	Oid			owner;			/* role */
} FmoeDomain;

/*
 * The named domain; NULL: the setting fmoe.domain, else the only one there is.
 * Checks that the caller has access and that the table and its columns are still
 * there, with the types they were registered with.
 */
extern FmoeDomain *fmoe_domain_open(const char *name, FmoeAccess access);
/*
 * The same for what manages versions only: the table may be gone, and relation,
 * types, collation and operators are not set.
 */
extern FmoeDomain *fmoe_domain_find(const char *name, FmoeAccess access);
/* fmoe_domain_open for a SQL argument that may be NULL. */
extern FmoeDomain *fmoe_domain_argument(FunctionCallInfo fcinfo, int argument, FmoeAccess access);

/*
 * As whom a table of the domain is read, which is its interactions, its item or its
 * user table: as the caller, but where he could act as the domain's owner as that role,
 * and where that role could act as the table's owner as this one.
 */
extern Oid	fmoe_domain_reader(const FmoeDomain *domain, Oid table);

/* The domain with its users as items and the user table as item table, for what reads that one. */
extern FmoeDomain fmoe_users_as_items(const FmoeDomain *domain);
/* "item", or "user" where fmoe_users_as_items made the domain. */
extern const char *fmoe_described(const FmoeDomain *domain);
/* Its hint for who has to say what replaces that table or its key. */
extern char *fmoe_described_hint(const FmoeDomain *domain);

/* Whether the caller himself may read all columns of the item table that words come from, and all rows. */
extern bool fmoe_may_read_texts(const FmoeDomain *domain);

/* The domain of that name, without any check; NULL: none. */
extern FmoeDomain *fmoe_domain_lookup(const char *name);
extern FmoeDomain *fmoe_domain_of_id(int64 domain_id);
/* That of a name; NULL also when the caller may neither use nor manage it. */
extern FmoeDomain *fmoe_domain_seen(const char *name);
/*
 * Locks the domain's row to the end of the transaction: changes of what is live or
 * lent come one after the other.  While it waited the domain may have been renamed,
 * or be shared otherwise: name and sharing become what they are now.  Error when it
 * is gone; the other says so.
 */
extern void fmoe_lock_domain(FmoeDomain *domain);
extern bool fmoe_try_lock_domain(FmoeDomain *domain);
/* Whether there is a domain of that id that the caller may use or manage. */
extern bool fmoe_may_see(int64 domain_id);

/* A row of fmoe.domain as it will be. */
typedef struct FmoeRegistration
{
	FmoeDomain	base;			/* id, names, tables, columns, types, owner, sharing */
	ArrayType  *text_columns;
	ArrayType  *category_columns;
	char	   *price_column;
	ArrayType  *vector_columns;
	ArrayType  *user_category_columns;
} FmoeRegistration;

/* What values of the types fmoe._relation and fmoe._type name; InvalidOid: nothing that is there. */
extern Oid	fmoe_referenced_relation(Datum reference);
extern Oid	fmoe_referenced_type(Datum reference);

/* Error when these cannot be the columns of a domain; sets the types of its ids. */
extern void fmoe_check_interactions(FmoeDomain *domain);
/* The same for its item table, and its user table. */
extern void fmoe_check_items(const FmoeRegistration *registration);
extern void fmoe_check_users(const FmoeRegistration *registration);
/* Lets interactions be read with a column that says where they come from; an error where it cannot be one. */
extern void fmoe_domain_set_source(FmoeDomain *domain, const char *column);
/* The type under any SQL domains of a column and, unless NULL, its collation; InvalidOid: no such column. */
extern Oid	fmoe_column_type(Oid relation, const char *column, Oid *collation);
/* Whether fmoe_event_at() takes values of a type. */
extern bool fmoe_is_time_type(Oid type);
/* Whether it is one of timestamps or dates without a time zone: their times are local. */
extern bool fmoe_is_local_time(Oid type);
/* What an optional column of the interaction table has to be. */
typedef struct FmoeColumnRule
{
	const char *parameter;		/* of fmoe_create_domain, and its name in fmoe.domain */
	bool		(*fits) (Oid type);
	const char *what;			/* "a label" */
	const char *detail;			/* a sentence */
} FmoeColumnRule;

extern const FmoeColumnRule fmoe_column_rules[FMOE_OPTIONAL_COLUMNS];
/* The same for what a column of the item table has to be that says what items are. */
extern const FmoeColumnRule fmoe_item_rules[FMOE_MODALITIES];
/* And of the user table, which has categories only. */
extern const FmoeColumnRule fmoe_user_rule;

/* Texts are one feature together, like prices; all others are one each. */
#define FMOE_TEXT_COLUMNS_MAX 16
#define FMOE_CATEGORY_COLUMNS_MAX 10
#define FMOE_VECTOR_COLUMNS_MAX (FMOE_FEATURES_MAX - 2 - FMOE_CATEGORY_COLUMNS_MAX)
/*
 * What a part of a model's scores is called in a domain: where it is that of a vector column, by the column's name, if
 * no other part has it.
 */
extern const char *fmoe_domain_part_name(const FmoeDomain *domain, const FmoeModel *model, int part);
/* Whether values of a type are numbers. */
extern bool fmoe_is_number(Oid type);
/* The unit of that name; NULL: FMOE_UNIT_UNSAID.  Any other name is an error. */
extern FmoeTimeUnit fmoe_time_unit_of(const char *name);

#endif							/* FMOE_PG_DOMAIN_DOMAIN_H */

/*
 * private.h
 *	  What the files about settings, domains and the generated forms of
 *	  fmoe_recommend share among themselves.
 */
#ifndef FMOE_PRIVATE_H
#define FMOE_PRIVATE_H

#include "access/genam.h"
#include "utils/rel.h"

#include "pg.h"

#include "storage/dsm.h"

#define FMOE_VERSION "1.0"		/* default_version of fmoe.control */

/* settings.c */
extern void fmoe_define_settings(void);

/* own.c */

/*
 * Rows of one of the extension's tables, seen with the active snapshot: those
 * that an index finds by keys (numbers of the table's columns), in its order,
 * or with index NULL all that the keys hold for.
 */
typedef struct FmoeRows
{
	Relation	table;
	Relation	index;
	SysScanDesc scan;
	bool		snapshot;		/* pushed here */
} FmoeRows;

extern void fmoe_rows_begin(FmoeRows *rows, const char *table, const char *index, int nkeys, ScanKey keys);
extern HeapTuple fmoe_rows_next(FmoeRows *rows);	/* NULL: no more; good until the next one */
extern void fmoe_rows_end(FmoeRows *rows);

/*
 * Between the two, reading sees what the same statement has done so far, as in
 * fmoe_deploy('d', fmoe_import(…)).  For functions that write.
 */
extern void fmoe_fresh_begin(void);
extern void fmoe_fresh_end(void);

/* shared.c */

/* A struct of PostgreSQL's main shared memory, initialized by whoever comes first. */
extern void *fmoe_shared_struct(const char *name, Size bytes, void (*initialize) (void *memory));
/*
 * A dynamic segment that stays mapped beyond the query: a new one of so many
 * bytes, or with bytes 0 the one of a handle.  NULL: it could not be had, and
 * reason says why, or (reason untouched) it is no longer there.
 */
extern dsm_segment *fmoe_segment(size_t bytes, dsm_handle handle, const char **reason);

/* domain.c */

/* The domain of a name, no check made; NULL: none. */
extern FmoeDomain *fmoe_domain_lookup(const char *name);
/* Both work for a domain whose table is gone; relation InvalidOid or dangling. */
extern bool fmoe_may_select(Oid relation, const FmoeDomain *domain);
extern bool fmoe_may_manage(const FmoeDomain *domain);
/* Whether the caller may use or manage the domain of that id; not if there is none. */
extern bool fmoe_may_see(int64 domain_id);

/* A row of fmoe.domain as it will be. */
typedef struct FmoeRegistration
{
	FmoeDomain	base;			/* id, names, interactions, columns, types, owner, sharing */
	Oid			items;			/* InvalidOid: none */
	char	   *item_key;
	ArrayType  *text_columns;
	ArrayType  *category_columns;
	char	   *price_column;
	ArrayType  *vector_columns;
} FmoeRegistration;

/* Errors where these cannot be a domain's (domain_check.c); the first one sets the types of the ids. */
extern void fmoe_check_interactions(FmoeDomain *domain);
extern void fmoe_check_items(const FmoeRegistration *registration);
/* The type under any SQL domains of a column and, unless NULL, its collation; InvalidOid: no such column. */
extern Oid	fmoe_column_type(Oid relation, const char *column, Oid *collation);
/* Whether fmoe_seconds() takes values of a type. */
extern bool fmoe_is_time_type(Oid type);

/* options_lent.c */

/* Into name[FMOE_EXPERT_NAME_MAX]. */
extern void fmoe_parse_name(const char *option, const JsonbValue *value, char *name);
extern void fmoe_parse_lent(const JsonbValue *value, FmoeLentList *list);
extern void fmoe_push_lent(JsonbParseState **state, const FmoeLentList *list);

/* ids.c */

/* smallint, integer and bigint are one kind of id. */
extern bool fmoe_is_integer(Oid type);
extern int64 fmoe_integer_of(Oid type, Datum value);
extern bool fmoe_integer_fits(Oid type, int64 value);
extern Datum fmoe_datum_of_integer(Oid type, int64 value);

/*
 * Ids numbered 0, 1, … as they first appear.  A vocabulary before it is
 * sorted, and of the same type: count, find and id work on it.
 */
extern FmoeVocabulary *fmoe_idset_create(Oid type, Oid collation);
extern int32 fmoe_idset_add(FmoeVocabulary *set, Datum id); /* number, of an old id or a new one */
/* rank[count] of each id in an order of their type that only depends on the ids. */
extern int32 *fmoe_idset_ranks(const FmoeVocabulary *set);
extern Size fmoe_idset_bytes(const FmoeVocabulary *set);
/* index_of[count]: where each id went */
extern FmoeVocabulary *fmoe_vocabulary_of_idset(const FmoeVocabulary *set, int32 *index_of);

/* overload.c */

/*
 * Makes the generated forms of fmoe_recommend what the domains ask for.
 * fmoe_lock_overloads comes first, before the domains are changed; the lock
 * is held to the end of the transaction.
 */
extern void fmoe_lock_overloads(void);
extern void fmoe_maintain_overloads(void);

#endif							/* FMOE_PRIVATE_H */

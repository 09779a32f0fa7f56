/*
 * store.h
 *	  Versions in the tables of the extension: stored, found, loaded, made live.
 */
#ifndef FMOE_PG_STORE_STORE_H
#define FMOE_PG_STORE_STORE_H

#include "pg/domain/domain.h"
#include "pg/id/id.h"
#include "model/model.h"

#define FMOE_FORMAT 1			/* of what fmoe.version and fmoe.tensor hold */

typedef struct FmoeVersion
{
	int64		version_id;		/* 0 until stored */
	int			version;		/* 0 until stored */
	int64		domain_id;
	const char *name;			/* NULL but for imports */
	const char *model;
	const char *origin;
	bool		complete;
	const char *holdout;
	FmoeConfig	config;
	int64		events;
	int64		users;
	int32		items;
	double		last_event;		/* NaN: none */
	bool		last_event_local;	/* it is in no time zone: counted as if it were in UTC */
	double		seconds;
	Jsonb	   *metrics;
	int64		bytes;
	uint64		checksum;
} FmoeVersion;

/* Stores a new version with its arrays; sets its version_id, its number within the domain and its checksum. */
extern void fmoe_store_version(FmoeVersion *version, int n_arrays, const FnnArray *arrays);
/* number 0: the live version, or NULL when none is live.  Any other number must be there. */
extern FmoeVersion *fmoe_find_version(const FmoeDomain *domain, int number);
/* The same for a SQL argument; null: the live version. */
extern FmoeVersion *fmoe_version_argument(FunctionCallInfo fcinfo, int argument, const FmoeDomain *domain);
/* NULL: the domain has no version of that id. */
extern FmoeVersion *fmoe_version_of_id(const FmoeDomain *domain, int64 version_id);
/* version_id of the live version with the caller's snapshot, 0: none.  The hot path. */
extern int64 fmoe_live_version(int64 domain_id);
/* version_id of the newest version that is complete, live or not; 0: none. */
extern int64 fmoe_newest_version(int64 domain_id);
/*
 * Reads the arrays of a base, by its checksum, under the names that they have in models
 * that are built on it, into the current context; error: it is not here.  Returns how many.
 */
typedef int (*FmoeReadBase) (const char *checksum, FnnArray **arrays);
/* Set when the library is loaded: where bases are is known further up. */
extern FmoeReadBase fmoe_read_base;
/*
 * Loads all arrays of a version, and of the base that it is built on, into one block of
 * context, checks the checksum, and returns their number.
 */
extern int	fmoe_load_arrays(int64 version_id, MemoryContext context, FnnArray **arrays, size_t *bytes);
/* Gives so many bytes aligned to FNN_ALIGN, or NULL; what names the work, as for fmoe_check_memory. */
typedef void *(*FmoeTake) (void *argument, size_t bytes, const char *what);
/*
 * Loads all arrays into one block from take, and their names and shapes into
 * the current context.  When take gives NULL nothing is read and the result is -1.
 */
extern int	fmoe_load_arrays_into(int64 version_id, FmoeTake take, void *argument, FnnArray **arrays);
/*
 * The item vocabulary among a version's arrays, over arrays that stay; an error
 * that names the version when its ids are not of the domain's type any more.
 */
extern FmoeVocabulary *fmoe_version_vocabulary(const FmoeDomain *domain, const FmoeVersion *version,
											   int n_arrays, const FnnArray *arrays);
/* The same for work that can do without the version: NULL, with a NOTICE. */
extern FmoeVocabulary *fmoe_try_vocabulary(const FmoeDomain *domain, const FmoeVersion *version,
										   int n_arrays, const FnnArray *arrays);
/* Deploys a version; does nothing when it is live already. */
extern void fmoe_set_live(FmoeDomain *domain, int64 version_id);

/* Of arrays in any order. */
extern uint64 fmoe_checksum(int n_arrays, const FnnArray *arrays);
/* As 16 hexadecimal digits, and back. */
extern char *fmoe_checksum_text(uint64 checksum);
extern uint64 fmoe_checksum_parse(const char *text);

/* ---------------------------------------------------------------- rows of single users (private.c) */

/* Stores rows [users, n] of a version that was just stored, by users' ids of that type. */
extern void fmoe_store_private(int64 version_id, const FmoeVocabulary *users, Oid type, const FnnTensor *rows);
/* row[n] of a user; false: there is none. */
extern bool fmoe_load_private(int64 version_id, Oid type, Datum user, int64 n, fnn_real *row);

#endif							/* FMOE_PG_STORE_STORE_H */

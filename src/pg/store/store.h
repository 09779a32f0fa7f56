/*
 * store.h
 *	  Versions in the tables of the extension: stored, found, loaded, made live.
 */
#ifndef FMOE_PG_STORE_STORE_H
#define FMOE_PG_STORE_STORE_H

#include "pg/domain/domain.h"
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
	double		seconds;
	Jsonb	   *metrics;
	int64		bytes;
	uint64		checksum;
} FmoeVersion;

/* Stores a new version with its arrays; numbers are given out per domain and written back. */
extern void fmoe_store_version(FmoeVersion *version, int n_arrays, const FnnArray *arrays);
/* number 0: the live one.  Returns NULL when there is no live one; a number there is not is an error. */
extern FmoeVersion *fmoe_find_version(const FmoeDomain *domain, int number);
/* The same for a SQL argument: with null the live one. */
extern FmoeVersion *fmoe_version_argument(FunctionCallInfo fcinfo, int argument, const FmoeDomain *domain);
/* NULL: the domain has no version of that id. */
extern FmoeVersion *fmoe_version_of_id(const FmoeDomain *domain, int64 version_id);
/* version_id of the live version with the caller's snapshot, 0: none.  The hot path. */
extern int64 fmoe_live_version(int64 domain_id);
/* version_id of the newest version that is complete, live or not; 0: none. */
extern int64 fmoe_newest_version(int64 domain_id);
/* All arrays of a version, into memory of context in one block, checked against the checksum; returns their number. */
extern int	fmoe_load_arrays(int64 version_id, MemoryContext context, FnnArray **arrays, size_t *bytes);
/* Gives so many bytes aligned to FNN_ALIGN, or NULL; what names the work, as for fmoe_check_memory. */
typedef void *(*FmoeTake) (void *argument, size_t bytes, const char *what);
/*
 * The same into one block from take.  Names and shapes go to the current
 * context.  When take gives NULL nothing is read and the result is -1.
 */
extern int	fmoe_load_arrays_into(int64 version_id, FmoeTake take, void *argument, FnnArray **arrays);
/* Deploys a version; does nothing when it is live already. */
extern void fmoe_set_live(int64 domain_id, int64 version_id);

/* Of arrays in any order. */
extern uint64 fmoe_checksum(int n_arrays, const FnnArray *arrays);
/* As 16 hexadecimal digits, and back. */
extern char *fmoe_checksum_text(uint64 checksum);
extern uint64 fmoe_checksum_parse(const char *text);

#endif							/* FMOE_PG_STORE_STORE_H */

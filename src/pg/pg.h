/*
 * pg.h
 *	  Where PostgreSQL and the recommenders meet: the only room that includes
 *	  PostgreSQL's headers.
 *
 * Who may do what.  A domain is *used* (recommend, score, evaluate, …) by who
 * may SELECT its interaction columns, and *managed* (train, deploy, alter,
 * drop, import, export) by members of its owner role, the owner of the
 * interaction table, and superusers.  The interaction and item tables are read
 * as the caller, so privileges and row-level security hold.  The extension's
 * own tables are private: they are read and written as their owner, after the
 * check, with search_path pinned to pg_catalog (fmoe_own_begin).
 */
#ifndef FMOE_PG_H
#define FMOE_PG_H

#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/jsonb.h"

#include "../model/model.h"

/* ---------------------------------------------------------------- settings (settings.c) */

extern char *fmoe_domain_setting;	/* fmoe.domain */
extern int	fmoe_max_memory_kb; /* fmoe.max_memory */
extern int	fmoe_cache_size_kb; /* fmoe.cache_size */
extern int	fmoe_shared_cache_size_kb;	/* fmoe.shared_cache_size */
extern int	fmoe_training_workers;	/* fmoe.training_workers */
extern int	fmoe_scan_setting;	/* fmoe.scan: an FmoeScan */
extern char *fmoe_party_setting;	/* fmoe.party; empty: the database's name */

/* ---------------------------------------------------------------- host (host.c) */

/*
 * A host whose memory comes from context (64-byte aligned, huge allowed, freed
 * with it), whose errors are ereport(ERROR) with an SQLSTATE by FnnError, and
 * whose poll is CHECK_FOR_INTERRUPTS.  Sets BLAS up on first use.
 */
extern const FnnHost *fmoe_host(MemoryContext context);
/* An arena in context; limit in kB, 0: none. */
extern FnnArena *fmoe_arena(MemoryContext context, int limit_kb);
/* Error unless bytes fit fmoe.max_memory; what names the work: "training domain \"films\"". */
extern void fmoe_check_memory(size_t bytes, const char *what);

/* ---------------------------------------------------------------- own tables (own.c) */

/* A statement over the extension's tables, prepared once a backend. */
typedef struct FmoeStatement
{
	const char *sql;			/* fully qualified */
	int			nargs;
	Oid			types[20];
	SPIPlanPtr	plan;
} FmoeStatement;

typedef struct FmoeOwn
{
	Oid			user;
	int			security_context;
	int			guc_level;
	bool		snapshot;		/* pushed here */
} FmoeOwn;

/* Connects SPI as the owner of the extension's tables, search_path = pg_catalog, pg_temp. */
extern void fmoe_own_begin(FmoeOwn *own);
extern void fmoe_own_end(FmoeOwn *own);
/* Runs a statement between the two; results in SPI_tuptable, SPI_processed.  nulls may be NULL. */
extern void fmoe_own_execute(FmoeStatement *statement, Datum *values, const char *nulls,
							 bool read_only, long limit);
/* OID of the schema the extension's functions are in. */
extern Oid	fmoe_extension_schema(void);

/* ---------------------------------------------------------------- options (options.c) */

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

/* ---------------------------------------------------------------- domains (domain.c) */

typedef enum FmoeAccess
{
	FMOE_USE,
	FMOE_MANAGE
} FmoeAccess;

typedef struct FmoeDomain
{
	int64		id;
	char	   *name;
	Oid			interactions;
	char	   *relation;		/* quoted, schema-qualified */
	char	   *user_column;	/* column names, not quoted */
	char	   *item_column;
	char	   *time_column;
	char	   *label_column;	/* NULL: none */
	Oid			user_type;
	Oid			item_type;
	Oid			item_collation;
	Oid			time_type;
	Oid			user_equal;		/* operators of the types' default classes */
	Oid			item_equal;
	char	   *sharing;
	char	   *owner;			/* role; need not exist any more */
} FmoeDomain;

/*
 * The named domain; NULL: the setting fmoe.domain, else the only one there is.
 * Checks access, that the table and its columns are still there with the types
 * they were registered with.
 */
extern FmoeDomain *fmoe_domain_open(const char *name, FmoeAccess access);
/*
 * Same, but the table need not be there any more: relation, types,
 * collation and operators are then not set.  For what manages versions only.
 */
extern FmoeDomain *fmoe_domain_find(const char *name, FmoeAccess access);
/* fmoe_domain_open for a SQL argument that may be NULL. */
extern FmoeDomain *fmoe_domain_argument(FunctionCallInfo fcinfo, int argument, FmoeAccess access);

/* ---------------------------------------------------------------- ids (ids.c, convert.c) */

/*
 * Item ids of a version, by index; ascending in the order of their type, so
 * index order is id order.  A hash table over the ids by the type's own
 * equality finds indexes.  Kept as arrays of a version:
 *	  integer types: "vocabulary.integer" I64 [items]
 *	  others: "vocabulary.text" U8 [bytes] (the type's output, end to end) and
 *			  "vocabulary.offset" I64 [items + 1]
 */
typedef struct FmoeVocabulary FmoeVocabulary;

/* From distinct ids in any order; sorted here.  index_of[i] is where id i went; memory in the current context. */
extern FmoeVocabulary *fmoe_vocabulary_build(Oid type, Oid collation, int32 n, const Datum *ids, int32 *index_of);
extern int	fmoe_vocabulary_arrays(const FmoeVocabulary *vocabulary, FnnArray *out);	/* at most 2 */
/* Over arrays that stay where they are. */
extern FmoeVocabulary *fmoe_vocabulary_bind(Oid type, Oid collation, int32 n, int n_arrays, const FnnArray *arrays);
/*
 * The same as one block without pointers, aligned to FNN_ALIGN, that processes
 * share: to be filled from a bound vocabulary, and then opened over the same
 * arrays at a cost that does not grow with the number of ids.
 */
extern Size fmoe_vocabulary_flat_bytes(const FmoeVocabulary *vocabulary);
extern void fmoe_vocabulary_flatten(const FmoeVocabulary *vocabulary, void *block);
extern FmoeVocabulary *fmoe_vocabulary_open(Oid type, Oid collation, int n_arrays, const FnnArray *arrays, void *block);
extern int32 fmoe_vocabulary_count(const FmoeVocabulary *vocabulary);
extern int32 fmoe_vocabulary_find(const FmoeVocabulary *vocabulary, Datum id);	/* -1: unknown */
extern Datum fmoe_vocabulary_id(const FmoeVocabulary *vocabulary, int32 index);

/*
 * Turns ids of one type into another (integer widths, text forms, binary
 * coercible, else through output and input); one per call site, in fn_extra or
 * a query's memory.  A value that does not fit is an error that names both types.
 */
typedef struct FmoeConverter FmoeConverter;
extern FmoeConverter *fmoe_converter(Oid from, Oid to); /* from may be UNKNOWNOID: cstring */
extern Datum fmoe_convert(FmoeConverter *converter, Datum value);

/* ---------------------------------------------------------------- reading interactions (ingest.c) */

typedef struct FmoeInteractions
{
	FmoeDataset data;
	FmoeVocabulary *vocabulary;
	uint64		fingerprint;	/* of ids, order and times */
	int64		skipped;		/* rows with NULL, or a time that is not finite */
	double		last_event;		/* seconds; NaN without events */
} FmoeInteractions;

/*
 * Reads the domain's table as the caller, ordered by user, time, item.  Rows
 * with NULL or non-finite time are skipped, as are rows whose label is not
 * positive.  When vocabulary is given, indexes are its and events of items it
 * does not know are left out; else one is built.  Memory in the current context.
 */
extern FmoeInteractions *fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary);

/*
 * Gives every event of a user to take, in no order; the item is of the
 * domain's type and good during that call.  as_of: only events up to that
 * moment (seconds); NaN: all.
 */
typedef void (*FmoeTakeEvent) (void *argument, Datum item, double time);
extern void fmoe_read_history(const FmoeDomain *domain, Datum user, double as_of, FmoeTakeEvent take, void *argument);
/*
 * Gives every event that counts to take, user by user, a user's in no order; user
 * and item are good during the call.  first: the event before was another user's.
 */
typedef void (*FmoeTakeUserEvent) (void *argument, Datum user, bool first, Datum item, double time);
extern void fmoe_read_users(const FmoeDomain *domain, FmoeTakeUserEvent take, void *argument);
/* Seconds since 1970 of a value of a time column's type. */
extern double fmoe_seconds(Oid type, Datum value);

/*
 * Builds a dataset from events in any order: used by ingest and the aggregate.
 * user_number[i], item index, time; sorted here by (user, time, item).
 */
extern void fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
							   const int64 *user, const int32 *item, const double *time);

/* ---------------------------------------------------------------- versions (store.c) */

#define FMOE_FORMAT 1			/* of what fmoe.expert and fmoe.tensor hold */
#define FMOE_PART_BYTES (8 * 1024 * 1024)

typedef struct FmoeVersion
{
	int64		expert_id;		/* 0 until stored */
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
/* version 0: the live one.  Returns NULL when there is no live one; an unknown number is an error. */
extern FmoeVersion *fmoe_find_version(const FmoeDomain *domain, int version);
/* expert_id of the live version with the caller's snapshot, 0: none.  The hot path. */
extern int64 fmoe_live_expert(int64 domain_id);
/* All arrays of a version, into memory of context in one block, checked against the checksum; returns their number. */
extern int	fmoe_load_arrays(int64 expert_id, MemoryContext context, FnnArray **arrays, size_t *bytes);
/* Gives so many bytes aligned to FNN_ALIGN, or NULL; what names the work, as for fmoe_check_memory. */
typedef void *(*FmoeTake) (void *argument, size_t bytes, const char *what);
/*
 * The same into one block from take.  Names and shapes go to the current
 * context.  When take gives NULL nothing is read and the result is -1.
 */
extern int	fmoe_load_arrays_into(int64 expert_id, FmoeTake take, void *argument, FnnArray **arrays);
extern void fmoe_set_live(int64 domain_id, int64 expert_id);
extern uint64 fmoe_checksum(int n_arrays, const FnnArray *arrays);

/* ---------------------------------------------------------------- loaded models (cache.c) */

/*
 * A version in memory, one copy for all sessions where shared memory allows
 * it.  Pinned until the end of the query it was fetched in.
 */
typedef struct FmoeLoaded
{
	int64		expert_id;
	FmoeVersion *version;
	FmoeModel	model;
	FmoeVocabulary *vocabulary;
	size_t		bytes;			/* of this session's own memory */
} FmoeLoaded;

extern FmoeLoaded *fmoe_load(const FmoeDomain *domain, int64 expert_id);
/*
 * A version of a domain, or all with expert_id 0, need not stay in shared
 * memory: it is being dropped.  Should it be asked for after all, it is loaded
 * again.
 */
extern void fmoe_forget(int64 domain_id, int64 expert_id);

/* ---------------------------------------------------------------- progress (shared.c) */

/* Writes into this backend's slot of shared memory; visible in fmoe.progress at once. */
extern void fmoe_progress_start(int64 domain_id, const char *phase, int epochs);
extern void fmoe_progress_phase(const char *phase);
extern void fmoe_progress_epoch(int epoch, double loss, double metric);
extern void fmoe_progress_batch(int64 batch, int64 batches, double loss, double eta_seconds);
extern void fmoe_progress_end(void);

#endif							/* FMOE_PG_H */

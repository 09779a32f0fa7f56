/*
 * base.h
 *	  What all files of src/pg share: settings, the engine's host, the extension's tables, shared memory.
 *
 * Who may do what.  A domain is *used* (recommend, score, evaluate, …) by who
 * may SELECT its interaction columns, and *managed* (train, deploy, alter,
 * drop, import, export) by members of its owner role, the owner of the
 * interaction table, and superusers.  The interaction and item tables are read
 * as the caller, so privileges and row-level security hold.  The extension's
 * own tables are private: they are read and written as their owner, after the
 * check, with search_path pinned to pg_catalog (fmoe_own_begin).
 */
#ifndef FMOE_PG_BASE_BASE_H
#define FMOE_PG_BASE_BASE_H

#include "postgres.h"
#include "access/genam.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/dsm.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "pg/base/compat.h"
#include "nn/nn.h"

/* ---------------------------------------------------------------- settings */

extern char *fmoe_domain_setting;	/* fmoe.domain */
extern int	fmoe_max_memory_kb; /* fmoe.max_memory */
extern int	fmoe_cache_size_kb; /* fmoe.cache_size */
extern int	fmoe_shared_cache_size_kb;	/* fmoe.shared_cache_size */
extern int	fmoe_training_workers;	/* fmoe.training_workers */
extern int	fmoe_scan_setting;	/* fmoe.scan: an FmoeScan */
extern char *fmoe_party_setting;	/* fmoe.party; empty: the database's name */

/* ---------------------------------------------------------------- host */

/*
 * A host whose memory comes from context (64-byte aligned, huge allowed, freed
 * with it), whose errors are ereport(ERROR) with an SQLSTATE by FnnError, and
 * whose poll is CHECK_FOR_INTERRUPTS.  Sets BLAS up on first use.
 */
extern const FnnHost *fmoe_host(MemoryContext context);
/* An arena in context; limit in kB, 0: none. */
extern FnnArena *fmoe_arena(MemoryContext context, int limit_kb);
/* Gives the machine back what malloc keeps of freed memory, which may be twice the largest block ever freed. */
extern void fmoe_trim_memory(void);
/* Error unless bytes fit into fmoe.max_memory; what names the work: "training domain \"films\"". */
extern void fmoe_check_memory(size_t bytes, const char *what);

/* settings.c */
extern void fmoe_define_settings(void);

#define FMOE_VERSION "1.0"		/* default_version of fmoe.control */

/* ---------------------------------------------------------------- own tables */

/* A statement over the extension's tables, prepared once a backend. */
typedef struct FmoeStatement
{
	const char *sql;			/* fully qualified */
	int			nargs;
	Oid			types[32];
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
/* Does the same but stays the calling role, for tables that are not the extension's. */
extern void fmoe_caller_begin(FmoeOwn *own);
extern void fmoe_own_end(FmoeOwn *own);

/* As whom to read what belongs to owner: as the owner where reader could act as that role, else as reader. */
extern Oid	fmoe_reader(Oid reader, Oid owner);

/*
 * Whether SELECT on a relation, or unless NULL on a column of it, was granted to
 * the caller or to a role that he is a member of: not to PUBLIC, and not by being
 * its owner or a superuser.
 */
extern bool fmoe_granted_by_name(Oid relation, const char *column);

typedef struct FmoeReading
{
	Oid			user;
	int			security_context;
	int			guc_level;
	bool		restricted;		/* another role reads, as a security-restricted operation */
} FmoeReading;

/* What is read between the two is read as that role, and code that it runs leaves nothing behind. */
extern void fmoe_read_as(FmoeReading *reading, Oid reader);
extern void fmoe_read_end(FmoeReading *reading);

/*
 * Runs a statement after fmoe_own_begin; results in SPI_tuptable, SPI_processed.
 * nulls may be NULL.  With read_only it sees what the caller's statement sees,
 * otherwise also what was committed or done since.
 */
extern void fmoe_own_execute(FmoeStatement *statement, Datum *values, const char *nulls,
							 bool read_only, long limit);
/* Of the first row of SPI_tuptable: a column, and its text form (NULL when it is null). */
extern Datum fmoe_result_column(int column, bool *isnull);
extern char *fmoe_result_text(int column);
/* The first column, int4 or int8, of the only row; 0 when there is none or it is null. */
extern int64 fmoe_result_int64(void);

/* Begins, reads and ends: the first column of the first row as text, in the caller's memory; NULL: no row, or null. */
extern char *fmoe_own_text(FmoeStatement *statement, Datum *values, bool read_only);
/* The same for an int4 or int8; 0: no row, or null. */
extern int64 fmoe_own_int64(FmoeStatement *statement, Datum *values, bool read_only);
/* Begins, reads and ends: whether there is a row. */
extern bool fmoe_own_found(FmoeStatement *statement, Datum *values, bool read_only);
/* Begins, writes and ends; how many rows were written. */
extern uint64 fmoe_own_change(FmoeStatement *statement, Datum *values, const char *nulls);

/* Inside fmoe_own_begin: a command that is written out, as those are that define things. */
extern void fmoe_own_run(const char *sql);

/* A table or an index of the schema fmoe; InvalidOid: it is not there. */
extern Oid	fmoe_own_relation(const char *name);
/* OID of the schema the extension's functions are in. */
extern Oid	fmoe_extension_schema(void);

/*
 * Rows of one of the extension's tables, seen with the active snapshot: those
 * that an index finds by keys, in its order, or with index NULL all that satisfy
 * the keys.  Keys number the columns of the table, not of the index.
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

/* ---------------------------------------------------------------- owners */

/* Rows that a role owns. */
typedef enum FmoeOwned
{
	FMOE_OWNED_DOMAIN,
	FMOE_OWNED_PEER
} FmoeOwned;

/* The role that owns a domain or a peer, by its id; that of the extension's tables where nobody else does. */
extern Oid	fmoe_owner(FmoeOwned kind, int64 id);
/* Whether a role has SELECT on the marker, which is for the owner to grant. */
extern bool fmoe_owner_grants(FmoeOwned kind, int64 id, Oid role);
/* Makes a role the owner; who may do so is the caller's duty. */
extern void fmoe_owner_set(FmoeOwned kind, int64 id, Oid owner);
/* The row is dropped. */
extern void fmoe_owner_drop(FmoeOwned kind, int64 id);
extern Oid	fmoe_owner_of_tables(void);
/* InvalidOid: there is no such relation. */
extern Oid	fmoe_relation_owner(Oid relation);
/* Makes DROP EXTENSION drop an object of a catalog, such as pg_class, as well. */
extern void fmoe_depend_on_extension(Oid catalog, Oid object);

/* ---------------------------------------------------------------- bytes in parts */

#define FMOE_PART_BYTES (8 * 1024 * 1024)

/* At least one part, which is empty when there are no bytes. */
extern int	fmoe_part_count(size_t bytes);
/* How long a part of so many bytes is. */
extern size_t fmoe_part_bytes(size_t bytes, int part);
/* Inserts bytes[size]; values[number] and values[data] become the part's number and what it holds. */
extern void fmoe_parts_write(FmoeStatement *insert, Datum *values, int number, int data,
							 const void *bytes, size_t size);
/*
 * Reads them back by a statement whose first column is the data of the part
 * values[number].  The number of a part that is missing or has another length,
 * or -1: all are there.
 */
extern int	fmoe_parts_read(FmoeStatement *select, Datum *values, int number, bool read_only,
							void *into, size_t size);
/* Copies a part out of a row; false: it is null or has another length. */
extern bool fmoe_part_copy(HeapTuple row, TupleDesc shape, int column, void *into, size_t size);

/* ---------------------------------------------------------------- attempts */

/*
 * Does work in a subtransaction.  NULL: it is done; otherwise what went wrong,
 * in the current context, and all that it did is undone.  An error that ends
 * the whole call is thrown on.
 */
extern ErrorData *fmoe_attempt(void (*work) (void *argument), void *argument);

/* ---------------------------------------------------------------- shared memory */

/* A struct of PostgreSQL's main shared memory, initialized by whoever comes first. */
extern void *fmoe_shared_struct(const char *name, Size bytes, void (*initialize) (void *memory));
/*
 * Gives back some dynamic shared memory that nobody needs right now, where so many
 * bytes more are asked for than there are; false: there is none.  Set by whoever
 * keeps such memory.
 */
typedef bool (*FmoeGiveWay) (size_t bytes);
extern FmoeGiveWay fmoe_give_way;
/*
 * A dynamic segment that stays mapped beyond the query: a new one of so many
 * bytes, or with bytes 0 the one of a handle.  NULL: it could not be had, though
 * what is not needed gave way, and reason says why, or (reason untouched) it is
 * no longer there.
 */
extern dsm_segment *fmoe_segment(size_t bytes, dsm_handle handle, const char **reason);

#endif							/* FMOE_PG_BASE_BASE_H */

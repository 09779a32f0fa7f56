/*
 * lend.h
 *	  Experts that databases lend one another: heads and files, peers, what a training borrows.
 */
#ifndef FMOE_PG_LEND_LEND_H
#define FMOE_PG_LEND_LEND_H

#include "pg/file/precision.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* ---------------------------------------------------------------- for trainers */

/* An encoder that a domain could borrow. */
typedef struct FmoeLent
{
	char	   *name;			/* "party.domain"; of an import into the domain: the name it was given */
	bool		readable;		/* by the caller and by the domain's owner */
	char	   *key;			/* of exactly these weights: a uuid, or "import:" and a version_id */
	FmoeVersion facts;			/* holdout, seconds, metrics and last_event of imports only */
	bool		exchange;		/* what training in rounds of users exchanges, and no encoder */
} FmoeLent;

/*
 * All that a domain could borrow, ordered by name: the encoders imported into
 * it, and what each other domain of any party, this database's included, has
 * lent last; with own what the domain itself has lent, too.  Memory in the current context.
 */
extern int	fmoe_lent_list(const FmoeDomain *domain, bool own, FmoeLent **list);
/* The same of what other domains' trainings exchange. */
extern int	fmoe_exchange_list(const FmoeDomain *domain, FmoeLent **list);
/* A WARNING that one of them is passed over, and why. */
extern void fmoe_lent_warn(const char *name, const ErrorData *error);
/* One of them, checked; arrays are F32, in the current context. */
extern FmoeExpertFile *fmoe_lent_read(const FmoeLent *lent);
/*
 * The base of that checksum, lent or imported, in the current context; NULL: it is not
 * here.  readable is whether a role may read it; InvalidOid: anybody.
 */
extern FmoeLent *fmoe_find_base(const char *checksum, Oid role);
/* Its arrays, named as in models that are built on it, in the current context; error: it is not here. */
extern int	fmoe_base_arrays(const char *checksum, FnnArray **arrays);
/*
 * Fetches from all peers of the caller what they lend, within the caller's
 * transaction; a peer that fails is a WARNING.
 */
extern void fmoe_sync_peers(void);
/* The same, which says what it did to who asks for debug messages. */
extern void fmoe_sync_peers_quietly(void);
/*
 * Lends an encoder that is given as arrays: the version facts->version, or with
 * a round, counted from 1, that of a training that is not finished.  A round
 * replaces the one before.  privacy says what was done to it; NULL: nothing.
 */
extern void fmoe_lend_arrays(const FmoeDomain *domain, FmoeVersion *facts, int n_arrays, FnnArray *arrays,
							 int round, Jsonb *privacy);

/* ---------------------------------------------------------------- files of versions */

/* The version of argument 1, or the live one; what names what is done to it, for errors: "export". */
extern FmoeVersion *fmoe_version_to_share(FunctionCallInfo fcinfo, const FmoeDomain *domain, const char *what);
/* Error when the sharing policy is 'none'. */
extern void fmoe_check_sharing(const FmoeDomain *domain);
/* A version as a file, in the current context: its encoder, changed as release says, or all of it. */
extern FmoeExpertFile *fmoe_version_file(const FmoeDomain *domain, const FmoeVersion *version,
										 const FmoeRelease *release, bool complete);

/* ---------------------------------------------------------------- what is lent */

/* The name by which other databases know this one. */
extern const char *fmoe_party_name(void);
/* A new id of something that this database lends. */
extern void fmoe_new_lent_id(pg_uuid_t * id);
/* The first half of such an id, which is the lender's identity; NULL: the id does not say. */
extern char *fmoe_lent_party_id(const pg_uuid_t * id);

/* A row of fmoe.lent. */
typedef struct FmoeLentHead
{
	pg_uuid_t	id;
	char	   *party;
	char	   *domain;
	int			version;		/* 0: none */
	int			round;			/* 0: none */
	bool		shared;
	char	   *model;
	Jsonb	   *config;
	int64		events;
	int64		users;
	int32		items;
	char	   *precision;
	Jsonb	   *privacy;		/* NULL: nothing was done */
	int64		bytes;			/* of the file */
	char	   *checksum;
	TimestampTz created_at;
} FmoeLentHead;

/* Columns of a head, without shared, as fmoe_lent_head_of_row wants them. */
#define FMOE_LENT_COLUMNS \
	"lent_id, party, domain, version, round, model, config, events, users, items," \
	" \"precision\", privacy, bytes, checksum, created_at"

/* In the current context; NULL: a column is null that must not be, and *problem says which. */
extern FmoeLentHead *fmoe_lent_head_of_row(HeapTuple row, TupleDesc shape, const char **problem);
extern char *fmoe_lent_name(const FmoeLentHead *head);
/* Error: a part of its file is missing or has another length. */
pg_noreturn extern void fmoe_lent_refuse_part(const FmoeLentHead *head, int part);
/* Error unless its names are such as parties and domains may have. */
extern void fmoe_lent_check_name(const FmoeLentHead *head);
/*
 * Error unless all that a head says can be: names, numbers, options, a model that can be lent, and a file
 * that fits into memory.  To be called before anything else is read of it.
 */
extern void fmoe_lent_check_head(const FmoeLentHead *head);
/* The options of a head, checked, with what depends on the number of items settled. */
extern void fmoe_lent_config(const FmoeLentHead *head, FmoeConfig *config);
/* Whether it is of what trainings exchange. */
extern bool fmoe_lent_is_exchange(const FmoeLentHead *head, const FmoeConfig *config);
/* Reads a file that may be hostile; error unless it agrees with its head. */
extern FmoeExpertFile *fmoe_lent_check(const FmoeLentHead *head, const void *bytes);
/* Stores a head and its file; false: it is there already. */
extern bool fmoe_lent_store(const FmoeLentHead *head, const void *bytes);
/* A domain was renamed, or with new_name NULL lends no more. */
extern void fmoe_lent_domain_changed(const char *name, const char *new_name);
/* Text of a statement that deletes the heads for which a condition on l holds, and their parts. */
#define FMOE_LENT_DELETE(condition) \
	"WITH gone AS (DELETE FROM fmoe.lent AS l WHERE " condition " RETURNING l.lent_id)," \
	" parts AS (DELETE FROM fmoe.lent_part AS p USING gone WHERE p.lent_id OPERATOR(pg_catalog.=) gone.lent_id)" \
	" SELECT pg_catalog.count(*)::pg_catalog.int4 FROM gone"
/* A condition on u: it is built on the base of a checksum. */
#define FMOE_BUILT_ON(checksum) "u.config OPERATOR(pg_catalog.->>) 'base_checksum' OPERATOR(pg_catalog.=) " checksum
/* A condition on l: neither a version here nor a lent adapter is built on it. */
#define FMOE_LENT_UNUSED \
	"NOT EXISTS (SELECT FROM fmoe.version u WHERE " FMOE_BUILT_ON("l.checksum") ")" \
	" AND NOT EXISTS (SELECT FROM fmoe.lent u WHERE " FMOE_BUILT_ON("l.checksum") ")"
/* What is built on the base of a checksum, as text; conditions on u: versions, and lent adapters, that count. */
#define FMOE_BASE_USER(checksum, versions, adapters) \
	"COALESCE((SELECT pg_catalog.format('version %s of domain \"%s\"', u.version, d.name)" \
	" FROM fmoe.version u JOIN fmoe.domain d ON d.domain_id OPERATOR(pg_catalog.=) u.domain_id" \
	" WHERE " FMOE_BUILT_ON(checksum) " AND " versions " ORDER BY d.name, u.version LIMIT 1)," \
	" (SELECT pg_catalog.format('the lent adapter \"%s.%s\"', u.party, u.domain)" \
	" FROM fmoe.lent u WHERE " FMOE_BUILT_ON(checksum) " AND " adapters " ORDER BY u.party, u.domain LIMIT 1))"
/* Text of a statement for fmoe_check_none_used, of those lent for which a condition on l holds, and which would go. */
#define FMOE_LENT_USED(condition) \
	"WITH l AS (SELECT l.lent_id, l.party, l.domain, l.checksum FROM fmoe.lent l WHERE " condition ")" \
	" SELECT b.name, b.used_by FROM (SELECT pg_catalog.concat(l.party, '.', l.domain) AS name, " \
	FMOE_BASE_USER("l.checksum", "true", "u.lent_id OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT o.lent_id FROM l o))") \
	" AS used_by FROM l) b WHERE b.used_by IS NOT NULL LIMIT 1"
/* Error where a statement finds a base that is in use: its name, and by what. */
extern void fmoe_check_none_used(FmoeStatement *statement, Datum *values, const char *nulls);
/* Error where something here is built on the base of that checksum. */
extern void fmoe_check_not_used(const char *name, const char *checksum);
/* Runs such a statement; returns how many heads are gone. */
extern int	fmoe_lent_delete(FmoeStatement *statement, Datum *values, const char *nulls);
/* Whether something was imported under a name, into any domain. */
extern bool fmoe_is_import_name(const char *name);
/* Whether a role may sync a peer of this party. */
extern bool fmoe_may_sync_party(const char *party, Oid role);
/*
 * Whether a role may read the weights of a lent expert: it may read all that is
 * here (fmoe.lent_part), or what its party lends (the view fmoe.shared_expert_part
 * of this database's own, a peer's foreign tables of another), or it has the
 * domain that lends it, or SELECT on that domain's marker.
 */
extern bool fmoe_may_read_lent(const FmoeLentHead *head, Oid role);
/* Whether somebody lends an expert of this name. */
extern bool fmoe_is_lent_name(const char *name);

/* ---------------------------------------------------------------- peers */

/* A row of fmoe.peer. */
typedef struct FmoePeer
{
	int64		id;
	char	   *name;
	Oid			expert_table;	/* may have been dropped */
	Oid			part_table;
	Oid			owner;			/* role */
	char	   *party;			/* NULL: not known yet */
	char	   *party_id;		/* NULL: not known, or it does not say */
} FmoePeer;

/* FmoePeers in the current context; name NULL: all. */
extern List *fmoe_read_peers(const char *name);
/* Error when there is none that the caller may see. */
extern FmoePeer *fmoe_find_peer(const char *name);
/* Whether its foreign tables are there. */
extern bool fmoe_has_tables(const FmoePeer *peer);
/*
 * Whether the caller has added it, or was granted its tables by name, himself or
 * in a role that he is a member of: not by being a superuser.
 */
extern bool fmoe_is_peer_of_caller(const FmoePeer *peer);
/* Whether a role may read them. */
extern bool fmoe_may_read_peer(const FmoePeer *peer, Oid role);
extern void fmoe_check_may_sync(const FmoePeer *peer);
/* Locks its row to the end of the transaction; false: it was dropped. */
extern bool fmoe_lock_peer(const FmoePeer *peer);
/* "fmoe"."table" */
extern char *fmoe_qualified_table(Oid table);

#endif							/* FMOE_PG_LEND_LEND_H */

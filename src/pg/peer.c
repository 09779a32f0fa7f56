/*
 * peer.c
 *	  Fetching from other databases what they lend: fmoe_add_peer,
 *	  fmoe_drop_peer, fmoe_sync.
 *
 * A peer is a foreign server and two foreign tables in the schema fmoe, which
 * stand for the peer's views fmoe.shared_expert and fmoe.shared_expert_part.
 * The foreign tables belong to the owner of the extension's tables and may be
 * read by who added the peer, who may pass that on.  Remote rows are always
 * read as the calling role, that is with its user mapping; only what has been
 * fetched and checked is written as the tables' owner.
 *
 * What a peer says is hostile until checked: the number of rows, names, sizes
 * (before anything is fetched), then the files (lent.c).  A peer is fetched
 * within a subtransaction: all of it, or nothing.
 *
 * The foreign tables are no members of the extension, so that pg_dump keeps
 * them with their privileges, but depend on it, so that DROP EXTENSION takes
 * them along.  pg_dump does not keep that dependency, so fmoe_sync renews it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "lend.h"
#include "private.h"

#define HEADS_MAX 10000			/* rows of a peer's fmoe.shared_expert */

PG_FUNCTION_INFO_V1(fmoe_add_peer);
PG_FUNCTION_INFO_V1(fmoe_drop_peer);
PG_FUNCTION_INFO_V1(fmoe_sync);

typedef struct Peer
{
	int64		id;
	char	   *name;
	Oid			expert_table;
	Oid			part_table;
	char	   *creator;
	char	   *party;			/* NULL: not known yet */
} Peer;

/* Of one peer or of all. */
typedef struct Counts
{
	int			fetched;
	int			skipped;
	int			removed;
	int64		sent;			/* bytes */
	int64		received;
} Counts;

static FmoeStatement insert_peer = {
	"INSERT INTO fmoe.peer (name, server, created_by) VALUES ($1, $2, $3)"
	" ON CONFLICT (name) DO NOTHING RETURNING peer_id",
	3, {TEXTOID, NAMEOID, NAMEOID}
};

static FmoeStatement set_tables = {
	"UPDATE fmoe.peer SET expert_table = $2, part_table = $3 WHERE peer_id OPERATOR(pg_catalog.=) $1",
	3, {INT8OID, REGCLASSOID, REGCLASSOID}
};

static FmoeStatement delete_peer = {
	"DELETE FROM fmoe.peer WHERE peer_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement all_peers = {
	"SELECT peer_id, name, expert_table, part_table, created_by, party FROM fmoe.peer"
	" WHERE $1 IS NULL OR name OPERATOR(pg_catalog.=) $1 ORDER BY name",
	1, {TEXTOID}
};

static FmoeStatement lock_peer = {
	"SELECT FROM fmoe.peer WHERE peer_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
	1, {INT8OID}
};

/* Inside fmoe_own_begin. */
static void
run(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* ---------------------------------------------------------------- who and what there is */

/* Peers in the current context; name NULL: all. */
static List *
read_peers(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *peers = NIL;
	Datum		value = name == NULL ? (Datum) 0 : CStringGetTextDatum(name);
	FmoeOwn		own;

	fmoe_own_begin(&own);
	fmoe_own_execute(&all_peers, &value, name == NULL ? "n" : " ", false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	shape = SPI_tuptable->tupdesc;
		Peer	   *peer = palloc0(sizeof(Peer));
		bool		isnull;

		peer->id = DatumGetInt64(SPI_getbinval(row, shape, 1, &isnull));
		peer->name = SPI_getvalue(row, shape, 2);
		peer->expert_table = DatumGetObjectId(SPI_getbinval(row, shape, 3, &isnull));
		peer->part_table = DatumGetObjectId(SPI_getbinval(row, shape, 4, &isnull));
		peer->creator = SPI_getvalue(row, shape, 5);
		peer->party = SPI_getvalue(row, shape, 6);
		peers = lappend(peers, peer);
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	return peers;
}

static Peer *
find_peer(const char *name)
{
	List	   *peers = read_peers(name);

	if (peers == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("peer \"%s\" does not exist", name),
				 errhint("The view fmoe.peers lists the peers; fmoe_add_peer() adds one.")));
	return linitial(peers);
}

static bool
is_foreign_table(Oid table)
{
	return get_rel_relkind(table) == RELKIND_FOREIGN_TABLE;
}

static bool
may_read(const Peer *peer)
{
	return pg_class_aclcheck(peer->expert_table, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		pg_class_aclcheck(peer->part_table, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* Whether the foreign tables are there and the caller may read them. */
static bool
may_sync(const Peer *peer)
{
	return is_foreign_table(peer->expert_table) && is_foreign_table(peer->part_table) && may_read(peer);
}

bool
fmoe_may_sync_party(const char *party)
{
	ListCell   *cell;

	foreach(cell, read_peers(NULL))
	{
		Peer	   *peer = lfirst(cell);

		if (peer->party != NULL && strcmp(peer->party, party) == 0 && may_sync(peer))
			return true;
	}
	return false;
}

static void
check_may_sync(const Peer *peer)
{
	if (!is_foreign_table(peer->expert_table) || !is_foreign_table(peer->part_table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the foreign tables of peer \"%s\" are not there any more", peer->name),
				 errdetail("They may have been dropped together with their server."),
				 errhint("SELECT fmoe_drop_peer(%s), and add it again.", quote_literal_cstr(peer->name))));
	if (!may_read(peer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for peer \"%s\"", peer->name),
				 errdetail("It needs the privilege SELECT on its two foreign tables, which who added it may grant.")));
}

/* ---------------------------------------------------------------- the foreign tables */

/* "fmoe"."table" */
static char *
qualified(Oid table)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), get_rel_name(table));
}

static bool
depends_on_extension(Oid table, Oid extension)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		found = row->refclassid == ExtensionRelationId && row->refobjid == extension;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

/* DROP EXTENSION is to take the table along. */
static void
depend_on_extension(Oid table)
{
	ObjectAddress dependent;
	ObjectAddress extension;

	ObjectAddressSet(dependent, RelationRelationId, table);
	ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid("fmoe", false));
	if (!depends_on_extension(table, extension.objectId))
		recordDependencyOn(&dependent, &extension, DEPENDENCY_AUTO_EXTENSION);
}

/* Inside fmoe_own_begin. */
static Oid
create_table(int64 peer_id, const char *suffix, const char *columns, const char *view, const char *server,
			 const char *reader, const char *comment)
{
	char	   *name = psprintf("peer_" INT64_FORMAT "_%s", peer_id, suffix);
	Oid			table;

	run(psprintf("CREATE FOREIGN TABLE fmoe.%s (%s) SERVER %s OPTIONS (schema_name 'fmoe', table_name '%s')",
				 name, columns, quote_identifier(server), view));
	run(psprintf("GRANT SELECT ON fmoe.%s TO %s WITH GRANT OPTION", name, quote_identifier(reader)));
	run(psprintf("COMMENT ON FOREIGN TABLE fmoe.%s IS %s", name, quote_literal_cstr(comment)));
	table = get_relname_relid(name, get_namespace_oid("fmoe", false));
	depend_on_extension(table);
	return table;
}

static char *
name_argument(FunctionCallInfo fcinfo, int number, const char *what)
{
	char	   *name;

	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	name = number == 0 ? text_to_cstring(PG_GETARG_TEXT_PP(number)) : pstrdup(NameStr(*PG_GETARG_NAME(number)));
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
	return name;
}

Datum
fmoe_add_peer(PG_FUNCTION_ARGS)
{
	char	   *name = name_argument(fcinfo, 0, "name");
	char	   *server = name_argument(fcinfo, 1, "server");
	char	   *caller = GetUserNameFromId(GetUserId(), false);
	ForeignServer *found = GetForeignServerByName(server, false);
	AclResult	allowed = pg_foreign_server_aclcheck(found->serverid, GetUserId(), ACL_USAGE);
	Datum		values[3];
	bool		isnull;
	int64		id;
	FmoeOwn		own;

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FOREIGN_SERVER, server);
	fmoe_fresh_begin();
	fmoe_own_begin(&own);
	values[0] = CStringGetTextDatum(name);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(server));
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(caller));
	fmoe_own_execute(&insert_peer, values, NULL, false, 0);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("peer \"%s\" already exists", name)));
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	values[0] = Int64GetDatum(id);
	values[1] = ObjectIdGetDatum(create_table(id, "expert",
											  "lent_id pg_catalog.uuid, party pg_catalog.text, domain pg_catalog.text,"
											  " version pg_catalog.int4, round pg_catalog.int4, model pg_catalog.text,"
											  " config pg_catalog.jsonb, events pg_catalog.int8, users pg_catalog.int8,"
											  " items pg_catalog.int4, \"precision\" pg_catalog.text,"
											  " privacy pg_catalog.jsonb, bytes pg_catalog.int8, checksum pg_catalog.text,"
											  " created_at pg_catalog.timestamptz",
											  "shared_expert", server, caller,
											  "what a peer lends; made by fmoe_add_peer"));
	values[2] = ObjectIdGetDatum(create_table(id, "part",
											  "lent_id pg_catalog.uuid, part pg_catalog.int4, data pg_catalog.bytea",
											  "shared_expert_part", server, caller,
											  "files of what a peer lends; made by fmoe_add_peer"));
	fmoe_own_execute(&set_tables, values, NULL, false, 0);
	fmoe_own_end(&own);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

static void
check_may_drop(const Peer *peer)
{
	Oid			creator = get_role_oid(peer->creator, true);

	if (!superuser() && !(OidIsValid(creator) && has_privs_of_role(GetUserId(), creator)) &&
		!pg_database_ownercheck(MyDatabaseId, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for peer \"%s\"", peer->name),
				 errdetail("Only who added it, and the owner of the database, may drop it.")));
}

Datum
fmoe_drop_peer(PG_FUNCTION_ARGS)
{
	Peer	   *peer;
	Datum		value;
	FmoeOwn		own;

	fmoe_fresh_begin();
	peer = find_peer(name_argument(fcinfo, 0, "name"));
	check_may_drop(peer);
	value = Int64GetDatum(peer->id);
	fmoe_own_begin(&own);
	fmoe_own_execute(&lock_peer, &value, NULL, false, 0);
	if (is_foreign_table(peer->expert_table))
		run(psprintf("DROP FOREIGN TABLE %s", qualified(peer->expert_table)));
	if (is_foreign_table(peer->part_table))
		run(psprintf("DROP FOREIGN TABLE %s", qualified(peer->part_table)));
	fmoe_own_execute(&delete_peer, &value, NULL, false, 0);
	fmoe_own_end(&own);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------- reading as the caller */

typedef struct Remote
{
	int			guc_level;
	bool		snapshot;		/* pushed here */
} Remote;

static void
remote_begin(Remote *remote)
{
	remote->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	remote->snapshot = !ActiveSnapshotSet();
	if (remote->snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

static void
remote_end(Remote *remote)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	if (remote->snapshot)
		PopActiveSnapshot();
	AtEOXact_GUC(true, remote->guc_level);
}

/* Bytes of a row as PostgreSQL's protocol carries it in text form, which is how postgres_fdw asks for it. */
static int64
wire_bytes(HeapTuple row, TupleDesc shape)
{
	int64		bytes = 1 + 4 + 2;

	for (int i = 1; i <= shape->natts; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(row, shape, i, &isnull);

		bytes += 4;
		if (isnull)
			continue;
		if (TupleDescAttr(shape, i - 1)->atttypid == BYTEAOID)
			bytes += 2 + 2 * (int64) VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		else
			bytes += strlen(SPI_getvalue(row, shape, i));
	}
	return bytes;
}

static void
query(const char *sql, int nargs, Oid *types, Datum *values, long limit, Counts *counts)
{
	int			result = SPI_execute_with_args(sql, nargs, types, values, NULL, true, limit);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	counts->sent += strlen(sql);
}

/* What the peer lends; every name and size checked, in the current context. */
static List *
remote_heads(const Peer *peer, Counts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *heads = NIL;
	Remote		remote;

	remote_begin(&remote);
	query(psprintf("SELECT " FMOE_LENT_COLUMNS " FROM %s", qualified(peer->expert_table)),
		  0, NULL, NULL, HEADS_MAX + 1, counts);
	if (SPI_processed > HEADS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("peer \"%s\" lends more than %d experts", peer->name, HEADS_MAX)));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		const char *problem;
		FmoeLentHead *head = fmoe_lent_head_of_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &problem);

		if (head == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("an expert that peer \"%s\" lends is refused", peer->name),
					 errdetail("%s", problem)));
		fmoe_lent_check_name(head);
		heads = lappend(heads, head);
		counts->received += wire_bytes(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
	}
	remote_end(&remote);
	return heads;
}

/* A part of a file to out[size]. */
static void
remote_part(const Peer *peer, const FmoeLentHead *head, int part, char *out, size_t size, Counts *counts)
{
	Oid			types[2] = {UUIDOID, INT4OID};
	Datum		values[2] = {UUIDPGetDatum(&head->id), Int32GetDatum(part)};
	Datum		value = (Datum) 0;
	bool		isnull = true;
	bytea	   *data;
	Remote		remote;

	remote_begin(&remote);
	query(psprintf("SELECT data FROM %s WHERE lent_id OPERATOR(pg_catalog.=) $1 AND part OPERATOR(pg_catalog.=) $2",
				   qualified(peer->part_table)), 2, types, values, 2, counts);
	counts->sent += UUID_LEN * 2 + 4 + strlen(psprintf("%d", part));
	if (SPI_processed == 1)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	data = isnull ? NULL : DatumGetByteaPP(value);
	if (data == NULL || VARSIZE_ANY_EXHDR(data) != size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("the lent expert \"%s\" is refused", fmoe_lent_name(head)),
				 errdetail("Its part %d is missing or does not have %zu bytes.", part, size)));
	memcpy(out, VARDATA_ANY(data), size);
	counts->received += wire_bytes(SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	remote_end(&remote);
}

/* ---------------------------------------------------------------- one peer */

static FmoeStatement party_of_other = {
	"SELECT name FROM fmoe.peer WHERE party OPERATOR(pg_catalog.=) $1 AND peer_id OPERATOR(pg_catalog.<>) $2 LIMIT 1",
	2, {TEXTOID, INT8OID}
};

static FmoeStatement is_here = {
	"SELECT FROM fmoe.lent WHERE lent_id OPERATOR(pg_catalog.=) $1",
	1, {UUIDOID}
};

static FmoeStatement delete_gone = {
	FMOE_LENT_DELETE("l.party OPERATOR(pg_catalog.=) $1 AND l.lent_id OPERATOR(pg_catalog.<>) ALL ($2)"),
	2, {TEXTOID, UUIDARRAYOID}
};

static FmoeStatement note_synced = {
	"UPDATE fmoe.peer SET party = $2, synced_at = pg_catalog.clock_timestamp(), error = NULL,"
	" bytes_sent = bytes_sent OPERATOR(pg_catalog.+) $3, bytes_received = bytes_received OPERATOR(pg_catalog.+) $4"
	" WHERE peer_id OPERATOR(pg_catalog.=) $1",
	4, {INT8OID, TEXTOID, INT8OID, INT8OID}
};

static FmoeStatement note_error = {
	"UPDATE fmoe.peer SET error = $2 WHERE peer_id OPERATOR(pg_catalog.=) $1",
	2, {INT8OID, TEXTOID}
};

/* Runs one of the statements above as the owner; whether it gave a row, its first column in *text. */
static bool
own_row(FmoeStatement *statement, Datum *values, const char *nulls, char **text)
{
	MemoryContext caller = CurrentMemoryContext;
	FmoeOwn		own;
	bool		found;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, nulls, false, 0);
	found = SPI_processed > 0;
	if (found && text != NULL)
		*text = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	fmoe_own_end(&own);
	return found;
}

/* The party that the peer speaks for: one, not ours, and no other peer's. */
static const char *
check_party(const Peer *peer, List *heads)
{
	const char *party = peer->party;
	Datum		values[2];
	char	   *other;
	ListCell   *cell;

	foreach(cell, heads)
	{
		FmoeLentHead *head = lfirst(cell);

		if (cell == list_head(heads))
			party = head->party;
		if (strcmp(head->party, party) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("peer \"%s\" speaks for more than one party, \"%s\" and \"%s\"",
							peer->name, party, head->party)));
	}
	if (party == NULL)
		return NULL;
	if (strcmp(party, fmoe_party_name()) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("peer \"%s\" says that it is party \"%s\", which is this database itself", peer->name, party),
				 errhint("Give every database a setting fmoe.party of its own.")));
	values[0] = CStringGetTextDatum(party);
	values[1] = Int64GetDatum(peer->id);
	if (own_row(&party_of_other, values, NULL, &other))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("peer \"%s\" says that it is party \"%s\", which is the name of peer \"%s\"",
						peer->name, party, other),
				 errhint("Give every database a setting fmoe.party of its own.")));
	return party;
}

static bool
is_newer(const FmoeLentHead *a, const FmoeLentHead *b)
{
	if (a->created_at != b->created_at)
		return a->created_at > b->created_at;
	if (a->version != b->version)
		return a->version > b->version;
	return memcmp(&a->id, &b->id, sizeof(pg_uuid_t)) < 0;
}

static bool
is_newest(const FmoeLentHead *head, List *heads)
{
	ListCell   *cell;

	foreach(cell, heads)
	{
		FmoeLentHead *other = lfirst(cell);

		if (strcmp(head->domain, other->domain) == 0 && is_newer(other, head))
			return false;
	}
	return true;
}

/* Fetches, checks and stores one expert, in memory that it gives back. */
static void
fetch(const Peer *peer, FmoeLentHead *head, Counts *counts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe lent expert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	char	   *import = fmoe_import_of_name(fmoe_lent_name(head));
	char	   *bytes;

	if (import != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the lent expert \"%s\" is refused", fmoe_lent_name(head)),
				 errdetail("%s has that name already.", import)));
	fmoe_lent_check_head(head);
	bytes = palloc(head->bytes);
	for (int part = 0; part < fmoe_lent_parts(head); part++)
	{
		remote_part(peer, head, part, bytes + (size_t) part * FMOE_PART_BYTES, fmoe_lent_part_bytes(head, part), counts);
		CHECK_FOR_INTERRUPTS();
	}
	(void) fmoe_lent_check(head, bytes);
	(void) fmoe_lent_store(head, bytes);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Forgets what the party lends no longer. */
static int
remove_gone(const char *party, List *heads)
{
	Datum	   *ids = palloc(sizeof(Datum) * (list_length(heads) + 1));
	Datum		values[2];
	int			n = 0;
	ListCell   *cell;

	foreach(cell, heads)
		ids[n++] = UUIDPGetDatum(&((FmoeLentHead *) lfirst(cell))->id);
	values[0] = CStringGetTextDatum(party);
	values[1] = PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	return fmoe_lent_delete(&delete_gone, values, NULL);
}

static void
sync_peer(const Peer *peer, Counts *counts)
{
	Datum		values[4] = {Int64GetDatum(peer->id)};
	char		nulls[4] = {' ', ' ', ' ', ' '};
	List	   *heads;
	const char *party;
	ListCell   *cell;

	check_may_sync(peer);
	/* one after the other, and none while it is being dropped */
	if (!own_row(&lock_peer, values, NULL, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("peer \"%s\" was dropped", peer->name)));
	depend_on_extension(peer->expert_table);
	depend_on_extension(peer->part_table);
	heads = remote_heads(peer, counts);
	party = check_party(peer, heads);
	if (party != NULL)
		counts->removed = remove_gone(party, heads);
	foreach(cell, heads)
	{
		FmoeLentHead *head = lfirst(cell);
		Datum		id = UUIDPGetDatum(&head->id);

		if (!is_newest(head, heads) || own_row(&is_here, &id, NULL, NULL))
			counts->skipped++;
		else
		{
			fetch(peer, head, counts);
			counts->fetched++;
		}
	}
	nulls[1] = party == NULL ? 'n' : ' ';
	values[1] = party == NULL ? (Datum) 0 : CStringGetTextDatum(party);
	values[2] = Int64GetDatum(counts->sent);
	values[3] = Int64GetDatum(counts->received);
	(void) own_row(&note_synced, values, nulls, NULL);
	ereport(NOTICE,
			(errmsg("peer \"%s\": %d experts fetched, %d skipped, %d removed; "
					INT64_FORMAT " bytes sent, " INT64_FORMAT " received",
					peer->name, counts->fetched, counts->skipped, counts->removed, counts->sent, counts->received)));
}

/* ---------------------------------------------------------------- all peers */

/* Errors that are the caller's own and end the whole call. */
static bool
ends_the_call(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->elevel > ERROR ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK ||
		error->sqlerrcode == ERRCODE_OUT_OF_MEMORY;
}

/* In a subtransaction; an error becomes a WARNING and is noted. */
static void
try_peer(const Peer *peer, Counts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	Datum		values[2];

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		sync_peer(peer, counts);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error == NULL)
		return;
	if (ends_the_call(error))
		ReThrowError(error);
	memset(counts, 0, sizeof(Counts));
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("peer \"%s\" is left out: %s", peer->name, error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
	values[0] = Int64GetDatum(peer->id);
	values[1] = CStringGetTextDatum(error->message);
	(void) own_row(&note_error, values, NULL, NULL);
}

static void
sync_all(Counts *total)
{
	ListCell   *cell;

	foreach(cell, read_peers(NULL))
	{
		Peer	   *peer = lfirst(cell);
		Counts		counts = {0};

		if (is_foreign_table(peer->expert_table) && is_foreign_table(peer->part_table) && !may_read(peer))
			continue;
		try_peer(peer, &counts);
		total->fetched += counts.fetched;
		total->skipped += counts.skipped;
		total->removed += counts.removed;
		total->sent += counts.sent;
		total->received += counts.received;
	}
}

void
fmoe_sync_peers(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe sync", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Counts		total = {0};

	sync_all(&total);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

Datum
fmoe_sync(PG_FUNCTION_ARGS)
{
	Counts		counts = {0};
	TupleDesc	shape;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0))
		sync_all(&counts);
	else
		sync_peer(find_peer(text_to_cstring(PG_GETARG_TEXT_PP(0))), &counts);
	values[0] = Int32GetDatum(counts.fetched);
	values[1] = Int32GetDatum(counts.skipped);
	values[2] = Int32GetDatum(counts.removed);
	values[3] = Int64GetDatum(counts.sent);
	values[4] = Int64GetDatum(counts.received);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

/*
 * peer.c
 *	  Databases to fetch lent experts from: fmoe_add_peer, fmoe_drop_peer.
 *
 * A peer is a foreign server and two foreign tables in the schema fmoe, which
 * stand for the peer's views fmoe.shared_expert and fmoe.shared_expert_part.
 * The foreign tables belong to the owner of the extension's tables and may be
 * read by whoever added the peer, who may grant that to others.  The peer belongs
 * to who added it, by a marker (pg/base/owner.c).
 *
 * The foreign tables are not members of the extension, so that pg_dump keeps
 * them with their privileges, but depend on it, so that DROP EXTENSION drops
 * them.  pg_dump does not keep that dependency, so fmoe_sync renews it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/lend/lend.h"

PG_FUNCTION_INFO_V1(fmoe_add_peer);
PG_FUNCTION_INFO_V1(fmoe_drop_peer);
PG_FUNCTION_INFO_V1(fmoe_may_see_peer);

static FmoeStatement insert_peer = {
	"INSERT INTO fmoe.peer (name, server) VALUES ($1, $2)"
	" ON CONFLICT (name) DO NOTHING RETURNING peer_id",
	2, {TEXTOID, NAMEOID}
};

static FmoeStatement set_tables = {
	"UPDATE fmoe.peer SET expert_table = fmoe._to_relation($2), part_table = fmoe._to_relation($3) WHERE peer_id OPERATOR(pg_catalog.=) $1",
	3, {INT8OID, REGCLASSOID, REGCLASSOID}
};

static FmoeStatement delete_peer = {
	"DELETE FROM fmoe.peer WHERE peer_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement all_peers = {
	"SELECT peer_id, name, fmoe._to_regclass(expert_table), fmoe._to_regclass(part_table), party, party_id FROM fmoe.peer"
	" WHERE $1 IS NULL OR name OPERATOR(pg_catalog.=) $1 ORDER BY name",
	1, {TEXTOID}
};

static FmoeStatement lock_peer = {
	"SELECT FROM fmoe.peer WHERE peer_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
	1, {INT8OID}
};

/* ---------------------------------------------------------------- who and what there is */

List *
fmoe_read_peers(const char *name)
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
		FmoePeer   *peer = palloc0(sizeof(FmoePeer));
		bool		isnull;

		peer->id = DatumGetInt64(SPI_getbinval(row, shape, 1, &isnull));
		peer->name = SPI_getvalue(row, shape, 2);
		peer->expert_table = DatumGetObjectId(SPI_getbinval(row, shape, 3, &isnull));
		peer->part_table = DatumGetObjectId(SPI_getbinval(row, shape, 4, &isnull));
		peer->party = SPI_getvalue(row, shape, 5);
		peer->party_id = SPI_getvalue(row, shape, 6);
		peer->owner = fmoe_owner(FMOE_OWNED_PEER, peer->id);
		peers = lappend(peers, peer);
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	return peers;
}

static bool
is_foreign_table(Oid table)
{
	return get_rel_relkind(table) == RELKIND_FOREIGN_TABLE;
}

bool
fmoe_has_tables(const FmoePeer *peer)
{
	return is_foreign_table(peer->expert_table) && is_foreign_table(peer->part_table);
}

bool
fmoe_may_read_peer(const FmoePeer *peer, Oid role)
{
	return pg_class_aclcheck(peer->expert_table, role, ACL_SELECT) == ACLCHECK_OK &&
		pg_class_aclcheck(peer->part_table, role, ACL_SELECT) == ACLCHECK_OK;
}

bool
fmoe_is_peer_of_caller(const FmoePeer *peer)
{
	if (is_member_of_role_nosuper(GetUserId(), peer->owner))
		return true;
	return fmoe_has_tables(peer) && fmoe_granted_by_name(peer->expert_table, NULL) &&
		fmoe_granted_by_name(peer->part_table, NULL);
}

/* Whether the foreign tables are there and a role may read them. */
static bool
may_sync(const FmoePeer *peer, Oid role)
{
	return fmoe_has_tables(peer) && fmoe_may_read_peer(peer, role);
}

static bool
may_drop(const FmoePeer *peer)
{
	return has_privs_of_role(GetUserId(), peer->owner) ||
		object_ownercheck(DatabaseRelationId, MyDatabaseId, GetUserId());
}

static bool
may_see(const FmoePeer *peer)
{
	return may_drop(peer) || may_sync(peer, GetUserId());
}

/* Whether there is a peer of that id that the caller may sync or drop. */
Datum
fmoe_may_see_peer(PG_FUNCTION_ARGS)
{
	ListCell   *cell;

	foreach(cell, fmoe_read_peers(NULL))
	{
		const FmoePeer *peer = lfirst(cell);

		if (peer->id == PG_GETARG_INT64(0))
			PG_RETURN_BOOL(may_see(peer));
	}
	PG_RETURN_BOOL(false);
}

FmoePeer *
fmoe_find_peer(const char *name)
{
	List	   *peers = fmoe_read_peers(name);

	if (peers == NIL || !may_see(linitial(peers)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("peer \"%s\" does not exist", name),
				 errhint("The view fmoe.peers lists the peers that you may sync or drop; fmoe_add_peer() adds one.")));
	return linitial(peers);
}

bool
fmoe_may_sync_party(const char *party, Oid role)
{
	ListCell   *cell;

	foreach(cell, fmoe_read_peers(NULL))
	{
		FmoePeer   *peer = lfirst(cell);

		if (peer->party != NULL && strcmp(peer->party, party) == 0 && may_sync(peer, role))
			return true;
	}
	return false;
}

void
fmoe_check_may_sync(const FmoePeer *peer)
{
	if (!fmoe_has_tables(peer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the foreign tables of peer \"%s\" no longer exist", peer->name),
				 errdetail("They may have been dropped together with their server."),
				 errhint("SELECT fmoe_drop_peer(%s), and add it again.", quote_literal_cstr(peer->name))));
	if (!fmoe_may_read_peer(peer, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for peer \"%s\"", peer->name),
				 errdetail("It needs the privilege SELECT on its two foreign tables, which who added it may grant.")));
}

bool
fmoe_lock_peer(const FmoePeer *peer)
{
	Datum		value = Int64GetDatum(peer->id);

	return fmoe_own_found(&lock_peer, &value, false);
}

/* ---------------------------------------------------------------- the foreign tables */

char *
fmoe_qualified_table(Oid table)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), get_rel_name(table));
}

/* Inside fmoe_own_begin. */
static Oid
create_table(int64 peer_id, const char *suffix, const char *columns, const char *view, const char *server,
			 const char *reader, const char *comment)
{
	char	   *name = psprintf("peer_" INT64_FORMAT "_%s", peer_id, suffix);
	Oid			table;

	fmoe_own_run(psprintf("CREATE FOREIGN TABLE fmoe.%s (%s) SERVER %s OPTIONS (schema_name 'fmoe', table_name '%s')",
						  name, columns, quote_identifier(server), view));
	fmoe_own_run(psprintf("GRANT SELECT ON fmoe.%s TO %s WITH GRANT OPTION", name, quote_identifier(reader)));
	fmoe_own_run(psprintf("COMMENT ON FOREIGN TABLE fmoe.%s IS %s", name, quote_literal_cstr(comment)));
	table = get_relname_relid(name, get_namespace_oid("fmoe", false));
	fmoe_depend_on_extension(RelationRelationId, table);
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
	Oid			owner = GetUserId();
	char	   *caller = GetUserNameFromId(owner, false);
	ForeignServer *found = GetForeignServerByName(server, false);
	AclResult	allowed = object_aclcheck(ForeignServerRelationId, found->serverid, GetUserId(), ACL_USAGE);
	Datum		values[3];
	int64		id;
	FmoeOwn		own;

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_FOREIGN_SERVER, server);
	fmoe_fresh_begin();
	fmoe_own_begin(&own);
	values[0] = CStringGetTextDatum(name);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(server));
	fmoe_own_execute(&insert_peer, values, NULL, false, 0);
	id = fmoe_result_int64();
	if (id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("peer \"%s\" already exists", name)));
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
	fmoe_owner_set(FMOE_OWNED_PEER, id, owner);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

static void
check_may_drop(const FmoePeer *peer)
{
	if (!may_drop(peer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for peer \"%s\"", peer->name),
				 errdetail("Only its owner and the owner of the database may drop it.")));
}

Datum
fmoe_drop_peer(PG_FUNCTION_ARGS)
{
	FmoePeer   *peer;
	Datum		value;
	FmoeOwn		own;

	fmoe_fresh_begin();
	peer = fmoe_find_peer(name_argument(fcinfo, 0, "name"));
	check_may_drop(peer);
	value = Int64GetDatum(peer->id);
	(void) fmoe_lock_peer(peer);
	fmoe_own_begin(&own);
	if (is_foreign_table(peer->expert_table))
		fmoe_own_run(psprintf("DROP FOREIGN TABLE %s", fmoe_qualified_table(peer->expert_table)));
	if (is_foreign_table(peer->part_table))
		fmoe_own_run(psprintf("DROP FOREIGN TABLE %s", fmoe_qualified_table(peer->part_table)));
	fmoe_own_execute(&delete_peer, &value, NULL, false, 0);
	fmoe_own_end(&own);
	fmoe_owner_drop(FMOE_OWNED_PEER, peer->id);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

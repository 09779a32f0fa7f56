/*
 * owner.c
 *	  Who owns a domain or a peer: the owner of its marker.
 *
 * A row of a table cannot be owned, and a role that is kept in one as a name, a
 * regrole or an OID is no dependency: DROP ROLE succeeds, REASSIGN OWNED passes
 * it by, and the next role of the name has what it never was given.  So each
 * domain and each peer has a marker, an empty materialized view in the schema
 * fmoe that is named after its id and does nothing but have an owner.
 *
 * It is a materialized view because PostgreSQL keeps all that it takes for one:
 * a relation is moved by REASSIGN OWNED without CREATE on its schema, pg_dump
 * writes its owner, and of materialized views that they depend on an extension,
 * so DROP EXTENSION drops restored ones too.  A member of the extension would
 * not be dumped.
 *
 * Where there is no marker (DROP OWNED, a restore without it), the owner is that
 * of the extension's tables.  So there is always one, and never one by chance.
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
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/base/base.h"

static const char *const kinds[] = {
	[FMOE_OWNED_DOMAIN] = "domain",
	[FMOE_OWNED_PEER] = "peer"
};

/* ---------------------------------------------------------------- markers */

static char *
marker_name(FmoeOwned kind, int64 id)
{
	return psprintf("%s_" INT64_FORMAT "_owner", kinds[kind], id);
}

/* InvalidOid: there is none. */
static Oid
marker_of(FmoeOwned kind, int64 id)
{
	Oid			schema = get_namespace_oid("fmoe", true);
	Oid			marker = OidIsValid(schema) ? get_relname_relid(marker_name(kind, id), schema) : InvalidOid;

	return get_rel_relkind(marker) == RELKIND_MATVIEW ? marker : InvalidOid;
}

/* Inside fmoe_own_begin. */
static Oid
make_marker(FmoeOwned kind, int64 id)
{
	bool		creating = creating_extension;
	char	   *name = marker_name(kind, id);
	char	   *tablespace = get_tablespace_name(MyDatabaseTableSpace);

	/* what is made in the extension's own script would be a member of it */
	creating_extension = false;
	fmoe_own_run(psprintf("CREATE MATERIALIZED VIEW fmoe.%s USING heap TABLESPACE %s AS SELECT " INT64_FORMAT
						  "::pg_catalog.int8 AS %s_id WITH NO DATA",
						  name, quote_identifier(tablespace), id, kinds[kind]));
	fmoe_own_run(psprintf("COMMENT ON MATERIALIZED VIEW fmoe.%s IS 'who owns this owns the %s; made by fmoe'",
						  name, kinds[kind]));
	CommandCounterIncrement();
	fmoe_depend_on_extension(RelationRelationId, marker_of(kind, id));
	creating_extension = creating;
	return marker_of(kind, id);
}

/* ---------------------------------------------------------------- owners */

Oid
fmoe_owner(FmoeOwned kind, int64 id)
{
	Oid			marker = marker_of(kind, id);
	Oid			owner = OidIsValid(marker) ? fmoe_relation_owner(marker) : InvalidOid;

	return OidIsValid(owner) ? owner : fmoe_owner_of_tables();
}

bool
fmoe_owner_grants(FmoeOwned kind, int64 id, Oid role)
{
	Oid			marker = marker_of(kind, id);

	return OidIsValid(marker) && pg_class_aclcheck(marker, role, ACL_SELECT) == ACLCHECK_OK;
}

void
fmoe_owner_set(FmoeOwned kind, int64 id, Oid owner)
{
	FmoeOwn		own;
	Oid			marker;

	fmoe_own_begin(&own);
	/* one may be there before its row: a schema that was restored without data */
	marker = marker_of(kind, id);
	if (!OidIsValid(marker))
		marker = make_marker(kind, id);
	/* without the checks of ALTER ... OWNER, since nobody but the owner of the tables has CREATE on the schema */
	ATExecChangeOwner(marker, owner, true, AccessExclusiveLock);
	CommandCounterIncrement();
	fmoe_own_end(&own);
}

void
fmoe_owner_drop(FmoeOwned kind, int64 id)
{
	ObjectAddress marker;

	ObjectAddressSet(marker, RelationRelationId, marker_of(kind, id));
	/* what somebody else built on it must not keep the row from being dropped */
	if (OidIsValid(marker.objectId))
		performDeletion(&marker, DROP_CASCADE, 0);
}

/* ---------------------------------------------------------------- from SQL */

static FmoeOwned
kind_argument(FunctionCallInfo fcinfo)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	for (int i = 0; i < lengthof(kinds); i++)
	{
		if (strcmp(name, kinds[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" has no owner", name),
			 errhint("It is one of: domain, peer.")));
	pg_unreachable();
}

PG_FUNCTION_INFO_V1(fmoe_owner_of);
Datum
fmoe_owner_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(fmoe_owner(kind_argument(fcinfo), PG_GETARG_INT64(1)));
}

/* For scripts that bring rows from before there were markers. */
PG_FUNCTION_INFO_V1(fmoe_set_owner);
Datum
fmoe_set_owner(PG_FUNCTION_ARGS)
{
	if (!has_privs_of_role(GetUserId(), fmoe_owner_of_tables()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set owners"),
				 errdetail("Only the owner of the extension's tables may do this."),
				 errhint("The owner of a domain gives it away with fmoe_alter_domain(name, owner => ...).")));
	fmoe_owner_set(kind_argument(fcinfo), PG_GETARG_INT64(1), PG_GETARG_OID(2));
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------- what goes with the extension */

static bool
depends_on_extension(const ObjectAddress *object, Oid extension)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object->classId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object->objectId));
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

void
fmoe_depend_on_extension(Oid catalog, Oid object)
{
	ObjectAddress dependent;
	ObjectAddress extension;

	ObjectAddressSet(dependent, catalog, object);
	ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid("fmoe", false));
	/* ALTER ... DEPENDS ON EXTENSION locks out everybody else who makes such an object */
	LockDatabaseObject(ExtensionRelationId, extension.objectId, 0, AccessShareLock);
	if (!depends_on_extension(&dependent, extension.objectId))
		recordDependencyOn(&dependent, &extension, DEPENDENCY_AUTO_EXTENSION);
}

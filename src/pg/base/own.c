/*
 * own.c
 *	  Reading and writing the extension's own tables as their owner.
 *
 * Callers have no privilege on the tables.  Between fmoe_own_begin and
 * fmoe_own_end the backend acts as the tables' owner, with a search_path in
 * which nobody can put anything.  Both are undone by fmoe_own_end, and by the
 * abort of the (sub)transaction after an error: user and search_path are part
 * of what PostgreSQL restores there.  The access check is the caller's duty
 * and comes first.
 *
 * Every recommendation looks up its domain and the live version.  It does so by
 * fmoe_rows_begin: an index scan with the active snapshot, which needs no plan
 * and no change of user and takes a fifth of the time.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "pg/base/base.h"

Oid
fmoe_own_relation(const char *name)
{
	Oid			schema = get_namespace_oid("fmoe", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* One that has to be there. */
static Oid
own_relation(const char *name)
{
	Oid			relation = fmoe_own_relation(name);

	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the tables of the extension fmoe do not exist"),
				 errhint("Use CREATE EXTENSION fmoe.")));
	return relation;
}

Oid
fmoe_relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

Oid
fmoe_owner_of_tables(void)
{
	Oid			table = own_relation("domain");
	Oid			owner = fmoe_relation_owner(table);

	if (!OidIsValid(owner))
		elog(ERROR, "cache lookup failed for relation %u", table);
	return owner;
}

void
fmoe_caller_begin(FmoeOwn *own)
{
	GetUserIdAndSecContext(&own->user, &own->security_context);
	own->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);

	/* a procedure has no snapshot after its COMMIT */
	own->snapshot = !ActiveSnapshotSet();
	if (own->snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
fmoe_own_begin(FmoeOwn *own)
{
	Oid			owner = fmoe_owner_of_tables();

	fmoe_caller_begin(own);
	SetUserIdAndSecContext(owner, own->security_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
fmoe_own_end(FmoeOwn *own)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	if (own->snapshot)
		PopActiveSnapshot();
	AtEOXact_GUC(true, own->guc_level);
	SetUserIdAndSecContext(own->user, own->security_context);
}

void
fmoe_own_execute(FmoeStatement *statement, Datum *values, const char *nulls,
				 bool read_only, long limit)
{
	int			result;

	if (statement->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statement->sql, statement->nargs, statement->types);

		if (plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
				 SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}

	result = SPI_execute_plan(statement->plan, values, nulls, read_only, limit);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql, SPI_result_code_string(result));
}

void
fmoe_own_run(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

Datum
fmoe_result_column(int column, bool *isnull)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null);

	if (isnull != NULL)
		*isnull = null;
	return value;
}

char *
fmoe_result_text(int column)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

int64
fmoe_result_int64(void)
{
	bool		isnull;
	Datum		value;

	if (SPI_processed != 1)
		return 0;
	value = fmoe_result_column(1, &isnull);
	if (isnull)
		return 0;
	return SPI_gettypeid(SPI_tuptable->tupdesc, 1) == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value);
}

char *
fmoe_own_text(FmoeStatement *statement, Datum *values, bool read_only)
{
	MemoryContext caller = CurrentMemoryContext;
	FmoeOwn		own;
	char	   *text = NULL;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, NULL, read_only, 1);
	if (SPI_processed > 0)
		text = fmoe_result_text(1);
	if (text != NULL)
		text = MemoryContextStrdup(caller, text);
	fmoe_own_end(&own);
	return text;
}

int64
fmoe_own_int64(FmoeStatement *statement, Datum *values, bool read_only)
{
	FmoeOwn		own;
	int64		number;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, NULL, read_only, 1);
	number = fmoe_result_int64();
	fmoe_own_end(&own);
	return number;
}

bool
fmoe_own_found(FmoeStatement *statement, Datum *values, bool read_only)
{
	FmoeOwn		own;
	bool		found;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, NULL, read_only, 1);
	found = SPI_processed > 0;
	fmoe_own_end(&own);
	return found;
}

uint64
fmoe_own_change(FmoeStatement *statement, Datum *values, const char *nulls)
{
	FmoeOwn		own;
	uint64		rows;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, nulls, false, 0);
	rows = SPI_processed;
	fmoe_own_end(&own);
	return rows;
}

void
fmoe_rows_begin(FmoeRows *rows, const char *table, const char *index, int nkeys, ScanKey keys)
{
	/* a procedure has no snapshot after its COMMIT */
	rows->snapshot = !ActiveSnapshotSet();
	if (rows->snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	rows->table = table_open(own_relation(table), AccessShareLock);
	rows->index = index == NULL ? NULL : index_open(own_relation(index), AccessShareLock);
	if (rows->index != NULL)
		rows->scan = systable_beginscan_ordered(rows->table, rows->index, GetActiveSnapshot(), nkeys, keys);
	else
		rows->scan = systable_beginscan(rows->table, InvalidOid, false, GetActiveSnapshot(), nkeys, keys);
}

HeapTuple
fmoe_rows_next(FmoeRows *rows)
{
	return rows->index != NULL ? systable_getnext_ordered(rows->scan, ForwardScanDirection)
		: systable_getnext(rows->scan);
}

void
fmoe_rows_end(FmoeRows *rows)
{
	if (rows->index != NULL)
	{
		systable_endscan_ordered(rows->scan);
		index_close(rows->index, AccessShareLock);
	}
	else
		systable_endscan(rows->scan);
	table_close(rows->table, AccessShareLock);
	if (rows->snapshot)
		PopActiveSnapshot();
}

void
fmoe_fresh_begin(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
fmoe_fresh_end(void)
{
	PopActiveSnapshot();
}

Oid
fmoe_extension_schema(void)
{
	Relation	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			schema = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("fmoe"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);

	if (!OidIsValid(schema))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the extension fmoe is not installed in this database"),
				 errhint("Use CREATE EXTENSION fmoe.")));
	return schema;
}

/*
 * live.c
 *	  Which version is live: the newest deployment of a domain that was not undone.
 *
 * It is read with the caller's snapshot at every recommendation.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "pg/store/store.h"

static FmoeStatement live_version = {
	"SELECT version_id FROM fmoe.deployment WHERE domain_id OPERATOR(pg_catalog.=) $1 AND undone_at IS NULL"
	" ORDER BY deployment_id DESC LIMIT 1",
	1, {INT8OID}
};

static FmoeStatement insert_deployment = {
	"INSERT INTO fmoe.deployment (domain_id, version_id, deployed_by) SELECT domain_id, version_id, $3 FROM fmoe.version"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 AND version_id OPERATOR(pg_catalog.=) $2",
	3, {INT8OID, INT8OID, NAMEOID}
};

/* Columns of fmoe.deployment, as the extension's script numbers them. */
#define DEPLOYMENT_DOMAIN 2
#define DEPLOYMENT_VERSION 3

int64
fmoe_live_version(int64 domain_id)
{
	ScanKeyData key;
	FmoeRows	rows;
	HeapTuple	newest;
	int64		version_id = 0;

	/* the index has the newest deployment first and leaves out those that were undone */
	ScanKeyInit(&key, DEPLOYMENT_DOMAIN, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(domain_id));
	fmoe_rows_begin(&rows, "deployment", "deployment_live", 1, &key);
	newest = fmoe_rows_next(&rows);
	if (newest != NULL)
	{
		bool		isnull;

		version_id = DatumGetInt64(heap_getattr(newest, DEPLOYMENT_VERSION, RelationGetDescr(rows.table), &isnull));
	}
	fmoe_rows_end(&rows);
	return version_id;
}

void
fmoe_set_live(FmoeDomain *domain, int64 version_id)
{
	const char *deployer = GetUserNameFromId(GetUserId(), false);
	Datum		values[3];
	FmoeOwn		own;
	bool		deployed;

	values[0] = Int64GetDatum(domain->id);
	values[1] = Int64GetDatum(version_id);
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(deployer));
	fmoe_lock_domain(domain);
	fmoe_own_begin(&own);
	/* deploying the live version again adds no entry, for there would be nothing to roll back */
	fmoe_own_execute(&live_version, values, NULL, false, 1);
	deployed = fmoe_result_int64() == version_id;
	if (!deployed)
	{
		fmoe_own_execute(&insert_deployment, values, NULL, false, 0);
		deployed = SPI_processed > 0;
	}
	fmoe_own_end(&own);
	if (!deployed)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the version was dropped while it was being deployed")));
}

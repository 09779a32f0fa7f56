/*
 * version.c
 *	  What is live: deploy, roll back, drop.
 *
 * fmoe.deployment is a log.  Deploying appends to it, rolling back marks its
 * newest entry undone, and what is live is the newest entry that is not.  Each
 * takes a lock on the domain's row only, so readers never wait.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "pg/cache/cache.h"

static FmoeStatement lock_domain = {
	"SELECT FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
	1, {INT8OID}
};

static FmoeStatement undo_newest = {
	"UPDATE fmoe.deployment SET undone_at = pg_catalog.now() WHERE deployment_id OPERATOR(pg_catalog.=)"
	" (SELECT p.deployment_id FROM fmoe.deployment p"
	" WHERE p.domain_id OPERATOR(pg_catalog.=) $1 AND p.undone_at IS NULL"
	" ORDER BY p.deployment_id DESC LIMIT 1)",
	1, {INT8OID}
};

static FmoeStatement live_version = {
	"SELECT v.version FROM fmoe.deployment p"
	" JOIN fmoe.version v ON v.version_id OPERATOR(pg_catalog.=) p.version_id"
	" WHERE p.domain_id OPERATOR(pg_catalog.=) $1 AND p.undone_at IS NULL"
	" ORDER BY p.deployment_id DESC LIMIT 1",
	1, {INT8OID}
};

static FmoeStatement delete_deployments = {
	"DELETE FROM fmoe.deployment WHERE version_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement delete_version = {
	"DELETE FROM fmoe.version WHERE version_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

/* A domain to be managed; its table may be gone. */
static FmoeDomain *
managed_domain(FunctionCallInfo fcinfo)
{
	return fmoe_domain_find(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)), FMOE_MANAGE);
}

static FmoeVersion *
version_argument(FunctionCallInfo fcinfo, const FmoeDomain *domain)
{
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("version must not be null")));
	if (PG_GETARG_INT32(1) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" has no version %d", domain->name, PG_GETARG_INT32(1)),
				 errhint("Versions count from 1; the view fmoe.versions lists them.")));
	return fmoe_find_version(domain, PG_GETARG_INT32(1));
}

/* The version that is live, as the newest committed state has it; 0: none.  Inside fmoe_own_begin. */
static int
read_live(Datum domain_id)
{
	bool		isnull;

	fmoe_own_execute(&live_version, &domain_id, NULL, false, 0);
	return SPI_processed == 0 ? 0
		: DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

PG_FUNCTION_INFO_V1(fmoe_deploy);
Datum
fmoe_deploy(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain;
	FmoeVersion *version;

	fmoe_fresh_begin();
	domain = managed_domain(fcinfo);
	version = version_argument(fcinfo, domain);
	if (!version->complete)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" cannot go live", version->version, domain->name),
				 errdetail("It was imported without an item table."),
				 errhint("Train a version that builds on it, or import one that was shared in full.")));
	fmoe_set_live(domain->id, version->version_id);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(fmoe_rollback);
Datum
fmoe_rollback(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain;
	Datum		id;
	FmoeOwn		own;
	bool		undone;
	int			live;

	fmoe_fresh_begin();
	domain = managed_domain(fcinfo);
	id = Int64GetDatum(domain->id);
	fmoe_own_begin(&own);
	fmoe_own_execute(&lock_domain, &id, NULL, false, 0);
	fmoe_own_execute(&undo_newest, &id, NULL, false, 0);
	undone = SPI_processed > 0;
	live = read_live(id);
	fmoe_own_end(&own);
	fmoe_fresh_end();

	if (!undone)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no live version to roll back from", domain->name)));
	if (live == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(live);
}

PG_FUNCTION_INFO_V1(fmoe_drop_version);
Datum
fmoe_drop_version(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain;
	FmoeVersion *version;
	Datum		id;
	Datum		version_id;
	FmoeOwn		own;
	int			live;

	fmoe_fresh_begin();
	domain = managed_domain(fcinfo);
	version = version_argument(fcinfo, domain);
	id = Int64GetDatum(domain->id);
	version_id = Int64GetDatum(version->version_id);
	fmoe_own_begin(&own);
	fmoe_own_execute(&lock_domain, &id, NULL, false, 0);
	live = read_live(id);
	if (live != version->version)
	{
		fmoe_own_execute(&delete_deployments, &version_id, NULL, false, 0);
		fmoe_own_execute(&delete_version, &version_id, NULL, false, 0);
		fmoe_evict_version(domain->id, version->version_id);
	}
	fmoe_own_end(&own);
	fmoe_fresh_end();

	if (live == version->version)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("version %d of domain \"%s\" is live", version->version, domain->name),
				 errhint("Deploy another version first, or roll back.")));
	PG_RETURN_VOID();
}

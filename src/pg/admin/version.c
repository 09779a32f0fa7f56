/*
 * version.c
 *	  What is live: deploy, roll back, drop.
 *
 * fmoe.deployment is a log.  Deploying appends to it, rolling back marks its
 * newest entry undone, and what is live is the newest entry that is not.  Both
 * lock only the domain's row, so readers never wait.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "pg/cache/cache.h"
#include "pg/lend/lend.h"

static FmoeStatement undo_newest = {
	"UPDATE fmoe.deployment SET undone_at = pg_catalog.now() WHERE deployment_id OPERATOR(pg_catalog.=)"
	" (SELECT p.deployment_id FROM fmoe.deployment p"
	" WHERE p.domain_id OPERATOR(pg_catalog.=) $1 AND p.undone_at IS NULL"
	" ORDER BY p.deployment_id DESC LIMIT 1)",
	1, {INT8OID}
};

/* To be read when the domain is locked, so that nothing can change it. */
static FmoeStatement live_version = {
	"SELECT v.version FROM fmoe.deployment p"
	" JOIN fmoe.version v ON v.version_id OPERATOR(pg_catalog.=) p.version_id"
	" WHERE p.domain_id OPERATOR(pg_catalog.=) $1 AND p.undone_at IS NULL"
	" ORDER BY p.deployment_id DESC LIMIT 1",
	1, {INT8OID}
};

static FmoeStatement delete_tensors = {
	"DELETE FROM fmoe.tensor WHERE version_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement delete_private = {
	"DELETE FROM fmoe.private_row WHERE version_id OPERATOR(pg_catalog.=) $1",
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
	return fmoe_version_argument(fcinfo, 1, domain);
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
	fmoe_set_live(domain, version->version_id);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(fmoe_rollback);
Datum
fmoe_rollback(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain;
	Datum		id;
	bool		undone;
	int			live;

	fmoe_fresh_begin();
	domain = managed_domain(fcinfo);
	id = Int64GetDatum(domain->id);
	fmoe_lock_domain(domain);
	undone = fmoe_own_change(&undo_newest, &id, NULL) > 0;
	live = fmoe_own_int64(&live_version, &id, false);
	fmoe_fresh_end();

	if (!undone)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no live version to roll back from", domain->name)));
	if (live == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no version to roll back to", domain->name),
				 errdetail("What is live was the first to be deployed, or those before it were dropped."),
				 errhint("Deploy another version with fmoe_deploy(%s, ...).", quote_literal_cstr(domain->name))));
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
	int			live;

	fmoe_fresh_begin();
	domain = managed_domain(fcinfo);
	version = version_argument(fcinfo, domain);
	id = Int64GetDatum(domain->id);
	version_id = Int64GetDatum(version->version_id);
	fmoe_lock_domain(domain);
	/* what was imported to be borrowed may be what others are built on */
	if (!version->complete)
		fmoe_check_not_used(version->name, fmoe_checksum_text(version->checksum));
	live = fmoe_own_int64(&live_version, &id, false);
	if (live != version->version)
	{
		(void) fmoe_own_change(&delete_tensors, &version_id, NULL);
		(void) fmoe_own_change(&delete_private, &version_id, NULL);
		(void) fmoe_own_change(&delete_deployments, &version_id, NULL);
		(void) fmoe_own_change(&delete_version, &version_id, NULL);
		fmoe_evict_version(domain->id, version->version_id);
	}
	fmoe_fresh_end();

	if (live == version->version)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("version %d of domain \"%s\" is live", version->version, domain->name),
				 errhint("Deploy another version first, or roll back.")));
	PG_RETURN_VOID();
}

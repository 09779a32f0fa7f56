/*
 * version.c
 *	  The version that is evaluated, and whether that would be fair.
 */
#include "postgres.h"

#include "pg/evaluate/evaluate.h"

static FmoeStatement newest_version = {
	"SELECT version FROM fmoe.version WHERE domain_id OPERATOR(pg_catalog.=) $1 AND complete"
	" ORDER BY version DESC LIMIT 1",
	1, {INT8OID}
};

/* 0: there is none. */
static int
find_newest(int64 domain_id)
{
	FmoeOwn		own;
	Datum		values[1] = {Int64GetDatum(domain_id)};
	bool		null;
	int			version = 0;

	fmoe_own_begin(&own);
	fmoe_own_execute(&newest_version, values, NULL, true, 1);
	if (SPI_processed > 0)
		version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	fmoe_own_end(&own);
	return version;
}

FmoeVersion *
fmoe_version_to_judge(const FmoeDomain *domain, int number)
{
	FmoeVersion *version = fmoe_find_version(domain, number);
	int			newest;

	if (version != NULL)
		return version;
	newest = find_newest(domain->id);
	if (newest == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no version to evaluate", domain->name),
				 errhint("Train one with CALL fmoe_train('%s', '{\"holdout\": \"test\"}').", domain->name)));
	ereport(NOTICE,
			(errmsg("no version of domain \"%s\" is live: version %d, the newest, is evaluated",
					domain->name, newest)));
	return fmoe_find_version(domain, newest);
}

void
fmoe_refuse_seen(const FmoeDomain *domain, const FmoeVersion *version, const char *split, const char *events,
				 const char *holdout)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("version %d of domain \"%s\" was trained on events it would be judged by",
					version->version, domain->name),
			 errdetail("Its holdout is \"%s\"; %s judges by %s.", version->holdout, split, events),
			 errhint("Train one with CALL fmoe_train('%s', '{\"holdout\": \"%s\"}').", domain->name, holdout)));
}

void
fmoe_warn_of_fewer(const FmoeDomain *domain, const FmoeVersion *version, int64 events)
{
	if (events < version->events)
		ereport(WARNING,
				(errmsg("domain \"%s\" has fewer events than version %d was trained with", domain->name,
						version->version),
				 errdetail("Some that it is judged by may have been among those.")));
}

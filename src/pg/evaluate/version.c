/*
 * version.c
 *	  The version that is evaluated, and whether that would be fair.
 */
#include "postgres.h"

#include "pg/evaluate/evaluate.h"

FmoeVersion *
fmoe_version_to_judge(const FmoeDomain *domain, int number)
{
	FmoeVersion *version = fmoe_find_version(domain, number);

	if (version != NULL)
		return version;
	version = fmoe_version_of_id(domain, fmoe_newest_version(domain->id));
	if (version == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no version to evaluate", domain->name),
				 errhint("Train one with CALL fmoe_train('%s', '{\"holdout\": \"test\"}').", domain->name)));
	ereport(NOTICE,
			(errmsg("no version of domain \"%s\" is live: version %d, the newest, is evaluated",
					domain->name, version->version)));
	return version;
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

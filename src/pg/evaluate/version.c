/*
 * version.c
 *	  Which version is evaluated, and whether the evaluation is fair.
 */
#include "postgres.h"

#include "pg/evaluate/evaluate.h"

FmoeVersion *
fmoe_version_to_evaluate(const FmoeDomain *domain, int number)
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
			 errmsg("version %d of domain \"%s\" was trained on events it would be evaluated on",
					version->version, domain->name),
			 errdetail("Its holdout is \"%s\"; the split \"%s\" evaluates on %s.", version->holdout, split, events),
			 errhint("Train one with CALL fmoe_train('%s', '{\"holdout\": \"%s\"}').", domain->name, holdout)));
}

void
fmoe_warn_of_fewer(const FmoeDomain *domain, const FmoeVersion *version, int64 events)
{
	if (events < version->events)
		ereport(WARNING,
				(errmsg("domain \"%s\" has fewer events than version %d was trained with", domain->name,
						version->version),
				 errdetail("Some of those it is evaluated on may have been among them.")));
}

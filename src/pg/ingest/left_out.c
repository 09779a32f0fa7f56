/*
 * left_out.c
 *	  What is told of rows that are no events.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "pg/ingest/ingest.h"

char *
fmoe_reasons_left_out(const FmoeInteractions *interactions)
{
	static const char *const has[FMOE_LEFT_REASONS] = {
		[FMOE_LEFT_NULL] = "%lld with a null",
		[FMOE_LEFT_TIME] = "%lld with a time that is not finite",
		[FMOE_LEFT_LABEL] = "%lld with a label that is NaN",
		[FMOE_LEFT_WEIGHT] = "%lld with a weight that is negative or not finite",
		[FMOE_LEFT_SHOWN] = "%lld shown and not chosen, by their label"
	};
	StringInfoData text;

	initStringInfo(&text);
	for (int reason = FMOE_TAKEN + 1; reason < FMOE_LEFT_REASONS; reason++)
		if (interactions->left_out[reason] > 0)
		{
			appendStringInfoString(&text, text.len > 0 ? ", " : "");
			appendStringInfo(&text, has[reason], (long long) interactions->left_out[reason]);
		}
	return text.len > 0 ? text.data : NULL;
}

void
fmoe_tell_left_out(const FmoeDomain *domain, const FmoeInteractions *interactions)
{
	char	   *reasons = fmoe_reasons_left_out(interactions);

	if (reasons != NULL)
		ereport(NOTICE,
				(errmsg("rows of domain \"%s\" are left out", domain->name),
				 errdetail("%s.", reasons)));
}

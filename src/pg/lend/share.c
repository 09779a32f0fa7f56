/*
 * share.c
 *	  Versions as files, as far as the domain's sharing policy allows.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "pg/lend/lend.h"

static FmoeStatement version_created = {
	.sql = "SELECT pg_catalog.to_char(pg_catalog.timezone('UTC', v.created_at), 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
	" FROM fmoe.version v WHERE v.version_id OPERATOR(pg_catalog.=) $1",
	.nargs = 1,
	.types = {INT8OID}
};

FmoeVersion *
fmoe_version_to_share(FunctionCallInfo fcinfo, const FmoeDomain *domain, const char *what)
{
	FmoeVersion *version = fmoe_version_argument(fcinfo, 1, domain);

	if (version == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no live version to %s", domain->name, what),
				 errhint("Name a version, or train one with CALL fmoe_train(%s).",
						 quote_literal_cstr(domain->name))));
	return version;
}

void
fmoe_check_sharing(const FmoeDomain *domain)
{
	if (strcmp(domain->sharing, "none") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to share domain \"%s\"", domain->name),
				 errdetail("Its sharing policy is \"none\"."),
				 errhint("SELECT fmoe_alter_domain(%s, sharing => 'encoder') allows encoders to be shared, "
						 "sharing => 'full' whole versions.", quote_literal_cstr(domain->name))));
}

/* The weights of a version's gate; NULL: it has none, or they would leave without the noise that was asked for. */
static Jsonb *
gate_to_share(const FmoeVersion *version, const FmoeExpertFile *file, const FmoeRelease *release)
{
	FmoeGatePrior prior = {0};

	if (release->clip > 0 ||
		!fmoe_gate_of_arrays(&version->config, fmoe_host(CurrentMemoryContext), file->n_arrays, file->arrays, &prior))
		return NULL;
	return fmoe_gate_jsonb(&version->config, &prior);
}

/* Error: a version has nothing that another database could use. */
static void
fail_without_encoder(const FmoeDomain *domain, const FmoeVersion *version)
{
	const FmoeExpertClass *class = fmoe_expert_classes[version->config.model];
	const char *whole = psprintf("SELECT fmoe_alter_domain(%s, sharing => 'full') allows whole versions "
								 "to be shared, by fmoe_export().", quote_literal_cstr(domain->name));

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("version %d of domain \"%s\" has no encoder to share", version->version, domain->name),
			 fmoe_only_counts(class) ? errdetail("Its model \"%s\" consists of counts over items.", version->model)
			 : errdetail("What model \"%s\" has learned is of this database's categories, items or users.",
						 version->model),
			 class->federated == NULL ? errhint("%s", whole)
			 : errhint("Options \"federated\" and \"rounds\" of fmoe_train() share what is everybody's or of groups while "
					   "it is learned. %s", whole)));
}

/* The base of another stays where it is. */
static int
without_base(const FmoeConfig *config, int n, FnnArray *arrays)
{
	int			kept = 0;

	if (fmoe_named_base(config) == NULL)
		return n;
	for (int i = 0; i < n; i++)
		if (strncmp(arrays[i].name, FMOE_BASE_PREFIX, strlen(FMOE_BASE_PREFIX)) != 0)
			arrays[kept++] = arrays[i];
	return kept;
}

FmoeExpertFile *
fmoe_version_file(const FmoeDomain *domain, const FmoeVersion *version, const FmoeRelease *release, bool complete)
{
	FmoeExpertFile *file = palloc0(sizeof(FmoeExpertFile));
	Datum		version_id = Int64GetDatum(version->version_id);
	size_t		bytes;

	/* the version and the file; changing weights needs another copy of them */
	fmoe_check_memory((fmoe_release_is_exact(release) ? 2 : 3) * (size_t) version->bytes,
					  psprintf("exporting version %d of domain \"%s\"", version->version, domain->name));
	file->facts = *version;
	file->facts.complete = complete;
	file->n_arrays = fmoe_load_arrays(version->version_id, CurrentMemoryContext, &file->arrays, &bytes);
	file->created = fmoe_own_text(&version_created, &version_id, true);
	if (complete)
	{
		file->item_type = fmoe_id_type_name(domain->item_type);
		file->n_arrays = without_base(&version->config, file->n_arrays, file->arrays);
		return file;
	}
	file->gate = gate_to_share(version, file, release);
	file->n_arrays = fmoe_keep_encoder(&version->config, version->items, file->n_arrays, file->arrays);
	if (file->n_arrays == 0)
		fail_without_encoder(domain, version);
	fmoe_release_apply(release, file);
	return file;
}

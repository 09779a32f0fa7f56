/*
 * transfer.c
 *	  fmoe_export and fmoe_import: versions out of and into the database.
 *
 * What leaves is decided by the domain's sharing policy:
 *
 *	  none		nothing
 *	  encoder	the parameters that their class declares FNN_PUBLIC; never the
 *				item table, the count experts or the item ids
 *	  full		the whole version
 *
 * Encoders, and only they, may be changed on the way (precision.c).
 *
 * An imported file becomes a version like any other, but is not made live.
 * One with an encoder only is not complete: it is there to be borrowed.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/lend/lend.h"

PG_FUNCTION_INFO_V1(fmoe_export);
PG_FUNCTION_INFO_V1(fmoe_import);

static FmoeStatement version_by_name = {
	.sql = "SELECT v.version FROM fmoe.version v"
	" WHERE v.domain_id OPERATOR(pg_catalog.=) $1 AND v.name OPERATOR(pg_catalog.=) $2",
	.nargs = 2,
	.types = {INT8OID, TEXTOID}
};

/* ---------------------------------------------------------------- export */

/* What is exported whole may hold nothing that is somebody else's. */
static void
check_own(const FmoeDomain *domain, const FmoeVersion *version)
{
	FmoeConfig	config = version->config;
	const FmoeLentList *borrowed = fmoe_borrowed(&config);

	if (borrowed == NULL || borrowed->count <= 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("version %d of domain \"%s\" holds encoders of others", version->version, domain->name),
			 errdetail("It is a mixture with the lent expert \"%s\".", borrowed->lent[0].name),
			 errhint("SELECT fmoe_alter_domain(%s, sharing => 'encoder') makes fmoe_export() give its own encoder.",
					 quote_literal_cstr(domain->name))));
}

Datum
fmoe_export(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain = fmoe_domain_argument(fcinfo, 0, FMOE_MANAGE);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "fmoe export", ALLOCSET_DEFAULT_SIZES);
	FmoeVersion *version;
	FmoeExpertFile *file;
	FmoeRelease release;
	bool		complete;
	bytea	   *result;

	fmoe_release_parse(PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2), &release);
	/* a version tells of what it was trained on */
	(void) fmoe_domain_open(domain->name, FMOE_USE);
	fmoe_check_sharing(domain);
	version = fmoe_version_to_share(fcinfo, domain, "export");
	complete = version->complete && strcmp(domain->sharing, "full") == 0;
	if (complete && !fmoe_release_is_exact(&release))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" is exported whole, which is always exact",
						version->version, domain->name),
				 errhint("fmoe_lend() lends its encoder with these options; "
						 "SELECT fmoe_alter_domain(%s, sharing => 'encoder') makes fmoe_export() take them.",
						 quote_literal_cstr(domain->name))));

	if (complete)
		check_own(domain, version);
	MemoryContextSwitchTo(context);
	file = fmoe_version_file(domain, version, &release, complete);
	MemoryContextSwitchTo(caller);
	result = fmoe_expert_write(file);
	MemoryContextDelete(context);
	PG_RETURN_BYTEA_P(result);
}

/* ---------------------------------------------------------------- import */

static char *
name_argument(FunctionCallInfo fcinfo, const FmoeDomain *domain)
{
	char	   *name;
	Datum		values[2];
	char	   *taken;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("name must not be empty")));
	values[0] = Int64GetDatum(domain->id);
	values[1] = PG_GETARG_DATUM(1);
	taken = fmoe_own_text(&version_by_name, values, true);
	if (taken != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("domain \"%s\" already has an expert \"%s\"", domain->name, name),
				 errdetail("It is version %s.", taken),
				 errhint("Choose another name, or drop it with SELECT fmoe_drop_version(%s, %s).",
						 quote_literal_cstr(domain->name), taken)));
	if (fmoe_is_lent_name(name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("\"%s\" is the name of a lent expert", name),
				 errhint("Choose another name.")));
	return name;
}

/* A complete file fits the domain: ids of its type, arrays of its class. */
static void
check_complete(const FmoeExpertFile *file, const FmoeDomain *domain)
{
	FmoeModel  *model;

	if (strcmp(file->item_type, fmoe_id_type_name(domain->item_type)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the expert's item ids have type %s, those of domain \"%s\" have type %s",
						file->item_type, domain->name, fmoe_id_type_name(domain->item_type))));
	model = palloc0(sizeof(FmoeModel));
	(void) fmoe_expert_bind(file, domain->item_type, domain->item_collation, model);
}

/* An adapter is of use only where its base is. */
static void
check_base(const FmoeExpertFile *file)
{
	const FmoeNamedBase *base = fmoe_named_base(&file->facts.config);

	if (base != NULL && fmoe_find_base(base->checksum, InvalidOid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the base \"%s\" of the expert is not here", base->name),
				 errdetail("Its checksum is %s.", base->checksum),
				 errhint("Fetch or import the base first.")));
}

Datum
fmoe_import(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain = fmoe_domain_argument(fcinfo, 0, FMOE_MANAGE);
	char	   *name = name_argument(fcinfo, domain);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	bytea	   *bytes;
	FmoeExpertFile *file;
	int			number;

	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("expert must not be null")));
	/* the value, and at worst a copy of every array */
	fmoe_check_memory(2 * (toast_raw_datum_size(PG_GETARG_DATUM(2)) - VARHDRSZ), "importing an expert");

	context = AllocSetContextCreate(caller, "fmoe import", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	bytes = PG_GETARG_BYTEA_PP(2);
	file = fmoe_expert_read(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	if (file->facts.complete)
		check_complete(file, domain);
	else
		check_base(file);
	file->facts.domain_id = domain->id;
	file->facts.name = name;
	file->facts.origin = "import";
	fmoe_store_version(&file->facts, file->n_arrays, file->arrays);
	number = file->facts.version;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	PG_RETURN_INT32(number);
}

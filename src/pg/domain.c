/*
 * domain.c
 *	  Which domain a call means, whether the caller may, and what its columns are.
 *
 * A domain row names its table by OID and its columns by name.  Nothing holds
 * the table for us, so each call looks whether they are still there with the
 * types they were registered with.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "pg.h"
#include "private.h"

#define DOMAIN_COLUMNS \
	"domain_id, name, owner, interactions, user_column, item_column, time_column, label_column, " \
	"user_type, item_type, sharing"

static FmoeStatement by_name = {
	"SELECT " DOMAIN_COLUMNS " FROM fmoe.domain WHERE name OPERATOR(pg_catalog.=) $1",
	1, {TEXTOID}
};

static FmoeStatement by_id = {
	"SELECT " DOMAIN_COLUMNS " FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement all_domains = {
	"SELECT " DOMAIN_COLUMNS " FROM fmoe.domain ORDER BY name", 0
};

/* ---------------------------------------------------------------- reading rows */

/* Column of a row of SPI_tuptable as a string; NULL for a null. */
static char *
text_column(HeapTuple tuple, int column)
{
	return SPI_getvalue(tuple, SPI_tuptable->tupdesc, column);
}

static Oid
oid_column(HeapTuple tuple, int column)
{
	bool		isnull;

	return DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc, column, &isnull));
}

static FmoeDomain *
domain_of_row(HeapTuple tuple, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	FmoeDomain *domain = palloc0(sizeof(FmoeDomain));
	bool		isnull;

	domain->id = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
	domain->name = text_column(tuple, 2);
	domain->owner = text_column(tuple, 3);
	domain->interactions = oid_column(tuple, 4);
	domain->user_column = text_column(tuple, 5);
	domain->item_column = text_column(tuple, 6);
	domain->time_column = text_column(tuple, 7);
	domain->label_column = text_column(tuple, 8);
	domain->user_type = oid_column(tuple, 9);
	domain->item_type = oid_column(tuple, 10);
	domain->sharing = text_column(tuple, 11);
	MemoryContextSwitchTo(old);
	return domain;
}

/* The rows a statement gives, in the caller's context; returns their number. */
static int
read_domains(FmoeStatement *statement, Datum *values, FmoeDomain ***domains)
{
	MemoryContext context = CurrentMemoryContext;
	FmoeOwn		own;
	int			count;
	int			i;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, NULL, true, 0);
	count = (int) SPI_processed;
	*domains = MemoryContextAlloc(context, sizeof(FmoeDomain *) * (count + 1));
	for (i = 0; i < count; i++)
		(*domains)[i] = domain_of_row(SPI_tuptable->vals[i], context);
	fmoe_own_end(&own);
	return count;
}

/* ---------------------------------------------------------------- privileges */

static bool
may_select_column(Oid relation, const char *column)
{
	AttrNumber	number = get_attnum(relation, column);
	bool		missing = false;

	return number != InvalidAttrNumber &&
		pg_attribute_aclcheck_ext(relation, number, GetUserId(), ACL_SELECT, &missing) == ACLCHECK_OK;
}

bool
fmoe_may_select(Oid relation, const FmoeDomain *domain)
{
	bool		missing = false;

	if (pg_class_aclcheck_ext(relation, GetUserId(), ACL_SELECT, &missing) == ACLCHECK_OK)
		return true;
	if (missing)
		return false;
	return may_select_column(relation, domain->user_column) &&
		may_select_column(relation, domain->item_column) &&
		may_select_column(relation, domain->time_column) &&
		(domain->label_column == NULL || may_select_column(relation, domain->label_column));
}

static bool
relation_exists(Oid relation)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation));
}

bool
fmoe_may_manage(const FmoeDomain *domain)
{
	Oid			owner = get_role_oid(domain->owner, true);

	return superuser() ||
		(OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)) ||
		(relation_exists(domain->interactions) &&
		 pg_class_ownercheck(domain->interactions, GetUserId()));
}

/* Who manages a domain whose table is gone may come far enough to be told so. */
static bool
may(const FmoeDomain *domain, FmoeAccess access)
{
	if (access == FMOE_MANAGE)
		return fmoe_may_manage(domain);
	return fmoe_may_select(domain->interactions, domain) ||
		(!relation_exists(domain->interactions) && fmoe_may_manage(domain));
}

static void
check_access(const FmoeDomain *domain, FmoeAccess access)
{
	if (may(domain, access))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for domain \"%s\"", domain->name),
			 access == FMOE_MANAGE
			 ? errdetail("Only members of the role that owns the domain and the owner of its interaction table may do this.")
			 : errdetail("Using a domain needs the privilege SELECT on its interaction columns.")));
}

PG_FUNCTION_INFO_V1(fmoe_may_use);
Datum
fmoe_may_use(PG_FUNCTION_ARGS)
{
	Datum		id = PG_GETARG_DATUM(0);
	FmoeDomain **domains;

	if (read_domains(&by_id, &id, &domains) == 0)
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(may(domains[0], FMOE_USE) || may(domains[0], FMOE_MANAGE));
}

/* ---------------------------------------------------------------- columns */

bool
fmoe_is_time_type(Oid type)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
		case DATEOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return true;
		default:
			return false;
	}
}

Oid
fmoe_column_type(Oid relation, const char *column, Oid *collation)
{
	HeapTuple	tuple = SearchSysCacheAttName(relation, column);
	Form_pg_attribute attribute;
	Oid			type;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	attribute = (Form_pg_attribute) GETSTRUCT(tuple);
	type = attribute->attnum > 0 ? getBaseType(attribute->atttypid) : InvalidOid;
	if (collation != NULL)
		*collation = attribute->attcollation;
	ReleaseSysCache(tuple);
	return type;
}

static char *
alter_hint(const FmoeDomain *domain)
{
	return psprintf("Say what replaces it with fmoe_alter_domain(%s, ...), or drop the domain with fmoe_drop_domain(%s).",
					quote_literal_cstr(domain->name), quote_literal_cstr(domain->name));
}

/* The type of a column of the domain's table, which must be there. */
static Oid
column_type(const FmoeDomain *domain, const char *column, Oid *collation)
{
	Oid			type = fmoe_column_type(domain->interactions, column, collation);

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table %s has no column \"%s\" any more", domain->relation, column),
				 errdetail("Domain \"%s\" was registered with that column.", domain->name),
				 errhint("%s", alter_hint(domain))));
	return type;
}

static void
check_type(const FmoeDomain *domain, const char *column, Oid registered, Oid now)
{
	if (registered != now)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s now", column, domain->relation,
						format_type_be(now)),
				 errdetail("Domain \"%s\" was registered when its type was %s.", domain->name,
						   format_type_be(registered)),
				 errhint("Register the column again with fmoe_alter_domain(%s, ...).",
						 quote_literal_cstr(domain->name))));
}

/* Fills in what the catalogs know of the table and its columns. */
static void
resolve(FmoeDomain *domain)
{
	char	   *name = get_rel_name(domain->interactions);
	char	   *schema = name == NULL ? NULL : get_namespace_name(get_rel_namespace(domain->interactions));

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the interaction table of domain \"%s\" is not there any more", domain->name),
				 errhint("%s", alter_hint(domain))));
	domain->relation = quote_qualified_identifier(schema, name);

	check_type(domain, domain->user_column, domain->user_type,
			   column_type(domain, domain->user_column, NULL));
	check_type(domain, domain->item_column, domain->item_type,
			   column_type(domain, domain->item_column, &domain->item_collation));
	domain->time_type = column_type(domain, domain->time_column, NULL);
	if (!fmoe_is_time_type(domain->time_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s now, which is no time",
						domain->time_column, domain->relation, format_type_be(domain->time_type)),
				 errhint("%s", alter_hint(domain))));
	if (domain->label_column != NULL)
		(void) column_type(domain, domain->label_column, NULL);

	domain->user_equal = lookup_type_cache(domain->user_type, TYPECACHE_EQ_OPR)->eq_opr;
	domain->item_equal = lookup_type_cache(domain->item_type, TYPECACHE_EQ_OPR)->eq_opr;
}

/* ---------------------------------------------------------------- which domain */

FmoeDomain *
fmoe_domain_lookup(const char *name)
{
	Datum		value = CStringGetTextDatum(name);
	FmoeDomain **domains;

	return read_domains(&by_name, &value, &domains) == 0 ? NULL : domains[0];
}

static FmoeDomain *
find_named(const char *name)
{
	FmoeDomain *domain = fmoe_domain_lookup(name);

	if (domain == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" does not exist", name),
				 errhint("The view fmoe.domains lists the domains; fmoe_create_domain() registers one.")));
	return domain;
}

/* The only domain that the caller may do this with. */
static FmoeDomain *
find_only(FmoeAccess access)
{
	FmoeDomain **domains;
	FmoeDomain *only = NULL;
	StringInfoData names;
	int			allowed = 0;
	int			count = read_domains(&all_domains, NULL, &domains);
	int			i;

	initStringInfo(&names);
	for (i = 0; i < count; i++)
	{
		if (!may(domains[i], access))
			continue;
		only = domains[i];
		allowed++;
		if (allowed <= 10)
			appendStringInfo(&names, "%s%s", allowed > 1 ? ", " : "", domains[i]->name);
		else if (allowed == 11)
			appendStringInfoString(&names, ", ...");
	}
	if (allowed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no domain that you may %s", access == FMOE_USE ? "use" : "manage"),
				 errhint("Register an interaction table with fmoe_create_domain().")));
	if (allowed > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("there are %d domains, and the call names none", allowed),
				 errhint("Name one, or set fmoe.domain: %s.", names.data)));
	return only;
}

FmoeDomain *
fmoe_domain_find(const char *name, FmoeAccess access)
{
	FmoeDomain *domain;

	if (name == NULL && fmoe_domain_setting != NULL && fmoe_domain_setting[0] != '\0')
		name = fmoe_domain_setting;
	domain = name != NULL ? find_named(name) : find_only(access);
	check_access(domain, access);
	return domain;
}

FmoeDomain *
fmoe_domain_open(const char *name, FmoeAccess access)
{
	FmoeDomain *domain = fmoe_domain_find(name, access);

	resolve(domain);
	return domain;
}

FmoeDomain *
fmoe_domain_argument(FunctionCallInfo fcinfo, int argument, FmoeAccess access)
{
	return fmoe_domain_open(PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument)),
							access);
}

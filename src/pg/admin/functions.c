/*
 * functions.c
 *	  Functions of a domain's own: fmoe_create_functions, fmoe_drop_functions.
 *
 * The extension's calls have forms for bigint, uuid and text, whatever domains
 * there are.  For a domain of other types, or for who does not want to name the
 * domain in every call, these functions are made in the caller's schema, with
 * the domain's types and without the argument domain.  They are plain SQL around
 * the _as forms, which the planner inlines, and belong to who made them; the
 * extension knows them only by what they are written like.
 *
 * Their bodies hold the domain's id, so that they follow it when it is renamed.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "pg/domain/domain.h"

PG_FUNCTION_INFO_V1(fmoe_create_functions);
PG_FUNCTION_INFO_V1(fmoe_drop_functions);
PG_FUNCTION_INFO_V1(fmoe_domain_name);

/* In all of its texts {user} and {item} stand for types, {domain} for an expression that names the domain. */
typedef struct Template
{
	const char *suffix;			/* of the function's name */
	const char *arguments;
	const char *result;
	const char *call;			/* of one of the extension's functions */
	const char *comment;
	int			rows;
	bool		of_labels;		/* only where the domain has a column of labels */
} Template;

#define LISTS "exclude {item}[] DEFAULT NULL, candidates {item}[] DEFAULT NULL"
#define LAST "version integer DEFAULT NULL, filter text DEFAULT NULL"
#define BY_USER "user_id {user}, k integer DEFAULT 10, exclude_seen boolean DEFAULT true, " LISTS ", " \
	"as_of timestamptz DEFAULT NULL, " LAST

static const Template templates[] = {
	{
		.suffix = "_recommend",
		.arguments = BY_USER,
		.result = "item_id {item}, score real, source text",
		.call = "fmoe_recommend_as(NULL::{item}, $1, $2, {domain}, $3, $4, $5, $6, $7, $8)",
		.comment = "the k best items for a user",
		.rows = 10
	},
	{
		.suffix = "_next",
		.arguments = "history {item}[], k integer DEFAULT 10, exclude_seen boolean DEFAULT true, " LISTS ", " LAST
		", basket boolean DEFAULT false",
		.result = "item_id {item}, score real, source text",
		.call = "fmoe_recommend_next_as(NULL::{item}, $1, $2, {domain}, $3, $4, $5, $6, $7, $8)",
		.comment = "the k best items after a history that is in no table, oldest first, or with a basket",
		.rows = 10
	},
	{
		.suffix = "_similar",
		.arguments = "item {item}, k integer DEFAULT 10, " LISTS ", " LAST,
		.result = "item_id {item}, score real, source text",
		.call = "fmoe_similar_as(NULL::{item}, $1, $2, {domain}, $3, $4, $5, $6)",
		.comment = "the k items nearest to an item",
		.rows = 10
	},
	{
		.suffix = "_together",
		.arguments = "items {item}[], k integer DEFAULT 10, " LISTS ", " LAST,
		.result = "item_id {item}, score real, baskets bigint",
		.call = "fmoe_together_as(NULL::{item}, $1, $2, {domain}, $3, $4, $5, $6)",
		.comment = "the k items that were most often in baskets with the given ones, beyond chance",
		.rows = 10
	},
	{
		.suffix = "_score",
		.arguments = "user_id {user}, items {item}[], as_of timestamptz DEFAULT NULL, version integer DEFAULT NULL",
		.result = "item_id {item}, score real",
		.call = "fmoe_score_as(NULL::{item}, $1, $2, {domain}, $3, $4)",
		.comment = "scores of the given items for a user, in the order given",
		.rows = 1000
	},
	{
		.suffix = "_predict",
		.arguments = "user_id {user}, items {item}[], as_of timestamptz DEFAULT NULL, version integer DEFAULT NULL",
		.result = "item_id {item}, probability real",
		.call = "fmoe_predict_as(NULL::{item}, $1, $2, {domain}, $3, $4)",
		.comment = "probabilities that a user chooses the given items when shown next, in the order given",
		.rows = 1000,
		.of_labels = true
	},
	{
		.suffix = "_explain",
		.arguments = BY_USER,
		.result = "rank integer, item_id {item}, score real, part text, nth integer, name text, weight real, contribution real",
		.call = "fmoe_explain_as(NULL::{item}, $1, $2, {domain}, $3, $4, $5, $6, $7, $8)",
		.comment = "what the scores of the k best items for a user are made of",
		.rows = 100
	},
	{
		.suffix = "_all",
		.arguments = "k integer DEFAULT 10, exclude_seen boolean DEFAULT true, users {user}[] DEFAULT NULL, " LISTS ", " LAST,
		.result = "user_id {user}, rank integer, item_id {item}, score real, source text",
		.call = "fmoe_recommend_all_as(NULL::{user}, NULL::{item}, {domain}, $1, $2, $3::pg_catalog.text[],"
		" $4::pg_catalog.text[], $5::pg_catalog.text[], $6, $7)",
		.comment = "the k best items for every user, or for those given",
		.rows = 100000
	}
};

/* ---------------------------------------------------------------- the domain by its id */

static char *
domain_expression(int64 id)
{
	return psprintf("fmoe._domain_name(" INT64_FORMAT ")", id);
}

Datum
fmoe_domain_name(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);

	if (!fmoe_may_see(id))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the domain that this function was made for does not exist"),
				 errdetail("Or you may not use it, which takes the privilege SELECT on its interaction columns.")));
	PG_RETURN_TEXT_P(cstring_to_text(fmoe_domain_of_id(id)->name));
}

/* ---------------------------------------------------------------- names */

/* What the functions are called and where they are. */
typedef struct Place
{
	const char *prefix;
	Oid			schema_id;
	char	   *schema;			/* quoted */
} Place;

/* The arguments domain and prefix, which is the domain's name by default; the schema is the first of search_path. */
static FmoeDomain *
place_of_arguments(FunctionCallInfo fcinfo, Place *place)
{
	FmoeDomain *domain = fmoe_domain_argument(fcinfo, 0, FMOE_USE);
	char	   *name;

	place->prefix = PG_ARGISNULL(1) ? domain->name : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (place->prefix[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("the prefix of the functions' names must not be empty")));
	place->schema_id = QualifiedNameGetCreationNamespace(list_make1(makeString("fmoe")), &name);
	place->schema = pstrdup(quote_identifier(get_namespace_name(place->schema_id)));
	return domain;
}

static char *
function_name(const Place *place, const Template *template)
{
	return psprintf("%s%s", place->prefix, template->suffix);
}

/* The functions of that name in the schema, whatever their arguments: OIDs. */
static List *
functions_named(const Place *place, const char *name)
{
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	List	   *found = NIL;

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_proc function = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (function->pronamespace == place->schema_id)
			found = lappend_oid(found, function->oid);
	}
	ReleaseSysCacheList(list);
	return found;
}

static bool
is_made(const FmoeDomain *domain, const Template *template)
{
	return !template->of_labels || domain->optional[FMOE_LABEL_COLUMN].name != NULL;
}

static void
check_names(const Place *place, const FmoeDomain *domain)
{
	for (int i = 0; i < lengthof(templates); i++)
	{
		char	   *name = function_name(place, &templates[i]);

		if (!is_made(domain, &templates[i]))
			continue;
		if (strlen(name) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG),
					 errmsg("function name \"%s\" is longer than %d bytes", name, NAMEDATALEN - 1),
					 errhint("Give a shorter prefix.")));
		if (functions_named(place, name) != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_FUNCTION),
					 errmsg("function %s.%s already exists", place->schema, quote_identifier(name)),
					 errdetail("No function was made."),
					 errhint("Give another prefix, or drop the functions there are with fmoe_drop_functions().")));
	}
}

/* ---------------------------------------------------------------- making and dropping */

static char *
type_name(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY);
}

/* A template's text with everything put in its place. */
static char *
filled(const char *text, const FmoeDomain *domain)
{
	const char *const word[] = {"{user}", "{item}", "{domain}"};
	const char *const value[] = {
		type_name(domain->user_type),
		type_name(domain->item_type),
		domain_expression(domain->id)
	};
	StringInfoData result;
	int			w;

	initStringInfo(&result);
	while (*text != '\0')
	{
		for (w = 0; w < lengthof(word) && strncmp(text, word[w], strlen(word[w])) != 0; w++)
			;
		if (w == lengthof(word))
			appendStringInfoChar(&result, *text++);
		else
		{
			appendStringInfoString(&result, value[w]);
			text += strlen(word[w]);
		}
	}
	return result.data;
}

static void
run(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

static void
create_function(const Place *place, const FmoeDomain *domain, const Template *template)
{
	const char *extension = quote_identifier(get_namespace_name(fmoe_extension_schema()));
	char	   *name = psprintf("%s.%s", place->schema, quote_identifier(function_name(place, template)));
	char	   *body = psprintf("SELECT * FROM %s.%s", extension, filled(template->call, domain));

	run(psprintf("CREATE FUNCTION %s(%s) RETURNS TABLE (%s) LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS %d AS %s",
				 name, filled(template->arguments, domain), filled(template->result, domain), template->rows,
				 quote_literal_cstr(body)));
	CommandCounterIncrement();
	/* dropped with the extension, and dumped because it is no member of it */
	fmoe_depend_on_extension(ProcedureRelationId,
							 linitial_oid(functions_named(place, function_name(place, template))));
	run(psprintf("COMMENT ON FUNCTION %s IS %s", name,
				 quote_literal_cstr(psprintf("%s; made by fmoe_create_functions", template->comment))));
}

Datum
fmoe_create_functions(PG_FUNCTION_ARGS)
{
	Place		place;
	FmoeDomain *domain;
	FmoeOwn		own;

	fmoe_fresh_begin();
	domain = place_of_arguments(fcinfo, &place);
	check_names(&place, domain);
	fmoe_caller_begin(&own);
	for (int i = 0; i < lengthof(templates); i++)
		if (is_made(domain, &templates[i]))
			create_function(&place, domain, &templates[i]);
	fmoe_own_end(&own);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

/* Whether a function is one that was made for the domain, as its body tells. */
static bool
made_for(Oid function, const FmoeDomain *domain)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		isnull;
	Datum		body;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
	result = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == SQLlanguageId && !isnull &&
		strstr(TextDatumGetCString(body), domain_expression(domain->id)) != NULL;
	ReleaseSysCache(tuple);
	return result;
}

Datum
fmoe_drop_functions(PG_FUNCTION_ARGS)
{
	Place		place;
	FmoeDomain *domain;
	List	   *found = NIL;
	ListCell   *cell;
	FmoeOwn		own;

	fmoe_fresh_begin();
	domain = place_of_arguments(fcinfo, &place);
	for (int i = 0; i < lengthof(templates); i++)
		found = list_concat(found, functions_named(&place, function_name(&place, &templates[i])));
	foreach(cell, found)
		if (!made_for(lfirst_oid(cell), domain))
			found = foreach_delete_current(found, cell);
	if (found == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("schema %s has no functions of domain \"%s\" with the prefix \"%s\"", place.schema,
						domain->name, place.prefix)));
	fmoe_caller_begin(&own);
	foreach(cell, found)
		run(psprintf("DROP FUNCTION %s", format_procedure_qualified(lfirst_oid(cell))));
	fmoe_own_end(&own);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

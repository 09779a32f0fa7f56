/*
 * overload.c
 *	  The generated forms of fmoe_recommend and fmoe_recommend_all.
 *
 * The fmoe_recommend("any", …) of the extension's script must say at CREATE
 * FUNCTION time what type its item ids have, so it returns text.  Each domain
 * therefore claims forms for its own types:
 *
 *	  fmoe_recommend(user_id U, …, exclude I[], candidates I[], …)
 *		RETURNS TABLE (item_id I, …)
 *
 * in SQL, around fmoe_recommend_as(NULL::I, …), which the planner inlines.
 * A domain with users of type U and items of type I has
 *	  - a native claim: users of type U give items of type I
 *	  - convenience claims on the types a caller might use for the same id:
 *		for integers the other integer types and text, else text.  The form
 *		for text also takes in literals: fmoe_recommend('alice').
 * A native claim beats convenience claims.  Where claims of the same rank
 * disagree about I the form returns text, as the script's does: without any form
 * for U, a call would be ambiguous among the forms for other types.  varchar and
 * char count as text, to which they are cast implicitly.  So the set of forms
 * follows from the domains alone, in whatever order they were created.
 *
 * fmoe_recommend_all(domain text, …) has no argument that tells one domain's
 * types from another's, so there is one form: with the users' type if all
 * domains agree on that, else text, and the same of items.
 *
 * The forms are not members of the extension, so that pg_dump keeps them, but
 * depend on it, so that DROP EXTENSION drops them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "pg/admin/admin.h"
#include "pg/id/id.h"

#define FORM_COMMENT "the k best items for a user, item ids in their own type; kept by fmoe_create_domain"
#define ALL_COMMENT "the k best items for every user, ids in their own types; kept by fmoe_create_domain"

/* Users of a type get items of a type. */
typedef struct Form
{
	Oid			user_type;
	Oid			item_type;
	bool		native;
	bool		disputed;
	Oid			function;		/* the one that exists already */
} Form;

static FmoeStatement domain_types = {
	"SELECT DISTINCT user_type, item_type FROM fmoe.domain ORDER BY 1, 2", 0
};

/* A generated form is recognized by its body, because people may change its comment. */
static FmoeStatement existing_forms = {
	"SELECT p.oid, p.proargtypes[0], p.prosrc,"
	" EXISTS (SELECT FROM pg_catalog.pg_depend d"
	"  WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
	"  AND d.refobjid OPERATOR(pg_catalog.=) p.oid)"
	" FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang"
	" WHERE p.pronamespace OPERATOR(pg_catalog.=) $1 AND p.proname OPERATOR(pg_catalog.=) 'fmoe_recommend'"
	" AND l.lanname OPERATOR(pg_catalog.=) 'sql'"
	" AND p.prosrc OPERATOR(pg_catalog.~~) 'SELECT * FROM %.fmoe_recommend_as(NULL::%'"
	" ORDER BY p.oid",
	1, {OIDOID}
};

/* The shipped form takes a name. */
static FmoeStatement existing_all_form = {
	"SELECT p.oid, p.prosrc, EXISTS (SELECT FROM pg_catalog.pg_depend d"
	"  WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
	"  AND d.refobjid OPERATOR(pg_catalog.=) p.oid)"
	" FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang"
	" WHERE p.pronamespace OPERATOR(pg_catalog.=) $1 AND p.proname OPERATOR(pg_catalog.=) 'fmoe_recommend_all'"
	" AND l.lanname OPERATOR(pg_catalog.=) 'sql'"
	" AND p.proargtypes[0] OPERATOR(pg_catalog.=) 'pg_catalog.text'::pg_catalog.regtype"
	" AND p.prosrc OPERATOR(pg_catalog.~~) 'SELECT * FROM %.fmoe_recommend_all_as(NULL::%'",
	1, {OIDOID}
};

/* ---------------------------------------------------------------- what there should be */

static List *
claim(List *forms, Oid user_type, Oid item_type, bool native)
{
	ListCell   *cell;
	Form	   *form;

	foreach(cell, forms)
	{
		form = lfirst(cell);
		if (form->user_type != user_type)
			continue;
		if (native && !form->native)
		{
			form->item_type = item_type;
			form->native = true;
			form->disputed = false;
		}
		else if (native == form->native && item_type != form->item_type)
			form->disputed = true;
		return forms;
	}
	form = palloc0(sizeof(Form));
	form->user_type = user_type;
	form->item_type = item_type;
	form->native = native;
	return lappend(forms, form);
}

static List *
claim_all(List *forms, Oid user_type, Oid item_type)
{
	static const Oid integers[] = {INT2OID, INT4OID, INT8OID};
	int			i;

	if (user_type == VARCHAROID || user_type == BPCHAROID)
		user_type = TEXTOID;
	forms = claim(forms, user_type, item_type, true);
	for (i = 0; fmoe_is_integer(user_type) && i < lengthof(integers); i++)
		if (integers[i] != user_type)
			forms = claim(forms, integers[i], item_type, false);
	if (user_type != TEXTOID)
		forms = claim(forms, TEXTOID, item_type, false);
	return forms;
}

/* Of two domains' ids. */
static Oid
common_type(Oid a, Oid b)
{
	return !OidIsValid(a) || a == b ? b : TEXTOID;
}

/* Between fmoe_own_begin and fmoe_own_end.  all: the types of fmoe_recommend_all; invalid: there is no such form. */
static List *
wanted_forms(Form *all)
{
	List	   *forms = NIL;
	ListCell   *cell;
	uint64		i;

	fmoe_own_execute(&domain_types, NULL, NULL, false, 0);
	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			user_type = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1,
															   &isnull));
		Oid			item_type = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2,
															   &isnull));

		/* the types of an orphaned domain may be gone too */
		if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(user_type)) ||
			!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(item_type)))
			continue;
		forms = claim_all(forms, user_type, item_type);
		all->user_type = common_type(all->user_type, user_type);
		all->item_type = common_type(all->item_type, item_type);
	}
	foreach(cell, forms)
	{
		Form	   *form = lfirst(cell);

		if (form->disputed)
			form->item_type = TEXTOID;
	}
	return forms;
}

/* ---------------------------------------------------------------- what there is */

static char *
type_name(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY);
}

static char *
form_body(const char *schema, Oid item_type)
{
	return psprintf("SELECT * FROM %s.fmoe_recommend_as(NULL::%s, $1, $2, $3, $4, $5, $6, $7)",
					schema, type_name(item_type));
}

static void
run(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* "schema.fmoe_recommend(types)" as DDL names it */
static char *
signature(const char *schema, Oid user_type, Oid item_type)
{
	return psprintf("%s.fmoe_recommend(%s, integer, text, boolean, %s[], %s[], timestamptz)", schema,
					type_name(user_type), type_name(item_type), type_name(item_type));
}

static void
create_form(const char *schema, const Form *form)
{
	char	   *user = type_name(form->user_type);
	char	   *item = type_name(form->item_type);
	char	   *function = signature(schema, form->user_type, form->item_type);

	run(psprintf("CREATE OR REPLACE FUNCTION %s.fmoe_recommend(user_id %s, k integer DEFAULT 10,"
				 " domain text DEFAULT NULL, exclude_seen boolean DEFAULT true, exclude %s[] DEFAULT NULL,"
				 " candidates %s[] DEFAULT NULL, as_of timestamptz DEFAULT NULL)"
				 " RETURNS TABLE (item_id %s, score real, source text)"
				 " LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10 AS %s",
				 schema, user, item, item, item, quote_literal_cstr(form_body(schema, form->item_type))));
	run(psprintf("ALTER FUNCTION %s DEPENDS ON EXTENSION fmoe", function));
	run(psprintf("COMMENT ON FUNCTION %s IS " "'" FORM_COMMENT "'", function));
}

static void
drop_form(Oid function, bool used, const char *reason)
{
	char	   *name = format_procedure_qualified(function);

	if (used)
		ereport(WARNING,
				(errmsg("function %s stays because other objects use it", name),
				 errdetail("%s", reason)));
	else
		run(psprintf("DROP FUNCTION %s", name));
}

/* Whether a form that exists is one of those wanted, exactly as it is. */
static bool
matches(List *forms, const char *schema, Oid function, Oid user_type, const char *body)
{
	ListCell   *cell;

	foreach(cell, forms)
	{
		Form	   *form = lfirst(cell);

		if (form->user_type == user_type && strcmp(body, form_body(schema, form->item_type)) == 0)
		{
			form->function = function;
			return true;
		}
	}
	return false;
}

/* ---------------------------------------------------------------- making them agree */

static Oid
shipped_form(Oid schema)
{
	Oid			types[] = {ANYOID, INT4OID, TEXTOID, BOOLOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID};
	oidvector  *arguments = buildoidvector(types, lengthof(types));

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("fmoe_recommend"),
						   PointerGetDatum(arguments), ObjectIdGetDatum(schema));
}

void
fmoe_lock_overloads(void)
{
	LockDatabaseObject(ProcedureRelationId, shipped_form(fmoe_extension_schema()), 0,
					   ShareUpdateExclusiveLock);
}

static char *
all_body(const char *schema, const Form *all)
{
	return psprintf("SELECT * FROM %s.fmoe_recommend_all_as(NULL::%s, NULL::%s, $1, $2, $3)",
					schema, type_name(all->user_type), type_name(all->item_type));
}

static void
create_all_form(const char *schema, const Form *all)
{
	char	   *function = psprintf("%s.fmoe_recommend_all(text, integer, boolean)", schema);

	run(psprintf("CREATE FUNCTION %s.fmoe_recommend_all(domain text DEFAULT NULL, k integer DEFAULT 10,"
				 " exclude_seen boolean DEFAULT true)"
				 " RETURNS TABLE (user_id %s, rank integer, item_id %s, score real)"
				 " LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100000 AS %s",
				 schema, type_name(all->user_type), type_name(all->item_type),
				 quote_literal_cstr(all_body(schema, all))));
	run(psprintf("ALTER FUNCTION %s DEPENDS ON EXTENSION fmoe", function));
	run(psprintf("COMMENT ON FUNCTION %s IS " "'" ALL_COMMENT "'", function));
}

/* Its types cannot be changed, so one that other objects use stays as it is. */
static void
maintain_all_form(Oid schema_id, const char *schema, const Form *all)
{
	Datum		argument = ObjectIdGetDatum(schema_id);
	bool		wanted = OidIsValid(all->user_type);
	bool		isnull;
	Oid			function;
	bool		used;

	fmoe_own_execute(&existing_all_form, &argument, NULL, false, 0);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	shape = SPI_tuptable->tupdesc;

		if (wanted && strcmp(SPI_getvalue(row, shape, 2), all_body(schema, all)) == 0)
			return;
		function = DatumGetObjectId(SPI_getbinval(row, shape, 1, &isnull));
		used = DatumGetBool(SPI_getbinval(row, shape, 3, &isnull));
		drop_form(function, used, "The domains no longer have its types in common.");
		wanted = wanted && !used;
	}
	if (wanted)
		create_all_form(schema, all);
}

void
fmoe_maintain_overloads(void)
{
	Oid			schema_id = fmoe_extension_schema();
	char	   *schema = pstrdup(quote_identifier(get_namespace_name(schema_id)));
	Datum		argument = ObjectIdGetDatum(schema_id);
	SPITupleTable *rows;
	Form		all = {0};
	List	   *forms;
	ListCell   *cell;
	FmoeOwn		own;
	uint64		count;
	uint64		i;

	fmoe_own_begin(&own);
	forms = wanted_forms(&all);
	fmoe_own_execute(&existing_forms, &argument, NULL, false, 0);
	rows = SPI_tuptable;
	count = SPI_processed;
	for (i = 0; i < count; i++)
	{
		bool		isnull;
		Oid			function = DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
		Oid			user_type = DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull));
		char	   *body = SPI_getvalue(rows->vals[i], rows->tupdesc, 3);
		bool		used = DatumGetBool(SPI_getbinval(rows->vals[i], rows->tupdesc, 4, &isnull));

		if (!matches(forms, schema, function, user_type, body))
			drop_form(function, used, "No domain needs it any more.");
	}
	foreach(cell, forms)
	{
		Form	   *form = lfirst(cell);

		if (!OidIsValid(form->function))
			create_form(schema, form);
	}
	maintain_all_form(schema_id, schema, &all);
	fmoe_own_end(&own);
}

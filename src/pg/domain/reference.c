/*
 * reference.c
 *	  Tables and types that rows of the extension name: types whose input never fails.
 *
 * A table is known by its OID, so that it may be renamed, and is dumped by name.
 * The type regclass does that, too, but refuses the name of what is not there,
 * and with it the rest of a dump: of a table that was left out, of a
 * materialized view that is made after the rows are copied.  Here the name is
 * kept instead, and looked up whenever it is asked for.  So also a type, which a
 * dump without its schema lacks.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "pg/domain/domain.h"

/* fmoe._relation, as the extension's script declares it */
typedef struct RelationReference
{
	Oid			oid;			/* InvalidOid: it was not there */
	NameData	schema;			/* as of when the reference was made */
	NameData	name;
} RelationReference;

/* fmoe._type */
typedef struct TypeReference
{
	Oid			oid;			/* InvalidOid: it was not there */
	char		name[4 * NAMEDATALEN + 4];	/* as of when the reference was made; quoted, with its schema if need be */
} TypeReference;

StaticAssertDecl(sizeof(RelationReference) == 132 && sizeof(TypeReference) == 264,
				 "lengths of types differ from those in the extension's script");

/* ---------------------------------------------------------------- tables */

static Oid
find_relation(const RelationReference *reference)
{
	Oid			schema = get_namespace_oid(NameStr(reference->schema), true);

	return OidIsValid(schema) ? get_relname_relid(NameStr(reference->name), schema) : InvalidOid;
}

Oid
fmoe_referenced_relation(Datum reference)
{
	const RelationReference *relation = (const RelationReference *) DatumGetPointer(reference);

	return OidIsValid(relation->oid) ? relation->oid : find_relation(relation);
}

/* Names the relation of an OID; false: there is none. */
static bool
name_relation(RelationReference *reference, Oid oid)
{
	char	   *name = get_rel_name(oid);
	char	   *schema = name == NULL ? NULL : get_namespace_name(get_rel_namespace(oid));

	if (schema == NULL)
		return false;
	reference->oid = oid;
	namestrcpy(&reference->schema, schema);
	namestrcpy(&reference->name, name);
	return true;
}

PG_FUNCTION_INFO_V1(fmoe_relation_in);
Datum
fmoe_relation_in(PG_FUNCTION_ARGS)
{
	RelationReference *reference = palloc0(sizeof(RelationReference));
	List	   *names = textToQualifiedNameList(cstring_to_text(PG_GETARG_CSTRING(0)));

	namestrcpy(&reference->name, strVal(llast(names)));
	if (list_length(names) > 1)
		namestrcpy(&reference->schema, strVal(list_nth(names, list_length(names) - 2)));
	else
		(void) name_relation(reference, RelnameGetRelid(NameStr(reference->name)));
	reference->oid = find_relation(reference);
	PG_RETURN_POINTER(reference);
}

PG_FUNCTION_INFO_V1(fmoe_relation_out);
Datum
fmoe_relation_out(PG_FUNCTION_ARGS)
{
	RelationReference now = *(RelationReference *) PG_GETARG_POINTER(0);

	(void) name_relation(&now, now.oid);
	PG_RETURN_CSTRING(quote_qualified_identifier(NameStr(now.schema)[0] != '\0' ? NameStr(now.schema) : NULL,
												 NameStr(now.name)));
}

/* A reference to a relation that is there; null: it is not. */
PG_FUNCTION_INFO_V1(fmoe_to_relation);
Datum
fmoe_to_relation(PG_FUNCTION_ARGS)
{
	RelationReference *reference = palloc0(sizeof(RelationReference));

	if (!name_relation(reference, PG_GETARG_OID(0)))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(reference);
}

PG_FUNCTION_INFO_V1(fmoe_to_regclass);
Datum
fmoe_to_regclass(PG_FUNCTION_ARGS)
{
	Oid			oid = fmoe_referenced_relation(PG_GETARG_DATUM(0));

	if (!OidIsValid(oid) || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(oid)))
		PG_RETURN_NULL();
	PG_RETURN_OID(oid);
}

/* ---------------------------------------------------------------- types */

/* InvalidOid: there is no type of that name. */
static Oid
find_type(const char *name)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		found;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(name);
	fcinfo->args[0].isnull = false;
	found = to_regtype(fcinfo);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(found);
}

static bool
type_exists(Oid oid)
{
	return SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(oid));
}

Oid
fmoe_referenced_type(Datum reference)
{
	const TypeReference *type = (const TypeReference *) DatumGetPointer(reference);

	return type_exists(type->oid) ? type->oid : find_type(type->name);
}

PG_FUNCTION_INFO_V1(fmoe_type_in);
Datum
fmoe_type_in(PG_FUNCTION_ARGS)
{
	TypeReference *reference = palloc0(sizeof(TypeReference));

	reference->oid = find_type(PG_GETARG_CSTRING(0));
	strlcpy(reference->name, PG_GETARG_CSTRING(0), sizeof(reference->name));
	PG_RETURN_POINTER(reference);
}

PG_FUNCTION_INFO_V1(fmoe_type_out);
Datum
fmoe_type_out(PG_FUNCTION_ARGS)
{
	const TypeReference *reference = (const TypeReference *) PG_GETARG_POINTER(0);

	PG_RETURN_CSTRING(type_exists(reference->oid) ? format_type_be_qualified(reference->oid)
					  : pstrdup(reference->name));
}

/* A reference to a type that is there; null: it is not. */
PG_FUNCTION_INFO_V1(fmoe_to_type);
Datum
fmoe_to_type(PG_FUNCTION_ARGS)
{
	TypeReference *reference = palloc0(sizeof(TypeReference));

	if (!type_exists(PG_GETARG_OID(0)))
		PG_RETURN_NULL();
	reference->oid = PG_GETARG_OID(0);
	strlcpy(reference->name, format_type_be_qualified(reference->oid), sizeof(reference->name));
	PG_RETURN_POINTER(reference);
}

PG_FUNCTION_INFO_V1(fmoe_to_regtype);
Datum
fmoe_to_regtype(PG_FUNCTION_ARGS)
{
	Oid			oid = fmoe_referenced_type(PG_GETARG_DATUM(0));

	if (!OidIsValid(oid))
		PG_RETURN_NULL();
	PG_RETURN_OID(oid);
}

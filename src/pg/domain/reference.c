/*
 * reference.c
 *	  Tables that rows of the extension name: a type whose input never fails.
 *
 * A table is known by its OID, so that it may be renamed, and is dumped by name.
 * The type regclass does that, too, but refuses the name of what is not there,
 * and with it the rest of a dump: of a table that was left out, of a
 * materialized view that is made after the rows are copied.  Here the name is
 * kept instead, and looked up whenever it is asked for.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "pg/domain/domain.h"

/* fmoe._relation, as the extension's script declares it */
typedef struct RelationReference
{
	Oid			oid;			/* InvalidOid: it was not there */
	NameData	schema;			/* as of when the reference was made */
	NameData	name;
} RelationReference;

StaticAssertDecl(sizeof(RelationReference) == 132, "length of the type differs from that in the extension's script");

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

	if (!OidIsValid(oid))
		PG_RETURN_NULL();
	PG_RETURN_OID(oid);
}

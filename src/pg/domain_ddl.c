/*
 * domain_ddl.c
 *	  Registering, changing and dropping domains.
 *
 * Everything is checked as the caller before the row is written as the owner
 * of the extension's tables.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_oper.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "lend.h"
#include "private.h"

/* A row of fmoe.domain as it will be. */
typedef struct Registration
{
	FmoeDomain	base;			/* id, names, interactions, columns, types, owner, sharing */
	Oid			items;			/* InvalidOid: none */
	char	   *item_key;
	ArrayType  *text_columns;
	ArrayType  *category_columns;
	char	   *price_column;
	ArrayType  *vector_columns;
} Registration;

/* The order of insert_domain's and update_domain's parameters, and of read_domain's columns. */
enum
{
	R_NAME, R_OWNER, R_INTERACTIONS, R_USER, R_ITEM, R_TIME, R_LABEL, R_USER_TYPE, R_ITEM_TYPE,
	R_ITEMS, R_KEY, R_TEXT, R_CATEGORY, R_PRICE, R_VECTOR, R_SHARING, R_COLUMNS
};

#define REGISTRATION_COLUMNS \
	"name, owner, interactions, user_column, item_column, time_column, label_column, user_type, item_type, " \
	"items, item_key, text_columns, category_columns, price_column, vector_columns, sharing"
#define REGISTRATION_TYPES \
	TEXTOID, NAMEOID, REGCLASSOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID, REGTYPEOID, REGTYPEOID, \
	REGCLASSOID, NAMEOID, NAMEARRAYOID, NAMEARRAYOID, NAMEOID, NAMEARRAYOID, TEXTOID

static FmoeStatement insert_domain = {
	"INSERT INTO fmoe.domain (" REGISTRATION_COLUMNS ")"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
	" ON CONFLICT (name) DO NOTHING",
	R_COLUMNS, {REGISTRATION_TYPES}
};

static FmoeStatement update_domain = {
	"UPDATE fmoe.domain SET (" REGISTRATION_COLUMNS ")"
	" = ROW ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
	" WHERE domain_id OPERATOR(pg_catalog.=) $17",
	R_COLUMNS + 1, {REGISTRATION_TYPES, INT8OID}
};

static FmoeStatement read_domain = {
	"SELECT " REGISTRATION_COLUMNS " FROM fmoe.domain"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
	1, {INT8OID}
};

static FmoeStatement delete_domain = {
	"DELETE FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement count_versions = {
	"SELECT FROM fmoe.expert WHERE domain_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
	1, {INT8OID}
};

/* ---------------------------------------------------------------- rows */

static Datum
name_datum(const char *string)
{
	return DirectFunctionCall1(namein, CStringGetDatum(string));
}

static void
set_column(Datum *values, char *nulls, int column, bool present, Datum value)
{
	nulls[column] = present ? ' ' : 'n';
	values[column] = present ? value : (Datum) 0;
}

static void
set_name(Datum *values, char *nulls, int column, const char *string)
{
	set_column(values, nulls, column, string != NULL, string != NULL ? name_datum(string) : (Datum) 0);
}

static void
row_of_registration(const Registration *r, Datum *values, char *nulls)
{
	const FmoeDomain *d = &r->base;

	set_column(values, nulls, R_NAME, true, CStringGetTextDatum(d->name));
	set_name(values, nulls, R_OWNER, d->owner);
	set_column(values, nulls, R_INTERACTIONS, true, ObjectIdGetDatum(d->interactions));
	set_name(values, nulls, R_USER, d->user_column);
	set_name(values, nulls, R_ITEM, d->item_column);
	set_name(values, nulls, R_TIME, d->time_column);
	set_name(values, nulls, R_LABEL, d->label_column);
	set_column(values, nulls, R_USER_TYPE, true, ObjectIdGetDatum(d->user_type));
	set_column(values, nulls, R_ITEM_TYPE, true, ObjectIdGetDatum(d->item_type));
	set_column(values, nulls, R_ITEMS, OidIsValid(r->items), ObjectIdGetDatum(r->items));
	set_name(values, nulls, R_KEY, r->item_key);
	set_column(values, nulls, R_TEXT, true, PointerGetDatum(r->text_columns));
	set_column(values, nulls, R_CATEGORY, true, PointerGetDatum(r->category_columns));
	set_name(values, nulls, R_PRICE, r->price_column);
	set_column(values, nulls, R_VECTOR, true, PointerGetDatum(r->vector_columns));
	set_column(values, nulls, R_SHARING, true, CStringGetTextDatum(d->sharing));
}

static char *
string_of(HeapTuple tuple, int column)
{
	return SPI_getvalue(tuple, SPI_tuptable->tupdesc, column + 1);
}

static Datum
datum_of(HeapTuple tuple, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, column + 1, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* Reads and locks a row; false: it is gone. */
static bool
read_registration(int64 id, Registration *r)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = Int64GetDatum(id);
	FmoeDomain *d = &r->base;
	FmoeOwn		own;
	HeapTuple	tuple;
	bool		found;

	memset(r, 0, sizeof(Registration));
	fmoe_own_begin(&own);
	fmoe_own_execute(&read_domain, &value, NULL, false, 0);
	found = SPI_processed == 1;
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		tuple = SPI_tuptable->vals[0];
		d->id = id;
		d->name = string_of(tuple, R_NAME);
		d->owner = string_of(tuple, R_OWNER);
		d->interactions = DatumGetObjectId(datum_of(tuple, R_INTERACTIONS));
		d->user_column = string_of(tuple, R_USER);
		d->item_column = string_of(tuple, R_ITEM);
		d->time_column = string_of(tuple, R_TIME);
		d->label_column = string_of(tuple, R_LABEL);
		d->user_type = DatumGetObjectId(datum_of(tuple, R_USER_TYPE));
		d->item_type = DatumGetObjectId(datum_of(tuple, R_ITEM_TYPE));
		d->sharing = string_of(tuple, R_SHARING);
		r->items = DatumGetObjectId(datum_of(tuple, R_ITEMS));
		r->item_key = string_of(tuple, R_KEY);
		r->text_columns = DatumGetArrayTypePCopy(datum_of(tuple, R_TEXT));
		r->category_columns = DatumGetArrayTypePCopy(datum_of(tuple, R_CATEGORY));
		r->price_column = string_of(tuple, R_PRICE);
		r->vector_columns = DatumGetArrayTypePCopy(datum_of(tuple, R_VECTOR));
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	return found;
}

/* ---------------------------------------------------------------- checks */

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("a domain's name must have 1 to %d bytes", NAMEDATALEN - 1)));
}

/* A relation that can be read and will be there tomorrow. */
static void
check_relation(Oid relation, const char *what)
{
	char	   *name = get_rel_name(relation);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("%s table with OID %u does not exist", what, relation)));
	switch (get_rel_relkind(relation))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
		case RELKIND_FOREIGN_TABLE:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" cannot be the %s table of a domain", name, what),
					 errdetail("Only tables, partitioned tables, views, materialized views and foreign tables can.")));
	}
	if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("temporary table \"%s\" cannot be the %s table of a domain", name, what),
				 errdetail("A domain outlives the session.")));
}

/* The type of a column that is there and that the caller may read. */
static Oid
check_column(Oid relation, const char *column)
{
	Oid			type = fmoe_column_type(relation, column, NULL);
	bool		missing = false;

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", column, get_rel_name(relation))));
	if (pg_class_aclcheck_ext(relation, GetUserId(), ACL_SELECT, &missing) != ACLCHECK_OK &&
		pg_attribute_aclcheck_ext(relation, get_attnum(relation, column), GetUserId(), ACL_SELECT,
								  &missing) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for column \"%s\" of relation \"%s\"", column,
						get_rel_name(relation)),
				 errdetail("The privilege SELECT is needed.")));
	return type;
}

static void pg_attribute_noreturn()
reject_type(Oid relation, const char *column, Oid type, const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of relation \"%s\" has type %s and cannot be %s", column,
					get_rel_name(relation), format_type_be(type), what),
			 errdetail("%s", detail)));
	pg_unreachable();
}

static Oid
check_id_column(Oid relation, const char *column, const char *what)
{
	Oid			type = check_column(relation, column);
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_CMP_PROC |
											  TYPECACHE_HASH_PROC);

	if (!OidIsValid(entry->eq_opr) || !OidIsValid(entry->cmp_proc) || !OidIsValid(entry->hash_proc))
		reject_type(relation, column, type, what,
					"Ids need a type with a default order (btree) and a default hash function.");
	return type;
}

static bool
is_number(Oid type)
{
	return fmoe_is_integer(type) || type == FLOAT4OID || type == FLOAT8OID || type == NUMERICOID;
}

static bool
is_text(Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING;
}

static bool
is_category(Oid type)
{
	Oid			element = get_element_type(type);

	if (OidIsValid(element))
		type = getBaseType(element);
	return is_text(type) || fmoe_is_integer(type) || type == BOOLOID || type == UUIDOID || type_is_enum(type);
}

static bool
is_vector(Oid type)
{
	HeapTuple	tuple;
	bool		result;

	if (type == FLOAT4ARRAYOID || type == FLOAT8ARRAYOID)
		return true;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	result = HeapTupleIsValid(tuple) &&
		strcmp(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), "vector") == 0;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/* Each column of a list, by a rule for its type. */
static void
check_list(Oid relation, ArrayType *columns, const char *parameter, bool (*fits) (Oid), const char *what,
		   const char *detail)
{
	Datum	   *names;
	bool	   *nulls;
	int			count;
	int			i;
	int			j;

	deconstruct_array(columns, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &names, &nulls, &count);
	for (i = 0; i < count; i++)
	{
		const char *column;
		Oid			type;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not hold nulls", parameter)));
		column = NameStr(*DatumGetName(names[i]));
		for (j = 0; j < i; j++)
			if (strcmp(column, NameStr(*DatumGetName(names[j]))) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("%s holds column \"%s\" twice", parameter, column)));
		type = check_column(relation, column);
		if (!fits(type))
			reject_type(relation, column, type, what, detail);
	}
}

static void
check_interactions(FmoeDomain *d)
{
	Oid			type;

	check_relation(d->interactions, "interaction");
	if (strcmp(d->user_column, d->item_column) == 0 || strcmp(d->user_column, d->time_column) == 0 ||
		strcmp(d->item_column, d->time_column) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("user, item and time must be three different columns")));
	d->user_type = check_id_column(d->interactions, d->user_column, "a user id");
	d->item_type = check_id_column(d->interactions, d->item_column, "an item id");
	type = check_column(d->interactions, d->time_column);
	if (!fmoe_is_time_type(type))
		reject_type(d->interactions, d->time_column, type, "a time",
					"Times are timestamps, dates, or numbers of seconds.");
	if (d->label_column != NULL)
	{
		type = check_column(d->interactions, d->label_column);
		if (!is_number(type) && type != BOOLOID)
			reject_type(d->interactions, d->label_column, type, "a label",
						"Labels are numbers or booleans; rows whose label is positive count.");
	}
}

static bool
is_empty(ArrayType *array)
{
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 0;
}

static void
check_items(const Registration *r)
{
	Operator	equal;
	Oid			type;

	if (!OidIsValid(r->items))
	{
		if (r->item_key != NULL || r->price_column != NULL || !is_empty(r->text_columns) ||
			!is_empty(r->category_columns) || !is_empty(r->vector_columns))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("columns of an item table are given, but no item table"),
					 errhint("Give the parameter items.")));
		return;
	}
	check_relation(r->items, "item");
	if (r->item_key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an item table is given, but not its key"),
				 errhint("Give the parameter item_key: the column that holds the item ids.")));
	type = check_id_column(r->items, r->item_key, "an item id");
	equal = oper(NULL, list_make1(makeString("=")), r->base.item_type, type, true, -1);
	if (equal == NULL)
		reject_type(r->items, r->item_key, type, "the key of the item table",
					psprintf("Item ids have type %s.", format_type_be(r->base.item_type)));
	ReleaseSysCache(equal);

	check_list(r->items, r->text_columns, "text_columns", is_text, "a text column",
			   "Text columns have a string type.");
	check_list(r->items, r->category_columns, "category_columns", is_category, "a category column",
			   "Categories are strings, integers, booleans, uuids, enums, or arrays of these.");
	check_list(r->items, r->vector_columns, "vector_columns", is_vector, "a vector column",
			   "Vectors are real[], double precision[], or the type vector.");
	if (r->price_column != NULL)
	{
		type = check_column(r->items, r->price_column);
		if (!is_number(type))
			reject_type(r->items, r->price_column, type, "a price", "Prices are numbers.");
	}
}

/* ---------------------------------------------------------------- arguments */

static void
require(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* A column's name; '' is none. */
static void
take_name(FunctionCallInfo fcinfo, int argument, char **target)
{
	if (PG_ARGISNULL(argument))
		return;
	*target = pstrdup(NameStr(*PG_GETARG_NAME(argument)));
	if ((*target)[0] == '\0')
		*target = NULL;
}

static void
take_list(FunctionCallInfo fcinfo, int argument, ArrayType **target)
{
	if (!PG_ARGISNULL(argument))
		*target = PG_GETARG_ARRAYTYPE_P(argument);
	else if (*target == NULL)
		*target = construct_empty_array(NAMEOID);
}

static void
require_columns(const FmoeDomain *d)
{
	if (d->user_column == NULL || d->item_column == NULL || d->time_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("user, item and time column must be named")));
}

static void pg_attribute_noreturn()
reject_duplicate(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("domain \"%s\" already exists", name)));
	pg_unreachable();
}

PG_FUNCTION_INFO_V1(fmoe_create_domain);
Datum
fmoe_create_domain(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"name", "interactions", "user_column", "item_column", "time_column"};
	Registration r = {0};
	Datum		values[R_COLUMNS];
	char		nulls[R_COLUMNS];
	FmoeOwn		own;
	int			i;

	for (i = 0; i < lengthof(required); i++)
		require(fcinfo, i, required[i]);
	r.base.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	r.base.interactions = PG_GETARG_OID(1);
	take_name(fcinfo, 2, &r.base.user_column);
	take_name(fcinfo, 3, &r.base.item_column);
	take_name(fcinfo, 4, &r.base.time_column);
	take_name(fcinfo, 5, &r.base.label_column);
	r.items = PG_ARGISNULL(6) ? InvalidOid : PG_GETARG_OID(6);
	take_name(fcinfo, 7, &r.item_key);
	take_list(fcinfo, 8, &r.text_columns);
	take_list(fcinfo, 9, &r.category_columns);
	take_name(fcinfo, 10, &r.price_column);
	take_list(fcinfo, 11, &r.vector_columns);
	r.base.owner = GetUserNameFromId(GetUserId(), false);
	r.base.sharing = "encoder";

	check_name(r.base.name);
	require_columns(&r.base);
	check_interactions(&r.base);
	check_items(&r);

	fmoe_lock_overloads();
	row_of_registration(&r, values, nulls);
	fmoe_own_begin(&own);
	fmoe_own_execute(&insert_domain, values, nulls, false, 0);
	if (SPI_processed == 0)
		reject_duplicate(r.base.name);
	fmoe_own_end(&own);
	fmoe_maintain_overloads();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------- changing */

/* Ids that a version's vocabulary holds alike. */
static bool
same_vocabulary(Oid a, Oid b)
{
	bool		string_a = a == TEXTOID || a == VARCHAROID;
	bool		string_b = b == TEXTOID || b == VARCHAROID;

	return a == b || (fmoe_is_integer(a) && fmoe_is_integer(b)) || (string_a && string_b);
}

static void
check_item_type(const FmoeDomain *d, Oid before)
{
	Datum		value = Int64GetDatum(d->id);
	FmoeOwn		own;
	bool		versions;

	if (same_vocabulary(before, d->item_type))
		return;
	fmoe_own_begin(&own);
	fmoe_own_execute(&count_versions, &value, NULL, false, 1);
	versions = SPI_processed > 0;
	fmoe_own_end(&own);
	if (versions)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the item ids of domain \"%s\" cannot change from %s to %s", d->name,
						format_type_be(before), format_type_be(d->item_type)),
				 errdetail("Its versions know items by ids of the first type."),
				 errhint("Register the table as another domain.")));
}

/* Puts the arguments that are not null over what is registered. */
static void
apply_changes(FunctionCallInfo fcinfo, Registration *r)
{
	FmoeDomain *d = &r->base;

	if (!PG_ARGISNULL(1))
	{
		d->name = text_to_cstring(PG_GETARG_TEXT_PP(1));
		check_name(d->name);
	}
	if (!PG_ARGISNULL(2))
		d->interactions = PG_GETARG_OID(2);
	take_name(fcinfo, 3, &d->user_column);
	take_name(fcinfo, 4, &d->item_column);
	take_name(fcinfo, 5, &d->time_column);
	take_name(fcinfo, 6, &d->label_column);
	if (!PG_ARGISNULL(7))
	{
		r->items = PG_GETARG_OID(7);
		if (!OidIsValid(r->items))
		{
			r->item_key = NULL;
			r->price_column = NULL;
			r->text_columns = construct_empty_array(NAMEOID);
			r->category_columns = construct_empty_array(NAMEOID);
			r->vector_columns = construct_empty_array(NAMEOID);
		}
	}
	take_name(fcinfo, 8, &r->item_key);
	take_list(fcinfo, 9, &r->text_columns);
	take_list(fcinfo, 10, &r->category_columns);
	take_name(fcinfo, 11, &r->price_column);
	take_list(fcinfo, 12, &r->vector_columns);
	require_columns(d);
}

static void
apply_owner(FunctionCallInfo fcinfo, FmoeDomain *d)
{
	char	   *owner;

	if (PG_ARGISNULL(13))
		return;
	owner = pstrdup(NameStr(*PG_GETARG_NAME(13)));
	check_is_member_of_role(GetUserId(), get_role_oid(owner, false));
	d->owner = owner;
}

static void
apply_sharing(FunctionCallInfo fcinfo, FmoeDomain *d)
{
	char	   *sharing;

	if (PG_ARGISNULL(14))
		return;
	sharing = text_to_cstring(PG_GETARG_TEXT_PP(14));
	if (strcmp(sharing, "none") != 0 && strcmp(sharing, "encoder") != 0 && strcmp(sharing, "full") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sharing cannot be \"%s\"", sharing),
				 errhint("It is one of: none, encoder, full.")));
	d->sharing = sharing;
}

static bool
any_given(FunctionCallInfo fcinfo, int from, int to)
{
	int			i;

	for (i = from; i <= to; i++)
		if (!PG_ARGISNULL(i))
			return true;
	return false;
}

PG_FUNCTION_INFO_V1(fmoe_alter_domain);
Datum
fmoe_alter_domain(PG_FUNCTION_ARGS)
{
	Registration r;
	FmoeDomain *domain;
	FmoeDomain *other;
	Datum		values[R_COLUMNS + 1];
	char		nulls[R_COLUMNS + 1];
	Oid			item_type;
	FmoeOwn		own;

	require(fcinfo, 0, "name");
	fmoe_fresh_begin();
	domain = fmoe_domain_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), FMOE_MANAGE);
	fmoe_lock_overloads();
	if (!read_registration(domain->id, &r))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" does not exist", domain->name)));
	item_type = r.base.item_type;
	apply_changes(fcinfo, &r);
	apply_owner(fcinfo, &r.base);
	apply_sharing(fcinfo, &r.base);

	/* what is not touched may be broken and still be there to be mended later */
	if (any_given(fcinfo, 2, 6))
		check_interactions(&r.base);
	if (any_given(fcinfo, 7, 12))
		check_items(&r);
	check_item_type(&r.base, item_type);
	other = fmoe_domain_lookup(r.base.name);
	if (other != NULL && other->id != r.base.id)
		reject_duplicate(r.base.name);

	row_of_registration(&r, values, nulls);
	values[R_COLUMNS] = Int64GetDatum(r.base.id);
	nulls[R_COLUMNS] = ' ';
	fmoe_own_begin(&own);
	fmoe_own_execute(&update_domain, values, nulls, false, 0);
	fmoe_own_end(&own);
	if (strcmp(r.base.sharing, "none") == 0)
		fmoe_lent_domain_changed(domain->name, NULL);
	else if (strcmp(r.base.name, domain->name) != 0)
		fmoe_lent_domain_changed(domain->name, r.base.name);
	fmoe_maintain_overloads();
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(fmoe_drop_domain);
Datum
fmoe_drop_domain(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	FmoeDomain *domain;
	Datum		value;
	FmoeOwn		own;

	fmoe_fresh_begin();
	if (PG_GETARG_BOOL(1) && fmoe_domain_lookup(name) == NULL)
	{
		fmoe_fresh_end();
		ereport(NOTICE, (errmsg("domain \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	domain = fmoe_domain_find(name, FMOE_MANAGE);
	fmoe_lock_overloads();
	value = Int64GetDatum(domain->id);
	fmoe_own_begin(&own);
	fmoe_own_execute(&delete_domain, &value, NULL, false, 0);
	fmoe_own_end(&own);
	fmoe_lent_domain_changed(domain->name, NULL);
	fmoe_forget(domain->id, 0);
	fmoe_maintain_overloads();
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

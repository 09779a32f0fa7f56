/*
 * domain.c
 *	  Which domain a call means, whether the caller may, and what its columns are.
 *
 * A domain row names its table by OID and its columns by name.  Nobody is
 * kept from dropping or altering the table, so each call checks that the columns
 * are still there and still have the types they were registered with.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "pg/domain/domain.h"

/* Columns of fmoe.domain, as the extension's script numbers them. */
enum
{
	DOMAIN_ID = 1,
	NAME,
	INTERACTIONS,
	USER_COLUMN,
	ITEM_COLUMN,
	TIME_COLUMN,
	LABEL_COLUMN,
	USER_TYPE,
	ITEM_TYPE,
	ITEMS,
	ITEM_KEY,
	TEXT_COLUMNS,
	CATEGORY_COLUMNS,
	PRICE_COLUMN,
	VECTOR_COLUMNS,
	SHARING,
	TIME_UNIT = 19,
	AVAILABLE_COLUMN,
	ORDER_COLUMN,
	BASKET_COLUMN,
	WEIGHT_COLUMN,
	USERS,
	USER_KEY,
	USER_CATEGORY_COLUMNS
};

static const int optional_columns[FMOE_OPTIONAL_COLUMNS] = {
	[FMOE_LABEL_COLUMN] = LABEL_COLUMN,
	[FMOE_ORDER_COLUMN] = ORDER_COLUMN,
	[FMOE_BASKET_COLUMN] = BASKET_COLUMN,
	[FMOE_WEIGHT_COLUMN] = WEIGHT_COLUMN
};

/* ---------------------------------------------------------------- reading rows */

static Datum
column_value(HeapTuple tuple, TupleDesc shape, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, shape, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* Of type text; never null. */
static char *
text_column(HeapTuple tuple, TupleDesc shape, int column)
{
	return TextDatumGetCString(column_value(tuple, shape, column));
}

/* Of type name; NULL for a null. */
static char *
name_column(HeapTuple tuple, TupleDesc shape, int column)
{
	Datum		value = column_value(tuple, shape, column);

	return value == (Datum) 0 ? NULL : pstrdup(NameStr(*DatumGetName(value)));
}

/* Of type name[]; never null. */
static List *
names_column(HeapTuple tuple, TupleDesc shape, int column)
{
	ArrayType  *array = DatumGetArrayTypeP(column_value(tuple, shape, column));
	List	   *names = NIL;
	Datum	   *name;
	bool	   *isnull;
	int			n;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &name, &isnull, &n);
	for (int i = 0; i < n; i++)
		if (!isnull[i])
			names = lappend(names, pstrdup(NameStr(*DatumGetName(name[i]))));
	return names;
}

static FmoeDomain *
domain_of_row(HeapTuple tuple, TupleDesc shape)
{
	FmoeDomain *domain = palloc0(sizeof(FmoeDomain));
	char	   *price;

	domain->id = DatumGetInt64(column_value(tuple, shape, DOMAIN_ID));
	domain->name = text_column(tuple, shape, NAME);
	domain->owner = fmoe_owner(FMOE_OWNED_DOMAIN, domain->id);
	domain->interactions = fmoe_referenced_relation(column_value(tuple, shape, INTERACTIONS));
	domain->user_column = name_column(tuple, shape, USER_COLUMN);
	domain->item_column = name_column(tuple, shape, ITEM_COLUMN);
	domain->time_column = name_column(tuple, shape, TIME_COLUMN);
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		domain->optional[i].name = name_column(tuple, shape, optional_columns[i]);
	domain->user_type = fmoe_referenced_type(column_value(tuple, shape, USER_TYPE));
	domain->item_type = fmoe_referenced_type(column_value(tuple, shape, ITEM_TYPE));
	if (column_value(tuple, shape, ITEMS) != (Datum) 0)
		domain->items = fmoe_referenced_relation(column_value(tuple, shape, ITEMS));
	domain->item_key = name_column(tuple, shape, ITEM_KEY);
	domain->available_column = name_column(tuple, shape, AVAILABLE_COLUMN);
	domain->features[FMOE_TEXT] = names_column(tuple, shape, TEXT_COLUMNS);
	domain->features[FMOE_CATEGORY] = names_column(tuple, shape, CATEGORY_COLUMNS);
	if ((price = name_column(tuple, shape, PRICE_COLUMN)) != NULL)
		domain->features[FMOE_PRICE] = list_make1(price);
	domain->features[FMOE_VECTOR] = names_column(tuple, shape, VECTOR_COLUMNS);
	if (column_value(tuple, shape, USERS) != (Datum) 0)
		domain->users = fmoe_referenced_relation(column_value(tuple, shape, USERS));
	domain->user_key = name_column(tuple, shape, USER_KEY);
	domain->user_categories = names_column(tuple, shape, USER_CATEGORY_COLUMNS);
	domain->sharing = text_column(tuple, shape, SHARING);
	if (column_value(tuple, shape, TIME_UNIT) != (Datum) 0)
		domain->time_unit = fmoe_time_unit_of(text_column(tuple, shape, TIME_UNIT));
	return domain;
}

/* The domains that an index finds by a key, in its order; key NULL: all domains. */
static List *
read_domains(const char *index, ScanKey key)
{
	List	   *domains = NIL;
	HeapTuple	tuple;
	FmoeRows	rows;

	fmoe_rows_begin(&rows, "domain", index, key == NULL ? 0 : 1, key);
	while ((tuple = fmoe_rows_next(&rows)) != NULL)
		domains = lappend(domains, domain_of_row(tuple, RelationGetDescr(rows.table)));
	fmoe_rows_end(&rows);
	return domains;
}

/* NULL: none */
static FmoeDomain *
read_domain(const char *index, ScanKey key)
{
	List	   *domains = read_domains(index, key);

	return domains == NIL ? NULL : linitial(domains);
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

static bool
may_select(Oid relation, const FmoeDomain *domain)
{
	bool		missing = false;

	if (pg_class_aclcheck_ext(relation, GetUserId(), ACL_SELECT, &missing) == ACLCHECK_OK)
		return true;
	if (missing)
		return false;
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		if (domain->optional[i].name != NULL && !may_select_column(relation, domain->optional[i].name))
			return false;
	return may_select_column(relation, domain->user_column) &&
		may_select_column(relation, domain->item_column) &&
		may_select_column(relation, domain->time_column);
}

static bool
relation_exists(Oid relation)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation));
}

bool
fmoe_may_read_texts(const FmoeDomain *domain)
{
	static const FmoeModality of_words[] = {FMOE_TEXT, FMOE_CATEGORY};
	bool		missing = false;
	ListCell   *cell;

	if (!OidIsValid(domain->items) || !relation_exists(domain->items) ||
		check_enable_rls(domain->items, GetUserId(), true) == RLS_ENABLED)
		return false;
	if (pg_class_aclcheck_ext(domain->items, GetUserId(), ACL_SELECT, &missing) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < lengthof(of_words); i++)
		foreach(cell, domain->features[of_words[i]])
			if (!may_select_column(domain->items, lfirst(cell)))
				return false;
	return true;
}

/* The domain's table may be gone. */
static bool
may_manage(const FmoeDomain *domain)
{
	return has_privs_of_role(GetUserId(), domain->owner) ||
		(relation_exists(domain->interactions) &&
		 object_ownercheck(RelationRelationId, domain->interactions, GetUserId()));
}

/* When the table is gone, who manages the domain may go on, and is told so later. */
static bool
may(const FmoeDomain *domain, FmoeAccess access)
{
	if (access == FMOE_MANAGE)
		return may_manage(domain);
	return may_select(domain->interactions, domain) ||
		(!relation_exists(domain->interactions) && may_manage(domain));
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

Oid
fmoe_domain_reader(const FmoeDomain *domain, Oid table)
{
	return fmoe_reader(fmoe_reader(GetUserId(), domain->owner), fmoe_relation_owner(table));
}

FmoeDomain
fmoe_users_as_items(const FmoeDomain *domain)
{
	FmoeDomain	users = *domain;

	users.of_users = true;
	users.items = domain->users;
	users.item_key = domain->user_key;
	users.item_type = domain->user_type;
	(void) fmoe_column_type(domain->interactions, domain->user_column, &users.item_collation);
	users.available_column = NULL;
	memset(users.features, 0, sizeof(users.features));
	users.features[FMOE_CATEGORY] = domain->user_categories;
	return users;
}

const char *
fmoe_described(const FmoeDomain *domain)
{
	return domain->of_users ? "user" : "item";
}

char *
fmoe_described_hint(const FmoeDomain *domain)
{
	const char *what = fmoe_described(domain);

	return psprintf("Name what there is now with fmoe_alter_domain(%s, %ss => ..., %s_key => ...),"
					" or do without %s %s table: %ss => 0.", quote_literal_cstr(domain->name), what, what,
					domain->of_users ? "a" : "an", what, what);
}

FmoeDomain *
fmoe_domain_of_id(int64 domain_id)
{
	ScanKeyData key;

	ScanKeyInit(&key, DOMAIN_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(domain_id));
	return read_domain("domain_pkey", &key);
}

static bool
is_seen(const FmoeDomain *domain)
{
	return domain != NULL && (may(domain, FMOE_USE) || may(domain, FMOE_MANAGE));
}

bool
fmoe_may_see(int64 domain_id)
{
	return is_seen(fmoe_domain_of_id(domain_id));
}

PG_FUNCTION_INFO_V1(fmoe_may_use);
Datum
fmoe_may_use(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(fmoe_may_see(PG_GETARG_INT64(0)));
}

/* ---------------------------------------------------------------- columns */

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
				 errmsg("table %s no longer has a column \"%s\"", domain->relation, column),
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
						   OidIsValid(registered) ? format_type_be(registered) : "one that is not there any more"),
				 errhint("Register the column again with fmoe_alter_domain(%s, ...).",
						 quote_literal_cstr(domain->name))));
}

static void
resolve_optional(const FmoeDomain *domain, FmoeColumn *column, const FmoeColumnRule *rule)
{
	column->type = column_type(domain, column->name, &column->collation);
	if (!rule->fits(column->type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s has type %s now and cannot be %s", column->name,
						domain->relation, format_type_be(column->type), rule->what),
				 errhint("Name another column with fmoe_alter_domain(%s, %s => ...).",
						 quote_literal_cstr(domain->name), rule->parameter)));
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
				 errmsg("the interaction table of domain \"%s\" no longer exists", domain->name),
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
				 errmsg("column \"%s\" of table %s has type %s now and cannot be a time",
						domain->time_column, domain->relation, format_type_be(domain->time_type)),
				 errhint("%s", alter_hint(domain))));
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		if (domain->optional[i].name != NULL)
			resolve_optional(domain, &domain->optional[i], &fmoe_column_rules[i]);

	domain->user_equal = lookup_type_cache(domain->user_type, TYPECACHE_EQ_OPR)->eq_opr;
	domain->item_equal = lookup_type_cache(domain->item_type, TYPECACHE_EQ_OPR)->eq_opr;
}

/* ---------------------------------------------------------------- which domain */

FmoeDomain *
fmoe_domain_lookup(const char *name)
{
	ScanKeyData key;

	ScanKeyEntryInitialize(&key, 0, NAME, BTEqualStrategyNumber, InvalidOid, DEFAULT_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(name));
	return read_domain("domain_name_key", &key);
}

static FmoeStatement lock_domain = {
	"SELECT name, sharing FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
	1, {INT8OID}
};

bool
fmoe_try_lock_domain(FmoeDomain *domain)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = Int64GetDatum(domain->id);
	FmoeOwn		own;
	bool		found;

	fmoe_own_begin(&own);
	fmoe_own_execute(&lock_domain, &value, NULL, false, 1);
	found = SPI_processed > 0;
	if (found)
	{
		domain->name = MemoryContextStrdup(context, fmoe_result_text(1));
		domain->sharing = MemoryContextStrdup(context, fmoe_result_text(2));
	}
	fmoe_own_end(&own);
	return found;
}

void
fmoe_lock_domain(FmoeDomain *domain)
{
	if (!fmoe_try_lock_domain(domain))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" was dropped", domain->name)));
}

FmoeDomain *
fmoe_domain_seen(const char *name)
{
	FmoeDomain *domain = fmoe_domain_lookup(name);

	return is_seen(domain) ? domain : NULL;
}

/* To who may not use it, a domain is not there: the error must not tell which names are taken. */
static FmoeDomain *
find_named(const char *name)
{
	FmoeDomain *domain = fmoe_domain_seen(name);

	if (domain == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" does not exist", name),
				 errhint("The view fmoe.domains lists the domains that you may use, "
						 "which takes SELECT on their interaction columns; fmoe_create_domain() registers one.")));
	return domain;
}

/* How near a domain is to the caller; being a superuser, or a grant to PUBLIC, brings none near. */
typedef enum Nearness
{
	STRANGE,
	GRANTED,					/* by name, and to read it runs nobody's code */
	OWNED						/* it, or its table */
} Nearness;

/* Whether to read a relation runs what somebody has written who is neither a superuser nor the database's owner. */
static bool
runs_code(Oid relation)
{
	Oid			owner = fmoe_relation_owner(relation);
	HeapTuple	tuple;
	bool		runs;

	if (!OidIsValid(owner) || superuser_arg(owner) || object_ownercheck(DatabaseRelationId, MyDatabaseId, owner))
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	if (!HeapTupleIsValid(tuple))
		return false;
	switch (((Form_pg_class) GETSTRUCT(tuple))->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_MATVIEW:
			runs = ((Form_pg_class) GETSTRUCT(tuple))->relrowsecurity;
			break;
		default:
			runs = true;
	}
	ReleaseSysCache(tuple);
	return runs;
}

static Nearness
nearness(const FmoeDomain *domain)
{
	Oid			owner = fmoe_relation_owner(domain->interactions);

	if (is_member_of_role_nosuper(GetUserId(), domain->owner) ||
		(OidIsValid(owner) && is_member_of_role_nosuper(GetUserId(), owner)))
		return OWNED;
	if (!fmoe_granted_by_name(domain->interactions, domain->user_column) ||
		runs_code(domain->interactions) || runs_code(domain->items) || runs_code(domain->users))
		return STRANGE;
	return GRANTED;
}

/*
 * Those of the domains that a call without a name can mean: of those that the
 * caller may do this with, his own, or where there are none, those granted to him.
 * So nobody makes a call read his domain, or ambiguous, by registering one.
 */
static List *
find_near(FmoeAccess access)
{
	List	   *near = NIL;
	Nearness	nearest = GRANTED;
	ListCell   *cell;

	foreach(cell, read_domains("domain_name_key", NULL))
	{
		FmoeDomain *domain = lfirst(cell);
		Nearness	is = may(domain, access) ? nearness(domain) : STRANGE;

		if (is > nearest)
			near = NIL;
		nearest = Max(nearest, is);
		if (is == nearest)
			near = lappend(near, domain);
	}
	return near;
}

static FmoeDomain *
find_only(FmoeAccess access)
{
	List	   *near = find_near(access);
	StringInfoData names;
	ListCell   *cell;

	if (list_length(near) == 1)
		return linitial(near);
	if (near == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no domain that you may %s", access == FMOE_USE ? "use" : "manage"),
				 errdetail("A call that names none means your own, or one whose table, no view, was granted to you by name."),
				 errhint("Name a domain, or register an interaction table with fmoe_create_domain().")));
	initStringInfo(&names);
	foreach(cell, near)
	{
		const FmoeDomain *domain = lfirst(cell);

		if (foreach_current_index(cell) < 10)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", domain->name);
		else if (foreach_current_index(cell) == 10)
			appendStringInfoString(&names, ", ...");
	}
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
			 errmsg("there are %d domains, and the call names none", list_length(near)),
			 errhint("Name one, as in domain => %s, or set fmoe.domain: %s.",
					 quote_literal_cstr(((FmoeDomain *) llast(near))->name), names.data)));
	pg_unreachable();
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

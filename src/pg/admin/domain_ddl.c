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

#include "pg/cache/cache.h"
#include "pg/lend/lend.h"

/* The order of insert_domain's and update_domain's parameters, and of read_domain's columns. */
enum
{
	R_NAME, R_INTERACTIONS, R_USER, R_ITEM, R_TIME, R_LABEL, R_USER_TYPE, R_ITEM_TYPE,
	R_ITEMS, R_KEY, R_TEXT, R_CATEGORY, R_PRICE, R_VECTOR, R_SHARING,
	R_TIME_UNIT, R_AVAILABLE, R_ORDER, R_BASKET, R_WEIGHT, R_USERS, R_USER_KEY, R_USER_CATEGORY, R_COLUMNS
};

static const int r_optional[FMOE_OPTIONAL_COLUMNS] = {
	[FMOE_LABEL_COLUMN] = R_LABEL,
	[FMOE_ORDER_COLUMN] = R_ORDER,
	[FMOE_BASKET_COLUMN] = R_BASKET,
	[FMOE_WEIGHT_COLUMN] = R_WEIGHT
};

#define REGISTRATION_COLUMNS \
	"name, interactions, user_column, item_column, time_column, label_column, user_type, item_type," \
	" items, item_key, text_columns, category_columns, price_column, vector_columns, sharing, time_unit," \
	" available_column, order_column, basket_column, weight_column, users, user_key, user_category_columns"
#define REGISTRATION_TYPES \
	TEXTOID, REGCLASSOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID, REGTYPEOID, REGTYPEOID, \
	REGCLASSOID, NAMEOID, NAMEARRAYOID, NAMEARRAYOID, NAMEOID, NAMEARRAYOID, TEXTOID, TEXTOID, \
	NAMEOID, NAMEOID, NAMEOID, NAMEOID, REGCLASSOID, NAMEOID, NAMEARRAYOID

static FmoeStatement insert_domain = {
	"INSERT INTO fmoe.domain (" REGISTRATION_COLUMNS ")"
	" VALUES ($1, fmoe._to_relation($2), $3, $4, $5, $6, fmoe._to_type($7), fmoe._to_type($8), fmoe._to_relation($9),"
	" $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, fmoe._to_relation($21), $22, $23)"
	" ON CONFLICT (name) DO NOTHING RETURNING domain_id",
	R_COLUMNS, {REGISTRATION_TYPES}
};

/* Names of what is not there stay as they are; $25, $26: whether the item table, the user table is given. */
static FmoeStatement update_domain = {
	"UPDATE fmoe.domain SET (" REGISTRATION_COLUMNS ")"
	" = ROW ($1, COALESCE(fmoe._to_relation($2), interactions),"
	" $3, $4, $5, $6, COALESCE(fmoe._to_type($7), user_type), COALESCE(fmoe._to_type($8), item_type), CASE WHEN $25 THEN fmoe._to_relation($9) ELSE items END,"
	" $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,"
	" CASE WHEN $26 THEN fmoe._to_relation($21) ELSE users END, $22, $23)"
	" WHERE domain_id OPERATOR(pg_catalog.=) $24",
	R_COLUMNS + 3, {REGISTRATION_TYPES, INT8OID, BOOLOID, BOOLOID}
};

static FmoeStatement read_domain = {
	"SELECT " REGISTRATION_COLUMNS " FROM fmoe.domain"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

/* In this order: once the domain is gone, nothing is added to it. */
static FmoeStatement delete_domain[] = {
	{"DELETE FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}},
	{"DELETE FROM fmoe.tensor t USING fmoe.version v WHERE v.version_id OPERATOR(pg_catalog.=) t.version_id"
	" AND v.domain_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}},
	{"DELETE FROM fmoe.private_row r USING fmoe.version v WHERE v.version_id OPERATOR(pg_catalog.=) r.version_id"
	" AND v.domain_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}},
	{"DELETE FROM fmoe.deployment WHERE domain_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}},
	{"DELETE FROM fmoe.version WHERE domain_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}},
	{"DELETE FROM fmoe.checkpoint WHERE domain_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}},
	{"DELETE FROM fmoe.training WHERE domain_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}}
};

static FmoeStatement any_version = {
	"SELECT FROM fmoe.version WHERE domain_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
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
set_text(Datum *values, char *nulls, int column, const char *string)
{
	set_column(values, nulls, column, string != NULL, string != NULL ? CStringGetTextDatum(string) : (Datum) 0);
}

static void
row_of_registration(const FmoeRegistration *r, Datum *values, char *nulls)
{
	const FmoeDomain *d = &r->base;

	set_column(values, nulls, R_NAME, true, CStringGetTextDatum(d->name));
	set_column(values, nulls, R_INTERACTIONS, OidIsValid(d->interactions), ObjectIdGetDatum(d->interactions));
	set_name(values, nulls, R_USER, d->user_column);
	set_name(values, nulls, R_ITEM, d->item_column);
	set_name(values, nulls, R_TIME, d->time_column);
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		set_name(values, nulls, r_optional[i], d->optional[i].name);
	set_column(values, nulls, R_USER_TYPE, OidIsValid(d->user_type), ObjectIdGetDatum(d->user_type));
	set_column(values, nulls, R_ITEM_TYPE, OidIsValid(d->item_type), ObjectIdGetDatum(d->item_type));
	set_column(values, nulls, R_ITEMS, OidIsValid(d->items), ObjectIdGetDatum(d->items));
	set_name(values, nulls, R_KEY, d->item_key);
	set_column(values, nulls, R_TEXT, true, PointerGetDatum(r->text_columns));
	set_column(values, nulls, R_CATEGORY, true, PointerGetDatum(r->category_columns));
	set_name(values, nulls, R_PRICE, r->price_column);
	set_column(values, nulls, R_VECTOR, true, PointerGetDatum(r->vector_columns));
	set_column(values, nulls, R_SHARING, true, CStringGetTextDatum(d->sharing));
	set_text(values, nulls, R_TIME_UNIT, fmoe_time_unit_names[d->time_unit]);
	set_name(values, nulls, R_AVAILABLE, d->available_column);
	set_column(values, nulls, R_USERS, OidIsValid(d->users), ObjectIdGetDatum(d->users));
	set_name(values, nulls, R_USER_KEY, d->user_key);
	set_column(values, nulls, R_USER_CATEGORY, true, PointerGetDatum(r->user_category_columns));
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

/* Reads the row of a locked domain. */
static void
read_registration(int64 id, FmoeRegistration *r)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	Datum		value = Int64GetDatum(id);
	FmoeDomain *d = &r->base;
	FmoeOwn		own;
	HeapTuple	tuple;
	Datum		items;
	Datum		users;

	memset(r, 0, sizeof(FmoeRegistration));
	fmoe_own_begin(&own);
	fmoe_own_execute(&read_domain, &value, NULL, false, 0);
	old = MemoryContextSwitchTo(context);
	tuple = SPI_tuptable->vals[0];
	d->id = id;
	d->name = string_of(tuple, R_NAME);
	d->interactions = fmoe_referenced_relation(datum_of(tuple, R_INTERACTIONS));
	d->user_column = string_of(tuple, R_USER);
	d->item_column = string_of(tuple, R_ITEM);
	d->time_column = string_of(tuple, R_TIME);
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		d->optional[i].name = string_of(tuple, r_optional[i]);
	d->user_type = fmoe_referenced_type(datum_of(tuple, R_USER_TYPE));
	d->item_type = fmoe_referenced_type(datum_of(tuple, R_ITEM_TYPE));
	d->sharing = string_of(tuple, R_SHARING);
	d->time_unit = fmoe_time_unit_of(string_of(tuple, R_TIME_UNIT));
	items = datum_of(tuple, R_ITEMS);
	d->items = items == (Datum) 0 ? InvalidOid : fmoe_referenced_relation(items);
	d->item_key = string_of(tuple, R_KEY);
	r->text_columns = DatumGetArrayTypePCopy(datum_of(tuple, R_TEXT));
	r->category_columns = DatumGetArrayTypePCopy(datum_of(tuple, R_CATEGORY));
	r->price_column = string_of(tuple, R_PRICE);
	r->vector_columns = DatumGetArrayTypePCopy(datum_of(tuple, R_VECTOR));
	d->available_column = string_of(tuple, R_AVAILABLE);
	users = datum_of(tuple, R_USERS);
	d->users = users == (Datum) 0 ? InvalidOid : fmoe_referenced_relation(users);
	d->user_key = string_of(tuple, R_USER_KEY);
	r->user_category_columns = DatumGetArrayTypePCopy(datum_of(tuple, R_USER_CATEGORY));
	MemoryContextSwitchTo(old);
	fmoe_own_end(&own);
}

/* ---------------------------------------------------------------- arguments */

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("a domain's name must have 1 to %d bytes", NAMEDATALEN - 1)));
}

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

/* '' is none. */
static void
take_time_unit(FunctionCallInfo fcinfo, int argument, FmoeTimeUnit *target)
{
	char	   *name;

	if (PG_ARGISNULL(argument))
		return;
	name = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	*target = fmoe_time_unit_of(name[0] == '\0' ? NULL : name);
}

static void
require_columns(const FmoeDomain *d)
{
	if (d->user_column == NULL || d->item_column == NULL || d->time_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("user, item and time column must be named")));
}

pg_noreturn static void
reject_duplicate(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("domain \"%s\" already exists", name)));
	pg_unreachable();
}

/* The id of the new row; 0: there is a domain of that name. */
static int64
insert(Datum *values, const char *nulls)
{
	FmoeOwn		own;
	int64		id;

	fmoe_own_begin(&own);
	fmoe_own_execute(&insert_domain, values, nulls, false, 0);
	id = fmoe_result_int64();
	fmoe_own_end(&own);
	return id;
}

PG_FUNCTION_INFO_V1(fmoe_create_domain);
Datum
fmoe_create_domain(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"name", "interactions", "user_column", "item_column", "time_column"};
	FmoeRegistration r = {0};
	Datum		values[R_COLUMNS];
	char		nulls[R_COLUMNS];
	int64		id;
	int			i;

	for (i = 0; i < lengthof(required); i++)
		require(fcinfo, i, required[i]);
	r.base.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	r.base.interactions = PG_GETARG_OID(1);
	take_name(fcinfo, 2, &r.base.user_column);
	take_name(fcinfo, 3, &r.base.item_column);
	take_name(fcinfo, 4, &r.base.time_column);
	take_name(fcinfo, 5, &r.base.optional[FMOE_LABEL_COLUMN].name);
	r.base.items = PG_ARGISNULL(6) ? InvalidOid : PG_GETARG_OID(6);
	take_name(fcinfo, 7, &r.base.item_key);
	take_list(fcinfo, 8, &r.text_columns);
	take_list(fcinfo, 9, &r.category_columns);
	take_name(fcinfo, 10, &r.price_column);
	take_list(fcinfo, 11, &r.vector_columns);
	take_name(fcinfo, 12, &r.base.optional[FMOE_ORDER_COLUMN].name);
	take_name(fcinfo, 13, &r.base.optional[FMOE_BASKET_COLUMN].name);
	take_name(fcinfo, 14, &r.base.optional[FMOE_WEIGHT_COLUMN].name);
	take_time_unit(fcinfo, 15, &r.base.time_unit);
	take_name(fcinfo, 16, &r.base.available_column);
	r.base.users = PG_ARGISNULL(17) ? InvalidOid : PG_GETARG_OID(17);
	take_name(fcinfo, 18, &r.base.user_key);
	take_list(fcinfo, 19, &r.user_category_columns);
	r.base.sharing = "encoder";

	check_name(r.base.name);
	require_columns(&r.base);
	fmoe_check_interactions(&r.base);
	fmoe_check_items(&r);
	fmoe_check_users(&r);

	row_of_registration(&r, values, nulls);
	id = insert(values, nulls);
	if (id == 0)
		reject_duplicate(r.base.name);
	fmoe_owner_set(FMOE_OWNED_DOMAIN, id, GetUserId());
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

/* Says so when the versions know items by ids of a type that they do not have any more. */
static void
announce_item_type(const FmoeDomain *d, Oid before)
{
	Datum		value = Int64GetDatum(d->id);

	if (!same_vocabulary(before, d->item_type) && fmoe_own_found(&any_version, &value, false))
		ereport(NOTICE,
				(errmsg("the item ids of domain \"%s\" change from %s to %s", d->name,
						format_type_be(before), format_type_be(d->item_type)),
				 errdetail("Its versions know items by ids of the first type."),
				 errhint("Train a new version with CALL fmoe_train(%s).", quote_literal_cstr(d->name))));
}

/* Arguments of fmoe_alter_domain. */
#define ALTER_ORDER 15
#define ALTER_TIME_UNIT 18
#define ALTER_AVAILABLE 19
#define ALTER_USERS 20

/* The user table and its columns, which go with it. */
static void
apply_users(FunctionCallInfo fcinfo, FmoeRegistration *r)
{
	if (!PG_ARGISNULL(ALTER_USERS))
	{
		r->base.users = PG_GETARG_OID(ALTER_USERS);
		if (!OidIsValid(r->base.users))
		{
			r->base.user_key = NULL;
			r->user_category_columns = construct_empty_array(NAMEOID);
		}
	}
	take_name(fcinfo, ALTER_USERS + 1, &r->base.user_key);
	take_list(fcinfo, ALTER_USERS + 2, &r->user_category_columns);
}

/* Puts the arguments that are not null over what is registered. */
static void
apply_changes(FunctionCallInfo fcinfo, FmoeRegistration *r)
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
	take_name(fcinfo, 6, &d->optional[FMOE_LABEL_COLUMN].name);
	if (!PG_ARGISNULL(7))
	{
		d->items = PG_GETARG_OID(7);
		if (!OidIsValid(d->items))
		{
			d->item_key = NULL;
			d->available_column = NULL;
			r->price_column = NULL;
			r->text_columns = construct_empty_array(NAMEOID);
			r->category_columns = construct_empty_array(NAMEOID);
			r->vector_columns = construct_empty_array(NAMEOID);
		}
	}
	take_name(fcinfo, 8, &d->item_key);
	take_list(fcinfo, 9, &r->text_columns);
	take_list(fcinfo, 10, &r->category_columns);
	take_name(fcinfo, 11, &r->price_column);
	take_list(fcinfo, 12, &r->vector_columns);
	for (int i = FMOE_ORDER_COLUMN; i <= FMOE_WEIGHT_COLUMN; i++)
		take_name(fcinfo, ALTER_ORDER + i - FMOE_ORDER_COLUMN, &d->optional[i].name);
	take_time_unit(fcinfo, ALTER_TIME_UNIT, &d->time_unit);
	take_name(fcinfo, ALTER_AVAILABLE, &d->available_column);
	apply_users(fcinfo, r);
	require_columns(d);
}

/* Gives the domain away, if that is asked for. */
static void
apply_owner(FunctionCallInfo fcinfo, const FmoeDomain *d)
{
	Oid			owner;

	if (PG_ARGISNULL(13))
		return;
	owner = get_role_oid(NameStr(*PG_GETARG_NAME(13)), false);
	check_can_set_role(GetUserId(), owner);
	fmoe_owner_set(FMOE_OWNED_DOMAIN, d->id, owner);
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
	FmoeRegistration r;
	FmoeDomain *domain;
	FmoeDomain *other;
	Datum		values[R_COLUMNS + 3];
	char		nulls[R_COLUMNS + 3];
	Oid			item_type;

	require(fcinfo, 0, "name");
	fmoe_fresh_begin();
	domain = fmoe_domain_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), FMOE_MANAGE);
	fmoe_lock_domain(domain);
	read_registration(domain->id, &r);
	item_type = r.base.item_type;
	apply_changes(fcinfo, &r);
	apply_sharing(fcinfo, &r.base);

	/* columns that are not changed are not checked: they may be broken and be repaired later */
	if (any_given(fcinfo, 2, 6) || any_given(fcinfo, ALTER_ORDER, ALTER_TIME_UNIT))
		fmoe_check_interactions(&r.base);
	if (any_given(fcinfo, 7, 12) || !PG_ARGISNULL(ALTER_AVAILABLE))
		fmoe_check_items(&r);
	if (any_given(fcinfo, ALTER_USERS, ALTER_USERS + 2))
		fmoe_check_users(&r);
	announce_item_type(&r.base, item_type);
	other = fmoe_domain_lookup(r.base.name);
	if (other != NULL && other->id != r.base.id)
		reject_duplicate(r.base.name);

	row_of_registration(&r, values, nulls);
	values[R_COLUMNS] = Int64GetDatum(r.base.id);
	nulls[R_COLUMNS] = ' ';
	values[R_COLUMNS + 1] = BoolGetDatum(!PG_ARGISNULL(7));
	nulls[R_COLUMNS + 1] = ' ';
	values[R_COLUMNS + 2] = BoolGetDatum(!PG_ARGISNULL(ALTER_USERS));
	nulls[R_COLUMNS + 2] = ' ';
	(void) fmoe_own_change(&update_domain, values, nulls);
	apply_owner(fcinfo, &r.base);
	if (strcmp(r.base.sharing, "none") == 0)
		fmoe_lent_domain_changed(domain->name, NULL);
	else if (strcmp(r.base.name, domain->name) != 0)
		fmoe_lent_domain_changed(domain->name, r.base.name);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

/* Imports of a domain that others' versions and lent adapters are built on. */
static FmoeStatement imports_in_use = {
	"SELECT b.name, b.used_by FROM (SELECT v.name, "
	FMOE_BASE_USER("v.checksum", "u.domain_id OPERATOR(pg_catalog.<>) $1",
				   "NOT (u.party OPERATOR(pg_catalog.=) $2 AND u.domain OPERATOR(pg_catalog.=) $3)")
	" AS used_by FROM fmoe.version v WHERE v.domain_id OPERATOR(pg_catalog.=) $1 AND NOT v.complete) b"
	" WHERE b.used_by IS NOT NULL LIMIT 1",
	3, {INT8OID, TEXTOID, TEXTOID}
};

static Datum
skip_missing(const char *name)
{
	fmoe_fresh_end();
	ereport(NOTICE, (errmsg("domain \"%s\" does not exist, skipping", name)));
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(fmoe_drop_domain);
Datum
fmoe_drop_domain(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	FmoeDomain *domain;
	Datum		value;
	Datum		values[3];

	fmoe_fresh_begin();
	if (PG_GETARG_BOOL(1) && fmoe_domain_seen(name) == NULL)
		return skip_missing(name);
	domain = fmoe_domain_find(name, FMOE_MANAGE);
	if (!PG_GETARG_BOOL(1))
		fmoe_lock_domain(domain);
	else if (!fmoe_try_lock_domain(domain))
		return skip_missing(name);
	value = Int64GetDatum(domain->id);
	values[0] = value;
	values[1] = CStringGetTextDatum(fmoe_party_name());
	values[2] = CStringGetTextDatum(domain->name);
	fmoe_check_none_used(&imports_in_use, values, NULL);
	for (int i = 0; i < lengthof(delete_domain); i++)
		(void) fmoe_own_change(&delete_domain[i], &value, NULL);
	fmoe_owner_drop(FMOE_OWNED_DOMAIN, domain->id);
	fmoe_lent_domain_changed(domain->name, NULL);
	fmoe_evict_version(domain->id, 0);
	fmoe_fresh_end();
	PG_RETURN_VOID();
}

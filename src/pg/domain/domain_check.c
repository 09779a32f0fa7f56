/*
 * domain_check.c
 *	  Whether tables and columns can be a domain's.
 *
 * Everything is checked as the caller: a column the caller may not read cannot
 * belong to the caller's domain.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_oper.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "pg/domain/domain.h"
#include "pg/id/id.h"

/* A relation that can be read from and is not temporary. */
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

pg_noreturn static void
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

	if (OidIsValid(get_element_type(type)))
		reject_type(relation, column, type, what, "Ids must not be arrays: lists of them are.");
	if (!OidIsValid(entry->eq_opr) || !OidIsValid(entry->cmp_proc) || !OidIsValid(entry->hash_proc))
		reject_type(relation, column, type, what,
					"Ids need a type with a default order (btree) and a default hash function.");
	return type;
}

/* Each column of a list, by a rule for its type. */
static void
check_list(Oid relation, ArrayType *columns, const FmoeColumnRule *rule, int max)
{
	Datum	   *names;
	bool	   *nulls;
	int			count;
	int			i;
	int			j;

	deconstruct_array(columns, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &names, &nulls, &count);
	if (count > max)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s must not hold more than %d columns", rule->parameter, max)));
	for (i = 0; i < count; i++)
	{
		const char *column;
		Oid			type;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not hold nulls", rule->parameter)));
		column = NameStr(*DatumGetName(names[i]));
		for (j = 0; j < i; j++)
			if (strcmp(column, NameStr(*DatumGetName(names[j]))) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("%s holds column \"%s\" twice", rule->parameter, column)));
		type = check_column(relation, column);
		if (!rule->fits(type))
			reject_type(relation, column, type, rule->what, rule->detail);
	}
}

void
fmoe_check_interactions(FmoeDomain *d)
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
					"Times are timestamps, dates, or numbers.");
	if (d->time_unit != FMOE_UNIT_UNSAID && !fmoe_is_number(type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of relation \"%s\" has type %s and needs no time_unit", d->time_column,
						get_rel_name(d->interactions), format_type_be(type)),
				 errdetail("A unit is what numbers count since 1970.")));
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
	{
		const FmoeColumnRule *rule = &fmoe_column_rules[i];

		if (d->optional[i].name == NULL)
			continue;
		type = check_column(d->interactions, d->optional[i].name);
		if (!rule->fits(type))
			reject_type(d->interactions, d->optional[i].name, type, rule->what, rule->detail);
	}
}

void
fmoe_domain_set_source(FmoeDomain *domain, const char *column)
{
	const FmoeColumnRule *rule = &fmoe_column_rules[FMOE_BASKET_COLUMN];

	domain->source.type = check_column(domain->interactions, column);
	if (!rule->fits(domain->source.type))
		reject_type(domain->interactions, column, domain->source.type, "a source", rule->detail);
	(void) fmoe_column_type(domain->interactions, column, &domain->source.collation);
	domain->source.name = pstrdup(column);
}

static bool
is_empty(ArrayType *array)
{
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) == 0;
}

/* Whether an index of all rows begins with a column. */
static bool
is_indexed(Oid table, const char *column)
{
	Relation	relation = table_open(table, AccessShareLock);
	List	   *indexes = RelationGetIndexList(relation);
	AttrNumber	number = get_attnum(table, column);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indkey.values[0] == number && index->rd_index->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			found = true;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	table_close(relation, AccessShareLock);
	return found;
}

/* Says so where single rows are looked for and each time all are read. */
static void
announce_no_index(Oid table, const char *key, const char *what)
{
	char		kind = get_rel_relkind(table);

	if ((kind != RELKIND_RELATION && kind != RELKIND_MATVIEW && kind != RELKIND_PARTITIONED_TABLE) ||
		is_indexed(table, key))
		return;
	ereport(NOTICE,
			(errmsg("the %s table \"%s\" has no index on its key \"%s\"", what, get_rel_name(table), key),
			 errdetail("Rows of single %ss are looked for by it, and without an index all are read.", what),
			 errhint("CREATE INDEX ON %s (%s);",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), get_rel_name(table)),
					 quote_identifier(key))));
}

/* The table that says what items or users are, and its key, which compares with ids of that type. */
static void
check_described(Oid table, const char *key, const char *what, Oid id_type)
{
	Operator	equal;
	Oid			type;

	check_relation(table, what);
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s %s table is given, but not its key", what[0] == 'i' ? "an" : "a", what),
				 errhint("Give the parameter %s_key: the column that holds the %s ids.", what, what)));
	type = check_id_column(table, key, psprintf("%s %s id", what[0] == 'i' ? "an" : "a", what));
	equal = oper(NULL, list_make1(makeString("=")), id_type, type, true, -1);
	if (equal == NULL)
		reject_type(table, key, type, psprintf("the key of the %s table", what),
					psprintf("%s ids have type %s.", what[0] == 'i' ? "Item" : "User", format_type_be(id_type)));
	ReleaseSysCache(equal);
	announce_no_index(table, key, what);
}

/* Error: columns of a table are given, but not the table. */
pg_noreturn static void
reject_no_table(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("columns of %s %s table are given, but no %s table", what[0] == 'i' ? "an" : "a", what, what),
			 errhint("Give the parameter %ss.", what)));
	pg_unreachable();
}

void
fmoe_check_items(const FmoeRegistration *r)
{
	Oid			type;

	if (!OidIsValid(r->base.items))
	{
		if (r->base.item_key != NULL || r->base.available_column != NULL || r->price_column != NULL ||
			!is_empty(r->text_columns) ||
			!is_empty(r->category_columns) || !is_empty(r->vector_columns))
			reject_no_table("item");
		return;
	}
	check_described(r->base.items, r->base.item_key, "item", r->base.item_type);
	check_list(r->base.items, r->text_columns, &fmoe_item_rules[FMOE_TEXT], FMOE_TEXT_COLUMNS_MAX);
	check_list(r->base.items, r->category_columns, &fmoe_item_rules[FMOE_CATEGORY], FMOE_CATEGORY_COLUMNS_MAX);
	check_list(r->base.items, r->vector_columns, &fmoe_item_rules[FMOE_VECTOR], FMOE_VECTOR_COLUMNS_MAX);
	if (r->price_column != NULL)
	{
		type = check_column(r->base.items, r->price_column);
		if (!fmoe_item_rules[FMOE_PRICE].fits(type))
			reject_type(r->base.items, r->price_column, type, fmoe_item_rules[FMOE_PRICE].what,
						fmoe_item_rules[FMOE_PRICE].detail);
	}
	if (r->base.available_column != NULL)
	{
		type = check_column(r->base.items, r->base.available_column);
		if (type != BOOLOID)
			reject_type(r->base.items, r->base.available_column, type, "what says whether an item is available",
						"It is a boolean: items for which it is not true are not recommended.");
	}
}

void
fmoe_check_users(const FmoeRegistration *r)
{
	if (!OidIsValid(r->base.users))
	{
		if (r->base.user_key != NULL || !is_empty(r->user_category_columns))
			reject_no_table("user");
		return;
	}
	check_described(r->base.users, r->base.user_key, "user", r->base.user_type);
	check_list(r->base.users, r->user_category_columns, &fmoe_user_rule, FMOE_CATEGORY_COLUMNS_MAX);
}

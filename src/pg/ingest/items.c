/*
 * items.c
 *	  Which items may be recommended: those of the domain's item table that are
 *	  available and, where a filter is given, satisfy it.
 *
 * The item table is read as fmoe_domain_reader says, and a filter is evaluated
 * as the caller.  A row that is gone, or that row-level security hides, is no item.
 */
#include "postgres.h"

#include "access/table.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "pg/ingest/ingest_private.h"

char *
fmoe_item_relation(const FmoeDomain *domain)
{
	char	   *name = get_rel_name(domain->items);
	char	   *schema = name == NULL ? NULL : get_namespace_name(get_rel_namespace(domain->items));

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the %s table of domain \"%s\" no longer exists", fmoe_described(domain), domain->name),
				 errhint("%s", fmoe_described_hint(domain))));
	return quote_qualified_identifier(schema, name);
}

Oid
fmoe_item_column_type(const FmoeDomain *domain, const char *column)
{
	Oid			type = fmoe_column_type(domain->items, column, NULL);

	if (!OidIsValid(type))
	{
		(void) fmoe_item_relation(domain);
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the %s table of domain \"%s\" has no column \"%s\" any more", fmoe_described(domain),
						domain->name, column),
				 errhint("%s", fmoe_described_hint(domain))));
	}
	return type;
}

/*
 * "SELECT key, available FROM items WHERE": what follows is the whole condition,
 * so that a filter can be compared with what the parser makes of it.
 */
static char *
items_query(const FmoeDomain *domain, const char *relation)
{
	const char *available = "true";

	if (domain->available_column != NULL)
	{
		if (fmoe_item_column_type(domain, domain->available_column) != BOOLOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of the item table of domain \"%s\" is no boolean any more",
							domain->available_column, domain->name),
					 errhint("%s", fmoe_described_hint(domain))));
		available = pstrdup(quote_identifier(domain->available_column));
	}
	return psprintf("SELECT %s, %s FROM %s WHERE", quote_identifier(domain->item_key), available, relation);
}

static char *
lookup_query(const FmoeDomain *domain)
{
	Oid			type = fmoe_item_column_type(domain, domain->item_key);
	char	   *sql = items_query(domain, fmoe_item_relation(domain));

	return psprintf("%s %s %s ANY ($1)", sql, quote_identifier(domain->item_key),
					fmoe_operator_name(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr));
}

/* ---------------------------------------------------------------- rows */

void
fmoe_item_key(FmoeItemKey *key, const FmoeDomain *domain)
{
	key->key_type = fmoe_item_column_type(domain, domain->item_key);
	key->item_type = domain->item_type;
	key->converter = fmoe_converter(key->key_type, key->item_type);
}

bool
fmoe_item_of_key(const FmoeItemKey *key, Datum value, Datum *item)
{
	/* an integer that ids cannot be is the key of no item that was chosen */
	if (fmoe_is_integer(key->key_type) && fmoe_is_integer(key->item_type) &&
		!fmoe_integer_fits(key->item_type, fmoe_integer_of(key->key_type, value)))
		return false;
	*item = fmoe_convert(key->converter, value);
	if (get_typlen(key->item_type) == -1)
		*item = PointerGetDatum(PG_DETOAST_DATUM(*item));
	return true;
}

typedef struct ItemsReceiver
{
	DestReceiver receiver;
	FmoeItemKey key;
	MemoryContext row;			/* of what one row takes */
	FmoeTakeItem take;
	void	   *argument;
} ItemsReceiver;

static bool
items_row(TupleTableSlot *slot, DestReceiver *self)
{
	ItemsReceiver *items = (ItemsReceiver *) self;
	MemoryContext old;
	bool		isnull;
	bool		available_null;
	Datum		key = slot_getattr(slot, 1, &isnull);
	Datum		available = slot_getattr(slot, 2, &available_null);

	if (isnull || available_null || !DatumGetBool(available))
		return true;
	MemoryContextReset(items->row);
	old = MemoryContextSwitchTo(items->row);
	if (fmoe_item_of_key(&items->key, key, &key))
		items->take(items->argument, key);
	MemoryContextSwitchTo(old);
	return true;
}

static void
items_receiver(ItemsReceiver *items, const FmoeDomain *domain, FmoeTakeItem take, void *argument)
{
	*items = (ItemsReceiver)
	{
		.row = AllocSetContextCreate(CurrentMemoryContext, "fmoe item", ALLOCSET_SMALL_SIZES),
			.take = take,
			.argument = argument
		};
	fmoe_item_key(&items->key, domain);
	fmoe_receiver_init(&items->receiver, items_row);
}

static void
run(const char *sql, DestReceiver *receiver)
{
	SPIExecuteOptions options = {.read_only = true, .dest = receiver};
	int			result = SPI_execute_extended(sql, &options);

	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read the item table: %s", SPI_result_code_string(result));
}

/* The columns that a role may read: as they are selected, and in list their names. */
static TupleDesc
readable_columns(Oid relation, Oid reader, StringInfo list)
{
	Relation	table = table_open(relation, AccessShareLock);
	TupleDesc	shape = RelationGetDescr(table);
	bool		all = pg_class_aclcheck(relation, reader, ACL_SELECT) == ACLCHECK_OK;
	int		   *number = palloc(sizeof(int) * (shape->natts + 1));
	int			n = 0;
	TupleDesc	readable;

	for (int i = 1; i <= shape->natts; i++)
		if (!TupleDescAttr(shape, i - 1)->attisdropped &&
			(all || pg_attribute_aclcheck(relation, i, reader, ACL_SELECT) == ACLCHECK_OK))
			number[n++] = i;
	readable = CreateTemplateTupleDesc(n);
	for (int i = 0; i < n; i++)
	{
		const char *name = NameStr(TupleDescAttr(shape, number[i] - 1)->attname);

		TupleDescCopyEntry(readable, i + 1, shape, number[i]);
		appendStringInfo(list, "%s%s", i > 0 ? ", " : "", quote_identifier(name));
	}
	table_close(table, NoLock);
	return readable;
}

/*
 * The filter is the caller's, and never evaluated with another role's rights,
 * nor is the table read with his where fmoe_domain_reader says otherwise.  Then
 * its rows are read first, and stand under the table's name in the query that
 * has the filter.
 */
static void
read_filtered(const FmoeDomain *domain, Oid reader, const char *filter, DestReceiver *receiver)
{
	const char *name = get_rel_name(domain->items);
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *store = CreateTuplestoreDestReceiver();
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	QueryEnvironment *environment = create_queryEnv();
	StringInfoData list;
	FmoeReading reading;

	initStringInfo(&list);
	relation->md.tupdesc = readable_columns(domain->items, reader, &list);
	SetTuplestoreDestReceiverParams(store, rows, CurrentMemoryContext, true, NULL, NULL);
	fmoe_read_as(&reading, reader);
	run(psprintf("SELECT %s FROM %s", list.data, fmoe_item_relation(domain)), store);
	fmoe_read_end(&reading);

	relation->md.name = pstrdup(name);
	relation->md.reliddesc = InvalidOid;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = tuplestore_tuple_count(rows);
	relation->reldata = rows;
	register_ENR(environment, relation);
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not name the rows of the item table");
	run(fmoe_filtered_query(items_query(domain, quote_identifier(name)), filter, environment), receiver);
	tuplestore_end(rows);
}

void
fmoe_read_items(const FmoeDomain *domain, const char *filter, FmoeTakeItem take, void *argument)
{
	Oid			reader = fmoe_domain_reader(domain, domain->items);
	char	   *sql = items_query(domain, fmoe_item_relation(domain));
	ItemsReceiver items;
	FmoeReading reading;

	items_receiver(&items, domain, take, argument);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (filter == NULL)
	{
		fmoe_read_as(&reading, reader);
		run(psprintf("%s true", sql), &items.receiver);
		fmoe_read_end(&reading);
	}
	else if (reader == GetUserId())
		run(fmoe_filtered_query(sql, filter, NULL), &items.receiver);
	else
		read_filtered(domain, reader, filter, &items.receiver);
	SPI_finish();
	MemoryContextDelete(items.row);
}

ArrayType *
fmoe_item_keys(const FmoeDomain *domain, Oid key_type, int n, const Datum *id)
{
	FmoeConverter *converter = fmoe_converter(domain->item_type, key_type);
	Datum	   *key = palloc(Max(n, 1) * sizeof(Datum));
	int			keys = 0;
	int16		length;
	bool		by_value;
	char		alignment;

	for (int i = 0; i < n; i++)
		if (!fmoe_is_integer(domain->item_type) || !fmoe_is_integer(key_type) ||
			fmoe_integer_fits(key_type, fmoe_integer_of(domain->item_type, id[i])))
			key[keys++] = fmoe_convert(converter, id[i]);
	get_typlenbyvalalign(key_type, &length, &by_value, &alignment);
	return construct_array(key, keys, key_type, length, by_value, alignment);
}

void
fmoe_look_items_up(const FmoeDomain *domain, int n, const Datum *id, FmoeTakeItem take, void *argument)
{
	Oid			key_type = fmoe_item_column_type(domain, domain->item_key);
	ItemsReceiver items;

	items_receiver(&items, domain, take, argument);
	fmoe_execute_kept(domain, FMOE_QUERY_ITEMS, lookup_query, get_array_type(key_type),
					  PointerGetDatum(fmoe_item_keys(domain, key_type, n, id)), &items.receiver);
	MemoryContextDelete(items.row);
}

/*
 * user_features.c
 *	  What the user table says of some users, for a call that asks for them: as the
 *	  whole table is read (catalogue.c), but through a plan that is kept.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "pg/ingest/ingest_private.h"

typedef struct UserReceiver
{
	DestReceiver receiver;
	FmoeCatalogue *catalogue;
} UserReceiver;

static bool
user_row(TupleTableSlot *slot, DestReceiver *self)
{
	FmoeCatalogue *catalogue = ((UserReceiver *) self)->catalogue;
	MemoryContext old = MemoryContextSwitchTo(catalogue->row);

	slot_getallattrs(slot);
	fmoe_catalogue_take(catalogue, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	MemoryContextReset(catalogue->row);
	return true;
}

/* The query of the rows of some users, of a domain that fmoe_users_as_items made. */
static char *
user_query(const FmoeDomain *domain)
{
	char	   *sql = fmoe_catalogue_query(domain, FMOE_READS_CATEGORIES);
	Oid			type = fmoe_item_column_type(domain, domain->item_key);

	return psprintf("%s WHERE %s %s ANY ($1)", sql, quote_identifier(domain->item_key),
					fmoe_operator_name(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr));
}

void
fmoe_read_user_features(const FmoeDomain *domain, int n, const Datum *user, const FmoeFeatures *like,
						FmoeFeatures *features, int32 *row)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "fmoe user", ALLOCSET_SMALL_SIZES);
	FmoeDomain	users = fmoe_users_as_items(domain);
	UserReceiver receiver;
	FmoeVocabulary *ids;
	char	   *sql;
	Oid			key_type;
	int32	   *same;

	MemoryContextSwitchTo(scratch);
	ids = fmoe_idset_create(users.item_type, users.item_collation);
	for (int i = 0; i < n; i++)
		row[i] = fmoe_idset_add(ids, get_typlen(users.item_type) == -1 ? PointerGetDatum(PG_DETOAST_DATUM(user[i]))
								: user[i]);
	same = palloc(sizeof(int32) * Max(n, 1));
	for (int i = 0; i < n; i++)
		same[i] = i;
	receiver.catalogue = fmoe_catalogue_open(&users, FMOE_READS_CATEGORIES, ids, context, &sql);
	fmoe_receiver_init(&receiver.receiver, user_row);
	key_type = fmoe_item_column_type(&users, users.item_key);
	fmoe_execute_kept(&users, FMOE_QUERY_USERS, user_query, get_array_type(key_type),
					  PointerGetDatum(fmoe_item_keys(&users, key_type, n, user)), &receiver.receiver);
	MemoryContextSwitchTo(context);
	fmoe_catalogue_features(receiver.catalogue, features, fmoe_vocabulary_count(ids), same, like);
	MemoryContextDelete(scratch);
}

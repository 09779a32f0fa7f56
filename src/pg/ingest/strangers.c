/*
 * strangers.c
 *	  What the item table says of some items that a version does not know, as features
 *	  like those of the version.
 *
 * It is read as fmoe_domain_reader says.  What cannot be read any more, because a column
 * is gone, has another type or is not for the reader, is unknown: whoever recommends
 * has not asked for it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "pg/ingest/ingest_private.h"

typedef struct StrangersReceiver
{
	DestReceiver receiver;
	FmoeCatalogue *catalogue;
	int32		n;				/* that are asked for */
	FmoeTold   *told;
} StrangersReceiver;

static bool
strangers_row(TupleTableSlot *slot, DestReceiver *self)
{
	StrangersReceiver *strangers = (StrangersReceiver *) self;
	FmoeCatalogue *catalogue = strangers->catalogue;
	FmoeTold   *told = strangers->told;
	int			last = catalogue->n + 1;
	MemoryContext old = MemoryContextSwitchTo(catalogue->row);

	slot_getallattrs(slot);
	fmoe_catalogue_take(catalogue, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	MemoryContextReset(catalogue->row);
	if (catalogue->item >= 0 && catalogue->item < strangers->n)
	{
		told->known[catalogue->item] = true;
		told->available[catalogue->item] |= !slot->tts_isnull[last] && DatumGetBool(slot->tts_values[last]);
	}
	return true;
}

/* The rows of the keys in $1: key, columns, and whether it is available. */
static char *
strangers_query(FmoeCatalogue *catalogue)
{
	const FmoeDomain *domain = catalogue->domain;
	Oid			type = fmoe_item_column_type(domain, domain->item_key);
	const char *available = "true";
	StringInfoData sql;

	if (domain->available_column != NULL &&
		fmoe_item_column_type(domain, domain->available_column) == BOOLOID)
		available = quote_identifier(domain->available_column);
	initStringInfo(&sql);
	fmoe_catalogue_select(catalogue, &sql);
	appendStringInfo(&sql, ", %s FROM %s WHERE %s %s ANY ($1)", available, fmoe_item_relation(domain),
					 quote_identifier(domain->item_key),
					 fmoe_operator_name(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr));
	return sql.data;
}

static void
run_query(FmoeCatalogue *catalogue, Oid reader, const char *sql, StrangersReceiver *receiver)
{
	const FmoeDomain *domain = catalogue->domain;
	Oid			key_type = fmoe_item_column_type(domain, domain->item_key);
	ParamListInfo parameters = makeParamList(1);
	SPIExecuteOptions options = {.params = parameters, .read_only = true, .dest = &receiver->receiver};
	Datum	   *id = palloc(sizeof(Datum) * Max(receiver->n, 1));
	FmoeReading reading;

	for (int32 i = 0; i < receiver->n; i++)
		id[i] = fmoe_vocabulary_id(catalogue->items, i);
	parameters->params[0].value = PointerGetDatum(fmoe_item_keys(domain, key_type, receiver->n, id));
	parameters->params[0].isnull = false;
	parameters->params[0].pflags = PARAM_FLAG_CONST;
	parameters->params[0].ptype = get_array_type(key_type);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fmoe_read_as(&reading, reader);
	if (SPI_execute_extended(sql, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not read the item table");
	fmoe_read_end(&reading);
	SPI_finish();
}

/* Whether anything is known of an item but that there is such a row. */
static bool
says_something(const FmoeFeatures *features, int32 item)
{
	for (int i = 0; i < features->count; i++)
	{
		const FmoeFeature *feature = &features->feature[i];

		if (feature->value != NULL ? !isnan(feature->value[(int64) item * feature->width])
			: feature->offset[item + 1] > feature->offset[item])
			return true;
	}
	return false;
}

void
fmoe_read_strangers(FmoeTold *told, const FmoeDomain *domain, unsigned reads, FmoeVocabulary *ids,
					const FmoeFeatures *among)
{
	int32		n = fmoe_vocabulary_count(ids);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "fmoe strangers", ALLOCSET_DEFAULT_SIZES);
	Oid			reader = fmoe_domain_reader(domain, domain->items);
	int32	   *same = palloc(sizeof(int32) * Max(n, 1));
	StrangersReceiver receiver = {.n = n, .told = told};
	FmoeCatalogue *catalogue;

	told->known = palloc0(sizeof(bool) * Max(n, 1));
	told->available = palloc0(sizeof(bool) * Max(n, 1));
	for (int32 i = 0; i < n; i++)
		same[i] = i;
	MemoryContextSwitchTo(scratch);
	catalogue = fmoe_catalogue_begin(domain, reads, ids, context, among, reader);
	receiver.catalogue = catalogue;
	fmoe_receiver_init(&receiver.receiver, strangers_row);
	run_query(catalogue, reader, strangers_query(catalogue), &receiver);
	fmoe_catalogue_features(catalogue, &told->features, n, same, among);
	for (int32 i = 0; i < n; i++)
		told->known[i] = told->known[i] && says_something(&told->features, i);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
}

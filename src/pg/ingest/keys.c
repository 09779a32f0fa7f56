/*
 * keys.c
 *	  The columns order_column and basket_column, as numbers that events are sorted by,
 *	  and a column that says where they come from.
 *
 * Their values have any type.  They are numbered as they come, and ranked when
 * all are there, so a history sorts the same alone and in the whole table.
 *
 * Which of two baskets of one time came first is not known, so a hash decides.
 * It is one of the user as well: names such as 1, 2, 3 that every user has would
 * otherwise stand in one order for all.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "pg/ingest/ingest_private.h"

struct FmoeKeys
{
	Oid			user_type;
	Oid			user_collation;
	FmoeVocabulary *order;		/* value sets; NULL: no such column */
	FmoeVocabulary *basket;
	FmoeVocabulary *source;
};

static FmoeVocabulary *
values_of(const FmoeColumn *column)
{
	return column->name == NULL ? NULL : fmoe_valueset_create(column->type, column->collation);
}

FmoeKeys *
fmoe_keys_create(const FmoeDomain *domain)
{
	const FmoeColumn *order = &domain->optional[FMOE_ORDER_COLUMN];
	const FmoeColumn *basket = &domain->optional[FMOE_BASKET_COLUMN];
	FmoeKeys   *keys;

	if (order->name == NULL && basket->name == NULL && domain->source.name == NULL)
		return NULL;
	keys = palloc0(sizeof(FmoeKeys));
	keys->user_type = domain->user_type;
	(void) fmoe_column_type(domain->interactions, domain->user_column, &keys->user_collation);
	keys->order = values_of(order);
	keys->basket = values_of(basket);
	keys->source = values_of(&domain->source);
	return keys;
}

bool
fmoe_keys_take(FmoeKeys *keys, FmoeRow *row)
{
	FmoeEvent  *event = &row->event;

	if (keys == NULL)
		return event->item >= 0;
	/* neither is 0, which needs no column */
	if (keys->order != NULL)
		event->order = row->ordered ? fmoe_idset_add(keys->order, row->order) + 1 : -1;
	if (keys->basket != NULL)
	{
		event->named = row->named ? fmoe_idset_add(keys->basket, row->basket) + 1 : 0;
		event->tie = fmoe_id_hash(keys->user_type, keys->user_collation, row->user) | 1;
	}
	if (keys->source != NULL)
		event->source = row->sourced ? fmoe_idset_add(keys->source, row->source) + 1 : 0;
	return event->item >= 0 || event->named > 0;
}

static void
settle_order(const FmoeVocabulary *order, int32 *of_event, int64 n)
{
	int32	   *rank = fmoe_valueset_ranks(order);

	/* null is after all others, as PostgreSQL sorts it */
	for (int64 i = 0; i < n; i++)
		of_event[i] = of_event[i] < 0 ? PG_INT32_MAX : rank[of_event[i] - 1];
	pfree(rank);
}

/* Hashes by rank.  Where the type has no hash function equal values may have several: the least is taken. */
static uint32 *
hashes_of_ranks(const FmoeVocabulary *basket, const int32 *rank)
{
	int32		count = fmoe_vocabulary_count(basket);
	uint32	   *hash = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(uint32) * Max(count, 1));

	memset(hash, 0xff, sizeof(uint32) * count);
	for (int32 i = 0; i < count; i++)
		hash[rank[i]] = Min(hash[rank[i]], fmoe_valueset_hash(basket, i));
	return hash;
}

static void
settle_names(const FmoeVocabulary *basket, int32 *named, uint32 *tie, int64 n)
{
	int32	   *rank = fmoe_valueset_ranks(basket);
	uint32	   *hash = hashes_of_ranks(basket, rank);

	for (int64 i = 0; i < n; i++)
		if (named[i] > 0)
		{
			named[i] = rank[named[i] - 1] + 1;
			tie[i] = hash_combine(tie[i], hash[named[i] - 1]);
		}
	pfree(hash);
	pfree(rank);
}

static void
settle_sources(const FmoeVocabulary *source, int32 *of_event, int64 n)
{
	int32	   *rank = fmoe_valueset_ranks(source);

	for (int64 i = 0; i < n; i++)
		of_event[i] = of_event[i] > 0 ? rank[of_event[i] - 1] + 1 : 0;
	pfree(rank);
}

void
fmoe_keys_settle(const FmoeKeys *keys, const FmoeEvents *events, int64 n)
{
	if (keys != NULL && events->order != NULL)
		settle_order(keys->order, unconstify(int32 *, events->order), n);
	if (keys != NULL && events->named != NULL)
		settle_names(keys->basket, unconstify(int32 *, events->named), unconstify(uint32 *, events->tie), n);
	if (keys != NULL && events->source != NULL)
		settle_sources(keys->source, unconstify(int32 *, events->source), n);
}

Size
fmoe_keys_bytes(const FmoeKeys *keys)
{
	Size		bytes = 0;

	/* what ranking takes is less than what sorting takes later */
	if (keys != NULL && keys->order != NULL)
		bytes += fmoe_idset_bytes(keys->order);
	if (keys != NULL && keys->basket != NULL)
		bytes += fmoe_idset_bytes(keys->basket);
	if (keys != NULL && keys->source != NULL)
		bytes += fmoe_idset_bytes(keys->source);
	return bytes;
}

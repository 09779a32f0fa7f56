/*
 * table.c
 *	  Reads a whole table of interactions, for training and evaluation.
 *
 * Rows come through a cursor, in no order.  Users and items are numbered as
 * they appear; at the end numbers are sorted, which is much cheaper than having
 * the server sort wide rows.  The result depends only on the set of rows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/ingest/ingest_private.h"

#define ROWS_A_FETCH 10000
#define POLL_EVERY 65536		/* ids */
#define COLUMNS_MAX 16			/* of the query */

/* Events as they come, and whose they are. */
typedef struct Rows
{
	FmoeCollected events;
	int64	   *user;			/* [events.capacity] */
	FmoeVocabulary *users;		/* id set; NULL: there are no such rows */
	FmoeVocabulary *items;		/* id set; NULL: items have a given vocabulary's indexes */
} Rows;

/* The table as it comes. */
typedef struct Raw
{
	Rows		chosen;
	Rows		shown;			/* and not chosen; its ids alone make nobody a user, and nothing an item */
	bool		labels;			/* what was not chosen is among the chosen, with its label */
	FmoeKeys   *keys;			/* of both */
	int64		left_out[FMOE_LEFT_REASONS];
	int64		odd_labels[2];
	int64		future;
	double		tomorrow;		/* as times of events are */
	double		last_event;
} Raw;

/* Largest number of bytes that capacity rows, with the ids seen so far, need to become a dataset. */
static size_t
rows_bytes(const Rows *rows, int64 capacity)
{
	const FmoeEvents *columns = rows->events.memory != NULL ? &rows->events.events : &fmoe_read_columns;
	/* as they come, the places that are sorted, sorted, and the baskets */
	size_t		each = sizeof(int64) + 2 * fmoe_event_bytes(columns) + FMOE_SORT_BYTES + sizeof(int32);

	if (rows->users == NULL)
		return 0;
	return each * (size_t) capacity + fmoe_idset_bytes(rows->users) +
		(rows->items != NULL ? fmoe_idset_bytes(rows->items) : 0);
}

static int64
capacity_for(int64 rows)
{
	int64		capacity = 16384;

	while (capacity < rows)
		capacity *= 2;
	return capacity;
}

/* Fails, naming the memory that all rows would need; it counts those that are left. */
static void
refuse(const Raw *raw, const FmoeDomain *domain, Portal portal)
{
	int64		rows = raw->chosen.events.count + SPI_processed;

	SPI_cursor_move(portal, true, LONG_MAX);
	rows += SPI_processed;
	fmoe_check_memory(rows_bytes(&raw->chosen, capacity_for(rows)) +
					  rows_bytes(&raw->shown, raw->shown.events.capacity) + fmoe_keys_bytes(raw->keys),
					  psprintf("reading the " INT64_FORMAT " interactions of domain \"%s\"",
							   rows + raw->shown.events.count, domain->name));
}

/* Makes room for the rows just fetched, which other rows take as many bytes beside. */
static void
grow(Rows *rows, const Rows *others, const Raw *raw, const FmoeDomain *domain, Portal portal)
{
	int64		capacity = capacity_for(rows->events.count + SPI_processed);

	if (rows->events.count + SPI_processed <= rows->events.capacity)
		return;
	if (rows_bytes(rows, capacity) + rows_bytes(others, others->events.capacity) + fmoe_keys_bytes(raw->keys) >
		(size_t) fmoe_max_memory_kb * 1024)
		refuse(raw, domain, portal);
	if (rows->user == NULL)
		rows->user = palloc(sizeof(int64) * capacity);
	else
		rows->user = repalloc_huge(rows->user, sizeof(int64) * capacity);
	fmoe_collect_reserve(&rows->events, capacity);
}

/* Adds a row; false: its item is none of the vocabulary. */
static bool
add_row(Rows *rows, FmoeKeys *keys, const FmoeVocabulary *vocabulary, Datum user, FmoeRow *row)
{
	row->event.item = vocabulary != NULL ? fmoe_vocabulary_find(vocabulary, row->item)
		: fmoe_idset_add(rows->items, row->item);
	if (!fmoe_keys_take(keys, row))
		return false;
	rows->user[rows->events.count] = fmoe_idset_add(rows->users, user);
	fmoe_collect(&rows->events, &row->event);
	return row->event.item >= 0;
}

static void
take_row(Raw *raw, const FmoeDomain *domain, const FmoeVocabulary *vocabulary, HeapTuple tuple, TupleDesc shape)
{
	Datum		value[COLUMNS_MAX];
	bool		isnull[COLUMNS_MAX];
	FmoeRow		row;
	FmoeLeftOut left_out;

	Assert(shape->natts <= COLUMNS_MAX);
	heap_deform_tuple(tuple, shape, value, isnull);
	left_out = isnull[0] ? FMOE_LEFT_NULL : fmoe_row(&row, domain, value[0], value + 1, isnull + 1);
	if (left_out == FMOE_TAKEN)
	{
		raw->odd_labels[row.event.label] += row.odd_label;
		if (row.event.label == 0 && !raw->labels)
			left_out = FMOE_LEFT_SHOWN;
	}
	raw->left_out[left_out]++;
	if (left_out == FMOE_LEFT_SHOWN)
	{
		/* no label is kept of them: they all have the same */
		row.event.label = 1;
		(void) add_row(&raw->shown, raw->keys, vocabulary, value[0], &row);
	}
	if (left_out != FMOE_TAKEN || !add_row(&raw->chosen, raw->keys, vocabulary, value[0], &row))
		return;
	if (row.event.time > raw->tomorrow)
		raw->future++;
	if (!(row.event.time <= raw->last_event))
		raw->last_event = row.event.time;
}

/* Reads all rows.  What grows is allocated in the caller's context, not in SPI's. */
static void
read_rows(Raw *raw, const FmoeDomain *domain, const FmoeVocabulary *vocabulary)
{
	MemoryContext context = CurrentMemoryContext;
	bool		push = !ActiveSnapshotSet();
	FmoeReading reading;
	Portal		portal;

	if (push)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fmoe_read_as(&reading, fmoe_domain_reader(domain, domain->interactions));
	portal = SPI_cursor_open_with_args(NULL, fmoe_table_query(domain), 0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		MemoryContext old;
		uint64		i;

		SPI_cursor_fetch(portal, true, ROWS_A_FETCH);
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(context);
		grow(&raw->chosen, &raw->shown, raw, domain, portal);
		if (raw->shown.users != NULL)
			grow(&raw->shown, &raw->chosen, raw, domain, portal);
		for (i = 0; i < SPI_processed; i++)
			take_row(raw, domain, vocabulary, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	fmoe_read_end(&reading);
	SPI_finish();
	if (push)
		PopActiveSnapshot();
}

static uint64
fingerprint_of_features(uint64 hash, const FmoeFeatures *features, FmoeFeaturesOf of)
{
	FnnArray   *arrays = palloc(sizeof(FnnArray) * FMOE_FEATURE_ARRAYS_MAX);
	int			n = fmoe_features_arrays(features, of, arrays, FMOE_FEATURE_ARRAYS_MAX);

	for (int i = 0; i < n; i++)
	{
		hash = fnn_hash(hash, arrays[i].name, strlen(arrays[i].name));
		hash = fnn_hash(hash, arrays[i].data, arrays[i].bytes);
	}
	pfree(arrays);
	return hash;
}

static uint64
fingerprint(const FmoeInteractions *interactions)
{
	const FmoeDataset *data = &interactions->data;
	FnnArray	arrays[2];
	uint64		hash;
	int			n = fmoe_vocabulary_arrays(interactions->vocabulary, arrays);
	int			i;

	hash = fnn_hash(0, data->offset, sizeof(int64) * (data->n_users + 1));
	hash = fmoe_events_hash(hash, &data->events, data->n_events);
	if (data->shown.count > 0)
	{
		hash = fnn_hash(hash, data->shown.offset, sizeof(int64) * (data->n_users + 1));
		hash = fmoe_events_hash(hash, &data->shown.events, data->shown.count);
	}
	for (i = 0; i < n; i++)
		hash = fnn_hash(hash, arrays[i].data, arrays[i].bytes);
	hash = fingerprint_of_features(hash, data->features, FMOE_OF_ITEMS);
	return fingerprint_of_features(hash, data->user_features, FMOE_OF_USERS);
}

/* Where each id of an id set is in another, or in a vocabulary; -1: nowhere. */
static int32 *
places_in(const FmoeVocabulary *other, const FmoeVocabulary *ids)
{
	int32		n = fmoe_vocabulary_count(ids);
	int32	   *place = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * Max(n, 1));

	for (int32 i = 0; i < n; i++)
	{
		place[i] = fmoe_vocabulary_find(other, fmoe_vocabulary_id(ids, i));
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return place;
}

/* Keeps what was shown of known items to known users, in the numbers that chosen rows have. */
static void
keep_known(Rows *shown, const Rows *chosen)
{
	int32	   *user_of = places_in(chosen->users, shown->users);
	int32	   *item_of = chosen->items != NULL ? places_in(chosen->items, shown->items) : NULL;
	const FmoeEvents *events = &shown->events.events;
	int64		kept = 0;

	for (int64 i = 0; i < shown->events.count; i++)
	{
		int32		user = user_of[shown->user[i]];

		if (user < 0 || events->item[i] < 0 || (item_of != NULL && item_of[events->item[i]] < 0))
			continue;
		shown->user[kept] = user;
		fmoe_events_copy(events, kept++, events, i, 1);
	}
	shown->events.count = kept;
	if (item_of != NULL)
		fmoe_events_renumber(events, kept, item_of);
}

typedef struct BasketKey
{
	int64		user;
	int64		name;			/* as wide as the other, so that there is no padding */
} BasketKey;

typedef struct BasketEntry
{
	BasketKey	key;
	int64		event;			/* chosen in it; -1: none */
} BasketEntry;

/* The entry of the basket that row i is in; NULL: it has no name, or is not there. */
static BasketEntry *
basket_of(HTAB *baskets, const Rows *rows, int64 i, HASHACTION action)
{
	BasketKey	key = {.user = rows->user[i], .name = rows->events.events.named[i]};

	return key.name == 0 ? NULL : hash_search(baskets, &key, action, NULL);
}

/* What was shown in a basket that has a name was so when the basket stands: that is what it was chosen from. */
static void
join_shown(Rows *shown, const Rows *chosen)
{
	HASHCTL		control = {
		.keysize = sizeof(BasketKey),
		.entrysize = sizeof(BasketEntry),
		.hcxt = CurrentMemoryContext
	};
	HTAB	   *baskets = hash_create("fmoe baskets", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	const FmoeEvents exact = {.time_rest = chosen->events.events.time_rest};
	BasketEntry *entry;

	fmoe_collect_columns(&shown->events, fmoe_events_columns(&exact));
	for (int64 i = 0; i < shown->events.count; i++)
		if ((entry = basket_of(baskets, shown, i, HASH_ENTER)) != NULL)
			entry->event = -1;
	for (int64 i = 0; i < chosen->events.count; i++)
		if ((entry = basket_of(baskets, chosen, i, HASH_FIND)) != NULL)
			entry->event = i;
	for (int64 i = 0; i < shown->events.count; i++)
		if ((entry = basket_of(baskets, shown, i, HASH_FIND)) != NULL && entry->event >= 0)
			fmoe_events_move(&shown->events.events, i, &chosen->events.events, entry->event);
	hash_destroy(baskets);
}

/* Replaces numbers by ranks, which do not depend on the order of the rows. */
static void
renumber(Rows *rows, const int32 *rank, const int32 *index_of)
{
	for (int64 i = 0; i < rows->events.count; i++)
		rows->user[i] = rank[rows->user[i]];
	if (index_of != NULL)
		fmoe_events_renumber(&rows->events.events, rows->events.count, index_of);
}

/* The rows as a dataset in the context, items numbered by the vocabulary; index_of: from their numbers to those. */
static void
make_dataset(Raw *raw, FmoeDataset *data, MemoryContext context, int32 n_items, const int32 *index_of)
{
	int32	   *rank = fmoe_idset_ranks(raw->chosen.users);
	const FmoeEvents *chosen = &raw->chosen.events.events;
	FmoeEvents *shown = &raw->shown.events.events;
	MemoryContext scratch = CurrentMemoryContext;

	if (raw->shown.events.count > 0)
		keep_known(&raw->shown, &raw->chosen);
	fmoe_keys_settle(raw->keys, chosen, raw->chosen.events.count);
	fmoe_keys_settle(raw->keys, shown, raw->shown.events.count);
	renumber(&raw->chosen, rank, index_of);
	renumber(&raw->shown, rank, index_of);
	MemoryContextSwitchTo(context);
	fmoe_build_dataset(data, raw->chosen.events.count, fmoe_vocabulary_count(raw->chosen.users), n_items,
					   raw->chosen.user, chosen);
	MemoryContextSwitchTo(scratch);
	if (raw->shown.events.count == 0)
	{
		data->events.order = NULL;
		return;
	}
	if (chosen->named != NULL && shown->named != NULL)
		join_shown(&raw->shown, &raw->chosen);
	shown->named = NULL;
	shown->tie = NULL;
	MemoryContextSwitchTo(context);
	fmoe_add_shown(data, raw->shown.events.count, raw->shown.user, shown);
	MemoryContextSwitchTo(scratch);
}

/* Empty rows. */
static Rows
new_rows(const FmoeDomain *domain, Oid user_collation, bool with_items)
{
	Rows		rows = {.users = fmoe_idset_create(domain->user_type, user_collation)};

	if (with_items)
		rows.items = fmoe_idset_create(domain->item_type, domain->item_collation);
	return rows;
}

/* Reads the item table's features, and adds its items to those that were chosen. */
static FmoeCatalogue *
read_catalogue(const Raw *raw, const FmoeDomain *domain, unsigned reads, MemoryContext result)
{
	size_t		beside = rows_bytes(&raw->chosen, raw->chosen.events.capacity) +
		rows_bytes(&raw->shown, raw->shown.events.capacity) + fmoe_keys_bytes(raw->keys) -
		fmoe_idset_bytes(raw->chosen.items);

	return fmoe_catalogue_read(domain, reads, raw->chosen.items, result, beside);
}

/* The vocabulary of all items, and their features. */
static void
number_items(FmoeInteractions *interactions, const Raw *raw, FmoeCatalogue *catalogue, int32 *index_of,
			 MemoryContext context)
{
	MemoryContext scratch = MemoryContextSwitchTo(context);

	interactions->vocabulary = fmoe_vocabulary_of_idset(raw->chosen.items, index_of);
	MemoryContextSwitchTo(scratch);
	if (catalogue == NULL)
		return;
	fmoe_catalogue_features(catalogue, &interactions->features, fmoe_vocabulary_count(interactions->vocabulary),
							index_of, NULL);
	fmoe_catalogue_tell(catalogue);
}

/* Reads what is known of the users, unless that is nothing, in the numbers that the dataset has them by. */
static void
read_user_features(FmoeInteractions *interactions, const Raw *raw, const FmoeDomain *domain, unsigned reads,
				   const FmoeFeatures *like, MemoryContext context)
{
	FmoeDomain	users = fmoe_users_as_items(domain);
	FmoeVocabulary *ids = raw->chosen.users;
	FmoeCatalogue *catalogue;

	if (!fmoe_has_user_features(domain, reads))
		return;
	catalogue = fmoe_catalogue_read(&users, FMOE_READS_CATEGORIES, ids, context,
									rows_bytes(&raw->chosen, raw->chosen.events.capacity) +
									rows_bytes(&raw->shown, raw->shown.events.capacity) +
									fmoe_keys_bytes(raw->keys) - fmoe_idset_bytes(ids));
	fmoe_catalogue_features(catalogue, &interactions->user_features, fmoe_vocabulary_count(ids),
							fmoe_idset_ranks(ids), like);
	fmoe_catalogue_tell(catalogue);
	if (interactions->user_features.count > 0)
		interactions->data.user_features = &interactions->user_features;
}

/* A vocabulary and features of users to be like, or what reads and begin say of the item table. */
static FmoeInteractions *
read_all(const FmoeDomain *domain, FmoeVocabulary *vocabulary, unsigned reads, const FmoeFeatures *like,
		 void (*begin) (void))
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "fmoe ingest", ALLOCSET_DEFAULT_SIZES);
	FmoeInteractions *interactions = palloc0(sizeof(FmoeInteractions));
	FmoeCatalogue *catalogue = NULL;
	int32	   *index_of = NULL;
	Oid			collation;
	Raw			raw = {0};

	MemoryContextSwitchTo(scratch);
	(void) fmoe_column_type(domain->interactions, domain->user_column, &collation);
	raw.last_event = get_float8_nan();
	raw.tomorrow = fmoe_seconds_of_moment(GetCurrentTimestamp()) + SECS_PER_DAY;
	raw.chosen = new_rows(domain, collation, vocabulary == NULL);
	raw.labels = (reads & FMOE_READS_LABELS) != 0;
	if (domain->optional[FMOE_LABEL_COLUMN].name != NULL && !raw.labels)
		raw.shown = new_rows(domain, collation, vocabulary == NULL);
	raw.keys = fmoe_keys_create(domain);
	read_rows(&raw, domain, vocabulary);
	if (vocabulary == NULL && fmoe_has_features(domain, reads))
	{
		if (begin != NULL)
			begin();
		catalogue = read_catalogue(&raw, domain, reads, context);
	}
	interactions->vocabulary = vocabulary;
	if (vocabulary == NULL)
	{
		index_of = MemoryContextAllocHuge(scratch, sizeof(int32) *
										  Max(fmoe_vocabulary_count(raw.chosen.items), 1));
		number_items(interactions, &raw, catalogue, index_of, context);
	}
	make_dataset(&raw, &interactions->data, context, fmoe_vocabulary_count(interactions->vocabulary), index_of);
	MemoryContextSwitchTo(context);
	memcpy(interactions->left_out, raw.left_out, sizeof(raw.left_out));
	memcpy(interactions->odd_labels, raw.odd_labels, sizeof(raw.odd_labels));
	if (interactions->features.count > 0)
		interactions->data.features = &interactions->features;
	interactions->last_event = raw.last_event;
	interactions->future = raw.future;

	if (raw.labels)
		interactions->users = fmoe_vocabulary_of_idset(raw.chosen.users,
													   MemoryContextAllocHuge(scratch, sizeof(int32) *
																			  Max(interactions->data.n_users, 1)));
	MemoryContextSwitchTo(scratch);
	read_user_features(interactions, &raw, domain, reads, like, context);
	interactions->fingerprint = fingerprint(interactions);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
	return interactions;
}

FmoeInteractions *
fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary)
{
	return read_all(domain, vocabulary, 0, NULL, NULL);
}

FmoeInteractions *
fmoe_read_domain(const FmoeDomain *domain, unsigned reads, void (*begin) (void))
{
	return read_all(domain, NULL, reads, NULL, begin);
}

FmoeInteractions *
fmoe_read_for(const FmoeDomain *domain, FmoeVocabulary *vocabulary, unsigned reads, const FmoeFeatures *users)
{
	return read_all(domain, vocabulary, reads, users, NULL);
}

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
#define COLUMNS_MAX 16			/* of the query */

/* Rows as they come. */
typedef struct Raw
{
	FmoeCollected rows;
	int64	   *user;			/* [rows.capacity] */
	int64		left_out[FMOE_LEFT_REASONS];
	int64		odd_labels[2];
	int64		future;
	double		tomorrow;		/* as times of events are */
	double		last_event;
	FmoeVocabulary *users;		/* id set */
	FmoeVocabulary *items;		/* id set; NULL: items have a given vocabulary's indexes */
} Raw;

/* Largest number of bytes that capacity rows, with the ids seen so far, need to become a dataset. */
static size_t
raw_bytes(const Raw *raw, int64 capacity)
{
	const FmoeEvents *columns = raw->rows.memory != NULL ? &raw->rows.events : &fmoe_read_columns;
	/* as they come, the places that are sorted, sorted, and the baskets */
	size_t		each = sizeof(int64) + 2 * fmoe_event_bytes(columns) + FMOE_SORT_BYTES + sizeof(int32);

	return each * (size_t) capacity + fmoe_idset_bytes(raw->users) +
		(raw->items != NULL ? fmoe_idset_bytes(raw->items) : 0);
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
	int64		rows = raw->rows.count + SPI_processed;

	SPI_cursor_move(portal, true, LONG_MAX);
	rows += SPI_processed;
	fmoe_check_memory(raw_bytes(raw, capacity_for(rows)),
					  psprintf("reading the " INT64_FORMAT " interactions of domain \"%s\"", rows, domain->name));
}

/* Makes room for the rows just fetched. */
static void
grow(Raw *raw, const FmoeDomain *domain, Portal portal)
{
	int64		capacity = capacity_for(raw->rows.count + SPI_processed);

	if (raw_bytes(raw, capacity) > (size_t) fmoe_max_memory_kb * 1024)
		refuse(raw, domain, portal);
	if (raw->user == NULL)
		raw->user = palloc(sizeof(int64) * capacity);
	else
		raw->user = repalloc_huge(raw->user, sizeof(int64) * capacity);
	fmoe_collect_reserve(&raw->rows, capacity);
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
	left_out = isnull[0] ? FMOE_LEFT_NULL : fmoe_row(&row, domain, value + 1, isnull + 1);
	if (left_out == FMOE_TAKEN)
	{
		raw->odd_labels[row.event.label] += row.odd_label;
		if (row.event.label == 0)
			left_out = FMOE_LEFT_SHOWN;
	}
	raw->left_out[left_out]++;
	if (left_out != FMOE_TAKEN)
		return;
	row.event.item = vocabulary != NULL ? fmoe_vocabulary_find(vocabulary, row.item)
		: fmoe_idset_add(raw->items, row.item);
	if (row.event.item < 0)
		return;
	raw->user[raw->rows.count] = fmoe_idset_add(raw->users, value[0]);
	fmoe_collect(&raw->rows, &row.event);
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
	Portal		portal;

	if (push)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_open_with_args(NULL, fmoe_table_query(domain), 0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		MemoryContext old;
		uint64		i;

		SPI_cursor_fetch(portal, true, ROWS_A_FETCH);
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(context);
		if (raw->rows.count + SPI_processed > raw->rows.capacity)
			grow(raw, domain, portal);
		for (i = 0; i < SPI_processed; i++)
			take_row(raw, domain, vocabulary, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	SPI_finish();
	if (push)
		PopActiveSnapshot();
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
	for (i = 0; i < n; i++)
		hash = fnn_hash(hash, arrays[i].data, arrays[i].bytes);
	return hash;
}

/* Replaces numbers by ranks, which do not depend on the order of the rows. */
static void
renumber(Raw *raw, const int32 *index_of)
{
	int32	   *rank = fmoe_idset_ranks(raw->users);
	int64		i;

	for (i = 0; i < raw->rows.count; i++)
		raw->user[i] = rank[raw->user[i]];
	if (index_of != NULL)
		fmoe_events_renumber(&raw->rows.events, raw->rows.count, index_of);
	pfree(rank);
}

FmoeInteractions *
fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "fmoe ingest", ALLOCSET_DEFAULT_SIZES);
	FmoeInteractions *interactions = palloc0(sizeof(FmoeInteractions));
	int32	   *index_of = NULL;
	Oid			collation;
	Raw			raw = {0};

	MemoryContextSwitchTo(scratch);
	(void) fmoe_column_type(domain->interactions, domain->user_column, &collation);
	raw.last_event = get_float8_nan();
	raw.tomorrow = fmoe_seconds_of_moment(GetCurrentTimestamp()) + SECS_PER_DAY;
	raw.users = fmoe_idset_create(domain->user_type, collation);
	if (vocabulary == NULL)
		raw.items = fmoe_idset_create(domain->item_type, domain->item_collation);
	read_rows(&raw, domain, vocabulary);
	if (raw.items != NULL)
		index_of = MemoryContextAllocHuge(scratch, sizeof(int32) * Max(fmoe_vocabulary_count(raw.items), 1));

	MemoryContextSwitchTo(context);
	interactions->vocabulary = raw.items == NULL ? vocabulary
		: fmoe_vocabulary_of_idset(raw.items, index_of);
	renumber(&raw, index_of);
	fmoe_build_dataset(&interactions->data, raw.rows.count, fmoe_vocabulary_count(raw.users),
					   fmoe_vocabulary_count(interactions->vocabulary), raw.user, &raw.rows.events);
	memcpy(interactions->left_out, raw.left_out, sizeof(raw.left_out));
	memcpy(interactions->odd_labels, raw.odd_labels, sizeof(raw.odd_labels));
	interactions->last_event = raw.last_event;
	interactions->future = raw.future;

	MemoryContextSwitchTo(scratch);
	interactions->fingerprint = fingerprint(interactions);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
	return interactions;
}

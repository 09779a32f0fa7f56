/*
 * dataset.c
 *	  Collects events in memory and sorts them into histories and datasets.
 *
 * A history is ordered by time, then by basket, then by item, then by whatever
 * else its events have.  So it depends on the set of rows alone, never on their order in the
 * table: the same rows train the same model.  Only small keys are sorted; each
 * event is moved once.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/ingest/ingest_private.h"

#define FIRST_EVENTS 64
#define INDEX_AT_ONCE 512

/* ---------------------------------------------------------------- as they come */

void
fmoe_collect_columns(FmoeCollected *collected, uint32 bits)
{
	uint32		had = fmoe_events_columns(&collected->events);
	FmoeEvents	like = fmoe_events_like(had | bits);
	FmoeEvents	placed;
	FmoeEvents	known;
	void	   *memory;

	if ((bits & ~had) == 0)
		return;
	memory = MemoryContextAllocHuge(GetMemoryChunkContext(collected->memory),
									fmoe_events_bytes(&like, collected->capacity));
	fmoe_events_place(&placed, &like, collected->capacity, memory);
	known = fmoe_events_only(&placed, had);
	fmoe_events_copy(&known, 0, &collected->events, 0, collected->count);
	fmoe_events_default(&placed, bits & ~had, collected->count);
	pfree(collected->memory);
	collected->memory = memory;
	collected->events = placed;
}

void
fmoe_collect_reserve(FmoeCollected *collected, int64 capacity)
{
	if (collected->memory == NULL)
	{
		collected->memory = MemoryContextAllocHuge(CurrentMemoryContext,
												   fmoe_events_bytes(&fmoe_read_columns, capacity));
		fmoe_events_place(&collected->events, &fmoe_read_columns, capacity, collected->memory);
		collected->capacity = capacity;
	}
	else if (capacity > collected->capacity)
	{
		collected->memory = repalloc_huge(collected->memory, fmoe_events_bytes(&collected->events, capacity));
		fmoe_events_spread(&collected->events, collected->capacity, capacity, collected->count, collected->memory);
		collected->capacity = capacity;
	}
}

void
fmoe_collect(FmoeCollected *collected, const FmoeEvent *event)
{
	if (collected->count == collected->capacity)
		fmoe_collect_reserve(collected, Max(2 * collected->capacity, FIRST_EVENTS));
	if (unlikely(event->time_rest != 0 || event->label != 1 || event->weight != 1 || event->order != 0 ||
				 event->named != 0 || event->tie != 0 || event->source != 0))
		fmoe_collect_columns(collected, fmoe_event_columns_needed(event));
	fmoe_events_put(&collected->events, collected->count++, event);
}

void
fmoe_collect_all(FmoeCollected *collected, const FmoeCollected *from, const int32 *number)
{
	uint32		columns = fmoe_events_columns(&from->events);
	FmoeEvents	added;
	FmoeEvents	given;

	if (from->count == 0)
		return;
	if (collected->count + from->count > collected->capacity)
		fmoe_collect_reserve(collected, Max(2 * collected->capacity, collected->count + from->count));
	fmoe_collect_columns(collected, columns);
	added = fmoe_events_from(&collected->events, collected->count);
	given = fmoe_events_only(&added, columns);
	fmoe_events_copy(&given, 0, &from->events, 0, from->count);
	fmoe_events_default(&added, fmoe_events_columns(&added) & ~columns, from->count);
	if (number != NULL)
		fmoe_events_renumber(&added, from->count, number);
	collected->count += from->count;
}

/* ---------------------------------------------------------------- sorted */

/* Where an event lies, and its time, which decides most comparisons. */
typedef struct Place
{
	double		time;
	int64		at;
} Place;

StaticAssertDecl(sizeof(Place) == FMOE_SORT_BYTES, "FMOE_SORT_BYTES is not what sorting an event takes");

static inline int
compare_places(const Place *a, const Place *b, const FmoeEvents *events)
{
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	return fmoe_events_compare(events, a->at, b->at);
}

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE Place
#define ST_COMPARE(a, b, events) compare_places(a, b, events)
#define ST_COMPARE_ARG_TYPE const FmoeEvents
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static inline int
compare_names(const Place *a, const Place *b, const FmoeEvents *events)
{
	int32		x = events->named[a->at];
	int32		y = events->named[b->at];

	if (x != y)
		return x < y ? -1 : 1;
	return compare_places(a, b, events);
}

#define ST_SORT sort_names
#define ST_ELEMENT_TYPE Place
#define ST_COMPARE(a, b, events) compare_names(a, b, events)
#define ST_COMPARE_ARG_TYPE const FmoeEvents
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* The events of a basket that has a name happen when the last of them does. */
static void
join_baskets(const FmoeEvents *events, int64 n, Place *places)
{
	int64		last = n - 1;

	if (events->named == NULL)
		return;
	sort_names(places, n, events);
	for (int64 i = n - 1; i >= 0; i--)
	{
		int32		name = events->named[places[i].at];

		if (name == 0 || name != events->named[places[last].at])
			last = i;
		fmoe_events_move(events, places[i].at, events, places[last].at);
		places[i].time = places[last].time;
	}
}

/* Sorts n places of from's events and copies those events, in that order, to places at .. of to. */
static void
put_sorted(const FmoeEvents *to, int64 at, const FmoeEvents *from, int64 n, Place *places)
{
	int64		index[INDEX_AT_ONCE];

	join_baskets(from, n, places);
	sort_places(places, n, from);
	for (int64 done = 0; done < n; done += INDEX_AT_ONCE)
	{
		int64		count = Min(n - done, INDEX_AT_ONCE);

		for (int64 i = 0; i < count; i++)
			index[i] = places[done + i].at;
		fmoe_events_gather(to, at + done, from, count, index);
	}
}

void
fmoe_sort_events(const FmoeEvents *to, int64 at, const FmoeEvents *from, int64 first, int64 n)
{
	Place	   *places = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Place) * Max(n, 1));

	for (int64 i = 0; i < n; i++)
		places[i] = (Place) {.time = from->time[first + i], .at = first + i};
	put_sorted(to, at, from, n, places);
	pfree(places);
}

/* Sorts n events by user and time into sorted, which it allocates; returns offset[n_users + 1] into them. */
static int64 *
sort_by_user(int64 n, int64 n_users, const int64 *user, const FmoeEvents *events, FmoeEvents *sorted)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *offset = MemoryContextAllocHuge(context, sizeof(int64) * (n_users + 1));
	Place	   *places = MemoryContextAllocHuge(context, sizeof(Place) * Max(n, 1));
	int64		u;
	int64		i;

	/* counting sort by user: offset[u + 1] first counts, then is where the next event goes */
	memset(offset, 0, sizeof(int64) * (n_users + 1));
	for (i = 0; i < n; i++)
		offset[user[i] + 1]++;
	for (u = 0; u < n_users; u++)
		offset[u + 1] += offset[u];
	for (i = n - 1; i >= 0; i--)
	{
		places[--offset[user[i] + 1]] = (Place) {.time = events->time[i], .at = i};
		if ((i & 0xfffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	/* each is at its user's start now, one place to the right */
	memmove(offset, offset + 1, sizeof(int64) * n_users);
	offset[n_users] = n;

	fmoe_events_place(sorted, events, n, MemoryContextAllocHuge(context, Max(fmoe_events_bytes(events, n), 1)));
	for (u = 0; u < n_users; u++)
		put_sorted(sorted, offset[u], events, offset[u + 1] - offset[u], places + offset[u]);
	pfree(places);
	return offset;
}

void
fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
				   const int64 *user, const FmoeEvents *events)
{
	memset(data, 0, sizeof(*data));
	data->offset = sort_by_user(n, n_users, user, events, &data->events);
	data->n_users = n_users;
	data->n_events = n;
	data->n_items = n_items;
	fmoe_make_dataset_baskets(data);
}

void
fmoe_add_shown(FmoeDataset *data, int64 n, const int64 *user, const FmoeEvents *events)
{
	FmoeEvents	sorted;
	int64	   *offset = sort_by_user(n, data->n_users, user, events, &sorted);
	int64	   *last = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * Max(data->n_items, 1));
	int64		kept = 0;

	/* the first time counts: from then on an item is seen */
	memset(last, 0, sizeof(int64) * data->n_items);
	for (int64 u = 0; u < data->n_users; u++)
	{
		int64		begin = offset[u];

		offset[u] = kept;
		for (int64 i = begin; i < offset[u + 1]; i++)
		{
			if (last[sorted.item[i]] == u + 1)
				continue;
			last[sorted.item[i]] = u + 1;
			fmoe_events_copy(&sorted, kept++, &sorted, i, 1);
		}
	}
	offset[data->n_users] = kept;
	pfree(last);
	data->shown = (FmoeShown) {.count = kept, .offset = offset, .events = sorted};
}

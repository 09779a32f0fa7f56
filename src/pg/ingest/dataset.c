/*
 * dataset.c
 *	  Events in any order, sorted into a dataset.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/ingest/ingest.h"

static int
compare_events(const void *a, const void *b)
{
	const FmoeEvent *x = a;
	const FmoeEvent *y = b;

	CHECK_FOR_INTERRUPTS();
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

void
fmoe_sort_events(int64 count, FmoeEvent *events)
{
	qsort(events, count, sizeof(FmoeEvent), compare_events);
}

void
fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
				   const int64 *user, const int32 *item, const double *time)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *offset = MemoryContextAllocHuge(context, sizeof(int64) * (n_users + 1));
	int32	   *items = MemoryContextAllocHuge(context, sizeof(int32) * Max(n, 1));
	double	   *times = MemoryContextAllocHuge(context, sizeof(double) * Max(n, 1));
	FmoeEvent  *events = MemoryContextAllocHuge(context, sizeof(FmoeEvent) * Max(n, 1));
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
		FmoeEvent  *event = &events[--offset[user[i] + 1]];

		event->time = time[i];
		event->item = item[i];
		if ((i & 0xfffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	/* each is at its user's start now, one place to the right */
	memmove(offset, offset + 1, sizeof(int64) * n_users);
	offset[n_users] = n;

	for (u = 0; u < n_users; u++)
		qsort(events + offset[u], offset[u + 1] - offset[u], sizeof(FmoeEvent), compare_events);
	for (i = 0; i < n; i++)
	{
		items[i] = events[i].item;
		times[i] = events[i].time;
	}
	pfree(events);

	memset(data, 0, sizeof(*data));
	data->n_users = n_users;
	data->n_events = n;
	data->n_items = n_items;
	data->offset = offset;
	data->events.item = items;
	data->events.time = times;
}

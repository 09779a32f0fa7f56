/*
 * baskets.c
 *	  What a user did at once, or under one name, is one basket.
 *
 * In tables of orders most users have their last event inside a basket.  Which
 * of its items comes first means nothing, so nobody may learn it or be judged by
 * it; the numbers made here are what all others go by.  Data without baskets have
 * no such column, and take no part in any of this.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/ingest/ingest.h"

#define POLL_EVERY 4096			/* histories */

/*
 * Drops what a basket has twice, and unknown items, from a history of sorted events, whose rest
 * stays where it begins; returns where it ends.  Of weights and labels the largest stays.
 */
static int64
drop_repeats(const FmoeEvents *events, int64 begin, int64 end)
{
	int64		kept = begin;

	for (int64 i = begin; i < end; i++)
	{
		if (events->item[i] < 0)
			continue;
		if (kept > begin && events->item[kept - 1] == events->item[i] && fmoe_events_at_once(events, kept - 1, i))
		{
			if (events->weight != NULL)
				unconstify(float *, events->weight)[kept - 1] = Max(events->weight[kept - 1], events->weight[i]);
			if (events->label != NULL)
				unconstify(int8_t *, events->label)[kept - 1] |= events->label[i];
			continue;
		}
		if (kept != i)
			fmoe_events_copy(events, kept, events, i, 1);
		kept++;
	}
	return kept;
}

static bool
has_baskets(const FmoeEvents *events, int64 begin, int64 end)
{
	for (int64 i = begin + 1; i < end; i++)
		if (fmoe_events_at_once(events, i - 1, i))
			return true;
	return false;
}

/* Numbers the baskets of a history; returns the next number. */
static int32
number_baskets(const FmoeEvents *events, int64 begin, int64 end, int32 number, int32 *basket)
{
	for (int64 i = begin; i < end; i++)
	{
		if (i > begin && !fmoe_events_at_once(events, i - 1, i))
			number++;
		basket[i] = number;
	}
	return end > begin ? number + 1 : number;
}

void
fmoe_make_baskets(FmoeEvents *events, int64 n_events, int64 n, const int64 *begin, int64 *end)
{
	bool		any = false;
	int32		number = 0;
	int32	   *basket = NULL;

	for (int64 i = 0; i < n; i++)
	{
		/* most histories of most data have none, and nothing happens to those */
		if (events->named != NULL || has_baskets(events, begin[i], end[i]))
		{
			end[i] = drop_repeats(events, begin[i], end[i]);
			any = any || has_baskets(events, begin[i], end[i]);
		}
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
	if (any)
		basket = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * n_events);
	for (int64 i = 0; i < n && any; i++)
	{
		number = number_baskets(events, begin[i], end[i], number, basket);
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
	events->basket = basket;
	events->named = NULL;
	events->tie = NULL;
}

void
fmoe_make_dataset_baskets(FmoeDataset *data)
{
	int64	   *offset = unconstify(int64 *, data->offset);
	int64	   *end = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * Max(data->n_users, 1));
	int64		n = 0;

	for (int64 u = 0; u < data->n_users; u++)
		end[u] = offset[u + 1];
	fmoe_make_baskets(&data->events, data->n_events, data->n_users, offset, end);
	for (int64 u = 0; u < data->n_users; u++)
	{
		int64		begin = offset[u];

		offset[u] = n;
		for (; begin != n && begin < end[u]; begin++)
			fmoe_events_copy(&data->events, n++, &data->events, begin, 1);
		n += end[u] - begin;
		if (u % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
	offset[data->n_users] = n;
	data->n_events = n;
	pfree(end);
}

int64
fmoe_tied_users(const FmoeDataset *data)
{
	int64		tied = 0;

	for (int64 u = 0; u < data->n_users && data->events.basket != NULL; u++)
	{
		int64		end = data->offset[u + 1];

		tied += end - data->offset[u] > 1 && data->events.basket[end - 1] == data->events.basket[end - 2];
	}
	return tied;
}

/*
 * events.c
 *	  Columns of events: their size, their place in memory, copies, order.
 *
 * FmoeEvents, FmoeEvent and the table here say what an event consists of, and
 * nothing else does: whoever moves events moves all columns there are.
 */
#include "model/data/data.h"

#include <string.h>

typedef struct Column
{
	size_t		field;			/* offset of its pointer in FmoeEvents */
	size_t		value;			/* offset of its value in FmoeEvent */
	size_t		bytes;			/* of an event: 1, 4 or 8 */
} Column;

static const Column columns[] = {
	{offsetof(FmoeEvents, item), offsetof(FmoeEvent, item), sizeof(int32_t)},
	{offsetof(FmoeEvents, time), offsetof(FmoeEvent, time), sizeof(double)},
	{offsetof(FmoeEvents, time_rest), offsetof(FmoeEvent, time_rest), sizeof(double)},
	{offsetof(FmoeEvents, label), offsetof(FmoeEvent, label), sizeof(int8_t)},
	{offsetof(FmoeEvents, weight), offsetof(FmoeEvent, weight), sizeof(float)},
	{offsetof(FmoeEvents, order), offsetof(FmoeEvent, order), sizeof(int32_t)},
	{offsetof(FmoeEvents, named), offsetof(FmoeEvent, named), sizeof(int32_t)},
	{offsetof(FmoeEvents, tie), offsetof(FmoeEvent, tie), sizeof(uint32_t)},
	{offsetof(FmoeEvents, basket), offsetof(FmoeEvent, basket), sizeof(int32_t)},
	{offsetof(FmoeEvents, source), offsetof(FmoeEvent, source), sizeof(int32_t)}
};

#define COLUMNS ((int) (sizeof(columns) / sizeof(columns[0])))
#define ALWAYS_COLUMNS 2		/* item and time */

static const char *
get(const FmoeEvents *events, int column)
{
	const char *pointer;

	memcpy(&pointer, (const char *) events + columns[column].field, sizeof(pointer));
	return pointer;
}

static void
set(FmoeEvents *events, int column, const char *pointer)
{
	memcpy((char *) events + columns[column].field, &pointer, sizeof(pointer));
}

/* Bytes of a column of n events, padded so that the next one is aligned. */
static size_t
column_bytes(int column, int64_t n)
{
	return fnn_aligned((size_t) n * columns[column].bytes);
}

size_t
fmoe_events_bytes(const FmoeEvents *like, int64_t n)
{
	size_t		bytes = 0;

	for (int c = 0; c < COLUMNS; c++)
		if (get(like, c) != NULL)
			bytes += column_bytes(c, n);
	return bytes;
}

size_t
fmoe_event_bytes(const FmoeEvents *like)
{
	size_t		bytes = 0;

	for (int c = 0; c < COLUMNS; c++)
		if (get(like, c) != NULL)
			bytes += columns[c].bytes;
	return bytes;
}

void
fmoe_events_place(FmoeEvents *events, const FmoeEvents *like, int64_t n, void *memory)
{
	const char *next = memory;

	for (int c = 0; c < COLUMNS; c++)
	{
		bool		there = get(like, c) != NULL;

		set(events, c, there ? next : NULL);
		if (there)
			next += column_bytes(c, n);
	}
}

void
fmoe_events_copy(const FmoeEvents *to, int64_t at, const FmoeEvents *from, int64_t first, int64_t n)
{
	for (int c = 0; c < COLUMNS; c++)
	{
		size_t		bytes = columns[c].bytes;

		if (get(to, c) != NULL && n > 0)
			memcpy((char *) get(to, c) + (size_t) at * bytes, get(from, c) + (size_t) first * bytes,
				   (size_t) n * bytes);
	}
}

/* One value of a column; a size that the compiler knows makes it a load and a store. */
static void
copy_value(char *to, const char *from, size_t bytes)
{
	if (bytes == 8)
		memcpy(to, from, 8);
	else if (bytes == 4)
		memcpy(to, from, 4);
	else
		*to = *from;
}

/* Values of a column, as copy_value has them. */
static void
gather_column(char *to, const char *from, size_t bytes, int64_t n, const int64_t *index)
{
	switch (bytes)
	{
		case 1:
			for (int64_t i = 0; i < n; i++)
				to[i] = from[index[i]];
			break;
		case 4:
			for (int64_t i = 0; i < n; i++)
				memcpy(to + i * 4, from + index[i] * 4, 4);
			break;
		default:
			for (int64_t i = 0; i < n; i++)
				memcpy(to + i * 8, from + index[i] * 8, 8);
	}
}

void
fmoe_events_gather(const FmoeEvents *to, int64_t at, const FmoeEvents *from, int64_t n, const int64_t *index)
{
	for (int c = 0; c < COLUMNS; c++)
	{
		size_t		bytes = columns[c].bytes;

		if (get(to, c) != NULL)
			gather_column((char *) get(to, c) + (size_t) at * bytes, get(from, c), bytes, n, index);
	}
}

void
fmoe_events_put(const FmoeEvents *to, int64_t at, const FmoeEvent *event)
{
	/* unrolled, so that offsets and sizes are constants: this runs for every row that is read */
#pragma GCC unroll 10
	for (int c = 0; c < COLUMNS; c++)
	{
		size_t		bytes = columns[c].bytes;

		if (get(to, c) != NULL)
			copy_value((char *) get(to, c) + (size_t) at * bytes, (const char *) event + columns[c].value, bytes);
	}
}

uint32_t
fmoe_events_columns(const FmoeEvents *events)
{
	uint32_t	bits = 0;

	for (int c = 0; c < COLUMNS; c++)
		if (get(events, c) != NULL)
			bits |= UINT32_C(1) << c;
	return bits;
}

FmoeEvents
fmoe_events_like(uint32_t bits)
{
	FmoeEvents	like;

	for (int c = 0; c < COLUMNS; c++)
		set(&like, c, (bits >> c & 1) != 0 ? (const char *) columns : NULL);
	return like;
}

FmoeEvents
fmoe_events_only(const FmoeEvents *events, uint32_t bits)
{
	FmoeEvents	only;

	for (int c = 0; c < COLUMNS; c++)
		set(&only, c, (bits >> c & 1) != 0 ? get(events, c) : NULL);
	return only;
}

/* What needs no columns but the first two. */
static const FmoeEvent plain = {.label = 1, .weight = 1};

uint32_t
fmoe_event_columns_needed(const FmoeEvent *event)
{
	uint32_t	bits = 0;

	for (int c = ALWAYS_COLUMNS; c < COLUMNS; c++)
		if (memcmp((const char *) event + columns[c].value, (const char *) &plain + columns[c].value,
				   columns[c].bytes) != 0)
			bits |= UINT32_C(1) << c;
	return bits;
}

void
fmoe_events_default(const FmoeEvents *events, uint32_t bits, int64_t n)
{
	for (int c = 0; c < COLUMNS; c++)
		if ((bits >> c & 1) != 0)
			for (int64_t i = 0; i < n; i++)
				copy_value((char *) get(events, c) + (size_t) i * columns[c].bytes,
						   (const char *) &plain + columns[c].value, columns[c].bytes);
}

FmoeEvents
fmoe_events_from(const FmoeEvents *events, int64_t first)
{
	FmoeEvents	rest;

	for (int c = 0; c < COLUMNS; c++)
	{
		const char *pointer = get(events, c);

		set(&rest, c, pointer != NULL ? pointer + (size_t) first * columns[c].bytes : NULL);
	}
	return rest;
}

void
fmoe_events_spread(FmoeEvents *events, int64_t old, int64_t more, int64_t n, void *memory)
{
	FmoeEvents	before;
	FmoeEvents	after;

	fmoe_events_place(&before, events, old, memory);
	fmoe_events_place(&after, events, more, memory);
	/* from the last to the first: a column's new place holds nothing that is still to be moved */
	for (int c = COLUMNS - 1; c >= 0; c--)
		if (get(&after, c) != NULL && n > 0)
			memmove((char *) get(&after, c), get(&before, c), (size_t) n * columns[c].bytes);
	*events = after;
}

void
fmoe_events_renumber(const FmoeEvents *events, int64_t n, const int32_t *number)
{
	int32_t    *item = (int32_t *) events->item;

	for (int64_t i = 0; i < n; i++)
		item[i] = number[item[i]];
}

/* A value that decides between equal times; without the column nothing does. */
static double
rest_of(const FmoeEvents *events, int64_t i)
{
	return events->time_rest != NULL ? events->time_rest[i] : 0;
}

static int32_t
order_of(const FmoeEvents *events, int64_t i)
{
	return events->order != NULL ? events->order[i] : 0;
}

bool
fmoe_event_before(const FmoeEvents *a, int64_t i, const FmoeEvents *b, int64_t j)
{
	if (a->time[i] != b->time[j])
		return a->time[i] < b->time[j];
	if (rest_of(a, i) != rest_of(b, j))
		return rest_of(a, i) < rest_of(b, j);
	return order_of(a, i) < order_of(b, j);
}

void
fmoe_events_move(const FmoeEvents *a, int64_t i, const FmoeEvents *b, int64_t j)
{
	((double *) a->time)[i] = b->time[j];
	if (a->time_rest != NULL)
		((double *) a->time_rest)[i] = rest_of(b, j);
	if (a->order != NULL)
		((int32_t *) a->order)[i] = order_of(b, j);
}

int
fmoe_events_compare(const FmoeEvents *events, int64_t a, int64_t b)
{
	if (events->time != NULL && events->time[a] != events->time[b])
		return events->time[a] < events->time[b] ? -1 : 1;
	if (events->time_rest != NULL && events->time_rest[a] != events->time_rest[b])
		return events->time_rest[a] < events->time_rest[b] ? -1 : 1;
	if (events->order != NULL && events->order[a] != events->order[b])
		return events->order[a] < events->order[b] ? -1 : 1;
	if (events->tie != NULL && events->tie[a] != events->tie[b])
		return events->tie[a] < events->tie[b] ? -1 : 1;
	if (events->named != NULL && events->named[a] != events->named[b])
		return events->named[a] < events->named[b] ? -1 : 1;
	if (events->item[a] != events->item[b])
		return events->item[a] < events->item[b] ? -1 : 1;
	/* any order will do, as long as it depends on the values alone */
	for (int c = 0; c < COLUMNS; c++)
	{
		const char *values = get(events, c);
		size_t		bytes = columns[c].bytes;
		int			order = 0;

		if (values != NULL)
			order = memcmp(values + (size_t) a * bytes, values + (size_t) b * bytes, bytes);
		if (order != 0)
			return order < 0 ? -1 : 1;
	}
	return 0;
}

uint64_t
fmoe_events_hash(uint64_t hash, const FmoeEvents *events, int64_t n)
{
	for (int c = 0; c < COLUMNS; c++)
		if (get(events, c) != NULL)
			hash = fnn_hash(hash, get(events, c), (size_t) n * columns[c].bytes);
	return hash;
}

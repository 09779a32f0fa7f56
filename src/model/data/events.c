/*
 * events.c
 *	  Columns of events: how much room they take, where they lie, copies of them.
 *
 * What an event consists of is said by FmoeEvents and by the table here, and
 * nowhere else: whoever moves events moves all columns there are.
 */
#include "model/data/data.h"

#include <string.h>

typedef struct Column
{
	size_t		field;			/* offset of its pointer in FmoeEvents */
	size_t		bytes;			/* of an event */
} Column;

static const Column columns[] = {
	{offsetof(FmoeEvents, item), sizeof(int32_t)},
	{offsetof(FmoeEvents, time), sizeof(double)},
	{offsetof(FmoeEvents, label), sizeof(int8_t)},
	{offsetof(FmoeEvents, weight), sizeof(float)},
	{offsetof(FmoeEvents, basket), sizeof(int32_t)}
};

#define COLUMNS ((int) (sizeof(columns) / sizeof(columns[0])))

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

/* Bytes of a column of n events, to the next one's alignment. */
static size_t
column_bytes(int column, int64_t n)
{
	return ((size_t) n * columns[column].bytes + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN;
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
			memcpy((char *) get(to, c) + (size_t) at * bytes, get(from, c) + (size_t) first * bytes, (size_t) n * bytes);
	}
}

void
fmoe_events_gather(const FmoeEvents *to, int64_t at, const FmoeEvents *from, int64_t n, const int64_t *index)
{
	for (int64_t i = 0; i < n; i++)
		fmoe_events_copy(to, at + i, from, index[i], 1);
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

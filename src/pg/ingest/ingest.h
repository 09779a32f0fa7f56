/*
 * ingest.h
 *	  Reading interactions, as the caller: whole tables, user by user, one history.
 */
#ifndef FMOE_PG_INGEST_INGEST_H
#define FMOE_PG_INGEST_INGEST_H

#include "pg/domain/domain.h"
#include "pg/id/id.h"
#include "model/model.h"

/* ---------------------------------------------------------------- reading interactions */

typedef struct FmoeInteractions
{
	FmoeDataset data;
	FmoeVocabulary *vocabulary;
	uint64		fingerprint;	/* of ids, order and columns */
	int64		skipped;		/* rows with a null, or a time that is not finite */
	double		last_event;		/* seconds; NaN without events */
} FmoeInteractions;

/*
 * Reads the domain's table as the caller, ordered by user, time, item.  Rows
 * with a null, with a time that is not finite or with a label that is not
 * positive are skipped.  With a vocabulary, items have its indexes, and events
 * of items that it does not know are left out.  Without one (NULL), it is made
 * of the items that came.  The result is allocated in the current context.
 */
extern FmoeInteractions *fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary);

/* The columns of events that are read: what fmoe_events_place and others take as "like". */
extern const FmoeEvents fmoe_read_columns;

/* An event as its row has it. */
typedef struct FmoeRow
{
	Datum		item;			/* of the domain's type; valid during the call that is given the row */
	FmoeEvent	event;			/* event.item is not set: the taker looks it up */
} FmoeRow;

/* Takes one event of a user; events come in no order. */
typedef void (*FmoeTakeEvent) (void *argument, FmoeRow *row);
/* Calls take for each event of one user.  as_of: only events up to that moment (seconds since 1970); NaN: all. */
extern void fmoe_read_history(const FmoeDomain *domain, Datum user, double as_of, FmoeTakeEvent take, void *argument);
/*
 * Takes one event of a user; user is valid during the call.  first: the event
 * before was another user's; row is NULL where the first one does not count.
 */
typedef void (*FmoeTakeUserEvent) (void *argument, Datum user, bool first, FmoeRow *row);
/* Calls take for every user and event of the table, user by user; the events of a user come in no order. */
extern void fmoe_read_users(const FmoeDomain *domain, FmoeTakeUserEvent take, void *argument);
/* Sets an event of which only the time is known, a value of that type; false: the time is not finite. */
extern bool fmoe_event_at(FmoeEvent *event, Oid time_type, Datum time);
/* Seconds since 1970 of a value of a time column's type; infinite for an infinite time. */
extern double fmoe_seconds(Oid type, Datum value);

/* ---------------------------------------------------------------- the item table */

/* Takes an item that may be recommended: its id, of the domain's type, good during the call. */
typedef void (*FmoeTakeItem) (void *argument, Datum id);
/*
 * Gives the items of the domain's item table, which it has, that are available and
 * satisfy a filter (NULL: all) to take, in no order.  An error where the filter is
 * not one condition over the table's columns.
 */
extern void fmoe_read_items(const FmoeDomain *domain, const char *filter, FmoeTakeItem take, void *argument);
/* Those that are available among the items id[n]. */
extern void fmoe_look_items_up(const FmoeDomain *domain, int n, const Datum *id, FmoeTakeItem take, void *argument);

/* ---------------------------------------------------------------- events in memory */

/* Events in the order in which they came, with room for more. */
typedef struct FmoeCollected
{
	int64		count;
	int64		capacity;
	FmoeEvents	events;			/* [capacity] writable */
	void	   *memory;			/* of events; NULL: none yet */
} FmoeCollected;

/* Makes room for capacity events, never less than there is.  The first call allocates in the current context. */
extern void fmoe_collect_reserve(FmoeCollected *collected, int64 capacity);
/* Adds an event, and makes room where there is none. */
extern void fmoe_collect(FmoeCollected *collected, const FmoeEvent *event);
/* Adds all events of another collection.  Item i becomes number[i]; number NULL: it stays i. */
extern void fmoe_collect_all(FmoeCollected *collected, const FmoeCollected *from, const int32 *number);

/* Copies from's events first .. first + n - 1 to places at .. of to, sorted by time, then item. */
extern void fmoe_sort_events(const FmoeEvents *to, int64 at, const FmoeEvents *from, int64 first, int64 n);
/* Makes a dataset of n events in any order; event i belongs to user[i].  Allocates in the current context. */
extern void fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
							   const int64 *user, const FmoeEvents *events);

#endif							/* FMOE_PG_INGEST_INGEST_H */

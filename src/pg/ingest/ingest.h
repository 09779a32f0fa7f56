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
 * with a null, a time that is not finite or a label that is not positive are
 * skipped.  With a vocabulary, items have its indexes and events of items that
 * it does not know are left out; without, one is made of the items that came.
 * Memory of the current context.
 */
extern FmoeInteractions *fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary);

/* The columns of events that are read; an example for fmoe_events_place and its like. */
extern const FmoeEvents fmoe_read_columns;

/* An event as its row has it. */
typedef struct FmoeRow
{
	Datum		item;			/* of the domain's type, good during the call that is given the row */
	FmoeEvent	event;			/* its item is for the one who takes it to set */
} FmoeRow;

/* Takes the next event of a user; they come in no order. */
typedef void (*FmoeTakeEvent) (void *argument, FmoeRow *row);
/* Gives the events of one user to take.  as_of: only events up to that moment (seconds); NaN: all. */
extern void fmoe_read_history(const FmoeDomain *domain, Datum user, double as_of, FmoeTakeEvent take, void *argument);
/* Takes the next event of a user, who is good during the call.  first: the event before was another user's. */
typedef void (*FmoeTakeUserEvent) (void *argument, Datum user, bool first, FmoeRow *row);
/* Gives every event that counts to take, user by user, a user's in no order. */
extern void fmoe_read_users(const FmoeDomain *domain, FmoeTakeUserEvent take, void *argument);
/* An event of which only a time is given, a value of that type; false: the time is not finite. */
extern bool fmoe_event_at(FmoeEvent *event, Oid time_type, Datum time);
/* Seconds since 1970 of a value of a time column's type. */
extern double fmoe_seconds(Oid type, Datum value);

/* ---------------------------------------------------------------- events in memory */

/* Events in the order in which they came, with room for more. */
typedef struct FmoeCollected
{
	int64		count;
	int64		capacity;
	FmoeEvents	events;			/* [capacity] writable */
	void	   *memory;			/* of events; NULL: none yet */
} FmoeCollected;

/* Room for capacity events, in the current context the first time; no less than there is. */
extern void fmoe_collect_reserve(FmoeCollected *collected, int64 capacity);
/* Adds an event; more room is made when there is none. */
extern void fmoe_collect(FmoeCollected *collected, const FmoeEvent *event);

/* Adds all that were collected elsewhere, item i as item number[i]; NULL: as it is. */
extern void fmoe_collect_all(FmoeCollected *collected, const FmoeCollected *from, const int32 *number);

/* Copies n events from first on to places at .. of to as a history: oldest first, those of one moment by item. */
extern void fmoe_sort_events(const FmoeEvents *to, int64 at, const FmoeEvents *from, int64 first, int64 n);
/* A dataset of n events in any order: event i is user[i]'s. */
extern void fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
							   const int64 *user, const FmoeEvents *events);

#endif							/* FMOE_PG_INGEST_INGEST_H */

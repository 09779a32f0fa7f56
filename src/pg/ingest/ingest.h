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
	uint64		fingerprint;	/* of ids, order and times */
	int64		skipped;		/* rows with NULL, or a time that is not finite */
	double		last_event;		/* seconds; NaN without events */
} FmoeInteractions;

/*
 * Reads the domain's table as the caller, ordered by user, time, item.  Rows
 * with NULL or non-finite time are skipped, as are rows whose label is not
 * positive.  When vocabulary is given, indexes are its and events of items it
 * does not know are left out; else one is built.  Memory in the current context.
 */
extern FmoeInteractions *fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary);

/*
 * Gives every event of a user to take, in no order; the item is of the
 * domain's type and good during that call.  as_of: only events up to that
 * moment (seconds); NaN: all.
 */
typedef void (*FmoeTakeEvent) (void *argument, Datum item, double time);
extern void fmoe_read_history(const FmoeDomain *domain, Datum user, double as_of, FmoeTakeEvent take, void *argument);
/*
 * Gives every event that counts to take, user by user, a user's in no order; user
 * and item are good during the call.  first: the event before was another user's.
 */
typedef void (*FmoeTakeUserEvent) (void *argument, Datum user, bool first, Datum item, double time);
extern void fmoe_read_users(const FmoeDomain *domain, FmoeTakeUserEvent take, void *argument);
/* Seconds since 1970 of a value of a time column's type. */
extern double fmoe_seconds(Oid type, Datum value);

/*
 * Builds a dataset from events in any order: used by ingest and the aggregate.
 * user_number[i], item index, time; sorted here by (user, time, item).
 */
extern void fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
							   const int64 *user, const int32 *item, const double *time);

/* An event as it is read, and the order that a history has: oldest first, those of one moment by item. */
typedef struct FmoeEvent
{
	double		time;
	int32		item;
} FmoeEvent;

extern void fmoe_sort_events(int64 count, FmoeEvent *events);

#endif							/* FMOE_PG_INGEST_INGEST_H */

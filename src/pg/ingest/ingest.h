/*
 * ingest.h
 *	  Reading interactions, as fmoe_domain_reader says: whole tables, user by user, one history.
 */
#ifndef FMOE_PG_INGEST_INGEST_H
#define FMOE_PG_INGEST_INGEST_H

#include "pg/domain/domain.h"
#include "pg/id/id.h"
#include "datatype/timestamp.h"
#include "model/model.h"

/* ---------------------------------------------------------------- reading interactions */

/* Why a row is no event of a dataset. */
typedef enum FmoeLeftOut
{
	FMOE_TAKEN,
	FMOE_LEFT_NULL,
	FMOE_LEFT_TIME,				/* it is not finite */
	FMOE_LEFT_LABEL,			/* it is NaN */
	FMOE_LEFT_WEIGHT,			/* it is negative or not finite */
	FMOE_LEFT_SHOWN,			/* the label says: shown, and not chosen */
	FMOE_LEFT_REASONS
} FmoeLeftOut;

typedef struct FmoeInteractions
{
	FmoeDataset data;
	FmoeVocabulary *vocabulary;
	uint64		fingerprint;	/* of ids, order and columns */
	int64		left_out[FMOE_LEFT_REASONS];	/* rows, by reason */
	int64		odd_labels[2];	/* rows whose label is neither 0 nor 1 nor a boolean: not chosen, chosen */
	double		last_event;		/* as FmoeEvents has times; NaN without events */
	int64		future;			/* events later than tomorrow */
	FmoeFeatures features;		/* of the items, which data points to; count 0: none */
	FmoeFeatures user_features; /* the same of the users */
	FmoeVocabulary *users;		/* their ids, where labels are read; else NULL */
} FmoeInteractions;

/*
 * Reads the domain's table, ordered by user, time, item.  Rows
 * that are left out are counted.  With a vocabulary, items have its indexes and events of items that
 * it does not know are left out; without, one is made of the items that came.
 * Memory of the current context.
 */
extern FmoeInteractions *fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary);
/*
 * The same without a vocabulary, and then of the item table, where the domain has one,
 * what reads asks for, a set of FmoeReads.  Its items are part of the vocabulary, chosen
 * or not.  begin is called before the item table is read, if it is.
 */
extern FmoeInteractions *fmoe_read_domain(const FmoeDomain *domain, unsigned reads, void (*begin) (void));
/*
 * With a vocabulary, and what reads says of labels and users: with FMOE_READS_LABELS what
 * was shown and not chosen is in the histories, with its label, as fmoe_read_domain has it.
 * users, unless NULL: the users' features are like those, with the same categories.
 */
extern FmoeInteractions *fmoe_read_for(const FmoeDomain *domain, FmoeVocabulary *vocabulary, unsigned reads,
									   const FmoeFeatures *users);

/* The item table read over a vocabulary. */
typedef struct FmoeCatalogueRead
{
	FmoeVocabulary *vocabulary; /* the items of that one, and of the table */
	int32	   *number;			/* [items of that one] of each in vocabulary */
	FmoeFeatures features;		/* of vocabulary's items; count 0: nothing is known */
} FmoeCatalogueRead;

/* Whether the domain has a user table with columns of what users are, and reads asks for them. */
extern bool fmoe_has_user_features(const FmoeDomain *domain, unsigned reads);
/*
 * What the user table, which the domain has, says of users, whose ids are of the domain's
 * type: features like those of a version, in the current context, with row[i] that of user[i].
 */
extern void fmoe_read_user_features(const FmoeDomain *domain, int n, const Datum *user, const FmoeFeatures *like,
									FmoeFeatures *features, int32 *row);
/* Whether the domain has an item table with columns of what reads, a set of FmoeReads, asks for. */
extern bool fmoe_has_features(const FmoeDomain *domain, unsigned reads);
/*
 * Reads of the item table what reads asks for, in the current context.  like, unless
 * NULL: the features are those, by name and kind, with the same categories, whose names
 * and scales are shared; a vector of another length is an error.  Fails where fmoe.max_memory
 * does not allow for it and for so many bytes beside it.
 */
extern void fmoe_read_catalogue(FmoeCatalogueRead *read, const FmoeDomain *domain, unsigned reads,
								const FmoeVocabulary *known, const FmoeFeatures *like, size_t beside);

/* What the item table says of some items. */
typedef struct FmoeTold
{
	FmoeFeatures features;		/* of the n that were asked for */
	bool	   *known;			/* [n] it has them */
	bool	   *available;		/* [n] as its column available says, if there is one */
} FmoeTold;

/*
 * Reads of the item table what reads asks for of the n items of an id set, which more
 * may be added to, in the current context.  The features are those of among, by name and kind, with
 * the same terms; prices stand where they would among the other's.
 */
extern void fmoe_read_strangers(FmoeTold *told, const FmoeDomain *domain, unsigned reads, FmoeVocabulary *ids,
								const FmoeFeatures *among);

/* How many rows were left out, and why, as a sentence without its end; NULL: none. */
extern char *fmoe_reasons_left_out(const FmoeInteractions *interactions);
/* A NOTICE of them, if there are any. */
extern void fmoe_tell_left_out(const FmoeDomain *domain, const FmoeInteractions *interactions);

/* The columns of events that are always there; an example for fmoe_events_place and its like. */
extern const FmoeEvents fmoe_read_columns;

/* An event as its row has it. */
typedef struct FmoeRow
{
	Datum		item;			/* of the domain's type; valid during the call that is given the row */
	FmoeEvent	event;			/* event.item is not set: the taker looks it up */
	bool		odd_label;		/* it is neither 0 nor 1 */
	bool		ordered;		/* order is not null */
	bool		named;			/* basket is not null */
	bool		sourced;		/* source is not null */
	Datum		source;			/* of the domain's source */
	Datum		order;			/* of order_column */
	Datum		basket;			/* of basket_column */
	Datum		user;			/* of the domain's type */
} FmoeRow;

/* Takes one event of a user; events come in no order. */
typedef void (*FmoeTakeEvent) (void *argument, FmoeRow *row);
/* Calls take for each event of one user up to as_of, those not chosen, too. */
extern void fmoe_read_history(const FmoeDomain *domain, Datum user, TimestampTz as_of,
							  FmoeTakeEvent take, void *argument);
/*
 * Takes one event of a user; user is valid during the call.  first: the event
 * before was another user's; row is NULL where the first one does not count.
 */
typedef void (*FmoeTakeUserEvent) (void *argument, Datum user, bool first, FmoeRow *row);
/*
 * Calls take for every user and event of the table, those not chosen, too, user
 * by user; those of a user come in no order.
 */
extern void fmoe_read_users(const FmoeDomain *domain, FmoeTakeUserEvent take, void *argument);
/*
 * An event of which only a time is given, a value of that type; false: the time is not finite.
 * Times without a time zone count as if they were in UTC, so what is learned of them
 * does not depend on the session.
 */
extern bool fmoe_event_at(FmoeEvent *event, Oid type, FmoeTimeUnit unit, Datum time);
/* Whether a time is after a moment, as PostgreSQL compares the two. */
extern bool fmoe_is_after(Oid type, FmoeTimeUnit unit, Datum time, TimestampTz moment);
/* Seconds since 1970. */
extern double fmoe_seconds_of_moment(TimestampTz moment);

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

/*
 * Events in the order in which they came, with room for more.  A column beside
 * those of fmoe_read_columns is there once an event has needed it.
 */
typedef struct FmoeCollected
{
	int64		count;
	int64		capacity;
	FmoeEvents	events;			/* [capacity] writable */
	void	   *memory;			/* of events; NULL: none yet */
} FmoeCollected;

/* Makes room for capacity events, never less than there is.  The first call allocates in the current context. */
extern void fmoe_collect_reserve(FmoeCollected *collected, int64 capacity);
/* Makes sure of columns, as bits, with what events have that need none; some room has been made. */
extern void fmoe_collect_columns(FmoeCollected *collected, uint32 bits);
/* Adds an event, and makes room where there is none. */
extern void fmoe_collect(FmoeCollected *collected, const FmoeEvent *event);
/* Adds all events of another collection.  Item i becomes number[i]; number NULL: it stays i. */
extern void fmoe_collect_all(FmoeCollected *collected, const FmoeCollected *from, const int32 *number);

/*
 * Copies from's events first .. first + n - 1 to places at .. of to, sorted by
 * time, then basket, then item.  Those of a basket that has a name get the time
 * of its last one, in from as well.
 */
extern void fmoe_sort_events(const FmoeEvents *to, int64 at, const FmoeEvents *from, int64 first, int64 n);
/*
 * A dataset of n events in any order, sorted as fmoe_sort_events does: event i is
 * user[i]'s.  What a user did at one time, or what has one name, is one basket
 * and has each item once.
 */
extern void fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
							   const int64 *user, const FmoeEvents *events);

/* Adds what users of a dataset were shown and did not choose: item i of the events to user[i], in any order. */
extern void fmoe_add_shown(FmoeDataset *data, int64 n, const int64 *user, const FmoeEvents *events);

/* ---------------------------------------------------------------- baskets */

/*
 * What tells events of one time apart, and puts together those of several: the
 * values of order_column and basket_column, numbered as they come.  NULL: the
 * domain has neither column, and the functions do nothing.
 */
typedef struct FmoeKeys FmoeKeys;
/* In the current context, without any value. */
extern FmoeKeys *fmoe_keys_create(const FmoeDomain *domain);
/*
 * Sets what the row's event has of them; false: the event, whose item is set and
 * unknown (-1), need not be collected.  It must be where it has a name, for its
 * time is its basket's; fmoe_make_baskets drops it.
 */
extern bool fmoe_keys_take(FmoeKeys *keys, FmoeRow *row);
/* When all are collected: makes numbers of n events what they are sorted by.  For each collection once. */
extern void fmoe_keys_settle(const FmoeKeys *keys, const FmoeEvents *events, int64 n);
extern Size fmoe_keys_bytes(const FmoeKeys *keys);

/*
 * Histories of sorted events, i's begin[i] .. end[i] - 1: what happened at once
 * is one basket.  Of an item that it has twice one stays, and of unknown items
 * none, so that a history may end earlier; where any basket has two items the
 * events get a column of baskets, in the current context.  Their names are no column
 * any more.
 */
extern void fmoe_make_baskets(FmoeEvents *events, int64 n_events, int64 n, const int64 *begin, int64 *end);
/* The same of all users of a dataset, whose events then lie end to end again. */
extern void fmoe_make_dataset_baskets(FmoeDataset *data);
/* Users whose last basket has several items. */
extern int64 fmoe_tied_users(const FmoeDataset *data);

#endif							/* FMOE_PG_INGEST_INGEST_H */

/*
 * data.h
 *	  Events as training and evaluation see them: datasets, cases, packed batches.
 */
#ifndef FMOE_MODEL_DATA_DATA_H
#define FMOE_MODEL_DATA_DATA_H

#include "model/data/features.h"

/* ---------------------------------------------------------------- events */

/* Columns of equal length; NULL: there is no such column. */
typedef struct FmoeEvents
{
	const int32_t *item;		/* 0 .. n_items - 1 */
	const double *time;			/* seconds since 1970 */
	const double *time_rest;	/* decides between equal times: what a double could not hold; NULL: nothing */
	const int8_t *label;		/* 1 chosen, 0 shown and not chosen; NULL: all were chosen */
	const float *weight;		/* how much an event counts, 0: not at all, it is context only; NULL: all count 1 */
	const int32_t *order;		/* decides between equal times: a place in an order; NULL: nothing */
	const int32_t *named;		/* the name of its basket, as a number from 1; 0: none; NULL: none has one */
	const uint32_t *tie;		/* decides between baskets of one time; NULL: nothing */
	const int32_t *basket;		/* equal for events of a user that happened at once; NULL: none did */
	const int32_t *source;		/* where it comes from, as a number from 1; 0: nobody knows; NULL: nobody asked */
} FmoeEvents;

/* One event, with all columns there may be. */
typedef struct FmoeEvent
{
	double		time;
	double		time_rest;
	int32_t		item;
	int32_t		order;
	int32_t		named;
	uint32_t	tie;
	int32_t		basket;
	int32_t		source;
	float		weight;
	int8_t		label;
} FmoeEvent;

/* Bytes of a block for n events with the columns that like has. */
extern size_t fmoe_events_bytes(const FmoeEvents *like, int64_t n);
/* Bytes of one event with the columns that like has, without padding. */
extern size_t fmoe_event_bytes(const FmoeEvents *like);
/* Points the columns that like has into such a block, aligned to FNN_ALIGN; does not touch its contents. */
extern void fmoe_events_place(FmoeEvents *events, const FmoeEvents *like, int64_t n, void *memory);
/* Copies events first .. first + n - 1 to places at .. of writable columns; from has all columns that to has. */
extern void fmoe_events_copy(const FmoeEvents *to, int64_t at, const FmoeEvents *from, int64_t first, int64_t n);
/* Copies events index[0], index[1], ..., n of them, to places at .. of writable columns. */
extern void fmoe_events_gather(const FmoeEvents *to, int64_t at, const FmoeEvents *from, int64_t n,
							   const int64_t *index);
/* Writes one event to place at of writable columns. */
extern void fmoe_events_put(const FmoeEvents *to, int64_t at, const FmoeEvent *event);
/* The events from first on. */
extern FmoeEvents fmoe_events_from(const FmoeEvents *events, int64_t first);
/*
 * Moves n events to their places in a larger block.  memory has room for more
 * events and begins with the bytes of a block for old events.
 */
extern void fmoe_events_spread(FmoeEvents *events, int64_t old, int64_t more, int64_t n, void *memory);
/* Replaces each item of n writable events by number[item]. */
extern void fmoe_events_renumber(const FmoeEvents *events, int64_t n, const int32_t *number);
/* The columns there are, as bits, and an example that has those. */
extern uint32_t fmoe_events_columns(const FmoeEvents *events);
extern FmoeEvents fmoe_events_like(uint32_t columns);
/* The events without other columns than these. */
extern FmoeEvents fmoe_events_only(const FmoeEvents *events, uint32_t columns);
/* The columns that are needed beside item and time to hold an event. */
extern uint32_t fmoe_event_columns_needed(const FmoeEvent *event);
/* Sets columns, as bits, of the first n events to what an event has that needs none. */
extern void fmoe_events_default(const FmoeEvents *events, uint32_t columns, int64_t n);
/* Whether events a and b are of one basket: they happened at the same time, and no order or name tells them apart. */
static inline bool
fmoe_events_at_once(const FmoeEvents *events, int64_t a, int64_t b)
{
	return events->time[a] == events->time[b] &&
		(events->time_rest == NULL || events->time_rest[a] == events->time_rest[b]) &&
		(events->order == NULL || events->order[a] == events->order[b]) &&
		(events->named == NULL || events->named[a] == events->named[b]);
}

/* Whether event i of a is earlier than event j of b, which may have other columns. */
extern bool fmoe_event_before(const FmoeEvents *a, int64_t i, const FmoeEvents *b, int64_t j);
/* Event i of a happens when event j of b does: it gets its time, and of what decides between equals what a has. */
extern void fmoe_events_move(const FmoeEvents *a, int64_t i, const FmoeEvents *b, int64_t j);
/* Compares events a and b by time, then basket, then item, then the other columns: -1, 0, 1. */
extern int	fmoe_events_compare(const FmoeEvents *events, int64_t a, int64_t b);
/* The first event of the basket that event is in, none before first. */
static inline int64_t
fmoe_basket_begin(const FmoeEvents *events, int64_t first, int64_t event)
{
	while (events->basket != NULL && event > first && events->basket[event - 1] == events->basket[event])
		event--;
	return event;
}

/* Behind the last event of the basket that event is in, at most end. */
static inline int64_t
fmoe_basket_end(const FmoeEvents *events, int64_t event, int64_t end)
{
	event++;
	while (events->basket != NULL && event < end && events->basket[event] == events->basket[event - 1])
		event++;
	return event;
}

/* Whether all events count the same as what is chosen. */
static inline bool
fmoe_events_even(const FmoeEvents *events)
{
	return events->weight == NULL && events->label == NULL;
}

/* How much an event counts as what is chosen, where it was; as part of a history every event is the same. */
static inline double
fmoe_event_weight(const FmoeEvents *events, int64_t event)
{
	if (events->label != NULL && events->label[event] == 0)
		return 0;
	return events->weight != NULL ? (double) events->weight[event] : 1;
}

/* How many of the events first .. end - 1 count at all. */
static inline int64_t
fmoe_events_counting(const FmoeEvents *events, int64_t first, int64_t end)
{
	int64_t		counting = 0;

	if (fmoe_events_even(events))
		return end - first;
	for (int64_t event = first; event < end; event++)
		counting += fmoe_event_weight(events, event) > 0;
	return counting;
}

/* How much an event counts as what comes next: where events have labels, what was not chosen counts, too. */
static inline double
fmoe_target_weight(const FmoeEvents *events, int64_t event)
{
	return events->weight != NULL ? (double) events->weight[event] : 1;
}

/* How many of the events first .. end - 1 count at all as what comes next. */
static inline int64_t
fmoe_targets_counting(const FmoeEvents *events, int64_t first, int64_t end)
{
	int64_t		counting = 0;

	if (events->weight == NULL)
		return end - first;
	for (int64_t event = first; event < end; event++)
		counting += events->weight[event] > 0;
	return counting;
}

/* fnn_hash over the columns. */
extern uint64_t fmoe_events_hash(uint64_t hash, const FmoeEvents *events, int64_t n);

/* ---------------------------------------------------------------- datasets */

typedef enum FmoeHoldout
{
	FMOE_HOLDOUT_NONE,			/* every event trains */
	FMOE_HOLDOUT_VALIDATION,	/* a user's last basket is kept back for validation */
	FMOE_HOLDOUT_TEST,			/* the last for test, the one before for validation */
	FMOE_HOLDOUT_VALIDATION_FIFTH,	/* a user's last fifth of events, in whole baskets, for validation */
	FMOE_HOLDOUT_TEST_FIFTH,	/* the last fifth for test, of the others the last fifth for validation */
	FMOE_HOLDOUTS
} FmoeHoldout;

/* What users were shown and did not choose: in no history and no answer, but seen from then on. */
typedef struct FmoeShown
{
	int64_t		count;			/* 0: nothing, and no pointer below is used */
	const int64_t *offset;		/* [n_users + 1] into the events */
	FmoeEvents	events;			/* [count] each user's in time order, an item once */
} FmoeShown;

/*
 * All events of a domain, users end to end, each user's in time order.  Those
 * of a basket stand together; which of them comes first means nothing.
 */
typedef struct FmoeDataset
{
	int64_t		n_users;
	int64_t		n_events;
	int32_t		n_items;
	const int64_t *offset;		/* [n_users + 1] into the events */
	FmoeEvents	events;			/* [n_events] */
	FmoeShown	shown;
	const FmoeFeatures *features;	/* of the items; NULL: none are known */
	const FmoeFeatures *user_features;	/* of the users; NULL: none are known */
} FmoeDataset;

/*
 * A dataset with its features can lie in one block without pointers, aligned to
 * FNN_ALIGN, that processes map at different addresses.
 */
/* Bytes of the block for a dataset. */
extern size_t fmoe_dataset_shared_bytes(const FmoeDataset *data);
/* Fills a block from a dataset. */
extern void fmoe_dataset_share(const FmoeDataset *data, void *block);
/* The dataset that lies in a block; what it needs beside the block is on the arena. */
extern FmoeDataset fmoe_dataset_shared(FnnArena *arena, const void *block);

/*
 * End of a user's events that train under a holdout: they are offset[user] .. the
 * result - 1.  Of what is kept back the first basket has an event that counts as what comes next.
 */
extern int64_t fmoe_train_end(const FmoeDataset *data, FmoeHoldout holdout, int64_t user);
/* End of what is kept back for validation, from fmoe_train_end on; what is behind is for test. */
extern int64_t fmoe_validation_end(const FmoeDataset *data, FmoeHoldout holdout, int64_t user);
/* Whether a training with the first holdout keeps back all that one with the other does. */
extern bool fmoe_holds_back(FmoeHoldout holdout, FmoeHoldout other);
/* A holdout that keeps back no more than either of two. */
extern FmoeHoldout fmoe_least_holdout(FmoeHoldout a, FmoeHoldout b);
/* Where a user's last fifth of the events before end begins, in whole baskets; end: nowhere. */
extern int64_t fmoe_last_fifth(const FmoeDataset *data, int64_t user, int64_t end);

/* Where a user's last basket before end begins that has such an event, and a basket before it; -1: nowhere. */
extern int64_t fmoe_last_answer(const FmoeDataset *data, int64_t user, int64_t end);

/*
 * Histories to be continued: case c is events begin[c] .. end[c] - 1.  Its
 * answers are in the basket that followed: what of it counts, all or what was new.
 */
typedef struct FmoeCases
{
	int64_t		count;
	int64_t    *begin;
	int64_t    *end;
	int64_t    *first;			/* [count + 1] case c's answers are first[c] .. first[c + 1] - 1 of … */
	int64_t    *answer;			/* … these events */
	int64_t    *shown_begin;	/* [count] before case c was answered, the user was shown and did not choose … */
	int64_t    *shown_end;		/* … shown_begin[c] .. shown_end[c] - 1; NULL: nobody was shown anything */
	int64_t		users;			/* who have cases, before the limit */
	int64_t		lone;			/* users with one basket, who are no case */
	int64_t		repeated;		/* users who are none because all their answers had been seen */
} FmoeCases;

typedef enum FmoeSplit
{
	FMOE_SPLIT_VALIDATION,		/* the basket that the holdout keeps back for early stopping */
	FMOE_SPLIT_TEST,			/* a user's last basket that counts; users with at least 3 */
	FMOE_SPLIT_FIFTH,			/* a user's last fifth of events, in whole baskets; of impressions only */
	FMOE_SPLIT_TIME				/* every basket after a time that has a history before it */
} FmoeSplit;

/* Which cases are wanted. */
typedef struct FmoeCasesWanted
{
	FmoeSplit	split;
	FmoeHoldout holdout;
	bool		unseen;			/* items that were seen are no answers */
	double		after;			/* seconds, of FMOE_SPLIT_TIME */
	int64_t		limit;			/* at most that many users, chosen by seed; 0: all */
	uint64_t	seed;
} FmoeCasesWanted;

/* Bytes that a case takes beside its answers. */
static inline size_t
fmoe_case_bytes(const FmoeDataset *data)
{
	return (data->shown.count > 0 ? 5 : 3) * sizeof(int64_t);
}

extern FmoeCases *fmoe_cases(FnnArena *arena, const FmoeDataset *data, const FmoeCasesWanted *wanted);
/* [to - from] when cases from .. to - 1 were answered, on the arena. */
extern const double *fmoe_case_times(FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases, int64_t from,
									 int64_t to);
/*
 * The items that had been seen when case c was answered: those of its history,
 * and what was shown.  Some may come twice.  room has place for fmoe_seen_most of them.
 */
extern FnnRows fmoe_case_seen(const FmoeDataset *data, const FmoeCases *cases, int64_t c, int32_t *room);
/* The most that fmoe_case_seen writes for one of cases from .. to - 1. */
extern int64_t fmoe_seen_most(const FmoeCases *cases, int64_t from, int64_t to);
/* Those of validation, as the model serves: without what was seen. */
extern FmoeCases *fmoe_validation_cases(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, int64_t limit,
										uint64_t seed);

/* ---------------------------------------------------------------- batches */

/* The baskets of a packed batch, which its tokens are end to end. */
typedef struct FmoeBaskets
{
	FnnSequences sequences;		/* in baskets */
	const int32_t *begin;		/* [baskets] first token */
	const int32_t *count;		/* [baskets] tokens */
	const int32_t *of;			/* [n_tokens] the basket of each */
} FmoeBaskets;

/* A packed batch of histories: what every expert reads. */
typedef struct FmoeBatch
{
	FnnSequences sequences;		/* reach: to the end of a token's basket */
	int64_t		n_tokens;
	FmoeEvents	events;			/* [n_tokens] */
	const int32_t *position;	/* [n_tokens] how many baskets of its sequence are before each */
	const int32_t *last;		/* [sequences.count] each sequence's last token; -1: it is empty */
	const FmoeBaskets *baskets; /* NULL: every token is one, and sequences has no reach */
	bool		ordered;		/* the events of each basket are in an order that means something */
	bool		keeps_seen;		/* what a history has may be an answer; set by who asks */
	/* set by who knows users: */
	const int32_t *user;		/* [sequences.count] whose history each is, -1: nobody known; NULL: nobody is */
	const FmoeFeatures *user_features;	/* of these users; NULL: those of the expert */
	const FnnTensor *private_rows;	/* rows of single users; NULL: those that the expert has for user, if any */
	const int32_t *private_of;	/* [sequences.count] each one's, -1: none; with private_rows only */
	const double *now;			/* [sequences.count] when each is asked, in seconds since 1970; set by who asks; NULL:
								 * not known */
} FmoeBatch;

/* The items of the last basket of a sequence that is not empty. */
static inline FnnRows
fmoe_last_items(const FmoeBatch *batch, int32_t sequence)
{
	int32_t		last = batch->last[sequence];
	int32_t		count = batch->baskets != NULL ? batch->baskets->count[batch->baskets->of[last]] : 1;

	return (FnnRows) {.count = count, .row = batch->events.item + last + 1 - count};
}

/*
 * Packs n histories (each events begin[i] .. end[i] - 1), of each the last
 * max_length events; of a basket that does not fit whole, those that a hash
 * chooses, which depends on the items of the basket alone.  An empty history is
 * an empty sequence.
 */
extern FmoeBatch *fmoe_batch(FnnArena *arena, const FmoeEvents *events, int64_t n,
							 const int64_t *begin, const int64_t *end, int max_length);
/* Bytes of a batch for each token: its event, its place, and where there are baskets, what is known of these. */
static inline size_t
fmoe_token_bytes(const FmoeEvents *events)
{
	if (events->basket == NULL)
		return fmoe_event_bytes(events) + sizeof(int32_t);
	/* the last three: a token's number, where it was, and where it is in its basket's order */
	return 2 * fmoe_event_bytes(events) + sizeof(int32_t) * 9 + 3 * sizeof(int64_t);
}

/*
 * Puts the events of each basket of a packed batch, which has no features of users
 * or items yet that go by tokens, into an order that is drawn.
 */
extern void fmoe_batch_draw(FnnArena *arena, FmoeBatch *batch, uint64_t seed, uint64_t stream);
/*
 * The batch with the events of each basket in an order: the one that was drawn, else
 * one by a hash of the basket's items, which depends neither on ids nor on who asks.
 */
extern FmoeBatch fmoe_batch_ordered(FnnArena *arena, const FmoeBatch *batch);
/* The same as if each event were a basket of its own: with a position each, and nothing seen ahead. */
extern FmoeBatch fmoe_batch_in_turn(FnnArena *arena, const FmoeBatch *batch);

/* Sets whose the sequences of a batch are, that was packed of a dataset with these begins. */
extern void fmoe_batch_users(FnnArena *arena, FmoeBatch *batch, const FmoeDataset *data, const int64_t *begin);
/* The batch without its empty sequences; of[sequences.count]: which sequence the i-th one was. */
extern FmoeBatch fmoe_without_empty(FnnArena *arena, const FmoeBatch *batch, int32_t *of);
/* Sequences first .. first + n - 1 of a batch. */
extern FmoeBatch fmoe_batch_part(FnnArena *arena, const FmoeBatch *batch, int32_t first, int32_t n);
/*
 * Numbers the different ones among item[n], in the order in which they come first:
 * distinct[n] are these, row[n] each one's number; returns how many there are.  What
 * it leaves on the arena are n_items numbers at most.
 */
extern int32_t fmoe_number_items(FnnArena *arena, int64_t n, const int32_t *item, int32_t n_items, int32_t *distinct,
								 int32_t *row);

#endif							/* FMOE_MODEL_DATA_DATA_H */

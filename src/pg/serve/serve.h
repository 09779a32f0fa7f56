/*
 * serve.h
 *	  What all calls that answer from a model share: the state of a call site, and
 *	  the steps from ids to indexes, to a history, to the best k, to rows.
 */
#ifndef FMOE_PG_SERVE_SERVE_H
#define FMOE_PG_SERVE_SERVE_H

#include "pg/cache/cache.h"
#include "pg/ingest/ingest.h"
#include "funcapi.h"

/* Items of a call that the version does not know, and the item table does. */
typedef struct FmoeMet FmoeMet;

/*
 * Items that the vocabulary knows, or strangers (strangers.c).  A history has all
 * columns of events, a list of candidates only items.
 */
typedef struct FmoeItems
{
	int64		count;
	FmoeEvents	events;			/* [count] */
	int64		n_shown;		/* of a history: items that were shown and not chosen, which are in no event of it … */
	int32	   *shown;			/* … but count as seen */
	const FmoeFeatures *users;	/* of a history: what is known of users, of whom it is that of … */
	int32		user;			/* … that row; NULL: nothing, or nobody asks */
	const double *asked;		/* of a history as it was: when, in seconds since 1970; NULL: now */
	FnnTensor  *private_row;	/* of a history: the user's own row of the version; NULL: none */
} FmoeItems;

/* Items that the item table and a filter let through. */
typedef struct FmoeAllowed
{
	struct FmoeAllowed *next;	/* of another filter, used less recently */
	char	   *filter;			/* NULL: none */
	int64		count;
	uint64	   *set;			/* fnn_set_words */
	FmoeVocabulary *others;		/* id set: those that the version does not know; NULL: not wanted */
	int32	   *item;			/* [count] ascending, where they are few; else NULL */
} FmoeAllowed;

/* Of items that the version knows. */
static inline bool
fmoe_allows(const FmoeAllowed *allowed, int32 item)
{
	return (allowed->set[item / 64] >> item % 64 & 1) != 0;
}

/* What a call may answer with. */
typedef struct FmoeFilter
{
	const FmoeItems *seen;		/* not these; NULL: none */
	const FmoeItems *exclude;	/* nor these; NULL: none */
	const FmoeItems *candidates;	/* only these; NULL: all */
	const FmoeAllowed *allowed; /* nor others than these; NULL: all */
	bool		look_up;		/* nor those that the item table does not have as available */
} FmoeFilter;

/* Where a call's arguments are, by position; -1: it has none of that kind. */
typedef struct FmoeArguments
{
	bool		fixed;			/* ids come back in the type of those given; else a first argument names it */
	int			user;
	int			item;			/* or an array of items */
	int			history;
	int			k;
	int			domain;
	int			exclude_seen;
	int			exclude;
	int			candidates;
	int			as_of;
	int			version;
	int			filter;
	int			basket;			/* whether the history is one; of calls that have a history */
} FmoeArguments;

/* Of fmoe_recommend: user, k, domain, exclude_seen, exclude, candidates, as_of, version, filter, from first on. */
#define FMOE_BY_USER(is_fixed, first) { \
	.fixed = (is_fixed), .user = (first), .item = -1, .history = -1, .k = (first) + 1, .domain = (first) + 2, \
	.exclude_seen = (first) + 3, .exclude = (first) + 4, .candidates = (first) + 5, .as_of = (first) + 6, \
	.version = (first) + 7, .filter = (first) + 8 \
}

/* Where a call site's ids come from; each has its own converter. */
typedef enum FmoeIdSource
{
	FMOE_ID_USER,
	FMOE_ID_ITEM,
	FMOE_ID_HISTORY,
	FMOE_ID_EXCLUDE,
	FMOE_ID_CANDIDATES,
	FMOE_ID_RESULT,
	FMOE_ID_SOURCES
} FmoeIdSource;

typedef struct FmoeIdConverter
{
	Oid			from;
	Oid			to;
	FmoeConverter *converter;	/* NULL: not made yet */
} FmoeIdConverter;

/* What lasts as long as a call site. */
typedef struct FmoeSite
{
	MemoryContext context;
	FnnArena   *arena;			/* scratch and answer of one call; its blocks are kept */
	FnnMark		start;			/* of the arena, before any call */
	FmoeIdConverter converter[FMOE_ID_SOURCES];
	struct AppliedModel *applied;	/* models of fmoe_apply, the one used last first */
} FmoeSite;

/* The user, transaction and snapshot that decide what is seen. */
typedef struct FmoeSight
{
	bool		valid;
	Oid			user;
	LocalTransactionId transaction;
	SubTransactionId subtransaction;
	TransactionId xmin;
	TransactionId xmax;
	uint32		xcnt;
	int32		subxcnt;
	CommandId	command;
} FmoeSight;

/* What fmoe_serve_resolve found: valid while the same domain is asked for in the same sight. */
typedef struct FmoeMoment
{
	MemoryContext context;
	FmoeSight	sight;
	char	   *asked;			/* domain argument, NULL: none */
	int32		asked_version;	/* version argument; least of all numbers: none */
	char	   *setting;		/* fmoe.domain at the time */
	FmoeDomain *domain;
	int64		version_id;
	FmoeAllowed *allowed;		/* the sets that were made, the one used last first */
	int			look_ups;		/* calls that looked their best items up */
	bool		whole;			/* live or asked for; else the newest, whose fallback answers */
} FmoeMoment;

/* What lasts until the next call. */
typedef struct FmoeCall
{
	MemoryContext context;
	FmoeLoaded *loaded;			/* the version that answers */
	bool		keeps_seen;		/* what the history has may be recommended */
	FmoeMet    *met;			/* NULL: items that the version does not know are left out */
} FmoeCall;

typedef struct FmoeServing FmoeServing;

/* Rows still to be given out. */
typedef struct FmoeAnswer
{
	bool		active;
	TupleDesc	desc;			/* made once a site */
	const FmoeVocabulary *vocabulary;	/* NULL: ids are given */
	const FmoeServing *serving; /* whose strangers have the numbers behind the vocabulary's */
	Oid			item_type;		/* of the vocabulary */
	FmoeConverter *to_result;
	int64		count;
	int64		next;
	const int32 *item;			/* [count], when vocabulary is there */
	const Datum *id;			/* [count], when not */
	const bool *id_null;		/* [count], when not */
	const fnn_real *score;		/* [count], NaN: null */
	Datum		source;			/* text; 0: no such column */
	const int64 *baskets;		/* [count] another third column; NULL: no such column */
} FmoeAnswer;

/*
 * The state of one call site, in flinfo->fn_extra.  A query that asks for many
 * users calls the same site again and again: the domain and its version are
 * looked up once a snapshot, and scratch memory is kept from call to call.
 */
struct FmoeServing
{
	FmoeSite	site;
	FmoeMoment	moment;
	FmoeCall	call;
	FmoeAnswer	rows;
};

/* The state of this call site, made when it is not there. */
extern FmoeServing *fmoe_serving(FunctionCallInfo fcinfo);
/* Starts a call: frees what the previous one left. */
extern void fmoe_serve_begin(FmoeServing *serving);
/*
 * Sets moment and call.loaded for the domain and version asked for; an error
 * when there is none, or when ids would come back in a type that cannot hold
 * those of the domain.
 */
extern void fmoe_serve_resolve(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at);

/* ---------------------------------------------------------------- strangers */

/* From here on the call reads items that its version does not know by their features, where there are any. */
extern void fmoe_serve_meets(FmoeServing *serving);
/* How many numbers there are behind the version's. */
extern int32 fmoe_serve_strangers(const FmoeServing *serving);
/* An item's number; -1: it has none.  fmoe_serve_number gives it one, which counts only after fmoe_serve_ask. */
extern int32 fmoe_serve_find(const FmoeServing *serving, Datum id);
extern int32 fmoe_serve_number(FmoeServing *serving, Datum id);
/* Reads the item table for those that got numbers since. */
extern void fmoe_serve_ask(FmoeServing *serving);
/* Whether the version or the item table knows an item; -1 is none. */
extern bool fmoe_serve_knows(const FmoeServing *serving, int32 item);
/* The id of a number. */
extern Datum fmoe_serve_item_id(const FmoeServing *serving, int32 item);
/* The model that knows them all; to be called when no mark is set on the call's arena. */
extern const FmoeModel *fmoe_serve_model(FmoeServing *serving);
/* Whether an item, of those the call knows, is allowed. */
extern bool fmoe_serve_allows(const FmoeServing *serving, const FmoeAllowed *allowed, int32 item);

/* ---------------------------------------------------------------- what is asked for */

/* The converter of a source of ids; made anew when the types have changed. */
extern FmoeConverter *fmoe_serve_converter(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to);
/* Converts an id from outside to the wanted type, in the memory of the call. */
extern Datum fmoe_serve_id(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to, Datum id);
/* Type of an argument that is declared with more than one, or none. */
extern Oid	fmoe_argument_type(FunctionCallInfo fcinfo, int argument);
/* Indexes of an array of ids of any type; nulls and unknown ids are left out. */
extern FmoeItems *fmoe_serve_array(FmoeServing *serving, FmoeIdSource source, Datum array,
								   Oid item_type, const FmoeVocabulary *vocabulary);
/* An argument that is an array of ids, or an array's literal: text, or without a type. */
extern ArrayType *fmoe_serve_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int argument);
/* Its items; NULL: it is null, or there is no such argument. */
extern FmoeItems *fmoe_serve_list(FunctionCallInfo fcinfo, FmoeServing *serving, FmoeIdSource source, int argument);
/* The history of the user asked for, as it is now or was at as_of. */
extern FmoeItems *fmoe_serve_history(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at);
/* The same for a user of the domain's own type. */
/* What the version's model reads, a set of FmoeReads. */
extern unsigned fmoe_serve_reads(const FmoeServing *serving);
/* The row that a user of the domain's type has of their own in the version, in the current context; NULL: none. */
extern FnnTensor *fmoe_serve_private(FmoeServing *serving, Datum user);
/* What is known of users, with row[i] that of user[i], in the current context; NULL: nothing that the model reads. */
extern const FmoeFeatures *fmoe_serve_users(FmoeServing *serving, int n, const Datum *user, int32 *row);
extern FmoeItems *fmoe_serve_history_of(FmoeServing *serving, Datum user, TimestampTz as_of);
/* Leaves each item of a list once, ascending. */
extern void fmoe_serve_distinct(FmoeItems *items);
/* Makes a list of items a history of one basket. */
extern void fmoe_serve_basket(FmoeServing *serving, FmoeItems *items);
/* What a call's arguments let through, besides what they take of a history. */
extern FmoeFilter fmoe_serve_filter(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at,
									const FmoeItems *history);
/* Lets only those through that satisfy a condition (NULL: none) over the item table, and are there and available. */
extern void fmoe_serve_allow(FmoeServing *serving, const char *condition, FmoeFilter *filter);
/* What look_up is for as a set, for those who ask for many users. */
extern void fmoe_serve_allow_all(FmoeServing *serving, FmoeFilter *filter);
/* Whether this call is to look its best items up; else the set is quicker. */
extern bool fmoe_serve_by_look_up(FmoeServing *serving);
/* Leaves the k best of those that are available among the want best; false: there may be more beyond them. */
extern bool fmoe_serve_look_up(FmoeServing *serving, FnnTopk *best, int32 want, int32 k);
/* k of an argument: null is 10, less than 1 an error. */
extern int32 fmoe_serve_k(FunctionCallInfo fcinfo, int argument);
/* The expert that answers a history of so many known events: the model, or a fallback. */
extern FmoeExpertSlot fmoe_serve_slot(const FmoeServing *serving, int64 events);
/* What the column source says of it. */
extern const char *fmoe_serve_source(const FmoeServing *serving, FmoeExpertSlot slot);

/* Packs the last max_length events of one history, on the call's arena. */
/* What now() says, n times, on the arena. */
extern const double *fmoe_serve_now(FmoeServing *serving, int64 n);
extern FmoeBatch *fmoe_serve_batch(FmoeServing *serving, const FmoeItems *history, int max_length);
/*
 * The best min(k, eligible) items that the filter leaves, by descending score,
 * equal ones by ascending index; on the call's arena.
 */
extern FnnTopk *fmoe_serve_best(FmoeServing *serving, const FmoeModel *model, FmoeExpertSlot slot,
								const FmoeItems *history, const FmoeFilter *filter, int32 k);
/* The same of an item's neighbours, by the cosine of their vectors; itself is for the filter to leave out. */
extern FnnTopk *fmoe_serve_nearest(FmoeServing *serving, const FmoeModel *model, int32 item, const FmoeFilter *filter,
								   int32 k);
/* The same of what was in baskets with items, all different, by the sum of its lift with each. */
extern FnnTopk *fmoe_serve_together(FmoeServing *serving, const FmoeModel *model, const FmoeItems *items,
									const FmoeFilter *filter, int32 k);
/* An empty ranking of at most k of n items, on the call's arena. */
extern FnnTopk *fmoe_serve_topk(FmoeServing *serving, int32 k, int64 n);
/* Sorts a filled ranking; fails where a score is not finite. */
extern void fmoe_serve_ranked(FnnTopk *best);

/* Type of the first column of the rows: the item ids'. */
extern Oid	fmoe_serve_result_type(FunctionCallInfo fcinfo, FmoeServing *serving);
/* Makes a ranking the rows of this call; source NULL: the result has no such column. */
extern void fmoe_serve_answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeVocabulary *vocabulary,
							  Oid item_type, const FnnTopk *best, const char *source);
/* Makes ids in the result's own type, with their scores, the rows of this call. */
extern void fmoe_serve_answer_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int64 count,
								  const Datum *id, const bool *id_null, const fnn_real *score);
/* Gives out the next row, or ends the set. */
extern Datum fmoe_serve_next(FunctionCallInfo fcinfo, FmoeServing *serving);

#endif							/* FMOE_PG_SERVE_SERVE_H */

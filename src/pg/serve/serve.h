/*
 * serve.h
 *	  What every call that answers from a model shares: the state a call site keeps,
 *	  ids to indexes, a history to scores, scores to the best k, the best k to rows.
 */
#ifndef FMOE_PG_SERVE_SERVE_H
#define FMOE_PG_SERVE_SERVE_H

#include "pg/cache/cache.h"
#include "pg/ingest/ingest.h"
#include "funcapi.h"

/* Items by index; those the vocabulary does not know are left out. */
typedef struct FmoeItems
{
	int64		count;
	int32	   *item;			/* [count] */
	double	   *time;			/* [count] seconds, or NULL */
} FmoeItems;

/* What a call may answer with. */
typedef struct FmoeFilter
{
	const FmoeItems *seen;		/* not these; NULL: none */
	const FmoeItems *exclude;	/* nor these; NULL: none */
	const FmoeItems *candidates;	/* only these; NULL: all */
} FmoeFilter;

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

/* The snapshot, user and settings under which a domain was looked up. */
typedef struct FmoeMoment
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
} FmoeMoment;

/*
 * The state of one call site, in flinfo->fn_extra.  A query that asks for many
 * users calls the same site again and again: the domain and its version are
 * looked up once a snapshot, and scratch memory is kept from call to call.
 */
typedef struct FmoeServing
{
	MemoryContext context;		/* as long as the call site */
	MemoryContext call;			/* reset when the next call begins */
	FnnArena   *arena;			/* scratch and answer of one call; its blocks are kept */
	FnnMark		start;
	FmoeIdConverter converter[FMOE_ID_SOURCES];

	/* what fmoe_serving_resolve found */
	MemoryContext resolved;
	FmoeMoment	moment;
	char	   *asked;			/* domain argument, NULL: none */
	char	   *setting;		/* fmoe.domain at the time */
	FmoeDomain *domain;
	int64		version_id;
	bool		live;			/* else version_id is the newest version, of which only the count experts serve */
	FmoeExpertSlot fallback;	/* the better count expert for a known last item */
	FmoeLoaded *loaded;			/* fetched again by every call */

	/* rows still to be given out */
	bool		active;
	TupleDesc	desc;
	const FmoeVocabulary *vocabulary;	/* NULL: ids are given */
	Oid			item_type;		/* of the vocabulary */
	FmoeConverter *to_result;
	int64		count;
	int64		next;
	const int32 *item;			/* [count], when vocabulary is there */
	const Datum *id;			/* [count], when not */
	const bool *id_null;		/* [count], when not */
	const fnn_real *score;		/* [count], NaN: NULL */
	Datum		source;			/* text; 0: no such column */
} FmoeServing;

/* The state of this call site, made when it is not there. */
extern FmoeServing *fmoe_serving(FunctionCallInfo fcinfo);
/* Starts a call: what the previous one left is forgotten. */
extern void fmoe_serving_begin(FmoeServing *serving);
/*
 * Domain of the argument and the version that serves it: domain, version_id,
 * live, fallback, loaded.  An error when the domain has no version.
 */
extern void fmoe_serving_resolve(FunctionCallInfo fcinfo, FmoeServing *serving, int argument);

/* The converter of a source of ids, made when the types have changed. */
extern FmoeConverter *fmoe_serving_converter(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to);
/* An id from outside in the type that is wanted; memory of the call. */
extern Datum fmoe_serving_id(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to, Datum id);
/* Type of an argument declared "any". */
extern Oid	fmoe_argument_type(FunctionCallInfo fcinfo, int argument);
/* Indexes of an array of ids of any type; NULLs and unknown ids are left out. */
extern FmoeItems *fmoe_serving_array(FmoeServing *serving, FmoeIdSource source, Datum array,
									 Oid item_type, const FmoeVocabulary *vocabulary);
/* The history of a user id given as an argument, as it is now or was at as_of (argument, < 0: none). */
extern FmoeItems *fmoe_serving_history(FunctionCallInfo fcinfo, FmoeServing *serving,
									   int user_argument, int as_of_argument);
/* k of an argument: NULL is 10, less than 1 an error. */
extern int32 fmoe_serving_k(FunctionCallInfo fcinfo, int argument);
/* The expert that answers a history: the model, or the fallback. */
extern FmoeExpertSlot fmoe_serving_slot(const FmoeServing *serving, const FmoeItems *history);

/* One history, packed, on the call's arena. */
extern FmoeBatch *fmoe_serving_batch(FmoeServing *serving, const FmoeItems *history, int max_length);
/*
 * The k best items that the filter leaves, by descending score, ties by
 * ascending index, on the call's arena; exactly min(k, eligible).
 */
extern FnnTopk *fmoe_serving_best(FmoeServing *serving, const FmoeModel *model, FmoeExpertSlot slot,
								  const FmoeItems *history, const FmoeFilter *filter, int32 k);
/* An empty ranking of at most k of n items, on the call's arena, and its order and check when it is filled. */
extern FnnTopk *fmoe_serving_topk(FmoeServing *serving, int32 k, int64 n);
extern void fmoe_serving_ranked(FnnTopk *best);

/* Makes a ranking the rows of this call; source NULL: the result has no such column. */
extern void fmoe_serving_answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeVocabulary *vocabulary,
								Oid item_type, const FnnTopk *best, const char *source);
/* Makes ids in the result's own type, with their scores, the rows of this call. */
extern void fmoe_serving_answer_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int64 count,
									const Datum *id, const bool *id_null, const fnn_real *score);
/* Gives out the next row, or ends the set. */
extern Datum fmoe_serving_next(FunctionCallInfo fcinfo, FmoeServing *serving);

#endif							/* FMOE_PG_SERVE_SERVE_H */

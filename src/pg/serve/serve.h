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

/* Items that the vocabulary knows.  A history has all columns of events, a list of candidates only items. */
typedef struct FmoeItems
{
	int64		count;
	FmoeEvents	events;			/* [count] */
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
	char	   *setting;		/* fmoe.domain at the time */
	FmoeDomain *domain;
	int64		version_id;
	bool		live;			/* else it is the newest version, whose fallback answers */
} FmoeMoment;

/* What lasts until the next call. */
typedef struct FmoeCall
{
	MemoryContext context;
	FmoeLoaded *loaded;			/* the version that answers */
} FmoeCall;

/* Rows still to be given out. */
typedef struct FmoeAnswer
{
	bool		active;
	TupleDesc	desc;			/* made once a site */
	const FmoeVocabulary *vocabulary;	/* NULL: ids are given */
	Oid			item_type;		/* of the vocabulary */
	FmoeConverter *to_result;
	int64		count;
	int64		next;
	const int32 *item;			/* [count], when vocabulary is there */
	const Datum *id;			/* [count], when not */
	const bool *id_null;		/* [count], when not */
	const fnn_real *score;		/* [count], NaN: null */
	Datum		source;			/* text; 0: no such column */
} FmoeAnswer;

/*
 * The state of one call site, in flinfo->fn_extra.  A query that asks for many
 * users calls the same site again and again: the domain and its version are
 * looked up once a snapshot, and scratch memory is kept from call to call.
 */
typedef struct FmoeServing
{
	FmoeSite	site;
	FmoeMoment	moment;
	FmoeCall	call;
	FmoeAnswer	rows;
} FmoeServing;

/* The state of this call site, made when it is not there. */
extern FmoeServing *fmoe_serving(FunctionCallInfo fcinfo);
/* Starts a call: frees what the previous one left. */
extern void fmoe_serve_begin(FmoeServing *serving);
/* Finds the domain of an argument and its version, loads it, sets moment and call.loaded; fails without a version. */
extern void fmoe_serve_resolve(FunctionCallInfo fcinfo, FmoeServing *serving, int argument);

/* The converter of a source of ids; made anew when the types have changed. */
extern FmoeConverter *fmoe_serve_converter(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to);
/* Converts an id from outside to the wanted type, in the memory of the call. */
extern Datum fmoe_serve_id(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to, Datum id);
/* Type of an argument that is declared "any"; fails when it is not known. */
extern Oid	fmoe_argument_type(FunctionCallInfo fcinfo, int argument);
/* Indexes of an array of ids of any type; nulls and unknown ids are left out. */
extern FmoeItems *fmoe_serve_array(FmoeServing *serving, FmoeIdSource source, Datum array,
								   Oid item_type, const FmoeVocabulary *vocabulary);
/* The history of the user whose id is an argument, as of another argument's moment (negative, or null: now). */
extern FmoeItems *fmoe_serve_history(FunctionCallInfo fcinfo, FmoeServing *serving,
									 int user_argument, int as_of_argument);
/* k of an argument: null means 10, less than 1 is an error. */
extern int32 fmoe_serve_k(FunctionCallInfo fcinfo, int argument);
/* The expert that answers a history of so many known events: the model, or a fallback. */
extern FmoeExpertSlot fmoe_serve_slot(const FmoeServing *serving, int64 events);

/* Packs the last max_length events of one history, on the call's arena. */
extern FmoeBatch *fmoe_serve_batch(FmoeServing *serving, const FmoeItems *history, int max_length);
/*
 * The best min(k, eligible) items that the filter leaves, by descending score,
 * equal ones by ascending index; on the call's arena.
 */
extern FnnTopk *fmoe_serve_best(FmoeServing *serving, const FmoeModel *model, FmoeExpertSlot slot,
								const FmoeItems *history, const FmoeFilter *filter, int32 k);
/* An empty ranking of at most k of n items, on the call's arena. */
extern FnnTopk *fmoe_serve_topk(FmoeServing *serving, int32 k, int64 n);
/* Sorts a filled ranking; fails where a score is not finite. */
extern void fmoe_serve_ranked(FnnTopk *best);

/* Makes a ranking the rows of this call; source NULL: the result has no column source. */
extern void fmoe_serve_answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeVocabulary *vocabulary,
							  Oid item_type, const FnnTopk *best, const char *source);
/* Makes ids in the result's own type, with their scores, the rows of this call. */
extern void fmoe_serve_answer_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int64 count,
								  const Datum *id, const bool *id_null, const fnn_real *score);
/* Gives out the next row, or ends the set. */
extern Datum fmoe_serve_next(FunctionCallInfo fcinfo, FmoeServing *serving);

#endif							/* FMOE_PG_SERVE_SERVE_H */

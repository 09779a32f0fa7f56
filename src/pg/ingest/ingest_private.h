/*
 * ingest_private.h
 *	  What the files that read interactions share among themselves.
 */
#ifndef FMOE_PG_INGEST_INGEST_PRIVATE_H
#define FMOE_PG_INGEST_INGEST_PRIVATE_H

#include "model/data/bag.h"
#include "pg/ingest/ingest.h"

#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/float.h"
#include "utils/queryenvironment.h"

/* Bytes that sorting takes for each event, beside the events. */
#define FMOE_SORT_BYTES 16

/* What a query of events selects: the item, then what fmoe_row takes; ready to be put into SQL. */
extern char *fmoe_event_columns(const FmoeDomain *domain);
/* The query of all rows: the user and the event's columns. */
extern char *fmoe_table_query(const FmoeDomain *domain);
/* Sets a row of a user from the values of fmoe_event_columns. */
extern FmoeLeftOut fmoe_row(FmoeRow *row, const FmoeDomain *domain, Datum user, const Datum *value,
							const bool *isnull);
/* A number of a type of numbers, in the nearest double. */
extern double fmoe_number(Oid type, Datum value);
/* OPERATOR(schema.name), ready to be put into SQL. */
extern char *fmoe_operator_name(Oid operator);

/* ---------------------------------------------------------------- the item table */

/* The item table, quoted and qualified; it must be there. */
extern char *fmoe_item_relation(const FmoeDomain *domain);
/* The type of a column of the item table, which must be there. */
extern Oid	fmoe_item_column_type(const FmoeDomain *domain, const char *column);

/* The ids among id[n] that can be keys, as an array of the keys' type. */
extern ArrayType *fmoe_item_keys(const FmoeDomain *domain, Oid key_type, int n, const Datum *id);

/* How keys of the item table become ids of items. */
typedef struct FmoeItemKey
{
	Oid			key_type;
	Oid			item_type;
	FmoeConverter *converter;
} FmoeItemKey;

extern void fmoe_item_key(FmoeItemKey *key, const FmoeDomain *domain);
/* The item of a key that is not null, in the current context; false: no item can have it as its id. */
extern bool fmoe_item_of_key(const FmoeItemKey *key, Datum value, Datum *item);

/* Those of n ids that can be keys of that type, as an array. */
extern ArrayType *fmoe_item_keys(const FmoeDomain *domain, Oid key_type, int n, const Datum *id);

/* A column of the query, behind the key. */
typedef struct FmoeCatalogueColumn
{
	FmoeModality modality;
	int			number;			/* from 1, among those of its modality */
	const char *name;
	Oid			type;			/* as it is selected */
	FmoeBag    *bag;			/* of categories */
	int32		width;			/* of vectors, as the first one has it; 0: none came yet */
	float	   *vector;			/* [capacity, width] NaN: unknown */
} FmoeCatalogueColumn;

typedef struct FmoeCatalogue
{
	const FmoeDomain *domain;
	FmoeVocabulary *items;		/* id set */
	bool		known_only;		/* rows of others than those are passed over */
	FmoeItemKey key;
	int			n;
	FmoeCatalogueColumn column[FMOE_FEATURES_MAX + FMOE_TEXT_COLUMNS_MAX];
	unsigned	reads;
	FmoeBag    *text;			/* NULL: it is not asked for */
	int32		item;			/* number of that of the row that is being read */
	int32		capacity;		/* of items, in what has a value for each */
	double	   *price;			/* [capacity] NaN: unknown; NULL: it is not asked for */
	bool	   *seen;			/* [capacity] whether a row had this key */
	MemoryContext context;
	MemoryContext row;			/* of what one row takes */
	const FnnHost *host;
	size_t		beside;			/* bytes that are held beside */
	const FmoeFeatures *among;	/* features that others stand among; what cannot be read is then unknown; NULL: none */
	Oid			reader;			/* with among: who reads */
	int64		double_keys;
	int64		odd_vectors;
} FmoeCatalogue;

static inline void
fmoe_set_unknown(float *vector, int64 from, int64 end)
{
	for (int64 i = from; i < end; i++)
		vector[i] = get_float4_nan();
}

/* The query of all rows: the key, and the columns that are read. */
extern char *fmoe_catalogue_query(const FmoeDomain *domain, unsigned reads);
/* A catalogue over an id set of which nothing is read yet, and that query. */
extern FmoeCatalogue *fmoe_catalogue_open(const FmoeDomain *domain, unsigned reads, FmoeVocabulary *items,
										  MemoryContext result, char **sql);
/* A catalogue of which nothing is read yet.  among NULL: what cannot be read is an error. */
extern FmoeCatalogue *fmoe_catalogue_begin(const FmoeDomain *domain, unsigned reads, FmoeVocabulary *items,
										   MemoryContext result, const FmoeFeatures *among, Oid reader);
/* Appends "SELECT", the key and the columns. */
extern void fmoe_catalogue_select(FmoeCatalogue *catalogue, StringInfo sql);
/* Takes a row of these: sets item, to -1 where the key is no item's. */
extern void fmoe_catalogue_take(FmoeCatalogue *catalogue, const Datum *value, const bool *isnull);
/*
 * Reads those columns, and adds the items of the table to an id set, which users do
 * not.  What is read is
 * in the current context, what becomes of it in another one.  Fails where fmoe.max_memory
 * does not allow for it and for so many bytes beside it.
 */
extern FmoeCatalogue *fmoe_catalogue_read(const FmoeDomain *domain, unsigned reads, FmoeVocabulary *items,
										  MemoryContext result, size_t beside);
/*
 * What was read as features of n items, of which the id set's i has become
 * index_of[i].  A column of which nothing is known is no feature, but with like, as
 * fmoe_read_catalogue has it.  Uses up what was read.
 */
extern void fmoe_catalogue_features(FmoeCatalogue *catalogue, FmoeFeatures *features, int32 n,
									const int32 *index_of, const FmoeFeatures *like);
/* A NOTICE of what is odd in the item table. */
extern void fmoe_catalogue_tell(const FmoeCatalogue *catalogue);

/* ---------------------------------------------------------------- kept plans */

/* Queries of a domain whose plans a session keeps. */
typedef enum FmoeQuery
{
	FMOE_QUERY_HISTORY,			/* of a user */
	FMOE_QUERY_ITEMS,			/* some rows of the item table */
	FMOE_QUERY_USERS			/* those of the user table */
} FmoeQuery;

/* Makes a query's text, with one parameter. */
typedef char *(*FmoeQueryText) (const FmoeDomain *domain);
/* Executes a query as fmoe_domain_reader says; type and value are the parameter's. */
extern void fmoe_execute_kept(const FmoeDomain *domain, FmoeQuery query, FmoeQueryText text, Oid type, Datum value,
							  DestReceiver *receiver);
/*
 * A query that ends with "WHERE", and a filter after it; an error where that is
 * not one condition.  The environment holds what is no table of the catalogs; NULL: nothing.
 */
extern char *fmoe_filtered_query(const char *query, const char *filter, QueryEnvironment *environment);
/* A receiver that hands each row to a function. */
extern void fmoe_receiver_init(DestReceiver *receiver, bool (*row) (TupleTableSlot *slot, DestReceiver *self));

#endif							/* FMOE_PG_INGEST_INGEST_PRIVATE_H */

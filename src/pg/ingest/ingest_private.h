/*
 * ingest_private.h
 *	  What the files that read interactions share among themselves.
 */
#ifndef FMOE_PG_INGEST_INGEST_PRIVATE_H
#define FMOE_PG_INGEST_INGEST_PRIVATE_H

#include "pg/ingest/ingest.h"

#include "tcop/dest.h"
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

/* Queries of a domain whose plans a session keeps. */
typedef enum FmoeQuery
{
	FMOE_QUERY_HISTORY,			/* of a user */
	FMOE_QUERY_ITEMS			/* some rows of the item table */
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

/*
 * ingest_private.h
 *	  What the files that read interactions share among themselves.
 */
#ifndef FMOE_PG_INGEST_INGEST_PRIVATE_H
#define FMOE_PG_INGEST_INGEST_PRIVATE_H

#include "pg/ingest/ingest.h"

#include "tcop/dest.h"

/* Bytes that sorting takes for each event, beside the events. */
#define FMOE_SORT_BYTES 16

/* An SQL condition, true where the label is positive and null where it is null; the domain has a label. */
extern char *fmoe_label_condition(const FmoeDomain *domain);
/* The select list of an event, quoted: the columns whose values fmoe_row takes. */
extern char *fmoe_event_columns(const FmoeDomain *domain);
/* The query of all rows whose label is positive or null: user, event columns and, where there is one, label. */
extern char *fmoe_table_query(const FmoeDomain *domain);
/* Sets a row from values of fmoe_event_columns, none of them null; false: its time is not finite. */
extern bool fmoe_row(FmoeRow *row, const FmoeDomain *domain, const Datum *value);
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
/* Executes a query as the caller; type and value are the parameter's. */
extern void fmoe_execute_kept(const FmoeDomain *domain, FmoeQuery query, FmoeQueryText text, Oid type, Datum value,
							  DestReceiver *receiver);
/* A query that ends with "WHERE", and a filter after it; an error where that is not one condition. */
extern char *fmoe_filtered_query(const char *query, const char *filter);
/* Makes a receiver that hands each row to a function. */
extern void fmoe_receiver_init(DestReceiver *receiver, bool (*row) (TupleTableSlot *slot, DestReceiver *self));

#endif							/* FMOE_PG_INGEST_INGEST_PRIVATE_H */

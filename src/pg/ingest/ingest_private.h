/*
 * ingest_private.h
 *	  What the files that read interactions share among themselves.
 */
#ifndef FMOE_PG_INGEST_INGEST_PRIVATE_H
#define FMOE_PG_INGEST_INGEST_PRIVATE_H

#include "pg/ingest/ingest.h"

#include "tcop/dest.h"

/* Of memory that sorting takes an event. */
#define FMOE_SORT_BYTES 16

/* A condition that holds for rows that count; NULL for a label that is null. */
extern char *fmoe_label_condition(const FmoeDomain *domain);
/* What a query of events selects: the item, then what fmoe_row takes; ready to be put into SQL. */
extern char *fmoe_event_columns(const FmoeDomain *domain);
/* The query of all rows that count: the user, the event's columns and, where there is one, the label. */
extern char *fmoe_table_query(const FmoeDomain *domain);
/* Sets a row from the values of fmoe_event_columns, none of them null; false: its time is not finite. */
extern bool fmoe_row(FmoeRow *row, const FmoeDomain *domain, const Datum *value);
/* A receiver that hands each row to a function. */
extern void fmoe_receiver_init(DestReceiver *receiver, bool (*row) (TupleTableSlot *slot, DestReceiver *self));

#endif							/* FMOE_PG_INGEST_INGEST_PRIVATE_H */

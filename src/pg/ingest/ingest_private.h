/*
 * ingest_private.h
 *	  What the files that read interactions share among themselves.
 */
#ifndef FMOE_PG_INGEST_INGEST_PRIVATE_H
#define FMOE_PG_INGEST_INGEST_PRIVATE_H

#include "pg/ingest/ingest.h"

#include "tcop/dest.h"

/* A condition that holds for rows that count; NULL for a label that is null. */
extern char *fmoe_label_condition(const FmoeDomain *domain);
/* The query of user, item, time and, where there is one, label of all rows that count. */
extern char *fmoe_table_query(const FmoeDomain *domain);
/* A receiver that hands each row to a function. */
extern void fmoe_receiver_init(DestReceiver *receiver, bool (*row) (TupleTableSlot *slot, DestReceiver *self));

#endif							/* FMOE_PG_INGEST_INGEST_PRIVATE_H */

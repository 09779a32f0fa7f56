/*
 * fit.h
 *	  The state of fmoe_fit, which collects rows in one file and trains in another.
 */
#ifndef FMOE_PG_TRAIN_FIT_H
#define FMOE_PG_TRAIN_FIT_H

#include "pg/ingest/ingest.h"

/* Distinct ids, numbered in the order in which they came. */
typedef struct FmoeFitIds
{
	Oid			type;
	Oid			collation;
	FmoeVocabulary *set;
} FmoeFitIds;

typedef struct FmoeFitState
{
	MemoryContext context;		/* of the aggregate */
	Jsonb	   *options;		/* as given; NULL: none */
	FmoeConfig	config;
	FmoeFitIds	users;
	FmoeFitIds	items;
	FmoeCollected events;		/* items by their numbers among items */
	int32	   *user;			/* [events.capacity] numbers among users */
	size_t		fixed_bytes;	/* of the state and its options */
} FmoeFitState;

/* The options of fmoe_fit: not those of fmoe_train that concern a domain. */
extern const FmoeCallOptions fmoe_fit_call;

/* Bytes that a state takes now. */
extern size_t fmoe_fit_bytes(const FmoeFitState *state);

#endif							/* FMOE_PG_TRAIN_FIT_H */

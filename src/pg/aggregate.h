/*
 * aggregate.h
 *	  The state of fmoe_fit, which collects rows in one file and trains in another.
 */
#ifndef FMOE_AGGREGATE_H
#define FMOE_AGGREGATE_H

#include "pg.h"

#include "utils/typcache.h"

/* Distinct ids, numbered in the order in which they came. */
typedef struct FmoeIdTable
{
	Oid			type;
	Oid			collation;
	TypeCacheEntry *entry;		/* hash and equality; lives as long as the backend */
	int32		count;
	int32		capacity;		/* of id and hash */
	Datum	   *id;				/* [capacity] */
	uint32	   *hash;			/* [capacity] */
	uint32		n_slots;		/* power of two; 0: ids are not looked up */
	int32	   *slot;			/* [n_slots] number of an id, -1: free */
} FmoeIdTable;

/* An event, 16 bytes. */
typedef struct FmoeFitEvent
{
	int32		user;
	int32		item;
	double		time;			/* seconds */
} FmoeFitEvent;

typedef struct FmoeFitState
{
	MemoryContext context;		/* of the aggregate */
	Jsonb	   *options;		/* as given; NULL: none */
	FmoeConfig	config;
	FmoeIdTable users;
	FmoeIdTable items;
	int64		count;
	int64		capacity;
	FmoeFitEvent *event;		/* [capacity] in any order */
	size_t		bytes;			/* of all of it */
} FmoeFitState;

#endif							/* FMOE_AGGREGATE_H */

/*
 * id_private.h
 *	  A vocabulary from inside: what ids.c and vocabulary.c share.
 */
#ifndef FMOE_PG_ID_ID_PRIVATE_H
#define FMOE_PG_ID_ID_PRIVATE_H

#include "pg/id/id.h"

struct FmoeVocabulary
{
	Oid			type;
	Oid			collation;
	bool		integer;
	bool		byval;
	bool		spelled;		/* equal ids may differ in their bytes */
	bool		by_bytes;		/* hashed by their bytes: the type has no hash function */
	int16		length;
	MemoryContext context;
	int32		count;
	int32		capacity;
	const int64 *number;		/* [count] of integer types */
	Datum	   *id;				/* [count] of others; NULL: they are in heap */
	const uint64 *place;		/* [count] in heap */
	const char *heap;
	uint32	   *hash;			/* [count] of others */
	int32	   *slot;			/* [mask + 1] index, -1: free */
	uint32		mask;
	FmgrInfo	hash_function;
	FmgrInfo	equal_function;
};

/* An id that is not an integer. */
static inline Datum
fmoe_id_at(const FmoeVocabulary *v, int32 index)
{
	return v->id != NULL ? v->id[index] : PointerGetDatum(v->heap + v->place[index]);
}

/* A vocabulary without ids and slots; an error when the type cannot hold ids. */
extern FmoeVocabulary *fmoe_vocabulary_create(Oid type, Oid collation);
extern uint32 fmoe_vocabulary_hash(const FmoeVocabulary *v, Datum id);
/* The slot where an id is, or where it would go. */
extern uint32 fmoe_vocabulary_slot(const FmoeVocabulary *v, Datum id, uint32 hash);
/* Makes slots for a capacity and fills them; the ids must be distinct. */
extern void fmoe_vocabulary_rehash(FmoeVocabulary *v, int64 capacity);
/* A copy of an id, in context. */
extern Datum fmoe_vocabulary_copy(const FmoeVocabulary *v, Datum id, MemoryContext context);

#endif							/* FMOE_PG_ID_ID_PRIVATE_H */

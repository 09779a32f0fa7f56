/*
 * id.h
 *	  Ids of any type: numbered, looked up, converted.
 */
#ifndef FMOE_PG_ID_ID_H
#define FMOE_PG_ID_ID_H

#include "pg/base/base.h"

/* ---------------------------------------------------------------- ids */

/*
 * Item ids of a version, by index; ascending in the order of their type, so
 * index order is id order.  A hash table over the ids by the type's own
 * equality finds indexes.  Kept as arrays of a version:
 *	  integer types: "vocabulary.integer" I64 [items]
 *	  others: "vocabulary.text" U8 [bytes] (the type's output, end to end) and
 *			  "vocabulary.offset" I64 [items + 1]
 */
typedef struct FmoeVocabulary FmoeVocabulary;

/* What the names of its arrays begin with. */
#define FMOE_VOCABULARY_PREFIX "vocabulary."

extern int	fmoe_vocabulary_arrays(const FmoeVocabulary *vocabulary, FnnArray *out);	/* at most 2 */
/* Over arrays that stay where they are. */
extern FmoeVocabulary *fmoe_vocabulary_bind(Oid type, Oid collation, int32 n, int n_arrays, const FnnArray *arrays);
/*
 * A vocabulary as one block without pointers, aligned to FNN_ALIGN, which
 * processes can share.  It is filled from a bound vocabulary; opening it over
 * the same arrays takes the same time for any number of ids.
 */
extern Size fmoe_vocabulary_flat_bytes(const FmoeVocabulary *vocabulary);
extern void fmoe_vocabulary_flatten(const FmoeVocabulary *vocabulary, void *block);
extern FmoeVocabulary *fmoe_vocabulary_open(Oid type, Oid collation, int n_arrays, const FnnArray *arrays,
											void *block);
extern int32 fmoe_vocabulary_count(const FmoeVocabulary *vocabulary);
extern int32 fmoe_vocabulary_find(const FmoeVocabulary *vocabulary, Datum id);	/* -1: unknown */
extern Datum fmoe_vocabulary_id(const FmoeVocabulary *vocabulary, int32 index);

/*
 * Turns ids of one type into another (integer widths, text forms, binary
 * coercible, else through output and input); one per call site, in fn_extra or
 * a query's memory.  A value that does not fit is an error that names both types.
 */
typedef struct FmoeConverter FmoeConverter;
extern FmoeConverter *fmoe_converter(Oid from, Oid to); /* from may be UNKNOWNOID: cstring */
extern Datum fmoe_convert(FmoeConverter *converter, Datum value);

/* ids.c */

/* smallint, integer and bigint are one kind of id. */
extern bool fmoe_is_integer(Oid type);
extern int64 fmoe_integer_of(Oid type, Datum value);
extern bool fmoe_integer_fits(Oid type, int64 value);
extern Datum fmoe_datum_of_integer(Oid type, int64 value);

/*
 * Ids numbered 0, 1, … in the order in which they first appear: a vocabulary
 * that is not sorted yet.  Count, find and id work on it as well.
 */
extern FmoeVocabulary *fmoe_idset_create(Oid type, Oid collation);
extern int32 fmoe_idset_add(FmoeVocabulary *set, Datum id); /* its number, new or old */
/* rank[count] of each id in an order of their type that only depends on the ids. */
extern int32 *fmoe_idset_ranks(const FmoeVocabulary *set);
/* The type's own hash of an id, of which all integer types have the same. */
extern uint32 fmoe_id_hash(Oid type, Oid collation, Datum id);
/*
 * A set of other values, of any type with an equality.  Where it has no hash
 * function, equal values that differ in their bytes have numbers of their own.
 */
extern FmoeVocabulary *fmoe_valueset_create(Oid type, Oid collation);
/* rank[count] of each value in the order of its type, the same for equal ones; where there is none, its number. */
extern int32 *fmoe_valueset_ranks(const FmoeVocabulary *set);
/* The hash of the value of that number. */
extern uint32 fmoe_valueset_hash(const FmoeVocabulary *set, int32 number);
extern Size fmoe_idset_bytes(const FmoeVocabulary *set);
/* The ids sorted, with a hash table; index_of[count]: where each id went.  Memory in the current context. */
extern FmoeVocabulary *fmoe_vocabulary_of_idset(const FmoeVocabulary *set, int32 *index_of);

#endif							/* FMOE_PG_ID_ID_H */

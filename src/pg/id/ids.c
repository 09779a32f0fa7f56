/*
 * ids.c
 *	  Ids of users and items: numbering and looking up.
 *
 * A vocabulary is the sorted list of a version's item ids with a hash table
 * over it; an id set is the same before it is sorted, and grows.  Integers are
 * kept as int64, so one vocabulary serves smallint, integer and bigint.  Other
 * types are kept as datums and compared and hashed by their default operator
 * classes.
 *
 * The hash table has open addressing with linear probing in a power of two
 * slots, at most half of them taken.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "pg/id/id_private.h"

bool
fmoe_is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

int64
fmoe_integer_of(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

bool
fmoe_integer_fits(Oid type, int64 value)
{
	if (type == INT2OID)
		return value >= PG_INT16_MIN && value <= PG_INT16_MAX;
	if (type == INT4OID)
		return value >= PG_INT32_MIN && value <= PG_INT32_MAX;
	return true;
}

Datum
fmoe_datum_of_integer(Oid type, int64 value)
{
	switch (type)
	{
		case INT2OID:
			return Int16GetDatum((int16) value);
		case INT4OID:
			return Int32GetDatum((int32) value);
		default:
			return Int64GetDatum(value);
	}
}

/* ---------------------------------------------------------------- hash table */

static uint32
hash_integer(int64 value)
{
	uint64		h = (uint64) value;

	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return (uint32) (h >> 32);
}

/* Whether values of a type are equal only when their bytes are, as the type's order tells. */
static bool
equal_is_same(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY);
	Oid			function = InvalidOid;

	if (OidIsValid(entry->btree_opf))
		function = get_opfamily_proc(entry->btree_opf, entry->btree_opintype, entry->btree_opintype,
									 BTEQUALIMAGE_PROC);
	return OidIsValid(function) &&
		DatumGetBool(OidFunctionCall1Coll(function, collation, ObjectIdGetDatum(entry->btree_opintype)));
}

/* Of any type with an equality. */
static FmoeVocabulary *
create(Oid type, Oid collation)
{
	FmoeVocabulary *v = palloc0(sizeof(FmoeVocabulary));

	v->type = type;
	v->collation = collation;
	v->integer = fmoe_is_integer(type);
	v->context = CurrentMemoryContext;
	get_typlenbyval(type, &v->length, &v->byval);
	if (!v->integer)
	{
		TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);

		v->by_bytes = !OidIsValid(entry->hash_proc_finfo.fn_oid);
		v->spelled = !equal_is_same(type, collation);
		fmgr_info_copy(&v->equal_function, &entry->eq_opr_finfo, v->context);
		if (!v->by_bytes)
			fmgr_info_copy(&v->hash_function, &entry->hash_proc_finfo, v->context);
	}
	return v;
}

FmoeVocabulary *
fmoe_vocabulary_create(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR | TYPECACHE_HASH_PROC);

	if (!OidIsValid(entry->eq_opr) || !OidIsValid(entry->hash_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s cannot hold ids", format_type_be(type)),
				 errdetail("Ids need a type with a default order (btree) and a default hash function.")));
	return create(type, collation);
}

uint32
fmoe_vocabulary_hash(const FmoeVocabulary *v, Datum id)
{
	FmoeVocabulary *mutable = unconstify(FmoeVocabulary *, v);

	if (v->integer)
		return hash_integer(fmoe_integer_of(v->type, id));
	if (v->by_bytes)
		return datum_image_hash(id, v->byval, v->length);
	return DatumGetUInt32(FunctionCall1Coll(&mutable->hash_function, v->collation, id));
}

uint32
fmoe_id_hash(Oid type, Oid collation, Datum id)
{
	return fmoe_is_integer(type) ? hash_integer(fmoe_integer_of(type, id))
		: DatumGetUInt32(FunctionCall1Coll(&lookup_type_cache(type, TYPECACHE_HASH_PROC_FINFO)->hash_proc_finfo,
										   collation, id));
}

uint32
fmoe_valueset_hash(const FmoeVocabulary *v, int32 number)
{
	return v->integer ? hash_integer(v->number[number]) : v->hash[number];
}

uint32
fmoe_vocabulary_slot(const FmoeVocabulary *v, Datum id, uint32 hash)
{
	FmoeVocabulary *mutable = unconstify(FmoeVocabulary *, v);
	uint32		slot = hash & v->mask;
	int32		index;

	if (v->integer)
	{
		int64		number = fmoe_integer_of(v->type, id);

		while ((index = v->slot[slot]) >= 0 && v->number[index] != number)
			slot = (slot + 1) & v->mask;
		return slot;
	}
	while ((index = v->slot[slot]) >= 0 &&
		   !(v->hash[index] == hash &&
			 DatumGetBool(FunctionCall2Coll(&mutable->equal_function, v->collation, fmoe_id_at(v, index), id))))
		slot = (slot + 1) & v->mask;
	return slot;
}

static uint32
slots_for(int64 capacity)
{
	uint32		slots = 64;

	while (slots < 2 * capacity)
		slots *= 2;
	return slots;
}

void
fmoe_vocabulary_rehash(FmoeVocabulary *v, int64 capacity)
{
	uint32		slots = slots_for(capacity);
	int32		i;

	if (v->slot != NULL)
		pfree(v->slot);
	v->slot = MemoryContextAllocHuge(v->context, sizeof(int32) * (Size) slots);
	memset(v->slot, -1, sizeof(int32) * (Size) slots);
	v->mask = slots - 1;
	for (i = 0; i < v->count; i++)
	{
		uint32		slot = (v->integer ? hash_integer(v->number[i]) : v->hash[i]) & v->mask;

		while (v->slot[slot] >= 0)
			slot = (slot + 1) & v->mask;
		v->slot[slot] = i;
	}
}

Datum
fmoe_vocabulary_copy(const FmoeVocabulary *v, Datum id, MemoryContext context)
{
	MemoryContext old;
	Datum		copy;

	if (v->byval)
		return id;
	old = MemoryContextSwitchTo(context);
	if (v->length == -1)
	{
		struct varlena *plain = PG_DETOAST_DATUM_PACKED(id);

		copy = (Pointer) plain != DatumGetPointer(id) ? PointerGetDatum(plain)
			: datumCopy(id, false, -1);
	}
	else
		copy = datumCopy(id, false, v->length);
	MemoryContextSwitchTo(old);
	return copy;
}

/* ---------------------------------------------------------------- id sets */

/* Makes room for the first members of a set. */
static FmoeVocabulary *
empty_set(FmoeVocabulary *v)
{
	v->capacity = 1024;
	if (v->integer)
		v->number = palloc(sizeof(int64) * v->capacity);
	else
	{
		v->id = palloc(sizeof(Datum) * v->capacity);
		v->hash = palloc(sizeof(uint32) * v->capacity);
	}
	fmoe_vocabulary_rehash(v, v->capacity);
	return v;
}

FmoeVocabulary *
fmoe_idset_create(Oid type, Oid collation)
{
	return empty_set(fmoe_vocabulary_create(type, collation));
}

FmoeVocabulary *
fmoe_valueset_create(Oid type, Oid collation)
{
	FmoeVocabulary *v = create(type, collation);

	v->spelled = false;
	return empty_set(v);
}

static void
grow(FmoeVocabulary *v)
{
	if (v->capacity > PG_INT32_MAX / 4)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are more than %d ids", v->capacity)));
	v->capacity *= 2;
	if (v->integer)
		v->number = repalloc_huge(unconstify(int64 *, v->number), sizeof(int64) * (Size) v->capacity);
	else
	{
		v->id = repalloc_huge(v->id, sizeof(Datum) * (Size) v->capacity);
		v->hash = repalloc_huge(v->hash, sizeof(uint32) * (Size) v->capacity);
	}
	fmoe_vocabulary_rehash(v, v->capacity);
}

/* Of two equal ids stays the one whose bytes are fewer, or come first: which of them came first does not matter. */
static void
choose_spelling(FmoeVocabulary *v, int32 index, Datum id)
{
	Datum		other = v->id[index];
	MemoryContext old;

	if (v->byval)
	{
		v->id[index] = Min(id, other);
		return;
	}
	old = MemoryContextSwitchTo(v->context);
	if (v->length == -1)
	{
		struct varlena *a = PG_DETOAST_DATUM_PACKED(id);
		struct varlena *b = PG_DETOAST_DATUM_PACKED(other);
		Size		bytes = VARSIZE_ANY_EXHDR(a);
		Size		other_bytes = VARSIZE_ANY_EXHDR(b);

		if (bytes < other_bytes ||
			(bytes == other_bytes && memcmp(VARDATA_ANY(a), VARDATA_ANY(b), bytes) < 0))
			v->id[index] = fmoe_vocabulary_copy(v, id, v->context);
		if ((Pointer) a != DatumGetPointer(id))
			pfree(a);
	}
	else if (v->length > 0 && memcmp(DatumGetPointer(id), DatumGetPointer(other), v->length) < 0)
		v->id[index] = fmoe_vocabulary_copy(v, id, v->context);
	MemoryContextSwitchTo(old);
}

int32
fmoe_idset_add(FmoeVocabulary *v, Datum id)
{
	uint32		hash = fmoe_vocabulary_hash(v, id);
	uint32		slot = fmoe_vocabulary_slot(v, id, hash);
	int32		index = v->slot[slot];

	if (index >= 0)
	{
		if (unlikely(v->spelled))
			choose_spelling(v, index, id);
		return index;
	}
	if (v->count == v->capacity)
	{
		grow(v);
		slot = fmoe_vocabulary_slot(v, id, hash);
	}
	index = v->count++;
	if (v->integer)
		unconstify(int64 *, v->number)[index] = fmoe_integer_of(v->type, id);
	else
	{
		v->id[index] = fmoe_vocabulary_copy(v, id, v->context);
		v->hash[index] = hash;
	}
	v->slot[slot] = index;
	return index;
}

/* ---------------------------------------------------------------- order */

typedef struct SortId
{
	union
	{
		Datum		id;
		int64		number;		/* of integers */
	};
	int32		index;
} SortId;

typedef struct SortContext
{
	FmgrInfo   *compare;
	Oid			collation;
} SortContext;

#define ST_SORT sort_integers
#define ST_ELEMENT_TYPE SortId
#define ST_COMPARE(a, b) ((a)->number < (b)->number ? -1 : (a)->number > (b)->number)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static int
compare_ids(const void *a, const void *b, void *context)
{
	SortContext *sort = context;

	CHECK_FOR_INTERRUPTS();
	return DatumGetInt32(FunctionCall2Coll(sort->compare, sort->collation,
										   ((const SortId *) a)->id, ((const SortId *) b)->id));
}

/* The ids sorted, each with where it was. */
static SortId *
sorted(const FmoeVocabulary *v, Oid collation)
{
	int32		n = v->count;
	SortId	   *list = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(SortId) * (Size) Max(n, 1));
	SortContext context;
	int32		i;

	for (i = 0; i < n; i++)
	{
		if (v->integer)
			list[i].number = v->number[i];
		else
			list[i].id = fmoe_id_at(v, i);
		list[i].index = i;
	}
	if (v->integer)
	{
		sort_integers(list, n);
		return list;
	}
	context.compare = &lookup_type_cache(v->type, TYPECACHE_CMP_PROC_FINFO)->cmp_proc_finfo;
	context.collation = collation;
	if (!OidIsValid(context.compare->fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s has no default order", format_type_be(v->type))));
	qsort_arg(list, n, sizeof(SortId), compare_ids, &context);
	return list;
}

int32 *
fmoe_idset_ranks(const FmoeVocabulary *v)
{
	int32	   *rank = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) Max(v->count, 1));
	Oid			collation = v->collation;
	SortId	   *list;
	int32		i;

	/* any fixed order will do, and comparing bytes is the fastest */
	if (OidIsValid(collation) && get_collation_isdeterministic(collation))
		collation = C_COLLATION_OID;
	list = sorted(v, collation);
	for (i = 0; i < v->count; i++)
		rank[list[i].index] = i;
	pfree(list);
	return rank;
}

int32 *
fmoe_valueset_ranks(const FmoeVocabulary *v)
{
	int32	   *rank = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * (Size) Max(v->count, 1));
	FmgrInfo   *compare = &lookup_type_cache(v->type, TYPECACHE_CMP_PROC_FINFO)->cmp_proc_finfo;
	SortContext context = {.compare = compare, .collation = v->collation};
	int32		next = 0;
	SortId	   *list;

	if (!OidIsValid(compare->fn_oid))
	{
		for (int32 i = 0; i < v->count; i++)
			rank[i] = i;
		return rank;
	}
	list = sorted(v, v->collation);
	for (int32 i = 0; i < v->count; i++)
	{
		if (i > 0 && (v->integer || compare_ids(&list[i - 1], &list[i], &context) != 0))
			next++;
		rank[list[i].index] = next;
	}
	pfree(list);
	return rank;
}

Size
fmoe_idset_bytes(const FmoeVocabulary *v)
{
	Size		each = v->integer ? sizeof(int64) : sizeof(Datum) + sizeof(uint32) + (v->byval ? 0 : 48);

	return each * (Size) v->capacity + sizeof(int32) * ((Size) v->mask + 1);
}

/* ---------------------------------------------------------------- vocabularies */

FmoeVocabulary *
fmoe_vocabulary_of_idset(const FmoeVocabulary *set, int32 *index_of)
{
	SortId	   *list = sorted(set, set->collation);
	FmoeVocabulary *v = fmoe_vocabulary_create(set->type, set->collation);
	int32		n = set->count;
	int64	   *number = NULL;
	int32		i;

	v->count = v->capacity = n;
	if (v->integer)
		v->number = number = MemoryContextAllocHuge(v->context, sizeof(int64) * (Size) Max(n, 1));
	else
	{
		v->id = MemoryContextAllocHuge(v->context, sizeof(Datum) * (Size) Max(n, 1));
		v->hash = MemoryContextAllocHuge(v->context, sizeof(uint32) * (Size) Max(n, 1));
	}
	for (i = 0; i < n; i++)
	{
		if (v->integer)
			number[i] = list[i].number;
		else
		{
			v->id[i] = fmoe_vocabulary_copy(v, list[i].id, v->context);
			v->hash[i] = fmoe_vocabulary_hash(v, v->id[i]);
		}
		if (index_of != NULL)
			index_of[list[i].index] = i;
	}
	pfree(list);
	fmoe_vocabulary_rehash(v, n);
	return v;
}

int32
fmoe_vocabulary_count(const FmoeVocabulary *vocabulary)
{
	return vocabulary->count;
}

int32
fmoe_vocabulary_find(const FmoeVocabulary *vocabulary, Datum id)
{
	return vocabulary->slot[fmoe_vocabulary_slot(vocabulary, id, fmoe_vocabulary_hash(vocabulary, id))];
}

Datum
fmoe_vocabulary_id(const FmoeVocabulary *vocabulary, int32 index)
{
	return vocabulary->integer ? fmoe_datum_of_integer(vocabulary->type, vocabulary->number[index])
		: fmoe_id_at(vocabulary, index);
}

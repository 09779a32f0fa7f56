/*
 * vocabulary.c
 *	  Vocabularies as bytes: the arrays a version stores, and the flat block
 *	  that processes share.
 *
 * The stored arrays depend neither on the machine nor on how PostgreSQL keeps
 * datums: to read them the type's input function is called for every id and the
 * hash table is filled.  The flat block is the result of that.  It has no
 * pointers: ids, hashes and slots are found by their distance from its start,
 * and ids by reference lie in its heap, ready to be used as datums.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/id/id_private.h"

/* ---------------------------------------------------------------- stored */

/*
 * Output and input of some types follow settings (dates, intervals, floats).
 * Ids are stored in one form; returns the nest level for AtEOXact_GUC.
 */
static int
pin_formats(void)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("bytea_output", "hex", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

static void
set_array(FnnArray *array, const char *name, FnnDtype dtype, int64 length, void *data)
{
	memset(array, 0, sizeof(FnnArray));
	strlcpy(array->name, name, FNN_NAME_MAX);
	array->dtype = dtype;
	array->ndim = 1;
	array->shape[0] = length;
	array->data = data;
	array->bytes = (size_t) length * fnn_dtype_size(dtype);
}

int
fmoe_vocabulary_arrays(const FmoeVocabulary *vocabulary, FnnArray *out)
{
	int64	   *offset;
	StringInfoData text;
	FmgrInfo	output;
	Oid			function;
	bool		varlena;
	int			level;
	int32		i;

	if (vocabulary->integer)
	{
		set_array(&out[0], "vocabulary.integer", FNN_I64, vocabulary->count,
				  unconstify(int64 *, vocabulary->number));
		return 1;
	}

	getTypeOutputInfo(vocabulary->type, &function, &varlena);
	fmgr_info(function, &output);
	offset = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * ((Size) vocabulary->count + 1));
	initStringInfo(&text);
	level = pin_formats();
	offset[0] = 0;
	for (i = 0; i < vocabulary->count; i++)
	{
		char	   *string = OutputFunctionCall(&output, fmoe_id_at(vocabulary, i));

		if (strlen(string) >= MaxAllocSize - text.len)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the item ids take more than 1 GB together, as text"),
					 errdetail("These are %d ids of type %s.", vocabulary->count, format_type_be(vocabulary->type)),
					 errhint("Number the items, and use the numbers as ids.")));
		appendStringInfoString(&text, string);
		pfree(string);
		offset[i + 1] = text.len;
		if ((i & 1023) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	AtEOXact_GUC(true, level);
	set_array(&out[0], "vocabulary.text", FNN_U8, text.len, text.data);
	set_array(&out[1], "vocabulary.offset", FNN_I64, (int64) vocabulary->count + 1, offset);
	return 2;
}

pg_noreturn static void
reject_vocabulary(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("the item vocabulary is damaged"),
			 errdetail("%s", detail)));
	pg_unreachable();
}

/* The array of a name, which must have one dimension of that type. */
static const FnnArray *
vocabulary_array(int n_arrays, const FnnArray *arrays, const char *name, FnnDtype dtype, int64 length)
{
	const FnnArray *array = fnn_find_array(n_arrays, arrays, name);

	if (array == NULL)
		reject_vocabulary(psprintf("Array \"%s\" is missing.", name));
	if (array->dtype != dtype || array->ndim != 1 || (length >= 0 && array->shape[0] != length))
		reject_vocabulary(psprintf("Array \"%s\" has another type or shape than it must.", name));
	return array;
}

/* Puts the ids of a bound vocabulary into the slots; an id that comes twice is an error. */
static void
index_bound(FmoeVocabulary *v)
{
	int32		n = v->count;
	int32		i;

	v->count = 0;
	fmoe_vocabulary_rehash(v, n);
	for (i = 0; i < n; i++)
	{
		Datum		id = v->integer ? fmoe_datum_of_integer(v->type, v->number[i]) : v->id[i];
		uint32		slot;

		if (v->integer && !fmoe_integer_fits(v->type, v->number[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("id " INT64_FORMAT " does not fit type %s", v->number[i], format_type_be(v->type))));
		if (!v->integer)
			v->hash[i] = fmoe_vocabulary_hash(v, id);
		slot = fmoe_vocabulary_slot(v, id, v->integer ? fmoe_vocabulary_hash(v, id) : v->hash[i]);
		if (v->slot[slot] >= 0)
			reject_vocabulary("An id comes twice.");
		v->slot[slot] = i;
		if ((i & 4095) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	v->count = n;
}

/* Datums of ids that are stored as text. */
static void
read_ids(FmoeVocabulary *v, const char *text, int64 bytes, const int64 *offset)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "fmoe vocabulary", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	FmgrInfo	input;
	Oid			function;
	Oid			parameter;
	int			level;
	int32		i;

	getTypeInputInfo(v->type, &function, &parameter);
	fmgr_info_cxt(function, &input, old);
	level = pin_formats();
	if (offset[0] != 0 || offset[v->count] != bytes)
		reject_vocabulary("Offsets do not cover the text.");
	for (i = 0; i < v->count; i++)
	{
		int64		length = offset[i + 1] - offset[i];
		char	   *string;

		if (offset[i] < 0 || offset[i] > offset[i + 1] || offset[i + 1] > bytes || length >= MaxAllocSize)
			reject_vocabulary("Offsets do not ascend.");
		if (memchr(text + offset[i], '\0', length) != NULL || !pg_verifymbstr(text + offset[i], length, true))
			reject_vocabulary("An id is not text in the encoding of this database.");
		string = pnstrdup(text + offset[i], length);
		v->id[i] = fmoe_vocabulary_copy(v, InputFunctionCall(&input, string, parameter, -1), v->context);
		if ((i & 255) == 0)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(scratch);
		}
	}
	AtEOXact_GUC(true, level);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

FmoeVocabulary *
fmoe_vocabulary_bind(Oid type, Oid collation, int32 n, int n_arrays, const FnnArray *arrays)
{
	FmoeVocabulary *v = fmoe_vocabulary_create(type, collation);

	v->count = v->capacity = n;
	if (v->integer)
		v->number = vocabulary_array(n_arrays, arrays, "vocabulary.integer", FNN_I64, n)->data;
	else
	{
		const FnnArray *text = vocabulary_array(n_arrays, arrays, "vocabulary.text", FNN_U8, -1);
		const FnnArray *offset = vocabulary_array(n_arrays, arrays, "vocabulary.offset", FNN_I64, (int64) n + 1);

		v->id = MemoryContextAllocHuge(v->context, sizeof(Datum) * (Size) Max(n, 1));
		v->hash = MemoryContextAllocHuge(v->context, sizeof(uint32) * (Size) Max(n, 1));
		read_ids(v, text->data, text->shape[0], offset->data);
	}
	index_bound(v);
	return v;
}

/* ---------------------------------------------------------------- flat */

/* What a block begins with; places are distances from it. */
typedef struct FlatVocabulary
{
	int32		count;
	uint32		mask;
	uint64		slot;			/* int32 [mask + 1] */
	uint64		hash;			/* uint32 [count]; 0: of integers, as are the following */
	uint64		id;				/* Datum [count] by value, else uint64 [count] in heap */
	uint64		heap;
	uint64		bytes;
} FlatVocabulary;

static FlatVocabulary
lay_out(const FmoeVocabulary *v)
{
	FlatVocabulary flat = {.count = v->count, .mask = v->mask};
	int32		i;

	flat.slot = TYPEALIGN(FNN_ALIGN, sizeof(FlatVocabulary));
	flat.bytes = flat.slot + TYPEALIGN(FNN_ALIGN, sizeof(int32) * ((Size) v->mask + 1));
	if (v->integer)
		return flat;
	flat.hash = flat.bytes;
	flat.id = flat.hash + TYPEALIGN(FNN_ALIGN, sizeof(uint32) * (Size) v->count);
	flat.heap = flat.id + TYPEALIGN(FNN_ALIGN, sizeof(uint64) * (Size) v->count);
	flat.bytes = flat.heap;
	for (i = 0; i < v->count && !v->byval; i++)
	{
		flat.bytes += MAXALIGN(datumGetSize(fmoe_id_at(v, i), false, v->length));
		if ((i & 65535) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return flat;
}

Size
fmoe_vocabulary_flat_bytes(const FmoeVocabulary *vocabulary)
{
	return lay_out(vocabulary).bytes;
}

static void
flatten_ids(const FmoeVocabulary *v, const FlatVocabulary *flat, char *block)
{
	uint64	   *place = (uint64 *) (block + flat->id);
	char	   *heap = block + flat->heap;
	uint64		used = 0;
	int32		i;

	memcpy(block + flat->hash, v->hash, sizeof(uint32) * (Size) v->count);
	if (v->byval)
	{
		memcpy(place, v->id, sizeof(Datum) * (Size) v->count);
		return;
	}
	for (i = 0; i < v->count; i++)
	{
		Datum		id = fmoe_id_at(v, i);
		Size		size = datumGetSize(id, false, v->length);

		memcpy(heap + used, DatumGetPointer(id), size);
		place[i] = used;
		used += MAXALIGN(size);
		if ((i & 65535) == 0)
			CHECK_FOR_INTERRUPTS();
	}
}

void
fmoe_vocabulary_flatten(const FmoeVocabulary *vocabulary, void *block)
{
	FlatVocabulary flat = lay_out(vocabulary);

	memcpy(block, &flat, sizeof(flat));
	memcpy((char *) block + flat.slot, vocabulary->slot, sizeof(int32) * ((Size) vocabulary->mask + 1));
	if (!vocabulary->integer)
		flatten_ids(vocabulary, &flat, block);
}

FmoeVocabulary *
fmoe_vocabulary_open(Oid type, Oid collation, int n_arrays, const FnnArray *arrays, void *block)
{
	FmoeVocabulary *v = fmoe_vocabulary_create(type, collation);
	const FlatVocabulary *flat = block;
	char	   *start = block;

	v->count = v->capacity = flat->count;
	v->mask = flat->mask;
	v->slot = (int32 *) (start + flat->slot);
	if (v->integer)
		v->number = vocabulary_array(n_arrays, arrays, "vocabulary.integer", FNN_I64, v->count)->data;
	else
	{
		v->hash = (uint32 *) (start + flat->hash);
		if (v->byval)
			v->id = (Datum *) (start + flat->id);
		else
			v->place = (uint64 *) (start + flat->id);
		v->heap = start + flat->heap;
	}
	return v;
}

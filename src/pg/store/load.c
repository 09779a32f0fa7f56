/*
 * load.c
 *	  Loads the arrays of a version from fmoe.tensor.
 *
 * What is stored may be damaged: sizes must follow from shapes, parts must be
 * complete, and the checksum must be the one of the version's row.
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/store/store_private.h"

static FmoeStatement stored_facts = {
	"SELECT d.name, v.version, v.bytes, v.checksum, v.format,"
	" CASE WHEN v.complete THEN v.config OPERATOR(pg_catalog.->>) 'base_checksum' END"
	" FROM fmoe.version v JOIN fmoe.domain d ON d.domain_id OPERATOR(pg_catalog.=) v.domain_id"
	" WHERE v.version_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement stored_arrays = {
	"SELECT name, dtype, shape, pg_catalog.sum(pg_catalog.octet_length(data))::bigint"
	" FROM fmoe.tensor WHERE version_id OPERATOR(pg_catalog.=) $1 GROUP BY name, dtype, shape ORDER BY name",
	1, {INT8OID}
};

static FmoeStatement stored_part = {
	"SELECT data FROM fmoe.tensor WHERE version_id OPERATOR(pg_catalog.=) $1"
	" AND name OPERATOR(pg_catalog.=) $2 AND part OPERATOR(pg_catalog.=) $3",
	3, {INT8OID, TEXTOID, INT4OID}
};

/* The version being loaded, for messages, and what its row says. */
typedef struct Loading
{
	int64		version_id;
	char	   *domain;
	int			version;
	int64		bytes;
	uint64		checksum;
	char	   *base;			/* checksum of the base that it is built on; NULL: none */
	int			n_arrays;
	FnnArray   *array;
	int			n_base;			/* arrays of the base, behind those, … */
	FnnArray   *base_array;		/* … and where they are read from */
} Loading;

FmoeReadBase fmoe_read_base = NULL;

pg_noreturn static void
reject_damaged(const Loading *loading, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("version %d of domain \"%s\" is damaged", loading->version, loading->domain),
			 errdetail("%s", detail),
			 errhint("Go back with fmoe_rollback(), or train a new version.")));
	pg_unreachable();
}

static void
read_facts(Loading *loading)
{
	Datum		value = Int64GetDatum(loading->version_id);
	int			format;

	fmoe_own_execute(&stored_facts, &value, NULL, true, 0);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the version no longer exists")));
	loading->domain = fmoe_result_text(1);
	loading->version = DatumGetInt32(fmoe_result_column(2, NULL));
	loading->bytes = DatumGetInt64(fmoe_result_column(3, NULL));
	loading->checksum = fmoe_checksum_parse(fmoe_result_text(4));
	format = DatumGetInt32(fmoe_result_column(5, NULL));
	loading->base = fmoe_result_text(6);
	if (format > FMOE_FORMAT)
		fmoe_reject_format(loading->version, format);
}

/* Name, dtype and shape of an array; the bytes that shape and dtype need must be the bytes that are stored. */
static void
read_header(const Loading *loading, HeapTuple tuple, TupleDesc shape, FnnArray *array)
{
	bool		isnull;
	char	   *name = SPI_getvalue(tuple, shape, 1);
	char	   *dtype = SPI_getvalue(tuple, shape, 2);
	ArrayType  *dims = DatumGetArrayTypeP(SPI_getbinval(tuple, shape, 3, &isnull));
	uint64		stored = DatumGetInt64(SPI_getbinval(tuple, shape, 4, &isnull));
	uint64		bytes;
	int			i;

	memset(array, 0, sizeof(FnnArray));
	if (strlcpy(array->name, name, FNN_NAME_MAX) >= FNN_NAME_MAX || !fnn_dtype_parse(dtype, &array->dtype))
		reject_damaged(loading, psprintf("Array \"%s\" has an unusable name or type.", name));
	array->ndim = ArrayGetNItems(ARR_NDIM(dims), ARR_DIMS(dims));
	if (array->ndim > FNN_DIMS_MAX || array_contains_nulls(dims))
		reject_damaged(loading, psprintf("Array \"%s\" has an unusable shape.", name));

	bytes = fnn_dtype_size(array->dtype);
	for (i = 0; i < array->ndim; i++)
	{
		array->shape[i] = ((int64 *) ARR_DATA_PTR(dims))[i];
		if (array->shape[i] < 0 || pg_mul_u64_overflow(bytes, array->shape[i], &bytes))
			reject_damaged(loading, psprintf("Array \"%s\" has an unusable shape.", name));
	}
	if (bytes != stored)
		reject_damaged(loading,
					   psprintf("Array \"%s\" has " UINT64_FORMAT " bytes where its shape needs " UINT64_FORMAT ".",
								name, stored, bytes));
	array->bytes = bytes;
}

static void
read_headers(Loading *loading, MemoryContext context)
{
	Datum		value = Int64GetDatum(loading->version_id);
	uint64		sum = 0;
	int			i;

	fmoe_own_execute(&stored_arrays, &value, NULL, true, 0);
	loading->n_arrays = (int) SPI_processed;
	loading->array = MemoryContextAlloc(context, sizeof(FnnArray) * Max(loading->n_arrays, 1));
	for (i = 0; i < loading->n_arrays; i++)
	{
		read_header(loading, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &loading->array[i]);
		if (i > 0 && strcmp(loading->array[i].name, loading->array[i - 1].name) == 0)
			reject_damaged(loading, psprintf("Parts of array \"%s\" disagree.", loading->array[i].name));
		if (pg_add_u64_overflow(sum, loading->array[i].bytes, &sum))
			reject_damaged(loading, "Its arrays are longer than memory can be.");
	}
	if (sum != (uint64) loading->bytes)
		reject_damaged(loading, psprintf("It has " UINT64_FORMAT " bytes of arrays instead of " INT64_FORMAT ".",
										 sum, loading->bytes));
}

/* Appends the arrays of the base to those of the version. */
static void
read_base(Loading *loading, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	loading->n_base = fmoe_read_base(loading->base, &loading->base_array);
	loading->array = repalloc(loading->array, sizeof(FnnArray) * (loading->n_arrays + loading->n_base));
	memcpy(loading->array + loading->n_arrays, loading->base_array, sizeof(FnnArray) * loading->n_base);
	MemoryContextSwitchTo(old);
}

static void
read_data(const Loading *loading, const FnnArray *array)
{
	Datum		values[3] = {Int64GetDatum(loading->version_id), CStringGetTextDatum(array->name)};
	int			part = fmoe_parts_read(&stored_part, values, 2, true, array->data, array->bytes);

	if (part >= 0)
		reject_damaged(loading, psprintf("Part %d of array \"%s\" is missing or does not have %zu bytes.",
										 part, array->name, fmoe_part_bytes(array->bytes, part)));
}

/* Places all arrays in one block that take gives, each at a multiple of FNN_ALIGN; false: it gave none. */
static bool
place_arrays(Loading *loading, FmoeTake take, void *argument)
{
	size_t		total = 0;
	char	   *block;
	int			i;

	for (i = 0; i < loading->n_arrays + loading->n_base; i++)
	{
		if (loading->array[i].bytes > MaxAllocHugeSize - total - 2 * FNN_ALIGN)
			reject_damaged(loading, "Its arrays are longer than memory can be.");
		total += TYPEALIGN64(FNN_ALIGN, loading->array[i].bytes);
	}
	block = take(argument, total, psprintf("loading version %d of domain \"%s\"", loading->version, loading->domain));
	if (block == NULL)
		return false;
	for (i = 0; i < loading->n_arrays + loading->n_base; i++)
	{
		loading->array[i].data = block;
		block += TYPEALIGN64(FNN_ALIGN, loading->array[i].bytes);
	}
	return true;
}

int
fmoe_load_arrays_into(int64 version_id, FmoeTake take, void *argument, FnnArray **arrays)
{
	MemoryContext context = CurrentMemoryContext;
	Loading		loading = {0};
	bool		placed;
	FmoeOwn		own;
	int			i;

	loading.version_id = version_id;
	fmoe_own_begin(&own);
	read_facts(&loading);
	read_headers(&loading, context);
	if (loading.base != NULL)
		read_base(&loading, context);
	placed = place_arrays(&loading, take, argument);
	for (i = 0; placed && i < loading.n_arrays; i++)
		read_data(&loading, &loading.array[i]);
	for (i = 0; placed && i < loading.n_base; i++)
		memcpy(loading.array[loading.n_arrays + i].data, loading.base_array[i].data, loading.base_array[i].bytes);
	if (placed && fmoe_checksum(loading.n_arrays, loading.array) != loading.checksum)
		reject_damaged(&loading, "Its checksum does not agree.");
	fmoe_own_end(&own);

	*arrays = loading.array;
	return placed ? loading.n_arrays + loading.n_base : -1;
}

/* Memory of a context, as far as fmoe.max_memory allows, and how much was taken. */
typedef struct ContextMemory
{
	MemoryContext context;
	size_t		bytes;
} ContextMemory;

static void *
take_private(void *argument, size_t bytes, const char *what)
{
	ContextMemory *memory = argument;
	char	   *block;

	memory->bytes = bytes + FNN_ALIGN;
	fmoe_check_memory(memory->bytes, what);
	block = MemoryContextAllocExtended(memory->context, memory->bytes, MCXT_ALLOC_HUGE);
	return (char *) TYPEALIGN(FNN_ALIGN, block);
}

int
fmoe_load_arrays(int64 version_id, MemoryContext context, FnnArray **arrays, size_t *bytes)
{
	ContextMemory memory = {.context = context};
	MemoryContext old = MemoryContextSwitchTo(context);
	int			n_arrays = fmoe_load_arrays_into(version_id, take_private, &memory, arrays);

	MemoryContextSwitchTo(old);
	*bytes = memory.bytes;
	return n_arrays;
}

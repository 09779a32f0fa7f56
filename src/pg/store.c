/*
 * store.c
 *	  Versions in the tables fmoe.expert, fmoe.tensor and fmoe.deployment.
 *
 * A version is written once and never changed.  Its arrays are cut into parts
 * of at most FMOE_PART_BYTES.  What is read back is believed only when sizes
 * and shapes fit and the checksum agrees.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg.h"
#include "private.h"

/* ---------------------------------------------------------------- checksum */

/* Does not depend on the order of the arrays. */
uint64
fmoe_checksum(int n_arrays, const FnnArray *arrays)
{
	uint64		sum = 0;
	int			i;

	for (i = 0; i < n_arrays; i++)
	{
		const FnnArray *array = &arrays[i];
		const char *dtype = fnn_dtype_name(array->dtype);
		size_t		done = 0;
		uint64		hash;

		hash = fnn_hash(0, array->name, strlen(array->name));
		hash = fnn_hash(hash, dtype, strlen(dtype));
		hash = fnn_hash(hash, array->shape, sizeof(int64_t) * array->ndim);
		while (done < array->bytes)
		{
			size_t		piece = Min(array->bytes - done, FMOE_PART_BYTES);

			hash = fnn_hash(hash, (const char *) array->data + done, piece);
			done += piece;
			CHECK_FOR_INTERRUPTS();
		}
		sum += hash;
	}
	return sum;
}

static char *
checksum_text(uint64 checksum)
{
	return psprintf("%016llx", (unsigned long long) checksum);
}

/* ---------------------------------------------------------------- writing */

static FmoeStatement next_version = {
	"UPDATE fmoe.domain SET last_version = last_version OPERATOR(pg_catalog.+) 1"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 RETURNING last_version",
	1, {INT8OID}
};

static FmoeStatement insert_expert = {
	"INSERT INTO fmoe.expert (domain_id, version, name, model, config, origin, complete, holdout,"
	" events, users, items, last_event, seconds, metrics, bytes, format, checksum, created_by)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
	" ON CONFLICT (domain_id, name) DO NOTHING RETURNING expert_id",
	18, {INT8OID, INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, BOOLOID, TEXTOID,
		INT8OID, INT8OID, INT4OID, FLOAT8OID, FLOAT8OID, JSONBOID, INT8OID, INT4OID, TEXTOID, NAMEOID}
};

static FmoeStatement insert_part = {
	"INSERT INTO fmoe.tensor (expert_id, name, part, dtype, shape, data) VALUES ($1, $2, $3, $4, $5, $6)",
	6, {INT8OID, TEXTOID, INT4OID, TEXTOID, INT8ARRAYOID, BYTEAOID}
};

/* The first column of the only row; 0 when there is none. */
static int64
single_result(bool wide)
{
	bool		isnull;
	Datum		value;

	if (SPI_processed != 1)
		return 0;
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? 0 : wide ? DatumGetInt64(value) : DatumGetInt32(value);
}

static ArrayType *
shape_array(const FnnArray *array)
{
	Datum		dims[FNN_DIMS_MAX];
	int			i;

	for (i = 0; i < array->ndim; i++)
		dims[i] = Int64GetDatum(array->shape[i]);
	return construct_array(dims, array->ndim, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static void
store_array(int64 expert_id, const FnnArray *array)
{
	size_t		done = 0;
	int			part = 0;
	Datum		values[6];

	values[0] = Int64GetDatum(expert_id);
	values[1] = CStringGetTextDatum(array->name);
	values[3] = CStringGetTextDatum(fnn_dtype_name(array->dtype));
	values[4] = PointerGetDatum(shape_array(array));
	do
	{
		size_t		piece = Min(array->bytes - done, FMOE_PART_BYTES);
		bytea	   *data = palloc(VARHDRSZ + piece);

		SET_VARSIZE(data, VARHDRSZ + piece);
		memcpy(VARDATA(data), (const char *) array->data + done, piece);
		values[2] = Int32GetDatum(part++);
		values[5] = PointerGetDatum(data);
		fmoe_own_execute(&insert_part, values, NULL, false, 0);
		pfree(data);
		done += piece;
		CHECK_FOR_INTERRUPTS();
	} while (done < array->bytes);
}

static void
store_expert(FmoeVersion *version, const char *creator)
{
	Jsonb	   *config = fmoe_options_jsonb(fmoe_train_options, &version->config);
	Datum		values[18];
	char		nulls[18];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(version->domain_id);
	fmoe_own_execute(&next_version, values, NULL, false, 0);
	version->version = (int) single_result(false);
	if (version->version == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the domain was dropped while a version was being made")));

	values[1] = Int32GetDatum(version->version);
	nulls[2] = version->name == NULL ? 'n' : ' ';
	values[2] = version->name == NULL ? (Datum) 0 : CStringGetTextDatum(version->name);
	values[3] = CStringGetTextDatum(version->model);
	values[4] = JsonbPGetDatum(config);
	values[5] = CStringGetTextDatum(version->origin);
	values[6] = BoolGetDatum(version->complete);
	values[7] = CStringGetTextDatum(version->holdout);
	values[8] = Int64GetDatum(version->events);
	values[9] = Int64GetDatum(version->users);
	values[10] = Int32GetDatum(version->items);
	nulls[11] = isnan(version->last_event) ? 'n' : ' ';
	values[11] = Float8GetDatum(version->last_event);
	values[12] = Float8GetDatum(version->seconds);
	values[13] = version->metrics != NULL ? JsonbPGetDatum(version->metrics)
		: DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	values[14] = Int64GetDatum(version->bytes);
	values[15] = Int32GetDatum(FMOE_FORMAT);
	values[16] = CStringGetTextDatum(checksum_text(version->checksum));
	values[17] = DirectFunctionCall1(namein, CStringGetDatum(creator));
	fmoe_own_execute(&insert_expert, values, nulls, false, 0);
	version->expert_id = single_result(true);
	if (version->expert_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the domain already has a version named \"%s\"", version->name)));
}

void
fmoe_store_version(FmoeVersion *version, int n_arrays, const FnnArray *arrays)
{
	const char *creator = GetUserNameFromId(GetUserId(), false);
	FmoeOwn		own;
	int			i;

	version->bytes = 0;
	for (i = 0; i < n_arrays; i++)
		version->bytes += arrays[i].bytes;
	version->checksum = fmoe_checksum(n_arrays, arrays);

	fmoe_own_begin(&own);
	store_expert(version, creator);
	for (i = 0; i < n_arrays; i++)
		store_array(version->expert_id, &arrays[i]);
	fmoe_own_end(&own);
}

/* ---------------------------------------------------------------- what is live */

static FmoeStatement live_expert = {
	"SELECT expert_id FROM fmoe.deployment WHERE domain_id OPERATOR(pg_catalog.=) $1 AND undone_at IS NULL"
	" ORDER BY deployment_id DESC LIMIT 1",
	1, {INT8OID}
};

static FmoeStatement lock_domain = {
	"SELECT FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
	1, {INT8OID}
};

static FmoeStatement insert_deployment = {
	"INSERT INTO fmoe.deployment (domain_id, expert_id, deployed_by) VALUES ($1, $2, $3)",
	3, {INT8OID, INT8OID, NAMEOID}
};

/* Columns of fmoe.deployment, as the extension's script numbers them. */
#define DEPLOYMENT_DOMAIN 2
#define DEPLOYMENT_EXPERT 3

int64
fmoe_live_expert(int64 domain_id)
{
	ScanKeyData key;
	FmoeRows	rows;
	HeapTuple	newest;
	int64		expert_id = 0;

	/* the index leaves those that were undone out, and has the newest first */
	ScanKeyInit(&key, DEPLOYMENT_DOMAIN, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(domain_id));
	fmoe_rows_begin(&rows, "deployment", "deployment_live", 1, &key);
	newest = fmoe_rows_next(&rows);
	if (newest != NULL)
	{
		bool		isnull;

		expert_id = DatumGetInt64(heap_getattr(newest, DEPLOYMENT_EXPERT, RelationGetDescr(rows.table), &isnull));
	}
	fmoe_rows_end(&rows);
	return expert_id;
}

/* Also locks the domain's row: deployments come one after the other. */
void
fmoe_set_live(int64 domain_id, int64 expert_id)
{
	const char *deployer = GetUserNameFromId(GetUserId(), false);
	Datum		values[3];
	FmoeOwn		own;

	values[0] = Int64GetDatum(domain_id);
	values[1] = Int64GetDatum(expert_id);
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(deployer));
	fmoe_own_begin(&own);
	fmoe_own_execute(&lock_domain, values, NULL, false, 0);
	/* to deploy what is live already is nothing that could be rolled back */
	fmoe_own_execute(&live_expert, values, NULL, false, 1);
	if (single_result(true) != expert_id)
		fmoe_own_execute(&insert_deployment, values, NULL, false, 0);
	fmoe_own_end(&own);
}

/* ---------------------------------------------------------------- finding versions */

#define VERSION_COLUMNS \
	"expert_id, version, domain_id, name, model, origin, complete, holdout, config, events, users, items," \
	" last_event, seconds, metrics, bytes, format, checksum"

static FmoeStatement version_by_number = {
	"SELECT " VERSION_COLUMNS " FROM fmoe.expert"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
	2, {INT8OID, INT4OID}
};

static FmoeStatement version_by_id = {
	"SELECT " VERSION_COLUMNS " FROM fmoe.expert WHERE expert_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static Datum
column(int number, bool *isnull)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &null);

	if (isnull != NULL)
		*isnull = null;
	return value;
}

static char *
text_column(int number)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number);
}

static void pg_attribute_noreturn()
reject_format(int version, int format)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("version %d is stored in format %d", version, format),
			 errdetail("This fmoe reads formats up to %d.", FMOE_FORMAT),
			 errhint("Install the newer fmoe that stored it.")));
	pg_unreachable();
}

/* The row of SPI_tuptable, in the current context. */
static FmoeVersion *
version_of_row(void)
{
	FmoeVersion *version = palloc0(sizeof(FmoeVersion));
	bool		isnull;
	int			format;

	version->expert_id = DatumGetInt64(column(1, NULL));
	version->version = DatumGetInt32(column(2, NULL));
	format = DatumGetInt32(column(17, NULL));
	if (format > FMOE_FORMAT)
		reject_format(version->version, format);
	version->domain_id = DatumGetInt64(column(3, NULL));
	version->name = text_column(4);
	version->model = text_column(5);
	version->origin = text_column(6);
	version->complete = DatumGetBool(column(7, NULL));
	version->holdout = text_column(8);
	fmoe_parse_options(DatumGetJsonbP(column(9, NULL)), fmoe_train_options, &version->config);
	version->events = DatumGetInt64(column(10, NULL));
	version->users = DatumGetInt64(column(11, NULL));
	version->items = DatumGetInt32(column(12, NULL));
	version->last_event = DatumGetFloat8(column(13, &isnull));
	if (isnull)
		version->last_event = get_float8_nan();
	version->seconds = DatumGetFloat8(column(14, NULL));
	version->metrics = DatumGetJsonbPCopy(column(15, NULL));
	version->bytes = DatumGetInt64(column(16, NULL));
	version->checksum = strtoull(text_column(18), NULL, 16);
	return version;
}

FmoeVersion *
fmoe_find_version(const FmoeDomain *domain, int version)
{
	MemoryContext context = CurrentMemoryContext;
	FmoeVersion *found = NULL;
	Datum		values[2];
	FmoeOwn		own;

	values[0] = Int64GetDatum(version == 0 ? fmoe_live_expert(domain->id) : domain->id);
	values[1] = Int32GetDatum(version);
	if (version == 0 && DatumGetInt64(values[0]) == 0)
		return NULL;

	fmoe_own_begin(&own);
	fmoe_own_execute(version == 0 ? &version_by_id : &version_by_number, values, NULL, true, 0);
	if (SPI_processed == 1)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		found = version_of_row();
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" has no version %d", domain->name, version),
				 errhint("The view fmoe.versions lists the versions.")));
	return found;
}

/* ---------------------------------------------------------------- loading */

static FmoeStatement stored_facts = {
	"SELECT d.name, e.version, e.bytes, e.checksum, e.format"
	" FROM fmoe.expert e JOIN fmoe.domain d ON d.domain_id OPERATOR(pg_catalog.=) e.domain_id"
	" WHERE e.expert_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement stored_arrays = {
	"SELECT name, dtype, shape, pg_catalog.count(*)::integer,"
	" pg_catalog.sum(pg_catalog.octet_length(data))::bigint"
	" FROM fmoe.tensor WHERE expert_id OPERATOR(pg_catalog.=) $1 GROUP BY name, dtype, shape ORDER BY name",
	1, {INT8OID}
};

static FmoeStatement stored_part = {
	"SELECT data FROM fmoe.tensor WHERE expert_id OPERATOR(pg_catalog.=) $1"
	" AND name OPERATOR(pg_catalog.=) $2 AND part OPERATOR(pg_catalog.=) $3",
	3, {INT8OID, TEXTOID, INT4OID}
};

/* The version being loaded, for messages, and what its row says. */
typedef struct Loading
{
	int64		expert_id;
	char	   *domain;
	int			version;
	int64		bytes;
	uint64		checksum;
	int			n_arrays;
	FnnArray   *array;
	int		   *parts;			/* [n_arrays] */
} Loading;

static void pg_attribute_noreturn()
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
	Datum		value = Int64GetDatum(loading->expert_id);
	int			format;

	fmoe_own_execute(&stored_facts, &value, NULL, true, 0);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the version does not exist any more")));
	loading->domain = text_column(1);
	loading->version = DatumGetInt32(column(2, NULL));
	loading->bytes = DatumGetInt64(column(3, NULL));
	loading->checksum = strtoull(text_column(4), NULL, 16);
	format = DatumGetInt32(column(5, NULL));
	if (format > FMOE_FORMAT)
		reject_format(loading->version, format);
}

/* Name, dtype and shape of an array, whose product must be its stored length. */
static void
read_header(const Loading *loading, HeapTuple tuple, TupleDesc shape, FnnArray *array, int *parts)
{
	bool		isnull;
	char	   *name = SPI_getvalue(tuple, shape, 1);
	char	   *dtype = SPI_getvalue(tuple, shape, 2);
	ArrayType  *dims = DatumGetArrayTypeP(SPI_getbinval(tuple, shape, 3, &isnull));
	uint64		stored = DatumGetInt64(SPI_getbinval(tuple, shape, 5, &isnull));
	uint64		bytes;
	int			i;

	*parts = DatumGetInt32(SPI_getbinval(tuple, shape, 4, &isnull));
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
		reject_damaged(loading, psprintf("Array \"%s\" has " UINT64_FORMAT " bytes where its shape needs " UINT64_FORMAT ".",
										 name, stored, bytes));
	array->bytes = bytes;
}

static void
read_headers(Loading *loading, MemoryContext context)
{
	Datum		value = Int64GetDatum(loading->expert_id);
	uint64		sum = 0;
	int			i;

	fmoe_own_execute(&stored_arrays, &value, NULL, true, 0);
	loading->n_arrays = (int) SPI_processed;
	loading->array = MemoryContextAlloc(context, sizeof(FnnArray) * Max(loading->n_arrays, 1));
	loading->parts = palloc(sizeof(int) * Max(loading->n_arrays, 1));
	for (i = 0; i < loading->n_arrays; i++)
	{
		read_header(loading, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &loading->array[i], &loading->parts[i]);
		if (i > 0 && strcmp(loading->array[i].name, loading->array[i - 1].name) == 0)
			reject_damaged(loading, psprintf("Parts of array \"%s\" disagree.", loading->array[i].name));
		if (pg_add_u64_overflow(sum, loading->array[i].bytes, &sum))
			reject_damaged(loading, "Its arrays are longer than memory can be.");
	}
	if (sum != (uint64) loading->bytes)
		reject_damaged(loading, psprintf("It has " UINT64_FORMAT " bytes of arrays instead of " INT64_FORMAT ".",
										 sum, loading->bytes));
}

static void
read_data(const Loading *loading, const FnnArray *array, int parts)
{
	Datum		values[3];
	size_t		done = 0;
	int			part;

	values[0] = Int64GetDatum(loading->expert_id);
	values[1] = CStringGetTextDatum(array->name);
	for (part = 0; part < parts; part++)
	{
		bytea	   *data;
		size_t		piece;

		values[2] = Int32GetDatum(part);
		fmoe_own_execute(&stored_part, values, NULL, true, 0);
		if (SPI_processed != 1)
			reject_damaged(loading, psprintf("Part %d of array \"%s\" is missing.", part, array->name));
		data = DatumGetByteaPP(column(1, NULL));
		piece = VARSIZE_ANY_EXHDR(data);
		if (piece > array->bytes - done)
			reject_damaged(loading, psprintf("Part %d of array \"%s\" is too long.", part, array->name));
		memcpy((char *) array->data + done, VARDATA_ANY(data), piece);
		done += piece;
		if ((Pointer) data != DatumGetPointer(column(1, NULL)))
			pfree(data);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	if (done != array->bytes)
		reject_damaged(loading, psprintf("Array \"%s\" is too short.", array->name));
}

/* Places all arrays in one block that take gives, each at a multiple of FNN_ALIGN; false: it gave none. */
static bool
place_arrays(Loading *loading, FmoeTake take, void *argument)
{
	size_t		total = 0;
	char	   *block;
	int			i;

	for (i = 0; i < loading->n_arrays; i++)
	{
		if (loading->array[i].bytes > MaxAllocHugeSize - total - 2 * FNN_ALIGN)
			reject_damaged(loading, "Its arrays are longer than memory can be.");
		total += TYPEALIGN64(FNN_ALIGN, loading->array[i].bytes);
	}
	block = take(argument, total, psprintf("loading version %d of domain \"%s\"", loading->version, loading->domain));
	if (block == NULL)
		return false;
	for (i = 0; i < loading->n_arrays; i++)
	{
		loading->array[i].data = block;
		block += TYPEALIGN64(FNN_ALIGN, loading->array[i].bytes);
	}
	return true;
}

int
fmoe_load_arrays_into(int64 expert_id, FmoeTake take, void *argument, FnnArray **arrays)
{
	MemoryContext context = CurrentMemoryContext;
	Loading		loading = {0};
	bool		placed;
	FmoeOwn		own;
	int			i;

	loading.expert_id = expert_id;
	fmoe_own_begin(&own);
	read_facts(&loading);
	read_headers(&loading, context);
	placed = place_arrays(&loading, take, argument);
	for (i = 0; placed && i < loading.n_arrays; i++)
		read_data(&loading, &loading.array[i], loading.parts[i]);
	if (placed && fmoe_checksum(loading.n_arrays, loading.array) != loading.checksum)
		reject_damaged(&loading, "Its checksum does not agree.");
	fmoe_own_end(&own);

	*arrays = loading.array;
	return placed ? loading.n_arrays : -1;
}

/* Takes from a memory context what fmoe.max_memory allows, and counts it. */
typedef struct OwnMemory
{
	MemoryContext context;
	size_t		bytes;
} OwnMemory;

static void *
take_own(void *argument, size_t bytes, const char *what)
{
	OwnMemory  *memory = argument;
	char	   *block;

	memory->bytes = bytes + FNN_ALIGN;
	fmoe_check_memory(memory->bytes, what);
	block = MemoryContextAllocExtended(memory->context, memory->bytes, MCXT_ALLOC_HUGE);
	return (char *) TYPEALIGN(FNN_ALIGN, block);
}

int
fmoe_load_arrays(int64 expert_id, MemoryContext context, FnnArray **arrays, size_t *bytes)
{
	OwnMemory	memory = {.context = context};
	MemoryContext old = MemoryContextSwitchTo(context);
	int			n_arrays = fmoe_load_arrays_into(expert_id, take_own, &memory, arrays);

	MemoryContextSwitchTo(old);
	*bytes = memory.bytes;
	return n_arrays;
}

/*
 * version.c
 *	  Versions in the tables fmoe.version, fmoe.tensor and fmoe.deployment.
 *
 * A version is written once and never changed.  Its arrays are cut into parts
 * of at most FMOE_PART_BYTES.  What is read back is believed only when sizes
 * and shapes fit and the checksum agrees.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "pg/option/option.h"
#include "pg/store/store_private.h"

/* ---------------------------------------------------------------- writing */

static FmoeStatement next_version = {
	"UPDATE fmoe.domain SET last_version = last_version OPERATOR(pg_catalog.+) 1"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 RETURNING last_version",
	1, {INT8OID}
};

static FmoeStatement insert_version = {
	"INSERT INTO fmoe.version (domain_id, version, name, model, config, origin, complete, holdout,"
	" events, users, items, last_event, seconds, metrics, bytes, format, checksum, created_by,"
	" last_event_local)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
	" ON CONFLICT (domain_id, name) DO NOTHING RETURNING version_id",
	19, {INT8OID, INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, BOOLOID, TEXTOID,
		INT8OID, INT8OID, INT4OID, FLOAT8OID, FLOAT8OID, JSONBOID, INT8OID, INT4OID, TEXTOID, NAMEOID, BOOLOID}
};

static FmoeStatement insert_part = {
	"INSERT INTO fmoe.tensor (version_id, name, part, dtype, shape, data) VALUES ($1, $2, $3, $4, $5, $6)",
	6, {INT8OID, TEXTOID, INT4OID, TEXTOID, INT8ARRAYOID, BYTEAOID}
};

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
store_array(int64 version_id, const FnnArray *array)
{
	Datum		values[6];

	values[0] = Int64GetDatum(version_id);
	values[1] = CStringGetTextDatum(array->name);
	values[3] = CStringGetTextDatum(fnn_dtype_name(array->dtype));
	values[4] = PointerGetDatum(shape_array(array));
	fmoe_parts_write(&insert_part, values, 2, 5, array->data, array->bytes);
}

static void
store_facts(FmoeVersion *version, const char *creator)
{
	Jsonb	   *config = fmoe_config_jsonb(&version->config);
	Datum		values[19];
	char		nulls[19];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(version->domain_id);
	fmoe_own_execute(&next_version, values, NULL, false, 0);
	version->version = (int) fmoe_result_int64();
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
	values[16] = CStringGetTextDatum(fmoe_checksum_text(version->checksum));
	values[17] = DirectFunctionCall1(namein, CStringGetDatum(creator));
	values[18] = BoolGetDatum(version->last_event_local);
	fmoe_own_execute(&insert_version, values, nulls, false, 0);
	version->version_id = fmoe_result_int64();
	if (version->version_id == 0)
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
	store_facts(version, creator);
	for (i = 0; i < n_arrays; i++)
		store_array(version->version_id, &arrays[i]);
	fmoe_own_end(&own);
}

/* ---------------------------------------------------------------- finding versions */

#define VERSION_COLUMNS \
	"version_id, version, domain_id, name, model, origin, complete, holdout, config, events, users, items," \
	" last_event, seconds, metrics, bytes, format, checksum, last_event_local"

static FmoeStatement version_by_number = {
	"SELECT " VERSION_COLUMNS " FROM fmoe.version"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 AND version OPERATOR(pg_catalog.=) $2",
	2, {INT8OID, INT4OID}
};

static FmoeStatement version_by_id = {
	"SELECT " VERSION_COLUMNS " FROM fmoe.version"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 AND version_id OPERATOR(pg_catalog.=) $2",
	2, {INT8OID, INT8OID}
};

void
fmoe_reject_format(int version, int format)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("version %d is stored in format %d", version, format),
			 errdetail("This fmoe reads formats up to %d.", FMOE_FORMAT),
			 errhint("Install the newer fmoe that stored it.")));
	pg_unreachable();
}

/* Rows are made whole, and may be damaged since: in the table, or in a dump that somebody has edited. */
static void
check_row(const FmoeVersion *version)
{
	const char *detail = NULL;

	if (fmoe_expert_class(version->model) != fmoe_expert_classes[version->config.model])
		detail = "Its options are of another model.";
	else if (version->items < 1 || version->events < 0 || version->users < 0 || version->bytes < 0)
		detail = "What it was made of has an impossible number.";
	if (detail != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the row of version %d in fmoe.version is damaged", version->version),
				 errdetail_internal("%s", detail),
				 errhint("Roll back to another version, and drop this one.")));
	fmoe_check_config(&version->config);
}

/* The version in the row of SPI_tuptable, in the current context. */
static FmoeVersion *
version_of_row(void)
{
	FmoeVersion *version = palloc0(sizeof(FmoeVersion));
	bool		isnull;
	int			format;

	version->version_id = DatumGetInt64(fmoe_result_column(1, NULL));
	version->version = DatumGetInt32(fmoe_result_column(2, NULL));
	format = DatumGetInt32(fmoe_result_column(17, NULL));
	if (format > FMOE_FORMAT)
		fmoe_reject_format(version->version, format);
	version->domain_id = DatumGetInt64(fmoe_result_column(3, NULL));
	version->name = fmoe_result_text(4);
	version->model = fmoe_result_text(5);
	version->origin = fmoe_result_text(6);
	version->complete = DatumGetBool(fmoe_result_column(7, NULL));
	version->holdout = fmoe_result_text(8);
	fmoe_parse_config(DatumGetJsonbP(fmoe_result_column(9, NULL)), &version->config);
	version->events = DatumGetInt64(fmoe_result_column(10, NULL));
	version->users = DatumGetInt64(fmoe_result_column(11, NULL));
	version->items = DatumGetInt32(fmoe_result_column(12, NULL));
	version->last_event = DatumGetFloat8(fmoe_result_column(13, &isnull));
	if (isnull)
		version->last_event = get_float8_nan();
	version->seconds = DatumGetFloat8(fmoe_result_column(14, NULL));
	version->metrics = DatumGetJsonbPCopy(fmoe_result_column(15, NULL));
	version->bytes = DatumGetInt64(fmoe_result_column(16, NULL));
	version->checksum = fmoe_checksum_parse(fmoe_result_text(18));
	version->last_event_local = DatumGetBool(fmoe_result_column(19, NULL));
	check_row(version);
	return version;
}

/* The version that a statement finds, in the current context; NULL: none. */
static FmoeVersion *
find(FmoeStatement *statement, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	FmoeVersion *found = NULL;
	FmoeOwn		own;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, NULL, true, 1);
	if (SPI_processed == 1)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		found = version_of_row();
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	return found;
}

FmoeVersion *
fmoe_version_of_id(const FmoeDomain *domain, int64 version_id)
{
	Datum		values[2] = {Int64GetDatum(domain->id), Int64GetDatum(version_id)};

	return version_id == 0 ? NULL : find(&version_by_id, values);
}

FmoeVersion *
fmoe_find_version(const FmoeDomain *domain, int number)
{
	Datum		values[2] = {Int64GetDatum(domain->id), Int32GetDatum(number)};
	FmoeVersion *found;

	if (number == 0)
		return fmoe_version_of_id(domain, fmoe_live_version(domain->id));
	found = find(&version_by_number, values);
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" has no version %d", domain->name, number),
				 errhint("The view fmoe.versions lists the versions.")));
	return found;
}

FmoeVersion *
fmoe_version_argument(FunctionCallInfo fcinfo, int argument, const FmoeDomain *domain)
{
	int			number = PG_ARGISNULL(argument) ? 0 : PG_GETARG_INT32(argument);

	if (!PG_ARGISNULL(argument) && number < 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("domain \"%s\" has no version %d", domain->name, number),
				 errhint("Versions count from 1; the view fmoe.versions lists them.")));
	return fmoe_find_version(domain, number);
}

static FmoeStatement newest_version = {
	"SELECT version_id FROM fmoe.version WHERE domain_id OPERATOR(pg_catalog.=) $1 AND complete"
	" ORDER BY version DESC LIMIT 1",
	1, {INT8OID}
};

int64
fmoe_newest_version(int64 domain_id)
{
	Datum		value = Int64GetDatum(domain_id);

	return fmoe_own_int64(&newest_version, &value, true);
}

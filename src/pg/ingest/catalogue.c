/*
 * catalogue.c
 *	  The item table read as a whole, for training: what is known of items beside
 *	  that they were chosen.  The user table is read by the same, as the item table
 *	  of a domain whose items are users (fmoe_users_as_items).
 *
 * Read as fmoe_domain_reader says, through a cursor.  Every row's key becomes an
 * item of the catalogue, whether or not anybody has chosen it.  Rows of one key
 * are taken together, so that what comes out depends on the set of rows alone:
 * their words add up, their categories are joined, the lowest price counts, and of
 * their vectors that which comes first by its bytes.
 *
 * Texts become words in UTF-8, whatever the database's encoding; of SQL_ASCII
 * nobody knows what it is, so it is read as it stands.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "model/data/text.h"
#include "pg/ingest/ingest_private.h"

/* Few, since a view's row may hold a description of 100 kB. */
#define ROWS_A_FETCH 500
#define FIRST_ITEMS 1024
#define LATER_WORDS 40			/* of the text columns after the first, in all, where that is empty */

typedef FmoeCatalogueColumn Column;

/* ---------------------------------------------------------------- the query */

/* As what a column's values are read. */
static const char *
selected(const FmoeDomain *domain, Column *column)
{
	Oid			type = fmoe_item_column_type(domain, column->name);
	const FmoeColumnRule *rule = domain->of_users ? &fmoe_user_rule : &fmoe_item_rules[column->modality];
	const char *name = quote_identifier(column->name);
	Oid			element = get_base_element_type(type);
	bool		real = type == FLOAT4OID || type == FLOAT8OID || element == FLOAT4OID || element == FLOAT8OID;

	if (!rule->fits(type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the %s table of domain \"%s\" has type %s now and cannot be %s",
						column->name, fmoe_described(domain), domain->name, format_type_be(type), rule->what),
				 errdetail("%s", rule->detail),
				 errhint("Name other columns with fmoe_alter_domain(%s, %s => ...).",
						 quote_literal_cstr(domain->name), rule->parameter)));
	column->type = type;
	switch (column->modality)
	{
		case FMOE_PRICE:
			return name;
		case FMOE_VECTOR:
			if (type == FLOAT4ARRAYOID || type == FLOAT8ARRAYOID)
				return name;
			column->type = FLOAT4ARRAYOID;
			return psprintf("%s::pg_catalog.float4[]", name);
		default:
			column->type = OidIsValid(element) ? TEXTARRAYOID : TEXTOID;
			/* the shortest text of a real depends on settings, that of a numeric does not */
			return psprintf("%s%s::pg_catalog.text%s", name,
							!real ? "" : OidIsValid(element) ? "::pg_catalog.numeric[]" : "::pg_catalog.numeric",
							OidIsValid(element) ? "[]" : "");
	}
}

/* Whether a column is there, as it should be, and for the reader. */
static bool
is_readable(const FmoeCatalogue *catalogue, FmoeModality modality, const char *name)
{
	const FmoeDomain *domain = catalogue->domain;
	Oid			type = fmoe_column_type(domain->items, name, NULL);

	return OidIsValid(type) && fmoe_item_rules[modality].fits(type) &&
		(pg_class_aclcheck(domain->items, catalogue->reader, ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(domain->items, get_attnum(domain->items, name), catalogue->reader,
							   ACL_SELECT) == ACLCHECK_OK);
}

static void
add_columns(FmoeCatalogue *catalogue, FmoeModality modality)
{
	ListCell   *cell;
	int			number = 0;

	foreach(cell, catalogue->domain->features[modality])
	{
		Column		column = {.modality = modality, .number = ++number, .name = lfirst(cell)};

		if (catalogue->among == NULL || is_readable(catalogue, modality, column.name))
			catalogue->column[catalogue->n++] = column;
	}
}

/* Chooses the columns that are read, the first text before the later ones. */
static void
choose_columns(FmoeCatalogue *catalogue)
{
	unsigned	words = catalogue->reads & FMOE_READS_TEXT;

	if (words != 0)
		add_columns(catalogue, FMOE_TEXT);
	if (words != 0 || (catalogue->reads & FMOE_READS_CATEGORIES) != 0)
		add_columns(catalogue, FMOE_CATEGORY);
	if ((catalogue->reads & FMOE_READS_PRICE) != 0)
		add_columns(catalogue, FMOE_PRICE);
	if ((catalogue->reads & FMOE_READS_VECTORS) != 0)
		add_columns(catalogue, FMOE_VECTOR);
}

void
fmoe_catalogue_select(FmoeCatalogue *catalogue, StringInfo sql)
{
	const FmoeDomain *domain = catalogue->domain;

	appendStringInfo(sql, "SELECT %s", quote_identifier(domain->item_key));
	for (int i = 0; i < catalogue->n; i++)
		appendStringInfo(sql, ", %s", selected(domain, &catalogue->column[i]));
}

/* All rows of the columns that were chosen. */
static char *
query_of(FmoeCatalogue *catalogue)
{
	StringInfoData sql;

	initStringInfo(&sql);
	fmoe_catalogue_select(catalogue, &sql);
	appendStringInfo(&sql, " FROM %s", fmoe_item_relation(catalogue->domain));
	return sql.data;
}

char *
fmoe_catalogue_query(const FmoeDomain *domain, unsigned reads)
{
	FmoeCatalogue catalogue = {.domain = domain, .reads = reads};

	choose_columns(&catalogue);
	return query_of(&catalogue);
}

/* ---------------------------------------------------------------- texts */

/* Calls take for a text, or each text of an array, in UTF-8. */
static int64
each_text(FmoeCatalogue *catalogue, const Column *column, Datum value,
		  int64 (*take) (FmoeCatalogue *catalogue, const Column *column, const char *text, size_t bytes, int64 max),
		  int64 max)
{
	Datum	   *texts = &value;
	bool	   *nulls = NULL;
	int			n = 1;
	int64		taken = 0;

	if (column->type == TEXTARRAYOID)
		deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		text	   *packed;
		char	   *bytes;
		char	   *utf8;
		int			length;

		if (nulls != NULL && nulls[i])
			continue;
		packed = DatumGetTextPP(texts[i]);
		bytes = VARDATA_ANY(packed);
		length = VARSIZE_ANY_EXHDR(packed);
		utf8 = GetDatabaseEncoding() == PG_SQL_ASCII ? bytes : pg_server_to_any(bytes, length, PG_UTF8);
		if (utf8 != bytes)
			length = strlen(utf8);
		taken += take(catalogue, column, utf8, length, max < 0 ? max : Max(max - taken, 0));
	}
	return taken;
}

static void
take_word(void *argument, const char *word, size_t bytes)
{
	FmoeCatalogue *catalogue = argument;

	fmoe_bag_add(catalogue->text, catalogue->item, word, bytes);
}

static int64
take_words(FmoeCatalogue *catalogue, const Column *column, const char *text, size_t bytes, int64 max)
{
	return fmoe_text_words(catalogue->host, text, bytes, max, take_word, catalogue);
}

static int64
take_category(FmoeCatalogue *catalogue, const Column *column, const char *text, size_t bytes, int64 max)
{
	char		term[FMOE_WORD_BYTES];
	size_t		length = fmoe_text_term(text, bytes, term);

	if (length > 0)
		fmoe_bag_add(column->bag, catalogue->item, term, length);
	return length > 0;
}

/* Words of the title and of categories, and where the title has none the first of later texts. */
static void
take_texts(FmoeCatalogue *catalogue, const Datum *value, const bool *isnull)
{
	int64		title = 0;
	int64		later = LATER_WORDS;

	for (int i = 0; i < catalogue->n; i++)
	{
		const Column *column = &catalogue->column[i];

		if (isnull[i] || (column->modality != FMOE_TEXT && column->modality != FMOE_CATEGORY))
			continue;
		if (column->modality == FMOE_CATEGORY && column->bag != NULL)
			(void) each_text(catalogue, column, value[i], take_category, -1);
		if (catalogue->text == NULL)
			continue;
		if (column->modality == FMOE_CATEGORY)
			(void) each_text(catalogue, column, value[i], take_words, -1);
		else if (column->number == 1)
			title = each_text(catalogue, column, value[i], take_words, -1);
		else if (title == 0 && later > 0)
			later -= each_text(catalogue, column, value[i], take_words, later);
	}
}

/* ---------------------------------------------------------------- numbers */

/* A value for each item, for capacity of them; those that are new are unknown. */
static void *
more_values(void *old, Size each, int32 n, int32 capacity, MemoryContext context)
{
	return old == NULL ? MemoryContextAllocHuge(context, each * (Size) capacity)
		: repalloc_huge(old, each * (Size) capacity);
}

/* Makes room for the items there are. */
static void
grow(FmoeCatalogue *catalogue)
{
	int32		old = catalogue->capacity;
	int32		capacity = Max(old, FIRST_ITEMS);

	while (capacity < fmoe_vocabulary_count(catalogue->items))
		capacity = capacity > PG_INT32_MAX / 2 ? PG_INT32_MAX : 2 * capacity;
	if (capacity == old)
		return;
	catalogue->seen = more_values(catalogue->seen, sizeof(bool), old, capacity, catalogue->context);
	memset(catalogue->seen + old, 0, capacity - old);
	if ((catalogue->reads & FMOE_READS_PRICE) != 0)
	{
		catalogue->price = more_values(catalogue->price, sizeof(double), old, capacity, catalogue->context);
		for (int32 i = old; i < capacity; i++)
			catalogue->price[i] = get_float8_nan();
	}
	for (int i = 0; i < catalogue->n; i++)
	{
		Column	   *column = &catalogue->column[i];

		if (column->vector == NULL)
			continue;
		column->vector = more_values(column->vector, sizeof(float) * column->width, old, capacity,
									 catalogue->context);
		fmoe_set_unknown(column->vector, (int64) old * column->width, (int64) capacity * column->width);
	}
	catalogue->capacity = capacity;
}

static void
take_price(FmoeCatalogue *catalogue, const Column *column, Datum value)
{
	double		price = fmoe_number(column->type, value);
	double	   *known = &catalogue->price[catalogue->item];

	if (isfinite(price) && price > 0 && !(*known <= price))
		*known = price;
}

/* The reals of an array; false: some are null, or no finite ones of single precision. */
static bool
reals_of(ArrayType *array, Oid type, float *out)
{
	Datum	   *value;
	bool	   *isnull;
	int			n;

	deconstruct_array(array, type, type == FLOAT4OID ? sizeof(float) : sizeof(double), true,
					  type == FLOAT4OID ? TYPALIGN_INT : TYPALIGN_DOUBLE, &value, &isnull, &n);
	for (int i = 0; i < n; i++)
	{
		if (isnull[i])
			return false;
		out[i] = type == FLOAT4OID ? DatumGetFloat4(value[i]) : (float) DatumGetFloat8(value[i]);
		if (!isfinite(out[i]))
			return false;
	}
	return true;
}

pg_noreturn static void
refuse_length(const FmoeCatalogue *catalogue, const Column *column, int length, Datum id)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(catalogue->domain->item_type, &output, &varlena);
	ereport(ERROR,
			(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
			 errmsg("vector \"%s\" of item %s has %d numbers, another one has %d", column->name,
					OidOutputFunctionCall(output, id), length, column->width),
			 errhint("Give all vectors of the column one length; null and empty ones say that an item has none.")));
	pg_unreachable();
}

static void
take_vector(FmoeCatalogue *catalogue, Column *column, Datum value, Datum id)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int			length = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	float	   *known;
	float	   *given;

	if (length == 0)
		return;
	if (column->vector == NULL)
	{
		column->width = length;
		column->vector = more_values(NULL, sizeof(float) * length, 0, catalogue->capacity, catalogue->context);
		fmoe_set_unknown(column->vector, 0, (int64) catalogue->capacity * length);
	}
	if (length != column->width && catalogue->among != NULL)
		return;
	if (length != column->width)
		refuse_length(catalogue, column, length, id);
	given = palloc(sizeof(float) * length);
	known = column->vector + (int64) catalogue->item * length;
	if (!reals_of(array, ARR_ELEMTYPE(array), given))
		catalogue->odd_vectors++;
	else if (isnan(known[0]) || memcmp(given, known, sizeof(float) * length) < 0)
		memcpy(known, given, sizeof(float) * length);
}

/* ---------------------------------------------------------------- rows */

void
fmoe_catalogue_take(FmoeCatalogue *catalogue, const Datum *value, const bool *isnull)
{
	Datum		id;

	catalogue->item = -1;
	if (isnull[0] || !fmoe_item_of_key(&catalogue->key, value[0], &id))
		return;
	catalogue->item = catalogue->known_only ? fmoe_vocabulary_find(catalogue->items, id)
		: fmoe_idset_add(catalogue->items, id);
	if (catalogue->item < 0)
		return;
	grow(catalogue);
	catalogue->double_keys += catalogue->seen[catalogue->item];
	catalogue->seen[catalogue->item] = true;
	take_texts(catalogue, value + 1, isnull + 1);
	for (int i = 0; i < catalogue->n; i++)
	{
		Column	   *column = &catalogue->column[i];

		if (isnull[i + 1])
			continue;
		if (column->modality == FMOE_PRICE)
			take_price(catalogue, column, value[i + 1]);
		else if (column->modality == FMOE_VECTOR)
			take_vector(catalogue, column, value[i + 1], id);
	}
}

static void
take_row(FmoeCatalogue *catalogue, HeapTuple tuple, TupleDesc shape)
{
	Datum		value[lengthof(catalogue->column) + 1];
	bool		isnull[lengthof(catalogue->column) + 1];

	heap_deform_tuple(tuple, shape, value, isnull);
	fmoe_catalogue_take(catalogue, value, isnull);
}

static size_t
catalogue_bytes(const FmoeCatalogue *catalogue)
{
	int32		n = fmoe_vocabulary_count(catalogue->items);
	size_t		each = sizeof(bool);
	size_t		bytes = fmoe_idset_bytes(catalogue->items);

	if (catalogue->price != NULL)
		/* as they come, those that are known, and what becomes of them */
		each += 2 * sizeof(double) + 2 * sizeof(float);
	for (int i = 0; i < catalogue->n; i++)
	{
		each += 2 * sizeof(float) * catalogue->column[i].width;
		if (catalogue->column[i].bag != NULL)
			bytes += fmoe_bag_bytes(catalogue->column[i].bag, n);
	}
	if (catalogue->text != NULL)
		bytes += fmoe_bag_bytes(catalogue->text, n);
	return bytes + each * catalogue->capacity;
}

static void
read_rows(FmoeCatalogue *catalogue, const char *sql)
{
	const FmoeDomain *domain = catalogue->domain;
	char	   *what = psprintf("reading the %s table of domain \"%s\"", fmoe_described(domain), domain->name);
	bool		push = !ActiveSnapshotSet();
	FmoeReading reading;
	Portal		portal;

	if (push)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fmoe_read_as(&reading, fmoe_domain_reader(domain, domain->items));
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, ROWS_A_FETCH);
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(catalogue->row);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			take_row(catalogue, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			MemoryContextReset(catalogue->row);
			CHECK_FOR_INTERRUPTS();
		}
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
		fmoe_check_memory(catalogue->beside + catalogue_bytes(catalogue), what);
	}
	SPI_cursor_close(portal);
	fmoe_read_end(&reading);
	SPI_finish();
	if (push)
		PopActiveSnapshot();
}

bool
fmoe_has_features(const FmoeDomain *domain, unsigned reads)
{
	static const unsigned bits[FMOE_MODALITIES] = {
		[FMOE_TEXT] = FMOE_READS_TEXT,
		[FMOE_CATEGORY] = FMOE_READS_TEXT | FMOE_READS_CATEGORIES,
		[FMOE_PRICE] = FMOE_READS_PRICE,
		[FMOE_VECTOR] = FMOE_READS_VECTORS
	};

	for (int i = 0; i < FMOE_MODALITIES; i++)
		if ((reads & bits[i]) != 0 && domain->features[i] != NIL)
			return domain->item_key != NULL;
	return false;
}

bool
fmoe_has_user_features(const FmoeDomain *domain, unsigned reads)
{
	return (reads & FMOE_READS_USERS) != 0 && domain->user_key != NULL && domain->user_categories != NIL;
}

FmoeCatalogue *
fmoe_catalogue_begin(const FmoeDomain *domain, unsigned reads, FmoeVocabulary *items, MemoryContext result,
					 const FmoeFeatures *among, Oid reader)
{
	FmoeCatalogue *catalogue = palloc0(sizeof(FmoeCatalogue));

	catalogue->domain = domain;
	catalogue->items = items;
	catalogue->known_only = domain->of_users;
	catalogue->reads = reads;
	catalogue->among = among;
	catalogue->reader = reader;
	catalogue->context = CurrentMemoryContext;
	catalogue->row = AllocSetContextCreate(CurrentMemoryContext, "fmoe item", ALLOCSET_DEFAULT_SIZES);
	catalogue->host = fmoe_host(result);
	fmoe_item_key(&catalogue->key, domain);
	choose_columns(catalogue);
	if ((reads & FMOE_READS_TEXT) != 0 && catalogue->n > 0 && catalogue->column[0].modality <= FMOE_CATEGORY)
		catalogue->text = fmoe_bag_create(catalogue->host);
	for (int i = 0; i < catalogue->n; i++)
		if (catalogue->column[i].modality == FMOE_CATEGORY && (reads & FMOE_READS_CATEGORIES) != 0)
			catalogue->column[i].bag = fmoe_bag_create(catalogue->host);
	return catalogue;
}

FmoeCatalogue *
fmoe_catalogue_open(const FmoeDomain *domain, unsigned reads, FmoeVocabulary *items, MemoryContext result, char **sql)
{
	FmoeCatalogue *catalogue = fmoe_catalogue_begin(domain, reads, items, result, NULL, InvalidOid);

	*sql = query_of(catalogue);
	return catalogue;
}

FmoeCatalogue *
fmoe_catalogue_read(const FmoeDomain *domain, unsigned reads, FmoeVocabulary *items, MemoryContext result,
					size_t beside)
{
	char	   *sql;
	FmoeCatalogue *catalogue = fmoe_catalogue_open(domain, reads, items, result, &sql);

	catalogue->beside = beside;
	read_rows(catalogue, sql);
	return catalogue;
}

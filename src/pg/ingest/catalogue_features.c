/*
 * catalogue_features.c
 *	  What was read of the item table as features of a version.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/ingest/ingest_private.h"

typedef FmoeCatalogueColumn Column;

typedef struct Priced
{
	double		price;
	int32		item;
} Priced;

#define ST_SORT sort_prices
#define ST_ELEMENT_TYPE Priced
#define ST_COMPARE(a, b) ((a)->price < (b)->price ? -1 : (a)->price > (b)->price)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static float *
unknown_rows(FmoeCatalogue *catalogue, int32 n, int32 width)
{
	int64		reals = (int64) n * width;
	float	   *value = catalogue->host->allocate(catalogue->host->context, sizeof(float) * Max(reals, 1));

	fmoe_set_unknown(value, 0, reals);
	return value;
}

/* Logarithms of prices, and where each stands among those that are known: 0 the lowest, 1 the highest. */
static const float *
price_rows(FmoeCatalogue *catalogue, int32 n, const int32 *index_of)
{
	Priced	   *known = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Priced) * Max(n, 1));
	int32		count = 0;
	float	   *value;

	for (int32 i = 0; i < n && i < catalogue->capacity; i++)
		if (!isnan(catalogue->price[i]))
			known[count++] = (Priced) {.price = catalogue->price[i], .item = index_of[i]};
	if (count == 0)
		return NULL;
	sort_prices(known, count);
	value = unknown_rows(catalogue, n, 2);
	for (int32 first = 0, end; first < count; first = end)
	{
		for (end = first; end < count && known[end].price == known[first].price; end++)
			;
		for (int32 i = first; i < end; i++)
		{
			value[2 * (int64) known[i].item] = (float) log1p(known[i].price);
			value[2 * (int64) known[i].item + 1] = count == 1 ? 0.5f
				: (float) ((first + end - 1) / 2.0 / (count - 1));
		}
	}
	pfree(known);
	return value;
}

static const float *
vector_rows(FmoeCatalogue *catalogue, const Column *column, int32 n, const int32 *index_of)
{
	float	   *value;
	bool		any = false;

	if (column->vector == NULL)
		return NULL;
	value = unknown_rows(catalogue, n, column->width);
	for (int32 i = 0; i < n && i < catalogue->capacity; i++)
	{
		const float *row = column->vector + (int64) i * column->width;

		any = any || !isnan(row[0]);
		memcpy(value + (int64) index_of[i] * column->width, row, sizeof(float) * column->width);
	}
	return any ? value : NULL;
}

static FmoeFeature *
add_feature(FmoeFeatures *features, FmoeModality modality, int number)
{
	static const char *const names[FMOE_MODALITIES] = {
		[FMOE_TEXT] = "text",
		[FMOE_CATEGORY] = "category_%d",
		[FMOE_PRICE] = "price",
		[FMOE_VECTOR] = "vector_%d"
	};
	FmoeFeature *feature = &features->feature[features->count++];

	memset(feature, 0, sizeof(*feature));
	feature->modality = modality;
	snprintf(feature->name, sizeof(feature->name), names[modality], number);
	return feature;
}

/* Rows that are NULL are no feature. */
static void
add_rows(FmoeFeatures *features, FmoeModality modality, int number, const float *value, int32 width)
{
	FmoeFeature *feature;

	if (value == NULL)
		return;
	feature = add_feature(features, modality, number);
	feature->value = value;
	feature->width = width;
}

static void
add_bag(FmoeFeatures *features, FmoeModality modality, int number, FmoeBag *bag, const int32 *index_of)
{
	if (bag != NULL && !fmoe_bag_empty(bag))
		fmoe_bag_feature(bag, add_feature(features, modality, number), features->n, index_of, modality == FMOE_TEXT,
						 NULL);
}

static void
all_features(FmoeCatalogue *catalogue, FmoeFeatures *features, int32 n, const int32 *index_of)
{
	add_bag(features, FMOE_TEXT, 0, catalogue->text, index_of);
	for (int i = 0; i < catalogue->n; i++)
	{
		Column	   *column = &catalogue->column[i];

		if (column->modality == FMOE_CATEGORY)
			add_bag(features, FMOE_CATEGORY, column->number, column->bag, index_of);
		else if (column->modality == FMOE_PRICE)
			add_rows(features, FMOE_PRICE, 0, price_rows(catalogue, n, index_of), 2);
		else if (column->modality == FMOE_VECTOR)
			add_rows(features, FMOE_VECTOR, column->number, vector_rows(catalogue, column, n, index_of),
					 column->width);
	}
}

/* ---------------------------------------------------------------- features like others */

/* The column that a feature comes from; NULL: there is none any more. */
static Column *
column_of(FmoeCatalogue *catalogue, const FmoeFeature *like)
{
	FmoeFeatures names = {0};

	for (int i = 0; i < catalogue->n; i++)
	{
		Column	   *column = &catalogue->column[i];

		names.count = 0;
		if (column->modality == like->modality &&
			strcmp(add_feature(&names, column->modality, column->number)->name, like->name) == 0)
			return column;
	}
	return NULL;
}

/* The same where the other prices are those of a feature, which these stand among. */
static const float *
prices_among(FmoeCatalogue *catalogue, int32 n)
{
	const FmoeFeature *other = fmoe_feature(catalogue->among, "price");
	float	   *value = unknown_rows(catalogue, n, 2);

	for (int32 i = 0; i < n && i < catalogue->capacity; i++)
	{
		float		price = (float) log1p(catalogue->price[i]);
		int64		known = 0;
		int64		lower = 0;
		int64		equal = 0;

		if (isnan(price))
			continue;
		for (int32 k = 0; k < catalogue->among->n; k++)
		{
			known += !isnan(other->value[2 * (int64) k]);
			lower += other->value[2 * (int64) k] < price;
			equal += other->value[2 * (int64) k] == price;
		}
		value[2 * (int64) i] = price;
		value[2 * (int64) i + 1] = known < 2 ? 0.5f
			: (float) Min(Max((lower + lower + equal - 1) / 2.0 / (known - 1), 0), 1);
		CHECK_FOR_INTERRUPTS();
	}
	return value;
}

static const float *
rows_like(FmoeCatalogue *catalogue, const Column *column, const FmoeFeature *like, int32 n, const int32 *index_of)
{
	const float *value = NULL;

	if (column != NULL && column->modality == FMOE_VECTOR && column->width > 0 && column->width != like->width &&
		catalogue->among != NULL)
		return unknown_rows(catalogue, n, like->width);
	if (column != NULL && column->modality == FMOE_PRICE && catalogue->among != NULL)
		return prices_among(catalogue, n);
	if (column != NULL && column->modality == FMOE_VECTOR && column->width > 0 && column->width != like->width)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the vectors \"%s\" of domain \"%s\" have %d numbers now, the version reads %d", column->name,
						catalogue->domain->name, column->width, like->width),
				 errhint("Train a new version with CALL fmoe_train(%s).",
						 quote_literal_cstr(catalogue->domain->name))));
	if (column != NULL)
		value = column->modality == FMOE_PRICE ? price_rows(catalogue, n, index_of)
			: vector_rows(catalogue, column, n, index_of);
	return value != NULL ? value : unknown_rows(catalogue, n, like->width);
}

/* Of words any do; categories are those that the other feature has. */
static void
bag_like(FmoeCatalogue *catalogue, const Column *column, const FmoeFeature *like, FmoeFeature *feature, int32 n,
		 const int32 *index_of)
{
	bool		text = like->modality == FMOE_TEXT;
	FmoeBag    *bag = text ? catalogue->text : column != NULL ? column->bag : NULL;
	bool		new_terms = text && catalogue->among == NULL && bag != NULL && !fmoe_bag_empty(bag);

	if (bag == NULL)
		bag = fmoe_bag_create(catalogue->host);
	fmoe_bag_feature(bag, feature, n, index_of, text, new_terms ? NULL : like);
}

static void
features_like(FmoeCatalogue *catalogue, FmoeFeatures *features, int32 n, const int32 *index_of,
			  const FmoeFeatures *like)
{
	for (int i = 0; i < like->count; i++)
	{
		const FmoeFeature *other = &like->feature[i];
		FmoeFeature *feature = &features->feature[features->count++];
		Column	   *column = column_of(catalogue, other);

		memset(feature, 0, sizeof(*feature));
		strlcpy(feature->name, other->name, sizeof(feature->name));
		feature->modality = other->modality;
		feature->width = other->width;
		if (other->value != NULL)
			feature->value = rows_like(catalogue, column, other, n, index_of);
		else
			bag_like(catalogue, column, other, feature, n, index_of);
	}
}

void
fmoe_catalogue_features(FmoeCatalogue *catalogue, FmoeFeatures *features, int32 n, const int32 *index_of,
						const FmoeFeatures *like)
{
	memset(features, 0, sizeof(*features));
	features->n = n;
	if (like != NULL)
		features_like(catalogue, features, n, index_of, like);
	else
		all_features(catalogue, features, n, index_of);
}

void
fmoe_read_catalogue(FmoeCatalogueRead *read, const FmoeDomain *domain, unsigned reads, const FmoeVocabulary *known,
					const FmoeFeatures *like, size_t beside)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "fmoe catalogue", ALLOCSET_DEFAULT_SIZES);
	FmoeVocabulary *items;
	FmoeCatalogue *catalogue;

	MemoryContextSwitchTo(scratch);
	items = fmoe_idset_create(domain->item_type, domain->item_collation);
	for (int32 i = 0; i < fmoe_vocabulary_count(known); i++)
	{
		(void) fmoe_idset_add(items, fmoe_vocabulary_id(known, i));
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	catalogue = fmoe_catalogue_read(domain, reads, items, context, beside);
	MemoryContextSwitchTo(context);
	read->number = MemoryContextAllocHuge(context, sizeof(int32) * Max(fmoe_vocabulary_count(items), 1));
	read->vocabulary = fmoe_vocabulary_of_idset(items, read->number);
	MemoryContextSwitchTo(scratch);
	fmoe_catalogue_features(catalogue, &read->features, fmoe_vocabulary_count(read->vocabulary), read->number, like);
	fmoe_catalogue_tell(catalogue);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
}

void
fmoe_catalogue_tell(const FmoeCatalogue *catalogue)
{
	if (catalogue->double_keys > 0)
		ereport(NOTICE,
				(errmsg("the %s table of domain \"%s\" has " INT64_FORMAT " rows whose key another row has, too",
						fmoe_described(catalogue->domain), catalogue->domain->name, catalogue->double_keys),
				 catalogue->domain->of_users ? errdetail("Their categories are joined.")
				 : errdetail("Their words and categories are joined, and the lowest price counts.")));
	if (catalogue->odd_vectors > 0)
		ereport(NOTICE,
				(errmsg("the item table of domain \"%s\" has " INT64_FORMAT " vectors with nulls or numbers that are not finite",
						catalogue->domain->name, catalogue->odd_vectors),
				 errdetail("They count as unknown.")));
}

/*
 * types.c
 *	  Types that columns of interactions may have, units of their times, and names of parts that are columns.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "pg/domain/domain.h"
#include "pg/id/id.h"

bool
fmoe_is_number(Oid type)
{
	return fmoe_is_integer(type) || type == FLOAT4OID || type == FLOAT8OID || type == NUMERICOID;
}

static bool
is_label(Oid type)
{
	return fmoe_is_number(type) || type == BOOLOID;
}

static bool
has_order(Oid type)
{
	return OidIsValid(lookup_type_cache(type, TYPECACHE_CMP_PROC)->cmp_proc);
}

static bool
has_equality(Oid type)
{
	return OidIsValid(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr);
}

const FmoeColumnRule fmoe_column_rules[FMOE_OPTIONAL_COLUMNS] = {
	[FMOE_LABEL_COLUMN] = {"label_column", is_label, "a label",
	"Labels are numbers or booleans: what is positive was chosen."},
	[FMOE_ORDER_COLUMN] = {"order_column", has_order, "an order", "It needs a type with a default order (btree)."},
	[FMOE_BASKET_COLUMN] = {"basket_column", has_equality, "the name of a basket",
	"It needs a type with a default equality."},
	[FMOE_WEIGHT_COLUMN] = {"weight_column", fmoe_is_number, "a weight", "Weights are numbers."}
};

/* The type of an array's elements, under any SQL domains; of another type, itself. */
static Oid
element_or_self(Oid type)
{
	Oid			element = get_element_type(type);

	return OidIsValid(element) ? getBaseType(element) : type;
}

static bool
is_string(Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING;
}

static bool
is_text(Oid type)
{
	return is_string(element_or_self(type));
}

static bool
is_category(Oid type)
{
	type = element_or_self(type);
	return is_string(type) || fmoe_is_number(type) || type == BOOLOID || type == UUIDOID || type_is_enum(type);
}

static bool
is_vector(Oid type)
{
	HeapTuple	tuple;
	bool		result;

	if (type == FLOAT4ARRAYOID || type == FLOAT8ARRAYOID)
		return true;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = strcmp(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), "vector") == 0 ||
		strcmp(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), "halfvec") == 0;
	ReleaseSysCache(tuple);
	return result;
}

const FmoeColumnRule fmoe_item_rules[FMOE_MODALITIES] = {
	[FMOE_TEXT] = {"text_columns", is_text, "a text column", "Text columns have a string type, or arrays of one."},
	[FMOE_CATEGORY] = {"category_columns", is_category, "a category column",
	"Categories are strings, numbers, booleans, uuids, enums, or arrays of these."},
	[FMOE_PRICE] = {"price_column", fmoe_is_number, "a price", "Prices are numbers."},
	[FMOE_VECTOR] = {"vector_columns", is_vector, "a vector column",
	"Vectors are real[], double precision[], or the types vector and halfvec."}
};

const FmoeColumnRule fmoe_user_rule = {
	"user_category_columns", is_category, "a category column",
	"Categories are strings, numbers, booleans, uuids, enums, or arrays of these."
};

bool
fmoe_is_time_type(Oid type)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
		case DATEOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return true;
		default:
			return false;
	}
}

bool
fmoe_is_local_time(Oid type)
{
	return type == TIMESTAMPOID || type == DATEOID;
}

const char *const fmoe_time_unit_names[FMOE_TIME_UNITS] = {
	[FMOE_UNIT_SECONDS] = "seconds",
	[FMOE_UNIT_MILLISECONDS] = "milliseconds",
	[FMOE_UNIT_MICROSECONDS] = "microseconds",
	[FMOE_UNIT_DAYS] = "days"
};

FmoeTimeUnit
fmoe_time_unit_of(const char *name)
{
	if (name == NULL)
		return FMOE_UNIT_UNSAID;
	for (FmoeTimeUnit unit = FMOE_UNIT_SECONDS; unit < FMOE_TIME_UNITS; unit++)
		if (strcmp(name, fmoe_time_unit_names[unit]) == 0)
			return unit;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("time_unit cannot be \"%s\"", name),
			 errhint("It is one of: seconds, milliseconds, microseconds, days.")));
}

const char *
fmoe_domain_part_name(const FmoeDomain *domain, const FmoeModel *model, int part)
{
	const char *name = fmoe_part_name(model, part);
	const char *column;
	int			number;

	if (sscanf(name, "vector_%d", &number) != 1 || number < 1 || number > list_length(domain->features[FMOE_VECTOR]))
		return name;
	column = list_nth(domain->features[FMOE_VECTOR], number - 1);
	for (int p = 0; p + 1 < fmoe_parts_count(model); p++)
		if (strcmp(fmoe_part_name(model, p), column) == 0)
			return name;
	return column;
}

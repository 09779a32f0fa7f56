/*
 * convert.c
 *	  Ids of one type turned into another.
 *
 * A caller may write an id in another type than the domain's table has: a
 * literal, a text, a narrower integer.  Integers are checked for range, types
 * with an implicit cast are cast, all others go through their text.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/id/id.h"

typedef enum Conversion
{
	CONVERT_NOTHING,
	CONVERT_INTEGER,
	CONVERT_FUNCTION,			/* an implicit cast */
	CONVERT_INPUT,				/* from a cstring */
	CONVERT_TEXT				/* through output and input */
} Conversion;

struct FmoeConverter
{
	Oid			from;
	Oid			to;
	Conversion	how;
	FmgrInfo	function;		/* the cast, or from's output */
	FmgrInfo	input;			/* of to */
	Oid			parameter;		/* of input */
};

/* A cast that a stranger has made for a type of his own is not called: ids of that type go through their text. */
static bool
is_trusted(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner == GetUserId() || superuser_arg(owner);
}

FmoeConverter *
fmoe_converter(Oid from, Oid to)
{
	FmoeConverter *c = palloc0(sizeof(FmoeConverter));
	Oid			function = InvalidOid;
	CoercionPathType path;
	bool		varlena;

	if ((from == UUIDOID && fmoe_is_integer(to)) || (fmoe_is_integer(from) && to == UUIDOID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("no id of type %s can be one of type %s", format_type_be(from), format_type_be(to)),
				 errhint("Ids of any type can be given, and asked for, as text.")));
	c->from = from;
	c->to = to;
	if (from == UNKNOWNOID)
		c->how = CONVERT_INPUT;
	else if (from == to)
		c->how = CONVERT_NOTHING;
	else if (fmoe_is_integer(from) && fmoe_is_integer(to))
		c->how = CONVERT_INTEGER;
	else
	{
		path = find_coercion_pathway(to, from, COERCION_IMPLICIT, &function);
		c->how = path == COERCION_PATH_RELABELTYPE ? CONVERT_NOTHING
			: path == COERCION_PATH_FUNC && is_trusted(function) ? CONVERT_FUNCTION
			: CONVERT_TEXT;
	}

	if (c->how == CONVERT_TEXT)
		getTypeOutputInfo(from, &function, &varlena);
	if (c->how == CONVERT_TEXT || c->how == CONVERT_FUNCTION)
		fmgr_info(function, &c->function);
	if (c->how == CONVERT_TEXT || c->how == CONVERT_INPUT)
	{
		getTypeInputInfo(to, &function, &c->parameter);
		fmgr_info(function, &c->input);
	}
	return c;
}

static void
converting(void *argument)
{
	FmoeConverter *c = argument;

	errcontext("converting an id of type %s to type %s",
			   c->from == UNKNOWNOID ? "text" : format_type_be(c->from), format_type_be(c->to));
}

static Datum
convert_integer(const FmoeConverter *c, Datum value)
{
	int64		number = fmoe_integer_of(c->from, value);

	if (!fmoe_integer_fits(c->to, number))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("id " INT64_FORMAT " of type %s is out of range for type %s", number,
						format_type_be(c->from), format_type_be(c->to))));
	return fmoe_datum_of_integer(c->to, number);
}

Datum
fmoe_convert(FmoeConverter *converter, Datum value)
{
	ErrorContextCallback callback;
	Datum		result = value;

	if (converter->how == CONVERT_NOTHING)
		return value;

	callback.callback = converting;
	callback.arg = converter;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	switch (converter->how)
	{
		case CONVERT_INTEGER:
			result = convert_integer(converter, value);
			break;
		case CONVERT_FUNCTION:
			/* the function of a cast may also take a typmod, here -1, and whether the cast is explicit */
			result = converter->function.fn_nargs == 1 ? FunctionCall1(&converter->function, value)
				: converter->function.fn_nargs == 2 ? FunctionCall2(&converter->function, value, Int32GetDatum(-1))
				: FunctionCall3(&converter->function, value, Int32GetDatum(-1), BoolGetDatum(false));
			break;
		case CONVERT_INPUT:
			result = InputFunctionCall(&converter->input, DatumGetCString(value), converter->parameter, -1);
			break;
		case CONVERT_TEXT:
			result = InputFunctionCall(&converter->input, OutputFunctionCall(&converter->function, value),
									   converter->parameter, -1);
			break;
		case CONVERT_NOTHING:
			break;
	}
	error_context_stack = callback.previous;
	return result;
}

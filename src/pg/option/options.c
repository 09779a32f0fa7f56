/*
 * options.c
 *	  Options as one jsonb object, checked against a table.
 *
 * Defaults are written into the struct first, then what the object holds.  A
 * null is the default.  Every complaint says what is allowed.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

#include "pg/option/option_private.h"

/* ---------------------------------------------------------------- what an option takes */

/* The names of a NULL-terminated list: "a, b, c". */
static char *
joined(const char *const *names)
{
	StringInfoData text;
	int			i;

	initStringInfo(&text);
	for (i = 0; names[i] != NULL; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? ", " : "", names[i]);
	return text.data;
}

static char *
number_text(double value)
{
	return fabs(value) < 1e18 && value == floor(value) ? psprintf("%.0f", value) : psprintf("%.15g", value);
}

char *
fmoe_option_takes(const FmoeOption *option)
{
	const char *low = number_text(option->min);
	const char *high = number_text(option->max);

	switch (option->type)
	{
		case FMOE_OPTION_INT:
		case FMOE_OPTION_INT64:
			return psprintf("an integer from %s to %s", low, high);
		case FMOE_OPTION_REAL:
			return psprintf("a number from %s to %s", low, high);
		case FMOE_OPTION_BOOL:
			return pstrdup("true or false");
		case FMOE_OPTION_ENUM:
			return psprintf("one of: %s", joined(option->choices));
		case FMOE_OPTION_TEXT:
		case FMOE_OPTION_NAME:
			return pstrdup("a string");
		case FMOE_OPTION_LIST:
			return psprintf("an array of at most %d %s, each once", option->list->max, option->list->what);
		case FMOE_OPTION_INT_LIST:
			return psprintf("an integer from %s to %s, or an array of 1 to %d of them", low, high, FMOE_INT_LIST_MAX);
	}
	pg_unreachable();
}

/* The same as a sentence for a hint. */
static char *
allowed(const FmoeOption *option)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "Option \"%s\" takes %s", option->name, fmoe_option_takes(option));
	if (option->value != NULL && option->value[0] != '\0')
		appendStringInfo(&text, "; the default is %s", option->value);
	if (option->list != NULL)
		appendStringInfo(&text, "; %s", option->list->listed);
	appendStringInfoChar(&text, '.');
	return text.data;
}

pg_noreturn static void
reject(const FmoeOption *option, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" %s", option->name, what),
			 errhint("%s", allowed(option))));
	pg_unreachable();
}

/* A string, cut to a length that a message can show. */
static char *
shortened(const char *string, int length)
{
	const int	most = 60;

	if (length <= most)
		return pnstrdup(string, length);
	return psprintf("%s...", pnstrdup(string, pg_mbcliplen(string, length, most)));
}

static const char *
kind_of(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "something else";
	}
}

pg_noreturn static void
reject_kind(const FmoeOption *option, const char *wanted, const JsonbValue *value)
{
	reject(option, psprintf("must be %s, not %s", wanted, kind_of(value)));
}

/* The number itself, for messages. */
static char *
numeral(Numeric value)
{
	char	   *text = numeric_normalize(value);

	return shortened(text, strlen(text));
}

static double
to_real(const FmoeOption *option, const JsonbValue *value)
{
	double		number;

	if (value->type != jbvNumeric)
		reject_kind(option, "a number", value);
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
												NumericGetDatum(value->val.numeric)));
	if (!(number >= option->min && number <= option->max))
		reject(option, psprintf("is out of range: %s", numeral(value->val.numeric)));
	return number;
}

static int64
to_integer(const FmoeOption *option, const JsonbValue *value)
{
	Numeric		number;
	double		real;
	int64		integer;

	if (value->type != jbvNumeric)
		reject_kind(option, "an integer", value);
	number = value->val.numeric;
	real = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
	if (!(real >= option->min && real <= option->max) || fabs(real) > 9.2e18)
		reject(option, psprintf("is out of range: %s", numeral(number)));
	if (DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(number),
										  DirectFunctionCall2(numeric_trunc, NumericGetDatum(number),
															  Int32GetDatum(0)))) != 0)
		reject(option, psprintf("must be an integer, not %s", numeral(number)));
	/* a double takes some integers for others */
	integer = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number)));
	if (integer < (int64) option->min || integer > (int64) option->max)
		reject(option, psprintf("is out of range: %s", numeral(number)));
	return integer;
}

static int
find_choice(const FmoeOption *option, const char *name, int length)
{
	int			i;

	for (i = 0; option->choices[i] != NULL; i++)
		if (strlen(option->choices[i]) == length && memcmp(option->choices[i], name, length) == 0)
			return i;
	return -1;
}

static int
to_choice(const FmoeOption *option, const JsonbValue *value)
{
	int			choice;

	if (value->type != jbvString)
		reject_kind(option, "a string", value);
	choice = find_choice(option, value->val.string.val, value->val.string.len);
	if (choice < 0)
		reject(option, psprintf("cannot be \"%s\"",
								shortened(value->val.string.val, value->val.string.len)));
	return choice;
}

static void
to_list(const FmoeOption *option, const JsonbValue *value, FmoeIntList *list)
{
	uint32		count;
	uint32		i;

	if (value->type == jbvNumeric)
	{
		list->count = 1;
		list->value[0] = (int) to_integer(option, value);
		return;
	}
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		reject_kind(option, "an integer or an array of integers", value);

	count = JsonContainerSize(value->val.binary.data);
	if (count < 1 || count > FMOE_INT_LIST_MAX)
		reject(option, psprintf("cannot be an array of %u elements", count));
	for (i = 0; i < count; i++)
		list->value[i] = (int) to_integer(option, getIthJsonbValueFromContainer(value->val.binary.data, i));
	list->count = count;
}

static void
to_name(const FmoeOption *option, const JsonbValue *value, char *name)
{
	if (value->type != jbvString || value->val.string.len >= FMOE_EXPERT_NAME_MAX)
		reject(option, psprintf("must be a string of less than %d bytes", FMOE_EXPERT_NAME_MAX));
	memset(name, 0, FMOE_EXPERT_NAME_MAX);
	memcpy(name, value->val.string.val, value->val.string.len);
}

/* One element of a list: a name, or an object of the element's options. */
static void
to_object(const FmoeOption *option, const JsonbValue *value, void *element)
{
	const FmoeOptionList *list = option->list;
	FmoeMisfit	misfit = {{0}};

	memset(element, 0, list->bytes);
	for (const FmoeOption *part = list->element; part->name != NULL; part++)
		if (part->type == FMOE_OPTION_ENUM)
			*(int *) ((char *) element + part->offset) = FMOE_AUTO;
	if (value->type == jbvString)
		to_name(option, value, (char *) element + list->element->offset);
	else if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
	{
		fmoe_parse_options(JsonbValueToJsonb(unconstify(JsonbValue *, value)), list->element, element);
		if (list->fits != NULL && !list->fits(element, &misfit))
			reject(option, psprintf("has an element that cannot be: %s", misfit.message));
	}
	else
		reject(option, "has an element that is not a name");
	if (*((char *) element + list->element->offset) == '\0')
		reject(option, "has an element without a name");
}

static void
to_objects(const FmoeOption *option, const JsonbValue *value, void *place)
{
	const FmoeOptionList *list = option->list;
	char	   *first = (char *) place + list->first;
	uint32		count;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		reject(option, "must be an array");
	count = JsonContainerSize(value->val.binary.data);
	if (count > list->max)
		reject(option, psprintf("has %u elements", count));
	for (uint32 i = 0; i < count; i++)
	{
		const char *name = first + i * list->bytes + list->element->offset;

		to_object(option, getIthJsonbValueFromContainer(value->val.binary.data, i), first + i * list->bytes);
		for (uint32 k = 0; k < i; k++)
			if (strcmp(first + k * list->bytes + list->element->offset, name) == 0)
				reject(option, psprintf("names \"%s\" twice", name));
	}
	*(int *) place = (int) count;
}

void
fmoe_set_option(const FmoeOption *option, const JsonbValue *value, void *target)
{
	void	   *place = (char *) target + option->offset;

	switch (option->type)
	{
		case FMOE_OPTION_INT:
			*(int *) place = (int) to_integer(option, value);
			break;
		case FMOE_OPTION_INT64:
			*(int64_t *) place = to_integer(option, value);
			break;
		case FMOE_OPTION_REAL:
			*(double *) place = to_real(option, value);
			break;
		case FMOE_OPTION_BOOL:
			if (value->type != jbvBool)
				reject_kind(option, "true or false", value);
			*(bool *) place = value->val.boolean;
			break;
		case FMOE_OPTION_ENUM:
			*(int *) place = to_choice(option, value);
			break;
		case FMOE_OPTION_TEXT:
			if (value->type != jbvString)
				reject_kind(option, "a string", value);
			*(const char **) place = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		case FMOE_OPTION_NAME:
			to_name(option, value, place);
			break;
		case FMOE_OPTION_LIST:
			to_objects(option, value, place);
			break;
		case FMOE_OPTION_INT_LIST:
			to_list(option, value, place);
			break;
	}
}

/* Defaults of a list are written "5, 10". */
static void
set_default_list(const FmoeOption *option, FmoeIntList *list)
{
	const char *p = option->value;

	list->count = 0;
	while (*p != '\0')
	{
		char	   *end;
		long		number = strtol(p, &end, 10);

		if (end == p || list->count == FMOE_INT_LIST_MAX)
			elog(ERROR, "default of option \"%s\" is not a list", option->name);
		list->value[list->count++] = (int) number;
		p = end + strspn(end, ", ");
	}
}

static void
set_default(const FmoeOption *option, void *target)
{
	void	   *place = (char *) target + option->offset;

	if (option->value == NULL && option->type != FMOE_OPTION_LIST)
		return;
	switch (option->type)
	{
		case FMOE_OPTION_INT:
			*(int *) place = (int) strtol(option->value, NULL, 10);
			break;
		case FMOE_OPTION_INT64:
			*(int64_t *) place = (int64_t) strtoll(option->value, NULL, 10);
			break;
		case FMOE_OPTION_REAL:
			*(double *) place = strtod(option->value, NULL);
			break;
		case FMOE_OPTION_BOOL:
			*(bool *) place = strcmp(option->value, "true") == 0;
			break;
		case FMOE_OPTION_ENUM:
			*(int *) place = find_choice(option, option->value, strlen(option->value));
			if (*(int *) place < 0)
				elog(ERROR, "default of option \"%s\" is not one of its choices", option->name);
			break;
		case FMOE_OPTION_TEXT:
			*(const char **) place = option->value;
			break;
		case FMOE_OPTION_NAME:
			memset(place, 0, FMOE_EXPERT_NAME_MAX);
			strlcpy(place, option->value, FMOE_EXPERT_NAME_MAX);
			break;
		case FMOE_OPTION_LIST:
			*(int *) place = -1;
			break;
		case FMOE_OPTION_INT_LIST:
			set_default_list(option, place);
			break;
	}
}

/* ---------------------------------------------------------------- to jsonb */

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, string);
	value.val.string.len = strlen(string);
	pushJsonbValue(state, token, &value);
}

static void
push_number(JsonbParseState **state, JsonbIteratorToken token, Datum numeric)
{
	JsonbValue	value;

	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(numeric);
	pushJsonbValue(state, token, &value);
}

static void
push_objects(JsonbParseState **state, const FmoeOptionList *list, const void *place)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < *(const int *) place; i++)
	{
		const void *element = (const char *) place + list->first + i * list->bytes;

		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		fmoe_push_options(state, list->element, element);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_option(JsonbParseState **state, const FmoeOption *option, const void *target)
{
	const void *place = (const char *) target + option->offset;
	JsonbValue	value;
	int			i;

	switch (option->type)
	{
		case FMOE_OPTION_INT:
			push_number(state, WJB_VALUE, NumericGetDatum(int64_to_numeric(*(const int *) place)));
			break;
		case FMOE_OPTION_INT64:
			push_number(state, WJB_VALUE, NumericGetDatum(int64_to_numeric(*(const int64_t *) place)));
			break;
		case FMOE_OPTION_REAL:
			push_number(state, WJB_VALUE,
						DirectFunctionCall1(float8_numeric, Float8GetDatum(*(const double *) place)));
			break;
		case FMOE_OPTION_BOOL:
			value.type = jbvBool;
			value.val.boolean = *(const bool *) place;
			pushJsonbValue(state, WJB_VALUE, &value);
			break;
		case FMOE_OPTION_ENUM:
			push_string(state, WJB_VALUE, option->choices[*(const int *) place]);
			break;
		case FMOE_OPTION_TEXT:
			push_string(state, WJB_VALUE, *(const char *const *) place);
			break;
		case FMOE_OPTION_NAME:
			push_string(state, WJB_VALUE, place);
			break;
		case FMOE_OPTION_LIST:
			push_objects(state, option->list, place);
			break;
		case FMOE_OPTION_INT_LIST:
			pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			for (i = 0; i < ((const FmoeIntList *) place)->count; i++)
				push_number(state, WJB_ELEM,
							NumericGetDatum(int64_to_numeric(((const FmoeIntList *) place)->value[i])));
			pushJsonbValue(state, WJB_END_ARRAY, NULL);
			break;
	}
}

/* A value that stands for "not given": FMOE_AUTO, a NULL string, no name, no list, a number that is not finite. */
static bool
is_unset(const FmoeOption *option, const void *target)
{
	const void *place = (const char *) target + option->offset;

	if (option->type == FMOE_OPTION_ENUM)
		return *(const int *) place == FMOE_AUTO;
	if (option->type == FMOE_OPTION_TEXT)
		return *(const char *const *) place == NULL;
	if (option->type == FMOE_OPTION_NAME)
		return *(const char *) place == '\0';
	if (option->type == FMOE_OPTION_LIST)
		return *(const int *) place < 0;
	if (option->type == FMOE_OPTION_REAL)
		return !isfinite(*(const double *) place);
	return false;
}

/* ---------------------------------------------------------------- objects */

/* Letters by which a name may differ from the one it was perhaps meant to be. */
#define NEAR_MAX 4

const FmoeOption *
fmoe_find_option(const FmoeOption *options, const char *name, int length)
{
	for (const FmoeOption *option = options; option != NULL && option->name != NULL; option++)
		if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
			return option;
	return NULL;
}

void
fmoe_reject_name(const FmoeOption *const *tables, const char *name, int length)
{
	StringInfoData names;
	const char *near = NULL;
	int			distance = NEAR_MAX;

	initStringInfo(&names);
	for (; *tables != NULL; tables++)
		for (const FmoeOption *option = *tables; option->name != NULL; option++)
		{
			appendStringInfo(&names, "%s%s", names.len == 0 ? "" : ", ", option->name);
			if (length <= NAMEDATALEN)
			{
				int			d = varstr_levenshtein_less_equal(name, length, option->name, strlen(option->name),
															  1, 1, 1, distance, true);

				/* not more than half of it may differ */
				if (d <= distance && d < length / 2 + 1 && (near == NULL || d < distance))
				{
					near = option->name;
					distance = d;
				}
			}
		}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"%s\"", shortened(name, length)),
			 near != NULL ? errhint("Perhaps you meant the option \"%s\".  Options are: %s.", near, names.data)
			 : errhint("Options are: %s.", names.data)));
	pg_unreachable();
}

void
fmoe_walk_options(Jsonb *object, const FmoeOption *example, FmoeTakeOption take, void *argument)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	if (object == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("For example '{\"%s\": %s}'.", example->name,
						 example->type == FMOE_OPTION_ENUM && example->value != NULL
						 ? psprintf("\"%s\"", example->value) : "null")));
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		take(argument, name.val.string.val, name.val.string.len, &value);
	}
}

/* What fmoe_parse_options fills, from what. */
typedef struct Filling
{
	const FmoeOption *options;
	void	   *target;
} Filling;

static void
fill(void *argument, const char *name, int length, const JsonbValue *value)
{
	const Filling *filling = argument;
	const FmoeOption *option = fmoe_find_option(filling->options, name, length);

	if (option == NULL)
	{
		const FmoeOption *const tables[] = {filling->options, NULL};

		fmoe_reject_name(tables, name, length);
	}
	if (value->type != jbvNull)
		fmoe_set_option(option, value, filling->target);
}

void
fmoe_set_defaults(const FmoeOption *options, void *target)
{
	for (const FmoeOption *option = options; option != NULL && option->name != NULL; option++)
		set_default(option, target);
}

void
fmoe_set_stored(const FmoeOption *options, void *target)
{
	for (const FmoeOption *option = options; option != NULL && option->name != NULL; option++)
	{
		FmoeOption	before = *option;

		if (option->stored == NULL)
			continue;
		before.value = option->stored;
		set_default(&before, target);
	}
}

void
fmoe_change_defaults(const FmoeOption *options, const char *const *changed, void *target)
{
	for (; changed != NULL && changed[0] != NULL; changed += 2)
	{
		FmoeOption	option = *fmoe_find_option(options, changed[0], strlen(changed[0]));

		option.value = changed[1];
		set_default(&option, target);
	}
}

void
fmoe_parse_options(Jsonb *object, const FmoeOption *options, void *target)
{
	Filling		filling = {.options = options, .target = target};

	fmoe_set_defaults(options, target);
	fmoe_walk_options(object, options, fill, &filling);
}

void
fmoe_push_options(JsonbParseState **state, const FmoeOption *options, const void *target)
{
	for (const FmoeOption *option = options; option != NULL && option->name != NULL; option++)
	{
		if (is_unset(option, target))
			continue;
		push_string(state, WJB_KEY, option->name);
		push_option(state, option, target);
	}
}

Jsonb *
fmoe_options_jsonb(const FmoeOption *options, const void *target)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	fmoe_push_options(&state, options, target);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

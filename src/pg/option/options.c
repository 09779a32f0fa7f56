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

#include "pg/option/option.h"

static void *
field(void *target, const FmoeOption *option)
{
	return (char *) target + option->offset;
}

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

/* What an option takes, as a sentence for HINT. */
static char *
allowed(const FmoeOption *option)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "Option \"%s\" takes ", option->name);
	switch (option->type)
	{
		case FMOE_OPTION_INT:
		case FMOE_OPTION_INT64:
			appendStringInfo(&text, "an integer from %s to %s",
							 number_text(option->min), number_text(option->max));
			break;
		case FMOE_OPTION_REAL:
			appendStringInfo(&text, "a number from %s to %s",
							 number_text(option->min), number_text(option->max));
			break;
		case FMOE_OPTION_BOOL:
			appendStringInfoString(&text, "true or false");
			break;
		case FMOE_OPTION_ENUM:
			appendStringInfo(&text, "one of: %s", joined(option->choices));
			break;
		case FMOE_OPTION_TEXT:
		case FMOE_OPTION_NAME:
			appendStringInfoString(&text, "a string");
			break;
		case FMOE_OPTION_LENT:
			appendStringInfo(&text, "an array of at most %d names", FMOE_LENT_MAX);
			break;
		case FMOE_OPTION_INT_LIST:
			appendStringInfo(&text, "an integer from %s to %s, or an array of 1 to %d of them",
							 number_text(option->min), number_text(option->max), FMOE_INT_LIST_MAX);
			break;
	}
	if (option->value != NULL && option->value[0] != '\0')
		appendStringInfo(&text, "; the default is %s", option->value);
	appendStringInfoChar(&text, '.');
	return text.data;
}

static void pg_attribute_noreturn()
reject(const FmoeOption *option, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" %s", option->name, what),
			 errhint("%s", allowed(option))));
	pg_unreachable();
}

/* A string of any length, cut for a message. */
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

static void pg_attribute_noreturn()
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
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number)));
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
set_option(const FmoeOption *option, const JsonbValue *value, void *target)
{
	void	   *place = field(target, option);

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
			fmoe_parse_name(option->name, value, place);
			break;
		case FMOE_OPTION_LENT:
			fmoe_parse_lent(value, place);
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
			elog(ERROR, "option \"%s\" has a default that is no list", option->name);
		list->value[list->count++] = (int) number;
		p = end + strspn(end, ", ");
	}
}

static void
set_default(const FmoeOption *option, void *target)
{
	void	   *place = field(target, option);

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
				elog(ERROR, "option \"%s\" has a default that is no choice", option->name);
			break;
		case FMOE_OPTION_TEXT:
			*(const char **) place = option->value;
			break;
		case FMOE_OPTION_NAME:
			memset(place, 0, FMOE_EXPERT_NAME_MAX);
			strlcpy(place, option->value, FMOE_EXPERT_NAME_MAX);
			break;
		case FMOE_OPTION_LENT:
			memset(place, 0, sizeof(FmoeLentList));
			((FmoeLentList *) place)->count = -1;
			break;
		case FMOE_OPTION_INT_LIST:
			set_default_list(option, place);
			break;
	}
}

static const FmoeOption *
find_option(const FmoeOption *options, const char *name, int length)
{
	const FmoeOption *option;

	for (option = options; option->name != NULL; option++)
		if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
			return option;
	return NULL;
}

static void pg_attribute_noreturn()
reject_name(const FmoeOption *options, const char *name, int length)
{
	StringInfoData names;
	const FmoeOption *option;

	initStringInfo(&names);
	for (option = options; option->name != NULL; option++)
		appendStringInfo(&names, "%s%s", option == options ? "" : ", ", option->name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized option \"%s\"", shortened(name, length)),
			 errhint("Options are: %s.", names.data)));
	pg_unreachable();
}

void
fmoe_parse_options(Jsonb *object, const FmoeOption *options, void *target)
{
	const FmoeOption *option;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	for (option = options; option->name != NULL; option++)
		if (option->value != NULL || option->type == FMOE_OPTION_LENT)
			set_default(option, target);

	if (object == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options must be a JSON object"),
				 errhint("For example '{\"%s\": %s}'.", options->name,
						 options->type == FMOE_OPTION_ENUM && options->value != NULL
						 ? psprintf("\"%s\"", options->value) : "null")));

	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		option = find_option(options, name.val.string.val, name.val.string.len);
		if (option == NULL)
			reject_name(options, name.val.string.val, name.val.string.len);
		if (value.type != jbvNull)
			set_option(option, &value, target);
	}
}

static void
check_needed(const FmoeOption *options, const FmoeOption *option, const void *target)
{
	const FmoeOption *needed = find_option(options, option->needs, strlen(option->needs));

	if (*(const int *) ((const char *) target + needed->offset) > 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" needs option \"%s\"", option->name, needed->name),
			 errdetail("Option \"%s\" is 0.", needed->name),
			 errhint("Give \"%s\" too, or leave \"%s\" out.", needed->name, option->name)));
}

void
fmoe_check_given(Jsonb *object, const FmoeOption *options, const char *model, const void *target)
{
	JsonbValue	value;

	for (const FmoeOption *option = options; option->name != NULL; option++)
	{
		if ((option->model == NULL && option->needs == NULL) ||
			getKeyJsonValueFromContainer(&object->root, option->name, strlen(option->name), &value) == NULL ||
			value.type == jbvNull)
			continue;
		if (option->model != NULL && strcmp(option->model, model) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is for model \"%s\" only", option->name, option->model),
					 errdetail("The model is \"%s\".", model)));
		if (option->needs != NULL)
			check_needed(options, option, target);
	}
}

void
fmoe_check_config(const FmoeConfig *config)
{
	FmoeMisfit	misfit;

	if (!fmoe_config_fits(config, &misfit))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", misfit.message),
				 errdetail("%s", misfit.detail),
				 errhint("%s", misfit.hint)));
}

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
push_option(JsonbParseState **state, const FmoeOption *option, const void *place)
{
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
		case FMOE_OPTION_LENT:
			fmoe_push_lent(state, place);
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

/* A value that stands for "not given": an enum's FMOE_AUTO, a NULL string, no name, all experts, a number that is not finite. */
static bool
is_unset(const FmoeOption *option, const void *place)
{
	if (option->type == FMOE_OPTION_ENUM)
		return *(const int *) place == FMOE_AUTO;
	if (option->type == FMOE_OPTION_TEXT)
		return *(const char *const *) place == NULL;
	if (option->type == FMOE_OPTION_NAME)
		return *(const char *) place == '\0';
	if (option->type == FMOE_OPTION_LENT)
		return ((const FmoeLentList *) place)->count < 0;
	if (option->type == FMOE_OPTION_REAL)
		return !isfinite(*(const double *) place);
	return false;
}

Jsonb *
fmoe_options_jsonb(const FmoeOption *options, const void *target)
{
	JsonbParseState *state = NULL;
	const FmoeOption *option;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (option = options; option->name != NULL; option++)
	{
		const void *place = (const char *) target + option->offset;

		if (is_unset(option, place))
			continue;
		push_string(&state, WJB_KEY, option->name);
		push_option(&state, option, place);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * options_lent.c
 *	  The option "experts": a list of lent experts.
 *
 * Users give names, or nothing for all there are.  Versions keep for each its
 * name and how its encoder is built, as an object with the keys name, model,
 * width, layers and heads; who reads such an option has the same parser.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "pg/option/option.h"

#define AT(field) offsetof(FmoeLentEncoder, field)

static const FmoeOption lent_options[] = {
	{"name", FMOE_OPTION_NAME, AT(name), 0, 0, NULL, "", "what it is called here"},
	{"model", FMOE_OPTION_ENUM, AT(model), 0, 0, fmoe_encoder_names, NULL, "kind of encoder"},
	{"width", FMOE_OPTION_INT, AT(width), 1, 1024, NULL, "64", "length of its states"},
	{"layers", FMOE_OPTION_INT, AT(layers), 1, 16, NULL, "2", "its layers"},
	{"heads", FMOE_OPTION_INT, AT(heads), 1, 64, NULL, "1", "its attention heads"},
	{NULL}
};

static void pg_attribute_noreturn()
reject_list(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"experts\" %s", what),
			 errhint("Option \"experts\" takes an array of at most %d names of lent experts, each once; "
					 "the view fmoe.experts lists them.", FMOE_LENT_MAX)));
	pg_unreachable();
}

void
fmoe_parse_name(const char *option, const JsonbValue *value, char *name)
{
	if (value->type != jbvString || value->val.string.len >= FMOE_EXPERT_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" must be a string of less than %d bytes", option, FMOE_EXPERT_NAME_MAX)));
	memset(name, 0, FMOE_EXPERT_NAME_MAX);
	memcpy(name, value->val.string.val, value->val.string.len);
}

static void
parse_element(const JsonbValue *value, FmoeLentEncoder *lent)
{
	FmoeConfig	config = {0};
	FmoeMisfit	misfit;

	memset(lent, 0, sizeof(*lent));
	lent->model = -1;
	if (value->type == jbvString)
		fmoe_parse_name("experts", value, lent->name);
	else if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
	{
		fmoe_parse_options(JsonbValueToJsonb(unconstify(JsonbValue *, value)), lent_options, lent);
		if (lent->model < 0)
			reject_list("has an element without a model");
		config.model = lent->model;
		config.width = lent->width;
		config.heads = lent->heads;
		if (!fmoe_config_fits(&config, &misfit))
			reject_list(psprintf("has an element that cannot be: %s", misfit.message));
	}
	else
		reject_list("has an element that is not a name");
	if (lent->name[0] == '\0')
		reject_list("has an element without a name");
}

void
fmoe_parse_lent(const JsonbValue *value, FmoeLentList *list)
{
	JsonbContainer *array;
	uint32		count;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		reject_list("must be an array");
	array = value->val.binary.data;
	count = JsonContainerSize(array);
	if (count > FMOE_LENT_MAX)
		reject_list(psprintf("has %u elements", count));
	memset(list, 0, sizeof(*list));
	for (uint32 i = 0; i < count; i++)
	{
		parse_element(getIthJsonbValueFromContainer(array, i), &list->lent[i]);
		for (uint32 k = 0; k < i; k++)
			if (strcmp(list->lent[k].name, list->lent[i].name) == 0)
				reject_list(psprintf("names \"%s\" twice", list->lent[i].name));
	}
	list->count = (int) count;
}

void
fmoe_push_lent(JsonbParseState **state, const FmoeLentList *list)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < list->count; i++)
	{
		Jsonb	   *object = fmoe_options_jsonb(lent_options, &list->lent[i]);
		JsonbIterator *iterator = JsonbIteratorInit(&object->root);
		JsonbIteratorToken token;
		JsonbValue	value;

		while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
			pushJsonbValue(state, token, token < WJB_BEGIN_ARRAY ? &value : NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

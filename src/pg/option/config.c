/*
 * config.c
 *	  Configurations of models: the options that every model has, and its class's own.
 *
 * The model is read first, since it decides which other options there are.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "pg/option/option_private.h"

const FmoeCallOptions fmoe_train_call = {.model = FMOE_DEFAULT_MODEL};

/* A configuration while it is read. */
typedef struct Reading
{
	FmoeConfig *config;
	bool		asked;			/* by a caller, so that an option without a meaning is an error */
	const FmoeCallOptions *call;	/* NULL: a stored one is read */
	bool		of_all;			/* stored by one of the first builds, with the options of all models */
} Reading;

static const char *const *
left_out_of(const Reading *reading)
{
	return reading->call != NULL ? reading->call->left_out : NULL;
}

static const FmoeExpertClass *
class_of(const FmoeConfig *config)
{
	return fmoe_expert_classes[config->model];
}

bool
fmoe_is_left_out(const char *const *left_out, const char *name)
{
	for (; left_out != NULL && *left_out != NULL; left_out++)
		if (strcmp(*left_out, name) == 0)
			return true;
	return false;
}

/* A table of options without those that are left out. */
static const FmoeOption *
remaining(const Reading *reading, const FmoeOption *options)
{
	FmoeOption *rest;
	int			n = 0;

	while (options[n].name != NULL)
		n++;
	rest = palloc0(sizeof(FmoeOption) * (n + 1));
	n = 0;
	for (; options->name != NULL; options++)
		if (!fmoe_is_left_out(left_out_of(reading), options->name))
			rest[n++] = *options;
	return rest;
}

/* Fails when other models have the option; returns when no model has it. */
static void
reject_of_others(const Reading *reading, const char *name, int length)
{
	StringInfoData models;
	int			n = 0;

	initStringInfo(&models);
	for (int i = 0; fmoe_expert_classes[i] != NULL; i++)
		if (fmoe_expert_number(fmoe_expert_classes[i]) == i &&
			fmoe_find_option(fmoe_expert_classes[i]->options, name, length) != NULL)
			appendStringInfo(&models, "%s\"%s\"", n++ > 0 ? ", " : "", fmoe_expert_classes[i]->name);
	if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is for model%s %s only", pnstrdup(name, length), n > 1 ? "s" : "", models.data),
				 errdetail("The model is \"%s\".", class_of(reading->config)->name)));
}

static void
take_model(void *argument, const char *name, int length, const JsonbValue *value)
{
	Reading    *reading = argument;
	const FmoeOption *option = &fmoe_train_options[0];

	if (value->type != jbvNull && strlen(option->name) == length && memcmp(name, option->name, length) == 0)
		fmoe_set_option(option, value, reading->config);
}

/* Whether some class has the option. */
static bool
of_any_class(const char *name, int length)
{
	for (int i = 0; fmoe_expert_classes[i] != NULL; i++)
		if (fmoe_find_option(fmoe_expert_classes[i]->options, name, length) != NULL)
			return true;
	return false;
}

/* Notes an option that is another model's. */
static void
note_foreign(void *argument, const char *name, int length, const JsonbValue *value)
{
	Reading    *reading = argument;

	if (fmoe_find_option(fmoe_train_options, name, length) == NULL &&
		fmoe_find_option(class_of(reading->config)->options, name, length) == NULL && of_any_class(name, length))
		reading->of_all = true;
}

static void
take_option(void *argument, const char *name, int length, const JsonbValue *value)
{
	Reading    *reading = argument;
	const FmoeExpertClass *class = class_of(reading->config);
	const FmoeOption *option = fmoe_find_option(fmoe_train_options, name, length);
	void	   *target = reading->config;

	if (option == NULL)
	{
		option = fmoe_find_option(class->options, name, length);
		target = reading->config->own.bytes;
	}
	if (option == NULL && reading->asked)
		reject_of_others(reading, name, length);
	if (option == NULL && !reading->asked && of_any_class(name, length))
		return;
	/* the first builds had options of their own for mixtures only */
	if (option != NULL && target != reading->config && reading->of_all)
		return;
	if (option == NULL || fmoe_is_left_out(left_out_of(reading), option->name))
	{
		const FmoeOption *const tables[] = {
			remaining(reading, fmoe_train_options),
			class->options != NULL ? remaining(reading, class->options) : NULL,
			NULL
		};

		fmoe_reject_name(tables, name, length);
	}
	if (value->type != jbvNull)
		fmoe_set_option(option, value, target);
}

static void
read_config(Jsonb *object, Reading *reading)
{
	FmoeConfig *config = reading->config;

	memset(config, 0, sizeof(*config));
	fmoe_set_defaults(fmoe_train_options, config);
	config->model = fmoe_expert_row(reading->call != NULL ? reading->call->model : FMOE_PLAIN_MODEL);
	/* the model first */
	fmoe_walk_options(object, fmoe_train_options, take_model, reading);
	fmoe_change_defaults(fmoe_train_options, class_of(config)->defaults, config);
	fmoe_set_defaults(class_of(config)->options, config->own.bytes);
	if (reading->call == NULL)
		fmoe_set_stored(class_of(config)->options, config->own.bytes);
	if (reading->call == NULL)
		fmoe_walk_options(object, fmoe_train_options, note_foreign, reading);
	fmoe_walk_options(object, fmoe_train_options, take_option, reading);
	fmoe_config_canonical(config);
}

/*
 * A stored model consists of encoders, of which the name alone does not say what they are.  No list is
 * none: models of fmoe_fit did not say so.  Which arrays there are is compared when they are bound.
 */
static void
check_borrowed(FmoeConfig *config)
{
	FmoeLentList *list = fmoe_borrowed(config);

	if (list != NULL && list->count < 0)
		list->count = 0;
	for (int i = 0; list != NULL && i < list->count; i++)
		if (list->lent[i].shape.encoder < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the options name the lent expert \"%s\" without its shape", list->lent[i].name),
					 errdetail("A stored model has the shapes of all of them in its options.")));
}

/* A stored model says what its item vectors are computed from, and how many numbers these are. */
static void
check_inputs(FmoeConfig *config)
{
	const FmoeInputList *list = fmoe_inputs(config);
	bool		complete = list == NULL || list->count > 0;

	for (int i = 0; list != NULL && i < list->count; i++)
		complete = complete && list->input[i].width > 0;
	if (!complete)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the options of model \"%s\" do not say what it knows of items", class_of(config)->name),
				 errdetail("A stored model has a list \"inputs\" with the width of each.")));
}

void
fmoe_parse_config(Jsonb *object, FmoeConfig *config)
{
	Reading		reading = {.config = config};

	read_config(object, &reading);
	check_borrowed(config);
	if (object != NULL)
		check_inputs(config);
}

/* Whether a BOOL option is true, an INT option above 0, or an ENUM option as wanted, or not yet known. */
static bool
is_given(const FmoeOption *option, const char *wanted, const void *target)
{
	const char *value = (const char *) target + option->offset;

	if (option->type == FMOE_OPTION_ENUM)
		return strcmp(option->choices[*(const int *) value], wanted) == 0 ||
			strcmp(option->choices[*(const int *) value], "auto") == 0;
	return option->type == FMOE_OPTION_BOOL ? *(const bool *) value : *(const int *) value > 0;
}

/* The option that another needs, and that is not as that needs it; NULL: all is well. */
static const FmoeOption *
missing(const FmoeOption *option, const FmoeOption *options, const void *target, const char **wanted)
{
	size_t		length = strcspn(option->needs, "=");
	const FmoeOption *needed = fmoe_find_option(options, option->needs, (int) length);

	*wanted = option->needs + length + 1;
	return is_given(needed, *wanted, target) ? NULL : needed;
}

static void
fail_without(const FmoeOption *option, const FmoeOption *needed, const char *wanted, const void *target)
{
	if (needed->type == FMOE_OPTION_ENUM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" needs option \"%s\" to be \"%s\"", option->name, needed->name, wanted),
				 errdetail("Option \"%s\" is \"%s\".", needed->name,
						   needed->choices[*(const int *) ((const char *) target + needed->offset)]),
				 errhint("Set \"%s\" to \"%s\", or leave \"%s\" out.", needed->name, wanted, option->name)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" needs option \"%s\"", option->name, needed->name),
			 errdetail("Option \"%s\" is %s.", needed->name, needed->type == FMOE_OPTION_BOOL ? "false" : "0"),
			 errhint("Give \"%s\" too, or leave \"%s\" out.", needed->name, option->name)));
}

static bool
is_in(Jsonb *object, const char *name)
{
	JsonbValue	value;

	return getKeyJsonValueFromContainer(&object->root, name, strlen(name), &value) != NULL && value.type != jbvNull;
}

/* Fails where the object gives an option of a model that has no meaning without another. */
static void
check_needed(Jsonb *object, const FmoeOption *options, const void *target)
{
	for (const FmoeOption *option = options; option != NULL && option->name != NULL; option++)
	{
		const FmoeOption *needed;
		const char *wanted;

		if (option->needs == NULL || !is_in(object, option->name))
			continue;
		needed = missing(option, options, target, &wanted);
		if (needed != NULL)
			fail_without(option, needed, wanted, target);
	}
}

/*
 * Warns of common options that say nothing to the model, or without another.  They are no error:
 * one set of them serves a loop over models.
 */
static void
warn_ignored(Jsonb *object, const FmoeConfig *config)
{
	for (const char *const *name = fmoe_unused_options(config); *name != NULL; name++)
	{
		if (is_in(object, *name))
			ereport(WARNING,
					(errmsg("option \"%s\" has no meaning for model \"%s\", and is ignored", *name,
							class_of(config)->name),
					 errdetail("With the other options that are given, nothing reads it."),
					 errhint("Leave \"%s\" out.", *name)));
	}
	for (const FmoeOption *option = fmoe_train_options; option->name != NULL; option++)
	{
		const FmoeOption *needed;
		const char *wanted;

		if (option->needs == NULL || !is_in(object, option->name))
			continue;
		needed = missing(option, fmoe_train_options, config, &wanted);
		if (needed != NULL)
			ereport(WARNING,
					(errmsg("option \"%s\" has no meaning without option \"%s\", and is ignored", option->name,
							needed->name),
					 errdetail("It is read where \"%s\" is \"%s\".", needed->name, wanted),
					 errhint("Leave \"%s\" out.", option->name)));
	}
}

void
fmoe_parse_asked(Jsonb *object, const FmoeCallOptions *call, FmoeConfig *config)
{
	Reading		reading = {.config = config, .asked = true, .call = call};

	read_config(object, &reading);
	if (call->no_items && (fmoe_reads(class_of(config), config) & FMOE_NEEDS_FEATURES) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("model \"%s\" needs to know what items are", class_of(config)->name),
				 errdetail("Rows are all there is here, and no item table."),
				 errhint("CALL fmoe_train() trains it on a domain with an item table.")));
	if (object != NULL)
	{
		warn_ignored(object, config);
		check_needed(object, class_of(config)->options, config->own.bytes);
	}
	fmoe_check_config(config);
}

static void
misfit_error(const FmoeMisfit *misfit)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", misfit->message),
			 errdetail("%s", misfit->detail),
			 errhint("%s", misfit->hint)));
}

void
fmoe_check_config(const FmoeConfig *config)
{
	FmoeMisfit	misfit;

	if (!fmoe_config_fits(config, &misfit))
		misfit_error(&misfit);
}

void
fmoe_complete_config(FmoeConfig *config, const FmoeDataset *data)
{
	FmoeMisfit	misfit;

	if (!fmoe_config_complete(config, data, &misfit))
		misfit_error(&misfit);
}

Jsonb *
fmoe_config_jsonb(const FmoeConfig *config)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	fmoe_push_options(&state, fmoe_train_options, config);
	fmoe_push_options(&state, class_of(config)->options, config->own.bytes);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

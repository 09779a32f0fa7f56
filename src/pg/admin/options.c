/*
 * options.c
 *	  The view fmoe.options: all options of all calls, from the tables that the calls read.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "pg/evaluate/evaluate.h"
#include "pg/file/precision.h"
#include "pg/option/option.h"
#include "pg/train/fit.h"

PG_FUNCTION_INFO_V1(fmoe_options);

#define COLUMNS 6

typedef struct OptionCall
{
	const char *name;
	const FmoeOption *options;
	bool		trains;			/* the class of the model has options of its own beside these */
	const FmoeCallOptions *differs; /* from what its tables say; NULL: it does not */
} OptionCall;

static const OptionCall calls[] = {
	{"fmoe_train", fmoe_train_options, true, &fmoe_train_call},
	{"fmoe_fit", fmoe_train_options, true, &fmoe_fit_call},
	{"fmoe_evaluate", fmoe_evaluate_options, false, NULL},
	{"fmoe_expert_report", fmoe_report_options, false, NULL},
	{"fmoe_lend", fmoe_release_options, false, NULL},
	{"fmoe_export", fmoe_release_options, false, NULL}
};

/* Nothing becomes null: "" is the default of an option that is not given. */
static void
set_text(Datum *values, bool *nulls, int column, const char *text)
{
	nulls[column] = text == NULL || text[0] == '\0';
	if (!nulls[column])
		values[column] = CStringGetTextDatum(text);
}

/* The first option of those that train is the model. */
static const char *
default_of(const OptionCall *call, const FmoeOption *option)
{
	return call->differs != NULL && option == fmoe_train_options ? call->differs->model : option->value;
}

/* A row an option of a table, which may be NULL; model NULL: it is for all models, or the call is for none. */
static void
put_table(ReturnSetInfo *result, const OptionCall *call, const char *model, const FmoeOption *options)
{
	for (const FmoeOption *option = options; option != NULL && option->name != NULL; option++)
	{
		Datum		values[COLUMNS] = {0};
		bool		nulls[COLUMNS];

		if (call->differs != NULL && fmoe_is_left_out(call->differs->left_out, option->name))
			continue;
		set_text(values, nulls, 0, call->name);
		set_text(values, nulls, 1, model);
		set_text(values, nulls, 2, option->name);
		set_text(values, nulls, 3, fmoe_option_takes(option));
		set_text(values, nulls, 4, default_of(call, option));
		set_text(values, nulls, 5, option->help);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* Whether a call can have models of the class, whatever their options. */
static bool
has_class(const OptionCall *call, int row)
{
	FmoeConfig	config = {.model = row};

	return call->trains && fmoe_expert_number(fmoe_expert_classes[row]) == row &&
		(!call->differs->no_items || (fmoe_reads(fmoe_expert_classes[row], &config) & FMOE_NEEDS_FEATURES) == 0);
}

Datum
fmoe_options(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(calls); i++)
	{
		put_table(result, &calls[i], NULL, calls[i].options);
		for (int k = 0; fmoe_expert_classes[k] != NULL; k++)
			if (has_class(&calls[i], k))
				put_table(result, &calls[i], fmoe_expert_classes[k]->name, fmoe_expert_classes[k]->options);
	}
	return (Datum) 0;
}

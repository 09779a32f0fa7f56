/*
 * inputs.c
 *	  What item vectors are computed from, where a class keeps a list of it: found
 *	  in the domain's item table, or looked for there where an encoder names it.
 */
#include "postgres.h"

#include "model/expert/inputs.h"
#include "pg/train/borrow.h"

/* The place of a vector column among those of the domain, from 1; 0: it has none of that name. */
static int
vector_number(const FmoeDomain *domain, const char *name)
{
	int			number = 0;
	ListCell   *cell;

	foreach(cell, domain->features[FMOE_VECTOR])
	{
		number++;
		if (strcmp(lfirst(cell), name) == 0)
			return number;
	}
	return 0;
}

/* Puts an input into the list, where the items have it. */
static void
add_input(const FmoeDomain *domain, const FmoeFeatures *features, const char *name, FmoeInputList *list)
{
	FmoeInput	input = {.width = fmoe_input_width(name)};
	const FmoeFeature *feature;

	strlcpy(input.name, name, sizeof(input.name));
	input.number = input.width > 0 ? 0 : vector_number(domain, name);
	feature = fmoe_input_feature(&input, features);
	if (feature == NULL)
		return;
	if (list->count == FMOE_INPUTS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the items of domain \"%s\" have more than %d inputs", domain->name, FMOE_INPUTS_MAX),
				 errhint("Name those to be used with the option \"inputs\".")));
	if (input.width == 0)
		input.width = feature->width;
	list->input[list->count++] = input;
}

/* All that the items have; a vector column that is named like an input that is none is not one. */
static void
list_inputs(const FmoeDomain *domain, const FmoeFeatures *features, FmoeInputList *list)
{
	ListCell   *cell;

	list->count = 0;
	add_input(domain, features, FMOE_INPUT_TEXT, list);
	add_input(domain, features, FMOE_INPUT_PRICE, list);
	foreach(cell, domain->features[FMOE_VECTOR])
	{
		if (fmoe_input_width(lfirst(cell)) == 0)
			add_input(domain, features, lfirst(cell), list);
	}
}

/* Finds a named input among the items' features. */
static void
find_input(const FmoeDomain *domain, const FmoeFeatures *features, FmoeInput *input)
{
	int			width = fmoe_input_width(input->name);
	const FmoeFeature *feature;

	input->number = width > 0 ? 0 : vector_number(domain, input->name);
	feature = fmoe_input_feature(input, features);
	if (width == 0 && feature != NULL)
		width = feature->width;
	if (input->width == 0 && width == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the items of domain \"%s\" have no input \"%s\"", domain->name, input->name),
				 errdetail("Inputs are \"text\", \"price\" and the names of vector columns that are not empty.")));
	if (input->width > 0 && width > 0 && width != input->width)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of domain \"%s\" has vectors of %d numbers, the input of that name has %d",
						input->name, domain->name, width, input->width),
				 errdetail("An input has the same name and the same length in all databases that share an encoder."),
				 errhint("Vectors of another kind belong into a column of another name.")));
	if (input->width == 0)
		input->width = width;
	if (feature == NULL)
		ereport(NOTICE,
				(errmsg("the items of domain \"%s\" have no input \"%s\"", domain->name, input->name),
				 errdetail("Zeros stand for it.")));
}

void
fmoe_find_inputs(const FmoeDomain *domain, const FmoeFeatures *features, FmoeConfig *config)
{
	FmoeInputList *list = fmoe_inputs(config);
	bool		any = false;

	if (list == NULL)
		return;
	if (list->count < 0)
		list_inputs(domain, features, list);
	else
		for (int i = 0; i < list->count; i++)
			find_input(domain, features, &list->input[i]);
	for (int i = 0; i < list->count; i++)
		any = any || fmoe_input_feature(&list->input[i], features) != NULL;
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("the items of domain \"%s\" have none of the inputs of model \"%s\"", domain->name,
						fmoe_expert_classes[config->model]->name),
				 errdetail("They would all have the same vector."),
				 errhint("Name columns that say what items are with fmoe_alter_domain().")));
}

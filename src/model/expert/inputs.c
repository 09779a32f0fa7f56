/*
 * inputs.c
 *	  Inputs: numbers of items that another database can have too.
 */
#include "model/data/dense.h"
#include "model/expert/inputs.h"

#include <stdio.h>
#include <string.h>

#define PRICE_WIDTH 3

int
fmoe_input_width(const char *name)
{
	if (strcmp(name, FMOE_INPUT_TEXT) == 0)
		return FMOE_TEXT_SIGNS;
	return strcmp(name, FMOE_INPUT_PRICE) == 0 ? PRICE_WIDTH : 0;
}

int64_t
fmoe_inputs_width(const FmoeInputList *inputs)
{
	int64_t		width = 0;

	for (int i = 0; i < inputs->count; i++)
		width += inputs->input[i].width;
	return width;
}

const FmoeFeature *
fmoe_input_feature(const FmoeInput *input, const FmoeFeatures *features)
{
	char		name[FMOE_FEATURE_NAME_MAX];

	if (features == NULL)
		return NULL;
	if (fmoe_input_width(input->name) > 0)
		return fmoe_feature(features, input->name);
	snprintf(name, sizeof(name), "vector_%d", input->number);
	return input->number > 0 ? fmoe_feature(features, name) : NULL;
}

bool
fmoe_same_inputs(const FmoeInputList *a, const FmoeInputList *b)
{
	for (int i = 0; i < a->count && a->count == b->count; i++)
		if (strcmp(a->input[i].name, b->input[i].name) != 0 || a->input[i].width != b->input[i].width)
			return false;
	return a->count == b->count;
}

void
fmoe_input_rows(const FnnHost *host, const FmoeInput *input, const FmoeFeatures *features, const int32_t *item,
				int64_t first, int64_t n, fnn_real *x)
{
	const FmoeFeature *feature = fmoe_input_feature(input, features);

	if (feature == NULL)
	{
		memset(x, 0, sizeof(fnn_real) * (size_t) (n * input->width));
		return;
	}
	if (fmoe_dense_width(feature) != input->width)
		fnn_fail(host, FNN_FORMAT, "feature \"%s\" has %lld numbers where input \"%s\" has %d", feature->name,
				 (long long) fmoe_dense_width(feature), input->name, input->width);
	fmoe_dense_rows(feature, item, first, n, x);
}

/* ---------------------------------------------------------------- the option */

static bool
input_fits(const void *element, FmoeMisfit *misfit)
{
	const FmoeInput *input = element;
	int			width = fmoe_input_width(input->name);

	if (width == 0 || input->width == 0 || input->width == width)
		return true;
	snprintf(misfit->message, sizeof(misfit->message), "\"%s\" has %d numbers", width == PRICE_WIDTH
			 ? FMOE_INPUT_PRICE : FMOE_INPUT_TEXT, width);
	return false;
}

#define AT(field) offsetof(FmoeInput, field)

static const FmoeOption input_options[] = {
	{"name", FMOE_OPTION_NAME, AT(name), 0, 0, NULL, "", "text, price, or a vector column"},
	{"width", FMOE_OPTION_INT, AT(width), 0, 65536, NULL, "0", "its numbers"},
	{"number", FMOE_OPTION_INT, AT(number), 0, FMOE_FEATURES_MAX, NULL, "0", "place of the vector column"},
	{NULL}
};

const FmoeOptionList fmoe_input_option = {
	.element = input_options,
	.first = offsetof(FmoeInputList, input),
	.bytes = sizeof(FmoeInput),
	.max = FMOE_INPUTS_MAX,
	.what = "inputs",
	.listed = "they are \"text\", \"price\" and the names of vector columns",
	.fits = input_fits
};

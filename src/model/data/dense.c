/*
 * dense.c
 *	  Features as rows of numbers.
 */
#include "model/data/dense.h"
#include "model/data/text.h"

#include <math.h>
#include <string.h>

#define PRICE_WIDTH 3

/* So that the numbers of a price are about 1 at most. */
#define LOG_PRICE_SCALE 0.1f

int64_t
fmoe_dense_width(const FmoeFeature *feature)
{
	if (feature->value == NULL)
		return feature->modality == FMOE_TEXT && feature->name_offset != NULL ? FMOE_TEXT_SIGNS : 0;
	return feature->modality == FMOE_PRICE ? PRICE_WIDTH : feature->width;
}

/* What has no length stays as it is. */
static void
make_length_one(int64_t width, fnn_real *x)
{
	double		squares = 0;

	for (int64_t c = 0; c < width; c++)
		squares += (double) x[c] * x[c];
	if (!(squares > 0))
		return;
	squares = 1 / sqrt(squares);
	for (int64_t c = 0; c < width; c++)
		x[c] = (fnn_real) (x[c] * squares);
}

/* ---------------------------------------------------------------- text */

static void
text_row(const FmoeFeature *feature, int64_t row, fnn_real *x)
{
	for (int64_t k = feature->offset[row]; k < feature->offset[row + 1]; k++)
	{
		int32_t		term = feature->term[k];
		double		weight = feature->weight != NULL ? feature->weight[k] : 1;
		uint64_t	sign[FMOE_TEXT_SIGNS / 64];
		size_t		bytes;
		const char *word = fmoe_feature_term_name(feature, term, &bytes);

		if (feature->scale != NULL)
			weight *= feature->scale[term];
		fmoe_text_signs(word, bytes, sign);
		fnn_add_signs(FMOE_TEXT_SIGNS, (fnn_real) weight, sign, x);
	}
	make_length_one(FMOE_TEXT_SIGNS, x);
}

/* ---------------------------------------------------------------- the rest */

static void
price_row(const float *price, int32_t width, fnn_real *x)
{
	if (width < 1 || !isfinite(price[0]))
		return;
	x[0] = LOG_PRICE_SCALE * price[0];
	x[1] = width > 1 && isfinite(price[1]) ? price[1] : 0;
	x[2] = 1;
}

static void
vector_row(const float *value, int32_t width, fnn_real *x)
{
	for (int32_t c = 0; c < width; c++)
		x[c] = isfinite(value[c]) ? value[c] : 0;
	make_length_one(width, x);
}

void
fmoe_dense_rows(const FmoeFeature *feature, const int32_t *row, int64_t first, int64_t n, fnn_real *x)
{
	int64_t		width = fmoe_dense_width(feature);

	memset(x, 0, (size_t) (n * width) * sizeof(fnn_real));
	for (int64_t i = 0; i < n; i++, x += width)
	{
		int64_t		at = row != NULL ? row[i] : first + i;

		if (feature->value == NULL)
			text_row(feature, at, x);
		else if (feature->modality == FMOE_PRICE)
			price_row(feature->value + at * feature->width, feature->width, x);
		else
			vector_row(feature->value + at * feature->width, feature->width, x);
	}
}

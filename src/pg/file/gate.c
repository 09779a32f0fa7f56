/*
 * gate.c
 *	  The weights of a gate as they leave beside an encoder: names and numbers.
 *
 *	  {"own": [0.8, 0.7], "popularity": [0.35, 0.3], ...}
 *
 * of each expert the weight where what was seen is no answer, and where it is.  What a
 * reader does not know by name, it passes over.
 */
#include "postgres.h"

#include <math.h>

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "pg/file/file.h"

#define WEIGHT_MAX 1000.0		/* what a fit gives is of the order of 1 */

static JsonbValue
number_value(double number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(number)));
	return value;
}

Jsonb *
fmoe_gate_jsonb(const FmoeConfig *config, const FmoeGatePrior *prior)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int expert = 0; expert < FMOE_GATED; expert++)
	{
		const char *name = fmoe_weighed_name(config, expert);
		JsonbValue	key = {.type = jbvString,.val.string = {strlen(name), unconstify(char *, name)}};

		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (int kept = 0; kept < 2; kept++)
		{
			JsonbValue	number = number_value(prior->weight[expert][kept]);

			pushJsonbValue(&state, WJB_ELEM, &number);
		}
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* One of the two numbers of an expert; false: it is not one. */
static bool
take_weight(JsonbContainer *pair, int kept, double *weight)
{
	JsonbValue *value = getIthJsonbValueFromContainer(pair, kept);

	if (value == NULL || value->type != jbvNumeric)
		return false;
	*weight = DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
	return isfinite(*weight) && fabs(*weight) <= WEIGHT_MAX;
}

bool
fmoe_gate_take(const Jsonb *gate, const FmoeConfig *config, FmoeGatePrior *prior)
{
	if (!JB_ROOT_IS_OBJECT(gate))
		return false;
	for (int expert = 0; expert < FMOE_GATED; expert++)
	{
		const char *name = fmoe_weighed_name(config, expert);
		JsonbValue	buffer;
		JsonbValue *pair = getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &gate->root), name,
														strlen(name), &buffer);
		double		weight[2];

		if (pair == NULL)
			continue;
		if (pair->type != jbvBinary || !JsonContainerIsArray(pair->val.binary.data) ||
			JsonContainerSize(pair->val.binary.data) != 2)
			return false;
		for (int kept = 0; kept < 2; kept++)
			if (!take_weight(pair->val.binary.data, kept, &weight[kept]))
				return false;
		memcpy(prior->weight[expert], weight, sizeof(weight));
	}
	return true;
}

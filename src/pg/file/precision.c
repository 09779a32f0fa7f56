/*
 * precision.c
 *	  What an encoder may be changed to before it leaves: clipped, with noise,
 *	  in fewer bits.
 *
 * Clipping scales the encoder, all its arrays as one vector, so that its
 * Euclidean norm is at most C.  Whatever the training data were, two clipped
 * encoders are at most 2 C apart.  With independent Gaussian noise of standard
 * deviation sigma on every weight, the release is (epsilon, delta)
 * differentially private for the training data as a whole, exactly when
 *
 *	  Phi(s / 2 - epsilon / s) - exp(epsilon) Phi(-s / 2 - epsilon / s) <= delta,
 *	  s = 2 C / sigma
 *
 * (Balle and Wang, Improving the Gaussian Mechanism for Differential Privacy,
 * 2018, theorem 8).  The left side falls as epsilon grows, so the smallest
 * epsilon is found by bisection.  Two things are not covered: the facts beside
 * the weights (options, numbers of events, users and items), and what several
 * releases of the same data tell together.
 *
 * float16 rounds each weight to the nearest; int8 keeps for each row, beside
 * the array as "NAME.scale" F32 [rows, 1], the largest absolute value over
 * 127, and the weights as multiples of that.  Both come after the noise, so
 * the privacy it gives stays the same.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "common/string.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"

#include "pg/file/precision.h"
#include "pg/option/option.h"

#define SCALE_SUFFIX ".scale"
#define INT8_LEVELS 127
#define FLOAT16_MAX 65504.0
#define NOISE_STREAM 1
#define PIECE 65536				/* weights between two polls; even */

const char *const fmoe_precision_names[] = {"float32", "float16", "int8", NULL};

#define AT(field) offsetof(FmoeRelease, field)

const FmoeOption fmoe_release_options[] = {
	{"precision", FMOE_OPTION_ENUM, AT(precision), 0, 0, fmoe_precision_names, "float32",
	"type of the weights; int8 has a scale for each row"},
	{"clip", FMOE_OPTION_REAL, AT(clip), 0, 1e6, NULL, "0",
	"largest Euclidean norm of the whole encoder, which is scaled down to it; 0: no limit"},
	{"noise", FMOE_OPTION_REAL, AT(noise), 0, 1e6, NULL, "0",
	"standard deviation of Gaussian noise on every weight, as a multiple of clip; 0: none"},
	{"delta", FMOE_OPTION_REAL, AT(delta), 1e-15, 0.5, NULL, "1e-06",
	"delta for which epsilon is reported"},
	{"seed", FMOE_OPTION_INT64, AT(seed), -1, 9007199254740992.0, NULL, "-1",
	"seed of the noise, for tests: whoever knows it can remove the noise; -1: the system's randomness"},
	{NULL}
};

void
fmoe_release_parse(Jsonb *options, FmoeRelease *release)
{
	memset(release, 0, sizeof(FmoeRelease));
	fmoe_parse_options(options, fmoe_release_options, release);
	if (release->noise > 0 && release->clip == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"noise\" needs option \"clip\""),
				 errdetail("The noise is a multiple of the norm that the encoder is clipped to.")));
}

bool
fmoe_release_is_exact(const FmoeRelease *release)
{
	return release->precision == FMOE_FLOAT32 && release->clip == 0;
}

/* ---------------------------------------------------------------- what noise buys */

/* log(Phi(x)), also where Phi(x) is less than any double. */
static double
log_normal_cdf(double x)
{
	if (x > -30)
		return log(0.5 * erfc(-x * M_SQRT1_2));
	/* the tail's asymptotic series */
	return -0.5 * x * x - log(-x) - 0.5 * log(2 * M_PI) + log1p(-1 / (x * x) + 3 / (x * x * x * x));
}

/* The delta at which noise with sensitivity / sigma = s gives epsilon. */
static double
gaussian_delta(double s, double epsilon)
{
	return 0.5 * erfc(-(s / 2 - epsilon / s) * M_SQRT1_2)
		- exp(epsilon + log_normal_cdf(-s / 2 - epsilon / s));
}

/* The smallest epsilon, from above. */
static double
gaussian_epsilon(double s, double delta)
{
	double		low = 0;
	double		high = 1;

	if (gaussian_delta(s, 0) <= delta)
		return 0;
	while (gaussian_delta(s, high) > delta)
	{
		low = high;
		high *= 2;
	}
	for (int i = 0; i < 100; i++)
	{
		double		middle = (low + high) / 2;

		if (gaussian_delta(s, middle) > delta)
			low = middle;
		else
			high = middle;
	}
	return high;
}

/* ---------------------------------------------------------------- clip and noise */

/* New F32 arrays that may be written to. */
static void
copy_arrays(FmoeExpertFile *file)
{
	FnnArray   *copy = palloc(sizeof(FnnArray) * file->n_arrays);

	for (int i = 0; i < file->n_arrays; i++)
	{
		copy[i] = file->arrays[i];
		copy[i].data = MemoryContextAllocHuge(CurrentMemoryContext, copy[i].bytes);
		memcpy(copy[i].data, file->arrays[i].data, copy[i].bytes);
	}
	file->arrays = copy;
}

static int64
elements(const FnnArray *array)
{
	return array->bytes / sizeof(float);
}

static void
clip_arrays(FmoeExpertFile *file, double clip)
{
	double		squares = 0;
	double		norm;

	for (int i = 0; i < file->n_arrays; i++)
	{
		const float *value = file->arrays[i].data;

		for (int64 k = 0; k < elements(&file->arrays[i]); k++)
			squares += (double) value[k] * value[k];
		CHECK_FOR_INTERRUPTS();
	}
	norm = sqrt(squares);
	if (norm <= clip)
		return;
	ereport(NOTICE,
			(errmsg("the encoder is scaled down to %.2g of its size", clip / norm),
			 errdetail("Its norm is %.4g, the option \"clip\" %.4g.", norm, clip)));
	for (int i = 0; i < file->n_arrays; i++)
	{
		float	   *value = file->arrays[i].data;

		for (int64 k = 0; k < elements(&file->arrays[i]); k++)
			value[k] = value[k] * clip / norm;
		CHECK_FOR_INTERRUPTS();
	}
}

/* Uniform on (0, 1], from the system's randomness. */
static double
uniform_of(uint64 bits)
{
	return ((bits >> 11) + 1) * (1.0 / ((uint64) 1 << 53));
}

/* out[n] = scale * N(0, 1), by Box and Muller from unpredictable random values; n is at most PIECE. */
static void
strong_normals(double scale, int64 n, float *out)
{
	uint64	   *bits = palloc(sizeof(uint64) * PIECE);

	if (!pg_strong_random(bits, sizeof(uint64) * PIECE))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (int64 k = 0; k < n; k += 2)
	{
		double		radius = scale * sqrt(-2 * log(uniform_of(bits[k])));
		double		angle = 2 * M_PI * uniform_of(bits[k + 1]);

		out[k] = radius * cos(angle);
		if (k + 1 < n)
			out[k + 1] = radius * sin(angle);
	}
	explicit_bzero(bits, sizeof(uint64) * PIECE);
	pfree(bits);
}

static void
add_noise(FmoeExpertFile *file, double sigma, int64 seed)
{
	float	   *noise = palloc(sizeof(float) * PIECE);
	uint64		drawn = 0;

	for (int i = 0; i < file->n_arrays; i++)
	{
		float	   *value = file->arrays[i].data;
		int64		n = elements(&file->arrays[i]);

		for (int64 from = 0; from < n; from += PIECE)
		{
			int64		piece = Min(n - from, PIECE);

			if (seed < 0)
				strong_normals(sigma, piece, noise);
			else
				fnn_random_normals(seed, NOISE_STREAM, drawn, sigma, piece, noise);
			drawn += PIECE;
			for (int64 k = 0; k < piece; k++)
				value[from + k] += noise[k];
			CHECK_FOR_INTERRUPTS();
		}
	}
	explicit_bzero(noise, sizeof(float) * PIECE);
	pfree(noise);
}

static void
say_number(JsonbParseState **state, const char *name, double number)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, name);
	value.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &value);
	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(DirectFunctionCall1(float8_numeric, Float8GetDatum(number)));
	pushJsonbValue(state, WJB_VALUE, &value);
}

static Jsonb *
privacy_of(const FmoeRelease *release)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	say_number(&state, "clip", release->clip);
	if (release->noise > 0)
	{
		say_number(&state, "sigma", release->noise * release->clip);
		if (release->seed < 0)
		{
			double		epsilon = gaussian_epsilon(2 / release->noise, release->delta);

			/* six digits, rounded up */
			say_number(&state, "epsilon", strtod(psprintf("%.6g", epsilon * (1 + 5e-6)), NULL));
			say_number(&state, "delta", release->delta);
		}
		else
		{
			value.type = jbvString;
			value.val.string.val = "seeded";
			value.val.string.len = strlen("seeded");
			pushJsonbValue(&state, WJB_KEY, &value);
			value.type = jbvBool;
			value.val.boolean = true;
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---------------------------------------------------------------- fewer bits */

/* To the nearest, ties to even; finite and in range. */
static uint16
half_of(float value)
{
	uint32		bits;
	uint32		sign;
	uint32		rest;
	int			shift;

	memcpy(&bits, &value, sizeof(bits));
	sign = (bits >> 16) & 0x8000;
	bits &= 0x7fffffff;
	if (bits < 0x33000001)		/* at most half of the smallest */
		return sign;
	if (bits < 0x38800000)
	{
		/* subnormal: the significand with its hidden bit, shifted to units of 2^-24 */
		shift = 126 - (int) (bits >> 23);
		bits = (bits & 0x7fffff) | 0x800000;
		rest = bits & ((1u << shift) - 1);
		bits >>= shift;
		if (rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && (bits & 1)))
			bits++;
		return sign | bits;
	}
	bits -= 112u << 23;
	rest = bits & 0x1fff;
	bits >>= 13;
	if (rest > 0x1000 || (rest == 0x1000 && (bits & 1)))
		bits++;
	return sign | bits;
}

static float
float_of(uint16 half)
{
	int			exponent = (half >> 10) & 0x1f;
	int			significand = half & 0x3ff;
	float		value;

	if (exponent == 0)
		value = ldexpf(significand, -24);
	else
		value = ldexpf(significand | 0x400, exponent - 25);
	return half & 0x8000 ? -value : value;
}

static FnnArray
array_like(const FnnArray *array, FnnDtype dtype)
{
	FnnArray	result = *array;

	result.dtype = dtype;
	result.bytes = fnn_dtype_size(dtype);
	for (int i = 0; i < array->ndim; i++)
		result.bytes *= array->shape[i];
	result.data = MemoryContextAllocHuge(CurrentMemoryContext, Max(result.bytes, 1));
	return result;
}

static FnnArray
to_float16(const FnnArray *array)
{
	FnnArray	result = array_like(array, FNN_F16);
	const float *value = array->data;
	uint16	   *half = result.data;

	for (int64 k = 0; k < elements(array); k++)
	{
		/* half a step above the largest float16: from here on values would round to more than it */
		if (!(fabsf(value[k]) < FLOAT16_MAX + 16))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("array \"%s\" holds a weight that is too large for float16", array->name),
					 errhint("Use another precision, or the option \"clip\".")));
		half[k] = half_of(value[k]);
	}
	return result;
}

/* The multiples in array, their scales in *scale. */
static FnnArray
to_int8(const FnnArray *array, FnnArray *scale)
{
	FnnArray	result = array_like(array, FNN_I8);
	int64		rows = array->shape[0];
	int64		cols = array->shape[1];
	const float *value = array->data;
	int8	   *code = result.data;
	FnnArray	shape = *array;

	shape.shape[1] = 1;
	if (snprintf(shape.name, FNN_NAME_MAX, "%s" SCALE_SUFFIX, array->name) >= FNN_NAME_MAX)
		elog(ERROR, "name of array \"%s\" is too long for a scale beside it", array->name);
	*scale = array_like(&shape, FNN_F32);
	for (int64 r = 0; r < rows; r++)
	{
		float		largest = 0;
		float		unit;

		for (int64 c = 0; c < cols; c++)
			largest = Max(largest, fabsf(value[r * cols + c]));
		unit = largest / INT8_LEVELS;
		((float *) scale->data)[r] = unit;
		for (int64 c = 0; c < cols; c++)
		{
			/* a unit that is subnormal has lost digits */
			double		multiple = unit > 0 ? rint(value[r * cols + c] / unit) : 0;

			code[r * cols + c] = (int8) Max(Min(multiple, INT8_LEVELS), -INT8_LEVELS);
		}
	}
	return result;
}

static void
reduce_arrays(FmoeExpertFile *file, FmoePrecision precision)
{
	FnnArray   *reduced = palloc0(sizeof(FnnArray) * 2 * file->n_arrays);
	int			n = 0;

	for (int i = 0; i < file->n_arrays; i++)
	{
		if (precision == FMOE_FLOAT16)
			reduced[n++] = to_float16(&file->arrays[i]);
		else
		{
			reduced[n] = to_int8(&file->arrays[i], &reduced[n + 1]);
			n += 2;
		}
		CHECK_FOR_INTERRUPTS();
	}
	file->arrays = reduced;
	file->n_arrays = n;
}

void
fmoe_release_apply(const FmoeRelease *release, FmoeExpertFile *file)
{
	file->precision = fmoe_precision_names[release->precision];
	if (release->clip > 0)
	{
		copy_arrays(file);
		clip_arrays(file, release->clip);
		if (release->noise > 0)
			add_noise(file, release->noise * release->clip, release->seed);
		file->privacy = privacy_of(release);
	}
	if (release->precision != FMOE_FLOAT32)
		reduce_arrays(file, release->precision);
}

/* ---------------------------------------------------------------- the way back */

static FnnArray
from_float16(const FnnArray *array)
{
	FnnArray	result = array_like(array, FNN_F32);
	const uint16 *half = array->data;

	for (int64 k = 0; k < elements(&result); k++)
		((float *) result.data)[k] = float_of(half[k]);
	return result;
}

/* The scales of an array; NULL: there are none, or they do not fit. */
static const FnnArray *
scale_of(const FmoeExpertFile *file, const FnnArray *array)
{
	for (int i = 0; i < file->n_arrays; i++)
	{
		const FnnArray *scale = &file->arrays[i];
		size_t		length = strlen(array->name);

		if (strncmp(scale->name, array->name, length) != 0 || strcmp(scale->name + length, SCALE_SUFFIX) != 0)
			continue;
		if (scale->dtype != FNN_F32 || scale->ndim != 2 || scale->shape[0] != array->shape[0] || scale->shape[1] != 1)
			return NULL;
		for (int64 r = 0; r < scale->shape[0]; r++)
		{
			float		unit = ((float *) scale->data)[r];

			if (!(unit >= 0 && unit <= FLT_MAX / 128))
				return NULL;
		}
		return scale;
	}
	return NULL;
}

static FnnArray
from_int8(const FnnArray *array, const FnnArray *scale)
{
	FnnArray	result = array_like(array, FNN_F32);
	const int8 *code = array->data;
	int64		cols = array->shape[1];

	for (int64 k = 0; k < elements(&result); k++)
		((float *) result.data)[k] = code[k] * ((float *) scale->data)[k / cols];
	return result;
}

/* Turns one array of the file into F32; false: it cannot be.  Scales go with the array they belong to. */
static bool
restore_array(const FmoeExpertFile *file, const FnnArray *array, FnnArray *restored)
{
	const FnnArray *scale;

	if (strcmp(file->precision, fmoe_precision_names[FMOE_FLOAT16]) == 0)
	{
		if (array->dtype == FNN_F16)
			*restored = from_float16(array);
		return array->dtype == FNN_F16;
	}
	if (array->dtype != FNN_I8 || array->ndim != 2)
		return false;
	scale = scale_of(file, array);
	if (scale == NULL)
		return false;
	*restored = from_int8(array, scale);
	return true;
}

bool
fmoe_release_restore(FmoeExpertFile *file, const char **problem)
{
	bool		scaled = strcmp(file->precision, fmoe_precision_names[FMOE_INT8]) == 0;
	FnnArray   *restored;
	size_t		bytes = 0;
	int			n = 0;
	int			scales = 0;

	if (strcmp(file->precision, fmoe_precision_names[FMOE_FLOAT32]) == 0)
		return true;
	for (int i = 0; i < file->n_arrays; i++)
		bytes += file->arrays[i].bytes;
	fmoe_check_memory(5 * bytes, "an expert in fewer bits");

	restored = palloc0(sizeof(FnnArray) * Max(file->n_arrays, 1));
	for (int i = 0; i < file->n_arrays; i++)
	{
		const FnnArray *array = &file->arrays[i];

		if (scaled && array->dtype == FNN_F32)
			scales++;
		else if (!restore_array(file, array, &restored[n++]))
		{
			*problem = psprintf("Array \"%s\" is not what precision \"%s\" has, or its scales are not.",
								pg_is_ascii(array->name) ? array->name : "?", file->precision);
			return false;
		}
		CHECK_FOR_INTERRUPTS();
	}
	if (scaled && scales != n)
	{
		*problem = "It has more scales than arrays.";
		return false;
	}
	file->arrays = restored;
	file->n_arrays = n;
	return true;
}

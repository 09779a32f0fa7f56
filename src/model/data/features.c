/*
 * features.c
 *	  Features of items and users as arrays of a version, and back.
 *
 *	  dense	  PREFIX.NAME.MODALITY.value	F32 [n, width]
 *	  bag	  PREFIX.NAME.MODALITY.offset	I64 [n + 1]
 *			  PREFIX.NAME.MODALITY.term		I32 [terms of all]
 *			  PREFIX.NAME.MODALITY.weight	F32 [terms of all], or there is none
 *			  PREFIX.NAME.MODALITY.width	I32 [1]
 *			  PREFIX.NAME.MODALITY.scale	F32 [width], or there is none
 *			  PREFIX.NAME.MODALITY.name_offset	I64 [width + 1], with name_bytes or neither
 *			  PREFIX.NAME.MODALITY.name_bytes	U8 [bytes of all names]
 */
#include "model/data/features.h"
#include "model/data/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define POLL_EVERY 0xffff

static const char *const prefixes[] = {
	[FMOE_OF_ITEMS] = "feature.",
	[FMOE_OF_USERS] = "user_feature."
};

static const char *const modalities[FMOE_MODALITIES] = {
	[FMOE_TEXT] = "text",
	[FMOE_CATEGORY] = "category",
	[FMOE_PRICE] = "price",
	[FMOE_VECTOR] = "vector"
};

const FmoeFeature *
fmoe_feature(const FmoeFeatures *features, const char *name)
{
	for (int i = 0; features != NULL && i < features->count; i++)
		if (strcmp(features->feature[i].name, name) == 0)
			return &features->feature[i];
	return NULL;
}

const char *
fmoe_feature_term_name(const FmoeFeature *feature, int32_t term, size_t *bytes)
{
	*bytes = (size_t) (feature->name_offset[term + 1] - feature->name_offset[term]);
	return feature->name_bytes + feature->name_offset[term];
}

int
fmoe_compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
	int			order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);

	return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

int32_t
fmoe_feature_term(const FmoeFeature *feature, const char *name, size_t bytes)
{
	int32_t		low = 0;
	int32_t		high = feature->name_offset != NULL ? feature->width : 0;

	while (low < high)
	{
		int32_t		middle = low + (high - low) / 2;
		size_t		length;
		const char *there = fmoe_feature_term_name(feature, middle, &length);
		int			order = fmoe_compare_names(there, length, name, bytes);

		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

/* ---------------------------------------------------------------- to arrays */

static void
put(FnnArray *array, const FmoeFeature *feature, FmoeFeaturesOf of, const char *what, FnnDtype dtype,
	int64_t rows, int64_t cols, const void *data)
{
	memset(array, 0, sizeof(*array));
	snprintf(array->name, sizeof(array->name), "%s%s.%s.%s", prefixes[of], feature->name,
			 modalities[feature->modality], what);
	array->dtype = dtype;
	array->ndim = cols > 0 ? 2 : 1;
	array->shape[0] = rows;
	array->shape[1] = cols;
	array->data = (void *) data;
	array->bytes = (size_t) rows * (size_t) (cols > 0 ? cols : 1) * fnn_dtype_size(dtype);
}

int
fmoe_features_arrays(const FmoeFeatures *features, FmoeFeaturesOf of, FnnArray *out, int max)
{
	int			n = 0;

	for (int i = 0; features != NULL && i < features->count && n + 7 <= max; i++)
	{
		const FmoeFeature *feature = &features->feature[i];
		int64_t		terms;

		if (feature->value != NULL)
		{
			put(&out[n++], feature, of, "value", FNN_F32, features->n, feature->width, feature->value);
			continue;
		}
		terms = feature->offset[features->n];
		put(&out[n++], feature, of, "offset", FNN_I64, features->n + 1, 0, feature->offset);
		put(&out[n++], feature, of, "term", FNN_I32, terms, 0, feature->term);
		if (feature->weight != NULL)
			put(&out[n++], feature, of, "weight", FNN_F32, terms, 0, feature->weight);
		put(&out[n++], feature, of, "width", FNN_I32, 1, 0, &feature->width);
		if (feature->scale != NULL)
			put(&out[n++], feature, of, "scale", FNN_F32, feature->width, 0, feature->scale);
		if (feature->name_offset == NULL)
			continue;
		put(&out[n++], feature, of, "name_offset", FNN_I64, feature->width + 1, 0, feature->name_offset);
		put(&out[n++], feature, of, "name_bytes", FNN_U8, feature->name_offset[feature->width], 0,
			feature->name_bytes);
	}
	return n;
}

/* ---------------------------------------------------------------- copies */

/* Where a feature's pointers are in it. */
static const size_t pointers[] = {
	offsetof(FmoeFeature, value),
	offsetof(FmoeFeature, offset),
	offsetof(FmoeFeature, term),
	offsetof(FmoeFeature, weight),
	offsetof(FmoeFeature, scale),
	offsetof(FmoeFeature, name_offset),
	offsetof(FmoeFeature, name_bytes)
};

#define POINTERS ((int) (sizeof(pointers) / sizeof(pointers[0])))

/* Bytes behind a pointer of a feature of n rows. */
static size_t
bytes_behind(const FmoeFeature *feature, size_t pointer, size_t n)
{
	if (pointer == offsetof(FmoeFeature, value))
		return sizeof(float) * n * (size_t) feature->width;
	if (pointer == offsetof(FmoeFeature, offset))
		return sizeof(int64_t) * (n + 1);
	if (pointer == offsetof(FmoeFeature, scale))
		return sizeof(float) * (size_t) feature->width;
	if (pointer == offsetof(FmoeFeature, name_offset))
		return sizeof(int64_t) * ((size_t) feature->width + 1);
	if (pointer == offsetof(FmoeFeature, name_bytes))
		return (size_t) feature->name_offset[feature->width];
	if (pointer == offsetof(FmoeFeature, term))
		return sizeof(int32_t) * (size_t) feature->offset[n];
	return sizeof(float) * (size_t) feature->offset[n];
}

static const char *
get(const FmoeFeature *feature, size_t pointer)
{
	const char *value;

	memcpy(&value, (const char *) feature + pointer, sizeof(value));
	return value;
}

static void
set(FmoeFeature *feature, size_t pointer, const char *value)
{
	memcpy((char *) feature + pointer, &value, sizeof(value));
}

size_t
fmoe_features_bytes(const FmoeFeatures *features)
{
	size_t		bytes = 0;

	for (int i = 0; features != NULL && i < features->count; i++)
		for (int p = 0; p < POINTERS; p++)
			if (get(&features->feature[i], pointers[p]) != NULL)
				bytes += fnn_aligned(bytes_behind(&features->feature[i], pointers[p], (size_t) features->n));
	return bytes;
}

void
fmoe_features_copy(FmoeFeatures *to, const FmoeFeatures *from, void *block)
{
	char	   *next = block;

	memset(to, 0, sizeof(*to));
	if (from == NULL)
		return;
	*to = *from;
	for (int i = 0; i < from->count; i++)
		for (int p = 0; p < POINTERS; p++)
		{
			const char *source = get(&from->feature[i], pointers[p]);
			size_t		bytes;

			if (source == NULL)
				continue;
			bytes = bytes_behind(&from->feature[i], pointers[p], (size_t) from->n);
			memcpy(next, source, bytes);
			set(&to->feature[i], pointers[p], next);
			next += fnn_aligned(bytes);
		}
}

void
fmoe_features_moved(FmoeFeatures *features, ptrdiff_t by)
{
	for (int i = 0; i < features->count; i++)
		for (int p = 0; p < POINTERS; p++)
			if (get(&features->feature[i], pointers[p]) != NULL)
				set(&features->feature[i], pointers[p], get(&features->feature[i], pointers[p]) + by);
}

/* ---------------------------------------------------------------- from arrays */

/* Splits PREFIX.NAME.MODALITY.what; false: the array is no feature's. */
static bool
parse_name(const char *name, FmoeFeaturesOf of, FmoeFeature *feature, const char **what)
{
	size_t		prefix = strlen(prefixes[of]);
	const char *last;
	const char *modality;

	if (strncmp(name, prefixes[of], prefix) != 0)
		return false;
	name += prefix;
	last = strrchr(name, '.');
	for (modality = last; modality != NULL && modality > name && modality[-1] != '.'; modality--)
		;
	if (modality == NULL || modality - 1 <= name || (size_t) (modality - 1 - name) >= sizeof(feature->name))
		return false;
	memset(feature, 0, sizeof(*feature));
	memcpy(feature->name, name, (size_t) (modality - 1 - name));
	*what = last + 1;
	for (int i = 0; i < FMOE_MODALITIES; i++)
	{
		feature->modality = (FmoeModality) i;
		if (strlen(modalities[i]) == (size_t) (last - modality) &&
			strncmp(modalities[i], modality, last - modality) == 0)
			return true;
	}
	return false;
}

bool
fmoe_features_may_lack(const char *name)
{
	FmoeFeature feature;
	const char *what;

	for (int of = 0; of < (int) (sizeof(prefixes) / sizeof(prefixes[0])); of++)
		if (parse_name(name, (FmoeFeaturesOf) of, &feature, &what))
			return strcmp(what, "value") == 0;
	return false;
}

static const void *
take(const FnnHost *host, const FnnArray *array, FnnDtype dtype, int ndim)
{
	size_t		bytes = fnn_dtype_size(dtype);

	if (array->dtype != dtype || array->ndim != ndim)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" is not of type %s with %d dimensions", array->name,
				 fnn_dtype_name(dtype), ndim);
	for (int d = 0; d < ndim; d++)
		bytes = fnn_mul_size(host, bytes, array->shape[d] < 0 ? 0 : (size_t) array->shape[d]);
	if (array->bytes != bytes)
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %zu bytes, which is not what its shape needs", array->name,
				 array->bytes);
	return array->data;
}

static FmoeFeature *
find_or_add(FmoeFeatures *features, const FnnHost *host, const FmoeFeature *named)
{
	FmoeFeature *feature = (FmoeFeature *) fmoe_feature(features, named->name);

	if (feature != NULL && feature->modality != named->modality)
		fnn_fail(host, FNN_FORMAT, "feature \"%s\" is of two kinds", named->name);
	if (feature != NULL)
		return feature;
	if (features->count == FMOE_FEATURES_MAX)
		fnn_fail(host, FNN_FORMAT, "there are more than %d features", FMOE_FEATURES_MAX);
	feature = &features->feature[features->count++];
	*feature = *named;
	return feature;
}

static int32_t
rows_of(const FnnHost *host, const FnnArray *array, int64_t rows, int32_t n)
{
	if (rows < 0 || rows > INT32_MAX || (n >= 0 && rows != n))
		fnn_fail(host, FNN_FORMAT, "array \"%s\" has %lld rows where %d are expected", array->name, (long long) rows,
				 (int) n);
	return (int32_t) rows;
}

/* How long a bag's arrays are, as their shapes say. */
typedef struct Lengths
{
	int64_t		term;
	int64_t		weight;
	int64_t		scale;
	int64_t		name_offset;
	int64_t		name_bytes;
} Lengths;

static void
check_ascending(const FnnHost *host, const FmoeFeature *feature, const int64_t *offset, int64_t n)
{
	if (offset[0] != 0)
		fnn_fail(host, FNN_FORMAT, "the offsets of feature \"%s\" do not begin with 0", feature->name);
	for (int64_t i = 0; i < n; i++)
	{
		if (offset[i] > offset[i + 1])
			fnn_fail(host, FNN_FORMAT, "the offsets of feature \"%s\" are not ascending", feature->name);
		if ((i & POLL_EVERY) == 0)
			fnn_poll(host);
	}
}

static void
check_names(const FnnHost *host, const FmoeFeature *feature)
{
	size_t		before_bytes = 0;
	const char *before = feature->name_bytes;

	check_ascending(host, feature, feature->name_offset, feature->width);
	for (int32_t t = 0; t < feature->width; t++)
	{
		size_t		bytes;
		const char *name = fmoe_feature_term_name(feature, t, &bytes);

		if (bytes == 0 || !fmoe_text_valid(name, bytes))
			fnn_fail(host, FNN_FORMAT, "a name of feature \"%s\" is not UTF-8", feature->name);
		if (fmoe_compare_names(before, before_bytes, name, bytes) >= 0)
			fnn_fail(host, FNN_FORMAT, "the names of feature \"%s\" are not ascending", feature->name);
		before = name;
		before_bytes = bytes;
		if ((t & POLL_EVERY) == 0)
			fnn_poll(host);
	}
}

static void
check_bag(const FnnHost *host, const FmoeFeature *feature, int32_t n)
{
	int64_t		terms = feature->offset[n];

	check_ascending(host, feature, feature->offset, n);
	for (int64_t k = 0; k < terms; k++)
	{
		if (feature->term[k] < 0 || feature->term[k] >= feature->width)
			fnn_fail(host, FNN_FORMAT, "feature \"%s\" has a term out of range", feature->name);
		if (feature->weight != NULL && !isfinite(feature->weight[k]))
			fnn_fail(host, FNN_FORMAT, "feature \"%s\" has a weight that is not finite", feature->name);
		if ((k & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	for (int32_t t = 0; feature->scale != NULL && t < feature->width; t++)
		if (!isfinite(feature->scale[t]))
			fnn_fail(host, FNN_FORMAT, "feature \"%s\" has a scale that is not finite", feature->name);
	if (feature->name_offset != NULL)
		check_names(host, feature);
}

/* A row is known, or it is not. */
static void
check_dense(const FnnHost *host, const FmoeFeature *feature, int32_t n)
{
	for (int64_t i = 0; i < (int64_t) n * feature->width; i++)
	{
		const float *row = feature->value + i / feature->width * feature->width;

		if (isnan(row[0]) ? !isnan(feature->value[i]) : !isfinite(feature->value[i]))
			fnn_fail(host, FNN_FORMAT, "feature \"%s\" has a row that is known in part", feature->name);
		if ((i & POLL_EVERY) == 0)
			fnn_poll(host);
	}
}

/* Lengths of a bag's arrays agree, and with its last offsets. */
static void
check_lengths(const FnnHost *host, const FmoeFeature *feature, int32_t n, const Lengths *length)
{
	bool		bag = feature->value == NULL;
	bool		names = feature->name_offset != NULL;

	if (!bag)
	{
		if (feature->offset != NULL || feature->term != NULL || feature->weight != NULL || feature->scale != NULL ||
			names || feature->name_bytes != NULL)
			fnn_fail(host, FNN_FORMAT, "feature \"%s\" is both dense and a bag", feature->name);
		return;
	}
	if (feature->offset == NULL || feature->term == NULL || feature->width < 1 ||
		names != (feature->name_bytes != NULL))
		fnn_fail(host, FNN_FORMAT, "feature \"%s\" lacks an array", feature->name);
	if (feature->offset[n] != length->term || (feature->weight != NULL && length->weight != length->term) ||
		(feature->scale != NULL && length->scale != feature->width) ||
		(names && (length->name_offset != (int64_t) feature->width + 1 ||
				   feature->name_offset[feature->width] != length->name_bytes)))
		fnn_fail(host, FNN_FORMAT, "the arrays of feature \"%s\" do not fit each other", feature->name);
}

/* Takes an array of one dimension into the feature's member that is named what; false: there is no such member. */
static bool
take_of_bag(FmoeFeature *feature, Lengths *length, const FnnHost *host, const FnnArray *array, const char *what)
{
	if (strcmp(what, "term") == 0)
	{
		feature->term = take(host, array, FNN_I32, 1);
		length->term = array->shape[0];
	}
	else if (strcmp(what, "weight") == 0)
	{
		feature->weight = take(host, array, FNN_F32, 1);
		length->weight = array->shape[0];
	}
	else if (strcmp(what, "scale") == 0)
	{
		feature->scale = take(host, array, FNN_F32, 1);
		length->scale = array->shape[0];
	}
	else if (strcmp(what, "name_offset") == 0)
	{
		feature->name_offset = take(host, array, FNN_I64, 1);
		length->name_offset = array->shape[0];
	}
	else if (strcmp(what, "name_bytes") == 0)
	{
		feature->name_bytes = take(host, array, FNN_U8, 1);
		length->name_bytes = array->shape[0];
	}
	else if (strcmp(what, "width") == 0 && array->shape[0] == 1)
		feature->width = *(const int32_t *) take(host, array, FNN_I32, 1);
	else
		return false;
	return true;
}

void
fmoe_features_bind(FmoeFeatures *features, const FnnHost *host, FmoeFeaturesOf of, int32_t n,
				   int n_arrays, const FnnArray *arrays, bool check)
{
	Lengths		length[FMOE_FEATURES_MAX] = {{0}};

	memset(features, 0, sizeof(*features));
	for (int i = 0; i < n_arrays; i++)
	{
		const FnnArray *array = &arrays[i];
		FmoeFeature named;
		FmoeFeature *feature;
		const char *what;

		if (!parse_name(array->name, of, &named, &what))
			continue;
		feature = find_or_add(features, host, &named);
		if (strcmp(what, "value") == 0)
		{
			feature->value = take(host, array, FNN_F32, 2);
			feature->width = rows_of(host, array, array->shape[1], -1);
			n = rows_of(host, array, array->shape[0], n);
		}
		else if (strcmp(what, "offset") == 0)
		{
			feature->offset = take(host, array, FNN_I64, 1);
			n = rows_of(host, array, array->shape[0] - 1, n);
		}
		else if (!take_of_bag(feature, &length[feature - features->feature], host, array, what))
			fnn_fail(host, FNN_FORMAT, "array \"%s\" is not part of a feature", array->name);
	}
	features->n = n < 0 ? 0 : n;
	for (int i = 0; i < features->count; i++)
	{
		check_lengths(host, &features->feature[i], features->n, &length[i]);
		if (check && features->feature[i].value == NULL)
			check_bag(host, &features->feature[i], features->n);
		else if (check)
			check_dense(host, &features->feature[i], features->n);
	}
}

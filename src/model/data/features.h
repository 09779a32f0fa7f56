/*
 * features.h
 *	  What is known of items, or of users, beside what was chosen.
 *
 * There are two forms.  Given vectors and scaled prices are dense rows; texts
 * and categories are bags of terms.  Features are arrays of a version like all
 * others, whose names begin with "feature.NAME." for items and with
 * "user_feature.NAME." for users; so stores, files and caches carry them without
 * knowing what they are.
 */
#ifndef FMOE_MODEL_DATA_FEATURES_H
#define FMOE_MODEL_DATA_FEATURES_H

#include "nn/nn.h"

#define FMOE_FEATURES_MAX 16
#define FMOE_FEATURE_NAME_MAX 32	/* NUL included */
#define FMOE_FEATURE_ARRAYS_MAX (7 * FMOE_FEATURES_MAX)

typedef enum FmoeModality
{
	FMOE_TEXT,
	FMOE_CATEGORY,
	FMOE_PRICE,
	FMOE_VECTOR
} FmoeModality;

#define FMOE_MODALITIES (FMOE_VECTOR + 1)

typedef struct FmoeFeature
{
	char		name[FMOE_FEATURE_NAME_MAX];
	FmoeModality modality;
	int32_t		width;			/* reals of a dense row; of a bag, how many different terms there are */
	const float *value;			/* dense [n, width], a row of NaN where nothing is known; NULL: a bag */
	const int64_t *offset;		/* bag: [n + 1] */
	const int32_t *term;		/* bag: [offset[n]] 0 .. width - 1 */
	const float *weight;		/* bag: [offset[n]]; NULL: all 1 */
	const float *scale;			/* bag: [width] how much a term says: ln((n + 1) / rows that have it); NULL: all 1 */
	const int64_t *name_offset; /* bag: [width + 1] where each term's name begins; NULL: terms have no names */
	const char *name_bytes;		/* bag: [name_offset[width]] names in UTF-8, one after the other, ascending by bytes */
} FmoeFeature;

typedef struct FmoeFeatures
{
	int32_t		n;				/* items, or users */
	int			count;
	FmoeFeature feature[FMOE_FEATURES_MAX];
} FmoeFeatures;

/* Whose features: what their arrays' names begin with. */
typedef enum FmoeFeaturesOf
{
	FMOE_OF_ITEMS,
	FMOE_OF_USERS
} FmoeFeaturesOf;

/* NULL: there is no feature of that name. */
extern const FmoeFeature *fmoe_feature(const FmoeFeatures *features, const char *name);
/* The features as named arrays over the same memory: fills at most max elements of out, returns their number. */
extern int	fmoe_features_arrays(const FmoeFeatures *features, FmoeFeaturesOf of, FnnArray *out, int max);
/*
 * Finds the features among arrays, over the same memory; count is 0 when there
 * are none.  n: how many rows they must have; negative: any number.  Fails with
 * FNN_FORMAT, naming the array, when a shape or type is wrong.  With check,
 * which arrays from outside need, also when an offset or a term is out of range,
 * a scale is not finite, names are empty, not UTF-8 or not ascending, or a dense row
 * is neither finite nor NaN throughout.
 */
extern void fmoe_features_bind(FmoeFeatures *features, const FnnHost *host, FmoeFeaturesOf of, int32_t n,
							   int n_arrays, const FnnArray *arrays, bool check);

/* Whether an array of that name may hold NaN, which fmoe_features_bind then checks. */
extern bool fmoe_features_may_lack(const char *name);

/* The name of a bag's term; *bytes is its length. */
extern const char *fmoe_feature_term_name(const FmoeFeature *feature, int32_t term, size_t *bytes);
/* The term of that name; -1: there is none, or terms have no names. */
extern int32_t fmoe_feature_term(const FmoeFeature *feature, const char *name, size_t bytes);
/* As memcmp, where a name that another begins with comes first: the order of names. */
extern int	fmoe_compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

/* Bytes of a block for a copy of features (NULL: none). */
extern size_t fmoe_features_bytes(const FmoeFeatures *features);
/* Copies features (NULL: none) into such a block, aligned to FNN_ALIGN. */
extern void fmoe_features_copy(FmoeFeatures *to, const FmoeFeatures *from, void *block);
/* Adjusts features to a block that is mapped so many bytes further on than when they were copied. */
extern void fmoe_features_moved(FmoeFeatures *features, ptrdiff_t by);

#endif							/* FMOE_MODEL_DATA_FEATURES_H */

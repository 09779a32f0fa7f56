/*
 * codes.h
 *	  What the files of a scan share: products of rows with one vector, codes
 *	  and bounds, by instruction set.
 */
#ifndef FNN_SEARCH_CODES_H
#define FNN_SEARCH_CODES_H

#include "nn/search/search.h"

/* As fnn_products. */
typedef void (*FnnDots) (int64_t n, int64_t cols, const fnn_real *table, const int32_t *item,
						 const fnn_real *vector, fnn_real *product);

/* All this CPU can run, the fastest first, for tests: NULL past the last. */
extern FnnDots fnn_dots_variant(int index);

/* Rows that are looked at together: a word of a set. */
#define FNN_CODES_TILE 64

/* Bytes of a tile in one plane: pairs is what fnn_codes_pairs() says. */
#define FNN_TILE_BYTES(pairs) ((pairs) * FNN_CODES_TILE * 4)

/*
 * sum[tiles * FNN_CODES_TILE] of half a byte of each element's code times the
 * vector's whole number there: tile[tiles, pairs, 4, 16, 4] is a plane's, digit
 * [pairs, 2, 2, 4] is what fnn_bound_init made of the vector.
 */
typedef void (*FnnPlane) (int64_t tiles, int64_t pairs, const uint8_t *tile, const int8_t *digit, int32_t *sum);
extern FnnPlane fnn_plane_variant(int index);

/* A table's codes (codes.c says what they mean); the offsets are in bytes from here. */
typedef struct FnnCodes
{
	int64_t		rows;
	int64_t		cols;
	int64_t		tiles;
	int64_t		pairs;			/* of four columns each, in one plane */
	double		length;			/* of the longest row; NaN: the numbers are beyond what bounds are good for */
	size_t		center;			/* real [cols] */
	size_t		spread;			/* real [cols] */
	size_t		scale;			/* uint16 [tiles * FNN_CODES_TILE], the upper half of a float */
	size_t		plane[2];		/* [tiles, pairs, 4, 16, 4]: upper, lower half of the codes */
} FnnCodes;

/*
 * What a vector's products with the rows are at most:
 *	  scale[row] * (step * sum + offset) + base
 * by the upper halves alone (rough), and by both (fine, sum the lower ones' plus 16 times the upper ones').
 */
typedef struct FnnBound
{
	int8_t	   *digit;			/* [pairs, 2, 2, 4] */
	double		base;
	float		rough_step;
	float		rough_offset;
	float		fine_step;
	float		fine_offset;
	int32_t		fine_shift;		/* added to the fine sum first */
} FnnBound;

/* Makes the bound of a vector; false: vector or table have numbers too large or too small for bounds. */
extern bool fnn_bound_init(FnnBound *bound, FnnArena *arena, const FnnCodes *codes, const fnn_real *vector);

/*
 * By how much a row's products with a vector of a length may differ between
 * two kernels.  False as above.
 */
extern bool fnn_products_differ(const FnnCodes *codes, double length, double *difference);

#endif							/* FNN_SEARCH_CODES_H */

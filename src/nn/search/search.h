/*
 * search.h
 *	  The best of many scores: rankings and their metrics, scans of a table for the largest products.
 */
#ifndef FNN_SEARCH_SEARCH_H
#define FNN_SEARCH_SEARCH_H

#include "nn/base/base.h"

/* ---------------------------------------------------------------- ranking */

typedef struct FnnTopk
{
	int32_t		k;				/* capacity */
	int32_t		count;			/* filled */
	int32_t    *item;			/* [k] a heap until fnn_topk_sort, then best first */
	fnn_real   *score;			/* [k] */
} FnnTopk;

/* An empty ranking of at most k items, over item[k] and score[k]. */
extern void fnn_topk_init(FnnTopk *topk, int32_t k, int32_t *item, fnn_real *score);
/* Offers items first .. first + n - 1 with their scores; a NaN score never enters. */
extern void fnn_topk_offer(FnnTopk *topk, int32_t first, int64_t n, const fnn_real *score);
/* Sorts the ranking best first: by descending score, equal ones by ascending item. */
extern void fnn_topk_sort(FnnTopk *topk);

/*
 * rank[n_answers] of the answers, which differ from each other, among all n
 * items, 1 = best: 1 + the number of answers before it, by descending score and
 * equal ones as they stand, + the number of other items whose score is not lower
 * (a tie counts against the answer, and a NaN score of an answer ranks last).
 * excluded[n_excluded] (any order, repeats allowed; answers among them are ranked
 * all the same) do not take part.  Scores of answers and excluded items are
 * overwritten.
 */
extern void fnn_ranks(FnnArena *arena, fnn_real *score, int64_t n, const int32_t *answer, int64_t n_answers,
					  const int32_t *excluded, int64_t n_excluded, int32_t *rank);

/* Items by descending value, and what ranking along that order needs. */
typedef struct FnnOrder
{
	int32_t		n;
	int32_t    *item;			/* [n] */
	int32_t    *place;			/* [n] where each item is in it */
	uint8_t    *mark;			/* [n] 0 between two rankings */
} FnnOrder;

/* The order of value[n], where what is not a number comes first; on the arena. */
extern void fnn_order_init(FnnOrder *order, FnnArena *arena, int32_t n, const float *value);
/* Bytes on the arena of the order of n items, while it is made. */
extern size_t fnn_order_bytes(int32_t n);

/* score[n] of items */
typedef void (*FnnScoring) (void *context, FnnArena *arena, int64_t n, const int32_t *item, fnn_real *score);

/*
 * fnn_ranks, the same ranks, without the scores of all items: those of all but
 * moved[n_moved] (any order, repeats allowed) do not rise along the order.  Looks
 * at the scores of answers and moved items, and at a few others for each answer.
 */
extern void fnn_ranks_along(FnnArena *arena, const FnnOrder *order, FnnScoring scoring, void *context,
							const int32_t *answer, int64_t n_answers, const int32_t *excluded, int64_t n_excluded,
							const int32_t *moved, int64_t n_moved, int32_t *rank);

/* ---------------------------------------------------------------- scanning */

/*
 * The rows of a table with the largest products with one vector.  A row's
 * product has the same bits however the row was come by: in a scan of all, in
 * one that passes most rows over, or asked for alone.
 */

/* product[n] of vector[cols] with rows item[n] of the table, which has cols columns; item NULL: rows 0 .. n - 1 */
extern void fnn_products(int64_t n, int64_t cols, const fnn_real *table, const int32_t *item,
						 const fnn_real *vector, fnn_real *product);

/* length[n] of rows [n, cols], by their squares */
extern void fnn_lengths(int64_t n, int64_t cols, const fnn_real *row, double *length);

/*
 * A copy of a table with 8 bits an element.  A scan of it finds out which rows
 * cannot be among the best, and reads an eighth of the memory to do so.  One
 * block without pointers, aligned to FNN_ALIGN.
 */
extern size_t fnn_codes_bytes(int64_t rows, int64_t cols);
extern void fnn_codes_build(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, void *codes);

/* Bits of a set of rows: row i is in word[i / 64], bit i % 64. */
static inline size_t
fnn_set_words(int64_t rows)
{
	return (size_t) ((rows + 63) / 64);
}

/*
 * Offers to topk every row of table[rows, cols] but those in the set passed
 * (NULL: none), by its product plus added[rows] (NULL: by its product).  With
 * codes of the same table, rows are left out for which that is certainly too small;
 * what topk holds in the end is the same.
 */
extern void fnn_scan(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
					 const fnn_real *vector, const float *added, const uint64_t *passed, FnnTopk *topk);

/* Rows in ascending order; repeats allowed. */
typedef struct FnnRows
{
	int64_t		count;
	const int32_t *row;
} FnnRows;

/*
 * fnn_scan for each of vectors[n, cols] and its topk[n], with added[n] (NULL: none
 * for any), passing over passed[n] and, for all of them, the set never (NULL: none),
 * at the speed of a matrix product where there are codes.
 */
extern void fnn_scan_many(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
						  int64_t n, const fnn_real *vectors, const float *const *added, const uint64_t *never,
						  const FnnRows *passed, FnnTopk *topk);

/* Place of a row among n ascending ones; -1: it is not there. */
extern int64_t fnn_find_ascending(int64_t n, const int32_t *ascending, int32_t row);

#endif							/* FNN_SEARCH_SEARCH_H */

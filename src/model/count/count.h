/*
 * count.h
 *	  Experts that count what happened beside what, and what these share.
 *
 * Each is one pass over the events that train, and a model by itself.  Their
 * scores have fixed scales, so that weights found on one domain mean the same on
 * another: the logarithm of a count, or of a hundred times a share, halved.
 */
#ifndef FMOE_MODEL_COUNT_COUNT_H
#define FMOE_MODEL_COUNT_COUNT_H

#include "model/expert/class.h"

extern const FmoeExpertClass fmoe_recent_class;
extern const FmoeExpertClass fmoe_sequence_class;
extern const FmoeExpertClass fmoe_neighbours_class;
extern const FmoeExpertClass fmoe_repeat_class;
extern const FmoeExpertClass fmoe_content_class;

/* What a model of clicks must beat. */
extern const FmoeExpertClass fmoe_constant_class;
extern const FmoeExpertClass fmoe_user_rate_class;
extern const FmoeExpertClass fmoe_user_category_rate_class;

/* What an event's weight falls to with each basket that came after it. */
#define FMOE_AGE_DECAY 0.8
/* Neighbours of an item that are kept: those with the largest values. */
#define FMOE_NEIGHBOURS_MAX 256
/* Events of a user that pairs of a sequence are counted in, and that an item's neighbours are: the last ones. */
#define FMOE_SEQUENCE_EVENTS 50
#define FMOE_NEIGHBOURS_EVENTS 200
/* A basket that such a limit cuts counts whole when it has no more events, else not at all. */
#define FMOE_WHOLE_BASKET_MAX 256

/* What popularity's level weighs, where it only orders what is equal. */
#define FMOE_TIE_BREAK 1e-3

/* ---------------------------------------------------------------- scores of a history */

/*
 * The weight of a history's event: decay^(baskets after its own) / number of events
 * in its basket.  Fills weight of the last tokens of a sequence that is not
 * empty, at most FMOE_SEQUENCE_EVENTS; returns the first of these.
 */
extern int32_t fmoe_history_weights(const FmoeBatch *batch, int32_t sequence, double weight[FMOE_SEQUENCE_EVENTS]);

/* A cosine of this is 1 on the gate's scale. */
#define FMOE_COSINE_SCALE 0.1

/* What a version's popularity adds to scores, so that equal ones are in its order. */
extern double fmoe_tie_break(const FmoeExpert *expert, int32_t item);

/* log(1 + 100 sum) / 2: what a gate reads of a share. */
extern double fmoe_on_gate_scale(double sum);

/* score[n] of items (NULL: of all): log(1 + 100 sum) / 2 and the tie-break; sum[n_items]. */
extern void fmoe_scores_of_sums(const FmoeExpert *expert, const double *sum, int64_t n, const int32_t *item,
								fnn_real *score);

/* Terms on the arena, without the tie-break, of the items whose sum[n_items] is above 0. */
extern FmoeTerms fmoe_terms_of_sums(FnnArena *arena, int32_t n_items, const double *sum);

/* Whether the items have text or vectors, without which the expert content says nothing. */
extern bool fmoe_content_known(const FmoeExpert *expert);

/* ---------------------------------------------------------------- rows of neighbours */

/*
 * A sparse matrix of items by items, in the first three arrays of a counter: row
 * i is entries offset[i] .. offset[i + 1] - 1, by ascending item.
 */
enum
{
	FMOE_PAIRS_OFFSET,			/* [n_items + 1] */
	FMOE_PAIRS_ITEM,
	FMOE_PAIRS_VALUE
};

/* Their types, and what they hold. */
extern const FnnDtype fmoe_pairs_dtypes[];
extern const FmoeHolds fmoe_pairs_holds[];

/* Score hook of a counter with such rows: of the sum, over the history, of the events' rows times their weights. */
extern void fmoe_pairs_score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
							 int64_t n, const int32_t *item, fnn_real *score);
/* Its terms hook. */
extern FmoeTerms fmoe_pairs_terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								  const fnn_real *state);
/* The hook add. */
extern void fmoe_pairs_add_terms(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								 double weight, float *sum);
/* Its check hook. */
extern void fmoe_pairs_check(const FmoeExpert *expert, const FnnHost *host);
/* Bytes on the arena while so many pairs are counted. */
extern double fmoe_pairs_bytes(double n_pairs, double n_items);

/* Rows that are being counted, one after the other. */
typedef struct FmoePairChunk FmoePairChunk;
typedef struct FmoePairCount
{
	FnnArena   *arena;
	int32_t		n_items;
	int64_t    *offset;			/* [n_items + 1] */
	double	   *scale;			/* [n_items] 1 / sqrt(events of the item that train, by their weights, at least 1) */
	double	   *row_scale;		/* [n_items] likewise, but of all events alike: context is there to predict from */
	double	   *sum;			/* [n_items] of the row at hand; 0 between two rows */
	int32_t    *touched;		/* [n_items] whose sum is not 0 */
	int32_t		n_touched;
	int64_t		n;				/* entries */
	int64_t		since_poll;
	FmoePairChunk *first;
	FmoePairChunk *last;
} FmoePairCount;

extern FmoePairCount *fmoe_pairs_begin(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout);
/* Keeps the largest of sum[i] scale[i] row_scale[row] as row number row, which follows the one before. */
extern void fmoe_pairs_keep(FmoePairCount *rows, int32_t row);
/* Sets the counter's arrays. */
extern void fmoe_pairs_end(FmoePairCount *rows, FmoeExpert *expert);

static inline void
fmoe_pairs_add(FmoePairCount *rows, int32_t item, double value)
{
	if (value == 0)
		return;
	if (rows->sum[item] == 0)
		rows->touched[rows->n_touched++] = item;
	rows->sum[item] += value;
}

/* Polls where much was added since it was done last. */
static inline void
fmoe_pairs_poll(FmoePairCount *rows)
{
	if (rows->since_poll <= 0xfffff)
		return;
	fnn_poll(fnn_arena_host(rows->arena));
	rows->since_poll = 0;
}

/* ---------------------------------------------------------------- events of a user */

/*
 * The first of a user's events that train, which end at end, among the last limit.
 * A basket that the limit cuts counts whole, or not at all if it is very large.
 */
extern int64_t fmoe_window_begin(const FmoeDataset *data, int64_t user, int64_t end, int64_t limit);

/* An event, and whose it is. */
typedef struct FmoeOccurrence
{
	int64_t		event;
	int64_t		user;
} FmoeOccurrence;

/* The events within the users' windows by item, on the arena; start[n_items + 1] bounds those of each. */
extern FmoeOccurrence *fmoe_occurrences(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, int64_t limit,
										int64_t *start);

#endif							/* FMOE_MODEL_COUNT_COUNT_H */

/*
 * serve.h
 *	  A version in memory: bound to its arrays, scoring, finding the best items, explaining.
 */
#ifndef FMOE_MODEL_SERVE_SERVE_H
#define FMOE_MODEL_SERVE_SERVE_H

#include "model/expert/class.h"

/* ---------------------------------------------------------------- models */

/*
 * What a version holds: the main expert and, beside it, those that count; when
 * the main one is itself one of these, it stands in both slots.  Experts point
 * into their model, which a copy must not outlive.
 */
typedef struct FmoeModel
{
	FmoeConfig	config;
	int32_t		n_items;
	double		blend;			/* weight of counted transitions beside the main score */
	FmoeExpert	expert[FMOE_SLOTS];
	FnnTensor	items;			/* vectors [n_items, d] of the main expert's scores; value NULL: it has none */
	const void *scan;			/* these laid out for quick scans (fmoe_scan_bind); NULL: they are not */

	/* what the experts point to */
	FnnParams	params;
	FnnArray	array[FMOE_SLOTS][FMOE_ARRAYS_MAX];
	FmoeFeatures features;
	FmoeFeatures user_features;
} FmoeModel;

/*
 * Sets a model up over arrays that somebody else keeps (the cache, an import):
 * nothing of them is copied.  Fails with FNN_FORMAT, naming array and rule, when
 * an array is missing, of another shape or dtype, or (experts that count,
 * features) holds an index out of range.
 */
extern void fmoe_model_bind(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The same over arrays that were bound before, here or by another process: what they hold is not read again. */
extern void fmoe_model_open(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The model's arrays by name, to be stored: fills out[at most max], returns their number. */
extern int	fmoe_model_arrays(const FmoeModel *model, FnnArray *out, int max);
/* The most that can be. */
extern int	fmoe_model_arrays_max(const FmoeModel *model);
/* Experts of a configuration without anything they could compute with yet. */
extern void fmoe_model_setup(FmoeModel *model, const FmoeConfig *config, int32_t n_items);
/* The experts that count, trained; of a model whose main one is among them that is all. */
extern void fmoe_count_experts(FmoeModel *model, FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
/* Bytes that this takes on the arena. */
extern size_t fmoe_counts_bytes(const FmoeDataset *data);
/* Sets items: the rows of the main expert's first parameter, or vectors computed by its class on the arena. */
extern void fmoe_model_compute_items(FmoeModel *model, FnnArena *arena);

/* ---------------------------------------------------------------- scores */

/* Whether the main expert's scores are products of states with item vectors, and terms. */
static inline bool
fmoe_has_vectors(const FmoeModel *model)
{
	return model->items.value != NULL && model->expert[FMOE_MAIN].class->score == NULL;
}

/*
 * scores[sequences.count, n_items].  A history that is empty scores as its
 * popularity.  Bounded memory: the caller chooses how many sequences at once.
 */
extern void fmoe_score(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
					   const FmoeBatch *batch, fnn_real *scores);
/* hidden[sequences.count, d]: the main expert's states after the last tokens, 0 after an empty history. */
extern void fmoe_encode(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden);
/*
 * weight[sequences.count, parts]: what the main expert's class weighs its parts
 * by after each history, 0 after an empty one; only of a class that has the hook.
 */
extern void fmoe_weigh(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);

/* ---------------------------------------------------------------- the best items */

/*
 * What finds the best items without reading every item vector: a block beside
 * the arrays, made once from the item vectors of the main expert.  It holds no
 * pointers, so processes may share it at any address; aligned to FNN_ALIGN.
 */
extern size_t fmoe_scan_bytes(const FmoeModel *model);	/* 0: this model needs none */
/* Fills memory[fmoe_scan_bytes] from the bound model, and binds it; the arena is scratch. */
extern void fmoe_scan_build(FmoeModel *model, FnnArena *arena, void *memory);
/* Makes the model use a block that was built for the same arrays. */
extern void fmoe_scan_bind(FmoeModel *model, void *memory);

/* How the best items are found; the answer is the same. */
typedef enum FmoeScan
{
	FMOE_SCAN_AUTO,				/* by the size of the catalogue */
	FMOE_SCAN_EXACT,			/* every item's vector is read */
	FMOE_SCAN_INT8				/* codes of 8 bits first, where the model has a scan block */
} FmoeScan;

/* Which items may be among the best. */
typedef struct FmoeEligible
{
	const int32_t *candidate;	/* [n_candidates], repeats allowed; NULL: all items */
	int64_t		n_candidates;
	uint64_t   *passed;			/* set of items (fnn_set_words) that may not; used as scratch; NULL: none */
} FmoeEligible;

/*
 * Offers to topk the eligible items' scores for the one sequence of the batch,
 * as fmoe_score would give them.  The caller sorts topk.
 */
extern void fmoe_best(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
					  FmoeScan scan, const FmoeEligible *eligible, FnnTopk *topk);
/*
 * fmoe_best of all items but those passed[sequences.count], by the main expert,
 * which has vectors, for every sequence and its topk[sequences.count]; no sequence
 * is empty.  The answers are the same, made by products of matrices.
 */
extern void fmoe_best_many(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
						   const FnnRows *passed, FnnTopk *topk);
/* score[n] of given items for the one sequence of the batch: the same bits as fmoe_best's. */
extern void fmoe_scores_of(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
						   int64_t n, const int32_t *item, fnn_real *score);
/*
 * Offers to topk the cosine of every other item's vector with an item's; 0 where
 * one of the two has no length.  The model has vectors.
 */
extern void fmoe_neighbours(const FmoeModel *model, FnnArena *arena, int32_t item, FnnTopk *topk);

/* ---------------------------------------------------------------- explaining */

/* The parts that the main expert's scores are sums of: those of its class, and last what blend adds. */
#define FMOE_EXPLAINED_MAX (FMOE_PARTS_MAX + 1)
extern int	fmoe_parts_count(const FmoeModel *model);
/* What a part is called; the last one's is the caller's to know. */
extern const char *fmoe_part_name(const FmoeModel *model, int part);
/*
 * weight[parts] and contribution[n, parts] to the scores of given items for
 * the one sequence of the batch, which is not empty: to rounding, an item's sum
 * up to what fmoe_scores_of gives.  Only where there are vectors.
 */
extern void fmoe_contributions(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
							   int64_t n, const int32_t *item, double *weight, double *contribution);

#endif							/* FMOE_MODEL_SERVE_SERVE_H */

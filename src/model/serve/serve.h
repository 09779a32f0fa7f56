/*
 * serve.h
 *	  A version in memory: bound to its arrays, scoring, finding the best items, explaining.
 */
#ifndef FMOE_MODEL_SERVE_SERVE_H
#define FMOE_MODEL_SERVE_SERVE_H

#include "model/expert/class.h"

/* ---------------------------------------------------------------- experts */

/*
 * What a version holds.  experts[0] is the main one; when that is itself a
 * count expert the other row of its class is the same one again.
 */
typedef enum FmoeExpertSlot
{
	FMOE_MAIN,
	FMOE_POPULARITY,
	FMOE_MARKOV,
	FMOE_SLOTS
} FmoeExpertSlot;

typedef struct FmoeModel
{
	FmoeConfig	config;
	int32_t		n_items;
	FmoeExpert	expert[FMOE_SLOTS];
	const void *scan;			/* item vectors laid out for quick scans (fmoe_scan_bind); NULL: there are none */
} FmoeModel;

/*
 * Sets a model up over arrays that somebody else keeps (the cache, an import):
 * nothing is copied.  Fails with FNN_FORMAT, naming array and rule, when an
 * array is missing, of another shape or dtype, or (count experts) holds an
 * index out of range.
 */
extern void fmoe_model_bind(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The same over arrays that were bound before, here or by another process: what they hold is not read again. */
extern void fmoe_model_open(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The model's arrays by name, to be stored: fills out[at most max], returns their number. */
extern int	fmoe_model_arrays(const FmoeModel *model, FnnArray *out, int max);
#define FMOE_MODEL_ARRAYS_MAX (FNN_PARAMS_MAX + 2 * FMOE_ARRAYS_MAX)

/*
 * scores[sequences.count, n_items].  A history that is empty scores as its
 * popularity.  Bounded memory: the caller chooses how many sequences at once.
 */
extern void fmoe_score(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
					   const FmoeBatch *batch, fnn_real *scores);
/* hidden[sequences.count, width] of the main expert's last tokens; gradient experts only. */
extern void fmoe_encode(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden);

/*
 * gate[sequences.count, fmoe_gated_count]: the weights of a mixture's experts
 * after each history; 0 after an empty one.
 */
extern void fmoe_gates(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *gate);

/* ---------------------------------------------------------------- the best items */

/*
 * What finds the best items without reading every item vector: a block beside
 * the arrays, made once from the main expert's item table.  It holds no
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
 * a gradient one, for every sequence and its topk[sequences.count]; no sequence is
 * empty.  The answers are the same, made by products of matrices.
 */
extern void fmoe_best_many(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
						   const FnnRows *passed, FnnTopk *topk);
/* score[n] of given items for the one sequence of the batch: the same bits as fmoe_best's. */
extern void fmoe_scores_of(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
						   int64_t n, const int32_t *item, fnn_real *score);
/* Offers to topk every other item's cosine with an item's vector, 0 where one has no length; gradient experts only. */
extern void fmoe_neighbours(const FmoeModel *model, FnnArena *arena, int32_t item, FnnTopk *topk);

/* ---------------------------------------------------------------- training */

/* Trains a model whose main expert only counts; also fills the count experts of any model. */
extern void fmoe_count_experts(FmoeModel *model, FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);

/* ---------------------------------------------------------------- explaining */

/*
 * The parts that the main expert's scores are sums of: the experts that a
 * mixture weighs, or the one encoder, and last what the configuration's blend
 * adds for counted transitions.
 */
#define FMOE_PARTS_MAX (FMOE_GATED_MAX + 1)
extern int	fmoe_parts_count(const FmoeConfig *config);
/*
 * weight[parts] and contribution[n, parts] to the scores of given items for
 * the one sequence of the batch, which is not empty: to rounding, an item's sum
 * up to what fmoe_scores_of gives.  Gradient experts only.
 */
extern void fmoe_contributions(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
							   int64_t n, const int32_t *item, double *weight, double *contribution);

/* How a mixture uses its experts. */
typedef struct FmoeGateUse
{
	int64_t		histories;		/* those that were not empty */
	double		weight[FMOE_GATED_MAX]; /* sums over them */
	double		largest[FMOE_GATED_MAX];	/* how often the weight was the largest; those that are equal share one */
} FmoeGateUse;

/* Adds what the gate gives for the histories of cases from .. to - 1. */
extern void fmoe_gate_use(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
						  int64_t from, int64_t to, FmoeGateUse *use);

/* Lets a mixture read the model's count experts, which must outlive it. */
extern void fmoe_expert_use_counts(FmoeExpert *expert, const FmoeModel *model);

#endif							/* FMOE_MODEL_SERVE_SERVE_H */

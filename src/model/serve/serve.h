/*
 * serve.h
 *	  A version in memory: bound to its arrays, scoring, finding the best items, explaining.
 */
#ifndef FMOE_MODEL_SERVE_SERVE_H
#define FMOE_MODEL_SERVE_SERVE_H

#include "model/expert/together.h"

/* ---------------------------------------------------------------- models */

/* Parts of a main expert that a gate weighs: its own encoder, and lent ones. */
#define FMOE_GATE_PARTS_MAX (1 + FMOE_LENT_MAX)
/* Experts that a gate weighs: those of the slots, FMOE_MAIN being part 0 of the main expert, then its other parts. */
#define FMOE_WEIGHED_MAX (FMOE_GATED + FMOE_LENT_MAX)

/*
 * How much each expert weighs in the scores: the log-linear gate
 *
 *		score = sum over experts of weight x what the expert reads
 *
 * over fixed scales (serve/gate.c).  There are two, because where items of the
 * history are no answers other experts matter than where they are.
 */
typedef struct FmoeGate
{
	bool		there;
	int			parts;			/* of the main expert */
	int64_t		begin[FMOE_GATE_PARTS_MAX + 1]; /* the columns that belong to each */
	double		weight[FMOE_WEIGHED_MAX][2];	/* of each: [0] without, [1] with what was seen among the answers */
	int64_t		cases;			/* that the weights were fitted to; 0: they are the prior's */
	uint32_t	without;		/* set of experts that are left out */
	bool		has_folds;		/* not stored: only right after the fit, to judge it by */
	double		fold_weight[2][FMOE_WEIGHED_MAX];	/* in place of [0]: of each fold, fitted without its cases */
} FmoeGate;

/* What a gate's weights are pulled towards, and are where there is nothing to fit them to. */
typedef struct FmoeGatePrior
{
	double		weight[FMOE_WEIGHED_MAX][2];	/* as in FmoeGate */
} FmoeGatePrior;

/* Items from n_items on, of which only features tell. */
typedef struct FmoeStrangers
{
	int32_t		n;
	const fnn_real *vector;		/* [n, items.cols]; NULL: the model has no vectors */
} FmoeStrangers;

/*
 * What a version holds: the main expert and, beside it, those that count.  A main
 * expert that counts is in both slots.  Experts point into their model, so a copy
 * of a model must not outlive it.
 */
typedef struct FmoeModel
{
	FmoeConfig	config;
	int32_t		n_items;
	double		blend;			/* weight of counted transitions beside the main score */
	FmoeGate	gate;			/* in place of blend, where the class is gated */
	FmoeExpert	expert[FMOE_GATED];
	FmoeExpert	together;		/* fmoe_has_together: its counts may be missing */
	FnnTensor	items;			/* vectors [n_items, d] that states are multiplied with; value NULL: none */
	FnnTensor	vectors;		/* the main expert's: the same, or with a gate their first columns */
	FmoeStrangers strangers;	/* of a model that was made by fmoe_meet */
	const fnn_real *unchosen;	/* row of the first parameter (fmoe_unchosen_build); NULL: made when it is asked for */
	const void *scan;			/* the same laid out for quick scans (fmoe_scan_bind); NULL: not laid out */

	/* what the experts point to */
	FnnParams	params;
	FnnArray	array[FMOE_GATED][FMOE_ARRAYS_MAX];
	FnnArray	together_array[FMOE_ARRAYS_MAX];
	FmoeFeatures features;
	FmoeFeatures user_features;
} FmoeModel;

/*
 * Sets a model up over arrays of the caller, which are not copied.  Fails with
 * FNN_FORMAT, naming array and rule, when an array is missing or has another shape
 * or dtype, or when counts or features hold an index out of range.
 */
extern void fmoe_model_bind(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The same over arrays that were bound before, here or by another process: their contents are not checked again. */
extern void fmoe_model_open(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The model's arrays by name, to be stored: fills at most max elements of out, returns their number. */
extern int	fmoe_model_arrays(const FmoeModel *model, FnnArray *out, int max);
/* Largest number of arrays that a model can have. */
extern int	fmoe_model_arrays_max(const FmoeModel *model);
/* The rows of single users [users, numbers], which are in none of these arrays; NULL: there are none. */
extern const FnnTensor *fmoe_private_rows(const FmoeModel *model);
/* Sets up the experts of a configuration, so far without parameters and counts. */
extern void fmoe_model_setup(FmoeModel *model, const FmoeConfig *config, int32_t n_items);
/* Sets a model up and trains the experts that count; if the main one is among them, the model is complete. */
extern void fmoe_count_experts(FmoeModel *model, FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
/* Bytes that fmoe_count_experts takes on the arena. */
extern size_t fmoe_counts_bytes(const FmoeConfig *config, const FmoeDataset *data);
/* What was in the same basket, counted: a set of arrays more. */
extern void fmoe_count_together(FmoeModel *model, FnnArena *arena, const FmoeDataset *data);
/* Sets items to the rows of the main expert's first parameter, or to vectors that its class computes on the arena. */
extern void fmoe_model_compute_items(FmoeModel *model, FnnArena *arena);

/*
 * Makes a model over more items of another one, on the arena and over its arrays, both
 * of which must stay.  Item i becomes number[i], which ascends; what was learned and
 * counted of the others is 0.  features are those of all n_items items.  Fails with
 * FNN_INVALID where a parameter does not fit them.
 */
extern void fmoe_model_extend(FmoeModel *new, FnnArena *arena, const FmoeModel *old, int32_t n_items,
							  const int32_t *number, const FmoeFeatures *features);

/* ---------------------------------------------------------------- strangers */

/* Whether the model reads something of items that it does not know, where features tell of them. */
extern bool fmoe_can_meet(const FmoeModel *model);
/*
 * What the first parameter would be of an item that nobody chose, which strangers
 * have under a gate: made once, as it may read that whole parameter.  Bytes of it; 0: there
 * is no need.
 */
extern size_t fmoe_unchosen_bytes(const FmoeModel *model);
/* Fills row[fmoe_unchosen_bytes], which model->unchosen may then point to. */
extern void fmoe_unchosen_build(const FmoeModel *model, FnnArena *arena, fnn_real *row);
/*
 * Makes a model that knows theirs->n items more, by what their features say: the same terms and
 * kinds as the model's.  They have the numbers from n_items on, in histories, in
 * lists of candidates, which they are in only where these are given, and in lists of
 * items to be scored.  Over both the model and the features; on the arena.
 */
extern void fmoe_meet(FmoeModel *met, FnnArena *arena, const FmoeModel *model, const FmoeFeatures *theirs);

/* ---------------------------------------------------------------- the gate */

/* Columns of the item table behind the main expert's, which the levels are in. */
#define FMOE_GATE_COLUMNS 16

/* Of a product of state and vector, in a gate. */
#define FMOE_GATE_OWN_SCALE 0.5

static inline bool
fmoe_has_gate(const FmoeModel *model)
{
	return model->gate.there;
}

/* How many experts a gate weighs. */
static inline int
fmoe_weighed(const FmoeGate *gate)
{
	return FMOE_GATED + gate->parts - 1;
}

/* Which of them a part of the main expert is. */
static inline int
fmoe_weighed_part(int part)
{
	return part == 0 ? FMOE_MAIN : FMOE_GATED + part - 1;
}

/* The main expert's own item vectors, stride from one to the next. */
static inline const FnnTensor *
fmoe_vectors(const FmoeModel *model)
{
	return &model->vectors;
}

/* Which expert answers for the main one where a history has no known item: recent, if it is there, else popularity. */
static inline FmoeExpertSlot
fmoe_empty_slot(const FmoeModel *model)
{
	return fmoe_has_gate(model) ? FMOE_RECENT : FMOE_POPULARITY;
}

/* Which expert scores by a slot, after an empty history or another. */
static inline FmoeExpertSlot
fmoe_scoring_slot(const FmoeModel *model, FmoeExpertSlot slot, bool empty)
{
	if (!empty)
		return slot;
	return slot == FMOE_MAIN || slot == FMOE_RECENT ? fmoe_empty_slot(model) : FMOE_POPULARITY;
}

/* The name that an expert has in a gate of the configuration. */
extern const char *fmoe_weighed_name(const FmoeConfig *config, int expert);
/*
 * The weights of the own expert and of those that count, from a version's arrays, as a prior; those that are
 * missing stay.  False: it has no gate.  Fails with FNN_FORMAT as binding does.
 */
extern bool fmoe_gate_of_arrays(const FmoeConfig *config, const FnnHost *host, int n_arrays, const FnnArray *arrays,
								FmoeGatePrior *prior);
/* Sets up a gate that weighs nothing for a configuration whose class is gated, and whose vectors have that width. */
extern void fmoe_gate_setup(FmoeGate *gate, const FmoeConfig *config, int64_t width);
/*
 * Gives a model that has all counts a gate that weighs nothing, and the item table to
 * it, with vectors that its class computes or those of its parameter, on the arena.
 */
extern void fmoe_gate_open(FmoeModel *model, FnnArena *arena);
/*
 * feature[n, fmoe_weighed]: what each expert reads of items after one history of the
 * batch, which led to that state of the main expert (fmoe_states).
 */
extern void fmoe_gate_features(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
							   const fnn_real *state, int64_t n, const int32_t *item, double *feature);
/*
 * Items that nobody chose have learned only to be no answer.  Under a gate, where others
 * may know them, their rows [n_items, cols] of the main expert's first parameter become
 * the mean of the others', which says nothing of them.  Rows that features add to stay:
 * what features say is all that is known there.  The model has its counts.
 */
extern void fmoe_gate_forget(const FmoeModel *model, FnnArena *arena, int64_t cols, fnn_real *rows);
/* The weight of an expert that applies to a batch. */
static inline double
fmoe_gate_weight(const FmoeModel *model, const FmoeBatch *batch, int expert)
{
	return (model->gate.without >> expert & 1) != 0 ? 0 : model->gate.weight[expert][batch->keeps_seen];
}

/* ---------------------------------------------------------------- scores */

/* Whether the main expert's scores are products of states with item vectors, and terms. */
static inline bool
fmoe_has_vectors(const FmoeModel *model)
{
	return model->items.value != NULL && !fmoe_scores_itself(model->expert[FMOE_MAIN].class, &model->config);
}

/*
 * scores[sequences.count, n_items] by an expert.  An empty history gets the scores
 * of popularity, or of recent.
 */
extern void fmoe_score(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
					   const FmoeBatch *batch, fnn_real *scores);
/* The vector [fmoe_vectors.cols] of an item, or of a stranger. */
extern const fnn_real *fmoe_item_vector(const FmoeModel *model, int32_t item);
/* Bytes on the arena beside these scores, of one history, where the main expert's class scores by itself. */
extern double fmoe_score_bytes(const FmoeModel *model);
/* state[sequences.count, fmoe_vectors.cols] of the main expert after the last tokens, 0 after an empty history. */
extern void fmoe_states(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *state);
/*
 * hidden[sequences.count, items.cols]: the same as scores are products of; with a gate
 * they are weighed, and longer.
 */
extern void fmoe_encode(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden);
/*
 * weight[sequences.count, parts] that the main expert's class gives its parts after
 * each history, 0 after an empty one.  The class has the hook weigh.
 */
extern void fmoe_weigh(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);
/* After how many layers its parts are mixed, at most FMOE_MIXED_LAYERS_MAX; 0: only their scores are. */
extern int	fmoe_mixed_layers(const FmoeModel *model);
/* share[sequences.count, layers, parts] that they have after each of these layers, 0 after an empty history. */
extern void fmoe_weigh_layers(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *share);

/* ---------------------------------------------------------------- the best items */

/*
 * A scan block is made once from the item vectors of the main expert, to find the
 * best items without reading every vector.  It has no pointers, so processes may
 * share it at any address; aligned to FNN_ALIGN.
 */
/* Bytes of the scan block; 0: this model needs none. */
extern size_t fmoe_scan_bytes(const FmoeModel *model);
/* Fills memory[fmoe_scan_bytes] from the bound model, and binds it; the arena is scratch. */
extern void fmoe_scan_build(FmoeModel *model, FnnArena *arena, void *memory);
/* Makes the model use a scan block that was built for the same arrays. */
extern void fmoe_scan_bind(FmoeModel *model, void *memory);

/* How the best items are found; the answer is always the same. */
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
	uint64_t   *passed;			/* set of items (fnn_set_words) that may not; overwritten; NULL: none */
} FmoeEligible;

/*
 * Offers to topk the eligible items' scores for the one sequence of the batch,
 * as fmoe_score would give them.  The caller sorts topk.
 */
extern void fmoe_best(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
					  FmoeScan scan, const FmoeEligible *eligible, FnnTopk *topk);
/*
 * fmoe_best by the main expert for every sequence s, into topk[s], of all items but
 * passed[s] and, for all sequences, the set never (NULL: none): the same answers, by
 * products of matrices.  The model has vectors, and no sequence is empty.
 */
extern void fmoe_best_many(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
						   const uint64_t *never, const FnnRows *passed, FnnTopk *topk);
/* Bytes that it takes for so many sequences of so many tokens in all, in a batch with columns like those of events. */
extern double fmoe_best_many_bytes(const FmoeModel *model, const FmoeEvents *events, double sequences, double tokens);
/* score[n] of given items for the one sequence of the batch, with the same bits as in fmoe_best. */
extern void fmoe_scores_of(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
						   int64_t n, const int32_t *item, fnn_real *score);
/* Whether the contents of items count among their neighbours. */
extern bool fmoe_mixes_neighbours(const FmoeModel *model);
/*
 * Offers to topk the cosine of an item's vector with that of every other eligible
 * item, 0 where one has no length; only where there are vectors.  Where the gate
 * has content, the less often the two were chosen, the more does the cosine of their
 * contents count:
 *
 *		w x cosine of vectors + (1 - w) x cosine of contents,  w = n / (n + 10)
 *
 * where the one that was chosen less often was so n times.
 */
extern void fmoe_neighbours(const FmoeModel *model, FnnArena *arena, int32_t item, const FmoeEligible *eligible,
							FnnTopk *topk);

/* Offers to topk the eligible items that were in baskets with the n given ones, all different, and not these. */
extern void fmoe_best_together(const FmoeModel *model, FnnArena *arena, int64_t n, const int32_t *given,
							   const FmoeEligible *eligible, FnnTopk *topk);

/* ---------------------------------------------------------------- explaining */

#define FMOE_EXPLAINED_MAX (FMOE_PARTS_MAX + FMOE_WEIGHED_MAX)	/* parts, with those of a gate and of blend */

/* How many parts the main expert's scores are sums of: those of its class, and last what blend adds. */
extern int	fmoe_parts_count(const FmoeModel *model);
/* Name of a part but the last. */
extern const char *fmoe_part_name(const FmoeModel *model, int part);
/*
 * weight[parts], and contribution[n, parts] to the scores of given items, for the
 * one sequence of the batch, which is not empty.  The contributions to an item add
 * up to its score by fmoe_scores_of, to rounding.  The model has vectors.
 */
extern void fmoe_contributions(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
							   int64_t n, const int32_t *item, double *weight, double *contribution);
/* What the inputs of an item's vector add to its score: fills at most max elements of out, returns their number. */
extern int	fmoe_input_parts(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t item, int max,
							 FmoeInputPart *out);
/*
 * The words that an item and the batch's one history, which is not empty, have in
 * common, and what each adds to the score by the main expert: fills at most max
 * elements of out, the largest first, returns their number.
 */
extern int	fmoe_words(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t item, int max,
					   FmoeWord *out);

#endif							/* FMOE_MODEL_SERVE_SERVE_H */

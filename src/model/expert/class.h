/*
 * class.h
 *	  What a class of experts is: the interface between a kind of model and all others.
 *
 * A class is a folder (or a file of this one) and a row in registry.c.  Training,
 * evaluation, the store, serving, explaining and the reports ask the class; none
 * of them knows one by name.  The comment of a hook says what NULL means, so a
 * class brings only what makes it different.
 *
 * The score of an item after a history is, unless the class has a hook of its
 * own for it,
 *
 *		state of the history . vector of the item  +  terms of the item
 *
 * where few items have terms.  Finding the best items, scoring many histories at
 * once and explaining need to know no more than that.
 */
#ifndef FMOE_MODEL_EXPERT_CLASS_H
#define FMOE_MODEL_EXPERT_CLASS_H

#include "model/config.h"
#include "model/expert/federated.h"
#include "model/data/data.h"

typedef struct FmoeExpert FmoeExpert;

/*
 * What a version holds: the main expert, and those that count beside it.  Every
 * version has those below FMOE_SLOTS; one with a gate has all of them.
 */
typedef enum FmoeExpertSlot
{
	FMOE_MAIN,
	FMOE_POPULARITY,
	FMOE_MARKOV,
	FMOE_SLOTS,
	FMOE_RECENT = FMOE_SLOTS,
	FMOE_SEQUENCE,
	FMOE_NEIGHBOURS,
	FMOE_REPEAT,
	FMOE_CONTENT,
	FMOE_GATED					/* all that a gate weighs */
} FmoeExpertSlot;

/* What a class reads beside items and times; a set of bits. */
typedef enum FmoeReads
{
	FMOE_READS_LABELS = 1,		/* what was shown and not chosen is part of histories, and comes next as well */
	FMOE_READS_TEXT = 2,
	FMOE_READS_CATEGORIES = 4,
	FMOE_READS_PRICE = 8,
	FMOE_READS_VECTORS = 16,
	FMOE_READS_USERS = 32,		/* categories of users, in FmoeBatch.user_features */
	FMOE_READS_COUNTS = 64,		/* what the experts that count have counted */
	FMOE_WEIGHS_COUNTS = 128,	/* weighs these counts among its terms: blend adds nothing */
	FMOE_NEEDS_FEATURES = 256	/* is no model without some of the features that it reads */
} FmoeReads;

/* Those that are features of items. */
#define FMOE_READS_FEATURES (FMOE_READS_TEXT | FMOE_READS_CATEGORIES | FMOE_READS_PRICE | FMOE_READS_VECTORS)

/* Which states an encode is to give. */
typedef enum FmoeWhich
{
	FMOE_ALL_TOKENS,
	FMOE_LAST_TOKENS			/* of each sequence, none of which is empty */
} FmoeWhich;

/* When memory is taken. */
typedef enum FmoePhase
{
	FMOE_RECORDED,				/* forward and backward of a step, but the loss over the items */
	FMOE_UNRECORDED,			/* states of last tokens */
	FMOE_PREPARED,				/* what the hook prepare leaves, as long as a training lasts; only with that hook */
	FMOE_SETTLING				/* the hook settle */
} FmoePhase;

/* Upper bounds of how many different items followed an item: no more than the times it was followed. */
typedef struct FmoeFollowers
{
	double		mean;			/* of a token's item, over the tokens that train */
	double		all;			/* sum over all items */
} FmoeFollowers;

/* What a class says it takes is for tokens that are baskets; others may take as much more, for means of their rows. */
#define FMOE_BASKETS_MORE 1.5

/* What a class must know of the data to declare its parameters and to say what memory it takes. */
typedef struct FmoeFacts
{
	int32_t		n_items;
	const FmoeFeatures *features;	/* NULL: none */
	const FmoeFeatures *user_features;	/* NULL: none */
	int64_t		n_users;		/* who have rows of their own; 0 outside of a training: such rows are in no version */
	FmoeFollowers followers;	/* set for bytes, and only where the class reads counts */
} FmoeFacts;

/* What a class is judged by: early stopping, whether a version goes live, fmoe_evaluate. */
typedef enum FmoeJudgedBy
{
	FMOE_BY_RANKS,				/* NDCG@10 of the items that were chosen among all */
	FMOE_BY_CLICKS				/* AUC of the probability that what was shown is chosen: learns from whole histories */
} FmoeJudgedBy;

#define FMOE_LOSSES_MAX 8
#define FMOE_ATTEMPTS_MAX 2

/* What the tokens of a recorded batch should be followed by, and how much each loss weighs. */
typedef struct FmoeGoal
{
	const int32_t *target;		/* [n_tokens] an item of the basket that followed the token's; -1: none that counts;
								 * NULL for a class judged by clicks, whose batches are all that trains */
	const float *target_weight; /* [n_tokens] how much each target counts; NULL: all count 1 */
	double		weight;			/* of a target that counts 1: 1 / sum of what those of the whole step count */
	double		position_weight;	/* of a token, whatever follows: 1 / number of tokens in the whole step */
	double		sequence_weight;	/* of a sequence: 1 / number of sequences in the whole step */
	int64_t		step;			/* from 1 */
	uint64_t	seed;
	uint64_t	stream;			/* for random numbers: of this step's shard */
	int32_t		n_negatives;	/* of gbce; 0: softmax over all items */
	const int32_t *negative;
	double		beta;
	double		told;			/* how much of the tape's loss fmoe_goal_loss has taken */
	double		loss[FMOE_LOSSES_MAX];	/* parts of the loss, in the order of the class's names */
} FmoeGoal;

/* Numbers that are added to an item's score. */
typedef struct FmoeTerms
{
	int64_t		n;
	const int32_t *item;		/* [n] ascending */
	const double *value;		/* [n] */
} FmoeTerms;

/* Both together, on the arena. */
extern FmoeTerms fmoe_sum_terms(FnnArena *arena, const FmoeTerms *a, const FmoeTerms *b);
/* The mean of n >= 2 terms, on the arena, where an item that some lack counts 0 in those. */
extern FmoeTerms fmoe_mean_terms(FnnArena *arena, int64_t n, FmoeTerms *terms);

/* Where parameters are declared, and what all of them have in common. */
typedef struct FmoeDeclaring
{
	FnnParams  *params;
	const FnnHost *host;
	const char *prefix;			/* of their names */
	FnnShare	share;
	unsigned	frozen;			/* set of groups whose slices do not learn */
} FmoeDeclaring;

/* A word, and what it adds to a term. */
typedef struct FmoeWord
{
	const char *name;			/* UTF-8, not terminated */
	size_t		bytes;
	double		share;
} FmoeWord;

/* What an input of an item's features adds to its score. */
typedef struct FmoeInputPart
{
	const char *input;			/* its name */
	int			map;			/* of its maps, from 1; 0: all together */
	double		weight;			/* of the map for this item; NaN: there is none */
	double		share;			/* of the score; NaN: nothing tells */
} FmoeInputPart;

#define FMOE_INPUT_PARTS_MAX 300

/* What an array of a counter holds. */
typedef enum FmoeHolds
{
	FMOE_HOLDS_NUMBERS,			/* of entries, or of something that items are not */
	FMOE_HOLDS_ITEMS,			/* of entries, ascending where a row has several */
	FMOE_HOLDS_OFFSETS,			/* [n_items + 1] where each item's entries begin */
	FMOE_HOLDS_LEVELS			/* one number for each item, and perhaps others behind them */
} FmoeHolds;

/* A class that only counts: its arrays are made in one pass over the events that train. */
typedef struct FmoeCounter
{
	/* fills expert->array from the events, on the arena */
	void		(*count) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout);
	const char *const *array_names; /* NULL-terminated */
	const FnnDtype *array_dtypes;	/* one each; all arrays have one dimension */
	const FmoeHolds *array_holds;	/* one each; NULL: they follow from features, count needs no events */
	/* bytes that count takes on the arena, of which the arrays are a part; features of the items, or NULL */
	double		(*bytes) (double n_events, double n_items, const FmoeFeatures *features);
	/* what a gate reads of an item whatever the history, on its scale; NULL: nothing */
	double		(*level) (const FmoeExpert *expert, int32_t item);
	int			history;		/* most events of a history that scores depend on; 0: those of its last basket */
	bool		first_day;		/* knows items of which there is no event yet, if the features do */
	/* fails with FNN_FORMAT when arrays from outside do not fit each other, or the number of items */
	void		(*check) (const FmoeExpert *expert, const FnnHost *host);
	/* sum[n_items] += weight x what the hook terms gives, where that is much; NULL: by that hook */
	void		(*add) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
						double weight, float *sum);
	/*
	 * value[n] of items of a history's, or others, of which only features tell (FmoeExpert.strangers), on the gate's
	 * scale.  NULL: it knows nothing of such.
	 */
	void		(*told) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
						 int64_t n, const int32_t *item, double *value);
	/*
	 * The words that an item's terms are a sum of, the largest first: fills at most max
	 * elements of out, returns their number.  NULL: there are none.
	 */
	int			(*words) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
						  int32_t item, int max, FmoeWord *out);
} FmoeCounter;

#define FMOE_ARRAYS_MAX 8		/* of a counter */
#define FMOE_PARTS_MAX 32		/* that a score is the sum of */
#define FMOE_MIXED_LAYERS_MAX 16	/* after which parts are mixed */

/* A lent model, as the one that is built of it sees it. */
typedef struct FmoeLentModel
{
	const struct FmoeExpertClass *class;
	const FmoeConfig *config;
	const char *name;
	const char *checksum;		/* of its arrays, 16 hexadecimal digits */
} FmoeLentModel;

/* A class whose models are built of lent ones that stay as they are: a base, and adapters of it. */
typedef struct FmoeBuilding
{
	/* Fills name[FMOE_BUILT_MAX] with their names, the base's first, "" where a checksum says it; returns how many. */
	int			(*names) (const FmoeConfig *config, const char **name);
	/*
	 * Whether number i can be that lent model; if so, the options say all of it from then on.
	 */
	bool		(*take) (FmoeConfig *config, int i, const FmoeLentModel *lent, FmoeMisfit *misfit);
	/* The base in the options. */
	const FmoeNamedBase *(*base) (const FmoeConfig *config);
	/* Makes, in memory of the host, what serving computes with while the parameters stay as they are. */
	const void *(*merge) (const FmoeExpert *expert, const FnnHost *host);
} FmoeBuilding;

typedef struct FmoeExpertClass
{
	const char *name;
	const char *summary;		/* one line, lower case */
	const FmoeCounter *counter; /* NULL: the class learns by gradient */
	/*
	 * Whether its parts are weighed beside all experts that count (serve/gate.c), which its scores, products of
	 * states and vectors without terms, allow; NULL: they are not.
	 */
	bool		(*gated) (const FmoeConfig *config);

	/* Its own options, which fill FmoeConfig.own; NULL: none. */
	const FmoeOption *options;
	/* Common options that begin elsewhere in this class: name, value, name, value, ..., NULL; NULL: none. */
	const char *const *defaults;
	FmoeJudgedBy judged_by;
	/*
	 * Common options that say nothing to it, NULL-terminated: one that is given is ignored with a warning.  NULL:
	 * those of learning where it counts, else none.
	 */
	const char *const *(*unused) (const FmoeConfig *config);
	/* Whether the options fit each other; NULL: they always do. */
	bool		(*fits) (const FmoeConfig *config, FmoeMisfit *misfit);
	/* Set of FmoeReads; NULL: nothing but items and times. */
	unsigned	(*reads) (const FmoeConfig *config);
	/* Sets its own options that follow from the data, where they are not given; false: it cannot.  NULL: none do. */
	bool		(*complete) (FmoeConfig *config, const FmoeDataset *data, FmoeMisfit *misfit);

	/* Declares the parameters; without the hook items below, the first one is the table of item vectors. */
	void		(*declare) (FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts);
	/* Bytes on the arena in a phase, for so many tokens of so many sequences (in FMOE_SETTLING: cases). */
	double		(*bytes) (const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens,
						  double cases);
	/* Multiplications of one token's forward pass, with its scores of n_scored items; NULL: width * n_scored. */
	double		(*multiplications) (const FmoeConfig *config, double n_scored);
	/* States [rows, d] after the tokens. */
	FnnTensor  *(*encode) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which);
	/*
	 * Vectors [n, d] of items, which states are multiplied with; item NULL: of items
	 * 0 .. n - 1.  Hook NULL: they are the rows of the first parameter.
	 */
	FnnTensor  *(*items) (const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item);
	/* Their length d; NULL: that of a row of the first parameter. */
	int64_t		(*vectors_width) (const FmoeConfig *config);
	/* Whether item vectors are computed: whether the hooks items and prepare apply, else as if NULL; NULL: they do. */
	bool		(*computes) (const FmoeConfig *config);
	/* Whether the hooks learn and start apply; NULL: as computes says. */
	bool		(*learns) (const FmoeConfig *config);
	/*
	 * Terms of the scores after a history of the batch, which led to that state, on
	 * the arena; of a counter, what a gate reads beside its level, on the gate's
	 * scale (state is NULL).  NULL: there are none.
	 */
	FmoeTerms	(*terms) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
						  const fnn_real *state);
	/* score[n] of items (NULL: of all) after one history of the batch; NULL: state . vector + terms. */
	void		(*score) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
						  int64_t n, const int32_t *item, fnn_real *score);
	/* Whether the hook score applies, else as if NULL; NULL: it does. */
	bool		(*scores) (const FmoeConfig *config);

	/*
	 * logit[n_tokens] that each event of a batch is chosen, given those of earlier baskets of its sequence; NaN where
	 * too little of the history is there.  Of a class judged by clicks, whose scores are such logits, after an
	 * empty history too.
	 */
	void		(*foresee) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *logit);

	/*
	 * The group that a user is in, in each block, after one history of the batch that is not empty: fills at most
	 * max elements of group, returns how many blocks there are.  NULL: there are no groups.
	 */
	int			(*group_of) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
							 int max, int32_t *group);
	/* Numbers in the row that a user has of their own (FNN_PRIVATE); NULL: users have none. */
	int64_t		(*private_columns) (const FmoeExpert *expert);
	/* How many groups there are; with that hook only. */
	int			(*groups) (const FmoeConfig *config);

	/*
	 * Where a history moves few items: value[n_items] along which the scores of all others do not fall, whatever the
	 * history.  Ranking then looks at few scores.  Both NULL: scores are of the history.
	 */
	const float *(*common) (const FmoeExpert *expert);
	/*
	 * Fills item[max] with those that the history of a sequence that is not empty moves, in any order, repeats
	 * allowed; returns how many; -1: there are more, or the others do not follow value.
	 */
	int64_t		(*moved) (const FmoeExpert *expert, const FmoeBatch *batch, int32_t sequence, int64_t max,
						  int32_t *item);

	/* Puts encode and all losses on the tape; NULL: the only loss is that of the scores. */
	void		(*learn) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal);
	/*
	 * Length of the vectors of all items that every step needs, so that they are computed once a step, in parts, and
	 * shared by its shards; 0: each shard computes those that it needs.  NULL: 0.
	 */
	int64_t		(*step_width) (const FmoeConfig *config);
	/*
	 * These vectors [n, step_width] of items first .. first + n - 1; learn then reads all of them from
	 * expert->step_items.  Of the goal there are step, seed, and a stream that all parts have in common.
	 */
	FnnTensor  *(*step_items) (const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n,
							   const FmoeGoal *goal);
	/* Names of the losses that learn tells apart with fmoe_goal_loss, NULL-terminated; NULL: it has one. */
	const char *const *losses;
	/* Makes, on the arena, what steps read, as expert->prepared; by every member of a training.  NULL: nothing. */
	const void *(*prepare) (const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);
	/*
	 * What a training tries one after another, to keep what validates best: sets the options of attempt number, from
	 * 0, which change what is frozen and drawn but no shape, and returns its name; NULL: there is none of that
	 * number.  The first one begins with the lent encoder, if any.  Hook NULL: it tries one thing.
	 */
	const char *(*attempt) (FmoeConfig *config, int number);
	/* Sets parameters that follow from the data; by the leader, before the first epoch.  NULL: there are none. */
	void		(*start) (FmoeExpert *expert, const FnnHost *host);
	/* Sets parameters that are computed, not learned; by the leader, before validation.  NULL: there are none. */
	void		(*settle) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);

	/*
	 * The next five are all NULL, or none: a score is then a sum of parts with
	 * weights for each history, part 0 being the own expert.  NULL: one part.
	 * Only a class that is gated needs part_columns.
	 */
	int			(*part_count) (const FmoeConfig *config);
	const char *(*part_name) (const FmoeConfig *config, int part);
	/*
	 * begin[parts + 1]: the columns of states and item vectors that each part is a product of; where gated may be
	 * true and there are several.  Of computed vectors part 0 is what features make, the others are rows of the
	 * first parameter.
	 */
	void		(*part_columns) (const FmoeConfig *config, int64_t *begin);
	/* weight[sequences.count, parts]; no sequence is empty */
	void		(*weigh) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);
	/* contribution[n, parts] to the scores of items after a history of the batch, which led to that state */
	void		(*contribute) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
							   const fnn_real *state, int64_t n, const int32_t *item, double *contribution);
	/* How many layers there are after each of which parts are mixed; NULL, or 0: only their scores are. */
	int			(*mixed_layers) (const FmoeConfig *config);
	/* share[sequences.count, layers, parts] of the parts after each of them, 1 in all; no sequence is empty */
	void		(*weigh_layers) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *share);

	/*
	 * What an item's inputs add to its score after a history of the batch, which is not empty, before blend: fills at
	 * most max elements of out, returns their number.  NULL: nothing tells them apart.
	 */
	int			(*input_parts) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								int32_t item, int max, FmoeInputPart *out);

	/*
	 * Shape of the encoder that may be lent: the parameters of share FNN_PUBLIC.  NULL, or false: there is none.
	 * With encoder FMOE_OWN_ENCODER it is lent with the options of the model, which must say all shapes: its
	 * class declares it without features.
	 */
	bool		(*lends) (const FmoeConfig *config, FmoeShape *shape);
	/* Of a class whose models are built of lent ones that stay as they are; NULL: they are not. */
	const FmoeBuilding *building;
	/* A column of the interactions that says where an event comes from, for FmoeEvents.source; NULL, or "": none. */
	const char *(*source) (const FmoeConfig *config);
	/* What item vectors are computed from, in its options; NULL: it has no such list. */
	FmoeInputList *(*inputs) (FmoeConfig *config);
	/* The lent encoders that the model uses, in its options; NULL: it uses none. */
	FmoeLentList *(*borrows) (FmoeConfig *config);
	/* What the names of the parameters of lent encoder i, from 0, begin with: prefix[FNN_NAME_MAX]. */
	void		(*borrowed_prefix) (int i, char *prefix);
	/*
	 * Where a gate's prior comes from: "default", also as "", "lent", "none" or a lent expert's name; NULL: there is
	 * no gate.
	 */
	const char *(*gate_prior) (const FmoeConfig *config);
	/* Whether a version may go live; NULL: it may. */
	bool		(*goes_live) (const FmoeConfig *config);
	/* Whether a step reads the events of a basket in an order that is drawn for it; NULL: it does not. */
	bool		(*draws_baskets) (const FmoeConfig *config);
	/* How often training exchanges encoders with peers, and after how many epochs each time; NULL, or 0: never. */
	int			(*rounds) (const FmoeConfig *config, int *local_epochs);
	/* How it trains in rounds of users; NULL, or NULL: it does not. */
	const FmoeFederated *(*federated) (const FmoeConfig *config);
} FmoeExpertClass;

/* An expert, ready to compute with. */
struct FmoeExpert
{
	const FmoeExpertClass *class;
	const FmoeConfig *config;
	int32_t		n_items;
	const FnnParams *params;	/* layout of the parameters; NULL: the class only counts */
	FnnTensor  *tensor;			/* [params->count] where each slice is */
	FnnArray   *array;			/* of a counter, in the order of its array_names */
	const FmoeFeatures *features;	/* NULL: none */
	const FmoeFeatures *user_features;	/* NULL: none */
	const FmoeFeatures *strangers;	/* of items from n_items on, which histories may have (serve/strangers.c), with
									 * the same terms; NULL: there are none */
	const FmoeExpert *counts;	/* [FMOE_GATED] the model's experts, for a class that reads counts; NULL: not there */
	const FnnTensor *items;		/* vectors of all items as the hook items computed them; NULL: it has not */
	FnnTensor  *step_items;		/* of all items, of the hook step_items; NULL: learn computes vectors */
	const void *prepared;		/* of the hook prepare; NULL: outside of a training */
	const void *merged;			/* of the hook merge; NULL: parameters may change */
	uint32_t	without;		/* set of parts that are left out of its scores */
};

static inline bool
fmoe_by_clicks(const FmoeExpertClass *class)
{
	return class->judged_by == FMOE_BY_CLICKS;
}

static inline bool
fmoe_only_counts(const FmoeExpertClass *class)
{
	return class->counter != NULL;
}

/* Whether its parts are weighed by a gate, beside all experts that count. */
static inline bool
fmoe_is_gated(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->gated != NULL && class->gated(config);
}

/* Whether scores are no products of states and item vectors, but what the hook score gives. */
static inline bool
fmoe_scores_itself(const FmoeExpertClass *class, const FmoeConfig *config)
{
	return class->score != NULL && (class->scores == NULL || class->scores(config));
}

/* The own options of the configuration's class, as the struct that its table fills. */
static inline const void *
fmoe_own_options(const FmoeConfig *config)
{
	return config->own.bytes;
}

#endif							/* FMOE_MODEL_EXPERT_CLASS_H */

/*
 * class.h
 *	  What a class of experts is: the interface between a family of models and everybody else.
 *
 * A family is a folder (or a file of this one) and a row in registry.c.
 * Training, evaluation, the store, serving, explaining and the reports ask the
 * class; none of them knows one by name.  A hook that is NULL has the meaning
 * its comment gives, so a family brings only what makes it different.
 *
 * The score of an item after a history is, unless the class has a hook of its
 * own for it,
 *
 *		state of the history . vector of the item  +  terms of the item
 *
 * where few items have terms.  What finds the best items, scores many histories
 * at once and explains needs to know no more.
 */
#ifndef FMOE_MODEL_EXPERT_CLASS_H
#define FMOE_MODEL_EXPERT_CLASS_H

#include "model/config.h"
#include "model/data/data.h"

typedef struct FmoeExpert FmoeExpert;

/* What a version holds: the main expert, and those that count beside it. */
typedef enum FmoeExpertSlot
{
	FMOE_MAIN,
	FMOE_POPULARITY,
	FMOE_MARKOV,
	FMOE_SLOTS
} FmoeExpertSlot;

/* What a class reads beside items and times; a set of bits. */
typedef enum FmoeReads
{
	FMOE_READS_LABELS = 1,
	FMOE_READS_TEXT = 2,
	FMOE_READS_CATEGORIES = 4,
	FMOE_READS_PRICE = 8,
	FMOE_READS_VECTORS = 16,
	FMOE_READS_USERS = 32,
	FMOE_READS_COUNTS = 64,		/* what the experts that count have counted */
	FMOE_WEIGHS_COUNTS = 128	/* weighs these counts among its terms: blend adds nothing */
} FmoeReads;

/* Which states an encode is to give. */
typedef enum FmoeWhich
{
	FMOE_ALL_TOKENS,
	FMOE_LAST_TOKENS			/* of each sequence, none of which is empty */
} FmoeWhich;

/* When memory is taken. */
typedef enum FmoePhase
{
	FMOE_RECORDED,				/* forward and backward of a step, without the loss over the items */
	FMOE_UNRECORDED,			/* states of last tokens */
	FMOE_SETTLING				/* what settle takes */
} FmoePhase;

/* How many transitions there are to copy, at most: an item's row has no more items than times it was followed. */
typedef struct FmoeFollowers
{
	double		mean;			/* over the tokens that train, of their items' rows */
	double		all;			/* of all rows */
} FmoeFollowers;

/* What a class must know of the data to declare its parameters and to say what memory it takes. */
typedef struct FmoeFacts
{
	int32_t		n_items;
	const FmoeFeatures *features;	/* NULL: none */
	FmoeFollowers followers;	/* where counts are read; not needed to declare */
} FmoeFacts;

#define FMOE_LOSSES_MAX 8

/* What the positions of a recorded batch are to be continued with, and what that counts. */
typedef struct FmoeGoal
{
	const int32_t *target;		/* [n_tokens] */
	double		weight;			/* of a position: 1 / those of the whole step */
	double		sequence_weight;	/* of a sequence: 1 / those of the whole step */
	int64_t		step;			/* from 1 */
	uint64_t	seed;
	uint64_t	stream;			/* for random numbers: of this step's shard */
	int32_t		n_negatives;	/* of gbce; 0: softmax over all items */
	const int32_t *negative;
	double		beta;
	double		told;			/* of the tape's loss: what fmoe_goal_loss has named */
	double		loss[FMOE_LOSSES_MAX];	/* parts of the loss, as the class names them */
} FmoeGoal;

/* Numbers that are added to an item's score. */
typedef struct FmoeTerms
{
	int64_t		n;
	const int32_t *item;		/* [n] ascending */
	const double *value;		/* [n] */
} FmoeTerms;

/* Where parameters are declared, and as what: a name begins with prefix. */
typedef struct FmoeDeclaring
{
	FnnParams  *params;
	const FnnHost *host;
	const char *prefix;
	FnnShare	share;
	unsigned	frozen;			/* set of groups whose slices do not learn */
} FmoeDeclaring;

/* The arrays of a class that only counts, made in one pass over each user's events that train. */
typedef struct FmoeCounter
{
	/* fills expert->array from the events, on the arena */
	void		(*count) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout);
	const char *const *array_names; /* NULL-terminated */
	const FnnDtype *array_dtypes;	/* one each; all arrays have one dimension */
	/* bytes that count takes on the arena, of which the arrays are a part */
	double		(*bytes) (double n_events, double n_items);
	/* fails with FNN_FORMAT when arrays from outside do not fit each other or the items */
	void		(*check) (const FmoeExpert *expert, const FnnHost *host);
} FmoeCounter;

#define FMOE_ARRAYS_MAX 8		/* of a counter */
#define FMOE_PARTS_MAX 32		/* that a score is the sum of */

typedef struct FmoeExpertClass
{
	const char *name;
	const char *summary;		/* one line, lower case */
	const FmoeCounter *counter; /* NULL: the class learns by gradient */

	/* Options of its own, which fill FmoeConfig.own; NULL: none. */
	const FmoeOption *options;
	/* Whether the options fit each other; NULL: they always do. */
	bool		(*fits) (const FmoeConfig *config, FmoeMisfit *misfit);
	/* Set of FmoeReads; NULL: nothing but items and times. */
	unsigned	(*reads) (const FmoeConfig *config);

	/* Declares the parameters; without the hook items below, the first one is the table of item vectors. */
	void		(*declare) (FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts);
	/* Bytes on the arena for so many tokens of so many sequences, or cases, in a phase. */
	double		(*bytes) (const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens,
						  double cases);
	/* Multiplications of one token's forward pass, with its scores of n_scored items; NULL: width * n_scored. */
	double		(*multiplications) (const FmoeConfig *config, double n_scored);
	/* States [rows, d] after the tokens. */
	FnnTensor  *(*encode) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which);
	/*
	 * Vectors [n, d] of items that states are multiplied with; item NULL: of items
	 * 0 .. n - 1.  NULL: the rows of the first parameter.
	 */
	FnnTensor  *(*items) (const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item);
	/* Terms of the scores after a history, on the arena, whose last item and state these are; NULL: there are none. */
	FmoeTerms	(*terms) (const FmoeExpert *expert, FnnArena *arena, int32_t last, const fnn_real *state);
	/* score[n] of items (NULL: of all) after one history of the batch; NULL: state . vector + terms. */
	void		(*score) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
						  int64_t n, const int32_t *item, fnn_real *score);

	/* Puts encode and losses on the tape; NULL: the loss of the scores alone. */
	void		(*learn) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal);
	/* Names of the losses that learn adds up with fmoe_goal_loss, NULL-terminated; NULL: there is one. */
	const char *const *losses;
	/* Leader, before the first epoch: parameters that follow from the data; NULL: there are none. */
	void		(*start) (FmoeExpert *expert, const FnnHost *host);
	/* Leader, before validation: parameters that are computed, not learned; NULL: there are none. */
	void		(*settle) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);

	/*
	 * What scores are sums of: parts with weights that the class gives each
	 * history; part 0 is its own expert.  NULL, all four: one part of weight 1.
	 */
	int			(*part_count) (const FmoeConfig *config);
	const char *(*part_name) (const FmoeConfig *config, int part);
	/* weight[sequences.count, parts]; no sequence is empty */
	void		(*weigh) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);
	/* contribution[n, parts] to the scores of items after the history whose last item and state these are */
	void		(*contribute) (const FmoeExpert *expert, FnnArena *arena, int32_t last, const fnn_real *state,
							   int64_t n, const int32_t *item, double *contribution);

	/*
	 * The encoder that may be lent, which the declared parameters of share FNN_PUBLIC are; NULL, or false: there is
	 * none.
	 */
	bool		(*lends) (const FmoeConfig *config, FmoeShape *shape);
	/* The lent encoders that the model uses, in its options; NULL: it uses none. */
	FmoeLentList *(*borrows) (FmoeConfig *config);
	/* What the names of the parameters of lent encoder i, from 0, begin with: prefix[FNN_NAME_MAX]. */
	void		(*borrowed_prefix) (int i, char *prefix);
	/* Exchanges with peers while training: at most so many, each after so many epochs; NULL, or 0: none. */
	int			(*rounds) (const FmoeConfig *config, int *local_epochs);
} FmoeExpertClass;

/* An expert as those see it who compute with it. */
struct FmoeExpert
{
	const FmoeExpertClass *class;
	const FmoeConfig *config;
	int32_t		n_items;
	const FnnParams *params;	/* of a class that learns: layout … */
	FnnTensor  *tensor;			/* … and where each slice is [params->count] */
	FnnArray   *array;			/* of a counter, in the order of its array_names */
	const FmoeFeatures *features;	/* NULL: none */
	const FmoeExpert *counts;	/* [FMOE_SLOTS] the model's experts, for those that read counts; NULL: not at hand */
	uint32_t	without;		/* set of parts that are to be done without */
};

static inline bool
fmoe_only_counts(const FmoeExpertClass *class)
{
	return class->counter != NULL;
}

/* The options of its own that an expert's class brings. */
static inline const void *
fmoe_own_options(const FmoeConfig *config)
{
	return config->own.bytes;
}

#endif							/* FMOE_MODEL_EXPERT_CLASS_H */

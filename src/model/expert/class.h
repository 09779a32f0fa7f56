/*
 * class.h
 *	  What an expert class is: the interface between a family of models and everybody else.
 */
#ifndef FMOE_MODEL_EXPERT_CLASS_H
#define FMOE_MODEL_EXPERT_CLASS_H

#include "model/config.h"
#include "model/data/data.h"

typedef struct FmoeExpert FmoeExpert;

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
} FmoeGoal;

typedef struct FmoeExpertClass
{
	const char *name;
	const char *summary;		/* one line, lower case */

	/* Gradient experts.  The first parameter declared is the item table [n_items, width]. */
	void		(*declare) (FnnParams *params, const FnnHost *host, const FmoeConfig *config, int32_t n_items);
	/* [n_tokens, width], or [sequences.count, width] of the last tokens when last_only */
	FnnTensor  *(*encode) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, bool last_only);
	/* what encode does with its input vectors x [n_tokens, width]; NULL: this is no encoder that can be lent */
	FnnTensor  *(*run) (const FmoeExpert *expert, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, bool last_only);
	/* parameters declared for the configuration, the item table included; with run */
	int			(*slices) (const FmoeConfig *config);
	bool		positions;		/* the second one is the table of positions; with run */
	/* encode and losses on the tape; NULL: the loss of the scores alone */
	void		(*learn) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal);
	/* leader, before the first epoch: parameters that follow from the data; NULL: there are none */
	void		(*start) (FmoeExpert *expert, const FnnHost *host);
	/* leader, before validation: parameters that are computed, not learned; NULL: there are none */
	void		(*settle) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);
	/* reals on the arena for each token of a recorded encode and its backward, or of an unrecorded one of last tokens */
	int64_t		(*token_reals) (const FmoeConfig *config, bool recorded);

	/* Count experts: arrays are made on the arena from each user's first train_end events. */
	void		(*count) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout);
	/* score[n_items] of one history of the batch */
	void		(*score) (const FmoeExpert *expert, const FmoeBatch *batch, int32_t sequence, fnn_real *score);
	const char *const *array_names; /* of a count expert, NULL-terminated */
	const FnnDtype *array_dtypes;	/* one each; all arrays have one dimension */
	/* fails with FNN_FORMAT when arrays from outside do not fit each other or the items */
	void		(*check) (const FmoeExpert *expert, const FnnHost *host);
} FmoeExpertClass;

#define FMOE_ARRAYS_MAX 8

struct FmoeExpert
{
	const FmoeExpertClass *class;
	FmoeConfig	config;
	int32_t		n_items;
	FnnParams	params;			/* gradient experts: layout … */
	FnnTensor	tensor[FNN_PARAMS_MAX]; /* … and where each slice is */
	FnnArray	array[FMOE_ARRAYS_MAX]; /* count experts, in the order of array_names */
	const FmoeExpert *popularity;	/* a mixture's count experts, where it uses them */
	const FmoeExpert *markov;
	uint32_t	without;		/* set of gated experts that a mixture does without */
};

static inline bool
fmoe_counts(const FmoeExpertClass *class)
{
	return class->count != NULL;
}

/* The configuration that an expert's own encoder has by itself: of a mixture, its own expert's. */
extern FmoeConfig fmoe_encoder_config(const FmoeConfig *config);
/* Length of item vectors: of a mixture, of all its experts' together. */
extern int64_t fmoe_item_width(const FmoeConfig *config);

/*
 * Experts that a mixture weighs: the own one, then those lent, then (option
 * count_experts) popularity and markov.  0 for other models.
 */
extern int	fmoe_gated_count(const FmoeConfig *config);
extern const char *fmoe_gated_name(const FmoeConfig *config, int expert);

#endif							/* FMOE_MODEL_EXPERT_CLASS_H */

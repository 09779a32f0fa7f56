/*
 * experts.h
 *	  What the files of the model room share among themselves.
 */
#ifndef FMOE_EXPERTS_H
#define FMOE_EXPERTS_H

#include "model.h"

extern const FmoeExpertClass fmoe_sasrec_class;
extern const FmoeExpertClass fmoe_gru4rec_class;
extern const FmoeExpertClass fmoe_popularity_class;
extern const FmoeExpertClass fmoe_markov_class;
extern const FmoeExpertClass fmoe_mixture_class;

/* dtype of parameters in this build */
#ifdef FNN_DOUBLE
#define FMOE_REAL_DTYPE FNN_F64
#else
#define FMOE_REAL_DTYPE FNN_F32
#endif

/* What the evaluator gives an expert at a time: at most so many bytes of scores, and tokens (one history more). */
#define FMOE_BLOCK_SCORE_BYTES (16 << 20)
#define FMOE_BLOCK_TOKENS_MAX 16384
#define FMOE_BLOCK_CASES_MAX 256

/* Standard deviation of freshly drawn matrices and item vectors. */
#define FMOE_INIT_SCALE 0.02

/*
 * Every random draw of the room has its own stream: the purpose in the upper
 * bits, what it is for (an epoch, a step and shard, an event) below.
 */
typedef enum FmoeStream
{
	FMOE_STREAM_PARAMS,			/* fnn_params_init numbers these by slice */
	FMOE_STREAM_ORDER,			/* of an epoch's sequences */
	FMOE_STREAM_DROPOUT,		/* of a step's shard */
	FMOE_STREAM_NEGATIVES,		/* of a step's shard */
	FMOE_STREAM_CASES,			/* users of an evaluation */
	FMOE_STREAM_CANDIDATES,		/* of one case */
	FMOE_STREAM_PERMUTATION,	/* of a step's shard */
	FMOE_STREAM_RESAMPLE,		/* of a bootstrap's resample */
	FMOE_STREAM_CALIBRATION		/* of one case */
} FmoeStream;

static inline uint64_t
fmoe_stream(FmoeStream purpose, uint64_t number)
{
	return ((uint64_t) purpose << 56) + number;
}

/* The item table of a gradient expert [n_items, width]: by touched rows when the loss touches few. */
extern FnnParam *fmoe_declare_items(FnnParams *params, const FnnHost *host, const FmoeConfig *config,
									int32_t n_items);
/* A matrix that decays. */
extern void fmoe_declare_matrix(FnnParams *params, const FnnHost *host, const char *name,
								int64_t rows, int64_t cols, FnnInit init, double init_scale);
/* A row vector that does not. */
extern void fmoe_declare_vector(FnnParams *params, const FnnHost *host, const char *name,
								int64_t cols, FnnInit init, double init_scale);

static inline FnnTensor *
fmoe_parameter(const FmoeExpert *expert, int index)
{
	return (FnnTensor *) &expert->tensor[index];
}

/* Class, configuration, layout; the tensors are bound by the caller. */
extern void fmoe_expert_setup(FmoeExpert *expert, const FnnHost *host, const FmoeExpertClass *class,
							  const FmoeConfig *config, int32_t n_items);
/* Lets a mixture read the model's count experts, which must outlive it. */
extern void fmoe_expert_use_counts(FmoeExpert *expert, const FmoeModel *model);
/* What followed an item in training: to[n] ascending, how often, and the counts' sum. */
typedef struct FmoeTransitions
{
	int64_t		n;
	const int32_t *to;
	const float *count;
	double		sum;
} FmoeTransitions;

extern FmoeTransitions fmoe_transitions(const FmoeExpert *markov, int32_t item);
/* Of all items. */
extern int64_t fmoe_transitions_count(const FmoeExpert *markov);

/*
 * The items whose scores are raised after a history's last item, because they
 * followed it in training (blend.c): row entry k's by fmoe_raised_by().
 */
typedef struct FmoeRaised
{
	FmoeTransitions row;		/* empty: none are */
	double		blend;			/* as config.blend says */
	double		gate;			/* the weight that a mixture gives to counted transitions … */
	const FnnTensor *table;		/* … and the item table, which knows items' shares: */
	int64_t		share;			/* their logarithms, in this column */
} FmoeRaised;

/* hidden[item width]: the history's state */
extern FmoeRaised fmoe_raised(const FmoeModel *model, int32_t last, const fnn_real *hidden);
extern double fmoe_raised_by(const FmoeRaised *raised, int64_t k);
/* The weight that validation speaks for, of a model whose main expert is an encoder. */
extern double fmoe_blend_choose(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data);

/* What a transition that was seen count times adds to its item's logit, above the logarithm of the item's share. */
extern double fmoe_count_term(double count, double log_share);
/* Where an item is among n ascending ones; -1: it is not. */
extern int64_t fmoe_place(int64_t n, const int32_t *ascending, int32_t item);
/* The batch without its empty sequences; of[sequences.count]: which sequence the i-th one was. */
extern FmoeBatch fmoe_without_empty(FnnArena *arena, const FmoeBatch *batch, int32_t *of);
/* The loss of hidden [n_tokens, …] against a table's rows; extra may be NULL, and counts for softmax only. */
extern void fmoe_add_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const FmoeGoal *goal,
						  const FnnSoftmaxExtra *extra);

/* An expert's arrays by name; fills out[at most max], returns their number. */
extern int	fmoe_expert_arrays(const FmoeExpert *expert, FnnArray *out, int max);
/* A count expert's array number index, of n values. */
extern void fmoe_set_array(FmoeExpert *expert, int index, FnnDtype dtype, int64_t n, void *data);

/* How many transitions there are to copy, at most: an item's row has no more items than times it was followed. */
typedef struct FmoeFollowers
{
	double		mean;			/* over the tokens that train, of their items' rows */
	double		all;			/* of all rows */
} FmoeFollowers;

/* Reals of an encode that do not grow with the tokens: a layer's weights transposed; a mixture's members, their adapted matrices. */
extern double fmoe_layer_reals(const FmoeConfig *config);
/* Bytes of the evaluator's block of so many cases, the longest of so many events. */
extern double fmoe_block_bytes(const FmoeConfig *config, int32_t n_items, double cases, double longest,
							   const FmoeFollowers *followers);

#endif							/* FMOE_EXPERTS_H */

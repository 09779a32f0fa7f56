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
	FMOE_STREAM_CANDIDATES		/* of one case */
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
/* What followed an item in training: to[n] ascending, how often, and the counts' sum. */
typedef struct FmoeTransitions
{
	int64_t		n;
	const int32_t *to;
	const float *count;
	double		sum;
} FmoeTransitions;

extern FmoeTransitions fmoe_transitions(const FmoeExpert *markov, int32_t item);

/* Raises the items that followed the sequence's last one, as model->config.blend says (blend.c). */
extern void fmoe_blend_add(const FmoeModel *model, const FmoeBatch *batch, int32_t sequence, fnn_real *score);
/* The items that are raised after last: empty unless blend is positive. */
extern FmoeTransitions fmoe_blend_row(const FmoeModel *model, int32_t last);
/* What entry k of such a row is raised by. */
extern double fmoe_blend_bonus(const FmoeModel *model, const FmoeTransitions *row, int64_t k);
/* The weight that validation speaks for, of a model whose main expert is an encoder. */
extern double fmoe_blend_choose(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data);

/* A count expert's array number index, of n values. */
extern void fmoe_set_array(FmoeExpert *expert, int index, FnnDtype dtype, int64_t n, void *data);

#endif							/* FMOE_EXPERTS_H */

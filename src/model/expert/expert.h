/*
 * expert.h
 *	  What families of models are made of; knows none of them.
 */
#ifndef FMOE_MODEL_EXPERT_EXPERT_H
#define FMOE_MODEL_EXPERT_EXPERT_H

#include "model/expert/class.h"

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

/* Standard deviation of freshly drawn matrices and item vectors. */
#define FMOE_INIT_SCALE 0.02

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
/* The loss of hidden [n_tokens, …] against a table's rows; extra may be NULL, and counts for softmax only. */
extern void fmoe_add_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const FmoeGoal *goal,
						  const FnnSoftmaxExtra *extra);

/* An expert's arrays by name; fills out[at most max], returns their number. */
extern int	fmoe_expert_arrays(const FmoeExpert *expert, FnnArray *out, int max);
/* A count expert's array number index, of n values. */
extern void fmoe_set_array(FmoeExpert *expert, int index, FnnDtype dtype, int64_t n, void *data);

/* ---------------------------------------------------------------- experts */

#endif							/* FMOE_MODEL_EXPERT_EXPERT_H */

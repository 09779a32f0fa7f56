/*
 * raise.h
 *	  Items whose scores are raised after a history, because they followed its last item.
 */
#ifndef FMOE_MODEL_SERVE_RAISE_H
#define FMOE_MODEL_SERVE_RAISE_H

#include "model/expert/markov.h"
#include "model/serve/serve.h"

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

#endif							/* FMOE_MODEL_SERVE_RAISE_H */

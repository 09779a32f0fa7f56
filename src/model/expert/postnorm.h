/*
 * postnorm.h
 *	  Transformer blocks that normalise after each sum (Vaswani et al. 2017, section 3.1),
 *	  with the activation of BERT (Devlin et al. 2019, section 3):
 *
 *		y  = norm1(x + dropout(output(attention(query(x), key_value(x)))))
 *		x' = norm2(y + dropout(outer(gelu(inner(y)))))
 *
 * Attention is causal inside a sequence; the items of a basket see each other, and
 * the last block asks once for all of them, with the mean of what it is given of
 * them, as the encoder sasrec does.
 */
#ifndef FMOE_MODEL_EXPERT_POSTNORM_H
#define FMOE_MODEL_EXPERT_POSTNORM_H

#include "model/expert/class.h"

typedef struct FmoePostnorm
{
	int			width;			/* a multiple of heads */
	int			inner;			/* width between inner and outer */
	int			heads;
	int			layers;
	double		epsilon;		/* of the norms */
	double		dropout;		/* of both sums and of the attention's weights */
} FmoePostnorm;

/*
 * Declares, behind the prefix of to, "block.N.query", "key_value", "output",
 * "norm1", "inner", "outer" and "norm2" of each layer N from 0, in the group FNN_ENCODER.
 */
extern void fmoe_declare_postnorm(FmoeDeclaring *to, const FmoePostnorm *blocks);
/* How many slices that declares. */
extern int	fmoe_postnorm_slices(const FmoePostnorm *blocks);
/*
 * States of inputs x [n_tokens, width]: [n_tokens, width], or [sequences.count,
 * width] with FMOE_LAST_TOKENS, where no sequence is empty.  tensor: the first slice.
 */
extern FnnTensor *fmoe_postnorm_run(const FmoePostnorm *blocks, FnnTensor *tensor, FnnTape *tape, FnnTensor *x,
									const FmoeBatch *batch, FmoeWhich which);
/* Reals on the arena for each token, beside the inputs: of a recorded pass with its backward, or of last tokens. */
extern double fmoe_postnorm_token_reals(const FmoePostnorm *blocks, bool recorded);
/* Reals that a pass of last tokens takes besides: for each sequence, and what a map's weight takes while it runs. */
extern double fmoe_postnorm_last_reals(const FmoePostnorm *blocks);
extern double fmoe_postnorm_map_reals(const FmoePostnorm *blocks);
/* Multiplications of a token's forward pass in the linear maps. */
extern double fmoe_postnorm_multiplications(const FmoePostnorm *blocks);

#endif							/* FMOE_MODEL_EXPERT_POSTNORM_H */

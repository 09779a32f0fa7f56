/*
 * borrow.h
 *	  Lent experts in a training: which ones, their weights, rounds.
 */
#ifndef FMOE_PG_TRAIN_BORROW_H
#define FMOE_PG_TRAIN_BORROW_H

#include "pg/train/train.h"

/* The lent experts that a training uses. */
typedef struct FmoeBorrowing
{
	int			count;
	FmoeLent	lent[FMOE_LENT_MAX];	/* in the order of the configuration's list */
	FmoeGatePrior prior;		/* of a gate, where the model has one */
	int			gates;			/* how many lent ones are in it */
	FmoeLent	start;			/* whose weights the own encoder begins with; name NULL: nobody's */
} FmoeBorrowing;

/*
 * Finds the lent experts that a configuration names, or all there are, and writes
 * their names and shapes into its list.  Classes without such a list borrow only
 * what start_encoder names.  Fails when a name was not lent, when there are more
 * than FMOE_LENT_MAX, or when the encoder to start from has another shape.  The
 * result is in the current context.
 */
extern FmoeBorrowing *fmoe_borrow(const FmoeDomain *domain, FmoeConfig *config);
/* One of a list of lent experts by its name; fails when it is not there or may not be read. */
extern const FmoeLent *fmoe_need_lent(const FmoeDomain *domain, int n, const FmoeLent *list, const char *name);
/* Sets the prior of a gate.  Fails when a lent expert is named that was not lent or has no gate. */
extern void fmoe_borrow_prior(const FmoeDomain *domain, const FmoeConfig *config, FmoeBorrowing *borrowing);
/* Copies the weights of the lent encoders, and those to start from, into the trainer. */
extern void fmoe_borrow_weights(const FmoeBorrowing *borrowing, FmoeTrainer *trainer);
/* Takes over what has been lent since under the same names; returns how many. */
extern int	fmoe_borrow_newer(const FmoeDomain *domain, FmoeBorrowing *borrowing, FmoeConfig *config,
							  FmoeTrainer *trainer);

/* Lends the trainer's own encoder as it is after a round, unless the domain shares nothing. */
extern void fmoe_lend_round(FmoeDomain *domain, const FmoeInteractions *interactions, const FmoeConfig *config,
							const FmoeTrainer *trainer, int round);

#endif							/* FMOE_PG_TRAIN_BORROW_H */

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
	FmoeLent	lent[FMOE_LENT_MAX];	/* in the order of that list */
	FmoeLent	start;			/* the own encoder begins with its weights; name NULL: with none */
} FmoeBorrowing;

/*
 * Settles the list of lent experts in the configuration: the names asked for, or all that there are, become
 * names with shapes.  Other models borrow only what start_encoder names.  A
 * name that was not lent, more experts than FMOE_LENT_MAX and an encoder to
 * start from of another shape are errors.  Memory of the current context.
 */
extern FmoeBorrowing *fmoe_borrow(const FmoeDomain *domain, FmoeConfig *config);
/* Puts the lent encoders' weights, and those to start from, where the trainer keeps them. */
extern void fmoe_borrow_weights(const FmoeBorrowing *borrowing, FmoeTrainer *trainer);
/* Takes over what has been lent since under the same names; returns how many. */
extern int	fmoe_borrow_newer(const FmoeDomain *domain, FmoeBorrowing *borrowing, FmoeConfig *config,
							  FmoeTrainer *trainer);

/* Lends the trainer's own encoder as it is after a round, unless the domain shares nothing. */
extern void fmoe_lend_round(const FmoeDomain *domain, const FmoeInteractions *interactions, const FmoeConfig *config,
							const FmoeTrainer *trainer, int round);

#endif							/* FMOE_PG_TRAIN_BORROW_H */

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
	/* in the order of the configuration's list; of a model that is built of lent ones, behind its base */
	FmoeLent	lent[FMOE_BUILT_MAX];
	FmoeGatePrior prior;		/* of a gate, where the model has one */
	int			gates;			/* how many lent ones are in it */
	FmoeLent	start;			/* whose weights the own encoder begins with; name NULL: nobody's */
} FmoeBorrowing;

/*
 * Finds the lent experts that a configuration names, or all there are, and writes
 * their names and shapes into its list.  Classes without such a list borrow only
 * what start_encoder names; of that one, inputs that are not given are taken.
 * Fails when a name was not lent, when it is of a kind that no mixture has, or when
 * there are more than FMOE_LENT_MAX.  The result is in the current context.
 */
extern FmoeBorrowing *fmoe_borrow(const FmoeDomain *domain, FmoeConfig *config);
/*
 * Finds the inputs that a configuration names among the items' features, with a NOTICE for one that is
 * not there and an error for one of another length; where none are named, lists all there are.
 */
extern void fmoe_find_inputs(const FmoeDomain *domain, const FmoeFeatures *features, FmoeConfig *config);
/*
 * Fails where a caller's options give what a base decides, and give it otherwise.  asked: the configuration as the
 * options alone make it.
 */
extern void fmoe_borrow_check_given(Jsonb *options, const FmoeConfig *asked, const FmoeConfig *config);
/* Fails unless the encoder to start from, if any, has the shape of the own one of the whole configuration. */
extern void fmoe_borrow_check(const FmoeDomain *domain, const FmoeConfig *config, const FmoeBorrowing *borrowing);
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

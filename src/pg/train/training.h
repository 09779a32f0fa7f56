/*
 * training.h
 *	  The state of one CALL fmoe_train, shared by the files that carry it out.
 *
 * call.c is the walk through its phases, hold.c its transactions and locks, warm.c starts from the live version,
 * rounds.c exchanges with peers between epochs, notice.c tells the caller.
 */
#ifndef FMOE_PG_TRAIN_TRAINING_H
#define FMOE_PG_TRAIN_TRAINING_H

#include "pg/evaluate/evaluate.h"
#include "pg/train/borrow.h"

#include "utils/timestamp.h"

typedef struct FmoeTraining
{
	MemoryContext context;
	bool		atomic;
	bool		adopted;		/* a lent model as it is: no weight is trained */
	bool		untrained;		/* there is nothing to learn: it counts instead */
	bool		locked;			/* session lock to be released by hand */
	bool		fresh;			/* a snapshot is pushed that sees what this transaction has done so far */
	Oid			tables;			/* fmoe.domain: another one, if the extension is made anew */
	FmoeDomain *domain;
	FmoeConfig	config;
	Jsonb	   *options;		/* as they were given; NULL: none were */
	Jsonb	   *identity;		/* the options that the weights depend on */
	FmoeInteractions *interactions;
	FmoeVersion *live;			/* when training began; NULL: none */
	FmoeBorrowing *borrowing;
	FnnArena   *arena;
	FmoeCrew   *crew;			/* NULL for experts that only count */
	FmoeTrainer *trainer;		/* NULL for experts that only count */
	int			version;		/* that it has made; 0: none yet */
	FmoeTrainState state;		/* of the finished training */
	fnn_real   *common;			/* with exchanges of what is shared: the values that all parties have; NULL: without */
	TimestampTz started;
	double		earlier_seconds;	/* spent before the training was cut off */
	TimestampTz epochs_started; /* for the estimate of the time left */
	TimestampTz evaluation_started; /* likewise */
	int			first_epoch;	/* how many were done before that */
	TimestampTz saved;			/* when the last checkpoint was taken … */
	int			saved_epoch;	/* … and after which epoch; 0: none */
} FmoeTraining;

/* Reads interactions and items into memory; fails where there is nothing to begin with. */
extern void fmoe_training_read(FmoeTraining *training);
/* Sets options that depend on the data, and what tells whether a training can be continued. */
extern void fmoe_training_complete(FmoeTraining *training);
/* Evaluates and stores what the trainer has; it goes live if the options say so and it is not worse. */
extern void fmoe_training_finish(FmoeTraining *training);
/* Ends the transaction and its snapshots, where that may be done; memory and lock stay. */
extern void fmoe_training_commit(FmoeTraining *training);
/*
 * The same of a transaction that has only fetched from others, outside of any other: where one of them is gone
 * by now, what was fetched is, too, which is a WARNING.
 */
extern void fmoe_training_commit_reading(FmoeTraining *training);
/* Takes the lock that lets one training of a domain run at a time; fails when another has it. */
extern void fmoe_training_lock(FmoeTraining *training);
/* Releases it, where it is a lock of the session. */
extern void fmoe_training_unlock(FmoeTraining *training);
/* Fails unless the extension still is what it was, and keeps it so until the end of the transaction. */
extern void fmoe_training_check_extension(const FmoeTraining *training);
/*
 * Fails unless the domain, too, still is what was read, and keeps it so until the end of
 * the transaction.  Returns its name, which may have changed.
 */
extern char *fmoe_training_recheck(const FmoeTraining *training);
/* Says when the times are hardly what they are taken for. */
extern void fmoe_training_check_times(const FmoeTraining *training);
/* Fails where the model needs to know of items what the domain has no columns for; after reading: what is in none. */
extern void fmoe_training_check_features(const FmoeTraining *training);
/* Says what labels are taken for that do not speak for themselves. */
extern void fmoe_training_check_labels(const FmoeTraining *training);
/* Says how much memory the training will take, and refuses when that is not allowed. */
extern void fmoe_training_announce(FmoeTraining *training);
/* Tells the caller about the epoch that has ended. */
extern void fmoe_training_report_epoch(const FmoeTraining *training);
/* Fails where the budget of rounds with noise is less than one of them spends. */
extern void fmoe_training_check_budget(const FmoeConfig *config);
/* Says that the budget has ended the training, if it has. */
extern void fmoe_training_report_spent(const FmoeTraining *training);
/* Tells the caller about the version; objection: why it does not go live; NULL: it does. */
extern void fmoe_training_report_version(const FmoeTraining *training, const FmoeVersion *version,
										 const FmoeVerdict *verdict, const char *objection);
/* Copies the live version's weights into the trainer, as far as names and shapes agree. */
extern void fmoe_training_start_warm(const FmoeTraining *training);
/* Before the first epoch: the common state is what the trainer has. */
extern void fmoe_training_begin_exchanges(FmoeTraining *training);
/* Gives others what users have changed of what is shared, and goes on from the common state that comes of it. */
extern void fmoe_training_exchange(FmoeTraining *training, int round);
/* Fetches what peers lend, and takes over what is newer than in the last round. */
extern void fmoe_training_begin_round(FmoeTraining *training, int round);

static inline double
fmoe_seconds_since(TimestampTz start)
{
	return (GetCurrentTimestamp() - start) / (double) USECS_PER_SEC;
}

#endif							/* FMOE_PG_TRAIN_TRAINING_H */

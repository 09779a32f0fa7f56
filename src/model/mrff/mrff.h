/*
 * mrff.h
 *	  Inside of model mrff: what it consists of, and what its files share.
 *
 * The model predicts whether an impression is clicked (multifaceted user modelling,
 * arXiv 2412.16969, section 3).  Its parameters are of three kinds: public ones, those
 * of a group that a gate puts users into, block by block, and a row of each user's own.
 *
 * options.c has the options, layout.c knows where the parameters are and declares
 * them, inputs.c makes vectors of items and users, rates.c what is counted in a
 * history, forward.c the states, head.c predictions, learn.c the losses, memory.c what
 * all this takes, class.c is the class.
 */
#ifndef FMOE_MODEL_MRFF_MRFF_H
#define FMOE_MODEL_MRFF_MRFF_H

#include "model/expert/expert.h"
#include "model/expert/rates.h"

extern const FmoeExpertClass fmoe_mrff_class;

/* ---------------------------------------------------------------- options */

/* How a group's map enters the states. */
typedef enum FmoeMrffGate
{
	FMOE_MRFF_HARD,				/* as it is: no gradient of the clicks reaches the gate, as in the paper */
	FMOE_MRFF_WEIGHTED			/* times the probability that the gate gives it */
} FmoeMrffGate;

/* What of the item table the vectors of items are made of. */
typedef enum FmoeMrffItems
{
	FMOE_MRFF_CATEGORIES,
	FMOE_MRFF_ALL_FEATURES,		/* texts, prices and given vectors too */
	FMOE_MRFF_NO_FEATURES
} FmoeMrffItems;

/* Whose the vectors of users' features are. */
typedef enum FmoeMrffUsers
{
	FMOE_MRFF_NO_USERS,
	FMOE_MRFF_SHARED,			/* everybody's */
	FMOE_MRFF_OWN				/* a part of each user's private row, as in the paper */
} FmoeMrffUsers;

typedef struct FmoeMrffOptions
{
	int			groups;
	int			group_gate;		/* FmoeMrffGate */
	double		balance;		/* weight of the loss that keeps groups alike in size */
	bool		residual;		/* the maps of a block are added to their input, not put in its place */
	bool		private_rows;	/* users have a map of their own in each block */
	int			item_features;	/* FmoeMrffItems */
	int			user_features;	/* FmoeMrffUsers */
	bool		past_labels;	/* whether past impressions were clicked is an input */
	bool		history_rates;	/* click rates counted in the history are an input of the head */
	bool		ids;			/* items have vectors of their own beside those of their categories */
	FmoeFederated federated;
} FmoeMrffOptions;

extern const FmoeOption fmoe_mrff_options[];	/* fills FmoeMrffOptions */
extern const char *const fmoe_mrff_defaults[];
extern const char *const *fmoe_mrff_unused(const FmoeConfig *config);
extern bool fmoe_mrff_fits(const FmoeConfig *config, FmoeMisfit *misfit);
extern unsigned fmoe_mrff_reads(const FmoeConfig *config);

static inline const FmoeMrffOptions *
fmoe_mrff_own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

/* ---------------------------------------------------------------- layout */

/* The head's width. */
#define FMOE_MRFF_HEAD 32
/* Rates of a history beside those of the item's categories. */
#define FMOE_MRFF_RATES 2

/* Slices of a block, in the order of declaration. */
enum
{
	FMOE_MRFF_NORM1,			/* gain, bias */
	FMOE_MRFF_QUERY = 2,		/* weight, bias, as those that follow */
	FMOE_MRFF_KEY_VALUE = 4,
	FMOE_MRFF_OUTPUT = 6,
	FMOE_MRFF_NORM2 = 8,
	FMOE_MRFF_GATE = 10,
	FMOE_MRFF_GROUPS = 12,		/* [groups, 2 width (width + 1)]: a row is a group's two maps, each with its bias */
	FMOE_MRFF_BLOCK_SLICES = 13
};

/* Where the parameters are: numbers of slices, -1 where there is none. */
typedef struct FmoeMrffLayout
{
	int			n_item_features;
	int			item_feature[FMOE_FEATURES_MAX];	/* which of the items' features; their tables are slices 0 … */
	int			n_dense_features;
	int			dense_feature[FMOE_FEATURES_MAX];	/* those that are rows of numbers */
	int			dense;			/* maps of them [width of a category, numbers] */
	int			ids;
	int			label;			/* [2, width]: not clicked, clicked */
	int			position;
	int			block;			/* first slice of block 0 */
	int			norm;			/* of the states: gain, bias */
	int			head;			/* weight [32, 2 width + user_width], bias, weight [1, 32], bias */
	int			rates;			/* weight [1, n_rates]; frozen [1, 2], what rates are pulled to, its logit and
								 * strength */
	int			odds;			/* [values + 1, 1] of each category */
	int			n_user_features;
	int			user_feature[FMOE_FEATURES_MAX];	/* which of the users' features */
	int			user;			/* their tables, where everybody's */
	int			private_rows;	/* [users, private_columns]: a user's maps, block by block, then their tables */
	int64_t		width;			/* of items and states */
	int64_t		user_width;
	int64_t		map;			/* numbers of two maps with their biases */
	int64_t		private_columns;
	int			n_rates;
} FmoeMrffLayout;

/* features may be NULL; users: there are rows of users. */
extern void fmoe_mrff_layout(const FmoeConfig *config, const FmoeFeatures *features, const FmoeFeatures *user_features,
							 bool users, FmoeMrffLayout *layout);
/* The same of an expert. */
extern void fmoe_mrff_layout_of(const FmoeExpert *expert, FmoeMrffLayout *layout);
extern void fmoe_mrff_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts);

/* ---------------------------------------------------------------- inputs */

/* The terms of rows row[n] of a feature (NULL: 0 .. n - 1; negative: of nothing) as edges into a table of them. */
extern FnnGraph fmoe_mrff_terms(FnnArena *arena, const FmoeFeature *feature, int64_t rows, int64_t n,
								const int32_t *row);
/* 0 .. n - 1 on the arena. */
extern int32_t *fmoe_mrff_count_up(FnnArena *arena, int64_t n);
/* Vectors [n, width] of items; item NULL: of items 0 .. n - 1. */
extern FnnTensor *fmoe_mrff_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item);
/* Vectors [sequences, user_width] of users; NULL: users have none. */
extern FnnTensor *fmoe_mrff_users(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape,
								  const FmoeBatch *batch);
/* The table of private rows for a batch; NULL: its users have none. */
extern FnnTensor *fmoe_mrff_private(const FmoeExpert *expert, const FmoeMrffLayout *layout, const FmoeBatch *batch);
/* [sequences] whose row in it each one has. */
extern const int32_t *fmoe_mrff_private_of(const FmoeBatch *batch);
/* [n_tokens] the sequence of each token, on the arena. */
extern int32_t *fmoe_mrff_sequence_of(FnnArena *arena, const FmoeBatch *batch);

/* ---------------------------------------------------------------- rates */

/*
 * rate[n, n_rates]: what was counted before each of the events asked[n] of a batch, ascending, in their sequences
 * before their baskets; for asked NULL of n items after a sequence.
 */
extern void fmoe_mrff_rates(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnArena *arena,
							const FmoeBatch *batch, int64_t n, const int32_t *asked, fnn_real *rate);
extern void fmoe_mrff_rates_after(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnArena *arena,
								  const FmoeBatch *batch, int32_t sequence, int64_t n, const int32_t *item,
								  fnn_real *rate);
/* [n, 1] the sums of the odds of items. */
extern FnnTensor *fmoe_mrff_odds(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, int64_t n,
								 const int32_t *item);

/* ---------------------------------------------------------------- forward */

/* What a pass over a batch gave. */
typedef struct FmoeMrffPass
{
	FmoeMrffLayout layout;
	FnnTensor  *item;			/* [n_tokens, width] */
	FnnTensor  *user;			/* [sequences, user_width]; NULL: none */
	FnnTensor  *state;			/* [n_tokens, width] */
	FnnTensor  *gate[16];		/* [n_tokens, groups] of each block */
	int32_t    *group[16];		/* [n_tokens] of each block: the one with the largest probability */
} FmoeMrffPass;

extern void fmoe_mrff_run(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeMrffPass *pass);

/* ---------------------------------------------------------------- head */

/*
 * The tokens of a batch that are predicted: those that have a basket before them in their
 * sequence, and where the sequence is a whole history those of its first basket too.
 */
typedef struct FmoeMrffAsked
{
	int64_t		n;
	int32_t    *token;			/* [n] */
	int32_t    *state;			/* [n] the last token of the basket before; -1: there is none */
} FmoeMrffAsked;

extern FmoeMrffAsked fmoe_mrff_asked(FnnArena *arena, const FmoeBatch *batch, int max_length);
/* Logits [asked.n, 1]. */
extern FnnTensor *fmoe_mrff_head(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch,
								 const FmoeMrffPass *pass, const FmoeMrffAsked *asked);
/* Hooks. */
extern void fmoe_mrff_score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
							int64_t n, const int32_t *item, fnn_real *score);
extern void fmoe_mrff_foresee(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *logit);
extern void fmoe_mrff_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal);
extern double fmoe_mrff_bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens,
							  double cases);

#endif							/* FMOE_MODEL_MRFF_MRFF_H */

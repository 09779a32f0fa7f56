/*
 * model.h
 *	  The recommenders: pure C on top of nn, beneath pg.
 *
 * An *expert* scores every item of a catalogue for a history.  Two kinds:
 *	  gradient experts  declare parameters and compose an encoder from nn's
 *						operations; their scores are hidden . item vector
 *	  count experts		are filled in one pass over the events
 * Each expert class is one file and one row in fmoe_expert_classes[].  The
 * training loop, the evaluator, the store and serving know no class by name.
 *
 * A *model* is what a version holds: one main expert and the two count
 * experts trained on the same events, which are every evaluation's baselines
 * and the fallback for users without history.
 */
#ifndef FMOE_MODEL_H
#define FMOE_MODEL_H

#include "../nn/nn.h"

/* ---------------------------------------------------------------- configuration */

typedef enum FmoeLoss
{
	FMOE_LOSS_SOFTMAX,			/* all items */
	FMOE_LOSS_GBCE,				/* sampled negatives */
	FMOE_LOSS_AUTO				/* by the number of items, until resolved */
} FmoeLoss;

typedef enum FmoeHoldout
{
	FMOE_HOLDOUT_NONE,			/* every event trains */
	FMOE_HOLDOUT_VALIDATION,	/* a user's last event is kept back for validation */
	FMOE_HOLDOUT_TEST			/* the last for test, the one before for validation */
} FmoeHoldout;

/* Who weighs the experts of a mixture. */
typedef enum FmoeGating
{
	FMOE_GATE_USER,				/* a weight for every history: its own mean state decides */
	FMOE_GATE_BATCH,			/* one for all that are trained together, then one for all */
	FMOE_GATE_EQUAL				/* nobody: the same for each expert */
} FmoeGating;

typedef enum FmoeHead
{
	FMOE_HEAD_TIED,				/* items are scored by the vectors they are read by */
	FMOE_HEAD_OWN				/* by a table of their own */
} FmoeHead;

#define FMOE_EXPERT_NAME_MAX 144	/* "party.domain", NUL included */
#define FMOE_LENT_MAX 7
#define FMOE_GATED_MAX (1 + FMOE_LENT_MAX + 2)	/* the own one, lent ones, popularity and markov */

/* A lent encoder: what it is called and how it is built. */
typedef struct FmoeLentEncoder
{
	char		name[FMOE_EXPERT_NAME_MAX];
	int			model;			/* row of fmoe_expert_classes; negative: only the name is known yet */
	int			width;
	int			layers;
	int			heads;
} FmoeLentEncoder;

typedef struct FmoeLentList
{
	int			count;			/* negative: all that there are */
	FmoeLentEncoder lent[FMOE_LENT_MAX];
} FmoeLentList;

/* Everything CALL fmoe_train takes; fmoe_train_options[] says names, ranges and defaults. */
typedef struct FmoeConfig
{
	int			model;			/* row of fmoe_expert_classes */
	int			width;
	int			layers;
	int			heads;
	int			max_length;		/* most recent events of a history the encoder sees */
	double		dropout;
	int			loss;			/* FmoeLoss */
	int			negatives;		/* of gbce, shared by a shard's positions */
	double		calibration;	/* t of gbce */
	int			epochs;
	int			patience;		/* epochs without a better validation NDCG@10 */
	int			batch_size;		/* sequences a step */
	double		learning_rate;
	double		weight_decay;
	double		clip_norm;		/* 0: off */
	int			warmup_steps;
	double		learning_rate_decay;	/* factor an epoch */
	double		half_life_days; /* of an event in the popularity expert; 0: no decay */
	int64_t		seed;
	int			workers;		/* -1: as fmoe.training_workers says */
	int			holdout;		/* FmoeHoldout */
	double		blend;			/* weight of transitions in the main score; negative: chosen on validation */
	bool		warm_start;		/* from the live version's weights where names and shapes agree */
	char		start_encoder[FMOE_EXPERT_NAME_MAX];	/* the encoder begins with this lent one's weights; empty:
														 * none */
	/* of model fmoe */
	int			encoder;		/* class of the own expert: index of fmoe_encoder_names */
	FmoeLentList experts;
	int			head;			/* FmoeHead */
	bool		item_graph;		/* item vectors are smoothed over what followed what */
	int			lora_rank;		/* of the adapters of lent encoders; 0: none */
	double		lora_alpha;
	int			gate;			/* FmoeGating */
	int			gate_layers;	/* hidden layers of the gate */
	int			gate_top;		/* experts that get a weight; 0: all */
	double		gate_loss;		/* weight of the gate's own loss */
	bool		count_experts;	/* popularity and transitions are gated as well */
	double		kl;				/* weight of the KL term, reached over the first 10000 steps */
	double		contrast;		/* weight of the contrastive loss */
	int			rounds;			/* exchanges with peers, at most */
	int			local_epochs;	/* between two of them */
	bool		deploy;			/* go live when not worse */
} FmoeConfig;

#define FMOE_AUTO (-1)

typedef enum FmoeOptionType
{
	FMOE_OPTION_INT,			/* int, min .. max */
	FMOE_OPTION_INT64,			/* int64_t, min .. max */
	FMOE_OPTION_REAL,			/* double, min .. max */
	FMOE_OPTION_BOOL,			/* bool */
	FMOE_OPTION_ENUM,			/* int: index into choices */
	FMOE_OPTION_TEXT,			/* const char * */
	FMOE_OPTION_NAME,			/* char[FMOE_EXPERT_NAME_MAX]; empty for none */
	FMOE_OPTION_LENT,			/* FmoeLentList: names, or (as versions keep it) objects */
	FMOE_OPTION_INT_LIST		/* FmoeIntList: an int or an array of ints, each min .. max */
} FmoeOptionType;

#define FMOE_INT_LIST_MAX 16

typedef struct FmoeIntList
{
	int			count;
	int			value[FMOE_INT_LIST_MAX];
} FmoeIntList;

/* One option of a call that takes jsonb: the parser, the defaults, the errors and the README's table all read this. */
typedef struct FmoeOption
{
	const char *name;
	FmoeOptionType type;
	size_t		offset;			/* into the struct that is filled */
	double		min;
	double		max;
	const char *const *choices; /* of an ENUM, NULL-terminated */
	const char *value;			/* default, as text; an ENUM's by name; NULL: left as the caller set it */
	const char *help;
	const char *model;			/* the only model that it is for; NULL: any */
	const char *needs;			/* the INT option that must be above 0 for this one to mean anything; NULL: none */
} FmoeOption;

extern const FmoeOption fmoe_train_options[];	/* fills FmoeConfig; ends with name NULL */

/* Why options that are each in their range do not fit each other. */
typedef struct FmoeMisfit
{
	char		message[128];	/* no full stop */
	char		detail[128];
	char		hint[128];
} FmoeMisfit;

/* Settles what depends on the data: the loss auto, by the size of the catalogue. */
extern void fmoe_config_settle(FmoeConfig *config, int32_t n_items);
/* Whether the options fit each other; what depends on the loss is not judged while that is auto. */
extern bool fmoe_config_fits(const FmoeConfig *config, FmoeMisfit *misfit);
/* Both; a misfit is FNN_INVALID. */
extern void fmoe_config_resolve(FmoeConfig *config, const FnnHost *host, int32_t n_items);

/* ---------------------------------------------------------------- data */

/*
 * All events of a domain, users end to end, each user's in time order (ties by
 * item index, which is the order of the item ids).
 */
typedef struct FmoeDataset
{
	int64_t		n_users;
	int64_t		n_events;
	int32_t		n_items;
	const int64_t *offset;		/* [n_users + 1] into the event arrays */
	const int32_t *item;		/* [n_events] 0 .. n_items - 1 */
	const double *time;			/* [n_events] seconds since 1970 */
} FmoeDataset;

/* Events of user u that train under a holdout: offset[u] .. the result - 1. */
extern int64_t fmoe_train_end(const FmoeDataset *data, FmoeHoldout holdout, int64_t user);

/* Histories to be continued: case c is events begin[c] .. target[c] - 1, its answer event target[c]. */
typedef struct FmoeCases
{
	int64_t		count;
	int64_t    *begin;
	int64_t    *target;
} FmoeCases;

typedef enum FmoeSplit
{
	FMOE_SPLIT_VALIDATION,		/* the held-back event of early stopping, under the holdout */
	FMOE_SPLIT_TEST,			/* a user's last event; users with at least 3 events */
	FMOE_SPLIT_TIME				/* every event after a time that has a history before it */
} FmoeSplit;

/* after: seconds, of FMOE_SPLIT_TIME; limit: at most that many users, chosen by seed; 0: all */
extern FmoeCases *fmoe_cases(FnnArena *arena, const FmoeDataset *data, FmoeSplit split,
							 FmoeHoldout holdout, double after, int64_t limit, uint64_t seed);

/* A packed batch of histories: what every expert reads. */
typedef struct FmoeBatch
{
	FnnSequences sequences;
	int64_t		n_tokens;
	const int32_t *item;		/* [n_tokens] */
	const int32_t *position;	/* [n_tokens] 0, 1, … inside each sequence */
	const int32_t *last;		/* [sequences.count] each sequence's last token; -1: it is empty */
	const double *time;			/* [n_tokens], or NULL */
} FmoeBatch;

/*
 * Packs n histories (each events begin[i] .. end[i] - 1 of item and time), of
 * each the last max_length events.  An empty history is an empty sequence.
 */
extern FmoeBatch *fmoe_batch(FnnArena *arena, const int32_t *item, const double *time, int64_t n,
							 const int64_t *begin, const int64_t *end, int max_length);

/* ---------------------------------------------------------------- experts */

typedef struct FmoeExpert FmoeExpert;

/* What the positions of a recorded batch are to be continued with, and what that counts. */
typedef struct FmoeGoal
{
	const int32_t *target;		/* [n_tokens] */
	double		weight;			/* of a position: 1 / those of the whole step */
	double		sequence_weight;	/* of a sequence: 1 / those of the whole step */
	int64_t		step;			/* from 1 */
	uint64_t	seed;
	uint64_t	stream;			/* for random numbers: of this step's shard */
	int32_t		n_negatives;	/* of gbce; 0: softmax over all items */
	const int32_t *negative;
	double		beta;
} FmoeGoal;

typedef struct FmoeExpertClass
{
	const char *name;
	const char *summary;		/* one line, lower case */

	/* Gradient experts.  The first parameter declared is the item table [n_items, width]. */
	void		(*declare) (FnnParams *params, const FnnHost *host, const FmoeConfig *config, int32_t n_items);
	/* [n_tokens, width], or [sequences.count, width] of the last tokens when last_only */
	FnnTensor  *(*encode) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, bool last_only);
	/* what encode does with its input vectors x [n_tokens, width]; NULL: this is no encoder that can be lent */
	FnnTensor  *(*run) (const FmoeExpert *expert, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch, bool last_only);
	/* parameters declared for the configuration, the item table included; with run */
	int			(*slices) (const FmoeConfig *config);
	bool		positions;		/* the second one is the table of positions; with run */
	/* encode and losses on the tape; NULL: the loss of the scores alone */
	void		(*learn) (const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal);
	/* leader, before the first epoch: parameters that follow from the data; NULL: there are none */
	void		(*start) (FmoeExpert *expert, const FnnHost *host);
	/* leader, before validation: parameters that are computed, not learned; NULL: there are none */
	void		(*settle) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);
	/* reals on the arena for each token of a recorded encode and its backward, or of an unrecorded one of last tokens */
	int64_t		(*token_reals) (const FmoeConfig *config, bool recorded);

	/* Count experts: arrays are made on the arena from each user's first train_end events. */
	void		(*count) (FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout);
	/* score[n_items] of one history of the batch */
	void		(*score) (const FmoeExpert *expert, const FmoeBatch *batch, int32_t sequence, fnn_real *score);
	const char *const *array_names; /* of a count expert, NULL-terminated */
	const FnnDtype *array_dtypes;	/* one each; all arrays have one dimension */
	/* fails with FNN_FORMAT when arrays from outside do not fit each other or the items */
	void		(*check) (const FmoeExpert *expert, const FnnHost *host);
} FmoeExpertClass;

#define FMOE_ARRAYS_MAX 8

struct FmoeExpert
{
	const FmoeExpertClass *class;
	FmoeConfig	config;
	int32_t		n_items;
	FnnParams	params;			/* gradient experts: layout … */
	FnnTensor	tensor[FNN_PARAMS_MAX]; /* … and where each slice is */
	FnnArray	array[FMOE_ARRAYS_MAX]; /* count experts, in the order of array_names */
	const FmoeExpert *popularity;	/* a mixture's count experts, where it uses them */
	const FmoeExpert *markov;
	uint32_t	without;		/* set of gated experts that a mixture does without */
};

/* In the order of the option "model"; NULL-terminated. */
extern const FmoeExpertClass *const fmoe_expert_classes[];
extern const char *const fmoe_expert_names[];	/* the same names, NULL-terminated: choices of the option */
extern const FmoeExpertClass *fmoe_expert_class(const char *name);	/* NULL: none */

/* Rows of fmoe_expert_classes whose encoders can be lent, by name; NULL-terminated: choices of the option "encoder". */
extern const char *const fmoe_encoder_names[];

/* The configuration that an expert's own encoder has by itself: of a mixture, its own expert's. */
extern FmoeConfig fmoe_encoder_config(const FmoeConfig *config);
/* Length of item vectors: of a mixture, of all its experts' together. */
extern int64_t fmoe_item_width(const FmoeConfig *config);

/*
 * Experts that a mixture weighs: the own one, then those lent, then (option
 * count_experts) popularity and markov.  0 for other models.
 */
extern int	fmoe_gated_count(const FmoeConfig *config);
extern const char *fmoe_gated_name(const FmoeConfig *config, int expert);

static inline bool
fmoe_counts(const FmoeExpertClass *class)
{
	return class->count != NULL;
}

/*
 * What a version holds.  experts[0] is the main one; when that is itself a
 * count expert the other row of its class is the same one again.
 */
typedef enum FmoeExpertSlot
{
	FMOE_MAIN,
	FMOE_POPULARITY,
	FMOE_MARKOV,
	FMOE_SLOTS
} FmoeExpertSlot;

typedef struct FmoeModel
{
	FmoeConfig	config;
	int32_t		n_items;
	FmoeExpert	expert[FMOE_SLOTS];
	const void *scan;			/* item vectors laid out for quick scans (fmoe_scan_bind); NULL: there are none */
} FmoeModel;

/*
 * Sets a model up over arrays that somebody else keeps (the cache, an import):
 * nothing is copied.  Fails with FNN_FORMAT, naming array and rule, when an
 * array is missing, of another shape or dtype, or (count experts) holds an
 * index out of range.
 */
extern void fmoe_model_bind(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The same over arrays that were bound before, here or by another process: what they hold is not read again. */
extern void fmoe_model_open(FmoeModel *model, const FnnHost *host, const FmoeConfig *config,
							int32_t n_items, int n_arrays, const FnnArray *arrays);
/* The model's arrays by name, to be stored: fills out[at most max], returns their number. */
extern int	fmoe_model_arrays(const FmoeModel *model, FnnArray *out, int max);
#define FMOE_MODEL_ARRAYS_MAX (FNN_PARAMS_MAX + 2 * FMOE_ARRAYS_MAX)

/*
 * scores[sequences.count, n_items].  A history that is empty scores as its
 * popularity.  Bounded memory: the caller chooses how many sequences at once.
 */
extern void fmoe_score(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
					   const FmoeBatch *batch, fnn_real *scores);
/* hidden[sequences.count, width] of the main expert's last tokens; gradient experts only. */
extern void fmoe_encode(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden);

/*
 * gate[sequences.count, fmoe_gated_count]: the weights of a mixture's experts
 * after each history; 0 after an empty one.
 */
extern void fmoe_gates(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *gate);

/* ---------------------------------------------------------------- the best items */

/*
 * What finds the best items without reading every item vector: a block beside
 * the arrays, made once from the main expert's item table.  It holds no
 * pointers, so processes may share it at any address; aligned to FNN_ALIGN.
 */
extern size_t fmoe_scan_bytes(const FmoeModel *model);	/* 0: this model needs none */
/* Fills memory[fmoe_scan_bytes] from the bound model, and binds it; the arena is scratch. */
extern void fmoe_scan_build(FmoeModel *model, FnnArena *arena, void *memory);
/* Makes the model use a block that was built for the same arrays. */
extern void fmoe_scan_bind(FmoeModel *model, void *memory);

/* How the best items are found; the answer is the same. */
typedef enum FmoeScan
{
	FMOE_SCAN_AUTO,				/* by the size of the catalogue */
	FMOE_SCAN_EXACT,			/* every item's vector is read */
	FMOE_SCAN_INT8				/* codes of 8 bits first, where the model has a scan block */
} FmoeScan;

/* Which items may be among the best. */
typedef struct FmoeEligible
{
	const int32_t *candidate;	/* [n_candidates], repeats allowed; NULL: all items */
	int64_t		n_candidates;
	uint64_t   *passed;			/* set of items (fnn_set_words) that may not; used as scratch; NULL: none */
} FmoeEligible;

/*
 * Offers to topk the eligible items' scores for the one sequence of the batch,
 * as fmoe_score would give them.  The caller sorts topk.
 */
extern void fmoe_best(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
					  FmoeScan scan, const FmoeEligible *eligible, FnnTopk *topk);
/*
 * fmoe_best of all items but those passed[sequences.count], by the main expert,
 * a gradient one, for every sequence and its topk[sequences.count]; no sequence is
 * empty.  The answers are the same, made by products of matrices.
 */
extern void fmoe_best_many(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
						   const FnnRows *passed, FnnTopk *topk);
/* score[n] of given items for the one sequence of the batch: the same bits as fmoe_best's. */
extern void fmoe_scores_of(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
						   int64_t n, const int32_t *item, fnn_real *score);
/* Offers to topk every other item's cosine with an item's vector, 0 where one has no length; gradient experts only. */
extern void fmoe_neighbours(const FmoeModel *model, FnnArena *arena, int32_t item, FnnTopk *topk);

/* ---------------------------------------------------------------- training */

/*
 * The processes that train together.  Every member runs the same functions
 * with the same arguments; rank 0 is the leader.  barrier returns when all
 * have come to it, and makes their writes visible.
 */
typedef struct FmoeTeam
{
	int			rank;
	int			size;
	void	   *context;
	void		(*barrier) (void *context); /* NULL when size is 1 */
	/* leader only, after each step; may be NULL */
	void		(*progress) (void *context, int64_t batch, int64_t batches, double loss);
} FmoeTeam;

/*
 * A batch is always cut into this many virtual shards, each with its own
 * random stream and gradient slot, summed in order: the weights do not depend
 * on how many processes computed them.
 */
#define FMOE_SHARDS 4

/* What a run knows besides its weights; fixed size, part of every checkpoint. */
typedef struct FmoeTrainState
{
	int64_t		step;			/* optimiser steps done */
	int32_t		epoch;			/* epochs done */
	int32_t		best_epoch;		/* 0: none yet */
	int32_t		stale_epochs;	/* since the best one */
	int32_t		finished;		/* 1: epochs or patience used up */
	double		loss;			/* mean over the last epoch's positions */
	double		metric;			/* validation NDCG@10 after the last epoch; NaN without validation */
	double		best_metric;
} FmoeTrainState;

typedef struct FmoeTrainer FmoeTrainer;

/*
 * Bytes of the block that all members share (values, moments, best values,
 * gradient slots, state), and of what each member keeps privately for a step
 * (an upper estimate from the longest batch).
 */
extern size_t fmoe_trainer_shared_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
extern size_t fmoe_trainer_private_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);
/* A member's view of a run over the shared block (aligned to FNN_ALIGN). */
extern FmoeTrainer *fmoe_trainer_attach(FnnArena *arena, const FmoeConfig *config,
										const FmoeDataset *data, void *shared);
/* Leader, once a run: fresh weights from the seed, empty moments, state zero. */
extern void fmoe_trainer_start(FmoeTrainer *trainer);
/* One epoch and its validation; state then says whether the run is finished. */
extern void fmoe_trainer_epoch(FmoeTrainer *trainer, const FmoeTeam *team);
extern FmoeTrainState *fmoe_trainer_state(FmoeTrainer *trainer);

/* The run's blocks, for checkpoints: together with the state they are the whole run. */
typedef enum FmoeTrainBlock
{
	FMOE_BLOCK_VALUES,
	FMOE_BLOCK_MOMENT1,
	FMOE_BLOCK_MOMENT2,
	FMOE_BLOCK_BEST,			/* the values after best_epoch */
	FMOE_BLOCK_LAST_STEP,		/* of sparse slices; 0 bytes without any */
	FMOE_BLOCKS
} FmoeTrainBlock;

extern void *fmoe_trainer_block(FmoeTrainer *trainer, FmoeTrainBlock block, size_t *bytes);
/*
 * Copies values whose name and shape agree into the run (warm start, lent
 * encoders); of tables of positions the rows that both have.  Returns how many.
 */
extern int	fmoe_trainer_adopt(FmoeTrainer *trainer, int n_arrays, const FnnArray *arrays);
/* The current values as arrays by name, in place; fills out[at most max], returns their number. */
extern int	fmoe_trainer_arrays(const FmoeTrainer *trainer, FnnArray *out, int max);
/* The model with the best values (the last, without validation) and fresh count experts, on the arena. */
extern void fmoe_trainer_model(FmoeTrainer *trainer, FmoeModel *model);

/* Trains a model whose main expert only counts; also fills the count experts of any model. */
extern void fmoe_count_experts(FmoeModel *model, FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data);

/* ---------------------------------------------------------------- evaluation */

typedef struct FmoeProtocol
{
	bool		exclude_seen;	/* items of the history are not candidates; the target always is */
	int32_t		negatives;		/* 0: all items; else that many drawn by seed for each case, not the target */
	uint64_t	seed;
	int			top_k;			/* > 0: also mark the items of every top k in covered */
} FmoeProtocol;

/*
 * Ranks the targets of cases from .. to - 1 into rank[count of all cases].
 * covered[n_items], or NULL: set to 1 for items in some top k.
 */
extern void fmoe_rank_cases(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
							const FmoeDataset *data, const FmoeCases *cases, const FmoeProtocol *protocol,
							int64_t from, int64_t to, int32_t *rank, uint8_t *covered);
/* Bytes that takes on the arena. */
extern size_t fmoe_rank_bytes(const FmoeModel *model, const FmoeCases *cases, const FmoeProtocol *protocol);
/* Mean of a metric (fnn_ndcg …) over the ranks; NaN for none. */
extern double fmoe_mean_metric(double (*metric) (int64_t rank, int64_t k), int64_t k,
							   const int32_t *rank, int64_t n);

/* ---------------------------------------------------------------- explaining */

/*
 * The parts that the main expert's scores are sums of: the experts that a
 * mixture weighs, or the one encoder, and last what the configuration's blend
 * adds for counted transitions.
 */
#define FMOE_PARTS_MAX (FMOE_GATED_MAX + 1)
extern int	fmoe_parts_count(const FmoeConfig *config);
/*
 * weight[parts] and contribution[n, parts] to the scores of given items for
 * the one sequence of the batch, which is not empty: to rounding, an item's sum
 * up to what fmoe_scores_of gives.  Gradient experts only.
 */
extern void fmoe_contributions(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
							   int64_t n, const int32_t *item, double *weight, double *contribution);

/* How a mixture uses its experts. */
typedef struct FmoeGateUse
{
	int64_t		histories;		/* those that were not empty */
	double		weight[FMOE_GATED_MAX]; /* sums over them */
	double		largest[FMOE_GATED_MAX];	/* how often the weight was the largest; those that are equal share one */
} FmoeGateUse;

/* Adds what the gate gives for the histories of cases from .. to - 1. */
extern void fmoe_gate_use(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
						  int64_t from, int64_t to, FmoeGateUse *use);

/*
 * Intervals that hold the means of differences with 95 %, by the quantiles of
 * the means of so many resamples.  difference[n, columns]: a row is a user, and
 * drawn as a whole; low[columns], high[columns].
 */
extern void fmoe_bootstrap(FnnArena *arena, int64_t n, int columns, const double *difference,
						   int resamples, uint64_t seed, double *low, double *high);

#endif							/* FMOE_MODEL_H */

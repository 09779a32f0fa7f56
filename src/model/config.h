/*
 * config.h
 *	  What a model is to be: the options of a training, and how tables of options are written.
 */
#ifndef FMOE_MODEL_CONFIG_H
#define FMOE_MODEL_CONFIG_H

#include "nn/nn.h"

typedef enum FmoeLoss
{
	FMOE_LOSS_SOFTMAX,			/* all items */
	FMOE_LOSS_GBCE,				/* sampled negatives */
	FMOE_LOSS_AUTO				/* by the number of items, until resolved */
} FmoeLoss;

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

/* Why options that are each in their range do not fit each other. */
typedef struct FmoeMisfit
{
	char		message[128];	/* no full stop */
	char		detail[128];
	char		hint[128];
} FmoeMisfit;

#endif							/* FMOE_MODEL_CONFIG_H */

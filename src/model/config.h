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
	FMOE_LOSS_AUTO				/* by the number of items, until fmoe_choose_loss */
} FmoeLoss;

/*
 * Up to this many items the softmax over all of them is both better and, on
 * packed sequences, cheap enough; beyond it the time of a step is all in the
 * item table.
 */
#define FMOE_SOFTMAX_ITEMS_MAX 30000

typedef enum FmoeAverage
{
	FMOE_AVERAGE_NONE,			/* the weights as an epoch leaves them */
	FMOE_AVERAGE_TAIL			/* a mean of those after the epochs so far, in which late ones count most */
} FmoeAverage;

/* How an encoder that attends reads what happened at once. */
typedef enum FmoeBasketReading
{
	FMOE_BASKETS_SET,			/* at one position, each event with all others in sight, and their mean asks */
	FMOE_BASKETS_DRAWN			/* one after another, in an order that each epoch draws anew */
} FmoeBasketReading;

#define FMOE_EXPERT_NAME_MAX 144	/* "party.domain", NUL included */
#define FMOE_LENT_MAX 7

/* An encoder that is none of fmoe_encoders: only models of its own class can take it. */
#define FMOE_OWN_ENCODER (-2)

/* What decides which parameters an encoder has. */
typedef struct FmoeShape
{
	int			encoder;		/* row of fmoe_encoders; FMOE_OWN_ENCODER: its class says what it is */
	int			width;			/* length of its states */
	int			layers;
	int			heads;
} FmoeShape;

/* A lent encoder: what it is called and how it is built. */
typedef struct FmoeLentEncoder
{
	char		name[FMOE_EXPERT_NAME_MAX];
	FmoeShape	shape;			/* encoder negative: so far only the name is known */
} FmoeLentEncoder;

typedef struct FmoeLentList
{
	int			count;			/* negative: all that can be had */
	FmoeLentEncoder lent[FMOE_LENT_MAX];
} FmoeLentList;

#define FMOE_INPUTS_MAX 8

/* Numbers of an item that its vector is computed from, as another database can have them too. */
typedef struct FmoeInput
{
	char		name[FMOE_EXPERT_NAME_MAX]; /* "text", "price", else a vector column's */
	int			width;			/* numbers; 0: so far only the name is known */
	int			number;			/* of the vector column among those of the domain, from 1; 0: it has none */
} FmoeInput;

typedef struct FmoeInputList
{
	int			count;			/* negative: all that the item table has */
	FmoeInput	input[FMOE_INPUTS_MAX];
} FmoeInputList;

/* A lent base that a model is built on: it stays as it is, and stays where it is. */
typedef struct FmoeNamedBase
{
	char		name[FMOE_EXPERT_NAME_MAX];
	char		checksum[FMOE_EXPERT_NAME_MAX]; /* 16 hexadecimal digits; empty: so far only the name is known */
	FmoeInputList inputs;		/* the base's */
} FmoeNamedBase;

/* What the names of a base's arrays begin with in a model that is built on it. */
#define FMOE_BASE_PREFIX "base."

/* A lent adapter of a base. */
typedef struct FmoeLentAdapter
{
	char		name[FMOE_EXPERT_NAME_MAX];
	int			rank;			/* 0: so far only the name is known */
	double		alpha;
	bool		inputs;			/* it adapts the maps of the inputs too */
} FmoeLentAdapter;

typedef struct FmoeAdapterList
{
	int			count;			/* negative: not given */
	FmoeLentAdapter adapter[FMOE_LENT_MAX];
} FmoeAdapterList;

/* A base, and adapters of it. */
#define FMOE_BUILT_MAX (FMOE_LENT_MAX + 1)

/* Room for the options of one class. */
#define FMOE_OWN_OPTIONS_BYTES 4096

/*
 * All options of a training.  fmoe_train_options[] lists those that every model
 * has; the class of the model lists its own, which lie in own.
 */
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
	int			patience;		/* epochs without a better mean of validation NDCG@10 */
	int			average;		/* FmoeAverage: the weights that are judged, kept and served */
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
	int			checkpoint_every;	/* least seconds between checkpoints; 0: one after every epoch */
	bool		deploy;			/* go live when not worse */
	union
	{
		char		bytes[FMOE_OWN_OPTIONS_BYTES];
		int64_t		align_int64;
		double		align_double;
	}			own;			/* the class's own options, as the struct that its table fills; else zero */
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
	FMOE_OPTION_LIST,			/* int, and elements as the option's list says */
	FMOE_OPTION_INT_LIST		/* FmoeIntList: an int or an array of ints, each min .. max */
} FmoeOptionType;

#define FMOE_INT_LIST_MAX 16

typedef struct FmoeIntList
{
	int			count;
	int			value[FMOE_INT_LIST_MAX];
} FmoeIntList;

/* Why options do not fit each other, although each is in its range. */
typedef struct FmoeMisfit
{
	char		message[256];	/* no full stop */
	char		detail[256];
	char		hint[256];
} FmoeMisfit;

/*
 * An option that is a list of objects.  In the struct it is an int, the number of
 * elements (negative: not given), and the elements after it.  A string stands for
 * an object that has only the first option, a NAME; names must differ.
 */
typedef struct FmoeOptionList
{
	const struct FmoeOption *element;	/* options of an element; ends with name NULL */
	size_t		first;			/* bytes from the count to the first element */
	size_t		bytes;			/* of an element */
	int			max;			/* elements */
	const char *what;			/* what they are, in the plural: "names of lent experts" */
	const char *listed;			/* where users find them: "the view fmoe.experts lists them" */
	/* whether the options of an element that was given as an object fit each other; NULL: they do */
	bool		(*fits) (const void *element, FmoeMisfit *misfit);
} FmoeOptionList;

/* One option of a call that takes jsonb: parser, defaults, errors and the view fmoe.options all read this. */
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
	const char *needs;			/* this option has a meaning only if that INT option is above 0, or BOOL true, or ENUM
								 * as in "gate=linear"; NULL: always */
	const FmoeOptionList *list; /* of a LIST */
	const char *stored;			/* an ENUM's value in what was stored before there was the option; NULL: the default */
} FmoeOption;

#endif							/* FMOE_MODEL_CONFIG_H */

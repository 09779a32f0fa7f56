/*
 * hm4sr.h
 *	  The class hm4sr: a stream for the ids of items and one for each modality, that
 *	  experts mix and times scale (HM4SR, arXiv 2501.14269).
 *
 *	  An item i has a vector in each stream m: its own in the first, a linear map of
 *	  its features in the others.  Of a history,
 *
 *		x^m  = vector of the item in stream m + position
 *		y^m  = x^m + scale_m * sum over k of gate^m_k(x^m) * (expert k of all x, its part of stream m)
 *		y'   = y * sum over k of time_k(q) * u_k,	q = [interval since the basket before | phases of the time]
 *		s^m  = blocks^m(dropout(norm^m(y'^m)))
 *
 *	  and with the option now s = s * sum over k of now_k(q') * u'_k, where q' is of the moment that asks.
 *
 *	  and an item's score is the sum over streams of s^m . vector^m: states and item
 *	  vectors are the streams' end to end.
 */
#ifndef FMOE_MODEL_HM4SR_HM4SR_H
#define FMOE_MODEL_HM4SR_HM4SR_H

#include "model/expert/expert.h"
#include "model/expert/featured.h"
#include "model/expert/gated.h"
#include "model/expert/postnorm.h"

#define FMOE_HM4SR_STREAMS_MAX 7	/* beside that of ids */
#define FMOE_HM4SR_EXPERTS_MAX 16

/* A stream beside that of ids: "text", "categories", or "vector_N" of a column of vectors. */
typedef struct FmoeHm4srStream
{
	char		name[FMOE_EXPERT_NAME_MAX];
} FmoeHm4srStream;

typedef struct FmoeHm4srStreams
{
	int			count;			/* negative: what the items have, until fmoe_hm4sr_complete */
	FmoeHm4srStream stream[FMOE_HM4SR_STREAMS_MAX];
} FmoeHm4srStreams;

typedef struct FmoeHm4srOptions
{
	FmoeHm4srStreams streams;
	int			experts;		/* of both mixtures */
	int			inner;			/* width inside the blocks; 0: 4 * width */
	bool		time;			/* the mixture by times */
	bool		frozen;			/* its experts do not learn */
	bool		now;			/* states depend on when they are asked for */
	int			intervals;		/* rows of the table of intervals; 0: by the data, until fmoe_hm4sr_complete */
	double		time_mean;		/* of initial experts */
	double		time_unit;		/* seconds */
	double		idcl;			/* weights of losses */
	double		cp;
	double		pcl;
	FmoeGatedOptions gated;
} FmoeHm4srOptions;

/* Losses, in the order of their names. */
enum
{
	FMOE_HM4SR_ITEMS,
	FMOE_HM4SR_IDCL,
	FMOE_HM4SR_CP,
	FMOE_HM4SR_PCL
};

/* Where the slices are; negative: there is none. */
typedef struct FmoeHm4srLayout
{
	int			streams;		/* that of ids among them */
	int64_t		width;			/* of one */
	int			positions;
	int			mix_expert;		/* weight and bias of each */
	int			mix_gate;		/* weight and bias of each stream */
	int			mix_scale;		/* of ids, of the others */
	int			interval;
	int			phase;			/* weight, bias */
	int			time_gate;		/* weight, bias */
	int			time_expert;
	int			now_gate;		/* weight, bias */
	int			now_expert;
	int			tower;			/* of the first stream: gain and bias of the norm, and blocks */
	int			tower_slices;
	int			category;		/* weight, bias */
	int			placeholder;	/* bias and, with times, weight of each stream but the first */
	int			placeholder_slices;
} FmoeHm4srLayout;

static inline const FmoeHm4srOptions *
fmoe_hm4sr_own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

/* Streams, that of ids among them. */
static inline int
fmoe_hm4sr_streams(const FmoeConfig *config)
{
	return fmoe_hm4sr_own(config)->streams.count + 1;
}

/* ---------------------------------------------------------------- options.c */

extern const FmoeOption fmoe_hm4sr_options[];
extern bool fmoe_hm4sr_fits(const FmoeConfig *config, FmoeMisfit *misfit);
extern unsigned fmoe_hm4sr_reads(const FmoeConfig *config);
extern bool fmoe_hm4sr_complete(FmoeConfig *config, const FmoeDataset *data, FmoeMisfit *misfit);
/* Whether a feature is of the stream of that number, from 1. */
extern bool fmoe_hm4sr_of_stream(const FmoeConfig *config, int stream, const FmoeFeature *feature);
/* The row of the table of intervals for so many seconds; the last one for more than it has. */
extern int32_t fmoe_hm4sr_interval(double seconds, int64_t rows);
extern FmoePostnorm fmoe_hm4sr_blocks(const FmoeConfig *config);

/* ---------------------------------------------------------------- declare.c */

extern void fmoe_hm4sr_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts);
extern void fmoe_hm4sr_layout(const FmoeConfig *config, const FnnParams *params, FmoeHm4srLayout *layout);
/* Categories of all columns, as classes end to end; 0: there are none. */
extern int64_t fmoe_hm4sr_classes(const FmoeFeatures *features);

/* ---------------------------------------------------------------- items.c */

/* Vectors [n, streams * width] of items (NULL: 0 .. n - 1); learning: ids of items that do not train are 0. */
extern FnnTensor *fmoe_hm4sr_vectors(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item,
									 bool learning);
extern int64_t fmoe_hm4sr_vectors_width(const FmoeConfig *config);
extern FnnTensor *fmoe_hm4sr_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item);
extern const void *fmoe_hm4sr_prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data);
extern void fmoe_hm4sr_start(FmoeExpert *expert, const FnnHost *host);

/* ---------------------------------------------------------------- forward.c */

/* What a history's tokens become before the towers. */
typedef struct FmoeHm4srMixed
{
	FnnTensor  *time;			/* q [n_tokens, 2 * width]; NULL: the model has no times */
	FnnTensor  *stream[FMOE_HM4SR_STREAMS_MAX + 1]; /* y' [n_tokens, width] */
	FnnTensor  *gate[FMOE_HM4SR_STREAMS_MAX + 1];	/* [n_tokens, experts] NULL: there is one stream */
	FnnTensor  *time_gate;		/* [n_tokens, experts] NULL: the model has no times */
} FmoeHm4srMixed;

/* Of items whose vectors are rows row[n_tokens] of a table. */
extern void fmoe_hm4sr_mix(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, FnnTensor *table,
						   const int32_t *row, const FmoeBatch *batch, FmoeHm4srMixed *mixed);
/* Of a batch's own items, which may be some of those whose vectors there are. */
extern void fmoe_hm4sr_mix_batch(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape,
								 const FmoeBatch *batch, FmoeHm4srMixed *mixed);
/* States of one stream. */
extern FnnTensor *fmoe_hm4sr_tower(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, int stream,
								   FnnTensor *x, const FmoeBatch *batch, FmoeWhich which);
/* States [rows, streams * width] of what was mixed. */
extern FnnTensor *fmoe_hm4sr_states(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape,
									const FmoeHm4srMixed *mixed, const FmoeBatch *batch, FmoeWhich which);
/* These states as they are when they are asked for: at the times of the events that follow, or at batch->now. */
extern FnnTensor *fmoe_hm4sr_asked(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape,
								   FnnTensor *states, const FmoeBatch *batch, FmoeWhich which);
extern FnnTensor *fmoe_hm4sr_encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which);

/* ---------------------------------------------------------------- learn.c, memory.c, explain.c */

extern FnnTensor *fmoe_hm4sr_step_items(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n,
										const FmoeGoal *goal);
extern void fmoe_hm4sr_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal);
extern double fmoe_hm4sr_bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens,
							   double cases);
extern double fmoe_hm4sr_multiplications(const FmoeConfig *config, double n_scored);

/* Parts of a score: streams, as if all had happened at once, and what times change; under a gate it is one. */
extern int	fmoe_hm4sr_parts(const FmoeConfig *config);
extern const char *fmoe_hm4sr_part(const FmoeConfig *config, int part);
extern void fmoe_hm4sr_weigh(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight);
extern void fmoe_hm4sr_contribute(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								  const fnn_real *state, int64_t n, const int32_t *item, double *contribution);

/* What each expert of both mixtures weighs at the last event, as maps without a share of the score. */
extern int	fmoe_hm4sr_input_parts(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
								   int32_t item, int max, FmoeInputPart *out);

/* ---------------------------------------------------------------- class.c */

extern const FmoeExpertClass fmoe_hm4sr_class;

#endif							/* FMOE_MODEL_HM4SR_HM4SR_H */

/*
 * stream.h
 *	  The random stream of each draw of the models.
 */
#ifndef FMOE_MODEL_DATA_STREAM_H
#define FMOE_MODEL_DATA_STREAM_H

#include "nn/nn.h"

/*
 * Every random draw of src/model has a stream of its own: its purpose in the
 * upper bits; below them the epoch, the step and shard or the case it is for.
 */
typedef enum FmoeStream
{
	FMOE_STREAM_PARAMS,			/* fnn_params_init numbers these by slice */
	FMOE_STREAM_ORDER,			/* of an epoch's sequences */
	FMOE_STREAM_DROPOUT,		/* of a step's shard */
	FMOE_STREAM_NEGATIVES,		/* of a step's shard */
	FMOE_STREAM_CASES,			/* users of an evaluation */
	FMOE_STREAM_CANDIDATES,		/* of one case */
	FMOE_STREAM_PERMUTATION,	/* of a step's shard */
	FMOE_STREAM_RESAMPLE,		/* of a bootstrap's resample */
	FMOE_STREAM_CALIBRATION,	/* of one case */
	FMOE_STREAM_TOGETHER,		/* of an event in a large basket */
	FMOE_STREAM_TARGETS,		/* of a step's shard */
	FMOE_STREAM_IDS,			/* of a step's shard */
	FMOE_STREAM_HIDDEN,			/* of a step's shard */
	FMOE_STREAM_ASKED,			/* of a step's shard */
	FMOE_STREAM_SAMPLE,			/* users of a round */
	FMOE_STREAM_NOISE,			/* of a round */
	FMOE_STREAM_BASKETS,		/* of a step's shard */
	FMOE_STREAM_ITEMS			/* of a part of a step's items */
} FmoeStream;

static inline uint64_t
fmoe_stream(FmoeStream purpose, uint64_t number)
{
	return ((uint64_t) purpose << 56) + number;
}

#endif							/* FMOE_MODEL_DATA_STREAM_H */

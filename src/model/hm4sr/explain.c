/*
 * explain.c
 *	  What a score of hm4sr is the sum of: what each stream says as if all events had
 *	  happened at once, and what the times that they have make of that.
 */
#include "model/hm4sr/hm4sr.h"

#include <math.h>
#include <string.h>

#define POLL_ITEMS 4096

/* Names of parts that are no stream of the options. */
#define IDS "ids"
#define TIME "time"

int
fmoe_hm4sr_parts(const FmoeConfig *config)
{
	return fmoe_gated_on(&fmoe_hm4sr_own(config)->gated) ? 1
		: fmoe_hm4sr_streams(config) + fmoe_hm4sr_own(config)->time;
}

const char *
fmoe_hm4sr_part(const FmoeConfig *config, int part)
{
	if (part == 0)
		return fmoe_gated_on(&fmoe_hm4sr_own(config)->gated) ? "own" : IDS;
	return part < fmoe_hm4sr_streams(config) ? fmoe_hm4sr_own(config)->streams.stream[part - 1].name : TIME;
}

/* Streams are summed as they are. */
void
fmoe_hm4sr_weigh(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight)
{
	int64_t		n = (int64_t) batch->sequences.count * fmoe_hm4sr_parts(expert->config);

	(void) arena;
	for (int64_t i = 0; i < n; i++)
		weight[i] = 1;
}

void
fmoe_hm4sr_contribute(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
					  const fnn_real *state, int64_t n, const int32_t *item, double *contribution)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int			streams = fmoe_hm4sr_streams(expert->config);
	int			parts = fmoe_hm4sr_parts(expert->config);
	int64_t		width = expert->config->width;
	const FnnTensor *table = expert->items;
	int64_t		stride = table->stride > 0 ? table->stride : table->cols;
	const fnn_real *at_once = state;
	FmoeBatch	one = fmoe_batch_part(arena, batch, sequence, 1);
	FmoeExpert	timeless = *expert;
	FnnTape		tape;

	timeless.without |= 1u << streams;
	fnn_tape_begin(&tape, arena, false, 0, 0);
	if (parts > streams)
		at_once = fmoe_hm4sr_encode(&timeless, &tape, &one, FMOE_LAST_TOKENS)->value;
	for (int64_t i = 0; i < n; i++)
	{
		const fnn_real *vector = table->value + item[i] * stride;
		double	   *part = contribution + i * parts;
		double		times = 0;

		for (int s = 0; s < streams; s++)
		{
			part[s] = 0;
			for (int64_t c = s * width; c < (s + 1) * width; c++)
			{
				part[s] += (double) at_once[c] * vector[c];
				times += ((double) state[c] - at_once[c]) * vector[c];
			}
		}
		if (parts > streams)
			part[streams] = times;
		if (i % POLL_ITEMS == 0)
			fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

/* The weights [experts] of a gate after a token. */
static int
add_experts(const char *stream, const FnnTensor *gate, int32_t token, int n, int max, FmoeInputPart *out)
{
	for (int k = 0; k < gate->cols && n < max; k++)
		out[n++] = (FmoeInputPart)
	{
		.input = stream, .map = k + 1, .weight = (double) gate->value[token * gate->cols + k], .share = NAN
	};
	return n;
}

int
fmoe_hm4sr_input_parts(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
					   int32_t item, int max, FmoeInputPart *out)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeBatch	one = fmoe_batch_part(arena, batch, sequence, 1);
	const FmoeHm4srStream *stream = fmoe_hm4sr_own(expert->config)->streams.stream;
	FmoeHm4srLayout layout;
	FmoeHm4srMixed mixed;
	FnnTape		tape;
	int			n = 0;

	/* it is the history that chooses experts */
	(void) item;
	fnn_tape_begin(&tape, arena, false, 0, 0);
	fmoe_hm4sr_layout(expert->config, expert->params, &layout);
	fmoe_hm4sr_mix_batch(expert, &layout, &tape, &one, &mixed);
	for (int s = 0; s < layout.streams && layout.streams > 1; s++)
		n = add_experts(s == 0 ? IDS : stream[s - 1].name, mixed.gate[s], one.last[0], n, max, out);
	if (mixed.time_gate != NULL)
		n = add_experts(TIME, mixed.time_gate, one.last[0], n, max, out);
	fnn_arena_reset(arena, mark);
	return n;
}

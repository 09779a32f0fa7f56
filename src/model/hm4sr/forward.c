/*
 * forward.c
 *	  From a history to states: what mixes the streams, what times make of them, and
 *	  a tower for each.
 */
#include "model/hm4sr/hm4sr.h"

#include <string.h>

/* ---------------------------------------------------------------- times */

/*
 * How long before each token the basket before its own was, as rows of the table
 * of intervals; that of a sequence's first basket is 0.  What happened at once has
 * one interval.  Where no times are known all are 0.
 */
static int32_t *
intervals_of(FnnArena *arena, const FmoeBatch *batch, int64_t rows)
{
	int32_t    *interval = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);

	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int32_t t = batch->sequences.offset[s]; t < batch->sequences.offset[s + 1]; t++)
		{
			int64_t		first = fmoe_basket_begin(&batch->events, batch->sequences.offset[s], t);

			if (first < t)
				interval[t] = interval[t - 1];
			else if (t == batch->sequences.offset[s] || batch->events.time == NULL)
				interval[t] = 0;
			else
				interval[t] = fmoe_hm4sr_interval(batch->events.time[t] - batch->events.time[t - 1], rows);
		}
	return interval;
}

/* What of n times (NULL: not known, phases are 0) the model is told: [interval | phases], [n, 2 * width]. */
static FnnTensor *
times_of(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, int64_t n, const int32_t *interval,
		 const double *time)
{
	double		unit = fmoe_hm4sr_own(expert->config)->time_unit;
	double	   *units = fnn_alloc(tape->arena, sizeof(double) * (size_t) n);
	FnnTensor  *part[2];

	for (int64_t i = 0; time != NULL && i < n; i++)
		units[i] = time[i] / unit;
	part[0] = fnn_embed(tape, fmoe_parameter(expert, layout->interval), interval, n, 1, NULL, NULL);
	if (time == NULL)
		part[1] = fnn_constant(tape, n, layout->width,
							   fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (n * layout->width)));
	else
		part[1] = fnn_phases(tape, fmoe_parameter(expert, layout->phase), fmoe_parameter(expert, layout->phase + 1),
							 units, n);
	return fnn_concat(tape, 2, part);
}

static FnnTensor *
gate(const FmoeExpert *expert, FnnTape *tape, int slice, FnnTensor *x)
{
	FnnTensor  *logits = fnn_linear(tape, x, fmoe_parameter(expert, slice), fmoe_parameter(expert, slice + 1),
									FNN_IDENTITY);

	return fnn_softmax(tape, logits, NULL, 0);
}

/* ---------------------------------------------------------------- mixing */

/* Every stream and what experts that see all of them add to it. */
static FnnTensor *
mix_streams(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, FnnTensor *x, FnnTensor **gates)
{
	int			n = fmoe_hm4sr_own(expert->config)->experts;
	FnnTensor  *scales[] = {fmoe_parameter(expert, layout->mix_scale), fmoe_parameter(expert, layout->mix_scale + 1)};
	FnnTensor  *mixed[FMOE_HM4SR_EXPERTS_MAX];

	for (int k = 0; k < n; k++)
	{
		int			slice = layout->mix_expert + 2 * k;

		mixed[k] = fnn_linear(tape, x, fmoe_parameter(expert, slice), fmoe_parameter(expert, slice + 1), FNN_IDENTITY);
	}
	for (int s = 0; s < layout->streams; s++)
		gates[s] = gate(expert, tape, layout->mix_gate + 2 * s, fnn_cut(tape, x, s * layout->width, layout->width));
	return fnn_mix_streams(tape, x, n, mixed, layout->streams, gates, fnn_concat(tape, 2, scales));
}

void
fmoe_hm4sr_mix(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, FnnTensor *table,
			   const int32_t *row, const FmoeBatch *batch, FmoeHm4srMixed *mixed)
{
	FnnTensor  *position[FMOE_HM4SR_STREAMS_MAX + 1];
	FnnTensor  *x;

	for (int s = 0; s < layout->streams; s++)
		position[s] = fmoe_parameter(expert, layout->positions);
	x = fnn_embed(tape, table, row, batch->n_tokens, 1, fnn_concat(tape, layout->streams, position), batch->position);
	if (layout->streams > 1)
		x = mix_streams(expert, layout, tape, x, mixed->gate);
	mixed->time = mixed->time_gate = NULL;
	if (layout->time_gate >= 0)
	{
		int64_t		rows = fmoe_parameter(expert, layout->interval)->rows;

		mixed->time = times_of(expert, layout, tape, batch->n_tokens, intervals_of(tape->arena, batch, rows),
							   batch->events.time);
		mixed->time_gate = gate(expert, tape, layout->time_gate, mixed->time);
		x = fnn_scale_experts(tape, x, mixed->time_gate, fmoe_parameter(expert, layout->time_expert));
	}
	for (int s = 0; s < layout->streams; s++)
		mixed->stream[s] = layout->streams == 1 ? x : fnn_cut(tape, x, s * layout->width, layout->width);
}

void
fmoe_hm4sr_mix_batch(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, const FmoeBatch *batch,
					 FmoeHm4srMixed *mixed)
{
	FnnTensor  *table = (FnnTensor *) expert->items;
	const int32_t *row = batch->events.item;

	if (table == NULL)
	{
		table = fmoe_hm4sr_vectors(expert, tape, batch->n_tokens, row, false);
		row = fmoe_count_up(tape->arena, batch->n_tokens);
	}
	fmoe_hm4sr_mix(expert, layout, tape, table, row, batch, mixed);
}

/* ---------------------------------------------------------------- states */

FnnTensor *
fmoe_hm4sr_tower(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, int stream, FnnTensor *x,
				 const FmoeBatch *batch, FmoeWhich which)
{
	FmoePostnorm blocks = fmoe_hm4sr_blocks(expert->config);
	FnnTensor  *slice = fmoe_parameter(expert, layout->tower + stream * layout->tower_slices);

	x = fnn_layer_norm(tape, x, slice, slice + 1, blocks.epsilon);
	return fmoe_postnorm_run(&blocks, slice + 2, tape, fnn_dropout(tape, x, blocks.dropout), batch, which);
}

FnnTensor *
fmoe_hm4sr_states(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape,
				  const FmoeHm4srMixed *mixed, const FmoeBatch *batch, FmoeWhich which)
{
	FnnTensor  *state[FMOE_HM4SR_STREAMS_MAX + 1];

	for (int s = 0; s < layout->streams; s++)
		state[s] = fmoe_hm4sr_tower(expert, layout, tape, s, mixed->stream[s], batch, which);
	return layout->streams == 1 ? state[0] : fnn_concat(tape, layout->streams, state);
}

FnnTensor *
fmoe_hm4sr_asked(const FmoeExpert *expert, const FmoeHm4srLayout *layout, FnnTape *tape, FnnTensor *states,
				 const FmoeBatch *batch, FmoeWhich which)
{
	const FnnSequences *sequences = &batch->sequences;
	FnnArena   *arena = tape->arena;
	int64_t		rows;
	int32_t    *interval;
	double	   *time;

	if (layout->now_gate < 0)
		return states;
	rows = fmoe_parameter(expert, layout->interval)->rows;
	interval = fnn_alloc(arena, sizeof(int32_t) * (size_t) states->rows);
	time = fnn_alloc(arena, sizeof(double) * (size_t) states->rows);
	for (int32_t s = 0; s < sequences->count; s++)
	{
		int32_t		end = sequences->offset[s + 1];

		for (int32_t t = which == FMOE_LAST_TOKENS ? batch->last[s] : sequences->offset[s]; t < end; t++)
		{
			int64_t		next = fmoe_basket_end(&batch->events, t, end);
			double		last = batch->events.time != NULL ? batch->events.time[t] : 0;
			int64_t		row = which == FMOE_LAST_TOKENS ? s : t;

			/* not known: as if asked at once */
			time[row] = next < end && batch->events.time != NULL ? batch->events.time[next]
				: batch->now != NULL ? batch->now[s] : last;
			interval[row] = fmoe_hm4sr_interval(time[row] - last, rows);
		}
	}
	if (batch->events.time == NULL)
	{
		memset(interval, 0, sizeof(int32_t) * (size_t) states->rows);
		time = NULL;
	}
	return fnn_scale_experts(tape, states, gate(expert, tape, layout->now_gate,
												times_of(expert, layout, tape, states->rows, interval, time)),
							 fmoe_parameter(expert, layout->now_expert));
}

/* The batch as if all events of a history, and the question, were at the time of the last. */
static FmoeBatch
without_times(FnnArena *arena, const FmoeBatch *batch)
{
	FmoeBatch	timeless = *batch;
	double	   *time;
	double	   *now;

	if (batch->events.time == NULL)
		return timeless;
	time = fnn_alloc(arena, sizeof(double) * (size_t) batch->n_tokens);
	now = fnn_alloc(arena, sizeof(double) * (size_t) batch->sequences.count);
	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		now[s] = batch->last[s] >= 0 ? batch->events.time[batch->last[s]] : 0;
		for (int32_t t = batch->sequences.offset[s]; t < batch->sequences.offset[s + 1]; t++)
			time[t] = now[s];
	}
	timeless.events.time = time;
	timeless.now = now;
	return timeless;
}

FnnTensor *
fmoe_hm4sr_encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *asked, FmoeWhich which)
{
	FmoeBatch	batch = *asked;
	FmoeHm4srLayout layout;
	FmoeHm4srMixed mixed;
	FnnTensor  *states;

	fmoe_hm4sr_layout(expert->config, expert->params, &layout);
	if ((expert->without >> layout.streams & 1) != 0)
		batch = without_times(tape->arena, asked);
	fmoe_hm4sr_mix_batch(expert, &layout, tape, &batch, &mixed);
	states = fmoe_hm4sr_asked(expert, &layout, tape, fmoe_hm4sr_states(expert, &layout, tape, &mixed, &batch, which),
							  &batch, which);
	for (int64_t r = 0; r < states->rows && expert->without != 0; r++)
		for (int s = 0; s < layout.streams; s++)
			if ((expert->without >> s & 1) != 0)
				memset(states->value + r * states->cols + s * layout.width, 0,
					   sizeof(fnn_real) * (size_t) layout.width);
	return states;
}

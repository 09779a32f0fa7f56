/*
 * forward.c
 *	  The forward pass of a mixture: inputs and states of the members, the gate,
 *	  weighed states, terms.
 */

#include "model/fmoe/fmoe.h"

#include <math.h>
#include <string.h>

#define NORM_EPSILON 1e-8

/* ---------------------------------------------------------------- members */

/* A member's encoder over the mixture's parameters, with its adapters added. */
static FmoeEncoding
member_encoding(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, int i)
{
	const FmoeMixtureOptions *own = fmoe_mixture_own(expert->config);
	FmoeEncoding encoding = {
		.encoder = fmoe_encoders[layout->shape[i].encoder],
		.shape = layout->shape[i],
		.dropout = expert->config->dropout,
		.tensor = fmoe_parameter(expert, layout->first[i])
	};

	if (layout->adapter[i] >= 0)
		encoding.tensor = fmoe_adapted(tape, layout->slices[i], &expert->params->list[layout->first[i]],
									   encoding.tensor, fmoe_parameter(expert, layout->adapter[i]), own->lora_rank,
									   own->lora_alpha / own->lora_rank);
	return encoding;
}

/* The member's columns of the table of vectors that encoders read. */
static FnnTensor *
member_table(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, int i)
{
	FnnTensor  *table = layout->features >= 0 ? (FnnTensor *) expert->items : fmoe_parameter(expert, layout->input);

	return layout->gated == 1 ? table : fnn_columns(tape, table, layout->column[i], layout->shape[i].width);
}

/* ---------------------------------------------------------------- input */

/*
 * The mean vector of what followed each token's item, weighed by how often it did,
 * times sqrt(d) / 2: half of the item graph's convolution, but for the item itself.
 */
static FnnTensor *
smoothed(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const FmoeBatch *batch)
{
	const FmoeExpert *markov = &expert->counts[FMOE_MARKOV];
	FnnArena   *arena = tape->arena;
	int32_t    *distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	int32_t    *row = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	int32_t		n = fmoe_number_items(arena, batch->n_tokens, batch->events.item, expert->n_items, distinct, row);
	int64_t    *offset = fnn_alloc(arena, sizeof(int64_t) * ((size_t) n + 1));
	FnnGraph   *graph = fnn_alloc(arena, sizeof(FnnGraph));
	double		scale = sqrt(table->cols) / 2;
	int32_t    *to;
	float	   *weight;

	offset[0] = 0;
	for (int32_t i = 0; i < n; i++)
		offset[i + 1] = offset[i] + fmoe_transitions(markov, distinct[i]).n;
	to = fnn_alloc(arena, sizeof(int32_t) * (size_t) offset[n]);
	weight = fnn_alloc(arena, sizeof(float) * (size_t) offset[n]);
	for (int32_t i = 0; i < n; i++)
	{
		FmoeTransitions follows = fmoe_transitions(markov, distinct[i]);

		for (int64_t k = 0; k < follows.n; k++)
		{
			to[offset[i] + k] = follows.to[k];
			weight[offset[i] + k] = (float) (scale * follows.count[k] / follows.sum);
		}
	}
	graph->rows = n;
	graph->offset = offset;
	graph->to = to;
	graph->weight = weight;
	return fnn_neighbours(tape, table, graph, row, batch->n_tokens, expert->config->dropout);
}

/*
 * Inputs [n_tokens, width] of a member: normalised where its item vectors are
 * not the ones it was trained with, or are smoothed.
 */
static FnnTensor *
member_input(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, int i,
			 const FmoeEncoding *encoding, const FmoeBatch *batch)
{
	bool		graph = fmoe_mixture_own(expert->config)->item_graph;
	FnnTensor  *table = member_table(expert, layout, tape, i);
	/* with the graph: the vector, and half of the convolution, which holds the vector once more */
	double		scale = sqrt(encoding->shape.width) * (graph ? 1.5 : 1);
	FnnTensor  *x = encoding->encoder->enter(encoding, tape, table, batch->events.item, scale, batch);

	if (graph)
		x = fnn_add_dropout(tape, x, smoothed(expert, tape, table, batch), 0);
	if (layout->norm[i] >= 0)
		x = fnn_layer_norm(tape, x, fmoe_parameter(expert, layout->norm[i]),
						   fmoe_parameter(expert, layout->norm[i] + 1), NORM_EPSILON);
	return fnn_dropout(tape, x, encoding->dropout);
}

void
fmoe_mix_states(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
				const FmoeBatch *batch, FmoeWhich which, FnnTensor **state)
{
	int			baskets = fmoe_mixture_own(expert->config)->baskets;

	for (int i = 0; i < layout->members; i++)
	{
		FmoeEncoding encoding = member_encoding(expert, layout, tape, i);
		const FmoeBatch *read = fmoe_encoder_reads(encoding.encoder, baskets, tape->arena, batch);

		FnnTensor  *x = member_input(expert, layout, tape, i, &encoding, read);

		state[i] = fmoe_encoder_run(&encoding, tape, x, read, which);
	}
}

/* ---------------------------------------------------------------- gate */

/* Logits [n, gated] of inputs [n, states]. */
static FnnTensor *
gate_network(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, FnnTensor *x)
{
	int			slice = layout->gate;

	for (int layer = 0; layer < fmoe_mixture_own(expert->config)->gate_layers; layer++, slice += 4)
	{
		x = fnn_linear(tape, x, fmoe_parameter(expert, slice), fmoe_parameter(expert, slice + 1), FNN_GELU);
		x = fnn_layer_norm(tape, x, fmoe_parameter(expert, slice + 2), fmoe_parameter(expert, slice + 3),
						   NORM_EPSILON);
		x = fnn_dropout(tape, x, expert->config->dropout);
	}
	return fnn_linear(tape, x, fmoe_parameter(expert, slice), fmoe_parameter(expert, slice + 1), FNN_IDENTITY);
}

/* The same row n times. */
static FnnTensor *
repeated(FnnTape *tape, FnnTensor *row, int64_t n)
{
	return fnn_rows(tape, row, fnn_zalloc(tape->arena, sizeof(int32_t) * (size_t) n), n);
}

/* Logits [rows, gated] from states as constants, for all tokens or for last ones. */
static FnnTensor *
gate_logits(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, const FmoeBatch *batch,
			int64_t rows, bool last_only, FnnTensor *const *state)
{
	FnnTensor  *logits;
	FnnTensor  *input;

	switch ((FmoeGating) fmoe_mixture_own(expert->config)->gate)
	{
		case FMOE_GATE_EQUAL:
		case FMOE_GATE_LINEAR:
			logits = fnn_tensor(tape, rows, layout->gated, false);
			memset(logits->value, 0, sizeof(fnn_real) * (size_t) (rows * layout->gated));
			break;
		case FMOE_GATE_BATCH:
			input = tape->record ? fnn_mean(tape, fnn_concat(tape, layout->members, state))
				: fmoe_parameter(expert, layout->mean);
			logits = repeated(tape, gate_network(expert, layout, tape, input), rows);
			break;
		default:
			input = fnn_running_mean(tape, fnn_concat(tape, layout->members, state), &batch->sequences);
			if (last_only)
				input = fnn_rows(tape, input, batch->last, rows);
			logits = gate_network(expert, layout, tape, input);
	}
	return logits;
}

/* The logits as they are while training, calibrated while serving. */
static FnnTensor *
calibrated(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, FnnTensor *logits)
{
	FnnTensor  *out;
	fnn_real	scale;
	const fnn_real *bias;

	if (tape->record || layout->calibration < 0)
		return logits;
	scale = fmoe_parameter(expert, layout->calibration)->value[0];
	bias = fmoe_parameter(expert, layout->calibration + 1)->value;
	out = fnn_tensor(tape, logits->rows, logits->cols, false);
	for (int64_t r = 0; r < logits->rows; r++)
		for (int64_t i = 0; i < logits->cols; i++)
			out->value[r * logits->cols + i] = scale * logits->value[r * logits->cols + i] + bias[i];
	return out;
}

static FnnTensor *
gate_weights(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, FnnTensor *logits)
{
	bool		allowed[FMOE_GATED_MAX];
	bool		any = false;
	FnnTensor  *weight = logits;

	for (int i = 0; i < layout->gated; i++)
	{
		allowed[i] = (expert->without >> i & 1) == 0;
		any = any || allowed[i];
	}
	if (fmoe_mixture_own(expert->config)->gate == FMOE_GATE_LINEAR)
	{
		/* what each weighs is up to who sums */
		for (int64_t k = 0; k < logits->rows * logits->cols; k++)
			weight->value[k] = allowed[k % logits->cols];
		return weight;
	}
	if (!any)
		fnn_fail(tape->host, FNN_INVALID, "a mixture without any expert");
	return fnn_softmax(tape, calibrated(expert, layout, tape, logits), allowed,
					   fmoe_mixture_own(expert->config)->gate_top);
}

/* ---------------------------------------------------------------- the mixture */

/* Parts of a state for the count columns, before they are weighed: 1 for popularity; 1 and zeros for transitions. */
static void
count_parts(FnnTape *tape, int64_t rows, FnnTensor **part)
{
	for (int k = 0; k < 2; k++)
	{
		part[k] = fnn_tensor(tape, rows, k == 0 ? 1 : FMOE_COUNT_COLUMNS - 1, false);
		memset(part[k]->value, 0, sizeof(fnn_real) * (size_t) (rows * part[k]->cols));
		for (int64_t r = 0; r < rows; r++)
			part[k]->value[r * part[k]->cols] = 1;
	}
}

void
fmoe_mix(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
		 const FmoeBatch *batch, FmoeWhich which, FmoeMixed *mixed)
{
	bool		last_only = which == FMOE_LAST_TOKENS;
	bool		reads_all = fmoe_mixture_own(expert->config)->gate == FMOE_GATE_USER;
	FnnTensor  *constant[FMOE_MEMBERS_MAX];
	FnnTensor  *part[FMOE_GATED_MAX];

	mixed->members = layout->members;
	mixed->rows = last_only ? batch->sequences.count : batch->n_tokens;
	fmoe_mix_states(expert, layout, tape, batch, reads_all ? FMOE_ALL_TOKENS : which, mixed->state);
	for (int i = 0; i < layout->members; i++)
		constant[i] = fnn_detach(tape, mixed->state[i]);
	mixed->logits = gate_logits(expert, layout, tape, batch, mixed->rows, last_only, constant);
	mixed->gate = gate_weights(expert, layout, tape, mixed->logits);
	for (int i = 0; i < layout->members; i++)
	{
		if (last_only && reads_all)
			mixed->state[i] = fnn_rows(tape, mixed->state[i], batch->last, mixed->rows);
		part[i] = last_only && reads_all ? mixed->state[i] : constant[i];
	}
	if (layout->gated > layout->members)
		count_parts(tape, mixed->rows, part + layout->members);
	mixed->hidden = fnn_gate(tape, layout->gated, part, mixed->gate);
}

FnnTensor *
fmoe_mixture_vectors(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item, const bool *kept)
{
	FmoeMixtureLayout *layout = fnn_alloc(tape->arena, sizeof(FmoeMixtureLayout));
	FnnTensor  *table = fmoe_parameter(expert, 0);
	FnnTensor  *part[2];
	int64_t		own;

	fmoe_mixture_layout(expert->config, expert->params, layout);
	own = layout->column[1];
	part[0] = fmoe_featured(expert, tape, fnn_columns(tape, table, 0, own), fmoe_parameter(expert, layout->features),
							n, item, kept);
	if (layout->members == 1)
		return part[0];
	if (item == NULL)
		item = fmoe_count_up(tape->arena, n);
	part[1] = fnn_embed(tape, fnn_columns(tape, table, own, table->cols - own), item, n, 1, NULL, NULL);
	return fnn_concat(tape, 2, part);
}

FnnTensor *
fmoe_mixture_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	return fmoe_mixture_vectors(expert, tape, n, item, NULL);
}

FnnTensor *
fmoe_mixture_encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	FmoeMixtureLayout *layout = fnn_alloc(tape->arena, sizeof(FmoeMixtureLayout));
	FmoeExpert	over = *expert;
	FmoeBatch	rows = *batch;
	FmoeMixed	mixed;

	fmoe_mixture_layout(expert->config, expert->params, layout);
	if (layout->features >= 0 && expert->items == NULL)
	{
		/* by the items, before they become numbers of tokens */
		if (fmoe_mixture_draws_baskets(expert->config))
			rows = fmoe_batch_ordered(tape->arena, batch);
		over.items = fmoe_mixture_items(expert, tape, rows.n_tokens, rows.events.item);
		rows = fmoe_batch_of_tokens(tape->arena, &rows);
	}
	fmoe_mix(&over, layout, tape, &rows, which, &mixed);
	return mixed.hidden;
}

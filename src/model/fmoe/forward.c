/*
 * forward.c
 *	  States, gate and scores of a mixture.
 */
#include "model/fmoe/layout.h"
#include "model/registry.h"

#include <math.h>
#include <string.h>

#define NORM_EPSILON 1e-8
#define FEW_TOKENS 512			/* repeats among so many are found by looking */

/* ---------------------------------------------------------------- members */

/* rows .. of a slice, over its memory and gradient */
static FnnTensor *
slice_rows(FnnTape *tape, const FnnTensor *slice, int64_t first, int64_t rows)
{
	FnnTensor  *part = fnn_alloc(tape->arena, sizeof(FnnTensor));

	*part = *slice;
	part->rows = rows;
	part->value += first * slice->cols;
	if (part->grad != NULL)
		part->grad += first * slice->cols;
	return part;
}

/* A member's encoder with its adapters added. */
static void
bind_adapted(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, int i, FmoeExpert *member)
{
	const FnnTensor *a = fmoe_parameter(expert, layout->adapter[i]);
	const FnnTensor *b = fmoe_parameter(expert, layout->adapter[i] + 1);
	int			rank = expert->config.lora_rank;
	double		scale = expert->config.lora_alpha / rank;
	int64_t		inputs = 0;
	int64_t		outputs = 0;

	for (int s = 1; s <= layout->slices[i]; s++)
	{
		FnnTensor  *matrix = fmoe_parameter(expert, layout->first[i] + s - 1);

		if (!fmoe_is_adapted(member->class, s, &expert->params.list[layout->first[i] + s - 1]))
			continue;
		member->tensor[s] = *fnn_adapt(tape, matrix, slice_rows(tape, a, inputs, rank),
									   slice_rows(tape, b, outputs, matrix->rows), scale);
		inputs += rank;
		outputs += matrix->rows;
	}
}

/* The member as an expert by itself, over the mixture's parameters. */
static FmoeExpert *
member_expert(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, int i)
{
	FmoeExpert *member = fnn_alloc(tape->arena, sizeof(FmoeExpert));
	FnnTensor  *table = fmoe_parameter(expert, layout->input);

	member->config = layout->config[i];
	member->class = fmoe_expert_classes[member->config.model];
	member->n_items = expert->n_items;
	if (layout->gated == 1)
		member->tensor[0] = *table;
	else
		member->tensor[0] = *fnn_columns(tape, table, layout->column[i], member->config.width);
	for (int s = 1; s <= layout->slices[i]; s++)
		member->tensor[s] = *fmoe_parameter(expert, layout->first[i] + s - 1);
	if (layout->adapter[i] >= 0)
		bind_adapted(expert, layout, tape, i, member);
	return member;
}

/* ---------------------------------------------------------------- input */

/* row[n_tokens]: which of the distinct items each token is; returns their number. */
static int32_t
number_items(FnnArena *arena, const FmoeBatch *batch, int32_t n_items, int32_t *distinct, int32_t *row)
{
	int32_t		n = 0;
	int32_t    *number = NULL;

	if (batch->n_tokens > FEW_TOKENS)
	{
		number = fnn_alloc(arena, sizeof(int32_t) * (size_t) n_items);
		memset(number, 0xff, sizeof(int32_t) * (size_t) n_items);
	}
	for (int64_t t = 0; t < batch->n_tokens; t++)
	{
		int32_t		item = batch->events.item[t];
		int32_t		k = 0;

		if (number != NULL)
			k = number[item] >= 0 ? number[item] : n;
		else
			while (k < n && distinct[k] != item)
				k++;
		if (k == n)
		{
			distinct[n++] = item;
			if (number != NULL)
				number[item] = k;
		}
		row[t] = k;
	}
	return n;
}

/*
 * sqrt(d) / 2 of what follows each token's item, by its share among all that
 * followed: the part of the item graph's convolution that is not the item itself.
 */
static FnnTensor *
smoothed(const FmoeExpert *expert, FnnTape *tape, const FmoeExpert *member, const FmoeBatch *batch)
{
	FnnArena   *arena = tape->arena;
	int32_t    *distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	int32_t    *row = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	int32_t		n = number_items(arena, batch, expert->n_items, distinct, row);
	int64_t    *offset = fnn_alloc(arena, sizeof(int64_t) * ((size_t) n + 1));
	FnnGraph   *graph = fnn_alloc(arena, sizeof(FnnGraph));
	double		scale = sqrt(member->config.width) / 2;
	int32_t    *to;
	float	   *weight;

	offset[0] = 0;
	for (int32_t i = 0; i < n; i++)
		offset[i + 1] = offset[i] + fmoe_transitions(expert->markov, distinct[i]).n;
	to = fnn_alloc(arena, sizeof(int32_t) * (size_t) offset[n]);
	weight = fnn_alloc(arena, sizeof(float) * (size_t) offset[n]);
	for (int32_t i = 0; i < n; i++)
	{
		FmoeTransitions follows = fmoe_transitions(expert->markov, distinct[i]);

		for (int64_t k = 0; k < follows.n; k++)
		{
			to[offset[i] + k] = follows.to[k];
			weight[offset[i] + k] = (float) (scale * follows.count[k] / follows.sum);
		}
	}
	graph->offset = offset;
	graph->to = to;
	graph->weight = weight;
	return fnn_neighbours(tape, (FnnTensor *) &member->tensor[0], graph, row, batch->n_tokens, member->config.dropout);
}

/* Input vectors [n_tokens, width] of a member whose input is normalised. */
static FnnTensor *
member_input(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, int i,
			 const FmoeExpert *member, const FmoeBatch *batch)
{
	bool		graph = expert->config.item_graph;
	bool		positions = member->class->positions;
	/* with the graph an item's vector counts itself and half of its convolution */
	double		scale = sqrt(member->config.width) * (graph ? 1.5 : 1);
	FnnTensor  *x = fnn_embed(tape, (FnnTensor *) &member->tensor[0], batch->events.item, batch->n_tokens, scale,
							  positions ? (FnnTensor *) &member->tensor[1] : NULL, batch->position);

	if (graph)
		x = fnn_add_dropout(tape, x, smoothed(expert, tape, member, batch), 0);
	x = fnn_layer_norm(tape, x, fmoe_parameter(expert, layout->norm[i]), fmoe_parameter(expert, layout->norm[i] + 1),
					   NORM_EPSILON);
	return fnn_dropout(tape, x, member->config.dropout);
}

void
fmoe_mix_states(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape,
				const FmoeBatch *batch, bool last_only, FnnTensor **state)
{
	for (int i = 0; i < layout->members; i++)
	{
		const FmoeExpert *member = member_expert(expert, layout, tape, i);

		if (layout->norm[i] < 0)
			state[i] = member->class->encode(member, tape, batch, last_only);
		else
			state[i] = member->class->run(member, tape, member_input(expert, layout, tape, i, member, batch),
										  batch, last_only);
	}
}

/* ---------------------------------------------------------------- gate */

/* Logits [n, gated] of inputs [n, states]. */
static FnnTensor *
gate_network(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, FnnTensor *x)
{
	int			slice = layout->gate;

	for (int layer = 0; layer < expert->config.gate_layers; layer++, slice += 4)
	{
		x = fnn_linear(tape, x, fmoe_parameter(expert, slice), fmoe_parameter(expert, slice + 1), FNN_GELU);
		x = fnn_layer_norm(tape, x, fmoe_parameter(expert, slice + 2), fmoe_parameter(expert, slice + 3), NORM_EPSILON);
		x = fnn_dropout(tape, x, expert->config.dropout);
	}
	return fnn_linear(tape, x, fmoe_parameter(expert, slice), fmoe_parameter(expert, slice + 1), FNN_IDENTITY);
}

/* The same row n times. */
static FnnTensor *
repeated(FnnTape *tape, FnnTensor *row, int64_t n)
{
	return fnn_rows(tape, row, fnn_zalloc(tape->arena, sizeof(int32_t) * (size_t) n), n);
}

/* Logits [rows, gated] from states that are constants: of all tokens, or of last ones where the gate reads none. */
static FnnTensor *
gate_logits(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnTape *tape, const FmoeBatch *batch,
			int64_t rows, bool last_only, FnnTensor *const *state)
{
	FnnTensor  *logits;
	FnnTensor  *input;

	switch ((FmoeGating) expert->config.gate)
	{
		case FMOE_GATE_EQUAL:
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

/* What is learned from is the gate as it is; what serves is calibrated. */
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

	for (int i = 0; i < layout->gated; i++)
	{
		allowed[i] = (expert->without >> i & 1) == 0;
		any = any || allowed[i];
	}
	if (!any)
		fnn_fail(tape->host, FNN_INVALID, "a mixture without any expert");
	return fnn_softmax(tape, calibrated(expert, layout, tape, logits), allowed, expert->config.gate_top);
}

/* ---------------------------------------------------------------- the mixture */

/* What the count columns of the table are multiplied by: [rows, 1] and the rest. */
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
		 const FmoeBatch *batch, bool last_only, FmoeMixed *mixed)
{
	bool		reads_all = expert->config.gate == FMOE_GATE_USER;
	FnnTensor  *constant[FMOE_MEMBERS_MAX];
	FnnTensor  *part[FMOE_GATED_MAX];

	mixed->members = layout->members;
	mixed->rows = last_only ? batch->sequences.count : batch->n_tokens;
	fmoe_mix_states(expert, layout, tape, batch, last_only && !reads_all, mixed->state);
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
fmoe_mixture_encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, bool last_only)
{
	FmoeMixtureLayout *layout = fnn_alloc(tape->arena, sizeof(FmoeMixtureLayout));
	FmoeMixed	mixed;

	fmoe_mixture_layout(&expert->config, layout);
	fmoe_mix(expert, layout, tape, batch, last_only, &mixed);
	return mixed.hidden;
}

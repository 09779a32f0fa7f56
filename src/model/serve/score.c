/*
 * score.c
 *	  States and scores of all items after many histories.
 *
 * Empty histories are taken out before a class sees the batch; they get the scores
 * of popularity, or where there is a gate of what is recent.
 */
#include "model/serve/serve_private.h"

#include <string.h>

/* States [sequences.count, d] of the main expert after the last tokens; no sequence is empty. */
static const FnnTensor *
states_after(const FmoeModel *model, FnnArena *arena, const FmoeBatch *full)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeBatch	some = *full;
	const FnnTensor *state;
	FmoeExpert	among;
	FnnTape		tape;

	if (fmoe_has_strangers(model, full->n_tokens, full->events.item))
	{
		int32_t    *distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) full->n_tokens);
		int32_t    *row = fnn_alloc(arena, sizeof(int32_t) * (size_t) full->n_tokens);
		int32_t		n = fmoe_number_items(arena, full->n_tokens, full->events.item,
										  model->n_items + model->strangers.n, distinct, row);

		among = fmoe_among(model, arena, n, distinct);
		some.events.item = row;
		main = &among;
	}
	fnn_tape_begin(&tape, arena, false, 0, 0);
	state = main->class->encode(main, &tape, &some, FMOE_LAST_TOKENS);
	if (state->cols != model->vectors.cols)
		fnn_fail(fnn_arena_host(arena), FNN_FORMAT, "states have %lld columns, item vectors %lld",
				 (long long) state->cols, (long long) model->vectors.cols);
	return state;
}

/* States [sequences.count, items.cols] that scores are products of; no sequence is empty. */
static const fnn_real *
encode_last(const FmoeModel *model, FnnArena *arena, const FmoeBatch *full)
{
	const FnnTensor *hidden = states_after(model, arena, full);
	fnn_real   *state;

	if (!fmoe_has_gate(model))
		return hidden->value;
	state = fnn_alloc_reals(arena, full->sequences.count, model->items.cols);
	for (int32_t i = 0; i < full->sequences.count; i++)
		fmoe_gate_state(model, full, hidden->value + i * hidden->cols, state + i * model->items.cols);
	return state;
}

/* Rows [sequences.count, width] to their places, 0 for empty sequences. */
static void
encode_all(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int64_t width, bool weighed,
		   fnn_real *hidden)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);

	memset(hidden, 0, sizeof(fnn_real) * batch->sequences.count * width);
	if (full.sequences.count > 0)
	{
		const fnn_real *last = weighed ? encode_last(model, arena, &full) : states_after(model, arena, &full)->value;

		for (int32_t i = 0; i < full.sequences.count; i++)
			memcpy(hidden + of[i] * width, last + i * width, sizeof(fnn_real) * width);
	}
	fnn_arena_reset(arena, mark);
}

void
fmoe_states(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *state)
{
	encode_all(model, arena, batch, fmoe_vectors(model)->cols, false, state);
}

void
fmoe_encode(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden)
{
	encode_all(model, arena, batch, model->items.cols, true, hidden);
}

typedef void (*FmoeWeighing) (const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *out);

/* out[sequences.count, columns] by a hook that takes no empty sequence. */
static void
weigh_by(FmoeWeighing hook, const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int columns,
		 fnn_real *out)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);
	fnn_real   *weighed = fnn_alloc_reals(arena, full.sequences.count, columns);

	memset(out, 0, sizeof(fnn_real) * (size_t) (batch->sequences.count * columns));
	if (full.sequences.count > 0)
		hook(&model->expert[FMOE_MAIN], arena, &full, weighed);
	for (int32_t i = 0; i < full.sequences.count; i++)
		memcpy(out + of[i] * columns, weighed + i * columns, sizeof(fnn_real) * columns);
	fnn_arena_reset(arena, mark);
}

void
fmoe_weigh(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];

	weigh_by(main->class->weigh, model, arena, batch, main->class->part_count(main->config), weight);
}

int
fmoe_mixed_layers(const FmoeModel *model)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];

	if (main->class->mixed_layers == NULL || fmoe_has_gate(model))
		return 0;
	return main->class->mixed_layers(main->config);
}

void
fmoe_weigh_layers(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *share)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];

	weigh_by(main->class->weigh_layers, model, arena, batch,
			 fmoe_mixed_layers(model) * main->class->part_count(main->config), share);
}

/* Writes the scores of sequences that are not empty; the other rows stay. */
static void
score_by_vectors(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *scores)
{
	const FnnHost *host = fnn_arena_host(arena);
	int64_t		n_items = model->n_items;
	int64_t		width = model->items.cols;
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(host, batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);
	const fnn_real *hidden;

	if (full.sequences.count == 0)
		return;
	hidden = encode_last(model, arena, &full);
	fnn_gemm(host, false, true, full.sequences.count, n_items, width, 1, hidden, width,
			 model->items.value, width, 0, scores, n_items);

	/* from the last: a row only ever moves down */
	for (int32_t i = full.sequences.count - 1; i >= 0; i--)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		fnn_real   *score = scores + of[i] * n_items;
		FmoeAdded	added = fmoe_model_added(model, arena, &full, i, hidden + i * width);

		if (of[i] != i)
			memcpy(score, scores + i * n_items, sizeof(fnn_real) * n_items);
		for (int64_t k = 0; added.all != NULL && k < n_items; k++)
			score[k] += (fnn_real) added.all[k];
		for (int64_t k = 0; k < added.few.n; k++)
			score[added.few.item[k]] += (fnn_real) added.few.value[k];
		fnn_arena_reset(arena, mark);
	}
}

void
fmoe_score(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch, fnn_real *scores)
{
	const FmoeExpert *expert = &model->expert[slot];
	const FmoeExpert *other = &model->expert[fmoe_scoring_slot(model, slot, true)];
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		n_items = model->n_items;
	bool		itself = fmoe_scores_itself(expert->class, expert->config);

	if (!itself)
		score_by_vectors(model, arena, batch, scores);
	for (int32_t i = 0; i < batch->sequences.count; i++)
	{
		if (batch->last[i] < 0)
			other->class->score(other, arena, batch, i, n_items, NULL, scores + i * n_items);
		else if (itself)
			expert->class->score(expert, arena, batch, i, n_items, NULL, scores + i * n_items);
		fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

double
fmoe_score_bytes(const FmoeModel *model)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeFacts	facts = {.n_items = model->n_items, .features = main->features, .user_features = main->user_features};

	if (fmoe_only_counts(main->class) || !fmoe_scores_itself(main->class, main->config))
		return 0;
	return main->class->bytes(main->config, &facts, FMOE_UNRECORDED, main->config->max_length, 1);
}

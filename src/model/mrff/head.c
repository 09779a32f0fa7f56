/*
 * head.c
 *	  Predictions: the logit that an impression is clicked.
 *
 *	  z = a . relu(F [state ; item ; u] + f) + a0 + w . rates + the odds of the item's categories
 *
 * The state of a history without an impression is 0.
 */
#include "model/mrff/mrff.h"

#include <math.h>
#include <string.h>

/* Slices of the head. */
enum
{
	INNER,						/* weight, bias */
	OUTER = 2					/* weight, bias */
};

#define ITEMS_AT_ONCE 1024

FmoeMrffAsked
fmoe_mrff_asked(FnnArena *arena, const FmoeBatch *batch, int max_length)
{
	size_t		bytes = sizeof(int32_t) * (size_t) batch->n_tokens;
	FmoeMrffAsked asked = {.token = fnn_alloc(arena, bytes), .state = fnn_alloc(arena, bytes)};

	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int32_t		first = batch->sequences.offset[s];
		int32_t		end = batch->sequences.offset[s + 1];
		int32_t		begin = first;

		for (int32_t t = first; t < end; t++)
		{
			if (batch->baskets != NULL)
				begin = batch->baskets->begin[batch->baskets->of[t]];
			else
				begin = t;
			/* of a history that was cut, what came before is not known */
			if (begin == first && end - first >= max_length)
				continue;
			asked.token[asked.n] = t;
			asked.state[asked.n++] = begin > first ? begin - 1 : -1;
		}
	}
	return asked;
}

/* Rows row[n] of states, 0 for row -1. */
static FnnTensor *
states_before(FnnTape *tape, FnnTensor *state, const FmoeMrffAsked *asked)
{
	int64_t    *offset = fnn_alloc(tape->arena, sizeof(int64_t) * ((size_t) asked->n + 1));
	int32_t    *to = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) asked->n);
	int32_t    *place = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) asked->n);
	FnnGraph	graph = {.rows = asked->n, .offset = offset, .to = to};

	offset[0] = 0;
	for (int64_t i = 0; i < asked->n; i++)
	{
		offset[i + 1] = offset[i] + (asked->state[i] >= 0);
		if (asked->state[i] >= 0)
			to[offset[i]] = asked->state[i];
		place[i] = (int32_t) i;
	}
	return fnn_neighbours(tape, state, &graph, place, asked->n, 0);
}

FnnTensor *
fmoe_mrff_head(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeMrffPass *pass,
			   const FmoeMrffAsked *asked)
{
	const FmoeMrffLayout *layout = &pass->layout;
	FnnTensor  *head = fmoe_parameter(expert, layout->head);
	FnnTensor  *part[3];
	FnnTensor  *z;
	int			parts = 0;

	part[parts++] = states_before(tape, pass->state, asked);
	part[parts++] = fnn_rows(tape, pass->item, asked->token, asked->n);
	if (pass->user != NULL)
	{
		const int32_t *of = fmoe_mrff_sequence_of(tape->arena, batch);
		int32_t    *row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) asked->n);

		for (int64_t i = 0; i < asked->n; i++)
			row[i] = of[asked->token[i]];
		part[parts++] = fnn_rows(tape, pass->user, row, asked->n);
	}
	z = fnn_linear(tape, fnn_concat(tape, parts, part), &head[INNER], &head[INNER + 1], FNN_RELU);
	z = fnn_linear(tape, z, &head[OUTER], &head[OUTER + 1], FNN_IDENTITY);
	if (layout->rates >= 0)
	{
		fnn_real   *rate = fnn_alloc_reals(tape->arena, asked->n, layout->n_rates);
		int32_t    *item = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) asked->n);

		for (int64_t i = 0; i < asked->n; i++)
			item[i] = batch->events.item[asked->token[i]];
		fmoe_mrff_rates(expert, layout, tape->arena, batch, asked->n, asked->token, rate);
		z = fnn_add_dropout(tape, z, fnn_linear(tape, fnn_constant(tape, asked->n, layout->n_rates, rate),
												fmoe_parameter(expert, layout->rates), NULL, FNN_IDENTITY), 0);
		if (layout->n_item_features > 0)
			z = fnn_add_dropout(tape, z, fmoe_mrff_odds(expert, layout, tape, asked->n, item), 0);
	}
	return z;
}

void
fmoe_mrff_foresee(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *logit)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeMrffPass pass;
	FmoeMrffAsked asked = fmoe_mrff_asked(arena, batch, expert->config->max_length);
	const FnnTensor *z;
	FnnTape		tape;

	for (int64_t t = 0; t < batch->n_tokens; t++)
		logit[t] = (fnn_real) NAN;
	fnn_tape_begin(&tape, arena, false, 0, 0);
	fmoe_mrff_run(expert, &tape, batch, &pass);
	z = fmoe_mrff_head(expert, &tape, batch, &pass, &asked);
	for (int64_t i = 0; i < asked.n; i++)
		logit[asked.token[i]] = z->value[i];
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- items after a history */

/* What of the head's inner map does not depend on the item: [FMOE_MRFF_HEAD]. */
static fnn_real *
inner_of_history(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnArena *arena, const FmoeBatch *one,
				 const fnn_real *state, const fnn_real *user)
{
	const FnnTensor *inner = fmoe_parameter(expert, layout->head + INNER);
	fnn_real   *sum = fnn_alloc_reals(arena, 1, FMOE_MRFF_HEAD);

	memcpy(sum, inner[1].value, sizeof(fnn_real) * FMOE_MRFF_HEAD);
	for (int64_t k = 0; k < FMOE_MRFF_HEAD; k++)
	{
		const fnn_real *row = inner->value + k * inner->cols;

		for (int64_t c = 0; state != NULL && c < layout->width; c++)
			sum[k] += row[c] * state[c];
		for (int64_t c = 0; user != NULL && c < layout->user_width; c++)
			sum[k] += row[2 * layout->width + c] * user[c];
	}
	return sum;
}

/* Vectors [n, width] of items, those that were computed before or now. */
static const fnn_real *
vectors_of(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, int64_t n, const int32_t *item)
{
	fnn_real   *x;

	if (expert->items == NULL)
		return fmoe_mrff_items(expert, tape, n, item)->value;
	x = fnn_alloc_reals(tape->arena, n, layout->width);
	for (int64_t i = 0; i < n; i++)
		memcpy(x + i * layout->width, expert->items->value + item[i] * layout->width,
			   sizeof(fnn_real) * (size_t) layout->width);
	return x;
}

/* Logits of some items, given the inner map of the history. */
static void
score_some(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, const fnn_real *history,
		   int64_t n, const int32_t *item, fnn_real *score)
{
	const FnnTensor *head = fmoe_parameter(expert, layout->head);
	const FnnTensor *inner = &head[INNER];
	const fnn_real *x = vectors_of(expert, layout, tape, n, item);
	fnn_real   *z = fnn_alloc_reals(tape->arena, n, FMOE_MRFF_HEAD);

	for (int64_t i = 0; i < n; i++)
		memcpy(z + i * FMOE_MRFF_HEAD, history, sizeof(fnn_real) * FMOE_MRFF_HEAD);
	fnn_gemm(tape->host, false, true, n, FMOE_MRFF_HEAD, layout->width, 1, x, layout->width,
			 inner->value + layout->width, inner->cols, 1, z, FMOE_MRFF_HEAD);
	for (int64_t i = 0; i < n; i++)
	{
		fnn_real	sum = head[OUTER + 1].value[0];

		for (int64_t k = 0; k < FMOE_MRFF_HEAD; k++)
			if (z[i * FMOE_MRFF_HEAD + k] > 0)
				sum += head[OUTER].value[k] * z[i * FMOE_MRFF_HEAD + k];
		score[i] = sum;
	}
}

/* Adds what the rates and the odds say. */
static void
add_rates(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, const FmoeBatch *batch, int64_t n,
		  const int32_t *item, fnn_real *score)
{
	const fnn_real *weight = fmoe_parameter(expert, layout->rates)->value;
	fnn_real   *rate = fnn_alloc_reals(tape->arena, n, layout->n_rates);
	const FnnTensor *odds = layout->n_item_features > 0 ? fmoe_mrff_odds(expert, layout, tape, n, item) : NULL;

	fmoe_mrff_rates_after(expert, layout, tape->arena, batch, 0, n, item, rate);
	for (int64_t i = 0; i < n && odds != NULL; i++)
		score[i] += odds->value[i];
	for (int64_t i = 0; i < n; i++)
		for (int k = 0; k < layout->n_rates; k++)
			score[i] += weight[k] * rate[i * layout->n_rates + k];
}

/* The state after the last impression of a batch of one sequence, and the user's vector; NULL: there is none. */
static void
history_of(const FmoeExpert *expert, const FmoeMrffLayout *layout, FnnTape *tape, const FmoeBatch *one,
		   const fnn_real **state, const fnn_real **user)
{
	FmoeMrffPass pass;
	const FnnTensor *vector;

	if (one->n_tokens == 0)
	{
		vector = fmoe_mrff_users(expert, layout, tape, one);
		*state = NULL;
		*user = vector != NULL ? vector->value : NULL;
		return;
	}
	fmoe_mrff_run(expert, tape, one, &pass);
	*state = pass.state->value + (one->n_tokens - 1) * layout->width;
	*user = pass.user != NULL ? pass.user->value : NULL;
}

void
fmoe_mrff_score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int64_t n,
				const int32_t *item, fnn_real *score)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeBatch	one = fmoe_batch_part(arena, batch, sequence, 1);
	FmoeMrffLayout layout;
	const fnn_real *state;
	const fnn_real *user;
	const fnn_real *history;
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	fmoe_mrff_layout_of(expert, &layout);
	history_of(expert, &layout, &tape, &one, &state, &user);
	history = inner_of_history(expert, &layout, arena, &one, state, user);
	for (int64_t first = 0; first < n; first += ITEMS_AT_ONCE)
	{
		FnnMark		block = fnn_arena_mark(arena);
		int64_t		count = n - first < ITEMS_AT_ONCE ? n - first : ITEMS_AT_ONCE;
		int32_t    *some = fnn_alloc(arena, sizeof(int32_t) * (size_t) count);

		for (int64_t i = 0; i < count; i++)
			some[i] = item != NULL ? item[first + i] : (int32_t) (first + i);
		score_some(expert, &layout, &tape, history, count, some, score + first);
		if (layout.rates >= 0)
			add_rates(expert, &layout, &tape, &one, count, some, score + first);
		fnn_arena_reset(arena, block);
		fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

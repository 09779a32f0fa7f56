/*
 * score.c
 *	  Scores of all items after a history.
 */
#include "model/serve/raise.h"

#include <string.h>

/* Hidden state [full->sequences.count, width] of each last token. */
static FnnTensor *
encode_last(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *full)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	return expert->class->encode(expert, &tape, full, true);
}

void
fmoe_encode(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden)
{
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		width = expert->tensor[0].cols;
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);
	int32_t		i;

	memset(hidden, 0, sizeof(fnn_real) * batch->sequences.count * width);
	if (full.sequences.count > 0)
	{
		FnnTensor  *last = encode_last(expert, arena, &full);

		for (i = 0; i < full.sequences.count; i++)
			memcpy(hidden + of[i] * width, last->value + i * width, sizeof(fnn_real) * width);
	}
	fnn_arena_reset(arena, mark);
}

static void
raise_row(const FmoeModel *model, int32_t last, const fnn_real *hidden, fnn_real *score)
{
	FmoeRaised	raised = fmoe_raised(model, last, hidden);

	for (int64_t k = 0; k < raised.row.n; k++)
		score[raised.row.to[k]] += (fnn_real) fmoe_raised_by(&raised, k);
}

/* scores [sequences.count, n_items]; rows of empty sequences are left alone. */
static void
score_by_encoder(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *scores)
{
	const FmoeExpert *expert = &model->expert[FMOE_MAIN];
	const FnnHost *host = fnn_arena_host(arena);
	int64_t		n_items = expert->n_items;
	int64_t		width = expert->tensor[0].cols;
	int32_t    *of = fnn_alloc(arena, fnn_mul_size(host, batch->sequences.count, sizeof(int32_t)));
	FmoeBatch	full = fmoe_without_empty(arena, batch, of);
	FnnTensor  *hidden;
	int32_t		i;

	if (full.sequences.count == 0)
		return;
	hidden = encode_last(expert, arena, &full);
	fnn_gemm(host, false, true, full.sequences.count, n_items, width, 1, hidden->value, width,
			 expert->tensor[0].value, width, 0, scores, n_items);

	/* from the last: a row only ever moves down */
	for (i = full.sequences.count - 1; i >= 0; i--)
	{
		if (of[i] != i)
			memcpy(scores + of[i] * n_items, scores + i * n_items, sizeof(fnn_real) * n_items);
		raise_row(model, batch->events.item[full.last[i]], hidden->value + i * width, scores + of[i] * n_items);
	}
}

void
fmoe_score(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch, fnn_real *scores)
{
	const FmoeExpert *expert = &model->expert[slot];
	const FmoeExpert *popularity = &model->expert[FMOE_POPULARITY];
	FnnMark		mark = fnn_arena_mark(arena);
	bool		counts = fmoe_counts(expert->class);
	int64_t		n_items = model->n_items;
	int32_t		i;

	if (!counts)
		score_by_encoder(model, arena, batch, scores);
	for (i = 0; i < batch->sequences.count; i++)
	{
		if (batch->last[i] < 0)
			popularity->class->score(popularity, batch, i, scores + i * n_items);
		else if (counts)
			expert->class->score(expert, batch, i, scores + i * n_items);
		fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

/*
 * rank.c
 *	  Ranks: where do the items that were chosen stand among the candidates?
 *
 * Cases are scored in blocks, because one product for many histories is far
 * quicker than many for one.  Ties count against the model, so that one which
 * scores all items alike gets nothing out of it.  Where histories move few items
 * of an order that all have in common, most scores are not computed.
 */
#include "model/data/stream.h"
#include "model/evaluate/evaluate.h"

#include <math.h>

/* What ranking a block needs, allocated once for all blocks. */
typedef struct Ranker
{
	const FmoeModel *model;
	FmoeExpertSlot slot;
	const FmoeDataset *data;
	const FmoeCases *cases;
	const FmoeProtocol *protocol;
	const FnnHost *host;
	int64_t		cases_max;		/* of a block */
	fnn_real   *scores;			/* [cases_max, n_items]; along an order [n_items] */
	bool		along;			/* there is an order, and ranks are found along it */
	FnnOrder	order;
	int32_t    *moved;			/* [moved_max] */
	int64_t		moved_max;
	uint8_t    *mark;			/* [n_items] all 0 between cases */
	int32_t    *candidate;		/* [n_items] */
	int32_t    *answer;			/* [most of a case] their items */
	int32_t    *room;			/* of fmoe_case_seen */
	FnnRows		seen;			/* of the case in hand, which are no candidates */
	FnnTopk		topk;
} Ranker;

/* Making an order, and then ranking along it, takes less than computing all scores: by measurement, about. */
#define CASES_ALONG 32
#define MOVED_SHARE 4			/* of the items at most one in so many, for all answers together */

static void
ranker_order(Ranker *ranker, FnnArena *arena, int64_t n_cases)
{
	const FmoeExpert *expert = &ranker->model->expert[ranker->slot];
	const FmoeProtocol *protocol = ranker->protocol;

	ranker->along = expert->class->common != NULL && protocol->negatives <= 0 && protocol->top_k <= 0 &&
		n_cases >= CASES_ALONG;
	if (!ranker->along)
		return;
	ranker->moved_max = ranker->model->n_items / MOVED_SHARE;
	ranker->moved = fnn_alloc(arena, sizeof(int32_t) * (size_t) ranker->moved_max);
	fnn_order_init(&ranker->order, arena, ranker->model->n_items, expert->class->common(expert));
}

static void
ranker_init(Ranker *ranker, FnnArena *arena, int64_t from, int64_t to)
{
	const FmoeProtocol *protocol = ranker->protocol;
	int32_t		n_items = ranker->model->n_items;
	int32_t		k = protocol->top_k < n_items ? protocol->top_k : n_items;
	int64_t		answers = 0;

	for (int64_t c = from; c < to; c++)
		if (ranker->cases->first[c + 1] - ranker->cases->first[c] > answers)
			answers = ranker->cases->first[c + 1] - ranker->cases->first[c];
	ranker->host = fnn_arena_host(arena);
	ranker->cases_max = FMOE_CASE_BLOCK_SCORE_BYTES / ((int64_t) n_items * sizeof(fnn_real));
	if (ranker->cases_max < 1)
		ranker->cases_max = 1;
	if (ranker->cases_max > FMOE_CASE_BLOCK_MAX)
		ranker->cases_max = FMOE_CASE_BLOCK_MAX;
	if (ranker->cases_max > to - from)
		ranker->cases_max = to - from;
	ranker->answer = fnn_alloc(arena, fnn_mul_size(ranker->host, answers, sizeof(int32_t)));
	ranker->room = fnn_alloc(arena, fnn_mul_size(ranker->host, fmoe_seen_most(ranker->cases, from, to),
												 sizeof(int32_t)));
	ranker_order(ranker, arena, to - from);
	ranker->scores = fnn_alloc_reals(arena, ranker->along ? 1 : ranker->cases_max, n_items);
	if (protocol->negatives > 0)
	{
		ranker->mark = fnn_zalloc(arena, n_items);
		ranker->candidate = fnn_alloc(arena, fnn_mul_size(ranker->host, n_items, sizeof(int32_t)));
	}
	if (k > 0)
		fnn_topk_init(&ranker->topk, k, fnn_alloc(arena, sizeof(int32_t) * k), fnn_alloc_reals(arena, 1, k));
}

/* The items of a case's answers to ranker->answer, and what was seen to ranker->seen; returns how many answers. */
static int64_t
take_case(Ranker *ranker, int64_t c)
{
	const FmoeCases *cases = ranker->cases;
	int64_t		n = cases->first[c + 1] - cases->first[c];

	for (int64_t i = 0; i < n; i++)
		ranker->answer[i] = ranker->data->events.item[cases->answer[cases->first[c] + i]];
	ranker->seen = (FnnRows) {0};
	if (ranker->protocol->exclude_seen)
		ranker->seen = fmoe_case_seen(ranker->data, cases, c, ranker->room);
	return n;
}

/* Marks, or with 0 no longer marks, what is no candidate: answers, and what was seen. */
static void
mark_items(Ranker *ranker, int64_t n_answers, uint8_t value)
{
	for (int64_t k = 0; k < ranker->seen.count; k++)
		ranker->mark[ranker->seen.row[k]] = value;
	for (int64_t i = 0; i < n_answers; i++)
		ranker->mark[ranker->answer[i]] = value;
}

/*
 * Ranks of the answers among protocol->negatives other items.  Which ones is a
 * function of the seed and the first answer's event alone, so every model and
 * every run is asked the same question.  When fewer are eligible, all of them.
 */
static void
rank_among_sample(Ranker *ranker, FnnArena *arena, int64_t c, int64_t n_answers, const fnn_real *score, int32_t *rank)
{
	const FmoeProtocol *protocol = ranker->protocol;
	uint64_t	stream = fmoe_stream(FMOE_STREAM_CANDIDATES, ranker->cases->answer[ranker->cases->first[c]]);
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		size = n_answers + protocol->negatives;
	fnn_real   *drawn = fnn_alloc_reals(arena, 1, size);
	int32_t    *place = fnn_alloc(arena, sizeof(int32_t) * (size_t) n_answers);
	int32_t		left = 0;
	int64_t		n = 0;

	mark_items(ranker, n_answers, 1);
	for (int32_t i = 0; i < ranker->model->n_items; i++)
		if (!ranker->mark[i])
			ranker->candidate[left++] = i;
	mark_items(ranker, n_answers, 0);

	for (; n < n_answers; n++)
	{
		place[n] = (int32_t) n;
		drawn[n] = score[ranker->answer[n]];
	}
	/* the head of a random permutation of the eligible items */
	for (int32_t k = 0; left > 0 && n < size; k++)
	{
		int32_t		i = (int32_t) fnn_random_below(protocol->seed, stream, k, left);

		drawn[n++] = score[ranker->candidate[i]];
		ranker->candidate[i] = ranker->candidate[--left];
	}
	fnn_ranks(arena, drawn, n, place, n_answers, NULL, 0, rank);
	fnn_arena_reset(arena, mark);
}

/* Marks the items of the top k of a case; seen items' scores become NaN. */
static void
cover(Ranker *ranker, fnn_real *score, uint8_t *covered)
{
	FnnTopk    *topk = &ranker->topk;

	for (int64_t k = 0; k < ranker->seen.count; k++)
		score[ranker->seen.row[k]] = (fnn_real) NAN;
	fnn_topk_init(topk, topk->k, topk->item, topk->score);
	fnn_topk_offer(topk, 0, ranker->model->n_items, score);
	for (int64_t k = 0; k < topk->count; k++)
		covered[topk->item[k]] = 1;
}

/* All that is asked of one scored case. */
static void
rank_case(Ranker *ranker, FnnArena *arena, int64_t c, fnn_real *score, int32_t *rank, uint8_t *covered)
{
	const FmoeProtocol *protocol = ranker->protocol;
	int64_t		n = take_case(ranker, c);

	rank += ranker->cases->first[c];
	if (protocol->negatives > 0)
		rank_among_sample(ranker, arena, c, n, score, rank);
	if (covered != NULL && protocol->top_k > 0)
		cover(ranker, score, covered);
	if (protocol->negatives <= 0)
		fnn_ranks(arena, score, ranker->model->n_items, ranker->answer, n, ranker->seen.row, ranker->seen.count,
				  rank);
	fnn_poll(ranker->host);
}

/* A sequence of a batch, for the scores of a few items. */
typedef struct Sequence
{
	const FmoeExpert *expert;
	const FmoeBatch *batch;
	int32_t		number;
} Sequence;

static void
score_few(void *context, FnnArena *arena, int64_t n, const int32_t *item, fnn_real *score)
{
	const Sequence *sequence = context;

	sequence->expert->class->score(sequence->expert, arena, sequence->batch, sequence->number, n, item, score);
}

/* Ranks of a case, sequence number of the batch, along the order; false: it takes all scores. */
static bool
rank_along(Ranker *ranker, FnnArena *arena, int64_t c, const FmoeBatch *batch, int32_t number, int32_t *rank)
{
	const FmoeExpert *expert = &ranker->model->expert[ranker->slot];
	Sequence	sequence = {.expert = expert, .batch = batch, .number = number};
	int64_t		n = take_case(ranker, c);
	int64_t		n_moved;

	/* after an empty history popularity answers, whose order is another one */
	if (batch->last[number] < 0)
		return false;
	n_moved = expert->class->moved(expert, batch, number, ranker->moved_max, ranker->moved);
	if (n_moved < 0 || (n_moved + n + ranker->seen.count) * n > ranker->moved_max)
		return false;
	fnn_ranks_along(arena, &ranker->order, score_few, &sequence, ranker->answer, n, ranker->seen.row,
					ranker->seen.count, ranker->moved, n_moved, rank + ranker->cases->first[c]);
	fnn_poll(ranker->host);
	return true;
}

/* Ranks of the cases begin .. end - 1, which are the batch's sequences. */
static void
rank_block_along(Ranker *ranker, FnnArena *arena, int64_t begin, int64_t end, const FmoeBatch *batch, int32_t *rank)
{
	for (int64_t c = begin; c < end; c++)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		FmoeBatch	one;

		if (rank_along(ranker, arena, c, batch, (int32_t) (c - begin), rank))
			continue;
		one = fmoe_batch_part(arena, batch, (int32_t) (c - begin), 1);
		fmoe_score(ranker->model, ranker->slot, arena, &one, ranker->scores);
		rank_case(ranker, arena, c, ranker->scores, rank, NULL);
		fnn_arena_reset(arena, mark);
	}
}

void
fmoe_rank_cases(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeDataset *data,
				const FmoeCases *cases, const FmoeProtocol *protocol, int64_t from, int64_t to,
				int32_t *rank, uint8_t *covered)
{
	const FmoeExpert *expert = &model->expert[slot];
	bool		short_enough = fmoe_only_counts(expert->class) && expert->class->counter->history == 0 &&
		data->events.basket == NULL;
	int			max_length = short_enough ? 1 : expert->config->max_length;
	FnnMark		mark = fnn_arena_mark(arena);
	Ranker		ranker = {.model = model, .slot = slot, .data = data, .cases = cases, .protocol = protocol};
	int64_t		begin;
	int64_t		end;

	if (from >= to)
		return;
	ranker_init(&ranker, arena, from, to);
	for (begin = from; begin < to; begin = end)
	{
		FnnMark		block_mark = fnn_arena_mark(arena);
		FmoeBatch  *batch;

		end = fmoe_case_block_end(cases, begin, to, ranker.cases_max, max_length);
		batch = fmoe_batch(arena, &data->events, end - begin, cases->begin + begin, cases->end + begin, max_length);
		batch->keeps_seen = !protocol->exclude_seen;
		fmoe_batch_users(arena, batch, data, cases->begin + begin);
		batch->now = fmoe_case_times(arena, data, cases, begin, end);
		if (ranker.along)
			rank_block_along(&ranker, arena, begin, end, batch, rank);
		else
			fmoe_score(model, slot, arena, batch, ranker.scores);
		for (int64_t c = begin; c < end && !ranker.along; c++)
			rank_case(&ranker, arena, c, ranker.scores + (c - begin) * model->n_items, rank, covered);
		fnn_arena_reset(arena, block_mark);
	}
	fnn_arena_reset(arena, mark);
}

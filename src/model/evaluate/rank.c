/*
 * rank.c
 *	  Ranks: where does the item that was chosen stand among the candidates?
 *
 * Cases are scored in blocks, because one product for many histories is far
 * quicker than many for one.  Ties count against the model, so that one which
 * scores all items alike gets nothing out of it.
 */
#include "model/data/stream.h"
#include "model/evaluate/evaluate.h"

#include <math.h>

/* What ranking a block needs, allocated once for all blocks. */
typedef struct Ranker
{
	const FmoeModel *model;
	const FmoeDataset *data;
	const FmoeCases *cases;
	const FmoeProtocol *protocol;
	const FnnHost *host;
	int64_t		cases_max;		/* of a block */
	fnn_real   *scores;			/* [cases_max, n_items] */
	uint8_t    *mark;			/* [n_items] all 0 between cases */
	int32_t    *candidate;		/* [negatives] */
	FnnTopk		topk;
} Ranker;

static void
ranker_init(Ranker *ranker, FnnArena *arena, int64_t n_cases)
{
	const FmoeProtocol *protocol = ranker->protocol;
	int32_t		n_items = ranker->model->n_items;
	int32_t		k = protocol->top_k < n_items ? protocol->top_k : n_items;

	ranker->host = fnn_arena_host(arena);
	ranker->cases_max = FMOE_CASE_BLOCK_SCORE_BYTES / ((int64_t) n_items * sizeof(fnn_real));
	if (ranker->cases_max < 1)
		ranker->cases_max = 1;
	if (ranker->cases_max > FMOE_CASE_BLOCK_MAX)
		ranker->cases_max = FMOE_CASE_BLOCK_MAX;
	if (ranker->cases_max > n_cases)
		ranker->cases_max = n_cases;
	ranker->scores = fnn_alloc_reals(arena, ranker->cases_max, n_items);
	if (protocol->negatives > 0)
	{
		ranker->mark = fnn_zalloc(arena, n_items);
		ranker->candidate = fnn_alloc(arena, fnn_mul_size(ranker->host, n_items, sizeof(int32_t)));
	}
	if (k > 0)
		fnn_topk_init(&ranker->topk, k, fnn_alloc(arena, sizeof(int32_t) * k), fnn_alloc_reals(arena, 1, k));
}

/*
 * Rank of the target among protocol->negatives other items, or all eligible ones if
 * these are fewer.  The items depend on the seed and the target's event alone, so
 * every model and every run is asked the same question.
 */
static int64_t
rank_among_sample(Ranker *ranker, int64_t c, const fnn_real *score)
{
	const FmoeProtocol *protocol = ranker->protocol;
	const int32_t *item = ranker->data->events.item;
	int64_t		begin = ranker->cases->begin[c];
	int64_t		event = ranker->cases->target[c];
	int32_t		n_items = ranker->model->n_items;
	int32_t		target = item[event];
	int32_t		drawn = 0;
	int32_t		left = 0;
	int64_t		rank = 1;
	int64_t		k;
	int32_t		i;

	if (protocol->exclude_seen)
	{
		for (k = begin; k < event; k++)
			ranker->mark[item[k]] = 1;
	}
	ranker->mark[target] = 1;
	for (i = 0; i < n_items; i++)
	{
		if (!ranker->mark[i])
			ranker->candidate[left++] = i;
	}
	for (k = begin; k <= event; k++)
		ranker->mark[item[k]] = 0;

	/* the head of a random permutation of the eligible items */
	while (left > 0 && drawn < protocol->negatives)
	{
		uint64_t	stream = fmoe_stream(FMOE_STREAM_CANDIDATES, event);

		i = (int32_t) fnn_random_below(protocol->seed, stream, drawn, left);
		if (!(score[ranker->candidate[i]] < score[target]))
			rank++;
		ranker->candidate[i] = ranker->candidate[--left];
		drawn++;
	}
	return rank;
}

/* Marks the items of the top k of a case; seen items' scores become NaN. */
static void
cover(Ranker *ranker, int64_t c, fnn_real *score, uint8_t *covered)
{
	const int32_t *item = ranker->data->events.item;
	int64_t		event = ranker->cases->target[c];
	fnn_real	target_score = score[item[event]];
	FnnTopk    *topk = &ranker->topk;
	int64_t		k;

	if (ranker->protocol->exclude_seen)
	{
		for (k = ranker->cases->begin[c]; k < event; k++)
			score[item[k]] = (fnn_real) NAN;
		score[item[event]] = target_score;
	}
	fnn_topk_init(topk, topk->k, topk->item, topk->score);
	fnn_topk_offer(topk, 0, ranker->model->n_items, score);
	for (k = 0; k < topk->count; k++)
		covered[topk->item[k]] = 1;
}

void
fmoe_rank_cases(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeDataset *data,
				const FmoeCases *cases, const FmoeProtocol *protocol, int64_t from, int64_t to,
				int32_t *rank, uint8_t *covered)
{
	const FmoeExpert *expert = &model->expert[slot];
	/* experts that count read no more than the last event */
	int			max_length = fmoe_only_counts(expert->class) ? 1 : expert->config->max_length;
	FnnMark		mark = fnn_arena_mark(arena);
	Ranker		ranker = {.model = model, .data = data, .cases = cases, .protocol = protocol};
	int64_t		begin;
	int64_t		end;

	if (from >= to)
		return;
	ranker_init(&ranker, arena, to - from);
	for (begin = from; begin < to; begin = end)
	{
		FnnMark		block_mark = fnn_arena_mark(arena);
		FmoeBatch  *batch;
		int64_t		c;

		end = fmoe_case_block_end(cases, begin, to, ranker.cases_max, max_length);
		batch = fmoe_batch(arena, &data->events, end - begin, cases->begin + begin,
						   cases->target + begin, max_length);
		fmoe_score(model, slot, arena, batch, ranker.scores);
		for (c = begin; c < end; c++)
		{
			fnn_real   *score = ranker.scores + (c - begin) * model->n_items;
			int64_t		first = cases->begin[c];
			int64_t		seen = protocol->exclude_seen ? cases->target[c] - first : 0;

			if (protocol->negatives > 0)
				rank[c] = (int32_t) rank_among_sample(&ranker, c, score);
			if (covered != NULL && protocol->top_k > 0)
				cover(&ranker, c, score, covered);
			if (protocol->negatives <= 0)
				rank[c] = (int32_t) fnn_rank(score, model->n_items, data->events.item[cases->target[c]],
											 data->events.item + first, seen);
			fnn_poll(ranker.host);
		}
		fnn_arena_reset(arena, block_mark);
	}
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- means */

double
fmoe_mean_metric(double (*metric) (int64_t rank, int64_t k), int64_t k, const int32_t *rank, int64_t n)
{
	double		sum = 0;
	int64_t		i;

	if (n == 0)
		return NAN;
	for (i = 0; i < n; i++)
		sum += metric(rank[i], k);
	return sum / (double) n;
}

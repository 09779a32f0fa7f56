/*
 * ranking.c
 *	  The best k of many scores, ranks, and the metrics made of ranks.
 */
#include "nn/base/kernels.h"
#include "nn/search/search.h"

/* Scores looked at together before any of them is offered to the heap. */
#define STRIDE 64

/* ---------------------------------------------------------------- top k */

void
fnn_topk_init(FnnTopk *topk, int32_t k, int32_t *item, fnn_real *score)
{
	topk->k = k;
	topk->count = 0;
	topk->item = item;
	topk->score = score;
}

/* Does entry a belong behind entry b in the final order? */
static bool
worse(const FnnTopk *topk, int32_t a, int32_t b)
{
	if (topk->score[a] != topk->score[b])
		return topk->score[a] < topk->score[b];
	return topk->item[a] > topk->item[b];
}

static void
swap(FnnTopk *topk, int32_t a, int32_t b)
{
	int32_t		item = topk->item[a];
	fnn_real	score = topk->score[a];

	topk->item[a] = topk->item[b];
	topk->score[a] = topk->score[b];
	topk->item[b] = item;
	topk->score[b] = score;
}

/* Entry i of the first n moves down until nothing below it is worse. */
static void
sift_down(FnnTopk *topk, int32_t i, int32_t n)
{
	for (;;)
	{
		int64_t		left = 2 * (int64_t) i + 1;
		int32_t		worst = i;

		if (left < n && worse(topk, (int32_t) left, worst))
			worst = (int32_t) left;
		if (left + 1 < n && worse(topk, (int32_t) left + 1, worst))
			worst = (int32_t) left + 1;
		if (worst == i)
			return;
		swap(topk, i, worst);
		i = worst;
	}
}

static void
offer_one(FnnTopk *topk, int32_t item, fnn_real score)
{
	int32_t		i;

	if (topk->count < topk->k)
	{
		if (isnan(score))
			return;
		i = topk->count++;
		topk->item[i] = item;
		topk->score[i] = score;
		for (; i > 0 && worse(topk, i, (i - 1) / 2); i = (i - 1) / 2)
			swap(topk, i, (i - 1) / 2);
		return;
	}
	/* false for NaN */
	if (score > topk->score[0] || (score == topk->score[0] && item < topk->item[0]))
	{
		topk->item[0] = item;
		topk->score[0] = score;
		sift_down(topk, 0, topk->count);
	}
}

/* The first stride of scores that holds one not below threshold, or the end of the whole strides. */
static FNN_CLONES int64_t
skip_below(const fnn_real *score, int64_t from, int64_t n, fnn_real threshold)
{
	for (; from + STRIDE <= n; from += STRIDE)
	{
		int32_t		hits = 0;

		FNN_SIMD_SUM(hits)
		for (int64_t i = from; i < from + STRIDE; i++)
			hits += score[i] >= threshold;
		if (hits > 0)
			break;
	}
	return from;
}

void
fnn_topk_offer(FnnTopk *topk, int32_t first, int64_t n, const fnn_real *score)
{
	int64_t		i = 0;

	if (topk->k <= 0)
		return;
	for (; i < n && topk->count < topk->k; i++)
		offer_one(topk, first + (int32_t) i, score[i]);
	while (i < n)
	{
		int64_t		end;

		i = skip_below(score, i, n, topk->score[0]);
		end = i + STRIDE < n ? i + STRIDE : n;
		for (; i < end; i++)
			if (score[i] >= topk->score[0])
				offer_one(topk, first + (int32_t) i, score[i]);
	}
}

void
fnn_topk_sort(FnnTopk *topk)
{
	/* the worst of what is left goes behind it: a heap sort */
	for (int32_t n = topk->count - 1; n > 0; n--)
	{
		swap(topk, 0, n);
		sift_down(topk, 0, n);
	}
}

/* ---------------------------------------------------------------- ranks */

/* n is at most INT32_MAX: lanes as narrow as the scores' count twice as fast */
static FNN_CLONES int32_t
count_not_lower(const fnn_real *score, int64_t n, fnn_real threshold)
{
	int32_t		count = 0;

	FNN_SIMD_SUM(count)
	for (int64_t i = 0; i < n; i++)
		count += !(score[i] < threshold);
	return count;
}

/* So many answers are counted for one by one; the scores are read once for more. */
#define ANSWERS_FEW 16

/* An answer's score, with what is below all others for one that is not a number. */
typedef struct Answered
{
	fnn_real	score;
	int32_t		number;			/* of the answer */
	int32_t		not_lower;		/* items that are no answers */
} Answered;

static bool
is_before(const Answered *a, const Answered *b)
{
	return a->score > b->score || (!(a->score < b->score) && a->number < b->number);
}

/* Best first, equal ones as they were given: Shell's sort, since qsort takes memory of its own. */
static void
sort_answers(int64_t n, Answered *answered)
{
	for (int64_t gap = n / 2; gap > 0; gap = gap == 2 ? 1 : (int64_t) ((double) gap / 2.2))
		for (int64_t i = gap; i < n; i++)
		{
			Answered	moved = answered[i];
			int64_t		at = i;

			for (; at >= gap && is_before(&moved, &answered[at - gap]); at -= gap)
				answered[at] = answered[at - gap];
			answered[at] = moved;
		}
}

/* Sets not_lower of answers that are sorted, best first, by one look at each score. */
static void
count_by_answer(const fnn_real *score, int64_t n, int64_t n_answers, Answered *answered)
{
	for (int64_t i = 0; i < n; i++)
	{
		int64_t		low = 0;
		int64_t		high = n_answers;

		while (low < high)
		{
			int64_t		middle = low + (high - low) / 2;

			if (score[i] < answered[middle].score)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < n_answers)
			answered[low].not_lower++;
	}
	for (int64_t k = 1; k < n_answers; k++)
		answered[k].not_lower += answered[k - 1].not_lower;
}

/* Items of a list get a score. */
static void
set_scores(fnn_real *score, const int32_t *item, int64_t n, fnn_real value)
{
	for (int64_t i = 0; i < n; i++)
		score[item[i]] = value;
}

/* How many different items of a list have a score of 0, which becomes 1. */
static int64_t
count_zeros(fnn_real *score, const int32_t *item, int64_t n)
{
	int64_t		distinct = 0;

	for (int64_t i = 0; i < n; i++)
	{
		distinct += score[item[i]] == 0;
		score[item[i]] = 1;
	}
	return distinct;
}

void
fnn_ranks(FnnArena *arena, fnn_real *score, int64_t n, const int32_t *answer, int64_t n_answers,
		  const int32_t *excluded, int64_t n_excluded, int32_t *rank)
{
	FnnMark		mark = fnn_arena_mark(arena);
	Answered   *answered = fnn_alloc(arena, sizeof(Answered) * (size_t) n_answers);
	int64_t		finite = 0;
	int64_t		others;

	for (int64_t k = 0; k < n_answers; k++)
	{
		answered[k].score = score[answer[k]] > -INFINITY ? score[answer[k]] : -INFINITY;
		answered[k].number = (int32_t) k;
		answered[k].not_lower = 0;
	}
	sort_answers(n_answers, answered);
	while (finite < n_answers && answered[finite].score > -INFINITY)
		finite++;

	/* those that take no part are below every answer that has a score */
	set_scores(score, excluded, n_excluded, -INFINITY);
	set_scores(score, answer, n_answers, -INFINITY);
	if (finite > ANSWERS_FEW)
		count_by_answer(score, n, finite, answered);
	for (int64_t k = 0; k < finite && finite <= ANSWERS_FEW; k++)
		answered[k].not_lower = count_not_lower(score, n, answered[k].score);

	/* an answer without a score is behind all that take part, and these are counted */
	set_scores(score, excluded, n_excluded, 0);
	set_scores(score, answer, n_answers, 0);
	others = finite == n_answers ? 0 : n;
	if (others > 0)
		others -= count_zeros(score, excluded, n_excluded) + count_zeros(score, answer, n_answers);
	for (int64_t k = 0; k < n_answers; k++)
		rank[answered[k].number] = (int32_t) (k + 1 + (k < finite ? answered[k].not_lower : others));
	fnn_arena_reset(arena, mark);
}

int64_t
fnn_find_ascending(int64_t n, const int32_t *ascending, int32_t row)
{
	int64_t		low = 0;
	int64_t		high = n;

	while (low < high)
	{
		int64_t		middle = low + (high - low) / 2;

		if (ascending[middle] < row)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n && ascending[low] == row ? low : -1;
}

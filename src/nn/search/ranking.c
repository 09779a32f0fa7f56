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

int64_t
fnn_rank(fnn_real *score, int64_t n, int32_t target,
		 const int32_t *excluded, int64_t n_excluded)
{
	fnn_real	own = score[target];
	int64_t		distinct = 0;

	/* anything is below own then, or minus infinity would not be */
	if (own > -INFINITY)
	{
		for (int64_t i = 0; i < n_excluded; i++)
			score[excluded[i]] = -INFINITY;
		score[target] = own;
		return count_not_lower(score, n, own);
	}

	/* last of all that take part: count those that do not, each once */
	for (int64_t i = 0; i < n_excluded; i++)
		score[excluded[i]] = 0;
	for (int64_t i = 0; i < n_excluded; i++)
	{
		if (excluded[i] == target || score[excluded[i]] != 0)
			continue;
		score[excluded[i]] = 1;
		distinct++;
	}
	return n - distinct;
}

/* ---------------------------------------------------------------- metrics */

double
fnn_ndcg(int64_t rank, int64_t k)
{
	return rank <= k ? 1 / log2((double) rank + 1) : 0;
}

double
fnn_hr(int64_t rank, int64_t k)
{
	return rank <= k ? 1 : 0;
}

double
fnn_mrr(int64_t rank, int64_t k)
{
	return rank <= k ? 1 / (double) rank : 0;
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

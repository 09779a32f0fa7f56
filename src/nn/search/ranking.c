/*
 * ranking.c
 *	  The best k of many scores, and ranks.
 */
#include "nn/base/kernels.h"
#include "nn/search/search.h"

#include <math.h>
#include <string.h>

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

static Answered
answered_with(fnn_real score, int32_t number)
{
	return (Answered) {.score = score > -INFINITY ? score : -INFINITY, .number = number};
}

/*
 * Best first, equal ones as they were given: Shell's sort, since qsort takes memory
 * of its own.  Returns how many have a score.
 */
static int64_t
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
	while (n > 0 && !(answered[n - 1].score > -INFINITY))
		n--;
	return n;
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
	int64_t		finite;
	int64_t		others;

	for (int64_t k = 0; k < n_answers; k++)
		answered[k] = answered_with(score[answer[k]], (int32_t) k);
	finite = sort_answers(n_answers, answered);

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

/* ---------------------------------------------------------------- ranks along an order */

/* Numbers that ascend as the values descend, what is not a number being the first. */
static uint32_t
descending_key(float value)
{
	uint32_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	if (isnan(value))
		return 0;
	return (bits >> 31) != 0 ? bits : ~bits & UINT32_C(0x7fffffff);
}

size_t
fnn_order_bytes(int32_t n)
{
	/* two lists of keys and items, of which one list of items stays; place, mark */
	return 4 * fnn_aligned(sizeof(int32_t) * (size_t) n) + fnn_aligned(sizeof(int32_t) * (size_t) n) +
		fnn_aligned((size_t) n);
}

void
fnn_order_init(FnnOrder *order, FnnArena *arena, int32_t n, const float *value)
{
	const FnnHost *host = fnn_arena_host(arena);
	size_t		bytes = fnn_mul_size(host, n, sizeof(int32_t));
	FnnMark		mark;
	uint32_t   *key[2];
	int32_t    *item[2];

	*order = (FnnOrder) {.n = n, .item = fnn_alloc(arena, bytes), .place = fnn_alloc(arena, bytes)};
	order->mark = fnn_zalloc(arena, (size_t) n);
	mark = fnn_arena_mark(arena);
	item[0] = order->item;
	item[1] = fnn_alloc(arena, bytes);
	key[0] = fnn_alloc(arena, bytes);
	key[1] = fnn_alloc(arena, bytes);
	for (int32_t i = 0; i < n; i++)
	{
		key[0][i] = descending_key(value[i]);
		item[0][i] = i;
	}
	/* a stable distribution by each byte, from the last; after the fourth all is back in the first list */
	for (int byte = 0; byte < 4; byte++)
	{
		int			from = byte % 2;
		int32_t		start[257] = {0};

		for (int32_t i = 0; i < n; i++)
			start[(key[from][i] >> 8 * byte & 255) + 1]++;
		for (int b = 0; b < 256; b++)
			start[b + 1] += start[b];
		for (int32_t i = 0; i < n; i++)
		{
			int32_t		to = start[key[from][i] >> 8 * byte & 255]++;

			key[1 - from][to] = key[from][i];
			item[1 - from][to] = item[from][i];
		}
		fnn_poll(host);
	}
	for (int32_t i = 0; i < n; i++)
		order->place[order->item[i]] = i;
	fnn_arena_reset(arena, mark);
}

/* One ranking along an order. */
typedef struct Along
{
	const FnnOrder *order;
	FnnArena   *arena;
	FnnScoring	scoring;
	void	   *context;
	int64_t		n_moved;		/* that take part */
	int32_t    *moved;			/* [n_moved] different ones */
	fnn_real   *score;			/* [n_moved] */
	int64_t		n_absent;
	int32_t    *absent;			/* [n_absent] the different ones that take no part, answers among them */
} Along;

enum
{
	ABSENT = 1,					/* marks of items */
	MOVED = 2
};

/* Puts those of a list that have no such mark yet, n of them, into different, marks them, and returns their number. */
static int64_t
mark_different(uint8_t *mark, uint8_t with, int64_t n, const int32_t *item, int32_t *different)
{
	int64_t		count = 0;

	for (int64_t i = 0; i < n; i++)
	{
		if ((mark[item[i]] & with) == 0)
			different[count++] = item[i];
		mark[item[i]] |= with;
	}
	return count;
}

/* Places that are looked at together, since asking for one score costs about as much as for several. */
#define PROBES 31

/* Fills place with at most PROBES places from low to below high, evenly spread, of items that have not moved. */
static int
places_between(const FnnOrder *order, int32_t low, int32_t high, int32_t place[PROBES])
{
	int32_t		step = (high - low + PROBES) / (PROBES + 1);
	int			n = 0;

	for (int32_t p = low + step - 1; p < high; p += step)
	{
		int32_t		at = n > 0 && p <= place[n - 1] ? place[n - 1] + 1 : p;

		while (at < high && (order->mark[order->item[at]] & MOVED) != 0)
			at++;
		if (at == high || n == PROBES)
			break;
		place[n++] = at;
	}
	return n;
}

/* A place that the items not lower than the threshold are before, and lower ones not, of those that have not moved. */
static int32_t
boundary(const Along *along, fnn_real threshold)
{
	int32_t		low = 0;
	int32_t		high = along->order->n;

	while (low < high)
	{
		int32_t		place[PROBES];
		int32_t		item[PROBES];
		fnn_real	score[PROBES];
		int			n = places_between(along->order, low, high, place);
		int			k = 0;

		/* all from the first place that was tried have moved */
		if (n == 0)
		{
			high = low + (high - low + PROBES) / (PROBES + 1) - 1;
			continue;
		}
		for (int i = 0; i < n; i++)
			item[i] = along->order->item[place[i]];
		along->scoring(along->context, along->arena, n, item, score);
		while (k < n && !(score[k] < threshold))
			k++;
		if (k > 0)
			low = place[k - 1] + 1;
		if (k < n)
			high = place[k];
	}
	return low;
}

/* How many items that take part are not lower. */
static int32_t
count_along(const Along *along, fnn_real threshold)
{
	const int32_t *place = along->order->place;
	int32_t		before = boundary(along, threshold);
	int32_t		count = before;

	for (int64_t i = 0; i < along->n_moved; i++)
		count += !(along->score[i] < threshold) - (place[along->moved[i]] < before);
	for (int64_t i = 0; i < along->n_absent; i++)
		count -= place[along->absent[i]] < before;
	return count;
}

void
fnn_ranks_along(FnnArena *arena, const FnnOrder *order, FnnScoring scoring, void *context,
				const int32_t *answer, int64_t n_answers, const int32_t *excluded, int64_t n_excluded,
				const int32_t *moved, int64_t n_moved, int32_t *rank)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	Answered   *answered = fnn_alloc(arena, fnn_mul_size(host, n_answers, sizeof(Answered)));
	fnn_real   *score = fnn_alloc_reals(arena, 1, n_answers);
	Along		along = {.order = order, .arena = arena, .scoring = scoring, .context = context};
	int64_t		finite;

	along.absent = fnn_alloc(arena, fnn_mul_size(host, n_answers + n_excluded, sizeof(int32_t)));
	along.moved = fnn_alloc(arena, fnn_mul_size(host, n_moved, sizeof(int32_t)));
	along.score = fnn_alloc_reals(arena, 1, n_moved);
	along.n_absent = mark_different(order->mark, ABSENT, n_answers, answer, along.absent);
	along.n_absent += mark_different(order->mark, ABSENT, n_excluded, excluded, along.absent + along.n_absent);
	along.n_moved = mark_different(order->mark, ABSENT | MOVED, n_moved, moved, along.moved);
	if (along.n_moved > 0)
		scoring(context, arena, along.n_moved, along.moved, along.score);
	scoring(context, arena, n_answers, answer, score);

	for (int64_t k = 0; k < n_answers; k++)
		answered[k] = answered_with(score[k], (int32_t) k);
	finite = sort_answers(n_answers, answered);
	for (int64_t k = 0; k < n_answers; k++)
	{
		int64_t		others = order->n - along.n_absent;

		/* an answer without a score is behind all that take part; equal ones are behind the same */
		if (k < finite)
			others = answered[k].not_lower = k > 0 && answered[k - 1].score == answered[k].score
				? answered[k - 1].not_lower : count_along(&along, answered[k].score);
		rank[answered[k].number] = (int32_t) (k + 1 + others);
	}
	for (int64_t i = 0; i < along.n_absent; i++)
		order->mark[along.absent[i]] = 0;
	for (int64_t i = 0; i < n_moved; i++)
		order->mark[moved[i]] = 0;
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

/*
 * check_ranking.c
 *	  Top k, ranks and the metrics made of ranks.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* ---------------------------------------------------------------- top k */

/* The best k by sorting everything: what fnn_topk must agree with. */
static int32_t
naive_topk(const fnn_real *score, int32_t n, int32_t k, int32_t *item)
{
	int32_t		count = 0;
	bool	   *taken = fnn_zalloc(check_arena(), (size_t) n + 1);

	while (count < k)
	{
		int32_t		best = -1;

		for (int32_t i = 0; i < n; i++)
			if (!taken[i] && !isnan(score[i]) && (best < 0 || score[i] > score[best]))
				best = i;
		if (best < 0)
			break;
		taken[best] = true;
		item[count++] = best;
	}
	return count;
}

static void
compare_topk(FnnTopk *topk, const fnn_real *score, int32_t n, const char *what)
{
	int32_t    *expected = fnn_alloc(check_arena(), ((size_t) topk->k + 1) * sizeof(int32_t));
	int32_t		count = naive_topk(score, n, topk->k, expected);

	fnn_topk_sort(topk);
	CHECK(topk->count == count, "%s, n %d, k %d: %d entries instead of %d", what, n, topk->k, topk->count, count);
	for (int32_t i = 0; i < count && i < topk->count; i++)
		CHECK(topk->item[i] == expected[i] && topk->score[i] == score[expected[i]],
			  "%s, n %d, k %d: place %d holds item %d instead of %d", what, n, topk->k, i, topk->item[i], expected[i]);
}

static void
check_one_topk(int32_t n, int32_t k, int levels, double nan_share)
{
	fnn_real   *score = fnn_alloc_reals(check_arena(), 1, n);
	int32_t    *item = fnn_alloc(check_arena(), ((size_t) k + 1) * sizeof(int32_t));
	fnn_real   *best = fnn_alloc_reals(check_arena(), 1, k + 1);
	FnnTopk		topk;

	/* few levels: many ties */
	for (int32_t i = 0; i < n; i++)
	{
		score[i] = (fnn_real) fnn_random_below(n, levels, i, levels) - levels / 2;
		if (fnn_random_uniform(n, levels + 1, i) < nan_share)
			score[i] = NAN;
	}
	fnn_topk_init(&topk, k, item, best);
	fnn_topk_offer(&topk, 0, n, score);
	compare_topk(&topk, score, n, "at once");

	/* in uneven pieces, last first: ties must still go to the lower item */
	fnn_topk_init(&topk, k, item, best);
	for (int32_t end = n; end > 0;)
	{
		int32_t		size = 1 + end / 3;

		fnn_topk_offer(&topk, end - size, size, score + end - size);
		end -= size;
	}
	compare_topk(&topk, score, n, "in pieces");
}

static void
check_topk(void)
{
	const int32_t sizes[] = {0, 1, 2, 63, 64, 65, 200, 1000};
	const int32_t ks[] = {0, 1, 3, 10, 64, 100, 2000};

	check_begin("top k agrees with sorting, with ties, NaN and pieces in any order");
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (size_t j = 0; j < sizeof(ks) / sizeof(ks[0]); j++)
		{
			check_one_topk(sizes[s], ks[j], 5, 0);
			check_one_topk(sizes[s], ks[j], 1000000, 0);
			check_one_topk(sizes[s], ks[j], 1, 0);
			check_one_topk(sizes[s], ks[j], 50, 0.3);
			check_one_topk(sizes[s], ks[j], 50, 1);
		}
	check_end();
}

static void
check_topk_extremes(void)
{
	fnn_real	score[70];
	int32_t		item[3];
	fnn_real	best[3];
	FnnTopk		topk;

	check_begin("top k of infinite scores: infinity leads, minus infinity fills up, items keep their numbers");
	for (int i = 0; i < 70; i++)
		score[i] = -INFINITY;
	score[69] = INFINITY;
	score[5] = NAN;
	fnn_topk_init(&topk, 3, item, best);
	fnn_topk_offer(&topk, 1000, 70, score);
	fnn_topk_sort(&topk);
	CHECK(topk.count == 3 && item[0] == 1069 && item[1] == 1000 && item[2] == 1001,
		  "%d entries: %d, %d, %d", topk.count, item[0], item[1], item[2]);
	check_end();
}

/* ---------------------------------------------------------------- ranks */

static int64_t
naive_rank(const fnn_real *score, int32_t n, int32_t target, const int32_t *excluded, int32_t n_excluded)
{
	int64_t		rank = 1;

	for (int32_t i = 0; i < n; i++)
	{
		bool		takes_part = i != target;

		for (int32_t e = 0; e < n_excluded; e++)
			takes_part = takes_part && excluded[e] != i;
		rank += takes_part && !(score[i] < score[target]);
	}
	return rank;
}

static int64_t
rank_of(fnn_real *score, int64_t n, int32_t target, const int32_t *excluded, int64_t n_excluded)
{
	int32_t		rank;

	fnn_ranks(check_arena(), score, n, &target, 1, excluded, n_excluded, &rank);
	return rank;
}

static void
check_random_ranks(void)
{
	check_begin("ranks agree with counting: ties, NaN and infinite scores, repeated exclusions, excluded targets");
	for (int round = 0; round < 400; round++)
	{
		const fnn_real special[] = {NAN, INFINITY, -INFINITY, 0, 1};
		int32_t		n = 1 + (int32_t) fnn_random_below(round, 0, 0, 150);
		int32_t		n_excluded = (int32_t) fnn_random_below(round, 0, 1, 2 * n);
		int32_t		target = (int32_t) fnn_random_below(round, 0, 2, n);
		fnn_real   *score = fnn_alloc_reals(check_arena(), 1, n);
		fnn_real   *copy = fnn_alloc_reals(check_arena(), 1, n);
		int32_t    *excluded = fnn_alloc(check_arena(), ((size_t) n_excluded + 1) * sizeof(int32_t));
		int64_t		expected;
		int64_t		rank;

		for (int32_t i = 0; i < n; i++)
		{
			score[i] = (fnn_real) fnn_random_below(round, 1, i, 10) - 3;
			if (fnn_random_uniform(round, 2, i) < 0.2)
				score[i] = special[fnn_random_below(round, 3, i, 5)];
		}
		for (int32_t e = 0; e < n_excluded; e++)
			excluded[e] = (int32_t) fnn_random_below(round, 4, e, n);
		memcpy(copy, score, (size_t) n * sizeof(fnn_real));
		expected = naive_rank(score, n, target, excluded, n_excluded);
		rank = rank_of(copy, n, target, excluded, n_excluded);
		CHECK(rank == expected, "round %d: rank %d instead of %d, target's score %g", round, (int) rank,
			  (int) expected, (double) score[target]);
		for (int32_t i = 0; i < n; i++)
		{
			bool		is_excluded = i == target;

			for (int32_t e = 0; e < n_excluded; e++)
				is_excluded = is_excluded || excluded[e] == i;
			CHECK(is_excluded || memcmp(&copy[i], &score[i], sizeof(fnn_real)) == 0,
				  "round %d: the score of item %d, neither excluded nor the answer, was changed", round, i);
		}
	}
	check_end();
}

static void
check_named_ranks(void)
{
	fnn_real	constant[5] = {2, 2, 2, 2, 2};
	fnn_real	broken[5] = {1, NAN, 3, NAN, -INFINITY};
	fnn_real	plain[5] = {1, 5, 3, 4, 2};
	const int32_t excluded[] = {3, 1, 3, 2};

	check_begin("a constant scorer and a NaN score rank last, exclusions do not take part");
	CHECK(rank_of(constant, 5, 0, NULL, 0) == 5, "a constant scorer must rank last");
	constant[0] = 2;
	CHECK(rank_of(constant, 5, 4, excluded, 3) == 3, "a constant scorer must rank last of what is left");
	CHECK(rank_of(broken, 5, 1, NULL, 0) == 5, "a NaN score must rank last");
	CHECK(rank_of(plain, 5, 2, NULL, 0) == 3, "3 is third of 1 5 3 4 2");
	plain[2] = 3;
	CHECK(rank_of(plain, 5, 2, excluded, 4) == 1, "3 is first of what exclusion leaves, itself included");
	CHECK(rank_of(plain, 1, 0, NULL, 0) == 1, "a single item ranks first");
	check_end();
}

/* Several answers: their places among each other, and what is not below them. */
static void
check_many_answers(void)
{
	check_begin("ranks of several answers agree with counting");
	for (int round = 0; round < 300; round++)
	{
		int32_t		n = 2 + (int32_t) fnn_random_below(round, 0, 0, 120);
		int32_t		n_answers = 1 + (int32_t) fnn_random_below(round, 0, 1, n < 40 ? n - 1 : 40);
		int64_t    *order = fnn_alloc(check_arena(), sizeof(int64_t) * (size_t) n);
		int32_t    *answer = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) n);
		int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) n);
		bool	   *found = fnn_zalloc(check_arena(), (size_t) n);
		fnn_real   *score = fnn_alloc_reals(check_arena(), 1, n);
		fnn_real   *copy = fnn_alloc_reals(check_arena(), 1, n);
		int32_t		n_excluded = (n - n_answers) / 3;

		fnn_random_permutation(round, 9, n, order);
		for (int32_t i = 0; i < n; i++)
		{
			answer[i] = (int32_t) order[i];
			score[i] = (fnn_real) fnn_random_below(round, 1, i, 12);
			if (fnn_random_uniform(round, 2, i) < 0.05)
				score[i] = (fnn_real) -INFINITY;
		}
		memcpy(copy, score, (size_t) n * sizeof(fnn_real));
		/* those behind the answers are excluded, as far as there are */
		fnn_ranks(check_arena(), copy, n, answer, n_answers, answer + n_answers, n_excluded, rank);
		for (int32_t k = 0; k < n_answers; k++)
		{
			int32_t		least = 1;
			int32_t		most = 1;

			for (int32_t i = 0; i < n_answers; i++)
			{
				least += score[answer[i]] > score[answer[k]];
				most += i != k && score[answer[i]] >= score[answer[k]];
			}
			for (int32_t i = n_answers + n_excluded; i < n; i++)
			{
				least += score[answer[i]] >= score[answer[k]];
				most += score[answer[i]] >= score[answer[k]];
			}
			CHECK(rank[k] >= least && rank[k] <= most && !found[rank[k] - 1], "round %d: answer %d of %d has rank %d, not %d .. %d",
				  round, (int) k, (int) n_answers, (int) rank[k], (int) least, (int) most);
			found[rank[k] - 1] = true;
		}
	}
	check_end();
}

/* What a ranking along an order is asked for: scores of items, and how many were asked for. */
typedef struct Asked
{
	const fnn_real *score;
	int64_t		items;
} Asked;

static void
scores_asked(void *context, FnnArena *arena, int64_t n, const int32_t *item, fnn_real *score)
{
	Asked	   *asked = context;

	for (int64_t i = 0; i < n; i++)
		score[i] = asked->score[item[i]];
	asked->items += n;
}

/* levels: how many different values there are; nan_share: of the values, and of the scores of what has moved. */
static void
check_one_along(int32_t n, int levels, double nan_share, int64_t n_moved, uint64_t seed)
{
	float	   *value = fnn_alloc(check_arena(), sizeof(float) * (size_t) n);
	fnn_real   *score = fnn_alloc_reals(check_arena(), 1, n);
	int32_t    *moved = check_numbers(seed, n_moved, n, false);
	int32_t    *list = check_numbers(seed + 1, 40, n, false);
	int64_t		n_answers = seed % 3 == 0 ? 1 : 5;
	Asked		asked = {.score = score};
	FnnOrder	order;
	int32_t		answer[5];
	int32_t		expected[5];
	int32_t		rank[5];

	for (int32_t i = 0; i < n; i++)
	{
		value[i] = (float) fnn_random_below(seed, 2, (uint64_t) i, (uint64_t) levels) - (float) (levels / 3);
		value[i] = fnn_random_uniform(seed, 3, (uint64_t) i) < nan_share ? NAN : value[i];
		/* different values may have one score, and some of both have none */
		score[i] = isnan(value[i]) ? (fnn_real) NAN : value[i] < 1 - levels / 3 ? -INFINITY : floor(value[i] / 2);
	}
	for (int64_t i = 0; i < n_moved; i++)
		score[moved[i]] = fnn_random_uniform(seed, 4, (uint64_t) i) < nan_share ? (fnn_real) NAN
			: (fnn_real) fnn_random_below(seed, 5, (uint64_t) i, (uint64_t) levels) / 2;
	for (int k = 0; k < n_answers; k++)
		answer[k] = (int32_t) ((list[0] + k * 7) % n);
	fnn_order_init(&order, check_arena(), n, value);
	for (int repeat = 0; repeat < 2; repeat++)
	{
		fnn_ranks_along(check_arena(), &order, scores_asked, &asked, answer, n_answers, list + 5, seed % 4 * 10, moved,
						n_moved, rank);
		CHECK(asked.items < n_answers * 130 * (repeat + 1) + 2 * n_moved + 10, "%lld scores", (long long) asked.items);
	}
	fnn_ranks(check_arena(), score, n, answer, n_answers, list + 5, seed % 4 * 10, expected);
	CHECK(memcmp(rank, expected, sizeof(int32_t) * (size_t) n_answers) == 0,
		  "n %d, levels %d, moved %lld, seed %d: rank %d, not %d", n, levels, (long long) n_moved, (int) seed, rank[0],
		  expected[0]);
}

static void
check_along(void)
{
	check_begin("ranks along an order are those among all scores: ties, NaN, excluded and moved items, none and all");
	for (uint64_t seed = 0; seed < 24; seed++)
	{
		check_one_along(36, 5, 0, 10, seed);
		check_one_along(1000, 1000000, 0, 100, seed);
		check_one_along(1000, 40, 0.1, 300, seed);
		check_one_along(2000, 40, 0, 0, seed);
		check_one_along(200, 1, 0, 2000, seed);
		check_one_along(3000, 200, 0.5, 3000, seed);
	}
	check_end();
}

void
check_ranking(void)
{
	check_topk();
	check_topk_extremes();
	check_random_ranks();
	check_named_ranks();
	check_many_answers();
	check_along();
}

/*
 * metric.c
 *	  What ranks come to.
 */
#include "model/evaluate/evaluate.h"

#include <math.h>

static double
discount(int64_t rank)
{
	return 1 / log2((double) rank + 1);
}

static double
ndcg(int64_t k, const int32_t *rank, int64_t n)
{
	double		gain = 0;
	double		ideal = 0;

	for (int64_t i = 0; i < n; i++)
		gain += rank[i] <= k ? discount(rank[i]) : 0;
	for (int64_t r = 1; r <= k && r <= n; r++)
		ideal += discount(r);
	return gain / ideal;
}

double
fmoe_metric(FmoeMetric metric, int64_t k, const int32_t *rank, int64_t n)
{
	int64_t		found = 0;
	int32_t		best = FMOE_MISS;

	if (metric == FMOE_NDCG)
		return ndcg(k, rank, n);
	for (int64_t i = 0; i < n; i++)
	{
		found += rank[i] <= k;
		best = rank[i] < best ? rank[i] : best;
	}
	if (metric == FMOE_RECALL)
		return (double) found / (double) n;
	if (metric == FMOE_HR)
		return found > 0;
	return best < FMOE_MISS ? 1 / (double) best : 0;
}

double
fmoe_mean_metric(FmoeMetric metric, int64_t k, const FmoeCases *cases, const int32_t *rank)
{
	double		sum = 0;

	if (cases->count == 0)
		return NAN;
	for (int64_t c = 0; c < cases->count; c++)
		sum += fmoe_metric(metric, k, rank + cases->first[c], cases->first[c + 1] - cases->first[c]);
	return sum / (double) cases->count;
}

double
fmoe_paired_error(FmoeMetric metric, int64_t k, const FmoeCases *cases, const int32_t *a, const int32_t *b)
{
	double		n = (double) cases->count;
	double		sum = 0;
	double		squares = 0;

	for (int64_t c = 0; c < cases->count; c++)
	{
		int64_t		first = cases->first[c];
		int64_t		answers = cases->first[c + 1] - first;
		double		difference = fmoe_metric(metric, k, a + first, answers) -
			fmoe_metric(metric, k, b + first, answers);

		sum += difference;
		squares += difference * difference;
	}
	return n < 2 ? 0 : sqrt((squares - sum * sum / n) / (n - 1) / n);
}

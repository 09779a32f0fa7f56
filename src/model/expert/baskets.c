/*
 * baskets.c
 *	  What encoders make of a basket: means of its rows, which do not depend on their order.
 */
#include "model/expert/expert.h"

FnnTensor *
fmoe_basket_means(FnnTape *tape, FnnTensor *x, const FmoeBatch *batch)
{
	const FmoeBaskets *baskets = batch->baskets;

	return fnn_means(tape, x, baskets->begin, baskets->count, baskets->sequences.offset[baskets->sequences.count]);
}

FnnTensor *
fmoe_last_means(FnnTape *tape, FnnTensor *x, const FmoeBatch *batch)
{
	const FmoeBaskets *baskets = batch->baskets;
	int32_t		n = batch->sequences.count;
	int32_t    *begin;
	int32_t    *count;

	if (baskets == NULL)
		return fnn_rows(tape, x, batch->last, n);
	begin = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	count = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	for (int32_t s = 0; s < n; s++)
	{
		begin[s] = baskets->begin[baskets->of[batch->last[s]]];
		count[s] = baskets->count[baskets->of[batch->last[s]]];
	}
	return fnn_means(tape, x, begin, count, n);
}

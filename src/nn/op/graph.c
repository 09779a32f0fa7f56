/*
 * graph.c
 *	  One layer of graph convolution over items, or sums of bags of terms, for the
 *	  rows asked for.
 *
 * A batch asks for the same items again and again, so each is worked out where
 * it is asked for first and copied from there; backward brings the gradients
 * together there before it walks the edges.  The edges of an item are added in
 * their order, whatever else is asked for.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"

typedef struct Neighbours
{
	FnnGraph	graph;
	const int32_t *id;			/* [n] */
	int32_t    *first;			/* [n] the first place with the same id */
} Neighbours;

/* Elements handled since the last poll. */
static void
count_work(FnnTape *tape, int64_t reals, int64_t *work)
{
	*work += reals;
	if (*work < FNN_BLOCK_REALS)
		return;
	*work = 0;
	fnn_poll(tape->host);
}

/* first[i] = the smallest j with id[j] = id[i], by a hash table of places */
static void
find_first(FnnTape *tape, int64_t n, const int32_t *id, int32_t *first)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	uint32_t	slots = 16;
	int32_t    *place;			/* [slots] place + 1; 0: free */

	while (slots / 2 < n)
		slots *= 2;
	place = fnn_zalloc(tape->arena, slots * sizeof(int32_t));
	for (int64_t i = 0; i < n; i++)
	{
		uint32_t	slot = (uint32_t) id[i] * UINT32_C(0x9E3779B9);

		if (i % 100000 == 0)
			fnn_poll(tape->host);
		for (slot ^= slot >> 15;; slot++)
		{
			slot &= slots - 1;
			if (place[slot] == 0)
				place[slot] = (int32_t) i + 1;
			if (id[place[slot] - 1] == id[i])
				break;
		}
		first[i] = place[slot] - 1;
	}
	fnn_arena_reset(tape->arena, mark);
}

/* What edge e of a row counts. */
static fnn_real
weight_of(const FnnGraph *graph, int64_t row, int64_t e)
{
	if (graph->weight == NULL)
		return (fnn_real) 1 / (fnn_real) (graph->offset[row + 1] - graph->offset[row]);
	return (fnn_real) graph->weight[e];
}

/* y[d] += weight * dropout(row); index: of the row's first element in the draw */
static FNN_CLONES void
add_edge(int64_t d, fnn_real weight, const fnn_real *row, const FnnDropout *dropout, uint32_t index, fnn_real *y)
{
	FnnDropout	mask = *dropout;

	if (mask.threshold == 0)
		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			y[c] += weight * row[c];
	else
		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			y[c] += weight * (row[c] * fnn_dropout_factor(&mask, index + (uint32_t) c));
}

/* in: table.  The mask of dropout multiplies the gradient of a row as it did the row. */
static void
neighbours_backward(FnnTape *tape, FnnNode *node)
{
	const Neighbours *neighbours = node->saved;
	const FnnGraph *graph = &neighbours->graph;
	const int32_t *first = neighbours->first;
	FnnTensor  *table = node->in[0];
	fnn_real   *dy = node->out->grad;
	int64_t		d = table->cols;
	int64_t		work = 0;

	for (int64_t i = 0; i < node->out->rows; i++)
	{
		if (first[i] == i)
			continue;
		count_work(tape, d, &work);
		for (int64_t c = 0; c < d; c++)
			dy[first[i] * d + c] += dy[i * d + c];
	}
	for (int64_t i = 0; i < node->out->rows; i++)
	{
		if (first[i] != i)
			continue;
		for (int64_t e = graph->offset[neighbours->id[i]]; e < graph->offset[neighbours->id[i] + 1]; e++)
		{
			int64_t		to = graph->to[e];

			count_work(tape, d, &work);
			add_edge(d, weight_of(graph, neighbours->id[i], e), dy + i * d, &node->dropout, (uint32_t) (to * d),
					 fnn_grad_row(tape->host, table, to));
		}
	}
}

/* y[d]: one item's row of the result */
static void
sum_edges(FnnTape *tape, const FnnTensor *table, const FnnGraph *graph, int64_t item, const FnnDropout *dropout,
		  int64_t *work, fnn_real *y)
{
	int64_t		d = table->cols;

	memset(y, 0, (size_t) d * sizeof(fnn_real));
	for (int64_t e = graph->offset[item]; e < graph->offset[item + 1]; e++)
	{
		int64_t		to = graph->to[e];

		if (to < 0 || to >= table->rows)
			fnn_fail(tape->host, FNN_INVALID, "row %lld has an edge to %lld, which a table of %lld rows has not",
					 (long long) item, (long long) to, (long long) table->rows);
		count_work(tape, d, work);
		add_edge(d, weight_of(graph, item, e), table->value + to * fnn_stride(table), dropout,
				 (uint32_t) (to * d), y);
	}
}

FnnTensor *
fnn_neighbours(FnnTape *tape, FnnTensor *table, const FnnGraph *graph, const int32_t *id, int64_t n,
			   double dropout)
{
	FnnDropout	mask = fnn_dropout_draw(tape, dropout);
	Neighbours *neighbours = fnn_alloc(tape->arena, sizeof(Neighbours));
	int64_t		d = table->cols;
	int64_t		work = 0;
	FnnTensor  *y;
	FnnNode    *node;

	for (int64_t i = 0; i < n; i++)
		if (id[i] < 0 || id[i] >= graph->rows)
			fnn_fail(tape->host, FNN_INVALID, "a graph of %lld rows has no row %d",
					 (long long) graph->rows, (int) id[i]);
	y = fnn_result(tape, n, d, fnn_has_grad(table));
	neighbours->graph = *graph;
	neighbours->id = id;
	neighbours->first = fnn_alloc(tape->arena, (size_t) n * sizeof(int32_t));
	find_first(tape, n, id, neighbours->first);
	for (int64_t i = 0; i < n; i++)
	{
		count_work(tape, d, &work);
		if (neighbours->first[i] == i)
			sum_edges(tape, table, graph, id[i], &mask, &work, y->value + i * d);
		else
			memcpy(y->value + i * d, y->value + neighbours->first[i] * d, (size_t) d * sizeof(fnn_real));
	}
	node = fnn_record(tape, neighbours_backward, y);
	if (node != NULL)
	{
		node->in[0] = table;
		node->saved = neighbours;
		node->dropout = mask;
	}
	return y;
}

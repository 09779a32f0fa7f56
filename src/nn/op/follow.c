/*
 * follow.c
 *	  Attention of tokens that each follow a history: candidates, of which each is the
 *	  next one in turn, so that the history is computed once for all of them.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

#include <math.h>

typedef struct Following
{
	const int32_t *begin;
	const int32_t *count;
	int			heads;
	int32_t		longest;
} Following;

/* Row j of what a token sees: of the history's keys and values, and the token's own behind them. */
static int64_t
seen_row(const Following *f, int64_t token, int32_t j, bool *own)
{
	*own = j == f->count[token];
	return *own ? token : f->begin[token] + j;
}

/* weight[count + 1] of a head of a token: the softmax over what it sees. */
static void
weigh_seen(const FnnNode *node, const Following *f, int64_t token, int head, double *weight)
{
	int64_t		d = node->in[0]->cols;
	int64_t		each = d / f->heads;
	const fnn_real *q = node->in[0]->value + token * d + head * each;
	double		largest = -INFINITY;
	double		sum = 0;

	for (int32_t j = 0; j <= f->count[token]; j++)
	{
		bool		own;
		int64_t		row = seen_row(f, token, j, &own);

		weight[j] = fnn_dot(each, q, node->in[own ? 1 : 2]->value + row * 2 * d + head * each) / sqrt((double) each);
		largest = fmax(largest, weight[j]);
	}
	for (int32_t j = 0; j <= f->count[token]; j++)
		sum += weight[j] = exp(weight[j] - largest);
	for (int32_t j = 0; j <= f->count[token]; j++)
		weight[j] /= sum;
}

/* One head of one token; scratch has room for two numbers for each that it sees. */
static void
head_backward(const FnnNode *node, const Following *f, int64_t token, int head, double *scratch)
{
	int64_t		d = node->in[0]->cols;
	int64_t		each = d / f->heads;
	int64_t		at = token * d + head * each;
	const fnn_real *dy = node->out->grad + at;
	const FnnTensor *query = node->in[0];
	double	   *weight = scratch;
	double	   *slope = scratch + f->longest + 1;
	double		mean = 0;

	weigh_seen(node, f, token, head, weight);
	for (int32_t j = 0; j <= f->count[token]; j++)
	{
		bool		own;
		int64_t		row = seen_row(f, token, j, &own);

		slope[j] = fnn_dot(each, dy, node->in[own ? 1 : 2]->value + row * 2 * d + d + head * each);
		mean += weight[j] * slope[j];
	}
	for (int32_t j = 0; j <= f->count[token]; j++)
	{
		bool		own;
		int64_t		key = seen_row(f, token, j, &own) * 2 * d + head * each;
		const FnnTensor *seen = node->in[own ? 1 : 2];
		fnn_real	ds = (fnn_real) (weight[j] * (slope[j] - mean) / sqrt((double) each));

		if (query->grad != NULL)
			fnn_add_scaled(each, ds, seen->value + key, query->grad + at);
		if (seen->grad == NULL)
			continue;
		fnn_add_scaled(each, ds, query->value + at, seen->grad + key);
		fnn_add_scaled(each, (fnn_real) weight[j], dy, seen->grad + key + d);
	}
}

/* in: query, own keys and values, those of the histories; saved: Following */
static void
follow_backward(FnnTape *tape, FnnNode *node)
{
	const Following *f = node->saved;
	FnnMark		mark = fnn_arena_mark(tape->arena);
	double	   *scratch = fnn_alloc(tape->arena, sizeof(double) * 2 * (size_t) (f->longest + 1));
	int64_t		step = fnn_block_rows(8 * node->out->cols * (f->longest + 1));

	for (int64_t token = 0; token < node->out->rows; token++)
	{
		if (token % step == 0)
			fnn_poll(tape->host);
		for (int head = 0; head < f->heads; head++)
			head_backward(node, f, token, head, scratch);
	}
	fnn_arena_reset(tape->arena, mark);
}

/* y: what a token sees, weighed. */
static void
follow_forward(FnnTape *tape, const FnnNode *node, const Following *f, FnnTensor *y)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	double	   *weight = fnn_alloc(tape->arena, sizeof(double) * (size_t) (f->longest + 1));
	int64_t		each = y->cols / f->heads;
	int64_t		step = fnn_block_rows(2 * y->cols * (f->longest + 1));

	memset(y->value, 0, sizeof(fnn_real) * (size_t) (y->rows * y->cols));
	for (int64_t token = 0; token < y->rows; token++)
	{
		if (token % step == 0)
			fnn_poll(tape->host);
		for (int head = 0; head < f->heads; head++)
		{
			weigh_seen(node, f, token, head, weight);
			for (int32_t j = 0; j <= f->count[token]; j++)
			{
				bool		own;
				int64_t		row = seen_row(f, token, j, &own);

				fnn_add_scaled(each, (fnn_real) weight[j],
							   node->in[own ? 1 : 2]->value + row * 2 * y->cols + y->cols + head * each,
							   y->value + token * y->cols + head * each);
			}
		}
	}
	fnn_arena_reset(tape->arena, mark);
}

FnnTensor *
fnn_attention_after(FnnTape *tape, FnnTensor *query, FnnTensor *own, FnnTensor *history, const int32_t *begin,
					const int32_t *count, int heads)
{
	FnnNode		inputs = {.in = {query, own, history}};
	Following  *f = fnn_alloc(tape->arena, sizeof(Following));
	FnnTensor  *y;
	FnnNode    *node;

	for (int i = 0; i < 3; i++)
		fnn_check_dense(tape, inputs.in[i]);
	if (heads < 1 || query->cols % heads != 0 || own->rows != query->rows || own->cols != 2 * query->cols ||
		history->cols != 2 * query->cols)
		fnn_fail(tape->host, FNN_INVALID, "keys and values of %lld and %lld columns do not fit queries of %lld",
				 (long long) own->cols, (long long) history->cols, (long long) query->cols);
	*f = (Following)
	{
		.begin = begin, .count = count, .heads = heads
	};
	for (int64_t token = 0; token < query->rows; token++)
	{
		if (begin[token] < 0 || count[token] < 0 || (int64_t) begin[token] + count[token] > history->rows)
			fnn_fail(tape->host, FNN_INVALID, "token %lld follows rows that are not there", (long long) token);
		if (count[token] > f->longest)
			f->longest = count[token];
	}
	y = fnn_result(tape, query->rows, query->cols, fnn_has_grad(query) || fnn_has_grad(own) || fnn_has_grad(history));
	follow_forward(tape, &inputs, f, y);
	node = fnn_record(tape, follow_backward, y);
	if (node != NULL)
	{
		memcpy(node->in, inputs.in, sizeof(inputs.in));
		node->saved = f;
	}
	return y;
}

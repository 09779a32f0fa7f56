/*
 * integrate.c
 *	  Streams of equal shape that take from one another (X-Cross, arXiv 2504.20859).
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

typedef struct Streams
{
	int			n;
	int			m;
	double		beta;
	double		gamma;
	FnnTensor  *weight;
	FnnTensor **stream;			/* [n] */
} Streams;

/* The column of what stream m takes from stream k, among those of pairs; -1: k is m itself. */
static int
pair(int n, int m, int k)
{
	return k == m ? -1 : m * (n - 1) + (k < m ? k : k - 1);
}

/* What each stream counts in stream m's result; z is a row of weights. */
static void
coefficients(const Streams *s, const fnn_real *z, double c[FNN_STREAMS_MAX])
{
	double		own = 1;

	for (int k = 0; k < s->n; k++)
	{
		int			p = pair(s->n, s->m, k);

		if (p < 0)
			continue;
		c[k] = s->beta * z[p] - s->gamma * z[s->n * (s->n - 1) + p];
		own += s->gamma * z[s->n * (s->n - 1) + p];
	}
	c[s->m] = own;
}

static void
weights_back(const Streams *s, int64_t r, const fnn_real *dy, fnn_real *dz)
{
	int64_t		d = s->stream[0]->cols;
	double		own = fnn_dot(d, s->stream[s->m]->value + r * d, dy);

	for (int k = 0; k < s->n; k++)
	{
		int			p = pair(s->n, s->m, k);
		double		other;

		if (p < 0)
			continue;
		other = fnn_dot(d, s->stream[k]->value + r * d, dy);
		dz[p] += (fnn_real) (s->beta * other);
		dz[s->n * (s->n - 1) + p] += (fnn_real) (s->gamma * (own - other));
	}
}

/* saved: Streams */
static void
integrate_backward(FnnTape *tape, FnnNode *node)
{
	const Streams *s = node->saved;
	FnnTensor  *z = s->weight;
	int64_t		d = node->out->cols;
	int64_t		step = fnn_block_rows(d * s->n);

	for (int64_t r = 0; r < node->out->rows; r++)
	{
		const fnn_real *dy = node->out->grad + r * d;
		double		c[FNN_STREAMS_MAX];

		if (r % step == 0)
			fnn_poll(tape->host);
		coefficients(s, z->value + r * z->cols, c);
		for (int k = 0; k < s->n; k++)
			if (s->stream[k]->grad != NULL && c[k] != 0)
				fnn_add_scaled(d, (fnn_real) c[k], dy, s->stream[k]->grad + r * d);
		if (z->grad != NULL)
			weights_back(s, r, dy, z->grad + r * z->cols);
	}
}

static FnnTensor **
copy_streams(FnnTape *tape, int n, FnnTensor *const *stream, bool *any_grad)
{
	FnnTensor **copy = fnn_alloc(tape->arena, (size_t) n * sizeof(FnnTensor *));

	for (int k = 0; k < n; k++)
	{
		if (stream[k]->rows != stream[0]->rows || stream[k]->cols != stream[0]->cols)
			fnn_fail(tape->host, FNN_INVALID, "streams of different shapes cannot be mixed");
		fnn_check_dense(tape, stream[k]);
		*any_grad = *any_grad || fnn_has_grad(stream[k]);
		copy[k] = stream[k];
	}
	return copy;
}

FnnTensor *
fnn_integrate(FnnTape *tape, int n, FnnTensor *const *stream, FnnTensor *weight, int m, double beta, double gamma)
{
	bool		any_grad = fnn_has_grad(weight);
	Streams    *s = fnn_alloc(tape->arena, sizeof(Streams));
	int64_t		d = stream[0]->cols;
	int64_t		step = fnn_block_rows(d * n);
	FnnTensor  *y;
	FnnNode    *node;

	if (n < 1 || n > FNN_STREAMS_MAX || m < 0 || m >= n || weight->rows != stream[0]->rows ||
		weight->cols != 2 * (int64_t) n * (n - 1))
		fnn_fail(tape->host, FNN_INVALID, "weights of %lld x %lld do not fit %d streams of %lld rows",
				 (long long) weight->rows, (long long) weight->cols, n, (long long) stream[0]->rows);
	*s = (Streams)
	{
		.n = n, .m = m, .beta = beta, .gamma = gamma, .weight = weight,
			.stream = copy_streams(tape, n, stream, &any_grad)
	};
	y = fnn_result(tape, stream[0]->rows, d, any_grad);
	for (int64_t r = 0; r < y->rows; r++)
	{
		fnn_real   *to = y->value + r * d;
		double		c[FNN_STREAMS_MAX];

		if (r % step == 0)
			fnn_poll(tape->host);
		coefficients(s, weight->value + r * weight->cols, c);
		memset(to, 0, (size_t) d * sizeof(fnn_real));
		for (int k = 0; k < n; k++)
			if (c[k] != 0)
				fnn_add_scaled(d, (fnn_real) c[k], stream[k]->value + r * d, to);
	}
	node = fnn_record(tape, integrate_backward, y);
	if (node != NULL)
		node->saved = s;
	return y;
}

/* saved: Streams, weight [1, n] */
static void
weighted_backward(FnnTape *tape, FnnNode *node)
{
	const Streams *s = node->saved;
	int64_t		n = node->out->rows * node->out->cols;
	const fnn_real *dy = node->out->grad;

	for (int k = 0; k < s->n; k++)
	{
		double		sum = 0;

		for (int64_t i = 0; i < n; i += FNN_BLOCK_REALS)
		{
			int64_t		some = fnn_least(n - i, FNN_BLOCK_REALS);

			fnn_poll(tape->host);
			sum += fnn_dot(some, s->stream[k]->value + i, dy + i);
			if (s->stream[k]->grad != NULL)
				fnn_add_scaled(some, s->weight->value[k], dy + i, s->stream[k]->grad + i);
		}
		if (s->weight->grad != NULL)
			s->weight->grad[k] += (fnn_real) sum;
	}
}

FnnTensor *
fnn_weighted_sum(FnnTape *tape, int n, FnnTensor *const *stream, FnnTensor *weight)
{
	bool		any_grad = fnn_has_grad(weight);
	Streams    *s = fnn_alloc(tape->arena, sizeof(Streams));
	FnnTensor  *y;
	FnnNode    *node;

	if (n < 1 || n > FNN_STREAMS_MAX || weight->rows != 1 || weight->cols != n)
		fnn_fail(tape->host, FNN_INVALID, "%lld weights do not fit %d streams", (long long) weight->cols, n);
	*s = (Streams)
	{
		.n = n, .weight = weight, .stream = copy_streams(tape, n, stream, &any_grad)
	};
	y = fnn_result(tape, stream[0]->rows, stream[0]->cols, any_grad);
	memset(y->value, 0, (size_t) (y->rows * y->cols) * sizeof(fnn_real));
	for (int64_t i = 0; i < y->rows * y->cols; i += FNN_BLOCK_REALS)
	{
		fnn_poll(tape->host);
		for (int k = 0; k < n; k++)
			fnn_add_scaled(fnn_least(y->rows * y->cols - i, FNN_BLOCK_REALS), weight->value[k],
						   stream[k]->value + i, y->value + i);
	}
	node = fnn_record(tape, weighted_backward, y);
	if (node != NULL)
		node->saved = s;
	return y;
}

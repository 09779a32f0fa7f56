/*
 * experts.c
 *	  Operations of small experts that are all computed and weighed row by row:
 *	  linear ones that look at several streams at once, and elementwise ones.
 *
 * What a row becomes depends on that row alone.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

/* ---------------------------------------------------------------- columns of a result */

/* in: x; scale: the first column */
static void
cut_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	const FnnTensor *y = node->out;
	int64_t		first = (int64_t) node->scale;
	int64_t		step = fnn_block_rows(y->cols);

	for (int64_t r = 0; r < y->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		fnn_add_scaled(y->cols, 1, y->grad + r * y->cols, x->grad + r * x->cols + first);
	}
}

FnnTensor *
fnn_cut(FnnTape *tape, FnnTensor *x, int64_t first, int64_t cols)
{
	int64_t		step = fnn_block_rows(cols);
	FnnTensor  *y;
	FnnNode    *node;

	fnn_check_dense(tape, x);
	if (first < 0 || cols < 0 || first + cols > x->cols)
		fnn_fail(tape->host, FNN_INVALID, "columns %lld .. %lld are not in a matrix of %lld columns",
				 (long long) first, (long long) (first + cols - 1), (long long) x->cols);
	y = fnn_result(tape, x->rows, cols, fnn_has_grad(x));
	for (int64_t r = 0; r < x->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		memcpy(y->value + r * cols, x->value + r * x->cols + first, (size_t) cols * sizeof(fnn_real));
	}
	node = fnn_record(tape, cut_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->scale = (double) first;
	}
	return y;
}

/* ---------------------------------------------------------------- rows that are replaced */

/* in: x, instead; saved: from */
static void
replace_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	FnnTensor  *instead = node->in[1];
	const int32_t *from = node->saved;
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);

	for (int64_t r = 0; r < x->rows; r++)
	{
		const fnn_real *dy = node->out->grad + r * d;

		if (r % step == 0)
			fnn_poll(tape->host);
		if (from[r] < 0 && x->grad != NULL)
			fnn_add_scaled(d, 1, dy, x->grad + r * d);
		else if (from[r] >= 0 && instead->grad != NULL)
			fnn_add_scaled(d, 1, dy, instead->grad + from[r] * d);
	}
}

FnnTensor *
fnn_replace(FnnTape *tape, FnnTensor *x, FnnTensor *instead, const int32_t *from)
{
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);
	FnnTensor  *y;
	FnnNode    *node;

	fnn_check_dense(tape, x);
	fnn_check_dense(tape, instead);
	if (instead->cols != d)
		fnn_fail(tape->host, FNN_INVALID, "rows of %lld cannot stand for rows of %lld", (long long) instead->cols,
				 (long long) d);
	y = fnn_result(tape, x->rows, d, fnn_has_grad(x) || fnn_has_grad(instead));
	for (int64_t r = 0; r < x->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		memcpy(y->value + r * d, from[r] < 0 ? x->value + r * d : instead->value + from[r] * d,
			   (size_t) d * sizeof(fnn_real));
	}
	node = fnn_record(tape, replace_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->in[1] = instead;
		node->saved = from;
	}
	return y;
}

/* ---------------------------------------------------------------- experts of several streams */

typedef struct Mixed
{
	int			n_experts;
	int			n_streams;
	int64_t		width;			/* of a stream */
	FnnTensor **expert;			/* [n_experts] */
	FnnTensor **gate;			/* [n_streams] */
} Mixed;

/* y[width] += weight * x; the experts of one stream of one row: gate[n], x[n] each so many reals behind the first */
static FNN_CLONES void
add_experts(int64_t width, int n, fnn_real scale, const fnn_real *gate, FnnTensor *const *expert, int64_t at,
			fnn_real *y)
{
	for (int k = 0; k < n; k++)
	{
		fnn_real	weight = scale * gate[k];
		const fnn_real *x = expert[k]->value + at;

		FNN_SIMD
		for (int64_t c = 0; c < width; c++)
			y[c] += weight * x[c];
	}
}

/* The same backward; dgate may be NULL, and so may an expert's gradient.  Returns the gradient of scale. */
static FNN_CLONES double
add_experts_back(int64_t width, int n, fnn_real scale, const fnn_real *gate, FnnTensor *const *expert, int64_t at,
				 const fnn_real *dy, fnn_real *dgate)
{
	double		dscale = 0;

	for (int k = 0; k < n; k++)
	{
		fnn_real	weight = scale * gate[k];
		fnn_real	along = fnn_dot(width, dy, expert[k]->value + at);

		dscale += (double) gate[k] * (double) along;
		if (dgate != NULL)
			dgate[k] += scale * along;
		if (expert[k]->grad != NULL)
		{
			fnn_real   *dx = expert[k]->grad + at;

			FNN_SIMD
			for (int64_t c = 0; c < width; c++)
				dx[c] += weight * dy[c];
		}
	}
	return dscale;
}

/* in: x, scale; saved: Mixed */
static void
mix_backward(FnnTape *tape, FnnNode *node)
{
	const Mixed *mixed = node->saved;
	FnnTensor  *x = node->in[0];
	FnnTensor  *scale = node->in[1];
	const FnnTensor *y = node->out;
	int64_t		step = fnn_block_rows(y->cols * mixed->n_experts);

	for (int64_t r = 0; r < y->rows; r++)
	{
		int64_t		at = r * y->cols;

		if (r % step == 0)
			fnn_poll(tape->host);
		if (x->grad != NULL)
			fnn_add_scaled(y->cols, 1, y->grad + at, x->grad + at);
		for (int s = 0; s < mixed->n_streams; s++, at += mixed->width)
		{
			FnnTensor  *gate = mixed->gate[s];
			int64_t		row = r * mixed->n_experts;
			double		dscale = add_experts_back(mixed->width, mixed->n_experts, scale->value[s],
												  gate->value + row, mixed->expert, at, y->grad + at,
												  gate->grad != NULL ? gate->grad + row : NULL);

			if (scale->grad != NULL)
				scale->grad[s] += (fnn_real) dscale;
		}
	}
}

/* Fails unless the shapes fit; returns whether any of them has a gradient. */
static bool
check_mixed(const FnnTape *tape, const Mixed *mixed, const FnnTensor *x, const FnnTensor *scale)
{
	bool		any = fnn_has_grad(x) || fnn_has_grad(scale);

	fnn_check_dense(tape, x);
	fnn_check_dense(tape, scale);
	if (mixed->n_streams < 1 || mixed->n_experts < 1 || x->cols % mixed->n_streams != 0 || scale->rows != 1 ||
		scale->cols != mixed->n_streams)
		fnn_fail(tape->host, FNN_INVALID, "%d streams, %d experts and %lld scales do not fit %lld columns",
				 mixed->n_streams, mixed->n_experts, (long long) scale->cols, (long long) x->cols);
	for (int k = 0; k < mixed->n_experts; k++)
	{
		fnn_check_dense(tape, mixed->expert[k]);
		if (mixed->expert[k]->rows != x->rows || mixed->expert[k]->cols != x->cols)
			fnn_fail(tape->host, FNN_INVALID, "an expert of %lld x %lld cannot be added to %lld x %lld",
					 (long long) mixed->expert[k]->rows, (long long) mixed->expert[k]->cols, (long long) x->rows,
					 (long long) x->cols);
		any = any || fnn_has_grad(mixed->expert[k]);
	}
	for (int s = 0; s < mixed->n_streams; s++)
	{
		fnn_check_dense(tape, mixed->gate[s]);
		if (mixed->gate[s]->rows != x->rows || mixed->gate[s]->cols != mixed->n_experts)
			fnn_fail(tape->host, FNN_INVALID, "weights of %lld x %lld do not fit %d experts of %lld rows",
					 (long long) mixed->gate[s]->rows, (long long) mixed->gate[s]->cols, mixed->n_experts,
					 (long long) x->rows);
		any = any || fnn_has_grad(mixed->gate[s]);
	}
	return any;
}

static FnnTensor **
kept_list(FnnTape *tape, int n, FnnTensor *const *list)
{
	FnnTensor **kept = fnn_alloc(tape->arena, (size_t) n * sizeof(FnnTensor *));

	memcpy(kept, list, (size_t) n * sizeof(FnnTensor *));
	return kept;
}

FnnTensor *
fnn_mix_streams(FnnTape *tape, FnnTensor *x, int n_experts, FnnTensor *const *expert, int n_streams,
				FnnTensor *const *gate, FnnTensor *scale)
{
	Mixed	   *mixed = fnn_alloc(tape->arena, sizeof(Mixed));
	bool		any_grad;
	int64_t		step;
	FnnTensor  *y;
	FnnNode    *node;

	*mixed = (Mixed)
	{
		n_experts, n_streams, n_streams > 0 ? x->cols / n_streams : 0, kept_list(tape, n_experts, expert),
			kept_list(tape, n_streams, gate)
	};
	any_grad = check_mixed(tape, mixed, x, scale);
	step = fnn_block_rows(x->cols * n_experts);
	y = fnn_result(tape, x->rows, x->cols, any_grad);
	for (int64_t r = 0; r < x->rows; r++)
	{
		int64_t		at = r * x->cols;

		if (r % step == 0)
			fnn_poll(tape->host);
		memcpy(y->value + at, x->value + at, (size_t) x->cols * sizeof(fnn_real));
		for (int s = 0; s < n_streams; s++, at += mixed->width)
			add_experts(mixed->width, n_experts, scale->value[s], gate[s]->value + r * n_experts, mixed->expert, at,
						y->value + at);
	}
	node = fnn_record(tape, mix_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->in[1] = scale;
		node->saved = mixed;
	}
	return y;
}

/* ---------------------------------------------------------------- elementwise experts */

/* factor[d] = the experts [n, d] times their weights */
static FNN_CLONES void
factors(int64_t d, int n, const fnn_real *weight, const fnn_real *expert, fnn_real *factor)
{
	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		factor[c] = weight[0] * expert[c];
	for (int k = 1; k < n; k++)
	{
		const fnn_real *u = expert + k * d;

		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			factor[c] += weight[k] * u[c];
	}
}

/* y = x * factor */
static FNN_CLONES void
times(int64_t d, const fnn_real *x, const fnn_real *factor, fnn_real *y)
{
	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		y[c] = x[c] * factor[c];
}

/* y += x * factor */
static FNN_CLONES void
add_times(int64_t d, const fnn_real *x, const fnn_real *factor, fnn_real *y)
{
	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		y[c] += x[c] * factor[c];
}

/* dweight[n] += each expert . dfactor, and its gradient += weight * dfactor; both may be NULL */
static FNN_CLONES void
factors_back(int64_t d, int n, const fnn_real *weight, const fnn_real *expert, const fnn_real *dfactor,
			 fnn_real *dweight, fnn_real *dexpert)
{
	for (int k = 0; k < n; k++)
	{
		if (dweight != NULL)
			dweight[k] += fnn_dot(d, expert + k * d, dfactor);
		if (dexpert != NULL)
			FNN_SIMD
			for (int64_t c = 0; c < d; c++)
				dexpert[k * d + c] += weight[k] * dfactor[c];
	}
}

/* in: x, weight, expert */
static void
scale_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	FnnTensor  *weight = node->in[1];
	FnnTensor  *expert = node->in[2];
	int64_t		d = x->cols;
	int			n = (int) expert->rows;
	int64_t		step = fnn_block_rows(2 * d * n);
	FnnMark		mark = fnn_arena_mark(tape->arena);
	fnn_real   *factor = fnn_alloc_reals(tape->arena, 1, d);

	for (int64_t r = 0; r < x->rows; r++)
	{
		const fnn_real *dy = node->out->grad + r * d;
		const fnn_real *row = weight->value + r * n;

		if (r % step == 0)
			fnn_poll(tape->host);
		if (x->grad != NULL)
		{
			factors(d, n, row, expert->value, factor);
			add_times(d, dy, factor, x->grad + r * d);
		}
		if (weight->grad == NULL && expert->grad == NULL)
			continue;
		times(d, x->value + r * d, dy, factor);
		factors_back(d, n, row, expert->value, factor, weight->grad != NULL ? weight->grad + r * n : NULL,
					 expert->grad);
	}
	fnn_arena_reset(tape->arena, mark);
}

FnnTensor *
fnn_scale_experts(FnnTape *tape, FnnTensor *x, FnnTensor *weight, FnnTensor *expert)
{
	int64_t		d = x->cols;
	int			n = (int) expert->rows;
	int64_t		step = fnn_block_rows(d * n);
	FnnTensor  *y;
	FnnNode    *node;
	FnnMark		mark;
	fnn_real   *factor;

	fnn_check_dense(tape, x);
	fnn_check_dense(tape, weight);
	fnn_check_dense(tape, expert);
	if (n < 1 || expert->cols != d || weight->rows != x->rows || weight->cols != n)
		fnn_fail(tape->host, FNN_INVALID, "weights of %lld x %lld and experts of %d x %lld do not fit %lld x %lld",
				 (long long) weight->rows, (long long) weight->cols, n, (long long) expert->cols, (long long) x->rows,
				 (long long) d);
	y = fnn_result(tape, x->rows, d, fnn_has_grad(x) || fnn_has_grad(weight) || fnn_has_grad(expert));
	mark = fnn_arena_mark(tape->arena);
	factor = fnn_alloc_reals(tape->arena, 1, d);
	for (int64_t r = 0; r < x->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		factors(d, n, weight->value + r * n, expert->value, factor);
		times(d, x->value + r * d, factor, y->value + r * d);
	}
	fnn_arena_reset(tape->arena, mark);
	node = fnn_record(tape, scale_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->in[1] = weight;
		node->in[2] = expert;
	}
	return y;
}

/*
 * gru.c
 *	  A GRU layer over packed sequences.
 *
 *		r = sigmoid(W_r x + b_r + U_r h + c_r)
 *		z = sigmoid(W_z x + b_z + U_z h + c_z)
 *		n = tanh(W_n x + b_n + r (U_n h + c_n))
 *		h' = (1 - z) n + z h
 *
 * Everything that depends on x alone is one product over all tokens, and so
 * are, at the end of the backward run, the gradients of the weights and of x.
 * What remains is one small product a time step.  Sequences are taken in
 * order of falling length, so that those still running at step t are the first
 * running(t) rows of the state and no step computes a row that has ended.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

typedef struct Gru
{
	FnnProduct	product;
	int64_t		tokens;
	int64_t		inputs;			/* columns of x */
	int64_t		h;
	int64_t		h_padded;		/* h and 3 h in whole vectors */
	int64_t		gates_padded;
	int32_t		count;			/* sequences that are not empty */
	int32_t		steps;			/* of the longest */
	int32_t    *start;			/* [count] first tokens, longest sequence first */
	int32_t    *running;		/* [steps] sequences longer than the step */
	fnn_real   *gates;			/* [tokens, 4 h] r, z, n and U_n h + c_n; kept when recording */
} Gru;

/* Sets start and running, sorting sequences by length in one count. */
static void
order_by_length(FnnArena *arena, Gru *gru, const FnnSequences *sequences)
{
	int32_t    *place;

	for (int32_t s = 0; s < sequences->count; s++)
	{
		int32_t		length = sequences->offset[s + 1] - sequences->offset[s];

		gru->count += length > 0;
		gru->steps = length > gru->steps ? length : gru->steps;
	}
	gru->start = fnn_alloc(arena, (size_t) gru->count * sizeof(int32_t));
	gru->running = fnn_zalloc(arena, (size_t) gru->steps * sizeof(int32_t));
	place = fnn_alloc(arena, ((size_t) gru->steps + 1) * sizeof(int32_t));
	for (int32_t s = 0; s < sequences->count; s++)
	{
		int32_t		length = sequences->offset[s + 1] - sequences->offset[s];

		if (length > 0)
			gru->running[length - 1]++;
	}
	/* sequences of length l begin behind the longer ones */
	for (int32_t l = gru->steps, longer = 0; l > 0; l--)
	{
		place[l] = longer;
		longer += gru->running[l - 1];
		gru->running[l - 1] = longer;
	}
	for (int32_t s = 0; s < sequences->count; s++)
	{
		int32_t		length = sequences->offset[s + 1] - sequences->offset[s];

		if (length > 0)
			gru->start[place[length]++] = sequences->offset[s];
	}
}

/*
 * One token: from_x[3 h] = W x + b (both biases of r and z included), from_h[3 h] =
 * U h, hidden_bias[h] = c_n, state[h] the old and then the new h; gates[4 h].
 */
static FNN_CLONES void
token_forward(int64_t h, const fnn_real *restrict from_x, const fnn_real *restrict from_h,
			  const fnn_real *restrict hidden_bias, fnn_real *restrict state,
			  fnn_real *restrict gates, fnn_real *restrict y)
{
	FNN_SIMD
	for (int64_t c = 0; c < h; c++)
	{
		fnn_real	r = fnn_sigmoid(from_x[c] + from_h[c]);
		fnn_real	z = fnn_sigmoid(from_x[h + c] + from_h[h + c]);
		fnn_real	pre = from_h[2 * h + c] + hidden_bias[c];
		fnn_real	n = fnn_tanh(from_x[2 * h + c] + r * pre);
		fnn_real	next = n + z * (state[c] - n);

		gates[c] = r;
		gates[h + c] = z;
		gates[2 * h + c] = n;
		gates[3 * h + c] = pre;
		state[c] = next;
		y[c] = next;
	}
}

/*
 * One token: dy[h] and dstate[h] (from the next step) arrive; d_x[3 h] and
 * d_h[3 h] are the gradients of from_x and from_h, and dstate becomes the part
 * of the previous state's gradient that does not go through from_h.
 */
static FNN_CLONES void
token_backward(int64_t h, const fnn_real *restrict gates, const fnn_real *restrict previous,
			   const fnn_real *restrict dy, fnn_real *restrict dstate,
			   fnn_real *restrict d_x, fnn_real *restrict d_h)
{
	FNN_SIMD
	for (int64_t c = 0; c < h; c++)
	{
		fnn_real	r = gates[c];
		fnn_real	z = gates[h + c];
		fnn_real	n = gates[2 * h + c];
		fnn_real	d = dy[c] + dstate[c];
		fnn_real	dn = d * (1 - z) * (1 - n * n);
		fnn_real	dr = dn * gates[3 * h + c] * r * (1 - r);
		fnn_real	dz = d * (previous[c] - n) * z * (1 - z);

		d_x[c] = dr;
		d_x[h + c] = dz;
		d_x[2 * h + c] = dn;
		d_h[c] = dr;
		d_h[h + c] = dz;
		d_h[2 * h + c] = dn * r;
		dstate[c] = d * z;
	}
}

/* from_x[tokens, 3 h] = x W_inᵀ + b_in, and for r and z also b_hidden */
static fnn_real *
project_inputs(FnnTape *tape, const Gru *gru, const FnnTensor *x, const FnnTensor *w_in,
			   const FnnTensor *b_in, const FnnTensor *b_hidden)
{
	int64_t		h = gru->h;
	fnn_real   *from_x = fnn_alloc_reals(tape->arena, gru->tokens, 3 * h);

	for (int64_t i = 0; i < gru->tokens; i++)
		for (int64_t c = 0; c < 3 * h; c++)
			from_x[i * 3 * h + c] = b_in->value[c] + (c < 2 * h ? b_hidden->value[c] : 0);
	fnn_gemm(tape->host, false, true, gru->tokens, 3 * h, gru->inputs, 1, x->value, gru->inputs,
			 w_in->value, gru->inputs, 1, from_x, 3 * h);
	return from_x;
}

static void
run_forward(FnnTape *tape, Gru *gru, const fnn_real *from_x, const FnnTensor *w_hidden,
			const FnnTensor *b_hidden, fnn_real *y)
{
	int64_t		h = gru->h;
	bool		keep = gru->gates != NULL;
	fnn_real   *across = fnn_alloc_reals(tape->arena, h, gru->gates_padded);	/* w_hidden transposed */
	fnn_real   *state = fnn_zalloc(tape->arena, (size_t) (gru->count * h) * sizeof(fnn_real));
	fnn_real   *from_h = fnn_alloc_reals(tape->arena, gru->count, gru->gates_padded);
	fnn_real   *gates = keep ? gru->gates : fnn_alloc_reals(tape->arena, 1, 4 * h);

	fnn_transpose(3 * h, h, 1, w_hidden->value, h, gru->gates_padded, across, gru->gates_padded);
	for (int32_t t = 0; t < gru->steps; t++)
	{
		fnn_poll(tape->host);
		gru->product(gru->running[t], gru->gates_padded, h, state, h, 1, across, gru->gates_padded,
					 false, from_h, gru->gates_padded);
		for (int32_t i = 0; i < gru->running[t]; i++)
		{
			int64_t		token = gru->start[i] + t;

			token_forward(h, from_x + token * 3 * h, from_h + i * gru->gates_padded,
						  b_hidden->value + 2 * h, state + i * h,
						  keep ? gates + token * 4 * h : gates, y + token * h);
		}
	}
}

/* Back through time: fills d_x and d_h [tokens, 3 h]. */
static void
run_backward(FnnTape *tape, const Gru *gru, const FnnTensor *w_hidden, const FnnTensor *y,
			 fnn_real *d_x, fnn_real *d_h)
{
	int64_t		h = gru->h;
	int64_t		hp = gru->h_padded;
	fnn_real   *along = fnn_alloc_reals(tape->arena, 3 * h, hp);	/* w_hidden */
	fnn_real   *dstate = fnn_zalloc(tape->arena, (size_t) (gru->count * hp) * sizeof(fnn_real));
	fnn_real   *gathered = fnn_alloc_reals(tape->arena, gru->count, 3 * h);
	fnn_real   *zero = fnn_zalloc(tape->arena, (size_t) h * sizeof(fnn_real));

	fnn_widen(3 * h, h, w_hidden->value, h, hp, along);
	for (int32_t t = gru->steps - 1; t >= 0; t--)
	{
		fnn_poll(tape->host);
		for (int32_t i = 0; i < gru->running[t]; i++)
		{
			int64_t		token = gru->start[i] + t;

			token_backward(h, gru->gates + token * 4 * h, t > 0 ? y->value + (token - 1) * h : zero,
						   y->grad + token * h, dstate + i * hp, d_x + token * 3 * h, gathered + i * 3 * h);
			memcpy(d_h + token * 3 * h, gathered + i * 3 * h, (size_t) (3 * h) * sizeof(fnn_real));
		}
		if (t > 0)
			gru->product(gru->running[t], hp, 3 * h, gathered, 3 * h, 1, along, hp, true, dstate, hp);
	}
}

static void
add_column_sums(int64_t rows, int64_t cols, const fnn_real *x, fnn_real *sum)
{
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			sum[c] += x[r * cols + c];
}

static void
gru_backward(FnnTape *tape, FnnNode *node)
{
	const Gru  *gru = node->saved;
	const FnnHost *host = tape->host;
	FnnTensor  *x = node->in[0];
	FnnTensor  *w_in = node->in[1];
	FnnTensor  *w_hidden = node->in[2];
	FnnTensor  *b_in = node->in[3];
	FnnTensor  *b_hidden = node->in[4];
	int64_t		n = gru->tokens;
	int64_t		h = gru->h;
	FnnMark		mark = fnn_arena_mark(tape->arena);
	fnn_real   *d_x = fnn_alloc_reals(tape->arena, n, 3 * h);
	fnn_real   *d_h = fnn_alloc_reals(tape->arena, n, 3 * h);

	run_backward(tape, gru, w_hidden, node->out, d_x, d_h);
	if (x->grad != NULL)
		fnn_gemm(host, false, false, n, gru->inputs, 3 * h, 1, d_x, 3 * h,
				 w_in->value, gru->inputs, 1, x->grad, gru->inputs);
	if (w_in->grad != NULL)
		fnn_gemm(host, true, false, 3 * h, gru->inputs, n, 1, d_x, 3 * h,
				 x->value, gru->inputs, 1, w_in->grad, gru->inputs);
	if (b_in->grad != NULL)
		add_column_sums(n, 3 * h, d_x, b_in->grad);
	if (b_hidden->grad != NULL)
		add_column_sums(n, 3 * h, d_h, b_hidden->grad);
	if (w_hidden->grad != NULL && n > 1)
	{
		/* the state before a token is the output of the token before, but for first tokens */
		for (int32_t i = 0; i < gru->count; i++)
			memset(d_h + (int64_t) gru->start[i] * 3 * h, 0, (size_t) (3 * h) * sizeof(fnn_real));
		fnn_gemm(host, true, false, 3 * h, h, n - 1, 1, d_h + 3 * h, 3 * h,
				 node->out->value, h, 1, w_hidden->grad, h);
	}
	fnn_arena_reset(tape->arena, mark);
}

FnnTensor *
fnn_gru(FnnTape *tape, FnnTensor *x, FnnTensor *w_in, FnnTensor *w_hidden,
		FnnTensor *b_in, FnnTensor *b_hidden, const FnnSequences *sequences)
{
	Gru		   *gru = fnn_zalloc(tape->arena, sizeof(Gru));
	FnnTensor  *y;
	FnnNode    *node;
	FnnMark		mark;

	fnn_refuse_view(tape, x);
	fnn_refuse_view(tape, w_in);
	fnn_refuse_view(tape, w_hidden);
	fnn_refuse_view(tape, b_in);
	fnn_refuse_view(tape, b_hidden);
	gru->product = fnn_product_best();
	gru->tokens = x->rows;
	gru->inputs = x->cols;
	gru->h = w_hidden->cols;
	gru->h_padded = fnn_lanes(gru->h);
	gru->gates_padded = fnn_lanes(3 * gru->h);
	if (w_hidden->rows != 3 * gru->h || w_in->rows != 3 * gru->h || w_in->cols != x->cols ||
		b_in->cols != 3 * gru->h || b_hidden->cols != 3 * gru->h ||
		sequences->offset[sequences->count] != x->rows)
		fnn_fail(tape->host, FNN_INVALID, "shapes of a gru of width %lld over %lld tokens do not fit",
				 (long long) gru->h, (long long) x->rows);
	order_by_length(tape->arena, gru, sequences);

	y = fnn_result(tape, x->rows, gru->h,
				   fnn_has_grad(x) || fnn_has_grad(w_in) || fnn_has_grad(w_hidden) ||
				   fnn_has_grad(b_in) || fnn_has_grad(b_hidden));
	node = fnn_record(tape, gru_backward, y);
	if (node != NULL)
	{
		gru->gates = fnn_alloc_reals(tape->arena, gru->tokens, 4 * gru->h);
		node->saved = gru;
		node->in[0] = x;
		node->in[1] = w_in;
		node->in[2] = w_hidden;
		node->in[3] = b_in;
		node->in[4] = b_hidden;
	}
	mark = fnn_arena_mark(tape->arena);
	run_forward(tape, gru, project_inputs(tape, gru, x, w_in, b_in, b_hidden), w_hidden, b_hidden, y->value);
	fnn_arena_reset(tape->arena, mark);
	return y;
}

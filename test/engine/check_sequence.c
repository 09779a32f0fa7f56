/*
 * check_sequence.c
 *	  Attention and GRU over packed sequences, against plain loops in double
 *	  precision and finite differences.
 */
#include <math.h>
#include <string.h>

#include "check.h"

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

/* ---------------------------------------------------------------- batches */

typedef struct Batch
{
	const char *name;
	int			count;
	int			length[6];
	int			basket;			/* most tokens that see each other; 0: none do */
} Batch;

static const Batch batches[] = {
	{"no sequence", 0, {0}},
	{"one token", 1, {1}},
	{"two tokens", 1, {2}},
	{"lengths 7 and 2", 2, {7, 2}},
	{"lengths 0 3 0 1 5 0", 6, {0, 3, 0, 1, 5, 0}},
	{"only empty sequences", 3, {0, 0, 0}},
	{"length 65", 1, {65}},
	{"lengths 33 0 2 40", 4, {33, 0, 2, 40}},
	{"lengths 1 170 32", 3, {1, 170, 32}},
	{"lengths 7 and 2 in baskets", 2, {7, 2}, 2},
	{"lengths 33 0 2 40 in baskets", 4, {33, 0, 2, 40}, 9},
	{"lengths 3 and 190 in large baskets", 2, {3, 190}, 150},
};

#define N_BATCHES ((int) (sizeof(batches) / sizeof(batches[0])))

/* Baskets of 1, 3, 5, … tokens and then of batch->basket each, which a sequence's end may cut. */
static int32_t *
reach_of(const Batch *batch, int32_t tokens)
{
	int32_t    *reach = fnn_alloc(check_arena(), ((size_t) tokens + 1) * sizeof(int32_t));
	int32_t		t = 0;

	for (int s = 0; s < batch->count; s++)
		for (int32_t end = 0, size = 1; end < batch->length[s]; size += 2)
		{
			int32_t		begin = end;

			end += size < batch->basket ? size : batch->basket;
			end = end < batch->length[s] ? end : batch->length[s];
			for (; begin < end; begin++)
				reach[t++] = end;
		}
	return reach;
}

static FnnSequences
sequences_of(const Batch *batch)
{
	int32_t    *offset = fnn_alloc(check_arena(), ((size_t) batch->count + 1) * sizeof(int32_t));
	FnnSequences sequences = {.count = batch->count, .offset = offset};

	offset[0] = 0;
	for (int s = 0; s < batch->count; s++)
		offset[s + 1] = offset[s] + batch->length[s];
	if (batch->basket > 0)
		sequences.reach = reach_of(batch, offset[batch->count]);
	return sequences;
}

static void
compare(const char *what, int64_t n, const fnn_real *got, const double *expected)
{
	double		worst = 0;

	for (int64_t i = 0; i < n; i++)
	{
		double		error = fabs((double) got[i] - expected[i]) / fmax(1, fabs(expected[i]));

		worst = error <= worst ? worst : error;
	}
	CHECK(worst <= EXACT, "%s is off by %g", what, worst);
}

/* ---------------------------------------------------------------- attention */

typedef struct Attend
{
	FnnSequences sequences;
	int			heads;
	double		dropout;
	bool		last_only;
} Attend;

static void
run_attention(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Attend *a = context;

	check_loss(tape, fnn_attention(tape, inputs[0], inputs[1], &a->sequences, a->heads, a->dropout, a->last_only));
}

static FnnTensor *
attend(const Attend *a, bool record, FnnTensor *query, FnnTensor *key_value)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), record, 1, 2);
	return fnn_attention(&tape, query, key_value, &a->sequences, a->heads, a->dropout, a->last_only);
}

/* One query over keys first .. last; out[width] */
static void
naive_query(const fnn_real *query, const FnnTensor *key_value, int64_t first, int64_t last,
			int64_t d, int64_t width, int64_t head, double *out)
{
	double	   *p = fnn_alloc(check_arena(), (size_t) (last - first + 1) * sizeof(double));
	double		max = -INFINITY;
	double		sum = 0;

	for (int64_t j = first; j <= last; j++)
	{
		double		s = 0;

		for (int64_t c = 0; c < width; c++)
			s += (double) query[head * width + c] * (double) key_value->value[j * 2 * d + head * width + c];
		p[j - first] = s / sqrt((double) width);
		max = fmax(max, p[j - first]);
	}
	for (int64_t j = first; j <= last; j++)
		sum += p[j - first] = exp(p[j - first] - max);
	for (int64_t c = 0; c < width; c++)
		out[c] = 0;
	for (int64_t j = first; j <= last; j++)
		for (int64_t c = 0; c < width; c++)
			out[c] += p[j - first] / sum * (double) key_value->value[j * 2 * d + d + head * width + c];
}

static double *
naive_attention(const FnnTensor *query, const FnnTensor *key_value, const Attend *a)
{
	int64_t		d = query->cols;
	int64_t		width = d / a->heads;
	double	   *out = fnn_zalloc(check_arena(), (size_t) (query->rows * d + 1) * sizeof(double));

	for (int32_t s = 0; s < a->sequences.count; s++)
		for (int32_t i = a->sequences.offset[s]; i < a->sequences.offset[s + 1]; i++)
			for (int64_t head = 0; head < a->heads; head++)
			{
				int64_t		row = a->last_only ? s : i;
				int64_t		last = a->sequences.reach != NULL ? a->sequences.offset[s] + a->sequences.reach[i] - 1 : i;

				if (!a->last_only || i == a->sequences.offset[s + 1] - 1)
					naive_query(query->value + row * d, key_value, a->sequences.offset[s], last, d, width, head,
								out + row * d + head * width);
			}
	return out;
}

static void
check_attention_values(void)
{
	const int	heads[] = {1, 2, 4, 3};
	const int	widths[] = {64, 6, 64, 51};

	for (int b = 0; b < N_BATCHES; b++)
	{
		check_begin("attention over %s agrees with plain loops", batches[b].name);
		for (int v = 0; v < 8; v++)
		{
			FnnMark		mark = fnn_arena_mark(check_arena());
			Attend		a = {sequences_of(&batches[b]), heads[v / 2], 0, v % 2 == 1};
			int64_t		tokens = a.sequences.offset[a.sequences.count];
			int64_t		d = widths[v / 2];
			FnnTensor  *query = check_tensor(1, a.last_only ? a.sequences.count : tokens, d);
			FnnTensor  *key_value = check_tensor(2, tokens, 2 * d);
			double	   *expected;

			/* so that the weights are far from uniform */
			for (int64_t i = 0; i < query->rows * d; i++)
				query->value[i] *= 4;
			expected = naive_attention(query, key_value, &a);
			compare("the result", query->rows * d, attend(&a, false, query, key_value)->value, expected);
			compare("the result when recording", query->rows * d, attend(&a, true, query, key_value)->value, expected);
			fnn_arena_reset(check_arena(), mark);
		}
		check_end();
	}
}

static void
check_attention_gradients(void)
{
	for (int b = 0; b < N_BATCHES; b++)
		for (int last_only = 0; last_only < 2; last_only++)
		{
			check_begin("attention by differences: %s%s", batches[b].name, last_only ? ", last tokens" : "");
			for (int v = 0; v < 6; v++)
			{
				const int	heads[] = {1, 2, 4, 1, 2, 1};
				const int	widths[] = {3, 4, 4, 8, 4, 5};
				FnnMark		mark = fnn_arena_mark(check_arena());
				Attend		a = {sequences_of(&batches[b]), heads[v], v % 2 == 1 ? 0.3 : 0, last_only};
				int64_t		tokens = a.sequences.offset[a.sequences.count];
				FnnTensor  *query = check_tensor(1, last_only ? a.sequences.count : tokens, widths[v]);
				FnnTensor  *key_value = check_tensor(2, tokens, 2 * widths[v]);
				FnnTensor  *const inputs[] = {query, key_value};

				if (v == 4)
					query->grad = NULL;
				if (v == 5)
					key_value->grad = NULL;
				/* differences cost tokens squared: long ones once */
				if (tokens < 100 || v == 1)
					check_gradients(2, inputs, run_attention, &a);
				fnn_arena_reset(check_arena(), mark);
			}
			check_end();
		}
}

static void
check_causality(void)
{
	Attend		a = {sequences_of(&batches[8]), 2, 0, false};
	FnnTensor  *query = check_tensor(1, 203, 8);
	FnnTensor  *key_value = check_tensor(2, 203, 16);
	FnnTensor  *before = attend(&a, false, query, key_value);
	FnnTensor  *last;
	FnnTensor  *after;

	check_begin("a later token changes nothing before it, nor in another sequence; last tokens alone give the same");
	/* token 100 of the second sequence, which begins at 1 and ends before 171 */
	for (int c = 0; c < 8; c++)
		query->value[101 * 8 + c] += 1;
	for (int c = 0; c < 16; c++)
		key_value->value[101 * 16 + c] += 3;
	after = attend(&a, false, query, key_value);
	for (int64_t i = 0; i < 203; i++)
	{
		bool		same = memcmp(before->value + i * 8, after->value + i * 8, 8 * sizeof(fnn_real)) == 0;

		CHECK(same == (i < 101 || i >= 171), "token %d %s", (int) i, same ? "is the same" : "is different");
	}

	a.last_only = true;
	for (int s = 0; s < 3; s++)
		memmove(query->value + s * 8, query->value + (a.sequences.offset[s + 1] - 1) * 8, 8 * sizeof(fnn_real));
	query->rows = 3;
	last = attend(&a, false, query, key_value);
	for (int s = 0; s < 3; s++)
		for (int c = 0; c < 8; c++)
			CHECK(check_close(last->value[s * 8 + c], after->value[(a.sequences.offset[s + 1] - 1) * 8 + c], EXACT),
				  "sequence %d, column %d", s, c);
	check_end();
}

/*
 * With queries of zero all weights of token i are 1 / (i + 1); with values that
 * are unit vectors the results are the weights after dropout.
 */
static void
check_attention_dropout(void)
{
	const int	length = 40;
	const int32_t offset[] = {0, length};
	Attend		a = {{.count = 1, .offset = offset}, 2, 0.25, false};
	FnnTensor  *query = check_tensor(1, length, 2 * length);
	FnnTensor  *key_value = check_tensor(2, length, 4 * length);
	FnnTensor  *out;
	FnnTensor  *without;
	int			dropped = 0;
	int			differ = 0;
	int			far = 0;
	int			weights = length * (length + 1) / 2;

	check_begin("dropout of weights: the share asked for, the rest scaled, another mask for each head and draw");
	memset(query->value, 0, (size_t) (length * 2 * length) * sizeof(fnn_real));
	for (int j = 0; j < length; j++)
		for (int c = 0; c < 2 * length; c++)
			key_value->value[j * 4 * length + 2 * length + c] = c % length == j;
	out = attend(&a, true, query, key_value);
	for (int i = 0; i < length; i++)
		for (int c = 0; c < 2 * length; c++)
		{
			double		weight = out->value[i * 2 * length + c];
			double		kept = 1 / (0.75 * (i + 1));

			CHECK(weight == 0 || (c % length <= i && check_close(weight, kept, EXACT)),
				  "token %d gives %g to key %d, expected 0 or %g", i, weight, c % length, kept);
			dropped += weight == 0 && c % length <= i;
			if (c < length && c <= i)
				differ += (weight == 0) != (out->value[i * 2 * length + length + c] == 0);
			/* keys 32 and later come in another block than the first ones */
			if (c >= 32 && c <= i)
				far += (weight == 0) != (out->value[i * 2 * length + c - 32] == 0);
		}
	CHECK(fabs((double) dropped / (2 * weights) - 0.25) < 0.05, "%d of %d weights dropped", dropped, 2 * weights);
	CHECK(fabs((double) differ / weights - 0.375) < 0.08, "%d of %d masks differ between heads", differ, weights);

	CHECK(far > 0, "key blocks share a mask");

	without = attend(&a, false, query, key_value);
	for (int i = 0; i < length; i++)
		CHECK(check_close(without->value[i * 2 * length], 1.0 / (i + 1), EXACT), "no dropout without recording");
	check_end();
}

static void
check_large_scores(void)
{
	Attend		a = {sequences_of(&batches[8]), 1, 0, false};
	FnnTensor  *query = check_tensor(1, 203, 4);
	FnnTensor  *key_value = check_tensor(2, 203, 8);
	FnnTensor  *out;

	check_begin("scores of many thousands give finite results and gradients");
	for (int i = 0; i < 203 * 4; i++)
		query->value[i] *= 20000;
	out = attend(&a, true, query, key_value);
	CHECK(fnn_all_finite(out->value, 203 * 4), "a result is not finite");
	{
		FnnTensor  *const inputs[] = {query, key_value};
		FnnTape		tape;

		fnn_tape_begin(&tape, check_arena(), true, 1, 2);
		run_attention(&tape, inputs, &a);
		fnn_tape_backward(&tape);
	}
	CHECK(fnn_all_finite(query->grad, 203 * 4) && fnn_all_finite(key_value->grad, 203 * 8),
		  "a gradient is not finite");
	check_end();
}

/* ---------------------------------------------------------------- gru */

static void
run_gru(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const FnnSequences *sequences = context;

	check_loss(tape, fnn_gru(tape, inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], sequences));
}

/* x, w_in, w_hidden, b_in, b_hidden */
static void
gru_inputs(int64_t tokens, int64_t in, int64_t h, FnnTensor **inputs)
{
	inputs[0] = check_tensor(1, tokens, in);
	inputs[1] = check_tensor(2, 3 * h, in);
	inputs[2] = check_tensor(3, 3 * h, h);
	inputs[3] = check_tensor(4, 1, 3 * h);
	inputs[4] = check_tensor(5, 1, 3 * h);
}

/* Row g of W x + b */
static double
gate(const FnnTensor *weight, const FnnTensor *bias, int64_t g, const double *x)
{
	double		sum = bias->value[g];

	for (int64_t c = 0; c < weight->cols; c++)
		sum += (double) weight->value[g * weight->cols + c] * x[c];
	return sum;
}

static double *
naive_gru(FnnTensor *const *inputs, const FnnSequences *sequences)
{
	int64_t		in = inputs[0]->cols;
	int64_t		h = inputs[2]->cols;
	double	   *y = fnn_zalloc(check_arena(), (size_t) (inputs[0]->rows * h + 1) * sizeof(double));
	double	   *x = fnn_alloc(check_arena(), (size_t) in * sizeof(double));
	double	   *state = fnn_alloc(check_arena(), (size_t) h * sizeof(double));

	for (int32_t s = 0; s < sequences->count; s++)
	{
		memset(state, 0, (size_t) h * sizeof(double));
		for (int32_t i = sequences->offset[s]; i < sequences->offset[s + 1]; i++)
		{
			for (int64_t c = 0; c < in; c++)
				x[c] = inputs[0]->value[i * in + c];
			for (int64_t c = 0; c < h; c++)
			{
				double		g[6];
				double		n;

				for (int k = 0; k < 3; k++)
				{
					g[k] = gate(inputs[1], inputs[3], k * h + c, x);
					g[3 + k] = gate(inputs[2], inputs[4], k * h + c, state);
				}
				n = tanh(g[2] + g[5] / (1 + exp(-g[0] - g[3])));
				y[i * h + c] = n + (state[c] - n) / (1 + exp(-g[1] - g[4]));
			}
			memcpy(state, y + i * h, (size_t) h * sizeof(double));
		}
	}
	return y;
}

static void
check_gru_values(void)
{
	const int	widths[][2] = {{1, 1}, {3, 5}, {16, 16}, {64, 33}};

	for (int b = 0; b < N_BATCHES; b++)
	{
		check_begin("gru over %s agrees with plain loops", batches[b].name);
		for (int v = 0; v < 4; v++)
		{
			FnnMark		mark = fnn_arena_mark(check_arena());
			FnnSequences sequences = sequences_of(&batches[b]);
			FnnTensor  *inputs[5];
			FnnTape		tape;

			gru_inputs(sequences.offset[sequences.count], widths[v][0], widths[v][1], inputs);
			for (int record = 0; record < 2; record++)
			{
				fnn_tape_begin(&tape, check_arena(), record, 1, 1);
				compare(record ? "the result when recording" : "the result", inputs[0]->rows * widths[v][1],
						fnn_gru(&tape, inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], &sequences)->value,
						naive_gru(inputs, &sequences));
			}
			fnn_arena_reset(check_arena(), mark);
		}
		check_end();
	}
}

static void
check_gru_gradients(void)
{
	for (int b = 0; b < N_BATCHES; b++)
	{
		check_begin("gru by differences: %s", batches[b].name);
		for (int v = 0; v < 7; v++)
		{
			FnnMark		mark = fnn_arena_mark(check_arena());
			FnnSequences sequences = sequences_of(&batches[b]);
			FnnTensor  *inputs[5];

			gru_inputs(sequences.offset[sequences.count], 2 + v % 3, v == 1 ? 8 : 3, inputs);
			/* each of the inputs frozen once */
			if (v >= 2)
				inputs[v - 2]->grad = NULL;
			if (sequences.offset[sequences.count] < 100 || v == 0)
				check_gradients(5, inputs, run_gru, &sequences);
			fnn_arena_reset(check_arena(), mark);
		}
		check_end();
	}
}

/* ---------------------------------------------------------------- arguments */

typedef struct Call
{
	FnnTensor  *query;
	FnnTensor  *key_value;
	Attend		a;
} Call;

static void
call_attention(void *context)
{
	Call	   *call = context;

	attend(&call->a, true, call->query, call->key_value);
}

static void
call_gru(void *context)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 1, 2);
	run_gru(&tape, context, &((Attend *) (((FnnTensor **) context)[5]))->sequences);
}

static void
check_arguments(void)
{
	const int32_t offset[] = {0, 2, 5};
	Call		call = {check_tensor(1, 5, 6), check_tensor(2, 5, 12), {{2, offset}, 4, 0, false}};
	FnnTensor  *gru[6];

	check_begin("shapes that do not fit are refused");
	check_fails(FNN_INVALID, "width 6 with 4 heads", call_attention, &call);
	call.a.heads = 0;
	check_fails(FNN_INVALID, "do not fit", call_attention, &call);
	call.a.heads = 2;
	call.a.last_only = true;
	check_fails(FNN_INVALID, "do not fit", call_attention, &call);
	call.a.last_only = false;
	call.key_value = check_tensor(2, 4, 12);
	check_fails(FNN_INVALID, "do not fit", call_attention, &call);
	call.key_value = check_tensor(2, 5, 6);
	check_fails(FNN_INVALID, "do not fit", call_attention, &call);
	call.key_value = check_tensor(2, 5, 12);
	call.a.dropout = 1;
	check_fails(FNN_INVALID, "dropout", call_attention, &call);

	gru_inputs(5, 3, 4, gru);
	gru[5] = (FnnTensor *) &call.a;
	gru[1] = check_tensor(1, 12, 4);
	check_fails(FNN_INVALID, "do not fit", call_gru, gru);
	gru_inputs(4, 3, 4, gru);
	check_fails(FNN_INVALID, "do not fit", call_gru, gru);
	check_end();
}

void
check_sequence_operations(void)
{
	check_attention_values();
	check_attention_gradients();
	check_causality();
	check_attention_dropout();
	check_large_scores();
	check_gru_values();
	check_gru_gradients();
	check_arguments();
}

/*
 * check_mixture.c
 *	  What mixtures of experts are computed with: views of columns, gates,
 *	  running means, adapters, item graphs, and their losses; against plain
 *	  loops, by identities, and by finite differences.
 */
#include <math.h>
#include <string.h>

#include "check.h"
#include "../../src/nn/product.h"
#include "../../src/nn/tape_private.h"

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

typedef void (*Run) (FnnTape *tape, FnnTensor *const *inputs, void *context);

#define INPUTS_MAX 6

/* A copy that takes its gradient by touched rows. */
static FnnTensor *
sparse_copy(const FnnTensor *dense)
{
	FnnTensor  *tensor = fnn_alloc(check_arena(), sizeof(FnnTensor));

	*tensor = *dense;
	tensor->grad = NULL;
	tensor->sparse = fnn_alloc(check_arena(), sizeof(FnnSparse));
	fnn_sparse_init(tensor->sparse,
					fnn_alloc(check_arena(), fnn_sparse_bytes(check_host(), dense->rows, dense->cols, dense->rows)),
					dense->rows, dense->cols, dense->rows);
	return tensor;
}

/* Loss of a run, and with_backward its gradients. */
static double
loss_of(FnnTensor *const *inputs, Run run, void *context, bool record)
{
	FnnMark		mark = fnn_arena_mark(check_arena());
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), record, 12345, 67);
	run(&tape, inputs, context);
	CHECK(record || tape.last == NULL, "something was recorded");
	fnn_tape_backward(&tape);
	fnn_arena_reset(check_arena(), mark);
	return tape.loss;
}

/* By differences, with every input, and each of them frozen in turn; and without recording. */
static void
check_operation(int n, FnnTensor *const *inputs, Run run, void *context)
{
	FnnTensor	copies[INPUTS_MAX];
	FnnTensor  *variant[INPUTS_MAX];

	for (int frozen = -1; frozen < n; frozen++)
	{
		for (int i = 0; i < n; i++)
		{
			copies[i] = *inputs[i];
			variant[i] = &copies[i];
		}
		if (frozen >= 0)
		{
			copies[frozen].grad = NULL;
			copies[frozen].sparse = NULL;
		}
		check_gradients(n, variant, run, context);
	}
	CHECK(loss_of(inputs, run, context, false) == loss_of(inputs, run, context, true),
		  "a run that is not recorded gives another loss");
	for (int i = 0; i < n; i++)
		if (inputs[i]->grad != NULL)
			memset(inputs[i]->grad, 0, (size_t) (inputs[i]->rows * inputs[i]->cols) * sizeof(fnn_real));
		else if (inputs[i]->sparse != NULL)
			fnn_sparse_clear(inputs[i]->sparse);
}

static bool
same(int64_t n, const fnn_real *a, const fnn_real *b)
{
	return memcmp(a, b, (size_t) n * sizeof(fnn_real)) == 0;
}

/* n numbers below bound, with repeats; leave -1 in about a tenth of them */
static int32_t *
numbers(uint64_t seed, int64_t n, int64_t bound, bool some_missing)
{
	int32_t    *number = fnn_alloc(check_arena(), ((size_t) n + 1) * sizeof(int32_t));

	for (int64_t i = 0; i < n; i++)
		number[i] = some_missing && fnn_random_uniform(seed, 1, i) < 0.1 ? -1 :
			(int32_t) fnn_random_below(seed, 0, i, bound);
	return number;
}

/* Items followed by none, few or many others. */
static FnnGraph *
random_graph(int64_t items)
{
	FnnGraph   *graph = fnn_alloc(check_arena(), sizeof(FnnGraph));
	int64_t    *offset = fnn_zalloc(check_arena(), (size_t) (items + 1) * sizeof(int64_t));
	int32_t    *to = fnn_alloc(check_arena(), (size_t) (items * items) * sizeof(int32_t));
	float	   *weight = fnn_alloc(check_arena(), (size_t) (items * items) * sizeof(float));
	int64_t		edges = 0;

	for (int64_t i = 0; i < items; i++)
	{
		for (int64_t j = 0; j < items; j++)
			if (fnn_random_uniform(11, i, j) < 0.3 * (double) (i % 4))
			{
				to[edges] = (int32_t) j;
				weight[edges++] = (float) fnn_random_normal(12, i, 2 * j);
			}
		offset[i + 1] = edges;
	}
	graph->offset = offset;
	graph->to = to;
	graph->weight = weight;
	return graph;
}

/* ---------------------------------------------------------------- views of columns */

typedef struct View
{
	int64_t		first;
	int64_t		cols;
	int64_t		n;
	const int32_t *target;		/* [n] */
	const int32_t *id;			/* [n] */
	const int32_t *negative;	/* [5] */
	const FnnGraph *graph;		/* over the items */
	bool		copied;			/* inputs[1] is the columns themselves */
} View;

/* All that take a view, of inputs[1]; inputs[0] are hidden rows. */
static void
run_view(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const View *v = context;
	FnnTensor  *table = inputs[1];

	if (!v->copied)
		table = fnn_columns(tape, fnn_columns(tape, table, v->first, table->cols - v->first), 0, v->cols);
	fnn_softmax_loss(tape, inputs[0], table, v->target, 0.7);
	fnn_gbce_loss(tape, inputs[0], table, v->target, v->negative, 5, 0.3, 0.4);
	check_loss(tape, fnn_embed(tape, table, v->id, v->n, 1.5, NULL, NULL));
	check_loss(tape, fnn_neighbours(tape, table, v->graph, v->id, v->n, 0));
}

/* The columns on their own give the same bits, and no other column gets a gradient. */
static void
check_view_against_copy(FnnTensor *hidden, FnnTensor *table, View *v)
{
	FnnTensor  *columns = check_tensor(9, table->rows, v->cols);
	FnnTensor  *other_hidden = check_tensor(1, hidden->rows, hidden->cols);
	FnnTensor  *const inputs[] = {hidden, table};
	FnnTensor  *const others[] = {other_hidden, columns};
	View		copied = *v;
	double		loss;

	for (int64_t r = 0; r < table->rows; r++)
		memcpy(columns->value + r * v->cols, table->value + r * table->cols + v->first,
			   (size_t) v->cols * sizeof(fnn_real));
	memcpy(other_hidden->value, hidden->value, (size_t) (hidden->rows * hidden->cols) * sizeof(fnn_real));
	copied.copied = true;
	loss = loss_of(inputs, run_view, v, true);
	CHECK(loss == loss_of(others, run_view, &copied, true), "another loss than of the columns on their own");
	CHECK(same(hidden->rows * hidden->cols, hidden->grad, other_hidden->grad), "another gradient of the hidden rows");
	for (int64_t r = 0; r < table->rows; r++)
		for (int64_t c = 0; c < table->cols; c++)
		{
			bool		inside = c >= v->first && c < v->first + v->cols;

			CHECK(table->grad[r * table->cols + c] == (inside ? columns->grad[r * v->cols + c - v->first] : 0),
				  "gradient of row %d column %d", (int) r, (int) c);
		}
	memset(hidden->grad, 0, (size_t) (hidden->rows * hidden->cols) * sizeof(fnn_real));
	memset(table->grad, 0, (size_t) (table->rows * table->cols) * sizeof(fnn_real));
}

static void
check_views(void)
{
	/* rows, items, width of the table, first column, columns */
	static const int64_t shapes[][5] = {
		{1, 1, 1, 0, 1}, {3, 5, 7, 2, 3}, {9, 40, 21, 5, 16}, {4, 133, 24, 8, 16}, {20, 9, 33, 0, 17}
	};

	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		int64_t		n = shapes[s][0];
		int64_t		items = shapes[s][1];
		View		v = {shapes[s][3], shapes[s][4], n, numbers(5, n, items, true), numbers(6, n, items, false),
		numbers(7, 5, items, false), random_graph(items), false};
		FnnTensor  *inputs[] = {check_tensor(1, n, v.cols), check_tensor(2, items, shapes[s][2])};

		check_begin("columns %d to %d of a table of %d x %d", (int) v.first, (int) (v.first + v.cols - 1),
					(int) items, (int) shapes[s][2]);
		check_view_against_copy(inputs[0], inputs[1], &v);
		check_operation(2, inputs, run_view, &v);
		inputs[1] = sparse_copy(inputs[1]);
		check_operation(2, inputs, run_view, &v);
		check_end();
	}
}

/* What to do with a view of inputs[0] that must fail. */
typedef struct Refusal
{
	FnnTensor  *table;			/* [4, 6] */
	int			which;
} Refusal;

static void
use_view(void *context)
{
	static const int32_t offset[] = {0, 4};
	static const int32_t zeros[] = {0, 0, 0, 0};
	const Refusal *refusal = context;
	const FnnSequences sequences = {1, offset};
	FnnTensor  *plain = check_tensor(3, 4, 3);
	FnnTensor  *row = check_tensor(4, 1, 3);
	FnnTensor  *view;
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	view = fnn_columns(&tape, refusal->table, 1, 3);
	switch (refusal->which)
	{
		case 0:
			fnn_linear(&tape, view, plain, NULL, FNN_IDENTITY);
			break;
		case 1:
			fnn_linear(&tape, plain, view, NULL, FNN_IDENTITY);
			break;
		case 2:
			fnn_embed(&tape, plain, zeros, 1, 1, view, zeros);
			break;
		case 3:
			fnn_layer_norm(&tape, view, row, row, 1e-3);
			break;
		case 4:
			fnn_dropout(&tape, view, 0);
			break;
		case 5:
			fnn_add_dropout(&tape, plain, view, 0);
			break;
		case 6:
			fnn_rows(&tape, view, zeros, 1);
			break;
		case 7:
			fnn_attention(&tape, view, check_tensor(3, 4, 6), &sequences, 1, 0, false);
			break;
		case 8:
			fnn_gru(&tape, view, check_tensor(1, 6, 3), check_tensor(1, 6, 2), check_tensor(1, 1, 6),
					check_tensor(1, 1, 6), &sequences);
			break;
		case 9:
			fnn_softmax_loss(&tape, view, plain, zeros, 1);
			break;
		case 10:
			fnn_gbce_loss(&tape, view, plain, zeros, zeros, 1, 1, 1);
			break;
		case 11:
			fnn_detach(&tape, view);
			break;
	}
}

static void
cut_view(void *context)
{
	const int64_t *range = context;
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	fnn_columns(&tape, check_tensor(1, 4, 6), range[0], range[1]);
}

static void
check_refused_views(void)
{
	static const int64_t ranges[][2] = {{-1, 2}, {0, 0}, {0, 7}, {5, 2}, {7, 1}, {INT64_MAX, 1}, {1, INT64_MAX}};
	Refusal		refusal = {check_tensor(1, 4, 6), 0};

	check_begin("views are refused where they cannot be read, and columns that are not there");
	for (refusal.which = 0; refusal.which <= 11; refusal.which++)
		check_fails(FNN_INVALID, "view of a table's columns", use_view, &refusal);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		check_fails(FNN_INVALID, "a table of 6 columns has no", cut_view, (void *) ranges[i]);
	check_end();
}

/* ---------------------------------------------------------------- parts side by side */

typedef struct Plan
{
	int			n;				/* parts, or top */
	FnnSequences sequences;
	const bool *allowed;
	const fnn_real *wanted;
	double		scale;
} Plan;

static void
run_concat(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Plan *plan = context;

	check_loss(tape, fnn_concat(tape, plan->n, inputs));
}

/* inputs: weight, parts */
static void
run_gate(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Plan *plan = context;

	check_loss(tape, fnn_gate(tape, plan->n, inputs + 1, inputs[0]));
}

static void
check_gate_values(FnnTensor *const *inputs, int n)
{
	FnnTensor  *weight = inputs[0];
	FnnTensor  *const *parts = inputs + 1;
	int64_t		rows = weight->rows;
	FnnTensor  *whole;
	FnnTensor  *gated;
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	whole = fnn_concat(&tape, n, parts);
	for (int64_t r = 0; r < rows; r++)
	{
		int64_t		at = r * whole->cols;

		for (int p = 0; p < n; at += parts[p++]->cols)
			CHECK(same(parts[p]->cols, whole->value + at, parts[p]->value + r * parts[p]->cols),
				  "row %d of part %d", (int) r, p);
	}
	gated = fnn_gate(&tape, n, parts, weight);
	for (int64_t r = 0; r < rows; r++)
	{
		int64_t		at = r * whole->cols;

		for (int p = 0; p < n; at += parts[p++]->cols)
			for (int64_t c = 0; c < parts[p]->cols; c++)
				CHECK(gated->value[at + c] == weight->value[r * weight->cols + p] * whole->value[at + c],
					  "row %d of part %d, weighted", (int) r, p);
	}
	/* all weight on one part: that part's bits, and nothing elsewhere, whatever is there */
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < weight->cols; c++)
			weight->value[r * weight->cols + c] = c == r % n;
	if (n > 1 && rows > 0)
		parts[1]->value[0] = NAN;
	gated = fnn_gate(&tape, n, parts, weight);
	for (int64_t r = 0; r < rows; r++)
	{
		int64_t		at = r * whole->cols;

		for (int p = 0; p < n; at += parts[p++]->cols)
			for (int64_t c = 0; c < parts[p]->cols; c++)
				CHECK(p == r % n ? same(1, gated->value + at + c, whole->value + at + c) : gated->value[at + c] == 0,
					  "row %d of part %d with all weight on part %d", (int) r, p, (int) (r % n));
	}
}

static void
check_parts(void)
{
	/* rows, parts, columns of the weight, of the first part, how much wider each next is */
	static const int64_t shapes[][5] = {{1, 1, 1, 1, 0}, {3, 2, 4, 5, 3}, {6, 4, 4, 1, 9}, {0, 2, 2, 3, 0}};

	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		Plan		plan = {.n = (int) shapes[s][1]};
		FnnTensor  *inputs[INPUTS_MAX];

		check_begin("%d parts side by side, %d rows", plan.n, (int) shapes[s][0]);
		inputs[0] = check_tensor(9, shapes[s][0], shapes[s][2]);
		for (int p = 0; p < plan.n; p++)
			inputs[p + 1] = check_tensor(p, shapes[s][0], shapes[s][3] + p * shapes[s][4]);
		check_operation(plan.n, inputs + 1, run_concat, &plan);
		check_operation(plan.n + 1, inputs, run_gate, &plan);
		for (int64_t r = 0; r < shapes[s][0]; r++)
			inputs[0]->value[r * shapes[s][2]] = 0;
		check_gradients(plan.n + 1, inputs, run_gate, &plan);
		check_gate_values(inputs, plan.n);
		check_end();
	}
}

/* Only what does not go through the detached copy gives x a gradient. */
static void
run_detach(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	FnnTensor  *x = fnn_linear(tape, inputs[0], inputs[1], NULL, FNN_TANH);
	FnnTensor  *y = fnn_detach(tape, x);

	CHECK(!fnn_has_grad(y) && y->value == x->value, "a detached tensor has a gradient or other values");
	check_loss(tape, fnn_linear(tape, y, inputs[2], NULL, FNN_GELU));
}

static void
check_detach(void)
{
	FnnTensor  *inputs[] = {check_tensor(1, 4, 3), check_tensor(2, 5, 3), check_tensor(3, 2, 5)};

	check_begin("a detached tensor lets no gradient through");
	loss_of(inputs, run_detach, NULL, true);
	for (int i = 0; i < 12; i++)
		CHECK(inputs[0]->grad[i] == 0, "a gradient reached the input");
	for (int i = 0; i < 15; i++)
		CHECK(inputs[1]->grad[i] == 0, "a gradient reached the first weight");
	CHECK(inputs[2]->grad[0] != 0, "no gradient reached the second weight");
	memset(inputs[2]->grad, 0, 10 * sizeof(fnn_real));
	inputs[0]->grad = NULL;
	inputs[1]->grad = NULL;
	check_gradients(3, inputs, run_detach, NULL);
	check_end();
}

/* ---------------------------------------------------------------- means */

static void
run_running_mean(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Plan *plan = context;

	check_loss(tape, fnn_running_mean(tape, inputs[0], &plan->sequences));
}

static void
run_mean(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_mean(tape, inputs[0]));
}

static void
check_running_mean(void)
{
	static const int32_t offset[] = {0, 1, 1, 4, 17};
	static const int32_t alone[] = {0, 13};
	static const int64_t widths[] = {1, 3, 16, 21};

	for (int w = 0; w < 4; w++)
	{
		int64_t		d = widths[w];
		Plan		plan = {.sequences = {4, offset}};
		FnnTensor  *x = check_tensor(1, 17, d);
		FnnTensor  *y;
		FnnTape		tape;

		check_begin("running means, width %d", (int) d);
		check_operation(1, &x, run_running_mean, &plan);
		fnn_tape_begin(&tape, check_arena(), false, 1, 1);
		y = fnn_running_mean(&tape, x, &plan.sequences);
		for (int s = 0; s < 4; s++)
			for (int t = offset[s]; t < offset[s + 1]; t++)
				for (int64_t c = 0; c < d; c++)
				{
					double		sum = 0;

					for (int before = offset[s]; before <= t; before++)
						sum += (double) x->value[before * d + c];
					CHECK(check_close(y->value[t * d + c], sum / (t - offset[s] + 1), EXACT), "token %d", t);
				}
		CHECK(same(d, y->value + d, x->value + d), "the first row of a sequence is not its own mean");
		plan.sequences.count = 1;
		plan.sequences.offset = alone;
		CHECK(same(13 * d, y->value + 4 * d,
				   fnn_running_mean(&tape, fnn_constant(&tape, 13, d, x->value + 4 * d), &plan.sequences)->value),
			  "a sequence has other means on its own");
		check_end();
	}
}

static void
check_mean(void)
{
	static const int64_t shapes[][2] = {{1, 1}, {7, 3}, {5, 21}, {40, 16}};

	for (int s = 0; s < 4; s++)
	{
		int64_t		n = shapes[s][0];
		int64_t		d = shapes[s][1];
		FnnTensor  *x = check_tensor(1, n, d);
		FnnTensor  *y;
		FnnTape		tape;

		check_begin("mean of %d rows, width %d", (int) n, (int) d);
		check_operation(1, &x, run_mean, NULL);
		fnn_tape_begin(&tape, check_arena(), true, 1, 1);
		y = fnn_mean(&tape, x);
		CHECK(y->rows == 1 && y->cols == d, "shape %d x %d", (int) y->rows, (int) y->cols);
		for (int64_t c = 0; c < d; c++)
		{
			double		sum = 0;

			for (int64_t r = 0; r < n; r++)
				sum += (double) x->value[r * d + c];
			CHECK(check_close(y->value[c], sum / (double) n, EXACT), "column %d", (int) c);
		}
		y = fnn_mean(&tape, check_tensor(1, 0, d));
		for (int64_t c = 0; c < d; c++)
			CHECK(y->value[c] == 0, "the mean of no rows is %g", (double) y->value[c]);
		fnn_tape_backward(&tape);
		check_end();
	}
}

/* ---------------------------------------------------------------- softmax */

static void
run_softmax(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Plan *plan = context;

	check_loss(tape, fnn_softmax(tape, inputs[0], plan->allowed, plan->n));
}

/* Column c is among the top of its row's allowed ones. */
static bool
is_chosen(const fnn_real *x, int64_t d, const bool *allowed, int top, int64_t c)
{
	int			before = 0;

	for (int64_t k = 0; k < d; k++)
		before += (allowed == NULL || allowed[k]) && (x[k] > x[c] || (x[k] == x[c] && k < c));
	return (allowed == NULL || allowed[c]) && (top == 0 || before < top);
}

static void
check_softmax_values(const FnnTensor *x, const FnnTensor *y, const bool *allowed, int top)
{
	int64_t		d = x->cols;

	for (int64_t r = 0; r < x->rows; r++)
	{
		const fnn_real *row = x->value + r * d;
		double		max = -INFINITY;
		double		sum = 0;

		for (int64_t c = 0; c < d; c++)
			max = is_chosen(row, d, allowed, top, c) ? fmax(max, (double) row[c]) : max;
		for (int64_t c = 0; c < d; c++)
			sum += is_chosen(row, d, allowed, top, c) ? exp((double) row[c] - max) : 0;
		for (int64_t c = 0; c < d; c++)
		{
			double		got = y->value[r * d + c];

			if (!is_chosen(row, d, allowed, top, c))
				CHECK(got == 0, "row %d column %d takes part with %g", (int) r, (int) c, got);
			else if (top == 1)
				CHECK(got == 1, "the only one of row %d has %.9g", (int) r, got);
			else
				CHECK(check_close(got, exp((double) row[c] - max) / sum, EXACT), "row %d column %d", (int) r, (int) c);
		}
	}
}

static void
check_softmax(void)
{
	static const bool some[] = {true, false, true, true, false, true, true, true};
	static const bool one[] = {false, false, true, false, false, false, false, false};
	static const bool *const masks[] = {NULL, some, one};

	for (int64_t d = 1; d <= 8; d += d < 3 ? 1 : 5)
		for (int top = 0; top <= 9; top += top < 3 ? 1 : 6)
		{
			check_begin("softmax over %d columns, top %d", (int) d, top);
			for (int m = 0; m < (d < 3 ? 2 : 3); m++)
			{
				FnnTensor  *x = check_tensor(d, 5, d);
				Plan		plan = {.n = top, .allowed = masks[m]};
				FnnTape		tape;

				check_operation(1, &x, run_softmax, &plan);
				/* far apart, and equal: the first counts */
				x->value[0] = 1000;
				x->value[5 * d - 1] = -900;
				for (int64_t c = 0; c < d; c += 2)
					x->value[d + c] = 2;
				fnn_tape_begin(&tape, check_arena(), false, 1, 1);
				check_softmax_values(x, fnn_softmax(&tape, x, plan.allowed, top), plan.allowed, top);
			}
			check_end();
		}
}

/* ---------------------------------------------------------------- item graph */

typedef struct Walk
{
	const FnnGraph *graph;
	const int32_t *id;			/* [n] */
	int64_t		n;
	double		dropout;
} Walk;

static void
run_neighbours(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Walk *walk = context;

	check_loss(tape, fnn_neighbours(tape, inputs[0], walk->graph, walk->id, walk->n, walk->dropout));
}

static void
check_neighbour_values(FnnTensor *table, const Walk *walk)
{
	int64_t		d = table->cols;
	fnn_real   *dropped = fnn_alloc_reals(check_arena(), table->rows, d);
	FnnDropout	draw;
	FnnTensor  *y;
	FnnTensor  *alone;
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 12345, 67);
	draw = fnn_dropout_draw(&tape, walk->dropout);
	fnn_dropout_mask(&draw, 0, table->rows * d, dropped);
	for (int64_t i = 0; i < table->rows * d; i++)
		dropped[i] *= table->value[i];
	fnn_tape_begin(&tape, check_arena(), true, 12345, 67);
	y = fnn_neighbours(&tape, table, walk->graph, walk->id, walk->n, walk->dropout);
	for (int64_t i = 0; i < walk->n; i++)
		for (int64_t c = 0; c < d; c++)
		{
			double		sum = 0;

			for (int64_t e = walk->graph->offset[walk->id[i]]; e < walk->graph->offset[walk->id[i] + 1]; e++)
				sum += (double) walk->graph->weight[e] * (double) dropped[walk->graph->to[e] * d + c];
			CHECK(check_close(y->value[i * d + c], sum, EXACT), "row %d column %d: %g instead of %g", (int) i, (int) c,
				  (double) y->value[i * d + c], sum);
		}
	fnn_tape_begin(&tape, check_arena(), true, 12345, 67);
	alone = fnn_neighbours(&tape, table, walk->graph, walk->id + walk->n - 1, 1, walk->dropout);
	CHECK(same(d, alone->value, y->value + (walk->n - 1) * d), "a row has other bits when it is asked for alone");
}

static void
check_neighbours(void)
{
	/* items, width, rows asked for */
	static const int64_t shapes[][3] = {{1, 1, 1}, {4, 3, 9}, {12, 16, 30}, {9, 21, 40}};
	static const double dropouts[] = {0, 0.4};

	for (int s = 0; s < 8; s++)
	{
		const int64_t *shape = shapes[s / 2];
		FnnTensor  *table = check_tensor(1, shape[0], shape[1]);
		FnnTensor  *sparse = sparse_copy(table);
		Walk		walk = {random_graph(shape[0]), numbers(3, shape[2], shape[0], false), shape[2], dropouts[s % 2]};
		Walk		nothing = {walk.graph, walk.id, 0, 0.1};

		check_begin("neighbours of %d rows in %d items, width %d, dropout %g", (int) shape[2], (int) shape[0],
					(int) shape[1], walk.dropout);
		check_neighbour_values(table, &walk);
		check_gradients(1, &table, run_neighbours, &walk);
		check_gradients(1, &sparse, run_neighbours, &walk);
		check_gradients(1, &table, run_neighbours, &nothing);
		if (walk.dropout == 0)
			check_operation(1, &table, run_neighbours, &walk);
		table->grad = NULL;
		CHECK(loss_of(&table, run_neighbours, &walk, true) == loss_of(&sparse, run_neighbours, &walk, true),
			  "a frozen table gives another loss");
		check_end();
	}
}

/* ---------------------------------------------------------------- adapters */

/* inputs: w, a, b */
static void
run_adapt(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Plan *plan = context;

	check_loss(tape, fnn_adapt(tape, inputs[0], inputs[1], inputs[2], plan->scale));
}

static void
check_adapt(void)
{
	/* out, in, rank */
	static const int64_t shapes[][3] = {{1, 1, 1}, {5, 3, 2}, {17, 33, 4}, {16, 16, 16}};

	for (int s = 0; s < 4; s++)
	{
		int64_t		out = shapes[s][0];
		int64_t		in = shapes[s][1];
		int64_t		rank = shapes[s][2];
		Plan		plan = {.scale = 1.7};
		FnnTensor  *inputs[] = {check_tensor(1, out, in), check_tensor(2, rank, in), check_tensor(3, out, rank)};
		FnnTensor  *y;
		FnnTape		tape;

		check_begin("a weight of %d x %d adapted with rank %d", (int) out, (int) in, (int) rank);
		check_operation(3, inputs, run_adapt, &plan);
		fnn_tape_begin(&tape, check_arena(), false, 1, 1);
		y = fnn_adapt(&tape, inputs[0], inputs[1], inputs[2], 1.7);
		for (int64_t i = 0; i < out; i++)
			for (int64_t j = 0; j < in; j++)
			{
				double		sum = inputs[0]->value[i * in + j];

				for (int64_t k = 0; k < rank; k++)
					sum += 1.7 * (double) inputs[2]->value[i * rank + k] * (double) inputs[1]->value[k * in + j];
				CHECK(check_close(y->value[i * in + j], sum, EXACT), "element %d, %d", (int) i, (int) j);
			}
		memset(inputs[2]->value, 0, (size_t) (out * rank) * sizeof(fnn_real));
		inputs[0]->value[0] = (fnn_real) -0.0;
		y = fnn_adapt(&tape, inputs[0], inputs[1], inputs[2], 1.7);
		CHECK(same(out * in, y->value, inputs[0]->value), "B = 0 changes the weight");
		check_gradients(3, inputs, run_adapt, &plan);
		check_end();
	}
}

/* ---------------------------------------------------------------- small losses */

static void
run_square(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	fnn_square_loss(tape, inputs[0], 0.3);
}

/* Of a softmax, as it is meant for, so that what is 0 stays so. */
static void
run_divergence(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Plan *plan = context;

	fnn_divergence_loss(tape, fnn_softmax(tape, inputs[0], NULL, plan->n), plan->wanted, 0.6);
}

static void
check_small_losses(void)
{
	static const fnn_real wanted[] = {0.25, 0.75, 0, NAN, 5, 5, 0, 0, 1, 0.5, 0.25, 0.25};
	static const fnn_real sure[] = {1, 0, 0};
	FnnTensor  *x = check_tensor(1, 4, 3);
	FnnTape		tape;

	for (int top = 0; top <= 2; top++)
	{
		Plan		plan = {.wanted = wanted, .n = top};
		double		expected = 0;
		FnnTensor  *p;

		check_begin("divergence from a softmax, top %d", top);
		check_operation(1, &x, run_divergence, &plan);
		fnn_tape_begin(&tape, check_arena(), false, 1, 1);
		p = fnn_softmax(&tape, x, NULL, top);
		for (int i = 0; i < 12; i++)
			if (i / 3 != 1 && wanted[i] > 0)
				expected += wanted[i] * log(wanted[i] / fmax(p->value[i], 1e-12));
		fnn_divergence_loss(&tape, p, wanted, 0.6);
		CHECK(check_close(tape.loss, 0.6 * expected, EXACT), "%.9g instead of %.9g", tape.loss, 0.6 * expected);
		check_end();
	}
	check_begin("divergence of what is wanted is 0; squares");
	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	fnn_divergence_loss(&tape, fnn_constant(&tape, 1, 3, (fnn_real *) sure), sure, 1);
	fnn_divergence_loss(&tape, fnn_constant(&tape, 0, 3, NULL), NULL, 1);
	fnn_square_loss(&tape, fnn_constant(&tape, 0, 3, NULL), 1);
	CHECK(tape.loss == 0, "loss %g", tape.loss);
	fnn_square_loss(&tape, fnn_constant(&tape, 2, 2, (fnn_real *) wanted + 8), 2);
	CHECK(check_close(tape.loss, 2 * (1 + 0.25 + 0.0625 + 0.0625), EXACT), "squares %g", tape.loss);
	check_operation(1, &x, run_square, NULL);
	check_end();
}

static void
run_contrast(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	fnn_contrast_loss(tape, inputs[0], inputs[1], *(const double *) context, 0.7);
}

/* Row i of both views together. */
static const fnn_real *
view_row(FnnTensor *const *views, int64_t i)
{
	int64_t		n = views[0]->rows;

	return i < n ? views[0]->value + i * views[0]->cols : views[1]->value + (i - n) * views[0]->cols;
}

static double
cosine(FnnTensor *const *views, int64_t i, int64_t j)
{
	const fnn_real *x = view_row(views, i);
	const fnn_real *y = view_row(views, j);
	double		sum[3] = {0};

	for (int64_t c = 0; c < views[0]->cols; c++)
	{
		sum[0] += (double) x[c] * (double) y[c];
		sum[1] += (double) x[c] * (double) x[c];
		sum[2] += (double) y[c] * (double) y[c];
	}
	return sum[1] == 0 || sum[2] == 0 ? 0 : sum[0] / sqrt(sum[1] * sum[2]);
}

static double
naive_contrast(FnnTensor *const *views, double temperature)
{
	int64_t		n = views[0]->rows;
	double		loss = 0;

	for (int64_t i = 0; i < 2 * n; i++)
	{
		double		wanted = cosine(views, i, (i + n) % (2 * n)) / temperature;
		double		sum = 0;

		for (int64_t j = 0; j < 2 * n; j++)
			if (j != i)
				sum += exp(cosine(views, i, j) / temperature - wanted);
		loss += log(sum);
	}
	return loss;
}

static void
check_contrast(void)
{
	static const int64_t shapes[][2] = {{1, 1}, {1, 5}, {2, 3}, {7, 16}, {50, 3}};
	static const double temperatures[] = {1, 0.1};

	for (int s = 0; s < 10; s++)
	{
		int64_t		n = shapes[s / 2][0];
		int64_t		d = shapes[s / 2][1];
		double		temperature = temperatures[s % 2];
		FnnTensor  *views[] = {check_tensor(1, n, d), check_tensor(2, n, d)};
		double		loss;

		check_begin("contrast of %d things, width %d, temperature %g", (int) n, (int) d, temperature);
		loss = loss_of(views, run_contrast, &temperature, false);
		CHECK(check_close(loss, 0.7 * naive_contrast(views, temperature), 10 * EXACT), "loss %.9g", loss);
		CHECK(n > 1 || loss == 0, "the loss of one thing is %g", loss);
		if (n < 50 || s % 2 == 0)
			check_operation(2, views, run_contrast, &temperature);
		/* the loss does not know lengths, and a row without one has no gradient */
		for (int64_t c = 0; c < d; c++)
		{
			views[0]->value[c] *= 2;
			views[1]->value[(n - 1) * d + c] = 0;
		}
		loss = loss_of(views, run_contrast, &temperature, true);
		CHECK(check_close(loss, 0.7 * naive_contrast(views, temperature), 10 * EXACT), "loss %.9g", loss);
		for (int64_t c = 0; c < d; c++)
			CHECK(views[1]->grad[(n - 1) * d + c] == 0, "a row of no length has a gradient");
		check_end();
	}
}

/* ---------------------------------------------------------------- softmax loss with terms */

typedef struct Raised
{
	const int32_t *target;
	const FnnTerms *terms;
	double	   *row_loss;
	double		weight;
} Raised;

#define TERM_COLUMN 1

/* inputs: hidden, table, weight of the terms */
static void
run_raised(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Raised *raised = context;
	const FnnSoftmaxExtra extra = {raised->row_loss, raised->terms, inputs[2], TERM_COLUMN};

	fnn_softmax_loss_with(tape, inputs[0], inputs[1], raised->target, raised->weight, &extra);
}

/* The same of columns 1 .. of a wider table. */
static void
run_raised_view(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	FnnTensor  *viewed[] = {inputs[0], fnn_columns(tape, inputs[1], 1, inputs[0]->cols), inputs[2]};

	run_raised(tape, viewed, context);
}

/* Of n rows: no terms, few, some, one for every item, in turn. */
static FnnTerms *
random_terms(int64_t n, int64_t items)
{
	FnnTerms   *terms = fnn_zalloc(check_arena(), ((size_t) n + 1) * sizeof(FnnTerms));

	for (int64_t r = 0; r < n; r++)
	{
		double		share = r % 4 == 3 ? 1 : 0.15 * (double) (r % 4);
		int32_t    *item = fnn_alloc(check_arena(), (size_t) items * sizeof(int32_t));
		float	   *value = fnn_alloc(check_arena(), (size_t) items * sizeof(float));

		for (int64_t i = 0; i < items; i++)
			if (fnn_random_uniform(8, r, i) < share)
			{
				item[terms[r].n] = (int32_t) i;
				value[terms[r].n++] = (float) fnn_random_normal(9, r, 2 * i);
			}
		terms[r].item = item;
		terms[r].value = value;
	}
	return terms;
}

/* By dense logits: one row's loss, with its gradients added to d[0 .. 2]. */
static double
naive_raised_row(FnnTensor *const *inputs, const Raised *raised, int64_t row, double *const *d)
{
	const FnnTensor *hidden = inputs[0];
	const FnnTensor *table = inputs[1];
	const FnnTerms *terms = &raised->terms[row];
	int64_t		at = row * inputs[2]->cols + TERM_COLUMN;
	int64_t		width = hidden->cols;
	double	   *score = fnn_zalloc(check_arena(), (size_t) table->rows * sizeof(double));
	double	   *value = fnn_zalloc(check_arena(), (size_t) table->rows * sizeof(double));
	double		max = -INFINITY;
	double		sum = 0;

	for (int64_t k = 0; k < terms->n; k++)
		value[terms->item[k]] = terms->value[k];
	for (int64_t i = 0; i < table->rows; i++)
	{
		score[i] = (double) inputs[2]->value[at] * value[i];
		for (int64_t c = 0; c < width; c++)
			score[i] += (double) hidden->value[row * width + c] * (double) table->value[i * width + c];
		max = fmax(max, score[i]);
	}
	for (int64_t i = 0; i < table->rows; i++)
		sum += exp(score[i] - max);
	for (int64_t i = 0; i < table->rows; i++)
	{
		double		slope = raised->weight * (exp(score[i] - max) / sum - (i == raised->target[row]));

		for (int64_t c = 0; c < width; c++)
		{
			d[0][row * width + c] += slope * (double) table->value[i * width + c];
			d[1][i * width + c] += slope * (double) hidden->value[row * width + c];
		}
		d[2][at] += slope * value[i];
	}
	return max + log(sum) - score[raised->target[row]];
}

/* Loss, rows' losses and gradients, with gradients wanted of those in the set of bits. */
static void
check_raised_values(FnnTensor *const *all, const Raised *raised, int wanted)
{
	FnnMark		mark = fnn_arena_mark(check_arena());
	FnnTensor	copies[3];
	FnnTensor  *const inputs[] = {&copies[0], &copies[1], &copies[2]};
	double	   *d[3];
	double		loss = 0;
	double		got;

	for (int i = 0; i < 3; i++)
	{
		copies[i] = *all[i];
		if ((wanted & 1 << i) == 0)
			copies[i].grad = NULL;
		d[i] = fnn_zalloc(check_arena(), (size_t) (all[i]->rows * all[i]->cols) * sizeof(double));
	}
	got = loss_of(inputs, run_raised, (void *) raised, true);
	for (int64_t r = 0; r < inputs[0]->rows; r++)
	{
		double		row_loss;

		if (raised->target[r] < 0)
		{
			CHECK(isnan(raised->row_loss[r]), "row %d, which does not count, has a loss", (int) r);
			continue;
		}
		row_loss = naive_raised_row(inputs, raised, r, d);
		CHECK(check_close(raised->row_loss[r], row_loss, EXACT), "row %d has loss %.9g instead of %.9g", (int) r,
			  raised->row_loss[r], row_loss);
		loss += raised->weight * row_loss;
	}
	CHECK(check_close(got, loss, EXACT), "loss %.9g instead of %.9g", got, loss);
	for (int i = 0; i < 3; i++)
		for (int64_t e = 0; e < all[i]->rows * all[i]->cols; e++)
		{
			double		gradient = all[i]->grad[e];

			CHECK(check_close(gradient, (wanted & 1 << i) != 0 ? d[i][e] : 0, EXACT),
				  "gradient %.9g instead of %.9g of input %d element %d", gradient, d[i][e], i, (int) e);
			all[i]->grad[e] = 0;
		}
	fnn_arena_reset(check_arena(), mark);
}

static void
check_raised(void)
{
	/* rows, items, width; the last two: tiles of half a block of rows, and of none, can be kept */
	static const int64_t shapes[][3] = {
		{1, 1, 1}, {5, 7, 3}, {9, 140, 16}, {140, 300, 5},
#ifdef FNN_SOFTMAX_TILES
		{130, 250, 2}, {4, 2000, 2}
#else
		{130, 70000, 2}, {4, 9600000 / FNN_LANES, 2}
#endif
	};

	for (int s = 0; s < 6; s++)
	{
		FnnMark		mark = fnn_arena_mark(check_arena());
		int64_t		n = shapes[s][0];
		int64_t		items = shapes[s][1];
		Raised		raised = {numbers(5, n, items, n > 1), random_terms(n, items),
		fnn_alloc(check_arena(), (size_t) n * sizeof(double)), 0.8};
		FnnTensor  *inputs[] = {check_tensor(1, n, shapes[s][2]), check_tensor(2, items, shapes[s][2]),
		check_tensor(3, n, 3)};

		check_begin("softmax loss with terms: %d rows, %d items, width %d", (int) n, (int) items, (int) shapes[s][2]);
		for (int wanted = s < 4 ? 0 : 5; wanted < 8; wanted += s < 4 ? 1 : 2)
			check_raised_values(inputs, &raised, wanted);
		if (s < 3)
			check_operation(3, inputs, run_raised, &raised);
		inputs[1] = check_tensor(2, items, shapes[s][2] + 2);
		if (s < 3)
			check_operation(3, inputs, run_raised_view, &raised);
		inputs[1] = sparse_copy(inputs[1]);
		if (s == 1)
			check_operation(3, inputs, run_raised_view, &raised);
		check_end();
		fnn_arena_reset(check_arena(), mark);
	}
}

/* ---------------------------------------------------------------- arguments */

static void
misuse(void *context)
{
	static const int32_t offset[] = {0, 3};
	static const bool none[] = {false, false, false};
	static const int32_t outside = 5;
	const int	which = *(const int *) context;
	const FnnSequences sequences = {1, offset};
	FnnTensor  *x = check_tensor(1, 4, 3);
	FnnTensor  *parts[] = {x, check_tensor(2, 5, 3)};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	switch (which)
	{
		case 0:
			fnn_concat(&tape, 0, parts);
			break;
		case 1:
			fnn_concat(&tape, 2, parts);
			break;
		case 2:
			fnn_gate(&tape, 1, parts, parts[1]);
			break;
		case 3:
			parts[1] = x;
			fnn_gate(&tape, 2, parts, check_tensor(3, 4, 1));
			break;
		case 4:
			fnn_running_mean(&tape, x, &sequences);
			break;
		case 5:
			fnn_softmax(&tape, x, none, 0);
			break;
		case 6:
			fnn_softmax(&tape, x, NULL, -1);
			break;
		case 7:
			fnn_adapt(&tape, x, check_tensor(3, 2, 3), check_tensor(3, 4, 1), 1);
			break;
		case 8:
			fnn_mean(&tape, sparse_copy(x));
			break;
		case 9:
			fnn_adapt(&tape, x, check_tensor(3, 2, 3), sparse_copy(check_tensor(3, 4, 2)), 1);
			break;
		case 10:
			fnn_contrast_loss(&tape, x, parts[1], 1, 1);
			break;
		case 11:
			fnn_contrast_loss(&tape, x, x, 0, 1);
			break;
		case 12:
			fnn_neighbours(&tape, x, random_graph(4), offset + 1, 1, 1);
			break;
		case 13:
			fnn_neighbours(&tape, parts[1], random_graph(5), &outside, 1, 0);
			break;
		case 14:
			fnn_neighbours(&tape, x, random_graph(9), offset + 1, 1, 0);
			break;
	}
}

/* Terms, on 4 rows and 5 items, that are not right for the row that has them. */
static void
misuse_terms(void *context)
{
	static const int32_t target[] = {0, -1, 1, 2};
	static const int32_t items[][2] = {{3, 5}, {2, 2}, {-1, 2}, {0, 1}, {0, 1}, {0, 1}, {0, 1}};
	static const float value[] = {1, 1};
	const int	which = *(const int *) context;
	FnnTerms	terms[4] = {{0}};
	FnnSoftmaxExtra extra = {NULL, terms, check_tensor(1, 4, 2), which == 4 ? 2 : 0};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	/* the second row does not count: nobody looks at its terms */
	terms[1].n = 1;
	terms[2].n = 2;
	terms[2].item = items[which];
	terms[2].value = value;
	if (which == 3)
		extra.term_weight = NULL;
	if (which == 5)
		extra.term_weight = check_tensor(1, 3, 2);
	if (which == 6)
		extra.term_weight = sparse_copy(extra.term_weight);
	fnn_softmax_loss_with(&tape, check_tensor(2, 4, 3), check_tensor(3, 5, 3), target, 1, &extra);
}

static void
check_arguments(void)
{
	static const char *const term_messages[] = {
		"item 5", "item 2 after 2", "item -1", "no weight", "no weight in column 2", "no weight", "sparse gradient"
	};

	static const char *const messages[] = {
		"no parts", "part of 5 rows", "do not fit 1 parts", "do not fit 2 parts", "sequences of 3 tokens",
		"none to choose", "none to choose", "cannot be adapted", "sparse gradient", "sparse gradient",
		"view of 4 x 3", "temperature of 0", "dropout probability", "has no row 5", "which a table of 4 rows has not"
	};

	check_begin("what does not fit a mixture is refused");
	for (int which = 0; which < (int) (sizeof(messages) / sizeof(messages[0])); which++)
		check_fails(FNN_INVALID, messages[which], misuse, &which);
	for (int which = 0; which < (int) (sizeof(term_messages) / sizeof(term_messages[0])); which++)
		check_fails(FNN_INVALID, term_messages[which], misuse_terms, &which);
	check_end();
}

void
check_mixture_operations(void)
{
	check_views();
	check_refused_views();
	check_parts();
	check_detach();
	check_running_mean();
	check_mean();
	check_softmax();
	check_neighbours();
	check_adapt();
	check_small_losses();
	check_contrast();
	check_raised();
	check_arguments();
}

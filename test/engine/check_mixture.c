/*
 * check_mixture.c
 *	  What mixtures of experts are computed with: parts side by side, gates,
 *	  running means, item graphs, adapters; against plain loops, by identities,
 *	  and by finite differences.
 */
#include <math.h>
#include <string.h>

#include "check.h"
#include "nn/product/product.h"
#include "nn/base/tape_private.h"

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

/* ---------------------------------------------------------------- parts side by side */

typedef struct Plan
{
	int			n;				/* parts, or top */
	FnnSequences sequences;
	const bool *allowed;
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
			CHECK(check_same(parts[p]->cols, whole->value + at, parts[p]->value + r * parts[p]->cols),
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
				CHECK(p == r % n ? check_same(1, gated->value + at + c, whole->value + at + c)
					  : gated->value[at + c] == 0,
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
		FnnTensor  *inputs[CHECK_INPUTS_MAX];

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
	check_loss_of(inputs, run_detach, NULL, true);
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
		CHECK(check_same(d, y->value + d, x->value + d), "the first row of a sequence is not its own mean");
		plan.sequences.count = 1;
		plan.sequences.offset = alone;
		CHECK(check_same(13 * d, y->value + 4 * d,
						 fnn_running_mean(&tape, fnn_constant(&tape, 13, d, x->value + 4 * d),
										  &plan.sequences)->value), "a sequence has other means on its own");
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
	CHECK(check_same(d, alone->value, y->value + (walk->n - 1) * d),
		  "a row has other bits when it is asked for alone");
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
		FnnTensor  *sparse = check_sparse_copy(table);
		Walk		walk = {check_random_graph(shape[0]), check_numbers(3, shape[2], shape[0], false), shape[2],
			dropouts[s % 2]};
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
		CHECK(check_loss_of(&table, run_neighbours, &walk, true) ==
			  check_loss_of(&sparse, run_neighbours, &walk, true), "a frozen table gives another loss");
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
		CHECK(check_same(out * in, y->value, inputs[0]->value), "B = 0 changes the weight");
		check_gradients(3, inputs, run_adapt, &plan);
		check_end();
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
	const FnnSequences sequences = {.count = 1, .offset = offset};
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
			fnn_mean(&tape, check_sparse_copy(x));
			break;
		case 9:
			fnn_adapt(&tape, x, check_tensor(3, 2, 3), check_sparse_copy(check_tensor(3, 4, 2)), 1);
			break;
		case 10:
			fnn_contrast_loss(&tape, x, parts[1], 1, 1);
			break;
		case 11:
			fnn_contrast_loss(&tape, x, x, 0, 1);
			break;
		case 12:
			fnn_neighbours(&tape, x, check_random_graph(4), offset + 1, 1, 1);
			break;
		case 13:
			fnn_neighbours(&tape, parts[1], check_random_graph(5), &outside, 1, 0);
			break;
		case 14:
			fnn_neighbours(&tape, x, check_random_graph(9), offset + 1, 1, 0);
			break;
	}
}

static void
check_arguments(void)
{
	static const char *const messages[] = {
		"no parts", "part of 5 rows", "do not fit 1 parts", "do not fit 2 parts", "sequences of 3 tokens",
		"none to choose", "none to choose", "cannot be adapted", "sparse gradient", "sparse gradient",
		"view of 4 x 3", "temperature of 0", "dropout probability", "has no row 5", "which a table of 4 rows has not"
	};

	check_begin("what does not fit a mixture is refused");
	for (int which = 0; which < (int) (sizeof(messages) / sizeof(messages[0])); which++)
		check_fails(FNN_INVALID, messages[which], misuse, &which);
	check_end();
}

void
check_mixture_operations(void)
{
	check_parts();
	check_detach();
	check_running_mean();
	check_mean();
	check_softmax();
	check_neighbours();
	check_adapt();
	check_arguments();
}

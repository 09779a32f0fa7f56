/*
 * check_whiten.c
 *	  A mixture of maps, its noisy gate, rows of one length and products: against
 *	  plain loops, by identities, and by finite differences.
 */
#include "check.h"

#include <math.h>
#include <string.h>

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

static const int shapes[][3] = {{1, 1, 1}, {3, 5, 2}, {7, 16, 8}, {33, 12, 3}, {300, 24, 4}};

#define N_SHAPES ((int) (sizeof(shapes) / sizeof(shapes[0])))

/* ---------------------------------------------------------------- rows of one length */

static void
run_unit(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_unit_rows(tape, inputs[0], *(double *) context));
}

static void
run_no_length(void *context)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	fnn_unit_rows(&tape, context, 0);
}

static void
check_unit_rows(void)
{
	for (int s = 0; s < N_SHAPES; s++)
	{
		FnnTensor  *x = check_tensor(1, shapes[s][0], shapes[s][1]);
		double		scale = s % 2 == 0 ? 1 : 1 / 0.07;
		FnnTape		tape;
		FnnTensor  *y;

		check_begin("unit rows: %d x %d", shapes[s][0], shapes[s][1]);
		fnn_tape_begin(&tape, check_arena(), false, 0, 0);
		y = fnn_unit_rows(&tape, x, scale);
		for (int64_t r = 0; r < y->rows; r++)
		{
			double		squares = 0;

			for (int64_t c = 0; c < y->cols; c++)
				squares += (double) (y->value[r * y->cols + c] * y->value[r * y->cols + c]);
			CHECK(check_close(sqrt(squares), scale, 1e-5), "row %d has the length %g", (int) r, sqrt(squares));
		}
		if (shapes[s][0] < 100 && shapes[s][1] > 1)
			check_operation(1, &x, run_unit, &scale);
		check_end();
	}
	check_begin("unit rows: a row of zeros, and no length");
	{
		FnnTensor  *x = check_tensor(1, 2, 3);
		FnnTape		tape;
		FnnTensor  *y;

		memset(x->value, 0, 3 * sizeof(fnn_real));
		fnn_tape_begin(&tape, check_arena(), true, 0, 0);
		y = fnn_unit_rows(&tape, x, 2);
		for (int i = 0; i < 6; i++)
			y->grad[i] = 1;
		fnn_tape_backward(&tape);
		CHECK(y->value[0] == 0 && y->value[2] == 0 && x->grad[0] == 0 && x->grad[2] == 0, "zeros move");
		check_fails(FNN_INVALID, "cannot have the length 0", run_no_length, x);
	}
	check_end();
}

/* ---------------------------------------------------------------- the gate */

static void
run_gate(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_noisy_softmax(tape, inputs[0], *(bool *) context));
}

/* Columns that are not as many spreads as logits. */
static void
run_odd(void *context)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	fnn_noisy_softmax(&tape, check_tensor(1, 2, 5), false);
}

/* The noise has the spread that it should: the logit of expert 1 against expert 0, where all logits are 0. */
static void
check_spread(void)
{
	FnnTensor  *x = check_tensor(1, 20000, 4);
	FnnTape		tape;
	FnnTensor  *y;
	FnnTensor  *again;
	double		squares = 0;
	double		expected = log(1 + exp(0.7)) + 0.01;

	for (int64_t r = 0; r < x->rows; r++)
	{
		x->value[4 * r] = x->value[4 * r + 1] = 0;
		x->value[4 * r + 2] = x->value[4 * r + 3] = (fnn_real) 0.7;
	}
	fnn_tape_begin(&tape, check_arena(), true, 5, 6);
	y = fnn_noisy_softmax(&tape, x, true);
	for (int64_t r = 0; r < x->rows; r++)
	{
		double		difference = log((double) y->value[2 * r + 1] / (double) y->value[2 * r]);

		squares += difference * difference / 2;
	}
	CHECK(fabs(sqrt(squares / (double) x->rows) / expected - 1) < 0.03, "spread %g instead of %g",
		  sqrt(squares / (double) x->rows), expected);
	fnn_tape_begin(&tape, check_arena(), true, 5, 6);
	again = fnn_noisy_softmax(&tape, x, true);
	CHECK(check_same(2 * x->rows, y->value, again->value), "the same stream draws other noise");
	again = fnn_noisy_softmax(&tape, x, true);
	CHECK(!check_same(2 * x->rows, y->value, again->value), "the next draw is the same");
	fnn_tape_begin(&tape, check_arena(), false, 5, 6);
	again = fnn_noisy_softmax(&tape, x, true);
	CHECK(again->value[0] == (fnn_real) 0.5 && again->value[7] == (fnn_real) 0.5, "there is noise without recording");
}

static void
check_gate_weights(void)
{
	for (int s = 0; s < N_SHAPES - 1; s++)
		for (int k = 0; k < 2; k++)
		{
			FnnTensor  *x = check_tensor(3, shapes[s][0], 2 * shapes[s][2]);
			bool		noisy = k == 1;
			FnnTape		tape;
			FnnTensor  *y;

			check_begin("noisy gates: %d rows, %d experts, %s", shapes[s][0], shapes[s][2], noisy ? "noise" : "no noise");
			fnn_tape_begin(&tape, check_arena(), noisy, 1, 1);
			y = fnn_noisy_softmax(&tape, x, noisy);
			for (int64_t r = 0; r < y->rows; r++)
			{
				double		sum = 0;
				double		all = 0;

				for (int64_t e = 0; e < y->cols; e++)
				{
					sum += (double) y->value[r * y->cols + e];
					all += exp((double) x->value[r * x->cols + e]);
				}
				CHECK(check_close(sum, 1, 1e-5), "row %d sums up to %g", (int) r, sum);
				CHECK(noisy || check_close(y->value[r * y->cols], exp((double) x->value[r * x->cols]) / all, EXACT),
					  "row %d", (int) r);
			}
			check_gradients(1, &x, run_gate, &noisy);
			check_end();
		}
	check_begin("noisy gates: the noise, and columns that are none");
	check_spread();
	check_fails(FNN_INVALID, "5 columns are not as many spreads as logits", run_odd, NULL);
	check_end();
}

/* ---------------------------------------------------------------- the maps */

typedef struct Mixture
{
	FnnMaker	maker;
	double		dropout;
	bool		centred;
	bool		moved;
} Mixture;

/* Drawn numbers; every fourth row from the second on is of zeros. */
static void
make_some(const void *context, int64_t first, int64_t n, fnn_real *x)
{
	int64_t		width = *(const int64_t *) context;

	for (int64_t i = 0; i < n * width; i++)
		x[i] = (first + i / width) % 4 == 1 ? 0 :
			(fnn_real) fnn_random_normal(9, 9, 2 * (uint64_t) (first * width + i));
}

/* inputs: weight, gate, centre, bias */
static FnnTensor *
mixture_of(FnnTape *tape, FnnTensor *const *inputs, const Mixture *mixture)
{
	return fnn_mixed_maps(tape, &mixture->maker, inputs[0], inputs[1], mixture->centred ? inputs[2] : NULL,
						  mixture->moved ? inputs[3] : NULL, mixture->dropout);
}

static void
run_maps(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, mixture_of(tape, inputs, context));
}

static double
expected(FnnTensor *const *inputs, const Mixture *mixture, const fnn_real *x, int64_t r, int64_t c)
{
	int64_t		experts = inputs[1]->cols;
	int64_t		width = inputs[0]->cols;
	int64_t		d = inputs[0]->rows / experts;
	double		sum = 0;

	for (int64_t e = 0; e < experts && r % 4 != 1; e++)
	{
		double		h = mixture->moved ? (double) inputs[3]->value[e * d + c] : 0;

		for (int64_t j = 0; j < width; j++)
			h += (double) inputs[0]->value[(e * d + c) * width + j] *
				((double) x[r * width + j] - (mixture->centred ? (double) inputs[2]->value[e * width + j] : 0));
		sum += (double) inputs[1]->value[r * experts + e] * h;
	}
	return sum;
}

static void
check_maps(int64_t rows, int64_t width, int64_t experts, int64_t d, bool centred, bool moved)
{
	FnnTensor  *inputs[] = {check_tensor(1, experts * d, width), check_tensor(2, rows, experts),
	check_tensor(3, experts, width), check_tensor(4, experts, d)};
	Mixture		mixture = {{width, make_some, &width}, 0, centred, moved};
	fnn_real   *x = fnn_alloc_reals(check_arena(), rows, width);
	int			n = moved ? 4 : centred ? 3 : 2;
	FnnTape		tape;
	FnnTensor  *y;

	check_begin("mixed maps: %d rows of %d to %d, %d experts%s%s", (int) rows, (int) width, (int) d, (int) experts,
				centred ? ", centred" : "", moved ? ", moved" : "");
	make_some(&width, 0, rows, x);
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	y = mixture_of(&tape, inputs, &mixture);
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < d; c++)
			CHECK(check_close(y->value[r * d + c], expected(inputs, &mixture, x, r, c), EXACT * 20),
				  "row %d column %d: %g instead of %g", (int) r, (int) c, (double) y->value[r * d + c],
				  expected(inputs, &mixture, x, r, c));
	if (rows < 100)
	{
		check_gradients(n, inputs, run_maps, &mixture);
		mixture.dropout = 0.3;
		check_gradients(n, inputs, run_maps, &mixture);
		inputs[1]->grad = NULL;
		check_gradients(n, inputs, run_maps, &mixture);
	}
	check_end();
}

/* Gates of another number of experts than the maps are of. */
static void
run_misfit(void *context)
{
	int64_t		width = 4;
	Mixture		mixture = {{width, make_some, &width}, 0, true, false};
	FnnTensor  *inputs[4] = {check_tensor(1, 6, 4), check_tensor(2, 5, 3), check_tensor(3, 2, 4)};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	mixture_of(&tape, inputs, &mixture);
}

static void
run_product(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_add_product(tape, inputs[0], inputs[1], inputs[2], *(double *) context));
}

static void
check_products(void)
{
	double		scale = 0.1;

	for (int s = 0; s < N_SHAPES - 1; s++)
	{
		FnnTensor  *inputs[3];
		FnnTape		tape;
		FnnTensor  *y;

		check_begin("a sum and a product: %d x %d", shapes[s][0], shapes[s][1]);
		for (int i = 0; i < 3; i++)
			inputs[i] = check_tensor(i, shapes[s][0], shapes[s][1]);
		fnn_tape_begin(&tape, check_arena(), false, 0, 0);
		y = fnn_add_product(&tape, inputs[0], inputs[1], inputs[2], scale);
		for (int64_t i = 0; i < y->rows * y->cols; i++)
			CHECK(check_close(y->value[i], (double) inputs[0]->value[i] +
							  0.1 * (double) inputs[1]->value[i] * (double) inputs[2]->value[i], EXACT), "element");
		check_operation(3, inputs, run_product, &scale);
		check_end();
	}
}

void
check_whitening(void)
{
	check_unit_rows();
	check_gate_weights();
	for (int k = 0; k < 4; k++)
	{
		check_maps(1, 1, 1, 1, k & 1, k & 2);
		check_maps(6, 5, 3, 4, k & 1, k & 2);
		check_maps(9, 16, 2, 16, k & 1, k & 2);
		check_maps(600, 24, 8, 6, k & 1, k & 2);
	}
	check_begin("mixed maps that do not fit");
	check_fails(FNN_INVALID, "is not that of 3 maps of 4 numbers", run_misfit, NULL);
	check_end();
	check_products();
}

/*
 * check_losses.c
 *	  The products fused operations are made of, and the two losses, against
 *	  plain loops in double precision and finite differences.
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

/* ---------------------------------------------------------------- products in tiles */

static void
check_one_product(FnnProduct product, int variant, int64_t m, int64_t n, int64_t k, bool along, bool accumulate)
{
	int64_t		lda = (along ? k : m) + 2;
	FnnTensor  *a = check_tensor(1, along ? m : k, lda);
	FnnTensor  *b = check_tensor(2, k, n + 3);
	FnnTensor  *c = check_tensor(3, m, n + 5);
	FnnTensor  *old = check_tensor(3, m, n + 5);
	double		worst = 0;

	product(m, n, k, a->value, along ? lda : 1, along ? 1 : lda, b->value, n + 3, accumulate, c->value, n + 5);
	for (int64_t i = 0; i < m; i++)
		for (int64_t j = 0; j < n + 5; j++)
		{
			double		sum = accumulate || j >= n ? old->value[i * (n + 5) + j] : 0;

			for (int64_t p = 0; p < k && j < n; p++)
				sum += (double) a->value[along ? i * lda + p : p * lda + i] * (double) b->value[p * (n + 3) + j];
			worst = fmax(worst, fabs(sum - (double) c->value[i * (n + 5) + j]) / fmax(1, fabs(sum)));
		}
	CHECK(worst <= EXACT, "variant %d, %d x %d x %d is off by %g", variant, (int) m, (int) n, (int) k, worst);
}

static void
check_products(void)
{
	const int64_t ms[] = {0, 1, 2, 3, 5, 6, 11, 12, 13, 64};
	const int64_t ks[] = {0, 1, 7, 64};

	check_begin("products in tiles agree with plain loops, on every instruction set there is");
	for (int v = 0; fnn_product_variant(v) != NULL; v++)
		for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++)
			for (int64_t vectors = 1; vectors <= 7; vectors += CHECK_SIZE(1, 3))
				for (size_t j = 0; j < sizeof(ks) / sizeof(ks[0]); j++)
				{
					FnnMark		mark = fnn_arena_mark(check_arena());

					check_one_product(fnn_product_variant(v), v, ms[i], vectors * FNN_LANES, ks[j],
									  (i + j) % 2 == 0, vectors % 2 == 0);
					fnn_arena_reset(check_arena(), mark);
				}
	CHECK(fnn_product_variant(-1) == NULL && fnn_product_variant(99) == NULL, "there is no such variant");
	check_end();
}

static void
check_columns(void)
{
	int64_t		lanes = 3 * FNN_LANES;
	FnnTensor  *tile = check_tensor(1, 9, lanes);
	fnn_real   *max = fnn_alloc_reals(check_arena(), 1, lanes);
	fnn_real   *sum = fnn_alloc_reals(check_arena(), 1, lanes);
	FnnTensor  *old = check_tensor(1, 9, lanes);

	check_begin("maximum and sum of exponentials down columns; transposing and widening");
	for (int64_t c = 0; c < lanes; c++)
		max[c] = c == 0 ? 5 : -INFINITY;
	fnn_columns_max(9, lanes, tile->value, max);
	fnn_columns_exp(9, lanes, tile->value, max, sum);
	for (int64_t c = 0; c < lanes; c++)
	{
		double		m = c == 0 ? 5 : -INFINITY;
		double		total = 0;

		for (int64_t i = 0; i < 9; i++)
			m = fmax(m, old->value[i * lanes + c]);
		CHECK(max[c] == (fnn_real) m, "maximum of column %d", (int) c);
		for (int64_t i = 0; i < 9; i++)
		{
			total += exp(old->value[i * lanes + c] - m);
			CHECK(check_close(tile->value[i * lanes + c], exp(old->value[i * lanes + c] - m), EXACT), "exponential");
		}
		CHECK(check_close(sum[c], total, EXACT), "sum of column %d", (int) c);
	}
	fnn_transpose(9, 5, 2, old->value, lanes, 11, tile->value, 12);
	for (int64_t c = 0; c < 5; c++)
		for (int64_t r = 0; r < 11; r++)
			CHECK(tile->value[c * 12 + r] == (r < 9 ? 2 * old->value[r * lanes + c] : 0), "transposed");
	fnn_widen(2, 5, old->value, lanes, 8, tile->value);
	for (int64_t i = 0; i < 16; i++)
		CHECK(tile->value[i] == (i % 8 < 5 ? old->value[i / 8 * lanes + i % 8] : 0), "widened");
	check_end();
}

/* ---------------------------------------------------------------- the losses by plain loops */

typedef struct Case
{
	const int32_t *target;
	const int32_t *negative;	/* NULL: softmax */
	int32_t		n_negatives;
	double		beta;
	double		weight;
	const float *row_weight;	/* NULL: all the same */
} Case;

static double
row_weight(const Case *c, int64_t row)
{
	return c->weight * (c->row_weight != NULL ? (double) c->row_weight[row] : 1);
}

static void
run_case(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Case *c = context;
	const FnnSoftmaxExtra extra = {.row_weight = c->row_weight};

	if (c->negative == NULL && c->row_weight != NULL)
		fnn_softmax_loss_with(tape, inputs[0], inputs[1], c->target, c->weight, &extra);
	else if (c->negative == NULL)
		fnn_softmax_loss(tape, inputs[0], inputs[1], c->target, c->weight);
	else
		fnn_gbce_loss(tape, inputs[0], inputs[1], c->target, c->row_weight, c->negative, c->n_negatives, c->beta,
					  c->weight);
}

static double
score_of(const FnnTensor *hidden, int64_t row, const FnnTensor *table, int64_t item)
{
	double		sum = 0;

	for (int64_t c = 0; c < hidden->cols; c++)
		sum += (double) hidden->value[row * hidden->cols + c] * (double) table->value[item * hidden->cols + c];
	return sum;
}

/* d loss / d score(row, item) was found to be slope. */
static void
push(const FnnTensor *hidden, int64_t row, const FnnTensor *table, int64_t item, double slope,
	 double *d_hidden, double *d_table)
{
	int64_t		d = hidden->cols;

	for (int64_t c = 0; c < d; c++)
	{
		d_hidden[row * d + c] += slope * (double) table->value[item * d + c];
		d_table[item * d + c] += slope * (double) hidden->value[row * d + c];
	}
}

static double
naive_softmax(const FnnTensor *hidden, const FnnTensor *table, const Case *c, double *d_hidden, double *d_table)
{
	double	   *score = fnn_alloc(check_arena(), (size_t) table->rows * sizeof(double));
	double		loss = 0;

	for (int64_t row = 0; row < hidden->rows; row++)
	{
		double		max = -INFINITY;
		double		sum = 0;

		if (c->target[row] < 0)
			continue;
		for (int64_t i = 0; i < table->rows; i++)
		{
			score[i] = score_of(hidden, row, table, i);
			max = fmax(max, score[i]);
		}
		for (int64_t i = 0; i < table->rows; i++)
			sum += exp(score[i] - max);
		loss += row_weight(c, row) * (max + log(sum) - score[c->target[row]]);
		for (int64_t i = 0; i < table->rows; i++)
			push(hidden, row, table, i, row_weight(c, row) * (exp(score[i] - max) / sum - (i == c->target[row])),
				 d_hidden, d_table);
	}
	return loss;
}

static double
naive_gbce(const FnnTensor *hidden, const FnnTensor *table, const Case *c, double *d_hidden, double *d_table)
{
	double		loss = 0;

	for (int64_t row = 0; row < hidden->rows; row++)
	{
		double		s;

		if (c->target[row] < 0)
			continue;
		s = score_of(hidden, row, table, c->target[row]);
		loss -= row_weight(c, row) * c->beta * log(1 / (1 + exp(-s)));
		push(hidden, row, table, c->target[row], -row_weight(c, row) * c->beta / (1 + exp(s)), d_hidden, d_table);
		for (int32_t j = 0; j < c->n_negatives; j++)
		{
			if (c->negative[j] == c->target[row])
				continue;
			s = score_of(hidden, row, table, c->negative[j]);
			loss += row_weight(c, row) * log(1 + exp(s));
			push(hidden, row, table, c->negative[j], row_weight(c, row) / (1 + exp(-s)), d_hidden, d_table);
		}
	}
	return loss;
}

static void
compare(const char *what, int64_t n, const fnn_real *got, const double *expected)
{
	double		scale = 0;
	double		worst = 0;

	for (int64_t i = 0; i < n; i++)
	{
		double		error = fabs((double) got[i] - expected[i]);

		scale = fmax(scale, fabs(expected[i]));
		worst = error <= worst ? worst : error;
	}
	CHECK(worst <= EXACT * fmax(scale, 1e-3), "%s is off by %g, its largest element is %g", what, worst, scale);
}

/* Loss and both gradients of one case, recording and not. */
static void
check_against_naive(FnnTensor *hidden, FnnTensor *table, Case *c)
{
	FnnMark		mark = fnn_arena_mark(check_arena());
	FnnTensor  *const inputs[] = {hidden, table};
	int64_t		n_hidden = hidden->rows * hidden->cols;
	int64_t		n_table = table->rows * table->cols;
	double	   *d_hidden = fnn_zalloc(check_arena(), (size_t) (n_hidden + 1) * sizeof(double));
	double	   *d_table = fnn_zalloc(check_arena(), (size_t) (n_table + 1) * sizeof(double));
	double		expected = (c->negative == NULL ? naive_softmax : naive_gbce) (hidden, table, c, d_hidden, d_table);
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	run_case(&tape, inputs, c);
	CHECK(check_close(tape.loss, expected, EXACT), "loss %.9g instead of %.9g without gradients", tape.loss, expected);
	for (int64_t i = 0; i < n_hidden; i++)
		CHECK(hidden->grad[i] == 0, "a gradient without recording");

	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	run_case(&tape, inputs, c);
	fnn_tape_backward(&tape);
	CHECK(check_close(tape.loss, expected, EXACT), "loss %.9g instead of %.9g", tape.loss, expected);
	compare("the hidden rows' gradient", n_hidden, hidden->grad, d_hidden);
	compare("the table's gradient", n_table, table->grad, d_table);
	fnn_arena_reset(check_arena(), mark);
}

/* n targets, about a tenth of them -1 */
static int32_t *
targets(int64_t n, int64_t items)
{
	int32_t    *target = fnn_alloc(check_arena(), ((size_t) n + 1) * sizeof(int32_t));

	for (int64_t i = 0; i < n; i++)
		target[i] = fnn_random_uniform(5, 1, i) < 0.1 ? -1 : (int32_t) fnn_random_below(5, 0, i, items);
	return target;
}

static int32_t *
negatives_of(int32_t n, int64_t items)
{
	int32_t    *negative = fnn_alloc(check_arena(), ((size_t) n + 1) * sizeof(int32_t));

	for (int32_t i = 0; i < n; i++)
		negative[i] = (int32_t) fnn_random_below(6, 0, i, items);
	return negative;
}

static const int64_t shapes[][3] = {
	{1, 1, 1}, {1, 7, 3}, {5, 2, 16}, {17, 130, 8}, {130, 129, 16}, {300, 700, 20}, {3, 1000, 64},
	/* whole tiles of halves, and not */
	{64, 256, 32}, {40, 99, 48}, {600, 300, 64}, {33, 31, 96}
};

#define N_SHAPES ((int) (sizeof(shapes) / sizeof(shapes[0])))

/* Weights of rows: all the same number, or with 0 from 0 to 3, some of them 0. */
static float *
weights_of(int64_t n, float same)
{
	float	   *weight = fnn_alloc(check_arena(), ((size_t) n + 1) * sizeof(float));

	for (int64_t i = 0; i < n; i++)
		weight[i] = same > 0 ? same : (float) fmax(3 * fnn_random_uniform(7, 1, i) - 0.3, 0);
	return weight;
}

/* Weights of 1 are none, and twice the weights are half the loss's, bit for bit. */
static void
check_weights_alike(int64_t n, int64_t items, int64_t width, Case c)
{
	FnnMark		mark = fnn_arena_mark(check_arena());
	const float *given[] = {NULL, weights_of(n, 1), weights_of(n, 2)};
	FnnTensor  *inputs[3][2];
	double		loss[3];

	for (int i = 0; i < 3; i++)
	{
		inputs[i][0] = check_tensor(1, n, width);
		inputs[i][1] = check_tensor(2, items, width);
		c.row_weight = given[i];
		c.weight = i == 2 ? 0.35 : 0.7;
		loss[i] = check_loss_of(inputs[i], run_case, &c, true);
		CHECK(loss[i] == loss[0] && check_same(n * width, inputs[i][0]->grad, inputs[0][0]->grad) &&
			  check_same(items * width, inputs[i][1]->grad, inputs[0][1]->grad), "weights of %d", i);
	}
	fnn_arena_reset(check_arena(), mark);
}

static void
check_row_weights(void)
{
	for (int s = 0; s < N_SHAPES; s++)
	{
		int64_t		n = shapes[s][0];
		int64_t		items = shapes[s][1];
		int64_t		width = shapes[s][2];
		Case		c = {.target = targets(n, items), .beta = 0.4, .weight = 0.7};

		check_begin("rows count by their weights: %d rows, %d items, width %d", (int) n, (int) items, (int) width);
		for (int gbce = 0; gbce < 2; gbce++)
		{
			c.n_negatives = gbce ? 70 : 0;
			c.negative = gbce ? negatives_of(c.n_negatives, items) : NULL;
			check_weights_alike(n, items, width, c);
			c.row_weight = weights_of(n, 0);
			check_against_naive(check_tensor(1, n, width), check_tensor(2, items, width), &c);
			if (n < 40 && items < 200)
			{
				FnnTensor  *inputs[] = {check_tensor(1, n, width), check_tensor(2, items, width)};

				check_operation(2, inputs, run_case, &c);
			}
		}
		check_end();
	}
}

static void
check_values(void)
{
	for (int s = 0; s < N_SHAPES; s++)
	{
		int64_t		n = shapes[s][0];
		int64_t		items = shapes[s][1];
		Case		c = {targets(n, items), NULL, 0, 0.4, 0.7};

		check_begin("softmax loss of %d rows, %d items, width %d", (int) n, (int) items, (int) shapes[s][2]);
		check_against_naive(check_tensor(1, n, shapes[s][2]), check_tensor(2, items, shapes[s][2]), &c);
		check_end();
		check_begin("gbce loss of %d rows, %d items, width %d", (int) n, (int) items, (int) shapes[s][2]);
		for (c.n_negatives = 0; c.n_negatives <= 150; c.n_negatives = 3 * c.n_negatives + 1)
		{
			c.negative = negatives_of(c.n_negatives, items);
			check_against_naive(check_tensor(1, n, shapes[s][2]), check_tensor(2, items, shapes[s][2]), &c);
		}
		check_end();
	}
}

/* ---------------------------------------------------------------- hard cases */

/* Scores that rise, fall and spread far over the blocks of items. */
static void
check_slopes(void)
{
	const double scales[] = {0.5, 10, -10, 50};

	check_begin("scores that rise or fall by hundreds along the table");
	for (size_t s = 0; s < sizeof(scales) / sizeof(scales[0]); s++)
	{
		FnnTensor  *hidden = check_tensor(1, 20, 2);
		FnnTensor  *table = check_tensor(2, 600, 2);
		Case		c = {targets(20, 600), NULL, 0, 0, 1};

		for (int64_t i = 0; i < 600; i++)
			table->value[2 * i] = (fnn_real) (scales[s] * (double) (i / 8) / 8);
		for (int64_t r = 0; r < 20; r++)
			hidden->value[2 * r] = r % 2 == 0 ? 1 : -1;
		check_against_naive(hidden, table, &c);
	}
	check_end();
}

static void
check_large_tables(void)
{
#ifdef FNN_SOFTMAX_TILES
	const int64_t sizes[][2] = {{4, 2000}, {130, 250}};
#else
	const int64_t sizes[][2] = {{4, 9600000 / FNN_LANES}, {130, 70000}};
#endif

	for (int s = 0; s < 2; s++)
	{
		FnnMark		mark = fnn_arena_mark(check_arena());
		Case		c = {targets(sizes[s][0], sizes[s][1]), NULL, 0, 0, 0.5};

		check_begin("softmax loss of %d rows over %d items: tiles that cannot all be kept", (int) sizes[s][0],
					(int) sizes[s][1]);
		check_against_naive(check_tensor(1, sizes[s][0], 2), check_tensor(2, sizes[s][1], 2), &c);
		check_end();
		fnn_arena_reset(check_arena(), mark);
	}
}

static void
check_identities(void)
{
	FnnTensor  *hidden = check_tensor(1, 50, 12);
	FnnTensor  *table = check_tensor(2, 300, 12);
	FnnTensor  *const inputs[] = {hidden, table};
	int32_t    *none = fnn_alloc(check_arena(), 50 * sizeof(int32_t));
	Case		c = {targets(50, 300), NULL, 0, 0, 1};
	FnnTape		tape;

	check_begin("the table's gradient sums to zero; rows without target do nothing; NaN shows in the loss");
	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	run_case(&tape, inputs, &c);
	for (int64_t k = 0; k < 12; k++)
	{
		double		sum = 0;

		for (int64_t i = 0; i < 300; i++)
			sum += table->grad[i * 12 + k];
		CHECK(fabs(sum) <= EXACT, "column %d of the table's gradient sums to %g", (int) k, sum);
	}
	CHECK(tape.last == NULL, "a loss recorded a node");

	for (int i = 0; i < 50; i++)
		none[i] = -1;
	c.target = none;
	memset(table->grad, 0, 300 * 12 * sizeof(fnn_real));
	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	run_case(&tape, inputs, &c);
	c.negative = negatives_of(10, 300);
	c.n_negatives = 10;
	run_case(&tape, inputs, &c);
	CHECK(tape.loss == 0, "loss %g of no row", tape.loss);
	for (int64_t i = 0; i < 300 * 12; i++)
		CHECK(table->grad[i] == 0, "a gradient from no row");

	c.target = targets(50, 300);
	hidden->value[(c.target[0] < 0 ? 1 : 0) * 12] = NAN;
	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	run_case(&tape, inputs, &c);
	CHECK(isnan(tape.loss), "gbce loss of a NaN is %g", tape.loss);
	c.negative = NULL;
	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	run_case(&tape, inputs, &c);
	CHECK(isnan(tape.loss), "softmax loss of a NaN is %g", tape.loss);
	check_end();
}

/* ---------------------------------------------------------------- differences, frozen and sparse */

static FnnTensor *
sparse_tensor(uint64_t seed, int64_t rows, int64_t cols)
{
	FnnTensor  *tensor = check_tensor(seed, rows, cols);

	tensor->grad = NULL;
	tensor->sparse = fnn_alloc(check_arena(), sizeof(FnnSparse));
	fnn_sparse_init(tensor->sparse, fnn_alloc(check_arena(), fnn_sparse_bytes(check_host(), rows, cols, rows)),
					rows, cols, rows);
	return tensor;
}

static void
check_differences(void)
{
	const int64_t small[][3] = {{1, 1, 1}, {3, 5, 2}, {20, 150, 3}, {9, 12, 8}};

	for (int s = 0; s < 4; s++)
		for (int kind = 0; kind < 4; kind++)
		{
			const char *const kinds[] = {"dense", "sparse table", "frozen hidden rows", "frozen table"};
			FnnTensor  *hidden = check_tensor(1, small[s][0], small[s][2]);
			FnnTensor  *table = kind == 1 ? sparse_tensor(2, small[s][1], small[s][2]) :
				check_tensor(2, small[s][1], small[s][2]);
			FnnTensor  *const inputs[] = {hidden, table};
			Case		c = {targets(small[s][0], small[s][1]), NULL, 0, 0.3, 1.5};

			if (kind == 2)
				hidden->grad = NULL;
			if (kind == 3)
				table->grad = NULL;
			check_begin("losses by differences: %d rows, %d items, width %d, %s", (int) small[s][0],
						(int) small[s][1], (int) small[s][2], kinds[kind]);
			check_gradients(2, inputs, run_case, &c);
			c.n_negatives = 7;
			c.negative = negatives_of(7, small[s][1]);
			check_gradients(2, inputs, run_case, &c);
			if (kind == 1)
				CHECK(table->sparse->count == 0, "gradients left behind");
			check_end();
		}
}

/* ---------------------------------------------------------------- arguments */

typedef struct Call
{
	FnnTensor  *inputs[2];
	Case		c;
} Call;

static void
call(void *context)
{
	Call	   *run = context;
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	run_case(&tape, run->inputs, &run->c);
}

static void
check_arguments(void)
{
	const int32_t good[] = {0};
	const int32_t bad[] = {3};
	const int32_t low[] = {-2};
	Call		run = {{check_tensor(1, 1, 2), check_tensor(2, 3, 2)}, {bad, NULL, 1, 1, 1}};

	check_begin("impossible targets, negatives and shapes are refused");
	check_fails(FNN_INVALID, "target 3", call, &run);
	run.c.target = low;
	check_fails(FNN_INVALID, "target -2", call, &run);
	run.c.negative = good;
	check_fails(FNN_INVALID, "target -2", call, &run);
	run.c.target = good;
	run.c.negative = bad;
	check_fails(FNN_INVALID, "negative 3", call, &run);
	run.inputs[0] = check_tensor(1, 1, 3);
	check_fails(FNN_INVALID, "columns", call, &run);
	run.c.negative = NULL;
	check_fails(FNN_INVALID, "columns", call, &run);
	check_end();

	check_begin("beta of gbce");
	CHECK(check_close(fnn_gbce_beta(101, 10, 0), 1, 1e-12), "no calibration: 1");
	CHECK(check_close(fnn_gbce_beta(101, 10, 1), 0.1, 1e-12), "full calibration: the sampling rate");
	CHECK(check_close(fnn_gbce_beta(101, 10, 0.75), 0.325, 1e-12), "0.1 (0.75 (1 - 10) + 10)");
	CHECK(fnn_gbce_beta(1, 10, 0.75) == 1, "a catalogue of one item has nothing to sample");
	check_end();
}

void
check_losses(void)
{
	check_products();
	check_columns();
	check_values();
	check_row_weights();
	check_slopes();
	check_large_tables();
	check_identities();
	check_differences();
	check_arguments();
}

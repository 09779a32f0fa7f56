/*
 * check_basic.c
 *	  Matrix products, the functions kernels are made of, parameter blocks, the
 *	  tape, and the row-wise operations.
 */
#include <math.h>
#include <string.h>

#include "check.h"
#include "nn/base/tape_private.h"

#ifdef FNN_DOUBLE
#define EXACT 1e-12
#else
#define EXACT 2e-6
#endif

static const int64_t shapes[][3] = {{1, 1, 1}, {1, 5, 3}, {7, 1, 2}, {3, 17, 5}, {33, 16, 65}, {64, 9, 64}};

#define N_SHAPES ((int) (sizeof(shapes) / sizeof(shapes[0])))

/* ---------------------------------------------------------------- products */

static void
check_one_gemm(int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b, double alpha, double beta)
{
	int64_t		lda = (transpose_a ? m : k) + 3;
	int64_t		ldb = (transpose_b ? k : n) + 2;
	int64_t		ldc = n + 1;
	FnnTensor  *a = check_tensor(1, transpose_a ? k : m, lda);
	FnnTensor  *b = check_tensor(2, transpose_b ? n : k, ldb);
	FnnTensor  *c = check_tensor(3, m, ldc);
	FnnTensor  *old = check_tensor(3, m, ldc);
	double		worst = 0;

	/* with beta = 0 what was there does not count, not even NaN */
	for (int64_t i = 0; beta == 0 && i < m; i++)
		for (int64_t j = 0; j < n; j++)
			c->value[i * ldc + j] = NAN;
	fnn_gemm(check_host(), transpose_a, transpose_b, m, n, k, (fnn_real) alpha, a->value, lda, b->value, ldb,
			 (fnn_real) beta, c->value, ldc);
	for (int64_t i = 0; i < m; i++)
	{
		for (int64_t j = 0; j < n; j++)
		{
			double		sum = 0;
			double		error;

			for (int64_t l = 0; l < k; l++)
				sum += (double) a->value[transpose_a ? l * lda + i : i * lda + l]
					* (double) b->value[transpose_b ? j * ldb + l : l * ldb + j];
			sum = alpha * sum + (beta == 0 ? 0 : beta * (double) old->value[i * ldc + j]);
			error = fabs(sum - (double) c->value[i * ldc + j]) / fmax(1, fabs(sum));
			worst = error <= worst ? worst : error;
		}
		CHECK(c->value[i * ldc + n] == old->value[i * ldc + n], "row %d was written beyond its end", (int) i);
	}
	CHECK(worst <= EXACT * 20, "%dx%dx%d%s%s is off by %g", (int) m, (int) n, (int) k,
		  transpose_a ? ", a transposed" : "", transpose_b ? ", b transposed" : "", worst);
}

static int	polls;

static void
count_poll(void *context)
{
	polls++;
}

static void
check_products(void)
{
	for (int s = 0; s < N_SHAPES; s++)
	{
		int64_t		m = shapes[s][0];
		int64_t		n = shapes[s][1];
		int64_t		k = shapes[s][2];

		check_begin("products: %d x %d x %d", (int) m, (int) n, (int) k);
		for (int t = 0; t < 4; t++)
		{
			check_one_gemm(m, n, k, t & 1, t & 2, 1, 0);
			check_one_gemm(m, n, k, t & 1, t & 2, -0.5, 1);
		}
		check_one_gemm(m, n, 0, false, false, 1, 0);
		check_one_gemm(m, n, 0, false, false, 1, 0.5);
		check_end();
	}
}

/* Sides whose product is several pieces, each side in turn being the one that is cut. */
static void
check_cut_products(void)
{
#ifdef FNN_GEMM_PIECE
	const int64_t sides[] = {10, 50, 1000};
	const int	step = 1;
#else
	const int64_t sides[] = {150, 900, 12000};
	const int	step = 5;
#endif
	FnnHost		host = *check_host();

	host.poll = count_poll;
	for (int t = 0; t < 12; t += step)
	{
		bool		transpose_a = t & 1;
		bool		transpose_b = t & 2;
		int64_t		m = sides[t / 4];
		int64_t		n = sides[(t / 4 + 1) % 3];
		int64_t		k = sides[(t / 4 + 2) % 3];
		int64_t		lda = transpose_a ? m : k;
		int64_t		ldb = transpose_b ? k : n;
		FnnMark		mark = fnn_arena_mark(check_arena());
		FnnTensor  *a = check_tensor(1, m, k);
		FnnTensor  *b = check_tensor(2, k, n);
		FnnTensor  *c = check_tensor(3, m, n);
		double		worst = 0;

		check_begin("products: %d x %d x %d is cut, with polls between%s%s", (int) m, (int) n, (int) k,
					transpose_a ? ", a transposed" : "", transpose_b ? ", b transposed" : "");
		polls = 0;
		fnn_gemm(&host, transpose_a, transpose_b, m, n, k, 1, a->value, lda, b->value, ldb, 0.5, c->value, n);
		for (int64_t at = 0; at < m * n; at += 97)
		{
			double		sum = 0.25 * fnn_random_normal(3, 0, at);

			for (int64_t l = 0; l < k; l++)
				sum += (double) a->value[transpose_a ? l * lda + at / n : at / n * lda + l]
					* (double) b->value[transpose_b ? at % n * ldb + l : l * ldb + at % n];
			worst = fmax(worst, fabs(sum - (double) c->value[at]));
		}
		CHECK(worst < EXACT * 100, "off by %g", worst);
		CHECK(polls >= 4, "%d polls", polls);
		fnn_arena_reset(check_arena(), mark);
		check_end();
	}
}

/* ---------------------------------------------------------------- functions */

static void
check_functions(void)
{
	double		worst[5] = {0};

	check_begin("functions: exp, sigmoid, tanh, normal distribution");
	for (int i = -8700; i <= 8800; i++)
	{
		double		x = (fnn_real) (i * 0.01);
		fnn_real	density;

		worst[0] = fmax(worst[0], fabs((double) fnn_exp((fnn_real) x) / exp(x) - 1));
		worst[1] = fmax(worst[1], fabs((double) fnn_sigmoid((fnn_real) x) - 1 / (1 + exp(-x))));
		x = (fnn_real) (i * 0.001);
		worst[2] = fmax(worst[2], fabs((double) fnn_tanh((fnn_real) x) - tanh(x)));
		worst[3] = fmax(worst[3], fabs((double) fnn_normal_cdf((fnn_real) x, &density) - 0.5 * erfc(-x * M_SQRT1_2)));
		worst[4] = fmax(worst[4], fabs((double) density - exp(-x * x / 2) / sqrt(2 * M_PI)));
	}
	CHECK(worst[0] < 2e-7, "exp is off by %g relatively", worst[0]);
	CHECK(worst[1] < 2e-7, "sigmoid is off by %g", worst[1]);
	CHECK(worst[2] < 3e-7, "tanh is off by %g", worst[2]);
	CHECK(worst[3] < 3e-7, "the normal distribution is off by %g", worst[3]);
	CHECK(worst[4] < 2e-7, "its density is off by %g", worst[4]);
	CHECK(fnn_exp(0) == 1, "exp 0 is %.9g", (double) fnn_exp(0));
	CHECK(fnn_exp(-INFINITY) == 0, "exp of -infinity is %g", (double) fnn_exp(-INFINITY));
	CHECK(fnn_exp(-1000) == 0, "exp -1000 is %g", (double) fnn_exp(-1000));
	CHECK(fnn_exp(1000) > 2e38, "exp 1000 is %g", (double) fnn_exp(1000));
	CHECK(isnan(fnn_exp(NAN)) && isnan(fnn_tanh(NAN)) && isnan(fnn_sigmoid(NAN)), "NaN is lost");
	CHECK(fabs((double) fnn_tanh((fnn_real) 1e-4) / tanh(1e-4) - 1) < 1e-6, "tanh 1e-4 is %.9g",
		  (double) fnn_tanh((fnn_real) 1e-4));
	CHECK(fnn_tanh(50) == 1 && fnn_tanh(-50) == -1, "tanh 50 is %g", (double) fnn_tanh(50));
	check_end();
}

/* ---------------------------------------------------------------- parameters */

static void
add_twice(void *context)
{
	fnn_params_add(context, check_host(), "b", 1, 1, FNN_INIT_ZERO, 0);
}

static void
add_long_name(void *context)
{
	fnn_params_add(context, check_host(), "0123456789012345678901234567890123456789012345678901234567890123",
				   1, 1, FNN_INIT_ZERO, 0);
}

static void
add_huge(void *context)
{
	fnn_params_add(context, check_host(), "huge", INT64_C(1) << 31, INT64_C(1) << 31, FNN_INIT_ZERO, 0);
}

static void
check_parameters(void)
{
	FnnParams  *params = fnn_zalloc(check_arena(), sizeof(FnnParams));
	FnnParam   *a = fnn_params_add(params, check_host(), "a", 3, 5, FNN_INIT_NORMAL, 0.25);
	FnnParam   *b = fnn_params_add(params, check_host(), "b", 1, 1000, FNN_INIT_UNIFORM, 2);
	FnnParam   *c = fnn_params_add(params, check_host(), "c", 1, 1, FNN_INIT_ONE, 0);
	FnnParam   *d = fnn_params_add(params, check_host(), "d", 2, 2, FNN_INIT_ZERO, 0);
	fnn_real   *values;
	fnn_real   *again;
	fnn_real   *grads;
	FnnSparse	sparse;
	FnnSparse  *sparses[4] = {NULL, NULL, NULL, &sparse};
	FnnTensor	tensors[4];
	double		squares = 0;

	check_begin("parameters: layout, initial values, binding");
	CHECK(a->offset == 0 && b->offset >= 15 && c->offset >= b->offset + 1000 && params->size >= d->offset + 4,
		  "slices overlap");
	CHECK(b->offset * sizeof(fnn_real) % FNN_ALIGN == 0 && d->offset * sizeof(fnn_real) % FNN_ALIGN == 0,
		  "a slice is not aligned");
	CHECK(fnn_params_find(params, "c") == 2 && fnn_params_find(params, "e") == -1, "find does not find");
	values = fnn_alloc_reals(check_arena(), 1, params->size);
	again = fnn_alloc_reals(check_arena(), 1, params->size);
	grads = fnn_alloc_reals(check_arena(), 1, params->size);
	memset(values, 0xff, params->size * sizeof(fnn_real));
	fnn_params_init(params, check_host(), 5, values);
	fnn_params_init(params, check_host(), 5, again);
	CHECK(memcmp(values, again, params->size * sizeof(fnn_real)) == 0, "the same seed gives other values");
	fnn_params_init(params, check_host(), 6, again);
	CHECK(values[0] != again[0] && values[b->offset] != again[b->offset], "another seed gives the same values");
	CHECK(values[15] == 0, "a gap is %g", (double) values[15]);
	CHECK(values[c->offset] == 1 && values[d->offset + 3] == 0, "ones and zeros are not");
	CHECK(check_close(values[7], 0.25 * fnn_random_normal(5, 0, 7), 1e-6), "slice 0 does not draw from stream 0");
	CHECK(check_close(values[b->offset + 7], 4 * fnn_random_uniform(5, 1, 7) - 2, 1e-6),
		  "slice 1 does not draw from stream 1");
	for (int i = 0; i < 1000; i++)
	{
		double		x = values[b->offset + i];

		CHECK(x >= -2 && x < 2, "%g is not in -2 .. 2", x);
		squares += x * x / 1000;
	}
	CHECK(fabs(squares - 4.0 / 3) < 0.2, "mean square %g", squares);

	b->frozen = true;
	fnn_params_bind(params, tensors, values, grads, sparses);
	CHECK(tensors[0].value == values && tensors[0].grad == grads && tensors[0].rows == 3 && tensors[0].cols == 5,
		  "the first slice is not bound");
	CHECK(tensors[1].value == values + b->offset && !fnn_has_grad(&tensors[1]), "a frozen slice has a gradient");
	CHECK(tensors[3].grad == NULL && tensors[3].sparse == &sparse, "the sparse gradient is not used");
	fnn_params_bind(params, tensors, values, NULL, sparses);
	CHECK(!fnn_has_grad(&tensors[0]) && !fnn_has_grad(&tensors[3]), "inference has gradients");
	check_fails(FNN_INVALID, "declared twice", add_twice, params);
	check_fails(FNN_INVALID, "1 to 63 bytes", add_long_name, params);
	check_fails(FNN_LIMIT, "beyond", add_huge, params);
	CHECK(params->count == 4, "a refused slice was added");
	check_end();
}

/* A sparse gradient in place of the tensor's dense one. */
static void
make_sparse(FnnTensor *table, int64_t capacity)
{
	FnnSparse  *sparse = fnn_alloc(check_arena(), sizeof(FnnSparse));
	size_t		bytes = fnn_sparse_bytes(check_host(), table->rows, table->cols, capacity);

	fnn_sparse_init(sparse, fnn_alloc(check_arena(), bytes), table->rows, table->cols, capacity);
	table->grad = NULL;
	table->sparse = sparse;
}

static void
touch_third(void *context)
{
	fnn_grad_row(check_host(), context, 4);
}

static void
touch_outside(void *context)
{
	fnn_grad_row(check_host(), context, 9);
}

static void
check_sparse(void)
{
	FnnTensor  *table = check_tensor(1, 9, 3);
	fnn_real   *row;

	check_begin("parameters: sparse gradients");
	make_sparse(table, 2);
	for (int round = 0; round < 3; round++)
	{
		row = fnn_grad_row(check_host(), table, 7);
		CHECK(row[0] == 0 && row[2] == 0, "a fresh row is not zero");
		row[0] += 5;
		row = fnn_grad_row(check_host(), table, 2);
		row[2] += 1;
		CHECK(fnn_grad_row(check_host(), table, 7)[0] == 5, "the second touch of a row gives another");
		CHECK(table->sparse->count == 2 && table->sparse->touched[0] == 7 && table->sparse->touched[1] == 2,
			  "touched rows are not in order of first touch");
		check_fails(FNN_INVALID, "more than 2 rows", touch_third, table);
		check_fails(FNN_INVALID, "no row 9", touch_outside, table);
		fnn_sparse_clear(table->sparse);
		CHECK(table->sparse->count == 0 && table->sparse->place[7] == -1, "clear leaves rows");
	}
	check_end();
}

/* ---------------------------------------------------------------- operations */

/* What one operation's graph needs beyond its inputs. */
typedef struct Operation
{
	FnnActivation activation;
	const int32_t *id;
	const int32_t *position;
	int64_t		n;
	double		p;
	bool		with_bias;
} Operation;

static void
run_linear(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Operation *operation = context;

	check_loss(tape, fnn_linear(tape, inputs[0], inputs[1], operation->with_bias ? inputs[2] : NULL,
								operation->activation));
}

static double
activate(FnnActivation activation, double z)
{
	switch (activation)
	{
		case FNN_RELU:
			return fmax(z, 0);
		case FNN_GELU:
			return z * 0.5 * erfc(-z * M_SQRT1_2);
		case FNN_SIGMOID:
			return 1 / (1 + exp(-z));
		case FNN_TANH:
			return tanh(z);
		default:
			return z;
	}
}

/* Gradients of all inputs, then with each of them frozen in turn, then with only that one not frozen. */
static void
check_frozen_variants(int n_inputs, FnnTensor **inputs,
					  void (*run) (FnnTape *tape, FnnTensor *const *inputs, void *context), void *context)
{
	FnnTensor	saved[FNN_NODE_INPUTS];

	check_gradients(n_inputs, inputs, run, context);
	for (int i = 0; i < n_inputs; i++)
		saved[i] = *inputs[i];
	for (int variant = 0; variant < 2 * n_inputs; variant++)
	{
		for (int i = 0; i < n_inputs; i++)
			if ((i == variant / 2) == (variant % 2 == 0))
			{
				inputs[i]->grad = NULL;
				inputs[i]->sparse = NULL;
			}
		check_gradients(n_inputs, inputs, run, context);
		for (int i = 0; i < n_inputs; i++)
			*inputs[i] = saved[i];
	}
}

static void
check_linear_values(FnnTensor *x, FnnTensor *weight, FnnTensor *bias, FnnActivation activation)
{
	FnnTape		tape;
	FnnTensor  *y;
	double		worst = 0;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	y = fnn_linear(&tape, x, weight, bias, activation);
	CHECK(y->rows == x->rows && y->cols == weight->rows && y->grad == NULL && tape.last == NULL,
		  "inference gives a wrong shape or records");
	for (int64_t i = 0; i < y->rows; i++)
		for (int64_t j = 0; j < y->cols; j++)
		{
			double		z = bias != NULL ? bias->value[j] : 0;

			for (int64_t l = 0; l < x->cols; l++)
				z += (double) x->value[i * x->cols + l] * (double) weight->value[j * x->cols + l];
			worst = fmax(worst, fabs(activate(activation, z) - (double) y->value[i * y->cols + j]));
		}
	CHECK(worst < EXACT * 20, "values are off by %g", worst);
}

static void
check_linear(void)
{
	static const char *const names[] = {"identity", "relu", "gelu", "sigmoid", "tanh"};

	for (int s = 0; s < N_SHAPES; s++)
	{
		FnnTensor  *inputs[3] = {check_tensor(1, shapes[s][0], shapes[s][2]),
		check_tensor(2, shapes[s][1], shapes[s][2]), check_tensor(3, 1, shapes[s][1])};

		for (int activation = 0; activation < 5; activation++)
		{
			Operation	operation = {.activation = activation, .with_bias = true};

			check_begin("linear: %d x %d x %d, %s", (int) shapes[s][0], (int) shapes[s][1], (int) shapes[s][2],
						names[activation]);
			check_linear_values(inputs[0], inputs[1], inputs[2], activation);
			check_linear_values(inputs[0], inputs[1], NULL, activation);
			if (s <= 3)
				check_frozen_variants(3, inputs, run_linear, &operation);
			else if (activation == FNN_GELU)
				check_gradients(3, inputs, run_linear, &operation);
			operation.with_bias = false;
			if (s <= 3)
				check_frozen_variants(2, inputs, run_linear, &operation);
			check_end();
		}
	}
}

static void
run_embed(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Operation *operation = context;

	check_loss(tape, fnn_embed(tape, inputs[0], operation->id, operation->n, 1.5,
							   operation->position != NULL ? inputs[1] : NULL, operation->position));
}

static void
run_rows(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Operation *operation = context;

	check_loss(tape, fnn_rows(tape, inputs[0], operation->id, operation->n));
}

static void
embed_outside(void *context)
{
	static const int32_t id[] = {0, 4};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	fnn_embed(&tape, context, id, 2, 1, NULL, NULL);
}

static void
pick_negative(void *context)
{
	static const int32_t id[] = {-1};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	fnn_rows(&tape, context, id, 1);
}

static void
check_tables(void)
{
	static const int32_t id[] = {2, 0, 2, 2, 3, 0, 2};
	static const int32_t position[] = {0, 1, 2, 0, 1, 0, 1};
	static const int64_t widths[] = {1, 3, 16, 21};

	for (int w = 0; w < 4; w++)
	{
		int64_t		d = widths[w];
		FnnTensor  *inputs[2] = {check_tensor(1, 4, d), check_tensor(2, 3, d)};
		Operation	operation = {.id = id, .position = position, .n = 7};
		FnnTape		tape;
		FnnTensor  *y;
		double		worst = 0;

		check_begin("embed and rows: width %d", (int) d);
		fnn_tape_begin(&tape, check_arena(), true, 0, 0);
		y = fnn_embed(&tape, inputs[0], id, 7, 1.5, inputs[1], position);
		for (int i = 0; i < 7; i++)
			for (int64_t c = 0; c < d; c++)
				worst = fmax(worst, fabs((double) y->value[i * d + c] - 1.5 * (double) inputs[0]->value[id[i] * d + c]
										 - (double) inputs[1]->value[position[i] * d + c]));
		CHECK(worst < EXACT, "embed is off by %g", worst);
		y = fnn_rows(&tape, inputs[0], id, 7);
		for (int i = 0; i < 7; i++)
			CHECK(memcmp(y->value + i * d, inputs[0]->value + id[i] * d, d * sizeof(fnn_real)) == 0, "row %d", i);
		check_frozen_variants(2, inputs, run_embed, &operation);
		check_frozen_variants(1, inputs, run_rows, &operation);
		make_sparse(inputs[0], 3);
		check_frozen_variants(2, inputs, run_embed, &operation);
		check_gradients(1, inputs, run_rows, &operation);
		make_sparse(inputs[1], 3);
		check_gradients(2, inputs, run_embed, &operation);
		operation.position = NULL;
		check_gradients(1, inputs, run_embed, &operation);
		operation.n = 1;
		check_gradients(1, inputs, run_embed, &operation);
		check_fails(FNN_INVALID, "no row 4", embed_outside, inputs[0]);
		check_fails(FNN_INVALID, "no row -1", pick_negative, inputs[0]);
		check_end();
	}
}

static void
run_layer_norm(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_layer_norm(tape, inputs[0], inputs[1], inputs[2], 1e-2));
}

static void
check_layer_norm(void)
{
	static const int64_t sizes[][2] = {{1, 1}, {1, 2}, {5, 3}, {2, 16}, {3, 37}, {2, 64}};

	for (int s = 0; s < 6; s++)
	{
		int64_t		n = sizes[s][0];
		int64_t		d = sizes[s][1];
		FnnTensor  *inputs[3] = {check_tensor(1, n, d), check_tensor(2, 1, d), check_tensor(3, 1, d)};
		FnnTape		tape;
		FnnTensor  *y;

		check_begin("layer norm: %d x %d", (int) n, (int) d);
		fnn_tape_begin(&tape, check_arena(), false, 0, 0);
		y = fnn_layer_norm(&tape, inputs[0], inputs[1], inputs[2], 1e-2);
		for (int64_t r = 0; r < n; r++)
		{
			const fnn_real *x = inputs[0]->value + r * d;
			double		mean = 0;
			double		variance = 0;

			for (int64_t c = 0; c < d; c++)
				mean += x[c] / (double) d;
			for (int64_t c = 0; c < d; c++)
				variance += (x[c] - mean) * (x[c] - mean) / (double) d;
			for (int64_t c = 0; c < d; c++)
			{
				double		expected = (x[c] - mean) / sqrt(variance + 1e-2) * (double) inputs[1]->value[c]
					+ (double) inputs[2]->value[c];

				CHECK(check_close(y->value[r * d + c], expected, EXACT * 5), "%g instead of %g",
					  (double) y->value[r * d + c], expected);
			}
		}
		check_frozen_variants(3, inputs, run_layer_norm, NULL);
		check_end();
	}
}

static void
run_dropout(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Operation *operation = context;
	FnnTensor  *y = fnn_dropout(tape, inputs[0], operation->p);

	y = fnn_add_dropout(tape, inputs[1], y, operation->p);
	/* one tensor used twice: both uses add to its gradient */
	check_loss(tape, fnn_add_dropout(tape, y, y, operation->p));
}

static void
drop_everything(void *context)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 0, 0);
	fnn_dropout(&tape, context, 1.0);
}

static void
check_dropout(void)
{
	static const double probability[] = {0, 0.3, 0.75};

	for (int i = 0; i < 3; i++)
	{
		FnnTensor  *inputs[2] = {check_tensor(1, 5, 7), check_tensor(2, 5, 7)};
		Operation	operation = {.p = probability[i]};

		check_begin("dropout: gradients at p = %g", probability[i]);
		check_frozen_variants(2, inputs, run_dropout, &operation);
		check_end();
	}
}

static void
check_dropout_values(void)
{
	FnnTensor  *x = check_tensor(1, 100, 100);
	FnnTensor  *zero = check_tensor(2, 100, 100);
	FnnTensor  *y;
	FnnTensor  *z;
	FnnTape		tape;
	double		mean = 0;

	check_begin("dropout: identities");
	for (int i = 0; i < 10000; i++)
	{
		x->value[i] = 1;
		zero->value[i] = 0;
	}
	fnn_tape_begin(&tape, check_arena(), true, 5, 6);
	CHECK(fnn_dropout(&tape, x, 0) == x && tape.draws == 0, "p = 0 is not the identity");
	y = fnn_dropout(&tape, x, 0.2);
	for (int i = 0; i < 10000; i++)
		mean += y->value[i] / 10000;
	CHECK(fabs(mean - 1) < 6 * 0.5 / 100, "the mean becomes %g", mean);
	z = fnn_dropout(&tape, x, 0.2);
	CHECK(memcmp(y->value, z->value, 10000 * sizeof(fnn_real)) != 0, "two operations draw the same mask");
	fnn_tape_begin(&tape, check_arena(), true, 5, 6);
	z = fnn_add_dropout(&tape, zero, x, 0.2);
	CHECK(memcmp(y->value, z->value, 10000 * sizeof(fnn_real)) == 0, "the same draw gives another mask");
	fnn_tape_begin(&tape, check_arena(), true, 5, 7);
	z = fnn_dropout(&tape, x, 0.2);
	CHECK(memcmp(y->value, z->value, 10000 * sizeof(fnn_real)) != 0, "another stream draws the same mask");
	fnn_tape_begin(&tape, check_arena(), false, 5, 6);
	CHECK(fnn_dropout(&tape, x, 0.2) == x, "inference drops");
	z = fnn_add_dropout(&tape, x, x, 0.2);
	CHECK(z->value[0] == 2 && z->value[9999] == 2 && z->grad == NULL, "inference drops in a sum");
	check_fails(FNN_INVALID, "not in the range", drop_everything, x);
	check_end();
}

/* A frozen weight in the middle of a graph: gradients pass through it to what lies before. */
static void
run_chain(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	FnnTensor  *x = fnn_linear(tape, inputs[0], inputs[1], NULL, FNN_TANH);
	FnnTensor  *y = fnn_linear(tape, x, inputs[2], NULL, FNN_GELU);

	y = fnn_add_dropout(tape, x, y, 0.1);
	check_loss(tape, fnn_layer_norm(tape, y, inputs[3], inputs[4], 1e-5));
}

static void
check_tape(void)
{
	FnnTensor  *inputs[5] = {check_tensor(1, 4, 6), check_tensor(2, 6, 6), check_tensor(3, 6, 6),
	check_tensor(4, 1, 6), check_tensor(5, 1, 6)};
	FnnTape		tape;
	FnnTensor  *y;

	check_begin("tape: a chain through a frozen weight; what needs no gradient is not recorded");
	inputs[2]->grad = NULL;
	check_frozen_variants(5, inputs, run_chain, NULL);
	inputs[0]->grad = NULL;
	fnn_tape_begin(&tape, check_arena(), true, 0, 0);
	y = fnn_linear(&tape, inputs[0], inputs[2], NULL, FNN_RELU);
	CHECK(y->grad == NULL && tape.last == NULL, "a frozen operation is recorded");
	y = fnn_tensor(&tape, 3, 2, true);
	CHECK(y->grad != NULL && y->grad[0] == 0 && y->grad[5] == 0, "a tensor's gradient does not start at zero");
	y = fnn_constant(&tape, 4, 6, inputs[0]->value);
	CHECK(!fnn_has_grad(y) && y->value == inputs[0]->value, "a constant has a gradient");
	fnn_tape_backward(&tape);
	check_end();
}

void
check_basic_operations(void)
{
	check_products();
	check_cut_products();
	check_functions();
	check_parameters();
	check_sparse();
	check_linear();
	check_tables();
	check_layer_norm();
	check_dropout();
	check_dropout_values();
	check_tape();
}

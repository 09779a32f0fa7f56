/*
 * check_optimiser.c
 *	  Learning rate, sum over shards, AdamW: against answers worked out by hand
 *	  and against a plain double-precision AdamW.
 */
#include <math.h>
#include <string.h>

#include "check.h"

#ifdef FNN_DOUBLE
#define EXACT 1e-12
#else
#define EXACT 2e-6
#endif

static void
check_learning_rate(void)
{
	check_begin("optimiser: learning rate");
	CHECK(check_close(fnn_learning_rate(0.5, 1, 4, 1, 0), 0.125, 1e-15), "first of four warm-up steps");
	CHECK(check_close(fnn_learning_rate(0.5, 4, 4, 1, 0), 0.5, 1e-15), "last warm-up step");
	CHECK(check_close(fnn_learning_rate(0.5, 1, 0, 1, 0), 0.5, 1e-15), "no warm-up");
	CHECK(check_close(fnn_learning_rate(0.5, 9, 4, 0.5, 2), 0.125, 1e-15), "decay over two epochs");
	CHECK(check_close(fnn_learning_rate(0.5, 2, 4, 0.25, 0.5), 0.125, 1e-15), "decay while warming up");
	check_end();
}

/* ---------------------------------------------------------------- sum over shards */

static void
check_reduce(void)
{
	enum
	{
		CHUNK = FNN_REDUCE_CHUNK,
		CHUNKS = 5,
		SIZE = (CHUNKS - 1) * CHUNK + 4000,
		SHARDS = 4
	};
	static const size_t cuts[][4] = {{SIZE, SIZE, SIZE, SIZE}, {CHUNK, SIZE, SIZE, SIZE},
	{CHUNK, 2 * CHUNK, 3 * CHUNK, SIZE}, {3 * CHUNK, 4 * CHUNK, SIZE, SIZE}};
	fnn_real   *first = fnn_alloc_reals(check_arena(), 4, SIZE);
	double		squares[4][CHUNKS];
	fnn_real   *slots[SHARDS];

	check_begin("optimiser: the sum over shards does not depend on how the block is cut");
	for (int s = 0; s < SHARDS; s++)
		slots[s] = check_tensor(100 + s, 1, SIZE)->value;
	for (int cut = 0; cut < 4; cut++)
	{
		size_t		from = 0;

		memcpy(first + cut * SIZE, slots[0], SIZE * sizeof(fnn_real));
		slots[0] = check_tensor(100, 1, SIZE)->value;
		for (int i = 0; i < 4 && from < SIZE; i++)
		{
			fnn_reduce(slots, SHARDS, from, cuts[cut][i], squares[cut]);
			from = cuts[cut][i];
		}
		memcpy(first + cut * SIZE, slots[0], SIZE * sizeof(fnn_real));
		CHECK(memcmp(first, first + cut * SIZE, SIZE * sizeof(fnn_real)) == 0, "cut %d gives other sums", cut);
		CHECK(memcmp(squares[0], squares[cut], sizeof(squares[0])) == 0, "cut %d gives other squares", cut);
	}
	slots[0] = check_tensor(100, 1, SIZE)->value;
	for (int c = 0; c < CHUNKS; c++)
	{
		double		sum = 0;

		for (int i = c * CHUNK; i < SIZE && i < (c + 1) * CHUNK; i++)
		{
			fnn_real	total = slots[0][i];

			for (int s = 1; s < SHARDS; s++)
				total += slots[s][i];
			CHECK(total == first[i], "element %d is %.9g instead of %.9g", i, (double) first[i], (double) total);
			sum += (double) total * (double) total;
		}
		CHECK(check_close(sum, squares[0][c], 1e-12), "squares of chunk %d are %g instead of %g", c, squares[0][c],
			  sum);
	}
	fnn_reduce(slots, 1, 0, SIZE, squares[1]);
	CHECK(memcmp(slots[0], check_tensor(100, 1, SIZE)->value, SIZE * sizeof(fnn_real)) == 0, "one shard is changed");
	check_end();
}

/* ---------------------------------------------------------------- AdamW */

/*
 * With beta1 = beta2 = 0 and epsilon = 0 every step moves a weight by the
 * learning rate against its gradient's sign; powers of two make it exact.
 */
static void
check_signs(void)
{
	FnnAdamW	adamw = {.learning_rate = 0.25};
	FnnParams  *params = fnn_zalloc(check_arena(), sizeof(FnnParams));
	size_t		n;
	fnn_real   *value;
	fnn_real   *grad;
	fnn_real   *m;
	fnn_real   *v;
	bool		right = true;
	bool		kept = true;

	check_begin("optimiser: without momentum a step is the learning rate; decay, frozen, sparse, range");
	fnn_params_add(params, check_host(), "plain", 7, 3, FNN_INIT_ZERO, 0);
	fnn_params_add(params, check_host(), "frozen", 2, 9, FNN_INIT_ZERO, 0)->frozen = true;
	fnn_params_add(params, check_host(), "sparse", 5, 4, FNN_INIT_ZERO, 0)->sparse = true;
	fnn_params_add(params, check_host(), "decayed", 1, 50, FNN_INIT_ZERO, 0)->decay = true;
	n = params->size;
	value = fnn_alloc_reals(check_arena(), 1, n);
	grad = fnn_alloc_reals(check_arena(), 1, n);
	m = fnn_zalloc(check_arena(), n * sizeof(fnn_real));
	v = fnn_zalloc(check_arena(), n * sizeof(fnn_real));
	adamw.weight_decay = 0.5;
	for (size_t i = 0; i < n; i++)
	{
		value[i] = 2;
		grad[i] = i % 2 ? 4 : -4;
	}
	fnn_adamw(&adamw, params, 1, 0.5, 0, params->list[3].offset + 16, value, grad, m, v);
	for (int p = 0; p < 4; p++)
	{
		const FnnParam *param = &params->list[p];

		for (int64_t j = 0; j < param->rows * param->cols; j++)
		{
			size_t		i = param->offset + j;
			double		step = i % 2 ? -0.25 : 0.25;

			if (p == 0)
				right = right && value[i] == 2 + step && m[i] == (i % 2 ? 2 : -2) && v[i] == 4;
			else if (p == 3 && j < 16)
				right = right && value[i] == 2 - 2 * 0.125 + step;
			else
				kept = kept && value[i] == 2 && m[i] == 0 && v[i] == 0;
		}
	}
	CHECK(right, "a weight did not move by the learning rate and its decay");
	CHECK(kept, "a weight moved that is frozen, sparse or out of range");
	check_end();
}

/* One element's AdamW in double, as written in the paper. */
typedef struct Reference
{
	double		w,
				m,
				v;
} Reference;

static void
reference_step(Reference *r, const FnnAdamW *adamw, int step, double g, bool decay)
{
	r->m = adamw->beta1 * r->m + (1 - adamw->beta1) * g;
	r->v = adamw->beta2 * r->v + (1 - adamw->beta2) * g * g;
	if (decay)
		r->w -= adamw->learning_rate * adamw->weight_decay * r->w;
	r->w -= adamw->learning_rate * (r->m / (1 - pow(adamw->beta1, step)))
		/ (sqrt(r->v / (1 - pow(adamw->beta2, step))) + adamw->epsilon);
}

static void
check_adamw(void)
{
	enum
	{
		N = 37,
		STEPS = 20
	};
	FnnAdamW	adamw = {0.01, 0.9, 0.999, 1e-8, 0.1};
	FnnParams  *params = fnn_zalloc(check_arena(), sizeof(FnnParams));
	FnnTensor  *value = check_tensor(1, 1, N);
	fnn_real   *m = fnn_zalloc(check_arena(), N * sizeof(fnn_real));
	fnn_real   *v = fnn_zalloc(check_arena(), N * sizeof(fnn_real));
	Reference	reference[N];

	check_begin("optimiser: %d steps of AdamW", STEPS);
	fnn_params_add(params, check_host(), "w", 1, N, FNN_INIT_ZERO, 0)->decay = true;
	for (int i = 0; i < N; i++)
		reference[i] = (Reference) {value->value[i], 0, 0};
	for (int step = 1; step <= STEPS; step++)
	{
		FnnTensor  *grad = check_tensor(step + 1, 1, N);

		/* cut in two: the second call must not count the step again */
		fnn_adamw(&adamw, params, step, 0.5, 0, 16, value->value, grad->value, m, v);
		fnn_adamw(&adamw, params, step, 0.5, 16, params->size, value->value, grad->value, m, v);
		for (int i = 0; i < N; i++)
			reference_step(&reference[i], &adamw, step, 0.5 * (double) grad->value[i], true);
	}
	for (int i = 0; i < N; i++)
	{
		CHECK(check_close(value->value[i], reference[i].w, EXACT * 5), "weight %d is %.9g instead of %.9g",
			  i, (double) value->value[i], reference[i].w);
		CHECK(check_close(m[i], reference[i].m, EXACT) && check_close(v[i], reference[i].v, EXACT),
			  "moments of weight %d", i);
	}
	check_end();
}

/*
 * Rows touched now and then, against dense AdamW whose gradients are zero in
 * between: the moments must agree whenever a row has just been touched, the
 * weights in rows touched at every step.
 */
static void
check_lazy(void)
{
	enum
	{
		ROWS = 6,
		COLS = 5,
		STEPS = 12
	};
	FnnAdamW	adamw = {0.01, 0.9, 0.99, 1e-8, 0.1};
	FnnParams  *params = fnn_zalloc(check_arena(), sizeof(FnnParams));
	FnnParam   *param;
	FnnSparse	sparse;
	FnnTensor	table = {ROWS, COLS, NULL, NULL, &sparse};
	fnn_real   *value;
	fnn_real   *m;
	fnn_real   *v;
	fnn_real	start;
	int32_t    *last = fnn_zalloc(check_arena(), ROWS * sizeof(int32_t));
	Reference	reference[ROWS][COLS];

	check_begin("optimiser: lazy AdamW holds the moments of dense AdamW");
	fnn_params_add(params, check_host(), "before", 3, 3, FNN_INIT_ZERO, 0);
	param = fnn_params_add(params, check_host(), "table", ROWS, COLS, FNN_INIT_NORMAL, 1);
	param->sparse = true;
	param->decay = true;
	value = fnn_alloc_reals(check_arena(), 1, params->size);
	m = fnn_zalloc(check_arena(), params->size * sizeof(fnn_real));
	v = fnn_zalloc(check_arena(), params->size * sizeof(fnn_real));
	fnn_params_init(params, check_host(), 1, value);
	start = value[param->offset + 5 * COLS];
	fnn_sparse_init(&sparse, fnn_alloc(check_arena(), fnn_sparse_bytes(check_host(), ROWS, COLS, ROWS)),
					ROWS, COLS, ROWS);
	for (int i = 0; i < ROWS * COLS; i++)
		reference[i / COLS][i % COLS] = (Reference) {value[param->offset + i], 0, 0};

	for (int step = 1; step <= STEPS; step++)
	{
		fnn_sparse_clear(&sparse);
		/* row 0 in every step, row r in every (r + 1)-th, the last one never */
		for (int r = ROWS - 2; r >= 0; r--)
			for (int c = 0; c < COLS; c++)
			{
				double		g = step % (r + 1) == 0 ? fnn_random_normal(9, step, r * COLS + c) : 0;

				if (step % (r + 1) == 0)
					fnn_grad_row(check_host(), &table, r)[c] = (fnn_real) g;
				reference_step(&reference[r][c], &adamw, step, g, true);
			}
		fnn_adamw_sparse(&adamw, param, step, 1, &sparse, 0, 1, value, m, v, last);
		fnn_adamw_sparse(&adamw, param, step, 1, &sparse, 1, sparse.count, value, m, v, last);
		for (int64_t i = 0; i < sparse.count; i++)
			for (int c = 0; c < COLS; c++)
			{
				int			row = sparse.touched[i];
				size_t		at = param->offset + row * COLS + c;

				CHECK(check_close(m[at], reference[row][c].m, EXACT) && check_close(v[at], reference[row][c].v, EXACT),
					  "moments of row %d after step %d", row, step);
				CHECK(row > 0 || check_close(value[at], reference[row][c].w, EXACT * 5),
					  "weights of row %d after step %d", row, step);
			}
	}
	CHECK(last[0] == STEPS && last[4] == 10 && last[5] == 0, "last steps %d, %d, %d", last[0], last[4], last[5]);
	CHECK(value[param->offset + 5 * COLS] == start && m[param->offset + 5 * COLS] == 0, "a row never touched moved");
	CHECK(value[0] == 0 && m[0] == 0, "the slice before was written");
	check_end();
}

void
check_optimiser(void)
{
	check_learning_rate();
	check_reduce();
	check_signs();
	check_adamw();
	check_lazy();
}

/*
 * check_mixture.c
 *	  What mixtures of experts are computed with: views of columns, gates,
 *	  running means, adapters, item graphs, and their losses; against plain
 *	  loops, by identities, and by finite differences.
 */
#include <math.h>
#include <string.h>

#include "check.h"
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

/* ---------------------------------------------------------------- views of columns */

typedef struct View
{
	int64_t		first;
	int64_t		cols;
	int64_t		n;
	const int32_t *target;		/* [n] */
	const int32_t *id;			/* [n] */
	const int32_t *negative;	/* [5] */
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
		numbers(7, 5, items, false), false};
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

void
check_mixture_operations(void)
{
	check_views();
	check_refused_views();
}

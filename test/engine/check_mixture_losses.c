/*
 * check_mixture_losses.c
 *	  What mixtures of experts learn from: views of a table's columns, the small
 *	  losses, and the softmax loss with terms; against copies and plain loops,
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
	fnn_gbce_loss(tape, inputs[0], table, v->target, NULL, v->negative, 5, 0.3, 0.4);
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
	loss = check_loss_of(inputs, run_view, v, true);
	CHECK(loss == check_loss_of(others, run_view, &copied, true), "another loss than of the columns on their own");
	CHECK(check_same(hidden->rows * hidden->cols, hidden->grad, other_hidden->grad),
		  "another gradient of the hidden rows");
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
		View		v = {
			shapes[s][3], shapes[s][4], n, check_numbers(5, n, items, true), check_numbers(6, n, items, false),
			check_numbers(7, 5, items, false), check_random_graph(items), false
		};
		FnnTensor  *inputs[] = {check_tensor(1, n, v.cols), check_tensor(2, items, shapes[s][2])};

		check_begin("columns %d to %d of a table of %d x %d", (int) v.first, (int) (v.first + v.cols - 1),
					(int) items, (int) shapes[s][2]);
		check_view_against_copy(inputs[0], inputs[1], &v);
		check_operation(2, inputs, run_view, &v);
		inputs[1] = check_sparse_copy(inputs[1]);
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
	const FnnSequences sequences = {.count = 1, .offset = offset};
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
			fnn_gbce_loss(&tape, view, plain, zeros, NULL, zeros, 1, 1, 1);
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

/* ---------------------------------------------------------------- small losses */

typedef struct Wanted
{
	int			n;				/* top of the softmax */
	const fnn_real *wanted;
	const float *row_weight;	/* NULL: all the same */
} Wanted;

static void
run_square(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	fnn_square_loss(tape, inputs[0], 0.3);
}

/* Of a softmax, as it is meant for, so that what is 0 stays so. */
static void
run_divergence(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Wanted *plan = context;

	fnn_divergence_loss(tape, fnn_softmax(tape, inputs[0], NULL, plan->n), plan->wanted, plan->row_weight,
						0.6);
}

static void
check_small_losses(void)
{
	static const fnn_real wanted[] = {0.25, 0.75, 0, NAN, 5, 5, 0, 0, 1, 0.5, 0.25, 0.25};
	static const fnn_real sure[] = {1, 0, 0};
	static const float weights[] = {0.5f, 3, 0, 1.75f};
	FnnTensor  *x = check_tensor(1, 4, 3);
	FnnTape		tape;

	for (int i = 0; i < 6; i++)
	{
		int			top = i / 2;
		Wanted		plan = {.wanted = wanted, .n = top, .row_weight = i % 2 == 0 ? NULL : weights};
		double		expected = 0;
		FnnTensor  *p;

		check_begin("divergence from a softmax, top %d%s", top, i % 2 == 0 ? "" : ", by weights");
		check_operation(1, &x, run_divergence, &plan);
		fnn_tape_begin(&tape, check_arena(), false, 1, 1);
		p = fnn_softmax(&tape, x, NULL, top);
		for (int k = 0; k < 12; k++)
			if (k / 3 != 1 && wanted[k] > 0)
				expected += (plan.row_weight != NULL ? weights[k / 3] : 1) * wanted[k] *
					log(wanted[k] / fmax(p->value[k], 1e-12));
		fnn_divergence_loss(&tape, p, wanted, plan.row_weight, 0.6);
		CHECK(check_close(tape.loss, 0.6 * expected, EXACT), "%.9g instead of %.9g", tape.loss, 0.6 * expected);
		check_end();
	}
	check_begin("divergence of what is wanted is 0; squares");
	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	fnn_divergence_loss(&tape, fnn_constant(&tape, 1, 3, (fnn_real *) sure), sure, NULL, 1);
	fnn_divergence_loss(&tape, fnn_constant(&tape, 0, 3, NULL), NULL, NULL, 1);
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
		loss = check_loss_of(views, run_contrast, &temperature, false);
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
		loss = check_loss_of(views, run_contrast, &temperature, true);
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
	const float *row_weight;	/* NULL: all the same */
} Raised;

static double
raised_weight(const Raised *raised, int64_t row)
{
	return raised->weight * (raised->row_weight != NULL ? (double) raised->row_weight[row] : 1);
}

#define TERM_COLUMN 1

/* inputs: hidden, table, weight of the terms */
static void
run_raised(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Raised *raised = context;
	const FnnSoftmaxExtra extra = {raised->row_loss, raised->terms, inputs[2], TERM_COLUMN, raised->row_weight};

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
		double		slope = raised_weight(raised, row) * (exp(score[i] - max) / sum - (i == raised->target[row]));

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
	got = check_loss_of(inputs, run_raised, (void *) raised, true);
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
		loss += raised_weight(raised, r) * row_loss;
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

/* From 0 to 2, some 0. */
static float *
random_weights(int64_t n)
{
	float	   *weight = fnn_alloc(check_arena(), (size_t) n * sizeof(float));

	for (int64_t i = 0; i < n; i++)
		weight[i] = i % 5 == 2 ? 0 : (float) (2 * fnn_random_uniform(11, 1, i));
	return weight;
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
		Raised		raised = {check_numbers(5, n, items, n > 1), random_terms(n, items),
		fnn_alloc(check_arena(), (size_t) n * sizeof(double)), 0.8};
		FnnTensor  *inputs[] = {check_tensor(1, n, shapes[s][2]), check_tensor(2, items, shapes[s][2]),
		check_tensor(3, n, 3)};

		check_begin("softmax loss with terms: %d rows, %d items, width %d", (int) n, (int) items, (int) shapes[s][2]);
		for (int wanted = s < 4 ? 0 : 5; wanted < 8; wanted += s < 4 ? 1 : 2)
			check_raised_values(inputs, &raised, wanted);
		if (s < 3)
			check_operation(3, inputs, run_raised, &raised);
		raised.row_weight = random_weights(n);
		check_raised_values(inputs, &raised, 7);
		if (s < 3)
			check_operation(3, inputs, run_raised, &raised);
		inputs[1] = check_tensor(2, items, shapes[s][2] + 2);
		if (s < 3)
			check_operation(3, inputs, run_raised_view, &raised);
		inputs[1] = check_sparse_copy(inputs[1]);
		if (s == 1)
			check_operation(3, inputs, run_raised_view, &raised);
		check_end();
		fnn_arena_reset(check_arena(), mark);
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
		extra.term_weight = check_sparse_copy(extra.term_weight);
	fnn_softmax_loss_with(&tape, check_tensor(2, 4, 3), check_tensor(3, 5, 3), target, 1, &extra);
}

static void
check_refused_terms(void)
{
	static const char *const messages[] = {
		"item 5", "item 2 after 2", "item -1", "no weight", "no weight in column 2", "no weight", "sparse gradient"
	};

	check_begin("terms that do not fit are refused");
	for (int which = 0; which < (int) (sizeof(messages) / sizeof(messages[0])); which++)
		check_fails(FNN_INVALID, messages[which], misuse_terms, &which);
	check_end();
}

void
check_mixture_losses(void)
{
	check_views();
	check_refused_views();
	check_small_losses();
	check_contrast();
	check_raised();
	check_refused_terms();
}

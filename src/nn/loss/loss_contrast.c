/*
 * loss_contrast.c
 *	  NT-Xent: two views of n things, each to be known by the other.
 *
 * With U [2 n, d] the rows of both views at length 1, the logits are
 * U Uᵀ / temperature without the diagonal.  They are made for ROWS rows at a
 * time; with S what the loss says of a block of them (probability, less 1 at
 * the answer), and U_b that block of U,
 *		gradient of U_b += S U / temperature,  of U += Sᵀ U_b / temperature
 * and that of a row x = |x| u is its part across u, over |x|.
 */
#include "nn/base/tape_private.h"
#include "nn/loss/loss.h"
#include "nn/loss/loss_private.h"
#include "nn/product/product.h"

#define ROWS 64

typedef struct Contrast
{
	int64_t		n;				/* rows of a view */
	int64_t		d;
	double		temperature;
	fnn_real   *unit;			/* [2 n, d] */
	fnn_real   *inverse;		/* [2 n] 1 / length; 0: of no length */
	fnn_real   *grad;			/* [2 n, d] of unit; NULL: not wanted */
	fnn_real   *tile;			/* [ROWS, 2 n] */
} Contrast;

/* Turns logits s[m] into weight * (probability - 1 at the answer), without element own; returns the cross-entropy. */
static FNN_CLONES double
row_gradient(int64_t m, int64_t own, int64_t answer, fnn_real weight, fnn_real *s)
{
	fnn_real	wanted = s[answer];
	fnn_real	max = -INFINITY;
	fnn_real	sum = 0;
	fnn_real	factor;

	s[own] = -INFINITY;
	_Pragma("omp simd reduction(max:max)")
	for (int64_t j = 0; j < m; j++)
		max = s[j] > max ? s[j] : max;
	FNN_SIMD_SUM(sum)
	for (int64_t j = 0; j < m; j++)
	{
		s[j] = fnn_exp(s[j] - max);
		sum += s[j];
	}
	factor = weight / sum;
	FNN_SIMD
	for (int64_t j = 0; j < m; j++)
		s[j] *= factor;
	s[answer] -= weight;
	return (double) max + log((double) sum) - (double) wanted;
}

/* Rows first .. first + rows - 1 of both views together: returns their loss. */
static double
run_rows(FnnTape *tape, const Contrast *contrast, int64_t first, int64_t rows, double weight)
{
	int64_t		m = 2 * contrast->n;
	int64_t		d = contrast->d;
	fnn_real   *tile = contrast->tile;
	const fnn_real *unit = contrast->unit + first * d;
	fnn_real	scale = (fnn_real) (1 / contrast->temperature);
	double		loss = 0;

	fnn_gemm(tape->host, false, true, rows, m, d, scale, unit, d, contrast->unit, d, 0, tile, m);
	for (int64_t r = 0; r < rows; r++)
	{
		int64_t		own = first + r;
		int64_t		answer = own < contrast->n ? own + contrast->n : own - contrast->n;

		fnn_poll(tape->host);
		loss += row_gradient(m, own, answer, (fnn_real) weight, tile + r * m);
	}
	if (contrast->grad != NULL)
	{
		fnn_gemm(tape->host, false, false, rows, d, m, scale, tile, m, contrast->unit, d,
				 1, contrast->grad + first * d, d);
		fnn_gemm(tape->host, true, false, m, d, rows, scale, tile, m, unit, d, 1, contrast->grad, d);
	}
	return loss;
}

/* Rows first .. first + n - 1 of unit are of x. */
static void
finish_view(FnnTape *tape, const Contrast *contrast, int64_t first, FnnTensor *x)
{
	int64_t		d = contrast->d;

	if (!tape->record || x->grad == NULL)
		return;
	for (int64_t r = 0; r < contrast->n; r++)
	{
		int64_t		at = (first + r) * d;

		if (r % 4096 == 0)
			fnn_poll(tape->host);
		fnn_normalise_back(d, contrast->grad + at, contrast->unit + at, contrast->inverse[first + r], x->grad + r * d);
	}
}

void
fnn_contrast_loss(FnnTape *tape, FnnTensor *a, FnnTensor *b, double temperature, double weight)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);
	Contrast	contrast = {a->rows, a->cols, temperature};
	int64_t		m = 2 * a->rows;
	double		loss = 0;

	fnn_refuse_view(tape, a);
	fnn_refuse_view(tape, b);
	if (a->rows != b->rows || a->cols != b->cols)
		fnn_fail(tape->host, FNN_INVALID, "a view of %lld x %lld cannot be told from one of %lld x %lld",
				 (long long) a->rows, (long long) a->cols, (long long) b->rows, (long long) b->cols);
	if (!(temperature > 0 && temperature < INFINITY))
		fnn_fail(tape->host, FNN_INVALID, "a temperature of %g is not positive", temperature);
	if (tape->record && (a->sparse != NULL || b->sparse != NULL))
		fnn_fail(tape->host, FNN_INVALID, "a contrast loss cannot have a sparse gradient");
	contrast.unit = fnn_alloc_reals(tape->arena, m, contrast.d);
	contrast.inverse = fnn_alloc_reals(tape->arena, 1, m);
	contrast.tile = fnn_alloc_reals(tape->arena, m < ROWS ? m : ROWS, m);
	if (tape->record && (a->grad != NULL || b->grad != NULL))
	{
		contrast.grad = fnn_alloc_reals(tape->arena, m, contrast.d);
		memset(contrast.grad, 0, (size_t) (m * contrast.d) * sizeof(fnn_real));
	}
	for (int64_t r = 0; r < m; r++)
	{
		const fnn_real *x = r < a->rows ? a->value + r * a->cols : b->value + (r - a->rows) * b->cols;

		if (r % 4096 == 0)
			fnn_poll(tape->host);
		contrast.inverse[r] = fnn_normalise(contrast.d, x, contrast.unit + r * contrast.d);
	}
	for (int64_t first = 0; first < m; first += ROWS)
		loss += run_rows(tape, &contrast, first, m - first < ROWS ? m - first : ROWS, weight);
	finish_view(tape, &contrast, 0, a);
	finish_view(tape, &contrast, contrast.n, b);
	tape->loss += weight * loss;
	fnn_arena_reset(tape->arena, mark);
}

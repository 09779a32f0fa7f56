/*
 * whiten.c
 *	  Items from their features by a mixture of linear maps: the maps, their noisy
 *	  gate, rows of one length, and products of two modalities.
 *
 * The results of all maps are E times as many numbers as their mixture.  They are
 * made for some rows at a time, and once more backward where the gate learns.
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

/* Rows of a block: enough for BLAS, few enough for the cache. */
#define MAP_ROWS 256

/* ---------------------------------------------------------------- rows of one length */

/* y[d] = scale * x / |x|, 0 where x is; returns scale / |x|, or 0. */
static FNN_CLONES fnn_real
stretch(int64_t d, fnn_real scale, const fnn_real *x, fnn_real *y)
{
	fnn_real	squares = 0;
	fnn_real	factor;

	FNN_SIMD_SUM(squares)
	for (int64_t c = 0; c < d; c++)
		squares += x[c] * x[c];
	factor = squares > 0 ? scale / fnn_sqrt(squares) : 0;
	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		y[c] = x[c] * factor;
	return factor;
}

/* With u = y / scale: dx += factor * (dy - (dy . u) u) */
static FNN_CLONES void
stretch_back(int64_t d, fnn_real scale, fnn_real factor, const fnn_real *y, const fnn_real *dy, fnn_real *dx)
{
	fnn_real	along = fnn_dot(d, dy, y) / (scale * scale);

	FNN_SIMD
	for (int64_t c = 0; c < d; c++)
		dx[c] += factor * (dy[c] - along * y[c]);
}

/* in: x; saved: factors [rows] */
static void
unit_rows_backward(FnnTape *tape, FnnNode *node)
{
	const fnn_real *factor = node->saved;
	FnnTensor  *y = node->out;
	int64_t		d = y->cols;
	int64_t		step = fnn_block_rows(d);

	for (int64_t r = 0; r < y->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		stretch_back(d, (fnn_real) node->scale, factor[r], y->value + r * d, y->grad + r * d,
					 node->in[0]->grad + r * d);
	}
}

FnnTensor *
fnn_unit_rows(FnnTape *tape, FnnTensor *x, double scale)
{
	int64_t		d = x->cols;
	int64_t		step = fnn_block_rows(d);
	fnn_real   *factor = fnn_alloc_reals(tape->arena, x->rows, 1);
	FnnTensor  *y;
	FnnNode    *node;

	fnn_check_dense(tape, x);
	if (!(scale > 0 && scale < INFINITY))
		fnn_fail(tape->host, FNN_INVALID, "rows cannot have the length %g", scale);
	y = fnn_result(tape, x->rows, d, fnn_has_grad(x));
	for (int64_t r = 0; r < x->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		factor[r] = stretch(d, (fnn_real) scale, x->value + r * d, y->value + r * d);
	}
	node = fnn_record(tape, unit_rows_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->saved = factor;
		node->scale = scale;
	}
	return y;
}

/* ---------------------------------------------------------------- the noisy gate */

#define LEAST_SPREAD ((fnn_real) 0.01)
#define NOISE_PIECE 4096		/* numbers drawn between polls */

/* noise[n, experts]: the draw that comes next. */
static const fnn_real *
draw_noise(FnnTape *tape, int64_t n, int64_t experts)
{
	fnn_real   *noise = fnn_alloc_reals(tape->arena, n, experts);
	uint64_t	stream = fnn_random_bits(tape->seed, tape->stream, tape->draws++);

	for (int64_t i = 0; i < n * experts; i += NOISE_PIECE)
	{
		fnn_poll(tape->host);
		fnn_random_normals(tape->seed, stream, (uint64_t) i, 1, fnn_least(NOISE_PIECE, n * experts - i), noise + i);
	}
	return noise;
}

/* log(1 + e^x) without overflow */
static inline fnn_real
softplus(fnn_real x)
{
	return (x > 0 ? x : 0) + (fnn_real) log1p((double) fnn_exp(x > 0 ? -x : x));
}

/* y[experts] = softmax of x[0 .. experts - 1], to which noise times a spread is added; noise NULL: nothing. */
static void
gate_row(int64_t experts, const fnn_real *x, const fnn_real *noise, fnn_real *y)
{
	fnn_real	max = -INFINITY;
	fnn_real	sum = 0;

	for (int64_t e = 0; e < experts; e++)
	{
		y[e] = noise != NULL ? x[e] + noise[e] * (softplus(x[experts + e]) + LEAST_SPREAD) : x[e];
		max = y[e] > max ? y[e] : max;
	}
	for (int64_t e = 0; e < experts; e++)
		sum += y[e] = fnn_exp(y[e] - max);
	for (int64_t e = 0; e < experts; e++)
		y[e] /= sum;
}

/* in: x; saved: the noise, or NULL */
static void
noisy_softmax_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	FnnTensor  *y = node->out;
	int64_t		experts = y->cols;
	int64_t		step = fnn_block_rows(20 * experts);

	for (int64_t r = 0; r < y->rows; r++)
	{
		const fnn_real *p = y->value + r * experts;
		const fnn_real *dy = y->grad + r * experts;
		const fnn_real *noise = node->saved != NULL ? (const fnn_real *) node->saved + r * experts : NULL;
		const fnn_real *spread = x->value + r * x->cols + experts;
		fnn_real   *dx = x->grad + r * x->cols;
		fnn_real	mean = 0;

		if (r % step == 0)
			fnn_poll(tape->host);
		for (int64_t e = 0; e < experts; e++)
			mean += p[e] * dy[e];
		for (int64_t e = 0; e < experts; e++)
		{
			fnn_real	back = p[e] * (dy[e] - mean);

			dx[e] += back;
			if (noise != NULL)
				dx[experts + e] += back * noise[e] * fnn_sigmoid(spread[e]);
		}
	}
}

FnnTensor *
fnn_noisy_softmax(FnnTape *tape, FnnTensor *x, bool noisy)
{
	int64_t		experts = x->cols / 2;
	int64_t		step = fnn_block_rows(20 * experts);
	const fnn_real *noise = NULL;
	FnnTensor  *y;
	FnnNode    *node;

	fnn_check_dense(tape, x);
	if (x->cols < 2 || x->cols % 2 != 0)
		fnn_fail(tape->host, FNN_INVALID, "%lld columns are not as many spreads as logits", (long long) x->cols);
	y = fnn_result(tape, x->rows, experts, fnn_has_grad(x));
	if (noisy && tape->record)
		noise = draw_noise(tape, x->rows, experts);
	for (int64_t r = 0; r < x->rows; r++)
	{
		if (r % step == 0)
			fnn_poll(tape->host);
		gate_row(experts, x->value + r * x->cols, noise != NULL ? noise + r * experts : NULL, y->value + r * experts);
	}
	node = fnn_record(tape, noisy_softmax_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->saved = noise;
	}
	return y;
}

/* ---------------------------------------------------------------- the maps */

typedef struct Maps
{
	FnnMaker	maker;
	int64_t		experts;
	int64_t		d;
	fnn_real   *shift;			/* [experts * d] what each map's results are moved by */
} Maps;

/* slices of FnnNode.in */
enum
{
	WEIGHT,
	GATE,
	CENTRE,
	BIAS
};

/* x[n, width] *= mask, for the elements from first on of the draw; known[n]: whether a row was not all 0 */
static FNN_CLONES void
mask_rows(const FnnDropout *dropout, int64_t first, int64_t n, int64_t width, fnn_real *x, bool *known)
{
	const FnnDropout mask = *dropout;

	for (int64_t r = 0; r < n; r++, x += width, first += width)
	{
		fnn_real	sum = 0;

		FNN_SIMD_SUM(sum)
		for (int64_t c = 0; c < width; c++)
			sum += x[c] < 0 ? -x[c] : x[c];
		known[r] = sum > 0;
		if (mask.threshold > 0)
			FNN_SIMD
			for (int64_t c = 0; c < width; c++)
				x[c] *= fnn_dropout_factor(&mask, (uint32_t) (first + c));
	}
}

/* The rows first .. first + n - 1 as they are multiplied. */
static void
make_rows(FnnTape *tape, const FnnMaker *maker, const FnnDropout *dropout, int64_t first, int64_t n, fnn_real *x,
		  bool *known)
{
	fnn_poll(tape->host);
	maker->make(maker->context, first, n, x);
	mask_rows(dropout, first * maker->width, n, maker->width, x, known);
}

/* shift = bias - weight centre, of each map */
static void
set_shift(FnnTape *tape, const Maps *maps, const FnnTensor *weight, const FnnTensor *centre, const FnnTensor *bias)
{
	int64_t		width = weight->cols;

	for (int64_t e = 0; e < maps->experts; e++)
	{
		fnn_real   *shift = maps->shift + e * maps->d;

		if (bias != NULL)
			memcpy(shift, bias->value + e * maps->d, (size_t) maps->d * sizeof(fnn_real));
		else
			memset(shift, 0, (size_t) maps->d * sizeof(fnn_real));
		if (centre != NULL)
			fnn_gemm(tape->host, false, true, 1, maps->d, width, -1, centre->value + e * width, width,
					 weight->value + e * maps->d * width, width, 1, shift, maps->d);
	}
}

/* y[d] = sum over maps of gate[e] * (h + shift) */
static FNN_CLONES void
mix(const Maps *maps, const fnn_real *h, const fnn_real *gate, fnn_real *y)
{
	const fnn_real *shift = maps->shift;
	int64_t		d = maps->d;

	memset(y, 0, (size_t) d * sizeof(fnn_real));
	for (int64_t e = 0; e < maps->experts; e++, h += d, shift += d)
		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
			y[c] += gate[e] * (h[c] + shift[c]);
}

/* dgate[e] += dy . (h + shift) */
static FNN_CLONES void
gates_back(const Maps *maps, const fnn_real *h, const fnn_real *dy, fnn_real *dgate)
{
	for (int64_t e = 0; e < maps->experts; e++)
		dgate[e] += fnn_dot(maps->d, h + e * maps->d, dy) + fnn_dot(maps->d, maps->shift + e * maps->d, dy);
}

/* dh = gate[e] * dy of each map, 0 of a row that is not known; dshift += dh */
static FNN_CLONES void
maps_back(const Maps *maps, bool known, const fnn_real *gate, const fnn_real *dy, fnn_real *dh, fnn_real *dshift)
{
	int64_t		d = maps->d;

	for (int64_t e = 0; e < maps->experts; e++, dh += d, dshift += d)
	{
		fnn_real	factor = known ? gate[e] : 0;

		FNN_SIMD
		for (int64_t c = 0; c < d; c++)
		{
			dh[c] = factor * dy[c];
			dshift[c] += dh[c];
		}
	}
}

/* Gradients through the shifts, dshift[experts * d]. */
static void
shift_back(FnnTape *tape, const FnnNode *node, const Maps *maps, const fnn_real *dshift)
{
	FnnTensor  *weight = node->in[WEIGHT];
	FnnTensor  *centre = node->in[CENTRE];
	FnnTensor  *bias = node->in[BIAS];
	int64_t		width = weight->cols;

	if (bias != NULL && bias->grad != NULL)
		fnn_add_scaled(maps->experts * maps->d, 1, dshift, bias->grad);
	for (int64_t e = 0; centre != NULL && e < maps->experts; e++)
	{
		int64_t		at = e * maps->d * width;

		if (centre->grad != NULL)
			fnn_gemm(tape->host, false, false, 1, width, maps->d, -1, dshift + e * maps->d, maps->d,
					 weight->value + at, width, 1, centre->grad + e * width, width);
		if (weight->grad != NULL)
			fnn_gemm(tape->host, true, false, maps->d, width, 1, -1, dshift + e * maps->d, maps->d,
					 centre->value + e * width, width, 1, weight->grad + at, width);
	}
}

static void
mixed_maps_backward(FnnTape *tape, FnnNode *node)
{
	const Maps *maps = node->saved;
	FnnTensor  *weight = node->in[WEIGHT];
	FnnTensor  *gate = node->in[GATE];
	FnnTensor  *y = node->out;
	int64_t		all = maps->experts * maps->d;
	int64_t		width = weight->cols;
	FnnMark		mark = fnn_arena_mark(tape->arena);
	fnn_real   *x = fnn_alloc_reals(tape->arena, MAP_ROWS, width);
	fnn_real   *h = fnn_alloc_reals(tape->arena, MAP_ROWS, all);
	fnn_real   *dshift = fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) all);
	bool	   *known = fnn_alloc(tape->arena, MAP_ROWS);

	for (int64_t first = 0; first < y->rows; first += MAP_ROWS)
	{
		int64_t		n = fnn_least(MAP_ROWS, y->rows - first);
		const fnn_real *dy = y->grad + first * maps->d;

		make_rows(tape, &maps->maker, &node->dropout, first, n, x, known);
		if (gate->grad != NULL)
			fnn_gemm(tape->host, false, true, n, all, width, 1, x, width, weight->value, width, 0, h, all);
		for (int64_t r = 0; r < n; r++)
		{
			if (gate->grad != NULL && known[r])
				gates_back(maps, h + r * all, dy + r * maps->d, gate->grad + (first + r) * maps->experts);
			maps_back(maps, known[r], gate->value + (first + r) * maps->experts, dy + r * maps->d, h + r * all,
					  dshift);
		}
		if (weight->grad != NULL)
			fnn_gemm(tape->host, true, false, all, width, n, 1, h, all, x, width, 1, weight->grad, width);
	}
	shift_back(tape, node, maps, dshift);
	fnn_arena_reset(tape->arena, mark);
}

/* Fails unless weight, gate, centre and bias are of experts maps of width numbers to d. */
static void
check_maps(FnnTape *tape, int64_t width, FnnTensor *weight, FnnTensor *gate, FnnTensor *centre, FnnTensor *bias)
{
	int64_t		experts = gate->cols;

	fnn_check_dense(tape, weight);
	fnn_check_dense(tape, gate);
	if (centre != NULL)
		fnn_check_dense(tape, centre);
	if (bias != NULL)
		fnn_check_dense(tape, bias);
	if (experts < 1 || weight->cols != width || weight->rows % experts != 0 ||
		(centre != NULL && (centre->rows != experts || centre->cols != width)) ||
		(bias != NULL && (bias->rows != experts || bias->cols * experts != weight->rows)))
		fnn_fail(tape->host, FNN_INVALID, "a weight of %lld x %lld is not that of %lld maps of %lld numbers",
				 (long long) weight->rows, (long long) weight->cols, (long long) experts, (long long) width);
}

FnnTensor *
fnn_mixed_maps(FnnTape *tape, const FnnMaker *maker, FnnTensor *weight, FnnTensor *gate, FnnTensor *centre,
			   FnnTensor *bias, double dropout)
{
	FnnDropout	drawn = fnn_dropout_draw(tape, dropout);
	int64_t		all = weight->rows;
	int64_t		width = maker->width;
	Maps	   *maps = fnn_zalloc(tape->arena, sizeof(Maps));
	FnnMark		mark;
	FnnTensor  *y;
	FnnNode    *node;
	fnn_real   *x;
	fnn_real   *h;
	bool	   *known;

	check_maps(tape, width, weight, gate, centre, bias);
	*maps = (Maps) {*maker, gate->cols, all / gate->cols, fnn_alloc_reals(tape->arena, 1, all)};
	set_shift(tape, maps, weight, centre, bias);
	y = fnn_result(tape, gate->rows, maps->d, fnn_has_grad(weight) || fnn_has_grad(gate) ||
				   (centre != NULL && fnn_has_grad(centre)) || (bias != NULL && fnn_has_grad(bias)));
	mark = fnn_arena_mark(tape->arena);
	x = fnn_alloc_reals(tape->arena, MAP_ROWS, width);
	h = fnn_alloc_reals(tape->arena, MAP_ROWS, all);
	known = fnn_alloc(tape->arena, MAP_ROWS);
	for (int64_t first = 0; first < y->rows; first += MAP_ROWS)
	{
		int64_t		n = fnn_least(MAP_ROWS, y->rows - first);

		make_rows(tape, maker, &drawn, first, n, x, known);
		fnn_gemm(tape->host, false, true, n, all, width, 1, x, width, weight->value, width, 0, h, all);
		for (int64_t r = 0; r < n; r++)
			if (known[r])
				mix(maps, h + r * all, gate->value + (first + r) * maps->experts, y->value + (first + r) * maps->d);
			else
				memset(y->value + (first + r) * maps->d, 0, (size_t) maps->d * sizeof(fnn_real));
	}
	fnn_arena_reset(tape->arena, mark);
	node = fnn_record(tape, mixed_maps_backward, y);
	if (node != NULL)
	{
		node->in[WEIGHT] = weight;
		node->in[GATE] = gate;
		node->in[CENTRE] = centre;
		node->in[BIAS] = bias;
		node->saved = maps;
		node->dropout = drawn;
	}
	return y;
}

double
fnn_mixed_maps_reals(int64_t width, int64_t experts, int64_t d)
{
	return (double) MAP_ROWS * ((double) width + (double) (experts * d) + 1) + 2.0 * (double) (experts * d);
}

/* ---------------------------------------------------------------- products of modalities */

static FNN_CLONES void
add_product(int64_t n, fnn_real scale, const fnn_real *x, const fnn_real *a, const fnn_real *b, fnn_real *y)
{
	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		y[i] = x[i] + scale * (a[i] * b[i]);
}

/* in: x, a, b */
static void
add_product_backward(FnnTape *tape, FnnNode *node)
{
	FnnTensor  *x = node->in[0];
	FnnTensor  *a = node->in[1];
	FnnTensor  *b = node->in[2];
	const fnn_real *dy = node->out->grad;
	fnn_real	scale = (fnn_real) node->scale;
	int64_t		all = x->rows * x->cols;

	for (int64_t i = 0; i < all; i += FNN_BLOCK_REALS)
	{
		int64_t		n = fnn_least(FNN_BLOCK_REALS, all - i);

		fnn_poll(tape->host);
		if (x->grad != NULL)
			fnn_add_scaled(n, 1, dy + i, x->grad + i);
		if (a->grad != NULL)
			add_product(n, scale, a->grad + i, dy + i, b->value + i, a->grad + i);
		if (b->grad != NULL)
			add_product(n, scale, b->grad + i, dy + i, a->value + i, b->grad + i);
	}
}

FnnTensor *
fnn_add_product(FnnTape *tape, FnnTensor *x, FnnTensor *a, FnnTensor *b, double scale)
{
	int64_t		all = x->rows * x->cols;
	FnnTensor  *y;
	FnnNode    *node;

	fnn_check_dense(tape, x);
	fnn_check_dense(tape, a);
	fnn_check_dense(tape, b);
	if (a->rows != x->rows || a->cols != x->cols || b->rows != x->rows || b->cols != x->cols)
		fnn_fail(tape->host, FNN_INVALID, "matrices of %lld x %lld, %lld x %lld and %lld x %lld have no sum",
				 (long long) x->rows, (long long) x->cols, (long long) a->rows, (long long) a->cols,
				 (long long) b->rows, (long long) b->cols);
	y = fnn_result(tape, x->rows, x->cols, fnn_has_grad(x) || fnn_has_grad(a) || fnn_has_grad(b));
	for (int64_t i = 0; i < all; i += FNN_BLOCK_REALS)
	{
		fnn_poll(tape->host);
		add_product(fnn_least(FNN_BLOCK_REALS, all - i), (fnn_real) scale, x->value + i, a->value + i, b->value + i,
					y->value + i);
	}
	node = fnn_record(tape, add_product_backward, y);
	if (node != NULL)
	{
		node->in[0] = x;
		node->in[1] = a;
		node->in[2] = b;
		node->scale = scale;
	}
	return y;
}

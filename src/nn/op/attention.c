/*
 * attention.c
 *	  Causal multi-head attention inside packed sequences, fused.
 *
 * A token sees those up to itself, or up to where its reach says (the end of
 * what happened at once with it).
 *
 * Work is cut into pieces: one head of one sequence, at most QUERIES
 * consecutive queries.  A piece walks its keys in blocks: all before its first
 * query in blocks of KEYS, then those from there to the last one that any of
 * its queries sees, the only ones with something to mask.  Without a reach that
 * is one block, on the diagonal.  Scores are tiles [key, query]: queries run along the
 * lanes, so softmax is vertical, and every product reads its operands in place
 * (see product.h), keys and values straight from key_value.
 *
 * Forward, for each block, with m and total the running maximum and sum:
 *		S = K Qᵀ,  P = exp(S - m),  total += P,  acc += (mask P)ᵀ V
 * and what was summed before shrinks when m rises.  The output is acc / total;
 * of the weights only m + log(total), a number a query and head, is kept.
 *
 * Backward makes the weights again: P = exp(K Qᵀ - lse).  With dO the gradient
 * of the output O, f the dropout factors and D = dO . O, a number a query,
 *		dV += (f P) dO
 *		dS = P (f (V dOᵀ) - D)
 *		dK += dS Q,	 dQ += dSᵀ K
 * (D = sum over keys of P times its gradient holds with dropout too.)
 */
#include "nn/base/tape_private.h"
#include "nn/op/op.h"
#include "nn/product/product.h"

#define QUERIES 32
#define KEYS	128

typedef struct Attention
{
	FnnProduct	product;
	FnnSequences sequences;
	int64_t		d;
	int64_t		heads;
	int64_t		width;			/* of a head */
	int64_t		padded;			/* that in whole vectors */
	bool		last_only;
	fnn_real	scale;
	FnnDropout	dropout;
	uint32_t	stride;			/* dropout elements of a query and head */
	fnn_real   *lse;			/* [queries, heads] log-sum-exp of scores; kept when recording */

	/* of one piece; lanes: its queries in whole vectors */
	fnn_real   *across;			/* [width, lanes] scaled queries, transposed */
	fnn_real   *d_across;		/* [width, lanes] gradient of the output, transposed */
	/* where a head is not whole vectors, [QUERIES, padded] copies stand in for the tensors' own rows */
	fnn_real   *along;			/* queries */
	fnn_real   *d_along;		/* gradient of the output */
	fnn_real   *acc;			/* output, or the queries' gradient */
	fnn_real   *tile;			/* [KEYS, lanes] S, P */
	fnn_real   *d_tile;			/* [KEYS, lanes] their gradient */
	fnn_real   *wide;			/* [KEYS, padded] keys or values */
	fnn_real   *d_wide;			/* [KEYS, padded] their gradient */
	fnn_real   *max;			/* [lanes], and the next four */
	fnn_real   *previous;
	fnn_real   *sum;
	fnn_real   *total;
	fnn_real   *minus;			/* D */
} Attention;

/* Queries position .. position + n - 1 of a sequence, at rows row .. of query. */
typedef struct Piece
{
	int64_t		head;
	int64_t		row;
	int64_t		position;
	int64_t		n;
	int64_t		lanes;
	int64_t		first_key;		/* token of the sequence's first key */
	int64_t		end;			/* behind the last key that any query sees, counted from there */
	const int32_t *reach;		/* [n] of each query; NULL: it sees what is not behind it */
} Piece;

/* A block of keys of a piece, counted from the sequence's first. */
typedef struct Keys
{
	int64_t		first;
	int64_t		n;
	bool		masked;			/* not every query sees all of them */
} Keys;

/* ---------------------------------------------------------------- kernels on tiles [keys, lanes] */

/* Keys that a query does not see get no weight. */
static void
mask(const Piece *piece, const Keys *keys, fnn_real value, fnn_real *tile)
{
	int64_t		lanes = piece->lanes;

	if (piece->reach == NULL)
	{
		for (int64_t j = 1; j < keys->n; j++)
			for (int64_t q = 0; q < j && q < lanes; q++)
				tile[j * lanes + q] = value;
		return;
	}
	for (int64_t j = 0; j < keys->n; j++)
		for (int64_t q = 0; q < piece->n && piece->reach[q] <= keys->first + j; q++)
			tile[j * lanes + q] = value;
}

/* Element of key j and query q: index + q * step + j. */
static FNN_CLONES void
drop(int64_t keys, int64_t lanes, const FnnDropout *dropout, uint32_t index, uint32_t step,
	 fnn_real *tile)
{
	FnnDropout	copy = *dropout;

	for (int64_t j = 0; j < keys; j++)
	{
		FNN_SIMD
		for (int64_t q = 0; q < lanes; q++)
			tile[j * lanes + q] *= fnn_dropout_factor(&copy, index + (uint32_t) q * step + (uint32_t) j);
	}
}

/* d_tile arrives as V dOᵀ and becomes scale * dS; tile arrives as P and becomes f P. */
static FNN_CLONES void
softmax_backward(int64_t keys, int64_t lanes, const FnnDropout *dropout, uint32_t index, uint32_t step,
				 fnn_real scale, const fnn_real *restrict minus, fnn_real *restrict tile, fnn_real *restrict d_tile)
{
	FnnDropout	copy = *dropout;

	for (int64_t j = 0; j < keys; j++)
	{
		FNN_SIMD
		for (int64_t q = 0; q < lanes; q++)
		{
			fnn_real	factor = fnn_dropout_factor(&copy, index + (uint32_t) q * step + (uint32_t) j);
			fnn_real	p = tile[j * lanes + q];

			d_tile[j * lanes + q] = scale * p * (factor * d_tile[j * lanes + q] - minus[q]);
			tile[j * lanes + q] = factor * p;
		}
	}
}

static FNN_CLONES void
softmax_backward_plain(int64_t keys, int64_t lanes, fnn_real scale, const fnn_real *restrict minus,
					   const fnn_real *restrict tile, fnn_real *restrict d_tile)
{
	for (int64_t j = 0; j < keys; j++)
	{
		FNN_SIMD
		for (int64_t q = 0; q < lanes; q++)
			d_tile[j * lanes + q] = scale * tile[j * lanes + q] * (d_tile[j * lanes + q] - minus[q]);
	}
}

/* out[i] = x[i] . y[i] */
static FNN_CLONES void
rows_dot(int64_t n, int64_t width, int64_t ld, const fnn_real *x, const fnn_real *y, fnn_real *out)
{
	for (int64_t i = 0; i < n; i++)
		out[i] = fnn_dot(width, x + i * ld, y + i * ld);
}

static FNN_CLONES void
row_scale(int64_t n, fnn_real factor, fnn_real *x)
{
	FNN_SIMD
	for (int64_t i = 0; i < n; i++)
		x[i] *= factor;
}

/* ---------------------------------------------------------------- pieces */

/* The next block of keys of a piece, from first on; false behind the last. */
static bool
next_keys(const Piece *piece, int64_t first, Keys *keys)
{
	int64_t		end = first < piece->position ? piece->position : piece->end;

	if (first >= end)
		return false;
	keys->first = first;
	keys->masked = first >= piece->position && piece->n > 1;
	keys->n = end - first < KEYS ? end - first : KEYS;
	return true;
}

/* Keys (side 0) or values (side 1) of a block, or their gradient; rows are 2 d apart. */
static fnn_real *
side_of(const Attention *a, const Piece *piece, const Keys *keys, int side, fnn_real *key_value)
{
	return key_value + (piece->first_key + keys->first) * 2 * a->d + side * a->d + piece->head * a->width;
}

/* The same as an operand with rows of whole vectors. */
static const fnn_real *
wide_side(const Attention *a, const Piece *piece, const Keys *keys, int side, fnn_real *key_value, int64_t *ld)
{
	const fnn_real *in = side_of(a, piece, keys, side, key_value);

	*ld = 2 * a->d;
	if (a->padded == a->width)
		return in;
	fnn_widen(keys->n, a->width, in, 2 * a->d, a->padded, a->wide);
	*ld = a->padded;
	return a->wide;
}

/* A piece's rows of the head, in a tensor shaped as query. */
static fnn_real *
rows_of(const Attention *a, const Piece *piece, fnn_real *values)
{
	return values + piece->row * a->d + piece->head * a->width;
}

/* The same with rows of whole vectors: in place, or copied to copy. */
static const fnn_real *
wide_rows(const Attention *a, const Piece *piece, fnn_real *values, fnn_real *copy, int64_t *ld)
{
	*ld = a->d;
	if (a->padded == a->width)
		return rows_of(a, piece, values);
	fnn_widen(piece->n, a->width, rows_of(a, piece, values), a->d, a->padded, copy);
	*ld = a->padded;
	return copy;
}

static uint32_t
dropout_index(const Attention *a, const Piece *piece, const Keys *keys)
{
	return (uint32_t) (piece->row * a->heads + piece->head) * a->stride + (uint32_t) keys->first;
}

/* Where m rose from previous to max, scales the sums so far down; adds the block's sums. */
static void
add_block(Attention *a, const Piece *piece, bool is_first, fnn_real *acc, int64_t ld)
{
	for (int64_t q = 0; q < piece->n; q++)
	{
		fnn_real	shrink = is_first ? 0 : fnn_exp(a->previous[q] - a->max[q]);

		a->total[q] = a->total[q] * shrink + a->sum[q];
		if (!is_first && shrink != 1)
			row_scale(a->padded, shrink, acc + q * ld);
	}
}

static void
piece_forward(Attention *a, const Piece *piece, const FnnTensor *query, const FnnTensor *key_value, FnnTensor *out)
{
	bool		in_place = a->padded == a->width;
	fnn_real   *o = rows_of(a, piece, out->value);
	fnn_real   *acc = in_place ? o : a->acc;
	int64_t		ld_acc = in_place ? a->d : a->padded;
	int64_t		lanes = piece->lanes;
	size_t		row_bytes = (size_t) lanes * sizeof(fnn_real);
	Keys		keys;

	fnn_transpose(piece->n, a->width, a->scale, rows_of(a, piece, query->value), a->d, lanes, a->across, lanes);
	memset(a->total, 0, row_bytes);
	for (int64_t q = 0; q < lanes; q++)
		a->max[q] = -INFINITY;

	for (int64_t k = 0; next_keys(piece, k, &keys); k += keys.n)
	{
		int64_t		ld;
		const fnn_real *values = wide_side(a, piece, &keys, 1, key_value->value, &ld);

		a->product(keys.n, lanes, a->width, side_of(a, piece, &keys, 0, key_value->value), 2 * a->d, 1,
				   a->across, lanes, false, a->tile, lanes);
		if (keys.masked)
			mask(piece, &keys, -INFINITY, a->tile);
		memcpy(a->previous, a->max, row_bytes);
		fnn_columns_max(keys.n, lanes, a->tile, a->max);
		fnn_columns_exp(keys.n, lanes, a->tile, a->max, a->sum);
		add_block(a, piece, k == 0, acc, ld_acc);
		if (a->dropout.threshold > 0)
			drop(keys.n, lanes, &a->dropout, dropout_index(a, piece, &keys),
				 (uint32_t) a->heads * a->stride, a->tile);
		a->product(piece->n, a->padded, keys.n, a->tile, 1, lanes, values, ld, k > 0, acc, ld_acc);
	}
	for (int64_t q = 0; q < piece->n; q++)
	{
		if (!in_place)
			memcpy(o + q * a->d, acc + q * ld_acc, (size_t) a->width * sizeof(fnn_real));
		row_scale(a->width, 1 / a->total[q], o + q * a->d);
		if (a->lse != NULL)
			a->lse[(piece->row + q) * a->heads + piece->head] = a->max[q] + (fnn_real) log((double) a->total[q]);
	}
}

/* side's gradient of a block of keys += tile right */
static void
add_side_gradient(const Attention *a, const Piece *piece, const Keys *keys, int side, fnn_real *grad,
				  const fnn_real *tile, const fnn_real *right, int64_t ld)
{
	fnn_real   *to = side_of(a, piece, keys, side, grad);

	if (a->padded == a->width)
	{
		a->product(keys->n, a->padded, piece->n, tile, piece->lanes, 1, right, ld, true, to, 2 * a->d);
		return;
	}
	a->product(keys->n, a->padded, piece->n, tile, piece->lanes, 1, right, ld, false, a->d_wide, a->padded);
	for (int64_t j = 0; j < keys->n; j++)
		for (int64_t c = 0; c < a->width; c++)
			to[j * 2 * a->d + c] += a->d_wide[j * a->padded + c];
}

/* The queries' gradient += tile transposed, keys */
static void
add_query_gradient(const Attention *a, const Piece *piece, const Keys *keys, FnnTensor *key_value, fnn_real *grad)
{
	fnn_real   *to = rows_of(a, piece, grad);
	int64_t		ld;
	const fnn_real *wide = wide_side(a, piece, keys, 0, key_value->value, &ld);

	if (a->padded == a->width)
	{
		a->product(piece->n, a->padded, keys->n, a->d_tile, 1, piece->lanes, wide, ld, true, to, a->d);
		return;
	}
	a->product(piece->n, a->padded, keys->n, a->d_tile, 1, piece->lanes, wide, ld, false, a->acc, a->padded);
	for (int64_t q = 0; q < piece->n; q++)
		for (int64_t c = 0; c < a->width; c++)
			to[q * a->d + c] += a->acc[q * a->padded + c];
}

static void
piece_backward(Attention *a, const Piece *piece, FnnTensor *query, FnnTensor *key_value, const FnnTensor *out)
{
	int64_t		lanes = piece->lanes;
	int64_t		ld;
	const fnn_real *along = wide_rows(a, piece, query->value, a->along, &ld);
	const fnn_real *d_along = wide_rows(a, piece, out->grad, a->d_along, &ld);
	Keys		keys;

	fnn_transpose(piece->n, a->width, a->scale, along, ld, lanes, a->across, lanes);
	fnn_transpose(piece->n, a->width, 1, d_along, ld, lanes, a->d_across, lanes);
	memset(a->minus, 0, (size_t) lanes * sizeof(fnn_real));
	memset(a->max, 0, (size_t) lanes * sizeof(fnn_real));
	rows_dot(piece->n, a->width, a->d, rows_of(a, piece, out->value), rows_of(a, piece, out->grad), a->minus);
	for (int64_t q = 0; q < piece->n; q++)
		a->max[q] = a->lse[(piece->row + q) * a->heads + piece->head];

	for (int64_t k = 0; next_keys(piece, k, &keys); k += keys.n)
	{
		a->product(keys.n, lanes, a->width, side_of(a, piece, &keys, 0, key_value->value), 2 * a->d, 1,
				   a->across, lanes, false, a->tile, lanes);
		fnn_columns_exp(keys.n, lanes, a->tile, a->max, a->sum);
		if (keys.masked)
			mask(piece, &keys, 0, a->tile);
		a->product(keys.n, lanes, a->width, side_of(a, piece, &keys, 1, key_value->value), 2 * a->d, 1,
				   a->d_across, lanes, false, a->d_tile, lanes);
		if (a->dropout.threshold > 0)
			softmax_backward(keys.n, lanes, &a->dropout, dropout_index(a, piece, &keys),
							 (uint32_t) a->heads * a->stride, a->scale, a->minus, a->tile, a->d_tile);
		else
			softmax_backward_plain(keys.n, lanes, a->scale, a->minus, a->tile, a->d_tile);
		if (key_value->grad != NULL)
		{
			add_side_gradient(a, piece, &keys, 0, key_value->grad, a->d_tile, along, ld);
			add_side_gradient(a, piece, &keys, 1, key_value->grad, a->tile, d_along, ld);
		}
		if (query->grad != NULL)
			add_query_gradient(a, piece, &keys, key_value, query->grad);
	}
}

/* ---------------------------------------------------------------- the operation */

static void
alloc_piece(FnnArena *arena, Attention *a, bool backward)
{
	int64_t		lanes = fnn_lanes(QUERIES);

	a->across = fnn_alloc_reals(arena, a->width, lanes);
	a->acc = fnn_alloc_reals(arena, QUERIES, a->padded);
	a->tile = fnn_alloc_reals(arena, KEYS, lanes);
	a->wide = fnn_alloc_reals(arena, KEYS, a->padded);
	a->max = fnn_alloc_reals(arena, 1, lanes);
	a->previous = fnn_alloc_reals(arena, 1, lanes);
	a->sum = fnn_alloc_reals(arena, 1, lanes);
	a->total = fnn_alloc_reals(arena, 1, lanes);
	if (!backward)
		return;
	a->along = fnn_alloc_reals(arena, QUERIES, a->padded);
	a->d_along = fnn_alloc_reals(arena, QUERIES, a->padded);
	a->d_across = fnn_alloc_reals(arena, a->width, lanes);
	a->d_tile = fnn_alloc_reals(arena, KEYS, lanes);
	a->d_wide = fnn_alloc_reals(arena, KEYS, a->padded);
	a->minus = fnn_alloc_reals(arena, 1, lanes);
}

/* What a piece of a sequence of that length sees; the last query of one sees all. */
static void
set_reach(Piece *piece, const FnnSequences *sequences, bool last_only, int64_t length)
{
	piece->reach = NULL;
	piece->end = piece->position + piece->n;
	if (sequences->reach == NULL)
		return;
	piece->end = length;
	if (last_only)
		return;
	piece->reach = sequences->reach + piece->first_key + piece->position;
	piece->end = piece->reach[piece->n - 1];
}

/* All pieces, forward or backward. */
static void
run_pieces(FnnTape *tape, Attention *a, FnnTensor *query, FnnTensor *key_value, FnnTensor *out, bool backward)
{
	FnnMark		mark = fnn_arena_mark(tape->arena);

	alloc_piece(tape->arena, a, backward);
	for (int32_t s = 0; s < a->sequences.count; s++)
	{
		int64_t		begin = a->sequences.offset[s];
		int64_t		length = a->sequences.offset[s + 1] - begin;

		if (length == 0 && a->last_only && !backward)
			memset(out->value + s * a->d, 0, (size_t) a->d * sizeof(fnn_real));
		for (int64_t position = a->last_only && length > 0 ? length - 1 : 0; position < length; position += QUERIES)
		{
			Piece		piece;

			fnn_poll(tape->host);
			piece.position = position;
			piece.row = a->last_only ? s : begin + position;
			piece.n = length - position < QUERIES ? length - position : QUERIES;
			piece.lanes = fnn_lanes(piece.n);
			piece.first_key = begin;
			set_reach(&piece, &a->sequences, a->last_only, length);
			for (piece.head = 0; piece.head < a->heads; piece.head++)
			{
				if (backward)
					piece_backward(a, &piece, query, key_value, out);
				else
					piece_forward(a, &piece, query, key_value, out);
			}
		}
	}
	fnn_arena_reset(tape->arena, mark);
}

static void
attention_backward(FnnTape *tape, FnnNode *node)
{
	Attention	a = *(const Attention *) node->saved;

	run_pieces(tape, &a, node->in[0], node->in[1], node->out, true);
}

FnnTensor *
fnn_attention(FnnTape *tape, FnnTensor *query, FnnTensor *key_value,
			  const FnnSequences *sequences, int heads, double dropout, bool last_only)
{
	Attention  *a = fnn_zalloc(tape->arena, sizeof(Attention));
	FnnTensor  *out;
	FnnNode    *node;

	fnn_refuse_view(tape, query);
	fnn_refuse_view(tape, key_value);
	a->d = query->cols;
	if (heads < 1 || a->d % heads != 0 || key_value->cols != 2 * a->d ||
		sequences->offset[sequences->count] != key_value->rows ||
		query->rows != (last_only ? sequences->count : key_value->rows))
		fnn_fail(tape->host, FNN_INVALID, "shapes of an attention of width %lld with %d heads do not fit",
				 (long long) a->d, heads);
	a->product = fnn_product_best();
	a->sequences = *sequences;
	a->heads = heads;
	a->width = a->d / heads;
	a->padded = fnn_lanes(a->width);
	a->last_only = last_only;
	a->scale = (fnn_real) (1 / sqrt((double) a->width));
	a->dropout = fnn_dropout_draw(tape, dropout);
	for (int32_t s = 0; s < sequences->count; s++)
	{
		uint32_t	length = (uint32_t) (sequences->offset[s + 1] - sequences->offset[s]);

		a->stride = length > a->stride ? length : a->stride;
	}

	out = fnn_result(tape, query->rows, a->d, fnn_has_grad(query) || fnn_has_grad(key_value));
	node = fnn_record(tape, attention_backward, out);
	if (node != NULL)
	{
		a->lse = fnn_alloc_reals(tape->arena, query->rows, heads);
		node->saved = a;
		node->in[0] = query;
		node->in[1] = key_value;
	}
	run_pieces(tape, a, query, key_value, out, false);
	return out;
}

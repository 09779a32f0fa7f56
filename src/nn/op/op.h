/*
 * op.h
 *	  The operations that models are composed of, each with its backward.
 *
 *  - Matrices are row-major and dense: element (r, c) is value[r * cols + c].
 *  - A batch is packed: the tokens of all its sequences end to end, plus offsets.
 *    No padding is ever computed.
 *  - Backward accumulates (+=) into the gradients of the inputs.
 *  - A tensor without gradient (grad == NULL and sparse == NULL) is frozen:
 *    operations skip the work its gradient would cost, but gradients still flow
 *    through the operation into its other inputs.
 *  - Every loop that may run longer than about 50 ms polls the host.
 *  - Programming errors (shapes that do not fit) are Assert-like and go to the
 *    host's fail with FNN_INVALID; they are not user errors.
 */
#ifndef FNN_OP_OP_H
#define FNN_OP_OP_H

#include "nn/base/tape.h"

/* y[n, out] = act(x[n, in] weightᵀ + bias);  weight [out, in], bias [1, out] or NULL. */
extern FnnTensor *fnn_linear(FnnTape *tape, FnnTensor *x, FnnTensor *weight, FnnTensor *bias,
							 FnnActivation activation);
/* y[n, d] = scale * table[id[i]] + position_table[position[i]]; position_table may be NULL. */
extern FnnTensor *fnn_embed(FnnTape *tape, FnnTensor *table, const int32_t *id, int64_t n, double scale,
							FnnTensor *position_table, const int32_t *position);
/* y = (x - mean) / sqrt(var + eps) * gain + bias, row by row; gain, bias [1, d]. */
extern FnnTensor *fnn_layer_norm(FnnTape *tape, FnnTensor *x, FnnTensor *gain, FnnTensor *bias, double eps);
/* Inverted dropout; the identity when not recording or p = 0. */
extern FnnTensor *fnn_dropout(FnnTape *tape, FnnTensor *x, double p);
/* y = a + dropout(b), a and b of one shape. */
extern FnnTensor *fnn_add_dropout(FnnTape *tape, FnnTensor *a, FnnTensor *b, double p);
/* y[n, d] = x[row[i]]: picks rows, repeats allowed. */
extern FnnTensor *fnn_rows(FnnTape *tape, FnnTensor *x, const int32_t *row, int64_t n);
/* y[n, d]: the mean of rows begin[i] .. begin[i] + count[i] - 1 of x; no count is 0. */
extern FnnTensor *fnn_means(FnnTape *tape, FnnTensor *x, const int32_t *begin, const int32_t *count, int64_t n);
/*
 * Causal multi-head attention inside each sequence, fused: scores, softmax,
 * dropout on the weights and the weighted sum never exist for more than a tile.
 *	query	  [tokens, d], or [count, d] when last_only: one query a sequence, which sees all of it
 *	key_value [tokens, 2 d]: keys in columns 0 .. d - 1, values in d .. 2 d - 1
 * Returns a tensor of query's shape.  d is a multiple of heads; scale is 1/sqrt(d / heads).
 */
extern FnnTensor *fnn_attention(FnnTape *tape, FnnTensor *query, FnnTensor *key_value,
								const FnnSequences *sequences, int heads, double dropout, bool last_only);
/*
 * The same of tokens that each follow a history and see it and themselves, but not one another.
 *	query [n, d], own [n, 2 d]: their keys and values, history [tokens, 2 d]: those of histories,
 *	of which token i sees rows begin[i] .. begin[i] + count[i] - 1; no dropout
 */
extern FnnTensor *fnn_attention_after(FnnTape *tape, FnnTensor *query, FnnTensor *own, FnnTensor *history,
									  const int32_t *begin, const int32_t *count, int heads);
/*
 * One GRU layer over packed sequences from a zero state (gate order r, z, n
 * and equations of torch.nn.GRU).
 *	x [tokens, in], w_in [3 h, in], w_hidden [3 h, h], b_in and b_hidden [1, 3 h].
 * Returns [tokens, h].
 */
extern FnnTensor *fnn_gru(FnnTape *tape, FnnTensor *x, FnnTensor *w_in, FnnTensor *w_hidden,
						  FnnTensor *b_in, FnnTensor *b_hidden, const FnnSequences *sequences);

/* y[n, sum of cols]: parts of n rows each, side by side. */
extern FnnTensor *fnn_concat(FnnTape *tape, int n_parts, FnnTensor *const *parts);
/*
 * y[n, sum of cols]: parts of n rows each, side by side, row r of part p times
 * weight[r, p].  weight has n rows and at least n_parts columns; further ones are
 * not read.
 */
extern FnnTensor *fnn_gate(FnnTape *tape, int n_parts, FnnTensor *const *parts, FnnTensor *weight);
/* y[tokens, d]: the mean of each token's row and those before it in its sequence. */
extern FnnTensor *fnn_running_mean(FnnTape *tape, FnnTensor *x, const FnnSequences *sequences);
/* y[1, d]: the mean of all rows; 0 where there are none. */
extern FnnTensor *fnn_mean(FnnTape *tape, FnnTensor *x);
/*
 * y[n, d] = softmax of each row over the columns that allowed[d] names (NULL: all;
 * at least one is), 0 in the others.  top > 0: only over the top largest of these,
 * of equal ones the first.  No gradient reaches what became 0.
 */
extern FnnTensor *fnn_softmax(FnnTape *tape, FnnTensor *x, const bool *allowed, int top);
/*
 * W + scale B A, low-rank adaptation (Hu et al. 2022): W [out, in], A [rank, in],
 * B [out, rank].  With B = 0 the result has W's bits.
 */
extern FnnTensor *fnn_adapt(FnnTape *tape, FnnTensor *w, FnnTensor *a, FnnTensor *b, double scale);

#define FNN_STREAMS_MAX 8
/*
 * Stream m of n after an integrator of X-Cross (arXiv 2504.20859):
 *	y = h_m + sum over k != m of beta z[p] h_k + gamma z[n (n - 1) + p] (h_m - h_k)
 * where p = m (n - 1) + k, less 1 if k > m.  Streams [rows, d], weight z [rows, 2 n (n - 1)].
 */
extern FnnTensor *fnn_integrate(FnnTape *tape, int n, FnnTensor *const *stream, FnnTensor *weight, int m,
								double beta, double gamma);
/* y[rows, d] = sum over k of weight[k] * stream k; weight [1, n]. */
extern FnnTensor *fnn_weighted_sum(FnnTape *tape, int n, FnnTensor *const *stream, FnnTensor *weight);

/* A sparse matrix: row i has the edges from item i to other items, or the terms of bag i. */
typedef struct FnnGraph
{
	int64_t		rows;
	const int64_t *offset;		/* [rows + 1] */
	const int32_t *to;			/* [edges] */
	const float *weight;		/* [edges]; NULL: an edge counts 1 / the number of its row's */
} FnnGraph;

/*
 * y[n, d] = sum over j of graph[id[i], j] * dropout(table)[j]: one layer of
 * graph convolution, or sums of bags, for the rows that are asked for.  The
 * dropout is of the table's elements, the same wherever in the batch a row is
 * needed.
 */
extern FnnTensor *fnn_neighbours(FnnTape *tape, FnnTensor *table, const FnnGraph *graph, const int32_t *id, int64_t n,
								 double dropout);

/*
 * y[n, out] = act(x W_rᵀ + b_r) with the map r = row[i] of each row i of x; -1: y is 0.
 * A map is a stretch of a table's row: W_r [out, in] from column first on and, where
 * biased, b_r [out] behind it.  act is FNN_IDENTITY or FNN_RELU.  The gradient of the
 * table is of these rows, dense or sparse.
 */
extern FnnTensor *fnn_row_linear(FnnTape *tape, FnnTensor *x, FnnTensor *table, int64_t first, int64_t out,
								 bool biased, FnnActivation activation, const int32_t *row);
/* y[n, 1] = x[i, column[i]] */
extern FnnTensor *fnn_pick(FnnTape *tape, FnnTensor *x, const int32_t *column);
/* y[n, cols] = columns first .. first + cols - 1 of a result x. */
extern FnnTensor *fnn_cut(FnnTape *tape, FnnTensor *x, int64_t first, int64_t cols);
/* y[n, d] = x, but row r is row from[r] of instead where that is not negative. */
extern FnnTensor *fnn_replace(FnnTape *tape, FnnTensor *x, FnnTensor *instead, const int32_t *from);
/*
 * Experts that see several streams at once (HM4SR, arXiv 2501.14269, interactive
 * mixture).  A row of x [n, d] is n_streams streams of equal width side by side, and
 * so is one of each expert [n, d]; gate[n_streams] are weights [n, n_experts]:
 *	y's stream s = x's + scale[s] * sum over experts k of gate[s][r, k] * stream s of expert k
 * scale [1, n_streams].
 */
extern FnnTensor *fnn_mix_streams(FnnTape *tape, FnnTensor *x, int n_experts, FnnTensor *const *expert, int n_streams,
								  FnnTensor *const *gate, FnnTensor *scale);
/*
 * Elementwise experts (HM4SR, temporal mixture): y[n, d] = x * (weight expert), with
 * expert [k, d] and weight [n, k].
 */
extern FnnTensor *fnn_scale_experts(FnnTape *tape, FnnTensor *x, FnnTensor *weight, FnnTensor *expert);
/*
 * y[n, d] = cos((weight[j] * time[r] + bias[j]) * 10000^(-j / d)) in column j of row r;
 * weight and bias [1, d].  The phase is computed in doubles.
 */
extern FnnTensor *fnn_phases(FnnTape *tape, FnnTensor *weight, FnnTensor *bias, const double *time, int64_t n);

/* A matrix too wide to be kept: its rows are made where they are needed. */
typedef struct FnnMaker
{
	int64_t		width;
	/* x[n, width] = rows first .. first + n - 1 */
	void		(*make) (const void *context, int64_t first, int64_t n, fnn_real *x);
	const void *context;
} FnnMaker;

/*
 * y[n, out] = base + dropout(x) weightᵀ with the n rows x that a maker makes, some
 * at a time; weight [out, width], base [n, out].
 */
extern FnnTensor *fnn_project(FnnTape *tape, FnnTensor *base, const FnnMaker *maker, FnnTensor *weight,
							  double dropout);
/* Reals on the arena while it runs, beside its result. */
extern double fnn_project_reals(int64_t width);

/* y[n, d] = scale * x / |x|, row by row; a row of zeros stays one. */
extern FnnTensor *fnn_unit_rows(FnnTape *tape, FnnTensor *x, double scale);
/*
 * Gate weights y[n, experts] (Shazeer et al. 2017, equations 3 and 4, of all experts):
 * softmax of columns 0 .. experts - 1 of x[n, 2 experts], to which N(0, 1) times
 * softplus of the others + 0.01 is added when recording, if noisy.
 */
extern FnnTensor *fnn_noisy_softmax(FnnTape *tape, FnnTensor *x, bool noisy);
/*
 * A mixture of maps of made rows x (ANT, arXiv 2309.10195; parametric whitening, Hou
 * et al. 2022, equation 3):
 *	y[n, d] = sum over experts e of gate[r, e] * (weight_e (dropout(x) - centre_e) + bias_e)
 * weight [experts * d, width] has the maps one below the other; centre [experts,
 * width] and bias [experts, d] may be NULL.  Where a row x is all 0, nothing being
 * known, so is y's.
 */
extern FnnTensor *fnn_mixed_maps(FnnTape *tape, const FnnMaker *maker, FnnTensor *weight, FnnTensor *gate,
								 FnnTensor *centre, FnnTensor *bias, double dropout);
/* Reals on the arena beside its result. */
extern double fnn_mixed_maps_reals(int64_t width, int64_t experts, int64_t d);
/* y = x + scale * a * b, element by element; all of one shape. */
extern FnnTensor *fnn_add_product(FnnTape *tape, FnnTensor *x, FnnTensor *a, FnnTensor *b, double scale);

#endif							/* FNN_OP_OP_H */

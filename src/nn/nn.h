/*
 * nn.h
 *	  The numeric engine: everything the recommenders compute with.
 *
 * Pure C.  The engine includes no PostgreSQL header, does no I/O, keeps no
 * mutable global state and never exits.  Memory, the error exit, the
 * interrupt poll and the log come from the caller through one FnnHost.  The
 * same sources therefore link into a PostgreSQL backend and into the engine
 * tests, and are built there a second time with -DFNN_DOUBLE for the
 * finite-difference gradient checks.
 *
 * Conventions
 *	  - Matrices are row-major and dense: element (r, c) is value[r * cols + c].
 *	  - A batch is packed: the tokens of all its sequences end to end, plus
 *	    offsets.  No padding is ever computed.
 *	  - An operation's backward accumulates (+=) into its inputs' gradients.
 *	  - A tensor without gradient (grad == NULL and sparse == NULL) is frozen:
 *	    operations skip the work its gradient would cost, but gradients still
 *	    flow through the operation into its other inputs.
 *	  - Every loop that may run longer than about 50 ms polls the host.
 *	  - Programming errors (shapes that do not fit) are Assert-like and go to
 *	    the host's fail with FNN_INVALID; they are not user errors.
 */
#ifndef FNN_NN_H
#define FNN_NN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef FNN_DOUBLE
typedef double fnn_real;
#else
typedef float fnn_real;
#endif

#define FNN_NAME_MAX	64		/* bytes of a parameter's or tensor's name, NUL included */
#define FNN_ALIGN		64		/* bytes: every block starts on a cache line */

/* ---------------------------------------------------------------- host */

typedef enum FnnError
{
	FNN_INVALID,				/* an argument or a shape is not possible */
	FNN_LIMIT,					/* more memory than the limit allows */
	FNN_FORMAT,					/* bytes from outside are not what they claim */
	FNN_NONFINITE				/* NaN or infinity where a number must be */
} FnnError;

/*
 * What the engine asks of whoever calls it.  fail and poll may leave by
 * longjmp; the engine holds nothing that would leak then, because all its
 * memory comes from allocate.
 */
typedef struct FnnHost
{
	void	   *context;
	/* at least bytes bytes aligned to FNN_ALIGN, contents undefined; never NULL */
	void	   *(*allocate) (void *context, size_t bytes);
	void		(*release) (void *context, void *pointer);
	/* does not return */
	void		(*fail) (void *context, FnnError code, const char *message);
	/* called at least every 50 ms of work; may not return */
	void		(*poll) (void *context);
} FnnHost;

/* Report an error through the host; message is printf-formatted, lower case, no full stop. */
extern void fnn_fail(const FnnHost *host, FnnError code, const char *format,...)
			__attribute__((format(printf, 3, 4), noreturn));
extern void fnn_poll(const FnnHost *host);

/* Size arithmetic that reports overflow through the host instead of wrapping. */
extern size_t fnn_add_size(const FnnHost *host, size_t a, size_t b);
extern size_t fnn_mul_size(const FnnHost *host, size_t a, size_t b);

/* ---------------------------------------------------------------- arena */

/*
 * Memory for one step: bumped, marked and reset, never freed piece by piece.
 * Blocks are kept across resets, so a step that has run once allocates nothing.
 */
typedef struct FnnArena FnnArena;

typedef struct FnnMark
{
	void	   *block;
	size_t		used;
} FnnMark;

/* limit_bytes = 0: unlimited.  Going over the limit fails with FNN_LIMIT. */
extern FnnArena *fnn_arena_create(const FnnHost *host, size_t limit_bytes);
extern void fnn_arena_destroy(FnnArena *arena);
extern void *fnn_alloc(FnnArena *arena, size_t bytes);	/* contents undefined */
extern void *fnn_zalloc(FnnArena *arena, size_t bytes); /* zeroed */
extern fnn_real *fnn_alloc_reals(FnnArena *arena, int64_t rows, int64_t cols);
extern FnnMark fnn_arena_mark(const FnnArena *arena);
extern void fnn_arena_reset(FnnArena *arena, FnnMark mark);
extern size_t fnn_arena_peak(const FnnArena *arena);	/* most bytes ever in use */
extern const FnnHost *fnn_arena_host(const FnnArena *arena);

/* ---------------------------------------------------------------- random numbers */

/*
 * Counter-based: the n-th number of a stream is a pure function of
 * (seed, stream, n).  No state, so any worker can draw any number and a
 * resumed run draws what the uninterrupted one would have drawn.
 */
extern uint64_t fnn_random_bits(uint64_t seed, uint64_t stream, uint64_t counter);
extern double fnn_random_uniform(uint64_t seed, uint64_t stream, uint64_t counter); /* [0, 1) */
extern double fnn_random_normal(uint64_t seed, uint64_t stream, uint64_t counter);	/* N(0, 1) */
/* out[i] = scale * fnn_random_normal(seed, stream, from + i), at less than half the cost; from is even */
extern void fnn_random_normals(uint64_t seed, uint64_t stream, uint64_t from, double scale, int64_t n, fnn_real *out);
extern uint64_t fnn_random_below(uint64_t seed, uint64_t stream, uint64_t counter,
								 uint64_t bound);	/* 0 .. bound - 1, unbiased to 2^-32 */
/* index[n] becomes a uniformly random permutation of 0 .. n - 1 */
extern void fnn_random_permutation(uint64_t seed, uint64_t stream, int64_t n, int64_t *index);

/* ---------------------------------------------------------------- tensors and parameters */

/*
 * Gradient of a table of which a step touches few rows: a row gets a place in
 * grad when it is first touched.  Clearing costs the touched rows only.
 */
typedef struct FnnSparse
{
	int64_t		rows;			/* of the table */
	int64_t		cols;
	int32_t    *place;			/* [rows] index into touched, -1: untouched */
	int32_t    *touched;		/* [capacity] row numbers, in order of first touch */
	int64_t		count;			/* rows touched so far */
	int64_t		capacity;
	fnn_real   *grad;			/* [capacity, cols] */
} FnnSparse;

typedef struct FnnTensor
{
	int64_t		rows;
	int64_t		cols;
	fnn_real   *value;			/* [rows, cols] */
	fnn_real   *grad;			/* [rows, cols]; NULL: none, or sparse */
	FnnSparse  *sparse;			/* gradient by touched rows; NULL: none, or dense */
	/*
	 * The dense gradient holds nothing yet, not even zeros: the softmax loss of a
	 * whole table overwrites it and clears this; nothing else may come before.
	 */
	bool		fresh;
	/* of fnn_columns only: */
	int64_t		stride;			/* reals from one row of value and grad to the next; 0: cols */
	int64_t		column;			/* where its columns begin in a row of sparse */
} FnnTensor;

/* The gradient of one row of a table, dense or sparse; the tensor must have one. */
extern fnn_real *fnn_grad_row(const FnnHost *host, FnnTensor *tensor, int64_t row);
/* Sparse gradient over memory of fnn_sparse_bytes(); every row untouched. */
extern size_t fnn_sparse_bytes(const FnnHost *host, int64_t rows, int64_t cols, int64_t capacity);
extern void fnn_sparse_init(FnnSparse *sparse, void *memory, int64_t rows, int64_t cols, int64_t capacity);
extern void fnn_sparse_clear(FnnSparse *sparse);

typedef enum FnnInit
{
	FNN_INIT_ZERO,
	FNN_INIT_ONE,
	FNN_INIT_NORMAL,			/* N(0, init_scale) */
	FNN_INIT_UNIFORM			/* U(-init_scale, init_scale) */
} FnnInit;

/* Who else may come to hold a parameter. */
typedef enum FnnShare
{
	FNN_ENCODER,				/* may be lent to other databases */
	FNN_LOCAL					/* item tables and heads: leaves only if the sharing policy says so */
} FnnShare;

/* One named slice of a parameter block. */
typedef struct FnnParam
{
	char		name[FNN_NAME_MAX];
	int64_t		rows;
	int64_t		cols;
	size_t		offset;			/* in reals, a multiple of FNN_ALIGN bytes */
	FnnInit		init;
	double		init_scale;
	FnnShare	share;
	bool		frozen;			/* gets no gradient and no update */
	bool		sparse;			/* gradient and update by touched rows */
	bool		decay;			/* weight decay applies */
} FnnParam;

#define FNN_PARAMS_MAX 512

/*
 * The layout of a parameter block.  Values, gradients and both Adam moments
 * are each one contiguous array of size reals with this layout, so that
 * checkpoint, clip and update are each one loop.
 */
typedef struct FnnParams
{
	int			count;
	size_t		size;			/* reals of a block, gaps for alignment included */
	FnnParam	list[FNN_PARAMS_MAX];
} FnnParams;

/* Declares a slice and returns it (valid until the block dies) for its flags to be set. */
extern FnnParam *fnn_params_add(FnnParams *params, const FnnHost *host, const char *name,
								int64_t rows, int64_t cols, FnnInit init, double init_scale);
extern int	fnn_params_find(const FnnParams *params, const char *name); /* -1: none */
/* Fills values[params->size] (gaps become 0); slice i draws from stream i. */
extern void fnn_params_init(const FnnParams *params, const FnnHost *host, uint64_t seed, fnn_real *values);
/*
 * tensors[count] come to point into the blocks.  grads NULL: inference.
 * Frozen slices get no gradient.  sparse[count] may be NULL; where it holds a
 * gradient for a slice, the slice uses it instead of grads.
 */
extern void fnn_params_bind(const FnnParams *params, FnnTensor *tensors, fnn_real *values,
							fnn_real *grads, FnnSparse *const *sparse);

/* ---------------------------------------------------------------- tape */

typedef struct FnnNode FnnNode;

/*
 * Records operations in the order they run, which is a topological order.
 * With record false nothing is recorded, no gradient is allocated and dropout
 * does nothing: inference is the same model function.
 */
typedef struct FnnTape
{
	const FnnHost *host;
	FnnArena   *arena;
	bool		record;
	uint64_t	seed;			/* of dropout */
	uint64_t	stream;			/* of dropout: unique per (step, shard) */
	uint64_t	draws;			/* dropout operations so far: each has its own sub-stream */
	double		loss;			/* sum of all loss operations so far */
	FnnNode    *last;
} FnnTape;

/* Starts a tape on an arena; what was recorded before is forgotten, the arena is left as it is. */
extern void fnn_tape_begin(FnnTape *tape, FnnArena *arena, bool record, uint64_t seed, uint64_t stream);
/* A fresh tensor on the arena; with_grad (and recording) gives it a zeroed gradient. */
extern FnnTensor *fnn_tensor(FnnTape *tape, int64_t rows, int64_t cols, bool with_grad);
/* A tensor over the caller's values, without gradient. */
extern FnnTensor *fnn_constant(FnnTape *tape, int64_t rows, int64_t cols, fnn_real *value);
/* Runs every recorded backward, last first.  Loss operations have already put their gradients in. */
extern void fnn_tape_backward(FnnTape *tape);

static inline bool
fnn_has_grad(const FnnTensor *tensor)
{
	return tensor->grad != NULL || tensor->sparse != NULL;
}

/* ---------------------------------------------------------------- operations */

/* The sequences of a packed batch: tokens offset[s] .. offset[s + 1] - 1 are sequence s. */
typedef struct FnnSequences
{
	int32_t		count;
	const int32_t *offset;		/* [count + 1], offset[0] = 0 */
} FnnSequences;

typedef enum FnnActivation
{
	FNN_IDENTITY,
	FNN_RELU,
	FNN_GELU,					/* exact: x * Phi(x) */
	FNN_SIGMOID,
	FNN_TANH
} FnnActivation;

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
/*
 * Causal multi-head attention inside each sequence, fused: scores, softmax,
 * dropout on the weights and the weighted sum never exist for more than a tile.
 *	query	  [tokens, d], or [count, d] when last_only: one query a sequence, its last token's
 *	key_value [tokens, 2 d]: keys in columns 0 .. d - 1, values in d .. 2 d - 1
 * Returns a tensor of query's shape.  d is a multiple of heads; scale is 1/sqrt(d / heads).
 */
extern FnnTensor *fnn_attention(FnnTape *tape, FnnTensor *query, FnnTensor *key_value,
								const FnnSequences *sequences, int heads, double dropout, bool last_only);
/*
 * One GRU layer over packed sequences from a zero state (gate order r, z, n
 * and equations of torch.nn.GRU).
 *	x [tokens, in], w_in [3 h, in], w_hidden [3 h, h], b_in and b_hidden [1, 3 h].
 * Returns [tokens, h].
 */
extern FnnTensor *fnn_gru(FnnTape *tape, FnnTensor *x, FnnTensor *w_in, FnnTensor *w_hidden,
						  FnnTensor *b_in, FnnTensor *b_hidden, const FnnSequences *sequences);

/*
 * Columns first .. first + cols - 1 of a table, over the table's own memory and
 * gradient.  fnn_embed, fnn_neighbours and the softmax and gBCE losses take one
 * as their table; other operations fail with FNN_INVALID.
 */
extern FnnTensor *fnn_columns(FnnTape *tape, FnnTensor *table, int64_t first, int64_t cols);
/* x, without a gradient: what is computed from it does not reach x. */
extern FnnTensor *fnn_detach(FnnTape *tape, FnnTensor *x);
/* y[n, sum of cols] = part[0] | part[1] | …, parts of n rows each. */
extern FnnTensor *fnn_concat(FnnTape *tape, int n_parts, FnnTensor *const *parts);
/*
 * y[n, sum of cols] = weight[:, 0] part[0] | weight[:, 1] part[1] | …; weight has
 * n rows and at least n_parts columns, of which the others are not looked at.
 */
extern FnnTensor *fnn_gate(FnnTape *tape, int n_parts, FnnTensor *const *parts, FnnTensor *weight);
/* y[tokens, d]: the mean of each token's row and those before it in its sequence. */
extern FnnTensor *fnn_running_mean(FnnTape *tape, FnnTensor *x, const FnnSequences *sequences);
/* y[1, d]: the mean of all rows; 0 where there are none. */
extern FnnTensor *fnn_mean(FnnTape *tape, FnnTensor *x);
/*
 * y[n, d] = softmax of each row over its columns with allowed[d] (NULL: all; at
 * least one is), 0 in the others; top > 0: over the top largest of those, of
 * equal ones the first.  No gradient reaches what became 0.
 */
extern FnnTensor *fnn_softmax(FnnTape *tape, FnnTensor *x, const bool *allowed, int top);
/*
 * W + scale B A, low-rank adaptation (Hu et al. 2022): W [out, in], A [rank, in],
 * B [out, rank].  With B = 0 the result has W's bits.
 */
extern FnnTensor *fnn_adapt(FnnTape *tape, FnnTensor *w, FnnTensor *a, FnnTensor *b, double scale);

/* What may follow each item, and how much that weighs: rows of a sparse matrix [items, items]. */
typedef struct FnnGraph
{
	const int64_t *offset;		/* [items + 1] */
	const int32_t *to;			/* [edges] ascending in each row */
	const float *weight;		/* [edges] */
} FnnGraph;

/*
 * y[n, d] = sum over j of graph[id[i], j] * dropout(table)[j]: one layer of
 * graph convolution, for the rows that are asked for.  The dropout is of the
 * table's elements, the same wherever in the batch a row is needed.
 */
extern FnnTensor *fnn_neighbours(FnnTape *tape, FnnTensor *table, const FnnGraph *graph, const int32_t *id, int64_t n,
								 double dropout);

/*
 * Losses add weight * sum to tape->loss.  They end the tape, so when recording
 * they put the gradients into their inputs at once and record nothing.
 */

/*
 * Linear + softmax + cross-entropy over the whole table, in blocks that stay
 * in cache: the logits [n, rows of table] never exist at once.
 *	hidden [n, d], table [v, d], target[n] in 0 .. v - 1, or -1: the row does not count.
 */
extern void fnn_softmax_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table,
							 const int32_t *target, double weight);
/* Numbers to be added to a row's logits: n items, ascending. */
typedef struct FnnTerms
{
	int64_t		n;
	const int32_t *item;		/* [n] */
	const float *value;			/* [n] */
} FnnTerms;

/* What else a softmax loss can do; all of it may be left 0. */
typedef struct FnnSoftmaxExtra
{
	double	   *row_loss;		/* [n] comes to hold each row's cross-entropy, NaN where target is -1 */
	const FnnTerms *terms;		/* [n] row i's logits are raised by terms[i] … */
	FnnTensor  *term_weight;	/* … times element [i, term_column] of this, which gets its gradient */
	int64_t		term_column;
} FnnSoftmaxExtra;

extern void fnn_softmax_loss_with(FnnTape *tape, FnnTensor *hidden, FnnTensor *table,
								  const int32_t *target, double weight, const FnnSoftmaxExtra *extra);
/* Reals that a softmax loss of rows rows over items items takes while it runs, terms not counted. */
extern double fnn_softmax_loss_reals(int64_t rows, int64_t items, int64_t width);
/*
 * sum over rows and columns of q log(q / p), with 0 log 0 = 0: p [n, d] a
 * softmax, q[n, d] what it should be.  Rows whose first q is NaN do not count;
 * where q > 0, p is taken as at least 1e-12.
 */
extern void fnn_divergence_loss(FnnTape *tape, FnnTensor *p, const fnn_real *q, double weight);
/* sum of x * x */
extern void fnn_square_loss(FnnTape *tape, FnnTensor *x, double weight);
/*
 * NT-Xent (Chen et al. 2020): rows of a and b [n, d] are two views of n things.
 * Each of the 2 n rows has the other view as its answer among all rows but
 * itself, by cosine / temperature; the sum of the 2 n cross-entropies.  A row of
 * no length has cosine 0 to all.  n = 1 gives 0.
 */
extern void fnn_contrast_loss(FnnTape *tape, FnnTensor *a, FnnTensor *b, double temperature, double weight);
/*
 * gBCE (Petrov & Macdonald 2023): binary cross-entropy over the positive and
 * shared uniform negatives, the positive's log-probability multiplied by beta.
 *	loss of a row = -beta * log sigmoid(s+) - sum_j log(1 - sigmoid(s_j))
 * A negative that equals the row's target does not count for that row.
 *	negative[n_negatives] are rows of table; beta from fnn_gbce_beta().
 */
extern void fnn_gbce_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const int32_t *target,
						  const int32_t *negative, int32_t n_negatives, double beta, double weight);
/* alpha (t (1 - 1/alpha) + 1/alpha) with alpha = n_negatives / (n_items - 1). */
extern double fnn_gbce_beta(int64_t n_items, int64_t n_negatives, double calibration);

/* ---------------------------------------------------------------- optimiser */

typedef struct FnnAdamW
{
	double		learning_rate;
	double		beta1;
	double		beta2;
	double		epsilon;
	double		weight_decay;	/* decoupled: w -= lr * weight_decay * w, where the slice decays */
} FnnAdamW;

/* The learning rate of a step (from 1): base * min(1, step / warmup_steps) * decay^epochs. */
extern double fnn_learning_rate(double base, int64_t step, int64_t warmup_steps, double decay, double epochs);

/*
 * grads of n_shards slots are summed in slot order for the reals from .. to - 1
 * of the block into slot 0; from is a multiple of FNN_REDUCE_CHUNK, and to is
 * one too or the end of the block.  chunk_squares[c] becomes the sum of squares
 * of chunk c, counted from the start of the block: the same bits however a block
 * is cut between callers.
 */
#define FNN_REDUCE_CHUNK 16384
extern void fnn_reduce(fnn_real *const *slots, int n_shards, size_t from, size_t to, double *chunk_squares);
/*
 * AdamW on the reals from .. to - 1 of the block with gradients grad * scale
 * (scale < 1 when clipping).  step counts from 1.  Frozen and sparse slices
 * are passed over.
 */
extern void fnn_adamw(const FnnAdamW *adamw, const FnnParams *params, int64_t step, double scale,
					  size_t from, size_t to, fnn_real *value, const fnn_real *grad,
					  fnn_real *m, fnn_real *v);
/*
 * The lazy variant for a sparse slice: only rows touched in this step move;
 * their moments decay by the steps they were idle for, which last_step[rows]
 * remembers (m by beta1^idle, v by beta2^idle), so a row's state is what dense
 * Adam would hold; the drift dense Adam applies to idle rows is left out.
 * sparse holds the shards' summed gradient.  Rows from .. to - 1 of sparse->touched.
 * value, m and v are the blocks, as for fnn_adamw; last_step is the slice's own,
 * 0 in rows never touched.
 */
extern void fnn_adamw_sparse(const FnnAdamW *adamw, const FnnParam *param, int64_t step, double scale,
							 const FnnSparse *sparse, int64_t from, int64_t to,
							 fnn_real *value, fnn_real *m, fnn_real *v, int32_t *last_step);

/* ---------------------------------------------------------------- matrix products */

/*
 * The only door to BLAS.  Products are cut so that none takes longer than
 * about 50 ms, with a poll between.
 *	gemm: C[m, n] = alpha * op(A) op(B) + beta * C, row-major, leading dimensions in reals.
 */
extern void fnn_gemm(const FnnHost *host, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
					 fnn_real alpha, const fnn_real *a, int64_t lda, const fnn_real *b, int64_t ldb,
					 fnn_real beta, fnn_real *c, int64_t ldc);
/* y[m] = A[m, k] x[k] */
extern void fnn_gemv(const FnnHost *host, int64_t m, int64_t k, const fnn_real *a, int64_t lda,
					 const fnn_real *x, fnn_real *y);
/*
 * Call once a process before the first product: one BLAS thread, any thread
 * the library started at load ended, and a product checked against plain C.
 * Returns NULL, or what is wrong with this machine's BLAS.
 */
extern const char *fnn_blas_setup(void);

/* ---------------------------------------------------------------- ranking */

typedef struct FnnTopk
{
	int32_t		k;				/* capacity */
	int32_t		count;			/* filled */
	int32_t    *item;			/* [k] a heap until fnn_topk_sort, then best first */
	fnn_real   *score;			/* [k] */
} FnnTopk;

extern void fnn_topk_init(FnnTopk *topk, int32_t k, int32_t *item, fnn_real *score);
/* Offers items first .. first + n - 1 with their scores; a NaN score never enters. */
extern void fnn_topk_offer(FnnTopk *topk, int32_t first, int64_t n, const fnn_real *score);
/* Best first: by descending score, ties by ascending item. */
extern void fnn_topk_sort(FnnTopk *topk);

/*
 * Rank of target among all n items, 1 = best: 1 + the number of other items
 * whose score is not lower (a tie counts against the target, and a NaN score of
 * the target ranks last).  excluded[n_excluded] (any order, repeats allowed,
 * may hold the target, which is always ranked) do not take part; scores of
 * excluded items are overwritten.
 */
extern int64_t fnn_rank(fnn_real *score, int64_t n, int32_t target,
						const int32_t *excluded, int64_t n_excluded);

/* Metrics of one ranked target; 0 outside the cut-off. */
extern double fnn_ndcg(int64_t rank, int64_t k);	/* 1 / log2(rank + 1) */
extern double fnn_hr(int64_t rank, int64_t k);	/* 1 */
extern double fnn_mrr(int64_t rank, int64_t k); /* 1 / rank */

/* ---------------------------------------------------------------- scanning */

/*
 * The rows of a table with the largest products with one vector.  A row's
 * product has the same bits however the row was come by: in a scan of all, in
 * one that passes most rows over, or asked for alone.
 */

/* product[n] of the vector[cols] and the rows item[n] of table[…, cols]; item NULL: rows 0 .. n - 1 */
extern void fnn_products(int64_t n, int64_t cols, const fnn_real *table, const int32_t *item,
						 const fnn_real *vector, fnn_real *product);

/* length[n] of rows [n, cols], by their squares */
extern void fnn_lengths(int64_t n, int64_t cols, const fnn_real *row, double *length);

/*
 * A copy of a table with each element in 8 bits, which tells most rows that
 * cannot be among the best by a small part of the memory that the table takes.
 * One block without pointers, aligned to FNN_ALIGN.
 */
extern size_t fnn_codes_bytes(int64_t rows, int64_t cols);
extern void fnn_codes_build(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, void *codes);

/* Bits of a set of rows: row i is in word[i / 64], bit i % 64. */
static inline size_t
fnn_set_words(int64_t rows)
{
	return (size_t) ((rows + 63) / 64);
}

/*
 * Offers to topk every row of table[rows, cols] but those in the set passed
 * (NULL: none).  With codes of the same table, rows are left out whose product
 * is certainly too small; what topk holds in the end is the same.
 */
extern void fnn_scan(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
					 const fnn_real *vector, const uint64_t *passed, FnnTopk *topk);

/* Rows in ascending order; repeats allowed. */
typedef struct FnnRows
{
	int64_t		count;
	const int32_t *row;
} FnnRows;

/*
 * fnn_scan for each of vectors[n, cols] and its topk[n], passing over passed[n]
 * (NULL: none), at the speed of a matrix product where there are codes.
 */
extern void fnn_scan_many(FnnArena *arena, int64_t rows, int64_t cols, const fnn_real *table, const void *codes,
						  int64_t n, const fnn_real *vectors, const FnnRows *passed, FnnTopk *topk);

/* ---------------------------------------------------------------- safetensors */

typedef enum FnnDtype
{
	FNN_F32, FNN_F64, FNN_F16, FNN_BF16, FNN_I64, FNN_I32, FNN_I8, FNN_U8
} FnnDtype;

extern size_t fnn_dtype_size(FnnDtype dtype);
extern const char *fnn_dtype_name(FnnDtype dtype);	/* "F32" ... */
extern bool fnn_dtype_parse(const char *name, FnnDtype *dtype);

#define FNN_DIMS_MAX 4

/* A named array: what stores and files hold. */
typedef struct FnnArray
{
	char		name[FNN_NAME_MAX];
	FnnDtype	dtype;
	int			ndim;
	int64_t		shape[FNN_DIMS_MAX];
	void	   *data;			/* row-major */
	size_t		bytes;
} FnnArray;

typedef struct FnnMetadata
{
	const char *key;
	const char *value;			/* UTF-8, NUL-terminated */
} FnnMetadata;

typedef struct FnnFile
{
	int			n_arrays;
	FnnArray   *array;
	int			n_metadata;
	FnnMetadata *metadata;
} FnnFile;

/*
 * Reads a safetensors file that may be hostile.  Arrays point into bytes
 * where alignment allows, else into copies on the arena.  Refused with
 * FNN_FORMAT and a message that names the rule broken: truncation, header
 * length, JSON syntax, unknown dtype, negative or overflowing shapes, offsets
 * out of order, overlapping, leaving holes or past the end, bytes that are not
 * shape times dtype, duplicate or overlong names; with FNN_NONFINITE: NaN or
 * infinity in F16, BF16, F32 and F64 arrays.
 */
extern FnnFile *fnn_safetensors_read(FnnArena *arena, const void *bytes, size_t size);
/* Bytes the file will take, and the writing of it to out[that many]. */
extern size_t fnn_safetensors_size(FnnArena *arena, const FnnFile *file);
extern void fnn_safetensors_write(FnnArena *arena, const FnnFile *file, void *out);
extern const FnnArray *fnn_file_array(const FnnFile *file, const char *name);	/* NULL: none */
extern const char *fnn_file_metadata(const FnnFile *file, const char *key); /* NULL: none */

/* 64-bit hash of bytes, chained through seed: fingerprints and checksums, not cryptography. */
extern uint64_t fnn_hash(uint64_t seed, const void *bytes, size_t size);
/* True when all n are finite. */
extern bool fnn_all_finite(const fnn_real *value, size_t n);

#endif							/* FNN_NN_H */

/*
 * check_postnorm.c
 *	  Blocks that normalise after each sum: against PyTorch, by differences, with
 *	  baskets, and what they say they take.
 */
#include "check.h"

#include "model/expert/expert.h"
#include "model/expert/postnorm.h"

#include <string.h>

typedef struct GoldenMatrix
{
	const char *name;
	int			rows;
	int			cols;
	const float *value;
} GoldenMatrix;

typedef struct GoldenPostnorm
{
	int			width;
	int			inner;
	int			heads;
	int			layers;
	double		epsilon;
	int			n_sequences;
	const int32_t *offset;		/* [n_sequences + 1] */
	const GoldenMatrix *matrix; /* x, goal, states, the weights, and gradients of sum(goal * states) */
} GoldenPostnorm;

#include "golden/postnorm.h"

/* Blocks with parameters of their own. */
typedef struct Blocks
{
	FmoePostnorm shape;
	FnnParams	params;
	FnnTensor  *tensor;
	const FmoeBatch *batch;
	FmoeWhich	which;
} Blocks;

static void
make_blocks(Blocks *blocks)
{
	FnnParams  *params = &blocks->params;
	FmoeDeclaring to = {.params = params, .host = check_host(), .prefix = ""};
	fnn_real   *values;
	fnn_real   *grads;

	fmoe_declare_postnorm(&to, &blocks->shape);
	CHECK(params->count == fmoe_postnorm_slices(&blocks->shape), "%d slices instead of %d", params->count,
		  fmoe_postnorm_slices(&blocks->shape));
	values = fnn_alloc_reals(check_arena(), 1, (int64_t) params->size);
	grads = fnn_zalloc(check_arena(), sizeof(fnn_real) * params->size);
	for (size_t i = 0; i < params->size; i++)
		values[i] = (fnn_real) (0.5 * fnn_random_normal(31, 7, 2 * i));
	blocks->tensor = fnn_alloc(check_arena(), sizeof(FnnTensor) * (size_t) params->count);
	fnn_params_bind(params, blocks->tensor, values, grads, NULL);
}

static const GoldenMatrix *
golden_matrix(const GoldenPostnorm *golden, const char *name, const char *suffix)
{
	size_t		n = strlen(name);

	for (const GoldenMatrix *matrix = golden->matrix; matrix->name != NULL; matrix++)
		if (strncmp(matrix->name, name, n) == 0 && strcmp(matrix->name + n, suffix) == 0)
			return matrix;
	CHECK(false, "no matrix \"%s%s\"", name, suffix);
	return golden->matrix;
}

static void
fill(FnnTensor *tensor, const GoldenMatrix *matrix)
{
	CHECK(tensor->rows == matrix->rows && tensor->cols == matrix->cols, "shape of \"%s\"", matrix->name);
	for (int64_t i = 0; i < tensor->rows * tensor->cols; i++)
		tensor->value[i] = matrix->value[i];
}

static void
compare(const fnn_real *value, const GoldenMatrix *matrix)
{
	for (int i = 0; i < matrix->rows * matrix->cols; i++)
		CHECK(check_close(value[i], matrix->value[i], 1e-4), "%s [%d]: %g instead of %g", matrix->name, i,
			  (double) value[i], matrix->value[i]);
}

static void
check_golden(const GoldenPostnorm *golden)
{
	Blocks		blocks = {.shape = {golden->width, golden->inner, golden->heads, golden->layers, golden->epsilon, 0}};
	FmoeBatch	batch = {.sequences = {.count = golden->n_sequences, .offset = golden->offset}};
	FnnTensor  *x = check_tensor(1, golden->offset[golden->n_sequences], golden->width);
	int32_t    *last = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) golden->n_sequences);
	FnnTape		tape;
	FnnTensor  *y;

	check_begin("post-norm blocks as PyTorch: width %d, inner %d, %d heads, %d layers", golden->width, golden->inner,
				golden->heads, golden->layers);
	make_blocks(&blocks);
	fill(x, golden_matrix(golden, "x", ""));
	for (int i = 0; i < blocks.params.count; i++)
		fill(&blocks.tensor[i], golden_matrix(golden, blocks.params.list[i].name, ""));
	batch.n_tokens = x->rows;
	for (int s = 0; s < golden->n_sequences; s++)
		last[s] = golden->offset[s + 1] - 1;
	batch.last = last;
	fnn_tape_begin(&tape, check_arena(), true, 0, 0);
	y = fmoe_postnorm_run(&blocks.shape, blocks.tensor, &tape, x, &batch, FMOE_ALL_TOKENS);
	compare(y->value, golden_matrix(golden, "states", ""));
	for (int64_t i = 0; i < y->rows * y->cols; i++)
		y->grad[i] = golden_matrix(golden, "goal", "")->value[i];
	fnn_tape_backward(&tape);
	compare(x->grad, golden_matrix(golden, "x", ".grad"));
	for (int i = 0; i < blocks.params.count; i++)
		compare(blocks.tensor[i].grad, golden_matrix(golden, blocks.params.list[i].name, ".grad"));

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	y = fmoe_postnorm_run(&blocks.shape, blocks.tensor, &tape, x, &batch, FMOE_LAST_TOKENS);
	for (int s = 0; s < golden->n_sequences; s++)
		for (int c = 0; c < golden->width; c++)
			CHECK(check_close(y->value[s * golden->width + c],
							  golden_matrix(golden, "states", "")->value[last[s] * golden->width + c], 1e-4),
				  "the last state of sequence %d", s);
	check_end();
}

/* ---------------------------------------------------------------- baskets */

static void
run_blocks(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	Blocks	   *blocks = context;

	check_loss(tape, fmoe_postnorm_run(&blocks->shape, blocks->tensor, tape, inputs[0], blocks->batch,
									   blocks->which));
}

/* Three histories, of which events with one basket number happened at once; or none did. */
static FmoeBatch *
histories(bool baskets)
{
	static const int32_t item[] = {1, 4, 1, 0, 2, 3, 5, 1, 2};
	static const int32_t basket[] = {0, 1, 1, 2, 0, 0, 0, 1, 1};
	static const int64_t begin[] = {0, 4, 5};
	static const int64_t end[] = {4, 5, 9};

	return fmoe_batch(check_arena(), &(FmoeEvents) {.item = item, .basket = baskets ? basket : NULL}, 3, begin, end,
					  9);
}

static void
check_differences(void)
{
	for (int variant = 0; variant < 4; variant++)
	{
		Blocks		blocks = {.shape = {4, 6, 2, 2, 1e-8, 0.2}, .which = variant & 1};
		FnnTensor **inputs;

		check_begin("gradients of post-norm blocks, %s, %s", variant & 2 ? "baskets" : "no baskets",
					blocks.which == FMOE_LAST_TOKENS ? "last tokens" : "all tokens");
		make_blocks(&blocks);
		blocks.batch = histories(variant & 2);
		inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) (blocks.params.count + 1));
		inputs[0] = check_tensor(5, blocks.batch->n_tokens, 4);
		for (int i = 0; i < blocks.params.count; i++)
			inputs[i + 1] = &blocks.tensor[i];
		check_gradients(blocks.params.count + 1, inputs, run_blocks, &blocks);
		check_end();
	}
}

/* The items of a basket have one state, whatever their order, and it is that of the last tokens. */
static void
check_order(void)
{
	Blocks		blocks = {.shape = {8, 16, 2, 2, 1e-8, 0}};
	FnnTensor  *x = check_tensor(5, 9, 8);
	FnnTensor  *turned = check_tensor(5, 9, 8);
	FnnTensor  *y;
	FnnTensor  *of_turned;
	FnnTensor  *of_last;
	FnnTape		tape;

	check_begin("post-norm blocks: the order inside a basket does not count");
	make_blocks(&blocks);
	blocks.batch = histories(true);
	for (int c = 0; c < 8; c++)
	{
		turned->value[7 * 8 + c] = x->value[8 * 8 + c];
		turned->value[8 * 8 + c] = x->value[7 * 8 + c];
	}
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	y = fmoe_postnorm_run(&blocks.shape, blocks.tensor, &tape, x, blocks.batch, FMOE_ALL_TOKENS);
	of_turned = fmoe_postnorm_run(&blocks.shape, blocks.tensor, &tape, turned, blocks.batch, FMOE_ALL_TOKENS);
	of_last = fmoe_postnorm_run(&blocks.shape, blocks.tensor, &tape, x, blocks.batch, FMOE_LAST_TOKENS);
	for (int i = 0; i < 9 * 8; i++)
		CHECK(check_close(y->value[i], of_turned->value[i], 1e-5), "token %d", i / 8);
	for (int c = 0; c < 8; c++)
		CHECK(check_close(y->value[7 * 8 + c], y->value[8 * 8 + c], 1e-6) &&
			  check_close(y->value[8 * 8 + c], of_last->value[2 * 8 + c], 1e-5), "column %d", c);
	check_end();
}

/* ---------------------------------------------------------------- memory */

/* Bytes that a pass takes on a fresh arena. */
static double
taken(Blocks *blocks, FnnTensor *x, FmoeWhich which, bool record)
{
	FnnArena   *arena = fnn_arena_create(check_host(), 0);
	FnnTape		tape;
	double		bytes;

	fnn_tape_begin(&tape, arena, record, 1, 2);
	fmoe_postnorm_run(&blocks->shape, blocks->tensor, &tape, x, blocks->batch, which);
	if (record)
		fnn_tape_backward(&tape);
	bytes = (double) fnn_arena_peak(arena);
	fnn_arena_destroy(arena);
	return bytes;
}

static void
check_bytes(void)
{
	Blocks		blocks = {.shape = {32, 128, 2, 2, 1e-8, 0.2}};
	int64_t		n = 4000;
	int64_t    *begin = fnn_alloc(check_arena(), sizeof(int64_t) * (size_t) n);
	int64_t    *end = fnn_alloc(check_arena(), sizeof(int64_t) * (size_t) n);
	int32_t    *item = fnn_zalloc(check_arena(), sizeof(int32_t) * (size_t) n);
	int64_t		count = n / 40;

	check_begin("post-norm blocks take what they say");
	for (int64_t i = 0; i < count; i++)
	{
		begin[i] = 40 * i;
		end[i] = 40 * (i + 1);
	}
	make_blocks(&blocks);
	blocks.batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, count, begin, end, 40);
	for (int k = 0; k < 2; k++)
	{
		bool		record = k == 0;
		double		told = (double) n * fmoe_postnorm_token_reals(&blocks.shape, record) +
			fmoe_postnorm_map_reals(&blocks.shape);
		double		bytes = taken(&blocks, check_tensor(1, n, 32), record ? FMOE_ALL_TOKENS : FMOE_LAST_TOKENS,
								  record);

		if (!record)
			told += (double) count * fmoe_postnorm_last_reals(&blocks.shape);
		told *= sizeof(fnn_real);
		CHECK(bytes <= 1.02 * told + 65536 && bytes >= 0.7 * told, "%s: %.0f bytes, %.0f told",
			  record ? "recorded" : "unrecorded", bytes, told);
	}
	check_end();
}

void
check_postnorm(void)
{
	for (const GoldenPostnorm *golden = golden_postnorm; golden->width > 0; golden++)
		check_golden(golden);
	check_differences();
	check_order();
	check_bytes();
}

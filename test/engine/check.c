/*
 * check.c
 *	  The engine tests' harness and main program.
 *
 * check [part ...] runs the test functions whose names contain one of the
 * parts, all without arguments, and prints TAP.
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"

/* ---------------------------------------------------------------- TAP */

static int	tests;
static int	failed_tests;
static int	failed_checks;		/* of the current test */
static char test_name[256];		/* empty: no test is open */

void
check_begin(const char *format,...)
{
	va_list		arguments;

	if (test_name[0] != '\0')
		check_end();
	va_start(arguments, format);
	vsnprintf(test_name, sizeof(test_name), format, arguments);
	va_end(arguments);
	failed_checks = 0;
}

void
check_end(void)
{
	printf("%s %d - %s\n", failed_checks == 0 ? "ok" : "not ok", ++tests, test_name);
	fflush(stdout);
	failed_tests += failed_checks != 0;
	test_name[0] = '\0';
}

void
check_that(bool ok, const char *file, int line, const char *format,...)
{
	va_list		arguments;

	if (ok || ++failed_checks > 10)
		return;
	printf("# %s:%d: ", file, line);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
}

bool
check_close(double a, double b, double tolerance)
{
	double		scale = 1;

	scale = fmax(scale, fmax(fabs(a), fabs(b)));
	return fabs(a - b) <= tolerance * scale;
}

/* ---------------------------------------------------------------- host */

/* A header before each piece links all of them, so that none outlives its test function. */
typedef struct Piece
{
	struct Piece *next;
	struct Piece **link;		/* what points to this piece */
} Piece;

static Piece *pieces;
static FnnArena *arena;
static jmp_buf *on_fail;
static FnnError fail_code;
static char fail_message[1024];

static void *
host_allocate(void *context, size_t bytes)
{
	size_t		size = (bytes + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN + FNN_ALIGN;
	Piece	   *piece = size > bytes ? aligned_alloc(FNN_ALIGN, size) : NULL;

	if (piece == NULL)
	{
		printf("Bail out! no memory for %zu bytes\n", bytes);
		exit(1);
	}
	piece->next = pieces;
	piece->link = &pieces;
	if (pieces != NULL)
		pieces->link = &piece->next;
	pieces = piece;
	return (char *) piece + FNN_ALIGN;
}

static void
host_release(void *context, void *pointer)
{
	Piece	   *piece = (Piece *) ((char *) pointer - FNN_ALIGN);

	*piece->link = piece->next;
	if (piece->next != NULL)
		piece->next->link = piece->link;
	free(piece);
}

static void
host_fail(void *context, FnnError code, const char *message)
{
	fail_code = code;
	snprintf(fail_message, sizeof(fail_message), "%s", message);
	longjmp(*on_fail, 1);
}

static void
host_poll(void *context)
{
}

static const FnnHost host = {NULL, host_allocate, host_release, host_fail, host_poll};

const FnnHost *
check_host(void)
{
	return &host;
}

FnnArena *
check_arena(void)
{
	if (arena == NULL)
		arena = fnn_arena_create(&host, 0);
	return arena;
}

void
check_fails(FnnError code, const char *part, void (*run) (void *context), void *context)
{
	jmp_buf    *outer = on_fail;
	jmp_buf		here;

	if (setjmp(here) == 0)
	{
		on_fail = &here;
		run(context);
		on_fail = outer;
		CHECK(false, "should have failed with \"%s\"", part);
		return;
	}
	on_fail = outer;
	CHECK(fail_code == code, "failed with code %d instead of %d: %s", (int) fail_code, (int) code, fail_message);
	CHECK(strstr(fail_message, part) != NULL, "message \"%s\" does not hold \"%s\"", fail_message, part);
}

/* ---------------------------------------------------------------- gradients */

FnnTensor *
check_tensor(uint64_t seed, int64_t rows, int64_t cols)
{
	FnnTensor  *tensor = fnn_zalloc(check_arena(), sizeof(FnnTensor));

	tensor->rows = rows;
	tensor->cols = cols;
	tensor->value = fnn_alloc_reals(check_arena(), rows, cols);
	tensor->grad = fnn_alloc_reals(check_arena(), rows, cols);
	for (int64_t i = 0; i < rows * cols; i++)
	{
		tensor->value[i] = (fnn_real) (0.5 * fnn_random_normal(seed, 0, i));
		tensor->grad[i] = 0;
	}
	return tensor;
}

void
check_loss(FnnTape *tape, FnnTensor *x)
{
	for (int64_t i = 0; i < x->rows * x->cols; i++)
	{
		double		c = 2 * fnn_random_uniform(4711, 0, i) - 1;

		tape->loss += c * x->value[i];
		if (tape->record && x->grad != NULL)
			x->grad[i] += (fnn_real) c;
	}
}

typedef struct Graph
{
	int			n_inputs;
	FnnTensor  *const *inputs;
	void		(*run) (FnnTape *tape, FnnTensor *const *inputs, void *context);
	void	   *context;
} Graph;

static void
clear_gradients(const Graph *graph)
{
	for (int i = 0; i < graph->n_inputs; i++)
	{
		FnnTensor  *input = graph->inputs[i];

		if (input->grad != NULL)
			memset(input->grad, 0, (size_t) (input->rows * input->cols) * sizeof(fnn_real));
		if (input->sparse != NULL)
			fnn_sparse_clear(input->sparse);
	}
}

/* The loss of one forward pass; with_backward leaves gradients in the inputs. */
static double
run_graph(const Graph *graph, bool with_backward)
{
	FnnMark		mark = fnn_arena_mark(check_arena());
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 12345, 67);
	graph->run(&tape, graph->inputs, graph->context);
	if (with_backward)
		fnn_tape_backward(&tape);
	fnn_arena_reset(check_arena(), mark);
	return tape.loss;
}

static double
gradient_element(const FnnTensor *input, int64_t element)
{
	const FnnSparse *sparse = input->sparse;
	int32_t		place;

	if (sparse == NULL)
		return input->grad[element];
	place = sparse->place[element / input->cols];
	return place < 0 ? 0 : sparse->grad[place * input->cols + element % input->cols];
}

/* One input's gradients after one pass and after a second one on top. */
static void
compare_passes(const Graph *graph, int i, const double *once, const double *twice)
{
	FnnTensor  *input = graph->inputs[i];
	const double tolerance = sizeof(fnn_real) == sizeof(double) ? 1e-10 : 1e-3;

	for (int64_t e = 0; e < input->rows * input->cols; e++)
		CHECK(fabs(twice[e] - 2 * once[e]) <= tolerance * fmax(1, fabs(once[e])),
			  "input %d element %" PRId64 ": gradient %.12g does not add up: %.12g after the second pass",
			  i, e, once[e], twice[e]);
}

/* One input's gradients with differences; single precision is too coarse for them. */
static void
compare_differences(const Graph *graph, int i, const double *gradient)
{
	FnnTensor  *input = graph->inputs[i];
	int64_t		n = sizeof(fnn_real) == sizeof(double) ? input->rows * input->cols : 0;

	for (int64_t e = 0; e < n; e++)
	{
		double		value = input->value[e];
		double		h = 1e-5 * fmax(1, fabs(value));
		double		up;
		double		down;
		double		expected;

		input->value[e] = value + h;
		clear_gradients(graph);
		up = run_graph(graph, false);
		input->value[e] = value - h;
		clear_gradients(graph);
		down = run_graph(graph, false);
		input->value[e] = value;
		expected = (up - down) / (2 * h);
		CHECK(fabs(gradient[e] - expected) <= 1e-7 + 1e-6 * fabs(expected),
			  "input %d element %" PRId64 ": gradient %.12g, by differences %.12g", i, e, gradient[e], expected);
	}
}

void
check_gradients(int n_inputs, FnnTensor *const *inputs,
				void (*run) (FnnTape *tape, FnnTensor *const *inputs, void *context), void *context)
{
	const Graph graph = {n_inputs, inputs, run, context};
	FnnMark		mark = fnn_arena_mark(check_arena());
	double	  **passes[2];

	/* the second pass adds to what the first left: it must come to twice as much */
	clear_gradients(&graph);
	for (int pass = 0; pass < 2; pass++)
	{
		passes[pass] = fnn_alloc(check_arena(), n_inputs * sizeof(double *));
		run_graph(&graph, true);
		for (int i = 0; i < n_inputs; i++)
		{
			int64_t		n = inputs[i]->rows * inputs[i]->cols;

			passes[pass][i] = NULL;
			if (!fnn_has_grad(inputs[i]))
				continue;
			passes[pass][i] = fnn_alloc(check_arena(), n * sizeof(double));
			for (int64_t e = 0; e < n; e++)
				passes[pass][i][e] = gradient_element(inputs[i], e);
		}
	}
	for (int i = 0; i < n_inputs; i++)
		if (fnn_has_grad(inputs[i]))
		{
			compare_passes(&graph, i, passes[0][i], passes[1][i]);
			compare_differences(&graph, i, passes[0][i]);
		}
	clear_gradients(&graph);
	fnn_arena_reset(check_arena(), mark);
}

/* ---------------------------------------------------------------- whole operations */

/* A copy that takes its gradient by touched rows. */
FnnTensor *
check_sparse_copy(const FnnTensor *dense)
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
double
check_loss_of(FnnTensor *const *inputs, CheckRun run, void *context, bool record)
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
void
check_operation(int n, FnnTensor *const *inputs, CheckRun run, void *context)
{
	FnnTensor	copies[CHECK_INPUTS_MAX];
	FnnTensor  *variant[CHECK_INPUTS_MAX] = {NULL};

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
	CHECK(check_loss_of(inputs, run, context, false) == check_loss_of(inputs, run, context, true),
		  "a run that is not recorded gives another loss");
	for (int i = 0; i < n; i++)
		if (inputs[i]->grad != NULL)
			memset(inputs[i]->grad, 0, (size_t) (inputs[i]->rows * inputs[i]->cols) * sizeof(fnn_real));
		else if (inputs[i]->sparse != NULL)
			fnn_sparse_clear(inputs[i]->sparse);
}

bool
check_same(int64_t n, const fnn_real *a, const fnn_real *b)
{
	return memcmp(a, b, (size_t) n * sizeof(fnn_real)) == 0;
}

/* n numbers below bound, with repeats; leave -1 in about a tenth of them */
int32_t *
check_numbers(uint64_t seed, int64_t n, int64_t bound, bool some_missing)
{
	int32_t    *number = fnn_alloc(check_arena(), ((size_t) n + 1) * sizeof(int32_t));

	for (int64_t i = 0; i < n; i++)
		number[i] = some_missing && fnn_random_uniform(seed, 1, i) < 0.1 ? -1 :
			(int32_t) fnn_random_below(seed, 0, i, bound);
	return number;
}

/* Items followed by none, few or many others. */
FnnGraph *
check_random_graph(int64_t items)
{
	FnnGraph   *graph = fnn_alloc(check_arena(), sizeof(FnnGraph));
	int64_t    *offset = fnn_zalloc(check_arena(), (size_t) (items + 1) * sizeof(int64_t));
	int32_t    *to = fnn_alloc(check_arena(), (size_t) (items * items) * sizeof(int32_t));
	float	   *weight = fnn_alloc(check_arena(), (size_t) (items * items) * sizeof(float));
	int64_t		edges = 0;

	for (int64_t i = 0; i < items; i++)
	{
		for (int64_t j = 0; j < items; j++)
			if (fnn_random_uniform(11, i, j) < 0.3 * (double) (i % 4))
			{
				to[edges] = (int32_t) j;
				weight[edges++] = (float) fnn_random_normal(12, i, 2 * j);
			}
		offset[i + 1] = edges;
	}
	graph->rows = items;
	graph->offset = offset;
	graph->to = to;
	graph->weight = weight;
	return graph;
}

/* ---------------------------------------------------------------- main */

typedef struct Function
{
	const char *name;
	void		(*run) (void);
} Function;

static const Function functions[] = {
	{"arena_and_random", check_arena_and_random},
	{"basic_operations", check_basic_operations},
	{"sequence_operations", check_sequence_operations},
	{"losses", check_losses},
	{"mixture_operations", check_mixture_operations},
	{"mixture_losses", check_mixture_losses},
	{"optimiser", check_optimiser},
	{"ranking", check_ranking},
	{"safetensors", check_safetensors},
	{"data", check_data},
	{"class", check_class},
	{"xcross", check_xcross},
	{"streams", check_streams},
	{"bases", check_bases},
	{"text", check_text},
	{"extend", check_extending},
	{"strangers", check_strangers},
	{"experts", check_experts},
	{"mixtures", check_mixtures},
	{"training", check_training},
	{"memory", check_memory_estimates},
	{"averages", check_averages},
	{"accountant", check_accountant},
	{"federated", check_federated},
	{"evaluation", check_evaluation},
	{"calibration", check_calibration},
	{"scan", check_scan},
	{"baskets", check_baskets},
	{"counting", check_counting},
	{"weights", check_weights},
	{"gate", check_gate},
	{"content", check_content},
	{"featured", check_featured},
	{"postnorm", check_postnorm},
	{"whitening", check_whitening},
	{"mrff", check_mrff},
	{"clicks", check_clicks_judged},
	{"ant", check_ant},
	{"hm4sr", check_hm4sr},
	{"step_items", check_step_items},
};

static bool
is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strstr(name, argv[i]) != NULL)
			return true;
	return argc <= 1;
}

/* Runs one test function; an error nobody expected fails the test it happened in. */
static void
run_function(const char *name, void (*run) (void))
{
	jmp_buf		here;

	if (setjmp(here) == 0)
	{
		on_fail = &here;
		run();
	}
	else
	{
		if (test_name[0] == '\0')
			check_begin("%s", name);
		CHECK(false, "unexpected error: %s", fail_message);
	}
	if (test_name[0] != '\0')
		check_end();
	if (arena != NULL)
		fnn_arena_destroy(arena);
	arena = NULL;
	while (pieces != NULL)
		host_release(NULL, (char *) pieces + FNN_ALIGN);
}

static double
milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return 1e3 * (double) now.tv_sec + 1e-6 * (double) now.tv_nsec;
}

int
main(int argc, char **argv)
{
	const char *broken = fnn_blas_setup();

	if (broken != NULL)
	{
		printf("Bail out! %s\n", broken);
		return 1;
	}
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
	{
		double		begun = milliseconds();

		if (!is_wanted(functions[i].name, argc, argv))
			continue;
		run_function(functions[i].name, functions[i].run);
		printf("# %s: %.0f ms\n", functions[i].name, milliseconds() - begun);
	}
	printf("1..%d\n", tests);
	return failed_tests == 0 ? 0 : 1;
}

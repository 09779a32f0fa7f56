/*
 * check_streams.c
 *	  What models of several streams are computed with: columns of results, experts
 *	  of several streams, elementwise experts, phases of times, in-batch contrast and
 *	  multi-hot classes; against plain loops and by finite differences.
 */
#include <math.h>
#include <string.h>

#include "check.h"
#include "nn/base/tape_private.h"

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

/* ---------------------------------------------------------------- columns */

static void
run_cut(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const int64_t *columns = context;

	check_loss(tape, fnn_cut(tape, inputs[0], columns[0], columns[1]));
}

static void
cut_beyond(void *context)
{
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	(void) fnn_cut(&tape, check_tensor(1, 2, 5), 3, 3);
}

static void
check_cut(void)
{
	static const int64_t shapes[][4] = {{1, 1, 0, 1}, {3, 7, 2, 4}, {5, 6, 0, 6}, {4, 9, 8, 1}, {0, 3, 1, 1}};

	check_begin("columns of a result");
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		FnnTensor  *x = check_tensor(1, shapes[s][0], shapes[s][1]);
		int64_t		columns[] = {shapes[s][2], shapes[s][3]};
		FnnTensor  *y;
		FnnTape		tape;

		fnn_tape_begin(&tape, check_arena(), false, 1, 1);
		y = fnn_cut(&tape, x, columns[0], columns[1]);
		for (int64_t r = 0; r < x->rows; r++)
			CHECK(check_same(columns[1], y->value + r * columns[1], x->value + r * x->cols + columns[0]), "row %d",
				  (int) r);
		check_operation(1, &x, run_cut, columns);
	}
	check_fails(FNN_INVALID, "are not in a matrix of 5 columns", cut_beyond, NULL);
	check_end();
}

/* inputs: x, instead */
static void
run_replace(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_replace(tape, inputs[0], inputs[1], context));
}

static void
check_replace(void)
{
	static const int64_t shapes[][3] = {{1, 1, 1}, {6, 3, 2}, {20, 16, 4}, {0, 2, 1}};

	check_begin("rows that others stand for");
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		int64_t		n = shapes[s][0];
		int64_t		d = shapes[s][1];
		FnnTensor  *inputs[] = {check_tensor(1, n, d), check_tensor(2, shapes[s][2], d)};
		int32_t    *from = check_numbers(3, n, shapes[s][2], true);
		FnnTensor  *y;
		FnnTape		tape;

		fnn_tape_begin(&tape, check_arena(), false, 1, 1);
		y = fnn_replace(&tape, inputs[0], inputs[1], from);
		for (int64_t r = 0; r < n; r++)
			CHECK(check_same(d, y->value + r * d, from[r] < 0 ? inputs[0]->value + r * d
							 : inputs[1]->value + from[r] * d), "row %d", (int) r);
		check_operation(2, inputs, run_replace, from);
	}
	check_end();
}

/* ---------------------------------------------------------------- experts of several streams */

typedef struct Streams
{
	int			experts;
	int			streams;
} Streams;

/* inputs: x, scale, experts, gates */
static FnnTensor *
mix(FnnTape *tape, FnnTensor *const *inputs, const Streams *plan)
{
	return fnn_mix_streams(tape, inputs[0], plan->experts, inputs + 2, plan->streams, inputs + 2 + plan->experts,
						   inputs[1]);
}

static void
run_mix(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, mix(tape, inputs, context));
}

static void
check_mix_values(FnnTensor *const *inputs, const Streams *plan, int64_t width)
{
	FnnTensor  *y;
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	y = mix(&tape, inputs, plan);
	for (int64_t r = 0; r < y->rows; r++)
		for (int64_t c = 0; c < y->cols; c++)
		{
			int64_t		s = c / width;
			double		sum = inputs[0]->value[r * y->cols + c];

			for (int k = 0; k < plan->experts; k++)
				sum += (double) inputs[1]->value[s] *
					(double) inputs[2 + plan->experts + s]->value[r * plan->experts + k] *
					(double) inputs[2 + k]->value[r * y->cols + c];
			CHECK(check_close(y->value[r * y->cols + c], sum, EXACT), "row %d, column %d", (int) r, (int) c);
		}
}

static void
mix_misfit(void *context)
{
	FnnTensor  *inputs[] = {check_tensor(1, 2, 6), check_tensor(2, 1, 2), check_tensor(3, 2, 6), check_tensor(4, 2, 1),
	check_tensor(5, 3, 1)};
	const Streams plan = {1, 2};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	(void) mix(&tape, inputs, &plan);
}

static void
check_mix(void)
{
	static const int64_t shapes[][4] = {{1, 1, 1, 1}, {5, 2, 2, 3}, {7, 1, 3, 16}, {4, 3, 1, 5}, {33, 2, 2, 8}};

	check_begin("experts that see several streams");
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		int64_t		n = shapes[s][0];
		Streams		plan = {(int) shapes[s][1], (int) shapes[s][2]};
		int64_t		width = shapes[s][3];
		FnnTensor  *inputs[CHECK_INPUTS_MAX];
		int			count = 0;

		inputs[count++] = check_tensor(1, n, plan.streams * width);
		inputs[count++] = check_tensor(2, 1, plan.streams);
		for (int k = 0; k < plan.experts; k++)
			inputs[count++] = check_tensor(3 + (uint64_t) k, n, plan.streams * width);
		for (int k = 0; k < plan.streams; k++)
			inputs[count++] = check_tensor(9 + (uint64_t) k, n, plan.experts);
		check_mix_values(inputs, &plan, width);
		check_operation(count, inputs, run_mix, &plan);
	}
	check_fails(FNN_INVALID, "do not fit 1 experts of 2 rows", mix_misfit, NULL);
	check_end();
}

/* ---------------------------------------------------------------- elementwise experts */

static void
run_scale(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_scale_experts(tape, inputs[0], inputs[1], inputs[2]));
}

static void
check_scale(void)
{
	static const int64_t shapes[][3] = {{1, 1, 1}, {5, 2, 7}, {9, 4, 24}, {0, 3, 2}, {40, 3, 16}};

	check_begin("elementwise experts");
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		int64_t		n = shapes[s][0];
		int64_t		k = shapes[s][1];
		int64_t		d = shapes[s][2];
		FnnTensor  *inputs[] = {check_tensor(1, n, d), check_tensor(2, n, k), check_tensor(3, k, d)};
		FnnTensor  *y;
		FnnTape		tape;

		fnn_tape_begin(&tape, check_arena(), false, 1, 1);
		y = fnn_scale_experts(&tape, inputs[0], inputs[1], inputs[2]);
		for (int64_t i = 0; i < n * d; i++)
		{
			double		factor = 0;

			for (int64_t j = 0; j < k; j++)
				factor += (double) inputs[1]->value[i / d * k + j] * (double) inputs[2]->value[j * d + i % d];
			CHECK(check_close(y->value[i], factor * (double) inputs[0]->value[i], EXACT), "element %d", (int) i);
		}
		check_operation(3, inputs, run_scale, NULL);
	}
	check_end();
}

/* ---------------------------------------------------------------- phases */

typedef struct Moments
{
	int64_t		n;
	const double *time;
} Moments;

static void
run_phases(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Moments *moments = context;

	check_loss(tape, fnn_phases(tape, inputs[0], inputs[1], moments->time, moments->n));
}

/* Seconds since 1970 are a hundred million times a frequency: what is beyond whole turns must still be there. */
static void
check_large_phases(void)
{
	static const double time[] = {0, 1, 867722520, 1400000000.25, 4102444800, -2208988800, 1e11};
	FnnTensor  *inputs[] = {check_tensor(1, 1, 64), check_tensor(2, 1, 64)};
	double		worst = 0;
	FnnTensor  *y;
	FnnTape		tape;

	check_begin("phases of seconds since 1970 are those of doubles");
	for (int j = 0; j < 64; j++)
		inputs[0]->value[j] *= 0.04;
	fnn_tape_begin(&tape, check_arena(), false, 1, 1);
	y = fnn_phases(&tape, inputs[0], inputs[1], time, 7);
	for (int r = 0; r < 7; r++)
		for (int j = 0; j < 64; j++)
		{
			double		phase = ((double) inputs[0]->value[j] * time[r] + (double) inputs[1]->value[j]) *
				pow(10000, -j / 64.0);

			worst = fmax(worst, fabs((double) y->value[r * 64 + j] - cos(phase)));
		}
	CHECK(worst <= 2e-6, "off by %g", worst);
	check_end();
}

static void
check_phases(void)
{
	static const double time[] = {0, 0.5, -3, 20, 7, 1.25, 11, 4, 2};
	static const int64_t shapes[][2] = {{1, 1}, {4, 3}, {9, 16}, {0, 5}};

	check_begin("phases of times");
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
	{
		Moments		moments = {shapes[s][0], time};
		FnnTensor  *inputs[] = {check_tensor(1, 1, shapes[s][1]), check_tensor(2, 1, shapes[s][1])};

		check_operation(2, inputs, run_phases, &moments);
	}
	check_end();
}

/* ---------------------------------------------------------------- in-batch contrast */

typedef struct Contrast
{
	const int32_t *target;
	const float *row_weight;
	double		temperature;
	FnnSameRule rule;
	double		epsilon;
} Contrast;

static void
run_contrast(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Contrast *contrast = context;

	fnn_batch_contrast_loss(tape, inputs[0], inputs[1], contrast->target, contrast->row_weight,
							contrast->temperature, contrast->rule, contrast->epsilon, 0.7);
}

static double
cosine(const FnnTensor *a, int64_t i, const FnnTensor *b, int64_t j)
{
	double		sum[3] = {0};

	for (int64_t c = 0; c < a->cols; c++)
	{
		double		x = a->value[i * a->cols + c];
		double		y = b->value[j * b->cols + c];

		sum[0] += x * y;
		sum[1] += x * x;
		sum[2] += y * y;
	}
	return sum[1] == 0 || sum[2] == 0 ? 0 : sum[0] / sqrt(sum[1] * sum[2]);
}

static double
naive_contrast(FnnTensor *const *inputs, const Contrast *contrast)
{
	int64_t		n = inputs[0]->rows;
	double		loss = 0;

	for (int64_t i = 0; i < n; i++)
	{
		double		sum = contrast->epsilon;

		for (int64_t j = 0; j < n; j++)
			if (j == i || contrast->target[j] != contrast->target[i])
				sum += exp(cosine(inputs[0], i, inputs[1], j) / contrast->temperature);
			else
				sum += contrast->rule == FNN_SAME_ZERO;
		loss -= (contrast->row_weight != NULL ? (double) contrast->row_weight[i] : 1) *
			log(exp(cosine(inputs[0], i, inputs[1], i) / contrast->temperature) / sum + contrast->epsilon);
	}
	return 0.7 * loss;
}

static float *
some_weights(int64_t n)
{
	float	   *weight = fnn_alloc(check_arena(), sizeof(float) * (size_t) n);

	for (int64_t i = 0; i < n; i++)
		weight[i] = (float) (i % 3) / 2;
	return weight;
}

static void
check_batch_contrast(void)
{
	static const int64_t shapes[][3] = {{1, 1, 1}, {2, 3, 1}, {7, 16, 3}, {70, 4, 20}, {30, 5, 1000}};
	static const double epsilons[] = {0, 0.01};

	for (int s = 0; s < 20; s++)
	{
		int64_t		n = shapes[s / 4][0];
		Contrast	contrast = {check_numbers(5, n, shapes[s / 4][2], false), s % 3 == 0 ? some_weights(n) : NULL,
		s % 4 == 0 ? 1 : 0.2, s % 2 == 0 ? FNN_SAME_REMOVED : FNN_SAME_ZERO, epsilons[s / 2 % 2]};
		FnnTensor  *inputs[] = {check_tensor(1, n, shapes[s / 4][1]), check_tensor(2, n, shapes[s / 4][1])};
		double		loss;

		check_begin("contrast of %d rows with the batch, same things %s, epsilon %g", (int) n,
					s % 2 == 0 ? "removed" : "0", contrast.epsilon);
		loss = check_loss_of(inputs, run_contrast, &contrast, false);
		CHECK(check_close(loss, naive_contrast(inputs, &contrast), 10 * EXACT), "loss %.9g, not %.9g", loss,
			  naive_contrast(inputs, &contrast));
		if (n < 70 || s % 4 == 0)
			check_operation(2, inputs, run_contrast, &contrast);
		check_end();
	}
}

/* ---------------------------------------------------------------- multi-hot classes */

typedef struct Labels
{
	const int64_t *offset;
	const int32_t *label;
	const int32_t *id;
	const float *row_weight;
} Labels;

static void
run_labels(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Labels *labels = context;

	fnn_multi_hot_loss(tape, inputs[0], inputs[1], inputs[2], labels->offset, labels->label, labels->id,
					   labels->row_weight, 0.3);
}

static double
naive_labels(FnnTensor *const *inputs, const Labels *labels)
{
	int64_t		d = inputs[0]->cols;
	double		loss = 0;

	for (int64_t i = 0; i < inputs[0]->rows; i++)
		for (int64_t c = 0; c < inputs[1]->rows; c++)
		{
			double		logit = inputs[2]->value[c];
			bool		has = false;

			for (int64_t k = 0; k < d; k++)
				logit += (double) inputs[0]->value[i * d + k] * (double) inputs[1]->value[c * d + k];
			for (int64_t k = labels->offset[labels->id[i]]; k < labels->offset[labels->id[i] + 1]; k++)
				has = has || labels->label[k] == c;
			loss += (labels->row_weight != NULL ? labels->row_weight[i] : 1) *
				(fmax(logit, 0) + log1p(exp(-fabs(logit))) - (has ? logit : 0));
		}
	return 0.3 * loss;
}

static void
check_labels(void)
{
	static const int64_t shapes[][3] = {{1, 1, 1}, {5, 3, 2}, {20, 16, 7}, {70, 3, 2100}, {0, 2, 3}};

	for (int s = 0; s < 10; s++)
	{
		int64_t		n = shapes[s / 2][0];
		int64_t		d = shapes[s / 2][1];
		int64_t		classes = shapes[s / 2][2];
		FnnTensor  *inputs[] = {check_tensor(1, n, d), check_tensor(2, classes, d), check_tensor(3, 1, classes)};
		int64_t		offset[] = {0, 0, 1, classes > 1 ? 3 : 1};
		int32_t		label[] = {(int32_t) classes - 1, 0, (int32_t) classes / 2};
		float	   *weights = fnn_alloc(check_arena(), sizeof(float) * (size_t) (n + 1));
		Labels		labels = {offset, label, check_numbers(4, n, 3, false), s % 2 == 0 ? NULL : weights};
		double		loss;

		for (int64_t i = 0; i < n; i++)
			weights[i] = (float) (i % 4);
		check_begin("%d rows of width %d with %d classes%s", (int) n, (int) d, (int) classes,
					s % 2 == 0 ? "" : ", weighted");
		loss = check_loss_of(inputs, run_labels, &labels, false);
		CHECK(check_close(loss, naive_labels(inputs, &labels), 10 * EXACT), "loss %.9g, not %.9g", loss,
			  naive_labels(inputs, &labels));
		if (classes < 100)
			check_operation(3, inputs, run_labels, &labels);
		check_end();
	}
}

void
check_streams(void)
{
	check_cut();
	check_replace();
	check_mix();
	check_scale();
	check_phases();
	check_large_phases();
	check_batch_contrast();
	check_labels();
}

/*
 * calibrate.c
 *	  The gate, corrected by events that nobody has learned from.
 *
 * Gate and experts learn from the same events.  The experts come to know these by
 * heart, some more than others, and counted transitions know them from the start:
 * part of what looks like skill to the gate is memory.  So before each validation
 * the gate's logits l get a factor a, and a summand b_i for each expert,
 *
 *		g = softmax(a l + b)
 *
 * that minimise the cross-entropy of the mixed scores on the events kept back for
 * validation, by the weights of these.  These are a few numbers, for which thousands of events are enough.
 * With a = 0 all histories get the same weights, with a large b_0 the own expert
 * gets nearly all weight.
 *
 * The softmax over all items is estimated from those that the experts together
 * rank first, which carry most of it, and a sample of the others.  Scores and
 * sample are computed once; then the fit is a matter of small sums.
 */
#include "model/data/stream.h"
#include "model/fmoe/fmoe.h"

#include <math.h>
#include <string.h>

#define CASES_MAX 1000
#define CASES_SCORES_MAX INT64_C(40000000)	/* scores of all cases: a large catalogue has fewer cases */
#define CASES_MIN 200			/* even of the largest catalogue */
#define TOP 128					/* items that the experts rank first */
#define SAMPLE 128				/* of the others */
#define CANDIDATES (1 + TOP + SAMPLE)
#define BLOCK_REALS (2 << 20)	/* scores at a time */
#define BLOCK_CASES 64			/* cases at a time, at most */
#define STEPS 60
#define STEP_SIZE 0.1
#define PRIOR_WEIGHT 0.002		/* pulls to a = 1, b = 0 */

/* Candidates of a case, the target first. */
typedef struct Case
{
	int32_t		n;
	double		counts;			/* the weight of the target's event */
	float		logit[FMOE_GATED_MAX];	/* of the gate */
	float	   *score;			/* [CANDIDATES, gated] each expert's */
	float	   *weight;			/* [CANDIDATES] logarithm of how many items each stands for */
} Case;

/* ---------------------------------------------------------------- candidates */

/* Each expert's score of an item after sequence s, which ends with the basket last. */
static void
expert_scores(const FmoeExpert *expert, const FmoeMixtureLayout *layout, const FmoeMixed *mixed, int64_t s,
			  FnnRows last, int32_t item, float *score)
{
	const FnnTensor *table = fmoe_parameter(expert, 0);
	const fnn_real *vector = table->value + item * table->cols;
	double		term = 0;

	for (int i = 0; i < layout->members; i++)
	{
		int64_t		width = mixed->state[i]->cols;
		fnn_real	product;

		fnn_products(1, width, vector + layout->column[i], NULL, mixed->state[i]->value + s * width, &product);
		score[i] = (float) product;
	}
	if (layout->gated == layout->members)
		return;
	score[layout->members] = score[layout->members + 1] = (float) vector[layout->column[layout->members]];
	for (int64_t i = 0; i < last.count; i++)
	{
		FmoeTransitions row = fmoe_transitions(&expert->counts[FMOE_MARKOV], last.row[i]);
		int64_t		k = fnn_find_ascending(row.n, row.to, item);

		if (k >= 0)
			term += fmoe_count_term(row.count[k], score[layout->members]);
	}
	score[layout->members + 1] += (float) (term / (double) last.count);
}

/* One of a case's answers, drawn; the others are not to be candidates. */
static int64_t
choose_answer(const FmoeExpert *expert, const FmoeDataset *data, const FmoeCases *cases, int64_t c, fnn_real *score)
{
	const int64_t *answer = cases->answer + cases->first[c];
	int64_t		n = cases->first[c + 1] - cases->first[c];
	int64_t		chosen = 0;

	if (n > 1)
		chosen = (int64_t) fnn_random_below((uint64_t) expert->config->seed,
											fmoe_stream(FMOE_STREAM_CALIBRATION, answer[0]), SAMPLE, (uint64_t) n);
	for (int64_t i = 0; i < n; i++)
		if (i != chosen)
			score[data->events.item[answer[i]]] = (fnn_real) NAN;
	return answer[chosen];
}

/* Chooses the target, the best items by all experts together, and a sample of the others, none of them seen. */
static void
choose_candidates(const FmoeExpert *expert, fnn_real *score, int64_t event, int32_t target, FnnRows seen,
				  int32_t *item, Case *chosen)
{
	int32_t		n_items = expert->n_items;
	int32_t		top[TOP];
	fnn_real	top_score[TOP];
	FnnTopk		topk;
	int64_t		left = -1;
	int32_t		n = 1;

	for (int32_t i = 0; i < n_items; i++)
		left += !isnan((double) score[i]);
	for (int64_t k = 0; k < seen.count; k++)
	{
		if (seen.row[k] == target || isnan((double) score[seen.row[k]]))
			continue;
		left--;
		score[seen.row[k]] = (fnn_real) NAN;
	}
	score[target] = (fnn_real) NAN;
	fnn_topk_init(&topk, TOP < n_items ? TOP : n_items, top, top_score);
	fnn_topk_offer(&topk, 0, n_items, score);
	item[0] = target;
	for (int32_t k = 0; k < topk.count; k++)
	{
		item[n++] = top[k];
		score[top[k]] = (fnn_real) NAN;
	}
	left -= topk.count;
	for (int32_t k = 0; k < SAMPLE && left > 0; k++)
	{
		int32_t		drawn = (int32_t) fnn_random_below((uint64_t) expert->config->seed,
													   fmoe_stream(FMOE_STREAM_CALIBRATION, event), k, n_items);

		/* one drawn twice counts twice */
		if (!isnan((double) score[drawn]))
			item[n++] = drawn;
	}
	for (int32_t k = 0; k < n; k++)
		chosen->weight[k] = k <= topk.count ? 0 : (float) log((double) left / (n - 1 - topk.count));
	chosen->n = n;
}

/* Chooses candidates for a block of cases, and keeps each expert's scores of them. */
static void
look_at_block(const FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena, const FmoeDataset *data,
			  const FmoeCases *cases, int64_t first, int64_t n, Case *out)
{
	FnnMark		mark = fnn_arena_mark(arena);
	const FnnTensor *table = fmoe_parameter(expert, 0);
	int64_t		cols = layout->column[layout->members];
	fnn_real   *score = fnn_alloc_reals(arena, n, expert->n_items);
	FmoeBatch  *batch = fmoe_batch(arena, &data->events, n, cases->begin + first, cases->end + first,
								   expert->config->max_length);
	int32_t    *room = fnn_alloc(arena, sizeof(int32_t) * (size_t) fmoe_seen_most(cases, first, first + n));
	int32_t		item[CANDIDATES];
	FnnTensor  *together;
	FmoeMixed	mixed;
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	fmoe_mix(expert, layout, &tape, batch, FMOE_LAST_TOKENS, &mixed);
	together = fnn_concat(&tape, layout->members, mixed.state);
	fnn_gemm(tape.host, false, true, n, expert->n_items, cols, (fnn_real) (1.0 / layout->members), together->value,
			 cols, table->value, table->cols, 0, score, expert->n_items);
	for (int64_t c = 0; c < n; c++)
	{
		int64_t		event = choose_answer(expert, data, cases, first + c, score + c * expert->n_items);

		out[c].counts = fmoe_event_weight(&data->events, event);
		choose_candidates(expert, score + c * expert->n_items, event, data->events.item[event],
						  fmoe_case_seen(data, cases, first + c, room), item, &out[c]);
		for (int32_t k = 0; k < out[c].n; k++)
			expert_scores(expert, layout, &mixed, c, fmoe_last_items(batch, (int32_t) c), item[k],
						  out[c].score + k * layout->gated);
		for (int i = 0; i < layout->gated; i++)
			out[c].logit[i] = (float) mixed.logits->value[c * layout->gated + i];
		fnn_poll(tape.host);
	}
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- fitting */

/* Adds the gradient of a case's loss with respect to theta = [a, b_0, b_1, ...]. */
static void
add_gradient(const Case *at, int gated, const double *theta, double *gradient)
{
	double		gate[FMOE_GATED_MAX];
	double		mean[FMOE_GATED_MAX] = {0};
	double		mixed[CANDIDATES];
	double		largest = -INFINITY;
	double		sum = 0;
	double		pull = 0;

	for (int i = 0; i < gated; i++)
	{
		gate[i] = theta[0] * at->logit[i] + theta[1 + i];
		largest = gate[i] > largest ? gate[i] : largest;
	}
	for (int i = 0; i < gated; i++)
		sum += gate[i] = exp(gate[i] - largest);
	for (int i = 0; i < gated; i++)
		gate[i] /= sum;

	largest = -INFINITY;
	sum = 0;
	for (int32_t k = 0; k < at->n; k++)
	{
		mixed[k] = at->weight[k];
		for (int i = 0; i < gated; i++)
			mixed[k] += gate[i] * at->score[k * gated + i];
		largest = mixed[k] > largest ? mixed[k] : largest;
	}
	for (int32_t k = 0; k < at->n; k++)
	{
		double		p = exp(mixed[k] - largest);

		sum += p;
		for (int i = 0; i < gated; i++)
			mean[i] += p * at->score[k * gated + i];
	}
	/* of the loss with regard to each weight, then to each logit */
	for (int i = 0; i < gated; i++)
	{
		mean[i] = mean[i] / sum - at->score[i];
		pull += gate[i] * mean[i];
	}
	for (int i = 0; i < gated; i++)
	{
		double		to_logit = gate[i] * (mean[i] - pull);

		gradient[0] += at->counts * to_logit * at->logit[i];
		gradient[1 + i] += at->counts * to_logit;
	}
}

/* Fits theta = [a, b_0, b_1, ...] by Adam. */
static void
fit(const FnnHost *host, const Case *cases, int64_t n, int gated, double *theta)
{
	double		m[FMOE_GATED_MAX + 1] = {0};
	double		v[FMOE_GATED_MAX + 1] = {0};
	double		all = 0;

	for (int64_t c = 0; c < n; c++)
		all += cases[c].counts;
	for (int step = 1; step <= STEPS; step++)
	{
		double		gradient[FMOE_GATED_MAX + 1] = {0};

		for (int64_t c = 0; c < n; c++)
			add_gradient(&cases[c], gated, theta, gradient);
		for (int i = 0; i <= gated; i++)
		{
			gradient[i] = gradient[i] / all + PRIOR_WEIGHT * (theta[i] - (i == 0 ? 1 : 0));
			m[i] = 0.9 * m[i] + 0.1 * gradient[i];
			v[i] = 0.99 * v[i] + 0.01 * gradient[i] * gradient[i];
			theta[i] -= STEP_SIZE * (m[i] / (1 - pow(0.9, step))) / (sqrt(v[i] / (1 - pow(0.99, step))) + 1e-8);
		}
		if (theta[0] < 0)
			theta[0] = 0;
		fnn_poll(host);
	}
}

int64_t
fmoe_calibration_cases(int32_t n_items)
{
	int64_t		limit = CASES_SCORES_MAX / n_items;

	return limit > CASES_MAX ? CASES_MAX : limit < CASES_MIN ? CASES_MIN : limit;
}

int64_t
fmoe_calibration_block(int32_t n_items)
{
	int64_t		block = BLOCK_REALS / n_items;

	return block > BLOCK_CASES ? BLOCK_CASES : block < 1 ? 1 : block;
}

double
fmoe_calibration_case_bytes(int gated)
{
	return sizeof(Case) + CANDIDATES * (gated + 1) * sizeof(float);
}

void
fmoe_mixture_calibrate(FmoeExpert *expert, const FmoeMixtureLayout *layout, FnnArena *arena, const FmoeDataset *data)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	fnn_real   *scale = fmoe_parameter(expert, layout->calibration)->value;
	fnn_real   *bias = fmoe_parameter(expert, layout->calibration + 1)->value;
	int64_t		block = fmoe_calibration_block(expert->n_items);
	double		theta[FMOE_GATED_MAX + 1];
	FmoeCases  *cases;
	Case	   *looked;

	cases = fmoe_validation_cases(arena, data, (FmoeHoldout) expert->config->holdout,
								  fmoe_calibration_cases(expert->n_items), (uint64_t) expert->config->seed);
	looked = fnn_alloc(arena, sizeof(Case) * (size_t) cases->count);
	for (int64_t c = 0; c < cases->count; c++)
	{
		looked[c].score = fnn_alloc(arena, sizeof(float) * CANDIDATES * (size_t) layout->gated);
		looked[c].weight = fnn_alloc(arena, sizeof(float) * CANDIDATES);
	}
	for (int64_t c = 0; c < cases->count; c += block)
		look_at_block(expert, layout, arena, data, cases, c, cases->count - c < block ? cases->count - c : block,
					  looked + c);

	/* from where the epoch before left it */
	theta[0] = scale[0];
	for (int i = 0; i < layout->gated; i++)
		theta[1 + i] = bias[i];
	if (cases->count > 0)
		fit(host, looked, cases->count, layout->gated, theta);
	scale[0] = (fnn_real) theta[0];
	for (int i = 0; i < layout->gated; i++)
		bias[i] = (fnn_real) theta[1 + i];
	fnn_arena_reset(arena, mark);
}

/*
 * gate.c
 *	  The weights of a gate (serve/gate.c): fitted on events that nobody has learned from.
 *
 * They minimise, by Newton's method,
 *
 *		mean over cases of -log softmax(score)[answer]  +  RIDGE / cases x |w - prior|^2
 *
 * each case counting what its answer weighs,
 * over the items that could be the answer: all of them in a small catalogue, else
 * the answer and a sample of the others, each of which stands for many.  What an
 * expert reads of these is computed once.
 *
 * Half of the cases judges what the other half fitted: by that, experts that do harm are
 * left out, and it is seen whether all together are better than the best one alone.  What
 * was chosen so has seen both halves.  So the same is done once more for each half of the
 * cases with the other one alone, split again, and that is what the half is told by when
 * the model is judged (nested cross-validation: Varma & Simon 2006).
 */
#include "model/count/count.h"
#include "model/data/stream.h"
#include "model/evaluate/evaluate.h"
#include "model/expert/expert.h"
#include "model/registry.h"
#include "model/train/train_private.h"

#include <math.h>
#include <string.h>

#define COLUMNS_MAX 16			/* of an example: an expert each, and zeros */
#define RIDGE 3.0
#define CASES_MAX 800			/* that weights are fitted on */
#define JUDGED_MAX 5000			/* cases that tell whether one expert is better than all */
#define WHOLE_MAX 2000			/* items of a catalogue that is no sample */
#define SAMPLE 1200				/* items beside the answer, else */
#define CANDIDATES_MAX (WHOLE_MAX + 1)
#define DRAWS_MAX (50 * SAMPLE)
#define STEPS_MAX 30
#define HALVINGS_MAX 20
#define CONVERGED 1e-7			/* of the loss */
#define CUTOFF 10
#define ERRORS_TO_LEAD 1.645	/* 5 % of chance, on one side */

/* Sets of quarters (fmoe_quarter). */
#define FOLD_0 (1u << 0 | 1u << 2)
#define FOLD_1 (1u << 1 | 1u << 3)

/* The prior that ships: what weights are without any case.  A lent expert has none: it must earn its weight. */
static const double shipped[FMOE_WEIGHED_MAX] = {
	[FMOE_MAIN] = 0.3,[FMOE_POPULARITY] = 0.5,[FMOE_MARKOV] = 0.1,[FMOE_RECENT] = 0.1,
	[FMOE_SEQUENCE] = 0.5,[FMOE_NEIGHBOURS] = 0.1,[FMOE_REPEAT] = 0.5,
	[FMOE_CONTENT] = 0.3
};

_Static_assert(FMOE_WEIGHED_MAX <= COLUMNS_MAX && SAMPLE < WHOLE_MAX, "examples hold every expert and all candidates");

/* The candidates of a case, its answer first. */
typedef struct Example
{
	unsigned	quarter;		/* a set of one */
	double		counts;			/* the weight of the answer's event */
	int32_t		n;
	float	   *feature;		/* [n, columns] */
	double		log_stands_for; /* of each but the answer: how many items */
} Example;

typedef struct Fit
{
	const FnnHost *host;
	int			weighed;		/* experts */
	int			columns;		/* of an example's features */
	double		prior[FMOE_WEIGHED_MAX];
	int64_t		n;
	Example    *example;
	uint32_t	left_out;		/* set of experts that weigh nothing */
} Fit;

/* Whole vectors of the processor. */
static int
columns_of(int weighed)
{
	return weighed <= COLUMNS_MAX / 2 ? COLUMNS_MAX / 2 : COLUMNS_MAX;
}

/* ---------------------------------------------------------------- cases */

/* Candidates of a case to item[]: one of its answers, then others that could be, none seen; returns how many. */
static int32_t
choose_candidates(const FmoeModel *model, const FmoeDataset *data, const FmoeCases *cases, int64_t c, FnnRows seen,
				  uint8_t *mark, int32_t *item, Example *example)
{
	const int32_t *event_item = data->events.item;
	const int64_t *answer = cases->answer + cases->first[c];
	int64_t		n_answers = cases->first[c + 1] - cases->first[c];
	uint64_t	stream = fmoe_stream(FMOE_STREAM_CALIBRATION, (uint64_t) answer[0]);
	uint64_t	seed = (uint64_t) model->config.seed;
	int64_t		chosen = answer[fnn_random_below(seed, stream, 1, (uint64_t) n_answers)];
	int32_t		left = model->n_items;
	int32_t		n = 1;

	item[0] = event_item[chosen];
	example->counts = fmoe_event_weight(&data->events, chosen);
	for (int64_t k = 0; k < n_answers; k++)
		mark[event_item[answer[k]]] = 1;
	for (int64_t k = 0; k < seen.count; k++)
		mark[seen.row[k]] = 1;
	for (int32_t i = 0; i < model->n_items; i++)
		left -= mark[i];
	example->log_stands_for = 0;
	if (model->n_items <= WHOLE_MAX)
	{
		for (int32_t i = 0; i < model->n_items; i++)
			if (!mark[i])
				item[n++] = i;
	}
	else if (left > 0)
	{
		/* where nearly all was seen, fewer must do */
		for (uint64_t draw = 2; n <= SAMPLE && draw < DRAWS_MAX; draw++)
		{
			int32_t		i = (int32_t) fnn_random_below(seed, stream, draw, (uint64_t) model->n_items);

			if (!mark[i])
				item[n++] = i;
		}
		example->log_stands_for = n > 1 ? log((double) left / (n - 1)) : 0;
	}
	for (int64_t k = 0; k < n_answers; k++)
		mark[event_item[answer[k]]] = 0;
	for (int64_t k = 0; k < seen.count; k++)
		mark[seen.row[k]] = 0;
	return n;
}

/* What experts read of the candidates of all cases. */
static Fit
look_at_cases(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases,
			  bool keeps_seen)
{
	const FnnHost *host = fnn_arena_host(arena);
	int			weighed = fmoe_weighed(&model->gate);
	int32_t		most = model->n_items <= WHOLE_MAX ? model->n_items : SAMPLE + 1;
	Fit			fit = {.host = host, .n = cases->count, .weighed = weighed, .columns = columns_of(weighed)};
	uint8_t    *mark = fnn_zalloc(arena, (size_t) model->n_items);
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) most);
	double	   *feature = fnn_alloc(arena, sizeof(double) * FMOE_WEIGHED_MAX * (size_t) most);
	fnn_real   *state = fnn_alloc_reals(arena, 1, fmoe_vectors(model)->cols);
	int32_t    *room = fnn_alloc(arena, sizeof(int32_t) * (size_t) fmoe_seen_most(cases, 0, cases->count));

	fit.example = fnn_alloc(arena, fnn_mul_size(host, cases->count, sizeof(Example)));
	for (int64_t c = 0; c < cases->count; c++)
	{
		Example    *example = &fit.example[c];
		FnnMark		block;
		FmoeBatch  *batch;
		FnnRows		seen = {0};

		if (!keeps_seen)
			seen = fmoe_case_seen(data, cases, c, room);
		example->n = choose_candidates(model, data, cases, c, seen, mark, item, example);
		example->quarter = 1u << fmoe_quarter(model, cases, c);
		example->feature = fnn_zalloc(arena, sizeof(float) * (size_t) fit.columns * (size_t) example->n);
		block = fnn_arena_mark(arena);
		batch = fmoe_batch(arena, &data->events, 1, cases->begin + c, cases->end + c, model->config.max_length);
		batch->keeps_seen = keeps_seen;
		batch->now = fmoe_case_times(arena, data, cases, c, c + 1);
		fmoe_states(model, arena, batch, state);
		fmoe_gate_features(model, arena, batch, 0, state, example->n, item, feature);
		for (int32_t k = 0; k < example->n; k++)
			for (int expert = 0; expert < weighed; expert++)
				example->feature[k * fit.columns + expert] = (float) feature[k * weighed + expert];
		fnn_arena_reset(arena, block);
		fnn_poll(host);
	}
	return fit;
}

/* ---------------------------------------------------------------- Newton's method */

/* Loss, with its derivatives, over some of the cases. */
typedef struct Objective
{
	double		loss;
	double		gradient[FMOE_WEIGHED_MAX];
	double		hessian[FMOE_WEIGHED_MAX][FMOE_WEIGHED_MAX];
	int64_t		cases;
	double		weight;			/* what they count together */
} Objective;

/* square[a, b] += p f[a] f[b], and mean[a] += p f[a], of so many columns: inlined where that is a constant. */
static inline void
add_moments(int columns, double (*square)[COLUMNS_MAX], double *mean, double p, const float *f)
{
	double		wide[COLUMNS_MAX];

	for (int a = 0; a < columns; a++)
		wide[a] = f[a];
	for (int a = 0; a < columns; a++)
		mean[a] += p * wide[a];
	for (int a = 0; a < columns; a++)
	{
		double		scale = p * wide[a];

		for (int b = 0; b < columns; b++)
			square[a][b] += scale * wide[b];
	}
}

/* Adds a case; the derivatives only where they are wanted. */
static void
add_example(const Fit *fit, Objective *objective, const Example *example, const double *w, bool derivatives)
{
	double		mean[COLUMNS_MAX] = {0};
	double		square[COLUMNS_MAX][COLUMNS_MAX] = {{0}};
	double		score[CANDIDATES_MAX];
	double		top = -INFINITY;
	double		sum = 0;

	for (int32_t k = 0; k < example->n; k++)
	{
		const float *f = example->feature + k * fit->columns;

		score[k] = k == 0 ? 0 : example->log_stands_for;
		for (int a = 0; a < fit->weighed; a++)
			score[k] += w[a] * f[a];
		top = score[k] > top ? score[k] : top;
	}
	for (int32_t k = 0; k < example->n; k++)
	{
		double		p = exp(score[k] - top);
		const float *f = example->feature + k * fit->columns;

		sum += p;
		if (derivatives && fit->columns == COLUMNS_MAX)
			add_moments(COLUMNS_MAX, square, mean, p, f);
		else if (derivatives)
			add_moments(COLUMNS_MAX / 2, square, mean, p, f);
	}
	objective->loss += example->counts * (log(sum) + top - score[0]);
	objective->weight += example->counts;
	objective->cases++;
	for (int a = 0; derivatives && a < fit->weighed; a++)
	{
		objective->gradient[a] += example->counts * (mean[a] / sum - example->feature[a]);
		for (int b = 0; b <= a; b++)
			objective->hessian[a][b] += example->counts *
				(square[a][b] / sum - mean[a] / sum * (mean[b] / sum));
	}
}

/* Mean loss of the cases of a set of quarters. */
static Objective
evaluate(const Fit *fit, const double *w, unsigned quarters, bool ridge, bool derivatives)
{
	Objective	objective = {0};
	double		n;
	double		all;

	for (int64_t c = 0; c < fit->n; c++)
	{
		if ((fit->example[c].quarter & quarters) != 0)
			add_example(fit, &objective, &fit->example[c], w, derivatives);
		if (c % 64 == 0)
			fnn_poll(fit->host);
	}
	n = objective.cases > 0 ? (double) objective.cases : 1;
	all = objective.cases > 0 ? objective.weight : 1;
	objective.loss /= all;
	for (int a = 0; a < fit->weighed; a++)
	{
		double		pull = ridge ? RIDGE / n : 0;
		double		away = w[a] - fit->prior[a];

		objective.loss += pull * away * away * ((fit->left_out >> a & 1) == 0);
		objective.gradient[a] = objective.gradient[a] / all + 2 * pull * away;
		for (int b = 0; b <= a; b++)
			objective.hessian[a][b] /= all;
		objective.hessian[a][a] += 2 * pull;
	}
	return objective;
}

/* step = hessian^-1 gradient by Cholesky's decomposition; experts that are left out do not move. */
static void
solve(const Fit *fit, Objective *objective, double *step)
{
	double		(*l)[FMOE_WEIGHED_MAX] = objective->hessian;
	int			n = fit->weighed;

	for (int a = 0; a < n; a++)
	{
		if ((fit->left_out >> a & 1) != 0)
		{
			for (int b = 0; b < n; b++)
				l[a > b ? a : b][a > b ? b : a] = a == b;
			objective->gradient[a] = 0;
		}
	}
	for (int a = 0; a < n; a++)
		for (int b = 0; b <= a; b++)
		{
			double		sum = l[a][b];

			for (int k = 0; k < b; k++)
				sum -= l[a][k] * l[b][k];
			l[a][b] = a == b ? sqrt(sum > 1e-12 ? sum : 1e-12) : sum / l[b][b];
		}
	for (int a = 0; a < n; a++)
	{
		step[a] = objective->gradient[a];
		for (int k = 0; k < a; k++)
			step[a] -= l[a][k] * step[k];
		step[a] /= l[a][a];
	}
	for (int a = n - 1; a >= 0; a--)
	{
		for (int k = a + 1; k < n; k++)
			step[a] -= l[k][a] * step[k];
		step[a] /= l[a][a];
	}
}

/* w[weighed], changed to what fits the cases of a set of quarters best. */
static void
find_weights(const Fit *fit, unsigned quarters, double *w)
{
	Objective	objective;

	for (int a = 0; a < fit->weighed; a++)
		if ((fit->left_out >> a & 1) != 0)
			w[a] = 0;
	for (int i = 0; i < STEPS_MAX; i++)
	{
		double		step[FMOE_WEIGHED_MAX];
		double		tried[FMOE_WEIGHED_MAX] = {0};
		double		gained = 0;
		double		length = 1;

		objective = evaluate(fit, w, quarters, true, true);
		if (objective.cases == 0)
			return;
		solve(fit, &objective, step);
		for (int k = 0; k < HALVINGS_MAX; k++, length /= 2)
		{
			for (int a = 0; a < fit->weighed; a++)
				tried[a] = w[a] - length * step[a];
			gained = objective.loss - evaluate(fit, tried, quarters, true, false).loss;
			if (gained > 0)
				break;
		}
		if (!(gained > 0))
			return;
		memcpy(w, tried, sizeof(tried));
		if (gained < CONVERGED)
			return;
	}
}

/* Mean loss of each half's cases by the weights that fit the other, which weight changes to, from what it is. */
static double
cross_fitted(const Fit *fit, const unsigned half[2], double weight[2][FMOE_WEIGHED_MAX])
{
	double		loss = 0;
	double		weight_of_all = 0;

	for (int i = 0; i < 2; i++)
	{
		Objective	objective;

		find_weights(fit, half[1 - i], weight[i]);
		objective = evaluate(fit, weight[i], half[i], false, false);
		loss += objective.loss * objective.weight;
		weight_of_all += objective.weight;
	}
	return weight_of_all > 0 ? loss / weight_of_all : 0;
}

/*
 * Leaves out, one after the other, the expert without which cases that were not
 * fitted are told best; weight is what the rest then has, by halves.
 */
static void
leave_out(Fit *fit, const unsigned half[2], double weight[2][FMOE_WEIGHED_MAX])
{
	double		loss = cross_fitted(fit, half, weight);
	int			worst = 0;

	while (worst >= 0)
	{
		uint32_t	before = fit->left_out;
		double		rest[2][FMOE_WEIGHED_MAX] = {{0}};

		worst = -1;
		for (int a = 0; a < fit->weighed; a++)
		{
			double		tried[2][FMOE_WEIGHED_MAX];
			double		without;

			if ((before >> a & 1) != 0 || (before | 1u << a) == (1u << fit->weighed) - 1)
				continue;
			fit->left_out = before | 1u << a;
			memcpy(tried, weight, sizeof(tried));
			without = cross_fitted(fit, half, tried);
			if (without >= loss)
				continue;
			loss = without;
			worst = a;
			memcpy(rest, tried, sizeof(rest));
		}
		fit->left_out = worst >= 0 ? before | 1u << worst : before;
		if (worst >= 0)
			memcpy(weight, rest, sizeof(rest));
	}
}

/*
 * Chooses experts by the cases of two halves, and w[weighed] for all of these cases;
 * weight is what cross_fitted makes of it.
 */
static void
choose(Fit *fit, uint32_t never, const unsigned half[2], double weight[2][FMOE_WEIGHED_MAX], double *w)
{
	fit->left_out = never;
	for (int i = 0; i < 2; i++)
		memcpy(weight[i], fit->prior, sizeof(fit->prior));
	leave_out(fit, half, weight);
	for (int expert = 0; expert < fit->weighed; expert++)
		w[expert] = (weight[0][expert] + weight[1][expert]) / 2;
	find_weights(fit, half[0] | half[1], w);
}

/* ---------------------------------------------------------------- judging */

/* Weights of answers that were not seen, by the cases that they may judge. */
typedef struct Folds
{
	double		half[2][FMOE_WEIGHED_MAX];	/* experts chosen by all cases, fitted to the other half */
	double		quarter[4][FMOE_WEIGHED_MAX];	/* chosen by the half that it is in, fitted to that half's other
												 * quarter */
} Folds;

/* Of expert k, where one expert is alone; popularity orders what is equal. */
static double
weight_alone(int one, int k)
{
	return k == one ? 1 : k == FMOE_POPULARITY ? FMOE_TIE_BREAK : 0;
}

/* By how many standard errors ranks other are better than rank, in the mean NDCG of the cases of some quarters. */
static double
errors_better(const FmoeModel *model, const FmoeCases *cases, unsigned quarters, const int32_t *rank,
			  const int32_t *other)
{
	double		sum = 0;
	double		squares = 0;
	double		n = 0;
	double		variance;

	for (int64_t c = 0; c < cases->count; c++)
	{
		int64_t		first = cases->first[c];
		int64_t		answers = cases->first[c + 1] - first;
		double		lead;

		if ((1u << fmoe_quarter(model, cases, c) & quarters) == 0)
			continue;
		lead = fmoe_metric(FMOE_NDCG, CUTOFF, other + first, answers) -
			fmoe_metric(FMOE_NDCG, CUTOFF, rank + first, answers);
		sum += lead;
		squares += lead * lead;
		n++;
	}
	variance = n > 1 ? (squares - sum * sum / n) / (n - 1) : 0;
	return variance > 0 ? sum / sqrt(n * variance) : 0;
}

/* What one expert alone has over the gate, and which has most, by some of the cases. */
typedef struct Rival
{
	unsigned	quarters;
	const int32_t *rank;		/* of the gate */
	double	   *weight;			/* [weighed] of the gate: the rival's, if it is better */
	double		errors;
	int			expert;
} Rival;

/*
 * Where one expert alone is better on validation than what was fitted to half of it,
 * by more than chance explains, it alone weighs.  Chance, because the own expert's
 * epoch was chosen on these events.
 */
static void
compare_with_each(FmoeModel *model, FnnArena *arena, const FmoeDataset *data, bool trained, const Folds *folds)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeProtocol protocol = {.exclude_seen = true};
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeCases  *cases = fmoe_validation_cases(arena, data, (FmoeHoldout) model->config.holdout, JUDGED_MAX,
											  (uint64_t) model->config.seed);
	size_t		bytes = fnn_mul_size(host, cases->first[cases->count], sizeof(int32_t));
	int32_t    *by_half = fnn_alloc(arena, bytes);
	int32_t    *by_quarter = fnn_alloc(arena, bytes);
	int32_t    *other = fnn_alloc(arena, bytes);
	FmoeModel  *alone = fnn_alloc(arena, sizeof(FmoeModel));
	int			weighed = fmoe_weighed(&model->gate);
	double		of_all[FMOE_WEIGHED_MAX] = {0};
	Rival		rival[] = {
		{FOLD_0 | FOLD_1, by_half, of_all, ERRORS_TO_LEAD, -1},
		{FOLD_1, by_quarter, model->gate.fold_weight[0], ERRORS_TO_LEAD, -1},
		{FOLD_0, by_quarter, model->gate.fold_weight[1], ERRORS_TO_LEAD, -1}
	};

	*alone = *model;
	fmoe_rank_by_parts(model, arena, data, cases, &protocol, 0, cases->count, 2, folds->half, by_half);
	fmoe_rank_by_parts(model, arena, data, cases, &protocol, 0, cases->count, 4, folds->quarter, by_quarter);
	for (int expert = trained ? 0 : FMOE_MAIN + 1; expert < weighed && cases->count > 0; expert++)
	{
		for (int k = 0; k < weighed; k++)
			alone->gate.weight[k][0] = weight_alone(expert, k);
		fmoe_rank_cases(alone, FMOE_MAIN, arena, data, cases, &protocol, 0, cases->count, other, NULL);
		for (Rival *by = rival; by < rival + 3; by++)
		{
			double		errors = errors_better(model, cases, by->quarters, by->rank, other);

			if (errors <= by->errors)
				continue;
			by->errors = errors;
			by->expert = expert;
		}
	}
	for (Rival *by = rival; by < rival + 3; by++)
		for (int k = 0; k < weighed && by->expert >= 0; k++)
			by->weight[k] = weight_alone(by->expert, k);
	for (int k = 0; k < weighed && rival[0].expert >= 0; k++)
		model->gate.weight[k][0] = of_all[k];
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- all of it */

double
fmoe_gate_bytes(const FmoeConfig *config, int32_t n_items, int64_t n_cases)
{
	int			weighed = FMOE_GATED - 1 + fmoe_score_parts(fmoe_expert_classes[config->model], config);
	double		candidates = n_items <= WHOLE_MAX ? n_items : SAMPLE + 1;
	double		cases = n_cases < CASES_MAX ? (double) n_cases : CASES_MAX;

	return cases * (sizeof(Example) + candidates * columns_of(weighed) * sizeof(float)) +
		candidates * (sizeof(int32_t) + FMOE_WEIGHED_MAX * sizeof(double)) + n_items * (1 + 3.0 * sizeof(double)) +
		2 * sizeof(FmoeModel);
}

void
fmoe_gate_prior(FmoeGatePrior *prior)
{
	for (int expert = 0; expert < FMOE_WEIGHED_MAX; expert++)
		prior->weight[expert][0] = prior->weight[expert][1] = shipped[expert];
}

/* The weights that are to judge each fold and each quarter of it: by what was chosen without that fold. */
static void
fit_folds(Fit *fit, uint32_t never, FmoeModel *model, Folds *folds)
{
	for (unsigned fold = 0; fold < 2; fold++)
	{
		unsigned	other = 1 - fold;
		const unsigned half[2] = {1u << other, 1u << (other + 2)};
		double		weight[2][FMOE_WEIGHED_MAX];

		choose(fit, never, half, weight, model->gate.fold_weight[fold]);
		memcpy(folds->quarter[other], weight[0], sizeof(weight[0]));
		memcpy(folds->quarter[other + 2], weight[1], sizeof(weight[1]));
	}
}

/* Fits the weights for answers with, or without, what was seen among them; without, folds as well. */
static void
fit_weights(FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeGatePrior *prior, bool trained,
			int kept, Folds *folds)
{
	static const unsigned fold[2] = {FOLD_0, FOLD_1};
	FmoeCasesWanted wanted = {
		.split = FMOE_SPLIT_VALIDATION, .holdout = (FmoeHoldout) model->config.holdout, .unseen = kept == 0,
		.limit = CASES_MAX, .seed = (uint64_t) model->config.seed
	};
	Fit			fit = look_at_cases(model, arena, data, fmoe_cases(arena, data, &wanted), kept == 1);
	uint32_t	never = 0;
	double		weight[2][FMOE_WEIGHED_MAX];
	double		w[FMOE_WEIGHED_MAX];

	for (int expert = 0; expert < FMOE_WEIGHED_MAX; expert++)
		fit.prior[expert] = prior->weight[expert][kept];
	/* what was had before is no answer, so nothing can be read of it */
	if (kept == 0)
		never = 1u << FMOE_REPEAT;
	if (!fmoe_content_known(&model->expert[FMOE_CONTENT]))
		never |= 1u << FMOE_CONTENT;
	/* drawn weights know nothing */
	for (int p = 0; p < model->gate.parts && !trained; p++)
		never |= 1u << fmoe_weighed_part(p);
	choose(&fit, never, fold, weight, w);
	for (int expert = 0; expert < fit.weighed; expert++)
		model->gate.weight[expert][kept] = w[expert];
	if (kept == 1)
		return;
	memcpy(folds->half, weight, sizeof(weight));
	model->gate.cases = fit.n;
	fit_folds(&fit, never, model, folds);
}

void
fmoe_gate_choose(FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeGatePrior *prior,
				 bool trained)
{
	Folds		folds;

	fmoe_gate_open(model, arena);
	for (int kept = 0; kept < 2; kept++)
	{
		FnnMark		mark = fnn_arena_mark(arena);

		fit_weights(model, arena, data, prior, trained, kept, &folds);
		fnn_arena_reset(arena, mark);
	}
	model->gate.has_folds = true;
	compare_with_each(model, arena, data, trained, &folds);
}

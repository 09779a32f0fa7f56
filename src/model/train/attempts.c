/*
 * attempts.c
 *	  What a run tries one after another, and which of it stays.
 *
 * An attempt is a training of its own: the same seed, its own options, parameters
 * drawn anew, steps and epochs counted from the first.  So the last attempt comes
 * out as it would alone.  What stays of the one before are its best values.
 */
#include "model/evaluate/evaluate.h"
#include "model/train/train_private.h"

#include <math.h>
#include <string.h>

#define CUTOFF 10

void
fmoe_attempt_enter(FmoeTrainer *trainer)
{
	FmoeTrainPlan *plan = &trainer->plan;
	FnnParams	anew = {0};

	if (plan->attempts == 1)
		return;
	trainer->config = trainer->asked;
	trainer->class->attempt(&trainer->config, trainer->state->attempt);
	fmoe_declare_class(&anew, trainer->host, trainer->class, &trainer->config, &plan->facts);
	for (int i = 0; i < plan->params.count; i++)
	{
		plan->params.list[i].frozen = anew.list[i].frozen;
		plan->params.list[i].init = anew.list[i].init;
		plan->params.list[i].init_scale = anew.list[i].init_scale;
	}
	fnn_params_free(&anew, trainer->host);
}

void
fmoe_attempt_computed(FmoeTrainer *trainer)
{
	if (trainer->class->start != NULL && fmoe_learns(trainer->class, &trainer->config))
		trainer->class->start(&trainer->expert, trainer->host);
}

void
fmoe_attempt_begin(FmoeTrainer *trainer)
{
	size_t		from = trainer->plan.learned_from;
	size_t		bytes = fmoe_learned_reals(&trainer->plan) * sizeof(fnn_real);

	fmoe_attempt_enter(trainer);
	fnn_params_init(&trainer->plan.params, trainer->host, (uint64_t) trainer->config.seed, trainer->values);
	fmoe_attempt_computed(trainer);
	fnn_poll(trainer->host);
	memset(trainer->moment1 + from, 0, bytes);
	memset(trainer->moment2 + from, 0, bytes);
	memset(trainer->best + from, 0, bytes);
	if (trainer->average != NULL)
		memset(trainer->average + from, 0, bytes);
	memset(trainer->last_step, 0, sizeof(int32_t) * (size_t) trainer->plan.sparse_rows);
}

/* The best values of the attempt that is made; without validation the last ones. */
static const fnn_real *
best_so_far(const FmoeTrainer *trainer)
{
	return trainer->state->best_epoch > 0 ? trainer->best : fmoe_judged(trainer);
}

static void
note_epoch(FmoeTrainState *state)
{
	state->tried_epoch[state->attempt] = state->best_epoch > 0 ? state->best_epoch - state->first_epoch : 0;
}

void
fmoe_attempt_next(FmoeTrainer *trainer)
{
	FmoeTrainState *state = trainer->state;

	memcpy(trainer->rival, best_so_far(trainer), trainer->plan.params.size * sizeof(fnn_real));
	note_epoch(state);
	state->attempt++;
	state->first_epoch = state->epoch;
	state->step = 0;
	state->best_epoch = 0;
	state->stale_epochs = 0;
	state->finished = 0;
	fmoe_attempt_begin(trainer);
}

/* Ranks all validation cases by a model of these values. */
static double
rank_by(FmoeTrainer *trainer, const fnn_real *values, int32_t *rank)
{
	FmoeProtocol protocol = {.exclude_seen = true};
	FmoeExpert *main = &trainer->model.expert[FMOE_MAIN];
	int64_t		n = trainer->cases->count;
	FnnMark		mark = fnn_arena_mark(trainer->arena);

	fnn_params_bind(main->params, main->tensor, (fnn_real *) values, NULL, NULL);
	fmoe_model_compute_items(&trainer->model, trainer->arena);
	for (int64_t from = 0; from < n; from += FMOE_VALIDATION_BLOCK)
	{
		int64_t		to = n - from < FMOE_VALIDATION_BLOCK ? n : from + FMOE_VALIDATION_BLOCK;

		fmoe_rank_cases(&trainer->model, FMOE_MAIN, trainer->arena, trainer->data, trainer->cases, &protocol, from,
						to, rank, NULL);
	}
	fnn_params_bind(main->params, main->tensor, fmoe_judged(trainer), NULL, NULL);
	/* those that are computed are so anew before they are read */
	if (!fmoe_computes_items(trainer->class, &trainer->config))
		fmoe_model_compute_items(&trainer->model, trainer->arena);
	fnn_arena_reset(trainer->arena, mark);
	return fmoe_mean_metric(FMOE_NDCG, CUTOFF, trainer->cases, rank);
}

/*
 * The first attempt, which began with what others have learned, stays unless the
 * second one, which has not, is better.  Where nothing can be compared the second does.
 */
const fnn_real *
fmoe_attempt_best(FmoeTrainer *trainer)
{
	FmoeTrainState *state = trainer->state;
	const fnn_real *values[FMOE_ATTEMPTS_MAX] = {trainer->rival, best_so_far(trainer)};
	FnnMark		mark = fnn_arena_mark(trainer->arena);
	int32_t    *rank[FMOE_ATTEMPTS_MAX];

	if (trainer->plan.attempts == 1 || state->attempt == 0)
		return best_so_far(trainer);
	note_epoch(state);
	state->won = 1;
	if (trainer->cases->count == 0)
		return values[1];
	for (int i = 0; i < FMOE_ATTEMPTS_MAX; i++)
	{
		rank[i] = fnn_alloc(trainer->arena, sizeof(int32_t) * (size_t) trainer->plan.n_answers);
		state->tried_metric[i] = rank_by(trainer, values[i], rank[i]);
	}
	state->tried = FMOE_ATTEMPTS_MAX;
	state->tried_error = fmoe_paired_error(FMOE_NDCG, CUTOFF, trainer->cases, rank[0], rank[1]);
	state->won = state->tried_metric[0] >= state->tried_metric[1] ? 0 : 1;
	fnn_arena_reset(trainer->arena, mark);
	return values[state->won];
}

double
fmoe_attempt_bytes(const FmoeTrainPlan *plan)
{
	return FMOE_ATTEMPTS_MAX * (double) plan->n_answers * sizeof(int32_t);
}

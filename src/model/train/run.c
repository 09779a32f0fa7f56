/*
 * run.c
 *	  A training run: epochs, validation, early stopping, the best weights.
 *
 * Everything a run remembers lies in one block that all members share, and is
 * written only between barriers: the parameter range of each member by itself,
 * the state by the leader at the end of an epoch.  So a copy of the blocks and
 * the state between two epochs is a checkpoint from which the run goes on to
 * the same weights.
 *
 * The best epoch is the one with the best mean validation over it and the few
 * before it: where cases are few, a single epoch's is mostly chance.  What is
 * judged is the mean of the weights (average.c), unless the option says none.
 */
#include "model/data/stream.h"
#include "model/evaluate/evaluate.h"
#include "model/registry.h"
#include "model/train/train_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define VALIDATION_CUTOFF 10

static FnnTensor *
new_tensors(const FmoeTrainer *trainer)
{
	return fnn_zalloc(trainer->arena, fnn_mul_size(trainer->host, trainer->plan.params.count, sizeof(FnnTensor)));
}

/* Binds tensors to values, of which reals learned_from .. size - 1 exist; what never learns is where it was put. */
static void
bind_values(const FmoeTrainer *trainer, FnnTensor *tensor, fnn_real *values)
{
	const FnnParams *params = &trainer->plan.params;

	fnn_params_bind(params, tensor, values, NULL, NULL);
	for (int i = 0; i < trainer->plan.frozen; i++)
		tensor[i].value = trainer->values + params->list[i].offset;
}

/* Binds the model's main expert to values; its blend is chosen only at the end. */
static void
bind_main(FmoeTrainer *trainer, FmoeModel *model, fnn_real *values)
{
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	const FmoeDataset *data = trainer->data;

	model->params = trainer->plan.params;
	if (data->features != NULL)
		model->features = *data->features;
	if (data->user_features != NULL)
	{
		/* what categories there are; which of them users have stays in their table */
		model->user_features = *data->user_features;
		model->user_features.n = 0;
	}
	main->params = &model->params;
	main->features = data->features != NULL ? &model->features : NULL;
	main->user_features = data->user_features != NULL ? &model->user_features : NULL;
	main->tensor = new_tensors(trainer);
	bind_values(trainer, main->tensor, values);
	if (!fmoe_computes_items(main->class, main->config))
		fmoe_model_compute_items(model, trainer->arena);
}

FmoeTrainer *
fmoe_trainer_attach(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data, void *shared)
{
	FmoeTrainer *trainer = fnn_zalloc(arena, sizeof(FmoeTrainer));
	FmoeTrainPlan *plan = &trainer->plan;
	FmoeExpert *main = &trainer->model.expert[FMOE_MAIN];
	size_t		list_bytes;
	int64_t		n = 0;
	int64_t		user;

	trainer->host = fnn_arena_host(arena);
	trainer->arena = arena;
	trainer->asked = trainer->config = *config;
	trainer->data = data;
	fmoe_trainer_plan(trainer);
	fmoe_trainer_carve(trainer, shared);

	if (fmoe_needs_counts(trainer))
		fmoe_count_experts(&trainer->model, arena, config, data);
	else
		fmoe_model_setup(&trainer->model, config, data->n_items);
	bind_main(trainer, &trainer->model, fmoe_judged(trainer));
	if (fmoe_prepares(trainer->class, config))
		main->prepared = trainer->class->prepare(main, arena, data);
	/* an expert with gradients, over the values that they move */
	trainer->expert = *main;
	trainer->expert.config = &trainer->config;
	trainer->expert.tensor = new_tensors(trainer);
	fnn_params_bind(trainer->expert.params, trainer->expert.tensor, trainer->values, NULL, NULL);
	trainer->bound = fnn_zalloc(arena, fnn_mul_size(trainer->host, plan->params.count, sizeof(FnnSparse *)));

	list_bytes = fnn_mul_size(trainer->host, plan->n_sequences, sizeof(int64_t));
	trainer->user = fnn_alloc(arena, list_bytes);
	trainer->order = fnn_alloc(arena, list_bytes);
	for (user = 0; user < data->n_users && n < plan->n_sequences; user++)
	{
		if (fmoe_sequence_tokens(config, data, user) > 0)
			trainer->user[n++] = user;
	}
	if (fmoe_weighs_sequences(trainer))
	{
		trainer->weight = fnn_alloc(arena, fnn_mul_size(trainer->host, plan->n_sequences, sizeof(double)));
		for (n = 0; n < plan->n_sequences; n++)
			trainer->weight[n] = fmoe_sequence_weight(config, data, trainer->user[n]);
	}
	if (fmoe_by_clicks(trainer->class))
	{
		trainer->impressions = fmoe_validation_impressions(arena, data, config);
		return trainer;
	}
	trainer->cases = fmoe_validation_cases(arena, data, (FmoeHoldout) config->holdout, plan->cases_limit,
										   (uint64_t) config->seed);
	return trainer;
}

void
fmoe_trainer_start(FmoeTrainer *trainer)
{
	memset(trainer->state, 0, sizeof(FmoeTrainState));
	trainer->state->metric = NAN;
	trainer->state->best_metric = NAN;
	if (trainer->rival != NULL)
		memset(trainer->rival, 0, trainer->plan.params.size * sizeof(fnn_real));
	fmoe_attempt_begin(trainer);
	if (trainer->plan.frozen == trainer->plan.params.count)
		trainer->state->finished = FMOE_FINISHED;
}

int
fmoe_trainer_epochs(const FmoeTrainer *trainer)
{
	return trainer->asked.epochs * trainer->plan.attempts;
}

FmoeTrainState *
fmoe_trainer_state(FmoeTrainer *trainer)
{
	return trainer->state;
}

/* How many parts of validation there are: cases, or windows of impressions. */
static int64_t
to_validate(const FmoeTrainer *trainer)
{
	return trainer->impressions != NULL ? trainer->impressions->count : trainer->cases->count;
}

/* Ranks the blocks of validation cases, or foresees those of impressions, that this member takes. */
static void
validate(FmoeTrainer *trainer, const FmoeTeam *team)
{
	FmoeProtocol protocol = {.exclude_seen = true};
	FnnMark		mark = fnn_arena_mark(trainer->arena);
	int64_t		n = to_validate(trainer);
	int64_t		together = trainer->impressions != NULL ? FMOE_VALIDATION_WINDOWS : FMOE_VALIDATION_BLOCK;
	int64_t		from;

	/* item vectors that are computed have changed with the parameters */
	if (n > 0 && fmoe_computes_items(trainer->class, &trainer->config))
		fmoe_model_compute_items(&trainer->model, trainer->arena);
	while ((from = fmoe_claim(trainer) * together) < n)
	{
		int64_t		to = n - from < together ? n : from + together;

		if (trainer->impressions != NULL)
			fmoe_foresee(&trainer->model, FMOE_MAIN, trainer->arena, trainer->data, trainer->impressions, from, to,
						 trainer->logit);
		else
			fmoe_rank_cases(&trainer->model, FMOE_MAIN, trainer->arena, trainer->data, trainer->cases, &protocol,
							from, to, trainer->rank, NULL);
	}
	fnn_arena_reset(trainer->arena, mark);
}

/* Mean of the last epochs' validation; of all there were, as long as these are fewer. */
static double
mean_judged(const FmoeTrainState *state)
{
	int32_t		epochs = fmoe_attempt_epochs(state);
	int32_t		n = epochs < FMOE_EPOCHS_JUDGED ? epochs : FMOE_EPOCHS_JUDGED;
	double		sum = 0;

	for (int32_t i = 0; i < n; i++)
		sum += state->judged[(state->epoch - i) % FMOE_EPOCHS_JUDGED];
	return sum / n;
}

/* What the class is judged by, after an epoch. */
static double
judged_now(const FmoeTrainer *trainer)
{
	if (trainer->impressions != NULL)
		return fmoe_click_figures(trainer->arena, trainer->impressions->n, trainer->logit,
								  trainer->impressions->label, NULL).auc;
	return fmoe_mean_metric(FMOE_NDCG, VALIDATION_CUTOFF, trainer->cases, trainer->rank);
}

/* Updates the state after an epoch, and the best values if these are better; by the leader. */
static void
finish_epoch(FmoeTrainer *trainer, int64_t steps, double loss, const double losses[FMOE_LOSSES_MAX])
{
	FmoeTrainState *state = trainer->state;
	bool		validated = to_validate(trainer) > 0;

	state->step += steps;
	state->epoch++;
	state->loss = loss;
	memcpy(state->losses, losses, sizeof(state->losses));
	state->judged[state->epoch % FMOE_EPOCHS_JUDGED] = judged_now(trainer);
	state->metric = mean_judged(state);
	if (validated && (state->best_epoch == 0 || state->metric > state->best_metric))
	{
		state->best_epoch = state->epoch;
		state->best_metric = state->metric;
		state->stale_epochs = 0;
		fmoe_note_halves(trainer, true);
		memcpy(trainer->best + trainer->plan.learned_from, fmoe_judged(trainer) + trainer->plan.learned_from,
			   fmoe_learned_reals(&trainer->plan) * sizeof(fnn_real));
	}
	else if (validated)
	{
		state->stale_epochs++;
		fmoe_note_halves(trainer, false);
	}
	if (fmoe_attempt_epochs(state) >= trainer->config.epochs ||
		(validated && state->stale_epochs >= trainer->config.patience))
		state->finished = FMOE_FINISHED;
	else if (trainer->federated != NULL && fmoe_round_spent(trainer))
		state->finished = FMOE_SPENT;
	if (state->finished && state->attempt + 1 < trainer->plan.attempts)
		fmoe_attempt_next(trainer);
}

/* The steps of an epoch.  Returns the sum of losses, and sets what it is the sum of. */
static double
run_batches(FmoeTrainer *trainer, const FmoeTeam *team, double *weight, double losses[FMOE_LOSSES_MAX])
{
	const FmoeConfig *config = &trainer->config;
	int64_t		batches = trainer->plan.batches;
	int64_t		step = trainer->state->step;
	int32_t		epoch = fmoe_attempt_epochs(trainer->state);
	double		loss = 0;

	fnn_random_permutation((uint64_t) config->seed, fmoe_stream(FMOE_STREAM_ORDER, epoch),
						   trainer->plan.n_sequences, trainer->order);
	for (int64_t b = 0; b < batches; b++)
	{
		FmoeTrainBatch batch;

		fmoe_step_cut(trainer, b, &batch);
		batch.step = step + b + 1;
		batch.learning_rate = fnn_learning_rate(config->learning_rate, batch.step, config->warmup_steps,
												config->learning_rate_decay, epoch + (double) b / batches);
		loss += fmoe_step_run(trainer, team, &batch, losses) * batch.weight;
		*weight += batch.weight;
		if (team->rank == 0 && team->progress != NULL)
			team->progress(team->context, b + 1, batches, loss / *weight);
	}
	return loss;
}

/* The same where an epoch is a round of users. */
static double
run_round(FmoeTrainer *trainer, const FmoeTeam *team, double *weight, double losses[FMOE_LOSSES_MAX])
{
	int64_t		users;
	double		loss = fmoe_round_run(trainer, team, trainer->state->epoch, &users, losses);

	*weight = (double) users;
	if (team->rank == 0 && team->progress != NULL)
		team->progress(team->context, 1, 1, users > 0 ? loss / *weight : 0);
	return loss;
}

void
fmoe_trainer_epoch(FmoeTrainer *trainer, const FmoeTeam *team)
{
	bool		rounds = trainer->federated != NULL;
	int64_t		batches = trainer->plan.batches;
	bool		finished = trainer->state->finished != 0;
	bool		spent = rounds && fmoe_round_spent(trainer);
	double		losses[FMOE_LOSSES_MAX] = {0};
	double		loss;
	double		weight = 0;

	fmoe_attempt_enter(trainer);
	if (rounds)
		fmoe_claim_anew(trainer, team);
	else
		fmoe_step_prepare(trainer, team);
	fmoe_barrier(team);
	if ((batches == 0 || spent) && team->rank == 0)
		trainer->state->finished = spent ? FMOE_SPENT : FMOE_FINISHED;
	if (finished || batches == 0 || spent)
	{
		fmoe_barrier(team);
		return;
	}
	loss = rounds ? run_round(trainer, team, &weight, losses) : run_batches(trainer, team, &weight, losses);
	/* a round may have sampled nobody */
	weight = weight > 0 ? weight : 1;

	if (trainer->average != NULL)
	{
		fmoe_average(trainer, team, fmoe_attempt_epochs(trainer->state) + 1);
		fmoe_barrier(team);
	}
	if (team->rank == 0 && trainer->class->settle != NULL)
		trainer->class->settle(&trainer->model.expert[FMOE_MAIN], trainer->arena, trainer->data);
	fmoe_barrier(team);
	validate(trainer, team);
	fmoe_barrier(team);
	for (int k = 0; k < FMOE_LOSSES_MAX; k++)
		losses[k] /= weight;
	if (team->rank == 0)
		finish_epoch(trainer, rounds ? 1 : batches, loss / weight, losses);
	fmoe_barrier(team);
}

void *
fmoe_trainer_block(FmoeTrainer *trainer, FmoeTrainBlock block, size_t *bytes)
{
	size_t		from = trainer->plan.learned_from;

	*bytes = fmoe_learned_reals(&trainer->plan) * sizeof(fnn_real);
	switch (block)
	{
		case FMOE_BLOCK_VALUES:
			*bytes = trainer->plan.params.size * sizeof(fnn_real);
			return trainer->values;
		case FMOE_BLOCK_MOMENT1:
			return trainer->moment1 + from;
		case FMOE_BLOCK_MOMENT2:
			return trainer->moment2 + from;
		case FMOE_BLOCK_BEST:
			return trainer->best + from;
		case FMOE_BLOCK_AVERAGE:
			*bytes = trainer->average != NULL ? *bytes : 0;
			return trainer->average != NULL ? trainer->average + from : NULL;
		case FMOE_BLOCK_RIVAL:
			*bytes = trainer->rival != NULL ? *bytes : 0;
			return trainer->rival;
		case FMOE_BLOCK_LAST_STEP:
			*bytes = sizeof(int32_t) * (size_t) trainer->plan.sparse_rows;
			return trainer->last_step;
		case FMOE_BLOCKS:
			break;
	}
	*bytes = 0;
	return NULL;
}

int
fmoe_trainer_arrays(const FmoeTrainer *trainer, FnnArray *out, int max)
{
	return fmoe_expert_arrays(&trainer->model.expert[FMOE_MAIN], out, max);
}

int
fmoe_trainer_arrays_max(const FmoeTrainer *trainer)
{
	return trainer->plan.params.count;
}

const FnnParams *
fmoe_trainer_params(const FmoeTrainer *trainer)
{
	return &trainer->plan.params;
}

int
fmoe_trainer_adopt(FmoeTrainer *trainer, int n_arrays, const FnnArray *arrays)
{
	const FnnParams *params = &trainer->plan.params;
	int			adopted = 0;
	int			i;

	for (i = 0; i < n_arrays; i++)
	{
		int			index = fnn_params_find(params, arrays[i].name);
		const FnnParam *param;
		int64_t		rows;

		if (index < 0)
			continue;
		param = &params->list[index];
		rows = arrays[i].shape[0] < param->rows ? arrays[i].shape[0] : param->rows;
		if (arrays[i].dtype != FMOE_REAL_DTYPE || arrays[i].ndim != 2 || arrays[i].shape[1] != param->cols ||
			(arrays[i].shape[0] != param->rows && param->group != FNN_POSITIONS))
			continue;
		memcpy(trainer->values + param->offset, arrays[i].data, sizeof(fnn_real) * rows * param->cols);
		adopted++;
	}
	fmoe_attempt_computed(trainer);
	return adopted;
}

void
fmoe_trainer_model(FmoeTrainer *trainer, const FmoeGatePrior *prior, FmoeModel *model)
{
	FmoeGatePrior shipped;
	bool		gated = fmoe_is_gated(trainer->class, &trainer->config);
	size_t		from = trainer->plan.learned_from;
	size_t		size = fmoe_learned_reals(&trainer->plan);
	uintptr_t	learned = (uintptr_t) fnn_alloc_reals(trainer->arena, 1, (int64_t) size);
	fnn_real   *values = (fnn_real *) (learned - from * sizeof(fnn_real));

	memcpy(values + from, fmoe_attempt_best(trainer) + from, size * sizeof(fnn_real));
	fmoe_count_experts(model, trainer->arena, &trainer->asked, trainer->data);
	if (gated)
		fmoe_gate_forget(model, trainer->arena, trainer->plan.params.list[0].cols,
						 values + trainer->plan.params.list[0].offset);
	bind_main(trainer, model, values);
	if (gated)
	{
		if (prior == NULL)
			fmoe_gate_prior(&shipped);
		fmoe_gate_choose(model, trainer->arena, trainer->data, prior != NULL ? prior : &shipped,
						 trainer->state->step > 0);
		return;
	}
	if (fmoe_computes_items(trainer->class, &trainer->config))
		fmoe_model_compute_items(model, trainer->arena);
	if (fmoe_by_clicks(trainer->class) || !fmoe_has_vectors(model))
		return;
	model->blend = trainer->config.blend < 0 ? fmoe_blend_choose(model, trainer->arena, trainer->data)
		: trainer->config.blend;
}

int
fmoe_trainer_adopt_lent(FmoeTrainer *trainer, int i, int n_arrays, FnnArray *arrays)
{
	char		prefix[FNN_NAME_MAX] = "";

	if (i >= 0 && trainer->class->building != NULL)
		fmoe_built_prefix(i, prefix);
	else if (i >= 0)
		trainer->class->borrowed_prefix(i, prefix);
	for (int k = 0; k < n_arrays; k++)
	{
		char		name[2 * FNN_NAME_MAX];

		snprintf(name, sizeof(name), "%s%s", prefix, arrays[k].name);
		memcpy(arrays[k].name, name, FNN_NAME_MAX - 1);
	}
	return fmoe_trainer_adopt(trainer, n_arrays, arrays);
}

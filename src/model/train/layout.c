/*
 * layout.c
 *	  What a training run needs, and where it lies in the shared block.
 */
#include "model/evaluate/evaluate.h"
#include "model/registry.h"
#include "model/train/train_private.h"

#include <math.h>
#include <string.h>

/*
 * Validation ranks the whole catalogue for every case, once an epoch.  Where that
 * is more than VALIDATION_SCORES_MAX scores it takes a sample of the users, but no
 * fewer than VALIDATION_CASES_MIN.
 */
#define VALIDATION_SCORES_MAX INT64_C(1000000000)
#define VALIDATION_CASES_MIN 2000
/* The same where each score is a pass of its own. */
#define VALIDATION_PASSES_MAX INT64_C(2000000)
#define VALIDATION_PASSED_MIN 200

/* Rows that nn's gBCE loss works on at a time. */
#define LOSS_ROWS 128.0

int64_t
fmoe_sequence_end(const FmoeConfig *config, const FmoeDataset *data, int64_t user)
{
	int64_t		end = fmoe_train_end(data, (FmoeHoldout) config->holdout, user);
	int64_t		answer;

	/* each impression is learned from and then an input: all of them are */
	if (fmoe_by_clicks(fmoe_expert_classes[config->model]))
		return end;
	answer = fmoe_last_answer(data, user, end);
	return answer >= 0 ? answer : data->offset[user];
}

int64_t
fmoe_sequence_tokens(const FmoeConfig *config, const FmoeDataset *data, int64_t user)
{
	int64_t		tokens = fmoe_sequence_end(config, data, user) - data->offset[user];

	return tokens < config->max_length ? tokens : config->max_length;
}

/* The mean over the events of a basket that count at all; 0 where none does. */
static double
mean_weight(const FmoeEvents *events, int64_t first, int64_t end)
{
	double		sum = 0;
	int64_t		counting = fmoe_targets_counting(events, first, end);

	for (int64_t event = first; event < end; event++)
		sum += fmoe_target_weight(events, event);
	return counting > 0 ? sum / (double) counting : 0;
}

/* What the impressions of a sequence count that are predicted. */
static double
impressions_weight(const FmoeConfig *config, const FmoeDataset *data, int64_t user)
{
	int64_t		tokens = fmoe_sequence_tokens(config, data, user);
	int64_t		end = fmoe_sequence_end(config, data, user);
	int64_t		first = end - tokens;
	double		sum = 0;

	/* where the history is cut, what came before its first basket is not known */
	if (tokens >= config->max_length)
		first = fmoe_basket_end(&data->events, first, end);
	for (int64_t event = first; event < end; event++)
		sum += data->events.weight != NULL ? (double) data->events.weight[event] : 1;
	return sum;
}

double
fmoe_sequence_weight(const FmoeConfig *config, const FmoeDataset *data, int64_t user)
{
	const FmoeEvents *events = &data->events;
	int64_t		first = data->offset[user];
	int64_t		behind = fmoe_sequence_end(config, data, user);
	int64_t		left = fmoe_sequence_tokens(config, data, user);
	int64_t		next_end;
	double		sum = 0;

	if (fmoe_by_clicks(fmoe_expert_classes[config->model]))
		return impressions_weight(config, data, user);
	next_end = fmoe_basket_end(events, behind, data->offset[user + 1]);
	while (left > 0)
	{
		int64_t		begin = fmoe_basket_begin(events, first, behind - 1);
		int64_t		tokens = behind - begin < left ? behind - begin : left;

		sum += (double) tokens * mean_weight(events, behind, next_end);
		left -= tokens;
		next_end = behind;
		behind = begin;
	}
	return sum;
}

bool
fmoe_anything_to_learn(const FmoeDataset *data, const FmoeConfig *config)
{
	for (int64_t user = 0; user < data->n_users && data->n_items > 1; user++)
		if (fmoe_sequence_tokens(config, data, user) > 0)
			return true;
	return false;
}

/*
 * Counts sequences, and the tokens of the largest batch, which has the batch_size
 * longest sequences, and of the largest shard, which has a quarter of these and may
 * have one sequence more.
 */
static void
plan_sequences(FmoeTrainer *trainer)
{
	FmoeTrainPlan *plan = &trainer->plan;
	const FmoeConfig *config = &trainer->config;
	const FmoeDataset *data = trainer->data;
	FnnMark		mark = fnn_arena_mark(trainer->arena);
	int64_t    *users = fnn_zalloc(trainer->arena, sizeof(int64_t) * ((size_t) config->max_length + 1));
	int64_t		left = config->batch_size;
	int64_t		user;
	int64_t		length;

	for (user = 0; user < data->n_users && data->n_items > 1; user++)
	{
		length = fmoe_sequence_tokens(config, data, user);
		if (length > 0)
		{
			users[length]++;
			plan->n_sequences++;
		}
		if ((user & 0xffff) == 0)
			fnn_poll(trainer->host);
	}
	for (length = config->max_length; length > 0 && left > 0; length--)
	{
		int64_t		taken = users[length] < left ? users[length] : left;

		if (taken > 0 && plan->longest == 0)
			plan->longest = length;
		plan->batch_tokens += taken * length;
		left -= taken;
	}
	plan->batches = (plan->n_sequences + config->batch_size - 1) / config->batch_size;
	plan->shard_tokens = plan->batch_tokens / FMOE_SHARDS + plan->longest;
	if (plan->shard_tokens > plan->batch_tokens)
		plan->shard_tokens = plan->batch_tokens;
	/* in rounds users are trained one at a time */
	if (trainer->federated != NULL)
		plan->shard_tokens = plan->longest;
	fnn_arena_reset(trainer->arena, mark);
}

/* Computes followers from how often each item is followed. */
static void
plan_followers(FmoeTrainer *trainer)
{
	const FmoeConfig *config = &trainer->config;
	const FmoeDataset *data = trainer->data;
	FmoeFollowers *followers = &trainer->plan.facts.followers;
	FnnMark		mark = fnn_arena_mark(trainer->arena);
	double	   *count = fnn_zalloc(trainer->arena, sizeof(double) * ((size_t) data->n_items + 1));
	double		tokens = 0;

	fmoe_count_followers(trainer->host, data, (FmoeHoldout) config->holdout, count);
	for (int32_t i = 0; i < data->n_items; i++)
	{
		double		row = count[i] < data->n_items ? count[i] : data->n_items;

		followers->mean += count[i] * row;
		followers->all += row;
		tokens += count[i];
	}
	followers->mean /= tokens > 0 ? tokens : 1;
	fnn_arena_reset(trainer->arena, mark);
}

/* Where only slices that never learn come before, as a base that was lent: of these the values are all there is. */
static void
plan_frozen(FmoeTrainer *trainer)
{
	FmoeTrainPlan *plan = &trainer->plan;
	const FnnParams *params = &plan->params;

	/* attempts and rounds of users look at whole blocks, and forgetting moves the first slice */
	if (plan->attempts > 1 || trainer->federated != NULL || fmoe_is_gated(trainer->class, &trainer->config))
		return;
	while (plan->frozen < params->count && params->list[plan->frozen].frozen)
		plan->frozen++;
	plan->learned_from = (plan->frozen < params->count ? params->list[plan->frozen].offset : params->size)
		/ FNN_REDUCE_CHUNK * FNN_REDUCE_CHUNK;
}

/* Counts sparse slices.  Those that come before all others need no room in the gradient slots. */
static void
plan_sparse(FmoeTrainPlan *plan)
{
	const FnnParams *params = &plan->params;
	int			leading = 0;

	for (int i = 0; i < params->count; i++)
	{
		if (!params->list[i].sparse)
			continue;
		leading += leading == i;
		plan->n_sparse++;
		plan->sparse_rows += params->list[i].rows;
	}
	plan->dense_from = (leading < params->count ? params->list[leading].offset : params->size)
		/ FNN_REDUCE_CHUNK * FNN_REDUCE_CHUNK;
	if (plan->dense_from < plan->learned_from)
		plan->dense_from = plan->learned_from;
}

/* How many users are validated at most; passes: each score is a pass of its own. */
static int64_t
cases_limit(bool passes, int32_t n_items)
{
	int64_t		limit = (passes ? VALIDATION_PASSES_MAX : VALIDATION_SCORES_MAX) / (n_items > 0 ? n_items : 1);
	int64_t		least = passes ? VALIDATION_PASSED_MIN : VALIDATION_CASES_MIN;

	return limit < least ? least : limit;
}

void
fmoe_trainer_plan(FmoeTrainer *trainer)
{
	FmoeTrainPlan *plan = &trainer->plan;
	const FmoeConfig *config = &trainer->config;
	const FmoeDataset *data = trainer->data;
	FnnMark		mark = fnn_arena_mark(trainer->arena);
	const FmoeCases *cases;

	trainer->class = fmoe_expert_classes[config->model];
	if (fmoe_only_counts(trainer->class))
		fnn_fail(trainer->host, FNN_INVALID, "expert \"%s\" counts and is not trained by gradient",
				 trainer->class->name);
	if (config->loss != FMOE_LOSS_SOFTMAX && config->loss != FMOE_LOSS_GBCE)
		fnn_fail(trainer->host, FNN_INVALID, "the loss of a training run is still auto");
	memset(plan, 0, sizeof(*plan));
	plan->attempts = fmoe_attempts(trainer->class, config);
	plan->facts.n_items = data->n_items;
	plan->facts.features = data->features;
	plan->facts.user_features = data->user_features;
	plan->facts.n_users = data->n_users;
	fmoe_declare_class(&plan->params, trainer->host, trainer->class, config, &plan->facts);
	trainer->federated = fmoe_federated(trainer->class, config);
	plan->slot_end = plan->params.size;
	if (trainer->federated != NULL)
		fmoe_round_plan(trainer);
	plan_sequences(trainer);
	if (fmoe_needs_counts(trainer))
		plan_followers(trainer);
	plan_frozen(trainer);
	plan_sparse(plan);
	/* users of a round move their own copies of what vectors are computed from */
	if (trainer->federated == NULL && plan->n_sparse == 0)
		plan->step_width = fmoe_step_width(trainer->class, config);

	plan->negatives = config->negatives < data->n_items - 1 ? config->negatives : data->n_items - 1;
	if (data->n_items > 1)
		plan->beta = fnn_gbce_beta(data->n_items, plan->negatives, config->calibration);
	plan->chunks = (plan->params.size + FNN_REDUCE_CHUNK - 1) / FNN_REDUCE_CHUNK;

	plan->cases_limit = cases_limit(fmoe_scores_itself(trainer->class, config), data->n_items);
	plan->basket_bytes = (double) fmoe_basket_count_bytes(trainer->arena, data);
	if (fmoe_by_clicks(trainer->class))
	{
		const FmoeImpressions *impressions = fmoe_validation_impressions(trainer->arena, data, config);

		plan->n_windows = impressions->count;
		plan->n_impressions = impressions->first[impressions->count];
		fnn_arena_reset(trainer->arena, mark);
		return;
	}
	cases = fmoe_validation_cases(trainer->arena, data, (FmoeHoldout) config->holdout, plan->cases_limit,
								  (uint64_t) config->seed);
	plan->n_cases = cases->count;
	plan->n_answers = cases->first[cases->count];
	plan->seen_most = fmoe_seen_most(cases, 0, cases->count);
	fnn_arena_reset(trainer->arena, mark);
}

/* Takes the next bytes of a block, beginning a cache line; returns NULL when only measuring. */
static void *
take(const FnnHost *host, char *shared, size_t *used, size_t n, size_t element)
{
	size_t		bytes = fnn_mul_size(host, n, element);
	size_t		from = *used;

	*used = fnn_add_size(host, from, fnn_add_size(host, bytes, FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN);
	return shared != NULL ? shared + from : NULL;
}

/* Largest number of rows of a table that a shard, or with all a batch, touches. */
static int64_t
sparse_capacity(const FmoeTrainPlan *plan, int64_t table_rows, bool all)
{
	/* a sequence of n tokens has n + 1 items, at most 2 n, and one user */
	int64_t		rows = all
		? 2 * plan->batch_tokens + (int64_t) FMOE_SHARDS * plan->negatives
		: 2 * plan->shard_tokens + plan->negatives;

	return rows < table_rows ? rows : table_rows;
}

static void
carve_sparse(FmoeTrainer *trainer, char *shared, size_t *used)
{
	const FmoeTrainPlan *plan = &trainer->plan;
	const FnnHost *host = trainer->host;
	int64_t    *count = take(host, shared, used, (size_t) plan->n_sparse * (FMOE_SHARDS + 1), sizeof(int64_t));
	int32_t    *last_step = trainer->last_step;
	int			n = 0;

	trainer->sparse = fnn_zalloc(trainer->arena, sizeof(FmoeSparseSlice) * (size_t) plan->n_sparse);
	for (int i = 0; i < plan->params.count; i++)
	{
		const FnnParam *param = &plan->params.list[i];
		FmoeSparseSlice *slice = &trainer->sparse[n];

		if (!param->sparse)
			continue;
		n++;
		slice->param = i;
		if (shared != NULL)
		{
			slice->count = count;
			slice->last_step = last_step;
			count += FMOE_SHARDS + 1;
			last_step += param->rows;
		}
		for (int s = 0; s <= FMOE_SHARDS; s++)
		{
			int64_t		capacity = sparse_capacity(plan, param->rows, s == FMOE_SHARDS);
			size_t		bytes = fnn_sparse_bytes(host, param->rows, param->cols, capacity);

			slice->memory[s] = take(host, shared, used, bytes, 1);
			if (shared != NULL)
				fnn_sparse_init(&slice->shard[s], slice->memory[s], param->rows, param->cols, capacity);
		}
	}
}

/* Takes reals from .. to - 1 of a block over all parameters, so that a slice's offset is that from what it returns. */
static fnn_real *
take_reals(const FnnHost *host, char *shared, size_t *used, size_t from, size_t to)
{
	uintptr_t	taken = (uintptr_t) take(host, shared, used, to - from, sizeof(fnn_real));

	return (fnn_real *) (taken - from * sizeof(fnn_real));
}

size_t
fmoe_trainer_carve(FmoeTrainer *trainer, void *shared)
{
	const FmoeTrainPlan *plan = &trainer->plan;
	const FnnHost *host = trainer->host;
	size_t		size = plan->params.size;
	size_t		from = plan->learned_from;
	size_t		used = 0;
	int			s;

	trainer->state = take(host, shared, &used, 1, sizeof(FmoeTrainState));
	trainer->values = take(host, shared, &used, size, sizeof(fnn_real));
	trainer->moment1 = take_reals(host, shared, &used, from, size);
	trainer->moment2 = take_reals(host, shared, &used, from, size);
	trainer->best = take_reals(host, shared, &used, from, size);
	if (trainer->config.average != FMOE_AVERAGE_NONE)
		trainer->average = take_reals(host, shared, &used, from, size);
	if (plan->attempts > 1)
		trainer->rival = take_reals(host, shared, &used, from, size);
	trainer->shard_loss = take(host, shared, &used, FMOE_SHARDS, sizeof(double));
	trainer->chunk_squares = take(host, shared, &used, plan->chunks, sizeof(double));
	trainer->sparse_squares = take(host, shared, &used, 1, sizeof(double));
	trainer->shard_losses = take(host, shared, &used, FMOE_SHARDS * FMOE_LOSSES_MAX, sizeof(double));
	trainer->logit = take(host, shared, &used, plan->n_impressions, sizeof(fnn_real));
	if (trainer->federated != NULL)
		trainer->group_users = take(host, shared, &used, FMOE_SHARDS * (size_t) (1 + plan->group_rows),
									sizeof(int64_t));
	if (plan->step_width > 0)
	{
		size_t		reals = fnn_mul_size(host, (size_t) trainer->data->n_items, (size_t) plan->step_width);

		trainer->step_items = take(host, shared, &used, reals, sizeof(fnn_real));
		for (s = 0; s < FMOE_SHARDS; s++)
			trainer->step_grad[s] = take(host, shared, &used, reals, sizeof(fnn_real));
	}
	trainer->rank = take(host, shared, &used, plan->n_answers, sizeof(int32_t));
	trainer->claimed_parts = take(host, shared, &used, 1, sizeof(int64_t));
	trainer->claimed = take(host, shared, &used, 1, sizeof(int64_t));
	trainer->last_step = take(host, shared, &used, plan->sparse_rows, sizeof(int32_t));
	for (s = 0; s < FMOE_SHARDS; s++)
		trainer->slot[s] = take_reals(host, shared, &used, plan->dense_from, plan->slot_end);
	carve_sparse(trainer, (char *) shared, &used);
	return used;
}

/* Makes a trainer that has only its plan; the caller resets the arena. */
static FmoeTrainer *
planned_trainer(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeTrainer *trainer = fnn_zalloc(arena, sizeof(FmoeTrainer));

	trainer->host = fnn_arena_host(arena);
	trainer->arena = arena;
	trainer->asked = trainer->config = *config;
	trainer->data = data;
	fmoe_trainer_plan(trainer);
	return trainer;
}

size_t
fmoe_trainer_shared_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data)
{
	FnnMark		mark = fnn_arena_mark(arena);
	size_t		bytes = fmoe_trainer_carve(planned_trainer(arena, config, data), NULL);

	fnn_arena_reset(arena, mark);
	return bytes;
}

double
fmoe_epoch_operations(const FmoeConfig *config, const FmoeDataset *data)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	double		n_scored = config->loss == FMOE_LOSS_SOFTMAX ? data->n_items : config->negatives;
	double		each = class->multiplications != NULL ? class->multiplications(config, n_scored)
		: n_scored * config->width;

	/* one product forward and two backward, each a multiplication and an addition */
	return 6 * each * data->n_events;
}

/* ---------------------------------------------------------------- private memory */

/* Length of the vectors that states are scored against: the table of the first parameter, or what is computed. */
static double
vectors_width(const FmoeTrainer *trainer)
{
	if (fmoe_computes_items(trainer->class, &trainer->config) && trainer->class->vectors_width != NULL)
		return (double) trainer->class->vectors_width(&trainer->config);
	return (double) trainer->plan.params.list[0].cols;
}

/* Bytes of forward, loss and backward of the largest shard. */
static double
step_bytes(const FmoeTrainer *trainer)
{
	const FmoeTrainPlan *plan = &trainer->plan;
	const FmoeConfig *config = &trainer->config;
	double		tokens = plan->shard_tokens;
	double		width = vectors_width(trainer);
	/* target, row of the loss; the target's weight; whose a sequence is, and when it is asked */
	double		bytes = tokens * (fmoe_token_bytes(&trainer->data->events) + 2 * sizeof(int32_t) +
								  (trainer->data->events.weight != NULL ? sizeof(float) : 0) +
								  sizeof(int32_t) + sizeof(double)) +
		trainer->class->bytes(config, &plan->facts, FMOE_RECORDED, tokens, 0) *
		(trainer->data->events.basket != NULL ? FMOE_BASKETS_MORE : 1);
	double		loss;

	/* rows of hidden states in several forms; the tiles that the losses work in */
	if (config->loss == FMOE_LOSS_SOFTMAX)
		loss = fnn_softmax_loss_reals(plan->shard_tokens, trainer->data->n_items, (int64_t) width);
	else
		loss = LOSS_ROWS * (3 * width + LOSS_ROWS) + 2 * width * plan->negatives;
	return bytes + loss * sizeof(fnn_real) + (trainer->federated != NULL ? fmoe_round_bytes(trainer) : 0);
}

/* Bytes of item vectors that are computed; 0: they are parameters. */
static double
computed_bytes(const FmoeTrainer *trainer)
{
	if (!fmoe_computes_items(trainer->class, &trainer->config))
		return 0;
	return (double) trainer->data->n_items * vectors_width(trainer) * sizeof(fnn_real);
}

/* Bytes while a block of at most so many cases is ranked. */
static double
ranking_bytes(const FmoeTrainer *trainer, double cases_max)
{
	const FmoeTrainPlan *plan = &trainer->plan;

	return computed_bytes(trainer) +
		fmoe_case_block_bytes(trainer->class, &trainer->config, &plan->facts, &trainer->data->events,
								  fmin(plan->n_cases, cases_max), plan->longest + 1);
}

/* Bytes of the finished model, and of the one on which weights of the blend are tried. */
static double
model_bytes(const FmoeTrainer *trainer)
{
	double		trial = 0;

	if (trainer->config.blend < 0 && !fmoe_by_clicks(trainer->class))
		trial = sizeof(FmoeModel) + trainer->plan.n_cases * (double) fmoe_case_bytes(trainer->data) +
			trainer->plan.n_answers * (double) (sizeof(int64_t) + sizeof(int32_t)) +
			ranking_bytes(trainer, FMOE_CASE_BLOCK_MAX);
	if (fmoe_is_gated(trainer->class, &trainer->config))
		trial += fmoe_gate_bytes(&trainer->config, trainer->data->n_items, trainer->plan.n_cases) +
			trainer->data->n_items *
			((double) trainer->plan.params.list[0].cols + FMOE_GATE_COLUMNS) * sizeof(fnn_real);
	else
		trial += computed_bytes(trainer);
	if (trainer->plan.attempts > 1)
		trial = fmax(trial, fmoe_attempt_bytes(&trainer->plan) + ranking_bytes(trainer, FMOE_VALIDATION_BLOCK));
	return trial + fmoe_learned_reals(&trainer->plan) * (double) sizeof(fnn_real) +
		fmoe_counts_bytes(&trainer->config, trainer->data) + trainer->plan.basket_bytes;
}

size_t
fmoe_trainer_private_bytes(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeTrainer *trainer = planned_trainer(arena, config, data);
	const FmoeTrainPlan *plan = &trainer->plan;
	double		lists = plan->n_sequences * (fmoe_weighs_sequences(trainer) ? 3.0 : 2.0) * sizeof(int64_t) +
		plan->n_cases * (double) fmoe_case_bytes(data) + fmoe_impressions_bytes(plan->n_windows, plan->n_impressions) +
		plan->seen_most * (double) sizeof(int32_t) +
		(plan->n_answers + (double) data->n_items) * sizeof(int64_t) +
		(plan->cases_limit < data->n_users ? data->n_users : 0);
	double		most = step_bytes(trainer);

	if (most < ranking_bytes(trainer, FMOE_VALIDATION_BLOCK))
		most = ranking_bytes(trainer, FMOE_VALIDATION_BLOCK);
	most = fmax(most, trainer->class->bytes(config, &plan->facts, FMOE_SETTLING, 0, plan->n_cases));
	if (most < model_bytes(trainer))
		most = model_bytes(trainer);
	if (fmoe_prepares(trainer->class, config))
		most += trainer->class->bytes(config, &plan->facts, FMOE_PREPARED, 0, 0);
	/* counts that the training reads stay all the time */
	if (fmoe_needs_counts(trainer))
		most += fmoe_counts_bytes(config, data) + plan->basket_bytes;
	fnn_arena_reset(arena, mark);
	return (size_t) fmin(sizeof(FmoeTrainer) + lists + most, (double) (SIZE_MAX / 2));
}

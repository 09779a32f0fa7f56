/*
 * step.c
 *	  One optimiser step by a team of processes.
 *
 * The batch follows from seed, epoch and number, so it is the same for all members.
 * It is cut into FMOE_SHARDS shards, which are groups of sequences.
 *
 *		items		where vectors of all items are computed, members take one part of
 *					them after another (step_items.c)
 *		--- barrier, if so
 *		compute		members take one shard s after another and run it forward and
 *					backward, into gradient slot s, with random streams named by
 *					(step, s)
 *		--- barrier
 *		items		each member takes the gradients of its parts further, into the
 *					slots of their numbers
 *		--- barrier, if so
 *		reduce		each member sums the slots over its range of the parameter
 *					block, in slot order; the leader sums the sparse slots of
 *					the item table, in slot order
 *		--- barrier, if clipping needs the norm or rows of the table are to be shared out
 *		update		each member moves its range of the block and its part of the
 *					touched rows, and clears its range of the slots
 *		--- barrier
 *
 * With a softmax loss over one table, its part of the slots, which is most of them,
 * is not cleared: the loss overwrites it.
 *
 * No sum depends on how many members there are, so neither do the weights.
 */
#include "model/data/stream.h"
#include "model/train/train_private.h"

#include <math.h>
#include <string.h>

#define GROUP_CHUNKS 64			/* chunks of the block between polls: a million reals */
#define GROUP_ROWS 65536

/* ---------------------------------------------------------------- a member's parts */

/* Reals at the head of a slot, the item table's, that a shard's loss overwrites, so that nothing need clear them. */
static size_t
overwritten(const FmoeTrainer *trainer)
{
	const FmoeTrainPlan *plan = &trainer->plan;

	/* without these hooks all that is learned is the softmax loss over the whole first slice */
	if (plan->params.list[0].sparse || trainer->config.loss != FMOE_LOSS_SOFTMAX ||
		(trainer->class->learn != NULL && fmoe_learns(trainer->class, &trainer->config)) ||
		fmoe_computes_items(trainer->class, &trainer->config))
		return 0;
	return (size_t) (plan->params.list[0].rows * plan->params.list[0].cols);
}

/* Sets this member's range of the dense reals, from .. to - 1, in whole chunks. */
static void
own_range(const FmoeTrainer *trainer, const FmoeTeam *team, size_t *from, size_t *to)
{
	const FmoeTrainPlan *plan = &trainer->plan;
	size_t		first = plan->dense_from / FNN_REDUCE_CHUNK;
	size_t		n = plan->chunks - first;

	*from = (first + n * team->rank / team->size) * FNN_REDUCE_CHUNK;
	*to = (first + n * (team->rank + 1) / team->size) * FNN_REDUCE_CHUNK;
	if (*to > plan->params.size)
		*to = plan->params.size;
	if (*from > *to)
		*from = *to;
}

/* The end of a group of chunks that begins at from. */
static size_t
group_end(size_t from, size_t to)
{
	size_t		group = (size_t) GROUP_CHUNKS * FNN_REDUCE_CHUNK;

	return to - from < group ? to : from + group;
}

static void
clear_slots(FmoeTrainer *trainer, size_t from, size_t to)
{
	size_t		first = overwritten(trainer);
	int			s;

	if (from < first)
		from = first;
	for (s = 0; s < FMOE_SHARDS && from < to; s++)
		memset(trainer->slot[s] + from, 0, (to - from) * sizeof(fnn_real));
}

void
fmoe_step_prepare(FmoeTrainer *trainer, const FmoeTeam *team)
{
	size_t		from;
	size_t		to;
	int			s;

	fmoe_claim_anew(trainer, team);
	own_range(trainer, team, &from, &to);
	while (from < to)
	{
		size_t		end = group_end(from, to);

		clear_slots(trainer, from, end);
		from = end;
		fnn_poll(trainer->host);
	}
	for (int n = 0; n < trainer->plan.n_sparse; n++)
		for (s = team->rank; s <= FMOE_SHARDS; s += team->size)
		{
			FnnSparse  *sparse = &trainer->sparse[n].shard[s];

			fnn_sparse_init(sparse, trainer->sparse[n].memory[s], sparse->rows, sparse->cols, sparse->capacity);
			trainer->sparse[n].count[s] = 0;
			fnn_poll(trainer->host);
		}
}

void
fmoe_step_cut(FmoeTrainer *trainer, int64_t batch_number, FmoeTrainBatch *batch)
{
	const FmoeTrainPlan *plan = &trainer->plan;
	const FmoeConfig *config = &trainer->config;
	int64_t		seen = 0;
	int64_t		i;
	int			s = 0;

	batch->first = batch_number * config->batch_size;
	batch->count = plan->n_sequences - batch->first < config->batch_size
		? plan->n_sequences - batch->first : config->batch_size;
	batch->positions = 0;
	batch->weight = 0;
	for (i = 0; i < batch->count; i++)
	{
		int64_t		sequence = trainer->order[batch->first + i];

		batch->positions += fmoe_sequence_tokens(config, trainer->data, trainer->user[sequence]);
		if (trainer->weight != NULL)
			batch->weight += trainer->weight[sequence];
	}
	if (trainer->weight == NULL)
		batch->weight = (double) batch->positions;

	/* shard s begins with the first sequence that has s quarters of the tokens before it */
	for (i = 0; i < batch->count; i++)
	{
		while (s < FMOE_SHARDS && seen * FMOE_SHARDS >= batch->positions * s)
			batch->cut[s++] = i;
		seen += fmoe_sequence_tokens(config, trainer->data, trainer->user[trainer->order[batch->first + i]]);
	}
	while (s <= FMOE_SHARDS)
		batch->cut[s++] = batch->count;
}

/* ---------------------------------------------------------------- compute */

/* What the tokens of a batch are each followed by. */
typedef struct Targets
{
	int32_t    *item;			/* [n_tokens] -1: nothing that counts */
	float	   *weight;			/* [n_tokens] NULL: all count 1 */
} Targets;

static void
set_target(const Targets *targets, int64_t token, const FmoeEvents *events, int64_t event)
{
	double		weight = fmoe_target_weight(events, event);

	targets->item[token] = weight > 0 ? events->item[event] : -1;
	if (targets->weight != NULL)
		targets->weight[token] = (float) weight;
}

/* The events first .. end - 1 that count, on the arena; where none does, the first. */
static int64_t *
counting_events(FnnArena *arena, const FmoeEvents *events, int64_t first, int64_t end, int64_t *n)
{
	int64_t    *event = fnn_alloc(arena, sizeof(int64_t) * (size_t) (end - first));

	*n = 0;
	event[0] = first;
	for (int64_t i = first; i < end; i++)
		if (fmoe_target_weight(events, i) > 0)
			event[(*n)++] = i;
	*n += *n == 0;
	return event;
}

/*
 * A basket's tokens, from first on, are each to be continued with an item of the
 * basket that follows, events next .. next + size - 1: each with another one of
 * those that count as far as there are, beginning with one that is drawn, so that
 * every item of a large basket has its turn.
 */
static void
basket_targets(FnnArena *arena, const FmoeTrainer *trainer, uint64_t stream, int32_t first, int32_t n_tokens,
			   int64_t next, int64_t size, const Targets *targets)
{
	const FmoeEvents *events = &trainer->data->events;
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t    *counting = events->weight != NULL ? counting_events(arena, events, next, next + size, &size) : NULL;
	int64_t		drawn = (int64_t) fnn_random_below((uint64_t) trainer->config.seed,
												   fmoe_stream(FMOE_STREAM_TARGETS, stream), first, (uint64_t) size);

	for (int32_t k = 0; k < n_tokens; k++)
	{
		int64_t		i = (drawn + k) % size;

		set_target(targets, first + k, events, counting != NULL ? counting[i] : next + i);
	}
	fnn_arena_reset(arena, mark);
}

/* The same for all tokens of the batch, from the last basket of each sequence back. */
static void
targets_of_baskets(FnnArena *arena, const FmoeTrainer *trainer, const FmoeBatch *batch, const int64_t *end,
				   const int64_t *last_end, uint64_t stream, const Targets *targets)
{
	const FmoeEvents *events = &batch->events;

	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int64_t		next = end[s];
		int64_t		size = last_end[s] - next;
		int64_t		first = batch->sequences.offset[s];
		int64_t		begin;

		for (int64_t behind = batch->sequences.offset[s + 1]; behind > first; behind = begin)
		{
			begin = fmoe_basket_begin(events, first, behind - 1);
			basket_targets(arena, trainer, stream, (int32_t) begin, (int32_t) (behind - begin), next, size, targets);
			size = behind - begin;
			next -= size;
		}
	}
}

/*
 * What each token of the batch is followed by.  Of sequence i, the inputs end at
 * end[i], and the basket behind them at last_end[i].
 */
static Targets
batch_targets(FnnArena *arena, const FmoeTrainer *trainer, const FmoeBatch *batch, const int64_t *end,
			  const int64_t *last_end, uint64_t stream)
{
	const FmoeEvents *events = &trainer->data->events;
	Targets		targets = {.item = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens)};

	if (events->weight != NULL)
		targets.weight = fnn_alloc(arena, sizeof(float) * (size_t) batch->n_tokens);
	if (events->basket != NULL)
	{
		targets_of_baskets(arena, trainer, batch, end, last_end, stream, &targets);
		return targets;
	}
	for (int32_t i = 0; i < batch->sequences.count; i++)
	{
		int32_t		first = batch->sequences.offset[i];
		int32_t		length = batch->sequences.offset[i + 1] - first;
		int64_t		from = end[i] - length + 1;

		if (events->weight == NULL)
			memcpy(targets.item + first, events->item + from, sizeof(int32_t) * length);
		for (int32_t k = 0; events->weight != NULL && k < length; k++)
			set_target(&targets, first + k, events, from + k);
	}
	return targets;
}

/* Puts the losses of a packed shard, and their gradients, on the tape. */
static void
add_losses(const FmoeTrainer *trainer, const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *packed,
		   const Targets *targets, const FmoeTrainBatch *batch, uint64_t stream, double losses[FMOE_LOSSES_MAX])
{
	const FmoeTrainPlan *plan = &trainer->plan;
	FmoeGoal	goal = {
		.target = targets->item,
		.target_weight = targets->weight,
		.weight = 1.0 / batch->weight,
		.position_weight = 1.0 / batch->positions,
		.sequence_weight = 1.0 / batch->count,
		.step = batch->step,
		.seed = (uint64_t) trainer->config.seed,
		.stream = stream,
		.beta = plan->beta
	};

	if (trainer->config.loss == FMOE_LOSS_GBCE)
	{
		int32_t    *negative = fnn_alloc(tape->arena, sizeof(int32_t) * plan->negatives);

		for (int32_t j = 0; j < plan->negatives; j++)
			negative[j] = (int32_t) fnn_random_below(goal.seed, fmoe_stream(FMOE_STREAM_NEGATIVES, stream), j,
													 trainer->data->n_items);
		goal.negative = negative;
		goal.n_negatives = plan->negatives;
	}
	if (expert->class->learn != NULL && fmoe_learns(expert->class, expert->config))
		expert->class->learn(expert, tape, packed, &goal);
	else
		fmoe_add_loss(tape, expert->class->encode(expert, tape, packed, FMOE_ALL_TOKENS),
					  fmoe_item_vectors(expert, tape), &goal, NULL);
	memcpy(losses, goal.loss, sizeof(goal.loss));
}

void
fmoe_step_losses(const FmoeTrainer *trainer, const FmoeExpert *expert, FnnTape *tape, int64_t n,
				 const int64_t *sequence, const FmoeTrainBatch *batch, uint64_t stream,
				 double losses[FMOE_LOSSES_MAX])
{
	FnnArena   *arena = tape->arena;
	const FmoeDataset *data = trainer->data;
	int64_t    *begin = fnn_alloc(arena, sizeof(int64_t) * n);
	int64_t    *end = fnn_alloc(arena, sizeof(int64_t) * n);
	int64_t    *last_end = fnn_alloc(arena, sizeof(int64_t) * n);
	bool		by_clicks = fmoe_by_clicks(trainer->class);
	double	   *now = fnn_alloc(arena, sizeof(double) * n);
	FmoeBatch  *packed;
	Targets		targets = {0};

	for (int64_t i = 0; i < n; i++)
	{
		int64_t		user = trainer->user[sequence[i]];

		begin[i] = data->offset[user];
		end[i] = fmoe_sequence_end(&trainer->config, data, user);
		last_end[i] = by_clicks ? end[i] : fmoe_basket_end(&data->events, end[i], data->offset[user + 1]);
		now[i] = data->events.time != NULL ? data->events.time[by_clicks ? end[i] - 1 : end[i]] : 0;
	}
	packed = fmoe_batch(arena, &data->events, n, begin, end, trainer->config.max_length);
	if (trainer->class->draws_baskets != NULL && trainer->class->draws_baskets(&trainer->config))
		fmoe_batch_draw(arena, packed, (uint64_t) trainer->config.seed, stream);
	fmoe_batch_users(arena, packed, data, begin);
	packed->now = data->events.time != NULL ? now : NULL;
	if (!by_clicks)
		targets = batch_targets(arena, trainer, packed, end, last_end, stream);
	add_losses(trainer, expert, tape, packed, &targets, batch, stream, losses);
}

static void
compute_shard(FmoeTrainer *trainer, const FmoeTrainBatch *batch, int s)
{
	FnnArena   *arena = trainer->arena;
	FmoeExpert *expert = &trainer->expert;
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		n = batch->cut[s + 1] - batch->cut[s];
	uint64_t	stream = (uint64_t) batch->step * FMOE_SHARDS + s;
	double	   *losses = trainer->shard_losses + s * FMOE_LOSSES_MAX;
	FnnTape		tape;

	for (int k = 0; k < trainer->plan.n_sparse; k++)
	{
		FmoeSparseSlice *slice = &trainer->sparse[k];

		/* the view is private, and another member may have had this shard in the last step */
		slice->shard[s].count = slice->count[s];
		fnn_sparse_clear(&slice->shard[s]);
		trainer->bound[slice->param] = &slice->shard[s];
	}
	fnn_params_bind(expert->params, expert->tensor, trainer->values, trainer->slot[s], trainer->bound);
	expert->tensor[0].fresh = overwritten(trainer) > 0;

	fnn_tape_begin(&tape, arena, true, (uint64_t) trainer->config.seed, fmoe_stream(FMOE_STREAM_DROPOUT, stream));
	if (trainer->plan.step_width > 0)
		expert->step_items = fmoe_step_items_leaf(trainer, &tape, s);
	if (n > 0)
	{
		fmoe_step_losses(trainer, &trainer->expert, &tape, n, trainer->order + batch->first + batch->cut[s], batch,
						 stream, losses);
		fnn_tape_backward(&tape);
	}
	else
		memset(losses, 0, sizeof(double) * FMOE_LOSSES_MAX);
	expert->step_items = NULL;
	/* no sequence, or no target that counts: no loss has overwritten it */
	if (expert->tensor[0].fresh && expert->tensor[0].grad != NULL)
		memset(expert->tensor[0].grad, 0, overwritten(trainer) * sizeof(fnn_real));
	trainer->shard_loss[s] = tape.loss;
	for (int k = 0; k < trainer->plan.n_sparse; k++)
		trainer->sparse[k].count[s] = trainer->sparse[k].shard[s].count;
	fnn_arena_reset(arena, mark);
}

/* ---------------------------------------------------------------- reduce */

/* Sums the shards' rows of a sparse slice, in shard order, into the last view; returns the sum of squares. */
static double
merge_sparse(const FmoeTrainer *trainer, FmoeSparseSlice *slice)
{
	FnnSparse  *total = &slice->shard[FMOE_SHARDS];
	FnnTensor	table = {.rows = total->rows, .cols = total->cols, .sparse = total};
	double		squares = 0;
	int64_t		cols = total->cols;

	fnn_sparse_clear(total);
	for (int s = 0; s < FMOE_SHARDS; s++)
	{
		const FnnSparse *sparse = &slice->shard[s];

		for (int64_t i = 0; i < slice->count[s]; i++)
		{
			fnn_real   *sum = fnn_grad_row(trainer->host, &table, sparse->touched[i]);
			const fnn_real *grad = sparse->grad + i * cols;

			for (int64_t c = 0; c < cols; c++)
				sum[c] += grad[c];
		}
		fnn_poll(trainer->host);
	}
	for (int64_t i = 0; i < total->count * cols; i++)
		squares += (double) total->grad[i] * total->grad[i];
	slice->count[FMOE_SHARDS] = total->count;
	return squares;
}

static void
reduce(FmoeTrainer *trainer, const FmoeTeam *team)
{
	size_t		from;
	size_t		to;

	own_range(trainer, team, &from, &to);
	while (from < to)
	{
		size_t		end = group_end(from, to);

		fnn_reduce(trainer->slot, FMOE_SHARDS, from, end, trainer->chunk_squares);
		from = end;
		fnn_poll(trainer->host);
	}
	if (team->rank == 0)
	{
		double		squares = 0;

		for (int k = 0; k < trainer->plan.n_sparse; k++)
			squares += merge_sparse(trainer, &trainer->sparse[k]);
		*trainer->sparse_squares = squares;
	}
	if (trainer->plan.n_sparse > 0 || trainer->config.clip_norm > 0)
		fmoe_barrier(team);
}

/* ---------------------------------------------------------------- update */

/* The factor that makes the norm of the gradient at most clip_norm. */
static double
clip_scale(const FmoeTrainer *trainer)
{
	const FmoeTrainPlan *plan = &trainer->plan;
	double		squares = *trainer->sparse_squares;
	double		norm;
	size_t		chunk;

	if (trainer->config.clip_norm <= 0)
		return 1;
	for (chunk = plan->dense_from / FNN_REDUCE_CHUNK; chunk < plan->chunks; chunk++)
		squares += trainer->chunk_squares[chunk];
	norm = sqrt(squares);
	return norm > trainer->config.clip_norm ? trainer->config.clip_norm / norm : 1;
}

/* Updates this member's part of the touched rows of a sparse slice. */
static void
update_sparse(FmoeTrainer *trainer, const FmoeTeam *team, const FmoeTrainBatch *batch, const FnnAdamW *adamw,
			  double scale, FmoeSparseSlice *slice)
{
	FnnSparse	total = slice->shard[FMOE_SHARDS];
	int64_t		row;
	int64_t		last;

	total.count = slice->count[FMOE_SHARDS];
	row = total.count * team->rank / team->size;
	last = total.count * (team->rank + 1) / team->size;
	while (row < last)
	{
		int64_t		end = last - row < GROUP_ROWS ? last : row + GROUP_ROWS;

		fnn_adamw_sparse(adamw, &trainer->plan.params.list[slice->param], batch->step, scale, &total, row, end,
						 trainer->values, trainer->moment1, trainer->moment2, slice->last_step);
		row = end;
		fnn_poll(trainer->host);
	}
}

static void
update(FmoeTrainer *trainer, const FmoeTeam *team, const FmoeTrainBatch *batch)
{
	const FnnParams *params = &trainer->plan.params;
	FnnAdamW	adamw = {batch->learning_rate, FMOE_BETA1, FMOE_BETA2, FMOE_EPSILON, trainer->config.weight_decay};
	double		scale = clip_scale(trainer);
	size_t		from;
	size_t		to;

	own_range(trainer, team, &from, &to);
	while (from < to)
	{
		size_t		end = group_end(from, to);

		fnn_adamw(&adamw, params, batch->step, scale, from, end, trainer->values, trainer->slot[0],
				  trainer->moment1, trainer->moment2);
		clear_slots(trainer, from, end);
		from = end;
		fnn_poll(trainer->host);
	}
	for (int k = 0; k < trainer->plan.n_sparse; k++)
		update_sparse(trainer, team, batch, &adamw, scale, &trainer->sparse[k]);
}

double
fmoe_step_run(FmoeTrainer *trainer, const FmoeTeam *team, const FmoeTrainBatch *batch,
			  double losses[FMOE_LOSSES_MAX])
{
	bool		items = trainer->plan.step_width > 0;
	FmoeStepVectors vectors;
	double		loss = 0;
	int			s;

	if (items)
	{
		fmoe_step_items_forward(trainer, batch, &vectors);
		fmoe_barrier(team);
	}
	while ((s = (int) fmoe_claim(trainer)) < FMOE_SHARDS)
		compute_shard(trainer, batch, s);
	fmoe_barrier(team);
	fmoe_claim_anew(trainer, team);

	for (s = 0; s < FMOE_SHARDS; s++)
		loss += trainer->shard_loss[s];
	for (int k = 0; k < FMOE_SHARDS * FMOE_LOSSES_MAX; k++)
		losses[k % FMOE_LOSSES_MAX] += trainer->shard_losses[k] * batch->weight;
	if (!isfinite(loss))
		fnn_fail(trainer->host, FNN_NONFINITE, "training diverged at step %lld: the loss is not a finite number",
				 (long long) batch->step);
	if (items)
	{
		fmoe_step_items_backward(trainer, &vectors);
		fmoe_barrier(team);
	}
	reduce(trainer, team);
	update(trainer, team, batch);
	fmoe_barrier(team);
	return loss;
}

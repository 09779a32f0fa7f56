/*
 * step_items.c
 *	  The item vectors of a step, where a class computes those of all items in each
 *	  one: once for all shards, in FMOE_SHARDS parts of the items.
 *
 * Part s belongs to slot s: whichever member computes it, its parameters' gradients
 * come behind those of shard s, and its vectors' are the sum of the shards' in their
 * order.  So no sum depends on how many members there are.
 *
 * A member keeps what it recorded of its parts on the arena, from the forward to the
 * backward.
 */
#include "model/data/stream.h"
#include "model/train/train_private.h"

#include <string.h>

#define GROUP_REALS 1048576		/* between polls */

/* The first item of a part. */
static int64_t
part_begin(const FmoeTrainer *trainer, int64_t part)
{
	return (int64_t) trainer->data->n_items * part / FMOE_SHARDS;
}

static void
bind(FmoeTrainer *trainer, int part)
{
	fnn_params_bind(trainer->expert.params, trainer->expert.tensor, trainer->values, trainer->slot[part], NULL);
}

void
fmoe_step_items_forward(FmoeTrainer *trainer, const FmoeTrainBatch *batch, FmoeStepVectors *vectors)
{
	int64_t		width = trainer->plan.step_width;
	FmoeGoal	goal = {
		.step = batch->step,
		.seed = (uint64_t) trainer->config.seed,
		.stream = (uint64_t) batch->step * FMOE_SHARDS
	};
	int64_t		s;

	vectors->mark = fnn_arena_mark(trainer->arena);
	memset(vectors->part, 0, sizeof(vectors->part));
	while ((s = __atomic_fetch_add(trainer->claimed_parts, 1, __ATOMIC_RELAXED)) < FMOE_SHARDS)
	{
		int64_t		first = part_begin(trainer, s);
		int64_t		n = part_begin(trainer, s + 1) - first;
		FnnTape    *tape = &vectors->tape[s];

		if (n == 0)
			continue;
		bind(trainer, (int) s);
		fnn_tape_begin(tape, trainer->arena, true, goal.seed,
					   fmoe_stream(FMOE_STREAM_ITEMS, goal.stream + (uint64_t) s));
		vectors->part[s] = trainer->class->step_items(&trainer->expert, tape, first, n, &goal);
		memcpy(trainer->step_items + first * width, vectors->part[s]->value, sizeof(fnn_real) * (size_t) (n * width));
	}
}

FnnTensor *
fmoe_step_items_leaf(FmoeTrainer *trainer, FnnTape *tape, int shard)
{
	int64_t		n = trainer->data->n_items;
	FnnTensor  *leaf = fnn_constant(tape, n, trainer->plan.step_width, trainer->step_items);

	leaf->grad = trainer->step_grad[shard];
	memset(leaf->grad, 0, sizeof(fnn_real) * (size_t) (n * trainer->plan.step_width));
	return leaf;
}

/* to[n] = the sum of the shards' gradients from a real on, in the order of the shards. */
static void
sum_shards(const FmoeTrainer *trainer, int64_t from, int64_t n, fnn_real *to)
{
	for (int64_t first = 0; first < n; first += GROUP_REALS)
	{
		int64_t		count = n - first < GROUP_REALS ? n - first : GROUP_REALS;

		memcpy(to + first, trainer->step_grad[0] + from + first, sizeof(fnn_real) * (size_t) count);
		for (int s = 1; s < FMOE_SHARDS; s++)
			fnn_add_scaled(count, 1, trainer->step_grad[s] + from + first, to + first);
		fnn_poll(trainer->host);
	}
}

void
fmoe_step_items_backward(FmoeTrainer *trainer, FmoeStepVectors *vectors)
{
	int64_t		width = trainer->plan.step_width;

	for (int s = 0; s < FMOE_SHARDS; s++)
	{
		FnnTensor  *part = vectors->part[s];

		if (part == NULL || part->grad == NULL)
			continue;
		bind(trainer, s);
		sum_shards(trainer, part_begin(trainer, s) * width, part->rows * width, part->grad);
		fnn_tape_backward(&vectors->tape[s]);
	}
	fnn_arena_reset(trainer->arena, vectors->mark);
}

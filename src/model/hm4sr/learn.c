/*
 * learn.c
 *	  The losses of hm4sr.
 *
 *	  items	of the states against item vectors, at every position
 *	  idcl	in-batch contrast of id states with the ids that followed, temperature 0.2
 *	  cp	binary cross-entropy of the categories of every item read, told from its vectors
 *	  pcl	in-batch contrast, temperature 1, of a history's states with those of the history
 *			with 3 of 10 events hidden, in every stream but that of ids
 *
 * Both contrasts are of the last basket of a history, once: the paper makes every
 * beginning of a history one of its own.  Their batch is the shard that computes
 * them; in it, other histories that go on with the same item have logit 0.
 */
#include "model/data/stream.h"
#include "model/hm4sr/hm4sr.h"

#include <string.h>

#define IDCL_TEMPERATURE 0.2
#define PCL_TEMPERATURE 1.0
#define HIDDEN_TENTHS 3

/* What a shard learns with. */
typedef struct Learning
{
	const FmoeExpert *expert;
	const FmoeHm4srLayout *layout;
	FnnTape    *tape;
	const FmoeBatch *batch;
	FmoeGoal   *goal;
	FnnTensor  *table;			/* vectors of items */
	const int32_t *row;			/* [n_tokens] of each token's item */
	const int32_t *target;		/* [n_tokens] of what should follow; -1: nothing that counts */
	const int32_t *negative;	/* of gbce */
	const int32_t *item;		/* [rows of table] the items; NULL: the row's number */
} Learning;

/* ---------------------------------------------------------------- items */

FnnTensor *
fmoe_hm4sr_step_items(const FmoeExpert *expert, FnnTape *tape, int64_t first, int64_t n, const FmoeGoal *goal)
{
	return fmoe_hm4sr_vectors(expert, tape, n, fmoe_step_range(tape->arena, first, n, goal).item, true);
}

/* Vectors of all items, or with gbce of those that the shard has, its targets and negatives. */
static void
make_table(Learning *learning)
{
	const FmoeGoal *goal = learning->goal;
	FnnArena   *arena = learning->tape->arena;
	int64_t		tokens = learning->batch->n_tokens;
	int64_t		n = 2 * tokens + goal->n_negatives;
	int32_t    *item;
	int32_t    *row;
	int32_t    *distinct;

	if (goal->n_negatives == 0)
	{
		learning->table = learning->expert->step_items;
		if (learning->table == NULL)
			learning->table = fmoe_hm4sr_vectors(learning->expert, learning->tape, learning->expert->n_items, NULL,
												 true);
		learning->row = learning->batch->events.item;
		learning->target = goal->target;
		return;
	}
	item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	row = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	memcpy(item, learning->batch->events.item, sizeof(int32_t) * (size_t) tokens);
	/* where there is no target, an item that is there anyway */
	for (int64_t t = 0; t < tokens; t++)
		item[tokens + t] = goal->target[t] >= 0 ? goal->target[t] : item[t];
	memcpy(item + 2 * tokens, goal->negative, sizeof(int32_t) * (size_t) goal->n_negatives);
	n = fmoe_number_items(arena, n, item, learning->expert->n_items, distinct, row);
	for (int64_t t = 0; t < tokens; t++)
		if (goal->target[t] < 0)
			row[tokens + t] = -1;
	learning->table = fmoe_hm4sr_vectors(learning->expert, learning->tape, n, distinct, true);
	learning->row = row;
	learning->target = row + tokens;
	learning->negative = row + 2 * tokens;
	learning->item = distinct;
}

static void
add_items(const Learning *learning, FnnTensor *states)
{
	FmoeGoal	goal = *learning->goal;

	goal.target = learning->target;
	goal.negative = learning->negative;
	fmoe_add_loss(learning->tape, states, learning->table, &goal, NULL);
}

/* ---------------------------------------------------------------- contrasts */

/* Sequences whose last basket is followed by something that counts. */
typedef struct Ends
{
	int64_t		n;
	int32_t    *sequence;		/* [n] */
	int32_t    *token;			/* [n] the last one */
	int32_t    *target;			/* [n] */
} Ends;

static Ends
find_ends(const Learning *learning)
{
	const FmoeBatch *batch = learning->batch;
	FnnArena   *arena = learning->tape->arena;
	size_t		bytes = sizeof(int32_t) * (size_t) batch->sequences.count;
	Ends		ends = {.sequence = fnn_alloc(arena, bytes)};

	ends.token = fnn_alloc(arena, bytes);
	ends.target = fnn_alloc(arena, bytes);
	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int32_t		last = batch->last[s];

		if (last < 0 || learning->target[last] < 0)
			continue;
		ends.sequence[ends.n] = s;
		ends.token[ends.n] = last;
		ends.target[ends.n++] = learning->target[last];
	}
	return ends;
}

static void
add_idcl(const Learning *learning, const Ends *ends, FnnTensor *states, double weight)
{
	FnnTape    *tape = learning->tape;
	int64_t		width = learning->layout->width;
	FnnTensor  *state = fnn_rows(tape, states, ends->token, ends->n);
	FnnTensor  *ids = learning->table;

	if (learning->layout->streams > 1)
	{
		state = fnn_cut(tape, state, 0, width);
		ids = fnn_columns(tape, ids, 0, width);
	}
	ids = fnn_embed(tape, ids, ends->target, ends->n, 1, NULL, NULL);
	fnn_batch_contrast_loss(tape, state, ids, ends->target, NULL, IDCL_TEMPERATURE, FNN_SAME_ZERO, 0,
							weight * learning->goal->sequence_weight);
}

/* Draws tokens to hide, 3 of 10 of each sequence: from[n_tokens], the number of each among them, or -1. */
static int64_t
draw_hidden(const Learning *learning, int32_t *from, int32_t *hidden)
{
	const FmoeBatch *batch = learning->batch;
	uint64_t	stream = fmoe_stream(FMOE_STREAM_HIDDEN, learning->goal->stream);
	int64_t		n = 0;

	for (int32_t s = 0; s < batch->sequences.count; s++)
	{
		int32_t		first = batch->sequences.offset[s];
		int32_t		left = batch->sequences.offset[s + 1] - first;
		int32_t		wanted = left * HIDDEN_TENTHS / 10;

		/* each token in turn, as likely as so many of what is left are wanted */
		for (int32_t t = first; t < batch->sequences.offset[s + 1]; t++, left--)
		{
			bool		chosen = (int32_t) fnn_random_below(learning->goal->seed, stream, (uint64_t) t,
															(uint64_t) left) < wanted;

			from[t] = chosen ? (int32_t) n : -1;
			if (chosen)
				hidden[n++] = t;
			wanted -= chosen;
		}
	}
	return n;
}

/* A stream's rows with those that are hidden replaced by what stands for them. */
static FnnTensor *
hide(const Learning *learning, const FmoeHm4srMixed *mixed, int stream, int64_t n, const int32_t *hidden,
	 const int32_t *from)
{
	FnnTape    *tape = learning->tape;
	FnnTensor  *bias = fmoe_parameter(learning->expert, learning->layout->placeholder +
									  (stream - 1) * learning->layout->placeholder_slices);
	FnnTensor  *instead;

	if (mixed->time != NULL)
		instead = fnn_linear(tape, fnn_rows(tape, mixed->time, hidden, n), bias + 1, bias, FNN_IDENTITY);
	else
		instead = fnn_embed(tape, bias, fnn_zalloc(tape->arena, sizeof(int32_t) * (size_t) n), n, 1, NULL, NULL);
	return fnn_replace(tape, mixed->stream[stream], instead, from);
}

static void
add_pcl(const Learning *learning, const Ends *ends, const FmoeHm4srMixed *mixed, FnnTensor *states, double weight)
{
	const FmoeHm4srLayout *layout = learning->layout;
	FnnTape    *tape = learning->tape;
	size_t		bytes = sizeof(int32_t) * (size_t) learning->batch->n_tokens;
	int32_t    *from = fnn_alloc(tape->arena, bytes);
	int32_t    *hidden = fnn_alloc(tape->arena, bytes);
	int64_t		n = draw_hidden(learning, from, hidden);
	FnnTensor  *state = fnn_rows(tape, states, ends->token, ends->n);

	for (int s = 1; s < layout->streams; s++)
	{
		FnnTensor  *x = hide(learning, mixed, s, n, hidden, from);
		FnnTensor  *other = fmoe_hm4sr_tower(learning->expert, layout, tape, s, x, learning->batch, FMOE_LAST_TOKENS);

		fnn_batch_contrast_loss(tape, fnn_cut(tape, state, s * layout->width, layout->width),
								fnn_rows(tape, other, ends->sequence, ends->n), ends->target, NULL, PCL_TEMPERATURE,
								FNN_SAME_ZERO, 0, weight * learning->goal->sequence_weight / (layout->streams - 1));
	}
}

/* ---------------------------------------------------------------- categories */

/* Classes begin behind those of the columns before: labels of each row of distinct items. */
typedef struct Labels
{
	int64_t    *offset;
	int32_t    *label;
} Labels;

static Labels
labels_of(FnnArena *arena, const FmoeFeatures *features, int64_t n, const int32_t *item)
{
	Labels		labels = {.offset = fnn_alloc(arena, sizeof(int64_t) * ((size_t) n + 1))};
	int64_t		count = 0;

	for (int pass = 0; pass < 2; pass++)
	{
		if (pass == 1)
			labels.label = fnn_alloc(arena, sizeof(int32_t) * (size_t) (count + 1));
		count = 0;
		for (int64_t i = 0; i < n; i++)
		{
			int32_t		before = 0;

			labels.offset[i] = count;
			for (int f = 0; f < features->count; f++)
			{
				const FmoeFeature *feature = &features->feature[f];

				if (feature->modality != FMOE_CATEGORY)
					continue;
				for (int64_t k = feature->offset[item[i]]; k < feature->offset[item[i] + 1]; k++, count++)
					if (pass == 1)
						labels.label[count] = before + feature->term[k];
				before += feature->width;
			}
		}
		labels.offset[n] = count;
	}
	return labels;
}

/* Items that are read more than once count as often. */
static void
add_categories(const Learning *learning, double weight)
{
	FnnTape    *tape = learning->tape;
	const FmoeExpert *expert = learning->expert;
	int64_t		tokens = learning->batch->n_tokens;
	FnnTensor  *map = fmoe_parameter(expert, learning->layout->category);
	int32_t    *row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) tokens);
	int32_t    *distinct = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) tokens);
	int32_t		rows = (int32_t) learning->table->rows;
	int64_t		n = fmoe_number_items(tape->arena, tokens, learning->row, rows, distinct, row);
	float	   *times = fnn_zalloc(tape->arena, sizeof(float) * (size_t) n);
	int32_t    *number = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	int32_t    *item = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
	Labels		labels;

	for (int64_t t = 0; t < tokens; t++)
		times[row[t]]++;
	for (int64_t i = 0; i < n; i++)
	{
		number[i] = (int32_t) i;
		item[i] = learning->item != NULL ? learning->item[distinct[i]] : distinct[i];
	}
	labels = labels_of(tape->arena, expert->features, n, item);
	fnn_multi_hot_loss(tape, fnn_embed(tape, learning->table, distinct, n, 1, NULL, NULL), map, map + 1, labels.offset,
					   labels.label, number, times, weight * learning->goal->position_weight / (double) map->rows);
}

/* ---------------------------------------------------------------- all of them */

void
fmoe_hm4sr_learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(expert->config);
	FmoeHm4srLayout layout;
	FmoeHm4srMixed mixed;
	Learning	learning = {expert, &layout, tape, batch, goal};
	FnnTensor  *states;
	Ends		ends;

	fmoe_hm4sr_layout(expert->config, expert->params, &layout);
	make_table(&learning);
	ends = find_ends(&learning);
	fmoe_hm4sr_mix(expert, &layout, tape, learning.table, learning.row, batch, &mixed);
	states = fmoe_hm4sr_states(expert, &layout, tape, &mixed, batch, FMOE_ALL_TOKENS);
	add_items(&learning, fmoe_hm4sr_asked(expert, &layout, tape, states, batch, FMOE_ALL_TOKENS));
	fmoe_goal_loss(goal, tape, FMOE_HM4SR_ITEMS);
	if (own->idcl > 0 && ends.n > 0)
		add_idcl(&learning, &ends, states, own->idcl);
	fmoe_goal_loss(goal, tape, FMOE_HM4SR_IDCL);
	if (layout.category >= 0)
		add_categories(&learning, own->cp);
	fmoe_goal_loss(goal, tape, FMOE_HM4SR_CP);
	if (layout.placeholder >= 0 && ends.n > 0)
		add_pcl(&learning, &ends, &mixed, states, own->pcl);
	fmoe_goal_loss(goal, tape, FMOE_HM4SR_PCL);
}

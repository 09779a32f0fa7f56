/*
 * base.c
 *	  Parameters, item vectors and batches of a base.
 */
#include "model/xcross/base.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SASREC 0				/* row of fmoe_encoders */
#define ROWS_AT_ONCE 4096

/* ---------------------------------------------------------------- parameters */

FmoeShape
fmoe_base_shape(const FmoeConfig *config)
{
	return fmoe_shape_of(config, SASREC);
}

void
fmoe_base_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeInputList *inputs)
{
	FmoeShape	shape = fmoe_base_shape(config);
	double		numbers = inputs->count > 0 ? (double) fmoe_inputs_width(inputs) : 0;

	fmoe_encoders[SASREC]->declare(to, &shape, config->max_length);
	for (int i = 0; i < inputs->count; i++)
	{
		char		name[FNN_NAME_MAX];

		/* by place: a column's name may be longer than a parameter's */
		snprintf(name, sizeof(name), "input.%d.weight", i);
		/* one map from all numbers end to end (Glorot & Bengio 2010, equation 16) */
		fmoe_declare_weight(to, FNN_ITEMS, name, config->width, inputs->input[i].width, FNN_INIT_UNIFORM,
							sqrt(6 / (config->width + numbers)));
	}
}

int
fmoe_base_slices(const FmoeConfig *config, const FmoeInputList *inputs)
{
	FmoeShape	shape = fmoe_base_shape(config);

	return fmoe_encoders[SASREC]->slices(&shape) + inputs->count;
}

FmoeBase
fmoe_base(const FmoeConfig *config, const FmoeInputList *inputs, FnnTensor *tensor)
{
	FmoeShape	shape = fmoe_base_shape(config);

	return (FmoeBase)
	{
		.encoding =
		{
			.encoder = fmoe_encoders[SASREC],
				.shape = shape,
				.dropout = config->dropout,
				.tensor = tensor
			},
			.inputs = inputs,
			.weight = tensor + fmoe_encoders[SASREC]->slices(&shape)
		};
}

/* ---------------------------------------------------------------- item vectors */

/* Rows of an input of items. */
typedef struct Rows
{
	const FnnHost *host;
	const FmoeInput *input;
	const FmoeFeatures *features;
	const int32_t *item;		/* NULL: 0 .. */
	const fnn_real *made;		/* [n_items, numbers], or NULL */
} Rows;

static void
make_rows(const void *context, int64_t first, int64_t n, fnn_real *x)
{
	const Rows *rows = context;
	int64_t		width = rows->input->width;

	if (rows->made == NULL)
		fmoe_input_rows(rows->host, rows->input, rows->features, rows->item != NULL ? rows->item + first : NULL,
						first, n, x);
	else if (rows->item == NULL)
		memcpy(x, rows->made + first * width, sizeof(fnn_real) * (size_t) (n * width));
	else
		for (int64_t i = 0; i < n; i++)
			memcpy(x + i * width, rows->made + rows->item[first + i] * width, sizeof(fnn_real) * (size_t) width);
}

FnnTensor *
fmoe_base_items(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item,
				double dropout)
{
	const FmoeBasePrepared *prepared = expert->prepared;
	int64_t		width = base->encoding.shape.width;
	fnn_real   *zeros = fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (n * width));
	FnnTensor  *vectors = fnn_constant(tape, n, width, zeros);

	for (int i = 0; i < base->inputs->count; i++)
	{
		const FmoeInput *input = &base->inputs->input[i];
		Rows	   *rows;
		FnnMaker	maker;

		/* zeros add nothing */
		if (fmoe_input_feature(input, expert->features) == NULL)
			continue;
		rows = fnn_alloc(tape->arena, sizeof(Rows));
		*rows = (Rows)
		{
			.host = tape->host, .input = input, .features = expert->features, .item = item,
				.made = prepared != NULL ? prepared->rows[i] : NULL
		};
		maker = (FnnMaker)
		{
			.width = input->width, .make = make_rows, .context = rows
		};
		vectors = fnn_project(tape, vectors, &maker, &base->weight[i], dropout);
	}
	return vectors;
}

FnnTensor *
fmoe_base_enter(const FmoeBase *base, FnnTape *tape, FnnTensor *table, const int32_t *row, const FmoeBatch *batch)
{
	FnnTensor  *x = base->encoding.encoder->enter(&base->encoding, tape, table, row,
												  sqrt(base->encoding.shape.width), batch);

	return fnn_dropout(tape, x, base->encoding.dropout);
}

FmoeBasePrepared *
fmoe_base_prepare(const FmoeExpert *expert, const FmoeInputList *inputs, FnnArena *arena, bool trained)
{
	FmoeBasePrepared *prepared = fnn_zalloc(arena, sizeof(FmoeBasePrepared));
	int64_t		n = expert->n_items;

	if (expert->config->loss != FMOE_LOSS_SOFTMAX)
		return prepared;
	if (!trained)
	{
		prepared->vectors = fnn_alloc_reals(arena, n, expert->config->width);
		prepared->made = fnn_zalloc(arena, sizeof(bool));
		return prepared;
	}
	for (int i = 0; i < inputs->count; i++)
	{
		const FmoeInput *input = &inputs->input[i];
		fnn_real   *rows = fnn_alloc_reals(arena, n, input->width);

		prepared->rows[i] = rows;
		for (int64_t first = 0; first < n; first += ROWS_AT_ONCE)
		{
			fnn_poll(fnn_arena_host(arena));
			fmoe_input_rows(fnn_arena_host(arena), input, expert->features, NULL, first,
							n - first < ROWS_AT_ONCE ? n - first : ROWS_AT_ONCE, rows + first * input->width);
		}
	}
	return prepared;
}

double
fmoe_base_prepared_bytes(const FmoeConfig *config, const FmoeInputList *inputs, double n_items)
{
	if (config->loss != FMOE_LOSS_SOFTMAX)
		return sizeof(FmoeBasePrepared);
	/* one or the other */
	return sizeof(FmoeBasePrepared) + sizeof(bool) +
		n_items * fmax((double) fmoe_inputs_width(inputs), config->width) * sizeof(fnn_real);
}

double
fmoe_base_items_bytes(const FmoeConfig *config, const FmoeInputList *inputs, double n, bool recorded)
{
	double		block = 0;

	for (int i = 0; i < inputs->count; i++)
		block = fmax(block, fnn_project_reals(inputs->input[i].width));
	return ((1 + inputs->count) * (recorded ? 2 : 1) * n * config->width + block) * sizeof(fnn_real) +
		FMOE_INPUTS_MAX * sizeof(Rows);
}

/* ---------------------------------------------------------------- batches */

FmoeBaseItems
fmoe_base_choose(FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal, int32_t n_items)
{
	FnnArena   *arena = tape->arena;
	int64_t		tokens = batch->n_tokens;
	int64_t		n = 2 * tokens + goal->n_negatives;
	FmoeBaseItems chosen = {.n = n_items, .row = batch->events.item, .goal = *goal};
	int32_t    *item;
	int32_t    *row;
	int32_t    *distinct;
	int32_t    *target;

	if (goal->n_negatives == 0)
		return chosen;
	item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	row = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	target = row + tokens;
	memcpy(item, batch->events.item, sizeof(int32_t) * (size_t) tokens);
	/* where there is no target, an item that is there anyway */
	for (int64_t t = 0; t < tokens; t++)
		item[tokens + t] = goal->target[t] >= 0 ? goal->target[t] : item[t];
	memcpy(item + 2 * tokens, goal->negative, sizeof(int32_t) * (size_t) goal->n_negatives);
	chosen.n = fmoe_number_items(arena, n, item, n_items, distinct, row);
	for (int64_t t = 0; t < tokens; t++)
		if (goal->target[t] < 0)
			target[t] = -1;
	chosen.item = distinct;
	chosen.row = row;
	chosen.goal.target = target;
	chosen.goal.negative = row + 2 * tokens;
	return chosen;
}

FmoeBaseItems
fmoe_base_known(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch)
{
	FmoeBaseItems known = {.table = (FnnTensor *) expert->items, .n = expert->n_items, .row = batch->events.item};
	int32_t    *row;

	if (known.table != NULL)
		return known;
	row = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) batch->n_tokens);
	for (int64_t t = 0; t < batch->n_tokens; t++)
		row[t] = (int32_t) t;
	known.n = batch->n_tokens;
	known.item = batch->events.item;
	known.row = row;
	known.table = fmoe_base_items(base, expert, tape, known.n, known.item, 0);
	return known;
}

FnnTensor *
fmoe_base_chosen_items(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape, const FmoeBaseItems *chosen,
					   double dropout)
{
	const FmoeBasePrepared *prepared = expert->prepared;
	int64_t		width = base->encoding.shape.width;

	if (prepared == NULL || prepared->vectors == NULL || chosen->item != NULL)
		return fmoe_base_items(base, expert, tape, chosen->n, chosen->item, dropout);
	for (int64_t first = 0; !*prepared->made && first < chosen->n; first += ROWS_AT_ONCE)
	{
		int64_t		n = chosen->n - first < ROWS_AT_ONCE ? chosen->n - first : ROWS_AT_ONCE;
		FnnMark		mark = fnn_arena_mark(tape->arena);
		int32_t    *item = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
		FnnTape		apart;

		for (int64_t i = 0; i < n; i++)
			item[i] = (int32_t) (first + i);
		fnn_tape_begin(&apart, tape->arena, false, 0, 0);
		memcpy(prepared->vectors + first * width, fmoe_base_items(base, expert, &apart, n, item, 0)->value,
			   sizeof(fnn_real) * (size_t) (n * width));
		fnn_arena_reset(tape->arena, mark);
	}
	*prepared->made = true;
	return fnn_constant(tape, chosen->n, width, prepared->vectors);
}

double
fmoe_base_chosen(const FmoeConfig *config, double n_items, double tokens)
{
	return config->loss == FMOE_LOSS_SOFTMAX ? n_items : fmin(n_items, 2 * tokens + config->negatives);
}

double
fmoe_base_choose_bytes(const FmoeConfig *config, double n_items, double tokens)
{
	if (config->loss == FMOE_LOSS_SOFTMAX)
		return 0;
	return (n_items + 3 * (2 * tokens + config->negatives)) * sizeof(int32_t);
}

/* ---------------------------------------------------------------- one base as a model */

bool
fmoe_base_fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	FmoeShape	shape = fmoe_base_shape(config);

	return fmoe_shape_fits(&shape, misfit);
}

unsigned
fmoe_base_reads(const FmoeConfig *config)
{
	(void) config;
	return FMOE_READS_TEXT | FMOE_READS_PRICE | FMOE_READS_VECTORS | FMOE_NEEDS_FEATURES;
}

bool
fmoe_base_lends(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_base_shape(config);
	shape->encoder = FMOE_OWN_ENCODER;
	return true;
}

double
fmoe_base_bytes(const FmoeConfig *config, const FmoeInputList *inputs, const FmoeFacts *facts, FmoePhase phase,
				double tokens, double cases)
{
	FmoeShape	shape = fmoe_base_shape(config);
	double		width = config->width;
	double		chosen = fmoe_base_chosen(config, facts->n_items, tokens);
	double		sum;

	if (phase == FMOE_PREPARED)
		return fmoe_base_prepared_bytes(config, inputs, facts->n_items);
	if (phase == FMOE_SETTLING)
		return 0;
	/* for each token; a layer's weights transposed */
	sum = (tokens * fmoe_encoders[shape.encoder]->token_reals(&shape, config->dropout > 0, phase == FMOE_RECORDED) +
		   4 * width * width) * sizeof(fnn_real);
	/* states in several forms */
	if (phase == FMOE_UNRECORDED)
		return sum + 4 * cases * width * sizeof(fnn_real);
	return sum + fmoe_base_items_bytes(config, inputs, chosen, true) +
		fmoe_base_choose_bytes(config, facts->n_items, tokens);
}

double
fmoe_base_multiplications(const FmoeConfig *config, double n_scored)
{
	FmoeShape	shape = fmoe_base_shape(config);

	return fmoe_encoders[shape.encoder]->multiplications(&shape) + n_scored * config->width;
}

FnnTensor *
fmoe_base_encode(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch,
				 FmoeWhich which)
{
	FmoeBaseItems known = fmoe_base_known(base, expert, tape, batch);

	return fmoe_encoder_run(&base->encoding, tape, fmoe_base_enter(base, tape, known.table, known.row, batch), batch,
							which);
}

void
fmoe_base_learn(const FmoeBase *base, const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch,
				FmoeGoal *goal, double input_dropout)
{
	const FmoeBasePrepared *prepared = expert->prepared;
	FmoeBaseItems chosen = fmoe_base_choose(tape, batch, goal, expert->n_items);
	FnnTensor  *table = expert->step_items != NULL ? expert->step_items
		: fmoe_base_chosen_items(base, expert, tape, &chosen, input_dropout);
	FnnTensor  *x = fmoe_base_enter(base, tape, table, chosen.row, batch);
	FnnTensor  *states = fmoe_encoder_run(&base->encoding, tape, x, batch, FMOE_ALL_TOKENS);

	if (prepared != NULL && prepared->sources > 0)
		fmoe_base_add_losses(prepared, tape, states, table, batch, &chosen.goal);
	else
		fmoe_add_loss(tape, states, table, &chosen.goal, NULL);
}

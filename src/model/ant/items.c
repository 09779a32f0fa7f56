/*
 * items.c
 *	  The parameters of ant, and vectors of items.
 */
#include "model/ant/ant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define NORM_EPSILON 1e-8
#define ROWS_AT_ONCE 4096

/* ---------------------------------------------------------------- parameters */

FmoePostnorm
fmoe_ant_blocks(const FmoeConfig *config)
{
	return (FmoePostnorm)
	{
		.width = config->width, .inner = config->width, .heads = config->heads, .layers = config->layers,
			.epsilon = NORM_EPSILON, .dropout = config->dropout
	};
}

static bool
is_price(const FmoeInput *input)
{
	return strcmp(input->name, FMOE_INPUT_PRICE) == 0;
}

static bool
is_text(const FmoeInput *input)
{
	return strcmp(input->name, FMOE_INPUT_TEXT) == 0;
}

FmoeAntLayout
fmoe_ant_layout(const FmoeConfig *config)
{
	const FmoeAntOptions *own = fmoe_ant_own(config);
	FmoePostnorm blocks = fmoe_ant_blocks(config);
	FmoeAntLayout layout = {.position = 0, .norm = 1, .blocks = 3, .item = -1};
	int			next = layout.blocks + fmoe_postnorm_slices(&blocks);

	if (own->transductive)
		layout.item = next++;
	for (int i = 0; i < own->inputs.count; i++)
	{
		FmoeAntInput *input = &layout.input[i];

		input->weight = next++;
		input->centre = is_price(&own->inputs.input[i]) ? -1 : next++;
		input->bias = input->centre < 0 ? next++ : -1;
		input->gate = own->experts > 1 ? next++ : -1;
	}
	layout.slices = next;
	return layout;
}

static void
declare_input(FmoeDeclaring *to, const FmoeConfig *config, int number)
{
	const FmoeAntOptions *own = fmoe_ant_own(config);
	const FmoeInput *input = &own->inputs.input[number];
	FmoeDeclaring of_input = *to;
	char		prefix[FNN_NAME_MAX];
	double		scale = FMOE_INIT_SCALE;

	/* by place: a column's name may be longer than a parameter's */
	snprintf(prefix, sizeof(prefix), "%sinput.%d.", to->prefix, number);
	of_input.prefix = prefix;
	/* drawn anew, each map is as Glorot & Bengio 2010 have it, equation 12 */
	if (fmoe_ant_adapt(config) == FMOE_ANT_RELEARN)
		scale = sqrt(2.0 / (input->width + config->width));
	fmoe_declare_weight(&of_input, FNN_ITEMS, "weight", (int64_t) own->experts * config->width, input->width,
						FNN_INIT_NORMAL, scale);
	if (is_price(input))
		fmoe_declare(&of_input, FNN_HEAD, "bias", own->experts, config->width, FNN_INIT_ZERO, 0);
	else
		fmoe_declare(&of_input, FNN_ITEMS, "centre", own->experts, input->width, FNN_INIT_ZERO, 0);
	if (own->experts > 1)
		fmoe_declare(&of_input, FNN_GATE, "gate", 2 * own->experts, input->width, FNN_INIT_ZERO, 0);
}

void
fmoe_ant_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	FmoeAntAdapt adapt = fmoe_ant_adapt(config);
	FmoePostnorm blocks = fmoe_ant_blocks(config);
	FmoeDeclaring local = *to;

	if (adapt == FMOE_ANT_RELEARN || adapt == FMOE_ANT_FROZEN)
		local.frozen |= FNN_GROUP_BIT(FNN_ENCODER);
	fmoe_declare(&local, FNN_POSITIONS, "position.weight", config->max_length, config->width, FNN_INIT_NORMAL,
				 FMOE_INIT_SCALE)->decay = true;
	fmoe_declare_norm(&local, FNN_HEAD, "norm", config->width);
	fmoe_declare_postnorm(&local, &blocks);
	if (fmoe_ant_own(config)->transductive)
		fmoe_declare_items(&local, config, facts->n_items, config->width);
	for (int i = 0; i < fmoe_ant_own(config)->inputs.count; i++)
		declare_input(&local, config, i);
}

/* ---------------------------------------------------------------- rows of inputs */

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

bool
fmoe_ant_computes_all(const FmoeConfig *config)
{
	return config->loss == FMOE_LOSS_SOFTMAX && !fmoe_ant_own(config)->pretrain;
}

const void *
fmoe_ant_prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	FmoeAntPrepared *prepared = fnn_zalloc(arena, sizeof(FmoeAntPrepared));
	const FmoeInputList *inputs = &fmoe_ant_own(expert->config)->inputs;
	int64_t		n = expert->n_items;

	(void) data;
	for (int i = 0; i < inputs->count && fmoe_ant_computes_all(expert->config); i++)
	{
		const FmoeInput *input = &inputs->input[i];
		fnn_real   *rows;

		if (fmoe_input_feature(input, expert->features) == NULL)
			continue;
		prepared->rows[i] = rows = fnn_alloc_reals(arena, n, input->width);
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
fmoe_ant_prepared_bytes(const FmoeConfig *config, const FmoeFacts *facts)
{
	const FmoeInputList *inputs = &fmoe_ant_own(config)->inputs;
	double		numbers = 0;

	for (int i = 0; i < inputs->count && fmoe_ant_computes_all(config); i++)
		if (fmoe_input_feature(&inputs->input[i], facts->features) != NULL)
			numbers += inputs->input[i].width;
	return sizeof(FmoeAntPrepared) + (double) facts->n_items * numbers * sizeof(fnn_real);
}

double
fmoe_ant_step_count(const FmoeConfig *config, double n_items, double tokens)
{
	double		sampled = config->loss == FMOE_LOSS_GBCE && !fmoe_ant_own(config)->pretrain ? config->negatives : 0;

	return fmoe_ant_computes_all(config) ? n_items : fmin(n_items, 2 * tokens + sampled);
}

/* ---------------------------------------------------------------- vectors */

/* Weights [n, experts] of an input's maps: the gate's, or 1. */
static FnnTensor *
gate_of(const FmoeExpert *expert, FnnTape *tape, const FmoeAntInput *slices, const FnnMaker *maker, int64_t n)
{
	int			experts = fmoe_ant_own(expert->config)->experts;
	FnnTensor  *zeros;
	fnn_real   *ones;

	if (slices->gate >= 0)
	{
		zeros = fnn_constant(tape, n, 2 * experts,
							 fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (n * 2 * experts)));
		return fnn_noisy_softmax(tape, fnn_project(tape, zeros, maker, fmoe_parameter(expert, slices->gate), 0), true);
	}
	ones = fnn_alloc_reals(tape->arena, n, 1);
	for (int64_t i = 0; i < n; i++)
		ones[i] = 1;
	return fnn_constant(tape, n, 1, ones);
}

static FnnTensor *
sum(FnnTape *tape, FnnTensor *a, FnnTensor *b)
{
	return a == NULL ? b : b == NULL ? a : fnn_add_dropout(tape, a, b, 0);
}

/* What input number of the options says of the items. */
static FnnTensor *
of_input(const FmoeExpert *expert, FnnTape *tape, const FmoeAntInput *slices, int number, int64_t n,
		 const int32_t *item, FnnTensor **gate)
{
	const FmoeAntOptions *own = fmoe_ant_own(expert->config);
	const FmoeAntPrepared *prepared = expert->prepared;
	const FmoeInput *input = &own->inputs.input[number];
	Rows	   *rows = fnn_alloc(tape->arena, sizeof(Rows));
	FnnMaker	maker = {.width = input->width, .make = make_rows, .context = rows};
	FnnTensor  *weights;

	*rows = (Rows)
	{
		.host = tape->host, .input = input, .features = expert->features, .item = item,
			.made = prepared != NULL ? prepared->rows[number] : NULL
	};
	weights = gate_of(expert, tape, slices, &maker, n);
	*gate = slices->gate >= 0 ? weights : NULL;
	return fnn_mixed_maps(tape, &maker, fmoe_parameter(expert, slices->weight), weights,
						  slices->centre >= 0 ? fmoe_parameter(expert, slices->centre) : NULL,
						  slices->bias >= 0 ? fmoe_parameter(expert, slices->bias) : NULL, own->input_dropout);
}

FnnTensor *
fmoe_ant_map(const FmoeExpert *expert, FnnTape *tape, int input, int64_t n, const int32_t *item, FnnTensor *weight,
			 int map)
{
	const FmoeAntOptions *own = fmoe_ant_own(expert->config);
	FmoeAntInput slices = fmoe_ant_layout(expert->config).input[input];
	Rows		rows = {.host = tape->host, .input = &own->inputs.input[input], .features = expert->features,
	.item = item};
	FnnMaker	maker = {.width = rows.input->width, .make = make_rows, .context = &rows};
	FnnTensor  *only = fnn_tensor(tape, n, own->experts, false);

	for (int64_t i = 0; i < n * own->experts; i++)
		only->value[i] = i % own->experts == map ? weight->value[i] : 0;
	return fnn_mixed_maps(tape, &maker, fmoe_parameter(expert, slices.weight), only,
						  slices.centre >= 0 ? fmoe_parameter(expert, slices.centre) : NULL,
						  slices.bias >= 0 ? fmoe_parameter(expert, slices.bias) : NULL, 0);
}

/* The own vectors of items, if they have any. */
static FnnTensor *
own_vectors(const FmoeExpert *expert, FnnTape *tape, int item_slice, int64_t n, const int32_t *item)
{
	int32_t    *number;

	if (item_slice < 0)
		return NULL;
	if (item == NULL)
	{
		number = fnn_alloc(tape->arena, sizeof(int32_t) * (size_t) n);
		for (int64_t i = 0; i < n; i++)
			number[i] = (int32_t) i;
		item = number;
	}
	return fnn_embed(tape, fmoe_parameter(expert, item_slice), item, n, 1, NULL, NULL);
}

FmoeAntItems
fmoe_ant_items(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	const FmoeAntOptions *own = fmoe_ant_own(expert->config);
	FmoeAntLayout layout = fmoe_ant_layout(expert->config);
	FmoeAntItems items = {0};

	for (int i = 0; i < own->inputs.count; i++)
	{
		const FmoeInput *input = &own->inputs.input[i];
		FnnTensor **modality = is_text(input) ? &items.text : is_price(input) ? &items.price : &items.image;

		/* zeros add nothing */
		if (fmoe_input_feature(input, expert->features) != NULL)
			*modality = sum(tape, *modality, of_input(expert, tape, &layout.input[i], i, n, item, &items.gate[i]));
	}
	items.vector = sum(tape, sum(tape, sum(tape, items.text, items.image), items.price),
					   own_vectors(expert, tape, layout.item, n, item));
	if (items.vector == NULL)
		items.vector = fnn_constant(tape, n, expert->config->width,
									fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (n * expert->config->width)));
	if (items.text != NULL && items.image != NULL && own->fusion > 0)
		items.vector = fnn_add_product(tape, items.vector, items.image, items.text, own->fusion);
	return items;
}

double
fmoe_ant_items_bytes(const FmoeConfig *config, const FmoeFacts *facts, double n, bool recorded)
{
	const FmoeAntOptions *own = fmoe_ant_own(config);
	double		copies = recorded ? 2 : 1;
	double		each = own->transductive ? 2 * copies * config->width + 1 : 0;

	for (int i = 0; i < own->inputs.count; i++)
	{
		if (fmoe_input_feature(&own->inputs.input[i], facts->features) == NULL)
			continue;
		/* the input's vector and the sum with it; zeros, logits, weights and noise of its gate */
		each += 2 * copies * config->width + (own->experts > 1 ? (2 + 3 * copies + 1) * own->experts : 1);
	}
	/* the sum with the product */
	return (each + copies * config->width) * n * sizeof(fnn_real);
}

double
fmoe_ant_block_bytes(const FmoeConfig *config, const FmoeFacts *facts)
{
	const FmoeAntOptions *own = fmoe_ant_own(config);
	double		block = 0;

	for (int i = 0; i < own->inputs.count; i++)
	{
		const FmoeInput *input = &own->inputs.input[i];

		if (fmoe_input_feature(input, facts->features) != NULL)
			block = fmax(block, fnn_mixed_maps_reals(input->width, own->experts, config->width) +
						 (double) own->experts * config->width);
	}
	return block * sizeof(fnn_real);
}

/* ---------------------------------------------------------------- states */

FnnTensor *
fmoe_ant_states(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row, const FmoeBatch *batch,
				FmoeWhich which)
{
	FmoeAntLayout layout = fmoe_ant_layout(expert->config);
	FmoePostnorm blocks = fmoe_ant_blocks(expert->config);
	FnnTensor  *x = fnn_embed(tape, table, row, batch->n_tokens, 1, fmoe_parameter(expert, layout.position),
							  batch->position);

	x = fnn_layer_norm(tape, x, fmoe_parameter(expert, layout.norm), fmoe_parameter(expert, layout.norm + 1),
					   NORM_EPSILON);
	return fmoe_postnorm_run(&blocks, fmoe_parameter(expert, layout.blocks), tape,
							 fnn_dropout(tape, x, expert->config->dropout), batch, which);
}

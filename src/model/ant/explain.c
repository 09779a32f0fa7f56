/*
 * explain.c
 *	  What an item's inputs add to its score: since that is a product of the state and
 *	  the item's vector, each part of the vector has its own.
 */
#include "model/ant/ant.h"

#include <math.h>

/* What is filled. */
typedef struct Parts
{
	int			n;
	int			max;
	FmoeInputPart *part;
	const fnn_real *state;		/* [width] */
	int64_t		width;
	double		length;			/* of the item's vector */
} Parts;

static double
product(const Parts *parts, const fnn_real *vector)
{
	double		sum = 0;

	for (int64_t c = 0; c < parts->width; c++)
		sum += (double) parts->state[c] * (double) vector[c];
	return parts->length > 0 ? sum / parts->length : 0;
}

static void
add_part(Parts *parts, const char *input, int map, double weight, double share)
{
	if (parts->n < parts->max)
		parts->part[parts->n++] = (FmoeInputPart) {.input = input, .map = map, .weight = weight, .share = share};
}

/* An input as a whole, then each of its maps. */
static void
add_input(Parts *parts, const FmoeExpert *expert, FnnTape *tape, int input, int32_t item, FnnTensor *gate)
{
	const FmoeAntOptions *own = fmoe_ant_own(expert->config);
	const char *name = own->inputs.input[input].name;
	FnnTensor  *weight = gate;
	double		share[FMOE_ANT_EXPERTS_MAX];
	double		sum = 0;

	if (gate == NULL)
	{
		weight = fnn_tensor(tape, 1, 1, false);
		weight->value[0] = 1;
	}
	for (int e = 0; e < own->experts; e++)
	{
		share[e] = product(parts, fmoe_ant_map(expert, tape, input, 1, &item, weight, e)->value);
		sum += share[e];
	}
	add_part(parts, name, 0, NAN, sum);
	for (int e = 0; e < own->experts && gate != NULL; e++)
		add_part(parts, name, e + 1, (double) gate->value[e], share[e]);
}

int
fmoe_ant_input_parts(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence, int32_t item,
					 int max, FmoeInputPart *out)
{
	const FmoeAntOptions *own = fmoe_ant_own(expert->config);
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		width = expert->config->width;
	Parts		parts = {.max = max, .part = out, .width = width};
	FmoeAntLayout layout = fmoe_ant_layout(expert->config);
	FmoeAntItems items;
	double		squares = 0;
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	parts.state = expert->class->encode(expert, &tape, batch, FMOE_LAST_TOKENS)->value + sequence * width;
	items = fmoe_ant_items(expert, &tape, 1, &item);
	for (int64_t c = 0; c < width; c++)
		squares += (double) items.vector->value[c] * (double) items.vector->value[c];
	parts.length = sqrt(squares);
	for (int i = 0; i < own->inputs.count; i++)
		if (fmoe_input_feature(&own->inputs.input[i], expert->features) != NULL)
			add_input(&parts, expert, &tape, i, item, items.gate[i]);
	if (items.text != NULL && items.image != NULL && own->fusion > 0)
	{
		fnn_real   *both = fnn_alloc_reals(arena, 1, width);

		for (int64_t c = 0; c < width; c++)
			both[c] = (fnn_real) own->fusion * items.text->value[c] * items.image->value[c];
		add_part(&parts, "image and text", 0, NAN, product(&parts, both));
	}
	if (layout.item >= 0)
		add_part(&parts, "item", 0, NAN, product(&parts, fmoe_parameter(expert, layout.item)->value + item * width));
	fnn_arena_reset(arena, mark);
	return parts.n;
}

/*
 * registry.c
 *	  The list of expert classes: a row is all that a new family adds outside its folder.
 */
#include "model/registry.h"

#include "model/ant/ant.h"
#include "model/count/count.h"
#include "model/fmoe/fmoe.h"
#include "model/xcross/xcross.h"
#include "model/mrff/mrff.h"
#include "model/hm4sr/hm4sr.h"

#include <stdio.h>
#include <string.h>

/* The engine's tests bring a class of their own. */
#ifdef FMOE_TEST_CLASS
#define TEST_CLASS(row) row,
extern const FmoeExpertClass FMOE_TEST_CLASS;
#else
#define TEST_CLASS(row)
#endif

/* "auto" is another name of the mixture. */
const FmoeExpertClass *const fmoe_expert_classes[] = {
	&fmoe_sasrec_class,
	&fmoe_gru4rec_class,
	&fmoe_popularity_class,
	&fmoe_markov_class,
	&fmoe_mixture_class,
	&fmoe_recent_class,
	&fmoe_sequence_class,
	&fmoe_neighbours_class,
	&fmoe_repeat_class,
	&fmoe_content_class,
	&fmoe_mixture_class,
	&fmoe_foundation_class,
	&fmoe_ant_class,
	&fmoe_lora_class,
	&fmoe_xcross_class,
	&fmoe_mrff_class,
	&fmoe_constant_class,
	&fmoe_user_rate_class,
	&fmoe_user_category_rate_class,
	&fmoe_hm4sr_class,
	TEST_CLASS(&FMOE_TEST_CLASS)
	NULL
};

const char *const fmoe_expert_names[] = {"sasrec", "gru4rec", "popularity", "markov", "fmoe", "recent", "sequence",
	"neighbours", "repeat", "content", "auto", "foundation", "ant", "lora", "xcross", "mrff",
	"constant", "user_rate", "user_category_rate", "hm4sr", TEST_CLASS("projection") NULL};

const FmoeExpertClass *const fmoe_slot_classes[FMOE_GATED] = {
	[FMOE_MAIN] = NULL,
	[FMOE_POPULARITY] = &fmoe_popularity_class,
	[FMOE_MARKOV] = &fmoe_markov_class,
	[FMOE_RECENT] = &fmoe_recent_class,
	[FMOE_SEQUENCE] = &fmoe_sequence_class,
	[FMOE_NEIGHBOURS] = &fmoe_neighbours_class,
	[FMOE_REPEAT] = &fmoe_repeat_class,
	[FMOE_CONTENT] = &fmoe_content_class
};

const FmoeExpertClass *const fmoe_click_baselines[] = {
	&fmoe_constant_class, &fmoe_user_rate_class, &fmoe_user_category_rate_class, NULL
};

/* by row of fmoe_encoders */
static const FmoeExpertClass *const encoder_classes[] = {&fmoe_sasrec_class, &fmoe_gru4rec_class};

int
fmoe_expert_number(const FmoeExpertClass *class)
{
	int			i = 0;

	while (fmoe_expert_classes[i] != class)
		i++;
	return i;
}

int
fmoe_expert_row(const char *name)
{
	int			row = 0;

	while (strcmp(fmoe_expert_names[row], name) != 0)
		row++;
	return row;
}

const FmoeExpertClass *
fmoe_expert_class(const char *name)
{
	for (int i = 0; fmoe_expert_classes[i] != NULL; i++)
		if (strcmp(fmoe_expert_classes[i]->name, name) == 0)
			return fmoe_expert_classes[i];
	return NULL;
}

void
fmoe_config_canonical(FmoeConfig *config)
{
	int			first = fmoe_expert_number(fmoe_expert_classes[config->model]);
	FmoeLentList *lent = fmoe_borrowed(config);

	if (config->model == first)
		return;
	config->model = first;
	if (lent != NULL && lent->count < 0)
		lent->count = 0;
}

bool
fmoe_lendable(const FmoeConfig *config, FmoeShape *shape)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	return class->lends != NULL && class->lends(config, shape);
}

FmoeConfig
fmoe_encoder_config(const FmoeConfig *config)
{
	FmoeConfig	own = *config;
	FmoeShape	shape;

	if (!fmoe_lendable(config, &shape))
		return own;
	if (shape.encoder == FMOE_OWN_ENCODER)
	{
		/* a column here is none elsewhere */
		if (fmoe_expert_classes[config->model]->source != NULL)
			*(char *) fmoe_expert_classes[config->model]->source(&own) = '\0';
		return own;
	}
	own.model = fmoe_expert_number(encoder_classes[shape.encoder]);
	own.width = shape.width;
	own.layers = shape.layers;
	own.heads = shape.heads;
	if (own.model != config->model)
		memset(&own.own, 0, sizeof(own.own));
	return own;
}

FmoeLentList *
fmoe_borrowed(FmoeConfig *config)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	return class->borrows != NULL ? class->borrows(config) : NULL;
}

const FmoeNamedBase *
fmoe_named_base(const FmoeConfig *config)
{
	const FmoeBuilding *building = fmoe_expert_classes[config->model]->building;

	return building != NULL ? building->base(config) : NULL;
}

void
fmoe_built_prefix(int i, char *prefix)
{
	if (i == 0)
		strcpy(prefix, FMOE_BASE_PREFIX);
	else
		snprintf(prefix, FNN_NAME_MAX, "expert.%d.", i);
}

FmoeInputList *
fmoe_inputs(FmoeConfig *config)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	return class->inputs != NULL ? class->inputs(config) : NULL;
}

int
fmoe_rounds(const FmoeConfig *config, int *local_epochs)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	return class->rounds != NULL ? class->rounds(config, local_epochs) : 0;
}

void
fmoe_count_instead(FmoeConfig *config)
{
	config->model = fmoe_expert_number(fmoe_slot_classes[FMOE_POPULARITY]);
	memset(&config->own, 0, sizeof(config->own));
}

/*
 * registry.c
 *	  The list of expert classes.
 */
#include "model/fmoe/layout.h"
#include "model/registry.h"

#include <string.h>

const FmoeExpertClass *const fmoe_expert_classes[] = {
	&fmoe_sasrec_class,
	&fmoe_gru4rec_class,
	&fmoe_popularity_class,
	&fmoe_markov_class,
	&fmoe_mixture_class,
	NULL
};

const char *const fmoe_expert_names[] = {"sasrec", "gru4rec", "popularity", "markov", "fmoe", NULL};

/* the same rows of both lists are the same classes */
const char *const fmoe_encoder_names[] = {"sasrec", "gru4rec", NULL};

const FmoeExpertClass *
fmoe_expert_class(const char *name)
{
	int			i;

	for (i = 0; fmoe_expert_classes[i] != NULL; i++)
	{
		if (strcmp(fmoe_expert_classes[i]->name, name) == 0)
			return fmoe_expert_classes[i];
	}
	return NULL;
}

/*
 * prior.c
 *	  What a gate's weights are pulled towards: the prior that ships, or what the gates
 *	  of others, who lent them, say.
 *
 * Where few events tell what an expert is worth, what it was worth elsewhere is the
 * better guess, since the experts' scales are the same everywhere.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/train/borrow.h"

/* A lent expert whose gate is read. */
typedef struct Reading
{
	const FmoeLent *lent;
	const FmoeConfig *config;
	FmoeGatePrior *prior;		/* set where the file has a gate */
	bool		found;
} Reading;

static void
read_gate(void *argument)
{
	Reading    *reading = argument;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe lent expert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FmoeExpertFile *file = fmoe_lent_read(reading->lent);

	reading->found = file->gate != NULL && fmoe_gate_take(file->gate, reading->config, reading->prior);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

static void
prior_of(const FmoeDomain *domain, const FmoeConfig *config, const char *name, int n, const FmoeLent *list,
		 FmoeGatePrior *prior)
{
	Reading		reading = {.lent = fmoe_need_lent(domain, n, list, name), .config = config, .prior = prior};

	read_gate(&reading);
	if (!reading.found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the lent expert \"%s\" has no gate", name),
				 errdetail("It was lent by a model without one, or clipped, which a gate is not."),
				 errhint("Name another with the option \"gate_prior\", or leave it out.")));
}

/* The mean of the shipped prior and of all gates that can be read; returns how many these are. */
static int
mean_prior(const FmoeConfig *config, int n, const FmoeLent *list, FmoeGatePrior *prior)
{
	FmoeGatePrior shipped = *prior;
	int			gates = 0;

	for (int i = 0; i < n; i++)
	{
		FmoeGatePrior lent = shipped;
		Reading		reading = {.lent = &list[i], .config = config, .prior = &lent};
		ErrorData  *error;

		if (!list[i].readable)
			continue;
		error = fmoe_attempt(read_gate, &reading);
		if (error != NULL)
			fmoe_lent_warn(list[i].name, error);
		if (error != NULL || !reading.found)
			continue;
		gates++;
		for (int expert = 0; expert < FMOE_GATED; expert++)
			for (int kept = 0; kept < 2; kept++)
				prior->weight[expert][kept] += lent.weight[expert][kept];
	}
	for (int expert = 0; expert < FMOE_GATED; expert++)
		for (int kept = 0; kept < 2; kept++)
			prior->weight[expert][kept] /= 1 + gates;
	return gates;
}

void
fmoe_borrow_prior(const FmoeDomain *domain, const FmoeConfig *config, FmoeBorrowing *borrowing)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	const char *from = class->gate_prior != NULL ? class->gate_prior(config) : NULL;
	FmoeLent   *list;
	int			n;

	fmoe_gate_prior(&borrowing->prior);
	if (from == NULL || from[0] == '\0' || strcmp(from, "default") == 0)
		return;
	if (strcmp(from, "none") == 0)
	{
		memset(&borrowing->prior, 0, sizeof(borrowing->prior));
		return;
	}
	n = fmoe_lent_list(domain, false, &list);
	if (strcmp(from, "lent") == 0)
		borrowing->gates = mean_prior(config, n, list, &borrowing->prior);
	else
	{
		prior_of(domain, config, from, n, list, &borrowing->prior);
		borrowing->gates = 1;
	}
}

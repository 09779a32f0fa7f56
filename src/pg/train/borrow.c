/*
 * borrow.c
 *	  What a training takes from experts that were lent.
 *
 * A lent encoder's arrays have the names that its own class gives them; in a
 * mixture those of member i have "expert.i." before.  The file was checked when
 * it was read: its arrays are exactly its class's.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/train/borrow.h"

static const FmoeLent *
find_lent(int n, const FmoeLent *list, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

static const FmoeLent *
need_lent(const FmoeDomain *domain, int n, const FmoeLent *list, const char *name)
{
	const FmoeLent *lent = find_lent(n, list, name);

	if (lent == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no expert \"%s\" was lent to domain \"%s\"", name, domain->name),
				 errhint("The view fmoe.experts lists those of other parties; fmoe_import() brings in others.")));
	return lent;
}

static void
describe(const FmoeLent *lent, FmoeLentEncoder *encoder)
{
	const FmoeConfig *config = &lent->facts.config;

	memset(encoder, 0, sizeof(*encoder));
	strlcpy(encoder->name, lent->name, sizeof(encoder->name));
	encoder->model = config->model;
	encoder->width = config->width;
	encoder->layers = config->layers;
	encoder->heads = config->heads;
}

static bool
same_shape(const FmoeLentEncoder *a, const FmoeLentEncoder *b)
{
	return a->model == b->model && a->width == b->width && a->layers == b->layers && a->heads == b->heads;
}

/* The encoder to start from has the shape of the own one. */
static void
check_start(const FmoeDomain *domain, const FmoeConfig *config, const FmoeLent *lent)
{
	FmoeConfig	own = fmoe_encoder_config(config);
	const FmoeConfig *other = &lent->facts.config;

	if (own.model != other->model || own.width != other->width || own.layers != other->layers ||
		own.heads != other->heads)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("training of domain \"%s\" cannot start from expert \"%s\"", domain->name, lent->name),
				 errdetail("It is %s of width %d with %d layers and %d heads; the training is for %s of width %d "
						   "with %d layers and %d heads.",
						   fmoe_expert_classes[other->model]->name, other->width, other->layers, other->heads,
						   fmoe_expert_classes[own.model]->name, own.width, own.layers, own.heads)));
}

FmoeBorrowing *
fmoe_borrow(const FmoeDomain *domain, FmoeConfig *config)
{
	FmoeBorrowing *borrowing = palloc0(sizeof(FmoeBorrowing));
	FmoeLentList *experts = &config->experts;
	FmoeLent   *list;
	int			n;

	if (fmoe_gated_count(config) == 0 && config->start_encoder[0] == '\0')
		return borrowing;
	n = fmoe_lent_list(domain, &list);
	if (config->start_encoder[0] != '\0')
	{
		borrowing->start = *need_lent(domain, n, list, config->start_encoder);
		check_start(domain, config, &borrowing->start);
	}
	if (fmoe_gated_count(config) == 0)
		return borrowing;
	if (experts->count < 0 && n > FMOE_LENT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d experts were lent to domain \"%s\", but a mixture has at most %d", n, domain->name,
						FMOE_LENT_MAX),
				 errhint("Name those to be used with the option \"experts\".")));
	if (experts->count < 0)
	{
		experts->count = n;
		for (int i = 0; i < n; i++)
			strlcpy(experts->lent[i].name, list[i].name, FMOE_EXPERT_NAME_MAX);
	}
	for (int i = 0; i < experts->count; i++)
	{
		borrowing->lent[i] = *need_lent(domain, n, list, experts->lent[i].name);
		describe(&borrowing->lent[i], &experts->lent[i]);
	}
	borrowing->count = experts->count;
	return borrowing;
}

/* Arrays of a lent encoder into the trainer, under names with a prefix. */
static void
adopt(const FmoeLent *lent, const char *prefix, FmoeTrainer *trainer)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe lent expert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FmoeExpertFile *file = fmoe_lent_read(lent);

	for (int i = 0; i < file->n_arrays; i++)
	{
		char		name[2 * FNN_NAME_MAX];

		snprintf(name, sizeof(name), "%s%s", prefix, file->arrays[i].name);
		strlcpy(file->arrays[i].name, name, FNN_NAME_MAX);
	}
	if (fmoe_trainer_adopt(trainer, file->n_arrays, file->arrays) != file->n_arrays)
		elog(ERROR, "expert \"%s\" does not fit the place that was made for it", lent->name);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
fmoe_borrow_weights(const FmoeBorrowing *borrowing, FmoeTrainer *trainer)
{
	if (borrowing->start.name != NULL)
		adopt(&borrowing->start, "", trainer);
	for (int i = 0; i < borrowing->count; i++)
		adopt(&borrowing->lent[i], psprintf("expert.%d.", i + 1), trainer);
}

int
fmoe_borrow_newer(const FmoeDomain *domain, FmoeBorrowing *borrowing, const FmoeConfig *config, FmoeTrainer *trainer)
{
	FmoeLent   *list;
	int			n = fmoe_lent_list(domain, &list);
	int			taken = 0;

	for (int i = 0; i < borrowing->count; i++)
	{
		const FmoeLent *lent = find_lent(n, list, config->experts.lent[i].name);
		FmoeLentEncoder now;

		if (lent == NULL || strcmp(lent->key, borrowing->lent[i].key) == 0)
			continue;
		describe(lent, &now);
		if (!same_shape(&now, &config->experts.lent[i]))
		{
			ereport(WARNING,
					(errmsg("expert \"%s\" is now of another shape, so the one before stays in use", lent->name),
					 errhint("The next training takes it.")));
			continue;
		}
		adopt(lent, psprintf("expert.%d.", i + 1), trainer);
		/* the list goes with the caller's scratch memory */
		borrowing->lent[i].key = MemoryContextStrdup(GetMemoryChunkContext(borrowing), lent->key);
		taken++;
	}
	return taken;
}

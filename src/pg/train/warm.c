/*
 * warm.c
 *	  Warm start: a training that begins with the weights of the live version.
 *
 * Parameters are taken over by name and shape.  Tables with a row for each item are
 * arranged anew, since the items may have changed since.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/train/training.h"

/*
 * Arranges the rows of a table with a row for each item by the new numbers of the
 * items.  Items that the live version does not know keep the rows that the trainer
 * has drawn.
 */
static void
map_item_rows(const FmoeTraining *training, const FnnParams *params, FnnArray *table, const FmoeVocabulary *vocabulary)
{
	const FmoeVocabulary *new = training->interactions->vocabulary;
	int			index = fnn_params_find(params, table->name);
	const FnnParam *param = index >= 0 ? &params->list[index] : NULL;
	size_t		row_bytes;
	size_t		bytes;
	char	   *fresh;
	char	   *rows;

	if (param == NULL || param->group != FNN_ITEMS || param->rows != fmoe_vocabulary_count(new) ||
		table->dtype != FNN_F32 || table->shape[1] != param->cols)
		return;
	row_bytes = param->cols * sizeof(fnn_real);
	fresh = fmoe_trainer_block(training->trainer, FMOE_BLOCK_VALUES, &bytes);
	fresh += param->offset * sizeof(fnn_real);
	bytes = row_bytes * param->rows;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, bytes);
	memcpy(rows, fresh, bytes);
	for (int32 i = 0; i < fmoe_vocabulary_count(new); i++)
	{
		int32		known = fmoe_vocabulary_find(vocabulary, fmoe_vocabulary_id(new, i));

		if (known >= 0)
			memcpy(rows + i * row_bytes, (char *) table->data + known * row_bytes, row_bytes);
		CHECK_FOR_INTERRUPTS();
	}
	table->data = rows;
	table->bytes = bytes;
	table->shape[0] = param->rows;
}

void
fmoe_training_start_warm(const FmoeTraining *training)
{
	const FmoeDomain *domain = training->domain;
	const FmoeVersion *live = training->live;
	MemoryContext context;
	MemoryContext old;
	FmoeVocabulary *vocabulary;
	const FnnParams *params;
	FnnArray   *arrays;
	size_t		bytes;
	int			n_arrays;
	int			adopted;
	int			i;

	if (live == NULL)
	{
		ereport(NOTICE,
				(errmsg("domain \"%s\" has no live version to start from", domain->name)));
		return;
	}
	if (fmoe_has_seen_holdout(live, training->config.holdout))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("training cannot start from version %d of domain \"%s\"", live->version, domain->name),
				 errdetail("It was trained on events that are now to be kept back."),
				 errhint("Use the holdout \"%s\", or do without warm_start.", live->holdout)));

	context = AllocSetContextCreate(CurrentMemoryContext, "fmoe warm start", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	n_arrays = fmoe_load_arrays(live->version_id, context, &arrays, &bytes);
	params = fmoe_trainer_params(training->trainer);
	if (live->complete)
	{
		vocabulary = fmoe_try_vocabulary(domain, live, n_arrays, arrays);
		if (vocabulary == NULL)
			n_arrays = 0;
		for (i = 0; i < n_arrays; i++)
			if (arrays[i].ndim == 2 && arrays[i].shape[0] == live->items)
				map_item_rows(training, params, &arrays[i], vocabulary);
	}
	adopted = fmoe_trainer_adopt(training->trainer, n_arrays, arrays);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	ereport(NOTICE,
			(errmsg("training starts with %d parameters of version %d", adopted, live->version)));
}

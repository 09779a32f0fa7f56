/*
 * warm.c
 *	  Warm start: a training that begins with the weights of the live version.
 *
 * Parameters are taken over by name and shape.  Tables with a row for each item, or
 * for each category, are arranged anew, since these may have changed since.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "model/expert/featured.h"
#include "pg/train/training.h"

/*
 * Arranges the rows of a table by the numbers that they have now: row i is row
 * before[i] of the table, or where that is negative what the trainer has drawn.
 */
static void
map_rows(const FmoeTraining *training, const FnnParam *param, FnnArray *table, const int32 *before)
{
	size_t		row_bytes = param->cols * sizeof(fnn_real);
	size_t		bytes;
	char	   *fresh = fmoe_trainer_block(training->trainer, FMOE_BLOCK_VALUES, &bytes);
	char	   *rows;

	fresh += param->offset * sizeof(fnn_real);
	bytes = row_bytes * param->rows;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, Max(bytes, 1));
	memcpy(rows, fresh, bytes);
	for (int64 i = 0; i < param->rows; i++)
	{
		if (before[i] >= 0)
			memcpy(rows + i * row_bytes, (char *) table->data + before[i] * row_bytes, row_bytes);
		CHECK_FOR_INTERRUPTS();
	}
	table->data = rows;
	table->bytes = bytes;
	table->shape[0] = param->rows;
}

/* The numbers that items had in the live version; negative: it does not know them. */
static int32 *
items_before(const FmoeVocabulary *new, const FmoeVocabulary *vocabulary)
{
	int32		n = fmoe_vocabulary_count(new);
	int32	   *before = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * Max(n, 1));

	for (int32 i = 0; i < n; i++)
	{
		before[i] = fmoe_vocabulary_find(vocabulary, fmoe_vocabulary_id(new, i));
		CHECK_FOR_INTERRUPTS();
	}
	return before;
}

/* The same of a feature's terms, by their names. */
static int32 *
terms_before(const FmoeFeature *new, const FmoeFeature *old)
{
	int32	   *before = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * Max(new->width, 1));

	for (int32 t = 0; t < new->width; t++)
	{
		size_t		bytes;
		const char *name = new->name_offset != NULL ? fmoe_feature_term_name(new, t, &bytes) : NULL;

		before[t] = name != NULL ? fmoe_feature_term(old, name, bytes) : -1;
		CHECK_FOR_INTERRUPTS();
	}
	return before;
}

/* The feature whose parameter has that name; NULL: none. */
static const FmoeFeature *
feature_of(const FmoeFeatures *features, const char *parameter)
{
	for (int i = 0; features != NULL && i < features->count; i++)
	{
		char		name[FNN_NAME_MAX];

		fmoe_featured_name(features->feature[i].name, name);
		if (strcmp(name, parameter) == 0)
			return &features->feature[i];
	}
	return NULL;
}

/* Tables with a row for each item, or for each term of a feature, as they have to be now. */
static void
map_tables(const FmoeTraining *training, int n_arrays, FnnArray *arrays, const FmoeVocabulary *vocabulary)
{
	const FnnParams *params = fmoe_trainer_params(training->trainer);
	const FmoeFeatures *new = training->interactions->data.features;
	int32	   *items = items_before(training->interactions->vocabulary, vocabulary);
	FmoeFeatures old;

	fmoe_features_bind(&old, fmoe_host(CurrentMemoryContext), FMOE_OF_ITEMS, training->live->items, n_arrays, arrays,
					   false);
	for (int i = 0; i < n_arrays; i++)
	{
		FnnArray   *table = &arrays[i];
		int			index = fnn_params_find(params, table->name);
		const FnnParam *param = index >= 0 ? &params->list[index] : NULL;
		const FmoeFeature *before;

		if (param == NULL || param->rows_of == FNN_OF_NONE || table->dtype != FNN_F32 || table->ndim != 2 ||
			table->shape[1] != param->cols)
			continue;
		if (param->rows_of == FNN_OF_ITEMS && table->shape[0] == training->live->items)
			map_rows(training, param, table, items);
		before = feature_of(&old, table->name);
		if (param->rows_of == FNN_OF_TERMS && before != NULL && table->shape[0] == before->width)
			map_rows(training, param, table, terms_before(feature_of(new, table->name), before));
	}
}

void
fmoe_training_start_warm(const FmoeTraining *training)
{
	const FmoeDomain *domain = training->domain;
	const FmoeVersion *live = training->live;
	MemoryContext context;
	MemoryContext old;
	FmoeVocabulary *vocabulary;
	FnnArray   *arrays;
	size_t		bytes;
	int			n_arrays;
	int			adopted;

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
	if (live->complete)
	{
		vocabulary = fmoe_try_vocabulary(domain, live, n_arrays, arrays);
		if (vocabulary == NULL)
			n_arrays = 0;
		else
			map_tables(training, n_arrays, arrays, vocabulary);
	}
	adopted = fmoe_trainer_adopt(training->trainer, n_arrays, arrays);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	ereport(NOTICE,
			(errmsg("training starts with %d parameters of version %d", adopted, live->version)));
}

/*
 * refresh.c
 *	  fmoe_refresh: the live version with the item table as it is now, without training.
 *
 * What was learned and counted stays.  Items that the live version does not know get
 * zeros there, and what their features say.  All is one transaction, under the lock
 * of a training of the domain.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/train/training.h"

PG_FUNCTION_INFO_V1(fmoe_refresh);

typedef struct Refresh
{
	FmoeDomain *domain;
	FmoeVersion *live;
	MemoryContext context;
	FnnArena   *arena;
	TimestampTz started;
	FmoeModel	model;			/* the live version's */
	FmoeVocabulary *vocabulary; /* the same */
	FmoeCatalogueRead read;
} Refresh;

static void
find_live(Refresh *refresh)
{
	const FmoeDomain *domain = refresh->domain;

	refresh->live = fmoe_find_version(domain, 0);
	if (refresh->live == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no live version to refresh", domain->name),
				 errhint("Train one with CALL fmoe_train(%s).", quote_literal_cstr(domain->name))));
}

/* What the live version reads of the item table, a set of FmoeReads; an error where that is nothing. */
static unsigned
what_it_reads(const Refresh *refresh)
{
	const FmoeConfig *config = &refresh->live->config;
	unsigned	reads = fmoe_reads(fmoe_expert_classes[config->model], config);

	if ((reads & FMOE_READS_FEATURES) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" reads nothing of an item table", refresh->live->version,
						refresh->domain->name),
				 errdetail("Its model is \"%s\".", refresh->live->model),
				 errhint("Train a model that reads texts or vectors of items.")));
	if (!fmoe_has_features(refresh->domain, reads))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no column of items that its version %d reads", refresh->domain->name,
						refresh->live->version),
				 errhint("Name the item table and its columns with fmoe_alter_domain(%s, items => ...).",
						 quote_literal_cstr(refresh->domain->name))));
	return reads;
}

static size_t
load_live(Refresh *refresh)
{
	const FmoeVersion *live = refresh->live;
	FnnArray   *arrays;
	size_t		bytes;
	int			n_arrays = fmoe_load_arrays(live->version_id, refresh->context, &arrays, &bytes);

	refresh->vocabulary = fmoe_version_vocabulary(refresh->domain, live, n_arrays, arrays);
	fmoe_model_bind(&refresh->model, fnn_arena_host(refresh->arena), &live->config, live->items, n_arrays, arrays);
	return bytes;
}

/* Items keep their order, which only another order of their type's values could change. */
static void
check_order(const Refresh *refresh)
{
	for (int32 i = 1; i < refresh->live->items; i++)
		if (refresh->read.number[i - 1] >= refresh->read.number[i])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the item ids of version %d of domain \"%s\" have another order now",
							refresh->live->version, refresh->domain->name),
					 errhint("Train a new version with CALL fmoe_train(%s).",
							 quote_literal_cstr(refresh->domain->name))));
}

/* The metrics of the live version, and which one that was. */
static Jsonb *
metrics_of(const FmoeVersion *live)
{
	char	   *from = psprintf("{\"refreshed\": %d}", live->version);

	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(live->metrics),
											  DirectFunctionCall1(jsonb_in, CStringGetDatum(from))));
}

/* Whether the item table says what the live version knows already, of the same items. */
static bool
says_nothing_new(const Refresh *refresh)
{
	FnnArray   *was = palloc(sizeof(FnnArray) * 2 * FMOE_FEATURE_ARRAYS_MAX);
	FnnArray   *is = was + FMOE_FEATURE_ARRAYS_MAX;
	int			n = fmoe_features_arrays(&refresh->model.features, FMOE_OF_ITEMS, was, FMOE_FEATURE_ARRAYS_MAX);

	if (fmoe_vocabulary_count(refresh->read.vocabulary) != refresh->live->items ||
		fmoe_features_arrays(&refresh->read.features, FMOE_OF_ITEMS, is, FMOE_FEATURE_ARRAYS_MAX) != n)
		return false;
	for (int i = 0; i < n; i++)
	{
		const FnnArray *now = fnn_find_array(n, is, was[i].name);

		if (now == NULL || was[i].bytes != now->bytes || memcmp(was[i].data, now->data, was[i].bytes) != 0)
			return false;
	}
	return true;
}

/* Stores the model as a version of its own and makes it live; its number. */
static int
store(Refresh *refresh, const FmoeModel *model)
{
	FmoeVersion version = *refresh->live;
	int			max = fmoe_model_arrays_max(model);
	FnnArray   *arrays = palloc(sizeof(FnnArray) * (max + 2));
	int			n_arrays = fmoe_model_arrays(model, arrays, max);

	n_arrays += fmoe_vocabulary_arrays(refresh->read.vocabulary, arrays + n_arrays);
	version.version_id = 0;
	version.version = 0;
	version.name = NULL;
	version.origin = "local";
	version.items = model->n_items;
	version.seconds = fmoe_seconds_since(refresh->started);
	version.metrics = metrics_of(refresh->live);
	fmoe_store_version(&version, n_arrays, arrays);
	fmoe_set_live(refresh->domain, version.version_id);
	return version.version;
}

static int
run(Refresh *refresh)
{
	bool		learned = !fmoe_only_counts(fmoe_expert_classes[refresh->live->config.model]);
	unsigned	reads = what_it_reads(refresh);
	size_t		bytes = load_live(refresh);
	FmoeModel  *model = palloc0(sizeof(FmoeModel));

	fmoe_progress_phase("reading items");
	fmoe_read_catalogue(&refresh->read, refresh->domain, reads, refresh->vocabulary,
						learned ? &refresh->model.features : NULL, bytes);
	check_order(refresh);
	if (says_nothing_new(refresh))
	{
		ereport(NOTICE,
				(errmsg("version %d of domain \"%s\" has what the item table says already", refresh->live->version,
						refresh->domain->name)));
		return refresh->live->version;
	}
	/* what was loaded, what the item table says, and the arrays over all items */
	bytes += fmoe_features_bytes(&refresh->read.features) + (size_t)
		((double) bytes * fmoe_vocabulary_count(refresh->read.vocabulary) / Max(refresh->live->items, 1));
	fmoe_check_memory(bytes, psprintf("refreshing domain \"%s\"", refresh->domain->name));
	fmoe_model_extend(model, refresh->arena, &refresh->model, fmoe_vocabulary_count(refresh->read.vocabulary),
					  refresh->read.number, &refresh->read.features);
	fmoe_progress_phase("storing");
	return store(refresh, model);
}

Datum
fmoe_refresh(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	FmoeTraining lock = {.atomic = true};
	Refresh    *refresh;
	volatile int version = 0;

	PreventCommandDuringRecovery("fmoe_refresh()");
	PreventCommandIfReadOnly("fmoe_refresh()");
	PreventCommandIfParallelMode("fmoe_refresh()");
	refresh = palloc0(sizeof(Refresh));
	refresh->started = GetCurrentTimestamp();
	refresh->context = AllocSetContextCreate(caller, "fmoe refresh", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(refresh->context);
	fmoe_fresh_begin();
	refresh->domain = lock.domain = fmoe_domain_argument(fcinfo, 0, FMOE_MANAGE);
	fmoe_training_lock(&lock);
	find_live(refresh);
	refresh->arena = fmoe_arena(refresh->context, fmoe_max_memory_kb);
	fmoe_progress_start(refresh->domain->id, "loading", &refresh->live->config);
	PG_TRY();
	{
		version = run(refresh);
	}
	PG_FINALLY();
	{
		fmoe_progress_end();
	}
	PG_END_TRY();
	fmoe_fresh_end();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(refresh->context);
	PG_RETURN_INT32(version);
}

/*
 * fit_train.c
 *	  fmoe_fit trains on what it collected.
 *
 * Ids are numbered in the order of their types and events sorted by user,
 * time and item, so that the bytes of the model depend on the rows, the
 * options and the seed alone.  Training is fmoe_train's, in this process and
 * without checkpoints.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/file/file.h"
#include "pg/ingest/ingest.h"
#include "pg/option/option.h"
#include "pg/train/fit.h"
#include "pg/train/train.h"

PG_FUNCTION_INFO_V1(fmoe_fit_final);

#define POLL_EVERY 65536

/* Makes a dataset of the collected events, users and items numbered in the order of their ids. */
static FmoeVocabulary *
fit_dataset(const FmoeFitState *state, FmoeDataset *data, double *last_event)
{
	int64		n = state->events.count;
	int32		n_items = fmoe_vocabulary_count(state->items.set);
	int32	   *user_of = fmoe_idset_ranks(state->users.set);
	int32	   *item_of = MemoryContextAllocHuge(CurrentMemoryContext, n_items * sizeof(int32));
	int64	   *user = MemoryContextAllocHuge(CurrentMemoryContext, n * sizeof(int64));
	FmoeCollected events = {0};
	FmoeVocabulary *vocabulary = fmoe_vocabulary_of_idset(state->items.set, item_of);

	*last_event = -INFINITY;
	for (int64 i = 0; i < n; i++)
	{
		user[i] = user_of[state->user[i]];
		*last_event = Max(*last_event, state->events.events.time[i]);
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
	fmoe_collect_all(&events, &state->events, item_of);
	fmoe_build_dataset(data, n, fmoe_vocabulary_count(state->users.set), n_items, user, &events.events);
	pfree(user);
	pfree(events.memory);
	return vocabulary;
}

static void
train_weights(FnnArena *arena, const FmoeConfig *config, const FmoeDataset *data, FmoeModel *model)
{
	const FnnHost *host = fnn_arena_host(arena);
	void	   *shared = host->allocate(host->context, fmoe_trainer_shared_bytes(arena, config, data));
	FmoeTrainer *trainer = fmoe_trainer_attach(arena, config, data, shared);
	FmoeTrainState *state = fmoe_trainer_state(trainer);
	FmoeTeam	team = {.rank = 0, .size = 1};

	fmoe_trainer_start(trainer);
	fmoe_draw_secret(trainer);
	while (!state->finished)
	{
		fmoe_trainer_epoch(trainer, &team);
		fmoe_check_learning(trainer, NULL);
		CHECK_FOR_INTERRUPTS();
	}
	fmoe_trainer_model(trainer, NULL, model);
}

/* Trains the model; config changes to what was trained. */
static void
fit_model(const FmoeFitState *state, FmoeConfig *config, const FmoeDataset *data, FmoeModel *model)
{
	FnnArena   *arena = fmoe_arena(CurrentMemoryContext, fmoe_max_memory_kb);
	size_t		bytes = fmoe_fit_bytes(state) + MemoryContextMemAllocated(CurrentMemoryContext, true);

	if (!fmoe_only_counts(fmoe_expert_classes[config->model]) &&
		!fmoe_is_gated(fmoe_expert_classes[config->model], config) && !fmoe_anything_to_learn(data, config))
	{
		ereport(NOTICE,
				(errmsg("no user has two baskets to learn from, so the model counts instead of learning")));
		fmoe_count_instead(config);
	}
	fmoe_choose_loss(config, data->n_items);
	fmoe_complete_config(config, data);
	fmoe_check_config(config);

	/* the experts that count, and their arrays once more in the result */
	bytes += 2 * fmoe_counts_bytes(config, data);
	bytes += fmoe_basket_count_bytes(arena, data);
	if (!fmoe_only_counts(fmoe_expert_classes[config->model]))
		bytes += fmoe_trainer_shared_bytes(arena, config, data) + fmoe_trainer_private_bytes(arena, config, data);
	fmoe_check_memory(bytes, psprintf("fmoe_fit over " INT64_FORMAT " rows", state->events.count));

	if (fmoe_only_counts(fmoe_expert_classes[config->model]))
		fmoe_count_experts(model, arena, config, data);
	else
		train_weights(arena, config, data, model);
}

Datum
fmoe_fit_final(PG_FUNCTION_ARGS)
{
	const FmoeFitState *state = PG_ARGISNULL(0) ? NULL : (FmoeFitState *) PG_GETARG_POINTER(0);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	FmoeExpertFile file = {0};
	FmoeVersion *facts = &file.facts;
	FmoeDataset data = {0};
	FmoeModel  *model;
	FmoeVocabulary *vocabulary;
	bytea	   *result;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "called outside of an aggregate");
	if (state == NULL || state->events.count == 0)
		PG_RETURN_NULL();

	context = AllocSetContextCreate(caller, "fmoe fit", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	model = palloc0(sizeof(FmoeModel));
	vocabulary = fit_dataset(state, &data, &facts->last_event);
	facts->config = state->config;
	fit_model(state, &facts->config, &data, model);

	facts->model = fmoe_expert_names[facts->config.model];
	facts->complete = true;
	facts->holdout = fmoe_holdout_names[facts->config.holdout];
	facts->events = data.n_events;
	facts->users = data.n_users;
	facts->items = data.n_items;
	file.item_type = fmoe_id_type_name(state->items.type);
	file.arrays = palloc(sizeof(FnnArray) * (fmoe_model_arrays_max(model) + 2));
	file.n_arrays = fmoe_model_arrays(model, file.arrays, fmoe_model_arrays_max(model));
	file.n_arrays += fmoe_vocabulary_arrays(vocabulary, file.arrays + file.n_arrays);
	MemoryContextSwitchTo(caller);

	result = fmoe_expert_write(&file);
	MemoryContextDelete(context);
	PG_RETURN_BYTEA_P(result);
}

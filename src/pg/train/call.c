/*
 * call.c
 *	  CALL fmoe_train: interactions in, a new version out.
 *
 * Phases, and what is held in each:
 *
 *	  reading	  The interactions are copied into memory under
 *				  an ordinary snapshot.  Then the transaction is committed.
 *	  training	  No snapshot: vacuum is not held back.  After every epoch a
 *				  short transaction writes the checkpoint.
 *	  evaluating  No snapshot either, but while the live version is read.
 *	  storing	  One transaction: the domain is looked at again, the version,
 *				  its deployment and the end of the checkpoint are written.
 *
 * Epochs are computed by this process and parallel workers (crew.c).
 *
 * Inside a transaction block, a function, or a DO block in one, the caller's
 * transaction may not be ended: all is one transaction then, without checkpoints.
 *
 * Everything lies in one memory context under TopMemoryContext, since it has to
 * outlive transactions; every way out deletes it.  What else is held for so long is
 * in hold.c.
 *
 * A training that was cut off continues from its last committed epoch when
 * the same options meet the same interactions: all random numbers are
 * functions of seed, epoch and step, so the weights come out the same.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/option/option.h"
#include "pg/store/checkpoint.h"
#include "pg/train/training.h"

PG_FUNCTION_INFO_V1(fmoe_train);

/* ---------------------------------------------------------------- preparing */

/* Limits the epochs to those of all rounds. */
static void
limit_epochs(FmoeConfig *config)
{
	int			local_epochs;
	int			rounds = fmoe_rounds(config, &local_epochs);

	if (rounds > 0)
		config->epochs = Min(config->epochs, rounds * local_epochs);
}

void
fmoe_training_complete(FmoeTraining *training)
{
	FmoeConfig	asked = training->config;
	FmoeConfig	same;

	training->borrowing = fmoe_borrow(training->domain, &training->config);
	if (training->options != NULL)
		fmoe_borrow_check_given(training->options, &asked, &training->config);
	fmoe_find_inputs(training->domain, training->interactions->data.features, &training->config);
	fmoe_borrow_prior(training->domain, &training->config, training->borrowing);
	fmoe_choose_loss(&training->config, training->interactions->data.n_items);
	fmoe_complete_config(&training->config, &training->interactions->data);
	fmoe_check_config(&training->config);
	fmoe_borrow_check(training->domain, &training->config, training->borrowing);
	same = training->config;
	same.workers = 0;
	same.checkpoint_every = 0;
	same.deploy = true;
	training->identity = fmoe_config_jsonb(&same);
}

/* Weights that nothing has been learned into are no model: what is chosen most often is. */
static void
count_if_nothing_to_learn(FmoeTraining *training)
{
	bool		gated;

	if (fmoe_only_counts(fmoe_expert_classes[training->config.model]) ||
		fmoe_anything_to_learn(&training->interactions->data, &training->config))
		return;
	gated = fmoe_is_gated(fmoe_expert_classes[training->config.model], &training->config);
	training->untrained = true;
	ereport(NOTICE,
			(errmsg("domain \"%s\" has no transition from one basket to another to learn from",
					training->domain->name),
			 errdetail_internal("%s", gated ? "The version answers by what counts."
								: "The version answers by popularity.")));
	if (!gated)
		fmoe_count_instead(&training->config);
}

/* Whether what is known of items is enough to begin with, where nobody has chosen any. */
static bool
begins_without_events(const FmoeTraining *training)
{
	const FmoeExpertClass *class = fmoe_expert_classes[training->config.model];

	return (training->adopted || (fmoe_only_counts(class) && class->counter->first_day)) &&
		training->interactions->data.features != NULL;
}

static void
show_items(void)
{
	fmoe_progress_phase("reading items");
}

void
fmoe_training_read(FmoeTraining *training)
{
	const FmoeExpertClass *class = fmoe_expert_classes[training->config.model];
	const char *source = class->source != NULL ? class->source(&training->config) : NULL;
	unsigned	reads = fmoe_reads(fmoe_expert_classes[training->config.model], &training->config);
	FmoeInteractions *interactions;
	char	   *reasons;

	if (source != NULL && source[0] != '\0')
		fmoe_domain_set_source(training->domain, source);
	interactions = fmoe_read_domain(training->domain, reads, show_items);
	training->interactions = interactions;
	reasons = fmoe_reasons_left_out(interactions);
	if (interactions->data.n_events == 0 && !begins_without_events(training))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("domain \"%s\" has no interactions", training->domain->name),
				 reasons == NULL ? 0 : errdetail("Rows left out: %s.", reasons)));
	if (fmoe_targets_counting(&interactions->data.events, 0, interactions->data.n_events) == 0 &&
		!begins_without_events(training))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("no interaction of domain \"%s\" counts", training->domain->name),
				 errdetail("Column \"%s\" is 0 in all of them, which makes them context only.",
						   training->domain->optional[FMOE_WEIGHT_COLUMN].name)));
	fmoe_training_check_times(training);
	fmoe_training_check_labels(training);
	fmoe_training_check_features(training);
	fmoe_tell_left_out(training->domain, interactions);
}

/* ---------------------------------------------------------------- epochs */

static void
show_batch(void *context, int64_t batch, int64_t batches, double loss)
{
	const FmoeTraining *training = context;
	const FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	double		done = state->epoch - training->first_epoch + (double) batch / Max(batches, 1);
	double		all = fmoe_trainer_epochs(training->trainer) - training->first_epoch;

	fmoe_progress_batch(batch, batches, loss,
						done > 0 ? fmoe_seconds_since(training->epochs_started) / done * (all - done) : NAN);
}

/*
 * Continues a training that was cut off, or starts afresh.  A checkpoint that
 * cannot be continued is discarded.
 */
static void
start_or_resume(FmoeTraining *training)
{
	FmoeTrainer *trainer = training->trainer;
	int64		domain_id = training->domain->id;
	const char *reason = NULL;

	fmoe_trainer_start(trainer);
	fmoe_draw_secret(trainer);
	switch (fmoe_checkpoint_load(domain_id, training->identity, training->interactions->fingerprint,
								 trainer, &training->earlier_seconds))
	{
		case FMOE_RESUME_READY:
			ereport(NOTICE,
					(errmsg("continuing the training that was cut off after epoch %d",
							fmoe_trainer_state(trainer)->epoch)));
			return;
		case FMOE_RESUME_NONE:
			fmoe_checkpoint_discard(domain_id);
			break;
		case FMOE_RESUME_OTHER_DATA:
			reason = "The interactions, or what is known of the items, have changed since.";
			break;
		case FMOE_RESUME_OTHER_CONFIG:
			reason = "It was started with other options.";
			break;
		case FMOE_RESUME_DAMAGED:
			reason = "What is stored of it is damaged.";
			break;
	}
	if (reason != NULL)
	{
		fmoe_checkpoint_discard(domain_id);
		ereport(NOTICE,
				(errmsg("an unfinished training of domain \"%s\" is discarded", training->domain->name),
				 errdetail_internal("%s", reason)));
		fmoe_trainer_start(trainer);
		fmoe_draw_secret(trainer);
	}
	if (training->config.warm_start)
		fmoe_training_start_warm(training);
	fmoe_borrow_weights(training->borrowing, trainer);
}

/* After an epoch; due: a checkpoint is to be taken however short it is ago. */
static void
save_epoch(FmoeTraining *training, bool due)
{
	if (training->atomic)
		return;
	(void) fmoe_training_recheck(training);
	if (due || fmoe_seconds_since(training->saved) >= training->config.checkpoint_every)
	{
		fmoe_checkpoint_save(training->domain->id, training->identity, training->interactions->fingerprint,
							 fmoe_trainer_epochs(training->trainer), training->trainer, training->saved_epoch,
							 training->earlier_seconds + fmoe_seconds_since(training->started));
		training->saved = GetCurrentTimestamp();
		training->saved_epoch = fmoe_trainer_state(training->trainer)->epoch;
	}
	fmoe_training_commit(training);
}

static void
run_epochs(FmoeTraining *training)
{
	FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	FmoeTeam	team = {.rank = 0, .size = 1, .context = training, .progress = show_batch};
	MemoryContext scratch = AllocSetContextCreate(training->context, "fmoe epoch", ALLOCSET_DEFAULT_SIZES);
	int			local;
	bool		exchanges = fmoe_rounds(&training->config, &local) > 0 &&
		fmoe_federated(fmoe_expert_classes[training->config.model], &training->config) != NULL;

	fmoe_progress_phase("training");
	training->first_epoch = state->epoch;
	training->epochs_started = training->saved = GetCurrentTimestamp();
	training->saved_epoch = state->epoch;
	if (exchanges)
		fmoe_training_begin_exchanges(training);
	while (!state->finished)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		int			local_epochs;
		bool		rounds = fmoe_rounds(&training->config, &local_epochs) > 0;

		if (rounds && !exchanges && state->epoch % local_epochs == 0)
			fmoe_training_begin_round(training, state->epoch / local_epochs + 1);
		fmoe_crew_epoch(training->crew, training->trainer, &team);
		if (state->epoch > 0)
		{
			bool		round_ends = rounds && (state->finished || state->epoch % local_epochs == 0);

			fmoe_check_learning(training->trainer, training->domain->name);
			if (round_ends && exchanges)
				fmoe_training_exchange(training, (state->epoch + local_epochs - 1) / local_epochs);
			else if (round_ends)
				/* the sharing policy may have changed */
				fmoe_lend_round(fmoe_domain_open(fmoe_training_recheck(training), FMOE_MANAGE),
								training->interactions, &training->config, training->trainer,
								(state->epoch + local_epochs - 1) / local_epochs);
			/* a round is committed as a whole */
			if (!rounds || round_ends)
				save_epoch(training, rounds);
			fmoe_training_report_epoch(training);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	fmoe_training_report_spent(training);
}

static void
train_weights(FmoeTraining *training)
{
	const FmoeDataset *data = &training->interactions->data;
	size_t		shared_bytes = fmoe_trainer_shared_bytes(training->arena, &training->config, data);

	training->crew = fmoe_crew(&training->config, data, shared_bytes, fnn_arena_host(training->arena));
	training->trainer = fmoe_crew_trainer(training->crew, training->arena);
	start_or_resume(training);
	fmoe_training_commit(training);
	run_epochs(training);
}

/* ---------------------------------------------------------------- storing */

static FmoeVersion *
store(FmoeTraining *training, const FmoeModel *model, const FmoeVerdict *verdict)
{
	const FmoeInteractions *interactions = training->interactions;
	FmoeVersion *version = palloc0(sizeof(FmoeVersion));
	int			max = fmoe_model_arrays_max(model);
	FnnArray   *arrays = palloc(sizeof(FnnArray) * (max + 2));
	int			n_arrays = fmoe_model_arrays(model, arrays, max);

	n_arrays += fmoe_vocabulary_arrays(interactions->vocabulary, arrays + n_arrays);
	version->domain_id = training->domain->id;
	version->model = fmoe_expert_classes[training->config.model]->name;
	version->origin = "local";
	version->complete = true;
	version->holdout = fmoe_holdout_names[training->config.holdout];
	version->config = model->config;
	version->events = interactions->data.n_events;
	version->users = interactions->data.n_users;
	version->items = interactions->data.n_items;
	version->last_event = interactions->last_event;
	version->last_event_local = fmoe_is_local_time(training->domain->time_type);
	version->seconds = training->earlier_seconds + fmoe_seconds_since(training->started);
	version->metrics = fmoe_verdict_metrics(verdict, &training->config, &training->state);
	fmoe_store_version(version, n_arrays, arrays);
	if (fmoe_private_rows(model) != NULL)
		fmoe_store_private(version->version_id, interactions->users, training->domain->user_type,
						   fmoe_private_rows(model));
	if (training->trainer != NULL && !training->adopted)
		fmoe_checkpoint_discard(training->domain->id);
	return version;
}

static void
show_evaluation(void *context, int64 done, int64 all)
{
	const FmoeTraining *training = context;

	fmoe_progress_evaluation(done, all, done > 0
							 ? fmoe_seconds_since(training->evaluation_started) / done * (all - done) : NAN);
}

/* A model of clicks that counting beats does not answer: the best baseline takes its place. */
static void
answer_by_baseline(FmoeTraining *training, FmoeModel **model, FmoeVerdict *verdict)
{
	const FmoeExpertClass *baseline = fmoe_verdict_baseline(verdict);
	const FmoeExpertClass *class = fmoe_expert_classes[training->config.model];

	if (baseline == NULL || fmoe_only_counts(class) || !training->config.deploy)
		return;
	ereport(WARNING,
			(errmsg("model \"%s\" of domain \"%s\" is no better than counting", class->name,
					training->domain->name),
			 errdetail("Its validation AUC is %.4f and its log-loss %.4f; the version answers by %s.",
					   verdict->clicks.auc, verdict->clicks.log_loss, baseline->name)));
	fmoe_verdict_count_instead(verdict, baseline);
	training->config.model = fmoe_expert_number(baseline);
	memset(&training->config.own, 0, sizeof(training->config.own));
	*model = palloc0(sizeof(FmoeModel));
	fmoe_count_experts(*model, training->arena, &training->config, &training->interactions->data);
}

void
fmoe_training_finish(FmoeTraining *training)
{
	FmoeWatch	watch = {.progress = show_evaluation, .context = training};
	FmoeModel  *model = palloc0(sizeof(FmoeModel));
	FmoeVerdict *verdict;
	FmoeVersion *version;
	FmoeDomain *domain;
	char	   *objection = NULL;

	fmoe_progress_phase("evaluating");
	training->evaluation_started = GetCurrentTimestamp();
	if (training->trainer != NULL)
	{
		fmoe_trainer_model(training->trainer, &training->borrowing->prior, model);
		training->state = *fmoe_trainer_state(training->trainer);
	}
	else
		fmoe_count_experts(model, training->arena, &training->config, &training->interactions->data);
	fmoe_training_check_extension(training);
	verdict = fmoe_try_model(training->domain, training->interactions, model,
							 training->config.deploy ? training->live : NULL, &watch);
	answer_by_baseline(training, &model, verdict);
	fmoe_count_together(model, training->arena, &training->interactions->data);
	verdict->untrained = training->untrained;
	if (training->trainer != NULL)
		verdict->optimism = fmoe_optimism(model, &training->state);
	verdict->lent_gates = training->borrowing->gates;
	fmoe_training_commit(training);

	fmoe_progress_phase("storing");
	domain = fmoe_domain_open(fmoe_training_recheck(training), FMOE_MANAGE);
	version = store(training, model, verdict);
	training->version = version->version;
	if (training->config.deploy)
	{
		objection = fmoe_verdict_objection(verdict);
		if (objection == NULL)
			fmoe_set_live(domain, version->version_id);
	}
	fmoe_training_commit(training);
	if (training->trainer != NULL && !training->atomic)
	{
		fmoe_checkpoint_give_back();
		fmoe_training_commit(training);
	}
	fmoe_training_report_version(training, version, verdict, objection);
}

/* ---------------------------------------------------------------- the call */

static bool
is_atomic(FunctionCallInfo fcinfo)
{
	return fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic || IsSubTransaction();
}

static void
train(FmoeTraining *training, FunctionCallInfo fcinfo)
{
	const FmoeExpertClass *class;

	training->started = GetCurrentTimestamp();
	/* called from a procedure or DO, the snapshot there is may be as old as the transaction */
	fmoe_fresh_begin();
	training->fresh = true;
	training->domain = fmoe_domain_argument(fcinfo, 0, FMOE_MANAGE);
	training->tables = fmoe_own_relation("domain");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("options must not be null")));
	training->options = PG_GETARG_JSONB_P_COPY(1);
	fmoe_parse_asked(training->options, &fmoe_train_call, &training->config);
	fmoe_training_check_budget(&training->config);
	limit_epochs(&training->config);
	class = fmoe_expert_classes[training->config.model];
	if (class->goes_live != NULL && !class->goes_live(&training->config))
		training->config.deploy = false;
	fmoe_training_check_features(training);
	fmoe_training_lock(training);
	fmoe_progress_start(training->domain->id, "reading", &training->config);

	fmoe_training_read(training);
	training->arena = fmoe_arena(training->context, fmoe_max_memory_kb);
	count_if_nothing_to_learn(training);
	fmoe_training_complete(training);
	training->live = fmoe_find_version(training->domain, 0);
	fmoe_training_announce(training);
	if (!fmoe_only_counts(fmoe_expert_classes[training->config.model]))
		train_weights(training);
	else
		fmoe_training_commit(training);
	fmoe_training_finish(training);
}

Datum
fmoe_train(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	FmoeTraining *training;

	PreventCommandDuringRecovery("CALL fmoe_train()");
	PreventCommandIfReadOnly("CALL fmoe_train()");
	PreventCommandIfParallelMode("CALL fmoe_train()");

	context = AllocSetContextCreate(TopMemoryContext, "fmoe training", ALLOCSET_DEFAULT_SIZES);
	training = MemoryContextAllocZero(context, sizeof(FmoeTraining));
	training->context = context;
	training->atomic = is_atomic(fcinfo);
	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		train(training, fcinfo);
	}
	PG_FINALLY();
	{
		fmoe_progress_end();
		if (training->crew != NULL)
			fmoe_crew_dismiss(training->crew);
		fmoe_training_unlock(training);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

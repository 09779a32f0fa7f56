/*
 * train.c
 *	  CALL fmoe_train: interactions in, a new version out.
 *
 * Phases, and what is held in each:
 *
 *	  reading	  The interactions are copied into memory as the caller, under
 *				  an ordinary snapshot.  Then the transaction is committed.
 *	  training	  No snapshot: vacuum is not held back.  After every epoch a
 *				  short transaction writes the checkpoint.
 *	  evaluating  No snapshot either, but while the live version is read.
 *	  storing	  One transaction: the domain is looked at again, the version,
 *				  its deployment and the end of the checkpoint are written.
 *
 * Epochs are computed by this process and parallel workers (crew.c).
 *
 * Where the caller's transaction may not be ended (a transaction block, a
 * function, a DO block inside one) the same work is one transaction without
 * checkpoints in between.
 *
 * Everything lives in one memory context under TopMemoryContext, because it
 * has to outlive transactions; it is deleted on every way out.  So is the
 * lock on the domain: where we commit it is a session lock, released by hand;
 * inside one transaction it is the transaction's.
 *
 * A training that was cut off continues from its last committed epoch when
 * the same options meet the same interactions: all random numbers are
 * functions of seed, epoch and step, so the weights come out the same.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "borrow.h"
#include "train.h"

/* Fourth field of our advisory locks: not a value that SQL's own functions use. */
#define LOCK_CLASS 0xF30E

PG_FUNCTION_INFO_V1(fmoe_train);

typedef struct Training
{
	MemoryContext context;
	bool		atomic;
	bool		locked;			/* session lock to be released by hand */
	FmoeDomain *domain;
	FmoeConfig	config;
	Jsonb	   *identity;		/* the options that the weights depend on */
	FmoeInteractions *interactions;
	FmoeVersion *live;			/* when training began; NULL: none */
	FmoeBorrowing *borrowing;
	FnnArena   *arena;
	FmoeCrew   *crew;			/* NULL for experts that only count … */
	FmoeTrainer *trainer;		/* … as is this */
	FmoeTrainState state;		/* of the finished training */
	TimestampTz started;
	double		earlier_seconds;	/* spent before the training was cut off */
	TimestampTz epochs_started; /* for the estimate of the time left … */
	int			first_epoch;	/* … done before that */
} Training;

static FmoeStatement domain_unchanged = {
	"SELECT name FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1"
	" AND interactions::pg_catalog.oid OPERATOR(pg_catalog.=) $2"
	" AND user_column OPERATOR(pg_catalog.=) $3 AND item_column OPERATOR(pg_catalog.=) $4"
	" AND time_column OPERATOR(pg_catalog.=) $5 AND label_column IS NOT DISTINCT FROM $6"
	" AND item_type::pg_catalog.oid OPERATOR(pg_catalog.=) $7 FOR KEY SHARE",
	7, {INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID, NAMEOID, OIDOID}
};

/* ---------------------------------------------------------------- transactions and locks */

static double
seconds_since(TimestampTz start)
{
	return (GetCurrentTimestamp() - start) / (double) USECS_PER_SEC;
}

/* Ends the transaction and its snapshots, where that may be done; memory and lock stay. */
static void
commit(const Training *training)
{
	if (training->atomic)
		return;
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	SPI_commit();
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

static LOCKTAG
domain_lock(int64 domain_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((uint64) domain_id >> 32), (uint32) domain_id, LOCK_CLASS);
	return tag;
}

/* The process that holds a lock, 0 when it has just gone. */
static int
lock_holder(const LOCKTAG *tag)
{
	VirtualTransactionId *holder = GetLockConflicts(tag, ExclusiveLock, NULL);
	PGPROC	   *process;

	if (!VirtualTransactionIdIsValid(holder[0]))
		return 0;
	process = BackendIdGetProc(holder[0].backendId);
	return process == NULL ? 0 : process->pid;
}

static void
lock_domain(Training *training)
{
	LOCKTAG		tag = domain_lock(training->domain->id);

	if (LockAcquire(&tag, ExclusiveLock, !training->atomic, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("domain \"%s\" is being trained by process %d", training->domain->name, lock_holder(&tag)),
				 errhint("Its state is in fmoe.progress; SELECT pg_cancel_backend(pid) ends it.")));
	training->locked = !training->atomic;
}

/*
 * Makes sure, until the end of the transaction, that the domain is what was
 * read.  Returns its name, which may have changed.
 */
static char *
recheck_domain(const FmoeDomain *domain)
{
	FmoeOwn		own;
	MemoryContext caller = CurrentMemoryContext;
	NameData	label;
	char	   *name = NULL;
	Datum		values[7];
	char		nulls[7];

	memset(nulls, ' ', sizeof(nulls));
	fmoe_own_begin(&own);
	values[0] = Int64GetDatum(domain->id);
	values[1] = ObjectIdGetDatum(domain->interactions);
	values[2] = CStringGetTextDatum(domain->user_column);
	values[3] = CStringGetTextDatum(domain->item_column);
	values[4] = CStringGetTextDatum(domain->time_column);
	namestrcpy(&label, domain->label_column == NULL ? "" : domain->label_column);
	values[5] = NameGetDatum(&label);
	if (domain->label_column == NULL)
		nulls[5] = 'n';
	values[6] = ObjectIdGetDatum(domain->item_type);
	fmoe_own_execute(&domain_unchanged, values, nulls, false, 0);
	if (SPI_processed > 0)
		name = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	fmoe_own_end(&own);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" was dropped or altered while it was being trained", domain->name)));
	return name;
}

/* ---------------------------------------------------------------- preparing */

static void
parse_options(Training *training, Jsonb *options)
{
	FmoeConfig *config = &training->config;

	fmoe_parse_options(options, fmoe_train_options, config);
	fmoe_check_given(options, fmoe_train_options, fmoe_expert_classes[config->model]->name, config);
	fmoe_check_config(config);
}

/* Settles what depends on the data. */
static void
settle_options(Training *training)
{
	FmoeConfig	same = {0};

	training->borrowing = fmoe_borrow(training->domain, &training->config);
	if (training->config.rounds > 0)
		training->config.epochs = Min(training->config.epochs, training->config.rounds * training->config.local_epochs);
	fmoe_config_settle(&training->config, training->interactions->data.n_items);
	fmoe_check_config(&training->config);
	same = training->config;
	same.workers = 0;
	same.deploy = true;
	training->identity = fmoe_options_jsonb(fmoe_train_options, &same);
}

static void
read_interactions(Training *training)
{
	FmoeInteractions *interactions = fmoe_read_interactions(training->domain, NULL);

	training->interactions = interactions;
	if (interactions->data.n_events == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("domain \"%s\" has no interactions", training->domain->name),
				 interactions->skipped == 0 ? 0 :
				 errdetail("%lld rows have a NULL, a time that is not finite or a label that is not positive.",
						   (long long) interactions->skipped)));
	if (interactions->skipped > 0)
		ereport(NOTICE,
				(errmsg("%lld rows are left out", (long long) interactions->skipped),
				 errdetail("They have a NULL, a time that is not finite or a label that is not positive.")));
}

/* Says how much memory the training will take, and refuses when that is not allowed. */
static void
announce(Training *training)
{
	const FmoeDataset *data = &training->interactions->data;
	const FmoeConfig *config = &training->config;
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	size_t		bytes = MemoryContextMemAllocated(training->context, true);
	char	   *what = psprintf("training domain \"%s\"", training->domain->name);

	/* the count experts: an item's share of popularity, and at most one transition an event */
	bytes += (size_t) data->n_items * 4 * sizeof(int64) + (size_t) data->n_events * 3 * sizeof(int64);
	bytes += fmoe_try_bytes(training->interactions, training->live);
	if (!fmoe_counts(class))
	{
		size_t		shared = fmoe_trainer_shared_bytes(training->arena, config, data);
		int			workers = fmoe_crew_workers(config, data);

		bytes += (workers + 1) * fmoe_trainer_private_bytes(training->arena, config, data);
		bytes += workers > 0 ? fmoe_crew_bytes(data, shared) : shared;
	}
	ereport(NOTICE,
			(errmsg("%s: %lld events of %lld users on %d items, %s, up to %zu MB of memory", what,
					(long long) data->n_events, (long long) data->n_users, data->n_items, class->name,
					bytes / (1024 * 1024) + 1)));
	fmoe_check_memory(bytes, what);
	if (training->atomic && !fmoe_counts(class))
		ereport(NOTICE,
				(errmsg("training runs inside a transaction, so epochs are not committed one by one"),
				 errdetail("If it is cut off, all of it is lost.")));
}

/* ---------------------------------------------------------------- starting from the live version */

/*
 * The live version's item table with its rows where the new numbering wants
 * them; items it does not know keep the fresh row the trainer has drawn.
 */
static void
map_item_rows(const Training *training, FnnArray *table, const FmoeVocabulary *vocabulary)
{
	const FmoeVocabulary *new = training->interactions->vocabulary;
	FnnParams  *params = palloc0(sizeof(FnnParams));
	const FmoeExpertClass *class = fmoe_expert_classes[training->config.model];
	size_t		row_bytes;
	size_t		bytes;
	char	   *fresh;
	char	   *rows;
	int32		i;

	class->declare(params, fnn_arena_host(training->arena), &training->config, fmoe_vocabulary_count(new));
	if (strcmp(params->list[0].name, table->name) != 0 || table->dtype != FNN_F32 || table->ndim != 2 ||
		table->shape[1] != params->list[0].cols)
		return;
	row_bytes = params->list[0].cols * sizeof(fnn_real);
	fresh = (char *) fmoe_trainer_block(training->trainer, FMOE_BLOCK_VALUES, &bytes) +
		params->list[0].offset * sizeof(fnn_real);
	bytes = row_bytes * params->list[0].rows;
	rows = MemoryContextAllocHuge(CurrentMemoryContext, bytes);
	memcpy(rows, fresh, bytes);
	for (i = 0; i < fmoe_vocabulary_count(new); i++)
	{
		int32		known = fmoe_vocabulary_find(vocabulary, fmoe_vocabulary_id(new, i));

		if (known >= 0)
			memcpy(rows + i * row_bytes, (char *) table->data + known * row_bytes, row_bytes);
		CHECK_FOR_INTERRUPTS();
	}
	table->data = rows;
	table->bytes = bytes;
	table->shape[0] = params->list[0].rows;
}

static void
start_warm(const Training *training)
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
	n_arrays = fmoe_load_arrays(live->expert_id, context, &arrays, &bytes);
	if (live->complete)
	{
		vocabulary = fmoe_vocabulary_bind(domain->item_type, domain->item_collation, live->items, n_arrays, arrays);
		for (i = 0; i < n_arrays; i++)
			if (arrays[i].ndim == 2 && arrays[i].shape[0] == live->items)
				map_item_rows(training, &arrays[i], vocabulary);
	}
	adopted = fmoe_trainer_adopt(training->trainer, n_arrays, arrays);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	ereport(NOTICE,
			(errmsg("training starts with %d parameters of version %d", adopted, live->version)));
}

/* ---------------------------------------------------------------- epochs */

static void
show_batch(void *context, int64_t batch, int64_t batches, double loss)
{
	const Training *training = context;
	const FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	double		done = state->epoch - training->first_epoch + (double) batch / Max(batches, 1);
	double		all = training->config.epochs - training->first_epoch;

	fmoe_progress_batch(batch, batches, loss,
						done > 0 ? seconds_since(training->epochs_started) / done * (all - done) : NAN);
}

static void
report_epoch(const Training *training)
{
	const FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	double		elapsed = seconds_since(training->epochs_started);
	double		left = elapsed / (state->epoch - training->first_epoch) * (training->config.epochs - state->epoch);
	StringInfoData text;

	fmoe_progress_epoch(state->epoch, state->loss, state->metric);
	initStringInfo(&text);
	appendStringInfo(&text, "epoch %d/%d: loss %.4f", state->epoch, training->config.epochs, state->loss);
	if (!isnan(state->metric))
		appendStringInfo(&text, ", validation NDCG@10 %.4f (best %.4f in epoch %d)",
						 state->metric, state->best_metric, state->best_epoch);
	if (state->finished && state->epoch < training->config.epochs)
		appendStringInfo(&text, ", no better for %d epochs", state->stale_epochs);
	else if (!state->finished)
		appendStringInfo(&text, ", at most %.0f s left", ceil(left));
	ereport(NOTICE, (errmsg_internal("%s", text.data)));
	pfree(text.data);
}

/*
 * Continues what was cut off, or starts afresh.  What cannot be continued is
 * discarded.
 */
static void
start_or_resume(Training *training)
{
	FmoeTrainer *trainer = training->trainer;
	int64		domain_id = training->domain->id;
	const char *reason = NULL;

	fmoe_trainer_start(trainer);
	switch (fmoe_checkpoint_load(domain_id, training->identity, training->interactions->fingerprint,
								 trainer, &training->earlier_seconds))
	{
		case FMOE_RESUME_READY:
			ereport(NOTICE,
					(errmsg("continuing the training that was cut off after epoch %d",
							fmoe_trainer_state(trainer)->epoch)));
			return;
		case FMOE_RESUME_NONE:
			break;
		case FMOE_RESUME_OTHER_DATA:
			reason = "The interactions have changed since.";
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
	}
	if (training->config.warm_start)
		start_warm(training);
	fmoe_borrow_start(training->domain, &training->config, trainer);
	fmoe_borrow_weights(training->borrowing, trainer);
}

/* ---------------------------------------------------------------- rounds */

/* What peers have lent since the last round comes in. */
static void
begin_round(Training *training, int round)
{
	int			newer;

	fmoe_progress_phase("exchanging");
	fmoe_sync_peers();
	newer = fmoe_borrow_newer(training->domain, training->borrowing, &training->config, training->trainer);
	commit(training);
	fmoe_progress_phase("training");
	ereport(NOTICE,
			(errmsg("round %d/%d: %d of %d lent experts are newer", round, training->config.rounds, newer,
					training->borrowing->count)));
}

static void
save_epoch(const Training *training)
{
	if (training->atomic)
		return;
	(void) recheck_domain(training->domain);
	fmoe_checkpoint_save(training->domain->id, training->identity, training->interactions->fingerprint,
						 training->config.epochs, training->trainer,
						 training->earlier_seconds + seconds_since(training->started));
	commit(training);
}

/* Learning that blew up leaves no weights worth keeping, and the last checkpoint leads there again. */
static void
check_loss(const Training *training)
{
	const FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	size_t		bytes;
	const fnn_real *value = fmoe_trainer_block(training->trainer, FMOE_BLOCK_VALUES, &bytes);

	if (isfinite(state->loss) && fnn_all_finite(value, bytes / sizeof(fnn_real)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("training of domain \"%s\" diverged in epoch %d", training->domain->name, state->epoch),
			 errhint("Lower the option \"learning_rate\" or set \"clip_norm\".")));
}

static void
run_epochs(Training *training)
{
	FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	FmoeTeam	team = {.rank = 0, .size = 1, .context = training, .progress = show_batch};
	MemoryContext scratch = AllocSetContextCreate(training->context, "fmoe epoch", ALLOCSET_DEFAULT_SIZES);

	fmoe_progress_phase("training");
	training->first_epoch = state->epoch;
	training->epochs_started = GetCurrentTimestamp();
	while (!state->finished)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		int			local_epochs = training->config.local_epochs;
		bool		rounds = training->config.rounds > 0;

		if (rounds && state->epoch % local_epochs == 0)
			begin_round(training, state->epoch / local_epochs + 1);
		fmoe_crew_epoch(training->crew, training->trainer, &team);
		if (state->epoch > 0)
		{
			bool		round_ends = rounds && (state->finished || state->epoch % local_epochs == 0);

			check_loss(training);
			if (round_ends)
				/* the policy may have changed since */
				fmoe_lend_round(fmoe_domain_open(recheck_domain(training->domain), FMOE_MANAGE),
								training->interactions, &training->config, training->trainer,
								(state->epoch + local_epochs - 1) / local_epochs);
			/* a round is committed as a whole */
			if (!rounds || round_ends)
				save_epoch(training);
			report_epoch(training);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
	}
	if (state->epoch == 0)
		ereport(NOTICE,
				(errmsg("domain \"%s\" has no transition from one item to another to learn from",
						training->domain->name),
				 errdetail("The weights stay as they were drawn.")));
}

static void
train_weights(Training *training)
{
	const FmoeDataset *data = &training->interactions->data;
	size_t		shared_bytes = fmoe_trainer_shared_bytes(training->arena, &training->config, data);

	training->crew = fmoe_crew(&training->config, data, shared_bytes, fnn_arena_host(training->arena));
	training->trainer = fmoe_crew_trainer(training->crew, training->arena);
	start_or_resume(training);
	commit(training);
	run_epochs(training);
	training->state = *fmoe_trainer_state(training->trainer);
}

/* ---------------------------------------------------------------- storing */

static FmoeVersion *
store(Training *training, const FmoeModel *model, const FmoeVerdict *verdict)
{
	const FmoeInteractions *interactions = training->interactions;
	FmoeVersion *version = palloc0(sizeof(FmoeVersion));
	FnnArray   *arrays = palloc(sizeof(FnnArray) * (FMOE_MODEL_ARRAYS_MAX + 2));
	int			n_arrays = fmoe_model_arrays(model, arrays, FMOE_MODEL_ARRAYS_MAX);

	n_arrays += fmoe_vocabulary_arrays(interactions->vocabulary, arrays + n_arrays);
	version->domain_id = training->domain->id;
	version->model = fmoe_expert_classes[training->config.model]->name;
	version->origin = "local";
	version->complete = true;
	version->holdout = training->config.holdout == FMOE_HOLDOUT_NONE ? "none" :
		training->config.holdout == FMOE_HOLDOUT_VALIDATION ? "validation" : "test";
	version->config = model->config;
	version->events = interactions->data.n_events;
	version->users = interactions->data.n_users;
	version->items = interactions->data.n_items;
	version->last_event = interactions->last_event;
	version->seconds = training->earlier_seconds + seconds_since(training->started);
	version->metrics = fmoe_verdict_metrics(verdict, &training->state);
	fmoe_store_version(version, n_arrays, arrays);
	if (training->trainer != NULL)
		fmoe_checkpoint_discard(training->domain->id);
	return version;
}

static void
report_version(const Training *training, const FmoeVersion *version, const FmoeVerdict *verdict,
			   const char *objection)
{
	const char *domain = training->domain->name;

	if (objection != NULL)
	{
		ereport(WARNING,
				(errmsg("version %d of domain \"%s\" does not go live", version->version, domain),
				 errdetail_internal("%s", objection),
				 training->live != NULL ?
				 errhint("Recommendations go on coming from version %d.", training->live->version) :
				 errhint("Recommendations fall back to counting until a version goes live.")));
		return;
	}
	if (!training->config.deploy)
		ereport(NOTICE,
				(errmsg("version %d of domain \"%s\" is stored and not live", version->version, domain)));
	else if (verdict->cases == 0)
		ereport(NOTICE,
				(errmsg("version %d of domain \"%s\" is live", version->version, domain),
				 errdetail("It was not checked: no events were kept back for validation.")));
	else
		ereport(NOTICE,
				(errmsg("version %d of domain \"%s\" is live", version->version, domain),
				 errdetail("Validation NDCG@10: %s %.4f, popularity %.4f, first-order Markov %.4f.", version->model,
						   verdict->standing[FMOE_MAIN].ndcg, verdict->standing[FMOE_POPULARITY].ndcg,
						   verdict->standing[FMOE_MARKOV].ndcg)));
}

static void
finish(Training *training)
{
	FmoeModel  *model = palloc0(sizeof(FmoeModel));
	FmoeVerdict *verdict;
	FmoeVersion *version;
	FmoeDomain *domain;
	char	   *objection = NULL;

	fmoe_progress_phase("evaluating");
	if (training->trainer != NULL)
		fmoe_trainer_model(training->trainer, model);
	else
		fmoe_count_experts(model, training->arena, &training->config, &training->interactions->data);
	verdict = fmoe_try_model(training->domain, training->interactions, model,
							 training->config.deploy ? training->live : NULL);
	commit(training);

	fmoe_progress_phase("storing");
	domain = fmoe_domain_open(recheck_domain(training->domain), FMOE_MANAGE);
	version = store(training, model, verdict);
	if (training->config.deploy)
	{
		objection = fmoe_verdict_objection(verdict);
		if (objection == NULL)
			fmoe_set_live(domain->id, version->expert_id);
	}
	commit(training);
	report_version(training, version, verdict, objection);
}

/* ---------------------------------------------------------------- the call */

static bool
is_atomic(FunctionCallInfo fcinfo)
{
	return fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic || IsSubTransaction();
}

static void
train(Training *training, FunctionCallInfo fcinfo)
{
	training->started = GetCurrentTimestamp();
	training->domain = fmoe_domain_argument(fcinfo, 0, FMOE_MANAGE);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("options must not be NULL")));
	parse_options(training, PG_GETARG_JSONB_P(1));
	lock_domain(training);
	fmoe_progress_start(training->domain->id, "reading", training->config.epochs);

	read_interactions(training);
	training->arena = fmoe_arena(training->context, fmoe_max_memory_kb);
	settle_options(training);
	training->live = fmoe_find_version(training->domain, 0);
	announce(training);
	if (!fmoe_counts(fmoe_expert_classes[training->config.model]))
		train_weights(training);
	else
		commit(training);
	finish(training);
}

Datum
fmoe_train(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	Training   *training;

	PreventCommandDuringRecovery("CALL fmoe_train()");
	PreventCommandIfReadOnly("CALL fmoe_train()");
	PreventCommandIfParallelMode("CALL fmoe_train()");

	context = AllocSetContextCreate(TopMemoryContext, "fmoe training", ALLOCSET_DEFAULT_SIZES);
	training = MemoryContextAllocZero(context, sizeof(Training));
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
		if (training->locked)
		{
			LOCKTAG		tag = domain_lock(training->domain->id);

			LockRelease(&tag, ExclusiveLock, true);
		}
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(context);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}

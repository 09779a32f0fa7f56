/*
 * adopt.c
 *	  fmoe_adopt: a lent model as a version of a domain, without training.
 *
 * Only models that know items by their features alone can be: item vectors are
 * computed from the domain's own item table.  What counts is counted as for any
 * version, and its scores are not added to the model's.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/option/option.h"
#include "pg/train/training.h"

PG_FUNCTION_INFO_V1(fmoe_adopt);

/* Options are those that the lent model was made with, but for those that the domain decides. */
static void
take_options(FmoeTraining *training, const FmoeLent *lent)
{
	FmoeConfig *config = &training->config;
	FmoeInputList *inputs;

	*config = lent->facts.config;
	inputs = fmoe_inputs(config);
	if (inputs == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expert \"%s\" cannot be adopted", lent->name),
				 errdetail("Model \"%s\" has learned vectors of its own items.",
						   fmoe_expert_classes[config->model]->name),
				 errhint("CALL fmoe_train() takes it with the option \"start_encoder\" or \"experts\".")));
	/* nothing was trained on, so that all splits can judge it */
	config->holdout = FMOE_HOLDOUT_TEST;
	config->blend = 0;
	config->average = FMOE_AVERAGE_NONE;
	config->half_life_days = 0;
	config->warm_start = false;
	config->start_encoder[0] = '\0';
	config->deploy = false;
}

static void
adopt(FmoeTraining *training, const char *name)
{
	FmoeLent   *list;
	int			n = fmoe_lent_list(training->domain, false, &list);
	const FmoeLent *lent = fmoe_need_lent(training->domain, n, list, name);
	const FmoeDataset *data;

	take_options(training, lent);
	fmoe_training_check_features(training);
	fmoe_training_lock(training);
	fmoe_progress_start(training->domain->id, "reading", &training->config);
	fmoe_training_read(training);
	data = &training->interactions->data;
	training->arena = fmoe_arena(training->context, fmoe_max_memory_kb);
	training->adopted = true;
	fmoe_training_complete(training);
	training->borrowing->start = *lent;
	training->live = fmoe_find_version(training->domain, 0);
	training->crew = fmoe_crew(&training->config, data,
							   fmoe_trainer_shared_bytes(training->arena, &training->config, data),
							   fnn_arena_host(training->arena));
	training->trainer = fmoe_crew_trainer(training->crew, training->arena);
	fmoe_trainer_start(training->trainer);
	fmoe_borrow_weights(training->borrowing, training->trainer);
	training->state = *fmoe_trainer_state(training->trainer);
	fmoe_training_finish(training);
}

Datum
fmoe_adopt(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	FmoeTraining *training;
	volatile int version = 0;

	PreventCommandDuringRecovery("fmoe_adopt()");
	PreventCommandIfReadOnly("fmoe_adopt()");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("expert must not be null")));
	context = AllocSetContextCreate(caller, "fmoe adopt", ALLOCSET_DEFAULT_SIZES);
	training = MemoryContextAllocZero(context, sizeof(FmoeTraining));
	training->context = context;
	training->atomic = true;
	training->started = GetCurrentTimestamp();
	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		fmoe_fresh_begin();
		training->fresh = true;
		training->domain = fmoe_domain_argument(fcinfo, 0, FMOE_MANAGE);
		training->tables = fmoe_own_relation("domain");
		adopt(training, text_to_cstring(PG_GETARG_TEXT_PP(1)));
		version = training->version;
		if (training->fresh)
			fmoe_fresh_end();
	}
	PG_FINALLY();
	{
		fmoe_progress_end();
		if (training->crew != NULL)
			fmoe_crew_dismiss(training->crew);
		fmoe_training_unlock(training);
		MemoryContextSwitchTo(caller);
	}
	PG_END_TRY();
	MemoryContextDelete(context);
	PG_RETURN_INT32(version);
}

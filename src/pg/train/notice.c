/*
 * notice.c
 *	  What a training tells its caller: how large it is, each epoch, the result.
 *
 * The memory is estimated, and refused, before anything is trained.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "pg/train/training.h"

void
fmoe_training_announce(FmoeTraining *training)
{
	const FmoeDataset *data = &training->interactions->data;
	const FmoeConfig *config = &training->config;
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	size_t		bytes = MemoryContextMemAllocated(training->context, true);
	char	   *what = psprintf("training domain \"%s\"", training->domain->name);

	bytes += (size_t) fmoe_together_bytes(data);
	bytes += fmoe_try_bytes(training->interactions, training->live);
	if (fmoe_only_counts(class))
		bytes += fmoe_counts_bytes(data);
	else
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
	if (training->atomic && !fmoe_only_counts(class))
		ereport(NOTICE,
				(errmsg("training runs inside a transaction, so epochs are not committed one by one"),
				 errdetail("If it is cut off, all of it is lost.")));
}

void
fmoe_training_report_epoch(const FmoeTraining *training)
{
	const FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	double		elapsed = fmoe_seconds_since(training->epochs_started);
	double		left = elapsed / (state->epoch - training->first_epoch) * (training->config.epochs - state->epoch);
	StringInfoData text;

	fmoe_progress_epoch(state);
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

void
fmoe_training_report_version(const FmoeTraining *training, const FmoeVersion *version, const FmoeVerdict *verdict,
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

/*
 * rounds.c
 *	  Rounds of a federated training: some epochs, then an exchange of encoders.
 *
 * A round begins with what peers have lent since the last one, and ends with this
 * domain's encoder being lent, as the sharing policy allows.
 */
#include "postgres.h"

#include <math.h>

#include "pg/train/training.h"

void
fmoe_training_begin_round(FmoeTraining *training, int round)
{
	int			newer;
	int			local_epochs;

	fmoe_progress_phase("exchanging");
	fmoe_training_check_extension(training);
	fmoe_sync_peers();
	newer = fmoe_borrow_newer(training->domain, training->borrowing, &training->config, training->trainer);
	fmoe_training_commit(training);
	fmoe_progress_phase("training");
	ereport(NOTICE,
			(errmsg("round %d/%d: %d of %d lent experts are newer", round,
					fmoe_rounds(&training->config, &local_epochs), newer,
					training->borrowing->count)));
}

void
fmoe_lend_round(FmoeDomain *domain, const FmoeInteractions *interactions, const FmoeConfig *config,
				const FmoeTrainer *trainer, int round)
{
	FmoeVersion *facts = palloc0(sizeof(FmoeVersion));
	int			max = fmoe_trainer_arrays_max(trainer);
	FnnArray   *arrays = palloc(sizeof(FnnArray) * max);
	int			n_arrays;

	fmoe_lock_domain(domain);
	if (strcmp(domain->sharing, "none") == 0)
		return;
	n_arrays = fmoe_trainer_arrays(trainer, arrays, max);
	n_arrays = fmoe_keep_encoder(config, interactions->data.n_items, n_arrays, arrays);
	facts->domain_id = domain->id;
	facts->config = *config;
	facts->model = fmoe_expert_classes[config->model]->name;
	facts->holdout = fmoe_holdout_names[config->holdout];
	facts->events = interactions->data.n_events;
	facts->users = interactions->data.n_users;
	facts->items = interactions->data.n_items;
	facts->last_event = NAN;
	fmoe_lend_arrays(domain, facts, n_arrays, arrays, round, NULL);
}

/*
 * notice.c
 *	  What a training tells its caller: how large it is, each epoch, the result.
 *
 * The memory is estimated, and refused, before anything is trained.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "model/train/accountant.h"
#include "pg/train/training.h"

/* The unit of numbers up to that one, which are no seconds; FMOE_UNIT_UNSAID: none is likely. */
static FmoeTimeUnit
likely_unit(double largest, double tomorrow)
{
	/* since 1990 */
	const double earliest = 20.0 * 365 * SECS_PER_DAY;

	if (largest / 1e3 >= earliest && largest / 1e3 <= tomorrow)
		return FMOE_UNIT_MILLISECONDS;
	if (largest / 1e6 >= earliest && largest / 1e6 <= tomorrow)
		return FMOE_UNIT_MICROSECONDS;
	return FMOE_UNIT_UNSAID;
}

void
fmoe_training_check_times(const FmoeTraining *training)
{
	const FmoeDomain *domain = training->domain;
	const FmoeInteractions *interactions = training->interactions;
	FmoeTimeUnit unit = FMOE_UNIT_UNSAID;

	if (interactions->future == 0 || !fmoe_is_number(domain->time_type))
		return;
	if (domain->time_unit == FMOE_UNIT_UNSAID)
		unit = likely_unit(interactions->last_event,
						   fmoe_seconds_of_moment(GetCurrentTimestamp()) + SECS_PER_DAY);
	if (unit != FMOE_UNIT_UNSAID)
		ereport(NOTICE,
				(errmsg("the times of domain \"%s\" look like %s", domain->name, fmoe_time_unit_names[unit]),
				 errdetail("Column \"%s\" holds numbers up to %.0f. They are taken for seconds since 1970.",
						   domain->time_column, interactions->last_event),
				 errhint("Say what they count with fmoe_alter_domain(%s, time_unit => '%s').",
						 quote_literal_cstr(domain->name), fmoe_time_unit_names[unit])));
	else
		ereport(NOTICE,
				(errmsg("%lld events of domain \"%s\" lie in the future", (long long) interactions->future,
						domain->name),
				 errdetail("The numbers in column \"%s\" are taken for %s since 1970.", domain->time_column,
						   fmoe_time_unit_names[Max(domain->time_unit, FMOE_UNIT_SECONDS)]),
				 errhint("If they count something else, say so with fmoe_alter_domain(%s, time_unit => ...).",
						 quote_literal_cstr(domain->name))));
}

/* A model of clicks needs impressions that were clicked and others. */
static void
check_clicks(const FmoeTraining *training)
{
	const FmoeDomain *domain = training->domain;
	const FmoeDataset *data = &training->interactions->data;
	const FmoeExpertClass *class = fmoe_expert_classes[training->config.model];
	unsigned	reads = fmoe_reads(class, &training->config);
	int64		clicked = 0;

	if (!fmoe_by_clicks(class))
		return;
	for (int64 event = 0; event < data->n_events; event++)
		clicked += data->events.label == NULL || data->events.label[event] > 0;
	if (data->n_events > 0 && (clicked == 0 || clicked == data->n_events))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("all labels of domain \"%s\" say the same", domain->name),
				 errdetail("Column \"%s\" says of %s of %lld impressions that it was chosen.",
						   domain->optional[FMOE_LABEL_COLUMN].name, clicked == 0 ? "none" : "each",
						   (long long) data->n_events)));
	if ((reads & FMOE_READS_USERS) != 0 && fmoe_has_user_features(domain, reads) && data->user_features == NULL)
		ereport(WARNING,
				(errmsg("the user table of domain \"%s\" says nothing of its users", domain->name),
				 errdetail("The model does without.")));
	else if ((reads & FMOE_READS_USERS) != 0 && !fmoe_has_user_features(domain, reads))
		ereport(NOTICE,
				(errmsg("domain \"%s\" has no columns that say what its users are", domain->name),
				 errdetail("The model does without.")));
}

void
fmoe_training_check_labels(const FmoeTraining *training)
{
	const FmoeDomain *domain = training->domain;
	const int64 *odd = training->interactions->odd_labels;

	check_clicks(training);
	if (odd[0] + odd[1] == 0)
		return;
	ereport(NOTICE,
			(errmsg("column \"%s\" of domain \"%s\" holds labels other than 0 and 1",
					domain->optional[FMOE_LABEL_COLUMN].name, domain->name),
			 errdetail("%lld positive ones are taken for chosen, %lld negative ones for shown and not chosen.",
					   (long long) odd[1], (long long) odd[0]),
			 errhint("If only some of them mean a choice, use a view with a column that says so.")));
}

/* The features that a model reads, in words. */
static const char *
features_read(unsigned reads)
{
	const char *const name[] = {"texts", "categories", "price", "vectors"};
	const unsigned bit[] = {FMOE_READS_TEXT, FMOE_READS_CATEGORIES, FMOE_READS_PRICE, FMOE_READS_VECTORS};
	int			left;
	StringInfoData words;

	/* words of categories are among those of texts */
	if ((reads & FMOE_READS_TEXT) != 0)
		reads |= FMOE_READS_CATEGORIES;
	left = __builtin_popcount(reads & FMOE_READS_FEATURES);
	initStringInfo(&words);
	for (int i = 0; i < lengthof(bit); i++)
		if ((reads & bit[i]) != 0)
			appendStringInfo(&words, "%s%s", name[i], --left > 1 ? ", " : left == 1 ? " and " : "");
	return words.data;
}

void
fmoe_training_check_features(const FmoeTraining *training)
{
	const FmoeDomain *domain = training->domain;
	const FmoeExpertClass *class = fmoe_expert_classes[training->config.model];
	unsigned	reads = fmoe_reads(class, &training->config);
	bool		by_option = class->computes != NULL;

	if (fmoe_by_clicks(class) && domain->optional[FMOE_LABEL_COLUMN].name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no column that says what was chosen", domain->name),
				 errdetail("Model \"%s\" learns from what was shown, chosen or not.", class->name),
				 errhint("Name such a column with fmoe_alter_domain(%s, label_column => ...).",
						 quote_literal_cstr(domain->name))));
	if ((reads & FMOE_NEEDS_FEATURES) == 0)
		return;
	if (!fmoe_has_features(domain, reads))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no columns that say what its items are", domain->name),
				 by_option
				 ? errdetail("With \"features\" item vectors are made of the item table's texts, categories, price and vectors.")
				 : errdetail("Model \"%s\" makes item vectors of the item table's %s.", class->name,
							 features_read(reads)),
				 by_option ? errhint("Name such columns with fmoe_alter_domain, or leave \"features\" out.")
				 : errhint("Name such columns with fmoe_alter_domain().")));
	if (training->interactions != NULL &&
		(training->interactions->data.features == NULL || training->interactions->data.features->count == 0))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("the item table of domain \"%s\" says nothing of its items", domain->name),
				 errdetail("All of its columns that the model reads are empty."),
				 by_option ? errhint("Fill them, or leave \"features\" out.")
				 : errhint("Fill them, or name others with fmoe_alter_domain().")));
}

static void
announce_baskets(const FmoeDomain *domain, const FmoeDataset *data)
{
	bool		ordered = domain->optional[FMOE_ORDER_COLUMN].name != NULL;
	int64		tied = fmoe_tied_users(data);

	if (tied == 0)
		return;
	if (domain->optional[FMOE_BASKET_COLUMN].name != NULL)
		ereport(NOTICE,
				(errmsg("the last events of %lld of %lld users share their basket", (long long) tied,
						(long long) data->n_users),
				 errdetail("The items of a basket are learned together.")));
	else
		ereport(NOTICE,
				(errmsg("the last events of %lld of %lld users share their %s", (long long) tied,
						(long long) data->n_users, ordered ? "time and order" : "time"),
				 errdetail("Events of a user at one time are one basket, whose items are learned together.")));
}

void
fmoe_training_announce(FmoeTraining *training)
{
	const FmoeDataset *data = &training->interactions->data;
	const FmoeConfig *config = &training->config;
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	size_t		bytes = MemoryContextMemAllocated(training->context, true);
	int64		context = data->n_events - fmoe_targets_counting(&data->events, 0, data->n_events);
	char	   *what = psprintf("training domain \"%s\"", training->domain->name);

	bytes += (size_t) fmoe_together_bytes(data);
	bytes += fmoe_basket_count_bytes(training->arena, data);
	bytes += fmoe_try_bytes(training->interactions, training->live);
	if (fmoe_only_counts(class))
		bytes += fmoe_counts_bytes(config, data);
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
					bytes / (1024 * 1024) + 1),
			 context == 0 ? 0 :
			 errdetail("%lld of the events weigh 0: they are context, and nothing is learned from them being chosen.",
					   (long long) context)));
	fmoe_check_memory(bytes, what);
	announce_baskets(training->domain, data);
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
	int			epochs = fmoe_trainer_epochs(training->trainer);
	double		left = elapsed / (state->epoch - training->first_epoch) * (epochs - state->epoch);
	bool		by_clicks = fmoe_by_clicks(fmoe_expert_classes[training->config.model]);
	const char *judged = by_clicks ? "AUC" : "NDCG@10";
	StringInfoData text;

	fmoe_progress_epoch(state);
	initStringInfo(&text);
	appendStringInfo(&text, "epoch %d/%d: loss %.4f", state->epoch, epochs, state->loss);
	if (!isnan(state->metric) && state->best_epoch == 0)
		appendStringInfo(&text, ", validation %s %.4f; the next epoch begins from scratch", judged, state->metric);
	else if (!isnan(state->metric))
		appendStringInfo(&text, ", validation %s %.4f (best %.4f in epoch %d)%s over %d epochs", judged,
						 state->metric, state->best_metric, state->best_epoch,
						 fmoe_is_gated(fmoe_expert_classes[training->config.model], &training->config)
						 ? " of the own expert" : training->config.blend != 0 && !by_clicks ? " without blend" : "",
						 Min(state->epoch, FMOE_EPOCHS_JUDGED));
	if (state->finished == FMOE_FINISHED && state->epoch < epochs)
		appendStringInfo(&text, ", no better for %d epochs", state->stale_epochs);
	else if (!state->finished)
		appendStringInfo(&text, ", at most %.0f s left", ceil(left));
	ereport(NOTICE, (errmsg_internal("%s", text.data)));
	pfree(text.data);
}

void
fmoe_training_check_budget(const FmoeConfig *config)
{
	const FmoeFederated *federated = fmoe_federated(fmoe_expert_classes[config->model], config);
	FmoePrivacy privacy;

	if (federated == NULL || federated->noise == 0 || federated->epsilon == 0)
		return;
	privacy = (FmoePrivacy) {federated->sampling, federated->noise, federated->delta};
	if (fmoe_private_rounds(&privacy, federated->epsilon) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"epsilon\" does not allow for a single round"),
				 errdetail("One round spends %.3g at delta %g, with a sampling of %g and a noise of %g.",
						   fmoe_epsilon(&privacy, 1), privacy.delta, privacy.sampling, privacy.noise),
				 errhint("Use a larger epsilon or noise, or a smaller sampling.")));
}

void
fmoe_training_report_spent(const FmoeTraining *training)
{
	const FmoeTrainState *state = fmoe_trainer_state(training->trainer);
	const FmoeFederated *federated = fmoe_federated(fmoe_expert_classes[training->config.model], &training->config);

	if (state->finished != FMOE_SPENT)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("training of domain \"%s\" ends early, as its epsilon is spent", training->domain->name),
			 errdetail("Rounds with noise: %lld; epsilon: %.3f of %g at delta %g. Epochs: %d of %d.",
					   (long long) state->noised, state->epsilon, federated->epsilon, federated->delta, state->epoch,
					   fmoe_trainer_epochs(training->trainer)),
			 errhint("More noise, a smaller sampling or a larger epsilon allow for more rounds.")));
}

/* AUC of the version, where it is none of them, and of the baselines. */
static char *
click_figures(const char *model, const FmoeVerdict *verdict)
{
	StringInfoData figures;
	bool		counts = false;

	initStringInfo(&figures);
	for (int i = 0; i < lengthof(verdict->baseline); i++)
	{
		counts |= strcmp(model, fmoe_click_baselines[i]->name) == 0;
		appendStringInfo(&figures, ", %s %.4f", fmoe_click_baselines[i]->name, verdict->baseline[i].auc);
	}
	return counts ? psprintf("Validation AUC: %s.", figures.data + 2) :
		psprintf("Validation AUC: %s %.4f%s.", model, verdict->clicks.auc, figures.data);
}

void
fmoe_training_report_version(const FmoeTraining *training, const FmoeVersion *version, const FmoeVerdict *verdict,
							 const char *objection)
{
	const char *domain = training->domain->name;

	if (verdict->unused != NULL)
		ereport(WARNING,
				(errmsg("no user of domain \"%s\" is in some groups", domain),
				 errdetail_internal("%s", verdict->unused),
				 errhint("Train with fewer groups, or a larger balance.")));
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
	else if (verdict->by_clicks)
		ereport(NOTICE,
				(errmsg("version %d of domain \"%s\" is live", version->version, domain),
				 errdetail_internal("%s", click_figures(version->model, verdict))));
	else
		ereport(NOTICE,
				(errmsg("version %d of domain \"%s\" is live", version->version, domain),
				 errdetail("Validation NDCG@10: %s %.4f, popularity %.4f, first-order Markov %.4f.", version->model,
						   verdict->standing[FMOE_MAIN].ndcg, verdict->standing[FMOE_POPULARITY].ndcg,
						   verdict->standing[FMOE_MARKOV].ndcg)));
}

/*
 * clicks.c
 *	  Is a new version good enough to answer, where answers are probabilities of clicks?
 *
 * The impressions that the training kept back for validation are foreseen by the new
 * version, by the three baselines, which are counted from the same training events, and
 * by the version that is live, where it did not train on them.  A model must not stand
 * below a baseline in AUC or log-loss and, given enough impressions to tell, its lead in
 * AUC over the best must be larger than chance explains, by a bootstrap over users.  One
 * that does not is replaced by the best baseline, so that what answers is the best there is.
 *
 * Users have their own rows in this comparison, as they have when they are served.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "pg/evaluate/evaluate.h"

#define CASES_TO_TELL 200		/* fewer cannot: any lead counts */
#define RESAMPLES 400
#define USERS_GROUPED 1000		/* that are asked which groups they are in */

static fnn_real *
logits_of(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, const FmoeImpressions *impressions)
{
	fnn_real   *logit = fnn_alloc_reals(arena, 1, Max(impressions->n, 1));

	fmoe_foresee(model, FMOE_MAIN, arena, data, impressions, 0, impressions->count, logit);
	return logit;
}

/* The logits of a baseline that is counted from the training events of a dataset, for impressions of another. */
static fnn_real *
baseline_logits(const FmoeExpertClass *baseline, const FmoeConfig *config, FnnArena *arena,
				const FmoeDataset *counted, const FmoeDataset *data, const FmoeImpressions *impressions)
{
	FmoeModel  *model = palloc0(sizeof(FmoeModel));
	FmoeConfig	counting = *config;
	fnn_real   *logit;

	counting.model = fmoe_expert_number(baseline);
	memset(&counting.own, 0, sizeof(counting.own));
	fmoe_count_experts(model, arena, &counting, counted);
	logit = logits_of(model, arena, data, impressions);
	pfree(model);
	return logit;
}

/* ---------------------------------------------------------------- the live version */

/* Whether features of users have the same values in the same order. */
static bool
same_values(const FmoeFeatures *a, const FmoeFeatures *b)
{
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
	{
		const FmoeFeature *x = &a->feature[i];
		const FmoeFeature *y = &b->feature[i];

		if (strcmp(x->name, y->name) != 0 || x->width != y->width || x->name_offset == NULL ||
			y->name_offset == NULL || x->name_offset[x->width] != y->name_offset[y->width] ||
			memcmp(x->name_bytes, y->name_bytes, x->name_offset[x->width]) != 0)
			return false;
	}
	return true;
}

/* The live version on the impressions of items that it knows, where it is one of clicks and can still be read. */
static void
try_live(FmoeVerdict *verdict, const FmoeDomain *domain, const FmoeInteractions *interactions,
		 const FmoeConfig *config, const FmoeVersion *live, FnnArena *arena)
{
	FmoeModel  *model = palloc0(sizeof(FmoeModel));
	FmoeCases	none = {.first = palloc0(sizeof(int64))};
	FmoeVocabulary *vocabulary;
	FmoeImpressions *impressions;
	FmoeEvalSet *set;
	FnnArray   *arrays;
	size_t		bytes;
	int			n_arrays;

	if (!fmoe_by_clicks(fmoe_expert_classes[live->config.model]))
		return;
	n_arrays = fmoe_load_arrays(live->version_id, CurrentMemoryContext, &arrays, &bytes);
	fmoe_model_bind(model, fnn_arena_host(arena), &live->config, live->items, n_arrays, arrays);
	vocabulary = fmoe_try_vocabulary(domain, live, n_arrays, arrays);
	if (vocabulary == NULL)
		return;
	set = fmoe_eval_set(interactions, &none, vocabulary);
	if (interactions->data.user_features != NULL &&
		same_values(&model->user_features, interactions->data.user_features))
		set->data.user_features = interactions->data.user_features;
	impressions = fmoe_validation_impressions(arena, &set->data, config);
	verdict->live_version = live->version;
	verdict->live_clicks = fmoe_click_figures(arena, impressions->n,
											  logits_of(model, arena, &set->data, impressions), impressions->label,
											  NULL);
}

/* ---------------------------------------------------------------- groups */

/* A sentence, in the caller's context, that says which groups none of the users is in. */
static char *
unused_groups(const FmoeModel *model, FnnArena *arena, const FmoeDataset *data, MemoryContext context)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	int			groups = main->class->groups(main->config);
	int			blocks = 0;
	bool	   *used = palloc0(sizeof(bool) * FMOE_BLOCKS_MAX * groups);
	int64		step = Max(data->n_users / USERS_GROUPED, 1);
	StringInfoData text;

	for (int64 user = 0; user < data->n_users; user += step)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		int32		of[FMOE_BLOCKS_MAX];
		FmoeBatch  *batch;

		if (data->offset[user + 1] == data->offset[user])
			continue;
		batch = fmoe_batch(arena, &data->events, 1, &data->offset[user], &data->offset[user + 1],
						   main->config->max_length);
		fmoe_batch_users(arena, batch, data, &data->offset[user]);
		blocks = Min(main->class->group_of(main, arena, batch, 0, FMOE_BLOCKS_MAX, of), FMOE_BLOCKS_MAX);
		for (int b = 0; b < blocks; b++)
			used[b * groups + of[b]] = true;
		fnn_arena_reset(arena, mark);
	}
	initStringInfo(&text);
	for (int b = 0; b < blocks; b++)
		for (int g = 0; g < groups; g++)
			if (!used[b * groups + g])
				appendStringInfo(&text, "%sgroup %d of block %d", text.len > 0 ? ", " : "", g, b);
	return text.len > 0 ? MemoryContextStrdup(context, text.data) : NULL;
}

/* ---------------------------------------------------------------- the verdict */

void
fmoe_try_clicks(FmoeVerdict *verdict, const FmoeDomain *domain, const FmoeInteractions *interactions,
				const FmoeModel *model, const FmoeVersion *live, FnnArena *arena)
{
	const FmoeDataset *data = &interactions->data;
	const FmoeExpertClass *class = model->expert[FMOE_MAIN].class;
	FmoeImpressions *impressions = fmoe_validation_impressions(arena, data, &model->config);
	const fnn_real *logit[1 + FMOE_CLICK_BASELINES];

	verdict->by_clicks = true;
	verdict->cases = impressions->n;
	logit[0] = logits_of(model, arena, data, impressions);
	verdict->clicks = fmoe_click_figures(arena, impressions->n, logit[0], impressions->label, NULL);
	for (int i = 0; i < FMOE_CLICK_BASELINES; i++)
	{
		logit[i + 1] = baseline_logits(fmoe_click_baselines[i], &model->config, arena, data, data,
									   impressions);
		verdict->baseline[i] = fmoe_click_figures(arena, impressions->n, logit[i + 1], impressions->label, NULL);
	}
	if (impressions->n > 0)
		fmoe_click_leads(arena, impressions, 1 + FMOE_CLICK_BASELINES, logit, RESAMPLES, model->config.seed,
						 verdict->lead);
	if (class->group_of != NULL && class->groups(&model->config) > 1)
		verdict->unused = unused_groups(model, arena, data, GetMemoryChunkContext(verdict));
	if (impressions->n > 0 && live != NULL)
		try_live(verdict, domain, interactions, &model->config, live, arena);
}

/* The baseline with the largest AUC; of equal ones the one with the least log-loss. */
static int
best_baseline(const FmoeVerdict *verdict)
{
	int			best = 0;

	for (int i = 1; i < FMOE_CLICK_BASELINES; i++)
	{
		const FmoeClickFigures *a = &verdict->baseline[i];
		const FmoeClickFigures *b = &verdict->baseline[best];

		if (a->auc > b->auc || (!(a->auc < b->auc) && a->log_loss < b->log_loss))
			best = i;
	}
	return best;
}

const FmoeExpertClass *
fmoe_verdict_baseline(const FmoeVerdict *verdict)
{
	int			best = best_baseline(verdict);
	const FmoeClickFigures *figures = &verdict->baseline[best];

	if (!verdict->by_clicks || verdict->cases == 0 || isnan(figures->auc))
		return NULL;
	if (verdict->clicks.auc < figures->auc || verdict->clicks.log_loss > figures->log_loss ||
		(verdict->cases >= CASES_TO_TELL && verdict->lead[best].auc_low <= 0))
		return fmoe_click_baselines[best];
	return NULL;
}

void
fmoe_verdict_count_instead(FmoeVerdict *verdict, const FmoeExpertClass *baseline)
{
	for (int i = 0; i < FMOE_CLICK_BASELINES; i++)
		if (fmoe_click_baselines[i] == baseline)
			verdict->clicks = verdict->baseline[i];
	verdict->unused = NULL;
}

char *
fmoe_clicks_objection(const FmoeVerdict *verdict)
{
	if (verdict->live_version != 0 && verdict->clicks.auc < verdict->live_clicks.auc)
		return psprintf("Its validation AUC is %.4f, that of version %d, which is live, %.4f on the impressions that it knows.",
						verdict->clicks.auc, verdict->live_version, verdict->live_clicks.auc);
	return NULL;
}

static void
put_number(StringInfo json, const char *key, double value)
{
	if (isfinite(value))
		appendStringInfo(json, "\"%s\": %.6g", key, value);
	else
		appendStringInfo(json, "\"%s\": null", key);
}

static void
put_figures(StringInfo json, const char *key, const FmoeClickFigures *figures)
{
	appendStringInfo(json, ", \"%s\": {", key);
	put_number(json, "auc", figures->auc);
	appendStringInfoString(json, ", ");
	put_number(json, "log_loss", figures->log_loss);
	appendStringInfoString(json, ", ");
	put_number(json, "calibration", figures->calibration);
	appendStringInfoChar(json, '}');
}

void
fmoe_put_clicks(StringInfo json, const FmoeVerdict *verdict)
{
	if (verdict->cases == 0)
		return;
	put_figures(json, "main", &verdict->clicks);
	for (int i = 0; i < FMOE_CLICK_BASELINES; i++)
		put_figures(json, fmoe_click_baselines[i]->name, &verdict->baseline[i]);
}

/* ---------------------------------------------------------------- fmoe_evaluate */

/* The events until a time, of a dataset. */
static FmoeDataset
until(const FmoeDataset *data, double time)
{
	FmoeDataset before = *data;
	int64	   *offset = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * (data->n_users + 1));

	fmoe_events_place(&before.events, &data->events, data->n_events,
					  MemoryContextAllocHuge(CurrentMemoryContext,
											 Max(fmoe_events_bytes(&data->events, data->n_events), 1)));
	before.n_events = 0;
	for (int64 user = 0; user < data->n_users; user++)
	{
		int64		end = data->offset[user];

		offset[user] = before.n_events;
		while (end < data->offset[user + 1] && data->events.time[end] <= time)
			end++;
		fmoe_events_copy(&before.events, before.n_events, &data->events, data->offset[user],
						 end - data->offset[user]);
		before.n_events += end - data->offset[user];
	}
	offset[data->n_users] = before.n_events;
	before.offset = offset;
	return before;
}

static int64
users_of(const FmoeImpressions *impressions)
{
	int64		n = 0;

	for (int64 w = 0; w < impressions->count; w++)
		n += w == 0 || impressions->user[w] != impressions->user[w - 1];
	return n;
}

/* Rows of the users, 0 of those who have none, which is as if nothing were added; NULL: the version has none. */
static FnnTensor *
private_rows(const FmoeDomain *domain, const FmoeVersion *version, const FmoeModel *model,
			 const FmoeInteractions *interactions)
{
	int64		n = fmoe_private_columns(&model->expert[FMOE_MAIN]);
	int64		users = interactions->data.n_users;
	FnnTensor  *rows;

	if (n == 0)
		return NULL;
	fmoe_check_memory((size_t) users * n * sizeof(fnn_real),
					  psprintf("evaluating version %d of domain \"%s\"", version->version, domain->name));
	rows = palloc0(sizeof(FnnTensor));
	rows->rows = users;
	rows->cols = n;
	rows->value = MemoryContextAllocExtended(CurrentMemoryContext, Max((size_t) users * n * sizeof(fnn_real), 1),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int64 user = 0; user < users; user++)
		if (!fmoe_load_private(version->version_id, domain->user_type,
							   fmoe_vocabulary_id(interactions->users, (int32) user), n, rows->value + user * n))
			memset(rows->value + user * n, 0, sizeof(fnn_real) * n);
	return rows;
}

typedef void (*PutFigure) (void *context, const char *model, const char *metric, double value, int64 users);

static void
put_lead(PutFigure put, void *context, const char *name, const FmoeClickLead *lead, int64 users)
{
	put(context, name, "auc_lead", lead->auc, users);
	put(context, name, "auc_lead_low", lead->auc_low, users);
	put(context, name, "auc_lead_high", lead->auc_high, users);
	put(context, name, "log_loss_lead", lead->log_loss, users);
	put(context, name, "log_loss_lead_low", lead->log_loss_low, users);
	put(context, name, "log_loss_lead_high", lead->log_loss_high, users);
}

static void
put_all(PutFigure put, void *context, const char *name, FnnArena *arena, const FmoeImpressions *impressions,
		const fnn_real *logit)
{
	FmoeClickFigures figures = fmoe_click_figures(arena, impressions->n, logit, impressions->label, NULL);
	int64		users = users_of(impressions);

	put(context, name, "auc", figures.auc, users);
	put(context, name, "log_loss", figures.log_loss, users);
	put(context, name, "calibration", figures.calibration, users);
}

void
fmoe_evaluate_clicks(const FmoeDomain *domain, const FmoeVersion *version, const FmoeModel *model,
					 FmoeVocabulary *vocabulary, const FmoeImpressionsWanted *wanted, FnnArena *arena,
					 const char *name, PutFigure put, void *context)
{
	unsigned	reads = fmoe_reads(model->expert[FMOE_MAIN].class, &model->config);
	FmoeInteractions *interactions = fmoe_read_for(domain, vocabulary, reads,
												   model->user_features.count > 0 ? &model->user_features : NULL);
	FmoeDataset *data = &interactions->data;
	FmoeDataset counted;
	FmoeConfig	config = model->config;
	FmoeImpressions *impressions;
	const fnn_real *logit[1 + FMOE_CLICK_BASELINES];
	FmoeClickLead lead[FMOE_CLICK_BASELINES];

	fmoe_tell_left_out(domain, interactions);
	fmoe_warn_of_fewer(domain, version, data->n_events);
	data->features = model->features.count > 0 ? &model->features : NULL;
	impressions = fmoe_impressions(arena, data, wanted);
	if (impressions->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no impressions to evaluate version %d on", domain->name,
						version->version)));
	counted = wanted->split == FMOE_SPLIT_TIME ? until(data, wanted->after) : *data;
	config.holdout = wanted->split == FMOE_SPLIT_TIME ? FMOE_HOLDOUT_NONE
		: wanted->split == FMOE_SPLIT_FIFTH ? FMOE_HOLDOUT_TEST_FIFTH : FMOE_HOLDOUT_TEST;
	impressions->private_rows = private_rows(domain, version, model, interactions);
	logit[0] = logits_of(model, arena, data, impressions);
	impressions->private_rows = NULL;
	put_all(put, context, name, arena, impressions, logit[0]);
	for (int i = 0; i < FMOE_CLICK_BASELINES; i++)
		logit[i + 1] = baseline_logits(fmoe_click_baselines[i], &config, arena, &counted, data, impressions);
	fmoe_click_leads(arena, impressions, 1 + FMOE_CLICK_BASELINES, logit, RESAMPLES, wanted->seed, lead);
	for (int i = 0; i < FMOE_CLICK_BASELINES; i++)
	{
		put_all(put, context, fmoe_click_baselines[i]->name, arena, impressions, logit[i + 1]);
		put_lead(put, context, fmoe_click_baselines[i]->name, &lead[i], users_of(impressions));
	}
}

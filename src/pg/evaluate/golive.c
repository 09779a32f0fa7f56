/*
 * golive.c
 *	  Is a new version good enough to answer?
 *
 * The validation events of the training are ranked by the new version's main
 * expert, by its two count experts, and by the version that is live now, all
 * through one evaluator.  The main expert must not stand below the better
 * count expert, which answers anyway when there is nothing else, nor below
 * what users get today.  Given enough events to tell, its lead over counting
 * must also be larger than chance explains (one-sided, 1 %).  Early stopping
 * chose the epoch by these events, the best of many, so what its choice had of luck
 * is taken off first (train/optimism.c).  A gate is judged by folds: each half of the events by
 * experts that were chosen, and weights that were fitted, without it (gate.c).
 *
 * A mixture must not stand below its own expert alone either (the same weights,
 * with the gate shut for all others): lent experts may help or go unused, but
 * must not harm.
 *
 * The live version takes part only when the comparison is fair: a version that
 * was trained on the very events it is ranked on cannot be beaten.  With the same
 * holdout, or a stricter one, today's validation event of a user was kept back
 * from the live version as well, or is newer than all it was trained on.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "model/expert/expert.h"
#include "pg/evaluate/evaluate.h"

#define CUT_OFF 10
#define CASES_TO_TELL 200		/* fewer cannot: any lead counts */
#define ERRORS_TO_LEAD 2.326	/* standard errors: the 99 % quantile of the normal distribution */

bool
fmoe_has_seen_holdout(const FmoeVersion *version, int holdout)
{
	return !fmoe_holds_back((FmoeHoldout) version->config.holdout, (FmoeHoldout) holdout);
}

static bool
comparable(const FmoeVersion *live, const FmoeModel *model)
{
	return live != NULL && live->complete && !fmoe_has_seen_holdout(live, model->config.holdout);
}

/* Answers of all validation cases, at most. */
static int64
answers_max(const FmoeDataset *data)
{
	return data->events.basket != NULL ? data->n_events : data->n_users;
}

size_t
fmoe_try_bytes(const FmoeInteractions *interactions, const FmoeVersion *live)
{
	const FmoeDataset *data = &interactions->data;
	size_t		bytes = (size_t) data->n_users * fmoe_case_bytes(data) +
		(size_t) (data->shown.count > 0 ? data->n_events + data->shown.count : 0) * sizeof(int32) +
		(size_t) answers_max(data) * (sizeof(int64) + 2 * sizeof(int32));

	bytes += sizeof(FmoeModel);
	/* windows and labels, logits of the model, the baselines and the live version, and what they are ordered in */
	if (data->events.label != NULL)
		bytes += (size_t) data->n_events * 256;
	if (live != NULL)
		bytes += live->bytes + fmoe_eval_set_bytes(data, data->n_users, answers_max(data));
	return bytes;
}

static FmoeStanding
stand(const FmoeEvalSet *set, const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, int32 *rank)
{
	FmoeProtocol protocol = {.exclude_seen = true, .seed = model->config.seed};
	FmoeStanding standing;

	fmoe_rank_set(set, model, slot, arena, &protocol, rank, NULL);
	standing.ndcg = fmoe_mean_metric(FMOE_NDCG, CUT_OFF, set->all, rank);
	standing.hr = fmoe_mean_metric(FMOE_HR, CUT_OFF, set->all, rank);
	standing.mrr = fmoe_mean_metric(FMOE_MRR, CUT_OFF, set->all, rank);
	standing.recall = fmoe_mean_metric(FMOE_RECALL, CUT_OFF, set->all, rank);
	return standing;
}

/* The model's own expert alone, which is the first of the parts that it weighs. */
static FmoeStanding
stand_own(const FmoeEvalSet *set, const FmoeModel *model, FnnArena *arena, int32 *rank)
{
	FmoeModel  *own = palloc(sizeof(FmoeModel));

	*own = *model;
	own->gate.has_folds = false;
	if (fmoe_has_gate(own))
	{
		own->gate.without = ~(uint32) 1;
		own->gate.weight[FMOE_MAIN][0] = 1;
	}
	else
		own->expert[FMOE_MAIN].without = ~(uint32) 1;
	return stand(set, own, FMOE_MAIN, arena, rank);
}

/* The live version's main expert, on the same cases through its own vocabulary, where that can still be read. */
static void
stand_live(FmoeVerdict *verdict, const FmoeDomain *domain, const FmoeInteractions *interactions,
		   const FmoeCases *cases, const FmoeVersion *live, FnnArena *arena, FmoeWatch *watch, int32 *rank)
{
	FmoeModel  *model = palloc0(sizeof(FmoeModel));
	FmoeVocabulary *vocabulary;
	FmoeEvalSet *set;
	FnnArray   *arrays;
	size_t		bytes;
	int			n_arrays = fmoe_load_arrays(live->version_id, CurrentMemoryContext, &arrays, &bytes);

	fmoe_model_bind(model, fnn_arena_host(arena), &live->config, live->items, n_arrays, arrays);
	vocabulary = fmoe_try_vocabulary(domain, live, n_arrays, arrays);
	if (vocabulary == NULL)
		return;
	verdict->live_version = live->version;
	set = fmoe_eval_set(interactions, cases, vocabulary);
	set->watch = watch;
	verdict->live = stand(set, model, FMOE_MAIN, arena, rank);
}

/* Whether the main expert is the one that counts in a slot. */
static bool
is_main(const FmoeModel *model, int slot)
{
	return model->expert[FMOE_MAIN].class == model->expert[slot].class;
}

static void
begin_watch(FmoeWatch *watch, int64 n_cases, const FmoeModel *model, bool mixed, bool with_live)
{
	int			rankings = 1 + mixed + with_live;

	for (int slot = FMOE_POPULARITY; slot < FMOE_SLOTS; slot++)
		rankings += !is_main(model, slot);
	watch->done = 0;
	watch->all = rankings * fmoe_rank_blocks(n_cases);
	watch->progress(watch->context, 0, watch->all);
}

/* The same for a model that is judged by ranks. */
static void
try_ranks(FmoeVerdict *verdict, const FmoeDomain *domain, const FmoeInteractions *interactions,
		  const FmoeModel *model, const FmoeVersion *live, FmoeWatch *watch, MemoryContext context)
{
	FnnArena   *arena = fmoe_arena(context, fmoe_max_memory_kb);
	FmoeCases  *cases = fmoe_validation_cases(arena, &interactions->data, model->config.holdout, 0,
											  model->config.seed);
	size_t		rank_bytes = sizeof(int32) * Max(cases->first[cases->count], 1);
	FmoeEvalSet *set = fmoe_eval_set(interactions, cases, NULL);
	int32	   *main_rank = MemoryContextAllocHuge(context, rank_bytes);
	int32	   *rank = MemoryContextAllocHuge(context, rank_bytes);

	verdict->cases = cases->count;
	verdict->repeated = cases->repeated;
	verdict->mixed = fmoe_has_gate(model) || fmoe_score_parts(model->expert[FMOE_MAIN].class, &model->config) > 1;
	begin_watch(watch, cases->count, model, verdict->mixed, comparable(live, model));
	set->watch = watch;
	verdict->standing[FMOE_MAIN] = stand(set, model, FMOE_MAIN, arena, main_rank);
	for (int slot = FMOE_POPULARITY; slot < FMOE_SLOTS; slot++)
	{
		if (is_main(model, slot))
		{
			verdict->standing[slot] = verdict->standing[FMOE_MAIN];
			continue;
		}
		verdict->standing[slot] = stand(set, model, slot, arena, rank);
		verdict->error[slot] = fmoe_paired_error(FMOE_NDCG, CUT_OFF, cases, main_rank, rank);
	}
	if (verdict->mixed)
		verdict->own = stand_own(set, model, arena, rank);
	if (cases->count > 0 && comparable(live, model))
		stand_live(verdict, domain, interactions, cases, live, arena, watch, rank);
}

FmoeVerdict *
fmoe_try_model(const FmoeDomain *domain, const FmoeInteractions *interactions, const FmoeModel *model,
			   const FmoeVersion *live, FmoeWatch *watch)
{
	FmoeVerdict *verdict = palloc0(sizeof(FmoeVerdict));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe go-live check", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FnnArena   *arena = fmoe_arena(context, fmoe_max_memory_kb);

	verdict->users = interactions->data.n_users;
	verdict->tied_users = fmoe_tied_users(&interactions->data);
	verdict->live_number = live != NULL ? live->version : 0;
	verdict->gate = model->gate;
	if (fmoe_by_clicks(model->expert[FMOE_MAIN].class))
		fmoe_try_clicks(verdict, domain, interactions, model, comparable(live, model) ? live : NULL, arena);
	else
		try_ranks(verdict, domain, interactions, model, live, watch, context);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return verdict;
}

char *
fmoe_verdict_objection(const FmoeVerdict *verdict)
{
	double		main = verdict->standing[FMOE_MAIN].ndcg;
	FmoeExpertSlot better = verdict->standing[FMOE_POPULARITY].ndcg >= verdict->standing[FMOE_MARKOV].ndcg
		? FMOE_POPULARITY : FMOE_MARKOV;
	double		counted = verdict->standing[better].ndcg;
	const char *counter = fmoe_slot_classes[better]->name;

	if (verdict->live_number != 0 && verdict->untrained)
		return pstrdup("Not one step of training was done: there is no transition from one basket to another to learn from.");
	if (verdict->live_number != 0 && verdict->cases == 0)
		return pstrdup("It was not checked: there is no event to validate it by.");
	if (verdict->cases == 0)
		return NULL;
	if (verdict->by_clicks)
		return fmoe_clicks_objection(verdict);
	if (main < counted)
		return psprintf("Its validation NDCG@10 is %.4f, that of %s %.4f.", main, counter, counted);
	if (verdict->cases >= CASES_TO_TELL &&
		main - verdict->optimism - counted < ERRORS_TO_LEAD * verdict->error[better])
		return psprintf("Its validation NDCG@10 is %.4f, that of %s %.4f: a lead that chance explains, its standard error"
						" being %.4f and the luck of the chosen epoch %.4f.",
						main, counter, counted, verdict->error[better], verdict->optimism);
	if (verdict->mixed && main < verdict->own.ndcg)
		return psprintf("Its validation NDCG@10 is %.4f, that of its own expert alone %.4f.", main, verdict->own.ndcg);
	if (verdict->live_version != 0 && main < verdict->live.ndcg)
		return psprintf("Its validation NDCG@10 is %.4f, that of version %d, which is live, %.4f on the same events.",
						main, verdict->live_version, verdict->live.ndcg);
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
put_standing(StringInfo json, const char *key, const FmoeStanding *standing)
{
	appendStringInfo(json, ", \"%s\": {", key);
	put_number(json, "ndcg@10", standing->ndcg);
	appendStringInfoString(json, ", ");
	put_number(json, "hr@10", standing->hr);
	appendStringInfoString(json, ", ");
	put_number(json, "recall@10", standing->recall);
	appendStringInfoString(json, ", ");
	put_number(json, "mrr", standing->mrr);
	appendStringInfoChar(json, '}');
}

void
fmoe_put_losses(StringInfo json, const FmoeExpertClass *class, const double losses[FMOE_LOSSES_MAX])
{
	appendStringInfoChar(json, '{');
	for (int i = 0; class->losses[i] != NULL; i++)
	{
		appendStringInfoString(json, i > 0 ? ", " : "");
		put_number(json, class->losses[i], losses[i]);
	}
	appendStringInfoChar(json, '}');
}

/* The name may hold anything: that of a lent expert is another party's. */
static void
put_named(StringInfo json, const char *name, double value)
{
	escape_json(json, name);
	appendStringInfo(json, ": %.6g", value);
}

/* What weighs nothing where the seen is no answer was dropped; repeat has nothing to say there. */
static void
put_gate(StringInfo json, const FmoeGate *gate, const FmoeConfig *config, int lent_gates)
{
	const char *separator = "";

	for (int kept = 0; kept < 2; kept++)
	{
		appendStringInfoString(json, kept == 0 ? ", \"gate\": {" : "}, \"gate_seen_kept\": {");
		for (int expert = 0; expert < fmoe_weighed(gate); expert++)
		{
			appendStringInfoString(json, expert > 0 ? ", " : "");
			put_named(json, fmoe_weighed_name(config, expert), gate->weight[expert][kept]);
		}
	}
	appendStringInfoString(json, "}, \"dropped\": [");
	for (int expert = 0; expert < fmoe_weighed(gate); expert++)
	{
		if (gate->weight[expert][0] != 0 || expert == FMOE_REPEAT)
			continue;
		appendStringInfoString(json, separator);
		escape_json(json, fmoe_weighed_name(config, expert));
		separator = ", ";
	}
	appendStringInfo(json, "], \"lent_gates\": %d", lent_gates);
}

/* What was tried, where the training has compared it. */
static void
put_tried(StringInfo json, const FmoeExpertClass *class, const FmoeConfig *config, const FmoeTrainState *state)
{
	appendStringInfoString(json, ", \"tried\": {");
	for (int i = 0; i < FMOE_ATTEMPTS_MAX; i++)
	{
		FmoeConfig	copy = *config;
		const char *name = class->attempt(&copy, i);

		if (i == state->won)
			appendStringInfo(json, "\"won\": \"%s\", ", name);
		if (state->tried == 0)
			continue;
		appendStringInfo(json, "\"%s\": {\"best_epoch\": %d, ", name, state->tried_epoch[i]);
		put_number(json, "ndcg@10", state->tried_metric[i]);
		appendStringInfoString(json, "}, ");
	}
	put_number(json, "difference", state->tried > 0 ? state->tried_metric[0] - state->tried_metric[1] : NAN);
	appendStringInfoString(json, ", ");
	put_number(json, "standard_error", state->tried > 0 ? state->tried_error : NAN);
	appendStringInfoChar(json, '}');
}

Jsonb *
fmoe_privacy_jsonb(const FmoeTrainState *state, const FmoeFederated *federated)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"rounds\": " INT64_FORMAT ", \"sampling\": %.17g, \"noise\": %.17g, \"clip\": %.17g,"
					 " \"epsilon\": %.17g, \"delta\": %.17g, \"neighbours\": \"users\"",
					 state->noised, federated->sampling, federated->noise, federated->clip, state->epsilon,
					 federated->delta);
	if (federated->epsilon > 0)
		appendStringInfo(&json, ", \"budget\": %.17g, \"spent\": %s", federated->epsilon,
						 state->finished == FMOE_SPENT ? "true" : "false");
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/*
 * {"epochs": 12, "best_epoch": 9, "loss": 6.1, "optimism": 0.002, "losses": {...}, "cases": 943, "repeated": 12,
 *	"tied": 0.85,
 *	"main": {"ndcg@10": 0.11, "hr@10": 0.2, "recall@10": 0.2, "mrr": 0.09}, NAME: {...}, "own": {...},
 *	"gate": {NAME: 0.8, ...}, "gate_seen_kept": {...}, "dropped": [NAME, ...], "lent_gates": 2,
 *	"tried": {"won": NAME, NAME: {"best_epoch": 7, "ndcg@10": 0.1}, ..., "difference": 0.01, "standard_error": 0.004}}
 *
 * with optimism by how much main's NDCG@10 is to be expected too high, losses
 * where the class names them, repeated the users who are no case
 * because they had had all their answers before, tied the share of users whose
 * last events share their time, NAME for each expert that counts, own
 * where the model weighs its own expert among others; the metrics are of
 * validation and missing without any.
 */
Jsonb *
fmoe_verdict_metrics(const FmoeVerdict *verdict, const FmoeConfig *config, const FmoeTrainState *state)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	StringInfoData json;
	int			slot;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"epochs\": %d, \"best_epoch\": %d, ", state->epoch, state->best_epoch);
	put_number(&json, "loss", state->epoch > 0 ? state->loss : NAN);
	if (verdict->cases > 0 && state->epoch > 0 && !verdict->by_clicks)
	{
		appendStringInfoString(&json, ", ");
		put_number(&json, "optimism", verdict->optimism);
	}
	if (class->losses != NULL && state->epoch > 0)
	{
		appendStringInfoString(&json, ", \"losses\": ");
		fmoe_put_losses(&json, class, state->losses);
	}
	appendStringInfo(&json, ", \"cases\": " INT64_FORMAT ", \"repeated\": " INT64_FORMAT ", ", verdict->cases,
					 verdict->repeated);
	put_number(&json, "tied", (double) verdict->tied_users / Max(verdict->users, 1));
	if (verdict->by_clicks)
		fmoe_put_clicks(&json, verdict);
	for (slot = 0; slot < FMOE_SLOTS && verdict->cases > 0 && !verdict->by_clicks; slot++)
		put_standing(&json, slot == FMOE_MAIN ? "main" : fmoe_slot_classes[slot]->name, &verdict->standing[slot]);
	if (verdict->mixed && verdict->cases > 0)
		put_standing(&json, "own", &verdict->own);
	if (verdict->gate.there)
		put_gate(&json, &verdict->gate, config, verdict->lent_gates);
	if (fmoe_attempts(class, config) > 1 && state->epoch > 0)
		put_tried(&json, class, config, state);
	if (state->noised > 0)
	{
		Jsonb	   *privacy = fmoe_privacy_jsonb(state, fmoe_federated(class, config));

		appendStringInfo(&json, ", \"privacy\": %s", JsonbToCString(NULL, &privacy->root, VARSIZE(privacy)));
	}
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

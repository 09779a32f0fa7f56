/*
 * evaluate.c
 *	  fmoe_evaluate: how well a version would have recommended what users chose.
 *
 * A case is a history and the basket that followed it, whose items are the
 * answers; ranks are their places among the candidates.  Two protocols choose
 * the cases:
 *
 *	  leave_one_out	 every user's last basket, users with at least three.  Only
 *					 a version whose training kept those baskets back (holdout
 *					 "test") may be evaluated on them.
 *	  time			 every basket later than the newest event the version was
 *					 trained with, after the history as it was then.
 *
 * Where the version's model gives probabilities of clicks, impressions are foreseen
 * instead (clicks.c), and a third protocol is last_fifth: each user's last fifth.
 *
 * What is evaluated is what is served: with exclude_seen (the default) what the
 * user had seen is neither candidate nor answer, and a user all of whose
 * answers were seen is no case; repeated is the share of users left out so.
 *
 * The cases come from all events as they are now.  An item the version does
 * not know cannot be recommended by it: as an answer it is a miss for every
 * model, in a history it is passed over.
 *
 * ndcg, hr and mrr are means over the cases (metric.c has the formulas).  recall
 * is the mean over users of the share of a user's answers that are in the top
 * k; with one answer a user
 * it equals hr.  coverage is the share of the version's items that are in
 * anybody's top k; it is left out when candidates are sampled.
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "pg/cache/cache.h"
#include "pg/evaluate/evaluate.h"
#include "pg/option/option.h"

PG_FUNCTION_INFO_V1(fmoe_evaluate);

#define CANDIDATES_MAX 1000000

typedef enum EvaluateSplit
{
	EVALUATE_LEAVE_ONE_OUT,
	EVALUATE_TIME,
	EVALUATE_LAST_FIFTH
} EvaluateSplit;

typedef struct EvaluateOptions
{
	int			split;			/* EvaluateSplit */
	bool		exclude_seen;
	const char *candidates;
	int			negatives;		/* 0: all items; what candidates says */
	FmoeIntList k;
	FmoeEvaluationOptions common;
} EvaluateOptions;

static const char *const split_names[] = {"leave_one_out", "time", "last_fifth", NULL};

#define AT(field) offsetof(EvaluateOptions, field)

const FmoeOption fmoe_evaluate_options[] = {
	{"split", FMOE_OPTION_ENUM, AT(split), 0, 0, split_names, "leave_one_out",
	"baskets to be predicted: each user's last one, all since the training, or of impressions each user's last fifth"},
	{"exclude_seen", FMOE_OPTION_BOOL, AT(exclude_seen), 0, 0, NULL, "true",
	"what a user had seen is neither a candidate nor an answer"},
	{"candidates", FMOE_OPTION_TEXT, AT(candidates), 0, 0, NULL, "all",
	"all items, or the number of random ones beside the answer"},
	{"k", FMOE_OPTION_INT_LIST, AT(k), 1, 10000, NULL, "10",
	"lengths of the list"},
	FMOE_EVALUATION_OPTIONS,
	{NULL}
};

typedef struct Evaluation
{
	EvaluateOptions options;
	FmoeDomain *domain;
	FmoeLoaded *loaded;
	bool		live;
	FnnArena   *arena;
	FmoeInteractions *interactions;
	FmoeCases  *cases;
	FmoeEvalSet *set;
	int64		n_users;		/* that the cases are of */
	int32	   *rank;			/* [answers of cases] */
	uint8	   *covered;		/* [n_items] of the version */
	ReturnSetInfo *result;
} Evaluation;

/* ---------------------------------------------------------------- options */

/* The option "candidates" may be a number; the parser gets it as a string. */
static Jsonb *
quote_candidates(Jsonb *options)
{
	static const char key[] = "candidates";
	JsonbValue	value;
	char	   *quoted;

	if (!JB_ROOT_IS_OBJECT(options) ||
		getKeyJsonValueFromContainer(&options->root, key, strlen(key), &value) == NULL ||
		value.type != jbvNumeric)
		return options;
	quoted = psprintf("{\"%s\": \"%s\"}", key, numeric_normalize(value.val.numeric));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(options),
											  DirectFunctionCall1(jsonb_in, CStringGetDatum(quoted))));
}

static int
parse_candidates(const char *text)
{
	char	   *end;
	long		number;

	if (strcmp(text, "all") == 0)
		return 0;
	number = strtol(text, &end, 10);
	if (end == text || *end != '\0' || number < 1 || number > CANDIDATES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"candidates\" cannot be \"%.60s\"", text),
				 errhint("Option \"candidates\" takes \"all\" or an integer from 1 to %d; the default is all.",
						 CANDIDATES_MAX)));
	return (int) number;
}

static void
parse_options(FunctionCallInfo fcinfo, EvaluateOptions *options)
{
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("options must not be null")));
	fmoe_parse_options(quote_candidates(PG_GETARG_JSONB_P(1)), fmoe_evaluate_options, options);
	options->negatives = parse_candidates(options->candidates);
}

/* Of any length of the list, the longest: only all items are covered. */
static FmoeProtocol
protocol_of(const EvaluateOptions *options)
{
	FmoeProtocol protocol = {
		.exclude_seen = options->exclude_seen,
		.negatives = options->negatives,
		.seed = options->common.seed
	};

	for (int i = 0; options->negatives == 0 && i < options->k.count; i++)
		protocol.top_k = Max(protocol.top_k, options->k.value[i]);
	return protocol;
}

/* ---------------------------------------------------------------- the version */

static void
choose_version(Evaluation *evaluation)
{
	const FmoeDomain *domain = evaluation->domain;
	int			number = evaluation->options.common.version;
	FmoeVersion *version = fmoe_version_to_evaluate(domain, number);

	evaluation->live = number == 0 && version->version_id == fmoe_live_version(domain->id);
	if (evaluation->options.split == EVALUATE_LEAVE_ONE_OUT &&
		!fmoe_holds_back(version->config.holdout, FMOE_HOLDOUT_TEST))
		fmoe_refuse_seen(domain, version, "leave_one_out", "each user's last event", "test");
	if (evaluation->options.split == EVALUATE_LAST_FIFTH &&
		!fmoe_holds_back(version->config.holdout, FMOE_HOLDOUT_TEST_FIFTH))
		fmoe_refuse_seen(domain, version, "last_fifth", "each user's last fifth of events", "test_fifth");
	if (evaluation->options.split == EVALUATE_LAST_FIFTH &&
		!fmoe_by_clicks(fmoe_expert_classes[version->config.model]))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the split \"last_fifth\" is of impressions"),
				 errdetail("Model \"%s\" ranks items.", version->model),
				 errhint("Use the split \"leave_one_out\" or \"time\".")));
	evaluation->loaded = fmoe_load(domain, version->version_id);
}

/* ---------------------------------------------------------------- the cases */

static void
choose_cases(Evaluation *evaluation)
{
	const EvaluateOptions *options = &evaluation->options;
	const FmoeVersion *version = evaluation->loaded->version;
	const char *name = evaluation->domain->name;
	bool		time = options->split == EVALUATE_TIME;
	FmoeCasesWanted wanted = {
		.split = time ? FMOE_SPLIT_TIME : FMOE_SPLIT_TEST,
		.holdout = FMOE_HOLDOUT_TEST,
		.unseen = options->exclude_seen,
		.after = version->last_event,
		.limit = options->common.limit_users,
		.seed = options->common.seed
	};
	bool		weighed = evaluation->interactions->data.events.weight != NULL;
	FmoeCases  *cases;
	int64		c;

	if (time && isnan(version->last_event))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" does not know when its training ended",
						version->version, name)));
	cases = fmoe_cases(evaluation->arena, &evaluation->interactions->data, &wanted);
	if (cases->count == 0 && cases->repeated == 0 && time)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no events to evaluate version %d on", name, version->version),
				 errdetail("There is none later than the newest event of its training by a user with earlier ones."),
				 errhint("Use the split \"leave_one_out\", or wait for new events.")));
	if (cases->count == 0)
		ereport(NOTICE,
				(errmsg("domain \"%s\" has no user to evaluate version %d on", name, version->version),
				 cases->repeated > 0 ?
				 errdetail("%lld users had had all that they chose last before, and exclude_seen is set.",
						   (long long) cases->repeated) :
				 weighed ? errdetail("No user has three baskets of which the last two have an event that counts.") :
				 errdetail("No user has three baskets; %lld have one.", (long long) cases->lone)));
	else if (cases->lone > 0)
		ereport(NOTICE,
				(errmsg("%lld users have one basket only and are not evaluated", (long long) cases->lone)));

	/* a user's cases follow each other and begin at the same event */
	for (c = 0; c < cases->count; c++)
		if (c == 0 || cases->begin[c] != cases->begin[c - 1])
			evaluation->n_users++;
	evaluation->cases = cases;
}

static void
read_cases(Evaluation *evaluation)
{
	const FmoeVersion *version = evaluation->loaded->version;
	FmoeInteractions *interactions = fmoe_read_interactions(evaluation->domain, NULL);
	FmoeProtocol protocol = protocol_of(&evaluation->options);
	int64		answers;
	size_t		bytes;

	evaluation->interactions = interactions;
	fmoe_tell_left_out(evaluation->domain, interactions);
	fmoe_warn_of_fewer(evaluation->domain, version, interactions->data.n_events);
	choose_cases(evaluation);
	answers = evaluation->cases->first[evaluation->cases->count];
	bytes = MemoryContextMemAllocated(CurrentMemoryContext, true) +
		fmoe_eval_set_bytes(&interactions->data, evaluation->cases->count, answers) +
		(size_t) answers * sizeof(int32) + (size_t) version->items * sizeof(uint8) +
		fmoe_rank_bytes(&evaluation->loaded->model, &interactions->data, evaluation->cases, &protocol);
	fmoe_check_memory(bytes, psprintf("evaluating version %d of domain \"%s\"", version->version,
									  evaluation->domain->name));
	evaluation->set = fmoe_eval_set(interactions, evaluation->cases, evaluation->loaded->vocabulary);
	evaluation->rank = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * Max(answers, 1));
	evaluation->covered = MemoryContextAllocHuge(CurrentMemoryContext, Max(version->items, 1));
}

/* ---------------------------------------------------------------- the rows */

static void
put_row(Evaluation *evaluation, const char *model, const char *metric, int k, double value)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(model);
	values[1] = CStringGetTextDatum(metric);
	values[2] = Int32GetDatum(k);
	nulls[2] = k == 0;
	values[3] = Float8GetDatum(value);
	nulls[3] = isnan(value);
	values[4] = Int64GetDatum(evaluation->n_users);
	tuplestore_putvalues(evaluation->result->setResult, evaluation->result->setDesc, values, nulls);
}

/* Mean over users of the share of a user's answers in the top k; NaN for none. */
static double
recall(const Evaluation *evaluation, int k)
{
	const FmoeCases *cases = evaluation->cases;
	double		sum = 0;
	int64		c = 0;

	while (c < cases->count)
	{
		int64		first = c;
		int64		hits = 0;

		while (c < cases->count && cases->begin[c] == cases->begin[first])
			c++;
		for (int64 a = cases->first[first]; a < cases->first[c]; a++)
			hits += evaluation->rank[a] <= k;
		sum += (double) hits / (cases->first[c] - cases->first[first]);
	}
	return sum / evaluation->n_users;
}

static double
covered_share(const Evaluation *evaluation)
{
	int32		n = evaluation->loaded->model.n_items;
	int32		count = 0;
	int32		i;

	for (i = 0; i < n; i++)
		count += evaluation->covered[i];
	if (evaluation->cases->count == 0)
		return get_float8_nan();
	return n > 0 ? (double) count / n : 0;
}

/* The share of users who are no case because they had had all their answers before. */
static double
repeated_share(const Evaluation *evaluation)
{
	const FmoeCases *cases = evaluation->cases;

	return cases->repeated > 0 ? (double) cases->repeated / (cases->users + cases->repeated) : 0;
}

static void
put_expert(Evaluation *evaluation, const char *name, FmoeExpertSlot slot)
{
	const EvaluateOptions *options = &evaluation->options;
	const int32 *rank = evaluation->rank;
	const FmoeCases *cases = evaluation->cases;
	FmoeProtocol protocol = protocol_of(options);
	int			i;

	for (i = 0; i < options->k.count; i++)
	{
		int			k = options->k.value[i];
		bool		cover = options->negatives == 0;

		/* ranks are the same for every k, coverage is not */
		if (i == 0 || cover)
		{
			protocol.top_k = cover ? k : 0;
			memset(evaluation->covered, 0, evaluation->loaded->model.n_items);
			fmoe_rank_set(evaluation->set, &evaluation->loaded->model, slot, evaluation->arena, &protocol,
						  evaluation->rank, cover ? evaluation->covered : NULL);
		}
		put_row(evaluation, name, "ndcg", k, fmoe_mean_metric(FMOE_NDCG, k, cases, rank));
		put_row(evaluation, name, "hr", k, fmoe_mean_metric(FMOE_HR, k, cases, rank));
		put_row(evaluation, name, "mrr", k, fmoe_mean_metric(FMOE_MRR, k, cases, rank));
		put_row(evaluation, name, "recall", k, recall(evaluation, k));
		if (cover)
			put_row(evaluation, name, "coverage", k, covered_share(evaluation));
		put_row(evaluation, name, "repeated", k, repeated_share(evaluation));
	}
}

/* ---------------------------------------------------------------- clicks */

static void
put_figures(void *context, const char *model, const char *metric, double value, int64 users)
{
	Evaluation *evaluation = context;

	evaluation->n_users = users;
	put_row(evaluation, model, metric, 0, value);
}

static void
evaluate_clicks(Evaluation *evaluation, const char *name)
{
	static const FmoeSplit splits[] = {
		[EVALUATE_LEAVE_ONE_OUT] = FMOE_SPLIT_TEST,
		[EVALUATE_TIME] = FMOE_SPLIT_TIME,
		[EVALUATE_LAST_FIFTH] = FMOE_SPLIT_FIFTH
	};
	const FmoeModel *model = &evaluation->loaded->model;
	FmoeImpressionsWanted wanted = {
		.split = splits[evaluation->options.split],
		.after = evaluation->loaded->version->last_event,
		.max_length = model->config.max_length,
		.limit = evaluation->options.common.limit_users,
		.seed = evaluation->options.common.seed
	};

	fmoe_evaluate_clicks(evaluation->domain, evaluation->loaded->version, model, evaluation->loaded->vocabulary,
						 &wanted, evaluation->arena, name, put_figures, evaluation);
}

static void
evaluate_ranks(Evaluation *evaluation, const char *name)
{
	read_cases(evaluation);
	put_expert(evaluation, name, FMOE_MAIN);
	for (int slot = FMOE_POPULARITY; slot < FMOE_SLOTS; slot++)
		put_expert(evaluation, fmoe_slot_classes[slot]->name, (FmoeExpertSlot) slot);
}

Datum
fmoe_evaluate(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext old;
	Evaluation *evaluation;
	const char *name;

	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(CurrentMemoryContext, "fmoe evaluation", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	evaluation = palloc0(sizeof(Evaluation));
	evaluation->result = (ReturnSetInfo *) fcinfo->resultinfo;
	evaluation->domain = fmoe_domain_argument(fcinfo, 0, FMOE_USE);
	parse_options(fcinfo, &evaluation->options);
	choose_version(evaluation);
	evaluation->arena = fmoe_arena(context, fmoe_max_memory_kb);
	name = evaluation->live ? "live" : psprintf("version %d", evaluation->loaded->version->version);
	if (fmoe_by_clicks(evaluation->loaded->model.expert[FMOE_MAIN].class))
		evaluate_clicks(evaluation, name);
	else
		evaluate_ranks(evaluation, name);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}

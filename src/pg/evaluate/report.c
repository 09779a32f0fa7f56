/*
 * report.c
 *	  fmoe_expert_report: does each expert of a mixture help?
 *
 * The same users' events are ranked by the mixture, by the mixture without one
 * expert after the other (the weights of the others then sum up to 1; those of the gate
 * linear stay, and are told as shares of what their sizes add up to),
 * and by its own expert alone.  An expert helps or harms when the mean over
 * users of what it adds to NDCG@10 is away from 0 by more than chance
 * explains: when a bootstrap interval over users does not hold 0.
 *
 * The last row, 'all but own', compares the mixture with its own expert alone, as
 * going live does (golive.c).  Over all events that training kept back for
 * validation its verdict is the one that going live reached, or would reach: a
 * mixture below its own expert does not go live, however small the difference.
 * Not so with the gate linear, whose weights are fitted to these events: going live
 * judged it by weights that each half of them was fitted without.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "pg/cache/cache.h"
#include "pg/evaluate/evaluate.h"
#include "pg/option/option.h"

PG_FUNCTION_INFO_V1(fmoe_expert_report);

#define CUT_OFF 10
#define FEW_USERS 30			/* their resamples are too alike to tell anything */
#define COMPARED_MAX (FMOE_PARTS_MAX + 1)
#define OWN 0					/* among a mixture's experts */

typedef enum ReportSplit
{
	REPORT_VALIDATION,
	REPORT_LEAVE_ONE_OUT
} ReportSplit;

typedef struct ReportOptions
{
	int			split;			/* ReportSplit */
	int			resamples;
	FmoeEvaluationOptions common;
} ReportOptions;

static const char *const report_split_names[] = {"validation", "leave_one_out", NULL};

#define AT(field) offsetof(ReportOptions, field)

const FmoeOption fmoe_report_options[] = {
	{"split", FMOE_OPTION_ENUM, AT(split), 0, 0, report_split_names, "validation",
	"events to be predicted: those kept back for validation, or each user's last one"},
	{"resamples", FMOE_OPTION_INT, AT(resamples), 100, 100000, NULL, "1000",
	"number of bootstrap resamples of the users"},
	FMOE_EVALUATION_OPTIONS,
	{NULL}
};

typedef struct Report
{
	ReportOptions options;
	FmoeDomain *domain;
	FmoeLoaded *loaded;
	FnnArena   *arena;
	FmoeCases  *cases;			/* one a user */
	FmoeEvalSet *set;
	FmoeModel  *model;			/* a copy of the loaded one, with some experts left out */
	int			gated;
	int			compared;		/* mixtures with something left out */
	FmoePartUse use;
	int32	   *rank;			/* [answers of cases] */
	double	   *entire;			/* [cases->count] NDCG of the mixture */
	double	   *difference;		/* [cases->count, compared] its lead */
	double		ndcg;			/* means */
	double		without[COMPARED_MAX];
	double		low[COMPARED_MAX];
	double		high[COMPARED_MAX];
	ReturnSetInfo *result;
} Report;

/* ---------------------------------------------------------------- version and cases */

static void
choose_mixture(Report *report)
{
	const FmoeDomain *domain = report->domain;
	FmoeVersion *version = fmoe_version_to_evaluate(domain, report->options.common.version);
	const FmoeExpertClass *class = fmoe_expert_classes[version->config.model];

	report->loaded = fmoe_load(domain, version->version_id);
	if (class->weigh == NULL && !fmoe_has_gate(&report->loaded->model))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" is not a mixture of experts", version->version, domain->name),
				 errdetail("Its model is \"%s\".", version->model),
				 errhint("Name a mixture with the option \"version\", or train one with CALL fmoe_train('%s', '{\"model\": \"fmoe\"}').",
						 domain->name)));
	report->gated = fmoe_parts_count(&report->loaded->model) - 1;
	/* with a single expert there is nothing to compare with */
	report->compared = report->gated > 1 ? report->gated + 1 : 0;
	if (version->config.holdout == FMOE_HOLDOUT_NONE && report->options.split == REPORT_VALIDATION)
		fmoe_refuse_seen(domain, version, "validation", "events that a training kept back", "validation");
	if (version->config.holdout != FMOE_HOLDOUT_TEST && report->options.split == REPORT_LEAVE_ONE_OUT)
		fmoe_refuse_seen(domain, version, "leave_one_out", "each user's last event", "test");
}

static size_t
report_bytes(const Report *report, const FmoeInteractions *interactions)
{
	const FmoeDataset *data = &interactions->data;
	size_t		n = report->cases->count;
	FmoeProtocol protocol = {.exclude_seen = true};

	return MemoryContextMemAllocated(CurrentMemoryContext, true) + sizeof(FmoeModel) +
		fmoe_rank_bytes(&report->loaded->model, data, report->cases, &protocol) +
		(size_t) report->compared * report->options.resamples * sizeof(double) +
		fmoe_eval_set_bytes(data, n, report->cases->first[n]) + report->cases->first[n] * sizeof(int32) +
		n * ((1 + (size_t) report->compared) * sizeof(double));
}

static void
read_cases(Report *report)
{
	const FmoeVersion *version = report->loaded->version;
	const char *name = report->domain->name;
	FmoeInteractions *interactions = fmoe_read_interactions(report->domain, NULL);
	FmoeCasesWanted wanted = {
		.split = report->options.split == REPORT_VALIDATION ? FMOE_SPLIT_VALIDATION : FMOE_SPLIT_TEST,
		.holdout = version->config.holdout,
		.unseen = true,
		.limit = report->options.common.limit_users,
		.seed = report->options.common.seed
	};
	size_t		n;

	fmoe_tell_left_out(report->domain, interactions);
	fmoe_warn_of_fewer(report->domain, version, interactions->data.n_events);
	report->cases = fmoe_cases(report->arena, &interactions->data, &wanted);
	n = report->cases->count;
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no events to evaluate version %d on", name, version->version),
				 errdetail("No user has %s baskets, the last of them with an item that was new to the user.",
						   report->options.split == REPORT_VALIDATION ? "two" : "three")));
	fmoe_check_memory(report_bytes(report, interactions),
					  psprintf("evaluating the experts of version %d of domain \"%s\"", version->version, name));
	report->set = fmoe_eval_set(interactions, report->cases, report->loaded->vocabulary);
	report->rank = MemoryContextAllocHuge(CurrentMemoryContext, report->cases->first[n] * sizeof(int32));
	report->entire = MemoryContextAllocHuge(CurrentMemoryContext, n * sizeof(double));
	report->difference = MemoryContextAllocHuge(CurrentMemoryContext, Max(n * report->compared, 1) * sizeof(double));
	report->model = palloc(sizeof(FmoeModel));
	*report->model = report->loaded->model;
}

/* ---------------------------------------------------------------- judging */

/* Ranks all cases by the mixture without a set of its experts. */
static double
rank_without(Report *report, uint32 without)
{
	FmoeProtocol protocol = {.exclude_seen = true, .seed = report->options.common.seed};

	if (fmoe_has_gate(report->model))
	{
		report->model->gate = report->loaded->model.gate;
		report->model->gate.without = without;
		/* alone it ranks, whatever it weighed */
		if (without == ~((uint32) 1 << OWN))
			report->model->gate.weight[OWN][0] = 1;
	}
	else
		report->model->expert[FMOE_MAIN].without = without;
	fmoe_rank_set(report->set, report->model, FMOE_MAIN, report->arena, &protocol, report->rank, NULL);
	return fmoe_mean_metric(FMOE_NDCG, CUT_OFF, report->cases, report->rank);
}

static double
case_ndcg(const Report *report, int64 c)
{
	const int64 *first = report->cases->first;

	return fmoe_metric(FMOE_NDCG, CUT_OFF, report->rank + first[c], first[c + 1] - first[c]);
}

static void
evaluate(Report *report)
{
	int64		n = report->cases->count;

	fmoe_part_use(&report->loaded->model, report->arena, &report->set->data, &report->set->cases,
				  0, report->set->cases.count, &report->use);
	report->ndcg = rank_without(report, 0);
	for (int64 u = 0; u < n; u++)
		report->entire[u] = case_ndcg(report, u);
	for (int i = 0; i < report->compared; i++)
	{
		report->without[i] = rank_without(report, i < report->gated ? (uint32) 1 << i : ~((uint32) 1 << OWN));
		for (int64 u = 0; u < n; u++)
			report->difference[u * report->compared + i] = report->entire[u] - case_ndcg(report, u);
	}
	if (report->compared > 0)
		fmoe_bootstrap(report->arena, n, report->compared, report->difference, report->options.resamples,
					   report->options.common.seed, report->low, report->high);
}

/* ---------------------------------------------------------------- the rows */

static const char *
verdict_of(const Report *report, int i)
{
	if (report->compared == 0)
		return "the only expert";
	/* as golive.c compares */
	if (i == report->gated && report->ndcg < report->without[i])
		return "stays behind the own expert";
	if (report->cases->count >= FEW_USERS && report->low[i] > 0)
		return "helps";
	if (report->cases->count >= FEW_USERS && report->high[i] < 0)
		return "harms";
	return "no clear effect";
}

/* Mean share of an expert after each layer where experts are mixed, or of the others; NULL array: there are none. */
static ArrayType *
layer_shares(const Report *report, int expert, bool others)
{
	int			layers = fmoe_mixed_layers(&report->loaded->model);
	Datum		share[FMOE_MIXED_LAYERS_MAX];

	for (int layer = 0; layer < layers; layer++)
	{
		double		mean = report->use.layer[layer][expert] / report->use.histories;

		share[layer] = Float8GetDatum(others ? 1 - mean : mean);
	}
	return layers == 0 ? NULL
		: construct_array(share, layers, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

static void
put_row(const Report *report, int i)
{
	const FmoePartUse *use = &report->use;
	bool		alone = report->compared == 0;
	bool		others = i == report->gated;
	double		weight = use->weight[others ? OWN : i] / use->histories;
	double		largest = use->largest[others ? OWN : i] / use->histories;
	ArrayType  *layers = layer_shares(report, others ? OWN : i, others);
	Datum		values[11];
	bool		nulls[11] = {false};

	values[0] = CStringGetTextDatum(others ? "all but own"
									: fmoe_domain_part_name(report->domain, report->model, i));
	values[1] = Float8GetDatum(others ? 1 - weight : weight);
	values[2] = Float8GetDatum(others ? 1 - largest : largest);
	nulls[1] = nulls[2] = use->histories == 0;
	values[3] = Float8GetDatum(report->ndcg);
	values[4] = Float8GetDatum(report->without[i]);
	values[5] = Float8GetDatum(report->ndcg - report->without[i]);
	values[6] = Float8GetDatum(report->low[i]);
	values[7] = Float8GetDatum(report->high[i]);
	nulls[4] = nulls[5] = nulls[6] = nulls[7] = alone;
	values[8] = CStringGetTextDatum(verdict_of(report, i));
	values[9] = Int64GetDatum(report->cases->count);
	values[10] = PointerGetDatum(layers);
	nulls[10] = layers == NULL || use->histories == 0;
	tuplestore_putvalues(report->result->setResult, report->result->setDesc, values, nulls);
}

Datum
fmoe_expert_report(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext old;
	Report	   *report;

	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(CurrentMemoryContext, "fmoe expert report", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	report = palloc0(sizeof(Report));
	report->result = (ReturnSetInfo *) fcinfo->resultinfo;
	report->domain = fmoe_domain_argument(fcinfo, 0, FMOE_USE);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("options must not be null")));
	fmoe_parse_options(PG_GETARG_JSONB_P(1), fmoe_report_options, &report->options);
	choose_mixture(report);
	report->arena = fmoe_arena(context, fmoe_max_memory_kb);
	read_cases(report);
	evaluate(report);
	for (int i = 0; i < Max(report->gated, report->compared); i++)
		put_row(report, i);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}

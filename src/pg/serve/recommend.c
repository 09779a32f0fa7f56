/*
 * recommend.c
 *	  fmoe_recommend, fmoe_recommend_as, fmoe_recommend_next.
 *
 * What a call answers, in the order in which it is decided:
 *	  - A NULL user or history gives no rows.  NULL for anything else is its
 *		default.
 *	  - The history is what the interaction table holds for the user now, or
 *		held up to as_of.  Events of items that the version does not know are
 *		passed over.
 *	  - A history without a known item, so also an unknown user, is answered by
 *		popularity: source 'popularity'.
 *	  - Otherwise the live version's model answers: source 'model'.  With
 *		nothing live (every version lost against the baselines) the count
 *		experts of the newest version do: source 'markov', or 'popularity' where
 *		that was the better one in validation.
 *	  - Items of the history (exclude_seen), then those of exclude, are left
 *		out, and only those of candidates stay where it is given.  All that
 *		happens before the best k are taken, so there are always exactly
 *		min(k, eligible) rows.  Items the version does not know have no score
 *		and are not eligible.
 *	  - Rows come by descending score, equal ones by ascending item id.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/serve/serve.h"

PG_FUNCTION_INFO_V1(fmoe_recommend);
PG_FUNCTION_INFO_V1(fmoe_recommend_as);
PG_FUNCTION_INFO_V1(fmoe_recommend_next);

/* What the column source says of the expert that answers. */
static const char *
source_name(FmoeExpertSlot slot)
{
	return slot == FMOE_MAIN ? "model" : fmoe_slot_classes[slot]->name;
}

/* Positions of the arguments in the forms of the call; -1: there is none. */
typedef struct RecommendArguments
{
	int			user;
	int			history;
	int			k;
	int			domain;
	int			exclude_seen;
	int			exclude;
	int			candidates;
	int			as_of;
} RecommendArguments;

static const RecommendArguments recommend_arguments = {
	.user = 0,
	.history = -1,
	.k = 1,
	.domain = 2,
	.exclude_seen = 3,
	.exclude = 4,
	.candidates = 5,
	.as_of = 6
};

static const RecommendArguments recommend_as_arguments = {
	.user = 1,
	.history = -1,
	.k = 2,
	.domain = 3,
	.exclude_seen = 4,
	.exclude = 5,
	.candidates = 6,
	.as_of = 7
};

static const RecommendArguments recommend_next_arguments = {
	.user = -1,
	.history = 0,
	.k = 1,
	.domain = 2,
	.exclude_seen = 3,
	.exclude = 4,
	.candidates = 5,
	.as_of = -1
};

/*
 * An array of ids.  exclude and candidates are declared "any", since anyarray
 * cannot default to NULL; so the type is checked here, and a literal without a
 * cast is taken as an array of the domain's item type.
 */
static FmoeItems *
array_argument(FunctionCallInfo fcinfo, FmoeServing *serving, FmoeIdSource source, int argument)
{
	Oid			item_type = serving->moment.domain->item_type;
	Datum		array;
	Oid			type;

	if (PG_ARGISNULL(argument))
		return NULL;
	type = fmoe_argument_type(fcinfo, argument);
	array = PG_GETARG_DATUM(argument);
	if (type == UNKNOWNOID && OidIsValid(get_array_type(item_type)))
	{
		Oid			input;
		Oid			parameter;

		getTypeInputInfo(get_array_type(item_type), &input, &parameter);
		array = OidInputFunctionCall(input, DatumGetCString(array), parameter, -1);
	}
	else if (!OidIsValid(get_base_element_type(type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("ids are given as type %s, which is not an array", format_type_be(type)),
				 errhint("Use an array of ids, such as ARRAY[id].")));
	return fmoe_serve_array(serving, source, array, item_type, serving->call.loaded->vocabulary);
}

static void
answer(FunctionCallInfo fcinfo, FmoeServing *serving, const RecommendArguments *at)
{
	FmoeFilter	filter = {0};
	FmoeItems  *history;
	FmoeExpertSlot slot;
	int32		k = fmoe_serve_k(fcinfo, at->k);

	fmoe_serve_resolve(fcinfo, serving, at->domain);
	if (at->user >= 0)
		history = fmoe_serve_history(fcinfo, serving, at->user, at->as_of);
	else
		history = array_argument(fcinfo, serving, FMOE_ID_HISTORY, at->history);

	if (PG_ARGISNULL(at->exclude_seen) || PG_GETARG_BOOL(at->exclude_seen))
		filter.seen = history;
	filter.exclude = array_argument(fcinfo, serving, FMOE_ID_EXCLUDE, at->exclude);
	filter.candidates = array_argument(fcinfo, serving, FMOE_ID_CANDIDATES, at->candidates);

	slot = fmoe_serve_slot(serving, history->count);
	fmoe_serve_answer(fcinfo, serving, serving->call.loaded->vocabulary, serving->moment.domain->item_type,
						  fmoe_serve_best(serving, &serving->call.loaded->model, slot, history, &filter, k),
						  source_name(slot));
}

static Datum
recommend(FunctionCallInfo fcinfo, const RecommendArguments *at)
{
	FmoeServing *serving = fmoe_serving(fcinfo);

	if (!serving->rows.active)
	{
		fmoe_serve_begin(serving);
		if (!PG_ARGISNULL(at->user >= 0 ? at->user : at->history))
			answer(fcinfo, serving, at);
	}
	return fmoe_serve_next(fcinfo, serving);
}

Datum
fmoe_recommend(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, &recommend_arguments);
}

Datum
fmoe_recommend_as(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, &recommend_as_arguments);
}

Datum
fmoe_recommend_next(PG_FUNCTION_ARGS)
{
	return recommend(fcinfo, &recommend_next_arguments);
}

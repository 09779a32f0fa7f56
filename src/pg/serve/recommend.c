/*
 * recommend.c
 *	  fmoe_recommend and fmoe_recommend_next, and their forms _as.
 *
 * What a call answers, in the order in which it is decided:
 *	  - A NULL user or history gives no rows.  NULL for anything else is its
 *		default.
 *	  - The history is what the interaction table holds for the user now, or
 *		held up to as_of.  Events of items that the version does not know are
 *		passed over.
 *	  - A history without a known item, so also an unknown user, is answered by
 *		what is recent, source 'recent', where the version has a gate, or else by
 *		popularity: source 'popularity'.
 *	  - Otherwise the model of the version asked for, or else of the live
 *		one, answers: source 'model'.  With nothing live (every version lost
 *		against the baselines) the counting experts of the newest version do:
 *		source 'markov', or 'popularity' where that was the better one in
 *		validation.
 *	  - Each item of a history that is an array is a basket of its own, unless
 *		all of them are said to be one.
 *	  - Items of the history and what was shown and not chosen (exclude_seen),
 *		then those of exclude, are left out, and only those of candidates stay where it is given.  All that
 *		happens before the best k are taken, so there are always exactly
 *		min(k, eligible) rows.  Items the version does not know have no score
 *		and are not eligible, unless they are candidates that the item table tells of.
 *	  - Rows come by descending score, equal ones by ascending item id.
 */
#include "postgres.h"

#include "pg/serve/serve.h"

PG_FUNCTION_INFO_V1(fmoe_recommend);
PG_FUNCTION_INFO_V1(fmoe_recommend_as);
PG_FUNCTION_INFO_V1(fmoe_recommend_next);
PG_FUNCTION_INFO_V1(fmoe_recommend_next_as);

/* Of fmoe_recommend_next. */
#define BY_HISTORY(is_fixed, first) { \
	.fixed = (is_fixed), .user = -1, .item = -1, .history = (first), .k = (first) + 1, .domain = (first) + 2, \
	.exclude_seen = (first) + 3, .exclude = (first) + 4, .candidates = (first) + 5, .as_of = -1, \
	.version = (first) + 6, .filter = (first) + 7, .basket = (first) + 8 \
}

static void
answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	FmoeFilter	filter;
	FmoeItems  *history;
	FmoeExpertSlot slot;
	int32		k = fmoe_serve_k(fcinfo, at->k);

	fmoe_serve_resolve(fcinfo, serving, at);
	fmoe_serve_meets(serving);
	if (at->user >= 0)
		history = fmoe_serve_history(fcinfo, serving, at);
	else
	{
		history = fmoe_serve_list(fcinfo, serving, FMOE_ID_HISTORY, at->history);
		if (!PG_ARGISNULL(at->basket) && PG_GETARG_BOOL(at->basket))
			fmoe_serve_basket(serving, history);
	}
	filter = fmoe_serve_filter(fcinfo, serving, at, history);
	slot = fmoe_serve_slot(serving, history->count);
	fmoe_serve_answer(fcinfo, serving, serving->call.loaded->vocabulary, serving->moment.domain->item_type,
					  fmoe_serve_best(serving, fmoe_serve_model(serving), slot, history, &filter, k),
					  fmoe_serve_source(serving, slot));
}

static Datum
recommend(FunctionCallInfo fcinfo, const FmoeArguments *at)
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
	static const FmoeArguments at = FMOE_BY_USER(true, 0);

	return recommend(fcinfo, &at);
}

Datum
fmoe_recommend_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = FMOE_BY_USER(false, 1);

	return recommend(fcinfo, &at);
}

Datum
fmoe_recommend_next(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = BY_HISTORY(true, 0);

	return recommend(fcinfo, &at);
}

Datum
fmoe_recommend_next_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = BY_HISTORY(false, 1);

	return recommend(fcinfo, &at);
}

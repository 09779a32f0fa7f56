/*
 * together.c
 *	  fmoe_together: what was in baskets with given items.
 *
 * NULL for the items gives no rows.  Items that the version does not know are
 * passed over, and repeats count once; those given are never among the rows.
 * Any version answers, live or not: baskets are only counted.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/serve/serve.h"

PG_FUNCTION_INFO_V1(fmoe_together);
PG_FUNCTION_INFO_V1(fmoe_together_as);

/* Of fmoe_together: items, k, domain, exclude, candidates, version, filter, from first on. */
#define TOGETHER(is_fixed, first) { \
	.fixed = (is_fixed), .user = -1, .item = (first), .history = -1, .k = (first) + 1, .domain = (first) + 2, \
	.exclude_seen = -1, .exclude = (first) + 3, .candidates = (first) + 4, .as_of = -1, .version = (first) + 5, \
	.filter = (first) + 6 \
}

/*
 * An item that the version does not know, but the item table does, is taken for the one that
 * is most like it.
 */
static void
replace_strangers(FmoeServing *serving, FmoeItems *items)
{
	int32	   *item = unconstify(int32 *, items->events.item);
	int32		n_items = serving->call.loaded->model.n_items;
	int64		n = 0;

	for (int64 i = 0; i < items->count; i++)
	{
		FmoeFilter	all = {0};
		FmoeItems	itself = {.count = 1};
		const FmoeModel *model;
		FnnTopk    *nearest;

		CHECK_FOR_INTERRUPTS();
		if (item[i] < n_items)
		{
			item[n++] = item[i];
			continue;
		}
		model = fmoe_serve_model(serving);
		itself.events.item = &item[i];
		nearest = fmoe_has_vectors(model) ? fmoe_serve_nearest(serving, model, item[i], &all, 1)
			: fmoe_serve_best(serving, model, FMOE_MAIN, &itself, &all, 1);
		if (nearest->count > 0)
			item[n++] = nearest->item[0];
	}
	items->count = n;
}

static void
answer(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	int32		k = fmoe_serve_k(fcinfo, at->k);
	const FmoeModel *model;
	FmoeItems  *items;
	FmoeFilter	filter;
	FnnTopk    *best;
	int64	   *baskets;

	fmoe_serve_resolve(fcinfo, serving, at);
	model = &serving->call.loaded->model;
	if (!fmoe_has_together(&model->together))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" has not counted what was in the same basket",
						serving->call.loaded->version->version, serving->moment.domain->name),
				 errdetail("It was trained by an earlier build, or comes from a file without these counts."),
				 errhint("Train a new version with CALL fmoe_train(%s).",
						 quote_literal_cstr(serving->moment.domain->name))));
	fmoe_serve_meets(serving);
	items = fmoe_serve_list(fcinfo, serving, FMOE_ID_HISTORY, at->item);
	replace_strangers(serving, items);
	/* the others of this call are known, or left out */
	serving->call.met = NULL;
	fmoe_serve_distinct(items);
	filter = fmoe_serve_filter(fcinfo, serving, at, NULL);
	best = fmoe_serve_together(serving, model, items, &filter, k);
	baskets = fnn_alloc(serving->site.arena, Max(best->count, 1) * sizeof(int64));
	for (int32 i = 0; i < best->count; i++)
		baskets[i] = fmoe_together_baskets(&model->together, items->count, items->events.item, best->item[i]);
	fmoe_serve_answer(fcinfo, serving, serving->call.loaded->vocabulary, serving->moment.domain->item_type, best,
					  NULL);
	serving->rows.baskets = baskets;
}

static Datum
together(FunctionCallInfo fcinfo, const FmoeArguments *at)
{
	FmoeServing *serving = fmoe_serving(fcinfo);

	if (!serving->rows.active)
	{
		fmoe_serve_begin(serving);
		if (!PG_ARGISNULL(at->item))
			answer(fcinfo, serving, at);
	}
	return fmoe_serve_next(fcinfo, serving);
}

Datum
fmoe_together(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = TOGETHER(true, 0);

	return together(fcinfo, &at);
}

Datum
fmoe_together_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = TOGETHER(false, 1);

	return together(fcinfo, &at);
}

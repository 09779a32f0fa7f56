/*
 * strangers.c
 *	  Items of a call that the version does not know: the item table is asked for them,
 *	  and what it says stands in for what was learned (model/serve/strangers.c).
 *
 * While ids become numbers, those that are unknown get numbers behind the version's; when
 * an array or a history is complete, the item table is read for all of them, by one
 * query, and those that it has not are left out after all.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/serve/serve.h"

/* Of one call; more are left out, with a warning. */
#define STRANGERS_MAX 65536

struct FmoeMet
{
	unsigned	reads;			/* what the version reads of the item table, a set of FmoeReads */
	FmoeVocabulary *ids;		/* id set; number i is n_items + i */
	int32		asked;			/* of them, for which the item table was read */
	bool		warned;			/* that there are more */
	MemoryContext context;		/* of told; NULL: nobody was asked for yet */
	FmoeTold	told;
	FmoeModel  *model;			/* that knows them; NULL: not made yet */
};

void
fmoe_serve_meets(FmoeServing *serving)
{
	const FmoeDomain *domain = serving->moment.domain;
	const FmoeModel *model = &serving->call.loaded->model;
	unsigned	reads = fmoe_reads(model->expert[FMOE_MAIN].class, &model->config);
	MemoryContext old;

	if (!serving->moment.whole || !OidIsValid(domain->items) || !fmoe_has_features(domain, reads) ||
		!fmoe_can_meet(model))
		return;
	old = MemoryContextSwitchTo(serving->call.context);
	serving->call.met = palloc0(sizeof(FmoeMet));
	serving->call.met->reads = reads;
	serving->call.met->ids = fmoe_idset_create(domain->item_type, domain->item_collation);
	MemoryContextSwitchTo(old);
}

int32
fmoe_serve_strangers(const FmoeServing *serving)
{
	return serving->call.met != NULL ? fmoe_vocabulary_count(serving->call.met->ids) : 0;
}

int32
fmoe_serve_find(const FmoeServing *serving, Datum id)
{
	int32		item = fmoe_vocabulary_find(serving->call.loaded->vocabulary, id);

	if (item >= 0 || serving->call.met == NULL)
		return item;
	item = fmoe_vocabulary_find(serving->call.met->ids, id);
	return item >= 0 ? serving->call.loaded->model.n_items + item : -1;
}

static void
warn_too_many(FmoeServing *serving)
{
	if (serving->call.met->warned)
		return;
	serving->call.met->warned = true;
	ereport(WARNING,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("more than %d items of this call are unknown to version %d of domain \"%s\"", STRANGERS_MAX,
					serving->call.loaded->version->version, serving->moment.domain->name),
			 errdetail("The others are left out."),
			 errhint("SELECT fmoe_refresh(%s) makes a version that knows the item table as it is.",
					 quote_literal_cstr(serving->moment.domain->name))));
}

int32
fmoe_serve_number(FmoeServing *serving, Datum id)
{
	int32		item = fmoe_serve_find(serving, id);
	int32		n_items = serving->call.loaded->model.n_items;

	if (item >= 0 || serving->call.met == NULL)
		return item;
	if (fmoe_serve_strangers(serving) >= STRANGERS_MAX || n_items > PG_INT32_MAX - STRANGERS_MAX)
	{
		warn_too_many(serving);
		return item;
	}
	return n_items + fmoe_idset_add(serving->call.met->ids, id);
}

void
fmoe_serve_ask(FmoeServing *serving)
{
	FmoeMet    *met = serving->call.met;
	MemoryContext old;

	if (met == NULL || met->asked == fmoe_vocabulary_count(met->ids))
		return;
	if (met->context == NULL)
		met->context = AllocSetContextCreate(serving->call.context, "fmoe items met", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(met->context);
	old = MemoryContextSwitchTo(met->context);
	met->asked = fmoe_vocabulary_count(met->ids);
	met->model = NULL;
	fmoe_read_strangers(&met->told, serving->moment.domain, met->reads, met->ids,
						&serving->call.loaded->model.features);
	MemoryContextSwitchTo(old);
}

bool
fmoe_serve_knows(const FmoeServing *serving, int32 item)
{
	int32		n_items = serving->call.loaded->model.n_items;

	return item < n_items ? item >= 0 : serving->call.met->told.known[item - n_items];
}

Datum
fmoe_serve_item_id(const FmoeServing *serving, int32 item)
{
	int32		n_items = serving->call.loaded->model.n_items;

	return item < n_items ? fmoe_vocabulary_id(serving->call.loaded->vocabulary, item)
		: fmoe_vocabulary_id(serving->call.met->ids, item - n_items);
}

const FmoeModel *
fmoe_serve_model(FmoeServing *serving)
{
	FmoeMet    *met = serving->call.met;
	const FmoeModel *model = &serving->call.loaded->model;

	if (met == NULL || met->asked == 0)
		return model;
	if (met->model == NULL)
	{
		met->model = MemoryContextAlloc(serving->call.context, sizeof(FmoeModel));
		fmoe_meet(met->model, serving->site.arena, model, &met->told.features);
	}
	return met->model;
}

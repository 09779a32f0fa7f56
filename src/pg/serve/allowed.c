/*
 * allowed.c
 *	  What the item table and a filter let through.
 *
 * With a filter, all items that satisfy it are read once for a call site and
 * snapshot, as a set over the vocabulary.  Without one, a domain with an item table
 * only has to know of the best items that they are still there: a call looks
 * some more than k of them up by their keys, which costs an index lookup.  Where that
 * does not give enough, or the same site has called so often that the set has
 * been paid for, the set is made after all.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/serve/serve.h"

#define SETS_MAX 8				/* that a site keeps: a filter may come from a column */
#define LOOK_UPS_MAX 64			/* calls of a site before it makes the set */
#define FEW 8					/* one item in so many: a list is quicker than the set */

typedef struct Taking
{
	const FmoeServing *serving;
	FmoeAllowed *allowed;
	bool		strangers;		/* they are in the set */
} Taking;

static void
take_item(void *argument, Datum id)
{
	Taking	   *taking = argument;
	int32		item = taking->strangers ? fmoe_serve_find(taking->serving, id)
		: fmoe_vocabulary_find(taking->serving->call.loaded->vocabulary, id);
	uint64		bit = UINT64CONST(1) << Max(item, 0) % 64;

	if (item < 0 && taking->allowed->others != NULL)
		(void) fmoe_idset_add(taking->allowed->others, id);
	if (item < 0 || (taking->allowed->set[item / 64] & bit) != 0)
		return;
	taking->allowed->set[item / 64] |= bit;
	taking->allowed->count++;
}

static void
list_items(FmoeAllowed *allowed, int32 n_items)
{
	int32	   *item = palloc(Max(allowed->count, 1) * sizeof(int32));
	int64		n = 0;

	for (int32 i = 0; i < n_items; i++)
		if (fmoe_allows(allowed, i))
			item[n++] = i;
	allowed->item = item;
}

/* In memory of the moment. */
static FmoeAllowed *
make_allowed(FmoeServing *serving, const char *filter)
{
	int32		n_items = serving->call.loaded->model.n_items;
	MemoryContext old = MemoryContextSwitchTo(serving->moment.context);
	FmoeAllowed *allowed = palloc0(sizeof(FmoeAllowed));
	Taking		taking = {.serving = serving, .allowed = allowed};

	if (serving->call.met != NULL)
		allowed->others = fmoe_idset_create(serving->moment.domain->item_type, serving->moment.domain->item_collation);
	allowed->filter = filter != NULL ? pstrdup(filter) : NULL;
	allowed->set = MemoryContextAllocZero(CurrentMemoryContext, Max(fnn_set_words(n_items), 1) * sizeof(uint64));
	MemoryContextSwitchTo(serving->call.context);
	fmoe_read_items(serving->moment.domain, filter, take_item, &taking);
	MemoryContextSwitchTo(serving->moment.context);
	if (allowed->count < n_items / FEW)
		list_items(allowed, n_items);
	MemoryContextSwitchTo(old);
	return allowed;
}

static bool
same_filter(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void
forget(FmoeAllowed *allowed)
{
	pfree(allowed->set);
	if (allowed->filter != NULL)
		pfree(allowed->filter);
	if (allowed->item != NULL)
		pfree(allowed->item);
	pfree(allowed);
}

bool
fmoe_serve_allows(const FmoeServing *serving, const FmoeAllowed *allowed, int32 item)
{
	if (item < serving->call.loaded->model.n_items)
		return fmoe_allows(allowed, item);
	return allowed->others != NULL && fmoe_vocabulary_find(allowed->others, fmoe_serve_item_id(serving, item)) >= 0;
}

static const FmoeAllowed *
find_allowed(FmoeServing *serving, const char *filter)
{
	FmoeAllowed **first = &serving->moment.allowed;
	FmoeAllowed **link = first;
	FmoeAllowed *found;
	int			n = 0;

	while (*link != NULL && !same_filter((*link)->filter, filter))
	{
		/* the last one makes room */
		if (++n == SETS_MAX)
		{
			forget(*link);
			*link = NULL;
			break;
		}
		link = &(*link)->next;
	}
	found = *link;
	if (found != NULL)
		*link = found->next;
	else
		found = make_allowed(serving, filter);
	found->next = *first;
	*first = found;
	return found;
}

void
fmoe_serve_allow(FmoeServing *serving, const char *condition, FmoeFilter *filter)
{
	const FmoeDomain *domain = serving->moment.domain;

	if (condition != NULL && !OidIsValid(domain->items))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no item table to filter by", domain->name),
				 errhint("Give it one with fmoe_alter_domain(%s, items => ..., item_key => ...).",
						 quote_literal_cstr(domain->name))));
	if (condition != NULL)
		filter->allowed = find_allowed(serving, condition);
	else
		filter->look_up = OidIsValid(domain->items);
}

void
fmoe_serve_allow_all(FmoeServing *serving, FmoeFilter *filter)
{
	if (!filter->look_up)
		return;
	filter->allowed = find_allowed(serving, NULL);
	filter->look_up = false;
}

/* The first of the best items that are in a set and at most k: moved to the front. */
static void
keep_allowed(FnnTopk *best, const FmoeAllowed *allowed, int32 k)
{
	int32		kept = 0;

	for (int32 i = 0; i < best->count && kept < k; i++)
		if (fmoe_allows(allowed, best->item[i]))
		{
			best->item[kept] = best->item[i];
			best->score[kept++] = best->score[i];
		}
	best->count = kept;
}

bool
fmoe_serve_look_up(FmoeServing *serving, FnnTopk *best, int32 want, int32 k)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	bool		all = best->count < want;
	int32		n_items = serving->call.loaded->model.n_items + fmoe_serve_strangers(serving);
	FmoeAllowed allowed = {.set = palloc0(fnn_set_words(n_items) * sizeof(uint64))};
	Taking		taking = {.serving = serving, .allowed = &allowed, .strangers = true};
	Datum	   *id = palloc(Max(best->count, 1) * sizeof(Datum));
	int			n;

	for (int i = 0; i < best->count; i++)
		id[i] = fmoe_serve_item_id(serving, best->item[i]);
	/* those that are wanted are mostly there */
	n = Min(best->count, k);
	fmoe_look_items_up(serving->moment.domain, n, id, take_item, &taking);
	if (allowed.count < n && n < best->count)
		fmoe_look_items_up(serving->moment.domain, best->count - n, id + n, take_item, &taking);
	MemoryContextSwitchTo(old);
	if (!all && allowed.count < k)
		return false;
	keep_allowed(best, &allowed, k);
	return true;
}

bool
fmoe_serve_by_look_up(FmoeServing *serving)
{
	return serving->moment.allowed == NULL && ++serving->moment.look_ups <= LOOK_UPS_MAX;
}

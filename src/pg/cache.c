/*
 * cache.c
 *	  Versions in memory.
 *
 * Versions are immutable and their ids are never given out twice, so nothing
 * here is ever invalidated: which version is live is read elsewhere, with the
 * query's snapshot, and a version that was dropped is simply not asked for
 * any more and ages out.  What is not immutable is part of the key: the
 * relation fmoe.expert (a re-created extension counts its ids from one again)
 * and the type the vocabulary was opened with.
 *
 * Each entry has a memory context of its own, "fmoe model", under "fmoe model
 * cache".  It is filled under the context of the query that asked and moved
 * over when it is whole, so an error half-way leaves nothing behind.
 *
 * An entry is pinned by the resource owner under which it was fetched, which
 * ends with the query (its portal), also after an error.  Pinned entries stay;
 * among the others the least recently used goes first when fmoe.cache_size is
 * exceeded.  A version larger than the whole cache pushes nobody out: it goes
 * when its last pin does.
 *
 * The copy is the backend's own.  cache_fill() is the only place that knows
 * where the bytes come from: fmoe_model_bind and fmoe_vocabulary_bind work
 * over arrays that stay where they are.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "lib/ilist.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg.h"

typedef struct CacheEntry
{
	FmoeLoaded	loaded;
	Oid			relation;		/* fmoe.expert */
	Oid			item_type;
	Oid			item_collation;
	MemoryContext context;
	int			pins;
	dlist_node	node;
} CacheEntry;

typedef struct CachePin
{
	CacheEntry *entry;
	ResourceOwner owner;
	dlist_node	node;
} CachePin;

static MemoryContext cache_context = NULL;
/* most recently used first */
static dlist_head cache_entries = DLIST_STATIC_INIT(cache_entries);
static dlist_head cache_pins = DLIST_STATIC_INIT(cache_pins);
static size_t cache_bytes = 0;

static FmoeStatement version_number = {
	.sql = "SELECT e.version FROM fmoe.expert e"
	" WHERE e.expert_id OPERATOR(pg_catalog.=) $1 AND e.domain_id OPERATOR(pg_catalog.=) $2",
	.nargs = 2,
	.types = {INT8OID, INT8OID}
};

static size_t
cache_limit(void)
{
	return (size_t) fmoe_cache_size_kb * 1024;
}

static void
cache_drop(CacheEntry *entry)
{
	dlist_delete(&entry->node);
	cache_bytes -= entry->loaded.bytes;
	MemoryContextDelete(entry->context);
}

/* Drops least recently used entries that nobody holds until room more bytes fit. */
static void
cache_shrink(size_t room)
{
	dlist_node *node;
	dlist_node *previous;

	if (dlist_is_empty(&cache_entries))
		return;
	for (node = dlist_tail_node(&cache_entries);
		 cache_bytes + room > cache_limit();
		 node = previous)
	{
		CacheEntry *entry = dlist_container(CacheEntry, node, node);
		bool		first = !dlist_has_prev(&cache_entries, node);

		previous = first ? NULL : dlist_prev_node(&cache_entries, node);
		if (entry->pins == 0)
			cache_drop(entry);
		if (first)
			break;
	}
}

static void
cache_unpin(CachePin *pin)
{
	CacheEntry *entry = pin->entry;

	dlist_delete(&pin->node);
	pfree(pin);
	entry->pins--;
	if (entry->pins == 0 && entry->loaded.bytes > cache_limit())
		cache_drop(entry);
}

static void
cache_owner_released(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *argument)
{
	dlist_mutable_iter iter;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || dlist_is_empty(&cache_pins))
		return;
	dlist_foreach_modify(iter, &cache_pins)
	{
		CachePin   *pin = dlist_container(CachePin, node, iter.cur);

		if (pin->owner == CurrentResourceOwner)
			cache_unpin(pin);
	}
	cache_shrink(0);
}

/* The newest pin is the first, so a query that asks again and again finds its own at once. */
static void
cache_pin(CacheEntry *entry)
{
	dlist_iter	iter;
	CachePin   *pin;

	dlist_foreach(iter, &cache_pins)
	{
		pin = dlist_container(CachePin, node, iter.cur);
		if (pin->entry == entry && pin->owner == CurrentResourceOwner)
			return;
	}
	pin = MemoryContextAlloc(cache_context, sizeof(CachePin));
	pin->entry = entry;
	pin->owner = CurrentResourceOwner;
	dlist_push_head(&cache_pins, &pin->node);
	entry->pins++;
}

/* The stored version behind an id; error when it is gone or cannot serve. */
static FmoeVersion *
cache_find_version(const FmoeDomain *domain, int64 expert_id)
{
	Datum		values[2];
	FmoeOwn		own;
	int			number = 0;
	FmoeVersion *version;

	values[0] = Int64GetDatum(expert_id);
	values[1] = Int64GetDatum(domain->id);
	fmoe_own_begin(&own);
	fmoe_own_execute(&version_number, values, NULL, true, 1);
	if (SPI_processed > 0)
	{
		bool		isnull;

		number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	fmoe_own_end(&own);
	if (number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("a version of domain \"%s\" is no longer there", domain->name)));

	version = fmoe_find_version(domain, number);
	if (!version->complete)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" cannot answer by itself", number, domain->name),
				 errdetail("It holds an encoder without item vectors."),
				 errhint("Train a version of this domain with CALL fmoe_train('%s').", domain->name)));
	return version;
}

/* Reads a version into a context of its own under the current one. */
static CacheEntry *
cache_fill(const FmoeDomain *domain, int64 expert_id)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe model", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CacheEntry *entry = palloc0(sizeof(CacheEntry));
	FmoeLoaded *loaded = &entry->loaded;
	FnnArray   *arrays;
	int			n_arrays;
	size_t		bytes;

	loaded->expert_id = expert_id;
	loaded->version = cache_find_version(domain, expert_id);
	fmoe_check_memory(loaded->version->bytes,
					  psprintf("loading version %d of domain \"%s\"", loaded->version->version, domain->name));
	cache_shrink(loaded->version->bytes > cache_limit() ? 0 : loaded->version->bytes);

	n_arrays = fmoe_load_arrays(expert_id, context, &arrays, &bytes);
	fmoe_model_bind(&loaded->model, fmoe_host(context), &loaded->version->config, loaded->version->items,
					n_arrays, arrays);
	loaded->vocabulary = fmoe_vocabulary_bind(domain->item_type, domain->item_collation,
											  loaded->version->items, n_arrays, arrays);
	MemoryContextSwitchTo(old);

	loaded->bytes = MemoryContextMemAllocated(context, true);
	entry->item_type = domain->item_type;
	entry->item_collation = domain->item_collation;
	entry->context = context;
	MemoryContextSetIdentifier(context, MemoryContextStrdup(context, psprintf("%s %d", domain->name,
																			  loaded->version->version)));
	return entry;
}

static void
cache_setup(void)
{
	if (cache_context != NULL)
		return;
	if (CacheMemoryContext == NULL)
		CreateCacheMemoryContext();
	cache_context = AllocSetContextCreate(CacheMemoryContext, "fmoe model cache", ALLOCSET_SMALL_SIZES);
	RegisterResourceReleaseCallback(cache_owner_released, NULL);
}

FmoeLoaded *
fmoe_load(const FmoeDomain *domain, int64 expert_id)
{
	Oid			relation = get_relname_relid("expert", get_namespace_oid("fmoe", false));
	CacheEntry *entry = NULL;
	dlist_iter	iter;

	cache_setup();
	dlist_foreach(iter, &cache_entries)
	{
		CacheEntry *candidate = dlist_container(CacheEntry, node, iter.cur);

		if (candidate->loaded.expert_id == expert_id && candidate->relation == relation &&
			candidate->item_type == domain->item_type && candidate->item_collation == domain->item_collation)
		{
			entry = candidate;
			break;
		}
	}

	if (entry != NULL)
	{
		cache_pin(entry);
		dlist_move_head(&cache_entries, &entry->node);
		return &entry->loaded;
	}

	entry = cache_fill(domain, expert_id);
	entry->relation = relation;
	MemoryContextSetParent(entry->context, cache_context);
	dlist_push_head(&cache_entries, &entry->node);
	cache_bytes += entry->loaded.bytes;
	cache_pin(entry);
	if (entry->loaded.bytes <= cache_limit())
		cache_shrink(0);
	return &entry->loaded;
}

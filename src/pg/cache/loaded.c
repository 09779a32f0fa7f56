/*
 * loaded.c
 *	  Versions in memory, as a session sees them.
 *
 * Versions never change and their ids are never given out twice, so nothing here
 * is ever invalidated.  Which version is live is read elsewhere, with the query's
 * snapshot; a version that was dropped is not asked for again and ages out.  What
 * can change is part of the key: the relation fmoe.version (a re-created
 * extension counts its ids from one again) and the type of the ids.
 *
 * The bytes of a version (image.c) are in shared memory, once for all sessions
 * (shared_cache.c).  When the limit or the memory of the machine does not allow
 * that, the session makes a private copy, and says so once.  With a shared image
 * an entry has little memory of its own: the version's row, the layout of its
 * parameters, where its arrays are mapped.
 *
 * Each entry has a memory context of its own, "fmoe model", under "fmoe model
 * cache".  It is filled under the context of the query that asked and moved
 * over when it is whole, so an error half-way leaves nothing behind: a shared
 * image is unmapped when the entry's context goes, however it goes.
 *
 * An entry is pinned by the resource owner under which it was fetched, which
 * ends with the query (its portal), also after an error.  Pinned entries stay;
 * among the others the least recently used goes first when fmoe.cache_size is
 * exceeded.  A version larger than the whole cache pushes nobody out: it goes
 * when its last pin does.  An entry whose shared image was evicted goes at the
 * end of a transaction, any transaction, when nothing pins it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "funcapi.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/cache/cache.h"

typedef struct CacheEntry
{
	FmoeLoaded	loaded;
	Oid			relation;		/* fmoe.version */
	int64		domain_id;
	Oid			item_type;
	Oid			item_collation;
	MemoryContext context;
	int			slot;			/* of the shared image; -1: the image is in context */
	MemoryContextCallback unmap;
	FmoeImage	image;
	bool		evicted;		/* the shared image was */
	bool		was_there;		/* another session had made the shared image */
	uint64		hits;			/* of a private image */
	TimestampTz loaded_at;
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

static size_t
cache_limit(void)
{
	return (size_t) fmoe_cache_size_kb * 1024;
}

static Oid
version_relation(void)
{
	return fmoe_own_relation("version");
}

/* ---------------------------------------------------------------- entries that go */

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

/* Drops entries whose shared image was evicted, or lets their last pin do it. */
static void
cache_sweep(void)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &cache_entries)
	{
		CacheEntry *entry = dlist_container(CacheEntry, node, iter.cur);

		if (entry->slot < 0 || !fmoe_shared_evicted(entry->slot))
			continue;
		entry->evicted = true;
		if (entry->pins == 0)
			cache_drop(entry);
	}
}

/* ---------------------------------------------------------------- pins */

static void
cache_unpin(CachePin *pin)
{
	CacheEntry *entry = pin->entry;

	dlist_delete(&pin->node);
	pfree(pin);
	if (--entry->pins > 0)
		return;
	if (entry->slot >= 0)
		fmoe_shared_rest(entry->slot);
	if (entry->evicted || entry->loaded.bytes > cache_limit())
		cache_drop(entry);
}

static void
cache_owner_released(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *argument)
{
	dlist_mutable_iter iter;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	if (is_top_level && fmoe_shared_changed())
		cache_sweep();
	if (dlist_is_empty(&cache_pins))
		return;
	dlist_foreach_modify(iter, &cache_pins)
	{
		CachePin   *pin = dlist_container(CachePin, node, iter.cur);

		if (pin->owner == CurrentResourceOwner)
			cache_unpin(pin);
	}
	cache_shrink(0);
}

/* The newest pin is the first, so a query that pins the same entry again and again finds it at once. */
static void
cache_pin(CacheEntry *entry, bool hit)
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
	entry->hits += hit;
	if (entry->slot >= 0)
		fmoe_shared_use(entry->slot, hit);
}

/* ---------------------------------------------------------------- entries that come */

/* The stored version of an id; error when it is gone or cannot answer. */
static FmoeVersion *
cache_find_version(const FmoeDomain *domain, int64 version_id)
{
	FmoeVersion *version = fmoe_version_of_id(domain, version_id);

	if (version == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("a version of domain \"%s\" no longer exists", domain->name)));
	if (!version->complete)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" cannot answer by itself", version->version, domain->name),
				 errdetail("It holds an encoder without item vectors."),
				 errhint("Train a version of this domain with CALL fmoe_train('%s').", domain->name)));
	return version;
}

/* Arguments of fmoe_image_make, all but the memory. */
typedef struct Making
{
	FmoeImage  *image;
	const FmoeDomain *domain;
	const FmoeVersion *version;
} Making;

static bool
make_image(void *argument, FmoeTake take, void *take_argument)
{
	Making	   *making = argument;

	return fmoe_image_make(making->image, making->domain, making->version, take, take_argument);
}

static void
unmap_image(void *argument)
{
	CacheEntry *entry = argument;

	if (entry->slot >= 0)
		fmoe_shared_unmap(entry->slot);
}

/*
 * Nobody says when a database is dropped, or a table of versions with its extension.
 * So whoever loads a version lets go of what was loaded from those that are gone.
 */
static void
evict_gone(void)
{
	FmoeImageSource source[FMOE_SHARED_IMAGES];
	int			n = fmoe_shared_sources(source);

	for (int i = 0; i < n; i++)
	{
		bool		there = source[i].database == MyDatabaseId
			? SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source[i].relation))
			: SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(source[i].database));

		if (!there)
			fmoe_shared_evict(&source[i], 0, 0);
	}
}

/* Maps the entry's image from shared memory; false: it is not there and cannot be made. */
static bool
fill_shared(CacheEntry *entry, const FmoeDomain *domain)
{
	static bool warned = false;
	const FmoeVersion *version = entry->loaded.version;
	Making		making = {.image = &entry->image, .domain = domain, .version = version};
	FmoeImageKey key;
	const char *reason;

	memset(&key, 0, sizeof(key));
	key.source.database = MyDatabaseId;
	key.source.relation = entry->relation;
	key.domain_id = domain->id;
	key.version_id = version->version_id;
	key.checksum = version->checksum;
	key.items = version->items;
	key.item_type = domain->item_type;
	key.item_collation = domain->item_collation;
	entry->slot = fmoe_shared_map(&key, version->bytes, make_image, &making, &entry->image, &entry->was_there,
								  &reason);
	if (entry->slot < 0 && reason != NULL && !warned)
	{
		warned = true;
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("version %d of domain \"%s\" is loaded for this session only, not into shared memory",
						version->version, domain->name),
				 errdetail_internal("%s", reason),
				 errhint("Every session that does so takes the memory of a copy.  See fmoe.cache and the setting fmoe.shared_cache_size.")));
	}
	return entry->slot >= 0;
}

static void *
take_private(void *argument, size_t bytes, const char *what)
{
	const FnnHost *host = argument;

	fmoe_check_memory(bytes, what);
	return host->allocate(host->context, bytes);
}

/* Makes the entry's image in the entry's context. */
static void
fill_private(CacheEntry *entry, const FmoeDomain *domain)
{
	const FmoeVersion *version = entry->loaded.version;

	cache_shrink(version->bytes > cache_limit() ? 0 : version->bytes);
	(void) fmoe_image_make(&entry->image, domain, version, take_private,
						   unconstify(FnnHost *, fmoe_host(entry->context)));
}

/* metrics -> expert -> 'ndcg@10', as training wrote it down; NaN: it did not. */
static double
validation_metric(Jsonb *metrics, const char *expert)
{
	static const char key[] = "ndcg@10";
	JsonbValue	standing;
	JsonbValue	value;

	if (metrics == NULL || !JB_ROOT_IS_OBJECT(metrics) ||
		getKeyJsonValueFromContainer(&metrics->root, expert, strlen(expert), &standing) == NULL ||
		standing.type != jbvBinary || !JsonContainerIsObject(standing.val.binary.data) ||
		getKeyJsonValueFromContainer(standing.val.binary.data, key, strlen(key), &value) == NULL ||
		value.type != jbvNumeric)
		return NAN;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value.val.numeric)));
}

/* Transitions, unless popularity was better on the validation events. */
static FmoeExpertSlot
better_count_expert(const FmoeVersion *version)
{
	double		popularity = validation_metric(version->metrics, fmoe_slot_classes[FMOE_POPULARITY]->name);
	double		markov = validation_metric(version->metrics, fmoe_slot_classes[FMOE_MARKOV]->name);

	return popularity > markov ? FMOE_POPULARITY : FMOE_MARKOV;
}

/* Loads a version into an entry in a context of its own under the current one. */
static CacheEntry *
cache_fill(const FmoeDomain *domain, int64 version_id, Oid relation)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe model", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	CacheEntry *entry = palloc0(sizeof(CacheEntry));
	FmoeLoaded *loaded = &entry->loaded;

	entry->context = context;
	entry->relation = relation;
	entry->domain_id = domain->id;
	entry->item_type = domain->item_type;
	entry->item_collation = domain->item_collation;
	entry->slot = -1;
	entry->unmap.func = unmap_image;
	entry->unmap.arg = entry;
	MemoryContextRegisterResetCallback(context, &entry->unmap);

	loaded->version_id = version_id;
	loaded->version = cache_find_version(domain, version_id);
	evict_gone();
	if (!fill_shared(entry, domain))
		fill_private(entry, domain);
	fmoe_image_open(&entry->image, domain, loaded);
	loaded->fallback = better_count_expert(loaded->version);
	entry->loaded_at = GetCurrentTimestamp();
	MemoryContextSetIdentifier(context, psprintf("%s %d", domain->name, loaded->version->version));
	MemoryContextSwitchTo(old);
	loaded->bytes = MemoryContextMemAllocated(context, true);
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

static CacheEntry *
cache_find(const FmoeDomain *domain, int64 version_id, Oid relation)
{
	dlist_iter	iter;

	dlist_foreach(iter, &cache_entries)
	{
		CacheEntry *entry = dlist_container(CacheEntry, node, iter.cur);

		if (entry->loaded.version_id == version_id && entry->relation == relation &&
			entry->item_type == domain->item_type && entry->item_collation == domain->item_collation)
			return entry;
	}
	return NULL;
}

static CacheEntry *
cache_load(const FmoeDomain *domain, int64 version_id)
{
	Oid			relation = version_relation();
	CacheEntry *entry;

	cache_setup();
	entry = cache_find(domain, version_id, relation);
	if (entry != NULL)
	{
		cache_pin(entry, true);
		dlist_move_head(&cache_entries, &entry->node);
		return entry;
	}

	entry = cache_fill(domain, version_id, relation);
	if (!entry->was_there)
		fmoe_trim_memory();
	MemoryContextSetParent(entry->context, cache_context);
	dlist_push_head(&cache_entries, &entry->node);
	cache_bytes += entry->loaded.bytes;
	cache_pin(entry, entry->was_there);
	if (entry->loaded.bytes <= cache_limit())
		cache_shrink(0);
	return entry;
}

FmoeLoaded *
fmoe_load(const FmoeDomain *domain, int64 version_id)
{
	return &cache_load(domain, version_id)->loaded;
}

void
fmoe_evict_version(int64 domain_id, int64 version_id)
{
	FmoeImageSource source = {.database = MyDatabaseId, .relation = version_relation()};

	fmoe_shared_evict(&source, domain_id, version_id);
}

bool
fmoe_cache_give_way(size_t bytes)
{
	int64		version_id;

	if (!fmoe_shared_give_way(bytes, &version_id))
		return false;
	cache_sweep();
	ereport(LOG,
			(errmsg("a loaded version gives way, for there is no more shared memory"),
			 errdetail("Its version_id is " INT64_FORMAT "; %zu more bytes are needed.", version_id, bytes)));
	return true;
}

/* ---------------------------------------------------------------- SQL */

static size_t
image_bytes(const FmoeImage *image)
{
	return image->bytes[FMOE_IMAGE_ARRAYS] + image->bytes[FMOE_IMAGE_INDEX];
}

/* Loads a version, the live one without a number, and gives the bytes it takes. */
PG_FUNCTION_INFO_V1(fmoe_prewarm);
Datum
fmoe_prewarm(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain = fmoe_domain_argument(fcinfo, 0, FMOE_USE);
	FmoeVersion *version = fmoe_version_argument(fcinfo, 1, domain);

	if (version == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no live version", domain->name),
				 errhint("Say which version, as in fmoe_prewarm('%s', 1).", domain->name)));
	PG_RETURN_INT64(image_bytes(&cache_load(domain, version->version_id)->image));
}

/* A row, if the caller may see the domain; one that was dropped is for the owner of the extension's tables. */
static void
put_image(ReturnSetInfo *result, const char *place, const FmoeSharedFacts *facts)
{
	Datum		values[7];
	bool		nulls[7] = {false};

	if (!fmoe_may_see(facts->domain_id) && !has_privs_of_role(GetUserId(), fmoe_owner_of_tables()))
		return;
	values[0] = Int64GetDatum(facts->version_id);
	values[1] = CStringGetTextDatum(place);
	values[2] = Int64GetDatum(facts->bytes);
	values[3] = Int64GetDatum(facts->hits);
	values[4] = TimestampTzGetDatum(facts->loaded_at);
	values[5] = Int32GetDatum(facts->sessions);
	values[6] = Int32GetDatum(facts->users);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Versions in shared memory and private copies of this session, of the domains that the caller may use. */
PG_FUNCTION_INFO_V1(fmoe_cache);
Datum
fmoe_cache(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	FmoeSharedFacts shared[FMOE_SHARED_IMAGES];
	Oid			relation = version_relation();
	dlist_iter	iter;
	int			n;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	evict_gone();
	n = fmoe_shared_list(relation, shared);
	for (i = 0; i < n; i++)
		put_image(result, shared[i].evicted ? "evicted" : "shared", &shared[i]);

	dlist_foreach(iter, &cache_entries)
	{
		const CacheEntry *entry = dlist_container(CacheEntry, node, iter.cur);
		FmoeSharedFacts own = {
			.domain_id = entry->domain_id,
			.version_id = entry->loaded.version_id,
			.bytes = image_bytes(&entry->image),
			.hits = entry->hits,
			.loaded_at = entry->loaded_at,
			.sessions = 1,
			.users = entry->pins > 0
		};

		if (entry->slot < 0 && entry->relation == relation)
			put_image(result, "private", &own);
	}
	return (Datum) 0;
}

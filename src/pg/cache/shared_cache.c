/*
 * shared_cache.c
 *	  Loaded versions once for all sessions.
 *
 * An image (image.c) lies in two dynamic shared memory segments that are
 * pinned, so they outlive the session that made them.  A directory in
 * PostgreSQL's main shared memory says which image is in which segments.  A
 * slot of the directory goes through these states:
 *
 *	  NONE		free
 *	  BUILDING	one session, its builder, makes the image.  Others wait for it,
 *				unless the builder itself waits for a lock, which might be theirs
 *	  READY		sessions map it, and keep it mapped from query to query
 *	  EVICTED	no longer pinned and not given out again; memory and slot are
 *				freed when the last session has unmapped it
 *
 * To make room, the least recently used of the READY images that no query is
 * using are evicted.  Evicting never takes memory away from anybody: a session
 * that has the image mapped goes on with it, and unmaps it at the end of a
 * transaction (loaded.c).  So the images that are given out always fit
 * fmoe.shared_cache_size, and those of sessions that stay idle come on top.
 *
 * An image is found by the database, the relation fmoe.version, the version's
 * id in it, what its row says of the contents, and the type the ids were read
 * as.  Ids are not given out twice, so what a rolled-back transaction left
 * behind is never asked for; a relation that was restored with other contents
 * has other checksums.
 *
 * A session gives back whatever it holds: errors in a builder are caught, and
 * release_all() runs when the session exits.  After a crash the postmaster starts
 * with empty shared memory, and removes the segments itself.
 *
 * Locks: the directory's lock protects everything but the atomic counters.  While
 * it is held only the short locks of dsm.c and of the process array are taken.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/cache/cache.h"

#define IMAGES FMOE_SHARED_IMAGES

typedef enum ImageState
{
	IMAGE_NONE,
	IMAGE_BUILDING,
	IMAGE_READY,
	IMAGE_EVICTED
} ImageState;

typedef struct ImageSlot
{
	/* protected by the directory's lock */
	ImageState	state;
	FmoeImageKey key;
	int			builder;		/* pid, while it is being built */
	int			sessions;		/* that hold it: have it mapped, or build it */
	dsm_handle	handle[FMOE_IMAGE_BLOCKS];
	size_t		bytes[FMOE_IMAGE_BLOCKS];
	TimestampTz loaded_at;

	/* changed by sessions that hold it, without the lock */
	pg_atomic_uint32 users;		/* sessions among them with a query that uses it */
	pg_atomic_uint64 hits;
	pg_atomic_uint64 last_used; /* TimestampTz */
} ImageSlot;

typedef struct ImageDirectory
{
	LWLock		lock;
	ConditionVariable built;	/* some image was built, or given up */
	pg_atomic_uint32 evictions; /* so far */
	ImageSlot	slot[IMAGES];
} ImageDirectory;

/* What this session holds of a slot. */
typedef struct Holding
{
	bool		held;			/* counted in sessions */
	bool		used;			/* counted in users */
	dsm_segment *segment[FMOE_IMAGE_BLOCKS];	/* NULL: not mapped */
} Holding;

static ImageDirectory *directory = NULL;
static Holding holding[IMAGES];
static uint32 evictions_seen = 0;

/* ---------------------------------------------------------------- the directory */

static void
initialize_directory(void *memory)
{
	ImageDirectory *fresh = memory;
	int			i;

	memset(fresh, 0, sizeof(ImageDirectory));
	LWLockInitialize(&fresh->lock, LWLockNewTrancheId());
	ConditionVariableInit(&fresh->built);
	pg_atomic_init_u32(&fresh->evictions, 0);
	for (i = 0; i < IMAGES; i++)
	{
		pg_atomic_init_u32(&fresh->slot[i].users, 0);
		pg_atomic_init_u64(&fresh->slot[i].hits, 0);
		pg_atomic_init_u64(&fresh->slot[i].last_used, 0);
	}
}

/* With the directory's lock. */
static void
free_slot(ImageSlot *slot)
{
	slot->state = IMAGE_NONE;
	memset(slot->bytes, 0, sizeof(slot->bytes));
}

/* Undoes what this session counted in a slot; the image need not be mapped. */
static void
let_go(int index)
{
	ImageSlot  *slot = &directory->slot[index];
	bool		given_up = false;

	if (!holding[index].held)
		return;
	fmoe_shared_rest(index);
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	holding[index].held = false;
	slot->sessions--;
	given_up = slot->state == IMAGE_BUILDING;
	if (given_up || (slot->state == IMAGE_EVICTED && slot->sessions == 0))
		free_slot(slot);
	LWLockRelease(&directory->lock);
	if (given_up)
		ConditionVariableBroadcast(&directory->built);
}

/* The segments themselves are unmapped by dsm.c, later. */
static void
release_all(int code, Datum argument)
{
	int			i;

	for (i = 0; i < IMAGES; i++)
		let_go(i);
}

static void
attach_directory(void)
{
	if (directory != NULL)
		return;
	directory = fmoe_shared_struct("fmoe cache", sizeof(ImageDirectory), initialize_directory);
	LWLockRegisterTranche(directory->lock.tranche, "fmoe_cache");
	evictions_seen = pg_atomic_read_u32(&directory->evictions);
	before_shmem_exit(release_all, 0);
}

static size_t
cache_limit(void)
{
	return (size_t) fmoe_shared_cache_size_kb * 1024;
}

static size_t
slot_bytes(const ImageSlot *slot)
{
	return slot->bytes[FMOE_IMAGE_ARRAYS] + slot->bytes[FMOE_IMAGE_INDEX];
}

/* ---------------------------------------------------------------- room; all with the directory's lock */

static void
evict(ImageSlot *slot)
{
	int			i;

	for (i = 0; i < FMOE_IMAGE_BLOCKS; i++)
		dsm_unpin_segment(slot->handle[i]);
	if (slot->sessions > 0)
		slot->state = IMAGE_EVICTED;
	else
		free_slot(slot);
	pg_atomic_fetch_add_u32(&directory->evictions, 1);
}

static bool
evictable(ImageSlot *slot)
{
	return slot->state == IMAGE_READY && pg_atomic_read_u32(&slot->users) == 0;
}

/* Who may have an image mapped that is evicted: what others have mapped is free only when they unmap it. */
typedef enum Mapped
{
	BY_NOBODY,
	BY_US,
	BY_ANYBODY
} Mapped;

static bool
mapped_by(int index, Mapped mapped)
{
	return mapped == BY_ANYBODY ||
		directory->slot[index].sessions <= (mapped == BY_US && holding[index].held ? 1 : 0);
}

/* Of the images that can be evicted, the least recently used; NULL: none. */
static ImageSlot *
oldest(Mapped mapped)
{
	ImageSlot  *found = NULL;
	int			i;

	for (i = 0; i < IMAGES; i++)
	{
		ImageSlot  *slot = &directory->slot[i];

		if (evictable(slot) && mapped_by(i, mapped) &&
			(found == NULL || pg_atomic_read_u64(&slot->last_used) < pg_atomic_read_u64(&found->last_used)))
			found = slot;
	}
	return found;
}

/* Bytes of the images that are READY or being built; busy: only of those that cannot be evicted. */
static size_t
bytes_given_out(bool busy)
{
	size_t		bytes = 0;
	int			i;

	for (i = 0; i < IMAGES; i++)
	{
		ImageSlot  *slot = &directory->slot[i];

		if ((slot->state == IMAGE_READY || slot->state == IMAGE_BUILDING) && !(busy && evictable(slot)))
			bytes += slot_bytes(slot);
	}
	return bytes;
}

/* Evicts the least recently used images until the rest takes at most so many bytes. */
static bool
shrink_to(size_t bytes)
{
	while (bytes_given_out(false) > bytes)
	{
		ImageSlot  *slot = oldest(BY_ANYBODY);

		if (slot == NULL)
			return false;
		evict(slot);
	}
	return true;
}

/* Whether so many more bytes fit into the limit once everything that can be evicted is. */
static bool
could_fit(size_t bytes, const char **reason)
{
	const size_t megabyte = 1024 * 1024;
	size_t		busy = bytes_given_out(true);

	if (bytes <= cache_limit() && busy <= cache_limit() - bytes)
		return true;
	*reason = psprintf("It needs %zu MB more; fmoe.shared_cache_size is %s, of which running queries use %zu MB.",
					   (bytes + megabyte - 1) / megabyte, GetConfigOptionByName("fmoe.shared_cache_size", NULL, false),
					   busy / megabyte);
	return false;
}

/* Slot of an image that is READY or being built; -1: there is none. */
static int
find_slot(const FmoeImageKey *key)
{
	int			i;

	for (i = 0; i < IMAGES; i++)
	{
		ImageSlot  *slot = &directory->slot[i];

		if ((slot->state == IMAGE_READY || slot->state == IMAGE_BUILDING) &&
			memcmp(&slot->key, key, sizeof(FmoeImageKey)) == 0)
			return i;
	}
	return -1;
}

static void
hold(int index)
{
	directory->slot[index].sessions++;
	holding[index].held = true;
	pg_atomic_fetch_add_u32(&directory->slot[index].users, 1);
	holding[index].used = true;
}

/* A slot to build an image in, held; -1: all are taken. */
static int
claim(const FmoeImageKey *key)
{
	ImageSlot  *slot;
	int			i;

	for (i = 0; i < IMAGES && directory->slot[i].state != IMAGE_NONE; i++)
		;
	if (i == IMAGES)
	{
		slot = oldest(BY_NOBODY);
		if (slot == NULL)
			return -1;
		evict(slot);
		i = slot - directory->slot;
	}
	slot = &directory->slot[i];
	slot->state = IMAGE_BUILDING;
	slot->key = *key;
	slot->builder = MyProcPid;
	slot->sessions = 0;
	pg_atomic_write_u32(&slot->users, 0);
	pg_atomic_write_u64(&slot->hits, 0);
	pg_atomic_write_u64(&slot->last_used, (uint64) GetCurrentStatementStartTimestamp());
	hold(i);
	return i;
}

/* ---------------------------------------------------------------- segments */

static void
unmap_segments(int index)
{
	int			i;

	for (i = 0; i < FMOE_IMAGE_BLOCKS; i++)
	{
		if (holding[index].segment[i] != NULL)
			dsm_detach(holding[index].segment[i]);
		holding[index].segment[i] = NULL;
	}
}

/* False: with a reason, or because the image was evicted meanwhile. */
static bool
map_segments(int index, FmoeImage *image, const char **reason)
{
	ImageSlot  *slot = &directory->slot[index];
	int			i;

	for (i = 0; i < FMOE_IMAGE_BLOCKS; i++)
	{
		dsm_segment *segment = fmoe_segment(0, slot->handle[i], reason);

		if (segment == NULL)
			return false;
		holding[index].segment[i] = segment;
		image->block[i] = dsm_segment_address(segment);
		image->bytes[i] = slot->bytes[i];
	}
	return true;
}

/* ---------------------------------------------------------------- building */

typedef struct Building
{
	int			index;
	int			blocks;			/* taken so far */
	const char **reason;
} Building;

/* The next block of the image that is being built. */
static void *
take_shared(void *argument, size_t bytes, const char *what)
{
	Building   *building = argument;
	ImageSlot  *slot = &directory->slot[building->index];
	int			block = building->blocks++;
	dsm_segment *segment;
	bool		fits;

	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	fits = could_fit(bytes, building->reason) && shrink_to(cache_limit() - bytes);
	if (fits)
		slot->bytes[block] = bytes;
	LWLockRelease(&directory->lock);
	if (!fits)
		return NULL;
	segment = fmoe_segment(bytes, DSM_HANDLE_INVALID, building->reason);
	if (segment == NULL)
		return NULL;
	holding[building->index].segment[block] = segment;
	slot->handle[block] = dsm_segment_handle(segment);
	return dsm_segment_address(segment);
}

static void
publish(int index)
{
	ImageSlot  *slot = &directory->slot[index];
	int			i;

	for (i = 0; i < FMOE_IMAGE_BLOCKS; i++)
		dsm_pin_segment(holding[index].segment[i]);
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	slot->loaded_at = GetCurrentTimestamp();
	slot->state = IMAGE_READY;
	LWLockRelease(&directory->lock);
	ConditionVariableBroadcast(&directory->built);
}

/*
 * Builds the image of a claimed slot.  The builder then unmaps it and maps it
 * anew like everybody else, because its first mapping has every page of the
 * image in it, even those that only building reads.
 */
static bool
build(int index, FmoeMakeImage make, void *argument, const char **reason)
{
	Building	building = {.index = index, .reason = reason};
	bool		made;

	PG_TRY();
	{
		made = make(argument, take_shared, &building);
	}
	PG_CATCH();
	{
		fmoe_shared_unmap(index);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (made)
	{
		publish(index);
		unmap_segments(index);
	}
	else
		fmoe_shared_unmap(index);
	return made;
}

static bool
being_built(int index, const FmoeImageKey *key, int *builder)
{
	ImageSlot  *slot = &directory->slot[index];
	bool		result;

	LWLockAcquire(&directory->lock, LW_SHARED);
	result = slot->state == IMAGE_BUILDING && memcmp(&slot->key, key, sizeof(FmoeImageKey)) == 0;
	*builder = slot->builder;
	LWLockRelease(&directory->lock);
	return result;
}

/* Frees the slot of a builder that is gone and did not do it itself. */
static void
bury(int index, int builder)
{
	ImageSlot  *slot = &directory->slot[index];

	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	if (slot->state == IMAGE_BUILDING && slot->builder == builder)
		free_slot(slot);
	LWLockRelease(&directory->lock);
}

/*
 * Waits until an image is built or given up.  False: the builder waits for a
 * lock.  That might be a lock of this session, and the deadlock detector does
 * not see that this session waits for the builder.
 */
static bool
wait_for_builder(int index, const FmoeImageKey *key)
{
	bool		good = true;
	int			builder;

	ConditionVariablePrepareToSleep(&directory->built);
	while (good && being_built(index, key, &builder))
	{
		PGPROC	   *process;

		if (!ConditionVariableTimedSleep(&directory->built, DeadlockTimeout, PG_WAIT_EXTENSION))
			continue;
		process = BackendPidGetProc(builder);
		if (process == NULL)
			bury(index, builder);
		else
			good = process->waitLock == NULL && builder != MyProcPid;
	}
	ConditionVariableCancelSleep();
	return good;
}

/* ---------------------------------------------------------------- what sessions ask for */

typedef enum Found
{
	FOUND_READY,				/* and held */
	FOUND_BUILDING,				/* by another session */
	FOUND_NOTHING,				/* and a slot to build it in is held */
	FOUND_NO_ROOM				/* for a reason; without one when there is no shared cache */
} Found;

static Found
find_or_claim(const FmoeImageKey *key, size_t bytes, int *index, const char **reason)
{
	Found		found = FOUND_NOTHING;

	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	/* the limit may have been lowered */
	(void) shrink_to(cache_limit());
	*index = find_slot(key);
	if (*index >= 0)
		found = directory->slot[*index].state == IMAGE_READY ? FOUND_READY : FOUND_BUILDING;
	else if (cache_limit() == 0 || !could_fit(bytes, reason))
		found = FOUND_NO_ROOM;
	else if ((*index = claim(key)) < 0)
	{
		found = FOUND_NO_ROOM;
		*reason = psprintf("Sessions hold %d versions there already, which is the most there can be.", IMAGES);
	}
	if (found == FOUND_READY)
		hold(*index);
	LWLockRelease(&directory->lock);
	return found;
}

int
fmoe_shared_map(const FmoeImageKey *key, size_t bytes, FmoeMakeImage make, void *argument,
				FmoeImage *image, bool *found, const char **reason)
{
	int			index;

	*reason = NULL;
	attach_directory();
	for (;;)
	{
		Found		state = find_or_claim(key, bytes, &index, reason);

		if (state == FOUND_NO_ROOM)
			return -1;
		if (state == FOUND_BUILDING)
		{
			if (wait_for_builder(index, key))
				continue;
			*reason = "Another session is loading it and waits for a lock.";
			return -1;
		}
		if (state == FOUND_NOTHING && !build(index, make, argument, reason))
			return -1;
		if (map_segments(index, image, reason))
		{
			*found = state == FOUND_READY;
			return index;
		}
		fmoe_shared_unmap(index);
		if (*reason != NULL)
			return -1;
	}
}

void
fmoe_shared_unmap(int index)
{
	unmap_segments(index);
	let_go(index);
}

void
fmoe_shared_use(int index, bool hit)
{
	ImageSlot  *slot = &directory->slot[index];

	if (!holding[index].used)
		pg_atomic_fetch_add_u32(&slot->users, 1);
	holding[index].used = true;
	if (hit)
		pg_atomic_fetch_add_u64(&slot->hits, 1);
	pg_atomic_write_u64(&slot->last_used, (uint64) GetCurrentStatementStartTimestamp());
}

void
fmoe_shared_rest(int index)
{
	if (holding[index].used)
		pg_atomic_fetch_sub_u32(&directory->slot[index].users, 1);
	holding[index].used = false;
}

bool
fmoe_shared_changed(void)
{
	uint32		before = evictions_seen;

	if (directory == NULL)
		return false;
	evictions_seen = pg_atomic_read_u32(&directory->evictions);
	return evictions_seen != before;
}

bool
fmoe_shared_evicted(int index)
{
	bool		evicted;

	LWLockAcquire(&directory->lock, LW_SHARED);
	evicted = directory->slot[index].state == IMAGE_EVICTED;
	LWLockRelease(&directory->lock);
	return evicted;
}

bool
fmoe_shared_give_way(size_t bytes, int64 *version_id)
{
	ImageSlot  *slot;

	attach_directory();
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	slot = oldest(BY_US);
	if (slot == NULL && bytes_given_out(false) - bytes_given_out(true) >= bytes)
		slot = oldest(BY_ANYBODY);
	if (slot != NULL)
	{
		*version_id = slot->key.version_id;
		evict(slot);
	}
	LWLockRelease(&directory->lock);
	return slot != NULL;
}

void
fmoe_shared_evict(const FmoeImageSource *source, int64 domain_id, int64 version_id)
{
	attach_directory();
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	for (int i = 0; i < IMAGES; i++)
	{
		ImageSlot  *slot = &directory->slot[i];

		if (slot->state == IMAGE_READY && slot->key.source.database == source->database &&
			slot->key.source.relation == source->relation && (domain_id == 0 || slot->key.domain_id == domain_id) &&
			(version_id == 0 || slot->key.version_id == version_id))
			evict(slot);
	}
	LWLockRelease(&directory->lock);
}

int
fmoe_shared_sources(FmoeImageSource *sources)
{
	int			n = 0;

	attach_directory();
	LWLockAcquire(&directory->lock, LW_SHARED);
	for (int i = 0; i < IMAGES; i++)
		if (directory->slot[i].state == IMAGE_READY)
			sources[n++] = directory->slot[i].key.source;
	LWLockRelease(&directory->lock);
	return n;
}

int
fmoe_shared_list(Oid relation, FmoeSharedFacts *facts)
{
	int			n = 0;

	attach_directory();
	LWLockAcquire(&directory->lock, LW_SHARED);
	for (int i = 0; i < IMAGES; i++)
	{
		ImageSlot  *slot = &directory->slot[i];

		if ((slot->state != IMAGE_READY && slot->state != IMAGE_EVICTED) ||
			slot->key.source.database != MyDatabaseId || slot->key.source.relation != relation)
			continue;
		facts[n].domain_id = slot->key.domain_id;
		facts[n].version_id = slot->key.version_id;
		facts[n].evicted = slot->state == IMAGE_EVICTED;
		facts[n].bytes = slot_bytes(slot);
		facts[n].hits = pg_atomic_read_u64(&slot->hits);
		facts[n].loaded_at = slot->loaded_at;
		facts[n].sessions = slot->sessions;
		facts[n++].users = pg_atomic_read_u32(&slot->users);
	}
	LWLockRelease(&directory->lock);
	return n;
}

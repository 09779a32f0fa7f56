/*
 * cache.h
 *	  Loaded versions: what a session keeps (loaded.c), the bytes of a version
 *	  (image.c) and the images that all sessions share (shared_cache.c).
 */
#ifndef FMOE_PG_CACHE_CACHE_H
#define FMOE_PG_CACHE_CACHE_H

#include "pg/id/id.h"
#include "pg/store/store.h"
#include "utils/timestamp.h"

/* ---------------------------------------------------------------- loaded models */

/*
 * A version in memory, one copy for all sessions where shared memory allows
 * it.  Pinned until the end of the query it was fetched in.
 */
typedef struct FmoeLoaded
{
	int64		version_id;
	FmoeVersion *version;
	FmoeModel	model;
	FmoeVocabulary *vocabulary;
	FmoeExpertSlot fallback;	/* the count expert that answers a history where the model may not */
	size_t		bytes;			/* of this session's own memory */
} FmoeLoaded;

extern FmoeLoaded *fmoe_load(const FmoeDomain *domain, int64 version_id);
/*
 * Takes a version of a domain that is being dropped out of shared memory; with
 * version_id 0 all of them.  One that is asked for after all is loaded again.
 */
extern void fmoe_evict_version(int64 domain_id, int64 version_id);
/* Lets an image that no query uses go, and says so in the log: an FmoeGiveWay. */
extern bool fmoe_cache_give_way(size_t bytes);

/* ---------------------------------------------------------------- images */

typedef enum FmoeImageBlock
{
	FMOE_IMAGE_ARRAYS,			/* the arrays as they are stored */
	FMOE_IMAGE_INDEX,			/* where they are, and what was derived from them */
	FMOE_IMAGE_BLOCKS
} FmoeImageBlock;

/* A version in memory as blocks without pointers: the same for every process that maps them. */
typedef struct FmoeImage
{
	char	   *block[FMOE_IMAGE_BLOCKS];	/* aligned to FNN_ALIGN */
	size_t		bytes[FMOE_IMAGE_BLOCKS];
} FmoeImage;

/*
 * Loads and checks a version.  Its blocks come from take, one after the other;
 * false: take gave none.
 */
extern bool fmoe_image_make(FmoeImage *image, const FmoeDomain *domain, const FmoeVersion *version,
							FmoeTake take, void *argument);
/* Sets the model and the vocabulary of loaded up over an image of its version. */
extern void fmoe_image_open(const FmoeImage *image, const FmoeDomain *domain, FmoeLoaded *loaded);

/* ---------------------------------------------------------------- shared images */

/* The table of versions that an image was loaded from. */
typedef struct FmoeImageSource
{
	Oid			database;
	Oid			relation;		/* fmoe.version */
} FmoeImageSource;

/* What an image depends on.  Zeroed before it is filled: compared as bytes. */
typedef struct FmoeImageKey
{
	FmoeImageSource source;
	int64		domain_id;
	int64		version_id;
	uint64		checksum;
	int32		items;
	Oid			item_type;
	Oid			item_collation;
} FmoeImageKey;

/* Calls fmoe_image_make with take; argument holds its other arguments. */
typedef bool (*FmoeMakeImage) (void *argument, FmoeTake take, void *take_argument);

/*
 * Maps the image of a key and counts it as in use.  When there is none it is
 * made; when another session is making it, this one waits.  bytes is the least
 * it will need.  Returns the slot and in found whether another session had made
 * it; or -1 and in reason why there is none, NULL: there is no shared cache.
 */
extern int	fmoe_shared_map(const FmoeImageKey *key, size_t bytes, FmoeMakeImage make, void *argument,
							FmoeImage *image, bool *found, const char **reason);
/* Unmaps what fmoe_shared_map has mapped. */
extern void fmoe_shared_unmap(int slot);
/* Whether a query uses the image: those in use are not evicted to make room.  hit: another use of it. */
extern void fmoe_shared_use(int slot, bool hit);
extern void fmoe_shared_rest(int slot);
/* Evicts a version of a domain, with version_id 0 all, with domain_id 0 those of all domains, in use or not. */
extern void fmoe_shared_evict(const FmoeImageSource *source, int64 domain_id, int64 version_id);
/*
 * Evicts the least recently used image that no query uses, for somebody who needs so many
 * bytes of shared memory; version_id becomes its version.  Those that other sessions have
 * mapped come last, and only where all together are worth it.  False: none can be evicted.
 */
extern bool fmoe_shared_give_way(size_t bytes, int64 *version_id);
/* Where the images in sources[FMOE_SHARED_IMAGES] are from, with repeats; their number. */
extern int	fmoe_shared_sources(FmoeImageSource *sources);
/* Whether any image was evicted since this was last asked. */
extern bool fmoe_shared_changed(void);
/* Whether a mapped image was evicted: it should be unmapped as soon as it is not needed. */
extern bool fmoe_shared_evicted(int slot);

#define FMOE_SHARED_IMAGES 64

typedef struct FmoeSharedFacts
{
	int64		domain_id;
	int64		version_id;
	bool		evicted;
	size_t		bytes;
	uint64		hits;
	TimestampTz loaded_at;
	int			sessions;		/* that have it mapped */
	int			users;			/* sessions that use it right now */
} FmoeSharedFacts;

/* The images, at most FMOE_SHARED_IMAGES, of versions in a table fmoe.version of this database; their number. */
extern int	fmoe_shared_list(Oid relation, FmoeSharedFacts *facts);

#endif							/* FMOE_PG_CACHE_CACHE_H */

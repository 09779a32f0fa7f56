/*
 * segment.c
 *	  Shared memory: structs by name, and dynamic segments that stay mapped.
 */
#include "postgres.h"

#include "storage/procarray.h"

#include "pg/base/base.h"

FmoeGiveWay fmoe_give_way = NULL;

void *
fmoe_shared_struct(const char *name, Size bytes, void (*initialize) (void *memory))
{
	void	   *memory;
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	memory = ShmemInitStruct(name, bytes, &found);
	if (!found)
		initialize(memory);
	LWLockRelease(AddinShmemInitLock);
	return memory;
}

/* Whether an error says that there is no more room, which memory that is given back would make. */
static bool
is_full(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_DISK_FULL || error->sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
		error->sqlerrcode == ERRCODE_INSUFFICIENT_RESOURCES;
}

/*
 * dsm.c reports lack of shared memory by an error.  A subtransaction would catch
 * it, but the leader of a parallel query may not start one.  PG_TRY alone is
 * enough here: the block takes nothing but a segment, which belongs to a
 * resource owner of its own, and dsm.c holds no lock when it reports an error.
 */
static dsm_segment *
try_segment(size_t bytes, dsm_handle handle, bool *full, const char **reason)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ResourceOwner guard = ResourceOwnerCreate(owner, "fmoe segment");
	dsm_segment *volatile segment = NULL;

	PG_TRY();
	{
		CurrentResourceOwner = guard;
		if (bytes > 0)
		{
			segment = dsm_create(bytes, DSM_CREATE_NULL_IF_MAXSEGMENTS);
			*full = segment == NULL;
			if (*full)
				*reason = "There are too many dynamic shared memory segments.";
		}
		else
			segment = dsm_attach(handle);
		if (segment != NULL)
			dsm_pin_mapping(segment);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		*full = is_full(error);
		*reason = psprintf("There was an error: %s.", error->message);
		segment = NULL;
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	ResourceOwnerRelease(guard, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
	ResourceOwnerRelease(guard, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(guard, RESOURCE_RELEASE_AFTER_LOCKS, false, false);
	ResourceOwnerDelete(guard);
	return segment;
}

/* What is full is /dev/shm, or the table of segments. */
dsm_segment *
fmoe_segment(size_t bytes, dsm_handle handle, const char **reason)
{
	dsm_segment *segment;
	const char *problem;
	bool		full;

	do
	{
		full = false;
		problem = NULL;
		segment = try_segment(bytes, handle, &full, &problem);
	} while (full && fmoe_give_way != NULL && fmoe_give_way(bytes));
	if (problem != NULL)
		*reason = problem;
	return segment;
}

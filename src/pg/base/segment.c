/*
 * segment.c
 *	  Shared memory: structs by name, and dynamic segments that stay mapped.
 */
#include "postgres.h"

#include "storage/procarray.h"

#include "pg/base/base.h"

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

/*
 * dsm.c reports lack of shared memory by an error.  A subtransaction would catch
 * it, but the leader of a parallel query may not start one.  PG_TRY alone is
 * enough here: the block takes nothing but a segment, which belongs to a
 * resource owner of its own, and dsm.c holds no lock when it reports an error.
 */
dsm_segment *
fmoe_segment(size_t bytes, dsm_handle handle, const char **reason)
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
			if (segment == NULL)
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

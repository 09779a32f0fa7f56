/*
 * host.c
 *	  What the engine asks of its caller, over PostgreSQL's memory contexts,
 *	  errors and interrupts.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/base/base.h"

/*
 * palloc aligns to 8 bytes.  A block is a chunk with room to move its start
 * to the next multiple of FNN_ALIGN, and the chunk's address right before it.
 */
static void *
host_allocate(void *context, size_t bytes)
{
	const size_t extra = FNN_ALIGN + sizeof(void *);
	char	   *chunk;
	char	   *block;

	if (bytes > MaxAllocHugeSize - extra)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%zu bytes are more than can be allocated", bytes)));

	chunk = MemoryContextAllocExtended(context, bytes + extra, MCXT_ALLOC_HUGE);
	block = (char *) TYPEALIGN(FNN_ALIGN, chunk + sizeof(void *));
	((void **) block)[-1] = chunk;
	return block;
}

static void
host_release(void *context, void *pointer)
{
	if (pointer != NULL)
		pfree(((void **) pointer)[-1]);
}

static void
host_fail(void *context, FnnError code, const char *message)
{
	switch (code)
	{
		case FNN_INVALID:
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg_internal("%s", message)));
			break;
		case FNN_LIMIT:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg_internal("%s", message),
					 errdetail("The setting fmoe.max_memory is %d MB.", fmoe_max_memory_kb / 1024),
					 errhint("Raise fmoe.max_memory.")));
			break;
		case FNN_FORMAT:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg_internal("%s", message)));
			break;
		case FNN_NONFINITE:
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg_internal("%s", message)));
			break;
	}
	elog(ERROR, "unexpected engine error %d: %s", (int) code, message);
}

static void
host_poll(void *context)
{
	CHECK_FOR_INTERRUPTS();
}

/* Once in each process: a backend forked by a postmaster that preloads fmoe sets BLAS up again. */
static void
set_up_blas(void)
{
	static int	done_in = 0;
	const char *problem;

	if (done_in == MyProcPid)
		return;
	problem = fnn_blas_setup();
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("the linear algebra library of this machine does not work: %s", problem),
				 errhint("Install another BLAS, for example libopenblas0-serial.")));
	done_in = MyProcPid;
}

const FnnHost *
fmoe_host(MemoryContext context)
{
	FnnHost    *host;

	set_up_blas();
	host = MemoryContextAlloc(context, sizeof(FnnHost));
	host->context = context;
	host->allocate = host_allocate;
	host->release = host_release;
	host->fail = host_fail;
	host->poll = host_poll;
	return host;
}

FnnArena *
fmoe_arena(MemoryContext context, int limit_kb)
{
	return fnn_arena_create(fmoe_host(context), (size_t) limit_kb * 1024);
}

void
fmoe_trim_memory(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

void
fmoe_check_memory(size_t bytes, const char *what)
{
	const size_t megabyte = 1024 * 1024;

	if (bytes <= (size_t) fmoe_max_memory_kb * 1024)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("%s needs %zu MB of memory", what, (bytes + megabyte - 1) / megabyte),
			 errdetail("The setting fmoe.max_memory is %d MB.", fmoe_max_memory_kb / 1024),
			 errhint("Raise fmoe.max_memory to at least '%zuMB'.", (bytes + megabyte - 1) / megabyte)));
}

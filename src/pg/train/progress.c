/*
 * progress.c
 *	  The progress of the trainings that run now, in shared memory.
 *
 * A slot has one writer, the backend whose pid it holds.  It is given back
 * however the training ends: by fmoe_progress_end on every path out of it, and
 * at the exit of the process.
 *
 * Locks: the directory's lock exclusively for every write, shared for reading.
 * More trainings than slots run without showing their progress.
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"

#include "pg/evaluate/evaluate.h"
#include "pg/train/train.h"

#define SLOTS 64
#define PHASE_BYTES 32

typedef struct ProgressSlot
{
	int			pid;			/* 0: free */
	Oid			database;
	int64		domain_id;
	char		phase[PHASE_BYTES];
	int			epoch;
	int			epochs;
	int64		batch;
	int64		batches;
	double		loss;			/* NaN here and below: not known yet */
	double		metric;
	double		eta_seconds;
	int			model;			/* row of fmoe_expert_classes */
	double		losses[FMOE_LOSSES_MAX];	/* parts of the last whole epoch's loss, as the class names them */
} ProgressSlot;

typedef struct SharedDirectory
{
	LWLock		lock;
	ProgressSlot slot[SLOTS];	/* protected by lock */
} SharedDirectory;

PG_FUNCTION_INFO_V1(fmoe_progress);

static SharedDirectory *directory = NULL;
static int	own_slot = -1;		/* in directory->slot; -1: none */
static bool exit_registered = false;

/* ---------------------------------------------------------------- progress */

static void
initialize_directory(void *memory)
{
	SharedDirectory *fresh = memory;

	memset(fresh, 0, sizeof(SharedDirectory));
	LWLockInitialize(&fresh->lock, LWLockNewTrancheId());
}

static void
attach_directory(void)
{
	if (directory != NULL)
		return;
	directory = fmoe_shared_struct("fmoe", sizeof(SharedDirectory), initialize_directory);
	LWLockRegisterTranche(directory->lock.tranche, "fmoe");
}

static void
release_at_exit(int code, Datum argument)
{
	fmoe_progress_end();
}

/* This backend's slot, locked; NULL: it has none. */
static ProgressSlot *
lock_own_slot(void)
{
	if (own_slot < 0)
		return NULL;
	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	return &directory->slot[own_slot];
}

void
fmoe_progress_start(int64 domain_id, const char *phase, const FmoeConfig *config)
{
	int			i;

	attach_directory();
	if (!exit_registered)
	{
		before_shmem_exit(release_at_exit, 0);
		exit_registered = true;
	}
	fmoe_progress_end();

	LWLockAcquire(&directory->lock, LW_EXCLUSIVE);
	for (i = 0; i < SLOTS && own_slot < 0; i++)
	{
		ProgressSlot *slot = &directory->slot[i];

		if (slot->pid != 0 && BackendPidGetProc(slot->pid) != NULL)
			continue;
		own_slot = i;
		memset(slot, 0, sizeof(*slot));
		slot->pid = MyProcPid;
		slot->database = MyDatabaseId;
		slot->domain_id = domain_id;
		strlcpy(slot->phase, phase, PHASE_BYTES);
		slot->epochs = config->epochs;
		slot->model = config->model;
		slot->loss = slot->metric = slot->eta_seconds = NAN;
	}
	LWLockRelease(&directory->lock);
}

void
fmoe_progress_phase(const char *phase)
{
	ProgressSlot *slot = lock_own_slot();

	if (slot == NULL)
		return;
	strlcpy(slot->phase, phase, PHASE_BYTES);
	LWLockRelease(&directory->lock);
}

void
fmoe_progress_epoch(const FmoeTrainState *state)
{
	ProgressSlot *slot = lock_own_slot();

	if (slot == NULL)
		return;
	slot->epoch = state->epoch;
	slot->loss = state->loss;
	slot->metric = state->metric;
	memcpy(slot->losses, state->losses, sizeof(slot->losses));
	LWLockRelease(&directory->lock);
}

void
fmoe_progress_batch(int64 batch, int64 batches, double loss, double eta_seconds)
{
	ProgressSlot *slot = lock_own_slot();

	if (slot == NULL)
		return;
	slot->batch = batch;
	slot->batches = batches;
	slot->loss = loss;
	slot->eta_seconds = eta_seconds;
	LWLockRelease(&directory->lock);
}

void
fmoe_progress_evaluation(int64 done, int64 all, double eta_seconds)
{
	ProgressSlot *slot = lock_own_slot();

	if (slot == NULL)
		return;
	slot->batch = done;
	slot->batches = all;
	slot->eta_seconds = eta_seconds;
	LWLockRelease(&directory->lock);
}

void
fmoe_progress_end(void)
{
	ProgressSlot *slot = lock_own_slot();

	if (slot == NULL)
		return;
	slot->pid = 0;
	own_slot = -1;
	LWLockRelease(&directory->lock);
}

/* False: the class has no names for parts of its loss, or no epoch is over. */
static bool
losses_of(const ProgressSlot *slot, Datum *losses)
{
	const FmoeExpertClass *class = fmoe_expert_classes[slot->model];
	StringInfoData json;

	if (class->losses == NULL || slot->epoch == 0)
		return false;
	initStringInfo(&json);
	fmoe_put_losses(&json, class, slot->losses);
	*losses = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	return true;
}

static void
put_slot(ReturnSetInfo *result, const ProgressSlot *slot)
{
	Datum		values[11];
	bool		nulls[11] = {false};
	Interval	eta = {0};

	if (!isnan(slot->eta_seconds))
		eta.time = (int64) (slot->eta_seconds * USECS_PER_SEC);
	values[0] = Int64GetDatum(slot->domain_id);
	values[1] = Int32GetDatum(slot->pid);
	values[2] = CStringGetTextDatum(slot->phase);
	values[3] = Int32GetDatum(slot->epoch);
	values[4] = Int32GetDatum(slot->epochs);
	values[5] = Int64GetDatum(slot->batch);
	values[6] = Int64GetDatum(slot->batches);
	values[7] = Float8GetDatum(slot->loss);
	nulls[7] = isnan(slot->loss);
	values[8] = Float8GetDatum(slot->metric);
	nulls[8] = isnan(slot->metric);
	values[9] = IntervalPGetDatum(&eta);
	nulls[9] = isnan(slot->eta_seconds);
	nulls[10] = !losses_of(slot, &values[10]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
fmoe_progress(PG_FUNCTION_ARGS)
{
	ProgressSlot copy[SLOTS];
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	attach_directory();
	LWLockAcquire(&directory->lock, LW_SHARED);
	memcpy(copy, directory->slot, sizeof(copy));
	LWLockRelease(&directory->lock);
	for (i = 0; i < SLOTS; i++)
	{
		if (copy[i].pid != 0 && copy[i].database == MyDatabaseId && BackendPidGetProc(copy[i].pid) != NULL &&
			fmoe_may_see(copy[i].domain_id))
			put_slot((ReturnSetInfo *) fcinfo->resultinfo, &copy[i]);
	}
	return (Datum) 0;
}

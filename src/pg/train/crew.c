/*
 * crew.c
 *	  Training by several processes: the caller and PostgreSQL's parallel
 *	  workers.
 *
 * What outlives an epoch, the dataset and the run's shared block, lies in a
 * dynamic shared memory segment of its own that stays mapped from one
 * transaction to the next.  Workers are launched anew for every epoch, because
 * a parallel context cannot outlive the commit that ends it; the launch takes
 * some tens of milliseconds, so small trainings are left to the caller alone.
 * The weights do not depend on who computed them.
 *
 * A launch:
 *
 *	  leader	puts CrewLaunch into the parallel context's segment, launches
 *	  worker	imports the leader's snapshot, lets go of it, attaches to the run
 *	  leader	knows how many have come, sets the barrier up for exactly them
 *				and announces the size of the team
 *	  all		meet at the barrier; only now the leader lets go of its snapshot
 *	  all		fmoe_trainer_epoch
 *	  leader	waits for the workers to exit
 *
 * Workers that cannot be had are not missed: fewer than asked for are normal,
 * and without shared memory or any worker the caller trains alone.  An error
 * in a worker reaches the leader at its next interrupt check; an error or a
 * cancel in the leader ends the workers with its transaction.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/barrier.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/spin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "pg/train/train.h"

#define KEY_LAUNCH UINT64CONST(0xF30E000000000001)

/* With fewer floating-point operations in an epoch workers are not worth their launch. */
#define EPOCH_OPERATIONS_MIN 4e9

/* What PostgreSQL's segment of a launch takes at most, apart from unusually many settings. */
#define LAUNCH_BYTES (512 * 1024)

typedef struct CrewLaunch
{
	/* written before the launch */
	dsm_handle	segment;
	size_t		dataset_at;		/* where it lies in the segment, behind the trainer's block */
	FmoeConfig	config;

	/* written when it is known how many have come */
	slock_t		mutex;
	int			size;			/* protected by mutex; 0: not known yet */
	ConditionVariable size_known;
	Barrier		barrier;		/* of size processes */
} CrewLaunch;

struct FmoeCrew
{
	dsm_segment *segment;		/* NULL: the caller trains alone */
	size_t		dataset_at;
	int			workers;		/* to be asked for */
	const FmoeConfig *config;	/* the training's */
	const FmoeDataset *data;
	void	   *shared;			/* the trainer's block */
};

extern PGDLLEXPORT void fmoe_train_worker(dsm_segment *launch_segment, shm_toc *toc);

/* ---------------------------------------------------------------- the run's segment */

static size_t
dataset_at(size_t shared_bytes)
{
	return TYPEALIGN(FNN_ALIGN, shared_bytes);
}

size_t
fmoe_crew_bytes(const FmoeDataset *data, size_t shared_bytes)
{
	return dataset_at(shared_bytes) + fmoe_dataset_shared_bytes(data);
}

/*
 * No more members than shards, or some would have nothing to do.  Workers that the
 * option asks for come for a small training too.
 */
int
fmoe_crew_workers(const FmoeConfig *config, const FmoeDataset *data)
{
	int			workers = config->workers;

	if (workers < 0)
		workers = fmoe_epoch_operations(config, data) < EPOCH_OPERATIONS_MIN ? 0 : fmoe_training_workers;
	workers = Min(workers, max_parallel_workers);
	return Min(workers, FMOE_SHARDS - 1);
}

FmoeCrew *
fmoe_crew(const FmoeConfig *config, const FmoeDataset *data, size_t shared_bytes, const FnnHost *host)
{
	FmoeCrew   *crew = palloc0(sizeof(FmoeCrew));
	const char *reason = NULL;

	crew->config = config;
	crew->data = data;
	crew->workers = fmoe_crew_workers(config, data);
	crew->dataset_at = dataset_at(shared_bytes);
	if (crew->workers > 0)
		crew->segment = fmoe_segment(fmoe_crew_bytes(data, shared_bytes), 0, &reason);
	if (crew->segment == NULL)
	{
		if (reason != NULL)
			ereport(NOTICE,
					(errmsg("training runs in one process: shared memory for workers could not be had"),
					 errdetail_internal("%s", reason)));
		crew->shared = host->allocate(host->context, shared_bytes);
		return crew;
	}
	crew->shared = dsm_segment_address(crew->segment);
	fmoe_dataset_share(data, (char *) crew->shared + crew->dataset_at);
	return crew;
}

FmoeTrainer *
fmoe_crew_trainer(FmoeCrew *crew, FnnArena *arena)
{
	return fmoe_trainer_attach(arena, crew->config, crew->data, crew->shared);
}

void
fmoe_crew_dismiss(FmoeCrew *crew)
{
	if (crew->segment != NULL)
		dsm_detach(crew->segment);
	crew->segment = NULL;
}

/* ---------------------------------------------------------------- an epoch */

static void
team_barrier(void *context)
{
	CrewLaunch *launch = context;

	BarrierArriveAndWait(&launch->barrier, PG_WAIT_EXTENSION);
}

/* The leader's team needs both the barrier and the caller's progress. */
typedef struct LeaderContext
{
	CrewLaunch *launch;
	const FmoeTeam *alone;
} LeaderContext;

static void
leader_barrier(void *context)
{
	team_barrier(((LeaderContext *) context)->launch);
}

static void
leader_progress(void *context, int64_t batch, int64_t batches, double loss)
{
	const FmoeTeam *alone = ((LeaderContext *) context)->alone;

	if (alone->progress != NULL)
		alone->progress(alone->context, batch, batches, loss);
}

/*
 * Whether there is shared memory for a launch.  PostgreSQL makes an error of it where
 * there is none, and knows nothing of what could give way.
 */
static bool
has_room_for_launch(void)
{
	const char *reason;
	dsm_segment *probe = fmoe_segment(LAUNCH_BYTES, DSM_HANDLE_INVALID, &reason);

	if (probe != NULL)
		dsm_detach(probe);
	return probe != NULL;
}

static CrewLaunch *
put_launch(const FmoeCrew *crew, ParallelContext *context)
{
	CrewLaunch *launch = shm_toc_allocate(context->toc, sizeof(CrewLaunch));

	memset(launch, 0, sizeof(CrewLaunch));
	launch->segment = dsm_segment_handle(crew->segment);
	launch->dataset_at = crew->dataset_at;
	launch->config = *crew->config;
	SpinLockInit(&launch->mutex);
	ConditionVariableInit(&launch->size_known);
	shm_toc_insert(context->toc, KEY_LAUNCH, launch);
	return launch;
}

static void
lead(CrewLaunch *launch, int workers, FmoeTrainer *trainer, const FmoeTeam *alone)
{
	LeaderContext leader = {.launch = launch, .alone = alone};
	FmoeTeam	team = {.rank = 0, .size = workers + 1};

	team.context = &leader;
	team.barrier = leader_barrier;
	team.progress = leader_progress;
	BarrierInit(&launch->barrier, team.size);
	SpinLockAcquire(&launch->mutex);
	launch->size = team.size;
	SpinLockRelease(&launch->mutex);
	ConditionVariableBroadcast(&launch->size_known);

	team_barrier(launch);
	PopActiveSnapshot();
	fmoe_trainer_epoch(trainer, &team);
}

static void
epoch_together(const FmoeCrew *crew, FmoeTrainer *trainer, const FmoeTeam *alone)
{
	ParallelContext *context;
	CrewLaunch *launch;

	PushActiveSnapshot(GetTransactionSnapshot());
	EnterParallelMode();
	context = CreateParallelContext("fmoe", "fmoe_train_worker", crew->workers);
	shm_toc_estimate_chunk(&context->estimator, sizeof(CrewLaunch));
	shm_toc_estimate_keys(&context->estimator, 1);
	InitializeParallelDSM(context);
	launch = put_launch(crew, context);
	LaunchParallelWorkers(context);
	if (context->nworkers_launched > 0)
	{
		WaitForParallelWorkersToAttach(context);
		lead(launch, context->nworkers_launched, trainer, alone);
	}
	else
	{
		PopActiveSnapshot();
		fmoe_trainer_epoch(trainer, alone);
	}
	WaitForParallelWorkersToFinish(context);
	DestroyParallelContext(context);
	ExitParallelMode();
}

void
fmoe_crew_epoch(FmoeCrew *crew, FmoeTrainer *trainer, const FmoeTeam *alone)
{
	if (crew->segment != NULL && has_room_for_launch())
		epoch_together(crew, trainer, alone);
	else
		fmoe_trainer_epoch(trainer, alone);
}

/* ---------------------------------------------------------------- the worker */

static int
wait_for_size(CrewLaunch *launch)
{
	int			size;

	ConditionVariablePrepareToSleep(&launch->size_known);
	for (;;)
	{
		SpinLockAcquire(&launch->mutex);
		size = launch->size;
		SpinLockRelease(&launch->mutex);
		if (size > 0)
			break;
		ConditionVariableSleep(&launch->size_known, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return size;
}

void
fmoe_train_worker(dsm_segment *launch_segment, shm_toc *toc)
{
	CrewLaunch *launch = shm_toc_lookup(toc, KEY_LAUNCH, false);
	dsm_segment *segment = dsm_attach(launch->segment);
	MemoryContext context;
	FnnArena   *arena;
	FmoeDataset data;
	FmoeTrainer *trainer;
	FmoeTeam	team = {.rank = ParallelWorkerNumber + 1, .context = launch, .barrier = team_barrier};
	char	   *base;

	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("could not map dynamic shared memory segment")));
	context = AllocSetContextCreate(CurrentMemoryContext, "fmoe training", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	base = dsm_segment_address(segment);
	arena = fmoe_arena(context, fmoe_max_memory_kb);
	data = fmoe_dataset_shared(arena, base + launch->dataset_at);
	trainer = fmoe_trainer_attach(arena, &launch->config, &data, base);

	/* the leader computes without a snapshot, so do we */
	PopActiveSnapshot();
	InvalidateCatalogSnapshot();
	team.size = wait_for_size(launch);
	team_barrier(launch);
	fmoe_trainer_epoch(trainer, &team);

	/* whoever called us takes one off */
	PushActiveSnapshot(GetTransactionSnapshot());
	dsm_detach(segment);
}

/*
 * exchange.c
 *	  Training in rounds of users across databases: each is a party with users of its own.
 *
 * After its local epochs a party publishes, by lending, the common state that it
 * began with and what its users have changed of it, and no more: neither rows of
 * users nor tables of items or categories.  One party adds the changes up, weighed by
 * users, and publishes the next state; the others take that over.  Nobody but the
 * parties takes part.  Who adds up is the party that is named, or the one whose turn it is;
 * where that one is away, each waits for the next in order, and at last adds up
 * itself what it has.  A state says how often changes were added up to it; who comes
 * late or was away takes the state of the highest number, and drops what its users had changed
 * of an older one.
 *
 * What others publish may be hostile: it is read as all that is lent, must have the very
 * arrays that this training has, and a party's weight has a bound.  What will not do is a
 * WARNING, and the party counts as away.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "pg/train/training.h"

#define FIRST_WAIT_MS 50
#define LONGEST_WAIT_MS 1000
#define WEIGHT_BOUND 2			/* of the median of all parties' users */
#define NUMBER_MAX 16777215		/* that a float holds */
#define HASH_PIECES 4			/* of 16 bits, which a float holds */

/* Facts of a publication, a row of floats. */
enum
{
	FACT_NUMBER,				/* of the state: how often changes were added up to it */
	FACT_CHANGED,				/* 1: it has changes */
	FACT_HASH,					/* of the state */
	FACTS = FACT_HASH + HASH_PIECES
};

/* What this training shares: stretches of the trainer's values. */
typedef struct Shared
{
	FmoeTrainer *trainer;
	const FnnParams *params;
	fnn_real   *values;			/* the trainer's */
	fnn_real   *state;			/* [params->size] the common one; only what is shared counts */
} Shared;

/* Another party as it has published last. */
typedef struct Party
{
	char	   *name;
	double		users;
	double		number;
	bool		changed;
	uint64		hash;
	fnn_real   *state;			/* [params->size] */
	fnn_real   *change;
} Party;

/* ---------------------------------------------------------------- what is shared */

/* Tables of what only this database knows by number stay, like what is computed. */
static bool
is_shared(const FnnParam *param)
{
	return param->share != FNN_PRIVATE && !param->frozen &&
		(param->rows_of == FNN_OF_NONE || param->rows_of == FNN_OF_GROUPS);
}

static size_t
reals_of(const FnnParam *param)
{
	return (size_t) (param->rows * param->cols);
}

static uint64
hash_of(const Shared *shared, const fnn_real *values)
{
	uint64		hash = 0;

	for (int i = 0; i < shared->params->count; i++)
	{
		const FnnParam *param = &shared->params->list[i];

		if (!is_shared(param))
			continue;
		hash = fnn_hash(hash, param->name, strlen(param->name));
		hash = fnn_hash(hash, values + param->offset, sizeof(fnn_real) * reals_of(param));
	}
	return hash;
}

static void
copy_shared(const Shared *shared, fnn_real *to, const fnn_real *from)
{
	for (int i = 0; i < shared->params->count; i++)
	{
		const FnnParam *param = &shared->params->list[i];

		if (is_shared(param))
			memcpy(to + param->offset, from + param->offset, sizeof(fnn_real) * reals_of(param));
	}
}

static fnn_real *
new_values(const Shared *shared)
{
	return MemoryContextAllocHuge(CurrentMemoryContext, sizeof(fnn_real) * shared->params->size);
}

/* ---------------------------------------------------------------- publishing */

static void
add_array(FnnArray *arrays, int *n, const char *prefix, const FnnParam *param, fnn_real *values)
{
	FnnArray   *array = &arrays[(*n)++];

	memset(array, 0, sizeof(*array));
	snprintf(array->name, sizeof(array->name), "%s%s", prefix, param->name);
	array->dtype = FNN_F32;
	array->ndim = 2;
	array->shape[0] = param->rows;
	array->shape[1] = param->cols;
	array->data = values + param->offset;
	array->bytes = sizeof(fnn_real) * reals_of(param);
}

/* change NULL: the state alone. */
static void
publish(FmoeTraining *training, const Shared *shared, fnn_real *change, int round)
{
	FmoeDomain *domain = fmoe_domain_open(fmoe_training_recheck(training), FMOE_MANAGE);
	const FmoeTrainState *state = fmoe_trainer_state(shared->trainer);
	const FmoeFederated *federated = fmoe_federated(fmoe_expert_classes[training->config.model], &training->config);
	FmoeVersion *facts = palloc0(sizeof(FmoeVersion));
	FnnArray   *arrays = palloc(sizeof(FnnArray) * (2 * shared->params->count + 1));
	float	   *fact = palloc0(sizeof(float) * FACTS);
	uint64		hash = hash_of(shared, shared->state);
	int			n = 1;

	fact[FACT_NUMBER] = (float) state->exchanged;
	fact[FACT_CHANGED] = change != NULL;
	for (int k = 0; k < HASH_PIECES; k++)
		fact[FACT_HASH + k] = (float) (hash >> (16 * k) & 0xffff);
	memset(&arrays[0], 0, sizeof(FnnArray));
	strlcpy(arrays[0].name, FMOE_EXCHANGE_FACTS, sizeof(arrays[0].name));
	arrays[0].dtype = FNN_F32;
	arrays[0].ndim = 2;
	arrays[0].shape[0] = 1;
	arrays[0].shape[1] = FACTS;
	arrays[0].data = fact;
	arrays[0].bytes = sizeof(float) * FACTS;
	for (int i = 0; i < shared->params->count; i++)
	{
		const FnnParam *param = &shared->params->list[i];

		if (!is_shared(param))
			continue;
		add_array(arrays, &n, FMOE_EXCHANGE_STATE, param, shared->state);
		if (change != NULL)
			add_array(arrays, &n, FMOE_EXCHANGE_CHANGE, param, change);
	}
	facts->domain_id = domain->id;
	facts->config = training->config;
	facts->model = fmoe_expert_classes[training->config.model]->name;
	facts->holdout = fmoe_holdout_names[training->config.holdout];
	facts->events = training->interactions->data.n_events;
	facts->users = training->interactions->data.n_users;
	facts->items = training->interactions->data.n_items;
	facts->last_event = NAN;
	fmoe_lock_domain(domain);
	fmoe_lend_arrays(domain, facts, n, arrays, round, state->noised > 0 ? fmoe_privacy_jsonb(state, federated) : NULL);
}

/* ---------------------------------------------------------------- reading others */

/* The values of a publication's arrays with a prefix, in place of a block. */
static fnn_real *
take_arrays(const Shared *shared, const FmoeExpertFile *file, const char *prefix)
{
	fnn_real   *values = new_values(shared);

	for (int i = 0; i < shared->params->count; i++)
	{
		const FnnParam *param = &shared->params->list[i];
		const FnnArray *array;

		if (!is_shared(param))
			continue;
		array = fnn_find_array(file->n_arrays, file->arrays, psprintf("%s%s", prefix, param->name));
		if (array == NULL || array->shape[0] != param->rows || array->shape[1] != param->cols)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("parameter \"%s\" is missing there or has another shape", param->name),
					 errdetail("It has %lld rows and %lld columns here.", (long long) param->rows,
							   (long long) param->cols),
					 errhint("Train all parties with the same options, and as many category columns of items.")));
		memcpy(values + param->offset, array->data, array->bytes);
	}
	return values;
}

typedef struct Reading
{
	const Shared *shared;
	const FmoeLent *lent;
	Party	   *party;
} Reading;

static void
read_party(void *argument)
{
	Reading    *reading = argument;
	const Shared *shared = reading->shared;
	Party	   *party = reading->party;
	FmoeExpertFile *file = fmoe_lent_read(reading->lent);
	const FnnArray *array = fnn_find_array(file->n_arrays, file->arrays, FMOE_EXCHANGE_FACTS);
	const float *fact;

	if (array == NULL || array->shape[0] != 1 || array->shape[1] != FACTS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("it does not say what it is")));
	fact = array->data;
	party->name = reading->lent->name;
	party->users = (double) Max(file->facts.users, 0);
	party->number = fact[FACT_NUMBER];
	party->changed = fact[FACT_CHANGED] == 1;
	if (!(party->number >= 0 && party->number <= NUMBER_MAX && party->number == floor(party->number)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("its state has a number that cannot be")));
	party->state = take_arrays(shared, file, FMOE_EXCHANGE_STATE);
	party->hash = hash_of(shared, party->state);
	if (party->changed)
		party->change = take_arrays(shared, file, FMOE_EXCHANGE_CHANGE);
	for (int k = 0; k < HASH_PIECES; k++)
		if (fact[FACT_HASH + k] != (float) (party->hash >> (16 * k) & 0xffff))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("its state is another one than it says")));
}

/* Keys of publications that a WARNING has been given for. */
typedef struct Told
{
	MemoryContext context;
	List	   *keys;
} Told;

static bool
told_before(Told *told, const char *key)
{
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, told->keys)
		if (strcmp(lfirst(cell), key) == 0)
			return true;
	old = MemoryContextSwitchTo(told->context);
	told->keys = lappend(told->keys, pstrdup(key));
	MemoryContextSwitchTo(old);
	return false;
}

/* All other parties that have published what fits. */
static int
read_parties(FmoeTraining *training, const Shared *shared, Party **parties, Told *told)
{
	FmoeLent   *list;
	int			n = fmoe_exchange_list(training->domain, &list);
	int			kept = 0;

	*parties = palloc0(sizeof(Party) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		Reading		reading = {.shared = shared, .lent = &list[i], .party = &(*parties)[kept]};
		ErrorData  *error;

		if (!list[i].readable)
			continue;
		error = fmoe_attempt(read_party, &reading);
		if (error == NULL)
			kept++;
		else if (!told_before(told, list[i].key))
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("what \"%s\" gives to the exchange is not used: %s", list[i].name, error->message),
					 error->detail ? errdetail_internal("%s", error->detail) : 0,
					 error->hint ? errhint("%s", error->hint) : 0));
	}
	return kept;
}

/* ---------------------------------------------------------------- adding up */

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/* The most that a party may count: who lies about its users is no more than that. */
static double
weight_bound(double own, int n, const Party *parties)
{
	double	   *users = palloc(sizeof(double) * (n + 1));

	users[0] = own;
	for (int i = 0; i < n; i++)
		users[i + 1] = parties[i].users;
	qsort(users, n + 1, sizeof(double), compare_doubles);
	return WEIGHT_BOUND * (users[n / 2] + users[(n + 1) / 2]) / 2;
}

static bool
is_still(const fnn_real *change, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (change[k] != 0)
			return false;
	return true;
}

/* Adds the weighed mean of changes to reals from .. from + n - 1 of the state; of groups, over those who moved it. */
static void
add_mean(fnn_real *state, size_t from, size_t n, bool group, int parties, fnn_real *const *change,
		 const double *weight)
{
	double		all = 0;

	for (int p = 0; p < parties; p++)
		all += group && is_still(change[p] + from, n) ? 0 : weight[p];
	for (size_t k = from; all > 0 && k < from + n; k++)
	{
		double		sum = 0;

		for (int p = 0; p < parties; p++)
			sum += weight[p] * change[p][k];
		state[k] += (fnn_real) (sum / all);
	}
}

/* Makes the next state of the own change and those of parties, which began with the same. */
static void
add_up(FmoeTraining *training, Shared *shared, fnn_real *own, int n, const Party *parties)
{
	fnn_real  **change = palloc(sizeof(fnn_real *) * (n + 1));
	double	   *weight = palloc(sizeof(double) * (n + 1));
	double		users = (double) training->interactions->data.n_users;
	double		bound = weight_bound(users, n, parties);

	change[0] = own;
	weight[0] = Min(users, bound);
	for (int i = 0; i < n; i++)
	{
		change[i + 1] = parties[i].change;
		weight[i + 1] = Min(parties[i].users, bound);
		if (parties[i].users > bound)
			ereport(WARNING,
					(errmsg("\"%s\" says that it has %.0f users, and counts as %.0f", parties[i].name,
							parties[i].users, bound),
					 errdetail("No party counts more than %d times the median of all.", WEIGHT_BOUND)));
	}
	for (int i = 0; i < shared->params->count; i++)
	{
		const FnnParam *param = &shared->params->list[i];
		bool		groups = param->rows_of == FNN_OF_GROUPS;
		size_t		cols = (size_t) param->cols;

		if (!is_shared(param))
			continue;
		for (int64 r = 0; r < (groups ? param->rows : 1); r++)
			add_mean(shared->state, param->offset + (size_t) r * cols, groups ? cols : reals_of(param), groups, n + 1,
					 change, weight);
	}
	fmoe_trainer_state(shared->trainer)->exchanged++;
}

/* ---------------------------------------------------------------- one exchange */

/* Whether it is this one's turn to add up: the named one comes first, then all in the order of their names. */
static bool
is_own_turn(const char *own, const char *named, int n, const Party *parties, int64 turn)
{
	int64		before = 0;

	for (int i = 0; i < n; i++)
	{
		if (turn == 0 && strcmp(parties[i].name, named) == 0)
			return false;
		before += strcmp(parties[i].name, own) < 0;
	}
	if (named[0] != '\0' && turn == 0 && strcmp(own, named) == 0)
		return true;
	return turn % (n + 1) == before;
}

/* The party with the highest state beyond this one's; NULL: none. */
static const Party *
newest(const Shared *shared, int n, const Party *parties)
{
	const Party *best = NULL;

	for (int i = 0; i < n; i++)
		if (parties[i].number > (double) fmoe_trainer_state(shared->trainer)->exchanged &&
			(best == NULL || parties[i].number > best->number))
			best = &parties[i];
	return best;
}

/* Moves those to the front that have changed the very state that this one has; returns how many. */
static int
with_changes(const Shared *shared, int n, Party *parties)
{
	uint64		hash = hash_of(shared, shared->state);
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (parties[i].changed && parties[i].hash == hash)
			parties[kept++] = parties[i];
	return kept;
}

static void
take_over(Shared *shared, const Party *party)
{
	copy_shared(shared, shared->state, party->state);
	fmoe_trainer_state(shared->trainer)->exchanged = (int64) party->number;
}

static void
wait_longer(long *wait_ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, *wait_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	*wait_ms = Min(2 * *wait_ms, LONGEST_WAIT_MS);
}

/* Fetches what others have published since; returns how many of them fit. */
static int
look(FmoeTraining *training, const Shared *shared, Party **parties, Told *told)
{
	fmoe_training_check_extension(training);
	fmoe_sync_peers_quietly();
	return read_parties(training, shared, parties, told);
}

static int
peers_of_caller(void)
{
	int			n = 0;
	ListCell   *cell;

	foreach(cell, fmoe_read_peers(NULL))
		n += fmoe_is_peer_of_caller(lfirst(cell));
	return n;
}

/*
 * Waits until the state is the next one: added up here, or by another.  Sets how many parties'
 * changes are known to be in it, this one's included; 0: another added them up.
 */
static int
reach_next(FmoeTraining *training, Shared *shared, fnn_real *change, int round)
{
	const FmoeFederated *federated = fmoe_federated(fmoe_expert_classes[training->config.model], &training->config);
	const char *own = psprintf("%s.%s", fmoe_party_name(), training->domain->name);
	int			others = federated->parties > 0 ? federated->parties - 1 : peers_of_caller();
	TimestampTz began = GetCurrentTimestamp();
	Told		told = {.context = CurrentMemoryContext};
	long		wait_ms = FIRST_WAIT_MS;

	for (;;)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe exchange", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		Party	   *parties;
		int			n = look(training, shared, &parties, &told);
		const Party *ahead = newest(shared, n, parties);
		double		waited = fmoe_seconds_since(began);
		/* whose turn it is passes on, each time that somebody has been waited for */
		int64		late = (int64) (waited / federated->wait);
		int64		first = federated->aggregator[0] != '\0' ? 0 : round - 1;
		int			reached = -1;

		if (ahead != NULL)
		{
			take_over(shared, ahead);
			reached = 0;
		}
		else if (is_own_turn(own, federated->aggregator, n, parties, first + late))
		{
			int			with = with_changes(shared, n, parties);

			if (with >= others || late > 0)
			{
				add_up(training, shared, change, with, parties);
				reached = 1 + with;
			}
		}
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		if (reached >= 0)
			return reached;
		fmoe_training_commit_reading(training);
		wait_longer(&wait_ms);
	}
}

void
fmoe_training_exchange(FmoeTraining *training, int round)
{
	int			local_epochs;
	size_t		bytes;
	Shared		shared = {.trainer = training->trainer, .params = fmoe_trainer_params(training->trainer)};
	fnn_real   *change;
	int			parties;

	if (training->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("an exchange with other databases cannot be inside a transaction"),
				 errdetail("What is published there would be seen by nobody."),
				 errhint("CALL fmoe_train outside of transaction blocks and functions.")));
	fmoe_progress_phase("exchanging");
	shared.values = fmoe_trainer_block(training->trainer, FMOE_BLOCK_VALUES, &bytes);
	shared.state = training->common;
	change = new_values(&shared);
	for (size_t k = 0; k < shared.params->size; k++)
		change[k] = shared.values[k] - shared.state[k];
	publish(training, &shared, change, round);
	fmoe_training_commit(training);
	parties = reach_next(training, &shared, change, round);
	fmoe_training_commit_reading(training);
	copy_shared(&shared, shared.values, shared.state);
	/* who added up tells the others; who took over passes it on to who was away */
	publish(training, &shared, NULL, round);
	pfree(change);
	ereport(NOTICE,
			(errmsg("round %d/%d: state " INT64_FORMAT ", %s", round, fmoe_rounds(&training->config, &local_epochs),
					fmoe_trainer_state(training->trainer)->exchanged,
					fmoe_checksum_text(hash_of(&shared, shared.state))),
			 parties == 0 ? errdetail("Another party added the changes up.")
			 : errdetail("Changes of %d parties were added up here.", parties)));
	fmoe_progress_phase("training");
}

void
fmoe_training_begin_exchanges(FmoeTraining *training)
{
	size_t		bytes;
	const fnn_real *values = fmoe_trainer_block(training->trainer, FMOE_BLOCK_VALUES, &bytes);

	fmoe_check_memory(MemoryContextMemAllocated(training->context, true) + 4 * bytes,
					  "the exchange with other databases");
	training->common = MemoryContextAllocHuge(training->context, bytes);
	memcpy(training->common, values, bytes);
}

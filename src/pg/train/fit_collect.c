/*
 * fit_collect.c
 *	  fmoe_fit collects its rows.
 *
 * The state holds events with numbers for user and item, which two id sets
 * give out as ids turn up.  The numbers depend on the order of the rows, so the
 * final function numbers anew, in the order of the types (fit_train.c): the
 * model depends on the set of rows only, however they came and whoever
 * collected them.
 *
 * A parallel worker's state goes to the leader as the ids and the events in
 * its own numbers; combining looks every id up once and translates.
 *
 * States live in the aggregate's context, not in ones of their own: a hashed
 * GROUP BY sums the sizes of all contexts below its own each time it meets a
 * new group.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "pg/ingest/ingest.h"
#include "pg/option/option.h"
#include "pg/train/fit.h"

PG_FUNCTION_INFO_V1(fmoe_fit_transition);
PG_FUNCTION_INFO_V1(fmoe_fit_combine);
PG_FUNCTION_INFO_V1(fmoe_fit_serialize);
PG_FUNCTION_INFO_V1(fmoe_fit_deserialize);

#define FIRST_EVENTS 64
#define POLL_EVERY 4096


static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "called outside of an aggregate");
	return context;
}

/* ---------------------------------------------------------------- ids */

static void
ids_init(FmoeFitIds *ids, Oid type, Oid collation)
{
	Oid			type_collation = get_typcollation(type);
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_CMP_PROC);

	if (!OidIsValid(entry->cmp_proc) || OidIsValid(get_element_type(getBaseType(type))))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s cannot hold ids", format_type_be(type)),
				 errdetail("Ids need a type that is no array, with a default order (btree) and a default hash function.")));
	ids->type = type;
	ids->collation = !OidIsValid(type_collation) ? InvalidOid : OidIsValid(collation) ? collation : type_collation;
	ids->set = fmoe_idset_create(type, ids->collation);
}

/* The number of an id, a new one when it was not there. */
static int32
id_number(FmoeFitState *state, FmoeFitIds *ids, Datum id)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);
	int32		number = fmoe_idset_add(ids->set, id);

	MemoryContextSwitchTo(old);
	return number;
}

/* ---------------------------------------------------------------- the state */

static const char *const left_out[] = {"workers", "warm_start", "start_encoder", "experts", "rounds", "local_epochs",
"checkpoint_every", "deploy", "features", "id_dropout", NULL};

const FmoeCallOptions fmoe_fit_call = {.model = FMOE_PLAIN_MODEL, .left_out = left_out, .no_items = true};

static void
parse_options(FmoeFitState *state)
{
	FmoeLentList *experts;

	fmoe_parse_asked(state->options, &fmoe_fit_call, &state->config);
	experts = fmoe_borrowed(&state->config);
	if (experts != NULL)
		experts->count = 0;
	state->config.workers = 0;
	state->config.deploy = false;
}

static FmoeFitState *
state_create(MemoryContext context, Oid user_type, Oid user_collation, Oid item_type, Oid item_collation,
			 const Jsonb *options)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	FmoeFitState *state = palloc0(sizeof(FmoeFitState));

	state->context = context;
	state->fixed_bytes = sizeof(FmoeFitState);
	if (options != NULL)
	{
		state->options = palloc(VARSIZE(options));
		memcpy(state->options, options, VARSIZE(options));
		state->fixed_bytes += VARSIZE(options);
	}
	parse_options(state);
	ids_init(&state->users, user_type, user_collation);
	ids_init(&state->items, item_type, item_collation);
	MemoryContextSwitchTo(old);
	return state;
}

static void
check_options(const FmoeFitState *state, const Jsonb *options)
{
	const Jsonb *mine = state->options;

	if (mine == NULL && options == NULL)
		return;
	if (mine != NULL && options != NULL)
	{
		if (VARSIZE(mine) == VARSIZE(options) && memcmp(mine, options, VARSIZE(mine)) == 0)
			return;
		if (compareJsonbContainers((JsonbContainer *) &mine->root, (JsonbContainer *) &options->root) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the options of fmoe_fit must be the same for all rows of a group")));
}

/* Of a collected event. */
static size_t
event_bytes(const FmoeFitState *state)
{
	return sizeof(int32) + fmoe_event_bytes(state->events.memory != NULL ? &state->events.events : &fmoe_read_columns);
}

size_t
fmoe_fit_bytes(const FmoeFitState *state)
{
	return state->fixed_bytes + fmoe_idset_bytes(state->users.set) + fmoe_idset_bytes(state->items.set) +
		(size_t) state->events.capacity * event_bytes(state);
}

static void
reserve(FmoeFitState *state, int64 capacity)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);

	if (state->user == NULL)
		state->user = MemoryContextAllocHuge(state->context, capacity * sizeof(int32));
	else
		state->user = repalloc_huge(state->user, capacity * sizeof(int32));
	fmoe_collect_reserve(&state->events, capacity);
	MemoryContextSwitchTo(old);
}

/* Makes room for so many events, and checks the memory: there are never more ids than events. */
static void
grow(FmoeFitState *state, int64 events)
{
	int64		before = state->events.capacity;
	int64		capacity = Max(before, FIRST_EVENTS / 2);

	if (events <= before)
		return;
	while (capacity < events)
		capacity *= 2;
	fmoe_check_memory(fmoe_fit_bytes(state) + (capacity - before) * event_bytes(state),
					  psprintf("fmoe_fit over more than " INT64_FORMAT " rows", events - 1));
	reserve(state, capacity);
}

static void
add_event(FmoeFitState *state, int32 user, const FmoeEvent *event)
{
	if (state->events.count == state->events.capacity)
		grow(state, state->events.count + 1);
	state->user[state->events.count] = user;
	fmoe_collect(&state->events, event);
}

/* ---------------------------------------------------------------- transition */

static Oid
id_argument_type(FunctionCallInfo fcinfo, int argument, const char *what)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, argument);

	if (!OidIsValid(type) || type == UNKNOWNOID)
		ereport(ERROR,
				(errcode(ERRCODE_INDETERMINATE_DATATYPE),
				 errmsg("could not determine the data type of the %s", what),
				 errhint("Cast it.")));
	return getBaseType(type);
}

static FmoeFitState *
state_of_first_row(FunctionCallInfo fcinfo, MemoryContext context, const Jsonb *options)
{
	Oid			user_type = id_argument_type(fcinfo, 1, "user");
	Oid			item_type = id_argument_type(fcinfo, 2, "item");
	Oid			time_type = id_argument_type(fcinfo, 3, "time");

	if (!fmoe_is_time_type(time_type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s cannot be a time", format_type_be(time_type)),
				 errhint("Times are timestamptz, timestamp, date or numbers of seconds.")));
	return state_create(context, user_type, PG_GET_COLLATION(), item_type, PG_GET_COLLATION(), options);
}

Datum
fmoe_fit_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	FmoeFitState *state = PG_ARGISNULL(0) ? NULL : (FmoeFitState *) PG_GETARG_POINTER(0);
	Jsonb	   *options = PG_NARGS() > 4 && !PG_ARGISNULL(4) ? PG_GETARG_JSONB_P(4) : NULL;
	Oid			time_type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 3));
	FmoeEvent	event;

	if (state == NULL)
		state = state_of_first_row(fcinfo, context, options);
	else
		check_options(state, options);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_POINTER(state);
	if (fmoe_event_at(&event, time_type, FMOE_UNIT_SECONDS, PG_GETARG_DATUM(3)))
	{
		int32		user = id_number(state, &state->users, PG_GETARG_DATUM(1));

		event.item = id_number(state, &state->items, PG_GETARG_DATUM(2));
		add_event(state, user, &event);
	}
	PG_RETURN_POINTER(state);
}

/* ---------------------------------------------------------------- combination */

/* Takes another table's ids over; returns their numbers here. */
static int32 *
take_ids(FmoeFitState *state, FmoeFitIds *ids, const FmoeFitIds *from)
{
	int32		count = fmoe_vocabulary_count(from->set);
	int32	   *number = MemoryContextAllocHuge(CurrentMemoryContext, Max(count, 1) * sizeof(int32));

	for (int32 i = 0; i < count; i++)
	{
		number[i] = id_number(state, ids, fmoe_vocabulary_id(from->set, i));
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return number;
}

Datum
fmoe_fit_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	FmoeFitState *state = PG_ARGISNULL(0) ? NULL : (FmoeFitState *) PG_GETARG_POINTER(0);
	const FmoeFitState *from = PG_ARGISNULL(1) ? NULL : (FmoeFitState *) PG_GETARG_POINTER(1);
	int32	   *user;
	int32	   *item;
	int64		before;

	if (from == NULL)
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	if (state == NULL)
		state = state_create(context, from->users.type, from->users.collation,
							 from->items.type, from->items.collation, from->options);
	else
		check_options(state, from->options);

	user = take_ids(state, &state->users, &from->users);
	item = take_ids(state, &state->items, &from->items);
	before = state->events.count;
	grow(state, before + from->events.count);
	for (int64 i = 0; i < from->events.count; i++)
		state->user[before + i] = user[from->user[i]];
	fmoe_collect_all(&state->events, &from->events, item);
	pfree(user);
	pfree(item);
	PG_RETURN_POINTER(state);
}

/* ---------------------------------------------------------------- between processes */

/* The head of a serialized state; options, users, items and events follow. */
typedef struct FitHeader
{
	Oid			user_type;
	Oid			item_type;
	Oid			user_collation;
	Oid			item_collation;
	int32		n_users;
	int32		n_items;
	int64		n_events;
	uint32		columns;		/* of the events */
	size_t		options_size;	/* 0: none */
} FitHeader;

static size_t
ids_size(const FmoeFitIds *ids)
{
	size_t		size = 0;
	int16		length;
	bool		by_value;

	get_typlenbyval(ids->type, &length, &by_value);
	for (int32 i = 0; i < fmoe_vocabulary_count(ids->set); i++)
		size += datumEstimateSpace(fmoe_vocabulary_id(ids->set, i), false, by_value, length);
	return size;
}

static void
ids_write(const FmoeFitIds *ids, char **at)
{
	int16		length;
	bool		by_value;

	get_typlenbyval(ids->type, &length, &by_value);
	for (int32 i = 0; i < fmoe_vocabulary_count(ids->set); i++)
		datumSerialize(fmoe_vocabulary_id(ids->set, i), false, by_value, length, at);
}

/* Reads ids in the order in which they were written, so that they get the same numbers. */
static void
ids_read(FmoeFitIds *ids, int32 count, char **at)
{
	bool		isnull;

	for (int32 i = 0; i < count; i++)
	{
		(void) fmoe_idset_add(ids->set, datumRestore(at, &isnull));
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
}

static void
copy_out(char **at, const void *bytes, size_t size)
{
	if (size > 0)
		memcpy(*at, bytes, size);
	*at += size;
}

static void
copy_in(char **at, void *bytes, size_t size)
{
	if (size > 0)
		memcpy(bytes, *at, size);
	*at += size;
}

Datum
fmoe_fit_serialize(PG_FUNCTION_ARGS)
{
	const FmoeFitState *state = (FmoeFitState *) PG_GETARG_POINTER(0);
	const FmoeEvents *columns = &state->events.events;
	FmoeEvents	events;
	FitHeader	header;
	size_t		size;
	bytea	   *result;
	char	   *at;

	(void) aggregate_context(fcinfo);
	memset(&header, 0, sizeof(header));
	header.user_type = state->users.type;
	header.item_type = state->items.type;
	header.user_collation = state->users.collation;
	header.item_collation = state->items.collation;
	header.n_users = fmoe_vocabulary_count(state->users.set);
	header.n_items = fmoe_vocabulary_count(state->items.set);
	header.n_events = state->events.count;
	header.columns = fmoe_events_columns(columns);
	header.options_size = state->options != NULL ? VARSIZE(state->options) : 0;

	size = VARHDRSZ + sizeof(header) + header.options_size + ids_size(&state->users) + ids_size(&state->items) +
		header.n_events * sizeof(int32) + fmoe_events_bytes(columns, header.n_events);
	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a parallel worker has collected too much for fmoe_fit: %zu MB", size / (1024 * 1024)),
				 errhint("Set max_parallel_workers_per_gather to 0.")));
	result = palloc0(size);
	SET_VARSIZE(result, size);
	at = VARDATA(result);
	copy_out(&at, &header, sizeof(header));
	copy_out(&at, state->options, header.options_size);
	ids_write(&state->users, &at);
	ids_write(&state->items, &at);
	copy_out(&at, state->user, header.n_events * sizeof(int32));
	fmoe_events_place(&events, columns, header.n_events, at);
	fmoe_events_copy(&events, 0, &state->events.events, 0, header.n_events);
	PG_RETURN_BYTEA_P(result);
}

/*
 * Restores a state to be combined, in the current context.  The bytes are our
 * own worker's: nobody else can call this.
 */
Datum
fmoe_fit_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	char	   *at = VARDATA_ANY(bytes);
	Jsonb	   *options = NULL;
	FmoeCollected events = {0};
	FmoeEvents	like;
	FitHeader	header;
	FmoeFitState *state;

	(void) aggregate_context(fcinfo);
	copy_in(&at, &header, sizeof(header));
	if (header.options_size > 0)
	{
		options = palloc(header.options_size);
		copy_in(&at, options, header.options_size);
	}
	state = state_create(CurrentMemoryContext, header.user_type, header.user_collation,
						 header.item_type, header.item_collation, options);
	ids_read(&state->users, header.n_users, &at);
	ids_read(&state->items, header.n_items, &at);
	reserve(state, Max(header.n_events, 1));
	copy_in(&at, state->user, header.n_events * sizeof(int32));
	events.count = header.n_events;
	like = fmoe_events_like(header.columns);
	fmoe_events_place(&events.events, &like, events.count, at);
	fmoe_collect_all(&state->events, &events, NULL);
	PG_RETURN_POINTER(state);
}

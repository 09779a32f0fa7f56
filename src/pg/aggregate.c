/*
 * aggregate.c
 *	  fmoe_fit collects its rows.
 *
 * The state holds 16 bytes an event: numbers for user and item, and the time.
 * The numbers come from two hash tables over the types' own equality, given
 * out as ids turn up.  They depend on the order of the rows, so the final
 * function numbers anew, in the order of the types (fit.c): the model depends
 * on the set of rows only, however they came and whoever collected them.
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

#include "aggregate.h"
#include "private.h"

PG_FUNCTION_INFO_V1(fmoe_fit_transition);
PG_FUNCTION_INFO_V1(fmoe_fit_combine);
PG_FUNCTION_INFO_V1(fmoe_fit_serialize);
PG_FUNCTION_INFO_V1(fmoe_fit_deserialize);

#define FIRST_IDS 16
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

/* ---------------------------------------------------------------- memory */

static void
account(FmoeFitState *state, size_t bytes)
{
	state->bytes += bytes;
	if (state->bytes > (size_t) fmoe_max_memory_kb * 1024)
		fmoe_check_memory(state->bytes, psprintf("fmoe_fit over " INT64_FORMAT " rows", state->count));
}

/* An array of the state with room for n elements instead of old_n. */
static void *
resize(FmoeFitState *state, void *array, int64 old_n, int64 n, size_t element)
{
	account(state, (n - old_n) * element);
	if (array == NULL)
		return MemoryContextAllocHuge(state->context, n * element);
	return repalloc_huge(array, n * element);
}

/* ---------------------------------------------------------------- ids */

static void
ids_init(FmoeIdTable *ids, Oid type, Oid collation)
{
	ids->type = type;
	ids->collation = OidIsValid(get_typcollation(type)) ? collation : InvalidOid;
	if (OidIsValid(get_typcollation(type)) && !OidIsValid(collation))
		ids->collation = get_typcollation(type);
	ids->entry = lookup_type_cache(type, TYPECACHE_HASH_PROC_FINFO | TYPECACHE_EQ_OPR_FINFO | TYPECACHE_CMP_PROC);
	if (!OidIsValid(ids->entry->hash_proc_finfo.fn_oid) || !OidIsValid(ids->entry->eq_opr_finfo.fn_oid) ||
		!OidIsValid(ids->entry->cmp_proc))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s cannot be an id", format_type_be(type)),
				 errdetail("It has no default operator classes for hash and btree.")));
}

/* Twice the slots, or the first ones. */
static void
ids_rehash(FmoeFitState *state, FmoeIdTable *ids)
{
	uint32		n_slots = ids->n_slots > 0 ? 2 * ids->n_slots : 2 * FIRST_IDS;

	ids->slot = resize(state, ids->slot, ids->n_slots, n_slots, sizeof(int32));
	ids->n_slots = n_slots;
	memset(ids->slot, -1, n_slots * sizeof(int32));
	for (int32 number = 0; number < ids->count; number++)
	{
		uint32		at = ids->hash[number] & (n_slots - 1);

		while (ids->slot[at] >= 0)
			at = (at + 1) & (n_slots - 1);
		ids->slot[at] = number;
	}
}

static void
ids_grow(FmoeFitState *state, FmoeIdTable *ids)
{
	int32		capacity = ids->capacity > 0 ? 2 * ids->capacity : FIRST_IDS;

	if (ids->capacity > PG_INT32_MAX / 4)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many different ids")));
	ids->id = resize(state, ids->id, ids->capacity, capacity, sizeof(Datum));
	ids->hash = resize(state, ids->hash, ids->capacity, capacity, sizeof(uint32));
	ids->capacity = capacity;
}

/* The id's copy in the state, never compressed or out of line. */
static Datum
id_copy(FmoeFitState *state, const FmoeIdTable *ids, Datum id)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);
	Datum		copy;

	if (ids->entry->typlen == -1 && !ids->entry->typbyval)
		copy = PointerGetDatum(PG_DETOAST_DATUM_COPY(id));
	else
		copy = datumCopy(id, ids->entry->typbyval, ids->entry->typlen);
	MemoryContextSwitchTo(old);
	if (!ids->entry->typbyval)
		account(state, GetMemoryChunkSpace(DatumGetPointer(copy)));
	return copy;
}

/* The number of an id, a new one when it was not there. */
static int32
id_number(FmoeFitState *state, FmoeIdTable *ids, Datum id)
{
	uint32		hash = DatumGetUInt32(FunctionCall1Coll(&ids->entry->hash_proc_finfo, ids->collation, id));
	uint32		at;

	/* at most half of the slots are taken */
	if ((uint32) ids->count >= ids->n_slots / 2)
		ids_rehash(state, ids);
	for (at = hash & (ids->n_slots - 1); ids->slot[at] >= 0; at = (at + 1) & (ids->n_slots - 1))
	{
		int32		number = ids->slot[at];

		if (ids->hash[number] == hash &&
			DatumGetBool(FunctionCall2Coll(&ids->entry->eq_opr_finfo, ids->collation, ids->id[number], id)))
			return number;
	}
	if (ids->count == ids->capacity)
		ids_grow(state, ids);
	ids->id[ids->count] = id_copy(state, ids, id);
	ids->hash[ids->count] = hash;
	ids->slot[at] = ids->count;
	return ids->count++;
}

/* ---------------------------------------------------------------- the state */

/*
 * Options of a fit: those of fmoe_train but for what only means something for
 * a domain's versions.
 */
static void
parse_options(FmoeFitState *state)
{
	static const char *const not_ours[] = {"workers", "warm_start", "deploy"};
	FmoeConfig *config = &state->config;
	FmoeOption *ours;
	Jsonb	   *options = state->options;
	int			n = 0;

	while (fmoe_train_options[n].name != NULL)
		n++;
	ours = palloc0(sizeof(FmoeOption) * (n + 1));
	n = 0;
	for (const FmoeOption *option = fmoe_train_options; option->name != NULL; option++)
	{
		bool		skip = false;

		for (int i = 0; i < lengthof(not_ours); i++)
			skip = skip || strcmp(option->name, not_ours[i]) == 0;
		if (!skip)
			ours[n++] = *option;
	}
	if (options == NULL)
		options = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	memset(config, 0, sizeof(FmoeConfig));
	fmoe_parse_options(options, ours, config);
	if (!fmoe_counts(fmoe_expert_classes[config->model]) && config->width % config->heads != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"width\" (%d) is not a multiple of option \"heads\" (%d)",
						config->width, config->heads)));
	pfree(ours);
}

static FmoeFitState *
state_create(MemoryContext context, Oid user_type, Oid item_type, Oid collation, const Jsonb *options)
{
	FmoeFitState *state = MemoryContextAllocZero(context, sizeof(FmoeFitState));

	state->context = context;
	state->bytes = sizeof(FmoeFitState);
	if (options != NULL)
	{
		state->options = MemoryContextAlloc(context, VARSIZE(options));
		memcpy(state->options, options, VARSIZE(options));
		state->bytes += VARSIZE(options);
	}
	parse_options(state);
	ids_init(&state->users, user_type, collation);
	ids_init(&state->items, item_type, collation);
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

static void
add_event(FmoeFitState *state, int32 user, int32 item, double time)
{
	FmoeFitEvent *event;

	if (state->count == state->capacity)
	{
		int64		capacity = state->capacity > 0 ? 2 * state->capacity : FIRST_EVENTS;

		state->event = resize(state, state->event, state->capacity, capacity, sizeof(FmoeFitEvent));
		state->capacity = capacity;
	}
	event = &state->event[state->count++];
	event->user = user;
	event->item = item;
	event->time = time;
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
	return state_create(context, user_type, item_type, PG_GET_COLLATION(), options);
}

Datum
fmoe_fit_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	FmoeFitState *state = PG_ARGISNULL(0) ? NULL : (FmoeFitState *) PG_GETARG_POINTER(0);
	Jsonb	   *options = PG_NARGS() > 4 && !PG_ARGISNULL(4) ? PG_GETARG_JSONB_P(4) : NULL;
	double		time;

	if (state == NULL)
		state = state_of_first_row(fcinfo, context, options);
	else
		check_options(state, options);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_POINTER(state);
	time = fmoe_seconds(getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 3)), PG_GETARG_DATUM(3));
	if (isfinite(time))
		add_event(state, id_number(state, &state->users, PG_GETARG_DATUM(1)),
				  id_number(state, &state->items, PG_GETARG_DATUM(2)), time);
	PG_RETURN_POINTER(state);
}

/* ---------------------------------------------------------------- combination */

/* Takes another table's ids over; returns their numbers here. */
static int32 *
take_ids(FmoeFitState *state, FmoeIdTable *ids, const FmoeIdTable *from)
{
	int32	   *number = MemoryContextAllocHuge(CurrentMemoryContext, Max(from->count, 1) * sizeof(int32));

	for (int32 i = 0; i < from->count; i++)
	{
		number[i] = id_number(state, ids, from->id[i]);
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

	if (from == NULL)
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	if (state == NULL)
	{
		state = state_create(context, from->users.type, from->items.type, InvalidOid, from->options);
		state->users.collation = from->users.collation;
		state->items.collation = from->items.collation;
	}
	else
		check_options(state, from->options);

	user = take_ids(state, &state->users, &from->users);
	item = take_ids(state, &state->items, &from->items);
	for (int64 i = 0; i < from->count; i++)
	{
		const FmoeFitEvent *event = &from->event[i];

		add_event(state, user[event->user], item[event->item], event->time);
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
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
	size_t		options_size;	/* 0: none */
} FitHeader;

static size_t
ids_size(const FmoeIdTable *ids)
{
	size_t		size = 0;

	for (int32 i = 0; i < ids->count; i++)
		size += datumEstimateSpace(ids->id[i], false, ids->entry->typbyval, ids->entry->typlen);
	return size;
}

static void
ids_write(const FmoeIdTable *ids, char **at)
{
	for (int32 i = 0; i < ids->count; i++)
		datumSerialize(ids->id[i], false, ids->entry->typbyval, ids->entry->typlen, at);
}

/* Ids that are only walked through, not looked up. */
static void
ids_read(FmoeIdTable *ids, int32 count, char **at)
{
	bool		isnull;

	ids->id = MemoryContextAllocHuge(CurrentMemoryContext, Max(count, 1) * sizeof(Datum));
	ids->count = count;
	for (int32 i = 0; i < count; i++)
		ids->id[i] = datumRestore(at, &isnull);
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
	header.n_users = state->users.count;
	header.n_items = state->items.count;
	header.n_events = state->count;
	header.options_size = state->options != NULL ? VARSIZE(state->options) : 0;

	size = VARHDRSZ + sizeof(header) + header.options_size + ids_size(&state->users) + ids_size(&state->items) +
		state->count * sizeof(FmoeFitEvent);
	if (size > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a parallel worker has collected too much for fmoe_fit: %zu MB", size / (1024 * 1024)),
				 errhint("Set max_parallel_workers_per_gather to 0.")));
	result = palloc(size);
	SET_VARSIZE(result, size);
	at = VARDATA(result);
	copy_out(&at, &header, sizeof(header));
	copy_out(&at, state->options, header.options_size);
	ids_write(&state->users, &at);
	ids_write(&state->items, &at);
	copy_out(&at, state->event, state->count * sizeof(FmoeFitEvent));
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
	FitHeader	header;
	FmoeFitState *state;

	(void) aggregate_context(fcinfo);
	copy_in(&at, &header, sizeof(header));
	if (header.options_size > 0)
	{
		options = palloc(header.options_size);
		copy_in(&at, options, header.options_size);
	}
	state = state_create(CurrentMemoryContext, header.user_type, header.item_type, InvalidOid, options);
	state->users.collation = header.user_collation;
	state->items.collation = header.item_collation;
	ids_read(&state->users, header.n_users, &at);
	ids_read(&state->items, header.n_items, &at);
	state->count = header.n_events;
	state->event = MemoryContextAllocHuge(CurrentMemoryContext, Max(header.n_events, 1) * sizeof(FmoeFitEvent));
	copy_in(&at, state->event, header.n_events * sizeof(FmoeFitEvent));
	PG_RETURN_POINTER(state);
}

/*
 * ingest.c
 *	  Reading interactions: a whole table for training, one user's rows for
 *	  a recommendation, all users' one after the other for everybody's.
 *
 * All are read as the caller.  The whole table comes through a cursor in no
 * order: users and items are numbered as they appear, and sorted as numbers at
 * the end, which is much cheaper than having the server sort wide rows.  The
 * result depends on the set of rows only.
 *
 * One user's rows come by a plan that is kept for each domain, so that a
 * recommendation costs one index lookup where the user column has an index.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "pg.h"
#include "private.h"

#define ROWS_A_FETCH 10000

/* ---------------------------------------------------------------- time */

#define EPOCH_SECONDS ((double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

static double
infinity(bool negative)
{
	return negative ? -get_float8_infinity() : get_float8_infinity();
}

double
fmoe_seconds(Oid type, Datum value)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			{
				Timestamp	time = DatumGetTimestamp(value);

				return TIMESTAMP_NOT_FINITE(time) ? infinity(TIMESTAMP_IS_NOBEGIN(time))
					: (double) time / USECS_PER_SEC + EPOCH_SECONDS;
			}
		case DATEOID:
			{
				DateADT		date = DatumGetDateADT(value);

				return DATE_NOT_FINITE(date) ? infinity(DATE_IS_NOBEGIN(date))
					: (double) date * SECS_PER_DAY + EPOCH_SECONDS;
			}
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
		default:
			elog(ERROR, "type %u is no time", type);
	}
}

/* ---------------------------------------------------------------- datasets */

typedef struct Event
{
	double		time;
	int32		item;
} Event;

static int
compare_events(const void *a, const void *b)
{
	const Event *x = a;
	const Event *y = b;

	CHECK_FOR_INTERRUPTS();
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->item < y->item ? -1 : x->item > y->item;
}

void
fmoe_build_dataset(FmoeDataset *data, int64 n, int64 n_users, int32 n_items,
				   const int64 *user, const int32 *item, const double *time)
{
	MemoryContext context = CurrentMemoryContext;
	int64	   *offset = MemoryContextAllocHuge(context, sizeof(int64) * (n_users + 1));
	int32	   *items = MemoryContextAllocHuge(context, sizeof(int32) * Max(n, 1));
	double	   *times = MemoryContextAllocHuge(context, sizeof(double) * Max(n, 1));
	Event	   *events = MemoryContextAllocHuge(context, sizeof(Event) * Max(n, 1));
	int64		u;
	int64		i;

	/* counting sort by user: offset[u + 1] first counts, then is where the next event goes */
	memset(offset, 0, sizeof(int64) * (n_users + 1));
	for (i = 0; i < n; i++)
		offset[user[i] + 1]++;
	for (u = 0; u < n_users; u++)
		offset[u + 1] += offset[u];
	for (i = n - 1; i >= 0; i--)
	{
		Event	   *event = &events[--offset[user[i] + 1]];

		event->time = time[i];
		event->item = item[i];
		if ((i & 0xfffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	/* each is at its user's start now, one place to the right */
	memmove(offset, offset + 1, sizeof(int64) * n_users);
	offset[n_users] = n;

	for (u = 0; u < n_users; u++)
		qsort(events + offset[u], offset[u + 1] - offset[u], sizeof(Event), compare_events);
	for (i = 0; i < n; i++)
	{
		items[i] = events[i].item;
		times[i] = events[i].time;
	}
	pfree(events);

	data->n_users = n_users;
	data->n_events = n;
	data->n_items = n_items;
	data->offset = offset;
	data->item = items;
	data->time = times;
}

/* ---------------------------------------------------------------- the whole table */

/* Rows as they come; arrays of capacity, rows of them filled. */
typedef struct Raw
{
	int64		count;
	int64		capacity;
	int64	   *user;
	int32	   *item;
	double	   *time;
	int64		skipped;
	double		last_event;
	FmoeVocabulary *users;		/* id sets */
	FmoeVocabulary *items;		/* NULL: the given vocabulary's indexes are used */
} Raw;

/* A condition that holds for rows that count; NULL for a label that is null. */
static char *
label_condition(const FmoeDomain *domain)
{
	const char *column = quote_identifier(domain->label_column);
	Oid			type = fmoe_column_type(domain->interactions, domain->label_column, NULL);

	switch (type)
	{
		case BOOLOID:
			return pstrdup(column);
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			/* NaN sorts above every number */
			return psprintf("%s OPERATOR(pg_catalog.>) 0 AND %s OPERATOR(pg_catalog.<>) 'NaN'",
							column, column);
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return psprintf("%s OPERATOR(pg_catalog.>) 0", column);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table %s has type %s now, which is no label",
							domain->label_column, domain->relation, format_type_be(type)),
					 errhint("Name another column with fmoe_alter_domain(%s, label_column => ...).",
							 quote_literal_cstr(domain->name))));
	}
}

static char *
table_query(const FmoeDomain *domain)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s, %s, %s", quote_identifier(domain->user_column),
					 quote_identifier(domain->item_column), quote_identifier(domain->time_column));
	if (domain->label_column != NULL)
		appendStringInfo(&sql, ", %s", quote_identifier(domain->label_column));
	appendStringInfo(&sql, " FROM %s", domain->relation);
	if (domain->label_column != NULL)
		appendStringInfo(&sql, " WHERE (%s) IS NOT FALSE", label_condition(domain));
	return sql.data;
}

/* Bytes at the most while capacity rows, with the ids seen so far, become a dataset. */
static size_t
raw_bytes(const Raw *raw, int64 capacity)
{
	size_t		each = sizeof(int64) + sizeof(int32) + sizeof(double)	/* raw */
		+ sizeof(Event) + sizeof(int32) + sizeof(double);	/* sorted */

	return each * (size_t) capacity + fmoe_idset_bytes(raw->users) +
		(raw->items != NULL ? fmoe_idset_bytes(raw->items) : 0);
}

static int64
capacity_for(int64 rows)
{
	int64		capacity = 16384;

	while (capacity < rows)
		capacity *= 2;
	return capacity;
}

/* Counts the rows that are left, to name the memory that all would need. */
static void
refuse(const Raw *raw, const FmoeDomain *domain, Portal portal)
{
	int64		rows = raw->count + SPI_processed;

	SPI_cursor_move(portal, true, LONG_MAX);
	rows += SPI_processed;
	fmoe_check_memory(raw_bytes(raw, capacity_for(rows)),
					  psprintf("reading the " INT64_FORMAT " interactions of domain \"%s\"", rows, domain->name));
}

/* Room for the rows just fetched. */
static void
grow(Raw *raw, const FmoeDomain *domain, Portal portal)
{
	int64		capacity = capacity_for(raw->count + SPI_processed);

	if (raw_bytes(raw, capacity) > (size_t) fmoe_max_memory_kb * 1024)
		refuse(raw, domain, portal);
	if (raw->capacity == 0)
	{
		raw->user = palloc(sizeof(int64) * capacity);
		raw->item = palloc(sizeof(int32) * capacity);
		raw->time = palloc(sizeof(double) * capacity);
	}
	else
	{
		raw->user = repalloc_huge(raw->user, sizeof(int64) * capacity);
		raw->item = repalloc_huge(raw->item, sizeof(int32) * capacity);
		raw->time = repalloc_huge(raw->time, sizeof(double) * capacity);
	}
	raw->capacity = capacity;
}

static void
take_row(Raw *raw, const FmoeDomain *domain, const FmoeVocabulary *vocabulary, HeapTuple tuple, TupleDesc shape)
{
	Datum		value[4];
	bool		isnull;
	double		time;
	int32		item;
	int			i;

	for (i = 0; i < shape->natts; i++)
	{
		value[i] = SPI_getbinval(tuple, shape, i + 1, &isnull);
		if (isnull)
		{
			raw->skipped++;
			return;
		}
	}
	time = fmoe_seconds(domain->time_type, value[2]);
	if (!isfinite(time))
	{
		raw->skipped++;
		return;
	}
	item = vocabulary != NULL ? fmoe_vocabulary_find(vocabulary, value[1])
		: fmoe_idset_add(raw->items, value[1]);
	if (item < 0)
		return;
	raw->user[raw->count] = fmoe_idset_add(raw->users, value[0]);
	raw->item[raw->count] = item;
	raw->time[raw->count] = time;
	raw->count++;
	if (!(time <= raw->last_event))
		raw->last_event = time;
}

/* Everything that grows is in the current context of the call, which SPI would change. */
static void
read_rows(Raw *raw, const FmoeDomain *domain, const FmoeVocabulary *vocabulary)
{
	MemoryContext context = CurrentMemoryContext;
	bool		push = !ActiveSnapshotSet();
	Portal		portal;

	if (push)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	portal = SPI_cursor_open_with_args(NULL, table_query(domain), 0, NULL, NULL, NULL, true, 0);
	for (;;)
	{
		MemoryContext old;
		uint64		i;

		SPI_cursor_fetch(portal, true, ROWS_A_FETCH);
		if (SPI_processed == 0)
			break;
		old = MemoryContextSwitchTo(context);
		if (raw->count + SPI_processed > raw->capacity)
			grow(raw, domain, portal);
		for (i = 0; i < SPI_processed; i++)
			take_row(raw, domain, vocabulary, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
	SPI_finish();
	if (push)
		PopActiveSnapshot();
}

static uint64
fingerprint(const FmoeInteractions *interactions)
{
	const FmoeDataset *data = &interactions->data;
	FnnArray	arrays[2];
	uint64		hash;
	int			n = fmoe_vocabulary_arrays(interactions->vocabulary, arrays);
	int			i;

	hash = fnn_hash(0, data->offset, sizeof(int64) * (data->n_users + 1));
	hash = fnn_hash(hash, data->item, sizeof(int32) * data->n_events);
	hash = fnn_hash(hash, data->time, sizeof(double) * data->n_events);
	for (i = 0; i < n; i++)
		hash = fnn_hash(hash, arrays[i].data, arrays[i].bytes);
	return hash;
}

/* Raw numbers become ranks, which do not depend on the order of the rows. */
static void
renumber(Raw *raw, const int32 *index_of)
{
	int32	   *rank = fmoe_idset_ranks(raw->users);
	int64		i;

	for (i = 0; i < raw->count; i++)
	{
		raw->user[i] = rank[raw->user[i]];
		if (index_of != NULL)
			raw->item[i] = index_of[raw->item[i]];
	}
	pfree(rank);
}

FmoeInteractions *
fmoe_read_interactions(const FmoeDomain *domain, FmoeVocabulary *vocabulary)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "fmoe ingest", ALLOCSET_DEFAULT_SIZES);
	FmoeInteractions *interactions = palloc0(sizeof(FmoeInteractions));
	int32	   *index_of = NULL;
	Oid			collation;
	Raw			raw = {0};

	MemoryContextSwitchTo(scratch);
	(void) fmoe_column_type(domain->interactions, domain->user_column, &collation);
	raw.last_event = get_float8_nan();
	raw.users = fmoe_idset_create(domain->user_type, collation);
	if (vocabulary == NULL)
		raw.items = fmoe_idset_create(domain->item_type, domain->item_collation);
	read_rows(&raw, domain, vocabulary);
	if (raw.items != NULL)
		index_of = MemoryContextAllocHuge(scratch, sizeof(int32) * Max(fmoe_vocabulary_count(raw.items), 1));

	MemoryContextSwitchTo(context);
	interactions->vocabulary = raw.items == NULL ? vocabulary
		: fmoe_vocabulary_of_idset(raw.items, index_of);
	renumber(&raw, index_of);
	fmoe_build_dataset(&interactions->data, raw.count, fmoe_vocabulary_count(raw.users),
					   fmoe_vocabulary_count(interactions->vocabulary), raw.user, raw.item, raw.time);
	interactions->skipped = raw.skipped;
	interactions->last_event = raw.last_event;

	MemoryContextSwitchTo(scratch);
	interactions->fingerprint = fingerprint(interactions);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(scratch);
	return interactions;
}

/* ---------------------------------------------------------------- user by user */

/* Rows go from the executor straight to who takes them. */
typedef struct UsersReceiver
{
	DestReceiver receiver;
	const FmoeDomain *domain;
	MemoryContext context;		/* of user */
	FmgrInfo	equal;
	Oid			collation;
	int16		user_length;
	bool		user_byval;
	bool		item_varlena;
	bool		any;			/* user is set */
	Datum		user;			/* of the row before */
	FmoeTakeUserEvent take;
	void	   *argument;
} UsersReceiver;

static void
receiver_start(DestReceiver *self, int operation, TupleDesc shape)
{
}

static void
receiver_end(DestReceiver *self)
{
}

static void
receiver_init(DestReceiver *receiver, bool (*row) (TupleTableSlot *slot, DestReceiver *self))
{
	receiver->receiveSlot = row;
	receiver->rStartup = receiver_start;
	receiver->rShutdown = receiver_end;
	receiver->rDestroy = receiver_end;
	/* with DestNone a SELECT would not count as one */
	receiver->mydest = DestTuplestore;
}

static bool
users_row(TupleTableSlot *slot, DestReceiver *self)
{
	UsersReceiver *users = (UsersReceiver *) self;
	bool		first;
	double		time;
	int			i;

	slot_getallattrs(slot);
	for (i = 0; i < slot->tts_tupleDescriptor->natts; i++)
		if (slot->tts_isnull[i])
			return true;
	time = fmoe_seconds(users->domain->time_type, slot->tts_values[2]);
	if (!isfinite(time))
		return true;
	first = !users->any ||
		!DatumGetBool(FunctionCall2Coll(&users->equal, users->collation, users->user, slot->tts_values[0]));
	if (first)
	{
		MemoryContext old;

		MemoryContextReset(users->context);
		old = MemoryContextSwitchTo(users->context);
		users->user = users->user_length == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(slot->tts_values[0]))
			: datumCopy(slot->tts_values[0], users->user_byval, users->user_length);
		users->any = true;
		MemoryContextSwitchTo(old);
	}
	users->take(users->argument, users->user, first, users->item_varlena
				? PointerGetDatum(PG_DETOAST_DATUM(slot->tts_values[1])) : slot->tts_values[1], time);
	return true;
}

void
fmoe_read_users(const FmoeDomain *domain, FmoeTakeUserEvent take, void *argument)
{
	TypeCacheEntry *type = lookup_type_cache(domain->user_type, TYPECACHE_EQ_OPR_FINFO);
	UsersReceiver users = {
		.domain = domain,
		.context = AllocSetContextCreate(CurrentMemoryContext, "fmoe user", ALLOCSET_SMALL_SIZES),
		.equal = type->eq_opr_finfo,
		.user_length = type->typlen,
		.user_byval = type->typbyval,
		.item_varlena = get_typlen(domain->item_type) == -1,
		.take = take,
		.argument = argument
	};
	SPIExecuteOptions options = {.read_only = true, .dest = &users.receiver};
	char	   *sql = psprintf("%s ORDER BY %s", table_query(domain), quote_identifier(domain->user_column));
	int			result;

	receiver_init(&users.receiver, users_row);
	(void) fmoe_column_type(domain->interactions, domain->user_column, &users.collation);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute_extended(sql, &options);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read the histories: %s", SPI_result_code_string(result));
	SPI_finish();
	MemoryContextDelete(users.context);
}

/* ---------------------------------------------------------------- one user */

typedef struct HistoryPlan
{
	int64		domain_id;		/* key */
	char	   *sql;
	Oid			user_type;
	SPIPlanPtr	plan;
} HistoryPlan;

/* Domains whose plans a session keeps; a session that uses more starts over. */
#define HISTORY_PLANS_MAX 500

static HTAB *history_plans = NULL;
static MemoryContext history_context = NULL;

/* OPERATOR(schema.name) */
static char *
operator_name(Oid operator)
{
	HeapTuple	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	name = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
					NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return name;
}

static char *
history_query(const FmoeDomain *domain)
{
	StringInfoData sql;
	char	   *user = pstrdup(quote_identifier(domain->user_column));
	char	   *item = pstrdup(quote_identifier(domain->item_column));
	char	   *time = pstrdup(quote_identifier(domain->time_column));

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s, %s FROM %s WHERE %s %s $1", item, time, domain->relation, user,
					 operator_name(domain->user_equal));
	if (domain->label_column != NULL)
		appendStringInfo(&sql, " AND %s", label_condition(domain));
	return sql.data;
}

static HistoryPlan *
plan_entry(int64 domain_id)
{
	HistoryPlan *entry;
	HASH_SEQ_STATUS scan;
	HASHCTL		control;
	bool		found;

	if (history_plans != NULL && hash_get_num_entries(history_plans) >= HISTORY_PLANS_MAX)
	{
		hash_seq_init(&scan, history_plans);
		while ((entry = hash_seq_search(&scan)) != NULL)
			if (entry->plan != NULL)
				SPI_freeplan(entry->plan);
		history_plans = NULL;
		MemoryContextReset(history_context);
	}
	if (history_context == NULL)
		history_context = AllocSetContextCreate(TopMemoryContext, "fmoe history plans", ALLOCSET_DEFAULT_SIZES);
	if (history_plans == NULL)
	{
		control.keysize = sizeof(int64);
		control.entrysize = sizeof(HistoryPlan);
		control.hcxt = history_context;
		history_plans = hash_create("fmoe history plans", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(history_plans, &domain_id, HASH_ENTER, &found);
	if (!found)
	{
		entry->sql = NULL;
		entry->plan = NULL;
	}
	return entry;
}

/* Inside SPI.  A domain or table that changed gives another query text, and so another plan. */
static SPIPlanPtr
history_plan(const FmoeDomain *domain)
{
	HistoryPlan *entry = plan_entry(domain->id);
	char	   *sql = history_query(domain);
	Oid			type = domain->user_type;
	SPIPlanPtr	plan;

	if (entry->plan != NULL && entry->user_type == type && strcmp(entry->sql, sql) == 0)
		return entry->plan;

	if (entry->plan != NULL)
	{
		SPI_freeplan(entry->plan);
		entry->plan = NULL;
		pfree(entry->sql);
		entry->sql = NULL;
	}
	plan = SPI_prepare_cursor(sql, 1, &type, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	entry->sql = MemoryContextStrdup(history_context, sql);
	entry->user_type = type;
	SPI_keepplan(plan);
	entry->plan = plan;
	return plan;
}

typedef struct HistoryReceiver
{
	DestReceiver receiver;
	const FmoeDomain *domain;
	bool		item_varlena;
	double		as_of;
	FmoeTakeEvent take;
	void	   *argument;
} HistoryReceiver;

static bool
history_row(TupleTableSlot *slot, DestReceiver *self)
{
	HistoryReceiver *history = (HistoryReceiver *) self;
	double		time;

	slot_getallattrs(slot);
	if (slot->tts_isnull[0] || slot->tts_isnull[1])
		return true;
	time = fmoe_seconds(history->domain->time_type, slot->tts_values[1]);
	if (!isfinite(time) || time > history->as_of)
		return true;
	history->take(history->argument, history->item_varlena
				  ? PointerGetDatum(PG_DETOAST_DATUM(slot->tts_values[0])) : slot->tts_values[0], time);
	return true;
}

void
fmoe_read_history(const FmoeDomain *domain, Datum user, double as_of, FmoeTakeEvent take, void *argument)
{
	ParamListInfo parameters = makeParamList(1);
	HistoryReceiver history = {
		.domain = domain,
		.item_varlena = get_typlen(domain->item_type) == -1,
		.as_of = as_of,
		.take = take,
		.argument = argument
	};
	SPIExecuteOptions options = {
		.params = parameters,
		.read_only = true,
		.dest = &history.receiver
	};
	int			result;

	receiver_init(&history.receiver, history_row);
	parameters->params[0].value = user;
	parameters->params[0].isnull = false;
	parameters->params[0].pflags = PARAM_FLAG_CONST;
	parameters->params[0].ptype = domain->user_type;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute_plan_extended(history_plan(domain), &options);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read a history: %s", SPI_result_code_string(result));
	SPI_finish();
}

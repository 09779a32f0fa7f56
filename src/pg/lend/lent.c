/*
 * lent.c
 *	  The tables fmoe.lent and fmoe.lent_part: experts that this database lends
 *	  (party = its own) and that were lent to it.
 *
 * A lent expert is a safetensors file (expertfile.c), cut into parts, and a
 * head that says what is in it.  Rows come from fmoe_lend, from fmoe_sync and
 * from logical replication.  Replicated rows were never checked, and others may
 * be old, so each time a file is used it is read as if it were hostile, and must
 * agree with its head.  Heads and parts may arrive in any order: an expert is
 * listed only when all of it is there.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/lend/lend.h"
#include "pg/option/option.h"

PG_FUNCTION_INFO_V1(fmoe_party);
PG_FUNCTION_INFO_V1(fmoe_lent_guard);

/* ---------------------------------------------------------------- names */

const char *
fmoe_party_name(void)
{
	char	   *database;

	if (fmoe_party_setting != NULL && fmoe_party_setting[0] != '\0')
		return fmoe_party_setting;
	database = get_database_name(MyDatabaseId);
	if (database == NULL)
		elog(ERROR, "cache lookup failed for database %u", MyDatabaseId);
	return database;
}

Datum
fmoe_party(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(fmoe_party_name()));
}

char *
fmoe_lent_name(const FmoeLentHead *head)
{
	return psprintf("%s.%s", head->party, head->domain);
}

/* ---------------------------------------------------------------- heads */

enum
{
	LENT_ID = 1,
	PARTY,
	DOMAIN,
	VERSION,
	ROUND,
	MODEL,
	CONFIG,
	EVENTS,
	USERS,
	ITEMS,
	PRECISION,
	PRIVACY,
	BYTES,
	CHECKSUM,
	CREATED_AT
};

static Datum
column(HeapTuple row, TupleDesc shape, int number, bool *isnull)
{
	bool		null;
	Datum		value = SPI_getbinval(row, shape, number, &null);

	if (isnull != NULL)
		*isnull = null;
	return null ? (Datum) 0 : value;
}

FmoeLentHead *
fmoe_lent_head_of_row(HeapTuple row, TupleDesc shape, const char **problem)
{
	FmoeLentHead *head = palloc0(sizeof(FmoeLentHead));
	bool		isnull;
	Datum		privacy;

	for (int i = LENT_ID; i <= CREATED_AT; i++)
	{
		(void) column(row, shape, i, &isnull);
		if (isnull && i != VERSION && i != ROUND && i != PRIVACY)
		{
			*problem = psprintf("It has no %s.", SPI_fname(shape, i));
			return NULL;
		}
	}
	memcpy(&head->id, DatumGetUUIDP(column(row, shape, LENT_ID, NULL)), sizeof(pg_uuid_t));
	head->party = SPI_getvalue(row, shape, PARTY);
	head->domain = SPI_getvalue(row, shape, DOMAIN);
	head->version = DatumGetInt32(column(row, shape, VERSION, NULL));
	head->round = DatumGetInt32(column(row, shape, ROUND, NULL));
	head->model = SPI_getvalue(row, shape, MODEL);
	head->config = DatumGetJsonbPCopy(column(row, shape, CONFIG, NULL));
	head->events = DatumGetInt64(column(row, shape, EVENTS, NULL));
	head->users = DatumGetInt64(column(row, shape, USERS, NULL));
	head->items = DatumGetInt32(column(row, shape, ITEMS, NULL));
	head->precision = SPI_getvalue(row, shape, PRECISION);
	privacy = column(row, shape, PRIVACY, &isnull);
	head->privacy = isnull ? NULL : DatumGetJsonbPCopy(privacy);
	head->bytes = DatumGetInt64(column(row, shape, BYTES, NULL));
	head->checksum = SPI_getvalue(row, shape, CHECKSUM);
	head->created_at = DatumGetTimestampTz(column(row, shape, CREATED_AT, NULL));
	return head;
}

/* ---------------------------------------------------------------- checking */

#define refused(head, ...) \
	ereport(ERROR, \
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), \
			 errmsg("invalid lent expert \"%s\"", fmoe_lent_name(head)), \
			 errdetail(__VA_ARGS__)))

void
fmoe_lent_refuse_part(const FmoeLentHead *head, int part)
{
	refused(head, "Its part %d is missing or does not have %zu bytes.", part, fmoe_part_bytes(head->bytes, part));
	pg_unreachable();
}

static bool
is_name(const char *name)
{
	if (name[0] == '\0')
		return false;
	for (const char *p = name; *p != '\0'; p++)
	{
		if ((unsigned char) *p < ' ' || *p == 0x7f)
			return false;
	}
	return true;
}

void
fmoe_lent_check_name(const FmoeLentHead *head)
{
	/* together they are an option's value: a name that did not fit would never be found again */
	if (!is_name(head->party) || strchr(head->party, '.') != NULL || !is_name(head->domain) ||
		strlen(head->party) + strlen(head->domain) > FMOE_EXPERT_NAME_MAX - 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid name of a lent expert"),
				 errdetail("Names of a party and a domain have no control characters, that of a party no \".\", and both have at most %d bytes together.",
						   FMOE_EXPERT_NAME_MAX - 2)));
}

static void
checking_lent(void *head)
{
	errcontext("reading the lent expert \"%s\"", fmoe_lent_name(head));
}

void
fmoe_lent_config(const FmoeLentHead *head, FmoeConfig *config)
{
	fmoe_parse_config(head->config, config);
	fmoe_choose_loss(config, Max(head->items, 1));
	fmoe_check_config(config);
}

bool
fmoe_lent_is_exchange(const FmoeLentHead *head, const FmoeConfig *config)
{
	return head->round > 0 && fmoe_federated(fmoe_expert_classes[config->model], config) != NULL;
}

/* What is lent is an encoder by itself: of a mixture, too, only its own encoder leaves. */
static void
check_model(const FmoeLentHead *head)
{
	FmoeConfig	config;
	FmoeShape	shape;

	fmoe_lent_config(head, &config);
	if (strcmp(head->model, fmoe_expert_names[config.model]) != 0)
		refused(head, "Its row says model \"%s\", its options \"%s\".", head->model, fmoe_expert_names[config.model]);
	if (fmoe_lent_is_exchange(head, &config))
		return;
	if (!fmoe_lendable(&config, &shape) || fmoe_encoder_config(&config).model != config.model)
		refused(head, "Model \"%s\" is no encoder.", head->model);
}

void
fmoe_lent_check_head(const FmoeLentHead *head)
{
	ErrorContextCallback callback = {error_context_stack, checking_lent, unconstify(FmoeLentHead *, head)};

	fmoe_lent_check_name(head);
	error_context_stack = &callback;
	if (head->version < 0 || head->round < 0 || head->events < 0 || head->users < 0 || head->items < 1)
		refused(head, "Its row counts versions, rounds, events, users or items that cannot be.");
	check_model(head);
	error_context_stack = callback.previous;
	if (head->bytes < 1 || head->bytes > MaxAllocSize - VARHDRSZ)
		refused(head, "It says that it has %lld bytes.", (long long) head->bytes);
	/* the file, and at worst four bytes for each of its bytes */
	fmoe_check_memory(5 * (size_t) head->bytes, psprintf("the lent expert \"%s\"", fmoe_lent_name(head)));
}

static bool
same_jsonb(Jsonb *a, Jsonb *b)
{
	return a == NULL || b == NULL ? a == b : compareJsonbContainers(&a->root, &b->root) == 0;
}

static void
check_agreement(const FmoeLentHead *head, const FmoeExpertFile *file)
{
	const FmoeVersion *facts = &file->facts;
	FmoeConfig	config;

	if (facts->complete)
		refused(head, "Its file holds item vectors and item ids, but only encoders are lent.");
	if (strcmp(head->model, facts->model) != 0)
		refused(head, "Its row says model \"%s\", its file \"%s\".", head->model, facts->model);
	if (head->events != facts->events || head->users != facts->users || head->items != facts->items)
		refused(head, "Its row and its file disagree about the number of events, users or items.");
	if (strcmp(head->precision, file->precision) != 0)
		refused(head, "Its row says precision \"%s\", its file \"%s\".", head->precision, file->precision);
	if (strcmp(head->checksum, fmoe_checksum_text(facts->checksum)) != 0)
		refused(head, "Its row and its file have different checksums.");
	if (!same_jsonb(head->privacy, file->privacy))
		refused(head, "Its row and its file disagree about what was done for privacy.");
	fmoe_lent_config(head, &config);
	if (!same_jsonb(fmoe_config_jsonb(&config), fmoe_config_jsonb(&facts->config)))
		refused(head, "Its row and its file have different options.");
}

FmoeExpertFile *
fmoe_lent_check(const FmoeLentHead *head, const void *bytes)
{
	ErrorContextCallback callback = {error_context_stack, checking_lent, unconstify(FmoeLentHead *, head)};
	FmoeExpertFile *file;

	error_context_stack = &callback;
	file = fmoe_expert_read(bytes, head->bytes);
	check_agreement(head, file);
	error_context_stack = callback.previous;
	return file;
}

/* ---------------------------------------------------------------- storing */

static FmoeStatement insert_head = {
	"INSERT INTO fmoe.lent (" FMOE_LENT_COLUMNS ", shared)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
	" ON CONFLICT (lent_id) DO NOTHING",
	16, {UUIDOID, TEXTOID, TEXTOID, INT4OID, INT4OID, TEXTOID, JSONBOID, INT8OID, INT8OID, INT4OID,
		TEXTOID, JSONBOID, INT8OID, TEXTOID, TIMESTAMPTZOID, BOOLOID}
};

static FmoeStatement insert_part = {
	"INSERT INTO fmoe.lent_part (lent_id, part, party, shared, data) VALUES ($1, $2, $3, $4, $5)",
	5, {UUIDOID, INT4OID, TEXTOID, BOOLOID, BYTEAOID}
};

static bool
store_head(const FmoeLentHead *head)
{
	Datum		values[16];
	char		nulls[16];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = UUIDPGetDatum(&head->id);
	values[1] = CStringGetTextDatum(head->party);
	values[2] = CStringGetTextDatum(head->domain);
	values[3] = Int32GetDatum(head->version);
	nulls[3] = head->version == 0 ? 'n' : ' ';
	values[4] = Int32GetDatum(head->round);
	nulls[4] = head->round == 0 ? 'n' : ' ';
	values[5] = CStringGetTextDatum(head->model);
	values[6] = JsonbPGetDatum(head->config);
	values[7] = Int64GetDatum(head->events);
	values[8] = Int64GetDatum(head->users);
	values[9] = Int32GetDatum(head->items);
	values[10] = CStringGetTextDatum(head->precision);
	values[11] = PointerGetDatum(head->privacy);
	nulls[11] = head->privacy == NULL ? 'n' : ' ';
	values[12] = Int64GetDatum(head->bytes);
	values[13] = CStringGetTextDatum(head->checksum);
	values[14] = TimestampTzGetDatum(head->created_at);
	values[15] = BoolGetDatum(head->shared);
	fmoe_own_execute(&insert_head, values, nulls, false, 0);
	return SPI_processed > 0;
}

bool
fmoe_lent_store(const FmoeLentHead *head, const void *bytes)
{
	Datum		values[5];
	FmoeOwn		own;
	bool		stored;

	fmoe_own_begin(&own);
	stored = store_head(head);
	values[0] = UUIDPGetDatum(&head->id);
	values[2] = CStringGetTextDatum(head->party);
	values[3] = BoolGetDatum(head->shared);
	if (stored)
		fmoe_parts_write(&insert_part, values, 1, 4, bytes, head->bytes);
	fmoe_own_end(&own);
	return stored;
}

int
fmoe_lent_delete(FmoeStatement *statement, Datum *values, const char *nulls)
{
	FmoeOwn		own;
	int			deleted;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, nulls, false, 0);
	deleted = fmoe_result_int64();
	fmoe_own_end(&own);
	return deleted;
}

/*
 * Keeps logical replication from writing or deleting rows of this database's own
 * party.  A restore that sets session_replication_role may write such rows.
 */
Datum
fmoe_lent_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		update;
	HeapTuple	rows[2];
	int			column;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("not called by trigger manager")));
	update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	if (!IsLogicalWorker())
		return PointerGetDatum(update ? trigger->tg_newtuple : trigger->tg_trigtuple);
	rows[0] = trigger->tg_trigtuple;
	rows[1] = update ? trigger->tg_newtuple : NULL;
	column = SPI_fnumber(RelationGetDescr(trigger->tg_relation), "party");
	for (int i = 0; i < lengthof(rows) && rows[i] != NULL; i++)
	{
		char	   *party = SPI_getvalue(rows[i], RelationGetDescr(trigger->tg_relation), column);

		if (party == NULL || strcmp(party, fmoe_party_name()) != 0)
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("ignored a row of this database's own party \"%s\" that was replicated from elsewhere", party),
				 errhint("Publish with a row filter on the party, and give every database a setting fmoe.party of its own.")));
		return PointerGetDatum(NULL);
	}
	return PointerGetDatum(update ? rows[1] : rows[0]);
}

/* ---------------------------------------------------------------- reading */

static FmoeStatement head_by_id = {
	"SELECT " FMOE_LENT_COLUMNS " FROM fmoe.lent WHERE lent_id OPERATOR(pg_catalog.=) $1",
	1, {UUIDOID}
};

static FmoeStatement part_by_id = {
	"SELECT data FROM fmoe.lent_part WHERE lent_id OPERATOR(pg_catalog.=) $1 AND part OPERATOR(pg_catalog.=) $2",
	2, {UUIDOID, INT4OID}
};

/* Inside fmoe_own_begin; in context. */
static FmoeLentHead *
find_head(const FmoeLent *lent, MemoryContext context)
{
	Datum		id = DirectFunctionCall1(uuid_in, CStringGetDatum(lent->key));
	const char *problem = NULL;
	FmoeLentHead *head;
	MemoryContext old;

	fmoe_own_execute(&head_by_id, &id, NULL, false, 1);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the lent expert \"%s\" no longer exists", lent->name),
				 errdetail("It was withdrawn or forgotten.")));
	old = MemoryContextSwitchTo(context);
	head = fmoe_lent_head_of_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &problem);
	MemoryContextSwitchTo(old);
	if (head == NULL)
		elog(ERROR, "row of lent expert \"%s\" is broken: %s", lent->name, problem);
	return head;
}

/* All parts end to end, in context. */
static char *
read_parts(const FmoeLentHead *head, MemoryContext context)
{
	char	   *bytes = MemoryContextAlloc(context, head->bytes);
	Datum		values[2] = {UUIDPGetDatum(&head->id)};
	int			part = fmoe_parts_read(&part_by_id, values, 1, false, bytes, head->bytes);

	if (part >= 0)
		fmoe_lent_refuse_part(head, part);
	return bytes;
}

/* A version that was imported without its items. */
static FmoeExpertFile *
read_import(const FmoeLent *lent)
{
	FmoeExpertFile *file = palloc0(sizeof(FmoeExpertFile));
	size_t		bytes;

	fmoe_check_memory(2 * (size_t) lent->facts.bytes, psprintf("the imported expert \"%s\"", lent->name));
	file->facts = lent->facts;
	file->precision = fmoe_precision_names[FMOE_FLOAT32];
	file->n_arrays = fmoe_load_arrays(lent->facts.version_id, CurrentMemoryContext, &file->arrays, &bytes);
	fmoe_expert_check_encoder(file);
	return file;
}

FmoeExpertFile *
fmoe_lent_read(const FmoeLent *lent)
{
	MemoryContext context = CurrentMemoryContext;
	FmoeLentHead *head;
	char	   *bytes;
	FmoeOwn		own;

	if (lent->facts.version_id != 0)
		return read_import(lent);
	fmoe_own_begin(&own);
	head = find_head(lent, context);
	fmoe_lent_check_head(head);
	bytes = read_parts(head, context);
	fmoe_own_end(&own);
	return fmoe_lent_check(head, bytes);
}

/*
 * sync.c
 *	  fmoe_sync: fetching from other databases what they lend.
 *
 * Remote rows are read as the calling role, that is with its user mapping, but
 * as the peer's owner where the caller could act as that role (deputy.c);
 * only what has been fetched and checked is written as the tables' owner.
 *
 * A peer may be hostile.  The number of its rows, names and sizes are checked
 * before any file is fetched, then each file (lent.c).  When all peers are
 * synced, each has its own subtransaction: all of it comes, or nothing.  One file
 * is in memory at a time, and its parts are fetched one by one.
 *
 * The bytes that are counted are an estimate: sent are the texts of the queries
 * and their parameters, received the rows as the protocol carries them in text
 * form.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/lend/lend.h"

#define HEADS_MAX 10000			/* rows of a peer's fmoe.shared_expert */

PG_FUNCTION_INFO_V1(fmoe_sync);
PG_FUNCTION_INFO_V1(fmoe_sync_all);

/* Of one peer or of all. */
typedef struct Counts
{
	int			fetched;
	int			skipped;
	int			removed;
	int			held;			/* of those skipped: adapters whose base is not here */
	bool		again;			/* these are asked for once more before anybody is warned */
	int			told;			/* level of the message that says so */
	int64		sent;			/* bytes */
	int64		received;
} Counts;

/* ---------------------------------------------------------------- reading from a peer */

/* Bytes of a row in the text form of PostgreSQL's protocol, which postgres_fdw uses. */
static int64
wire_bytes(HeapTuple row, TupleDesc shape)
{
	int64		bytes = 1 + 4 + 2;

	for (int i = 1; i <= shape->natts; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(row, shape, i, &isnull);

		bytes += 4;
		if (isnull)
			continue;
		if (TupleDescAttr(shape, i - 1)->atttypid == BYTEAOID)
			bytes += 2 + 2 * (int64) VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		else
			bytes += strlen(SPI_getvalue(row, shape, i));
	}
	return bytes;
}

static void
query(const FmoePeer *peer, const char *sql, int nargs, Oid *types, Datum *values, long limit, Counts *counts)
{
	FmoeReading reading;
	int			result;

	fmoe_read_as(&reading, fmoe_reader(GetUserId(), peer->owner));
	result = SPI_execute_with_args(sql, nargs, types, values, NULL, true, limit);
	fmoe_read_end(&reading);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	counts->sent += strlen(sql);
}

/* The heads of what the peer lends, with valid names; in the current context. */
static List *
remote_heads(const FmoePeer *peer, Counts *counts)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *heads = NIL;
	FmoeOwn		own;

	fmoe_caller_begin(&own);
	query(peer, psprintf("SELECT " FMOE_LENT_COLUMNS " FROM %s", fmoe_qualified_table(peer->expert_table)),
		  0, NULL, NULL, HEADS_MAX + 1, counts);
	if (SPI_processed > HEADS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("peer \"%s\" lends more than %d experts", peer->name, HEADS_MAX)));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		const char *problem;
		FmoeLentHead *head = fmoe_lent_head_of_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &problem);

		if (head == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("peer \"%s\" lends an invalid expert", peer->name),
					 errdetail("%s", problem)));
		fmoe_lent_check_name(head);
		heads = lappend(heads, head);
		counts->received += wire_bytes(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	return heads;
}

/* Fetches a part of a file to its place in bytes. */
static void
remote_part(const FmoePeer *peer, const FmoeLentHead *head, int part, char *bytes, Counts *counts)
{
	char	   *out = bytes + (size_t) part * FMOE_PART_BYTES;
	size_t		size = fmoe_part_bytes(head->bytes, part);
	Oid			types[2] = {UUIDOID, INT4OID};
	Datum		values[2] = {UUIDPGetDatum(&head->id), Int32GetDatum(part)};
	FmoeOwn		own;

	fmoe_caller_begin(&own);
	query(peer, psprintf("SELECT data FROM %s WHERE lent_id OPERATOR(pg_catalog.=) $1 AND part OPERATOR(pg_catalog.=) $2",
						 fmoe_qualified_table(peer->part_table)), 2, types, values, 2, counts);
	counts->sent += UUID_LEN * 2 + 4 + strlen(psprintf("%d", part));
	if (SPI_processed != 1 || !fmoe_part_copy(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, out, size))
		fmoe_lent_refuse_part(head, part);
	counts->received += wire_bytes(SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	fmoe_own_end(&own);
}

/* ---------------------------------------------------------------- one peer */

static FmoeStatement party_of_other = {
	"SELECT name FROM fmoe.peer WHERE party OPERATOR(pg_catalog.=) $1 AND peer_id OPERATOR(pg_catalog.<>) $2 LIMIT 1",
	2, {TEXTOID, INT8OID}
};

static FmoeStatement has_party = {
	"SELECT FROM fmoe.lent WHERE party OPERATOR(pg_catalog.=) $1 LIMIT 1",
	1, {TEXTOID}
};

static FmoeStatement shares_with_party = {
	"SELECT FROM fmoe.lent WHERE party OPERATOR(pg_catalog.=) $1 AND lent_id OPERATOR(pg_catalog.=) ANY ($2) LIMIT 1",
	2, {TEXTOID, UUIDARRAYOID}
};

/* Which database has lent what is here of a party, if it is another than $2. */
static FmoeStatement other_identity = {
	"SELECT fmoe._party_id(lent_id) FROM fmoe.lent WHERE party OPERATOR(pg_catalog.=) $1"
	" AND fmoe._party_id(lent_id) OPERATOR(pg_catalog.<>) $2 LIMIT 1",
	2, {TEXTOID, TEXTOID}
};

static FmoeStatement is_here = {
	"SELECT FROM fmoe.lent WHERE lent_id OPERATOR(pg_catalog.=) $1",
	1, {UUIDOID}
};

/* The lender may have renamed the domain. */
static FmoeStatement rename_here = {
	"UPDATE fmoe.lent SET domain = $3 WHERE lent_id OPERATOR(pg_catalog.=) $1 AND party OPERATOR(pg_catalog.=) $2"
	" AND domain OPERATOR(pg_catalog.<>) $3",
	3, {UUIDOID, TEXTOID, TEXTOID}
};

static FmoeStatement delete_gone = {
	FMOE_LENT_DELETE("l.party OPERATOR(pg_catalog.=) $1 AND l.lent_id OPERATOR(pg_catalog.<>) ALL ($2) AND "
					 FMOE_LENT_UNUSED),
	2, {TEXTOID, UUIDARRAYOID}
};

static FmoeStatement note_synced = {
	"UPDATE fmoe.peer SET party = $2, party_id = COALESCE($5, party_id), synced_at = pg_catalog.clock_timestamp(), error = NULL,"
	" bytes_sent = bytes_sent OPERATOR(pg_catalog.+) $3, bytes_received = bytes_received OPERATOR(pg_catalog.+) $4"
	" WHERE peer_id OPERATOR(pg_catalog.=) $1",
	5, {INT8OID, TEXTOID, INT8OID, INT8OID, TEXTOID}
};

static FmoeStatement note_error = {
	"UPDATE fmoe.peer SET error = $2 WHERE peer_id OPERATOR(pg_catalog.=) $1",
	2, {INT8OID, TEXTOID}
};

/* The lent_ids of heads. */
static Datum
ids_of(List *heads)
{
	Datum	   *ids = palloc(sizeof(Datum) * (list_length(heads) + 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, heads)
		ids[n++] = UUIDPGetDatum(&((FmoeLentHead *) lfirst(cell))->id);
	return PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

/* Error when a known peer speaks for another party now, or a new one for a party that has lent other experts. */
static void
check_known_party(const FmoePeer *peer, const char *party, List *heads)
{
	Datum		values[2] = {CStringGetTextDatum(party), ids_of(heads)};

	if (peer->party != NULL && strcmp(peer->party, party) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("peer \"%s\" was party \"%s\" and says now that it is \"%s\"", peer->name, peer->party, party),
				 errhint("If that is right, drop the peer, forget what it has lent, and add it again.")));
	if (peer->party == NULL && fmoe_own_found(&has_party, values, false) &&
		!fmoe_own_found(&shares_with_party, values, false))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("peer \"%s\" says that it is party \"%s\", which has lent other experts already", peer->name,
						party),
				 errhint("If it is the same party, SELECT fmoe_forget(%s) first.", quote_literal_cstr(party))));
}

/*
 * The identity of the one that lends the heads; NULL: none of them says.  Error
 * when they say more than one, or when it is not that of the peer until now.
 */
static char *
check_identity(const FmoePeer *peer, const char *party, List *heads)
{
	char	   *identity = NULL;
	char	   *before = peer->party_id;
	ListCell   *cell;

	foreach(cell, heads)
	{
		char	   *one = fmoe_lent_party_id(&((FmoeLentHead *) lfirst(cell))->id);

		if (one != NULL && identity != NULL && strcmp(one, identity) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("peer \"%s\" speaks for more than one party of the name \"%s\"", peer->name, party)));
		if (one != NULL)
			identity = one;
	}
	if (identity != NULL && before == NULL)
	{
		Datum		values[2] = {CStringGetTextDatum(party), CStringGetTextDatum(identity)};

		before = fmoe_own_text(&other_identity, values, false);
	}
	if (identity != NULL && before != NULL && strcmp(identity, before) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("peer \"%s\" is another party of the name \"%s\" than the one that has lent before",
						peer->name, party),
				 errdetail("It was %s and is %s now.", before, identity),
				 errhint("If that is right, SELECT fmoe_drop_peer(%s) and fmoe_forget(%s), and add it again.",
						 quote_literal_cstr(peer->name), quote_literal_cstr(party))));
	return identity;
}

/* The party that the peer speaks for; error unless it is one, neither this database nor that of another peer. */
static const char *
check_party(const FmoePeer *peer, List *heads)
{
	const char *party = peer->party;
	Datum		values[2];
	char	   *other;
	ListCell   *cell;

	foreach(cell, heads)
	{
		FmoeLentHead *head = lfirst(cell);

		if (cell == list_head(heads))
			party = head->party;
		if (strcmp(head->party, party) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("peer \"%s\" speaks for more than one party, \"%s\" and \"%s\"",
							peer->name, party, head->party)));
	}
	if (party == NULL)
		return NULL;
	if (strcmp(party, fmoe_party_name()) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("peer \"%s\" says that it is party \"%s\", which is this database itself", peer->name, party),
				 errhint("Give every database a setting fmoe.party of its own.")));
	values[0] = CStringGetTextDatum(party);
	values[1] = Int64GetDatum(peer->id);
	other = fmoe_own_text(&party_of_other, values, false);
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("peer \"%s\" says that it is party \"%s\", which is the name of peer \"%s\"",
						peer->name, party, other),
				 errhint("Give every database a setting fmoe.party of its own.")));
	check_known_party(peer, party, heads);
	return party;
}

static bool
is_newer(const FmoeLentHead *a, const FmoeLentHead *b)
{
	if (a->created_at != b->created_at)
		return a->created_at > b->created_at;
	if (a->version != b->version)
		return a->version > b->version;
	return memcmp(&a->id, &b->id, sizeof(pg_uuid_t)) < 0;
}

static bool
is_newest(const FmoeLentHead *head, List *heads)
{
	ListCell   *cell;

	foreach(cell, heads)
	{
		FmoeLentHead *other = lfirst(cell);

		if (strcmp(head->domain, other->domain) == 0 && is_newer(other, head))
			return false;
	}
	return true;
}

/* The checksum of the base that a head says it adapts; NULL: none. */
static char *
base_of(const FmoeLentHead *head)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(head->config) ||
		getKeyJsonValueFromContainer(&head->config->root, "base_checksum", strlen("base_checksum"), &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* Whether one of the newest adapts it: then it comes along, whatever its domain has lent since. */
static bool
is_base_of_newest(const FmoeLentHead *head, List *heads)
{
	ListCell   *cell;

	foreach(cell, heads)
	{
		FmoeLentHead *other = lfirst(cell);
		char	   *base = base_of(other);

		if (base != NULL && strcmp(base, head->checksum) == 0 && is_newest(other, heads))
			return true;
	}
	return false;
}

/* The base that a checked head adapts, if it is not here; else NULL. */
static const FmoeNamedBase *
missing_base(const FmoeLentHead *head)
{
	FmoeConfig *config = palloc(sizeof(FmoeConfig));
	const FmoeNamedBase *base;

	fmoe_lent_config(head, config);
	base = fmoe_named_base(config);
	/* it may have come a moment ago */
	fmoe_fresh_begin();
	if (base != NULL && fmoe_find_base(base->checksum, InvalidOid) != NULL)
		base = NULL;
	fmoe_fresh_end();
	return base;
}

static void
warn_held(const FmoeLentHead *head)
{
	const FmoeNamedBase *base = missing_base(head);

	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the lent expert \"%s\" is held back: its base \"%s\" is not here", fmoe_lent_name(head),
					base->name),
			 errdetail("Its checksum is %s.", base->checksum),
			 errhint("The first fmoe_sync() after the base was fetched or imported takes the adapter.")));
}

/* Fetches, checks and stores one expert; false: it adapts a base that is not here. */
static bool
fetch(const FmoePeer *peer, FmoeLentHead *head, Counts *counts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe lent expert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	char	   *bytes;

	if (fmoe_is_import_name(fmoe_lent_name(head)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("could not store the lent expert \"%s\"", fmoe_lent_name(head)),
				 errdetail("An imported version has that name already.")));
	fmoe_lent_check_head(head);
	if (missing_base(head) != NULL)
	{
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
		return false;
	}
	bytes = palloc(head->bytes);
	for (int part = 0; part < fmoe_part_count(head->bytes); part++)
	{
		remote_part(peer, head, part, bytes, counts);
		CHECK_FOR_INTERRUPTS();
	}
	(void) fmoe_lent_check(head, bytes);
	(void) fmoe_lent_store(head, bytes);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	counts->fetched++;
	return true;
}

/* Deletes what the party no longer lends: adapters, and then bases that no others use. */
static int
remove_gone(const char *party, List *heads)
{
	Datum		values[2] = {CStringGetTextDatum(party), ids_of(heads)};
	int			removed = fmoe_lent_delete(&delete_gone, values, NULL);

	return removed > 0 ? removed + fmoe_lent_delete(&delete_gone, values, NULL) : 0;
}

/* Fetches what is not here yet; an adapter after its base, which may come with it. */
static void
fetch_heads(const FmoePeer *peer, List *heads, Counts *counts)
{
	List	   *held = NIL;
	ListCell   *cell;

	foreach(cell, heads)
	{
		FmoeLentHead *head = lfirst(cell);
		Datum		key[3] = {UUIDPGetDatum(&head->id)};

		if (fmoe_own_found(&is_here, key, false))
		{
			key[1] = CStringGetTextDatum(head->party);
			key[2] = CStringGetTextDatum(head->domain);
			(void) fmoe_own_change(&rename_here, key, NULL);
			counts->skipped++;
		}
		else if (!is_newest(head, heads) && !is_base_of_newest(head, heads))
			counts->skipped++;
		else if (!fetch(peer, head, counts))
			held = lappend(held, head);
	}
	foreach(cell, held)
	{
		if (fetch(peer, lfirst(cell), counts))
			continue;
		counts->skipped++;
		counts->held++;
		if (!counts->again)
			warn_held(lfirst(cell));
	}
}

static void
sync_peer(const FmoePeer *peer, Counts *counts)
{
	Datum		values[5] = {Int64GetDatum(peer->id)};
	char		nulls[5] = {' ', ' ', ' ', ' ', ' '};
	List	   *heads;
	const char *party;
	char	   *identity = NULL;

	fmoe_check_may_sync(peer);
	/* two sessions sync a peer one after the other, and never while it is being dropped */
	if (!fmoe_lock_peer(peer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("peer \"%s\" was dropped", peer->name)));
	heads = remote_heads(peer, counts);
	party = check_party(peer, heads);
	if (party != NULL)
	{
		identity = check_identity(peer, party, heads);
		counts->removed = remove_gone(party, heads);
	}
	fetch_heads(peer, heads, counts);
	nulls[1] = party == NULL ? 'n' : ' ';
	values[1] = party == NULL ? (Datum) 0 : CStringGetTextDatum(party);
	values[2] = Int64GetDatum(counts->sent);
	values[3] = Int64GetDatum(counts->received);
	nulls[4] = identity == NULL ? 'n' : ' ';
	values[4] = identity == NULL ? (Datum) 0 : CStringGetTextDatum(identity);
	(void) fmoe_own_change(&note_synced, values, nulls);
	ereport(counts->told,
			(errmsg("peer \"%s\": %d experts fetched, %d skipped, %d removed; "
					INT64_FORMAT " bytes sent, " INT64_FORMAT " received",
					peer->name, counts->fetched, counts->skipped, counts->removed, counts->sent, counts->received)));
}

/* ---------------------------------------------------------------- all peers */

typedef struct PeerSync
{
	const FmoePeer *peer;
	Counts	   *counts;
} PeerSync;

static void
sync_one(void *argument)
{
	PeerSync   *sync = argument;

	sync_peer(sync->peer, sync->counts);
}

/* An error undoes all that was done for this peer; it becomes a WARNING and is kept in fmoe.peers. */
static void
try_peer(const FmoePeer *peer, Counts *counts)
{
	PeerSync	sync = {.peer = peer, .counts = counts};
	ErrorData  *error = fmoe_attempt(sync_one, &sync);
	Datum		values[2];

	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		ReThrowError(error);
	memset(counts, 0, sizeof(Counts));
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("could not sync peer \"%s\": %s", peer->name, error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
	values[0] = Int64GetDatum(peer->id);
	values[1] = CStringGetTextDatum(error->message);
	(void) fmoe_own_change(&note_error, values, NULL);
}

/* A restored database lacks the dependencies of all peers' tables. */
static void
renew_dependencies(void)
{
	ListCell   *cell;

	foreach(cell, fmoe_read_peers(NULL))
	{
		FmoePeer   *peer = lfirst(cell);

		if (!fmoe_has_tables(peer))
			continue;
		fmoe_depend_on_extension(RelationRelationId, peer->expert_table);
		fmoe_depend_on_extension(RelationRelationId, peer->part_table);
	}
}

/* Syncs a peer and adds what it did to the total; returns whether it holds something back. */
static bool
sync_and_add(const FmoePeer *peer, bool again, Counts *total)
{
	Counts		counts = {.told = total->told, .again = again};

	try_peer(peer, &counts);
	total->fetched += counts.fetched;
	total->skipped += counts.skipped;
	total->removed += counts.removed;
	total->sent += counts.sent;
	total->received += counts.received;
	return counts.held > 0;
}

/* One peer may lend adapters of a base that a later one lends: those that hold something back are asked twice. */
static void
sync_all(Counts *total)
{
	List	   *held = NIL;
	ListCell   *cell;

	renew_dependencies();
	foreach(cell, fmoe_read_peers(NULL))
	{
		FmoePeer   *peer = lfirst(cell);

		if (fmoe_is_peer_of_caller(peer) && sync_and_add(peer, true, total))
			held = lappend(held, peer);
	}
	foreach(cell, held)
	{
		int			fetched = total->fetched;
		int			skipped = total->skipped;

		/* what was skipped was so before */
		(void) sync_and_add(lfirst(cell), false, total);
		total->skipped = skipped - (total->fetched - fetched);
	}
}

static void
sync_peers(int told)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe sync", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Counts		total = {.told = told};

	sync_all(&total);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
fmoe_sync_peers(void)
{
	sync_peers(NOTICE);
}

void
fmoe_sync_peers_quietly(void)
{
	sync_peers(DEBUG1);
}

Datum
fmoe_sync(PG_FUNCTION_ARGS)
{
	Counts		counts = {.told = NOTICE};
	TupleDesc	shape;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0))
		sync_all(&counts);
	else
	{
		sync_peer(fmoe_find_peer(text_to_cstring(PG_GETARG_TEXT_PP(0))), &counts);
		renew_dependencies();
	}
	values[0] = Int32GetDatum(counts.fetched);
	values[1] = Int32GetDatum(counts.skipped);
	values[2] = Int32GetDatum(counts.removed);
	values[3] = Int64GetDatum(counts.sent);
	values[4] = Int64GetDatum(counts.received);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

/* All peers.  Without results, so that functions and DO need no variables for them. */
Datum
fmoe_sync_all(PG_FUNCTION_ARGS)
{
	fmoe_sync_peers();
	PG_RETURN_VOID();
}

/*
 * lend.c
 *	  fmoe_lend, fmoe_withdraw, fmoe_forget: what this database lends, and what
 *	  was lent to it and is to go.
 *
 * Lending puts a version's encoder, and never more, into fmoe.lent, from
 * where others fetch it.  Each lending has an id of its own, so who has
 * fetched an id needs to look no further.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/lend/lend.h"
#include "pg/option/option.h"

PG_FUNCTION_INFO_V1(fmoe_lend);
PG_FUNCTION_INFO_V1(fmoe_withdraw);
PG_FUNCTION_INFO_V1(fmoe_forget);

/* What a lending replaces: earlier ones of the same version, and all rounds. */
static FmoeStatement delete_replaced = {
	FMOE_LENT_DELETE("l.party OPERATOR(pg_catalog.=) $1 AND l.domain OPERATOR(pg_catalog.=) $2"
					 " AND (l.version OPERATOR(pg_catalog.=) $3 OR l.round IS NOT NULL) AND " FMOE_LENT_UNUSED),
	3, {TEXTOID, TEXTOID, INT4OID}
};

#define WITHDRAWN \
	"l.party OPERATOR(pg_catalog.=) $1 AND l.domain OPERATOR(pg_catalog.=) $2" \
	" AND ($3 IS NULL OR l.version OPERATOR(pg_catalog.=) $3)"

static FmoeStatement used_withdrawn = {
	FMOE_LENT_USED(WITHDRAWN),
	3, {TEXTOID, TEXTOID, INT4OID}
};

static FmoeStatement delete_withdrawn = {
	FMOE_LENT_DELETE(WITHDRAWN),
	3, {TEXTOID, TEXTOID, INT4OID}
};

#define FORGOTTEN \
	"l.party OPERATOR(pg_catalog.=) $1" \
	" AND ($2 IS NULL OR l.domain OPERATOR(pg_catalog.=) $2)"

static FmoeStatement used_forgotten = {
	FMOE_LENT_USED(FORGOTTEN),
	2, {TEXTOID, TEXTOID}
};

static FmoeStatement delete_forgotten = {
	FMOE_LENT_DELETE(FORGOTTEN),
	2, {TEXTOID, TEXTOID}
};

/* ---------------------------------------------------------------- lending */

static FmoeLentHead *
head_of_file(const FmoeDomain *domain, FmoeExpertFile *file, int64 bytes, int round)
{
	FmoeLentHead *head = palloc0(sizeof(FmoeLentHead));
	const FmoeVersion *facts = &file->facts;

	fmoe_new_lent_id(&head->id);
	head->party = pstrdup(fmoe_party_name());
	head->domain = domain->name;
	head->version = round == 0 ? facts->version : 0;
	head->round = round;
	head->shared = true;
	head->model = unconstify(char *, facts->model);
	head->config = fmoe_config_jsonb(&facts->config);
	head->events = facts->events;
	head->users = facts->users;
	head->items = facts->items;
	head->precision = unconstify(char *, file->precision);
	head->privacy = file->privacy;
	head->bytes = bytes;
	head->checksum = fmoe_checksum_text(facts->checksum);
	/* the clock, not now(): within a transaction, too, what is lent later is newer */
	head->created_at = GetCurrentTimestamp();
	return head;
}

/* Stores a file of a locked domain as lent, in place of what it replaces; returns its head. */
static FmoeLentHead *
publish(const FmoeDomain *domain, FmoeExpertFile *file, int round)
{
	bytea	   *bytes = fmoe_expert_write(file);
	FmoeLentHead *head = head_of_file(domain, file, VARSIZE(bytes) - VARHDRSZ, round);
	Datum		values[3];

	/* nothing leaves that others would not accept: it must be an encoder, whole and finite */
	fmoe_lent_check_head(head);
	(void) fmoe_lent_check(head, VARDATA(bytes));
	values[0] = CStringGetTextDatum(head->party);
	values[1] = CStringGetTextDatum(head->domain);
	values[2] = Int32GetDatum(head->version);
	(void) fmoe_lent_delete(&delete_replaced, values, NULL);
	(void) fmoe_lent_store(head, VARDATA(bytes));
	return head;
}

Datum
fmoe_lend(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "fmoe lend", ALLOCSET_DEFAULT_SIZES);
	FmoeDomain *domain;
	FmoeVersion *version;
	FmoeRelease release;
	FmoeLentHead *head;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	fmoe_fresh_begin();
	domain = fmoe_domain_find(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)), FMOE_MANAGE);
	fmoe_release_parse(PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2), &release);
	fmoe_lock_domain(domain);
	fmoe_check_sharing(domain);
	version = fmoe_version_to_share(fcinfo, domain, "lend");

	MemoryContextSwitchTo(context);
	head = publish(domain, fmoe_version_file(domain, version, &release, false), 0);
	*id = head->id;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	fmoe_fresh_end();
	PG_RETURN_UUID_P(id);
}

void
fmoe_lend_arrays(const FmoeDomain *domain, FmoeVersion *facts, int n_arrays, FnnArray *arrays, int round,
				 Jsonb *privacy)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "fmoe lend", ALLOCSET_DEFAULT_SIZES);
	FmoeExpertFile *file;

	fmoe_check_sharing(domain);
	MemoryContextSwitchTo(context);
	file = palloc0(sizeof(FmoeExpertFile));
	file->facts = *facts;
	file->facts.complete = false;
	file->precision = fmoe_precision_names[FMOE_FLOAT32];
	file->n_arrays = n_arrays;
	file->arrays = arrays;
	file->privacy = privacy;
	(void) publish(domain, file, round);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/* ---------------------------------------------------------------- taking back */

Datum
fmoe_withdraw(PG_FUNCTION_ARGS)
{
	FmoeDomain *domain;
	Datum		values[3];
	char		nulls[3] = {' ', ' ', PG_ARGISNULL(1) ? 'n' : ' '};
	int			withdrawn;

	fmoe_fresh_begin();
	domain = fmoe_domain_find(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)), FMOE_MANAGE);
	fmoe_lock_domain(domain);
	values[0] = CStringGetTextDatum(fmoe_party_name());
	values[1] = CStringGetTextDatum(domain->name);
	values[2] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	fmoe_check_none_used(&used_withdrawn, values, nulls);
	withdrawn = fmoe_lent_delete(&delete_withdrawn, values, nulls);
	fmoe_fresh_end();
	PG_RETURN_INT32(withdrawn);
}

static FmoeStatement rename_lent = {
	"UPDATE fmoe.lent SET domain = $3 WHERE party OPERATOR(pg_catalog.=) $1 AND domain OPERATOR(pg_catalog.=) $2",
	3, {TEXTOID, TEXTOID, TEXTOID}
};

void
fmoe_lent_domain_changed(const char *name, const char *new_name)
{
	Datum		values[3] = {CStringGetTextDatum(fmoe_party_name()), CStringGetTextDatum(name)};
	int			withdrawn;

	if (new_name == NULL)
	{
		fmoe_check_none_used(&used_withdrawn, values, "  n");
		withdrawn = fmoe_lent_delete(&delete_withdrawn, values, "  n");
		if (withdrawn > 0)
			ereport(NOTICE,
					(errmsg("%d lent experts of domain \"%s\" are withdrawn", withdrawn, name)));
		return;
	}
	values[2] = CStringGetTextDatum(new_name);
	(void) fmoe_own_change(&rename_lent, values, NULL);
}

static void
check_may_forget(const char *party)
{
	if (strcmp(party, fmoe_party_name()) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is this database's own party", party),
				 errhint("fmoe_withdraw() takes back what this database lends.")));
	if (!fmoe_may_sync_party(party, GetUserId()) && !object_ownercheck(DatabaseRelationId, MyDatabaseId, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to forget what party \"%s\" has lent", party),
				 errdetail("Only who may sync its peer, and the owner of the database, may do this.")));
}

Datum
fmoe_forget(PG_FUNCTION_ARGS)
{
	Datum		values[2];
	char		nulls[2] = {' ', PG_ARGISNULL(1) ? 'n' : ' '};
	int			forgotten;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("party must not be null")));
	fmoe_fresh_begin();
	check_may_forget(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	fmoe_check_none_used(&used_forgotten, values, nulls);
	forgotten = fmoe_lent_delete(&delete_forgotten, values, nulls);
	fmoe_fresh_end();
	PG_RETURN_INT32(forgotten);
}

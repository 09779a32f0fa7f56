/*
 * lent_list.c
 *	  Lists what a domain could borrow: what others have lent last, and imports.
 *
 * The heads may be hostile.  Each is read in a subtransaction, so that a bad one is
 * left out of the list and does not fail it.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "pg/lend/lend.h"

static FmoeStatement newest_heads = {
	"SELECT DISTINCT ON (l.party, l.domain) l.lent_id, l.party, l.domain, l.version, l.round, l.model, l.config,"
	" l.events, l.users, l.items, l.\"precision\", l.privacy, l.bytes, l.checksum, l.created_at,"
	" (SELECT pg_catalog.count(DISTINCT fmoe._party_id(o.lent_id)) FROM fmoe.lent o"
	"  WHERE o.party OPERATOR(pg_catalog.=) l.party) OPERATOR(pg_catalog.>) 1"
	" FROM fmoe.lent l WHERE NOT (l.party OPERATOR(pg_catalog.=) $1 AND l.domain OPERATOR(pg_catalog.=) $2)"
	" AND l.bytes OPERATOR(pg_catalog.=)"
	"  (SELECT pg_catalog.sum(pg_catalog.octet_length(p.data)) FROM fmoe.lent_part p"
	"   WHERE p.lent_id OPERATOR(pg_catalog.=) l.lent_id)"
	" ORDER BY l.party, l.domain, l.created_at DESC, l.version DESC NULLS LAST, l.lent_id",
	2, {TEXTOID, TEXTOID}
};

static FmoeStatement imported_encoders = {
	"SELECT v.version FROM fmoe.version v WHERE v.domain_id OPERATOR(pg_catalog.=) $1"
	" AND v.origin OPERATOR(pg_catalog.=) 'import' AND NOT v.complete ORDER BY v.version",
	1, {INT8OID}
};

static FmoeStatement import_by_name = {
	"SELECT FROM fmoe.version v WHERE v.name OPERATOR(pg_catalog.=) $1 LIMIT 1",
	1, {TEXTOID}
};

static FmoeStatement lent_by_name = {
	"SELECT FROM fmoe.lent l WHERE pg_catalog.concat(l.party, '.', l.domain) OPERATOR(pg_catalog.=) $1 LIMIT 1",
	1, {TEXTOID}
};

bool
fmoe_is_import_name(const char *name)
{
	Datum		value = CStringGetTextDatum(name);

	return fmoe_own_found(&import_by_name, &value, false);
}

bool
fmoe_is_lent_name(const char *name)
{
	Datum		value = CStringGetTextDatum(name);

	return fmoe_own_found(&lent_by_name, &value, false);
}

static bool
may_select(const char *table, Oid role)
{
	return pg_class_aclcheck(fmoe_own_relation(table), role, ACL_SELECT) == ACLCHECK_OK;
}

bool
fmoe_may_read_lent(const FmoeLentHead *head, Oid role)
{
	FmoeDomain *lender;

	if (may_select("lent_part", role))
		return true;
	if (strcmp(head->party, fmoe_party_name()) != 0)
		return fmoe_may_sync_party(head->party, role);
	lender = fmoe_domain_lookup(head->domain);
	return may_select("shared_expert_part", role) ||
		(lender != NULL && (has_privs_of_role(role, lender->owner) ||
							fmoe_owner_grants(FMOE_OWNED_DOMAIN, lender->id, role)));
}

/* A head, and those of its facts that a version also has. */
typedef struct HeadFacts
{
	const FmoeLentHead *head;
	FmoeVersion *facts;
} HeadFacts;

/* Sets the facts; fails when the head is not valid. */
static void
read_facts(void *argument)
{
	const FmoeLentHead *head = ((HeadFacts *) argument)->head;
	FmoeVersion *facts = ((HeadFacts *) argument)->facts;

	fmoe_lent_check_head(head);
	facts->version = head->version;
	facts->model = head->model;
	facts->origin = "peer";
	facts->holdout = fmoe_holdout_names[FMOE_HOLDOUT_NONE];
	facts->events = head->events;
	facts->users = head->users;
	facts->items = head->items;
	facts->last_event = NAN;
	facts->bytes = head->bytes;
	facts->checksum = fmoe_checksum_parse(head->checksum);
	fmoe_lent_config(head, &facts->config);
}

void
fmoe_lent_warn(const char *name, const ErrorData *error)
{
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("could not use the lent expert \"%s\": %s", name, error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("fmoe_forget() removes what a party has lent.")));
}

/* The same, but false and a WARNING for a head that is not valid. */
static bool
try_facts(const FmoeLentHead *head, FmoeVersion *facts)
{
	HeadFacts	both = {.head = head, .facts = facts};
	ErrorData  *error = fmoe_attempt(read_facts, &both);

	if (error != NULL)
		fmoe_lent_warn(fmoe_lent_name(head), error);
	return error == NULL;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const FmoeLent *) a)->name, ((const FmoeLent *) b)->name);
}

#define COLUMN_AMBIGUOUS 16		/* of newest_heads, behind those of a head */

/* Whether more than one database lends under the head's name: then none of them is meant. */
static bool
is_ambiguous(const FmoeLentHead *head, bool ambiguous)
{
	if (ambiguous)
		ereport(WARNING,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("the lent expert \"%s\" is not used: more than one database lends as party \"%s\"",
						fmoe_lent_name(head), head->party),
				 errdetail("The column party_id of fmoe.experts tells them apart."),
				 errhint("Give every database a setting fmoe.party of its own; SELECT fmoe_forget(%s), and fetch again.",
						 quote_literal_cstr(head->party))));
	return ambiguous;
}

/* Heads in the current context; own: those of the domain itself too. */
static List *
read_heads(const FmoeDomain *domain, bool own)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *heads = NIL;
	Datum		values[2];
	FmoeOwn		scope;

	values[0] = CStringGetTextDatum(fmoe_party_name());
	values[1] = CStringGetTextDatum(own ? "" : domain->name);
	fmoe_own_begin(&scope);
	fmoe_own_execute(&newest_heads, values, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		FmoeLentHead *head;
		const char *problem;
		bool		isnull;

		head = fmoe_lent_head_of_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &problem);
		if (!is_ambiguous(head, DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
														   COLUMN_AMBIGUOUS, &isnull))))
			heads = lappend(heads, head);
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&scope);
	return heads;
}

/* Numbers of the versions that are encoders only. */
static List *
read_imports(const FmoeDomain *domain)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *versions = NIL;
	Datum		value = Int64GetDatum(domain->id);
	FmoeOwn		own;

	fmoe_own_begin(&own);
	fmoe_own_execute(&imported_encoders, &value, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		bool		isnull;

		versions = lappend_int(versions, DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
																	 1, &isnull)));
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	return versions;
}

/* What trainings exchange, or all else. */
static int
list_lent(const FmoeDomain *domain, bool own, bool exchanges, FmoeLent **list)
{
	List	   *heads = read_heads(domain, own);
	List	   *imports = exchanges ? NIL : read_imports(domain);
	FmoeLent   *lent = palloc0(sizeof(FmoeLent) * (list_length(heads) + list_length(imports) + 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, heads)
	{
		FmoeLentHead *head = lfirst(cell);

		if (!try_facts(head, &lent[n].facts) || fmoe_lent_is_exchange(head, &lent[n].facts.config) != exchanges)
			continue;
		lent[n].exchange = exchanges;
		lent[n].name = fmoe_lent_name(head);
		lent[n].readable = fmoe_may_read_lent(head, GetUserId()) && fmoe_may_read_lent(head, domain->owner);
		lent[n++].key = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&head->id)));
	}
	foreach(cell, imports)
	{
		lent[n].facts = *fmoe_find_version(domain, lfirst_int(cell));
		lent[n].name = unconstify(char *, lent[n].facts.name);
		lent[n].readable = true;
		lent[n].key = psprintf("import:" INT64_FORMAT, lent[n].facts.version_id);
		n++;
	}
	qsort(lent, n, sizeof(FmoeLent), compare_names);
	*list = lent;
	return n;
}

int
fmoe_lent_list(const FmoeDomain *domain, bool own, FmoeLent **list)
{
	return list_lent(domain, own, false, list);
}

int
fmoe_exchange_list(const FmoeDomain *domain, FmoeLent **list)
{
	return list_lent(domain, false, true, list);
}

/*
 * forget.c
 *	  fmoe_forget_user: deletes what versions hold of a user alone, and tells what else may remember that user.
 *
 * Rows of a user can be deleted; what was learned of many together cannot be taken apart, so it is
 * told.  Who wants that to forget, too, deletes the user's interactions and trains anew.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "pg/ingest/ingest.h"
#include "pg/lend/lend.h"

PG_FUNCTION_INFO_V1(fmoe_forget_user);

static FmoeStatement delete_rows = {
	"DELETE FROM fmoe.private_row r USING fmoe.version v WHERE v.version_id OPERATOR(pg_catalog.=) r.version_id"
	" AND v.domain_id OPERATOR(pg_catalog.=) $1 AND r.user_id OPERATOR(pg_catalog.=) $2",
	2, {INT8OID, TEXTOID}
};

/* It holds the rows of all users, and which is whose is not written there. */
static FmoeStatement delete_checkpoint = {
	"DELETE FROM fmoe.checkpoint WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement delete_training = {
	"DELETE FROM fmoe.training WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement count_running = {
	"SELECT pg_catalog.count(*) FROM fmoe._progress() p WHERE p.domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement count_versions = {
	"SELECT pg_catalog.count(*) FROM fmoe.version WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement count_lent = {
	"SELECT pg_catalog.count(*) FROM fmoe.lent WHERE party OPERATOR(pg_catalog.=) $1 AND domain OPERATOR(pg_catalog.=) $2",
	2, {TEXTOID, TEXTOID}
};

typedef struct Events
{
	const char *domain;
	const char *user;
	int64		n;
} Events;

static void
count_event(void *argument, FmoeRow *row)
{
	((Events *) argument)->n++;
}

static Datum
id_of(const FmoeDomain *domain, const char *user)
{
	return fmoe_convert(fmoe_converter(TEXTOID, domain->user_type), CStringGetTextDatum(user));
}

/* As the caller, who may be none that may read them. */
static void
count_events(void *argument)
{
	Events	   *events = argument;
	const FmoeDomain *domain = fmoe_domain_open(events->domain, FMOE_USE);

	fmoe_read_history(domain, id_of(domain, events->user), DT_NOEND, count_event, events);
}

/* n negative: not known. */
static void
put(ReturnSetInfo *result, const char *place, int64 n, bool forgotten)
{
	Datum		values[3] = {CStringGetTextDatum(place), Int64GetDatum(n), BoolGetDatum(forgotten)};
	bool		nulls[3] = {false, n < 0, false};

	if (n != 0)
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The user that the call means, as text: ids of any type are given so to the functions here. */
static char *
user_argument(FunctionCallInfo fcinfo)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(OidIsValid(type) ? type : TEXTOID, &output, &varlena);
	return OidOutputFunctionCall(output, PG_GETARG_DATUM(1));
}

/* The text of an id, as its type writes it. */
static char *
canonical(const FmoeDomain *domain, const char *user)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(domain->user_type, &output, &varlena);
	return OidOutputFunctionCall(output, id_of(domain, user));
}

Datum
fmoe_forget_user(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *user = user_argument(fcinfo);
	FmoeDomain *domain;
	Datum		values[2];
	Datum		names[2];
	Events		events = {.user = user};

	InitMaterializedSRF(fcinfo, 0);
	fmoe_fresh_begin();
	domain = fmoe_domain_find(text_to_cstring(PG_GETARG_TEXT_PP(0)), FMOE_MANAGE);
	fmoe_lock_domain(domain);
	events.domain = domain->name;
	values[0] = Int64GetDatum(domain->id);
	values[1] = CStringGetTextDatum(canonical(domain, user));
	names[0] = CStringGetTextDatum(fmoe_party_name());
	names[1] = CStringGetTextDatum(domain->name);
	put(result, "rows of the user in versions", (int64) fmoe_own_change(&delete_rows, values, NULL), true);
	(void) fmoe_own_change(&delete_checkpoint, values, NULL);
	put(result, "unfinished training", (int64) fmoe_own_change(&delete_training, values, NULL), true);
	put(result, "running training", fmoe_own_int64(&count_running, values, true), false);
	if (fmoe_attempt(count_events, &events) != NULL)
		events.n = -1;
	put(result, "interactions", events.n, false);
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(domain->users)))
		put(result, "user table", -1, false);
	put(result, "shared weights and counts of versions", fmoe_own_int64(&count_versions, values, true), false);
	put(result, "lent experts", fmoe_own_int64(&count_lent, names, true), false);
	fmoe_fresh_end();
	return (Datum) 0;
}

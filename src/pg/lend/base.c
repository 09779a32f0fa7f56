/*
 * base.c
 *	  Lent models that versions of this database are built on.
 *
 * Such a version holds what was learned on top, and names its base by checksum.
 * The base stays where lent experts are, once for all that use it, and may not go
 * while one does, or while an adapter of it is lent here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/lend/lend.h"

static FmoeStatement lent_by_checksum = {
	"SELECT " FMOE_LENT_COLUMNS " FROM fmoe.lent l WHERE l.checksum OPERATOR(pg_catalog.=) $1"
	" AND l.bytes OPERATOR(pg_catalog.=)"
	"  (SELECT pg_catalog.sum(pg_catalog.octet_length(p.data)) FROM fmoe.lent_part p"
	"   WHERE p.lent_id OPERATOR(pg_catalog.=) l.lent_id)"
	" ORDER BY l.created_at DESC, l.lent_id LIMIT 1",
	1, {TEXTOID}
};

static FmoeStatement import_by_checksum = {
	"SELECT d.name, v.version FROM fmoe.version v JOIN fmoe.domain d ON d.domain_id OPERATOR(pg_catalog.=) v.domain_id"
	" WHERE v.checksum OPERATOR(pg_catalog.=) $1 AND v.origin OPERATOR(pg_catalog.=) 'import' AND NOT v.complete"
	" ORDER BY v.version_id LIMIT 1",
	1, {TEXTOID}
};

static FmoeStatement user_of_base = {
	"SELECT b.name, b.used_by FROM (SELECT $1 AS name, " FMOE_BASE_USER("$2", "true", "true") " AS used_by) b"
	" WHERE b.used_by IS NOT NULL",
	2, {TEXTOID, TEXTOID}
};

/* ---------------------------------------------------------------- finding */

/* The head of a lent model of that checksum, in the current context; NULL: none is here. */
static FmoeLentHead *
find_lent(const char *checksum)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = CStringGetTextDatum(checksum);
	const char *problem = NULL;
	FmoeLentHead *head = NULL;
	FmoeOwn		own;

	fmoe_own_begin(&own);
	fmoe_own_execute(&lent_by_checksum, &value, NULL, true, 1);
	if (SPI_processed > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		head = fmoe_lent_head_of_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &problem);
		MemoryContextSwitchTo(old);
	}
	fmoe_own_end(&own);
	return head;
}

/* The import of that checksum, in the current context; NULL: none is here. */
static FmoeVersion *
find_import(const char *checksum)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = CStringGetTextDatum(checksum);
	char	   *domain = NULL;
	int			version = 0;
	FmoeOwn		own;

	fmoe_own_begin(&own);
	fmoe_own_execute(&import_by_checksum, &value, NULL, true, 1);
	if (SPI_processed > 0)
	{
		domain = MemoryContextStrdup(context, fmoe_result_text(1));
		version = DatumGetInt32(fmoe_result_column(2, NULL));
	}
	fmoe_own_end(&own);
	return domain != NULL ? fmoe_find_version(fmoe_domain_lookup(domain), version) : NULL;
}

FmoeLent *
fmoe_find_base(const char *checksum, Oid role)
{
	FmoeLent   *lent = palloc0(sizeof(FmoeLent));
	FmoeLentHead *head = find_lent(checksum);
	FmoeVersion *import = head == NULL ? find_import(checksum) : NULL;

	if (head == NULL && import == NULL)
		return NULL;
	lent->readable = true;
	if (import != NULL)
	{
		lent->facts = *import;
		lent->name = unconstify(char *, import->name);
		lent->key = psprintf("import:" INT64_FORMAT, import->version_id);
		return lent;
	}
	fmoe_lent_check_head(head);
	lent->facts.model = head->model;
	lent->facts.checksum = fmoe_checksum_parse(head->checksum);
	fmoe_lent_config(head, &lent->facts.config);
	lent->name = fmoe_lent_name(head);
	lent->readable = !OidIsValid(role) || fmoe_may_read_lent(head, role);
	lent->key = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&head->id)));
	return lent;
}

int
fmoe_base_arrays(const char *checksum, FnnArray **arrays)
{
	FmoeLent   *lent = fmoe_find_base(checksum, InvalidOid);
	FmoeExpertFile *file;

	if (lent == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the base of checksum %s is not here", checksum),
				 errhint("SELECT fmoe_sync() fetches it from a peer that lends it; fmoe_import() brings it in from a file.")));
	file = fmoe_lent_read(lent);
	for (int i = 0; i < file->n_arrays; i++)
	{
		char		name[2 * FNN_NAME_MAX];

		snprintf(name, sizeof(name), FMOE_BASE_PREFIX "%s", file->arrays[i].name);
		strlcpy(file->arrays[i].name, name, FNN_NAME_MAX);
	}
	*arrays = file->arrays;
	return file->n_arrays;
}

/* ---------------------------------------------------------------- in use */

void
fmoe_check_none_used(FmoeStatement *statement, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *name = NULL;
	char	   *user = NULL;
	FmoeOwn		own;

	fmoe_own_begin(&own);
	fmoe_own_execute(statement, values, nulls, false, 1);
	if (SPI_processed > 0)
	{
		name = MemoryContextStrdup(context, fmoe_result_text(1));
		user = MemoryContextStrdup(context, fmoe_result_text(2));
	}
	fmoe_own_end(&own);
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("expert \"%s\" is in use", name),
				 errdetail("It is the base of %s.", user),
				 errhint("Drop, withdraw or forget what is built on it first.")));
}

void
fmoe_check_not_used(const char *name, const char *checksum)
{
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(checksum)};

	fmoe_check_none_used(&user_of_base, values, NULL);
}

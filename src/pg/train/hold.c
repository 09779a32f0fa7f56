/*
 * hold.c
 *	  What a training holds while it runs: transactions, and a lock on its domain.
 *
 * The lock is advisory, and lets one training of a domain run at a time.  Where the
 * training commits, it is a lock of the session, which is released by hand; inside
 * one transaction it is the transaction's.
 *
 * Between two transactions anybody may drop or alter the domain, so each one that
 * writes looks first whether the domain still has the columns that were read, and
 * locks its row.  Nor is anybody kept from dropping the extension, and from making
 * it anew with a domain of the same id.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "pg/train/training.h"

/* Fourth field of these advisory locks; the SQL functions for such locks use other values. */
#define LOCK_CLASS 0xF30E

#define FIRST_OPTIONAL 7		/* of domain_unchanged's parameters; the others follow as FmoeOptional has them */

static FmoeStatement domain_unchanged = {
	"SELECT name FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1"
	" AND fmoe._to_regclass(interactions)::pg_catalog.oid OPERATOR(pg_catalog.=) $2"
	" AND user_column OPERATOR(pg_catalog.=) $3 AND item_column OPERATOR(pg_catalog.=) $4"
	" AND time_column OPERATOR(pg_catalog.=) $5"
	" AND fmoe._to_regtype(item_type)::pg_catalog.oid OPERATOR(pg_catalog.=) $6 AND time_unit IS NOT DISTINCT FROM $7"
	" AND label_column IS NOT DISTINCT FROM $8 AND order_column IS NOT DISTINCT FROM $9"
	" AND basket_column IS NOT DISTINCT FROM $10 AND weight_column IS NOT DISTINCT FROM $11 FOR KEY SHARE",
	FIRST_OPTIONAL + FMOE_OPTIONAL_COLUMNS,
	{INT8OID, OIDOID, TEXTOID, TEXTOID, TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}
};

void
fmoe_training_commit(FmoeTraining *training)
{
	if (training->fresh)
		fmoe_fresh_end();
	training->fresh = false;
	if (training->atomic)
		return;
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	SPI_commit();
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* What ends the call whatever it was about. */
static bool
ends_all(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		error->sqlerrcode == ERRCODE_OUT_OF_MEMORY;
}

void
fmoe_training_commit_reading(FmoeTraining *training)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	Assert(!training->atomic);
	if (training->fresh)
		fmoe_fresh_end();
	training->fresh = false;
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		/* SPI has rolled back, and begun the next transaction */
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	MemoryContextSwitchTo(context);
	if (error != NULL && ends_all(error))
		ReThrowError(error);
	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not end a transaction with other databases: %s", error->message)));
}

static LOCKTAG
domain_lock(int64 domain_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((uint64) domain_id >> 32), (uint32) domain_id, LOCK_CLASS);
	return tag;
}

/* The process that holds a lock; 0: none does any more. */
static int
lock_holder(const LOCKTAG *tag)
{
	VirtualTransactionId *holder = GetLockConflicts(tag, ExclusiveLock, NULL);
	PGPROC	   *process;

	if (!VirtualTransactionIdIsValid(holder[0]))
		return 0;
	process = fmoe_lock_holder(holder[0]);
	return process == NULL ? 0 : process->pid;
}

void
fmoe_training_lock(FmoeTraining *training)
{
	LOCKTAG		tag = domain_lock(training->domain->id);

	if (LockAcquire(&tag, ExclusiveLock, !training->atomic, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("domain \"%s\" is being trained by process %d", training->domain->name, lock_holder(&tag)),
				 errhint("Its state is in fmoe.progress; SELECT pg_cancel_backend(pid) ends it.")));
	training->locked = !training->atomic;
}

void
fmoe_training_unlock(FmoeTraining *training)
{
	LOCKTAG		tag;

	if (!training->locked)
		return;
	tag = domain_lock(training->domain->id);
	LockRelease(&tag, ExclusiveLock, true);
	training->locked = false;
}

static void
set_text(Datum *values, char *nulls, int column, const char *text)
{
	nulls[column] = text != NULL ? ' ' : 'n';
	values[column] = text != NULL ? CStringGetTextDatum(text) : (Datum) 0;
}

void
fmoe_training_check_extension(const FmoeTraining *training)
{
	LockRelationOid(training->tables, AccessShareLock);
	if (fmoe_own_relation("domain") != training->tables)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension fmoe was dropped while domain \"%s\" was being trained",
						training->domain->name)));
}

char *
fmoe_training_recheck(const FmoeTraining *training)
{
	const FmoeDomain *domain = training->domain;
	FmoeOwn		own;
	MemoryContext caller = CurrentMemoryContext;
	char	   *name = NULL;
	Datum		values[FIRST_OPTIONAL + FMOE_OPTIONAL_COLUMNS];
	char		nulls[lengthof(values)];

	fmoe_training_check_extension(training);
	memset(nulls, ' ', sizeof(nulls));
	fmoe_own_begin(&own);
	values[0] = Int64GetDatum(domain->id);
	values[1] = ObjectIdGetDatum(domain->interactions);
	values[2] = CStringGetTextDatum(domain->user_column);
	values[3] = CStringGetTextDatum(domain->item_column);
	values[4] = CStringGetTextDatum(domain->time_column);
	values[5] = ObjectIdGetDatum(domain->item_type);
	set_text(values, nulls, 6, fmoe_time_unit_names[domain->time_unit]);
	for (int i = 0; i < FMOE_OPTIONAL_COLUMNS; i++)
		set_text(values, nulls, FIRST_OPTIONAL + i, domain->optional[i].name);
	fmoe_own_execute(&domain_unchanged, values, nulls, false, 0);
	if (SPI_processed > 0)
		name = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	fmoe_own_end(&own);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" was dropped or altered while it was being trained", domain->name)));
	return name;
}

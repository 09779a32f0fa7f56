/*
 * users.c
 *	  Reads a whole table of interactions user by user.
 *
 * The server sorts by user, and the executor hands each row to a receiver as it
 * is made: however large the table, no more than one user is in memory here.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "pg/ingest/ingest_private.h"

/* Hands rows from the executor to the caller's function. */
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

static bool
users_row(TupleTableSlot *slot, DestReceiver *self)
{
	UsersReceiver *users = (UsersReceiver *) self;
	FmoeRow		row;
	bool		first;
	bool		usable;

	slot_getallattrs(slot);
	if (slot->tts_isnull[0])
		return true;
	usable = fmoe_row(&row, users->domain, slot->tts_values[0], slot->tts_values + 1,
					  slot->tts_isnull + 1) == FMOE_TAKEN;
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
	if (!usable)
	{
		if (first)
			users->take(users->argument, users->user, true, NULL);
		return true;
	}
	if (users->item_varlena)
		row.item = PointerGetDatum(PG_DETOAST_DATUM(row.item));
	users->take(users->argument, users->user, first, &row);
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
	char	   *sql = psprintf("%s ORDER BY %s", fmoe_table_query(domain), quote_identifier(domain->user_column));
	FmoeReading reading;
	int			result;

	fmoe_receiver_init(&users.receiver, users_row);
	(void) fmoe_column_type(domain->interactions, domain->user_column, &users.collation);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	fmoe_read_as(&reading, fmoe_domain_reader(domain, domain->interactions));
	result = SPI_execute_extended(sql, &options);
	fmoe_read_end(&reading);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not read the histories: %s", SPI_result_code_string(result));
	SPI_finish();
	MemoryContextDelete(users.context);
}

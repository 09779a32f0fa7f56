/*
 * identity.c
 *	  Which database a party is, whatever it calls itself.
 *
 * Names of parties are given by hand, and the default is the name of the database:
 * two databases may have the same, and one that was dropped may be made anew.  So
 * a database has a random identity, and the id of each thing that it
 * lends begins with it.  An id travels wherever the row does, by postgres_fdw and
 * by logical replication, and nothing is known of the row without it.
 *
 * Such an id is a UUID of version 8 (RFC 9562): 60 bits of identity, 62 random
 * ones.  Ids of before there were identities have version 4 and say nothing.  An
 * identity is no secret and proves nothing: it keeps apart what is different by
 * mistake.  A copy of a database has the identity of the first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/lend/lend.h"

#define IDENTITY_BYTES 8
#define IDENTITY_TEXT 18		/* characters of the first half: xxxxxxxx-xxxx-8xxx */
#define VERSION_BYTE 6
#define VERSION_8 0x80

static FmoeStatement make_identity = {
	"INSERT INTO fmoe.party (party_id) VALUES (pg_catalog.gen_random_uuid())",
	0
};

static FmoeStatement read_identity = {
	"SELECT party_id FROM fmoe.party ORDER BY made_at, party_id LIMIT 1",
	0
};

void
fmoe_new_lent_id(pg_uuid_t * id)
{
	FmoeOwn		own;

	memcpy(id, DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0)), sizeof(pg_uuid_t));
	fmoe_own_begin(&own);
	fmoe_own_execute(&read_identity, NULL, NULL, false, 1);
	/* a restore may have left the table empty */
	if (SPI_processed == 0)
	{
		fmoe_own_execute(&make_identity, NULL, NULL, false, 0);
		fmoe_own_execute(&read_identity, NULL, NULL, false, 1);
	}
	memcpy(id, DatumGetUUIDP(fmoe_result_column(1, NULL)), IDENTITY_BYTES);
	fmoe_own_end(&own);
	id->data[VERSION_BYTE] = (id->data[VERSION_BYTE] & 0x0f) | VERSION_8;
}

char *
fmoe_lent_party_id(const pg_uuid_t * id)
{
	char	   *text;

	if ((id->data[VERSION_BYTE] & 0xf0) != VERSION_8)
		return NULL;
	text = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
	text[IDENTITY_TEXT] = '\0';
	return text;
}

PG_FUNCTION_INFO_V1(fmoe_party_id);
Datum
fmoe_party_id(PG_FUNCTION_ARGS)
{
	char	   *identity = fmoe_lent_party_id(PG_GETARG_UUID_P(0));

	if (identity == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(identity));
}

/*
 * private.c
 *	  Rows of single users, in the table fmoe.private_row.
 *
 * They are no array of a version: nothing that exports, lends, averages or caches versions
 * reads this table.  A row is read when its user asks, by the text of the user's id.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/store/store_private.h"

static FmoeStatement insert_row = {
	"INSERT INTO fmoe.private_row (version_id, user_id, data) VALUES ($1, $2, $3)",
	3, {INT8OID, TEXTOID, BYTEAOID}
};

static FmoeStatement select_row = {
	"SELECT data FROM fmoe.private_row WHERE version_id OPERATOR(pg_catalog.=) $1 AND user_id OPERATOR(pg_catalog.=) $2",
	2, {INT8OID, TEXTOID}
};

/* A user's id as the table has it. */
static Datum
text_of(Oid type, Datum user)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(type, &output, &varlena);
	return CStringGetTextDatum(OidOutputFunctionCall(output, user));
}

void
fmoe_store_private(int64 version_id, const FmoeVocabulary *users, Oid type, const FnnTensor *rows)
{
	Size		bytes = (Size) rows->cols * sizeof(fnn_real);
	FmoeOwn		own;

	fmoe_own_begin(&own);
	for (int64 user = 0; user < rows->rows; user++)
	{
		Datum		values[3];
		bytea	   *data = palloc(VARHDRSZ + bytes);

		SET_VARSIZE(data, VARHDRSZ + bytes);
		memcpy(VARDATA(data), rows->value + user * rows->cols, bytes);
		values[0] = Int64GetDatum(version_id);
		values[1] = text_of(type, fmoe_vocabulary_id(users, (int32) user));
		values[2] = PointerGetDatum(data);
		fmoe_own_execute(&insert_row, values, NULL, false, 0);
		pfree(data);
		CHECK_FOR_INTERRUPTS();
	}
	fmoe_own_end(&own);
}

bool
fmoe_load_private(int64 version_id, Oid type, Datum user, int64 n, fnn_real *row)
{
	Datum		values[2];
	FmoeOwn		own;
	bool		found;

	values[0] = Int64GetDatum(version_id);
	values[1] = text_of(type, user);
	fmoe_own_begin(&own);
	fmoe_own_execute(&select_row, values, NULL, true, 1);
	found = SPI_processed > 0;
	if (found)
	{
		bool		isnull;
		bytea	   *data = DatumGetByteaPP(fmoe_result_column(1, &isnull));

		found = !isnull && VARSIZE_ANY_EXHDR(data) == (Size) n * sizeof(fnn_real);
		if (found)
			memcpy(row, VARDATA_ANY(data), (Size) n * sizeof(fnn_real));
	}
	fmoe_own_end(&own);
	/* whoever wrote there something else is served by the public model */
	return found && fnn_all_finite(row, (size_t) n);
}

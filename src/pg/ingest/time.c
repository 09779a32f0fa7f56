/*
 * time.c
 *	  Times of any type, as seconds since 1970.
 *
 * Numbers are taken as seconds already.  An infinite timestamp or date becomes
 * an infinite number, which the callers skip.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "pg/ingest/ingest.h"

#define EPOCH_SECONDS ((double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

static double
infinity(bool negative)
{
	return negative ? -get_float8_infinity() : get_float8_infinity();
}

double
fmoe_seconds(Oid type, Datum value)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			{
				Timestamp	time = DatumGetTimestamp(value);

				return TIMESTAMP_NOT_FINITE(time) ? infinity(TIMESTAMP_IS_NOBEGIN(time))
					: (double) time / USECS_PER_SEC + EPOCH_SECONDS;
			}
		case DATEOID:
			{
				DateADT		date = DatumGetDateADT(value);

				return DATE_NOT_FINITE(date) ? infinity(DATE_IS_NOBEGIN(date))
					: (double) date * SECS_PER_DAY + EPOCH_SECONDS;
			}
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return DatumGetFloat4(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
		default:
			elog(ERROR, "type %u is not a type of times", type);
	}
}

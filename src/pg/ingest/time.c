/*
 * time.c
 *	  Times of any type, as seconds since 1970.
 *
 * A double holds the microseconds of a timestamp until the year 2242, and
 * whole numbers up to 2^53.  What it cannot hold is kept beside it: it decides
 * only which of two events was earlier, and whether they happened at once.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/ingest/ingest_private.h"

#define EPOCH_SECONDS ((double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

#define MICROSECONDS_TOLD 2147483648.0	/* 2^31 seconds, of which a double has 2^-22 */

/* Seconds are a number times the first, divided by the second, so that few are rounded. */
static const struct
{
	double		times;
	double		per;
}			units[FMOE_TIME_UNITS] = {
	[FMOE_UNIT_UNSAID] = {1, 1},
	[FMOE_UNIT_SECONDS] = {1, 1},
	[FMOE_UNIT_MILLISECONDS] = {1, 1e3},
	[FMOE_UNIT_MICROSECONDS] = {1, 1e6},
	[FMOE_UNIT_DAYS] = {SECS_PER_DAY, 1}
};

static double
infinity(bool negative)
{
	return negative ? -get_float8_infinity() : get_float8_infinity();
}

double
fmoe_seconds_of_moment(TimestampTz moment)
{
	return TIMESTAMP_NOT_FINITE(moment) ? infinity(TIMESTAMP_IS_NOBEGIN(moment))
		: (double) moment / USECS_PER_SEC + EPOCH_SECONDS;
}

/* What is left of an integer when the double nearest to it is taken away. */
static double
integer_rest(int64 value, double nearest)
{
	/* 2^63 is no int64 */
	if (nearest >= -(double) PG_INT64_MIN)
		return (double) (value - PG_INT64_MAX) - 1;
	if (nearest < (double) PG_INT64_MIN)
		return (double) (value - PG_INT64_MIN);
	return (double) (value - (int64) nearest);
}

/* The same of a numeric; nearest stands for its shortest decimal digits, which are the numeric's own in most cases. */
static double
numeric_rest(Datum value, double nearest)
{
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	Datum		nearly;

	double_to_shortest_decimal_buf(nearest, digits);
	nearly = DirectFunctionCall3(numeric_in, CStringGetDatum(digits), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											  DirectFunctionCall2(numeric_sub, value, nearly)));
}

/* Whether it has so few decimal digits, three times four, that they are the shortest of the double nearest to it. */
static bool
is_short(Datum numeric)
{
	/* at least two bytes come before the digits, of which two bytes hold four */
	return VARSIZE_ANY_EXHDR(DatumGetPointer(numeric)) <= 2 + 3 * 2;
}

double
fmoe_number(Oid type, Datum value)
{
	switch (type)
	{
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
			elog(ERROR, "type %u is not a type of numbers", type);
	}
}

static double
seconds_of(Oid type, FmoeTimeUnit unit, Datum value)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			return fmoe_seconds_of_moment(DatumGetTimestamp(value));
		case DATEOID:
			{
				DateADT		date = DatumGetDateADT(value);

				return DATE_NOT_FINITE(date) ? infinity(DATE_IS_NOBEGIN(date))
					: (double) date * SECS_PER_DAY + EPOCH_SECONDS;
			}
		default:
			return fmoe_number(type, value) * units[unit].times / units[unit].per;
	}
}

/*
 * What seconds lost of a value.  It is taken from what the seconds alone tell,
 * so among values of equal seconds it orders them as they are.
 */
static double
rest_of(Oid type, FmoeTimeUnit unit, Datum value, double seconds)
{
	switch (type)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
			/* near enough for a double to tell microseconds apart after three roundings */
			if (seconds >= 0 && seconds < MICROSECONDS_TOLD)
				return 0;
			return integer_rest(DatumGetTimestamp(value), rint((seconds - EPOCH_SECONDS) * USECS_PER_SEC));
		case INT8OID:
			return integer_rest(DatumGetInt64(value), rint(seconds * units[unit].per / units[unit].times));
		case NUMERICOID:
			if (units[unit].times == units[unit].per && fabs(seconds) >= 1 && is_short(value))
				return 0;
			return numeric_rest(value, seconds * units[unit].per / units[unit].times);
		default:
			return 0;
	}
}

bool
fmoe_event_at(FmoeEvent *event, Oid type, FmoeTimeUnit unit, Datum time)
{
	*event = (FmoeEvent) {.time = seconds_of(type, unit, time), .weight = 1, .label = 1};
	if (!isfinite(event->time))
		return false;
	event->time_rest = rest_of(type, unit, time, event->time);
	return true;
}

bool
fmoe_is_after(Oid type, FmoeTimeUnit unit, Datum time, TimestampTz moment)
{
	if (TIMESTAMP_IS_NOEND(moment))
		return false;
	switch (type)
	{
		case TIMESTAMPTZOID:
			return DatumGetTimestampTz(time) > moment;
		case TIMESTAMPOID:
			return timestamp_cmp_timestamptz_internal(DatumGetTimestamp(time), moment) > 0;
		case DATEOID:
			return date_cmp_timestamptz_internal(DatumGetDateADT(time), moment) > 0;
		default:
			return seconds_of(type, unit, time) > fmoe_seconds_of_moment(moment);
	}
}

/* The moment of a version's newest event, in the session's time zone when it was local; never an error. */
PG_FUNCTION_INFO_V1(fmoe_last_event);
Datum
fmoe_last_event(PG_FUNCTION_ARGS)
{
	double		microseconds = (PG_GETARG_FLOAT8(0) - EPOCH_SECONDS) * USECS_PER_SEC;
	int			overflow = 0;
	Timestamp	time;

	if (isnan(microseconds))
		PG_RETURN_NULL();
	microseconds = rint(microseconds);
	if (microseconds < (double) MIN_TIMESTAMP)
		PG_RETURN_TIMESTAMPTZ(DT_NOBEGIN);
	if (microseconds >= (double) END_TIMESTAMP)
		PG_RETURN_TIMESTAMPTZ(DT_NOEND);
	time = (Timestamp) microseconds;
	if (!PG_GETARG_BOOL(1))
		PG_RETURN_TIMESTAMPTZ(time);
	PG_RETURN_TIMESTAMPTZ(timestamp2timestamptz_opt_overflow(time, &overflow));
}

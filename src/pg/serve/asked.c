/*
 * asked.c
 *	  What a call asks for: ids and arrays of any type, histories, k.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "pg/serve/serve.h"

#define DEFAULT_K 10
#define POLL_EVERY 4096			/* ids converted between two polls */

Oid
fmoe_argument_type(FunctionCallInfo fcinfo, int argument)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, argument);

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_INDETERMINATE_DATATYPE),
				 errmsg("could not determine the data type of an id"),
				 errhint("Cast it to the type of the domain's column.")));
	return type;
}

FmoeConverter *
fmoe_serving_converter(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to)
{
	FmoeIdConverter *known = &serving->converter[source];

	if (known->converter == NULL || known->from != from || known->to != to)
	{
		MemoryContext old = MemoryContextSwitchTo(serving->context);

		known->converter = NULL;
		known->converter = fmoe_converter(from, to);
		known->from = from;
		known->to = to;
		MemoryContextSwitchTo(old);
	}
	return known->converter;
}

Datum
fmoe_serving_id(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to, Datum id)
{
	FmoeConverter *converter = fmoe_serving_converter(serving, source, from, to);
	MemoryContext old = MemoryContextSwitchTo(serving->call);
	Datum		result = fmoe_convert(converter, id);

	MemoryContextSwitchTo(old);
	return result;
}

FmoeItems *
fmoe_serving_array(FmoeServing *serving, FmoeIdSource source, Datum array,
				   Oid item_type, const FmoeVocabulary *vocabulary)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call);
	ArrayType  *ids = DatumGetArrayTypeP(array);
	FmoeItems  *items = palloc0(sizeof(FmoeItems));
	FmoeConverter *converter = fmoe_serving_converter(serving, source, ARR_ELEMTYPE(ids), item_type);
	int16		length;
	bool		by_value;
	char		alignment;
	Datum	   *element;
	bool	   *element_null;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(ids), &length, &by_value, &alignment);
	deconstruct_array(ids, ARR_ELEMTYPE(ids), length, by_value, alignment, &element, &element_null, &n);
	items->item = palloc(Max(n, 1) * sizeof(int32));
	for (int i = 0; i < n; i++)
	{
		int32		index;

		if (i % POLL_EVERY == POLL_EVERY - 1)
			CHECK_FOR_INTERRUPTS();
		if (element_null[i])
			continue;
		index = fmoe_vocabulary_find(vocabulary, fmoe_convert(converter, element[i]));
		if (index >= 0)
			items->item[items->count++] = index;
	}
	MemoryContextSwitchTo(old);
	return items;
}

/* Seconds of an as_of argument: NaN without one, or at infinity; -infinity before all time. */
static double
as_of_seconds(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz moment;

	if (argument < 0 || PG_ARGISNULL(argument))
		return NAN;
	moment = PG_GETARG_TIMESTAMPTZ(argument);
	if (TIMESTAMP_IS_NOEND(moment))
		return NAN;
	if (TIMESTAMP_IS_NOBEGIN(moment))
		return -INFINITY;
	return fmoe_seconds(TIMESTAMPTZOID, TimestampTzGetDatum(moment));
}

/* Events of items that the vocabulary knows. */
typedef struct Events
{
	const FmoeVocabulary *vocabulary;
	int64		count;
	int64		capacity;
	FmoeEvent  *event;
} Events;

static void
take_event(void *argument, Datum item, double time)
{
	Events	   *events = argument;
	int32		index = fmoe_vocabulary_find(events->vocabulary, item);

	if (index < 0)
		return;
	if (events->count == events->capacity)
	{
		events->capacity *= 2;
		events->event = repalloc_huge(events->event, sizeof(FmoeEvent) * events->capacity);
	}
	events->event[events->count].time = time;
	events->event[events->count++].item = index;
}

FmoeItems *
fmoe_serving_history(FunctionCallInfo fcinfo, FmoeServing *serving, int user_argument, int as_of_argument)
{
	const FmoeDomain *domain = serving->domain;
	Datum		user = fmoe_serving_id(serving, FMOE_ID_USER, fmoe_argument_type(fcinfo, user_argument),
									   domain->user_type, PG_GETARG_DATUM(user_argument));
	double		as_of = as_of_seconds(fcinfo, as_of_argument);
	MemoryContext old = MemoryContextSwitchTo(serving->call);
	FmoeItems  *items = palloc0(sizeof(FmoeItems));
	Events		events = {.vocabulary = serving->loaded->vocabulary, .capacity = 64};

	events.event = palloc(sizeof(FmoeEvent) * events.capacity);
	if (as_of != -INFINITY)
		fmoe_read_history(domain, user, as_of, take_event, &events);
	fmoe_sort_events(events.count, events.event);

	items->count = events.count;
	items->item = palloc_extended(Max(events.count, 1) * sizeof(int32), MCXT_ALLOC_HUGE);
	items->time = palloc_extended(Max(events.count, 1) * sizeof(double), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < events.count; i++)
	{
		items->item[i] = events.event[i].item;
		items->time[i] = events.event[i].time;
	}
	MemoryContextSwitchTo(old);
	return items;
}

int32
fmoe_serving_k(FunctionCallInfo fcinfo, int argument)
{
	int32		k = PG_ARGISNULL(argument) ? DEFAULT_K : PG_GETARG_INT32(argument);

	if (k < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be at least 1")));
	return k;
}

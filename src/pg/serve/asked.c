/*
 * asked.c
 *	  What a call asks for: ids and arrays of any type, histories, k.
 *
 * Ids come in the types of a call's forms, or in any; they are converted to the
 * type of the domain's column, and items to indexes of the version's vocabulary.
 * What the vocabulary does not know is left out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/serve/serve.h"

#define DEFAULT_K 10
#define POLL_EVERY 4096			/* ids converted between two polls */
#define FIRST_EVENTS 64

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
fmoe_serve_converter(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to)
{
	FmoeIdConverter *known = &serving->site.converter[source];

	if (known->converter == NULL || known->from != from || known->to != to)
	{
		MemoryContext old = MemoryContextSwitchTo(serving->site.context);

		known->converter = NULL;
		known->converter = fmoe_converter(from, to);
		known->from = from;
		known->to = to;
		MemoryContextSwitchTo(old);
	}
	return known->converter;
}

Datum
fmoe_serve_id(FmoeServing *serving, FmoeIdSource source, Oid from, Oid to, Datum id)
{
	FmoeConverter *converter = fmoe_serve_converter(serving, source, from, to);
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	Datum		result = fmoe_convert(converter, id);

	MemoryContextSwitchTo(old);
	return result;
}

/* Of the version that answers; models that are values have their own. */
static const FmoeVocabulary *
serving_vocabulary(const FmoeServing *serving)
{
	return serving->call.loaded != NULL ? serving->call.loaded->vocabulary : NULL;
}

/* Of a list of items those that neither the version nor the item table knows. */
static void
leave_out_unknown(const FmoeServing *serving, FmoeItems *items)
{
	int32	   *item = unconstify(int32 *, items->events.item);
	int64		n = 0;

	if (serving->call.met == NULL)
		return;
	for (int64 i = 0; i < items->count; i++)
		if (fmoe_serve_knows(serving, item[i]))
			item[n++] = item[i];
	items->count = n;
}

FmoeItems *
fmoe_serve_array(FmoeServing *serving, FmoeIdSource source, Datum array,
				 Oid item_type, const FmoeVocabulary *vocabulary)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	ArrayType  *ids = DatumGetArrayTypeP(array);
	FmoeItems  *items = palloc0(sizeof(FmoeItems));
	int32	   *item;
	FmoeConverter *converter = fmoe_serve_converter(serving, source, ARR_ELEMTYPE(ids), item_type);
	int16		length;
	bool		by_value;
	char		alignment;
	Datum	   *element;
	bool	   *element_null;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(ids), &length, &by_value, &alignment);
	deconstruct_array(ids, ARR_ELEMTYPE(ids), length, by_value, alignment, &element, &element_null, &n);
	items->events.item = item = palloc(Max(n, 1) * sizeof(int32));
	for (int i = 0; i < n; i++)
	{
		int32		index;

		if (i % POLL_EVERY == POLL_EVERY - 1)
			CHECK_FOR_INTERRUPTS();
		if (element_null[i])
			continue;
		/* what is not to be answered need not be known */
		index = vocabulary != serving_vocabulary(serving)
			? fmoe_vocabulary_find(vocabulary, fmoe_convert(converter, element[i]))
			: source == FMOE_ID_EXCLUDE ? fmoe_serve_find(serving, fmoe_convert(converter, element[i]))
			: fmoe_serve_number(serving, fmoe_convert(converter, element[i]));
		if (index >= 0)
			item[items->count++] = index;
	}
	MemoryContextSwitchTo(old);
	fmoe_serve_ask(serving);
	leave_out_unknown(serving, items);
	return items;
}

static int
compare_items(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x < y ? -1 : x > y;
}

void
fmoe_serve_distinct(FmoeItems *items)
{
	int32	   *item = unconstify(int32 *, items->events.item);
	int64		n = 0;

	qsort(item, items->count, sizeof(int32), compare_items);
	for (int64 i = 0; i < items->count; i++)
		if (n == 0 || item[n - 1] != item[i])
			item[n++] = item[i];
	items->count = n;
}

void
fmoe_serve_basket(FmoeServing *serving, FmoeItems *items)
{
	fmoe_serve_distinct(items);
	items->events.basket = MemoryContextAllocZero(serving->call.context, sizeof(int32) * Max(items->count, 1));
}

/* The moment of an as_of argument; infinity without one. */
static TimestampTz
as_of_moment(FunctionCallInfo fcinfo, int argument)
{
	return argument < 0 || PG_ARGISNULL(argument) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(argument);
}

/* The events of a user whose items have numbers. */
typedef struct Known
{
	FmoeServing *serving;
	FmoeKeys   *keys;
	FmoeCollected events;
	FmoeCollected shown;		/* and not chosen */
	bool		labels;			/* that is among the events */
} Known;

static void
take_event(void *argument, FmoeRow *row)
{
	Known	   *known = argument;

	row->event.item = fmoe_serve_number(known->serving, row->item);
	if (row->event.label == 0 && !known->labels)
	{
		if (row->event.item >= 0)
			fmoe_collect(&known->shown, &row->event);
	}
	else if (fmoe_keys_take(known->keys, row))
		fmoe_collect(&known->events, &row->event);
}

unsigned
fmoe_serve_reads(const FmoeServing *serving)
{
	const FmoeModel *model = &serving->call.loaded->model;

	return fmoe_reads(model->expert[FMOE_MAIN].class, &model->config);
}

const FmoeFeatures *
fmoe_serve_users(FmoeServing *serving, int n, const Datum *user, int32 *row)
{
	const FmoeFeatures *like = &serving->call.loaded->model.user_features;
	FmoeFeatures *features;

	if (!fmoe_has_user_features(serving->moment.domain, fmoe_serve_reads(serving)) || like->count == 0)
		return NULL;
	features = palloc(sizeof(FmoeFeatures));
	fmoe_read_user_features(serving->moment.domain, n, user, like, features, row);
	return features;
}

/* Takes the numbers back that the item table has no row for.  Only with keys unknown items stay, which have -1. */
static void
ask_for_items(FmoeServing *serving, Known *known)
{
	FmoeEvents *events = &known->events.events;
	int32	   *shown = unconstify(int32 *, known->shown.events.item);
	int64		kept = 0;
	int64		n = 0;

	fmoe_serve_ask(serving);
	for (int64 i = 0; i < known->events.count && serving->call.met != NULL; i++)
	{
		if (!fmoe_serve_knows(serving, events->item[i]))
		{
			if (known->keys == NULL)
				continue;
			unconstify(int32 *, events->item)[i] = -1;
		}
		if (kept != i)
			fmoe_events_copy(events, kept, events, i, 1);
		kept++;
	}
	if (serving->call.met != NULL)
		known->events.count = kept;
	for (int64 i = 0; i < known->shown.count; i++)
		if (fmoe_serve_knows(serving, shown[i]))
			shown[n++] = shown[i];
	known->shown.count = n;
}

FnnTensor *
fmoe_serve_private(FmoeServing *serving, Datum user)
{
	const FmoeLoaded *loaded = serving->call.loaded;
	int64		n = fmoe_private_columns(&loaded->model.expert[FMOE_MAIN]);
	FnnTensor  *row;

	if (n == 0)
		return NULL;
	row = palloc0(sizeof(FnnTensor));
	row->rows = 1;
	row->cols = n;
	row->value = palloc(sizeof(fnn_real) * n);
	return fmoe_load_private(loaded->version->version_id, serving->moment.domain->user_type, user, n, row->value)
		? row : NULL;
}

FmoeItems *
fmoe_serve_history_of(FmoeServing *serving, Datum user, TimestampTz as_of)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	FmoeItems  *items = palloc0(sizeof(FmoeItems));
	int64		begin = 0;
	Known		known = {
		.serving = serving,
		.labels = (fmoe_serve_reads(serving) & FMOE_READS_LABELS) != 0,
		.keys = fmoe_keys_create(serving->moment.domain)
	};

	fmoe_collect_reserve(&known.events, FIRST_EVENTS);
	if (serving->moment.domain->optional[FMOE_LABEL_COLUMN].name != NULL)
		fmoe_collect_reserve(&known.shown, FIRST_EVENTS);
	fmoe_read_history(serving->moment.domain, user, as_of, take_event, &known);
	ask_for_items(serving, &known);
	fmoe_keys_settle(known.keys, &known.events.events, known.events.count);
	items->count = known.events.count;
	items->n_shown = known.shown.count;
	items->shown = unconstify(int32 *, known.shown.events.item);
	fmoe_events_place(&items->events, &known.events.events, items->count,
					  palloc_extended(Max(fmoe_events_bytes(&known.events.events, items->count), 1), MCXT_ALLOC_HUGE));
	fmoe_sort_events(&items->events, 0, &known.events.events, 0, items->count);
	fmoe_make_baskets(&items->events, items->count, 1, &begin, &items->count);
	items->users = fmoe_serve_users(serving, 1, &user, &items->user);
	if (!TIMESTAMP_IS_NOEND(as_of))
	{
		double	   *asked = palloc(sizeof(double));

		*asked = fmoe_seconds_of_moment(as_of);
		items->asked = asked;
	}
	items->private_row = fmoe_serve_private(serving, user);
	MemoryContextSwitchTo(old);
	return items;
}

/* fmoe_recommend('films', 42): the domain was meant, and the user comes first. */
static void
notice_domain(const char *user)
{
	if (fmoe_domain_seen(user) != NULL)
		ereport(NOTICE,
				(errmsg("user \"%s\" has no history, and a domain has that name", user),
				 errhint("The user comes first, and the domain by name: (42, domain => %s).",
						 quote_literal_cstr(user))));
}

/* Whether a text is certainly no id of a type that is not text. */
static bool
cannot_be(const char *text, Oid type)
{
	const char *allowed = NULL;

	if (fmoe_is_integer(type))
		allowed = " +-0123456789";
	else if (type == UUIDOID)
		allowed = "{}-0123456789abcdefABCDEF";
	return allowed != NULL && text[strspn(text, allowed)] != '\0';
}

FmoeItems *
fmoe_serve_history(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	const FmoeDomain *domain = serving->moment.domain;
	Oid			type = fmoe_argument_type(fcinfo, at->user);
	Datum		id = PG_GETARG_DATUM(at->user);
	char	   *name = NULL;
	FmoeItems  *items;

	if (type == TEXTOID)
	{
		MemoryContext old = MemoryContextSwitchTo(serving->call.context);

		name = TextDatumGetCString(id);
		MemoryContextSwitchTo(old);
	}
	/* the error that comes then says nothing of domains */
	if (name != NULL && cannot_be(name, domain->user_type))
		notice_domain(name);
	items = fmoe_serve_history_of(serving, fmoe_serve_id(serving, FMOE_ID_USER, type, domain->user_type, id),
								  as_of_moment(fcinfo, at->as_of));
	if (name != NULL && items->count + items->n_shown == 0)
		notice_domain(name);
	return items;
}

ArrayType *
fmoe_serve_ids(FunctionCallInfo fcinfo, FmoeServing *serving, int argument)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	Oid			type = fmoe_argument_type(fcinfo, argument);
	Datum		array = PG_GETARG_DATUM(argument);
	ArrayType  *ids;

	if (type == TEXTOID || type == UNKNOWNOID)
	{
		char	   *literal = type == TEXTOID ? TextDatumGetCString(array) : DatumGetCString(array);
		Oid			input;
		Oid			parameter;

		getTypeInputInfo(get_array_type(serving->moment.domain->item_type), &input, &parameter);
		array = OidInputFunctionCall(input, literal, parameter, -1);
	}
	else if (!OidIsValid(get_base_element_type(type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("ids are given as type %s, which is not an array", format_type_be(type)),
				 errhint("Use an array of ids, such as ARRAY[id].")));
	ids = DatumGetArrayTypeP(array);
	MemoryContextSwitchTo(old);
	return ids;
}

FmoeItems *
fmoe_serve_list(FunctionCallInfo fcinfo, FmoeServing *serving, FmoeIdSource source, int argument)
{
	if (argument < 0 || PG_ARGISNULL(argument))
		return NULL;
	return fmoe_serve_array(serving, source, PointerGetDatum(fmoe_serve_ids(fcinfo, serving, argument)),
							serving->moment.domain->item_type, serving->call.loaded->vocabulary);
}

FmoeFilter
fmoe_serve_filter(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at, const FmoeItems *history)
{
	FmoeFilter	filter = {0};
	char	   *condition = NULL;

	serving->call.keeps_seen = at->exclude_seen >= 0 && !PG_ARGISNULL(at->exclude_seen) &&
		!PG_GETARG_BOOL(at->exclude_seen);
	if (at->exclude_seen >= 0 && (PG_ARGISNULL(at->exclude_seen) || PG_GETARG_BOOL(at->exclude_seen)))
		filter.seen = history;
	/* first, since there are no others to be left out than are known then */
	filter.candidates = fmoe_serve_list(fcinfo, serving, FMOE_ID_CANDIDATES, at->candidates);
	filter.exclude = fmoe_serve_list(fcinfo, serving, FMOE_ID_EXCLUDE, at->exclude);
	if (at->filter >= 0 && !PG_ARGISNULL(at->filter))
	{
		MemoryContext old = MemoryContextSwitchTo(serving->call.context);

		condition = text_to_cstring(PG_GETARG_TEXT_PP(at->filter));
		MemoryContextSwitchTo(old);
	}
	fmoe_serve_allow(serving, condition, &filter);
	return filter;
}

int32
fmoe_serve_k(FunctionCallInfo fcinfo, int argument)
{
	int32		k = PG_ARGISNULL(argument) ? DEFAULT_K : PG_GETARG_INT32(argument);

	if (k < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be at least 1")));
	return k;
}

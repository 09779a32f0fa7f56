/*
 * explain.c
 *	  fmoe_explain: why these items?
 *
 * The items and scores are those of fmoe_recommend with the same arguments.  For each
 * of them the rows say what its score is made of, and what it rests on:
 *
 *	  part			 name				 weight			contribution
 *	  expert		 own, a lent one's,	 the gate's		of its score, weighed
 *					 popularity, markov
 *	  transitions	 the last basket's	 blend			what was added because the item
 *					 items								followed those in training
 *	  fallback		 recent, popularity, 1				the score: no model answered
 *					 markov
 *	  layer			 an expert whose states	 its share	NULL
 *					 are mixed after it
 *	  input			 an input of the item's	 NULL		of the expert own, what it adds
 *					 vector
 *	  map			 one of its maps	 the item's		of that
 *	  word			 a word that item	 NULL			of the expert content's, what the word adds
 *					 and history share
 *	  history		 an event's item	 NULL			what the score would lack without that event
 *
 * Contributions of experts, transitions and fallback add up to the score, to
 * rounding.  Words are of one expert's, the largest few; they are shown to who may
 * read the texts himself.  Those of history do not add up: each is the score less the score after the same
 * history without that one event, computed anew.  They are NULL where nothing
 * would be left of the history, since popularity would answer then, whose
 * scores do not compare.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "pg/serve/serve.h"

PG_FUNCTION_INFO_V1(fmoe_explain);
PG_FUNCTION_INFO_V1(fmoe_explain_as);

#define HISTORY_MAX 20			/* events whose part is computed, the last ones */
#define WORDS_MAX 5				/* of an item */

enum
{
	COLUMN_RANK,
	COLUMN_ITEM,
	COLUMN_SCORE,
	COLUMN_PART,
	COLUMN_NTH,
	COLUMN_NAME,
	COLUMN_WEIGHT,
	COLUMN_CONTRIBUTION,
	COLUMNS
};

typedef struct Explanation
{
	FmoeServing *serving;
	FmoeExpertSlot slot;
	const FmoeItems *history;
	FnnTopk    *best;
	FmoeConverter *to_result;
	FmoeConverter *to_text;
	int			n_parts;
	Datum		part[FMOE_EXPLAINED_MAX];	/* its kind, as text */
	int			nth[FMOE_EXPLAINED_MAX];	/* its number among those of its kind */
	Datum		name[FMOE_EXPLAINED_MAX];	/* text */
	double		weight[FMOE_EXPLAINED_MAX];
	double	   *contribution;	/* [best->count, n_parts] */
	int			layers;			/* after which experts are mixed */
	fnn_real   *layer_share;	/* [layers, n_parts - 1] */
	int			n_events;		/* of the history, the last one first */
	Datum		event[HISTORY_MAX]; /* text */
	int		   *n_words;		/* [best->count]; NULL: none are shown */
	FmoeWord   *word;			/* [best->count, WORDS_MAX] */
	fnn_real   *without;		/* [n_events, best->count], scores without each of them; NULL: nothing is left then */
} Explanation;

/* An item's id as text, in the current context. */
static Datum
item_text(const Explanation *explanation, int32 item)
{
	return fmoe_convert(explanation->to_text, fmoe_serve_item_id(explanation->serving, item));
}

static void
name_part(Explanation *explanation, int p, const char *part, int nth, Datum name)
{
	explanation->part[p] = CStringGetTextDatum(part);
	explanation->nth[p] = nth;
	explanation->name[p] = name;
}

/* The rows of a fallback's answer: each score is one part. */
static void
explain_counts(Explanation *explanation)
{
	const FmoeModel *model = fmoe_serve_model(explanation->serving);
	const FnnTopk *best = explanation->best;

	explanation->n_parts = 1;
	explanation->weight[0] = 1;
	explanation->contribution = fnn_alloc(explanation->serving->site.arena, sizeof(double) * best->count);
	for (int i = 0; i < best->count; i++)
		explanation->contribution[i] = best->score[i];
	name_part(explanation, 0, explanation->slot == FMOE_MAIN ? "expert" : "fallback", 1,
			  CStringGetTextDatum(model->expert[explanation->slot].class->name));
}

/* The items of the history's last basket. */
static Datum
last_basket_text(const Explanation *explanation)
{
	const FmoeItems *history = explanation->history;
	int64		begin = fmoe_basket_begin(&history->events, 0, history->count - 1);
	StringInfoData names;

	initStringInfo(&names);
	for (int64 i = begin; i < history->count; i++)
		appendStringInfo(&names, "%s%s", i > begin ? ", " : "",
						 TextDatumGetCString(item_text(explanation, history->events.item[i])));
	return CStringGetTextDatum(names.data);
}

static void
explain_model(Explanation *explanation)
{
	FmoeServing *serving = explanation->serving;
	const FmoeModel *model = fmoe_serve_model(serving);
	const FmoeItems *history = explanation->history;
	const FnnTopk *best = explanation->best;
	int			parts = fmoe_parts_count(model);
	size_t		bytes;
	FnnMark		mark;

	explanation->n_parts = parts;
	bytes = fnn_mul_size(fnn_arena_host(serving->site.arena), best->count, parts * sizeof(double));
	explanation->contribution = fnn_alloc(serving->site.arena, bytes);
	mark = fnn_arena_mark(serving->site.arena);
	fmoe_contributions(model, serving->site.arena, fmoe_serve_batch(serving, history, model->config.max_length),
					   best->count, best->item, explanation->weight, explanation->contribution);
	fnn_arena_reset(serving->site.arena, mark);
	explanation->layers = fmoe_mixed_layers(model);
	if (explanation->layers > 0)
	{
		explanation->layer_share = fnn_alloc_reals(serving->site.arena, explanation->layers, parts - 1);
		fmoe_weigh_layers(model, serving->site.arena, fmoe_serve_batch(serving, history, model->config.max_length),
						  explanation->layer_share);
	}
	for (int p = 0; p + 1 < parts; p++)
		name_part(explanation, p, "expert", p + 1,
				  CStringGetTextDatum(fmoe_domain_part_name(serving->moment.domain, model, p)));
	name_part(explanation, parts - 1, "transitions", 1, last_basket_text(explanation));
}

/* The words that the best items share with the history. */
static void
find_words(Explanation *explanation)
{
	FmoeServing *serving = explanation->serving;
	const FmoeModel *model = fmoe_serve_model(serving);
	FnnArena   *arena = serving->site.arena;
	int			count = explanation->best->count;
	FmoeBatch  *batch;
	FnnMark		mark;

	if (explanation->slot != FMOE_MAIN || !fmoe_may_read_texts(serving->moment.domain))
		return;
	explanation->n_words = fnn_alloc(arena, count * sizeof(int));
	explanation->word = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), count, WORDS_MAX * sizeof(FmoeWord)));
	mark = fnn_arena_mark(arena);
	batch = fmoe_serve_batch(serving, explanation->history, model->config.max_length);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		explanation->n_words[i] = fmoe_words(model, arena, batch, explanation->best->item[i], WORDS_MAX,
											 explanation->word + i * WORDS_MAX);
	}
	fnn_arena_reset(arena, mark);
}

/* A word as text in the database's encoding; what that has no character for is a question mark. */
static Datum
word_text(const FmoeWord *word)
{
	int			encoding = GetDatabaseEncoding();
	Oid			procedure = encoding == PG_UTF8 || encoding == PG_SQL_ASCII ? InvalidOid
		: FindDefaultConversionProc(PG_UTF8, encoding);
	StringInfoData text;

	if (!OidIsValid(procedure))
		return PointerGetDatum(cstring_to_text_with_len(word->name, word->bytes));
	initStringInfo(&text);
	for (size_t at = 0, length; at < word->bytes; at += length)
	{
		unsigned char *character = (unsigned char *) word->name + at;
		char		converted[MAX_CONVERSION_GROWTH * 4 + 1];

		length = Min((size_t) pg_utf_mblen(character), word->bytes - at);
		if (pg_do_encoding_conversion_buf(procedure, PG_UTF8, encoding, character, length, (unsigned char *) converted,
										  sizeof(converted), true) == (int) length)
			appendStringInfoString(&text, converted);
		else
			appendStringInfoChar(&text, '?');
	}
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

/* Scores of the best items without each of the last events. */
static void
leave_events_out(Explanation *explanation)
{
	FmoeServing *serving = explanation->serving;
	const FmoeModel *model = fmoe_serve_model(serving);
	const FmoeItems *history = explanation->history;
	int64		count = explanation->best->count;
	int64		n = history->count;
	FmoeItems	rest = {.count = n - 1};
	FnnMark		mark;

	explanation->n_events = (int) Min(n, HISTORY_MAX);
	for (int e = 0; e < explanation->n_events; e++)
		explanation->event[e] = item_text(explanation, history->events.item[n - 1 - e]);
	if (n < 2)
		return;
	explanation->without = fnn_alloc_reals(serving->site.arena, explanation->n_events, count);
	mark = fnn_arena_mark(serving->site.arena);
	fmoe_events_place(&rest.events, &history->events, rest.count,
					  fnn_alloc(serving->site.arena, fmoe_events_bytes(&history->events, rest.count)));
	/* all but the last event, then each earlier one gives its place to the one left out before it */
	fmoe_events_copy(&rest.events, 0, &history->events, 0, rest.count);
	for (int e = 0; e < explanation->n_events; e++)
	{
		FnnMark		before = fnn_arena_mark(serving->site.arena);

		CHECK_FOR_INTERRUPTS();
		if (e > 0)
			fmoe_events_copy(&rest.events, n - 1 - e, &history->events, n - e, 1);
		fmoe_scores_of(model, explanation->slot, serving->site.arena,
					   fmoe_serve_batch(serving, &rest, model->config.max_length), count, explanation->best->item,
					   explanation->without + e * count);
		fnn_arena_reset(serving->site.arena, before);
	}
	fnn_arena_reset(serving->site.arena, mark);
}

/* The rows of an item's words; values has what all rows of the item share. */
static void
put_words(const Explanation *explanation, ReturnSetInfo *result, int i, Datum *values)
{
	bool		nulls[COLUMNS] = {[COLUMN_WEIGHT] = true};

	values[COLUMN_PART] = CStringGetTextDatum("word");
	for (int w = 0; explanation->n_words != NULL && w < explanation->n_words[i]; w++)
	{
		const FmoeWord *word = &explanation->word[i * WORDS_MAX + w];

		values[COLUMN_NTH] = Int32GetDatum(w + 1);
		values[COLUMN_NAME] = word_text(word);
		values[COLUMN_CONTRIBUTION] = Float4GetDatum((float4) word->share);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* An input's name; that of a part, as rows of parts have it. */
static const char *
input_name(const Explanation *explanation, const char *input)
{
	const FmoeModel *model = fmoe_serve_model(explanation->serving);

	for (int p = 0; p + 1 < explanation->n_parts; p++)
		if (strcmp(fmoe_part_name(model, p), input) == 0)
			return fmoe_domain_part_name(explanation->serving->moment.domain, model, p);
	return input;
}

/* The rows of what an item's vector is made of; values has what all rows of the item share. */
static void
put_inputs(const Explanation *explanation, ReturnSetInfo *result, int i, Datum *values)
{
	FmoeServing *serving = explanation->serving;
	const FmoeModel *model = fmoe_serve_model(serving);
	FnnArena   *arena = serving->site.arena;
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeInputPart *part;
	int			n;
	int			inputs = 0;

	if (explanation->slot != FMOE_MAIN || model->expert[FMOE_MAIN].class->input_parts == NULL)
		return;
	part = fnn_alloc(arena, sizeof(FmoeInputPart) * FMOE_INPUT_PARTS_MAX);
	n = fmoe_input_parts(model, arena, fmoe_serve_batch(serving, explanation->history, model->config.max_length),
						 explanation->best->item[i], FMOE_INPUT_PARTS_MAX, part);
	for (int k = 0; k < n; k++)
	{
		bool		nulls[COLUMNS] = {[COLUMN_WEIGHT] = isnan(part[k].weight),
		[COLUMN_CONTRIBUTION] = isnan(part[k].share)};

		values[COLUMN_PART] = CStringGetTextDatum(part[k].map > 0 ? "map" : "input");
		values[COLUMN_NTH] = Int32GetDatum(part[k].map > 0 ? part[k].map : ++inputs);
		values[COLUMN_NAME] = CStringGetTextDatum(input_name(explanation, part[k].input));
		values[COLUMN_WEIGHT] = Float4GetDatum((float4) part[k].weight);
		values[COLUMN_CONTRIBUTION] = Float4GetDatum((float4) part[k].share);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	fnn_arena_reset(arena, mark);
}

/* The rows of what experts count after each layer; values has what all rows of the item share. */
static void
put_layers(const Explanation *explanation, ReturnSetInfo *result, Datum *values)
{
	int			parts = explanation->n_parts - 1;
	bool		nulls[COLUMNS] = {[COLUMN_CONTRIBUTION] = true};

	if (explanation->layers == 0)
		return;
	values[COLUMN_PART] = CStringGetTextDatum("layer");
	for (int layer = 0; layer < explanation->layers; layer++)
		for (int p = 0; p < parts; p++)
		{
			values[COLUMN_NTH] = Int32GetDatum(layer + 1);
			values[COLUMN_NAME] = explanation->name[p];
			values[COLUMN_WEIGHT] = Float4GetDatum((float4) explanation->layer_share[layer * parts + p]);
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
}

static void
put_rows(const Explanation *explanation, ReturnSetInfo *result, int i)
{
	const FnnTopk *best = explanation->best;
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	values[COLUMN_RANK] = Int32GetDatum(i + 1);
	values[COLUMN_ITEM] = fmoe_convert(explanation->to_result,
									   fmoe_serve_item_id(explanation->serving, best->item[i]));
	values[COLUMN_SCORE] = Float4GetDatum(best->score[i]);
	for (int p = 0; p < explanation->n_parts; p++)
	{
		/* a version without blend adds nothing for transitions, to no item */
		if (p > 0 && p == explanation->n_parts - 1 && explanation->weight[p] == 0)
			continue;
		values[COLUMN_PART] = explanation->part[p];
		values[COLUMN_NTH] = Int32GetDatum(explanation->nth[p]);
		values[COLUMN_NAME] = explanation->name[p];
		values[COLUMN_WEIGHT] = Float4GetDatum((float4) explanation->weight[p]);
		values[COLUMN_CONTRIBUTION] =
			Float4GetDatum((float4) explanation->contribution[(int64) i * explanation->n_parts + p]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	put_layers(explanation, result, values);
	put_inputs(explanation, result, i, values);
	put_words(explanation, result, i, values);
	values[COLUMN_PART] = CStringGetTextDatum("history");
	nulls[COLUMN_WEIGHT] = true;
	for (int e = 0; e < explanation->n_events; e++)
	{
		values[COLUMN_NTH] = Int32GetDatum(e + 1);
		values[COLUMN_NAME] = explanation->event[e];
		nulls[COLUMN_CONTRIBUTION] = explanation->without == NULL;
		if (explanation->without != NULL)
			values[COLUMN_CONTRIBUTION] =
				Float4GetDatum(best->score[i] - explanation->without[(int64) e * best->count + i]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

static void
explain(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Explanation *explanation = palloc0(sizeof(Explanation));
	int32		k = fmoe_serve_k(fcinfo, at->k);
	FmoeFilter	filter;
	const FmoeModel *model;
	Oid			item_type;
	MemoryContext scratch;
	MemoryContext old;

	fmoe_serve_resolve(fcinfo, serving, at);
	fmoe_serve_meets(serving);
	item_type = serving->moment.domain->item_type;
	explanation->serving = serving;
	explanation->to_result = fmoe_converter(item_type, TupleDescAttr(result->setDesc, COLUMN_ITEM)->atttypid);
	explanation->to_text = fmoe_converter(item_type, TEXTOID);
	explanation->history = fmoe_serve_history(fcinfo, serving, at);
	explanation->slot = fmoe_serve_slot(serving, explanation->history->count);
	filter = fmoe_serve_filter(fcinfo, serving, at, explanation->history);
	model = fmoe_serve_model(serving);
	explanation->best = fmoe_serve_best(serving, model, explanation->slot, explanation->history, &filter, k);
	if (explanation->slot != FMOE_MAIN || !fmoe_has_vectors(model))
		explain_counts(explanation);
	else
		explain_model(explanation);
	find_words(explanation);
	leave_events_out(explanation);
	scratch = AllocSetContextCreate(serving->call.context, "fmoe explanation row", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	for (int i = 0; i < explanation->best->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		put_rows(explanation, result, i);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);
}

static Datum
explain_call(FunctionCallInfo fcinfo, const FmoeArguments *at)
{
	FmoeServing *serving = fmoe_serving(fcinfo);
	MemoryContext old;

	InitMaterializedSRF(fcinfo, 0);
	fmoe_serve_begin(serving);
	old = MemoryContextSwitchTo(serving->call.context);
	if (!PG_ARGISNULL(at->user))
		explain(fcinfo, serving, at);
	MemoryContextSwitchTo(old);
	return (Datum) 0;
}

Datum
fmoe_explain(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = FMOE_BY_USER(true, 0);

	return explain_call(fcinfo, &at);
}

Datum
fmoe_explain_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = FMOE_BY_USER(false, 1);

	return explain_call(fcinfo, &at);
}

/*
 * lookup.c
 *	  fmoe_score, fmoe_predict, fmoe_similar, fmoe_embedding: what a version knows
 *	  of given users and items.
 *
 * NULL for the user, the items or the item gives no rows, or NULL; NULL for
 * anything else is its default.  Scores are those of the expert that
 * fmoe_recommend would answer with (recommend.c), so they compare with its.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/serve/serve.h"

PG_FUNCTION_INFO_V1(fmoe_score_items);
PG_FUNCTION_INFO_V1(fmoe_score_as);
PG_FUNCTION_INFO_V1(fmoe_predict_items);
PG_FUNCTION_INFO_V1(fmoe_predict_as);
PG_FUNCTION_INFO_V1(fmoe_similar);
PG_FUNCTION_INFO_V1(fmoe_similar_as);
PG_FUNCTION_INFO_V1(fmoe_embedding);

#define CHUNK 65536				/* items between two polls */

/* ---------------------------------------------------------------- scores of given items */

/* Of fmoe_score: user, items, domain, as_of, version, from first on. */
#define SCORE(first) { \
	.user = (first), .item = (first) + 1, .history = -1, .k = -1, .domain = (first) + 2, \
	.exclude_seen = -1, .exclude = -1, .candidates = -1, .as_of = (first) + 3, .version = (first) + 4, \
	.filter = -1 \
}

/* Ids that were given, and which of them the version knows. */
typedef struct Given
{
	int			n;
	Datum	   *id;				/* [n], of the result's type */
	bool	   *id_null;		/* [n] */
	int			n_known;
	int32	   *known;			/* [n_known] indexes of items */
	int		   *of;				/* [n_known] which of the ids each of them is */
} Given;

/* Those whose numbers the item table has no row for. */
static void
leave_out_unknown(FmoeServing *serving, Given *given)
{
	int			n = 0;

	fmoe_serve_ask(serving);
	for (int i = 0; i < given->n_known; i++)
		if (fmoe_serve_knows(serving, given->known[i]))
		{
			given->of[n] = given->of[i];
			given->known[n++] = given->known[i];
		}
	given->n_known = n;
}

/* In the current context. */
static Given
given_items(FunctionCallInfo fcinfo, FmoeServing *serving, int argument)
{
	ArrayType  *items = fmoe_serve_ids(fcinfo, serving, argument);
	Oid			type = ARR_ELEMTYPE(items);
	Oid			item_type = serving->moment.domain->item_type;
	FmoeConverter *to_result = fmoe_serve_converter(serving, FMOE_ID_RESULT, type,
													fmoe_serve_result_type(fcinfo, serving));
	Given		given = {0};
	int16		length;
	bool		by_value;
	char		alignment;

	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	deconstruct_array(items, type, length, by_value, alignment, &given.id, &given.id_null, &given.n);
	given.known = palloc(Max(given.n, 1) * sizeof(int32));
	given.of = palloc(Max(given.n, 1) * sizeof(int));
	for (int i = 0; i < given.n; i++)
	{
		int32		index;

		if (i % CHUNK == CHUNK - 1)
			CHECK_FOR_INTERRUPTS();
		if (given.id_null[i])
			continue;
		index = fmoe_serve_number(serving, fmoe_serve_id(serving, FMOE_ID_ITEM, type, item_type, given.id[i]));
		given.id[i] = fmoe_convert(to_result, given.id[i]);
		if (index < 0)
			continue;
		given.of[given.n_known] = i;
		given.known[given.n_known++] = index;
	}
	leave_out_unknown(serving, &given);
	return given;
}

/*
 * Answers with the ids as they were given, each with the score of its item:
 * -Infinity for an item the version does not know, NaN, which is shown as NULL,
 * for a NULL.
 */
static void
answer_score(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	const FmoeModel *model;
	FmoeItems  *history;
	Given		given;
	fnn_real   *known_score;
	fnn_real   *score;

	fmoe_serve_resolve(fcinfo, serving, at);
	fmoe_serve_meets(serving);
	history = fmoe_serve_history(fcinfo, serving, at);
	given = given_items(fcinfo, serving, at->item);
	model = fmoe_serve_model(serving);
	score = palloc(Max(given.n, 1) * sizeof(fnn_real));
	known_score = palloc(Max(given.n, 1) * sizeof(fnn_real));
	fmoe_scores_of(model, fmoe_serve_slot(serving, history->count), serving->site.arena,
				   fmoe_serve_batch(serving, history, model->config.max_length),
				   given.n_known, given.known, known_score);
	for (int i = 0; i < given.n; i++)
		score[i] = (fnn_real) (given.id_null[i] ? NAN : -INFINITY);
	for (int i = 0; i < given.n_known; i++)
		score[given.of[i]] = known_score[i];
	MemoryContextSwitchTo(old);
	fmoe_serve_answer_ids(fcinfo, serving, given.n, given.id, given.id_null, score);
}

static void
require_live(const FmoeServing *serving)
{
	if (!serving->moment.whole)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no live version", serving->moment.domain->name),
				 errhint("Make one live with fmoe_deploy('%s', version).", serving->moment.domain->name)));
}

/* Error: the version that would answer gives no probabilities. */
static void
require_probabilities(const FmoeServing *serving)
{
	const FmoeVersion *version = serving->call.loaded->version;

	require_live(serving);
	if (fmoe_by_clicks(serving->call.loaded->model.expert[FMOE_MAIN].class))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("version %d of domain \"%s\" gives no probabilities", version->version,
					serving->moment.domain->name),
			 errdetail("Its model \"%s\" ranks items; its scores are no probabilities.", version->model),
			 errhint("Train a model of clicks, such as \"mrff\".")));
}

/*
 * Answers with the ids as they were given, each with the probability that the user
 * chooses the item when it is shown next: NULL for an item the version does not know.
 */
static void
answer_predict(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	const FmoeExpert *main;
	FmoeItems  *history;
	Given		given;
	fnn_real   *logit;
	fnn_real   *probability;

	fmoe_serve_resolve(fcinfo, serving, at);
	require_probabilities(serving);
	main = &serving->call.loaded->model.expert[FMOE_MAIN];
	history = fmoe_serve_history(fcinfo, serving, at);
	given = given_items(fcinfo, serving, at->item);
	probability = palloc(Max(given.n, 1) * sizeof(fnn_real));
	logit = palloc(Max(given.n, 1) * sizeof(fnn_real));
	main->class->score(main, serving->site.arena,
					   fmoe_serve_batch(serving, history, serving->call.loaded->model.config.max_length), 0,
					   given.n_known, given.known, logit);
	for (int i = 0; i < given.n; i++)
		probability[i] = (fnn_real) NAN;
	for (int i = 0; i < given.n_known; i++)
		probability[given.of[i]] = (fnn_real) (1 / (1 + exp(-(double) logit[i])));
	MemoryContextSwitchTo(old);
	fmoe_serve_answer_ids(fcinfo, serving, given.n, given.id, given.id_null, probability);
}

typedef void (*AnswerItems) (FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at);

static Datum
score_items(FunctionCallInfo fcinfo, const FmoeArguments *at, AnswerItems answer)
{
	FmoeServing *serving = fmoe_serving(fcinfo);

	if (!serving->rows.active)
	{
		fmoe_serve_begin(serving);
		if (!PG_ARGISNULL(at->user) && !PG_ARGISNULL(at->item))
			answer(fcinfo, serving, at);
	}
	return fmoe_serve_next(fcinfo, serving);
}

/* The ids are given back as they came, so any type can hold them. */
Datum
fmoe_score_items(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = SCORE(0);

	return score_items(fcinfo, &at, answer_score);
}

Datum
fmoe_score_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = SCORE(1);

	return score_items(fcinfo, &at, answer_score);
}

Datum
fmoe_predict_items(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = SCORE(0);

	return score_items(fcinfo, &at, answer_predict);
}

Datum
fmoe_predict_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = SCORE(1);

	return score_items(fcinfo, &at, answer_predict);
}

/* ---------------------------------------------------------------- neighbours */

static bool
has_vectors(const FmoeServing *serving)
{
	return serving->moment.whole && fmoe_has_vectors(&serving->call.loaded->model);
}

/* Whether the model tells items by what is known of them, and nothing else. */
static bool
reads_alone(const FmoeServing *serving)
{
	const FmoeExpertClass *class = serving->call.loaded->model.expert[FMOE_MAIN].class;

	return serving->moment.whole && fmoe_only_counts(class) && class->counter->first_day;
}

/* Of fmoe_similar: item, k, domain, exclude, candidates, version, filter, from first on. */
#define SIMILAR(is_fixed, first) { \
	.fixed = (is_fixed), .user = -1, .item = (first), .history = -1, .k = (first) + 1, .domain = (first) + 2, \
	.exclude_seen = -1, .exclude = (first) + 3, .candidates = (first) + 4, .as_of = -1, .version = (first) + 5, \
	.filter = (first) + 6 \
}

/* What the column source says of an item's neighbours. */
static const char *
similar_source(const FmoeServing *serving, const FmoeModel *model, int32 item)
{
	const FmoeExpert *popularity = &model->expert[FMOE_POPULARITY];

	if (!has_vectors(serving))
		return reads_alone(serving) ? model->expert[FMOE_MAIN].class->name : fmoe_slot_classes[FMOE_MARKOV]->name;
	if (!fmoe_mixes_neighbours(model))
		return "model";
	return item < model->n_items && popularity->class->counter->level(popularity, item) > 0 ? "mixed"
		: fmoe_slot_classes[FMOE_CONTENT]->name;
}

/*
 * Neighbours by the cosine of the model's item vectors, of contents, or of both.  Where
 * there are none, by a model that tells items by what is known of them, else what most
 * often followed the item.  The item itself is never among them; an item that neither the
 * version nor the item table knows has none.
 */
static void
answer_similar(FunctionCallInfo fcinfo, FmoeServing *serving, const FmoeArguments *at)
{
	int32		k = fmoe_serve_k(fcinfo, at->k);
	int32		item;
	FmoeItems	itself = {.count = 1, .events = {.item = &item}};
	FmoeFilter	filter;
	const FmoeModel *model;
	FnnTopk    *best;

	fmoe_serve_resolve(fcinfo, serving, at);
	fmoe_serve_meets(serving);
	item = fmoe_serve_number(serving, fmoe_serve_id(serving, FMOE_ID_ITEM, fmoe_argument_type(fcinfo, at->item),
													serving->moment.domain->item_type, PG_GETARG_DATUM(at->item)));
	fmoe_serve_ask(serving);
	if (!fmoe_serve_knows(serving, item))
		return;
	filter = fmoe_serve_filter(fcinfo, serving, at, NULL);
	filter.seen = &itself;
	model = fmoe_serve_model(serving);
	if (has_vectors(serving))
		best = fmoe_serve_nearest(serving, model, item, &filter, k);
	else
		best = fmoe_serve_best(serving, model, reads_alone(serving) ? FMOE_MAIN : FMOE_MARKOV, &itself, &filter, k);
	fmoe_serve_answer(fcinfo, serving, serving->call.loaded->vocabulary, serving->moment.domain->item_type,
					  best, similar_source(serving, model, item));
}

static Datum
similar(FunctionCallInfo fcinfo, const FmoeArguments *at)
{
	FmoeServing *serving = fmoe_serving(fcinfo);

	if (!serving->rows.active)
	{
		fmoe_serve_begin(serving);
		if (!PG_ARGISNULL(at->item))
			answer_similar(fcinfo, serving, at);
	}
	return fmoe_serve_next(fcinfo, serving);
}

Datum
fmoe_similar(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = SIMILAR(true, 0);

	return similar(fcinfo, &at);
}

Datum
fmoe_similar_as(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = SIMILAR(false, 1);

	return similar(fcinfo, &at);
}

/* ---------------------------------------------------------------- vectors */

typedef enum EmbeddingKind
{
	EMBEDDING_ITEM,
	EMBEDDING_USER
} EmbeddingKind;

static EmbeddingKind
embedding_kind(FunctionCallInfo fcinfo, int argument)
{
	char	   *kind;

	if (PG_ARGISNULL(argument))
		return EMBEDDING_ITEM;
	kind = text_to_cstring(PG_GETARG_TEXT_PP(argument));
	if (strcmp(kind, "item") == 0)
		return EMBEDDING_ITEM;
	if (strcmp(kind, "user") == 0)
		return EMBEDDING_USER;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized kind of embedding \"%s\"", kind),
			 errhint("Use \"item\" or \"user\".")));
}

static void
require_vectors(const FmoeServing *serving)
{
	const FmoeVersion *version = serving->call.loaded->version;

	if (has_vectors(serving))
		return;
	require_live(serving);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("version %d of domain \"%s\" has no vectors", version->version, serving->moment.domain->name),
			 fmoe_by_clicks(serving->call.loaded->model.expert[FMOE_MAIN].class) ?
			 errdetail("Its model \"%s\" gives probabilities.", version->model) :
			 fmoe_only_counts(serving->call.loaded->model.expert[FMOE_MAIN].class) ?
			 errdetail("Its model \"%s\" only counts.", version->model) :
			 errdetail("Its scores are no products of a user's vector and an item's."),
			 errhint("Train a model that has, such as \"%s\".", FMOE_DEFAULT_MODEL)));
}

static ArrayType *
real_array(const fnn_real *value, int64 n)
{
	Datum	   *element = palloc(n * sizeof(Datum));

	for (int64 i = 0; i < n; i++)
		element[i] = Float4GetDatum(value[i]);
	return construct_array(element, n, FLOAT4OID, sizeof(float4), true, TYPALIGN_INT);
}

/*
 * kind 'item': the item's vector; 'user': the model's state after the user's
 * history, whose product with an item's vector is that item's score.  NULL
 * for an item that neither the version nor the item table knows, and a user without known items.
 */
Datum
fmoe_embedding(PG_FUNCTION_ARGS)
{
	static const FmoeArguments at = {
		.user = 0, .item = 0, .history = -1, .k = -1, .domain = 1,
		.exclude_seen = -1, .exclude = -1, .candidates = -1, .as_of = 3, .version = 4,
		.filter = -1
	};
	FmoeServing *serving = fmoe_serving(fcinfo);
	EmbeddingKind kind = embedding_kind(fcinfo, 2);
	const FmoeModel *model;
	const FnnTensor *vectors;
	const fnn_real *vector;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	fmoe_serve_begin(serving);
	fmoe_serve_resolve(fcinfo, serving, &at);
	require_vectors(serving);
	fmoe_serve_meets(serving);
	vectors = fmoe_vectors(&serving->call.loaded->model);

	if (kind == EMBEDDING_ITEM)
	{
		Datum		id = fmoe_serve_id(serving, FMOE_ID_ITEM, fmoe_argument_type(fcinfo, 0),
									   serving->moment.domain->item_type, PG_GETARG_DATUM(0));
		int32		item = fmoe_serve_number(serving, id);

		fmoe_serve_ask(serving);
		if (!fmoe_serve_knows(serving, item))
			PG_RETURN_NULL();
		vector = fmoe_item_vector(fmoe_serve_model(serving), item);
	}
	else
	{
		FmoeItems  *history = fmoe_serve_history(fcinfo, serving, &at);
		fnn_real   *state;

		if (history->count == 0)
			PG_RETURN_NULL();
		model = fmoe_serve_model(serving);
		state = fnn_alloc_reals(serving->site.arena, 1, vectors->cols);
		fmoe_states(model, serving->site.arena, fmoe_serve_batch(serving, history, model->config.max_length), state);
		vector = state;
	}
	PG_RETURN_ARRAYTYPE_P(real_array(vector, vectors->cols));
}

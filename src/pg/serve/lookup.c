/*
 * lookup.c
 *	  fmoe_score, fmoe_similar, fmoe_embedding: what a version knows of given
 *	  users and items.
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
PG_FUNCTION_INFO_V1(fmoe_similar);
PG_FUNCTION_INFO_V1(fmoe_embedding);

#define CHUNK 65536				/* items between two polls */

/* ---------------------------------------------------------------- scores of given items */

/*
 * Answers with the ids as they were given, each with the score of its item:
 * NaN, which is shown as NULL, for a NULL and for an item the version does not
 * know.
 */
static void
answer_score(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	ArrayType  *items = DatumGetArrayTypePCopy(PG_GETARG_DATUM(1));
	Oid			type = ARR_ELEMTYPE(items);
	const FmoeModel *model;
	FmoeItems  *history;
	fnn_real   *known_score;
	fnn_real   *score;
	Datum	   *id;
	bool	   *id_null;
	int32	   *known;			/* [n_known] indexes of the items that the version knows */
	int		   *of;				/* [n_known] which of the given ids each of them is */
	int			n_known = 0;
	int16		length;
	bool		by_value;
	char		alignment;
	int			n;

	fmoe_serve_resolve(fcinfo, serving, 2);
	model = &serving->call.loaded->model;
	history = fmoe_serve_history(fcinfo, serving, 0, 3);

	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	deconstruct_array(items, type, length, by_value, alignment, &id, &id_null, &n);
	score = palloc(Max(n, 1) * sizeof(fnn_real));
	known_score = palloc(Max(n, 1) * sizeof(fnn_real));
	known = palloc(Max(n, 1) * sizeof(int32));
	of = palloc(Max(n, 1) * sizeof(int));
	for (int i = 0; i < n; i++)
	{
		int32		index = -1;

		if (i % CHUNK == CHUNK - 1)
			CHECK_FOR_INTERRUPTS();
		if (!id_null[i])
			index = fmoe_vocabulary_find(serving->call.loaded->vocabulary,
										 fmoe_serve_id(serving, FMOE_ID_ITEM, type,
														   serving->moment.domain->item_type, id[i]));
		score[i] = NAN;
		if (index < 0)
			continue;
		of[n_known] = i;
		known[n_known++] = index;
	}
	fmoe_scores_of(model, fmoe_serve_slot(serving, history->count), serving->site.arena,
				   fmoe_serve_batch(serving, history, model->config.max_length), n_known, known, known_score);
	for (int i = 0; i < n_known; i++)
		score[of[i]] = known_score[i];
	MemoryContextSwitchTo(old);
	fmoe_serve_answer_ids(fcinfo, serving, n, id, id_null, score);
}

Datum
fmoe_score_items(PG_FUNCTION_ARGS)
{
	FmoeServing *serving = fmoe_serving(fcinfo);

	if (!serving->rows.active)
	{
		fmoe_serve_begin(serving);
		if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1))
			answer_score(fcinfo, serving);
	}
	return fmoe_serve_next(fcinfo, serving);
}

/* ---------------------------------------------------------------- neighbours */

static bool
has_vectors(const FmoeServing *serving)
{
	return serving->moment.live && fmoe_has_vectors(&serving->call.loaded->model);
}

/*
 * Answers with the neighbours of an item by the cosine of the live model's item
 * vectors; where the model has no vectors, with what most often followed the
 * item.  The item itself is left out.  An item the version does not know has no
 * neighbours.
 */
static void
answer_similar(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	int32		k = fmoe_serve_k(fcinfo, 1);
	int32		item;
	FmoeItems	itself = {.count = 1, .events = {.item = &item}};
	FmoeFilter	filter = {.seen = &itself};
	const FmoeModel *model;
	FnnTopk    *best;

	fmoe_serve_resolve(fcinfo, serving, 2);
	model = &serving->call.loaded->model;
	item = fmoe_vocabulary_find(serving->call.loaded->vocabulary,
								fmoe_serve_id(serving, FMOE_ID_ITEM, fmoe_argument_type(fcinfo, 0),
												  serving->moment.domain->item_type, PG_GETARG_DATUM(0)));
	if (item < 0)
		return;
	if (has_vectors(serving))
	{
		best = fmoe_serve_topk(serving, k, model->n_items);
		fmoe_neighbours(model, serving->site.arena, item, best);
		fmoe_serve_ranked(best);
	}
	else
		best = fmoe_serve_best(serving, model, FMOE_MARKOV, &itself, &filter, k);
	fmoe_serve_answer(fcinfo, serving, serving->call.loaded->vocabulary, serving->moment.domain->item_type,
					  best, NULL);
}

Datum
fmoe_similar(PG_FUNCTION_ARGS)
{
	FmoeServing *serving = fmoe_serving(fcinfo);

	if (!serving->rows.active)
	{
		fmoe_serve_begin(serving);
		if (!PG_ARGISNULL(0))
			answer_similar(fcinfo, serving);
	}
	return fmoe_serve_next(fcinfo, serving);
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
	if (!serving->moment.live)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("domain \"%s\" has no live version", serving->moment.domain->name),
				 errhint("Make one live with fmoe_deploy('%s', version).", serving->moment.domain->name)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("version %d of domain \"%s\" has no vectors", version->version, serving->moment.domain->name),
			 errdetail("Its model \"%s\" only counts.", version->model),
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
 * for an item the version does not know and a user without known items.
 */
Datum
fmoe_embedding(PG_FUNCTION_ARGS)
{
	FmoeServing *serving = fmoe_serving(fcinfo);
	EmbeddingKind kind = embedding_kind(fcinfo, 2);
	const FmoeModel *model;
	const FnnTensor *vectors;
	fnn_real   *vector;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	fmoe_serve_begin(serving);
	fmoe_serve_resolve(fcinfo, serving, 1);
	require_vectors(serving);
	model = &serving->call.loaded->model;
	vectors = &model->items;

	if (kind == EMBEDDING_ITEM)
	{
		Datum		id = fmoe_serve_id(serving, FMOE_ID_ITEM, fmoe_argument_type(fcinfo, 0),
										   serving->moment.domain->item_type, PG_GETARG_DATUM(0));
		int32		item = fmoe_vocabulary_find(serving->call.loaded->vocabulary, id);

		if (item < 0)
			PG_RETURN_NULL();
		vector = vectors->value + item * vectors->cols;
	}
	else
	{
		FmoeItems  *history = fmoe_serve_history(fcinfo, serving, 0, -1);

		if (history->count == 0)
			PG_RETURN_NULL();
		vector = fnn_alloc_reals(serving->site.arena, 1, vectors->cols);
		fmoe_encode(model, serving->site.arena,
					fmoe_serve_batch(serving, history, model->config.max_length), vector);
	}
	PG_RETURN_ARRAYTYPE_P(real_array(vector, vectors->cols));
}

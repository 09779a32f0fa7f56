/*
 * apply.c
 *	  fmoe_apply: recommendations from a model that is a value, not a version.
 *
 * A model is read and checked once and kept, in a context of its own, as long
 * as the call site: a join of models and histories pays for every model once,
 * in whatever order the rows come, up to fmoe.cache_size.  A stored value is
 * known again by its toast pointer, which costs nothing, any other by the hash
 * of its bytes.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/file/file.h"
#include "pg/serve/serve.h"

PG_FUNCTION_INFO_V1(fmoe_apply);

/* What tells whether two model values are the same. */
typedef struct ModelKey
{
	Oid			toast_table;	/* of a stored value, else InvalidOid */
	Oid			toast_value;
	uint64		hash;			/* of the bytes of any other value */
	uint64		size;
} ModelKey;

typedef struct AppliedModel
{
	FmoeLoaded	loaded;
	ModelKey	key;
	Oid			item_type;
	MemoryContext context;
	struct AppliedModel *next;	/* used less recently */
} AppliedModel;

static ModelKey
model_key(struct varlena *value)
{
	ModelKey	key = {0};

	if (VARATT_IS_EXTERNAL_ONDISK(value))
	{
		struct varatt_external pointer;

		VARATT_EXTERNAL_GET_POINTER(pointer, value);
		key.toast_table = pointer.va_toastrelid;
		key.toast_value = pointer.va_valueid;
		key.size = pointer.va_rawsize;
		return key;
	}
	value = pg_detoast_datum_packed(value);
	key.size = VARSIZE_ANY_EXHDR(value);
	key.hash = fnn_hash(0, VARDATA_ANY(value), key.size);
	return key;
}

static bool
same_key(const ModelKey *a, const ModelKey *b)
{
	return a->toast_table == b->toast_table && a->toast_value == b->toast_value &&
		a->hash == b->hash && a->size == b->size;
}

/* Reads and checks a model in a context of its own under the current one. */
static AppliedModel *
model_open(struct varlena *value, Oid element_type, Oid collation)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe applied model", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	const FnnHost *host = fmoe_host(context);
	AppliedModel *applied = palloc0(sizeof(AppliedModel));
	FmoeExpertFile *file;
	Oid			type_collation;
	size_t		size;
	char	   *bytes;

	applied->key = model_key(value);
	fmoe_check_memory(2 * (size_t) applied->key.size, "applying a model");
	value = pg_detoast_datum_packed(value);
	size = VARSIZE_ANY_EXHDR(value);
	bytes = host->allocate(host->context, size);
	memcpy(bytes, VARDATA_ANY(value), size);
	file = fmoe_expert_read(bytes, size);
	if (!file->facts.complete)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the model cannot answer by itself"),
				 errdetail("It is an encoder without item vectors.")));
	applied->item_type = fmoe_id_type_find(file->item_type, element_type);
	applied->loaded.version = &file->facts;
	type_collation = get_typcollation(applied->item_type);
	if (OidIsValid(type_collation) && OidIsValid(collation))
		type_collation = collation;
	applied->loaded.vocabulary = fmoe_expert_bind(file, applied->item_type, type_collation, &applied->loaded.model);
	MemoryContextSwitchTo(old);
	applied->context = context;
	applied->loaded.bytes = MemoryContextMemAllocated(context, true);
	return applied;
}

/* Drops the least recently used models over the limit, never the first. */
static void
models_shrink(AppliedModel *first)
{
	size_t		limit = (size_t) fmoe_cache_size_kb * 1024;
	size_t		bytes = first->loaded.bytes;
	AppliedModel **link = &first->next;

	while (*link != NULL)
	{
		AppliedModel *model = *link;

		bytes += model->loaded.bytes;
		if (bytes <= limit)
		{
			link = &model->next;
			continue;
		}
		bytes -= model->loaded.bytes;
		*link = model->next;
		MemoryContextDelete(model->context);
	}
}

/* The model of an argument, moved or opened at the head of the call site's list. */
static AppliedModel *
model_argument(FmoeServing *serving, struct varlena *value, Oid element_type, Oid collation)
{
	AppliedModel *first = serving->site.applied;
	AppliedModel **link = &first;
	AppliedModel *model;
	MemoryContext old = MemoryContextSwitchTo(serving->call.context);
	ModelKey	key = model_key(value);

	while (*link != NULL && !same_key(&(*link)->key, &key))
		link = &(*link)->next;
	model = *link;
	if (model != NULL)
		*link = model->next;
	else
	{
		model = model_open(value, element_type, collation);
		MemoryContextSetParent(model->context, serving->site.context);
	}
	model->next = first;
	serving->site.applied = model;
	models_shrink(model);
	MemoryContextSwitchTo(old);
	return model;
}

static void
answer(FunctionCallInfo fcinfo, FmoeServing *serving)
{
	Datum		history_argument = PG_GETARG_DATUM(1);
	Oid			element_type = getBaseType(get_base_element_type(fmoe_argument_type(fcinfo, 1)));
	int32		k = fmoe_serve_k(fcinfo, 2);
	FmoeFilter	filter = {0};
	AppliedModel *applied;
	const FmoeModel *model;
	FmoeItems  *history;
	FmoeExpertSlot slot;

	applied = model_argument(serving, (struct varlena *) PG_GETARG_POINTER(0), element_type, PG_GET_COLLATION());
	model = &applied->loaded.model;
	history = fmoe_serve_array(serving, FMOE_ID_HISTORY, history_argument, applied->item_type,
								   applied->loaded.vocabulary);
	if (!PG_ARGISNULL(3) && PG_GETARG_BOOL(3))
		fmoe_serve_basket(serving, history);
	filter.seen = history;
	slot = history->count > 0 ? FMOE_MAIN : fmoe_empty_slot(model);
	fmoe_serve_answer(fcinfo, serving, applied->loaded.vocabulary, applied->item_type,
						  fmoe_serve_best(serving, model, slot, history, &filter, k), NULL);
}

Datum
fmoe_apply(PG_FUNCTION_ARGS)
{
	FmoeServing *serving = fmoe_serving(fcinfo);

	if (!serving->rows.active)
	{
		fmoe_serve_begin(serving);
		/* fmoe_fit over no rows is NULL: no model, no rows */
		if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1))
			answer(fcinfo, serving);
	}
	return fmoe_serve_next(fcinfo, serving);
}

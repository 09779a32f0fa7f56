/*
 * expertfile.c
 *	  Experts as safetensors files.
 *
 * The arrays are those of the version.  __metadata__ has the rest, all of it
 * as strings:
 *
 *	  format		  fmoe-expert
 *	  format_version  1
 *	  model			  name of the expert class
 *	  config		  every option it was trained with, as a JSON object
 *	  items, events, users, holdout
 *					  facts of the training data
 *	  last_event	  in seconds since 1970; only when full, because it tells
 *					  the time of somebody's event
 *	  sharing		  encoder: parameters that know no item, nothing else
 *					  full: everything, item ids and counts included
 *	  item_type		  of the ids, only when full
 *	  precision		  of an encoder's arrays (precision.c), unless float32
 *	  privacy		  what was done to an encoder, as a JSON object
 *	  checksum		  of the arrays, 16 hexadecimal digits
 *	  gate			  weights of the gate that an encoder had a part under, as a JSON object
 *	  created		  when the version was made; not in files of fmoe_fit, whose
 *					  bytes depend on nothing but data, options and seed
 *
 * A file may be hostile.  fnn_safetensors_read checks the container: sizes,
 * names, finite values.  This file checks format and version, the options and
 * their ranges, the exact set of arrays with their shapes, the checksum, and the
 * ids.  Text in files is always UTF-8, whatever the database's encoding is.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "common/string.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "pg/file/file_private.h"
#include "pg/file/precision.h"
#include "pg/option/option.h"

#define FILE_FORMAT "fmoe-expert"
#define METADATA_MAX 16
#define POLL_EVERY 1024			/* ids between two polls */

/* Adds to an error of the engine, of an option or of an id that it came from a file. */
static void
reading_file(void *unused)
{
	errcontext("reading an expert file");
}

/* ---------------------------------------------------------------- types */

const char *
fmoe_id_type_name(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Form_pg_type form;
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	form = (Form_pg_type) GETSTRUCT(tuple);
	if (form->typnamespace == PG_CATALOG_NAMESPACE)
		name = pstrdup(NameStr(form->typname));
	else
		name = quote_qualified_identifier(get_namespace_name(form->typnamespace), NameStr(form->typname));
	ReleaseSysCache(tuple);
	return name;
}

Oid
fmoe_id_type_find(const char *name, Oid expected)
{
	Oid			type = InvalidOid;

	if (OidIsValid(expected) && strcmp(name, fmoe_id_type_name(expected)) == 0)
		return expected;
	/* reading ids calls functions of their type, so only types of the system will do */
	if (strlen(name) < NAMEDATALEN)
		type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
							   ObjectIdGetDatum(PG_CATALOG_NAMESPACE));
	if (!OidIsValid(type) || get_typtype(type) != TYPTYPE_BASE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the item ids of the model have type %s, which is not known here", name),
				 OidIsValid(expected) ? errhint("Give ids of that type, not of type %s.", format_type_be(expected))
					 : 0));
	return type;
}

/* ---------------------------------------------------------------- vocabularies */

/* NULL: there is none of that name; it must have one dimension of that type. */
static FnnArray *
find_array(int n, FnnArray *arrays, const char *name, FnnDtype dtype)
{
	FnnArray   *array = unconstify(FnnArray *, fnn_find_array(n, arrays, name));

	if (array != NULL && (array->dtype != dtype || array->ndim != 1))
		fmoe_bad_file("Array \"%s\" does not have the type it must have.", name);
	return array;
}

/* Where each id's text begins and ends. */
static void
check_offsets(const FnnArray *offsets, const FnnArray *text)
{
	const int64 *offset = offsets->data;
	int64		n = offsets->shape[0] - 1;

	if (n < 0 || offset[0] != 0 || offset[n] != text->shape[0])
		fmoe_bad_file("The offsets of the item ids do not cover their text.");
	for (int64 i = 0; i < n; i++)
	{
		if (offset[i] > offset[i + 1])
			fmoe_bad_file("The offsets of the item ids are not in ascending order.");
		if (offset[i + 1] - offset[i] >= MaxAllocSize / MAX_CONVERSION_GROWTH)
			fmoe_bad_file("An item id is too long.");
	}
}

/*
 * Converts the vocabulary's text from one encoding to another, id by id; each
 * must be valid in both.  The arrays of text and offsets then have new data.
 */
static void
recode_text(int n_arrays, FnnArray *arrays, int from, int to)
{
	FnnArray   *text = find_array(n_arrays, arrays, "vocabulary.text", FNN_U8);
	FnnArray   *offsets = find_array(n_arrays, arrays, "vocabulary.offset", FNN_I64);
	const int64 *old_offset;
	int64	   *new_offset;
	size_t		capacity;
	char	   *out;

	if (text == NULL || offsets == NULL)
		return;
	check_offsets(offsets, text);
	old_offset = offsets->data;
	new_offset = MemoryContextAllocHuge(CurrentMemoryContext, offsets->bytes);
	capacity = text->bytes + 64;
	out = MemoryContextAllocHuge(CurrentMemoryContext, capacity);
	new_offset[0] = 0;
	for (int64 i = 0; i + 1 < offsets->shape[0]; i++)
	{
		char	   *source = (char *) text->data + old_offset[i];
		int			length = (int) (old_offset[i + 1] - old_offset[i]);
		char	   *converted = source;

		(void) pg_verify_mbstr(from, source, length, false);
		if (length > 0)
			converted = (char *) pg_do_encoding_conversion((unsigned char *) source, length, from, to);
		if (converted != source)
			length = strlen(converted);
		if (new_offset[i] + length > capacity)
		{
			capacity = 2 * capacity + length;
			out = repalloc_huge(out, capacity);
		}
		memcpy(out + new_offset[i], converted, length);
		new_offset[i + 1] = new_offset[i] + length;
		if (converted != source)
			pfree(converted);
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
	offsets->data = new_offset;
	text->data = out;
	text->shape[0] = text->bytes = new_offset[offsets->shape[0] - 1];
}

/*
 * Error unless the ids ascend in the order of their type.  Collations differ
 * between machines, so text is not checked: its order only decides ties.
 */
static void
check_order(const FmoeVocabulary *vocabulary, Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_CMP_PROC_FINFO);

	if (OidIsValid(get_typcollation(type)) || !OidIsValid(entry->cmp_proc_finfo.fn_oid))
		return;
	for (int32 i = 1; i < fmoe_vocabulary_count(vocabulary); i++)
	{
		if (DatumGetInt32(FunctionCall2(&entry->cmp_proc_finfo, fmoe_vocabulary_id(vocabulary, i - 1),
										fmoe_vocabulary_id(vocabulary, i))) >= 0)
			fmoe_bad_file("Item ids are not in ascending order.");
		if (i % POLL_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
	}
}

/* Error where a file holds arrays that neither the model nor the vocabulary over them is made of. */
static void
refuse_strangers(const FmoeExpertFile *file, const FmoeModel *model)
{
	int			max = fmoe_model_arrays_max(model);
	FnnArray   *own = palloc(sizeof(FnnArray) * max);
	int			n = fmoe_model_arrays(model, own, max);

	for (int i = 0; i < file->n_arrays; i++)
	{
		const char *name = file->arrays[i].name;
		bool		known = strncmp(name, FMOE_VOCABULARY_PREFIX, strlen(FMOE_VOCABULARY_PREFIX)) == 0;

		for (int k = 0; k < n && !known; k++)
			known = strcmp(own[k].name, name) == 0;
		if (!known)
			fmoe_bad_file("Array \"%s\" is not part of model \"%s\".", pg_is_ascii(name) ? name : "?",
						  file->facts.model);
	}
	pfree(own);
}

/* The file's arrays and those of the base that the model is built on, which is no part of it. */
static int
with_base(const FmoeExpertFile *file, FnnArray **arrays)
{
	const FmoeNamedBase *base = fmoe_named_base(&file->facts.config);
	FnnArray   *of_base;
	int			n;

	*arrays = file->arrays;
	if (base == NULL)
		return file->n_arrays;
	n = fmoe_read_base(base->checksum, &of_base);
	*arrays = palloc(sizeof(FnnArray) * (file->n_arrays + n));
	memcpy(*arrays, file->arrays, sizeof(FnnArray) * file->n_arrays);
	memcpy(*arrays + file->n_arrays, of_base, sizeof(FnnArray) * n);
	return file->n_arrays + n;
}

FmoeVocabulary *
fmoe_expert_bind(const FmoeExpertFile *file, Oid item_type, Oid collation, FmoeModel *model)
{
	const FmoeVersion *facts = &file->facts;
	ErrorContextCallback callback = {error_context_stack, reading_file, NULL};
	FmoeVocabulary *vocabulary;
	FnnArray   *arrays;
	int			n_arrays;

	error_context_stack = &callback;
	n_arrays = with_base(file, &arrays);
	fmoe_model_bind(model, fmoe_host(CurrentMemoryContext), &facts->config, facts->items, n_arrays, arrays);
	vocabulary = fmoe_vocabulary_bind(item_type, collation, facts->items, file->n_arrays, file->arrays);
	refuse_strangers(file, model);

	check_order(vocabulary, item_type);
	error_context_stack = callback.previous;
	return vocabulary;
}

/* ---------------------------------------------------------------- writing */

static void
say(FnnFile *out, const char *key, const char *value)
{
	Assert(out->n_metadata < METADATA_MAX);
	out->metadata[out->n_metadata].key = key;
	out->metadata[out->n_metadata++].value = pg_server_to_any(value, strlen(value), PG_UTF8);
}

bytea *
fmoe_expert_write(FmoeExpertFile *file)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "fmoe expert file", ALLOCSET_DEFAULT_SIZES);
	FmoeVersion *facts = &file->facts;
	FnnFile		out = {0};
	FnnArena   *arena = fmoe_arena(context, fmoe_max_memory_kb);
	Jsonb	   *config;
	size_t		size;
	bytea	   *result;

	MemoryContextSwitchTo(context);
	/* of a mixture only its own expert's encoder leaves, as an expert of that encoder's class */
	if (!facts->complete)
	{
		facts->config = fmoe_encoder_config(&facts->config);
		facts->model = fmoe_expert_classes[facts->config.model]->name;
	}
	config = fmoe_config_jsonb(&facts->config);

	out.n_arrays = file->n_arrays;
	out.array = palloc(sizeof(FnnArray) * Max(file->n_arrays, 1));
	memcpy(out.array, file->arrays, sizeof(FnnArray) * file->n_arrays);
	if (GetDatabaseEncoding() != PG_UTF8)
		recode_text(out.n_arrays, out.array, GetDatabaseEncoding(), PG_UTF8);
	facts->checksum = fmoe_checksum(out.n_arrays, out.array);

	out.metadata = palloc0(sizeof(FnnMetadata) * METADATA_MAX);
	say(&out, "format", FILE_FORMAT);
	say(&out, "format_version", psprintf("%d", FMOE_FILE_VERSION));
	say(&out, "model", facts->model);
	say(&out, "config", JsonbToCString(NULL, &config->root, VARSIZE(config)));
	say(&out, "items", psprintf("%d", facts->items));
	say(&out, "events", psprintf(INT64_FORMAT, facts->events));
	say(&out, "users", psprintf(INT64_FORMAT, facts->users));
	if (facts->complete && isfinite(facts->last_event))
		say(&out, "last_event", psprintf("%.17g", facts->last_event));
	say(&out, "holdout", facts->holdout);
	say(&out, "sharing", facts->complete ? "full" : "encoder");
	if (facts->complete)
		say(&out, "item_type", file->item_type);
	if (file->precision != NULL && strcmp(file->precision, fmoe_precision_names[FMOE_FLOAT32]) != 0)
		say(&out, "precision", file->precision);
	if (file->privacy != NULL)
		say(&out, "privacy", JsonbToCString(NULL, &file->privacy->root, VARSIZE(file->privacy)));
	if (file->gate != NULL)
		say(&out, "gate", JsonbToCString(NULL, &file->gate->root, VARSIZE(file->gate)));
	say(&out, "checksum", fmoe_checksum_text(facts->checksum));
	if (file->created != NULL)
		say(&out, "created", file->created);

	size = fnn_safetensors_size(arena, &out);
	if (size > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("an expert of %zu MB does not fit into one value of type bytea", size / (1024 * 1024)),
				 errdetail("A value may have 1 GB.")));
	result = MemoryContextAlloc(caller, size + VARHDRSZ);
	SET_VARSIZE(result, size + VARHDRSZ);
	fnn_safetensors_write(arena, &out, VARDATA(result));
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return result;
}

/* ---------------------------------------------------------------- reading */

/* The metadata of a key, in the database's encoding; error: there is none. */
static const char *
asked(const FnnFile *in, const char *key)
{
	const char *value = fnn_file_metadata(in, key);

	if (value == NULL)
		fmoe_bad_file("Its metadata lacks \"%s\".", key);
	return pg_any_to_server(value, strlen(value), PG_UTF8);
}

static int64
asked_integer(const FnnFile *in, const char *key, int64 low, int64 high)
{
	const char *text = asked(in, key);
	char	   *end;
	int64		value;

	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || !(isdigit((unsigned char) *text) || *text == '-') ||
		value < low || value > high)
		fmoe_bad_file("Its metadata \"%s\" is not an integer from %lld to %lld.", key, (long long) low,
					  (long long) high);
	return value;
}

static int
asked_choice(const FnnFile *in, const char *key, const char *const *choices, int n)
{
	const char *text = asked(in, key);

	for (int i = 0; i < n; i++)
	{
		if (strcmp(text, choices[i]) == 0)
			return i;
	}
	fmoe_bad_file("Its metadata \"%s\" has a value that is not known.", key);
	return -1;
}

static void
read_format(const FnnFile *in)
{
	const char *format = fnn_file_metadata(in, "format");
	int64		version;

	if (format == NULL || strcmp(format, FILE_FORMAT) != 0)
		fmoe_bad_file("It is a safetensors file, but not one of an fmoe expert.");
	version = asked_integer(in, "format_version", 1, PG_INT32_MAX);
	if (version > FMOE_FILE_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the expert file has format version %lld, this library reads up to %d",
						(long long) version, FMOE_FILE_VERSION),
				 errhint("Update the extension fmoe.")));
}

/* The options, each within its range; those that shape the model must be there. */
static void
read_config(const FnnFile *in, FmoeVersion *facts)
{
	static const char *const needed[] = {"model", "width", "layers", "heads", "max_length"};
	const char *text = asked(in, "config");
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	FmoeConfig *config = &facts->config;
	FmoeMisfit	misfit;
	JsonbValue	buffer;

	if (!JB_ROOT_IS_OBJECT(object))
		fmoe_bad_file("Its options are not a JSON object.");
	for (int i = 0; i < lengthof(needed); i++)
	{
		if (getKeyJsonValueFromContainer(&object->root, needed[i], strlen(needed[i]), &buffer) == NULL)
			fmoe_bad_file("Its options lack \"%s\".", needed[i]);
	}
	fmoe_parse_config(object, config);
	facts->model = asked(in, "model");
	if (fmoe_expert_class(facts->model) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the expert file has a model \"%s\", which this library does not know", facts->model),
				 errhint("Update the extension fmoe.")));
	if (fmoe_expert_class(facts->model) != fmoe_expert_classes[config->model])
		fmoe_bad_file("Its model is \"%s\", but its options say \"%s\".", facts->model,
					  fmoe_expert_names[config->model]);
	fmoe_choose_loss(config, facts->items);
	if (!fmoe_config_fits(config, &misfit))
		fmoe_bad_file("Its options do not fit: %s.", misfit.message);
}

static void
read_facts(const FnnFile *in, FmoeVersion *facts)
{
	static const char *const sharing_names[] = {"encoder", "full"};
	const char *last_event = fnn_file_metadata(in, "last_event");
	char	   *end;

	facts->items = asked_integer(in, "items", 1, PG_INT32_MAX - 1);
	facts->events = asked_integer(in, "events", 0, PG_INT64_MAX);
	facts->users = asked_integer(in, "users", 0, PG_INT64_MAX);
	facts->complete = asked_choice(in, "sharing", sharing_names, lengthof(sharing_names)) == 1;
	facts->holdout = fmoe_holdout_names[asked_choice(in, "holdout", fmoe_holdout_names, FMOE_HOLDOUTS)];
	facts->last_event = NAN;
	if (last_event != NULL)
	{
		facts->last_event = strtod(last_event, &end);
		if (end == last_event || *end != '\0' || !isfinite(facts->last_event))
			fmoe_bad_file("Its metadata \"last_event\" is not a number of seconds.");
	}
}

/* Reads how an encoder was changed before it was written, and turns its arrays into F32. */
static void
read_release(const FnnFile *in, FmoeExpertFile *file)
{
	const char *problem;
	int			precision = FMOE_FLOAT32;

	if (fnn_file_metadata(in, "precision") != NULL)
		precision = asked_choice(in, "precision", fmoe_precision_names, FMOE_INT8 + 1);
	file->precision = fmoe_precision_names[precision];
	if (fnn_file_metadata(in, "privacy") != NULL)
	{
		file->privacy = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(asked(in, "privacy"))));
		if (!JB_ROOT_IS_OBJECT(file->privacy))
			fmoe_bad_file("Its metadata \"privacy\" is not a JSON object.");
	}
	if (fnn_file_metadata(in, "gate") != NULL)
	{
		FmoeGatePrior weights;

		file->gate = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(asked(in, "gate"))));
		if (!fmoe_gate_take(file->gate, &file->facts.config, &weights))
			fmoe_bad_file("Its metadata \"gate\" is not a JSON object with two numbers for each expert.");
	}
	if (!fmoe_release_restore(file, &problem))
		fmoe_bad_file("%s", problem);
}

static void
check_checksum(const FnnFile *in, FmoeVersion *facts)
{
	const char *text = asked(in, "checksum");

	facts->checksum = fmoe_checksum(in->n_arrays, in->array);
	if (strcmp(text, fmoe_checksum_text(facts->checksum)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the expert file is damaged"),
				 errdetail("The checksum of its arrays is not the one it was written with.")));
}

FmoeExpertFile *
fmoe_expert_read(const void *bytes, size_t size)
{
	FnnArena   *arena = fmoe_arena(CurrentMemoryContext, fmoe_max_memory_kb);
	FmoeExpertFile *file = palloc0(sizeof(FmoeExpertFile));
	ErrorContextCallback callback = {error_context_stack, reading_file, NULL};
	FnnFile    *in;

	error_context_stack = &callback;
	in = fnn_safetensors_read_lacking(arena, bytes, size, fmoe_features_may_lack);
	read_format(in);
	read_facts(in, &file->facts);
	read_config(in, &file->facts);
	check_checksum(in, &file->facts);
	file->n_arrays = in->n_arrays;
	file->arrays = in->array;
	if (!file->facts.complete)
	{
		read_release(in, file);
		fmoe_expert_check_encoder(file);
	}
	else
	{
		file->item_type = asked(in, "item_type");
		if (GetDatabaseEncoding() != PG_UTF8)
			recode_text(file->n_arrays, file->arrays, PG_UTF8, GetDatabaseEncoding());
	}
	error_context_stack = callback.previous;
	return file;
}

/*
 * vocabulary.c
 *	  The item vocabulary of a version, when the ids may have changed since.
 *
 * Ids are stored in the form of their type.  That type is not the version's:
 * an enum's label may be renamed, and a domain may come to have ids of another
 * type.  Then the version cannot answer any more, and another must be trained.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "pg/id/id.h"
#include "pg/store/store.h"

pg_noreturn static void
reject_ids(const FmoeDomain *domain, const FmoeVersion *version, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("version %d of domain \"%s\" knows items by ids that are not of type %s now", version->version,
					domain->name, format_type_be(domain->item_type)),
			 errdetail_internal("%s", detail),
			 errhint("Train a new version with CALL fmoe_train(%s), or undo what was done to the ids.",
					 quote_literal_cstr(domain->name))));
	pg_unreachable();
}

/* Whether an error says that a type does not take a value. */
static bool
is_about_values(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_DATA_EXCEPTION &&
		error->sqlerrcode != ERRCODE_INVALID_BINARY_REPRESENTATION;
}

FmoeVocabulary *
fmoe_version_vocabulary(const FmoeDomain *domain, const FmoeVersion *version, int n_arrays, const FnnArray *arrays)
{
	MemoryContext context = CurrentMemoryContext;
	bool		integers = fnn_find_array(n_arrays, arrays, "vocabulary.integer") != NULL;
	bool		texts = fnn_find_array(n_arrays, arrays, "vocabulary.text") != NULL;
	FmoeVocabulary *volatile vocabulary = NULL;

	if (integers != texts && integers != fmoe_is_integer(domain->item_type))
		reject_ids(domain, version, integers ? "They are integers." : "They are no integers.");
	PG_TRY();
	{
		vocabulary = fmoe_vocabulary_bind(domain->item_type, domain->item_collation, version->items, n_arrays, arrays);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!is_about_values(error))
			PG_RE_THROW();
		FlushErrorState();
		reject_ids(domain, version, psprintf("%s.", error->message));
	}
	PG_END_TRY();
	return vocabulary;
}

/* Arguments and result of fmoe_version_vocabulary. */
typedef struct Trying
{
	const FmoeDomain *domain;
	const FmoeVersion *version;
	int			n_arrays;
	const FnnArray *arrays;
	FmoeVocabulary *vocabulary;
} Trying;

static void
try(void *argument)
{
	Trying	   *trying = argument;

	trying->vocabulary = fmoe_version_vocabulary(trying->domain, trying->version, trying->n_arrays, trying->arrays);
}

FmoeVocabulary *
fmoe_try_vocabulary(const FmoeDomain *domain, const FmoeVersion *version, int n_arrays, const FnnArray *arrays)
{
	Trying		trying = {.domain = domain, .version = version, .n_arrays = n_arrays, .arrays = arrays};
	ErrorData  *error = fmoe_attempt(try, &trying);

	if (error == NULL)
		return trying.vocabulary;
	if (error->sqlerrcode != ERRCODE_DATATYPE_MISMATCH)
		ReThrowError(error);
	ereport(NOTICE,
			(errmsg_internal("%s", error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0));
	return NULL;
}

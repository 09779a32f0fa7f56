/*
 * options.c
 *	  libFuzzer over the parser of options, in a backend of its own: whatever the bytes, options are read or
 *	  refused, and what was read is written and read again as the same.
 *
 * The first byte says as what the others are read.  Bytes that no client could send are passed over.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "pg/option/option.h"

PG_MODULE_MAGIC;

extern int	LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run) (const uint8_t *bytes, size_t size));

PG_FUNCTION_INFO_V1(fuzz_options);

/* Of each type one, for those that no option of a training has. */
typedef struct Example
{
	int			integer;
	int64_t		large;
	double		real;
	bool		boolean;
	int			choice;
	const char *text;
	char		name[FMOE_EXPERT_NAME_MAX];
	FmoeIntList list;
} Example;

static const char *const choices[] = {"all", "none", NULL};

static const FmoeOption example_options[] = {
	{"integer", FMOE_OPTION_INT, offsetof(Example, integer), -5, 5, NULL, "1", "integer"},
	{"large", FMOE_OPTION_INT64, offsetof(Example, large), -9e15, 9e15, NULL, "0", "large"},
	{"real", FMOE_OPTION_REAL, offsetof(Example, real), -1, 1e30, NULL, "0.5", "real"},
	{"boolean", FMOE_OPTION_BOOL, offsetof(Example, boolean), 0, 0, NULL, "true", "boolean"},
	{"choice", FMOE_OPTION_ENUM, offsetof(Example, choice), 0, 0, choices, "none", "choice"},
	{"text", FMOE_OPTION_TEXT, offsetof(Example, text), 0, 0, NULL, "", "text"},
	{"name", FMOE_OPTION_NAME, offsetof(Example, name), 0, 0, NULL, "", "name"},
	{"list", FMOE_OPTION_INT_LIST, offsetof(Example, list), 1, 100, NULL, "5, 10", "list"},
	{NULL}
};

static MemoryContext scratch;

static void
fault(const char *what, Jsonb *a, Jsonb *b)
{
	fprintf(stderr, "%s: %s, %s\n", what, JsonbToCString(NULL, &a->root, 0), JsonbToCString(NULL, &b->root, 0));
	abort();
}

static void
read_options(int as, const char *text)
{
	Jsonb	   *object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	FmoeConfig	config;
	Jsonb	   *once;
	Jsonb	   *twice;

	if (as == 0)
	{
		fmoe_parse_asked(object, &fmoe_train_call, &config);
		fmoe_config_jsonb(&config);
		return;
	}
	if (as == 1)
	{
		fmoe_parse_config(object, &config);
		once = fmoe_config_jsonb(&config);
		fmoe_parse_config(once, &config);
		twice = fmoe_config_jsonb(&config);
	}
	else
	{
		Example		example = {0};

		fmoe_parse_options(object, example_options, &example);
		once = fmoe_options_jsonb(example_options, &example);
		fmoe_parse_options(once, example_options, &example);
		twice = fmoe_options_jsonb(example_options, &example);
	}
	if (compareJsonbContainers(&once->root, &twice->root) != 0)
		fault("read twice it is another", once, twice);
}

static int
try_bytes(const uint8_t *bytes, size_t size)
{
	char	   *text;

	MemoryContextReset(scratch);
	MemoryContextSwitchTo(scratch);
	if (size == 0 || memchr(bytes + 1, 0, size - 1) != NULL ||
		!pg_verify_mbstr(PG_UTF8, (const char *) bytes + 1, (int) size - 1, true))
		return 0;
	text = pnstrdup((const char *) bytes + 1, size - 1);
	PG_TRY();
	{
		read_options(bytes[0] % 3, text);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			class;

		MemoryContextSwitchTo(scratch);
		error = CopyErrorData();
		class = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		FlushErrorState();
		/* data, what is not supported, a limit: anything else is a fault of the reader */
		if (class != ERRCODE_DATA_EXCEPTION && class != ERRCODE_FEATURE_NOT_SUPPORTED &&
			class != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
		{
			fprintf(stderr, "%s\n", error->message);
			abort();
		}
	}
	PG_END_TRY();
	return 0;
}

/* The names and choices of options, as libFuzzer's dictionaries have them. */
static void
write_words(FILE *file, const FmoeOption *options)
{
	for (; options != NULL && options->name != NULL; options++)
	{
		fprintf(file, "\"\\\"%s\\\": \"\n", options->name);
		for (int i = 0; options->type == FMOE_OPTION_ENUM && options->choices[i] != NULL; i++)
			fprintf(file, "\"\\\"%s\\\"\"\n", options->choices[i]);
	}
}

/* fuzz_options(dictionary text, VARIADIC arguments of libFuzzer text[]); does not return, the backend ends */
Datum
fuzz_options(PG_FUNCTION_ARGS)
{
	FILE	   *file = fopen(text_to_cstring(PG_GETARG_TEXT_PP(0)), "w");
	Datum	   *argument;
	bool	   *isnull;
	int			n;
	char	  **argv;

	if (file == NULL)
		elog(ERROR, "the dictionary cannot be written: %m");
	write_words(file, fmoe_train_options);
	write_words(file, example_options);
	for (int i = 0; fmoe_expert_classes[i] != NULL; i++)
		write_words(file, fmoe_expert_classes[i]->options);
	fclose(file);

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &argument, &isnull, &n);
	argv = palloc0(sizeof(char *) * (n + 2));
	argv[0] = "options";
	for (int i = 0; i < n; i++)
		argv[i + 1] = TextDatumGetCString(argument[i]);
	n++;
	/* blocks that are small, so that what is larger is malloc's, of which ASan sees the ends */
	scratch = AllocSetContextCreate(TopMemoryContext, "scratch", 0, 1024, 1024);
	PG_RETURN_INT32(LLVMFuzzerRunDriver(&n, &argv, try_bytes));
}

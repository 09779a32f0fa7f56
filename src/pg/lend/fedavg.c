/*
 * fedavg.c
 *	  The aggregate fmoe_fedavg: the mean of encoders, weighted by examples.
 *
 * Federated averaging is a baseline to compare mixtures of experts with: the
 * weights of the result are sum(examples x weights) / sum(examples), over files of
 * one architecture.  Sums are doubles, so that the mean of a weight and itself is
 * that weight again, to the bit, and the order of the rows hardly matters.
 *
 * The arrays' names and shapes follow from model, width, layers, heads and
 * max_length.  The state is these options and a sum for each array.  Its
 * serialized form has the sums in the order in which the arrays are declared, so
 * it is enough to check its length and its numbers.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "common/int.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/file/file.h"
#include "pg/option/option.h"

PG_FUNCTION_INFO_V1(fmoe_fedavg_transition);
PG_FUNCTION_INFO_V1(fmoe_fedavg_combine);
PG_FUNCTION_INFO_V1(fmoe_fedavg_serialize);
PG_FUNCTION_INFO_V1(fmoe_fedavg_deserialize);
PG_FUNCTION_INFO_V1(fmoe_fedavg_final);

#define STATE_FORMAT 1

typedef struct State
{
	FmoeConfig	config;			/* the options that the shapes follow from; all others are defaults */
	int			holdout;		/* the least that any of the files kept back */
	int64		files;
	int64		examples;
	int64		events;
	int64		users;
	int64		items;
	int			n_arrays;
	FnnArray   *arrays;			/* [n_arrays] names and shapes; data is double [shape] */
} State;

static MemoryContext
aggregate_context(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "called outside of an aggregate");
	return context;
}

/* ---------------------------------------------------------------- the state */

static int64
elements(const FnnArray *array)
{
	return array->shape[0] * array->shape[1];
}

/* The options that an average takes from its files. */
static void
architecture(const FmoeConfig *from, FmoeConfig *config)
{
	memset(config, 0, sizeof(FmoeConfig));
	fmoe_parse_config(NULL, config);
	config->model = from->model;
	config->width = from->width;
	config->layers = from->layers;
	config->heads = from->heads;
	config->max_length = from->max_length;
	fmoe_config_check(config, fmoe_host(CurrentMemoryContext), 1);
}

/* Sums of zero for an architecture, in context. */
static State *
state_create(MemoryContext context, const FmoeConfig *config)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	State	   *state = palloc0(sizeof(State));
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];
	FnnParams  *params = palloc0(sizeof(FnnParams));
	size_t		bytes = 0;

	architecture(config, &state->config);
	state->holdout = FMOE_HOLDOUT_TEST_FIFTH;
	fmoe_declare_class(params, fmoe_host(context), class, &state->config, &(FmoeFacts) {.n_items = 1});
	state->arrays = palloc0(sizeof(FnnArray) * params->count);
	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		FnnArray   *array = &state->arrays[state->n_arrays];

		if (param->share != FNN_PUBLIC)
			continue;
		strlcpy(array->name, param->name, FNN_NAME_MAX);
		array->ndim = 2;
		array->shape[0] = param->rows;
		array->shape[1] = param->cols;
		array->bytes = sizeof(double) * elements(array);
		bytes += array->bytes;
		state->n_arrays++;
	}
	fmoe_check_memory(bytes, "averaging experts");
	for (int i = 0; i < state->n_arrays; i++)
		state->arrays[i].data = MemoryContextAllocExtended(context, Max(state->arrays[i].bytes, 1),
														   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	pfree(params);
	MemoryContextSwitchTo(old);
	return state;
}

static void
check_architecture(const FmoeConfig *a, const FmoeConfig *b)
{
	if (a->model == b->model && a->width == b->width && a->layers == b->layers &&
		a->heads == b->heads && a->max_length == b->max_length)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("experts of different architectures have no average"),
			 errdetail("One has model \"%s\", width %d, layers %d, heads %d, max_length %d,"
					   " another model \"%s\", width %d, layers %d, heads %d, max_length %d.",
					   fmoe_expert_names[a->model], a->width, a->layers, a->heads, a->max_length,
					   fmoe_expert_names[b->model], b->width, b->layers, b->heads, b->max_length)));
}

/* The shapes of an encoder of its own kind follow from options that are not compared here. */
static void
check_averages(const FmoeVersion *facts)
{
	FmoeShape	shape;

	if (fmoe_lendable(&facts->config, &shape) && shape.encoder == FMOE_OWN_ENCODER)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("experts of model \"%s\" have no average", facts->model)));
}

static void
add_count(int64 *sum, int64 count)
{
	if (pg_add_s64_overflow(*sum, count, sum))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the experts have too many examples, events or users together")));
}

/* ---------------------------------------------------------------- transition */

/* The encoder in a file, which may hold more. */
static FmoeExpertFile *
read_encoder(bytea *bytes)
{
	FmoeExpertFile *file = fmoe_expert_read(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));

	if (!file->facts.complete)
		return file;
	file->facts.complete = false;
	file->n_arrays = fmoe_keep_encoder(&file->facts.config, file->facts.items, file->n_arrays, file->arrays);
	if (file->n_arrays == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("experts of model \"%s\" have no encoder to average", file->facts.model)));
	bytes = fmoe_expert_write(file);
	return fmoe_expert_read(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

static int
holdout_of(const char *name)
{
	int			holdout = FMOE_HOLDOUT_NONE;

	while (holdout < FMOE_HOLDOUTS - 1 && strcmp(fmoe_holdout_names[holdout], name) != 0)
		holdout++;
	return holdout;
}

static void
add_file(State *state, const FmoeExpertFile *file, int64 examples)
{
	const FmoeVersion *facts = &file->facts;

	state->files++;
	state->holdout = fmoe_least_holdout(state->holdout, holdout_of(facts->holdout));
	add_count(&state->examples, examples);
	add_count(&state->events, facts->events);
	add_count(&state->users, facts->users);
	add_count(&state->items, facts->items);
	/* reading the file has checked that it has all these arrays, in some order, with these shapes */
	for (int i = 0; i < state->n_arrays; i++)
	{
		FnnArray   *sum = &state->arrays[i];
		const float *value = fnn_find_array(file->n_arrays, file->arrays, sum->name)->data;

		for (int64 e = 0; e < elements(sum); e++)
			((double *) sum->data)[e] += (double) examples * value[e];
		CHECK_FOR_INTERRUPTS();
	}
}

Datum
fmoe_fedavg_transition(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	State	   *state = PG_ARGISNULL(0) ? NULL : (State *) PG_GETARG_POINTER(0);
	MemoryContext scratch;
	MemoryContext old;
	FmoeExpertFile *file;
	int64		examples;

	if (PG_ARGISNULL(1) || (PG_NARGS() > 2 && PG_ARGISNULL(2)))
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	scratch = AllocSetContextCreate(CurrentMemoryContext, "fmoe average", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	file = read_encoder(PG_GETARG_BYTEA_PP(1));
	check_averages(&file->facts);
	examples = PG_NARGS() > 2 ? PG_GETARG_INT64(2) : file->facts.events;
	if (examples < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an expert cannot count for " INT64_FORMAT " examples", examples),
				 errdetail("The average weighs experts by their examples, which must be positive.")));
	if (state == NULL)
		state = state_create(context, &file->facts.config);
	else
		check_architecture(&state->config, &file->facts.config);
	add_file(state, file, examples);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	PG_RETURN_POINTER(state);
}

/* ---------------------------------------------------------------- combination */

Datum
fmoe_fedavg_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = aggregate_context(fcinfo);
	State	   *state = PG_ARGISNULL(0) ? NULL : (State *) PG_GETARG_POINTER(0);
	State	   *other = PG_ARGISNULL(1) ? NULL : (State *) PG_GETARG_POINTER(1);

	if (other == NULL)
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	if (state == NULL)
		state = state_create(context, &other->config);
	else
		check_architecture(&state->config, &other->config);
	state->holdout = fmoe_least_holdout(state->holdout, other->holdout);
	add_count(&state->files, other->files);
	add_count(&state->examples, other->examples);
	add_count(&state->events, other->events);
	add_count(&state->users, other->users);
	add_count(&state->items, other->items);
	for (int i = 0; i < state->n_arrays; i++)
	{
		for (int64 e = 0; e < elements(&state->arrays[i]); e++)
			((double *) state->arrays[i].data)[e] += ((double *) other->arrays[i].data)[e];
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_POINTER(state);
}

Datum
fmoe_fedavg_serialize(PG_FUNCTION_ARGS)
{
	State	   *state = (State *) PG_GETARG_POINTER(0);
	StringInfoData out;

	(void) aggregate_context(fcinfo);
	pq_begintypsend(&out);
	pq_sendint32(&out, STATE_FORMAT);
	pq_sendint32(&out, state->config.model);
	pq_sendint32(&out, state->config.width);
	pq_sendint32(&out, state->config.layers);
	pq_sendint32(&out, state->config.heads);
	pq_sendint32(&out, state->config.max_length);
	pq_sendint32(&out, state->holdout);
	pq_sendint64(&out, state->files);
	pq_sendint64(&out, state->examples);
	pq_sendint64(&out, state->events);
	pq_sendint64(&out, state->users);
	pq_sendint64(&out, state->items);
	for (int i = 0; i < state->n_arrays; i++)
	{
		appendBinaryStringInfo(&out, state->arrays[i].data, state->arrays[i].bytes);
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&out));
}

#define damaged_state() \
	ereport(ERROR, \
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), \
			 errmsg("invalid state of fmoe_fedavg")))

static int
take_int(StringInfo in, int64 low, int64 high)
{
	int			value = (int) pq_getmsgint(in, 4);

	if (value < low || value > high)
		damaged_state();
	return value;
}

static int64
take_count(StringInfo in, int64 low)
{
	int64		value = pq_getmsgint64(in);

	if (value < low)
		damaged_state();
	return value;
}

/* An option's range is that of fmoe_train. */
static int
take_option(StringInfo in, const char *name)
{
	const FmoeOption *option = fmoe_train_options;

	while (strcmp(option->name, name) != 0)
		option++;
	return take_int(in, (int64) option->min, (int64) option->max);
}

static int
count_classes(void)
{
	int			n = 0;

	while (fmoe_expert_classes[n] != NULL)
		n++;
	return n;
}

Datum
fmoe_fedavg_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData in;
	FmoeConfig	config = {0};
	FmoeShape	shape;
	FmoeMisfit	misfit;
	State	   *state;
	int			holdout;

	(void) aggregate_context(fcinfo);
	in.data = VARDATA_ANY(bytes);
	in.len = in.maxlen = VARSIZE_ANY_EXHDR(bytes);
	in.cursor = 0;
	(void) take_int(&in, STATE_FORMAT, STATE_FORMAT);
	config.model = take_int(&in, 0, count_classes() - 1);
	config.width = take_option(&in, "width");
	config.layers = take_option(&in, "layers");
	config.heads = take_option(&in, "heads");
	config.max_length = take_option(&in, "max_length");
	holdout = take_int(&in, FMOE_HOLDOUT_NONE, FMOE_HOLDOUTS - 1);
	if (fmoe_only_counts(fmoe_expert_classes[config.model]) || !fmoe_config_fits(&config, &misfit) ||
		!fmoe_lendable(&config, &shape) || shape.encoder == FMOE_OWN_ENCODER)
		damaged_state();
	state = state_create(CurrentMemoryContext, &config);
	state->holdout = holdout;
	state->files = take_count(&in, 1);
	state->examples = take_count(&in, 1);
	state->events = take_count(&in, 0);
	state->users = take_count(&in, 0);
	state->items = take_count(&in, 0);
	for (int i = 0; i < state->n_arrays; i++)
	{
		FnnArray   *array = &state->arrays[i];

		pq_copymsgbytes(&in, array->data, array->bytes);
		for (int64 e = 0; e < elements(array); e++)
		{
			if (!isfinite(((double *) array->data)[e]))
				damaged_state();
		}
		CHECK_FOR_INTERRUPTS();
	}
	pq_getmsgend(&in);
	PG_RETURN_POINTER(state);
}

/* ---------------------------------------------------------------- the average */

/* An F32 array of means; the data in the current context. */
static FnnArray
mean_of(const FnnArray *sum, int64 examples)
{
	FnnArray	mean = *sum;
	float	   *value;

	mean.dtype = FNN_F32;
	mean.bytes = sizeof(float) * elements(sum);
	value = MemoryContextAllocHuge(CurrentMemoryContext, Max(mean.bytes, 1));
	for (int64 e = 0; e < elements(sum); e++)
	{
		value[e] = ((double *) sum->data)[e] / examples;
		if (!isfinite(value[e]))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("the average of array \"%s\" is not finite", sum->name)));
	}
	mean.data = value;
	return mean;
}

Datum
fmoe_fedavg_final(PG_FUNCTION_ARGS)
{
	State	   *state = PG_ARGISNULL(0) ? NULL : (State *) PG_GETARG_POINTER(0);
	FmoeExpertFile file = {0};
	FmoeVersion *facts = &file.facts;

	(void) aggregate_context(fcinfo);
	if (state == NULL)
		PG_RETURN_NULL();
	facts->config = state->config;
	facts->config.holdout = state->holdout;
	facts->model = fmoe_expert_names[state->config.model];
	facts->holdout = fmoe_holdout_names[state->holdout];
	facts->events = state->events;
	facts->users = state->users;
	facts->items = (int32) Min(state->items, PG_INT32_MAX - 1);
	facts->last_event = NAN;
	file.n_arrays = state->n_arrays;
	file.arrays = palloc(sizeof(FnnArray) * state->n_arrays);
	for (int i = 0; i < state->n_arrays; i++)
	{
		file.arrays[i] = mean_of(&state->arrays[i], state->examples);
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_BYTEA_P(fmoe_expert_write(&file));
}

/*
 * options.c
 *	  The options that hm4sr has besides those of every model, and those that follow from the data.
 */
#include "model/data/dense.h"
#include "model/hm4sr/hm4sr.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Names of streams that are no single column. */
#define TEXT "text"
#define CATEGORIES "categories"

/* Rows of the table of intervals for each doubling. */
#define ROWS_PER_DOUBLING 100

#define NORM_EPSILON 1e-12

#define AT(field) offsetof(FmoeHm4srOptions, field)

static const FmoeOption stream_options[] = {
	{"name", FMOE_OPTION_NAME, offsetof(FmoeHm4srStream, name), 0, 0, NULL, "",
	"text, categories or vector_N"},
	{NULL}
};

static const FmoeOptionList stream_list = {
	.element = stream_options,
	.first = offsetof(FmoeHm4srStreams, stream),
	.bytes = sizeof(FmoeHm4srStream),
	.max = FMOE_HM4SR_STREAMS_MAX,
	.what = "names of streams",
	.listed = "they are text, categories and vector_1, vector_2 and so on, in the order of vector_columns"
	};

const FmoeOption fmoe_hm4sr_options[] = {
	{"streams", FMOE_OPTION_LIST, AT(streams), 0, 0, NULL, NULL,
		"beside that of ids: text, categories, vector_1 and so on; when not given, text and all vectors,"
	" and without vectors categories", NULL, &stream_list},
	{"experts", FMOE_OPTION_INT, AT(experts), 1, FMOE_HM4SR_EXPERTS_MAX, NULL, "4",
	"of the mixture of streams and of that by times"},
	{"inner", FMOE_OPTION_INT, AT(inner), 0, 8192, NULL, "0",
	"width inside of blocks; 0: four times the width"},
	{"time", FMOE_OPTION_BOOL, AT(time), 0, 0, NULL, "true",
	"streams are scaled by experts that intervals and times choose"},
	{"frozen", FMOE_OPTION_BOOL, AT(frozen), 0, 0, NULL, "false",
	"these experts stay as they were drawn", "time"},
	{"time_mean", FMOE_OPTION_REAL, AT(time_mean), -10, 10, NULL, "1",
	"mean of what these experts are drawn around, with a deviation of 0.1", "time"},
	{"now", FMOE_OPTION_BOOL, AT(now), 0, 0, NULL, "false",
	"states are scaled by how long after the last event they are asked for", "time"},
	{"intervals", FMOE_OPTION_INT, AT(intervals), 0, 100000, NULL, "0",
	"rows of the table of intervals, a hundred for each doubling; 0: up to the longest that trains", "time"},
	{"time_unit", FMOE_OPTION_REAL, AT(time_unit), 1e-3, 1e10, NULL, "86400",
	"seconds that count 1 in phases of times", "time"},
	{"idcl", FMOE_OPTION_REAL, AT(idcl), 0, 100, NULL, "0.1",
	"weight of the contrast of id states with the ids that followed; 0: none"},
	{"cp", FMOE_OPTION_REAL, AT(cp), 0, 100, NULL, "0.1",
	"weight of telling an item's categories from its vectors; 0: none"},
	{"pcl", FMOE_OPTION_REAL, AT(pcl), 0, 100, NULL, "0.1",
	"weight of the contrast with histories of which a part is hidden; 0: none"},
	FMOE_GATED_OPTIONS(AT(gated)),
	{NULL}
};

/* ---------------------------------------------------------------- streams */

bool
fmoe_hm4sr_of_stream(const FmoeConfig *config, int stream, const FmoeFeature *feature)
{
	const char *name = fmoe_hm4sr_own(config)->streams.stream[stream - 1].name;

	if (strcmp(name, TEXT) == 0)
		return feature->modality == FMOE_TEXT;
	if (strcmp(name, CATEGORIES) == 0)
		return feature->modality == FMOE_CATEGORY;
	return feature->modality == FMOE_VECTOR && strcmp(name, feature->name) == 0;
}

unsigned
fmoe_hm4sr_reads(const FmoeConfig *config)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(config);
	unsigned	reads = own->cp > 0 ? FMOE_READS_CATEGORIES : 0;

	if (own->streams.count < 0)
		return FMOE_READS_TEXT | FMOE_READS_CATEGORIES | FMOE_READS_VECTORS | FMOE_NEEDS_FEATURES;
	for (int s = 0; s < own->streams.count; s++)
	{
		const char *name = own->streams.stream[s].name;

		reads |= FMOE_NEEDS_FEATURES | (strcmp(name, TEXT) == 0 ? FMOE_READS_TEXT
										: strcmp(name, CATEGORIES) == 0 ? FMOE_READS_CATEGORIES : FMOE_READS_VECTORS);
	}
	return reads;
}

static void
add_stream(FmoeHm4srStreams *streams, const char *name)
{
	if (streams->count < FMOE_HM4SR_STREAMS_MAX)
		snprintf(streams->stream[streams->count].name, FMOE_EXPERT_NAME_MAX, "%s", name);
	streams->count++;
}

static void
streams_of_items(FmoeHm4srStreams *streams, const FmoeFeatures *features)
{
	int			of[FMOE_MODALITIES] = {0};

	memset(streams, 0, sizeof(*streams));
	for (int i = 0; features != NULL && i < features->count; i++)
		of[features->feature[i].modality]++;
	if (of[FMOE_TEXT] > 0)
		add_stream(streams, TEXT);
	for (int i = 0; of[FMOE_VECTOR] > 0 && i < features->count; i++)
		if (features->feature[i].modality == FMOE_VECTOR)
			add_stream(streams, features->feature[i].name);
	if (of[FMOE_VECTOR] == 0 && of[FMOE_CATEGORY] > 0)
		add_stream(streams, CATEGORIES);
}

/* Whether every stream has a feature. */
static bool
streams_exist(const FmoeConfig *config, const FmoeFeatures *features, FmoeMisfit *misfit)
{
	for (int s = 1; s < fmoe_hm4sr_streams(config); s++)
	{
		const char *name = fmoe_hm4sr_own(config)->streams.stream[s - 1].name;
		bool		found = false;

		for (int i = 0; features != NULL && i < features->count; i++)
			found = found || fmoe_hm4sr_of_stream(config, s, &features->feature[i]);
		if (found)
			continue;
		snprintf(misfit->message, sizeof(misfit->message), "the domain has nothing for the stream \"%.100s\"", name);
		snprintf(misfit->detail, sizeof(misfit->detail), "%s", strcmp(name, TEXT) == 0 ? "It has no column of texts."
				 : strcmp(name, CATEGORIES) == 0 ? "It has no column of categories."
				 : "A stream is \"text\", \"categories\", or \"vector_N\" for the domain's N-th column of vectors.");
		snprintf(misfit->hint, sizeof(misfit->hint), "Leave \"streams\" out, or register the column with fmoe_alter_domain.");
		return false;
	}
	return true;
}

/* ---------------------------------------------------------------- intervals */

int32_t
fmoe_hm4sr_interval(double seconds, int64_t rows)
{
	double		row = floor(ROWS_PER_DOUBLING * log2(seconds + 1));

	/* what is no number, or before, counts as no time at all */
	if (!(seconds > 0))
		return 0;
	return row < (double) rows ? (int32_t) row : (int32_t) rows - 1;
}

/* The longest time between two baskets of a user that train, in seconds. */
static double
longest_interval(const FmoeConfig *config, const FmoeDataset *data)
{
	double		longest = 0;

	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		end = fmoe_train_end(data, (FmoeHoldout) config->holdout, user);

		for (int64_t event = data->offset[user] + 1; event < end; event++)
			longest = fmax(longest, data->events.time[event] - data->events.time[event - 1]);
	}
	return longest;
}

bool
fmoe_hm4sr_complete(FmoeConfig *config, const FmoeDataset *data, FmoeMisfit *misfit)
{
	FmoeHm4srOptions *own = (FmoeHm4srOptions *) config->own.bytes;

	if (own->streams.count < 0)
		streams_of_items(&own->streams, data->features);
	if (own->streams.count > FMOE_HM4SR_STREAMS_MAX)
	{
		snprintf(misfit->message, sizeof(misfit->message), "the items have %d streams, where %d are the most",
				 own->streams.count, FMOE_HM4SR_STREAMS_MAX);
		snprintf(misfit->detail, sizeof(misfit->detail), "Every column of vectors is one, and all texts together.");
		snprintf(misfit->hint, sizeof(misfit->hint), "Choose some with the option \"streams\".");
		own->streams.count = -1;
		return false;
	}
	if (own->time && own->intervals == 0)
		own->intervals = fmoe_hm4sr_interval(longest_interval(config, data), INT32_MAX) + 1;
	return streams_exist(config, data->features, misfit);
}

/* ---------------------------------------------------------------- what fits */

FmoePostnorm
fmoe_hm4sr_blocks(const FmoeConfig *config)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(config);

	return (FmoePostnorm)
	{
		.width = config->width,
			.inner = own->inner > 0 ? own->inner : 4 * config->width,
			.heads = config->heads,
			.layers = config->layers,
			.epsilon = NORM_EPSILON,
			.dropout = config->dropout
		};
}

bool
fmoe_hm4sr_fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	FmoeShape	shape = fmoe_shape_of(config, 0);

	return fmoe_shape_fits(&shape, misfit);
}

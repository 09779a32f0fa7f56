/*
 * declare.c
 *	  The parameters of hm4sr.
 *
 * Initial values are the paper's: maps and tables N(0, 0.02), what mixes streams,
 * tells categories and stands for what is hidden as torch.nn.Linear has it, and
 * the scales 0 for ids and 1 for all others.
 */
#include "model/data/dense.h"
#include "model/hm4sr/hm4sr.h"

#include <math.h>
#include <stdio.h>

#define TIME_EXPERT_SCALE 0.1

/* ---------------------------------------------------------------- items */

int64_t
fmoe_hm4sr_classes(const FmoeFeatures *features)
{
	int64_t		classes = 0;

	for (int i = 0; features != NULL && i < features->count; i++)
		if (features->feature[i].modality == FMOE_CATEGORY)
			classes += features->feature[i].width;
	return classes;
}

/* The maps of the features of a stream, and its shift. */
static void
declare_stream(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFeatures *features, int stream)
{
	char		name[FNN_NAME_MAX];

	for (int i = 0; features != NULL && i < features->count; i++)
	{
		const FmoeFeature *feature = &features->feature[i];
		int64_t		dense = fmoe_dense_width(feature);

		if (!fmoe_hm4sr_of_stream(config, stream, feature))
			continue;
		fmoe_featured_name(feature->name, name);
		if (dense > 0)
			fmoe_declare_weight(to, FNN_ITEMS, name, config->width, dense, FNN_INIT_NORMAL, FMOE_INIT_SCALE);
		else
		{
			FnnParam   *table = fmoe_declare(to, FNN_ITEMS, name, feature->width, config->width, FNN_INIT_NORMAL,
											 FMOE_INIT_SCALE);

			table->decay = true;
			table->rows_of = FNN_OF_TERMS;
		}
	}
	snprintf(name, sizeof(name), "stream.%d.shift", stream);
	fmoe_declare(to, FNN_ITEMS, name, 1, config->width, FNN_INIT_ZERO, 0);
}

/* ---------------------------------------------------------------- the rest */

/* "NAME.weight" and "NAME.bias" as torch.nn.Linear draws them. */
static void
declare_uniform(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t out, int64_t in)
{
	double		scale = 1 / sqrt((double) in);
	char		full[2 * FNN_NAME_MAX];

	snprintf(full, sizeof(full), "%s.weight", name);
	fmoe_declare_weight(to, group, full, out, in, FNN_INIT_UNIFORM, scale);
	snprintf(full, sizeof(full), "%s.bias", name);
	fmoe_declare(to, group, full, 1, out, FNN_INIT_UNIFORM, scale);
}

static void
declare_mix(FmoeDeclaring *to, const FmoeConfig *config)
{
	int			streams = fmoe_hm4sr_streams(config);
	int64_t		all = (int64_t) streams * config->width;
	int			experts = fmoe_hm4sr_own(config)->experts;
	char		name[FNN_NAME_MAX];

	for (int k = 0; k < experts; k++)
	{
		snprintf(name, sizeof(name), "mix.expert.%d", k);
		declare_uniform(to, FNN_ENCODER, name, all, all);
	}
	for (int s = 0; s < streams; s++)
	{
		snprintf(name, sizeof(name), "mix.gate.%d", s);
		declare_uniform(to, FNN_GATE, name, experts, config->width);
	}
	fmoe_declare(to, FNN_GATE, "mix.scale.id", 1, 1, FNN_INIT_ZERO, 0);
	fmoe_declare(to, FNN_GATE, "mix.scale.others", 1, streams - 1, FNN_INIT_ONE, 0);
}

static void
declare_time(FmoeDeclaring *to, const FmoeConfig *config)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(config);
	int64_t		width = config->width;
	FnnParam   *experts;

	/* as positions, of which another model may have more or fewer: it can begin with them all the same */
	fmoe_declare(to, FNN_POSITIONS, "time.interval.weight", own->intervals, width, FNN_INIT_NORMAL, FMOE_INIT_SCALE);
	fmoe_declare(to, FNN_ENCODER, "time.phase.weight", 1, width, FNN_INIT_NORMAL, FMOE_INIT_SCALE);
	fmoe_declare(to, FNN_ENCODER, "time.phase.bias", 1, width, FNN_INIT_ZERO, 0);
	fmoe_declare_linear(to, FNN_GATE, "time.gate", own->experts, 2 * width);
	experts = fmoe_declare(to, FNN_ENCODER, "time.expert", own->experts, fmoe_hm4sr_streams(config) * width,
						   FNN_INIT_NORMAL, TIME_EXPERT_SCALE);
	experts->decay = false;
	experts->frozen = experts->frozen || own->frozen;
	if (!own->now)
		return;
	fmoe_declare_linear(to, FNN_GATE, "now.gate", own->experts, 2 * width);
	fmoe_declare(to, FNN_ENCODER, "now.expert", own->experts, fmoe_hm4sr_streams(config) * width, FNN_INIT_ONE,
				 0)->decay = false;
}

static void
declare_tower(FmoeDeclaring *to, const FmoeConfig *config, int stream)
{
	FmoePostnorm blocks = fmoe_hm4sr_blocks(config);
	FmoeDeclaring in_tower = *to;
	char		prefix[FNN_NAME_MAX];

	snprintf(prefix, sizeof(prefix), "%stower.%d.", to->prefix, stream);
	in_tower.prefix = prefix;
	fmoe_declare_norm(&in_tower, FNN_ENCODER, "norm", config->width);
	fmoe_declare_postnorm(&in_tower, &blocks);
}

/* What only losses use. */
static void
declare_heads(FmoeDeclaring *to, const FmoeConfig *config, int64_t classes)
{
	const FmoeHm4srOptions *own = fmoe_hm4sr_own(config);
	int			streams = fmoe_hm4sr_streams(config);
	double		scale = 1 / sqrt(2.0 * config->width);
	char		name[FNN_NAME_MAX];

	if (own->cp > 0 && classes > 0)
	{
		declare_uniform(to, FNN_HEAD, "category", classes, (int64_t) streams * config->width);
		to->params->list[to->params->count - 2].rows_of = FNN_OF_TERMS;
	}
	for (int s = 1; own->pcl > 0 && s < streams; s++)
	{
		snprintf(name, sizeof(name), "placeholder.%d.bias", s);
		fmoe_declare(to, FNN_HEAD, name, 1, config->width, FNN_INIT_UNIFORM, scale);
		snprintf(name, sizeof(name), "placeholder.%d.weight", s);
		if (own->time)
			fmoe_declare_weight(to, FNN_HEAD, name, config->width, 2 * config->width, FNN_INIT_UNIFORM, scale);
	}
}

void
fmoe_hm4sr_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	FmoeDeclaring local = *to;

	if (fmoe_hm4sr_streams(config) < 1)
		fnn_fail(to->host, FNN_INVALID, "the streams of the model are not known yet");
	local.share = FNN_LOCAL;
	fmoe_declare_items(to, config, facts->n_items, config->width);
	for (int s = 1; s < fmoe_hm4sr_streams(config); s++)
		declare_stream(&local, config, facts->features, s);
	fmoe_declare(to, FNN_POSITIONS, "position.weight", config->max_length, config->width, FNN_INIT_NORMAL,
				 FMOE_INIT_SCALE);
	if (fmoe_hm4sr_streams(config) > 1)
		declare_mix(to, config);
	if (fmoe_hm4sr_own(config)->time)
		declare_time(to, config);
	for (int s = 0; s < fmoe_hm4sr_streams(config); s++)
		declare_tower(to, config, s);
	declare_heads(&local, config, fmoe_hm4sr_classes(facts->features));
}

/* ---------------------------------------------------------------- where they are */

void
fmoe_hm4sr_layout(const FmoeConfig *config, const FnnParams *params, FmoeHm4srLayout *layout)
{
	FmoePostnorm blocks = fmoe_hm4sr_blocks(config);

	*layout = (FmoeHm4srLayout)
	{
		.streams = fmoe_hm4sr_streams(config),
			.width = config->width,
			.positions = fnn_params_find(params, "position.weight"),
			.mix_expert = fnn_params_find(params, "mix.expert.0.weight"),
			.mix_gate = fnn_params_find(params, "mix.gate.0.weight"),
			.mix_scale = fnn_params_find(params, "mix.scale.id"),
			.interval = fnn_params_find(params, "time.interval.weight"),
			.phase = fnn_params_find(params, "time.phase.weight"),
			.time_gate = fnn_params_find(params, "time.gate.weight"),
			.time_expert = fnn_params_find(params, "time.expert"),
			.now_gate = fnn_params_find(params, "now.gate.weight"),
			.now_expert = fnn_params_find(params, "now.expert"),
			.tower = fnn_params_find(params, "tower.0.norm.gain"),
			.tower_slices = 2 + fmoe_postnorm_slices(&blocks),
			.category = fnn_params_find(params, "category.weight"),
			.placeholder = fnn_params_find(params, "placeholder.1.bias"),
			.placeholder_slices = fmoe_hm4sr_own(config)->time ? 2 : 1
	};
}

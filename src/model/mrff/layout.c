/*
 * layout.c
 *	  Where the parameters of a model are, and their declaration.
 *
 * With the paper's sizes (six categories, width 8, two blocks, 65 positions, four
 * groups, four features of users) there are 27 225 + 8 (values + 6) public numbers,
 * 4 704 of each group in each block, and 9 584 of each user; the labels of past
 * impressions and the rates, which the paper does not have, are beside them.
 */
#include "model/data/dense.h"
#include "model/mrff/mrff.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Slices of maps and of the head. */
enum
{
	HEAD_SLICES = 4,
	RATE_SLICES = 2
};

/* The category features; returns how many. */
static int
categories(const FmoeFeatures *features, int *which)
{
	int			n = 0;

	for (int i = 0; features != NULL && i < features->count; i++)
		if (features->feature[i].modality == FMOE_CATEGORY && features->feature[i].value == NULL)
			which[n++] = i;
	return n;
}

/* The features that are rows of numbers; returns how many. */
static int
dense_features(const FmoeFeatures *features, int *which)
{
	int			n = 0;

	for (int i = 0; features != NULL && i < features->count; i++)
		if (fmoe_dense_width(&features->feature[i]) > 0)
			which[n++] = i;
	return n;
}

void
fmoe_mrff_layout(const FmoeConfig *config, const FmoeFeatures *features, const FmoeFeatures *user_features,
				 bool users, FmoeMrffLayout *layout)
{
	const FmoeMrffOptions *own = fmoe_mrff_own(config);
	int			slice;

	memset(layout, -1, sizeof(*layout));
	layout->n_item_features = own->item_features != FMOE_MRFF_NO_FEATURES
		? categories(features, layout->item_feature) : 0;
	layout->n_dense_features = own->item_features == FMOE_MRFF_ALL_FEATURES
		? dense_features(features, layout->dense_feature) : 0;
	layout->n_user_features = own->user_features != FMOE_MRFF_NO_USERS
		? categories(user_features, layout->user_feature) : 0;
	layout->width = (int64_t) config->width * (layout->n_item_features + layout->n_dense_features + own->ids);
	layout->user_width = (int64_t) config->width * layout->n_user_features;
	layout->map = 2 * layout->width * (layout->width + 1);
	layout->n_rates = own->history_rates ? FMOE_MRFF_RATES + layout->n_item_features : 0;

	layout->dense = layout->n_item_features;
	slice = layout->dense + layout->n_dense_features;
	if (own->ids)
		layout->ids = slice++;
	if (own->past_labels)
		layout->label = slice++;
	layout->position = slice++;
	layout->block = slice;
	slice += config->layers * FMOE_MRFF_BLOCK_SLICES;
	layout->norm = slice;
	slice += 2;
	layout->head = slice;
	slice += HEAD_SLICES;
	if (layout->n_rates > 0)
	{
		layout->rates = slice;
		layout->odds = slice + RATE_SLICES;
		slice += RATE_SLICES + layout->n_item_features;
	}
	if (own->user_features == FMOE_MRFF_SHARED && layout->n_user_features > 0)
	{
		layout->user = slice;
		slice += layout->n_user_features;
	}
	layout->private_columns = own->private_rows ? config->layers * layout->map : 0;
	for (int i = 0; own->user_features == FMOE_MRFF_OWN && i < layout->n_user_features; i++)
		layout->private_columns += (int64_t) config->width * user_features->feature[layout->user_feature[i]].width;
	if (own->private_rows && users)
		layout->private_rows = slice;
}

void
fmoe_mrff_layout_of(const FmoeExpert *expert, FmoeMrffLayout *layout)
{
	const FnnParams *params = expert->params;
	bool		users = params->count > 0 && params->list[params->count - 1].share == FNN_PRIVATE;

	fmoe_mrff_layout(expert->config, expert->features, expert->user_features, users, layout);
}

/* ---------------------------------------------------------------- declaring */

/* The usual start of a linear map: U(-1/sqrt(in), 1/sqrt(in)). */
static void
declare_map(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t out, int64_t in)
{
	char		full[FNN_NAME_MAX];

	snprintf(full, sizeof(full), "%s.weight", name);
	fmoe_declare_weight(to, group, full, out, in, FNN_INIT_UNIFORM, 1 / sqrt((double) in));
	snprintf(full, sizeof(full), "%s.bias", name);
	fmoe_declare(to, group, full, 1, out, FNN_INIT_UNIFORM, 1 / sqrt((double) in));
}

/* A row for each value, and the last for what has none. */
static void
declare_tables(FmoeDeclaring *to, FnnGroup group, const char *of, int64_t width, FnnInit init,
			   const FmoeFeatures *features, int n, const int *which)
{
	for (int i = 0; i < n; i++)
	{
		const FmoeFeature *feature = &features->feature[which[i]];
		char		name[FNN_NAME_MAX];
		FnnParam   *param;

		snprintf(name, sizeof(name), "%s.%s.weight", of, feature->name);
		param = fmoe_declare(to, group, name, feature->width + (int64_t) 1, width, init, FMOE_INIT_SCALE);
		param->rows_of = group == FNN_ENCODER ? FNN_OF_USER_TERMS : FNN_OF_TERMS;
	}
}

static void
declare_block(FmoeDeclaring *to, const FmoeConfig *config, const FmoeMrffLayout *layout, int block)
{
	FmoeDeclaring in_block = *to;
	char		prefix[FNN_NAME_MAX];
	int64_t		width = layout->width;
	int			groups = fmoe_mrff_own(config)->groups;
	FnnParam   *of_groups;

	snprintf(prefix, sizeof(prefix), "%sblock.%d.", to->prefix, block);
	in_block.prefix = prefix;
	fmoe_declare_norm(&in_block, FNN_ENCODER, "norm1", width);
	declare_map(&in_block, FNN_ENCODER, "query", width, width);
	declare_map(&in_block, FNN_ENCODER, "key_value", 2 * width, width);
	declare_map(&in_block, FNN_ENCODER, "output", width, width);
	fmoe_declare_norm(&in_block, FNN_ENCODER, "norm2", width);
	declare_map(&in_block, FNN_GATE, "gate", groups, width + layout->user_width);
	of_groups = fmoe_declare(&in_block, FNN_ENCODER, "groups.weight", groups, layout->map, FNN_INIT_UNIFORM,
							 1 / sqrt((double) width));
	of_groups->decay = true;
	of_groups->rows_of = FNN_OF_GROUPS;
}

void
fmoe_mrff_declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	FmoeMrffLayout layout;
	int64_t		width;

	fmoe_mrff_layout(config, facts->features, facts->user_features, facts->n_users > 0, &layout);
	width = layout.width;
	if (width == 0)
		fnn_fail(to->host, FNN_INVALID, "the items have no %s", fmoe_mrff_own(config)->item_features ==
				 FMOE_MRFF_CATEGORIES ? "categories" : "features");
	declare_tables(to, FNN_ITEMS, "item", config->width, FNN_INIT_NORMAL, facts->features, layout.n_item_features,
				   layout.item_feature);
	for (int i = 0; i < layout.n_dense_features; i++)
	{
		const FmoeFeature *feature = &facts->features->feature[layout.dense_feature[i]];
		char		name[FNN_NAME_MAX];

		snprintf(name, sizeof(name), "item.%s.weight", feature->name);
		fmoe_declare_weight(to, FNN_ITEMS, name, config->width, fmoe_dense_width(feature), FNN_INIT_NORMAL,
							FMOE_INIT_SCALE);
	}
	if (layout.ids >= 0)
		fmoe_declare_items(to, config, facts->n_items, config->width)->sparse = true;
	if (layout.label >= 0)
		fmoe_declare(to, FNN_ENCODER, "label.weight", 2, width, FNN_INIT_NORMAL, FMOE_INIT_SCALE);
	fmoe_declare(to, FNN_POSITIONS, "position.weight", config->max_length, width, FNN_INIT_NORMAL,
				 FMOE_INIT_SCALE)->decay = true;
	for (int block = 0; block < config->layers; block++)
		declare_block(to, config, &layout, block);
	fmoe_declare_norm(to, FNN_ENCODER, "norm", width);
	declare_map(to, FNN_HEAD, "head.inner", FMOE_MRFF_HEAD, 2 * width + layout.user_width);
	declare_map(to, FNN_HEAD, "head.outer", 1, FMOE_MRFF_HEAD);
	if (layout.rates >= 0)
	{
		fmoe_declare(to, FNN_HEAD, "rates.weight", 1, layout.n_rates, FNN_INIT_ZERO, 0);
		fmoe_declare(to, FNN_HEAD, "rates.share", 1, 2, FNN_INIT_ZERO, 0)->frozen = true;
		declare_tables(to, FNN_HEAD, "odds", 1, FNN_INIT_ZERO, facts->features, layout.n_item_features,
					   layout.item_feature);
	}
	if (layout.user >= 0)
		declare_tables(to, FNN_ENCODER, "user", config->width, FNN_INIT_NORMAL, facts->user_features,
					   layout.n_user_features, layout.user_feature);
	if (layout.private_rows >= 0)
	{
		FnnParam   *param = fmoe_declare(to, FNN_ENCODER, "private.weight", facts->n_users, layout.private_columns,
										 FNN_INIT_UNIFORM, 1 / sqrt((double) width));

		param->share = FNN_PRIVATE;
		param->sparse = true;
		param->decay = true;
	}
}

/*
 * memory.c
 *	  What a pass takes: an upper estimate.
 */
#include "model/data/dense.h"
#include "model/mrff/mrff.h"

#include <math.h>

/* Matrices as wide as the states that a block keeps of each token, and those around the blocks. */
#define BLOCK_MATRICES 22.0
#define OTHER_MATRICES 12.0

double
fmoe_mrff_bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	const FmoeMrffOptions *own = fmoe_mrff_own(config);
	FmoeMrffLayout layout;
	double		wide;
	double		reals;
	double		terms = 0;
	double		edges = 0;
	double		numbers_of_items = 0;
	double		numbers;

	if (phase == FMOE_PREPARED)
		return fmoe_click_rates_bytes(facts->features);
	if (phase != FMOE_RECORDED && phase != FMOE_UNRECORDED)
		return 0;
	fmoe_mrff_layout(config, facts->features, facts->user_features, facts->n_users > 0, &layout);
	for (int i = 0; i < layout.n_item_features; i++)
	{
		const FmoeFeature *feature = &facts->features->feature[layout.item_feature[i]];
		int32_t		n = facts->features->n;

		terms += feature->width + 1.0;
		edges += 8 + (n > 0 ? (double) feature->offset[n] / n : 0);
	}
	for (int i = 0; i < layout.n_dense_features; i++)
		numbers_of_items = fmax(numbers_of_items, (double)
								fmoe_dense_width(&facts->features->feature[layout.dense_feature[i]]));
	wide = (double) (layout.width + layout.user_width);
	numbers = 3.0 * own->groups + config->heads + 4;
	reals = tokens * (wide * (OTHER_MATRICES + BLOCK_MATRICES * config->layers) + config->layers * numbers +
					  2 * FMOE_MRFF_HEAD + layout.n_rates + 2 * layout.n_item_features + 8);
	/* values and gradients */
	reals *= phase == FMOE_RECORDED ? 2 : 1;
	reals += 8 * wide * wide + terms * 2;
	if (numbers_of_items > 0)
		reals += fnn_project_reals((int64_t) numbers_of_items) + 2 * config->width * numbers_of_items;
	for (int i = 0; i < layout.n_user_features; i++)
	{
		double		width = facts->user_features->feature[layout.user_feature[i]].width;

		reals += fmax(tokens, cases) * (width + 8 * config->width);
	}
	/* numbers of tokens, terms and groups */
	return reals * sizeof(fnn_real) +
		tokens * sizeof(int32_t) * (24 + 4.0 * config->layers) +
		tokens * (sizeof(int64_t) + 8 * sizeof(int32_t)) * (edges + 4) + 4096;
}

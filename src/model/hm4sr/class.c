/*
 * class.c
 *	  The class hm4sr, and what its scores are made of.
 */
#include "model/hm4sr/hm4sr.h"

static const char *const losses[] = {"items", "idcl", "cp", "pcl", NULL};

static bool
gated(const FmoeConfig *config)
{
	return fmoe_gated_on(&fmoe_hm4sr_own(config)->gated);
}

static const char *
gate_prior(const FmoeConfig *config)
{
	return fmoe_gated_prior(&fmoe_hm4sr_own(config)->gated);
}

static bool
lends(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_shape_of(config, FMOE_OWN_ENCODER);
	return true;
}

static int64_t
step_width(const FmoeConfig *config)
{
	return config->loss == FMOE_LOSS_SOFTMAX ? fmoe_hm4sr_vectors_width(config) : 0;
}

const FmoeExpertClass fmoe_hm4sr_class = {
	.name = "hm4sr",
	.summary = "self-attention over ids, texts and vectors, mixed with one another and by times",
	.options = fmoe_hm4sr_options,
	.fits = fmoe_hm4sr_fits,
	.reads = fmoe_hm4sr_reads,
	.complete = fmoe_hm4sr_complete,
	.declare = fmoe_hm4sr_declare,
	.bytes = fmoe_hm4sr_bytes,
	.multiplications = fmoe_hm4sr_multiplications,
	.encode = fmoe_hm4sr_encode,
	.items = fmoe_hm4sr_items,
	.vectors_width = fmoe_hm4sr_vectors_width,
	.learn = fmoe_hm4sr_learn,
	.step_width = step_width,
	.step_items = fmoe_hm4sr_step_items,
	.losses = losses,
	.prepare = fmoe_hm4sr_prepare,
	.start = fmoe_hm4sr_start,
	.gated = gated,
	.gate_prior = gate_prior,
	.part_count = fmoe_hm4sr_parts,
	.part_name = fmoe_hm4sr_part,
	.weigh = fmoe_hm4sr_weigh,
	.contribute = fmoe_hm4sr_contribute,
	.input_parts = fmoe_hm4sr_input_parts,
	.lends = lends
};

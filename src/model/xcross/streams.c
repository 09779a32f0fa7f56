/*
 * streams.c
 *	  The forward pass of xcross: streams through the layers of one base, integrated after each.
 */
#include "model/xcross/xcross.h"

#include <string.h>

int
fmoe_xcross_adapters(const FmoeConfig *config)
{
	const FmoeXcrossOptions *own = fmoe_xcross_own(config);

	return (own->experts.count > 0 ? own->experts.count : 0) + own->own_adapter;
}

int
fmoe_xcross_streams(const FmoeConfig *config)
{
	return fmoe_xcross_own(config)->mix == FMOE_MIX_WEIGHTS ? 1 : fmoe_xcross_adapters(config);
}

void
fmoe_xcross_layout(const FmoeExpert *expert, FmoeXcrossLayout *layout)
{
	const FmoeXcrossOptions *own = fmoe_xcross_own(expert->config);
	const FmoeInputList *inputs = &own->base.inputs;
	int			next = fmoe_base_slices(expert->config, inputs);

	layout->streams = fmoe_xcross_streams(expert->config);
	layout->adapters = fmoe_xcross_adapters(expert->config);
	for (int m = 0; m < layout->adapters; m++)
	{
		layout->adapter[m] = m < own->experts.count ? own->experts.adapter[m]
			: (FmoeLentAdapter) {.rank = own->rank, .alpha = own->alpha};
		if (own->mix == FMOE_MIX_WEIGHTS && m < own->experts.count)
			layout->adapter[m].alpha /= own->experts.count;
		layout->first[m] = next;
		next += fmoe_adapter_count(expert->config, inputs, &layout->adapter[m], expert->params);
	}
	layout->integrator = next;
	layout->weight = next + (layout->streams > 1 ? expert->config->layers : 0);
	layout->pooler = layout->weight + 1;
}

/* ---------------------------------------------------------------- what is left out */

/* w without the streams that are left out, at the scale of all. */
static FnnTensor *
kept_weight(const FmoeExpert *expert, FnnTape *tape, const FmoeXcrossLayout *layout)
{
	FnnTensor  *weight = fmoe_parameter(expert, layout->weight);
	FnnTensor  *kept;

	if (expert->without == 0)
		return weight;
	kept = fnn_tensor(tape, 1, weight->cols, false);
	for (int m = 0; m < layout->streams; m++)
		kept->value[m] = (expert->without >> m & 1) != 0 ? 0 : weight->value[m];
	return kept;
}

/* Nothing is taken from the streams that are left out, which weights do not see either. */
static void
drop_pairs(const FmoeExpert *expert, int n, FnnTensor *z)
{
	for (int m = 0; m < n; m++)
		for (int k = 0; k < n; k++)
		{
			int			pair = m * (n - 1) + (k < m ? k : k - 1);

			if (k == m || (expert->without >> k & 1) == 0)
				continue;
			for (int64_t r = 0; r < z->rows; r++)
				z->value[r * z->cols + pair] = z->value[r * z->cols + n * (n - 1) + pair] = 0;
		}
}

/* ---------------------------------------------------------------- layers */

static int32_t *
sequence_of_tokens(FnnArena *arena, const FmoeBatch *batch)
{
	int32_t    *of = fnn_alloc(arena, sizeof(int32_t) * (size_t) batch->n_tokens);

	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int32_t t = batch->sequences.offset[s]; t < batch->sequences.offset[s + 1]; t++)
			of[t] = s;
	return of;
}

/* Mixes the streams after a layer. */
static void
integrate(FmoeXcrossRun *run, FnnTape *tape, int layer, FnnTensor **h, const FmoeBatch *batch, bool last_rows,
		  const int32_t *asked)
{
	const FmoeExpert *expert = run->expert;
	const FmoeXcrossOptions *own = fmoe_xcross_own(expert->config);
	int			n = run->layout.streams;
	FnnTensor  *shown[FMOE_BUILT_MAX];
	FnnTensor  *joined;
	FnnTensor  *z;

	if (n == 1)
	{
		run->state[0] = h[0];
		return;
	}
	for (int m = 0; m < n; m++)
		shown[m] = (expert->without >> m & 1) == 0 ? h[m]
			: fnn_constant(tape, h[m]->rows, h[m]->cols,
						   fnn_zalloc(tape->arena, sizeof(fnn_real) * (size_t) (h[m]->rows * h[m]->cols)));
	joined = fnn_concat(tape, n, shown);
	if (own->integrator == FMOE_INTEGRATOR_LAST && !last_rows)
		joined = fnn_rows(tape, joined, asked != NULL ? asked : batch->last, batch->sequences.count);
	z = fnn_linear(tape, joined, fmoe_parameter(expert, run->layout.integrator + layer), NULL, FNN_IDENTITY);
	if (expert->without != 0)
		drop_pairs(expert, n, z);
	run->z[layer] = z;
	if (own->integrator == FMOE_INTEGRATOR_LAST && !last_rows)
		z = fnn_rows(tape, z, sequence_of_tokens(tape->arena, batch), batch->n_tokens);
	for (int m = 0; m < n; m++)
		run->state[m] = fnn_integrate(tape, n, h, z, m, own->beta, own->gamma);
}

/* A run whose streams have entered the base. */
static FmoeXcrossRun *
enter(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row, const FmoeBatch *batch)
{
	FmoeXcrossRun *run = fnn_zalloc(tape->arena, sizeof(FmoeXcrossRun));
	const FmoeInputList *inputs = &fmoe_xcross_own(expert->config)->base.inputs;
	FnnTensor  *const *merged = expert->merged;
	int			of_stream;

	run->expert = expert;
	fmoe_xcross_layout(expert, &run->layout);
	of_stream = run->layout.streams > 1 ? 1 : run->layout.adapters;
	for (int m = 0; m < run->layout.streams; m++)
	{
		run->base[m] = merged != NULL ? fmoe_base(expert->config, inputs, merged[m])
			: fmoe_adapted_base(expert, tape, inputs, of_stream, &run->layout.adapter[m], &run->layout.first[m]);
		run->state[m] = fmoe_base_enter(&run->base[m], tape, table, row, batch);
	}
	run->weight = kept_weight(expert, tape, &run->layout);
	return run;
}

FmoeXcrossRun *
fmoe_xcross_run(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row,
				const FmoeBatch *batch, FmoeWhich which, const int32_t *asked)
{
	FmoeXcrossRun *run = enter(expert, tape, table, row, batch);
	int			layers = expert->config->layers;
	FnnTensor  *h[FMOE_BUILT_MAX];

	for (int layer = 0; layer < layers; layer++)
	{
		bool		last = layer == layers - 1;
		FmoeWhich	wanted = last ? which : FMOE_ALL_TOKENS;

		for (int m = 0; m < run->layout.streams; m++)
		{
			const FmoeEncoding *encoding = &run->base[m].encoding;

			h[m] = encoding->encoder->layer(encoding, tape, layer, run->state[m], batch, wanted);
			if (last)
				h[m] = encoding->encoder->leave(encoding, tape, h[m], batch, which);
		}
		integrate(run, tape, layer, h, batch, wanted == FMOE_LAST_TOKENS, asked);
	}
	return run;
}

FmoeXcrossRun *
fmoe_xcross_run_following(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row,
						  const FmoeBatch *batch, const int32_t *asked, const FmoeXcrossFollowing *following)
{
	FmoeXcrossRun *run = enter(expert, tape, table, row, batch);
	FmoeXcrossRun *after = fnn_alloc(tape->arena, sizeof(FmoeXcrossRun));
	FmoeBatch	behind = {.n_tokens = following->n, .position = following->position};
	int			layers = expert->config->layers;
	FnnTensor  *h[FMOE_BUILT_MAX];

	*after = *run;
	for (int m = 0; m < run->layout.streams; m++)
		after->state[m] = fmoe_base_enter(&run->base[m], tape, table, following->row, &behind);
	for (int layer = 0; layer < layers; layer++)
	{
		FnnTensor  *entered[FMOE_BUILT_MAX];

		memcpy(entered, run->state, sizeof(entered));
		/* nobody reads what becomes of the histories in the last layer */
		for (int m = 0; layer < layers - 1 && m < run->layout.streams; m++)
			h[m] = run->base[m].encoding.encoder->layer(&run->base[m].encoding, tape, layer, run->state[m], batch,
														FMOE_ALL_TOKENS);
		if (layer < layers - 1)
			integrate(run, tape, layer, h, batch, false, asked);
		for (int m = 0; m < run->layout.streams; m++)
		{
			const FmoeEncoding *encoding = &run->base[m].encoding;

			h[m] = encoding->encoder->follow(encoding, tape, layer, after->state[m], entered[m], following->begin,
											 following->count);
			if (layer == layers - 1)
				h[m] = encoding->encoder->leave(encoding, tape, h[m], &behind, FMOE_ALL_TOKENS);
		}
		integrate(after, tape, layer, h, &behind, true, NULL);
	}
	return after;
}

FnnTensor *
fmoe_xcross_state(const FmoeXcrossRun *run, FnnTape *tape)
{
	return fnn_weighted_sum(tape, run->layout.streams, run->state, run->weight);
}

double
fmoe_xcross_token_reals(const FmoeConfig *config, bool recorded)
{
	FmoeShape	shape = fmoe_base_shape(config);
	double		n = fmoe_xcross_streams(config);
	double		each = fmoe_encoders[shape.encoder]->token_reals(&shape, config->dropout > 0, recorded);
	/* states side by side, weights twice, integrated states; of all layers */
	double		mixed = shape.layers * (2 * n * shape.width + 4 * n * (n - 1)) + shape.width;

	/* where only last states are asked for, the streams still keep those of all tokens between layers */
	return n * (each + (recorded ? 0 : 2.0 * shape.width)) + (recorded ? 2 : 1) * mixed;
}

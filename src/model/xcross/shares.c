/*
 * shares.c
 *	  What each source has a part in: in the layers, in a score.
 */
#include "model/xcross/xcross.h"

#include <math.h>
#include <string.h>

int
fmoe_xcross_part_count(const FmoeConfig *config)
{
	return fmoe_xcross_streams(config);
}

const char *
fmoe_xcross_part_name(const FmoeConfig *config, int part)
{
	const FmoeXcrossOptions *own = fmoe_xcross_own(config);

	return own->mix == FMOE_MIX_LAYERS && part < own->experts.count ? own->experts.adapter[part].name : "own";
}

static FmoeXcrossRun *
run_last(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch)
{
	FmoeBase	base = fmoe_base(expert->config, &fmoe_xcross_own(expert->config)->base.inputs,
								 fmoe_parameter(expert, 0));
	FmoeBaseItems known = fmoe_base_known(&base, expert, tape, batch);

	return fmoe_xcross_run(expert, tape, known.table, known.row, batch, FMOE_LAST_TOKENS, NULL);
}

/*
 * share[n] = how much each stream counts in all streams after a layer, of a row of its weights, the sum being 1:
 * the sizes of the coefficients of equation (h~).
 */
static void
shares_of(const FmoeXcrossOptions *own, int n, const fnn_real *z, fnn_real *share)
{
	double		size[FMOE_BUILT_MAX] = {0};
	double		sum = 0;

	for (int m = 0; m < n; m++)
	{
		double		kept = 1;

		for (int k = 0; k < n; k++)
		{
			int			pair = m * (n - 1) + (k < m ? k : k - 1);

			if (k == m)
				continue;
			size[k] += fabs(own->beta * z[pair] - own->gamma * z[n * (n - 1) + pair]);
			kept += own->gamma * z[n * (n - 1) + pair];
		}
		size[m] += fabs(kept);
	}
	for (int k = 0; k < n; k++)
		sum += size[k];
	for (int k = 0; k < n; k++)
		share[k] = (fnn_real) (sum > 0 ? size[k] / sum : 1.0 / n);
}

int
fmoe_xcross_mixed_layers(const FmoeConfig *config)
{
	return fmoe_xcross_streams(config) > 1 ? config->layers : 0;
}

/* share[sequences.count, layers, streams] of a run over the batch. */
static void
layer_shares(const FmoeXcrossRun *run, const FmoeBatch *batch, fnn_real *share)
{
	const FmoeConfig *config = run->expert->config;
	int			layers = fmoe_xcross_mixed_layers(config);
	int			n = run->layout.streams;

	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int layer = 0; layer < layers; layer++)
		{
			const FnnTensor *z = run->z[layer];

			shares_of(fmoe_xcross_own(config), n,
					  z->value + (z->rows == batch->sequences.count ? s : batch->last[s]) * z->cols,
					  share + ((int64_t) s * layers + layer) * n);
		}
}

void
fmoe_xcross_weigh_layers(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *share)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	layer_shares(run_last(expert, &tape, batch), batch, share);
	fnn_arena_reset(arena, mark);
}

void
fmoe_xcross_weigh(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, fnn_real *weight)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int			layers = fmoe_xcross_mixed_layers(expert->config);
	int			n = fmoe_xcross_streams(expert->config);
	fnn_real   *share = fnn_alloc_reals(arena, (int64_t) batch->sequences.count * layers, n);
	double		sum = 0;
	FmoeXcrossRun *run;
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	run = run_last(expert, &tape, batch);
	layer_shares(run, batch, share);
	for (int m = 0; m < n; m++)
		sum += fabs(run->weight->value[m]);
	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int m = 0; m < n; m++)
		{
			double		all = sum > 0 ? fabs(run->weight->value[m]) / sum : 1.0 / n;

			for (int layer = 0; layer < layers; layer++)
				all += share[((int64_t) s * layers + layer) * n + m];
			weight[s * n + m] = (fnn_real) (all / (layers + 1));
		}
	fnn_arena_reset(arena, mark);
}

void
fmoe_xcross_contribute(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
					   const fnn_real *state, int64_t n, const int32_t *item, double *contribution)
{
	FnnMark		mark = fnn_arena_mark(arena);
	const FnnTensor *table = expert->items;
	FmoeXcrossRun *run;
	FnnTape		tape;

	(void) state;
	fnn_tape_begin(&tape, arena, false, 0, 0);
	run = run_last(expert, &tape, batch);
	for (int64_t i = 0; i < n; i++)
		for (int m = 0; m < run->layout.streams; m++)
		{
			const fnn_real *h = run->state[m]->value + sequence * run->state[m]->cols;
			const fnn_real *v = table->value + item[i] * table->cols;
			double		sum = 0;

			for (int64_t c = 0; c < table->cols; c++)
				sum += (double) h[c] * v[c];
			contribution[i * run->layout.streams + m] = run->weight->value[m] * sum;
		}
	fnn_arena_reset(arena, mark);
}

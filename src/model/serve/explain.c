/*
 * explain.c
 *	  What a score is the sum of: parts of its class, or of a gate, and what blend adds.
 */
#include "model/expert/expert.h"
#include "model/serve/serve_private.h"

#define POLL_ITEMS 4096

int
fmoe_parts_count(const FmoeModel *model)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];

	return (fmoe_has_gate(model) ? fmoe_weighed(&model->gate) : fmoe_score_parts(main->class, main->config)) + 1;
}

const char *
fmoe_part_name(const FmoeModel *model, int part)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];

	if (fmoe_has_gate(model))
		return fmoe_weighed_name(&model->config, part);
	return main->class->part_name != NULL ? main->class->part_name(main->config, part) : "own";
}

/* The part of a class that has only one: contribution[n], product of state and vector plus the class's terms. */
static void
contribute_product(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, const fnn_real *state,
				   int64_t n, const int32_t *item, double *contribution)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeTerms	terms = {0};

	if (main->class->terms != NULL)
		terms = main->class->terms(main, arena, batch, 0, state);
	for (int64_t i = 0; i < n; i++)
	{
		const fnn_real *vector = fmoe_vector_of(model, item[i]);
		int64_t		k = fnn_find_ascending(terms.n, terms.item, item[i]);

		contribution[i] = k >= 0 ? terms.value[k] : 0;
		for (int64_t c = 0; c < model->items.cols; c++)
			contribution[i] += (double) state[c] * vector[c];
		if (i % POLL_ITEMS == 0)
			fnn_poll(fnn_arena_host(arena));
	}
}

/* Those of a class that has several: contribution[n, parts]. */
static void
contribute_parts(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, const fnn_real *state,
				 int64_t n, const int32_t *item, double *contribution)
{
	FmoeAmong	among = fmoe_among_those(model, arena, batch, n, item);

	among.expert.class->contribute(&among.expert, arena, &among.batch, 0, state, n, among.item, contribution);
}

/* Those of a gate: contribution[n, fmoe_weighed]. */
static void
contribute_gate(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int64_t n, const int32_t *item,
				double *contribution)
{
	int			weighed = fmoe_weighed(&model->gate);
	fnn_real   *state = fnn_alloc_reals(arena, 1, fmoe_vectors(model)->cols);

	fmoe_states(model, arena, batch, state);
	fmoe_gate_features(model, arena, batch, 0, state, n, item, contribution);
	for (int64_t i = 0; i < n; i++)
		for (int expert = 0; expert < weighed; expert++)
			contribution[i * weighed + expert] *= fmoe_gate_weight(model, batch, expert);
}

void
fmoe_contributions(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch,
				   int64_t n, const int32_t *item, double *weight, double *contribution)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FnnMark		mark = fnn_arena_mark(arena);
	fnn_real   *state = fnn_alloc_reals(arena, 1, model->items.cols);
	int			parts = fmoe_parts_count(model) - 1;
	double	   *own = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), n * parts, sizeof(double)));
	fnn_real	weighed[FMOE_PARTS_MAX] = {1};
	FmoeTerms	blend = fmoe_blend_terms(model, arena, fmoe_last_items(batch, 0));

	fmoe_encode(model, arena, batch, state);
	if (main->class->weigh != NULL && !fmoe_has_gate(model))
		fmoe_weigh(model, arena, batch, weighed);
	for (int p = 0; p < parts; p++)
		weight[p] = fmoe_has_gate(model) ? fmoe_gate_weight(model, batch, p) : weighed[p];
	weight[parts] = model->blend > 0 ? model->blend : 0;

	if (fmoe_has_gate(model))
		contribute_gate(model, arena, batch, n, item, own);
	else if (main->class->contribute != NULL)
		contribute_parts(model, arena, batch, state, n, item, own);
	else
		contribute_product(model, arena, batch, state, n, item, own);
	for (int64_t i = 0; i < n; i++)
	{
		int64_t		k = fnn_find_ascending(blend.n, blend.item, item[i]);

		for (int p = 0; p < parts; p++)
			contribution[i * (parts + 1) + p] = own[i * parts + p];
		contribution[i * (parts + 1) + parts] = k >= 0 ? blend.value[k] : 0;
	}
	fnn_arena_reset(arena, mark);
}

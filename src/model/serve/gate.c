/*
 * gate.c
 *	  A log-linear gate: a model's own expert and those that count, weighed by numbers
 *	  that are the same for all users.
 *
 * What an expert reads of an item has a fixed scale, never one of this database, so
 * that weights mean the same wherever they are found:
 *
 *		own			logit / 2, the product of state and vector
 *		popularity	log(1 + events) / 2; recent likewise
 *		markov, sequence, neighbours, repeat	log(1 + 100 x share) / 2
 *
 * A score is then one product and a few terms, and is scanned as such: behind an
 * item's vector stand its levels, which depend on no history, and behind a state the
 * weights of these.  What depends on the history is added up for all items at once.
 */
#include "model/expert/expert.h"
#include "model/registry.h"
#include "model/serve/serve_private.h"

#include <string.h>

_Static_assert(FMOE_GATED <= FMOE_GATE_COLUMNS, "every expert has a column");
_Static_assert(FMOE_WEIGHED_MAX <= 32, "sets of experts fit 32 bits");

const char *
fmoe_weighed_name(const FmoeConfig *config, int expert)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	if (expert == FMOE_MAIN)
		return "own";
	if (expert < FMOE_GATED)
		return fmoe_slot_classes[expert]->name;
	return class->part_name(config, 1 + expert - FMOE_GATED);
}

void
fmoe_gate_setup(FmoeGate *gate, const FmoeConfig *config, int64_t width)
{
	const FmoeExpertClass *class = fmoe_expert_classes[config->model];

	memset(gate, 0, sizeof(*gate));
	gate->there = true;
	gate->parts = fmoe_score_parts(class, config);
	gate->begin[gate->parts] = width;
	if (class->part_columns != NULL)
		class->part_columns(config, gate->begin);
}

void
fmoe_gate_open(FmoeModel *model, FnnArena *arena)
{
	const FnnHost *host = fnn_arena_host(arena);
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	bool		computes = fmoe_computes_items(main->class, main->config);
	int64_t		width = computes ? fmoe_computed_width(model, arena) : main->tensor[0].cols;
	int64_t		cols = width + FMOE_GATE_COLUMNS;
	fnn_real   *table = fnn_alloc_reals(arena, model->n_items, cols);

	if (computes)
		fmoe_compute_vectors(model, arena, table, cols);
	for (int32_t i = 0; i < model->n_items; i++)
	{
		fnn_real   *row = table + i * cols;

		if (!computes)
			memcpy(row, main->tensor[0].value + i * width, sizeof(fnn_real) * (size_t) width);
		memset(row + width, 0, sizeof(fnn_real) * FMOE_GATE_COLUMNS);
		for (int slot = FMOE_MAIN + 1; slot < FMOE_GATED; slot++)
		{
			const FmoeExpert *expert = &model->expert[slot];

			if (expert->class->counter->level != NULL)
				row[width + slot] = (fnn_real) expert->class->counter->level(expert, i);
		}
		if (i % 4096 == 0)
			fnn_poll(host);
	}
	fmoe_set_items(model, cols, table, FMOE_GATE_COLUMNS);
	fmoe_gate_setup(&model->gate, &model->config, width);
	model->blend = 0;
}

void
fmoe_gate_forget(const FmoeModel *model, FnnArena *arena, int64_t cols, fnn_real *rows)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	const FmoeExpert *popularity = &model->expert[FMOE_POPULARITY];
	FnnMark		mark = fnn_arena_mark(arena);
	double	   *mean = fnn_zalloc(arena, sizeof(double) * (size_t) cols);
	int64_t		begin[FMOE_GATE_PARTS_MAX + 1] = {0, cols};
	int64_t		chosen = 0;

	if (main->class->part_columns != NULL)
		main->class->part_columns(main->config, begin);
	for (int pass = 0; pass < 2; pass++)
		for (int32_t i = 0; i < model->n_items; i++)
		{
			bool		known = popularity->class->counter->level(popularity, i) > 0;
			fnn_real   *row = rows + i * cols;

			chosen += pass == 0 && known;
			for (int64_t c = fmoe_computes_items(main->class, main->config) ? begin[1] : 0; c < cols; c++)
				if (pass == 0 && known)
					mean[c] += row[c];
				else if (pass == 1 && !known)
					row[c] = (fnn_real) (mean[c] / (double) (chosen > 0 ? chosen : 1));
			if ((i & 0xffff) == 0)
				fnn_poll(fnn_arena_host(arena));
		}
	fnn_arena_reset(arena, mark);
}

void
fmoe_gate_state(const FmoeModel *model, const FmoeBatch *batch, const fnn_real *hidden, fnn_real *state)
{
	const FmoeGate *gate = &model->gate;
	int64_t		width = gate->begin[gate->parts];

	for (int p = 0; p < gate->parts; p++)
	{
		double		scale = FMOE_GATE_OWN_SCALE * fmoe_gate_weight(model, batch, fmoe_weighed_part(p));

		for (int64_t c = gate->begin[p]; c < gate->begin[p + 1]; c++)
			state[c] = (fnn_real) (scale * hidden[c]);
	}
	memset(state + width, 0, sizeof(fnn_real) * FMOE_GATE_COLUMNS);
	for (int slot = FMOE_MAIN + 1; slot < FMOE_GATED; slot++)
		if (model->expert[slot].class->counter->level != NULL)
			state[width + slot] = (fnn_real) fmoe_gate_weight(model, batch, slot);
}

/* What an expert that counts reads of the items that the history says something of. */
static FmoeTerms
terms_of(const FmoeModel *model, int slot, FnnArena *arena, const FmoeBatch *batch, int32_t sequence)
{
	const FmoeExpert *expert = &model->expert[slot];

	if (slot == FMOE_MAIN || expert->class->terms == NULL)
		return (FmoeTerms) {0};
	return expert->class->terms(expert, arena, batch, sequence, NULL);
}

float *
fmoe_gate_added(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence)
{
	float	   *sum = fnn_zalloc(arena, fnn_mul_size(fnn_arena_host(arena), model->n_items, sizeof(float)));

	for (int slot = FMOE_MAIN + 1; slot < FMOE_GATED; slot++)
	{
		const FmoeExpert *expert = &model->expert[slot];
		double		weight = fmoe_gate_weight(model, batch, slot);
		FnnMark		mark = fnn_arena_mark(arena);
		FmoeTerms	terms = {0};

		if (weight != 0 && expert->class->counter->add != NULL)
			expert->class->counter->add(expert, arena, batch, sequence, weight, sum);
		else if (weight != 0)
			terms = terms_of(model, slot, arena, batch, sequence);
		for (int64_t k = 0; k < terms.n; k++)
			sum[terms.item[k]] += (float) (weight * terms.value[k]);
		fnn_arena_reset(arena, mark);
	}
	return sum;
}

/* What the parts of the main expert read: the products of their columns. */
static void
read_parts(const FmoeModel *model, const fnn_real *state, int64_t n, const int32_t *item, double *feature)
{
	const FmoeGate *gate = &model->gate;
	int			weighed = fmoe_weighed(gate);

	for (int64_t i = 0; i < n; i++)
	{
		const fnn_real *vector = fmoe_vector_of(model, item[i]);

		for (int p = 0; p < gate->parts; p++)
		{
			fnn_real	product;

			fnn_products(1, gate->begin[p + 1] - gate->begin[p], vector + gate->begin[p], NULL,
						 state + gate->begin[p], &product);
			feature[i * weighed + fmoe_weighed_part(p)] = FMOE_GATE_OWN_SCALE * product;
		}
	}
}

void
fmoe_gate_features(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
				   const fnn_real *state, int64_t n, const int32_t *item, double *feature)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int			weighed = fmoe_weighed(&model->gate);

	read_parts(model, state, n, item, feature);
	for (int slot = FMOE_MAIN + 1; slot < FMOE_GATED; slot++)
	{
		const FmoeExpert *expert = &model->expert[slot];
		FmoeTerms	terms = terms_of(model, slot, arena, batch, sequence);

		for (int64_t i = 0; i < n; i++)
		{
			int64_t		k = fnn_find_ascending(terms.n, terms.item, item[i]);
			double		level = 0;
			double		told = 0;

			if (item[i] < model->n_items)
				level = expert->class->counter->level != NULL ? expert->class->counter->level(expert, item[i]) : 0;
			else if (expert->class->counter->told != NULL)
				expert->class->counter->told(expert, arena, batch, sequence, 1, &item[i], &told);
			feature[i * weighed + slot] = level + told + (k >= 0 ? terms.value[k] : 0);
		}
		fnn_poll(fnn_arena_host(arena));
	}
	fnn_arena_reset(arena, mark);
}

/*
 * vectors.c
 *	  The item vectors of a model: rows of a parameter, or what its class computes.
 */
#include "model/expert/expert.h"
#include "model/serve/serve_private.h"

#include <string.h>

/* Items whose vectors are computed together. */
#define ITEMS_BLOCK 4096

void
fmoe_set_items(FmoeModel *model, int64_t cols, fnn_real *value, int64_t behind)
{
	FmoeExpert *main = &model->expert[FMOE_MAIN];

	model->items = (FnnTensor) {.rows = model->n_items, .cols = cols, .value = value};
	model->vectors = model->items;
	model->vectors.cols = cols - behind;
	model->vectors.stride = cols;
	main->items = fmoe_computes_items(main->class, main->config) ? &model->vectors : NULL;
}

int64_t
fmoe_computed_width(const FmoeModel *model, FnnArena *arena)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t		n = model->n_items < 1 ? model->n_items : 1;
	int32_t		first = 0;
	int64_t		width;
	FnnTape		tape;

	fnn_tape_begin(&tape, arena, false, 0, 0);
	width = main->class->items(main, &tape, n, &first)->cols;
	fnn_arena_reset(arena, mark);
	return width;
}

void
fmoe_compute_vectors(const FmoeModel *model, FnnArena *arena, fnn_real *value, int64_t stride)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];

	for (int32_t first = 0; first < model->n_items; first += ITEMS_BLOCK)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		int32_t		n = model->n_items - first < ITEMS_BLOCK ? model->n_items - first : ITEMS_BLOCK;
		int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
		FnnTensor  *vectors;
		FnnTape		tape;

		for (int32_t i = 0; i < n; i++)
			item[i] = first + i;
		fnn_tape_begin(&tape, arena, false, 0, 0);
		vectors = main->class->items(main, &tape, n, item);
		for (int32_t i = 0; i < n; i++)
			memcpy(value + (first + i) * stride, vectors->value + i * vectors->cols,
				   sizeof(fnn_real) * (size_t) vectors->cols);
		fnn_arena_reset(arena, mark);
		fnn_poll(fnn_arena_host(arena));
	}
}

void
fmoe_model_compute_items(FmoeModel *model, FnnArena *arena)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	fnn_real   *value;
	int64_t		width;

	if (!fmoe_computes_items(main->class, main->config))
	{
		fmoe_set_items(model, main->tensor[0].cols, main->tensor[0].value, 0);
		return;
	}
	width = fmoe_computed_width(model, arena);
	value = fnn_alloc_reals(arena, model->n_items, width);
	fmoe_compute_vectors(model, arena, value, width);
	fmoe_set_items(model, width, value, 0);
}

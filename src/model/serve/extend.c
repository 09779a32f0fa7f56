/*
 * extend.c
 *	  A model over more items, without training: those that it has keep what was
 *	  learned and counted, the others bring what their features say.
 */
#include "model/expert/expert.h"
#include "model/serve/serve_private.h"

#include <string.h>

#define POLL_EVERY 0xffff

/* How old items become new ones. */
typedef struct Extending
{
	FnnArena   *arena;
	const FnnHost *host;
	int32_t		n_old;
	int32_t		n_new;
	const int32_t *number;		/* [n_old] ascending */
} Extending;

/* Rows of so many bytes at their items' new places, 0 for new items; tail bytes behind them stay there. */
static void *
spread_rows(const Extending *to, const void *rows, size_t each, size_t tail)
{
	size_t		bytes = fnn_mul_size(to->host, (size_t) to->n_new, each);
	char	   *spread = fnn_zalloc(to->arena, fnn_add_size(to->host, bytes, tail));

	for (int32_t i = 0; i < to->n_old; i++)
	{
		memcpy(spread + (size_t) to->number[i] * each, (const char *) rows + (size_t) i * each, each);
		if ((i & POLL_EVERY) == 0)
			fnn_poll(to->host);
	}
	memcpy(spread + bytes, (const char *) rows + (size_t) to->n_old * each, tail);
	return spread;
}

/* Where each item's row begins, those of new items being empty. */
static int64_t *
spread_offsets(const Extending *to, const int64_t *offset)
{
	int64_t    *spread = fnn_alloc(to->arena, fnn_mul_size(to->host, (size_t) to->n_new + 1, sizeof(int64_t)));
	int32_t		old = 0;

	for (int32_t i = 0; i < to->n_new; i++)
	{
		spread[i] = offset[old];
		if (old < to->n_old && to->number[old] == i)
			old++;
		if ((i & POLL_EVERY) == 0)
			fnn_poll(to->host);
	}
	spread[to->n_new] = offset[to->n_old];
	return spread;
}

static int32_t *
new_numbers(const Extending *to, const int32_t *item, int64_t n)
{
	int32_t    *number = fnn_alloc(to->arena, fnn_mul_size(to->host, (size_t) n, sizeof(int32_t)));

	for (int64_t i = 0; i < n; i++)
	{
		number[i] = to->number[item[i]];
		if ((i & POLL_EVERY) == 0)
			fnn_poll(to->host);
	}
	return number;
}

/* ---------------------------------------------------------------- experts that count */

static void
extend_array(const Extending *to, FnnArray *array, FmoeHolds holds)
{
	size_t		each = fnn_dtype_size(array->dtype);
	int64_t		n = array->shape[0];
	int64_t		more = (int64_t) to->n_new - to->n_old;

	switch (holds)
	{
		case FMOE_HOLDS_NUMBERS:
			return;
		case FMOE_HOLDS_ITEMS:
			array->data = new_numbers(to, array->data, n);
			return;
		case FMOE_HOLDS_LEVELS:
		case FMOE_HOLDS_OFFSETS:
			/* an expert that has counted nothing may have no row at all */
			if (n < to->n_old)
				return;
			if (holds == FMOE_HOLDS_OFFSETS)
				array->data = spread_offsets(to, array->data);
			else
				array->data = spread_rows(to, array->data, each, (size_t) (n - to->n_old) * each);
			array->shape[0] = n + more;
			array->bytes += (size_t) more * each;
			return;
	}
}

static void
extend_counter(const Extending *to, FmoeExpert *new, const FmoeExpert *old)
{
	const FmoeCounter *counter = old->class->counter;
	FmoeDataset none = {.n_items = to->n_new, .features = new->features};

	if (counter == NULL || counter->array_names[0] == NULL || old->array[0].name[0] == '\0')
		return;
	if (counter->array_holds == NULL)
	{
		none.offset = fnn_zalloc(to->arena, sizeof(int64_t));
		counter->count(new, to->arena, &none, FMOE_HOLDOUT_NONE);
		return;
	}
	for (int i = 0; counter->array_names[i] != NULL; i++)
	{
		new->array[i] = old->array[i];
		extend_array(to, &new->array[i], counter->array_holds[i]);
	}
}

/* ---------------------------------------------------------------- the expert that learns */

static void
extend_learned(const Extending *to, FmoeModel *new, const FmoeModel *old)
{
	FmoeExpert *main = &new->expert[FMOE_MAIN];
	FmoeFacts	facts = {.n_items = to->n_new, .features = main->features, .user_features = main->user_features};

	fmoe_declare_class(&new->params, to->host, main->class, &new->config, &facts);
	main->params = &new->params;
	main->tensor = fnn_zalloc(to->arena, fnn_mul_size(to->host, (size_t) new->params.count, sizeof(FnnTensor)));
	for (int i = 0; i < new->params.count; i++)
	{
		const FnnParam *param = &new->params.list[i];
		int			was = fnn_params_find(&old->params, param->name);
		const FnnTensor *tensor = was < 0 ? NULL : &old->expert[FMOE_MAIN].tensor[was];

		if (tensor == NULL || tensor->cols != param->cols ||
			(tensor->rows != param->rows && (tensor->rows != to->n_old || param->rows != to->n_new)))
			fnn_fail(to->host, FNN_INVALID, "parameter \"%s\" does not fit the features", param->name);
		main->tensor[i] = *tensor;
		if (tensor->rows == param->rows)
			continue;
		main->tensor[i].rows = param->rows;
		main->tensor[i].value = spread_rows(to, tensor->value, sizeof(fnn_real) * (size_t) param->cols, 0);
		if (i == 0 && fmoe_is_gated(main->class, main->config))
			fmoe_gate_forget(new, to->arena, param->cols, main->tensor[i].value);
	}
}

void
fmoe_model_extend(FmoeModel *new, FnnArena *arena, const FmoeModel *old, int32_t n_items, const int32_t *number,
				  const FmoeFeatures *features)
{
	Extending	to = {arena, fnn_arena_host(arena), old->n_items, n_items, number};

	fmoe_model_setup(new, &old->config, n_items);
	new->features = *features;
	new->user_features = old->user_features;
	for (int slot = 0; slot < FMOE_GATED; slot++)
	{
		new->expert[slot].features = old->expert[slot].features != NULL ? &new->features : NULL;
		new->expert[slot].user_features = old->expert[slot].user_features != NULL ? &new->user_features : NULL;
		extend_counter(&to, &new->expert[slot], &old->expert[slot]);
	}
	if (old->expert[FMOE_MAIN].user_features != NULL)
		new->expert[FMOE_MAIN].user_features = &new->user_features;
	if (fmoe_has_together(&old->together))
		extend_counter(&to, &new->together, &old->together);
	if (fmoe_only_counts(new->expert[FMOE_MAIN].class))
		return;
	extend_learned(&to, new, old);
	if (fmoe_has_gate(old))
	{
		fmoe_gate_open(new, arena);
		new->gate = old->gate;
		return;
	}
	fmoe_model_compute_items(new, arena);
	new->blend = old->blend;
}

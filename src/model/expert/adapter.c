/*
 * adapter.c
 *	  Low-rank adapters on the linear maps of an encoder (Hu et al. 2022, equation 3).
 *
 * A map W [out, in] becomes W + scale B A with A [rank, in] and B [out, rank].
 * The adapters of all maps with the same input width share two slices: all A end
 * to end, and all B, in the order of the maps.
 */
#include "model/expert/expert.h"

#include <math.h>
#include <stdio.h>

/* Whether a map is the first one with its input width. */
static bool
is_first(const FnnParam *slice, int s)
{
	for (int before = 0; before < s; before++)
		if (slice[before].linear && slice[before].cols == slice[s].cols)
			return false;
	return slice[s].linear;
}

int
fmoe_adapter_slices(int n, const FnnParam *slice)
{
	int			slices = 0;

	for (int s = 0; s < n; s++)
		slices += is_first(slice, s) ? 2 : 0;
	return slices;
}

void
fmoe_declare_adapters(FmoeDeclaring *to, int first, int n, int rank)
{
	const char *const forms[2][2] = {{"adapter.a", "adapter.b"}, {"adapter.%lld.a", "adapter.%lld.b"}};
	int			form = 0;

	for (int s = 0; s < n; s++)
	{
		/* not kept: the list moves when it grows */
		const FnnParam *slice = &to->params->list[first];
		int64_t		in = slice[s].cols;
		int64_t		maps = 0;
		int64_t		outputs = 0;
		char		name[FNN_NAME_MAX];

		if (!is_first(slice, s))
			continue;
		for (int k = s; k < n; k++)
		{
			if (!slice[k].linear || slice[k].cols != in)
				continue;
			maps++;
			outputs += slice[k].rows;
		}
		snprintf(name, sizeof(name), forms[form][0], (long long) in);
		fmoe_declare(to, FNN_ADAPTER, name, maps * rank, in, FNN_INIT_NORMAL, 1 / sqrt((double) in))->decay = false;
		snprintf(name, sizeof(name), forms[form][1], (long long) in);
		fmoe_declare(to, FNN_ADAPTER, name, outputs, rank, FNN_INIT_ZERO, 0)->decay = false;
		/* names of further slices have the input width in them */
		form = 1;
	}
}

/* Rows first .. of a slice, over its memory and gradient. */
static FnnTensor *
slice_rows(FnnTape *tape, const FnnTensor *slice, int64_t first, int64_t rows)
{
	FnnTensor  *part = fnn_alloc(tape->arena, sizeof(FnnTensor));

	*part = *slice;
	part->rows = rows;
	part->value += first * slice->cols;
	if (part->grad != NULL)
		part->grad += first * slice->cols;
	return part;
}

FnnTensor *
fmoe_adapted(FnnTape *tape, int n, const FnnParam *slice, FnnTensor *tensor, FnnTensor *adapter, int rank,
			 double scale)
{
	FnnTensor  *adapted = fnn_alloc(tape->arena, sizeof(FnnTensor) * (size_t) n);

	for (int s = 0; s < n; s++)
		adapted[s] = tensor[s];
	for (int s = 0; s < n; s++)
	{
		int64_t		inputs = 0;
		int64_t		outputs = 0;

		if (!is_first(slice, s))
			continue;
		for (int k = s; k < n; k++)
		{
			if (!slice[k].linear || slice[k].cols != slice[s].cols)
				continue;
			adapted[k] = *fnn_adapt(tape, &tensor[k], slice_rows(tape, &adapter[0], inputs, rank),
									slice_rows(tape, &adapter[1], outputs, tensor[k].rows), scale);
			inputs += rank;
			outputs += tensor[k].rows;
		}
		adapter += 2;
	}
	return adapted;
}

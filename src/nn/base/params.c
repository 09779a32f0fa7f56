/*
 * params.c
 *	  Parameter blocks: layout, first values, binding; and sparse gradients.
 *
 * Slices lie in the order in which they were declared, each on a cache line.
 * Slice i draws its first values from stream i, so a slice that is declared
 * behind others changes none of them.
 */
#include "nn/base/tensor.h"

#include <string.h>

/* ---------------------------------------------------------------- sparse gradients */

static size_t
align_size(const FnnHost *host, size_t bytes)
{
	return fnn_add_size(host, bytes, FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN;
}

/* The three arrays lie one after the other, each on a cache line. */
size_t
fnn_sparse_bytes(const FnnHost *host, int64_t rows, int64_t cols, int64_t capacity)
{
	size_t		place;
	size_t		touched;
	size_t		grad;

	if (rows < 0 || rows > INT32_MAX || cols < 0 || capacity < 0)
		fnn_fail(host, FNN_INVALID, "a sparse gradient cannot have %lld rows of %lld columns, %lld of them touched",
				 (long long) rows, (long long) cols, (long long) capacity);
	place = align_size(host, fnn_mul_size(host, rows, sizeof(int32_t)));
	touched = align_size(host, fnn_mul_size(host, capacity, sizeof(int32_t)));
	grad = align_size(host, fnn_mul_size(host, fnn_mul_size(host, capacity, cols), sizeof(fnn_real)));
	return fnn_add_size(host, place, fnn_add_size(host, touched, grad));
}

void
fnn_sparse_init(FnnSparse *sparse, void *memory, int64_t rows, int64_t cols, int64_t capacity)
{
	char	   *bytes = memory;

	sparse->rows = rows;
	sparse->cols = cols;
	sparse->count = 0;
	sparse->capacity = capacity;
	sparse->place = (int32_t *) bytes;
	bytes += ((size_t) rows * sizeof(int32_t) + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN;
	sparse->touched = (int32_t *) bytes;
	bytes += ((size_t) capacity * sizeof(int32_t) + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN;
	sparse->grad = (fnn_real *) bytes;
	for (int64_t row = 0; row < rows; row++)
		sparse->place[row] = -1;
}

void
fnn_sparse_clear(FnnSparse *sparse)
{
	for (int64_t i = 0; i < sparse->count; i++)
		sparse->place[sparse->touched[i]] = -1;
	sparse->count = 0;
}

fnn_real *
fnn_grad_row(const FnnHost *host, FnnTensor *tensor, int64_t row)
{
	FnnSparse  *sparse = tensor->sparse;
	fnn_real   *grad;

	if (row < 0 || row >= tensor->rows)
		fnn_fail(host, FNN_INVALID, "a table of %lld rows has no row %lld",
				 (long long) tensor->rows, (long long) row);
	if (sparse == NULL)
		return tensor->grad + row * (tensor->stride == 0 ? tensor->cols : tensor->stride);
	if (sparse->place[row] >= 0)
		return sparse->grad + sparse->place[row] * sparse->cols + tensor->column;
	if (sparse->count >= sparse->capacity)
		fnn_fail(host, FNN_INVALID, "more than %lld rows of a table are touched in one step",
				 (long long) sparse->capacity);
	grad = sparse->grad + sparse->count * sparse->cols;
	memset(grad, 0, (size_t) sparse->cols * sizeof(fnn_real));
	sparse->touched[sparse->count] = (int32_t) row;
	sparse->place[row] = (int32_t) sparse->count++;
	return grad + tensor->column;
}

/* ---------------------------------------------------------------- parameter blocks */

#define PARAMS_FIRST 64

static void
grow(FnnParams *params, const FnnHost *host)
{
	int			capacity = params->capacity > 0 ? 2 * params->capacity : PARAMS_FIRST;
	FnnParam   *list = host->allocate(host->context, fnn_mul_size(host, capacity, sizeof(FnnParam)));

	if (params->count > 0)
		memcpy(list, params->list, sizeof(FnnParam) * params->count);
	if (params->list != NULL)
		host->release(host->context, params->list);
	params->list = list;
	params->capacity = capacity;
}

FnnParam *
fnn_params_add(FnnParams *params, const FnnHost *host, const char *name,
			   int64_t rows, int64_t cols, FnnInit init, double init_scale)
{
	const size_t reals = FNN_ALIGN / sizeof(fnn_real);
	FnnParam   *param;
	size_t		size;

	if (name[0] == '\0' || strlen(name) >= FNN_NAME_MAX)
		fnn_fail(host, FNN_INVALID, "parameter name \"%s\" is not 1 to %d bytes long", name, FNN_NAME_MAX - 1);
	if (fnn_params_find(params, name) >= 0)
		fnn_fail(host, FNN_INVALID, "parameter \"%s\" is declared twice", name);
	if (rows < 1 || cols < 1)
		fnn_fail(host, FNN_INVALID, "parameter \"%s\" cannot have %lld rows and %lld columns",
				 name, (long long) rows, (long long) cols);
	size = fnn_add_size(host, fnn_mul_size(host, rows, cols), reals - 1) / reals * reals;
	size = fnn_add_size(host, params->size, size);
	/* every later size in bytes is then known not to overflow */
	(void) fnn_mul_size(host, size, 4 * sizeof(double));

	if (params->count == params->capacity)
		grow(params, host);
	param = &params->list[params->count++];
	memset(param, 0, sizeof(FnnParam));
	strcpy(param->name, name);
	param->rows = rows;
	param->cols = cols;
	param->offset = params->size;
	param->init = init;
	param->init_scale = init_scale;
	params->size = size;
	return param;
}

int
fnn_params_find(const FnnParams *params, const char *name)
{
	for (int i = 0; i < params->count; i++)
		if (strcmp(params->list[i].name, name) == 0)
			return i;
	return -1;
}

#define INIT_PIECE 262144		/* numbers drawn between polls */

/* Draws a slice's numbers from .. from + n - 1 into value[n]. */
static void
init_piece(const FnnParam *param, uint64_t seed, uint64_t stream, int64_t from, int64_t n, fnn_real *value)
{
	switch (param->init)
	{
		case FNN_INIT_ZERO:
			break;
		case FNN_INIT_ONE:
			for (int64_t i = 0; i < n; i++)
				value[i] = 1;
			break;
		case FNN_INIT_NORMAL:
			fnn_random_normals(seed, stream, from, param->init_scale, n, value);
			break;
		case FNN_INIT_UNIFORM:
			for (int64_t i = 0; i < n; i++)
				value[i] = (fnn_real) (param->init_scale * (2 * fnn_random_uniform(seed, stream, from + i) - 1));
			break;
	}
}

void
fnn_params_redraw(const FnnParams *params, const FnnHost *host, uint64_t seed, unsigned groups, fnn_real *values)
{
	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		int64_t		total = param->rows * param->cols;

		if ((groups & FNN_GROUP_BIT(param->group)) == 0)
			continue;
		memset(values + param->offset, 0, (size_t) total * sizeof(fnn_real));
		for (int64_t from = 0; from < total; from += INIT_PIECE)
		{
			fnn_poll(host);
			init_piece(param, seed, i, from, total - from < INIT_PIECE ? total - from : INIT_PIECE,
					   values + param->offset + from);
		}
	}
}

void
fnn_params_init(const FnnParams *params, const FnnHost *host, uint64_t seed, fnn_real *values)
{
	memset(values, 0, params->size * sizeof(fnn_real));
	fnn_params_redraw(params, host, seed, FNN_GROUPS_ALL, values);
}

void
fnn_params_freeze(FnnParams *params, unsigned groups)
{
	for (int i = 0; i < params->count; i++)
		if ((groups & FNN_GROUP_BIT(params->list[i].group)) != 0)
			params->list[i].frozen = true;
}

void
fnn_params_free(FnnParams *params, const FnnHost *host)
{
	if (params->list != NULL)
		host->release(host->context, params->list);
	memset(params, 0, sizeof(*params));
}

void
fnn_params_bind(const FnnParams *params, FnnTensor *tensors, fnn_real *values,
				fnn_real *grads, FnnSparse *const *sparse)
{
	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		FnnTensor  *tensor = &tensors[i];

		tensor->rows = param->rows;
		tensor->cols = param->cols;
		tensor->value = values + param->offset;
		tensor->grad = NULL;
		tensor->sparse = NULL;
		tensor->fresh = false;
		tensor->stride = 0;
		tensor->column = 0;
		if (grads == NULL || param->frozen)
			continue;
		if (sparse != NULL && sparse[i] != NULL)
			tensor->sparse = sparse[i];
		else
			tensor->grad = grads + param->offset;
	}
}

bool
fnn_all_finite(const fnn_real *value, size_t n)
{
	int			bad = 0;
	size_t		i;

	/* x - x is 0 for every finite x and NaN for the rest */
	for (i = 0; i < n; i++)
		bad |= !(value[i] - value[i] == 0);
	return !bad;
}

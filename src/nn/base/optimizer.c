/*
 * optimizer.c
 *	  Sum of the shards' gradients, learning rate, AdamW.
 *
 * The update is PyTorch's AdamW: with decayed value w, gradient g and step t,
 *
 *		m = beta1 m + (1 - beta1) g
 *		v = beta2 v + (1 - beta2) g^2
 *		w = w (1 - lr decay) - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + epsilon)
 */
#include "nn/base/kernels.h"
#include "nn/base/optimizer.h"

#define SUM_BLOCK 4096			/* reals that stay in the first-level cache while the slots are added */

double
fnn_learning_rate(double base, int64_t step, int64_t warmup_steps, double decay, double epochs)
{
	double		warmup = step < warmup_steps ? (double) step / (double) warmup_steps : 1;

	return base * warmup * pow(decay, epochs);
}

/* ---------------------------------------------------------------- sum over the shards */

static FNN_CLONES void
add_reals(size_t n, const fnn_real *x, fnn_real *sum)
{
	FNN_SIMD
	for (size_t i = 0; i < n; i++)
		sum[i] += x[i];
}

static FNN_CLONES double
sum_squares(size_t n, const fnn_real *x)
{
	double		sum = 0;

	FNN_SIMD_SUM(sum)
	for (size_t i = 0; i < n; i++)
		sum += (double) x[i] * (double) x[i];
	return sum;
}

void
fnn_reduce(fnn_real *const *slots, int n_shards, size_t from, size_t to, double *chunk_squares)
{
	for (size_t chunk = from / FNN_REDUCE_CHUNK; chunk * FNN_REDUCE_CHUNK < to; chunk++)
	{
		size_t		start = chunk * FNN_REDUCE_CHUNK;
		size_t		end = to - start < FNN_REDUCE_CHUNK ? to : start + FNN_REDUCE_CHUNK;

		for (size_t i = start; i < end; i += SUM_BLOCK)
			for (int shard = 1; shard < n_shards; shard++)
				add_reals(end - i < SUM_BLOCK ? end - i : SUM_BLOCK, slots[shard] + i, slots[0] + i);
		chunk_squares[chunk] = sum_squares(end - start, slots[0] + start);
	}
}

/* ---------------------------------------------------------------- AdamW */

/* What an update needs of FnnAdamW and the step, in the engine's precision. */
typedef struct Update
{
	fnn_real	keep;			/* 1 - lr * decay */
	fnn_real	beta1;
	fnn_real	beta2;
	fnn_real	rest1;			/* 1 - beta1, computed in double */
	fnn_real	rest2;
	fnn_real	rate;			/* lr / (1 - beta1^t) */
	fnn_real	correction;		/* 1 / sqrt(1 - beta2^t) */
	fnn_real	epsilon;
	fnn_real	scale;			/* of the gradient */
} Update;

static Update
make_update(const FnnAdamW *adamw, int64_t step, double scale, bool decay)
{
	Update		update;

	update.keep = (fnn_real) (decay ? 1 - adamw->learning_rate * adamw->weight_decay : 1);
	update.beta1 = (fnn_real) adamw->beta1;
	update.beta2 = (fnn_real) adamw->beta2;
	update.rest1 = (fnn_real) (1 - adamw->beta1);
	update.rest2 = (fnn_real) (1 - adamw->beta2);
	update.rate = (fnn_real) (adamw->learning_rate / (1 - pow(adamw->beta1, (double) step)));
	update.correction = (fnn_real) (1 / sqrt(1 - pow(adamw->beta2, (double) step)));
	update.epsilon = (fnn_real) adamw->epsilon;
	update.scale = (fnn_real) scale;
	return update;
}

static FNN_CLONES void
adamw_reals(const Update *u, size_t n, fnn_real *value, const fnn_real *grad, fnn_real *m, fnn_real *v)
{
	const Update update = *u;

	FNN_SIMD
	for (size_t i = 0; i < n; i++)
	{
		fnn_real	g = grad[i] * update.scale;
		fnn_real	m_new = update.beta1 * m[i] + update.rest1 * g;
		fnn_real	v_new = update.beta2 * v[i] + update.rest2 * (g * g);

		m[i] = m_new;
		v[i] = v_new;
		value[i] = value[i] * update.keep
			- update.rate * m_new / (fnn_sqrt(v_new) * update.correction + update.epsilon);
	}
}

void
fnn_adamw(const FnnAdamW *adamw, const FnnParams *params, int64_t step, double scale,
		  size_t from, size_t to, fnn_real *value, const fnn_real *grad,
		  fnn_real *m, fnn_real *v)
{
	const Update plain = make_update(adamw, step, scale, false);
	const Update decayed = make_update(adamw, step, scale, true);

	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		size_t		start = param->offset;
		size_t		end = start + (size_t) (param->rows * param->cols);

		if (param->frozen || param->sparse)
			continue;
		start = start < from ? from : start;
		end = end > to ? to : end;
		if (start < end)
			adamw_reals(param->decay ? &decayed : &plain, end - start,
						value + start, grad + start, m + start, v + start);
	}
}

void
fnn_adamw_sparse(const FnnAdamW *adamw, const FnnParam *param, int64_t step, double scale,
				 const FnnSparse *sparse, int64_t from, int64_t to,
				 fnn_real *value, fnn_real *m, fnn_real *v, int32_t *last_step)
{
	const Update common = make_update(adamw, step, scale, param->decay);
	int64_t		cols = param->cols;

	for (int64_t i = from; i < to; i++)
	{
		int64_t		row = sparse->touched[i];
		int64_t		idle = step - 1 - last_step[row];
		size_t		start = param->offset + (size_t) (row * cols);
		Update		update = common;

		/* a row never touched has moments of 0, whatever they are multiplied by */
		if (idle > 0)
		{
			update.beta1 = (fnn_real) pow(adamw->beta1, (double) (idle + 1));
			update.beta2 = (fnn_real) pow(adamw->beta2, (double) (idle + 1));
		}
		adamw_reals(&update, (size_t) cols, value + start, sparse->grad + i * cols, m + start, v + start);
		last_step[row] = (int32_t) step;
	}
}

/* ---------------------------------------------------------------- differences */

FNN_CLONES double
fnn_first_step(double learning_rate, double epsilon, size_t n, fnn_real *grad)
{
	fnn_real	rate = (fnn_real) -learning_rate;
	fnn_real	least = (fnn_real) epsilon;
	double		sum = 0;

	if (epsilon < 0)
		FNN_SIMD_SUM(sum)
		for (size_t i = 0; i < n; i++)
		{
			grad[i] *= rate;
			sum += (double) grad[i] * (double) grad[i];
		}
	else
		/* both moments are those of this gradient alone, and their corrections cancel out */
		FNN_SIMD_SUM(sum)
		for (size_t i = 0; i < n; i++)
		{
			grad[i] = rate * grad[i] / (fnn_sqrt(grad[i] * grad[i]) + least);
			sum += (double) grad[i] * (double) grad[i];
		}
	return sum;
}

FNN_CLONES double
fnn_subtract(size_t n, const fnn_real *from, fnn_real *x)
{
	double		sum = 0;

	FNN_SIMD_SUM(sum)
	for (size_t i = 0; i < n; i++)
	{
		x[i] -= from[i];
		sum += (double) x[i] * (double) x[i];
	}
	return sum;
}

FNN_CLONES void
fnn_move_reals(size_t n, double scale, fnn_real *x, fnn_real *to)
{
	fnn_real	weight = (fnn_real) scale;

	FNN_SIMD
	for (size_t i = 0; i < n; i++)
	{
		to[i] += weight * x[i];
		x[i] = 0;
	}
}

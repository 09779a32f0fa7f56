/*
 * round_plan.c
 *	  What a training in rounds of users makes of a class's parameters, and the memory that it takes.
 */
#include "model/train/train_private.h"

void
fmoe_round_plan(FmoeTrainer *trainer)
{
	FmoeTrainPlan *plan = &trainer->plan;
	bool		own = false;

	plan->slot_end = 0;
	for (int i = 0; i < plan->params.count; i++)
	{
		FnnParam   *param = &plan->params.list[i];

		/* a user's gradient has few rows, and is small as it is */
		param->sparse = false;
		if (param->share == FNN_PRIVATE && param->rows != trainer->data->n_users)
			fnn_fail(trainer->host, FNN_INVALID, "parameter \"%s\" has no row for each user", param->name);
		if (param->share != FNN_PRIVATE && own)
			fnn_fail(trainer->host, FNN_INVALID, "parameter \"%s\" is behind rows of users", param->name);
		own = own || param->share == FNN_PRIVATE;
		if (!own)
			plan->slot_end = param->offset + (size_t) (param->rows * param->cols);
		if (param->rows_of == FNN_OF_GROUPS && fmoe_is_shared(param))
			plan->group_rows += param->rows;
	}
}

double
fmoe_round_bytes(const FmoeTrainer *trainer)
{
	const FnnParams *params = &trainer->plan.params;
	double		bytes = 4.0 * (double) trainer->plan.slot_end * sizeof(fnn_real);

	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];

		bytes += sizeof(FnnTensor) + sizeof(FnnSparse) + sizeof(fnn_real *) + 8.0 * FNN_ALIGN;
		if (fmoe_is_own(param))
			bytes += 2.0 * (double) param->cols * sizeof(fnn_real) +
				(double) fnn_sparse_bytes(trainer->host, param->rows, param->cols, 1);
	}
	return bytes;
}

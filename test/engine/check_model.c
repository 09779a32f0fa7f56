/*
 * check_model.c
 *	  Models over drawn values, for tests that need no training.
 */
#include "check.h"

#include "model/expert/expert.h"

#include <string.h>

/* Draws the values of a model's main expert; noise moves them, those that begin as 0 or 1 too. */
void
check_draw_main(FmoeModel *model, uint64_t seed, double noise, bool with_grad)
{
	FnnArena   *arena = check_arena();
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeFacts	facts = {.n_items = model->n_items, .features = main->features, .user_features = main->user_features};
	fnn_real   *values;
	fnn_real   *grads = NULL;

	fmoe_declare_class(&model->params, check_host(), main->class, &model->config, &facts);
	values = fnn_alloc_reals(arena, 1, (int64_t) model->params.size);
	fnn_params_init(&model->params, check_host(), seed, values);
	for (size_t i = 0; i < model->params.size; i++)
		values[i] += (fnn_real) (noise * fnn_random_normal(99, 0, i));
	if (with_grad)
		grads = fnn_zalloc(arena, model->params.size * sizeof(fnn_real));
	main->params = &model->params;
	main->tensor = fnn_zalloc(arena, sizeof(FnnTensor) * (size_t) model->params.count);
	fnn_params_bind(&model->params, main->tensor, values, grads, NULL);
	if (main->class->start != NULL)
		main->class->start(main, check_host());
	fmoe_model_compute_items(model, arena);
}

FmoeModel *
check_model(const FmoeConfig *config, const FmoeDataset *data, uint64_t seed, double noise, bool with_grad)
{
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));

	fmoe_count_experts(model, check_arena(), config, data);
	model->expert[FMOE_MAIN].features = data->features;
	check_draw_main(model, seed, noise, with_grad);
	model->blend = config->blend > 0 ? config->blend : 0;
	return model;
}

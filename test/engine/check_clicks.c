/*
 * check_clicks.c
 *	  Clicks: maps by rows, the loss of yes or no, how probabilities are judged, and
 *	  what is counted to be beaten.
 */
#include "check.h"

#include "nn/base/tape_private.h"

#include <math.h>
#include <string.h>

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

/* ---------------------------------------------------------------- maps by rows */

static const int32_t mapped[] = {1, 1, 0, -1, 3, 3, 3, 1};

typedef struct Maps
{
	int64_t		first;
	int64_t		out;
	bool		biased;
	FnnActivation activation;
} Maps;

static void
run_maps(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Maps *m = context;

	check_loss(tape, fnn_row_linear(tape, inputs[0], inputs[1], m->first, m->out, m->biased, m->activation, mapped));
}

static void
check_maps(void)
{
	static const Maps cases[] = {{3, 4, true, FNN_RELU}, {0, 4, false, FNN_IDENTITY}, {2, 16, true, FNN_IDENTITY}};

	check_begin("linear maps of which every row has its own, against plain loops and differences");
	for (int k = 0; k < 3; k++)
	{
		Maps		m = cases[k];
		FnnTensor  *x = check_tensor(1, 8, 5);
		FnnTensor  *table = check_tensor(2, 4, m.first + 6 * m.out + 1);
		FnnTensor  *inputs[] = {x, table};
		FnnTape		tape;
		FnnTensor  *y;

		fnn_tape_begin(&tape, check_arena(), false, 0, 0);
		y = fnn_row_linear(&tape, x, table, m.first, m.out, m.biased, m.activation, mapped);
		for (int64_t i = 0; i < 8; i++)
			for (int64_t c = 0; c < m.out; c++)
			{
				const fnn_real *map = table->value + mapped[i] * table->cols + m.first;
				double		sum = mapped[i] < 0 || !m.biased ? 0 : map[5 * m.out + c];

				for (int64_t j = 0; mapped[i] >= 0 && j < 5; j++)
					sum += map[c * 5 + j] * x->value[i * 5 + j];
				if (m.activation == FNN_RELU && sum < 0)
					sum = 0;
				CHECK(check_close(y->value[i * m.out + c], sum, EXACT), "row %d column %d", (int) i, (int) c);
			}
		check_operation(2, inputs, run_maps, &m);
		inputs[1] = check_sparse_copy(table);
		check_gradients(2, inputs, run_maps, &m);
	}
	check_end();
}

static void
check_rows_left_alone(void)
{
	Maps		m = {0, 4, true, FNN_IDENTITY};
	FnnTensor  *x = check_tensor(1, 8, 5);
	FnnTensor  *table = check_tensor(2, 4, 24);
	FnnTensor  *sparse = check_sparse_copy(table);
	FnnTensor  *inputs[] = {x, sparse};
	double		moved = 0;

	check_begin("a row that nobody has, and one that is frozen, get no gradient");
	(void) check_loss_of(inputs, run_maps, &m, true);
	CHECK(sparse->sparse->count == 3, "%d rows of the table are touched", (int) sparse->sparse->count);
	for (int64_t i = 0; i < sparse->sparse->count; i++)
		CHECK(sparse->sparse->touched[i] != 2, "row 2 is touched");
	sparse->sparse = NULL;
	memset(x->grad, 0, sizeof(fnn_real) * 40);
	(void) check_loss_of(inputs, run_maps, &m, true);
	CHECK(sparse->grad == NULL, "a frozen table has a gradient");
	for (int i = 0; i < 40; i++)
		moved += fabs((double) x->grad[i]);
	CHECK(moved > 0, "no gradient goes through a frozen table");
	check_end();
}

static const int32_t picked[] = {2, 0, 1, 2};
static const float wanted_label[] = {1, 0, NAN, 0.5f};
static const float label_weight[] = {1, 2, 1, 0.5f};

static void
run_click_loss(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	FnnTensor  *z = fnn_pick(tape, inputs[0], picked);

	fnn_click_loss(tape, z, wanted_label, label_weight, 0.7);
	fnn_sum_loss(tape, z, label_weight, 0.3);
}

static void
check_click_loss(void)
{
	FnnTensor  *x = check_tensor(3, 4, 3);
	double		loss = 0;

	check_begin("the loss of yes or no, of large numbers too");
	x->value[2] = 90;
	x->value[3] = -60;
	for (int i = 0; i < 4; i++)
	{
		double		z = x->value[i * 3 + picked[i]];

		loss += 0.3 * label_weight[i] * z;
		if (!isnan(wanted_label[i]))
			loss += 0.7 * label_weight[i] *
				(wanted_label[i] * log1p(exp(-z)) + (1 - wanted_label[i]) * log1p(exp(z)));
	}
	CHECK(check_close(check_loss_of(&x, run_click_loss, NULL, false), loss, EXACT), "not %g", loss);
	CHECK(fnn_click_loss_of(1000, 0) == 1000 && fnn_click_loss_of(-1000, 0) == 0, "large numbers");
	x->value[2] = 0.4f;
	x->value[3] = -0.3f;
	check_operation(1, &x, run_click_loss, NULL);
	check_end();
}

/* ---------------------------------------------------------------- figures */

static void
check_figures(void)
{
	const fnn_real logit[] = {2, -1, 0.5, 0.5, -3, NAN, 1};
	const float label[] = {1, 0, 1, 0, 0, 1, 0};
	const int32_t times[] = {1, 2, 1, 1, 0, 5, 1};
	FmoeClickFigures figures = fmoe_click_figures(check_arena(), 7, logit, label, NULL);
	double		loss = 0;

	check_begin("area under the curve, log-loss and calibration, by hand");
	/* pairs: 2 beats four; 0.5 beats two, ties one, loses to one */
	CHECK(check_close(figures.auc, (4 + 2 + 0.5) / 8, 1e-12), "AUC %g", figures.auc);
	for (int i = 0; i < 7; i++)
		loss += isnan(logit[i]) ? 0 : fnn_click_loss_of((double) logit[i], (double) label[i]);
	CHECK(check_close(figures.log_loss, loss / 6, 1e-6), "log-loss %g", figures.log_loss);
	CHECK(figures.calibration > 0 && figures.calibration < 1, "calibration %g", figures.calibration);
	figures = fmoe_click_figures(check_arena(), 7, logit, label, times);
	CHECK(check_close(figures.auc, (4 + 2 + 0.5) / 8, 1e-12), "AUC %g of weighed ones", figures.auc);
	figures = fmoe_click_figures(check_arena(), 1, logit, label, NULL);
	CHECK(isnan(figures.auc) && figures.log_loss < 0.2, "one label only");
	figures = fmoe_click_figures(check_arena(), 0, logit, label, NULL);
	CHECK(isnan(figures.log_loss), "nothing");
	check_end();
}

static void
check_fifths(void)
{
	static const int64_t offset[] = {0, 10, 11, 15};
	static const int32_t basket[] = {0, 0, 1, 2, 3, 4, 5, 6, 6, 7, 0, 0, 0, 0, 0};
	static const int32_t item[15] = {0};
	FmoeDataset data = {.n_users = 3, .n_events = 15, .n_items = 1, .offset = offset};

	check_begin("a user's last fifth, in whole baskets");
	data.events.item = item;
	CHECK(fmoe_last_fifth(&data, 0, 10) == 8, "without baskets: %d", (int) fmoe_last_fifth(&data, 0, 10));
	CHECK(fmoe_train_end(&data, FMOE_HOLDOUT_TEST_FIFTH, 0) == 6, "of the others the last fifth is for validation");
	CHECK(fmoe_validation_end(&data, FMOE_HOLDOUT_TEST_FIFTH, 0) == 8, "what is for test");
	CHECK(fmoe_train_end(&data, FMOE_HOLDOUT_VALIDATION_FIFTH, 0) == 8, "validation alone");
	data.events.basket = basket;
	CHECK(fmoe_last_fifth(&data, 0, 10) == 7, "in baskets: %d", (int) fmoe_last_fifth(&data, 0, 10));
	CHECK(fmoe_last_fifth(&data, 1, 11) == 11 && fmoe_last_fifth(&data, 2, 15) == 15, "one basket alone trains");
	CHECK(fmoe_holds_back(FMOE_HOLDOUT_TEST_FIFTH, FMOE_HOLDOUT_TEST) &&
		  !fmoe_holds_back(FMOE_HOLDOUT_TEST, FMOE_HOLDOUT_VALIDATION_FIFTH), "which keeps back more");
	check_end();
}

/* The baselines, by hand and by both ways of asking. */
static void
check_baselines(void)
{
	static const char *const names[] = {"constant", "user_rate", "user_category_rate"};
	FmoeConfig	config = check_config("mrff");
	FmoeDataset *data = check_walks_for(&config, 200, 60, 10, 30, 3);
	FmoeImpressionsWanted wanted = {.split = FMOE_SPLIT_FIFTH, .max_length = 40};
	FmoeImpressions *impressions = fmoe_impressions(check_arena(), data, &wanted);
	fnn_real   *logit = fnn_alloc_reals(check_arena(), 1, impressions->n);
	double		loss[3];

	check_begin("the share of clicks, the user's, and that of a category");
	for (int k = 0; k < 3; k++)
	{
		FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
		FmoeModel  *bound = fnn_zalloc(check_arena(), sizeof(FmoeModel));
		FnnArray   *array;
		fnn_real	score;
		int			n;
		int64_t		w = impressions->count - 1;
		FmoeBatch  *before = fmoe_batch(check_arena(), &data->events, 1, &impressions->begin[w], &impressions->from[w],
										40);

		config = check_config(names[k]);
		config.max_length = 40;
		config.holdout = FMOE_HOLDOUT_TEST_FIFTH;
		fmoe_count_experts(model, check_arena(), &config, data);
		fmoe_foresee(model, FMOE_MAIN, check_arena(), data, impressions, 0, impressions->count, logit);
		loss[k] = fmoe_click_figures(check_arena(), impressions->n, logit, impressions->label, NULL).log_loss;
		array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) fmoe_model_arrays_max(model));
		n = fmoe_model_arrays(model, array, fmoe_model_arrays_max(model));
		fmoe_model_bind(bound, check_host(), &config, data->n_items, n, array);
		bound->expert[FMOE_MAIN].class->score(&bound->expert[FMOE_MAIN], check_arena(), before, 0, 1,
											  &data->events.item[impressions->from[w]], &score);
		CHECK(score == logit[impressions->first[w]], "%s scores %g and foresees %g", names[k], (double) score,
			  (double) logit[impressions->first[w]]);
		CHECK(k != 0 || logit[0] == logit[impressions->n - 1], "a constant that is none");
	}
	CHECK(loss[0] > loss[1] + 0.02 && loss[1] > loss[2], "losses %.4f, %.4f, %.4f", loss[0], loss[1], loss[2]);
	check_end();
}

void
check_clicks_judged(void)
{
	check_maps();
	check_rows_left_alone();
	check_click_loss();
	check_figures();
	check_fifths();
	check_baselines();
}

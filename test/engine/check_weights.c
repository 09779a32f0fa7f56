/*
 * check_weights.c
 *	  Events with weights: weights of 1 are none, twice all weights is the same
 *	  objective, and what weighs 0 is context: part of histories, and no target, no
 *	  count, no answer.
 */
#include "check.h"

#include "model/count/count.h"
#include "model/expert/together.h"

#include <math.h>
#include <string.h>

float *
check_event_weights(FmoeDataset *data, float same, uint64_t seed)
{
	static const float some[] = {0, 0, 0.5f, 1, 1, 2.25f};
	float	   *weight = fnn_alloc(check_arena(), sizeof(float) * (size_t) (data->n_events + 1));

	for (int64_t i = 0; i < data->n_events; i++)
		weight[i] = same > 0 ? same : some[fnn_random_below(seed, 21, (uint64_t) i, 6)];
	data->events.weight = weight;
	return weight;
}

/* The walks' events, two by two, are baskets. */
static void
pair_up(FmoeDataset *data)
{
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) (data->n_events + 1));
	int32_t		number = 0;

	for (int64_t u = 0; u < data->n_users; u++)
		for (int64_t i = data->offset[u]; i < data->offset[u + 1]; i++)
		{
			number += (i - data->offset[u]) % 2 == 0;
			basket[i] = number;
		}
	data->events.basket = basket;
}

/* ---------------------------------------------------------------- the same as without */

static void
compare_arrays(const FmoeModel *a, const FmoeModel *b, const char *what)
{
	FnnArray	x[64];
	FnnArray	y[64];
	int			n = fmoe_model_arrays(a, x, 64);

	CHECK(n > 0 && n == fmoe_model_arrays(b, y, 64), "%s: %d arrays", what, n);
	for (int i = 0; i < n; i++)
		CHECK(x[i].bytes == y[i].bytes && memcmp(x[i].data, y[i].data, x[i].bytes) == 0, "%s: \"%s\" differs", what,
			  x[i].name);
}

static FmoeModel *
fitted(const FmoeConfig *config, const FmoeDataset *data)
{
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));

	if (fmoe_only_counts(fmoe_expert_classes[config->model]))
		fmoe_count_experts(model, check_arena(), config, data);
	else
		fmoe_trainer_model(check_finish_run(config, data), NULL, model);
	fmoe_count_together(model, check_arena(), data);
	return model;
}

static void
check_same_as_without(const char *class, FmoeLoss loss)
{
	FmoeConfig *config = fnn_alloc(check_arena(), sizeof(FmoeConfig));

	*config = check_config(class);
	config->epochs = 2;
	config->loss = loss;
	if (strcmp(class, "fmoe") == 0)
	{
		check_own(config)->count_experts = true;
		check_own(config)->gate_loss = 0.5;
		check_own(config)->kl = 0.1;
		check_own(config)->contrast = loss == FMOE_LOSS_SOFTMAX ? 0.1 : 0;
	}
	check_begin("%s, %s: weights of 1 are none", class, loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	for (int baskets = 0; baskets < 2; baskets++)
	{
		FmoeDataset *data = check_walks(40, 30, 2, 14, 5);
		FmoeModel  *without;

		if (baskets)
			pair_up(data);
		without = fitted(config, data);
		check_event_weights(data, 1, 0);
		compare_arrays(without, fitted(config, data), baskets ? "baskets" : "events");
	}
	check_end();
}

static void
check_twice(const char *class, FmoeLoss loss)
{
	FmoeConfig	config = check_config(class);

	config.epochs = 2;
	config.loss = loss;
	config.blend = 0;
	if (strcmp(class, "fmoe") == 0)
	{
		/* without counts, of which there are twice as many */
		check_own(&config)->gate_loss = 0.5;
		check_own(&config)->kl = 0.1;
		check_own(&config)->contrast = 0.1;
	}
	check_begin("%s, %s: twice the weights is the same objective", class, loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	for (int baskets = 0; baskets < 2; baskets++)
	{
		FmoeDataset *data = check_walks(40, 30, 2, 14, 5);
		float	   *weight;
		FmoeTrainer *run[2];
		const void *values[2];
		size_t		bytes;

		if (baskets)
			pair_up(data);
		weight = check_event_weights(data, 0, 3);
		for (int k = 0; k < 2; k++)
		{
			run[k] = check_finish_run(&config, data);
			values[k] = fmoe_trainer_block(run[k], FMOE_BLOCK_VALUES, &bytes);
			for (int64_t i = 0; i < data->n_events; i++)
				weight[i] *= 2;
		}
		CHECK(memcmp(values[0], values[1], bytes) == 0, "values differ, baskets %d", baskets);
		CHECK(fmoe_trainer_state(run[0])->loss == fmoe_trainer_state(run[1])->loss, "losses differ");
	}
	check_end();
}

/* ---------------------------------------------------------------- losses */

/* Cross-entropy of an item after the events begin .. end - 1. */
static double
loss_after(const FmoeModel *model, const FmoeDataset *data, int64_t begin, int64_t end, int32_t item)
{
	FnnMark		mark = fnn_arena_mark(check_arena());
	FmoeBatch  *batch = fmoe_batch(check_arena(), &data->events, 1, &begin, &end, model->config.max_length);
	fnn_real   *score = fnn_alloc_reals(check_arena(), 1, data->n_items);
	double		sum = 0;
	double		loss;

	fmoe_score(model, FMOE_MAIN, check_arena(), batch, score);
	for (int32_t i = 0; i < data->n_items; i++)
		sum += exp((double) score[i]);
	loss = log(sum) - (double) score[item];
	fnn_arena_reset(check_arena(), mark);
	return loss;
}

/* Only one event of each basket counts, so that there is nothing to draw. */
static void
one_counts(const FmoeDataset *data, float *weight)
{
	for (int64_t i = 0; i < data->n_events; i += 2)
		weight[i + (i / 2) % 2] = 0;
}

static void
check_weighed_mean(bool baskets)
{
	/* all of as many events, so that baskets are of two */
	FmoeDataset *data = check_walks(30, 20, 10, 10, 7);
	FmoeConfig	config = check_config("sasrec");
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	float	   *weight = check_event_weights(data, 0, 9);
	FmoeTrainer *trainer;
	double		loss = 0;
	double		sum = 0;

	config.dropout = 0;
	config.learning_rate = 1e-12;
	config.epochs = 1;
	config.batch_size = 64;
	config.holdout = FMOE_HOLDOUT_NONE;
	config.blend = 0;
	if (baskets)
	{
		pair_up(data);
		one_counts(data, weight);
	}
	check_begin("the loss is the mean over the targets by their weights%s", baskets ? ", of baskets" : "");
	trainer = check_finish_run(&config, data);
	fmoe_trainer_model(trainer, NULL, model);
	for (int64_t u = 0; u < data->n_users; u++)
		for (int64_t i = data->offset[u] + 1; i < data->offset[u + 1]; i++)
		{
			int64_t		begin = data->offset[u];
			int64_t		end = fmoe_basket_begin(&data->events, begin, i);
			int64_t		tokens = end - fmoe_basket_begin(&data->events, begin, end > begin ? end - 1 : begin);

			if (weight[i] == 0 || end == begin)
				continue;
			/* each event of the basket before is followed by this one */
			loss += (double) tokens * weight[i] * loss_after(model, data, begin, end, data->events.item[i]);
			sum += (double) tokens * weight[i];
		}
	CHECK(check_close(fmoe_trainer_state(trainer)->loss, loss / sum, 1e-5), "loss %.9g instead of %.9g",
		  fmoe_trainer_state(trainer)->loss, loss / sum);
	check_end();
}

/* What comes after a user's last event that counts trains nobody, and who has nothing that counts no more. */
static void
check_context_behind(const char *class)
{
	FmoeDataset *data = check_walks(40, 30, 2, 10, 5);
	FmoeDataset longer = *data;
	FmoeConfig	config = check_config(class);
	int64_t		n = data->n_events + 3 * data->n_users;
	int64_t    *offset = fnn_zalloc(check_arena(), sizeof(int64_t) * (size_t) (data->n_users + 1));
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) n);
	double	   *time = fnn_alloc(check_arena(), sizeof(double) * (size_t) n);
	float	   *weight = fnn_alloc(check_arena(), sizeof(float) * (size_t) n);
	FmoeTrainer *run[2];
	const void *values[2];
	size_t		bytes;

	/* two more for each user, and behind all a user of three who only looked */
	for (int64_t u = 0; u < data->n_users; u++)
	{
		int64_t		at = offset[u];

		for (int64_t i = data->offset[u]; i < data->offset[u + 1]; i++, at++)
		{
			item[at] = data->events.item[i];
			time[at] = data->events.time[i];
			weight[at] = 1;
		}
		for (int k = 0; k < 2; k++, at++)
		{
			item[at] = (int32_t) ((u + k) % 30);
			time[at] = 2e9;
			weight[at] = 0;
		}
		offset[u + 1] = at;
	}
	longer.offset = offset;
	longer.n_events = offset[data->n_users];
	longer.events = (FmoeEvents) {.item = item, .time = time, .weight = weight};
	config.epochs = 2;
	check_begin("%s: context behind the last event that counts changes nothing", class);
	for (int k = 0; k < 2; k++)
	{
		run[k] = check_finish_run(&config, k == 0 ? data : &longer);
		values[k] = fmoe_trainer_block(run[k], FMOE_BLOCK_VALUES, &bytes);
	}
	CHECK(memcmp(values[0], values[1], bytes) == 0, "values differ");
	CHECK(fmoe_trainer_state(run[0])->metric == fmoe_trainer_state(run[1])->metric &&
		  fmoe_trainer_state(run[0])->metric > 0, "validation differs");
	for (int64_t i = 0; i < longer.n_events; i++)
		weight[i] = 0;
	CHECK(fmoe_anything_to_learn(data, &config) && !fmoe_anything_to_learn(&longer, &config), "what is to be learned");
	check_end();
}

/* The loss of a mixture for the last event of the data, whose user's others are one basket. */
static double
mixture_loss(const FmoeConfig *config, const FmoeDataset *data, const FmoeBatch *history)
{
	FmoeModel  *model = check_model(config, data, 5, 0.3, false);
	const int32_t last = data->events.item[data->n_events - 1];
	const int32_t target[] = {last, last, last};
	const float last_weight = data->events.weight[data->n_events - 1];
	const float weight[] = {last_weight, last_weight, last_weight};
	FmoeGoal	goal = {.target = target, .target_weight = weight, .weight = 1 / (double) last_weight, .step = 1};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	model->expert[FMOE_MAIN].class->learn(&model->expert[FMOE_MAIN], &tape, history, &goal);
	return tape.loss;
}

/* What a token is followed by is taken off the counts that predict it, as much as it has counted. */
static void
check_own_transition(int basket_size)
{
	/* two users; the last one's last event, after a basket, is in the second data a user of its own */
	static const int64_t whole[] = {0, 4, 8};
	static const int64_t split[] = {0, 4, 7, 8};
	static const int32_t item[] = {0, 1, 0, 2, 0, 3, 4, 5};
	static const double time[] = {1, 2, 3, 4, 1, 1, 1, 2};
	static const float weight[] = {1, 0.7f, 1, 3, 1, 2, 1, 0.3f};
	static const int32_t basket[] = {0, 1, 2, 3, 4, 4, 4, 5};
	const int64_t begin = 7 - basket_size;
	const int64_t end = 7;
	int64_t		offset[2][4];
	FmoeConfig	config = check_config("fmoe");
	double		loss[2];

	config.holdout = FMOE_HOLDOUT_NONE;
	config.dropout = 0;
	check_own(&config)->count_experts = true;
	check_begin("a mixture takes off a target's own transition, whatever it weighs, after a basket of %d",
				basket_size);
	memcpy(offset[0], whole, sizeof(whole));
	memcpy(offset[1], split, sizeof(split));
	for (int k = 0; k < 2; k++)
	{
		FmoeDataset data = {.n_users = 2 + k, .n_events = 8, .n_items = 6, .offset = offset[k],
		.events = {.item = item, .time = time, .weight = weight, .basket = basket}};

		/* what of the basket is not wanted is another user's */
		if (basket_size == 1)
			offset[k][1] = 6;
		loss[k] = mixture_loss(&config, &data, fmoe_batch(check_arena(), &data.events, 1, &begin, &end, 8));
	}
	CHECK(loss[0] > 0 && check_close(loss[0], loss[1], 1e-6), "loss %.9g, without the transition %.9g", loss[0],
		  loss[1]);
	check_end();
}

/* The gate over experts that count learns from answers by their weights, and knows what was shown. */
static void
check_gate_of_weights(void)
{
	FmoeDataset *data = check_walks(120, 30, 4, 10, 5);
	FmoeConfig	config = check_config("fmoe");
	float	   *weight = check_event_weights(data, 1, 0);
	int64_t    *offset = fnn_alloc(check_arena(), sizeof(int64_t) * (size_t) (data->n_users + 1));
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_users);
	double	   *time = fnn_zalloc(check_arena(), sizeof(double) * (size_t) data->n_users);
	FmoeGate	gate[4];

	*check_own(&config) = (FmoeMixtureOptions) {.gate = FMOE_GATE_LINEAR};
	config.epochs = 1;
	config.holdout = FMOE_HOLDOUT_VALIDATION;
	check_begin("a gate is fitted to answers by their weights, among what was not seen");
	for (int k = 0; k < 4; k++)
	{
		for (int64_t u = 0; u < data->n_users; u++)
		{
			int64_t		answer = fmoe_train_end(data, config.holdout, u);

			/* none; twice as much; some more than others; and again none, but all were shown an item */
			if (k > 0)
				weight[answer] = k == 1 ? 2 : k == 2 ? (float) (1 + u % 3) : 1;
			offset[u] = u;
			item[u] = (data->events.item[answer] + 1) % 30;
		}
		offset[data->n_users] = data->n_users;
		if (k == 3)
		{
			data->shown.count = data->n_users;
			data->shown.offset = offset;
			data->shown.events = (FmoeEvents) {.item = item, .time = time};
		}
		gate[k] = fitted(&config, data)->gate;
	}
	for (int k = 1; k < 4; k++)
		CHECK((memcmp(gate[k].weight, gate[0].weight, sizeof(gate[0].weight)) == 0) == (k == 1), "%s", k == 1
			  ? "twice the weights" : k == 2 ? "other weights" : "what was shown");
	check_end();
}

/* ---------------------------------------------------------------- counts */

static void
check_counts(bool baskets)
{
	FmoeDataset *data = check_walks(50, 12, 2, 15, 11);
	float	   *weight = check_event_weights(data, 0, 13);
	FmoeConfig	config = check_config("markov");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	double		popularity[12] = {0};
	double		followed[12][12] = {{0}};

	config.holdout = FMOE_HOLDOUT_NONE;
	if (baskets)
		pair_up(data);
	fmoe_count_experts(model, check_arena(), &config, data);
	for (int64_t u = 0; u < data->n_users; u++)
		for (int64_t i = data->offset[u]; i < data->offset[u + 1]; i++)
		{
			int64_t		next = fmoe_basket_end(&data->events, i, data->offset[u + 1]);
			int64_t		size = next - fmoe_basket_begin(&data->events, data->offset[u], i);
			int64_t		end = next;

			if (next < data->offset[u + 1])
				end = fmoe_basket_end(&data->events, next, data->offset[u + 1]);
			popularity[data->events.item[i]] += weight[i];
			for (int64_t k = next; k < end; k++)
				followed[data->events.item[i]][data->events.item[k]] += weight[k] / (double) size;
		}
	check_begin("popularity and transitions count by weights%s", baskets ? ", in baskets" : "");
	for (int32_t i = 0; i < 12; i++)
	{
		FmoeTransitions row = fmoe_transitions(&model->expert[FMOE_MARKOV], i);
		int64_t		at = 0;

		CHECK(check_close(((float *) model->expert[FMOE_POPULARITY].array[0].data)[i], popularity[i], 1e-6),
			  "popularity of %d", i);
		for (int32_t j = 0; j < 12; j++)
		{
			if (followed[i][j] == 0)
				continue;
			CHECK(at < row.n && row.to[at] == j && check_close(row.count[at], followed[i][j], 1e-6),
				  "%d followed by %d", i, j);
			at++;
		}
		CHECK(at == row.n, "%d entries of item %d, %d counted", (int) row.n, i, (int) at);
	}
	check_end();
}

static void
check_together_counts(void)
{
	/* baskets {0 1 2*} {0 1} {3*} {0 2} and {3} alone; those with a star weigh 0 */
	static const int64_t offset[] = {0, 8, 9};
	static const int32_t item[] = {0, 1, 2, 0, 1, 3, 0, 2, 3};
	static const int32_t basket[] = {0, 0, 0, 1, 1, 2, 3, 3, 4};
	static const float weight[] = {1, 2, 0, 0.5f, 1, 0, 1, 1, 1};
	static const double time[] = {1, 1, 1, 2, 2, 3, 4, 4, 1};
	FmoeDataset data = {.n_users = 2, .n_events = 9, .n_items = 4, .offset = offset,
	.events = {.item = item, .time = time, .basket = basket, .weight = weight}};
	FmoeConfig	config = check_config("popularity");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const int32_t given[] = {0};
	const int64_t *with;

	config.holdout = FMOE_HOLDOUT_NONE;
	fmoe_count_experts(model, check_arena(), &config, &data);
	check_begin("what weighs 0 is in no basket that is counted");
	fmoe_count_together(model, check_arena(), &data);
	with = model->together.array[3].data;
	CHECK(with[0] == 3 && with[1] == 2 && with[2] == 1 && with[3] == 1 && with[4] == 4, "%d %d %d %d of %d",
		  (int) with[0], (int) with[1], (int) with[2], (int) with[3], (int) with[4]);
	CHECK(fmoe_together_baskets(&model->together, 1, given, 1) == 2 &&
		  fmoe_together_baskets(&model->together, 1, given, 2) == 1, "pairs");
	check_end();
}

static void
check_odd_sums(void)
{
	static const int64_t offset[] = {0, 4};
	static const int32_t item[] = {0, 1, 0, 2};
	static const double time[] = {1, 2, 3, 4};
	static const float weight[] = {3e38f, 3e38f, 3e38f, 1e-44f};
	FmoeDataset data = {.n_users = 1, .n_events = 4, .n_items = 3, .offset = offset,
	.events = {.item = item, .time = time, .weight = weight}};
	FmoeConfig	config = check_config("markov");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const int64_t begin = 0;
	const int64_t end = 4;
	fnn_real	score[3];

	config.holdout = FMOE_HOLDOUT_NONE;
	fmoe_count_experts(model, check_arena(), &config, &data);
	check_begin("sums of very large and very small weights stay numbers");
	for (int slot = FMOE_MAIN; slot < FMOE_SLOTS; slot++)
	{
		FmoeBatch  *batch = fmoe_batch(check_arena(), &data.events, 1, &begin, &end, 10);

		fmoe_score(model, (FmoeExpertSlot) slot, check_arena(), batch, score);
		CHECK(fnn_all_finite(score, 3), "scores of slot %d", slot);
	}
	check_end();
}

/* ---------------------------------------------------------------- cases */

static void
check_weighed_cases(void)
{
	/* user 0 looks at 3 and 4 at last; user 1 never chooses; user 2 chooses first; user 3 chooses half of a basket */
	static const int64_t offset[] = {0, 6, 8, 10, 14};
	static const int32_t item[] = {0, 1, 2, 5, 3, 4, 0, 1, 2, 3, 0, 1, 4, 5};
	static const float weight[] = {1, 1, 0, 2, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1};
	static const int32_t basket[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12};
	static const double time[] = {1, 2, 3, 4, 5, 6, 1, 2, 1, 2, 1, 2, 3, 3};
	const FmoeDataset data = {.n_users = 4, .n_events = 14, .n_items = 6, .offset = offset,
	.events = {.item = item, .time = time, .weight = weight, .basket = basket}};
	static const int64_t ends[3][4] = {{6, 8, 10, 14}, {3, 8, 10, 12}, {1, 8, 10, 11}};
	static const int64_t answers[3][2] = {{3, 13}, {1, 11}, {3, 13}};
	FmoeCasesWanted late = {.split = FMOE_SPLIT_TIME, .after = 2.5, .unseen = true};
	FmoeCases  *cases;

	check_begin("holdouts keep back the last basket that counts, and what comes after it");
	for (int holdout = 0; holdout < 3; holdout++)
		for (int u = 0; u < 4; u++)
			CHECK(fmoe_train_end(&data, (FmoeHoldout) holdout, u) == ends[holdout][u], "holdout %d, user %d: %d",
				  holdout, u, (int) fmoe_train_end(&data, (FmoeHoldout) holdout, u));
	for (int k = 0; k < 3; k++)
	{
		cases = k == 2 ? check_cases_of(&data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST) :
			check_cases_of(&data, FMOE_SPLIT_VALIDATION, (FmoeHoldout) (FMOE_HOLDOUT_VALIDATION + k));
		CHECK(cases->count == 2 && cases->first[2] == 2, "%d cases", (int) cases->count);
		for (int c = 0; c < 2; c++)
			CHECK(cases->answer[c] == answers[k][c] && cases->end[c] == (c == 1 && k != 1 ? 12 : answers[k][c]),
				  "case %d of %d", c, k);
	}
	cases = fmoe_cases(check_arena(), &data, &late);
	CHECK(cases->count == 2 && cases->answer[0] == 3 && cases->answer[1] == 13 && cases->repeated == 0,
		  "%d later cases, %d repeated", (int) cases->count, (int) cases->repeated);
	check_end();
}

void
check_weights(void)
{
	static const char *const counted[] = {"popularity", "markov", "recent", "sequence", "neighbours"};

	for (int i = 0; i < 5; i++)
		check_same_as_without(counted[i], FMOE_LOSS_SOFTMAX);
	check_same_as_without("sasrec", FMOE_LOSS_SOFTMAX);
	check_same_as_without("gru4rec", FMOE_LOSS_GBCE);
	check_same_as_without("fmoe", FMOE_LOSS_SOFTMAX);
	check_same_as_without("auto", FMOE_LOSS_SOFTMAX);
	check_twice("sasrec", FMOE_LOSS_GBCE);
	check_twice("gru4rec", FMOE_LOSS_SOFTMAX);
	check_twice("fmoe", FMOE_LOSS_SOFTMAX);
	check_weighed_mean(false);
	check_weighed_mean(true);
	check_context_behind("sasrec");
	check_context_behind("fmoe");
	check_gate_of_weights();
	check_own_transition(1);
	check_own_transition(3);
	check_counts(false);
	check_counts(true);
	check_together_counts();
	check_odd_sums();
	check_weighed_cases();
}

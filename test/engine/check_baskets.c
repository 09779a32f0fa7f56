/*
 * check_baskets.c
 *	  What happened at once is one basket: cases, batches, states, counts and
 *	  metrics by numbers worked out by hand, and that the order inside a basket
 *	  changes nothing.
 */
#include <math.h>
#include <string.h>

#include "check.h"

#define N_ITEMS 12

/* ---------------------------------------------------------------- cases */

/*
 * Users with baskets {0 1} {2} {3 4 5}, {6} {6 7}, {8 9}, {0} {1} {0}, and one
 * without events.
 */
static const int64_t offset[] = {0, 6, 9, 11, 14, 14};
static const int32_t item[] = {0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 0, 1, 0};
static const int32_t basket[] = {0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 5, 6, 7, 8};
static const double time[] = {1, 1, 2, 5, 5, 5, 1, 5, 5, 9, 9, 1, 2, 3};

static FmoeDataset
some_data(void)
{
	FmoeDataset data = {.n_users = 5, .n_events = 14, .n_items = N_ITEMS, .offset = offset};

	data.events = (FmoeEvents) {.item = item, .time = time, .basket = basket};
	return data;
}

static void
check_case(const FmoeCases *cases, int c, int64_t begin, int64_t end, int n, const int64_t *answer)
{
	CHECK(cases->begin[c] == begin && cases->end[c] == end, "case %d has the history %d .. %d", c,
		  (int) cases->begin[c], (int) cases->end[c]);
	CHECK(cases->first[c + 1] - cases->first[c] == n &&
		  memcmp(cases->answer + cases->first[c], answer, sizeof(int64_t) * (size_t) n) == 0, "answers of case %d", c);
}

/* Answers by their events. */
static const int64_t three[] = {3, 4, 5};
static const int64_t two[] = {7, 8};
static const int64_t one[] = {13};
static const int64_t before[] = {2};

static void
check_cases(void)
{
	static const int64_t ends[3][5] = {{6, 9, 11, 14, 14}, {3, 7, 11, 13, 14}, {2, 9, 11, 12, 14}};
	const FmoeDataset data = some_data();
	FmoeCasesWanted late = {.split = FMOE_SPLIT_TIME, .after = 4};
	FmoeCases  *cases;

	check_begin("holdouts keep back whole baskets");
	for (int holdout = 0; holdout < 3; holdout++)
		for (int u = 0; u < 5; u++)
			CHECK(fmoe_train_end(&data, (FmoeHoldout) holdout, u) == ends[holdout][u], "holdout %d, user %d: %d",
				  holdout, u, (int) fmoe_train_end(&data, (FmoeHoldout) holdout, u));
	cases = check_cases_of(&data, FMOE_SPLIT_VALIDATION, FMOE_HOLDOUT_VALIDATION);
	CHECK(cases->count == 3 && cases->lone == 1 && cases->repeated == 0 && cases->users == 3, "%d cases",
		  (int) cases->count);
	check_case(cases, 0, 0, 3, 3, three);
	check_case(cases, 1, 6, 7, 2, two);
	check_case(cases, 2, 11, 13, 1, one);
	cases = check_cases_of(&data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	CHECK(cases->count == 2, "%d test cases", (int) cases->count);
	check_case(cases, 0, 0, 3, 3, three);
	cases = check_cases_of(&data, FMOE_SPLIT_VALIDATION, FMOE_HOLDOUT_TEST);
	CHECK(cases->count == 2, "%d cases before those of test", (int) cases->count);
	check_case(cases, 0, 0, 2, 1, before);
	cases = fmoe_cases(check_arena(), &data, &late);
	CHECK(cases->count == 2, "%d cases after a time", (int) cases->count);
	check_case(cases, 1, 6, 7, 2, two);
	check_end();

	check_begin("with unseen answers only, what a user had before is none, and who had all is no case");
	cases = fmoe_validation_cases(check_arena(), &data, FMOE_HOLDOUT_VALIDATION, 0, 0);
	CHECK(cases->count == 2 && cases->users == 2 && cases->repeated == 1 && cases->lone == 1, "%d cases, %d repeated",
		  (int) cases->count, (int) cases->repeated);
	check_case(cases, 0, 0, 3, 3, three);
	check_case(cases, 1, 6, 7, 1, two + 1);
	cases = fmoe_validation_cases(check_arena(), &data, FMOE_HOLDOUT_VALIDATION, 1, 3);
	CHECK(cases->count == 1 && cases->users == 2 && cases->repeated == 1, "a limit does not change who has cases");
	check_end();
}

/* ---------------------------------------------------------------- metrics */

static void
check_metrics(void)
{
	const int32_t rank[] = {4, 1, 20};
	const int32_t missed[] = {FMOE_MISS, 30};
	const double ideal = 1 + 1 / log2(3) + 1 / log2(4);

	check_begin("metrics of several answers");
	CHECK(check_close(fmoe_metric(FMOE_NDCG, 10, rank, 3), (1 + 1 / log2(5)) / ideal, 1e-12), "NDCG@10");
	CHECK(check_close(fmoe_metric(FMOE_NDCG, 1, rank, 3), 1, 1e-12), "NDCG@1 has an ideal of one answer");
	CHECK(check_close(fmoe_metric(FMOE_NDCG, 2, rank, 3), 1 / (1 + 1 / log2(3)), 1e-12), "NDCG@2");
	CHECK(fmoe_metric(FMOE_RECALL, 10, rank, 3) == 2.0 / 3 && fmoe_metric(FMOE_RECALL, 3, rank, 3) == 1.0 / 3,
		  "recall");
	CHECK(fmoe_metric(FMOE_HR, 1, rank, 3) == 1 && fmoe_metric(FMOE_HR, 29, missed, 2) == 0, "HR");
	CHECK(fmoe_metric(FMOE_MRR, 1, rank, 3) == 1 && fmoe_metric(FMOE_MRR, 1, missed, 2) == 1.0 / 30, "MRR knows no k");
	CHECK(fmoe_metric(FMOE_MRR, 1, missed, 1) == 0 && fmoe_metric(FMOE_NDCG, 10, missed, 2) == 0, "misses");
	CHECK(fmoe_metric(FMOE_NDCG, 10, rank, 1) == 1 / log2(5), "one answer");
	check_end();
}

/* ---------------------------------------------------------------- batches */

static void
check_batches(void)
{
	const FmoeDataset data = some_data();
	const int64_t begin[] = {0, 6, 11, 9};
	const int64_t end[] = {6, 9, 14, 9};
	const int32_t position[] = {0, 0, 1, 2, 2, 2, 0, 1, 1, 0, 1, 2};
	const int32_t reach[] = {2, 2, 3, 6, 6, 6, 1, 3, 3, 1, 2, 3};
	FmoeBatch  *batch = fmoe_batch(check_arena(), &data.events, 4, begin, end, 6);
	FmoeBatch	part = fmoe_batch_part(check_arena(), batch, 1, 2);
	int32_t		of[4];
	FmoeBatch	full = fmoe_without_empty(check_arena(), batch, of);

	check_begin("a basket has one position and sees all of itself; parts of a batch keep their baskets");
	CHECK(batch->n_tokens == 12 && batch->baskets != NULL, "%d tokens", (int) batch->n_tokens);
	CHECK(memcmp(batch->position, position, sizeof(position)) == 0, "positions");
	CHECK(memcmp(batch->sequences.reach, reach, sizeof(reach)) == 0, "reach");
	CHECK(fmoe_last_items(batch, 0).count == 3 && fmoe_last_items(batch, 0).row[0] == 3, "the last basket of sequence 0");
	CHECK(fmoe_last_items(batch, 2).count == 1 && fmoe_last_items(batch, 2).row[0] == 0, "the last basket of sequence 2");
	CHECK(part.sequences.count == 2 && memcmp(part.sequences.reach, reach + 6, 6 * sizeof(int32_t)) == 0, "reach of a part");
	CHECK(fmoe_last_items(&part, 0).count == 2 && fmoe_last_items(&part, 0).row[1] == 7, "the last basket of a part");
	CHECK(part.baskets->begin[0] == 0 && part.baskets->begin[1] == 1 && part.baskets->of[5] == 4 &&
		  part.baskets->sequences.offset[2] == 5, "baskets of a part");
	CHECK(full.sequences.count == 3 && full.baskets->sequences.offset[3] == 8, "baskets without empty sequences");
	batch = fmoe_batch(check_arena(), &data.events, 1, begin + 2, end + 2, 6);
	CHECK(batch->baskets == NULL && batch->sequences.reach == NULL && batch->position[2] == 2, "baskets of one are no baskets");
	check_end();
}

/* A history of a basket of n items first .. and an item of its own behind it. */
static FmoeBatch *
cut_batch(int n, const int32_t *items, int max_length)
{
	int32_t    *number = fnn_zalloc(check_arena(), sizeof(int32_t) * ((size_t) n + 1));
	FmoeEvents	events = {.item = items, .basket = number};
	int64_t		begin = 0;
	int64_t		end = n + 1;

	number[n] = 1;
	return fmoe_batch(check_arena(), &events, 1, &begin, &end, max_length);
}

static void
check_cut(void)
{
	enum
	{
		N = 40, LEFT = 9
	};
	int32_t		items[N + 1];
	int32_t		other[N + 1];
	uint8_t		chosen[N + 1] = {0};
	FmoeBatch  *batch;
	int			low = 0;
	int			same = 0;

	check_begin("of a basket that does not fit a hash chooses, whatever the order");
	for (int i = 0; i <= N; i++)
		items[i] = i;
	batch = cut_batch(N, items, LEFT + 1);
	CHECK(batch->n_tokens == LEFT + 1 && batch->position[LEFT - 1] == 0 && batch->position[LEFT] == 1 &&
		  batch->events.item[LEFT] == N, "what is left of the history");
	for (int i = 0; i < LEFT; i++)
	{
		CHECK(!chosen[batch->events.item[i]], "item %d twice", (int) batch->events.item[i]);
		chosen[batch->events.item[i]] = 1;
		low += batch->events.item[i] < N / 2;
	}
	CHECK(low > 0 && low < LEFT, "%d of %d are of the lower half of the ids", low, LEFT);
	for (int i = 0; i <= N; i++)
		other[i] = i < N ? (i * 7 + 3) % N : i;
	batch = cut_batch(N, other, LEFT + 1);
	for (int i = 0; i < LEFT; i++)
		CHECK(chosen[batch->events.item[i]], "item %d is left when the order is another", (int) batch->events.item[i]);
	/* the same items but one are another basket */
	items[0] = N + 1;
	batch = cut_batch(N, items, LEFT + 1);
	for (int i = 0; i < LEFT; i++)
		same += batch->events.item[i] <= N && chosen[batch->events.item[i]];
	CHECK(same < LEFT, "another basket leaves the same items");
	check_end();
}

/* ---------------------------------------------------------------- an order inside baskets */

#define LARGE 6
#define LARGE_BASKETS 40

/* One history of baskets of LARGE items, all of its items different, each basket rotated. */
static FmoeBatch *
large_batch(int rotate)
{
	const int64_t begin = 0;
	const int64_t end = LARGE * LARGE_BASKETS;
	int32_t    *items = fnn_alloc(check_arena(), sizeof(int32_t) * LARGE * LARGE_BASKETS);
	int32_t    *baskets = fnn_alloc(check_arena(), sizeof(int32_t) * LARGE * LARGE_BASKETS);
	double	   *times = fnn_alloc(check_arena(), sizeof(double) * LARGE * LARGE_BASKETS);

	for (int t = 0; t < end; t++)
	{
		baskets[t] = t / LARGE;
		items[t] = t / LARGE * LARGE + (t + rotate) % LARGE;
		times[t] = items[t];
	}
	return fmoe_batch(check_arena(), &(FmoeEvents) {.item = items, .time = times, .basket = baskets}, 1, &begin, &end,
					  LARGE * LARGE_BASKETS);
}

/* Checks that each basket has its items, and an item its time; returns how many lie where ids would have them. */
static int
check_order(const FmoeBatch *batch, const char *what)
{
	int			sorted = 0;

	for (int b = 0; b < LARGE_BASKETS; b++)
	{
		uint32_t	found = 0;

		for (int t = b * LARGE; t < (b + 1) * LARGE; t++)
		{
			CHECK(batch->events.item[t] / LARGE == b && batch->events.basket[t] == b, "%s: token %d left its basket",
				  what, t);
			CHECK(batch->events.time[t] == batch->events.item[t], "%s: token %d is two events", what, t);
			found |= 1u << (batch->events.item[t] % LARGE);
			sorted += batch->events.item[t] == t;
		}
		CHECK(found == (1u << LARGE) - 1, "%s: basket %d lost an item", what, b);
	}
	return sorted;
}

static bool
same_items(const FmoeBatch *a, const FmoeBatch *b)
{
	return memcmp(a->events.item, b->events.item, sizeof(int32_t) * LARGE * LARGE_BASKETS) == 0;
}

static void
check_in_turn(void)
{
	enum
	{
		N = LARGE * LARGE_BASKETS
	};
	FmoeBatch  *rows = large_batch(0);
	FmoeBatch	one = fmoe_batch_in_turn(check_arena(), rows);
	FmoeBatch	other = fmoe_batch_in_turn(check_arena(), large_batch(2));
	FmoeBatch  *drawn = large_batch(0);
	FmoeBatch  *again = large_batch(0);
	FmoeBatch  *anew = large_batch(0);
	FmoeBatch	turns;
	int			sorted;

	check_begin("in turn, events have places of their own, in an order that a hash says whatever the rows' order");
	CHECK(one.baskets == NULL && one.sequences.reach == NULL, "baskets are left");
	for (int t = 0; t < N; t++)
		CHECK(one.position[t] == t, "token %d has position %d", t, (int) one.position[t]);
	sorted = check_order(&one, "by hash");
	CHECK(same_items(&one, &other), "the order depends on that of rows");
	/* of six a sixth would by chance: 40 of 240, standard deviation 6 */
	CHECK(sorted > 10 && sorted < 80, "%d of %d tokens are where their ids would have them", sorted, N);
	CHECK(rows->baskets != NULL && rows->sequences.reach != NULL && !rows->ordered, "the batch itself has changed");
	check_end();

	check_begin("an order that is drawn is that of its stream, and the one that is read");
	fmoe_batch_draw(check_arena(), drawn, 1, 5);
	fmoe_batch_draw(check_arena(), again, 1, 5);
	fmoe_batch_draw(check_arena(), anew, 1, 6);
	sorted = check_order(drawn, "drawn");
	CHECK(sorted > 10 && sorted < 80, "%d of %d tokens are where their ids would have them", sorted, N);
	CHECK(same_items(drawn, again), "a stream has two orders");
	CHECK(!same_items(drawn, anew), "two streams have one order");
	turns = fmoe_batch_in_turn(check_arena(), drawn);
	CHECK(same_items(drawn, &turns) && drawn->baskets != NULL, "what was drawn is not what is read");
	check_end();
}

/* ---------------------------------------------------------------- states */

/* Histories with baskets {1 2} {3}, {4 5 6}, {7} {8 9} {10 1 2}, in the order given. */
static const int32_t state_item[2][12] = {
	{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2},
	{2, 1, 3, 6, 4, 5, 7, 9, 8, 2, 10, 1}
};
static const int32_t state_basket[12] = {0, 0, 1, 0, 0, 0, 0, 1, 1, 2, 2, 2};
static const int32_t alone[12] = {0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5};
static const int64_t state_begin[] = {0, 3, 6};
static const int64_t state_end[] = {3, 6, 12};

static FmoeBatch *
state_batch(int order, const int32_t *baskets)
{
	FmoeEvents	events = {.item = state_item[order], .basket = baskets};

	return fmoe_batch(check_arena(), &events, 3, state_begin, state_end, 16);
}

static FmoeModel *
drawn_model(const char *name, int layers, FmoeDataset *data)
{
	FmoeConfig	config = check_config(name);
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	fnn_real   *values;

	config.layers = layers;
	config.epochs = 1;
	fmoe_trainer_model(check_start_run(&config, data), NULL, model);
	values = model->expert[FMOE_MAIN].tensor[0].value;
	/* item vectors that tell items apart */
	for (int64_t i = 0; i < model->expert[FMOE_MAIN].tensor[0].rows * model->expert[FMOE_MAIN].tensor[0].cols; i++)
		values[i] *= 30;
	return model;
}

static FnnTensor *
states(const FmoeModel *model, const FmoeBatch *batch, FmoeWhich which)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	return main->class->encode(main, &tape, batch, which);
}

static void
check_states(const char *name, int layers)
{
	FmoeDataset *data = check_walks(20, N_ITEMS, 3, 8, 3);
	FmoeModel  *model = drawn_model(name, layers, data);
	FnnTensor  *one = states(model, state_batch(0, state_basket), FMOE_ALL_TOKENS);
	FnnTensor  *other = states(model, state_batch(1, state_basket), FMOE_ALL_TOKENS);
	FnnTensor  *last = states(model, state_batch(0, state_basket), FMOE_LAST_TOKENS);
	FnnTensor  *chain = states(model, state_batch(0, alone), FMOE_ALL_TOKENS);
	FnnTensor  *today = states(model, state_batch(0, NULL), FMOE_ALL_TOKENS);
	int64_t		d = one->cols;
	double		moved = 0;

	check_begin("%s, %d layers: the order inside a basket changes no state, all of a basket have one, baskets of one are as ever",
				name, layers);
	for (int64_t i = 0; i < 12 * d; i++)
	{
		CHECK(check_close(one->value[i], other->value[i], 1e-4), "token %d depends on the order", (int) (i / d));
		moved = fmax(moved, fabs((double) one->value[i] - (double) chain->value[i]));
	}
	CHECK(moved > 1e-2, "baskets change nothing");
	for (int64_t c = 0; c < d; c++)
	{
		CHECK(check_close(one->value[c], one->value[d + c], 1e-5), "tokens of the first basket");
		CHECK(check_close(one->value[9 * d + c], one->value[11 * d + c], 1e-5), "tokens of the last basket");
		for (int s = 0; s < 3; s++)
			CHECK(check_close(last->value[s * d + c], one->value[(state_end[s] - 1) * d + c], 1e-4), "last state of sequence %d", s);
	}
	CHECK(check_same(12 * d, chain->value, today->value), "baskets of one have other bits");
	check_end();
}

/* The same where an encoder reads a basket's events one after another. */
static void
check_states_in_turn(const char *name)
{
	FmoeDataset *data = check_walks(20, N_ITEMS, 3, 8, 3);
	FmoeModel  *model = drawn_model(name, 2, data);
	FmoeBatch	turns = fmoe_batch_in_turn(check_arena(), state_batch(0, state_basket));
	FnnTensor  *one = states(model, state_batch(0, state_basket), FMOE_LAST_TOKENS);
	FnnTensor  *other = states(model, state_batch(1, state_basket), FMOE_LAST_TOKENS);
	FnnTensor  *all = states(model, state_batch(0, state_basket), FMOE_ALL_TOKENS);
	FnnTensor  *chain = states(model, &turns, FMOE_ALL_TOKENS);
	FnnTensor  *chain_last = states(model, &turns, FMOE_LAST_TOKENS);
	int64_t		d = one->cols;

	check_begin("%s: states in turn are those of single events in that order, whatever the order of rows", name);
	CHECK(check_same(3 * d, one->value, other->value), "the order of rows changes a state");
	CHECK(check_same(12 * d, all->value, chain->value) && check_same(3 * d, one->value, chain_last->value),
		  "they are not those of single events");
	check_end();
}

/* A step's loss by parameters, with baskets in the batch. */
typedef struct Encoding
{
	FmoeExpert *expert;
	const FmoeBatch *batch;
} Encoding;

static void
run_encoder(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Encoding *encoding = context;

	check_loss(tape, encoding->expert->class->encode(encoding->expert, tape, encoding->batch, FMOE_ALL_TOKENS));
}

static void
check_encoder_gradients(const char *name)
{
	FmoeDataset *data = check_walks(20, N_ITEMS, 3, 8, 3);
	FmoeModel  *model = drawn_model(name, 2, data);
	FmoeExpert *main = &model->expert[FMOE_MAIN];
	Encoding	encoding = {.expert = main, .batch = state_batch(0, state_basket)};
	FnnTensor  *inputs[CHECK_INPUTS_MAX];

	check_begin("%s with baskets by differences", name);
	for (int first = 0; first < main->params->count; first += CHECK_INPUTS_MAX)
	{
		FnnMark		mark = fnn_arena_mark(check_arena());
		int			n = 0;

		for (; n < CHECK_INPUTS_MAX && first + n < main->params->count; n++)
		{
			inputs[n] = &main->tensor[first + n];
			inputs[n]->grad = fnn_zalloc(check_arena(),
										 sizeof(fnn_real) * (size_t) (inputs[n]->rows * inputs[n]->cols));
		}
		check_gradients(n, inputs, run_encoder, &encoding);
		for (int i = 0; i < n; i++)
			inputs[i]->grad = NULL;
		fnn_arena_reset(check_arena(), mark);
	}
	check_end();
}

/* ---------------------------------------------------------------- means of rows */

static const int32_t mean_begin[] = {0, 1, 4, 4};
static const int32_t mean_count[] = {1, 3, 2, 1};

static void
run_means(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	check_loss(tape, fnn_means(tape, inputs[0], mean_begin, mean_count, 4));
}

static void
check_means(void)
{
	FnnTensor  *x = check_tensor(4, 6, 5);
	FnnTape		tape;
	FnnTensor  *y;

	check_begin("means of rows");
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	y = fnn_means(&tape, x, mean_begin, mean_count, 4);
	for (int c = 0; c < 5; c++)
	{
		CHECK(y->value[c] == x->value[c] && y->value[15 + c] == x->value[20 + c], "the mean of one row has its bits");
		CHECK(check_close(y->value[5 + c], (x->value[5 + c] + x->value[10 + c] + x->value[15 + c]) / 3, 1e-6), "of three");
	}
	check_gradients(1, &x, run_means, NULL);
	check_end();
}

/* ---------------------------------------------------------------- counts */

static double
count_of(const FmoeModel *model, int32_t from, int32_t to)
{
	FmoeTransitions row = fmoe_transitions(&model->expert[FMOE_MARKOV], from);
	int64_t		k = fnn_find_ascending(row.n, row.to, to);

	return k >= 0 ? row.count[k] : 0;
}

static void
check_counts(void)
{
	const FmoeDataset data = some_data();
	FmoeConfig	config = check_config("markov");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const int64_t begin[] = {0};
	const int64_t end[] = {2};
	FmoeBatch  *batch;
	fnn_real	score[N_ITEMS];
	fnn_real	few[3];
	int32_t		wanted[] = {2, 1, 0};
	double		p2;

	config.holdout = FMOE_HOLDOUT_NONE;
	fmoe_count_experts(model, check_arena(), &config, &data);
	check_begin("each of a basket's items is followed by each of the next one's, in equal shares");
	/* {0 1} {2}: half each; {2} {3 4 5}; {6} {6 7}; {0} {1} {0} */
	CHECK(count_of(model, 0, 2) == 0.5 && count_of(model, 1, 2) == 0.5, "into one item");
	CHECK(count_of(model, 2, 3) == 1 && count_of(model, 2, 4) == 1 && count_of(model, 2, 5) == 1, "out of one item");
	CHECK(count_of(model, 6, 6) == 1 && count_of(model, 6, 7) == 1 && count_of(model, 8, 9) == 0, "never inside a basket");
	CHECK(count_of(model, 0, 1) == 1 && count_of(model, 1, 0) == 1, "baskets of one");
	CHECK(fmoe_transitions_count(&model->expert[FMOE_MARKOV]) == 9, "%d transitions",
		  (int) fmoe_transitions_count(&model->expert[FMOE_MARKOV]));

	/* after {0 1}: the mean of 0.5 / 1.5 for either, and 1 / 1.5 / 2 for items 0 and 1 */
	batch = fmoe_batch(check_arena(), &data.events, 1, begin, end, 8);
	fmoe_score(model, FMOE_MARKOV, check_arena(), batch, score);
	p2 = 1.0 / 3;
	CHECK(fabs(score[2] - p2) < 0.2 && score[2] > p2 && fabs((double) score[0] - (double) score[1]) < 0.2, "scores after a basket");
	CHECK(score[2] - p2 < 0.5 / 1.5 && score[3] < 0.5 / 1.5, "popularity adds less than any count");
	fmoe_scores_of(model, FMOE_MARKOV, check_arena(), batch, 3, wanted, few);
	CHECK(few[0] == score[2] && few[1] == score[1] && few[2] == score[0], "single items have the same scores");
	check_end();
}

/* ---------------------------------------------------------------- training */

/* Users who buy baskets of 3 of one group of 5 items, then 2 of the next group; in an order by rotate. */
static FmoeDataset *
basket_walks(int64_t n_users, int rotate, bool tied)
{
	enum
	{
		STEPS = 6, GROUPS = 6, GROUP = 5
	};
	FmoeDataset *data = fnn_zalloc(check_arena(), sizeof(FmoeDataset));
	size_t		n = (size_t) n_users * STEPS * 3;
	int64_t    *begin = fnn_alloc(check_arena(), sizeof(int64_t) * ((size_t) n_users + 1));
	int32_t    *items = fnn_alloc(check_arena(), sizeof(int32_t) * n);
	int32_t    *baskets = fnn_alloc(check_arena(), sizeof(int32_t) * n);
	double	   *times = fnn_zalloc(check_arena(), sizeof(double) * n);
	int64_t		k = 0;

	for (int64_t u = 0; u < n_users; u++)
	{
		int64_t		start = (int64_t) fnn_random_below(1, 1, u, GROUPS);

		begin[u] = k;
		for (int s = 0; s < STEPS; s++)
			for (int i = 0; i < 3; i++, k++)
			{
				int64_t		first = (int64_t) fnn_random_below(1, 2, u * STEPS + s, GROUP);

				items[k] = (int32_t) ((start + s) % GROUPS * GROUP + (first + (i + rotate) % 3) % GROUP);
				baskets[k] = (int32_t) (u * STEPS + s);
				times[k] = s;
			}
	}
	begin[n_users] = k;
	data->n_users = n_users;
	data->n_events = k;
	data->n_items = GROUPS * GROUP;
	data->offset = begin;
	data->events = (FmoeEvents) {.item = items, .time = times, .basket = tied ? baskets : NULL};
	return data;
}

static double
recall_of(const FmoeModel *model, FmoeExpertSlot slot, const FmoeDataset *data)
{
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) cases->first[cases->count]);
	FmoeProtocol protocol = {.exclude_seen = false};

	fmoe_rank_cases(model, slot, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	return fmoe_mean_metric(FMOE_RECALL, 5, cases, rank);
}

static void
check_learning(const char *name, FmoeLoss loss)
{
	FmoeDataset *data = basket_walks(CHECK_SIZE(300, 120), 0, true);
	FmoeConfig	config = check_config(name);
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	double		learned;

	check_begin("%s, %s, learns which baskets follow which", name, loss == FMOE_LOSS_GBCE ? "gbce" : "softmax");
	config.loss = loss;
	config.epochs = CHECK_SIZE(25, 75);
	config.patience = config.epochs;
	config.blend = 0;
	fmoe_trainer_model(check_finish_run(&config, data), NULL, model);
	learned = recall_of(model, FMOE_MAIN, data);
	/* the next group has five items, of which three are the answers; chance is 5 of 30 */
	CHECK(learned > 0.9, "recall@5 %.3f", learned);
	CHECK(recall_of(model, FMOE_MARKOV, data) > 0.95, "counted transitions: recall@5 %.3f",
		  recall_of(model, FMOE_MARKOV, data));
	check_end();
}

/* By how much the losses of two epochs differ when next to nothing is learned between them. */
static double
loss_moves(const char *model)
{
	static const int32_t items[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 5};
	static const int32_t baskets[] = {0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5};
	static const double times[] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1};
	static const int64_t begin[] = {0, 4, 8, 12};
	FmoeDataset data = {.n_users = 3, .n_events = 12, .n_items = N_ITEMS, .offset = begin};
	FmoeConfig	config = check_config(model);
	FmoeTrainer *run;
	FmoeTeam	team = {.rank = 0, .size = 1};
	double		first;

	/* one item follows, so that no target is drawn */
	data.events = (FmoeEvents) {.item = items, .time = times, .basket = baskets};
	config.holdout = FMOE_HOLDOUT_NONE;
	config.dropout = 0;
	config.learning_rate = 1e-7;
	config.epochs = 2;
	run = check_start_run(&config, &data);
	fmoe_trainer_epoch(run, &team);
	first = fmoe_trainer_state(run)->loss;
	fmoe_trainer_epoch(run, &team);
	return fabs(fmoe_trainer_state(run)->loss - first);
}

static void
check_anew(void)
{
	check_begin("each epoch draws the order anew");
	CHECK(loss_moves("sasrec") < 1e-5, "a set has an order: the loss moves by %g", loss_moves("sasrec"));
	CHECK(loss_moves("sasrec drawn") > 1e-4, "one order in two epochs: the loss moves by %g",
		  loss_moves("sasrec drawn"));
	check_end();
}

static void
check_no_baskets(void)
{
	FmoeConfig	drawn = check_config("sasrec drawn");
	FmoeConfig	set = check_config("sasrec");
	FmoeDataset *data = basket_walks(40, 0, false);

	check_begin("without baskets, how they would be read changes no bit");
	set.epochs = drawn.epochs = 2;
	check_compare_runs(check_finish_run(&drawn, data), check_finish_run(&set, data), "no baskets");
	check_end();
}

static void
check_same_counts(void)
{
	FmoeConfig	config = check_config("markov");
	FmoeModel  *one = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeModel  *other = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeDataset *data = basket_walks(60, 0, true);

	check_begin("counts and their ranks do not depend on the order inside baskets");
	fmoe_count_experts(one, check_arena(), &config, data);
	fmoe_count_experts(other, check_arena(), &config, basket_walks(60, 1, true));
	CHECK(recall_of(one, FMOE_MARKOV, data) == recall_of(other, FMOE_MARKOV, basket_walks(60, 2, true)), "ranks");
	check_end();
}

void
check_baskets(void)
{
	check_means();
	check_cases();
	check_metrics();
	check_batches();
	check_cut();
	check_in_turn();
	check_states("sasrec", 1);
	check_states("sasrec", 2);
	check_states("gru4rec", 1);
	check_states("gru4rec", 2);
	check_states("fmoe", 2);
	check_states_in_turn("sasrec drawn");
	check_states_in_turn("fmoe drawn");
	check_encoder_gradients("sasrec");
	check_encoder_gradients("gru4rec");
	check_counts();
	check_same_counts();
	check_anew();
	check_no_baskets();
	check_learning("sasrec drawn", FMOE_LOSS_SOFTMAX);
	check_learning("gru4rec", FMOE_LOSS_SOFTMAX);
	check_learning("sasrec", FMOE_LOSS_GBCE);
	check_learning("fmoe drawn", FMOE_LOSS_SOFTMAX);
}

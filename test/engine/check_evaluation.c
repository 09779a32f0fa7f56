/*
 * check_evaluation.c
 *	  What models are judged by: options, holdouts and cases, ranks among all
 *	  items and among samples, coverage.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* ---------------------------------------------------------------- splits and cases */

/* Test cases of at most so many users. */
static FmoeCases *
limited(const FmoeDataset *data, int64_t limit, uint64_t seed)
{
	FmoeCasesWanted wanted = {.split = FMOE_SPLIT_TEST, .holdout = FMOE_HOLDOUT_TEST, .limit = limit, .seed = seed};

	return fmoe_cases(check_arena(), data, &wanted);
}

static void
check_cases(void)
{
	/* users of 5, 3, 2, 1, 0 and 4 events */
	static const int64_t offset[] = {0, 5, 8, 10, 11, 11, 15};
	static const int32_t item[] = {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4};
	static const double time[] = {1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 1, 1, 5, 9};
	const FmoeDataset data = {
		.n_users = 6,
		.n_events = 15,
		.n_items = 5,
		.offset = offset,
		.events = {.item = item, .time = time}
	};
	static const int64_t ends[][6] = {{5, 8, 10, 11, 11, 15}, {4, 7, 9, 11, 11, 14}, {3, 6, 10, 11, 11, 13}};
	static const int64_t late_target[] = {4, 6, 7, 9, 13, 14};
	static const int64_t late_begin[] = {0, 5, 5, 8, 11, 11};
	const FmoeCasesWanted late = {.split = FMOE_SPLIT_TIME, .after = 4};
	FmoeCases  *cases;
	FmoeCases  *again;
	int			holdout;
	int64_t		i;

	check_begin("holdouts keep back the last events of users with two or more, or with three");
	for (holdout = 0; holdout < 3; holdout++)
	{
		for (i = 0; i < 6; i++)
			CHECK(fmoe_train_end(&data, holdout, i) == ends[holdout][i], "holdout %d user %d", holdout, (int) i);
		cases = check_cases_of(&data, FMOE_SPLIT_VALIDATION, holdout);
		CHECK(cases->count == (holdout == FMOE_HOLDOUT_NONE ? 0 : holdout == FMOE_HOLDOUT_VALIDATION ? 4 : 3),
			  "%d validation cases", (int) cases->count);
		for (i = 0; i < cases->count; i++)
			CHECK(cases->answer[i] == ends[holdout][i == cases->count - 1 ? 5 : i], "validation target %d", (int) i);
	}
	cases = check_cases_of(&data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	CHECK(cases->count == 3 && cases->answer[0] == 4 && cases->answer[1] == 7 && cases->answer[2] == 14,
		  "test answers");
	check_end();

	check_begin("a time split asks for every later event that has a history");
	cases = fmoe_cases(check_arena(), &data, &late);
	CHECK(cases->count == 6, "%d cases", (int) cases->count);
	for (i = 0; i < cases->count && i < 6; i++)
		CHECK(cases->answer[i] == late_target[i] && cases->begin[i] == late_begin[i], "case %d", (int) i);
	check_end();

	check_begin("a limit chooses users by the seed");
	cases = limited(&data, 2, 5);
	again = limited(&data, 2, 5);
	CHECK(cases->count == 2 && memcmp(cases->answer, again->answer, 2 * sizeof(int64_t)) == 0, "the same two");
	for (i = 0; i < 40; i++)
	{
		again = limited(&data, 2, i);
		if (memcmp(cases->answer, again->answer, 2 * sizeof(int64_t)) != 0)
			break;
	}
	CHECK(i < 40, "other seeds choose others");
	cases = limited(&data, 4, 5);
	CHECK(cases->count == 3, "a limit above the users there are");
	check_end();
}

/*
 * Users whose events are before, and who were shown something: user 0 chose 3 after
 * 2 had been shown, user 1 chose 2 after it had, user 2 chose 3 from what came at once.
 */
static const FmoeDataset *
shown_data(void)
{
	static const int64_t offset[] = {0, 3, 6, 9};
	static const int32_t item[] = {0, 1, 3, 0, 1, 2, 0, 1, 3};
	static const double time[] = {1, 2, 5, 1, 2, 5, 1, 2, 5};
	static const int64_t shown_offset[] = {0, 2, 3, 5};
	static const int32_t shown_item[] = {2, 4, 2, 4, 2};
	static const double shown_time[] = {3, 6, 4, 5, 5};
	static const double shown_rest[] = {0, 0, 0, -1, 0};
	static const FmoeDataset data = {
		.n_users = 3,
		.n_events = 9,
		.n_items = 6,
		.offset = offset,
		.events = {.item = item, .time = time},
		.shown = {
			.count = 5,
			.offset = shown_offset,
			.events = {.item = shown_item, .time = shown_time, .time_rest = shown_rest}
		}
	};

	return &data;
}

static void
check_shown(void)
{
	static const int64_t seen[] = {3, 3};
	static const int32_t what[][3] = {{0, 1, 2}, {0, 1, 4}};
	const FmoeDataset *data = shown_data();
	FmoeCases  *cases = fmoe_validation_cases(check_arena(), data, FMOE_HOLDOUT_VALIDATION, 0, 1);
	FmoeCases  *limited_cases = fmoe_validation_cases(check_arena(), data, FMOE_HOLDOUT_VALIDATION, 2, 1);
	int32_t    *room = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) fmoe_seen_most(cases, 0, cases->count));

	check_begin("what was shown before an answer is seen, what was shown with it or later is not");
	CHECK(cases->count == 2 && cases->repeated == 1 && limited_cases->count == 2, "%d cases, %d repeated",
		  (int) cases->count, (int) cases->repeated);
	for (int64_t c = 0; c < cases->count && c < 2; c++)
	{
		FnnRows		rows = fmoe_case_seen(data, cases, c, room);

		CHECK(data->events.item[cases->answer[c]] == 3, "answer of case %d", (int) c);
		CHECK(rows.count == seen[c] && memcmp(rows.row, what[c], sizeof(what[c])) == 0, "seen in case %d", (int) c);
	}
	cases = check_cases_of(data, FMOE_SPLIT_VALIDATION, FMOE_HOLDOUT_VALIDATION);
	CHECK(cases->count == 3 && cases->repeated == 0, "cases where what was seen may be an answer");
	check_end();
}

/* ---------------------------------------------------------------- evaluator */

/* A model whose popularity expert scores every item alike. */
static FmoeModel *
constant_model(int32_t n_items)
{
	FmoeConfig	config = check_config("popularity");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	static const int64_t offset[] = {0};
	FmoeDataset nothing = {.n_items = n_items, .offset = offset};

	fmoe_count_experts(model, check_arena(), &config, &nothing);
	return model;
}

static void
check_shown_ranks(void)
{
	const FmoeDataset *data = shown_data();
	FmoeModel  *model = constant_model(6);
	FmoeCases  *cases = fmoe_validation_cases(check_arena(), data, FMOE_HOLDOUT_VALIDATION, 0, 1);
	FmoeProtocol protocol = {.exclude_seen = true, .top_k = 6};
	uint8_t		covered[6] = {0};
	int32_t		rank[2];

	check_begin("ranks are among what is not seen, shown items included");
	/* of six items three are seen in both cases; ties count against the answer */
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, 1, rank, covered);
	CHECK(rank[0] == 3, "rank %d", rank[0]);
	CHECK(!covered[0] && !covered[1] && !covered[2] && covered[3] && covered[4] && covered[5], "what is covered");
	for (protocol.negatives = 0; protocol.negatives <= 100; protocol.negatives += 100)
	{
		fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, 2, rank, NULL);
		CHECK(rank[0] == 3 && rank[1] == 3, "ranks %d, %d of %d", rank[0], rank[1], protocol.negatives);
	}
	protocol = (FmoeProtocol) {.exclude_seen = false};
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, 2, rank, NULL);
	CHECK(rank[0] == 6 && rank[1] == 6, "ranks %d, %d among all", rank[0], rank[1]);
	check_end();
}

static int64_t
distinct_before(const FmoeDataset *data, int64_t begin, int64_t target)
{
	int64_t		n = 0;
	int64_t		k;
	int64_t		l;

	for (k = begin; k < target; k++)
	{
		for (l = begin; l < k && data->events.item[l] != data->events.item[k]; l++)
			;
		n += l == k && data->events.item[k] != data->events.item[target];
	}
	return n;
}

static void
check_constant_scorer(void)
{
	FmoeDataset *data = check_walks(40, 25, 3, 30, 6);
	FmoeModel  *model = constant_model(25);
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = false};
	int64_t		c;

	check_begin("a model that scores all items alike ranks last");
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 25, "case %d: rank %d of 25", (int) c, rank[c]);
	CHECK(fmoe_mean_metric(FMOE_NDCG, 10, cases, rank) == 0, "NDCG of nothing");
	protocol.exclude_seen = true;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 25 - distinct_before(data, cases->begin[c], cases->answer[c]), "case %d without seen items: rank %d",
			  (int) c, rank[c]);
	protocol.negatives = 7;
	protocol.exclude_seen = false;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 8, "case %d among 7 negatives: rank %d", (int) c, rank[c]);
	protocol.negatives = 1000;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	for (c = 0; c < cases->count; c++)
		CHECK(rank[c] == 25, "case %d among more negatives than items: rank %d", (int) c, rank[c]);
	cases->count = 0;
	CHECK(isnan(fmoe_mean_metric(FMOE_HR, 10, cases, rank)), "the mean of no ranks");
	check_end();
}

static void
check_sampled_negatives(void)
{
	FmoeDataset *data = check_walks(300, 60, 3, 12, 6);
	FmoeConfig	config = check_config("markov");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	FmoeCases  *some = limited(data, 100, 1);
	int32_t    *full = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	int32_t    *again = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	FmoeProtocol protocol = {.exclude_seen = true, .negatives = 20, .seed = 3};
	double		fraction = 0;
	int64_t		above = 0;
	int64_t		c;
	int64_t		d;

	check_begin("sampled negatives are the same in every run, part and subset, and a fair sample");
	fmoe_count_experts(model, check_arena(), &config, data);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 50, cases->count, again, NULL);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, 50, again, NULL);
	CHECK(memcmp(rank, again, sizeof(int32_t) * cases->count) == 0, "in parts");
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, some, &protocol, 0, some->count, again, NULL);
	for (c = 0; c < some->count; c++)
	{
		for (d = 0; cases->answer[d] != some->answer[c]; d++)
			;
		CHECK(again[c] == rank[d], "case %d of a subset", (int) c);
	}
	protocol.seed = 4;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, again, NULL);
	CHECK(memcmp(rank, again, sizeof(int32_t) * cases->count) != 0, "another seed");

	/* each of the others is a negative with the same probability: 20 of about 55 */
	protocol.negatives = 0;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, full, NULL);
	for (c = 0; c < cases->count; c++)
	{
		int64_t		others = 59 - distinct_before(data, cases->begin[c], cases->answer[c]);

		CHECK(rank[c] <= full[c] && rank[c] <= 21, "case %d: rank %d among 20 others, %d among all", (int) c, rank[c],
			  full[c]);
		fraction += (full[c] - 1) * 20.0 / others;
		above += rank[c] - 1;
	}
	CHECK(fabs(above / fraction - 1) < 0.1, "%d negatives above the targets, %.0f expected", (int) above, fraction);
	check_end();
}

static void
check_coverage(void)
{
	FmoeDataset *data = check_walks(20, 30, 3, 10, 12);
	FmoeConfig	config = check_config("popularity");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	const FmoeCasesWanted unseen = {.split = FMOE_SPLIT_TEST, .holdout = FMOE_HOLDOUT_TEST, .unseen = true};
	FmoeCases  *cases = fmoe_cases(check_arena(), data, &unseen);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	int32_t    *plain = fnn_alloc(check_arena(), sizeof(int32_t) * cases->count);
	uint8_t		covered[30] = {0};
	FmoeProtocol protocol = {.exclude_seen = false, .top_k = 4};
	int			n = 0;
	int			i;

	check_begin("covered items are those of some top k");
	fmoe_count_experts(model, check_arena(), &config, data);
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, covered);
	for (i = 0; i < 30; i++)
		n += covered[i];
	CHECK(n == 4, "popularity recommends the same four to everybody, not %d", n);
	protocol.exclude_seen = true;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, covered);
	protocol.top_k = 0;
	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, plain, NULL);
	CHECK(memcmp(rank, plain, sizeof(int32_t) * cases->count) == 0, "coverage does not change ranks");
	for (i = 0, n = 0; i < 30; i++)
		n += covered[i];
	CHECK(n > 4, "others where the four are seen");
	check_end();
}

/* The class that is counted, and how often all scores, or a few, were asked of it. */
static const FmoeExpertClass *watched_class;
static int64_t asked_all;
static int64_t asked_few;

static void
watched_score(const FmoeExpert *expert, FnnArena *arena, const FmoeBatch *batch, int32_t sequence,
			  int64_t n, const int32_t *item, fnn_real *score)
{
	asked_all += item == NULL;
	asked_few += item != NULL;
	watched_class->score(expert, arena, batch, sequence, n, item, score);
}

/* Ranks all answers along the order of a class, and by all scores, as whoever asks for a top k, too, gets them. */
static void
check_along_of(const FmoeDataset *data, FmoeExpertSlot slot, bool unseen, bool some_empty)
{
	const FmoeCasesWanted wanted = {.split = FMOE_SPLIT_TEST, .holdout = FMOE_HOLDOUT_TEST, .unseen = unseen};
	FmoeCases  *cases = fmoe_cases(check_arena(), data, &wanted);
	FmoeConfig	config = check_config("markov");
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	size_t		bytes = sizeof(int32_t) * (size_t) cases->first[cases->count];
	int32_t    *rank = fnn_zalloc(check_arena(), bytes);
	int32_t    *plain = fnn_zalloc(check_arena(), bytes);
	FmoeProtocol protocol = {.exclude_seen = unseen};
	FmoeExpertClass watched;

	config.holdout = FMOE_HOLDOUT_TEST;
	fmoe_count_experts(model, check_arena(), &config, data);
	for (int64_t c = 0; some_empty && c < cases->count; c += 3)
		cases->end[c] = cases->begin[c];
	watched_class = model->expert[slot].class;
	watched = *watched_class;
	watched.score = watched_score;
	model->expert[slot].class = &watched;
	asked_all = asked_few = 0;
	fmoe_rank_cases(model, slot, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	CHECK(asked_few > 0 && asked_all < cases->count / 2, "slot %d: all scores of %lld of %lld cases", slot,
		  (long long) asked_all, (long long) cases->count);
	asked_all = asked_few = 0;
	protocol.top_k = 1;
	fmoe_rank_cases(model, slot, check_arena(), data, cases, &protocol, 0, cases->count, plain, NULL);
	CHECK(asked_few == 0 && asked_all > 0, "all scores");
	CHECK(memcmp(rank, plain, bytes) == 0, "slot %d, %s: the same ranks", slot, unseen ? "unseen" : "seen");
}

static void
check_along_orders(void)
{
	FmoeDataset *data = check_walks(200, 500, 3, 9, 8);
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_events);

	check_begin("models whose histories move few items rank along an order, and no rank differs");
	for (int64_t i = 0; i < data->n_events; i++)
		basket[i] = (int32_t) (i / 2);
	for (int tied = 0; tied < 2; tied++)
	{
		data->events.basket = tied ? basket : NULL;
		for (FmoeExpertSlot slot = FMOE_POPULARITY; slot < FMOE_SLOTS; slot++)
			for (int unseen = 0; unseen < 2; unseen++)
				check_along_of(data, slot, unseen, slot == FMOE_MARKOV);
	}
	check_end();
}

/* ---------------------------------------------------------------- options */

static void
resolve_config(void *config)
{
	fmoe_config_check(config, check_host(), 1000);
}

/* Whether what an option needs is a number, a flag, or a choice of another one of the table. */
static bool
is_needed(const FmoeOption *table, const char *needs)
{
	size_t		length = strcspn(needs, "=");

	while (table->name != NULL && (strlen(table->name) != length || memcmp(table->name, needs, length) != 0))
		table++;
	if (table->name == NULL || needs[length] == '\0')
		return table->name != NULL && (table->type == FMOE_OPTION_INT || table->type == FMOE_OPTION_BOOL);
	for (int i = 0; table->type == FMOE_OPTION_ENUM && table->choices[i] != NULL; i++)
		if (strcmp(table->choices[i], needs + length + 1) == 0)
			return true;
	return false;
}

/* Every default of a table is in its range, and what an option needs is there. */
static void
check_table(const char *of, const FmoeOption *table)
{
	check_begin("options of %s: defaults are in range, what is needed is there", of);
	for (const FmoeOption *option = table; option->name != NULL; option++)
	{
		double		value = option->value != NULL ? atof(option->value) : 0;
		int			i;

		CHECK((option->value != NULL || option->type == FMOE_OPTION_LIST) && option->help != NULL,
			  "\"%s\" has default and help", option->name);
		CHECK((option->type == FMOE_OPTION_LIST) == (option->list != NULL), "\"%s\" has elements", option->name);
		if (option->type == FMOE_OPTION_ENUM)
		{
			for (i = 0; option->choices[i] != NULL && strcmp(option->choices[i], option->value) != 0; i++)
				;
			CHECK(option->choices[i] != NULL, "default of \"%s\" is a choice", option->name);
		}
		else if (option->type != FMOE_OPTION_BOOL)
			CHECK(value >= option->min && value <= option->max, "default of \"%s\" is %g", option->name, value);
		CHECK(option->needs == NULL || is_needed(table, option->needs), "\"%s\" needs \"%s\"", option->name,
			  option->needs);
	}
	check_end();
}

static void
check_options(void)
{
	FmoeConfig	config = check_config("sasrec");

	check_table("every model", fmoe_train_options);
	for (int i = 0; fmoe_expert_classes[i] != NULL; i++)
		if (fmoe_expert_classes[i]->options != NULL)
			check_table(fmoe_expert_classes[i]->name, fmoe_expert_classes[i]->options);

	check_begin("what depends on the data is resolved");
	config.loss = FMOE_LOSS_AUTO;
	fmoe_config_check(&config, check_host(), 1000);
	CHECK(config.loss == FMOE_LOSS_SOFTMAX, "a small catalogue");
	config.loss = FMOE_LOSS_AUTO;
	fmoe_config_check(&config, check_host(), 1000000);
	CHECK(config.loss == FMOE_LOSS_GBCE, "a large catalogue");
	config.heads = 3;
	check_fails(FNN_INVALID, "\"width\" (16) is not a multiple of option \"heads\" (3)", resolve_config, &config);
	check_end();
}

void
check_evaluation(void)
{
	check_options();
	check_cases();
	check_shown();
	check_shown_ranks();
	check_constant_scorer();
	check_sampled_negatives();
	check_coverage();
	check_along_orders();
}

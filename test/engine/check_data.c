/*
 * check_data.c
 *	  Columns of events, whoever moves events moves all there are and no others; datasets shared.
 */
#include "check.h"

#include <math.h>
#include <string.h>

#include "model/data/data.h"

#define EVENTS 7

static const int32_t item[EVENTS] = {3, 1, 4, 1, 5, 9, 2};
static const double time[EVENTS] = {10, 20, 20, 30, 40, 50, 60};
static const double time_rest[EVENTS] = {0, 0.5, -1, 0, 2, 0, 7};
static const int8_t label[EVENTS] = {1, 0, 1, 1, 0, 1, 1};
static const float weight[EVENTS] = {1, 0.5f, 2, 1, 0, 3, 1};
static const int32_t order[EVENTS] = {3, 2, 1, 0, 7, 5, 6};
static const int32_t named[EVENTS] = {0, 1, 1, 0, 2, 2, 3};
static const uint32_t tie[EVENTS] = {9, 8, 8, 9, 4000000000, 4000000000, 7};
static const int32_t basket[EVENTS] = {0, 1, 1, 2, 3, 4, 5};

static const FmoeEvents all = {
	.item = item, .time = time, .time_rest = time_rest, .label = label, .weight = weight, .order = order,
	.named = named, .tie = tie, .basket = basket
};
static const FmoeEvents some = {.item = item, .label = label};

/* Whether events at .. of a are those of b from first on, in every column that a has. */
static bool
same(const FmoeEvents *a, int64_t at, const FmoeEvents *b, int64_t first, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (a->item[at + i] != b->item[first + i] ||
			(a->time != NULL && a->time[at + i] != b->time[first + i]) ||
			(a->time_rest != NULL && a->time_rest[at + i] != b->time_rest[first + i]) ||
			(a->label != NULL && a->label[at + i] != b->label[first + i]) ||
			(a->weight != NULL && a->weight[at + i] != b->weight[first + i]) ||
			(a->order != NULL && a->order[at + i] != b->order[first + i]) ||
			(a->named != NULL && a->named[at + i] != b->named[first + i]) ||
			(a->tie != NULL && a->tie[at + i] != b->tie[first + i]) ||
			(a->basket != NULL && a->basket[at + i] != b->basket[first + i]))
			return false;
	return true;
}

static FmoeEvents
placed(const FmoeEvents *like, int64_t n)
{
	FmoeEvents	events;

	fmoe_events_place(&events, like, n, fnn_alloc(check_arena(), fmoe_events_bytes(like, n)));
	return events;
}

static void
check_columns(void)
{
	FmoeEvents	whole = placed(&all, EVENTS);
	FmoeEvents	part = placed(&some, EVENTS);
	FmoeEvents	rest;

	check_begin("columns of events are placed and copied");
	fmoe_events_copy(&whole, 0, &all, 0, EVENTS);
	CHECK(same(&whole, 0, &all, 0, EVENTS), "a copy of all columns differs");
	CHECK(part.time == NULL && part.weight == NULL && part.basket == NULL, "columns appear that nobody asked for");
	fmoe_events_copy(&part, 0, &all, 4, 3);
	fmoe_events_copy(&part, 3, &all, 0, 4);
	CHECK(same(&part, 0, &all, 4, 3) && same(&part, 3, &all, 0, 4), "a copy in two pieces differs");
	rest = fmoe_events_from(&all, 2);
	CHECK(same(&rest, 0, &all, 2, EVENTS - 2), "the rest of the events differs");
	rest = fmoe_events_from(&some, 2);
	CHECK(rest.time == NULL && rest.weight == NULL && rest.basket == NULL, "a column that is not there moved");
	CHECK(fmoe_event_bytes(&all) == 41 && fmoe_event_bytes(&some) == 5, "%zu and %zu bytes an event",
		  fmoe_event_bytes(&all), fmoe_event_bytes(&some));
	check_end();
}

static void
check_gather(void)
{
	static const int64_t index[] = {6, 0, 3, 3};
	FmoeEvents	to = placed(&all, 5);

	check_begin("columns of events are gathered");
	fmoe_events_gather(&to, 1, &all, 4, index);
	for (int i = 0; i < 4; i++)
		CHECK(same(&to, 1 + i, &all, index[i], 1), "event %d is not event %d", i, (int) index[i]);
	check_end();
}

static void
check_growth(void)
{
	static const int32_t number[] = {0, 7, 0, 6, 5};
	FmoeEvents	small = placed(&some, 1);
	char	   *memory = fnn_alloc(check_arena(), fmoe_events_bytes(&all, 900));
	FmoeEvents	grown;

	check_begin("columns of events grow, event by event");
	fmoe_events_place(&grown, &all, 3, memory);
	for (int i = 0; i < EVENTS; i++)
	{
		FmoeEvent	event = {
			.time = time[i], .time_rest = time_rest[i], .item = item[i], .order = order[i], .named = named[i],
			.tie = tie[i], .basket = basket[i], .weight = weight[i], .label = label[i]
		};

		if (i == 3)
			fmoe_events_spread(&grown, 3, 100, i, memory);
		if (i == 6)
			fmoe_events_spread(&grown, 100, 900, i, memory);
		fmoe_events_put(&grown, i, &event);
	}
	CHECK(same(&grown, 0, &all, 0, EVENTS), "the events differ from those that were put in");
	fmoe_events_put(&small, 0, &(FmoeEvent) {.item = 8, .label = 1, .time = 5});
	CHECK(small.item[0] == 8 && small.label[0] == 1 && small.time == NULL, "an event of fewer columns differs");
	fmoe_events_renumber(&grown, 3, number);
	CHECK(grown.item[0] == 6 && grown.item[1] == 7 && grown.item[2] == 5 && grown.item[3] == 1 &&
		  grown.time[2] == 20, "items have other numbers");
	check_end();
}

static void
check_order(void)
{
	/* by time; then item; then whatever else differs, one way or the other */
	static const int32_t items[] = {5, 1, 2, 2, 2};
	static const double times[] = {1, 2, 2, 2, 2};
	static const int8_t labels[] = {0, 0, 0, 1, 1};
	FmoeEvents	events = {.item = items, .time = times, .label = labels};
	FmoeEvents	two = {.item = items, .time = times};
	FmoeEvents	part = placed(&two, EVENTS);

	check_begin("events have one order, and a hash of all columns");
	for (int a = 0; a < 4; a++)
		for (int b = 0; b < 4; b++)
			if (a < 3 || b < 3)
			{
				int			order = fmoe_events_compare(&events, a, b);

				CHECK(order == (a < b ? -1 : a > b), "the order of events %d and %d is %d", a, b, order);
			}
	CHECK(fmoe_events_compare(&events, 2, 3) == -fmoe_events_compare(&events, 3, 2) &&
		  fmoe_events_compare(&events, 3, 2) != 0, "labels do not tell events apart");
	CHECK(fmoe_events_compare(&events, 3, 4) == 0 && fmoe_events_compare(&two, 2, 3) == 0, "equal events differ");
	fmoe_events_copy(&part, 0, &two, 0, 5);
	CHECK(fmoe_events_hash(7, &two, 5) == fmoe_events_hash(7, &part, 5), "copies have different hashes");
	CHECK(fmoe_events_hash(7, &two, 5) == fnn_hash(fnn_hash(7, items, sizeof(items)), times, sizeof(times)),
		  "a hash is not that of items, then times");
	CHECK(fmoe_events_hash(7, &two, 5) != fmoe_events_hash(7, &events, 5), "a label makes no difference");
	check_end();
}

/* What the column of time_rest decides, and columns that come when they are needed. */
static void
check_added_columns(void)
{
	static const double rests[] = {0, 2, 1, 0, 0, 0, 0};
	FmoeEvents	fine = {.item = item, .time = time, .time_rest = rests};
	FmoeEvents	two = {.item = item, .time = time};
	FmoeEvents	like = fmoe_events_like(fmoe_events_columns(&all));
	FmoeEvents	events = placed(&like, EVENTS);
	uint32_t	plain = fmoe_events_columns(&two);
	FmoeEvents	given = fmoe_events_only(&events, plain);
	FmoeEvent	event = {.label = 1, .weight = 1};

	check_begin("what a double lost of a time orders events; columns are added");
	CHECK(fmoe_events_compare(&two, 1, 2) < 0 && fmoe_events_compare(&fine, 1, 2) > 0, "what is left of equal times does not count");
	CHECK(fmoe_events_at_once(&two, 1, 2) && !fmoe_events_at_once(&fine, 1, 2), "times that differ by what is left are the same");
	CHECK(given.item == events.item && given.time == events.time && given.label == NULL, "other columns than were asked for");
	fmoe_events_copy(&given, 0, &two, 0, EVENTS);
	fmoe_events_default(&events, fmoe_events_columns(&events) & ~plain, EVENTS);
	CHECK(same(&given, 0, &two, 0, EVENTS), "added columns change what is there");
	for (int i = 0; i < EVENTS; i++)
		CHECK(events.time_rest[i] == 0 && events.label[i] == 1 && events.weight[i] == 1, "event %d is not plain", i);
	CHECK(fmoe_event_columns_needed(&event) == 0, "a plain event needs columns");
	event.weight = 0.5f;
	like = fmoe_events_like(fmoe_event_columns_needed(&event));
	CHECK(like.weight != NULL && like.label == NULL && like.time_rest == NULL && like.item == NULL, "a weight needs another column");
	check_end();
}

/* Order, then the tie and the name of the basket, decide between equal times. */
static void
check_baskets_apart(void)
{
	static const int32_t items[] = {9, 8, 7, 6, 5};
	static const double times[] = {1, 1, 1, 1, 1};
	static const int32_t orders[] = {1, 2, 2, 2, 2};
	static const uint32_t ties[] = {4, 1, 3000000000, 3000000000, 3000000000};
	static const int32_t names[] = {1, 1, 2, 3, 3};
	FmoeEvents	events = {.item = items, .time = times, .order = orders, .tie = ties, .named = names};
	FmoeEvents	untold = {.item = items, .time = times};
	FmoeEvents	moved = placed(&events, 5);

	check_begin("order and names tell events of one time apart");
	for (int i = 1; i < 4; i++)
	{
		CHECK(fmoe_events_compare(&events, i - 1, i) == -1 && fmoe_events_compare(&events, i, i - 1) == 1,
			  "event %d is not before event %d", i - 1, i);
		CHECK(!fmoe_events_at_once(&events, i - 1, i) && fmoe_events_at_once(&untold, i - 1, i), "events %d and %d are of one basket",
			  i - 1, i);
	}
	CHECK(fmoe_events_at_once(&events, 3, 4) && fmoe_events_compare(&events, 4, 3) == -1, "within a basket items do not decide");
	CHECK(fmoe_event_before(&events, 0, &events, 1) && !fmoe_event_before(&events, 1, &events, 2), "order does not say what is before");
	CHECK(fmoe_event_before(&untold, 0, &events, 0) && !fmoe_event_before(&events, 0, &untold, 0), "no order is not before all others");
	fmoe_events_copy(&moved, 0, &events, 0, 5);
	fmoe_events_move(&moved, 0, &all, 4);
	CHECK(moved.time[0] == 40 && moved.order[0] == 7 && moved.named[0] == 1 && moved.item[0] == 9, "an event does not move alone");
	fmoe_events_move(&moved, 1, &untold, 4);
	CHECK(moved.time[1] == 1 && moved.order[1] == 0, "a place in an order that is not there remains");
	check_end();
}

static void
check_batches(void)
{
	static const int64_t begin[] = {0, 3, 3};
	static const int64_t end[] = {3, 3, 7};
	FmoeBatch  *batch = fmoe_batch(check_arena(), &all, 3, begin, end, 2);
	FmoeBatch	part;

	check_begin("a batch has all columns of its events");
	CHECK(batch->n_tokens == 4 && batch->last[0] == 1 && batch->last[1] == -1 && batch->last[2] == 3,
		  "it does not hold the last two events of each history");
	CHECK(same(&batch->events, 0, &all, 1, 2) && same(&batch->events, 2, &all, 5, 2), "its events differ");
	part = fmoe_batch_part(check_arena(), batch, 2, 1);
	CHECK(part.n_tokens == 2 && same(&part.events, 0, &all, 5, 2), "a part of it differs");
	batch = fmoe_batch(check_arena(), &some, 3, begin, end, 10);
	CHECK(batch->n_tokens == EVENTS && batch->events.time == NULL && batch->events.basket == NULL &&
		  same(&batch->events, 0, &all, 0, EVENTS), "with two columns it differs");
	check_end();
}

/* Whether the same features, of the same rows, are in memory of their own. */
static bool
same_features(const FmoeFeatures *a, const FmoeFeatures *b, FmoeFeaturesOf of)
{
	FnnArray	mine[16];
	FnnArray	other[16];
	int			n = fmoe_features_arrays(a, of, mine, 16);

	if (fmoe_features_arrays(b, of, other, 16) != n)
		return false;
	for (int i = 0; i < n; i++)
		if (strcmp(mine[i].name, other[i].name) != 0 || mine[i].bytes != other[i].bytes ||
			mine[i].data == other[i].data || memcmp(mine[i].data, other[i].data, mine[i].bytes) != 0)
			return false;
	return true;
}

/* As workers see it: the block is filled at one address and read at another. */
static void
check_shared(void)
{
	static const float price[] = {1, 2, NAN};
	static const int64_t begin[] = {0, 2, 2, 3};
	static const int32_t term[] = {4, 0, 1};
	static const float count[] = {0.5f, 1, 2};
	static const int64_t offset[] = {0, 3, EVENTS};
	static const int64_t shown_offset[] = {0, 1, 3};
	FmoeFeatures items = {.n = 3, .count = 2};
	FmoeFeatures users = {.n = 3, .count = 1};
	FmoeDataset data = {.n_users = 2, .n_events = EVENTS, .n_items = 10, .offset = offset, .events = all};
	FmoeDataset back;
	size_t		bytes;
	char	   *filled;
	char	   *read;

	items.feature[0] = (FmoeFeature) {.name = "price", .modality = FMOE_PRICE, .width = 1, .value = price};
	items.feature[1] = (FmoeFeature) {.name = "title", .modality = FMOE_TEXT, .width = 5, .offset = begin};
	items.feature[1].term = term;
	users.feature[0] = items.feature[1];
	users.feature[0].weight = count;
	data.features = &items;
	check_begin("a dataset in one block is the same at another address");
	for (int with = 0; with < 2; with++)
	{
		data.user_features = with ? &users : NULL;
		data.shown = with ? (FmoeShown) {.count = 3, .offset = shown_offset, .events = all} : (FmoeShown) {0};
		bytes = fmoe_dataset_shared_bytes(&data);
		filled = fnn_alloc(check_arena(), bytes);
		read = fnn_alloc(check_arena(), bytes);
		fmoe_dataset_share(&data, filled);
		memcpy(read, filled, bytes);
		memset(filled, 0x7f, bytes);
		back = fmoe_dataset_shared(check_arena(), read);
		CHECK(back.n_users == 2 && back.n_items == 10 && memcmp(back.offset, offset, sizeof(offset)) == 0,
			  "its numbers differ");
		CHECK(same(&back.events, 0, &all, 0, EVENTS), "its events differ");
		CHECK(with ? back.shown.count == 3 && memcmp(back.shown.offset, shown_offset, sizeof(shown_offset)) == 0 &&
			  same(&back.shown.events, 0, &all, 0, 3) : back.shown.count == 0, "what was shown differs");
		CHECK(same_features(back.features, &items, FMOE_OF_ITEMS), "its features differ");
		CHECK(with ? same_features(back.user_features, &users, FMOE_OF_USERS) : back.user_features == NULL,
			  "its users' features differ");
	}
	check_end();
}

/* Two users of four and three impressions, between whom one has none. */
static void
check_labels(void)
{
	static const int32_t shown_item[] = {0, 1, 2, 3, 0, 1, 2};
	static const int8_t chosen[] = {1, 0, 1, 0, 0, 0, 1};
	static const double at[] = {1, 2, 3, 4, 1, 2, 3};
	static const int64_t offset[] = {0, 4, 4, 7};
	static const int64_t begin[] = {4, 0};
	static const int64_t end[] = {6, 3};
	const FmoeDataset data = {
		.n_users = 3, .n_events = 7, .n_items = 4, .offset = offset,
		.events = {.item = shown_item, .time = at, .label = chosen}
	};
	FmoeCasesWanted wanted = {.split = FMOE_SPLIT_VALIDATION, .holdout = FMOE_HOLDOUT_VALIDATION};
	FmoeBatch  *batch = fmoe_batch(check_arena(), &data.events, 2, begin, end, 10);
	FmoeCases  *cases = fmoe_cases(check_arena(), &data, &wanted);
	int32_t		of[2];
	FmoeBatch	part;

	check_begin("impressions: what comes next, and what was chosen");
	CHECK(fmoe_event_weight(&data.events, 1) == 0 && fmoe_target_weight(&data.events, 1) == 1,
		  "what was not chosen counts, or does not come next");
	CHECK(fmoe_events_counting(&data.events, 0, 7) == 3 && fmoe_targets_counting(&data.events, 0, 7) == 7,
		  "chosen and shown are miscounted");
	CHECK(fmoe_train_end(&data, FMOE_HOLDOUT_VALIDATION, 0) == 3 && fmoe_train_end(&data, FMOE_HOLDOUT_TEST, 0) == 2 &&
		  fmoe_train_end(&data, FMOE_HOLDOUT_VALIDATION, 2) == 6, "other than the last impressions are kept back");
	CHECK(cases->count == 1 && cases->answer[0] == 6 && cases->end[0] == 6, "what was not chosen is an answer");
	CHECK(batch->events.label[0] == 0 && batch->events.label[2] == 1 && batch->events.label[4] == 1,
		  "labels are not those of the events");
	fmoe_batch_users(check_arena(), batch, &data, begin);
	part = fmoe_batch_part(check_arena(), batch, 1, 1);
	CHECK(batch->user[0] == 2 && batch->user[1] == 0 && part.user[0] == 0, "sequences are of other users");
	part = fmoe_without_empty(check_arena(), batch, of);
	CHECK(part.user[0] == 2 && part.user[1] == 0, "without empty ones they are of other users");
	check_end();
}

void
check_data(void)
{
	check_labels();
	check_columns();
	check_gather();
	check_growth();
	check_order();
	check_added_columns();
	check_baskets_apart();
	check_batches();
	check_shared();
}

/*
 * dataset.c
 *	  Events into training sequences and evaluation cases.
 *
 * What happened at once is one basket.  A holdout keeps back whole baskets, and
 * leaves users alone who have too few: for validation a history and an answer
 * are needed, for test one more basket to validate on.  Events of weight 0 are
 * part of histories, and no answers: a basket of such is passed over, and what
 * comes after the basket that is kept back is kept back with it.
 *
 * What a user has seen when an answer comes is decided here, for all who judge:
 * the history, and what was shown before and not chosen.  What is shown together
 * with the answer is not seen yet, since that is what it was chosen from.
 */
#include "model/data/data.h"
#include "model/data/stream.h"

#include <string.h>

#define POLL_EVERY 0xffff		/* users between polls */

int64_t
fmoe_last_answer(const FmoeDataset *data, int64_t user, int64_t end)
{
	const FmoeEvents *events = &data->events;
	int64_t		first = data->offset[user];

	while (end > first)
	{
		int64_t		begin = fmoe_basket_begin(events, first, end - 1);

		if (begin > first && fmoe_targets_counting(events, begin, end) > 0)
			return begin;
		end = begin;
	}
	return -1;
}

int64_t
fmoe_last_fifth(const FmoeDataset *data, int64_t user, int64_t end)
{
	int64_t		first = data->offset[user];
	int64_t		fifth = (end - first + 4) / 5;
	int64_t		begin = fifth > 0 ? fmoe_basket_begin(&data->events, first, end - fifth) : end;

	/* of a basket that reaches further than the fifth the next one is the first */
	if (begin == first && begin < end)
		begin = fmoe_basket_end(&data->events, begin, end);
	return begin;
}

int64_t
fmoe_validation_end(const FmoeDataset *data, FmoeHoldout holdout, int64_t user)
{
	int64_t		end = data->offset[user + 1];
	int64_t		answer;

	if (holdout == FMOE_HOLDOUT_TEST_FIFTH)
		return fmoe_last_fifth(data, user, end);
	if (holdout != FMOE_HOLDOUT_TEST)
		return end;
	answer = fmoe_last_answer(data, user, end);
	return answer >= 0 && fmoe_last_answer(data, user, answer) >= 0 ? answer : end;
}

bool
fmoe_holds_back(FmoeHoldout holdout, FmoeHoldout other)
{
	switch (other)
	{
		case FMOE_HOLDOUT_NONE:
			return true;
		case FMOE_HOLDOUT_VALIDATION:
			return holdout != FMOE_HOLDOUT_NONE;
		case FMOE_HOLDOUT_TEST:
			return holdout == FMOE_HOLDOUT_TEST || holdout == FMOE_HOLDOUT_TEST_FIFTH;
		case FMOE_HOLDOUT_VALIDATION_FIFTH:
			return holdout == FMOE_HOLDOUT_VALIDATION_FIFTH || holdout == FMOE_HOLDOUT_TEST_FIFTH;
		case FMOE_HOLDOUT_TEST_FIFTH:
			return holdout == FMOE_HOLDOUT_TEST_FIFTH;
		case FMOE_HOLDOUTS:
			break;
	}
	return false;
}

FmoeHoldout
fmoe_least_holdout(FmoeHoldout a, FmoeHoldout b)
{
	if (fmoe_holds_back(a, b))
		return b;
	return fmoe_holds_back(b, a) ? a : FMOE_HOLDOUT_VALIDATION;
}

int64_t
fmoe_train_end(const FmoeDataset *data, FmoeHoldout holdout, int64_t user)
{
	int64_t		end = data->offset[user + 1];
	int64_t		answer;

	if (holdout == FMOE_HOLDOUT_VALIDATION_FIFTH || holdout == FMOE_HOLDOUT_TEST_FIFTH)
		return fmoe_last_fifth(data, user, fmoe_validation_end(data, holdout, user));
	answer = holdout != FMOE_HOLDOUT_NONE ? fmoe_last_answer(data, user, end) : -1;
	if (holdout == FMOE_HOLDOUT_TEST && answer >= 0)
		answer = fmoe_last_answer(data, user, answer);
	return answer >= 0 ? answer : end;
}

/* The baskets that are answers of a user: events *first .. *end - 1; none when equal. */
static void
user_answers(const FmoeDataset *data, const FmoeCasesWanted *wanted, int64_t user, int64_t *first, int64_t *end)
{
	const FmoeEvents *events = &data->events;
	int64_t		answer;

	*end = data->offset[user + 1];
	*first = *end;
	switch (wanted->split)
	{
		case FMOE_SPLIT_VALIDATION:
			*first = fmoe_train_end(data, wanted->holdout, user);
			if (*first < *end)
				*end = fmoe_basket_end(events, *first, *end);
			break;
		case FMOE_SPLIT_TEST:
			answer = fmoe_last_answer(data, user, *end);
			if (answer >= 0 && fmoe_last_answer(data, user, answer) >= 0)
			{
				*first = answer;
				*end = fmoe_basket_end(events, *first, *end);
			}
			break;
		case FMOE_SPLIT_FIFTH:
			break;
		case FMOE_SPLIT_TIME:
			while (*first > data->offset[user] && events->time[*first - 1] > wanted->after)
				(*first)--;
			/* whole baskets that have one before them */
			if (*first < *end && *first > data->offset[user] && events->basket != NULL &&
				events->basket[*first - 1] == events->basket[*first])
				*first = fmoe_basket_end(events, *first, *end);
			if (*first < *end && *first == data->offset[user])
				*first = fmoe_basket_end(events, *first, *end);
			break;
	}
}

/* What a pass over the users knows. */
typedef struct Walk
{
	const FmoeDataset *data;
	const FmoeCasesWanted *wanted;
	const uint8_t *chosen;		/* [n_users] whose cases are wanted; NULL: all */
	int64_t    *seen_by;		/* [n_items] the last user, from 1, who has seen an item; NULL: nobody asks */
	int64_t		answers;
	bool		wanted_any;		/* the user at hand has answers, seen or not */
	FmoeCases  *cases;			/* begin NULL: they are counted only */
} Walk;

/* Events from .. to - 1 are in the user's history. */
static void
see(const Walk *walk, int64_t user, int64_t from, int64_t to)
{
	for (int64_t event = from; walk->seen_by != NULL && event < to; event++)
		walk->seen_by[walk->data->events.item[event]] = user + 1;
}

/* What was shown before event is seen, from shown on; returns what is the next to be. */
static int64_t
see_shown(const Walk *walk, int64_t user, int64_t shown, int64_t event)
{
	const FmoeShown *all = &walk->data->shown;

	while (shown < all->offset[user + 1] && fmoe_event_before(&all->events, shown, &walk->data->events, event))
	{
		if (walk->seen_by != NULL)
			walk->seen_by[all->events.item[shown]] = user + 1;
		shown++;
	}
	return shown;
}

/* Adds the case whose answers are in the basket first .. end - 1, if any is new; shown: what is not seen yet. */
static void
add_case(Walk *walk, int64_t user, int64_t first, int64_t end, int64_t shown)
{
	FmoeCases  *cases = walk->cases;
	int64_t		before = walk->answers;

	for (int64_t event = first; event < end; event++)
	{
		if (fmoe_event_weight(&walk->data->events, event) == 0)
			continue;
		walk->wanted_any = true;
		if (walk->seen_by != NULL && walk->seen_by[walk->data->events.item[event]] == user + 1)
			continue;
		if (cases->answer != NULL)
			cases->answer[walk->answers] = event;
		walk->answers++;
	}
	if (walk->answers == before)
		return;
	if (cases->answer != NULL)
	{
		cases->begin[cases->count] = walk->data->offset[user];
		cases->end[cases->count] = first;
		cases->first[cases->count + 1] = walk->answers;
		if (cases->shown_begin != NULL)
		{
			cases->shown_begin[cases->count] = walk->data->shown.offset[user];
			cases->shown_end[cases->count] = shown;
		}
	}
	cases->count++;
}

/* The cases of one user. */
static void
walk_user(Walk *walk, int64_t user)
{
	const FmoeDataset *data = walk->data;
	int64_t		count = walk->cases->count;
	int64_t		shown = data->shown.count > 0 ? data->shown.offset[user] : 0;
	int64_t		first;
	int64_t		end;

	user_answers(data, walk->wanted, user, &first, &end);
	if (first == end)
	{
		walk->cases->lone += data->offset[user] < end &&
			fmoe_basket_end(&data->events, data->offset[user], data->offset[user + 1]) == data->offset[user + 1];
		return;
	}
	walk->wanted_any = false;
	see(walk, user, data->offset[user], first);
	while (first < end)
	{
		int64_t		next = fmoe_basket_end(&data->events, first, end);

		if (data->shown.count > 0)
			shown = see_shown(walk, user, shown, first);
		add_case(walk, user, first, next, shown);
		see(walk, user, first, next);
		first = next;
	}
	walk->cases->repeated += walk->wanted_any && walk->cases->count == count;
	walk->cases->users += walk->cases->count > count;
}

static void
walk_users(FnnArena *arena, Walk *walk)
{
	const FmoeDataset *data = walk->data;

	walk->cases->count = walk->cases->users = walk->cases->lone = walk->cases->repeated = 0;
	walk->answers = 0;
	for (int32_t i = 0; walk->seen_by != NULL && i < data->n_items; i++)
		walk->seen_by[i] = 0;
	for (int64_t user = 0; user < data->n_users; user++)
	{
		if ((user & POLL_EVERY) == 0)
			fnn_poll(fnn_arena_host(arena));
		if (walk->chosen == NULL || walk->chosen[user])
			walk_user(walk, user);
	}
}

/*
 * Marks at most limit of the users who are cases, each set equally likely
 * (reservoir sampling).
 */
static uint8_t *
choose_users(FnnArena *arena, Walk *walk)
{
	const FmoeDataset *data = walk->data;
	const FmoeCasesWanted *wanted = walk->wanted;
	uint8_t    *chosen = fnn_zalloc(arena, (size_t) data->n_users + 1);
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t    *reservoir = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), wanted->limit, sizeof(int64_t)));
	int64_t		eligible = 0;

	for (int64_t user = 0; user < data->n_users; user++)
	{
		int64_t		before = walk->cases->count;
		int64_t		i = eligible;

		if ((user & POLL_EVERY) == 0)
			fnn_poll(fnn_arena_host(arena));
		walk_user(walk, user);
		if (walk->cases->count == before)
			continue;
		if (eligible >= wanted->limit)
			i = (int64_t) fnn_random_below(wanted->seed, fmoe_stream(FMOE_STREAM_CASES, 0), eligible, eligible + 1);
		if (i < wanted->limit)
			reservoir[i] = user;
		eligible++;
	}
	for (int64_t i = 0; i < wanted->limit && i < eligible; i++)
		chosen[reservoir[i]] = 1;
	fnn_arena_reset(arena, mark);
	return chosen;
}

FmoeCases *
fmoe_cases(FnnArena *arena, const FmoeDataset *data, const FmoeCasesWanted *wanted)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeCases  *cases = fnn_zalloc(arena, sizeof(FmoeCases));
	Walk		walk = {.data = data, .wanted = wanted, .cases = cases};
	FmoeCases	everybody;

	if (wanted->unseen)
		walk.seen_by = fnn_zalloc(arena, fnn_mul_size(host, data->n_items, sizeof(int64_t)));
	if (wanted->limit > 0 && wanted->limit < data->n_users)
	{
		walk.chosen = choose_users(arena, &walk);
		everybody = *cases;
		walk_users(arena, &walk);
	}
	else
	{
		walk_users(arena, &walk);
		everybody = *cases;
	}
	cases->begin = fnn_alloc(arena, fnn_mul_size(host, cases->count, sizeof(int64_t)));
	cases->end = fnn_alloc(arena, fnn_mul_size(host, cases->count, sizeof(int64_t)));
	cases->first = fnn_zalloc(arena, fnn_mul_size(host, cases->count + 1, sizeof(int64_t)));
	cases->answer = fnn_alloc(arena, fnn_mul_size(host, walk.answers + 1, sizeof(int64_t)));
	if (data->shown.count > 0)
	{
		cases->shown_begin = fnn_alloc(arena, fnn_mul_size(host, cases->count, sizeof(int64_t)));
		cases->shown_end = fnn_alloc(arena, fnn_mul_size(host, cases->count, sizeof(int64_t)));
	}
	walk_users(arena, &walk);
	cases->users = everybody.users;
	cases->lone = everybody.lone;
	cases->repeated = everybody.repeated;
	return cases;
}

FmoeCases *
fmoe_validation_cases(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout, int64_t limit, uint64_t seed)
{
	FmoeCasesWanted wanted = {
		.split = FMOE_SPLIT_VALIDATION,
		.holdout = holdout,
		.unseen = true,
		.limit = limit,
		.seed = seed
	};

	return fmoe_cases(arena, data, &wanted);
}

FnnRows
fmoe_case_seen(const FmoeDataset *data, const FmoeCases *cases, int64_t c, int32_t *room)
{
	int64_t		history = cases->end[c] - cases->begin[c];
	int64_t		shown = cases->shown_begin != NULL ? cases->shown_end[c] - cases->shown_begin[c] : 0;

	if (shown == 0)
		return (FnnRows) {.count = history, .row = data->events.item + cases->begin[c]};
	memcpy(room, data->events.item + cases->begin[c], sizeof(int32_t) * (size_t) history);
	memcpy(room + history, data->shown.events.item + cases->shown_begin[c], sizeof(int32_t) * (size_t) shown);
	return (FnnRows) {.count = history + shown, .row = room};
}

int64_t
fmoe_seen_most(const FmoeCases *cases, int64_t from, int64_t to)
{
	int64_t		most = 0;

	for (int64_t c = from; cases->shown_begin != NULL && c < to; c++)
	{
		int64_t		seen = cases->end[c] - cases->begin[c] + cases->shown_end[c] - cases->shown_begin[c];

		if (seen > most)
			most = seen;
	}
	return most;
}

const double *
fmoe_case_times(FnnArena *arena, const FmoeDataset *data, const FmoeCases *cases, int64_t from, int64_t to)
{
	double	   *time = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), to - from, sizeof(double)));

	if (data->events.time == NULL)
		return NULL;
	for (int64_t c = from; c < to; c++)
		time[c - from] = data->events.time[cases->answer[cases->first[c]]];
	return time;
}

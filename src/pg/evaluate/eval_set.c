/*
 * eval_set.c
 *	  Ranking the same cases by versions that number their items differently.
 *
 * A version trained last month and one trained today are comparable only on
 * the same cases.  The cases are made once, over today's events in today's
 * item numbers.  For an older version events and targets are translated by
 * their ids.  Events of items it does not know are left out of the histories,
 * and an answer that it does not know is a miss: the user wanted something that
 * this version cannot recommend.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/evaluate/evaluate.h"

#define CASES_AT_ONCE 4096

/* Bytes of n translated events and the offsets of users into them, with the places that translating needs. */
static size_t
translated_bytes(const FmoeEvents *events, int64 n, int64 n_users)
{
	return (size_t) n * (fmoe_event_bytes(events) + sizeof(int64)) + (size_t) n_users * sizeof(int64);
}

size_t
fmoe_eval_set_bytes(const FmoeDataset *data, int64 n_cases, int64 n_answers)
{
	size_t		bytes = translated_bytes(&data->events, data->n_events, data->n_users);

	if (data->shown.count > 0)
		bytes += translated_bytes(&data->shown.events, data->shown.count, data->n_users);
	return bytes + (size_t) n_cases * fmoe_case_bytes(data) + (size_t) n_answers * 2 * sizeof(int64);
}

/* number[n] becomes the version's number of every item of the interactions, -1: unknown. */
static int32 *
item_numbers(const FmoeInteractions *interactions, const FmoeVocabulary *vocabulary)
{
	int32		n = fmoe_vocabulary_count(interactions->vocabulary);
	int32	   *number = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int32) * Max(n, 1));
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "fmoe item ids", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	int32		i;

	for (i = 0; i < n; i++)
	{
		number[i] = fmoe_vocabulary_find(vocabulary, fmoe_vocabulary_id(interactions->vocabulary, i));
		if (i % 1024 == 0)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(scratch);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return number;
}

/* Runs of known events are copied at once, and one run is no longer than this. */
#define RUN_MAX 65536

/*
 * Copies those of n events whose item the version knows.  Returns place[n + 1]:
 * how many known events stand before each event.
 */
static int64 *
translate_events(const FmoeEvents *from, int64 n, const int32 *number, FmoeEvents *to)
{
	int64	   *place = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * (n + 1));
	void	   *memory = MemoryContextAllocHuge(CurrentMemoryContext, Max(fmoe_events_bytes(from, n), 1));
	int64		known = 0;
	int64		i = 0;

	fmoe_events_place(to, from, n, memory);
	while (i < n)
	{
		int64		first = i;
		int64		end = Min(first + RUN_MAX, n);

		CHECK_FOR_INTERRUPTS();
		for (; i < end && number[from->item[i]] >= 0; i++)
			place[i] = known + (i - first);
		fmoe_events_copy(to, known, from, first, i - first);
		known += i - first;
		for (; i < end && number[from->item[i]] < 0; i++)
			place[i] = known;
	}
	fmoe_events_renumber(to, known, number);
	place[n] = known;
	return place;
}

static int64 *
translate_offsets(const int64 *from, int64 n, const int64 *place)
{
	int64	   *offset = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * n);

	for (int64 i = 0; i < n; i++)
		offset[i] = place[from[i]];
	return offset;
}

/* The answers of case c that the version knows, and the case when there are any. */
static void
translate_case(FmoeEvalSet *set, const FmoeDataset *data, const int32 *number, const int64 *place,
			   const int64 *shown_place, int64 c)
{
	const FmoeCases *all = set->all;
	FmoeCases  *cases = &set->cases;
	int64		known = cases->first[cases->count];

	for (int64 a = all->first[c]; a < all->first[c + 1]; a++)
	{
		if (number[data->events.item[all->answer[a]]] < 0)
			continue;
		cases->answer[known] = place[all->answer[a]];
		set->origin[known++] = a;
	}
	if (known == cases->first[cases->count])
		return;
	cases->begin[cases->count] = place[all->begin[c]];
	cases->end[cases->count] = place[all->end[c]];
	if (shown_place != NULL)
	{
		cases->shown_begin[cases->count] = shown_place[all->shown_begin[c]];
		cases->shown_end[cases->count] = shown_place[all->shown_end[c]];
	}
	cases->first[++cases->count] = known;
}

static int64 *
new_list(int64 n)
{
	return MemoryContextAllocHuge(CurrentMemoryContext, sizeof(int64) * Max(n, 1));
}

FmoeEvalSet *
fmoe_eval_set(const FmoeInteractions *interactions, const FmoeCases *cases, const FmoeVocabulary *vocabulary)
{
	const FmoeDataset *data = &interactions->data;
	FmoeEvalSet *set = palloc0(sizeof(FmoeEvalSet));
	int32	   *number;
	int64	   *place;
	int64	   *shown_place = NULL;

	set->all = cases;
	if (vocabulary == NULL)
	{
		set->data = *data;
		set->cases = *cases;
		return set;
	}

	number = item_numbers(interactions, vocabulary);
	set->data.n_users = data->n_users;
	set->data.n_items = fmoe_vocabulary_count(vocabulary);
	place = translate_events(&data->events, data->n_events, number, &set->data.events);
	set->data.n_events = place[data->n_events];
	set->data.offset = translate_offsets(data->offset, data->n_users + 1, place);
	if (data->shown.count > 0)
	{
		shown_place = translate_events(&data->shown.events, data->shown.count, number, &set->data.shown.events);
		set->data.shown.count = shown_place[data->shown.count];
		set->data.shown.offset = translate_offsets(data->shown.offset, data->n_users + 1, shown_place);
		set->cases.shown_begin = new_list(cases->count);
		set->cases.shown_end = new_list(cases->count);
	}
	set->cases.begin = new_list(cases->count);
	set->cases.end = new_list(cases->count);
	set->cases.first = new_list(cases->count + 1);
	set->cases.answer = new_list(cases->first[cases->count]);
	set->origin = new_list(cases->first[cases->count]);
	set->cases.first[0] = 0;
	for (int64 c = 0; c < cases->count; c++)
		translate_case(set, data, number, place, shown_place, c);
	pfree(number);
	pfree(place);
	if (shown_place != NULL)
		pfree(shown_place);
	return set;
}

int64
fmoe_rank_blocks(int64 n_cases)
{
	return (n_cases + CASES_AT_ONCE - 1) / CASES_AT_ONCE;
}

static void
tell(FmoeWatch *watch)
{
	if (watch != NULL)
		watch->progress(watch->context, ++watch->done, watch->all);
}

void
fmoe_rank_set(const FmoeEvalSet *set, const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
			  const FmoeProtocol *protocol, int32 *rank, uint8 *covered)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int64		from;
	int64		c;

	for (from = 0; from < set->cases.count; from += CASES_AT_ONCE)
	{
		int64		end = Min(from + CASES_AT_ONCE, set->cases.count);

		CHECK_FOR_INTERRUPTS();
		if (slot == FMOE_MAIN && model->gate.has_folds)
			fmoe_rank_by_folds(model, arena, &set->data, &set->cases, protocol, from, end, rank);
		else
			fmoe_rank_cases(model, slot, arena, &set->data, &set->cases, protocol, from, end, rank, covered);
		fnn_arena_reset(arena, mark);
		tell(set->watch);
	}
	if (set->origin == NULL)
		return;

	/* origin ascends, so moving ranks from the end overwrites none that is still needed */
	c = set->cases.first[set->cases.count];
	for (from = set->all->first[set->all->count] - 1; from >= 0; from--)
	{
		if (c > 0 && set->origin[c - 1] == from)
			rank[from] = rank[--c];
		else
			rank[from] = FMOE_MISS;
	}
}

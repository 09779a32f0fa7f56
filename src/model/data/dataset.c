/*
 * dataset.c
 *	  Which events of a dataset train, and which are the answers of an evaluation.
 *
 * Holding an event back needs a history, a transition and an answer: users with
 * fewer than three events only train, under every holdout.
 */
#include "model/data/data.h"
#include "model/data/stream.h"

#define HOLDOUT_EVENTS_MIN 3

int64_t
fmoe_train_end(const FmoeDataset *data, FmoeHoldout holdout, int64_t user)
{
	int64_t		end = data->offset[user + 1];

	if (end - data->offset[user] < HOLDOUT_EVENTS_MIN)
		return end;
	switch (holdout)
	{
		case FMOE_HOLDOUT_NONE:
			return end;
		case FMOE_HOLDOUT_VALIDATION:
			return end - 1;
		case FMOE_HOLDOUT_TEST:
			return end - 2;
	}
	return end;
}

/* Sets the range of a user's events that are answers, *first .. *end - 1; it may be empty. */
static void
user_targets(const FmoeDataset *data, FmoeSplit split, FmoeHoldout holdout, double after, int64_t user,
			 int64_t *first, int64_t *end)
{
	int64_t		begin = data->offset[user];

	*end = data->offset[user + 1];
	*first = *end;
	switch (split)
	{
		case FMOE_SPLIT_VALIDATION:
			*first = fmoe_train_end(data, holdout, user);
			if (*first < *end)
				*end = *first + 1;
			break;
		case FMOE_SPLIT_TEST:
			if (*end - begin >= HOLDOUT_EVENTS_MIN)
				*first = *end - 1;
			break;
		case FMOE_SPLIT_TIME:
			while (*first > begin + 1 && data->events.time[*first - 1] > after)
				(*first)--;
			break;
	}
}

/*
 * Marks at most limit of the users who have answers, each set equally likely
 * (reservoir sampling); NULL: all.
 */
static uint8_t *
choose_users(FnnArena *arena, const FmoeDataset *data, FmoeSplit split, FmoeHoldout holdout,
			 double after, int64_t limit, uint64_t seed)
{
	uint8_t    *chosen = fnn_zalloc(arena, (size_t) data->n_users + 1);
	FnnMark		mark = fnn_arena_mark(arena);
	int64_t    *reservoir = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), limit, sizeof(int64_t)));
	int64_t		eligible = 0;
	int64_t		user;
	int64_t		i;

	for (user = 0; user < data->n_users; user++)
	{
		int64_t		first;
		int64_t		end;

		user_targets(data, split, holdout, after, user, &first, &end);
		if (first == end)
			continue;
		i = eligible;
		if (eligible >= limit)
			i = (int64_t) fnn_random_below(seed, fmoe_stream(FMOE_STREAM_CASES, 0), eligible, eligible + 1);
		if (i < limit)
			reservoir[i] = user;
		eligible++;
		if ((user & 0xffff) == 0)
			fnn_poll(fnn_arena_host(arena));
	}
	for (i = 0; i < limit && i < eligible; i++)
		chosen[reservoir[i]] = 1;
	fnn_arena_reset(arena, mark);
	return chosen;
}

FmoeCases *
fmoe_cases(FnnArena *arena, const FmoeDataset *data, FmoeSplit split, FmoeHoldout holdout,
		   double after, int64_t limit, uint64_t seed)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeCases  *cases = fnn_zalloc(arena, sizeof(FmoeCases));
	const uint8_t *chosen = NULL;
	int			pass;

	if (limit > 0 && limit < data->n_users)
		chosen = choose_users(arena, data, split, holdout, after, limit, seed);

	/* the first pass counts, the second fills */
	for (pass = 0; pass < 2; pass++)
	{
		int64_t		count = 0;
		int64_t		user;

		for (user = 0; user < data->n_users; user++)
		{
			int64_t		first;
			int64_t		end;
			int64_t		target;

			if ((user & 0xffff) == 0)
				fnn_poll(host);
			if (chosen != NULL && !chosen[user])
				continue;
			user_targets(data, split, holdout, after, user, &first, &end);
			if (pass == 0)
				count += end - first;
			else
			{
				for (target = first; target < end; target++)
				{
					cases->begin[count] = data->offset[user];
					cases->target[count++] = target;
				}
			}
		}
		cases->count = count;
		if (pass == 0)
		{
			cases->begin = fnn_alloc(arena, fnn_mul_size(host, count, sizeof(int64_t)));
			cases->target = fnn_alloc(arena, fnn_mul_size(host, count, sizeof(int64_t)));
		}
	}
	return cases;
}

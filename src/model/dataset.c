/*
 * dataset.c
 *	  Events into training sequences, evaluation cases and packed batches.
 *
 * Holding back needs a history, a transition and an answer: users with fewer
 * than three events only train, under every holdout.
 */
#include "experts.h"

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

/* The answers among a user's events: *first .. *end - 1; none when equal. */
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
			while (*first > begin + 1 && data->time[*first - 1] > after)
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

FmoeBatch *
fmoe_batch(FnnArena *arena, const int32_t *item, const double *time, int64_t n,
		   const int64_t *begin, const int64_t *end, int max_length)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeBatch  *batch = fnn_zalloc(arena, sizeof(FmoeBatch));
	int32_t    *offset = fnn_alloc(arena, fnn_mul_size(host, n + 1, sizeof(int32_t)));
	int32_t    *last = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(int32_t)));
	int64_t		tokens = 0;
	int32_t    *token_item;
	int32_t    *position;
	double	   *token_time = NULL;
	int64_t		i;

	offset[0] = 0;
	for (i = 0; i < n; i++)
	{
		int64_t		length = end[i] - begin[i];

		if (length > max_length)
			length = max_length;
		if (length < 0)
			fnn_fail(host, FNN_INVALID, "a history ends before it begins");
		tokens += length;
		if (tokens > INT32_MAX)
			fnn_fail(host, FNN_INVALID, "too many events in a batch");
		offset[i + 1] = (int32_t) tokens;
		last[i] = length > 0 ? (int32_t) tokens - 1 : -1;
	}

	token_item = fnn_alloc(arena, fnn_mul_size(host, tokens, sizeof(int32_t)));
	position = fnn_alloc(arena, fnn_mul_size(host, tokens, sizeof(int32_t)));
	if (time != NULL)
		token_time = fnn_alloc(arena, fnn_mul_size(host, tokens, sizeof(double)));
	for (i = 0; i < n; i++)
	{
		int32_t		length = offset[i + 1] - offset[i];
		int64_t		from = end[i] - length;
		int32_t		k;

		for (k = 0; k < length; k++)
		{
			token_item[offset[i] + k] = item[from + k];
			position[offset[i] + k] = k;
			if (time != NULL)
				token_time[offset[i] + k] = time[from + k];
		}
	}
	batch->sequences.count = (int32_t) n;
	batch->sequences.offset = offset;
	batch->n_tokens = tokens;
	batch->item = token_item;
	batch->position = position;
	batch->last = last;
	batch->time = token_time;
	return batch;
}

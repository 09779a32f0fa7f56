/*
 * clicks.c
 *	  Which impressions are predicted, and how good the probabilities are.
 */
#include "model/data/stream.h"
#include "model/evaluate/evaluate.h"

#include <math.h>
#include <string.h>

#define BINS 10					/* of the calibration */
/* Of a window at most one part in so many is predicted: before each impression is most of a full history. */
#define PREDICTED_SHARE 4
/* Users that training validates on at most. */
#define VALIDATION_USERS 20000

/* ---------------------------------------------------------------- windows */

/* The impressions of a user that a split predicts: events *from .. *to - 1. */
static void
predicted_range(const FmoeDataset *data, const FmoeImpressionsWanted *wanted, int64_t user, int64_t *from,
				int64_t *to)
{
	int64_t		first = data->offset[user];
	int64_t		answer;

	*from = *to = data->offset[user + 1];
	switch (wanted->split)
	{
		case FMOE_SPLIT_VALIDATION:
			*from = fmoe_train_end(data, wanted->holdout, user);
			*to = fmoe_validation_end(data, wanted->holdout, user);
			break;
		case FMOE_SPLIT_TEST:
			answer = fmoe_last_answer(data, user, *to);
			if (answer >= 0 && fmoe_last_answer(data, user, answer) >= 0)
				*from = answer;
			break;
		case FMOE_SPLIT_FIFTH:
			*from = fmoe_last_fifth(data, user, *to);
			break;
		case FMOE_SPLIT_TIME:
			while (*from > first && data->events.time[*from - 1] > wanted->after)
				(*from)--;
			if (*from > first && *from < *to && fmoe_basket_begin(&data->events, first, *from) < *from)
				*from = fmoe_basket_end(&data->events, *from, *to);
			break;
	}
}

/* Counts the windows of a user, and writes them where there is room (begin not NULL). */
static void
add_windows(FmoeImpressions *to, const FmoeDataset *data, const FmoeImpressionsWanted *wanted, int64_t user)
{
	int64_t		most = wanted->max_length / PREDICTED_SHARE > 1 ? wanted->max_length / PREDICTED_SHARE : 1;
	int64_t		first = data->offset[user];
	int64_t		from;
	int64_t		end;
	int64_t		next;

	predicted_range(data, wanted, user, &from, &end);
	for (; from < end; from = next)
	{
		next = from;
		while (next < end && (next == from || fmoe_basket_end(&data->events, next, end) - from <= most))
			next = fmoe_basket_end(&data->events, next, end);
		/* a basket that fills a window leaves no room for what was before it: its first impressions only */
		if (to->begin != NULL)
		{
			int64_t		last = next - from < wanted->max_length ? next : from + wanted->max_length - 1;
			int64_t		begin = last - first > wanted->max_length ? last - wanted->max_length : first;

			to->begin[to->count] = begin;
			to->from[to->count] = from;
			to->end[to->count] = last;
			to->user[to->count] = (int32_t) user;
			to->first[to->count] = to->n;
			for (int64_t event = from; event < last; event++)
				to->label[to->n + event - from] = data->events.label == NULL || data->events.label[event] > 0;
		}
		to->n += next - from < wanted->max_length ? next - from : wanted->max_length - 1;
		to->count++;
	}
}

static void
add_users(FmoeImpressions *to, const FnnHost *host, const FmoeDataset *data, const FmoeImpressionsWanted *wanted,
		  const uint8_t *chosen)
{
	to->count = to->n = 0;
	for (int64_t user = 0; user < data->n_users; user++)
	{
		if (chosen == NULL || chosen[user])
			add_windows(to, data, wanted, user);
		if ((user & 0xfff) == 0)
			fnn_poll(host);
	}
}

FmoeImpressions *
fmoe_impressions(FnnArena *arena, const FmoeDataset *data, const FmoeImpressionsWanted *wanted)
{
	const FnnHost *host = fnn_arena_host(arena);
	FmoeImpressions *made = fnn_zalloc(arena, sizeof(FmoeImpressions));
	uint8_t    *chosen = NULL;
	size_t		windows;

	if (wanted->limit > 0 && wanted->limit < data->n_users)
	{
		int64_t    *order = fnn_alloc(arena, fnn_mul_size(host, data->n_users, sizeof(int64_t)));

		chosen = fnn_zalloc(arena, (size_t) data->n_users);
		fnn_random_permutation(wanted->seed, fmoe_stream(FMOE_STREAM_CASES, 0), data->n_users, order);
		for (int64_t i = 0; i < wanted->limit; i++)
			chosen[order[i]] = 1;
	}
	add_users(made, host, data, wanted, chosen);
	windows = fnn_mul_size(host, (size_t) made->count + 1, sizeof(int64_t));
	made->begin = fnn_alloc(arena, windows);
	made->end = fnn_alloc(arena, windows);
	made->from = fnn_alloc(arena, windows);
	made->first = fnn_alloc(arena, windows);
	made->user = fnn_alloc(arena, windows / 2);
	made->label = fnn_alloc(arena, fnn_mul_size(host, (size_t) made->n + 1, sizeof(float)));
	add_users(made, host, data, wanted, chosen);
	made->first[made->count] = made->n;
	return made;
}

FmoeImpressions *
fmoe_validation_impressions(FnnArena *arena, const FmoeDataset *data, const FmoeConfig *config)
{
	FmoeImpressionsWanted wanted = {
		.split = FMOE_SPLIT_VALIDATION,
		.holdout = (FmoeHoldout) config->holdout,
		.max_length = config->max_length,
		.limit = VALIDATION_USERS,
		.seed = (uint64_t) config->seed
	};

	return fmoe_impressions(arena, data, &wanted);
}

double
fmoe_impressions_bytes(double windows, double impressions)
{
	return sizeof(FmoeImpressions) + (windows + 1) * 5 * sizeof(int64_t) + (impressions + 1) * sizeof(float);
}

/* ---------------------------------------------------------------- predicting */

void
fmoe_foresee(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeDataset *data,
			 const FmoeImpressions *impressions, int64_t from, int64_t to, fnn_real *logit)
{
	const FmoeExpert *expert = &model->expert[slot];

	for (int64_t w = from; w < to; w++)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		FmoeBatch  *batch = fmoe_batch(arena, &data->events, 1, impressions->begin + w, impressions->end + w,
									   expert->config->max_length);
		fnn_real   *all = fnn_alloc_reals(arena, 1, batch->n_tokens);
		int64_t		n = impressions->first[w + 1] - impressions->first[w];

		batch->user = impressions->user + w;
		batch->user_features = data->user_features;
		expert->class->foresee(expert, arena, batch, all);
		memcpy(logit + impressions->first[w], all + batch->n_tokens - n, sizeof(fnn_real) * (size_t) n);
		fnn_arena_reset(arena, mark);
		fnn_poll(fnn_arena_host(arena));
	}
}

/* ---------------------------------------------------------------- figures */

typedef struct Predicted
{
	double		logit;
	double		label;
	double		times;
} Predicted;

static void
sift_down(Predicted *heap, int64_t root, int64_t n)
{
	for (;;)
	{
		int64_t		child = 2 * root + 1;
		Predicted	moved = heap[root];

		if (child >= n)
			return;
		if (child + 1 < n && heap[child + 1].logit > heap[child].logit)
			child++;
		if (heap[child].logit <= moved.logit)
			return;
		heap[root] = heap[child];
		heap[child] = moved;
		root = child;
	}
}

/* Ascending by logit; equal ones count as one wherever the order is used, so any order of theirs will do. */
static void
sort_predicted(const FnnHost *host, int64_t n, Predicted *list)
{
	for (int64_t i = n / 2 - 1; i >= 0; i--)
		sift_down(list, i, n);
	for (int64_t end = n - 1; end > 0; end--)
	{
		Predicted	last = list[end];

		list[end] = list[0];
		list[0] = last;
		sift_down(list, 0, end);
		if ((end & 0xffff) == 0)
			fnn_poll(host);
	}
}

static double
area(int64_t n, const Predicted *list)
{
	double		others = 0;		/* so far, with a smaller logit */
	double		chosen = 0;
	double		pairs = 0;
	int64_t		end;

	for (int64_t i = 0; i < n; i = end)
	{
		double		here_chosen = 0;
		double		here_others = 0;

		for (end = i; end < n && list[end].logit == list[i].logit; end++)
		{
			here_chosen += list[end].times * list[end].label;
			here_others += list[end].times * (1 - list[end].label);
		}
		pairs += here_chosen * (others + here_others / 2);
		others += here_others;
		chosen += here_chosen;
	}
	return pairs / (chosen * others);
}

/* Over groups of about as many each, ascending by probability; what is equal is in one group. */
static double
calibration(int64_t n, const Predicted *list, double all)
{
	double		sum = 0;
	double		seen = 0;
	int64_t		end = 0;

	for (int bin = 0; bin < BINS && end < n; bin++)
	{
		double		probability = 0;
		double		chosen = 0;

		while (end < n && (seen < all * (bin + 1) / BINS || list[end].logit == list[end - 1].logit))
		{
			probability += list[end].times / (1 + exp(-list[end].logit));
			chosen += list[end].times * list[end].label;
			seen += list[end].times;
			end++;
		}
		sum += fabs(probability - chosen);
	}
	return sum / all;
}

FmoeClickFigures
fmoe_click_figures(FnnArena *arena, int64_t n, const fnn_real *logit, const float *label, const int32_t *times)
{
	FnnMark		mark = fnn_arena_mark(arena);
	const FnnHost *host = fnn_arena_host(arena);
	Predicted  *list = fnn_alloc(arena, fnn_mul_size(host, (size_t) n + 1, sizeof(Predicted)));
	FmoeClickFigures figures = {NAN, NAN, NAN};
	double		all = 0;
	double		loss = 0;
	int64_t		count = 0;

	for (int64_t i = 0; i < n; i++)
	{
		double		often = times != NULL ? times[i] : 1;

		if (isnan(logit[i]) || often == 0)
			continue;
		list[count++] = (Predicted) {(double) logit[i], (double) label[i], often};
		all += often;
		loss += often * fnn_click_loss_of((double) logit[i], (double) label[i]);
	}
	if (count > 0)
	{
		sort_predicted(host, count, list);
		figures.auc = area(count, list);
		figures.log_loss = loss / all;
		figures.calibration = calibration(count, list, all);
	}
	fnn_arena_reset(arena, mark);
	return figures;
}

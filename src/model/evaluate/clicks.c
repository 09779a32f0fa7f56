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
		batch->private_rows = impressions->private_rows;
		batch->private_of = batch->user;
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

/* ---------------------------------------------------------------- leads */

/* A model's impressions in the order of their logits. */
typedef struct Ordered
{
	int32_t    *impression;		/* [n] */
	Predicted  *predicted;		/* [n] the same; times are set for each resample */
	double	   *loss;			/* [n] */
} Ordered;

static void
order_predicted(FnnArena *arena, const FmoeImpressions *impressions, const fnn_real *logit, Ordered *to)
{
	const FnnHost *host = fnn_arena_host(arena);
	int64_t		n = impressions->n;

	to->impression = fnn_alloc(arena, fnn_mul_size(host, (size_t) n + 1, sizeof(int32_t)));
	to->predicted = fnn_alloc(arena, fnn_mul_size(host, (size_t) n + 1, sizeof(Predicted)));
	to->loss = fnn_alloc(arena, fnn_mul_size(host, (size_t) n + 1, sizeof(double)));
	/* while they are sorted, times holds where each was */
	for (int64_t i = 0; i < n; i++)
		to->predicted[i] = (Predicted) {(double) logit[i], (double) impressions->label[i], (double) i};
	sort_predicted(host, n, to->predicted);
	for (int64_t i = 0; i < n; i++)
	{
		to->impression[i] = (int32_t) to->predicted[i].times;
		to->loss[i] = fnn_click_loss_of(to->predicted[i].logit, to->predicted[i].label);
	}
}

/* AUC and mean loss where each impression counts as often as its user was drawn. */
static void
figures_of(const Ordered *ordered, int64_t n, const int32_t *times, double *auc, double *log_loss)
{
	double		all = 0;
	double		loss = 0;

	for (int64_t i = 0; i < n; i++)
	{
		double		often = times[ordered->impression[i]];

		ordered->predicted[i].times = often;
		loss += often * ordered->loss[i];
		all += often;
	}
	*auc = area(n, ordered->predicted);
	*log_loss = loss / all;
}

/* How often each impression counts in a resample of users; the first resample is everybody once. */
static void
draw_users(const FmoeImpressions *impressions, int resample, uint64_t seed, int64_t n_users, int32_t *drawn,
		   int32_t *times)
{
	int64_t		user = -1;

	memset(drawn, 0, sizeof(int32_t) * (size_t) n_users);
	for (int64_t k = 0; k < n_users; k++)
		drawn[resample == 0 ? k : (int64_t) fnn_random_below(seed, fmoe_stream(FMOE_STREAM_RESAMPLE, resample), k,
															 (uint64_t) n_users)]++;
	for (int64_t w = 0; w < impressions->count; w++)
	{
		user += w == 0 || impressions->user[w] != impressions->user[w - 1];
		for (int64_t i = impressions->first[w]; i < impressions->first[w + 1]; i++)
			times[i] = drawn[user];
	}
}

static int64_t
count_users(const FmoeImpressions *impressions)
{
	int64_t		n = 0;

	for (int64_t w = 0; w < impressions->count; w++)
		n += w == 0 || impressions->user[w] != impressions->user[w - 1];
	return n;
}

/* Ascending. */
static void
sort_numbers(int64_t n, double *number)
{
	for (int64_t gap = n / 2; gap > 0; gap = gap == 2 ? 1 : (int64_t) ((double) gap / 2.2))
		for (int64_t i = gap; i < n; i++)
		{
			double		moved = number[i];
			int64_t		at = i;

			for (; at >= gap && number[at - gap] > moved; at -= gap)
				number[at] = number[at - gap];
			number[at] = moved;
		}
}

static void
interval(int resamples, double *difference, double *low, double *high)
{
	sort_numbers(resamples, difference);
	*low = difference[(int) (0.025 * resamples)];
	*high = difference[resamples - 1 - (int) (0.025 * resamples)];
}

void
fmoe_click_leads(FnnArena *arena, const FmoeImpressions *impressions, int models, const fnn_real *const *logit,
				 int resamples, uint64_t seed, FmoeClickLead *lead)
{
	FnnMark		mark = fnn_arena_mark(arena);
	const FnnHost *host = fnn_arena_host(arena);
	int64_t		n = impressions->n;
	int64_t		n_users = count_users(impressions);
	Ordered    *ordered = fnn_alloc(arena, sizeof(Ordered) * (size_t) models);
	double	   *auc = fnn_alloc(arena, sizeof(double) * (size_t) (models * (resamples + 1)));
	double	   *loss = fnn_alloc(arena, sizeof(double) * (size_t) (models * (resamples + 1)));
	int32_t    *drawn = fnn_alloc(arena, fnn_mul_size(host, (size_t) n_users + 1, sizeof(int32_t)));
	int32_t    *times = fnn_alloc(arena, fnn_mul_size(host, (size_t) n + 1, sizeof(int32_t)));

	for (int m = 0; m < models; m++)
		order_predicted(arena, impressions, logit[m], &ordered[m]);
	for (int r = 0; r <= resamples; r++)
	{
		fnn_poll(host);
		draw_users(impressions, r, seed, n_users, drawn, times);
		for (int m = 0; m < models; m++)
			figures_of(&ordered[m], n, times, &auc[m * (resamples + 1) + r], &loss[m * (resamples + 1) + r]);
	}
	for (int m = 1; m < models; m++)
	{
		double	   *a = auc + m * (resamples + 1);
		double	   *l = loss + m * (resamples + 1);

		for (int r = 0; r <= resamples; r++)
		{
			a[r] = auc[r] - a[r];
			l[r] -= loss[r];
		}
		lead[m - 1].auc = a[0];
		lead[m - 1].log_loss = l[0];
		interval(resamples, a + 1, &lead[m - 1].auc_low, &lead[m - 1].auc_high);
		interval(resamples, l + 1, &lead[m - 1].log_loss_low, &lead[m - 1].log_loss_high);
	}
	fnn_arena_reset(arena, mark);
}

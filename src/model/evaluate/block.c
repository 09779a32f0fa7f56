/*
 * block.c
 *	  Blocks of cases that are scored together: how large they are, and their memory.
 */
#include "model/evaluate/evaluate.h"
#include "model/expert/markov.h"

#include <math.h>

int64_t
fmoe_case_block_end(const FmoeCases *cases, int64_t from, int64_t to, int64_t cases_max, int max_length)
{
	int64_t		tokens = 0;
	int64_t		end = from;

	while (end < to && end - from < cases_max && tokens < FMOE_CASE_BLOCK_TOKENS_MAX)
	{
		int64_t		length = cases->end[end] - cases->begin[end];

		tokens += length < max_length ? length : max_length;
		end++;
	}
	return end;
}

double
fmoe_case_block_bytes(const FmoeExpertClass *class, const FmoeConfig *config, const FmoeFacts *facts,
					  const FmoeEvents *events, double cases, double longest)
{
	double		length = fmin(longest, config->max_length);
	double		tokens = fmin(cases * length, FMOE_CASE_BLOCK_TOKENS_MAX + length);
	double		scores = fmin(cases * facts->n_items * sizeof(fnn_real), FMOE_CASE_BLOCK_SCORE_BYTES);
	double		bytes = scores + tokens * fmoe_token_bytes(events);

	if (!fmoe_only_counts(class))
		bytes += class->bytes(config, facts, FMOE_UNRECORDED, tokens, cases) *
			(events->basket != NULL ? FMOE_BASKETS_MORE : 1);
	return bytes;
}

size_t
fmoe_rank_bytes(const FmoeModel *model, const FmoeDataset *data, const FmoeCases *cases, const FmoeProtocol *protocol)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FmoeFacts	facts = {.n_items = model->n_items, .features = main->features, .user_features = main->user_features};
	double		n_items = model->n_items;
	double		most = fmin(cases->count, FMOE_CASE_BLOCK_MAX);
	double		longest = 0;
	double		answers = 0;
	double		bytes = 0;

	for (int64_t c = 0; c < cases->count; c++)
	{
		longest = fmax(longest, cases->end[c] - cases->begin[c]);
		answers = fmax(answers, cases->first[c + 1] - cases->first[c]);
	}
	facts.followers.mean = facts.followers.all = fmoe_transitions_count(&model->expert[FMOE_MARKOV]);
	if (protocol->negatives > 0)
		bytes += n_items * (sizeof(uint8_t) + sizeof(int32_t)) + protocol->negatives * (double) sizeof(fnn_real);
	/* an order, what moves in it, and what takes no part */
	bytes += fnn_order_bytes(model->n_items) + n_items * 2 * sizeof(int32_t) + longest * sizeof(int32_t);
	/* items, scores, ranks */
	bytes += answers * 8 * sizeof(int32_t);
	bytes += (double) fmoe_seen_most(cases, 0, cases->count) * sizeof(int32_t);
	bytes += fmin(protocol->top_k, n_items) * (sizeof(int32_t) + sizeof(fnn_real));
	bytes += fmoe_case_block_bytes(main->class, main->config, &facts, &data->events, most, longest);
	return (size_t) fmin(bytes, (double) (SIZE_MAX / 2));
}

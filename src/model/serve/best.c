/*
 * best.c
 *	  The best items for one history, or for many, without a score for every item
 *	  where that is possible.
 *
 * Where scores are products of states with item vectors and a few terms, the scans
 * of nn find the best of them.  Other experts, such as those that count, compute
 * all scores.
 */
#include "model/count/count.h"
#include "model/expert/markov.h"
#include "model/serve/serve_private.h"

#include <math.h>
#include <string.h>

/* From so many items on the codes are quicker: measured at width 64. */
#define CODES_ITEMS 2048
/* Candidates are computed one by one when they are fewer than one in so many items, else by a scan. */
#define FEW_CANDIDATES 8
/* Tokens that are encoded together, so that intermediate results stay in the second-level cache. */
#define PART_TOKENS 512
/* Items whose products are computed before they are offered. */
#define PIECE 1024
#define POLL_PIECES 64
/* An item that was chosen so often is told as much by its vector as by its content. */
#define KNOWN_HALF 10.0
/* Numbers that are added to the products of as many sequences as are looked at together: 64 MB. */
#define ADDED_TOGETHER (16.0 * 1024 * 1024)

/* ---------------------------------------------------------------- the block */

size_t
fmoe_scan_bytes(const FmoeModel *model)
{
	if (!fmoe_has_vectors(model) || model->n_items < 1)
		return 0;
	return fnn_codes_bytes(model->items.rows, model->items.cols);
}

void
fmoe_scan_build(FmoeModel *model, FnnArena *arena, void *memory)
{
	const FnnTensor *table = &model->items;

	fnn_codes_build(arena, table->rows, table->cols, table->value, memory);
	model->scan = memory;
}

void
fmoe_scan_bind(FmoeModel *model, void *memory)
{
	model->scan = memory;
}

/* ---------------------------------------------------------------- sets */

static bool
in_set(const uint64_t *set, int32_t item)
{
	return (set[item / 64] >> item % 64 & 1) != 0;
}

static void
put_in_set(uint64_t *set, int32_t item)
{
	set[item / 64] |= UINT64_C(1) << item % 64;
}

static uint64_t *
new_set(FnnArena *arena, int32_t n_items)
{
	return fnn_zalloc(arena, fnn_set_words(n_items) * sizeof(uint64_t));
}

/* Writes the eligible candidates to item, each once; returns their number. */
static int64_t
distinct_candidates(FnnArena *arena, int32_t n_items, const FmoeEligible *eligible, int32_t *item)
{
	uint64_t   *passed = eligible->passed != NULL ? eligible->passed : new_set(arena, n_items);
	int64_t		n = 0;

	for (int64_t i = 0; i < eligible->n_candidates; i++)
	{
		int32_t		candidate = eligible->candidate[i];

		if (in_set(passed, candidate))
			continue;
		put_in_set(passed, candidate);
		item[n++] = candidate;
	}
	return n;
}

/* The set of all items but the eligible candidates. */
static uint64_t *
other_items(FnnArena *arena, int32_t n_items, const FmoeEligible *eligible)
{
	size_t		words = fnn_set_words(n_items);
	uint64_t   *others = new_set(arena, n_items);

	for (int64_t i = 0; i < eligible->n_candidates; i++)
		if (eligible->candidate[i] < n_items)
			put_in_set(others, eligible->candidate[i]);
	for (size_t w = 0; w < words; w++)
	{
		others[w] = ~others[w];
		if (eligible->passed != NULL)
			others[w] |= eligible->passed[w];
	}
	return others;
}

/* The set of items that may not be among the best; NULL: there are none. */
static const uint64_t *
passed_over(FnnArena *arena, int32_t n_items, const FmoeEligible *eligible)
{
	return eligible->candidate != NULL ? other_items(arena, n_items, eligible) : eligible->passed;
}

/* ---------------------------------------------------------------- scores */

/* Whether the history of the batch's one sequence goes through the main expert's encoder. */
static bool
is_encoded(const FmoeModel *model, FmoeExpertSlot slot, const FmoeBatch *batch)
{
	return slot == FMOE_MAIN && fmoe_has_vectors(model) && batch->last[0] >= 0;
}

/* States hidden[sequences.count, width]; fails where one is not finite. */
static void
encode_finite(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden)
{
	fmoe_encode(model, arena, batch, hidden);
	if (!fnn_all_finite(hidden, (size_t) (batch->sequences.count * model->items.cols)))
		fnn_fail(fnn_arena_host(arena), FNN_NONFINITE, "the state of the model after a history is not finite");
}

/* The state [width] after the batch's one sequence. */
static fnn_real *
encoded(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch)
{
	fnn_real   *hidden = fnn_alloc_reals(arena, 1, model->items.cols);

	encode_finite(model, arena, batch, hidden);
	return hidden;
}

/* Scores [n_items] after the batch's one sequence. */
static fnn_real *
all_scores(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch)
{
	fnn_real   *score = fnn_alloc_reals(arena, 1, model->n_items);

	fmoe_score(model, slot, arena, batch, score);
	return score;
}

/* Offers given items, whose products are computed one by one, with what is added to all (NULL: nothing). */
static void
offer_items(const FnnHost *host, const FnnTensor *table, const fnn_real *hidden, const float *added,
			int64_t n, const int32_t *item, FnnTopk *topk)
{
	fnn_real	product[PIECE];

	for (int64_t first = 0; first < n; first += PIECE)
	{
		int64_t		piece = n - first < PIECE ? n - first : PIECE;

		if (first % (POLL_PIECES * PIECE) == 0)
			fnn_poll(host);
		fnn_products(piece, table->cols, table->value, item + first, hidden, product);
		for (int64_t i = 0; i < piece; i++)
		{
			if (added != NULL)
				product[i] += (fnn_real) added[item[first + i]];
			fnn_topk_offer(topk, item[first + i], 1, &product[i]);
		}
	}
}

/* Offers the items that have terms, except those in a set or a list (NULL: none). */
static void
offer_with_terms(const FmoeModel *model, const fnn_real *hidden, const FmoeTerms *terms,
				 const uint64_t *set, const FnnRows *list, FnnTopk *topk)
{
	const FnnTensor *table = &model->items;
	fnn_real	score[PIECE];

	for (int64_t first = 0; first < terms->n; first += PIECE)
	{
		int64_t		piece = terms->n - first < PIECE ? terms->n - first : PIECE;

		fnn_products(piece, table->cols, table->value, terms->item + first, hidden, score);
		for (int64_t i = 0; i < piece; i++)
		{
			int32_t		item = terms->item[first + i];

			if ((set != NULL && in_set(set, item)) ||
				(list != NULL && fnn_find_ascending(list->count, list->row, item) >= 0))
				continue;
			score[i] += (fnn_real) terms->value[first + i];
			fnn_topk_offer(topk, item, 1, &score[i]);
		}
	}
}

/* The set of the items passed and those that have terms. */
static uint64_t *
passed_and_terms(FnnArena *arena, int32_t n_items, const uint64_t *passed, const FmoeTerms *terms)
{
	uint64_t   *set = new_set(arena, n_items);

	if (passed != NULL)
		memcpy(set, passed, fnn_set_words(n_items) * sizeof(uint64_t));
	for (int64_t k = 0; k < terms->n; k++)
		put_in_set(set, terms->item[k]);
	return set;
}

/* The best by products and terms: items with terms one by one, all others by a scan that passes those over. */
static void
best_by_table(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, FmoeScan scan,
			  const FmoeEligible *eligible, FnnTopk *topk)
{
	const fnn_real *hidden = encoded(model, arena, batch);
	FmoeAdded	added = fmoe_model_added(model, arena, batch, 0, hidden);
	const FnnTensor *table = &model->items;
	const uint64_t *passed = passed_over(arena, model->n_items, eligible);
	bool		by_codes = scan == FMOE_SCAN_INT8 || (scan == FMOE_SCAN_AUTO && model->n_items >= CODES_ITEMS);

	if (added.few.n > 0)
	{
		offer_with_terms(model, hidden, &added.few, passed, NULL, topk);
		passed = passed_and_terms(arena, model->n_items, passed, &added.few);
	}
	if (eligible->candidate != NULL && eligible->n_candidates < model->n_items / FEW_CANDIDATES)
	{
		FmoeEligible others = *eligible;
		int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) eligible->n_candidates);
		int64_t		n;

		others.passed = (uint64_t *) passed;
		n = distinct_candidates(arena, model->n_items, &others, item);
		offer_items(fnn_arena_host(arena), table, hidden, added.all, n, item, topk);
		return;
	}
	fnn_scan(arena, table->rows, table->cols, table->value, by_codes ? model->scan : NULL, hidden, added.all, passed,
			 topk);
}

static void
best_by_scores(const FmoeModel *model, FnnArena *arena, fnn_real *score, const FmoeEligible *eligible, FnnTopk *topk)
{
	const uint64_t *passed = passed_over(arena, model->n_items, eligible);

	for (int32_t i = 0; i < model->n_items && passed != NULL; i++)
		if (in_set(passed, i))
			score[i] = (fnn_real) NAN;
	fnn_topk_offer(topk, 0, model->n_items, score);
}

/* Whether a score is so much work that those of candidates alone are computed. */
static bool
scores_candidates(const FmoeModel *model, FmoeExpertSlot slot, const FmoeBatch *batch, const FmoeEligible *eligible)
{
	return eligible->candidate != NULL && slot == FMOE_MAIN && batch->last[0] >= 0 &&
		!fmoe_only_counts(model->expert[FMOE_MAIN].class);
}

/* The best candidates of a class that scores by itself. */
static void
best_of_candidates(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, const FmoeEligible *eligible,
				   FnnTopk *topk)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) eligible->n_candidates);
	int64_t		n = distinct_candidates(arena, model->n_items, eligible, item);
	fnn_real   *score = fnn_alloc_reals(arena, 1, n);

	main->class->score(main, arena, batch, 0, n, item, score);
	for (int64_t i = 0; i < n; i++)
		fnn_topk_offer(topk, item[i], 1, &score[i]);
}

/* Offers the candidates that are strangers, each once and not those passed; known: the others are what is left. */
static void
offer_strangers(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
				const FmoeEligible *eligible, FmoeEligible *known, FnnTopk *topk)
{
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) eligible->n_candidates);
	uint64_t   *met = new_set(arena, model->strangers.n);
	int64_t		n_known = 0;
	int64_t		n = 0;
	fnn_real   *score;

	/* those from the front, these from the end */
	for (int64_t i = 0; i < eligible->n_candidates; i++)
	{
		int32_t		candidate = eligible->candidate[i];
		int32_t		stranger = candidate - model->n_items;

		if (stranger < 0)
			item[n_known++] = candidate;
		else if (!in_set(met, stranger) && (eligible->passed == NULL || !in_set(eligible->passed, candidate)))
		{
			put_in_set(met, stranger);
			item[eligible->n_candidates - ++n] = candidate;
		}
	}
	*known = *eligible;
	known->candidate = item;
	known->n_candidates = n_known;
	item += eligible->n_candidates - n;
	score = fnn_alloc_reals(arena, 1, n);
	fmoe_scores_of_strangers(model, slot, arena, batch,
							 is_encoded(model, slot, batch) ? encoded(model, arena, batch) : NULL, n, item, score);
	for (int64_t i = 0; i < n; i++)
		fnn_topk_offer(topk, item[i], 1, &score[i]);
}

void
fmoe_best(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
		  FmoeScan scan, const FmoeEligible *eligible, FnnTopk *topk)
{
	FnnMark		mark = fnn_arena_mark(arena);
	FmoeEligible known;

	if (eligible->candidate != NULL && fmoe_has_strangers(model, eligible->n_candidates, eligible->candidate))
	{
		offer_strangers(model, slot, arena, batch, eligible, &known, topk);
		eligible = &known;
	}
	if (is_encoded(model, slot, batch))
		best_by_table(model, arena, batch, scan, eligible, topk);
	else if (scores_candidates(model, slot, batch, eligible))
		best_of_candidates(model, arena, batch, eligible, topk);
	else
		best_by_scores(model, arena, all_scores(model, slot, arena, batch), eligible, topk);
	fnn_arena_reset(arena, mark);
}

/* Adds to score[n] of items what is added to their products. */
static void
add_to_scores(const FmoeAdded *added, int64_t n, const int32_t *item, fnn_real *score)
{
	const FmoeTerms *few = &added->few;

	for (int64_t i = 0; added->all != NULL && i < n; i++)
		score[i] += (fnn_real) added->all[item[i]];
	for (int64_t i = 0; few->n > 0 && i < n; i++)
	{
		int64_t		k = fnn_find_ascending(few->n, few->item, item[i]);

		if (k >= 0)
			score[i] += (fnn_real) few->value[k];
	}
}

/* Scores of items that are no strangers. */
static void
scores_of_known(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
				int64_t n, const int32_t *item, fnn_real *score)
{
	const FmoeExpert *expert = &model->expert[fmoe_scoring_slot(model, slot, batch->last[0] < 0)];
	const FnnTensor *table = &model->items;
	FnnMark		mark = fnn_arena_mark(arena);

	if (is_encoded(model, slot, batch))
	{
		fnn_real   *hidden = encoded(model, arena, batch);
		FmoeAdded	added = fmoe_model_added(model, arena, batch, 0, hidden);

		for (int64_t first = 0; first < n; first += POLL_PIECES * PIECE)
		{
			fnn_poll(fnn_arena_host(arena));
			fnn_products(n - first < POLL_PIECES * PIECE ? n - first : POLL_PIECES * PIECE, table->cols,
						 table->value, item + first, hidden, score + first);
		}
		add_to_scores(&added, n, item, score);
	}
	else
		expert->class->score(expert, arena, batch, 0, n, item, score);
	fnn_arena_reset(arena, mark);
}

void
fmoe_scores_of(const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena, const FmoeBatch *batch,
			   int64_t n, const int32_t *item, fnn_real *score)
{
	FnnMark		mark = fnn_arena_mark(arena);
	int32_t    *some;
	int64_t    *place;
	fnn_real   *of;

	if (!fmoe_has_strangers(model, n, item))
	{
		scores_of_known(model, slot, arena, batch, n, item, score);
		return;
	}
	some = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	place = fnn_alloc(arena, sizeof(int64_t) * (size_t) n);
	of = fnn_alloc_reals(arena, 1, n);
	for (int strangers = 0; strangers < 2; strangers++)
	{
		int64_t		count = 0;

		for (int64_t i = 0; i < n; i++)
			if ((item[i] >= model->n_items) == (strangers == 1))
			{
				place[count] = i;
				some[count++] = item[i];
			}
		if (strangers == 0)
			scores_of_known(model, slot, arena, batch, count, some, of);
		else
			fmoe_scores_of_strangers(model, slot, arena, batch,
									 is_encoded(model, slot, batch) ? encoded(model, arena, batch) : NULL, count,
									 some, of);
		for (int64_t i = 0; i < count; i++)
			score[place[i]] = of[i];
	}
	fnn_arena_reset(arena, mark);
}

/* The items passed and those that have terms, ascending as both lists are. */
static FnnRows
with_terms(FnnArena *arena, const FnnRows *passed, const FmoeTerms *terms)
{
	int32_t    *merged = fnn_alloc(arena, sizeof(int32_t) * (size_t) (passed->count + terms->n));
	int64_t		n = 0;
	int64_t		k = 0;

	for (int64_t i = 0; i < passed->count; i++)
	{
		while (k < terms->n && terms->item[k] <= passed->row[i])
			merged[n++] = terms->item[k++];
		merged[n++] = passed->row[i];
	}
	while (k < terms->n)
		merged[n++] = terms->item[k++];
	return (FnnRows) {.count = n, .row = merged};
}

/* hidden[sequences.count, width]; no sequence is empty. */
static void
encode_by_parts(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, fnn_real *hidden)
{
	const int32_t *offset = batch->sequences.offset;
	int32_t		count = batch->sequences.count;
	int32_t		end;

	for (int32_t first = 0; first < count; first = end)
	{
		FnnMark		mark = fnn_arena_mark(arena);
		FmoeBatch	part;

		for (end = first + 1; end < count && offset[end] - offset[first] < PART_TOKENS;)
			end++;
		part = fmoe_batch_part(arena, batch, first, end - first);
		encode_finite(model, arena, &part, hidden + first * model->items.cols);
		fnn_arena_reset(arena, mark);
	}
}

/* The best for some sequences of a batch, from their states. */
static void
best_of_some(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, int32_t first, int32_t count,
			 const fnn_real *hidden, const uint64_t *never, const FnnRows *passed, FnnTopk *topk)
{
	const FnnTensor *table = &model->items;
	FnnMark		mark = fnn_arena_mark(arena);
	FnnRows    *all_passed = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), count, sizeof(FnnRows)));
	const float **all = fnn_alloc(arena, fnn_mul_size(fnn_arena_host(arena), count, sizeof(float *)));

	for (int32_t i = 0; i < count; i++)
	{
		FmoeAdded	added = fmoe_model_added(model, arena, batch, first + i, hidden + i * table->cols);

		all[i] = added.all;
		all_passed[i] = passed[i];
		if (added.few.n == 0)
			continue;
		offer_with_terms(model, hidden + i * table->cols, &added.few, never, &passed[i], &topk[i]);
		all_passed[i] = with_terms(arena, &passed[i], &added.few);
	}
	fnn_scan_many(arena, table->rows, table->cols, table->value, model->scan, count, hidden, all, never, all_passed,
				  topk);
	fnn_arena_reset(arena, mark);
}

/* How many sequences are looked at together: what a gate adds for each takes a number an item. */
static int32_t
together(const FmoeModel *model, double sequences)
{
	double		most = fmoe_has_gate(model) ? ADDED_TOGETHER / fmax(model->n_items, 1) : sequences;

	return (int32_t) fmax(fmin(most, sequences), 1);
}

void
fmoe_best_many(const FmoeModel *model, FnnArena *arena, const FmoeBatch *batch, const uint64_t *never,
			   const FnnRows *passed, FnnTopk *topk)
{
	int64_t		width = model->items.cols;
	FnnMark		mark = fnn_arena_mark(arena);
	int32_t		count = batch->sequences.count;
	fnn_real   *hidden = fnn_alloc_reals(arena, count, width);
	int32_t		most = together(model, count);

	encode_by_parts(model, arena, batch, hidden);
	for (int32_t first = 0; first < count; first += most)
		best_of_some(model, arena, batch, first, count - first < most ? count - first : most, hidden + first * width,
					 never, passed + first, topk + first);
	fnn_arena_reset(arena, mark);
}

double
fmoe_best_many_bytes(const FmoeModel *model, const FmoeEvents *events, double sequences, double tokens)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	double		n_items = model->n_items;
	double		part = fmin(tokens, PART_TOKENS + model->config.max_length);
	double		followers = fmoe_transitions_count(&model->expert[FMOE_MARKOV]);
	FmoeFacts	facts = {.n_items = model->n_items, .features = main->features, .user_features = main->user_features};
	double		bytes = sequences * (model->items.cols * sizeof(fnn_real) + sizeof(FnnRows) + sizeof(double));

	facts.followers.mean = facts.followers.all = followers;
	bytes += part * fmoe_token_bytes(events);
	bytes += main->class->bytes(main->config, &facts, FMOE_UNRECORDED, part, fmin(sequences, part)) *
		(events->basket != NULL ? FMOE_BASKETS_MORE : 1);
	/* terms, as if every history ended with another item, and what is passed over with them */
	bytes += fmin(followers, sequences * n_items) * (2 * sizeof(int32_t) + sizeof(double)) + tokens * sizeof(int32_t);
	if (fmoe_has_gate(model))
		bytes += together(model, sequences) * n_items * sizeof(float) + n_items * sizeof(double);
	return bytes + fnn_set_words(model->n_items) * sizeof(uint64_t);
}

/* [n_items] cosines of the items' contents with that of one, on the arena. */
static float *
content_cosines(const FmoeModel *model, FnnArena *arena, int32_t item)
{
	const FmoeExpert *content = &model->expert[FMOE_CONTENT];
	FmoeEvents	events = {.item = &item};
	int64_t		begin = 0;
	int64_t		end = 1;
	FmoeBatch  *batch = fmoe_batch(arena, &events, 1, &begin, &end, 1);
	float	   *cosine = fnn_zalloc(arena, sizeof(float) * (size_t) model->n_items);

	content->class->counter->add(content, arena, batch, 0, FMOE_COSINE_SCALE, cosine);
	return cosine;
}

/* How much the vectors say of an item that was chosen so often. */
static double
weight_of_vectors(double level)
{
	double		n = expm1(2 * level);

	return n / (n + KNOWN_HALF);
}

bool
fmoe_mixes_neighbours(const FmoeModel *model)
{
	return fmoe_has_gate(model) && fmoe_content_known(&model->expert[FMOE_CONTENT]);
}

/* The levels of popularity in a model with a gate. */
static double
popularity_of(const FmoeModel *model, int32_t item)
{
	return item >= model->n_items ? 0
		: (double) model->items.value[item * model->items.cols + model->vectors.cols + FMOE_POPULARITY];
}

/* Offers the candidates that are strangers; mine: the vector of the item, of the width of the item table. */
static void
offer_near_strangers(const FmoeModel *model, FnnArena *arena, int32_t item, const fnn_real *mine,
					 const FmoeEligible *eligible, FnnTopk *topk)
{
	const FmoeExpert *content = &model->expert[FMOE_CONTENT];
	FmoeEvents	events = {.item = &item};
	int64_t		begin = 0;
	int64_t		end = 1;
	int64_t		width = model->items.cols;
	double		my_length;

	fnn_lengths(1, model->vectors.cols, mine, &my_length);
	for (int64_t i = 0; i < eligible->n_candidates; i++)
	{
		int32_t		other = eligible->candidate[i];
		const fnn_real *vector = fmoe_vector_of(model, other);
		bool		repeated = false;
		double		value;
		double		length;
		fnn_real	cosine;

		for (int64_t k = 0; k < i && !repeated; k++)
			repeated = eligible->candidate[k] == other;
		if (other < model->n_items || other == item || repeated ||
			(eligible->passed != NULL && in_set(eligible->passed, other)))
			continue;
		fnn_products(1, width, vector, NULL, mine, &cosine);
		fnn_lengths(1, model->vectors.cols, vector, &length);
		cosine = (fnn_real) (my_length * length > 0 ? cosine / (my_length * length) : 0);
		if (fmoe_mixes_neighbours(model))
		{
			content->class->counter->told(content, arena, fmoe_batch(arena, &events, 1, &begin, &end, 1), 0, 1, &other,
										  &value);
			cosine = (fnn_real) (FMOE_COSINE_SCALE * value);
		}
		fnn_topk_offer(topk, other, 1, &cosine);
	}
}

void
fmoe_neighbours(const FmoeModel *model, FnnArena *arena, int32_t item, const FmoeEligible *eligible, FnnTopk *topk)
{
	const FnnTensor *table = fmoe_vectors(model);
	fnn_real	cosine[PIECE];
	double		my_length;
	FnnMark		mark = fnn_arena_mark(arena);
	const uint64_t *passed = passed_over(arena, model->n_items, eligible);
	const float *content = fmoe_mixes_neighbours(model) ? content_cosines(model, arena, item) : NULL;
	double		mine_known = content != NULL ? weight_of_vectors(popularity_of(model, item)) : 1;
	/* 0 in columns of the item table that are not the vectors' */
	fnn_real   *mine = fnn_zalloc(arena, sizeof(fnn_real) * (size_t) table->stride);

	memcpy(mine, fmoe_vector_of(model, item), sizeof(fnn_real) * (size_t) table->cols);
	fnn_lengths(1, table->cols, mine, &my_length);
	for (int64_t first = 0; first < table->rows; first += PIECE)
	{
		int64_t		n = table->rows - first < PIECE ? table->rows - first : PIECE;
		const fnn_real *row = table->value + first * table->stride;

		if (first % (POLL_PIECES * PIECE) == 0)
			fnn_poll(fnn_arena_host(arena));
		fnn_products(n, table->stride, row, NULL, mine, cosine);
		for (int64_t i = 0; i < n; i++)
		{
			int32_t		other = (int32_t) (first + i);
			double		length;
			double		lengths;

			fnn_lengths(1, table->cols, row + i * table->stride, &length);
			lengths = my_length * length;
			cosine[i] = (fnn_real) (lengths > 0 ? cosine[i] / lengths : 0);
			if (content != NULL)
			{
				double		w = fmin(mine_known, weight_of_vectors(popularity_of(model, other)));

				cosine[i] = (fnn_real) (w * cosine[i] + (1 - w) * content[other]);
			}
			if (other == item || (passed != NULL && in_set(passed, other)))
				cosine[i] = (fnn_real) NAN;
		}
		fnn_topk_offer(topk, (int32_t) first, n, cosine);
	}
	if (eligible->candidate != NULL && fmoe_has_strangers(model, eligible->n_candidates, eligible->candidate))
		offer_near_strangers(model, arena, item, mine, eligible, topk);
	fnn_arena_reset(arena, mark);
}

void
fmoe_best_together(const FmoeModel *model, FnnArena *arena, int64_t n, const int32_t *given,
				   const FmoeEligible *eligible, FnnTopk *topk)
{
	FnnMark		mark = fnn_arena_mark(arena);
	fnn_real   *score = fnn_alloc_reals(arena, 1, model->n_items);

	fmoe_together_scores(&model->together, n, given, score);
	for (int64_t g = 0; g < n; g++)
		score[given[g]] = (fnn_real) NAN;
	best_by_scores(model, arena, score, eligible, topk);
	fnn_arena_reset(arena, mark);
}

/*
 * check_strangers.c
 *	  Items that a version does not know, but of which features tell, have the scores that
 *	  the version has over these items too.
 */
#include "check.h"

#include "model/count/count.h"
#include "model/fmoe/fmoe.h"

#include <math.h>
#include <string.h>

#define ITEMS 40
#define STRANGERS 3
#define USERS 12

/* The features of the first n items of some, or of those from n on. */
static FmoeFeatures *
part_of(const FmoeFeatures *all, int32_t first, int32_t n)
{
	FmoeFeatures *part = fnn_alloc(check_arena(), sizeof(FmoeFeatures));

	*part = *all;
	part->n = n;
	for (int i = 0; i < part->count; i++)
	{
		FmoeFeature *feature = &part->feature[i];
		int64_t    *offset = fnn_alloc(check_arena(), sizeof(int64_t) * ((size_t) n + 1));

		if (feature->value != NULL)
		{
			feature->value += (int64_t) first * feature->width;
			continue;
		}
		for (int32_t k = 0; k <= n; k++)
			offset[k] = feature->offset[first + k] - feature->offset[first];
		if (feature->weight != NULL)
			feature->weight += feature->offset[first];
		feature->term += feature->offset[first];
		feature->offset = offset;
	}
	return part;
}

static FmoeConfig
config_of(const char *name)
{
	bool		featured = name[0] == '+';
	FmoeConfig	config = check_config(name + featured);
	FmoeMixtureOptions mixture = {.gate = FMOE_GATE_LINEAR};
	FmoeTowerOptions tower = {.featured = {true, 0}};

	config.epochs = 2;
	config.width = 8;
	config.max_length = 20;
	config.holdout = FMOE_HOLDOUT_TEST;
	mixture.featured.features = featured;
	tower.gated.gate = featured ? FMOE_GATE_ALL : FMOE_GATE_NONE;
	if (strcmp(name + featured, "fmoe") == 0)
		memcpy(config.own.bytes, &mixture, sizeof(mixture));
	else if (!fmoe_only_counts(fmoe_expert_classes[config.model]))
		*check_tower(&config) = tower;
	return config;
}

/* A history that ends with some strangers. */
static FmoeBatch *
history_of(const FmoeDataset *data, int u, int strangers, FmoeEvents *events)
{
	int64_t		n = data->offset[u + 1] - data->offset[u];
	int32_t    *item = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) (n + STRANGERS));
	int64_t		begin = u == 0 ? n : 0;
	int64_t		end = n + strangers;

	memcpy(item, data->events.item + data->offset[u], sizeof(int32_t) * (size_t) n);
	for (int s = 0; s < STRANGERS; s++)
		item[n + s] = ITEMS + (s + u) % STRANGERS;
	*events = (FmoeEvents) {.item = item};
	return fmoe_batch(check_arena(), events, 1, &begin, &end, 20);
}

static void
check_scores(const FmoeModel *met, const FmoeModel *more, const FmoeDataset *data)
{
	int32_t		item[ITEMS + STRANGERS];

	for (int32_t i = 0; i < ITEMS + STRANGERS; i++)
		item[i] = ITEMS + STRANGERS - 1 - i;
	for (int u = 0; u < USERS; u++)
	{
		FmoeEvents	events;
		FmoeBatch  *batch = history_of(data, u, 1 + u % STRANGERS, &events);
		fnn_real	is[ITEMS + STRANGERS];
		fnn_real	was[ITEMS + STRANGERS];
		int32_t		best[2][10];
		fnn_real	score[2][10];

		batch->keeps_seen = u % 2 == 1;
		fmoe_scores_of(met, FMOE_MAIN, check_arena(), batch, ITEMS + STRANGERS, item, is);
		fmoe_scores_of(more, FMOE_MAIN, check_arena(), batch, ITEMS + STRANGERS, item, was);
		for (int i = 0; i < ITEMS + STRANGERS; i++)
			CHECK(check_close(is[i], was[i], 2e-5), "user %d, item %d: %g instead of %g", u, (int) item[i],
				  (double) is[i], (double) was[i]);
		for (int s = 0; s < 2; s++)
		{
			FmoeEligible eligible = {.candidate = item, .n_candidates = ITEMS + STRANGERS - u % 4};
			FnnTopk		topk;

			eligible.passed = fnn_zalloc(check_arena(), sizeof(uint64_t) * fnn_set_words(ITEMS + STRANGERS));
			eligible.passed[0] |= UINT64_C(1) << (ITEMS + u % STRANGERS) | 2;
			fnn_topk_init(&topk, 10, best[s], score[s]);
			fmoe_best(s == 0 ? met : more, FMOE_MAIN, check_arena(), batch, FMOE_SCAN_EXACT, &eligible, &topk);
			fnn_topk_sort(&topk);
		}
		for (int i = 0; i < 10; i++)
			CHECK(check_close(score[0][i], score[1][i], 2e-5), "user %d: number %d has %g instead of %g", u, i,
				  (double) score[0][i], (double) score[1][i]);
	}
}

/* What a score is made of adds up to it. */
static void
check_parts(const FmoeModel *met, const FmoeDataset *data)
{
	int32_t		item[2] = {ITEMS + 1, 7};
	fnn_real	score[2];
	double		weight[FMOE_EXPLAINED_MAX];
	double		part[2 * FMOE_EXPLAINED_MAX];
	FmoeEvents	events;
	FmoeBatch  *batch = history_of(data, 3, 2, &events);
	int			parts = fmoe_parts_count(met);

	fmoe_scores_of(met, FMOE_MAIN, check_arena(), batch, 2, item, score);
	fmoe_contributions(met, check_arena(), batch, 2, item, weight, part);
	for (int i = 0; i < 2; i++)
	{
		double		sum = 0;

		for (int p = 0; p < parts; p++)
			sum += part[i * parts + p];
		CHECK(check_close(sum, score[i], 2e-5), "item %d: parts add up to %g, the score is %g", (int) item[i], sum,
			  (double) score[i]);
	}
}

/* Neighbours of a stranger, where there are vectors. */
static void
check_neighbours(const FmoeModel *met, const FmoeModel *more)
{
	int32_t		item[2][5];
	fnn_real	score[2][5];

	for (int s = 0; s < 2; s++)
	{
		FmoeEligible eligible = {
			.passed = fnn_zalloc(check_arena(), sizeof(uint64_t) * fnn_set_words(ITEMS + STRANGERS))
		};
		FnnTopk		topk;

		for (int k = 0; k < STRANGERS; k++)
			eligible.passed[0] |= UINT64_C(1) << (ITEMS + k);
		fnn_topk_init(&topk, 5, item[s], score[s]);
		fmoe_neighbours(s == 0 ? met : more, check_arena(), ITEMS + 1, &eligible, &topk);
		fnn_topk_sort(&topk);
	}
	for (int i = 0; i < 5; i++)
		CHECK(check_close(score[0][i], score[1][i], 2e-5), "neighbour %d: %g instead of %g", i, (double) score[0][i],
			  (double) score[1][i]);
}

/* What an item has that nobody chose may be made beforehand. */
static void
check_unchosen_row(FmoeModel *model, const FmoeModel *met, const FmoeFeatures *theirs)
{
	size_t		bytes = fmoe_unchosen_bytes(model);
	size_t		vectors = sizeof(fnn_real) * (size_t) (STRANGERS * model->items.cols);
	fnn_real   *row = fnn_zalloc(check_arena(), bytes);
	FmoeModel  *again = fnn_zalloc(check_arena(), sizeof(FmoeModel));

	if (bytes == 0)
		return;
	fmoe_unchosen_build(model, check_arena(), row);
	model->unchosen = row;
	fmoe_meet(again, check_arena(), model, theirs);
	CHECK(memcmp(again->strangers.vector, met->strangers.vector, vectors) == 0, "made beforehand, vectors differ");
	row[0] += 1;
	fmoe_meet(again, check_arena(), model, theirs);
	CHECK(memcmp(again->strangers.vector, met->strangers.vector, vectors) != 0, "what was made is not used");
	model->unchosen = NULL;
}

void
check_strangers(void)
{
	static const char *const models[] = {"content", "sasrec", "+sasrec", "fmoe", "+fmoe", "+gru4rec"};
	FmoeDataset *data = check_walks(USERS, ITEMS, 3, 18, 5);
	FmoeFeatures *all = check_random_features(ITEMS + STRANGERS, 77);
	int32_t		number[ITEMS];

	for (int i = 0; i < ITEMS; i++)
		number[i] = i;
	data->features = part_of(all, 0, ITEMS);
	for (size_t m = 0; m < sizeof(models) / sizeof(models[0]); m++)
	{
		FmoeConfig	config = config_of(models[m]);
		FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
		FmoeModel  *more = fnn_zalloc(check_arena(), sizeof(FmoeModel));
		FmoeModel  *met = fnn_zalloc(check_arena(), sizeof(FmoeModel));

		check_begin("%s: strangers are read by their features, as if the version knew them", models[m]);
		if (fmoe_only_counts(fmoe_expert_classes[config.model]))
			fmoe_count_experts(model, check_arena(), &config, data);
		else
			fmoe_trainer_model(check_finish_run(&config, data), NULL, model);
		for (int slot = 0; slot < FMOE_WEIGHED_MAX && fmoe_has_gate(model); slot++)
			for (int kept = 0; kept < 2; kept++)
				model->gate.weight[slot][kept] = 0.3 + 0.1 * slot + kept;
		CHECK(fmoe_can_meet(model), "it cannot");
		fmoe_model_extend(more, check_arena(), model, ITEMS + STRANGERS, number, all);
		fmoe_meet(met, check_arena(), model, part_of(all, ITEMS, STRANGERS));
		check_scores(met, more, data);
		check_unchosen_row(model, met, part_of(all, ITEMS, STRANGERS));
		if (!fmoe_only_counts(fmoe_expert_classes[config.model]))
		{
			check_neighbours(met, more);
			check_parts(met, data);
		}
		check_end();
	}
}

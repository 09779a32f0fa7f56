/*
 * check_gate.c
 *	  The log-linear gate: what is served is the weighed sum of what the experts read,
 *	  and the weights are those that tell events best that were kept back.
 */
#include "check.h"

#include "model/count/count.h"
#include "model/fmoe/fmoe.h"

#include <math.h>
#include <string.h>

#define ITEMS CHECK_SIZE(3000, 300)
#define USERS 40

static FmoeConfig
gated_config(void)
{
	FmoeConfig	config = check_config("fmoe");

	*(FmoeMixtureOptions *) config.own.bytes = (FmoeMixtureOptions) {.gate = FMOE_GATE_LINEAR};
	config.width = 16;
	config.epochs = CHECK_SIZE(4, 1);
	config.max_length = 20;
	config.learning_rate = 0.01;
	config.holdout = FMOE_HOLDOUT_TEST;
	return config;
}

/* A trained model, whose catalogue is large enough for codes. */
static FmoeModel *
gated_model(const FmoeDataset *data, const FmoeConfig *config)
{
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeConfig *own = fnn_alloc(check_arena(), sizeof(FmoeConfig));

	*own = *config;
	fmoe_trainer_model(check_finish_run(own, data), NULL, model);
	return model;
}

/* The same of a model and of its copy. */
static void
draw_weights(FmoeModel *model, FmoeModel *bound, uint64_t seed)
{
	for (int slot = 0; slot < fmoe_weighed(&model->gate); slot++)
		for (int kept = 0; kept < 2; kept++)
			model->gate.weight[slot][kept] = fnn_random_normal(seed, 5, (uint64_t) (2 * slot + kept));
	model->gate.weight[FMOE_NEIGHBOURS][0] = 0;
	bound->gate = model->gate;
}

/* What the scores should be, by the definition, from the experts' own scores. */
static void
plain_scores(const FmoeModel *model, const FmoeBatch *batch, double *score)
{
	int32_t		n = model->n_items;
	const FnnTensor *vectors = fmoe_vectors(model);
	const FmoeExpert *popularity = &model->expert[FMOE_POPULARITY];
	fnn_real   *of = fnn_alloc_reals(check_arena(), 1, n);
	FnnTensor  *hidden;
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	hidden = model->expert[FMOE_MAIN].class->encode(&model->expert[FMOE_MAIN], &tape, batch, FMOE_LAST_TOKENS);
	for (int32_t i = 0; i < n; i++)
	{
		score[i] = 0;
		for (int p = 0; p < model->gate.parts; p++)
		{
			double		product = 0;

			for (int64_t c = model->gate.begin[p]; c < model->gate.begin[p + 1]; c++)
				product += (double) hidden->value[c] * vectors->value[i * vectors->stride + c];
			score[i] += model->gate.weight[fmoe_weighed_part(p)][batch->keeps_seen] * product / 2;
		}
	}
	for (int slot = FMOE_POPULARITY; slot < FMOE_GATED; slot++)
	{
		const FmoeExpert *expert = &model->expert[slot];

		expert->class->score(expert, check_arena(), batch, 0, n, NULL, of);
		for (int32_t i = 0; i < n; i++)
		{
			double		pop = log1p(((float *) popularity->array[0].data)[i]) / 2;
			double		read = of[i] - FMOE_TIE_BREAK * pop;

			if (slot == FMOE_POPULARITY)
				read = pop;
			if (slot == FMOE_MARKOV)
			{
				FnnRows		last = fmoe_last_items(batch, 0);
				double		share = 0;

				for (int64_t k = 0; k < last.count; k++)
				{
					const int64_t *offset = expert->array[0].data;
					const int32_t *to = expert->array[1].data;
					const float *count = expert->array[2].data;
					double		sum = 0;

					for (int64_t e = offset[last.row[k]]; e < offset[last.row[k] + 1]; e++)
						sum += count[e];
					for (int64_t e = offset[last.row[k]]; e < offset[last.row[k] + 1]; e++)
						if (to[e] == i)
							share += count[e] / sum / (double) last.count;
				}
				read = log1p(100 * share) / 2;
			}
			score[i] += model->gate.weight[slot][batch->keeps_seen] * read;
		}
	}
}

/* Two lent encoders beside the own one; what they know is chance. */
static void
lend_two(FmoeConfig *config)
{
	FmoeMixtureOptions *own = (FmoeMixtureOptions *) config->own.bytes;

	own->experts.count = 2;
	own->experts.lent[0] = (FmoeLentEncoder)
	{
		.name = "north.shop", .shape =
		{
			.encoder = 1, .width = 6, .layers = 1, .heads = 1
			}
	};
	own->experts.lent[1] = (FmoeLentEncoder)
	{
		.name = "south.shop", .shape =
		{
			.encoder = 0, .width = 8, .layers = 1, .heads = 2
			}
	};
}

typedef struct Stored
{
	FmoeModel  *model;
	FnnArray	arrays[128];
	int			n;
} Stored;

/* Whose scores a gate weighs. */
typedef enum Under
{
	OWN,
	OWN_AND_LENT,
	OF_FEATURES,				/* the own expert's vectors are computed */
	OF_FEATURES_AND_LENT,
	TOWER,						/* a class that is no mixture */
	TOWER_OF_FEATURES
} Under;

static const char *const under_names[] = {
	"", ", also of lent ones", ", over features", ", over features and of lent ones", ", of another class",
	", of another class over features"
};

static FmoeConfig
config_under(Under under)
{
	FmoeConfig	config = gated_config();
	FmoeMixtureOptions *own = (FmoeMixtureOptions *) config.own.bytes;
	FmoeConfig	tower = check_config("gru4rec");

	own->featured.features = under == OF_FEATURES || under == OF_FEATURES_AND_LENT;
	if (under != OWN)
		config.epochs = 1;
	if (under == OWN_AND_LENT || under == OF_FEATURES_AND_LENT)
		lend_two(&config);
	if (under < TOWER)
		return config;
	config.model = tower.model;
	memset(&config.own, 0, sizeof(config.own));
	*check_tower(&config) = (FmoeTowerOptions)
	{
		.featured =
		{
			under == TOWER_OF_FEATURES, 0
			},
			.gated =
		{
			.gate = FMOE_GATE_ALL
			}
	};
	return config;
}

/* Encoded with what is stored of the item vectors, states are those that features give. */
static void
check_states(const FmoeModel *model, const FmoeBatch *batch)
{
	FmoeExpert	computing = model->expert[FMOE_MAIN];
	FnnTensor  *state[2];
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	for (int i = 0; i < 2; i++)
	{
		state[i] = computing.class->encode(&computing, &tape, batch, FMOE_LAST_TOKENS);
		computing.items = NULL;
	}
	for (int64_t c = 0; c < state[0]->cols; c++)
		CHECK(check_close(state[0]->value[c], state[1]->value[c], 1e-5), "column %d of a state", (int) c);
}

static void
check_served(Under under)
{
	bool		lent = under == OWN_AND_LENT || under == OF_FEATURES_AND_LENT;
	FmoeDataset *data = check_walks(USERS, ITEMS, 4, 12, 31);
	FmoeConfig	config = config_under(under);
	FmoeModel  *model;
	void	   *codes;
	double	   *expected = fnn_alloc(check_arena(), sizeof(double) * ITEMS);
	fnn_real   *all = fnn_alloc_reals(check_arena(), 2, ITEMS);
	fnn_real   *again = all + ITEMS;
	FmoeModel  *bound = fnn_alloc(check_arena(), sizeof(FmoeModel));
	Stored		stored;

	data->features = check_random_features(ITEMS, 32);
	model = gated_model(data, &config);
	codes = fnn_alloc(check_arena(), fmoe_scan_bytes(model));
	fmoe_scan_build(model, check_arena(), codes);
	stored.n = fmoe_model_arrays(model, stored.arrays, 128);
	fmoe_model_bind(bound, check_host(), &model->config, model->n_items, stored.n, stored.arrays);
	check_begin("scores of a gate are the weighed sum of what the experts read, whoever asks%s",
				under_names[under]);
	CHECK(fmoe_weighed(&model->gate) == FMOE_GATED + (lent ? 2 : 0), "%d experts", fmoe_weighed(&model->gate));
	CHECK(!lent || strcmp(fmoe_weighed_name(&config, FMOE_GATED + 1), "south.shop") == 0, "names");
	for (int u = 0; u < 6; u++)
	{
		FmoeBatch  *batch = fmoe_batch(check_arena(), &data->events, 1, &data->offset[u], &data->offset[u + 1], 20);
		int32_t		item[2][10];
		fnn_real	score[2][10];
		double		weight[FMOE_EXPLAINED_MAX];
		double		part[10 * FMOE_EXPLAINED_MAX];
		FnnTopk		topk[2];
		FmoeEligible everything = {0};
		int			larger = 0;

		check_states(model, batch);
		draw_weights(model, bound, (uint64_t) u);
		batch->keeps_seen = u % 2 == 1;
		plain_scores(model, batch, expected);
		fmoe_score(model, FMOE_MAIN, check_arena(), batch, all);
		fmoe_score(bound, FMOE_MAIN, check_arena(), batch, again);
		CHECK(memcmp(all, again, sizeof(fnn_real) * ITEMS) == 0, "user %d: stored and bound, scores differ", u);
		for (int32_t i = 0; i < ITEMS; i++)
			CHECK(check_close(all[i], expected[i], 2e-5), "user %d item %d: %g instead of %g", u, i, all[i],
				  expected[i]);
		for (int s = 0; s < 2; s++)
		{
			fnn_topk_init(&topk[s], 10, item[s], score[s]);
			fmoe_best(model, FMOE_MAIN, check_arena(), batch, s == 0 ? FMOE_SCAN_EXACT : FMOE_SCAN_INT8, &everything,
					  &topk[s]);
			fnn_topk_sort(&topk[s]);
		}
		CHECK(memcmp(item[0], item[1], sizeof(item[0])) == 0 && memcmp(score[0], score[1], sizeof(score[0])) == 0,
			  "user %d: a scan of codes answers otherwise", u);
		for (int32_t i = 0; i < ITEMS; i++)
			larger += all[i] > score[0][9] + 1e-4;
		CHECK(larger <= 9, "user %d: %d items have larger scores than the tenth", u, larger);
		fmoe_scores_of(model, FMOE_MAIN, check_arena(), batch, 10, item[0], score[1]);
		CHECK(memcmp(score[0], score[1], sizeof(score[0])) == 0, "user %d: asked for alone, scores differ", u);
		fmoe_contributions(model, check_arena(), batch, 10, item[0], weight, part);
		for (int i = 0; i < 10; i++)
		{
			double		sum = 0;

			for (int p = 0; p < fmoe_parts_count(model); p++)
				sum += part[i * fmoe_parts_count(model) + p];
			CHECK(check_close(sum, score[0][i], 2e-5), "user %d: parts add up to %g, the score is %g", u, sum,
				  score[0][i]);
		}
	}
	check_end();
}

static double
ndcg_of(const FmoeModel *model, const FmoeDataset *data)
{
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) (cases->first[cases->count] + 1));
	FmoeProtocol protocol = {.exclude_seen = true};

	fmoe_rank_cases(model, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, rank, NULL);
	return fmoe_mean_metric(FMOE_NDCG, 10, cases, rank);
}

/* Walks of which the encoder, that hardly learns, knows nothing and counts know much. */
static void
check_gate_weights(void)
{
	double		gained = 0;

	check_begin("a gate tells events that nobody learned from better than its own expert");
	for (uint64_t seed = 0; seed < CHECK_SIZE(3, 1); seed++)
	{
		FmoeDataset *data = check_walks(CHECK_SIZE(300, 60), 80, 6, 14, 50 + seed);
		FmoeConfig	config = gated_config();
		FmoeModel  *model;
		FmoeModel  *own = fnn_alloc(check_arena(), sizeof(FmoeModel));

		config.epochs = 2;
		config.seed = (int64_t) seed;
		model = gated_model(data, &config);
		*own = *model;
		for (int slot = 0; slot < FMOE_GATED; slot++)
			own->gate.weight[slot][0] = slot == FMOE_MAIN;
		gained += ndcg_of(model, data) - ndcg_of(own, data);
		CHECK(model->gate.weight[FMOE_REPEAT][0] == 0, "what was had is no answer, but repeat weighs %g",
			  model->gate.weight[FMOE_REPEAT][0]);
	}
	CHECK(gained / CHECK_SIZE(3, 1) > CHECK_SIZE(0.01, -1), "NDCG@10 %g more on the mean", gained / 3);
	check_end();

	check_begin("without events kept back a gate has the weights that it begins with");
	{
		FmoeConfig	config = gated_config();
		FmoeModel  *model;

		config.holdout = FMOE_HOLDOUT_NONE;
		config.epochs = 1;
		model = gated_model(check_walks(40, 30, 6, 9, 3), &config);
		CHECK(model->gate.weight[FMOE_MAIN][0] == 0.3 && model->gate.weight[FMOE_SEQUENCE][0] == 0.5 &&
			  model->gate.weight[FMOE_REPEAT][1] == 0.5, "own %g, sequence %g", model->gate.weight[FMOE_MAIN][0],
			  model->gate.weight[FMOE_SEQUENCE][0]);
	}
	check_end();
}

/* ---------------------------------------------------------------- as arrays */

static void
bind_stored(void *context)
{
	Stored	   *stored = context;
	FmoeModel	bound;

	fmoe_model_bind(&bound, check_host(), &stored->model->config, stored->model->n_items, stored->n, stored->arrays);
}

static void
check_stored(void)
{
	FmoeDataset *data = check_walks(60, 40, 6, 9, 71);
	FmoeConfig	config = gated_config();
	FmoeModel  *model = gated_model(data, &config);
	Stored		stored = {.model = model};
	FmoeModel	bound;
	FmoeModel	again;
	FmoeBatch  *batch = fmoe_batch(check_arena(), &data->events, 1, &data->offset[0], &data->offset[1], 20);
	fnn_real	before[40];
	fnn_real	after[40];
	double		weight = model->gate.weight[FMOE_SEQUENCE][0];

	check_begin("a gate is stored and bound again, and checked");
	stored.n = fmoe_model_arrays(model, stored.arrays, 128);
	CHECK(stored.n <= fmoe_model_arrays_max(model), "%d arrays", stored.n);
	fmoe_model_bind(&bound, check_host(), &model->config, model->n_items, stored.n, stored.arrays);
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, before);
	fmoe_score(&bound, FMOE_MAIN, check_arena(), batch, after);
	CHECK(memcmp(before, after, sizeof(before)) == 0, "other scores");
	model->gate.weight[FMOE_SEQUENCE][0] = NAN;
	check_fails(FNN_FORMAT, "gate.weight.sequence", bind_stored, &stored);
	model->gate.weight[FMOE_SEQUENCE][0] = weight;
	for (int i = 0; i < stored.n; i++)
		if (strcmp(stored.arrays[i].name, "gate.weight.own") == 0)
			stored.arrays[i].name[0] = 'x';
	check_fails(FNN_FORMAT, "gate.weight.own", bind_stored, &stored);
	check_end();

	check_begin("a gate that was made before there was an expert answers as it did");
	for (int kept = 0; kept < 2; kept++)
		model->gate.weight[FMOE_CONTENT][kept] = 0;
	fmoe_score(model, FMOE_MAIN, check_arena(), batch, before);
	stored.n = fmoe_model_arrays(model, stored.arrays, 128);
	for (int i = 0; i < stored.n; i++)
		while (i < stored.n && strstr(stored.arrays[i].name, "content") != NULL)
			stored.arrays[i] = stored.arrays[--stored.n];
	fmoe_model_bind(&bound, check_host(), &model->config, model->n_items, stored.n, stored.arrays);
	fmoe_score(&bound, FMOE_MAIN, check_arena(), batch, after);
	CHECK(memcmp(before, after, sizeof(before)) == 0, "other scores");
	/* and so once more, stored by this build */
	stored.n = fmoe_model_arrays(&bound, stored.arrays, 128);
	fmoe_model_bind(&again, check_host(), &model->config, model->n_items, stored.n, stored.arrays);
	fmoe_score(&again, FMOE_MAIN, check_arena(), batch, after);
	CHECK(memcmp(before, after, sizeof(before)) == 0, "other scores");
	check_end();
}

/* What the encoder learned of an item that nobody chose is that it is no answer. */
static void
check_unchosen(void)
{
	FmoeDataset *data = check_walks(60, 40, 6, 9, 71);
	FmoeConfig	config = gated_config();
	FmoeModel  *model;
	const FnnTensor *vectors;

	check_begin("under a gate an item that nobody chose has the mean vector");
	data->n_items = 43;
	model = gated_model(data, &config);
	vectors = fmoe_vectors(model);
	for (int64_t c = 0; c < vectors->cols; c++)
	{
		double		mean = 0;
		int			chosen = 0;

		for (int32_t i = 0; i < 40; i++)
			if (((float *) model->expert[FMOE_POPULARITY].array[0].data)[i] > 0)
			{
				mean += vectors->value[i * vectors->stride + c];
				chosen++;
			}
		CHECK(chosen > 10 && check_close(vectors->value[42 * vectors->stride + c], mean / chosen, 1e-5), "column %d: %g",
			  (int) c, (double) vectors->value[42 * vectors->stride + c]);
	}
	check_end();
}

/* The own expert learns as it would alone. */
static void
check_own_expert(bool featured)
{
	FmoeDataset *data = check_walks(60, 40, 6, 9, 71);
	FmoeConfig	config = gated_config();
	FmoeConfig	alone = check_config("sasrec");
	FmoeFeaturedOptions options = {featured, featured ? 0.2 : 0};
	FmoeModel  *model;
	FmoeModel  *sasrec;

	check_begin("under a gate without lent experts the encoder is that of sasrec, to the bit%s",
				featured ? ", over features" : "");
	if (featured)
		data->features = check_item_features(40);
	((FmoeMixtureOptions *) config.own.bytes)->featured = check_tower(&alone)->featured = options;
	model = gated_model(data, &config);
	alone.width = config.width;
	alone.epochs = config.epochs;
	alone.max_length = config.max_length;
	alone.learning_rate = config.learning_rate;
	alone.holdout = config.holdout;
	sasrec = gated_model(data, &alone);
	CHECK(model->params.count == sasrec->params.count, "%d and %d slices", model->params.count, sasrec->params.count);
	for (int i = 0; i < sasrec->params.count; i++)
	{
		const FnnTensor *a = &model->expert[FMOE_MAIN].tensor[i];
		const FnnTensor *b = &sasrec->expert[FMOE_MAIN].tensor[i];

		CHECK(strcmp(model->params.list[i].name, sasrec->params.list[i].name) == 0 && a->cols == b->cols &&
			  memcmp(a->value, b->value, sizeof(fnn_real) * (size_t) (a->rows * a->cols)) == 0,
			  "slice \"%s\" differs", sasrec->params.list[i].name);
	}
	check_end();
}

static void
check_folds(void)
{
	FmoeDataset *data = check_walks(80, 40, 6, 9, 72);
	FmoeConfig	config = gated_config();
	FmoeModel  *model = gated_model(data, &config);
	FmoeModel  *one = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_VALIDATION, FMOE_HOLDOUT_TEST);
	int32_t    *rank = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) cases->first[cases->count]);
	int32_t    *alone = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) cases->first[cases->count]);
	FmoeProtocol protocol = {.exclude_seen = true};
	int			seen[2] = {0, 0};

	check_begin("each case is judged by the weights that did not see it");
	CHECK(model->gate.has_folds, "there are no folds");
	for (int slot = 0; slot < FMOE_GATED; slot++)
	{
		model->gate.fold_weight[0][slot] = slot == FMOE_POPULARITY;
		model->gate.fold_weight[1][slot] = slot == FMOE_SEQUENCE;
	}
	fmoe_rank_by_folds(model, check_arena(), data, cases, &protocol, 0, cases->count, rank);
	for (int fold = 0; fold < 2; fold++)
	{
		*one = *model;
		for (int slot = 0; slot < FMOE_GATED; slot++)
			one->gate.weight[slot][0] = model->gate.fold_weight[fold][slot];
		fmoe_rank_cases(one, FMOE_MAIN, check_arena(), data, cases, &protocol, 0, cases->count, alone, NULL);
		for (int64_t c = 0; c < cases->count; c++)
			if (fmoe_quarter(model, cases, c) % 2 == fold)
			{
				seen[fold]++;
				CHECK(rank[cases->first[c]] == alone[cases->first[c]], "case %d has another rank", (int) c);
			}
	}
	CHECK(seen[0] > 20 && seen[1] > 20, "folds of %d and %d cases", seen[0], seen[1]);
	check_end();
}

/* Users who choose at random. */
static FmoeDataset *
random_choices(uint64_t seed)
{
	FmoeDataset *data = check_walks(250, 100, 8, 12, seed);

	for (int64_t user = 0; user < data->n_users; user++)
		for (int64_t e = data->offset[user]; e < data->offset[user + 1]; e++)
		{
			((int32_t *) data->events.item)[e] = (int32_t) fnn_random_below(seed, 6, (uint64_t) e, 100);
			((double *) data->events.time)[e] = 1e9 + 86400.0 * (double) (e - data->offset[user]);
		}
	return data;
}

/* Standard errors by which a new model leads the better one of popularity and transitions, as it is judged. */
static double
errors_ahead(const FmoeModel *model, const FmoeDataset *data)
{
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_VALIDATION, FMOE_HOLDOUT_TEST);
	size_t		bytes = sizeof(int32_t) * (size_t) cases->first[cases->count];
	int32_t    *rank = fnn_alloc(check_arena(), bytes);
	int32_t    *counted = fnn_alloc(check_arena(), bytes);
	FmoeProtocol protocol = {.exclude_seen = true};
	double		least = INFINITY;

	fmoe_rank_by_folds(model, check_arena(), data, cases, &protocol, 0, cases->count, rank);
	for (int slot = FMOE_POPULARITY; slot <= FMOE_MARKOV; slot++)
	{
		double		error;
		double		lead;

		fmoe_rank_cases(model, (FmoeExpertSlot) slot, check_arena(), data, cases, &protocol, 0, cases->count, counted,
						NULL);
		error = fmoe_paired_error(FMOE_NDCG, 10, cases, rank, counted);
		lead = fmoe_mean_metric(FMOE_NDCG, 10, cases, rank) - fmoe_mean_metric(FMOE_NDCG, 10, cases, counted);
		least = fmin(least, error > 0 ? lead / error : 0);
	}
	return least;
}

/*
 * Of what is chosen at random nothing can be learned, so a lead over counting is chance: in
 * one of a hundred models it is more than 2.326 errors, and its mean is not above zero.
 */
static void
check_chance(void)
{
	int			n = CHECK_SIZE(24, 1);
	int			ahead = 0;
	double		sum = 0;

	check_begin("what is chosen at random does not make a gate look better than counting");
	for (int i = 0; i < n; i++)
	{
		FnnMark		mark = fnn_arena_mark(check_arena());
		FmoeDataset *data = random_choices(200 + (uint64_t) i);
		FmoeConfig	config = gated_config();
		double		errors;

		config.seed = i;
		/* so that no epoch is chosen by the cases: it is the gate that is looked at */
		config.epochs = 1;
		errors = errors_ahead(gated_model(data, &config), data);
		ahead += errors > 2.326;
		sum += errors;
		fnn_arena_reset(check_arena(), mark);
	}
	/* P(more than 2 of 24 | 1 %) is 0.2 %; the mean of 24 is within 3 of its standard errors of 1 / sqrt(24) */
	CHECK(ahead <= 2, "%d of %d are ahead by more than 2.326 errors", ahead, n);
	CHECK(n == 1 || sum / n < 3 / sqrt(n), "by %g errors on the mean", sum / n);
	check_end();
}

void
check_gate(void)
{
	for (int under = OWN; under <= TOWER_OF_FEATURES; under++)
		check_served((Under) under);
	check_unchosen();
	check_own_expert(false);
	check_own_expert(true);
	check_gate_weights();
	check_stored();
	check_folds();
	check_chance();
}

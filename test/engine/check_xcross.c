/*
 * check_xcross.c
 *	  A base, adapters of it, and several side by side.
 */
#include "check_xcross.h"
#include "nn/base/tape_private.h"

/* Gives a model the values of slices of another, whose names have another beginning. */
static void
take_values(FmoeModel *to, const char *to_prefix, const FmoeModel *from, const char *from_prefix)
{
	for (int i = 0; i < from->params.count; i++)
	{
		const FnnParam *param = &from->params.list[i];
		const FnnTensor *tensor = &from->expert[FMOE_MAIN].tensor[i];
		char		name[2 * FNN_NAME_MAX];
		int			k;

		if (strncmp(param->name, from_prefix, strlen(from_prefix)) != 0)
			continue;
		snprintf(name, sizeof(name), "%s%s", to_prefix, param->name + strlen(from_prefix));
		k = fnn_params_find(&to->params, name);
		if (k < 0)
			continue;
		memcpy(to->expert[FMOE_MAIN].tensor[k].value, tensor->value,
			   sizeof(fnn_real) * (size_t) (tensor->rows * tensor->cols));
	}
	fmoe_model_compute_items(to, check_arena());
}


/* Fills lora[n] with experts of one base, and an xcross of these; noise moves what begins as 0. */
static FmoeModel *
experts_of_one_base(int n, FmoeModel **lora)
{
	FmoeConfig	config = xcross_config(n);
	FmoeConfig	plain_config = config_of("foundation");
	FmoeModel  *base = make_model(&plain_config, 3, 0.2, false);
	FmoeModel  *xcross = make_model(&config, 5, 0, false);

	take_values(xcross, "base.", base, "");
	for (int m = 0; m < n; m++)
	{
		FmoeConfig	each = lora_config(1 + m % 3, 2 + m);
		char		prefix[FNN_NAME_MAX];

		lora[m] = make_model(&each, (uint64_t) (10 + m), 0.2, false);
		take_values(lora[m], "base.", base, "");
		fmoe_built_prefix(m + 1, prefix);
		take_values(xcross, prefix, lora[m], "");
	}
	return xcross;
}

static void
check_starts(void)
{
	FmoeConfig	plain_config = config_of("foundation");
	FmoeConfig	fresh_config = lora_config(2, 3);
	FmoeModel  *base;
	FmoeModel  *fresh;
	FmoeModel  *lora[3];
	FmoeModel  *xcross;
	fnn_real   *scores;
	fnn_real   *others[3];

	check_begin("an adapter that has learned nothing is the base, to the bit");
	base = make_model(&plain_config, 3, 0.2, false);
	fresh = make_model(&fresh_config, 4, 0, false);
	take_values(fresh, "base.", base, "");
	CHECK(memcmp(scores_of(base), scores_of(fresh), sizeof(fnn_real) * 4 * N_ITEMS) == 0, "scores differ");
	check_end();

	check_begin("integrators of 0 are the mean of the experts");
	xcross = experts_of_one_base(3, lora);
	scores = scores_of(xcross);
	for (int m = 0; m < 3; m++)
		others[m] = scores_of(lora[m]);
	for (int i = 0; i < 4 * N_ITEMS; i++)
		CHECK(check_close(scores[i], (others[0][i] + others[1][i] + others[2][i]) / 3, 1e-5), "score %d", i);
	CHECK(!check_close(others[0][0], others[1][0], 1e-3), "all experts are the same");
	check_end();

	check_begin("what was merged before gives the same scores");
	xcross->expert[FMOE_MAIN].merged = fmoe_xcross_class.building->merge(&xcross->expert[FMOE_MAIN], check_host());
	CHECK(memcmp(scores, scores_of(xcross), sizeof(fnn_real) * 4 * N_ITEMS) == 0, "scores differ");
	lora[1]->expert[FMOE_MAIN].merged = fmoe_lora_class.building->merge(&lora[1]->expert[FMOE_MAIN], check_host());
	CHECK(memcmp(others[1], scores_of(lora[1]), sizeof(fnn_real) * 4 * N_ITEMS) == 0, "scores differ");
	check_end();

	check_begin("one expert is that expert");
	xcross = experts_of_one_base(1, lora);
	CHECK(memcmp(scores_of(xcross), scores_of(lora[0]), sizeof(fnn_real) * 4 * N_ITEMS) == 0, "scores differ");
	check_end();
}

/* The base's maps with the mean of what the adapters add to them, written out. */
static void
check_mean_of_weights(void)
{
	FmoeConfig	config = xcross_config(3);
	FmoeConfig	plain_config = config_of("foundation");
	FmoeModel  *lora[3];
	FmoeModel  *base;
	FmoeModel  *mean;
	FmoeModel  *by_layers = experts_of_one_base(3, lora);
	fnn_real   *scores;

	check_begin("the mean of the adapters' weights is a base with the mean of their maps");
	xcross_own(&config)->mix = FMOE_MIX_WEIGHTS;
	mean = make_model(&config, 5, 0, false);
	take_values(mean, "base.", by_layers, "base.");
	take_values(mean, "expert.", by_layers, "expert.");
	CHECK(fnn_params_find(&mean->params, "integrator.0.weight") < 0, "there are integrators");
	base = make_model(&plain_config, 3, 0.2, false);
	for (int i = 0; i < base->params.count; i++)
	{
		FnnTensor  *slice = &base->expert[FMOE_MAIN].tensor[i];
		fnn_real   *merged[3];

		for (int m = 0; m < 3; m++)
		{
			const FmoeExpert *expert = &lora[m]->expert[FMOE_MAIN];

			merged[m] = ((FnnTensor *) fmoe_lora_class.building->merge(expert, check_host()))[i].value;
		}
		for (int64_t e = 0; e < slice->rows * slice->cols; e++)
			slice->value[e] = (merged[0][e] + merged[1][e] + merged[2][e]) / 3;
	}
	fmoe_model_compute_items(base, check_arena());
	scores = scores_of(mean);
	for (int i = 0; i < 4 * N_ITEMS; i++)
		CHECK(check_close(scores[i], scores_of(base)[i], 1e-4), "score %d: %g instead of %g", i, (double) scores[i],
			  (double) scores_of(base)[i]);
	CHECK(!check_close(scores[0], scores_of(by_layers)[0], 1e-4), "it is the mean of scores");
	mean->expert[FMOE_MAIN].merged = fmoe_xcross_class.building->merge(&mean->expert[FMOE_MAIN], check_host());
	CHECK(memcmp(scores, scores_of(mean), sizeof(fnn_real) * 4 * N_ITEMS) == 0, "merged scores differ");
	check_end();
}

/* ---------------------------------------------------------------- parameters */

static int64_t
trained(const FmoeConfig *config)
{
	FnnParams	params = {0};
	int64_t		n = 0;

	fmoe_declare_class(&params, check_host(), fmoe_expert_classes[config->model], config,
					   &(FmoeFacts) {.n_items = N_ITEMS});
	for (int i = 0; i < params.count; i++)
		n += params.list[i].frozen ? 0 : params.list[i].rows * params.list[i].cols;
	return n;
}

static void
check_counts(void)
{
	FmoeConfig	config = xcross_config(3);
	const int64_t d = WIDTH;
	/* query, key and value, output, inner, outer: rank (in + out) of each */
	const int64_t adapter = 2 * LAYERS * (5 * d + 6 * d);
	FmoeConfig	lora = lora_config(2, 3);

	check_begin("trained numbers are those of integrators, weights and own adapter");
	for (int n = 1; n <= FMOE_LENT_MAX; n++)
	{
		config = xcross_config(n);
		CHECK(trained(&config) == 2 * n * (n - 1) * n * d * LAYERS + n, "%lld with %d experts",
			  (long long) trained(&config), n);
	}
	config = xcross_config(2);
	xcross_own(&config)->own_adapter = true;
	CHECK(trained(&config) == 2 * 3 * 2 * 3 * d * LAYERS + 3 + adapter, "%lld with an own adapter",
		  (long long) trained(&config));
	xcross_own(&config)->mix = FMOE_MIX_WEIGHTS;
	CHECK(trained(&config) == adapter, "%lld on top of the mean", (long long) trained(&config));
	xcross_own(&config)->own_adapter = false;
	xcross_own(&config)->head = FMOE_XCROSS_POOLER;
	CHECK(trained(&config) == d * d + 2 * d + 1, "%lld of a pooler and its head", (long long) trained(&config));
	CHECK(trained(&lora) == adapter, "%lld of an adapter", (long long) trained(&lora));
	((FmoeLoraOptions *) lora.own.bytes)->adapt_inputs = true;
	CHECK(trained(&lora) == adapter + 2 * (3 + d) + 2 * (6 + d), "%lld of one with inputs",
		  (long long) trained(&lora));
	check_end();
}

/* ---------------------------------------------------------------- gradients */

typedef struct Problem
{
	const FmoeExpert *expert;
	const FmoeBatch *batch;
	int			n_negatives;
} Problem;

static FmoeGoal
goal_of(const Problem *problem)
{
	static const int32_t negative[] = {6, 2, 0};

	return (FmoeGoal)
	{
		.target = target, .weight = 1.0 / 7, .position_weight = 1.0 / 11, .sequence_weight = 1.0 / 4, .step = 1,
			.seed = 7, .stream = 3, .n_negatives = problem->n_negatives, .negative = negative, .beta = 0.9
	};
}

static void
run_problem(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Problem *problem = context;
	FmoeGoal	goal = goal_of(problem);

	(void) inputs;
	problem->expert->class->learn(problem->expert, tape, problem->batch, &goal);
}

static void
check_learning(const char *what, const FmoeConfig *config, int n_negatives)
{
	FmoeModel  *model = make_model(config, 7, 0.3, true);
	FmoeExpert *expert = &model->expert[FMOE_MAIN];
	Problem		problem = {.expert = expert, .batch = histories(), .n_negatives = n_negatives};
	FnnTensor **inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) expert->params->count);
	int			n = 0;

	check_begin("gradients of %s", what);
	for (int i = 0; i < expert->params->count; i++)
	{
		CHECK(expert->params->list[i].frozen == (expert->tensor[i].grad == NULL), "gradient of \"%s\"",
			  expert->params->list[i].name);
		if (!expert->params->list[i].frozen)
			inputs[n++] = &expert->tensor[i];
	}
	check_gradients(n, inputs, run_problem, &problem);
	check_end();
}

static void
check_all_learning(void)
{
	FmoeConfig	config = config_of("foundation");

	config.dropout = 0.2;
	check_learning("a base", &config, 0);
	config.loss = FMOE_LOSS_GBCE;
	config.negatives = 3;
	check_learning("a base with sampled negatives", &config, 3);
	config = lora_config(2, 3);
	check_learning("an adapter through the frozen base", &config, 0);
	((FmoeLoraOptions *) config.own.bytes)->adapt_inputs = true;
	check_learning("an adapter of the inputs too", &config, 0);
	config = xcross_config(3);
	config.dropout = 0.2;
	check_learning("integrators through the frozen layers of all streams", &config, 0);
	config.loss = FMOE_LOSS_GBCE;
	config.negatives = 3;
	check_learning("integrators with sampled negatives", &config, 3);
	config = xcross_config(2);
	xcross_own(&config)->integrator = FMOE_INTEGRATOR_LAST;
	check_learning("integrators of the last token", &config, 0);
	xcross_own(&config)->integrator = FMOE_INTEGRATOR_TOKEN;
	xcross_own(&config)->own_adapter = true;
	check_learning("integrators and an own adapter", &config, 0);
	xcross_own(&config)->head = FMOE_XCROSS_POOLER;
	xcross_own(&config)->head_negatives = 3;
	check_learning("a pooler, integrators and an own adapter", &config, 0);
	xcross_own(&config)->integrator = FMOE_INTEGRATOR_LAST;
	xcross_own(&config)->head_negatives = 100;
	check_learning("a pooler over all items, and integrators of the last token", &config, 0);
	xcross_own(&config)->head = FMOE_XCROSS_DOT;
	xcross_own(&config)->mix = FMOE_MIX_WEIGHTS;
	check_learning("an adapter on top of the mean of others", &config, 0);
}

/* Items 0 to 4 are of source 1, the others of source 2, 1 of both. */
static void
check_sources(void)
{
	static const int32_t source[] = {1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2};
	static const int64_t offset[] = {0, 4, 5, 9, 11};
	FmoeConfig	config = config_of("foundation");
	FmoeModel  *model = make_model(&config, 7, 0.3, true);
	FmoeExpert *expert = &model->expert[FMOE_MAIN];
	FmoeDataset data = {.n_users = 4, .n_events = 11, .n_items = N_ITEMS, .offset = offset,
		.events = {.item = item, .source = source}};
	Problem		problem = {.expert = expert,
		.batch = fmoe_batch(check_arena(), &data.events, 4, begin, end, 6)};
	FnnTensor **inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) expert->params->count);
	FnnTape		tape;
	double		apart;

	check_begin("gradients of a base whose events have sources");
	expert->prepared = fmoe_foundation_class.prepare(expert, check_arena(), &data);
	for (int i = 0; i < expert->params->count; i++)
		inputs[i] = &expert->tensor[i];
	check_gradients(expert->params->count, inputs, run_problem, &problem);
	check_end();

	check_begin("fewer items to be told from are a smaller loss");
	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	run_problem(&tape, NULL, &problem);
	apart = tape.loss;
	expert->prepared = NULL;
	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	run_problem(&tape, NULL, &problem);
	CHECK(apart > 0 && apart < tape.loss, "%g with sources, %g without", apart, tape.loss);
	check_end();
}

/* Recorded operations, and those among them that work for the gradient of a weight. */
static void
count_products(const FmoeConfig *config, int *operations, int *weights)
{
	FmoeModel  *model = make_model(config, 7, 0.3, true);
	FmoeExpert *expert = &model->expert[FMOE_MAIN];
	Problem		problem = {.expert = expert, .batch = histories()};
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), true, 1, 1);
	run_problem(&tape, NULL, &problem);
	*operations = *weights = 0;
	for (const FnnNode *node = tape.last; node != NULL; node = node->previous)
	{
		const FnnTensor *weight = node->in[1];

		(*operations)++;
		/* of linear maps: weights have no more rows than the widest map, states as many as tokens */
		*weights += weight != NULL && weight->grad != NULL && weight->cols >= WIDTH && weight->rows != 1 &&
			weight->rows != problem.batch->n_tokens;
	}
}

static void
check_products(void)
{
	FmoeConfig	config = xcross_config(3);
	int			operations;
	int			weights;

	check_begin("nothing is computed for the gradient of what is frozen");
	count_products(&config, &operations, &weights);
	CHECK(weights == LAYERS, "%d weights of maps get a gradient where %d integrators learn", weights, LAYERS);
	config.layers = 1;
	count_products(&config, &operations, &weights);
	/* the integrator, three integrated streams, their sum: below there is nothing to learn, so nothing is recorded */
	CHECK(weights == 1 && operations == 5, "%d weights, %d operations in one layer", weights, operations);
	config = lora_config(2, 3);
	count_products(&config, &operations, &weights);
	/* of each map its product, and that of A and B */
	CHECK(weights == 5 * LAYERS * 2, "%d of an adapter", weights);
	check_end();
}

/* ---------------------------------------------------------------- parts */

/* Where the first stream alone takes of another, the second, after the first layer. */
static void
check_shares(FmoeExpert *expert, const FmoeBatch *batch)
{
	FnnTensor  *first = &expert->tensor[fnn_params_find(expert->params, "integrator.0.weight")];
	size_t		bytes = sizeof(fnn_real) * (size_t) (first->rows * first->cols);
	fnn_real   *kept = fnn_alloc(check_arena(), bytes);
	fnn_real	share[4 * LAYERS * 3];

	memcpy(kept, first->value, bytes);
	memset(first->value, 0, bytes);
	fmoe_xcross_class.weigh_layers(expert, check_arena(), batch, share);
	for (int s = 0; s < 4; s++)
		for (int m = 0; m < 3; m++)
			CHECK(check_close(share[6 * s + m], 1.0 / 3, 1e-6), "of weights 0, sequence %d", s);
	first->value[0] = 1;
	fmoe_xcross_class.weigh_layers(expert, check_arena(), batch, share);
	for (int s = 0; s < 4; s++)
	{
		const fnn_real *part = share + 6 * s;

		/* the sizes are 1, 1 + beta |z| and 1 */
		CHECK(check_close(part[0], part[2], 1e-6) && part[1] > part[0] + 1e-3, "who gives counts more, sequence %d",
			  s);
		CHECK(check_close(part[0] + part[1] + part[2], 1, 1e-5), "sum of sequence %d", s);
	}
	memcpy(first->value, kept, bytes);
}

static void
check_parts(void)
{
	FmoeModel  *lora[3];
	FmoeModel  *xcross = experts_of_one_base(3, lora);
	FmoeExpert *expert = &xcross->expert[FMOE_MAIN];
	FmoeBatch  *batch = histories();
	fnn_real   *scores;
	fnn_real	weight[4 * 3];
	fnn_real	share[4 * LAYERS * 3];
	static const int32_t all[N_ITEMS] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
	double		part[N_ITEMS * 3];
	FnnTensor  *b;
	fnn_real   *two;

	check_begin("parts sum up to the score, shares to 1");
	for (int layer = 0; layer < LAYERS; layer++)
	{
		char		name[FNN_NAME_MAX];
		FnnTensor  *slice;

		snprintf(name, sizeof(name), "integrator.%d.weight", layer);
		slice = &expert->tensor[fnn_params_find(&xcross->params, name)];
		fnn_random_normals(9, (uint64_t) layer, 0, 0.3, slice->rows * slice->cols, slice->value);
	}
	scores = scores_of(xcross);
	fmoe_xcross_class.weigh(expert, check_arena(), batch, weight);
	fmoe_xcross_class.contribute(expert, check_arena(), batch, 2, NULL, N_ITEMS, all, part);
	for (int i = 0; i < N_ITEMS; i++)
		CHECK(check_close(part[3 * i] + part[3 * i + 1] + part[3 * i + 2], scores[2 * N_ITEMS + i], 1e-5), "item %d",
			  i);
	for (int s = 0; s < 4; s++)
		CHECK(check_close(weight[3 * s] + weight[3 * s + 1] + weight[3 * s + 2], 1, 1e-5) && weight[3 * s] > 0,
			  "shares of sequence %d", s);
	fmoe_weigh_layers(xcross, check_arena(), batch, share);
	for (int r = 0; r < 4 * LAYERS; r++)
		CHECK(check_close(share[3 * r] + share[3 * r + 1] + share[3 * r + 2], 1, 1e-5), "shares of row %d", r);
	/* w is a third each */
	for (int s = 0; s < 4; s++)
		for (int m = 0; m < 3; m++)
			CHECK(check_close(weight[3 * s + m] * 3, share[6 * s + m] + share[6 * s + 3 + m] + 1.0 / 3, 1e-5),
				  "layers of sequence %d, part %d", s, m);
	CHECK(!check_close(share[0], share[3], 1e-3), "the same after both layers");
	check_end();

	check_begin("shares after a layer are the sizes of its coefficients");
	check_shares(expert, batch);
	check_end();

	check_begin("who is left out says nothing");
	expert->without = 2;
	two = fnn_alloc_reals(check_arena(), 4, N_ITEMS);
	memcpy(two, scores_of(xcross), sizeof(fnn_real) * 4 * N_ITEMS);
	b = &expert->tensor[fnn_params_find(&xcross->params, "expert.2.adapter.b")];
	fnn_random_normals(11, 1, 0, 1, b->rows * b->cols, b->value);
	scores = scores_of(xcross);
	for (int i = 0; i < 4 * N_ITEMS; i++)
		CHECK(check_close(two[i], scores[i], 1e-5), "score %d is %g, without knowing the other %g", i,
			  (double) scores[i], (double) two[i]);
	expert->without = 0;
	check_end();
}

/* ---------------------------------------------------------------- memory */

static void
check_bytes_of(const FmoeConfig *config)
{
	FmoeModel  *model = make_model(config, 7, 0.3, true);
	FmoeExpert *expert = &model->expert[FMOE_MAIN];
	FmoeFacts	facts = {.n_items = N_ITEMS, .features = expert->features};
	FmoeBatch  *batch = histories();
	FnnArena   *arena = fnn_arena_create(check_host(), SIZE_MAX);
	FmoeGoal	goal = goal_of(&(Problem) {.expert = expert, .batch = batch});
	FnnTape		tape;
	double		estimate = expert->class->bytes(config, &facts, FMOE_RECORDED, 11, 0) +
		fnn_softmax_loss_reals(11, N_ITEMS, WIDTH) * sizeof(fnn_real);

	fnn_tape_begin(&tape, arena, true, 1, 1);
	expert->class->learn(expert, &tape, batch, &goal);
	CHECK(fnn_arena_peak(arena) <= estimate + 65536, "%s takes %zu bytes, said %.0f", expert->class->name,
		  fnn_arena_peak(arena), estimate);
	fnn_arena_destroy(arena);
}

static void
check_bytes(void)
{
	FmoeConfig	config = config_of("foundation");

	check_begin("steps take no more memory than they say");
	check_bytes_of(&config);
	config = lora_config(2, 3);
	check_bytes_of(&config);
	config = xcross_config(3);
	check_bytes_of(&config);
	xcross_own(&config)->mix = FMOE_MIX_WEIGHTS;
	check_bytes_of(&config);
	xcross_own(&config)->own_adapter = true;
	check_bytes_of(&config);
	xcross_own(&config)->mix = FMOE_MIX_LAYERS;
	xcross_own(&config)->head = FMOE_XCROSS_POOLER;
	xcross_own(&config)->head_negatives = 5;
	config.batch_size = 4;
	check_bytes_of(&config);
	check_end();
}

void
check_xcross(void)
{
	check_starts();
	check_mean_of_weights();
	check_counts();
	check_all_learning();
	check_sources();
	check_products();
	check_parts();
	check_bytes();
}

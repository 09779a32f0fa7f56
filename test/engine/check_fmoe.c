/*
 * check_fmoe.c
 *	  Mixtures of experts: who learns from what, and that shutting the gate for
 *	  all but one leaves that one.
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define N_ITEMS 9

static int
class_number(const char *name)
{
	int			i = 0;

	while (strcmp(fmoe_expert_classes[i]->name, name) != 0)
		i++;
	return i;
}

/* Rows of fmoe_encoders. */
enum
{
	SASREC,
	GRU4REC
};

/* An own sasrec of width 4, lent a gru4rec of width 6 and a sasrec of width 2. */
static FmoeConfig
mixture_config(void)
{
	FmoeConfig	config = {.model = class_number("fmoe"), .width = 4, .layers = 1, .heads = 2, .max_length = 6,
		.loss = FMOE_LOSS_SOFTMAX, .negatives = 4, .calibration = 0.75, .seed = 7};

	*check_own(&config) = (FmoeMixtureOptions)
	{
		.lora_alpha = 3, .gate_layers = 2,.experts.count = 2
	};
	check_own(&config)->experts.lent[0] = (FmoeLentEncoder)
	{
		.name = "north.shop", .shape =
		{
			GRU4REC, 6, 1, 1
			}
	};
	check_own(&config)->experts.lent[1] = (FmoeLentEncoder)
	{
		.name = "south.shop", .shape =
		{
			SASREC, 2, 2, 1
			}
	};
	return config;
}

/* Histories, and what follows each of their events. */
static const int32_t item[] = {1, 4, 1, 0, 2, 3, 5, 1, 2, 7, 8};
static const int32_t target[] = {4, 1, 0, 6, 3, 5, 1, 2, 0, 8, 2};
static const int64_t begin[] = {0, 4, 5, 9};
static const int64_t end[] = {4, 5, 9, 11};

static FmoeBatch *
histories(int64_t n)
{
	return fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, n, begin, end, 6);
}

/* A model over drawn values, its count experts from the histories; noise moves what is drawn as 0 or 1. */
static FmoeModel *
make_mixture(const FmoeConfig *config, double noise, bool with_grad)
{
	static const int64_t offset[] = {0, 4, 5, 9, 11};
	FmoeDataset data = {.n_users = 4, .n_events = 11, .n_items = N_ITEMS, .offset = offset, .events = {.item = item}};

	return check_model(config, &data, 7, noise, with_grad);
}

static FmoeGoal
make_goal(const FmoeBatch *batch)
{
	return (FmoeGoal)
	{
		.target = target, .weight = 1.0 / batch->n_tokens, .position_weight = 1.0 / batch->n_tokens,
			.sequence_weight = 1.0 / batch->sequences.count,
			.step = 20000, .seed = 7, .stream = 3
	};
}

/* ---------------------------------------------------------------- gradients */

typedef struct Problem
{
	const FmoeExpert *expert;
	const FmoeBatch *batch;
	bool		weighed;		/* targets count differently, and some not at all */
} Problem;

static void
run_problem(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Problem *problem = context;
	FmoeGoal	goal = make_goal(problem->batch);
	static const int32_t some[] = {4, 1, -1, 6, 3, 5, -1, 2, 0, 8, -1};
	static const float weights[] = {1, 2.5f, 0, 0.25f, 1, 3, 0, 0.5f, 1, 4, 0};

	if (problem->weighed)
	{
		goal.target = some;
		goal.target_weight = weights;
	}
	problem->expert->class->learn(problem->expert, tape, problem->batch, &goal);
}

/*
 * Differences see through a gate's constants, derivatives must not: so the
 * members are checked where nobody learns to gate, and the gate by itself.
 */
static void
check_mixture_gradients(const char *what, const FmoeConfig *config, bool gate_alone, bool weighed)
{
	FmoeModel  *model = make_mixture(config, 0.3, true);
	FmoeExpert *expert = &model->expert[FMOE_MAIN];
	Problem		problem = {.expert = expert, .batch = histories(4), .weighed = weighed};
	FnnTensor **inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) expert->params->count);
	int			n = 0;

	check_begin("gradients of a mixture, %s", what);
	for (int i = 0; i < expert->params->count; i++)
	{
		const FnnParam *param = &expert->params->list[i];
		bool		gate = strncmp(param->name, "gate.", 5) == 0;

		CHECK(param->frozen == (expert->tensor[i].grad == NULL), "gradient of \"%s\"", param->name);
		if (!param->frozen && gate == gate_alone)
			inputs[n++] = &expert->tensor[i];
	}
	CHECK(n > 5, "%d parameters", n);
	check_gradients(n, inputs, run_problem, &problem);
	check_end();
}

static void
check_all_gradients(void)
{
	FmoeConfig	config = mixture_config();

	config.dropout = 0.2;
	check_mixture_gradients("the gate", &config, true, false);
	check_own(&config)->gate_loss = 0.7;
	check_own(&config)->gate_layers = 1;
	check_mixture_gradients("the gate with its own loss", &config, true, false);
	check_own(&config)->count_experts = true;
	check_mixture_gradients("the gate over count experts", &config, true, false);
	check_mixture_gradients("the gate over count experts, by weights", &config, true, true);
	check_own(&config)->gate_top = 2;
	check_mixture_gradients("the gate over the best two", &config, true, false);
	check_own(&config)->gate = FMOE_GATE_BATCH;
	check_own(&config)->gate_top = 0;
	check_mixture_gradients("one gate for all", &config, true, false);

	config = mixture_config();
	check_own(&config)->gate = FMOE_GATE_EQUAL;
	config.dropout = 0.2;
	check_mixture_gradients("members", &config, false, false);
	check_own(&config)->lora_rank = 2;
	check_own(&config)->kl = 0.5;
	check_mixture_gradients("members with adapters and the KL term", &config, false, false);
	check_mixture_gradients("members with adapters and the KL term, by weights", &config, false, true);
	check_own(&config)->head = FMOE_HEAD_OWN;
	check_own(&config)->item_graph = true;
	check_mixture_gradients("members with the item graph and heads of their own", &config, false, false);
	check_own(&config)->contrast = 0.4;
	check_own(&config)->lora_rank = 0;
	check_mixture_gradients("members with the contrastive loss", &config, false, false);
}

/* The mixture's own loss moves the gate and nothing else. */
static void
check_stop_gradients(void)
{
	FmoeConfig	config = mixture_config();
	FmoeModel  *gated;
	FmoeModel  *equal;
	FmoeExpert *a;
	FmoeExpert *b;
	double		largest = 0;

	check_begin("the mixture's loss leaves every parameter but the gate's alone");
	check_own(&config)->lora_rank = 2;
	check_own(&config)->head = FMOE_HEAD_OWN;
	gated = make_mixture(&config, 0, true);
	check_own(&config)->gate = FMOE_GATE_EQUAL;
	equal = make_mixture(&config, 0, true);
	a = &gated->expert[FMOE_MAIN];
	b = &equal->expert[FMOE_MAIN];
	for (int k = 0; k < 2; k++)
	{
		FmoeExpert *expert = k == 0 ? a : b;
		Problem		problem = {.expert = expert, .batch = histories(4)};
		FnnTape		tape;

		fnn_tape_begin(&tape, check_arena(), true, 1, 1);
		run_problem(&tape, NULL, &problem);
		fnn_tape_backward(&tape);
	}
	for (int i = 0; i < b->params->count; i++)
	{
		size_t		bytes = sizeof(fnn_real) * a->tensor[i].rows * a->tensor[i].cols;

		CHECK(strcmp(a->params->list[i].name, b->params->list[i].name) == 0, "slice %d", i);
		if (a->tensor[i].grad != NULL)
			CHECK(memcmp(a->tensor[i].grad, b->tensor[i].grad, bytes) == 0, "gradient of \"%s\"",
				  a->params->list[i].name);
	}
	for (int i = b->params->count; i < a->params->count; i++)
		for (int64_t k = 0; a->tensor[i].grad != NULL && k < a->tensor[i].rows * a->tensor[i].cols; k++)
			largest = fmax(largest, fabs((double) a->tensor[i].grad[k]));
	CHECK(a->params->count > b->params->count && largest > 1e-6, "the gate has a gradient: %g", largest);
	check_end();
}

/* ---------------------------------------------------------------- identities */

static fnn_real *
scores_of(const FmoeModel *model, const FmoeBatch *batch)
{
	fnn_real   *scores = fnn_alloc_reals(check_arena(), batch->sequences.count, N_ITEMS);

	fmoe_score(model, FMOE_MAIN, check_arena(), batch, scores);
	return scores;
}

/* [n_tokens, item width] */
static const fnn_real *
states_of(const FmoeModel *model, const FmoeBatch *batch)
{
	const FmoeExpert *main = &model->expert[FMOE_MAIN];
	FnnTape		tape;

	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	return main->class->encode(main, &tape, batch, FMOE_ALL_TOKENS)->value;
}

static void
set_slice(FmoeExpert *expert, const char *name, const FnnTensor *from, int64_t column)
{
	int			index = fnn_params_find(expert->params, name);
	FnnTensor  *to = &expert->tensor[index];

	CHECK(index >= 0, "no \"%s\"", name);
	for (int64_t r = 0; r < to->rows; r++)
		for (int64_t c = 0; c < to->cols; c++)
			to->value[r * to->cols + c] = from->value[r * from->cols + column + c];
}

/* The gate open for one member gives that expert's scores; for the own one, those it has as a model by itself. */
static void
check_one_expert(void)
{
	FmoeConfig	config = mixture_config();
	FmoeModel  *mixture = make_mixture(&config, 0.3, false);
	FmoeExpert *main = &mixture->expert[FMOE_MAIN];
	FmoeConfig	own = fmoe_encoder_config(&config);
	FmoeModel  *single = make_mixture(&own, 0, false);
	FmoeBatch  *batch = histories(4);
	fnn_real   *expected;
	fnn_real   *got;

	check_begin("a gate that is open for one expert gives that expert");
	CHECK(strcmp(fmoe_expert_classes[own.model]->name, "sasrec") == 0, "the own expert's class");
	for (int i = 0; i < single->expert[FMOE_MAIN].params->count; i++)
	{
		const char *name = single->expert[FMOE_MAIN].params->list[i].name;

		set_slice(&single->expert[FMOE_MAIN], name, &main->tensor[fnn_params_find(main->params, name)], 0);
	}
	main->without = ~1u;
	got = scores_of(mixture, batch);
	expected = scores_of(single, batch);
	for (int i = 0; i < 4 * N_ITEMS; i++)
		CHECK(check_close(got[i], expected[i], 1e-6), "score %d is %.9g, alone %.9g", i, (double) got[i],
			  (double) expected[i]);
	/* sums of products have another order in a wider table; the states are the same to the bit */
	for (int t = 0; t < batch->n_tokens; t++)
		CHECK(memcmp(states_of(mixture, batch) + t * 12, states_of(single, batch) + t * 4, 4 * sizeof(fnn_real)) == 0,
			  "state after token %d", t);

	for (int member = 1; member < 3; member++)
	{
		FnnTensor  *hidden;
		FnnTape		tape;

		main->without = ~(1u << member);
		got = scores_of(mixture, batch);
		fnn_tape_begin(&tape, check_arena(), false, 0, 0);
		hidden = main->class->encode(main, &tape, batch, FMOE_LAST_TOKENS);
		for (int s = 0; s < 4; s++)
			for (int64_t c = 0; c < hidden->cols; c++)
				if (member == 1 ? c < 4 || c >= 10 : c < 10)
					CHECK(hidden->value[s * hidden->cols + c] == 0, "column %d of member %d", (int) c, member);
		CHECK(fabs((double) got[0] - (double) got[1]) > 1e-6, "scores differ between items");
	}
	check_end();
}

static void
check_adapters(void)
{
	FmoeConfig	config = mixture_config();
	FmoeModel  *bare = make_mixture(&config, 0, false);
	FmoeModel  *adapted;
	FmoeBatch  *batch = histories(4);
	FmoeExpert *expert;
	fnn_real   *expected = scores_of(bare, batch);
	fnn_real   *got;
	int			b;

	check_begin("adapters whose B is 0 change nothing, and others do");
	check_own(&config)->lora_rank = 3;
	adapted = make_mixture(&config, 0, false);
	expert = &adapted->expert[FMOE_MAIN];
	for (int i = 0; i < bare->expert[FMOE_MAIN].params->count; i++)
		set_slice(expert, bare->expert[FMOE_MAIN].params->list[i].name, &bare->expert[FMOE_MAIN].tensor[i], 0);
	got = scores_of(adapted, batch);
	CHECK(memcmp(got, expected, sizeof(fnn_real) * 4 * N_ITEMS) == 0, "the same bits");
	b = fnn_params_find(expert->params, "expert.1.adapter.b");
	CHECK(b >= 0, "there is a B");
	for (int64_t i = 0; i < expert->tensor[b].rows * expert->tensor[b].cols; i++)
		expert->tensor[b].value[i] = (fnn_real) 0.5;
	got = scores_of(adapted, batch);
	CHECK(memcmp(got, expected, sizeof(fnn_real) * 4 * N_ITEMS) != 0, "other bits");
	check_end();
}

/* Nobody's answer depends on who else asks. */
static void
check_independence(FmoeGating gate)
{
	FmoeConfig	config = mixture_config();
	FmoeModel  *model;
	fnn_real   *together;
	fnn_real	weight[4 * 5];
	fnn_real	alone[5];
	FmoeBatch  *batch = histories(4);
	int			gated;

	check_begin("with gate %d an answer does not depend on the batch", (int) gate);
	check_own(&config)->gate = gate;
	check_own(&config)->count_experts = true;
	check_own(&config)->item_graph = true;
	model = make_mixture(&config, 0.3, false);
	gated = fmoe_mixture_gated(&config);
	CHECK(gated == 5, "%d experts", gated);
	CHECK(strcmp(fmoe_mixture_gated_name(&config, 0), "own") == 0 &&
		  strcmp(fmoe_mixture_gated_name(&config, 2), "south.shop") == 0 &&
		  strcmp(fmoe_mixture_gated_name(&config, 4), "markov") == 0, "their names");
	together = scores_of(model, batch);
	fmoe_weigh(model, check_arena(), batch, weight);
	for (int s = 0; s < 4; s++)
	{
		FmoeBatch  *single = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 1, begin + s, end + s, 6);
		fnn_real   *scores = scores_of(model, single);
		double		sum = 0;

		fmoe_weigh(model, check_arena(), single, alone);
		for (int i = 0; i < gated; i++)
		{
			CHECK(check_close(alone[i], weight[s * gated + i], 1e-6), "weight %d of history %d", i, s);
			sum += weight[s * gated + i];
		}
		CHECK(check_close(sum, 1, 1e-5), "weights of history %d sum to %g", s, sum);
		for (int i = 0; i < N_ITEMS; i++)
			CHECK(check_close(scores[i], together[s * N_ITEMS + i], 1e-5), "score %d of history %d", i, s);
	}
	check_end();
}

/* The softmax of markov's scores is the smoothed share of the row, that of popularity's the share of events. */
static void
check_count_experts(void)
{
	FmoeConfig	config = mixture_config();
	FmoeModel  *model;
	static const int64_t first = 0;
	static const int64_t second = 1;
	FmoeBatch  *batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 1, &first, &second, 6);
	const int32_t last = 1;
	double		share[N_ITEMS];
	double		all = 0;

	check_begin("gated count experts score what was counted");
	check_own(&config)->count_experts = true;
	model = make_mixture(&config, 0.3, false);
	for (int v = 0; v < N_ITEMS; v++)
	{
		share[v] = 0.5;
		for (int k = 0; k < 11; k++)
			share[v] += item[k] == v;
		all += share[v];
	}
	for (int expert = 3; expert < 5; expert++)
	{
		fnn_real   *score;
		double		sum = 0;

		model->expert[FMOE_MAIN].without = ~(1u << expert);
		score = scores_of(model, batch);
		for (int v = 0; v < N_ITEMS; v++)
			sum += exp((double) score[v]);
		for (int v = 0; v < N_ITEMS; v++)
		{
			double		count = 0;
			double		out = 0;
			double		expected = share[v] / all;

			/* but for the last events of users */
			for (int k = 0; k + 1 < 11; k++)
				if (k != 3 && k != 4 && k != 8 && item[k] == last)
				{
					out++;
					count += item[k + 1] == v;
				}
			if (expert == 4)
				expected = (count + 20 * expected) / (out + 20);
			CHECK(check_close(exp((double) score[v]) / sum, expected, 1e-4), "expert %d, item %d: %g for %g", expert,
				  v, exp((double) score[v]) / sum, expected);
		}
	}
	check_end();
}

/* ---------------------------------------------------------------- explaining */

/* The parts of every score, over one kind of mixture or encoder, sum up to it. */
static void
check_contributions(const char *what, const FmoeConfig *config, double blend)
{
	FmoeModel  *model = make_mixture(config, 0.3, false);
	int			parts = fmoe_parts_count(model);
	bool		weighs = model->expert[FMOE_MAIN].class->weigh != NULL;
	int			own_parts = weighs ? fmoe_mixture_gated(config) : 1;
	int32_t		all[N_ITEMS];
	fnn_real	score[N_ITEMS];
	fnn_real	gate[FMOE_GATED_MAX];
	double		weight[FMOE_EXPLAINED_MAX];
	double		part[N_ITEMS * FMOE_EXPLAINED_MAX];
	static const int64_t before[] = {3, 5, 8, 10};	/* the last items of three were followed by others */
	int			raised = 0;

	check_begin("contributions of %s sum up to the score", what);
	model->blend = blend;
	for (int v = 0; v < N_ITEMS; v++)
		all[v] = N_ITEMS - 1 - v;
	CHECK(parts == own_parts + 1, "%d parts", parts);
	for (int s = 0; s < 4; s++)
	{
		FmoeBatch  *batch = fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 1, begin + s, before + s, 6);

		fmoe_scores_of(model, FMOE_MAIN, check_arena(), batch, N_ITEMS, all, score);
		fmoe_contributions(model, check_arena(), batch, N_ITEMS, all, weight, part);
		if (weighs)
			fmoe_weigh(model, check_arena(), batch, gate);
		else
			gate[0] = 1;
		for (int p = 0; p + 1 < parts; p++)
			CHECK(weight[p] == gate[p], "weight %d is %g", p, weight[p]);
		CHECK(weight[parts - 1] == blend, "blend is %g", weight[parts - 1]);
		for (int i = 0; i < N_ITEMS; i++)
		{
			double		sum = 0;

			for (int p = 0; p < parts; p++)
				sum += part[i * parts + p];
			CHECK(check_close(sum, score[i], 1e-5), "history %d, item %d: %g for %g", s, all[i], sum,
				  (double) score[i]);
			raised += part[i * parts + parts - 1] > 0;
		}
	}
	CHECK((raised > 0) == (blend > 0), "%d scores are raised", raised);
	check_end();
}

/* A part is what the expert alone would give, times its weight. */
static void
check_parts(void)
{
	FmoeConfig	config = mixture_config();
	FmoeModel  *model;
	FmoeBatch  *batch = histories(1);
	static const int32_t asked[] = {6, 1};
	double		weight[FMOE_EXPLAINED_MAX];
	double		part[2 * FMOE_EXPLAINED_MAX];

	check_begin("a contribution is the expert's own score, weighed");
	check_own(&config)->count_experts = true;
	model = make_mixture(&config, 0.3, false);
	fmoe_contributions(model, check_arena(), batch, 2, asked, weight, part);
	for (int p = 0; p < 5; p++)
	{
		fnn_real	alone[2];

		model->expert[FMOE_MAIN].without = ~(1u << p);
		fmoe_scores_of(model, FMOE_MAIN, check_arena(), batch, 2, asked, alone);
		for (int i = 0; i < 2; i++)
			CHECK(check_close(part[i * 6 + p], weight[p] * alone[i], 1e-5), "expert %d, item %d: %g for %g", p,
				  asked[i], part[i * 6 + p], weight[p] * alone[i]);
	}
	check_end();
}

static void
check_all_contributions(void)
{
	FmoeConfig	config = mixture_config();
	FmoeConfig	own = fmoe_encoder_config(&config);

	check_contributions("an encoder", &own, 0);
	check_contributions("an encoder with counted transitions", &own, 0.5);
	check_contributions("a mixture", &config, 0);
	check_contributions("a mixture with counted transitions", &config, 2);
	check_own(&config)->count_experts = true;
	check_contributions("a mixture with count experts", &config, 0);
	check_contributions("a mixture with count experts and counted transitions", &config, 0.25);
	check_own(&config)->gate_top = 2;
	check_own(&config)->gate = FMOE_GATE_BATCH;
	check_own(&config)->head = FMOE_HEAD_OWN;
	check_contributions("a mixture of the best two, with heads of their own", &config, 0);
	config = mixture_config();
	check_own(&config)->experts.count = 0;
	check_contributions("a mixture of the own expert alone", &config, 0.5);
	check_parts();
}

static void
check_gate_use(void)
{
	static const int64_t offset[] = {0, 4, 5, 9, 11};
	FmoeDataset data = {.n_users = 4, .n_events = 11, .n_items = N_ITEMS, .offset = offset, .events = {.item = item}};
	int64_t		first[] = {0, 4, 5, 5};
	int64_t		answer[] = {3, 4, 8, 6};	/* the second history is empty */
	FmoeCases	cases = {.count = 4, .begin = first, .end = answer};
	FmoeConfig	config = mixture_config();
	FmoeModel  *model = make_mixture(&config, 0.3, false);
	FmoePartUse use = {0};
	FmoePartUse tied = {0};
	fnn_real	gate[4 * 3];
	double		weight[3] = {0};
	double		largest[3] = {0};

	check_begin("how a gate uses its experts");
	fmoe_weigh(model, check_arena(), fmoe_batch(check_arena(), &(FmoeEvents) {.item = item}, 4, first, answer, 6),
			   gate);
	for (int c = 0; c < 4; c++)
	{
		int			most = 0;

		for (int i = 0; i < 3; i++)
		{
			weight[i] += gate[c * 3 + i];
			most = gate[c * 3 + i] > gate[c * 3 + most] ? i : most;
		}
		largest[most] += c != 1;
	}
	fmoe_part_use(model, check_arena(), &data, &cases, 0, 3, &use);
	fmoe_part_use(model, check_arena(), &data, &cases, 3, 4, &use);
	CHECK(use.histories == 3, "%d histories", (int) use.histories);
	for (int i = 0; i < 3; i++)
	{
		CHECK(check_close(use.weight[i], weight[i], 1e-6), "weight of expert %d", i);
		CHECK(use.largest[i] == largest[i], "expert %d has the largest weight %g times", i, use.largest[i]);
	}
	check_own(&model->config)->gate = FMOE_GATE_EQUAL;
	fmoe_part_use(model, check_arena(), &data, &cases, 0, 4, &tied);
	for (int i = 0; i < 3; i++)
		CHECK(check_close(tied.largest[i], 1, 1e-6), "equal weights share the first place: %g", tied.largest[i]);
	check_end();
}

/* Of many normal values the interval is 1.96 standard errors to each side; of equal ones it has no length. */
static void
check_bootstrap(void)
{
	enum
	{
		N = 2000,
		RESAMPLES = 2000
	};
	double	   *difference = fnn_alloc(check_arena(), 3 * N * sizeof(double));
	double		low[3];
	double		high[3];
	double		again[3];
	double		mean = 0;

	check_begin("bootstrap intervals");
	for (int i = 0; i < N; i++)
	{
		difference[3 * i] = 0.3 + fnn_random_normal(5, 0, i);
		difference[3 * i + 1] = 0.25;
		difference[3 * i + 2] = -difference[3 * i];
		mean += difference[3 * i] / N;
	}
	fmoe_bootstrap(check_arena(), N, 3, difference, RESAMPLES, 42, low, high);
	CHECK(fabs((mean - low[0]) * sqrt(N) - 1.96) < 0.15, "%g standard errors below", (mean - low[0]) * sqrt(N));
	CHECK(fabs((high[0] - mean) * sqrt(N) - 1.96) < 0.15, "%g standard errors above", (high[0] - mean) * sqrt(N));
	CHECK(low[1] == 0.25 && high[1] == 0.25, "equal differences");
	CHECK(check_close(low[2], -high[0], 1e-12) && check_close(high[2], -low[0], 1e-12),
		  "a column's resamples are the others'");
	fmoe_bootstrap(check_arena(), N, 3, difference, RESAMPLES, 42, again, high);
	CHECK(memcmp(low, again, sizeof(low)) == 0, "the same seed gives the same interval");
	fmoe_bootstrap(check_arena(), N, 3, difference, RESAMPLES, 43, again, high);
	CHECK(low[0] != again[0], "another seed another one");
	fmoe_bootstrap(check_arena(), 1, 1, difference, 1, 42, low, high);
	CHECK(low[0] == difference[0] && high[0] == difference[0], "one user, one resample");
	check_end();
}

void
check_mixtures(void)
{
	check_all_gradients();
	check_stop_gradients();
	check_one_expert();
	check_adapters();
	check_independence(FMOE_GATE_USER);
	check_independence(FMOE_GATE_BATCH);
	check_independence(FMOE_GATE_EQUAL);
	check_count_experts();
	check_all_contributions();
	check_gate_use();
	check_bootstrap();
}

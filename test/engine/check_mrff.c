/*
 * check_mrff.c
 *	  The model mrff, and impressions to train it with.
 */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#ifdef FNN_DOUBLE
#define EXACT 1e-11
#else
#define EXACT 2e-5
#endif

/* ---------------------------------------------------------------- data */

static FmoeFeature
category(const char *name, int64_t n, int32_t width, uint64_t seed)
{
	FmoeFeature feature = {.modality = FMOE_CATEGORY, .width = width};
	int64_t    *offset = fnn_alloc(check_arena(), sizeof(int64_t) * (size_t) (n + 1));
	int32_t    *term = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) (2 * n));
	int64_t    *name_offset = fnn_zalloc(check_arena(), sizeof(int64_t) * (size_t) (width + 1));
	char	   *names = fnn_alloc(check_arena(), (size_t) width * 4 + 1);

	for (int32_t t = 0; t < width; t++)
	{
		sprintf(names + 4 * t, "t%03d", (int) t);
		name_offset[t + 1] = 4 * (t + 1);
	}
	feature.name_offset = name_offset;
	feature.name_bytes = names;
	strcpy(feature.name, name);
	offset[0] = 0;
	for (int64_t i = 0; i < n; i++)
	{
		/* every seventh has none, every ninth two */
		offset[i + 1] = offset[i] + (i % 7 == 6 ? 0 : i % 9 == 8 ? 2 : 1);
		for (int64_t k = offset[i]; k < offset[i + 1]; k++)
			term[k] = (int32_t) fnn_random_below(seed, 1, (uint64_t) (2 * i + k - offset[i]), (uint64_t) width);
	}
	feature.offset = offset;
	feature.term = term;
	return feature;
}

static FmoeFeatures *
categories(int64_t n, int count, int32_t width, uint64_t seed)
{
	FmoeFeatures *features = fnn_zalloc(check_arena(), sizeof(FmoeFeatures));

	features->n = (int32_t) n;
	features->count = count;
	for (int i = 0; i < count; i++)
	{
		char		name[16];

		sprintf(name, "kind%d", i);
		features->feature[i] = category(name, n, width + i, seed + i);
	}
	return features;
}

void
check_impressions(FmoeDataset *data, uint64_t seed)
{
	int8_t	   *label = fnn_alloc(check_arena(), (size_t) data->n_events);
	FmoeFeatures *items = categories(data->n_items, 2, 4, seed);

	for (int64_t u = 0; u < data->n_users; u++)
		for (int64_t e = data->offset[u]; e < data->offset[u + 1]; e++)
		{
			const FmoeFeature *kind = &items->feature[0];
			int32_t		item = data->events.item[e];
			int32_t		value = kind->offset[item + 1] > kind->offset[item] ? kind->term[kind->offset[item]] : -1;
			double		share = u % 2 == 0 ? 0.2 : 0.7;

			share += value == 1 ? 0.25 : 0;
			label[e] = fnn_random_uniform(seed, 77, (uint64_t) e) < share;
		}
	data->events.label = label;
	data->features = items;
	data->user_features = categories(data->n_users, 2, 3, seed + 100);
}

/* ---------------------------------------------------------------- the model */

/* An expert over drawn values that are all of the same size, with gradients. */
static FmoeExpert *
drawn_expert(const FmoeConfig *config, const FmoeDataset *data, uint64_t seed)
{
	FmoeExpert *expert = fnn_zalloc(check_arena(), sizeof(FmoeExpert));
	FnnParams  *params = fnn_zalloc(check_arena(), sizeof(FnnParams));
	FmoeFacts	facts = {.n_items = data->n_items, .features = data->features, .user_features = data->user_features,
	.n_users = data->n_users};
	fnn_real   *values;

	*expert = (FmoeExpert)
	{
		.class = &fmoe_mrff_class, .config = config, .n_items = data->n_items, .params = params,
			.features = data->features, .user_features = data->user_features
	};
	fmoe_declare_class(params, check_host(), expert->class, config, &facts);
	values = fnn_alloc_reals(check_arena(), 1, (int64_t) params->size);
	for (size_t i = 0; i < params->size; i++)
		values[i] = (fnn_real) (0.4 * fnn_random_normal(seed, 5, i));
	expert->tensor = fnn_zalloc(check_arena(), sizeof(FnnTensor) * (size_t) params->count);
	fnn_params_bind(params, expert->tensor, values,
					fnn_zalloc(check_arena(), params->size * sizeof(fnn_real)), NULL);
	return expert;
}

static FmoeConfig
clicks_config(void)
{
	FmoeConfig	config = check_config("mrff");

	config.width = 2;
	config.heads = 1;
	config.layers = 2;
	config.max_length = 6;
	config.dropout = 0;
	return config;
}

/* Gives items numbers beside their categories: a price, a vector and, if wanted, a text. */
static void
add_numbers(FmoeConfig *config, FmoeDataset *data, bool text)
{
	const FmoeFeatures *more = check_item_features(data->n_items);
	FmoeFeatures *features = fnn_alloc(check_arena(), sizeof(FmoeFeatures));

	*features = *data->features;
	for (int i = 0; i < more->count; i++)
		if (more->feature[i].modality != FMOE_CATEGORY && (text || more->feature[i].modality != FMOE_TEXT))
			features->feature[features->count++] = more->feature[i];
	data->features = features;
	check_clicks(config)->item_features = FMOE_MRFF_ALL_FEATURES;
}

/* Baskets of one and of two. */
static FmoeDataset *
small_data(bool baskets)
{
	FmoeDataset *data = check_walks(5, 9, 3, 6, 4);
	int32_t    *basket = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) data->n_events);

	check_impressions(data, 3);
	for (int64_t e = 0; e < data->n_events; e++)
		basket[e] = (int32_t) (e / 2);
	if (baskets)
		data->events.basket = basket;
	return data;
}

typedef struct Learning
{
	FmoeExpert *expert;
	FmoeBatch  *batch;
} Learning;

static void
run_learn(FnnTape *tape, FnnTensor *const *inputs, void *context)
{
	const Learning *learning = context;
	FmoeGoal	goal = {.weight = 0.1, .position_weight = 0.05, .sequence_weight = 0.2};

	fmoe_mrff_learn(learning->expert, tape, learning->batch, &goal);
}

static const int32_t users_known[] = {0, 1, -1, 3, 4};

static FmoeBatch *
whole_batch(const FmoeDataset *data, const FmoeConfig *config)
{
	FmoeBatch  *batch = fmoe_batch(check_arena(), &data->events, data->n_users, data->offset, data->offset + 1,
								   config->max_length);

	batch->user = users_known;
	return batch;
}

static void
check_mrff_gradients(void)
{
	for (int variant = 0; variant < 5; variant++)
	{
		FmoeConfig	config = clicks_config();
		FmoeDataset *data = small_data(variant & 1);
		Learning	learning;
		FnnTensor **inputs;

		check_clicks(&config)->group_gate = variant < 2 ? FMOE_MRFF_WEIGHTED : FMOE_MRFF_HARD;
		check_clicks(&config)->residual = variant == 1 || variant == 2;
		check_clicks(&config)->user_features = variant % 3 == 0 ? FMOE_MRFF_SHARED : FMOE_MRFF_OWN;
		check_clicks(&config)->ids = variant == 3;
		if (variant == 4)
			add_numbers(&config, data, false);
		check_begin("gradients of mrff, variant %d", variant);
		learning.expert = drawn_expert(&config, data, 11 + variant);
		learning.batch = whole_batch(data, &config);
		inputs = fnn_alloc(check_arena(), sizeof(FnnTensor *) * (size_t) learning.expert->params->count);
		for (int i = 0; i < learning.expert->params->count; i++)
			inputs[i] = &learning.expert->tensor[i];
		check_gradients(learning.expert->params->count, inputs, run_learn, &learning);
		check_end();
	}
}

/* What learning foresees of an impression is what serving scores, and no impression knows those beside it. */
static void
check_foreseeing(void)
{
	for (int baskets = 0; baskets < 2; baskets++)
	{
		FmoeConfig	config = clicks_config();
		FmoeDataset *data = small_data(baskets);
		FmoeExpert *expert;
		FmoeBatch  *batch = whole_batch(data, &config);
		fnn_real   *all = fnn_alloc_reals(check_arena(), 1, batch->n_tokens);
		int8_t	   *label = (int8_t *) data->events.label;

		if (baskets)
			add_numbers(&config, data, true);
		expert = drawn_expert(&config, data, 5);
		check_begin("what is foreseen is what is scored%s", baskets ? ", in baskets" : "");
		fmoe_mrff_foresee(expert, check_arena(), batch, all);
		for (int64_t e = 0; e < data->n_events; e++)
		{
			int64_t		user = 0;
			int64_t		begin;
			int64_t		end;
			FmoeBatch  *before;
			fnn_real	score;

			while (data->offset[user + 1] <= e)
				user++;
			begin = data->offset[user];
			end = fmoe_basket_begin(&data->events, begin, e);
			before = fmoe_batch(check_arena(), &data->events, 1, &begin, &end, config.max_length);
			before->user = &users_known[user];
			fmoe_mrff_score(expert, check_arena(), before, 0, 1, &data->events.item[e], &score);
			if (end == begin && data->offset[user + 1] - begin >= config.max_length)
				CHECK(isnan(all[e]), "what came before is not known, and %g is foreseen", (double) all[e]);
			else
				CHECK(check_close(score, all[e], 1e-5), "event %d: %g, foreseen %g", (int) e, (double) score,
					  (double) all[e]);
		}
		/* labels of the last basket of each user count for nothing */
		for (int64_t u = 0; u < data->n_users; u++)
			for (int64_t e = fmoe_basket_begin(&data->events, data->offset[u], data->offset[u + 1] - 1);
				 e < data->offset[u + 1]; e++)
				label[e] = !label[e];
		{
			fnn_real   *again = fnn_alloc_reals(check_arena(), 1, batch->n_tokens);

			fmoe_mrff_foresee(expert, check_arena(), whole_batch(data, &config), again);
			for (int64_t e = 0; e < data->n_events; e++)
				CHECK(isnan(all[e]) || all[e] == again[e], "event %d knows a label of its own basket", (int) e);
		}
		check_end();
	}
}

/* With one group, no rows of users, labels or rates, it is SASRec and a head. */
static void
check_identity(void)
{
	FmoeConfig	config = clicks_config();
	FmoeConfig	plain = check_config("sasrec");
	FmoeDataset *data = small_data(false);
	FmoeExpert *expert;
	FmoeBatch  *batch;
	FnnTensor  *tensor;
	FmoeEncoding encoding;
	FmoeMrffLayout layout;
	FnnTensor  *items;
	FnnTensor  *state;
	FnnTensor  *other;
	int32_t    *row;
	FnnTape		tape;

	check_begin("one group and nothing of single users: SASRec");
	*check_clicks(&config) = (FmoeMrffOptions) {.groups = 1, .residual = true};
	expert = drawn_expert(&config, data, 5);
	batch = whole_batch(data, &config);
	fmoe_mrff_layout_of(expert, &layout);
	plain.width = (int) layout.width;
	plain.layers = config.layers;
	plain.heads = 1;
	encoding = (FmoeEncoding) {.encoder = &fmoe_sasrec_encoder, .shape = fmoe_shape_of(&plain, 0)};
	tensor = fnn_zalloc(check_arena(), sizeof(FnnTensor) * (size_t) fmoe_sasrec_encoder.slices(&encoding.shape));
	encoding.tensor = tensor;
	*tensor++ = *fmoe_parameter(expert, layout.position);
	for (int block = 0; block < config.layers; block++)
	{
		FnnTensor  *of = fmoe_parameter(expert, layout.block + block * FMOE_MRFF_BLOCK_SLICES);
		fnn_real   *map = of[FMOE_MRFF_GROUPS].value;
		int64_t		w = layout.width;

		for (int i = 0; i < FMOE_MRFF_GATE; i++)
			*tensor++ = of[i];
		*tensor++ = (FnnTensor) {.rows = w, .cols = w, .value = map};
		*tensor++ = (FnnTensor) {.rows = 1, .cols = w, .value = map + w * w};
		*tensor++ = (FnnTensor) {.rows = w, .cols = w, .value = map + w * (w + 1)};
		*tensor++ = (FnnTensor) {.rows = 1, .cols = w, .value = map + w * (w + 1) + w * w};
	}
	*tensor++ = *fmoe_parameter(expert, layout.norm);
	*tensor++ = *fmoe_parameter(expert, layout.norm + 1);
	fnn_tape_begin(&tape, check_arena(), false, 0, 0);
	items = fmoe_mrff_items(expert, &tape, batch->n_tokens, batch->events.item);
	row = fnn_alloc(check_arena(), sizeof(int32_t) * (size_t) batch->n_tokens);
	for (int64_t t = 0; t < batch->n_tokens; t++)
		row[t] = (int32_t) t;
	other = fmoe_sasrec_encoder.enter(&encoding, &tape, items, row, sqrt((double) layout.width), batch);
	other = fmoe_encoder_run(&encoding, &tape, other, batch, FMOE_ALL_TOKENS);
	state = fmoe_mrff_class.encode(expert, &tape, batch, FMOE_ALL_TOKENS);
	for (int64_t i = 0; i < state->rows * state->cols; i++)
		CHECK(check_close(state->value[i], other->value[i], EXACT), "element %d: %g, SASRec %g", (int) i,
			  (double) state->value[i], (double) other->value[i]);
	check_end();
}

typedef struct GoldenMrff
{
	int			groups;
	int			weighted;
	int			residual;
	int			own;			/* users have their own tables */
	const float *logits;
	double		clicks;
	double		balance;
} GoldenMrff;

#include "golden/mrff.h"

/* A category of one value each. */
static FmoeFeature
one_value(const char *name, int32_t n, int32_t width, int32_t factor, int32_t more)
{
	FmoeFeature feature = category(name, n, width, 1);

	for (int32_t i = 0; i < n; i++)
	{
		((int64_t *) feature.offset)[i + 1] = i + 1;
		((int32_t *) feature.term)[i] = (factor * i + more) % width;
	}
	return feature;
}

/* Against the same in PyTorch, over values that both can make. */
static void
check_golden(const GoldenMrff *golden)
{
	static const int32_t item[] = {0, 3, 5, 3, 1, 2, 4, 4, 0, 6};
	static const int8_t label[] = {1, 0, 0, 1, 1, 1, 0, 1, 1, 0};
	static const int64_t offset[] = {0, 5, 6, 10};
	static const int32_t user[] = {0, 1, 2};
	FmoeFeatures items = {.n = 7, .count = 2};
	FmoeFeatures users = {.n = 3, .count = 1};
	FmoeDataset data = {.n_users = 3, .n_events = 10, .n_items = 7, .offset = offset};
	FmoeConfig	config = clicks_config();
	FmoeExpert *expert;
	FmoeBatch  *batch;
	fnn_real	logit[10];
	FmoeGoal	goal = {.weight = 1, .position_weight = 1, .sequence_weight = 1};
	FnnTape		tape;

	check_begin("mrff of %d groups as PyTorch computes it", golden->groups);
	items.feature[0] = one_value("kind0", 7, 3, 1, 0);
	items.feature[1] = one_value("kind1", 7, 4, 2, 1);
	users.feature[0] = one_value("kind", 3, 2, 1, 0);
	data.features = &items;
	data.user_features = &users;
	data.events = (FmoeEvents) {.item = item, .label = label};
	*check_clicks(&config) = (FmoeMrffOptions)
	{
		.groups = golden->groups, .group_gate = golden->weighted ? FMOE_MRFF_WEIGHTED : FMOE_MRFF_HARD, .balance = 1,
			.residual = golden->residual, .private_rows = true, .past_labels = true,
			.user_features = golden->own ? FMOE_MRFF_OWN : FMOE_MRFF_SHARED
		};
	expert = drawn_expert(&config, &data, 1);
	for (int i = 0; i < expert->params->count; i++)
		for (int64_t k = 0; k < expert->tensor[i].rows * expert->tensor[i].cols; k++)
			expert->tensor[i].value[k] = (fnn_real) (float) (0.3 * sin(1 + 0.7 * (double) k + 1.3 * i)) +
				(strstr(expert->params->list[i].name, "gain") != NULL);
	batch = fmoe_batch(check_arena(), &data.events, 3, offset, offset + 1, config.max_length);
	batch->user = user;
	fmoe_mrff_foresee(expert, check_arena(), batch, logit);
	for (int t = 0; t < 10; t++)
		CHECK(check_close(logit[t], golden->logits[t], 1e-5), "impression %d: %g, PyTorch %g", t, (double) logit[t],
			  (double) golden->logits[t]);
	fnn_tape_begin(&tape, check_arena(), true, 0, 0);
	fmoe_mrff_learn(expert, &tape, batch, &goal);
	CHECK(check_close(goal.loss[0], golden->clicks, 1e-5), "loss %g, PyTorch %g", goal.loss[0], golden->clicks);
	CHECK(check_close(goal.loss[1], golden->groups > 1 ? golden->balance : 0, 1e-5), "balance %g, PyTorch %g",
		  goal.loss[1], golden->balance);
	check_end();
}

/* Whose maps are 0, and who is unknown, are served alike. */
static void
check_public(void)
{
	FmoeConfig	config = clicks_config();
	FmoeDataset *data = small_data(false);
	FmoeExpert *expert = drawn_expert(&config, data, 8);
	FmoeBatch  *batch = whole_batch(data, &config);
	FmoeBatch	nobody = *batch;
	FmoeBatch	lent = *batch;
	FmoeMrffLayout layout;
	FnnTensor  *rows;
	FnnTensor	elsewhere;
	fnn_real   *logit[3];
	int			same = 0;

	check_begin("who has no rows is served by the public model; rows may come from elsewhere");
	data->user_features = NULL;
	check_clicks(&config)->user_features = FMOE_MRFF_NO_USERS;
	expert = drawn_expert(&config, data, 8);
	fmoe_mrff_layout_of(expert, &layout);
	rows = fmoe_parameter(expert, layout.private_rows);
	for (int k = 0; k < 3; k++)
		logit[k] = fnn_alloc_reals(check_arena(), 1, batch->n_tokens);
	nobody.user = NULL;
	fmoe_mrff_foresee(expert, check_arena(), batch, logit[0]);
	elsewhere = *rows;
	lent.private_rows = &elsewhere;
	lent.private_of = users_known;
	rows->value = NULL;
	fmoe_mrff_foresee(expert, check_arena(), &lent, logit[2]);
	fmoe_mrff_foresee(expert, check_arena(), &nobody, logit[1]);
	for (int32_t s = 0; s < batch->sequences.count; s++)
		for (int64_t t = batch->sequences.offset[s]; t < batch->sequences.offset[s + 1]; t++)
		{
			bool		alike = logit[0][t] == logit[1][t] || isnan(logit[0][t]);

			CHECK(logit[0][t] == logit[2][t] || isnan(logit[0][t]), "rows from elsewhere give another logit");
			if (users_known[s] < 0)
				CHECK(alike, "an unknown user is not served by the public model");
			same += alike && users_known[s] >= 0;
		}
	CHECK(same < batch->n_tokens / 2, "rows of users change nothing");
	check_end();
}

/* Of the paper: 6 categories, 4 features of users, 65 positions. */
static void
check_counts(void)
{
	FmoeConfig	config = clicks_config();
	FmoeFeatures *items = categories(10, 6, 132, 1);
	FmoeFeatures *users = categories(10, 4, 4, 1);
	FmoeFacts	facts = {.n_items = 10, .features = items, .user_features = users, .n_users = 3};
	FnnParams	params = {0};
	int64_t		counted[3] = {0};
	int64_t		values = 0;

	check_begin("as many numbers as the paper's model has");
	items->feature[5].width = 139;
	users->feature[0].width = 8;
	users->feature[1].width = 3;
	users->feature[2].width = 7;
	users->feature[3].width = 4;
	for (int i = 0; i < 6; i++)
		values += items->feature[i].width;
	config.width = 8;
	config.max_length = 65;
	*check_clicks(&config) = (FmoeMrffOptions) {.groups = 4, .private_rows = true, .user_features = FMOE_MRFF_OWN};
	fmoe_declare_class(&params, check_host(), &fmoe_mrff_class, &config, &facts);
	for (int i = 0; i < params.count; i++)
	{
		const FnnParam *param = &params.list[i];
		bool		group = strstr(param->name, "groups") != NULL;

		if (param->share == FNN_PRIVATE)
			counted[2] += param->cols;
		else if (group)
			counted[1] = param->cols;
		else
			counted[0] += param->rows * param->cols;
		CHECK(!group || param->rows == 4, "%d groups", (int) param->rows);
	}
	CHECK(counted[0] == 27225 + 8 * (values + 6) && values == 809, "%d public numbers of %d values",
		  (int) counted[0], (int) values);
	CHECK(counted[1] == 4704, "%d numbers of a group", (int) counted[1]);
	CHECK(counted[2] == 9584, "%d numbers of a user", (int) counted[2]);
	fnn_params_free(&params, check_host());
	check_end();
}

/* ---------------------------------------------------------------- memory */

static void
check_bytes(void)
{
	check_begin("what a pass takes is not more than is said");
	for (int variant = 0; variant < 4; variant++)
	{
		FmoeConfig	config = check_config("mrff");
		FmoeDataset *data = check_walks(30, 50, 5, 40, 4);
		FmoeExpert *expert;
		FmoeFacts	facts = {.n_items = data->n_items};
		Learning	learning;
		FnnTape		tape;
		FnnArena   *own = fnn_arena_create(check_host(), 0);
		double		taken;
		double		said;

		check_impressions(data, 3);
		config.width = variant < 2 ? 8 : 2;
		config.layers = 1 + variant % 2;
		config.heads = 1;
		config.max_length = 50;
		if (variant == 3)
			add_numbers(&config, data, true);
		expert = drawn_expert(&config, data, 5);
		facts.features = data->features;
		facts.user_features = data->user_features;
		facts.n_users = data->n_users;
		learning.expert = expert;
		learning.batch = fmoe_batch(check_arena(), &data->events, data->n_users, data->offset, data->offset + 1, 50);
		said = fmoe_mrff_bytes(&config, &facts, FMOE_RECORDED, (double) learning.batch->n_tokens, 0);
		fnn_tape_begin(&tape, own, true, 1, 1);
		run_learn(&tape, NULL, &learning);
		fnn_tape_backward(&tape);
		taken = (double) fnn_arena_peak(own);
		CHECK(taken <= said && taken > said / 3, "takes %.0f, says %.0f", taken, said);
		fnn_arena_destroy(own);
	}
	check_end();
}

/* Users click by a rate of their own and by a category: both are learned. */
static void
check_learned(void)
{
	FmoeConfig	config = check_config("mrff");
	FmoeDataset *data = check_walks_for(&config, 120, 60, 20, 40, 3);
	FmoeTrainer *trainer;
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeImpressionsWanted wanted = {.split = FMOE_SPLIT_FIFTH, .max_length = 40};
	FmoeImpressions *impressions;
	FmoeClickFigures figures;
	fnn_real   *logit;

	check_begin("mrff learns who clicks, and what");
	config.width = 8;
	config.heads = 1;
	config.layers = 2;
	config.max_length = 40;
	config.epochs = CHECK_SIZE(15, 1);
	config.holdout = FMOE_HOLDOUT_TEST_FIFTH;
	trainer = check_finish_run(&config, data);
	fmoe_trainer_model(trainer, NULL, model);
	impressions = fmoe_impressions(check_arena(), data, &wanted);
	logit = fnn_alloc_reals(check_arena(), 1, impressions->n);
	fmoe_foresee(model, FMOE_MAIN, check_arena(), data, impressions, 0, impressions->count, logit);
	figures = fmoe_click_figures(check_arena(), impressions->n, logit, impressions->label, NULL);
	CHECK(figures.auc > CHECK_SIZE(0.74, 0.6) && figures.log_loss < 0.66, "AUC %.3f, log-loss %.3f", figures.auc,
		  figures.log_loss);
	CHECK(fmoe_trainer_state(trainer)->best_metric > 0.5, "validation AUC %.3f",
		  fmoe_trainer_state(trainer)->best_metric);
	CHECK(fmoe_private_rows(model) != NULL && fmoe_private_rows(model)->rows == data->n_users, "rows of users");
	check_end();
}

/* No array of a model has a row of a user; and bound to its arrays it foresees the public model's. */
static void
check_nothing_private(void)
{
	FmoeConfig	config = clicks_config();
	FmoeDataset *data = check_walks_for(&config, 40, 30, 5, 10, 3);
	FmoeTrainer *trainer;
	FmoeModel  *model = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FmoeModel  *bound = fnn_zalloc(check_arena(), sizeof(FmoeModel));
	FnnArray   *array;
	FmoeBatch  *batch;
	fnn_real	logit[2][10];
	int			n;

	check_begin("rows of users, and their features, are in no array");
	config.epochs = 2;
	trainer = check_finish_run(&config, data);
	fmoe_trainer_model(trainer, NULL, model);
	array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) fmoe_model_arrays_max(model));
	n = fmoe_model_arrays(model, array, fmoe_model_arrays_max(model));
	for (int i = 0; i < n; i++)
		CHECK(strstr(array[i].name, "private") == NULL &&
			  (strncmp(array[i].name, "user_feature.", 13) != 0 || strstr(array[i].name, "term") == NULL ||
			   array[i].bytes == 0), "array \"%s\" of %zu bytes", array[i].name, array[i].bytes);
	fmoe_model_bind(bound, check_host(), &config, data->n_items, n, array);
	batch = fmoe_batch(check_arena(), &data->events, 1, data->offset, data->offset + 1, config.max_length);
	fmoe_mrff_foresee(&model->expert[FMOE_MAIN], check_arena(), batch, logit[0]);
	fmoe_mrff_foresee(&bound->expert[FMOE_MAIN], check_arena(), batch, logit[1]);
	for (int64_t t = 1; t < batch->n_tokens; t++)
		CHECK(check_close(logit[0][t], logit[1][t], 1e-6), "token %d: %g, bound %g", (int) t, (double) logit[0][t],
			  (double) logit[1][t]);
	check_end();
}

/* A training that begins with another version's weights keeps them, and has what follows from its data. */
static void
check_warm(void)
{
	FmoeConfig	config = clicks_config();
	FmoeDataset *data = check_walks_for(&config, 40, 30, 5, 10, 3);
	FmoeTrainer *trainer;
	FmoeTrainer *next;
	FnnArray   *array;
	fnn_real   *values[2];
	size_t		bytes;
	int			n;

	check_begin("another version's rates and head stay where a training begins with them");
	config.epochs = 2;
	config.average = FMOE_AVERAGE_NONE;
	trainer = check_finish_run(&config, data);
	array = fnn_alloc(check_arena(), sizeof(FnnArray) * (size_t) fmoe_trainer_arrays_max(trainer));
	n = fmoe_trainer_arrays(trainer, array, fmoe_trainer_arrays_max(trainer));
	next = check_start_run(&config, data);
	CHECK(fmoe_trainer_adopt(next, n, array) == n, "some of %d slices are not taken", n);
	values[0] = fmoe_trainer_block(trainer, FMOE_BLOCK_VALUES, &bytes);
	values[1] = fmoe_trainer_block(next, FMOE_BLOCK_VALUES, &bytes);
	for (int i = 0; i < fmoe_trainer_params(next)->count; i++)
	{
		const FnnParam *param = &fmoe_trainer_params(next)->list[i];

		CHECK(param->share == FNN_PRIVATE || check_same(param->rows * param->cols, values[0] + param->offset,
														values[1] + param->offset), "\"%s\" differs", param->name);
	}
	check_end();
}

void
check_mrff(void)
{
	check_mrff_gradients();
	check_foreseeing();
	check_identity();
	for (const GoldenMrff *golden = golden_mrff; golden->groups > 0; golden++)
		check_golden(golden);
	check_public();
	check_counts();
	check_bytes();
	check_learned();
	check_nothing_private();
	check_warm();
}

/*
 * check_memory.c
 *	  What a training costs: the bytes that are said beforehand, and those that it takes.
 */
#include "check.h"

static const FmoeTeam alone = {.rank = 0, .size = 1};

void
check_memory(const char *name, FmoeLoss loss, double dropout, int64_t users, bool counted)
{
	/* sequences of one length: the longest batch is the usual one; more cases than training ranks at once */
	FmoeConfig	config = check_config(name);
	FmoeDataset *data = check_walks_for(&config, users, CHECK_SIZE(500, 200), 42, 42, 8);
	FmoeCases  *cases = check_cases_of(data, FMOE_SPLIT_TEST, FMOE_HOLDOUT_TEST);
	FmoeProtocol protocol = {.exclude_seen = true, .negatives = 100};
	FmoeModel  *model = fnn_alloc(check_arena(), sizeof(FmoeModel));
	FnnArena   *arena;
	FnnArena   *ranking;
	FmoeTrainer *trainer;
	size_t		shared;
	double		estimate;
	double		peak;

	check_begin("memory of %s%s, %s, dropout %g, %d users is estimated within 20 percent", name,
				counted ? " with counted transitions" : "", loss == FMOE_LOSS_GBCE ? "gbce" : "softmax", dropout,
				(int) users);
	config.loss = loss;
	config.blend = -1;
	config.dropout = dropout;
	config.max_length = 40;
	config.batch_size = 64;
	config.width = CHECK_SIZE(64, 16);
	config.layers = CHECK_SIZE(2, 1);
	if (counted)
	{
		/* narrow, so that the transitions are a good part of it */
		config.width = 8;
		config.layers = 1;
		check_own(&config)->item_graph = check_own(&config)->count_experts = true;
	}
	shared = fmoe_trainer_shared_bytes(check_arena(), &config, data);
	estimate = (double) fmoe_trainer_private_bytes(check_arena(), &config, data);
	arena = fnn_arena_create(check_host(), 0);
	trainer = fmoe_trainer_attach(arena, &config, data, fnn_alloc(check_arena(), shared));
	fmoe_trainer_start(trainer);
	fmoe_trainer_epoch(trainer, &alone);
	fmoe_trainer_model(trainer, NULL, model);
	peak = (double) fnn_arena_peak(arena);
	/* where sizes are few they are small, and most of them is rounding */
	CHECK(estimate >= peak * CHECK_SIZE(0.98, 0.9) && estimate <= peak * CHECK_SIZE(1.2, 1.3),
		  "%.0f bytes estimated, %.0f used", estimate, peak);

	estimate = (double) fmoe_rank_bytes(model, data, cases, &protocol);
	ranking = fnn_arena_create(check_host(), 0);
	fmoe_rank_cases(model, FMOE_MAIN, ranking, data, cases, &protocol, 0, cases->count,
					fnn_alloc(check_arena(), sizeof(int32_t) * cases->count), NULL);
	peak = (double) fnn_arena_peak(ranking);
	CHECK(estimate >= peak * CHECK_SIZE(0.98, 0.9) && estimate <= peak * 1.3,
		  "%.0f bytes estimated for ranking, %.0f used", estimate, peak);
	fnn_arena_destroy(ranking);
	fnn_arena_destroy(arena);
	check_end();
}

void
check_memory_estimates(void)
{
	check_memory("sasrec", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("fmoe", FMOE_LOSS_SOFTMAX, 0, 300, true);
	check_memory("sasrec features", FMOE_LOSS_GBCE, 0, 64, false);
	/* sums of bytes are the same under valgrind: one of each kind reaches every path there */
	if (CHECK_SIZE(false, true))
		return;
	check_memory("sasrec", FMOE_LOSS_GBCE, 0, 64, false);
	check_memory("sasrec", FMOE_LOSS_SOFTMAX, 0.1, 400, false);
	check_memory("gru4rec", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("gru4rec", FMOE_LOSS_GBCE, 0, 64, false);
	check_memory("fmoe", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("fmoe", FMOE_LOSS_GBCE, 0, 64, false);
	check_memory("fmoe", FMOE_LOSS_SOFTMAX, 0.1, 64, true);
	check_memory("sasrec features", FMOE_LOSS_SOFTMAX, 0.1, 64, false);
	check_memory("gru4rec features", FMOE_LOSS_SOFTMAX, 0.1, 300, false);
}

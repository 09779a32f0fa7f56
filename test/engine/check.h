/*
 * check.h
 *	  The engine tests' harness: a host over malloc, TAP output, finite
 *	  differences.
 *
 * One program; each test file has one entry point, listed in check.c.  It is
 * built in single precision (all tests), in double precision (gradients are
 * only checked there), and with ASan + UBSan.
 */
#ifndef FMOE_CHECK_H
#define FMOE_CHECK_H

#include "model/fmoe/fmoe.h"
#include "model/mrff/mrff.h"
#include "model/expert/tower.h"
#include "model/model.h"

/* -DCHECK_FEW: under valgrind, which takes fifty times as long, sizes that still reach every path. */
#ifdef CHECK_FEW
#define CHECK_SIZE(all, few) (few)
#else
#define CHECK_SIZE(all, few) (all)
#endif

/* The options of a mixture in a configuration. */
static inline FmoeMixtureOptions *
check_own(FmoeConfig *config)
{
	return (FmoeMixtureOptions *) config->own.bytes;
}

/* Those of sasrec and gru4rec. */
static inline FmoeTowerOptions *
check_tower(FmoeConfig *config)
{
	return (FmoeTowerOptions *) config->own.bytes;
}

/* Those of mrff. */
static inline FmoeMrffOptions *
check_clicks(FmoeConfig *config)
{
	return (FmoeMrffOptions *) config->own.bytes;
}

/* Everything allocated through the host is freed after each test function. */
extern const FnnHost *check_host(void);
extern FnnArena *check_arena(void); /* fresh for each test function */

/*
 * A model over drawn values, its counts from data; noise moves what is drawn,
 * values that begin as 0 or 1 too.  with_grad: the main expert has gradients.
 */
extern FmoeModel *check_model(const FmoeConfig *config, const FmoeDataset *data, uint64_t seed, double noise,
							  bool with_grad);
/* The same for the main expert of a model that has its counts. */
extern void check_draw_main(FmoeModel *model, uint64_t seed, double noise, bool with_grad);

/* Memory that forked processes share. */
extern void *check_map_shared(size_t bytes);
/* epochs of a run by several processes over the block; the calling process is the leader. */
extern void check_run_team(const FmoeConfig *config, const FmoeDataset *data, void *block, int size, int epochs);
/* Blocks and states equal to the bit. */
extern void check_compare_runs(FmoeTrainer *a, FmoeTrainer *b, const char *what);

/* Starts a named test; its checks count as one TAP line. */
extern void check_begin(const char *format,...) __attribute__((format(printf, 1, 2)));
extern void check_end(void);
/* A failed check prints file, line and message, and the test goes on. */
extern void check_that(bool ok, const char *file, int line, const char *format,...)
			__attribute__((format(printf, 4, 5)));
#define CHECK(ok, ...) check_that((ok), __FILE__, __LINE__, __VA_ARGS__)
/* |a - b| <= tolerance * max(1, |a|, |b|) */
extern bool check_close(double a, double b, double tolerance);

/* Runs and expects the host's fail with this code and a message that holds part. */
extern void check_fails(FnnError code, const char *part, void (*run) (void *context), void *context);

/*
 * Central differences.  run composes operations on the tape over the inputs
 * and ends in losses; it must give the same result each time it is called.
 * Every element of every input that has a gradient (dense or sparse) is compared.
 * In single precision only: a second pass must add as much again as the first.
 */
extern void check_gradients(int n_inputs, FnnTensor *const *inputs,
							void (*run) (FnnTape *tape, FnnTensor *const *inputs, void *context), void *context);
/* A rows x cols tensor of N(0, 0.5) from seed, with a dense gradient. */
extern FnnTensor *check_tensor(uint64_t seed, int64_t rows, int64_t cols);
/* Ends a graph for gradient checks: loss += sum over elements of c(r, c) * x(r, c) with fixed random c. */
extern void check_loss(FnnTape *tape, FnnTensor *x);

typedef void (*CheckRun) (FnnTape *tape, FnnTensor *const *inputs, void *context);

#define CHECK_INPUTS_MAX 6
/* check_gradients with at most so many inputs, then with each of them frozen; the loss unrecorded is the same. */
extern void check_operation(int n, FnnTensor *const *inputs, CheckRun run, void *context);
/* Loss of a run; with record gradients are added. */
extern double check_loss_of(FnnTensor *const *inputs, CheckRun run, void *context, bool record);
/* A copy of a tensor that takes its gradient by touched rows. */
extern FnnTensor *check_sparse_copy(const FnnTensor *dense);
extern bool check_same(int64_t n, const fnn_real *a, const fnn_real *b);
/* n numbers below bound, with repeats; some_missing: about a tenth of them are -1. */
extern int32_t *check_numbers(uint64_t seed, int64_t n, int64_t bound, bool some_missing);
/* Items followed by none, few or many others. */
extern FnnGraph *check_random_graph(int64_t items);

/* Of check_training.c: users who walk through the items, of shortest .. longest events each; … */
extern FmoeDataset *check_walks(int64_t n_users, int32_t n_items, int64_t shortest, int64_t longest, uint64_t seed);
/* … of check_content.c: text and vectors of items; … */
extern FmoeFeatures *check_random_features(int32_t n_items, uint64_t seed);
/* … of check_features.c: a category, a price, a text and a vector of items, where known, … */
extern FmoeFeatures *check_item_features(int32_t n_items);
/* … check_walks, with them where the options read them, and small options that do; … */
extern FmoeDataset *check_walks_for(const FmoeConfig *config, int64_t n_users, int32_t n_items, int64_t shortest,
									int64_t longest, uint64_t seed);
extern FmoeConfig check_featured_config(const char *model, double id_dropout);
/* … of check_mrff.c: makes impressions of events, with labels that follow from users and categories; … */
extern void check_impressions(FmoeDataset *data, uint64_t seed);
/* … of check_weights.c: gives events weights, all the same, or with 0 drawn ones of which some are 0; … */
extern float *check_event_weights(FmoeDataset *data, float same, uint64_t seed);
/* … the cases of a split, with all of their answers; … */
extern FmoeCases *check_cases_of(const FmoeDataset *data, FmoeSplit split, FmoeHoldout holdout);
/* … small options of a model; and a training that has begun, or ended. */
extern FmoeConfig check_config(const char *model);
extern FmoeTrainer *check_start_run(const FmoeConfig *config, const FmoeDataset *data);
extern FmoeTrainer *check_finish_run(const FmoeConfig *config, const FmoeDataset *data);

/*
 * Of check_training.c, for small options of a model: 1, 2 and 3 processes come to the same weights, a run goes on
 * from its blocks, and memory is estimated well.
 */
extern void check_teams(const char *model, FmoeLoss loss, double clip_norm, bool weighed);
extern void check_resume(const char *model, FmoeLoss loss);
extern void check_memory(const char *name, FmoeLoss loss, double dropout, int64_t users, bool counted);

/* Of check_ant.c: small own options; " lent": to be lent, " adapted": started from a lent encoder. */
extern void check_ant_options(FmoeConfig *config, const char *model);
/* Of check_step_items.c: small own options of hm4sr, foundation and "fmoe features"; others stay as they are. */
extern void check_step_options(FmoeConfig *config, const char *model);

/* Test files' entry points. */
extern void check_arena_and_random(void);
extern void check_basic_operations(void);
extern void check_sequence_operations(void);
extern void check_losses(void);
extern void check_mixture_operations(void);
extern void check_mixture_losses(void);
extern void check_optimiser(void);
extern void check_ranking(void);
extern void check_safetensors(void);
extern void check_class(void);
extern void check_xcross(void);
extern void check_streams(void);
extern void check_bases(void);
extern void check_text(void);
extern void check_extending(void);
extern void check_strangers(void);
extern void check_data(void);
extern void check_experts(void);
extern void check_mixtures(void);
extern void check_training(void);
extern void check_memory_estimates(void);
extern void check_averages(void);
extern void check_accountant(void);
extern void check_federated(void);
extern void check_evaluation(void);
extern void check_calibration(void);
extern void check_scan(void);
extern void check_baskets(void);
extern void check_counting(void);
extern void check_weights(void);
extern void check_gate(void);
extern void check_content(void);
extern void check_featured(void);
extern void check_postnorm(void);
extern void check_whitening(void);
extern void check_mrff(void);
extern void check_clicks_judged(void);
extern void check_ant(void);
extern void check_hm4sr(void);
extern void check_step_items(void);

#endif							/* FMOE_CHECK_H */

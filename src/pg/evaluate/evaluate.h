/*
 * evaluate.h
 *	  How good a version is: its cases, its ranks, whether it may go live.
 */
#ifndef FMOE_PG_EVALUATE_EVALUATE_H
#define FMOE_PG_EVALUATE_EVALUATE_H

#include "pg/ingest/ingest.h"
#include "pg/store/store.h"

/* ---------------------------------------------------------------- ranking */

/*
 * Cases in a version's own numbering of the items.  Events of items that the
 * version does not know are left out of the histories; an answer that it does
 * not know is a miss, and is not ranked.
 */
typedef struct FmoeEvalSet
{
	const FmoeCases *all;		/* in the numbers of the interactions */
	FmoeDataset data;			/* in the version's item numbers */
	FmoeCases	cases;			/* those with an answer that the version knows, and only such answers */
	int64	   *origin;			/* [answers of cases] the answer of all that each was; NULL: the same */
	struct FmoeWatch *watch;	/* who is told of blocks that are ranked; NULL: nobody */
} FmoeEvalSet;

/* Told how much of all rankings is done, as blocks of cases. */
typedef struct FmoeWatch
{
	void		(*progress) (void *context, int64 done, int64 all);
	void	   *context;
	int64		done;			/* set by those who rank, like the next */
	int64		all;
} FmoeWatch;

/* Bytes of a set with so many events, users and cases, which have so many answers. */
extern size_t fmoe_eval_set_bytes(const FmoeDataset *data, int64 n_cases, int64 n_answers);
/* vocabulary NULL: the cases are in the version's numbers already, nothing is copied. */
extern FmoeEvalSet *fmoe_eval_set(const FmoeInteractions *interactions, const FmoeCases *cases,
								  const FmoeVocabulary *vocabulary);
/* Blocks that so many cases are ranked in. */
extern int64 fmoe_rank_blocks(int64 n_cases);
/* Ranks every answer: rank[those of set->all].  covered as in fmoe_rank_cases, of the version's items. */
extern void fmoe_rank_set(const FmoeEvalSet *set, const FmoeModel *model, FmoeExpertSlot slot, FnnArena *arena,
						  const FmoeProtocol *protocol, int32 *rank, uint8 *covered);

/* Options that all calls that evaluate have. */
typedef struct FmoeEvaluationOptions
{
	int			version;		/* 0: the live one */
	int64_t		limit_users;	/* 0: all */
	int64_t		seed;
} FmoeEvaluationOptions;

/* Their rows of a table of options, over a struct with FmoeEvaluationOptions common. */
#define FMOE_EVALUATION_OPTIONS \
	{"version", FMOE_OPTION_INT, AT(common.version), 0, PG_INT32_MAX, NULL, "0", \
	"version to evaluate; 0: the live one, else the newest"}, \
	{"limit_users", FMOE_OPTION_INT64, AT(common.limit_users), 0, 9007199254740992.0, NULL, "0", \
	"at most so many users, chosen at random; 0: all"}, \
	{"seed", FMOE_OPTION_INT64, AT(common.seed), 0, 9007199254740992.0, NULL, "42", \
	"seed of all random choices"}

/* Options of fmoe_evaluate and fmoe_expert_report; end with name NULL. */
extern const FmoeOption fmoe_evaluate_options[];
extern const FmoeOption fmoe_report_options[];

/* The version of a number; 0: the live one, or with a NOTICE the newest when none is live. */
extern FmoeVersion *fmoe_version_to_evaluate(const FmoeDomain *domain, int number);
/* Error: the version was trained on these events, which a training with this holdout would have kept back. */
pg_noreturn extern void fmoe_refuse_seen(const FmoeDomain *domain, const FmoeVersion *version, const char *split,
										 const char *events, const char *holdout);
/* Warning when the domain has fewer events than trained the version. */
extern void fmoe_warn_of_fewer(const FmoeDomain *domain, const FmoeVersion *version, int64 events);

/* ---------------------------------------------------------------- going live */

typedef struct FmoeStanding
{
	double		ndcg;			/* at 10; NaN when there are no cases */
	double		hr;				/* at 10 */
	double		recall;			/* at 10 */
	double		mrr;
} FmoeStanding;

/* What a model of clicks must beat. */
#define FMOE_CLICK_BASELINES 3
/* Blocks whose groups are looked at. */
#define FMOE_BLOCKS_MAX 16

typedef struct FmoeVerdict
{
	int64		cases;			/* of validation; 0: nothing was compared */
	int64		repeated;		/* users who are none: they had had all of their answers before */
	int64		users;			/* of the data */
	int64		tied_users;		/* whose last basket has several items */
	bool		untrained;		/* not one step of training was done */
	FmoeStanding standing[FMOE_SLOTS];
	double		error[FMOE_SLOTS];	/* standard error of the main expert's lead in NDCG@10 over the slot's */
	double		optimism;		/* of the main expert's NDCG@10, since its epoch was chosen by the same cases; set by
								 * who trained */
	FmoeGate	gate;			/* the model's, if it has one */
	int			lent_gates;		/* that its prior is the mean of, beside the one that ships; set by who trained */
	bool		mixed;			/* it is a mixture, so own is set */
	FmoeStanding own;			/* of the mixture with its own expert alone */
	bool		by_clicks;		/* cases are impressions, and the next four are set instead of standing */
	FmoeClickFigures clicks;
	FmoeClickFigures baseline[FMOE_CLICK_BASELINES];
	FmoeClickLead lead[FMOE_CLICK_BASELINES];
	FmoeClickFigures live_clicks;
	const char *unused;			/* a sentence that names groups nobody is in; NULL: there is none */
	int			live_number;	/* of the version that is live; 0: none */
	int			live_version;	/* compared with the new one; 0: none */
	FmoeStanding live;
} FmoeVerdict;

/* Whether a version was trained on events that a training with this holdout keeps back. */
extern bool fmoe_has_seen_holdout(const FmoeVersion *version, int holdout);
/* Bytes that fmoe_try_model takes beside the model, the live version included. */
extern size_t fmoe_try_bytes(const FmoeInteractions *interactions, const FmoeVersion *live);
/*
 * Ranks the validation events by the model's experts and by the live version
 * (NULL: there is none).  Memory in the current context.  A snapshot is held only
 * while the live version's weights are read.
 */
extern FmoeVerdict *fmoe_try_model(const FmoeDomain *domain, const FmoeInteractions *interactions,
								   const FmoeModel *model, const FmoeVersion *live, FmoeWatch *watch);
/* Why the new version must not go live, as a sentence; NULL: it may. */
extern char *fmoe_verdict_objection(const FmoeVerdict *verdict);
/* {"NAME": number, ...}: parts of a loss, as the class, which must have names for them, calls them. */
extern void fmoe_put_losses(StringInfo json, const FmoeExpertClass *class, const double losses[FMOE_LOSSES_MAX]);
/* The baseline that answers better than a model of clicks; NULL: none does. */
extern const FmoeExpertClass *fmoe_verdict_baseline(const FmoeVerdict *verdict);
/* Makes the verdict that of a baseline, which takes the model's place. */
extern void fmoe_verdict_count_instead(FmoeVerdict *verdict, const FmoeExpertClass *baseline);
/* What rounds of users with noise tell of a user: epsilon at delta, and what it follows from. */
extern Jsonb *fmoe_privacy_jsonb(const FmoeTrainState *state, const FmoeFederated *federated);
/* class: that of the model. */
extern Jsonb *fmoe_verdict_metrics(const FmoeVerdict *verdict, const FmoeConfig *config,
								   const FmoeTrainState *state);

/* ---------------------------------------------------------------- clicks (clicks.c) */

/* Fills a verdict on a model that is judged by clicks. */
extern void fmoe_try_clicks(FmoeVerdict *verdict, const FmoeDomain *domain, const FmoeInteractions *interactions,
							const FmoeModel *model, const FmoeVersion *live, FnnArena *arena);
/*
 * Calls put for every figure of a version and of the baselines, which are counted from what
 * comes before the impressions: auc, log_loss and calibration, and of each baseline what
 * the version has over it, with the ends of a confidence interval of 95 %.
 */
extern void fmoe_evaluate_clicks(const FmoeDomain *domain, const FmoeVersion *version, const FmoeModel *model,
								 FmoeVocabulary *vocabulary, const FmoeImpressionsWanted *wanted, FnnArena *arena,
								 const char *name,
								 void (*put) (void *context, const char *model, const char *metric, double value,
											  int64 users),
								 void *context);
extern char *fmoe_clicks_objection(const FmoeVerdict *verdict);
extern void fmoe_put_clicks(StringInfo json, const FmoeVerdict *verdict);
#endif							/* FMOE_PG_EVALUATE_EVALUATE_H */

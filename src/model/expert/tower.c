/*
 * tower.c
 *	  The classes sasrec and gru4rec: one encoder over a table of item vectors,
 *	  which also scores its states.
 *
 *		x     = dropout(sqrt(width) * item vector + position)
 *		state = encoder(x),  score of item i = state . item vector i
 *
 * With the option features an item's vector is a row of the table and what its
 * features add (featured.h).  While it learns, the vectors of a shard are computed
 * once, for histories and scores alike: of all items, or of those that gbce draws.
 */
#include "model/data/stream.h"
#include "model/expert/expert.h"
#include "model/expert/featured.h"
#include "model/expert/tower.h"

#include <math.h>
#include <string.h>

/* Dropout of the numbers of features. */
#define FEATURE_DROPOUT 0.1

#define AT(field) offsetof(FmoeTowerOptions, field)

static const FmoeOption own_options[] = {
	{"features", FMOE_OPTION_BOOL, AT(features), 0, 0, NULL, "false",
	"an item's vector is its own and what its text, categories, price and vectors add, by maps that are learned"},
	{"id_dropout", FMOE_OPTION_REAL, AT(id_dropout), 0, 0.9, NULL, "0",
	"share of items that a step reads and scores by their features alone, as items without events are", "features"},
	{NULL}
};

/* Slices: the item table, then the encoder's. */
enum
{
	ITEM,
	ENCODER
};

static FmoeEncoding
encoding_of(const FmoeExpert *expert, int encoder)
{
	const FmoeConfig *config = expert->config;

	return (FmoeEncoding)
	{
		.encoder = fmoe_encoders[encoder],
			.shape = fmoe_shape_of(config, encoder),
			.dropout = config->dropout,
			.tensor = fmoe_parameter(expert, ENCODER)
		};
}

static const FmoeTowerOptions *
own(const FmoeConfig *config)
{
	return fmoe_own_options(config);
}

static void
declare(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);

	fmoe_declare_items(to, config, facts->n_items, config->width);
	fmoe_encoders[encoder]->declare(to, &shape, config->max_length);
	if (own(config)->features)
		fmoe_declare_featured(to, facts->features, config->width);
}

/* States after the tokens, whose items' vectors are rows row[n_tokens] of a table. */
static FnnTensor *
encode_rows(const FmoeExpert *expert, FnnTape *tape, FnnTensor *table, const int32_t *row, const FmoeBatch *batch,
			FmoeWhich which, int encoder)
{
	FmoeEncoding encoding = encoding_of(expert, encoder);
	FnnTensor  *x = encoding.encoder->enter(&encoding, tape, table, row, sqrt(encoding.shape.width), batch);

	return fmoe_encoder_run(&encoding, tape, fnn_dropout(tape, x, encoding.dropout), batch, which);
}

static double
bytes(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);
	bool		all = config->loss == FMOE_LOSS_SOFTMAX;
	double		width = config->width;
	double		items = fmin(facts->n_items, 2 * tokens + config->negatives);
	double		reals;

	if (phase == FMOE_PREPARED)
		return fmoe_prepared_bytes(facts->features, facts->n_items, all);
	if (phase == FMOE_SETTLING)
		return 0;
	/* for each token; a layer's weights transposed */
	reals = tokens * fmoe_encoders[encoder]->token_reals(&shape, config->dropout > 0, phase == FMOE_RECORDED) +
		4 * width * width;
	/* states in several forms */
	if (phase == FMOE_UNRECORDED)
		reals += 4 * cases * width;
	if (own(config)->features && phase == FMOE_RECORDED)
		reals += fmoe_featured_bytes(facts->features, width, all ? facts->n_items : items, true) / sizeof(fnn_real) +
			(all ? 0 : facts->n_items + 4 * tokens + 3 * items);
	return reals * sizeof(fnn_real);
}

static double
multiplications(const FmoeConfig *config, double n_scored, int encoder)
{
	FmoeShape	shape = fmoe_shape_of(config, encoder);

	return fmoe_encoders[encoder]->multiplications(&shape) + n_scored * config->width;
}

static bool
fits(const FmoeConfig *config, FmoeMisfit *misfit)
{
	FmoeShape	shape = fmoe_shape_of(config, 0);

	return fmoe_shape_fits(&shape, misfit);
}

/* ---------------------------------------------------------------- items of features */

static bool
computes(const FmoeConfig *config)
{
	return own(config)->features;
}

static unsigned
reads(const FmoeConfig *config)
{
	return own(config)->features ? FMOE_READS_FEATURES | FMOE_NEEDS_FEATURES : 0;
}

static const void *
prepare(const FmoeExpert *expert, FnnArena *arena, const FmoeDataset *data)
{
	return fmoe_prepare_featured(expert, arena, data, expert->config->loss == FMOE_LOSS_SOFTMAX);
}

/* Rows of items without events stay what they are set to here, since no gradient reaches them. */
static void
start(FmoeExpert *expert, const FnnHost *host)
{
	const FmoePrepared *prepared = expert->prepared;
	FnnTensor  *table = fmoe_parameter(expert, ITEM);

	for (int64_t i = 0; prepared != NULL && i < table->rows; i++)
	{
		if (!prepared->trained[i])
			memset(table->value + i * table->cols, 0, sizeof(fnn_real) * (size_t) table->cols);
		if (i % 100000 == 0)
			fnn_poll(host);
	}
}

static int32_t *
count_up(FnnArena *arena, int64_t n)
{
	int32_t    *number = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);

	for (int64_t i = 0; i < n; i++)
		number[i] = (int32_t) i;
	return number;
}

/* Vectors of items; goal NULL: as they are served. */
static FnnTensor *
vectors(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item, const FmoeGoal *goal, int encoder)
{
	const FmoePrepared *prepared = expert->prepared;
	FmoeShape	shape = fmoe_shape_of(expert->config, encoder);
	int			weights = ENCODER + fmoe_encoders[encoder]->slices(&shape);
	double		dropout = own(expert->config)->id_dropout;
	bool	   *kept = NULL;

	if (item == NULL)
		item = count_up(tape->arena, n);
	if (goal != NULL)
	{
		kept = fnn_alloc(tape->arena, (size_t) n);
		for (int64_t i = 0; i < n; i++)
			kept[i] = (prepared == NULL || prepared->trained[item[i]]) &&
				(dropout == 0 || fnn_random_uniform(goal->seed, fmoe_stream(FMOE_STREAM_IDS, goal->stream),
													(uint64_t) item[i]) >= dropout);
	}
	return fmoe_featured(expert, tape, fmoe_parameter(expert, ITEM), fmoe_parameter(expert, weights), n, item, kept,
						 FEATURE_DROPOUT);
}

static FnnTensor *
encode(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which, int encoder)
{
	FnnTensor  *table = fmoe_parameter(expert, ITEM);
	const int32_t *row = batch->events.item;

	if (own(expert->config)->features && expert->items != NULL)
		table = (FnnTensor *) expert->items;
	else if (own(expert->config)->features)
	{
		table = vectors(expert, tape, batch->n_tokens, row, NULL, encoder);
		row = count_up(tape->arena, batch->n_tokens);
	}
	return encode_rows(expert, tape, table, row, batch, which, encoder);
}

static void
learn_all(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal, int encoder)
{
	FnnTensor  *table = vectors(expert, tape, expert->n_items, NULL, goal, encoder);

	fmoe_add_loss(tape, encode_rows(expert, tape, table, batch->events.item, batch, FMOE_ALL_TOKENS, encoder), table,
				  goal, NULL);
}

/* The same with the vectors of items that the shard has, its targets and negatives. */
static void
learn_sampled(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, const FmoeGoal *goal, int encoder)
{
	FnnArena   *arena = tape->arena;
	int64_t		tokens = batch->n_tokens;
	int64_t		n = 2 * tokens + goal->n_negatives;
	int32_t    *item = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	int32_t    *row = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	int32_t    *distinct = fnn_alloc(arena, sizeof(int32_t) * (size_t) n);
	int32_t    *target = row + tokens;
	FmoeGoal	sampled = *goal;
	FnnTensor  *table;

	memcpy(item, batch->events.item, sizeof(int32_t) * (size_t) tokens);
	/* where there is no target, an item that is there anyway */
	for (int64_t t = 0; t < tokens; t++)
		item[tokens + t] = goal->target[t] >= 0 ? goal->target[t] : item[t];
	memcpy(item + 2 * tokens, goal->negative, sizeof(int32_t) * (size_t) goal->n_negatives);
	table = vectors(expert, tape, fmoe_number_items(arena, n, item, expert->n_items, distinct, row), distinct, goal,
					encoder);
	for (int64_t t = 0; t < tokens; t++)
		if (goal->target[t] < 0)
			target[t] = -1;
	sampled.target = target;
	sampled.negative = row + 2 * tokens;
	fmoe_add_loss(tape, encode_rows(expert, tape, table, row, batch, FMOE_ALL_TOKENS, encoder), table, &sampled, NULL);
}

static void
learn(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal, int encoder)
{
	if (goal->n_negatives > 0)
		learn_sampled(expert, tape, batch, goal, encoder);
	else
		learn_all(expert, tape, batch, goal, encoder);
}

/* ---------------------------------------------------------------- the classes */

/* Rows of fmoe_encoders. */
enum
{
	SASREC,
	GRU4REC
};

static void
declare_sasrec(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	declare(to, config, facts, SASREC);
}

static double
bytes_of_sasrec(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	return bytes(config, facts, phase, tokens, cases, SASREC);
}

static double
multiplications_of_sasrec(const FmoeConfig *config, double n_scored)
{
	return multiplications(config, n_scored, SASREC);
}

static FnnTensor *
encode_sasrec(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	return encode(expert, tape, batch, which, SASREC);
}

static FnnTensor *
items_of_sasrec(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	return vectors(expert, tape, n, item, NULL, SASREC);
}

static void
learn_sasrec(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	learn(expert, tape, batch, goal, SASREC);
}

static bool
lends_sasrec(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_shape_of(config, SASREC);
	return true;
}

const FmoeExpertClass fmoe_sasrec_class = {
	.name = "sasrec",
	.summary = "causal self-attention over the history",
	.options = own_options,
	.fits = fits,
	.reads = reads,
	.declare = declare_sasrec,
	.bytes = bytes_of_sasrec,
	.multiplications = multiplications_of_sasrec,
	.encode = encode_sasrec,
	.computes = computes,
	.items = items_of_sasrec,
	.learn = learn_sasrec,
	.prepare = prepare,
	.start = start,
	.lends = lends_sasrec
};

static void
declare_gru4rec(FmoeDeclaring *to, const FmoeConfig *config, const FmoeFacts *facts)
{
	declare(to, config, facts, GRU4REC);
}

static double
bytes_of_gru4rec(const FmoeConfig *config, const FmoeFacts *facts, FmoePhase phase, double tokens, double cases)
{
	return bytes(config, facts, phase, tokens, cases, GRU4REC);
}

static double
multiplications_of_gru4rec(const FmoeConfig *config, double n_scored)
{
	return multiplications(config, n_scored, GRU4REC);
}

static FnnTensor *
encode_gru4rec(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeWhich which)
{
	return encode(expert, tape, batch, which, GRU4REC);
}

static FnnTensor *
items_of_gru4rec(const FmoeExpert *expert, FnnTape *tape, int64_t n, const int32_t *item)
{
	return vectors(expert, tape, n, item, NULL, GRU4REC);
}

static void
learn_gru4rec(const FmoeExpert *expert, FnnTape *tape, const FmoeBatch *batch, FmoeGoal *goal)
{
	learn(expert, tape, batch, goal, GRU4REC);
}

static bool
lends_gru4rec(const FmoeConfig *config, FmoeShape *shape)
{
	*shape = fmoe_shape_of(config, GRU4REC);
	return true;
}

const FmoeExpertClass fmoe_gru4rec_class = {
	.name = "gru4rec",
	.summary = "gated recurrent units over the history",
	.options = own_options,
	.fits = fits,
	.reads = reads,
	.declare = declare_gru4rec,
	.bytes = bytes_of_gru4rec,
	.multiplications = multiplications_of_gru4rec,
	.encode = encode_gru4rec,
	.computes = computes,
	.items = items_of_gru4rec,
	.learn = learn_gru4rec,
	.prepare = prepare,
	.start = start,
	.lends = lends_gru4rec
};

/*
 * expert.h
 *	  What classes of models are made of: parameters, losses, encoders, adapters.
 */
#ifndef FMOE_MODEL_EXPERT_EXPERT_H
#define FMOE_MODEL_EXPERT_EXPERT_H

#include "model/expert/class.h"

/* dtype of parameters in this build */
#ifdef FNN_DOUBLE
#define FMOE_REAL_DTYPE FNN_F64
#else
#define FMOE_REAL_DTYPE FNN_F32
#endif

/* ---------------------------------------------------------------- declaring */

/* Standard deviation of freshly drawn matrices and item vectors. */
#define FMOE_INIT_SCALE 0.02

/* Declares a slice named prefix + name.  Weight decay applies unless it has one row. */
extern FnnParam *fmoe_declare(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t rows, int64_t cols,
							  FnnInit init, double init_scale);
/* Declares the weight [out, in] of a linear map. */
extern FnnParam *fmoe_declare_weight(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t out, int64_t in,
									 FnnInit init, double init_scale);
/* Declares "NAME.weight" [out, in] and "NAME.bias" [1, out]. */
extern void fmoe_declare_linear(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t out, int64_t in);
/* Declares "NAME.gain" and "NAME.bias" [1, width]. */
extern void fmoe_declare_norm(FmoeDeclaring *to, FnnGroup group, const char *name, int64_t width);
/* Declares the table of item vectors [n_items, width]; its gradient is sparse when the loss touches few rows. */
extern FnnParam *fmoe_declare_items(FmoeDeclaring *to, const FmoeConfig *config, int32_t n_items, int64_t width);
/* The slices from first on stay as they are, and are nobody's who gets this model: those of a lent one. */
extern void fmoe_declared_lent(FmoeDeclaring *to, int first, bool elsewhere);
/* Lets a class declare its parameters for a configuration into params, which are empty before. */
extern void fmoe_declare_class(FnnParams *params, const FnnHost *host, const FmoeExpertClass *class,
							   const FmoeConfig *config, const FmoeFacts *facts);

/* ---------------------------------------------------------------- experts */

static inline FnnTensor *
fmoe_parameter(const FmoeExpert *expert, int index)
{
	return &expert->tensor[index];
}

/* Sets array number index of a class that counts, of n values. */
extern void fmoe_set_array(FmoeExpert *expert, int index, FnnDtype dtype, int64_t n, void *data);
/* An expert's arrays by name: fills at most max elements of out, returns their number. */
extern int	fmoe_expert_arrays(const FmoeExpert *expert, FnnArray *out, int max);
/* What the class reads: a set of FmoeReads. */
extern unsigned fmoe_reads(const FmoeExpertClass *class, const FmoeConfig *config);
/* Number of parts that the class's scores are sums of, at least 1. */
extern int	fmoe_score_parts(const FmoeExpertClass *class, const FmoeConfig *config);

/* Numbers in the row that a user has of their own; 0: users have none. */
static inline int64_t
fmoe_private_columns(const FmoeExpert *expert)
{
	return expert->class->private_columns != NULL ? expert->class->private_columns(expert) : 0;
}

/* Whether the class computes item vectors; else they are the rows of the first parameter. */
extern bool fmoe_computes_items(const FmoeExpertClass *class, const FmoeConfig *config);
/* How a configuration trains in rounds of users; NULL: it does not. */
extern const FmoeFederated *fmoe_federated(const FmoeExpertClass *class, const FmoeConfig *config);
/* Whether the class has the hook prepare and it applies. */
extern bool fmoe_prepares(const FmoeExpertClass *class, const FmoeConfig *config);
/* Whether the hooks learn and start apply, of those that the class has. */
/* Length of the vectors that a step computes once for all its shards; 0: none. */
extern int64_t fmoe_step_width(const FmoeExpertClass *class, const FmoeConfig *config);
extern bool fmoe_learns(const FmoeExpertClass *class, const FmoeConfig *config);

/* How many things a training tries one after another, at least 1 and at most FMOE_ATTEMPTS_MAX. */
extern int	fmoe_attempts(const FmoeExpertClass *class, const FmoeConfig *config);

/* ---------------------------------------------------------------- losses */

/* A sum of weights as an array of a counter holds it: finite, and above 0 where the sum is. */
extern float fmoe_counted(double sum);
/* The vectors [n_items, d] that states are scored against. */
extern FnnTensor *fmoe_item_vectors(const FmoeExpert *expert, FnnTape *tape);
/*
 * Adds the configured loss of states hidden [n_tokens, d] against a table's rows.
 * extra is for the softmax loss only and may be NULL.
 */
extern void fmoe_add_loss(FnnTape *tape, FnnTensor *hidden, FnnTensor *table, const FmoeGoal *goal,
						  const FnnSoftmaxExtra *extra);
/* Counts what the tape's loss has grown by since the last call as the class's loss of that number. */
extern void fmoe_goal_loss(FmoeGoal *goal, const FnnTape *tape, int number);

/* ---------------------------------------------------------------- encoders */

typedef struct FmoeEncoder FmoeEncoder;

/* An encoder with its parameters. */
typedef struct FmoeEncoding
{
	const FmoeEncoder *encoder;
	FmoeShape	shape;
	double		dropout;
	FnnTensor  *tensor;			/* [slices] */
} FmoeEncoding;

/* A kind of encoder: turns the vectors of a history's items into states, layer by layer. */
struct FmoeEncoder
{
	const char *name;
	const char *summary;		/* one line, lower case */
	bool		in_turn;		/* it can read what happened at once one after another */
	const char *const *unused;	/* common options that say nothing to it, NULL-terminated; NULL: there are none */
	void		(*declare) (FmoeDeclaring *to, const FmoeShape *shape, int max_length);
	/* How many slices declare declares. */
	int			(*slices) (const FmoeShape *shape);
	/*
	 * Inputs [n_tokens, width]: rows row[n_tokens] of a table of item vectors, times
	 * scale, and what the encoder adds to them, such as positions.
	 */
	FnnTensor  *(*enter) (const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *table, const int32_t *row,
						  double scale, const FmoeBatch *batch);
	/* One layer.  With FMOE_LAST_TOKENS, given for the last layer only, it may give just the rows of last tokens. */
	FnnTensor  *(*layer) (const FmoeEncoding *encoding, FnnTape *tape, int layer, FnnTensor *x,
						  const FmoeBatch *batch, FmoeWhich which);
	/*
	 * The same for tokens x [n, width] that each follow a history, and see of it rows begin[n] .. + count[n] - 1 of
	 * what went into the layer, but not one another; NULL: it cannot.
	 */
	FnnTensor  *(*follow) (const FmoeEncoding *encoding, FnnTape *tape, int layer, FnnTensor *x, FnnTensor *history,
						   const int32_t *begin, const int32_t *count);
	/* States [rows, width] from the result of the last layer. */
	FnnTensor  *(*leave) (const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch,
						  FmoeWhich which);
	/* Reals on the arena for each token of a recorded pass and its backward, or of an unrecorded one. */
	int64_t		(*token_reals) (const FmoeShape *shape, bool dropped, bool recorded);
	/* Reals that an unrecorded pass takes besides for each token when the states of all tokens are wanted. */
	int64_t		(*rest_reals) (const FmoeShape *shape);
	/* Multiplications of a token's forward pass in the linear maps of all layers. */
	double		(*multiplications) (const FmoeShape *shape);
};

extern const FmoeEncoder fmoe_sasrec_encoder;
extern const FmoeEncoder fmoe_gru4rec_encoder;

/* All encoders, NULL-terminated; FmoeShape.encoder is a row's number. */
extern const FmoeEncoder *const fmoe_encoders[];
/* Their names, NULL-terminated: choices of options. */
extern const char *const fmoe_encoder_names[];

/* The common options that say nothing to it, NULL-terminated. */
extern const char *const *fmoe_encoder_unused(int encoder);

/* The default of options that name an encoder. */
#define FMOE_DEFAULT_ENCODER "sasrec"

/* The choices of the option baskets (FmoeBasketReading), NULL-terminated. */
extern const char *const fmoe_basket_readings[];
/* A row for a table of options, for an encoder that reads baskets so. */
#define FMOE_BASKETS_OPTION(at) \
	{"baskets", FMOE_OPTION_ENUM, at, 0, 0, fmoe_basket_readings, "drawn", \
	"how sasrec reads what happened at once; drawn: one after another, in an order that each epoch draws anew;" \
	" set: all at once", .stored = "set"}
/* The batch, on the arena, as the encoder reads it under that option. */
extern const FmoeBatch *fmoe_encoder_reads(const FmoeEncoder *encoder, int baskets, FnnArena *arena,
										   const FmoeBatch *batch);
/* Means [baskets, d] of the rows [n_tokens, d] of each basket, of a batch that has baskets. */
extern FnnTensor *fmoe_basket_means(FnnTape *tape, FnnTensor *x, const FmoeBatch *batch);
/* Means [sequences.count, d] of the rows [n_tokens, d] of each sequence's last basket; none is empty. */
extern FnnTensor *fmoe_last_means(FnnTape *tape, FnnTensor *x, const FmoeBatch *batch);
/* Runs inputs x through all layers, and leave. */
extern FnnTensor *fmoe_encoder_run(const FmoeEncoding *encoding, FnnTape *tape, FnnTensor *x, const FmoeBatch *batch,
								   FmoeWhich which);
extern bool fmoe_same_shape(const FmoeShape *a, const FmoeShape *b);
/* The shape that the common options of a configuration give an encoder. */
extern FmoeShape fmoe_shape_of(const FmoeConfig *config, int encoder);
/* Whether an encoder can have the shape. */
extern bool fmoe_shape_fits(const FmoeShape *shape, FmoeMisfit *misfit);
/* What a list of lent encoders consists of, for options that fill an FmoeLentList. */
extern const FmoeOptionList fmoe_lent_option;

/* ---------------------------------------------------------------- adapters */

/*
 * Declares low-rank adapters (Hu et al. 2022, equation 3) of the linear maps among
 * the n slices from first on.  For each input width of the maps, in the order in
 * which they first appear, there is a slice of all A end to end, [maps * rank, in],
 * and one of all B, [outputs, rank].
 */
extern void fmoe_declare_adapters(FmoeDeclaring *to, int first, int n, int rank);
/* How many slices the adapters of n slices are. */
extern int	fmoe_adapter_slices(int n, const FnnParam *slice);
/* Copies tensor[n], with W + scale B A in place of each linear map's W; adapter: the slice of the first A. */
extern FnnTensor *fmoe_adapted(FnnTape *tape, int n, const FnnParam *slice, FnnTensor *tensor, FnnTensor *adapter,
							   int rank, double scale);

/* ---------------------------------------------------------------- classes */

extern const FmoeExpertClass fmoe_sasrec_class;
extern const FmoeExpertClass fmoe_gru4rec_class;
extern const FmoeExpertClass fmoe_popularity_class;
extern const FmoeExpertClass fmoe_markov_class;

#endif							/* FMOE_MODEL_EXPERT_EXPERT_H */

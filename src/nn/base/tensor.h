/*
 * tensor.h
 *	  Matrices with gradients, and the blocks of named parameters they are slices of.
 */
#ifndef FNN_BASE_TENSOR_H
#define FNN_BASE_TENSOR_H

#include "nn/base/base.h"

/*
 * Gradient of a table of which a step touches few rows: a row gets a place in
 * grad when it is first touched.  Clearing costs the touched rows only.
 */
typedef struct FnnSparse
{
	int64_t		rows;			/* of the table */
	int64_t		cols;
	int32_t    *place;			/* [rows] index into touched, -1: untouched */
	int32_t    *touched;		/* [capacity] row numbers, in order of first touch */
	int64_t		count;			/* rows touched so far */
	int64_t		capacity;
	fnn_real   *grad;			/* [capacity, cols] */
} FnnSparse;

typedef struct FnnTensor
{
	int64_t		rows;
	int64_t		cols;
	fnn_real   *value;			/* [rows, cols] */
	fnn_real   *grad;			/* [rows, cols]; NULL: none, or sparse */
	FnnSparse  *sparse;			/* gradient by touched rows; NULL: none, or dense */
	/*
	 * The dense gradient holds nothing yet, not even zeros: the softmax loss of a
	 * whole table overwrites it and clears this; nothing else may come before.
	 */
	bool		fresh;
	/* of fnn_columns only: */
	int64_t		stride;			/* reals from one row of value and grad to the next; 0: cols */
	int64_t		column;			/* where its columns begin in a row of sparse */
} FnnTensor;

/* The gradient of one row of a table, dense or sparse; the tensor must have one. */
extern fnn_real *fnn_grad_row(const FnnHost *host, FnnTensor *tensor, int64_t row);
/* Bytes of memory for a sparse gradient. */
extern size_t fnn_sparse_bytes(const FnnHost *host, int64_t rows, int64_t cols, int64_t capacity);
/* Sets a sparse gradient up over such memory, no row touched. */
extern void fnn_sparse_init(FnnSparse *sparse, void *memory, int64_t rows, int64_t cols, int64_t capacity);
/* Makes all rows untouched again. */
extern void fnn_sparse_clear(FnnSparse *sparse);

typedef enum FnnInit
{
	FNN_INIT_ZERO,
	FNN_INIT_ONE,
	FNN_INIT_NORMAL,			/* N(0, init_scale) */
	FNN_INIT_UNIFORM			/* U(-init_scale, init_scale) */
} FnnInit;

/* Who may receive a copy of a parameter. */
typedef enum FnnShare
{
	FNN_PUBLIC,					/* other databases that the encoder is lent to */
	FNN_LOCAL,					/* nobody, unless whole versions may leave: item tables, heads, gates */
	FNN_PRIVATE					/* nobody, by no call: rows of single users */
} FnnShare;

/* What a parameter is for: training freezes and draws anew by groups. */
typedef enum FnnGroup
{
	FNN_ITEMS,					/* vectors of items, and what makes them of features */
	FNN_POSITIONS,
	FNN_ENCODER,
	FNN_ADAPTER,
	FNN_GATE,
	FNN_HEAD
} FnnGroup;

/* What a parameter has a row for, where that tells rows of two databases apart. */
typedef enum FnnRowsOf
{
	FNN_OF_NONE,
	FNN_OF_ITEMS,
	FNN_OF_TERMS,				/* of a feature of items */
	FNN_OF_USER_TERMS,			/* of a feature of users */
	FNN_OF_GROUPS				/* of users, who are in one or few of them */
} FnnRowsOf;

/* A set of groups, as fnn_params_freeze takes it. */
#define FNN_GROUP_BIT(group) (1u << (group))
#define FNN_GROUPS_ALL (~0u)

/* One named slice of a parameter block. */
typedef struct FnnParam
{
	char		name[FNN_NAME_MAX];
	int64_t		rows;
	int64_t		cols;
	size_t		offset;			/* in reals, a multiple of FNN_ALIGN bytes */
	FnnInit		init;
	double		init_scale;
	FnnShare	share;
	FnnGroup	group;
	FnnRowsOf	rows_of;
	bool		linear;			/* the weight of a linear map [out, in]: a low-rank adapter may be added to it */
	bool		frozen;			/* gets no gradient and no update */
	bool		sparse;			/* gradient and update by touched rows */
	bool		decay;			/* weight decay applies */
	bool		elsewhere;		/* never changes, and is stored with another model, not with this one */
} FnnParam;

/*
 * The layout of a parameter block.  Values, gradients and both Adam moments
 * are each one contiguous array of size reals with this layout, so that
 * checkpoint, clip and update are each one loop.  All zero: no slices yet.
 */
typedef struct FnnParams
{
	int			count;
	int			capacity;
	size_t		size;			/* reals of a block, gaps for alignment included */
	FnnParam   *list;			/* [count], in memory of the host that slices were added with */
} FnnParams;

/* Declares a slice and returns it, valid until the next one is declared, for its flags to be set. */
extern FnnParam *fnn_params_add(FnnParams *params, const FnnHost *host, const char *name,
								int64_t rows, int64_t cols, FnnInit init, double init_scale);
extern int	fnn_params_find(const FnnParams *params, const char *name); /* -1: none */
/* Gives the list's memory back. */
extern void fnn_params_free(FnnParams *params, const FnnHost *host);
/* Fills values[params->size] (gaps become 0); slice i draws from stream i. */
extern void fnn_params_init(const FnnParams *params, const FnnHost *host, uint64_t seed, fnn_real *values);
/* Fills the slices of a set of groups as fnn_params_init does; the others stay. */
extern void fnn_params_redraw(const FnnParams *params, const FnnHost *host, uint64_t seed, unsigned groups,
							  fnn_real *values);
/* The slices of a set of groups get no gradient and no update from now on. */
extern void fnn_params_freeze(FnnParams *params, unsigned groups);
/*
 * Points tensors[count] into blocks of values and gradients.  grads NULL:
 * inference.  Frozen slices get no gradient.  A slice for which sparse[count]
 * has a gradient uses that instead of grads; sparse may be NULL.
 */
extern void fnn_params_bind(const FnnParams *params, FnnTensor *tensors, fnn_real *values,
							fnn_real *grads, FnnSparse *const *sparse);

#endif							/* FNN_BASE_TENSOR_H */

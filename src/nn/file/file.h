/*
 * file.h
 *	  Named arrays, and files of them: safetensors.
 */
#ifndef FNN_FILE_FILE_H
#define FNN_FILE_FILE_H

#include "nn/base/base.h"

typedef enum FnnDtype
{
	FNN_F32, FNN_F64, FNN_F16, FNN_BF16, FNN_I64, FNN_I32, FNN_I8, FNN_U8
} FnnDtype;

extern size_t fnn_dtype_size(FnnDtype dtype);
extern const char *fnn_dtype_name(FnnDtype dtype);	/* "F32" ... */
extern bool fnn_dtype_parse(const char *name, FnnDtype *dtype);

#define FNN_DIMS_MAX 4

/* A named array: what stores and files hold. */
typedef struct FnnArray
{
	char		name[FNN_NAME_MAX];
	FnnDtype	dtype;
	int			ndim;
	int64_t		shape[FNN_DIMS_MAX];
	void	   *data;			/* row-major */
	size_t		bytes;
} FnnArray;

extern const FnnArray *fnn_find_array(int n, const FnnArray *arrays, const char *name); /* NULL: none */

typedef struct FnnMetadata
{
	const char *key;
	const char *value;			/* UTF-8, NUL-terminated */
} FnnMetadata;

typedef struct FnnFile
{
	int			n_arrays;
	FnnArray   *array;
	int			n_metadata;
	FnnMetadata *metadata;
} FnnFile;

/*
 * Reads a safetensors file that may be hostile.  Arrays point into bytes
 * where alignment allows, else into copies on the arena.  Refused with
 * FNN_FORMAT and a message that names the rule broken: truncation, header
 * length, JSON syntax, unknown dtype, negative or overflowing shapes, offsets
 * out of order, overlapping, leaving holes or past the end, bytes that are not
 * shape times dtype, duplicate or overlong names; with FNN_NONFINITE: NaN or
 * infinity in F16, BF16, F32 and F64 arrays.
 */
extern FnnFile *fnn_safetensors_read(FnnArena *arena, const void *bytes, size_t size);
/* The same, where NaN and infinity are left to the caller in arrays whose names lacks says may have them. */
extern FnnFile *fnn_safetensors_read_lacking(FnnArena *arena, const void *bytes, size_t size,
											 bool (*lacks) (const char *name));
/* Bytes that the file will take. */
extern size_t fnn_safetensors_size(FnnArena *arena, const FnnFile *file);
/* Writes the file to out[fnn_safetensors_size]. */
extern void fnn_safetensors_write(FnnArena *arena, const FnnFile *file, void *out);
extern const char *fnn_file_metadata(const FnnFile *file, const char *key); /* NULL: none */

#endif							/* FNN_FILE_FILE_H */

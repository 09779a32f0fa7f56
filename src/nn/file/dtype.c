/*
 * dtype.c
 *	  The types of numbers in arrays: names and sizes as safetensors has them.
 */
#include "nn/file/file.h"

#include <stdio.h>
#include <string.h>

typedef struct DtypeFacts
{
	const char *name;
	size_t		size;
} DtypeFacts;

static const DtypeFacts dtypes[] = {
	[FNN_F32] = {"F32", 4},
	[FNN_F64] = {"F64", 8},
	[FNN_F16] = {"F16", 2},
	[FNN_BF16] = {"BF16", 2},
	[FNN_I64] = {"I64", 8},
	[FNN_I32] = {"I32", 4},
	[FNN_I8] = {"I8", 1},
	[FNN_U8] = {"U8", 1},
};

#define N_DTYPES ((int) (sizeof(dtypes) / sizeof(dtypes[0])))

size_t
fnn_dtype_size(FnnDtype dtype)
{
	return dtypes[dtype].size;
}

const char *
fnn_dtype_name(FnnDtype dtype)
{
	return dtypes[dtype].name;
}

bool
fnn_dtype_parse(const char *name, FnnDtype *dtype)
{
	int			i;

	for (i = 0; i < N_DTYPES; i++)
	{
		if (strcmp(name, dtypes[i].name) == 0)
		{
			*dtype = (FnnDtype) i;
			return true;
		}
	}
	return false;
}

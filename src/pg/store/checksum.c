/*
 * checksum.c
 *	  The checksum of a version: of names, types, shapes and bytes of its arrays.
 *
 * The hashes of the arrays are added, so arrays may come in any order, as they do
 * from tables and files.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/store/store.h"

uint64
fmoe_checksum(int n_arrays, const FnnArray *arrays)
{
	uint64		sum = 0;
	int			i;

	for (i = 0; i < n_arrays; i++)
	{
		const FnnArray *array = &arrays[i];
		const char *dtype = fnn_dtype_name(array->dtype);
		size_t		done = 0;
		uint64		hash;

		hash = fnn_hash(0, array->name, strlen(array->name));
		hash = fnn_hash(hash, dtype, strlen(dtype));
		hash = fnn_hash(hash, array->shape, sizeof(int64_t) * array->ndim);
		while (done < array->bytes)
		{
			size_t		piece = Min(array->bytes - done, FMOE_PART_BYTES);

			hash = fnn_hash(hash, (const char *) array->data + done, piece);
			done += piece;
			CHECK_FOR_INTERRUPTS();
		}
		sum += hash;
	}
	return sum;
}

char *
fmoe_checksum_text(uint64 checksum)
{
	return psprintf("%016llx", (unsigned long long) checksum);
}

uint64
fmoe_checksum_parse(const char *text)
{
	return strtoull(text, NULL, 16);
}

/*
 * parts.c
 *	  Bytes in rows of at most FMOE_PART_BYTES: the weights of versions, the files that are lent, checkpoints.
 *
 * Every part but the last is full, so the number of bytes says how many parts
 * there are and how long each is.  What is read back must be exactly that.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/base/base.h"

int
fmoe_part_count(size_t bytes)
{
	return bytes == 0 ? 1 : (int) ((bytes + FMOE_PART_BYTES - 1) / FMOE_PART_BYTES);
}

size_t
fmoe_part_bytes(size_t bytes, int part)
{
	return Min(bytes - (size_t) part * FMOE_PART_BYTES, FMOE_PART_BYTES);
}

void
fmoe_parts_write(FmoeStatement *insert, Datum *values, int number, int data, const void *bytes, size_t size)
{
	bytea	   *buffer = palloc(VARHDRSZ + fmoe_part_bytes(size, 0));
	int			count = fmoe_part_count(size);

	for (int part = 0; part < count; part++)
	{
		size_t		length = fmoe_part_bytes(size, part);

		SET_VARSIZE(buffer, VARHDRSZ + length);
		memcpy(VARDATA(buffer), (const char *) bytes + (size_t) part * FMOE_PART_BYTES, length);
		values[number] = Int32GetDatum(part);
		values[data] = PointerGetDatum(buffer);
		fmoe_own_execute(insert, values, NULL, false, 0);
		CHECK_FOR_INTERRUPTS();
	}
	pfree(buffer);
}

bool
fmoe_part_copy(HeapTuple row, TupleDesc shape, int column, void *into, size_t size)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, shape, column, &isnull);
	bytea	   *data;
	bool		fits;

	if (isnull)
		return false;
	data = DatumGetByteaPP(value);
	fits = VARSIZE_ANY_EXHDR(data) == size;
	if (fits)
		memcpy(into, VARDATA_ANY(data), size);
	/* small ones stand in the row itself */
	if ((Pointer) data != DatumGetPointer(value))
		pfree(data);
	return fits;
}

int
fmoe_parts_read(FmoeStatement *select, Datum *values, int number, bool read_only, void *into, size_t size)
{
	int			count = fmoe_part_count(size);

	for (int part = 0; part < count; part++)
	{
		bool		whole;

		values[number] = Int32GetDatum(part);
		fmoe_own_execute(select, values, NULL, read_only, 2);
		whole = SPI_processed == 1 &&
			fmoe_part_copy(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						   (char *) into + (size_t) part * FMOE_PART_BYTES, fmoe_part_bytes(size, part));
		SPI_freetuptable(SPI_tuptable);
		if (!whole)
			return part;
		CHECK_FOR_INTERRUPTS();
	}
	return -1;
}

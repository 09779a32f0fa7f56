/*
 * file_private.h
 *	  What the files about expert files share among themselves.
 */
#ifndef FMOE_PG_FILE_FILE_PRIVATE_H
#define FMOE_PG_FILE_FILE_PRIVATE_H

#include "pg/file/file.h"

/* Error: bytes from outside are not an expert file; the arguments say why, as a sentence. */
#define fmoe_bad_file(...) \
	ereport(ERROR, \
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), \
			 errmsg("invalid expert file"), \
			 errdetail(__VA_ARGS__)))

#endif							/* FMOE_PG_FILE_FILE_PRIVATE_H */

/*
 * store_private.h
 *	  What the files of the store share among themselves.
 */
#ifndef FMOE_PG_STORE_STORE_PRIVATE_H
#define FMOE_PG_STORE_STORE_PRIVATE_H

#include "pg/store/store.h"

/* Error: a newer fmoe has stored the version. */
pg_noreturn extern void fmoe_reject_format(int version, int format);

#endif							/* FMOE_PG_STORE_STORE_PRIVATE_H */

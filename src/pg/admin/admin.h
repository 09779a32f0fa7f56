/*
 * admin.h
 *	  Functions that are generated for domains.
 */
#ifndef FMOE_PG_ADMIN_ADMIN_H
#define FMOE_PG_ADMIN_ADMIN_H

#include "pg/base/base.h"

/* overload.c */

/*
 * Makes the generated forms of fmoe_recommend what the domains ask for.
 * fmoe_lock_overloads comes first, before the domains are changed; the lock
 * is held to the end of the transaction.
 */
extern void fmoe_lock_overloads(void);
extern void fmoe_maintain_overloads(void);

#endif							/* FMOE_PG_ADMIN_ADMIN_H */

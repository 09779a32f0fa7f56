/*
 * admin.h
 *	  Functions that are generated for domains.
 */
#ifndef FMOE_PG_ADMIN_ADMIN_H
#define FMOE_PG_ADMIN_ADMIN_H

#include "pg/base/base.h"

/* To be taken before domains are changed; held to the end of the transaction. */
extern void fmoe_lock_overloads(void);
/* Creates and drops generated forms of fmoe_recommend, so that there are those the domains need. */
extern void fmoe_maintain_overloads(void);

#endif							/* FMOE_PG_ADMIN_ADMIN_H */

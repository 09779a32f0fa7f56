/*
 * compat.h
 *	  What differs between the versions of PostgreSQL, 15 to 18.
 *
 * The code is written for the newest one: what an older one lacks, or has by
 * another name, is given the newest one's name here.  Only where that cannot be
 * done is there a name of our own.  No other file asks for a version.
 */
#ifndef FMOE_PG_BASE_COMPAT_H
#define FMOE_PG_BASE_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "fmoe needs PostgreSQL 15 or newer"
#endif

#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"

/* ---------------------------------------------------------------- before 18 */

#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* ---------------------------------------------------------------- before 17 */

/* The number of a backend's transaction, and the backend that holds a lock; NULL: it has ended. */
#if PG_VERSION_NUM >= 170000
#define fmoe_local_xid(process) ((process)->vxid.lxid)
#define fmoe_lock_holder(holder) ProcNumberGetProc((holder).procNumber)
#else
#define fmoe_local_xid(process) ((process)->lxid)
#define fmoe_lock_holder(holder) BackendIdGetProc((holder).backendId)
#endif

/* ---------------------------------------------------------------- before 16 */

#if PG_VERSION_NUM < 160000

/* Since 16 a member may be one without the right to SET ROLE. */
#define check_can_set_role(member, role) check_is_member_of_role(member, role)
#define member_can_set_role(member, role) is_member_of_role(member, role)

static inline bool
object_ownercheck(Oid catalog, Oid object, Oid role)
{
	switch (catalog)
	{
		case RelationRelationId:
			return pg_class_ownercheck(object, role);
		case DatabaseRelationId:
			return pg_database_ownercheck(object, role);
	}
	elog(ERROR, "no owner is looked up in catalog %u", catalog);
}

static inline AclResult
object_aclcheck(Oid catalog, Oid object, Oid role, AclMode mode)
{
	switch (catalog)
	{
		case ForeignServerRelationId:
			return pg_foreign_server_aclcheck(object, role, mode);
	}
	elog(ERROR, "no privilege is looked up in catalog %u", catalog);
}

#endif

#endif							/* FMOE_PG_BASE_COMPAT_H */

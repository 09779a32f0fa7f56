/*
 * deputy.c
 *	  As whom to read what somebody else chose.
 *
 * A view runs functions of its owner's choice, and a foreign server takes its
 * owner's user mapping, with the rights of whoever reads.  So nobody reads what
 * belongs to a role with fewer rights than his own as himself: who could act as
 * that role does, in a security-restricted operation, as REFRESH MATERIALIZED
 * VIEW and the workers of subscriptions do.  Settings, temporary tables and
 * cursors that such code would leave behind for its caller are refused or undone.
 *
 * An error restores the user: that is part of what the abort of a
 * (sub)transaction does.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "pg/base/base.h"
#include "pg/base/compat.h"

Oid
fmoe_reader(Oid reader, Oid owner)
{
	if (OidIsValid(owner) && owner != reader &&
		(has_privs_of_role(reader, owner) || member_can_set_role(reader, owner)))
		return owner;
	return reader;
}

/* Whether a list of privileges, or a null, has SELECT for the caller or for a role that he is a member of. */
static bool
names_caller(Datum value, bool isnull, Oid owner)
{
	Acl		   *acl;

	if (isnull)
		return false;
	acl = DatumGetAclP(value);
	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		const AclItem *item = &ACL_DAT(acl)[i];

		if (item->ai_grantee != ACL_ID_PUBLIC && item->ai_grantee != owner &&
			(ACLITEM_GET_PRIVS(*item) & ACL_SELECT) != 0 &&
			is_member_of_role_nosuper(GetUserId(), item->ai_grantee))
			return true;
	}
	return false;
}

bool
fmoe_granted_by_name(Oid relation, const char *column)
{
	Oid			owner = fmoe_relation_owner(relation);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	bool		isnull;
	Datum		acl;
	bool		granted;

	if (!HeapTupleIsValid(tuple))
		return false;
	acl = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	granted = names_caller(acl, isnull, owner);
	ReleaseSysCache(tuple);
	if (granted || column == NULL)
		return granted;
	tuple = SearchSysCacheAttName(relation, column);
	if (!HeapTupleIsValid(tuple))
		return false;
	acl = SysCacheGetAttr(ATTNAME, tuple, Anum_pg_attribute_attacl, &isnull);
	granted = names_caller(acl, isnull, owner);
	ReleaseSysCache(tuple);
	return granted;
}

void
fmoe_read_as(FmoeReading *reading, Oid reader)
{
	GetUserIdAndSecContext(&reading->user, &reading->security_context);
	reading->restricted = reader != reading->user;
	if (!reading->restricted)
		return;
	reading->guc_level = NewGUCNestLevel();
	SetUserIdAndSecContext(reader, reading->security_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
}

void
fmoe_read_end(FmoeReading *reading)
{
	if (!reading->restricted)
		return;
	AtEOXact_GUC(false, reading->guc_level);
	SetUserIdAndSecContext(reading->user, reading->security_context);
}

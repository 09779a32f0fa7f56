/*
 * settings.c
 *	  The settings fmoe.*.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "model/model.h"
#include "pg/base/base.h"

char	   *fmoe_domain_setting = NULL;
int			fmoe_max_memory_kb = 2 * 1024 * 1024;
int			fmoe_cache_size_kb = 512 * 1024;
int			fmoe_shared_cache_size_kb = 1024 * 1024;
int			fmoe_training_workers = 1;
int			fmoe_scan_setting = FMOE_SCAN_AUTO;
char	   *fmoe_party_setting = NULL;

static const struct config_enum_entry scans[] = {
	{"auto", FMOE_SCAN_AUTO, false},
	{"exact", FMOE_SCAN_EXACT, false},
	{"int8", FMOE_SCAN_INT8, false},
	{NULL, 0, false}
};

/* "party.domain" names a lent expert, so a party has no dot. */
static bool
check_party(char **party, void **extra, GucSource source)
{
	const unsigned char *p;

	if (strlen(*party) >= NAMEDATALEN)
	{
		GUC_check_errdetail("The name of a party has at most %d bytes.", NAMEDATALEN - 1);
		return false;
	}
	for (p = (const unsigned char *) *party; *p != '\0'; p++)
	{
		if (*p != '.' && *p >= ' ' && *p != 0x7f)
			continue;
		GUC_check_errdetail("The name of a party has no \".\" and no control characters.");
		return false;
	}
	return true;
}

void
fmoe_define_settings(void)
{
	DefineCustomStringVariable("fmoe.domain",
							   "Domain that is meant when a call names none.",
							   "Empty: the only domain there is.",
							   &fmoe_domain_setting, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("fmoe.max_memory",
							"Memory that one call may take.",
							"A call that would need more is refused before it starts, with the number it needs.",
							&fmoe_max_memory_kb, 2 * 1024 * 1024, 1024, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable("fmoe.cache_size",
							"Memory of a session for versions that are not in shared memory.",
							"The least recently used ones are dropped above it.",
							&fmoe_cache_size_kb, 512 * 1024, 0, MAX_KILOBYTES,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);

	/* all sessions share that memory, so no session may set a limit of its own */
	DefineCustomIntVariable("fmoe.shared_cache_size",
							"Shared memory of the server for loaded versions.",
							"The least recently used ones that no query uses are dropped above it."
							" Sessions keep their own copies of what does not fit; 0: of all.",
							&fmoe_shared_cache_size_kb, 1024 * 1024, 0, MAX_KILOBYTES,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);

	DefineCustomIntVariable("fmoe.training_workers",
							"Parallel workers that help a training.",
							"They count against max_parallel_workers; the trained weights do not depend on them.",
							&fmoe_training_workers, 1, 0, 64,
							PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomEnumVariable("fmoe.scan",
							 "How the best items of a catalogue are found.",
							 "exact: every item's vector is read; int8: a copy with 8 bits an element is read first,"
							 " and the vectors of the items that may be among the best by it; auto: int8 where the"
							 " catalogue is large.  The answers are the same.",
							 &fmoe_scan_setting, FMOE_SCAN_AUTO, scans,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	/* not for every user to set: it decides what fmoe.shared_expert shows */
	DefineCustomStringVariable("fmoe.party",
							   "Name by which other databases know this one.",
							   "Empty: the name of the database.",
							   &fmoe_party_setting, "",
							   PGC_SUSET, 0, check_party, NULL, NULL);

	MarkGUCPrefixReserved("fmoe");
}

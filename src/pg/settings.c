/*
 * settings.c
 *	  The settings fmoe.*.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "pg.h"
#include "private.h"

char	   *fmoe_domain_setting = NULL;
int			fmoe_max_memory_kb = 2 * 1024 * 1024;
int			fmoe_cache_size_kb = 512 * 1024;
int			fmoe_shared_cache_size_kb = 1024 * 1024;
int			fmoe_training_workers = 1;
int			fmoe_scan_setting = FMOE_SCAN_AUTO;

static const struct config_enum_entry scans[] = {
	{"auto", FMOE_SCAN_AUTO, false},
	{"exact", FMOE_SCAN_EXACT, false},
	{"int8", FMOE_SCAN_INT8, false},
	{NULL, 0, false}
};

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

	/* one limit for what all sessions share, so no session has its own */
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

	MarkGUCPrefixReserved("fmoe");
}

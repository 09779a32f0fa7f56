/*
 * fmoe.c
 *	  Entry of the library.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "pg/cache/cache.h"
#include "pg/lend/lend.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	fmoe_define_settings();
	fmoe_give_way = fmoe_cache_give_way;
	fmoe_read_base = fmoe_base_arrays;

	/*
	 * Debian's OpenBLAS starts a thread for every further core while it is
	 * being loaded, which with this library is now.  End them at once, in the
	 * postmaster too if that is where we are preloaded: what it forks then
	 * starts without.  What is wrong with BLAS is reported when it is needed,
	 * so that a server still starts and LOAD still works.
	 */
	(void) fnn_blas_setup();
}

PG_FUNCTION_INFO_V1(fmoe_version);
Datum
fmoe_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(FMOE_VERSION));
}

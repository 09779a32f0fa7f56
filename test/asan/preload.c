/*
 * preload.c
 *	  What is loaded before libasan, and that before PostgreSQL.
 *
 * libasan gets ready at the first malloc, and looks for functions that may not
 * be there; dlerror() then has its message translated.  PostgreSQL's libraries
 * bring libgpg-error, whose constructor calls bindtextdomain() before libasan's
 * own has run: its malloc would be the first, under the lock that a translation
 * takes, and the process would wait for itself.  This library is linked with
 * -z initfirst, so its constructor is the first of all.
 */
#include <stdlib.h>

extern const char *__asan_default_options(void);
static void get_libasan_ready(void) __attribute__((constructor));

/* PostgreSQL leaves memory to the end of a process, and copes with a malloc that fails. */
const char *
__asan_default_options(void)
{
	return "log_path=" REPORTS "/asan:halt_on_error=0:print_legend=0:verify_asan_link_order=0:"
		"detect_leaks=0:allocator_may_return_null=1";
}

static void
get_libasan_ready(void)
{
	void	   *volatile block = malloc(1);

	free(block);
}

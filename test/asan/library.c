/*
 * library.c
 *	  What is linked into an fmoe.so that ASan and UBSan check.
 *
 * PostgreSQL carves chunks out of big blocks, and ASan knows the blocks only.
 * With --wrap, each context that fmoe makes gets the smallest blocks there are:
 * a chunk of more than some hundred bytes then has a block of its own, with a
 * guarded zone around it, and is guarded once it is freed.
 *
 * The options are a function, because libubsan, which is linked in, gets ready
 * when there is something to report, and PostgreSQL has written over the
 * environment by then.
 */
#include "postgres.h"

#include "utils/memutils.h"

#define SMALLEST_BLOCK 1024

extern const char *__ubsan_default_options(void);
extern MemoryContext __real_AllocSetContextCreateInternal(MemoryContext parent, const char *name,
														  Size min_size, Size init_size, Size max_size);
extern MemoryContext __wrap_AllocSetContextCreateInternal(MemoryContext parent, const char *name,
														  Size min_size, Size init_size, Size max_size);

const char *
__ubsan_default_options(void)
{
	return "print_stacktrace=1:log_path=" REPORTS "/ubsan";
}

MemoryContext
__wrap_AllocSetContextCreateInternal(MemoryContext parent, const char *name,
									 Size min_size, Size init_size, Size max_size)
{
	return __real_AllocSetContextCreateInternal(parent, name, 0, SMALLEST_BLOCK, SMALLEST_BLOCK);
}

/*
 * arena.c
 *	  Memory for one step, and the ways out of the engine: errors and polls.
 *
 * An arena is a list of blocks.  Allocation bumps a position in the current
 * block; when it is full the next block that is large enough follows, or a new
 * one from the host.  Everything behind the current block is free, so a reset
 * only moves the position back and the blocks wait for the next step.
 *
 * Under AddressSanitizer the free parts of the blocks are poisoned and a gap
 * is left after each piece, so that an overrun inside the arena is found too.
 */
#include "nn/base/base.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(pointer, bytes) ASAN_POISON_MEMORY_REGION(pointer, bytes)
#define UNPOISON(pointer, bytes) ASAN_UNPOISON_MEMORY_REGION(pointer, bytes)
#define GAP FNN_ALIGN
#else
#define POISON(pointer, bytes) ((void) 0)
#define UNPOISON(pointer, bytes) ((void) 0)
#define GAP 0
#endif

#define BLOCK_MIN ((size_t) 256 * 1024)
#define BLOCK_MAX ((size_t) 64 * 1024 * 1024)

typedef struct Block
{
	struct Block *next;
	size_t		size;			/* bytes for pieces, header not counted */
	size_t		before;			/* bytes in use in the blocks before this one */
} Block;

/* Headers take a whole cache line, so that pieces are aligned as the block is. */
#define HEADER ((size_t) FNN_ALIGN)

struct FnnArena
{
	const FnnHost *host;
	size_t		limit;
	size_t		reserved;		/* bytes held from the host */
	size_t		peak;
	Block	   *first;
	Block	   *current;		/* NULL: nothing is in use */
	size_t		used;			/* of the current block */
};

_Static_assert(sizeof(Block) <= FNN_ALIGN, "a block's header fits a cache line");

/* ---------------------------------------------------------------- host */

void
fnn_fail(const FnnHost *host, FnnError code, const char *format,...)
{
	char		message[512];
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	host->fail(host->context, code, message);
	__builtin_unreachable();
}

void
fnn_poll(const FnnHost *host)
{
	host->poll(host->context);
}

size_t
fnn_add_size(const FnnHost *host, size_t a, size_t b)
{
	size_t		sum;

	if (__builtin_add_overflow(a, b, &sum))
		fnn_fail(host, FNN_LIMIT, "a size of %zu + %zu bytes is beyond what memory can be addressed", a, b);
	return sum;
}

size_t
fnn_mul_size(const FnnHost *host, size_t a, size_t b)
{
	size_t		product;

	if (__builtin_mul_overflow(a, b, &product))
		fnn_fail(host, FNN_LIMIT, "a size of %zu * %zu bytes is beyond what memory can be addressed", a, b);
	return product;
}

/* ---------------------------------------------------------------- arena */

static inline char *
block_bytes(Block *block)
{
	return (char *) block + HEADER;
}

FnnArena *
fnn_arena_create(const FnnHost *host, size_t limit_bytes)
{
	FnnArena   *arena = host->allocate(host->context, sizeof(FnnArena));

	memset(arena, 0, sizeof(FnnArena));
	arena->host = host;
	arena->limit = limit_bytes;
	return arena;
}

static void
release_blocks(FnnArena *arena, Block *block)
{
	while (block != NULL)
	{
		Block	   *next = block->next;

		arena->reserved -= HEADER + block->size;
		UNPOISON(block_bytes(block), block->size);
		arena->host->release(arena->host->context, block);
		block = next;
	}
}

void
fnn_arena_destroy(FnnArena *arena)
{
	release_blocks(arena, arena->first);
	arena->host->release(arena->host->context, arena);
}

/* The first block behind the current one. */
static inline Block **
free_blocks(FnnArena *arena)
{
	return arena->current != NULL ? &arena->current->next : &arena->first;
}

/* A block of at least bytes from the host, within the limit. */
static Block *
new_block(FnnArena *arena, size_t bytes)
{
	size_t		size = arena->reserved;
	Block	   *block;

	/* blocks grow with the arena, so that there are few */
	size = size < BLOCK_MIN ? BLOCK_MIN : size;
	size = size > BLOCK_MAX ? BLOCK_MAX : size;
	size = size < bytes ? bytes : size;
	if (arena->limit > 0)
	{
		size_t		left;

		/* free blocks that are too small for this piece may be what exceeds the limit */
		if (fnn_add_size(arena->host, arena->reserved, fnn_add_size(arena->host, bytes, HEADER)) > arena->limit)
		{
			Block	  **unused = free_blocks(arena);

			release_blocks(arena, *unused);
			*unused = NULL;
		}
		left = arena->limit > arena->reserved ? arena->limit - arena->reserved : 0;
		if (left < HEADER || left - HEADER < bytes)
			fnn_fail(arena->host, FNN_LIMIT,
					 "%zu bytes more than the %zu in use are needed, but the limit is %zu bytes",
					 bytes, arena->reserved, arena->limit);
		if (size > left - HEADER)
			size = (left - HEADER) / FNN_ALIGN * FNN_ALIGN;
	}
	block = arena->host->allocate(arena->host->context, fnn_add_size(arena->host, size, HEADER));
	block->size = size;
	block->next = NULL;
	arena->reserved += HEADER + size;
	POISON(block_bytes(block), size);
	return block;
}

/* Makes a block current that has room for so many bytes: a free one, else a new one. */
static void
next_block(FnnArena *arena, size_t bytes)
{
	Block	  **link = free_blocks(arena);
	Block	   *block;

	while (*link != NULL && (*link)->size < bytes)
		link = &(*link)->next;
	block = *link;
	if (block != NULL)
		*link = block->next;
	else
		block = new_block(arena, bytes);
	block->before = arena->current != NULL ? arena->current->before + arena->used : 0;
	link = free_blocks(arena);
	block->next = *link;
	*link = block;
	arena->current = block;
	arena->used = 0;
}

void *
fnn_alloc(FnnArena *arena, size_t bytes)
{
	size_t		rounded;
	char	   *piece;

	if (bytes > SIZE_MAX / 2)
		fnn_fail(arena->host, FNN_LIMIT, "a size of %zu bytes is beyond what memory can be addressed", bytes);
	rounded = (bytes + GAP + FNN_ALIGN - 1) / FNN_ALIGN * FNN_ALIGN;
	if (arena->current == NULL || arena->current->size - arena->used < rounded)
		next_block(arena, rounded);
	piece = block_bytes(arena->current) + arena->used;
	arena->used += rounded;
	if (arena->current->before + arena->used > arena->peak)
		arena->peak = arena->current->before + arena->used;
	UNPOISON(piece, bytes);
	return piece;
}

void *
fnn_zalloc(FnnArena *arena, size_t bytes)
{
	return memset(fnn_alloc(arena, bytes), 0, bytes);
}

fnn_real *
fnn_alloc_reals(FnnArena *arena, int64_t rows, int64_t cols)
{
	if (rows < 0 || cols < 0)
		fnn_fail(arena->host, FNN_INVALID, "a matrix cannot have %lld rows and %lld columns",
				 (long long) rows, (long long) cols);
	return fnn_alloc(arena, fnn_mul_size(arena->host, fnn_mul_size(arena->host, rows, cols), sizeof(fnn_real)));
}

FnnMark
fnn_arena_mark(const FnnArena *arena)
{
	FnnMark		mark = {arena->current, arena->used};

	return mark;
}

void
fnn_arena_reset(FnnArena *arena, FnnMark mark)
{
	arena->current = mark.block;
	arena->used = mark.used;
#ifdef __SANITIZE_ADDRESS__
	if (arena->current != NULL)
		POISON(block_bytes(arena->current) + arena->used, arena->current->size - arena->used);
	for (Block *block = *free_blocks(arena); block != NULL; block = block->next)
		POISON(block_bytes(block), block->size);
#endif
}

size_t
fnn_arena_peak(const FnnArena *arena)
{
	return arena->peak;
}

const FnnHost *
fnn_arena_host(const FnnArena *arena)
{
	return arena->host;
}

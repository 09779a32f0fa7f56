/*
 * safetensors.c
 *	  libFuzzer over the reader of files: whatever the bytes, it reads or refuses.
 *
 * What it reads is written again, and that is read again: the same arrays.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"

static jmp_buf refused;

static void *
allocate(void *context, size_t bytes)
{
	void	   *memory = NULL;

	if (posix_memalign(&memory, FNN_ALIGN, bytes + 1) != 0)
		abort();
	return memory;
}

static void
release(void *context, void *pointer)
{
	free(pointer);
}

static void
fail(void *context, FnnError code, const char *message)
{
	/* only what bytes can be wrong in: anything else is a fault of the reader */
	if (code != FNN_FORMAT && code != FNN_NONFINITE)
		abort();
	longjmp(refused, 1);
}

static void
poll(void *context)
{
}

static void
compare(const FnnFile *a, const FnnFile *b)
{
	if (a->n_arrays != b->n_arrays || a->n_metadata != b->n_metadata)
		abort();
	for (int i = 0; i < a->n_arrays; i++)
	{
		const FnnArray *other = fnn_find_array(b->n_arrays, b->array, a->array[i].name);

		if (other == NULL || other->bytes != a->array[i].bytes ||
			memcmp(other->data, a->array[i].data, other->bytes) != 0)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t size)
{
	static const FnnHost host = {NULL, allocate, release, fail, poll};
	FnnArena   *arena = fnn_arena_create(&host, 0);

	if (setjmp(refused) == 0)
	{
		FnnFile    *file = fnn_safetensors_read(arena, bytes, size);
		size_t		written = fnn_safetensors_size(arena, file);
		void	   *copy = fnn_alloc(arena, written);

		fnn_safetensors_write(arena, file, copy);
		compare(file, fnn_safetensors_read(arena, copy, written));
	}
	fnn_arena_destroy(arena);
	return 0;
}

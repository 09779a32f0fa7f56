/*
 * image.c
 *	  The bytes of a loaded version.
 *
 * An image is the same for every process that reads it.  It has two blocks,
 * because the size of the second is known only when the first is filled:
 *
 *	  FMOE_IMAGE_ARRAYS	every stored array, each at a multiple of FNN_ALIGN
 *	  FMOE_IMAGE_INDEX	ImageHeader		names, shapes and places of the arrays
 *						vocabulary		the ids, ready for use, and their hash table
 *						scan block		the codes of the item vectors
 *
 * Nothing in it is a pointer.  Making one reads the tables and compares the
 * checksum; it takes time and scratch memory in proportion to the number of
 * items.  Opening one takes neither.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/cache/cache.h"

typedef struct ImageArray
{
	FnnArray	array;			/* but for its data, */
	size_t		place;			/* which are here in the block of arrays */
} ImageArray;

typedef struct ImageHeader
{
	int			n_arrays;
	size_t		vocabulary;		/* place in this block */
	size_t		scan;			/* the same; 0: the model has no scan block */
	size_t		unchosen;		/* the same of fmoe_unchosen_build */
	ImageArray	array[FLEXIBLE_ARRAY_MEMBER];
} ImageHeader;

/* A place for so many bytes at the end of what is laid out so far. */
static size_t
place_after(size_t *end, size_t bytes)
{
	size_t		place = *end;

	*end += TYPEALIGN64(FNN_ALIGN, bytes);
	return place;
}

static void
put_header(ImageHeader *header, const char *start, int n_arrays, const FnnArray *arrays)
{
	int			i;

	header->n_arrays = n_arrays;
	for (i = 0; i < n_arrays; i++)
	{
		header->array[i].array = arrays[i];
		header->array[i].array.data = NULL;
		header->array[i].place = (const char *) arrays[i].data - start;
	}
}

/* Takes the arrays' block of an image. */
typedef struct TakeArrays
{
	FmoeImage  *image;
	FmoeTake	take;
	void	   *argument;
} TakeArrays;

static void *
take_arrays(void *argument, size_t bytes, const char *what)
{
	TakeArrays *taking = argument;
	char	   *block = taking->take(taking->argument, bytes, what);

	taking->image->block[FMOE_IMAGE_ARRAYS] = block;
	taking->image->bytes[FMOE_IMAGE_ARRAYS] = bytes;
	return block;
}

/* The second block, from the arrays in the first one; memory of the current context is scratch. */
static bool
make_index(FmoeImage *image, const FmoeDomain *domain, const FmoeVersion *version,
		   int n_arrays, const FnnArray *arrays, FmoeTake take, void *argument)
{
	FmoeModel  *model = palloc(sizeof(FmoeModel));
	FmoeVocabulary *vocabulary;
	size_t		bytes = 0;
	size_t		vocabulary_place;
	size_t		scan_place = 0;
	size_t		unchosen_place = 0;
	char	   *block;

	fmoe_model_bind(model, fmoe_host(CurrentMemoryContext), &version->config, version->items, n_arrays, arrays);
	vocabulary = fmoe_version_vocabulary(domain, version, n_arrays, arrays);

	(void) place_after(&bytes, offsetof(ImageHeader, array) + sizeof(ImageArray) * n_arrays);
	vocabulary_place = place_after(&bytes, fmoe_vocabulary_flat_bytes(vocabulary));
	if (fmoe_scan_bytes(model) > 0)
		scan_place = place_after(&bytes, fmoe_scan_bytes(model));
	if (fmoe_unchosen_bytes(model) > 0)
		unchosen_place = place_after(&bytes, fmoe_unchosen_bytes(model));
	block = take(argument, bytes, psprintf("loading version %d of domain \"%s\"", version->version, domain->name));
	if (block == NULL)
		return false;
	image->block[FMOE_IMAGE_INDEX] = block;
	image->bytes[FMOE_IMAGE_INDEX] = bytes;

	put_header((ImageHeader *) block, image->block[FMOE_IMAGE_ARRAYS], n_arrays, arrays);
	((ImageHeader *) block)->vocabulary = vocabulary_place;
	((ImageHeader *) block)->scan = scan_place;
	((ImageHeader *) block)->unchosen = unchosen_place;
	fmoe_vocabulary_flatten(vocabulary, block + vocabulary_place);
	if (scan_place > 0)
		fmoe_scan_build(model, fmoe_arena(CurrentMemoryContext, fmoe_max_memory_kb), block + scan_place);
	if (unchosen_place > 0)
		fmoe_unchosen_build(model, fmoe_arena(CurrentMemoryContext, fmoe_max_memory_kb),
							(fnn_real *) (block + unchosen_place));
	return true;
}

bool
fmoe_image_make(FmoeImage *image, const FmoeDomain *domain, const FmoeVersion *version,
				FmoeTake take, void *argument)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "fmoe loading", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	TakeArrays	taking = {.image = image, .take = take, .argument = argument};
	FnnArray   *arrays;
	int			n_arrays = fmoe_load_arrays_into(version->version_id, take_arrays, &taking, &arrays);
	bool		made = n_arrays >= 0 && make_index(image, domain, version, n_arrays, arrays, take, argument);

	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return made;
}

void
fmoe_image_open(const FmoeImage *image, const FmoeDomain *domain, FmoeLoaded *loaded)
{
	char	   *block = image->block[FMOE_IMAGE_INDEX];
	const ImageHeader *header = (const ImageHeader *) block;
	FnnArray   *arrays = palloc(sizeof(FnnArray) * Max(header->n_arrays, 1));
	int			i;

	for (i = 0; i < header->n_arrays; i++)
	{
		arrays[i] = header->array[i].array;
		arrays[i].data = image->block[FMOE_IMAGE_ARRAYS] + header->array[i].place;
	}
	fmoe_model_open(&loaded->model, fmoe_host(CurrentMemoryContext), &loaded->version->config,
					loaded->version->items, header->n_arrays, arrays);
	if (header->scan > 0)
		fmoe_scan_bind(&loaded->model, block + header->scan);
	if (header->unchosen > 0)
		loaded->model.unchosen = (const fnn_real *) (block + header->unchosen);
	loaded->vocabulary = fmoe_vocabulary_open(domain->item_type, domain->item_collation,
											  header->n_arrays, arrays, block + header->vocabulary);
}

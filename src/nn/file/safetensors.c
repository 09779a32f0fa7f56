/*
 * safetensors.c
 *	  Named arrays to and from the safetensors format.
 *
 *	 0			8				   8 + n
 *	 +----------+-----------------+------------------------------+
 *	 | n, u64le | n bytes of JSON | data: every array's bytes,	 |
 *	 |			| ("{...}	 ")	  | end to end, without a gap	 |
 *	 +----------+-----------------+------------------------------+
 *
 * The reader trusts nothing.  Each rule is checked before what it guards is
 * used: the header's length before the header, names and shapes before sizes,
 * sizes before offsets, and offsets must tile the data exactly, so no two
 * arrays can share a byte and no byte can hide.  Memory taken is bounded by a
 * small multiple of the file's own size.
 *
 * The writer pads the header with spaces so that the data starts at a multiple
 * of FNN_ALIGN; arrays keep the order they are given in.
 */
#include "nn/file/header.h"

#include <stdio.h>
#include <string.h>

#define LENGTH_BYTES 8
#define PIECE_BYTES ((size_t) 4 * 1024 * 1024)	/* copied or checked between polls */
#define POLL_ELEMENTS 65536

/* ---------------------------------------------------------------- finite values */

/* Whether some of n 16-bit words has all bits of exponent set. */
static bool
has_exponent16(const uint16_t *word, size_t n, uint16_t exponent)
{
	int			bad = 0;
	size_t		i;

	for (i = 0; i < n; i++)
		bad |= (word[i] & exponent) == exponent;
	return bad;
}

static bool
has_exponent32(const uint32_t *word, size_t n, uint32_t exponent)
{
	int			bad = 0;
	size_t		i;

	for (i = 0; i < n; i++)
		bad |= (word[i] & exponent) == exponent;
	return bad;
}

static bool
has_exponent64(const uint64_t *word, size_t n, uint64_t exponent)
{
	int			bad = 0;
	size_t		i;

	for (i = 0; i < n; i++)
		bad |= (word[i] & exponent) == exponent;
	return bad;
}

/* A piece of an array, aligned for its dtype: is a NaN or an infinity in it? */
static bool
piece_nonfinite(FnnDtype dtype, const void *data, size_t bytes)
{
	switch (dtype)
	{
		case FNN_F16:
			return has_exponent16(data, bytes / 2, 0x7c00);
		case FNN_BF16:
			return has_exponent16(data, bytes / 2, 0x7f80);
		case FNN_F32:
			return has_exponent32(data, bytes / 4, UINT32_C(0x7f800000));
		case FNN_F64:
			return has_exponent64(data, bytes / 8, UINT64_C(0x7ff0000000000000));
		case FNN_I64:
		case FNN_I32:
		case FNN_I8:
		case FNN_U8:
			break;
	}
	return false;
}

static void
check_finite(const FnnHost *host, const FnnArray *array)
{
	char		shown[FNN_NAME_MAX];
	size_t		at;

	for (at = 0; at < array->bytes; at += PIECE_BYTES)
	{
		size_t		left = array->bytes - at;

		if (piece_nonfinite(array->dtype, (const char *) array->data + at, left < PIECE_BYTES ? left : PIECE_BYTES))
			fnn_fail(host, FNN_NONFINITE, "array \"%s\" holds NaN or infinity",
					 fnn_shown_name(array->name, shown));
		fnn_poll(host);
	}
}

/* ---------------------------------------------------------------- helpers of both directions */

static void
copy_bytes(const FnnHost *host, char *to, const char *from, size_t bytes)
{
	size_t		at;

	for (at = 0; at < bytes; at += PIECE_BYTES)
	{
		size_t		left = bytes - at;

		memcpy(to + at, from + at, left < PIECE_BYTES ? left : PIECE_BYTES);
		fnn_poll(host);
	}
}

/*
 * Sorts n pointers, using room for n more.  Merge sort, bottom up: no hostile
 * order makes it slow, and it needs no libc memory.
 */
static void
sort_pointers(const FnnHost *host, const void **list, const void **room, size_t n,
			  int (*compare) (const void *a, const void *b))
{
	size_t		run;
	size_t		start;

	for (run = 1; run < n; run *= 2)
	{
		for (start = 0; start + run < n; start += 2 * run)
		{
			size_t		left = start;
			size_t		middle = start + run;
			size_t		right = middle;
			size_t		end = middle + run < n ? middle + run : n;
			size_t		out = start;

			memcpy(room + start, list + start, (end - start) * sizeof(*list));
			while (left < middle && right < end)
			{
				if (out % POLL_ELEMENTS == 0)
					fnn_poll(host);
				list[out++] = compare(room[left], room[right]) <= 0 ? room[left++] : room[right++];
			}
			while (left < middle)
				list[out++] = room[left++];
			while (right < end)
				list[out++] = room[right++];
		}
	}
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Refuses repeated strings among names[n], which come back sorted. */
static void
check_distinct(FnnArena *arena, FnnError code, const void **names, size_t n, const char *what)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	const void **room = fnn_alloc(arena, fnn_mul_size(host, n, sizeof(void *)));
	char		shown[FNN_NAME_MAX];
	size_t		i;

	sort_pointers(host, names, room, n, compare_names);
	for (i = 1; i < n; i++)
	{
		if (strcmp(names[i - 1], names[i]) == 0)
			fnn_fail(host, code, "malformed safetensors file: %s \"%s\" appears twice",
					 what, fnn_shown_name(names[i], shown));
	}
	fnn_arena_reset(arena, mark);
}

/* Bytes of an array by its shape and dtype; zero dimensions do not hide an overflow of the others. */
static bool
array_bytes(const FnnArray *array, int64_t *bytes)
{
	int64_t		product = (int64_t) fnn_dtype_size(array->dtype);
	bool		empty = false;
	int			i;

	for (i = 0; i < array->ndim; i++)
	{
		if (array->shape[i] < 0)
			return false;
		if (array->shape[i] == 0)
			empty = true;
		else if (product > INT64_MAX / array->shape[i])
			return false;
		else
			product *= array->shape[i];
	}
	*bytes = empty ? 0 : product;
	return true;
}

/* ---------------------------------------------------------------- reading */

static int
compare_offsets(const void *a, const void *b)
{
	const FnnEntry *x = a;
	const FnnEntry *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

/* Each array has the bytes its shape asks for. */
static void
check_sizes(const FnnHost *host, const FnnHeader *header, size_t data_size)
{
	const FnnEntry *entry;
	char		shown[FNN_NAME_MAX];

	for (entry = header->entries; entry != NULL; entry = entry->next)
	{
		const char *name = fnn_shown_name(entry->array.name, shown);
		int64_t		bytes;

		if (!array_bytes(&entry->array, &bytes))
			fnn_malformed(host, "the shape of array \"%s\" overflows", name);
		if (entry->end < entry->begin)
			fnn_malformed(host, "the offsets of array \"%s\" are out of order", name);
		if ((uint64_t) entry->end > data_size)
			fnn_malformed(host, "the offsets of array \"%s\" are past the end of the file", name);
		if (entry->end - entry->begin != bytes)
			fnn_malformed(host, "array \"%s\" has %lld bytes where its shape and dtype ask for %lld", name,
						  (long long) (entry->end - entry->begin), (long long) bytes);
		fnn_poll(host);
	}
}

/* The arrays tile the data: no hole, no overlap, nothing left over. */
static void
check_tiling(FnnArena *arena, const FnnHeader *header, size_t data_size)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	size_t		n = (size_t) header->n_entries;
	const void **list = fnn_alloc(arena, fnn_mul_size(host, 2 * n, sizeof(void *)));
	const FnnEntry *entry = header->entries;
	char		shown[FNN_NAME_MAX];
	int64_t		at = 0;
	size_t		i;

	for (i = 0; i < n; i++, entry = entry->next)
		list[i] = entry;
	sort_pointers(host, list, list + n, n, compare_offsets);
	for (i = 0; i < n; i++)
	{
		entry = list[i];
		if (entry->begin < at)
			fnn_malformed(host, "array \"%s\" overlaps another", fnn_shown_name(entry->array.name, shown));
		if (entry->begin > at)
			fnn_malformed(host, "a hole of %lld bytes before array \"%s\"", (long long) (entry->begin - at),
						  fnn_shown_name(entry->array.name, shown));
		at = entry->end;
	}
	if ((uint64_t) at != data_size)
		fnn_malformed(host, "%zu bytes after the last array", data_size - (size_t) at);
	fnn_arena_reset(arena, mark);
}

static void
check_names(FnnArena *arena, const FnnHeader *header)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	size_t		larger = (size_t) (header->n_entries > header->n_pairs ? header->n_entries : header->n_pairs);
	const void **names = fnn_alloc(arena, fnn_mul_size(host, larger, sizeof(void *)));
	const FnnEntry *entry;
	const FnnPair *pair;
	size_t		n = 0;

	for (entry = header->entries; entry != NULL; entry = entry->next)
		names[n++] = entry->array.name;
	check_distinct(arena, FNN_FORMAT, names, n, "array");
	n = 0;
	for (pair = header->pairs; pair != NULL; pair = pair->next)
		names[n++] = pair->pair.key;
	check_distinct(arena, FNN_FORMAT, names, n, "metadata key");
	fnn_arena_reset(arena, mark);
}

/* The length of the header, checked against the file. */
static size_t
header_length(const FnnHost *host, const unsigned char *bytes, size_t size)
{
	uint64_t	length = 0;
	int			i;

	if (size < LENGTH_BYTES)
		fnn_malformed(host, "%zu bytes are too few for the length of the header", size);
	for (i = LENGTH_BYTES - 1; i >= 0; i--)
		length = length << 8 | bytes[i];
	if (length > FNN_HEADER_MAX)
		fnn_malformed(host, "the header claims %llu bytes, more than %d are not allowed",
					  (unsigned long long) length, FNN_HEADER_MAX);
	if (length > size - LENGTH_BYTES)
		fnn_malformed(host, "the header claims %llu bytes of which %zu are there",
					  (unsigned long long) length, size - LENGTH_BYTES);
	return (size_t) length;
}

/* Sets array.data: in place where alignment allows, else a copy. */
static void
place_array(FnnArena *arena, FnnArray *array, const char *source)
{
	if ((uintptr_t) source % fnn_dtype_size(array->dtype) == 0)
		array->data = (void *) (uintptr_t) source;
	else
	{
		array->data = fnn_alloc(arena, array->bytes);
		copy_bytes(fnn_arena_host(arena), array->data, source, array->bytes);
	}
}

FnnFile *
fnn_safetensors_read(FnnArena *arena, const void *bytes, size_t size)
{
	return fnn_safetensors_read_lacking(arena, bytes, size, NULL);
}

FnnFile *
fnn_safetensors_read_lacking(FnnArena *arena, const void *bytes, size_t size, bool (*lacks) (const char *name))
{
	const FnnHost *host = fnn_arena_host(arena);
	size_t		length = header_length(host, bytes, size);
	const char *data = (const char *) bytes + LENGTH_BYTES + length;
	size_t		data_size = size - LENGTH_BYTES - length;
	FnnFile    *file = fnn_zalloc(arena, sizeof(FnnFile));
	const FnnEntry *entry;
	const FnnPair *pair;
	FnnHeader	header;
	int			i;

	fnn_header_parse(arena, (const char *) bytes + LENGTH_BYTES, length, &header);
	check_names(arena, &header);
	check_sizes(host, &header, data_size);
	check_tiling(arena, &header, data_size);

	file->n_arrays = header.n_entries;
	file->array = fnn_alloc(arena, fnn_mul_size(host, (size_t) header.n_entries, sizeof(FnnArray)));
	for (i = 0, entry = header.entries; entry != NULL; i++, entry = entry->next)
	{
		file->array[i] = entry->array;
		file->array[i].bytes = (size_t) (entry->end - entry->begin);
		place_array(arena, &file->array[i], data + entry->begin);
		if (lacks == NULL || !lacks(file->array[i].name))
			check_finite(host, &file->array[i]);
	}
	file->n_metadata = header.n_pairs;
	file->metadata = fnn_alloc(arena, fnn_mul_size(host, (size_t) header.n_pairs, sizeof(FnnMetadata)));
	for (i = 0, pair = header.pairs; pair != NULL; i++, pair = pair->next)
		file->metadata[i] = pair->pair;
	return file;
}

const FnnArray *
fnn_find_array(int n, const FnnArray *arrays, const char *name)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(arrays[i].name, name) == 0)
			return &arrays[i];
	}
	return NULL;
}

const char *
fnn_file_metadata(const FnnFile *file, const char *key)
{
	int			i;

	for (i = 0; i < file->n_metadata; i++)
	{
		if (strcmp(file->metadata[i].key, key) == 0)
			return file->metadata[i].value;
	}
	return NULL;
}

/* ---------------------------------------------------------------- writing */

/* Counts bytes, and writes them unless out is NULL. */
typedef struct Writer
{
	const FnnHost *host;
	char	   *out;
	size_t		size;
} Writer;

static void
put(Writer *writer, const char *text, size_t bytes)
{
	if (writer->out != NULL)
		memcpy(writer->out + writer->size, text, bytes);
	writer->size = fnn_add_size(writer->host, writer->size, bytes);
}

static void
put_text(Writer *writer, const char *text)
{
	put(writer, text, strlen(text));
}

static void
put_integer(Writer *writer, size_t value)
{
	char		digits[24];

	put(writer, digits, (size_t) snprintf(digits, sizeof(digits), "%zu", value));
}

static void
put_string(Writer *writer, const char *text)
{
	size_t		left = strlen(text);
	char		code[8];

	put_text(writer, "\"");
	while (left > 0)
	{
		int			length = fnn_utf8_length((const unsigned char *) text, left);

		if (length == 0)
			fnn_fail(writer->host, FNN_INVALID, "a string to be written is not valid UTF-8");
		if (*text == '"' || *text == '\\')
			put_text(writer, "\\");
		if (*text > 0 && *text < ' ')
			put(writer, code, (size_t) snprintf(code, sizeof(code), "\\u%04x", (unsigned) *text));
		else
			put(writer, text, (size_t) length);
		text += length;
		left -= (size_t) length;
	}
	put_text(writer, "\"");
}

/* One array's description, its data starting at offset begin. */
static void
put_entry(Writer *writer, const FnnArray *array, size_t begin)
{
	int			i;

	put_string(writer, array->name);
	put_text(writer, ":{\"dtype\":\"");
	put_text(writer, fnn_dtype_name(array->dtype));
	put_text(writer, "\",\"shape\":[");
	for (i = 0; i < array->ndim; i++)
	{
		if (i > 0)
			put_text(writer, ",");
		put_integer(writer, (size_t) array->shape[i]);
	}
	put_text(writer, "],\"data_offsets\":[");
	put_integer(writer, begin);
	put_text(writer, ",");
	put_integer(writer, begin + array->bytes);
	put_text(writer, "]}");
}

/* The JSON with its padding; returns the bytes of data that follow it. */
static size_t
put_header(Writer *writer, const FnnFile *file)
{
	size_t		begin = 0;
	int			i;

	put_text(writer, "{");
	if (file->n_metadata > 0)
	{
		put_text(writer, "\"__metadata__\":{");
		for (i = 0; i < file->n_metadata; i++)
		{
			if (i > 0)
				put_text(writer, ",");
			put_string(writer, file->metadata[i].key);
			put_text(writer, ":");
			put_string(writer, file->metadata[i].value);
		}
		put_text(writer, "}");
	}
	for (i = 0; i < file->n_arrays; i++)
	{
		if (i > 0 || file->n_metadata > 0)
			put_text(writer, ",");
		put_entry(writer, &file->array[i], begin);
		begin = fnn_add_size(writer->host, begin, file->array[i].bytes);
	}
	put_text(writer, "}");
	while ((LENGTH_BYTES + writer->size) % FNN_ALIGN != 0)
		put_text(writer, " ");
	if (writer->size > FNN_HEADER_MAX)
		fnn_fail(writer->host, FNN_LIMIT, "a safetensors header of %zu bytes, more than %d are not allowed",
				 writer->size, FNN_HEADER_MAX);
	return begin;
}

/* What the reader would refuse is not written. */
static void
check_writable(FnnArena *arena, const FnnFile *file)
{
	const FnnHost *host = fnn_arena_host(arena);
	FnnMark		mark = fnn_arena_mark(arena);
	int			larger = file->n_arrays > file->n_metadata ? file->n_arrays : file->n_metadata;
	const void **names = fnn_alloc(arena, fnn_mul_size(host, (size_t) larger, sizeof(void *)));
	int			i;

	for (i = 0; i < file->n_arrays; i++)
	{
		const FnnArray *array = &file->array[i];
		int64_t		bytes;

		if (memchr(array->name, '\0', FNN_NAME_MAX) == NULL || !fnn_valid_name(array->name))
			fnn_fail(host, FNN_INVALID, "array %d has no usable name", i);
		if (array->ndim < 0 || array->ndim > FNN_DIMS_MAX || !array_bytes(array, &bytes) ||
			(uint64_t) bytes != array->bytes)
			fnn_fail(host, FNN_INVALID, "array \"%s\" has %zu bytes, which is not its shape times its dtype",
					 array->name, array->bytes);
		names[i] = array->name;
	}
	check_distinct(arena, FNN_INVALID, names, (size_t) file->n_arrays, "array");
	for (i = 0; i < file->n_metadata; i++)
		names[i] = file->metadata[i].key;
	check_distinct(arena, FNN_INVALID, names, (size_t) file->n_metadata, "metadata key");
	fnn_arena_reset(arena, mark);
}

size_t
fnn_safetensors_size(FnnArena *arena, const FnnFile *file)
{
	Writer		writer = {fnn_arena_host(arena), NULL, 0};
	size_t		data_size;

	check_writable(arena, file);
	data_size = put_header(&writer, file);
	return fnn_add_size(writer.host, LENGTH_BYTES, fnn_add_size(writer.host, writer.size, data_size));
}

void
fnn_safetensors_write(FnnArena *arena, const FnnFile *file, void *out)
{
	unsigned char *bytes = out;
	Writer		writer = {fnn_arena_host(arena), (char *) out + LENGTH_BYTES, 0};
	char	   *data;
	int			i;

	check_writable(arena, file);
	put_header(&writer, file);
	for (i = 0; i < LENGTH_BYTES; i++)
		bytes[i] = (unsigned char) ((uint64_t) writer.size >> (8 * i));
	data = (char *) out + LENGTH_BYTES + writer.size;
	for (i = 0; i < file->n_arrays; i++)
	{
		copy_bytes(writer.host, data, file->array[i].data, file->array[i].bytes);
		data += file->array[i].bytes;
	}
}

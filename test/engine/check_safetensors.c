/*
 * check_safetensors.c
 *	  The safetensors reader against well-made, malformed and mutated files.
 */
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

typedef struct Bytes
{
	char	   *data;			/* [size], exactly that many, so that ASan sees a byte too far */
	size_t		size;
} Bytes;

static Bytes
bytes_make(const void *data, size_t size)
{
	Bytes		bytes;

	bytes.data = malloc(size > 0 ? size : 1);
	bytes.size = size;
	if (size > 0)
		memcpy(bytes.data, data, size);
	return bytes;
}

/* A file of this header and n bytes of zeros as data. */
static Bytes
bytes_of_header(const char *header, size_t header_size, size_t n)
{
	Bytes		bytes;
	int			i;

	bytes.size = 8 + header_size + n;
	bytes.data = calloc(1, bytes.size);
	for (i = 0; i < 8; i++)
		bytes.data[i] = (char) (header_size >> (8 * i));
	memcpy(bytes.data + 8, header, header_size);
	return bytes;
}

static Bytes
write_file(const FnnFile *file)
{
	FnnArena   *arena = check_arena();
	Bytes		bytes;

	bytes.size = fnn_safetensors_size(arena, file);
	bytes.data = malloc(bytes.size);
	fnn_safetensors_write(arena, file, bytes.data);
	return bytes;
}

static FnnArray
array_make(const char *name, FnnDtype dtype, int ndim, int64_t rows, int64_t cols, const void *data)
{
	FnnArray	array;
	int			i;

	memset(&array, 0, sizeof(array));
	strcpy(array.name, name);
	array.dtype = dtype;
	array.ndim = ndim;
	array.shape[0] = rows;
	array.shape[1] = cols;
	array.bytes = fnn_dtype_size(dtype);
	for (i = 0; i < ndim; i++)
		array.bytes *= (size_t) array.shape[i];
	array.data = (void *) (uintptr_t) data;
	return array;
}

static bool
same_file(const FnnFile *a, const FnnFile *b)
{
	int			i;

	if (a->n_arrays != b->n_arrays || a->n_metadata != b->n_metadata)
		return false;
	for (i = 0; i < a->n_arrays; i++)
	{
		const FnnArray *x = &a->array[i];
		const FnnArray *y = &b->array[i];

		if (strcmp(x->name, y->name) != 0 || x->dtype != y->dtype || x->ndim != y->ndim ||
			memcmp(x->shape, y->shape, sizeof(int64_t) * (size_t) x->ndim) != 0 || x->bytes != y->bytes ||
			(x->bytes > 0 && memcmp(x->data, y->data, x->bytes) != 0))
			return false;
	}
	for (i = 0; i < a->n_metadata; i++)
	{
		if (strcmp(a->metadata[i].key, b->metadata[i].key) != 0 ||
			strcmp(a->metadata[i].value, b->metadata[i].value) != 0)
			return false;
	}
	return true;
}

/* A file with every dtype, odd sizes, empty arrays, a scalar and awkward text; its data outlives it. */
static FnnFile *
sample_file(void)
{
	static const float f32[] = {1.5f, -2, 0, 3e38f, 1e-45f, 7};
	static const double f64[] = {1e308, -0.5, 0};
	static const uint16_t f16[] = {0x3c00, 0x7bff, 0x8001};
	static const uint16_t bf16[] = {0x3f80, 0x7f7f};
	static const int64_t i64[] = {INT64_MIN, INT64_MAX, 0, -1};
	static const int32_t i32[] = {INT32_MIN, INT32_MAX};
	static const int8_t i8[] = {-128, 127, 3};
	static const uint8_t u8[] = {0, 255, 128, 1, 2};
	FnnFile    *file = fnn_zalloc(check_arena(), sizeof(FnnFile));
	FnnArray   *array = fnn_alloc(check_arena(), 12 * sizeof(FnnArray));
	FnnMetadata *metadata = fnn_alloc(check_arena(), 4 * sizeof(FnnMetadata));

	array[0] = array_make("bytes.unsigned", FNN_U8, 1, 5, 0, u8);
	array[1] = array_make("encoder.0.weight", FNN_F32, 2, 2, 3, f32);
	array[2] = array_make("double", FNN_F64, 2, 3, 1, f64);
	array[3] = array_make("half", FNN_F16, 1, 3, 0, f16);
	array[4] = array_make("brain", FNN_BF16, 1, 2, 0, bf16);
	array[5] = array_make("long", FNN_I64, 1, 4, 0, i64);
	array[6] = array_make("int", FNN_I32, 1, 2, 0, i32);
	array[7] = array_make("bytes.signed", FNN_I8, 1, 3, 0, i8);
	array[8] = array_make("empty", FNN_F32, 2, 0, 7, NULL);
	array[9] = array_make("scalar", FNN_F64, 0, 0, 0, f64);
	array[10] = array_make("f\303\266\\\"quoted\" \360\237\216\254", FNN_I8, 1, 1, 0, i8);
	array[11] = array_make("empty.too", FNN_I64, 1, 0, 0, NULL);
	metadata[0].key = "format";
	metadata[0].value = "fmoe-expert";
	metadata[1].key = "json";
	metadata[1].value = "{\"a\": [1, 2.5]}\n\t\001";
	metadata[2].key = "empty";
	metadata[2].value = "";
	metadata[3].key = "\303\251t\303\251";
	metadata[3].value = "\342\202\254 \360\237\230\200 / \177";
	file->n_arrays = 12;
	file->array = array;
	file->n_metadata = 4;
	file->metadata = metadata;
	return file;
}

static void
check_round_trip(void)
{
	FnnFile    *file;
	FnnFile    *read;
	FnnFile		none = {0, NULL, 0, NULL};
	Bytes		bytes;
	uint64_t	length = 0;
	char	   *moved;
	int			shift;
	int			i;

	check_begin("safetensors: what is written comes back, every dtype");
	file = sample_file();
	bytes = write_file(file);
	for (i = 7; i >= 0; i--)
		length = length << 8 | (unsigned char) bytes.data[i];
	CHECK((8 + length) % FNN_ALIGN == 0, "the data starts at byte %zu", (size_t) (8 + length));
	CHECK(bytes.data[8] == '{', "the header begins with its brace");
	read = fnn_safetensors_read(check_arena(), bytes.data, bytes.size);
	CHECK(same_file(file, read), "read differs from written");
	CHECK(fnn_find_array(read->n_arrays, read->array, "half") == &read->array[3], "an array is found by name");
	CHECK(fnn_find_array(read->n_arrays, read->array, "hal") == NULL, "an array is found by a part of its name");
	CHECK(strcmp(fnn_file_metadata(read, "format"), "fmoe-expert") == 0, "metadata is found by key");
	CHECK(fnn_file_metadata(read, "none") == NULL, "metadata is found that is not there");

	/* at any alignment, arrays are aligned for their dtype */
	moved = malloc(bytes.size + 8);
	for (shift = 0; shift < 8; shift++)
	{
		memcpy(moved + shift, bytes.data, bytes.size);
		read = fnn_safetensors_read(check_arena(), moved + shift, bytes.size);
		CHECK(same_file(file, read), "read differs from written at shift %d", shift);
		for (i = 0; i < read->n_arrays; i++)
			CHECK((uintptr_t) read->array[i].data % fnn_dtype_size(read->array[i].dtype) == 0,
				  "array %d is not aligned at shift %d", i, shift);
	}
	free(moved);
	free(bytes.data);

	bytes = write_file(&none);
	read = fnn_safetensors_read(check_arena(), bytes.data, bytes.size);
	CHECK(read->n_arrays == 0 && read->n_metadata == 0, "a file of nothing comes back as nothing");
	free(bytes.data);
	check_end();
}

static bool
is_half(const char *name)
{
	return strcmp(name, "half") == 0;
}

static void
read_half(void *context)
{
	const Bytes *bytes = context;

	(void) fnn_safetensors_read(check_arena(), bytes->data, bytes->size);
}

static void
check_lacking(void)
{
	static uint16_t halves[] = {0x3c00, 0x7e00, 0xfc00};
	FnnFile    *file = sample_file();
	Bytes		bytes;

	check_begin("safetensors: NaN is read only where the caller says so");
	file->array[3].data = halves;
	bytes = write_file(file);
	CHECK(same_file(file, fnn_safetensors_read_lacking(check_arena(), bytes.data, bytes.size, is_half)),
		  "read differs from written");
	check_fails(FNN_NONFINITE, "\"half\" holds NaN", read_half, &bytes);
	free(bytes.data);
	check_end();
}

/* ---------------------------------------------------------------- well-formed files of others */

static void
check_foreign(void)
{
	/* another order of header and data, escapes, white space, fields in any order */
	static const char header[] =
		"{\n \"b\" : {\"shape\":[2],\"data_offsets\":[4, 6],\"dtype\":\"I8\"},\r\n"
		"\t\"\\u00e9\\ud83d\\ude00\\/\\\"\":{\"data_offsets\":[0,4],\"dtype\":\"F32\",\"shape\":[ ]} ,"
		"\"__metadata__\":{\"pt\":\"\\b\\f\\n\\r\\t\\\\\"}}   ";
	Bytes		bytes = bytes_of_header(header, strlen(header), 6);
	FnnFile    *read;

	check_begin("safetensors: any valid layout is read");
	bytes.data[bytes.size - 1] = 9;
	read = fnn_safetensors_read(check_arena(), bytes.data, bytes.size);
	CHECK(read->n_arrays == 2 && strcmp(read->array[0].name, "b") == 0, "arrays come in the header's order");
	CHECK(((int8_t *) read->array[0].data)[1] == 9, "data is found by its offset");
	CHECK(strcmp(read->array[1].name, "\303\251\360\237\230\200/\"") == 0, "escapes of a name are decoded");
	CHECK(read->array[1].ndim == 0 && read->array[1].bytes == 4, "a scalar has no dimension");
	CHECK(strcmp(fnn_file_metadata(read, "pt"), "\b\f\n\r\t\\") == 0, "escapes of metadata are decoded");
	free(bytes.data);
	check_end();
}

/* ---------------------------------------------------------------- malformed files */

static void
run_read(void *context)
{
	Bytes	   *bytes = context;

	fnn_safetensors_read(check_arena(), bytes->data, bytes->size);
}

static void
refused(Bytes bytes, FnnError code, const char *part)
{
	check_fails(code, part, run_read, &bytes);
	free(bytes.data);
}

#define A4 "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"
#define N63 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

typedef struct Malformed
{
	const char *header;
	size_t		data;			/* bytes of it, zeros */
	const char *part;			/* of the message */
} Malformed;

static const Malformed malformed[] = {
	/* JSON */
	{"", 0, "does not begin with '{'"},
	{" {}", 0, "does not begin with '{'"},
	{"[]", 0, "does not begin with '{'"},
	{"{", 0, "'\"' expected"},
	{"{}x", 0, "after the closing brace"},
	{"{}{}", 0, "after the closing brace"},
	{"{\"a\":" A4 ",}", 4, "'\"' expected"},
	{"{\"a\":" A4, 4, "'}' expected"},
	{"{\"a\" " A4 "}", 4, "':' expected"},
	{"{a:" A4 "}", 4, "'\"' expected"},
	{"{\"a\":[]}", 0, "'{' expected"},
	{"{\"a\":null}", 0, "'{' expected"},
	{"{\"a\":{}}", 0, "'\"' expected"},
	{"{\"a", 0, "does not end"},
	{"{\"a\\", 0, "invalid escape"},
	{"{\"\\x41\":" A4 "}", 4, "invalid escape"},
	{"{\"\\u00g0\":" A4 "}", 4, "invalid \\u escape"},
	{"{\"\\u00", 0, "invalid \\u escape"},
	{"{\"\\u0000\":" A4 "}", 4, "NUL"},
	{"{\"\\ud800\":" A4 "}", 4, "surrogate"},
	{"{\"\\ud800\\u0041\":" A4 "}", 4, "surrogate"},
	{"{\"\\udc00\":" A4 "}", 4, "surrogate"},
	{"{\"a\nb\":" A4 "}", 4, "control character"},
	{"{\"a\\nb\":" A4 "}", 4, "control characters"},
	/* UTF-8: a lone continuation, overlong, surrogate, too large, cut off */
	{"{\"\200\":" A4 "}", 4, "UTF-8"},
	{"{\"\300\200\":" A4 "}", 4, "UTF-8"},
	{"{\"\340\237\277\":" A4 "}", 4, "UTF-8"},
	{"{\"\355\240\200\":" A4 "}", 4, "UTF-8"},
	{"{\"\364\220\200\200\":" A4 "}", 4, "UTF-8"},
	{"{\"\360\237\230", 0, "UTF-8"},
	/* names */
	{"{\"\":" A4 "}", 4, "empty"},
	{"{\"" N63 "n\":" A4 "}", 4, "longer than 63 bytes"},
	{"{\"a\":" A4 ",\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "array \"a\" appears twice"},
	{"{\"a\":" A4 ",\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}", 4, "appears twice"},
	/* fields */
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, "lacks"},
	{"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "field \"dtype\" twice"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "unrecognized field \"more\""},
	{"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unrecognized dtype \"F31\""},
	{"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unrecognized dtype \"f32\""},
	{"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'\"' expected"},
	/* shapes */
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "'[' expected"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[[1]],\"data_offsets\":[0,4]}}", 4, "not a number"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "negative"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "not an integer"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]}}", 4, "not an integer"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]}}", 4, "leading zero"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,],\"data_offsets\":[0,4]}}", 4, "not a number"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "more than 4 dimensions"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}", 4, "overflows"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
	"shape of array \"a\" overflows"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "overflows"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2305843009213693952,2],\"data_offsets\":[0,0]}}", 0, "overflows"},
	/* offsets */
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "',' expected"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "']' expected"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "negative"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "out of order"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,18446744073709551620]}}", 4, "overflows"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]}}", 4,
	"past the end"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "past the end"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
	"4 bytes where its shape and dtype ask for 8"},
	{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "hole of 4 bytes"},
	{"{\"a\":" A4 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12,
	"hole of 4 bytes before array \"b\""},
	{"{\"a\":" A4 ",\"b\":" A4 "}", 4, "overlaps"},
	{"{\"a\":" A4 ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, "overlaps"},
	{"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}", 8, "overlaps"},
	{"{\"a\":" A4 "}", 5, "1 bytes after the last array"},
	{"{}", 1, "1 bytes after the last array"},
	/* metadata */
	{"{\"__metadata__\":1}", 0, "'{' expected"},
	{"{\"__metadata__\":{\"a\":1}}", 0, "'\"' expected"},
	{"{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "'\"' expected"},
	{"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, "metadata key \"a\" appears twice"},
	{"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ twice"},
	{"{\"__metadata__\":{\"a\":\"b\\u0000\"}}", 0, "NUL"},
	{"{\"__metadata__\":{\"a\":\"b\"", 0, "'}' expected"},
};

#define N_MALFORMED ((int) (sizeof(malformed) / sizeof(malformed[0])))

static void
check_malformed(void)
{
	Bytes		whole;
	Bytes		bytes;
	size_t		cut;
	int			i;

	check_begin("safetensors: %d malformed headers are refused, each for its reason", N_MALFORMED);
	for (i = 0; i < N_MALFORMED; i++)
		refused(bytes_of_header(malformed[i].header, strlen(malformed[i].header), malformed[i].data),
				FNN_FORMAT, malformed[i].part);
	refused(bytes_of_header("{\0}", 3, 0), FNN_FORMAT, "'\"' expected");
	check_end();

	check_begin("safetensors: files cut at any byte and lying lengths are refused");
	refused(bytes_make("", 0), FNN_FORMAT, "too few for the length");
	refused(bytes_make("\2\0\0\0\0\0\0", 7), FNN_FORMAT, "too few for the length");
	refused(bytes_make("\2\0\0\0\0\0\0\0{", 9), FNN_FORMAT, "claims 2 bytes of which 1 are there");
	refused(bytes_make("\377\377\377\377\377\377\377\377{}", 10), FNN_FORMAT, "more than 104857600 are not allowed");
	refused(bytes_make("\1\0\100\6\0\0\0\0{}", 10), FNN_FORMAT, "more than 104857600 are not allowed");
	refused(bytes_make("\0\0\100\6\0\0\0\0{}", 10), FNN_FORMAT, "claims 104857600 bytes of which 2 are there");
	whole = write_file(sample_file());
	for (cut = 0; cut < whole.size; cut++)
		refused(bytes_make(whole.data, cut), FNN_FORMAT, "malformed safetensors file");
	bytes = bytes_make(whole.data, whole.size);
	bytes.size--;
	refused(bytes, FNN_FORMAT, "past the end");
	free(whole.data);
	check_end();
}

static void
check_nonfinite(void)
{
	static const struct
	{
		const char *dtype;
		int			size;
		uint64_t	bits;
	}			bad[] =
	{
		{"F32", 4, 0x7f800000}, {"F32", 4, 0xff800000}, {"F32", 4, 0x7fc00000}, {"F32", 4, 0x7f800001},
		{"F64", 8, UINT64_C(0x7ff0000000000000)}, {"F64", 8, UINT64_C(0xfff8000000000001)},
		{"F16", 2, 0x7c00}, {"F16", 2, 0xfe01}, {"BF16", 2, 0x7f80}, {"BF16", 2, 0xffc0},
	};
	fnn_real	value[3] = {1, -2, 3};
	int			i;

	check_begin("safetensors: NaN and infinities are refused in every floating type");
	for (i = 0; i < (int) (sizeof(bad) / sizeof(bad[0])); i++)
	{
		char		header[200];
		Bytes		bytes;

		snprintf(header, sizeof(header), "{\"x\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]}}",
				 bad[i].dtype, 3 * bad[i].size);
		bytes = bytes_of_header(header, strlen(header), (size_t) (3 * bad[i].size));
		memcpy(bytes.data + bytes.size - bad[i].size, &bad[i].bits, (size_t) bad[i].size);
		refused(bytes, FNN_NONFINITE, "array \"x\" holds NaN or infinity");
	}
	CHECK(fnn_all_finite(value, 3) && fnn_all_finite(value, 0), "finite numbers count as finite");
	value[2] = (fnn_real) NAN;
	CHECK(!fnn_all_finite(value, 3) && fnn_all_finite(value, 2), "NaN counts as finite");
	value[0] = -(fnn_real) INFINITY;
	CHECK(!fnn_all_finite(value, 1), "infinity counts as finite");
	check_end();
}

/* ---------------------------------------------------------------- the writer's own checks */

static void
run_size(void *context)
{
	fnn_safetensors_size(check_arena(), context);
}

static void
check_writer(void)
{
	FnnFile    *file;

	check_begin("safetensors: what the reader would refuse is not written");
	file = sample_file();
	file->array[3].bytes++;
	check_fails(FNN_INVALID, "array \"half\"", run_size, file);
	file = sample_file();
	file->array[1].shape[0] = -2;
	check_fails(FNN_INVALID, "array \"encoder.0.weight\"", run_size, file);
	file = sample_file();
	strcpy(file->array[1].name, "half");
	check_fails(FNN_INVALID, "array \"half\" appears twice", run_size, file);
	file = sample_file();
	strcpy(file->array[4].name, "__metadata__");
	check_fails(FNN_INVALID, "array 4 has no usable name", run_size, file);
	file = sample_file();
	strcpy(file->array[4].name, "\377");
	check_fails(FNN_INVALID, "not valid UTF-8", run_size, file);
	file = sample_file();
	file->metadata[1].key = "format";
	check_fails(FNN_INVALID, "metadata key \"format\" appears twice", run_size, file);
	check_end();
}

/* ---------------------------------------------------------------- mutations */

#define MUTATIONS 6000

typedef struct Catcher
{
	jmp_buf		exit;
	FnnError	code;
} Catcher;

static void *
catch_allocate(void *context, size_t bytes)
{
	return check_host()->allocate(check_host()->context, bytes);
}

static void
catch_release(void *context, void *pointer)
{
	check_host()->release(check_host()->context, pointer);
}

static void
catch_fail(void *context, FnnError code, const char *message)
{
	Catcher    *catcher = context;

	catcher->code = code;
	longjmp(catcher->exit, 1);
}

static void
catch_poll(void *context)
{
}

/* One to four changes that keep near the format: bytes, digits, runs cut out or repeated, the header's length. */
static Bytes
mutate(Bytes whole, uint64_t stream)
{
	static const char likely[] = "{}[]\":,\\0129eu-. \377\200";
	Bytes		bytes = bytes_make(whole.data, whole.size);
	uint64_t	draw = 0;
	int			changes = 1 + (int) fnn_random_below(7, stream, draw++, 4);

	while (changes-- > 0 && bytes.size > 16)
	{
		/* most of the time in the header, which is where the rules are */
		size_t		span = fnn_random_below(7, stream, draw++, 4) > 0 ? bytes.size * 9 / 10 : bytes.size;
		size_t		at = fnn_random_below(7, stream, draw++, span);
		size_t		run = 1 + fnn_random_below(7, stream, draw++, 12);
		uint64_t	noise = fnn_random_bits(7, stream, draw++);

		if (run > bytes.size - at)
			run = bytes.size - at;
		switch (fnn_random_below(7, stream, draw++, 6))
		{
			case 0:
				bytes.data[at] = (char) (bytes.data[at] ^ (1 << (noise % 8)));
				break;
			case 1:
				bytes.data[at] = likely[noise % (sizeof(likely) - 1)];
				break;
			case 2:
				memmove(bytes.data + at, bytes.data + at + run, bytes.size - at - run);
				bytes.size -= run;
				break;
			case 3:
				memmove(bytes.data + at, bytes.data + noise % (bytes.size - run), run);
				break;
			case 4:
				while (at < bytes.size && (bytes.data[at] < '0' || bytes.data[at] > '9'))
					at++;
				if (at < bytes.size)
					bytes.data[at] = (char) ('0' + noise % 10);
				break;
			default:
				bytes.data[noise % 3] = (char) (noise >> 8);
				break;
		}
	}
	/* to a block of exactly its size */
	whole = bytes_make(bytes.data, bytes.size);
	free(bytes.data);
	return whole;
}

/* Reads; what is accepted is written and read again, and must be the same. */
static bool
survives(FnnArena *arena, Bytes bytes)
{
	FnnFile    *file = fnn_safetensors_read(arena, bytes.data, bytes.size);
	size_t		size = fnn_safetensors_size(arena, file);
	char	   *copy = fnn_alloc(arena, size);

	fnn_safetensors_write(arena, file, copy);
	return same_file(file, fnn_safetensors_read(arena, copy, size));
}

static void
check_mutations(void)
{
	static int	accepted;
	static int	refusals;
	FnnHost		host = *check_host();
	Catcher		catcher;
	Bytes		whole;
	uint64_t	i;

	check_begin("safetensors: %d mutated files are read or refused, nothing else", MUTATIONS);
	host.context = &catcher;
	host.allocate = catch_allocate;
	host.release = catch_release;
	host.fail = catch_fail;
	host.poll = catch_poll;
	whole = write_file(sample_file());
	accepted = refusals = 0;
	for (i = 0; i < MUTATIONS; i++)
	{
		Bytes		bytes = mutate(whole, i);
		FnnArena   *arena = fnn_arena_create(&host, (size_t) 16 * 1024 * 1024);

		if (setjmp(catcher.exit) == 0)
		{
			CHECK(survives(arena, bytes), "mutation %d reads differently after writing", (int) i);
			accepted++;
		}
		else
		{
			CHECK(catcher.code == FNN_FORMAT || catcher.code == FNN_NONFINITE,
				  "mutation %d is refused with code %d", (int) i, (int) catcher.code);
			refusals++;
		}
		fnn_arena_destroy(arena);
		free(bytes.data);
	}
	CHECK(accepted > MUTATIONS / 100 && refusals > MUTATIONS / 2, "%d mutations read, %d refused: they test nothing",
		  accepted, refusals);
	free(whole.data);
	check_end();
}

/* ---------------------------------------------------------------- hash */

static void
check_hash(void)
{
	enum
	{
		N = 300
	};
	unsigned char text[N];
	uint64_t	seen[N + 1];
	double		flips = 0;
	int			trials = 0;
	int			i;
	int			j;

	check_begin("hash: depends on every bit, the size and the seed, and on nothing else");
	memset(text, 0, sizeof(text));
	for (i = 0; i <= N; i++)
	{
		seen[i] = fnn_hash(1, text, (size_t) i);
		for (j = 0; j < i; j++)
			CHECK(seen[i] != seen[j], "%d and %d zeros hash alike", i, j);
	}
	CHECK(fnn_hash(2, text, 10) != fnn_hash(1, text, 10), "the seed does not matter");
	for (i = 0; i < N; i++)
		text[i] = (unsigned char) fnn_random_bits(3, 0, (uint64_t) i);
	for (i = 0; i < N * 8; i += 7)
	{
		uint64_t	before = fnn_hash(5, text, N);
		uint64_t	after;

		text[i / 8] ^= (unsigned char) (1 << (i % 8));
		after = fnn_hash(5, text, N);
		text[i / 8] ^= (unsigned char) (1 << (i % 8));
		CHECK(before != after, "bit %d does not matter", i);
		flips += __builtin_popcountll(before ^ after);
		trials++;
	}
	CHECK(fabs(flips / trials - 32) < 1, "a flipped bit flips %.1f of 64 bits", flips / trials);
	for (i = 1; i < 8; i++)
	{
		memmove(text + i, text + i - 1, 200);
		CHECK(fnn_hash(0, text + i, 200) == fnn_hash(0, memcpy(seen, text + i, 200), 200),
			  "the address matters at %d", i);
	}
	/* checksums are stored: the value may not change from one version to the next */
	CHECK(fnn_hash(0, "fmoe", 4) == UINT64_C(0xf318562ab48f571c), "hash of \"fmoe\" is %llx",
		  (unsigned long long) fnn_hash(0, "fmoe", 4));
	check_end();
}

void
check_safetensors(void)
{
	check_round_trip();
	check_foreign();
	check_malformed();
	check_nonfinite();
	check_lacking();
	check_writer();
	check_mutations();
	check_hash();
}

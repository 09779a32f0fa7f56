/*
 * safetensors_json.c
 *	  The JSON header of a safetensors file, read strictly.
 *
 *	header	 = "{" [ member { "," member } ] "}" spaces
 *	member	 = "__metadata__" ":" "{" [ string ":" string { "," ... } ] "}"
 *			 | name ":" "{" three of dtype, shape, data_offsets, in any order "}"
 *
 * The parser knows this shape and nothing else, so it does not recurse: depth
 * is bounded by what the format allows.  Strings must be valid UTF-8 without
 * control characters; escapes are decoded, unpaired surrogates and NUL are
 * refused.  Numbers are plain non-negative integers up to 2^63 - 1.
 */
#include "nn/file/header.h"

#include <string.h>

#define POLL_STEPS (1 << 20)

typedef struct Parser
{
	const FnnHost *host;
	FnnArena   *arena;
	const unsigned char *text;	/* [size] */
	size_t		size;
	size_t		at;
	int			steps;			/* since the last poll */
} Parser;

/* ---------------------------------------------------------------- characters */

static inline void
step(Parser *p)
{
	if (++p->steps >= POLL_STEPS)
	{
		p->steps = 0;
		fnn_poll(p->host);
	}
}

/* The byte at the cursor, or -1 at the end. */
static inline int
peek(const Parser *p)
{
	return p->at < p->size ? p->text[p->at] : -1;
}

static void
skip_space(Parser *p)
{
	while (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\n' || peek(p) == '\r')
	{
		p->at++;
		step(p);
	}
}

/* Takes c, after spaces, if it is next. */
static bool
take(Parser *p, char c)
{
	skip_space(p);
	if (peek(p) != c)
		return false;
	p->at++;
	return true;
}

static void
expect(Parser *p, char c)
{
	if (!take(p, c))
		fnn_malformed(p->host, "'%c' expected at byte %zu of the header", c, p->at);
}

int
fnn_utf8_length(const unsigned char *text, size_t left)
{
	unsigned char low = 0x80;
	unsigned char high = 0xbf;
	int			length;
	int			i;

	if (left == 0)
		return 0;
	if (text[0] < 0x80)
		return 1;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	length = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	if (left < (size_t) length)
		return 0;
	/* no overlong forms, no surrogates, nothing above U+10FFFF */
	if (text[0] == 0xe0)
		low = 0xa0;
	else if (text[0] == 0xed)
		high = 0x9f;
	else if (text[0] == 0xf0)
		low = 0x90;
	else if (text[0] == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (i = 2; i < length; i++)
	{
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

const char *
fnn_shown_name(const char *name, char shown[FNN_NAME_MAX])
{
	int			i;

	for (i = 0; i < FNN_NAME_MAX - 1 && name[i] != '\0'; i++)
		shown[i] = (name[i] >= ' ' && name[i] <= '~') ? name[i] : '?';
	shown[i] = '\0';
	return shown;
}

bool
fnn_valid_name(const char *name)
{
	const char *c;

	for (c = name; *c != '\0'; c++)
	{
		if ((*c > 0 && *c < ' ') || *c == 0x7f)
			return false;
	}
	return name[0] != '\0' && strcmp(name, "__metadata__") != 0;
}

/* ---------------------------------------------------------------- strings */

static uint32_t
hex_digits(Parser *p)
{
	uint32_t	value = 0;
	int			i;

	for (i = 0; i < 4; i++)
	{
		int			c = peek(p);

		if (c >= '0' && c <= '9')
			value = value * 16 + (uint32_t) (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (uint32_t) (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value = value * 16 + (uint32_t) (c - 'A' + 10);
		else
			fnn_malformed(p->host, "invalid \\u escape at byte %zu of the header", p->at);
		p->at++;
	}
	return value;
}

/* The rest of \uXXXX, a second one of a surrogate pair included, as UTF-8 into out[4]. */
static int
unicode_escape(Parser *p, char *out)
{
	uint32_t	code = hex_digits(p);

	if (code >= 0xd800 && code <= 0xdbff)
	{
		uint32_t	low = 0;

		if (p->size - p->at >= 6 && p->text[p->at] == '\\' && p->text[p->at + 1] == 'u')
		{
			p->at += 2;
			low = hex_digits(p);
		}
		if (low < 0xdc00 || low > 0xdfff)
			fnn_malformed(p->host, "unpaired surrogate before byte %zu of the header", p->at);
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	}
	else if (code >= 0xdc00 && code <= 0xdfff)
		fnn_malformed(p->host, "unpaired surrogate before byte %zu of the header", p->at);
	if (code == 0)
		fnn_malformed(p->host, "NUL character before byte %zu of the header", p->at);

	if (code < 0x80)
	{
		out[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		out[0] = (char) (0xc0 | (code >> 6));
		out[1] = (char) (0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000)
	{
		out[0] = (char) (0xe0 | (code >> 12));
		out[1] = (char) (0x80 | ((code >> 6) & 0x3f));
		out[2] = (char) (0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char) (0xf0 | (code >> 18));
	out[1] = (char) (0x80 | ((code >> 12) & 0x3f));
	out[2] = (char) (0x80 | ((code >> 6) & 0x3f));
	out[3] = (char) (0x80 | (code & 0x3f));
	return 4;
}

/* One escape after its backslash, decoded into out[4]; returns its bytes. */
static int
escape(Parser *p, char *out)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	int			c = peek(p);
	const char *found = c > 0 ? strchr(from, c) : NULL;

	if (c == 'u')
	{
		p->at++;
		return unicode_escape(p, out);
	}
	if (found == NULL)
		fnn_malformed(p->host, "invalid escape at byte %zu of the header", p->at);
	p->at++;
	out[0] = to[found - from];
	return 1;
}

/* One character of a string, decoded into out[4]; returns its bytes, 0 at the closing quote. */
static int
character(Parser *p, char *out)
{
	int			c = peek(p);
	int			length;

	if (c < 0)
		fnn_malformed(p->host, "a string does not end");
	if (c == '"')
	{
		p->at++;
		return 0;
	}
	if (c < 0x20)
		fnn_malformed(p->host, "control character at byte %zu of the header", p->at);
	if (c == '\\')
	{
		p->at++;
		return escape(p, out);
	}
	length = fnn_utf8_length(p->text + p->at, p->size - p->at);
	if (length == 0)
		fnn_malformed(p->host, "invalid UTF-8 at byte %zu of the header", p->at);
	memcpy(out, p->text + p->at, (size_t) length);
	p->at += (size_t) length;
	return length;
}

/* A string into out[FNN_NAME_MAX]. */
static void
short_string(Parser *p, char *out)
{
	size_t		used = 0;
	char		piece[4];
	int			length;

	expect(p, '"');
	while ((length = character(p, piece)) > 0)
	{
		if (used + (size_t) length >= FNN_NAME_MAX)
			fnn_malformed(p->host, "a name is longer than %d bytes before byte %zu of the header",
						  FNN_NAME_MAX - 1, p->at);
		memcpy(out + used, piece, (size_t) length);
		used += (size_t) length;
	}
	out[used] = '\0';
}

/* A string of any length, on the arena. */
static const char *
long_string(Parser *p)
{
	size_t		start;
	size_t		used = 0;
	char		piece[4];
	char	   *out;
	int			length;

	expect(p, '"');
	/* once to validate and find the end, once to decode: never longer than its source */
	start = p->at;
	while (character(p, piece) > 0)
		step(p);
	out = fnn_alloc(p->arena, p->at - start);
	p->at = start;
	while ((length = character(p, piece)) > 0)
	{
		memcpy(out + used, piece, (size_t) length);
		used += (size_t) length;
		step(p);
	}
	out[used] = '\0';
	return out;
}

/* ---------------------------------------------------------------- numbers */

static int64_t
integer(Parser *p, const char *what)
{
	int64_t		value = 0;
	size_t		start;

	skip_space(p);
	start = p->at;
	if (peek(p) == '-')
		fnn_malformed(p->host, "%s is negative at byte %zu of the header", what, p->at);
	for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
	{
		int			digit = peek(p) - '0';

		if (value > (INT64_MAX - digit) / 10)
			fnn_malformed(p->host, "%s overflows at byte %zu of the header", what, p->at);
		value = value * 10 + digit;
	}
	if (p->at == start)
		fnn_malformed(p->host, "%s is not a number at byte %zu of the header", what, p->at);
	if (p->at - start > 1 && p->text[start] == '0')
		fnn_malformed(p->host, "%s has a leading zero at byte %zu of the header", what, start);
	if (peek(p) == '.' || peek(p) == 'e' || peek(p) == 'E')
		fnn_malformed(p->host, "%s is not an integer at byte %zu of the header", what, p->at);
	return value;
}

static void
shape(Parser *p, FnnArray *array)
{
	array->ndim = 0;
	expect(p, '[');
	if (take(p, ']'))
		return;
	do
	{
		if (array->ndim == FNN_DIMS_MAX)
			fnn_malformed(p->host, "more than %d dimensions at byte %zu of the header", FNN_DIMS_MAX, p->at);
		array->shape[array->ndim++] = integer(p, "a dimension");
	} while (take(p, ','));
	expect(p, ']');
}

static void
offsets(Parser *p, FnnEntry *entry)
{
	expect(p, '[');
	entry->begin = integer(p, "an offset");
	expect(p, ',');
	entry->end = integer(p, "an offset");
	expect(p, ']');
}

/* ---------------------------------------------------------------- members */

/* The description of one array. */
static void
description(Parser *p, FnnEntry *entry)
{
	enum
	{
		DTYPE = 1, SHAPE = 2, OFFSETS = 4
	};
	char		shown[FNN_NAME_MAX];
	int			seen = 0;

	expect(p, '{');
	do
	{
		char		field[FNN_NAME_MAX];
		int			bit = 0;

		short_string(p, field);
		expect(p, ':');
		if (strcmp(field, "dtype") == 0)
			bit = DTYPE;
		else if (strcmp(field, "shape") == 0)
			bit = SHAPE;
		else if (strcmp(field, "data_offsets") == 0)
			bit = OFFSETS;
		else
			fnn_malformed(p->host, "unrecognized field \"%s\" before byte %zu of the header",
						  fnn_shown_name(field, shown), p->at);
		if (seen & bit)
			fnn_malformed(p->host, "field \"%s\" twice before byte %zu of the header", field, p->at);
		seen |= bit;

		if (bit == DTYPE)
		{
			short_string(p, field);
			if (!fnn_dtype_parse(field, &entry->array.dtype))
				fnn_malformed(p->host, "unrecognized dtype \"%s\" before byte %zu of the header",
							  fnn_shown_name(field, shown), p->at);
		}
		else if (bit == SHAPE)
			shape(p, &entry->array);
		else
			offsets(p, entry);
	} while (take(p, ','));
	expect(p, '}');
	if (seen != (DTYPE | SHAPE | OFFSETS))
		fnn_malformed(p->host, "array \"%s\" lacks dtype, shape or data_offsets",
					  fnn_shown_name(entry->array.name, shown));
}

/* Pairs onto the list whose end is tail. */
static void
metadata(Parser *p, FnnHeader *header)
{
	FnnPair   **tail = &header->pairs;

	expect(p, '{');
	if (take(p, '}'))
		return;
	do
	{
		FnnPair    *pair = fnn_zalloc(p->arena, sizeof(FnnPair));

		pair->pair.key = long_string(p);
		expect(p, ':');
		pair->pair.value = long_string(p);
		*tail = pair;
		tail = &pair->next;
		header->n_pairs++;
		fnn_poll(p->host);
	} while (take(p, ','));
	expect(p, '}');
}

static FnnEntry *
entry(Parser *p, const char *name)
{
	FnnEntry   *result = fnn_zalloc(p->arena, sizeof(FnnEntry));

	if (!fnn_valid_name(name))
		fnn_malformed(p->host, "an array's name is empty or has control characters before byte %zu of the header",
					  p->at);
	memcpy(result->array.name, name, strlen(name) + 1);
	description(p, result);
	return result;
}

void
fnn_header_parse(FnnArena *arena, const void *text, size_t size, FnnHeader *header)
{
	Parser		p = {fnn_arena_host(arena), arena, text, size, 0, 0};
	FnnEntry  **tail = &header->entries;
	bool		has_metadata = false;

	memset(header, 0, sizeof(*header));
	if (peek(&p) != '{')
		fnn_malformed(p.host, "the header does not begin with '{'");
	p.at++;
	if (!take(&p, '}'))
	{
		do
		{
			char		name[FNN_NAME_MAX];

			short_string(&p, name);
			expect(&p, ':');
			if (strcmp(name, "__metadata__") != 0)
			{
				*tail = entry(&p, name);
				tail = &(*tail)->next;
				header->n_entries++;
			}
			else if (has_metadata)
				fnn_malformed(p.host, "__metadata__ twice before byte %zu of the header", p.at);
			else
			{
				metadata(&p, header);
				has_metadata = true;
			}
			fnn_poll(p.host);
		} while (take(&p, ','));
		expect(&p, '}');
	}
	skip_space(&p);
	if (p.at != p.size)
		fnn_malformed(p.host, "something after the closing brace at byte %zu of the header", p.at);
}

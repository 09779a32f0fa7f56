/*
 * text.c
 *	  Words of texts in UTF-8.
 *
 * Nothing here asks the C library about characters: what it says depends on the
 * locale and on its version, and a version's words must be those of the history
 * that is read with it elsewhere.
 */
#include "model/data/text.h"

#include <string.h>

#define NO_CODE UINT32_MAX
#define POLL_EVERY 0xffff		/* code points */

/* ---------------------------------------------------------------- UTF-8 */

/* The code point at *at, which moves on; of what is no UTF-8, NO_CODE for one byte. */
static uint32_t
next_code(const unsigned char *text, size_t bytes, size_t *at)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	uint32_t	first = text[*at];
	uint32_t	code;
	size_t		more = first < 0x80 ? 0 : first < 0xC0 || first > 0xF7 ? 4 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;

	(*at)++;
	if (more == 0)
		return first;
	if (more == 4 || bytes - *at < more)
		return NO_CODE;
	code = first & (0x3Fu >> more);
	for (size_t k = 0; k < more; k++)
	{
		if ((text[*at + k] & 0xC0) != 0x80)
			return NO_CODE;
		code = (code << 6) | (text[*at + k] & 0x3Fu);
	}
	if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
		return NO_CODE;
	*at += more;
	return code;
}

/* The same, where a byte that is no UTF-8 is a character of Latin-1. */
static uint32_t
next_character(const char *text, size_t bytes, size_t *at)
{
	unsigned char byte = (unsigned char) text[*at];
	uint32_t	code = next_code((const unsigned char *) text, bytes, at);

	return code == NO_CODE ? byte : code;
}

static size_t
put_code(char *out, uint32_t code)
{
	if (code < 0x80)
	{
		out[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		out[0] = (char) (0xC0 | (code >> 6));
		out[1] = (char) (0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000)
	{
		out[0] = (char) (0xE0 | (code >> 12));
		out[1] = (char) (0x80 | ((code >> 6) & 0x3F));
		out[2] = (char) (0x80 | (code & 0x3F));
		return 3;
	}
	out[0] = (char) (0xF0 | (code >> 18));
	out[1] = (char) (0x80 | ((code >> 12) & 0x3F));
	out[2] = (char) (0x80 | ((code >> 6) & 0x3F));
	out[3] = (char) (0x80 | (code & 0x3F));
	return 4;
}

bool
fmoe_text_valid(const char *text, size_t bytes)
{
	for (size_t at = 0; at < bytes;)
	{
		uint32_t	code = next_code((const unsigned char *) text, bytes, &at);

		if (code == NO_CODE || code == 0)
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- characters */

/* Upper case, every step-th from first to last, and how far its lower case is. */
typedef struct Case
{
	uint16_t	first;
	uint16_t	last;
	int16_t		step;
	int16_t		distance;
} Case;

/* Unicode's simple lower case of Latin-1, Greek and Cyrillic, ascending. */
static const Case cases[] = {
	{0x00C0, 0x00D6, 1, 32}, {0x00D8, 0x00DE, 1, 32},
	{0x0370, 0x0372, 2, 1}, {0x0376, 0x0376, 1, 1}, {0x037F, 0x037F, 1, 116}, {0x0386, 0x0386, 1, 38},
	{0x0388, 0x038A, 1, 37}, {0x038C, 0x038C, 1, 64}, {0x038E, 0x038F, 1, 63}, {0x0391, 0x03A1, 1, 32},
	{0x03A3, 0x03AB, 1, 32}, {0x03CF, 0x03CF, 1, 8}, {0x03D8, 0x03EE, 2, 1}, {0x03F4, 0x03F4, 1, -60},
	{0x03F7, 0x03F7, 1, 1}, {0x03F9, 0x03F9, 1, -7}, {0x03FA, 0x03FA, 1, 1}, {0x03FD, 0x03FF, 1, -130},
	{0x0400, 0x040F, 1, 80}, {0x0410, 0x042F, 1, 32}, {0x0460, 0x0480, 2, 1}, {0x048A, 0x04BE, 2, 1},
	{0x04C0, 0x04C0, 1, 15}, {0x04C1, 0x04CD, 2, 1}, {0x04D0, 0x052E, 2, 1},
	{0x1F08, 0x1F0F, 1, -8}, {0x1F18, 0x1F1D, 1, -8}, {0x1F28, 0x1F2F, 1, -8}, {0x1F38, 0x1F3F, 1, -8},
	{0x1F48, 0x1F4D, 1, -8}, {0x1F59, 0x1F5F, 2, -8}, {0x1F68, 0x1F6F, 1, -8}, {0x1F88, 0x1F8F, 1, -8},
	{0x1F98, 0x1F9F, 1, -8}, {0x1FA8, 0x1FAF, 1, -8}, {0x1FB8, 0x1FB9, 1, -8}, {0x1FBA, 0x1FBB, 1, -74},
	{0x1FBC, 0x1FBC, 1, -9}, {0x1FC8, 0x1FCB, 1, -86}, {0x1FCC, 0x1FCC, 1, -9}, {0x1FD8, 0x1FD9, 1, -8},
	{0x1FDA, 0x1FDB, 1, -100}, {0x1FE8, 0x1FE9, 1, -8}, {0x1FEA, 0x1FEB, 1, -112}, {0x1FEC, 0x1FEC, 1, -7},
	{0x1FF8, 0x1FF9, 1, -128}, {0x1FFA, 0x1FFB, 1, -126}, {0x1FFC, 0x1FFC, 1, -9}
};

#define CASES ((int) (sizeof(cases) / sizeof(cases[0])))

static uint32_t
lower(uint32_t code)
{
	int			low = 0;
	int			high = CASES;

	if (code < 0x80)
		return code >= 'A' && code <= 'Z' ? code + 32 : code;
	/* most scripts have no case */
	if (code > 0x1FFF || (code > 0x52F && code < 0x1F00))
		return code;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (code > cases[middle].last)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < CASES && code >= cases[low].first && (code - cases[low].first) % (uint32_t) cases[low].step == 0)
		return (uint32_t) ((int32_t) code + cases[low].distance);
	return code;
}

typedef enum Kind
{
	BETWEEN,					/* between words */
	OF_WORD,
	PAIRED						/* kana, Han, Hangul */
} Kind;

typedef struct Range
{
	uint32_t	first;
	uint32_t	last;
} Range;

static bool
in_ranges(uint32_t code, const Range *range, int n)
{
	for (int i = 0; i < n; i++)
		if (code >= range[i].first && code <= range[i].last)
			return true;
	return false;
}

static Kind
kind_of(uint32_t code)
{
	/* Hangul's letters and syllables, kana, Han; what is compatible with them or of half their width */
	static const Range paired[] = {
		{0x1100, 0x11FF}, {0x3040, 0x30FF}, {0x3130, 0x318F}, {0x31F0, 0x31FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF},
		{0xA960, 0xA97F}, {0xAC00, 0xD7FF}, {0xF900, 0xFAFF}, {0xFF66, 0xFFDC}, {0x1AFF0, 0x1B16F},
		{0x20000, 0x3FFFF}
	};
	static const Range between[] = {
		{0x80, 0xBF}, {0x2000, 0x206F}, {0x3000, 0x303F}, {0xFF00, 0xFF0F}
	};

	if (code < 0x80)
		return (code >= 'a' && code <= 'z') || (code >= '0' && code <= '9') ? OF_WORD : BETWEEN;
	if (code == 0xAA || code == 0xB5 || code == 0xBA)
		return OF_WORD;
	if (in_ranges(code, between, sizeof(between) / sizeof(between[0])))
		return BETWEEN;
	return code >= 0x1100 && in_ranges(code, paired, sizeof(paired) / sizeof(paired[0])) ? PAIRED : OF_WORD;
}

/* ---------------------------------------------------------------- words */

/* The run that is being read. */
typedef struct Run
{
	Kind		kind;
	int64_t		length;			/* characters */
	char		word[FMOE_WORD_BYTES + 4];
	size_t		bytes;			/* of word: the word so far, or the last character of what is paired */
	bool		full;			/* nothing more is added to word */
	int64_t		max;
	int64_t		count;			/* words that were given */
	FmoeTakeWord take;
	void	   *argument;
} Run;

static void
give(Run *run)
{
	if (run->max < 0 || run->count < run->max)
	{
		run->take(run->argument, run->word, run->bytes);
		run->count++;
	}
}

static void
end_run(Run *run)
{
	if (run->kind == OF_WORD || (run->kind == PAIRED && run->length == 1))
		give(run);
	run->length = 0;
	run->bytes = 0;
	run->full = false;
}

static void
add_to_run(Run *run, uint32_t code)
{
	char		character[4];
	size_t		bytes = put_code(character, code);

	run->length++;
	if (run->kind == PAIRED && run->length > 1)
	{
		memcpy(run->word + run->bytes, character, bytes);
		run->bytes += bytes;
		give(run);
		run->bytes = 0;
	}
	run->full = run->full || run->bytes + bytes > FMOE_WORD_BYTES;
	if (run->full)
		return;
	memcpy(run->word + run->bytes, character, bytes);
	run->bytes += bytes;
}

int64_t
fmoe_text_words(const FnnHost *host, const char *text, size_t bytes, int64_t max, FmoeTakeWord take, void *argument)
{
	Run			run = {.kind = BETWEEN, .max = max, .take = take, .argument = argument};
	int64_t		read = 0;

	for (size_t at = 0; at < bytes && (max < 0 || run.count < max);)
	{
		uint32_t	code = lower(next_character(text, bytes, &at));
		Kind		kind = kind_of(code);

		if (kind != run.kind)
		{
			end_run(&run);
			run.kind = kind;
		}
		if (kind != BETWEEN)
			add_to_run(&run, code);
		if ((++read & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	end_run(&run);
	return run.count;
}

/* Spaces and control characters of ASCII, the fixed space and that of Han. */
static bool
is_space(uint32_t code)
{
	return code <= 0x20 || code == 0x7F || code == 0xA0 || code == 0x3000;
}

size_t
fmoe_text_term(const char *text, size_t bytes, char *out)
{
	size_t		length = 0;
	size_t		trimmed = 0;

	for (size_t at = 0; at < bytes;)
	{
		uint32_t	code = next_character(text, bytes, &at);
		char		character[4];
		size_t		n = put_code(character, code);

		if (code == 0 || (length == 0 && is_space(code)))
			continue;
		if (length + n > FMOE_WORD_BYTES)
			break;
		memcpy(out + length, character, n);
		length += n;
		if (!is_space(code))
			trimmed = length;
	}
	return trimmed;
}

/* ---------------------------------------------------------------- signs */

static uint64_t
fnv1a(uint64_t hash, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ (unsigned char) text[i]) * UINT64_C(0x100000001b3);
	return hash;
}

void
fmoe_text_signs(const char *word, size_t bytes, uint64_t out[FMOE_TEXT_SIGNS / 64])
{
	uint64_t	state = fnv1a(fnv1a(UINT64_C(0xcbf29ce484222325), "w:", 2), word, bytes);

	for (int i = 0; i < FMOE_TEXT_SIGNS / 64; i++)
	{
		uint64_t	z = state += UINT64_C(0x9E3779B97F4A7C15);

		z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
		out[i] = z ^ (z >> 31);
	}
}

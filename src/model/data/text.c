/*
 * text.c
 *	  Words of texts in UTF-8.
 */
#include "model/data/text.h"

#define NO_CODE UINT32_MAX

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

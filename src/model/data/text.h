/*
 * text.h
 *	  Words of texts in UTF-8: the same on every machine, in every locale.
 *
 * A word is a longest run of word characters in lower case.  Those are ASCII's
 * letters and digits and the code points from 128 on, but U+0080-00BF (without
 * ª, µ and º), U+2000-206F, U+3000-303F and U+FF00-FF0F.  Kana, Han and Hangul,
 * which are written without spaces, give a word for each two neighbours; one that
 * stands alone is a word.  Lower case is that of ASCII, Latin-1, Greek and
 * Cyrillic.  A byte that is no UTF-8 counts as Latin-1 has it.
 */
#ifndef FMOE_MODEL_DATA_TEXT_H
#define FMOE_MODEL_DATA_TEXT_H

#include "nn/nn.h"

#define FMOE_WORD_BYTES 255		/* of a longer word the first so many count, or a few less: no character is cut */
#define FMOE_TEXT_SIGNS 512

typedef void (*FmoeTakeWord) (void *argument, const char *word, size_t bytes);

/*
 * Gives the words of a text, one after the other, to take; no more than max, where
 * that is not negative.  Returns how many.
 */
extern int64_t fmoe_text_words(const FnnHost *host, const char *text, size_t bytes, int64_t max,
							   FmoeTakeWord take, void *argument);
/*
 * A text as one term, as it stands but without spaces around it: copied to out
 * [FMOE_WORD_BYTES], in UTF-8 and cut as words are.  Returns its bytes, 0: there is nothing in it.
 */
extern size_t fmoe_text_term(const char *text, size_t bytes, char *out);
/* Whether bytes are UTF-8 without a zero byte: no surrogates, nothing longer than it need be, at most U+10FFFF. */
extern bool fmoe_text_valid(const char *text, size_t bytes);
/*
 * A word's vector of +1 (bits that are set) and -1, which every machine computes alike: bits
 * of splitmix64, the lowest first, from the FNV-1a hash of "w:" and the word.
 */
extern void fmoe_text_signs(const char *word, size_t bytes, uint64_t out[FMOE_TEXT_SIGNS / 64]);

#endif							/* FMOE_MODEL_DATA_TEXT_H */

/*
 * text.h
 *	  Words of texts in UTF-8: the same on every machine, in every locale.
 */
#ifndef FMOE_MODEL_DATA_TEXT_H
#define FMOE_MODEL_DATA_TEXT_H

#include "nn/nn.h"

/* Whether bytes are UTF-8 without a zero byte: no surrogates, nothing longer than it need be, at most U+10FFFF. */
extern bool fmoe_text_valid(const char *text, size_t bytes);

#endif							/* FMOE_MODEL_DATA_TEXT_H */

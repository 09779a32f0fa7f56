/*
 * header.h
 *	  What the two files of the safetensors reader share; nobody else includes it.
 */
#ifndef FNN_FILE_HEADER_H
#define FNN_FILE_HEADER_H

#include "nn/file/file.h"

#define FNN_HEADER_MAX	(100 * 1024 * 1024) /* bytes of JSON */

/* An array as the header describes it: array.data is not set. */
typedef struct FnnEntry
{
	FnnArray	array;
	int64_t		begin;			/* bytes from the start of the data */
	int64_t		end;
	struct FnnEntry *next;
} FnnEntry;

typedef struct FnnPair
{
	FnnMetadata pair;
	struct FnnPair *next;
} FnnPair;

/* In the order of the file; names may still repeat and offsets be anything. */
typedef struct FnnHeader
{
	int			n_entries;
	FnnEntry   *entries;
	int			n_pairs;
	FnnPair    *pairs;
} FnnHeader;

extern void fnn_header_parse(FnnArena *arena, const void *text, size_t size, FnnHeader *header);
/* Bytes of the UTF-8 character at text[left]; 0: it is none. */
extern int	fnn_utf8_length(const unsigned char *text, size_t left);
/* Not empty, not __metadata__, no control characters. */
extern bool fnn_valid_name(const char *name);
/* A name for messages: everything but printable ASCII shown as '?'. */
extern const char *fnn_shown_name(const char *name, char shown[FNN_NAME_MAX]);

#define fnn_malformed(host, ...) fnn_fail((host), FNN_FORMAT, "malformed safetensors file: " __VA_ARGS__)

#endif							/* FNN_FILE_HEADER_H */

/*
 * check_hm4sr.h
 *	  Small options of hm4sr, for its tests.
 */
#ifndef FMOE_CHECK_HM4SR_H
#define FMOE_CHECK_HM4SR_H

#include <string.h>

#include "check.h"
#include "model/hm4sr/hm4sr.h"

static inline const FmoeHm4srOptions *
own(const FmoeConfig *config)
{
	return fmoe_hm4sr_own(config);
}

/* Sets an option.  A copy of bytes may alias what it likes, a double that is written into them may not. */
#define SET(config, field, to) \
	do { \
		FmoeHm4srOptions options; \
		memcpy(&options, (config)->own.bytes, sizeof(options)); \
		options.field = (to); \
		memcpy((config)->own.bytes, &options, sizeof(options)); \
	} while (0)

static inline void
set_streams(FmoeConfig *config, int n, const char *const *name)
{
	FmoeHm4srStreams streams = {.count = n};

	for (int i = 0; i < n; i++)
		strcpy(streams.stream[i].name, name[i]);
	SET(config, streams, streams);
}

/* Small options, complete; the text as a stream, and the vectors. */
static inline FmoeConfig
hm4sr_config(void)
{
	return check_config("hm4sr");
}

/* Of check_hm4sr_golden.c. */
extern void check_hm4sr_golden(void);

#endif							/* FMOE_CHECK_HM4SR_H */

/*
 * precision.h
 *	  What an encoder is changed to before it leaves: precision, clipping, noise.
 */
#ifndef FMOE_PG_FILE_PRECISION_H
#define FMOE_PG_FILE_PRECISION_H

#include "pg/file/file.h"

typedef enum FmoePrecision
{
	FMOE_FLOAT32,
	FMOE_FLOAT16,
	FMOE_INT8
} FmoePrecision;

extern const char *const fmoe_precision_names[];	/* by FmoePrecision, NULL-terminated */

/* What the options of fmoe_lend and fmoe_export fill. */
typedef struct FmoeRelease
{
	int			precision;		/* FmoePrecision */
	double		clip;			/* largest L2 norm of the whole encoder; 0: off */
	double		noise;			/* standard deviation of the noise, in clips; 0: none */
	double		delta;
	int64_t		seed;			/* of the noise; -1: unpredictable noise */
} FmoeRelease;

extern const FmoeOption fmoe_release_options[]; /* ends with name NULL */

/* options may be NULL */
extern void fmoe_release_parse(Jsonb *options, FmoeRelease *release);
extern bool fmoe_release_is_exact(const FmoeRelease *release);
/* Clips the F32 arrays of an encoder, adds noise and rounds, into the current context; sets privacy and precision. */
extern void fmoe_release_apply(const FmoeRelease *release, FmoeExpertFile *file);
/* Turns the arrays back into F32, new ones in the current context; false: cannot be, and *problem says why. */
extern bool fmoe_release_restore(FmoeExpertFile *file, const char **problem);

#endif							/* FMOE_PG_FILE_PRECISION_H */

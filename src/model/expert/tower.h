/*
 * tower.h
 *	  The options of the classes sasrec and gru4rec.
 */
#ifndef FMOE_MODEL_EXPERT_TOWER_H
#define FMOE_MODEL_EXPERT_TOWER_H

#include <stdbool.h>

typedef struct FmoeTowerOptions
{
	bool		features;		/* item vectors have what features add */
	double		id_dropout;		/* share of items that a step knows by these alone */
} FmoeTowerOptions;

#endif							/* FMOE_MODEL_EXPERT_TOWER_H */

/*
 * tower.h
 *	  The options of the classes sasrec and gru4rec.
 */
#ifndef FMOE_MODEL_EXPERT_TOWER_H
#define FMOE_MODEL_EXPERT_TOWER_H

#include "model/expert/featured.h"
#include "model/expert/gated.h"

typedef struct FmoeTowerOptions
{
	FmoeFeaturedOptions featured;
	FmoeGatedOptions gated;
	int			baskets;		/* FmoeBasketReading; of sasrec only */
} FmoeTowerOptions;

#endif							/* FMOE_MODEL_EXPERT_TOWER_H */

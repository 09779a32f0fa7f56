/*
 * rates.h
 *	  Click rates that are counted.
 */
#ifndef FMOE_MODEL_EXPERT_RATES_H
#define FMOE_MODEL_EXPERT_RATES_H

#include "model/data/data.h"

/* What is counted of the impressions that train. */
typedef struct FmoeClickRates
{
	double		share;			/* of clicks in all, pulled a little to a half */
	double		pull;			/* impressions that the share counts as beside a user's own */
	int			column;			/* the feature whose values say most, -1: none does */
	int64_t		width;			/* its values, and one more */
	float	   *odds;			/* [width] the log-odds that a value adds; last: of what has none */
} FmoeClickRates;

/* On the arena; categories: with a column, where the items have any that says something. */
extern FmoeClickRates fmoe_click_rates(FnnArena *arena, const FmoeDataset *data, FmoeHoldout holdout,
									   bool categories);
/* Bytes that this takes. */
extern double fmoe_click_rates_bytes(const FmoeFeatures *features);
/* The share alone. */
extern double fmoe_click_share(const FnnHost *host, const FmoeDataset *data, FmoeHoldout holdout);
/* logit((clicks + pull share) / (n + pull)) */
extern double fmoe_click_logit(double clicks, double n, double pull, double share);
/* The mean of odds over an item's values in a column; -1: 0. */
extern double fmoe_click_odds(const FmoeFeatures *features, int column, const float *odds, int32_t item);
extern bool fmoe_is_category(const FmoeFeature *feature);

#endif							/* FMOE_MODEL_EXPERT_RATES_H */

/*
 * model.h
 *	  The recommenders: includes the headers of all folders, for src/pg.
 *
 * An *expert* scores every item of a catalogue for a history.  Two kinds:
 *	  gradient experts  declare parameters and compose an encoder from nn's
 *						operations; their scores are hidden . item vector
 *	  count experts		are filled in one pass over the events
 * A family of them is a folder (or a file of expert/) and a row in
 * fmoe_expert_classes[] (registry.c).
 *
 * A *model* is what a version holds: one main expert and the two count
 * experts trained on the same events, which are the baselines of every
 * evaluation and the fallback for users without history.
 */
#ifndef FMOE_MODEL_H
#define FMOE_MODEL_H

#include "model/config.h"
#include "model/data/data.h"
#include "model/evaluate/evaluate.h"
#include "model/expert/expert.h"
#include "model/expert/markov.h"
#include "model/options.h"
#include "model/registry.h"
#include "model/serve/serve.h"
#include "model/train/train.h"

#endif							/* FMOE_MODEL_H */

/*
 * federated.c
 *	  The options of training in rounds of users: their names, and whether they fit each other.
 */
#include "model/expert/federated.h"

#include <stdio.h>

const char *const fmoe_local_optimiser_names[] = {"sgd", "adam", NULL};
const char *const fmoe_server_names[] = {"fedavg", "fedadam", "fedyogi", NULL};

static bool
misfits(FmoeMisfit *misfit, const char *message, const char *detail, const char *hint)
{
	snprintf(misfit->message, sizeof(misfit->message), "%s", message);
	snprintf(misfit->detail, sizeof(misfit->detail), "%s", detail);
	snprintf(misfit->hint, sizeof(misfit->hint), "%s", hint);
	return false;
}

bool
fmoe_federated_fits(const FmoeFederated *federated, const FmoeConfig *config, FmoeMisfit *misfit)
{
	if (!federated->on)
	{
		/* a training that was to be private must not be one that is not */
		if (federated->noise > 0 || federated->epsilon > 0 || federated->clip > 0)
			return misfits(misfit, "options \"clip\", \"noise\" and \"epsilon\" need option \"federated\"",
						   "What ordinary batches learn of a user has no bound.", "Use {\"federated\": true}.");
		if (federated->rounds > 0)
			return misfits(misfit, "option \"rounds\" needs option \"federated\"",
						   "What is exchanged is what rounds of users changed.", "Use {\"federated\": true}.");
		return true;
	}
	if (federated->noise > 0 && federated->clip == 0)
		return misfits(misfit, "option \"noise\" needs option \"clip\"",
					   "The noise is a multiple of the norm that each user's difference is clipped to.",
					   "Use a clip such as 0.5.");
	if (federated->noise > 0 && config->warm_start)
		return misfits(misfit, "option \"noise\" cannot be had with \"warm_start\"",
					   "What the live version has learned of users would be told beside what the noise hides.",
					   "Leave warm_start out.");
	if (federated->epsilon > 0 && federated->noise == 0)
		return misfits(misfit, "option \"epsilon\" needs option \"noise\"",
					   "Without noise what a round tells of a user has no bound.", "Use a noise such as 1.");
	return true;
}

int
fmoe_federated_rounds(const FmoeFederated *federated, int *local_epochs)
{
	*local_epochs = federated->local_epochs;
	return federated->on ? federated->rounds : 0;
}

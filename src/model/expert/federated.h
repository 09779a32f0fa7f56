/*
 * federated.h
 *	  The options of training in rounds of users, for classes that offer it.
 *
 * A user is a client: what leaves it is the difference of parameters that all or a
 * group share, and rows of its own stay.  A class has these among its own options
 * by the rows FMOE_FEDERATED_OPTIONS, and gives them by its hook federated.
 */
#ifndef FMOE_MODEL_EXPERT_FEDERATED_H
#define FMOE_MODEL_EXPERT_FEDERATED_H

#include "model/config.h"

typedef enum FmoeLocalOptimiser
{
	FMOE_LOCAL_SGD,
	FMOE_LOCAL_ADAM				/* fresh in each round */
} FmoeLocalOptimiser;

typedef enum FmoeServer
{
	FMOE_FEDAVG,
	FMOE_FEDADAM,
	FMOE_FEDYOGI
} FmoeServer;

typedef struct FmoeFederated
{
	bool		on;				/* else the training is of ordinary batches */
	int			local_steps;	/* most steps of a user in a round */
	int			local_optimiser;	/* FmoeLocalOptimiser */
	double		local_rate;
	double		local_stop;		/* a user stops where a step has lowered its loss by a smaller share; 0: never */
	double		sampling;		/* probability that a user is in a round */
	int			server;			/* FmoeServer */
	double		server_rate;
	int			exchange_every; /* rounds; in the others users move their own rows only */
	double		clip;			/* norm of a user's difference; 0: any */
	double		noise;			/* deviation of the noise on the sum of differences, in clip; 0: none */
	double		delta;
	double		epsilon;		/* training ends before more is spent; 0: no budget */
	int			rounds;			/* exchanges with other databases; 0: none */
	int			local_epochs;	/* before each */
	char		aggregator[FMOE_EXPERT_NAME_MAX];	/* "party.domain" that adds up; empty: by turns */
	int			wait;			/* seconds that others are waited for */
	int			parties;		/* that take part, this one included; 0: one for each peer, and this one */
} FmoeFederated;

extern const char *const fmoe_local_optimiser_names[];
extern const char *const fmoe_server_names[];

/* Rows of a table of options; AT gives the offset of a field of FmoeFederated in the class's options. */
#define FMOE_FEDERATED_OPTIONS(AT) \
	{"federated", FMOE_OPTION_BOOL, AT(on), 0, 0, NULL, "false", \
	"train in rounds of users, each of whom gives the difference that some local steps make; an epoch is a round"}, \
	{"local_steps", FMOE_OPTION_INT, AT(local_steps), 1, 1000, NULL, "1", \
	"federated: most steps of a user in a round", "federated"}, \
	{"local_optimiser", FMOE_OPTION_ENUM, AT(local_optimiser), 0, 0, fmoe_local_optimiser_names, "sgd", \
	"federated: of local steps; adam: fresh in each round", "federated"}, \
	{"local_rate", FMOE_OPTION_REAL, AT(local_rate), 1e-6, 100, NULL, "1", \
	"federated: step size of local steps; 0.01 suits adam", "federated"}, \
	{"local_stop", FMOE_OPTION_REAL, AT(local_stop), 0, 1, NULL, "0", \
	"federated: a user stops where a local step has lowered its loss by a smaller share; 0: never", "federated"}, \
	{"sampling", FMOE_OPTION_REAL, AT(sampling), 1e-6, 1, NULL, "1", \
	"federated: probability that a user takes part in a round", "federated"}, \
	{"server", FMOE_OPTION_ENUM, AT(server), 0, 0, fmoe_server_names, "fedadam", \
	"federated: what moves the shared parameters by the mean difference", "federated"}, \
	{"server_rate", FMOE_OPTION_REAL, AT(server_rate), 1e-6, 100, NULL, "0.01", \
	"federated: step size of the server; 1 with fedavg takes the mean difference as it is", "federated"}, \
	{"exchange_every", FMOE_OPTION_INT, AT(exchange_every), 1, 1000, NULL, "1", \
	"federated: shared parameters move in every that many rounds; in the others users move their own rows only", "federated"}, \
	{"clip", FMOE_OPTION_REAL, AT(clip), 0, 1e6, NULL, "0", \
	"federated: largest norm of a user's difference, over all shared parameters; 0: any"}, \
	{"noise", FMOE_OPTION_REAL, AT(noise), 0, 1e6, NULL, "0", \
	"federated: standard deviation of Gaussian noise on the sum of differences, as a multiple of clip; 0: none"}, \
	{"delta", FMOE_OPTION_REAL, AT(delta), 1e-300, 0.5, NULL, "0.00001", \
	"federated: at which epsilon is told", "federated"}, \
	{"epsilon", FMOE_OPTION_REAL, AT(epsilon), 0, 1e6, NULL, "0", \
	"federated: training stops before users' epsilon is more; 0: no budget"}, \
	{"rounds", FMOE_OPTION_INT, AT(rounds), 0, 10000, NULL, "0", \
	"federated: exchanges of what is shared with the same training of peers; 0: none"}, \
	{"local_epochs", FMOE_OPTION_INT, AT(local_epochs), 1, 1000, NULL, "1", \
	"federated: epochs before each exchange", "rounds"}, \
	{"aggregator", FMOE_OPTION_NAME, AT(aggregator), 0, 0, NULL, "", \
	"federated: party.domain that adds differences up in each exchange; empty: each in turn", "rounds"}, \
	{"exchange_wait", FMOE_OPTION_INT, AT(wait), 1, 86400, NULL, "60", \
	"federated: seconds that an exchange waits for a party before it goes on without it", "rounds"}, \
	{"parties", FMOE_OPTION_INT, AT(parties), 0, 1000, NULL, "0", \
	"federated: databases that exchange, this one included; 0: this one and one for each of its peers", "rounds"}

/* Whether they fit each other. */
extern bool fmoe_federated_fits(const FmoeFederated *federated, const FmoeConfig *config, FmoeMisfit *misfit);
/* The exchanges with other databases: the hook rounds of a class. */
extern int	fmoe_federated_rounds(const FmoeFederated *federated, int *local_epochs);

#endif							/* FMOE_MODEL_EXPERT_FEDERATED_H */

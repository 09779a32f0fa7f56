/*
 * federated.c
 *	  A round of users by a team of processes: simulated federated training.
 *
 * Every user that is sampled begins with the shared parameters, which are public or a
 * row for each group of users, and with rows of its own.  It makes local steps on its
 * own sequence and gives the difference of the shared ones; its own rows it keeps
 * (McMahan et al. 2017; groups and own rows: arXiv 2412.16969, section 3).
 *
 *		sample		every user by itself
 *		users		members take one shard of the users after another; a user is trained on
 *					what is shared, or for several steps on a copy of it that stays in the
 *					processor's caches, and its difference, clipped, is added to slot s
 *		--- barrier
 *		move		each member sums the slots over its range, in slot order, adds noise,
 *					divides, and moves what is shared as the server's optimiser says (Reddi
 *					et al. 2021, algorithm 2)
 *		--- barrier
 *
 * A group's row moves by the mean over the users whose difference has it, and stays
 * where there are none.  With noise the number of users is not told either: sums
 * are divided by what is expected of it (McMahan et al. 2018, algorithm 1), and
 * groups by an equal share of that.
 *
 * No sum depends on how many members there are, so neither do the weights.
 */
#include "model/data/stream.h"
#include "model/train/accountant.h"
#include "model/train/train_private.h"

#include <math.h>
#include <string.h>

#define SERVER_BETA1 0.9
#define SERVER_BETA2 0.99
#define SERVER_TAU 1e-3
#define PIECE 4096				/* reals that are moved at once; even, as noise is drawn */

/* ---------------------------------------------------------------- one user */

/* A user's place to train in, which one after another uses. */
typedef struct Client
{
	FmoeTrainer *trainer;
	FmoeExpert	expert;
	size_t		size;			/* reals that are shared */
	fnn_real   *value;			/* [size] NULL: of one step the gradient says all, and values stay the trainer's */
	fnn_real   *grad;			/* [size] all 0 between users */
	fnn_real   *moment1;		/* [size] NULL: local steps have no moments */
	fnn_real   *moment2;
	FnnSparse  *row;			/* [params.count] gradient of the user's own rows */
	fnn_real  **row_moments;	/* [params.count] [2, cols] of each */
	bool		exchanges;		/* what is shared moves in this round */
} Client;

static Client
new_client(FmoeTrainer *trainer, bool exchanges)
{
	const FnnParams *params = &trainer->plan.params;
	FnnArena   *arena = trainer->arena;
	const FnnHost *host = trainer->host;
	bool		adam = trainer->federated->local_optimiser == FMOE_LOCAL_ADAM;
	bool		copied = trainer->federated->local_steps > 1;
	Client		client = {
		.trainer = trainer,
		.expert = trainer->expert,
		.size = trainer->plan.slot_end,
		.exchanges = exchanges
	};

	client.grad = fnn_zalloc(arena, fnn_mul_size(host, client.size, sizeof(fnn_real)));
	if (copied)
		client.value = fnn_alloc_reals(arena, 1, (int64_t) client.size);
	if (copied && adam)
	{
		client.moment1 = fnn_alloc_reals(arena, 1, (int64_t) client.size);
		client.moment2 = fnn_alloc_reals(arena, 1, (int64_t) client.size);
	}
	client.expert.tensor = fnn_zalloc(arena, fnn_mul_size(host, params->count, sizeof(FnnTensor)));
	client.row = fnn_zalloc(arena, fnn_mul_size(host, params->count, sizeof(FnnSparse)));
	client.row_moments = fnn_zalloc(arena, fnn_mul_size(host, params->count, sizeof(fnn_real *)));
	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		FnnTensor  *tensor = &client.expert.tensor[i];

		*tensor = (FnnTensor) {.rows = param->rows, .cols = param->cols};
		tensor->value = (param->share == FNN_PRIVATE || !copied ? trainer->values : client.value) + param->offset;
		if (fmoe_is_shared(param))
			tensor->grad = client.grad + param->offset;
		else if (fmoe_is_own(param))
		{
			size_t		bytes = fnn_sparse_bytes(host, param->rows, param->cols, 1);

			fnn_sparse_init(&client.row[i], fnn_alloc(arena, bytes), param->rows, param->cols, 1);
			tensor->sparse = &client.row[i];
			if (adam)
				client.row_moments[i] = fnn_alloc_reals(arena, 2, param->cols);
		}
	}
	return client;
}

/* One step of Adam, or of plain descent where there are no moments, on a row of the user's own. */
static void
move_row(const Client *client, int i, int64_t row, int step)
{
	const FmoeFederated *federated = client->trainer->federated;
	const FnnParam *param = &client->trainer->plan.params.list[i];
	FnnParam	alone = {.rows = 1, .cols = param->cols};
	FnnParams	params = {.count = 1, .list = &alone, .size = (size_t) param->cols};
	FnnAdamW	adam = {federated->local_rate, FMOE_BETA1, FMOE_BETA2, FMOE_EPSILON, 0};
	fnn_real   *value = client->trainer->values + param->offset + row * param->cols;
	const fnn_real *grad = client->row[i].grad;
	fnn_real   *moments = client->row_moments[i];

	if (moments != NULL)
		fnn_adamw(&adam, &params, step, 1, 0, params.size, value, grad, moments, moments + param->cols);
	else
		for (int64_t c = 0; c < param->cols; c++)
			value[c] -= (fnn_real) federated->local_rate * grad[c];
}

/* Moves what the user has by its gradient, which is 0 again afterwards where what is shared is a copy. */
static void
move_client(Client *client, int step)
{
	const FmoeTrainer *trainer = client->trainer;
	const FnnParams *params = &trainer->plan.params;
	double		rate = trainer->federated->local_rate;
	FnnAdamW	adam = {rate, FMOE_BETA1, FMOE_BETA2, FMOE_EPSILON, 0};

	for (int i = 0; i < params->count; i++)
		if (client->row[i].count > 0)
		{
			move_row(client, i, client->row[i].touched[0], step);
			fnn_sparse_clear(&client->row[i]);
		}
	if (client->value == NULL)
		return;
	if (client->exchanges && client->moment1 != NULL)
		fnn_adamw(&adam, params, step, 1, 0, client->size, client->value, client->grad, client->moment1,
				  client->moment2);
	else if (client->exchanges)
		for (size_t k = 0; k < client->size; k++)
			client->value[k] -= (fnn_real) rate * client->grad[k];
	memset(client->grad, 0, client->size * sizeof(fnn_real));
}

static void
begin_client(Client *client)
{
	const FmoeTrainer *trainer = client->trainer;

	if (client->value != NULL)
		memcpy(client->value, trainer->values, client->size * sizeof(fnn_real));
	if (client->moment1 != NULL)
	{
		memset(client->moment1, 0, client->size * sizeof(fnn_real));
		memset(client->moment2, 0, client->size * sizeof(fnn_real));
	}
	for (int i = 0; i < trainer->plan.params.count; i++)
		if (client->row_moments[i] != NULL)
			memset(client->row_moments[i], 0, 2 * sizeof(fnn_real) * (size_t) trainer->plan.params.list[i].cols);
}

/* The local steps of a user.  Returns the loss before them, and its parts. */
static double
train_client(Client *client, int64_t sequence, int32_t round, double losses[FMOE_LOSSES_MAX])
{
	FmoeTrainer *trainer = client->trainer;
	const FmoeFederated *federated = trainer->federated;
	int64_t		positions = fmoe_sequence_tokens(&trainer->config, trainer->data, trainer->user[sequence]);
	FmoeTrainBatch batch = {
		.step = round + 1,
		.count = 1,
		.positions = positions,
		.weight = trainer->weight != NULL ? trainer->weight[sequence] : (double) positions
	};
	double		first = 0;
	double		before = INFINITY;

	if (!(batch.weight > 0))
		return 0;
	begin_client(client);
	for (int step = 1; step <= federated->local_steps; step++)
	{
		FnnMark		mark = fnn_arena_mark(trainer->arena);
		double		parts[FMOE_LOSSES_MAX];
		uint64_t	stream = ((uint64_t) (round + 1) * (uint64_t) trainer->plan.n_sequences + (uint64_t) sequence) *
			(uint64_t) federated->local_steps + (uint64_t) step;
		FnnTape		tape;

		fnn_tape_begin(&tape, trainer->arena, true, (uint64_t) trainer->config.seed,
					   fmoe_stream(FMOE_STREAM_DROPOUT, stream));
		fmoe_step_losses(trainer, &client->expert, &tape, 1, &sequence, &batch, stream, parts);
		fnn_tape_backward(&tape);
		if (!isfinite(tape.loss))
			fnn_fail(trainer->host, FNN_NONFINITE, "training diverged in round %d: the loss is not a finite number",
					 round + 1);
		if (step == 1)
		{
			first = tape.loss;
			memcpy(losses, parts, sizeof(parts));
		}
		move_client(client, step);
		fnn_arena_reset(trainer->arena, mark);
		if (federated->local_stop > 0 && tape.loss > before - federated->local_stop * fabs(before))
			break;
		before = tape.loss;
	}
	return first;
}

/* ---------------------------------------------------------------- differences */

static bool
is_zero(const fnn_real *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (x[i] != 0)
			return false;
	return true;
}

/* Counts the user in the groups whose rows its difference has. */
static void
count_groups(const FmoeTrainer *trainer, const fnn_real *difference, int64_t *users)
{
	int64_t    *next = users;

	for (int i = 0; i < trainer->plan.params.count; i++)
	{
		const FnnParam *param = &trainer->plan.params.list[i];

		if (param->rows_of != FNN_OF_GROUPS || !fmoe_is_shared(param))
			continue;
		for (int64_t r = 0; r < param->rows; r++)
			*next++ += !is_zero(difference + param->offset + (size_t) (r * param->cols), param->cols);
	}
}

/* What the user has moved what is shared by, and its sum of squares. */
static fnn_real *
difference_of(Client *client, double *squares)
{
	const FmoeFederated *federated = client->trainer->federated;

	if (client->value != NULL)
	{
		*squares = fnn_subtract(client->size, client->trainer->values, client->value);
		return client->value;
	}
	*squares = fnn_first_step(federated->local_rate, federated->local_optimiser == FMOE_LOCAL_ADAM ? FMOE_EPSILON : -1,
							  client->size, client->grad);
	return client->grad;
}

/* Adds the user's difference to a slot, clipped as one vector over all that is shared; then the gradient is 0. */
static void
add_difference(Client *client, fnn_real *slot, int64_t *group_users)
{
	const FmoeTrainer *trainer = client->trainer;
	double		clip = trainer->federated->clip;
	double		squares;
	fnn_real   *difference = difference_of(client, &squares);

	if (!isfinite(squares))
		fnn_fail(trainer->host, FNN_NONFINITE, "training diverged: a user's difference is not finite");
	count_groups(trainer, difference, group_users);
	fnn_move_reals(client->size, clip > 0 && squares > clip * clip ? clip / sqrt(squares) : 1, difference, slot);
}

/* The users of shard s: a quarter of those in order[n] by their number, which is no secret of any of them. */
static double
train_shard(Client *client, int64_t n, int s, int32_t round, double losses[FMOE_LOSSES_MAX])
{
	FmoeTrainer *trainer = client->trainer;
	int64_t    *users = trainer->group_users + s * (1 + trainer->plan.group_rows);
	double		loss = 0;

	memset(users, 0, sizeof(int64_t) * (size_t) (1 + trainer->plan.group_rows));
	memset(losses, 0, sizeof(double) * FMOE_LOSSES_MAX);
	memset(trainer->slot[s] + trainer->plan.dense_from, 0,
		   (client->size - trainer->plan.dense_from) * sizeof(fnn_real));
	for (int64_t i = n * s / FMOE_SHARDS; i < n * (s + 1) / FMOE_SHARDS; i++)
	{
		double		parts[FMOE_LOSSES_MAX] = {0};

		loss += train_client(client, trainer->order[i], round, parts);
		for (int k = 0; k < FMOE_LOSSES_MAX; k++)
			losses[k] += parts[k];
		users[0]++;
		if (client->exchanges)
			add_difference(client, trainer->slot[s], users + 1);
		else if (client->value == NULL)
			memset(client->grad, 0, client->size * sizeof(fnn_real));
		fnn_poll(trainer->host);
	}
	return loss;
}

/* ---------------------------------------------------------------- the server */

/* Moves the reals from .. to - 1 of what is shared by the sum of differences over n users. */
static void
move_shared(FmoeTrainer *trainer, size_t from, size_t to, double n, int32_t round)
{
	const FmoeFederated *federated = trainer->federated;
	fnn_real	noise[PIECE];
	size_t		even = from - from % 2;
	double		rate = federated->server_rate;

	if (federated->noise > 0)
		fnn_random_normals(trainer->state->secret, fmoe_stream(FMOE_STREAM_NOISE, (uint64_t) round), even,
						   federated->noise * federated->clip, (int64_t) (to - even), noise);
	for (size_t k = from; k < to; k++)
	{
		fnn_real   *m = &trainer->moment1[k];
		fnn_real   *v = &trainer->moment2[k];
		double		sum = 0;
		double		mean;
		double		square;

		for (int s = 0; s < FMOE_SHARDS; s++)
			sum += trainer->slot[s][k];
		if (federated->noise > 0)
			sum += noise[k - even];
		mean = sum / n;
		if (federated->server == FMOE_FEDAVG)
		{
			trainer->values[k] += (fnn_real) (rate * mean);
			continue;
		}
		square = mean * mean;
		*m = (fnn_real) (SERVER_BETA1 * *m + (1 - SERVER_BETA1) * mean);
		if (federated->server == FMOE_FEDADAM)
			*v = (fnn_real) (SERVER_BETA2 * *v + (1 - SERVER_BETA2) * square);
		else
			*v -= (fnn_real) ((1 - SERVER_BETA2) * square * ((*v > square) - (*v < square)));
		trainer->values[k] += (fnn_real) (rate * *m / (sqrt((double) *v) + SERVER_TAU));
	}
}

/* The part of a stretch of what is shared that is in from .. to - 1, a piece at a time. */
static void
move_stretch(FmoeTrainer *trainer, size_t begin, size_t end, size_t from, size_t to, double n, int32_t round)
{
	begin = begin > from ? begin : from;
	end = end < to ? end : to;
	while (n > 0 && begin < end)
	{
		size_t		next = end - begin < PIECE - 1 ? end : begin + PIECE - 1;

		move_shared(trainer, begin, next, n, round);
		begin = next;
		fnn_poll(trainer->host);
	}
}

/* What a sum of differences is divided by: of row r of the groups, from 1, or of all users. */
static double
divisor(const FmoeTrainer *trainer, int64_t r, int64_t groups)
{
	const FmoeFederated *federated = trainer->federated;
	int64_t		users = 0;

	if (federated->noise > 0)
		return federated->sampling * (double) trainer->plan.n_sequences / (double) groups;
	for (int s = 0; s < FMOE_SHARDS; s++)
		users += trainer->group_users[s * (1 + trainer->plan.group_rows) + r];
	return (double) users;
}

static void
move_all(FmoeTrainer *trainer, const FmoeTeam *team, int32_t round)
{
	const FnnParams *params = &trainer->plan.params;
	size_t		size = trainer->plan.slot_end;
	size_t		from = size / team->size * team->rank;
	size_t		to = team->rank + 1 < team->size ? size / team->size * (team->rank + 1) : size;
	int64_t		row = 1;

	for (int i = 0; i < params->count; i++)
	{
		const FnnParam *param = &params->list[i];
		size_t		cols = (size_t) param->cols;

		if (!fmoe_is_shared(param))
			continue;
		if (param->rows_of != FNN_OF_GROUPS)
			move_stretch(trainer, param->offset, param->offset + (size_t) param->rows * cols, from, to,
						 divisor(trainer, 0, 1), round);
		for (int64_t r = 0; param->rows_of == FNN_OF_GROUPS && r < param->rows; r++, row++)
			move_stretch(trainer, param->offset + (size_t) r * cols, param->offset + (size_t) (r + 1) * cols, from, to,
						 divisor(trainer, row, param->rows), round);
	}
}

/* ---------------------------------------------------------------- a round */

static FmoePrivacy
privacy_of(const FmoeFederated *federated)
{
	return (FmoePrivacy) {federated->sampling, federated->noise, federated->delta};
}

bool
fmoe_round_spent(const FmoeTrainer *trainer)
{
	FmoePrivacy privacy = privacy_of(trainer->federated);

	return trainer->federated->noise > 0 && trainer->federated->epsilon > 0 &&
		trainer->state->noised + 1 > fmoe_private_rounds(&privacy, trainer->federated->epsilon);
}

/* Fills order with the sequences whose users are in the round; returns how many. */
static int64_t
sample(FmoeTrainer *trainer, int32_t round)
{
	const FmoeFederated *federated = trainer->federated;
	/* who knew the sample would know more than the noise allows for */
	uint64_t	seed = federated->noise > 0 ? trainer->state->secret : (uint64_t) trainer->config.seed;
	uint64_t	stream = fmoe_stream(FMOE_STREAM_SAMPLE, (uint64_t) round);
	int64_t		n = 0;

	for (int64_t i = 0; i < trainer->plan.n_sequences; i++)
		if (federated->sampling >= 1 || fnn_random_uniform(seed, stream, (uint64_t) i) < federated->sampling)
			trainer->order[n++] = i;
	return n;
}

double
fmoe_round_run(FmoeTrainer *trainer, const FmoeTeam *team, int32_t round, int64_t *users,
			   double losses[FMOE_LOSSES_MAX])
{
	const FmoeFederated *federated = trainer->federated;
	FnnMark		mark = fnn_arena_mark(trainer->arena);
	bool		exchanges = (round + 1) % federated->exchange_every == 0;
	Client		client = new_client(trainer, exchanges);
	double		loss = 0;
	int			s;

	*users = sample(trainer, round);
	while ((s = (int) fmoe_claim(trainer)) < FMOE_SHARDS)
		trainer->shard_loss[s] = train_shard(&client, *users, s, round, trainer->shard_losses + s * FMOE_LOSSES_MAX);
	fnn_arena_reset(trainer->arena, mark);
	fmoe_barrier(team);
	fmoe_claim_anew(trainer, team);
	for (s = 0; s < FMOE_SHARDS; s++)
		loss += trainer->shard_loss[s];
	for (int k = 0; k < FMOE_SHARDS * FMOE_LOSSES_MAX; k++)
		losses[k % FMOE_LOSSES_MAX] += trainer->shard_losses[k];
	if (exchanges)
		move_all(trainer, team, round);
	if (team->rank == 0 && exchanges && federated->noise > 0)
	{
		FmoePrivacy privacy = privacy_of(federated);

		trainer->state->noised++;
		trainer->state->epsilon = fmoe_epsilon(&privacy, (double) trainer->state->noised);
	}
	fmoe_barrier(team);
	return loss;
}

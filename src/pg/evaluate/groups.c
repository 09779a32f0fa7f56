/*
 * groups.c
 *	  fmoe_groups: which group each user is in, block by block.
 *
 * As of all of a user's impressions so far, and with the user's own row, which is what
 * the gate reads when the user is served; users without impressions are in none.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/cache/cache.h"
#include "pg/evaluate/evaluate.h"

PG_FUNCTION_INFO_V1(fmoe_groups);

static FmoeLoaded *
version_with_groups(const FmoeDomain *domain)
{
	FmoeVersion *version = fmoe_version_to_evaluate(domain, 0);
	FmoeLoaded *loaded = fmoe_load(domain, version->version_id);

	if (loaded->model.expert[FMOE_MAIN].class->group_of == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of domain \"%s\" has no groups", version->version, domain->name),
				 errdetail("Its model is \"%s\".", version->model)));
	return loaded;
}

/* The user's own row of the version, on the arena; NULL: there is none. */
static FnnTensor *
private_row(const FmoeLoaded *loaded, const FmoeDomain *domain, FnnArena *arena, Datum user)
{
	int64		n = fmoe_private_columns(&loaded->model.expert[FMOE_MAIN]);
	FnnTensor  *row;

	if (n == 0)
		return NULL;
	row = fnn_zalloc(arena, sizeof(FnnTensor));
	row->rows = 1;
	row->cols = n;
	row->value = fnn_alloc_reals(arena, 1, n);
	return fmoe_load_private(loaded->version_id, domain->user_type, user, n, row->value) ? row : NULL;
}

/* The rows of one user. */
static void
put_user(ReturnSetInfo *result, const FmoeLoaded *loaded, const FmoeDomain *domain, FnnArena *arena,
		 const FmoeInteractions *interactions, const char *id, int64 user)
{
	const FmoeDataset *data = &interactions->data;
	const FmoeExpert *main = &loaded->model.expert[FMOE_MAIN];
	FnnMark		mark = fnn_arena_mark(arena);
	int32		group[FMOE_BLOCKS_MAX];
	FmoeBatch  *batch = fmoe_batch(arena, &data->events, 1, &data->offset[user], &data->offset[user + 1],
								   main->config->max_length);
	int			blocks;

	fmoe_batch_users(arena, batch, data, &data->offset[user]);
	batch->private_rows = private_row(loaded, domain, arena, fmoe_vocabulary_id(interactions->users, (int32) user));
	batch->private_of = fnn_zalloc(arena, sizeof(int32));
	blocks = Min(main->class->group_of(main, arena, batch, 0, FMOE_BLOCKS_MAX, group), FMOE_BLOCKS_MAX);
	for (int block = 0; block < blocks; block++)
	{
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = CStringGetTextDatum(id);
		values[1] = Int32GetDatum(block);
		values[2] = Int32GetDatum(group[block]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	fnn_arena_reset(arena, mark);
}

Datum
fmoe_groups(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext old;
	FmoeDomain *domain;
	FmoeLoaded *loaded;
	FmoeInteractions *interactions;
	FnnArena   *arena;
	const FmoeModel *model;
	Oid			output;
	bool		varlena;

	InitMaterializedSRF(fcinfo, 0);
	context = AllocSetContextCreate(CurrentMemoryContext, "fmoe groups", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	domain = fmoe_domain_argument(fcinfo, 0, FMOE_USE);
	loaded = version_with_groups(domain);
	model = &loaded->model;
	arena = fmoe_arena(context, fmoe_max_memory_kb);
	interactions = fmoe_read_for(domain, loaded->vocabulary,
								 fmoe_reads(model->expert[FMOE_MAIN].class, &model->config),
								 model->user_features.count > 0 ? &model->user_features : NULL);
	getTypeOutputInfo(domain->user_type, &output, &varlena);
	for (int64 user = 0; user < interactions->data.n_users; user++)
	{
		CHECK_FOR_INTERRUPTS();
		if (interactions->data.offset[user + 1] > interactions->data.offset[user])
			put_user((ReturnSetInfo *) fcinfo->resultinfo, loaded, domain, arena, interactions,
					 OidOutputFunctionCall(output, fmoe_vocabulary_id(interactions->users, (int32) user)), user);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}

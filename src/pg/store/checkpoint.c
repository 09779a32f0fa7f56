/*
 * checkpoint.c
 *	  An unfinished training in the extension's tables.
 *
 * fmoe.training has one row for each domain in training: configuration,
 * fingerprint of the interactions, and a sealed state.  fmoe.checkpoint has the
 * blocks of the trainer in parts.  Both are written in one transaction after an
 * epoch, so together they are always the training as of that epoch.
 *
 * The state is a TrainingSeal as it lies in memory: magic and format, the
 * sizes and hashes of the blocks, FmoeTrainState, and a hash of all of that.
 * Only the same build on the same kind of machine can read it.  With another
 * byte order, number width or layout the magic number, a size or the hash does
 * not fit, and the training starts again.
 *
 * FMOE_BLOCK_BEST is written only when there was a better epoch since the last
 * checkpoint, or another attempt began; it is part of the checkpoint once
 * best_epoch is not 0, and FMOE_BLOCK_RIVAL from the second attempt on.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/store/checkpoint.h"
#include "pg/store/store.h"

#define SEAL_MAGIC 0x464d4f45	/* "FMOE" */
#define SEAL_FORMAT 3

typedef struct TrainingSeal
{
	uint32		magic;
	uint32		format;
	uint32		real_bytes;
	uint32		state_bytes;
	uint64		block_bytes[FMOE_BLOCKS];	/* 0: not part of the checkpoint */
	uint64		block_hash[FMOE_BLOCKS];
	FmoeTrainState state;
	uint64		hash;			/* of everything above */
} TrainingSeal;

static FmoeStatement find_training = {
	"SELECT config, fingerprint, state, seconds FROM fmoe.training"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement find_parts = {
	"SELECT block, part, data FROM fmoe.checkpoint"
	" WHERE domain_id OPERATOR(pg_catalog.=) $1 ORDER BY block, part",
	1, {INT8OID}
};

static FmoeStatement save_training = {
	"INSERT INTO fmoe.training (domain_id, config, fingerprint, state, epoch, epochs, loss, metric, seconds)"
	" SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9"
	" FROM (SELECT FROM fmoe.domain WHERE domain_id OPERATOR(pg_catalog.=) $1 FOR KEY SHARE) d"
	" ON CONFLICT (domain_id) DO UPDATE SET config = EXCLUDED.config, fingerprint = EXCLUDED.fingerprint,"
	" state = EXCLUDED.state, epoch = EXCLUDED.epoch, epochs = EXCLUDED.epochs, loss = EXCLUDED.loss,"
	" metric = EXCLUDED.metric, seconds = EXCLUDED.seconds, updated_at = pg_catalog.now()",
	9, {INT8OID, JSONBOID, TEXTOID, BYTEAOID, INT4OID, INT4OID, FLOAT8OID, FLOAT8OID, FLOAT8OID}
};

static FmoeStatement save_part = {
	"INSERT INTO fmoe.checkpoint (domain_id, block, part, data) VALUES ($1, $2, $3, $4)"
	" ON CONFLICT (domain_id, block, part) DO UPDATE SET data = EXCLUDED.data",
	4, {INT8OID, INT4OID, INT4OID, BYTEAOID}
};

static FmoeStatement discard_parts = {
	"DELETE FROM fmoe.checkpoint WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

static FmoeStatement discard_training = {
	"DELETE FROM fmoe.training WHERE domain_id OPERATOR(pg_catalog.=) $1",
	1, {INT8OID}
};

/* Blocks that belong to a checkpoint of this state. */
static bool
block_counts(const FmoeTrainState *state, FmoeTrainBlock block)
{
	if (block == FMOE_BLOCK_RIVAL)
		return state->attempt > 0;
	return block != FMOE_BLOCK_BEST || state->best_epoch > 0 || state->attempt > 0;
}

/*
 * Whether the checkpoint that was taken after saved_epoch has the block as it is: the best epoch may be one
 * before, and all best values change where another attempt begins.
 */
static bool
is_saved(const FmoeTrainState *state, FmoeTrainBlock block, int saved_epoch)
{
	bool		same_attempt = state->attempt == 0 || saved_epoch >= state->first_epoch;

	if (!block_counts(state, block))
		return true;
	if (block == FMOE_BLOCK_RIVAL)
		return same_attempt;
	return block == FMOE_BLOCK_BEST && state->best_epoch <= saved_epoch && same_attempt;
}

static void
seal_training(TrainingSeal *seal, FmoeTrainer *trainer)
{
	int			block;

	memset(seal, 0, sizeof(*seal));
	seal->magic = SEAL_MAGIC;
	seal->format = SEAL_FORMAT;
	seal->real_bytes = sizeof(fnn_real);
	seal->state_bytes = sizeof(FmoeTrainState);
	memcpy(&seal->state, fmoe_trainer_state(trainer), sizeof(FmoeTrainState));
	for (block = 0; block < FMOE_BLOCKS; block++)
	{
		size_t		bytes;
		void	   *data = fmoe_trainer_block(trainer, block, &bytes);

		if (!block_counts(&seal->state, block))
			continue;
		seal->block_bytes[block] = bytes;
		seal->block_hash[block] = fnn_hash(block, data, bytes);
		CHECK_FOR_INTERRUPTS();
	}
	seal->hash = fnn_hash(SEAL_FORMAT, seal, offsetof(TrainingSeal, hash));
}

/* Whether the stored bytes are a seal whose blocks have this trainer's sizes. */
static bool
open_seal(TrainingSeal *seal, const bytea *bytes, FmoeTrainer *trainer)
{
	int			block;

	if (VARSIZE_ANY_EXHDR(bytes) != sizeof(TrainingSeal))
		return false;
	memcpy(seal, VARDATA_ANY(bytes), sizeof(TrainingSeal));
	if (seal->magic != SEAL_MAGIC || seal->format != SEAL_FORMAT ||
		seal->real_bytes != sizeof(fnn_real) || seal->state_bytes != sizeof(FmoeTrainState) ||
		seal->hash != fnn_hash(SEAL_FORMAT, seal, offsetof(TrainingSeal, hash)))
		return false;
	if (seal->state.epoch < 1 || seal->state.best_epoch < 0 || seal->state.best_epoch > seal->state.epoch)
		return false;
	for (block = 0; block < FMOE_BLOCKS; block++)
	{
		size_t		bytes_here;

		(void) fmoe_trainer_block(trainer, block, &bytes_here);
		if (!block_counts(&seal->state, block))
			bytes_here = 0;
		if (seal->block_bytes[block] != bytes_here)
			return false;
	}
	return true;
}

/* Copies a part from a row of SPI_tuptable to its place in into[bytes]; false: the row is not that part. */
static bool
restore_part(uint64 row, int block, int part, char *into, size_t bytes)
{
	HeapTuple	tuple;
	TupleDesc	shape = SPI_tuptable->tupdesc;
	bool		null;

	if (row >= SPI_processed)
		return false;
	tuple = SPI_tuptable->vals[row];
	return DatumGetInt32(SPI_getbinval(tuple, shape, 1, &null)) == block &&
		DatumGetInt32(SPI_getbinval(tuple, shape, 2, &null)) == part &&
		fmoe_part_copy(tuple, shape, 3, into + (size_t) part * FMOE_PART_BYTES, fmoe_part_bytes(bytes, part));
}

/*
 * Copies the parts in SPI_tuptable, ordered by block and part, into the
 * trainer.  False when something is missing, too much or altered.
 */
static bool
restore_blocks(const TrainingSeal *seal, FmoeTrainer *trainer)
{
	uint64		row = 0;

	for (int block = 0; block < FMOE_BLOCKS; block++)
	{
		size_t		bytes = seal->block_bytes[block];
		int			parts = bytes == 0 ? 0 : fmoe_part_count(bytes);
		size_t		capacity;
		char	   *into = fmoe_trainer_block(trainer, block, &capacity);

		Assert(bytes <= capacity);
		for (int part = 0; part < parts; part++)
		{
			if (!restore_part(row++, block, part, into, bytes))
				return false;
			CHECK_FOR_INTERRUPTS();
		}
		if (parts > 0 && fnn_hash(block, into, bytes) != seal->block_hash[block])
			return false;
	}
	return row == SPI_processed;
}

/* What the row in SPI_tuptable is good for; seal is filled when it is ready to be restored. */
static FmoeResume
check_training(Jsonb *config, uint64 fingerprint, FmoeTrainer *trainer, TrainingSeal *seal, double *seconds)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		null;
	Jsonb	   *stored = DatumGetJsonbP(SPI_getbinval(tuple, desc, 1, &null));
	char	   *print = TextDatumGetCString(SPI_getbinval(tuple, desc, 2, &null));
	bytea	   *state = DatumGetByteaPP(SPI_getbinval(tuple, desc, 3, &null));

	*seconds = DatumGetFloat8(SPI_getbinval(tuple, desc, 4, &null));
	if (strcmp(print, fmoe_checksum_text(fingerprint)) != 0)
		return FMOE_RESUME_OTHER_DATA;
	if (compareJsonbContainers(&stored->root, &config->root) != 0)
		return FMOE_RESUME_OTHER_CONFIG;
	return open_seal(seal, state, trainer) ? FMOE_RESUME_READY : FMOE_RESUME_DAMAGED;
}

/* After FMOE_RESUME_DAMAGED the trainer's blocks are undefined. */
FmoeResume
fmoe_checkpoint_load(int64 domain_id, Jsonb *config, uint64 fingerprint, FmoeTrainer *trainer, double *seconds)
{
	FmoeOwn		own;
	FmoeResume	resume = FMOE_RESUME_NONE;
	TrainingSeal seal;
	Datum		values[1] = {Int64GetDatum(domain_id)};

	*seconds = 0;
	fmoe_own_begin(&own);
	fmoe_own_execute(&find_training, values, NULL, false, 0);
	if (SPI_processed > 0)
		resume = check_training(config, fingerprint, trainer, &seal, seconds);
	if (resume == FMOE_RESUME_READY)
	{
		fmoe_own_execute(&find_parts, values, NULL, false, 0);
		if (restore_blocks(&seal, trainer))
			memcpy(fmoe_trainer_state(trainer), &seal.state, sizeof(FmoeTrainState));
		else
			resume = FMOE_RESUME_DAMAGED;
	}
	fmoe_own_end(&own);
	if (resume != FMOE_RESUME_READY)
		*seconds = 0;
	return resume;
}

void
fmoe_checkpoint_save(int64 domain_id, Jsonb *config, uint64 fingerprint, int epochs,
					 FmoeTrainer *trainer, int saved_epoch, double seconds)
{
	FmoeOwn		own;
	TrainingSeal seal;
	bytea	   *state;
	Datum		values[9];
	char		nulls[9];
	Datum		part[4] = {Int64GetDatum(domain_id)};
	int			block;

	seal_training(&seal, trainer);
	fmoe_own_begin(&own);
	state = palloc(VARHDRSZ + sizeof(TrainingSeal));
	SET_VARSIZE(state, VARHDRSZ + sizeof(TrainingSeal));
	memcpy(VARDATA(state), &seal, sizeof(TrainingSeal));
	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(domain_id);
	values[1] = JsonbPGetDatum(config);
	values[2] = CStringGetTextDatum(fmoe_checksum_text(fingerprint));
	values[3] = PointerGetDatum(state);
	values[4] = Int32GetDatum(seal.state.epoch);
	values[5] = Int32GetDatum(epochs);
	values[6] = Float8GetDatum(seal.state.loss);
	values[7] = Float8GetDatum(seal.state.metric);
	values[8] = Float8GetDatum(seconds);
	if (isnan(seal.state.loss))
		nulls[6] = 'n';
	if (isnan(seal.state.metric))
		nulls[7] = 'n';
	fmoe_own_execute(&save_training, values, nulls, false, 0);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the domain was dropped while it was being trained")));

	for (block = 0; block < FMOE_BLOCKS; block++)
	{
		size_t		bytes;
		const char *data = fmoe_trainer_block(trainer, block, &bytes);

		if (is_saved(&seal.state, block, saved_epoch))
			continue;
		part[1] = Int32GetDatum(block);
		if (bytes > 0)
			fmoe_parts_write(&save_part, part, 2, 3, data, bytes);
	}
	fmoe_own_end(&own);
}

void
fmoe_checkpoint_discard(int64 domain_id)
{
	Datum		value = Int64GetDatum(domain_id);

	(void) fmoe_own_change(&discard_parts, &value, NULL);
	(void) fmoe_own_change(&discard_training, &value, NULL);
}

static FmoeStatement wasted_space = {
	"SELECT WHERE pg_catalog.pg_relation_size('fmoe.checkpoint'::pg_catalog.regclass) OPERATOR(pg_catalog.>) 0"
	" AND NOT EXISTS (SELECT FROM fmoe.checkpoint)",
	0, {0}
};

static FmoeStatement empty_checkpoint = {"TRUNCATE fmoe.checkpoint", 0, {0}};

void
fmoe_checkpoint_give_back(void)
{
	Oid			table = get_relname_relid("checkpoint", get_namespace_oid("fmoe", false));

	/* whoever writes one holds a lock until it can be seen, by a snapshot that is taken then */
	if (!IsolationUsesXactSnapshot() &&
		fmoe_own_found(&wasted_space, NULL, false) && ConditionalLockRelationOid(table, AccessExclusiveLock) &&
		fmoe_own_found(&wasted_space, NULL, false))
		(void) fmoe_own_change(&empty_checkpoint, NULL, NULL);
}

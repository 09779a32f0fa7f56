/*
 * file.h
 *	  Experts as safetensors files: what fmoe_export and fmoe_fit write and fmoe_import and fmoe_apply read.
 */
#ifndef FMOE_PG_FILE_FILE_H
#define FMOE_PG_FILE_FILE_H

#include "pg/id/id.h"
#include "pg/store/store.h"

#define FMOE_FILE_VERSION 1		/* of the format; readers refuse newer ones */

typedef struct FmoeExpertFile
{
	/* set: model, complete, holdout, config, events, users, items, checksum; of complete ones last_event, too */
	FmoeVersion facts;
	const char *item_type;		/* fmoe_id_type_name(); NULL unless complete */
	const char *created;		/* NULL: unknown */
	const char *precision;		/* of an encoder's arrays in the file; NULL: float32 */
	Jsonb	   *privacy;		/* what was done to an encoder for privacy; NULL: nothing */
	Jsonb	   *gate;			/* weights of the gate that the encoder had a part under; NULL: none */
	int			n_arrays;
	FnnArray   *arrays;			/* [n_arrays], the vocabulary's text in the database's encoding */
} FmoeExpertFile;

/* The file, in the current context; sets facts.checksum. */
extern bytea *fmoe_expert_write(FmoeExpertFile *file);
/*
 * Reads bytes from anywhere and checks all that can be checked without a
 * domain.  Arrays may point into bytes, which must stay.  Those of an encoder
 * are F32, whatever the precision of the file is.
 */
extern FmoeExpertFile *fmoe_expert_read(const void *bytes, size_t size);
/*
 * Sets model and vocabulary up over a complete file's arrays.  Error unless the
 * arrays are exactly those that its class declares, and the ids are distinct,
 * in order and of the type.
 */
extern FmoeVocabulary *fmoe_expert_bind(const FmoeExpertFile *file, Oid item_type, Oid collation,
										FmoeModel *model);

/*
 * What training in rounds of users exchanges between databases: the common state of all
 * shared parameters, array by array, and what the users of one have changed of it.
 */
#define FMOE_EXCHANGE_STATE "state."
#define FMOE_EXCHANGE_CHANGE "change."
#define FMOE_EXCHANGE_FACTS "exchange"
/* Whether a file is that, and no encoder. */
extern bool fmoe_is_exchange(const FmoeExpertFile *file);
/* Error unless the arrays are exactly the encoder that its class declares, or such as an exchange may have. */
extern void fmoe_expert_check_encoder(const FmoeExpertFile *file);
/*
 * Keeps of arrays[n] those that the sharing policy 'encoder' allows to leave
 * and returns their number; 0 for experts that only count.
 */
extern int	fmoe_keep_encoder(const FmoeConfig *config, int32 n_items, int n, FnnArray *arrays);

/* The weights of the own expert and of those that count, as they leave with an encoder. */
extern Jsonb *fmoe_gate_jsonb(const FmoeConfig *config, const FmoeGatePrior *prior);
/* Sets those that gate has; false: it is not what that gives. */
extern bool fmoe_gate_take(const Jsonb *gate, const FmoeConfig *config, FmoeGatePrior *prior);

/* A type's name in files: int8, text, uuid for types of the system, else with its schema. */
extern const char *fmoe_id_type_name(Oid type);
/* The type of a name: expected when that is its name, else a type of the system, else an error. */
extern Oid	fmoe_id_type_find(const char *name, Oid expected);

#endif							/* FMOE_PG_FILE_FILE_H */

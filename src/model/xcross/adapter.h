/*
 * adapter.h
 *	  Low-rank adapters of a base (Hu et al. 2022): what the classes lora and xcross share.
 *
 *	A linear map W of the base becomes W + alpha / rank B A.  The base is a lent model
 *	that stays as it is: its slices, whose names begin with "base.", have no gradient
 *	and are stored with the base alone.
 */
#ifndef FMOE_MODEL_XCROSS_ADAPTER_H
#define FMOE_MODEL_XCROSS_ADAPTER_H

#include "model/xcross/base.h"

/* The slices of the base that an adapter changes: all maps of the encoder, and those of the inputs if so wanted. */
extern int	fmoe_adapted_slices(const FmoeConfig *config, const FmoeInputList *inputs, const FmoeLentAdapter *adapter);
/* Declares a base that stays as it is, from the first slice on. */
extern void fmoe_declare_frozen_base(FmoeDeclaring *to, const FmoeConfig *config, const FmoeInputList *inputs);
/* Declares an adapter of that base. */
extern void fmoe_declare_adapter(FmoeDeclaring *to, const FmoeConfig *config, const FmoeInputList *inputs,
								 const FmoeLentAdapter *adapter);
/* How many slices that declares. */
extern int	fmoe_adapter_count(const FmoeConfig *config, const FmoeInputList *inputs, const FmoeLentAdapter *adapter,
							   const FnnParams *params);
/*
 * The base with n adapters, one on top of the other, merged into its maps on the tape's arena; the slices of
 * adapter[i] begin with tensor first[i].
 */
extern FmoeBase fmoe_adapted_base(const FmoeExpert *expert, FnnTape *tape, const FmoeInputList *inputs, int n,
								  const FmoeLentAdapter *adapter, const int *first);
/* The same in memory of the host, without gradients. */
extern FnnTensor *fmoe_merged_base(const FmoeExpert *expert, const FnnHost *host, const FmoeInputList *inputs,
								   int n, const FmoeLentAdapter *adapter, const int *first);
/* Reals on the arena for the merged maps of each adapter. */
extern double fmoe_merged_reals(const FmoeConfig *config, const FmoeInputList *inputs, bool recorded);

/* Takes a base over into the options: its inputs, its checksum, and the shape of its encoder.  False: it is none. */
extern bool fmoe_take_base(FmoeConfig *config, FmoeNamedBase *base, const FmoeLentModel *lent, FmoeMisfit *misfit);

/* Own options of the class lora; the base is first. */
typedef struct FmoeLoraOptions
{
	FmoeNamedBase base;
	int			rank;
	double		alpha;
	bool		adapt_inputs;
	double		input_dropout;
} FmoeLoraOptions;

extern const FmoeExpertClass fmoe_lora_class;
extern const FmoeExpertClass fmoe_xcross_class;

#endif							/* FMOE_MODEL_XCROSS_ADAPTER_H */

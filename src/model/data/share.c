/*
 * share.c
 *	  A dataset in one block that several processes map, each at an address of its own.
 */
#include "model/data/data.h"

#include <string.h>

/* The head of the block.  Its pointers are those of the process that filled it. */
typedef struct Shared
{
	const char *block;			/* its address in that process */
	FmoeDataset data;
	FmoeFeatures features[2];	/* by FmoeFeaturesOf; count 0: none */
} Shared;

static size_t
offset_bytes(const FmoeDataset *data)
{
	return sizeof(int64_t) * ((size_t) data->n_users + 1);
}

static size_t
shown_bytes(const FmoeDataset *data)
{
	return data->shown.count == 0 ? 0
		: fnn_aligned(offset_bytes(data)) + fmoe_events_bytes(&data->shown.events, data->shown.count);
}

size_t
fmoe_dataset_shared_bytes(const FmoeDataset *data)
{
	return fnn_aligned(sizeof(Shared)) + fnn_aligned(offset_bytes(data)) +
		fmoe_events_bytes(&data->events, data->n_events) + shown_bytes(data) +
		fmoe_features_bytes(data->features) + fmoe_features_bytes(data->user_features);
}

void
fmoe_dataset_share(const FmoeDataset *data, void *block)
{
	Shared	   *shared = block;
	char	   *next = (char *) block + fnn_aligned(sizeof(Shared));

	memset(shared, 0, sizeof(*shared));
	shared->block = block;
	shared->data = *data;
	memcpy(next, data->offset, offset_bytes(data));
	shared->data.offset = (const int64_t *) next;
	next += fnn_aligned(offset_bytes(data));
	fmoe_events_place(&shared->data.events, &data->events, data->n_events, next);
	fmoe_events_copy(&shared->data.events, 0, &data->events, 0, data->n_events);
	next += fmoe_events_bytes(&data->events, data->n_events);
	if (data->shown.count > 0)
	{
		memcpy(next, data->shown.offset, offset_bytes(data));
		fmoe_events_place(&shared->data.shown.events, &data->shown.events, data->shown.count,
						  next + fnn_aligned(offset_bytes(data)));
		fmoe_events_copy(&shared->data.shown.events, 0, &data->shown.events, 0, data->shown.count);
		next += shown_bytes(data);
	}
	fmoe_features_copy(&shared->features[FMOE_OF_ITEMS], data->features, next);
	next += fmoe_features_bytes(data->features);
	fmoe_features_copy(&shared->features[FMOE_OF_USERS], data->user_features, next);
}

static const FmoeFeatures *
features_here(FnnArena *arena, const FmoeFeatures *there, ptrdiff_t by)
{
	FmoeFeatures *here;

	if (there->count == 0)
		return NULL;
	here = fnn_alloc(arena, sizeof(FmoeFeatures));
	*here = *there;
	fmoe_features_moved(here, by);
	return here;
}

FmoeDataset
fmoe_dataset_shared(FnnArena *arena, const void *block)
{
	const Shared *shared = block;
	ptrdiff_t	by = (const char *) block - shared->block;
	const char *offset = (const char *) shared->data.offset + by;
	FmoeDataset data = shared->data;
	char	   *shown;

	data.offset = (const int64_t *) offset;
	fmoe_events_place(&data.events, &shared->data.events, data.n_events,
					  (char *) offset + fnn_aligned(offset_bytes(&data)));
	if (data.shown.count > 0)
	{
		shown = (char *) data.events.item + fmoe_events_bytes(&data.events, data.n_events);
		data.shown.offset = (const int64_t *) shown;
		fmoe_events_place(&data.shown.events, &shared->data.shown.events, data.shown.count,
						  shown + fnn_aligned(offset_bytes(&data)));
	}
	data.features = features_here(arena, &shared->features[FMOE_OF_ITEMS], by);
	data.user_features = features_here(arena, &shared->features[FMOE_OF_USERS], by);
	return data;
}

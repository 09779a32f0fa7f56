/*
 * bag.c
 *	  Bags of terms as they come, row by row, made into a feature.
 *
 * What comes is kept as pairs (row, term).  Two stable countings, by the terms'
 * places in the order of their names and by rows, sort them: that takes a time
 * proportional to their number, also where one row has a thousand terms.
 */
#include "model/data/bag.h"

#include <math.h>
#include <string.h>

#define POLL_EVERY 0xffff
#define FIRST_SLOTS 1024

/* Where a term's name is. */
typedef struct Term
{
	int64_t		at;
	uint32_t	bytes;
	uint32_t	hash;
} Term;

struct FmoeBag
{
	const FnnHost *host;
	int64_t		n;				/* pairs */
	int64_t		capacity;
	int32_t    *row;			/* [capacity] */
	int32_t    *term;			/* [capacity] */
	int32_t		n_terms;
	int32_t		terms_capacity;
	Term	   *terms;
	char	   *names;			/* end to end, as they came */
	int64_t		names_bytes;
	int64_t		names_capacity;
	int32_t    *slot;			/* [mask + 1] a term, or -1: open addressing, at most half full */
	uint32_t	mask;
};

/* A term to be sorted: the first bytes of its name as one number, and its own. */
typedef struct Named
{
	uint64_t	first;
	int32_t		term;
} Named;

static void *
allocate(const FnnHost *host, int64_t n, size_t each)
{
	return host->allocate(host->context, fnn_mul_size(host, n > 0 ? (size_t) n : 1, each));
}

/* Twice the room; what is there moves. */
static void *
grown(const FnnHost *host, void *old, int64_t n, int64_t capacity, size_t each)
{
	void	   *new = allocate(host, capacity, each);

	memcpy(new, old, (size_t) n * each);
	host->release(host->context, old);
	return new;
}

static void
make_slots(FmoeBag *bag, uint32_t slots)
{
	bag->slot = allocate(bag->host, slots, sizeof(int32_t));
	bag->mask = slots - 1;
	memset(bag->slot, -1, sizeof(int32_t) * (size_t) slots);
	for (int32_t t = 0; t < bag->n_terms; t++)
	{
		uint32_t	slot = bag->terms[t].hash & bag->mask;

		while (bag->slot[slot] >= 0)
			slot = (slot + 1) & bag->mask;
		bag->slot[slot] = t;
	}
}

FmoeBag *
fmoe_bag_create(const FnnHost *host)
{
	FmoeBag    *bag = host->allocate(host->context, sizeof(FmoeBag));

	memset(bag, 0, sizeof(*bag));
	bag->host = host;
	bag->capacity = 16 * FIRST_SLOTS;
	bag->row = allocate(host, bag->capacity, sizeof(int32_t));
	bag->term = allocate(host, bag->capacity, sizeof(int32_t));
	bag->terms_capacity = FIRST_SLOTS / 2;
	bag->terms = allocate(host, bag->terms_capacity, sizeof(Term));
	bag->names_capacity = 16 * FIRST_SLOTS;
	bag->names = allocate(host, bag->names_capacity, 1);
	make_slots(bag, FIRST_SLOTS);
	return bag;
}

bool
fmoe_bag_empty(const FmoeBag *bag)
{
	return bag->n == 0;
}

static int32_t
new_term(FmoeBag *bag, const char *name, size_t bytes, uint32_t hash)
{
	if (bag->n_terms == bag->terms_capacity)
	{
		if (bag->terms_capacity > INT32_MAX / 4)
			fnn_fail(bag->host, FNN_LIMIT, "there are more than %d different terms", (int) bag->terms_capacity);
		bag->terms_capacity *= 2;
		bag->terms = grown(bag->host, bag->terms, bag->n_terms, bag->terms_capacity, sizeof(Term));
		bag->host->release(bag->host->context, bag->slot);
		make_slots(bag, 2 * (bag->mask + 1));
	}
	while (bag->names_bytes + (int64_t) bytes > bag->names_capacity)
	{
		bag->names_capacity *= 2;
		bag->names = grown(bag->host, bag->names, bag->names_bytes, bag->names_capacity, 1);
	}
	memcpy(bag->names + bag->names_bytes, name, bytes);
	bag->terms[bag->n_terms] = (Term) {.at = bag->names_bytes, .bytes = (uint32_t) bytes, .hash = hash};
	bag->names_bytes += (int64_t) bytes;
	return bag->n_terms++;
}

static uint32_t
find_slot(const FmoeBag *bag, const char *name, size_t bytes, uint32_t hash)
{
	uint32_t	slot = hash & bag->mask;

	for (; bag->slot[slot] >= 0; slot = (slot + 1) & bag->mask)
	{
		const Term *term = &bag->terms[bag->slot[slot]];

		if (term->hash == hash && term->bytes == bytes && memcmp(bag->names + term->at, name, bytes) == 0)
			break;
	}
	return slot;
}

void
fmoe_bag_add(FmoeBag *bag, int32_t row, const char *name, size_t bytes)
{
	uint32_t	hash = (uint32_t) fnn_hash(0, name, bytes);
	uint32_t	slot = find_slot(bag, name, bytes, hash);
	int32_t		term = bag->slot[slot];

	if (term < 0)
	{
		uint32_t	mask = bag->mask;

		term = new_term(bag, name, bytes, hash);
		if (bag->mask != mask)
			slot = find_slot(bag, name, bytes, hash);
		bag->slot[slot] = term;
	}
	if (bag->n == bag->capacity)
	{
		bag->capacity *= 2;
		bag->row = grown(bag->host, bag->row, bag->n, bag->capacity, sizeof(int32_t));
		bag->term = grown(bag->host, bag->term, bag->n, bag->capacity, sizeof(int32_t));
	}
	bag->row[bag->n] = row;
	bag->term[bag->n++] = term;
}

size_t
fmoe_bag_bytes(const FmoeBag *bag, int64_t n)
{
	size_t		pairs = (size_t) bag->capacity;
	size_t		terms = (size_t) bag->terms_capacity;

	/* the pairs twice, of which one becomes the terms of the feature, and its weights */
	return pairs * 5 * sizeof(int32_t) + sizeof(int32_t) * ((size_t) bag->mask + 1) +
		2 * (size_t) bag->names_capacity + terms * (sizeof(Term) + 2 * sizeof(Named) + 4 * sizeof(int64_t)) +
		2 * sizeof(int64_t) * ((size_t) n + 1);
}

/* ---------------------------------------------------------------- the order of names */

static uint64_t
first_bytes(const char *name, uint32_t bytes)
{
	uint64_t	first = 0;

	for (uint32_t i = 0; i < 8; i++)
		first = (first << 8) | (i < bytes ? (unsigned char) name[i] : 0);
	return first;
}

static bool
comes_after(const FmoeBag *bag, const Named *a, const Named *b)
{
	const Term *x = &bag->terms[a->term];
	const Term *y = &bag->terms[b->term];

	if (a->first != b->first)
		return a->first > b->first;
	return fmoe_compare_names(bag->names + x->at, x->bytes, bag->names + y->at, y->bytes) > 0;
}

/* from[low .. middle) and from[middle .. high), both sorted, into one. */
static void
merge(const FmoeBag *bag, const Named *from, Named *to, int64_t low, int64_t middle, int64_t high)
{
	int64_t		a = low;
	int64_t		b = middle;

	for (int64_t at = low; at < high; at++)
	{
		if (a < middle && (b >= high || !comes_after(bag, &from[a], &from[b])))
			to[at] = from[a++];
		else
			to[at] = from[b++];
		if ((at & POLL_EVERY) == 0)
			fnn_poll(bag->host);
	}
}

static int64_t
smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The terms in the order of their names; the caller releases what is returned, and *other. */
static Named *
sorted_terms(const FmoeBag *bag, Named **other)
{
	int64_t		n = bag->n_terms;
	Named	   *from = allocate(bag->host, n, sizeof(Named));
	Named	   *to = allocate(bag->host, n, sizeof(Named));

	for (int32_t t = 0; t < n; t++)
		from[t] = (Named) {first_bytes(bag->names + bag->terms[t].at, bag->terms[t].bytes), t};
	for (int64_t width = 1; width < n; width *= 2)
	{
		Named	   *swap = from;

		for (int64_t low = 0; low < n; low += 2 * width)
			merge(bag, from, to, low, smaller(low + width, n), smaller(low + 2 * width, n));
		from = to;
		to = swap;
	}
	*other = to;
	return from;
}

/* Numbers the pairs' terms in the order of their names, and puts the names in that order into the feature. */
static void
number_by_name(FmoeBag *bag, FmoeFeature *feature)
{
	const FnnHost *host = bag->host;
	Named	   *other;
	Named	   *sorted = sorted_terms(bag, &other);
	int32_t    *place = allocate(host, bag->n_terms, sizeof(int32_t));
	int64_t    *offset = allocate(host, (int64_t) bag->n_terms + 1, sizeof(int64_t));
	char	   *bytes = allocate(host, bag->names_bytes, 1);

	host->release(host->context, other);
	offset[0] = 0;
	for (int32_t t = 0; t < bag->n_terms; t++)
	{
		const Term *term = &bag->terms[sorted[t].term];

		place[sorted[t].term] = t;
		memcpy(bytes + offset[t], bag->names + term->at, term->bytes);
		offset[t + 1] = offset[t] + term->bytes;
	}
	for (int64_t i = 0; i < bag->n; i++)
		bag->term[i] = place[bag->term[i]];
	feature->width = bag->n_terms;
	feature->name_offset = offset;
	feature->name_bytes = bytes;
	host->release(host->context, sorted);
	host->release(host->context, place);
}

/* Numbers the pairs' terms as another feature does, and leaves out those that it has not. */
static void
number_like(FmoeBag *bag, FmoeFeature *feature, const FmoeFeature *like)
{
	int32_t    *place = allocate(bag->host, bag->n_terms, sizeof(int32_t));
	int64_t		kept = 0;

	for (int32_t t = 0; t < bag->n_terms; t++)
	{
		place[t] = fmoe_feature_term(like, bag->names + bag->terms[t].at, bag->terms[t].bytes);
		if ((t & POLL_EVERY) == 0)
			fnn_poll(bag->host);
	}
	for (int64_t i = 0; i < bag->n; i++)
	{
		if (place[bag->term[i]] < 0)
			continue;
		bag->row[kept] = bag->row[i];
		bag->term[kept++] = place[bag->term[i]];
	}
	bag->n = kept;
	feature->width = like->width;
	feature->name_offset = like->name_offset;
	feature->name_bytes = like->name_bytes;
	feature->scale = like->scale;
	bag->host->release(bag->host->context, place);
}

/* ---------------------------------------------------------------- the order of rows */

/* Sorts the pairs by key[i] 0 .. n_keys - 1, those of one key as they were; count[n_keys + 1] is scratch. */
static void
sort_pairs(FmoeBag *bag, const int32_t *key, int32_t n_keys, int64_t *count, int32_t *row, int32_t *term)
{
	memset(count, 0, sizeof(int64_t) * ((size_t) n_keys + 1));
	for (int64_t i = 0; i < bag->n; i++)
		count[key[i] + 1]++;
	for (int32_t k = 0; k < n_keys; k++)
		count[k + 1] += count[k];
	for (int64_t i = 0; i < bag->n; i++)
	{
		int64_t		at = count[key[i]]++;

		row[at] = bag->row[i];
		term[at] = bag->term[i];
		if ((i & POLL_EVERY) == 0)
			fnn_poll(bag->host);
	}
}

static void
sort_by_row(FmoeBag *bag, int32_t width, int32_t n)
{
	const FnnHost *host = bag->host;
	int64_t    *count = allocate(host, (int64_t) (n > width ? n : width) + 1, sizeof(int64_t));
	int32_t    *row = allocate(host, bag->n, sizeof(int32_t));
	int32_t    *term = allocate(host, bag->n, sizeof(int32_t));
	int32_t    *was_row = bag->row;
	int32_t    *was_term = bag->term;

	sort_pairs(bag, was_term, width, count, row, term);
	bag->row = row;
	bag->term = term;
	sort_pairs(bag, row, n, count, was_row, was_term);
	bag->row = was_row;
	bag->term = was_term;
	host->release(host->context, count);
	host->release(host->context, row);
	host->release(host->context, term);
}

/* ln((n + 1) / how many of the n rows have the term), of terms that ascend within a row and are there once. */
static const float *
scales(const FmoeBag *bag, int32_t n, int64_t n_terms)
{
	const FnnHost *host = bag->host;
	float	   *scale = allocate(host, bag->n_terms, sizeof(float));
	int32_t    *rows_with = allocate(host, bag->n_terms, sizeof(int32_t));

	memset(rows_with, 0, sizeof(int32_t) * (size_t) bag->n_terms);
	for (int64_t k = 0; k < n_terms; k++)
		rows_with[bag->term[k]]++;
	for (int32_t t = 0; t < bag->n_terms; t++)
		scale[t] = (float) log(((double) n + 1) / rows_with[t]);
	host->release(host->context, rows_with);
	return scale;
}

void
fmoe_bag_feature(FmoeBag *bag, FmoeFeature *feature, int32_t n, const int32_t *row, bool counted,
				 const FmoeFeature *like)
{
	const FnnHost *host = bag->host;
	int64_t    *offset = allocate(host, (int64_t) n + 1, sizeof(int64_t));
	float	   *weight = counted ? allocate(host, bag->n, sizeof(float)) : NULL;
	int64_t		kept = 0;
	int64_t		from = 0;

	for (int64_t i = 0; row != NULL && i < bag->n; i++)
		bag->row[i] = row[bag->row[i]];
	host->release(host->context, bag->slot);
	if (like != NULL)
		number_like(bag, feature, like);
	else
		number_by_name(bag, feature);
	sort_by_row(bag, feature->width, n);
	for (int32_t r = 0; r < n; r++)
	{
		offset[r] = kept;
		while (from < bag->n && bag->row[from] == r)
		{
			int64_t		first = from;

			while (from < bag->n && bag->row[from] == r && bag->term[from] == bag->term[first])
				from++;
			if (counted)
				weight[kept] = (float) (1 + log((double) (from - first)));
			bag->term[kept++] = bag->term[first];
		}
		if ((r & POLL_EVERY) == 0)
			fnn_poll(host);
	}
	offset[n] = kept;
	if (like == NULL)
		feature->scale = scales(bag, n, kept);
	feature->offset = offset;
	feature->term = bag->term;
	feature->weight = weight;
	host->release(host->context, bag->row);
	host->release(host->context, bag->names);
	host->release(host->context, bag->terms);
	host->release(host->context, bag);
}

/*
 * borrow.c
 *	  Lent experts for a training: names become shapes, shapes become parameters,
 *	  weights are copied into them.
 *
 * A training keeps the shapes that it began with.  Newer weights of the same shape
 * may replace them between rounds.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "model/expert/inputs.h"
#include "pg/train/borrow.h"

static const FmoeLent *
find_lent(int n, const FmoeLent *list, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

const FmoeLent *
fmoe_need_lent(const FmoeDomain *domain, int n, const FmoeLent *list, const char *name)
{
	const FmoeLent *lent = find_lent(n, list, name);

	if (lent == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no expert \"%s\" was lent to domain \"%s\"", name, domain->name),
				 errhint("The view fmoe.experts lists those of other parties; fmoe_import() brings in others.")));
	if (!lent->readable)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the lent expert \"%s\"", name),
				 errdetail("Both who trains domain \"%s\" and its owner must be allowed to read it.", domain->name),
				 errhint("Who lends it may GRANT SELECT on the marker of its domain, or on fmoe.shared_expert_part;"
						 " who added a peer, on its foreign tables.")));
	return lent;
}

/* Reads a file and forgets it again; the argument is an FmoeLent. */
static void
read_once(void *argument)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe lent expert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	(void) fmoe_lent_read(argument);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* Whether its file can be used; if not, a WARNING says why. */
static bool
is_usable(const FmoeLent *lent)
{
	ErrorData  *error = fmoe_attempt(read_once, unconstify(FmoeLent *, lent));

	if (error != NULL)
		fmoe_lent_warn(lent->name, error);
	return error == NULL;
}

/* Whether a mixture can have it as a member; what only models of its own class can take is none. */
static bool
is_member(const FmoeLent *lent)
{
	FmoeShape	shape;

	return fmoe_lendable(&lent->facts.config, &shape) && shape.encoder != FMOE_OWN_ENCODER;
}

/* Leaves out what may not or cannot be used: it does not stop who takes all there is.  Returns how many stay. */
static int
keep_usable(int n, FmoeLent *list)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (list[i].readable && is_member(&list[i]) && is_usable(&list[i]))
			list[kept++] = list[i];
	return kept;
}

static void
describe(const FmoeLent *lent, FmoeLentEncoder *encoder)
{
	memset(encoder, 0, sizeof(*encoder));
	strlcpy(encoder->name, lent->name, sizeof(encoder->name));
	if (!fmoe_lendable(&lent->facts.config, &encoder->shape))
		elog(ERROR, "expert \"%s\" has no encoder", lent->name);
	if (encoder->shape.encoder == FMOE_OWN_ENCODER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expert \"%s\" cannot be part of a mixture", lent->name),
				 errdetail("Only models of class \"%s\" can use its encoder.", lent->facts.model)));
}

static char *
shape_text(const FmoeShape *shape)
{
	return psprintf("%s of width %d with %d layers and %d heads", fmoe_encoder_names[shape->encoder], shape->width,
					shape->layers, shape->heads);
}

/* The slices that a model of the configuration lends. */
static FnnParams *
lent_slices(const FmoeConfig *config)
{
	FnnParams  *params = palloc0(sizeof(FnnParams));

	fmoe_declare_class(params, fmoe_host(CurrentMemoryContext), fmoe_expert_classes[config->model], config,
					   &(FmoeFacts) {.n_items = 1});
	return params;
}

static bool
same_inputs(const FmoeConfig *own, const FmoeConfig *other)
{
	FmoeConfig	copy[2] = {*own, *other};
	const FmoeInputList *list = fmoe_inputs(&copy[0]);

	return list == NULL || fmoe_same_inputs(list, fmoe_inputs(&copy[1]));
}

/* How two models' encoders of their own kinds differ; NULL: each can take the other's weights. */
static char *
difference(const FmoeConfig *own, const FmoeConfig *other)
{
	FnnParams  *here;
	FnnParams  *there;

	if (own->model != other->model)
		return psprintf("It is of model \"%s\"; the training is for \"%s\".",
						fmoe_expert_classes[other->model]->name, fmoe_expert_classes[own->model]->name);
	if (!same_inputs(own, other))
		return pstrdup("It has other inputs.");
	here = lent_slices(own);
	there = lent_slices(other);
	for (int i = 0; i < Max(here->count, there->count); i++)
	{
		const FnnParam *a = i < here->count ? &here->list[i] : NULL;
		const FnnParam *b = i < there->count ? &there->list[i] : NULL;
		int			k = a != NULL ? fnn_params_find(there, a->name) : -1;

		if (a != NULL && a->share == FNN_PUBLIC && k < 0)
			return psprintf("It has no array \"%s\".", a->name);
		if (b != NULL && b->share == FNN_PUBLIC && fnn_params_find(here, b->name) < 0)
			return psprintf("Its array \"%s\" has no place here.", b->name);
		if (a != NULL && a->share == FNN_PUBLIC &&
			((a->rows != there->list[k].rows && a->group != FNN_POSITIONS) || a->cols != there->list[k].cols))
			return psprintf("Its array \"%s\" has %lld rows and %lld columns; the training is for %lld and %lld.",
							a->name, (long long) there->list[k].rows, (long long) there->list[k].cols,
							(long long) a->rows, (long long) a->cols);
	}
	return NULL;
}

void
fmoe_borrow_check(const FmoeDomain *domain, const FmoeConfig *config, const FmoeBorrowing *borrowing)
{
	const FmoeLent *lent = &borrowing->start;
	char	   *detail = NULL;
	FmoeShape	own;
	FmoeShape	other;

	if (lent->name == NULL)
		return;
	if (!fmoe_lendable(config, &own))
		detail = psprintf("Model \"%s\" has no encoder.", fmoe_expert_classes[config->model]->name);
	else if (!fmoe_lendable(&lent->facts.config, &other))
		elog(ERROR, "expert \"%s\" has no encoder", lent->name);
	else if (own.encoder == FMOE_OWN_ENCODER || other.encoder == FMOE_OWN_ENCODER)
		detail = difference(config, &lent->facts.config);
	else if (!fmoe_same_shape(&own, &other))
		detail = psprintf("It is %s; the training is for %s.", shape_text(&other), shape_text(&own));
	if (detail != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("training of domain \"%s\" cannot start from expert \"%s\"", domain->name, lent->name),
				 errdetail("%s", detail)));
}

/* Inputs that are not given are those of the encoder to start from. */
static void
take_inputs(FmoeConfig *config, const FmoeLent *start)
{
	FmoeConfig	other = start->facts.config;
	FmoeInputList *own = fmoe_inputs(config);
	const FmoeInputList *theirs = fmoe_inputs(&other);

	if (own != NULL && theirs != NULL && own->count < 0)
		*own = *theirs;
}

/* ---------------------------------------------------------------- models built of lent ones */

/* Lets the configuration take a lent model over as number i of those that it is built of. */
static void
take_lent(const FmoeDomain *domain, FmoeConfig *config, int i, const FmoeLent *lent, FmoeBorrowing *borrowing)
{
	FmoeLentModel model = {
		.class = fmoe_expert_classes[lent->facts.config.model],
		.config = &lent->facts.config,
		.name = lent->name,
		.checksum = fmoe_checksum_text(lent->facts.checksum)
	};
	FmoeMisfit	misfit = {{0}};

	if (!fmoe_expert_classes[config->model]->building->take(config, i, &model, &misfit))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("domain \"%s\" cannot build on expert \"%s\": %s", domain->name, lent->name, misfit.message),
				 misfit.detail[0] != '\0' ? errdetail("%s", misfit.detail) : 0));
	borrowing->lent[i] = *lent;
}

/* The base of a checksum; fails where it is not here, or may not be read. */
static const FmoeLent *
need_base(const FmoeDomain *domain, const FmoeNamedBase *base)
{
	const FmoeLent *lent = fmoe_find_base(base->checksum, GetUserId());
	const FmoeLent *of_owner = lent != NULL ? fmoe_find_base(base->checksum, domain->owner) : NULL;

	if (lent == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the base \"%s\" is not here", base->name),
				 errdetail("Its checksum is %s.", base->checksum),
				 errhint("SELECT fmoe_sync() fetches it from a peer that lends it; fmoe_import() brings it in from a file.")));
	if (!lent->readable || !of_owner->readable)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the lent expert \"%s\"", lent->name),
				 errdetail("Both who trains domain \"%s\" and its owner must be allowed to read it.", domain->name)));
	return lent;
}

/* Where the base is not named, it is the one that the experts adapt. */
static void
borrow_building(const FmoeDomain *domain, FmoeConfig *config, int n, const FmoeLent *list, FmoeBorrowing *borrowing)
{
	const FmoeBuilding *building = fmoe_expert_classes[config->model]->building;
	const char *name[FMOE_BUILT_MAX];
	bool		named;

	borrowing->count = building->names(config, name);
	/* a checksum says more than a name, under which something else may be lent by now */
	named = name[0][0] != '\0' && building->base(config)->checksum[0] == '\0';
	if (named)
		take_lent(domain, config, 0, fmoe_need_lent(domain, n, list, name[0]), borrowing);
	for (int i = 1; i < borrowing->count; i++)
		take_lent(domain, config, i, fmoe_need_lent(domain, n, list, name[i]), borrowing);
	if (!named && building->base(config)->checksum[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" needs option \"base\"", fmoe_expert_classes[config->model]->name),
				 errhint("The view fmoe.experts lists what was lent.")));
	if (!named)
		take_lent(domain, config, 0, need_base(domain, building->base(config)), borrowing);
}

void
fmoe_borrow_check_given(Jsonb *options, const FmoeConfig *asked, const FmoeConfig *config)
{
	const struct
	{
		const char *name;
		int			asked;
		int			base;
	}			given[] = {
		{"width", asked->width, config->width},
		{"layers", asked->layers, config->layers},
		{"heads", asked->heads, config->heads},
		{"max_length", asked->max_length, config->max_length}
	};

	for (int i = 0; i < lengthof(given); i++)
	{
		JsonbValue	value;

		if (given[i].asked != given[i].base &&
			getKeyJsonValueFromContainer(&options->root, given[i].name, strlen(given[i].name), &value) != NULL &&
			value.type != jbvNull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is %d, but the base has %d", given[i].name, given[i].asked, given[i].base),
					 errhint("Leave it out.")));
	}
}

/* ---------------------------------------------------------------- the call */

FmoeBorrowing *
fmoe_borrow(const FmoeDomain *domain, FmoeConfig *config)
{
	FmoeBorrowing *borrowing = palloc0(sizeof(FmoeBorrowing));
	const FmoeBuilding *building = fmoe_expert_classes[config->model]->building;
	FmoeLentList *experts = fmoe_borrowed(config);
	FmoeLent   *list;
	int			n;

	if (experts == NULL && config->start_encoder[0] == '\0' && building == NULL)
		return borrowing;
	/* a base and adapters of it stay as they are, whoever lends them */
	n = fmoe_lent_list(domain, building != NULL, &list);
	if (building != NULL)
		borrow_building(domain, config, n, list, borrowing);
	if (config->start_encoder[0] != '\0')
	{
		borrowing->start = *fmoe_need_lent(domain, n, list, config->start_encoder);
		take_inputs(config, &borrowing->start);
	}
	if (experts == NULL)
		return borrowing;
	if (experts->count < 0)
		n = keep_usable(n, list);
	if (experts->count < 0 && n > FMOE_LENT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d experts were lent to domain \"%s\", but a mixture has at most %d", n, domain->name,
						FMOE_LENT_MAX),
				 errhint("Name those to be used with the option \"experts\".")));
	if (experts->count < 0)
	{
		experts->count = n;
		for (int i = 0; i < n; i++)
			strlcpy(experts->lent[i].name, list[i].name, FMOE_EXPERT_NAME_MAX);
	}
	for (int i = 0; i < experts->count; i++)
	{
		borrowing->lent[i] = *fmoe_need_lent(domain, n, list, experts->lent[i].name);
		describe(&borrowing->lent[i], &experts->lent[i]);
	}
	borrowing->count = experts->count;
	return borrowing;
}

/* Copies a lent encoder's weights into the trainer: into number i of those borrowed, or with i -1 the own one. */
static void
adopt(const FmoeLent *lent, int i, FmoeTrainer *trainer)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "fmoe lent expert", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FmoeExpertFile *file = fmoe_lent_read(lent);

	if (fmoe_trainer_adopt_lent(trainer, i, file->n_arrays, file->arrays) != file->n_arrays)
		elog(ERROR, "expert \"%s\" does not fit the place that was made for it", lent->name);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
fmoe_borrow_weights(const FmoeBorrowing *borrowing, FmoeTrainer *trainer)
{
	if (borrowing->start.name != NULL)
		adopt(&borrowing->start, -1, trainer);
	for (int i = 0; i < borrowing->count; i++)
		adopt(&borrowing->lent[i], i, trainer);
}

int
fmoe_borrow_newer(const FmoeDomain *domain, FmoeBorrowing *borrowing, FmoeConfig *config, FmoeTrainer *trainer)
{
	const FmoeLentList *experts = fmoe_borrowed(config);
	FmoeLent   *list;
	int			n = fmoe_lent_list(domain, false, &list);
	int			taken = 0;

	for (int i = 0; i < borrowing->count; i++)
	{
		const FmoeLent *lent = find_lent(n, list, experts->lent[i].name);
		FmoeLentEncoder now;

		if (lent == NULL || strcmp(lent->key, borrowing->lent[i].key) == 0)
			continue;
		describe(lent, &now);
		if (!fmoe_same_shape(&now.shape, &experts->lent[i].shape))
		{
			ereport(WARNING,
					(errmsg("expert \"%s\" is now of another shape, so the one before stays in use", lent->name),
					 errhint("The next training takes it.")));
			continue;
		}
		if (!lent->readable || !is_usable(lent))
			continue;
		adopt(lent, i, trainer);
		/* the list is in the caller's scratch memory */
		borrowing->lent[i].key = MemoryContextStrdup(GetMemoryChunkContext(borrowing), lent->key);
		taken++;
	}
	return taken;
}

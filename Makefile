EXTENSION = fmoe
EXTVERSION = 1.0
DATA = fmoe--1.0.sql fmoe--1.0--0.9.sql
DATA_built = fmoe--0.9--1.0.sql
MODULE_big = fmoe
comma := ,

# Where the sources are: beside this file, and not here in a VPATH build.
top := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

# A room's sources, at the depths that there are, relative to where they are.
found_in = $(patsubst $(top)/%,%,$(sort $(wildcard $(foreach pattern,$(1),$(top)/$(pattern)))))
sources_of = $(call found_in,src/$(1)/*.c src/$(1)/*/*.c)
NN_OBJS = $(patsubst %.c,%.o,$(call sources_of,nn))
MODEL_OBJS = $(patsubst %.c,%.o,$(call sources_of,model))
PG_OBJS = $(patsubst %.c,%.o,$(call sources_of,pg))
OBJS = $(NN_OBJS) $(MODEL_OBJS) $(PG_OBJS)

$(foreach room,nn model pg,$(if $(call sources_of,$(room)),,$(error there are no sources in $(top)/src/$(room))))

# installcheck runs these against the running server; prove_installcheck runs
# test/t, whose files start servers of their own.
REGRESS = $(patsubst sql/%.sql,%,$(call found_in,sql/*.sql))

# Numeric files: let the compiler vectorise.  Nothing here may change what the
# rest of the backend computes, so no -ffast-math, and the CPU is found out at
# run time (target_clones), so no -march.  -fopenmp-simd only makes the compiler
# read "omp simd" before loops; it brings in no OpenMP.
NUMERIC_CFLAGS = -O3 -fopenmp-simd -fno-trapping-math -fno-math-errno
STRICT_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type

# Each object says which headers it was made from.
DEPENDENCY_CFLAGS = -MMD -MP

PG_CPPFLAGS += -I$(top)/src
# the headers of PostgreSQL 15 are no C23, which compilers have begun to take for their default
PG_CFLAGS += -std=gnu11 $(STRICT_CFLAGS) $(DEPENDENCY_CFLAGS) $(EXTRA_CFLAGS)
BLAS_LIBS = -lopenblas
SHLIB_LINK += $(BLAS_LIBS) -lm -Wl,-Bsymbolic $(EXTRA_LDFLAGS)

EXTRA_CLEAN = build $(OBJS:.o=.d)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
# no bitcode: JIT cannot inline what takes milliseconds
override with_llvm = no
include $(PGXS)
override with_llvm = no

ifneq ($(filter 7.% 8.% 9.% 10 11 12 13 14,$(MAJORVERSION)),)
$(error fmoe needs PostgreSQL 15 or newer, and $(PG_CONFIG) is of $(MAJORVERSION); name another: make PG_CONFIG=/path/to/pg_config)
endif

$(NN_OBJS) $(MODEL_OBJS): CFLAGS += $(NUMERIC_CFLAGS)
-include $(OBJS:.o=.d)

# make would take objects that it finds beside the sources for those it is to build
ifneq ($(realpath $(top)),$(realpath $(CURDIR)))
$(if $(wildcard $(OBJS:%=$(top)/%)),$(error $(top) has been built in: make clean there before a VPATH build))
endif

# In a VPATH build there are no folders yet.  Names that begin with / are not searched for in VPATH.
OBJECT_FOLDERS = $(addprefix $(CURDIR)/,$(sort $(dir $(OBJS))))
$(OBJS): | $(OBJECT_FOLDERS) $(CURDIR)/build/openblas
$(OBJECT_FOLDERS):
	mkdir -p $@

# ---------------------------------------------------------------- updates

# between what is done by hand, the statements of CREATE EXTENSION
fmoe--0.9--1.0.sql: $(top)/upgrade/0.9--1.0.before.sql $(top)/fmoe--1.0.sql $(top)/upgrade/0.9--1.0.after.sql
	grep -q '^-- from here on' $(word 2,$^)
	{ cat $(word 1,$^) && sed '1,/^-- from here on/d' $(word 2,$^) && cat $(word 3,$^); } >$@.new
	mv $@.new $@

# ---------------------------------------------------------------- OpenBLAS

# Linking tells whether it is there.  A header cblas.h does not: the reference
# implementation (libblas-dev) has one too, and is refused, being some ten times
# slower in all that fmoe does.
$(CURDIR)/build/openblas:
	@mkdir -p $(@D)
	@printf '%s\n' '#include <cblas.h>' 'int openblas_get_parallel(void);' \
		'int main(void) { return (int) cblas_snrm2(0, 0, 1) * openblas_get_parallel(); }' >$@.c
	@$(CC) -o $@ $@.c $(BLAS_LIBS) 2>$@.log || { cat $@.log >&2; \
		echo 'fmoe needs OpenBLAS, which cannot be compiled and linked here ($(BLAS_LIBS)).' >&2; \
		echo 'Another BLAS will not do.  On Debian and Ubuntu: apt-get install libopenblas-dev' >&2; exit 1; }

# ---------------------------------------------------------------- engine tests, no server

ENGINE_SOURCES = $(call sources_of,nn) $(call sources_of,model) $(call found_in,test/engine/*.c)
ENGINE_CFLAGS = -std=gnu11 -DFMOE_TEST_CLASS=check_projection_class -g -Wall -Wpointer-arith -Wdeclaration-after-statement $(STRICT_CFLAGS) -Wmissing-prototypes \
	-I$(top)/src -I$(top)/test $(DEPENDENCY_CFLAGS) $(EXTRA_CFLAGS)
ENGINE_LIBS = $(BLAS_LIBS) -lm

# gcc 12 for aarch64 breaks over some loops of the tests when it makes vectors of them
CHECK_CFLAGS = -fno-tree-vectorize

# $(1) name, $(2) flags, $(3) linker flags
define engine_program
build/$(1)/%.o: %.c | $(CURDIR)/build/openblas
	@mkdir -p $$(@D)
	$$(CC) $$(ENGINE_CFLAGS) $(2) $$(if $$(findstring test/engine/,$$<),$$(CHECK_CFLAGS)) -c -o $$@ $$<
build/$(1)/check: $$(patsubst %.c,build/$(1)/%.o,$$(ENGINE_SOURCES))
	$$(CC) $(2) -o $$@ $$^ $$(ENGINE_LIBS) $(3)
-include $$(patsubst %.c,build/$(1)/%.d,$$(ENGINE_SOURCES))
endef

$(eval $(call engine_program,float,$(NUMERIC_CFLAGS)))
$(eval $(call engine_program,double,$(NUMERIC_CFLAGS) -DFNN_DOUBLE -DFNN_GEMM_PIECE=100000))
# without clones: neither ASan nor valgrind gets along with ifuncs, and valgrind knows no AVX-512
CHECKED_CFLAGS = -O1 -fopenmp-simd -fno-omit-frame-pointer -DFNN_NO_CLONES -DFNN_GEMM_PIECE=100000 \
	-DFNN_SOFTMAX_TILES=20000
$(eval $(call engine_program,asan,$(CHECKED_CFLAGS) -fsanitize=address$(comma)undefined -fno-sanitize-recover=all))
$(eval $(call engine_program,valgrind,$(CHECKED_CFLAGS) -DCHECK_FEW))

# as written, so that each line counts for itself
$(eval $(call engine_program,coverage,-O0 -fopenmp-simd -DFNN_NO_CLONES -DFNN_GEMM_PIECE=100000 -DCHECK_FEW --coverage))

# ENGINE_TESTS: words; tests whose names contain one of them are run, all without it
engine_run = build/$(1)/check $(ENGINE_TESTS)

.PHONY: engine-check engine-asan engine-valgrind coverage

engine-check: build/double/check build/float/check
	$(call engine_run,double)
	$(call engine_run,float)

engine-asan: build/asan/check
	OPENBLAS_NUM_THREADS=1 $(call engine_run,asan)

engine-valgrind: build/valgrind/check
	OPENBLAS_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell valgrind -q --error-exitcode=9 --leak-check=full $(call engine_run,valgrind)

coverage: build/coverage/check
	find build/coverage -name '*.gcda' -delete
	OPENBLAS_NUM_THREADS=1 $(call engine_run,coverage) >build/coverage/check.log
	$(top)/scripts/coverage build/coverage

# ---------------------------------------------------------------- libFuzzer, with clang

# The reader of files with what it needs of nn, and the parser of options in a backend of its own, not as root.  New
# inputs stay in build; the corpus in the tree is only read.
FUZZ_SECONDS = 20
FUZZ_CFLAGS = -std=gnu11 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -DFNN_NO_CLONES -Wno-everything -I$(top)/src
FUZZ_FILES_SOURCES = $(call sources_of,nn) test/fuzz/safetensors.c
FUZZ_OPTIONS_SOURCES = $(call sources_of,nn) $(call sources_of,model) $(call found_in,src/pg/option/*.c) test/fuzz/options.c
fuzz_library = $$(clang -print-resource-dir)/lib/linux/libclang_rt.$(1)-$$(uname -m)
# what runs: options of libFuzzer; $(1): files or options
fuzz_run = '-max_total_time=$(FUZZ_SECONDS)' '-max_len=4096' '-print_final_stats=1' '-artifact_prefix=$(CURDIR)/build/fuzz/$(1)-' \
	'$(CURDIR)/build/fuzz/corpus/$(1)' '$(abspath $(top))/test/fuzz/corpus/$(1)'
empty :=
space := $(empty) $(empty)

.PHONY: fuzz fuzz-files fuzz-options
fuzz: fuzz-files fuzz-options

fuzz-files: $(CURDIR)/build/openblas
	mkdir -p build/fuzz/corpus/files
	clang $(FUZZ_CFLAGS) -fsanitize=fuzzer -o build/fuzz/files $(addprefix $(top)/,$(FUZZ_FILES_SOURCES)) $(ENGINE_LIBS)
	OPENBLAS_NUM_THREADS=1 build/fuzz/files $(call fuzz_run,files)

# The library of libFuzzer that has no main is linked into one of PostgreSQL's; ASan has to be there before all
# others (test/asan/preload.c).
fuzz-options: $(CURDIR)/build/openblas
	rm -rf build/fuzz/data
	mkdir -p build/fuzz/corpus/options
	clang $(CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -shared-libasan -fPIC -shared -Wl,--exclude-libs,ALL -o build/fuzz/options.so \
		$(addprefix $(top)/,$(FUZZ_OPTIONS_SOURCES)) $(call fuzz_library,fuzzer_no_main).a -lstdc++ $(ENGINE_LIBS)
	clang '-DREPORTS="$(CURDIR)/build/fuzz"' -fPIC -shared -Wl,-z,initfirst -o build/fuzz/preload.so $(top)/test/asan/preload.c
	$(bindir)/initdb -D build/fuzz/data -U postgres -A trust -N -E UTF8 --locale=C >build/fuzz/initdb.log
	printf "%s\n" "CREATE FUNCTION fuzz(text, VARIADIC text[]) RETURNS int LANGUAGE c AS '$(CURDIR)/build/fuzz/options.so', 'fuzz_options'" \
		"SELECT fuzz('$(CURDIR)/build/fuzz/words', '-dict=$(CURDIR)/build/fuzz/words', '-rss_limit_mb=0', $(subst $(space),$(comma),$(strip $(call fuzz_run,options))))" | \
		ASAN_OPTIONS=halt_on_error=1:log_path=stderr LD_PRELOAD="$(CURDIR)/build/fuzz/preload.so $(call fuzz_library,asan).so" $(bindir)/postgres --single -c log_min_messages=error -c client_min_messages=error -D build/fuzz/data postgres >build/fuzz/options.log 2>&1 || { cat build/fuzz/options.log; exit 1; }
	cat build/fuzz/options.log
	grep -q '^Done ' build/fuzz/options.log

# ---------------------------------------------------------------- other targets

# with other versions of PostgreSQL, each in a chroot of a Debian that has it
OTHER_SERVERS = 17 18

.PHONY: debug prove_installcheck check-layers indent test check-long $(OTHER_SERVERS:%=check-%)

# Assertions on, nothing optimised away.  Objects of another kind go first;
# make clean before the next build without it.
DEBUG_CFLAGS = -O0 -g3 -U_FORTIFY_SOURCE -DUSE_ASSERT_CHECKING
debug:
	$(MAKE) -f $(firstword $(MAKEFILE_LIST)) clean
	$(MAKE) -f $(firstword $(MAKEFILE_LIST)) all NUMERIC_CFLAGS=-fopenmp-simd EXTRA_CFLAGS='$(DEBUG_CFLAGS) $(EXTRA_CFLAGS)'

# as PostgreSQL's own, which looks in t/ only
prove_installcheck:
	rm -rf '$(CURDIR)/tmp_check'
	mkdir -p '$(CURDIR)/tmp_check'
	cd $(srcdir) && TESTDIR='$(CURDIR)' TESTDATADIR='$(CURDIR)/tmp_check' TESTLOGDIR='$(CURDIR)/tmp_check/log' \
		PATH="$(bindir):$$PATH" PGPORT='6$(DEF_PGPORT)' \
		top_builddir='$(top_builddir)' PG_REGRESS='$(top_builddir)/src/test/regress/pg_regress' \
		prove $(PG_PROVE_FLAGS) -I test/perl $(PROVE_FLAGS) $(or $(PROVE_TESTS),test/t/*.pl)

check-layers:
	$(top)/scripts/check-layers

indent:
	$(top)/scripts/indent

test:
	$(top)/scripts/test

check-long:
	$(top)/scripts/test --long

$(OTHER_SERVERS:%=check-%): check-%:
	$(top)/scripts/test --server $*

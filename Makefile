EXTENSION = fmoe
EXTVERSION = 1.0
DATA = fmoe--1.0.sql
MODULE_big = fmoe
comma := ,

# A room's sources, at the depths that there are.
sources_of = $(sort $(wildcard src/$(1)/*.c src/$(1)/*/*.c))
NN_OBJS = $(patsubst %.c,%.o,$(call sources_of,nn))
MODEL_OBJS = $(patsubst %.c,%.o,$(call sources_of,model))
PG_OBJS = $(patsubst %.c,%.o,$(call sources_of,pg))
OBJS = $(NN_OBJS) $(MODEL_OBJS) $(PG_OBJS)

TESTS = $(sort $(wildcard sql/*.sql))
REGRESS = $(patsubst sql/%.sql,%,$(TESTS))
TAP_TESTS = 1

# Numeric files: let the compiler vectorise.  Nothing here may change what the
# rest of the backend computes, so no -ffast-math, and the CPU is found out at
# run time (target_clones), so no -march.  -fopenmp-simd only makes the compiler
# read "omp simd" before loops; it brings in no OpenMP.
NUMERIC_CFLAGS = -O3 -fopenmp-simd -fno-trapping-math -fno-math-errno
STRICT_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type

# Each object says which headers it was made from.
DEPENDENCY_CFLAGS = -MMD -MP

PG_CPPFLAGS += -Isrc
PG_CFLAGS += $(STRICT_CFLAGS) $(DEPENDENCY_CFLAGS) $(EXTRA_CFLAGS)
SHLIB_LINK += -lopenblas -lm -Wl,-Bsymbolic

EXTRA_CLEAN = build $(OBJS:.o=.d)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
# no bitcode: JIT cannot inline what takes milliseconds
override with_llvm = no
include $(PGXS)
override with_llvm = no

$(NN_OBJS) $(MODEL_OBJS): CFLAGS += $(NUMERIC_CFLAGS)
-include $(OBJS:.o=.d)

# ---------------------------------------------------------------- engine tests, no server

ENGINE_SOURCES = $(call sources_of,nn) $(call sources_of,model) $(sort $(wildcard test/engine/*.c))
ENGINE_CFLAGS = -std=gnu11 -g -Wall -Wpointer-arith -Wdeclaration-after-statement $(STRICT_CFLAGS) -Wmissing-prototypes \
	-Isrc $(DEPENDENCY_CFLAGS) $(EXTRA_CFLAGS)
ENGINE_LIBS = -lopenblas -lm

# $(1) name, $(2) flags, $(3) linker flags
define engine_program
build/$(1)/%.o: %.c
	@mkdir -p $$(@D)
	$$(CC) $$(ENGINE_CFLAGS) $(2) -c -o $$@ $$<
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

.PHONY: engine-check engine-asan engine-valgrind check-layers indent check

engine-check: build/double/check build/float/check
	build/double/check
	build/float/check

engine-asan: build/asan/check
	OPENBLAS_NUM_THREADS=1 build/asan/check

engine-valgrind: build/valgrind/check
	OPENBLAS_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell valgrind -q --error-exitcode=9 --leak-check=full build/valgrind/check

check-layers:
	scripts/check-layers

indent:
	scripts/indent

check:
	scripts/test

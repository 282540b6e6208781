# memline: exact per-line memory profiles of unmodified Python programs. `make help` lists the targets.

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
BUILD ?= build
JOBS ?= $(shell nproc)
VERSION := $(shell cat VERSION)

WARNINGS := -Wall -Wextra -Wundef -Wshadow -Wmissing-prototypes -Wstrict-prototypes
ifneq ($(filter true 1,$(CI)),)
WARNINGS += -Werror
endif
CFLAGS ?= -O2 -g
ML_CFLAGS := -std=c11 $(WARNINGS) -I. -I$(BUILD)/generated -MMD -MP -D_GNU_SOURCE \
	-DML_VERSION_TEXT='"$(VERSION)"' $(CFLAGS)

# The preloaded object: no library but libc, nothing exported but what it interposes. Not fortified, as compilers of
# distributions may do unasked: those checks print and abort.
INPROC_SRC := $(wildcard $(addprefix symbolize/,python/abi.c python/walk.c python/code.c native/modules.c \
	native/unwind.c))
PRELOAD_SRC := $(wildcard preload/*.c) $(INPROC_SRC) trace/scope.c
PRELOAD_CFLAGS := $(ML_CFLAGS) -fPIC -fvisibility=hidden -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc \
	-fno-builtin-free -fno-stack-protector -fno-plt -U_FORTIFY_SOURCE
PRELOAD_LDFLAGS := -shared -Wl,--no-undefined -Wl,-z,now -Wl,-z,relro -Wl,--version-script=preload/exports.map

TRACE_SRC := $(wildcard trace/*.c)
REPORT_SRC := $(wildcard report/*.c) $(TRACE_SRC) symbolize/python/lines.c \
	$(addprefix symbolize/native/,dwarf.c demangle.c cache.c) $(BUILD)/generated/report/profile.pb-c.c
REPORT_LIBS := -lm -ljansson -ldw -lelf -liberty -lprotobuf-c -lz -lzstd

# V=1 shows whole command lines.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $@)

# Objects are compiled twice: as the preloaded object needs them, and as ordinary ones for memline and the tests.
preload-objects = $(patsubst %.c,$(BUILD)/preload-obj/%.o,$(1))
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all
all: $(BUILD)/libmemline.so $(BUILD)/memline ## build libmemline.so and memline

$(BUILD)/libmemline.so: $(call preload-objects,$(PRELOAD_SRC)) preload/exports.map
	$(call say,LINK)
	$(Q)$(CC) $(PRELOAD_CFLAGS) $(PRELOAD_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^)

$(BUILD)/memline: $(call objects,$(REPORT_SRC))
	$(call say,LINK)
	$(Q)$(CC) $(ML_CFLAGS) $(LDFLAGS) -o $@ $^ $(REPORT_LIBS)

$(BUILD)/preload-obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(PRELOAD_CFLAGS) -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ML_CFLAGS) $(TEST_CFLAGS) -c -o $@ $<

$(BUILD)/generated/%.pb-c.c: %.proto
	@mkdir -p $(@D)
	$(call say,PROTO)
	$(Q)protoc-c --proto_path=$(<D) --c_out=$(@D) $<

$(BUILD)/generated/%.pb-c.h: $(BUILD)/generated/%.pb-c.c ;

$(BUILD)/obj/report/export_pprof.o: $(BUILD)/generated/report/profile.pb-c.h

# Changes when the compiler or its options do, so that no object is older than the options in force.
FLAGS_NOW := $(shell echo '$(subst ','\'',$(CC) $(PRELOAD_CFLAGS) $(LDFLAGS))' | cksum)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS_NOW)' | cmp -s - $@ || echo '$(FLAGS_NOW)' > $@

.PHONY: FORCE
FORCE:

# For tests/cross.sh: what needs no library but libc.
.PHONY: in-process-offline
in-process-offline: $(call objects,$(TRACE_SRC) $(wildcard symbolize/python/*.c))

# Tests. tests/DIR/test_NAME.c is a program of its own, linked with the other .c files of its folder and with what the
# folder tests. It is run in this folder and finds the shared objects that it loads in ML_TEST_OBJECTS: those are made
# of tests/DIR/objects/NAME.c, each with the options that a comment "built with: OPTIONS */" in it asks for.

TEST_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/test_*.c))
TEST_OBJECTS := $(patsubst %.c,$(BUILD)/%.so,$(wildcard tests/*/objects/*.c))
TEST_LIBS = $(shell pkg-config --libs check) $(REPORT_LIBS)

test-support = $(call objects,$(filter-out tests/$(1)/test_%,$(wildcard tests/$(1)/*.c)))
TESTED_trace = $(call objects,$(filter-out report/main.c,$(REPORT_SRC)))
TESTED_report = $(TESTED_trace)
TESTED_symbolize = $(call objects,$(wildcard symbolize/*/*.c) $(TRACE_SRC))
TESTED_preload = $(call preload-objects,$(filter-out preload/interpose.c,$(PRELOAD_SRC)) $(TRACE_SRC))

# The same of C++.
TEST_CXX_OBJECTS := $(patsubst %.cc,$(BUILD)/%.so,$(wildcard tests/*/objects/*.cc))

define test-rules
$(patsubst %.c,$(BUILD)/%,$(wildcard tests/$(1)/test_*.c)): $(BUILD)/tests/$(1)/%: $(BUILD)/obj/tests/$(1)/%.o \
		$(call test-support,$(1)) $(TESTED_$(1))
	@mkdir -p $$(@D)
	$$(call say,LINK)
	$$(Q)$$(CC) $$(ML_CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(TEST_LIBS)
endef
$(foreach dir,trace report symbolize preload,$(eval $(call test-rules,$(dir))))

objects-of = $(abspath $(patsubst $(BUILD)/obj/%,$(BUILD)/%,$(1))/objects)
$(BUILD)/obj/tests/%.o: TEST_CFLAGS = -DML_TEST_OBJECTS='"$(call objects-of,$(@D))"'

built-with = $$(sed -n 's|.*built with: \(.*\) \*/.*|\1|p' $<)

$(TEST_OBJECTS): $(BUILD)/%.so: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) $(ML_CFLAGS) -fPIC -shared -o $@ $< $(TEST_OBJECT_FLAGS) $(built-with)

$(BUILD)/tests/bench/objects/pairs.so $(BUILD)/tests/bench/programs/inert: tests/bench/pairs.h
$(BUILD)/tests/bench/programs/inert: tests/bench/objects/pairs.c
$(BUILD)/tests/e2e/objects/tree.so: tests/e2e/objects/tree.h

$(TEST_CXX_OBJECTS): $(BUILD)/%.so: %.cc $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) -std=c++11 -Wall -Wextra $(CFLAGS) -fPIC -shared -o $@ $< $(TEST_OBJECT_FLAGS) $(built-with)

# tests/DIR/programs/NAME.c are whole programs that tests run.
TEST_HOSTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/programs/*.c))
$(TEST_HOSTS): $(BUILD)/%: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) $(ML_CFLAGS) -o $@ $< $(TEST_OBJECT_FLAGS) $(built-with)

.PHONY: tests
tests: $(TEST_PROGRAMS) $(TEST_OBJECTS) $(TEST_CXX_OBJECTS) $(TEST_HOSTS) ## build the test programs

SANITIZE := -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all
SANITIZED_MAKE = $(MAKE) --no-print-directory TEST_OBJECT_FLAGS=-fno-sanitize=all

.PHONY: tests-asan tests-tsan tests-clang
tests-asan:
	+@$(SANITIZED_MAKE) BUILD=$(BUILD)/asan CFLAGS='$(SANITIZE) -fsanitize=address,undefined' tests
tests-tsan:
	+@$(SANITIZED_MAKE) BUILD=$(BUILD)/tsan CFLAGS='$(SANITIZE) -fsanitize=thread' tests
tests-clang:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/clang CC=$(CLANG) all tests

# tests/run.py runs programs, scripts and pytest, and ends with one line that sums them up.
RUN = $(PYTHON) tests/run.py --build $(BUILD) --jobs $(JOBS)
SCRIPTS = tests/lint.sh tests/cross.sh \
	$(if $(wildcard tests/preload/check_object.sh),'tests/preload/check_object.sh $(BUILD)/libmemline.so' \
	'tests/preload/check_object.sh $(BUILD)/clang/libmemline.so')

.PHONY: check
check: ## install what is missing, build with gcc and clang, run every test
	@tests/setup.sh check
	@$(MAKE) -j$(JOBS) --no-print-directory all tests tests-asan tests-clang
	@$(RUN) --programs '$(BUILD)/tests' --programs '$(BUILD)/asan/tests' --scripts $(SCRIPTS) --pytest tests

.PHONY: check-unit
check-unit: ## run the C test programs alone
	@$(MAKE) -j$(JOBS) --no-print-directory tests
	@$(RUN) --programs '$(BUILD)/tests'

.PHONY: check-asan
check-asan: ## run the C test programs under the address and undefined behaviour sanitizers
	@$(MAKE) -j$(JOBS) --no-print-directory tests-asan
	@$(RUN) --programs '$(BUILD)/asan/tests'

.PHONY: check-tsan
check-tsan: ## run the C test programs under the thread sanitizer
	@$(MAKE) -j$(JOBS) --no-print-directory tests-tsan
	@$(RUN) --programs '$(BUILD)/tsan/tests'

.PHONY: check-e2e
check-e2e: ## run the tests that record real programs (PYTHONS="3.11 3.13.0": under these alone)
	@$(MAKE) -j$(JOBS) --no-print-directory all tests
	@$(RUN) --pytest tests

FUZZ_SECONDS ?= 60
FUZZ_SRC := tests/fuzz/fuzz_load.c tests/report/read_all.c $(filter-out report/main.c,$(REPORT_SRC))

.PHONY: fuzz
fuzz: $(filter $(BUILD)/%,$(REPORT_SRC)) ## give the reader damaged traces for FUZZ_SECONDS (clang)
	@mkdir -p $(BUILD)/fuzz/corpus
	$(CLANG) $(ML_CFLAGS) -fsanitize=fuzzer,address,undefined -MF /dev/null -o $(BUILD)/fuzz/fuzz_load $(FUZZ_SRC) \
		$(REPORT_LIBS)
	cd $(BUILD)/fuzz && ./fuzz_load -max_len=8192 -max_total_time=$(FUZZ_SECONDS) corpus $(CURDIR)/tests/data

# Suites of Debian: tests/pythons/make_chroots.sh knows forky, trixie and bullseye.
CHROOTS ?= forky

# What the end-to-end tests run, for the C library of a chroot that has a compiler.
.PHONY: e2e-objects
e2e-objects: $(filter $(BUILD)/tests/e2e/%,$(TEST_OBJECTS) $(TEST_CXX_OBJECTS) $(TEST_HOSTS))

.PHONY: check-pythons
check-pythons: all tests ## the same under CPython 3.14 and 3.15, in a chroot, and others (root)
	@tests/pythons/make_chroots.sh $(BUILD)/chroots $(CHROOTS)
	@tests/pythons/make_free_threaded.sh $(BUILD)/pythons/free-threaded || echo "going on without free threads"
	+@for each in $(CHROOTS:%=$(BUILD)/chroots/%); do \
		[ ! -x $$each/usr/bin/gcc ] || $(MAKE) --no-print-directory BUILD=$$each.tests \
			CC="tests/pythons/enter_chroot.sh $$each gcc" e2e-objects || exit; \
	done
	@$(RUN) $(CHROOTS:%=--chroot $(BUILD)/chroots/%) --pytest tests

.PHONY: check-abi
check-abi: ## compare the table of CPython layouts with the headers of every CPython found
	@tests/pythons/check_abi.sh

.PHONY: check-cpython
check-cpython: all ## run CPython's own tests with and without the preload and compare
	@$(PYTHON) tests/pythons/check_cpython.py

.PHONY: bench
bench: all $(filter $(BUILD)/tests/bench/%,$(TEST_OBJECTS) $(TEST_HOSTS)) ## measure what recording costs (QUICK=1)
	@BUILD='$(BUILD)' $(PYTHON) tests/bench/run.py $(if $(QUICK),--quick) $(BENCH)

.PHONY: bench-reading
bench-reading: all $(filter $(BUILD)/tests/bench/%,$(TEST_HOSTS)) ## measure how a large trace is read
	@BUILD='$(BUILD)' $(PYTHON) tests/bench/reading.py

.PHONY: demo
demo: ## install what is missing, build, record Azure functions and print their report
	@tests/setup.sh demo
	@$(MAKE) -j$(JOBS) --no-print-directory all
	@tests/demo/run.sh

.PHONY: lint
lint: all ## layers, names, the built object, formatting, scripts
	@tests/lint.sh
	@tests/preload/check_object.sh $(BUILD)/libmemline.so

.PHONY: deps
deps: ## install the packages that building and testing need
	@tests/setup.sh check

.PHONY: install
install: all ## install under $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BUILD)/libmemline.so $(DESTDIR)$(PREFIX)/lib/libmemline.so
	install -m 755 $(BUILD)/memline $(DESTDIR)$(PREFIX)/bin/memline
	install -m 644 docs/memline.1 $(DESTDIR)$(PREFIX)/share/man/man1/memline.1
	cd share && find * -type f -exec install -m 644 -D {} $(abspath $(DESTDIR)$(PREFIX))/share/{} \;

.PHONY: dist
dist: ## pack the committed sources
	@mkdir -p $(BUILD)
	git archive --prefix=memline-$(VERSION)/ -o $(BUILD)/memline-$(VERSION).tar.gz HEAD

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(BUILD)

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

-include $(shell find $(BUILD)/obj $(BUILD)/preload-obj $(BUILD)/tests -name '*.d' 2>/dev/null)

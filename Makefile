# memline: exact per-line memory profiles of unmodified Python programs. `make help` lists the targets.

CC ?= gcc
PREFIX ?= /usr/local
BUILD ?= build
VERSION := $(shell cat VERSION)

WARNINGS := -Wall -Wextra -Wundef -Wshadow -Wmissing-prototypes -Wstrict-prototypes
CFLAGS ?= -O2 -g
ML_CFLAGS := -std=c11 $(WARNINGS) -I. -MMD -D_GNU_SOURCE -DML_VERSION_TEXT='"$(VERSION)"' $(CFLAGS)

# The preloaded object: no library but libc, nothing exported but what it interposes.
PRELOAD_SRC := $(wildcard preload/*.c) $(addprefix symbolize/,python/abi.c python/walk.c python/code.c native/modules.c)
PRELOAD_CFLAGS := $(ML_CFLAGS) -fPIC -fvisibility=hidden -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc \
	-fno-builtin-free -fno-stack-protector -fno-plt
PRELOAD_LDFLAGS := -shared -Wl,--no-undefined -Wl,-z,now -Wl,-z,relro -Wl,--version-script=preload/exports.map

REPORT_SRC := $(wildcard report/*.c) $(wildcard trace/*.c) symbolize/python/lines.c
REPORT_LIBS := -ljansson

PRELOAD_OBJ := $(PRELOAD_SRC:%.c=$(BUILD)/preload-obj/%.o)
REPORT_OBJ := $(REPORT_SRC:%.c=$(BUILD)/report-obj/%.o)

.DEFAULT_GOAL := all
.PHONY: all
all: $(BUILD)/libmemline.so $(BUILD)/memline ## build libmemline.so and memline

$(BUILD)/libmemline.so: $(PRELOAD_OBJ) preload/exports.map
	$(CC) $(PRELOAD_CFLAGS) $(PRELOAD_LDFLAGS) $(LDFLAGS) -o $@ $(PRELOAD_OBJ)

$(BUILD)/memline: $(REPORT_OBJ)
	$(CC) $(ML_CFLAGS) $(LDFLAGS) -o $@ $(REPORT_OBJ) $(REPORT_LIBS)

$(BUILD)/preload-obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(PRELOAD_CFLAGS) -c -o $@ $<

$(BUILD)/report-obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ML_CFLAGS) -c -o $@ $<

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(BUILD)

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

-include $(PRELOAD_OBJ:.o=.d) $(REPORT_OBJ:.o=.d)

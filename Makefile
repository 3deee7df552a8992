# The commands of the README. `make help` lists them; the work is in scripts/.

PREFIX ?= /usr/local
INPUT ?=
BENCH ?= all
export MINUTES ?= 60
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# A toolchain that was just installed may not be on the path of this shell yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
export CARGO

.DEFAULT_GOAL := help
.PHONY: help demo test proof bench bench-c bench-python install library python fmt lint docs setup release

help:
	@echo 'make demo [INPUT=FILE]      send every line of a file, read it back, kill the writer, lose nothing'
	@echo 'make test                   every test and check; the last line counts passed and failed'
	@echo 'make proof [MINUTES=60]     crashes, kills, damage and faults, for as long as they are given'
	@echo 'make bench [BENCH="ARGS"]   measure device and engine in turns; default: all'
	@echo 'make bench-c, bench-python  the same for calls of the C library and of the package for Python'
	@echo 'make install [PREFIX=DIR]   the command, the C library, its headers and pkg-config file; default: /usr/local'
	@echo 'make library                the C library, into $(TARGET_DIR)/release'
	@echo 'make python                 the package for Python: a wheel, and its tests in a fresh environment'
	@echo 'make fmt                    format the code'
	@echo 'make lint                   formatting, clippy, tidy, licences; no tests'
	@echo 'make docs                   the documentation of the API, into $(TARGET_DIR)/doc'

setup:
	@scripts/setup.sh

release: setup
	@echo 'building ringlane, optimized ...' >&2
	@$(CARGO) build --release --quiet -p ringlane-cli

demo: release
	@INPUT='$(INPUT)' scripts/demo.sh '$(TARGET_DIR)/release/ringlane'

test:
	@scripts/test.sh

proof:
	@scripts/proof.sh

bench: release
	@'$(TARGET_DIR)/release/ringlane' bench $(BENCH)

# How long each workload of these runs.
SECONDS_EACH ?= 3

bench-c: library
	@$(CC) -std=c11 -Wall -Wextra -Werror -O2 -Iinclude benches/c/bench.c -o '$(TARGET_DIR)/bench-c' \
		-L'$(TARGET_DIR)/release' -lringlane -Wl,-rpath,'$(abspath $(TARGET_DIR))/release'
	@rm -rf '$(TARGET_DIR)/bench-c.data' && '$(TARGET_DIR)/bench-c' '$(TARGET_DIR)/bench-c.data' $(SECONDS_EACH)
	@rm -rf '$(TARGET_DIR)/bench-c.data'

bench-python: python
	@'$(TARGET_DIR)/python/fresh/bin/python' benches/python/bench.py

install: release library
	install -D -m 755 '$(TARGET_DIR)/release/ringlane' '$(DESTDIR)$(PREFIX)/bin/ringlane'
	@PKG_PREFIX='$(PREFIX)' scripts/install-ffi.sh '$(DESTDIR)$(PREFIX)' '$(TARGET_DIR)/release'

library: setup
	@$(CARGO) build --release --quiet -p ringlane-library
	@ln -sf libringlane.so '$(TARGET_DIR)/release/libringlane.so.0'

python: library
	@scripts/python.sh

fmt: setup
	@$(CARGO) fmt --all

lint:
	@scripts/test.sh lint

docs: setup
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --quiet
	@echo '$(TARGET_DIR)/doc/ringlane/index.html'

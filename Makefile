# Every target prepares what it needs: on a fresh machine `make demo` or `make test` is the first and only command.
# A second call costs nothing: .venv/*.stamp remember what is done.
#
#   PYTHON=...    the Python (>= 3.11) to make .venv from; found by itself when not given
#   PIP_ARGS=...  more arguments for pip, for example --extra-index-url https://download.pytorch.org/whl/cpu
#   ARGS=...      arguments passed on by show (demo), pytest (test) and the benches (bench, bench-goals, bench-gate)

VENV := .venv
BIN := $(VENV)/bin
CORE_SOURCES := $(wildcard csrc/*.cpp csrc/*.hpp) CMakeLists.txt pyproject.toml
# ninja's default of cores + 2 compilers at once is a few too many for machines with little memory.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format docs bench bench-goals bench-gate clean

help:
	@echo "make install   a .venv with everything for development and the compiled core"
	@echo "make demo      poolkit show: pool a photograph with every operator, write a report"
	@echo "make test      the tests; ARGS='-k name' chooses some"
	@echo "make lint      ruff, pyright, the core's stub, clang-format, the house laws and the docs made from the catalogue"
	@echo "make format    let ruff and clang-format rewrite the sources"
	@echo "make docs      write docs/operators and the tables of docs/choosing*.md from the catalogue"
	@echo "make bench     equality with torch, then times and the picture; ARGS='--quick' for a part"
	@echo "make bench-goals  what the speed goals name, each with what was reached; ARGS='--only overhead' for a part"
	@echo "make bench-gate   instruction counts against those kept (needs valgrind); ARGS=--write keeps the new ones"
	@echo "make clean     remove .venv and what was built"

install: $(VENV)/core.stamp

$(VENV)/python.stamp:
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh tools/make_venv.sh
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/python.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements-dev.txt
	@touch $@

# An editable install: Python sources are read from src/, the compiled modules lie in .venv. CMake keeps its objects in
# build/, so only what changed is compiled again.
$(VENV)/core.stamp: $(CORE_SOURCES) $(VENV)/dev.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

demo: install
	$(BIN)/poolkit show $(ARGS)

test: install
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python tools/check_stub.py
	$(BIN)/clang-format --dry-run --Werror csrc/*.cpp csrc/*.hpp
	$(BIN)/python tools/house_laws.py
	$(BIN)/python tools/make_docs.py --check

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i csrc/*.cpp csrc/*.hpp

docs: install
	$(BIN)/python tools/make_docs.py

bench: install
	$(BIN)/python -m bench.run $(ARGS)

bench-goals: install
	$(BIN)/python -m bench.goals $(ARGS)

bench-gate: install
	$(BIN)/python -m bench.gate $(ARGS)

clean:
	rm -rf $(VENV) build dist

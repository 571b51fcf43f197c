# make demo      set up, and run the whole graph on an embedded survey
# make test      set up, and pass the tests (test-all: the slow ones and those in a browser too)
# make test-browser  set up, and look at the report in Chromium (Debian: apt-get install chromium chromium-driver)
# make test-slurm    as root: install SLURM from Debian's packages, start it, run the graph on it, stop it
# make check     set up, and pass the static checks
# make bench     set up, time the kernels beside their peers, write results/benchmark.md
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash

PYTHON ?= python3
# The demo needs no GPU; `make demo GPU=1` uses one.
GPU ?= 0
BIN := .venv/bin
READY := .venv/.ready
# uv takes the Python that is here, and is fetched from the package index if it is missing.
UV = $(shell command -v uv || echo .uv/bin/uv)
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup demo test test-all test-browser test-slurm check format lock bench bench-training bench-prediction clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@command -v uv > /dev/null || test -x .uv/bin/uv || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv; }
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(READY)
	$(BIN)/snakemake --cores all --resources gpu=$(GPU) --configfile workflow/presets/demo.yaml

test: $(READY)
	$(BIN)/pytest -m "not slow and not browser and not slurm"

test-browser: $(READY)
	$(BIN)/pytest -m browser

test-all: $(READY)
	$(BIN)/pytest -m "not slurm"

# Without root or apt it says so at its end, and that is no failure.
test-slurm: $(READY)
	$(BIN)/pytest -m slurm tests/slurm

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --lint
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# Versions and hashes of everything, and what is rendered from them and from the settings.
lock: $(READY)
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --extra dev --output-file requirements.lock pyproject.toml
	$(BIN)/python envs/render.py
	$(BIN)/tgs-salt settings --schema > workflow/config.schema.json

# BENCH=--million measures the memory of a submission of a million tiles as well.
bench: $(READY)
	$(BIN)/python -m benchmarks.kernels --output results/benchmark.md $(BENCH)

# KERAS names a Python with TensorFlow; benchmarks/keras_article.py says how to make one.
bench-training: $(READY)
	$(BIN)/python -m benchmarks.training $(if $(KERAS),--keras $(KERAS))

bench-prediction: $(READY)
	$(BIN)/python -m benchmarks.prediction

clean:
	rm -rf .venv .uv .snakemake .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info

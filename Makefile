# make setup         create .venv (TORCH_BACKEND=cpu: torch without CUDA, from PyTorch's own index)
# make demo          set up, then run the whole workflow on the embedded dataset (GPU=1: on a GPU)
# make test          set up, then run the fast tests
# make test-slow     the slow tests, without those that take many minutes
# make test-all      all tests but SLURM's
# make test-cpus     the fast tests as other CPUs and thread counts would compute them (half an hour)
# make test-browser  the report in Chromium (Debian: apt-get install chromium chromium-driver)
# make test-slurm    as root: the workflow on a SLURM that is installed from Debian's packages, started and stopped
# make check         static checks: ruff, mypy, snakefmt, snakemake --lint, import-linter
# make bench         time the kernels beside their peers, write results/benchmark.md
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash

PYTHON ?= python3
# The demo needs no GPU; `make demo GPU=1` uses one.
GPU ?= 0
BIN := .venv/bin
READY := .venv/.ready
# uv uses the installed Python. It is installed from the package index if it is missing.
UV = $(shell command -v uv || echo .uv/bin/uv)
# cpu, cu128, ...: uv's --torch-backend, which needs PyTorch's own index; empty: PyPI's build.
TORCH_BACKEND ?=
# Processes of the tests, and the tests that `make test` runs.
WORKERS ?= 2
FAST := "not slow and not browser and not slurm"
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup demo test test-cpus test-slow test-all test-browser test-slurm check format lock bench bench-training bench-prediction clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@command -v uv > /dev/null || test -x .uv/bin/uv || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv; }
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
ifeq ($(TORCH_BACKEND),)
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
else
	@# Another build of torch has other hashes and its own CUDA packages.
	awk '/^[^ ]/ { skip = /^(nvidia-|cuda-|triton==)/ } !skip' requirements.lock > .venv/requirements.txt
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --torch-backend $(TORCH_BACKEND) \
	  --no-verify-hashes -r .venv/requirements.txt
endif
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(READY)
	$(BIN)/snakemake --cores all --resources gpu=$(GPU) --configfile workflow/presets/demo.yaml

# Two processes; the tests of a file share one, for their session fixtures.
test: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m $(FAST)

# Other instruction sets, thread counts, hash seed and test order.
test-cpus: $(READY)
	for variant in ONEDNN_MAX_CPU_ISA=SSE41 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=default \
	  NUMBA_CPU_NAME=generic OMP_NUM_THREADS=1 OMP_NUM_THREADS=4 PYTHONHASHSEED=7 RANDOM_ORDER=1; do \
	  echo "== $$variant"; \
	  env $$variant $(BIN)/pytest -q -n $(WORKERS) --dist loadfile -m $(FAST) \
	    $$(test $$variant = RANDOM_ORDER=1 && echo "-p randomly -p no:cacheprovider") || exit 1; \
	done

test-browser: $(READY)
	$(BIN)/pytest -m browser

test-slow: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "slow and not long and not browser" --ignore tests/report/test_scale.py
	$(BIN)/pytest -m slow tests/report/test_scale.py  # alone: it bounds time and memory

test-all: $(READY)
	$(BIN)/pytest -m "not slurm"

# Without root or apt the tests are skipped with the reason.
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

# Lock versions and hashes, then render the files that derive from them and from the settings.
lock: $(READY)
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
	  --extra dev --output-file requirements.lock pyproject.toml
	$(BIN)/python envs/render.py
	$(BIN)/tgs-salt config --schema > workflow/config.schema.json

# BENCH=--million also measures the memory of a submission of a million tiles.
bench: $(READY)
	$(BIN)/python -m benchmarks.kernels --output results/benchmark.md $(BENCH)

# KERAS: a Python with TensorFlow; see benchmarks/keras_article.py.
bench-training: $(READY)
	$(BIN)/python -m benchmarks.training $(if $(KERAS),--keras $(KERAS))

bench-prediction: $(READY)
	$(BIN)/python -m benchmarks.prediction

clean:
	rm -rf .venv .uv .snakemake .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info

# make TORCH_BACKEND=cpu setup   fetch torch without the 3 GB of CUDA, from PyTorch's own index
# make demo      set up, and run the whole graph on an embedded dataset
# make test      set up, and pass the tests (test-all: the slow ones and those in a browser too)
# make test-cpus  set up, and pass the tests as other CPUs would compute (half an hour)
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
# cpu, cu128, ...: uv's --torch-backend, for which PyTorch's own index has to be in reach; empty: what PyPI has.
TORCH_BACKEND ?=
# Processes of the tests, and the tests that `make test` runs.
WORKERS ?= 2
FAST := "not slow and not browser and not slurm"
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup demo test test-cpus test-all test-browser test-slurm check format lock bench bench-training bench-prediction clean

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
	@# Another build of torch has other hashes, and brings the CUDA that it needs.
	awk '/^[^ ]/ { skip = /^(nvidia-|cuda-|triton==)/ } !skip' requirements.lock > .venv/requirements.txt
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --torch-backend $(TORCH_BACKEND) \
	  --no-verify-hashes -r .venv/requirements.txt
endif
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(READY)
	$(BIN)/snakemake --cores all --resources gpu=$(GPU) --configfile workflow/presets/demo.yaml

# Two processes; tests of a file stay in one, for the fixtures that they share.
test: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m $(FAST)

# The same as other CPUs, other thread counts, another hash seed and another order would compute it.
test-cpus: $(READY)
	for variant in ONEDNN_MAX_CPU_ISA=SSE41 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=default \
	  NUMBA_CPU_NAME=generic OMP_NUM_THREADS=1 OMP_NUM_THREADS=4 PYTHONHASHSEED=7 RANDOM_ORDER=1; do \
	  echo "== $$variant"; \
	  env $$variant $(BIN)/pytest -q -n $(WORKERS) --dist loadfile -m $(FAST) \
	    $$(test $$variant = RANDOM_ORDER=1 && echo "-p randomly -p no:cacheprovider") || exit 1; \
	done

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
	$(BIN)/tgs-salt config --schema > workflow/config.schema.json

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

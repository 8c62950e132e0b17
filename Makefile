# make demo    sets up .venv, tunes a real model on this machine, shows what came of it
# make test    sets up .venv, checks style, types and walls, passes the tests that take seconds
# make help    all targets

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PYTEST_ARGS ?=
# Most of the tests wait for processes that they start. A file's tests stay together, in the order of their files: unit
# tests, which are short and many, come last and even the ends out. PYTEST_ARGS="-n 0": one after another, as for pdb.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
BENCH_ARGS ?=
GPU_ARGS ?=
CONFORMANCE_ARGS ?=
CASES_ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
SOURCES := client coordinator agents tests
DEMO := tunefarm-demo
# What TVM links kernels with: what CXX or CC names in the environment (make's own defaults do not count), or one of these.
NAMED := $(firstword $(foreach name,CXX CC,$(if $(filter environment,$(origin $(name))),$($(name)))))
COMPILERS := $(or $(NAMED),g++ gcc clang++ clang c++ cc)

.PHONY: help setup compiler lint test test-slow explore protos demo zoo bench bench-tuners bench-again bench-near bench-store bench-templates bench-kernels bench-replay bench-warm-model bench-farm bench-rpc bench-cuda-compile bench-runtimes gpu-check math-table conformance cases clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup: compiler $(INSTALLED) ## .venv with everything, at the versions of constraints.txt

compiler:
	@command -v $(COMPILERS) >/dev/null || { \
		echo "error: no C compiler found (looked for: $(COMPILERS)); TVM needs one to link kernels." >&2; \
		echo "       Install one (Debian: apt install gcc libc6-dev), or name it in CXX." >&2; exit 1; }

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "error: no python3.11 found; install Python 3.11, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "error: $(PYTHON) is $$($(PYTHON) --version); Python 3.11 is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# Again only when what is wanted changed. The stamp comes last: an install that was broken off is done over.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "== installing into .venv (1.8 GB: one minute, or some, by your line and cores)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[coordinator,agent,cuda,onnxruntime,bench,dev]'
	@touch $@

lint: setup ## style, format, types, import walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

test: lint ## lint, then the tests that take seconds
	$(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) $(PYTEST_ARGS)

# Hypothesis marks every property test. An example that failed is kept in .hypothesis, and tried first from then on.
explore: setup ## the property tests on new random examples, ten times as many; some minutes
	$(BIN)/pytest -m hypothesis --hypothesis-profile=explore --timeout=3600 $(PYTEST_ARGS)

# pytest's 5 means that it found none: fine only as long as none is marked.
test-slow: setup ## the tests that take minutes: real processes, real models
	@status=0; $(BIN)/pytest -m slow $(PYTEST_ARGS) || status=$$?; \
	if [ $$status -eq 5 ] && ! grep -rqE 'mark\.slow' --include='*.py' tests; then \
		echo "no test is marked slow: nothing was checked here"; exit 0; fi; exit $$status

protos: setup ## generates the stubs again from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto --grpc_python_out=proto proto/tunefarm_proto/v1/*.proto

demo: setup ## tunes SqueezeNet on this machine, in under 10 minutes on two cores
	@mkdir -p $(DEMO)
	@rm -rf $(DEMO)/package
	$(BIN)/python -m tunefarm_coordinator.models.seeded squeezenet $(DEMO)/squeezenet.onnx
	$(BIN)/tunefarm tune $(DEMO)/squeezenet.onnx --trials-per-kernel 8 --out $(DEMO)/package

zoo: setup ## tunes 31 real models of every kind at 2 trials per kernel; half an hour
	$(BIN)/python tests/benchmarks/real_models.py $(BENCH_ARGS)

bench: setup ## against plain TVM and ONNX Runtime; half an hour, and nothing else should run
	$(BIN)/python tests/benchmarks/against_plain.py $(BENCH_ARGS)

bench-runtimes: setup ## against ONNX Runtime and OpenVINO, real models; hours (BENCH_ARGS=--quick: 15 minutes)
	$(BIN)/python tests/benchmarks/runtimes.py $(BENCH_ARGS)

bench-tuners: setup ## Auto-scheduler against AutoTVM at equal trials; a quarter of an hour, and nothing else should run
	$(BIN)/python tests/benchmarks/tuners.py $(BENCH_ARGS)

bench-again: setup ## the same job once more, compiled from the store alone, and by stock TVM; six minutes, and nothing else should run
	$(BIN)/python tests/benchmarks/second_job.py $(BENCH_ARGS)

bench-near: setup ## a network at another size, with the schedules of its kernels' neighbours and without; an hour (BENCH_ARGS="--seeds 1 --pairs squeezenet:192": five minutes)
	$(BIN)/python tests/benchmarks/near_hits.py $(BENCH_ARGS)

bench-store: setup ## the schedule store at up to a million records, beside TVM's JSONDatabase; half an hour, and nothing else should run
	$(BIN)/python tests/benchmarks/store_scale.py $(BENCH_ARGS)

bench-templates: setup ## each template against Auto-scheduler on one kernel, at equal trials; half an hour
	$(BIN)/python tests/benchmarks/templates.py $(BENCH_ARGS)

bench-kernels: setup $(BENCHMARKING) ## kernels of real models against ONNX Runtime, OpenVINO and this machine's limit (BENCH_ARGS="--trials 0": ten minutes)
	$(BIN)/python -W ignore tests/benchmarks/kernels.py $(BENCH_ARGS)

bench-replay: setup ## how the budget is given out, dynamic against uniform, on recorded trials; a minute
	$(BIN)/python tests/benchmarks/replay_policies.py $(BENCH_ARGS)

bench-warm-model: setup ## a cost model that begins with other models' records against one that begins empty, on recorded schedules; needs sources (BENCH_ARGS)
	$(BIN)/python -W ignore tests/benchmarks/warm_model.py $(BENCH_ARGS)

bench-farm: setup ## a thousand fake agents on the real farm side of a coordinator; some minutes, and nothing else should run
	$(BIN)/python tests/benchmarks/simulated_farm.py $(BENCH_ARGS)

bench-rpc: setup ## what a trial costs beside its kernel, against plain TVM's RPC; ten minutes, and nothing else should run
	$(BIN)/python tests/benchmarks/against_rpc.py $(BENCH_ARGS)

bench-cuda-compile: setup ## CUDA candidates a second with NVRTC and with nvcc, and packaging; ten minutes, no GPU needed
	$(BIN)/python tests/benchmarks/cuda_compile.py $(BENCH_ARGS)

gpu-check: setup ## on a machine with an NVIDIA GPU: tunes four models, times them against PyTorch; some minutes (GPU_ARGS)
	tests/gpu/check.sh $(GPU_ARGS)

math-table: setup ## errors of exp, tanh and their like over all of float32, into docs/mathematics.md; ten minutes (BENCH_ARGS)
	$(BIN)/python tests/benchmarks/math_table.py $(BENCH_ARGS)

conformance: setup ## ONNX's own backend tests, operator by operator, into docs/conformance.md; ten minutes (CONFORMANCE_ARGS)
	OPENBLAS_NUM_THREADS=1 TVM_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.conformance.suite $(CONFORMANCE_ARGS)

cases: setup ## tunes each of the small models that are easily got wrong; most of an hour (CASES_ARGS)
	$(BIN)/python -m tests.cases.tune_all $(CASES_ARGS)

clean: ## removes all that make has made, .venv too
	rm -rf .venv $(DEMO) bench-* gpu-check *.json build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) proto -name __pycache__ -prune -exec rm -rf {} +

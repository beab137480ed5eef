# The commands that people, the README and CI share. No target needs root but check-image.

PYTHON ?= python3
TORCH  ?= torch==2.13.0
PORT   ?= 8000
FUZZ_EXAMPLES ?= 2000
PROFILE ?= smoke
HOST    ?=

VENV    := .venv
BIN     := $(VENV)/bin
CHECKS  := .venv-check
DEMO    := .demo
SHOP    := $(DEMO)/shop
RUNS    := $(DEMO)/runs
BUNDLES := $(DEMO)/bundles

# How requirements/ is made. TORCH_LINKS is where the CPU build of torch lies.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-annotate \
          --custom-compile-command 'make lock'
SERVICE_EXTRAS := --extra service --extra tracing --extra kubernetes --extra bucket
TORCH_LINKS ?= $(or $(PIP_FIND_LINKS),https://download.pytorch.org/whl/cpu/torch/)

READING  := $(wildcard trainer/data.py trainer/prepare.py trainer/features.py trainer/splits.py trainer/datasets/*.py \
              trainer/datasets/shop/*.py trainer/encoders/*.py)
TRAINING := $(wildcard trainer/*.py trainer/models/*.py) $(patsubst %,trainer/configs/%.toml,popularity lightgcn anchorrec)
BUNDLING := $(wildcard trainer/export.py index/*.py)

.PHONY: help install demo demo-check test lint lock format docs fuzz rehearsal check-deploy check-alerts check-azure check-image check-dependencies audit clean
.PHONY: bench-train bench-serve bench-events bench-peers bench-scale soak loadtest slo

##@ Run it

help:                  ## this list
	@awk -F ':.*## *' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  %-20s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed   ## make .venv with everything in it

demo: $(BUNDLES)/current.json    ## from nothing to an explaining service on PORT (8000)
	$(BIN)/python -m deploy.demo --registry $(BUNDLES) --figures $(RUNS)/comparison.json --port $(PORT)

demo-check: $(BUNDLES)/current.json  ## the same on a free port: ask, check the answers, stop
	$(BIN)/python -m deploy.demo --registry $(BUNDLES) --figures $(RUNS)/comparison.json --check

##@ Check a change

test: lint             ## lint and the whole suite: everything CI runs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: install          ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: install          ## FUZZ_EXAMPLES (2000) calls of every operation, as the OpenAPI document allows and forbids them
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest tests/service/http/test_openapi_fuzz.py

rehearsal: install     ## restarts, kills, a freeze, a full disk, swaps, a retraining, under load; 6 minutes, needs apt's haproxy
	$(BIN)/python -m loadtests.rehearsal

check-deploy: install $(CHECKS)/.installed  ## manifests: kubectl, schemas of three versions of Kubernetes, checkov
	$(BIN)/python -m deploy.check_manifests --tools $(CHECKS)

check-alerts: install  ## rules and dashboards: promtool, and a real Prometheus beside two services; 2 minutes, needs apt's prometheus
	$(BIN)/python -m loadtests.check_alerts

check-azure: install $(CHECKS)/node_modules/.bin/azurite-blob  ## registries in buckets against Azure's emulator, as `make test` does against S3's; needs npm
	TEST_OBJECT_STORE=azurite TEST_AZURITE=$(abspath $(CHECKS))/node_modules/.bin/azurite-blob $(BIN)/python -m pytest \
	    tests/index/test_bucket.py tests/index/test_registry.py tests/test_bucket_line.py

$(CHECKS)/node_modules/.bin/azurite-blob:
	npm install --prefix $(CHECKS) --no-save --no-fund --no-audit azurite@3

##@ Work on it

docs: install          ## the pages of docs/ as a site in .site, links checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: install          ## resolve the images' packages anew, with hashes: requirements/*.lock
	$(LOCK) requirements/tools.in --output-file requirements/tools.lock
	$(LOCK) pyproject.toml --extra cpu $(SERVICE_EXTRAS) --output-file requirements/service-cpu.lock
	$(LOCK) pyproject.toml --extra gpu $(SERVICE_EXTRAS) --output-file requirements/service-gpu.lock
	echo '$(TORCH)' | $(LOCK) pyproject.toml --extra cpu --extra trainer --extra bucket --constraint - \
	    --find-links $(TORCH_LINKS) --output-file requirements/trainer-cpu.lock
	echo '$(TORCH)' | $(LOCK) pyproject.toml --extra cpu --extra trainer --extra bucket --constraint - \
	    --output-file requirements/trainer-gpu.lock

format: install        ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

##@ Before a release

check-image: install $(BUNDLES)/current.json  ## the service's image without Docker, in a bare Debian root; needs root, debootstrap
	PYTHON=$(BIN)/python deploy/image/replay.sh $(BUNDLES)

check-dependencies: install  ## licences of all that is installed, against the list in pyproject.toml
	$(BIN)/pip-licenses --format=csv > /dev/null
	@echo "every licence is one of those allowed"

audit: install         ## known vulnerabilities of what the images hold; asks PyPI's database, so it needs its JSON interface
	for lock in service-cpu service-gpu trainer-cpu trainer-gpu tools; do \
	    $(BIN)/pip-audit --strict --disable-pip --requirement requirements/$$lock.lock || exit 1; done

##@ Measure

bench-train: install   ## seconds a training step at Amazon Baby's shape, by part; ends with one JSON line
	$(BIN)/python -m trainer bench

bench-serve: install   ## requests a second and waiting times beside FastAPI's empty endpoint; ends with one JSON line
	$(BIN)/python -m loadtests.bench_serve

bench-events: install  ## events a second that POST /events makes durable
	$(BIN)/python -m loadtests.bench_events

bench-peers: install   ## the same answer by LitServe, BentoML, mosec, Ray Serve ... beside ours; installs them first
	$(BIN)/python -m benchmarks.peers --venvs .venv-peers

loadtest: install      ## visitors as PROFILE (smoke, steady, spike, soak) says, on HOST or a service of its own; limits fail it
	$(BIN)/python -m loadtests.loadtest --profile $(PROFILE) $(if $(HOST),--host $(HOST))

slo: install           ## the highest rate at which p99 stays within 50 ms, beside the empty endpoint; ends with one JSON line
	$(BIN)/python -m loadtests.slo

soak: install          ## a million requests of every kind: does the service's memory stay what it is?
	$(BIN)/python -m loadtests.soak

bench-scale: install   ## graphs, steps, an epoch and their memory up to 200,000 items; about half an hour
	$(BIN)/python -m trainer bench --scale

##@ Tidy up

clean:                 ## forget the demo; .venv stays
	rm -rf $(DEMO)

# pip takes torch first and by itself, so that the build it finds (CPU or CUDA) is the one the rest settles on.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[cpu,trainer,service,dev]'
	touch $@

# Judges of the manifests, in an environment of their own: they are heavy, and bring other versions of what we use.
$(CHECKS)/.installed: deploy/check-requirements.txt
	$(PYTHON) -m venv $(CHECKS)
	$(CHECKS)/bin/pip install --quiet --requirement $<
	touch $@

# The demo's line, each step redone only when what it is made of has changed.
$(SHOP)/dataset.json: $(READING) | $(VENV)/.installed
	$(BIN)/python -m trainer prepare shop --out $(SHOP) --cache $(DEMO)/features --overwrite

# Changed data or training code begins runs and registry anew; an interrupted comparison resumes.
$(RUNS)/.begun: $(SHOP)/dataset.json $(TRAINING)
	rm -rf $(RUNS) $(BUNDLES)
	mkdir -p $(RUNS)
	touch $@

$(RUNS)/comparison.json: $(RUNS)/.begun
	$(BIN)/python -m trainer compare $(SHOP) --out $(RUNS) \
	    --config popularity --config lightgcn --config anchorrec --set training.epochs=45

$(BUNDLES)/current.json: $(RUNS)/comparison.json $(BUNDLING)
	bundle=$$($(BIN)/python -m trainer export $(RUNS)/anchorrec --registry $(BUNDLES)) && \
	    $(BIN)/python -m index publish "$$bundle"
	touch $@

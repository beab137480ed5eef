# The commands of developers, of the README and of CI. Only check-image needs root.

PYTHON ?= python3
TORCH  ?= torch==2.13.0
PORT   ?= 8000
# What `make demo` serves: anchorease, anchorrec, smore, lightgcn or another shipped configuration.
MODEL  ?= anchorease
# 1: show all that the steps of the demo write.
VERBOSE ?=
FUZZ_EXAMPLES ?= 2000
PROFILE ?= smoke
HOST    ?=

VENV    := .venv
BIN     := $(VENV)/bin
CHECKS  := .venv-check
OTHER_VENV := .venv-python
# Tests that need no torch: what an image of the service could run.
NO_TORCH_TESTS := tests/index tests/service/ranking tests/service/users tests/service/redis tests/service/http tests/service/client
DEMO    := .demo
SHOP    := $(DEMO)/shop
BUNDLES := $(DEMO)/$(MODEL)/bundles
ANCHORREC_DEMO = $(BIN)/python -m deploy.anchorrec demo --folder $(DEMO) --model $(MODEL) --port $(PORT) $(if $(VERBOSE),--verbose)

# What `make demo` installs trains and serves; `make install` adds the developers' tools, in the same environment.
SERVES  := $(firstword $(wildcard $(VENV)/.installed) $(if $(filter demo% console wheel,$(MAKECMDGOALS)),$(VENV)/.serves) \
              $(wildcard $(VENV)/.serves) $(VENV)/.installed)

CONSOLE := service/console

# The resolver for requirements/. TORCH_LINKS is the index of the CPU build of torch.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-annotate \
          --custom-compile-command 'make lock'
SERVICE_EXTRAS := --extra service --extra encode --extra tracing --extra kubernetes --extra bucket
TORCH_LINKS ?= $(or $(PIP_FIND_LINKS),https://download.pytorch.org/whl/cpu/torch/)

.PHONY: help install console wheel screenshots demo demo-check demo-console demo-made test lint lock format docs check-python fuzz rehearsal check-deploy check-alerts check-azure check-gpu check-image check-dependencies audit clean
.PHONY: bench-train bench-batch bench-serve bench-index bench-workers bench-events bench-filters bench-fairness bench-arm-swaps bench-shadow bench-peers bench-scale bench-pipeline bench-cold soak loadtest slo bench-experiments bench-arms-memory

##@ Run it

help:                  ## this list
	@awk -F ':.*## *' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  %-20s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed   ## create .venv with all dependencies

console: $(CONSOLE)/dist/index.html   ## build the web page that the service serves at /console
	@:

wheel: console         ## build dist/anchorrec-….whl, with the console, for machines without this checkout
	@rm -rf build && $(BIN)/pip wheel --quiet --no-deps --wheel-dir dist . ; made=$$?; rm -rf build; exit $$made

demo: $(SERVES) demo-console    ## make data, train, publish, and serve with explanations and a console on PORT (8000)
	@$(ANCHORREC_DEMO)

demo-check: $(SERVES) demo-console  ## the same on a free port: check the responses and stop
	@$(ANCHORREC_DEMO) --check

##@ Check a change

test: lint console     ## lint and all tests, as in CI; needs Debian's chromium, or CHROMIUM, and installs it for root
	.ci/install_chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

lint: install          ## ruff, mypy --strict, import-linter, banned phrases
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_words.py

check-python: $(OTHER_VENV)/.installed  ## test index and service under another Python: PYTHON=python3.13
	OMP_NUM_THREADS=1 $(OTHER_VENV)/bin/python -m pytest -n auto --dist worksteal $(NO_TORCH_TESTS)

fuzz: install          ## FUZZ_EXAMPLES (2000) requests for every operation of the OpenAPI document, odd heads, damaged bundles, index files, runs
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -s tests/service/http/test_openapi_fuzz.py \
	    tests/service/http/test_fuzzed_heads.py tests/service/bundles/test_bundle_fuzz.py tests/index/probing/test_index_fuzz.py tests/trainer/test_damaged_runs.py

rehearsal: install     ## restarts, kills, a freeze, a full disk, swaps and a retraining under load; 6 minutes, needs haproxy
	$(BIN)/python -m loadtests.rehearsal

check-deploy: install $(CHECKS)/.installed  ## check manifests: kubectl, schemas of three Kubernetes versions, checkov
	$(BIN)/python -m deploy.check_manifests --tools $(CHECKS)

check-alerts: install  ## check rules and dashboards: promtool, and a real Prometheus with two services; 2 minutes, needs prometheus
	$(BIN)/python -m loadtests.check_alerts

check-azure: install $(CHECKS)/node_modules/.bin/azurite-blob  ## test bucket registries with Azure's emulator (`make test` uses S3's); needs npm
	TEST_OBJECT_STORE=azurite TEST_AZURITE=$(abspath $(CHECKS))/node_modules/.bin/azurite-blob $(BIN)/python -m pytest \
	    tests/index/test_bucket.py tests/index/test_registry.py tests/test_bucket_line.py

$(CHECKS)/node_modules/.bin/azurite-blob:
	npm install --prefix $(CHECKS) --no-save --no-fund --no-audit azurite@3

##@ Work on it

docs: install          ## build docs/ as a site in .site and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: install          ## resolve the packages of the images, with hashes: requirements/*.lock
	$(LOCK) requirements/tools.in --output-file requirements/tools.lock
	echo '$(TORCH)' | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate \
	    --custom-compile-command 'make lock' pyproject.toml --extra cpu --extra trainer --extra service --extra dev \
	    --constraint - | grep -vE '^(torch|triton|nvidia-.*|pip)==' > requirements/dev.lock
	$(LOCK) pyproject.toml --extra cpu $(SERVICE_EXTRAS) --output-file requirements/service-cpu.lock
	$(LOCK) pyproject.toml --extra gpu $(SERVICE_EXTRAS) --output-file requirements/service-gpu.lock
	$(LOCK) pyproject.toml --extra cpu --extra milvus $(SERVICE_EXTRAS) --output-file requirements/service-milvus.lock
	echo '$(TORCH)' | $(LOCK) pyproject.toml --extra cpu --extra trainer --extra bucket --constraint - \
	    --find-links $(TORCH_LINKS) --output-file requirements/trainer-cpu.lock
	echo '$(TORCH)' | $(LOCK) pyproject.toml --extra cpu --extra trainer --extra bucket --constraint - \
	    --output-file requirements/trainer-gpu.lock

format: install        ## fix and format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

##@ Before a release

check-image: install demo-made  ## build, start and check the service's image without Docker; needs root and debootstrap
	PYTHON=$(BIN)/python deploy/image/replay.sh $(BUNDLES)

check-dependencies: install  ## check the licences of all installed packages against pyproject.toml
	$(BIN)/pip-licenses --format=csv > /dev/null
	@echo "all licences are allowed"

check-gpu: install     ## search, threads, swaps and memory on every GPU; without one only the names in its wheel (docs/gpu.md)
	mkdir -p $(CHECKS)/gpu
	$(BIN)/pip download --quiet --no-deps --dest $(CHECKS)/gpu $$(grep -o '^faiss-gpu==[^ ]*' requirements/service-gpu.lock)
	$(BIN)/python -m index.check_gpu --wheel $(CHECKS)/gpu/faiss_gpu-*.whl

audit: install         ## check the images' packages for known vulnerabilities, in PyPI's database
	for lock in service-cpu service-gpu service-milvus trainer-cpu trainer-gpu tools; do \
	    $(BIN)/pip-audit --strict --disable-pip --requirement requirements/$$lock.lock || exit 1; done

screenshots: install console demo-made  ## take the pictures of docs/console.md: the demo's console in a real Chromium
	.ci/install_chromium
	$(BIN)/python tests/screenshots.py --registry $(BUNDLES) --runs $(DEMO)/$(MODEL)/runs --images $(SHOP)-images --data $(SHOP)

##@ Measure

bench-train: install   ## training step: seconds by part, at the size of Amazon Baby
	$(BIN)/python -m trainer bench

bench-serve: install   ## service: throughput and latency, compared with FastAPI's empty endpoint
	$(BIN)/python -m loadtests.bench_serve

bench-workers: install ## two worker processes beside one: requests per second, CPU, on all cores of this machine
	$(BIN)/python -m loadtests.bench_workers

bench-index: install    ## kinds of index: build time, memory, latency, recall at 20,000 to 10,000,000 items, with a plot; resumes; some hours
	$(BIN)/python -m index bench-kinds --plot docs/measurements/index-frontier.png

bench-events: install  ## events: number per second that POST /events stores
	$(BIN)/python -m loadtests.bench_events

bench-filters: install  ## what filters add to a whole request at 100,000 items, as a ratio to the same request without
	$(BIN)/python -m loadtests.bench_filters

bench-fairness: install  ## cheap requests alone, and beside four callers of the most expensive legal requests
	$(BIN)/python -m loadtests.fairness

bench-arm-swaps: install ## an arm gets another bundle 200 times under load: answers that failed or were of another bundle
	$(BIN)/python -m loadtests.arm_swaps

bench-shadow: install   ## what a shadow costs the answers that are shown: p50 and p99 without one, and with one of 5% and 100%
	$(BIN)/python -m loadtests.bench_shadow

bench-batch: install   ## everybody's lists offline: 100,000 users x 100,000 items, and a line to a million; FULL=1 runs all
	$(BIN)/python -m loadtests.bench_batch $(if $(FULL),--full)

bench-arms-memory: install ## memory of two bundles of one catalogue, as two arms have them: apart, and with shared files
	$(BIN)/python -m benchmarks.shared_bundles measure

bench-peers: install   ## other frameworks (LitServe, BentoML, mosec, Ray Serve, ...) with the same items; installs them first
	$(BIN)/python -m benchmarks.peers --venvs .venv-peers

loadtest: install      ## Locust: PROFILE (smoke, steady, spike, soak) on HOST or on a service of its own; checks limits
	$(BIN)/python -m loadtests.loadtest --profile $(PROFILE) $(if $(HOST),--host $(HOST))

slo: install           ## the highest rate at which p99 stays within 50 ms
	$(BIN)/python -m loadtests.slo

soak: install          ## memory of the service over a million requests of every kind
	$(BIN)/python -m loadtests.soak

bench-cold: install $(if $(DATA),,demo-made)   ## items that training never saw: recall@20 beside baselines, on a service; DATA is another prepared folder
	$(BIN)/python -m benchmarks.cold_items $(or $(DATA),$(SHOP)) --out $(DEMO)/cold

bench-experiments: install  ## statistics of experiments: 1,000 without a difference looked at daily for 30 days; lifts found; 8 minutes
	$(BIN)/python -m benchmarks.experiments

bench-scale: install   ## training with up to 200,000 items: time and memory; about half an hour
	$(BIN)/python -m trainer bench --scale

bench-pipeline: install   ## prepare, graphs, fit and export up to 100,000 items; estimate for a million; half an hour
	$(BIN)/python -m trainer bench-pipeline --plot docs/measurements/training-scale.png

##@ Tidy up

clean:                 ## delete the demo; .venv stays
	rm -rf $(DEMO)

$(VENV)/.installed: pyproject.toml requirements/dev.lock
	$(PYTHON) deploy/install.py dev --venv $(VENV) --torch $(TORCH)
	touch $(VENV)/.serves $@

$(VENV)/.serves: pyproject.toml requirements/dev.lock
	@$(PYTHON) deploy/install.py demo --venv $(VENV) --torch $(TORCH)
	@touch $@

$(OTHER_VENV)/.installed: pyproject.toml requirements/dev.lock
	$(PYTHON) -m venv --clear $(OTHER_VENV)
	$(OTHER_VENV)/bin/pip install --quiet --constraint requirements/dev.lock --editable '.[cpu,service,dev]'
	touch $@

# The tools that check manifests have an environment of their own: they are large and need other versions.
$(CHECKS)/.installed: deploy/check-requirements.txt
	$(PYTHON) -m venv $(CHECKS)
	$(CHECKS)/bin/pip install --quiet --requirement $<
	touch $@

# The types of the API come from the service's own OpenAPI document.
$(CONSOLE)/openapi.json: $(wildcard service/*.py service/*/*.py service/*/*/*.py) | $(SERVES)
	@$(BIN)/python -m service openapi > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(CONSOLE)/dist/index.html: $(CONSOLE)/openapi.json $(CONSOLE)/index.html $(CONSOLE)/package-lock.json \
                            $(CONSOLE)/vite.config.ts $(CONSOLE)/tsconfig.json $(wildcard $(CONSOLE)/src/* $(CONSOLE)/src/*/* $(CONSOLE)/src/*/*/*)
	@$(BIN)/python deploy/build_console.py
	@touch $@

# Without the console the demo is still one: an unreachable npm must not end it.
demo-console: $(SERVES)
	@trap 'echo "stopped; \`make $(firstword $(MAKECMDGOALS))\` goes on from here" >&2; exit 130' INT; \
	    $(MAKE) --no-print-directory console || echo 'warning: the console could not be built; the API works without it'

demo-made: $(SERVES)
	@$(ANCHORREC_DEMO) --no-serve

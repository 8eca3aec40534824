# Short names of commands that also work without make; CONTRIBUTING.md lists both.
.DEFAULT_GOAL := help
.PHONY: help install demo up test check lint types imports format docs site clienttypes dashboards lock clean \
	unit property contract integration conformance e2e chaos attack runbooks bench bench-peers benchsmoke \
	containers manifests screenshots fuzz generators licences sbom

# If the shell sets it, every process of every test compiles its imports again.
unexport PYTHONDONTWRITEBYTECODE

bin := .venv/bin

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## create .venv with the gateway command
	@deploy/install.sh

demo: install ## run one request end to end against a simulated RunComfy
	@$(bin)/python -m simulator.demo

up: install ## run the whole stack until Ctrl-C (RUNCOMFY_API_TOKEN set: real RunComfy)
	@$(bin)/python -m simulator.dev_stack

test: install ## run every test, in two processes more than there are cores
	$(bin)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint types imports ## lint, types and import contracts

lint: install ## ruff: lint and format check
	$(bin)/ruff check
	$(bin)/ruff format --check

types: install ## mypy, strict
	$(bin)/mypy

imports: install ## import-linter: dependencies between packages
	$(bin)/lint-imports

format: install ## format the code and fix lint errors
	$(bin)/ruff format
	$(bin)/ruff check --fix

unit: install ## unit tests, no sockets
	$(bin)/pytest tests/unit

property: install ## property tests by Hypothesis
	$(bin)/pytest tests/property

contract: install ## the same tests on the fakes and on the real stores
	$(bin)/pytest tests/contract

integration: install ## tests with a real Redis
	$(bin)/pytest tests/integration

conformance: install ## RunComfy's dialect, on the simulator and on the gateway
	$(bin)/pytest tests/conformance

e2e: install ## tests with real processes
	$(bin)/pytest tests/e2e

chaos: install ## kill real processes at random (CHAOS="--form long": for longer)
	$(bin)/python -m tests.chaos.run $(CHAOS)

attack: install ## attack a stack beside a tenant that goes on with its work (ATTACK="--only metrics")
	$(bin)/python -m tests.attack.run $(ATTACK)

runbooks: install ## provoke every alert and run its runbook's commands (RUNBOOKS="--group busy"); needs alertmanager
	$(bin)/python -m tests.runbooks.run $(RUNBOOKS)

bench: install ## benchmarks beside their baselines, 10 minutes (BENCH="--only accept")
	$(bin)/python -m tests.bench.run $(BENCH)

bench-peers: install .bench/peers ## submits beside LiteLLM's proxy and a service by hand, in turns
	$(bin)/python -m tests.bench.peers $(BENCH)

.bench/peers: tests/bench/peers.txt
	python3 -m venv .bench/peers && .bench/peers/bin/pip install -q -r $< && touch $@

benchsmoke: install ## a short run of every benchmark, one minute; CI runs it too
	$(bin)/pytest tests/bench

containers: install ## build the image and test docker-compose.yml (needs root and Podman)
	deploy/ci/containers.sh

docs: install ## write the generated pages
	$(bin)/python -m docs.generate

site: install ## build the documentation as a static site, with search, in build/site
	docs/site/build.sh

clienttypes: install ## write the types of the TypeScript client (needs npm)
	npm ci --prefix clients/typescript --ignore-scripts
	$(bin)/python -m docs.client_types

screenshots: install ## draw the console's images (needs chromium)
	$(bin)/python -m docs.screenshots

dashboards: install ## write the dashboards and their images (needs prometheus)
	$(bin)/python -m deploy.grafana.build
	$(bin)/python -m deploy.grafana.draw

generators: install ## make clients by five generators and run a job with each, 5 minutes
	$(bin)/python -m tests.generators.run $(GENERATORS)

manifests: install ## write deploy/k8s from the chart (needs helm)
	$(bin)/python -m deploy.helm.render

fuzz: install ## test the service against its OpenAPI document
	$(bin)/pytest -s tests/integration/http/test_openapi_fuzzing.py

licences: install ## write docs/licences.md: dependencies and their licences
	$(bin)/python -m docs.licences

sbom: install ## write dist/sbom.json, the bill of materials (CycloneDX)
	@mkdir -p dist
	$(bin)/cyclonedx-py requirements requirements.runtime.lock --output-reproducible -o dist/sbom.json

lock: ## resolve and pin every dependency by hash
	deploy/lock.sh

clean: ## remove .venv, caches and simulated data; jobs that cost money are elsewhere
	rm -rf .venv .generators clients/typescript/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .demo/simulated

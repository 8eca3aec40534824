# Thin names for commands that work without make; CONTRIBUTING.md lists those.
.DEFAULT_GOAL := help
.PHONY: help install demo up test check lint types imports format docs dashboards lock clean \
	unit property contract integration e2e chaos bench benchsmoke containers fuzz licences sbom

# Where a shell sets it, every process of every test would compile what it imports anew.
unexport PYTHONDONTWRITEBYTECODE

bin := .venv/bin

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make .venv with the gateway command in it
	@deploy/install.sh

demo: install ## run one real request end to end, without a RunComfy key
	@$(bin)/python -m simulator.demo

up: install ## leave the whole stack running (RUNCOMFY_API_TOKEN set: the real RunComfy)
	@$(bin)/python -m simulator.dev_stack

test: install ## pass every test
	$(bin)/pytest

check: lint types imports ## lint, types and import contracts

lint: install ## style and mistakes
	$(bin)/ruff check
	$(bin)/ruff format --check

types: install ## mypy, strict
	$(bin)/mypy

imports: install ## who may import whom
	$(bin)/lint-imports

format: install ## put the code into shape
	$(bin)/ruff format
	$(bin)/ruff check --fix

unit: install ## pure tests, no sockets
	$(bin)/pytest tests/unit

property: install ## whatever Hypothesis tries; pure
	$(bin)/pytest tests/property

contract: install ## fakes and real things by the same tests
	$(bin)/pytest tests/contract

integration: install ## tests against a real Redis
	$(bin)/pytest tests/integration

e2e: install ## tests with real processes
	$(bin)/pytest tests/e2e

chaos: install ## kill the real processes at random (CHAOS="--form long" for more)
	$(bin)/python -m tests.chaos.run $(CHAOS)

bench: install ## measure everything beside its floor, in 10 minutes (BENCH="--only accept")
	$(bin)/python -m tests.bench.run $(BENCH)

benchsmoke: install ## a little of every measurement, in a minute; CI runs it too
	$(bin)/pytest tests/bench

containers: install ## build the image and try docker-compose.yml (needs root and Podman)
	deploy/ci/containers.sh

docs: install ## write the generated pages
	$(bin)/python -m docs.generate

dashboards: install ## write the dashboards, and draw them from real data (needs prometheus)
	$(bin)/python -m deploy.grafana.build
	$(bin)/python -m deploy.grafana.draw

fuzz: install ## hold the service to its own description; shows the figures
	$(bin)/pytest -s tests/integration/http/test_openapi_fuzzing.py

licences: install ## list what runs with us and under which licence
	$(bin)/python -m docs.licences

sbom: install ## write dist/sbom.json, the bill of materials of what runs (CycloneDX)
	@mkdir -p dist
	$(bin)/cyclonedx-py requirements requirements.runtime.lock --output-reproducible -o dist/sbom.json

lock: ## pin every dependency by hash again
	deploy/lock.sh

clean: ## forget the environment and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .demo

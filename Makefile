# What one does here. `make` lists it. Each target installs what it needs.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help up test coverage docs format frameworks engines site
VENV := . scripts/setup.sh && ensure_venv dev

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

up: ## run everything on this machine and show what one epoch costs
	scripts/up

test: ## lint, types and all tests; ARGS="tests/ledger -k exact" for a part
	scripts/test $(ARGS)

coverage: ## the tests with branch coverage; ARGS as above
	scripts/coverage $(ARGS)

docs: ## write the generated tables of docs/, the rules and the dashboards again
	$(VENV) && .venv/bin/python -m scripts.docs
	PYTHONPATH=exporter .venv/bin/python prometheus/build
	PYTHONPATH=exporter .venv/bin/python grafana/build

format: ## format and fix what can be fixed without a decision
	$(VENV) && .venv/bin/ruff format . && .venv/bin/ruff check --fix .

frameworks: ## real trainings with real frameworks (ten minutes, 5 GB)
	scripts/test-frameworks

engines: ## the rules in Prometheus 2.42, 3.x and VictoriaMetrics
	scripts/test-engines

site: ## the documentation as a site, built strictly
	scripts/site

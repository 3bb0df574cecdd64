# The five things one does here. Each is a script that installs what it needs.
.PHONY: up test docs frameworks engines format

up: ## run everything on this machine and show what one epoch costs
	scripts/up

test: ## lint, types and all tests; ARGS="tests/ledger -k exact" for a part
	scripts/test $(ARGS)

docs: ## write the generated tables of docs/, the rules and the dashboards again
	.venv/bin/python -m scripts.docs
	if [ -d prometheus/build ]; then PYTHONPATH=exporter .venv/bin/python prometheus/build; fi
	PYTHONPATH=exporter .venv/bin/python grafana/build

format: ## format and fix what can be fixed without a decision
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

frameworks: ## real trainings with real frameworks (ten minutes, 5 GB)
	scripts/test-frameworks

engines: ## the rules in Prometheus 2.42, 3.x and VictoriaMetrics
	scripts/test-engines

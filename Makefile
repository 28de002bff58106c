# `make demo` and `make test` do everything; each sets up .venv on a fresh machine first.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS) --dist worksteal

.PHONY: demo test test-vllm test-serve quick check format coverage durations mutants versions ways probes reliability docs wheel

demo: .venv/demo-ready
	$(if $(ARGS),,@echo 'The demo opens on port 7860; make demo ARGS="--port 8000" chooses another.')
	$(BIN)/python -m app $(ARGS)

# every test, on all cores
test: .venv/dev-ready
	$(PYTEST) $(PARALLEL) $(ARGS)

# vLLM with this library in an environment of its own, made first: minutes, and 3.6 GB in .venv-vllm
test-vllm: .venv-vllm/ready
	.venv-vllm/bin/python -m pytest -q tests/vllm $(ARGS)

# the files that take little time, as measured by `make durations`: under a minute
quick: .venv/dev-ready
	$(PYTEST) $(PARALLEL) -m "not slow" $(ARGS)

# linters, types, import rules and names
check: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile
	$(BIN)/mypy
	$(PYTEST) -q tests/test_architecture.py tests/test_names.py

format: .venv/dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# every test, and which lines and branches none of them runs; fails below the share in pyproject.toml
coverage: .venv/dev-ready
	$(PYTEST) $(PARALLEL) -q --cov --cov-report=term:skip-covered $(ARGS)

# how long each file takes, for the choice of `make quick`; in one process, on a machine that does nothing else
durations: .venv/dev-ready
	RECORD_DURATIONS=1 $(PYTEST) -q $(ARGS)

# a fixed sample of faults in the engine, the budgets and the reducers: do the tests notice? Writes docs/mutation.md
mutants: .venv/dev-ready
	$(BIN)/python -m tests.mutation $(ARGS)

# the core tests with the oldest and the newest transformers (ARGS="5.20.0 pinned" names others)
versions: .venv/dev-ready
	$(BIN)/python -m tests.versions $(ARGS)

# every way of calling a model, on every family, written to docs/ways.md; takes minutes
ways: .venv/dev-ready
	WRITE_WAYS=1 $(PYTEST) -q tests/test_ways.py

# more than a thousand hostile requests, pictures and crowds against a demo; `make reliability` also writes docs/reliability.md
probes: .venv/dev-ready
	CHECK_PROBES=1 $(PYTEST) -q tests/probes/test_probes.py

reliability: .venv/dev-ready
	WRITE_RELIABILITY=1 $(PYTEST) -q tests/probes/test_probes.py

# the demo with replicas, in an environment of its own with Ray Serve
test-serve: .venv-serve/ready
	.venv-serve/bin/python -m pytest -q tests/serve tests/app/test_replicas.py $(ARGS)

.venv-serve/ready: requirements.txt requirements-serve.txt pyproject.toml
	test -x .venv-serve/bin/python || $(PYTHON) -m venv .venv-serve
	.venv-serve/bin/python -m pip install --quiet -r requirements.txt -r requirements-serve.txt -e '.[dev]'
	touch $@

# the documentation as a site, in site/
docs: .venv/dev-ready
	$(BIN)/mkdocs build --strict

# the package, in dist/
wheel: .venv/dev-ready
	$(BIN)/python -m build

.venv/demo-ready: requirements.txt
	@echo 'Installing what the demo needs into .venv: a few minutes the first time.'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --progress-bar on -r requirements.txt
	touch $@

.venv-vllm/ready: tests/vllm/requirements.txt tests/vllm/environment.sh pyproject.toml setup.py
	tests/vllm/environment.sh .venv-vllm $(PYTHON)

.venv/dev-ready: .venv/demo-ready pyproject.toml setup.py
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

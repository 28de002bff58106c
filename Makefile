# Two commands do everything: `make demo` and `make test`. Each sets up .venv on a fresh machine first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format versions ways

demo: .venv/demo-ready
	$(BIN)/python -m app $(ARGS)

test: .venv/dev-ready
	$(BIN)/python -m pytest $(ARGS)

check: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

# the core tests with the oldest and the newest transformers (ARGS="5.20.0 pinned" names others)
versions: .venv/dev-ready
	$(BIN)/python -m tests.versions $(ARGS)

# every way of calling a model, on every family, written to docs/ways.md; takes minutes
ways: .venv/dev-ready
	WRITE_WAYS=1 $(BIN)/python -m pytest -q tests/test_ways.py

format: .venv/dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/demo-ready: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

.venv/dev-ready: .venv/demo-ready pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

# Two commands do everything: `make demo` and `make test`. Each sets up .venv on a fresh machine first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format

demo: .venv/demo-ready
	$(BIN)/python -m app $(ARGS)

test: .venv/dev-ready
	$(BIN)/python -m pytest $(ARGS)

check: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

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

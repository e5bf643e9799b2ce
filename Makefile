# make demo, make test, make check: each sets up .venv by itself. Needs make and Python 3.11, 3.12 or 3.13.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# CPU-only torch: make demo TORCH_INDEX=<the address of PyTorch's CPU wheels, see "Start Locally" on pytorch.org>
TORCH_INDEX ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-all check clean env

demo: $(VENV)/.ready
	$(BIN)/expunge --project $(CURDIR) demo

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q -m "not slow" --durations=30

test-all: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

check: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@test -z "$$(git status --porcelain 2>/dev/null | grep -v dvc.lock)" || { git status --short; echo "check: the tree is not clean"; exit 1; }

env: $(VENV)/.ready

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11, 3.12 or 3.13."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing: on Debian apt-get install python3-venv."; exit 2; }

$(VENV)/.torch: $(VENV)/bin/python constraints.txt
ifneq ($(TORCH_INDEX),)
	$(BIN)/python -m pip install -q -c constraints.txt --index-url $(TORCH_INDEX) torch torchvision
endif
	touch $@

$(VENV)/.ready: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $(VENV)/.ready $@

clean:
	-$(BIN)/expunge --project $(CURDIR) dashboard --stop 2>/dev/null
	rm -rf .expunge build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

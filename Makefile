# Everything a newcomer needs is here: 'make demo' to look at it, 'make test' to change it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# Test files under way at once; many of them mostly wait.
JOBS ?= 3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo serve test test-all lint bench bench-load collector clean

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,dev]'
	@touch $(READY)

demo: $(READY)  ## a whole fleet on this machine, and the console to look at it
	$(BIN)/muster demo

test: $(READY)  ## lint, types, import rule and every test that takes seconds
	$(BIN)/python -m tests.support.browser
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not slow'

test-all: $(READY)  ## the long ones too
	$(BIN)/python -m tests.support.browser
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(READY)  ## what the tests check of the code itself, mended where it can be
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## what the work costs beside its limits; writes docs/benchmarks.md
	$(BIN)/python -m tests.bench

bench-load: $(READY)  ## 10,000 simulated devices for five minutes on each database
	$(BIN)/python -m tests.bench --load

collector: $(READY)  ## the collector as an archive with all it needs, for machines of this kind; into dist/
	$(BIN)/python deploy/collector/build.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

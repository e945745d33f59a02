# Every target works in a fresh clone: it makes .venv first if that is not there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# A process a core; one that has nothing left to do takes tests from another.
TESTS := -n auto --maxprocesses=8 --dist worksteal

.PHONY: setup demo test test-all lint format bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/sharpscope run digits

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint
	$(BIN)/python -m pytest $(TESTS) -m 'not slow'

test-all: lint
	$(BIN)/python -m pytest $(TESTS)

# With memory that glibc keeps, so that fresh pages from the system are not what is measured.
bench: setup
	MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 $(BIN)/python -m benchmarks $(NAMES)

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

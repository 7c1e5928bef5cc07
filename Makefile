PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv does not read pip's find-links; hand it over when it is set.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
endif
PACKAGES := core[demo,train] plugins/privagams_openslide plugins/privagams_tiatoolbox plugins/privagams_images \
	plugins/privagams_dp plugins/privagams_oneshot plugins/privagams_metrics privagams_diffusion privagams_glow privagams_attacks
# Processes that run tests; each test that runs the program uses two more.
TEST_JOBS ?= 2
TOOLS := pytest pytest-xdist hypothesis psutil ruff mypy hatchling editables
STAMP := $(VENV)/.privagams-set-up

.PHONY: setup demo test study lint bench clean

setup: $(STAMP)

$(STAMP): requirements/constraints.txt requirements/overrides.txt Makefile $(wildcard core/pyproject.toml plugins/*/pyproject.toml privagams_*/pyproject.toml)
	$(PYTHON) -c 'import sys; sys.exit("PRIVAGAMS needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'uv>=0.5'
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints requirements/constraints.txt \
		--overrides requirements/overrides.txt $(TOOLS) $(addprefix --editable ./,$(PACKAGES))
	touch $@

demo: setup
	$(BIN)/privagams demo

# Programs that tests start would else compile every package anew where Python is told to write no bytecode.
test: export PYTHONDONTWRITEBYTECODE =
test: export PYTHONPYCACHEPREFIX = $(CURDIR)/$(VENV)/pycache
# As many threads as cores in each of several processes spend their time waiting for each other.
test: export OMP_NUM_THREADS = 1
test: export OMP_WAIT_POLICY = PASSIVE
test: setup lint
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal

# Minutes to hours: what the suite only holds a small version of.
study: setup
	$(BIN)/python -m pytest -m study

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

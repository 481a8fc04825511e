# make demo       index real text and ask it things, in under two minutes
# make test       everything CI runs
# make check      lint, format, types, import directions
# make test-integrations   the tests with torch, transformers and lm-evaluation-harness, in an
#                 environment of their own; TORCH says which torch to install
# make test-infini-gram   everygram next to infini-gram 2.6.0, over the same indexes; infini-gram gets an
#                 environment of its own, of Python 3.11
# make screenshots   pictures of the page, in build/screenshots
# make campaign   the long tests in full, half an hour or more: before a release
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What pip is asked for. On Linux plain torch brings CUDA, several GB; elsewhere than on PyPI there
# is one without: TORCH="torch --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch
INTEGRATIONS = .venv-integrations
# What bench/peers.sh makes its environment with: not all peers are there for other Pythons.
PEERS_PYTHON ?= python3.11
# Two processes, a file of tests at a time: files share servers and indexes among their tests.
TOGETHER = --numprocesses 2 --dist loadfile
# (Clusters of Ray's start processes of their own: their tests run alone.)

.PHONY: demo test check test-integrations test-infini-gram campaign screenshots clean

demo: $(VENV)/.installed
	$(BIN)/python demo/demo.py build/demo

test: $(VENV)/.tests-installed check
	$(BIN)/pytest $(TOGETHER) --ignore tests/distributed
	$(BIN)/pytest tests/distributed
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest --numprocesses 2 --dist worksteal tests/kernels tests/engine \
		tests/building/test_suffix_array.py tests/building/test_external_sort.py \
		tests/building/test_preparation.py tests/storage/test_infini_gram.py \
		tests/storage/test_self_index.py

check: $(VENV)/.tests-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_imports.py

# (Warnings of these libraries are not ours to mend.)
test-integrations: $(INTEGRATIONS)/.installed
	$(INTEGRATIONS)/bin/pytest tests_integrations -W default

test-infini-gram: $(VENV)/.tests-installed bench/.peers/.installed
	$(BIN)/pytest tests_infini_gram

# Of these `make test` runs a sample (tests/campaign.py); and every query of indexes that are
# self-indexes where a test says nothing of kinds.
campaign: $(VENV)/.tests-installed
	EVERYGRAM_CAMPAIGN=1 $(BIN)/pytest $(TOGETHER) --durations 20 tests/building tests/engine \
		tests/storage
	EVERYGRAM_CAMPAIGN=1 $(BIN)/pytest --durations 20 tests/distributed
	EVERYGRAM_KINDS=self-index $(BIN)/pytest $(TOGETHER) tests/search tests/attribution \
		tests/analysis tests/compat tests/integrations tests/lm tests/results tests/test_index.py \
		tests/test_novelty.py tests/test_passages.py tests/test_union.py

# Of the page, at three widths, light and dark, to be looked at.
screenshots: $(VENV)/.tests-installed
	$(BIN)/python tests/page/screenshots.py build/screenshots

clean:
	rm -rf $(VENV) $(INTEGRATIONS) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python $(INTEGRATIONS)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	"everygram needs Python 3.11 or newer, found %d.%d: make PYTHON=/path/to/python3" % v[:2])'
	$(PYTHON) -m venv $(@D)/..

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server]'
	touch $@

$(VENV)/.tests-installed: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

bench/.peers/.installed: bench/peers.sh
	PYTHON=$(PEERS_PYTHON) bench/peers.sh
	touch $@

$(INTEGRATIONS)/.installed: $(INTEGRATIONS)/bin/python pyproject.toml
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[lm-eval]' \
		'transformers>=5' pytest hypothesis
	touch $@

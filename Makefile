# make run, make test: each first makes .venv and installs what it needs, requirements.txt or requirements-test.txt, if
# that has not been done.
PYTHON  ?= python3
# what the notebook gets: the survey of make train, weights to start from, and where models and figures go
SURVEY  ?= data/simulated
START   ?=
SEED    ?= 42
MODELS  ?=
RESULTS ?= results/$(notdir $(SURVEY))

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PY := $(BIN)/python
INSTALLED := .venv/installed
TEST_READY := .venv/installed-tests

.PHONY: help run train best-models published check test test-all test-versions bench bench-training lint docs clean
.DEFAULT_GOAL := help

help:
	@echo "make run    simulate a small survey, build its tables, train the network in the notebook (5 minutes, 1.1 GB)"
	@echo "make train  execute the notebook on another survey whose tables are built: make train SURVEY=data"
	@echo "make best-models  train the shipped models anew, on a full-size simulated survey (about an hour, 12 GB)"
	@echo "make published  after it: the published recipe on the same survey, for comparison (about 25 minutes, 1 GB)"
	@echo "make check  run the quick tests, without any training (2 minutes)"
	@echo "make test   run the tests (5 minutes)"
	@echo "make test-all  run the long ones too (about 30 minutes more)"
	@echo "make test-versions  run them with Python 3.11, 3.12, 3.13 and with the oldest packages (15 minutes and 2.9 GB each)"
	@echo "make bench  run the benchmarks; writes benchmarks/results.md (15 minutes)"
	@echo "make bench-training  time until a network is as good as the published recipe gets (30 minutes), after make published"
	@echo "make lint   check the style, and which module may import which"
	@echo "make docs   build the documentation into docs/_build/html"
	@echo "make clean  remove what make run made: data/simulated, results, models/demo, checkpoints"

$(INSTALLED): requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: expected Python 3.11 or newer, got $$($(PYTHON) --version); name another one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing requirements.txt into .venv (3 minutes, 2.5 GB) ..."
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

$(TEST_READY): $(INSTALLED) requirements-test.txt
	@echo "installing requirements-test.txt into .venv (1 minute, 0.4 GB) ..."
	@$(PY) -m pip install --disable-pip-version-check -q -r requirements-test.txt
	@# Keras 2, which the saved networks must open in; the TensorFlow that it asks for is installed under another name
	@$(PY) -m pip install --disable-pip-version-check -q -c constraints.txt --no-deps tf_keras
	@touch $@

run: $(INSTALLED)
	@echo "1/3 simulating a survey"
	@$(PY) get_Chen_data.py simulate --survey data/simulated
	@echo "2/3 building its tables"
	@$(PY) get_Chen_data.py build --survey data/simulated
	@echo "3/3 executing the notebook"
	@$(MAKE) --no-print-directory train SURVEY=data/simulated

train: $(INSTALLED)
	@$(PY) -m quasar_mass.cli.notebook execute Quasar_mass_ML.ipynb $(RESULTS)/Quasar_mass_ML.ipynb \
	  SURVEY=$(SURVEY) CREATING=Load RESULTS=$(RESULTS) "MODELS=$(MODELS)" "START=$(START)" SEED=$(SEED)
	@echo "next       open the notebook above, or: $(PY) quasar_analysis.py predict SPEC_FILES"

# the shipped models: a full-size simulated survey, pre-training on fresh simulated quasars of all redshifts, one comparison
best-models: $(INSTALLED)
	@$(PY) get_Chen_data.py simulate --survey data/simulated-full --objects 30920 --seed 3
	@$(PY) get_Chen_data.py build --survey data/simulated-full
	@$(PY) -m quasar_mass.cli.best_models train --survey data/simulated-full

# the published recipe on the same survey: its grid, layers and lengths of training, and no correction for the Galaxy
published: $(INSTALLED)
	@mkdir -p data/simulated-published/bigger_data
	@for part in survey.json truth.parquet apjsab41fet1_mrt.txt spectra bigger_data/DR16Q_v4.fits; do \
	  ln -sfn "$(CURDIR)/data/simulated-full/$$part" data/simulated-published/$$part; done
	@$(PY) get_Chen_data.py build --survey data/simulated-published --step 5e-5 --no-extinction
	@$(PY) -m quasar_mass.cli.best_models published --survey data/simulated-published

# what needs no network to be trained or loaded
QUICK := tests/core tests/spectra tests/tables tests/fetch tests/virial tests/simulation tests/uncertainty
check: $(TEST_READY)
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile $(QUICK)

# two files at a time, each about 1 GB of memory while a network is tested: make test WORKERS=4
WORKERS ?= 2
test: $(TEST_READY)
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --durations=25

test-all: $(TEST_READY)
	@$(PY) -m pytest -m "slow or not slow"

# each Python in an environment of its own, in .venvs; one that is not there is skipped: make test-versions VERSIONS="3.12 oldest"
VERSIONS ?= 3.11 3.12 3.13 oldest
test-versions:
	@sh tests/versions.sh "$(VERSIONS)"

bench: $(TEST_READY)
	@$(PY) benchmarks/run.py

bench-training: $(TEST_READY)
	@$(PY) benchmarks/training.py

lint: $(TEST_READY)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(BIN)/lint-imports --no-cache

docs: $(INSTALLED) docs/requirements.txt
	@$(PY) -m pip install --disable-pip-version-check -q -c constraints.txt -r docs/requirements.txt
	@$(PY) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

clean:
	rm -rf data/simulated results models/demo
	find models/checkpoints -type f ! -name .gitkeep -delete

# make run, make test: each first makes .venv and installs requirements.txt, if that has not been done.
PYTHON  ?= python3
SURVEY  ?= data/simulated
MODELS  ?=
RESULTS ?= results/$(notdir $(SURVEY))

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PY := $(BIN)/python
INSTALLED := .venv/installed

# the survey that make train takes, and where its figures and executed notebook go
.PHONY: help run train best-models test lint clean
.DEFAULT_GOAL := help

help:
	@echo "make run    simulate a small survey, build its tables, train the network in the notebook (6 minutes, 1.1 GB)"
	@echo "make train  execute the notebook on another survey whose tables are built: make train SURVEY=data"
	@echo "make best-models  train the shipped models anew, on a larger simulated survey (about 20 minutes, 5 GB)"
	@echo "make test   run the tests (4 minutes)"
	@echo "make lint   check the style"
	@echo "make clean  remove what make run made: data/simulated, results, models/demo, checkpoints"

$(INSTALLED): requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: expected Python 3.11 or newer, got $$($(PYTHON) --version); name another one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing requirements.txt into .venv (2 minutes, 3 GB) ..."
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

run: $(INSTALLED)
	@echo "1/3 simulating a survey"
	@$(PY) get_Chen_data.py simulate --survey data/simulated
	@echo "2/3 building its tables"
	@$(PY) get_Chen_data.py build --survey data/simulated
	@echo "3/3 executing the notebook"
	@$(MAKE) --no-print-directory train SURVEY=data/simulated

train: $(INSTALLED)
	@mkdir -p $(RESULTS)
	@$(PY) -m papermill Quasar_mass_ML.ipynb $(RESULTS)/Quasar_mass_ML.ipynb -k python3 \
	  -p SURVEY $(SURVEY) -p CREATING Load -p RESULTS $(RESULTS) -r MODELS "$(MODELS)" \
	  --log-output --no-progress-bar
	@echo; cat $(RESULTS)/summary.txt
	@echo "next       open the notebook above, or: $(PY) quasar_analysis.py predict SPEC_FILES"

# the shipped models: the same notebook on a larger simulated survey
best-models: $(INSTALLED)
	@$(PY) get_Chen_data.py simulate --survey data/simulated-large --objects 15000 --seed 2
	@$(PY) get_Chen_data.py build --survey data/simulated-large
	@$(MAKE) --no-print-directory train SURVEY=data/simulated-large MODELS=models/Best_models

test: $(INSTALLED)
	@$(PY) -m pytest

lint: $(INSTALLED)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

clean:
	rm -rf data/simulated results models/demo
	find models/checkpoints -type f ! -name .gitkeep -delete

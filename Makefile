# make train: set up .venv where it is missing, then the first run, end to end.  make test: the same set-up, then the tests.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: train test lint types gpu-check

train: $(INSTALLED)
	$(BIN)/python -m khasr.train experiment=quickstart

test: $(INSTALLED)
	$(BIN)/python -m pytest

gpu-check: $(INSTALLED)
	$(BIN)/python experiments/gpu_check/check.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# The stamp is written last, so that a set-up that was cut short is done again, and one that is whole is left alone.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[synthetic,tensorboard,bitsandbytes,dev]'
	touch $@
